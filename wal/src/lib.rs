//! Lineal's group-commit log, and the disk seam under every file of the engine.
//!
//! The log is one sequence of [records](Record), numbered without gaps. [`Log::append`] numbers a record and copies it
//! into memory; one `fdatasync` then makes everything appended so far durable, and [`Log::wait`] or a
//! [`Log::durable_future`] opens. [`Log::recover`] reads what is there after a crash and decides, by the tables in
//! [`mod@format`] and in `classify.rs`, what is the log, what is a torn tail, and what is damage.
//!
//! Where to look: `queue.rs` is the group commit protocol, `buffer.rs` what waits in memory, `device.rs` the write and
//! the sync, `keeper.rs` the segments made ahead of need, `recover.rs` and `start.rs` the way back after a crash, `piece.rs` and `seed.rs`
//! the way to another place and back.
#![forbid(unsafe_code)]

mod batch;
mod bell;
mod buffer;
mod classify;
mod device;
mod disk;
mod error;
pub mod format;
mod group;
mod ids;
mod keeper;
mod list;
mod log;
mod options;
mod piece;
#[doc(hidden)]
pub mod planted;
mod queue;
mod real;
mod record;
mod recover;
mod seed;
mod segment;
#[cfg(any(all(test, not(loom)), feature = "sim"))]
pub mod sim;
mod start;
mod sync;
#[cfg(test)]
#[cfg(not(loom))]
mod tests;
mod traces;

pub use disk::{Disk, DiskFile, DiskLock, OpenMode};
pub use error::LogError;
pub use ids::{
    EngineId, Epoch, Lsn, Micros, NamespaceId, OBJECT_KEY_BYTES, ObjectId, ObjectKey, SegmentId, Seq,
};
pub use log::{DurableWait, Log};
pub use options::{Appended, Class, LogOptions, LogStats, OnDurable, RecordPlace, Recovery};
pub use piece::{BadPiece, Comparison, DurablePiece, Records, records};
pub use real::RealDisk;
pub use record::{OwnedRecord, Part, PartHeader, Parts, Record, RecordBuilder};
pub use recover::{Recovered, Visit, Wanted};
pub use seed::Pieces;
pub use traces::{LogTrace, LogTraceKind, LogTraces, log_traces};
