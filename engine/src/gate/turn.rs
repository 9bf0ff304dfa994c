//! The input gate of one object: hands out the turn, the exclusive right to act on it, in arrival order.
//!
//! [`Turns`] owns a value, in practice what the object has in memory. Taking the turn moves the value out to
//! the holder and releasing the turn moves it back, so a holder has exclusive access while no lock is held.
//!
//! # States
//! | State | value | queue | Left by |
//! |---|---|---|---|
//! | free | here | none | taking the turn |
//! | held | with the holder | none, or those who wait | the holder's [`release`](Turns::release) |
//! | granted | here, for the front of the queue | its front is granted the turn | the front takes it, or gives it up |
//!
//! A release gives the turn straight to the longest waiting of those who wait (held → granted) and wakes
//! nobody else. While somebody waits the gate is never free, so nobody can overtake. The queue is allocated by
//! the first who has to wait and freed when the gate is free again.
//!
//! Arrival is the moment of the lock inside: who gets that lock first is ahead. It is held for nanoseconds and
//! never while foreign code runs, except for [`with_idle`](Turns::with_idle); a hot thread holds it for a small
//! part of its time, so no fair unlock is needed against starvation, and one would make a convoy.
//!
//! # Who must release
//! Whoever was given the value gives it back by [`release`](Turns::release), exactly once, also if its own code
//! panics: a value that is lost leaves the gate shut, and those who wait sleep until their deadlines. Hold it in
//! something whose `Drop` releases it.

#[cfg(all(test, loom))]
mod loom_tests;
#[cfg(all(test, not(loom)))]
mod tests;

use std::{
    collections::BTreeMap,
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll, Waker},
    time::Instant,
};

use lineal_wal::planted::{self, Bug};

use super::parker::{Parker, Woken};
use crate::sync::{Arc, Mutex, thread};

/// Why a turn was not given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TurnError {
    /// The deadline passed first. The waiter has left the queue.
    #[error("the turn was not free before the deadline")]
    Busy,
    /// The object was reset after the event had come to the gate for the first time.
    #[error("the object was reset")]
    Reset,
}

/// What waits for a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WaiterKind {
    /// A transaction, blocking or async. It outlives a reset: it has seen nothing of the object yet.
    Transaction,
    /// An event, which takes one turn per poll. It belongs to the generation it arrived in and fails in any
    /// later one.
    Event,
}

/// One participant's place at the gate of one object, used for one turn after the other.
///
/// Between a [`poll_acquire`](Turns::poll_acquire) that returned `Pending` and the one that returns `Ready` it
/// stands in the queue: whoever drops it then calls [`cancel`](Turns::cancel) first, or the turn goes to nobody.
#[derive(Debug)]
pub(crate) struct Waiter {
    kind: WaiterKind,
    /// The place in the queue. For an event of a past generation it means nothing any more.
    ticket: Option<Ticket>,
    /// The generation that an event arrived in.
    generation: Option<u64>,
}

impl Waiter {
    pub(crate) fn new(kind: WaiterKind) -> Self {
        Self { kind, ticket: None, generation: None }
    }

    /// The generation that an event is bound to by its first poll; none before that and for transactions.
    #[cfg(test)]
    pub(crate) fn generation(&self) -> Option<u64> {
        self.generation
    }

    /// Whether it stands in the queue, and so has to be cancelled before it is dropped.
    pub(crate) fn is_queued(&self) -> bool {
        self.ticket.is_some()
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        debug_assert!(
            !self.is_queued() || thread::panicking(),
            "a waiter was dropped in the queue without being cancelled"
        );
    }
}

/// The input gate of one object; see the [module](self) for its states and for who must release.
pub(crate) struct Turns<T> {
    state: Mutex<State<T>>,
}

struct State<T> {
    value: Option<T>,
    /// `None` whenever the gate is free.
    queue: Option<Box<Queue>>,
    generation: u64,
}

