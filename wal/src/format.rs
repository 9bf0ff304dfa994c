//! The files of the log, byte for byte. This is the only place that says how they look.
//!
//! All integers are little-endian and of fixed width; the namespace in an object key is big-endian. Checksums are
//! CRC-32 (ISO-HDLC, as crc32fast computes it). Reserved bytes are zero when written and not looked at when read, but
//! always under a checksum. A reader refuses a version above [`VERSION`] by name.
//!
//! ```text
//! log/list                    which segments there are
//! log/0000000000000001.log    a segment: header, groups, a seal, room
//! ```
//!
//! # Segment
//!
//! A file of fixed size, written with zeros once, listed with a salt before it is used, and used from front to back.
//! When its records are not needed any more it is listed with a new salt: what is in it means nothing from then on.
//!
//! ```text
//! offset  size     field
//!      0  sector   segment header
//! sector           groups, each from a sector boundary on, without gaps
//!                  then one seal, on the boundary where the next group will go
//! ```
//!
//! The last sector is kept free of groups, so that there is always room for a seal. Sectors are those of the device:
//! a write that is torn by a power cut never touches a group that was acknowledged before.
//!
//! Segment header, 128 bytes, then zeros up to the sector:
//!
//! ```text
//! offset  size  field
//!      0     8  magic "LINEALSG"
//!      8     4  crc of bytes 12 .. 128
//!     12     4  format version
//!     16     8  segment id, as in the file's name
//!     24     8  salt, as in the list
//!     32    16  engine id
//!     48     8  epoch
//!     56     8  order: counts the segments ever used by this log, 1, 2, 3 …
//!     64     8  id of the segment before this one, 0 if none
//!     72     8  salt of the segment before this one
//!     80     8  last accepted lsn: every record up to it was durable when this header was written
//!     88     8  first lsn: of the first record that will be in this segment
//!     96     8  time of the last accepted record
//!    104     8  capacity: bytes of the file
//!    112     8  generation of the list when this header was written
//!    120     4  sector bytes, a power of two from 512 to 65,536
//!    124     4  reserved
//! ```
//!
//! The header is *current* iff magic, crc, id and salt are right. A listed segment without a current header has never
//! been used. The order, not the list, says which segment comes after which. Records from `first lsn` on in earlier
//! segments are dead: recovery copied what it accepted of them into this segment (before it wrote this header), or
//! cut them off. So an earlier segment must have every record below `first lsn`, and this one those from there to
//! `last accepted`.
//!
//! # Group
//!
//! What one fdatasync makes durable. Header of 64 bytes, then records, then zeros up to the sector:
//!
//! ```text
//! offset  size  field
//!      0     8  magic "LINEALGR"
//!      8     4  crc of bytes 12 .. 64
//!     12     4  crc of the salt (8 bytes) and the crc of each record (4 bytes each)
//!     16     8  salt of the segment
//!     24     8  segment id
//!     32     8  offset of this header in the file
//!     40     8  first lsn
//!     48     8  durable lsn before this group was written
//!     56     4  record count, at least 1
//!     60     4  bytes of the records
//! ```
//!
//! A group is valid iff both crcs, salt, id and offset are right, the first lsn is the one that is due, the durable
//! lsn is below it, it ends before the last sector of the segment, and its records are valid, dense and fill it.
//!
//! # Record
//!
//! Header of 32 bytes, then parts:
//!
//! ```text
//! offset  size  field
//!      0     4  crc of bytes 4 .. 32 and the crc of each part (4 bytes each)
//!      4     4  bytes of the whole record, at most RECORD_BYTES_MAX
//!      8     8  lsn
//!     16     8  time, microseconds since the Unix epoch, never below that of the record before
//!     24     2  part count
//!     26     2  flags, reserved
//!     28     4  reserved
//! ```
//!
//! Part: header of 48 bytes, then the body, which means nothing to this crate:
//!
//! ```text
//! offset  size  field
//!      0     4  crc of bytes 4 .. 48 and the body
//!      4     4  bytes of the body
//!      8    20  object key: namespace (big-endian), id
//!     28     8  seq
//!     36     8  lsn of this object's commit before, 0 if none
//!     44     1  kind
//!     45     1  codec
//!     46     1  key id
//!     47     1  flags
//! ```
//!
//! # Seal
//!
//! 64 bytes, then zeros up to the sector, on the boundary where the next group will go. Written after the fdatasync
//! of a group and before anybody is told, but not synced itself; the group that overwrites it repeats its news. So a
//! process that dies leaves word of what it had acknowledged, and a flipped bit in the last group is not taken for a
//! torn tail. Only what no power cut left a seal for cannot be told from a torn tail.
//!
//! ```text
//! offset  size  field
//!      0     8  magic "LINEALSL"
//!      8     4  crc of bytes 12 .. 64
//!     12     4  format version
//!     16     8  salt of the segment
//!     24     8  segment id
//!     32     8  offset of this seal in the file
//!     40     8  durable lsn
//!     48     1  1 if it was synced by a close: nothing was ever written after it; else 0
//!     49    15  reserved
//! ```
//!
//! # List
//!
//! Two slots of equal size, each half of the file. A new generation goes into the slot that holds the older one and is
//! synced before any segment that it names is used. When a slot is too small a new file, `log/list.new`, is written,
//! synced and renamed over the old one. Slot, padded with zeros:
//!
//! ```text
//! offset  size  field
//!      0     8  magic "LINEALLS"
//!      8     4  crc of bytes 12 .. 64 + 32 * count
//!     12     4  format version
//!     16    16  engine id
//!     32     8  generation, 1, 2, 3 …; an odd one is in the second slot
//!     40     8  epoch: the highest that may have written
//!     48     4  count of entries
//!     52    12  reserved
//! then for each segment, 32 bytes:
//!      0     8  segment id
//!      8     8  salt
//!     16     8  capacity: bytes of the file, three sectors of 4096 at the least
//!     24     1  state: 0 spare, 1 holds records that were durable, 2 spare kept for the system's own commits
//!     25     7  reserved
//! ```
//!
//! The valid slot of the higher generation counts; the other may be torn. But a segment whose current header names a
//! higher generation shows that the newest slot was there once, and that is damage. A listed file that is missing is
//! damage. A file that is not listed is what a crash left of a segment in the making.
//!
//! # Seed
//!
//! A log can be made of records that were kept elsewhere. Its segments are just long enough, end with a closing seal each,
//! and are listed as holding durable records, even if there are none. Their headers are written last and accept what is in
//! them. The list is of generation 1, and comes when all segments are durable; so without a list, segments whose headers
//! know no generation above 1 are what is left of a seed that did not end.

