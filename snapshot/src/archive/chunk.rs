//! The log in the archive: chunks of it, one after another, and the barrier that ends an epoch's.
//!
//! Each is one object under `<engine>/<epoch>/log/<n>`, created and never changed; what is next is found by asking for
//! the next number. Body of the frame `LINLCHNK`, see `frame.rs`; all integers are little-endian:
//! ```text
//!     1 kind: 1 chunk, 2 barrier
//!    16 engine, 8 epoch, 8 n, 16 nonce
//!    32 hash at the end of the frame before (n - 1) in this epoch; zeros for the first
//!       chunk:   8 first LSN, 8 last LSN, the log's durable bytes to the end
//!       barrier: 8 the epoch that put it there
//! ```
//! A barrier at n says that the log of the epoch ends with n - 1: whoever creates chunk n later is told that it is
//! taken. Several chunks may be under way at once, so some beyond n may exist or come to exist: they are dead, because
//! what they hold counts as archived only after all before them. Barriers are never removed.

use super::client::{Client, Created, Replaced};
use super::error::ArchiveError;
use super::frame::Frame;
use super::key::Keys;
use super::packs::send_bytes;
use super::runtime::beside;
use super::store::Tag;
use crate::wire::Wire;
use bytes::Bytes;
use lineal_wal::planted::{self, Bug};
use lineal_wal::{EngineId, Epoch, Lsn};

/// The newest format version of chunks that this program reads, and the one that it writes.
pub const CHUNK_VERSION: u16 = 1;

/// Most bytes of the log in one chunk, with its head. Source: the largest record of the log (128 MiB) must fit.
pub const CHUNK_BYTES_MAX: u32 = 129 << 20;

const FRAME: Frame = Frame {
    magic: *b"LINLCHNK",
    version: CHUNK_VERSION,
    what: "a chunk of the log",
    body_bytes_max: CHUNK_BYTES_MAX,
};
/// Bytes of a stored barrier; every chunk is longer.
pub(crate) const BARRIER_BYTES: u64 = 137;
/// Where the nonce of a stored chunk ends.
const NONCE_END: usize = 16 + 1 + 16 + 8 + 8 + 16;
const CHUNK: u8 = 1;
const BARRIER: u8 = 2;

/// The hash that a chunk is followed by; it names the chunk and all before it in its epoch.
pub type ChunkHash = [u8; 32];

/// A part of one epoch's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunk {
    /// Its number in the epoch, from 1.
    pub n: u64,
    /// LSN of its first record.
    pub first: Lsn,
    /// LSN of its last record.
    pub last: Lsn,
    /// The records, as the log has them.
    pub bytes: Bytes,
    /// Names this chunk and all before it.
    pub hash: ChunkHash,
}

/// What stands at a number of an epoch's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stands {
    /// A chunk: the log goes on.
    Chunk(Chunk),
    /// A barrier: the log of this epoch has ended.
    Barrier {
        /// The epoch that put it there.
        by: Epoch,
    },
    /// Nothing yet: the log ends here so far.
    Nothing,
}

/// Chunk `n` of an epoch, and the hash of the one before: zeros for the first.
#[derive(Debug, Clone, Copy)]
struct Place {
    engine: EngineId,
    epoch: Epoch,
    n: u64,
    before: ChunkHash,
}

impl Place {
    fn key(&self) -> String {
        Keys(self.engine).chunk(self.epoch, self.n)
    }

    fn wrap(&self, kind: u8, nonce: [u8; 16], numbers: &[u64], bytes: &[u8]) -> Result<Bytes, ArchiveError> {
        let mut body = Vec::with_capacity(128 + bytes.len());
        body.push(kind);
        body.extend_from_slice(&self.engine.0);
        body.extend_from_slice(&self.epoch.0.to_le_bytes());
        body.extend_from_slice(&self.n.to_le_bytes());
        body.extend_from_slice(&nonce);
        body.extend_from_slice(&self.before);
        for number in numbers {
            body.extend_from_slice(&number.to_le_bytes());
        }
        body.extend_from_slice(bytes);
        FRAME.wrap(&self.key(), &body)
    }

