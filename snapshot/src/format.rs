//! The layout of a pack file, and of what stands in it. This is the only place where it is written down.
//!
//! All fixed-width integers are little-endian; a *varint* is LEB128 of at most 64 bits. CRC is CRC-32 (IEEE).
//! Every checksum is bound to what it belongs to, so that right bytes in the wrong place are wrong bytes. In
//! particular `salt` = CRC of (engine ‖ epoch ‖ number) stands for the pack.
//!
//! ```text
//! file  = header, (block | index extent)*, filter, top, footer frame, footer frame (again)
//! block = parts, without anything between them; blocks and index extents fill the file without a gap
//! ```
//!
//! # Header, 64 bytes, at offset 0
//! ```text
//! offset size field
//!      0    8 magic "LINLPACK"
//!      8    2 format version
//!     10    1 kind: 1 checkpoint, 2 compaction
//!     11    1 zero
//!     12   16 engine
//!     28    8 epoch
//!     36    8 number
//!     44    8 footer offset; 0 until all that comes before the footer is written
//!     52    8 zero
//!     60    4 crc over bytes 0..60
//! ```
//! Written again with the footer's offset when everything but the footer is written, just before the fsync that makes
//! all of that durable; it lies in one sector.
//!
//! # Part
//! ```text
//!     4 crc over: object 20 (as it sorts), kind 1, seq 8, tag 1, key id 1, raw bytes u32, stored bytes u32,
//!                 sub-key bytes u32, sub-key, the stored bytes
//!     1 tag: bits 0-2 codec, bit 3 a key id follows, bits 4-7 flags (opaque, 0 so far)
//!       followers only: varint first seq minus (last seq of the run before + 1), varint last seq minus first seq;
//!       for the first follower the run before ends just before the place's first seq
//!       varint stored bytes
//!       varint raw bytes, if the codec is not 0
//!     1 key id, if bit 3
//!       the stored bytes
//! ```
//! A part does not say whose it is: its entry does, and the checksum agrees or not. Nothing in the checksum depends on
//! where the part lies or on what stands before it, so compaction copies tag, checksum and stored bytes unchanged. A
//! *follower* is a run directly after the part of an entry in the same block; it has no entry of its own, the entry's
//! place counts it. Parts of one entry are never torn over two blocks. A block closes before it would pass its target
//! size; what is bigger alone is a block alone.
//!
//! # Index extent: index pages, without a gap
//! Pages come in extents because an index of many entries is not kept in memory until the end; all entries stand in
//! ascending order over all pages. A page:
//! ```text
//!     4 crc over (salt u32, file offset u64, the rest of the page)
//!     4 restart count
//!       entries
//!   4*n offset of each restart in the page
//! ```
//! Entry; the *stem* of a key is the encoded key without the last ten bytes (00 00, seq):
//! ```text
//!       every 16th entry of a page, and its first, is a restart: before it varint block offset, varint block bytes,
//!       varint end of the part before it in the block; it shares no bytes
//!     1 flags: 1 end entry, 2 first part of a block, 4 followers, 8 end fence, 16 bytes between this block and the last
//!       varint bytes of stem shared with the entry before, varint more bytes of stem, those bytes
//!       varint seq
//!       unless an end entry: [16: varint bytes between] [2: varint block bytes], varint part bytes,
//!                            [4: varint follower count, varint first seq] [8: varint fence bytes, end fence]
//! ```
//! A part starts where the one before it in the block ended; a block where the one before it ended.
//!
//! # Filter
//! Lines of 64 bytes, in pages of at most 64 lines; after the lines of a page 4 bytes of crc over (salt u32, file
//! offset u64, the lines). Line of an object: `hash * lines >> 64`; in it 6 bits of 9 bits each from a second mix of
//! the hash. See `filter.rs` for the hash. Every object that has any entry is in the filter.
//!
//! # Top
//! One record per index page, ascending: varint bytes between this page and the last (the first: its file offset),
//! varint page bytes, varint separator bytes, separator. A separator is above every key of the pages before and not
//! above the page's first key; the first is empty. The footer holds its crc over (salt u32, file offset u64, it).
//!
//! # Footer frame
//! ```text
//! offset size field
//!      0    8 magic "LINLFOOT"
//!      8    2 format version
//!     10    2 zero
//!     12    4 body bytes (n)
//!     16    n body
//!   16+n    4 crc over bytes 0..16+n
//!   20+n    4 body bytes again
//!   24+n    8 magic "LINLDONE"
//! ```
//! It is written twice, so that one damaged bit cannot make a complete pack look like an unfinished one: the second is
//! found from the file's end, the first through the header. Body:
//! ```text
//!     1 kind, 16 engine, 8 epoch, 8 number, 8 first lsn, 8 last lsn, 8 line,
//!     8 entries, 8 parts, 8 objects, 8 raw bytes, 8 footer offset,
//!     8 index pages, 8 top offset, 4 top bytes, 4 top crc, 8 filter offset, 8 filter lines,
//!    32 BLAKE3 of the file's bytes 64..footer offset,
//!     4 live packs, each 8 number, 8 file bytes, 32 footer hash,
//!     4 meta bytes, meta
//! ```
//! The *footer hash* is BLAKE3 of the body: through the content hash it names every byte but the header, which says
//! nothing that the footer does not.
//!
//! A pack is complete iff one footer frame is valid: magic, version, sizes and crc agree, the footer offset plus one or
//! two frames is the file's length, and it names this pack. The footer is written after an fsync of everything else,
//! so a valid footer vouches for the rest. Without one, the pack was never finished: it is dead, unless something
//! lists it, and then it is damage.
//!
//! # Leaf (payload of a part)
//! ```text
//!     1 version, 1 flags: 1 delta, 2 end fence
//!       varint entries, varint bytes of all keys spelled out, varint fence bytes, first fence,
//!       [2: varint fence bytes, end fence]
//!       entries: varint bytes of key shared with the entry before, varint more bytes of key,
//!                varint value bytes << 2 | op (0 put, 1 delete, 2 patch), key bytes, value bytes
//! ```
//! # Run (payload of a part)
//! ```text
//!     1 version
//!       varint first seq, signed varint first seq - first seq of the tail, varint commits,
//!       varint hash points << 1 | hash after the last,
//!       hash points: varint index of the commit that it stands before, 32 hash
//!       [32 hash after the last commit]
//!       commits: 1 presence: 1 ops digest, 2 joint digest; 1 kind, 1 flags,
//!                signed varint time and lsn minus those of the commit before (0 before the first),
//!                [32 ops digest] [32 joint digest] varint body bytes, body
//! ```
//! Signed varints fold the sign into the lowest bit.

