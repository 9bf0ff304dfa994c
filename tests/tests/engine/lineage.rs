//! A namespace that keeps its lineage for ever: the headers of all commits stay, and every chain verifies from the first.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use lineal::{BookmarkError, CommitInfo, Engine, Error, Lineage, Micros, Object, Retention};
use lineal_tests::{chooser::chooser, world::options_at};
use lineal_wal::sim::SimDisk;

const HOUR: u64 = 3_600_000_000;

/// An engine on a clock that goes on by an hour with each commit.
struct World {
    disk: SimDisk,
    time: Arc<AtomicU64>,
}

impl World {
    fn new() -> World {
        World { disk: SimDisk::new(), time: Arc::new(AtomicU64::new(1_000 * HOUR)) }
    }

    fn on(&self, disk: SimDisk) -> World {
        World { disk, time: Arc::clone(&self.time) }
    }

    fn open(&self) -> Engine {
        options_at(&self.disk, 3, &self.time).open("simulated").unwrap()
    }

    /// An engine whose rooms keep 100 hours of history, and this of what is older.
    fn start(&self, lineage: Lineage) -> Engine {
        let engine = self.open();
        let rooms = engine.namespace("rooms").unwrap();
        let time = Some(Duration::from_secs(100 * 3_600));
        rooms.set_retention(Retention { time, bytes: None }).unwrap();
        rooms.set_lineage(lineage).unwrap();
        assert_eq!(rooms.lineage().unwrap(), lineage);
        engine
    }

    /// Commits with causes, so many that the tail is folded again and again; some are of two objects.
    fn fill(&self, engine: &Engine, from: u64, count: u64) {
        let (lobby, other) = (lobby(engine), engine.namespace("rooms").unwrap().object("other").unwrap());
        for seq in from..from + count {
            self.time.fetch_add(HOUR, Ordering::Relaxed);
            let put = |tx: &mut lineal::Tx<'_>| {
                tx.cause(format!("commit {seq}"))?;
                tx.put((seq % 40).to_be_bytes(), vec![seq as u8; 600])
            };
            if seq % 10 == 0 {
                engine.transact_many([&lobby, &other], |[a, b]| put(a).and_then(|()| put(b))).wait().unwrap();
            } else {
                lobby.transact(put).wait().unwrap();
            }
            if seq % 20 == 0 {
                engine.checkpoint().unwrap();
            }
        }
    }
}

fn lobby(engine: &Engine) -> Object {
    engine.namespace("rooms").unwrap().object("lobby").unwrap()
}

fn listed(object: &Object) -> Vec<CommitInfo> {
    object.history(..).unwrap().reverse().collect::<Result<_, _>>().unwrap()
}

/// What a header keeps.
fn headers(commits: &[CommitInfo]) -> Vec<(u64, Micros, lineal::Kind, String, [u8; 32], u64)> {
    let header =
        |info: &CommitInfo| (info.seq, info.time, info.kind, info.cause.clone(), info.hash, info.lsn);
    commits.iter().map(header).collect()
}

fn too_old<T>(outcome: lineal::Result<T>) {
    match outcome {
        Err(Error::Bookmark(error)) => assert!(matches!(*error, BookmarkError::TooOld { .. }), "{error}"),
        Err(error) => panic!("{error}"),
        Ok(_) => panic!("its ops are gone"),
    }
}

/// All headers are there as they were. Returns the first commit that is whole.
fn check(object: &Object, before: &[CommitInfo]) -> u64 {
    let now = listed(object);
    assert_eq!(headers(&now), headers(before));
    let whole = now.iter().find(|info| !info.retired).map_or(u64::MAX, |info| info.seq);
    for info in &now {
        assert_eq!(info.retired, info.seq < whole, "commit {}", info.seq);
        assert_eq!((info.changes, info.bytes > 0), if info.retired { (0, false) } else { (1, true) });
    }
    for seq in (before[0].seq..whole).step_by(7) {
        too_old(object.changes(seq));
        if seq + 1 < whole {
            too_old(object.at_seq(seq));
        }
    }
    assert_eq!(object.changes(whole).unwrap().len(), 1);
    let verified = object.verify().unwrap();
    assert_eq!((verified.first_seq, verified.commits), (before[0].seq, before.len() as u64));
    whole
}

