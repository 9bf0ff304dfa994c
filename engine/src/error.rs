//! The one error type of the public API, and the kinds a caller acts on.

use std::{fmt, io, path::PathBuf};

use lineal_snapshot::PackError;
#[cfg(feature = "archive")]
use lineal_snapshot::archive::{ArchiveError, ArchiveErrorKind};
use lineal_wal::LogError;

use crate::{
    catalog::CatalogError,
    history::bookmark::{Bookmark, BookmarkError},
    sync::Arc,
};

/// What went wrong, with what a person needs to act on it.
///
/// Errors are cheap to clone, because one failed flush fails many gates with the same error.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A name, key, value, cause or transaction is over its limit. Nothing was changed.
    #[error(
        "the {what} has {size} bytes and the limit is {limit}: make it smaller or raise the limit in Options"
    )]
    TooLarge {
        /// What is too large.
        what: &'static str,
        /// The limit, in bytes.
        limit: u64,
        /// The size that was refused, in bytes.
        size: u64,
    },
    /// A quota of the namespace or of the object would be exceeded. Nothing was changed.
    #[error(
        "the quota for {what} is {limit} and this would make it {size}: delete something or raise the quota"
    )]
    Quota {
        /// Which quota.
        what: &'static str,
        /// The quota.
        limit: u64,
        /// What it would have become.
        size: u64,
    },
    /// `expect_seq` asked for another version than the object has. Nothing was changed.
    #[error("the object is at seq {actual} and the transaction expected {expected}: read again and retry")]
    Conflict {
        /// The seq that was expected.
        expected: u64,
        /// The seq that the object has.
        actual: u64,
    },
    /// A blocking call was made inside a turn of the same engine, or an object's turn was awaited inside that very
    /// turn, where it could never end.
    #[error(
        "waiting for a turn inside a transaction or an event would dead-lock: use transact_many, the Tx or Cx you have, or await another object"
    )]
    InsideTurn,
    /// A `Cx` was used outside of its event's own polls.
    #[error("this event context is used outside of its event: use it only in the event's own future")]
    OutsideTurn,
    /// Waiting took longer than the limit. Nothing was changed.
    #[error(
        "waited {waited_ms} ms for {what} without getting it: try again, or raise the wait limit in Options"
    )]
    Busy {
        /// What was waited for.
        what: &'static str,
        /// How long, in milliseconds.
        waited_ms: u64,
    },
    /// The object was reset (a panic, or a failed or dropped `block_concurrency`); its commits stay.
    #[error("the object was reset by a panic or a failed block_concurrency: start the event again")]
    Reset,
    /// A namespace or an object does not exist, where it has to.
    #[error("{what} does not exist")]
    NotFound {
        /// What was looked for.
        what: String,
    },
    /// The namespace was dropped.
    #[error("the namespace {namespace} was dropped")]
    Dropped {
        /// Its name.
        namespace: String,
    },
    /// A name that cannot be used.
    #[error("the name is not usable: {reason}")]
    InvalidName {
        /// Why.
        reason: &'static str,
    },
    /// Arguments that make no sense together.
    #[error("{reason}")]
    Invalid {
        /// Why.
        reason: String,
    },
    /// The object that this id belongs to has another name: two names share one hash.
    #[error("the id of object {wanted:?} is taken by {found:?}: choose another name")]
    NameCollision {
        /// The name asked for.
        wanted: String,
        /// The name that holds the id.
        found: String,
    },
    /// A gate or an object of another engine was used.
    #[error("this gate or object belongs to another engine: await it first")]
    OtherEngine,
    /// Another process has the data directory open.
    #[error("{path} is open in another process: close that one first, or use another directory")]
    Locked {
        /// The data directory.
        path: PathBuf,
    },
    /// The directory is not usable as a data directory. Nothing was created.
    #[error("{path} is not usable as a data directory: {reason}")]
    InvalidDirectory {
        /// The data directory.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// A file is of a newer version than this program knows. Nothing was touched.
    #[error("{file} has format version {found} and this program knows up to {known}: use a newer lineal")]
    NewerVersion {
        /// The file.
        file: String,
        /// The version found.
        found: u32,
        /// The newest version known.
        known: u32,
    },
    /// The engine was opened for reading only.
    #[error("the engine is open for reading only")]
    ReadOnly,
    /// The disk is full. Nothing was changed; reads and deletes go on, writes resume when there is room.
    #[error(
        "the disk is full ({detail}): free some space; reads and deletes go on and writes resume by themselves"
    )]
    NoSpace {
        /// What could not be had.
        detail: String,
    },
    /// The log failed. What was not yet acknowledged has an unknown outcome until the engine is opened again.
    #[error(
        "the log failed and accepts nothing more; the outcome of what is not acknowledged is unknown until the engine is opened again: {source}"
    )]
    Poisoned {
        /// The write or fsync that failed.
        source: LogError,
    },
    /// Bytes on disk are not what was written.
    #[error("{file} is damaged at byte {offset}{}: {reason}", .object.as_deref().map(|o| format!(" (object {o})")).unwrap_or_default())]
    Damaged {
        /// The file.
        file: String,
        /// Where in the file.
        offset: u64,
        /// The object that is touched, if it is one.
        object: Option<String>,
        /// What was found.
        reason: String,
    },
    /// The operating system refused a file operation.
    #[error("{op} of {file} failed: {source}")]
    Io {
        /// The operation.
        op: &'static str,
        /// The file.
        file: String,
        /// The cause.
        source: Arc<io::Error>,
    },
    /// A bookmark, or a time, does not lead to a point of the object's history that can be used.
    #[error(transparent)]
    Bookmark(Box<BookmarkError>),
    /// The target of a fork has a history of its own. Nothing was changed.
    #[error("object {object} is not empty: fork onto an object that was never written, or purge it first")]
    NotEmpty {
        /// The target.
        object: String,
    },
    /// Other objects, or pins, need the history of what was to be purged or dropped. Nothing was changed.
    #[error("the history of {what} is needed by {}: purge those forks or take off those pins first", .by.join(", "))]
    HasForks {
        /// What was to be purged or dropped.
        what: String,
        /// Forks by their ids, and pins by their names.
        by: Vec<String>,
    },
    /// What a restore would lead back to is damaged. The object is as it was.
    #[error("the object cannot be restored, and is as it was: {source}{}", .nearest.map(|mark| format!("; the nearest older point that can be read is commit {} ({mark})", mark.seq())).unwrap_or_default())]
    CannotRestore {
        /// The damage.
        source: Box<Error>,
        /// The nearest older point that can be read.
        nearest: Option<Bookmark>,
    },
    /// A statement failed, or was refused.
    #[cfg(feature = "sql")]
    #[error(transparent)]
    Sql(Box<crate::sql::SqlError>),
    /// A step of a migration failed. The object is as the step before left it, and what was asked for was not done.
    #[error("step {step} ({name}) of the object's migration failed: {source}")]
    Migration {
        /// The step's number.
        step: u32,
        /// The step's name.
        name: Arc<str>,
        /// Why.
        source: Box<Error>,
    },
    /// A file cannot become an object's database. Nothing was changed.
    #[cfg(feature = "sql")]
    #[error("{} cannot be imported: {reason}", .file.display())]
    NotImportable {
        /// The file.
        file: PathBuf,
        /// Why.
        reason: String,
    },
    /// The archive cannot be used, or not at the moment.
    #[cfg(feature = "archive")]
    #[error(transparent)]
    Archive(ArchiveError),
    /// Another engine has taken the archive over. What is not acknowledged is not archived, and nothing more is written
    /// here.
    #[error(
        "another engine has taken the archive over (epoch {by}; this one is {epoch}): stop this one; what it was not told to be archived is not"
    )]
    Fenced {
        /// This engine's epoch.
        epoch: u64,
        /// The epoch that took over.
        by: u64,
    },
    /// Something is to be archived and the engine was opened without an archive. Nothing was changed.
    #[error(
        "this asks for Durability::Archived and the engine has no archive: open it with one, or set the durability of engine and namespace to Local"
    )]
    NoArchive,
    /// The engine is closed.
    #[error("the engine is closed")]
    Closed,
    /// An error of the caller's own, carried out of a closure.
    #[error("{0}")]
    Other(OtherError),
}

