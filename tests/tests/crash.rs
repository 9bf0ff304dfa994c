//! Crashes at every operation of the disk: what is recovered is a prefix of the commits that holds every
//! acknowledged one, whole, and the engine goes on from there.

use lineal_tests::{
    chooser::chooser,
    crash::{check, run_until_off},
    workload::{every_feature, states},
    world::World,
};
use lineal_wal::sim::SimDisk;

#[test]
fn a_crash_at_every_operation_leaves_a_prefix_with_all_that_was_acknowledged() {
    let steps = every_feature();
    let states = states(&steps);
    let whole = SimDisk::new();
    assert_eq!(run_until_off(&whole, &steps), steps.len());
    let ops = whole.ops();
    for op in 0..ops {
        for fate in 0..4 {
            let disk = SimDisk::new();
            disk.power_off_at(op);
            let acknowledged = run_until_off(&disk, &steps);
            let crashed = disk.crash(&mut chooser(fate + op * 4 * u64::from(fate > 1)));
            check(
                &crashed,
                &states,
                acknowledged,
                &format!("power off at operation {op} of {ops}, fate {fate}"),
            );
        }
    }
}

#[test]
fn a_crash_during_recovery_changes_nothing_that_was_recovered() {
    let steps = every_feature();
    let states = states(&steps);
    let whole = SimDisk::new();
    run_until_off(&whole, &steps);
    let ops = whole.ops();
    for op in (0..ops).step_by(11) {
        let disk = SimDisk::new();
        disk.power_off_at(op);
        let acknowledged = run_until_off(&disk, &steps);
        let first = disk.crash(&mut chooser(op + 2));
        let image = first.image();
        let probe = SimDisk::from_image(&image);
        let opened = World::open(&probe, 3).is_ok();
        assert!(opened, "operation {op}");
        for inner in 0..probe.ops() {
            let again = SimDisk::from_image(&image);
            again.power_off_at(inner);
            drop(World::open(&again, 3));
            let second = again.crash(&mut chooser(inner + op));
            check(
                &second,
                &states,
                acknowledged,
                &format!("operation {op}, then operation {inner} of recovery"),
            );
        }
    }
}

#[test]
fn a_kill_at_every_operation_loses_nothing_that_was_acknowledged() {
    let steps = every_feature();
    let states = states(&steps);
    let whole = SimDisk::new();
    run_until_off(&whole, &steps);
    for op in 0..whole.ops() {
        let disk = SimDisk::new();
        disk.power_off_at(op);
        let acknowledged = run_until_off(&disk, &steps);
        check(&disk.kill(), &states, acknowledged, &format!("kill at operation {op}"));
    }
}
