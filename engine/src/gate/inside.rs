//! Knows which turns the current thread is inside of, so that a call that would wait for ever is refused instead.

use std::{
    cell::{Cell, RefCell},
    marker::PhantomData,
};

use crate::{Error, Result, sync::thread_local};

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
    /// The turn that the thread is inside of, where it is only one: nearly always. It needs no destructor, so that
    /// looking at it costs a load.
    static ONLY: Cell<Option<Mark>> = const { Cell::new(None) };
    /// How many marks are in `MORE`.
    static COUNT: Cell<usize> = const { Cell::new(0) };
    /// The others.
    static MORE: RefCell<Vec<Mark>> = const { RefCell::new(Vec::new()) };
}

/// Whether the thread is inside of a turn that `is` says it of.
#[inline]
fn any(is: impl Fn(&Mark) -> bool) -> bool {
    ONLY.with(Cell::get).is_some_and(|mark| is(&mark))
        || (COUNT.with(Cell::get) > 0 && MORE.with(|marks| marks.borrow().iter().any(is)))
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
    #[inline]
    pub(crate) fn enter(engine: EngineTag, cell: usize) -> Inside {
        let mark = Mark { engine, cell };
        if ONLY.with(Cell::get).is_none() {
            ONLY.with(|only| only.set(Some(mark)));
        } else {
            MORE.with(|marks| marks.borrow_mut().push(mark));
            COUNT.with(|count| count.set(count.get() + 1));
        }
        Inside { mark, _not_send: PhantomData }
    }

    /// Whether the thread has this object's turn. Who waits for it inside waits for ever, also asynchronously: what
    /// is asked only inside a turn that ends only when it is ready.
    pub(crate) fn is_within(engine: EngineTag, cell: usize) -> bool {
        any(|mark| *mark == Mark { engine, cell })
    }

    /// Refuses a blocking call inside a turn of the engine.
    #[inline]
    pub(crate) fn refuse(engine: EngineTag) -> Result<()> {
        if any(|mark| mark.engine == engine) { Err(Error::InsideTurn) } else { Ok(()) }
    }
}

#[cold]
fn leave_more(mark: Mark) {
    MORE.with(|marks| {
        let mut marks = marks.borrow_mut();
        if let Some(at) = marks.iter().rposition(|other| *other == mark) {
            marks.remove(at);
            COUNT.with(|count| count.set(marks.len()));
        }
    });
}

impl Drop for Inside {
    #[inline]
    fn drop(&mut self) {
        // Equal marks are as good as each other, so it does not matter which of two is taken.
        if ONLY.with(Cell::get) == Some(self.mark) {
            ONLY.with(|only| only.set(None));
        } else {
            leave_more(self.mark);
        }
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
