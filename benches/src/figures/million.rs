//! A million objects: making them, what they take, opening them after a kill, waking them, replaying a log.

use std::{
    collections::VecDeque,
    io::BufRead,
    path::Path,
    process::{Command, Stdio},
    time::Instant,
};

use lineal::{Engine, Gated, Namespace, Object, Options, Result};

use super::{Numbers, disk_bytes, resident_memory};
use crate::report::{Figure, Target, percentile};

const IN_FLIGHT: usize = 4_096;

/// How the objects get their ids.
#[derive(Clone, Copy)]
enum Ids {
    Hashed,
    Ordered,
}

/// All figures with `count` objects.
pub fn measure(dir: &Path, count: usize) -> Result<Vec<Figure>> {
    let mut figures = Vec::new();
    for (ids, name, rate_min, bytes_max) in
        [(Ids::Hashed, "hashed ids", 150_000.0, 400.0), (Ids::Ordered, "time-ordered ids", 250_000.0, 300.0)]
    {
        let path = dir.join(format!("million-{}", name.split(' ').next().unwrap_or_default()));
        let engine = Options::new().open(&path)?;
        let namespace = engine.namespace("objects")?;
        let started = Instant::now();
        create(&namespace, count, ids)?;
        let rate = count as f64 / started.elapsed().as_secs_f64();
        let stats = engine.stats();
        engine.close()?;
        let bytes = disk_bytes(&path) as f64 / count as f64;
        figures.push(Figure {
            what: format!("{count} new objects, durable, sustained, {name}"),
            value: rate,
            unit: "/s",
            target: Target::AtLeast(rate_min),
            beside: format!("{} checkpoints on the way", stats.checkpoints),
        });
        figures.push(Figure {
            what: format!("bytes on disk per object of one random 100-byte value, {name}, after close"),
            value: bytes,
            unit: "bytes",
            target: Target::AtMost(bytes_max),
            beside: "history, lineage, index and catalog included".into(),
        });
    }
    figures.extend(after_kill(&dir.join("million-hashed"), count)?);
    figures.push(replay(&dir.join("replay"))?);
    Ok(figures)
}

fn create(namespace: &Namespace, count: usize, ids: Ids) -> Result<()> {
    let mut numbers = Numbers::new(1);
    let mut gates: VecDeque<Gated<()>> = VecDeque::with_capacity(IN_FLIGHT);
    for at in 0..count {
        let object = match ids {
            Ids::Hashed => namespace.object(&name(at))?,
            Ids::Ordered => namespace.unique()?,
        };
        let value: [u8; 100] = numbers.bytes();
        if gates.len() == IN_FLIGHT {
            gates.pop_front().expect("the queue is full").wait()?;
        }
        gates.push_back(object.transact(|tx| tx.put("v", value)));
    }
    gates.into_iter().try_for_each(Gated::wait)
}

fn name(at: usize) -> String {
    format!("object {at}")
}

