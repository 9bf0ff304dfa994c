//! The newest state of an object, in memory: what its tail, or a transaction's write set, says of each key.
//!
//! An overlay knows only what was said since the leaves below it were written. To a key it answers with a value, with
//! "deleted", with patches to what lies below, or with "ask below"; and it knows the ranges where nothing below is
//! visible any more. A small object is one chunk, which is one allocation; a larger one is a map of chunks.

mod apart;
mod chunk;
mod chunks;
mod cleared;
mod fence;
#[cfg(test)]
mod tests;

// Sharing bytes that never change has no protocol to model, so this is std's `Arc` and not the one of `sync`.
use std::{fmt, ops::Deref, sync::Arc};

use self::{
    chunk::{Chunk, New},
    chunks::Chunks,
    cleared::Cleared,
};
use crate::{
    transaction::ops::{Cut, CutBase, Op, Ops, OpsError, Patch, Patches, apply_patch},
    value::Value,
};

pub(crate) use cleared::Interval;

/// What an allocator hands out for `bytes`: eight bytes of its own, sixteen-byte steps, thirty-two at least.
fn heap_bytes(bytes: usize) -> usize {
    if bytes == 0 { 0 } else { (bytes + 8).next_multiple_of(16).max(32) }
}

/// What an overlay knows of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found<'a> {
    /// It has this value.
    Value(ValueRef<'a>),
    /// It has no value, whatever lies below.
    Deleted,
    /// Its value is what lies below with these patches; nothing between is cleared.
    Patch(Patches<'a>),
    /// Nothing: what lies below decides.
    Below,
}

/// A value in an overlay.
#[derive(Clone, Copy)]
pub(crate) struct ValueRef<'a> {
    bytes: &'a [u8],
    shared: Option<&'a Arc<[u8]>>,
}

impl<'a> ValueRef<'a> {
    #[inline]
    fn in_block(bytes: &'a [u8]) -> ValueRef<'a> {
        ValueRef { bytes, shared: None }
    }

    #[inline]
    fn shared(value: &'a Arc<[u8]>) -> ValueRef<'a> {
        ValueRef { bytes: value, shared: Some(value) }
    }

    /// The value where it lies.
    #[cfg(feature = "sql")]
    pub(crate) fn bytes(self) -> &'a [u8] {
        self.bytes
    }

    /// The value on its own: a long one is shared, a short one is copied.
    #[inline]
    pub(crate) fn to_value(self) -> Value {
        match self.shared {
            Some(shared) => Value::from(Arc::clone(shared)),
            None => Value::from(self.bytes),
        }
    }
}

impl Deref for ValueRef<'_> {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        self.bytes
    }
}

impl PartialEq for ValueRef<'_> {
    fn eq(&self, other: &ValueRef<'_>) -> bool {
        self.bytes == other.bytes
    }
}

impl Eq for ValueRef<'_> {}

impl fmt::Debug for ValueRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to_value().fmt(f)
    }
}

/// The overlay of an object, or the write set of a transaction. An empty one has allocated nothing.
#[derive(Debug, Default)]
pub(crate) struct Overlay {
    /// All entries, as long as they fit one chunk.
    first: Chunk,
    more: Option<Box<More>>,
    /// Nothing below is visible anywhere. Then no interval is kept.
    whole: bool,
}

/// What most objects do not have.
#[derive(Debug, Default)]
struct More {
    /// All entries, once they do not fit one chunk; `first` is then empty.
    chunks: Option<Chunks>,
    cleared: Cleared,
}

// An object without entries costs this, and a resident one looks at one cache line of it.
const _: () = assert!(size_of::<Overlay>() <= 64);

impl Overlay {
    /// An overlay that knows nothing.
    pub(crate) fn new() -> Overlay {
        Overlay::default()
    }

