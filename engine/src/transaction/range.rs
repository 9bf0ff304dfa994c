//! Reading a range of an object lazily, in either direction, through all its layers.
//!
//! The range is cut into stretches: within one, the same leaf answers, or none does. What lies under that leaf is not
//! looked at.

use std::ops::{Bound, RangeBounds};

use lineal_snapshot::{Leaf, LeafValue};
use lineal_wal::{ObjectKey, Seq};

use super::reader::{Layers, PatchStack, internal_key, missing, parse_patches, shared_value};
use crate::{
    Result, Value,
    object::{
        overlay::{Found, Overlay},
        resident::{Below, Leaves},
    },
    sync::Arc,
};

/// The half-open range of internal keys that these bounds of a user's keys mean.
pub(crate) fn bounds_of<K: AsRef<[u8]>>(space: u8, bounds: &impl RangeBounds<K>) -> (Vec<u8>, Vec<u8>) {
    let exact = |key: &K| internal_key(space, key.as_ref(), <[u8]>::to_vec);
    let after = |key: &K| {
        let mut key = exact(key);
        key.push(0);
        key
    };
    let start = match bounds.start_bound() {
        Bound::Unbounded => vec![space],
        Bound::Included(key) => exact(key),
        Bound::Excluded(key) => after(key),
    };
    let end = match bounds.end_bound() {
        Bound::Unbounded => vec![space + 1],
        Bound::Included(key) => after(key),
        Bound::Excluded(key) => exact(key),
    };
    (start, end)
}

/// The first key after all that begin with `prefix`, an internal key's.
pub(crate) fn prefix_end(prefix: &[u8]) -> Vec<u8> {
    let keep =
        prefix.iter().rposition(|byte| *byte != u8::MAX).expect("no space byte is the last byte there is");
    let mut end = prefix[..=keep].to_vec();
    end[keep] += 1;
    end
}

/// Iterates over entries in key order, reading what it needs when it is asked for it.
///
/// Made by [`Tx::range`](crate::Tx::range), [`View::range`](crate::View::range) and their `prefix`. Items are key
/// and value, or the error that ended it.
pub struct Range<'r> {
    layers: Layers<'r>,
    /// What is left: from `start` to before `end`.
    start: Vec<u8>,
    end: Vec<u8>,
    reverse: bool,
    left: u64,
    stretch: Option<Stretch<'r>>,
    /// Deltas that were opened, for the next stretch.
    deltas: Vec<(ObjectKey, Seq, Arc<Leaf>)>,
    done: bool,
}

/// Keys that lie side by side and for which the same layers answer.
struct Stretch<'r> {
    /// What lies below the object's own overlay, newest first.
    layers: Vec<Layer<'r>>,
    /// Where it ends in the direction of reading; `None`: with the range.
    bound: Option<Vec<u8>>,
}

enum Layer<'r> {
    /// The overlay of a version under a cut.
    Overlay(&'r Overlay),
    /// A delta of that object and seq, or a leaf.
    Leaf(Cursor, ObjectKey, Seq),
}

/// Where the range stands in one leaf.
struct Cursor {
    leaf: Arc<Leaf>,
    /// Forward: the next entry. Reverse: the entry after the next one.
    at: usize,
}

/// What the leaves of an era say of the place where a range stands.
enum Answer {
    Leaf(Arc<Leaf>),
    /// None answers, up to the next leaf in the direction of reading.
    Gap(Option<Vec<u8>>),
}

enum Step {
    /// An entry of the range.
    Entry(Vec<u8>, Value),
    /// A key that turned out to have no value.
    Nothing,
    End,
}

