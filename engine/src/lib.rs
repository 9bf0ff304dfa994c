#![doc = include_str!("../../README.md")]
//!
//! # This crate
//!
//! Responsible for: objects and their turns, transactions, the two gates, the catalog, checkpoint and recovery, the
//! lineage. Not responsible for: how commits become durable (`lineal-wal`), how packs are laid out
//! (`lineal-snapshot`).

mod catalog;
mod checkpoint;
mod engine;
mod error;
mod gate;
mod history;
mod lineage;
mod namespace;
mod object;
mod options;
mod sync;
mod transaction;
mod value;

pub use lineal_wal::{EngineId, Lsn, Micros, NamespaceId, ObjectId, ObjectKey};

pub use self::{
    checkpoint::Checkpointed,
    engine::{Engine, Objects, Stats, stats::VerifyReport},
    error::{Error, ErrorKind, OtherError, Result},
    gate::{
        event::Cx,
        output::{GateFuture, Gated},
    },
    history::{
        blame::Blame,
        bookmark::{Bookmark, BookmarkError},
        change::{Change, CutTo},
        commits::{CommitInfo, History},
        diff::{Diff, Difference},
    },
    namespace::{Namespace, Quotas, Usage},
    object::{Object, ObjectInfo, Verified, id::NAME_BYTES_MAX},
    options::{Clock, Options, Random},
    transaction::{body::Kind, range::Range, tx::Tx, view::View},
    value::Value,
};
