//! Leaves: the sorted entries of one key range of one object.
//!
//! A [`LeafKind::Whole`] leaf answers for its whole range, absence included; a [`LeafKind::Delta`] leaf holds only
//! what changed. On disk neighbouring keys share prefixes; a decoded leaf holds its keys spelled out, so that
//! searching and walking it in both directions needs no further decoding and cannot fail. The layout is in
//! `format.rs`.

use crate::error::DecodeError;
use crate::sync::Arc;
use crate::wire::{Wire, put_varint, shared_prefix};

const LEAF_VERSION: u8 = 1;
const FLAG_DELTA: u8 = 1;
const FLAG_END_FENCE: u8 = 2;

const OP_PUT: u64 = 0;
const OP_DELETE: u64 = 1;
const OP_PATCH: u64 = 2;

/// Longest key in a leaf, in bytes. Source: a decision; keys are at most 4 KiB by default.
pub const LEAF_KEY_BYTES_MAX: usize = 64 << 10;

/// Most bytes of keys that a leaf may spell out when it is decoded.
///
/// Source: a decision. Prefix sharing could otherwise blow a small part up without bound.
pub const LEAF_KEYS_BYTES_MAX: usize = 64 << 20;

/// Whether a leaf answers for absent keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LeafKind {
    /// Holds every entry of its range.
    Whole,
    /// Holds the newest changes of its range.
    Delta,
}