impl<'r> Range<'r> {
    pub(crate) fn new(layers: Layers<'r>, start: Vec<u8>, end: Vec<u8>) -> Range<'r> {
        let done = end <= start;
        Range { layers, start, end, reverse: false, left: u64::MAX, stretch: None, deltas: Vec::new(), done }
    }

    /// Every entry of every space, with internal keys.
    pub(crate) fn all(layers: Layers<'r>) -> impl Iterator<Item = Result<(Vec<u8>, Value)>> {
        Range::new(layers, Vec::new(), vec![u8::MAX]).internal()
    }

    /// The entries with internal keys.
    pub(crate) fn internal(mut self) -> impl Iterator<Item = Result<(Vec<u8>, Value)>> {
        std::iter::from_fn(move || self.next_entry())
    }

    fn next_entry(&mut self) -> Option<Result<(Vec<u8>, Value)>> {
        while !self.done && self.left > 0 {
            match self.step() {
                Ok(Step::Entry(key, value)) => {
                    self.left -= 1;
                    return Some(Ok((key, value)));
                }
                Ok(Step::Nothing) => {}
                Ok(Step::End) => self.done = true,
                Err(error) => {
                    self.done = true;
                    return Some(Err(error));
                }
            }
        }
        None
    }

    /// From the last entry to the first. Call it before the first entry is taken.
    #[must_use]
    pub fn reverse(mut self) -> Self {
        self.reverse = !self.reverse;
        self
    }

    /// At most `count` entries.
    #[must_use]
    pub fn limit(mut self, count: u64) -> Self {
        self.left = self.left.min(count);
        self
    }

    /// What all entries count for, in bytes.
    pub(crate) fn total_bytes(self) -> Result<i64> {
        self.map(|entry| entry.map(|(key, value)| (key.len() + value.len()) as i64)).sum()
    }

    fn step(&mut self) -> Result<Step> {
        let Some(key) = self.next_key()? else { return Ok(Step::End) };
        let value = self.resolve(&key)?;
        self.pass(&key);
        Ok(match value {
            Some(value) => Step::Entry(key, value),
            None => Step::Nothing,
        })
    }

    /// The next key in order that any layer speaks of, within the range.
    fn next_key(&mut self) -> Result<Option<Vec<u8>>> {
        loop {
            let stretch = match self.stretch.take() {
                Some(stretch) => stretch,
                None => self.open_stretch()?,
            };
            let key = self.next_in(&stretch);
            let bound = stretch.bound.clone();
            self.stretch = Some(stretch);
            match (key, bound) {
                (Some(key), _) => return Ok(Some(key)),
                (None, None) => return Ok(None),
                (None, Some(bound)) => {
                    *(if self.reverse { &mut self.end } else { &mut self.start }) = bound;
                    self.stretch = None;
                }
            }
        }
    }

    fn next_in(&self, stretch: &Stretch<'_>) -> Option<Vec<u8>> {
        let (start, end) = match (&stretch.bound, self.reverse) {
            (None, _) => (&self.start, &self.end),
            (Some(bound), false) => (&self.start, bound),
            (Some(bound), true) => (bound, &self.end),
        };
        let of_overlay = |overlay: &'_ Overlay| -> Option<Vec<u8>> {
            let found = if self.reverse {
                overlay.at_or_before(Some(end), false)
            } else {
                overlay.at_or_after(start, true)
            };
            found
                .map(|(key, _)| key)
                .filter(|key| *key >= start.as_slice() && *key < end.as_slice())
                .map(<[u8]>::to_vec)
        };
        let above = self.layers.overlays().filter_map(of_overlay);
        let below = stretch.layers.iter().filter_map(|layer| match layer {
            Layer::Overlay(overlay) => of_overlay(overlay),
            Layer::Leaf(cursor, ..) => cursor
                .key(self.reverse)
                .filter(|key| *key >= start.as_slice() && *key < end.as_slice())
                .map(<[u8]>::to_vec),
        });
        let keys = above.chain(below);
        if self.reverse { keys.max() } else { keys.min() }
    }