/// A caller's own error, carried through a transaction by [`Error::other`].
#[derive(Clone)]
pub struct OtherError(Arc<dyn std::error::Error + Send + Sync>);

impl OtherError {
    /// The caller's error.
    pub fn get_ref(&self) -> &(dyn std::error::Error + Send + Sync + 'static) {
        &*self.0
    }
}

impl fmt::Debug for OtherError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl fmt::Display for OtherError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// What a caller does about an [`Error`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// Try again, now or later.
    Retry,
    /// Read again, then decide.
    Conflict,
    /// The call or its input is wrong; trying again does not help.
    Invalid,
    /// What was asked for is not there.
    NotFound,
    /// Another process holds the directory.
    Locked,
    /// The disk is full.
    NoSpace,
    /// The log failed; open the engine again.
    Poisoned,
    /// Bytes on disk are damaged; restore or salvage.
    Corrupt,
    /// The operating system failed.
    Io,
    /// The archive does not answer; later it may.
    Unavailable,
    /// Another engine has the archive.
    Fenced,
    /// The engine is closed.
    Closed,
    /// The caller's own error.
    Other,
}

impl Error {
    /// Carries an error of the caller's own out of a closure.
    pub fn other(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Error::Other(OtherError(Arc::from(error.into())))
    }

    /// What to do about it.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Error::Busy { .. } | Error::Reset => ErrorKind::Retry,
            Error::Conflict { .. } => ErrorKind::Conflict,
            Error::NotFound { .. } | Error::Dropped { .. } => ErrorKind::NotFound,
            Error::Locked { .. } => ErrorKind::Locked,
            Error::NoSpace { .. } => ErrorKind::NoSpace,
            Error::Poisoned { .. } => ErrorKind::Poisoned,
            Error::Damaged { .. } => ErrorKind::Corrupt,
            Error::Io { .. } => ErrorKind::Io,
            Error::Closed => ErrorKind::Closed,
            #[cfg(feature = "archive")]
            Error::Archive(error) => kind_of(error),
            Error::Fenced { .. } => ErrorKind::Fenced,
            #[cfg(feature = "sql")]
            Error::Sql(_) | Error::NotImportable { .. } => ErrorKind::Invalid,
            Error::Other(_) => ErrorKind::Other,
            Error::Migration { source, .. } => source.kind(),
            Error::CannotRestore { .. } => ErrorKind::Corrupt,
            Error::Bookmark(error) => match **error {
                BookmarkError::Malformed { .. } | BookmarkError::OtherObject { .. } => ErrorKind::Invalid,
                _ => ErrorKind::NotFound,
            },
            Error::NotEmpty { .. } | Error::HasForks { .. } => ErrorKind::Conflict,
            Error::TooLarge { .. }
            | Error::Quota { .. }
            | Error::InsideTurn
            | Error::OutsideTurn
            | Error::InvalidName { .. }
            | Error::Invalid { .. }
            | Error::NameCollision { .. }
            | Error::OtherEngine
            | Error::InvalidDirectory { .. }
            | Error::NewerVersion { .. }
            | Error::ReadOnly
            | Error::NoArchive => ErrorKind::Invalid,
        }
    }

    /// The error's stable name, as scripts see it.
    pub fn name(&self) -> &'static str {
        match self {
            Error::TooLarge { .. } => "TooLarge",
            Error::Quota { .. } => "Quota",
            Error::Conflict { .. } => "Conflict",
            Error::InsideTurn => "InsideTurn",
            Error::OutsideTurn => "OutsideTurn",
            Error::Busy { .. } => "Busy",
            Error::Reset => "Reset",
            Error::NotFound { .. } => "NotFound",
            Error::Dropped { .. } => "Dropped",
            Error::InvalidName { .. } => "InvalidName",
            Error::Invalid { .. } => "Invalid",
            Error::NameCollision { .. } => "NameCollision",
            Error::OtherEngine => "OtherEngine",
            Error::Locked { .. } => "Locked",
            Error::InvalidDirectory { .. } => "InvalidDirectory",
            Error::NewerVersion { .. } => "NewerVersion",
            Error::ReadOnly => "ReadOnly",
            Error::NoSpace { .. } => "NoSpace",
            Error::Poisoned { .. } => "Poisoned",
            Error::Damaged { .. } => "Damaged",
            Error::Io { .. } => "Io",
            Error::Bookmark(error) => match **error {
                BookmarkError::Malformed { .. } => "BookmarkMalformed",
                BookmarkError::OtherObject { .. } => "BookmarkOtherObject",
                BookmarkError::Future { .. } => "BookmarkFuture",
                BookmarkError::TooOld { .. } => "BookmarkTooOld",
                BookmarkError::Lost { .. } => "BookmarkLost",
                BookmarkError::BeforeFirst { .. } => "BeforeFirst",
            },
            Error::NotEmpty { .. } => "NotEmpty",
            Error::HasForks { .. } => "HasForks",
            Error::CannotRestore { .. } => "CannotRestore",
            #[cfg(feature = "sql")]
            Error::Sql(error) => error.name(),
            Error::Migration { .. } => "Migration",
            #[cfg(feature = "sql")]
            Error::NotImportable { .. } => "NotImportable",
            #[cfg(feature = "archive")]
            Error::Archive(error) => name_of(error),
            Error::Fenced { .. } => "Fenced",
            Error::NoArchive => "NoArchive",
            Error::Closed => "Closed",
            Error::Other(_) => "Other",
        }
    }

    pub(crate) fn io(op: &'static str, file: impl Into<String>, source: io::Error) -> Self {
        Self::io_shared(op, file.into(), Arc::new(source))
    }

    fn io_shared(op: &'static str, file: String, source: Arc<io::Error>) -> Self {
        // A file whose bytes are in the archive fails as the archive does.
        #[cfg(feature = "archive")]
        if let Some(error) = source.get_ref().and_then(|source| source.downcast_ref::<ArchiveError>()) {
            return error.clone().into();
        }
        let full = matches!(
            source.kind(),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
        );
        if full {
            Error::NoSpace { detail: format!("{op} of {file}: {source}") }
        } else if source.kind() == io::ErrorKind::UnexpectedEof {
            // Nothing reads beyond what a sound file has, so one that ends too early was cut.
            let reason = "it ends before what it should hold".into();
            Error::Damaged { file, offset: 0, object: None, reason }
        } else {
            Error::Io { op, file, source }
        }
    }
}