use crate::ids::{EngineId, Epoch, Lsn, Micros, SegmentId};

/// The format version written here, and the newest one read.
pub const VERSION: u32 = 1;

/// Sector size that new segments are written for, in bytes: that of today's disks, and of the page cache.
pub const SECTOR_BYTES: u32 = 4096;

/// Most bytes of a record. Source: well above the largest transaction that the engine allows (a value of 16 MiB is
/// its default limit), and small enough that a segment of its own can be prepared for one.
pub const RECORD_BYTES_MAX: u32 = 128 << 20;

/// Bytes of a record's header.
pub const RECORD_HEADER_BYTES: usize = 32;
/// Bytes of a part's header.
pub const PART_HEADER_BYTES: usize = 48;
/// Bytes of a group's header.
pub(crate) const GROUP_HEADER_BYTES: usize = 64;
/// Bytes of a seal.
pub(crate) const SEAL_BYTES: usize = 64;
/// Bytes of a segment header without its padding.
pub(crate) const SEGMENT_HEADER_BYTES: usize = 128;
/// Bytes of the head of a list slot.
pub(crate) const LIST_HEADER_BYTES: usize = 64;
/// Bytes of an entry of the list.
pub(crate) const LIST_ENTRY_BYTES: usize = 32;

const SEGMENT_MAGIC: [u8; 8] = *b"LINEALSG";
pub(crate) const GROUP_MAGIC: [u8; 8] = *b"LINEALGR";
pub(crate) const SEAL_MAGIC: [u8; 8] = *b"LINEALSL";
const LIST_MAGIC: [u8; 8] = *b"LINEALLS";