    /// An overlay that knows nothing, with room for entries of so many bytes together: for one that is filled at once and
    /// does not live long. It takes no more than a chunk of usual size, and none for less than a few entries.
    pub(crate) fn with_room(bytes: usize) -> Overlay {
        Overlay { first: Chunk::with_room(bytes), ..Overlay::default() }
    }

    /// What is known of `key`.
    #[inline]
    pub(crate) fn get(&self, key: &[u8]) -> Found<'_> {
        if let Some(more) = &self.more {
            return self.get_more(more, key);
        }
        match self.first.get(key) {
            Some(found) => found,
            None if self.whole => Found::Deleted,
            None => Found::Below,
        }
    }

    #[inline(never)]
    fn get_more<'a>(&'a self, more: &'a More, key: &[u8]) -> Found<'a> {
        let found = match &more.chunks {
            Some(chunks) => chunks.find(key),
            None => self.first.get(key),
        };
        found.unwrap_or_else(|| if self.is_cleared(key) { Found::Deleted } else { Found::Below })
    }

    /// Whether what lies below `key` is not visible. An entry of the overlay itself is, all the same.
    pub(crate) fn is_cleared(&self, key: &[u8]) -> bool {
        self.whole || self.more.as_ref().is_some_and(|more| more.cleared.contains(key))
    }

    /// The key has this value.
    #[inline]
    pub(crate) fn put(&mut self, key: &[u8], value: &[u8]) {
        self.set(key, New::Value(value));
    }

    /// The key has this value, which is shared where it is long.
    pub(crate) fn put_shared(&mut self, key: &[u8], value: &Arc<[u8]>) {
        self.set(key, New::Shared(Arc::clone(value)));
    }

    /// The key has no value.
    pub(crate) fn delete(&mut self, key: &[u8]) {
        if !self.is_cleared(key) {
            self.set(key, New::Deleted);
        } else if !matches!(self.get(key), Found::Deleted) {
            // Where nothing below is visible, no entry says deleted.
            self.change(key, |chunk| {
                let index = chunk.find(key).expect("the key was just found");
                chunk.remove(index..index + 1);
            });
        }
    }

    /// No key from `start` to before `end` has a value. A range that ends before it starts is empty.
    pub(crate) fn delete_range(&mut self, start: &[u8], end: Option<&[u8]>) {
        if end.is_some_and(|end| end <= start) {
            return;
        }
        self.remove_range(start, end);
        if self.whole {
            return;
        }
        if start.is_empty() && end.is_none() {
            self.whole = true;
            self.more = None;
            return;
        }
        let more = self.more.get_or_insert_default();
        more.cleared.add(start, end);
        if more.cleared.contains_all() {
            self.whole = true;
            more.cleared = Cleared::default();
        }
    }

    /// No key has a value.
    #[cfg(test)]
    pub(crate) fn clear_all(&mut self) {
        self.delete_range(b"", None);
    }

    /// Forgets whatever is known of a range: what lies below is visible there again. This is what a cut to another
    /// version does; the caller sees to it that this version is what lies below.
    pub(crate) fn forget_range(&mut self, start: &[u8], end: Option<&[u8]>) {
        if end.is_some_and(|end| end <= start) {
            return;
        }
        self.remove_range(start, end);
        if self.whole {
            self.whole = false;
            if start.is_empty() && end.is_none() {
                return;
            }
            self.more.get_or_insert_default().cleared.add(b"", None);
        }
        if let Some(more) = &mut self.more {
            more.cleared.subtract(start, end);
        }
    }

    /// Changes a part of the value of `key`. Where the value is known this is done at once, and where it is known to be
    /// absent it counts as empty; else the patch waits, behind those that wait already.
    pub(crate) fn patch(&mut self, key: &[u8], patch: &Patch<'_>) {
        let value = match self.get(key) {
            Found::Value(value) => {
                if value.len() == patch.new_len()
                    && let Some(bytes) = self.value_mut(key)
                {
                    return patch.write_to(bytes);
                }
                let Found::Value(value) = self.get(key) else { unreachable!("it was a value above") };
                apply_patch(&value, patch)
            }
            Found::Deleted => apply_patch(&[], patch),
            Found::Patch(_) => {
                return self.change(key, |chunk| {
                    let index = chunk.find(key).expect("the key was just found");
                    chunk.push_patch(index, patch);
                });
            }
            Found::Below => return self.set(key, New::Patch(patch)),
        };
        self.put(key, &value);
    }

    /// Adds a list of patches, oldest first.
    pub(crate) fn patch_all(&mut self, key: &[u8], patches: &Patches<'_>) {
        if matches!(self.get(key), Found::Below) {
            self.set(key, New::Patches(patches));
        } else {
            patches.iter().for_each(|patch| self.patch(key, &patch));
        }
    }

    /// Applies the ops of a commit. The cuts to another version are returned in order: their ranges are forgotten
    /// here, and the caller puts their base below.
    ///
    /// # Errors
    /// If the bytes are no valid ops. Those before the bad one are applied then.
    pub(crate) fn apply(&mut self, ops: &[u8]) -> Result<Vec<Cut>, OpsError> {
        let mut cuts = Vec::new();
        for op in Ops::new(ops) {
            match op? {
                Op::Put { key, value } => self.put(key, value),
                Op::Delete { key } => self.delete(key),
                Op::DeleteRange { start, end } => self.delete_range(start, end),
                Op::Patch { key, patch } => self.patch(key, &patch),
                Op::Cut(Cut { start, end, base: CutBase::Nothing }) => {
                    self.delete_range(&start, end.as_deref());
                }
                Op::Cut(cut) => {
                    self.forget_range(&cut.start, cut.end.as_deref());
                    cuts.push(cut);
                }
            }
        }
        Ok(cuts)
    }

    /// Adds what a newer overlay says, which lies over this one: a committed write set onto the object's overlay.
    pub(crate) fn absorb(&mut self, newer: &Overlay) {
        for (start, end) in newer.cleared() {
            self.delete_range(start, end);
        }
        for (key, found) in newer.iter() {
            match found {
                Found::Value(ValueRef { shared: Some(shared), .. }) => self.put_shared(key, shared),
                Found::Value(value) => self.put(key, &value),
                Found::Deleted => self.delete(key),
                Found::Patch(patches) => self.patch_all(key, &patches),
                Found::Below => unreachable!("an entry knows something"),
            }
        }
    }

    /// Forgets everything, and keeps a block of usual size for the next use.
    pub(crate) fn reset(&mut self) {
        self.first.clear();
        self.more = None;
        self.whole = false;
    }

    /// The cleared ranges in order. They are disjoint and do not touch.
    pub(crate) fn cleared(&self) -> impl DoubleEndedIterator<Item = Interval<'_>> {
        let whole: Option<Interval<'_>> = self.whole.then_some((b"".as_slice(), None));
        whole.into_iter().chain(self.more.iter().flat_map(|more| more.cleared.iter()))
    }

    /// The first cleared range that holds `key` or starts after it.
    pub(crate) fn cleared_at_or_after(&self, key: &[u8]) -> Option<Interval<'_>> {
        if self.whole {
            return Some((b"", None));
        }
        self.more.as_ref()?.cleared.at_or_after(key)
    }

    /// The last cleared range that starts before `key`; the last of all without one.
    #[cfg(test)]
    pub(crate) fn cleared_before(&self, key: Option<&[u8]>) -> Option<Interval<'_>> {
        if self.whole {
            return key.is_none_or(|key| !key.is_empty()).then_some((b"".as_slice(), None));
        }
        self.more.as_ref()?.cleared.before(key.map_or(std::ops::Bound::Unbounded, std::ops::Bound::Excluded))
    }

    /// Whether nothing at all is visible of what lies below.
    pub(crate) fn whole_cleared(&self) -> bool {
        self.whole
    }

    /// How many keys have an entry: a value, a deletion or patches.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.chunks().map_or(self.first.len(), Chunks::len)
    }

    /// Whether it knows nothing: no entries, and nothing cleared.
    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0 && !self.whole && self.more.as_ref().is_none_or(|more| more.cleared.is_empty())
    }

    /// What it takes, itself included, in bytes. Long values count in full, though a reader may share them.
    pub(crate) fn memory_bytes(&self) -> usize {
        let more = self.more.as_ref().map_or(0, |more| {
            heap_bytes(size_of::<More>())
                + more.cleared.memory_bytes()
                + more.chunks.as_ref().map_or(0, Chunks::memory_bytes)
        });
        size_of::<Overlay>() + self.first.memory_bytes() + more
    }

    /// The first entry after `key`, or at it if that counts.
    pub(crate) fn at_or_after(&self, key: &[u8], inclusive: bool) -> Option<(&[u8], Found<'_>)> {
        match self.chunks() {
            None => self.first.at_or_after(key, inclusive),
            Some(chunks) => chunks.at_or_after(key, inclusive),
        }
    }

    /// The last entry before `key`, or at it if that counts; the last of all without a key.
    pub(crate) fn at_or_before(&self, key: Option<&[u8]>, inclusive: bool) -> Option<(&[u8], Found<'_>)> {
        match self.chunks() {
            None => self.first.at_or_before(key, inclusive),
            Some(chunks) => chunks.at_or_before(key, inclusive),
        }
    }

    /// The entries in order.
    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = (&[u8], Found<'_>)> {
        self.first.iter().chain(self.chunks().into_iter().flat_map(Chunks::iter))
    }

    /// The entries from `key` on, in order.
    #[cfg(test)]
    pub(crate) fn iter_from(&self, key: &[u8]) -> impl DoubleEndedIterator<Item = (&[u8], Found<'_>)> {
        self.first.iter_from(key).chain(self.chunks().into_iter().flat_map(|chunks| chunks.iter_from(key)))
    }

    #[inline]
    fn chunks(&self) -> Option<&Chunks> {
        self.more.as_ref()?.chunks.as_ref()
    }

    #[inline]
    fn chunks_mut(&mut self) -> Option<&mut Chunks> {
        self.more.as_mut()?.chunks.as_mut()
    }

    #[inline]
    fn set(&mut self, key: &[u8], new: New<'_>) {
        match self.chunks_mut() {
            Some(chunks) => chunks.set(key, new),
            None => {
                if self.first.set(key, new) && self.first.is_full() {
                    self.spread();
                }
            }
        }
    }

    /// From one chunk to many.
    #[cold]
    fn spread(&mut self) {
        let first = std::mem::take(&mut self.first);
        self.more.get_or_insert_default().chunks = Some(Chunks::of(first));
    }

    /// Changes the chunk that holds `key`.
    fn change(&mut self, key: &[u8], change: impl FnOnce(&mut Chunk)) {
        match self.chunks_mut() {
            Some(chunks) => chunks.change(key, change),
            None => change(&mut self.first),
        }
    }

    fn value_mut(&mut self, key: &[u8]) -> Option<&mut [u8]> {
        let chunk = match self.more.as_mut().and_then(|more| more.chunks.as_mut()) {
            Some(chunks) => chunks.chunk_mut(key),
            None => &mut self.first,
        };
        chunk.value_mut(key)
    }

    fn remove_range(&mut self, start: &[u8], end: Option<&[u8]>) {
        match self.chunks_mut() {
            None => {
                self.first.remove(self.first.range(start, end));
            }
            Some(chunks) => {
                chunks.remove_range(start, end);
                if chunks.len() == 0
                    && let Some(more) = &mut self.more
                {
                    more.chunks = None;
                }
            }
        }
    }
}
