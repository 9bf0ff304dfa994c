//! Verification while other work goes on: checkpoints take no turn, and take the log away under who reads it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use lineal::Engine;
use lineal_tests::{chooser::chooser, world};
use lineal_wal::sim::SimDisk;

/// A commit that fills a segment of its own.
const LARGE_BYTES: usize = 70_000;

fn put(engine: &Engine, object: &str) {
    let object = engine.namespace(world::NAMESPACE).unwrap().object(object).unwrap();
    object.transact(|tx| tx.put("k", vec![7; LARGE_BYTES])).wait().unwrap();
}

/// Lets the next reads of the log meet so many times two checkpoints, which release what was being read.
fn release_under_reader(disk: &SimDisk, engine: &Engine, times: usize, done: &Arc<AtomicUsize>) {
    if times == 0 {
        return;
    }
    let (again, engine, done) = (disk.clone(), engine.clone(), Arc::clone(done));
    disk.before_read(".log", move || {
        // The reader is inside a turn, where a checkpoint is refused.
        let other = engine.clone();
        thread::spawn(move || {
            for _ in 0..2 {
                put(&other, "other");
                other.checkpoint().unwrap();
            }
        })
        .join()
        .unwrap();
        done.fetch_add(1, Ordering::Relaxed);
        release_under_reader(&again, &engine, times - 1, &done);
    });
}

#[test]
fn an_object_is_verified_though_checkpoints_release_its_log_meanwhile() {
    let disk = SimDisk::new();
    let engine = world::options(&disk, 1).open("simulated").unwrap();
    for _ in 0..4 {
        put(&engine, "object");
    }
    let object = engine.namespace(world::NAMESPACE).unwrap().object("object").unwrap();
    let done = Arc::new(AtomicUsize::new(0));
    release_under_reader(&disk, &engine, 1, &done);
    let verified = object.verify().unwrap();
    assert_eq!(done.load(Ordering::Relaxed), 1, "the log was read, and released meanwhile");
    assert_eq!((verified.last_seq, verified.commits), (4, 4));
    engine.close().unwrap();
}

#[test]
fn an_engine_is_verified_though_checkpoints_release_its_log_meanwhile() {
    let disk = SimDisk::new();
    let engine = world::options(&disk, 2).open("simulated").unwrap();
    for _ in 0..4 {
        put(&engine, "object");
    }
    let done = Arc::new(AtomicUsize::new(0));
    release_under_reader(&disk, &engine, 1, &done);
    let report = engine.verify(&mut |_| ()).unwrap();
    assert_eq!(done.load(Ordering::Relaxed), 1, "the log was read, and released meanwhile");
    assert_eq!(report.objects, 2);
    engine.close().unwrap();
}

#[test]
fn a_power_cut_in_a_checkpoint_is_no_damage_to_who_verifies_without_writing() {
    let start = || {
        let disk = SimDisk::new();
        let engine = world::options(&disk, 3).open("simulated").unwrap();
        put(&engine, "object");
        (disk, engine)
    };
    let (disk, engine) = start();
    let first = disk.ops();
    engine.checkpoint().unwrap();
    for op in first..disk.ops() {
        let (disk, engine) = start();
        disk.power_off_at(op);
        engine.checkpoint().unwrap_err();
        for seed in 0..60 {
            let after = disk.crash(&mut chooser(seed));
            let engine = world::options(&after, 4).open_read_only("simulated").unwrap();
            engine.verify(&mut |_| ()).unwrap_or_else(|error| panic!("operation {op}, seed {seed}: {error}"));
        }
    }
}
