//! Segments: files of fixed size, and what is known of those that are in use.

use crate::batch::Mark;
use crate::disk::{Disk, DiskFile, OpenMode};
use crate::error::LogError;
use crate::format::{
    GROUP_HEADER_BYTES, GroupHeader, ListEntry, ListState, RECORD_HEADER_BYTES, group_bytes, segment_path,
};
use crate::group::{Bad, Group, WINDOW_BYTES, Window};
use crate::ids::{Lsn, SegmentId};
use crate::record::{OwnedRecord, Record, record_bytes, record_lsn};
use crate::recover::{Visit, Wanted};
use crate::sync::{Arc, Mutex};
use std::fmt;
use std::io;

/// An open segment file under one salt.
pub(crate) struct SegmentFile {
    pub(crate) id: SegmentId,
    pub(crate) salt: u64,
    pub(crate) capacity: u64,
    pub(crate) sector_bytes: u32,
    pub(crate) path: String,
    pub(crate) file: Box<dyn DiskFile>,
}

impl fmt::Debug for SegmentFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SegmentFile({}, {} bytes, salt {:x})", self.path, self.capacity, self.salt)
    }
}

impl SegmentFile {
    /// Opens a listed segment.
    pub(crate) fn open(
        disk: &dyn Disk,
        entry: &ListEntry,
        sector_bytes: u32,
        mode: OpenMode,
    ) -> io::Result<Self> {
        let path = segment_path(entry.id);
        let file = disk.open(&path, mode)?;
        Ok(Self { id: entry.id, salt: entry.salt, capacity: entry.capacity, sector_bytes, path, file })
    }

    /// Opens a segment for a new life; `None` if it is not fit for one: it cannot be opened, is shorter than it should be,
    /// or has a hole, as what was closed has behind its end, and what was copied may have where zeros were. Groups go to
    /// room that was written before only. There the file system has nothing to allocate, so a group that has its place
    /// never finds the disk full; and nothing to note in its own journal, which if it fails is not told by every sync:
    /// ext4's `fdatasync` succeeds though the extent it wrote to stays marked as never written (seen with Linux 6.18).
    pub(crate) fn renew(disk: &dyn Disk, entry: &ListEntry, salt: u64, sector_bytes: u32) -> Option<Self> {
        let renewed =
            Self::open(disk, &ListEntry { salt, ..*entry }, sector_bytes, OpenMode::ReadWrite).ok()?;
        let whole = renewed.file.len().is_ok_and(|len| len >= entry.capacity);
        let written = renewed.file.is_written(entry.capacity).unwrap_or(false);
        (whole && written && renewed.takes(1)).then_some(renewed)
    }

    pub(crate) fn entry(&self, state: ListState) -> ListEntry {
        ListEntry { id: self.id, salt: self.salt, capacity: self.capacity, state }
    }

    /// Where the first group goes.
    pub(crate) fn first_offset(&self) -> u64 {
        u64::from(self.sector_bytes)
    }

    /// Where the last group must have ended: one sector is kept for a seal.
    pub(crate) fn groups_end(&self) -> u64 {
        self.capacity - u64::from(self.sector_bytes)
    }

    /// Whether a record of this size fits when the segment is new.
    pub(crate) fn takes(&self, record_bytes: u64) -> bool {
        self.first_offset() + group_bytes(record_bytes, self.sector_bytes) <= self.groups_end()
    }

    /// Fills `bytes` from `offset` on; what is beyond the end of the file reads as zeros.
    pub(crate) fn read(&self, bytes: &mut [u8], offset: u64) -> Result<(), LogError> {
        match self.file.read_exact_at(bytes, offset) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => self.read_short(bytes, offset),
            other => other,
        }
        .map_err(|error| LogError::io("read", &self.path, error))
    }

    fn read_short(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        let rest = self.file.len()?.saturating_sub(offset);
        let there = usize::try_from(rest).unwrap_or(usize::MAX).min(bytes.len());
        bytes[there..].fill(0);
        if there == 0 {
            return Ok(());
        }
        self.file.read_exact_at(&mut bytes[..there], offset)
    }

    pub(crate) fn damaged(&self, offset: u64, lsn: Lsn, reason: impl Into<String>) -> LogError {
        LogError::damaged(&self.path, offset, Some(lsn), reason)
    }
}

/// Capacity of a segment that a record of this size fits in.
pub(crate) fn capacity_for(record_bytes: u64, sector_bytes: u32) -> u64 {
    group_bytes(record_bytes, sector_bytes) + 2 * u64::from(sector_bytes)
}

/// A segment that holds records, or is about to.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) file: SegmentFile,
    pub(crate) first_lsn: Lsn,
    /// Whether it is the one that was kept for the system.
    pub(crate) is_reserve: bool,
    /// Whether its header was durable before it was served. Else that goes out with its first group.
    pub(crate) has_header: bool,
    index: Mutex<Index>,
}

/// Where the durable groups of a segment are.
#[derive(Debug, Default)]
struct Index {
    groups: Vec<GroupPlace>,
    /// Some records in the middle of large groups.
    marks: Vec<Mark>,
    /// Whether the groups that recovery did not read are in it.
    complete: bool,
}

