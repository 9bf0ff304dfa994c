//! The output gate: a value, or an error, that nobody sees before all that it was computed from is durable.

use std::{
    future::{Future, IntoFuture},
    pin::Pin,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use lineal_wal::{DurableWait, Log, Lsn};

use super::inside::{EngineTag, Inside};
use crate::{Error, Result, sync::Arc};

/// What a gate waits on: the log of one engine.
pub(crate) struct Output {
    pub(crate) log: Log,
    pub(crate) tag: EngineTag,
}

/// A result that is held back until every commit it depends on is durable.
///
/// Made by every call that looks at an object. Get at what is inside by [`wait`](Gated::wait) (blocks),
/// by `.await`, by [`absorb`](crate::Tx::absorb)ing it into a transaction that is gated itself, or by
/// [`unconfirmed`](Gated::unconfirmed), which opts out of the promise. Dropping it never blocks and takes
/// nothing back: a commit stays a commit.
///
/// Errors are gated as well: an error that a closure returned because of a value it read says something of
/// that value.
///
/// # Cancel safety
/// Awaiting borrows nothing and registers a waker; dropping the future leaves no trace.
#[must_use = "a gated result tells whether the transaction took effect: wait for it, await it or absorb it"]
pub struct Gated<T, E = Error> {
    outcome: Outcome<T, E>,
    holds: Holds,
}

enum Outcome<T, E> {
    Here(Result<T, E>),
    /// Computed when the gate opens, never before.
    Mapped(Box<dyn FnOnce() -> Result<T, E> + Send>),
}

/// What has to be durable before the gate opens. Empty for what depends on no commit.
enum Holds {
    None,
    One(Arc<Output>, Lsn),
    Many(Vec<(Arc<Output>, Lsn)>),
}

impl Holds {
    fn as_slice(&self) -> impl Iterator<Item = (&Arc<Output>, Lsn)> {
        let (one, many): (_, &[_]) = match self {
            Holds::None => (None, &[]),
            Holds::One(output, lsn) => (Some((output, *lsn)), &[]),
            Holds::Many(all) => (None, all),
        };
        one.into_iter().chain(many.iter().map(|(output, lsn)| (output, *lsn)))
    }

    /// Whether everything became durable before the deadline, which may be never.
    fn wait_until(&self, deadline: Option<Instant>) -> Result<bool> {
        for (output, lsn) in self.as_slice().filter(|(output, lsn)| output.log.durable() < *lsn) {
            Inside::refuse(output.tag)?;
            match deadline {
                None => output.log.wait(lsn)?,
                Some(deadline) if output.log.wait_deadline(lsn, deadline)? => {}
                Some(_) => return Ok(false),
            }
        }
        Ok(true)
    }

    fn and(self, other: Holds) -> Holds {
        let mut all: Vec<(Arc<Output>, Lsn)> = Vec::new();
        for (output, lsn) in self.as_slice().chain(other.as_slice()) {
            match all.iter_mut().find(|(held, _)| held.tag == output.tag) {
                Some((_, held)) => *held = lsn.max(*held),
                None => all.push((Arc::clone(output), lsn)),
            }
        }
        match all.len() {
            0 => Holds::None,
            1 => all.pop().map_or(Holds::None, |(output, lsn)| Holds::One(output, lsn)),
            _ => Holds::Many(all),
        }
    }
}

impl<T, E> Gated<T, E> {
    #[inline]
    pub(crate) fn hold(output: &Arc<Output>, lsn: Lsn, outcome: Result<T, E>) -> Self {
        let holds = if lsn == Lsn(0) { Holds::None } else { Holds::One(Arc::clone(output), lsn) };
        Gated { outcome: Outcome::Here(outcome), holds }
    }

    /// A result that depends on no commit.
    #[inline]
    pub(crate) fn open(outcome: Result<T, E>) -> Self {
        Gated { outcome: Outcome::Here(outcome), holds: Holds::None }
    }

    /// The log position that has to be durable before this gate opens; `Lsn(0)` if none has. Of a result that
    /// depends on several engines, the highest.
    pub fn lsn(&self) -> Lsn {
        self.holds.as_slice().map(|(_, lsn)| lsn).max().unwrap_or_default()
    }

    /// Whether the gate is open already, so that [`wait`](Gated::wait) returns at once.
    pub fn is_open(&self) -> bool {
        self.holds.as_slice().all(|(output, lsn)| output.log.durable() >= lsn)
    }

    /// Whether it holds an error, for the engine's own use: it says nothing of data.
    pub(crate) fn is_err(&self) -> bool {
        matches!(self.outcome, Outcome::Here(Err(_)))
    }

    /// Opts out of the gate: what is inside may be lost by a power cut although the caller has seen it.
    ///
    /// # Errors
    /// The transaction's own error.
    #[inline]
    pub fn unconfirmed(self) -> Result<T, E> {
        self.outcome.get()
    }

    /// What this result depends on within the engine `output`, and the result itself.
    pub(crate) fn into_engine(self, output: &Arc<Output>) -> Result<(Result<T, E>, Lsn)> {
        let mut newest = Lsn(0);
        for (held, lsn) in self.holds.as_slice() {
            if held.tag != output.tag && held.log.durable() < lsn {
                return Err(Error::OtherEngine);
            }
            if held.tag == output.tag {
                newest = newest.max(lsn);
            }
        }
        Ok((self.outcome.get(), newest))
    }
}

impl<T, E> Outcome<T, E> {
    fn get(self) -> Result<T, E> {
        match self {
            Outcome::Here(result) => result,
            Outcome::Mapped(compute) => compute(),
        }
    }
}

impl<T, E: From<Error>> Gated<T, E> {
    /// Blocks until the gate opens. When it returns, everything the result was computed from is durable.
    ///
    /// If nobody is flushing the log, the calling thread does: one write and one fdatasync, and no hand-over.
    ///
    /// # Errors
    /// The transaction's own error; [`Error::Poisoned`] if the log failed; [`Error::InsideTurn`] if called
    /// inside a turn of the same engine.
    pub fn wait(self) -> Result<T, E> {
        for (output, lsn) in self.holds.as_slice() {
            if output.log.durable() < lsn {
                Inside::refuse(output.tag)?;
                output.log.wait(lsn).map_err(Error::from)?;
            }
        }
        self.outcome.get()
    }

    /// As [`wait`](Gated::wait), for at most `limit`. If the gate is still shut then, it is handed back. A flush
    /// that the calling thread has begun itself is finished first.
    ///
    /// # Errors
    /// The outer error is the gate itself; the inner one as in [`wait`](Gated::wait).
    pub fn wait_timeout(self, limit: Duration) -> Result<Result<T, E>, Self> {
        match self.holds.wait_until(Instant::now().checked_add(limit)) {
            Ok(true) => Ok(self.outcome.get()),
            Ok(false) => Err(self),
            Err(error) => Ok(Err(error.into())),
        }
    }

    /// Applies `f` to the value once the gate has opened, never before.
    pub fn map<U>(self, f: impl FnOnce(T) -> U + Send + 'static) -> Gated<U, E>
    where
        T: Send + 'static,
        E: Send + 'static,
    {
        let outcome = self.outcome;
        Gated { outcome: Outcome::Mapped(Box::new(move || outcome.get().map(f))), holds: self.holds }
    }

    /// One gate for both results: it opens when both are durable, with the first error if there is one.
    pub fn zip<U>(self, other: Gated<U, E>) -> Gated<(T, U), E>
    where
        T: Send + 'static,
        U: Send + 'static,
        E: Send + 'static,
    {
        let (left, right) = (self.outcome, other.outcome);
        Gated {
            outcome: Outcome::Mapped(Box::new(move || {
                let left = left.get()?;
                Ok((left, right.get()?))
            })),
            holds: self.holds.and(other.holds),
        }
    }
}

impl<T, E> std::fmt::Debug for Gated<T, E> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // What is inside stays unseen here too.
        f.debug_struct("Gated")
            .field("lsn", &self.lsn())
            .field("open", &self.is_open())
            .finish_non_exhaustive()
    }
}

