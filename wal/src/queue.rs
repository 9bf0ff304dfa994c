//! Group commit: who flushes, who waits, who is told.
//!
//! One thread at a time is the leader: it takes the oldest batch, gives it to the device, publishes what became durable,
//! and wakes who waited for it, in the order of the log. A caller who must wait leads if nobody does. When its own record
//! is durable it hands leadership to the first thread that still waits, else to the flusher if tasks wait, else to nobody.
//!
//! Invariants, all under the lock:
//!
//! 1. `leading` is set iff exactly one thread (the leader, a thread whose slot says `LEAD`, or the flusher that was told)
//!    is bound to flush next or to hand on.
//! 2. Whoever is in a line waits for a position above `durable` that was handed out, and no failure is set.
//! 3. So a line is empty, or `leading` is set. (Without a flusher tasks are woken to lead by themselves.)
//! 4. Once `failure` is set nothing is given to the device any more, and `durable` never moves again, except by the flush
//!    that was on its way when the log was closed.

use crate::bell::Bell;
use crate::error::LogError;
use crate::ids::Lsn;
use crate::planted::{self, Bug};
use crate::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use crate::sync::{Arc, Mutex, MutexGuard, Parker};
use std::collections::VecDeque;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

/// What has been appended and is not durable.
pub(crate) trait Pending {
    /// What one flush makes durable.
    type Batch;

    /// The last position handed out.
    fn appended(&self) -> Lsn;

    /// Takes the oldest batch that the device has not seen.
    fn take(&mut self) -> Option<Self::Batch>;

    /// Takes back a batch that the device is done with.
    fn settle(&mut self, batch: Self::Batch, durable: bool);

    /// Whether there is nothing to take.
    fn is_empty(&self) -> bool;

    /// Whether there is so much to take that a flush is due though nobody waits.
    fn is_due(&self) -> bool;

    /// Changes with every batch that is taken.
    fn serial(&self) -> u64;
}

/// Where batches go.
pub(crate) trait Device<B> {
    /// Makes a batch durable.
    fn flush(&self, batch: &B) -> Flushed;

    /// Everything up to here is durable, and everybody can see it. Called without the lock, by the leader or who was it
    /// just now, so that two may call at once.
    fn published(&self, durable: Lsn);
}

/// What became of a batch.
#[derive(Debug)]
pub(crate) struct Flushed {
    /// Everything up to here is durable, if the batch is.
    pub(crate) durable: Option<Lsn>,
    /// Why nothing can be flushed any more.
    pub(crate) failure: Option<LogError>,
}

const WAIT: u8 = 0;
const LEAD: u8 = 1;
const DONE: u8 = 2;

/// Where one thread waits. `state` leaves WAIT once, under the queue's lock, by who took the slot out of the line.
#[derive(Debug)]
struct Slot {
    state: AtomicU8,
    thread: Parker,
}

impl Slot {
    fn tell(&self, state: u8) {
        self.state.store(state, Ordering::Release);
        self.thread.unpark();
    }
}

/// Those who wait, by position, then by arrival.
#[derive(Debug)]
struct Line<T> {
    waiting: VecDeque<(Lsn, u64, T)>,
}

impl<T> Line<T> {
    fn new() -> Self {
        Self { waiting: VecDeque::new() }
    }

    /// Newcomers usually wait for the newest record, so the place is looked for from the back.
    fn join(&mut self, lsn: Lsn, id: u64, waiter: T) {
        let mut at = self.waiting.len();
        while at > 0 && (self.waiting[at - 1].0, self.waiting[at - 1].1) > (lsn, id) {
            at -= 1;
        }
        self.waiting.insert(at, (lsn, id, waiter));
    }

    fn find(&mut self, lsn: Lsn, id: u64) -> Option<usize> {
        self.waiting.binary_search_by_key(&(lsn, id), |(lsn, id, _)| (*lsn, *id)).ok()
    }

    fn leave(&mut self, lsn: Lsn, id: u64) -> Option<T> {
        let at = self.find(lsn, id)?;
        self.waiting.remove(at).map(|(_, _, waiter)| waiter)
    }

    fn pop_through(&mut self, lsn: Lsn) -> Option<(Lsn, T)> {
        if self.waiting.front()?.0 > lsn {
            return None;
        }
        self.waiting.pop_front().map(|(lsn, _, waiter)| (lsn, waiter))
    }

    fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}

#[derive(Debug)]
enum Woken {
    Thread(Arc<Slot>),
    Task(Waker),
}