#[cfg(feature = "archive")]
impl From<ArchiveError> for Error {
    fn from(error: ArchiveError) -> Self {
        match error {
            ArchiveError::Fenced { epoch, by } => Error::Fenced { epoch: epoch.0, by: by.0 },
            ArchiveError::Closed => Error::Closed,
            error => Error::Archive(error),
        }
    }
}

#[cfg(feature = "archive")]
fn kind_of(error: &ArchiveError) -> ErrorKind {
    match error.kind() {
        ArchiveErrorKind::Retry => ErrorKind::Unavailable,
        ArchiveErrorKind::Corrupt => ErrorKind::Corrupt,
        ArchiveErrorKind::Fenced if matches!(error, ArchiveError::Held { .. }) => ErrorKind::Locked,
        ArchiveErrorKind::Fenced => ErrorKind::Fenced,
        ArchiveErrorKind::Diverged => ErrorKind::Conflict,
        ArchiveErrorKind::Local => ErrorKind::Io,
        ArchiveErrorKind::Closed => ErrorKind::Closed,
        _ => ErrorKind::Invalid,
    }
}

#[cfg(feature = "archive")]
fn name_of(error: &ArchiveError) -> &'static str {
    match error {
        ArchiveError::Unavailable { .. } => "ArchiveUnavailable",
        ArchiveError::Denied { .. } => "ArchiveDenied",
        ArchiveError::NoBucket { .. } => "ArchiveNoBucket",
        ArchiveError::Rejected { .. } => "ArchiveRejected",
        ArchiveError::Unsuitable { .. } => "ArchiveUnsuitable",
        ArchiveError::Location { .. } => "ArchiveLocation",
        ArchiveError::Missing { .. } => "ArchiveMissing",
        ArchiveError::Damaged { .. } => "ArchiveDamaged",
        ArchiveError::NewerVersion { .. } => "ArchiveNewerVersion",
        ArchiveError::WrongEngine { .. } => "ArchiveWrongEngine",
        ArchiveError::Held { .. } => "ArchiveHeld",
        ArchiveError::Diverged { .. } => "ArchiveDiverged",
        _ => "Archive",
    }
}

