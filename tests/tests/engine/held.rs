//! Who holds what alive when namespaces go, and what a checkpoint makes of objects that read through to others.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use lineal::{Engine, Error, Object, Retention};
use lineal_snapshot::archive::sim::SimStore;
use lineal_tests::{
    archive::hurried,
    world::{options, options_at},
};
use lineal_wal::sim::SimDisk;

const HOUR: u64 = 3_600_000_000;

fn put(object: &Object, key: u64, value: Vec<u8>) {
    object.transact(|tx| tx.put(key.to_be_bytes(), value)).wait().unwrap();
}

fn get(object: &Object, key: u64) -> Option<Vec<u8>> {
    object.read(|view| view.get(key.to_be_bytes())).wait().unwrap().map(|value| value.to_vec())
}

/// Commits enough that leaves hold every twentieth version.
fn fill(engine: &Engine, object: &Object, time: &AtomicU64, from: u64, count: u64) {
    for seq in from..from + count {
        time.fetch_add(HOUR, Ordering::Relaxed);
        put(object, seq % 40, vec![seq as u8; 600]);
        if seq % 20 == 0 {
            engine.checkpoint().unwrap();
        }
    }
}

#[test]
fn forks_of_a_dropped_namespace_hold_nothing_any_more() {
    let disk = SimDisk::new();
    let time = Arc::new(AtomicU64::new(1_000 * HOUR));
    let open = || options_at(&disk, 1, &time).open("simulated").unwrap();
    let engine = open();
    let (rooms, drafts) = (engine.namespace("rooms").unwrap(), engine.namespace("drafts").unwrap());
    let ten_hours = Some(Duration::from_secs(10 * 3_600));
    rooms.set_retention(Retention { time: ten_hours, bytes: None }).unwrap();
    let (lobby, copy) = (rooms.object("lobby").unwrap(), drafts.object("copy").unwrap());
    fill(&engine, &lobby, &time, 1, 200);
    lobby.fork(&lobby.bookmark_of(101).unwrap(), &copy).wait().unwrap();
    fill(&engine, &lobby, &time, 201, 200);
    engine.compact().unwrap();
    assert!(lobby.at_seq(101).is_ok(), "the fork holds it");
    assert_eq!(get(&copy, 101 % 40), Some(vec![101; 600]));
    match lobby.purge().wait() {
        Err(Error::HasForks { by, .. }) => assert_eq!(by, [format!("fork {}", copy.id())]),
        other => panic!("{other:?}"),
    }
    assert!(matches!(rooms.clone().drop(), Err(Error::HasForks { .. })));

    drafts.drop().unwrap();
    // Neither its handles nor a new namespace of the name bring the fork back.
    assert!(matches!(lobby.fork(&lobby.bookmark_of(390).unwrap(), &copy).wait(), Err(Error::Dropped { .. })));
    assert!(engine.namespace("drafts").unwrap().object("copy").unwrap().info().is_err());
    engine.compact().unwrap();
    assert!(lobby.at_seq(101).is_err(), "nothing holds it any more");
    assert_eq!(get(&lobby, 399 % 40), Some(vec![399_u64 as u8; 600]));
    engine.verify(&mut |_| ()).unwrap();
    engine.close().unwrap();
    let engine = open();
    let rooms = engine.namespace("rooms").unwrap();
    rooms.object("lobby").unwrap().purge().wait().unwrap();
    engine.compact().unwrap();
    assert!(engine.verify_purged().unwrap().is_clean());
    rooms.drop().unwrap();
    engine.compact().unwrap();
    engine.verify(&mut |_| ()).unwrap();
}

#[test]
fn forks_between_namespaces_go_with_either() {
    let disk = SimDisk::new();
    let engine = options(&disk, 1).open("simulated").unwrap();
    let (rooms, drafts) = (engine.namespace("rooms").unwrap(), engine.namespace("drafts").unwrap());
    let (lobby, copy) = (rooms.object("lobby").unwrap(), drafts.object("copy").unwrap());
    put(&lobby, 1, vec![1; 100]);
    lobby.fork(&lobby.bookmark().wait().unwrap(), &copy).wait().unwrap();
    let again = drafts.object("again").unwrap();
    copy.fork(&copy.bookmark().wait().unwrap(), &again).wait().unwrap();
    assert!(matches!(rooms.clone().drop(), Err(Error::HasForks { .. })));
    // Those within the namespace go with it.
    drafts.drop().unwrap();
    rooms.drop().unwrap();
    for _ in 0..2 {
        engine.compact().unwrap();
        engine.verify(&mut |_| ()).unwrap();
    }
}

