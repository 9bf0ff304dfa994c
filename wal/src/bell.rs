//! What wakes a background thread. It has a lock of its own, so that the thread never queues behind appenders.

use crate::sync::{Condvar, Mutex};
use std::time::Duration;

/// A ring that came while nobody listened is heard by the next who listens.
#[derive(Debug, Default)]
pub(crate) struct Bell {
    rung: Mutex<bool>,
    listener: Condvar,
}

impl Bell {
    pub(crate) fn new() -> Self {
        Self { rung: Mutex::new(false), listener: Condvar::new() }
    }

    pub(crate) fn ring(&self) {
        *self.rung.lock() = true;
        self.listener.notify_all();
    }

    /// Sleeps until the bell rings, or for `limit`, or spuriously less.
    pub(crate) fn listen(&self, limit: Option<Duration>) {
        let mut rung = self.rung.lock();
        if !*rung {
            rung = match limit {
                Some(limit) => self.listener.wait_for(rung, limit),
                None => self.listener.wait(rung),
            };
        }
        *rung = false;
    }
}
