//! What was asked of a store, by kind.

use crate::sync::{AtomicU64, Ordering};

/// Requests and bytes since the client was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Reads, of whole keys and of parts.
    pub gets: u64,
    /// Writes; an upload counts once, whatever the pieces it goes in.
    pub puts: u64,
    /// Removals.
    pub deletes: u64,
    /// Listings: none but of who looks for engines.
    pub lists: u64,
    /// Requests, among those, that the store was too busy or too broken to answer.
    pub failures: u64,
    /// Requests, among those, that it answered, whatever the answer. The others are under way.
    pub answers: u64,
    /// Bytes read.
    pub bytes_read: u64,
    /// Bytes written, by requests that succeeded.
    pub bytes_written: u64,
}

/// The counters behind [`Traffic`]. Anybody adds; they are read one by one, and mean nothing to one another.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) gets: AtomicU64,
    pub(crate) puts: AtomicU64,
    pub(crate) deletes: AtomicU64,
    pub(crate) lists: AtomicU64,
    pub(crate) failures: AtomicU64,
    pub(crate) answers: AtomicU64,
    pub(crate) bytes_read: AtomicU64,
    pub(crate) bytes_written: AtomicU64,
}

impl Counters {
    pub(crate) fn now(&self) -> Traffic {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Traffic {
            gets: of(&self.gets),
            puts: of(&self.puts),
            deletes: of(&self.deletes),
            lists: of(&self.lists),
            failures: of(&self.failures),
            answers: of(&self.answers),
            bytes_read: of(&self.bytes_read),
            bytes_written: of(&self.bytes_written),
        }
    }
}

pub(crate) fn add(counter: &AtomicU64, more: u64) {
    counter.fetch_add(more, Ordering::Relaxed);
}