impl Woken {
    fn wake(self) {
        match self {
            Self::Thread(slot) => slot.tell(DONE),
            Self::Task(waker) => waker.wake(),
        }
    }
}

/// What the lock guards.
#[derive(Debug)]
pub(crate) struct Inner<P> {
    pub(crate) pending: P,
    leading: bool,
    threads: Line<Arc<Slot>>,
    tasks: Line<Waker>,
    failure: Option<LogError>,
    /// The flusher is the leader that was chosen, and has not heard yet.
    flusher_leads: bool,
    /// The flusher sleeps without a limit.
    flusher_dozes: bool,
    stopped: bool,
    next_id: u64,
}

impl<P> Inner<P> {
    /// Why nothing can be appended any more.
    pub(crate) fn failure(&self) -> Option<&LogError> {
        self.failure.as_ref()
    }

    /// Whether a flush is on its way, or bound to come.
    pub(crate) fn is_leading(&self) -> bool {
        self.leading
    }

    fn new_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }
}

/// The queue of a log. See the head of this file.
#[derive(Debug)]
pub(crate) struct Queue<P, D> {
    inner: Mutex<Inner<P>>,
    /// Written by the leader under the lock; read by anybody.
    durable: AtomicU64,
    flusher: Bell,
    has_flusher: bool,
    pub(crate) device: D,
}

