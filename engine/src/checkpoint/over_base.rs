//! Folding a tail over a base: only what changed becomes leaves of the new era, the rest goes on reading through.
//!
//! A small object, and one whose chain of bases is long or of which three quarters are rewritten, becomes leaves as a whole. Then nothing is
//! read through any more.

use std::{cell::OnceCell, collections::BTreeSet, ops::Bound};

use lineal_wal::ObjectKey;

use super::{
    fold::{Folded, Group, as_delta, changes_of, close, delta_is_enough, weight},
    window::no_head,
};
use crate::{
    Result, Value,
    catalog::Snapshot,
    engine::EngineInner,
    history::version,
    object::{
        head::{DELTAS_MAX, Head},
        resident::{Resident, Under},
    },
    transaction::{range::Range, reader::Layers},
};

/// Objects up to this size are made into leaves as a whole, in bytes.
///
/// Source: chosen; sixteen leaves, which cost less than reading through to a base for long.
const WHOLE_BYTES: u64 = 256 << 10;
/// Chains of more bases than this are made into leaves as a whole.
///
/// Source: chosen; each base costs a point read one more lookup.
const BASES_MAX: usize = 8;
/// Largest object that is made into leaves as a whole, in bytes: they are held in memory.
///
/// Source: chosen; twice what a checkpoint holds of the log.
const FLAT_BYTES_MAX: u64 = 64 << 20;

pub(super) struct OverBase<'a> {
    pub(super) engine: &'a EngineInner,
    pub(super) snapshot: &'a Snapshot,
    pub(super) key: ObjectKey,
    pub(super) head: &'a Head,
    pub(super) state: &'a Resident,
    pub(super) under: &'a Under,
}

/// A stretch of keys for which one layer answers.
struct Stretch {
    start: Vec<u8>,
    end: Option<Vec<u8>>,
    /// Bytes of the leaf of the newest era that it is, if it is one.
    own: Option<u64>,
}

/// New leaves for stretches that lie side by side, in the making.
struct Open {
    group: Group,
    end: Option<Vec<u8>>,
    /// The fences that the stretches had as leaves of the newest era.
    fences: Vec<Vec<u8>>,
}

/// Whether a fold makes the object's leaves whole.
pub(super) fn is_small(head: &Head) -> bool {
    head.bytes <= WHOLE_BYTES
}

