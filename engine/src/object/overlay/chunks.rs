//! The entries of an overlay that outgrew one chunk.

use std::{
    collections::BTreeMap,
    ops::Bound::{Excluded, Included, Unbounded},
};

use super::{
    Found,
    chunk::{Chunk, New},
    fence::Fence,
};

/// What a `BTreeMap` takes for one chunk: its key and value, in nodes that are two thirds full.
const NODE_BYTES: usize = (size_of::<Fence>() + size_of::<Chunk>()) * 3 / 2;

/// Chunks by fence: a chunk holds the keys from its fence to before the next. The first fence is the empty key, and
/// its chunk always exists; every other chunk holds an entry.
#[derive(Debug)]
pub(super) struct Chunks {
    by_fence: BTreeMap<Fence, Chunk>,
    len: usize,
    /// What chunks, fences and nodes take.
    bytes: usize,
}

const FIRST_FENCE: &str = "the first fence is the empty key, and it is never removed";

impl Chunks {
    /// Starts with a chunk that is full.
    pub(super) fn of(chunk: Chunk) -> Chunks {
        let (len, bytes) = (chunk.len(), chunk.memory_bytes() + NODE_BYTES);
        let mut chunks = Chunks { by_fence: BTreeMap::from([(Fence::FIRST, chunk)]), len, bytes };
        chunks.split_at(b"", false);
        chunks
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn memory_bytes(&self) -> usize {
        self.bytes
    }

    fn chunk(&self, key: &[u8]) -> (&[u8], &Chunk) {
        let at = self.by_fence.range::<[u8], _>((Unbounded, Included(key))).next_back();
        at.map(|(fence, chunk)| (&**fence, chunk)).expect(FIRST_FENCE)
    }

    /// The chunk that holds `key`, for changes that change neither its length nor its memory.
    pub(super) fn chunk_mut(&mut self, key: &[u8]) -> &mut Chunk {
        self.by_fence.range_mut::<[u8], _>((Unbounded, Included(key))).next_back().expect(FIRST_FENCE).1
    }

    pub(super) fn find(&self, key: &[u8]) -> Option<Found<'_>> {
        let (_, chunk) = self.chunk(key);
        chunk.get(key)
    }

    /// Changes the chunk that holds `key`, and keeps the books.
    pub(super) fn change<T>(&mut self, key: &[u8], change: impl FnOnce(&mut Chunk) -> T) -> T {
        let at = self.by_fence.range_mut::<[u8], _>((Unbounded, Included(key))).next_back();
        let (fence, chunk) = at.expect(FIRST_FENCE);
        let (len, bytes) = (chunk.len(), chunk.memory_bytes());
        let result = change(chunk);
        self.len = self.len - len + chunk.len();
        self.bytes = self.bytes - bytes + chunk.memory_bytes();
        if chunk.is_full() {
            let fence = fence.clone();
            let in_order = chunk.key(chunk.len() - 1) == key;
            self.split_at(&fence, in_order);
        } else if chunk.len() == 0 && !fence.is_empty() {
            let fence = fence.clone();
            self.by_fence.remove(&fence);
            self.bytes -= NODE_BYTES + fence.heap_bytes();
        }
        result
    }

    pub(super) fn set(&mut self, key: &[u8], new: New<'_>) {
        self.change(key, |chunk| chunk.set(key, new));
    }

    fn split_at(&mut self, fence: &[u8], in_order: bool) {
        let chunk = self.by_fence.get_mut(fence).expect("the chunk was just found");
        self.bytes -= chunk.memory_bytes();
        let upper = chunk.split(in_order);
        let fence = Fence::between(chunk.key(chunk.len() - 1), upper.key(0));
        self.bytes += chunk.memory_bytes() + upper.memory_bytes() + NODE_BYTES + fence.heap_bytes();
        self.by_fence.insert(fence, upper);
    }

    pub(super) fn remove_range(&mut self, start: &[u8], end: Option<&[u8]>) {
        let first = Fence::from(self.chunk(start).0);
        let to = end.map_or(Unbounded, |end| Excluded(end.into()));
        let (mut removed, mut before, mut after) = (0, 0, 0);
        let emptied = self.by_fence.extract_if((Included(first), to), |fence, chunk| {
            before += chunk.memory_bytes();
            removed += chunk.remove(chunk.range(start, end));
            after += chunk.memory_bytes();
            chunk.len() == 0 && !fence.is_empty()
        });
        let nodes: usize = emptied.map(|(fence, _)| NODE_BYTES + fence.heap_bytes()).sum();
        self.len -= removed;
        self.bytes = self.bytes - before + after - nodes;
    }

    pub(super) fn at_or_after(&self, key: &[u8], inclusive: bool) -> Option<(&[u8], Found<'_>)> {
        let (fence, chunk) = self.chunk(key);
        chunk.at_or_after(key, inclusive).or_else(|| {
            let (_, next) = self.by_fence.range::<[u8], _>((Excluded(fence), Unbounded)).next()?;
            Some(next.entry(0))
        })
    }

    pub(super) fn at_or_before(&self, key: Option<&[u8]>, inclusive: bool) -> Option<(&[u8], Found<'_>)> {
        // Only the first chunk may be empty, and nothing lies before it.
        let Some(key) = key else { return self.by_fence.last_key_value()?.1.at_or_before(None, inclusive) };
        let (fence, chunk) = self.chunk(key);
        chunk.at_or_before(Some(key), inclusive).or_else(|| {
            let (_, before) = self.by_fence.range::<[u8], _>((Unbounded, Excluded(fence))).next_back()?;
            before.at_or_before(None, inclusive)
        })
    }

    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = (&[u8], Found<'_>)> {
        self.by_fence.values().flat_map(Chunk::iter)
    }

    /// The entries from `key` on.
    #[cfg(test)]
    pub(super) fn iter_from(&self, key: &[u8]) -> impl DoubleEndedIterator<Item = (&[u8], Found<'_>)> {
        let (fence, chunk) = self.chunk(key);
        let rest = self.by_fence.range::<[u8], _>((Excluded(fence), Unbounded));
        chunk.iter_from(key).chain(rest.flat_map(|(_, chunk)| chunk.iter()))
    }

    /// Length and memory, counted anew.
    #[cfg(test)]
    pub(super) fn count_again(&self) -> (usize, usize) {
        let len = self.by_fence.values().map(Chunk::len).sum();
        let bytes =
            self.by_fence.iter().map(|(fence, chunk)| chunk.memory_bytes() + NODE_BYTES + fence.heap_bytes());
        (len, bytes.sum())
    }
}
