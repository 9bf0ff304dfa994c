//! The log as the engine sees it.

use crate::buffer::{Buffer, Refused, Start};
use crate::device::Segments;
use crate::disk::Disk;
use crate::error::LogError;
use crate::ids::{Epoch, Lsn, Micros};
use crate::keeper::{Keeper, LogQueue, Patience};
use crate::options::{Appended, Class, LogOptions, LogStats, Recovery};
use crate::queue::{Pending, Queue};
use crate::record::{OwnedRecord, RecordBuilder};
use crate::recover::{Recovered, Visit, Wanted, recover};
use crate::segment::SharedSegment;
use crate::start::start;
use crate::sync::atomic::Ordering;
use crate::sync::{Arc, Mutex, sleep, thread};
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

/// A log that is open. A clone is the same log; the last one that is dropped ends its threads, without a flush.
///
/// Records are numbered when they are appended and durable some time later, in that order: what is durable is always
/// a prefix. After the first failed write or sync the log is poisoned: what was durable stays so, every other wait gets
/// the same [`LogError::Poisoned`], and the log must be recovered and started again.
#[derive(Clone)]
pub struct Log {
    pub(crate) shared: Arc<Shared>,
}

/// What clones of a log share: the log itself, and its threads, which do not keep it open.
pub(crate) struct Shared {
    pub(crate) core: Arc<Core>,
    threads: Mutex<Vec<thread::JoinHandle<()>>>,
}

#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) queue: LogQueue,
    /// `None` in a log that is open for reading.
    keeper: Option<Keeper>,
    epoch: Epoch,
    has_threads: bool,
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Log")
            .field("epoch", &self.epoch())
            .field("appended", &self.appended())
            .field("durable", &self.durable())
            .finish_non_exhaustive()
    }
}

impl Log {
    /// Reads the log that is on `disk`: visits every accepted record above `floor`, in order, each verified.
    ///
    /// Changes no byte. `floor` is the last record that the caller has elsewhere; segments that hold nothing above it
    /// are not read. Without a folder `log` it is a new log. What was being written when power went is cut off; what may
    /// be in the page cache only is accepted, and made durable by [`start`](Self::start) before it is served. A group
    /// that was never sealed on the disk cannot be told from a torn tail.
    ///
    /// # Errors
    /// `Damaged` if anything that had been acknowledged is missing, or the log does not reach `floor` or does not begin
    /// at it; with [`Recovery::Salvage`] the damage ends the log and is reported in the result instead. Records visited
    /// before are to be forgotten. `NewerVersion` and `OtherEngine` for files of others, `Io` if the disk cannot be read,
    /// and whatever `visit` returns.
    pub fn recover(
        disk: Arc<dyn Disk>,
        options: &LogOptions,
        floor: Lsn,
        mode: Recovery,
        visit: &mut Visit<'_>,
    ) -> Result<Recovered, LogError> {
        recover(&*disk, options, floor, mode, visit)
    }

    /// Opens the log for writing, under a new epoch. On return everything that was recovered is durable for certain.
    ///
    /// # Errors
    /// The damage that salvage found: such a log can only be read. `NoSpace` and `Io` if the new segment could not be
    /// made; recover again before the next attempt.
    pub fn start(disk: Arc<dyn Disk>, options: LogOptions, recovered: Recovered) -> Result<Self, LogError> {
        let (last_lsn, last_time) = (recovered.last_lsn, recovered.last_time);
        let started = start(&disk, &options, recovered)?;
        let mut buffer = Buffer::new(Start {
            engine: options.engine,
            epoch: started.epoch,
            last_lsn,
            last_time,
            live: started.live,
            order: started.order,
            list_generation: started.list_generation,
            flush_bytes: options.flush_bytes.max(1),
            offset: Some(started.offset),
        });
        buffer.ready = started.ready;
        buffer.reserve = started.reserve;
        let segments = Segments { on_durable: options.on_durable.clone(), ..Segments::default() };
        segments.fsyncs.store(started.fsyncs, Ordering::Relaxed);
        segments.bytes_written.store(started.bytes_written, Ordering::Relaxed);
        let threads = options.threads;
        let tick = options.flush_after / 2;
        let core = Arc::new(Core {
            queue: Queue::new(buffer, segments, last_lsn, threads),
            keeper: Some(Keeper::new(disk, options, started.stock)),
            epoch: started.epoch,
            has_threads: threads,
        });
        let log = Self { shared: Arc::new(Shared { core, threads: Mutex::new(Vec::new()) }) };
        if threads {
            log.shared.spawn("lineal-flusher", move |core| core.queue.run_flusher(tick))?;
            log.shared.spawn("lineal-keeper", |core| core.keeper().run(&core.queue))?;
        } else if let Err(failure @ LogError::Poisoned { .. }) =
            log.core().keeper().tidy(&log.core().queue, 0)
        {
            return Err(failure);
        }
        Ok(log)
    }

