//! A data directory out of an archive: after the loss of the machine, or beside one that runs.
//!
//! ```text
//!   plan ─▶ DIR.restoring: packs (verified), log, identity ─▶ verify ─▶ to the moment asked for ─▶ DIR
//! ```
//! What has the final name is whole and verified. What was interrupted lies under the other name, does not open, and is
//! gone on with: packs that are there are compared and not fetched again.

use std::{
    path::{Path, PathBuf},
    time::Instant,
};

use lineal_snapshot::{PackNumber, archive::restore_packs};
use lineal_wal::{Disk, EngineId, LogError, Lsn, Micros, RealDisk, records};

use super::{
    ArchiveOptions,
    options::modest,
    part,
    reading::{Reading, make_lock},
};
use crate::{Error, Moment, Options, Result, Selector, engine::identity, sync::Arc};

/// What to restore, and how.
#[derive(Clone, Debug)]
pub struct RestoreOptions {
    pub(super) engine: Option<EngineId>,
    at: Option<Moment>,
    pub(super) part: Option<(String, Selector)>,
    parallel: usize,
    disk: Option<Arc<dyn Disk>>,
}

/// Source: a decision; hides the time of single requests, and holds as many pieces in memory.
const PARALLEL: usize = 4;

impl Default for RestoreOptions {
    fn default() -> Self {
        Self::new()
    }
}

impl RestoreOptions {
    /// Everything, as it is in the archive now.
    #[must_use]
    pub fn new() -> Self {
        Self { engine: None, at: None, part: None, parallel: PARALLEL, disk: None }
    }

    /// Of this engine, where a prefix holds the archives of several.
    #[must_use]
    pub fn engine(mut self, id: EngineId) -> Self {
        self.engine = Some(id);
        self
    }

    /// Every object as it was at this time, or after this position of the log. Its history stays, as after [`restore_many`](crate::Engine::restore_many): what came later can be
    /// read, and restored.
    #[must_use]
    pub fn at(mut self, moment: impl Into<Moment>) -> Self {
        self.at = Some(moment.into());
        self
    }

    /// Only these objects of a namespace, and what their histories read through to, in an engine of its own.
    #[must_use]
    pub fn only(mut self, namespace: impl Into<String>, selector: Selector) -> Self {
        self.part = Some((namespace.into(), selector));
        self
    }

    /// Packs that are fetched at once (default 4).
    #[must_use]
    pub fn parallel(mut self, packs: usize) -> Self {
        self.parallel = packs.clamp(1, 64);
        self
    }

    /// Restores everything onto this disk instead of the file system, for simulation: the target is a name only, and what
    /// stands on the disk is of an attempt at the same that was interrupted.
    #[must_use]
    pub fn disk(mut self, disk: Arc<dyn Disk>) -> Self {
        self.disk = Some(disk);
        self
    }

    /// How an engine is opened in what was restored.
    fn engine_options(&self) -> Options {
        self.disk.iter().fold(modest(), |options, disk| options.disk(Arc::clone(disk)))
    }
}

/// What a restore comes to, before it is done.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RestorePlan {
    /// Whose archive it is.
    pub engine: EngineId,
    /// Packs to fetch.
    pub packs: u64,
    /// Their bytes. Of a part of an engine, at most so many: only what it needs is read.
    pub pack_bytes: u64,
    /// Pieces of the log behind the packs.
    pub chunks: u64,
    /// Their bytes.
    pub chunk_bytes: u64,
    /// Requests that it will take, about.
    pub requests: u64,
    /// The newest commit.
    pub newest: Point,
}

/// A moment of an engine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Point {
    /// The position in the log.
    pub lsn: Lsn,
    /// When it was committed.
    pub time: Micros,
}

/// The moments that an archive can bring an engine back to.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Points {
    /// Whose archive it is.
    pub engine: EngineId,
    /// The newest epoch that wrote to it.
    pub epoch: u64,
    /// What packs hold; objects keep histories as their namespaces say.
    pub packed: Point,
    /// The newest commit.
    pub newest: Point,
    /// Packs, and their bytes.
    pub packs: u64,
    /// See `packs`.
    pub pack_bytes: u64,
    /// Pieces of the log behind the packs.
    pub chunks: u64,
    /// Their bytes.
    pub chunk_bytes: u64,
}

