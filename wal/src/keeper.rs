//! Keeps segments ready ahead of need, and takes back those that are not needed any more.
//!
//! A commit never waits for a file to be made: it finds one ready that was written with zeros, synced and listed before.
//! The keeper works on a thread of its own, or inline in logs without threads. Everything that it does ends with the
//! list: first the list says what will be, synced; then files are used or removed.

use crate::bell::Bell;
use crate::buffer::Buffer;
use crate::device::Segments;
use crate::disk::{Disk, OpenMode};
use crate::error::LogError;
use crate::format::{LIST_NEW_PATH, LOG_DIR, ListEntry, ListState, SECTOR_BYTES, segment_path};
use crate::ids::{Lsn, SegmentId};
use crate::list::ListFile;
use crate::options::LogOptions;
use crate::planted::{self, Bug};
use crate::queue::Queue;
use crate::segment::{SegmentFile, SharedSegment, capacity_for};
use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use crate::sync::{Arc, Condvar, Mutex, sleep};
use std::collections::VecDeque;
use std::io;
use std::time::{Duration, Instant};

/// The queue over real segments.
pub(crate) type LogQueue = Queue<Buffer, Segments>;

/// Most segments kept ready. Source: a guess; a checkpoint frees several at once and the next ones need not be zeroed
/// again, but idle room is bounded.
const READY_MAX: usize = 4;

/// Bytes written with zeros in one step. Source: lesson of a pack writer, whose commits stayed fast at this size.
const ZERO_STEP_BYTES: usize = 256 << 10;

/// Pause between steps while nobody waits. Source: a guess that leaves the device 250 MB/s of zeros at most.
const ZERO_STEP_PAUSE: Duration = Duration::from_millis(1);

/// How long an append waits for the next segment. Source: a guess, many times what zeroing one takes.
const READY_PATIENCE: Duration = Duration::from_secs(5);

/// Pause before the keeper tries again what failed.
const RETRY_PAUSE: Duration = Duration::from_millis(200);

/// What is on the shelf besides what the buffer has. Its lock is taken before the queue's, never after.
#[derive(Debug)]
struct Shelf {
    list: ListFile,
    next_id: u64,
    /// Listed, but nothing in them is needed.
    dead: Vec<ListEntry>,
    /// Not listed: what a crash left.
    stray: Vec<SegmentId>,
    /// Whether there may be half a list.
    stray_list: bool,
}

#[derive(Debug, Default)]
struct Progress {
    rounds: u64,
    failure: Option<LogError>,
}

/// See the head of this file.
#[derive(Debug)]
pub(crate) struct Keeper {
    disk: Arc<dyn Disk>,
    options: LogOptions,
    shelf: Mutex<Shelf>,
    bell: Bell,
    /// Bytes of the largest record that somebody waits to append.
    wanted: AtomicU64,
    /// Whether somebody waits, so that there are no pauses.
    urgent: AtomicBool,
    stopped: AtomicBool,
    progress: Mutex<Progress>,
    progressed: Condvar,
}

/// How a keeper starts.
#[derive(Debug)]
pub(crate) struct Stock {
    pub(crate) list: ListFile,
    pub(crate) next_id: u64,
    pub(crate) dead: Vec<ListEntry>,
    pub(crate) stray: Vec<SegmentId>,
}

impl Keeper {
    pub(crate) fn new(disk: Arc<dyn Disk>, options: LogOptions, stock: Stock) -> Self {
        let Stock { list, next_id, dead, stray } = stock;
        Self {
            disk,
            options,
            shelf: Mutex::new(Shelf { list, next_id, dead, stray, stray_list: true }),
            bell: Bell::new(),
            wanted: AtomicU64::new(0),
            urgent: AtomicBool::new(false),
            stopped: AtomicBool::new(false),
            progress: Mutex::new(Progress::default()),
            progressed: Condvar::new(),
        }
    }

    /// What the keeper's thread does until [`stop`](Self::stop).
    pub(crate) fn run(&self, queue: &LogQueue) {
        while !self.stopped.load(Ordering::Acquire) {
            let outcome = self.tidy(queue, self.wanted.load(Ordering::Acquire));
            let failed = outcome.is_err();
            {
                let mut progress = self.progress.lock();
                progress.rounds += 1;
                progress.failure = outcome.err();
            }
            self.progressed.notify_all();
            self.bell.listen(failed.then_some(RETRY_PAUSE));
        }
    }

