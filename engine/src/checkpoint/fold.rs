//! Folding a full tail into leaves, or into a delta over them where that writes much less.
//!
//! A leaf answers for its whole range. Deltas lie over leaves and answer only for the keys they hold; there are at
//! most four. A fold writes the tail as one more delta while the deltas stay small beside the leaves; else it merges
//! tail and deltas into the leaves they touch.

use std::{
    collections::{BTreeMap, HashMap},
    ops::Bound,
};

use lineal_snapshot::{Leaf, LeafBuilder, LeafKind, LeafValue};
use lineal_wal::{ObjectKey, Seq};

use super::{over_base::OverBase, window::no_head};
use crate::{
    Result,
    catalog::Snapshot,
    engine::EngineInner,
    object::{
        head::{DELTAS_MAX, Head, Leaves},
        overlay::{Found, Overlay},
        resident::Resident,
    },
    sync::Arc,
    transaction::ops::Patches,
};

/// Leaves are split at this size, in bytes before compression.
///
/// Source: lesson of the prototype: 16 KiB decode in about 5 µs, and larger ones compress no better.
const LEAF_BYTES: usize = 16 << 10;
/// Deltas may weigh this share of the leaves before they are merged into them.
///
/// Source: chosen; a leaf is then written anew for every eighth of it that changed.
pub(super) const DELTA_SHARE: u64 = 8;
/// Largest delta, in bytes: one part, decoded whole by the first read that needs it.
///
/// Source: chosen.
pub(super) const DELTA_BYTES_MAX: u64 = 1 << 20;

/// What a fold writes.
pub(crate) struct Folded {
    /// Leaves and ended fences, ascending by fence.
    pub(crate) leaves: Vec<LeafChange>,
    pub(crate) delta: Option<Vec<u8>>,
    /// All deltas that lie over the leaves afterwards, oldest first: seq and bytes.
    pub(crate) deltas: Vec<(Seq, u64)>,
    /// Bytes of the newest version of all leaves afterwards.
    pub(crate) leaf_bytes: u64,
    /// Whether the leaves answer for every key, so that nothing is read through to a base any more.
    pub(crate) flat: bool,
}

/// Leaves and deltas of the object's era that this pack holds already, for earlier versions.
#[derive(Default)]
pub(crate) struct Made {
    /// By fence; `None` where a fence ended.
    leaves: BTreeMap<Vec<u8>, Option<Arc<Leaf>>>,
    deltas: HashMap<Seq, Arc<Leaf>>,
}

impl Made {
    /// Remembers what a fold wrote as of `seq`.
    pub(crate) fn add(&mut self, key: ObjectKey, seq: Seq, folded: &Folded) -> Result<()> {
        let decode = |payload: &Vec<u8>| {
            Leaf::decode(Arc::from(payload.as_slice()))
                .map(Arc::new)
                .map_err(|bad| no_head(key, &format!("a leaf that was just made is not readable: {bad}")))
        };
        for change in &folded.leaves {
            let leaf = change.payload.as_ref().map(decode).transpose()?;
            self.leaves.insert(change.fence.clone(), leaf);
        }
        if let Some(delta) = &folded.delta {
            self.deltas.insert(seq, decode(delta)?);
        }
        Ok(())
    }

    fn leaf(&self, key: &[u8]) -> Option<Arc<Leaf>> {
        let (_, leaf) = self
            .leaves
            .range::<[u8], _>((Bound::Unbounded, Bound::Included(key)))
            .rev()
            .find(|(_, leaf)| leaf.is_some())?;
        leaf.as_ref().filter(|leaf| leaf.covers(key)).map(Arc::clone)
    }
}

/// A new version of a leaf, or the end of its fence.
pub(crate) struct LeafChange {
    pub(crate) fence: Vec<u8>,
    pub(crate) end: Option<Vec<u8>>,
    /// `None`: the fence ends.
    pub(crate) payload: Option<Vec<u8>>,
}

/// What changes at one key.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Change {
    Put(Vec<u8>),
    Delete,
    /// A list of patches over what is below.
    Patch(Vec<u8>),
}

