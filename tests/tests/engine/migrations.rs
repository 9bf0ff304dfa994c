//! Schema migrations: objects come forward when they are used, one commit a step, and say why they do not.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use lineal::{Engine, Error, ErrorKind, Kind, Migration, Namespace, Object, Result};
use lineal_tests::world;
use lineal_wal::sim::SimDisk;

fn open(disk: &SimDisk) -> (Engine, Namespace) {
    let engine = world::options(disk, 1).open("migrations").unwrap();
    let rooms = engine.namespace("rooms").unwrap();
    (engine, rooms)
}

/// Steps that leave a trace each, and count how often they run.
fn steps(count: usize, ran: &Arc<AtomicU64>) -> Vec<Migration> {
    (1..=count)
        .map(|number| {
            let ran = Arc::clone(ran);
            Migration::run(&format!("step {number}"), move |tx| {
                ran.fetch_add(1, Ordering::Relaxed);
                let trace = tx.get("trace")?.map_or_else(Vec::new, |trace| trace.to_vec());
                tx.put("trace", [trace, number.to_string().into_bytes()].concat())
            })
        })
        .collect()
}

fn counter() -> Arc<AtomicU64> {
    Arc::default()
}

fn trace(object: &Object) -> Option<String> {
    let trace = object.read(|view| view.get("trace")).wait().unwrap();
    trace.map(|trace| String::from_utf8(trace.to_vec()).unwrap())
}

/// Kinds and causes, oldest first.
fn commits(object: &Object) -> Vec<(Kind, String)> {
    let commits = object.history(..).unwrap().reverse();
    commits.map(|commit| commit.map(|commit| (commit.kind, commit.cause)).unwrap()).collect()
}

