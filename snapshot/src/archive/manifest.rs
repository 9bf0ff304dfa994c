//! What the archive holds: one small object that is changed by conditional put only, and only when packs are.
//!
//! Body of the frame `LINLMANI`, see `frame.rs`; all integers are little-endian:
//! ```text
//!    16 engine, 8 epoch of the writer, 8 generation, 16 nonce
//!     8 time it was made (µs), 8 horizon (µs): what happened before may be gone
//!     8 line: the packs hold every commit up to this LSN
//!     4 packs, ascending by number, each 8 number, 8 file bytes, 32 BLAKE3 of the file
//!     4 logs, ascending by epoch, each 8 epoch, 8 first chunk that is still needed (from 1),
//!       32 hash of the chunk before that one, zeros for the first
//!     4 note bytes, note: opaque here
//! ```
//! The state of the archive is the packs, then the records above the line of the logs in their order: of each from its
//! first chunk to its barrier, of the last to the first chunk that is missing. A pack that is listed has been uploaded
//! and read back. The generation grows by one with every change, so that one that is older than a known one is seen.

use super::chunk::ChunkHash;
use super::client::{Client, Created, Replaced};
use super::error::ArchiveError;
use super::frame::Frame;
use super::key::Keys;
use super::store::{Found, Tag};
use crate::entry::PackNumber;
use crate::wire::Wire;
use bytes::Bytes;
use lineal_wal::{EngineId, Epoch, Lsn, Micros};

/// The newest format version of manifests that this program reads, and the one that it writes.
pub const MANIFEST_VERSION: u16 = 1;

/// Largest manifest, in bytes. Source: a decision; 48 bytes for a pack leave room for hundreds of thousands.
pub const MANIFEST_BYTES_MAX: u32 = 32 << 20;

const FRAME: Frame = Frame {
    magic: *b"LINLMANI",
    version: MANIFEST_VERSION,
    what: "the manifest",
    body_bytes_max: MANIFEST_BYTES_MAX,
};
const PACK_BYTES: usize = 48;
const LOG_BYTES: usize = 48;

/// Beyond every generation and every chunk that comes to be, so that counting on from what was read never overflows.
const NUMBER_MAX: u64 = 1 << 62;

/// A pack in the archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArchivedPack {
    /// Its number.
    pub number: PackNumber,
    /// Its file's size.
    pub bytes: u64,
    /// BLAKE3 of its file.
    pub hash: [u8; 32],
}

impl ArchivedPack {
    /// Its key.
    #[must_use]
    pub fn key(&self, keys: &Keys) -> String {
        keys.pack(self.number, &self.hash.into())
    }
}

/// The log of one epoch, as far as it is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ArchivedLog {
    /// The epoch.
    pub epoch: Epoch,
    /// The first chunk that holds anything above the line, from 1.
    pub first_chunk: u64,
    /// The hash of the chunk before it; zeros if it is the first.
    pub before: ChunkHash,
}

impl ArchivedLog {
    /// All of an epoch's log.
    #[must_use]
    pub fn all(epoch: Epoch) -> Self {
        Self { epoch, first_chunk: 1, before: [0; 32] }
    }
}

/// What the archive holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// Whose archive it is.
    pub engine: EngineId,
    /// The epoch that wrote this.
    pub epoch: Epoch,
    /// Grows by one with every change, from 1.
    pub generation: u64,
    /// Drawn for this writing.
    pub nonce: [u8; 16],
    /// When it was made.
    pub time: Micros,
    /// What happened before may be gone; only moves forward.
    pub horizon: Micros,
    /// The packs hold every commit up to this one.
    pub line: Lsn,
    /// Ascending by number.
    pub packs: Vec<ArchivedPack>,
    /// Ascending by epoch.
    pub logs: Vec<ArchivedLog>,
    /// What the engine keeps here.
    pub note: Vec<u8>,
}

impl Manifest {
    /// The first manifest of an engine: no packs, and the log of `epoch` from its first chunk.
    #[must_use]
    pub fn first(engine: EngineId, epoch: Epoch, time: Micros) -> Self {
        Self {
            engine,
            epoch,
            generation: 1,
            nonce: [0; 16],
            time,
            horizon: Micros(0),
            line: Lsn::NONE,
            packs: Vec::new(),
            logs: vec![ArchivedLog::all(epoch)],
            note: Vec::new(),
        }
    }