use crate::codec::{Codec, PART_BYTES_MAX};
use crate::entry::{Kind, PackNumber};
use crate::wire::{Wire, put_varint};
use crc32fast::Hasher;
use lineal_wal::{EngineId, Epoch, Lsn, ObjectKey, Seq};

/// The newest format version of packs that this program reads, and the one that it writes.
pub const PACK_VERSION: u16 = 1;

pub(crate) const HEADER_BYTES: usize = 64;
const HEADER_MAGIC: [u8; 8] = *b"LINLPACK";
const FOOTER_MAGIC: [u8; 8] = *b"LINLFOOT";
const DONE_MAGIC: [u8; 8] = *b"LINLDONE";

const FRAME_HEAD_BYTES: usize = 16;
/// What a footer frame has after its body.
pub(crate) const FRAME_TAIL_BYTES: usize = 16;
const LIVE_BYTES: usize = 48;

/// Largest footer, in bytes. Source: a decision; 48 bytes per live pack leave room for hundreds of thousands.
pub const FOOTER_BYTES_MAX: u32 = 32 << 20;

/// Largest index page, in bytes. Source: one entry with two of the longest keys, escaped, still fits.
pub(crate) const INDEX_PAGE_BYTES_MAX: u32 = 1 << 20;

/// Largest top of an index, in bytes. Source: a decision; at about 20 bytes for 4 KiB of index it serves packs of
/// billions of entries.
pub(crate) const TOP_BYTES_MAX: u32 = 256 << 20;

/// What a part has at most beside its stored bytes.
pub(crate) const PART_FRAME_BYTES_MAX: usize = 4 + 1 + 10 + 10 + 5 + 5 + 1;

/// Largest part with all that follows it, in bytes. Source: a decision; a head and a tail are far below.
pub const GROUP_BYTES_MAX: u32 = 2 * PART_BYTES_MAX;

