//! Reading groups: from a window over the file, verified before anything is shown.

use crate::error::LogError;
use crate::format::{GROUP_HEADER_BYTES, GroupHeader, records_crc};
use crate::ids::{Lsn, Micros, SegmentId};
use crate::options::RecordPlace;
use crate::record::{Record, record_bytes, record_crcs};
use crate::segment::SegmentFile;

/// Bytes read at once when a segment is read from end to end. Source: the read-ahead of Linux is of this size.
pub(crate) const WINDOW_BYTES: usize = 256 << 10;

/// A piece of a file in memory, moved along.
#[derive(Debug)]
pub(crate) struct Window {
    bytes: Vec<u8>,
    start: u64,
    size: usize,
}

impl Window {
    pub(crate) fn new(size: usize) -> Self {
        Self { bytes: Vec::new(), start: 0, size }
    }

    /// `len` bytes at `offset`, and whatever follows them below `end` is read ahead. The caller has checked that
    /// `len` is possible in this file, so memory is bounded by it.
    pub(crate) fn read(
        &mut self,
        file: &SegmentFile,
        offset: u64,
        end: u64,
        len: usize,
    ) -> Result<&[u8], LogError> {
        let have = self.start..self.start + self.bytes.len() as u64;
        if !have.contains(&offset) || offset + len as u64 > have.end {
            let rest = usize::try_from(end.saturating_sub(offset)).unwrap_or(usize::MAX);
            self.bytes.resize(self.size.min(rest).max(len), 0);
            self.start = offset;
            if let Err(error) = file.read(&mut self.bytes, offset) {
                self.bytes.clear();
                return Err(error);
            }
        }
        let at = usize::try_from(offset - self.start).expect("inside the window");
        Ok(&self.bytes[at..at + len])
    }
}

/// A group of records that were verified, as it goes to an offset of a segment: its header, and all its bytes.
pub(crate) fn group_of(
    file: &SegmentFile,
    offset: u64,
    first_lsn: Lsn,
    count: u32,
    durable_before: Lsn,
    payload: &[u8],
) -> (GroupHeader, Vec<u8>) {
    let header = GroupHeader {
        records_crc: records_crc(file.salt, &record_crcs(payload)),
        salt: file.salt,
        id: file.id,
        offset,
        first_lsn,
        durable_before,
        count,
        payload_bytes: u32::try_from(payload.len()).expect("a group fits its segment"),
    };
    let mut bytes = Vec::with_capacity(GROUP_HEADER_BYTES + payload.len() + file.sector_bytes as usize);
    bytes.extend_from_slice(&header.encode());
    bytes.extend_from_slice(payload);
    bytes.resize(bytes.len().next_multiple_of(file.sector_bytes as usize), 0);
    (header, bytes)
}

/// Where and why a group is not what was written.
#[derive(Clone, Debug)]
pub(crate) struct Bad {
    pub(crate) offset: u64,
    pub(crate) lsn: Lsn,
    pub(crate) reason: &'static str,
}

/// A record whose lengths and position are right, and whose checksums nobody has looked at.
#[derive(Debug)]
pub(crate) struct Framed<'a> {
    pub(crate) record: Record<'a>,
    pub(crate) place: RecordPlace,
}

impl Framed<'_> {
    pub(crate) fn verify(&self) -> Result<(), Bad> {
        let bad = |reason| Bad { offset: self.place.offset, lsn: self.record.lsn, reason };
        self.record.verify().map(|_| ()).map_err(bad)
    }
}

/// A group whose header is valid.
#[derive(Debug)]
pub(crate) struct Group<'a> {
    pub(crate) header: GroupHeader,
    segment: SegmentId,
    payload: &'a [u8],
}

