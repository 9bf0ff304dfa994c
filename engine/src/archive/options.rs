//! How an engine keeps its archive.

use std::{fmt, future::Future, path::Path, sync::mpsc, time::Duration};

use lineal_snapshot::archive::{
    ArchiveError, Claim, Client, Hand, LeaseTerm, Location, Pace, Patience, RealPace, Runtime,
    ServiceOptions, Store, engines,
};
use lineal_wal::{EngineId, Epoch, Micros};

use crate::{
    Options, Result,
    engine::maintenance::{UPLOADER, give_way},
    options::Random,
    sync::Arc,
};

/// Where an engine's archive is, and how it is kept. See [`Options::archive`](crate::Options::archive).
///
/// ```no_run
/// use lineal::archive::{ArchiveOptions, Location};
///
/// # fn main() -> lineal::Result<()> {
/// let bucket = Location::new("s3://my-bucket/lineal").environment(std::env::vars());
/// let engine = lineal::Options::new().archive(ArchiveOptions::new(bucket)).open("data")?;
/// # engine.close()
/// # }
/// ```
#[derive(Clone)]
pub struct ArchiveOptions {
    place: Place,
    pub(super) service: ServiceOptions,
    patience: Patience,
    pub(super) local_bytes: Option<u64>,
    pub(super) cache_bytes: u64,
    force: bool,
    holder: Option<String>,
    pace: Option<Arc<dyn Pace>>,
    hand: Option<Hand>,
}

#[derive(Clone)]
enum Place {
    Location(Location),
    Store(Arc<dyn Store>),
}

impl fmt::Debug for ArchiveOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("ArchiveOptions");
        match &self.place {
            Place::Location(location) => shown.field("location", location),
            Place::Store(store) => shown.field("store", &store.name()),
        };
        shown.field("service", &self.service).field("local_bytes", &self.local_bytes).finish_non_exhaustive()
    }
}

/// Source: a decision; a few thousand of the smallest reads from a store.
const CACHE_BYTES: u64 = 256 << 20;

impl ArchiveOptions {
    /// In the object store at `location`, with the defaults.
    #[must_use]
    pub fn new(location: Location) -> Self {
        Self::at(Place::Location(location))
    }

    /// In this store. For stores that [`Location`] does not know, and for simulation.
    #[must_use]
    pub fn store(store: Arc<dyn Store>) -> Self {
        Self::at(Place::Store(store))
    }

    fn at(place: Place) -> Self {
        Self {
            place,
            service: ServiceOptions::default(),
            patience: Patience::default(),
            local_bytes: None,
            cache_bytes: CACHE_BYTES,
            force: false,
            holder: None,
            pace: None,
            hand: None,
        }
    }

    /// Least time between two uploads of the log that nobody waits for (default one second): what may be lost with
    /// the machine, of commits that are [`Local`](crate::Durability::Local).
    #[must_use]
    pub fn interval(mut self, interval: Duration) -> Self {
        self.service.rhythm.interval = interval;
        self
    }

    /// Log that is uploaded at once when it has come together, and in one piece, in bytes (default 4 MiB).
    #[must_use]
    pub fn chunk_bytes(mut self, bytes: u32) -> Self {
        self.service.rhythm.chunk_bytes = bytes.clamp(4 << 10, 64 << 20);
        self
    }

    /// Pieces of the log that are on their way at once (default 4). With the size of one this bounds the memory.
    #[must_use]
    pub fn chunks_in_flight(mut self, chunks: usize) -> Self {
        self.service.rhythm.chunks_max = chunks.clamp(1, 64);
        self
    }

    /// Local disk that packs may take, in bytes (default: as much as they need). Beyond it, archived packs that nobody
    /// has read for the longest time lose their local copy, and what is read of them comes from the store.
    #[must_use]
    pub fn local_bytes(mut self, bytes: u64) -> Self {
        self.local_bytes = Some(bytes);
        self
    }

    /// Local disk for what was read of packs that are in the store only, in bytes (default 256 MiB).
    #[must_use]
    pub fn cache_bytes(mut self, bytes: u64) -> Self {
        self.cache_bytes = bytes;
        self
    }

    /// Takes the archive over although somebody else's lease has not ended (default no). Whoever had it gets
    /// [`Error::Fenced`](crate::Error::Fenced) with the next thing that it archives.
    #[must_use]
    pub fn force(mut self, yes: bool) -> Self {
        self.force = yes;
        self
    }

    /// What others are told who want the archive while this engine has it (default: machine and directory). Who has the
    /// same name is taken for this engine, started again, and does not wait for the lease to end.
    #[must_use]
    pub fn holder(mut self, name: impl Into<String>) -> Self {
        self.holder = Some(name.into());
        self
    }

