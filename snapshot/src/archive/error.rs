//! What can go wrong with an archive.

use super::store::{StoreError, StoreErrorKind};
use crate::sync::Arc;
use lineal_wal::{EngineId, Epoch, Micros};
use std::io;
use std::ops::Range;
use thiserror::Error;

/// What the caller of a failed operation on the archive can do about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ArchiveErrorKind {
    /// The store does not answer: later it may.
    Retry,
    /// Mend the URL, the options, the credentials or the rights.
    Setup,
    /// Bytes in the store are wrong or missing.
    Corrupt,
    /// Use a newer program.
    Newer,
    /// Another writer has the archive; this one must stop.
    Fenced,
    /// The archive belongs to something else, or knows more than the local data: nothing may be uploaded.
    Diverged,
    /// The local disk fails: see the log and the disk.
    Local,
    /// The archive was closed.
    Closed,
}

/// An error of the archive. Every one names what it concerns; cheap to clone.
#[derive(Debug, Clone, Error)]
#[non_exhaustive]
pub enum ArchiveError {
    /// The store did not answer in time, however often it was asked. What was to be stored may be stored or not.
    #[error("{store} did not {op} {key} in {attempts} attempts; it is tried again later")]
    Unavailable {
        /// The store.
        store: String,
        /// What was asked.
        op: &'static str,
        /// Of which key.
        key: String,
        /// How often.
        attempts: u32,
        /// The last failure.
        source: StoreError,
    },
    /// The store refuses this program.
    #[error("{store} denies to {op} {key}: check the credentials and what they allow")]
    Denied {
        /// The store.
        store: String,
        /// What was asked.
        op: &'static str,
        /// Of which key.
        key: String,
        /// What the store said.
        source: StoreError,
    },
    /// There is no such bucket.
    #[error("{store} does not exist: make the bucket first, or correct the URL")]
    NoBucket {
        /// The store.
        store: String,
        /// What the store said.
        source: StoreError,
    },
    /// The store rejects what every store accepts.
    #[error("{store} rejects to {op} {key}: check region, endpoint and options")]
    Rejected {
        /// The store.
        store: String,
        /// What was asked.
        op: &'static str,
        /// Of which key.
        key: String,
        /// What the store said.
        source: StoreError,
    },
    /// The store ignores or lacks conditional puts; two writers would overwrite one another.
    #[error(
        "{store} cannot hold an archive: {reason}; use a store with conditional puts (S3, GCS, Azure, MinIO, Ceph, R2) \
         or a local folder"
    )]
    Unsuitable {
        /// The store.
        store: String,
        /// What the probe found.
        reason: &'static str,
    },
    /// The URL or an option cannot be used.
    #[error("the archive {url} cannot be used: {reason}")]
    Location {
        /// The URL, without credentials.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// What must be there is not.
    #[error("{store} has no {key}, which the archive needs")]
    Missing {
        /// The store.
        store: String,
        /// The key.
        key: String,
    },
    /// Bytes are not what was written.
    #[error("{key} is damaged: {reason}")]
    Damaged {
        /// The key.
        key: String,
        /// What does not hold.
        reason: &'static str,
    },
    /// Bytes of a part of a key are not what was written.
    #[error("bytes {} to {} of {key} are damaged: {reason}", range.start, range.end)]
    DamagedPart {
        /// The key.
        key: String,
        /// Where in it.
        range: Range<u64>,
        /// What does not hold.
        reason: &'static str,
    },
    /// A later release wrote this.
    #[error("{key} has format version {found}, this program knows versions up to {known}")]
    NewerVersion {
        /// The key.
        key: String,
        /// The version found.
        found: u16,
        /// The newest version that this program can read.
        known: u16,
    },
    /// It belongs to another engine.
    #[error("{key} belongs to engine {found}, not to {expected}")]
    WrongEngine {
        /// The key.
        key: String,
        /// The engine that was expected.
        expected: EngineId,
        /// The engine found.
        found: EngineId,
    },
    /// Somebody else's lease has not ended.
    #[error(
        "the archive is in use by {holder} (epoch {epoch}) until {until} µs; stop it, wait, or take over by force"
    )]
    Held {
        /// Who says to hold it.
        holder: String,
        /// The epoch it writes in.
        epoch: Epoch,
        /// When its lease ends, by its clock.
        until: Micros,
    },
    /// A newer epoch has taken the archive over: nothing of this one is acknowledged any more.
    #[error("epoch {epoch} was fenced off by epoch {by}: this writer must stop")]
    Fenced {
        /// The epoch that ended.
        epoch: Epoch,
        /// The one that ended it.
        by: Epoch,
    },
    /// The archive is not what this writer left there.
    #[error("{key} is not what this engine knows: {reason}; nothing is uploaded")]
    Diverged {
        /// The key.
        key: String,
        /// What differs.
        reason: &'static str,
    },
    /// Something is too big.
    #[error("{what} has {bytes} bytes, the limit is {bytes_max}")]
    TooLarge {
        /// What is too big.
        what: &'static str,
        /// Its size.
        bytes: u64,
        /// The limit.
        bytes_max: u64,
    },
    /// What is to be uploaded cannot be read from the local disk.
    #[error("cannot read what is to be uploaded")]
    Local {
        /// What the disk, or the log, says.
        source: Arc<dyn std::error::Error + Send + Sync>,
    },
    /// The archive's thread could not be started.
    #[error("cannot start the archive's thread")]
    Thread {
        /// The reason that the system gave.
        source: Arc<io::Error>,
    },
    /// The archive was closed while the operation waited.
    #[error("the archive is closed")]
    Closed,
}

