//! Whole engines on a simulated disk, under many schedules: shuttle runs their threads one at a time and chooses at each
//! lock, atomic, wait and start of a thread who goes on. A thread that is never woken shows as a dead-lock.
//!
//! Half of the schedules are random, half of them PCT's with three changes of priority, which finds what needs two
//! ill-timed switches with a known probability.
//!
//! ```sh
//! RUSTFLAGS="--cfg shuttle" CARGO_TARGET_DIR=target/shuttle LINEAL_SCHEDULES=100000 \
//!     cargo test --profile loom -p lineal --no-default-features --test schedules
//! ```
//! A failure prints its schedule; `SHUTTLE_RANDOM_SEED` repeats a run. Time does not pass in here, so what ends by a
//! deadline is not met, and SQLite and redb run in one piece.
#![cfg(shuttle)]
#![allow(missing_docs, clippy::unwrap_used)]

use std::{
    collections::BTreeMap,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
};

use lineal::{Engine, Error, Gated, Micros, Object, Options, Result, Tx, View};
use lineal_wal::sim::{Fault, OpKind, SimDisk};
use shuttle::{
    future::block_on,
    scheduler::{PctScheduler, RandomScheduler},
    thread::{self, JoinHandle},
};

/// How many schedules each test explores if nobody says.
///
/// Source: chosen; all tests together take some seconds.
const SCHEDULES: usize = 1_000;

/// What a coroutine's stack holds: a checkpoint writes packs on it.
const STACK_BYTES: usize = 1 << 20;

fn explore(test: fn()) {
    let asked = std::env::var("LINEAL_SCHEDULES").ok().map(|asked| asked.parse().unwrap());
    let schedules: usize = asked.unwrap_or(SCHEDULES);
    let config = || {
        let mut config = shuttle::Config::new();
        config.stack_size = STACK_BYTES;
        config.silence_warnings = true;
        config
    };
    new_disk_or(|make| {
        shuttle::Runner::new(RandomScheduler::new(1), config()).run(make);
    });
    let random = RandomScheduler::new(schedules.div_ceil(2));
    let ran = shuttle::Runner::new(random, config()).run(test);
    let pct = PctScheduler::new(3, schedules / 2);
    let ran = ran + shuttle::Runner::new(pct, config()).run(test);
    println!("{ran} schedules");
}

/// A disk with an engine that holds nothing: to make one takes longer than most tests.
fn new_disk() -> SimDisk {
    new_disk_or(|_| unreachable!("made before the first schedule"))
}

fn new_disk_or(run: impl FnOnce(fn())) -> SimDisk {
    static NEW: OnceLock<BTreeMap<String, Vec<u8>>> = OnceLock::new();
    let image = NEW.get_or_init(|| {
        static MADE: OnceLock<BTreeMap<String, Vec<u8>>> = OnceLock::new();
        run(|| {
            let disk = SimDisk::new();
            let engine = open(&disk);
            engine.namespace("n").unwrap();
            engine.close().unwrap();
            MADE.set(disk.image()).unwrap();
        });
        MADE.get().unwrap().clone()
    });
    SimDisk::from_image(image)
}

/// Without threads of its own, unless a test asks for them: then the callers are all there is to schedule.
fn options(disk: &SimDisk) -> Options {
    let (time, draw) = (AtomicU64::new(1_000_000), AtomicU64::new(7));
    Options::new()
        .memory_bytes(1 << 20)
        .cache_bytes(1 << 20)
        .segment_bytes(64 << 10, 64 << 10)
        .reserve_bytes(64 << 10)
        .ballast_bytes(0)
        .background(false)
        .clock(Arc::new(move || Micros(time.fetch_add(1, Ordering::Relaxed))))
        .random(Arc::new(move || draw.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed)))
        .disk(Arc::new(disk.clone()))
}

fn open(disk: &SimDisk) -> Engine {
    options(disk).open("data").unwrap()
}

fn object(engine: &Engine, name: &str) -> Object {
    engine.namespace("n").unwrap().object(name).unwrap()
}

fn spawn<R: Send + 'static>(act: impl FnOnce() -> R + Send + 'static) -> JoinHandle<R> {
    thread::spawn(act)
}

fn count(view: &View<'_>) -> Result<u64> {
    Ok(view.get("count")?.map_or(0, |bytes| u64::from_le_bytes(bytes[..].try_into().unwrap())))
}