impl<'a> Group<'a> {
    /// Reads the group at `offset`; `None` if no header of this segment is there or it does not fit.
    pub(crate) fn read(
        file: &SegmentFile,
        window: &'a mut Window,
        offset: u64,
    ) -> Result<Option<Self>, LogError> {
        if offset + u64::from(file.sector_bytes) > file.groups_end() {
            return Ok(None);
        }
        let bytes = window.read(file, offset, file.capacity, GROUP_HEADER_BYTES)?;
        let Some(header) = GroupHeader::decode(bytes, file.id, file.salt, offset) else {
            return Ok(None);
        };
        if offset + header.bytes(file.sector_bytes) > file.groups_end() {
            return Ok(None);
        }
        let len = GROUP_HEADER_BYTES + header.payload_bytes as usize;
        let bytes = window.read(file, offset, file.capacity, len)?;
        Ok(Some(Self { header, segment: file.id, payload: &bytes[GROUP_HEADER_BYTES..] }))
    }

    /// Verifies everything; the time of the last record if it holds.
    pub(crate) fn check(&self, due: Lsn) -> Result<Micros, Bad> {
        let bad = |offset: u64, lsn: Lsn, reason| Bad { offset, lsn, reason };
        if self.header.first_lsn != due {
            return Err(bad(self.header.offset, due, "another group was due"));
        }
        // Each record takes 32 bytes at least, so what is counted here was there to be read.
        let mut crcs = Vec::with_capacity(4 * self.header.count as usize);
        let mut time = Micros(0);
        let mut at = 0;
        for (lsn, _) in (due.0..).zip(0..self.header.count) {
            let offset = self.header.offset + (GROUP_HEADER_BYTES + at) as u64;
            let (record, crc) =
                Record::decode(&self.payload[at..]).map_err(|reason| bad(offset, Lsn(lsn), reason))?;
            if record.lsn.0 != lsn {
                return Err(bad(offset, Lsn(lsn), "another record was due"));
            }
            if record.time < time {
                return Err(bad(offset, Lsn(lsn), "time runs backwards"));
            }
            time = record.time;
            crcs.extend_from_slice(&crc);
            at += record.bytes();
        }
        if at != self.payload.len() {
            return Err(bad(self.header.offset, due, "a group has bytes beyond its records"));
        }
        if records_crc(self.header.salt, &crcs) != self.header.records_crc {
            return Err(bad(self.header.offset, due, "the checksum of a group is wrong"));
        }
        Ok(time)
    }

    /// The records of a group that was checked.
    pub(crate) fn records(&self) -> impl Iterator<Item = (Record<'a>, RecordPlace)> + use<'a> {
        let payload = self.payload;
        let (segment, start) = (self.segment, self.header.offset + GROUP_HEADER_BYTES as u64);
        let mut at = 0;
        std::iter::from_fn(move || {
            let bytes = record_bytes(&payload[at..])?;
            let record = Record::view(&payload[at..at + bytes]);
            let place = RecordPlace {
                segment,
                offset: start + at as u64,
                bytes: u32::try_from(bytes).expect("read from 32 bits"),
            };
            at += bytes;
            Some((record, place))
        })
    }

    /// The records of a group, each framed, with its place, and not verified. Ends with the first that
    /// cannot be framed.
    pub(crate) fn frames(&self) -> impl Iterator<Item = Result<Framed<'a>, Bad>> + use<'a> {
        let payload = self.payload;
        let (segment, start) = (self.segment, self.header.offset + GROUP_HEADER_BYTES as u64);
        let mut at = 0;
        let mut lsn = self.header.first_lsn;
        std::iter::from_fn(move || {
            let rest = payload.get(at..).filter(|rest| !rest.is_empty())?;
            let offset = start + at as u64;
            let bad = |reason| Bad { offset, lsn, reason };
            let record = match Record::frame(rest) {
                Ok(record) if record.lsn == lsn => record,
                Ok(_) => return Some(Err(bad("another record was due"))),
                Err(reason) => return Some(Err(bad(reason))),
            };
            let length = u32::try_from(record.bytes()).expect("read from 32 bits");
            at += record.bytes();
            lsn = lsn.next();
            Some(Ok(Framed { record, place: RecordPlace { segment, offset, bytes: length } }))
        })
    }

    pub(crate) fn payload(&self) -> &'a [u8] {
        self.payload
    }
}