/// What a leaf says about a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeafValue<'a> {
    /// The key has this value.
    Put(&'a [u8]),
    /// The key is absent; only in delta leaves.
    Delete,
    /// Byte ranges to put over the older value; opaque here, only in delta leaves.
    Patch(&'a [u8]),
}

/// Writes a leaf. Keys come in ascending order.
#[derive(Debug, Clone)]
pub struct LeafBuilder {
    kind: LeafKind,
    first_fence: Vec<u8>,
    end_fence: Option<Vec<u8>>,
    count: u32,
    last_key: Vec<u8>,
    keys_bytes: usize,
    entries: Vec<u8>,
}

impl LeafBuilder {
    /// Starts a leaf that covers `first_fence..end_fence` (`None` = no end).
    ///
    /// # Panics
    /// If the range is empty.
    pub fn new(kind: LeafKind, first_fence: &[u8], end_fence: Option<&[u8]>) -> Self {
        assert!(end_fence.is_none_or(|end| first_fence < end), "a leaf covers a range that is not empty");
        Self {
            kind,
            first_fence: first_fence.to_vec(),
            end_fence: end_fence.map(<[u8]>::to_vec),
            count: 0,
            last_key: Vec::new(),
            keys_bytes: 0,
            entries: Vec::new(),
        }
    }

    /// Appends an entry.
    ///
    /// # Panics
    /// If the key is not above the one before, lies outside the range, is longer than [`LEAF_KEY_BYTES_MAX`], or if a
    /// whole leaf is given anything but a put.
    pub fn push(&mut self, key: &[u8], value: LeafValue<'_>) {
        assert!(self.count == 0 || key > self.last_key.as_slice(), "keys of a leaf ascend");
        assert!(key >= self.first_fence.as_slice(), "a key lies inside its leaf's range");
        assert!(self.end_fence.as_deref().is_none_or(|end| key < end), "a key lies inside its leaf's range");
        assert!(key.len() <= LEAF_KEY_BYTES_MAX, "a key is at most {LEAF_KEY_BYTES_MAX} bytes long");
        let (op, bytes) = match value {
            LeafValue::Put(bytes) => (OP_PUT, bytes),
            LeafValue::Delete => (OP_DELETE, &[][..]),
            LeafValue::Patch(bytes) => (OP_PATCH, bytes),
        };
        assert!(op == OP_PUT || self.kind == LeafKind::Delta, "a whole leaf holds values only");
        let shared = shared_prefix(&self.last_key, key);
        put_varint(&mut self.entries, shared as u64);
        put_varint(&mut self.entries, (key.len() - shared) as u64);
        put_varint(&mut self.entries, (bytes.len() as u64) << 2 | op);
        self.entries.extend_from_slice(&key[shared..]);
        self.entries.extend_from_slice(bytes);
        self.last_key.truncate(shared);
        self.last_key.extend_from_slice(&key[shared..]);
        self.keys_bytes += key.len();
        self.count += 1;
    }

    /// What the leaf weighs so far, in bytes: its encoded size, or a quarter of its keys spelled out if that is more,
    /// so that a leaf split by this figure stays small in memory too.
    pub fn size(&self) -> usize {
        let fences = self.first_fence.len() + self.end_fence.as_ref().map_or(0, Vec::len);
        (self.entries.len() + fences + 16).max(self.keys_bytes / 4)
    }

    /// How many entries it has so far.
    pub fn len(&self) -> usize {
        self.count as usize
    }

    /// True if it has none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Closes the range at `end_fence` instead of what was given to [`new`](Self::new): the place of a split is known
    /// only when the leaf is full.
    ///
    /// # Panics
    /// If an entry or the first fence lies at or beyond it.
    pub fn set_end_fence(&mut self, end_fence: Option<&[u8]>) {
        if let Some(end) = end_fence {
            assert!(self.first_fence.as_slice() < end, "a leaf covers a range that is not empty");
            assert!(self.count == 0 || self.last_key.as_slice() < end, "a key lies inside its leaf's range");
        }
        self.end_fence = end_fence.map(<[u8]>::to_vec);
    }

    /// The encoded leaf.
    ///
    /// # Panics
    /// If its keys spelled out are more than [`LEAF_KEYS_BYTES_MAX`].
    pub fn finish(self) -> Vec<u8> {
        assert!(
            self.keys_bytes <= LEAF_KEYS_BYTES_MAX,
            "a leaf is split long before its keys weigh this much"
        );
        let mut out = Vec::with_capacity(self.size());
        let delta = if self.kind == LeafKind::Delta { FLAG_DELTA } else { 0 };
        let end = if self.end_fence.is_some() { FLAG_END_FENCE } else { 0 };
        out.push(LEAF_VERSION);
        out.push(delta | end);
        put_varint(&mut out, u64::from(self.count));
        put_varint(&mut out, self.keys_bytes as u64);
        put_varint(&mut out, self.first_fence.len() as u64);
        out.extend_from_slice(&self.first_fence);
        if let Some(end) = &self.end_fence {
            put_varint(&mut out, end.len() as u64);
            out.extend_from_slice(end);
        }
        out.extend_from_slice(&self.entries);
        out
    }
}

/// A decoded leaf, immutable and cheap to share.
///
/// Invariants, checked by [`decode`](Self::decode): (1) keys ascend strictly; (2) each lies in the covered range;
/// (3) a whole leaf holds puts only; (4) every offset lies inside `bytes` or `keys`.
#[derive(Debug, Clone)]
pub struct Leaf {
    bytes: Arc<[u8]>,
    kind: LeafKind,
    first_fence: Vec<u8>,
    end_fence: Option<Vec<u8>>,
    keys: Vec<u8>,
    entries: Vec<LeafEntry>,
}

/// Where an entry's key ends in `keys`, and its value in `bytes`.
#[derive(Debug, Clone, Copy)]
struct LeafEntry {
    key_end: u32,
    value_start: u32,
    value_bytes: u32,
    op: u8,
}

fn malformed(offset: usize, reason: &'static str) -> DecodeError {
    DecodeError::Malformed { what: "leaf", offset, reason }
}

impl Leaf {
    /// Decodes and checks a leaf.
    ///
    /// # Errors
    /// [`DecodeError`] if any invariant does not hold. No declared size is believed before it is checked.
    pub fn decode(bytes: Arc<[u8]>) -> Result<Self, DecodeError> {
        let mut wire = Wire::new(&bytes);
        let short = |wire: &Wire<'_>| malformed(wire.at(), "cut short");
        let version = wire.u8().ok_or_else(|| short(&wire))?;
        if version > LEAF_VERSION {
            return Err(DecodeError::NewerVersion {
                what: "leaf",
                found: u16::from(version),
                known: u16::from(LEAF_VERSION),
            });
        }
        let flags = wire.u8().ok_or_else(|| short(&wire))?;
        if version == 0 || flags & !(FLAG_DELTA | FLAG_END_FENCE) != 0 {
            return Err(malformed(0, "unknown version or flags"));
        }
        let kind = if flags & FLAG_DELTA == 0 { LeafKind::Whole } else { LeafKind::Delta };
        let count = wire.varint_usize().ok_or_else(|| short(&wire))?;
        let keys_bytes = wire.varint_usize().ok_or_else(|| short(&wire))?;
        let first_fence = take_bytes(&mut wire)?.to_vec();
        let end_fence =
            if flags & FLAG_END_FENCE != 0 { Some(take_bytes(&mut wire)?.to_vec()) } else { None };
        if end_fence.as_ref().is_some_and(|end| *end <= first_fence) {
            return Err(malformed(wire.at(), "the range is empty"));
        }
        // Every entry takes at least three bytes, so this bounds the allocation by what is really there.
        if count > wire.remaining() / 3 {
            return Err(malformed(wire.at(), "more entries declared than there is room for"));
        }
        if keys_bytes > LEAF_KEYS_BYTES_MAX {
            return Err(DecodeError::TooLarge {
                what: "keys of a leaf",
                bytes: keys_bytes as u64,
                bytes_max: LEAF_KEYS_BYTES_MAX as u64,
            });
        }
        let (keys, entries) = decode_entries(&mut wire, count, keys_bytes, kind)?;
        if !wire.is_empty() {
            return Err(malformed(wire.at(), "bytes after the last entry"));
        }
        let leaf = Self { kind, first_fence, end_fence, keys, entries, bytes: bytes.clone() };
        if let Some(last) = leaf.len().checked_sub(1) {
            let inside = leaf.covers(leaf.key(0)) && leaf.covers(leaf.key(last));
            if !inside {
                return Err(malformed(0, "a key lies outside the range"));
            }
        }
        Ok(leaf)
    }

    /// Whether it answers for absent keys.
    pub fn kind(&self) -> LeafKind {
        self.kind
    }

    /// Where its range starts, inclusive.
    pub fn first_fence(&self) -> &[u8] {
        &self.first_fence
    }

    /// Where its range ends, exclusive; `None` = it does not.
    pub fn end_fence(&self) -> Option<&[u8]> {
        self.end_fence.as_deref()
    }

    /// True if `key` lies in its range.
    pub fn covers(&self, key: &[u8]) -> bool {
        key >= self.first_fence.as_slice() && self.end_fence.as_deref().is_none_or(|end| key < end)
    }

    /// How many entries it has.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// True if it has none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The key of entry `index`.
    ///
    /// # Panics
    /// If there is no such entry.
    pub fn key(&self, index: usize) -> &[u8] {
        let start = index.checked_sub(1).map_or(0, |before| self.entries[before].key_end as usize);
        &self.keys[start..self.entries[index].key_end as usize]
    }

    /// The value of entry `index`.
    ///
    /// # Panics
    /// If there is no such entry.
    pub fn value(&self, index: usize) -> LeafValue<'_> {
        let entry = self.entries[index];
        let start = entry.value_start as usize;
        let bytes = &self.bytes[start..start + entry.value_bytes as usize];
        match u64::from(entry.op) {
            OP_PUT => LeafValue::Put(bytes),
            OP_DELETE => LeafValue::Delete,
            _ => LeafValue::Patch(bytes),
        }
    }

    /// Key and value of entry `index`.
    ///
    /// # Panics
    /// If there is no such entry.
    pub fn entry(&self, index: usize) -> (&[u8], LeafValue<'_>) {
        (self.key(index), self.value(index))
    }

    /// The index of the first entry whose key is ≥ `key`; [`len`](Self::len) if there is none.
    pub fn lower_bound(&self, key: &[u8]) -> usize {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = low.midpoint(high);
            if self.key(middle) < key {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }

    /// What it says about `key`; `None` if nothing.
    pub fn get(&self, key: &[u8]) -> Option<LeafValue<'_>> {
        let index = self.lower_bound(key);
        (index < self.len() && self.key(index) == key).then(|| self.value(index))
    }

    /// All entries, in both directions.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (&[u8], LeafValue<'_>)> + ExactSizeIterator {
        (0..self.len()).map(|index| self.entry(index))
    }

    /// The bytes that values point into; shared, so that a value can outlive a look-up without a copy.
    pub fn bytes(&self) -> &Arc<[u8]> {
        &self.bytes
    }

    /// Where the value of entry `index` lies in [`bytes`](Self::bytes).
    ///
    /// # Panics
    /// If there is no such entry.
    pub fn value_range(&self, index: usize) -> std::ops::Range<usize> {
        let entry = self.entries[index];
        entry.value_start as usize..entry.value_start as usize + entry.value_bytes as usize
    }

    /// How much memory it takes, in bytes.
    pub fn memory_bytes(&self) -> usize {
        size_of::<Self>()
            + self.bytes.len()
            + self.keys.capacity()
            + self.entries.capacity() * size_of::<LeafEntry>()
            + self.first_fence.capacity()
            + self.end_fence.as_ref().map_or(0, Vec::capacity)
    }
}

