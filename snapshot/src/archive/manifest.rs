//! What the archive holds: one small object that is changed by conditional put only, and only when packs are.
//!
//! Body of the frame `LINLMANI`, see `frame.rs`; all integers are little-endian:
//! ```text
//!    16 engine, 8 epoch of the writer, 8 generation, 16 nonce
//!     8 time it was made (µs), 8 horizon (µs): what happened before may be gone
//!     8 line: the packs hold every commit up to this LSN
//!     4 packs, ascending by number, each 8 number, 8 file bytes, 32 BLAKE3 of the file,
//!       32 BLAKE3 of each page of its list of pieces, see `pieces.rs`; the file bytes say how many
//!       4 footer bytes, footer: the frame that the file ends with, twice; empty if it is too large to be here
//!     4 logs, ascending by epoch, each 8 epoch, 8 first chunk that is still needed (from 1),
//!       32 hash of the chunk before that one, zeros for the first
//!     4 packs that are garbage, ascending by number and hash, each 8 number, 8 file bytes, 32 BLAKE3 of the file,
//!       8 since when (µs)
//!     4 ranges of chunks that are garbage, ascending and apart, each 8 epoch, 8 first chunk (from 1),
//!       8 chunk behind the last, or all ones: up to the barrier, 8 since when (µs)
//!     4 note bytes, note: opaque here
//! ```
//! The state of the archive is the packs, then the records above the line of the logs in their order: of each from its
//! first chunk to its barrier, of the last to the first chunk that is missing. A pack that is listed has been uploaded
//! and read back. Garbage is what was listed and is not needed any more; it was not deleted yet. The generation grows by one with every change, so that one that is older than a known one is seen.

mod change;
mod rows;

pub use change::ManifestWriter;
#[cfg(test)]
pub(super) use change::read_back;
pub use rows::{ArchivedLog, ArchivedPack, GarbageChunks, GarbagePack};

use super::error::ArchiveError;
use super::frame::Frame;
use super::key::Keys;
use crate::wire::Wire;
use bytes::Bytes;
use lineal_wal::{EngineId, Epoch, Lsn, Micros};
use rows::{Row, put_rows, take_rows};

/// The newest format version of manifests that this program reads, and the one that it writes.
pub const MANIFEST_VERSION: u16 = 1;

/// Largest manifest, in bytes. Source: a decision; some 600 bytes for a pack leave room for tens of thousands.
pub const MANIFEST_BYTES_MAX: u32 = 32 << 20;

const FRAME: Frame = Frame {
    magic: *b"LINLMANI",
    version: MANIFEST_VERSION,
    what: "the manifest",
    body_bytes_max: MANIFEST_BYTES_MAX,
};
/// Beyond every generation and every chunk that comes to be, so that counting on from what was read never overflows.
pub(crate) const NUMBER_MAX: u64 = 1 << 62;

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
    /// Packs that left the list and may still be there. Ascending by number and hash.
    pub garbage_packs: Vec<GarbagePack>,
    /// Chunks that are not needed any more and may still be there. Ascending, and apart from each other.
    pub garbage_chunks: Vec<GarbageChunks>,
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
            garbage_packs: Vec::new(),
            garbage_chunks: Vec::new(),
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
        let mut body = Vec::new();
        body.extend_from_slice(&self.engine.0);
        body.extend_from_slice(&self.epoch.0.to_le_bytes());
        body.extend_from_slice(&self.generation.to_le_bytes());
        body.extend_from_slice(&self.nonce);
        for number in [self.time.0, self.horizon.0, self.line.0] {
            body.extend_from_slice(&number.to_le_bytes());
        }
        put_rows(&mut body, &self.packs);
        put_rows(&mut body, &self.logs);
        put_rows(&mut body, &self.garbage_packs);
        put_rows(&mut body, &self.garbage_chunks);
        body.extend_from_slice(&rows::count(self.note.len()));
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
        let (packs, logs) = (take_rows(&mut wire)?, take_rows(&mut wire)?);
        let (garbage_packs, garbage_chunks) = (take_rows(&mut wire)?, take_rows(&mut wire)?);
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
            garbage_packs,
            garbage_chunks,
            note,
        })
    }

    fn in_order(&self) -> bool {
        (1..NUMBER_MAX).contains(&self.generation)
            && in_order(&self.packs)
            && in_order(&self.logs)
            && in_order(&self.garbage_packs)
            && in_order(&self.garbage_chunks)
            && self.garbage_packs.iter().all(|garbage| !self.lists(garbage))
    }

    /// Whether no chunk is both needed and garbage.
    fn keeps_to_needed_chunks(&self) -> bool {
        self.garbage_chunks.iter().all(|garbage| {
            let log = self.logs.iter().find(|log| log.epoch == garbage.epoch);
            log.is_none_or(|log| garbage.end.is_some_and(|end| end <= log.first_chunk))
        })
    }

    /// Whether a pack that is said to be garbage is listed.
    pub(crate) fn lists(&self, garbage: &GarbagePack) -> bool {
        let listed = self.packs.binary_search_by_key(&garbage.number, |pack| pack.number);
        listed.is_ok_and(|at| self.packs[at].hash == garbage.hash)
    }
}

/// For fuzzers: the frame of a manifest and its key.
#[cfg(feature = "sim")]
pub(super) fn framed(engine: EngineId) -> (&'static Frame, String) {
    (&FRAME, Keys(engine).manifest())
}

fn in_order<T: Row>(rows: &[T]) -> bool {
    rows.iter().all(Row::is_valid) && rows.is_sorted_by(Row::is_before)
}
