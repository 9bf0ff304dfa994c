//! What an engine can be told when it is opened.

use std::{fmt, path::Path, time::Duration};

use lineal_wal::{Disk, Micros, RealDisk};

use crate::{Durability, Engine, Result, sync::Arc};

/// A source of wall-clock time, in microseconds since the Unix epoch.
pub type Clock = Arc<dyn Fn() -> Micros + Send + Sync>;
/// A source of random numbers.
pub type Random = Arc<dyn Fn() -> u64 + Send + Sync>;

/// How to open an [`Engine`]. Every value has a default that suits a server with a few GiB of memory.
///
/// ```
/// # fn main() -> lineal::Result<()> {
/// # let dir = tempfile::tempdir().unwrap();
/// let engine = lineal::Options::new().memory_bytes(64 << 20).open(dir.path())?;
/// # engine.close()
/// # }
/// ```
#[derive(Clone)]
pub struct Options {
    pub(crate) memory_bytes: u64,
    pub(crate) cache_bytes: usize,
    pub(crate) catalog_cache_bytes: usize,
    pub(crate) checkpoint_bytes: u64,
    pub(crate) tail_bytes_max: u64,
    pub(crate) key_bytes_max: usize,
    pub(crate) value_bytes_max: usize,
    pub(crate) transaction_bytes_max: usize,
    pub(crate) wait_max: Duration,
    pub(crate) reserve_bytes: u64,
    pub(crate) ballast_bytes: u64,
    pub(crate) segment_bytes_min: u64,
    pub(crate) segment_bytes_max: u64,
    pub(crate) durability: Durability,
    pub(crate) background: bool,
    pub(crate) salvage: bool,
    pub(crate) clock: Clock,
    pub(crate) random: Random,
    pub(crate) disk: Option<Arc<dyn Disk>>,
    #[cfg(feature = "sql")]
    pub(crate) sql: crate::SqlOptions,
    #[cfg(feature = "archive")]
    pub(crate) archive: Option<crate::archive::ArchiveOptions>,
    #[cfg(feature = "archive")]
    pub(crate) engine_id: Option<lineal_wal::EngineId>,
    /// What the archive holds, where that was read before.
    #[cfg(feature = "archive")]
    pub(crate) manifest: Option<Arc<lineal_snapshot::archive::Manifest>>,
    /// Opened by who has just attached the directory.
    #[cfg(feature = "archive")]
    pub(crate) attaching: bool,
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("memory_bytes", &self.memory_bytes)
            .field("cache_bytes", &self.cache_bytes)
            .field("checkpoint_bytes", &self.checkpoint_bytes)
            .field("wait_max", &self.wait_max)
            .finish_non_exhaustive()
    }
}

impl Default for Options {
    fn default() -> Self {
        Self::new()
    }
}

impl Options {
    /// The defaults.
    pub fn new() -> Self {
        Options {
            memory_bytes: 256 << 20,
            cache_bytes: 32 << 20,
            catalog_cache_bytes: 4 << 20,
            checkpoint_bytes: 128 << 20,
            tail_bytes_max: 64 << 10,
            key_bytes_max: 4 << 10,
            value_bytes_max: 16 << 20,
            transaction_bytes_max: 64 << 20,
            wait_max: Duration::from_secs(30),
            reserve_bytes: 64 << 20,
            ballast_bytes: 4 << 20,
            segment_bytes_min: 1 << 20,
            segment_bytes_max: 64 << 20,
            durability: Durability::Local,
            background: true,
            salvage: false,
            clock: Arc::new(wall_clock),
            random: Arc::new(system_random),
            disk: None,
            #[cfg(feature = "sql")]
            sql: crate::SqlOptions::new(),
            #[cfg(feature = "archive")]
            archive: None,
            #[cfg(feature = "archive")]
            engine_id: None,
            #[cfg(feature = "archive")]
            manifest: None,
            #[cfg(feature = "archive")]
            attaching: false,
        }
    }

    /// Memory that resident objects may take, in bytes (default 256 MiB). Above it the least recently used
    /// ones hibernate; a writer that outruns this waits.
    pub fn memory_bytes(mut self, bytes: u64) -> Self {
        self.memory_bytes = bytes.max(1 << 20);
        self
    }

    /// Memory for what is read from packs again: pages, leaves, and what reading the past decodes, in bytes (default
    /// 32 MiB).
    pub fn cache_bytes(mut self, bytes: usize) -> Self {
        self.cache_bytes = bytes;
        self
    }

    /// Log that may be written between two checkpoints, in bytes (default 128 MiB).
    pub fn checkpoint_bytes(mut self, bytes: u64) -> Self {
        self.checkpoint_bytes = bytes.max(64 << 10);
        self
    }

    /// Longest key, in bytes (default 4 KiB, at most 4 KiB).
    pub fn key_bytes_max(mut self, bytes: usize) -> Self {
        self.key_bytes_max = bytes.min(4 << 10);
        self
    }

    /// Longest value, in bytes (default 16 MiB, at most 16 MiB).
    pub fn value_bytes_max(mut self, bytes: usize) -> Self {
        self.value_bytes_max = bytes.min(16 << 20);
        self
    }

    /// Largest transaction, in bytes of its record (default 64 MiB, at most 64 MiB).
    pub fn transaction_bytes_max(mut self, bytes: usize) -> Self {
        self.transaction_bytes_max = bytes.min(64 << 20);
        self
    }

