//! Records and their parts: how one is built, and how one is read and checked. The bytes are described in `format.rs`.

use crate::format::{
    PART_HEADER_BYTES, RECORD_BYTES_MAX, RECORD_HEADER_BYTES, get_u16, get_u32, get_u64, put_u16, put_u32,
    put_u64,
};
use crate::ids::{Lsn, Micros, OBJECT_KEY_BYTES, ObjectKey, Seq};
use crate::planted::{self, Bug};

/// What stands over a part's body.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PartHeader {
    /// The object that the part belongs to.
    pub object: ObjectKey,
    /// The commit of that object.
    pub seq: Seq,
    /// Where that object's commit before is; [`Lsn::NONE`] if there is none.
    pub prev_lsn: Lsn,
    /// The kind of commit, as the engine numbers them.
    pub kind: u8,
    /// How the body is compressed; 0 is not at all.
    pub codec: u8,
    /// Which key the body is encrypted with; 0 is none.
    pub key_id: u8,
    /// The engine's own.
    pub flags: u8,
}

/// Builds one record. Made once and reused: when it is warm it allocates nothing.
#[derive(Clone, Debug)]
pub struct RecordBuilder {
    /// A record header without position and checksum, then the parts.
    bytes: Vec<u8>,
    /// The checksums of the finished parts, as the record's checksum wants them.
    part_crcs: Vec<u8>,
    /// Where the part that is being written starts.
    open: Option<usize>,
}

impl Default for RecordBuilder {
    fn default() -> Self {
        Self::new()
    }
}

impl RecordBuilder {
    /// A record without parts.
    #[must_use]
    pub fn new() -> Self {
        Self { bytes: vec![0; RECORD_HEADER_BYTES], part_crcs: Vec::new(), open: None }
    }

    /// Starts over and keeps the memory.
    pub fn clear(&mut self) {
        self.bytes.truncate(RECORD_HEADER_BYTES);
        self.part_crcs.clear();
        self.open = None;
    }

    /// Starts a part. Append its body to the returned buffer and leave what is in it already; then
    /// [`end_part`](Self::end_part).
    ///
    /// # Panics
    /// If the part before was not ended.
    pub fn begin_part(&mut self, header: PartHeader) -> &mut Vec<u8> {
        assert!(self.open.is_none(), "a part ends before the next begins");
        let start = self.bytes.len();
        self.open = Some(start);
        let mut out = [0; PART_HEADER_BYTES];
        out[8..8 + OBJECT_KEY_BYTES].copy_from_slice(&header.object.to_bytes());
        put_u64(&mut out, 28, header.seq.0);
        put_u64(&mut out, 36, header.prev_lsn.0);
        out[44..].copy_from_slice(&[header.kind, header.codec, header.key_id, header.flags]);
        self.bytes.extend_from_slice(&out);
        &mut self.bytes
    }

    /// The buffer that the open part's body goes to, as [`begin_part`](Self::begin_part) returned it.
    ///
    /// # Panics
    /// If no part is open.
    pub fn body(&mut self) -> &mut Vec<u8> {
        assert!(self.open.is_some(), "a part is open");
        &mut self.bytes
    }

    /// Ends the open part: its length and checksum are known now.
    ///
    /// # Panics
    /// If no part is open, or the buffer was shortened below where the part started.
    pub fn end_part(&mut self) {
        let start = self.open.take().expect("a part is open");
        let part = &mut self.bytes[start..];
        let body_bytes = part.len().checked_sub(PART_HEADER_BYTES).expect("a body is only appended");
        // A record beyond the limit is refused when it is appended; its length is not looked at before.
        put_u32(part, 4, u32::try_from(body_bytes).unwrap_or(u32::MAX));
        let crc = crc32fast::hash(&part[4..]);
        put_u32(part, 0, crc);
        self.part_crcs.extend_from_slice(&crc.to_le_bytes());
    }

    /// Parts ended so far.
    #[must_use]
    pub fn part_count(&self) -> usize {
        self.part_crcs.len() / 4
    }