/// The folder of the log.
pub(crate) const LOG_DIR: &str = "log";
/// The list of segments.
pub(crate) const LIST_PATH: &str = "log/list";
/// The list while a larger one is made.
pub(crate) const LIST_NEW_PATH: &str = "log/list.new";

/// The path of a segment's file.
pub(crate) fn segment_path(id: SegmentId) -> String {
    format!("log/{:016x}.log", id.0)
}

/// The segment that a file name in the log's folder stands for.
pub(crate) fn segment_of_name(name: &str) -> Option<SegmentId> {
    let digits = name.strip_suffix(".log").filter(|digits| digits.len() == 16)?;
    u64::from_str_radix(digits, 16).ok().map(SegmentId)
}

pub(crate) fn get_u16(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(bytes[at..at + 2].try_into().expect("two bytes"))
}

pub(crate) fn get_u32(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

pub(crate) fn get_u64(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

fn get_16(bytes: &[u8], at: usize) -> [u8; 16] {
    bytes[at..at + 16].try_into().expect("sixteen bytes")
}

pub(crate) fn put_u16(bytes: &mut [u8], at: usize, value: u16) {
    bytes[at..at + 2].copy_from_slice(&value.to_le_bytes());
}

pub(crate) fn put_u32(bytes: &mut [u8], at: usize, value: u32) {
    bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
}

pub(crate) fn put_u64(bytes: &mut [u8], at: usize, value: u64) {
    bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
}

/// Why some bytes are not the header, list or seal that they were taken for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotValid {
    /// Other bytes: another magic, a wrong checksum, a value out of bounds.
    Other,
    /// Whole, but of a version that only a later program knows.
    Newer(u32),
}

/// Checks magic, crc (of bytes 12 .. end) and the version at byte 12.
fn check(bytes: &[u8], magic: [u8; 8], end: usize) -> Result<(), NotValid> {
    if bytes.len() < end || bytes[..8] != magic || get_u32(bytes, 8) != crc32fast::hash(&bytes[12..end]) {
        return Err(NotValid::Other);
    }
    match get_u32(bytes, 12) {
        1..=VERSION => Ok(()),
        0 => Err(NotValid::Other),
        newer => Err(NotValid::Newer(newer)),
    }
}

/// The first sector of a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    pub(crate) id: SegmentId,
    pub(crate) salt: u64,
    pub(crate) engine: EngineId,
    pub(crate) epoch: Epoch,
    pub(crate) order: u64,
    pub(crate) previous_id: SegmentId,
    pub(crate) previous_salt: u64,
    pub(crate) last_accepted: Lsn,
    pub(crate) first_lsn: Lsn,
    pub(crate) last_time: Micros,
    pub(crate) capacity: u64,
    pub(crate) list_generation: u64,
    pub(crate) sector_bytes: u32,
}

