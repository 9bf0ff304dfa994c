//! Taking an object's turn: admission, the queue, and waking the object if it has no memory.

use std::{
    future::{Future, poll_fn},
    pin::Pin,
    task::Poll,
    time::Instant,
};

use lineal_wal::planted::{self, Bug};

use super::{
    cell::Cell,
    fetching::{Attempts, Missing, attempt},
    resident::Resident,
    wake,
};
use crate::{
    Error, Gated, Result,
    engine::{EngineInner, pressure},
    gate::{inside::Inside, limit::Limit, output::Need, turn::TurnError},
    namespace::NamespaceInner,
    sync::Arc,
};

/// The right to act on one object, and the object's state, on this thread.
///
/// Dropped without [`Turn::run`] having come to its end, the closure panicked: the object is reset.
pub(crate) struct Turn<'a> {
    engine: &'a Arc<EngineInner>,
    namespace: &'a Arc<NamespaceInner>,
    cell: &'a Arc<Cell>,
    resident: Option<Box<Resident>>,
    running: bool,
    _inside: Option<Inside>,
}

/// An object in somebody's turn, as the write path takes it.
pub(crate) struct Held<'a> {
    pub(crate) engine: &'a Arc<EngineInner>,
    pub(crate) namespace: &'a Arc<NamespaceInner>,
    pub(crate) cell: &'a Cell,
    pub(crate) resident: &'a mut Resident,
}

impl Held<'_> {
    /// What somebody waits for who has seen the object as it is.
    #[inline]
    pub(crate) fn seen(&self) -> Need {
        Need::new(self.resident.last_lsn, self.namespace.level())
    }

    /// The same, for a part of what the turn is for.
    pub(crate) fn again(&mut self) -> Held<'_> {
        Held { engine: self.engine, namespace: self.namespace, cell: self.cell, resident: self.resident }
    }
}

impl<'a> Turn<'a> {
    /// Waits for the turn, blocking, for at most the engine's wait limit.
    #[inline]
    pub(crate) fn take(
        engine: &'a Arc<EngineInner>,
        namespace: &'a Arc<NamespaceInner>,
        cell: &'a Arc<Cell>,
    ) -> Result<Turn<'a>> {
        Inside::refuse(engine.output.tag)?;
        // Before the turn is entered, because making room takes turns itself.
        engine.admit()?;
        Turn::take_within(engine, namespace, cell)
    }

    /// As `take`, where the caller was admitted already: for a transaction over several objects.
    #[inline]
    pub(crate) fn take_within(
        engine: &'a Arc<EngineInner>,
        namespace: &'a Arc<NamespaceInner>,
        cell: &'a Arc<Cell>,
    ) -> Result<Turn<'a>> {
        namespace.check()?;
        let resident = match cell.turns.try_acquire() {
            Some(Some(resident)) => Some(resident),
            other => take_slowly(engine, cell, other)?,
        };
        Ok(Turn {
            engine,
            namespace,
            cell,
            resident,
            running: false,
            _inside: Some(Inside::enter(engine.output.tag, cell.address())),
        })
    }

    /// As `take`, without blocking the thread.
    pub(crate) async fn take_async(
        engine: &'a Arc<EngineInner>,
        namespace: &'a Arc<NamespaceInner>,
        cell: &'a Arc<Cell>,
    ) -> Result<Taken<'a>> {
        engine.check_open()?;
        let mut limit = Limit::default();
        let longest = engine.options.wait_max;
        poll_fn(|cx| match engine.poll_admit(cx) {
            Poll::Ready(()) => Poll::Ready(Ok(())),
            Poll::Pending => {
                limit.poll_give_up(&engine.deadlines, longest, || pressure::busy(longest), cx).map(Err)
            }
        })
        .await?;
        namespace.check()?;
        if Inside::is_within(engine.output.tag, cell.address()) {
            return Err(Error::InsideTurn);
        }
        let mut acquire = cell.turns.acquire_async();
        let resident = poll_fn(|cx| match Pin::new(&mut acquire).poll(cx) {
            Poll::Ready(turn) => Poll::Ready(turn.map_err(|error| turn_error(error, engine))),
            Poll::Pending => {
                let busy = || turn_error(TurnError::Busy, engine);
                limit.poll_give_up(&engine.deadlines, longest, busy, cx).map(Err)
            }
        })
        .await?;
        Ok(Taken { engine, namespace, cell, resident })
    }

    /// Runs `f` in this turn.
    pub(crate) fn run<R>(&mut self, f: impl FnOnce(Held<'_>) -> R) -> R {
        self.running = true;
        let result = f(self.held());
        self.running = false;
        result
    }

    fn held(&mut self) -> Held<'_> {
        Held {
            engine: self.engine,
            namespace: self.namespace,
            cell: self.cell,
            resident: self.resident.as_mut().expect("a turn has its object's state until it ends"),
        }
    }

    /// The parts of several turns at once, marked as running; [`Turn::ran`] ends that.
    pub(crate) fn begin(&mut self) -> Held<'_> {
        self.running = true;
        self.held()
    }

    pub(crate) fn ran(&mut self) {
        self.running = false;
    }
}

