//! What an object has in memory while it is in use.

use lineal_wal::{Lsn, Micros, ObjectKey, Seq};

use super::{
    head::{Hash, Head},
    overlay::Overlay,
};
use crate::{history::version::Version, lineage, migration::Stuck, sync::Arc, transaction::ops::CutBase};

/// The state of one object: its newest one, owned by whoever holds its turn, or that of a
/// [`Version`], which never changes.
///
/// Invariants:
/// 1. `overlay` holds every change after the fold of the leaves below it (after the era's cut, without leaves), and
///    may hold older ones: it is never behind what lies below it.
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
    /// `None`: nothing lies below.
    pub(crate) below: Option<Box<Below>>,
    pub(crate) salt: Option<[u8; 16]>,
    pub(crate) name: Option<Arc<str>>,
    /// The pages of the object's database have not changed since this commit, which is the newest one that changed them, or
    /// the newest of all when the object got its memory.
    pub(crate) pages_seq: Seq,
    /// The version of the schema, if a turn has looked it up; 0 is not looked up, or none.
    pub(crate) schema_version: u32,
    /// Why the object cannot be brought forward.
    pub(crate) stuck: Option<Box<Stuck>>,
    /// The newest chain hash that was computed, and its seq.
    pub(crate) hashed: (Seq, Hash),
    /// What the memory budget was charged for this object, in bytes.
    pub(crate) charged: u64,
}

/// What lies below an overlay. A read goes: leaves of the era, deltas first, where one covers the key; else the version
/// under them; else nothing.
pub(crate) struct Below {
    /// Whose leaves these are.
    pub(crate) key: ObjectKey,
    pub(crate) leaves: Option<Leaves>,
    pub(crate) under: Option<Under>,
}

/// The leaves of one era, and deltas over them.
#[derive(Clone, Debug)]
pub(crate) struct Leaves {
    pub(crate) era: Seq,
    /// Leaves and deltas are read as of this seq, whatever the checkpoint has written since.
    pub(crate) fold: Seq,
    /// Seqs of the deltas, newest first.
    pub(crate) deltas: Vec<Seq>,
}

/// The version that a whole-range cut reads through to.
#[derive(Clone)]
pub(crate) struct Under {
    /// The commit that made the cut.
    pub(crate) cut: Seq,
    pub(crate) base: CutBase,
    pub(crate) version: Arc<Version>,
}

/// A resident object's own size without what its overlay owns, in bytes: the box, its cell and its place in
/// the table.
///
/// Source: `size_of` of the three, plus what an allocator adds to each.
const FIXED_BYTES: u64 = 512;

impl Resident {
    /// The state that the head of object `key` describes, without what is under its cut and without its tail.
    pub(crate) fn from_head(key: ObjectKey, head: Head) -> Resident {
        let leaves = head.leaves.map(|leaves| Leaves {
            era: head.era,
            fold: leaves.fold,
            deltas: leaves.deltas.iter().rev().map(|(seq, _)| *seq).collect(),
        });
        // After a purge the chain begins anew, as it does before the first commit.
        let hash = if head.seq == head.floor { lineage::genesis(key, head.floor) } else { head.hash };
        Resident {
            seq: head.seq,
            last_lsn: head.lsn,
            last_time: head.time,
            exists: head.exists,
            bytes: head.bytes,
            overlay: Overlay::new(),
            below: leaves.map(|leaves| Box::new(Below { key, leaves: Some(leaves), under: None })),
            salt: head.salt,
            name: head.name,
            pages_seq: Seq(0),
            schema_version: 0,
            stuck: None,
            hashed: (head.seq, hash),
            charged: 0,
        }
    }

    /// The version that this state reads through to, if its newest cut of everything has a base.
    pub(crate) fn under(&self) -> Option<&Under> {
        self.below.as_ref()?.under.as_ref()
    }

    /// What this object takes of the memory budget, in bytes.
    pub(crate) fn memory_bytes(&self) -> u64 {
        let under = self.under().map_or(0, |under| under.version.state.memory_bytes());
        FIXED_BYTES + self.overlay.memory_bytes() as u64 + under
    }

    pub(crate) fn check(&self) {
        assert!(self.hashed.0 <= self.seq, "a hash is of a commit that exists");
        assert_eq!(self.seq == Seq(0), self.last_lsn == Lsn(0), "an object with a commit has its position");
    }
}
