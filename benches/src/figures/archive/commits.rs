//! Commits that are archived when their gates open, beside one PUT and beside commits that are durable here.

use std::{
    sync::{Arc, mpsc},
    thread,
    time::{Duration, Instant},
};

use lineal::{Durability, Engine, Error, Gated, Object, Options, Result, archive::Store};

use super::{
    Place, objects,
    slow::{self, Slow},
    wire::{self, Kind},
};
use crate::{
    figures::Numbers,
    report::{Figure, Target, number, percentile},
};

const OBJECTS: usize = 10_000;

pub(super) fn measure(place: &Place) -> Result<Vec<Figure>> {
    let bare = place.bare()?;
    let limit = place.minute / 4;
    let local = Engine::open(place.folder("archive-local")?)?;
    let (archive, wire) = place.watched("commits")?;
    let folder = place.folder("archive-commits")?;
    let archived = Options::new().archive(archive).durability(Durability::Archived).open(folder)?;
    let (local_objects, archived_objects) = (objects(&local, OBJECTS)?, objects(&archived, OBJECTS)?);
    let mut figures = Vec::new();
    for in_flight in [1_024, 65_536] {
        let here = Run::go(&local_objects, in_flight, limit)?;
        archived.archive_now()?;
        let mark = wire.mark();
        let there = Run::go(&archived_objects, in_flight, limit)?;
        let chunks = wire.since(mark).with("/log/");
        let sent: u64 = chunks.0.iter().map(|chunk| chunk.sent).sum();
        let chunk_bytes = (sent as usize).checked_div(chunks.of(Kind::Put)).unwrap_or(0);
        let put = bare.put(chunk_bytes)?;
        let mut took: Vec<u64> = chunks.0.iter().map(|chunk| chunk.took.as_micros() as u64).collect();
        took.sort_unstable();
        let beside = format!(
            "bare PUT of {} KiB {put:.1} ms; {} PUTs of the log in the run, p50 {:.1} ms, p99 {:.1} ms",
            chunk_bytes >> 10,
            chunks.of(Kind::Put),
            percentile(&took, 0.5) as f64 / 1e3,
            percentile(&took, 0.99) as f64 / 1e3,
        );
        let name = format!("archived-durable commits, {} in flight", number(in_flight as f64));
        figures.extend(compared(&name, in_flight, put, (&here, &there), &beside));
    }
    archived.close()?;
    figures.extend(beside_slow(place, &local_objects, limit)?);
    local.close()?;
    Ok(figures)
}

/// The same where the store answers many at once, so that what the engine adds to a PUT is seen.
fn beside_slow(place: &Place, local_objects: &[Object], limit: Duration) -> Result<Vec<Figure>> {
    let store = Arc::<Slow>::default();
    let shared: Arc<dyn Store> = Arc::<Slow>::clone(&store);
    let folder = place.folder("archive-slow")?;
    let options = Options::new().archive(wire::options(shared)).durability(Durability::Archived);
    let engine = options.open(folder)?;
    let objects = objects(&engine, OBJECTS)?;
    let put = slow::TAKES.as_secs_f64() * 1e3;
    let mut figures = Vec::new();
    for in_flight in [1_024, 65_536] {
        let here = Run::go(local_objects, in_flight, limit)?;
        let before = store.puts();
        let there = Run::go(&objects, in_flight, limit)?;
        let beside = format!("{} PUTs in the run", store.puts() - before);
        let name = format!("beside a store of {put:.0} ms, {} in flight", number(in_flight as f64));
        figures.extend(compared(&name, in_flight, put, (&here, &there), &beside));
    }
    drop(objects);
    engine.close()?;
    Ok(figures)
}

/// What commits took `there`, beside a PUT of `put` milliseconds and beside `here`, where nobody waits for a store.
fn compared(
    name: &str,
    in_flight: usize,
    put: f64,
    (here, there): (&Run, &Run),
    beside: &str,
) -> [Figure; 2] {
    let of = |share| percentile(&there.nanos, share) as f64 / 1e6;
    let ideal = in_flight as f64 / (put / 1e3);
    [
        Figure {
            what: format!("{name}, p99"),
            value: of(0.99) / put,
            unit: "× one PUT",
            target: Target::AtMost(3.0),
            beside: format!("{:.1} ms, p50 {:.1} ms; {beside}", of(0.99), of(0.5)),
        },
        Figure {
            what: format!("{name}, sustained"),
            value: there.rate,
            unit: "/s",
            target: Target::AtLeast((0.7 * ideal).min(here.rate)),
            beside: format!("in flight / time of one PUT {}/s; local {}/s", number(ideal), number(here.rate)),
        },
    ]
}

/// Commits of 100 bytes, so many in flight: one thread makes them, another sees their gates open.
struct Run {
    rate: f64,
    /// Nanoseconds from commit to open gate, sorted.
    nanos: Vec<u64>,
}

impl Run {
    fn go(objects: &[Object], in_flight: usize, limit: Duration) -> Result<Run> {
        // One more is in the maker's hand, and one in the other's.
        let (made, seen) = mpsc::sync_channel::<(Instant, Gated<()>)>(in_flight - 2);
        let started = Instant::now();
        let nanos = thread::scope(|scope| {
            let waiting = scope.spawn(move || -> Result<Vec<u64>> {
                let mut nanos = Vec::new();
                for (since, gate) in seen {
                    gate.wait()?;
                    nanos.push(since.elapsed().as_nanos() as u64);
                }
                Ok(nanos)
            });
            let mut numbers = Numbers::new(in_flight as u64);
            while started.elapsed() < limit {
                let (object, value) = (&objects[numbers.below(objects.len())], numbers.bytes::<100>());
                let since = Instant::now();
                let gate = object.transact(|tx| tx.put("v", value));
                if made.send((since, gate)).is_err() {
                    // A gate failed; the other thread says how.
                    break;
                }
            }
            drop(made);
            waiting.join().map_err(|_| Error::other("the thread that sees gates open panicked"))?
        })?;
        let rate = nanos.len() as f64 / started.elapsed().as_secs_f64();
        // Those that were made before as many were in flight do not count.
        let mut nanos = nanos.get(in_flight..).map(<[u64]>::to_vec).unwrap_or(nanos);
        nanos.sort_unstable();
        Ok(Run { rate, nanos })
    }
}
