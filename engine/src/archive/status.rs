//! How an engine's archive stands.

use std::time::Duration;

use lineal_snapshot::archive::{Lag, TierStats, Traffic};
use lineal_wal::Lsn;

use super::{Archive, ArchiveError};
use crate::engine::EngineInner;

/// How an engine's archive stands at one moment.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ArchiveStatus {
    /// The store, without credentials.
    pub store: String,
    /// The epoch that this engine writes in; 0 if it only reads.
    pub epoch: u64,
    /// Everything up to this position of the log is in the store.
    pub archived: Lsn,
    /// Everything up to here is in packs in the store.
    pub line: Lsn,
    /// Records that are durable here and not in the store.
    pub lag_records: u64,
    /// About how many bytes those are.
    pub lag_bytes: u64,
    /// How long the oldest upload of them has been under way.
    pub lag_age: Duration,
    /// Packs in the store.
    pub packs: u64,
    /// Packs that have no local copy.
    pub cold_packs: u64,
    /// Local bytes that the others take.
    pub local_pack_bytes: u64,
    /// Local bytes of what was read of packs in the store only.
    pub cache_bytes: u64,
    /// Reads that the local cache answered, and reads that the store did.
    pub cache_hits: u64,
    /// See `cache_hits`.
    pub cache_misses: u64,
    /// Requests and bytes so far.
    pub traffic: Traffic,
    /// Why the store takes nothing at the moment, if so; or why nothing is archived any more.
    pub trouble: Option<ArchiveError>,
}

impl ArchiveStatus {
    /// What is a number, as [`Stats::fields`](crate::Stats::fields) tells it. Who only reads knows no lag.
    pub(crate) fn fields(&self) -> Vec<(&'static str, u64)> {
        let mut fields = Vec::new();
        if self.epoch > 0 {
            fields.extend([
                ("archive_archived_lsn", self.archived.0),
                ("archive_checkpoint_lsn", self.line.0),
                ("archive_lag_records", self.lag_records),
                ("archive_lag_bytes", self.lag_bytes),
                ("archive_lag_ms", u64::try_from(self.lag_age.as_millis()).unwrap_or(u64::MAX)),
                ("archive_packs", self.packs),
                ("archive_troubled", u64::from(self.trouble.is_some())),
            ]);
        }
        fields.extend([
            ("archive_cold_packs", self.cold_packs),
            ("archive_local_pack_bytes", self.local_pack_bytes),
            ("archive_cache_bytes", self.cache_bytes),
            ("archive_cache_hits", self.cache_hits),
            ("archive_cache_misses", self.cache_misses),
            ("archive_gets", self.traffic.gets),
            ("archive_puts", self.traffic.puts),
            ("archive_deletes", self.traffic.deletes),
            ("archive_lists", self.traffic.lists),
            ("archive_failures", self.traffic.failures),
            ("archive_bytes_read", self.traffic.bytes_read),
            ("archive_bytes_written", self.traffic.bytes_written),
        ]);
        fields
    }
}

impl Archive {
    pub(crate) fn status(&self, engine: &EngineInner) -> ArchiveStatus {
        let TierStats { cold_packs, cache_bytes, hits, misses, .. } = self.tier.stats();
        let mut status = ArchiveStatus {
            store: self.connection.client.name().to_owned(),
            epoch: 0,
            archived: Lsn(0),
            line: Lsn(0),
            lag_records: 0,
            lag_bytes: 0,
            lag_age: Duration::ZERO,
            packs: 0,
            cold_packs,
            local_pack_bytes: self.tier.local_pack_bytes().unwrap_or(0),
            cache_bytes,
            cache_hits: hits,
            cache_misses: misses,
            traffic: self.connection.client.traffic(),
            trouble: None,
        };
        if let Some(writing) = &self.writing {
            let Lag { age, .. } = writing.calls.lag();
            let state = writing.shared.state.lock();
            status.epoch = writing.epoch.0;
            status.archived = writing.calls.archived();
            status.line = state.line;
            status.packs = state.packs.len() as u64;
            status.lag_records = engine.log.durable().0.saturating_sub(status.archived.0);
            status.lag_bytes = engine.log.durable_bytes_after(status.archived);
            status.lag_age = if status.lag_records == 0 { Duration::ZERO } else { age };
            status.trouble = match &state.ended {
                Some(Err(error)) => Some(error.clone()),
                _ => writing.trouble(),
            };
        }
        status
    }
}
