//! Failing operations of the disk: errors are typed, nothing that was acknowledged is lost, a log that failed
//! acknowledges nothing more, and everything else goes on when the fault is over.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use lineal::{Error, Result};
use lineal_tests::{
    chooser::chooser,
    damage::{filler, put},
    failing::{check, ops, run, workload},
    model::{self, State, Step},
    world::{self, World, options_at},
};
use lineal_wal::sim::{Fault, OpKind, SimDisk};

#[test]
fn a_failed_sync_of_the_log_poisons_it_wherever_it_fails() {
    let steps = workload();
    let (mut poisoned, mut failed_opens) = (0, 0);
    for op in 0..ops(&steps) {
        for sticky in [false, true] {
            let context = format!("sync of the log fails at operation {op}, sticky {sticky}");
            let disk = SimDisk::new();
            let fault = Fault {
                at_op: Some(op),
                kind: Some(OpKind::Sync),
                path: Some("log/0".into()),
                sticky,
                error: std::io::ErrorKind::Other,
            };
            disk.fail(fault);
            let run = run(&disk, &steps, &context);
            poisoned += u64::from(run.poisoned());
            failed_opens += u64::from(run.world.is_none());
            let only_poison = run
                .errors
                .iter()
                .all(|(_, error)| matches!(error, Error::Poisoned { .. } | Error::Io { .. } | Error::Closed));
            assert!(only_poison, "{context}: {:?}", run.errors);
            disk.heal();
            check(&disk.kill(), &run, &format!("{context}, killed"));
            check(&disk.crash(&mut chooser(op % 5)), &run, &format!("{context}, crashed"));
        }
    }
    println!("poisoned {poisoned}, not open at the end {failed_opens}");
    assert!(poisoned >= 20, "the log was poisoned only {poisoned} times");
}

#[test]
fn any_operation_that_fails_once_loses_nothing_and_the_engine_goes_on() {
    let steps = workload();
    let (mut poisoned, mut went_on, mut unnoticed) = (0, 0, 0);
    for op in 0..ops(&steps) {
        let context = format!("operation {op} fails once");
        let disk = SimDisk::new();
        disk.fail(Fault::at(op));
        let run = run(&disk, &steps, &context);
        for (at, error) in &run.errors {
            let typed = matches!(
                error,
                Error::Poisoned { .. } | Error::Io { .. } | Error::InvalidDirectory { .. } | Error::Closed
            );
            assert!(typed, "{context}: step {at}: {error:?}");
        }
        if run.poisoned() {
            poisoned += 1;
        } else if run.errors.is_empty() {
            unnoticed += 1;
        } else {
            // A fault that is over is over: at most the one step that met it failed.
            assert_eq!(run.errors.len(), 1, "{context}: {:?}", run.errors);
            went_on += 1;
        }
        if let (Some(world), false) = (&run.world, run.poisoned()) {
            assert_eq!(
                world.dump().unwrap(),
                model::visible(&run.acknowledged),
                "{context}: the open engine"
            );
        }
        disk.heal();
        check(&disk.kill(), &run, &format!("{context}, killed"));
        check(&disk.crash(&mut chooser(op % 5)), &run, &format!("{context}, crashed"));
    }
    println!("poisoned {poisoned}, went on {went_on}, no step failed {unnoticed}");
    assert!(poisoned > 0 && went_on > 0);
}

#[test]
fn a_disk_that_fails_from_some_operation_on_loses_nothing() {
    let steps = workload();
    for op in (0..ops(&steps)).step_by(2) {
        let context = format!("all fails from operation {op} on");
        let disk = SimDisk::new();
        disk.fail(Fault::at(op).sticky());
        let run = run(&disk, &steps, &context);
        disk.heal();
        check(&disk.kill(), &run, &format!("{context}, killed"));
        check(&disk.crash(&mut chooser(op % 5)), &run, &format!("{context}, crashed"));
    }
}

/// Does a step and, if it was done, does it to the model.
fn step(world: &mut World, state: &mut State, step: Step) -> Result<()> {
    world.step(&step)?;
    model::apply(state, &step);
    Ok(())
}