/// Changes in key order.
pub(super) type Changes = Vec<(Vec<u8>, Change)>;

/// Folds the overlay of `state`, which holds the object's whole tail, into what lies below it. `head` is the object's
/// head with the tail's newest commit; `made` is what this pack holds of the same era.
pub(crate) fn fold(
    engine: &EngineInner,
    snapshot: &Snapshot,
    key: ObjectKey,
    head: &Head,
    state: &Resident,
    made: &Made,
) -> Result<Folded> {
    match (state.under(), &head.leaves) {
        (Some(under), _) => OverBase { engine, snapshot, key, head, state, under }.fold(),
        (None, None) => Ok(first_leaves(&state.overlay)),
        (None, Some(leaves)) => Fold { snapshot, key, head, leaves, made }.over(&state.overlay),
    }
}

/// Whether a delta is enough for `bytes` more over `whole` bytes of leaves.
pub(super) fn delta_is_enough(leaves: Option<&Leaves>, whole: u64, bytes: u64) -> bool {
    let deltas = leaves.map_or(&[][..], |leaves| &leaves.deltas);
    let bytes = bytes + deltas.iter().map(|(_, bytes)| bytes).sum::<u64>();
    bytes <= whole / DELTA_SHARE && bytes <= DELTA_BYTES_MAX
}

/// The leaves of an object that had none.
fn first_leaves(overlay: &Overlay) -> Folded {
    let mut group = Group::new(Vec::new());
    for (key, found) in overlay.iter() {
        match found {
            Found::Value(value) => group.push(key, &value),
            Found::Patch(patches) => group.push(key, &patches.apply(&[])),
            Found::Deleted | Found::Below => {}
        }
    }
    let (leaves, leaf_bytes) = group.finish(None, &[]);
    Folded { leaves, delta: None, deltas: Vec::new(), leaf_bytes, flat: true }
}

struct Fold<'a> {
    snapshot: &'a Snapshot,
    key: ObjectKey,
    head: &'a Head,
    leaves: &'a Leaves,
    made: &'a Made,
}