/// What a pack was written for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
#[non_exhaustive]
pub enum PackKind {
    /// Holds the commits since the checkpoint before.
    Checkpoint = 1,
    /// Holds what is still needed of other packs.
    Compaction = 2,
}

impl PackKind {
    fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            1 => Some(Self::Checkpoint),
            2 => Some(Self::Compaction),
            _ => None,
        }
    }
}

/// Which pack this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PackHeader {
    /// The engine that writes it.
    pub engine: EngineId,
    /// The engine's epoch.
    pub epoch: Epoch,
    /// Its number.
    pub number: PackNumber,
    /// What it is written for.
    pub kind: PackKind,
}

impl PackHeader {
    /// What binds checksums to this pack.
    pub(crate) fn salt(&self) -> u32 {
        let mut crc = Hasher::new();
        crc.update(&self.engine.0);
        crc.update(&self.epoch.0.to_le_bytes());
        crc.update(&self.number.0.to_le_bytes());
        crc.finalize()
    }

    pub(crate) fn encode(&self, footer_offset: u64) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[0..8].copy_from_slice(&HEADER_MAGIC);
        bytes[8..10].copy_from_slice(&PACK_VERSION.to_le_bytes());
        bytes[10] = self.kind as u8;
        bytes[12..28].copy_from_slice(&self.engine.0);
        bytes[28..36].copy_from_slice(&self.epoch.0.to_le_bytes());
        bytes[36..44].copy_from_slice(&self.number.0.to_le_bytes());
        bytes[44..52].copy_from_slice(&footer_offset.to_le_bytes());
        let crc = crc32fast::hash(&bytes[..60]);
        bytes[60..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }
}

/// What 64 bytes at the start of a file are.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum HeaderFound {
    Valid { header: PackHeader, footer_offset: u64 },
    Newer(u16),
    Invalid,
}

pub(crate) fn decode_header(bytes: &[u8; HEADER_BYTES]) -> HeaderFound {
    let mut wire = Wire::new(bytes);
    let mut parse = || {
        if wire.array()? != HEADER_MAGIC || crc32fast::hash(&bytes[..60]).to_le_bytes() != bytes[60..] {
            return None;
        }
        let version = wire.u16()?;
        if version > PACK_VERSION {
            return Some(HeaderFound::Newer(version));
        }
        let kind = PackKind::from_byte(wire.u8()?)?;
        wire.u8()?;
        let header = PackHeader {
            kind,
            engine: EngineId(wire.array()?),
            epoch: Epoch(wire.u64()?),
            number: PackNumber(wire.u64()?),
        };
        let footer_offset = wire.u64()?;
        // Only what encodes to the same bytes is valid: reserved bytes are zero, the version is known.
        (header.encode(footer_offset) == *bytes).then_some(HeaderFound::Valid { header, footer_offset })
    };
    parse().unwrap_or(HeaderFound::Invalid)
}

/// Names a complete pack by its content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LivePack {
    /// Its number.
    pub number: PackNumber,
    /// Its file's size.
    pub bytes: u64,
    /// BLAKE3 of its footer, and so of all of it.
    pub footer_hash: [u8; 32],
}

/// What a footer says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Footer {
    /// The engine that wrote it.
    pub engine: EngineId,
    /// The engine's epoch then.
    pub epoch: Epoch,
    /// The pack's number.
    pub number: PackNumber,
    /// What it was written for.
    pub kind: PackKind,
    /// The first LSN that the pack covers.
    pub first_lsn: Lsn,
    /// The last LSN that the pack covers.
    pub last_lsn: Lsn,
    /// Every commit up to this LSN is in this pack or an older one.
    pub line: Lsn,
    /// All other packs that are live once this one is, by ascending number.
    pub live: Vec<LivePack>,
    /// Whatever the writer wanted to keep here.
    pub meta: Vec<u8>,
    /// How many entries the index has.
    pub entries: u64,
    /// How many parts there are, followers included.
    pub parts: u64,
    /// How many objects have an entry.
    pub objects: u64,
    /// Bytes of all payloads before compression.
    pub raw_bytes: u64,
    /// BLAKE3 of everything between header and footer.
    pub content_hash: [u8; 32],
    /// The file's size as it was written.
    pub file_bytes: u64,
    /// BLAKE3 of this footer.
    pub footer_hash: [u8; 32],
    pub(crate) footer_offset: u64,
    pub(crate) index_pages: u64,
    pub(crate) top_offset: u64,
    pub(crate) top_bytes: u32,
    pub(crate) top_crc: u32,
    pub(crate) filter_offset: u64,
    pub(crate) filter_lines: u64,
}

