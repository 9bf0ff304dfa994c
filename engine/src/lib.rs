#![doc = include_str!("../../README.md")]
//!
//! # Looking back
//!
//! ```
//! # fn main() -> lineal::Result<()> {
//! # let dir = tempfile::tempdir().unwrap();
//! # let engine = lineal::Engine::open(dir.path())?;
//! let lobby = engine.namespace("rooms")?.object("lobby")?;
//! for topic in ["hello", "welcome", "buy pills"] {
//!     lobby.transact(|tx| { tx.cause(format!("say {topic}"))?; tx.put("topic", topic) }).wait()?;
//! }
//! let causes: Vec<String> = lobby.history(..)?.map(|commit| Ok(commit?.cause)).collect::<lineal::Result<_>>()?;
//! assert_eq!(causes, ["say buy pills", "say welcome", "say hello"]);
//!
//! let good = lobby.bookmark_of(2)?;
//! let spoilt = lobby.diff(&good, &lobby.bookmark().wait()?)?.next().unwrap()?;
//! assert_eq!(spoilt.before.unwrap(), b"welcome"[..]);
//! assert_eq!(lobby.blame("topic")?.next().unwrap()?.seq, 3);
//!
//! let undo = lobby.restore(&good).wait()?;
//! assert_eq!(lobby.read(|view| view.get("topic")).wait()?.unwrap(), b"welcome"[..]);
//! lobby.restore(&undo).wait()?;
//! assert_eq!(lobby.history(..)?.count(), 5); // both restores are commits as well
//! # Ok(())
//! # }
//! ```
//!
//! # This crate
//!
//! Responsible for: objects and their turns, transactions, the two gates, the catalog, checkpoint and recovery, the
//! lineage. Not responsible for: how commits become durable (`lineal-wal`), how packs are laid out
//! (`lineal-snapshot`).

#[cfg(feature = "archive")]
pub mod archive;
mod catalog;
mod checkpoint;
mod engine;
mod error;
mod gate;
mod history;
#[cfg(feature = "sim")]
#[doc(hidden)]
pub mod hostile;
mod lineage;
mod migration;
mod namespace;
mod object;
mod options;
mod proof;
#[cfg(feature = "sql")]
mod sql;
mod sync;
mod transaction;
mod value;

pub use lineal_wal::{EngineId, Lsn, Micros, NamespaceId, ObjectId, ObjectKey};

#[cfg(feature = "sql")]
pub use self::sql::{
    Exported, Imported, Mapped, Row, RowDifference, Rows, Setup, Sql, SqlError, SqlErrorCode, SqlOptions,
    TableDifference,
};
/// The SQLite binding whose parameters, values and function types [`Sql`] and [`Setup`] take.
#[cfg(feature = "sql")]
pub use rusqlite;

pub use self::{
    checkpoint::Checkpointed,
    engine::{
        Engine, Objects, Stats,
        purged::{PurgeReport, PurgeTrace},
        stats::VerifyReport,
    },
    error::{Error, ErrorKind, OtherError, Result},
    gate::{
        durability::Durability,
        event::Cx,
        output::{GateFuture, Gated},
    },
    history::{
        blame::Blame,
        bookmark::{Bookmark, BookmarkError},
        bulk::{Moment, PlannedRestore, RestoreAction, RestoreReport, RestoredObject, Selector},
        change::{Change, CutTo},
        commits::{CommitInfo, History},
        diff::{Diff, Difference},
        retention::{Lineage, Retention},
    },
    migration::{MigratedObject, Migration, MigrationReport},
    namespace::{Namespace, Quotas, Usage},
    object::{Object, ObjectInfo, Verified, id::NAME_BYTES_MAX},
    options::{Clock, Options, Random},
    proof::{CommitHeader, Consistency, Proof, ProofError, Root},
    transaction::{body::Kind, range::Range, tx::Tx, view::View},
    value::Value,
};
