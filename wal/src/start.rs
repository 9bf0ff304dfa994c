//! From what recovery found to a log that is written: a segment of its own, before anything is served.
//!
//! `spare -> list -> copies -> header -> serve`. The copies are synced before the header, because the header says that
//! they are durable; the header is synced before anything is served, because it says where earlier segments end. A start that
//! was killed on the way has left these in the page cache perhaps, so what the next one builds on is made durable first.

use crate::disk::{Disk, OpenMode};
use crate::error::LogError;
use crate::format::{
    GroupHeader, ListEntry, ListState, SECTOR_BYTES, SegmentHeader, group_bytes, sector, segment_path,
};
use crate::group::group_of;
use crate::ids::{Epoch, Lsn, SegmentId};
use crate::keeper::{Stock, first_capacity, make_segment};
use crate::list::{self, ListFile};
use crate::options::LogOptions;
use crate::planted::{self, Bug};
use crate::recover::{Recovered, Unvouched};
use crate::segment::{Segment, SegmentFile, SharedSegment};
use crate::sync::Arc;
use std::collections::VecDeque;

/// A log that is ready to be served.
#[derive(Debug)]
pub(crate) struct Started {
    pub(crate) epoch: Epoch,
    pub(crate) live: VecDeque<SharedSegment>,
    pub(crate) order: u64,
    /// Where in the last segment the first group goes.
    pub(crate) offset: u64,
    pub(crate) list_generation: u64,
    pub(crate) ready: VecDeque<SegmentFile>,
    pub(crate) reserve: Option<SegmentFile>,
    pub(crate) stock: Stock,
    pub(crate) fsyncs: u64,
    pub(crate) bytes_written: u64,
}

/// Begins a new epoch. See the head of this file.
pub(crate) fn start(
    disk: &Arc<dyn Disk>,
    options: &LogOptions,
    mut found: Recovered,
) -> Result<Started, LogError> {
    if let Some(damage) = found.damage {
        return Err(damage);
    }
    let epoch = Epoch(found.epoch.0 + 1).max(options.epoch_min);
    let mut list = match found.list.take() {
        Some((list, slot_bytes)) => ListFile::open(Arc::clone(disk), list, slot_bytes)?,
        None => {
            list::make_folder(&**disk)?;
            ListFile::create(Arc::clone(disk), options.engine, Epoch(0), Vec::new())?
        }
    };
    if let Some(newest) = &found.newest {
        settle(&**disk, newest)?;
    }
    let copy_bytes: u64 = found.unvouched.iter().map(|group| padded(group.payload.len())).sum();
    let mut spares = open_spares(disk, options, &found.idle);
    let (file, is_new) = match take_spare(&mut spares, copy_bytes) {
        Some(file) => (file, false),
        None => {
            let capacity = first_capacity(options, copy_bytes);
            let id = SegmentId(found.next_id);
            found.next_id += 1;
            let entry = ListEntry { id, salt: (options.random)(), capacity, state: ListState::Spare };
            (make_segment(&**disk, &entry, &mut || true)?, true)
        }
    };
    let file = SegmentFile { salt: if is_new { file.salt } else { (options.random)() }, ..file };

    // Every segment that is not used yet gets a new salt with this list: whatever an earlier epoch may have left in one
    // means nothing from here on. Those that were used keep theirs until the new header is durable.
    let mut entries: Vec<ListEntry> =
        found.live.iter().map(|segment| listed(segment, found.vouched)).collect();
    entries.extend(found.dead.iter().map(|dead| ListEntry { state: ListState::Spare, ..*dead }));
    entries.push(file.entry(ListState::Spare));
    entries.extend(spares.iter().map(|(file, state)| file.entry(*state)));
    list.set_epoch(epoch);
    list.write(entries)?;

    let mut written = Written::default();
    let groups = copy(&file, &found.unvouched, found.vouched, &mut written)?;
    let first_lsn = groups.first().map_or(found.last_lsn.next(), |group| group.first_lsn);
    let before = found.live.iter().rev().find(|segment| segment.first_lsn < first_lsn);
    let header = SegmentHeader {
        id: file.id,
        salt: file.salt,
        engine: options.engine,
        epoch,
        order: found.order + 1,
        previous_id: before.map_or(SegmentId(0), |segment| segment.file.id),
        previous_salt: before.map_or(0, |segment| segment.file.salt),
        last_accepted: found.last_lsn,
        first_lsn,
        last_time: found.last_time,
        capacity: file.capacity,
        list_generation: list.generation(),
        sector_bytes: SECTOR_BYTES,
    };
    written.write(&file, &sector(&header.encode()), 0)?;
    written.sync(&file)?;

    let (kept, superseded): (VecDeque<_>, VecDeque<_>) =
        found.live.into_iter().partition(|segment| segment.first_lsn < first_lsn);
    let mut dead = found.dead;
    dead.extend(superseded.iter().map(|segment| segment.file.entry(ListState::Spare)));
    let offset = file.first_offset() + copy_bytes;
    let mut segment = Segment::new(file, first_lsn, false);
    segment.has_header = true;
    for group in &groups {
        segment.add(group, &[]);
    }
    let mut live: VecDeque<SharedSegment> = kept.into_iter().map(Arc::new).collect();
    live.push_back(Arc::new(segment));
    let mut reserve = None;
    let mut ready = VecDeque::new();
    for (file, state) in spares {
        if state == ListState::Reserve && reserve.is_none() && options.reserve_bytes > 0 {
            reserve = Some(file);
        } else {
            ready.push_back(file);
        }
    }
    let stray = unusable(&found.idle, &live, &ready, reserve.as_ref(), found.stray);
    Ok(Started {
        epoch,
        live,
        order: header.order,
        offset,
        list_generation: list.generation(),
        ready,
        reserve,
        stock: Stock { list, next_id: found.next_id, dead, stray },
        fsyncs: written.fsyncs,
        bytes_written: written.bytes,
    })
}

