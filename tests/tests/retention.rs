//! How much history is kept: what is beyond goes, what anything needs stays, and the chain verifies from its anchor.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails there")]

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use lineal::{BookmarkError, Engine, Error, Micros, Object, Retention};
use lineal_tests::{chooser::chooser, world::options_at};
use lineal_wal::sim::SimDisk;

const HOUR: u64 = 3_600_000_000;

/// An engine on a clock that the test sets.
struct World {
    disk: SimDisk,
    time: Arc<AtomicU64>,
}

impl World {
    fn new() -> World {
        World { disk: SimDisk::new(), time: Arc::new(AtomicU64::new(1_000 * HOUR)) }
    }

    fn open(&self) -> Engine {
        options_at(&self.disk, 3, &self.time).open("simulated").unwrap()
    }

    fn pass(&self, hours: u64) {
        self.time.fetch_add(hours * HOUR, Ordering::Relaxed);
    }
}

fn hours(hours: u64) -> Retention {
    Retention { time: Some(Duration::from_secs(hours * 3_600)), bytes: None }
}

fn lobby(engine: &Engine) -> Object {
    engine.namespace("rooms").unwrap().object("lobby").unwrap()
}

const KEYS: u64 = 40;

/// The value of a key after the commit `seq`: commit n writes key n modulo 40.
fn value(key: u64, seq: u64) -> Option<Vec<u8>> {
    let last = (1..=seq).rev().find(|seq| seq % KEYS == key)?;
    Some([last.to_le_bytes().as_slice(), &[7; 600]].concat())
}

/// Commits, an hour apart, so many that the tail is folded again and again.
fn fill(world: &World, engine: &Engine, from: u64, count: u64) {
    let lobby = lobby(engine);
    for seq in from..from + count {
        world.pass(1);
        let key = seq % KEYS;
        lobby.transact(|tx| tx.put(key.to_be_bytes(), value(key, seq).unwrap())).wait().unwrap();
        if seq % 20 == 0 {
            engine.checkpoint().unwrap();
        }
    }
}

fn check_state(object: &Object, at: u64) {
    let view = object.at_seq(at).unwrap();
    for key in 0..KEYS {
        let found = view.get(key.to_be_bytes()).unwrap();
        assert_eq!(found.as_deref(), value(key, at).as_deref(), "key {key} after commit {at}");
    }
}

/// The first commit whose state can be read, which all after it can.
fn first_kept(object: &Object, last: u64) -> u64 {
    let first = (1..=last).find(|seq| object.at_seq(*seq).is_ok()).unwrap();
    for seq in first..=last {
        check_state(object, seq);
    }
    for seq in 1..first {
        match object.at_seq(seq) {
            Err(Error::Bookmark(error)) => {
                assert!(matches!(*error, BookmarkError::TooOld { .. }), "commit {seq}: {error}");
                assert!(error.to_string().contains(&object.bookmark_of(first).unwrap().to_string()));
            }
            Err(error) => panic!("commit {seq}: {error}"),
            Ok(_) => panic!("commit {seq} can be read and {first} was the first"),
        }
    }
    let history: Vec<u64> = object.history(..).unwrap().reverse().map(|commit| commit.unwrap().seq).collect();
    let begins = if first == 1 { 1 } else { first + 1 };
    assert_eq!(history, (begins..=last).collect::<Vec<u64>>());
    let verified = object.verify().unwrap();
    assert_eq!((verified.first_seq, verified.last_seq), (begins, last));
    first
}

#[test]
fn what_is_older_than_the_retention_goes_and_all_that_is_younger_stays() {
    let world = World::new();
    let engine = world.open();
    engine.namespace("rooms").unwrap().set_retention(hours(200)).unwrap();
    fill(&world, &engine, 1, 1_000);
    let before = engine.stats().pack_bytes;
    engine.compact().unwrap();
    let first = first_kept(&lobby(&engine), 1_000);
    assert!((600..=800).contains(&first), "200 hours are kept, and a little more: {first}");
    assert!(engine.stats().pack_bytes * 2 < before, "{} of {before} bytes", engine.stats().pack_bytes);
    engine.verify(&mut |_| ()).unwrap();
    // And on: after a crash, with more commits, and again.
    drop(engine);
    let world = World { disk: world.disk.crash(&mut chooser(3)), time: world.time };
    let engine = world.open();
    assert_eq!(first_kept(&lobby(&engine), 1_000), first);
    fill(&world, &engine, 1_001, 300);
    engine.compact().unwrap();
    let later = first_kept(&lobby(&engine), 1_300);
    assert!(later > first, "the horizon moves on");
    let mark = lobby(&engine).bookmark_at(Micros(world.time.load(Ordering::Relaxed) - 150 * HOUR)).unwrap();
    assert_eq!(mark.seq(), 1_150);
    engine.close().unwrap();
    assert_eq!(first_kept(&lobby(&world.open()), 1_300), later);
}

