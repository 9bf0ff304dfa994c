//! What is different between two versions of an object, without reading what is not.
//!
//! Both versions are looked at as stacks of layers: overlays, delta leaves, and at the bottom the leaf that answers. The
//! keys are cut into stretches within which the stacks stay the same. What both stacks have at their bottom is the same
//! for both, so only keys that the layers above it speak of can be different, and keys that they clear. Those are looked
//! up in both versions.

use std::{
    cell::OnceCell,
    collections::{BTreeSet, VecDeque},
};

use lineal_snapshot::Leaf;
use lineal_wal::{ObjectKey, Seq};

use super::{
    bookmark::Bookmark,
    past::resolve,
    version::{Kept, Version},
};
use crate::{
    Object, Result, Value,
    catalog::{Located, Snapshot},
    engine::{EngineInner, handle::Handle},
    object::{overlay::Overlay, resident::Below},
    sync::Arc,
    transaction::{
        reader::{Layers, missing},
        tx::SPACE_USER,
    },
};

/// Keys that are taken out of one layer at a time.
///
/// Source: chosen; a few leaves' worth.
const KEYS_MAX: usize = 1 << 10;

/// One key that is different in two versions.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Difference {
    /// The key.
    pub key: Vec<u8>,
    /// Its value in the first version; `None`: it had none, and was added.
    pub before: Option<Value>,
    /// Its value in the second version; `None`: it has none, and was removed.
    pub after: Option<Value>,
}

/// Iterates over the keys that are different in two versions of an object, in key order. Made by
/// [`Object::diff`](crate::Object::diff).
///
/// Lazy: leaves that both versions share are not read. What it needs stays for as long as it lives. After an error it ends.
pub struct Diff {
    engine: Handle,
    before: Side,
    after: Side,
    /// The space that is looked at: the first byte of its keys.
    space: u8,
    /// The first internal key that was not looked at.
    at: Vec<u8>,
    /// Keys below it that may be different, and were not looked up yet.
    keys: VecDeque<Vec<u8>>,
    done: bool,
}

impl std::fmt::Debug for Diff {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Diff").finish_non_exhaustive()
    }
}

/// One of the two versions.
struct Side {
    version: Arc<Version>,
    snapshot: OnceCell<Snapshot>,
}

/// The layers that answer for the keys from some key on, newest first, and the key up to which they do.
struct Stack<'v> {
    layers: Vec<Layer<'v>>,
    bound: Option<Vec<u8>>,
}

enum Layer<'v> {
    /// The overlay of a version.
    Overlay(ObjectKey, Seq, &'v Overlay),
    /// A leaf or a delta leaf, not read yet.
    Leaf(Located),
}

impl Diff {
    pub(crate) fn new(object: &Object, before: &Bookmark, after: &Bookmark) -> Result<Diff> {
        Diff::in_space(object, before, after, SPACE_USER)
    }

    pub(crate) fn in_space(object: &Object, before: &Bookmark, after: &Bookmark, space: u8) -> Result<Diff> {
        let side = |kept: Kept| Side { version: kept.version, snapshot: OnceCell::from(kept.snapshot) };
        let (before, after) = (side(resolve(object, before)?), side(resolve(object, after)?));
        let engine = object.engine.clone();
        Ok(Diff { engine, before, after, space, at: vec![space], keys: VecDeque::new(), done: false })
    }

    /// Only keys after this one. Call it before the first difference is taken.
    #[must_use]
    pub fn after(mut self, key: impl AsRef<[u8]>) -> Self {
        // The first internal key behind it.
        let from = [&[SPACE_USER][..], key.as_ref(), &[0]].concat();
        self.at = self.at.max(from);
        self
    }

    fn step(&mut self) -> Result<Option<Difference>> {
        loop {
            while let Some(mut key) = self.keys.pop_front() {
                let (before, after) =
                    (self.before.get(&self.engine, &key)?, self.after.get(&self.engine, &key)?);
                if before != after {
                    // The space byte is the engine's own.
                    key.remove(0);
                    return Ok(Some(Difference { key, before, after }));
                }
            }
            if self.at.as_slice() >= &[self.space + 1][..] {
                return Ok(None);
            }
            self.engine.check_open()?;
            self.look_on()?;
        }
    }

    /// Finds the keys of the next stretch that may be different.
    fn look_on(&mut self) -> Result<()> {
        let (mut before, mut after) = (self.before.stack(&self.at)?, self.after.stack(&self.at)?);
        let nearest = [before.bound.take(), after.bound.take()].into_iter().flatten().min();
        let mut bound = nearest.unwrap_or_else(|| vec![self.space + 1]).min(vec![self.space + 1]);
        let shared = strip_shared(&mut before.layers, &mut after.layers);
        let mut keys = BTreeSet::new();
        for layer in before.layers.iter().chain(&after.layers) {
            layer.keys(&self.at, &mut bound, &mut keys)?;
        }
        // What is cleared above what is shared can be different wherever the shared layers have a key.
        let clears = |layer: &Layer<'_>| layer.clears(&self.at, &bound);
        if before.layers.iter().chain(&after.layers).any(clears) {
            for layer in &shared {
                layer.keys(&self.at, &mut bound, &mut keys)?;
            }
        }
        self.keys.extend(keys.into_iter().take_while(|key| *key < bound));
        self.at = bound;
        Ok(())
    }
}

