//! An engine with an archive: what is uploaded, what comes back, and who may write.

use std::{path::Path, time::Duration};

use lineal::{
    Durability, Engine, Error, Options, Result, Selector,
    archive::{self, ArchiveOptions, Location, RestoreOptions},
};

/// A folder as the store, and a folder for data directories.
struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    fn new() -> Place {
        Place { dir: tempfile::tempdir().unwrap() }
    }

    fn at(&self, name: &str) -> std::path::PathBuf {
        self.dir.path().join(name)
    }

    fn archive(&self) -> ArchiveOptions {
        let url = format!("file://{}", self.at("store").display());
        std::fs::create_dir_all(self.at("store")).unwrap();
        ArchiveOptions::new(Location::new(url)).interval(Duration::from_millis(20)).holder("test")
    }

    fn options(&self) -> Options {
        Options::new().archive(self.archive())
    }

    fn open(&self, name: &str) -> Result<Engine> {
        self.options().open(self.at(name))
    }
}

fn write(engine: &Engine, from: u64, to: u64) {
    let rooms = engine.namespace("rooms").unwrap();
    let mut last = None;
    for number in from..to {
        let room = rooms.object(&format!("room {}", number % 50)).unwrap();
        last = Some(room.transact(|tx| {
            tx.put(format!("key {number}"), format!("value {number}").repeat(10))?;
            tx.put("newest", number.to_le_bytes())
        }));
    }
    last.unwrap().wait().unwrap();
}

fn check(engine: &Engine, to: u64) {
    let rooms = engine.existing_namespace("rooms").unwrap();
    for number in 0..to {
        let room = rooms.object(&format!("room {}", number % 50)).unwrap();
        let found = room.read(|view| view.get(format!("key {number}"))).wait().unwrap();
        assert_eq!(&*found.unwrap(), format!("value {number}").repeat(10).as_bytes(), "key {number}");
    }
    engine.verify(&mut |_| ()).unwrap();
}

fn lose(dir: &Path) {
    std::fs::remove_dir_all(dir).unwrap();
}

#[test]
fn a_lost_machine_comes_back_from_the_archive() {
    let place = Place::new();
    let engine = place.open("data").unwrap();
    write(&engine, 0, 300);
    engine.checkpoint().unwrap();
    write(&engine, 300, 500);
    engine.archive_now().unwrap();
    let status = engine.archive_status().unwrap();
    assert_eq!((status.lag_records, status.packs), (0, 1), "{status:?}");
    // As if the machine were gone: nothing is closed in order.
    std::mem::forget(engine);
    let restored = place.at("restored");
    let report = archive::restore(&place.archive(), &restored, &RestoreOptions::new(), &mut |_| ()).unwrap();
    assert_eq!(report.objects, 50);
    let engine = Engine::open(&restored).unwrap();
    check(&engine, 500);
    engine.close().unwrap();

    let engine = place.options().attach(place.at("attached")).unwrap();
    check(&engine, 500);
    write(&engine, 500, 600);
    engine.close().unwrap();
    lose(&place.at("attached"));
    let engine = place.options().attach(place.at("again")).unwrap();
    check(&engine, 600);
    engine.close().unwrap();
}

#[test]
fn what_is_spilled_is_read_from_the_store() {
    let place = Place::new();
    let engine = place.open("data").unwrap();
    write(&engine, 0, 300);
    engine.checkpoint().unwrap();
    write(&engine, 300, 400);
    let spilled = engine.spill().unwrap();
    assert!(spilled.packs >= 1 && spilled.bytes > 0, "{spilled:?}");
    check(&engine, 400);
    engine.close().unwrap();
    let engine = place.open("data").unwrap();
    check(&engine, 400);
    let before = engine.archive_status().unwrap();
    assert!(before.cold_packs >= 1, "{before:?}");
    write(&engine, 400, 450);
    engine.compact().unwrap();
    check(&engine, 450);
    engine.close().unwrap();
    let without = Engine::open(place.at("data"));
    assert!(without.is_ok(), "a merge brought everything back: {without:?}");
}

