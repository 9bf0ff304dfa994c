//! An engine whose archive is a real S3 server behind one that lies: what was said to be archived is in the archive, and who reads
//! it gets exactly that, or a typed error.

use std::{path::Path, time::Duration};

use lineal::{
    Engine, Error, Options,
    archive::{ArchiveOptions, Patience, RestoreOptions, restore},
};

use super::{
    lane::{Handles, LANES, NAMESPACE},
    proxy::{Proxy, Trouble},
    witness::{Witness, Word},
    worker,
};
use crate::{draw::Draw, s3::S3};

/// Waits of those who know that their store is troubled: a request is given up before a slow answer comes.
const PATIENCE: Patience = Patience {
    request_max: Duration::from_millis(600),
    operation_max: Duration::from_millis(1_800),
    first_wait_max: Duration::from_millis(5),
    wait_max: Duration::from_millis(50),
};

/// How long a gate is waited for while there is trouble.
const GATE: Duration = Duration::from_millis(1_500);

/// How long it may take until everything is archived when the trouble is over.
const CALM: Duration = Duration::from_secs(60);

/// What was done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Runs.
    pub runs: u64,
    /// Requests that met trouble.
    pub met: u64,
    /// Commits that were said to be archived.
    pub archived: u64,
    /// Commits of which that was not said.
    pub unsaid: u64,
    /// Openings and restores in trouble that were exact.
    pub exact: u64,
    /// Those that ended with a typed error.
    pub refused: u64,
}

impl Tally {
    /// Adds another one.
    pub fn add(&mut self, other: Tally) {
        self.runs += other.runs;
        self.met += other.met;
        self.archived += other.archived;
        self.unsaid += other.unsaid;
        self.exact += other.exact;
        self.refused += other.refused;
    }
}

fn archive(s3: &S3, endpoint: &str, path: &str) -> ArchiveOptions {
    let location = s3.location_by(endpoint, path);
    ArchiveOptions::new(location).holder("test").interval(Duration::from_millis(5)).patience(PATIENCE)
}

fn options(archive: &ArchiveOptions) -> Options {
    worker::options().archive(archive.clone())
}

/// Whether an error is one that an archive in trouble may give.
fn is_typed(error: &Error) -> bool {
    matches!(
        error,
        Error::Archive(_)
            | Error::Fenced { .. }
            | Error::Damaged { .. }
            | Error::Io { .. }
            | Error::Busy { .. }
    )
}

/// One run with one kind of trouble.
///
/// # Errors
/// What is wrong.
pub fn run(s3: &S3, below: &Path, trouble: Trouble, seed: u64, tally: &mut Tally) -> Result<(), String> {
    let mut draw = Draw::new(seed);
    let proxy = Proxy::start(s3.endpoint(), seed).map_err(|error| error.to_string())?;
    let path = format!("{trouble:?} {seed}").replace(['(', ')', ' '], "-");
    let archive_here = archive(s3, &proxy.endpoint(), &path);
    let dir = below.join(&path);
    let said = |what: &str, error: lineal::Error| format!("{what}: {error:?}");
    let mut witness = Witness::new();
    // Nothing that is archived only is waited for in here: the witness's floor is what was said to be.
    let engine = options(&archive_here).open(&dir).map_err(|error| said("opening", error))?;
    let percent = 10 + draw.below(40);
    write(&engine, &mut witness, 3, tally).map_err(|why| format!("without trouble: {why}"))?;
    proxy.trouble(Some((trouble, percent)));
    write(&engine, &mut witness, 6, tally)?;
    for outcome in [engine.checkpoint().map(drop), engine.compact()] {
        if let Err(error) = outcome
            && !is_typed(&error)
        {
            return Err(said("a checkpoint", error));
        }
    }
    write(&engine, &mut witness, 4, tally)?;
    drop(engine);

    // In trouble: opened again, and restored by way of the liar.
    match options(&archive_here).open(&dir) {
        Ok(engine) => {
            witness.judge(&engine, false, true).map_err(|why| format!("opened in trouble: {why}"))?;
            tally.exact += 1;
        }
        Err(error) if is_typed(&error) => tally.refused += 1,
        Err(error) => return Err(said("opened in trouble", error)),
    }
    restored(&archive_here, &below.join(format!("{path} lied")), &mut witness, tally)?;

    // Calm: everything gets through, and everything that was said is there.
    proxy.trouble(None);
    tally.met += proxy.met();
    let engine =
        options(&archive_here).open(&dir).map_err(|error| said("opening when all is well", error))?;
    let started = std::time::Instant::now();
    while let Err(error) = engine.archive_now() {
        if started.elapsed() > CALM {
            return Err(said("archiving when all is well", error));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    witness.judge(&engine, true, true).map_err(|why| format!("all is well: {why}"))?;
    engine.close().map_err(|error| said("closing", error))?;
    let straight = archive(s3, s3.endpoint(), &path);
    if !restored(&straight, &below.join(format!("{path} straight")), &mut witness, tally)? {
        return Err("it cannot be restored when all is well".to_owned());
    }
    tally.runs += 1;
    Ok(())
}

/// Commits that wait until they are archived, or no longer.
fn write(engine: &Engine, witness: &mut Witness, rounds: u64, tally: &mut Tally) -> Result<(), String> {
    let failed = |error: lineal::Error| format!("writing: {error:?}");
    let namespace = engine.namespace(NAMESPACE).map_err(failed)?;
    let lanes = Handles::all(&namespace).map_err(failed)?;
    engine.sync().map_err(failed)?;
    for _ in 0..rounds {
        for lane in 0..LANES {
            let mut at = super::lane::Lane::new(lane);
            at.go_to(lanes[lane].peek().map_err(failed)?)?;
            let step = at.step() + 1;
            witness.began(lane, step);
            let gate = Handles::submit(&lanes, lane, engine, step);
            match (gate.wait(), lanes[lane].archived().wait_timeout(GATE)) {
                (Ok(()), Ok(Ok(()))) => {
                    witness.hear(&[Word::Ack(lane, step)])?;
                    tally.archived += 1;
                }
                (Ok(()), Ok(Err(error))) if !is_typed(&error) => return Err(failed(error)),
                (Ok(()), _) => tally.unsaid += 1,
                (Err(error), _) => return Err(failed(error)),
            }
        }
    }
    Ok(())
}

/// Restores what the archive holds and judges it. Returns whether it could be.
fn restored(
    from: &ArchiveOptions,
    dir: &Path,
    witness: &mut Witness,
    tally: &mut Tally,
) -> Result<bool, String> {
    match restore(from, dir, &RestoreOptions::new(), &mut |_| ()) {
        Ok(_) => {}
        Err(error) if is_typed(&error) => {
            tally.refused += 1;
            return Ok(false);
        }
        Err(error) => return Err(format!("restoring: {error:?}")),
    }
    let engine = options(from).open_read_only(dir).map_err(|error| format!("a restored one: {error:?}"))?;
    witness.judge(&engine, false, true).map_err(|why| format!("restored: {why}"))?;
    engine.verify(&mut |_| ()).map_err(|error| format!("a restored one, verify: {error:?}"))?;
    tally.exact += 1;
    Ok(true)
}