#[test]
fn a_second_fold_of_one_checkpoint_over_a_base_loses_nothing() {
    let disk = SimDisk::new();
    let open = || options(&disk, 1).checkpoint_bytes(64 << 20).open("simulated").unwrap();
    let engine = open();
    let vault = engine.namespace("rooms").unwrap().object("vault").unwrap();
    // Larger than what is made into leaves as a whole.
    for key in 0..120 {
        put(&vault, key, vec![key as u8; 4_000]);
    }
    let mark = vault.bookmark().wait().unwrap();
    engine.checkpoint().unwrap();
    put(&vault, 500, vec![1; 10]);
    vault.restore(&mark).wait().unwrap();
    // Small from here on, over a large base; and in one window more commits than one fold takes.
    vault.transact(|tx| tx.delete_range(4_u64.to_be_bytes()..400_u64.to_be_bytes())).wait().unwrap();
    let mut now: BTreeMap<u64, Vec<u8>> = (0..4).map(|key| (key, vec![key as u8; 4_000])).collect();
    let mut past = Vec::new();
    for round in 0..400_u64 {
        let (key, value) = (1_000 + round % 50, vec![round as u8; 1_500]);
        now.insert(key, value.clone());
        put(&vault, key, value);
        if round % 13 == 0 {
            now.remove(&(1_000 + (round + 7) % 50));
            vault.transact(|tx| tx.delete((1_000 + (round + 7) % 50).to_be_bytes())).wait().unwrap();
        }
        if round % 10 == 0 {
            past.push((vault.bookmark().wait().unwrap(), now.clone()));
        }
    }
    let check = |engine: &Engine| {
        let vault = engine.namespace("rooms").unwrap().object("vault").unwrap();
        vault.hibernate().unwrap();
        let all = |view: &lineal::View<'_>| -> lineal::Result<BTreeMap<u64, Vec<u8>>> {
            let number = |key: Vec<u8>| u64::from_be_bytes(key.try_into().unwrap());
            view.prefix("").map(|entry| entry.map(|(key, value)| (number(key), value.to_vec()))).collect()
        };
        assert!(vault.read(all).wait().unwrap() == now, "the newest state");
        for (mark, then) in &past {
            assert!(all(&vault.at(mark).unwrap()).unwrap() == *then, "after commit {}", mark.seq());
        }
        engine.verify(&mut |_| ()).unwrap();
    };
    engine.checkpoint().unwrap();
    check(&engine);
    engine.compact().unwrap();
    check(&engine);
    engine.close().unwrap();
    check(&open());
}

#[test]
fn a_directory_is_free_when_the_last_handle_is_gone_whatever_works_there() {
    for archived in [false, true] {
        let (disk, store) = (SimDisk::new(), SimStore::new());
        for round in 0..40 {
            let options = options(&disk, 1).background(true).checkpoint_bytes(64 << 10);
            let options = if archived { options.archive(hurried(&store)) } else { options };
            let engine = options.open("simulated").unwrap_or_else(|error| panic!("round {round}: {error}"));
            let lobby = engine.namespace("rooms").unwrap().object("lobby").unwrap();
            drop(engine);
            for key in 0..40 {
                put(&lobby, key, vec![round; 4_000]);
            }
            assert_eq!(get(&lobby, 7), Some(vec![round; 4_000]), "an object holds the engine");
            if round % 3 == 0 {
                let past = lobby.at_seq(u64::from(round) * 40 + 1).unwrap();
                drop(lobby);
                assert!(past.get(0_u64.to_be_bytes()).unwrap().is_some(), "a view of the past holds it, too");
            }
        }
    }
}