impl SegmentHeader {
    pub(crate) fn encode(&self) -> [u8; SEGMENT_HEADER_BYTES] {
        let mut out = [0; SEGMENT_HEADER_BYTES];
        out[..8].copy_from_slice(&SEGMENT_MAGIC);
        put_u32(&mut out, 12, VERSION);
        put_u64(&mut out, 16, self.id.0);
        put_u64(&mut out, 24, self.salt);
        out[32..48].copy_from_slice(&self.engine.0);
        put_u64(&mut out, 48, self.epoch.0);
        put_u64(&mut out, 56, self.order);
        put_u64(&mut out, 64, self.previous_id.0);
        put_u64(&mut out, 72, self.previous_salt);
        put_u64(&mut out, 80, self.last_accepted.0);
        put_u64(&mut out, 88, self.first_lsn.0);
        put_u64(&mut out, 96, self.last_time.0);
        put_u64(&mut out, 104, self.capacity);
        put_u64(&mut out, 112, self.list_generation);
        put_u32(&mut out, 120, self.sector_bytes);
        let crc = crc32fast::hash(&out[12..]);
        put_u32(&mut out, 8, crc);
        out
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, NotValid> {
        check(bytes, SEGMENT_MAGIC, SEGMENT_HEADER_BYTES)?;
        let header = Self {
            id: SegmentId(get_u64(bytes, 16)),
            salt: get_u64(bytes, 24),
            engine: EngineId(get_16(bytes, 32)),
            epoch: Epoch(get_u64(bytes, 48)),
            order: get_u64(bytes, 56),
            previous_id: SegmentId(get_u64(bytes, 64)),
            previous_salt: get_u64(bytes, 72),
            last_accepted: Lsn(get_u64(bytes, 80)),
            first_lsn: Lsn(get_u64(bytes, 88)),
            last_time: Micros(get_u64(bytes, 96)),
            capacity: get_u64(bytes, 104),
            list_generation: get_u64(bytes, 112),
            sector_bytes: get_u32(bytes, 120),
        };
        let sane = header.sector_bytes.is_power_of_two()
            && (512..=65_536).contains(&header.sector_bytes)
            && header.capacity <= SEGMENT_BYTES_LIMIT
            && header.capacity.is_multiple_of(u64::from(header.sector_bytes))
            && header.capacity / u64::from(header.sector_bytes) >= SECTORS_MIN
            && header.first_lsn.0 > 0
            && header.first_lsn.0 <= header.last_accepted.0.saturating_add(1);
        if sane { Ok(header) } else { Err(NotValid::Other) }
    }
}

/// A segment header or a seal, as it is written: a whole sector, so that the page need not be read first.
pub(crate) fn sector(encoded: &[u8]) -> [u8; SECTOR_BYTES as usize] {
    let mut sector = [0; SECTOR_BYTES as usize];
    sector[..encoded.len()].copy_from_slice(encoded);
    sector
}

/// Fewest sectors of a segment: header, one group, one seal.
pub(crate) const SECTORS_MIN: u64 = 3;

/// Most bytes of a segment: one for the largest record, with room for what surrounds it.
pub(crate) const SEGMENT_BYTES_LIMIT: u64 = 1 << 32;

/// The head of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct GroupHeader {
    pub(crate) records_crc: u32,
    pub(crate) salt: u64,
    pub(crate) id: SegmentId,
    pub(crate) offset: u64,
    pub(crate) first_lsn: Lsn,
    pub(crate) durable_before: Lsn,
    pub(crate) count: u32,
    pub(crate) payload_bytes: u32,
}

impl GroupHeader {
    pub(crate) fn encode(&self) -> [u8; GROUP_HEADER_BYTES] {
        let mut out = [0; GROUP_HEADER_BYTES];
        out[..8].copy_from_slice(&GROUP_MAGIC);
        put_u32(&mut out, 12, self.records_crc);
        put_u64(&mut out, 16, self.salt);
        put_u64(&mut out, 24, self.id.0);
        put_u64(&mut out, 32, self.offset);
        put_u64(&mut out, 40, self.first_lsn.0);
        put_u64(&mut out, 48, self.durable_before.0);
        put_u32(&mut out, 56, self.count);
        put_u32(&mut out, 60, self.payload_bytes);
        let crc = crc32fast::hash(&out[12..]);
        put_u32(&mut out, 8, crc);
        out
    }

