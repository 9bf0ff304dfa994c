//! The engine's log, as the upload reads it.

use lineal_snapshot::archive::{ArchiveError, DurableLog, LogPiece};
use lineal_wal::{Log, Lsn};

use crate::sync::Arc;

/// See [`DurableLog`].
#[derive(Debug)]
pub(super) struct EngineLog(pub(super) Log);

impl DurableLog for EngineLog {
    fn durable(&self) -> Lsn {
        self.0.durable()
    }

    fn begins(&self) -> Lsn {
        self.0.stats().released_below.next()
    }

    fn bytes_after(&self, after: Lsn) -> u64 {
        self.0.durable_bytes_after(after)
    }

    fn read(&self, after: Lsn, bytes_max: u32) -> Result<Option<LogPiece>, ArchiveError> {
        let piece = self
            .0
            .read_durable(after, bytes_max)
            .map_err(|source| ArchiveError::Local { source: Arc::new(source) })?;
        Ok(piece.map(|piece| LogPiece { first: piece.first, last: piece.last, bytes: piece.bytes }))
    }
}