    /// Bytes of the record.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Appends the finished record to `out` at its position, and returns its checksum.
    pub(crate) fn write_to(&self, lsn: Lsn, time: Micros, out: &mut Vec<u8>) -> [u8; 4] {
        let mut header = [0; RECORD_HEADER_BYTES];
        put_u32(&mut header, 4, u32::try_from(self.bytes.len()).expect("the limit was checked"));
        put_u64(&mut header, 8, lsn.0);
        put_u64(&mut header, 16, time.0);
        put_u16(&mut header, 24, u16::try_from(self.part_count()).expect("the limit was checked"));
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&header[4..]);
        hasher.update(&self.part_crcs);
        let crc = hasher.finalize().to_le_bytes();
        header[..4].copy_from_slice(&crc);
        out.extend_from_slice(&header);
        out.extend_from_slice(&self.bytes[RECORD_HEADER_BYTES..]);
        crc
    }

    /// Whether it is small enough for the log: in bytes, and in parts.
    pub(crate) fn fits(&self) -> bool {
        self.bytes.len() <= RECORD_BYTES_MAX as usize && self.part_count() <= usize::from(u16::MAX)
    }

    pub(crate) fn is_open(&self) -> bool {
        self.open.is_some()
    }
}

/// One record, with all its checksums verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// Its position.
    pub lsn: Lsn,
    /// When it was appended; never below the time of the record before.
    pub time: Micros,
    part_count: u16,
    /// All of it.
    bytes: &'a [u8],
}

impl<'a> Record<'a> {
    /// Its parts, in the order in which they were written.
    #[must_use]
    pub fn parts(&self) -> Parts<'a> {
        Parts { rest: &self.bytes[RECORD_HEADER_BYTES..] }
    }

    /// How many parts it has.
    #[must_use]
    pub fn part_count(&self) -> usize {
        usize::from(self.part_count)
    }

    /// Bytes that it takes in the log.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// It itself, as it is in the log: what [`records`](crate::records) reads.
    #[must_use]
    pub fn encoded(&self) -> &'a [u8] {
        self.bytes
    }

    /// Reads and verifies the record that starts `bytes`, which may be longer; the second result is its checksum.
    pub(crate) fn decode(bytes: &'a [u8]) -> Result<(Self, [u8; 4]), &'static str> {
        let record = Self::frame(bytes)?;
        let crc = record.verify()?;
        Ok((record, crc))
    }

    /// Reads the record that starts `bytes`, which may be longer, and checks that its lengths agree: then its parts
    /// can be walked. Its checksums are not looked at.
    pub(crate) fn frame(bytes: &'a [u8]) -> Result<Self, &'static str> {
        let length = record_bytes(bytes).ok_or("the length of a record is impossible")?;
        let bytes = bytes.get(..length).ok_or("a record is cut off")?;
        let record = Self::view(bytes);
        let mut at = RECORD_HEADER_BYTES;
        for _ in 0..record.part_count {
            let header = bytes.get(at..at + PART_HEADER_BYTES).ok_or("a part is cut off")?;
            at += PART_HEADER_BYTES + get_u32(header, 4) as usize;
        }
        match at.cmp(&length) {
            std::cmp::Ordering::Equal => Ok(record),
            std::cmp::Ordering::Less => Err("a record has bytes beyond its parts"),
            std::cmp::Ordering::Greater => Err("a part is cut off"),
        }
    }

    /// Verifies a record that was framed; its checksum.
    pub(crate) fn verify(&self) -> Result<[u8; 4], &'static str> {
        let bytes = self.bytes;
        if planted::on(Bug::RecordUnchecked) {
            return Ok(get_u32(bytes, 0).to_le_bytes());
        }
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&bytes[4..RECORD_HEADER_BYTES]);
        let mut rest = &bytes[RECORD_HEADER_BYTES..];
        while !rest.is_empty() {
            let part = &rest[..PART_HEADER_BYTES + get_u32(rest, 4) as usize];
            if crc32fast::hash(&part[4..]) != get_u32(part, 0) {
                return Err("the checksum of a part is wrong");
            }
            hasher.update(&part[..4]);
            rest = &rest[part.len()..];
        }
        let crc = hasher.finalize();
        if crc != get_u32(bytes, 0) {
            return Err("the checksum of a record is wrong");
        }
        Ok(crc.to_le_bytes())
    }
}

