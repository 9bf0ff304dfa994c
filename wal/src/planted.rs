//! Bugs that can be planted, for negative controls: whoever looks for broken promises has to find each of them.
//!
//! Without the feature `planted`, which is for tests only, [`on`] is the constant `false`, and what asks for a bug is not
//! in the program. With it one bug at a time is switched on, for the whole process.

use crate::format::{PART_HEADER_BYTES, RECORD_HEADER_BYTES, get_u32};
use crate::record::record_bytes;

macro_rules! bugs {
    ($(#[doc = $what:literal] $bug:ident,)*) => {
        /// A bug, where it would be made: each is asked for in one place, or in the few that it takes.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Bug {
            $(#[doc = $what] $bug,)*
        }

        impl Bug {
            /// All of them.
            pub const ALL: &[Bug] = &[$(Bug::$bug,)*];

            /// What is wrong with it.
            #[must_use]
            pub fn what(self) -> &'static str {
                match self {
                    $(Bug::$bug => $what,)*
                }
            }
        }
    };
}

bugs! {
    /// A group is acknowledged when the sync before it has returned.
    AckBeforeSync,
    /// A group is acknowledged without a sync.
    SyncSkipped,
    /// A sync that failed is tried again, and believed.
    SyncRetried,
    /// Nothing vouches for the newest group.
    SealSkipped,
    /// After a failed group the log goes on with the next.
    PoisonForgotten,
    /// The checksums of records are not compared.
    RecordUnchecked,
    /// Recovery goes on behind a group that is damaged.
    BadGroupSkipped,
    /// Recovery takes damage in the middle for a torn tail.
    MiddleTruncated,
    /// Recovery takes a torn tail for damage.
    TornTailRefused,
    /// What recovery accepted is served before it is durable.
    RecoveryNotSynced,
    /// The last two records of a group change places.
    RecordsSwapped,
    /// Time follows the clock backwards.
    TimeBackwards,
    /// A segment is listed before its name is durable.
    SegmentNameNotSynced,
    /// The checksums of parts of packs are not compared.
    PartUnchecked,
    /// The checksums of pages of a pack's index are not compared.
    PageUnchecked,
    /// A pack's footer is written before its content is durable.
    FooterBeforeContent,
    /// A pack is listed before its footer is durable.
    PackNotSynced,
    /// A pack is listed before its name is durable.
    PackNameNotSynced,
    /// A checkpoint packs what is not durable in the log yet.
    PackBeforeLog,
    /// The log goes before the pack that holds it stands.
    LogReleasedBeforePack,
    /// Packs that were merged go before the new one stands, whose footer forgets them.
    PackRemovedEarly,
    /// A merge keeps only the newest version of each leaf.
    LeafDroppedEarly,
    /// A retention takes the version that it should begin with.
    RetiredTooMuch,
    /// The hash of a commit in a pack covers none before it.
    LineageSkips,
    /// What was purged stays in the merged pack.
    PurgedRunsKept,
    /// What was purged stays in the log's segments.
    PurgeLeavesLog,
    /// A new folder is used before its name is durable.
    FolderNotSynced,
    /// The lock of a directory is given back at once.
    LockDropped,
    /// An output gate is open before what it waits for is durable.
    GateOpensEarly,
    /// The result of an event is not gated.
    EventUngated,
    /// A result is gated on the first of what it depends on.
    AbsorbForgets,
    /// Who waits for a turn has it while somebody else has it.
    TurnGivenTwice,
    /// A restore goes to the commit before the one asked for.
    RestoreOffByOne,
    /// A fork is made of nothing.
    ForkEmpty,
    /// A purge takes what forks read through to.
    ForkNotHeld,
    /// Quotas are counted and not compared.
    QuotaUnchecked,
    /// SQL goes on with pages that a restore has replaced.
    SqlCacheStale,
    /// The gate of the archive opens when the commit is durable here.
    ArchivedGateOpensEarly,
    /// The log goes before the archive has what it holds.
    LogReleasedBeforeArchive,
    /// A chunk counts as archived when the store has answered.
    ChunkNotReadBack,
    /// A pack is in the manifest when the store has answered.
    PackNotReadBack,
    /// A writer takes a lease that somebody else holds.
    HeldLeaseTaken,
    /// A writer renews a lease that somebody else has taken.
    StaleLeaseRenewed,
    /// A takeover leaves the earlier writer's log open.
    BarrierSkipped,
    /// A writer that finds the barrier of another one goes on.
    FencedGoesOn,
}

#[cfg(feature = "planted")]
mod switch {
    use super::Bug;
    // Not the atomics of `sync.rs`: loom's cannot be static.
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// The number of the bug, from 1 on; 0 is none.
    static PLANTED: AtomicUsize = AtomicUsize::new(0);

    /// Whether this bug is planted.
    pub fn on(bug: Bug) -> bool {
        PLANTED.load(Ordering::Relaxed) == bug as usize + 1
    }

    /// Plants this bug, or none, from here on.
    pub fn plant(bug: Option<Bug>) {
        PLANTED.store(bug.map_or(0, |bug| bug as usize + 1), Ordering::Relaxed);
    }
}

#[cfg(feature = "planted")]
pub use self::switch::{on, plant};

/// Whether this bug is planted.
#[cfg(not(feature = "planted"))]
#[inline(always)]
#[must_use]
pub const fn on(_: Bug) -> bool {
    false
}

/// Lets the last two records of a group change places: each is whole, under the position and the time of the other.
pub(crate) fn swap_last_two(payload: &mut [u8], crcs: &mut [u8]) {
    let mut starts = Vec::new();
    let mut at = 0;
    while let Some(bytes) = record_bytes(&payload[at..]) {
        starts.push(at);
        at += bytes;
    }
    let [.., first, second] = starts[..] else { return };
    let (mut left, mut right) = (payload[first..second].to_vec(), payload[second..at].to_vec());
    left[8..24].swap_with_slice(&mut right[8..24]);
    let swapped = [restamped(right), restamped(left)];
    let crcs_start = crcs.len() - 8;
    for (crc, record) in crcs[crcs_start..].chunks_exact_mut(4).zip(&swapped) {
        crc.copy_from_slice(&record[..4]);
    }
    payload[first..at].copy_from_slice(&swapped.concat());
}

/// The record, with the checksum that its header has now.
fn restamped(mut record: Vec<u8>) -> Vec<u8> {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&record[4..RECORD_HEADER_BYTES]);
    let mut rest = &record[RECORD_HEADER_BYTES..];
    while !rest.is_empty() {
        hasher.update(&rest[..4]);
        rest = &rest[PART_HEADER_BYTES + get_u32(rest, 4) as usize..];
    }
    let crc = hasher.finalize();
    record[..4].copy_from_slice(&crc.to_le_bytes());
    record
}