impl ArchiveError {
    /// What a store's last answer means to somebody who has tried often enough.
    pub(crate) fn of(store: &str, op: &'static str, key: &str, attempts: u32, source: StoreError) -> Self {
        let (store, key) = (store.to_owned(), key.to_owned());
        match source.kind {
            StoreErrorKind::Missing => Self::Missing { store, key },
            StoreErrorKind::NoBucket => Self::NoBucket { store, source },
            StoreErrorKind::Denied => Self::Denied { store, op, key, source },
            StoreErrorKind::Invalid => Self::Rejected { store, op, key, source },
            StoreErrorKind::Unsupported => {
                Self::Unsuitable { store, reason: "it says that it has no conditional puts" }
            }
            StoreErrorKind::Busy | StoreErrorKind::Conflict | StoreErrorKind::Refused => {
                Self::Unavailable { store, op, key, attempts, source }
            }
        }
    }

    /// Says where in the key the damage is, if it is damage.
    pub(crate) fn in_range(self, range: Range<u64>) -> Self {
        match self {
            Self::Damaged { key, reason } => Self::DamagedPart { key, range, reason },
            other => other,
        }
    }

    /// What the caller can do.
    pub fn kind(&self) -> ArchiveErrorKind {
        match self {
            Self::Unavailable { .. } => ArchiveErrorKind::Retry,
            Self::Denied { .. }
            | Self::NoBucket { .. }
            | Self::Rejected { .. }
            | Self::Unsuitable { .. }
            | Self::Location { .. }
            | Self::TooLarge { .. }
            | Self::Thread { .. } => ArchiveErrorKind::Setup,
            Self::Missing { .. } | Self::Damaged { .. } | Self::DamagedPart { .. } => {
                ArchiveErrorKind::Corrupt
            }
            Self::NewerVersion { .. } => ArchiveErrorKind::Newer,
            Self::Held { .. } | Self::Fenced { .. } => ArchiveErrorKind::Fenced,
            Self::WrongEngine { .. } | Self::Diverged { .. } => ArchiveErrorKind::Diverged,
            Self::Local { .. } => ArchiveErrorKind::Local,
            Self::Closed => ArchiveErrorKind::Closed,
        }
    }
}