    /// How long a call waits for a turn, or for room in memory, before it fails with
    /// [`Error::Busy`](crate::Error::Busy) (default 30 s). Holds for async callers too, under any executor; without
    /// [`background`](Options::background) threads they see that it is over when they are polled next.
    pub fn wait_max(mut self, limit: Duration) -> Self {
        self.wait_max = limit.min(WAIT_MAX);
        self
    }

    /// Log kept back so that deletes and purges still work on a full disk, in bytes (default 64 MiB).
    pub fn reserve_bytes(mut self, bytes: u64) -> Self {
        self.reserve_bytes = bytes;
        self
    }

    /// Disk space kept back so that a checkpoint, a merge of packs and the catalog still work on a full disk, in bytes
    /// (default 4 MiB; 0 keeps none). It grows with the log that is not packed, by as much as that, and is there only
    /// while the directory is open for writing. Where it had to be given up and cannot be made again, writes get
    /// [`Error::NoSpace`](crate::Error::NoSpace); deletes and purges do not.
    pub fn ballast_bytes(mut self, bytes: u64) -> Self {
        self.ballast_bytes = bytes;
        self
    }

    /// Size of the log's first segment and of its largest, in bytes (default 1 MiB and 64 MiB).
    pub fn segment_bytes(mut self, min: u64, max: u64) -> Self {
        self.segment_bytes_min = min.max(64 << 10);
        self.segment_bytes_max = max.max(self.segment_bytes_min);
        self
    }

    /// What the gates of all objects wait for, at least (default: [`Durability::Local`]). An engine that is opened for reading
    /// archives nothing and takes no notice.
    ///
    /// [`Durability::Archived`] without an archive fails the opening with [`NoArchive`](crate::Error::NoArchive).
    pub fn durability(mut self, durability: Durability) -> Self {
        self.durability = durability;
        self
    }

    /// Whether the engine starts threads of its own (default yes). Without them callers do all the work
    /// inline, in a deterministic order: that is for simulation, and for tests that enumerate crashes.
    pub fn background(mut self, yes: bool) -> Self {
        self.background = yes;
        self
    }

    /// Opens a log that is damaged in its acknowledged part for reading, up to the damage. Only with
    /// [`Options::open_read_only`].
    pub fn salvage(mut self, yes: bool) -> Self {
        self.salvage = yes;
        self
    }

    /// The wall clock to use (default: the system's).
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// The source of randomness for ids, salts and the engine's identity (default: the system's).
    pub fn random(mut self, random: Random) -> Self {
        self.random = random;
        self
    }

    /// The disk to use instead of the directory's (for simulation).
    pub fn disk(mut self, disk: Arc<dyn Disk>) -> Self {
        self.disk = Some(disk);
        self
    }

    /// Limits and memory of the databases in objects.
    #[cfg(feature = "sql")]
    pub fn sql(mut self, sql: crate::SqlOptions) -> Self {
        self.sql = sql;
        self
    }

    /// Keeps packs and log in an object store, too. An engine that is open for writing takes its archive over, or begins
    /// it; one that is open for reading reads from there what has no local copy.
    #[cfg(feature = "archive")]
    pub fn archive(mut self, archive: crate::archive::ArchiveOptions) -> Self {
        self.archive = Some(archive);
        self
    }

    /// Opens the data directory for reading and writing, creating it if it is missing.
    ///
    /// When it returns, every acknowledged commit is there, and durable.
    ///
    /// # Errors
    /// [`Locked`](crate::Error::Locked) if another process has it open,
    /// [`InvalidDirectory`](crate::Error::InvalidDirectory) if it is no data directory,
    /// [`NewerVersion`](crate::Error::NewerVersion), [`Damaged`](crate::Error::Damaged) with file and offset.
    pub fn open(self, dir: impl AsRef<Path>) -> Result<Engine> {
        Engine::open_with(self, dir.as_ref(), false)
    }

    /// Opens the data directory for reading. No byte of it changes, also after a kill.
    ///
    /// # Errors
    /// As [`Options::open`]; a missing directory is an error.
    pub fn open_read_only(self, dir: impl AsRef<Path>) -> Result<Engine> {
        Engine::open_with(self, dir.as_ref(), true)
    }

    pub(crate) fn disk_for(&self, dir: &Path) -> Arc<dyn Disk> {
        match &self.disk {
            Some(disk) => Arc::clone(disk),
            None => Arc::new(RealDisk::new(dir.to_path_buf())),
        }
    }
}

/// Longest wait that can be asked for, so that every deadline is a time that the system can name.
///
/// Source: chosen; a year is for ever.
const WAIT_MAX: Duration = Duration::from_secs(365 * 24 * 3_600);

fn wall_clock() -> Micros {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or(Duration::ZERO);
    since.into()
}

/// Random numbers out of std's hash keys, which the operating system seeds for each thread and which step on
/// with every use: SipHash of the time under a secret key. Good for ids and salts, which must not collide or
/// be guessed; nothing here is a signing key.
fn system_random() -> u64 {
    use std::hash::{BuildHasher, Hasher};
    let mut hasher = std::collections::hash_map::RandomState::new().build_hasher();
    hasher.write_u64(wall_clock().0);
    hasher.finish()
}