impl From<BookmarkError> for Error {
    fn from(error: BookmarkError) -> Self {
        Error::Bookmark(Box::new(error))
    }
}

impl From<LogError> for Error {
    fn from(error: LogError) -> Self {
        match error {
            LogError::Io { op, path, source, .. } => Error::io_shared(op, path, source),
            poisoned @ LogError::Poisoned { .. } => Error::Poisoned { source: poisoned },
            LogError::NoSpace { .. } => Error::NoSpace { detail: error.to_string() },
            LogError::Damaged { path, offset, reason, .. } => {
                Error::Damaged { file: path, offset, object: None, reason }
            }
            LogError::ReadOnly => Error::ReadOnly,
            LogError::Closed => Error::Closed,
            LogError::TooLarge { bytes, max, .. } => {
                Error::TooLarge { what: "transaction", limit: max, size: bytes }
            }
            LogError::NewerVersion { path, found, known, .. } => {
                Error::NewerVersion { file: path, found, known }
            }
            LogError::Busy => Error::Busy { what: "the next log segment", waited_ms: 0 },
            other => Error::Invalid { reason: other.to_string() },
        }
    }
}

impl From<PackError> for Error {
    fn from(error: PackError) -> Self {
        let object_name = |object: Option<lineal_wal::ObjectKey>| object.map(|key| key.id.to_string());
        match error {
            PackError::Io { op, path, source } => Error::io_shared(op, path, source),
            PackError::NoSpace { .. } => Error::NoSpace { detail: error.to_string() },
            PackError::Damaged { path, offset, object, reason } => {
                Error::Damaged { file: path, offset, object: object_name(object), reason: reason.to_owned() }
            }
            PackError::Undecodable { path, offset, object, source } => {
                Error::Damaged { file: path, offset, object: object_name(object), reason: source.to_string() }
            }
            PackError::Missing { path } => {
                Error::Damaged { file: path, offset: 0, object: None, reason: "it is missing".into() }
            }
            PackError::Incomplete { path, reason } => {
                Error::Damaged { file: path, offset: 0, object: None, reason: reason.to_owned() }
            }
            PackError::NewerVersion { path, found, known } => {
                Error::NewerVersion { file: path, found: u32::from(found), known: u32::from(known) }
            }
            PackError::TooLarge { what, bytes, bytes_max } => {
                Error::TooLarge { what, limit: bytes_max, size: bytes }
            }
            other => Error::Invalid { reason: other.to_string() },
        }
    }
}

impl From<CatalogError> for Error {
    fn from(error: CatalogError) -> Self {
        let damaged =
            |file: String, offset: u64, reason: String| Error::Damaged { file, offset, object: None, reason };
        let text = error.to_string();
        match error {
            CatalogError::Pack(error) => error.into(),
            CatalogError::PackMissing { path, .. }
            | CatalogError::PackMismatch { path, .. }
            | CatalogError::PackLost { path, .. } => damaged(path, 0, text),
            CatalogError::CatalogDamaged { path, offset, reason } => damaged(path, offset, reason),
            CatalogError::Disagrees { path, .. } | CatalogError::OtherEngine { path, .. } => {
                damaged(path, 0, text)
            }
            CatalogError::NewerVersion { path, found, known } => {
                Error::NewerVersion { file: path, found, known }
            }
            CatalogError::NoSpace { .. } => Error::NoSpace { detail: text },
            CatalogError::Io { op, path, source } => Error::io_shared(op, path, source),
            CatalogError::ReadOnly => Error::ReadOnly,
            CatalogError::Database { path, .. } => damaged(path, 0, text),
        }
    }
}

/// The result of most calls.
pub type Result<T, E = Error> = std::result::Result<T, E>;
