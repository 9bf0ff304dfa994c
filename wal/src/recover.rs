//! Reading the log after a stop of any kind. Changes no byte.
//!
//! `list -> headers -> order -> groups -> end -> what nothing vouches for`: one function each, in [`recover`]'s order.

use crate::classify::{EndCase, EndFound, HeaderFound, SegmentCase, There, classify_end, classify_segment};
use crate::disk::{Disk, OpenMode};
use crate::error::LogError;
use crate::format::{
    GROUP_HEADER_BYTES, GROUP_MAGIC, GroupHeader, LIST_PATH, LOG_DIR, List, ListEntry, ListState, NotValid,
    SEAL_BYTES, SEAL_MAGIC, SECTOR_BYTES, SECTORS_MIN, SEGMENT_HEADER_BYTES, Seal, SegmentHeader, VERSION,
    segment_of_name, segment_path,
};
use crate::group::{Group, WINDOW_BYTES, Window};
use crate::ids::{EngineId, Epoch, Lsn, Micros, SegmentId};
use crate::list;
use crate::options::{LogOptions, RecordPlace, Recovery};
use crate::planted::{self, Bug};
use crate::record::Record;
use crate::segment::{GroupPlace, Segment, SegmentFile};
use std::collections::VecDeque;
use std::io;

/// What is called for every record, in order.
pub type Visit<'a> = dyn FnMut(&Record<'_>, RecordPlace) -> Result<(), LogError> + 'a;
/// Whether a record is wanted, asked before it is verified.
pub type Wanted<'a> = dyn FnMut(&Record<'_>) -> bool + 'a;

/// Bytes at the start of a segment that seems unused which are searched for signs of use. Source: a header that was
/// lost leaves the first group right behind it; a small multiple of the largest sector is plenty.
const PROBE_BYTES: u64 = 256 << 10;

/// What recovery found. Start a [`Log`](crate::Log) with it.
#[derive(Debug)]
#[non_exhaustive]
pub struct Recovered {
    /// The first record that the log still holds; one above `last_lsn` if it holds none.
    pub first_lsn: Lsn,
    /// The last accepted record; 0 if there has never been one.
    pub last_lsn: Lsn,
    /// Its time, or that of the last record that was known when the newest segment was begun.
    pub last_time: Micros,
    /// The highest epoch that has written; 0 for a new log.
    pub epoch: Epoch,
    /// Records visited.
    pub records: u64,
    /// Bytes of the records visited.
    pub bytes: u64,
    /// Whether the log had been closed, not cut off.
    pub was_closed: bool,
    /// With [`Recovery::Salvage`]: the damage that ends the log.
    pub damage: Option<LogError>,
    pub(crate) engine: EngineId,
    /// `None` for a new log.
    pub(crate) list: Option<(List, u64)>,
    /// Segments that hold accepted records.
    pub(crate) live: VecDeque<Segment>,
    /// The header of the last of them.
    pub(crate) newest: Option<SegmentHeader>,
    /// Listed segments that were never used.
    pub(crate) idle: Vec<ListEntry>,
    /// Listed segments that were used and hold nothing that was accepted.
    pub(crate) dead: Vec<ListEntry>,
    /// Files of segments that are not listed.
    pub(crate) stray: Vec<SegmentId>,
    /// Accepted groups that nothing vouches for.
    pub(crate) unvouched: Vec<Unvouched>,
    /// Everything up to here is durable for certain.
    pub(crate) vouched: Lsn,
    /// Highest order of a segment.
    pub(crate) order: u64,
    /// Lowest id that no file has.
    pub(crate) next_id: u64,
}

/// A group that may be in the page cache only.
#[derive(Debug)]
pub(crate) struct Unvouched {
    pub(crate) header: GroupHeader,
    pub(crate) payload: Vec<u8>,
}

impl Recovered {
    fn empty(engine: EngineId) -> Self {
        Self {
            first_lsn: Lsn(1),
            last_lsn: Lsn(0),
            last_time: Micros(0),
            epoch: Epoch(0),
            records: 0,
            bytes: 0,
            was_closed: false,
            damage: None,
            engine,
            list: None,
            live: VecDeque::new(),
            newest: None,
            idle: Vec::new(),
            dead: Vec::new(),
            stray: Vec::new(),
            unvouched: Vec::new(),
            vouched: Lsn(0),
            order: 0,
            next_id: 1,
        }
    }

    /// Damage ends the log here: an error, or what salvage stops at.
    fn end_at(&mut self, damage: LogError, mode: Recovery) -> Result<(), LogError> {
        match (mode, &damage) {
            (Recovery::Salvage, LogError::Damaged { .. }) => {
                self.damage.get_or_insert(damage);
                Ok(())
            }
            _ => Err(damage),
        }
    }
}