impl<'a> Record<'a> {
    /// The record that exactly fills `bytes`, which were verified before.
    pub(crate) fn view(bytes: &'a [u8]) -> Self {
        Self {
            lsn: Lsn(get_u64(bytes, 8)),
            time: Micros(get_u64(bytes, 16)),
            part_count: get_u16(bytes, 24),
            bytes,
        }
    }
}

/// The declared length of the record that starts `bytes`; `None` if it is cut off or impossible.
pub(crate) fn record_bytes(bytes: &[u8]) -> Option<usize> {
    let declared = get_u32(bytes.get(..RECORD_HEADER_BYTES)?, 4);
    (RECORD_HEADER_BYTES as u32..=RECORD_BYTES_MAX).contains(&declared).then_some(declared as usize)
}

/// The checksums of the verified records that fill `payload`.
pub(crate) fn record_crcs(payload: &[u8]) -> Vec<u8> {
    let mut crcs = Vec::new();
    let mut rest = payload;
    while let Some(bytes) = record_bytes(rest) {
        crcs.extend_from_slice(&rest[..4]);
        rest = &rest[bytes..];
    }
    crcs
}

/// The declared position of the record that starts `bytes`.
pub(crate) fn record_lsn(bytes: &[u8]) -> Lsn {
    Lsn(get_u64(bytes, 8))
}

/// One object's part of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part<'a> {
    /// The object that the part belongs to.
    pub object: ObjectKey,
    /// The commit of that object.
    pub seq: Seq,
    /// Where that object's commit before is; [`Lsn::NONE`] if there is none.
    pub prev_lsn: Lsn,
    /// The kind of commit, as the engine numbers them.
    pub kind: u8,
    /// How the body is compressed.
    pub codec: u8,
    /// Which key the body is encrypted with.
    pub key_id: u8,
    /// The engine's own.
    pub flags: u8,
    /// What the engine wrote.
    pub body: &'a [u8],
}

/// The parts of a record. See [`Record::parts`].
#[derive(Clone, Debug)]
pub struct Parts<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Parts<'a> {
    type Item = Part<'a>;

    fn next(&mut self) -> Option<Part<'a>> {
        if self.rest.is_empty() {
            return None;
        }
        // Lengths and checksums were verified when the record was read.
        let (header, rest) = self.rest.split_at(PART_HEADER_BYTES);
        let (body, rest) = rest.split_at(get_u32(header, 4) as usize);
        self.rest = rest;
        let key = header[8..8 + OBJECT_KEY_BYTES].try_into().expect("a key has 20 bytes");
        Some(Part {
            object: ObjectKey::from_bytes(key),
            seq: Seq(get_u64(header, 28)),
            prev_lsn: Lsn(get_u64(header, 36)),
            kind: header[44],
            codec: header[45],
            key_id: header[46],
            flags: header[47],
            body,
        })
    }
}

/// One record, verified, in memory of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnedRecord {
    lsn: Lsn,
    time: Micros,
    part_count: u16,
    bytes: Vec<u8>,
}

impl OwnedRecord {
    /// Its position.
    #[must_use]
    pub fn lsn(&self) -> Lsn {
        self.lsn
    }

    /// When it was appended.
    #[must_use]
    pub fn time(&self) -> Micros {
        self.time
    }

    /// The same record, borrowed.
    #[must_use]
    pub fn as_record(&self) -> Record<'_> {
        Record { lsn: self.lsn, time: self.time, part_count: self.part_count, bytes: &self.bytes }
    }
}

impl From<Record<'_>> for OwnedRecord {
    fn from(record: Record<'_>) -> Self {
        Self {
            lsn: record.lsn,
            time: record.time,
            part_count: record.part_count,
            bytes: record.bytes.to_vec(),
        }
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests;
