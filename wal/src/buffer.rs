//! What has been appended and is not durable, and the segments that it goes to.
//!
//! Invariants, under the queue's lock:
//!
//! 1. Everything pending fits: `open` behind what it follows in its segment, each of `closed` in its own. A flush never
//!    lacks room.
//! 2. Batches are dense: in flight, then closed, then open, one LSN after the other up to `last_lsn`.
//! 3. `live` is sorted by first LSN; its last is the segment that `open` goes to.

use crate::batch::{Batch, Memory};
use crate::format::SegmentHeader;
use crate::ids::{EngineId, Epoch, Lsn, Micros};
use crate::options::{Appended, Class};
use crate::planted::{self, Bug};
use crate::queue::Pending;
use crate::record::{OwnedRecord, RecordBuilder};
use crate::segment::{Segment, SegmentFile, SharedSegment};
use crate::sync::Arc;
use std::collections::VecDeque;

/// Batches whose memory is kept for reuse: one fills while one is on its way.
const MEMORIES_KEPT: usize = 3;

/// Most bytes that wait in memory; appends beyond wait for the device. Source: a guess, some tens of milliseconds of a
/// fast disk.
pub(crate) const PENDING_BYTES_MAX: u64 = 32 << 20;

/// Why a record was not appended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// The next segment is not ready.
    NeedsSegment,
    /// Too much waits for the device; the last LSN to wait for.
    NeedsFlush(Lsn),
    /// Opened for reading.
    ReadOnly,
    /// Being closed.
    Closed,
}

/// See the head of this file.
#[derive(Debug)]
pub(crate) struct Buffer {
    engine: EngineId,
    epoch: Epoch,
    pub(crate) last_lsn: Lsn,
    pub(crate) last_time: Micros,
    /// `None` in a log that is open for reading.
    open: Option<Batch>,
    closed: VecDeque<Batch>,
    in_flight: Option<Arc<Batch>>,
    memories: Vec<Memory>,
    pub(crate) live: VecDeque<SharedSegment>,
    /// Segments that are listed and may be used.
    pub(crate) ready: VecDeque<SegmentFile>,
    /// The one that only the system may use.
    pub(crate) reserve: Option<SegmentFile>,
    /// Highest order of a segment so far.
    order: u64,
    /// The newest list that is durable.
    pub(crate) list_generation: u64,
    /// Bytes of the records in `closed` and `open`.
    pending_bytes: u64,
    flush_bytes: u64,
    serial: u64,
    /// Nothing is appended any more.
    pub(crate) is_closing: bool,
    /// Whether a segment was taken since somebody last asked.
    pub(crate) took_segment: bool,
    /// Records up to here are not needed by anybody; see `release`.
    pub(crate) release_through: Lsn,
}

/// How a log starts.
#[derive(Debug)]
pub(crate) struct Start {
    pub(crate) engine: EngineId,
    pub(crate) epoch: Epoch,
    pub(crate) last_lsn: Lsn,
    pub(crate) last_time: Micros,
    pub(crate) live: VecDeque<SharedSegment>,
    pub(crate) order: u64,
    pub(crate) list_generation: u64,
    pub(crate) flush_bytes: u64,
    /// Where in the last live segment the next group goes; `None` for a log that is open for reading.
    pub(crate) offset: Option<u64>,
}

impl Buffer {
    pub(crate) fn new(start: Start) -> Self {
        let open = start.offset.map(|offset| {
            let segment = start.live.back().expect("a log that is written has a segment");
            Batch::new(Arc::clone(segment), offset, None, Memory::default())
        });
        Self {
            engine: start.engine,
            epoch: start.epoch,
            last_lsn: start.last_lsn,
            last_time: start.last_time,
            open,
            closed: VecDeque::new(),
            in_flight: None,
            memories: Vec::new(),
            live: start.live,
            ready: VecDeque::new(),
            reserve: None,
            order: start.order,
            list_generation: start.list_generation,
            pending_bytes: 0,
            flush_bytes: start.flush_bytes,
            serial: 0,
            is_closing: false,
            took_segment: false,
            release_through: Lsn(0),
        }
    }