/// Checkpoints, merges and the catalog fail for as long as the fault lasts, and commits do not.
#[test]
fn while_packs_or_the_catalog_fail_commits_go_on_and_the_checkpoint_catches_up() {
    for (kind, path) in [
        (OpKind::Open, "packs/"),
        (OpKind::Write, "packs/"),
        (OpKind::Sync, "packs/"),
        (OpKind::SyncDir, "packs"),
        (OpKind::Write, "catalog"),
        (OpKind::Sync, "catalog"),
        (OpKind::SetLen, "catalog"),
        (OpKind::Remove, "packs/"),
    ] {
        let context = format!("{kind:?} on {path}");
        let disk = SimDisk::new();
        let mut world = World::open(&disk, 1).unwrap();
        let mut state = State::new();
        for round in 0..3 {
            step(&mut world, &mut state, Step::Commit(round, vec![filler("before", 300)])).unwrap();
            step(&mut world, &mut state, Step::Checkpoint).unwrap();
        }
        disk.fail(Fault::on(kind).path(path).sticky());
        let mut failures = 0;
        for round in 0..6 {
            step(&mut world, &mut state, Step::Commit(round, vec![filler("during", 400 + round)]))
                .unwrap_or_else(|error| panic!("{context}: a commit: {error}"));
            for work in [Step::Checkpoint, Step::Compact] {
                if let Err(error) = step(&mut world, &mut state, work) {
                    assert!(matches!(error, Error::Io { .. }), "{context}: {error:?}");
                    failures += 1;
                }
            }
        }
        println!("{context}: {failures} failures");
        disk.heal();
        step(&mut world, &mut state, Step::Commit(9, vec![put("after", "it")])).unwrap();
        step(&mut world, &mut state, Step::Checkpoint).unwrap_or_else(|error| panic!("{context}: {error}"));
        step(&mut world, &mut state, Step::Compact).unwrap_or_else(|error| panic!("{context}: {error}"));
        assert_eq!(world.dump().unwrap(), model::visible(&state), "{context}");
        world.engine().verify(&mut |_| ()).unwrap_or_else(|error| panic!("{context}: {error}"));
        let stats = world.engine().stats();
        assert_eq!(stats.checkpoint_lsn, stats.durable_lsn, "{context}: the checkpoint caught up");
        let killed = World::open(&disk.kill(), 2).unwrap();
        assert_eq!(killed.dump().unwrap(), model::visible(&state), "{context}: killed");
        step(&mut world, &mut state, Step::Reopen).unwrap();
        assert_eq!(world.dump().unwrap(), model::visible(&state), "{context}: reopened");
    }
}

#[test]
fn a_failed_sync_fails_every_gate_that_is_shut_with_the_same_error_and_none_that_is_open() {
    let disk = SimDisk::new();
    let engine = world::options(&disk, 3).open("simulated").unwrap();
    let namespace = engine.namespace("gates").unwrap();
    let object = |at: usize| namespace.object(&model::name(at)).unwrap();
    object(0).transact(|tx| tx.put("k", "durable")).wait().unwrap();
    let opened = object(0).transact(|tx| tx.put("k", "durable too"));
    engine.sync().unwrap();
    let shut: Vec<_> = (0..50).map(|at| object(at).transact(move |tx| tx.put("k", [at as u8]))).collect();
    let read = object(7).read(|view| view.get("k"));
    let refused = object(8).transact(|tx| {
        tx.get("k")?;
        Err::<(), _>(Error::other("told by an undurable value"))
    });
    disk.fail(Fault::on(OpKind::Sync).path("log/0"));
    let mut texts: Vec<String> = Vec::new();
    for gate in shut {
        assert!(!gate.is_open());
        match gate.wait() {
            Err(error @ Error::Poisoned { .. }) => texts.push(error.to_string()),
            other => panic!("{other:?}"),
        }
    }
    assert!(matches!(read.wait(), Err(Error::Poisoned { .. })));
    assert!(
        matches!(refused.wait(), Err(Error::Poisoned { .. })),
        "an Err that shows an undurable value stays inside"
    );
    opened.wait().unwrap();
    texts.dedup();
    assert_eq!(texts.len(), 1, "{texts:?}");
    for later in 0..3 {
        let gate = object(later).transact(|tx| tx.put("later", "no"));
        assert!(matches!(gate.wait(), Err(Error::Poisoned { .. })));
        assert!(matches!(engine.sync(), Err(Error::Poisoned { .. })));
    }
    assert!(engine.close().is_err(), "a close that packs nothing says so");
    let engine = world::options(&disk.kill(), 4).open("simulated").unwrap();
    let found = engine.namespace("gates").unwrap().object(&model::name(0)).unwrap();
    let value = found.read(|view| view.get("k")).wait().unwrap().unwrap();
    assert!(value[..] == b"durable too"[..] || value[..] == [0], "{value:?}");
    found.transact(|tx| tx.put("k", "new life")).wait().unwrap();
    engine.close().unwrap();
}