impl OverBase<'_> {
    pub(super) fn fold(&self) -> Result<Folded> {
        let leaves = self.head.leaves.as_ref();
        let own_bytes = leaves.map_or(0, |leaves| leaves.bytes);
        let whole_bytes = self.head.bytes.max(self.under.version.state.bytes);
        let long = version::depth(self.state) > BASES_MAX || own_bytes >= whole_bytes / 4 * 3;
        if whole_bytes <= WHOLE_BYTES || (long && whole_bytes <= FLAT_BYTES_MAX) {
            return self.flatten();
        }
        let overlay = &self.state.overlay;
        let tail = changes_of(overlay);
        let mut deltas = leaves.map_or_else(Vec::new, |leaves| leaves.deltas.clone());
        let clears = overlay.cleared().next().is_some();
        if delta_is_enough(leaves, whole_bytes, weight(&tail)) && !clears && deltas.len() < DELTAS_MAX {
            deltas.push((self.head.seq, weight(&tail)));
            return Ok(as_delta(&tail, deltas, own_bytes, false));
        }
        let mut touched: BTreeSet<Vec<u8>> = tail.into_iter().map(|(key, _)| key).collect();
        for (seq, _) in deltas {
            let delta = self
                .snapshot
                .delta(&self.key, seq)?
                .ok_or_else(|| no_head(self.key, "a delta leaf of it is in no pack"))?;
            let delta = delta.pack.leaf(&delta.key, &delta.place)?;
            touched.extend(delta.iter().map(|(key, _)| key.to_vec()));
        }
        self.rewrite(&touched, own_bytes)
    }

    /// The whole object as leaves.
    fn flatten(&self) -> Result<Folded> {
        let mut group = Group::new(Vec::new());
        self.entries(&[], None, &mut |key, value| group.push(key, value))?;
        let mut old = Vec::new();
        if let Some(leaves) = &self.head.leaves {
            for leaf in self.snapshot.leaves(&self.key, self.head.era, leaves.fold)? {
                let leaf = leaf?;
                old.push(leaf.pack.leaf(&leaf.key, &leaf.place)?.first_fence().to_vec());
            }
        }
        let (leaves, leaf_bytes) = group.finish(None, &old);
        Ok(Folded { leaves, delta: None, deltas: Vec::new(), leaf_bytes, flat: true })
    }

    /// Writes a leaf for every stretch that a change or a cleared range touches.
    fn rewrite(&self, touched: &BTreeSet<Vec<u8>>, own_bytes: u64) -> Result<Folded> {
        let mut out = Vec::new();
        let mut leaf_bytes = own_bytes;
        let mut open: Option<Open> = None;
        let mut from = self.next_touched(touched, &[]);
        while let Some(key) = from {
            let stretch = self.stretch_at(&key)?;
            let joins = open.as_ref().is_some_and(|open| open.end.as_ref() == Some(&stretch.start));
            if !joins && let Some(open) = open.take() {
                leaf_bytes += close(open.group, open.end, &open.fences, &mut out);
            }
            let Open { group, end, fences } = open.get_or_insert_with(|| Open {
                group: Group::new(stretch.start.clone()),
                end: None,
                fences: Vec::new(),
            });
            if let Some(bytes) = stretch.own {
                leaf_bytes = leaf_bytes.saturating_sub(bytes);
                fences.push(stretch.start.clone());
            }
            self.entries(&stretch.start, stretch.end.as_deref(), &mut |key, value| group.push(key, value))?;
            from = stretch.end.as_ref().and_then(|end| self.next_touched(touched, end));
            *end = stretch.end;
        }
        if let Some(open) = open {
            leaf_bytes += close(open.group, open.end, &open.fences, &mut out);
        }
        Ok(Folded { leaves: out, delta: None, deltas: Vec::new(), leaf_bytes, flat: false })
    }

    /// The first key at or after `from` that changed or is cleared.
    fn next_touched(&self, touched: &BTreeSet<Vec<u8>>, from: &[u8]) -> Option<Vec<u8>> {
        let changed = touched.range::<[u8], _>((Bound::Included(from), Bound::Unbounded)).next().cloned();
        let cleared = self.state.overlay.cleared_at_or_after(from).map(|(start, _)| start.max(from).to_vec());
        match (changed, cleared) {
            (Some(changed), Some(cleared)) => Some(changed.min(cleared)),
            (one, other) => one.or(other),
        }
    }

    /// The keys around `key` for which the same layers answer: a leaf, within the gaps of the leaves above it.
    fn stretch_at(&self, key: &[u8]) -> Result<Stretch> {
        let mut stretch = Stretch { start: Vec::new(), end: None, own: None };
        let mut narrow = |start: Option<&[u8]>, end: Option<&[u8]>| {
            if let Some(start) = start.filter(|start| *start > stretch.start.as_slice()) {
                stretch.start = start.to_vec();
            }
            if let Some(end) = end.filter(|end| stretch.end.as_deref().is_none_or(|known| *end < known)) {
                stretch.end = Some(end.to_vec());
            }
        };
        let mut below = self.state.below.as_deref();
        let mut own = None;
        let mut is_own = true;
        while let Some(layer) = below {
            if let Some(leaves) = &layer.leaves {
                let found = self.snapshot.leaf(&layer.key, leaves.era, key, leaves.fold)?;
                let leaf = found.map(|found| found.pack.leaf(&found.key, &found.place)).transpose()?;
                if let Some(leaf) = leaf.as_ref().filter(|leaf| leaf.covers(key)) {
                    narrow(Some(leaf.first_fence()), leaf.end_fence());
                    own = is_own.then(|| leaf.bytes().len() as u64);
                    break;
                }
                let next = self.snapshot.next_fence(&layer.key, leaves.era, key, leaves.fold)?;
                narrow(leaf.as_ref().and_then(|leaf| leaf.end_fence()), next.as_deref());
            }
            is_own = false;
            below = layer.under.as_ref().and_then(|under| under.version.state.below.as_deref());
        }
        stretch.own = own;
        Ok(stretch)
    }

    /// The entries of a range as they are with the tail.
    fn entries(&self, start: &[u8], end: Option<&[u8]>, each: &mut dyn FnMut(&[u8], &[u8])) -> Result<()> {
        let snapshot = OnceCell::from(self.snapshot.clone());
        let layers = Layers { engine: self.engine, writes: None, resident: self.state, snapshot: &snapshot };
        // No space is the highest byte there is.
        let end = end.map_or_else(|| vec![u8::MAX], <[u8]>::to_vec);
        for entry in Range::new(layers, start.to_vec(), end).internal() {
            let (key, value): (Vec<u8>, Value) = entry?;
            each(&key, &value);
        }
        Ok(())
    }
}