#[test]
fn a_part_comes_back_alone_with_its_history() {
    let place = Place::new();
    let engine = place.open("data").unwrap();
    write(&engine, 0, 300);
    engine.checkpoint().unwrap();
    write(&engine, 300, 400);
    let rooms = engine.namespace("rooms").unwrap();
    let (room, id) = (rooms.object("room 7").unwrap(), rooms.object("room 7").unwrap().id());
    let mark = room.bookmark().wait().unwrap();
    let copy = rooms.object("copy").unwrap();
    room.fork(&mark, &copy).wait().unwrap();
    engine.close().unwrap();
    let only = RestoreOptions::new().only("rooms", Selector::Objects(vec![copy.id()]));
    archive::restore(&place.archive(), &place.at("part"), &only, &mut |_| ()).unwrap();
    let part = Engine::open(place.at("part")).unwrap();
    let rooms = part.existing_namespace("rooms").unwrap();
    let names: Vec<_> = rooms.objects().unwrap().map(|info| info.unwrap().id).collect();
    assert_eq!(names.len(), 2, "the fork and what it was forked from");
    assert!(names.contains(&id));
    let room = rooms.object("room 7").unwrap();
    assert_eq!(room.history(..).unwrap().count(), 8);
    assert_eq!(room.bookmark().wait().unwrap(), mark);
    let found = rooms.object("copy").unwrap().read(|view| view.get("key 357")).wait().unwrap();
    assert_eq!(&*found.unwrap(), "value 357".repeat(10).as_bytes());
    part.verify(&mut |_| ()).unwrap();
}

#[test]
fn a_writer_that_was_taken_over_is_told_nothing_is_archived() {
    let place = Place::new();
    let engine = place.open("data").unwrap();
    write(&engine, 0, 100);
    engine.archive_now().unwrap();
    let other = place.options().attach(place.at("other")).unwrap();
    let rooms = engine.namespace("rooms").unwrap();
    let room = rooms.object("late").unwrap();
    let late = room.transact(|tx| {
        tx.durability(Durability::Archived)?;
        tx.put("late", "yes")
    });
    assert!(matches!(late.wait(), Err(Error::Fenced { .. })));
    let refused = room.transact(|tx| tx.put("later", "yes")).wait();
    assert!(matches!(refused, Err(Error::Fenced { .. })), "{refused:?}");
    check(&other, 100);
    let seen = other.existing_namespace("rooms").unwrap().object("late").unwrap();
    assert!(matches!(seen.info(), Err(Error::NotFound { .. })));
    other.close().unwrap();
    drop((room, rooms, engine));
    let stale = place.open("data");
    assert!(
        matches!(&stale, Err(Error::Archive(error)) if error.to_string().contains("not what this engine knows")),
        "{stale:?}"
    );
}

#[test]
fn a_gate_for_the_archive_opens_though_nobody_has_begun_to_wait() {
    let place = Place::new();
    let an_hour = place.archive().interval(Duration::from_secs(3_600));
    let engine =
        Options::new().archive(an_hour).durability(Durability::Archived).open(place.at("data")).unwrap();
    let room = engine.namespace("rooms").unwrap().object("lobby").unwrap();
    let gates: Vec<_> = (0..3).map(|number| room.transact(|tx| tx.put("k", [number]))).collect();
    engine.sync().unwrap();
    let last = gates[2].lsn();
    let began = std::time::Instant::now();
    while engine.archive_status().unwrap().archived < last {
        assert!(began.elapsed() < Duration::from_secs(60), "nothing is archived before somebody waits");
        std::thread::sleep(Duration::from_millis(1));
    }
    assert!(gates.iter().all(lineal::Gated::is_open));
    engine.close().unwrap();
}