    /// Lets the keeper's thread look whether there is something to do.
    pub(crate) fn kick(&self) {
        self.bell.ring();
    }

    /// Lets the keeper's thread end soon.
    pub(crate) fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
        self.bell.ring();
        self.progressed.notify_all();
    }

    /// Something was freed: what failed for want of space may succeed.
    pub(crate) fn forget_failure(&self) {
        self.progress.lock().failure = None;
    }

    /// Waits for the keeper's thread to do something about a record that found no room.
    pub(crate) fn await_segment(&self, record_bytes: u64, patience: &mut Patience) -> Result<(), LogError> {
        self.wanted.fetch_max(record_bytes, Ordering::AcqRel);
        let mut progress = self.progress.lock();
        if let Some(failure) = &progress.failure {
            return Err(failure.clone());
        }
        self.urgent.store(true, Ordering::Release);
        let rounds = progress.rounds;
        self.bell.ring();
        while progress.rounds == rounds {
            if patience.is_over() {
                return Err(LogError::Busy);
            }
            if self.stopped.load(Ordering::Acquire) {
                return Err(LogError::Closed);
            }
            progress = self.progressed.wait_for(progress, Duration::from_millis(100));
        }
        Ok(())
    }

    /// Does all that there is to do: takes back what was released, then prepares what is missing.
    ///
    /// # Errors
    /// `NoSpace` or `Io` when a segment could not be prepared; the log goes on as far as it has room. `Poisoned` when the
    /// list failed: so is the log then.
    pub(crate) fn tidy(&self, queue: &LogQueue, wanted: u64) -> Result<(), LogError> {
        let mut shelf = self.shelf.lock();
        if let Some(failure) = queue.lock().failure() {
            // Nothing of a log that failed is touched any more.
            return Err(failure.clone());
        }
        let outcome =
            self.take_back(&mut shelf, queue, true).and_then(|()| self.prepare(&mut shelf, queue, wanted));
        if let Err(failure @ LogError::Poisoned { .. }) = &outcome {
            queue.fail(failure.clone());
        }
        if outcome.is_ok() {
            self.urgent.store(false, Ordering::Release);
            // Whoever waits with a larger one says so again.
            let _ = self.wanted.compare_exchange(wanted, 0, Ordering::AcqRel, Ordering::Relaxed);
        }
        outcome
    }

    /// Recycles or removes the segments that are not needed.
    fn take_back(&self, shelf: &mut Shelf, queue: &LogQueue, recycle: bool) -> Result<(), LogError> {
        self.remove_strays(shelf)?;
        let durable = queue.durable();
        let (released, mut room, target, reserve) = {
            let mut inner = queue.lock();
            let buffer = &mut inner.pending;
            let released = buffer.take_released(durable);
            (
                released,
                if recycle { READY_MAX.saturating_sub(buffer.ready.len()) } else { 0 },
                self.target(buffer),
                buffer.reserve.is_some(),
            )
        };
        if released.is_empty() && shelf.dead.is_empty() {
            return Ok(());
        }
        let mut missing_reserve = recycle && !reserve && self.options.reserve_bytes > 0;
        let mut fresh = Fresh::default();
        for (entry, is_read) in
            released.iter().map(is_read).chain(shelf.dead.iter().map(|dead| (*dead, false)))
        {
            let reserve = missing_reserve && entry.capacity >= self.reserve_capacity();
            let ready = room > 0 && entry.capacity >= target;
            // Whoever still reads it keeps its bytes: then the file goes, and with the last reader its room.
            let recycled = if is_read || !(reserve || ready) { None } else { self.reopen(entry) };
            match recycled {
                Some(file) if reserve => {
                    fresh.reserve = Some(file);
                    missing_reserve = false;
                }
                Some(file) => {
                    fresh.ready.push_back(file);
                    room -= 1;
                }
                None => shelf.stray.push(entry.id),
            }
        }
        drop(released);
        shelf.dead.clear();
        self.publish(shelf, queue, fresh)?;
        self.remove_strays(shelf)
    }

    fn reopen(&self, entry: ListEntry) -> Option<SegmentFile> {
        SegmentFile::renew(&*self.disk, &entry, (self.options.random)(), SECTOR_BYTES)
    }

    /// Removes files that the list does not name. One that cannot be removed stays for the next time.
    fn remove_strays(&self, shelf: &mut Shelf) -> Result<(), LogError> {
        if shelf.stray.is_empty() && !shelf.stray_list {
            return Ok(());
        }
        let mut removed = false;
        if shelf.stray_list {
            removed |= self.disk.remove(LIST_NEW_PATH).is_ok();
            shelf.stray_list = false;
        }
        let mut kept = Vec::new();
        for id in shelf.stray.drain(..) {
            match self.disk.remove(&segment_path(id)) {
                Ok(()) => removed = true,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(_) => kept.push(id),
            }
        }
        shelf.stray = kept;
        if removed {
            self.disk.sync_dir(LOG_DIR).map_err(|error| LogError::io("sync", LOG_DIR, error))?;
        }
        Ok(())
    }

    /// Makes the reserve, then a segment that is ready, if they are missing.
    fn prepare(&self, shelf: &mut Shelf, queue: &LogQueue, wanted: u64) -> Result<(), LogError> {
        let (reserve, ready, target) = {
            let inner = queue.lock();
            let buffer = &inner.pending;
            let ready = buffer.ready.iter().any(|file| file.takes(wanted));
            (buffer.reserve.is_some(), ready, self.target(buffer))
        };
        if !reserve && self.options.reserve_bytes > 0 {
            let file = self.make(shelf, self.reserve_capacity())?;
            self.publish(shelf, queue, Fresh { reserve: Some(file), ..Fresh::default() })?;
        }
        if !ready {
            let capacity = target.max(capacity_for(wanted, SECTOR_BYTES));
            let file = self.make(shelf, capacity)?;
            self.publish(shelf, queue, Fresh { ready: [file].into(), ..Fresh::default() })?;
        }
        Ok(())
    }

    /// Size of the next segment: twice the newest.
    fn target(&self, buffer: &Buffer) -> u64 {
        let newest = buffer.live.back().map_or(0, |segment| segment.file.capacity);
        // Not clamp: a caller may set the one above the other.
        sectors(
            newest.saturating_mul(2).max(self.options.segment_bytes_min).min(self.options.segment_bytes_max),
        )
    }

    fn reserve_capacity(&self) -> u64 {
        sectors(self.options.reserve_bytes)
    }

    fn make(&self, shelf: &mut Shelf, capacity: u64) -> Result<SegmentFile, LogError> {
        let id = SegmentId(shelf.next_id);
        shelf.next_id += 1;
        let entry = ListEntry { id, salt: (self.options.random)(), capacity, state: ListState::Spare };
        let made = make_segment(&*self.disk, &entry, &mut || self.pause());
        if made.is_err() {
            shelf.stray.push(id);
            // Its room is needed at once; its name may come back with a crash, as a stray.
            let _ = self.disk.remove(&segment_path(id));
        }
        made
    }

    /// Between two steps of zeroing: leaves the device to the commits. `false` to give up.
    fn pause(&self) -> bool {
        if self.stopped.load(Ordering::Acquire) {
            return false;
        }
        if self.options.threads && !self.urgent.load(Ordering::Acquire) {
            sleep(ZERO_STEP_PAUSE);
        }
        true
    }

    /// Lists what is new, then gives it to the buffer.
    fn publish(&self, shelf: &mut Shelf, queue: &LogQueue, fresh: Fresh) -> Result<(), LogError> {
        let entries = {
            let inner = queue.lock();
            let mut entries = listed(&inner.pending, queue.durable());
            entries.extend(shelf.dead.iter().copied());
            entries.extend(fresh.ready.iter().map(|file| file.entry(ListState::Spare)));
            entries.extend(fresh.reserve.iter().map(|file| file.entry(ListState::Reserve)));
            entries
        };
        shelf.list.write(entries)?;
        let mut inner = queue.lock();
        inner.pending.list_generation = shelf.list.generation();
        inner.pending.ready.extend(fresh.ready);
        if let Some(reserve) = fresh.reserve {
            inner.pending.reserve = Some(reserve);
        }
        Ok(())
    }

    /// Gives prepared segments back to the disk but for the smallest, for who needs their room more. The reserve stays.
    pub(crate) fn shrink(&self, queue: &LogQueue) -> Result<(), LogError> {
        let mut shelf = self.shelf.lock();
        if let Some(failure) = queue.lock().failure() {
            return Err(failure.clone());
        }
        self.take_back(&mut shelf, queue, true)?;
        let others = {
            let mut inner = queue.lock();
            let ready = &mut inner.pending.ready;
            let smallest = ready.iter().enumerate().min_by_key(|(_, file)| file.capacity).map(|(at, _)| at);
            let kept = smallest.and_then(|at| ready.remove(at));
            std::mem::replace(ready, kept.into_iter().collect())
        };
        if others.is_empty() {
            return Ok(());
        }
        let listed = self.publish(&mut shelf, queue, Fresh::default());
        if let Err(failure @ LogError::Poisoned { .. }) = &listed {
            queue.fail(failure.clone());
        }
        // Nobody writes to them any more, listed or not: one that the list still names and that is gone was not used.
        listed?;
        shelf.stray.extend(others.iter().map(|file| file.id));
        self.remove_strays(&mut shelf)
    }

    /// Goes on in a segment that was written with zeros just now, and removes every file that nothing is needed of.
    pub(crate) fn renew(&self, queue: &LogQueue) -> Result<(), LogError> {
        let mut shelf = self.shelf.lock();
        if let Some(failure) = queue.lock().failure() {
            return Err(failure.clone());
        }
        let renewed = self.take_back(&mut shelf, queue, false).and_then(|()| self.replace(&mut shelf, queue));
        if let Err(failure @ LogError::Poisoned { .. }) = &renewed {
            queue.fail(failure.clone());
        }
        renewed
    }

    /// Puts a new segment in the place of the one that is written, and of all that are prepared.
    fn replace(&self, shelf: &mut Shelf, queue: &LogQueue) -> Result<(), LogError> {
        let file = self.make(shelf, sectors(self.options.segment_bytes_min))?;
        let new = file.id;
        self.publish(shelf, queue, Fresh { ready: [file].into(), ..Fresh::default() })?;
        let others = {
            let mut inner = queue.lock();
            let buffer = &mut inner.pending;
            let mut others = std::mem::take(&mut buffer.ready);
            // Unless somebody was faster, and went on in it.
            if let Some(at) = others.iter().position(|file| file.id == new) {
                let file = others.remove(at).expect("it was found");
                buffer.go_on_in(file, false);
            }
            others.extend(buffer.reserve.take());
            others
        };
        self.publish(shelf, queue, Fresh::default())?;
        shelf.stray.extend(others.iter().map(|file| file.id));
        self.remove_strays(shelf)?;
        self.prepare(shelf, queue, 0)
    }

    /// Leaves one small segment ready for the next start, and gives the others back.
    pub(crate) fn close(&self, queue: &LogQueue) -> Result<(), LogError> {
        let mut shelf = self.shelf.lock();
        self.take_back(&mut shelf, queue, true)?;
        let small = sectors(self.options.segment_bytes_min);
        let (found, others) = {
            let mut inner = queue.lock();
            let buffer = &mut inner.pending;
            let at = buffer.ready.iter().position(|file| file.capacity == small);
            let found = at.and_then(|at| buffer.ready.remove(at));
            let mut others = std::mem::take(&mut buffer.ready);
            // The reserve serves who writes; the next start makes it anew, in the background.
            others.extend(buffer.reserve.take());
            (found, others)
        };
        if found.is_some() && others.is_empty() && shelf.dead.is_empty() {
            queue.lock().pending.ready.extend(found);
            return Ok(());
        }
        // Without room for a small one the next start makes one.
        let kept = match found {
            Some(file) => Some(file),
            None => self.make_unhurried(&mut shelf, small),
        };
        let gone: Vec<SegmentId> =
            others.iter().map(|file| file.id).chain(shelf.dead.drain(..).map(|dead| dead.id)).collect();
        let fresh = Fresh { ready: kept.into_iter().collect(), reserve: None };
        self.publish(&mut shelf, queue, fresh)?;
        shelf.stray.extend(gone);
        self.remove_strays(&mut shelf)
    }

    fn make_unhurried(&self, shelf: &mut Shelf, capacity: u64) -> Option<SegmentFile> {
        self.stopped.store(false, Ordering::Release);
        self.urgent.store(true, Ordering::Release);
        self.make(shelf, capacity).ok()
    }
}

