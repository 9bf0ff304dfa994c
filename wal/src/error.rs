//! What can go wrong with the log, by what the caller must do about it.

use crate::ids::{EngineId, Lsn};
use std::io;
use std::sync::Arc;

/// Why the log could not do what was asked.
///
/// Cloneable, because one failure of the device is the answer to every gate that waited for it.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LogError {
    /// The operating system refused; nothing of the log changed because of it. Try again, or see to the cause.
    #[error("could not {op} {path}")]
    #[non_exhaustive]
    Io {
        /// What was tried, as a verb.
        op: &'static str,
        /// The file, relative to the data directory.
        path: String,
        /// What the operating system said.
        source: Arc<io::Error>,
    },
    /// A write or sync of the log failed, here or earlier. What had been durable stays so; the outcome of everything
    /// later is unknown until the log is opened again. Final for this `Log`.
    #[error("the log is poisoned: could not {op} {path}; open the engine again")]
    #[non_exhaustive]
    Poisoned {
        /// What failed first, as a verb.
        op: &'static str,
        /// The file, relative to the data directory.
        path: String,
        /// What the operating system said then.
        source: Arc<io::Error>,
    },
    /// The disk has no room for more log. Nothing was changed: make room (or release log) and try again.
    #[error("no space left for the log: {needed_bytes} bytes needed, {free_bytes} free")]
    #[non_exhaustive]
    NoSpace {
        /// Bytes of the segment that could not be prepared.
        needed_bytes: u64,
        /// Bytes that the file system said were free.
        free_bytes: u64,
    },
    /// Bytes that had been acknowledged, or that name them, are not what was written. Nothing is skipped or guessed.
    #[error("{path} is damaged at byte {offset}: {reason}")]
    #[non_exhaustive]
    Damaged {
        /// The file, relative to the data directory.
        path: String,
        /// Where in it.
        offset: u64,
        /// The first record that is missing because of it, if that is known.
        lsn: Option<Lsn>,
        /// What is wrong with it.
        reason: String,
    },
    /// The record is not in the log any more: it was released after a checkpoint.
    #[error("record {lsn} has been released from the log")]
    #[non_exhaustive]
    Released {
        /// The record asked for.
        lsn: Lsn,
    },
    /// The record is not in the log yet: no such position has been handed out, or it is not durable where that is asked.
    #[error("record {lsn} is not in the log, which reaches to {last}")]
    #[non_exhaustive]
    Beyond {
        /// The record asked for.
        lsn: Lsn,
        /// The last one there is.
        last: Lsn,
    },
    /// The log was opened for reading.
    #[error("the log is open for reading only")]
    ReadOnly,
    /// The log has been closed.
    #[error("the log is closed")]
    Closed,
    /// The record is larger than a log record can be.
    #[error("a record of {bytes} bytes is larger than the {max} that the log takes")]
    #[non_exhaustive]
    TooLarge {
        /// Bytes of the record.
        bytes: u64,
        /// [`RECORD_BYTES_MAX`](crate::format::RECORD_BYTES_MAX).
        max: u64,
    },
    /// The file was written by a newer version of this program.
    #[error("{path} has format version {found}; this program knows versions up to {known}")]
    #[non_exhaustive]
    NewerVersion {
        /// The file, relative to the data directory.
        path: String,
        /// Its version.
        found: u32,
        /// The newest version known here.
        known: u32,
    },
    /// The next segment was not ready in time; the device is too slow for what is written. Try again.
    #[error("the next log segment is not ready yet")]
    Busy,
    /// The file belongs to another engine.
    #[error("{path} belongs to engine {found}, not to {expected}")]
    #[non_exhaustive]
    OtherEngine {
        /// The file, relative to the data directory.
        path: String,
        /// The engine that wrote it.
        found: EngineId,
        /// The engine that is being opened.
        expected: EngineId,
    },
    /// The caller of a visit stopped it.
    #[error("stopped by the caller: {reason}")]
    #[non_exhaustive]
    Stopped {
        /// What the caller said.
        reason: String,
    },
}

impl LogError {
    pub(crate) fn io(op: &'static str, path: &str, source: io::Error) -> Self {
        Self::Io { op, path: path.to_owned(), source: Arc::new(source) }
    }

    pub(crate) fn poisoned(op: &'static str, path: &str, source: io::Error) -> Self {
        Self::Poisoned { op, path: path.to_owned(), source: Arc::new(source) }
    }

    pub(crate) fn damaged(path: &str, offset: u64, lsn: Option<Lsn>, reason: impl Into<String>) -> Self {
        Self::Damaged { path: path.to_owned(), offset, lsn, reason: reason.into() }
    }

    /// For callers of `recover` and `scan` who want to end the visit.
    pub fn stopped(reason: impl Into<String>) -> Self {
        Self::Stopped { reason: reason.into() }
    }
}
