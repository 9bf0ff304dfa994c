//! A sorted run of entries in one allocation.
//!
//! The block of a chunk holds, one after the other:
//!
//! | part | size | content |
//! |---|---|---|
//! | prefixes | 8 bytes a slot | eight bytes of each key, after the `skip` bytes that all keys share, as a number that sorts as they do |
//! | metas | 12 bytes a slot | where the key is in the block, how long it is, what is known of it |
//! | arena | the rest | each key with its value behind it |
//!
//! A search runs over the prefixes alone: sixteen of them are two cache lines, where slots with everything side by side
//! would be six. Then it looks at one meta, and at the key beside its value. The bytes that all keys share
//! are skipped, because keys of one object tend to start alike and prefixes that are all equal would decide nothing.
//! One allocation an object also means one page to translate, and one `free` when it hibernates.

use std::{cmp::Ordering, ops::Range, sync::Arc};

use super::{
    Found, ValueRef,
    apart::{Apart, Piece},
    heap_bytes,
};
use crate::transaction::ops::{Merged, Patch, Patches, merge_patches};

/// A chunk with this many slots is split.
pub(super) const SLOTS_MAX: usize = 128;

/// A chunk whose block holds more than this is split, if it has two entries, so that making it anew stays short.
const BLOCK_BYTES_MAX: usize = 32 << 10;

/// Values up to this length lie in the block; longer ones are kept apart and shared with their readers.
const VALUE_IN_BLOCK_MAX: usize = 256;

/// For less than this no room is made in advance, in bytes: what all slots take.
const ROOM_MIN: usize = SLOTS_MAX * SLOT_BYTES;

/// A block with less garbage than this is left as it is.
const GARBAGE_MIN: usize = 256;

/// A key that waits for what lies below keeps at most this many patches before they are joined.
const PATCHES_MAX: u32 = 16;

/// Up to this many slots are fetched as a whole: six cache lines.
const FETCH_SLOTS_MAX: usize = 19;

/// What a processor fetches at once.
const CACHE_LINE_BYTES: usize = 64;

const PREFIX_BYTES: usize = 8;
const META_BYTES: usize = 12;
const SLOT_BYTES: usize = PREFIX_BYTES + META_BYTES;

