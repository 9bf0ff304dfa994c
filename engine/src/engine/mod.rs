//! The engine: one open data directory, one log, one epoch.

pub(crate) mod ballast;
pub(crate) mod counters;
pub(crate) mod handle;
pub(crate) mod holds;
pub(crate) mod identity;
pub(crate) mod listing;
pub(crate) mod maintenance;
pub(crate) mod open;
pub(crate) mod pressure;
pub(crate) mod purged;
pub(crate) mod retiring;
pub(crate) mod stats;
pub(crate) mod summary;
pub(crate) mod system;
pub(crate) mod totals;

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    task::{Context, Poll},
    time::{Duration, Instant},
};

use lineal_wal::{Disk, DiskLock, EngineId, Log, Lsn, NamespaceId, ObjectKey, Seq};

use self::{
    ballast::Ballast, counters::Counters, handle::Handle, maintenance::Signal, pressure::Pressure,
    summary::Summary, system::Found,
};
pub use self::{listing::Objects, stats::Stats};
#[cfg(feature = "archive")]
use crate::archive::Archive;
use crate::{
    Durability, Error, Gated, Namespace, Object, Options, Result, Tx,
    catalog::Catalog,
    checkpoint::{self, Checkpointed},
    gate::{inside::Inside, limit::Deadlines, output::Output},
    namespace::NamespaceInner,
    object::{
        cell::Cell,
        id,
        resident::Resident,
        table::{KeyHash, Table},
    },
    sync::{
        Arc, Mutex, OnceLock, RwLock,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
        thread::JoinHandle,
    },
    transaction::commit,
};

/// How often the last handle's drop looks whether the engine's threads have ended.
const LOOKS: Duration = Duration::from_millis(1);

/// An open data directory. Cheap to clone; all clones are the same engine.
///
/// ```
/// # fn main() -> lineal::Result<()> {
/// # let dir = tempfile::tempdir().unwrap();
/// let engine = lineal::Engine::open(dir.path())?;
/// let rooms = engine.namespace("rooms")?;
/// rooms.object("lobby")?.transact(|tx| tx.put("topic", "hello")).wait()?;
/// engine.close()
/// # }
/// ```
#[derive(Clone)]
pub struct Engine {
    pub(crate) inner: Handle,
}

pub(crate) struct EngineInner {
    pub(crate) options: Options,
    dir: PathBuf,
    pub(crate) disk: Arc<dyn Disk>,
    lock: Mutex<Option<Box<dyn DiskLock>>>,
    pub(crate) identity: EngineId,
    read_only: bool,
    closed: AtomicBool,
    pub(crate) log: Log,
    pub(crate) output: Arc<Output>,
    pub(crate) catalog: Catalog,
    table: Table,
    /// The engine's own namespace, number 0.
    pub(crate) system: Arc<NamespaceInner>,
    namespaces: Mutex<HashMap<String, Arc<NamespaceInner>>>,
    /// Where the newest commit stands of objects that replay found in the log, until a checkpoint has packed them.
    recovered: RwLock<HashMap<ObjectKey, Lsn, KeyHash>>,
    /// Seq and position of the newest purge of objects that were purged after the line: packs do not know of it yet.
    purged: RwLock<HashMap<ObjectKey, (Seq, Lsn), KeyHash>>,
    /// The newest checkpoint's line. Written under `checkpointing`.
    line: AtomicU64,
    pub(crate) checkpointing: Mutex<CheckpointState>,
    pub(crate) pressure: Pressure,
    pub(crate) retiring: retiring::Retiring,
    /// Room for the work that frees room.
    pub(crate) ballast: Ballast,
    /// Of those who wait asynchronously, for a turn or for room.
    pub(crate) deadlines: Arc<Deadlines>,
    pub(crate) counters: Counters,
    /// Connections to the databases in objects.
    #[cfg(feature = "sql")]
    pub(crate) sql: crate::sql::Pool,
    tick: AtomicU32,
    signal: Arc<Signal>,
    maintenance: Mutex<Option<JoinHandle<()>>>,
    /// Why nobody may write any more, if somebody else has the archive.
    fenced: OnceLock<Error>,
    #[cfg(feature = "archive")]
    pub(crate) archive: Option<Archive>,
}