/// Each commit adds one, so that count and seq go together, and what a turn returns is its place in the order.
fn add_one(tx: &mut Tx<'_>) -> Result<u64> {
    let before = tx.get("count")?.map_or(0, |bytes| u64::from_le_bytes(bytes[..].try_into().unwrap()));
    assert_eq!(tx.seq(), before, "each commit is one increment");
    tx.put("count", (before + 1).to_le_bytes())?;
    Ok(before + 1)
}

fn increment(object: &Object) -> Gated<u64> {
    object.transact(add_one)
}

/// The count, which is what it was made to be by as many commits.
fn read(object: &Object) -> u64 {
    let (count, seq) = object.read(|view| Ok((count(view)?, view.seq()))).wait().unwrap();
    assert_eq!(count, seq);
    count
}

/// That what was acknowledged is there after a power cut that takes whatever it may, and no more than was done.
fn assert_durable(disk: &SimDisk, wanted: &[(&str, u64, u64)]) {
    let after = disk.crash(&mut |fates| usize::from(fates > 1));
    let engine = options(&after).open_read_only("data").unwrap();
    for (name, acknowledged, done) in wanted {
        let found = read(&object(&engine, name));
        assert!((*acknowledged..=*done).contains(&found), "{found} of {acknowledged} acknowledged");
    }
}

#[test]
fn hibernation_meets_access() {
    explore(|| {
        let disk = new_disk();
        let engine = open(&disk);
        let one = object(&engine, "o");
        increment(&one).wait().unwrap();
        let writer = spawn({
            let one = one.clone();
            move || {
                let first = increment(&one);
                let second = increment(&one);
                assert!(first.wait().unwrap() < second.wait().unwrap());
            }
        });
        let hibernates = spawn({
            let one = one.clone();
            move || {
                one.hibernate().unwrap();
                one.hibernate().unwrap();
            }
        });
        let (before, after) = (read(&one), increment(&one).wait().unwrap());
        assert!(before < after);
        writer.join().unwrap();
        hibernates.join().unwrap();
        assert_eq!(read(&one), 4);
        assert_durable(&disk, &[("o", 4, 4)]);
    });
}

#[test]
fn a_checkpoint_meets_commits_and_hibernation() {
    explore(|| {
        let disk = new_disk();
        let engine = open(&disk);
        let (one, other) = (object(&engine, "o"), object(&engine, "p"));
        increment(&one).wait().unwrap();
        let checkpoint = spawn({
            let engine = engine.clone();
            move || engine.checkpoint().map(drop).unwrap()
        });
        let writer = spawn({
            let (engine, one, other) = (engine.clone(), one.clone(), other.clone());
            move || {
                increment(&other).wait().unwrap();
                let both = engine.transact_many([&one, &other], |[one, other]| {
                    add_one(one)?;
                    add_one(other)
                });
                both.wait().unwrap();
            }
        });
        increment(&one).wait().unwrap();
        one.hibernate().unwrap();
        assert!(read(&one) >= 2);
        checkpoint.join().unwrap();
        writer.join().unwrap();
        assert_eq!((read(&one), read(&other)), (3, 2));
        assert_eq!(one.verify().unwrap().commits, 3);
        assert_durable(&disk, &[("o", 3, 3), ("p", 2, 2)]);
    });
}

#[test]
fn two_checkpoints_and_a_close_meet() {
    explore(|| {
        let disk = new_disk();
        let engine = open(&disk);
        let one = object(&engine, "o");
        increment(&one).wait().unwrap();
        let checkpoint = spawn({
            let engine = engine.clone();
            move || match engine.checkpoint() {
                Ok(_) | Err(Error::Closed) => {}
                Err(error) => panic!("{error}"),
            }
        });
        let writer = spawn({
            let one = one.clone();
            move || match increment(&one).wait() {
                Ok(_) => 1,
                Err(Error::Closed) => 0,
                Err(error) => panic!("{error}"),
            }
        });
        engine.checkpoint().unwrap();
        drop(one);
        engine.close().unwrap();
        checkpoint.join().unwrap();
        let acknowledged = 1 + writer.join().unwrap();
        assert_durable(&disk, &[("o", acknowledged, 2)]);
    });
}

