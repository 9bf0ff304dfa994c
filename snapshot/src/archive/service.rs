//! What runs for as long as an engine with an archive is open: the log's upload, the packs', and the lease.
//!
//! ```text
//!   take_over ──▶ packs, if the log here does not reach back to the archive's end
//!                   │
//!                   ├──▶ log, chunk after chunk ──────────────────┐  until it is told to stop,
//!                   ├──▶ packs, whenever they change              ├─▶ or the archive is not ours any more
//!                   └──▶ lease, every so often                    ┘
//! ```
//! Nothing is asked of the store while nothing changes, but for the lease.

use super::book::ChunkBook;
use super::chunk::LogEnd;
use super::client::Client;
use super::error::{ArchiveError, ArchiveErrorKind};
use super::garbage::collect_garbage;
use super::lease::Lease;
use super::manifest::{Manifest, ManifestWriter};
use super::packs::{Live, LocalPack, archive_packs, send_bytes};
use super::queue::Rhythm;
use super::runtime::beside;
use super::tail::{Calls, DurableLog, TailUpload};
use super::trouble::Trouble;
use super::writer::Writer;
use crate::sync::{Arc, Mutex};
use bytes::Bytes;
use lineal_wal::{Epoch, Lsn, Micros};
use std::fmt::Debug;
use std::time::Duration;
use tokio::sync::Notify;

/// How long packs that could not be brought to the store rest, as after so many failures of the client.
const REST: u32 = 8;

/// Least time between two looks at what may be deleted. Source: a decision.
const GARBAGE_REST: Duration = Duration::from_secs(10);

/// What is live in an engine at one moment, but for its log.
#[derive(Debug, Clone)]
pub struct LiveState {
    /// All live packs, ascending by number.
    pub packs: Vec<LocalPack>,
    /// They hold every commit up to this one; it is durable.
    pub line: Lsn,
    /// What happened before may be gone.
    pub horizon: Micros,
    /// What the engine keeps in the manifest.
    pub note: Vec<u8>,
    /// What the note names: keys that say their content, and that. In the store and read back before the manifest is
    /// changed.
    pub beside: Vec<(String, Bytes)>,
}

/// An engine, as its archive sees it.
pub trait Host: Send + Sync + Debug {
    /// The wall clock.
    fn now(&self) -> Micros;

    /// What is live now, or `None` if that cannot be told yet: then [`PackCalls::changed`] says when. Blocks for a moment.
    ///
    /// # Errors
    /// [`ArchiveError::Local`]; it is asked again later.
    fn live(&self) -> Result<Option<LiveState>, ArchiveError>;

    /// The store holds this manifest now, and all that it names was read back.
    fn listed(&self, manifest: &Manifest);
}

/// How the lease is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeaseTerm {
    /// How long it lasts.
    pub lasts: Duration,
    /// How often it is renewed.
    pub renewed: Duration,
}

impl Default for LeaseTerm {
    /// Three minutes, renewed each minute. Source: decisions; sixty requests an hour, and two may fail in a row.
    fn default() -> Self {
        Self { lasts: Duration::from_secs(180), renewed: Duration::from_secs(60) }
    }
}

impl LeaseTerm {
    /// When a lease that is taken or renewed now ends.
    #[must_use]
    pub fn until(&self, now: Micros) -> Micros {
        Micros(now.0.saturating_add(Micros::from(self.lasts).0))
    }
}

/// How a [`Service`] works.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServiceOptions {
    /// How eagerly the log goes to the store.
    pub rhythm: Rhythm,
    /// How the lease is kept.
    pub term: LeaseTerm,
    /// How long what the archive does not need any more stays.
    pub grace: Duration,
}

impl Default for ServiceOptions {
    /// The defaults of its parts, and an hour. Source: a decision; longer than a restore of what it protects usually takes.
    fn default() -> Self {
        Self { rhythm: Rhythm::default(), term: LeaseTerm::default(), grace: Duration::from_secs(3_600) }
    }
}

/// What an engine says to its archive's service, beside [`Calls`].
#[derive(Debug, Default)]
pub struct PackCalls {
    changed: Notify,
    aborted: Notify,
    /// Why packs do not get to the store at the moment, if so.
    pub trouble: Trouble,
}

impl PackCalls {
    /// Packs have changed.
    pub fn changed(&self) {
        self.changed.notify_one();
    }

    /// The service is to end where it stands; it ends with [`ArchiveError::Closed`]. The lease runs out by itself.
    pub fn abort(&self) {
        self.aborted.notify_one();
    }
}

/// See the head of this file.
#[derive(Debug)]
pub struct Service {
    client: Client,
    lease: Lease,
    manifest: ManifestWriter,
    end: LogEnd,
    book: Arc<Mutex<ChunkBook>>,
    log: Arc<dyn DurableLog>,
    calls: Arc<Calls>,
    packs: Arc<PackCalls>,
    host: Arc<dyn Host>,
    options: ServiceOptions,
}

impl Service {
    /// For an archive that was taken over, whose chunks are in `book`, and of which `calls` know how far it goes.
    #[must_use]
    pub fn new(
        client: Client,
        writer: Writer,
        book: ChunkBook,
        log: Arc<dyn DurableLog>,
        host: Arc<dyn Host>,
        calls: Arc<Calls>,
        packs: Arc<PackCalls>,
    ) -> Self {
        let Writer { lease, manifest, log: end } = writer;
        let book = Arc::new(Mutex::new(book));
        let options = ServiceOptions::default();
        Self { client, lease, manifest, end, book, log, calls, packs, host, options }
    }

    /// Works like this, and not by the defaults.
    #[must_use]
    pub fn options(mut self, options: ServiceOptions) -> Self {
        self.options = options;
        self
    }