#[test]
fn a_read_error_fails_the_call_that_met_it_and_is_over_when_the_disk_is_well() {
    let disk = SimDisk::new();
    let mut world = World::open(&disk, 1).unwrap();
    for at in 0..8 {
        world.step(&Step::Commit(at, vec![filler("k", 20_000 + at)])).unwrap();
    }
    world.step(&Step::Checkpoint).unwrap();
    let whole = world.dump().unwrap();
    world.step(&Step::Reopen).unwrap();
    let namespace = world.engine().existing_namespace(world::NAMESPACE).unwrap();
    let read = |at: usize| namespace.object(&model::name(at))?.read(|view| view.get("k")).wait();
    for at in 0..8 {
        disk.fail(Fault::on(OpKind::Read).path("packs/"));
        assert!(matches!(read(at), Err(Error::Io { .. })), "object {at}");
        read((at + 1) % 8).unwrap();
        assert!(read(at).unwrap().is_some(), "object {at} is not stuck");
        namespace.object(&model::name((at + 1) % 8)).unwrap().hibernate().unwrap();
    }
    assert_eq!(world.dump().unwrap(), whole);
}

/// Pack files that no open pack accounts for.
fn dead_packs(disk: &SimDisk, world: &World) -> usize {
    let files = disk.files().iter().filter(|path| path.starts_with("packs/")).count();
    files - usize::try_from(world.engine().stats().packs).unwrap()
}

/// A world with several packs, and the step that writes one more.
fn before_a_pack(last: &Step) -> (SimDisk, World, State) {
    let disk = SimDisk::new();
    let mut world = World::open(&disk, 1).unwrap();
    let mut state = State::new();
    let mut steps = workload();
    steps.truncate(8);
    steps.extend([Step::Checkpoint, Step::Commit(0, vec![put("more", "1")])]);
    for step in steps {
        world.step(&step).unwrap();
        model::apply(&mut state, &step);
    }
    assert!(matches!(last, Step::Checkpoint | Step::Compact));
    (disk, world, state)
}

#[test]
fn a_pack_that_is_not_published_leaves_no_file() {
    let mut removed = 0;
    for step in [Step::Checkpoint, Step::Compact] {
        let (disk, mut world, _) = before_a_pack(&step);
        let first = disk.ops();
        world.step(&step).unwrap();
        let ops = first..disk.ops();
        for (op, error) in ops.flat_map(|op| {
            [std::io::ErrorKind::Other, std::io::ErrorKind::StorageFull].map(|error| (op, error))
        }) {
            let context = format!("{step:?}: {error:?} at operation {}", op - first);
            let (disk, mut world, state) = before_a_pack(&step);
            disk.fail(Fault::at(op).path("packs").error(error));
            let failed = world.step(&step).is_err();
            disk.heal();
            removed += usize::from(failed);
            // One that failed in removing what it replaced was published.
            assert!(!failed || dead_packs(&disk, &world) == 0, "{context}");
            // Whatever a power cut leaves of the removal opens.
            for fate in 0..2 {
                let after = disk.crash(&mut |count| if fate == 0 { 0 } else { count - 1 });
                let found = World::open(&after, 7).and_then(|world| world.dump());
                assert_eq!(found.unwrap(), model::visible(&state), "{context}, fate {fate}");
            }
            world.step(&step).unwrap_or_else(|error| panic!("{context}, again: {error}"));
            assert_eq!(dead_packs(&disk, &world), 0, "{context}, again");
            assert_eq!(world.dump().unwrap(), model::visible(&state), "{context}");
        }
    }
    assert!(removed > 10, "{removed}");
}