    /// The stored form.
    ///
    /// # Errors
    /// [`ArchiveError::TooLarge`].
    ///
    /// # Panics
    /// If packs or logs are not in order: that is a bug of who made it.
    pub fn encode(&self) -> Result<Bytes, ArchiveError> {
        assert!(self.in_order(), "packs and logs of a manifest ascend, and chunks are counted from 1");
        let mut body = Vec::with_capacity(128 + PACK_BYTES * self.packs.len() + self.note.len());
        body.extend_from_slice(&self.engine.0);
        body.extend_from_slice(&self.epoch.0.to_le_bytes());
        body.extend_from_slice(&self.generation.to_le_bytes());
        body.extend_from_slice(&self.nonce);
        for number in [self.time.0, self.horizon.0, self.line.0] {
            body.extend_from_slice(&number.to_le_bytes());
        }
        body.extend_from_slice(&count(self.packs.len()));
        for pack in &self.packs {
            body.extend_from_slice(&pack.number.0.to_le_bytes());
            body.extend_from_slice(&pack.bytes.to_le_bytes());
            body.extend_from_slice(&pack.hash);
        }
        body.extend_from_slice(&count(self.logs.len()));
        for log in &self.logs {
            body.extend_from_slice(&log.epoch.0.to_le_bytes());
            body.extend_from_slice(&log.first_chunk.to_le_bytes());
            body.extend_from_slice(&log.before);
        }
        body.extend_from_slice(&count(self.note.len()));
        body.extend_from_slice(&self.note);
        FRAME.wrap(&Keys(self.engine).manifest(), &body)
    }

    /// Reads what [`encode`](Self::encode) wrote, for the archive of `engine`.
    ///
    /// # Errors
    /// [`ArchiveError::Damaged`], [`ArchiveError::NewerVersion`], [`ArchiveError::WrongEngine`].
    pub fn decode(engine: EngineId, bytes: &Bytes) -> Result<Self, ArchiveError> {
        let key = Keys(engine).manifest();
        let (body, _) = FRAME.unwrap(&key, bytes)?;
        let Some(manifest) = Self::parse(&body).filter(Self::in_order) else {
            return Err(ArchiveError::Damaged { key, reason: "its body breaks a rule of the format" });
        };
        if manifest.engine != engine {
            return Err(ArchiveError::WrongEngine { key, expected: engine, found: manifest.engine });
        }
        Ok(manifest)
    }

    fn parse(body: &[u8]) -> Option<Self> {
        let mut wire = Wire::new(body);
        let engine = EngineId(wire.array()?);
        let epoch = Epoch(wire.u64()?);
        let generation = wire.u64()?;
        let nonce = wire.array()?;
        let (time, horizon, line) = (Micros(wire.u64()?), Micros(wire.u64()?), Lsn(wire.u64()?));
        let packs = rows(&mut wire, PACK_BYTES, |row| {
            let (number, bytes) = (PackNumber(row.u64()?), row.u64()?);
            Some(ArchivedPack { number, bytes, hash: row.array()? })
        })?;
        let logs = rows(&mut wire, LOG_BYTES, |row| {
            let (epoch, first_chunk) = (Epoch(row.u64()?), row.u64()?);
            Some(ArchivedLog { epoch, first_chunk, before: row.array()? })
        })?;
        let note_bytes = wire.u32()?;
        let note = wire.take_u64(note_bytes.into())?.to_vec();
        wire.is_empty().then_some(Self {
            engine,
            epoch,
            generation,
            nonce,
            time,
            horizon,
            line,
            packs,
            logs,
            note,
        })
    }

    fn in_order(&self) -> bool {
        (1..NUMBER_MAX).contains(&self.generation)
            && self.packs.is_sorted_by(|a, b| a.number < b.number)
            && self.logs.is_sorted_by(|a, b| a.epoch < b.epoch)
            && self.logs.iter().all(|log| (1..NUMBER_MAX).contains(&log.first_chunk))
    }
}

fn count(items: usize) -> [u8; 4] {
    // What does not fit is refused by the frame's limit, which is far below.
    u32::try_from(items).unwrap_or(u32::MAX).to_le_bytes()
}