/// What one checkpoint hands to the next.
pub(crate) struct CheckpointState {
    /// The line of the checkpoint before the newest: the log after it is kept.
    pub(crate) previous_line: Lsn,
    /// Objects and bytes by namespace, as of the newest line.
    pub(crate) summary: Summary,
    /// When running time last followed the wall clock, by that; `None` before this process has looked.
    pub(crate) followed: Option<lineal_wal::Micros>,
    /// Which files of the tree of roots are known to be there.
    pub(crate) settled: crate::proof::Settled,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").field("dir", &self.inner.dir).finish_non_exhaustive()
    }
}

impl Engine {
    /// Opens a data directory with the default [`Options`], creating it if it is missing.
    ///
    /// # Errors
    /// As [`Options::open`].
    pub fn open(dir: impl AsRef<Path>) -> Result<Engine> {
        Options::new().open(dir)
    }

    /// Opens a data directory for reading; no byte of it changes.
    ///
    /// # Errors
    /// As [`Options::open_read_only`].
    pub fn open_read_only(dir: impl AsRef<Path>) -> Result<Engine> {
        Options::new().open_read_only(dir)
    }

    /// The namespace called `name`, made if it is missing.
    ///
    /// # Errors
    /// [`Error::InvalidName`], [`Error::TooLarge`]; [`Error::NotFound`] if it is missing and the engine is
    /// read-only; [`Error::InsideTurn`].
    pub fn namespace(&self, name: &str) -> Result<Namespace> {
        id::check_name(name)?;
        self.inner.check_open()?;
        let mut open = self.inner.namespaces.lock();
        if let Some(inner) = open.get(name) {
            return Ok(Namespace { engine: self.inner.clone(), inner: Arc::clone(inner) });
        }
        let found = match system::find_namespace(&self.inner, name)? {
            Some(found) => found,
            None if self.inner.read_only => {
                return Err(Error::NotFound { what: format!("namespace {name:?}") });
            }
            None => system::create_namespace(&self.inner, name)?,
        };
        Ok(self.register(&mut open, name, found))
    }

    /// The namespace called `name`, if it is there.
    ///
    /// # Errors
    /// [`Error::NotFound`]; else as [`namespace`](Engine::namespace).
    pub fn existing_namespace(&self, name: &str) -> Result<Namespace> {
        id::check_name(name)?;
        self.inner.check_open()?;
        let mut open = self.inner.namespaces.lock();
        if let Some(inner) = open.get(name) {
            return Ok(Namespace { engine: self.inner.clone(), inner: Arc::clone(inner) });
        }
        let found = system::find_namespace(&self.inner, name)?
            .ok_or_else(|| Error::NotFound { what: format!("namespace {name:?}") })?;
        Ok(self.register(&mut open, name, found))
    }

    fn register(
        &self,
        open: &mut HashMap<String, Arc<NamespaceInner>>,
        name: &str,
        found: Found,
    ) -> Namespace {
        let usage = self.inner.usage_at_open(found.id);
        let inner = Arc::new(NamespaceInner::new(found.id, name, found.quotas, usage));
        inner.set_level(self.inner.level_with(found.durability));
        open.insert(name.to_owned(), Arc::clone(&inner));
        Namespace { engine: self.inner.clone(), inner }
    }

    /// All namespaces, by name.
    ///
    /// # Errors
    /// As [`namespace`](Engine::namespace).
    pub fn namespaces(&self) -> Result<Vec<Namespace>> {
        self.inner.check_open()?;
        // Under the lock, so that none is dropped between the reading and the registering.
        let mut open = self.inner.namespaces.lock();
        let found = system::namespaces(&self.inner)?;
        Ok(found
            .into_iter()
            .map(|(name, found)| match open.get(&name) {
                Some(inner) => Namespace { engine: self.inner.clone(), inner: Arc::clone(inner) },
                None => self.register(&mut open, &name, found),
            })
            .collect())
    }

