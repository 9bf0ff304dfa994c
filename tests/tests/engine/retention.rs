//! How much history is kept: what is beyond goes, what anything needs stays, and the chain verifies from its anchor.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use lineal::{Micros, Object, Retention};
use lineal_tests::{
    chooser::chooser,
    retained::{HOUR, KEYS, World, check_state, fill, first_kept, hours, lobby, value},
    world::options_at,
};

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