    fn unwrap(&self, stored: &Bytes) -> Result<Stands, ArchiveError> {
        let key = self.key();
        let (body, hash) = FRAME.unwrap(&key, stored)?;
        let damaged = |reason| ArchiveError::Damaged { key: key.clone(), reason };
        let mut wire = Wire::new(&body);
        let head = || "its body breaks a rule of the format";
        let kind = wire.u8().ok_or_else(|| damaged(head()))?;
        let engine = EngineId(wire.array().ok_or_else(|| damaged(head()))?);
        if engine != self.engine {
            return Err(ArchiveError::WrongEngine { key, expected: self.engine, found: engine });
        }
        let parsed = (|| {
            let (epoch, n) = (Epoch(wire.u64()?), wire.u64()?);
            let _nonce: [u8; 16] = wire.array()?;
            let before: ChunkHash = wire.array()?;
            Some((epoch, n, before, wire.u64()?))
        })();
        let (epoch, n, before, number) = parsed.ok_or_else(|| damaged(head()))?;
        if (epoch, n) != (self.epoch, self.n) {
            return Err(damaged("it is of another place in the log"));
        }
        if before != self.before {
            return Err(damaged("it does not follow the chunk before it"));
        }
        match kind {
            CHUNK => {
                let (first, last) = (Lsn(number), Lsn(wire.u64().ok_or_else(|| damaged(head()))?));
                if first == Lsn::NONE || first > last {
                    return Err(damaged("its positions make no sense"));
                }
                Ok(Stands::Chunk(Chunk { n, first, last, bytes: body.slice(wire.at()..), hash }))
            }
            BARRIER if wire.is_empty() => Ok(Stands::Barrier { by: Epoch(number) }),
            _ => Err(damaged(head())),
        }
    }
}

/// For fuzzers: the place of the first chunk of the first epoch.
#[cfg(feature = "sim")]
fn first(engine: EngineId) -> Place {
    Place { engine, epoch: Epoch(1), n: 1, before: [0; 32] }
}

/// For fuzzers: the frame of the first chunk and its key.
#[cfg(feature = "sim")]
pub(super) fn framed(engine: EngineId) -> (&'static Frame, String) {
    (&FRAME, first(engine).key())
}

/// For fuzzers: what is read of the first chunk, written again.
#[cfg(feature = "sim")]
pub(super) fn reread(engine: EngineId, stored: &Bytes) -> Result<Bytes, ArchiveError> {
    let place = first(engine);
    let mut nonce = [0; 16];
    let found = place.unwrap(stored)?;
    nonce.copy_from_slice(&stored[NONCE_END - 16..NONCE_END]);
    match found {
        Stands::Chunk(chunk) => place.wrap(CHUNK, nonce, &[chunk.first.0, chunk.last.0], &chunk.bytes),
        Stands::Barrier { by } => place.wrap(BARRIER, nonce, &[by.0], &[]),
        Stands::Nothing => unreachable!("something was stored"),
    }
}

/// The end of one epoch's log in the archive: reads forward, or appends.
///
/// Invariant: `n` is the first number that it has not read or written, and `before` names everything before.
#[derive(Debug, Clone)]
pub struct LogEnd {
    place: Place,
}

impl LogEnd {
    /// Before the first chunk of an epoch's log.
    #[must_use]
    pub fn begin(engine: EngineId, epoch: Epoch) -> Self {
        Self { place: Place { engine, epoch, n: 1, before: [0; 32] } }
    }

    /// Before chunk `n`, where `before` is the hash of the chunk before it.
    #[must_use]
    pub fn at(engine: EngineId, epoch: Epoch, n: u64, before: ChunkHash) -> Self {
        Self { place: Place { engine, epoch, n, before } }
    }

