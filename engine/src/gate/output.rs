//! The output gate: a value, or an error, that nobody sees before all that it was computed from is durable.

use std::{
    future::{Future, IntoFuture},
    pin::Pin,
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use lineal_wal::{
    DurableWait, Log, Lsn,
    planted::{self, Bug},
};

use super::{
    archived::{ArchivedGate, ArchivedWait},
    durability::Durability,
    inside::{EngineTag, Inside},
};
use crate::{Error, Result, sync::Arc};

/// What a gate waits on: the log of one engine, and what of it is archived.
pub(crate) struct Output {
    pub(crate) log: Log,
    pub(crate) archived: Arc<ArchivedGate>,
    pub(crate) tag: EngineTag,
}

/// What a gate waits for in one engine: a prefix of the log to be durable, and a prefix to be archived, which is no longer
/// than the other. Each level has a prefix of its own, so that who absorbs an archived result waits for that to be archived
/// and for no more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Need {
    durable: Lsn,
    archived: Lsn,
}

impl Need {
    #[inline]
    pub(crate) fn new(lsn: Lsn, level: Durability) -> Need {
        let archived = match level {
            Durability::Local => Lsn(0),
            Durability::Archived => lsn,
        };
        Need { durable: lsn, archived }
    }

    /// Both.
    #[inline]
    pub(crate) fn and(self, other: Need) -> Need {
        if planted::on(Bug::AbsorbForgets) {
            return self;
        }
        Need { durable: self.durable.max(other.durable), archived: self.archived.max(other.archived) }
    }

    /// What has to be archived; zero: nothing.
    #[inline]
    pub(crate) fn archived(self) -> Lsn {
        self.archived
    }

    /// What is left where everything up to `line` is known to be durable without the log.
    #[inline]
    pub(crate) fn beyond(self, line: Lsn) -> Need {
        if self.durable <= line { Need { durable: Lsn(0), ..self } } else { self }
    }

    #[inline]
    fn is_none(self) -> bool {
        self == Need::default()
    }
}

impl Output {
    #[inline]
    pub(crate) fn is_open(&self, need: Need) -> bool {
        (self.log.durable() >= need.durable || planted::on(Bug::GateOpensEarly)) && self.is_archived(need)
    }

    #[inline]
    fn is_archived(&self, need: Need) -> bool {
        // First what most gates ask for: nothing.
        need.archived == Lsn(0)
            || self.archived.archived() >= need.archived
            || planted::on(Bug::ArchivedGateOpensEarly)
    }

    /// Refuses a level that the engine has no archive for.
    #[inline]
    pub(crate) fn check(&self, level: Durability) -> Result<()> {
        if level == Durability::Archived && !self.archived.is_attached() {
            return Err(Error::NoArchive);
        }
        Ok(())
    }

    /// Blocks until the local part is durable, or the deadline has passed: then `false`. Then the archive knows that
    /// somebody waits for the rest.
    fn wait_durable(&self, need: Need, deadline: Option<Instant>) -> Result<bool> {
        if self.is_open(need) {
            return Ok(true);
        }
        Inside::refuse(self.tag)?;
        match deadline {
            None => self.log.wait(need.durable)?,
            Some(deadline) if self.log.wait_deadline(need.durable, deadline)? => {}
            Some(_) => return Ok(false),
        }
        self.archived.want(need.archived);
        Ok(true)
    }
}

/// A result that is held back until every commit it depends on is durable, at the [level](Durability) asked for.
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

/// What the gate waits for, by engine. Empty for what depends on no commit.
enum Holds {
    None,
    One(Arc<Output>, Need),
    Many(Vec<(Arc<Output>, Need)>),
}

impl Holds {
    fn as_slice(&self) -> impl Iterator<Item = (&Arc<Output>, Need)> {
        let (one, many): (_, &[_]) = match self {
            Holds::None => (None, &[]),
            Holds::One(output, need) => (Some((output, *need)), &[]),
            Holds::Many(all) => (None, all),
        };
        one.into_iter().chain(many.iter().map(|(output, need)| (output, *need)))
    }