impl Fold<'_> {
    fn over(&self, overlay: &Overlay) -> Result<Folded> {
        let tail = changes_of(overlay);
        let tail_bytes = weight(&tail);
        let small = delta_is_enough(Some(self.leaves), self.leaves.bytes, tail_bytes);
        let clears = overlay.cleared().next().is_some();
        if small && !clears && self.leaves.deltas.len() < DELTAS_MAX {
            let mut deltas = self.leaves.deltas.clone();
            deltas.push((self.head.seq, tail_bytes));
            return Ok(as_delta(&tail, deltas, self.leaves.bytes, true));
        }
        let changes = self.merge_deltas(tail, overlay)?;
        if small && !clears {
            let deltas = vec![(self.head.seq, weight(&changes))];
            return Ok(as_delta(&changes, deltas, self.leaves.bytes, true));
        }
        self.rewrite_leaves(&changes, overlay)
    }

    /// The changes of all deltas and the tail as one, newest winning.
    fn merge_deltas(&self, tail: Changes, overlay: &Overlay) -> Result<Changes> {
        let mut merged = tail;
        for (seq, _) in self.leaves.deltas.iter().rev() {
            let delta = self.delta(*seq)?;
            merged = merge_over(merged, &delta, overlay);
        }
        Ok(merged)
    }

    /// Writes anew every leaf that a change or a cleared range touches.
    fn rewrite_leaves(&self, changes: &Changes, overlay: &Overlay) -> Result<Folded> {
        let mut out: Vec<LeafChange> = Vec::new();
        let mut leaf_bytes = self.leaves.bytes;
        let mut group: Option<(Group, Vec<Vec<u8>>)> = None;
        let mut group_end: Option<Vec<u8>> = None;
        let mut at = 0;
        // The next key that has to be worked in; beyond it, what is cleared.
        let mut from = next_touched(changes, at, overlay, &[]);
        while let Some(key) = from {
            let leaf = self.leaf(&key)?;
            let adjacent = group.is_some() && group_end.as_deref() == Some(leaf.first_fence());
            if !adjacent {
                if let Some((done, fences)) = group.take() {
                    leaf_bytes += close(done, group_end.take(), &fences, &mut out);
                }
                group = Some((Group::new(leaf.first_fence().to_vec()), Vec::new()));
            }
            let (building, fences) = group.get_or_insert_with(|| (Group::new(Vec::new()), Vec::new()));
            fences.push(leaf.first_fence().to_vec());
            leaf_bytes = leaf_bytes.saturating_sub(leaf.bytes().len() as u64);
            at = work_in(building, &leaf, changes, at, overlay);
            group_end = leaf.end_fence().map(<[u8]>::to_vec);
            from = match &group_end {
                Some(end) => next_touched(changes, at, overlay, end),
                None => None,
            };
        }
        if let Some((done, fences)) = group {
            leaf_bytes += close(done, group_end, &fences, &mut out);
        }
        assert_eq!(at, changes.len(), "every change is worked into a leaf");
        Ok(Folded { leaves: out, delta: None, deltas: Vec::new(), leaf_bytes, flat: true })
    }

    fn delta(&self, seq: Seq) -> Result<Arc<Leaf>> {
        if let Some(delta) = self.made.deltas.get(&seq) {
            return Ok(Arc::clone(delta));
        }
        let located = self
            .snapshot
            .delta(&self.key, seq)?
            .ok_or_else(|| no_head(self.key, "a delta leaf of it is in no pack"))?;
        Ok(located.pack.leaf(&located.key, &located.place)?)
    }

    fn leaf(&self, key: &[u8]) -> Result<Arc<Leaf>> {
        // What this pack rewrote replaces whole leaves, so that elsewhere the older packs are right.
        if let Some(leaf) = self.made.leaf(key) {
            return Ok(leaf);
        }
        let located = self
            .snapshot
            .leaf(&self.key, self.head.era, key, self.leaves.fold)?
            .ok_or_else(|| no_head(self.key, "the leaf for a key of it is in no pack"))?;
        let leaf = located.pack.leaf(&located.key, &located.place)?;
        if !leaf.covers(key) {
            return Err(no_head(self.key, "the leaf for a key of it is in no pack"));
        }
        Ok(leaf)
    }
}

/// Changes as one more delta.
pub(super) fn as_delta(changes: &Changes, deltas: Vec<(Seq, u64)>, leaf_bytes: u64, flat: bool) -> Folded {
    let mut delta = LeafBuilder::new(LeafKind::Delta, &[], None);
    for (key, change) in changes {
        delta.push(
            key,
            match change {
                Change::Put(value) => LeafValue::Put(value),
                Change::Delete => LeafValue::Delete,
                Change::Patch(list) => LeafValue::Patch(list),
            },
        );
    }
    Folded { leaves: Vec::new(), delta: Some(delta.finish()), deltas, leaf_bytes, flat }
}

pub(super) fn close(
    group: Group,
    end: Option<Vec<u8>>,
    fences: &[Vec<u8>],
    out: &mut Vec<LeafChange>,
) -> u64 {
    let (leaves, bytes) = group.finish(end, fences);
    out.extend(leaves);
    bytes
}

/// The next key at or after `from` that changes or is cleared.
fn next_touched(changes: &Changes, at: usize, overlay: &Overlay, from: &[u8]) -> Option<Vec<u8>> {
    let changed = changes.get(at).map(|(key, _)| key.as_slice());
    let cleared = overlay.cleared_at_or_after(from).map(|(start, _)| start.max(from));
    match (changed, cleared) {
        (Some(changed), Some(cleared)) => Some(changed.min(cleared).to_vec()),
        (one, other) => one.or(other).map(<[u8]>::to_vec),
    }
}