    /// Opens what was recovered for reading, salvaged or not. Changes no byte.
    #[must_use]
    pub fn start_read_only(disk: Arc<dyn Disk>, recovered: Recovered) -> Self {
        drop(disk);
        let buffer = Buffer::new(Start {
            engine: recovered.engine,
            epoch: recovered.epoch,
            last_lsn: recovered.last_lsn,
            last_time: recovered.last_time,
            live: recovered.live.into_iter().map(Arc::new).collect(),
            order: recovered.order,
            list_generation: 0,
            flush_bytes: u64::MAX,
            offset: None,
        });
        let core = Arc::new(Core {
            queue: Queue::new(buffer, Segments::default(), recovered.last_lsn, false),
            keeper: None,
            epoch: recovered.epoch,
            has_threads: false,
        });
        Self { shared: Arc::new(Shared { core, threads: Mutex::new(Vec::new()) }) }
    }

    fn core(&self) -> &Core {
        &self.shared.core
    }

    /// The segment that a record of the log is in, and the last record that is.
    pub(crate) fn segment_of(&self, lsn: Lsn) -> Option<(SharedSegment, Lsn)> {
        self.core().queue.lock().pending.segment_of(lsn)
    }

    /// Records up to here are not in the log any more.
    pub(crate) fn released_through(&self) -> Lsn {
        Lsn(self.core().queue.lock().pending.first_lsn().0 - 1)
    }

    /// Numbers a record and copies it into memory. It is not durable yet: see [`wait`](Self::wait).
    ///
    /// Makes no system call while the next segment is ready. All or nothing: after an error nothing was appended.
    ///
    /// # Errors
    /// `NoSpace` if the disk is full; `Busy` if the device does not keep up; `TooLarge`; `Poisoned`, `Closed` and
    /// `ReadOnly` for good.
    ///
    /// # Panics
    /// If a part of the record was not ended.
    pub fn append(&self, record: &RecordBuilder, now: Micros, class: Class) -> Result<Appended, LogError> {
        assert!(!record.is_open(), "every part of a record is ended before it is appended");
        let bytes = record.bytes() as u64;
        if !record.fits() {
            let max = u64::from(crate::format::RECORD_BYTES_MAX);
            return Err(LogError::TooLarge { bytes, max });
        }
        let core = self.core();
        let mut patience = Patience::default();
        loop {
            let mut inner = core.queue.lock();
            if let Some(failure) = inner.failure() {
                return Err(failure.clone());
            }
            let leading = inner.is_leading();
            let buffer = &mut inner.pending;
            if !core.has_threads && buffer.is_due() && !leading {
                drop(inner);
                core.queue.flush_inline();
                continue;
            }
            let was_empty = buffer.is_empty();
            match buffer.append(record, now, class) {
                Ok(appended) => {
                    let took_segment = std::mem::take(&mut buffer.took_segment);
                    core.queue.appended(inner, was_empty);
                    if took_segment {
                        core.keeper().kick();
                    }
                    return Ok(appended);
                }
                Err(refused) => {
                    drop(inner);
                    core.make_room(&refused, bytes, &mut patience)?;
                }
            }
        }
    }