/// Segments that are prepared and not listed yet.
#[derive(Debug, Default)]
struct Fresh {
    ready: VecDeque<SegmentFile>,
    reserve: Option<SegmentFile>,
}

/// How long an append is willing to wait.
#[derive(Debug, Default)]
pub(crate) struct Patience {
    until: Option<Instant>,
}

impl Patience {
    fn is_over(&mut self) -> bool {
        let until = *self.until.get_or_insert_with(|| Instant::now() + READY_PATIENCE);
        Instant::now() >= until
    }
}

/// The whole number of sectors that such a segment has.
fn sectors(bytes: u64) -> u64 {
    capacity_for(1, SECTOR_BYTES).max(bytes.next_multiple_of(u64::from(SECTOR_BYTES)))
}

/// Size of a first segment that takes groups of this size all together.
pub(crate) fn first_capacity(options: &LogOptions, group_bytes: u64) -> u64 {
    sectors(options.segment_bytes_min.max(group_bytes + 4 * u64::from(SECTOR_BYTES)))
}

fn is_read(segment: &SharedSegment) -> (ListEntry, bool) {
    (segment.file.entry(ListState::Spare), Arc::strong_count(segment) > 1)
}

/// The entries of what the buffer has. A segment counts as used when some record of it is durable.
fn listed(buffer: &Buffer, durable: Lsn) -> Vec<ListEntry> {
    let nexts = buffer.live.iter().skip(1).map(|next| next.first_lsn).chain([Lsn(u64::MAX)]);
    let live = buffer.live.iter().zip(nexts).map(|(segment, next)| {
        let used = segment.first_lsn <= durable && segment.first_lsn < next;
        segment.file.entry(if used { ListState::Used } else { ListState::Spare })
    });
    let ready = buffer.ready.iter().map(|file| file.entry(ListState::Spare));
    let reserve = buffer.reserve.iter().map(|file| file.entry(ListState::Reserve));
    live.chain(ready).chain(reserve).collect()
}

