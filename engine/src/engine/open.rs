//! Opening a data directory: lock, identity, packs, log, replay, serve.

use std::{collections::HashMap, io, path::Path};

use lineal_snapshot::BlockCache;
use lineal_wal::{
    Disk, DiskLock, EngineId, Log, LogError, LogOptions, Lsn, NamespaceId, ObjectKey, Record, Recovery, Seq,
    planted::{self, Bug},
};

use super::{
    CheckpointState, Engine, EngineInner,
    ballast::Ballast,
    counters::Counters,
    handle::Handle,
    identity,
    maintenance::{self, Signal},
    pressure::{Limits, Pressure},
    summary::Summary,
    system,
    totals::Totals,
};
#[cfg(feature = "archive")]
use crate::archive::{self, Opening};
use crate::{
    Error, Options, Result,
    catalog::{Catalog, CatalogOptions, Opened},
    gate::{archived::ArchivedGate, inside::EngineTag, limit::Deadlines, output::Output},
    namespace::{NamespaceInner, Quotas},
    object::table::{KeyHash, Table},
    sync::{
        Arc, Mutex, OnceLock, RwLock,
        atomic::{AtomicBool, AtomicU32, AtomicU64},
    },
    transaction::{
        body::{BODY_DELTA_BYTES_MAX, Kind},
        ops::{get_varint, unzigzag},
    },
};

pub(crate) const LOCK_FILE: &str = "LOCK";

impl Engine {
    pub(crate) fn open_with(options: Options, dir: &Path, read_only: bool) -> Result<Engine> {
        if options.salvage && !read_only {
            return Err(Error::Invalid {
                reason: "salvage opens for reading only: use open_read_only".into(),
            });
        }
        let span = tracing::info_span!("open", dir = %dir.display(), read_only);
        let _entered = span.enter();
        let started = std::time::Instant::now();

        let disk = options.disk_for(dir);
        check_directory(&options, &*disk, dir, read_only)?;
        let lock = take_lock(&*disk, dir, read_only)?;
        let engine_id = read_identity(&options, &*disk, dir, read_only)?;
        if !read_only && options.ballast_bytes == 0 {
            // Of an engine that kept one.
            Ballast::discard(&*disk);
        }
        let mut far = Far::begin(&options, &disk, dir, engine_id, read_only)?;
        let local = Arc::clone(&disk);
        let disk = far.disk(disk);
        let files = match open_files(&options, &disk, engine_id, read_only, &mut far) {
            Err(Error::NoSpace { .. }) if !read_only && Ballast::discard(&*disk) => {
                tracing::info!("the disk is full: gave up the room kept for that to open the directory");
                open_files(&options, &disk, engine_id, read_only, &mut far)
            }
            opened => opened,
        }
        .map_err(|error| far.explain(error, &*local))?;
        let directory = Directory { path: dir, disk, lock, identity: engine_id, read_only };
        let engine = assemble(options, directory, files, far);
        engine.check_durability()?;
        engine.forget_dropped()?;
        engine.start_maintenance()?;
        #[cfg(feature = "archive")]
        if let Some(archive) = &engine.archive {
            archive.start(&engine);
        }
        tracing::info!(elapsed_us = started.elapsed().as_micros() as u64, line = %engine.line(), "open");
        Ok(Engine { inner: Handle::new(engine) })
    }
}

/// Refuses what is no data directory, before anything is created.
fn check_directory(options: &Options, disk: &dyn Disk, dir: &Path, read_only: bool) -> Result<()> {
    let refuse =
        |reason: &str| Error::InvalidDirectory { path: dir.to_path_buf(), reason: reason.to_owned() };
    if options.disk.is_none() && dir.exists() && !dir.is_dir() {
        return Err(refuse("it is a file"));
    }
    match disk.list("") {
        #[cfg(feature = "archive")]
        Ok(names) if !options.attaching && names.iter().any(|name| name == archive::ATTACHING) => {
            Err(refuse("it was being attached to an archive: attach it again"))
        }
        Ok(names) if names.iter().any(|name| name == identity::FILE) => Ok(()),
        Ok(names) if names.iter().all(|name| name == LOCK_FILE || name == identity::FILE_NEW) => {
            if read_only {
                return Err(refuse("it is empty"));
            }
            Ok(())
        }
        Ok(_) => Err(refuse("it holds other files and no LINEAL file")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            if read_only {
                return Err(Error::NotFound { what: format!("data directory {}", dir.display()) });
            }
            disk.create_dir("").map_err(|error| refuse(&format!("it cannot be created: {error}")))
        }
        Err(error) => Err(refuse(&format!("it cannot be listed: {error}"))),
    }
}