/// What was restored.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RestoreReport {
    /// The engine in the directory: the archive's own, or a new one for a part of it.
    pub engine: EngineId,
    /// Packs fetched, and those that an interrupted attempt had left.
    pub packs: u64,
    /// Bytes of packs.
    pub pack_bytes: u64,
    /// The newest commit that is there.
    pub newest: Lsn,
    /// Objects verified.
    pub objects: u64,
    /// Objects that could not be brought back to the moment asked for, each with the reason.
    pub failed: Vec<(String, String)>,
    /// Requests made.
    pub requests: u64,
    /// Seconds that it took.
    pub seconds: f64,
}

/// How far a restore is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RestoreStep {
    /// Bytes of packs fetched, of so many.
    Fetching {
        /// Fetched.
        bytes: u64,
        /// Of so many.
        of: u64,
    },
    /// Objects verified so far.
    Verifying {
        /// Verified.
        objects: u64,
    },
    /// Objects brought back to the moment so far.
    Returning {
        /// Brought back, or left as they were.
        objects: u64,
    },
}

/// What an archive can bring back. Reads the manifest and the tail of the log.
///
/// # Errors
/// [`Error::NotFound`] if there is none; [`Error::Archive`].
pub fn points(from: &ArchiveOptions, engine: Option<EngineId>) -> Result<Points> {
    points_of(&Reading::open(from, &Options::new().random, engine)?)
}

pub(super) fn points_of(reading: &Reading) -> Result<Points> {
    let packed = reading
        .note()?
        .root
        .map_or(Point::default(), |(_, root)| Point { lsn: Lsn(root.line), time: root.time });
    let mut points = Points {
        engine: reading.engine,
        epoch: reading.manifest.epoch.0,
        packed,
        newest: packed,
        packs: reading.manifest.packs.len() as u64,
        pack_bytes: reading.manifest.packs.iter().map(|pack| pack.bytes).sum(),
        chunks: 0,
        chunk_bytes: 0,
    };
    let mut chunks = reading.chunks();
    while let Some((_, chunk)) = chunks.next()? {
        points.chunks += 1;
        points.chunk_bytes += chunk.bytes.len() as u64;
        for record in records(&chunk.bytes) {
            let record = record.map_err(LogError::from)?;
            points.newest = points.newest.max_by_lsn(Point { lsn: record.lsn, time: record.time });
        }
    }
    Ok(points)
}

impl Point {
    fn max_by_lsn(self, other: Point) -> Point {
        if other.lsn > self.lsn { other } else { self }
    }
}

/// What [`restore`] would do. Changes nothing.
///
/// # Errors
/// As [`points`].
pub fn plan(from: &ArchiveOptions, options: &RestoreOptions) -> Result<RestorePlan> {
    let points = points(from, options.engine)?;
    let newest = points.newest;
    let is_beyond = |at: &Moment| match at {
        Moment::Time(time) => *time > newest.time,
        Moment::Lsn(lsn) => *lsn > newest.lsn,
    };
    if let Some(at) = options.at.filter(is_beyond) {
        let reason = format!("the archive ends at {} (lsn {}), before {at}", newest.time, newest.lsn);
        return Err(Error::Invalid { reason });
    }
    // Packs are read in pieces of 8 MiB; one request more finds the end of each epoch's log.
    let pieces = points.pack_bytes.div_ceil(8 << 20).max(points.packs);
    Ok(RestorePlan {
        engine: points.engine,
        packs: points.packs,
        pack_bytes: points.pack_bytes,
        chunks: points.chunks,
        chunk_bytes: points.chunk_bytes,
        requests: 2 + pieces + points.chunks,
        newest: points.newest,
    })
}