/// What is to be known of a key.
#[derive(Debug)]
pub(super) enum New<'a> {
    Value(&'a [u8]),
    Shared(Arc<[u8]>),
    Deleted,
    Patch(&'a Patch<'a>),
    Patches(&'a Patches<'a>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// The value lies behind the key.
    InBlock = 0,
    /// There is no value.
    Deleted = 1,
    /// The value is a piece.
    Apart = 2,
    /// The pending patches are a piece.
    Patches = 3,
}

/// Bytes in the block: at (u32), kind (u8), key length (u24), and (u32) the piece's index or, within the block, the
/// value's length (low half) and the room it has (high half).
#[derive(Clone, Copy, Debug)]
struct Meta {
    at: usize,
    key_len: usize,
    kind: Kind,
    detail: u32,
}

impl Meta {
    #[inline]
    fn decode(bytes: &[u8; META_BYTES]) -> Meta {
        let [a, b, c, d, kind, e, f, g, h, i, j, k] = *bytes;
        Meta {
            at: u32::from_le_bytes([a, b, c, d]) as usize,
            key_len: u32::from_le_bytes([e, f, g, 0]) as usize,
            kind: match kind {
                0 => Kind::InBlock,
                1 => Kind::Deleted,
                2 => Kind::Apart,
                _ => Kind::Patches,
            },
            detail: u32::from_le_bytes([h, i, j, k]),
        }
    }

    #[inline]
    fn encode(&self) -> [u8; META_BYTES] {
        let [a, b, c, d] =
            u32::try_from(self.at).expect("a chunk is split long before it has 4 GiB").to_le_bytes();
        let [e, f, g, over] = u32::try_from(self.key_len).expect("keys are short").to_le_bytes();
        assert_eq!(over, 0, "keys are shorter than 16 MiB");
        let [h, i, j, k] = self.detail.to_le_bytes();
        [a, b, c, d, self.kind as u8, e, f, g, h, i, j, k]
    }

    fn is_in_block(&self) -> bool {
        matches!(self.kind, Kind::InBlock | Kind::Deleted)
    }

    #[inline]
    fn value_len(&self) -> usize {
        if self.is_in_block() { (self.detail & 0xffff) as usize } else { 0 }
    }

    #[inline]
    fn room(&self) -> usize {
        if self.is_in_block() { (self.detail >> 16) as usize } else { 0 }
    }

    #[inline]
    fn key_range(&self) -> Range<usize> {
        self.at..self.at + self.key_len
    }

    #[inline]
    fn value_range(&self) -> Range<usize> {
        let start = self.at + self.key_len;
        start..start + self.value_len()
    }
}

fn in_block_detail(len: usize, room: usize) -> u32 {
    debug_assert!(len <= room && room <= VALUE_IN_BLOCK_MAX);
    (len | room << 16) as u32
}

/// How a new thing is kept.
enum Stored<'a> {
    InBlock(&'a [u8]),
    Deleted,
    Piece(Kind, Piece),
}

impl<'a> Stored<'a> {
    fn of(new: New<'a>) -> Stored<'a> {
        match new {
            New::Value(value) if value.len() <= VALUE_IN_BLOCK_MAX => Stored::InBlock(value),
            New::Value(value) => Stored::Piece(Kind::Apart, Piece::Value(value.into())),
            New::Shared(value) => Stored::Piece(Kind::Apart, Piece::Value(value)),
            New::Deleted => Stored::Deleted,
            New::Patch(patch) => Stored::Piece(Kind::Patches, Piece::one_patch(patch)),
            New::Patches(patches) => Stored::Piece(Kind::Patches, Piece::patches(patches)),
        }
    }

    fn in_block(&self) -> &'a [u8] {
        match self {
            Stored::InBlock(value) => value,
            Stored::Deleted | Stored::Piece(..) => &[],
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct Chunk {
    block: Vec<u8>,
    apart: Option<Box<Apart>>,
    /// Bytes of the arena that are in use: the keys of all slots and the values that lie behind them.
    live: u32,
    /// How many bytes at the front all keys share. It may be too small, never too large.
    skip: u32,
    count: u16,
    /// How many slots the block has room for.
    slots: u16,
}

/// Eight bytes of a key, which is at least `skip` long, as a number that sorts as they do; zeros follow a key that ends.
#[inline]
fn prefix_of(key: &[u8], skip: usize) -> u64 {
    let rest = &key[skip..];
    match rest.first_chunk() {
        Some(bytes) => u64::from_be_bytes(*bytes),
        None => rest.iter().rev().fold(0, |prefix, byte| prefix >> 8 | u64::from(*byte) << 56),
    }
}

fn common_bytes(a: &[u8], b: &[u8]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

impl Chunk {
    #[inline]
    pub(super) fn len(&self) -> usize {
        usize::from(self.count)
    }

    /// An empty one with room for entries of `bytes` together.
    pub(super) fn with_room(bytes: usize) -> Chunk {
        let mut made = Chunk::default();
        if bytes >= ROOM_MIN {
            made = made.carve(0..0, SLOTS_MAX, bytes.min(BLOCK_BYTES_MAX), None);
        }
        made
    }

    /// What it takes beside its own struct, in bytes.
    #[inline]
    pub(super) fn memory_bytes(&self) -> usize {
        heap_bytes(self.block.capacity()) + self.apart.as_ref().map_or(0, |apart| apart.memory_bytes())
    }

    /// Whether it is to be split.
    #[inline]
    pub(super) fn is_full(&self) -> bool {
        self.len() >= SLOTS_MAX || (self.live as usize > BLOCK_BYTES_MAX && self.len() >= 2)
    }

    /// Forgets the entries and keeps a block of usual size.
    pub(super) fn clear(&mut self) {
        let arena = self.arena_start();
        let Chunk { mut block, slots, .. } = std::mem::take(self);
        if block.capacity() <= 2 * BLOCK_BYTES_MAX {
            block.truncate(arena);
            *self = Chunk { block, slots, ..Chunk::default() };
        }
    }

    #[inline]
    fn arena_start(&self) -> usize {
        usize::from(self.slots) * SLOT_BYTES
    }

    #[inline]
    fn prefixes(&self) -> &[[u8; PREFIX_BYTES]] {
        self.block[..self.len() * PREFIX_BYTES].as_chunks().0
    }

    #[inline]
    fn meta_at(&self, index: usize) -> usize {
        usize::from(self.slots) * PREFIX_BYTES + index * META_BYTES
    }

    #[inline]
    fn meta(&self, index: usize) -> Meta {
        debug_assert!(index < self.len());
        Meta::decode(self.block[self.meta_at(index)..].first_chunk().expect("a slot has a whole meta"))
    }

    #[inline]
    fn set_meta(&mut self, index: usize, meta: &Meta) {
        let at = self.meta_at(index);
        self.block[at..at + META_BYTES].copy_from_slice(&meta.encode());
    }

    fn set_prefix(&mut self, index: usize, prefix: u64) {
        let at = index * PREFIX_BYTES;
        self.block[at..at + PREFIX_BYTES].copy_from_slice(&prefix.to_le_bytes());
    }

    #[inline]
    pub(super) fn key(&self, index: usize) -> &[u8] {
        &self.block[self.meta(index).key_range()]
    }

    /// How many prefixes are less than `prefix`.
    #[inline]
    fn rank(prefixes: &[[u8; PREFIX_BYTES]], prefix: u64) -> usize {
        prefixes.partition_point(|bytes| u64::from_le_bytes(*bytes) < prefix)
    }

    /// Where the key is, if it is there.
    #[inline]
    pub(super) fn find(&self, key: &[u8]) -> Option<usize> {
        self.locate(key).map(|(index, _)| index)
    }

    /// What is known of the key, if it is there.
    #[inline]
    pub(super) fn get(&self, key: &[u8]) -> Option<Found<'_>> {
        self.locate(key).map(|(_, meta)| self.found_by(&meta))
    }

    #[inline]
    fn locate(&self, key: &[u8]) -> Option<(usize, Meta)> {
        let skip = self.skip as usize;
        if key.len() < skip {
            return None;
        }
        self.fetch_slots();
        let prefix = prefix_of(key, skip);
        let prefixes = self.prefixes();
        let index = Chunk::rank(prefixes, prefix);
        if u64::from_le_bytes(*prefixes.get(index)?) != prefix {
            return None;
        }
        // The skipped bytes were not looked at: the whole key is.
        let meta = self.meta(index);
        if &self.block[meta.key_range()] == key {
            Some((index, meta))
        } else {
            self.locate_among_equals(key, index)
        }
    }

    /// Reads a byte of each line of a few slots, so that those that are not in the cache are fetched at once and not one
    /// after the other: which meta is read is known only after the search. It takes a quarter off a cold read (480 to
    /// 350..390 ns where one miss costs 120) and adds 4 ns to a hot one.
    #[inline]
    fn fetch_slots(&self) {
        if usize::from(self.slots) > FETCH_SLOTS_MAX {
            return;
        }
        let lines = self.block[..self.arena_start()].as_chunks::<CACHE_LINE_BYTES>().0;
        let touched = lines.iter().fold(0, |all, line| all | line[CACHE_LINE_BYTES - 1]);
        std::hint::black_box(touched);
    }

    /// Searches on among the keys that share one prefix, from the first of them.
    #[cold]
    fn locate_among_equals(&self, key: &[u8], first: usize) -> Option<(usize, Meta)> {
        if self.skipped_order(key) != Ordering::Equal {
            return None;
        }
        let index = self.seek_among_equals(key, first).ok()?;
        Some((index, self.meta(index)))
    }

    /// Where the key is (`Ok`), or where it would be inserted (`Err`).
    pub(super) fn seek(&self, key: &[u8]) -> Result<usize, usize> {
        match self.skipped_order(key) {
            Ordering::Less => return Err(0),
            Ordering::Greater => return Err(self.len()),
            Ordering::Equal => {}
        }
        self.seek_among_equals(key, Chunk::rank(self.prefixes(), prefix_of(key, self.skip as usize)))
    }

    /// How the front of `key` stands to the bytes that all keys share. A key that ends within them sorts before.
    fn skipped_order(&self, key: &[u8]) -> Ordering {
        let skip = self.skip as usize;
        if skip == 0 {
            return Ordering::Equal;
        }
        key[..key.len().min(skip)].cmp(&self.key(0)[..skip])
    }

    fn seek_among_equals(&self, key: &[u8], first: usize) -> Result<usize, usize> {
        let prefix = prefix_of(key, self.skip as usize);
        let equals = self.prefixes()[first..].partition_point(|bytes| u64::from_le_bytes(*bytes) == prefix);
        let (mut low, mut high) = (first, first + equals);
        while low < high {
            let middle = low.midpoint(high);
            match self.key(middle).cmp(key) {
                Ordering::Less => low = middle + 1,
                Ordering::Equal => return Ok(middle),
                Ordering::Greater => high = middle,
            }
        }
        Err(low)
    }

    /// What is known of the key in this slot.
    #[inline]
    fn found(&self, index: usize) -> Found<'_> {
        self.found_by(&self.meta(index))
    }

    #[inline]
    fn found_by(&self, meta: &Meta) -> Found<'_> {
        match meta.kind {
            Kind::InBlock => Found::Value(ValueRef::in_block(&self.block[meta.value_range()])),
            Kind::Deleted => Found::Deleted,
            Kind::Apart | Kind::Patches => match self.apart().get(meta.detail) {
                Piece::Value(value) => Found::Value(ValueRef::shared(value)),
                Piece::Patches { list, .. } => Found::Patch(Patches::trusted(list)),
            },
        }
    }

    #[inline]
    pub(super) fn entry(&self, index: usize) -> (&[u8], Found<'_>) {
        (self.key(index), self.found(index))
    }

    fn apart(&self) -> &Apart {
        self.apart.as_ref().expect("a slot names a piece")
    }

    fn apart_mut(&mut self) -> &mut Apart {
        self.apart.get_or_insert_default()
    }

    /// The bytes of the value of a key, if it has one and nobody else shares it.
    pub(super) fn value_mut(&mut self, key: &[u8]) -> Option<&mut [u8]> {
        let (_, meta) = self.locate(key)?;
        self.value_mut_by(&meta)
    }

    #[inline]
    fn value_mut_by(&mut self, meta: &Meta) -> Option<&mut [u8]> {
        match meta.kind {
            Kind::InBlock => Some(&mut self.block[meta.value_range()]),
            Kind::Apart => self.apart_mut().value_mut(meta.detail),
            Kind::Deleted | Kind::Patches => None,
        }
    }

    /// Sets what is known of a key, and says whether the key is new.
    #[inline]
    pub(super) fn set(&mut self, key: &[u8], new: New<'_>) -> bool {
        match self.locate(key) {
            Some((index, meta)) => {
                // A value of the same length goes where the old one is, and nothing else changes.
                if let New::Value(value) = &new
                    && let Some(bytes) = self.value_mut_by(&meta)
                    && bytes.len() == value.len()
                {
                    bytes.copy_from_slice(value);
                } else {
                    self.replace(index, key, Stored::of(new));
                }
                false
            }
            None => {
                let index = self.seek(key).expect_err("the key was not found");
                self.insert(index, key, Stored::of(new));
                true
            }
        }
    }

    fn replace(&mut self, index: usize, key: &[u8], stored: Stored<'_>) {
        let old = self.meta(index);
        if !old.is_in_block() {
            self.apart_mut().take(old.detail);
        }
        // Until the end of this function the slot is in a state that any other function may see: deleted.
        self.live -= old.value_len() as u32;
        let mut meta = Meta { kind: Kind::Deleted, detail: in_block_detail(0, old.room()), ..old };
        self.set_meta(index, &meta);
        match stored {
            Stored::Deleted => {}
            Stored::Piece(kind, piece) => {
                meta.kind = kind;
                meta.detail = self.apart_mut().put(piece);
            }
            Stored::InBlock(value) => {
                if value.len() > meta.room() {
                    // The key moves along with its value; where it was is garbage.
                    self.reserve(0, key, value.len());
                    meta.at = self.append(key, value);
                    meta.detail = in_block_detail(value.len(), value.len());
                } else {
                    meta.detail = in_block_detail(value.len(), meta.room());
                    let start = meta.at + meta.key_len;
                    self.block[start..start + value.len()].copy_from_slice(value);
                }
                meta.kind = Kind::InBlock;
                self.live += value.len() as u32;
            }
        }
        self.set_meta(index, &meta);
        self.drop_garbage();
    }

    fn insert(&mut self, index: usize, key: &[u8], stored: Stored<'_>) {
        let value = stored.in_block();
        self.reserve(1, key, value.len());
        if self.count == 0 {
            self.skip = u32::try_from(key.len()).expect("keys are short");
        } else {
            let shared = common_bytes(key, &self.key(0)[..self.skip as usize]);
            self.lower_skip(shared);
        }
        let at = self.append(key, value);
        self.live += (key.len() + value.len()) as u32;
        let (kind, detail) = match stored {
            Stored::InBlock(_) => (Kind::InBlock, in_block_detail(value.len(), value.len())),
            Stored::Deleted => (Kind::Deleted, 0),
            Stored::Piece(kind, piece) => (kind, self.apart_mut().put(piece)),
        };
        let len = self.len();
        let prefix_at = index * PREFIX_BYTES;
        self.block.copy_within(prefix_at..len * PREFIX_BYTES, prefix_at + PREFIX_BYTES);
        let (meta_at, metas_end) = (self.meta_at(index), self.meta_at(len));
        self.block.copy_within(meta_at..metas_end, meta_at + META_BYTES);
        self.count += 1;
        self.set_prefix(index, prefix_of(key, self.skip as usize));
        self.set_meta(index, &Meta { at, key_len: key.len(), kind, detail });
    }

    /// Adds to the arena, where room was reserved, and says where.
    fn append(&mut self, key: &[u8], value: &[u8]) -> usize {
        debug_assert!(self.block.len() + key.len() + value.len() <= self.block.capacity());
        let at = self.block.len();
        self.block.extend_from_slice(key);
        self.block.extend_from_slice(value);
        at
    }

    fn lower_skip(&mut self, skip: usize) {
        if skip == self.skip as usize {
            return;
        }
        self.skip = skip as u32;
        for index in 0..self.len() {
            let prefix = prefix_of(self.key(index), skip);
            self.set_prefix(index, prefix);
        }
    }

    /// Makes room for `more` slots and for a key and a value in the arena.
    #[inline]
    fn reserve(&mut self, more: usize, key: &[u8], value_len: usize) {
        let need = key.len() + value_len;
        if self.len() + more > usize::from(self.slots) || self.block.len() + need > self.block.capacity() {
            self.grow(more, key, need);
        }
    }

    /// The first few entries get what they need and no more, because most objects are small. Then slots and arena grow
    /// by half, so that both run out at about the same time.
    #[cold]
    fn grow(&mut self, more: usize, key: &[u8], need: usize) {
        let len = self.len() + more;
        let live = self.live as usize + need;
        let slots = if len <= usize::from(self.slots) {
            usize::from(self.slots)
        } else if len <= 2 {
            len
        } else {
            (len + len / 2).min(SLOTS_MAX)
        };
        let for_slots = (slots - len) * (live / len.max(1));
        // Without a new slot it is a value that grew, and may grow again.
        let spare = if more == 0 { for_slots.max(live / 4) } else { for_slots };
        *self = self.carve(0..self.len(), slots, need + spare, Some(key));
    }

    /// Gives memory back when more than half of the arena is garbage.
    #[inline]
    fn drop_garbage(&mut self) {
        let arena = self.block.len() - self.arena_start();
        let garbage = arena - self.live as usize;
        if garbage > GARBAGE_MIN && garbage > arena / 2 {
            let len = self.len();
            *self = self.carve(0..len, len + len / 4, self.live as usize / 4, None);
        }
    }

    /// Moves these entries into a chunk of their own, without garbage; the rest of this one is not usable any more
    /// unless it is carved out too. `also` is a key that will be added.
    fn carve(&mut self, range: Range<usize>, slots: usize, spare: usize, also: Option<&[u8]>) -> Chunk {
        debug_assert!(slots >= range.len());
        let arena: usize =
            range.clone().map(|index| self.meta(index)).map(|meta| meta.key_len + meta.value_len()).sum();
        // Allocators hand out blocks of 16 n + 8 bytes; what they would waste is room here.
        let bytes = (slots * SLOT_BYTES + arena + spare).saturating_sub(8).next_multiple_of(16) + 8;
        let mut made = Chunk {
            block: Vec::with_capacity(bytes),
            count: range.len() as u16,
            slots: slots as u16,
            ..Chunk::default()
        };
        made.block.resize(made.arena_start(), 0);
        if !range.is_empty() {
            let first = self.key(range.start);
            let shared = common_bytes(first, self.key(range.end - 1));
            made.skip = also.map_or(shared, |also| shared.min(common_bytes(first, also))) as u32;
        }
        for (to, from) in range.enumerate() {
            let mut meta = self.meta(from);
            let key = meta.key_range();
            let value = meta.value_range();
            made.set_prefix(to, prefix_of(&self.block[key.clone()], made.skip as usize));
            meta.at = made.block.len();
            if meta.is_in_block() {
                // Key and value lie side by side.
                meta.detail = in_block_detail(value.len(), value.len());
                made.block.extend_from_slice(&self.block[key.start..value.end]);
            } else {
                made.block.extend_from_slice(&self.block[key]);
                let piece = self.apart_mut().take(meta.detail);
                meta.detail = made.apart_mut().put(piece);
            }
            made.set_meta(to, &meta);
        }
        made.live = (made.block.len() - made.arena_start()) as u32;
        made
    }

    /// Splits a full chunk: `self` keeps the lower part, and the upper one is returned. Where keys come in order the
    /// lower part stays full.
    pub(super) fn split(&mut self, in_order: bool) -> Chunk {
        let len = self.len();
        let at = if in_order { len - 1 } else { len / 2 };
        let live = self.live as usize;
        let upper = self.carve(at..len, len - at, 0, None);
        let spare = if in_order { 0 } else { (SLOTS_MAX - at) * (live / len) / 4 };
        let slots = if in_order { at } else { (at + at / 2).min(SLOTS_MAX) };
        *self = self.carve(0..at, slots, spare, None);
        upper
    }

    /// Removes entries, and says how many. The last one takes the block with it.
    pub(super) fn remove(&mut self, range: Range<usize>) -> usize {
        if range.is_empty() {
            return 0;
        }
        let len = self.len();
        if range.len() == len {
            *self = Chunk::default();
            return len;
        }
        for index in range.clone() {
            let meta = self.meta(index);
            if !meta.is_in_block() {
                self.apart_mut().take(meta.detail);
            }
            self.live -= (meta.key_len + meta.value_len()) as u32;
        }
        self.block.copy_within(range.end * PREFIX_BYTES..len * PREFIX_BYTES, range.start * PREFIX_BYTES);
        let (to, from, metas_end) = (self.meta_at(range.start), self.meta_at(range.end), self.meta_at(len));
        self.block.copy_within(from..metas_end, to);
        self.count -= range.len() as u16;
        if self.apart.as_ref().is_some_and(|apart| apart.is_empty()) {
            self.apart = None;
        }
        self.drop_garbage();
        range.len()
    }

    /// The slots of a key range.
    pub(super) fn range(&self, start: &[u8], end: Option<&[u8]>) -> Range<usize> {
        let from = self.seek(start).unwrap_or_else(|index| index);
        let to = end.map_or(self.len(), |end| self.seek(end).unwrap_or_else(|index| index));
        from..to.max(from)
    }

    /// The first entry after `key`, or at it if that counts.
    pub(super) fn at_or_after(&self, key: &[u8], inclusive: bool) -> Option<(&[u8], Found<'_>)> {
        let index = match self.seek(key) {
            Ok(index) => index + usize::from(!inclusive),
            Err(index) => index,
        };
        (index < self.len()).then(|| self.entry(index))
    }

    /// The last entry before `key` (before the end of all keys if there is none), or at it if that counts.
    pub(super) fn at_or_before(&self, key: Option<&[u8]>, inclusive: bool) -> Option<(&[u8], Found<'_>)> {
        let above = match key.map_or(Err(self.len()), |key| self.seek(key)) {
            Ok(index) => index + usize::from(inclusive),
            Err(index) => index,
        };
        above.checked_sub(1).map(|index| self.entry(index))
    }

    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = (&[u8], Found<'_>)> {
        (0..self.len()).map(|index| self.entry(index))
    }

    #[cfg(test)]
    pub(super) fn iter_from(&self, key: &[u8]) -> impl DoubleEndedIterator<Item = (&[u8], Found<'_>)> {
        (self.range(key, None)).map(|index| self.entry(index))
    }

    /// Adds a patch to a slot that has patches.
    pub(super) fn push_patch(&mut self, index: usize, patch: &Patch<'_>) {
        let meta = self.meta(index);
        assert_eq!(meta.kind, Kind::Patches, "only pending patches take one more");
        if self.apart_mut().push_patch(meta.detail, patch) < PATCHES_MAX {
            return;
        }
        let Piece::Patches { list, .. } = self.apart().get(meta.detail) else { return };
        let Some(merged) = merge_patches(&Patches::trusted(list)) else { return };
        let key = self.key(index).to_vec();
        match merged {
            Merged::Value(value) => self.replace(index, &key, Stored::of(New::Value(&value))),
            Merged::Patch(bytes) => {
                let patch = Patch::parse(&bytes).expect("joined patches are a valid patch");
                self.replace(index, &key, Stored::of(New::Patch(&patch)));
            }
        }
    }
}