pub(crate) fn take_lock(disk: &dyn Disk, dir: &Path, read_only: bool) -> Result<Box<dyn DiskLock>> {
    disk.lock(LOCK_FILE, !read_only).map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock => Error::Locked { path: dir.to_path_buf() },
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => Error::InvalidDirectory {
            path: dir.to_path_buf(),
            reason: format!("it cannot be written ({error}): open it for reading only"),
        },
        io::ErrorKind::NotFound => Error::InvalidDirectory {
            path: dir.to_path_buf(),
            reason: format!("its file {LOCK_FILE} is missing: open it once for writing, which makes it anew"),
        },
        _ => Error::io("locking", LOCK_FILE, error),
    })
}

fn read_identity(options: &Options, disk: &dyn Disk, dir: &Path, read_only: bool) -> Result<EngineId> {
    match identity::read(disk)? {
        Some(id) => Ok(id),
        None if read_only => {
            Err(Error::InvalidDirectory { path: dir.to_path_buf(), reason: "it is empty".into() })
        }
        None => identity::create(disk, &options.random),
    }
}

/// What an engine has beyond its directory while it opens: the archive, if it has one.
struct Far {
    #[cfg(feature = "archive")]
    archive: Option<Opening>,
}

#[cfg(feature = "archive")]
impl Far {
    fn begin(
        options: &Options,
        local: &Arc<dyn Disk>,
        dir: &Path,
        engine: EngineId,
        read_only: bool,
    ) -> Result<Far> {
        let begin = |archive| {
            let known = options.manifest.as_deref();
            Opening::begin(archive, (&options.clock, &options.random), local, dir, engine, read_only, known)
        };
        if options.archive.is_none() {
            archive::refuse_without(&**local)?;
        }
        Ok(Far { archive: options.archive.as_ref().map(begin).transpose()? })
    }

    fn gate(&self) -> Arc<ArchivedGate> {
        self.archive.as_ref().map(Opening::gate).unwrap_or_default()
    }

    fn disk(&self, local: Arc<dyn Disk>) -> Arc<dyn Disk> {
        self.archive.as_ref().map_or(local, Opening::disk)
    }

    /// Takes the archive over. `recover` reads the log; it changes nothing.
    fn take_over(
        &mut self,
        (line, summary): (Lsn, &Summary),
        options: &Options,
        recover: impl FnOnce() -> Result<Log>,
    ) -> Result<()> {
        match &mut self.archive {
            Some(archive) => archive.take_over(line, summary, &recover()?, options.attaching),
            None => Ok(()),
        }
    }

    fn log_options(&self, options: LogOptions) -> LogOptions {
        match &self.archive {
            Some(archive) => archive.log_options(options),
            None => options,
        }
    }

    /// What is missing here may be in an archive that nobody named.
    fn explain(&self, error: Error, local: &dyn Disk) -> Error {
        match &self.archive {
            None => archive::explain_missing(error, local),
            Some(_) => error,
        }
    }
}

#[cfg(not(feature = "archive"))]
impl Far {
    fn begin(_: &Options, _: &Arc<dyn Disk>, _: &Path, _: EngineId, _: bool) -> Result<Far> {
        Ok(Far {})
    }

    fn gate(&self) -> Arc<ArchivedGate> {
        Arc::default()
    }

    fn disk(&self, local: Arc<dyn Disk>) -> Arc<dyn Disk> {
        local
    }

    fn take_over(&mut self, _: (Lsn, &Summary), _: &Options, _: impl FnOnce() -> Result<Log>) -> Result<()> {
        Ok(())
    }

    fn log_options(&self, options: LogOptions) -> LogOptions {
        options
    }

    fn explain(&self, error: Error, _: &dyn Disk) -> Error {
        error
    }
}