    /// Whether everything became durable, at its level, before the deadline, which may be never.
    fn wait_until(&self, deadline: Option<Instant>) -> Result<bool> {
        for (output, need) in self.as_slice() {
            if !output.wait_durable(need, deadline)? {
                return Ok(false);
            }
        }
        // By now every archive that is waited for knows, so that they work side by side.
        for (output, need) in self.as_slice().filter(|(output, need)| !output.is_archived(*need)) {
            if !output.archived.wait(need.archived, deadline)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn and(self, other: Holds) -> Holds {
        let mut all: Vec<(Arc<Output>, Need)> = Vec::new();
        for (output, need) in self.as_slice().chain(other.as_slice()) {
            match all.iter_mut().find(|(held, _)| held.tag == output.tag) {
                Some((_, held)) => *held = held.and(need),
                None => all.push((Arc::clone(output), need)),
            }
        }
        match all.len() {
            0 => Holds::None,
            1 => all.pop().map_or(Holds::None, |(output, need)| Holds::One(output, need)),
            _ => Holds::Many(all),
        }
    }
}

impl<T, E> Gated<T, E> {
    #[inline]
    pub(crate) fn hold(output: &Arc<Output>, need: Need, outcome: Result<T, E>) -> Self {
        let holds = if need.is_none() { Holds::None } else { Holds::One(Arc::clone(output), need) };
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
        self.holds.as_slice().map(|(_, need)| need.durable.max(need.archived)).max().unwrap_or_default()
    }

    /// What this result waits for, all of it in one engine.
    pub(crate) fn need(&self) -> Need {
        self.holds.as_slice().fold(Need::default(), |all, (_, need)| all.and(need))
    }

    /// Whether the gate is open already, so that [`wait`](Gated::wait) returns at once.
    pub fn is_open(&self) -> bool {
        self.holds.as_slice().all(|(output, need)| output.is_open(need))
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
    pub(crate) fn into_engine(self, output: &Arc<Output>) -> Result<(Result<T, E>, Need)> {
        let mut all = Need::default();
        for (held, need) in self.holds.as_slice() {
            if held.tag == output.tag {
                all = all.and(need);
            } else if !held.is_open(need) {
                return Err(Error::OtherEngine);
            }
        }
        Ok((self.outcome.get(), all))
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
    /// Blocks until the gate opens. When it returns, everything the result was computed from is durable, at the
    /// [level](Durability) asked for.
    ///
    /// If nobody is flushing the log, the calling thread does: one write and one fdatasync, and no hand-over.
    ///
    /// # Errors
    /// The transaction's own error; [`Error::Poisoned`] if the log failed; [`Error::InsideTurn`] if called
    /// inside a turn of the same engine; [`Error::NoArchive`] if it waits for an archive that the engine has not; why the
    /// archive takes nothing more, if it does not; [`Error::Closed`] if the engine was closed first.
    pub fn wait(self) -> Result<T, E> {
        self.holds.wait_until(None)?;
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
        let shut = self.holds.as_slice().filter(|(output, need)| !output.is_open(*need));
        let waits = shut.map(|(output, need)| Wait::new(output, need)).collect();
        GateFuture { waits, outcome: Some(self.outcome) }
    }
}

/// Waits for a [`Gated`] to open. Dropping it leaves no trace.
#[must_use = "futures do nothing unless polled"]
pub struct GateFuture<T, E = Error> {
    waits: Vec<Wait>,
    outcome: Option<Outcome<T, E>>,
}

/// Waits for what one engine has to do.
struct Wait {
    durable: Option<DurableWait>,
    archived: Option<ArchivedWait>,
    polled: bool,
}

impl Wait {
    fn new(output: &Output, need: Need) -> Wait {
        let durable = (output.log.durable() < need.durable).then(|| output.log.durable_future(need.durable));
        let archived = (!output.is_archived(need)).then(|| output.archived.future(need.archived));
        Wait { durable, archived, polled: false }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        if !self.polled {
            self.polled = true;
            self.archived.iter().for_each(ArchivedWait::want);
        }
        if let Some(durable) = &mut self.durable {
            ready!(Pin::new(durable).poll(cx))?;
            self.durable = None;
        }
        match &mut self.archived {
            Some(archived) => Pin::new(archived).poll(cx),
            None => Poll::Ready(Ok(())),
        }
    }
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
        let mut at = 0;
        while let Some(wait) = this.waits.get_mut(at) {
            match wait.poll(cx) {
                Poll::Pending => at += 1,
                Poll::Ready(Ok(())) => {
                    this.waits.swap_remove(at);
                }
                Poll::Ready(Err(error)) => {
                    this.waits.clear();
                    this.outcome = None;
                    return Poll::Ready(Err(error.into()));
                }
            }
        }
        if !this.waits.is_empty() {
            return Poll::Pending;
        }
        let outcome = this.outcome.take().expect("a future is not polled after it was ready");
        Poll::Ready(outcome.get())
    }
}