/// A listed segment whose header is current.
struct InUse {
    entry: ListEntry,
    header: SegmentHeader,
    file: SegmentFile,
}

/// Reads the log. See [`Log::recover`](crate::Log::recover).
pub(crate) fn recover(
    disk: &dyn Disk,
    options: &LogOptions,
    floor: Lsn,
    mode: Recovery,
    visit: &mut Visit<'_>,
) -> Result<Recovered, LogError> {
    let mut found = Recovered::empty(options.engine);
    if let Some(list) = read_list(disk, &mut found, mode)? {
        let (in_use, unused) = read_headers(disk, &list, &mut found, mode)?;
        let mut reader = Reader { floor, mode, visit, found: &mut found, unused };
        reader.read_segments(in_use)?;
    }
    if floor > found.last_lsn {
        let reason =
            format!("the log ends with record {}, and records up to {floor} are known", found.last_lsn);
        let damage = LogError::damaged(LIST_PATH, 0, Some(found.last_lsn.next()), reason);
        found.end_at(damage, mode)?;
    }
    Ok(found)
}

/// The list, or `None` for a new log or one that cannot be salvaged at all.
fn read_list(disk: &dyn Disk, found: &mut Recovered, mode: Recovery) -> Result<Option<List>, LogError> {
    let names = match disk.list(LOG_DIR) {
        Ok(names) => names,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(LogError::io("list", LOG_DIR, error)),
    };
    let files: Vec<SegmentId> = names.iter().filter_map(|name| segment_of_name(name)).collect();
    found.next_id = files.iter().map(|id| id.0 + 1).max().unwrap_or(1);
    let damage = |reason: &str| LogError::damaged(LIST_PATH, 0, None, reason);
    let (list, slot_bytes) = match list::read(disk)? {
        list::Found::Whole(list, slot_bytes) => (list, slot_bytes),
        // The list is the first file of a new log: without segments nothing was ever written.
        list::Found::Missing if files.is_empty() => return Ok(None),
        list::Found::Missing => {
            found.end_at(damage("there are segments, and no list of them"), mode)?;
            return Ok(None);
        }
        list::Found::Broken => {
            found.end_at(damage("neither copy of the list is whole"), mode)?;
            return Ok(None);
        }
    };
    if list.engine != found.engine {
        return Err(LogError::OtherEngine {
            path: LIST_PATH.to_owned(),
            found: list.engine,
            expected: found.engine,
        });
    }
    found.stray = files.into_iter().filter(|id| list.entries.iter().all(|entry| entry.id != *id)).collect();
    found.next_id = list.entries.iter().map(|entry| entry.id.0 + 1).fold(found.next_id, u64::max);
    found.epoch = list.epoch;
    found.list = Some((list.clone(), slot_bytes));
    Ok(Some(list))
}

/// Sorts the listed segments into those in use, by order, and the others.
fn read_headers(
    disk: &dyn Disk,
    list: &List,
    found: &mut Recovered,
    mode: Recovery,
) -> Result<(Vec<InUse>, Vec<SegmentFile>), LogError> {
    let mut in_use = Vec::new();
    let mut unused = Vec::new();
    for entry in &list.entries {
        let path = segment_path(entry.id);
        let mut opened = open_listed(disk, entry)?;
        let mut header = Err(NotValid::Other);
        if let Some(file) = &opened {
            let mut bytes = [0; SEGMENT_HEADER_BYTES];
            file.read(&mut bytes, 0)?;
            header = SegmentHeader::decode(&bytes);
        }
        let kind = opened.as_ref().map(|_| match &header {
            Ok(header) if header.engine != list.engine => HeaderFound::OtherEngine,
            Ok(header) if is_current(header, entry) => HeaderFound::Current,
            Err(NotValid::Newer(_)) => HeaderFound::Newer,
            Ok(_) | Err(NotValid::Other) => HeaderFound::NotCurrent,
        });
        if let Ok(header) = &header {
            check_generation(header, list, found, mode)?;
        }
        match (classify_segment(kind, entry.state == ListState::Used), opened.take(), header) {
            (SegmentCase::InUse, Some(mut file), Ok(header)) => {
                file.sector_bytes = header.sector_bytes;
                let length = file.file.len().map_err(|error| LogError::io("read", &path, error))?;
                // A segment has its full length before it is listed, so one that is shorter was cut.
                if length < entry.capacity {
                    let reason =
                        format!("the segment has {length} bytes and was made with {}", entry.capacity);
                    found.end_at(LogError::damaged(&path, length, None, reason), mode)?;
                }
                found.order = found.order.max(header.order);
                found.epoch = found.epoch.max(header.epoch);
                in_use.push(InUse { entry: *entry, header, file });
            }
            (SegmentCase::Unused, Some(file), _) => {
                unused.push(file);
                found.idle.push(*entry);
            }
            (SegmentCase::OtherEngine, _, Ok(header)) => {
                return Err(LogError::OtherEngine { path, found: header.engine, expected: list.engine });
            }
            (SegmentCase::Newer, _, Err(NotValid::Newer(newer))) => {
                return Err(LogError::NewerVersion { path, found: newer, known: VERSION });
            }
            (SegmentCase::Missing, ..) => {
                found.end_at(LogError::damaged(&path, 0, None, "a listed segment is missing"), mode)?;
            }
            _ => {
                let damage = LogError::damaged(&path, 0, None, "the header of a used segment is lost");
                found.end_at(damage, mode)?;
            }
        }
    }
    for id in found.stray.clone() {
        let entry = ListEntry { id, salt: 0, capacity: 0, state: ListState::Spare };
        let mut bytes = [0; SEGMENT_HEADER_BYTES];
        if let Some(file) = open_listed(disk, &entry)? {
            file.read(&mut bytes, 0)?;
        }
        if let Ok(header) = SegmentHeader::decode(&bytes) {
            check_generation(&header, list, found, mode)?;
        }
    }
    in_use.sort_by_key(|segment| segment.header.order);
    Ok((in_use, unused))
}