    /// Before chunk `n` of an epoch, which says itself what is before it; `None` if nothing stands there. For who knows
    /// nothing else of that log.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub(crate) async fn found(
        client: &Client,
        engine: EngineId,
        epoch: Epoch,
        n: u64,
    ) -> Result<Option<Self>, ArchiveError> {
        let key = Keys(engine).chunk(epoch, n);
        let before = |stored: &Bytes| -> Result<ChunkHash, ArchiveError> {
            FRAME.unwrap(&key, stored)?;
            let before = stored.get(NONCE_END..).and_then(|rest| rest.first_chunk().copied());
            let reason = "its body breaks a rule of the format";
            before.ok_or_else(|| ArchiveError::Damaged { key: key.clone(), reason })
        };
        Ok(client.get_as(&key, before).await?.map(|(before, _)| Self::at(engine, epoch, n, before)))
    }

    /// The next number.
    #[must_use]
    pub fn n(&self) -> u64 {
        self.place.n
    }

    /// The hash of the chunk before the next number.
    pub(crate) fn before(&self) -> ChunkHash {
        self.place.before
    }

    /// The epoch.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.place.epoch
    }

    /// Asks what stands at the next number; a chunk is passed by. One request.
    ///
    /// # Errors
    /// [`ArchiveError::Damaged`] for what is none or does not follow; as [`Client::get`].
    pub async fn read(&mut self, client: &Client) -> Result<Stands, ArchiveError> {
        let found = client.get_as(&self.place.key(), |bytes| self.place.unwrap(bytes)).await?;
        let Some((stands, _)) = found else {
            return Ok(Stands::Nothing);
        };
        if let Stands::Chunk(chunk) = &stands {
            self.pass(chunk.hash);
        }
        Ok(stands)
    }

    /// Makes the next chunk and passes it by: several may be [put](NextChunk::put) at once, and each is archived when
    /// all before it are. Sends nothing.
    ///
    /// # Errors
    /// [`ArchiveError::TooLarge`].
    ///
    /// # Panics
    /// If `first` is none or above `last`.
    pub fn append(
        &mut self,
        client: &Client,
        first: Lsn,
        last: Lsn,
        bytes: &[u8],
    ) -> Result<NextChunk, ArchiveError> {
        assert!(first > Lsn::NONE && first <= last, "a chunk holds records");
        let stored = self.place.wrap(CHUNK, client.nonce(), &[first.0, last.0], bytes)?;
        let mut hash = [0; 32];
        hash.copy_from_slice(&stored[stored.len() - 32..]);
        let next = NextChunk { place: self.place, stored, last, hash };
        self.pass(hash);
        Ok(next)
    }

    /// Ends this epoch's log for `by`: reads to the first number where nothing stands and puts the barrier there. Gives
    /// the chunks that are before it to `visit`, and says which epoch's barrier it is: that of `by`, or an earlier one.
    /// When it answers, nothing is ever archived in this epoch again.
    ///
    /// # Errors
    /// As [`read`](Self::read) and [`Client::create`], and those of `visit`.
    pub async fn close(
        &mut self,
        client: &Client,
        by: Epoch,
        mut visit: impl FnMut(Chunk) -> Result<(), ArchiveError>,
    ) -> Result<Epoch, ArchiveError> {
        loop {
            match self.read(client).await? {
                Stands::Chunk(chunk) => visit(chunk)?,
                Stands::Barrier { by } => return Ok(by),
                Stands::Nothing if planted::on(Bug::BarrierSkipped) => return Ok(by),
                Stands::Nothing => {
                    let barrier = self.place.wrap(BARRIER, client.nonce(), &[by.0], &[])?;
                    debug_assert_eq!(barrier.len() as u64, BARRIER_BYTES);
                    if let Created::Won(_) = client.create(&self.place.key(), barrier).await? {
                        return Ok(by);
                    }
                    // A chunk came first: it counts, and the barrier goes behind it.
                }
            }
        }
    }

    /// Puts the barrier of `by` at the next number over what stands there and is damaged. That is kept beside it.
    ///
    /// # Errors
    /// [`ArchiveError::Diverged`] if it changes meanwhile; as [`Client::replace`].
    pub(crate) async fn close_over_damage(&self, client: &Client, by: Epoch) -> Result<(), ArchiveError> {
        let key = self.place.key();
        // What is gone by now is a hole, which the next attempt closes.
        let Some(found) = client.get(&key).await? else { return Ok(()) };
        if self.place.unwrap(&found.bytes).is_ok() {
            // It was spoilt on the way, and is whole.
            return Err(ArchiveError::Diverged { key, reason: "it is not damaged any more: repair again" });
        }
        let tag = found.tag.ok_or_else(|| client.tells_no_tags())?;
        let aside = Keys(self.place.engine).damaged_chunk(self.place.epoch, self.place.n);
        send_bytes(client, &aside, found.bytes).await?;
        let barrier = self.place.wrap(BARRIER, client.nonce(), &[by.0], &[])?;
        match client.replace(&key, &tag, barrier).await? {
            Replaced::Won(_) => Ok(()),
            Replaced::Lost(_) => {
                Err(ArchiveError::Diverged { key, reason: "it changes while it is repaired" })
            }
        }
    }

    fn pass(&mut self, hash: ChunkHash) {
        self.place.n += 1;
        self.place.before = hash;
    }
}

