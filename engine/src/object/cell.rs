//! The place of one object in memory: its turn queue, its resident state if it has one, and where its newest
//! commit stands.

use lineal_wal::{Lsn, ObjectKey};

use super::resident::Resident;
use crate::{
    gate::turn::Turns,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
};

/// One object's place in the [`Table`](super::table::Table).
///
/// A cell goes when nobody holds a handle to it, it is not resident, and a pack covers its newest commit:
/// then everything it knows can be read again.
pub(crate) struct Cell {
    pub(crate) key: ObjectKey,
    pub(crate) turns: Turns<Option<Box<Resident>>>,
    /// Lsn of the newest commit since the cell was made, or before it and not packed; 0 if there is none.
    /// Written by who holds the turn, read by anybody.
    last_lsn: AtomicU64,
    /// The engine's tick at the last turn; for choosing who hibernates. Written by who holds the turn.
    touched: AtomicU32,
    /// The name that handles of this object were made with.
    name: OnceLock<Arc<str>>,
}

impl Cell {
    pub(crate) fn new(key: ObjectKey, last_lsn: Lsn) -> Cell {
        Cell {
            key,
            turns: Turns::new(None),
            last_lsn: AtomicU64::new(last_lsn.0),
            touched: AtomicU32::new(0),
            name: OnceLock::new(),
        }
    }

    /// Tells this cell from all others for as long as somebody holds it.
    pub(crate) fn address(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }

    pub(crate) fn last_lsn(&self) -> Lsn {
        Lsn(self.last_lsn.load(Ordering::Acquire))
    }

    pub(crate) fn set_last_lsn(&self, lsn: Lsn) {
        self.last_lsn.store(lsn.0, Ordering::Release);
    }

    pub(crate) fn touch(&self, tick: u32) {
        if self.touched.load(Ordering::Relaxed) != tick {
            self.touched.store(tick, Ordering::Relaxed);
        }
    }

    pub(crate) fn touched(&self) -> u32 {
        self.touched.load(Ordering::Relaxed)
    }

    pub(crate) fn name(&self) -> Option<&Arc<str>> {
        self.name.get()
    }

    /// Remembers the name; the first one stays.
    pub(crate) fn set_name(&self, name: &str) {
        self.name.get_or_init(|| Arc::from(name));
    }
}