/// Makes the header of the newest segment durable: the list will call that segment used, and then it has to be there. It is
/// written again, because a sync of it may have failed before. All earlier ones were durable before this one was written.
fn settle(disk: &dyn Disk, header: &SegmentHeader) -> Result<(), LogError> {
    let path = segment_path(header.id);
    let failed = |op| move |error| (op, error);
    let write = || {
        let file = disk.open(&path, OpenMode::ReadWrite).map_err(failed("open"))?;
        file.write_all_at(&sector(&header.encode()), 0).map_err(failed("write"))?;
        if planted::on(Bug::RecoveryNotSynced) {
            return Ok(());
        }
        file.sync_data().map_err(failed("sync"))
    };
    write().map_err(|(op, error)| LogError::io(op, &path, error))
}

fn padded(payload_bytes: usize) -> u64 {
    group_bytes(payload_bytes as u64, SECTOR_BYTES)
}

fn listed(segment: &Segment, vouched: Lsn) -> ListEntry {
    let used = segment.first_lsn <= vouched;
    segment.file.entry(if used { ListState::Used } else { ListState::Spare })
}

/// Opens the segments that were prepared and not used, under new salts. What is not fit for use is left out.
fn open_spares(
    disk: &Arc<dyn Disk>,
    options: &LogOptions,
    idle: &[ListEntry],
) -> Vec<(SegmentFile, ListState)> {
    let open = |entry: &ListEntry| {
        Some((SegmentFile::renew(&**disk, entry, (options.random)(), SECTOR_BYTES)?, entry.state))
    };
    idle.iter().filter_map(open).collect()
}

/// The smallest spare that takes the copies, and a little more.
fn take_spare(spares: &mut Vec<(SegmentFile, ListState)>, copy_bytes: u64) -> Option<SegmentFile> {
    let fits = |file: &SegmentFile| copy_bytes + 4 * u64::from(SECTOR_BYTES) <= file.capacity;
    let (at, _) = spares
        .iter()
        .enumerate()
        .filter(|(_, (file, state))| *state == ListState::Spare && fits(file))
        .min_by_key(|(_, (file, _))| file.capacity)?;
    Some(spares.swap_remove(at).0)
}

/// The files that the new list does not name.
fn unusable(
    idle: &[ListEntry],
    live: &VecDeque<SharedSegment>,
    ready: &VecDeque<SegmentFile>,
    reserve: Option<&SegmentFile>,
    mut stray: Vec<SegmentId>,
) -> Vec<SegmentId> {
    let taken = |id: SegmentId| {
        live.iter().any(|segment| segment.file.id == id)
            || ready.iter().any(|file| file.id == id)
            || reserve.is_some_and(|file| file.id == id)
    };
    stray.extend(idle.iter().map(|entry| entry.id).filter(|id| !taken(*id)));
    stray
}

/// Copies the groups that nothing vouches for, and makes the copies durable.
fn copy(
    file: &SegmentFile,
    groups: &[Unvouched],
    vouched: Lsn,
    written: &mut Written,
) -> Result<Vec<GroupHeader>, LogError> {
    let mut headers = Vec::with_capacity(groups.len());
    let mut offset = file.first_offset();
    for group in groups {
        let GroupHeader { first_lsn, count, .. } = group.header;
        // The copies do not vouch for each other: they are durable together.
        let (header, bytes) = group_of(file, offset, first_lsn, count, vouched, &group.payload);
        written.write(file, &bytes, offset)?;
        offset += bytes.len() as u64;
        headers.push(header);
    }
    if !headers.is_empty() {
        written.sync(file)?;
    }
    Ok(headers)
}

#[derive(Debug, Default)]
struct Written {
    fsyncs: u64,
    bytes: u64,
}

impl Written {
    fn write(&mut self, file: &SegmentFile, bytes: &[u8], offset: u64) -> Result<(), LogError> {
        self.bytes += bytes.len() as u64;
        file.file.write_all_at(bytes, offset).map_err(|error| LogError::io("write", &file.path, error))
    }

    fn sync(&mut self, file: &SegmentFile) -> Result<(), LogError> {
        self.fsyncs += 1;
        if planted::on(Bug::RecoveryNotSynced) {
            return Ok(());
        }
        file.file.sync_data().map_err(|error| LogError::io("sync", &file.path, error))
    }
}
