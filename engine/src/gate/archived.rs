//! The archived prefix of the log: what of it is in the object store, and who waits for more.
//!
//! The log is one order and the store gets it in that order, so one number tells what is archived. Whoever uploads
//! [advances](ArchivedGate::advance) it or, once that cannot go on, [fails](ArchivedGate::fail) it for good. An engine
//! without an archive has this gate too, never attached.

use std::{
    collections::BTreeMap,
    pin::Pin,
    task::{Context, Poll, Waker},
    time::Instant,
};

use lineal_wal::Lsn;

use super::parker::{Parker, Woken};
use crate::{
    Error, Result,
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
};

/// Tells whoever uploads that a position is to be archived.
pub(crate) type Want = Box<dyn Fn(Lsn, Asked) + Send + Sync>;

/// How a position is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    /// A gate was made that opens with it: it goes with the others as soon as it is durable, so that several uploads are
    /// under way though who made the gates waits for them one by one.
    Expected,
    /// Somebody waits for it.
    Waited,
}

#[derive(Default)]
pub(crate) struct ArchivedGate {
    /// Everything up to here is archived. Written under the lock.
    archived: AtomicU64,
    want: OnceLock<Want>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    failure: Option<Error>,
    waiting: BTreeMap<Place, Waker>,
    next: u64,
}

/// A place in the line: the position that is waited for, and a number that tells those of one position apart.
type Place = (Lsn, u64);

impl ArchivedGate {
    /// Says that the engine has an archive, which holds everything up to `archived`. From now on `want` is called with
    /// each position that a gate is made for, and that somebody waits for: once for each, on his thread, from several at
    /// once, also before the position is durable, and never under a lock of the gate. It has to be quick.
    ///
    /// # Panics
    /// The second time.
    #[cfg_attr(not(any(test, feature = "archive")), allow(dead_code, reason = "nobody uploads"))]
    pub(crate) fn attach(&self, archived: Lsn, want: Want) {
        assert!(self.want.set(want).is_ok(), "an engine has one archive, attached when it is opened");
        self.advance(archived);
    }

    pub(crate) fn is_attached(&self) -> bool {
        self.want.get().is_some()
    }

    /// Everything up to here is archived.
    #[inline]
    pub(crate) fn archived(&self) -> Lsn {
        Lsn(self.archived.load(Ordering::Acquire))
    }

    /// Everything up to `lsn` is in the store: opens the gates up to there, in their order. A lower position than before
    /// changes nothing, nor does any after a failure: who was told that the outcome is unknown is not told otherwise.
    #[cfg_attr(not(any(test, feature = "archive")), allow(dead_code, reason = "nobody uploads"))]
    pub(crate) fn advance(&self, lsn: Lsn) {
        let mut state = self.state.lock();
        if state.failure.is_some() || lsn <= self.archived() {
            return;
        }
        self.archived.store(lsn.0, Ordering::Release);
        let later = state.waiting.split_off(&(Lsn(lsn.0.saturating_add(1)), 0));
        let open = std::mem::replace(&mut state.waiting, later);
        drop(state);
        open.into_values().for_each(Waker::wake);
    }

    /// Nothing more will be archived: every gate beyond what is fails with `error`, now and later. The first failure counts.
    pub(crate) fn fail(&self, error: Error) {
        let mut state = self.state.lock();
        let unused = match state.failure {
            None => {
                state.failure = Some(error);
                None
            }
            Some(_) => Some(error),
        };
        let failed = std::mem::take(&mut state.waiting);
        drop((state, unused));
        failed.into_values().for_each(Waker::wake);
    }

    /// Says that a gate was made for `lsn`.
    #[inline]
    pub(crate) fn expect(&self, lsn: Lsn) {
        if lsn > Lsn(0) {
            self.ask(lsn, Asked::Expected);
        }
    }

    /// Says that somebody waits for `lsn`.
    pub(crate) fn want(&self, lsn: Lsn) {
        self.ask(lsn, Asked::Waited);
    }

