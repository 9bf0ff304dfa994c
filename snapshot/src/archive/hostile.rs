//! For fuzzers: what the archive keeps in frames, read from bytes that anybody may have put there. Nothing else uses this.

use super::chunk;
use super::error::ArchiveError;
use super::frame::Frame;
use super::lease;
use super::manifest;
use bytes::Bytes;
use lineal_wal::EngineId;

/// What stands in a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framed {
    /// The lease.
    Lease,
    /// The manifest.
    Manifest,
    /// The first chunk of the log of the first epoch, or a barrier there.
    Chunk,
}

impl Framed {
    /// A frame around any body, under the right key and with a right hash.
    ///
    /// # Errors
    /// [`ArchiveError::TooLarge`].
    pub fn wrap(self, engine: EngineId, body: &[u8]) -> Result<Bytes, ArchiveError> {
        let (frame, key): (&Frame, String) = match self {
            Self::Lease => lease::framed(engine),
            Self::Manifest => manifest::framed(engine),
            Self::Chunk => chunk::framed(engine),
        };
        frame.wrap(&key, body)
    }

    /// Reads it, and writes again what was read.
    ///
    /// # Errors
    /// As reading it from a store; those of writing cannot come.
    pub fn reread(self, engine: EngineId, stored: &Bytes) -> Result<Bytes, ArchiveError> {
        match self {
            Self::Lease => lease::reread(engine, stored),
            Self::Manifest => manifest::Manifest::decode(engine, stored)?.encode(),
            Self::Chunk => chunk::reread(engine, stored),
        }
    }
}
