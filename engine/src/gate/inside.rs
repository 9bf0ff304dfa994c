//! Knows which turns the current thread is inside of, so that a call that would wait for ever is refused instead.

use std::{cell::RefCell, marker::PhantomData};

use crate::{Error, Result};

/// Names one open engine within this process, for as long as it is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct EngineTag(pub(crate) usize);

/// One turn that the thread is inside of: the engine, and the object's cell by address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Mark {
    engine: EngineTag,
    cell: usize,
}

thread_local! {
    static MARKS: RefCell<Vec<Mark>> = const { RefCell::new(Vec::new()) };
}

/// Marks the thread as being inside a turn until it is dropped.
#[derive(Debug)]
pub(crate) struct Inside {
    mark: Mark,
    // It is left on the thread that entered it.
    _not_send: PhantomData<*const ()>,
}

impl Inside {
    /// Enters a turn of the engine on one object. Who blocks for turns asks [`refuse`](Inside::refuse) first; one
    /// that was awaited may begin inside another object's poll, which gives up its own turn when it has to wait.
    pub(crate) fn enter(engine: EngineTag, cell: usize) -> Inside {
        let mark = Mark { engine, cell };
        MARKS.with_borrow_mut(|marks| marks.push(mark));
        Inside { mark, _not_send: PhantomData }
    }

    /// Whether the thread has this object's turn. Who waits for it inside waits for ever, also asynchronously: what
    /// is asked only inside a turn that ends only when it is ready.
    pub(crate) fn is_within(engine: EngineTag, cell: usize) -> bool {
        MARKS.with_borrow(|marks| marks.contains(&Mark { engine, cell }))
    }

    /// Refuses a blocking call inside a turn of the engine.
    pub(crate) fn refuse(engine: EngineTag) -> Result<()> {
        let inside = MARKS.with_borrow(|marks| marks.iter().any(|mark| mark.engine == engine));
        if inside { Err(Error::InsideTurn) } else { Ok(()) }
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        MARKS.with_borrow_mut(|marks| {
            if let Some(at) = marks.iter().rposition(|mark| *mark == self.mark) {
                marks.remove(at);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_turn_of_one_engine_is_refused_and_of_another_is_not() {
        assert!(Inside::refuse(EngineTag(1)).is_ok());
        let first = Inside::enter(EngineTag(1), 7);
        assert!(matches!(Inside::refuse(EngineTag(1)), Err(Error::InsideTurn)));
        assert!(Inside::refuse(EngineTag(2)).is_ok());
        let other = Inside::enter(EngineTag(2), 7);
        let nested = Inside::enter(EngineTag(1), 8);
        drop(first);
        assert!(Inside::refuse(EngineTag(1)).is_err());
        drop(nested);
        assert!(Inside::refuse(EngineTag(1)).is_ok());
        assert!(Inside::refuse(EngineTag(2)).is_err());
        drop(other);
    }

    #[test]
    fn a_turn_is_known_by_its_object() {
        let inside = Inside::enter(EngineTag(1), 7);
        assert!(Inside::is_within(EngineTag(1), 7));
        assert!(!Inside::is_within(EngineTag(1), 8));
        assert!(!Inside::is_within(EngineTag(2), 7));
        drop(inside);
        assert!(!Inside::is_within(EngineTag(1), 7));
    }
}