/// Why a segment file of so many bytes could not be made.
pub(crate) fn not_made(disk: &dyn Disk, path: &str, needed_bytes: u64, error: io::Error) -> LogError {
    if error.kind() != io::ErrorKind::StorageFull && error.kind() != io::ErrorKind::QuotaExceeded {
        return LogError::io("prepare", path, error);
    }
    LogError::NoSpace { needed_bytes, free_bytes: disk.free_bytes().unwrap_or(0) }
}

/// Makes a segment file: allocated, written with zeros, and synced with its name. `step` is called between pieces and
/// ends it with `false`.
pub(crate) fn make_segment(
    disk: &dyn Disk,
    entry: &ListEntry,
    step: &mut dyn FnMut() -> bool,
) -> Result<SegmentFile, LogError> {
    let path = segment_path(entry.id);
    let failed = |error: io::Error| not_made(disk, &path, entry.capacity, error);
    let file = disk.open(&path, OpenMode::CreateNew).map_err(failed)?;
    file.allocate(entry.capacity).map_err(failed)?;
    let zeros = vec![0; ZERO_STEP_BYTES];
    let mut offset = 0;
    while offset < entry.capacity {
        let rest = usize::try_from(entry.capacity - offset).unwrap_or(usize::MAX);
        let piece = &zeros[..zeros.len().min(rest)];
        file.write_all_at(piece, offset).map_err(failed)?;
        // Only a hint: what it cannot start the sync below does.
        let _ = file.start_writeback(offset, piece.len() as u64);
        offset += piece.len() as u64;
        if offset < entry.capacity && !step() {
            return Err(LogError::Closed);
        }
    }
    file.sync_all().map_err(failed)?;
    if !planted::on(Bug::SegmentNameNotSynced) {
        disk.sync_dir(LOG_DIR).map_err(failed)?;
    }
    let ListEntry { id, salt, capacity, .. } = *entry;
    Ok(SegmentFile { id, salt, capacity, sector_bytes: SECTOR_BYTES, path, file })
}