/// A header is written after the list that it names is durable, so a list that is older has lost a generation.
fn check_generation(
    header: &SegmentHeader,
    list: &List,
    found: &mut Recovered,
    mode: Recovery,
) -> Result<(), LogError> {
    if header.engine != list.engine || header.list_generation <= list.generation {
        return Ok(());
    }
    let path = segment_path(header.id);
    let (here, there) = (list.generation, header.list_generation);
    let reason = format!("its newest generation is lost: {here} is here, {path} knows {there}");
    found.end_at(LogError::damaged(LIST_PATH, 0, None, reason), mode)
}

fn open_listed(disk: &dyn Disk, entry: &ListEntry) -> Result<Option<SegmentFile>, LogError> {
    match SegmentFile::open(disk, entry, SECTOR_BYTES, OpenMode::Read) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(LogError::io("open", &segment_path(entry.id), error)),
    }
}

fn is_current(header: &SegmentHeader, entry: &ListEntry) -> bool {
    header.id == entry.id && header.salt == entry.salt && header.capacity == entry.capacity
}

/// Walks the segments.
struct Reader<'a, 'b> {
    floor: Lsn,
    mode: Recovery,
    visit: &'a mut Visit<'b>,
    found: &'a mut Recovered,
    unused: Vec<SegmentFile>,
}

/// Where the groups of a segment stop.
struct Walked {
    /// The next record that is due.
    due: Lsn,
    /// Where it is.
    offset: u64,
    groups: Vec<GroupPlace>,
    /// The groups that no later one vouches for.
    unvouched: VecDeque<GroupHeader>,
    bad: Option<&'static str>,
}

impl Reader<'_, '_> {
    fn read_segments(&mut self, in_use: Vec<InUse>) -> Result<(), LogError> {
        // Each segment's header limits all before it: from its first record on they are dead.
        let mut wanted_through = vec![None; in_use.len()];
        let mut limit: Option<Lsn> = None;
        for (through, segment) in wanted_through.iter_mut().zip(&in_use).rev() {
            *through = limit;
            let before = Lsn(segment.header.first_lsn.0 - 1);
            limit = Some(limit.map_or(before, |limit| limit.min(before)));
        }
        let Some(first) = in_use.first() else {
            return self.end_without_segments();
        };
        let first_lsn = first.header.first_lsn.min(limit.unwrap_or_default().next());
        self.found.first_lsn = first_lsn;
        self.found.last_lsn = Lsn(first_lsn.0 - 1);
        if first_lsn > self.floor.next() {
            let reason =
                format!("the log begins with record {first_lsn}, and {} is needed", self.floor.next());
            let damage = first.file.damaged(0, self.floor.next(), reason);
            self.found.end_at(damage, self.mode)?;
        }
        // What headers say was durable when they were written.
        self.found.vouched =
            in_use.iter().map(|segment| segment.header.last_accepted).max().unwrap_or_default();
        for (segment, through) in in_use.into_iter().zip(wanted_through) {
            if self.found.damage.is_some() && !self.read_on_despite_damage(&segment) {
                break;
            }
            self.found.last_time = self.found.last_time.max(segment.header.last_time);
            self.check_gap(&segment, through)?;
            self.read_segment(segment, through)?;
        }
        Ok(())
    }