/// Waits for a turn that somebody else has, and wakes an object that has no memory.
#[cold]
fn take_slowly(
    engine: &Arc<EngineInner>,
    cell: &Cell,
    taken: Option<Option<Box<Resident>>>,
) -> Result<Option<Box<Resident>>> {
    let resident = match taken {
        Some(resident) => resident,
        None if planted::on(Bug::TurnGivenTwice) => None,
        None => {
            let deadline = Instant::now() + engine.options.wait_max;
            cell.turns.acquire(Some(deadline)).map_err(|error| turn_error(error, engine))?
        }
    };
    awake(engine, cell, resident)
}

impl Drop for Turn<'_> {
    #[inline]
    fn drop(&mut self) {
        if self.running {
            self.cell.turns.reset();
        }
        // First out of the turn: whoever is woken by the release may run on this very thread.
        self._inside = None;
        release(self.engine, self.cell, self.resident.take());
    }
}

/// A turn that was waited for asynchronously. Unlike a [`Turn`] it may cross threads, while nothing runs in it.
pub(crate) struct Taken<'a> {
    engine: &'a Arc<EngineInner>,
    namespace: &'a Arc<NamespaceInner>,
    cell: &'a Arc<Cell>,
    /// `None` for as long as the object has no memory.
    resident: Option<Box<Resident>>,
}

impl Taken<'_> {
    /// Runs `work` in this turn, and ends it. Where it would have to wait for the archive it does not: what it misses is
    /// fetched while the turn is kept, and it runs again.
    pub(crate) async fn run<T>(mut self, mut work: impl FnMut(Held<'_>) -> Gated<T>) -> Gated<T> {
        let mut attempts = Attempts::default();
        loop {
            let (missing, seen) = match self.wake() {
                Ok(None) => match attempt(self.engine, || self.enter(&mut work)) {
                    (done, None) => return done,
                    (failed, Some(missing)) => (missing, failed.need()),
                },
                Ok(Some(missing)) => (missing, Need::default()),
                Err(error) => return Gated::open(Err(error)),
            };
            if let Err(error) = attempts.fetch(missing).await {
                return Gated::hold(&self.engine.output, seen, Err(error));
            }
        }
    }

    /// Reads the object's state if it has no memory. Says what it missed, and is to be called again then.
    fn wake(&mut self) -> Result<Option<Missing>> {
        if self.resident.is_some() {
            return Ok(None);
        }
        match attempt(self.engine, || wake::wake(self.engine, self.cell)) {
            (_, Some(missing)) => Ok(Some(missing)),
            (woken, None) => {
                self.resident = Some(woken?);
                Ok(None)
            }
        }
    }

    /// Runs `work` on this thread.
    fn enter<R>(&mut self, work: impl FnOnce(Held<'_>) -> R) -> R {
        /// Resets the object if `work` panics.
        struct Running<'a>(&'a Cell);
        impl Drop for Running<'_> {
            fn drop(&mut self) {
                self.0.turns.reset();
            }
        }
        let _inside = Inside::enter(self.engine.output.tag, self.cell.address());
        let running = Running(self.cell);
        let result = work(Held {
            engine: self.engine,
            namespace: self.namespace,
            cell: self.cell,
            resident: self.resident.as_mut().expect("it was woken"),
        });
        std::mem::forget(running);
        result
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        release(self.engine, self.cell, self.resident.take());
    }
}

/// The state of the object whose turn was just taken, read if it has no memory. If that fails the turn is given
/// back.
fn awake(
    engine: &Arc<EngineInner>,
    cell: &Cell,
    resident: Option<Box<Resident>>,
) -> Result<Option<Box<Resident>>> {
    if resident.is_some() {
        return Ok(resident);
    }
    // Nobody else can be told of a failure or a panic in here but by giving the turn back.
    struct GiveBack<'a>(&'a Cell);
    impl Drop for GiveBack<'_> {
        fn drop(&mut self) {
            self.0.turns.release(None);
        }
    }
    let give_back = GiveBack(cell);
    let resident = wake::wake(engine, cell)?;
    std::mem::forget(give_back);
    Ok(Some(resident))
}

/// Ends a turn: charges the memory budget for what the object grew by, and hands the turn on.
#[inline]
pub(crate) fn release(engine: &EngineInner, cell: &Cell, mut resident: Option<Box<Resident>>) {
    if let Some(resident) = resident.as_mut() {
        engine.charge(resident);
        cell.touch(engine.tick());
    }
    cell.turns.release(resident);
}

pub(crate) fn turn_error(error: TurnError, engine: &EngineInner) -> Error {
    match error {
        TurnError::Reset => Error::Reset,
        TurnError::Busy => Error::Busy {
            what: "the object's turn",
            waited_ms: u64::try_from(engine.options.wait_max.as_millis()).unwrap_or(u64::MAX),
        },
    }
}
