//! What an object has in memory while it is in use.

use lineal_wal::{Lsn, Micros, Seq};

use super::{
    head::{Hash, Head},
    overlay::Overlay,
};
use crate::sync::Arc;

/// The state of one object, owned by whoever holds its turn.
///
/// Invariants:
/// 1. `overlay` holds every change after `base.fold` (after the era's cut, without a base), and may hold older
///    ones: it is never behind what lies below it.
/// 2. `seq` and `last_lsn` belong to the newest commit applied to `overlay`; both are 0 before the first.
/// 3. `hashed.0 <= seq`.
pub(crate) struct Resident {
    pub(crate) seq: Seq,
    pub(crate) last_lsn: Lsn,
    pub(crate) last_time: Micros,
    /// Whether the object exists: it has a commit and was not deleted or purged by the newest ones.
    pub(crate) exists: bool,
    /// Keys and values of the user, exact without leaves, else an upper bound.
    pub(crate) bytes: u64,
    pub(crate) overlay: Overlay,
    pub(crate) base: Option<Box<Base>>,
    pub(crate) salt: Option<[u8; 16]>,
    pub(crate) name: Option<Arc<str>>,
    /// The newest chain hash that was computed, and its seq.
    pub(crate) hashed: (Seq, Hash),
    /// What the memory budget was charged for this object, in bytes.
    pub(crate) charged: u64,
}

/// What lies below the overlay: leaves, and deltas over them.
#[derive(Clone, Debug)]
pub(crate) struct Base {
    pub(crate) era: Seq,
    /// Leaves and deltas are read as of this seq, whatever the checkpoint has written since.
    pub(crate) fold: Seq,
    /// Seqs of the deltas, newest first.
    pub(crate) deltas: Vec<Seq>,
}

/// A resident object's own size without what its overlay owns, in bytes: the box, its cell and its place in
/// the table.
///
/// Source: `size_of` of the three, plus what an allocator adds to each.
const FIXED_BYTES: u64 = 512;

impl Resident {
    pub(crate) fn from_head(head: Head) -> Resident {
        let base = head.leaves.map(|leaves| {
            Box::new(Base {
                era: head.era,
                fold: leaves.fold,
                deltas: leaves.deltas.iter().rev().map(|(seq, _)| *seq).collect(),
            })
        });
        Resident {
            seq: head.seq,
            last_lsn: head.lsn,
            last_time: head.time,
            exists: head.exists,
            bytes: head.bytes,
            overlay: Overlay::new(),
            base,
            salt: head.salt,
            name: head.name,
            hashed: (head.seq, head.hash),
            charged: 0,
        }
    }

    /// What this object takes of the memory budget, in bytes.
    pub(crate) fn memory_bytes(&self) -> u64 {
        FIXED_BYTES + self.overlay.memory_bytes() as u64
    }

    pub(crate) fn check(&self) {
        assert!(self.hashed.0 <= self.seq, "a hash is of a commit that exists");
        assert_eq!(self.seq == Seq(0), self.last_lsn == Lsn(0), "an object with a commit has its position");
    }
}