/// What the files of a directory are opened as.
struct Files {
    packs: Opened,
    log: Log,
    line: Lsn,
    summary: Summary,
    replay: Replay,
}

fn open_files(
    options: &Options,
    disk: &Arc<dyn Disk>,
    engine: EngineId,
    read_only: bool,
    far: &mut Far,
) -> Result<Files> {
    let cache = BlockCache::new(options.cache_bytes);
    let packs = open_packs(options, disk, &cache, engine, read_only)?;
    let (line, summary) = newest_line(&packs)?;
    if !read_only {
        far.take_over((line, &summary), options, || {
            // Twice read where there is an archive: its epoch, which the log is to be written in, comes after the look.
            let options = log_options(options, engine);
            let recovered =
                Log::recover(Arc::clone(disk), &options, line, Recovery::Strict, &mut |_, _| Ok(()))?;
            Ok(Log::start_read_only(Arc::clone(disk), recovered))
        })?;
    }
    let mut replay = Replay::new(summary.totals.clone());
    let log_options = far.log_options(log_options(options, engine));
    let log = open_log(options, log_options, disk, line, read_only, &mut replay)?;
    Ok(Files { packs, log, line, summary, replay })
}

fn open_packs(
    options: &Options,
    disk: &Arc<dyn Disk>,
    cache: &Arc<BlockCache>,
    engine: EngineId,
    read_only: bool,
) -> Result<Opened> {
    let catalog_options = CatalogOptions { read_only, redb_cache_bytes: options.catalog_cache_bytes };
    let opened = Catalog::open(Arc::clone(disk), Arc::clone(cache), engine, catalog_options)?;
    if let Some(damage) = &opened.table_damage {
        tracing::warn!(%damage, "the catalog is made anew from the packs");
    }
    for number in &opened.removed {
        tracing::info!(%number, "removed a pack that was unfinished or unlisted");
    }
    Ok(opened)
}

fn newest_line(packs: &Opened) -> Result<(Lsn, Summary)> {
    let Some(newest) = &packs.newest else {
        return Ok((Lsn(0), Summary::default()));
    };
    let summary = Summary::decode(&newest.meta).ok_or_else(|| Error::Damaged {
        file: newest.number.path(),
        offset: 0,
        object: None,
        reason: "the summary in its footer is not readable although their checksum is right".into(),
    })?;
    Ok((newest.line, summary))
}

fn log_options(options: &Options, engine: EngineId) -> LogOptions {
    LogOptions {
        segment_bytes_min: options.segment_bytes_min,
        segment_bytes_max: options.segment_bytes_max,
        threads: options.background,
        reserve_bytes: options.reserve_bytes,
        ..LogOptions::new(engine, Arc::clone(&options.random))
    }
}

fn open_log(
    options: &Options,
    log_options: LogOptions,
    disk: &Arc<dyn Disk>,
    line: Lsn,
    read_only: bool,
    replay: &mut Replay,
) -> Result<Log> {
    let mode = if options.salvage { Recovery::Salvage } else { Recovery::Strict };
    let recovered =
        Log::recover(Arc::clone(disk), &log_options, line, mode, &mut |record, _| replay.record(record))?;
    if read_only {
        return Ok(Log::start_read_only(Arc::clone(disk), recovered));
    }
    Ok(Log::start(Arc::clone(disk), log_options, recovered)?)
}

/// What replay learns from the log beyond the newest line. It applies nothing: an object is read when it is used.
struct Replay {
    objects: HashMap<ObjectKey, (Seq, Lsn), KeyHash>,
    purged: HashMap<ObjectKey, (Seq, Lsn), KeyHash>,
    totals: Totals,
    bytes: u64,
    commits: u64,
}

impl Replay {
    fn new(totals: Totals) -> Replay {
        Replay { objects: HashMap::default(), purged: HashMap::default(), totals, bytes: 0, commits: 0 }
    }

