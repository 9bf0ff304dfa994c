//! Knows which turns the current thread is inside of, so that a call that would wait for ever is refused instead.

use std::{cell::RefCell, marker::PhantomData};

use crate::{Error, Result};

/// Names one open engine within this process, for as long as it is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct EngineTag(pub(crate) usize);

/// One thing that the thread is inside of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mark {
    Turn(EngineTag),
    /// A poll that keeps one object's turn, whatever it waits for; the object's cell by address.
    Keeps(EngineTag, usize),
}

thread_local! {
    static MARKS: RefCell<Vec<Mark>> = const { RefCell::new(Vec::new()) };
}

/// Marks the thread as being inside something until it is dropped.
#[derive(Debug)]
pub(crate) struct Inside {
    mark: Mark,
    // It is left on the thread that entered it.
    _not_send: PhantomData<*const ()>,
}

impl Inside {
    /// Enters a turn of the engine, by a call that blocks.
    ///
    /// # Errors
    /// [`Error::InsideTurn`] if the thread is inside one already.
    pub(crate) fn enter(tag: EngineTag) -> Result<Inside> {
        Self::refuse(tag)?;
        Ok(Self::push(Mark::Turn(tag)))
    }

    /// Enters a turn of the engine that was awaited: that may happen inside another object's poll, which gives
    /// up its own turn as soon as it has to wait.
    pub(crate) fn enter_nested(tag: EngineTag) -> Inside {
        Self::push(Mark::Turn(tag))
    }

    /// Marks a poll that keeps an object's turn while it waits.
    pub(crate) fn keep(tag: EngineTag, cell: usize) -> Inside {
        Self::push(Mark::Keeps(tag, cell))
    }

    /// Whether waiting for this object's turn would wait for the very poll that waits.
    pub(crate) fn is_kept(tag: EngineTag, cell: usize) -> bool {
        MARKS.with_borrow(|marks| marks.contains(&Mark::Keeps(tag, cell)))
    }

    /// Refuses a blocking call inside a turn of the engine.
    pub(crate) fn refuse(tag: EngineTag) -> Result<()> {
        MARKS.with_borrow(
            |marks| if marks.contains(&Mark::Turn(tag)) { Err(Error::InsideTurn) } else { Ok(()) },
        )
    }

    fn push(mark: Mark) -> Inside {
        MARKS.with_borrow_mut(|marks| marks.push(mark));
        Inside { mark, _not_send: PhantomData }
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
        let first = Inside::enter(EngineTag(1)).unwrap();
        assert!(matches!(Inside::enter(EngineTag(1)), Err(Error::InsideTurn)));
        assert!(Inside::refuse(EngineTag(1)).is_err());
        let other = Inside::enter(EngineTag(2)).unwrap();
        let nested = Inside::enter_nested(EngineTag(1));
        drop(first);
        assert!(Inside::refuse(EngineTag(1)).is_err());
        drop(nested);
        assert!(Inside::refuse(EngineTag(1)).is_ok());
        assert!(Inside::refuse(EngineTag(2)).is_err());
        drop(other);
    }

    #[test]
    fn a_kept_turn_is_known_by_its_object() {
        let keeps = Inside::keep(EngineTag(1), 7);
        assert!(Inside::is_kept(EngineTag(1), 7));
        assert!(!Inside::is_kept(EngineTag(1), 8));
        assert!(!Inside::is_kept(EngineTag(2), 7));
        drop(keeps);
        assert!(!Inside::is_kept(EngineTag(1), 7));
    }
}