    /// The layers that answer where the range stands.
    fn open_stretch(&mut self) -> Result<Stretch<'r>> {
        let mut stretch = Stretch { layers: Vec::new(), bound: None };
        let hidden = self.layers.overlays().any(Overlay::whole_cleared);
        let mut below = self.layers.resident.below.as_deref().filter(|_| !hidden);
        while let Some(layer) = below.take() {
            if let Some(leaves) = &layer.leaves {
                for seq in &leaves.deltas {
                    let delta = self.delta(&layer.key, *seq)?;
                    stretch.layers.push(Layer::Leaf(self.cursor(delta), layer.key, *seq));
                }
                match self.answer(layer, leaves)? {
                    Answer::Leaf(leaf) => {
                        let bound = if self.reverse { Some(leaf.first_fence()) } else { leaf.end_fence() };
                        self.narrow(&mut stretch, bound);
                        stretch.layers.push(Layer::Leaf(self.cursor(leaf), layer.key, leaves.fold));
                        return Ok(stretch);
                    }
                    Answer::Gap(bound) => self.narrow(&mut stretch, bound.as_deref()),
                }
            }
            if let Some(under) = &layer.under {
                let state = &under.version.state;
                stretch.layers.push(Layer::Overlay(&state.overlay));
                below = state.below.as_deref();
            }
        }
        Ok(stretch)
    }

    /// Ends the stretch at `bound`, if that is nearer than where it ends now.
    fn narrow(&self, stretch: &mut Stretch<'_>, bound: Option<&[u8]>) {
        let nearer = bound.filter(|bound| {
            let limit = stretch.bound.as_deref();
            if self.reverse {
                *bound > limit.unwrap_or(&self.start)
            } else {
                *bound < limit.unwrap_or(&self.end)
            }
        });
        if let Some(bound) = nearer {
            stretch.bound = Some(bound.to_vec());
        }
    }

    fn delta(&mut self, object: &ObjectKey, seq: Seq) -> Result<Arc<Leaf>> {
        if let Some((.., leaf)) = self.deltas.iter().find(|(key, at, _)| key == object && *at == seq) {
            return Ok(Arc::clone(leaf));
        }
        let leaf = self.layers.delta(object, seq)?;
        self.deltas.push((*object, seq, Arc::clone(&leaf)));
        Ok(leaf)
    }

    fn cursor(&self, leaf: Arc<Leaf>) -> Cursor {
        let at = leaf.lower_bound(if self.reverse { &self.end } else { &self.start });
        Cursor { leaf, at }
    }

    /// The leaf that answers where the range stands.
    fn answer(&self, below: &Below, leaves: &Leaves) -> Result<Answer> {
        let snapshot = self.layers.snapshot();
        if !self.reverse {
            return Ok(match self.layers.leaf(below, leaves, &self.start)? {
                Some(leaf) => Answer::Leaf(leaf),
                None => Answer::Gap(snapshot.next_fence(&below.key, leaves.era, &self.start, leaves.fold)?),
            });
        }
        let before = snapshot.leaf_before(&below.key, leaves.era, &self.end, leaves.fold)?;
        let mut gap = None;
        if let Some(located) = before {
            let leaf = located.pack.leaf(&located.key, &located.place)?;
            if leaf.first_fence() >= self.end.as_slice() {
                return Err(located.damaged("its leaves do not descend".into()));
            }
            match leaf.end_fence().filter(|end| *end < self.end.as_slice()) {
                None => return Ok(Answer::Leaf(leaf)),
                Some(end) => gap = Some(end.to_vec()),
            }
        }
        match &below.under {
            Some(_) => Ok(Answer::Gap(gap)),
            None => Err(missing(&below.key, "the leaf for a key of it")),
        }
    }

    /// What the layers say of a key, newest first.
    fn resolve(&self, key: &[u8]) -> Result<Option<Value>> {
        let mut patches = PatchStack::default();
        for overlay in self.layers.overlays() {
            match overlay.get(key) {
                Found::Value(value) => return Ok(Some(patches.over(value.to_value()))),
                Found::Deleted => return Ok(patches.over_nothing()),
                Found::Patch(list) => patches.push(list),
                Found::Below => {}
            }
        }
        for layer in self.stretch.iter().flat_map(|stretch| &stretch.layers) {
            match layer {
                Layer::Overlay(overlay) => match overlay.get(key) {
                    Found::Value(value) => return Ok(Some(patches.over(value.to_value()))),
                    Found::Deleted => return Ok(patches.over_nothing()),
                    Found::Patch(list) => patches.push(list),
                    Found::Below => {}
                },
                Layer::Leaf(cursor, object, seq) => {
                    let Some(at) =
                        cursor.index(self.reverse).filter(|_| cursor.key(self.reverse) == Some(key))
                    else {
                        continue;
                    };
                    match cursor.leaf.value(at) {
                        LeafValue::Put(_) => {
                            return Ok(Some(patches.over(shared_value(&cursor.leaf, at))));
                        }
                        LeafValue::Delete => return Ok(patches.over_nothing()),
                        LeafValue::Patch(list) => patches.push(parse_patches(object, list, *seq)?),
                    }
                }
            }
        }
        Ok(patches.over_nothing())
    }

    /// Moves beyond `key`.
    fn pass(&mut self, key: &[u8]) {
        for layer in self.stretch.iter_mut().flat_map(|stretch| &mut stretch.layers) {
            if let Layer::Leaf(cursor, ..) = layer
                && cursor.key(self.reverse) == Some(key)
            {
                cursor.at = if self.reverse { cursor.at - 1 } else { cursor.at + 1 };
            }
        }
        if self.reverse {
            self.end.clear();
            self.end.extend_from_slice(key);
        } else {
            self.start.clear();
            self.start.extend_from_slice(key);
            self.start.push(0);
        }
    }
}

impl Cursor {
    fn index(&self, reverse: bool) -> Option<usize> {
        if reverse { self.at.checked_sub(1) } else { Some(self.at).filter(|at| *at < self.leaf.len()) }
    }

    fn key(&self, reverse: bool) -> Option<&[u8]> {
        self.index(reverse).map(|at| self.leaf.key(at))
    }
}

impl Iterator for Range<'_> {
    type Item = Result<(Vec<u8>, Value)>;

    fn next(&mut self) -> Option<Self::Item> {
        let entry = self.next_entry()?;
        Some(entry.map(|(mut key, value)| {
            // The space byte is the engine's own.
            key.remove(0);
            (key, value)
        }))
    }
}

impl std::iter::FusedIterator for Range<'_> {}

impl std::fmt::Debug for Range<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Range")
            .field("reverse", &self.reverse)
            .field("left", &self.left)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_become_half_open_ranges_within_the_space() {
        assert_eq!(bounds_of::<&str>(0x10, &..), (vec![0x10], vec![0x11]));
        assert_eq!(bounds_of(0x10, &("a"..="b")), (b"\x10a".to_vec(), b"\x10b\0".to_vec()));
        let excluded = (Bound::Excluded("a"), Bound::Excluded("b"));
        assert_eq!(bounds_of::<&str>(0x10, &excluded), (b"\x10a\0".to_vec(), b"\x10b".to_vec()));
    }

    #[test]
    fn the_end_of_a_prefix_is_the_next_key_without_it() {
        assert_eq!(prefix_end(b"\x10ab"), b"\x10ac");
        assert_eq!(prefix_end(b"\x10\xff\xff"), b"\x11");
    }
}