/// Restores an archive, or a part of it, into `to`, which must not exist or be empty. When it returns, `to` opens and
/// every hash and chain in it was verified. `told` hears how far it is.
///
/// The archive is only read: whoever writes it goes on. A whole engine keeps its identity, so that it can go on with
/// its archive where the old one is lost; a part is an engine of its own.
///
/// # Errors
/// [`Error::InvalidDirectory`]; [`Error::NotFound`]; [`Error::Archive`] naming the key; [`Error::NoSpace`];
/// [`Error::Damaged`]. Nothing that opens is left then; run again, it goes on where it ended.
pub fn restore(
    from: &ArchiveOptions,
    to: &Path,
    options: &RestoreOptions,
    told: &mut dyn FnMut(RestoreStep),
) -> Result<RestoreReport> {
    let began = Instant::now();
    let is_real = options.disk.is_none();
    if is_real {
        check_target(to)?;
    }
    let settings = modest();
    let reading = Reading::open(from, &settings.random, options.engine)?;
    let work = work_directory(to);
    if is_real {
        begin(&work, reading.engine, options)?;
    }
    let disk = options.disk.clone().unwrap_or_else(|| Arc::new(RealDisk::new(work.clone())));
    let mut report = RestoreReport {
        engine: reading.engine,
        packs: reading.manifest.packs.len() as u64,
        pack_bytes: reading.manifest.packs.iter().map(|pack| pack.bytes).sum(),
        newest: Lsn(0),
        objects: 0,
        failed: Vec::new(),
        requests: 0,
        seconds: 0.0,
    };
    // An identity that stands already is of an attempt that came to the end of this.
    if identity::read(&*disk)?.is_none() {
        match &options.part {
            None => fetch_all(&reading, &disk, &settings, options.parallel, told)?,
            Some(_) if !is_real => {
                return Err(Error::Invalid { reason: "a part needs the file system".into() });
            }
            Some((namespace, selector)) => {
                part::fetch(from, &reading, &work, (namespace, selector), &mut report)?;
            }
        }
    }
    if let Err(error) = verify(&work, options, &mut report, told) {
        // What is here is compared and fetched again by the next attempt.
        let _ = disk.remove(identity::FILE);
        return Err(error);
    }
    if let Some(at) = options.at {
        go_back(&work, at, options, &mut report, told)?;
    }
    if is_real {
        place(&work, to)?;
    }
    report.requests += requests(&reading);
    report.seconds = began.elapsed().as_secs_f64();
    Ok(report)
}

/// Restores into a directory beside `scratch`, which must not exist or be empty, verifies, and removes it again: proves that
/// the archive is whole.
///
/// # Errors
/// As [`restore`]; nothing is left.
pub fn verify_only(
    from: &ArchiveOptions,
    scratch: &Path,
    options: &RestoreOptions,
    told: &mut dyn FnMut(RestoreStep),
) -> Result<RestoreReport> {
    check_target(scratch)?;
    // A name of its own, so that nothing is removed that somebody else made.
    let mut name = scratch.file_name().unwrap_or_default().to_os_string();
    name.push(format!(".verify-{:016x}", (Options::new().random)()));
    let made = scratch.with_file_name(name);
    let report = restore(from, &made, options, told);
    let removed = remove_folder(&made).and_then(|()| remove_folder(&work_directory(&made)));
    let report = report?;
    removed.map(|()| report)
}

/// Removes a folder with all that is in it, if it is there.
pub(super) fn remove_folder(folder: &Path) -> Result<()> {
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::io("removing", folder.display().to_string(), error))
        }
        _ => Ok(()),
    }
}

fn requests(reading: &Reading) -> u64 {
    let traffic = reading.connection.client.traffic();
    traffic.gets + traffic.puts + traffic.deletes
}

