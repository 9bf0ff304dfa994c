//! Sends the durable log to the store, chunk after chunk, several at once, for as long as it lasts.
//!
//! One task of the [runtime](super::Runtime) cuts what [`ChunkQueue`] says, and a task for each chunk puts it, again and
//! again while the store fails: the log waits where it is, bounded by what may be under way, and commits go on. What is
//! archived is told in order. It ends when it is told to and all is archived, or when the archive is not ours any more.

use super::book::ChunkBook;
use super::chunk::{LogEnd, NextChunk};
use super::client::Client;
use super::error::{ArchiveError, ArchiveErrorKind};
use super::queue::{ChunkQueue, Cut, Lag, Rhythm};
use super::runtime::beside;
use super::trouble::Trouble;
use crate::sync::{Arc, AtomicBool, AtomicU64, Mutex, Ordering};
use lineal_wal::Lsn;
use lineal_wal::planted::{self, Bug};
use std::collections::BTreeMap;
use std::fmt::{self, Debug};
use std::io;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::task::JoinSet;

/// How long a failed chunk rests between two operations of the client, as after so many failures.
const REST: u32 = 8;

/// How long a log that cannot be read rests. Source: a decision.
const LOCAL_REST: Duration = Duration::from_secs(1);

/// Whole records, as the log has them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogPiece {
    /// The first one's position.
    pub first: Lsn,
    /// The last one's position.
    pub last: Lsn,
    /// Their bytes.
    pub bytes: Vec<u8>,
}

/// An engine's log, as far as it is durable here.
pub trait DurableLog: Send + Sync + Debug {
    /// The newest durable position.
    fn durable(&self) -> Lsn;

    /// The first position that is still in the log, or will be.
    fn begins(&self) -> Lsn;

    /// About how many durable bytes there are after a position.
    fn bytes_after(&self, after: Lsn) -> u64;

    /// Durable records from directly after `after` on: as many whole ones as fit `bytes_max`, and one at least.
    /// `None` if there are none. Blocks.
    ///
    /// # Errors
    /// [`ArchiveError::Local`].
    fn read(&self, after: Lsn, bytes_max: u32) -> Result<Option<LogPiece>, ArchiveError>;
}

/// What is said between the engine and its upload.
pub struct Calls {
    wake: Notify,
    /// What is to be in the store, and the part of it that somebody waits for.
    wanted: AtomicU64,
    waited: AtomicU64,
    stop: AtomicBool,
    /// Written by the upload alone, in order.
    archived: AtomicU64,
    tell: Box<dyn Fn(Lsn) + Send + Sync>,
    lag: Mutex<Lag>,
    /// Why the store does not take anything at the moment, if it does not.
    pub trouble: Trouble,
}

impl Debug for Calls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Calls").field("archived", &self.archived()).finish_non_exhaustive()
    }
}

impl Calls {
    /// `tell` is called with each new archived position, on the archive's thread.
    #[must_use]
    pub fn new(archived: Lsn, tell: Box<dyn Fn(Lsn) + Send + Sync>) -> Arc<Self> {
        Arc::new(Self {
            wake: Notify::new(),
            wanted: AtomicU64::new(0),
            waited: AtomicU64::new(0),
            stop: AtomicBool::new(false),
            archived: AtomicU64::new(archived.0),
            tell,
            lag: Mutex::default(),
            trouble: Trouble::default(),
        })
    }

    /// The log has more that is durable.
    pub fn more(&self) {
        self.wake.notify_one();
    }

    /// This is to be in the store as soon as it is durable; whoever tells of [more](Self::more) wakes the upload.
    pub fn expect(&self, lsn: Lsn) {
        self.wanted.fetch_max(lsn.0, Ordering::AcqRel);
    }

    /// Somebody waits until this is in the store.
    pub fn want(&self, lsn: Lsn) {
        self.expect(lsn);
        // Also where it was expected: it may have been durable by then, and nobody told.
        if self.waited.fetch_max(lsn.0, Ordering::AcqRel) < lsn.0 {
            self.wake.notify_one();
        }
    }

    /// The upload is to end when all that is durable now is archived.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Release);
        self.wake.notify_one();
    }

    /// Everything up to here is in the store.
    #[must_use]
    pub fn archived(&self) -> Lsn {
        Lsn(self.archived.load(Ordering::Acquire))
    }

    /// The packs in the store hold everything up to here, so that no chunk need to.
    pub(crate) fn skip_to(&self, lsn: Lsn) {
        self.archived.fetch_max(lsn.0, Ordering::AcqRel);
        (self.tell)(self.archived());
    }

    /// How far the store was behind when the upload last looked.
    #[must_use]
    pub fn lag(&self) -> Lag {
        *self.lag.lock()
    }
}

/// The upload of one epoch's log.
#[derive(Debug)]
pub struct TailUpload {
    client: Client,
    end: LogEnd,
    log: Arc<dyn DurableLog>,
    queue: ChunkQueue,
    rhythm: Rhythm,
    calls: Arc<Calls>,
    book: Arc<Mutex<ChunkBook>>,
    /// Chunks that are stored and not archived, because one before them is not stored.
    early: BTreeMap<u64, NextChunk>,
}