/// Merges one leaf with the changes in its range, from the change number `at` on. Returns the number of the first
/// change beyond the leaf.
fn work_in(group: &mut Group, leaf: &Leaf, changes: &Changes, mut at: usize, overlay: &Overlay) -> usize {
    let mut old = leaf.iter().peekable();
    loop {
        let changed = changes.get(at).filter(|(key, _)| leaf.covers(key));
        let kept = old.peek().map(|(key, _)| *key);
        let (key, change) = match (kept, changed) {
            (None, None) => return at,
            (Some(kept), Some((key, change))) if key.as_slice() <= kept => (key.as_slice(), Some(change)),
            (None, Some((key, change))) => (key.as_slice(), Some(change)),
            (Some(kept), _) => (kept, None),
        };
        let value = old.next_if(|(kept, _)| *kept == key).and_then(|(_, value)| match value {
            LeafValue::Put(value) => Some(value),
            LeafValue::Delete | LeafValue::Patch(_) => None,
        });
        let cleared = overlay.is_cleared(key);
        let visible = value.filter(|_| !cleared);
        match change {
            None => visible.into_iter().for_each(|value| group.push(key, value)),
            Some(Change::Put(value)) => group.push(key, value),
            Some(Change::Delete) => {}
            Some(Change::Patch(list)) => {
                group.push(key, &Patches::trusted(list).apply(visible.unwrap_or_default()));
            }
        }
        at += usize::from(change.is_some());
    }
}

pub(super) fn changes_of(overlay: &Overlay) -> Changes {
    overlay
        .iter()
        .map(|(key, found)| {
            let change = match found {
                Found::Value(value) => Change::Put(value.to_vec()),
                Found::Patch(list) => Change::Patch(list.as_bytes().to_vec()),
                Found::Deleted | Found::Below => Change::Delete,
            };
            (key.to_vec(), change)
        })
        .collect()
}

pub(super) fn weight(changes: &Changes) -> u64 {
    changes
        .iter()
        .map(|(key, change)| {
            let value = match change {
                Change::Put(value) => value.len(),
                Change::Delete => 0,
                Change::Patch(list) => list.len(),
            };
            (key.len() + value + 4) as u64
        })
        .sum()
}

/// Puts newer changes over an older delta. What the tail has cleared is not seen.
fn merge_over(newer: Changes, older: &Leaf, overlay: &Overlay) -> Changes {
    let mut merged = Changes::with_capacity(newer.len() + older.len());
    let mut newer = newer.into_iter().peekable();
    for (key, value) in older.iter() {
        while let Some(change) = newer.next_if(|(newer, _)| newer.as_slice() < key) {
            merged.push(change);
        }
        let cleared = overlay.is_cleared(key);
        match newer.next_if(|(newer, _)| newer.as_slice() == key) {
            Some((key, change)) => merged.push((key, if cleared { change } else { over(change, value) })),
            None if cleared => merged.push((key.to_vec(), Change::Delete)),
            None => merged.push((key.to_vec(), owned(value))),
        }
    }
    merged.extend(newer);
    merged
}

fn over(newer: Change, older: LeafValue<'_>) -> Change {
    match (newer, older) {
        (Change::Patch(list), LeafValue::Put(value)) => Change::Put(Patches::trusted(&list).apply(value)),
        (Change::Patch(list), LeafValue::Delete) => Change::Put(Patches::trusted(&list).apply(&[])),
        (Change::Patch(list), LeafValue::Patch(older)) => Change::Patch([older, &list].concat()),
        (newer, _) => newer,
    }
}

fn owned(value: LeafValue<'_>) -> Change {
    match value {
        LeafValue::Put(value) => Change::Put(value.to_vec()),
        LeafValue::Delete => Change::Delete,
        LeafValue::Patch(list) => Change::Patch(list.to_vec()),
    }
}

/// New leaves for one stretch of keys without a gap.
pub(super) struct Group {
    fence: Vec<u8>,
    leaf: LeafBuilder,
    done: Vec<LeafChange>,
    bytes: u64,
}

impl Group {
    pub(super) fn new(fence: Vec<u8>) -> Group {
        let leaf = LeafBuilder::new(LeafKind::Whole, &fence, None);
        Group { fence, leaf, done: Vec::new(), bytes: 0 }
    }

