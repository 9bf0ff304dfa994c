//! Entries: what the index of a pack and the catalog map from and to.
//!
//! An entry's key names a version of a piece of an object, its value says where that piece lies. Encoded keys
//! compare as bytes exactly as keys compare, so any ordered store can hold them.

use crate::error::DecodeError;
use crate::wire::{Wire, put_varint};
use lineal_wal::{OBJECT_KEY_BYTES, ObjectKey, Seq};
use std::fmt;

/// Longest sub-key, in bytes: room for an era and the longest key that any limit allows, with a margin.
///
/// Source: a decision; keys are at most 4 KiB by default.
pub const SUB_KEY_BYTES_MAX: usize = 72 << 10;

/// What kind of piece an entry names. The numbers are on disk; 5 and above are reserved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
#[non_exhaustive]
pub enum Kind {
    /// What describes the object at a seq.
    Head = 1,
    /// Consecutive commits.
    Run = 2,
    /// The newest changes of a key range; does not answer for absent keys.
    Delta = 3,
    /// All entries of a key range.
    Leaf = 4,
}

impl Kind {
    /// The kind with this number, if there is one.
    pub fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            1 => Some(Self::Head),
            2 => Some(Self::Run),
            3 => Some(Self::Delta),
            4 => Some(Self::Leaf),
            _ => None,
        }
    }

    /// The number on disk.
    pub fn byte(self) -> u8 {
        self as u8
    }
}

/// Names one version of one piece of an object.
///
/// The order of the fields is the order of keys: all that belongs to an object is side by side, all versions of one
/// piece are side by side, oldest first.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntryKey {
    /// The object.
    pub object: ObjectKey,
    /// What kind of piece.
    pub kind: Kind,
    /// Which one of its kind: empty for a head, the first seq for a run ([`run_sub_key`]), era and first fence for a
    /// leaf ([`leaf_sub_key`]).
    pub sub_key: Vec<u8>,
    /// The version; for a run its last seq.
    pub seq: Seq,
}

/// The sub-key of a run: its first seq.
pub fn run_sub_key(first: Seq) -> [u8; 8] {
    first.0.to_be_bytes()
}

/// The sub-key of a leaf: the seq of the last whole-range cut before it (0 = none), then its first fence.
pub fn leaf_sub_key(era: Seq, first_fence: &[u8]) -> Vec<u8> {
    let mut sub_key = Vec::with_capacity(8 + first_fence.len());
    sub_key.extend_from_slice(&era.0.to_be_bytes());
    sub_key.extend_from_slice(first_fence);
    sub_key
}

/// Takes the sub-key of a leaf apart again: era and first fence; `None` if it is too short to be one.
pub fn split_leaf_sub_key(sub_key: &[u8]) -> Option<(Seq, &[u8])> {
    let (era, fence) = sub_key.split_first_chunk::<8>()?;
    Some((Seq(u64::from_be_bytes(*era)), fence))
}

impl EntryKey {
    /// The key of a head.
    pub fn head(object: ObjectKey, seq: Seq) -> Self {
        Self { object, kind: Kind::Head, sub_key: Vec::new(), seq }
    }

    /// The key of a run of the commits `first..=last`.
    pub fn run(object: ObjectKey, first: Seq, last: Seq) -> Self {
        Self { object, kind: Kind::Run, sub_key: run_sub_key(first).to_vec(), seq: last }
    }

    /// The key of a leaf.
    pub fn leaf(object: ObjectKey, era: Seq, first_fence: &[u8], seq: Seq) -> Self {
        Self { object, kind: Kind::Leaf, sub_key: leaf_sub_key(era, first_fence), seq }
    }