/// Takes the layers off the bottom of both stacks that are the same in both, and returns them.
fn strip_shared<'v>(before: &mut Vec<Layer<'v>>, after: &mut Vec<Layer<'v>>) -> Vec<Layer<'v>> {
    let mut shared = Vec::new();
    while let (Some(left), Some(right)) = (before.last(), after.last())
        && left.is(right)
    {
        before.pop();
        shared.extend(after.pop());
    }
    shared
}

impl Side {
    fn get(&self, engine: &EngineInner, key: &[u8]) -> Result<Option<Value>> {
        Layers { engine, writes: None, resident: &self.version.state, snapshot: &self.snapshot }.get(key)
    }

    /// The layers that answer for `at` and the keys behind it.
    fn stack(&self, at: &[u8]) -> Result<Stack<'_>> {
        let mut stack = Stack { layers: Vec::new(), bound: None };
        let mut version = &*self.version;
        loop {
            let state = &version.state;
            stack.layers.push(Layer::Overlay(version.key, state.seq, &state.overlay));
            let Some(below) = state.below.as_deref().filter(|_| !state.overlay.whole_cleared()) else {
                return Ok(stack);
            };
            if self.push_leaves(below, at, &mut stack)? {
                return Ok(stack);
            }
            let Some(under) = &below.under else { return Ok(stack) };
            version = &under.version;
        }
    }

    /// Puts deltas and the leaf for `at` on the stack; returns whether there is such a leaf.
    fn push_leaves(&self, below: &Below, at: &[u8], stack: &mut Stack<'_>) -> Result<bool> {
        let Some(leaves) = &below.leaves else { return Ok(false) };
        let snapshot = self.snapshot.get().expect("a side is made with its packs");
        for seq in &leaves.deltas {
            let delta = snapshot.delta(&below.key, *seq)?;
            stack.layers.push(Layer::Leaf(delta.ok_or_else(|| missing(&below.key, "a delta leaf of it"))?));
        }
        let covers = |located: &Located| located.place.end_fence.as_deref().is_none_or(|end| at < end);
        match snapshot.leaf(&below.key, leaves.era, at, leaves.fold)?.filter(covers) {
            Some(located) => {
                stack.narrow(located.place.end_fence.clone());
                stack.layers.push(Layer::Leaf(located));
                Ok(true)
            }
            None if below.under.is_some() => {
                stack.narrow(snapshot.next_fence(&below.key, leaves.era, at, leaves.fold)?);
                Ok(false)
            }
            None => Err(missing(&below.key, "the leaf for a key of it")),
        }
    }
}

impl Stack<'_> {
    fn narrow(&mut self, bound: Option<Vec<u8>>) {
        self.bound = match (self.bound.take(), bound) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
    }
}

impl Layer<'_> {
    /// Whether both are the same layer: what has one name never changes.
    fn is(&self, other: &Layer<'_>) -> bool {
        match (self, other) {
            (Layer::Overlay(key, seq, _), Layer::Overlay(other, at, _)) => key == other && seq == at,
            (Layer::Leaf(leaf), Layer::Leaf(other)) => leaf.key == other.key,
            _ => false,
        }
    }

    /// Adds the keys from `at` to before `bound` that the layer speaks of. Where there are too many, `bound` moves to
    /// after the last one that was added.
    fn keys(&self, at: &[u8], bound: &mut Vec<u8>, keys: &mut BTreeSet<Vec<u8>>) -> Result<()> {
        match self {
            Layer::Overlay(_, _, overlay) => {
                let first = overlay.at_or_after(at, true);
                let next = |(key, _): &(&[u8], _)| overlay.at_or_after(key, false);
                let entries = std::iter::successors(first, next).map(|(key, _)| key);
                add(entries, bound, keys);
            }
            Layer::Leaf(located) => {
                let leaf: Arc<Leaf> = located.pack.leaf(&located.key, &located.place)?;
                add((leaf.lower_bound(at)..leaf.len()).map(|at| leaf.key(at)), bound, keys);
            }
        }
        Ok(())
    }

    /// Whether it hides what is below it for any key from `at` to before `bound`.
    fn clears(&self, at: &[u8], bound: &[u8]) -> bool {
        match self {
            Layer::Overlay(_, _, overlay) => {
                overlay.cleared_at_or_after(at).is_some_and(|(start, _)| start < bound)
            }
            Layer::Leaf(_) => false,
        }
    }
}

fn add<'k>(entries: impl Iterator<Item = &'k [u8]>, bound: &mut Vec<u8>, keys: &mut BTreeSet<Vec<u8>>) {
    for (count, key) in entries.take_while(|key| *key < bound.as_slice()).enumerate() {
        keys.insert(key.to_vec());
        if count + 1 == KEYS_MAX {
            *bound = [key, &[0]].concat();
            return;
        }
    }
}

impl Iterator for Diff {
    type Item = Result<Difference>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        let step = self.step();
        self.done = !matches!(step, Ok(Some(_)));
        step.transpose()
    }
}