    pub(super) fn push(&mut self, key: &[u8], value: &[u8]) {
        let full = self.leaf.size() + key.len() + value.len() > LEAF_BYTES;
        if full && !self.leaf.is_empty() {
            self.split(Some(key.to_vec()));
            self.fence = key.to_vec();
            self.leaf = LeafBuilder::new(LeafKind::Whole, key, None);
        }
        self.leaf.push(key, LeafValue::Put(value));
    }

    fn split(&mut self, end: Option<Vec<u8>>) {
        let mut leaf = std::mem::replace(&mut self.leaf, LeafBuilder::new(LeafKind::Whole, &[], None));
        leaf.set_end_fence(end.as_deref());
        let payload = leaf.finish();
        self.bytes += payload.len() as u64;
        self.done.push(LeafChange { fence: std::mem::take(&mut self.fence), end, payload: Some(payload) });
    }

    /// Ends the stretch at `end`. Of `old`, the fences it had before, those that are none any more end. Returns the
    /// changes in the order of their fences, and the bytes of the new leaves.
    pub(super) fn finish(mut self, end: Option<Vec<u8>>, old: &[Vec<u8>]) -> (Vec<LeafChange>, u64) {
        self.split(end);
        let kept = |fence: &Vec<u8>| self.done.binary_search_by(|change| change.fence.cmp(fence)).is_ok();
        let ended: Vec<Vec<u8>> = old.iter().filter(|fence| !kept(fence)).cloned().collect();
        let mut changes = self.done;
        changes.extend(ended.into_iter().map(|fence| LeafChange { fence, end: None, payload: None }));
        changes.sort_by(|a, b| a.fence.cmp(&b.fence));
        (changes, self.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaf(from: &[u8], end: Option<&[u8]>, keys: &[&str]) -> Leaf {
        let mut builder = LeafBuilder::new(LeafKind::Whole, from, end);
        keys.iter().for_each(|key| builder.push(key.as_bytes(), LeafValue::Put(b"old")));
        Leaf::decode(Arc::from(builder.finish())).unwrap()
    }

    #[test]
    fn a_tail_without_leaves_is_split_into_leaves_that_leave_no_gap() {
        let mut overlay = Overlay::new();
        for number in 0..1_000 {
            overlay.put(format!("key{number:04}").as_bytes(), &[7; 100]);
        }
        let folded = first_leaves(&overlay);
        assert!(folded.leaves.len() > 5);
        assert_eq!(folded.leaves[0].fence, b"");
        assert_eq!(folded.leaves.last().unwrap().end, None);
        for pair in folded.leaves.windows(2) {
            assert_eq!(pair[0].end.as_ref(), Some(&pair[1].fence));
        }
    }

    #[test]
    fn an_empty_tail_makes_one_leaf_that_answers_for_everything() {
        let folded = first_leaves(&Overlay::new());
        assert_eq!(folded.leaves.len(), 1);
        let leaf = Leaf::decode(Arc::from(folded.leaves[0].payload.clone().unwrap())).unwrap();
        assert!(leaf.is_empty() && leaf.covers(b"") && leaf.covers(b"z"));
    }

    #[test]
    fn changes_and_cleared_ranges_are_worked_into_a_leaf() {
        let mut overlay = Overlay::new();
        overlay.delete_range(b"c", Some(b"e"));
        overlay.put(b"cc", b"new");
        overlay.delete(b"a");
        let changes = changes_of(&overlay);
        let old = leaf(b"", Some(b"m"), &["a", "b", "c", "d", "e"]);
        let mut group = Group::new(Vec::new());
        let at = work_in(&mut group, &old, &changes, 0, &overlay);
        assert_eq!(at, changes.len());
        let (leaves, _) = group.finish(Some(b"m".to_vec()), &[Vec::new(), b"x".to_vec()]);
        let new = Leaf::decode(Arc::from(leaves[0].payload.clone().unwrap())).unwrap();
        let keys: Vec<&[u8]> = new.iter().map(|(key, _)| key).collect();
        assert_eq!(keys, [&b"b"[..], b"cc", b"e"]);
        assert_eq!((leaves[1].fence.as_slice(), leaves[1].payload.is_none()), (&b"x"[..], true));
    }
}