impl Footer {
    /// Names the pack as the footers of later packs do.
    pub fn live_pack(&self) -> LivePack {
        LivePack { number: self.number, bytes: self.file_bytes, footer_hash: self.footer_hash }
    }

    /// Which pack this is.
    pub fn header(&self) -> PackHeader {
        PackHeader { engine: self.engine, epoch: self.epoch, number: self.number, kind: self.kind }
    }

    /// The body; `file_bytes` and `footer_hash` follow from it.
    pub(crate) fn encode_body(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(256 + self.live.len() * LIVE_BYTES + self.meta.len());
        out.push(self.kind as u8);
        out.extend_from_slice(&self.engine.0);
        let mut number = |value: u64| out.extend_from_slice(&value.to_le_bytes());
        for value in [self.epoch.0, self.number.0, self.first_lsn.0, self.last_lsn.0, self.line.0] {
            number(value);
        }
        for value in [self.entries, self.parts, self.objects, self.raw_bytes, self.footer_offset] {
            number(value);
        }
        number(self.index_pages);
        number(self.top_offset);
        out.extend_from_slice(&self.top_bytes.to_le_bytes());
        out.extend_from_slice(&self.top_crc.to_le_bytes());
        out.extend_from_slice(&self.filter_offset.to_le_bytes());
        out.extend_from_slice(&self.filter_lines.to_le_bytes());
        out.extend_from_slice(&self.content_hash);
        let live_count = u32::try_from(self.live.len()).expect("the writer caps the footer");
        out.extend_from_slice(&live_count.to_le_bytes());
        for live in &self.live {
            out.extend_from_slice(&live.number.0.to_le_bytes());
            out.extend_from_slice(&live.bytes.to_le_bytes());
            out.extend_from_slice(&live.footer_hash);
        }
        let meta_bytes = u32::try_from(self.meta.len()).expect("the writer caps the footer");
        out.extend_from_slice(&meta_bytes.to_le_bytes());
        out.extend_from_slice(&self.meta);
        out
    }

    pub(crate) fn decode_body(body: &[u8]) -> Option<Self> {
        let mut wire = Wire::new(body);
        let mut footer = Self {
            kind: PackKind::from_byte(wire.u8()?)?,
            engine: EngineId(wire.array()?),
            epoch: Epoch(wire.u64()?),
            number: PackNumber(wire.u64()?),
            first_lsn: Lsn(wire.u64()?),
            last_lsn: Lsn(wire.u64()?),
            line: Lsn(wire.u64()?),
            entries: wire.u64()?,
            parts: wire.u64()?,
            objects: wire.u64()?,
            raw_bytes: wire.u64()?,
            footer_offset: wire.u64()?,
            index_pages: wire.u64()?,
            top_offset: wire.u64()?,
            top_bytes: wire.u32()?,
            top_crc: wire.u32()?,
            filter_offset: wire.u64()?,
            filter_lines: wire.u64()?,
            content_hash: wire.array()?,
            live: Vec::new(),
            meta: Vec::new(),
            file_bytes: 0,
            footer_hash: *blake3::hash(body).as_bytes(),
        };
        let live_count = wire.u32()? as usize;
        if live_count > wire.remaining() / LIVE_BYTES {
            return None;
        }
        footer.live.reserve_exact(live_count);
        for _ in 0..live_count {
            footer.live.push(LivePack {
                number: PackNumber(wire.u64()?),
                bytes: wire.u64()?,
                footer_hash: wire.array()?,
            });
        }
        let meta_bytes = wire.u32()?;
        footer.meta = wire.take(meta_bytes as usize)?.to_vec();
        footer.file_bytes = footer.footer_offset.checked_add(2 * frame_bytes(body.len()))?;
        (wire.is_empty() && footer.is_possible()).then_some(footer)
    }