    fn ask(&self, lsn: Lsn, asked: Asked) {
        if self.archived() < lsn
            && let Some(want) = self.want.get()
        {
            want(lsn, asked);
        }
    }

    /// Blocks until everything up to `lsn` is archived, or the deadline has passed: then `false`.
    ///
    /// # Errors
    /// [`Error::NoArchive`] if there is none; what it [failed](ArchivedGate::fail) with.
    pub(crate) fn wait(&self, lsn: Lsn, deadline: Option<Instant>) -> Result<bool> {
        if self.archived() >= lsn {
            return Ok(true);
        }
        let parker = Arc::new(Parker::default());
        let waker = Waker::from(Arc::clone(&parker));
        let mut place = None;
        loop {
            if let Poll::Ready(outcome) = self.poll(lsn, &mut place, &mut Context::from_waker(&waker)) {
                return outcome.map(|()| true);
            }
            if parker.park(deadline) == Woken::ByDeadline {
                return self.give_up(lsn, place);
            }
        }
    }

    /// Leaves the line after the deadline; what came in that moment counts.
    fn give_up(&self, lsn: Lsn, place: Option<Place>) -> Result<bool> {
        self.leave(place);
        self.outcome(lsn, &self.state.lock()).map_or(Ok(false), |outcome| outcome.map(|()| true))
    }

    /// The answer for who waits for `lsn`, if there is one.
    fn outcome(&self, lsn: Lsn, state: &State) -> Option<Result<()>> {
        if self.archived() >= lsn {
            return Some(Ok(()));
        }
        if !self.is_attached() {
            return Some(Err(Error::NoArchive));
        }
        state.failure.clone().map(Err)
    }

    /// Polls for `lsn`. `place` is the caller's in the line, `None` at first; whoever does not poll to the end
    /// [leaves](ArchivedGate::leave).
    fn poll(&self, lsn: Lsn, place: &mut Option<Place>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        if self.archived() >= lsn {
            return Poll::Ready(Ok(()));
        }
        // Wakers are foreign code, also when they are cloned or dropped: outside of the lock.
        let waker = cx.waker().clone();
        let mut state = self.state.lock();
        if let Some(outcome) = self.outcome(lsn, &state) {
            drop(state);
            return Poll::Ready(outcome);
        }
        let at = *place.get_or_insert_with(|| {
            state.next += 1;
            (lsn, state.next)
        });
        let old = state.waiting.insert(at, waker);
        drop((state, old));
        Poll::Pending
    }

    fn leave(&self, place: Option<Place>) {
        if let Some(place) = place {
            let gone = self.state.lock().waiting.remove(&place);
            drop(gone);
        }
    }

    /// Resolves as [`wait`](ArchivedGate::wait) returns.
    pub(crate) fn future(self: &Arc<Self>, lsn: Lsn) -> ArchivedWait {
        ArchivedWait { gate: Arc::clone(self), lsn, place: None }
    }

    /// How many wait.
    #[cfg(test)]
    pub(crate) fn waiting(&self) -> usize {
        self.state.lock().waiting.len()
    }
}

/// Waits for a position to be archived. Dropping it leaves no trace.
pub(crate) struct ArchivedWait {
    gate: Arc<ArchivedGate>,
    lsn: Lsn,
    /// Its place in the line, once it was polled.
    place: Option<Place>,
}

impl ArchivedWait {
    /// See [`ArchivedGate::want`].
    pub(crate) fn want(&self) {
        self.gate.want(self.lsn);
    }
}

impl Future for ArchivedWait {
    type Output = Result<()>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        let this = &mut *self;
        let poll = this.gate.poll(this.lsn, &mut this.place, cx);
        if poll.is_ready() {
            // Whoever made it ready took it out of the line.
            this.place = None;
        }
        poll
    }
}

impl Drop for ArchivedWait {
    fn drop(&mut self) {
        self.gate.leave(self.place);
    }
}

#[cfg(all(test, loom))]
mod loom_tests;
#[cfg(all(test, not(loom)))]
mod tests;