    fn record(&mut self, record: &Record<'_>) -> std::result::Result<(), LogError> {
        for part in record.parts() {
            self.commits += 1;
            self.bytes += part.body.len() as u64 + BODY_DELTA_BYTES_MAX;
            let mut body = part.body;
            let delta = get_varint(&mut body).map(unzigzag);
            let before = self.objects.insert(part.object, (part.seq, record.lsn));
            let can_be = part.seq > Seq::NONE && part.seq < Seq::END;
            let follows = before.is_none_or(|(seq, lsn)| part.seq == seq.next() && part.prev_lsn == lsn);
            let (Some(delta), true) = (delta, can_be && follows) else {
                let (seq, id) = (part.seq, part.object.id);
                return Err(LogError::stopped(format!(
                    "commit {seq} of object {id} does not follow the one before"
                )));
            };
            if Kind::from_byte(part.kind) == Some(Kind::Purge) {
                self.purged.insert(part.object, (part.seq, record.lsn));
            }
            self.totals.add_commit(part.object.namespace, part.flags, delta);
        }
        Ok(())
    }
}

/// A data directory that is this engine's.
struct Directory<'a> {
    path: &'a Path,
    disk: Arc<dyn Disk>,
    lock: Box<dyn DiskLock>,
    identity: EngineId,
    read_only: bool,
}

fn assemble(options: Options, directory: Directory<'_>, files: Files, far: Far) -> Arc<EngineInner> {
    let Directory { path, disk, lock, identity, read_only } = directory;
    let Files { packs, log, line, summary, replay } = files;
    let gate = far.gate();
    Arc::new_cyclic(|this: &std::sync::Weak<EngineInner>| {
        let tag = EngineTag(this.as_ptr().addr());
        let pressure = Pressure::new(Limits {
            unpacked_bytes: options.checkpoint_bytes,
            resident_bytes: options.memory_bytes,
        });
        if read_only {
            pressure.found(replay.bytes);
        } else {
            pressure.appended(replay.bytes);
        }
        let ballast = Ballast::new(Arc::clone(&disk), if read_only { 0 } else { options.ballast_bytes });
        let recovered = replay.objects.into_iter().map(|(key, (_, lsn))| (key, lsn)).collect();
        EngineInner {
            output: Arc::new(Output { log: log.clone(), archived: gate, tag }),
            fenced: OnceLock::new(),
            #[cfg(feature = "archive")]
            archive: far.archive.map(Opening::into_archive),
            dir: path.to_path_buf(),
            disk,
            lock: Mutex::new(Some(lock).filter(|_| !planted::on(Bug::LockDropped))),
            identity,
            read_only,
            closed: AtomicBool::new(false),
            log,
            catalog: packs.catalog,
            table: Table::new(),
            system: Arc::new(NamespaceInner::new(NamespaceId(0), "(system)", Quotas::default(), (0, 0))),
            namespaces: Mutex::new(HashMap::new()),
            recovered: RwLock::new(recovered),
            purged: RwLock::new(replay.purged),
            line: AtomicU64::new(line.0),
            // Nothing older is needed: what the last process kept for safety's sake can go with the next checkpoint.
            checkpointing: Mutex::new(CheckpointState {
                previous_line: line,
                summary,
                followed: None,
                settled: crate::proof::Settled::default(),
            }),
            pressure,
            retiring: super::retiring::Retiring::default(),
            ballast,
            deadlines: Deadlines::new(options.background),
            #[cfg(feature = "sql")]
            sql: crate::sql::Pool::new(),
            counters: Counters::new(replay.totals, replay.commits),
            tick: AtomicU32::new(1),
            signal: Arc::new(Signal::new()),
            maintenance: Mutex::new(None),
            options,
        }
    })
}

impl EngineInner {
    /// Takes what namespaces held that were dropped out of the totals.
    fn forget_dropped(self: &Arc<Self>) -> Result<()> {
        for id in system::dropped(self)? {
            self.checkpointing.lock().summary.totals.remove(id);
            self.counters.forget_namespace(id);
        }
        Ok(())
    }

    fn start_maintenance(self: &Arc<Self>) -> Result<()> {
        if self.read_only {
            return Ok(());
        }
        // Off the open path: the first user who writes makes the ballast. Not the thread, which would keep the engine for
        // a moment after it was dropped.
        self.ballast.owe();
        if self.options.background {
            *self.maintenance.lock() = Some(maintenance::start(self)?);
        }
        Ok(())
    }
}
