//! Whether what a version reads is sound: its leaves and deltas, and those of the versions under it.

use std::ops::ControlFlow;

use lineal_wal::ObjectKey;

use super::version::damaged;
use crate::{
    Result,
    catalog::Snapshot,
    object::resident::{Below, Leaves, Resident},
};

/// Reads leaves and deltas of a state until `limit` leaves were read. Of one era they follow each other without a gap,
/// unless something lies under them. Returns how many were read.
pub(crate) fn check(snapshot: &Snapshot, state: &Resident, limit: u64) -> Result<u64> {
    let mut count = 0;
    let mut below: Option<&Below> = state.below.as_deref();
    while let Some(layer) = below {
        if let Some(leaves) = &layer.leaves {
            let flow = check_leaves(snapshot, &layer.key, leaves, layer.under.is_some(), limit, &mut count)?;
            if flow.is_break() {
                break;
            }
        }
        below = layer.under.as_ref().and_then(|under| under.version.state.below.as_deref());
    }
    Ok(count)
}

fn check_leaves(
    snapshot: &Snapshot,
    key: &ObjectKey,
    leaves: &Leaves,
    gaps: bool,
    limit: u64,
    count: &mut u64,
) -> Result<ControlFlow<()>> {
    let broken = |reason: String| damaged(*key, reason);
    for seq in &leaves.deltas {
        let located = snapshot
            .delta(key, *seq)?
            .ok_or_else(|| broken(format!("the delta of commit {seq} is in no pack")))?;
        located.pack.leaf(&located.key, &located.place)?;
        *count += 1;
    }
    let mut next: Option<Vec<u8>> = Some(Vec::new());
    for located in snapshot.leaves(key, leaves.era, leaves.fold)? {
        if *count >= limit {
            return Ok(ControlFlow::Break(()));
        }
        let located = located?;
        let leaf = located.pack.leaf(&located.key, &located.place)?;
        let follows = match &next {
            None => false,
            Some(end) if gaps => leaf.first_fence() >= end.as_slice(),
            Some(end) => leaf.first_fence() == end.as_slice(),
        };
        if !follows {
            return Err(broken("its leaves overlap or leave a gap".into()));
        }
        *count += 1;
        next = leaf.end_fence().map(<[u8]>::to_vec);
    }
    if next.is_some() && !gaps {
        return Err(broken("its last leaf is missing".into()));
    }
    Ok(ControlFlow::Continue(()))
}