/// A group, in 16 bytes: a log of small groups has one for each sector.
#[derive(Clone, Copy, Debug)]
pub(crate) struct GroupPlace {
    pub(crate) first_lsn: Lsn,
    sector: u32,
    payload_bytes: u32,
}

impl GroupPlace {
    pub(crate) fn new(header: &GroupHeader, sector_bytes: u32) -> Self {
        let sector = header.offset / u64::from(sector_bytes);
        Self {
            first_lsn: header.first_lsn,
            sector: u32::try_from(sector).expect("a segment has fewer sectors than 2^32"),
            payload_bytes: header.payload_bytes,
        }
    }

    fn offset(&self, sector_bytes: u32) -> u64 {
        u64::from(self.sector) * u64::from(sector_bytes)
    }

    fn end(&self, sector_bytes: u32) -> u64 {
        self.offset(sector_bytes) + group_bytes(u64::from(self.payload_bytes), sector_bytes)
    }
}

impl Segment {
    pub(crate) fn new(file: SegmentFile, first_lsn: Lsn, is_reserve: bool) -> Self {
        let index = Mutex::new(Index { complete: true, ..Index::default() });
        Self { file, first_lsn, is_reserve, has_header: false, index }
    }

    /// A segment as recovery found it; `groups` is `None` if it did not read it.
    pub(crate) fn recovered(file: SegmentFile, first_lsn: Lsn, groups: Option<Vec<GroupPlace>>) -> Self {
        let index =
            Index { complete: groups.is_some(), groups: groups.unwrap_or_default(), marks: Vec::new() };
        Self { file, first_lsn, is_reserve: false, has_header: true, index: Mutex::new(index) }
    }

    /// Adds a group that is durable now.
    pub(crate) fn add(&self, header: &GroupHeader, marks: &[Mark]) {
        let mut index = self.index.lock();
        debug_assert!(index.groups.last().is_none_or(|last| last.first_lsn < header.first_lsn));
        index.groups.push(GroupPlace::new(header, self.file.sector_bytes));
        index.marks.extend_from_slice(marks);
    }

    /// Reads one record that is durable in this segment.
    pub(crate) fn read(&self, lsn: Lsn) -> Result<OwnedRecord, LogError> {
        let mut walk = self.walk(lsn, POINT_READ_BYTES)?;
        Ok(walk.next()?.expect("a walk begins with a record").into())
    }

