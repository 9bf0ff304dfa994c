//! What runs in processes of its own: what is measured by its memory, and what is lost with its machine.
//!
//! A child writes lines of a name and a number, then `enough`, and waits until it is killed.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use lineal::{
    Durability, Engine, Error, Options, Result,
    archive::{ArchiveOptions, Location, RestoreOptions, RestoreStep, restore},
};

use super::{Place, wire::HOLDER};
use crate::figures::resident_memory;

/// What a child can be.
pub const ROLES: [&str; 3] = [UPLOAD, TAIL, RESTORE];

/// Opens what has no archive yet with one, until everything is there.
pub(super) const UPLOAD: &str = "archive-upload";
/// Commits a few times, each archived before the next.
pub(super) const TAIL: &str = "archive-tail";
/// Restores everything.
pub(super) const RESTORE: &str = "archive-restore";

/// Pieces of log that [`TAIL`] leaves.
pub(super) const TAIL_CHUNKS: usize = 4;

/// Where a child finds the archive's URL; what else it takes is in the usual variables.
const URL: &str = "LINEAL_FIGURES_URL";

/// Numbers that a child told.
pub(super) type Told = BTreeMap<String, f64>;

/// Runs a child in `dir` with the archive at `prefix` until it has done its work, and kills it.
pub(super) fn run(place: &Place, role: &str, dir: &Path, prefix: &str) -> Result<Told> {
    let program = std::env::current_exe().map_err(Error::other)?;
    let mut child = Command::new(program)
        .args(["--role", role, "--dir"])
        .arg(dir)
        .envs(place.s3.environment())
        .env(URL, place.s3.url(prefix))
        .stdout(Stdio::piped())
        .spawn()
        .map_err(Error::other)?;
    let mut told = Told::new();
    let mut enough = false;
    if let Some(out) = child.stdout.take() {
        for line in BufReader::new(out).lines() {
            let line = line.map_err(Error::other)?;
            if line == "enough" {
                enough = true;
                break;
            }
            if let Some((name, number)) = line.split_once(' ') {
                told.insert(name.to_owned(), number.parse().map_err(Error::other)?);
            }
        }
    }
    child.kill().and_then(|()| child.wait()).map_err(Error::other)?;
    if enough { Ok(told) } else { Err(Error::other(format!("{role} failed"))) }
}

/// Does what a child does; returns only if that failed.
///
/// # Errors
/// What the engine says.
pub fn play(role: &str, dir: &Path) -> Result<()> {
    let url = std::env::var(URL).map_err(Error::other)?;
    let location = Location::new(url).environment(std::env::vars());
    let archive = ArchiveOptions::new(location).holder(HOLDER);
    // Kept open until the process is killed: nothing is closed in order.
    let _open = match role {
        UPLOAD => {
            upload(archive, dir)?;
            None
        }
        TAIL => Some(tail(archive, dir)?),
        _ => {
            restore_all(&archive, dir)?;
            None
        }
    };
    println!("enough");
    std::io::stdout().flush().map_err(Error::other)?;
    loop {
        thread::sleep(Duration::from_secs(3_600));
    }
}

fn upload(archive: ArchiveOptions, dir: &Path) -> Result<()> {
    // Merges that are due would be counted.
    let engine = Engine::open(dir)?;
    let mut packs = 0;
    while packs != engine.stats().pack_bytes_written || engine.is_checkpointing() {
        packs = engine.stats().pack_bytes_written;
        thread::sleep(Duration::from_secs(1));
    }
    engine.close()?;
    let before = resident_memory();
    reset_peak();
    let started = Instant::now();
    let engine = Options::new().archive(archive).open(dir)?;
    engine.archive_now()?;
    tell("seconds", started.elapsed().as_secs_f64());
    let stats = engine.stats();
    tell("peak", peak_memory().saturating_sub(before) as f64);
    tell("caches", (stats.cache_bytes + stats.resident_bytes) as f64);
    tell("bytes", stats.pack_bytes as f64);
    engine.close()
}

fn tail(archive: ArchiveOptions, dir: &Path) -> Result<Engine> {
    let engine = Options::new().archive(archive).open(dir)?;
    let namespace = engine.namespace("objects")?;
    for at in 0..TAIL_CHUNKS {
        let object = namespace.object(&tail_name(at))?;
        let commit = object.transact(|tx| {
            tx.durability(Durability::Archived)?;
            tx.put("v", [7; 100])
        });
        commit.wait()?;
    }
    Ok(engine)
}

/// The objects that [`TAIL`] makes.
pub(super) fn tail_name(at: usize) -> String {
    format!("tail {at}")
}

fn restore_all(archive: &ArchiveOptions, dir: &Path) -> Result<()> {
    let before = resident_memory();
    let started = Instant::now();
    let (mut fetched, mut peak) = (Duration::ZERO, 0);
    let report = restore(archive, dir, &RestoreOptions::new(), &mut |step| {
        if let RestoreStep::Fetching { .. } = step {
            (fetched, peak) = (started.elapsed(), peak_memory());
        }
    })?;
    tell("fetching", peak.saturating_sub(before) as f64);
    tell("all", peak_memory().saturating_sub(before) as f64);
    tell("seconds", fetched.as_secs_f64());
    tell("all-seconds", report.seconds);
    tell("bytes", report.pack_bytes as f64);
    tell("objects", report.objects as f64);
    Ok(())
}

fn tell(name: &str, number: f64) {
    println!("{name} {number}");
}

/// Most memory that this process had since [`reset_peak`], in bytes.
fn peak_memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).unwrap_or_default() * 1024
}

/// Where the kernel does not let it, the peak is that of the whole process: more, never less.
fn reset_peak() {
    let _ = std::fs::write("/proc/self/clear_refs", "5");
}