    /// Reads a header that was written at `offset` of the segment `id` under `salt`; `None` if this is none.
    pub(crate) fn decode(bytes: &[u8], id: SegmentId, salt: u64, offset: u64) -> Option<Self> {
        if bytes.len() < GROUP_HEADER_BYTES
            || bytes[..8] != GROUP_MAGIC
            || get_u32(bytes, 8) != crc32fast::hash(&bytes[12..GROUP_HEADER_BYTES])
        {
            return None;
        }
        let header = Self {
            records_crc: get_u32(bytes, 12),
            salt: get_u64(bytes, 16),
            id: SegmentId(get_u64(bytes, 24)),
            offset: get_u64(bytes, 32),
            first_lsn: Lsn(get_u64(bytes, 40)),
            durable_before: Lsn(get_u64(bytes, 48)),
            count: get_u32(bytes, 56),
            payload_bytes: get_u32(bytes, 60),
        };
        let current = header.salt == salt && header.id == id && header.offset == offset;
        let sane = header.count > 0
            && header.durable_before < header.first_lsn
            && u64::from(header.payload_bytes)
                >= u64::from(header.count).saturating_mul(RECORD_HEADER_BYTES as u64)
            && header.first_lsn.0.checked_add(u64::from(header.count)).is_some();
        (current && sane).then_some(header)
    }

    pub(crate) fn last_lsn(&self) -> Lsn {
        Lsn(self.first_lsn.0 + u64::from(self.count) - 1)
    }

    /// Bytes of the group in the file, with its padding.
    pub(crate) fn bytes(&self, sector_bytes: u32) -> u64 {
        group_bytes(u64::from(self.payload_bytes), sector_bytes)
    }
}

/// Bytes that a group takes in the file.
pub(crate) fn group_bytes(payload_bytes: u64, sector_bytes: u32) -> u64 {
    (GROUP_HEADER_BYTES as u64 + payload_bytes).next_multiple_of(u64::from(sector_bytes))
}

/// The crc that ties the records of a group to each other and to the segment.
pub(crate) fn records_crc(salt: u64, record_crcs: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&salt.to_le_bytes());
    hasher.update(record_crcs);
    hasher.finalize()
}

/// Word of what has been acknowledged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seal {
    pub(crate) salt: u64,
    pub(crate) id: SegmentId,
    pub(crate) offset: u64,
    pub(crate) durable: Lsn,
    pub(crate) closed: bool,
}

impl Seal {
    pub(crate) fn encode(&self) -> [u8; SEAL_BYTES] {
        let mut out = [0; SEAL_BYTES];
        out[..8].copy_from_slice(&SEAL_MAGIC);
        put_u32(&mut out, 12, VERSION);
        put_u64(&mut out, 16, self.salt);
        put_u64(&mut out, 24, self.id.0);
        put_u64(&mut out, 32, self.offset);
        put_u64(&mut out, 40, self.durable.0);
        out[48] = u8::from(self.closed);
        let crc = crc32fast::hash(&out[12..]);
        put_u32(&mut out, 8, crc);
        out
    }

    /// Reads a seal that was written at `offset` of the segment `id` under `salt`; `None` if this is none.
    pub(crate) fn decode(bytes: &[u8], id: SegmentId, salt: u64, offset: u64) -> Option<Self> {
        check(bytes, SEAL_MAGIC, SEAL_BYTES).ok()?;
        let seal = Self {
            salt: get_u64(bytes, 16),
            id: SegmentId(get_u64(bytes, 24)),
            offset: get_u64(bytes, 32),
            durable: Lsn(get_u64(bytes, 40)),
            closed: bytes[48] == 1,
        };
        (seal.salt == salt && seal.id == id && seal.offset == offset).then_some(seal)
    }
}

/// What the list knows of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ListState {
    /// Prepared. Used since, if its header is current.
    Spare,
    /// Holds records that were durable when the list was written.
    Used,
    /// Prepared, for the system's own commits when the disk is full.
    Reserve,
}

