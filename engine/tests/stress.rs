//! Many threads on a real disk, with everything that runs in the background, and little memory and log: no
//! acknowledged increment is lost, none is made twice, no seq is left out, and what one caller was told before another one
//! began is what that one sees.
//!
//! It goes on for some seconds, or for as long and over as many objects as one says; the sanitizers run it too:
//!
//! ```sh
//! LINEAL_STRESS_SECONDS=600 LINEAL_STRESS_OBJECTS=10000 cargo test --release -p lineal --test stress -- --nocapture
//! ```
#![allow(clippy::unwrap_used, reason = "it is how a test fails")]

use std::{
    collections::VecDeque,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

use lineal::{Engine, Error, Gated, Object, Options, Result, Tx};

/// How long it goes on if nobody says.
///
/// Source: chosen; hundreds of checkpoints and tens of thousands of commits.
const SECONDS: u64 = 4;

const THREADS: u64 = 4;

/// Over how many objects if nobody says.
const OBJECTS: u64 = 60;

fn asked(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).map_or(otherwise, |asked| asked.parse().unwrap())
}

/// Gates that a thread leaves shut before it waits for the oldest.
const IN_FLIGHT: usize = 32;

fn options() -> Options {
    Options::new()
        .memory_bytes(1 << 20)
        .cache_bytes(1 << 20)
        .checkpoint_bytes(1 << 20)
        .segment_bytes(64 << 10, 1 << 20)
        .reserve_bytes(1 << 20)
        // The maintenance thread gives way to all others: on a machine that is busy elsewhere, and under a sanitizer, those
        // wait for it for long.
        .wait_max(Duration::from_secs(3_600))
}

fn count_in(value: Option<lineal::Value>) -> u64 {
    value.map_or(0, |value| u64::from_le_bytes(value[..8].try_into().unwrap()))
}

/// Adds one to the object's counter, and writes ballast so that the object grows out of its tail. Each commit adds one,
/// so counter and seq go together.
fn increment(tx: &mut Tx<'_>, random: u64) -> Result<u64> {
    let count = count_in(tx.get("count")?);
    assert_eq!(tx.seq(), count, "each commit is one increment");
    tx.put("count", (count + 1).to_le_bytes())?;
    let ballast = vec![random as u8; 200 + (random >> 8) as usize % 2_000];
    tx.put(format!("ballast {}", random % 24), ballast)?;
    if random.is_multiple_of(97) {
        tx.delete_range("ballast 1".."ballast 2")?;
    }
    Ok(count + 1)
}

fn next(random: &mut u64) -> u64 {
    *random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    *random >> 20
}

struct Shared {
    engine: Engine,
    objects: Vec<Object>,
    acknowledged: Vec<AtomicU64>,
    /// The highest count that any caller was told, by object. Counts are given out one by one, so an order of all
    /// transactions that also keeps the order of time exists iff nobody is told less than what was told before he began.
    told: Vec<AtomicU64>,
    operations: AtomicU64,
    stop: AtomicBool,
    busy: AtomicU64,
}

impl Shared {
    /// What somebody was told of the object before this moment, at least.
    fn known(&self, at: usize) -> u64 {
        self.told[at].load(Ordering::SeqCst)
    }

    /// Takes in what a caller was told, who began when `known` was.
    fn tell(&self, at: usize, known: u64, count: u64) {
        assert!(count >= known, "object {at} was at {known} before this began, and it was told {count}");
        self.told[at].fetch_max(count, Ordering::SeqCst);
        self.operations.fetch_add(1, Ordering::Relaxed);
    }

    /// As `tell`, for who counted one up; 0 if he was refused before he did, which his gate says.
    fn tell_made(&self, at: usize, known: u64, count: u64) {
        if count > 0 {
            self.tell(at, known + 1, count);
        }
    }

    /// Counts what a gate lets out.
    fn acknowledge(&self, which: &[usize], gated: Gated<u64>) {
        match gated.wait() {
            Ok(_) => which.iter().for_each(|at| {
                self.acknowledged[*at].fetch_add(1, Ordering::Relaxed);
            }),
            // Refused before anything was done.
            Err(Error::Busy { .. }) => drop(self.busy.fetch_add(1, Ordering::Relaxed)),
            Err(error) => panic!("{error}"),
        }
    }