    /// Runs `f` as one transaction over several objects of this engine: all of it commits or nothing.
    ///
    /// Turns are taken in the order of the objects' keys, so that two such transactions never wait for each
    /// other. The commits of one transaction are never torn apart, by a crash, a restore or a checkpoint.
    ///
    /// # Errors
    /// As [`Object::transact`]; [`Error::Invalid`] if an object is named twice; [`Error::OtherEngine`].
    ///
    /// ```
    /// # fn main() -> lineal::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let engine = lineal::Engine::open(dir.path())?;
    /// let accounts = engine.namespace("accounts")?;
    /// let (ann, bob) = (accounts.object("ann")?, accounts.object("bob")?);
    /// engine.transact_many([&ann, &bob], |[ann, bob]| {
    ///     ann.put("balance", "90")?;
    ///     bob.put("balance", "110")
    /// }).wait()
    /// # }
    /// ```
    pub fn transact_many<T, const N: usize>(
        &self,
        objects: [&Object; N],
        f: impl FnOnce([&mut Tx<'_>; N]) -> Result<T>,
    ) -> Gated<T> {
        self.transact_all(&objects, |txs| {
            let each: Vec<&mut Tx<'_>> = txs.iter_mut().collect();
            let each: [&mut Tx<'_>; N] = each.try_into().expect("there is one transaction for each object");
            f(each)
        })
    }

    /// As [`transact_many`](Engine::transact_many), for a number of objects that is not known when compiling.
    ///
    /// # Errors
    /// As [`transact_many`](Engine::transact_many).
    pub fn transact_all<T>(
        &self,
        objects: &[&Object],
        f: impl FnOnce(&mut [Tx<'_>]) -> Result<T>,
    ) -> Gated<T> {
        commit::transact_many(&self.inner, objects, f)
    }

    /// Makes everything durable that was committed before the call.
    ///
    /// # Errors
    /// [`Error::Poisoned`], [`Error::InsideTurn`], [`Error::Closed`].
    pub fn sync(&self) -> Result<()> {
        self.inner.check_open()?;
        Inside::refuse(self.inner.output.tag)?;
        self.inner.log.sync()?;
        Ok(())
    }

    /// Packs everything that is durable and not packed yet, and lets the log reuse its space. Runs by itself
    /// when needed.
    ///
    /// # Errors
    /// [`Error::NoSpace`], [`Error::Poisoned`], [`Error::Damaged`], [`Error::ReadOnly`], [`Error::InsideTurn`].
    pub fn checkpoint(&self) -> Result<Checkpointed> {
        self.inner.check_writable()?;
        Inside::refuse(self.inner.output.tag)?;
        checkpoint::checkpoint(&self.inner)
    }

    /// Merges all packs into one, gives up the history that is beyond its namespace's retention, and takes what is left of
    /// purged objects out of catalog and log, which [`verify_purged`](Engine::verify_purged) proves. The background
    /// merges packs of about one size when there are many, and does this when a good part of the history is beyond. The caller
    /// waits; the work takes what processor time commits leave.
    ///
    /// # Errors
    /// As [`checkpoint`](Engine::checkpoint).
    pub fn compact(&self) -> Result<()> {
        self.inner.check_writable()?;
        Inside::refuse(self.inner.output.tag)?;
        maintenance::as_guest(&self.inner, |engine| {
            while checkpoint::compact(engine, true)? {}
            Ok(())
        })
    }

    /// Lets the retention's clock follow the wall clock all the way. By itself it follows a leap of the wall clock by
    /// a day at most, so that a clock that was set wrong takes no history away.
    ///
    /// # Errors
    /// As [`checkpoint`](Engine::checkpoint).
    pub fn trust_clock(&self) -> Result<()> {
        self.inner.check_writable()?;
        Inside::refuse(self.inner.output.tag)?;
        system::follow_clock(&self.inner, true).map(|_| ())
    }

    /// Makes the catalog anew out of the packs' own indexes. Needed when it was damaged; opening an engine does it
    /// by itself when it notices.
    ///
    /// # Errors
    /// As [`checkpoint`](Engine::checkpoint).
    pub fn rebuild_catalog(&self) -> Result<()> {
        let _state = self.inner.checkpointing.lock();
        self.inner.check_writable()?;
        self.inner.catalog.rebuild()?;
        Ok(())
    }

    /// Whether a checkpoint or a merge of packs is running at the moment.
    pub fn is_checkpointing(&self) -> bool {
        self.inner.checkpointing.try_lock().is_none()
    }

    /// Counters and sizes, now.
    pub fn stats(&self) -> Stats {
        stats::collect(&self.inner)
    }

    /// Checks every file, checksum and chain, with `progress` called with the objects checked so far.
    ///
    /// # Errors
    /// The first damage found, with file, offset and object.
    pub fn verify(&self, progress: &mut dyn FnMut(u64)) -> Result<stats::VerifyReport> {
        stats::verify(self, progress)
    }

    /// Closes the engine: everything is durable, packed and checked when it returns, the log is given back, and
    /// the directory can be opened again. Handles that are left fail with [`Error::Closed`].
    ///
    /// # Errors
    /// As [`checkpoint`](Engine::checkpoint). The directory is released also then; nothing acknowledged is lost.
    pub fn close(self) -> Result<()> {
        self.inner.close()
    }

    /// The data directory.
    pub fn dir(&self) -> &Path {
        &self.inner.dir
    }

    /// The engine's identity, made with its directory.
    pub fn id(&self) -> EngineId {
        self.inner.identity
    }
}

impl EngineInner {
    #[inline]
    pub(crate) fn check_open(&self) -> Result<()> {
        if self.closed.load(Ordering::Acquire) { Err(Error::Closed) } else { Ok(()) }
    }

    #[inline]
    pub(crate) fn check_writable(&self) -> Result<()> {
        self.check_open()?;
        if let Some(error) = self.fenced.get() {
            return Err(error.clone());
        }
        if self.read_only { Err(Error::ReadOnly) } else { Ok(()) }
    }

    /// Nothing is written from here on, because somebody else has the archive.
    #[cfg(feature = "archive")]
    pub(crate) fn fence(&self, error: Error) {
        // Only the first says why.
        let _ = self.fenced.set(error);
        self.pressure.relieve(true);
    }

    /// Lets the log go up to `through`, as far as the archive does not need it.
    pub(crate) fn release_log(&self, through: Lsn) -> Result<()> {
        #[cfg(feature = "archive")]
        let through = self.archive.as_ref().map_or(through, |archive| archive.may_release(through));
        Ok(self.log.release(through)?)
    }

    /// Says that other packs are live.
    pub(crate) fn packs_changed(&self) {
        #[cfg(feature = "archive")]
        if let Some(archive) = &self.archive {
            archive.packs_changed();
        }
    }

    /// The archive holds more than before: log may go that was kept for it, and packs may lose their local copies.
    #[cfg(feature = "archive")]
    pub(crate) fn archive_moved(&self) {
        if self.options.background {
            self.signal.raise();
        }
    }

    /// What gates of a namespace wait for that is set to `durability`. An engine that is open for reading archives nothing,
    /// and shows what is durable here.
    pub(crate) fn level_with(&self, durability: Durability) -> Durability {
        if self.read_only { Durability::Local } else { durability.max(self.options.durability) }
    }

    /// Refuses [`Options::durability`] where no archive was attached. To be called once it would have been.
    pub(crate) fn check_durability(&self) -> Result<()> {
        self.output.check(self.level_with(Durability::Local))
    }

    pub(crate) fn is_read_only(&self) -> bool {
        self.read_only
    }

    /// The cell of an object.
    pub(crate) fn cell(&self, key: ObjectKey) -> Arc<Cell> {
        let cell = self.table.get(key, || self.recovered.read().get(&key).copied().unwrap_or_default());
        if self.table.wants_sweep() {
            self.signal.raise();
        }
        cell
    }

    pub(crate) fn table(&self) -> &Table {
        &self.table
    }

    /// Keys in the namespace with commits after the line, sorted.
    pub(crate) fn unpacked_keys(&self, namespace: NamespaceId) -> Vec<ObjectKey> {
        let mut keys = self.table.unpacked_keys(namespace, self.line());
        keys.extend(self.recovered.read().keys().filter(|key| key.namespace == namespace));
        keys.sort_unstable();
        keys.dedup();
        keys
    }

    #[inline]
    pub(crate) fn line(&self) -> Lsn {
        Lsn(self.line.load(Ordering::Acquire))
    }

    pub(crate) fn set_line(&self, line: Lsn) {
        self.line.store(line.0, Ordering::Release);
        // All of these were in the log when the engine was opened, and the first line after that is behind them.
        self.recovered.write().clear();
        self.purged.write().retain(|_, (_, lsn)| *lsn > line);
    }

    /// The newest purge of an object that packs may not know of yet; 0 if there is none.
    pub(crate) fn purged(&self, key: ObjectKey) -> Seq {
        self.purged.read().get(&key).map(|(seq, _)| *seq).unwrap_or_default()
    }

    pub(crate) fn set_purged(&self, key: ObjectKey, seq: Seq, lsn: Lsn) {
        self.purged.write().insert(key, (seq, lsn));
    }

    /// Objects that exist and their bytes, over all namespaces.
    pub(crate) fn usage(&self) -> (u64, u64) {
        let open = self.namespaces.lock();
        let (mut objects, mut bytes) = self
            .counters
            .totals_at_open()
            .sum_without(|id| id == self.system.id || open.values().any(|namespace| namespace.id == id));
        for namespace in open.values() {
            let (more_objects, more_bytes) = namespace.used();
            objects += more_objects;
            bytes += more_bytes;
        }
        (u64::try_from(objects).unwrap_or(0), u64::try_from(bytes).unwrap_or(0))
    }

    fn usage_at_open(&self, namespace: NamespaceId) -> (i64, i64) {
        self.counters.totals_at_open().of(namespace)
    }

    pub(crate) fn forget_namespace(&self, id: NamespaceId) {
        self.namespaces.lock().retain(|_, inner| inner.id != id);
        self.counters.forget_namespace(id);
        self.checkpointing.lock().summary.totals.remove(id);
    }

    pub(crate) fn draw_salt(&self) -> [u8; 16] {
        let mut salt = [0; 16];
        salt[..8].copy_from_slice(&(self.options.random)().to_le_bytes());
        salt[8..].copy_from_slice(&(self.options.random)().to_le_bytes());
        salt
    }

    /// Lets a caller in that is about to take a turn, or makes it wait while memory or log are over their
    /// hard limits.
    #[inline]
    pub(crate) fn admit(self: &Arc<Self>) -> Result<()> {
        self.check_open()?;
        if !self.pressure.is_shut() {
            return Ok(());
        }
        self.make_room_soon();
        self.pressure.wait(self.options.wait_max)
    }

    /// As `admit`, without blocking the thread.
    pub(crate) fn poll_admit(self: &Arc<Self>, cx: &mut Context<'_>) -> Poll<()> {
        if !self.pressure.is_shut() {
            return Poll::Ready(());
        }
        self.make_room_soon();
        self.pressure.poll_wait(cx)
    }

    fn make_room_soon(self: &Arc<Self>) {
        if self.read_only {
            // Everything can be read again, from the packs and from the log.
            maintenance::hibernate_idle(self);
            self.pressure.relieve(true);
        } else if self.options.background {
            self.signal.raise();
        } else {
            // What fails here fails again, with its reason, where the caller's own commit needs the room.
            if maintenance::make_room(self).is_err() {
                self.pressure.relieve(true);
            }
        }
    }

    /// Counts a commit that was appended to the log.
    #[inline]
    pub(crate) fn appended(&self, bytes: u64, commits: u64) {
        self.counters.committed(commits);
        if self.pressure.appended(bytes) {
            self.signal.raise();
        }
        if self.ballast.was_outgrown_by(bytes, self.pressure.unpacked_bytes()) {
            if self.options.background {
                self.signal.raise();
            } else {
                self.ballast.owe();
            }
        }
    }

    /// Refuses a user's commit while the room that checkpoints need is owed and cannot be made again.
    #[cold]
    pub(crate) fn settle_ballast(&self) -> Result<()> {
        let outcome = match self.checkpointing.try_lock() {
            Some(_state) => self.ballast.provide(self.pressure.unpacked_bytes()),
            // A checkpoint that is running sees to it when it ends, and may need the room until then.
            None if !self.ballast.is_given_up() => Ok(()),
            None => {
                let detail = "the room that checkpoints need was given up to the one that is running".into();
                Err(Error::NoSpace { detail })
            }
        };
        if outcome.is_err() {
            self.signal.raise();
        }
        outcome
    }

    /// Charges the memory budget for what an object grew or shrank by.
    #[inline]
    pub(crate) fn charge(&self, resident: &mut Resident) {
        let now = resident.memory_bytes();
        if now != resident.charged {
            if self.pressure.charged(resident.charged, now) {
                self.signal.raise();
            }
            resident.charged = now;
        }
    }

    #[inline]
    pub(crate) fn tick(&self) -> u32 {
        self.tick.load(Ordering::Relaxed)
    }

    pub(crate) fn next_tick(&self) {
        self.tick.fetch_add(1, Ordering::Relaxed);
    }

    /// Drops an object's memory once its newest commit is durable.
    pub(crate) fn hibernate(&self, cell: &Cell) -> Result<()> {
        self.check_open()?;
        self.log.wait(cell.last_lsn())?;
        let deadline = Instant::now() + self.options.wait_max;
        let resident = cell
            .turns
            .acquire(Some(deadline))
            .map_err(|error| crate::object::turns::turn_error(error, self))?;
        let resident = if self.log.durable() >= cell.last_lsn() {
            resident.inspect(|resident| {
                self.pressure.charged(resident.charged, 0);
            });
            #[cfg(feature = "sql")]
            self.sql.forget(&cell.key);
            None
        } else {
            resident
        };
        cell.turns.release(resident);
        Ok(())
    }

    /// Ends what the engine's threads do, and waits until none of them holds the engine, `limit` at most.
    fn abandon(self: &Arc<Self>, limit: Duration) {
        let until = Instant::now() + limit;
        // Whoever is in the middle of merges, or was just called, finds it closed before the next one.
        self.closed.store(true, Ordering::Release);
        self.signal.stop();
        self.deadlines.stop();
        #[cfg(feature = "archive")]
        if let Some(archive) = &self.archive {
            archive.abandon(until);
        }
        while Arc::strong_count(self) > 1 && Instant::now() < until {
            crate::sync::rest(LOOKS);
        }
    }

    fn close(self: &Arc<Self>) -> Result<()> {
        Inside::refuse(self.output.tag)?;
        if self.closed.load(Ordering::Acquire) {
            return Ok(());
        }
        let packed = if self.read_only { Ok(()) } else { checkpoint::last(self) };
        if self.closed.swap(true, Ordering::AcqRel) {
            return Ok(());
        }
        // Whoever is in the middle of a checkpoint or a merge ends it; whoever comes later finds the engine closed.
        drop(self.checkpointing.lock());
        self.signal.stop();
        self.pressure.relieve(true);
        self.deadlines.stop();
        self.deadlines.join();
        let thread = self.maintenance.lock().take();
        if let Some(thread) = thread {
            // A maintenance thread that panicked has said so already; what is durable stays durable.
            let _ = thread.join();
        }
        if !self.read_only {
            self.ballast.remove();
        }
        #[cfg(feature = "archive")]
        let archived = self.archive.as_ref().map_or(Ok(()), |archive| archive.close(self));
        let closed = self.log.close().map_err(Error::from);
        self.output.archived.fail(Error::Closed);
        *self.lock.lock() = None;
        #[cfg(feature = "archive")]
        let closed = closed.and(archived);
        packed.and(closed)
    }
}

impl Drop for EngineInner {
    fn drop(&mut self) {
        self.signal.stop();
        self.deadlines.stop();
        #[cfg(feature = "archive")]
        if let Some(archive) = &self.archive {
            archive.abort();
        }
        // A gate may still hold the log. It must not write any more when somebody else can open the directory, so it
        // is closed before the lock goes. An error is told by the gates that wait for what was not flushed.
        if let Err(error) = self.log.close() {
            tracing::warn!(%error, "the log was not closed cleanly");
        }
        self.output.archived.fail(Error::Closed);
    }
}