    /// The key as bytes that compare as keys do.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(OBJECT_KEY_BYTES + 1 + self.sub_key.len() + 2 + 8);
        self.encode_into(&mut out);
        out
    }

    /// Appends the encoded key.
    pub fn encode_into(&self, out: &mut Vec<u8>) {
        encode_key(out, &self.object, self.kind, &self.sub_key, self.seq);
    }

    /// The inverse of [`encode`](Self::encode).
    ///
    /// # Errors
    /// [`DecodeError::Malformed`] if the bytes are not exactly one encoded key.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let bad = |offset, reason| DecodeError::Malformed { what: "entry key", offset, reason };
        let mut wire = Wire::new(bytes);
        let object = wire.array().ok_or(bad(0, "shorter than an object key"))?;
        let kind = wire.u8().ok_or(bad(OBJECT_KEY_BYTES, "no kind"))?;
        let kind = Kind::from_byte(kind).ok_or(bad(OBJECT_KEY_BYTES, "unknown kind"))?;
        let mut sub_key = Vec::new();
        loop {
            let offset = wire.at();
            match wire.u8().ok_or(bad(offset, "the sub-key has no end"))? {
                0 => match wire.u8().ok_or(bad(offset, "the sub-key has no end"))? {
                    0 => break,
                    0xff => sub_key.push(0),
                    _ => return Err(bad(offset, "unknown escape in the sub-key")),
                },
                byte => sub_key.push(byte),
            }
        }
        let offset = wire.at();
        let seq = wire.array().ok_or(bad(offset, "no seq"))?;
        if !wire.is_empty() {
            return Err(bad(wire.at(), "bytes after the key"));
        }
        Ok(Self { object: ObjectKey::from_bytes(&object), kind, sub_key, seq: Seq(u64::from_be_bytes(seq)) })
    }
}

/// Appends an encoded key without making an [`EntryKey`] first.
pub fn encode_key(out: &mut Vec<u8>, object: &ObjectKey, kind: Kind, sub_key: &[u8], seq: Seq) {
    encode_stem(out, object, kind, sub_key);
    out.extend_from_slice(&[0, 0]);
    out.extend_from_slice(&seq.0.to_be_bytes());
}

/// Object, kind and escaped sub-key, without the sub-key's end: what index pages share between neighbours.
pub(crate) fn encode_stem(out: &mut Vec<u8>, object: &ObjectKey, kind: Kind, sub_key: &[u8]) {
    out.extend_from_slice(&object.to_bytes());
    out.push(kind.byte());
    for &byte in sub_key {
        out.push(byte);
        if byte == 0 {
            out.push(0xff);
        }
    }
}

/// What all encoded keys of an object start with.
pub fn object_prefix(object: &ObjectKey) -> [u8; OBJECT_KEY_BYTES] {
    object.to_bytes()
}

/// What all encoded keys of one kind of an object start with.
pub fn kind_prefix(object: &ObjectKey, kind: Kind) -> [u8; OBJECT_KEY_BYTES + 1] {
    let mut prefix = [0; OBJECT_KEY_BYTES + 1];
    prefix[..OBJECT_KEY_BYTES].copy_from_slice(&object.to_bytes());
    prefix[OBJECT_KEY_BYTES] = kind.byte();
    prefix
}

/// What the encoded keys of all versions of one piece start with; the big-endian seq follows.
pub fn sub_key_prefix(object: &ObjectKey, kind: Kind, sub_key: &[u8]) -> Vec<u8> {
    let mut prefix = Vec::with_capacity(OBJECT_KEY_BYTES + 1 + sub_key.len() + 2);
    encode_stem(&mut prefix, object, kind, sub_key);
    prefix.extend_from_slice(&[0, 0]);
    prefix
}

/// The smallest bytes above everything that starts with `prefix`; `None` if there is nothing above.
pub fn prefix_end(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|&byte| byte != 0xff)?;
    let mut end = prefix[..=last].to_vec();
    end[last] += 1;
    Some(end)
}

/// The number of a pack; never used twice in an engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct PackNumber(pub u64);

impl PackNumber {
    /// The next number.
    pub fn next(self) -> Self {
        Self(self.0.checked_add(1).expect("pack numbers do not run out"))
    }

    /// The pack's file, relative to the data directory.
    pub fn path(self) -> String {
        format!("{PACK_FOLDER}/{self}.pack")
    }

    /// Where the pack's file goes that is dead, whatever lists it; relative to the data directory.
    pub fn void_path(self) -> String {
        format!("{PACK_FOLDER}/{self}.void")
    }

    /// The number of the pack with this file name (without folder); `None` if it is no pack's name.
    pub fn from_file_name(name: &str) -> Option<Self> {
        Self::from_digits(name.strip_suffix(".pack")?)
    }

    /// The number of the dead pack with this file name (without folder); `None` if it is none's name.
    pub fn from_void_name(name: &str) -> Option<Self> {
        Self::from_digits(name.strip_suffix(".void")?)
    }

