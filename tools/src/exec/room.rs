//! Bounds the memory of replies that wait, and tells the reading side when there is nobody to answer.

use crate::sync::{AtomicBool, Condvar, Mutex, Ordering, PoisonError};

/// Bytes of replies that may wait for their gates at a time. One reply larger than that waits alone.
///
/// Source: chosen; the largest transaction.
const BYTES_MAX: usize = 64 << 20;

pub(super) struct Room {
    used: Mutex<usize>,
    freed: Condvar,
    shut: AtomicBool,
}

impl Room {
    pub(super) fn new() -> Room {
        Room { used: Mutex::new(0), freed: Condvar::new(), shut: AtomicBool::new(false) }
    }

    /// Waits until there is room for `bytes`, and takes it.
    pub(super) fn take(&self, bytes: usize) {
        // The number is right after every statement, so that a panic elsewhere cannot spoil it.
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        while *used > 0 && *used + bytes > BYTES_MAX && !self.is_shut() {
            used = self.freed.wait(used).unwrap_or_else(PoisonError::into_inner);
        }
        *used += bytes;
    }

    pub(super) fn free(&self, bytes: usize) {
        *self.used.lock().unwrap_or_else(PoisonError::into_inner) -= bytes;
        self.freed.notify_one();
    }

    /// Nobody writes replies any more.
    pub(super) fn shut(&self) {
        let _used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        self.shut.store(true, Ordering::Release);
        self.freed.notify_all();
    }

    pub(super) fn is_shut(&self) -> bool {
        self.shut.load(Ordering::Acquire)
    }
}
