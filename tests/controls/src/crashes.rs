//! Crashes, kills and failing disks.

use std::sync::OnceLock;

use lineal_tests::{
    chooser::chooser,
    crash::{check, run_until_off},
    damage::{filler, put},
    draw::Draw,
    failing,
    model::{State, Step},
    simulator,
    workload::{every_feature, states},
    world::World,
};
use lineal_wal::sim::{Fault, OpKind, SimDisk};

use crate::Harness;

/// Seeds of the simulator.
pub(crate) const SIMULATOR: Harness =
    Harness { name: "simulator", states: 40, look: |seed| simulator::run(seed).map(drop) };

/// Power cuts at operations of a workload, drawn by the state.
pub(crate) const CUTS: Harness = Harness { name: "power cuts", states: 300, look: cut };

/// Kills at operations of a workload.
pub(crate) const KILLS: Harness = Harness { name: "kills", states: 300, look: kill };

/// Power cuts in the recovery after a power cut.
pub(crate) const CUTS_IN_RECOVERY: Harness =
    Harness { name: "power cuts in recovery", states: 900, look: cut_in_recovery };

/// Syncs of the log that fail, each of a workload.
pub(crate) const FAILED_SYNCS: Harness = Harness { name: "failed syncs", states: 1_800, look: fail_sync };

/// A checkpoint while a commit is on its way, and power cuts in it.
pub(crate) const CHECKPOINTS: Harness =
    Harness { name: "power cuts in a checkpoint", states: 300, look: checkpoint };

/// A workload, and what it needs and leads to.
struct Work {
    ops: u64,
    states: Vec<State>,
}

fn work() -> &'static Work {
    static WORK: OnceLock<Work> = OnceLock::new();
    WORK.get_or_init(|| {
        let steps = every_feature();
        let whole = SimDisk::new();
        assert_eq!(run_until_off(&whole, &steps), steps.len(), "a sound disk");
        Work { ops: whole.ops(), states: states(&steps) }
    })
}

/// The disk of a machine that goes off at an operation, and how many steps were acknowledged.
fn off_at(op: u64) -> (SimDisk, usize) {
    let disk = SimDisk::new();
    disk.power_off_at(op);
    let acknowledged = run_until_off(&disk, &every_feature());
    (disk, acknowledged)
}

fn cut(state: u64) -> Result<(), String> {
    let mut draw = Draw::new(state);
    let op = draw.below(work().ops);
    let (disk, acknowledged) = off_at(op);
    // All that may be kept, nothing, and mostly something of both.
    let fate = draw.one_of(&[0, 1, 2, 2, 2, 2]);
    let fate = if fate == 2 { draw.number() | 2 } else { fate };
    check(&disk.crash(&mut chooser(fate)), &work().states, acknowledged, &format!("operation {op}"));
    Ok(())
}

fn kill(state: u64) -> Result<(), String> {
    let op = Draw::new(state).below(work().ops);
    let (disk, acknowledged) = off_at(op);
    check(&disk.kill(), &work().states, acknowledged, &format!("operation {op}"));
    Ok(())
}

fn cut_in_recovery(state: u64) -> Result<(), String> {
    let op = Draw::new(state).below(work().ops);
    let (disk, acknowledged) = off_at(op);
    // The process was killed, so that recovery sees what no sync made durable.
    let whole = disk.kill();
    drop(World::open(&whole, 3));
    let inner = state * 31 % (2 * whole.ops());
    let disk = disk.kill();
    disk.power_off_at(inner);
    let seen = World::open(&disk, 3).and_then(|world| world.dump());
    let found = World::open(&disk.crash(&mut chooser(1)), 5).and_then(|world| world.dump());
    // What was read once is not taken back by a power cut.
    if let (Ok(seen), Ok(found)) = (seen, found)
        && seen != found
    {
        return Err(format!("operation {op}: {seen:?} was read, and after a power cut {found:?}"));
    }
    let context = format!("operation {op}, then {inner} of recovery");
    check(&disk.crash(&mut chooser(state)), &work().states, acknowledged, &context);
    Ok(())
}

fn fail_sync(state: u64) -> Result<(), String> {
    static OPS: OnceLock<u64> = OnceLock::new();
    let steps = failing::workload();
    let op = Draw::new(state).below(*OPS.get_or_init(|| failing::ops(&steps)));
    let context = format!("the sync at operation {op} fails");
    let disk = SimDisk::new();
    disk.fail(Fault {
        at_op: Some(op),
        kind: Some(OpKind::Sync),
        path: Some("log/0".into()),
        sticky: state % 4 == 3,
        error: std::io::ErrorKind::Other,
    });
    let run = failing::run(&disk, &steps, &context);
    disk.heal();
    failing::check(&disk.kill(), &run, &format!("{context}, killed"));
    failing::check(&disk.crash(&mut chooser(1 + state % 3)), &run, &format!("{context}, crashed"));
    Ok(())
}

fn checkpoint(state: u64) -> Result<(), String> {
    /// More than a small checkpoint takes.
    const OPS: u64 = 40;
    let mut draw = Draw::new(state);
    let disk = SimDisk::new();
    let mut world = World::open(&disk, 1).unwrap();
    for step in [Step::Commit(0, vec![put("a", "1")]), Step::Checkpoint] {
        world.step(&step).unwrap();
    }
    let is_cut = state > 0;
    if is_cut {
        disk.power_off_at(disk.ops() + draw.below(OPS));
    }
    // Nobody waits for it.
    drop(world.submit(&Step::Commit(0, vec![filler("b", 3_000)])));
    let packed = world.engine().checkpoint();
    if let (Err(error), false) = (&packed, is_cut) {
        return Err(format!("a checkpoint on a sound disk: {error}"));
    }
    let crashed = disk.crash(&mut chooser(draw.number() | 2));
    let found = World::open(&crashed, 2).and_then(|world| {
        world.engine().verify(&mut |_| ())?;
        world.dump()
    });
    let seqs = found.map(|found| found.values().map(|object| object.seq).collect::<Vec<_>>());
    match &seqs {
        Ok(seqs) if *seqs == [2] || (*seqs == [1] && packed.is_err()) => Ok(()),
        other => Err(format!("a checkpoint that came to {packed:?} left {other:?}")),
    }
}
