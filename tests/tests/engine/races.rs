//! What begins to need the past while something else takes it away: purges, checkpoints and merges in the middle of
//! restores, forks and pins.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use lineal::{Bookmark, Engine, Error, Object, Result, Retention};
use lineal_tests::world::{options, options_at};
use lineal_wal::sim::SimDisk;

const HOUR: u64 = 3_600_000_000;

fn object(engine: &Engine, name: &str) -> Object {
    engine.namespace("rooms").unwrap().object(name).unwrap()
}

/// What needs a version of the vault.
type Need = fn(&Engine, &Object, &Bookmark) -> Result<()>;

const NEEDS: [(&str, Need); 3] = [
    ("restore", |_, vault, mark| vault.restore(mark).wait().map(drop)),
    ("fork", |engine, vault, mark| vault.fork(mark, &object(engine, "copy")).wait().map(drop)),
    ("pin", |_, vault, mark| vault.pin(mark, "kept").wait()),
];

/// Does something on another thread when packs are read for the number `count`th time from now on.
fn at_read(disk: &SimDisk, count: usize, act: impl FnOnce() + Send + 'static) {
    let again = disk.clone();
    disk.before_read(".pack", move || match count.checked_sub(1) {
        Some(count) => at_read(&again, count, act),
        None => thread::spawn(act).join().unwrap(),
    });
}

#[test]
fn what_is_purged_meanwhile_is_never_needed_again_though_a_checkpoint_forgets_the_purge() {
    let base = SimDisk::new();
    let engine = options(&base, 1).open("simulated").unwrap();
    for value in 0..4 {
        object(&engine, "vault").transact(|tx| tx.put("secret", format!("value {value}"))).wait().unwrap();
    }
    engine.checkpoint().unwrap();
    let mark = object(&engine, "vault").bookmark_of(2).unwrap();
    drop(engine);
    let (mut purges, mut checkpoints) = (0, 0);
    for (name, need) in NEEDS {
        for (purge_at, checkpoint_at) in (0..9).flat_map(|purge| (0..8).map(move |then| (purge, then))) {
            let disk = base.kill();
            // Without a cache everything that is looked at is read.
            let small = options(&disk, 2).cache_bytes(0).wait_max(Duration::from_millis(100));
            let engine = small.open("simulated").unwrap();
            let vault = object(&engine, "vault");
            let (purged, packed) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
            let purge = {
                let (engine, disk) = (engine.clone(), disk.clone());
                let (purged, packed) = (Arc::clone(&purged), Arc::clone(&packed));
                move || {
                    // Who holds the object's turn already has come first.
                    let vault = object(&engine, "vault");
                    if vault.purge().wait().is_ok() {
                        vault.transact(|tx| tx.put("public", "new")).wait().unwrap();
                        purged.store(true, Ordering::Relaxed);
                    }
                    at_read(&disk, checkpoint_at, move || {
                        packed.store(engine.checkpoint().is_ok(), Ordering::Relaxed);
                    });
                }
            };
            at_read(&disk, purge_at, purge);
            let outcome = need(&engine, &vault, &mark);
            disk.before_read("nothing", || ());
            let at = format!("{name}, purged at read {purge_at}, packed {checkpoint_at} reads later");
            if purged.load(Ordering::Relaxed) {
                purges += 1;
                assert!(outcome.is_err(), "{at}");
                let found = vault.read(|view| view.get("secret")).wait().unwrap();
                assert_eq!(found, None, "{at}");
                assert!(vault.pins().unwrap().is_empty(), "{at}");
                assert!(matches!(object(&engine, "copy").info(), Err(Error::NotFound { .. })), "{at}");
            }
            checkpoints += usize::from(packed.load(Ordering::Relaxed));
            engine.checkpoint().unwrap();
            engine.verify(&mut |_| ()).unwrap_or_else(|error| panic!("{at}: {error}"));
        }
    }
    assert!(purges > 10 && checkpoints > 0, "{purges} purges, {checkpoints} checkpoints");
}

#[test]
fn who_makes_room_before_needing_the_past_does_not_wait_for_himself() {
    for (name, need) in NEEDS {
        let disk = SimDisk::new();
        let time = Arc::new(AtomicU64::new(1_000 * HOUR));
        let engine = options_at(&disk, 1, &time).checkpoint_bytes(16 << 10).open("simulated").unwrap();
        let ten_hours = Some(Duration::from_secs(10 * 3_600));
        let rooms = engine.namespace("rooms").unwrap();
        rooms.set_retention(Retention { time: ten_hours, bytes: None }).unwrap();
        let vault = object(&engine, "vault");
        for value in 0..4 {
            vault.transact(|tx| tx.put("k", format!("value {value}"))).wait().unwrap();
            engine.checkpoint().unwrap();
            time.fetch_add(20 * HOUR, Ordering::Relaxed);
        }
        let mark = vault.bookmark().wait().unwrap();
        // More than the log may hold unpacked, so that the next caller has to make room; and history is beyond.
        object(&engine, "other").transact(|tx| tx.put("k", vec![7; 300_000])).wait().unwrap();
        let before = engine.stats().compactions;
        let (done, waiting) = mpsc::channel();
        let needing = engine.clone();
        thread::spawn(move || done.send(need(&needing, &vault, &mark)).unwrap());
        let outcome = waiting.recv_timeout(Duration::from_secs(20));
        outcome.unwrap_or_else(|_| panic!("a {name} waits for itself")).unwrap();
        assert!(engine.stats().compactions > before, "a {name} has made room: {:?}", engine.stats());
        engine.verify(&mut |_| ()).unwrap();
    }
}