#[test]
fn by_default_a_month_stays_and_for_ever_is_for_ever() {
    for retention in [None, Some(Retention::FOREVER)] {
        let world = World::new();
        let engine = world.open();
        if let Some(retention) = retention {
            engine.namespace("rooms").unwrap().set_retention(retention).unwrap();
            assert_eq!(engine.namespace("rooms").unwrap().retention().unwrap(), retention);
        }
        fill(&world, &engine, 1, 400);
        world.pass(if retention.is_none() { 200 } else { 20_000 });
        engine.compact().unwrap();
        assert_eq!(first_kept(&lobby(&engine), 400), 1);
    }
}

#[test]
fn so_many_bytes_of_history_stay() {
    let world = World::new();
    let engine = world.open();
    let retention = Retention { time: None, bytes: Some(4_000) };
    engine.namespace("rooms").unwrap().set_retention(retention).unwrap();
    fill(&world, &engine, 1, 1_000);
    engine.compact().unwrap();
    let first = first_kept(&lobby(&engine), 1_000);
    assert!(first > 300, "{first}");
}

#[test]
fn pins_forks_and_restores_hold_what_they_need() {
    let world = World::new();
    let engine = world.open();
    let rooms = engine.namespace("rooms").unwrap();
    rooms.set_retention(hours(100)).unwrap();
    fill(&world, &engine, 1, 600);
    let lobby = lobby(&engine);
    let pinned = lobby.bookmark_of(250).unwrap();
    lobby.pin(&pinned, "the good one").wait().unwrap();
    engine.compact().unwrap();
    let first = first_kept(&lobby, 600);
    assert!(first <= 250 && first > 100, "{first}");

    let copy = rooms.object("copy").unwrap();
    let forked = lobby.bookmark_of(300).unwrap();
    lobby.fork(&forked, &copy).wait().unwrap();
    assert!(lobby.unpin("the good one").wait().unwrap());
    engine.compact().unwrap();
    let first = first_kept(&lobby, 600);
    assert!(first <= 300 && first > 250 - 60, "{first}");
    let same = |object: &Object, seq: u64| {
        for key in 0..KEYS {
            let found = object.read(|view| view.get(key.to_be_bytes())).wait().unwrap();
            assert_eq!(found.as_deref(), value(key, seq).as_deref(), "key {key}");
        }
    };
    same(&copy, 300);

    lobby.restore(&lobby.bookmark_of(400).unwrap()).wait().unwrap();
    copy.purge().wait().unwrap();
    for _ in 0..3 {
        engine.compact().unwrap();
        same(&lobby, 400);
        for seq in 400..=600 {
            check_state(&lobby, seq);
        }
        world.pass(24);
    }
    assert!(lobby.at_seq(300).is_err(), "nothing holds it any more");
    engine.verify(&mut |_| ()).unwrap();
}

#[test]
fn a_clock_that_leaps_takes_nothing_away() {
    let world = World::new();
    let engine = world.open();
    engine.namespace("rooms").unwrap().set_retention(hours(200)).unwrap();
    fill(&world, &engine, 1, 150);
    engine.compact().unwrap();
    world.pass(100_000);
    engine.compact().unwrap();
    assert_eq!(first_kept(&lobby(&engine), 150), 1, "a leap of years counts for a day");
    engine.trust_clock().unwrap();
    engine.compact().unwrap();
    assert!(first_kept(&lobby(&engine), 150) > 50, "unless the operator answers for it");
}

