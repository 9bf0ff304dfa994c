//! Minutes of small updates: what reaches the device, and what a checkpoint does to the gate.

use std::{
    collections::VecDeque,
    path::Path,
    time::{Duration, Instant},
};

use lineal::{Gated, Namespace, Object, Options, Result};

use super::{Numbers, device_bytes_written};
use crate::report::{Figure, Target, percentile};

const HOT: usize = 10_000;
const IN_FLIGHT: usize = 1_024;
const VALUE_BYTES: usize = 100;

/// Device bytes for each user byte at full speed and at 100,000 commits/s, and the gate's p99 inside and outside of
/// checkpoints. `dir` holds a million objects already, made by `million`.
pub fn measure(dir: &Path, seconds: u64) -> Result<Vec<Figure>> {
    let engine = Options::new().open(dir)?;
    let namespace = engine.namespace("objects")?;
    let objects: Vec<Object> =
        (0..HOT).map(|at| namespace.object(&format!("object {}", at * 97))).collect::<Result<_>>()?;
    let limit = Duration::from_secs(seconds);
    let mut figures = Vec::new();
    let mut full_speed = 0.0;
    for (paced, bound, name) in
        [(None, 5.0, "at full speed"), (Some(100_000.0), 10.0, "at 100,000 commits/s")]
    {
        engine.sync()?;
        let device = device_bytes_written(dir);
        let checkpoints = engine.stats().checkpoints;
        let run = Run::go(&objects, limit, paced, &|| engine.is_checkpointing())?;
        let checkpoints = engine.stats().checkpoints - checkpoints;
        engine.checkpoint()?;
        let written = device_bytes_written(dir).saturating_sub(device);
        let user = run.commits as f64 * (VALUE_BYTES + 1) as f64;
        if paced.is_none() {
            full_speed = run.rate;
        }
        figures.push(Figure {
            what: format!("device bytes per user byte, 10,000 hot of 1,000,000 objects, {name}"),
            value: written as f64 / user,
            unit: "×",
            target: Target::AtMost(bound),
            beside: format!("{:.0} commits/s for {seconds} s, {checkpoints} checkpoints", run.rate),
        });
    }
    let run = Run::go(&objects, limit, Some(full_speed / 2.0), &|| engine.is_checkpointing())?;
    let inside = percentile(&run.inside, 0.99) as f64;
    let outside = percentile(&run.outside, 0.99) as f64;
    figures.push(Figure {
        what: "gate p99 inside a checkpoint, at half of full speed".into(),
        value: inside / outside.max(1.0),
        unit: "× outside",
        target: Target::AtMost(3.0),
        beside: format!(
            "{:.2} ms inside, {:.2} ms outside, {} and {} gates",
            inside / 1e6,
            outside / 1e6,
            run.inside.len(),
            run.outside.len()
        ),
    });
    engine.close()?;
    Ok(figures)
}

/// Commits of 100 bytes by one thread, 1,024 in flight.
pub(super) struct Run {
    pub(super) commits: u64,
    pub(super) rate: f64,
    /// Nanoseconds from commit to open gate while something went on beside it, sorted; one gate of every sixteen.
    pub(super) inside: Vec<u64>,
    /// The others.
    pub(super) outside: Vec<u64>,
}

impl Run {
    /// Commits for `limit`, as fast as it can or at the pace of so many a second. `beside` says whether something goes on.
    pub(super) fn go(
        objects: &[Object],
        limit: Duration,
        paced: Option<f64>,
        beside: &dyn Fn() -> bool,
    ) -> Result<Run> {
        let mut numbers = Numbers::new(11);
        let mut gates: VecDeque<(Instant, Gated<()>)> = VecDeque::with_capacity(IN_FLIGHT);
        let (mut inside, mut outside) = (Vec::new(), Vec::new());
        let started = Instant::now();
        let mut commits = 0u64;
        while started.elapsed() < limit {
            if let Some(rate) = paced {
                let ahead = commits as f64 / rate - started.elapsed().as_secs_f64();
                if ahead > 0.0005 {
                    // What is due is awaited meanwhile, as a server would.
                    drain(beside, &mut gates, &mut inside, &mut outside, 0)?;
                    std::thread::sleep(Duration::from_secs_f64((ahead - 0.0002).min(0.001)));
                    continue;
                }
            }
            drain(beside, &mut gates, &mut inside, &mut outside, IN_FLIGHT - 1)?;
            let value: [u8; VALUE_BYTES] = numbers.bytes();
            let object = &objects[numbers.below(objects.len())];
            gates.push_back((Instant::now(), object.transact(|tx| tx.put("v", value))));
            commits += 1;
        }
        drain(beside, &mut gates, &mut inside, &mut outside, 0)?;
        let rate = commits as f64 / started.elapsed().as_secs_f64();
        inside.sort_unstable();
        outside.sort_unstable();
        Ok(Run { commits, rate, inside, outside })
    }
}

fn drain(
    beside: &dyn Fn() -> bool,
    gates: &mut VecDeque<(Instant, Gated<()>)>,
    inside: &mut Vec<u64>,
    outside: &mut Vec<u64>,
    keep: usize,
) -> Result<()> {
    while gates.len() > keep {
        let (since, gate) = gates.pop_front().expect("the queue is not empty");
        gate.wait()?;
        if gates.len().is_multiple_of(16) {
            let nanos = since.elapsed().as_nanos() as u64;
            if beside() { inside.push(nanos) } else { outside.push(nanos) }
        }
    }
    Ok(())
}

/// Makes the objects that `measure` needs, where `million` did not run before.
///
/// # Errors
/// What the engine says.
pub fn prepare(dir: &Path, count: usize) -> Result<()> {
    let engine = Options::new().open(dir)?;
    let namespace: Namespace = engine.namespace("objects")?;
    let mut numbers = Numbers::new(1);
    for at in 0..count {
        let value: [u8; VALUE_BYTES] = numbers.bytes();
        namespace.object(&format!("object {at}"))?.transact(|tx| tx.put("v", value)).unconfirmed()?;
    }
    engine.close()
}