    /// A walk through the group of a durable record, from that record on, which is there. Reads so many bytes at once.
    pub(crate) fn walk(&self, lsn: Lsn, window_bytes: usize) -> Result<Walk<'_>, LogError> {
        let (offset, end) = self.nearest(lsn)?;
        let mut walk = Walk { file: &self.file, window: Window::new(window_bytes), offset, end, due: lsn };
        // From header to header; nothing is verified that is not wanted.
        while let Some((found, bytes)) = walk.header()? {
            if found == lsn {
                return Ok(walk);
            }
            walk.offset += bytes as u64;
        }
        Err(self.file.damaged(walk.offset, lsn, "the record is not in its group"))
    }

    /// About how many bytes of records there are after a record, of groups that are durable. Looks at each group behind it. Reads no file: of a segment that
    /// nobody looked into yet, it is all that may be there.
    pub(crate) fn bytes_after(&self, after: Lsn) -> u64 {
        let index = self.index.lock();
        if !index.complete {
            return self.file.capacity;
        }
        let next = index.groups.partition_point(|group| group.first_lsn <= after.next());
        let [first, rest @ ..] = &index.groups[next.saturating_sub(1)..] else { return 0 };
        let marks = index.marks.partition_point(|mark| mark.lsn <= after.next());
        let mark = index.marks.get(marks.wrapping_sub(1)).map_or(0, |mark| mark.offset);
        let start = first.offset(self.file.sector_bytes) + GROUP_HEADER_BYTES as u64;
        // Without what fills groups up to whole sectors: where commits come one by one, that is most of the log.
        let first = u64::from(first.payload_bytes).saturating_sub(mark.saturating_sub(start));
        first + rest.iter().map(|group| u64::from(group.payload_bytes)).sum::<u64>()
    }

    /// The last known place at or before a record, and the end of its group.
    fn nearest(&self, lsn: Lsn) -> Result<(u64, u64), LogError> {
        self.complete()?;
        let index = self.index.lock();
        let after = index.groups.partition_point(|group| group.first_lsn <= lsn);
        let missing = || self.file.damaged(0, lsn, "the record is not in its segment");
        let group = index.groups.get(after.wrapping_sub(1)).ok_or_else(missing)?;
        let start = group.offset(self.file.sector_bytes) + GROUP_HEADER_BYTES as u64;
        let marks = index.marks.partition_point(|mark| mark.lsn <= lsn);
        let mark = index.marks.get(marks.wrapping_sub(1)).map_or(0, |mark| mark.offset);
        Ok((start.max(mark), start + u64::from(group.payload_bytes)))
    }

    /// Visits the durable records after `after`, up to `through` or the end of what is known, in order: those that are
    /// `wanted`, each verified. Returns the last record it came by.
    pub(crate) fn scan(
        &self,
        after: Lsn,
        through: Lsn,
        wanted: &mut Wanted<'_>,
        visit: &mut Visit<'_>,
    ) -> Result<Lsn, LogError> {
        self.complete()?;
        let mut at = {
            let index = self.index.lock();
            index.groups.partition_point(|group| group.first_lsn <= after.next()).saturating_sub(1)
        };
        let damaged = |bad: Bad| self.file.damaged(bad.offset, bad.lsn, bad.reason);
        let mut window = Window::new(WINDOW_BYTES);
        let mut last = after;
        let mut due: Option<Lsn> = None;
        loop {
            let next = self.index.lock().groups.get(at).copied();
            let Some(place) = next.filter(|group| group.first_lsn <= through) else {
                return Ok(last);
            };
            let offset = place.offset(self.file.sector_bytes);
            let wrong = || self.file.damaged(offset, place.first_lsn, "a group is not what was written");
            let group = Group::read(&self.file, &mut window, offset)?.ok_or_else(wrong)?;
            if group.header.first_lsn != due.unwrap_or(place.first_lsn) {
                return Err(wrong());
            }
            due = Some(group.header.last_lsn().next());
            let mut count = 0;
            for framed in group.frames() {
                let framed = framed.map_err(damaged)?;
                count += 1;
                if framed.record.lsn <= after || framed.record.lsn > through {
                    continue;
                }
                last = framed.record.lsn;
                if wanted(&framed.record) {
                    framed.verify().map_err(damaged)?;
                    visit(&framed.record, framed.place)?;
                }
            }
            if count != group.header.count {
                return Err(wrong());
            }
            at += 1;
        }
    }

    /// Where its groups end. All of it, if they cannot be read.
    pub(crate) fn end(&self) -> u64 {
        if self.complete().is_err() {
            return self.file.capacity;
        }
        let sector_bytes = self.file.sector_bytes;
        let index = self.index.lock();
        index.groups.last().map_or(self.file.first_offset(), |group| group.end(sector_bytes))
    }

    /// Finds the groups of a segment that recovery had no reason to read.
    fn complete(&self) -> Result<(), LogError> {
        let mut index = self.index.lock();
        if index.complete {
            return Ok(());
        }
        let mut offset = self.file.first_offset();
        let mut due = self.first_lsn;
        let mut groups = Vec::new();
        let mut bytes = [0; GROUP_HEADER_BYTES];
        while offset < self.file.groups_end() {
            self.file.read(&mut bytes, offset)?;
            let header = GroupHeader::decode(&bytes, self.file.id, self.file.salt, offset);
            let Some(header) = header.filter(|header| header.first_lsn == due) else { break };
            groups.push(GroupPlace::new(&header, self.file.sector_bytes));
            due = header.last_lsn().next();
            offset += header.bytes(self.file.sector_bytes);
        }
        index.groups = groups;
        index.complete = true;
        Ok(())
    }
}

/// Where a reader of a group is.
#[derive(Debug)]
pub(crate) struct Walk<'a> {
    file: &'a SegmentFile,
    window: Window,
    offset: u64,
    /// Where the group's records end.
    end: u64,
    due: Lsn,
}

impl Walk<'_> {
    /// Position and bytes of the record that is here; `None` at the end of the group.
    fn header(&mut self) -> Result<Option<(Lsn, usize)>, LogError> {
        let Self { file, offset, end, due, .. } = *self;
        if offset >= end {
            return Ok(None);
        }
        let header = self.window.read(file, offset, end, RECORD_HEADER_BYTES)?;
        match record_bytes(header).filter(|bytes| offset + *bytes as u64 <= end && record_lsn(header) <= due)
        {
            Some(bytes) => Ok(Some((record_lsn(header), bytes))),
            None => Err(file.damaged(offset, due, "a record's header is wrong")),
        }
    }

    /// Bytes of the record that comes next; `None` at the end of the group.
    pub(crate) fn bytes(&mut self) -> Result<Option<usize>, LogError> {
        match self.header()? {
            Some((found, _)) if found < self.due => {
                Err(self.file.damaged(self.offset, self.due, "another record was due"))
            }
            other => Ok(other.map(|(_, bytes)| bytes)),
        }
    }

    /// The record that comes next, verified; `None` at the end of the group.
    pub(crate) fn next(&mut self) -> Result<Option<Record<'_>>, LogError> {
        let Some(bytes) = self.bytes()? else { return Ok(None) };
        let Self { file, offset, end, due, .. } = *self;
        let read = self.window.read(file, offset, end, bytes)?;
        let (record, _) = Record::decode(read).map_err(|reason| file.damaged(offset, due, reason))?;
        self.offset += bytes as u64;
        self.due = due.next();
        Ok(Some(record))
    }
}

/// Bytes read at once for one record. Source: a guess; marks are as far apart.
const POINT_READ_BYTES: usize = 16 << 10;

/// A segment shared by the log and those who read it.
pub(crate) type SharedSegment = Arc<Segment>;
