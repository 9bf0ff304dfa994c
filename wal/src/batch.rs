//! One group while it is filled in memory.

use crate::format::{GROUP_HEADER_BYTES, GroupHeader, SEGMENT_HEADER_BYTES, group_bytes, records_crc};
use crate::ids::{Lsn, Micros};
use crate::planted::{self, Bug};
use crate::record::{OwnedRecord, Record, RecordBuilder, record_bytes};
use crate::segment::SharedSegment;

/// How far apart marks are in a large group, in bytes. Source: a guess; what one read of a record then has to walk.
const MARK_BYTES: u64 = 16 << 10;

/// Where in its file a record in the middle of a group starts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mark {
    pub(crate) lsn: Lsn,
    pub(crate) offset: u64,
}

/// Memory of a batch, to be used again.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    bytes: Vec<u8>,
    crcs: Vec<u8>,
    marks: Vec<Mark>,
}

/// Memory larger than this is given back. Source: a guess, some groups at the size where a flush is due.
const MEMORY_KEPT_BYTES: usize = 4 << 20;

/// The records of one group, and where it goes.
#[derive(Debug)]
pub(crate) struct Batch {
    pub(crate) segment: SharedSegment,
    /// Offset of the group in the segment.
    offset: u64,
    /// Bytes before the group: the segment's header, if this is its first group.
    lead: usize,
    first_lsn: Lsn,
    count: u32,
    memory: Memory,
    last_mark: u64,
    /// Set when it is sealed.
    pub(crate) header: Option<GroupHeader>,
}

impl Batch {
    /// An empty batch at `offset` of `segment`. With a segment header it goes out together with that.
    pub(crate) fn new(
        segment: SharedSegment,
        offset: u64,
        segment_header: Option<&[u8; SEGMENT_HEADER_BYTES]>,
        mut memory: Memory,
    ) -> Self {
        let mut lead = 0;
        memory.bytes.clear();
        memory.crcs.clear();
        memory.marks.clear();
        if let Some(header) = segment_header {
            lead = segment.file.sector_bytes as usize;
            assert_eq!(offset, lead as u64, "a segment's header goes out with its first group");
            memory.bytes.extend_from_slice(header);
            memory.bytes.resize(lead, 0);
        }
        memory.bytes.resize(lead + GROUP_HEADER_BYTES, 0);
        Self { segment, offset, lead, first_lsn: Lsn(0), count: 0, memory, last_mark: offset, header: None }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.count == 0
    }

    pub(crate) fn payload_bytes(&self) -> u64 {
        (self.memory.bytes.len() - self.lead - GROUP_HEADER_BYTES) as u64
    }

    /// Whether a record of this size fits into the segment behind what is here.
    pub(crate) fn takes(&self, record_bytes: u64) -> bool {
        let file = &self.segment.file;
        self.offset + group_bytes(self.payload_bytes() + record_bytes, file.sector_bytes) <= file.groups_end()
    }

    /// Where the next group goes.
    pub(crate) fn end(&self) -> u64 {
        if self.is_empty() {
            return self.offset;
        }
        self.offset + group_bytes(self.payload_bytes(), self.segment.file.sector_bytes)
    }

    pub(crate) fn append(&mut self, record: &RecordBuilder, lsn: Lsn, time: Micros) {
        if self.count == 0 {
            self.first_lsn = lsn;
        } else {
            let at = self.offset + (self.memory.bytes.len() - self.lead) as u64;
            if at - self.last_mark >= MARK_BYTES {
                self.last_mark = at;
                self.memory.marks.push(Mark { lsn, offset: at });
            }
        }
        let crc = record.write_to(lsn, time, &mut self.memory.bytes);
        self.memory.crcs.extend_from_slice(&crc);
        self.count += 1;
    }

    /// Writes the group's header and padding: from here on the bytes are as they go out.
    pub(crate) fn seal(&mut self, durable_before: Lsn) {
        assert!(self.count > 0 && self.header.is_none(), "a batch is sealed once, with records in it");
        if planted::on(Bug::RecordsSwapped) {
            let start = self.lead + GROUP_HEADER_BYTES;
            planted::swap_last_two(&mut self.memory.bytes[start..], &mut self.memory.crcs);
        }
        let file = &self.segment.file;
        let header = GroupHeader {
            records_crc: records_crc(file.salt, &self.memory.crcs),
            salt: file.salt,
            id: file.id,
            offset: self.offset,
            first_lsn: self.first_lsn,
            durable_before,
            count: self.count,
            payload_bytes: u32::try_from(self.payload_bytes()).expect("a group fits its segment"),
        };
        self.memory.bytes[self.lead..self.lead + GROUP_HEADER_BYTES].copy_from_slice(&header.encode());
        let padded = self.lead as u64 + header.bytes(file.sector_bytes);
        self.memory.bytes.resize(usize::try_from(padded).expect("it is in memory"), 0);
        self.header = Some(header);
    }

    /// Bytes of the records of a sealed batch.
    pub(crate) fn payload_bytes_sealed(&self) -> u64 {
        self.header.as_ref().map_or(0, |header| u64::from(header.payload_bytes))
    }

    /// The first record, and the first that is not in it.
    pub(crate) fn range(&self) -> (Lsn, Lsn) {
        (self.first_lsn, Lsn(self.first_lsn.0 + u64::from(self.count)))
    }

    /// What goes to the device, and where.
    pub(crate) fn output(&self) -> (&[u8], u64) {
        assert!(self.header.is_some(), "only a sealed batch goes out");
        (&self.memory.bytes, self.offset - self.lead as u64)
    }

    pub(crate) fn marks(&self) -> &[Mark] {
        &self.memory.marks
    }

    pub(crate) fn holds(&self, lsn: Lsn) -> bool {
        self.count > 0 && self.first_lsn <= lsn && lsn.0 < self.first_lsn.0 + u64::from(self.count)
    }

    /// Reads a record that is here.
    pub(crate) fn read(&self, lsn: Lsn) -> OwnedRecord {
        let marks = self.memory.marks.partition_point(|mark| mark.lsn <= lsn);
        let (mut next, mut at) = match marks.checked_sub(1) {
            Some(mark) => {
                let mark = self.memory.marks[mark];
                let at = usize::try_from(mark.offset - self.offset).expect("it is in memory");
                (mark.lsn, self.lead + at)
            }
            None => (self.first_lsn, self.lead + GROUP_HEADER_BYTES),
        };
        loop {
            let rest = &self.memory.bytes[at..];
            let bytes = record_bytes(rest).expect("records in memory are whole");
            if next == lsn {
                return Record::view(&rest[..bytes]).into();
            }
            next = next.next();
            at += bytes;
        }
    }

    /// Its memory, to be used again unless it has grown large.
    pub(crate) fn into_memory(self) -> Memory {
        if self.memory.bytes.capacity() > MEMORY_KEPT_BYTES { Memory::default() } else { self.memory }
    }
}