    /// A segment that is wanted begins right behind what was read before it.
    fn check_gap(&mut self, segment: &InUse, through: Option<Lsn>) -> Result<(), LogError> {
        let due = self.found.last_lsn.next();
        let dead = through.is_some_and(|through| through < segment.header.first_lsn);
        if dead || segment.header.first_lsn == due {
            return Ok(());
        }
        let reason = format!("the segment begins with record {}", segment.header.first_lsn);
        self.found.end_at(segment.file.damaged(0, due, reason), self.mode)
    }

    /// Salvage goes on as long as records follow each other without a gap.
    fn read_on_despite_damage(&self, segment: &InUse) -> bool {
        segment.header.first_lsn <= self.found.last_lsn.next()
    }

    /// A log without a used segment: new, or all of it is lost.
    fn end_without_segments(&mut self) -> Result<(), LogError> {
        self.search_unused(Lsn(1))
    }

    fn read_segment(&mut self, segment: InUse, through: Option<Lsn>) -> Result<(), LogError> {
        let InUse { entry, header, file } = segment;
        let last = through.unwrap_or(Lsn(u64::MAX));
        if last < header.first_lsn {
            // What was accepted of it was copied on.
            self.found.dead.push(entry);
            return Ok(());
        }
        if through.is_some() && last <= self.floor {
            // Not needed; that it is whole is not looked at either.
            self.found.last_lsn = last;
            self.found.live.push_back(Segment::recovered(file, header.first_lsn, None));
            self.found.newest = Some(header);
            return Ok(());
        }
        let walked = self.walk(&file, &header, last)?;
        self.found.last_lsn = Lsn(walked.due.0 - 1);
        self.judge_end(&file, &walked, through)?;
        if through.is_none() {
            self.keep_unvouched(&file, &walked)?;
        }
        if walked.groups.is_empty() {
            self.found.dead.push(entry);
        } else {
            let groups = Some(walked.groups);
            self.found.live.push_back(Segment::recovered(file, header.first_lsn, groups));
            self.found.newest = Some(header);
        }
        Ok(())
    }

    /// Accepts group after group, up to the record `last` or the first that is not valid.
    fn walk(&mut self, file: &SegmentFile, header: &SegmentHeader, last: Lsn) -> Result<Walked, LogError> {
        let mut window = Window::new(WINDOW_BYTES);
        let mut walked = Walked {
            due: header.first_lsn,
            offset: file.first_offset(),
            groups: Vec::new(),
            unvouched: VecDeque::new(),
            bad: None,
        };
        while walked.due <= last {
            let Some(group) = Group::read(file, &mut window, walked.offset)? else { break };
            let time = match group.check(walked.due) {
                Ok(time) if group.header.last_lsn() <= last => time,
                // Copies are made of whole groups, so no limit goes through one.
                Ok(_) => {
                    walked.bad = Some("a group reaches beyond what was accepted of it");
                    break;
                }
                Err(_) if planted::on(Bug::BadGroupSkipped) => {
                    walked.offset += group.header.bytes(file.sector_bytes);
                    walked.due = group.header.last_lsn().next();
                    continue;
                }
                Err(bad) => {
                    walked.bad = Some(bad.reason);
                    break;
                }
            };
            if group.header.last_lsn() > self.floor {
                for (record, place) in group.records().filter(|(record, _)| record.lsn > self.floor) {
                    (self.visit)(&record, place)?;
                    self.found.records += 1;
                    self.found.bytes += u64::from(place.bytes);
                }
            }
            self.found.last_time = self.found.last_time.max(time);
            self.found.vouched = self.found.vouched.max(group.header.durable_before);
            walked.unvouched.push_back(group.header.clone());
            while walked.unvouched.front().is_some_and(|old| old.last_lsn() <= self.found.vouched) {
                walked.unvouched.pop_front();
            }
            walked.groups.push(GroupPlace::new(&group.header, file.sector_bytes));
            walked.offset += group.header.bytes(file.sector_bytes);
            walked.due = group.header.last_lsn().next();
        }
        Ok(walked)
    }