    fn write(&self, seed: u64) {
        let mut random = seed;
        let mut in_flight: VecDeque<(Vec<usize>, Gated<u64>)> = VecDeque::new();
        while !self.stop.load(Ordering::Relaxed) {
            let at = next(&mut random) as usize % self.objects.len();
            let other = next(&mut random) as usize % self.objects.len();
            let number = next(&mut random);
            let object = &self.objects[at];
            let known = self.known(at);
            let mut told = 0;
            let made = match number % 16 {
                0 if at != other => {
                    let (known_too, mut told_too) = (self.known(other), 0);
                    let both = self.engine.transact_many([object, &self.objects[other]], |[left, right]| {
                        told = increment(left, number)?;
                        told_too = increment(right, number)?;
                        Ok(told)
                    });
                    self.tell_made(other, known_too, told_too);
                    (vec![at, other], both)
                }
                1 => {
                    let undone = object.transact(|tx| {
                        increment(tx, number)?;
                        Err::<u64, Error>(Error::other("undo"))
                    });
                    drop(undone);
                    continue;
                }
                2 => {
                    let event = object.event(async |cx| {
                        let before = cx.read(|view| Ok(view.seq())).unconfirmed()?;
                        told = cx.transact(|tx| increment(tx, number)).await?;
                        assert!(told > before);
                        Ok(told)
                    });
                    (vec![at], pollster::block_on(event))
                }
                3 => {
                    let seen = object.read(|view| Ok((count_in(view.get("count")?), view.seq())));
                    let (count, seq) = seen.wait().unwrap();
                    assert_eq!(count, seq);
                    self.tell(at, known, count);
                    continue;
                }
                _ => {
                    let made = object.transact(|tx| {
                        told = increment(tx, number)?;
                        Ok(told)
                    });
                    (vec![at], made)
                }
            };
            self.tell_made(at, known, told);
            in_flight.push_back(made);
            if in_flight.len() > IN_FLIGHT {
                let (which, gated) = in_flight.pop_front().unwrap();
                self.acknowledge(&which, gated);
            }
        }
        for (which, gated) in in_flight {
            self.acknowledge(&which, gated);
        }
    }

    /// What an operator or the engine itself does meanwhile.
    fn disturb(&self) {
        let mut random = 99;
        while !self.stop.load(Ordering::Relaxed) {
            let object = &self.objects[next(&mut random) as usize % self.objects.len()];
            match next(&mut random) % 8 {
                0 => drop(self.engine.checkpoint().unwrap()),
                1 => self.engine.compact().unwrap(),
                2..=4 => object.hibernate().unwrap(),
                5 => match object.verify() {
                    Ok(verified) => assert_eq!(verified.first_seq, 1),
                    Err(Error::NotFound { .. }) => {}
                    Err(error) => panic!("{error}"),
                },
                6 => {
                    let rooms = self.engine.namespace("counters").unwrap();
                    for info in rooms.objects().unwrap() {
                        info.unwrap();
                    }
                }
                _ => self.engine.sync().unwrap(),
            }
            thread::sleep(Duration::from_millis(next(&mut random) % 20));
        }
    }
}

#[test]
fn no_increment_is_lost_under_pressure() {
    let (count, seconds) = (asked("LINEAL_STRESS_OBJECTS", OBJECTS), asked("LINEAL_STRESS_SECONDS", SECONDS));
    let dir = tempfile::tempdir().unwrap();
    let engine = options().open(dir.path()).unwrap();
    let counters = engine.namespace("counters").unwrap();
    let objects: Vec<Object> = (0..count).map(|at| counters.object(&format!("{at}")).unwrap()).collect();
    let shared = Shared {
        engine,
        objects,
        acknowledged: (0..count).map(|_| AtomicU64::new(0)).collect(),
        told: (0..count).map(|_| AtomicU64::new(0)).collect(),
        operations: AtomicU64::new(0),
        stop: AtomicBool::new(false),
        busy: AtomicU64::new(0),
    };
    let failed = thread::scope(|scope| {
        let shared = &shared;
        let mut threads: Vec<_> = (0..THREADS).map(|seed| scope.spawn(move || shared.write(seed))).collect();
        threads.push(scope.spawn(|| shared.disturb()));
        let end = Instant::now() + Duration::from_secs(seconds);
        while Instant::now() < end && threads.iter().all(|thread| !thread.is_finished()) {
            thread::sleep(Duration::from_millis(10));
        }
        shared.stop.store(true, Ordering::Relaxed);
        threads.into_iter().map(|thread| thread.join()).filter(|joined| joined.is_err()).count()
    });
    assert_eq!(failed, 0, "a thread failed");

    let Shared { engine, objects, acknowledged, operations, busy, .. } = shared;
    println!("{operations:?} operations on {count} objects");
    let wanted: Vec<u64> = acknowledged.iter().map(|count| count.load(Ordering::Relaxed)).collect();
    let counts = |objects: &[Object]| -> Vec<(u64, u64)> {
        let count = |object: &Object| {
            object.read(|view| Ok((count_in(view.get("count")?), view.seq()))).wait().unwrap()
        };
        objects.iter().map(count).collect()
    };
    let both: Vec<(u64, u64)> = wanted.iter().map(|count| (*count, *count)).collect();
    assert_eq!(counts(&objects), both);
    let stats = engine.stats();
    assert!(stats.checkpoints > 1 && stats.hibernations > 0 && stats.wakes > 0, "{stats:?}");
    assert_eq!((stats.maintenance_failures, busy.into_inner()), (0, 0));
    // Twice the budget is where writers wait; what is being written may lie above.
    assert!(stats.resident_bytes < 6 << 20, "{} bytes resident", stats.resident_bytes);
    engine.verify(&mut |_| ()).unwrap();

    engine.close().unwrap();
    let engine = options().open(dir.path()).unwrap();
    let counters = engine.namespace("counters").unwrap();
    let objects: Vec<Object> = (0..count).map(|at| counters.object(&format!("{at}")).unwrap()).collect();
    assert_eq!(counts(&objects), both);
    for (object, wanted) in objects.iter().zip(&wanted) {
        let verified = object.verify().unwrap();
        assert_eq!((verified.first_seq, verified.last_seq, verified.commits), (1, *wanted, *wanted));
    }
    engine.verify(&mut |_| ()).unwrap();
    engine.close().unwrap();
}