fn take_bytes<'a>(wire: &mut Wire<'a>) -> Result<&'a [u8], DecodeError> {
    let at = wire.at();
    wire.varint().and_then(|bytes| wire.take_u64(bytes)).ok_or(malformed(at, "cut short"))
}

fn decode_entries(
    wire: &mut Wire<'_>,
    count: usize,
    keys_bytes: usize,
    kind: LeafKind,
) -> Result<(Vec<u8>, Vec<LeafEntry>), DecodeError> {
    let mut keys = Vec::with_capacity(keys_bytes);
    let mut entries = Vec::with_capacity(count);
    let mut last_start = 0;
    for index in 0..count {
        let at = wire.at();
        let short = || malformed(at, "cut short");
        let shared = wire.varint_usize().ok_or_else(short)?;
        let suffix_bytes = wire.varint_usize().ok_or_else(short)?;
        let value = wire.varint().ok_or_else(short)?;
        let suffix = wire.take(suffix_bytes).ok_or_else(short)?;
        let (op, value_bytes) = (value & 3, value >> 2);
        let value_start = wire.at();
        wire.take_u64(value_bytes).ok_or_else(short)?;

        let start = keys.len();
        let last_bytes = start - last_start;
        if shared > last_bytes || shared + suffix_bytes > LEAF_KEY_BYTES_MAX {
            return Err(malformed(at, "a key shares or holds more than there is"));
        }
        if start + shared + suffix_bytes > keys_bytes {
            return Err(malformed(at, "more key bytes than declared"));
        }
        keys.extend_from_within(last_start..last_start + shared);
        keys.extend_from_slice(suffix);
        if index > 0 && keys[start..] <= keys[last_start..start] {
            return Err(malformed(at, "keys do not ascend"));
        }
        let known = op == OP_PUT || kind == LeafKind::Delta && (op == OP_PATCH || value == OP_DELETE);
        if !known {
            return Err(malformed(at, "an operation that this kind of leaf cannot hold"));
        }
        let fits = |n: usize| u32::try_from(n).map_err(|_| malformed(at, "larger than a part can be"));
        entries.push(LeafEntry {
            key_end: fits(keys.len())?,
            value_start: fits(value_start)?,
            value_bytes: fits(wire.at() - value_start)?,
            op: op as u8,
        });
        last_start = start;
    }
    if keys.len() != keys_bytes {
        return Err(malformed(wire.at(), "fewer key bytes than declared"));
    }
    Ok((keys, entries))
}

#[cfg(test)]
#[path = "leaf/tests.rs"]
mod tests;
