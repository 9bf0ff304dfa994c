//! What can be wrong with the catalog and the packs that it indexes.

use std::{error::Error as StdError, io};

use lineal_snapshot::{PackError, PackNumber};
use lineal_wal::EngineId;

use super::backend::PageDamage;
use crate::sync::Arc;

/// Why the catalog could not be opened, read or changed.
///
/// Damage of the catalog file itself costs no data: it is made anew from the packs. Damage of a
/// pack, or a pack that is missing, is reported with its file and never worked around.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CatalogError {
    /// A pack could not be read; the source names file and offset.
    #[error(transparent)]
    Pack(#[from] PackError),
    /// The newest pack says that another one is live, and that one is not there.
    #[error("{path} is missing: {named_by} lists it as live; put the file back, or restore from the archive")]
    PackMissing {
        /// The pack that is missing.
        number: PackNumber,
        /// Its file.
        path: String,
        /// The file that names it.
        named_by: String,
    },
    /// A live pack is not the one that the newest pack lists.
    #[error("{path} is not the file that {named_by} lists: its {what} is {found} and should be {expected}")]
    PackMismatch {
        /// The pack's file.
        path: String,
        /// The file that names it.
        named_by: String,
        /// Which property differs.
        what: &'static str,
        /// What the newest pack says.
        expected: String,
        /// What the file has.
        found: String,
    },
    /// A pack that was complete and listed is no longer readable as the newest one.
    #[error(
        "{path} is missing or damaged at its end: the catalog knows it, and the newest complete pack is {newest:?}"
    )]
    PackLost {
        /// The pack that was lost.
        number: PackNumber,
        /// Its file.
        path: String,
        /// The newest complete pack there is.
        newest: Option<PackNumber>,
    },
    /// The catalog file is damaged. It is rebuilt from the packs when the engine may write.
    #[error("{path} is damaged at offset {offset}: {reason}")]
    CatalogDamaged {
        /// The file.
        path: String,
        /// Where, in bytes.
        offset: u64,
        /// What is wrong.
        reason: String,
    },
    /// A row of the catalog and the pack that it points into do not agree.
    #[error("{path} does not agree with {pack}: {reason}")]
    Disagrees {
        /// The catalog's file.
        path: String,
        /// The pack's file.
        pack: String,
        /// What differs.
        reason: String,
    },
    /// A file belongs to another engine.
    #[error("{path} belongs to engine {found:?}, and this is engine {expected:?}")]
    OtherEngine {
        /// The file.
        path: String,
        /// The engine that it names.
        found: EngineId,
        /// The engine that is open.
        expected: EngineId,
    },
    /// A file is of a newer format version than this program knows.
    #[error("{path} has format version {found} and this program knows up to {known}: use a newer lineal")]
    NewerVersion {
        /// The file.
        path: String,
        /// The version found.
        found: u32,
        /// The newest version known.
        known: u32,
    },
    /// The disk is full. What was durable before stays.
    #[error("no space left to {op} {path}: free some, then try again")]
    NoSpace {
        /// What was tried.
        op: &'static str,
        /// The file.
        path: String,
        /// The system's error.
        #[source]
        source: Arc<io::Error>,
    },
    /// The operating system refused something.
    #[error("could not {op} {path}: {source}")]
    Io {
        /// What was tried.
        op: &'static str,
        /// The file or folder.
        path: String,
        /// The system's error.
        #[source]
        source: Arc<io::Error>,
    },
    /// redb refused something that is not explained by the file under it.
    #[error("the catalog's database {path} failed: {source}")]
    Database {
        /// The file.
        path: String,
        /// redb's error.
        #[source]
        source: Arc<redb::Error>,
    },
    /// A change was asked for and the catalog is open for reading only.
    #[error("the catalog is open for reading only")]
    ReadOnly,
}

impl CatalogError {
    /// An I/O error of `path`, with a full disk told apart.
    pub(super) fn io(op: &'static str, path: &str, source: io::Error) -> CatalogError {
        let path = path.to_owned();
        let full = matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
        let source = Arc::new(source);
        if full { CatalogError::NoSpace { op, path, source } } else { CatalogError::Io { op, path, source } }
    }

    /// An error of redb over the file `path`: what the page file under it found is unpacked.
    pub(super) fn redb(op: &'static str, path: &str, error: impl Into<redb::Error>) -> CatalogError {
        let damaged = |offset, reason| CatalogError::CatalogDamaged { path: path.to_owned(), offset, reason };
        match error.into() {
            redb::Error::Io(source) => match page_damage(&source) {
                Some(page) => damaged(page.offset, page.reason.to_owned()),
                None if source.kind() == io::ErrorKind::InvalidData => damaged(0, source.to_string()),
                None => CatalogError::io(op, path, source),
            },
            redb::Error::Corrupted(reason) => damaged(0, reason),
            redb::Error::RepairAborted => damaged(0, "its free space is not recorded".to_owned()),
            source => CatalogError::Database { path: path.to_owned(), source: Arc::new(source) },
        }
    }

    /// Whether making the catalog file anew from the packs cures this.
    pub(super) fn cured_by_rebuild(&self) -> bool {
        matches!(
            self,
            CatalogError::CatalogDamaged { .. }
                | CatalogError::Database { .. }
                | CatalogError::Disagrees { .. }
        )
    }
}

/// What the page file found, if it is what the error is about.
fn page_damage(error: &io::Error) -> Option<&PageDamage> {
    let inner: &(dyn StdError + Send + Sync) = error.get_ref()?;
    inner.downcast_ref::<PageDamage>()
}
