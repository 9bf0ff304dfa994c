//! Events: async closures that run on an object in turns.
//!
//! An event has its object's turn during each poll, and gives it back when it is pending, unless it is inside
//! [`Cx::block_concurrency`]. So at most one event's code runs at a time, and others run only while it awaits.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
    thread::{self, ThreadId},
};

use lineal_wal::planted::{self, Bug};

use super::{
    inside::Inside,
    limit::Limit,
    output::{Gated, Need},
    turn::{TurnError, Waiter, WaiterKind},
};
use crate::{
    Bookmark, Error, Object, Result, Tx, View,
    engine::pressure,
    history::past::bookmark_held,
    migration::{Use, bring_forward},
    object::{
        fetching::{Attempts, Missing, attempt},
        resident::Resident,
        turns::{Held, release, turn_error},
        wake::wake,
    },
    sync::{Arc, Mutex},
    transaction::commit,
};

/// What an event can do with its object. Valid inside the event's own future only.
///
/// Cheap to clone. Its calls are synchronous, because the event has the turn while its code runs.
#[derive(Clone)]
pub struct Cx {
    shared: Arc<Shared>,
}

struct Shared {
    object: Object,
    slot: Mutex<Slot>,
}

/// What the event's polls and its contexts share.
struct Slot {
    /// The object's state, while the event's code runs and no call has taken it.
    resident: Option<Box<Resident>>,
    /// The thread that runs the event's code now, if one does.
    polling: Option<ThreadId>,
    /// How many `block_concurrency` the event is inside of.
    blocking: u32,
    /// What everything waits for that the event made or saw.
    seen: Need,
    /// The object's generation when the event began.
    generation: u64,
}

impl std::fmt::Debug for Cx {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cx").field("object", &self.shared.object).finish_non_exhaustive()
    }
}

impl Cx {
    /// The event's object.
    pub fn object(&self) -> &Object {
        &self.shared.object
    }

