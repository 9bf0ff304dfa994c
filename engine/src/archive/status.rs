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
