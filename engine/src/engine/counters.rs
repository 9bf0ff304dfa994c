//! Counts of what the engine has done since it was opened.

use lineal_wal::NamespaceId;

use super::totals::Totals;
use crate::sync::{
    Mutex,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

/// Monotonic counters, each written by whoever does the thing it counts.
pub(crate) struct Counters {
    totals_at_open: Mutex<Totals>,
    pub(crate) replayed: u64,
    commits: AtomicU64,
    wakes: AtomicU64,
    pub(crate) hibernations: AtomicU64,
    pub(crate) checkpoints: AtomicU64,
    pub(crate) compactions: AtomicU64,
    pub(crate) pack_bytes: AtomicU64,
    pub(crate) maintenance_failures: AtomicU64,
    /// Set when a merge met damage.
    pub(crate) compaction_stopped: AtomicBool,
}

impl Counters {
    pub(crate) fn new(totals: Totals, replayed: u64) -> Counters {
        Counters {
            totals_at_open: Mutex::new(totals),
            replayed,
            commits: AtomicU64::new(0),
            wakes: AtomicU64::new(0),
            hibernations: AtomicU64::new(0),
            checkpoints: AtomicU64::new(0),
            compactions: AtomicU64::new(0),
            pack_bytes: AtomicU64::new(0),
            maintenance_failures: AtomicU64::new(0),
            compaction_stopped: AtomicBool::new(false),
        }
    }

    /// Objects and bytes by namespace when the engine was opened, replay included.
    pub(crate) fn totals_at_open(&self) -> Totals {
        self.totals_at_open.lock().clone()
    }

    pub(crate) fn forget_namespace(&self, id: NamespaceId) {
        self.totals_at_open.lock().remove(id);
    }

    pub(crate) fn committed(&self, count: u64) {
        self.commits.fetch_add(count, Ordering::Relaxed);
    }

    pub(crate) fn commits(&self) -> u64 {
        self.commits.load(Ordering::Relaxed)
    }

    pub(crate) fn woken(&self) {
        self.wakes.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn wakes(&self) -> u64 {
        self.wakes.load(Ordering::Relaxed)
    }
}