    pub(crate) fn is_read_only(&self) -> bool {
        self.open.is_none()
    }

    pub(crate) fn pending_bytes(&self) -> u64 {
        self.pending_bytes
    }

    /// Where the next group would go, and in which segment.
    pub(crate) fn tail(&self) -> Option<(&SharedSegment, u64)> {
        self.open.as_ref().map(|open| (&open.segment, open.end()))
    }

    /// Numbers a record and copies it. All or nothing.
    pub(crate) fn append(
        &mut self,
        record: &RecordBuilder,
        now: Micros,
        class: Class,
    ) -> Result<Appended, Refused> {
        let Some(open) = &mut self.open else { return Err(Refused::ReadOnly) };
        if self.is_closing {
            return Err(Refused::Closed);
        }
        let bytes = record.bytes() as u64;
        if self.pending_bytes > PENDING_BYTES_MAX {
            return Err(Refused::NeedsFlush(self.last_lsn));
        }
        // Users do not eat what was kept for the system, unless there is more.
        let kept = open.segment.is_reserve && class == Class::User && self.ready.is_empty();
        if kept || !open.takes(bytes) {
            self.rotate(bytes, class)?;
        }
        let time = if planted::on(Bug::TimeBackwards) { now } else { now.max(self.last_time) };
        let appended = Appended { lsn: self.last_lsn.next(), time };
        let open = self.open.as_mut().expect("it is open for writing");
        open.append(record, appended.lsn, appended.time);
        self.last_lsn = appended.lsn;
        self.last_time = appended.time;
        self.pending_bytes += bytes;
        Ok(appended)
    }

    /// Goes on in a new segment that a record of this size fits in.
    fn rotate(&mut self, record_bytes: u64, class: Class) -> Result<(), Refused> {
        let fits = self.ready.iter().position(|file| file.takes(record_bytes));
        let reserved = self.reserve.as_ref().is_some_and(|file| file.takes(record_bytes));
        let (file, is_reserve) = if let Some(at) = fits {
            (self.ready.remove(at), false)
        } else if reserved && class == Class::System {
            (self.reserve.take(), true)
        } else {
            return Err(Refused::NeedsSegment);
        };
        self.go_on_in(file.expect("it was found"), is_reserve);
        Ok(())
    }

    /// Goes on in this segment, which is listed.
    pub(crate) fn go_on_in(&mut self, file: SegmentFile, is_reserve: bool) {
        let before = self.live.back().expect("a log that is written has a segment");
        self.took_segment = true;
        self.order += 1;
        let header = SegmentHeader {
            id: file.id,
            salt: file.salt,
            engine: self.engine,
            epoch: self.epoch,
            order: self.order,
            previous_id: before.file.id,
            previous_salt: before.file.salt,
            // It goes out after all that is before it has become durable.
            last_accepted: self.last_lsn,
            first_lsn: self.last_lsn.next(),
            last_time: self.last_time,
            capacity: file.capacity,
            list_generation: self.list_generation,
            sector_bytes: file.sector_bytes,
        };
        let offset = file.first_offset();
        let segment = Arc::new(Segment::new(file, header.first_lsn, is_reserve));
        self.live.push_back(Arc::clone(&segment));
        let memory = self.memories.pop().unwrap_or_default();
        let batch = Batch::new(segment, offset, Some(&header.encode()), memory);
        let full = self.open.replace(batch).expect("it is open for writing");
        if full.is_empty() {
            self.remember(full);
        } else {
            self.closed.push_back(full);
        }
    }

    fn remember(&mut self, batch: Batch) {
        if self.memories.len() < MEMORIES_KEPT {
            self.memories.push(batch.into_memory());
        }
    }

    /// A record that is not in a segment yet, if this is one.
    pub(crate) fn read(&self, lsn: Lsn) -> Option<OwnedRecord> {
        let batches = self.in_flight.as_deref().into_iter().chain(&self.closed).chain(&self.open);
        batches.into_iter().find(|batch| batch.holds(lsn)).map(|batch| batch.read(lsn))
    }