impl TailUpload {
    /// Goes on behind what `calls` says is archived, with the next chunk at `end`. What comes to be archived is noted in
    /// `book` before `calls` tell it.
    #[must_use]
    pub fn new(
        client: Client,
        end: LogEnd,
        log: Arc<dyn DurableLog>,
        rhythm: Rhythm,
        calls: Arc<Calls>,
        book: Arc<Mutex<ChunkBook>>,
    ) -> Self {
        let queue = ChunkQueue::new(rhythm, calls.archived());
        Self { client, end, log, queue, rhythm, calls, book, early: BTreeMap::new() }
    }

    /// Uploads until it is told to [stop](Calls::stop); then everything that is durable is archived. Asks the store for
    /// nothing while nothing is new.
    ///
    /// # Errors
    /// [`ArchiveError::Fenced`], and whatever else time does not mend. Nothing more is archived then. What the store
    /// may take later, such as after an outage or when its rights were mended, is tried for ever.
    pub async fn run(mut self) -> Result<(), ArchiveError> {
        let mut puts = JoinSet::new();
        loop {
            let next = self.cut(&mut puts).await?;
            let durable = self.log.durable();
            if puts.is_empty() && self.queue.archived() >= durable && self.calls.stop.load(Ordering::Acquire)
            {
                return Ok(());
            }
            let wait = match next {
                Cut::At(due) => Some(due.saturating_sub(self.client.now())),
                Cut::Now | Cut::Never => None,
            };
            let pause = self.client.sleep(wait.unwrap_or(Duration::ZERO));
            tokio::select! {
                biased;
                Some(done) = puts.join_next() => {
                    // A put that panicked is a bug, and one that was ended ends with the runtime.
                    let chunk: NextChunk = done.map_err(|_| ArchiveError::Closed)??;
                    self.stored(chunk);
                }
                () = self.calls.wake.notified() => {}
                () = pause, if wait.is_some() => {}
            }
        }
    }

    /// Cuts what is due.
    async fn cut(
        &mut self,
        puts: &mut JoinSet<Result<NextChunk, ArchiveError>>,
    ) -> Result<Cut, ArchiveError> {
        loop {
            let (after, now) = (self.queue.cut_to(), self.client.now());
            let durable = self.log.durable();
            let stopping = self.calls.stop.load(Ordering::Acquire);
            let wanted = if stopping { durable } else { Lsn(self.calls.wanted.load(Ordering::Acquire)) };
            *self.calls.lag.lock() = self.queue.lag(durable, now);
            let next = self.queue.next(durable, || self.log.bytes_after(after), wanted, now);
            if next != Cut::Now {
                return Ok(next);
            }
            let (log, bytes_max) = (Arc::clone(&self.log), self.rhythm.chunk_bytes);
            let piece = match beside(move || log.read(after, bytes_max)).await? {
                Ok(Some(piece)) => piece,
                Ok(None) => return Ok(Cut::Never),
                // The disk may answer another time.
                Err(error @ ArchiveError::Local { .. }) => {
                    self.calls.trouble.tell(error);
                    return Ok(Cut::At(now + LOCAL_REST));
                }
                Err(error) => return Err(error),
            };
            let follows = piece.first == after.next() && piece.last <= self.log.durable();
            if !follows {
                let wrong = io::Error::other("the log gave records that do not follow or are not durable");
                return Err(ArchiveError::Local { source: Arc::new(wrong) });
            }
            let chunk = self.end.append(&self.client, piece.first, piece.last, &piece.bytes)?;
            self.queue.cut(chunk.n(), chunk.last(), now);
            puts.spawn(put(self.client.clone(), chunk, Arc::clone(&self.calls)));
        }
    }

    fn stored(&mut self, chunk: NextChunk) {
        let n = chunk.n();
        self.early.insert(n, chunk);
        if !self.queue.stored(n) {
            return;
        }
        let archived = self.queue.archived();
        {
            let mut book = self.book.lock();
            while let Some(first) = self.early.first_entry().filter(|first| first.get().last() <= archived) {
                let chunk = first.remove();
                book.archived(self.end.epoch(), chunk.n(), chunk.last(), chunk.hash());
            }
        }
        self.calls.archived.store(archived.0, Ordering::Release);
        (self.calls.tell)(archived);
    }
}

/// Puts one chunk and sees that it is there, however long it takes: a store may say that it has what it has in part.
async fn put(client: Client, chunk: NextChunk, calls: Arc<Calls>) -> Result<NextChunk, ArchiveError> {
    let passes = |error: &ArchiveError| {
        use ArchiveErrorKind::{Corrupt, Retry, Setup};
        matches!(error.kind(), Retry | Setup | Corrupt)
    };
    loop {
        let put = match chunk.put(&client).await {
            Ok(tag) => chunk.check(&client, tag).await,
            Err(error) => Err(error),
        };
        match put {
            Ok(()) => {
                calls.trouble.is_over();
                return Ok(chunk);
            }
            Err(ArchiveError::Fenced { .. }) if planted::on(Bug::FencedGoesOn) => return Ok(chunk),
            Err(error) if passes(&error) => {
                calls.trouble.tell(error);
                client.pause(REST).await;
            }
            Err(error) => {
                calls.trouble.tell(error.clone());
                return Err(error);
            }
        }
    }
}