    /// Runs `f` as one transaction of the event's object; see [`Object::transact`]. Where it reads parts of packs that
    /// are in the archive only, it blocks the thread for the store; [`Cx::transact_async`] does not.
    ///
    /// # Errors
    /// As [`Object::transact`]; [`Error::OutsideTurn`] outside of the event; [`Error::Reset`].
    pub fn transact<T>(&self, f: impl FnOnce(&mut Tx<'_>) -> Result<T>) -> Gated<T> {
        self.with(|held| commit::transact(held, f))
    }

    /// As [`Cx::transact`], without blocking for the archive: what `f` misses is fetched, while everybody else is kept
    /// off the object, and it runs again; see [`Object::transact_async`]. Pending only for that.
    ///
    /// # Errors
    /// As [`Cx::transact`] and [`Object::transact_async`].
    ///
    /// # Cancel safety
    /// As [`Object::transact_async`]. The object is not reset.
    pub async fn transact_async<T, F>(&self, mut f: F) -> Gated<T>
    where
        F: FnMut(&mut Tx<'_>) -> Result<T>,
    {
        let mut attempts = Attempts::default();
        loop {
            let once = || self.with(|held| commit::transact(held, &mut f));
            let (missing, seen) = match attempt(&self.shared.object.engine, once) {
                (done, None) => return done,
                (failed, Some(missing)) => (missing, failed.need()),
            };
            let mut guard = match Block::begin(&self.shared) {
                Ok(guard) => guard,
                Err(error) => return Gated::open(Err(error)),
            };
            // Wherever it ends, nothing is half done.
            guard.ended_well = true;
            if let Err(error) = attempts.fetch(missing).await {
                return Gated::hold(&self.shared.object.engine.output, seen, Err(error));
            }
        }
    }

    /// Runs `f` on the event's object as it is; see [`Object::read`]. Like [`Cx::transact`] it may block for the archive.
    ///
    /// # Errors
    /// As [`Cx::transact`].
    pub fn read<T>(&self, f: impl FnOnce(&View<'_>) -> Result<T>) -> Gated<T> {
        self.with(|held| commit::read(held, f))
    }

    /// The point in the object's history where it is now: it covers the commits that this event made so far. See
    /// [`Object::bookmark`].
    ///
    /// # Errors
    /// As [`Object::bookmark`]; [`Error::OutsideTurn`] outside of the event; [`Error::Reset`].
    pub fn bookmark(&self) -> Gated<Bookmark> {
        self.with(bookmark_held)
    }

    /// Looks inside another result of the same engine now; the event's own result is held back until what
    /// `gated` depends on is durable as well.
    ///
    /// # Errors
    /// The gated error; [`Error::OtherEngine`] for a gate of another engine that is still shut.
    pub fn absorb<T, E: From<Error>>(&self, gated: Gated<T, E>) -> Result<T, E> {
        let (result, need) = gated.into_engine(&self.shared.object.engine.output)?;
        self.shared.see(need);
        result
    }

    /// Keeps everybody else off the object until `future` ends, also while it awaits. Nests.
    ///
    /// # Errors
    /// What `future` returns. If that is an error, or it is dropped before it ends, the object is reset: queued
    /// events and live contexts get [`Error::Reset`], commits stay.
    pub async fn block_concurrency<T>(&self, future: impl Future<Output = Result<T>>) -> Result<T> {
        let mut guard = Block::begin(&self.shared)?;
        let outcome = future.await;
        guard.ended_well = outcome.is_ok();
        outcome
    }

    fn with<T>(&self, f: impl FnOnce(Held<'_>) -> Gated<T>) -> Gated<T> {
        let mut borrowed = match Borrowed::take(&self.shared) {
            Ok(borrowed) => borrowed,
            Err(error) => return Gated::open(Err(error)),
        };
        let object = &self.shared.object;
        let gated = f(Held {
            engine: &object.engine,
            namespace: &object.namespace,
            cell: &object.cell,
            resident: borrowed.resident.as_mut().expect("borrowed until it is dropped"),
        });
        self.shared.see(gated.need());
        gated
    }
}

impl Shared {
    fn see(&self, need: Need) {
        let mut slot = self.slot.lock();
        slot.seen = slot.seen.and(need);
    }

    /// Brings the object's schema forward before the event's code sees it.
    fn bring_forward(&self) -> Result<()> {
        let mut borrowed = Borrowed::take(self)?;
        let resident = borrowed.resident.as_mut().expect("borrowed until it is dropped");
        if !self.object.namespace.steps.are_ahead_of(resident.schema_version) {
            return Ok(());
        }
        let Object { engine, namespace, cell } = &self.object;
        let outcome = bring_forward(&mut Held { engine, namespace, cell, resident }, Use::Read);
        self.see(Need::new(resident.last_lsn, namespace.level()));
        outcome
    }

    fn check_generation(&self, slot: &Slot) -> Result<()> {
        if slot.generation == self.object.cell.turns.generation() { Ok(()) } else { Err(Error::Reset) }
    }
}

impl Slot {
    /// The turn is this poll's, on this poll's thread; a context that was sent elsewhere has no part in it.
    fn check_thread(&self) -> Result<()> {
        if self.polling == Some(thread::current().id()) { Ok(()) } else { Err(Error::OutsideTurn) }
    }
}

/// The object's state on loan to one call; it goes back also when the call panics.
struct Borrowed<'a> {
    shared: &'a Shared,
    resident: Option<Box<Resident>>,
}

impl<'a> Borrowed<'a> {
    fn take(shared: &'a Shared) -> Result<Borrowed<'a>> {
        let mut slot = shared.slot.lock();
        shared.check_generation(&slot)?;
        slot.check_thread()?;
        // Somebody on this very thread has it: a call inside a call.
        let resident = slot.resident.take().ok_or(Error::InsideTurn)?;
        Ok(Borrowed { shared, resident: Some(resident) })
    }
}

impl Drop for Borrowed<'_> {
    fn drop(&mut self) {
        self.shared.slot.lock().resident = self.resident.take();
    }
}

/// One `block_concurrency`, until it ends or is dropped.
struct Block<'a> {
    shared: &'a Shared,
    ended_well: bool,
}

impl<'a> Block<'a> {
    fn begin(shared: &'a Shared) -> Result<Block<'a>> {
        let mut slot = shared.slot.lock();
        shared.check_generation(&slot)?;
        slot.check_thread()?;
        slot.blocking += 1;
        Ok(Block { shared, ended_well: false })
    }
}

impl Drop for Block<'_> {
    fn drop(&mut self) {
        self.shared.slot.lock().blocking -= 1;
        if !self.ended_well {
            self.shared.object.cell.turns.reset();
        }
    }
}

/// Runs `f` as an event of the object.
pub(crate) fn run<'o, T, F, Fut>(
    object: &'o Object,
    f: F,
) -> impl Future<Output = Gated<T>> + use<'o, T, F, Fut>
where
    F: FnOnce(Cx) -> Fut + 'o,
    Fut: Future<Output = Result<T>> + 'o,
    T: 'o,
{
    Event {
        object: object.clone(),
        shared: None,
        code: Code::Start(Some(f)),
        waiter: Waiter::new(WaiterKind::Event),
        limit: Limit::default(),
        turn: None,
        attempts: Attempts::default(),
        fetching: None,
    }
}

struct Event<F, Fut> {
    object: Object,
    shared: Option<Arc<Shared>>,
    code: Code<F, Fut>,
    waiter: Waiter,
    /// Of the wait for the turn, each time that it has to wait.
    limit: Limit,
    /// The turn while it is kept over a `Pending`: the object's state, if it has memory.
    turn: Option<Option<Box<Resident>>>,
    /// At waking the object, and at bringing its schema forward.
    attempts: Attempts,
    /// What those wait for, in the turn.
    fetching: Option<Fetching>,
}

type Fetching = Pin<Box<dyn Future<Output = Result<()>> + Send>>;

enum Code<F, Fut> {
    Start(Option<F>),
    Running(Pin<Box<Fut>>),
    Done,
}

// The only part that must not move is boxed.
impl<F, Fut> Unpin for Event<F, Fut> {}

impl<T, F, Fut> Future for Event<F, Fut>
where
    F: FnOnce(Cx) -> Fut,
    Fut: Future<Output = Result<T>>,
{
    type Output = Gated<T>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Gated<T>> {
        let this = self.get_mut();
        loop {
            let resident = match ready!(this.poll_turn(cx)) {
                Ok(resident) => resident,
                Err(error) => return Poll::Ready(this.end(Err(error))),
            };
            let shared = Arc::clone(this.shared.get_or_insert_with(|| Shared::new(&this.object)));
            let mut turn = EventTurn::begin(&shared, resident);
            if matches!(this.code, Code::Start(_)) {
                match attempt(&this.object.engine, || shared.bring_forward()) {
                    (Ok(()), None) => {}
                    (Err(error), None) => {
                        turn.finish();
                        return Poll::Ready(this.end(Err(error)));
                    }
                    (_, Some(missing)) => {
                        this.turn = Some(Some(turn.keep()));
                        this.fetch(missing);
                        continue;
                    }
                }
            }
            let outcome = this.code.poll(&shared, cx);
            return match outcome {
                Poll::Pending => {
                    this.turn = turn.pause().map(Some);
                    Poll::Pending
                }
                Poll::Ready(outcome) => {
                    turn.finish();
                    Poll::Ready(this.end(outcome))
                }
            };
        }
    }
}

impl<F, Fut> Event<F, Fut> {
    /// Waits for the turn, and for the object's state if it has no memory. If that fails the turn is given back.
    fn poll_turn(&mut self, cx: &mut Context<'_>) -> Poll<Result<Box<Resident>>> {
        if self.turn.is_none() {
            match ready!(self.poll_acquire(cx)) {
                Ok(resident) => self.turn = Some(resident),
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        let awake = ready!(self.poll_awake(cx));
        if awake.is_err() {
            self.give_back();
        }
        Poll::Ready(awake)
    }

    fn poll_acquire(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Box<Resident>>>> {
        let Object { engine, namespace, cell } = &self.object;
        if let Err(error) = engine.check_open().and_then(|()| namespace.check()) {
            return Poll::Ready(Err(error));
        }
        if Inside::is_within(engine.output.tag, cell.address()) {
            cell.turns.cancel(&mut self.waiter);
            return Poll::Ready(Err(Error::InsideTurn));
        }
        let longest = engine.options.wait_max;
        if !self.waiter.is_queued() && engine.poll_admit(cx).is_pending() {
            let busy = || pressure::busy(longest);
            return self.limit.poll_give_up(&engine.deadlines, longest, busy, cx).map(Err);
        }
        // The waiter belongs to the generation of its first poll: after a reset it gets no turn any more.
        match cell.turns.poll_acquire(&mut self.waiter, cx) {
            Poll::Ready(acquired) => {
                self.limit.end();
                Poll::Ready(acquired.map_err(|error| turn_error(error, engine)))
            }
            Poll::Pending => {
                let busy = || turn_error(TurnError::Busy, engine);
                let error = ready!(self.limit.poll_give_up(&engine.deadlines, longest, busy, cx));
                cell.turns.cancel(&mut self.waiter);
                Poll::Ready(Err(error))
            }
        }
    }

    /// In the turn: waits for what was missed, and reads the object's state if it has no memory.
    fn poll_awake(&mut self, cx: &mut Context<'_>) -> Poll<Result<Box<Resident>>> {
        loop {
            if let Some(fetching) = &mut self.fetching {
                let fetched = ready!(fetching.as_mut().poll(cx));
                self.fetching = None;
                fetched?;
            }
            if let Some(resident) = self.turn.as_mut().and_then(Option::take) {
                self.turn = None;
                return Poll::Ready(Ok(resident));
            }
            let Object { engine, cell, .. } = &self.object;
            match attempt(engine, || wake(engine, cell)) {
                (woken, None) => self.turn = Some(Some(woken?)),
                (_, Some(missing)) => self.fetch(missing),
            }
        }
    }

    fn fetch(&mut self, missing: Missing) {
        self.fetching = Some(Box::pin(self.attempts.fetch(missing)));
    }

    /// Gives the turn back if it is kept.
    fn give_back(&mut self) {
        if let Some(resident) = self.turn.take() {
            release(&self.object.engine, &self.object.cell, resident);
        }
    }

    /// Drops the event's code and gates its outcome on what it has seen.
    fn end<T>(&mut self, outcome: Result<T>) -> Gated<T> {
        self.code = Code::Done;
        let seen = self.shared.as_ref().map_or(Need::default(), |shared| shared.slot.lock().seen);
        if planted::on(Bug::EventUngated) {
            return Gated::open(outcome);
        }
        Gated::hold(&self.object.engine.output, seen, outcome)
    }
}

impl<T, F, Fut> Code<F, Fut>
where
    F: FnOnce(Cx) -> Fut,
    Fut: Future<Output = Result<T>>,
{
    fn poll(&mut self, shared: &Arc<Shared>, cx: &mut Context<'_>) -> Poll<Result<T>> {
        if let Code::Start(f) = self {
            let f = f.take().expect("an event starts once");
            *self = Code::Running(Box::pin(f(Cx { shared: Arc::clone(shared) })));
        }
        match self {
            Code::Running(future) => future.as_mut().poll(cx),
            Code::Start(_) | Code::Done => unreachable!("an event is not polled after it was ready"),
        }
    }
}

impl Shared {
    fn new(object: &Object) -> Arc<Shared> {
        let slot = Slot {
            resident: None,
            polling: None,
            blocking: 0,
            seen: Need::default(),
            generation: object.cell.turns.generation(),
        };
        Arc::new(Shared { object: object.clone(), slot: Mutex::new(slot) })
    }
}

/// One poll of an event's code. Dropped before it is paused or finished, the code panicked.
struct EventTurn<'a> {
    shared: &'a Shared,
    ended: bool,
    _inside: Inside,
}

impl<'a> EventTurn<'a> {
    fn begin(shared: &'a Shared, resident: Box<Resident>) -> EventTurn<'a> {
        let inside = Inside::enter(shared.object.engine.output.tag, shared.object.cell.address());
        let mut slot = shared.slot.lock();
        // The event's outcome says something of the object, so it waits for what the object's state waits for.
        slot.seen = slot.seen.and(Need::new(resident.last_lsn, shared.object.namespace.level()));
        slot.resident = Some(resident);
        slot.polling = Some(thread::current().id());
        EventTurn { shared, ended: false, _inside: inside }
    }

    /// Ends the poll and keeps the turn.
    fn keep(&mut self) -> Box<Resident> {
        self.ended = true;
        let mut slot = self.shared.slot.lock();
        slot.polling = None;
        slot.resident.take().expect("whoever borrowed the state has given it back on this thread")
    }

    /// Ends the poll. Returns the object's state if the turn is kept.
    fn pause(&mut self) -> Option<Box<Resident>> {
        let resident = self.keep();
        if self.shared.slot.lock().blocking > 0 {
            return Some(resident);
        }
        release(&self.shared.object.engine, &self.shared.object.cell, Some(resident));
        None
    }

    fn finish(&mut self) {
        if let Some(kept) = self.pause() {
            release(&self.shared.object.engine, &self.shared.object.cell, Some(kept));
        }
    }
}

impl Drop for EventTurn<'_> {
    fn drop(&mut self) {
        if !self.ended {
            self.shared.object.cell.turns.reset();
            self.finish();
        }
    }
}

impl<F, Fut> Drop for Event<F, Fut> {
    fn drop(&mut self) {
        // The code first: a `block_concurrency` in it resets the object before the turn is handed on.
        self.code = Code::Done;
        self.object.cell.turns.cancel(&mut self.waiter);
        self.give_back();
    }
}