    /// Runs until `calls` are told to stop; then the store holds everything that is durable, packs included, and the
    /// lease is given back.
    ///
    /// # Errors
    /// [`ArchiveError::Fenced`], [`ArchiveError::Diverged`], and whatever else time does not mend. Nothing more is
    /// archived then.
    pub async fn run(self) -> Result<(), ArchiveError> {
        let Self { client, mut lease, manifest, end, book, log, calls, packs, host, options } = self;
        let ServiceOptions { rhythm, term, grace } = options;
        let mut packer = Packer {
            epoch: lease.epoch(),
            client: client.clone(),
            manifest,
            book: Arc::clone(&book),
            calls: packs,
            host: Arc::clone(&host),
            grace,
        };
        packer.host.listed(packer.manifest.manifest());
        let ends = Arc::clone(&packer.calls);
        let work = async {
            if log.begins() > calls.archived().next() {
                packer.bring().await?;
                calls.skip_to(packer.manifest.manifest().line);
            }
            let upload = TailUpload::new(client.clone(), end, log, rhythm, Arc::clone(&calls), book);
            tokio::select! {
                biased;
                ended = upload.run() => ended?,
                ended = packer.run() => ended?,
            }
            packer.bring().await
        };
        // However long the work takes, the lease is kept beside it.
        tokio::select! {
            biased;
            () = ends.aborted.notified() => return Err(ArchiveError::Closed),
            ended = work => ended?,
            ended = keep(&client, &mut lease, term, &*host) => ended?,
        }
        lease.give_back(&client).await
    }
}

/// Renews the lease, for ever.
async fn keep(
    client: &Client,
    lease: &mut Lease,
    term: LeaseTerm,
    host: &dyn Host,
) -> Result<(), ArchiveError> {
    loop {
        client.sleep(term.renewed).await;
        match lease.renew(client, term.until(host.now())).await {
            Ok(()) => {}
            // The lease lasts longer than this; the upload says what the store's trouble is.
            Err(error) if is_passing(&error) => {}
            Err(error) => return Err(error),
        }
    }
}

/// True for what may be another time: the store may answer, rights may be mended, and what reads back wrong may read back
/// right. Nothing is told to be archived meanwhile.
fn is_passing(error: &ArchiveError) -> bool {
    use ArchiveErrorKind::{Corrupt, Local, Retry, Setup};
    matches!(error.kind(), Retry | Setup | Corrupt | Local)
}

/// Brings packs to the store.
#[derive(Debug)]
struct Packer {
    epoch: Epoch,
    client: Client,
    manifest: ManifestWriter,
    book: Arc<Mutex<ChunkBook>>,
    calls: Arc<PackCalls>,
    host: Arc<dyn Host>,
    grace: Duration,
}

impl Packer {
    /// Whenever they change, and deletes what nobody needs any more when it is due; for ever.
    async fn run(&mut self) -> Result<(), ArchiveError> {
        loop {
            self.bring().await?;
            let due = self.garbage_due();
            let pause = self.client.sleep(due.unwrap_or(Duration::ZERO));
            tokio::select! {
                biased;
                () = self.calls.changed.notified() => {}
                () = pause, if due.is_some() => self.collect().await?,
            }
        }
    }

    /// How long until the oldest garbage may go.
    fn garbage_due(&self) -> Option<Duration> {
        let manifest = self.manifest.manifest();
        let packs = manifest.garbage_packs.iter().map(|garbage| garbage.since);
        let oldest = packs.chain(manifest.garbage_chunks.iter().map(|garbage| garbage.since)).min()?;
        let age = Duration::from_micros(self.host.now().0.saturating_sub(oldest.0));
        // Not at once again where the store failed, or the clock went back.
        Some(self.grace.saturating_sub(age).max(GARBAGE_REST))
    }

    async fn collect(&mut self) -> Result<(), ArchiveError> {
        let (now, grace) = (self.host.now(), self.grace.into());
        match collect_garbage(&self.client, &mut self.manifest, self.epoch, now, grace, false).await {
            Ok(_) => {
                self.host.listed(self.manifest.manifest());
                Ok(())
            }
            // It stays, and costs its room until the next time.
            Err(error) if is_passing(&error) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Once, however often the store fails.
    async fn bring(&mut self) -> Result<(), ArchiveError> {
        loop {
            let brought = self.try_bring().await;
            match brought {
                Ok(()) => {
                    self.calls.trouble.is_over();
                    return Ok(());
                }
                Err(error) if is_passing(&error) => {
                    self.calls.trouble.tell(error);
                    self.client.pause(REST).await;
                }
                Err(error) => {
                    self.calls.trouble.tell(error.clone());
                    return Err(error);
                }
            }
        }
    }

    async fn try_bring(&mut self) -> Result<(), ArchiveError> {
        let host = Arc::clone(&self.host);
        let live = beside(move || host.live()).await??;
        let Some(LiveState { packs, line, horizon, note, beside }) = live else { return Ok(()) };
        let known = self.manifest.manifest();
        // Logs alone are no reason for a change: what a manifest says of them stays right.
        let same = known.line == line
            && known.note == note
            && known.horizon >= horizon
            && known.packs.iter().map(|pack| pack.number).eq(packs.iter().map(|pack| pack.number));
        if same {
            return Ok(());
        }
        for (key, bytes) in beside {
            send_bytes(&self.client, &key, bytes).await?;
        }
        let logs = self.book.lock().logs_above(line, self.epoch);
        let live = Live { packs, line, logs, horizon, note };
        archive_packs(&self.client, &mut self.manifest, self.epoch, self.host.now(), &live).await?;
        self.host.listed(self.manifest.manifest());
        Ok(())
    }
}
