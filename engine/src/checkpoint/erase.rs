//! After a merge of all packs: taking what is left of purged objects out of the catalog and out of the log.

use lineal_wal::planted::{self, Bug};

use super::checkpoint_locked;
use crate::{
    Result,
    catalog::Floors,
    engine::{CheckpointState, EngineInner, purged, system},
    sync::{Arc, MutexGuard},
};

/// How often the log is renewed until nothing is left in its files: commits that are made meanwhile keep the segment that
/// they are in until they are packed.
///
/// Source: chosen; two do where nobody writes.
const ROUNDS_MAX: usize = 5;

/// Takes what is left of purged objects out of the catalog's pages and the log's segments, if there is anything. Packs
/// hold nothing of them any more, and the log nothing that packs do not cover.
pub(super) fn erase(
    engine: &Arc<EngineInner>,
    state: &mut MutexGuard<'_, CheckpointState>,
    floors: &Floors,
) -> Result<()> {
    if floors.is_empty() || planted::on(Bug::PurgeLeavesLog) {
        return Ok(());
    }
    if !engine.catalog.table_traces(floors)?.1.is_empty() {
        engine.catalog.merge(true)?;
    }
    for round in 0..ROUNDS_MAX {
        if purged::look_at_log(engine, floors)?.found.is_empty() {
            return Ok(());
        }
        engine.log.renew()?;
        // The segment that was written until now can go when the next one is in use.
        system::renewed(engine)?;
        if round > 0 {
            checkpoint_locked(engine, state)?;
        }
        let line = engine.line();
        if state.previous_line < line {
            // The log of the newest pack is kept until that was read back.
            if let Some(newest) = engine.catalog.live().pop() {
                newest.verify(&mut |_| ())?;
            }
        }
        engine.release_log(line)?;
        state.previous_line = line;
    }
    tracing::warn!("the log still holds something of purged objects; the next compaction tries again");
    Ok(())
}
