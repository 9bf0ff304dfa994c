//! What can go wrong with packs and with what is in them.

use crate::sync::Arc;
use lineal_wal::ObjectKey;
use std::io;
use thiserror::Error;

/// Why bytes are not the leaf, run, entry or index that they should be.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// The bytes break a rule of the format.
    #[error("malformed {what} at byte {offset}: {reason}")]
    Malformed {
        /// What was being read.
        what: &'static str,
        /// Where in the given bytes.
        offset: usize,
        /// The rule that is broken.
        reason: &'static str,
    },
    /// A later release wrote this.
    #[error("{what} has version {found}, this program knows versions up to {known}")]
    NewerVersion {
        /// What was being read.
        what: &'static str,
        /// The version found.
        found: u16,
        /// The newest version that this program can read.
        known: u16,
    },
    /// A declared size is above its hard limit; nothing was allocated for it.
    #[error("{what} declares {bytes} bytes, the limit is {bytes_max}")]
    TooLarge {
        /// What was being read.
        what: &'static str,
        /// The declared size.
        bytes: u64,
        /// The limit.
        bytes_max: u64,
    },
}

/// What the caller of a failed operation can do about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The device or the file system refused; it may work later.
    Io,
    /// Make room, then try again.
    Full,
    /// Bytes on disk are wrong or missing: restore the pack from the archive.
    Corrupt,
    /// The pack was never finished; it holds nothing that anything relies on.
    Incomplete,
    /// Use a newer program.
    Newer,
    /// The request itself is not possible.
    Invalid,
}

/// An error of a pack.
///
/// Cheap to clone, so that one failure can be reported to everybody it stops.
#[derive(Debug, Clone, Error)]
#[non_exhaustive]
pub enum PackError {
    /// The disk refused an operation.
    #[error("cannot {op} {path}")]
    Io {
        /// The operation.
        op: &'static str,
        /// The file, relative to the data directory.
        path: String,
        /// The reason that the system gave.
        source: Arc<io::Error>,
    },
    /// There is no room for the pack.
    #[error("no space left to {op} {path}")]
    NoSpace {
        /// The operation.
        op: &'static str,
        /// The file, relative to the data directory.
        path: String,
        /// The reason that the system gave.
        source: Arc<io::Error>,
    },
    /// There is no such pack.
    #[error("{path} is missing")]
    Missing {
        /// The file, relative to the data directory.
        path: String,
    },
    /// The pack has no complete footer: its writer was interrupted. If it is listed anywhere, that is damage.
    #[error("{path} was never finished: {reason}")]
    Incomplete {
        /// The file, relative to the data directory.
        path: String,
        /// What is missing.
        reason: &'static str,
    },
    /// Bytes are not what was written.
    #[error("{path} is damaged at byte {offset}: {reason}")]
    Damaged {
        /// The file, relative to the data directory.
        path: String,
        /// Where in the file.
        offset: u64,
        /// The object that it concerns, if it is only one.
        object: Option<ObjectKey>,
        /// What does not hold.
        reason: &'static str,
    },
    /// What stands in a pack, though its checksum holds, cannot be decoded.
    #[error("{path} holds an unreadable part at byte {offset}")]
    Undecodable {
        /// The file, relative to the data directory.
        path: String,
        /// Where in the file.
        offset: u64,
        /// The object that it concerns.
        object: Option<ObjectKey>,
        /// What is wrong with it.
        source: DecodeError,
    },
    /// A later release wrote this pack.
    #[error("{path} has format version {found}, this program knows versions up to {known}")]
    NewerVersion {
        /// The file, relative to the data directory.
        path: String,
        /// The version found.
        found: u16,
        /// The newest version that this program can read.
        known: u16,
    },
    /// Something is too big for a pack.
    #[error("{what} has {bytes} bytes, the limit is {bytes_max}")]
    TooLarge {
        /// What is too big.
        what: &'static str,
        /// Its size.
        bytes: u64,
        /// The limit.
        bytes_max: u64,
    },
}

impl PackError {
    pub(crate) fn io(op: &'static str, path: &str, source: io::Error) -> Self {
        let path = path.to_owned();
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
                Self::NoSpace { op, path, source: Arc::new(source) }
            }
            io::ErrorKind::NotFound => Self::Missing { path },
            _ => Self::Io { op, path, source: Arc::new(source) },
        }
    }

    /// What the caller can do.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Io { .. } => ErrorKind::Io,
            Self::NoSpace { .. } => ErrorKind::Full,
            Self::Missing { .. } | Self::Damaged { .. } => ErrorKind::Corrupt,
            Self::Undecodable { source: DecodeError::NewerVersion { .. }, .. }
            | Self::NewerVersion { .. } => ErrorKind::Newer,
            Self::Undecodable { .. } => ErrorKind::Corrupt,
            Self::Incomplete { .. } => ErrorKind::Incomplete,
            Self::TooLarge { .. } => ErrorKind::Invalid,
        }
    }

    /// True if bytes on disk are wrong or missing.
    pub fn is_damage(&self) -> bool {
        self.kind() == ErrorKind::Corrupt
    }
}