    fn from_digits(digits: &str) -> Option<Self> {
        let plain = digits.len() == 16 && digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        plain.then(|| u64::from_str_radix(digits, 16).ok().map(Self))?
    }
}

impl fmt::Display for PackNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// The folder of the packs, relative to the data directory.
pub const PACK_FOLDER: &str = "packs";

/// Where a part lies, and what follows it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Place {
    /// The pack.
    pub pack: PackNumber,
    /// Where the block starts, in bytes from the start of the file.
    pub block_offset: u64,
    /// The block's size.
    pub block_bytes: u32,
    /// Where the part starts, in bytes from the start of the block.
    pub part_offset: u32,
    /// Size of the part and of all that follows it under the same entry.
    pub part_bytes: u32,
    /// How many runs follow the part and have no entry of their own.
    pub follow_count: u16,
    /// The first seq of the first of them; 0 if there are none.
    pub follow_first_seq: Seq,
    /// For a leaf or delta: where its key range ends, exclusive; `None` = it does not.
    pub end_fence: Option<Vec<u8>>,
}

impl Place {
    /// Where the part starts, in bytes from the start of the file.
    pub fn file_offset(&self) -> u64 {
        self.block_offset.saturating_add(u64::from(self.part_offset))
    }
}

/// What an entry says.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum EntryValue {
    /// The piece lies here.
    Place(Place),
    /// From this seq on the piece is no more: its fence was merged away.
    End,
}

const VALUE_END: u8 = 1;
const VALUE_FOLLOWERS: u8 = 2;
const VALUE_END_FENCE: u8 = 4;

impl EntryValue {
    /// The place, if there is one.
    pub fn place(&self) -> Option<&Place> {
        match self {
            Self::Place(place) => Some(place),
            Self::End => None,
        }
    }

    /// The value as bytes: a flag byte, then varints; the end fence, if any, comes last and has no length.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(24);
        self.encode_into(&mut out);
        out
    }

    /// Appends the encoded value.
    pub fn encode_into(&self, out: &mut Vec<u8>) {
        let Self::Place(place) = self else {
            out.push(VALUE_END);
            return;
        };
        let mut flags = 0;
        if place.follow_count > 0 {
            flags |= VALUE_FOLLOWERS;
        }
        if place.end_fence.is_some() {
            flags |= VALUE_END_FENCE;
        }
        out.push(flags);
        put_varint(out, place.pack.0);
        put_varint(out, place.block_offset);
        put_varint(out, u64::from(place.block_bytes));
        put_varint(out, u64::from(place.part_offset));
        put_varint(out, u64::from(place.part_bytes));
        if place.follow_count > 0 {
            put_varint(out, u64::from(place.follow_count));
            put_varint(out, place.follow_first_seq.0);
        }
        if let Some(fence) = &place.end_fence {
            out.extend_from_slice(fence);
        }
    }

    /// The inverse of [`encode`](Self::encode).
    ///
    /// # Errors
    /// [`DecodeError::Malformed`] if the bytes are not exactly one encoded value.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        decode_value(bytes).ok_or(DecodeError::Malformed {
            what: "entry value",
            offset: 0,
            reason: "the fields do not add up",
        })
    }
}

fn decode_value(bytes: &[u8]) -> Option<EntryValue> {
    let mut wire = Wire::new(bytes);
    let flags = wire.u8()?;
    if flags == VALUE_END {
        return wire.is_empty().then_some(EntryValue::End);
    }
    if flags & !(VALUE_FOLLOWERS | VALUE_END_FENCE) != 0 {
        return None;
    }
    let mut place = Place {
        pack: PackNumber(wire.varint()?),
        block_offset: wire.varint()?,
        block_bytes: wire.varint_u32()?,
        part_offset: wire.varint_u32()?,
        part_bytes: wire.varint_u32()?,
        ..Place::default()
    };
    if flags & VALUE_FOLLOWERS != 0 {
        place.follow_count = u16::try_from(wire.varint()?).ok().filter(|&count| count > 0)?;
        place.follow_first_seq = Seq(wire.varint()?);
    }
    if flags & VALUE_END_FENCE != 0 {
        let rest = wire.remaining();
        place.end_fence = Some(wire.take(rest)?.to_vec());
    }
    wire.is_empty().then_some(EntryValue::Place(place))
}

#[cfg(test)]
#[path = "entry/tests.rs"]
mod tests;