    /// Blocks until everything up to `lsn` is durable. If nobody flushes, the caller does, on its own thread.
    ///
    /// # Errors
    /// `Poisoned`: whether the record is durable is unknown until the log is recovered. `Closed`, and `Beyond` for a
    /// position that was not handed out.
    pub fn wait(&self, lsn: Lsn) -> Result<(), LogError> {
        self.core().queue.wait(lsn, None).map(|_| ())
    }

    /// Like [`wait`](Self::wait), but gives up at `deadline` and returns `false`. A flush that the caller leads itself is
    /// finished first.
    ///
    /// # Errors
    /// As [`wait`](Self::wait).
    pub fn wait_deadline(&self, lsn: Lsn, deadline: Instant) -> Result<bool, LogError> {
        self.core().queue.wait(lsn, Some(deadline))
    }

    /// Resolves when everything up to `lsn` is durable, as [`wait`](Self::wait) does. In a log without threads the first
    /// poll flushes.
    ///
    /// # Cancel safety
    /// Dropping it leaves no trace; the record becomes durable all the same.
    pub fn durable_future(&self, lsn: Lsn) -> DurableWait {
        DurableWait { core: Arc::clone(&self.shared.core), lsn, place: None }
    }

    /// Everything up to here is durable.
    #[must_use]
    pub fn durable(&self) -> Lsn {
        self.core().queue.durable()
    }

    /// The last position handed out.
    #[must_use]
    pub fn appended(&self) -> Lsn {
        self.core().queue.lock().pending.last_lsn
    }

    /// The time of the last record.
    #[must_use]
    pub fn last_time(&self) -> Micros {
        self.core().queue.lock().pending.last_time
    }

    /// Why nothing becomes durable any more, if that is so.
    #[must_use]
    pub fn poisoned(&self) -> Option<LogError> {
        let inner = self.core().queue.lock();
        inner.failure().filter(|failure| matches!(failure, LogError::Poisoned { .. })).cloned()
    }

