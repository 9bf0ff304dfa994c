//! What tests of failing disks share: a workload that goes on after errors, and the judgement of what it leaves.

use lineal::Error;
use lineal_wal::sim::SimDisk;

use crate::{
    damage::{filler, put},
    model::{self, State, Step, Write},
    world::World,
};

/// Every feature that writes, in few steps.
pub fn workload() -> Vec<Step> {
    vec![
        Step::Commit(0, vec![put("a", "1")]),
        Step::Many([0, 1], vec![put("b", "2"), put("c", "3")]),
        Step::Checkpoint,
        Step::Commit(1, vec![Write::Delete("b".into()), put("d", "4")]),
        Step::Commit(2, (0..8).map(|at| filler(&format!("key {at}"), 9_000)).collect()),
        Step::Checkpoint,
        Step::Hibernate(2),
        Step::Commit(2, vec![Write::DeleteRange("key 2".into(), "key 4".into()), put("key 9", "5")]),
        Step::Delete(0),
        Step::Checkpoint,
        Step::Commit(0, vec![put("again", "6")]),
        Step::Purge(1),
        Step::Commit(3, vec![filler("large", 40_000)]),
        Step::Checkpoint,
        Step::Compact,
        Step::Commit(1, vec![put("after", "7")]),
        Step::Reopen,
        Step::Commit(3, vec![put("last", "8")]),
    ]
}

/// What was found out by running the workload on a failing disk.
pub struct Run {
    /// What was acknowledged.
    pub acknowledged: State,
    /// What may be there besides: the step whose outcome is unknown.
    pub unknown: Option<State>,
    /// The world, unless its engine did not open.
    pub world: Option<World>,
    /// Steps that failed, and how.
    pub errors: Vec<(usize, Error)>,
}

impl Run {
    /// Whether the log failed.
    pub fn poisoned(&self) -> bool {
        self.errors.iter().any(|(_, error)| matches!(error, Error::Poisoned { .. }))
    }
}

/// Syncs of the log's segments so far.
fn log_syncs(disk: &SimDisk) -> u64 {
    disk.files().iter().filter(|path| path.ends_with(".log")).map(|path| disk.syncs(path)).sum()
}

/// Runs the workload; goes on after errors.
///
/// # Panics
/// If anything is acknowledged or synced after the log failed.
pub fn run(disk: &SimDisk, steps: &[Step], context: &str) -> Run {
    let mut run = Run { acknowledged: State::new(), unknown: None, world: None, errors: Vec::new() };
    let mut world = match World::open(disk, 1) {
        Ok(world) => world,
        Err(error) => {
            run.errors.push((usize::MAX, error));
            return run;
        }
    };
    let mut syncs_when_poisoned = None;
    for (at, step) in steps.iter().enumerate() {
        let mut after = run.acknowledged.clone();
        model::apply(&mut after, step);
        let changes = after != run.acknowledged;
        match world.step(step) {
            Ok(()) => {
                assert!(
                    !(changes && run.poisoned()),
                    "{context}: step {at} {step:?} was acknowledged after the log failed"
                );
                run.acknowledged = after;
            }
            Err(error) => {
                if matches!(error, Error::Poisoned { .. }) && changes && !run.poisoned() {
                    run.unknown = Some(after);
                }
                if run.poisoned() && changes {
                    // A step that has to read first may meet the disk's error before the log's.
                    let told = matches!(error, Error::Poisoned { .. } | Error::Io { op: "read", .. });
                    assert!(told, "{context}: step {at} after poison: {error:?}");
                }
                run.errors.push((at, error));
                if *step == Step::Reopen {
                    // The engine that did not close is gone; what is next opens the directory again.
                    return run;
                }
            }
        }
        if run.poisoned() && syncs_when_poisoned.is_none() {
            assert!(world.engine().stats().poisoned, "{context}");
            syncs_when_poisoned = Some(log_syncs(disk));
        }
    }
    if let Some(before) = syncs_when_poisoned {
        let probe = world.step(&Step::Commit(30, vec![put("probe", "no")]));
        assert!(matches!(probe, Err(Error::Poisoned { .. })), "{context}: {probe:?}");
        assert!(world.engine().checkpoint().is_err(), "{context}: a checkpoint of a failed log");
        assert_eq!(log_syncs(disk), before, "{context}: nothing is synced again after it failed");
    }
    run.world = Some(world);
    run
}

/// Opens what is on the disk: what was acknowledged is there, with at most the step whose outcome was unknown.
///
/// # Panics
/// If it is not.
pub fn check(disk: &SimDisk, run: &Run, context: &str) {
    let mut world = World::open(disk, 7).unwrap_or_else(|error| panic!("{context}: opening: {error}"));
    let found = world.dump().unwrap_or_else(|error| panic!("{context}: reading: {error}"));
    let fits = found == model::visible(&run.acknowledged)
        || run.unknown.as_ref().is_some_and(|unknown| found == model::visible(unknown));
    assert!(fits, "{context}: {:?} then {found:?}", run.errors);
    world.engine().verify(&mut |_| ()).unwrap_or_else(|error| panic!("{context}: verifying: {error}"));
    world
        .step(&Step::Commit(9, vec![put("new", "life")]))
        .unwrap_or_else(|error| panic!("{context}: writing: {error}"));
    world.step(&Step::Reopen).unwrap_or_else(|error| panic!("{context}: reopening: {error}"));
    let mut after = world.dump().unwrap_or_else(|error| panic!("{context}: reading again: {error}"));
    assert!(after.remove(&model::name(9)).is_some(), "{context}: the new commit is there");
    assert_eq!(after, found, "{context}: what was unknown is settled");
}

/// How many operations the workload takes on a sound disk.
///
/// # Panics
/// If that fails.
pub fn ops(steps: &[Step]) -> u64 {
    let disk = SimDisk::new();
    let run = run(&disk, steps, "a sound disk");
    assert!(run.errors.is_empty(), "{:?}", run.errors);
    disk.ops()
}