    /// How long what the archive does not need any more stays, for those who still read it (default one hour).
    #[must_use]
    pub fn grace(mut self, grace: Duration) -> Self {
        self.service.grace = grace;
        self
    }

    /// How long to wait for the store (default: ten seconds for a request, a minute for an operation with all its
    /// attempts).
    #[must_use]
    pub fn patience(mut self, patience: Patience) -> Self {
        self.patience = patience;
        self
    }

    /// How long the lease lasts, and how often it is renewed (default: three minutes, each minute).
    #[must_use]
    pub fn lease(mut self, term: LeaseTerm) -> Self {
        self.service.term = term;
        self
    }

    /// Time and waiting, for simulation.
    #[must_use]
    pub fn pace(mut self, pace: Arc<dyn Pace>) -> Self {
        self.pace = Some(pace);
        self
    }

    /// Nothing is uploaded but when `hand` is turned, or a call waits for an upload, for simulation. Who waits for a gate that
    /// opens with an upload waits for ever, unless another thread turns it.
    #[must_use]
    pub fn by_hand(mut self, hand: Hand) -> Self {
        self.hand = Some(hand);
        self
    }

    /// Who has the lease, of a directory that nobody has named anything else for.
    pub(super) fn holder_in(&self, dir: &Path) -> String {
        self.holder.clone().unwrap_or_else(|| holder_of(dir))
    }

    /// What the archive is taken over with.
    pub(super) fn claim(&self, engine: EngineId, above: Epoch, holder: String, now: Micros) -> Claim {
        Claim { engine, above, holder, now, lasts: self.service.term.lasts.into(), force: self.force }
    }

    /// Starts the thread that talks to the store; sends nothing.
    pub(super) fn connect(&self, random: &Random) -> Result<Connection> {
        let store = self.open_store()?;
        let runtime = Arc::new(match &self.hand {
            Some(hand) => Runtime::by_hand(hand)?,
            None => Runtime::start_with(|| give_way(UPLOADER))?,
        });
        let pace = match &self.pace {
            Some(pace) => Arc::clone(pace),
            None => Arc::new(RealPace::new(Arc::clone(random))),
        };
        Ok(Connection { client: Client::new(store, pace, self.patience), runtime })
    }

    pub(super) fn open_store(&self) -> Result<Arc<dyn Store>> {
        Ok(match &self.place {
            Place::Location(location) => location.open()?,
            Place::Store(store) => Arc::clone(store),
        })
    }
}

/// Machine and directory.
fn holder_of(dir: &Path) -> String {
    let machine = rustix::system::uname();
    let dir = dir.canonicalize().unwrap_or_else(|_| dir.to_path_buf());
    format!("{}:{}", machine.nodename().to_string_lossy(), dir.display())
}

/// Options of an engine that is opened for one look at an archive: it walks through everything once and keeps little.
///
/// Source: a decision; with what is fetched, far below what a restore may take.
pub(super) fn modest() -> Options {
    Options::new().memory_bytes(16 << 20).cache_bytes(16 << 20)
}

/// A store that can be talked to.
#[derive(Clone, Debug)]
pub(super) struct Connection {
    pub(super) client: Client,
    pub(super) runtime: Arc<Runtime>,
}

impl Connection {
    /// The engines that have an archive there.
    pub(super) fn engines(&self) -> Result<Vec<EngineId>> {
        let client = self.client.clone();
        Ok(self.runtime.run(async move { engines(&client).await })?)
    }

    /// Runs what says how far it is there, and tells that here. Blocks until it ends.
    pub(super) fn run_telling<T, F>(
        &self,
        work: impl FnOnce(Progress) -> F,
        told: &mut dyn FnMut(u64),
    ) -> Result<T>
    where
        T: Send + 'static,
        F: Future<Output = std::result::Result<T, ArchiveError>> + Send + 'static,
    {
        let (progress, steps) = mpsc::channel();
        let (tell, ended) = mpsc::channel();
        let work = work(Progress(progress));
        self.runtime.spawn(async move {
            // Nobody waits any more only where the caller's thread is gone.
            let _ = tell.send(work.await);
        });
        // Until the last who can tell is gone, which is when it ends.
        while let Ok(step) = steps.recv() {
            told(step);
        }
        Ok(ended.recv().unwrap_or(Err(ArchiveError::Closed))?)
    }
}

/// Says how far something is, to the thread that waits for it.
pub(super) struct Progress(mpsc::Sender<u64>);

impl Progress {
    pub(super) fn tell(&self, more: u64) {
        // As above.
        let _ = self.0.send(more);
    }
}