    /// The epoch that this log writes under; of a log open for reading, the last that wrote.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.core().epoch
    }

    /// Reads one record, durable or not. What is not durable must not leave the process.
    ///
    /// # Errors
    /// `Released` if it is not in the log any more, `Beyond` if not yet, `Damaged` if it is not what was written, `Io`.
    pub fn read(&self, lsn: Lsn) -> Result<OwnedRecord, LogError> {
        let segment = {
            let inner = self.core().queue.lock();
            let buffer = &inner.pending;
            if lsn > buffer.last_lsn {
                return Err(LogError::Beyond { lsn, last: buffer.last_lsn });
            }
            if let Some(record) = buffer.read(lsn) {
                return Ok(record);
            }
            buffer.segment_of(lsn).ok_or(LogError::Released { lsn })?.0
        };
        segment.read(lsn)
    }

    /// Visits the records after `after`, up to and with `through`, which must be durable, in order, each verified.
    ///
    /// # Errors
    /// `Beyond` if `through` is not durable, `Released` if the log does not reach back to `after`, `Damaged` if anything
    /// is not what was written, `Io`, and whatever `visit` returns.
    pub fn scan(&self, after: Lsn, through: Lsn, visit: &mut Visit<'_>) -> Result<(), LogError> {
        self.scan_where(after, through, &mut |_| true, visit)
    }

    /// As [`scan`](Self::scan), of those records only that are `wanted`: the others cost no checksum. What `wanted`
    /// looks at has the right position and lengths that agree, and is not verified yet.
    ///
    /// # Errors
    /// As [`scan`](Self::scan); damage within a record that is not wanted goes unseen.
    pub fn scan_where(
        &self,
        after: Lsn,
        through: Lsn,
        wanted: &mut Wanted<'_>,
        visit: &mut Visit<'_>,
    ) -> Result<(), LogError> {
        let last = self.durable();
        if through > last {
            return Err(LogError::Beyond { lsn: through, last });
        }
        let mut after = after;
        while after < through {
            let due = after.next();
            let (segment, last) = self.segment_of(due).ok_or(LogError::Released { lsn: due })?;
            let scanned = segment.scan(after, through.min(last), wanted, visit)?;
            if scanned < due {
                return Err(segment.file.damaged(0, due, "the record is not in its segment"));
            }
            after = scanned;
        }
        Ok(())
    }

    /// Records up to `keep_after` are not needed any more. Segments that hold nothing else are recycled under a new salt
    /// or removed, in the background; the log's files never shrink below one segment.
    ///
    /// # Errors
    /// `ReadOnly`, `Poisoned`, `Closed`; in a log without threads also `Io`.
    pub fn release(&self, keep_after: Lsn) -> Result<(), LogError> {
        let core = self.core();
        let durable = self.durable();
        {
            let mut inner = core.queue.lock();
            if inner.pending.is_read_only() {
                return Err(LogError::ReadOnly);
            }
            if let Some(failure) = inner.failure() {
                return Err(failure.clone());
            }
            let buffer = &mut inner.pending;
            buffer.release_through = buffer.release_through.max(keep_after.min(durable));
        }
        let keeper = core.keeper();
        if core.has_threads {
            keeper.forget_failure();
            keeper.kick();
            return Ok(());
        }
        match keeper.tidy(&core.queue, 0) {
            // Without room for the next segment the log goes on as far as it has room.
            Err(LogError::NoSpace { .. }) => Ok(()),
            other => other,
        }
    }

    /// Gives room back to a disk that is full: what was released and what is prepared, but for one segment and the
    /// reserve. Done on return; the next segments are prepared anew when they are needed.
    ///
    /// # Errors
    /// `ReadOnly`, `Poisoned`, `Closed`; `Io` if files could not be removed, which are tried again.
    pub fn shrink(&self) -> Result<(), LogError> {
        match &self.core().keeper {
            Some(keeper) => keeper.shrink(&self.core().queue),
            None => Err(LogError::ReadOnly),
        }
    }

    /// Goes on in a segment that holds zeros, and removes the files that are prepared and those that were released, so
    /// that they are not used again with what is in them. The segments that are needed stay until they are released, and
    /// the one that was written until a record is durable in the new one. Done on return.
    ///
    /// # Errors
    /// `NoSpace` and `Io` if the new segment could not be made, or files could not be removed, which are tried again;
    /// `ReadOnly`, `Poisoned`, `Closed`.
    pub fn renew(&self) -> Result<(), LogError> {
        match &self.core().keeper {
            Some(keeper) => keeper.renew(&self.core().queue),
            None => Err(LogError::ReadOnly),
        }
    }

    /// Makes everything appended so far durable, and returns its last position.
    ///
    /// # Errors
    /// As [`wait`](Self::wait).
    pub fn sync(&self) -> Result<Lsn, LogError> {
        let last = self.appended();
        self.wait(last)?;
        Ok(last)
    }

    /// Figures, all of one moment but those of the device.
    #[must_use]
    pub fn stats(&self) -> LogStats {
        let core = self.core();
        let device = &core.queue.device;
        let inner = core.queue.lock();
        let buffer = &inner.pending;
        let full: u64 = buffer.live.iter().rev().skip(1).map(|segment| segment.file.capacity).sum();
        LogStats {
            appended: buffer.last_lsn,
            durable: core.queue.durable(),
            fsyncs: device.fsyncs.load(Ordering::Relaxed),
            groups: device.groups.load(Ordering::Relaxed),
            bytes_written: device.bytes_written.load(Ordering::Relaxed),
            segments: buffer.live.len() as u64,
            log_bytes: full
                + match buffer.tail() {
                    Some((_, end)) => end,
                    None => buffer.live.back().map_or(0, |newest| newest.end()),
                },
            pending_bytes: buffer.pending_bytes(),
            ready_bytes: buffer.ready.iter().map(|file| file.capacity).sum(),
            reserve_bytes: buffer.reserve.as_ref().map_or(0, |file| file.capacity),
            released_below: Lsn(buffer.first_lsn().0 - 1),
        }
    }

    /// Flushes, leaves a synced seal behind the last record, ends the threads, and gives prepared room back but for one
    /// small segment, so that the next start writes no zeros. Everything appended before is durable on return; later
    /// calls get `Closed`. Closing twice is fine.
    ///
    /// # Errors
    /// `Poisoned` if the log is, or now fails; `Io` if room could not be given back, which harms nothing.
    pub fn close(&self) -> Result<(), LogError> {
        let core = self.core();
        let Some(keeper) = &core.keeper else {
            core.queue.stop(LogError::Closed);
            return Ok(());
        };
        // From here on nothing is appended, so after the sync nothing is pending.
        if std::mem::replace(&mut core.queue.lock().pending.is_closing, true) {
            return Ok(());
        }
        let synced = self.sync();
        self.shared.end_threads();
        synced?;
        core.await_leader();
        if let Some(poison) = self.poisoned() {
            return Err(poison);
        }
        let tail = core.queue.lock().pending.tail().map(|(segment, offset)| (Arc::clone(segment), offset));
        let (segment, offset) = tail.expect("a log that is written has a segment");
        core.queue.device.close(&segment.file, offset, self.durable())?;
        keeper.close(&core.queue)
    }
}