/// Counts arrivals since the queue was allocated, so that the order of tickets is the order of arrival.
type Ticket = u64;

/// A map rather than a ring, so that one of ten thousand who wait can leave the middle at no cost.
#[derive(Default)]
struct Queue {
    next: Ticket,
    waiting: BTreeMap<Ticket, Entry>,
}

struct Entry {
    kind: WaiterKind,
    /// Taken by the grant: `None` only at the front, once it is granted the turn.
    waker: Option<Waker>,
}

/// What one look at the gate came to.
enum Look<T> {
    Done(Result<T, TurnError>),
    Queued,
    /// The waker has to be stored, and cloning it is foreign code that must not run under the lock.
    NeedsWaker,
}

impl<T> State<T> {
    /// Takes the turn if the gate is free.
    #[inline]
    fn take_free(&mut self) -> Option<T> {
        if self.queue.is_some() { None } else { self.value.take() }
    }

    /// Takes the turn if it was granted to `ticket`.
    fn take_granted(&mut self, ticket: Ticket) -> Option<T> {
        let front = self.queue.as_mut()?.waiting.first_entry()?;
        if *front.key() != ticket {
            return None;
        }
        let value = self.value.take()?;
        front.remove();
        Some(value)
    }

    /// With the value here, grants the turn to the front of the queue, or frees the gate if nobody waits.
    /// Returns whom to wake once the lock is released; nobody if the front knows already.
    fn grant(&mut self) -> Option<Waker> {
        debug_assert!(self.value.is_some(), "only a turn that is here can be granted");
        match self.queue.as_mut()?.waiting.first_entry() {
            Some(mut front) => front.get_mut().waker.take(),
            None => {
                self.queue = None;
                None
            }
        }
    }

    /// Takes `waiter` out of the queue, wherever in it. Returns its waker and whom to wake; both are dropped or
    /// used once the lock is released.
    fn leave(&mut self, waiter: &mut Waiter) -> (Option<Entry>, Option<Waker>) {
        // A reset has taken its events out already, and their tickets may be somebody else's by now.
        let gone = self.is_stale(waiter);
        let Some(ticket) = waiter.ticket.take().filter(|_| !gone) else { return (None, None) };
        let left = self.queue.as_mut().and_then(|queue| queue.waiting.remove(&ticket));
        assert!(left.is_some(), "a waiter with a ticket stands in the queue");
        (left, if self.value.is_some() { self.grant() } else { None })
    }

    fn is_stale(&self, waiter: &Waiter) -> bool {
        waiter.generation.is_some_and(|generation| generation != self.generation)
    }

    fn look(&mut self, waiter: &mut Waiter, waker: &Waker, clone: &mut Option<Waker>) -> Look<T> {
        if waiter.kind == WaiterKind::Event {
            waiter.generation.get_or_insert(self.generation);
            if self.is_stale(waiter) {
                waiter.ticket = None;
                return Look::Done(Err(TurnError::Reset));
            }
        }
        let Some(ticket) = waiter.ticket else {
            if let Some(value) = self.take_free() {
                return Look::Done(Ok(value));
            }
            let Some(waker) = clone.take() else { return Look::NeedsWaker };
            let queue = self.queue.get_or_insert_default();
            let ticket = queue.next;
            queue.next += 1;
            queue.waiting.insert(ticket, Entry { kind: waiter.kind, waker: Some(waker) });
            waiter.ticket = Some(ticket);
            return Look::Queued;
        };
        if let Some(value) = self.take_granted(ticket) {
            waiter.ticket = None;
            return Look::Done(Ok(value));
        }
        let entry = self
            .queue
            .as_mut()
            .and_then(|queue| queue.waiting.get_mut(&ticket))
            .expect("a waiter with a ticket stands in the queue");
        let stored = entry.waker.as_mut().expect("only who is granted the turn has no waker");
        if !stored.will_wake(waker) {
            let Some(clone) = clone.as_mut() else { return Look::NeedsWaker };
            // The old one goes to the caller, to be dropped once the lock is released.
            std::mem::swap(stored, clone);
        }
        Look::Queued
    }
}