fn stuck_at(error: &Error) -> u32 {
    match error {
        Error::Migration { step, .. } => *step,
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_object_that_is_behind_comes_forward_before_it_is_used() {
    let (engine, rooms) = open(&SimDisk::new());
    let object = rooms.object("a").unwrap();
    object.transact(|tx| tx.put("k", "v")).wait().unwrap();
    let before = object.bookmark().wait().unwrap();
    let ran = counter();
    rooms.migrations(steps(2, &ran)).unwrap();
    assert_eq!(object.schema_version().unwrap(), 0, "looking migrates nothing");

    // A read is enough, and what it saw is held back until the migration is durable.
    let read = object.read(|view| view.get("trace"));
    assert!(!read.is_open());
    assert_eq!(read.wait().unwrap().unwrap(), b"12"[..]);
    assert_eq!(object.info().unwrap().seq, 3);
    let kinds = [
        (Kind::User, String::new()),
        (Kind::Migration, "migration 1: step 1".into()),
        (Kind::Migration, "migration 2: step 2".into()),
    ];
    assert_eq!(commits(&object), kinds);
    assert_eq!((object.schema_version().unwrap(), ran.load(Ordering::Relaxed)), (2, 2));

    // Once only, also after the memory is gone and after the engine was opened again.
    object.transact(|tx| tx.put("k", "w")).wait().unwrap();
    object.hibernate().unwrap();
    assert_eq!(trace(&object).unwrap(), "12");
    assert_eq!((object.info().unwrap().seq, ran.load(Ordering::Relaxed)), (4, 2));

    // The past does not migrate.
    let past = object.at(&before).unwrap();
    assert_eq!((past.get("trace").unwrap(), past.schema_version().unwrap()), (None, 0));
    assert_eq!(object.info().unwrap().seq, 4);
    assert_eq!(object.verify().unwrap().commits, 4);
    engine.close().unwrap();
}

#[test]
fn the_version_outlives_checkpoints_and_reopening() {
    let disk = SimDisk::new();
    let (engine, rooms) = open(&disk);
    let ran = counter();
    rooms.migrations(steps(2, &ran)).unwrap();
    rooms.object("a").unwrap().transact(|tx| tx.put("k", "v")).wait().unwrap();
    engine.checkpoint().unwrap();
    engine.close().unwrap();
    let (engine, rooms) = open(&disk);
    rooms.migrations(steps(3, &ran)).unwrap();
    assert_eq!(trace(&rooms.object("a").unwrap()).unwrap(), "123");
    assert_eq!(ran.load(Ordering::Relaxed), 3);
    engine.verify(&mut |_| ()).unwrap();
    engine.close().unwrap();
}

#[test]
fn a_new_object_runs_all_steps_with_its_first_transaction_and_a_read_creates_nothing() {
    let (_engine, rooms) = open(&SimDisk::new());
    let ran = counter();
    rooms.migrations(steps(3, &ran)).unwrap();
    let object = rooms.object("a").unwrap();
    assert_eq!(trace(&object), None);
    assert!(matches!(object.info(), Err(Error::NotFound { .. })));
    assert_eq!(ran.load(Ordering::Relaxed), 0);
    object
        .transact(|tx| {
            assert_eq!((tx.seq(), tx.get("trace")?.unwrap().to_vec()), (3, b"123".to_vec()));
            tx.put("k", "v")
        })
        .wait()
        .unwrap();
    assert_eq!(object.info().unwrap().seq, 4);
}

#[test]
fn an_event_and_a_transaction_over_many_bring_forward_first() {
    let (engine, rooms) = open(&SimDisk::new());
    let (a, b) = (rooms.object("a").unwrap(), rooms.object("b").unwrap());
    for object in [&a, &b] {
        object.transact(|tx| tx.put("k", "v")).wait().unwrap();
    }
    rooms.migrations(steps(1, &counter())).unwrap();
    let event = a.event(async |cx| {
        // Before the event does anything.
        Ok(cx.bookmark().unconfirmed()?.seq())
    });
    let gated = pollster::block_on(event);
    assert!(!gated.is_open());
    assert_eq!(gated.wait().unwrap(), 2);
    rooms.migrations(steps(2, &counter())).unwrap();
    engine
        .transact_many([&b, &a], |[b, a]| {
            assert_eq!((b.get("trace")?.unwrap(), a.get("trace")?.unwrap()), (b"12".into(), b"12".into()));
            assert_eq!((b.seq(), a.seq()), (3, 3));
            Ok(())
        })
        .wait()
        .unwrap();
}

#[test]
fn a_step_that_fails_keeps_those_before_it_and_is_not_run_again_and_again() {
    let (engine, rooms) = open(&SimDisk::new());
    let object = rooms.object("a").unwrap();
    object.transact(|tx| tx.put("k", "v")).wait().unwrap();
    let (ran, failed) = (counter(), counter());
    let good = steps(3, &ran);
    let tries = Arc::clone(&failed);
    let bad = Migration::run("broken", move |tx| {
        tries.fetch_add(1, Ordering::Relaxed);
        tx.put("half", "done")?;
        Err(Error::other("this cannot work"))
    });
    let list = [good[0].clone(), bad, good[2].clone()];
    rooms.migrations(list.clone()).unwrap();
    let other = rooms.object("b").unwrap();
    for _ in 0..3 {
        let error = object.transact(|tx| tx.put("k", "never")).wait().unwrap_err();
        assert_eq!((stuck_at(&error), error.kind(), error.name()), (2, ErrorKind::Other, "Migration"));
        assert!(error.to_string().contains("step 2 (broken)"), "{error}");
        assert!(error.to_string().contains("this cannot work"), "{error}");
        assert_eq!(stuck_at(&object.read(|view| view.get("k")).wait().unwrap_err()), 2);
        let event = object.event(async |_| -> Result<()> { unreachable!("the event does not begin") });
        assert_eq!(stuck_at(&pollster::block_on(event).wait().unwrap_err()), 2);
        let many = engine.transact_many([&object, &other], |_| -> Result<()> { unreachable!() });
        assert_eq!(stuck_at(&many.wait().unwrap_err()), 2);
    }
    assert_eq!(failed.load(Ordering::Relaxed), 1);
    assert!(matches!(other.info(), Err(Error::NotFound { .. })), "the first that fails ends it");
    assert_eq!((object.schema_version().unwrap(), object.info().unwrap().seq), (1, 2));
    // Whoever looks without migrating sees what the step before left.
    let now = object.at(&object.bookmark().wait().unwrap()).unwrap();
    assert_eq!((now.get("half").unwrap(), now.get("k").unwrap().unwrap()), (None, b"v".into()));
    // Tried again when the memory is gone, and when the steps are corrected.
    object.hibernate().unwrap();
    assert_eq!(stuck_at(&object.read(|view| view.get("k")).wait().unwrap_err()), 2);
    assert_eq!(failed.load(Ordering::Relaxed), 2);
    rooms.migrations(good).unwrap();
    assert_eq!((trace(&object).unwrap(), object.schema_version().unwrap()), ("123".into(), 3));
}

#[test]
fn a_step_that_panics_resets_the_object_and_leaves_it_as_it_was() {
    let (_engine, rooms) = open(&SimDisk::new());
    let object = rooms.object("a").unwrap();
    object.transact(|tx| tx.put("k", "v")).wait().unwrap();
    let panics = Arc::new(AtomicBool::new(true));
    let now = Arc::clone(&panics);
    rooms
        .migrations([Migration::run("moody", move |tx| {
            tx.put("k", "w")?;
            assert!(!now.load(Ordering::Relaxed), "on purpose");
            Ok(())
        })])
        .unwrap();
    let panicking = object.clone();
    assert!(std::thread::spawn(move || drop(panicking.read(|view| view.get("k")))).join().is_err());
    let panicking = object.clone();
    let event = std::thread::spawn(move || drop(pollster::block_on(panicking.event(async |_| Ok(())))));
    assert!(event.join().is_err());
    assert_eq!((object.info().unwrap().seq, object.schema_version().unwrap()), (1, 0));
    panics.store(false, Ordering::Relaxed);
    assert_eq!(object.read(|view| view.get("k")).wait().unwrap().unwrap(), b"w"[..]);
}

#[test]
fn what_brings_the_past_back_or_empties_the_object_takes_the_version_along() {
    let (_engine, rooms) = open(&SimDisk::new());
    let object = rooms.object("a").unwrap();
    object.transact(|tx| tx.put("k", "v")).wait().unwrap();
    let plain = object.bookmark().wait().unwrap();
    let ran = counter();
    rooms.migrations(steps(2, &ran)).unwrap();
    assert_eq!(trace(&object).unwrap(), "12");
    // A restore.
    let undo = object.restore(&plain).wait().unwrap();
    assert_eq!(object.schema_version().unwrap(), 0);
    assert_eq!(trace(&object).unwrap(), "12");
    object.restore(&undo).wait().unwrap();
    assert_eq!(object.schema_version().unwrap(), 2);
    assert_eq!((trace(&object).unwrap(), ran.load(Ordering::Relaxed)), ("12".into(), 4));
    // A fork.
    let copy = rooms.object("copy").unwrap();
    object.fork(&object.bookmark_of(2).unwrap(), &copy).wait().unwrap();
    assert_eq!(copy.schema_version().unwrap(), 1);
    assert_eq!((trace(&copy).unwrap(), ran.load(Ordering::Relaxed)), ("12".into(), 5));
    // Deleting; a read does not bring it back.
    object.delete().wait().unwrap();
    assert_eq!((trace(&object), object.schema_version().unwrap()), (None, 0));
    object.transact(|tx| tx.put("k", "w")).wait().unwrap();
    assert_eq!((trace(&object).unwrap(), ran.load(Ordering::Relaxed)), ("12".into(), 7));
    // Deleting everything in a transaction that writes on.
    object.transact(|tx| tx.delete_all().and_then(|()| tx.put("k", "x"))).wait().unwrap();
    assert_eq!(object.schema_version().unwrap(), 0);
    assert_eq!((trace(&object).unwrap(), ran.load(Ordering::Relaxed)), ("12".into(), 9));
    // A purge.
    copy.purge().wait().unwrap();
    copy.transact(|tx| tx.put("k", "y")).wait().unwrap();
    assert_eq!((trace(&copy).unwrap(), copy.info().unwrap().seq), ("12".into(), 6));
    copy.verify().unwrap();
}

#[test]
fn an_object_that_is_ahead_is_used_as_it_is() {
    let disk = SimDisk::new();
    let (engine, rooms) = open(&disk);
    rooms.migrations(steps(3, &counter())).unwrap();
    let object = rooms.object("a").unwrap();
    object.transact(|tx| tx.put("k", "v")).wait().unwrap();
    rooms.migrations(steps(1, &counter())).unwrap();
    object.hibernate().unwrap();
    assert_eq!(trace(&object).unwrap(), "123");
    engine.close().unwrap();
    // Reading only: what is behind says so where steps are registered.
    let engine = world::options(&disk, 1).open_read_only("migrations").unwrap();
    let rooms = engine.existing_namespace("rooms").unwrap();
    let object = rooms.object("a").unwrap();
    assert_eq!(trace(&object).unwrap(), "123");
    rooms.migrations(steps(4, &counter())).unwrap();
    let error = object.read(|view| view.get("k")).wait().unwrap_err();
    assert_eq!(stuck_at(&error), 4);
    assert!(error.to_string().contains("reading only"), "{error}");
    assert_eq!(object.schema_version().unwrap(), 3);
    assert!(matches!(rooms.migrate_all(&mut |_| ()), Err(Error::ReadOnly)));
}

#[test]
fn all_objects_of_a_namespace_are_brought_forward() {
    let (engine, rooms) = open(&SimDisk::new());
    rooms.migrations(steps(1, &counter())).unwrap();
    for number in 0..600 {
        let object = rooms.object(&format!("object {number}")).unwrap();
        object.transact(|tx| tx.put("number", number.to_string())).unconfirmed().unwrap();
    }
    rooms.object("object 7").unwrap().delete().wait().unwrap();
    engine.checkpoint().unwrap();
    let mut list = steps(1, &counter());
    list.push(Migration::run("refuses one", |tx| match &*tx.get("number")?.unwrap() {
        b"13" => Err(Error::other("unlucky")),
        _ => tx.put("second", "step"),
    }));
    rooms.migrations(list).unwrap();
    // Some come forward by themselves, in the log only.
    trace(&rooms.object("object 3").unwrap());
    let versions = |rooms: &Namespace| {
        let mut counts = [0; 3];
        rooms.schema_versions(&mut |_, version| counts[version as usize] += 1).unwrap();
        counts
    };
    assert_eq!(versions(&rooms), [0, 598, 1]);
    let mut failed = Vec::new();
    let mut told = 0;
    let report = rooms.migrate_all(&mut |object| {
        told += 1;
        match object.outcome {
            Ok((from, to)) => assert!(from <= to && to == 2),
            Err(error) => failed.push((object.name, stuck_at(&error))),
        }
    });
    let report = report.unwrap();
    assert_eq!((report.migrated, report.unchanged, report.failed, told), (597, 1, 1, 599));
    assert_eq!(failed, [(Some("object 13".into()), 2)]);
    assert_eq!(versions(&rooms), [0, 1, 598]);
    // Again: nothing is left to do.
    let again = rooms.migrate_all(&mut |_| ()).unwrap();
    assert_eq!((again.migrated, again.unchanged, again.failed), (0, 598, 1));
    engine.verify(&mut |_| ()).unwrap();
}

#[test]
fn sql_steps_make_the_schema_and_a_bad_statement_is_named() {
    let (_engine, rooms) = open(&SimDisk::new());
    let object = rooms.object("a").unwrap();
    let create =
        Migration::sql("create", "CREATE TABLE t (x); INSERT INTO t VALUES (1); INSERT INTO t VALUES (2)");
    let bad = Migration::sql("bad", "ALTER TABLE t ADD COLUMN y; ALTER TABLE nowhere ADD COLUMN y");
    rooms.migrations([create.clone(), bad]).unwrap();
    let error = object.transact(|tx| tx.sql().execute("DELETE FROM t", [])).wait().unwrap_err();
    assert_eq!((stuck_at(&error), error.kind()), (2, ErrorKind::Invalid));
    assert!(error.to_string().contains("nowhere"), "{error}");
    let good = Migration::sql("good", "ALTER TABLE t ADD COLUMN y DEFAULT 5");
    rooms.migrations([create, good]).unwrap();
    let sum =
        object.read(|view| view.sql().query_one("SELECT sum(x + y) FROM t", [], |row| row.get::<i64>(0)));
    assert_eq!(sum.wait().unwrap(), 13);
    let causes: Vec<String> = commits(&object).into_iter().map(|(_, cause)| cause).collect();
    assert_eq!(causes, ["migration 1: create", "migration 2: good"]);
}