impl Core {
    fn keeper(&self) -> &Keeper {
        self.keeper.as_ref().expect("a log that is open for reading refuses before")
    }

    /// Does or waits for what lets a record in that was refused.
    fn make_room(&self, refused: &Refused, bytes: u64, patience: &mut Patience) -> Result<(), LogError> {
        match *refused {
            Refused::ReadOnly => Err(LogError::ReadOnly),
            Refused::Closed => Err(LogError::Closed),
            Refused::NeedsFlush(lsn) => self.queue.wait(lsn, None).map(|_| ()),
            Refused::NeedsSegment if self.has_threads => self.keeper().await_segment(bytes, patience),
            Refused::NeedsSegment => self.keeper().tidy(&self.queue, bytes),
        }
    }

    /// Waits until nobody flushes any more, after the queue was stopped.
    fn await_leader(&self) {
        while self.queue.lock().is_leading() {
            sleep(LEADER_POLL);
        }
    }
}

/// How often a close looks whether the last flush is over. Rare: a flush of another thread is on its way.
const LEADER_POLL: Duration = Duration::from_micros(50);

impl Shared {
    fn spawn(&self, name: &str, run: impl FnOnce(&Core) + Send + 'static) -> Result<(), LogError> {
        let core = Arc::clone(&self.core);
        let spawned = thread::Builder::new().name(name.to_owned()).spawn(move || run(&core));
        let thread = spawned.map_err(|error| LogError::io("start", name, error))?;
        self.threads.lock().push(thread);
        Ok(())
    }

    fn end_threads(&self) {
        self.core.queue.stop(LogError::Closed);
        if let Some(keeper) = &self.core.keeper {
            keeper.stop();
        }
        let threads = std::mem::take(&mut *self.threads.lock());
        for thread in threads {
            // A panic of the thread was reported by its own thread; the log's state has been checked by its asserts.
            let _ = thread.join();
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.end_threads();
    }
}

/// Waits for durability. See [`Log::durable_future`].
#[derive(Debug)]
#[must_use = "a future does nothing until it is polled"]
pub struct DurableWait {
    core: Arc<Core>,
    lsn: Lsn,
    /// Its place in the line, once it was polled.
    place: Option<u64>,
}

impl Future for DurableWait {
    type Output = Result<(), LogError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let poll = this.core.queue.poll(this.lsn, &mut this.place, cx);
        if poll.is_ready() {
            // Whoever made it ready took it out of the line.
            this.place = None;
        }
        poll
    }
}

impl Drop for DurableWait {
    fn drop(&mut self) {
        if let Some(place) = self.place {
            self.core.queue.forget(self.lsn, place);
        }
    }
}