impl<T, E: From<Error>> IntoFuture for Gated<T, E> {
    type Output = Result<T, E>;
    type IntoFuture = GateFuture<T, E>;

    fn into_future(self) -> GateFuture<T, E> {
        let waits = self
            .holds
            .as_slice()
            .filter(|(output, lsn)| output.log.durable() < *lsn)
            .map(|(output, lsn)| output.log.durable_future(lsn))
            .collect();
        GateFuture { waits, outcome: Some(self.outcome) }
    }
}

/// Waits for a [`Gated`] to open. Dropping it leaves no trace.
#[must_use = "futures do nothing unless polled"]
pub struct GateFuture<T, E = Error> {
    waits: Vec<DurableWait>,
    outcome: Option<Outcome<T, E>>,
}

impl<T, E> Unpin for GateFuture<T, E> {}

impl<T, E> std::fmt::Debug for GateFuture<T, E> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GateFuture").field("shut", &self.waits.len()).finish_non_exhaustive()
    }
}

impl<T, E: From<Error>> Future for GateFuture<T, E> {
    type Output = Result<T, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        while let Some(wait) = this.waits.last_mut() {
            match Pin::new(wait).poll(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(())) => {
                    this.waits.pop();
                }
                Poll::Ready(Err(error)) => {
                    this.waits.clear();
                    this.outcome = None;
                    return Poll::Ready(Err(Error::from(error).into()));
                }
            }
        }
        let outcome = this.outcome.take().expect("a future is not polled after it was ready");
        Poll::Ready(outcome.get())
    }
}