impl<T> Turns<T> {
    /// A free gate around `value`, in generation 0.
    pub(crate) fn new(value: T) -> Self {
        Self { state: Mutex::new(State { value: Some(value), queue: None, generation: 0 }) }
    }

    /// Takes the turn if nobody has it or waits for it.
    #[inline]
    pub(crate) fn try_acquire(&self) -> Option<T> {
        self.state.lock().take_free()
    }

    /// Takes the turn as a transaction, asleep until it is its time.
    ///
    /// # Errors
    /// [`TurnError::Busy`] once the deadline has passed. A turn that was granted in that moment is taken.
    #[inline]
    pub(crate) fn acquire(&self, deadline: Option<Instant>) -> Result<T, TurnError> {
        match self.try_acquire() {
            Some(value) => Ok(value),
            None => self.acquire_asleep(deadline),
        }
    }

    #[cold]
    fn acquire_asleep(&self, deadline: Option<Instant>) -> Result<T, TurnError> {
        let parker = Arc::new(Parker::default());
        let waker = Waker::from(Arc::clone(&parker));
        let mut waiter = Waiter::new(WaiterKind::Transaction);
        loop {
            if let Poll::Ready(turn) = self.poll_acquire(&mut waiter, &mut Context::from_waker(&waker)) {
                return turn;
            }
            if parker.park(deadline) == Woken::ByDeadline {
                return self.give_up(&mut waiter).ok_or(TurnError::Busy);
            }
        }
    }

    /// Takes the turn, or queues `waiter` and wakes the context's waker when the turn is granted to it.
    ///
    /// An event's first poll binds `waiter` to the generation of that moment.
    ///
    /// # Errors
    /// [`TurnError::Reset`] for an event of a past generation, at once and at every later poll.
    ///
    /// # Cancel safety
    /// After `Pending`, `waiter` stands in the queue until it is polled to `Ready` or
    /// [`cancel`](Turns::cancel)led. Once it is granted the turn, everybody else waits until its owner does the
    /// one or the other: who has stopped polling it must not go on to wait for another turn of this object.
    pub(crate) fn poll_acquire(
        &self,
        waiter: &mut Waiter,
        cx: &mut Context<'_>,
    ) -> Poll<Result<T, TurnError>> {
        // Outlives the guard below, so that no waker is dropped under the lock.
        let mut clone = None;
        loop {
            let look = self.state.lock().look(waiter, cx.waker(), &mut clone);
            match look {
                Look::Done(turn) => return Poll::Ready(turn),
                Look::Queued => return Poll::Pending,
                Look::NeedsWaker => clone = Some(cx.waker().clone()),
            }
        }
    }