#[test]
fn headers_stay_without_their_ops_and_the_chain_verifies_from_the_first_commit() {
    let world = World::new();
    let engine = world.start(Lineage::Forever);
    world.fill(&engine, 1, 600);
    let before = listed(&lobby(&engine));
    let bytes = engine.stats().pack_bytes;
    engine.compact().unwrap();
    let lobby = lobby(&engine);
    let whole = check(&lobby, &before);
    assert!((400..=520).contains(&whole), "{whole}");
    assert!(engine.stats().pack_bytes * 2 < bytes, "{} of {bytes} bytes", engine.stats().pack_bytes);
    engine.verify(&mut |_| ()).unwrap();
    // What needs ops ends where they do.
    let blamed: Vec<u64> = lobby.blame(3u64.to_be_bytes()).unwrap().map(|info| info.unwrap().seq).collect();
    assert!(blamed.iter().all(|seq| *seq >= whole) && !blamed.is_empty(), "{blamed:?}");
    assert!(lobby.bookmark_at(before[whole as usize].time).is_ok());
    assert!(lobby.bookmark_at(before[5].time).is_err());
    assert!(!lobby.at_time(before[5].time).unwrap().exists());
    // Headers are all that a proof needs.
    for seq in [1, 2, 77, whole - 2, whole - 1, whole, 600] {
        let proof = lobby.prove(seq).unwrap();
        proof.check().unwrap();
        assert_eq!(proof.commits[0].cause, format!("commit {seq}"));
    }

    drop(engine);
    let world = world.on(world.disk.crash(&mut chooser(3)));
    let engine = world.open();
    assert_eq!(check(&self::lobby(&engine), &before), whole);
    world.fill(&engine, 601, 200);
    let before = listed(&self::lobby(&engine));
    assert_eq!(check(&self::lobby(&engine), &before), whole);
    for _ in 0..2 {
        engine.compact().unwrap();
        assert!(check(&self::lobby(&engine), &before) > whole);
    }
    engine.close().unwrap();
    let engine = world.open();
    check(&self::lobby(&engine), &before);
    engine.verify(&mut |_| ()).unwrap();
    // Of an object that is made again after a purge nothing older is listed.
    self::lobby(&engine).purge().wait().unwrap();
    world.fill(&engine, 802, 1);
    assert_eq!(listed(&self::lobby(&engine)).len(), 1);
    engine.compact().unwrap();
    assert_eq!(listed(&self::lobby(&engine)).len(), 1);
    self::lobby(&engine).verify().unwrap();
    assert!(engine.verify_purged().unwrap().is_clean());
}

#[test]
fn what_is_kept_can_be_changed_and_holds_from_then_on() {
    let world = World::new();
    let engine = world.start(Lineage::Anchor);
    world.fill(&engine, 1, 300);
    engine.compact().unwrap();
    let lobby = lobby(&engine);
    let first = listed(&lobby)[0].seq;
    assert!(first > 1);
    engine.namespace("rooms").unwrap().set_lineage(Lineage::Forever).unwrap();
    world.fill(&engine, 301, 300);
    let before = listed(&lobby);
    assert_eq!(before[0].seq, first);
    engine.compact().unwrap();
    let whole = check(&lobby, &before);
    assert!(whole > 301, "{whole}");
    assert!(matches!(lobby.prove(first - 1), Err(Error::NotFound { .. })));
    lobby.prove(first).unwrap().check().unwrap();
    engine.namespace("rooms").unwrap().set_lineage(Lineage::Anchor).unwrap();
    world.fill(&engine, 601, 200);
    engine.compact().unwrap();
    let now = listed(&lobby);
    assert!(now[0].seq > whole && now.iter().all(|info| !info.retired), "{}", now[0].seq);
    assert_eq!(lobby.verify().unwrap().first_seq, now[0].seq);
}

#[test]
fn a_crash_at_any_point_of_retiring_loses_no_header() {
    let world = World::new();
    let engine = world.start(Lineage::Forever);
    world.fill(&engine, 1, 260);
    let before = listed(&lobby(&engine));
    drop(engine);
    for stop in 0.. {
        let world = world.on(world.disk.crash(&mut chooser(stop)));
        let engine = world.open();
        world.disk.power_off_at(world.disk.ops() + 1 + stop);
        let done = engine.compact().is_ok();
        drop(engine);
        let world = world.on(world.disk.crash(&mut chooser(stop + 1)));
        let engine = world.open();
        check(&lobby(&engine), &before);
        engine.verify(&mut |_| ()).unwrap();
        if done {
            assert!(stop > 10, "{stop} points");
            return;
        }
    }
}