    /// The parts of the file lie one after the other, and counts fit the bytes that there are.
    fn is_possible(&self) -> bool {
        let filter_bytes = self.filter_bytes();
        let filter_end = filter_bytes.and_then(|bytes| self.filter_offset.checked_add(bytes));
        let top_end = self.top_offset.checked_add(u64::from(self.top_bytes));
        self.filter_offset >= HEADER_BYTES as u64
            && filter_end == Some(self.top_offset)
            && top_end == Some(self.footer_offset)
            && self.top_bytes <= TOP_BYTES_MAX
            && self.index_pages <= u64::from(self.top_bytes)
            && self.filter_lines == crate::filter::line_count(self.objects)
            && self.live.is_sorted_by(|a, b| a.number < b.number)
    }

    fn filter_bytes(&self) -> Option<u64> {
        let pages = self.filter_lines.div_ceil(crate::filter::PAGE_LINES);
        self.filter_lines.checked_mul(crate::filter::LINE_BYTES as u64)?.checked_add(pages.checked_mul(4)?)
    }
}

/// Size of a frame with a body of so many bytes.
pub(crate) fn frame_bytes(body_bytes: usize) -> u64 {
    (FRAME_HEAD_BYTES + body_bytes + FRAME_TAIL_BYTES) as u64
}

pub(crate) fn encode_frame(body: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(FRAME_HEAD_BYTES + body.len() + FRAME_TAIL_BYTES);
    let body_bytes = u32::try_from(body.len()).expect("the writer caps the footer").to_le_bytes();
    out.extend_from_slice(&FOOTER_MAGIC);
    out.extend_from_slice(&PACK_VERSION.to_le_bytes());
    out.extend_from_slice(&[0, 0]);
    out.extend_from_slice(&body_bytes);
    out.extend_from_slice(body);
    let crc = crc32fast::hash(&out);
    out.extend_from_slice(&crc.to_le_bytes());
    out.extend_from_slice(&body_bytes);
    out.extend_from_slice(&DONE_MAGIC);
    out
}

/// The size of the frame that ends with these bytes, if they can be the end of one.
pub(crate) fn frame_bytes_from_tail(tail: &[u8; FRAME_TAIL_BYTES]) -> Option<u64> {
    let mut wire = Wire::from(tail, 4);
    let body_bytes = wire.u32()?;
    (wire.array()? == DONE_MAGIC && body_bytes <= FOOTER_BYTES_MAX).then(|| frame_bytes(body_bytes as usize))
}

/// The size of the frame that starts with these bytes, if they can be the start of one.
pub(crate) fn frame_bytes_from_head(head: &[u8; FRAME_HEAD_BYTES]) -> Option<u64> {
    let mut wire = Wire::new(head);
    let magic = wire.array()?;
    wire.u32()?;
    let body_bytes = wire.u32()?;
    (magic == FOOTER_MAGIC && body_bytes <= FOOTER_BYTES_MAX).then(|| frame_bytes(body_bytes as usize))
}

/// What the bytes of a footer frame are.
#[derive(Debug)]
pub(crate) enum FrameFound {
    Valid(Box<Footer>),
    Newer(u16),
    Invalid,
}

pub(crate) fn decode_frame(frame: &[u8]) -> FrameFound {
    let parse = || {
        let mut wire = Wire::new(frame);
        if wire.array()? != FOOTER_MAGIC {
            return None;
        }
        let version = wire.u16()?;
        let reserved = wire.u16()?;
        let body_bytes = wire.u32()?;
        let body = wire.take(body_bytes as usize)?;
        let crc_at = wire.at();
        let crc = wire.u32()?;
        let whole = wire.u32()? == body_bytes && wire.array()? == DONE_MAGIC && wire.is_empty();
        if !whole || crc != crc32fast::hash(&frame[..crc_at]) {
            return None;
        }
        if version > PACK_VERSION {
            return Some(FrameFound::Newer(version));
        }
        if version == 0 || reserved != 0 {
            return None;
        }
        Footer::decode_body(body).map(|footer| FrameFound::Valid(Box::new(footer)))
    };
    parse().unwrap_or(FrameFound::Invalid)
}

/// The crc of an index page, filter page or top: bound to the pack and the place in the file.
pub(crate) fn page_crc(salt: u32, offset: u64, content: &[u8]) -> u32 {
    let mut bound = [0; 12];
    bound[..4].copy_from_slice(&salt.to_le_bytes());
    bound[4..].copy_from_slice(&offset.to_le_bytes());
    let mut crc = Hasher::new();
    crc.update(&bound);
    crc.update(content);
    crc.finalize()
}