    /// The segment that a record of the log is in, and the last record that is.
    pub(crate) fn segment_of(&self, lsn: Lsn) -> Option<(SharedSegment, Lsn)> {
        let after = self.live.partition_point(|segment| segment.first_lsn <= lsn);
        let segment = self.live.get(after.checked_sub(1)?)?;
        let last = self.live.get(after).map_or(self.last_lsn, |next| Lsn(next.first_lsn.0 - 1));
        Some((Arc::clone(segment), last))
    }

    /// The first record that is still in the log, or will be.
    pub(crate) fn first_lsn(&self) -> Lsn {
        self.live.front().map_or(self.last_lsn.next(), |segment| segment.first_lsn)
    }

    /// Takes out the segments that hold only records that were released, where everything up to `durable` is durable. The
    /// segment after them has its header on the disk by then: a log without any that is in use would have lost its end.
    pub(crate) fn take_released(&mut self, durable: Lsn) -> Vec<SharedSegment> {
        let mut released = Vec::new();
        while let Some(next) = self.live.get(1) {
            let in_use = next.has_header || next.first_lsn <= durable;
            if !in_use || next.first_lsn > self.release_through.next() {
                break;
            }
            released.extend(self.live.pop_front());
        }
        released
    }

    /// Asserts the invariants at the head of this file.
    #[cfg(test)]
    pub(crate) fn check(&self) {
        let batches = self.in_flight.as_deref().into_iter().chain(&self.closed).chain(&self.open);
        let mut last = None;
        for batch in batches.filter(|batch| !batch.is_empty()) {
            assert!(batch.end() <= batch.segment.file.groups_end(), "what is pending fits");
            let (first, next) = batch.range();
            assert!(last.is_none_or(|last| last == first), "batches are dense");
            last = Some(next);
        }
        assert!(last.is_none_or(|last| last == self.last_lsn.next()), "batches reach to the last record");
        for (a, b) in self.live.iter().zip(self.live.iter().skip(1)) {
            assert!(a.first_lsn <= b.first_lsn, "segments are sorted");
        }
        if let Some(open) = &self.open {
            let tail = self.live.back().expect("there is a segment");
            assert!(Arc::ptr_eq(tail, &open.segment), "appends go to the last segment");
        }
    }
}

impl Pending for Buffer {
    type Batch = Arc<Batch>;

    fn appended(&self) -> Lsn {
        self.last_lsn
    }

    fn take(&mut self) -> Option<Arc<Batch>> {
        assert!(self.in_flight.is_none(), "one batch is on its way at a time");
        let mut batch = match self.closed.pop_front() {
            Some(batch) => batch,
            None => self.take_open()?,
        };
        let (first, _) = batch.range();
        // Everything before it was flushed before it was taken.
        batch.seal(Lsn(first.0 - 1));
        self.pending_bytes -= batch.payload_bytes_sealed();
        self.serial += 1;
        let batch = Arc::new(batch);
        self.in_flight = Some(Arc::clone(&batch));
        Some(batch)
    }

    fn settle(&mut self, batch: Arc<Batch>, durable: bool) {
        self.in_flight = None;
        if durable {
            let header = batch.header.as_ref().expect("a batch that was flushed is sealed");
            batch.segment.add(header, batch.marks());
        }
        // Nobody else keeps it; if somebody did, its memory would just not be used again.
        if let Ok(batch) = Arc::try_unwrap(batch) {
            self.remember(batch);
        }
    }

    fn is_empty(&self) -> bool {
        self.pending_bytes == 0
    }

    fn is_due(&self) -> bool {
        self.pending_bytes >= self.flush_bytes
    }

    fn serial(&self) -> u64 {
        self.serial
    }
}

impl Buffer {
    fn take_open(&mut self) -> Option<Batch> {
        let open = self.open.as_mut().filter(|open| !open.is_empty())?;
        let memory = self.memories.pop().unwrap_or_default();
        let next = Batch::new(Arc::clone(&open.segment), open.end(), None, memory);
        Some(std::mem::replace(open, next))
    }
}