#[test]
fn compaction_meets_readers_of_the_past() {
    explore(|| {
        let disk = new_disk();
        let engine = open(&disk);
        let one = object(&engine, "o");
        for _ in 0..3 {
            increment(&one).wait().unwrap();
            engine.checkpoint().unwrap();
        }
        let compaction = spawn({
            let engine = engine.clone();
            move || engine.compact().unwrap()
        });
        let past = spawn({
            let one = one.clone();
            move || {
                let held = one.at_seq(1).unwrap();
                assert_eq!(count(&one.at_seq(2).unwrap()).unwrap(), 2);
                let causes = one.history(..).unwrap().map(|commit| commit.unwrap().seq);
                assert!(causes.collect::<Vec<_>>().ends_with(&[3, 2, 1]));
                assert_eq!(count(&held).unwrap(), 1);
            }
        });
        one.hibernate().unwrap();
        increment(&one).wait().unwrap();
        compaction.join().unwrap();
        past.join().unwrap();
        assert_eq!(read(&one), 4);
        engine.verify(&mut |_| ()).unwrap();
        assert_durable(&disk, &[("o", 4, 4)]);
    });
}

#[test]
fn gates_and_events_of_several_callers_meet() {
    explore(|| {
        let disk = new_disk();
        let engine = options(&disk).background(true).open("data").unwrap();
        let (one, other) = (object(&engine, "o"), object(&engine, "p"));
        let event = spawn({
            let one = one.clone();
            move || {
                let made = block_on(one.event(async |cx| {
                    let before = cx.read(|view| Ok(view.seq())).unconfirmed()?;
                    let first = cx.transact(add_one).await?;
                    assert!(first > before);
                    let second = cx.transact(add_one).await?;
                    assert!(second > first);
                    Ok(second)
                }));
                block_on(made.into_future()).unwrap()
            }
        });
        let cancelled = spawn({
            let (one, other) = (one.clone(), other.clone());
            move || {
                // Nobody waits for this one's gate.
                drop(increment(&other).into_future());
                // What was seen is confirmed with what came of it.
                let seen = increment(&one);
                let told = other.transact(|tx| {
                    let seen = tx.absorb(seen)?;
                    add_one(tx)?;
                    Ok(seen)
                });
                block_on(told.into_future()).unwrap()
            }
        });
        let mine = increment(&one).wait().unwrap();
        let theirs = cancelled.join().unwrap();
        let last = event.join().unwrap();
        assert!(mine != theirs && mine != last && theirs != last, "each place is one's own");
        assert_eq!((read(&one), read(&other)), (4, 2));
        drop((one, other));
        engine.close().unwrap();
        assert_durable(&disk, &[("o", 4, 4)]);
    });
}

#[test]
fn a_sync_that_fails_is_acknowledged_to_nobody() {
    explore(|| {
        let disk = new_disk();
        let engine = options(&disk).background(true).open("data").unwrap();
        let (one, other) = (object(&engine, "o"), object(&engine, "p"));
        increment(&one).wait().unwrap();
        disk.fail(Fault::on(OpKind::Sync).sticky());
        let poisoned = |outcome: Result<u64>| match outcome {
            Ok(_) => panic!("acknowledged after a sync that failed"),
            Err(error) => assert!(matches!(error, Error::Poisoned { .. }), "{error}"),
        };
        let waits = spawn({
            let other = other.clone();
            move || poisoned(increment(&other).wait())
        });
        let awaits = spawn({
            let one = one.clone();
            move || poisoned(block_on(increment(&one).into_future()))
        });
        poisoned(increment(&one).wait());
        waits.join().unwrap();
        awaits.join().unwrap();
        assert_durable(&disk, &[("o", 1, 1)]);
    });
}

#[test]
fn memory_that_runs_short_meets_writers() {
    explore(|| {
        let disk = new_disk();
        let engine = options(&disk).background(true).checkpoint_bytes(64 << 10).open("data").unwrap();
        let write = |name: &'static str| {
            let one = object(&engine, name);
            spawn(move || {
                for _ in 0..2 {
                    let large = one.transact(|tx| {
                        tx.put("large", vec![7; 50_000])?;
                        add_one(tx)
                    });
                    large.wait().unwrap();
                }
            })
        };
        let (first, second) = (write("o"), write("p"));
        first.join().unwrap();
        second.join().unwrap();
        engine.close().unwrap();
        assert_durable(&disk, &[("o", 2, 2), ("p", 2, 2)]);
    });
}