#[test]
fn a_pack_whose_row_failed_goes_once_it_is_certain_to_be_unlisted() {
    let full = || Fault::on(OpKind::Write).path("catalog.redb").error(std::io::ErrorKind::StorageFull);
    for (fault, certain) in [(full(), true), (full().sticky(), false)] {
        for step in [Step::Checkpoint, Step::Compact] {
            let context = format!("{step:?}, certain: {certain}");
            let (disk, mut world, state) = before_a_pack(&step);
            // The row is tried twice.
            disk.fail(fault.clone());
            disk.fail(fault.clone());
            assert!(matches!(world.step(&step), Err(Error::NoSpace { .. })), "{context}");
            assert_eq!(dead_packs(&disk, &world), usize::from(!certain), "{context}");
            disk.heal();
            for fate in 0..3 {
                let after = match fate {
                    0 => disk.crash(&mut |_| 0),
                    1 => disk.crash(&mut |count| count - 1),
                    _ => disk.kill(),
                };
                let found = World::open(&after, 7).and_then(|world| world.dump());
                assert_eq!(found.unwrap(), model::visible(&state), "{context}, fate {fate}");
            }
            world.step(&step).unwrap();
            assert_eq!(dead_packs(&disk, &world), 0, "{context}: the next one takes it along");
        }
    }
}

#[test]
fn a_merge_whose_row_failed_takes_nothing_away_from_a_restore_that_follows() {
    let hour = 3_600_000_000;
    for sticky_on in [OpKind::Write, OpKind::Sync] {
        let disk = SimDisk::new();
        let time = Arc::new(AtomicU64::new(1_000 * hour));
        let open = |disk: &SimDisk| options_at(disk, 3, &time).open("simulated").unwrap();
        let engine = open(&disk);
        let rooms = engine.namespace("rooms").unwrap();
        let ten_hours = Some(std::time::Duration::from_secs(10 * 3_600));
        rooms.set_retention(lineal::Retention { time: ten_hours, bytes: None }).unwrap();
        let lobby = rooms.object("lobby").unwrap();
        for seq in 1..=200_u64 {
            time.fetch_add(hour, Ordering::Relaxed);
            lobby.transact(|tx| tx.put((seq % 40).to_be_bytes(), vec![seq as u8; 600])).wait().unwrap();
            if seq % 20 == 0 {
                engine.checkpoint().unwrap();
            }
        }
        let mark = lobby.bookmark_of(45).unwrap();
        // The merge's pack is finished, and neither its row nor another table can be written.
        disk.fail(Fault::on(sticky_on).path("catalog.redb").error(std::io::ErrorKind::StorageFull).sticky());
        assert!(engine.compact().is_err());
        lobby.restore(&mark).wait().unwrap();
        for seed in 0..20 {
            let after = disk.crash(&mut chooser(seed));
            let engine = open(&after);
            let lobby = engine.namespace("rooms").unwrap().object("lobby").unwrap();
            let found = lobby.read(|view| view.get(5_u64.to_be_bytes())).wait().unwrap();
            assert_eq!(found.as_deref(), Some(&[45; 600][..]));
            assert!(lobby.at_seq(45).is_ok());
            engine.verify(&mut |_| ()).unwrap();
            engine.compact().unwrap();
            engine.verify(&mut |_| ()).unwrap();
            assert!(after.files().iter().all(|path| !path.ends_with(".void")), "{:?}", after.files());
        }
        // And where it goes on without a crash.
        disk.heal();
        engine.compact().unwrap();
        engine.verify(&mut |_| ()).unwrap();
        assert!(disk.files().iter().all(|path| !path.ends_with(".void")), "{:?}", disk.files());
    }
}