#[test]
fn a_crash_at_any_point_of_retiring_loses_nothing_that_is_kept() {
    let world = World::new();
    let engine = world.open();
    engine.namespace("rooms").unwrap().set_retention(hours(100)).unwrap();
    fill(&world, &engine, 1, 400);
    drop(engine);
    let mut points = 0;
    for stop in 0.. {
        let disk = world.disk.crash(&mut chooser(stop));
        let engine = World { disk: disk.clone(), time: Arc::clone(&world.time) }.open();
        disk.power_off_at(disk.ops() + 1 + stop);
        let done = engine.compact().is_ok();
        drop(engine);
        let after = World { disk: disk.crash(&mut chooser(stop)), time: Arc::clone(&world.time) };
        let engine = after.open();
        let lobby = lobby(&engine);
        for seq in 300..=400 {
            check_state(&lobby, seq);
        }
        engine.verify(&mut |_| ()).unwrap();
        points += 1;
        if done {
            break;
        }
    }
    assert!(points > 10, "{points} points");
}

#[test]
fn the_background_gives_up_what_is_far_beyond_by_itself() {
    let world = World::new();
    let time = Arc::clone(&world.time);
    let open = || options_at(&world.disk, 3, &time).checkpoint_bytes(1 << 16);
    let engine = open().background(true).open("simulated").unwrap();
    engine.namespace("rooms").unwrap().set_retention(hours(50)).unwrap();
    // Checkpoints come by themselves; they let the clock go on and find out what is beyond.
    let deadline = std::time::Instant::now() + Duration::from_secs(60);
    let mut seq = 0;
    let lobby = lobby(&engine);
    while seq == 0 || lobby.at_seq(1).is_ok() {
        assert!(std::time::Instant::now() < deadline, "nothing was given up after {seq} commits");
        for _ in 0..20 {
            seq += 1;
            world.pass(1);
            let key = seq % KEYS;
            lobby.transact(|tx| tx.put(key.to_be_bytes(), value(key, seq).unwrap())).wait().unwrap();
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    check_state(&lobby, seq);
    engine.close().unwrap();
    first_kept(&self::lobby(&open().open("simulated").unwrap()), seq);
}

#[test]
fn an_object_in_memory_reads_on_while_what_it_was_woken_with_is_given_up() {
    let world = World::new();
    let engine = world.open();
    let rooms = engine.namespace("rooms").unwrap();
    rooms.set_retention(hours(10)).unwrap();
    let (lobby, copy) = (lobby(&engine), rooms.object("copy").unwrap());
    let large = |seed: u64| -> Vec<u8> {
        let mut numbers = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
        (0..3_000)
            .map(|_| {
                numbers ^= numbers << 13;
                numbers ^= numbers >> 7;
                numbers ^= numbers << 17;
                numbers.to_le_bytes()[0]
            })
            .collect()
    };
    let fill = |object: &Object, step: usize, seed: u64| {
        for key in (0..120u64).step_by(step) {
            world.pass(1);
            object.transact(|tx| tx.put(key.to_be_bytes(), large(seed + key))).wait().unwrap();
        }
        engine.checkpoint().unwrap();
    };
    let check = |object: &Object, key: u64, seed: u64| {
        let found = object.read(|view| view.get(key.to_be_bytes())).wait().unwrap();
        assert!(found.as_deref() == Some(&large(seed + key)[..]), "key {key}");
    };
    fill(&lobby, 1, 0);
    let source = rooms.object("source").unwrap();
    fill(&source, 1, 0);
    source.fork(&source.bookmark().wait().unwrap(), &copy).wait().unwrap();
    fill(&copy, 4, 1_000);
    for object in [&lobby, &copy] {
        object.hibernate().unwrap();
        check(object, 61, 0);
    }
    // From here on both read leaves as of now, and write so much that leaves are written anew.
    for round in 2..6 {
        fill(&lobby, 2, round * 1_000);
        fill(&copy, 2, round * 1_000);
    }
    world.pass(20);
    engine.trust_clock().unwrap();
    engine.compact().unwrap();
    for object in [&lobby, &copy] {
        for key in 0..120 {
            check(object, key, if key % 2 == 0 { 5_000 } else { 0 });
        }
    }
    assert!(lobby.at_seq(200).is_err(), "what both were woken with was given up");
    engine.verify(&mut |_| ()).unwrap();
}
