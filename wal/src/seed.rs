//! A log made of records that were kept elsewhere. The form of its files is described in `format.rs`.
//!
//! `clear -> segments -> names -> list`. The list makes a log of the segments, and is made when everything in them and
//! their names are durable: before, nothing in the folder is a log, and the next seed starts over.

use crate::disk::{Disk, OpenMode};
use crate::error::LogError;
use crate::format::{
    LIST_PATH, LOG_DIR, ListEntry, ListState, SECTOR_BYTES, SECTORS_MIN, SEGMENT_HEADER_BYTES, Seal,
    SegmentHeader, group_bytes, sector, segment_of_name, segment_path,
};
use crate::group::{WINDOW_BYTES, group_of};
use crate::ids::{Epoch, Lsn, Micros, SegmentId};
use crate::keeper::not_made;
use crate::list::{self, FIRST_GENERATION, ListFile};
use crate::log::Log;
use crate::options::LogOptions;
use crate::piece::records_after;
use crate::segment::SegmentFile;
use crate::sync::Arc;
use std::io;

/// What hands out one piece of a log after the other.
pub type Pieces<'a> = dyn FnMut() -> Result<Option<Vec<u8>>, LogError> + 'a;

impl Log {
    /// Makes a log that holds exactly the records of these pieces, which follow the record `after` of the time `last_time`
    /// without a gap; there may be none. Returns the last record. Everything is durable on return, and
    /// [`recover`](Self::recover) with `after` as the floor finds it.
    ///
    /// The log is as if it had been written and closed in the epoch [`epoch_min`](LogOptions::epoch_min) (1 if that is
    /// 0), so its first start is in a higher one. Every record is verified; one piece is in memory at a time. What an
    /// earlier seed left in the folder is removed, whether it ended or not, unless the log was started since. Until this
    /// one ends there is no log, or one that recovery calls damaged, but never a part of this one.
    ///
    /// # Errors
    /// `Io` of the kind `AlreadyExists` if there is a log that was started; nothing was changed. `Damaged` if a piece is
    /// none or does not follow, whatever `pieces` returns, `NoSpace`, `Io`, `Poisoned`: seed again.
    pub fn seed(
        disk: &Arc<dyn Disk>,
        options: &LogOptions,
        after: Lsn,
        last_time: Micros,
        pieces: &mut Pieces<'_>,
    ) -> Result<Lsn, LogError> {
        list::make_folder(&**disk)?;
        clear(&**disk)?;
        let epoch = options.epoch_min.max(Epoch(1));
        let mut seed =
            Seed { disk: &**disk, options, epoch, last: after, last_time, entries: Vec::new(), open: None };
        while let Some(piece) = pieces()? {
            seed.add(&piece)?;
        }
        let last = seed.last;
        let entries = seed.finish()?;
        ListFile::create(Arc::clone(disk), options.engine, epoch, entries)?;
        Ok(last)
    }
}

/// Removes what an earlier seed left.
fn clear(disk: &dyn Disk) -> Result<(), LogError> {
    let exists = || LogError::io("make", LOG_DIR, io::ErrorKind::AlreadyExists.into());
    let is_listed = match list::read(disk)? {
        list::Found::Missing => false,
        list::Found::Whole(list, _) if list.generation == FIRST_GENERATION => true,
        list::Found::Whole(..) | list::Found::Broken => return Err(exists()),
    };
    let names = disk.list(LOG_DIR).map_err(|error| LogError::io("list", LOG_DIR, error))?;
    let left: Vec<SegmentId> = names.iter().filter_map(|name| segment_of_name(name)).collect();
    for id in &left {
        if generation(disk, *id)?.is_some_and(|generation| generation > FIRST_GENERATION) {
            return Err(exists());
        }
    }
    let sync = || disk.sync_dir(LOG_DIR).map_err(|error| LogError::io("sync", LOG_DIR, error));
    let remove = |path: &str| disk.remove(path).map_err(|error| LogError::io("remove", path, error));
    if is_listed {
        // First, and for certain: a list without its segments would be damage for ever.
        remove(LIST_PATH)?;
        sync()?;
    }
    for id in &left {
        remove(&segment_path(*id))?;
    }
    if left.is_empty() { Ok(()) } else { sync() }
}

/// The generation of the list that a segment's header knows.
fn generation(disk: &dyn Disk, id: SegmentId) -> Result<Option<u64>, LogError> {
    let entry = ListEntry { id, salt: 0, capacity: 0, state: ListState::Spare };
    let file = SegmentFile::open(disk, &entry, SECTOR_BYTES, OpenMode::Read)
        .map_err(|error| LogError::io("open", &segment_path(id), error))?;
    let mut bytes = [0; SEGMENT_HEADER_BYTES];
    file.read(&mut bytes, 0)?;
    Ok(SegmentHeader::decode(&bytes).ok().map(|header| header.list_generation))
}