    /// Decides what the end of a segment's groups is, by the table in `classify.rs`.
    fn judge_end(
        &mut self,
        file: &SegmentFile,
        walked: &Walked,
        through: Option<Lsn>,
    ) -> Result<(), LogError> {
        let mut sector = [0; SEAL_BYTES];
        file.read(&mut sector, walked.offset)?;
        let seal = Seal::decode(&sector, file.id, file.salt, walked.offset);
        let mut end = EndFound {
            next_reached: through.map(|last| walked.due > last),
            vouched: false,
            there: match &seal {
                Some(seal) if seal.closed => There::ClosingSeal,
                Some(_) => There::Seal,
                None => There::Other,
            },
        };
        if through.is_none() {
            let mut vouched = seal.map_or(Lsn(0), |seal| seal.durable).max(self.found.vouched);
            if end.there != There::ClosingSeal {
                vouched = vouched.max(search(file, walked.offset, file.capacity)?);
                vouched = vouched.max(self.search_all_unused()?);
            }
            end.vouched = vouched >= walked.due;
            self.found.vouched = vouched.min(Lsn(walked.due.0 - 1));
        }
        match classify_end(end) {
            EndCase::Damage if planted::on(Bug::MiddleTruncated) => Ok(()),
            EndCase::TornTail if planted::on(Bug::TornTailRefused) => {
                self.found.end_at(file.damaged(walked.offset, walked.due, "torn"), self.mode)
            }
            EndCase::Damage => {
                let reason = walked.bad.unwrap_or("a group that was acknowledged is not there");
                self.found.end_at(file.damaged(walked.offset, walked.due, reason), self.mode)
            }
            EndCase::Closed => {
                self.found.was_closed = true;
                Ok(())
            }
            EndCase::Superseded | EndCase::End | EndCase::TornTail => Ok(()),
        }
    }

    /// Reads again what nothing vouches for, so that it can be copied.
    fn keep_unvouched(&mut self, file: &SegmentFile, walked: &Walked) -> Result<(), LogError> {
        let mut window = Window::new(WINDOW_BYTES);
        for header in walked.unvouched.iter().filter(|header| header.last_lsn() > self.found.vouched) {
            let group = Group::read(file, &mut window, header.offset)?;
            let same = group.filter(|group| group.header == *header && group.check(header.first_lsn).is_ok());
            let Some(group) = same else {
                let reason = "the bytes changed while they were read";
                return Err(file.damaged(header.offset, header.first_lsn, reason));
            };
            self.found
                .unvouched
                .push(Unvouched { header: header.clone(), payload: group.payload().to_vec() });
        }
        Ok(())
    }

    /// What the segments that seem unused vouch for.
    fn search_all_unused(&self) -> Result<Lsn, LogError> {
        let mut vouched = Lsn(0);
        for file in &self.unused {
            if has_traces(file)? {
                vouched = vouched.max(search(file, 0, file.capacity)?);
            }
        }
        Ok(vouched)
    }

    fn search_unused(&mut self, due: Lsn) -> Result<(), LogError> {
        if self.search_all_unused()? >= due {
            let damage = LogError::damaged(LIST_PATH, 0, Some(due), "the headers of the segments are lost");
            return self.found.end_at(damage, self.mode);
        }
        Ok(())
    }
}

/// Whether the start of a segment without a current header has something that was written under its salt.
fn has_traces(file: &SegmentFile) -> Result<bool, LogError> {
    let mut found = false;
    each_sign(file, 0, PROBE_BYTES.min(file.capacity), &mut |_| found = true)?;
    Ok(found)
}

/// The highest LSN that a seal or a group header on any boundary from `from` on says was durable.
fn search(file: &SegmentFile, from: u64, to: u64) -> Result<Lsn, LogError> {
    let mut vouched = Lsn(0);
    each_sign(file, from, to, &mut |lsn| vouched = vouched.max(lsn))?;
    Ok(vouched)
}

fn each_sign(file: &SegmentFile, from: u64, to: u64, seen: &mut dyn FnMut(Lsn)) -> Result<(), LogError> {
    debug_assert!(file.capacity / u64::from(file.sector_bytes) >= SECTORS_MIN);
    let mut window = Window::new(SEARCH_BYTES);
    let head = GROUP_HEADER_BYTES.max(SEAL_BYTES);
    let mut offset = from;
    while offset + head as u64 <= to {
        let bytes = window.read(file, offset, to, head)?;
        if bytes[..8] == GROUP_MAGIC {
            if let Some(group) = GroupHeader::decode(bytes, file.id, file.salt, offset) {
                seen(group.durable_before);
            }
        } else if bytes[..8] == SEAL_MAGIC
            && let Some(seal) = Seal::decode(bytes, file.id, file.salt, offset)
        {
            seen(seal.durable);
        }
        offset += u64::from(file.sector_bytes);
    }
    Ok(())
}

/// Bytes read at once when a segment is searched.
const SEARCH_BYTES: usize = 1 << 20;