fn fetch_all(
    reading: &Reading,
    disk: &Arc<dyn Disk>,
    settings: &Options,
    parallel: usize,
    told: &mut dyn FnMut(RestoreStep),
) -> Result<()> {
    let of = reading.manifest.packs.iter().map(|pack| pack.bytes).sum();
    let (client, keys, manifest) =
        (reading.connection.client.clone(), reading.keys(), reading.manifest.clone());
    let (target, mut fetched) = (Arc::clone(disk), 0);
    reading.connection.run_telling(
        move |progress| async move {
            let progress = Arc::new(move |more: u64| progress.tell(more));
            restore_packs(&client, &keys, &manifest, &target, parallel, progress).await
        },
        &mut |more| {
            fetched += more;
            told(RestoreStep::Fetching { bytes: fetched, of });
        },
    )?;
    reading.fetch_roots(disk)?;
    reading.seed_log(disk, settings)?;
    make_lock(&**disk)?;
    reading.seal_directory(&**disk, PackNumber(0), false)
}

/// Checks everything that was restored.
fn verify(
    work: &Path,
    options: &RestoreOptions,
    report: &mut RestoreReport,
    told: &mut dyn FnMut(RestoreStep),
) -> Result<()> {
    let engine = options.engine_options().open_read_only(work)?;
    let verified = engine.verify(&mut |objects| told(RestoreStep::Verifying { objects }))?;
    report.objects = verified.objects;
    report.newest = engine.inner.log.durable().max(engine.inner.line());
    report.engine = engine.id();
    engine.close()
}

/// Brings every object back to where it was at a time.
fn go_back(
    work: &Path,
    at: Moment,
    options: &RestoreOptions,
    report: &mut RestoreReport,
    told: &mut dyn FnMut(RestoreStep),
) -> Result<()> {
    let engine = options.engine_options().open(work)?;
    let mut objects = 0;
    for namespace in engine.namespaces()? {
        engine.restore_many(&namespace, &Selector::All, at, "", &mut |object| {
            objects += 1;
            told(RestoreStep::Returning { objects });
            if let Err(error) = object.outcome {
                let name = object.name.unwrap_or_else(|| object.id.to_string());
                report.failed.push((format!("{}/{name}", namespace.name()), error.to_string()));
            }
        })?;
    }
    engine.close()
}

/// What an attempt that was interrupted was about.
const REQUEST: &str = "RESTORING";

/// Makes the work directory, or goes on in the one of an attempt at the same. One of another is begun anew, and so is a
/// part, of which nothing can be gone on with.
fn begin(work: &Path, engine: EngineId, options: &RestoreOptions) -> Result<()> {
    let failed = |error| Error::io("creating", work.display().to_string(), error);
    let request = format!("{engine} {:?} {:?}", options.part, options.at);
    let note = work.join(REQUEST);
    let goes_on = std::fs::read_to_string(&note).is_ok_and(|found| found == request)
        && (options.part.is_none() || work.join(identity::FILE).exists());
    if !goes_on {
        remove_folder(work)?;
        std::fs::create_dir_all(work).map_err(failed)?;
        std::fs::write(&note, request).map_err(failed)?;
    }
    Ok(())
}

/// Refuses a target that holds something.
fn check_target(to: &Path) -> Result<()> {
    let refuse = |reason: String| Err(Error::InvalidDirectory { path: to.to_path_buf(), reason });
    match std::fs::read_dir(to).map(|mut entries| entries.next().is_none()) {
        Ok(true) => Ok(()),
        Ok(false) => refuse("it is not empty: restore into a new directory".into()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => refuse(format!("it cannot be read ({error})")),
    }
}

/// Where a restore is made: beside its target, so that it is put in place by a rename.
fn work_directory(to: &Path) -> PathBuf {
    let mut name = to.file_name().unwrap_or_default().to_os_string();
    name.push(".restoring");
    to.with_file_name(name)
}

/// Gives what was restored and verified its name. Durable when it returns.
fn place(work: &Path, to: &Path) -> Result<()> {
    let place = || {
        std::fs::remove_file(work.join(REQUEST))?;
        match std::fs::remove_dir(to) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        std::fs::rename(work, to)?;
        let parent = to.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        std::fs::File::open(parent)?.sync_all()
    };
    place().map_err(|error| Error::io("placing", to.display().to_string(), error))
}
