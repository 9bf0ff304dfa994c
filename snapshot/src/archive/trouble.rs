//! Why something does not get to the store at the moment.

use super::error::ArchiveError;
use crate::sync::{AtomicU64, Mutex, Ordering};

/// The newest failure, until something got there again; and how many there were.
#[derive(Debug, Default)]
pub struct Trouble {
    now: Mutex<Option<ArchiveError>>,
    count: AtomicU64,
}

impl Trouble {
    pub(crate) fn tell(&self, error: ArchiveError) {
        *self.now.lock() = Some(error);
        self.count.fetch_add(1, Ordering::AcqRel);
    }

    pub(crate) fn is_over(&self) {
        *self.now.lock() = None;
    }

    /// The newest failure, unless something got there since.
    #[must_use]
    pub fn now(&self) -> Option<ArchiveError> {
        self.now.lock().clone()
    }

    /// How many failures there were so far.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count.load(Ordering::Acquire)
    }
}