/// A segment in the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ListEntry {
    pub(crate) id: SegmentId,
    pub(crate) salt: u64,
    pub(crate) capacity: u64,
    pub(crate) state: ListState,
}

/// One generation of the list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct List {
    pub(crate) engine: EngineId,
    pub(crate) generation: u64,
    pub(crate) epoch: Epoch,
    pub(crate) entries: Vec<ListEntry>,
}

impl List {
    /// Bytes without padding.
    pub(crate) fn bytes(&self) -> usize {
        LIST_HEADER_BYTES + LIST_ENTRY_BYTES * self.entries.len()
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = vec![0; self.bytes()];
        out[..8].copy_from_slice(&LIST_MAGIC);
        put_u32(&mut out, 12, VERSION);
        out[16..32].copy_from_slice(&self.engine.0);
        put_u64(&mut out, 32, self.generation);
        put_u64(&mut out, 40, self.epoch.0);
        let count = u32::try_from(self.entries.len()).expect("a list of segments fits a file of segments");
        put_u32(&mut out, 48, count);
        for (entry, slot) in
            self.entries.iter().zip(out[LIST_HEADER_BYTES..].chunks_exact_mut(LIST_ENTRY_BYTES))
        {
            put_u64(slot, 0, entry.id.0);
            put_u64(slot, 8, entry.salt);
            put_u64(slot, 16, entry.capacity);
            slot[24] = match entry.state {
                ListState::Spare => 0,
                ListState::Used => 1,
                ListState::Reserve => 2,
            };
        }
        let crc = crc32fast::hash(&out[12..]);
        put_u32(&mut out, 8, crc);
        out
    }

    /// Reads a whole slot.
    pub(crate) fn decode(slot: &[u8]) -> Result<Self, NotValid> {
        if slot.len() < LIST_HEADER_BYTES || slot[..8] != LIST_MAGIC {
            return Err(NotValid::Other);
        }
        let count = get_u32(slot, 48) as usize;
        if count > (slot.len() - LIST_HEADER_BYTES) / LIST_ENTRY_BYTES {
            return Err(NotValid::Other);
        }
        check(slot, LIST_MAGIC, LIST_HEADER_BYTES + count * LIST_ENTRY_BYTES)?;
        let entry = |bytes: &[u8]| {
            let state = match bytes[24] {
                0 => ListState::Spare,
                1 => ListState::Used,
                2 => ListState::Reserve,
                _ => return None,
            };
            let entry = ListEntry {
                id: SegmentId(get_u64(bytes, 0)),
                salt: get_u64(bytes, 8),
                capacity: get_u64(bytes, 16),
                state,
            };
            let capacity_min = SECTORS_MIN * u64::from(SECTOR_BYTES);
            (capacity_min..=SEGMENT_BYTES_LIMIT).contains(&entry.capacity).then_some(entry)
        };
        let entries = slot[LIST_HEADER_BYTES..]
            .chunks_exact(LIST_ENTRY_BYTES)
            .take(count)
            .map(entry)
            .collect::<Option<Vec<_>>>()
            .ok_or(NotValid::Other)?;
        Ok(Self {
            engine: EngineId(get_16(slot, 16)),
            generation: get_u64(slot, 32),
            epoch: Epoch(get_u64(slot, 40)),
            entries,
        })
    }
}

// The tables above, checked: the last field of each ends where the structure does.
const _: () = {
    assert!(SEGMENT_HEADER_BYTES == 124 + 4);
    assert!(SEGMENT_HEADER_BYTES <= 512);
    assert!(GROUP_HEADER_BYTES == 60 + 4);
    assert!(RECORD_HEADER_BYTES == 28 + 4);
    assert!(PART_HEADER_BYTES == 47 + 1);
    assert!(SEAL_BYTES == 49 + 15);
    assert!(LIST_HEADER_BYTES == 52 + 12);
    assert!(LIST_ENTRY_BYTES == 25 + 7);
};