/// Rows of a fixed size behind their count; nothing is allocated for more than there are bytes.
fn rows<T>(
    wire: &mut Wire<'_>,
    row_bytes: usize,
    row: impl Fn(&mut Wire<'_>) -> Option<T>,
) -> Option<Vec<T>> {
    let count = usize::try_from(wire.u32()?).ok()?;
    let bytes = wire.take(count.checked_mul(row_bytes)?)?;
    bytes.chunks_exact(row_bytes).map(|bytes| row(&mut Wire::new(bytes))).collect()
}

/// The newest manifest as its one writer knows it.
///
/// Invariants: (1) `manifest` is what the store held under `tag`; (2) what stands there now is that, or one whose nonce
/// is in `unsettled`, or another writer's; (3) what follows has the next generation, no older epoch, no lower line and
/// no earlier horizon.
#[derive(Debug)]
pub struct ManifestWriter {
    manifest: Manifest,
    tag: Tag,
    /// Nonces of changes that may have arrived although nobody said so. Each was put over `tag`, so one of them at most.
    unsettled: Vec<[u8; 16]>,
}

impl ManifestWriter {
    /// The manifest of an engine, if it has one. "There is none" and "it cannot be read" are different answers.
    ///
    /// # Errors
    /// As [`Client::get`] and [`Manifest::decode`]; [`ArchiveError::Unsuitable`] for a store that tells no tags.
    pub async fn load(client: &Client, engine: EngineId) -> Result<Option<Self>, ArchiveError> {
        let key = Keys(engine).manifest();
        let found = client.get_as(&key, |bytes| Manifest::decode(engine, bytes)).await?;
        let Some((manifest, tag)) = found else {
            return Ok(None);
        };
        let tag = tag.ok_or_else(|| no_tags(client))?;
        Ok(Some(Self { manifest, tag, unsettled: Vec::new() }))
    }

    /// The manifest of an engine, or else `first`, stored as its first.
    ///
    /// # Errors
    /// As [`load`](Self::load) and [`Client::create`].
    pub async fn load_or_create(client: &Client, mut first: Manifest) -> Result<Self, ArchiveError> {
        if let Some(found) = Self::load(client, first.engine).await? {
            return Ok(found);
        }
        first.nonce = client.nonce();
        let key = Keys(first.engine).manifest();
        let (manifest, tag) = match client.create(&key, first.encode()?).await? {
            Created::Won(tag) => (first, Some(tag)),
            Created::Taken(Found { bytes, tag }) => (Manifest::decode(first.engine, &bytes)?, tag),
        };
        Ok(Self { manifest, tag: tag.ok_or_else(|| no_tags(client))?, unsettled: Vec::new() })
    }

    /// What the store held last.
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Stores a changed manifest; `change` gets the newest one with generation, epoch and time already set, and is
    /// called again where the newest turns out to be another. Stored when it answers. After
    /// [`ArchiveError::Unavailable`] the change may be stored or not; the next call settles it.
    ///
    /// Until `epoch` has written once, an older epoch may still get in between; what it changed is kept.
    ///
    /// # Errors
    /// [`ArchiveError::Fenced`] if a newer epoch has replaced the manifest, [`ArchiveError::Diverged`] if anybody else
    /// has or the store went back to an older one, and as [`Client::replace`].
    ///
    /// # Panics
    /// If `change` moves epoch, line or horizon back: that is a bug of the caller.
    pub async fn change(
        &mut self,
        client: &Client,
        epoch: Epoch,
        time: Micros,
        change: impl Fn(&mut Manifest),
    ) -> Result<(), ArchiveError> {
        let key = Keys(self.manifest.engine).manifest();
        loop {
            if self.manifest.epoch > epoch {
                return Err(ArchiveError::Fenced { epoch, by: self.manifest.epoch });
            }
            let next = self.next(client.nonce(), epoch, time, &change);
            let bytes = next.encode()?;
            self.unsettled.push(next.nonce);
            match client.replace(&key, &self.tag, bytes).await? {
                Replaced::Won(tag) => {
                    *self = Self { manifest: next, tag, unsettled: Vec::new() };
                    return Ok(());
                }
                Replaced::Lost(None) => {
                    return Err(ArchiveError::Missing { store: client.name().to_owned(), key });
                }
                Replaced::Lost(Some(found)) => {
                    let manifest = Manifest::decode(next.engine, &found.bytes)?;
                    self.check_other(&key, epoch, &manifest)?;
                    let tag = found.tag.ok_or_else(|| no_tags(client))?;
                    *self = Self { manifest, tag, unsettled: Vec::new() };
                }
            }
        }
    }

    fn next(&self, nonce: [u8; 16], epoch: Epoch, time: Micros, change: &impl Fn(&mut Manifest)) -> Manifest {
        let old = &self.manifest;
        let generation = old.generation + 1;
        let mut next = Manifest { generation, nonce, epoch, time, ..old.clone() };
        change(&mut next);
        assert!(next.epoch >= old.epoch, "a manifest's epoch does not go back");
        assert!(next.line >= old.line, "a manifest's line does not go back");
        assert!(next.horizon >= old.horizon, "a manifest's horizon does not go back");
        next
    }

    /// Another manifest stands where ours was to go: is it one that we may go on from?
    fn check_other(&self, key: &str, epoch: Epoch, other: &Manifest) -> Result<(), ArchiveError> {
        if other.epoch > epoch {
            return Err(ArchiveError::Fenced { epoch, by: other.epoch });
        }
        let ours = self.unsettled.contains(&other.nonce);
        let before_us = self.manifest.epoch < epoch && other.epoch < epoch;
        let reason = if other.generation <= self.manifest.generation {
            "the store went back to an older one"
        } else if ours || before_us {
            return Ok(());
        } else {
            "another writer of the same or an older epoch changed it"
        };
        Err(ArchiveError::Diverged { key: key.to_owned(), reason })
    }
}

fn no_tags(client: &Client) -> ArchiveError {
    ArchiveError::Unsuitable { store: client.name().to_owned(), reason: "it tells no entity tags" }
}