const TAG_CODEC: u8 = 0b0000_0111;
const TAG_KEY_ID: u8 = 0b0000_1000;

/// Whose part it is: what its checksum is bound to beside its bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PartName<'a> {
    pub(crate) object: &'a ObjectKey,
    pub(crate) kind: Kind,
    pub(crate) sub_key: &'a [u8],
    pub(crate) seq: Seq,
}

/// How a part is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PartForm {
    pub(crate) codec: Codec,
    pub(crate) key_id: u8,
    pub(crate) flags: u8,
    pub(crate) raw_bytes: u32,
}

impl PartForm {
    fn tag(self) -> u8 {
        self.codec.byte() | if self.key_id == 0 { 0 } else { TAG_KEY_ID } | self.flags << 4
    }

    pub(crate) fn crc(self, name: PartName<'_>, stored: &[u8]) -> u32 {
        const FIXED_BYTES: usize = 43;
        // Sub-keys of heads and runs are short: then all that binds the part is one piece, which is cheaper to sum.
        let mut bound = [0; 64];
        bound[..20].copy_from_slice(&name.object.to_bytes());
        bound[20] = name.kind.byte();
        bound[21..29].copy_from_slice(&name.seq.0.to_le_bytes());
        bound[29] = self.tag();
        bound[30] = self.key_id;
        bound[31..35].copy_from_slice(&self.raw_bytes.to_le_bytes());
        bound[35..39].copy_from_slice(&(stored.len() as u32).to_le_bytes());
        bound[39..FIXED_BYTES].copy_from_slice(&(name.sub_key.len() as u32).to_le_bytes());
        let mut crc = Hasher::new();
        match bound.get_mut(FIXED_BYTES..FIXED_BYTES + name.sub_key.len()) {
            Some(room) => {
                room.copy_from_slice(name.sub_key);
                crc.update(&bound[..FIXED_BYTES + name.sub_key.len()]);
            }
            None => {
                crc.update(&bound[..FIXED_BYTES]);
                crc.update(name.sub_key);
            }
        }
        crc.update(stored);
        crc.finalize()
    }
}

/// The seqs of a run that follows without an entry of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FollowSeqs {
    /// First seq minus the seq after the run before.
    pub(crate) gap: u64,
    /// Last seq minus first seq.
    pub(crate) span: u64,
}

/// Appends a part.
pub(crate) fn put_part(
    out: &mut Vec<u8>,
    crc: u32,
    form: PartForm,
    follow: Option<FollowSeqs>,
    stored: &[u8],
) {
    out.extend_from_slice(&crc.to_le_bytes());
    out.push(form.tag());
    if let Some(follow) = follow {
        put_varint(out, follow.gap);
        put_varint(out, follow.span);
    }
    put_varint(out, stored.len() as u64);
    if form.codec != Codec::None {
        put_varint(out, u64::from(form.raw_bytes));
    }
    if form.key_id != 0 {
        out.push(form.key_id);
    }
    out.extend_from_slice(stored);
}

/// A part as it lies in a block, its checksum not yet verified.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PartFound<'a> {
    pub(crate) crc: u32,
    pub(crate) form: PartForm,
    pub(crate) follow: Option<FollowSeqs>,
    pub(crate) stored: &'a [u8],
}

pub(crate) fn take_part<'a>(wire: &mut Wire<'a>, follows: bool) -> Option<PartFound<'a>> {
    let crc = wire.u32()?;
    let tag = wire.u8()?;
    let codec = Codec::from_byte(tag & TAG_CODEC)?;
    let follow = if follows { Some(FollowSeqs { gap: wire.varint()?, span: wire.varint()? }) } else { None };
    let stored_bytes = wire.varint_u32()?;
    let raw_bytes = if codec == Codec::None { stored_bytes } else { wire.varint_u32()? };
    let key_id = if tag & TAG_KEY_ID == 0 { 0 } else { wire.u8().filter(|&id| id != 0)? };
    let stored = wire.take(stored_bytes as usize)?;
    Some(PartFound { crc, form: PartForm { codec, key_id, flags: tag >> 4, raw_bytes }, follow, stored })
}

#[cfg(test)]
#[path = "format/tests.rs"]
mod tests;
