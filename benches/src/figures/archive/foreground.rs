//! What the foreground feels of an upload at full speed, into a store in the same process.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use lineal::{
    Engine, Error, Object, Options, Result,
    archive::{ArchiveOptions, Location},
};

use super::{Place, mib, objects};
use crate::{
    figures::steady::{self, Run},
    report::{Figure, Target, number, percentile},
};

const HOT: usize = 10_000;
/// Uploads of everything, each into an empty store.
const ROUNDS: usize = 3;
/// How often it is looked whether an upload has ended.
const LOOKS: Duration = Duration::from_millis(10);

pub(super) fn measure(place: &Place) -> Result<Vec<Figure>> {
    let folder = place.folder("archive-foreground")?;
    steady::prepare(&folder, place.objects)?;
    let limit = place.minute / 6;
    let engine = Engine::open(&folder)?;
    let hot = objects(&engine, HOT)?;
    let pace = Run::go(&hot, limit, None, &|| false)?.rate / 2.0;
    let without = p99(Run::go(&hot, limit, Some(pace), &|| false)?.outside);
    drop(hot);
    engine.close()?;
    let (mut packs, mut log) = (Vec::new(), Vec::new());
    let (mut bytes, mut time) = (0, Duration::ZERO);
    for round in 0..ROUNDS {
        if round > 0 {
            // The store before went with its engine; a directory that remembers one begins none by itself.
            std::fs::remove_file(folder.join("ARCHIVE")).map_err(Error::other)?;
        }
        let archive = ArchiveOptions::new(Location::new("memory:///figures"));
        let engine = Options::new().archive(archive).open(&folder)?;
        bytes += engine.stats().pack_bytes;
        let hot = objects(&engine, HOT)?;
        let (run, took) = beside_packs(&engine, &hot, limit, pace)?;
        time += took;
        packs.extend(run.inside);
        log.extend(run.outside);
        drop(hot);
        engine.close()?;
    }
    let mut figures = Vec::new();
    let beside_packs = format!("packs and log, {:.0} MiB/s", mib(bytes) / time.as_secs_f64());
    for (what, nanos, beside) in
        [("its packs go up", packs, beside_packs), ("its log goes up", log, "the packs are there".to_owned())]
    {
        let samples = nanos.len();
        // An upload that was over before anything was committed says nothing.
        if samples > 0 {
            let with = p99(nanos);
            figures.push(Figure {
                what: format!("foreground p99 while {what}, store in the process, at half of full speed"),
                value: with / without,
                unit: "× without an archive",
                target: Target::AtMost(2.0),
                beside: format!(
                    "{beside}; {:.2} ms, without {:.2} ms; {} commits/s, {samples} gates",
                    with / 1e6,
                    without / 1e6,
                    number(pace)
                ),
            });
        }
    }
    Ok(figures)
}

/// Commits at the pace; those are `inside` that were made while the packs went up that were there at the beginning.
/// Says how long that took.
fn beside_packs(engine: &Engine, hot: &[Object], limit: Duration, pace: f64) -> Result<(Run, Duration)> {
    let (uploading, over) = (AtomicBool::new(true), AtomicBool::new(false));
    let line = engine.stats().checkpoint_lsn;
    let started = Instant::now();
    thread::scope(|scope| {
        let looking = scope.spawn(|| {
            while !over.load(Ordering::Relaxed)
                && engine.archive_status().is_some_and(|status| status.line.0 < line)
            {
                thread::sleep(LOOKS);
            }
            uploading.store(false, Ordering::Relaxed);
            started.elapsed()
        });
        let run = Run::go(hot, limit, Some(pace), &|| uploading.load(Ordering::Relaxed));
        over.store(true, Ordering::Relaxed);
        let took = looking.join().map_err(|_| Error::other("the thread that looks panicked"))?;
        Ok((run?, took))
    })
}

fn p99(mut nanos: Vec<u64>) -> f64 {
    nanos.sort_unstable();
    percentile(&nanos, 0.99).max(1) as f64
}