/// A log in the making.
struct Seed<'a> {
    disk: &'a dyn Disk,
    options: &'a LogOptions,
    epoch: Epoch,
    last: Lsn,
    last_time: Micros,
    /// The segments that are finished.
    entries: Vec<ListEntry>,
    /// The segment that is filled.
    open: Option<Filling>,
}

/// A segment that is filled. It gets its capacity when it is full.
struct Filling {
    file: SegmentFile,
    first_lsn: Lsn,
    /// Where the next group goes.
    end: u64,
}

impl Seed<'_> {
    /// Adds the records of a piece, in groups that a reader takes at once.
    fn add(&mut self, piece: &[u8]) -> Result<(), LogError> {
        let mut records = records_after(piece, self.last, self.last_time);
        let (mut start, mut count) = (0, 0);
        while let Some(record) = records.next() {
            let time = record?.time;
            count += 1;
            if records.offset() - start >= WINDOW_BYTES || records.offset() == piece.len() {
                self.add_group(&piece[start..records.offset()], count, time)?;
                (start, count) = (records.offset(), 0);
            }
        }
        Ok(())
    }

    /// Writes the group of these records, of which the last has this time.
    fn add_group(&mut self, payload: &[u8], count: u32, time: Micros) -> Result<(), LogError> {
        let needed = group_bytes(payload.len() as u64, SECTOR_BYTES) + u64::from(SECTOR_BYTES);
        let max = self.options.segment_bytes_max;
        let mut open = match self.open.take() {
            Some(open) if open.end + needed <= max => open,
            Some(full) => {
                self.finish_segment(full)?;
                self.begin_segment()?
            }
            None => self.begin_segment()?,
        };
        // The list, which makes a log of this, vouches for all of it.
        let before = self.last;
        let (header, bytes) = group_of(&open.file, open.end, before.next(), count, before, payload);
        self.write(&open.file, &bytes, open.end)?;
        // Only a hint: what it cannot start the sync of the segment does.
        let _ = open.file.file.start_writeback(open.end, bytes.len() as u64);
        open.end += bytes.len() as u64;
        self.open = Some(open);
        (self.last, self.last_time) = (header.last_lsn(), time);
        Ok(())
    }

    fn begin_segment(&self) -> Result<Filling, LogError> {
        let entry = ListEntry {
            id: SegmentId(self.entries.len() as u64 + 1),
            salt: (self.options.random)(),
            capacity: 0,
            state: ListState::Used,
        };
        let file = SegmentFile::open(self.disk, &entry, SECTOR_BYTES, OpenMode::CreateNew)
            .map_err(|error| not_made(self.disk, &segment_path(entry.id), u64::from(SECTOR_BYTES), error))?;
        Ok(Filling { end: file.first_offset(), file, first_lsn: self.last.next() })
    }

    /// Ends a segment with a seal, gives it its header, and syncs it.
    fn finish_segment(&mut self, full: Filling) -> Result<(), LogError> {
        let Filling { mut file, first_lsn, end } = full;
        let sector_bytes = u64::from(SECTOR_BYTES);
        let seal = Seal { salt: file.salt, id: file.id, offset: end, durable: self.last, closed: true };
        self.write(&file, &sector(&seal.encode()), end)?;
        file.capacity = end + sector_bytes;
        if file.capacity < SECTORS_MIN * sector_bytes {
            self.write(&file, &sector(&[]), file.capacity)?;
            file.capacity += sector_bytes;
        }
        let before = self.entries.last();
        let header = SegmentHeader {
            id: file.id,
            salt: file.salt,
            engine: self.options.engine,
            epoch: self.epoch,
            order: self.entries.len() as u64 + 1,
            previous_id: before.map_or(SegmentId(0), |before| before.id),
            previous_salt: before.map_or(0, |before| before.salt),
            last_accepted: self.last,
            first_lsn,
            last_time: self.last_time,
            capacity: file.capacity,
            list_generation: FIRST_GENERATION,
            sector_bytes: SECTOR_BYTES,
        };
        self.write(&file, &sector(&header.encode()), 0)?;
        file.file.sync_all().map_err(|error| LogError::io("sync", &file.path, error))?;
        self.entries.push(file.entry(ListState::Used));
        Ok(())
    }

    /// Ends the last segment, and makes the names of all durable: what the list says of them.
    fn finish(mut self) -> Result<Vec<ListEntry>, LogError> {
        // A log without records still has a segment: it says which record comes first.
        if let Some(last) = self.open.take() {
            self.finish_segment(last)?;
        } else if self.entries.is_empty() {
            let empty = self.begin_segment()?;
            self.finish_segment(empty)?;
        }
        self.disk.sync_dir(LOG_DIR).map_err(|error| LogError::io("sync", LOG_DIR, error))?;
        Ok(self.entries)
    }

    fn write(&self, file: &SegmentFile, bytes: &[u8], offset: u64) -> Result<(), LogError> {
        let failed = |error| not_made(self.disk, &file.path, bytes.len() as u64, error);
        file.file.write_all_at(bytes, offset).map_err(failed)
    }
}
