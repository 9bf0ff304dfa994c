//! Reading a range of an object lazily, in either direction, through all its layers.

use std::ops::{Bound, RangeBounds};

use lineal_snapshot::{Leaf, LeafValue};

use super::reader::{Layers, PatchStack, internal_key, shared_value};
use crate::{
    Result, Value,
    object::{overlay::Found, resident::Base},
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
    below: Option<Vec<Cursor>>,
    done: bool,
}

/// Where the range stands in one layer below the overlays: a delta, or the leaf that answers at the moment.
struct Cursor {
    leaf: Arc<Leaf>,
    /// Forward: the next entry. Reverse: the entry after the next one.
    at: usize,
    /// Whether other leaves follow this one.
    is_delta: bool,
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
        Range { layers, start, end, reverse: false, left: u64::MAX, below: None, done }
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
        if self.below.is_none() {
            self.below = Some(self.open_below()?);
        }
        let Some(key) = self.next_key()? else { return Ok(Step::End) };
        let value = self.resolve(&key)?;
        self.pass(&key);
        Ok(match value {
            Some(value) => Step::Entry(key, value),
            None => Step::Nothing,
        })
    }

    /// Cursors into deltas and the first leaf; none where nothing below the overlays can be seen.
    fn open_below(&self) -> Result<Vec<Cursor>> {
        let Some(base) = &self.layers.resident.base else { return Ok(Vec::new()) };
        if self.layers.overlays().any(|overlay| overlay.whole_cleared()) {
            return Ok(Vec::new());
        }
        let mut cursors = Vec::with_capacity(base.deltas.len() + 1);
        for seq in &base.deltas {
            let leaf = self.layers.delta(base, *seq)?;
            cursors.push(self.cursor(leaf, true));
        }
        let leaf = if self.reverse { self.leaf_before(base, &self.end)? } else { Some(self.leaf_at(base)?) };
        if let Some(leaf) = leaf {
            cursors.push(self.cursor(leaf, false));
        }
        Ok(cursors)
    }

    fn cursor(&self, leaf: Arc<Leaf>, is_delta: bool) -> Cursor {
        let at = leaf.lower_bound(if self.reverse { &self.end } else { &self.start });
        Cursor { leaf, at, is_delta }
    }

    fn leaf_at(&self, base: &Base) -> Result<Arc<Leaf>> {
        Ok(self.layers.leaf(base, &self.start)?.1)
    }

    /// The leaf that answers directly before `fence`.
    fn leaf_before(&self, base: &Base, fence: &[u8]) -> Result<Option<Arc<Leaf>>> {
        let located = self.layers.snapshot().leaf_before(&self.layers.key, base.era, fence, base.fold)?;
        Ok(match located {
            Some(located) => {
                let leaf = located.pack.leaf(&located.key, &located.place)?;
                if leaf.first_fence() >= fence {
                    return Err(located.damaged("its leaves do not descend".into()));
                }
                Some(leaf)
            }
            None => None,
        })
    }

    /// The next key in order that any layer speaks of, within the range.
    fn next_key(&mut self) -> Result<Option<Vec<u8>>> {
        self.refill()?;
        let below = self.below.as_deref().unwrap_or_default();
        let above = self.layers.overlays().filter_map(|overlay| {
            let found = if self.reverse {
                overlay.at_or_before(Some(&self.end), false)
            } else {
                overlay.at_or_after(&self.start, true)
            };
            found.map(|(key, _)| key)
        });
        let keys = above.chain(below.iter().filter_map(|cursor| cursor.key(self.reverse)));
        let best = if self.reverse { keys.max() } else { keys.min() };
        let within = |key: &[u8]| key >= self.start.as_slice() && key < self.end.as_slice();
        Ok(best.filter(|key| within(key)).map(<[u8]>::to_vec))
    }

    /// Goes on to the next leaf where one is used up.
    fn refill(&mut self) -> Result<()> {
        let Some(base) = self.layers.resident.base.as_deref() else { return Ok(()) };
        loop {
            let cursors = self.below.as_deref().unwrap_or_default();
            let Some(cursor) =
                cursors.last().filter(|cursor| !cursor.is_delta && cursor.key(self.reverse).is_none())
            else {
                return Ok(());
            };
            let next = if self.reverse {
                let fence = cursor.leaf.first_fence().to_vec();
                if fence <= self.start { None } else { self.leaf_before(base, &fence)? }
            } else {
                match cursor.leaf.end_fence().map(<[u8]>::to_vec) {
                    Some(fence) if fence < self.end => Some(self.layers.leaf(base, &fence)?.1),
                    _ => None,
                }
            };
            let next = next.map(|leaf| self.cursor(leaf, false));
            let cursors = self.below.get_or_insert_default();
            cursors.pop();
            match next {
                Some(cursor) => cursors.push(cursor),
                None => return Ok(()),
            }
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
        let mut deltas = self.layers.resident.base.iter().flat_map(|base| &base.deltas);
        for cursor in self.below.iter().flatten() {
            let seq = if cursor.is_delta { deltas.next().copied() } else { None };
            if cursor.key(self.reverse) != Some(key) {
                continue;
            }
            let at = cursor.index(self.reverse).expect("a cursor with a key has an entry");
            match cursor.leaf.value(at) {
                LeafValue::Put(_) => return Ok(Some(patches.over(shared_value(&cursor.leaf, at)))),
                LeafValue::Delete => return Ok(patches.over_nothing()),
                LeafValue::Patch(list) => patches.push(self.layers.patches(list, seq.unwrap_or_default())?),
            }
        }
        Ok(patches.over_nothing())
    }

    /// Moves beyond `key`.
    fn pass(&mut self, key: &[u8]) {
        for cursor in self.below.iter_mut().flatten() {
            if cursor.key(self.reverse) == Some(key) {
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
        while !self.done && self.left > 0 {
            match self.step() {
                Ok(Step::Entry(mut key, value)) => {
                    self.left -= 1;
                    // The space byte is the engine's own.
                    key.remove(0);
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
