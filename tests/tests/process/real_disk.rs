//! Real file systems: power cuts, small ones that run full, one that turns read-only and one that does not answer. They need root.
//! `lineal-tests cuts` and `full` do more of it.

use std::{path::Path, time::Duration};

use lineal_tests::real::{
    cuts, full, have, limits,
    mount::{Ext4, Tmpfs},
    tool,
};

fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_lineal-tests"))
}

/// Whether there can be small file systems.
fn disks() -> bool {
    have("root and loop devices", Ext4::make(16)).is_some()
}

#[test]
fn what_was_acknowledged_survives_a_power_cut_and_without_syncs_it_does_not() {
    if !disks() {
        return;
    }
    let tally = cuts::run(program(), 30, 7, |found| eprintln!("{found}")).unwrap();
    println!("{tally:?}");
    assert!(tally.acks > 200, "{tally:?}: the workers did too little to test anything");
    let lost = cuts::control(program(), 10, 7).unwrap();
    assert!(lost >= 9, "{lost} of 10 cuts lost something on a disk whose syncs do nothing");
}

#[test]
fn small_file_systems_run_full_without_loss_and_go_on_with_room() {
    let Some(small) = have("root and tmpfs", Tmpfs::make("size=16m")) else { return };
    let Some(disk) = have("root and loop devices", Ext4::make(32)) else { return };
    let mut tally = full::Tally::default();
    for top in [small.path(), &disk.path()] {
        full::fill_to(program(), top, 3, &mut tally).unwrap();
    }
    println!("{tally:?}");
    assert!(tally.refused >= 12 && tally.deletes > 0, "{tally:?}");
}

#[test]
fn a_file_system_that_runs_out_of_files_is_full() {
    let Some(_) = have("root and tmpfs", Tmpfs::make("size=1m")) else { return };
    let mut met = 0;
    for inodes in (4..40).step_by(7) {
        met += usize::from(
            full::few_files(program(), inodes).unwrap_or_else(|why| panic!("{inodes} files: {why}")),
        );
    }
    assert!(met > 2, "{met}");
}

#[test]
fn a_file_system_that_turns_read_only_loses_nothing() {
    if disks() {
        limits::turned_read_only(program()).unwrap();
    }
}

#[test]
fn while_a_disk_does_not_answer_nothing_is_acknowledged_that_it_does_not_hold() {
    let Some(_) = have("fsfreeze", tool("fsfreeze")) else { return };
    if disks() {
        let (before, during) = limits::frozen(program(), Duration::from_millis(1_500)).unwrap();
        println!("acknowledged before {before}, until its end {during}");
    }
}