    /// Takes the turn as a transaction, as a future. It never fails: a reset leaves transactions alone, and the
    /// caller's deadline is the caller's to keep, by dropping the future. The error is that of the other ways.
    pub(crate) fn acquire_async(&self) -> Acquire<'_, T> {
        Acquire { turns: self, waiter: Waiter::new(WaiterKind::Transaction) }
    }

    /// Takes `waiter` out of the queue without a trace; a turn granted to it goes on to the next. Does nothing
    /// if it does not stand in the queue. Afterwards it can be used again.
    pub(crate) fn cancel(&self, waiter: &mut Waiter) {
        if !waiter.is_queued() {
            return;
        }
        let (left, next) = self.state.lock().leave(waiter);
        drop(left);
        wake(next);
    }

    /// Ends the wait of a transaction whose deadline has passed: takes the turn if it is granted already, else
    /// leaves the queue. An event ends its wait by [`cancel`](Turns::cancel).
    pub(crate) fn give_up(&self, waiter: &mut Waiter) -> Option<T> {
        debug_assert_eq!(waiter.kind, WaiterKind::Transaction, "an event may have been reset");
        let ticket = waiter.ticket?;
        let mut state = self.state.lock();
        if let Some(value) = state.take_granted(ticket) {
            waiter.ticket = None;
            return Some(value);
        }
        let (left, next) = state.leave(waiter);
        drop(state);
        drop(left);
        wake(next);
        None
    }

    /// Gives the turn back: to the longest waiting, or to the free gate. The lock inside is free when the waiter
    /// is woken.
    ///
    /// # Panics
    /// If the turn is not held: a value would be lost, or two would act on one object.
    #[inline]
    pub(crate) fn release(&self, value: T) {
        let mut state = self.state.lock();
        let twice = planted::on(Bug::TurnGivenTwice);
        assert!(state.value.is_none() || twice, "a turn is released by its holder, once");
        state.value = Some(value);
        if state.queue.is_some() {
            let next = state.grant();
            drop(state);
            wake(next);
        }
    }

    /// Runs `f` on the value if nobody has the turn or waits for it, and keeps everybody out meanwhile. `f` runs
    /// under the lock inside: it is short and does not come back to this gate. If it panics the gate stays free
    /// and the value as `f` left it.
    pub(crate) fn with_idle<R>(&self, f: impl FnOnce(&mut T) -> R) -> Option<R> {
        let mut state = self.state.lock();
        if state.queue.is_some() { None } else { state.value.as_mut().map(f) }
    }

    /// Whether nobody has the turn or waits for it.
    #[cfg(test)]
    pub(crate) fn is_idle(&self) -> bool {
        let state = self.state.lock();
        state.value.is_some() && state.queue.is_none()
    }

    /// How many wait: those in the queue but for the one that is granted the turn.
    #[cfg(test)]
    pub(crate) fn waiting(&self) -> usize {
        let state = self.state.lock();
        let queued = state.queue.as_ref().map_or(0, |queue| queue.waiting.len());
        queued.saturating_sub(usize::from(state.value.is_some()))
    }

    /// Counts the resets.
    pub(crate) fn generation(&self) -> u64 {
        self.state.lock().generation
    }

    /// Starts a new generation and returns it: events of the old one that wait, also one that is granted the
    /// turn but has not taken it, are woken and fail with [`TurnError::Reset`], as does each that comes again.
    /// Transactions keep their places. A turn that is held stays held: the holder still releases it.
    pub(crate) fn reset(&self) -> u64 {
        let mut state = self.state.lock();
        state.generation += 1;
        let generation = state.generation;
        let mut wakers = Vec::new();
        if let Some(queue) = &mut state.queue {
            let events = queue.waiting.extract_if(.., |_, entry| entry.kind == WaiterKind::Event);
            wakers.extend(events.filter_map(|(_, entry)| entry.waker));
            if state.value.is_some() {
                wakers.extend(state.grant());
            }
        }
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
        generation
    }
}

fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}

impl<T> fmt::Debug for Turns<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut turns = f.debug_struct("Turns");
        // Printed from inside `with_idle` it must not wait for itself.
        if let Some(state) = self.state.try_lock() {
            turns
                .field("value_is_here", &state.value.is_some())
                .field("queued", &state.queue.as_ref().map_or(0, |queue| queue.waiting.len()))
                .field("generation", &state.generation);
        }
        turns.finish_non_exhaustive()
    }
}

/// The future of [`Turns::acquire_async`].
///
/// # Cancel safety
/// Dropped in the queue it leaves no trace; dropped after it was granted the turn it passes the turn on.
#[derive(Debug)]
#[must_use = "a future does nothing unless it is polled"]
pub(crate) struct Acquire<'a, T> {
    turns: &'a Turns<T>,
    waiter: Waiter,
}

impl<T> Future for Acquire<'_, T> {
    type Output = Result<T, TurnError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        this.turns.poll_acquire(&mut this.waiter, cx)
    }
}

impl<T> Drop for Acquire<'_, T> {
    fn drop(&mut self) {
        self.turns.cancel(&mut self.waiter);
    }
}