impl<P: Pending, D: Device<P::Batch>> Queue<P, D> {
    pub(crate) fn new(pending: P, device: D, durable: Lsn, has_flusher: bool) -> Self {
        let inner = Inner {
            pending,
            leading: false,
            threads: Line::new(),
            tasks: Line::new(),
            failure: None,
            flusher_leads: false,
            flusher_dozes: false,
            stopped: false,
            next_id: 0,
        };
        Self {
            inner: Mutex::new(inner),
            durable: AtomicU64::new(durable.0),
            flusher: Bell::new(),
            has_flusher,
            device,
        }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Inner<P>> {
        self.inner.lock()
    }

    /// Everything up to here is durable.
    pub(crate) fn durable(&self) -> Lsn {
        Lsn(self.durable.load(Ordering::Acquire))
    }

    /// To be called with the lock that an append was made under: wakes the flusher if that is its business.
    pub(crate) fn appended(&self, mut inner: MutexGuard<'_, Inner<P>>, was_empty: bool) {
        let wake = self.has_flusher
            && !inner.leading
            && ((was_empty && inner.flusher_dozes) || inner.pending.is_due());
        if wake {
            inner.flusher_dozes = false;
        }
        drop(inner);
        if wake {
            self.flusher.ring();
        }
    }

    /// The answer for who waited for `lsn`, if there is one.
    fn outcome(&self, inner: &Inner<P>, lsn: Lsn) -> Option<Result<(), LogError>> {
        if self.durable() >= lsn {
            return Some(Ok(()));
        }
        if let Some(failure) = &inner.failure {
            return Some(Err(failure.clone()));
        }
        let last = inner.pending.appended();
        (lsn > last).then_some(Err(LogError::Beyond { lsn, last }))
    }

    /// Blocks until `lsn` is durable, or `deadline` has passed: then `false`. Leads if nobody does.
    pub(crate) fn wait(&self, lsn: Lsn, deadline: Option<Instant>) -> Result<bool, LogError> {
        if self.durable() >= lsn {
            return Ok(true);
        }
        let mut inner = self.inner.lock();
        if let Some(outcome) = self.outcome(&inner, lsn) {
            return outcome.map(|()| true);
        }
        if !inner.leading {
            inner.leading = true;
            drop(inner);
            return self.lead_for(lsn);
        }
        let slot = Arc::new(Slot { state: AtomicU8::new(WAIT), thread: Parker::new() });
        let id = inner.new_id();
        inner.threads.join(lsn, id, Arc::clone(&slot));
        drop(inner);
        loop {
            match slot.state.load(Ordering::Acquire) {
                DONE => return self.answer(lsn),
                LEAD => return self.lead_for(lsn),
                _ => {}
            }
            match deadline.map(|deadline| deadline.saturating_duration_since(Instant::now())) {
                Some(Duration::ZERO) => return self.give_up(lsn, id, &slot),
                rest => slot.thread.park(rest),
            }
        }
    }

    fn give_up(&self, lsn: Lsn, id: u64, slot: &Slot) -> Result<bool, LogError> {
        let mut inner = self.inner.lock();
        if inner.threads.leave(lsn, id).is_some() {
            return Ok(false);
        }
        // Whoever took the slot out of the line told it something, or is about to: under the lock it was decided.
        let lead = slot.state.load(Ordering::Acquire) == LEAD;
        if lead {
            self.hand_on(inner, Vec::new());
            return Ok(self.durable() >= lsn);
        }
        drop(inner);
        self.answer(lsn)
    }

    fn answer(&self, lsn: Lsn) -> Result<bool, LogError> {
        let inner = self.inner.lock();
        let outcome = self.outcome(&inner, lsn).expect("who is told that it is done finds an outcome");
        outcome.map(|()| true)
    }

    fn lead_for(&self, lsn: Lsn) -> Result<bool, LogError> {
        self.lead(lsn);
        self.answer(lsn)
    }

    /// Flushes until `until` is durable, then hands on. To be called by the leader only.
    fn lead(&self, until: Lsn) {
        let mut inner = self.inner.lock();
        loop {
            assert!(inner.leading, "only the leader flushes");
            if inner.failure.is_some() || self.durable() >= until {
                return self.hand_on(inner, Vec::new());
            }
            let Some(batch) = inner.pending.take() else {
                return self.hand_on(inner, Vec::new());
            };
            drop(inner);
            let flushed = self.device.flush(&batch);
            inner = self.inner.lock();
            let durable = flushed.durable;
            let woken = self.publish(&mut inner, batch, flushed);
            let ends = inner.failure.is_some() || self.durable() >= until;
            if ends {
                self.hand_on(inner, woken);
            } else {
                drop(inner);
                woken.into_iter().for_each(Woken::wake);
            }
            if let Some(durable) = durable {
                self.device.published(durable);
            }
            if ends {
                return;
            }
            inner = self.inner.lock();
        }
    }

    /// Takes the outcome of a flush in, and those whom it concerns out of the lines.
    fn publish(&self, inner: &mut Inner<P>, batch: P::Batch, flushed: Flushed) -> Vec<Woken> {
        inner.pending.settle(batch, flushed.durable.is_some());
        if let Some(durable) = flushed.durable {
            assert!(durable > self.durable(), "each flush makes something durable");
            self.durable.store(durable.0, Ordering::Release);
        }
        if inner.failure.is_none() && !planted::on(Bug::PoisonForgotten) {
            inner.failure = flushed.failure;
        }
        self.take_answered(inner)
    }

    fn take_answered(&self, inner: &mut Inner<P>) -> Vec<Woken> {
        let through = if inner.failure.is_some() { Lsn(u64::MAX) } else { self.durable() };
        let mut woken: Vec<(Lsn, Woken)> = Vec::new();
        while let Some((lsn, slot)) = inner.threads.pop_through(through) {
            woken.push((lsn, Woken::Thread(slot)));
        }
        let threads = woken.len();
        while let Some((lsn, waker)) = inner.tasks.pop_through(through) {
            woken.push((lsn, Woken::Task(waker)));
        }
        if threads > 0 && threads < woken.len() {
            woken.sort_by_key(|(lsn, _)| *lsn);
        }
        woken.into_iter().map(|(_, woken)| woken).collect()
    }

    /// Ends this thread's leadership. The next leader is woken first: the device waits for it.
    fn hand_on(&self, mut inner: MutexGuard<'_, Inner<P>>, mut woken: Vec<Woken>) {
        let mut next = None;
        let mut flusher = false;
        inner.leading = false;
        if inner.failure.is_none() {
            next = inner.threads.pop_through(Lsn(u64::MAX)).map(|(_, slot)| slot);
            if next.is_some() {
                inner.leading = true;
            } else if self.has_flusher && (!inner.tasks.is_empty() || inner.pending.is_due()) {
                inner.leading = true;
                inner.flusher_leads = true;
                inner.flusher_dozes = false;
                flusher = true;
            } else {
                while let Some((_, waker)) = inner.tasks.pop_through(Lsn(u64::MAX)) {
                    woken.push(Woken::Task(waker));
                }
            }
        }
        if let Some(slot) = &next {
            // Under the lock, so that a slot that gives up knows what it was told.
            slot.state.store(LEAD, Ordering::Release);
        }
        drop(inner);
        if let Some(slot) = next {
            slot.thread.unpark();
        }
        if flusher {
            self.flusher.ring();
        }
        woken.into_iter().for_each(Woken::wake);
    }

    /// Polls for `lsn`. `id` is the caller's place in the line, `None` at first.
    pub(crate) fn poll(
        &self,
        lsn: Lsn,
        id: &mut Option<u64>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), LogError>> {
        if self.durable() >= lsn {
            return Poll::Ready(Ok(()));
        }
        let mut inner = self.inner.lock();
        if let Some(outcome) = self.outcome(&inner, lsn) {
            return Poll::Ready(outcome);
        }
        if !self.has_flusher && !inner.leading {
            inner.leading = true;
            drop(inner);
            return Poll::Ready(self.lead_for(lsn).map(|_| ()));
        }
        let place = id.and_then(|id| inner.tasks.find(lsn, id));
        if let Some(at) = place {
            inner.tasks.waiting[at].2.clone_from(cx.waker());
        } else {
            let new = inner.new_id();
            *id = Some(new);
            inner.tasks.join(lsn, new, cx.waker().clone());
        }
        let kick = !inner.leading;
        if kick {
            inner.leading = true;
            inner.flusher_leads = true;
            inner.flusher_dozes = false;
        }
        drop(inner);
        if kick {
            self.flusher.ring();
        }
        Poll::Pending
    }

    /// Takes a task out of the line, if it is still there.
    pub(crate) fn forget(&self, lsn: Lsn, id: u64) {
        let waker = self.inner.lock().tasks.leave(lsn, id);
        // Dropped without the lock: a waker may run code of its executor.
        drop(waker);
    }

    /// Flushes everything appended so far that no leader is about to flush anyway, without waiting for it to be led
    /// elsewhere. For logs without a flusher.
    pub(crate) fn flush_inline(&self) {
        let mut inner = self.inner.lock();
        if !inner.leading && inner.failure.is_none() && !inner.pending.is_empty() {
            inner.leading = true;
            let until = inner.pending.appended();
            drop(inner);
            self.lead(until);
        }
    }

    /// Ends the log with a failure that did not come from a flush.
    pub(crate) fn fail(&self, failure: LogError) {
        let mut inner = self.inner.lock();
        if inner.failure.is_none() {
            inner.failure = Some(failure);
        }
        let woken = self.take_answered(&mut inner);
        drop(inner);
        woken.into_iter().for_each(Woken::wake);
    }

    /// Ends the flusher, and every wait, with `failure`.
    pub(crate) fn stop(&self, failure: LogError) {
        let mut inner = self.inner.lock();
        inner.stopped = true;
        if inner.failure.is_none() {
            inner.failure = Some(failure);
        }
        let woken = self.take_answered(&mut inner);
        drop(inner);
        woken.into_iter().for_each(Woken::wake);
        self.flusher.ring();
    }

    /// What the flusher thread does until [`stop`](Self::stop): leads for tasks, for much, and for what is old. A batch
    /// that it sees at two ticks in a row is old.
    pub(crate) fn run_flusher(&self, tick: Duration) {
        let mut seen = None;
        let mut idle_ticks = 0;
        loop {
            let mut inner = self.inner.lock();
            inner.flusher_dozes = false;
            if inner.flusher_leads {
                inner.flusher_leads = false;
                drop(inner);
                self.lead(self.durable().next());
                continue;
            }
            if inner.stopped {
                return;
            }
            let now = (!inner.pending.is_empty()).then(|| inner.pending.serial());
            let failed = inner.failure.is_some();
            if !inner.leading && !failed && now.is_some() && (now == seen || inner.pending.is_due()) {
                inner.leading = true;
                drop(inner);
                self.lead(self.durable().next());
                continue;
            }
            idle_ticks = if now.is_none() && !inner.leading { idle_ticks + 1 } else { 0 };
            seen = now;
            let doze = failed || idle_ticks > FLUSHER_IDLE_TICKS;
            inner.flusher_dozes = doze;
            drop(inner);
            self.flusher.listen((!doze).then_some(tick));
        }
    }
}

/// Ticks without anything to flush after which the flusher sleeps until it is woken. Until then an append need not wake
/// it, which would cost a lone caller a system call for each commit. Source: a guess, a third of a second by default.
#[cfg(not(any(all(test, loom), shuttle)))]
const FLUSHER_IDLE_TICKS: u32 = 64;
#[cfg(any(all(test, loom), shuttle))]
const FLUSHER_IDLE_TICKS: u32 = 0;

#[cfg(test)]
#[cfg(loom)]
mod loom_tests;
