//! Durable commits, beside the bare disk.

use std::{
    collections::VecDeque,
    path::Path,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::{Duration, Instant},
};

use lineal::{Engine, Object, Options, Result};

use super::{Numbers, resident::median};
use crate::{
    floor::{GroupSync, Preallocated, SECTOR_BYTES, encode_and_sync},
    report::{Figure, Target},
};

const OBJECTS: usize = 10_000;
/// Bytes of the record that a put of 100 bytes makes in the log, about.
const RECORD_BYTES: usize = 200;
const ROUND: Duration = Duration::from_secs(2);
const ROUNDS: usize = 3;

fn objects(engine: &Engine) -> Result<Vec<Object>> {
    let namespace = engine.namespace("commits")?;
    let objects: Vec<Object> =
        (0..OBJECTS).map(|at| namespace.object(&format!("object {at}"))).collect::<Result<_>>()?;
    for object in &objects {
        object.transact(|tx| tx.put("key", [1; 100])).unconfirmed()?;
    }
    engine.sync()?;
    Ok(objects)
}

/// One caller, 64 callers, 1,024 gates in flight, and 1,000 gates awaited together.
pub fn measure(dir: &Path) -> Result<Vec<Figure>> {
    let engine = Options::new().open(dir.join("commits"))?;
    let objects = objects(&engine)?;
    let floor_file = dir.join("floor");
    let (mut single, mut floor, mut group, mut group_floor) = (vec![], vec![], vec![], vec![]);
    let (mut pipelined, mut pipelined_floor) = (vec![], vec![]);
    for round in 0..ROUNDS {
        let mut file = Preallocated::create(&floor_file, 64 << 20).map_err(lineal::Error::other)?;
        floor.push(bare(&mut file)?);
        single.push(one_caller(&objects, round as u64)?);
        pipelined_floor.push(encode_and_sync(&mut file, 100, 1_024, ROUND).map_err(lineal::Error::other)?);
        pipelined.push(pipeline(&objects, 1_024, round as u64)?);
        group_floor.push(many_bare(file));
        group.push(many_callers(&objects, 64)?);
    }
    let mut figures = Vec::new();
    let ratio = median(single.iter().zip(&floor).map(|(ours, bare)| ours / bare).collect());
    figures.push(Figure {
        what: "one blocking caller, durable".into(),
        value: ratio,
        unit: "× bare write + fdatasync",
        target: Target::AtMost(1.10),
        beside: format!("{:.0} µs, bare {:.0} µs", median(single), median(floor)),
    });
    let ratio = median(group.iter().zip(&group_floor).map(|(ours, bare)| ours / bare).collect());
    figures.push(Figure {
        what: "64 blocking callers, 10,000 objects".into(),
        value: ratio,
        unit: "× bare group fsync",
        target: Target::AtLeast(0.8),
        beside: format!("{:.0}/s, bare {:.0}/s", median(group), median(group_floor)),
    });
    let ratio = median(pipelined.iter().zip(&pipelined_floor).map(|(ours, bare)| ours / bare).collect());
    let beside = format!("floor that encodes, checksums, copies and syncs {:.0}/s", median(pipelined_floor));
    figures.push(Figure {
        what: "1,024 gates in flight, 10,000 objects".into(),
        value: median(pipelined),
        unit: "durable commits/s",
        target: Target::AtLeast(700_000.0),
        beside: beside.clone(),
    });
    figures.push(Figure {
        what: "1,024 gates in flight, share of the floor".into(),
        value: ratio,
        unit: "×",
        target: Target::AtLeast(0.25),
        beside,
    });
    figures.push(thousand_gates(&engine, &objects)?);
    engine.close()?;
    Ok(figures)
}

fn bare(file: &mut Preallocated) -> Result<f64> {
    let group = vec![7; SECTOR_BYTES];
    let (started, mut count) = (Instant::now(), 0u32);
    while started.elapsed() < ROUND {
        file.write_and_sync(&group).map_err(lineal::Error::other)?;
        count += 1;
    }
    Ok(started.elapsed().as_secs_f64() * 1e6 / f64::from(count))
}

fn one_caller(objects: &[Object], seed: u64) -> Result<f64> {
    let mut numbers = Numbers::new(seed);
    let (started, mut count) = (Instant::now(), 0u32);
    while started.elapsed() < ROUND {
        objects[numbers.below(OBJECTS)].transact(|tx| tx.put("key", [2; 100])).wait()?;
        count += 1;
    }
    Ok(started.elapsed().as_secs_f64() * 1e6 / f64::from(count))
}

fn pipeline(objects: &[Object], in_flight: usize, seed: u64) -> Result<f64> {
    let mut numbers = Numbers::new(seed);
    let mut gates = VecDeque::with_capacity(in_flight);
    let (started, mut count) = (Instant::now(), 0u64);
    while started.elapsed() < ROUND {
        if gates.len() == in_flight {
            let gate: lineal::Gated<()> = gates.pop_front().expect("the queue is full");
            gate.wait()?;
            count += 1;
        }
        gates.push_back(objects[numbers.below(OBJECTS)].transact(|tx| tx.put("key", [3; 100])));
    }
    for gate in gates {
        gate.wait()?;
        count += 1;
    }
    Ok(count as f64 / started.elapsed().as_secs_f64())
}

fn many_bare(file: Preallocated) -> f64 {
    let group = GroupSync::new(file);
    per_second(64, |_| group.commit(RECORD_BYTES))
}

fn many_callers(objects: &[Object], threads: usize) -> Result<f64> {
    let failed = AtomicBool::new(false);
    let rate = per_second(threads, |number| {
        let object = &objects[number as usize % OBJECTS];
        if object.transact(|tx| tx.put("key", [4; 100])).wait().is_err() {
            failed.store(true, Ordering::Relaxed);
        }
    });
    if failed.load(Ordering::Relaxed) { Err(lineal::Error::Closed) } else { Ok(rate) }
}

fn per_second(threads: usize, work: impl Fn(u64) + Sync) -> f64 {
    let count = AtomicU64::new(0);
    let started = Instant::now();
    std::thread::scope(|scope| {
        for thread in 0..threads {
            let (count, work) = (&count, &work);
            scope.spawn(move || {
                let mut numbers = Numbers::new(thread as u64 + 1);
                while started.elapsed() < ROUND {
                    work(numbers.draw() >> 1);
                    count.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    });
    count.load(Ordering::Relaxed) as f64 / started.elapsed().as_secs_f64()
}

fn thousand_gates(engine: &Engine, objects: &[Object]) -> Result<Figure> {
    engine.sync()?;
    let before = engine.stats().fsyncs;
    let gates: Vec<_> =
        objects[..1_000].iter().map(|object| object.transact(|tx| tx.put("key", [5; 100]))).collect();
    for gate in gates {
        gate.wait()?;
    }
    Ok(Figure {
        what: "1,000 gates on 1,000 objects, made by one thread, then awaited".into(),
        value: (engine.stats().fsyncs - before) as f64,
        unit: "fsyncs",
        target: Target::AtMost(4.0),
        beside: String::new(),
    })
}
