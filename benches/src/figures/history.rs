//! History: reading the past, restoring, forking, and what it takes on disk.

use std::{
    collections::VecDeque,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use lineal::{Bookmark, Engine, Gated, Micros, Object, Options, Result, Retention};

use super::{Numbers, device_bytes_written, disk_bytes};
use crate::report::{Figure, Target, percentile};

const KEYS: usize = 100;
const COMMITS: u64 = 10_000;
const LOOKS: usize = 2_000;
const CHUNK: usize = 1 << 20;

/// `objects` is the size of the large store, `large_bytes` that of the large object.
pub fn measure(dir: &Path, objects: usize, large_bytes: usize) -> Result<Vec<Figure>> {
    let mut figures = Vec::new();
    let small = past_of_one(&dir.join("history-small"), 0, &mut figures)?;
    past_of_many(&dir.join("history-large"), objects, small, &mut figures)?;
    restore_and_fork(&dir.join("history-restore"), large_bytes, &mut figures)?;
    space(&dir.join("history-space"), &mut figures)?;
    compaction(&dir.join("history-compaction"), &mut figures)?;
    day(&dir.join("history-day"), &mut figures)?;
    Ok(figures)
}

/// One object of 100 keys with 10,000 commits, beside `others` that have 1 KiB of history each.
fn fill(engine: &Engine, others: usize) -> Result<Object> {
    let namespace = engine.namespace("history")?;
    let object = namespace.object("the one")?;
    let mut numbers = Numbers::new(3);
    let every = if others == 0 { 0 } else { COMMITS as usize / others.min(COMMITS as usize) };
    let mut made = 0;
    for commit in 0..COMMITS {
        let value: [u8; 100] = numbers.bytes();
        let key = [b'k', numbers.below(KEYS) as u8];
        object.transact(|tx| tx.put(key, value)).unconfirmed()?;
        let due = if every == 0 { 0 } else { others as u64 * (commit + 1) / COMMITS };
        while made < due {
            let other = namespace.object(&format!("other {made}"))?;
            let value: [u8; 1000] = numbers.bytes();
            other.transact(|tx| tx.put("state", value)).unconfirmed()?;
            made += 1;
        }
        if commit % 2_500 == 2_499 {
            engine.checkpoint()?;
        }
    }
    engine.checkpoint()?;
    Ok(object)
}

fn looks(object: &Object) -> Result<Vec<u64>> {
    let mut numbers = Numbers::new(4);
    let marks: Vec<Bookmark> =
        (0..LOOKS).map(|_| object.bookmark_of(1 + numbers.draw() % COMMITS)).collect::<Result<_>>()?;
    let mut nanos = Vec::with_capacity(LOOKS);
    for mark in &marks {
        let key = [b'k', numbers.below(KEYS) as u8];
        let started = Instant::now();
        let view = object.at(mark)?;
        std::hint::black_box(view.get(key)?);
        nanos.push(started.elapsed().as_nanos() as u64);
    }
    nanos.sort_unstable();
    Ok(nanos)
}

fn past_of_one(dir: &Path, others: usize, figures: &mut Vec<Figure>) -> Result<u64> {
    let engine = Options::new().open(dir)?;
    let object = fill(&engine, others)?;
    looks(&object)?;
    let nanos = looks(&object)?;
    let p50 = percentile(&nanos, 0.5);
    for (share, name, bound) in [(0.5, "p50", 50.0), (0.99, "p99", 500.0)] {
        figures.push(Figure {
            what: format!("`at` a bookmark and one get, 100 keys, 10,000 commits, {name}"),
            value: percentile(&nanos, share) as f64 / 1e3,
            unit: "µs",
            target: Target::AtMost(bound),
            beside: format!("anywhere in its history, {LOOKS} looks"),
        });
    }
    engine.close()?;
    Ok(p50)
}

fn past_of_many(dir: &Path, objects: usize, small: u64, figures: &mut Vec<Figure>) -> Result<()> {
    let engine = Options::new().open(dir)?;
    let object = fill(&engine, objects)?;
    looks(&object)?;
    let nanos = looks(&object)?;
    figures.push(Figure {
        what: format!("the same in a store of {objects} objects, p50"),
        value: percentile(&nanos, 0.5) as f64 / small.max(1) as f64,
        unit: "× of the small store",
        target: Target::AtMost(1.5),
        beside: format!("{} MiB of packs", engine.stats().pack_bytes >> 20),
    });
    engine.close()
}

fn restore_and_fork(dir: &Path, large_bytes: usize, figures: &mut Vec<Figure>) -> Result<()> {
    let engine = Options::new().open(dir)?;
    let namespace = engine.namespace("restore")?;
    for (name, bytes) in [("1 KiB", 1 << 10), ("large", large_bytes)] {
        let object = namespace.object(name)?;
        let mut numbers = Numbers::new(5);
        let chunk = bytes.min(CHUNK);
        for at in 0..bytes / chunk {
            let value: Vec<u8> = (0..chunk / 8).flat_map(|_| numbers.draw().to_le_bytes()).collect();
            object.transact(|tx| tx.put(format!("chunk {at:06}"), &value)).wait()?;
        }
        engine.checkpoint()?;
        let mark = object.bookmark().wait()?;
        object.transact(|tx| tx.put("chunk 000000", "changed")).wait()?;
        let (mut calls, mut gates) = (Vec::new(), Vec::new());
        let mut target = mark;
        for _ in 0..21 {
            let started = Instant::now();
            let undo = object.restore(&target);
            calls.push(started.elapsed().as_nanos() as u64);
            let started = Instant::now();
            target = undo.wait()?;
            gates.push(started.elapsed().as_nanos() as u64);
        }
        calls.sort_unstable();
        gates.sort_unstable();
        figures.push(Figure {
            what: format!("restore of an object of {}", size(bytes)),
            value: percentile(&calls, 0.5) as f64 / 1e6,
            unit: "ms",
            target: Target::AtMost(1.0),
            beside: format!("and one gate, {:.2} ms", percentile(&gates, 0.5) as f64 / 1e6),
        });
    }
    fork(&engine, large_bytes, dir, figures)?;
    engine.close()
}

fn size(bytes: usize) -> String {
    if bytes >= 1 << 20 { format!("{} MiB", bytes >> 20) } else { format!("{} KiB", bytes >> 10) }
}

fn fork(engine: &Engine, large_bytes: usize, dir: &Path, figures: &mut Vec<Figure>) -> Result<()> {
    let namespace = engine.namespace("restore")?;
    let source = namespace.object("large")?;
    let mark = source.bookmark().wait()?;
    engine.checkpoint()?;
    let mut calls = Vec::new();
    let mut target = namespace.object("fork 0")?;
    let before = device_bytes_written(dir);
    let forks = 21;
    for number in 0..forks {
        target = namespace.object(&format!("fork {number}"))?;
        let started = Instant::now();
        let gate = source.fork(&mark, &target);
        calls.push(started.elapsed().as_nanos() as u64);
        gate.wait()?;
    }
    let written = device_bytes_written(dir).saturating_sub(before) / forks;
    calls.sort_unstable();
    figures.push(Figure {
        what: format!("fork of an object of {}", size(large_bytes)),
        value: percentile(&calls, 0.5) as f64 / 1e6,
        unit: "ms",
        target: Target::AtMost(1.0),
        beside: "and one gate".into(),
    });
    figures.push(Figure {
        what: format!("device bytes of a fork of {}", size(large_bytes)),
        value: written as f64 / 1024.0,
        unit: "KiB",
        target: Target::AtMost(64.0),
        beside: "its commit and its gate".into(),
    });
    let chunks = large_bytes / CHUNK;
    let read = |object: &Object| -> Result<Duration> {
        let mut numbers = Numbers::new(6);
        let started = Instant::now();
        for _ in 0..500 {
            let key = format!("chunk {:06}", numbers.below(chunks));
            std::hint::black_box(object.read(|view| view.get(&key)).wait()?);
        }
        Ok(started.elapsed())
    };
    read(&source)?;
    read(&target)?;
    let (of_source, of_fork) = (read(&source)?, read(&target)?);
    figures.push(Figure {
        what: "reads of a fresh fork".into(),
        value: of_fork.as_secs_f64() / of_source.as_secs_f64(),
        unit: "× of its source",
        target: Target::AtMost(2.0),
        beside: "random values of 1 MiB, before it is flattened".into(),
    });
    Ok(())
}

/// What the history of a hot object takes for each commit, after compaction.
fn space(dir: &Path, figures: &mut Vec<Figure>) -> Result<()> {
    let commits = 200_000u64;
    let engine = Options::new().open(dir)?;
    let object = engine.namespace("space")?.object("hot")?;
    let mut numbers = Numbers::new(7);
    let before = engine.stats().log_bytes_written;
    for commit in 0..commits {
        let value: [u8; 100] = numbers.bytes();
        object.transact(|tx| tx.put([numbers.below(16) as u8], value)).unconfirmed()?;
        if commit % 20_000 == 0 {
            engine.sync()?;
        }
    }
    engine.sync()?;
    let logged = engine.stats().log_bytes_written - before;
    engine.checkpoint()?;
    engine.compact()?;
    engine.close()?;
    let packs = disk_bytes(&dir.join("packs"));
    figures.push(Figure {
        what: "history of a hot object, for each commit, after compaction".into(),
        value: packs as f64 / logged as f64,
        unit: "× of its record",
        target: Target::AtMost(0.8),
        beside: format!(
            "random values of 100 bytes in 16 keys: {:.0} bytes of {:.0}",
            packs as f64 / commits as f64,
            logged as f64 / commits as f64
        ),
    });
    Ok(())
}

/// The gate of commits at a steady rate, with and without a compaction beside them.
fn compaction(dir: &Path, figures: &mut Vec<Figure>) -> Result<()> {
    let engine = Options::new().open(dir)?;
    let namespace = engine.namespace("load")?;
    let objects: Vec<Object> =
        (0..1_000).map(|at| namespace.object(&format!("object {at}"))).collect::<Result<_>>()?;
    let mut numbers = Numbers::new(8);
    for _ in 0..6 {
        for _ in 0..100_000 {
            let value: [u8; 100] = numbers.bytes();
            objects[numbers.below(objects.len())].transact(|tx| tx.put("k", value)).unconfirmed()?;
        }
        engine.checkpoint()?;
    }
    let alone = gates(&engine, &objects, || false)?;
    let beside = std::thread::scope(|scope| {
        let compacting = scope.spawn(|| engine.compact());
        let nanos = gates(&engine, &objects, || compacting.is_finished());
        compacting.join().expect("compaction does not panic")?;
        nanos
    })?;
    let (alone, busy) = (percentile(&alone, 0.99) as f64, percentile(&beside, 0.99) as f64);
    figures.push(Figure {
        what: "gate p99 while compaction runs".into(),
        value: busy / alone.max(1.0),
        unit: "× of without",
        target: Target::AtMost(2.5),
        beside: format!(
            "{:.2} ms beside it, {:.2} ms alone, {} gates",
            busy / 1e6,
            alone / 1e6,
            beside.len()
        ),
    });
    engine.close()
}

/// Nanoseconds from commit to open gate, sorted, for two seconds or until `done`, at half of what one caller can do.
fn gates(engine: &Engine, objects: &[Object], done: impl Fn() -> bool) -> Result<Vec<u64>> {
    let mut numbers = Numbers::new(9);
    let mut nanos = Vec::new();
    engine.sync()?;
    let started = Instant::now();
    while started.elapsed() < Duration::from_secs(2) && !done() {
        let value: [u8; 100] = numbers.bytes();
        let began = Instant::now();
        objects[numbers.below(objects.len())].transact(|tx| tx.put("k", value)).wait()?;
        let took = began.elapsed();
        nanos.push(took.as_nanos() as u64);
        std::thread::sleep(took);
    }
    nanos.sort_unstable();
    Ok(nanos)
}

/// A day of mixed load by a clock that runs fast: what reaches the device for each byte that users wrote.
fn day(dir: &Path, figures: &mut Vec<Figure>) -> Result<()> {
    const HOURS: u64 = 24;
    const COMMITS_PER_HOUR: u64 = 60_000;
    const HOUR: u64 = 3_600_000_000;
    let begun = 1_800_000_000_000_000;
    let now = Arc::new(AtomicU64::new(begun));
    let clock = Arc::clone(&now);
    let engine = Options::new().clock(Arc::new(move || Micros(clock.load(Ordering::Relaxed)))).open(dir)?;
    let namespace = engine.namespace("day")?;
    namespace.set_retention(Retention { time: Some(Duration::from_secs(6 * 3_600)), bytes: None })?;
    let objects: Vec<Object> =
        (0..20_000).map(|at| namespace.object(&format!("object {at}"))).collect::<Result<_>>()?;
    let mut numbers = Numbers::new(16);
    let mut gates: VecDeque<Gated<()>> = VecDeque::new();
    let (device, mut user) = (device_bytes_written(dir), 0);
    for _ in 0..HOURS {
        for _ in 0..COMMITS_PER_HOUR {
            now.fetch_add(HOUR / COMMITS_PER_HOUR, Ordering::Relaxed);
            // Most writes go to one object in ten.
            let hot = if numbers.below(10) < 9 { objects.len() / 10 } else { objects.len() };
            let object = &objects[numbers.below(hot)];
            let value: [u8; 2_000] = numbers.bytes();
            let length = [20, 100, 100, 100, 300, 2_000][numbers.below(6)];
            let key = [b'k', numbers.below(8) as u8];
            user += (key.len() + length) as u64;
            gates.push_back(match numbers.below(1_000) {
                0 => object.delete(),
                1..50 => object.transact(|tx| tx.delete(key)),
                _ => object.transact(|tx| tx.put(key, &value[..length])),
            });
            if gates.len() >= 1_024
                && let Some(gate) = gates.pop_front()
            {
                gate.wait()?;
            }
        }
    }
    gates.drain(..).try_for_each(Gated::wait)?;
    engine.checkpoint()?;
    engine.compact()?;
    let stats = engine.stats();
    engine.close()?;
    let device = device_bytes_written(dir).saturating_sub(device);
    let share = |bytes: u64| bytes as f64 / user as f64;
    let rest = device.saturating_sub(stats.log_bytes_written + stats.pack_bytes_written);
    figures.push(Figure {
        what: "device bytes per user byte over a simulated day of mixed load, six hours of history kept".into(),
        value: share(device),
        unit: "×",
        target: Target::AtMost(8.0),
        beside: format!(
            "log {:.2}, packs by {} checkpoints and {} merges {:.2}, new segments, catalog and file system {:.2}",
            share(stats.log_bytes_written),
            stats.checkpoints,
            stats.compactions,
            share(stats.pack_bytes_written),
            share(rest)
        ),
    });
    Ok(())
}
