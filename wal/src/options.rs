//! What the callers of the log choose, and what they are told.

use crate::ids::{EngineId, Epoch, Lsn, SegmentId};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Settings of a log. [`LogOptions::new`] has the defaults.
#[derive(Clone)]
pub struct LogOptions {
    /// The engine that the log belongs to.
    pub engine: EngineId,
    /// Size of the first segment, in bytes. Each next one is twice the one before. Default: 1 MiB.
    pub segment_bytes_min: u64,
    /// Size that segments grow to, in bytes; one is larger if a record needs it. Default: 64 MiB.
    pub segment_bytes_max: u64,
    /// Pending bytes at which a flush starts though nobody waits. Default: 1 MiB.
    pub flush_bytes: u64,
    /// Latest start of a flush after an append that nobody waits for. Default: 10 ms.
    pub flush_after: Duration,
    /// Whether the log has a flusher and a keeper thread. Without them callers do all work inline and in a fixed order,
    /// as simulation wants it; what nobody waits for is then flushed only at `flush_bytes`, by `sync` or `close`.
    pub threads: bool,
    /// Where salts come from.
    pub random: Arc<dyn Fn() -> u64 + Send + Sync>,
    /// Bytes of log kept ready for [`Class::System`] when the disk is full; 0 keeps none. Default: 0.
    pub reserve_bytes: u64,
    /// The log starts in this epoch, or in the one after the highest that it knows if that is higher. Default: 0.
    pub epoch_min: Epoch,
    /// Told how far the log is durable. Default: nobody.
    pub on_durable: Option<OnDurable>,
}

/// Called with the last durable record after each group that became durable, when [`Log::durable`](crate::Log::durable)
/// says so, too, by whoever led the flush and without a lock of the log. Not for what was recovered. Two threads may call it
/// at once, and then the lower position may come last; the call for a group may come after its waiters went on, even after
/// the log was closed. It must be cheap, as the caller wants to go on, and not keep the log itself.
pub type OnDurable = Arc<dyn Fn(Lsn) + Send + Sync>;

impl LogOptions {
    /// The default settings.
    #[must_use]
    pub fn new(engine: EngineId, random: Arc<dyn Fn() -> u64 + Send + Sync>) -> Self {
        Self {
            engine,
            segment_bytes_min: 1 << 20,
            segment_bytes_max: 64 << 20,
            flush_bytes: 1 << 20,
            flush_after: Duration::from_millis(10),
            threads: true,
            random,
            reserve_bytes: 0,
            epoch_min: Epoch(0),
            on_durable: None,
        }
    }
}

impl fmt::Debug for LogOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogOptions")
            .field("engine", &self.engine)
            .field("segment_bytes_min", &self.segment_bytes_min)
            .field("segment_bytes_max", &self.segment_bytes_max)
            .field("flush_bytes", &self.flush_bytes)
            .field("flush_after", &self.flush_after)
            .field("threads", &self.threads)
            .field("reserve_bytes", &self.reserve_bytes)
            .field("epoch_min", &self.epoch_min)
            .finish_non_exhaustive()
    }
}

/// Whose commit a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// A user's: refused when the disk is full.
    User,
    /// The engine's own, or one that frees space: may use the reserve when the disk is full.
    System,
}

/// What recovery does about damage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recovery {
    /// Damage is an error.
    Strict,
    /// Damage ends the log; what is before it can be read, and nothing can be written.
    Salvage,
}

/// A record's position and time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// Its position.
    pub lsn: Lsn,
    /// `max(now, the time of the record before)`.
    pub time: crate::ids::Micros,
}

/// Where in the log's files a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordPlace {
    /// The segment.
    pub segment: SegmentId,
    /// Offset of the record's header in the segment's file.
    pub offset: u64,
    /// Bytes of the record.
    pub bytes: u32,
}

/// Figures of a log, at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogStats {
    /// The highest position handed out.
    pub appended: Lsn,
    /// Everything up to here is durable.
    pub durable: Lsn,
    /// Syncs of segment files since start.
    pub fsyncs: u64,
    /// Groups written since start.
    pub groups: u64,
    /// Bytes written to segments since start: groups with padding, headers and seals.
    pub bytes_written: u64,
    /// Segments that hold records.
    pub segments: u64,
    /// Bytes of the segments that hold records, the unused rest of the newest left out.
    pub log_bytes: u64,
    /// Bytes appended and not yet given to the device.
    pub pending_bytes: u64,
    /// Bytes of segments that are prepared for use, without the reserve.
    pub ready_bytes: u64,
    /// Bytes of the segment kept for the system's own commits.
    pub reserve_bytes: u64,
    /// Records up to here are not in the log any more.
    pub released_below: Lsn,
}
