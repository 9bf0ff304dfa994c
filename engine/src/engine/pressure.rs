//! Back-pressure: what is in memory and what is not packed are bounded, and a writer that outruns the
//! checkpoint waits before it takes a turn.

use std::{
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use crate::{
    Error, Result,
    sync::{
        Condvar, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

/// Counts what a checkpoint or hibernation can bring down, and holds writers back while it is too much.
pub(crate) struct Pressure {
    /// Bytes of log records since the newest line.
    unpacked_bytes: AtomicU64,
    /// Memory of resident objects, in bytes.
    resident_bytes: AtomicU64,
    limits: Limits,
    /// Set while writers have to wait, so that admission is one load.
    shut: AtomicBool,
    waiting: Mutex<Vec<Waker>>,
    opened: Condvar,
}

/// Where the soft limits are, in bytes; the hard ones are twice that.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) unpacked_bytes: u64,
    pub(crate) resident_bytes: u64,
}

impl Pressure {
    pub(crate) fn new(limits: Limits) -> Pressure {
        Pressure {
            unpacked_bytes: AtomicU64::new(0),
            resident_bytes: AtomicU64::new(0),
            limits,
            shut: AtomicBool::new(false),
            waiting: Mutex::new(Vec::new()),
            opened: Condvar::new(),
        }
    }

    pub(crate) fn resident_bytes(&self) -> u64 {
        self.resident_bytes.load(Ordering::Relaxed)
    }

    pub(crate) fn unpacked_bytes(&self) -> u64 {
        self.unpacked_bytes.load(Ordering::Relaxed)
    }

    /// Adds a record. Returns whether a soft limit was just crossed, so that somebody should do something.
    pub(crate) fn appended(&self, bytes: u64) -> bool {
        let before = self.unpacked_bytes.fetch_add(bytes, Ordering::Relaxed);
        self.crossed(before, before + bytes, self.limits.unpacked_bytes)
    }

    /// Counts records that an engine found which never packs them.
    pub(crate) fn found(&self, bytes: u64) {
        self.unpacked_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Adds or removes memory. Returns whether a soft limit was just crossed.
    pub(crate) fn charged(&self, before: u64, after: u64) -> bool {
        if after >= before {
            let old = self.resident_bytes.fetch_add(after - before, Ordering::Relaxed);
            self.crossed(old, old + (after - before), self.limits.resident_bytes)
        } else {
            self.resident_bytes.fetch_sub(before - after, Ordering::Relaxed);
            false
        }
    }

    fn crossed(&self, before: u64, after: u64, soft: u64) -> bool {
        if after > soft.saturating_mul(2) {
            self.shut.store(true, Ordering::Release);
        }
        // Once at the limit and then at every further eighth: the first signal may have come while a
        // checkpoint was running already.
        let step = (soft / 8).max(1);
        after >= soft && (before < soft || before / step != after / step)
    }

    /// Whether something should be checkpointed or hibernated now.
    pub(crate) fn over_soft(&self) -> bool {
        self.unpacked_bytes() >= self.limits.unpacked_bytes
            || self.resident_bytes() >= self.limits.resident_bytes
    }

    pub(crate) fn over_resident(&self) -> bool {
        self.resident_bytes() >= self.limits.resident_bytes
    }

    pub(crate) fn over_hard(&self) -> bool {
        self.unpacked_bytes() > self.limits.unpacked_bytes.saturating_mul(2)
            || self.resident_bytes() > self.limits.resident_bytes.saturating_mul(2)
    }

    /// Tells that `bytes` of log were packed.
    pub(crate) fn packed(&self, bytes: u64) {
        let _ = self.unpacked_bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |unpacked| {
            Some(unpacked.saturating_sub(bytes))
        });
    }

    /// Lets writers in again if there is room, or if `force` says that waiting will not make any.
    pub(crate) fn relieve(&self, force: bool) {
        if force || !self.over_hard() {
            self.shut.store(false, Ordering::Release);
            let wakers = std::mem::take(&mut *self.waiting.lock());
            self.opened.notify_all();
            wakers.into_iter().for_each(Waker::wake);
        }
    }

    pub(crate) fn is_shut(&self) -> bool {
        self.shut.load(Ordering::Acquire)
    }

    /// Blocks while there is no room, for at most `limit`.
    pub(crate) fn wait(&self, limit: Duration) -> Result<()> {
        let deadline = Instant::now() + limit;
        let mut waiting = self.waiting.lock();
        while self.is_shut() {
            if self.opened.wait_until(&mut waiting, deadline).timed_out() && self.is_shut() {
                return Err(busy(limit));
            }
        }
        Ok(())
    }

    /// As `wait`, without blocking the thread. The limit is the caller's to keep.
    pub(crate) fn poll_wait(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut waiting = self.waiting.lock();
        if !self.is_shut() {
            return Poll::Ready(());
        }
        if !waiting.iter().any(|waker| waker.will_wake(cx.waker())) {
            waiting.push(cx.waker().clone());
        }
        Poll::Pending
    }
}

pub(crate) fn busy(limit: Duration) -> Error {
    Error::Busy {
        what: "a checkpoint to make room in memory or in the log",
        waited_ms: u64::try_from(limit.as_millis()).unwrap_or(u64::MAX),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pressure() -> Pressure {
        Pressure::new(Limits { unpacked_bytes: 800, resident_bytes: 800 })
    }

    #[test]
    fn crossing_a_soft_limit_is_told_once_and_then_by_the_eighth() {
        let pressure = pressure();
        assert!(!pressure.appended(700));
        assert!(pressure.appended(110));
        assert!(!pressure.appended(10));
        assert!(pressure.appended(100));
    }

    #[test]
    fn writers_wait_over_the_hard_limit_until_there_is_room() {
        let pressure = pressure();
        pressure.appended(1_700);
        assert!(matches!(pressure.wait(Duration::from_millis(1)), Err(Error::Busy { .. })));
        pressure.relieve(false);
        assert!(pressure.is_shut());
        pressure.packed(1_700);
        pressure.relieve(false);
        pressure.wait(Duration::from_millis(1)).unwrap();
    }
}