/// A chunk that is ready to be stored.
#[derive(Debug, Clone)]
pub struct NextChunk {
    place: Place,
    stored: Bytes,
    last: Lsn,
    hash: ChunkHash,
}

impl NextChunk {
    /// Its number.
    #[must_use]
    pub fn n(&self) -> u64 {
        self.place.n
    }

    /// LSN of its last record.
    #[must_use]
    pub fn last(&self) -> Lsn {
        self.last
    }

    /// Names it and all before it.
    #[must_use]
    pub fn hash(&self) -> ChunkHash {
        self.hash
    }

    /// Stores it. When it answers the store says that it is there, under this tag; it is *archived* when it was
    /// [checked](Self::check) and all before it are, too. May be called again after [`ArchiveError::Unavailable`] and
    /// [`ArchiveError::Damaged`].
    ///
    /// # Errors
    /// [`ArchiveError::Damaged`] if the store had kept a part of it only, which is mended; [`ArchiveError::Fenced`] if a barrier stands there, [`ArchiveError::Diverged`] if another chunk does, and as
    /// [`Client::create`].
    pub async fn put(&self, client: &Client) -> Result<Tag, ArchiveError> {
        let key = self.place.key();
        let found = match client.create(&key, self.stored.clone()).await? {
            Created::Won(tag) => return Ok(tag),
            Created::Taken(found) => found,
        };
        if let (true, Some(tag)) = (self.is_torn(&found.bytes), found.tag) {
            // Whoever else was quicker is seen when it is put again.
            client.replace(&key, &tag, self.stored.clone()).await?;
            let reason = "a part of it was stored; it was stored again";
            return Err(ArchiveError::Damaged { key, reason });
        }
        match self.place.unwrap(&found.bytes)? {
            Stands::Barrier { by } => Err(ArchiveError::Fenced { epoch: self.place.epoch, by }),
            _ => Err(ArchiveError::Diverged { key, reason: "another chunk stands there" }),
        }
    }

    /// Whether these bytes are the beginning of this chunk, as a store leaves them that keeps a part of what it is sent. Its
    /// nonce is among them, so they are nobody else's.
    fn is_torn(&self, found: &[u8]) -> bool {
        found.len() >= NONCE_END && found.len() < self.stored.len() && self.stored.starts_with(found)
    }

    /// Sees that the store has all of it: by the tag, where that is the digest of what the store kept, or else by reading
    /// it back.
    ///
    /// # Errors
    /// As [`Client::get_verified`].
    pub async fn check(&self, client: &Client, tag: Tag) -> Result<(), ArchiveError> {
        if planted::on(Bug::ChunkNotReadBack) {
            return Ok(());
        }
        let stored = self.stored.clone();
        // Some milliseconds for megabytes, and other requests share the thread.
        if beside(move || tag.is_digest_of(&stored)).await? {
            return Ok(());
        }
        let bytes = self.stored.len() as u64;
        client.get_verified(&self.place.key(), bytes, &blake3::hash(&self.stored)).await.map(drop)
    }
}