/// Opens the million after a kill -9 in the middle of writing, and wakes some of them.
fn after_kill(path: &Path, count: usize) -> Result<Vec<Figure>> {
    kill_a_writer(path, "write-until-killed")?;
    let before = resident_memory();
    let started = Instant::now();
    let engine = Engine::open(path)?;
    let open_ms = started.elapsed().as_secs_f64() * 1e3;
    let memory = resident_memory().saturating_sub(before) as f64 / (1 << 20) as f64;
    let replayed = engine.stats().replayed_commits;
    let namespace = engine.namespace("objects")?;
    let mut numbers = Numbers::new(9);
    let mut micros: Vec<u64> = Vec::new();
    // The first pass brings the files into the page cache.
    for pass in 0..2 {
        let mut numbers_again = Numbers::new(5);
        for _ in 0..20_000 {
            let object: Object = namespace.object(&name(numbers_again.below(count)))?;
            object.hibernate()?;
            let started = Instant::now();
            let value = object.read(|view| view.get("v")).unconfirmed()?;
            if pass == 1 {
                micros.push(started.elapsed().as_nanos() as u64);
            }
            assert!(value.is_some_and(|value| value.len() == 100));
            object.hibernate()?;
        }
        let _ = numbers.draw();
    }
    micros.sort_unstable();
    engine.close()?;
    Ok(vec![
        Figure {
            what: format!("open with {count} idle objects, after kill -9"),
            value: open_ms,
            unit: "ms",
            target: Target::AtMost(20.0 + replayed as f64 / 1_000.0),
            beside: format!("20 ms and {replayed} commits replayed"),
        },
        Figure {
            what: "memory that opening took".into(),
            value: memory,
            unit: "MiB",
            target: Target::AtMost(16.0),
            beside: String::new(),
        },
        Figure {
            what: "cold wake and one get, files in the page cache, p50".into(),
            value: percentile(&micros, 0.5) as f64 / 1e3,
            unit: "µs",
            target: Target::AtMost(10.0),
            beside: String::new(),
        },
        Figure {
            what: "cold wake and one get, files in the page cache, p99".into(),
            value: percentile(&micros, 0.99) as f64 / 1e3,
            unit: "µs",
            target: Target::AtMost(30.0),
            beside: String::new(),
        },
    ])
}

/// Replays a log that no checkpoint has covered.
fn replay(path: &Path) -> Result<Figure> {
    kill_a_writer(path, "fill-the-log-until-killed")?;
    let mut best: f64 = 0.0;
    let mut commits = 0;
    for _ in 0..3 {
        let started = Instant::now();
        let engine = Engine::open_read_only(path)?;
        let elapsed = started.elapsed().as_secs_f64();
        commits = engine.stats().replayed_commits;
        best = best.max(commits as f64 / elapsed);
        drop(engine);
    }
    Ok(Figure {
        what: "replay".into(),
        value: best,
        unit: "commits/s",
        target: Target::AtLeast(1_000_000.0),
        beside: format!("{commits} commits, read from the page cache"),
    })
}

/// Starts this program again as `role`, and kills it when it says that it has written enough.
fn kill_a_writer(path: &Path, role: &str) -> Result<()> {
    let program = std::env::current_exe().map_err(lineal::Error::other)?;
    let mut child = Command::new(program)
        .args(["--role", role, "--dir"])
        .arg(path)
        .stdout(Stdio::piped())
        .spawn()
        .map_err(lineal::Error::other)?;
    let mut line = String::new();
    if let Some(out) = child.stdout.take() {
        std::io::BufReader::new(out).read_line(&mut line).map_err(lineal::Error::other)?;
    }
    child.kill().and_then(|()| child.wait()).map_err(lineal::Error::other)?;
    if line.trim() == "enough" { Ok(()) } else { Err(lineal::Error::other("the writer died by itself")) }
}

/// What the killed child does: writes on until it is killed.
///
/// # Errors
/// What the engine says.
pub fn write_until_killed(dir: &Path, commits: usize, checkpoint_bytes: u64) -> Result<()> {
    let engine = Options::new().checkpoint_bytes(checkpoint_bytes).memory_bytes(2 << 30).open(dir)?;
    let namespace = engine.namespace("objects")?;
    let mut numbers = Numbers::new(3);
    let mut gates: VecDeque<Gated<()>> = VecDeque::new();
    for at in 0.. {
        if at == commits {
            println!("enough");
        }
        if gates.len() == IN_FLIGHT {
            gates.pop_front().expect("the queue is full").wait()?;
        }
        if at > commits {
            std::thread::sleep(std::time::Duration::from_millis(100));
            continue;
        }
        let value: [u8; 100] = numbers.bytes();
        let object = namespace.object(&name(numbers.below(100_000)))?;
        gates.push_back(object.transact(|tx| tx.put("v", value)));
    }
    Ok(())
}
