//! Negative controls: bugs that are planted in the engine, one at a time, and the harnesses that have to find each of them.
//!
//! A harness that finds nothing proves something only if it would have found something. The bugs stand in
//! `lineal_wal::planted`, and in the engine where somebody could make them; this package is the only one that builds the engine with
//! them. `cargo test -p lineal-controls` runs every control and prints what found what; the same harnesses find nothing
//! where nothing is planted. A bug that is found by none is a hole in the tests.

mod archive;
mod crashes;
mod gates;
mod past;
mod rot;

use lineal_tests::damage::caught;
use lineal_wal::planted::Bug;

/// A way to look for broken promises: numbered states, each looked at by itself.
#[derive(Debug)]
pub struct Harness {
    /// Its name.
    pub name: &'static str,
    /// How many states are looked at, at most.
    pub states: u64,
    look: fn(u64) -> Result<(), String>,
}

impl Harness {
    /// Looks at states until something is wrong with one: how many it took, and what it is. Tells their numbers, from 1 on,
    /// before it looks.
    pub fn search(&self, begins: impl Fn(u64)) -> Option<(u64, String)> {
        (0..self.states).find_map(|state| {
            begins(state + 1);
            let looked = caught(|| (self.look)(state)).and_then(|looked| looked);
            looked.err().map(|why| (state + 1, why))
        })
    }
}

/// A bug, and a harness that has to find it.
#[derive(Clone, Copy, Debug)]
pub struct Control {
    /// The bug.
    pub bug: Bug,
    /// The harness.
    pub harness: &'static Harness,
}

/// All harnesses.
pub const HARNESSES: &[&Harness] = &[
    &crashes::SIMULATOR,
    &crashes::CUTS,
    &crashes::KILLS,
    &crashes::CUTS_IN_RECOVERY,
    &crashes::FAILED_SYNCS,
    &crashes::CHECKPOINTS,
    &rot::LOG,
    &rot::PACKS,
    &gates::EVENTS,
    &gates::ZIPPED,
    &gates::TURNS,
    &gates::QUOTAS,
    &gates::LOCKS,
    &past::TIMES,
    &past::RETENTION,
    &past::PURGES,
    &past::SQL,
    &archive::LOST_MACHINES,
    &archive::HALVES,
    &archive::TAKEOVERS,
    &archive::LEASES,
    &archive::OUTAGES,
];

/// What has to be found by what.
#[must_use]
pub fn controls() -> Vec<Control> {
    Bug::ALL
        .iter()
        .flat_map(|bug| harnesses_for(*bug).iter().map(|harness| Control { bug: *bug, harness }))
        .collect()
}

fn harnesses_for(bug: Bug) -> &'static [&'static Harness] {
    use Bug as B;
    use archive::{HALVES, LEASES, LOST_MACHINES, OUTAGES, TAKEOVERS};
    use crashes::{CHECKPOINTS, CUTS, CUTS_IN_RECOVERY, FAILED_SYNCS, KILLS, SIMULATOR};
    use gates::{EVENTS, LOCKS, QUOTAS, TURNS, ZIPPED};
    use past::{PURGES, RETENTION, SQL, TIMES};
    use rot::{LOG, PACKS};
    match bug {
        B::AckBeforeSync | B::SyncSkipped => &[&SIMULATOR, &CUTS],
        B::GateOpensEarly => &[&CUTS],
        B::SyncRetried | B::PoisonForgotten => &[&FAILED_SYNCS],
        B::SealSkipped | B::RecordUnchecked | B::BadGroupSkipped | B::MiddleTruncated => &[&LOG],
        B::TornTailRefused => &[&SIMULATOR, &CUTS],
        B::RecoveryNotSynced => &[&CUTS_IN_RECOVERY],
        B::RecordsSwapped => &[&SIMULATOR],
        B::TimeBackwards => &[&TIMES],
        B::SegmentNameNotSynced => &[&SIMULATOR, &CUTS],
        B::PartUnchecked | B::PageUnchecked => &[&PACKS],
        B::PackNotSynced | B::PackNameNotSynced => &[&SIMULATOR, &CUTS],
        B::PackBeforeLog | B::FooterBeforeContent => &[&CHECKPOINTS],
        B::LogReleasedBeforePack => &[&SIMULATOR, &KILLS],
        B::PackRemovedEarly => &[&KILLS],
        B::LeafDroppedEarly => &[&SIMULATOR],
        B::RetiredTooMuch => &[&RETENTION],
        B::LineageSkips => &[&SIMULATOR],
        B::PurgedRunsKept | B::PurgeLeavesLog => &[&PURGES],
        B::FolderNotSynced => &[&CUTS],
        B::LockDropped => &[&LOCKS],
        B::EventUngated => &[&EVENTS],
        B::AbsorbForgets => &[&ZIPPED],
        B::TurnGivenTwice => &[&TURNS],
        B::RestoreOffByOne | B::ForkEmpty | B::ForkNotHeld => &[&SIMULATOR],
        B::QuotaUnchecked => &[&QUOTAS],
        B::SqlCacheStale => &[&SQL],
        B::ArchivedGateOpensEarly => &[&LOST_MACHINES],
        B::LogReleasedBeforeArchive => &[&OUTAGES],
        B::ChunkNotReadBack | B::PackNotReadBack => &[&HALVES],
        B::HeldLeaseTaken | B::StaleLeaseRenewed => &[&LEASES],
        B::BarrierSkipped | B::FencedGoesOn => &[&TAKEOVERS],
    }
}
