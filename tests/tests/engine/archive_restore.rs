//! A restore that is interrupted anywhere: what it leaves does not open before it is whole, and the next one goes on.

use std::{path::Path, sync::Arc, time::Duration};

use lineal::{
    ErrorKind, Options,
    archive::{ArchiveOptions, Patience, RestoreOptions, restore},
};
use lineal_snapshot::archive::sim::{Fault, Op, PASSING, SimStore};
use lineal_tests::{
    archive::{HURRIED, hurried},
    chooser::chooser,
    model::{self, State},
    workload::{every_feature, states},
    world::{self, World},
};
use lineal_wal::{Disk, sim::SimDisk};

/// An archive with everything in it that an engine can do, and what it holds.
fn archived() -> (Arc<SimStore>, State) {
    let (steps, store) = (every_feature(), SimStore::new());
    let mut world = World::open_archived(&SimDisk::new(), 1, &hurried(&store), false).unwrap();
    for (at, step) in steps.iter().enumerate() {
        world.step(step).unwrap_or_else(|error| panic!("step {at}: {error}"));
        if at % 9 == 8 {
            world.engine().checkpoint().unwrap();
        }
    }
    world.engine().archive_now().unwrap();
    (store, states(&steps).pop().unwrap())
}

fn onto(disk: &SimDisk) -> RestoreOptions {
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    RestoreOptions::new().disk(disk)
}

fn restored(from: &ArchiveOptions, disk: &SimDisk) -> lineal::Result<()> {
    restore(from, Path::new("simulated"), &onto(disk), &mut |_| ()).map(drop)
}

/// Checks an engine that was restored.
fn check(disk: &SimDisk, state: &State, context: &str) {
    let engine = world::options(disk, 5)
        .open("simulated")
        .unwrap_or_else(|error| panic!("{context}: opening: {error}"));
    assert_eq!(world::dump(&engine).unwrap(), model::visible(state), "{context}");
    world::check_history(&engine, state).unwrap_or_else(|error| panic!("{context}: the past: {error}"));
    engine.verify(&mut |_| ()).unwrap_or_else(|error| panic!("{context}: verifying: {error}"));
}

/// Whether a directory opens that somebody might take for a whole one.
fn opens(disk: &SimDisk) -> bool {
    let options: Options = world::options(disk, 6);
    options.open_read_only("simulated").is_ok()
}

#[test]
fn a_power_cut_anywhere_leaves_nothing_that_opens_or_all_of_it() {
    let (store, state) = archived();
    let from = hurried(&store);
    let whole = SimDisk::new();
    restored(&from, &whole).unwrap();
    let ops = whole.ops();
    check(&whole, &state, "without a cut");
    for op in (0..ops).step_by(3) {
        for fate in 0..3 {
            let context = format!("power off at operation {op} of {ops}, fate {fate}");
            let disk = SimDisk::new();
            disk.power_off_at(op);
            restored(&from, &disk).expect_err(&context);
            let crashed = disk.crash(&mut chooser(fate + op * 4 * u64::from(fate > 1)));
            if opens(&crashed) {
                check(&crashed, &state, &format!("{context}, as it was left"));
            }
            let crashed = disk.crash(&mut chooser(fate + op * 4 * u64::from(fate > 1)));
            restored(&from, &crashed).unwrap_or_else(|error| panic!("{context}: again: {error}"));
            check(&crashed, &state, &context);
        }
    }
    // What a restore that returned has brought is durable, whatever the disk had not been asked to sync.
    for fate in 0..3 {
        let disk = SimDisk::new();
        restored(&from, &disk).unwrap();
        check(&disk.crash(&mut chooser(fate)), &state, &format!("power off after it, fate {fate}"));
    }
}

#[test]
fn a_store_that_fails_at_any_request_leaves_nothing_that_opens() {
    let (store, state) = archived();
    store.requests();
    restored(&hurried(&store), &SimDisk::new()).unwrap();
    let requests = store.requests().len() as u64;
    for request in 0..requests {
        let context = format!("dark from request {request} of {requests} on");
        let disk = SimDisk::new();
        store.dark_after(request);
        restored(&hurried(&store), &disk).expect_err(&context);
        assert!(!opens(&disk), "{context}");
        store.clear();
        restored(&hurried(&store), &disk).unwrap_or_else(|error| panic!("{context}: again: {error}"));
        check(&disk, &state, &context);
    }
    let patient = || hurried(&store).patience(Patience { operation_max: Duration::from_secs(5), ..HURRIED });
    for fault in PASSING {
        for key in ["manifest", "packs", "log"] {
            match (fault, key) {
                // An older manifest is an older archive.
                (Fault::Stale, "manifest") => continue,
                // What is named and not there is an error, whatever it comes from.
                (Fault::Stale, _) => {
                    let disk = SimDisk::new();
                    store.plan(Op::Get, key, fault);
                    let stale = restored(&patient(), &disk);
                    assert!(stale.is_ok() || !opens(&disk), "{key}: {stale:?}");
                    store.clear();
                    continue;
                }
                _ => {}
            }
            let context = format!("{fault:?} of {key}");
            let disk = SimDisk::new();
            store.plan(Op::Get, key, fault);
            restored(&patient(), &disk).unwrap_or_else(|error| panic!("{context}: {error}"));
            check(&disk, &state, &context);
            store.clear();
        }
    }
    let disk = SimDisk::new();
    store.plan(Op::Get, "packs", Fault::Flipped);
    let flipped = restored(&patient(), &disk).unwrap_err();
    assert!(flipped.kind() == ErrorKind::Corrupt && !opens(&disk), "{flipped}");
    restored(&patient(), &disk).unwrap();
    check(&disk, &state, "bytes that were flipped on their way");
}
