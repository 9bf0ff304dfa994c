//! Where groups go: one write and one `fdatasync`, then the seal.

use crate::batch::Batch;
use crate::error::LogError;
use crate::format::{SECTOR_BYTES, Seal, sector};
use crate::ids::Lsn;
use crate::options::OnDurable;
use crate::planted::{self, Bug};
use crate::queue::{Device, Flushed};
use crate::segment::SegmentFile;
use crate::sync::Arc;
use crate::sync::atomic::{AtomicU64, Ordering};
use std::fmt;

/// The segment files, as the leader sees them, and what it did to them.
#[derive(Default)]
pub(crate) struct Segments {
    /// Only the leader, or who starts or closes the log, counts here; others read.
    pub(crate) fsyncs: AtomicU64,
    pub(crate) groups: AtomicU64,
    pub(crate) bytes_written: AtomicU64,
    /// Who is told how far the log is durable.
    pub(crate) on_durable: Option<OnDurable>,
}

impl fmt::Debug for Segments {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Segments")
            .field("fsyncs", &self.fsyncs)
            .field("groups", &self.groups)
            .field("bytes_written", &self.bytes_written)
            .finish_non_exhaustive()
    }
}

impl Segments {
    fn count(counter: &AtomicU64, more: u64) {
        counter.fetch_add(more, Ordering::Relaxed);
    }

    /// Writes a group and makes it durable.
    fn write(&self, batch: &Batch) -> Result<(), LogError> {
        let SegmentFile { file, path, .. } = &batch.segment.file;
        let (bytes, offset) = batch.output();
        let early = planted::on(Bug::AckBeforeSync);
        if early {
            sync(&batch.segment.file)?;
        }
        file.write_all_at(bytes, offset).map_err(|error| LogError::poisoned("write", path, error))?;
        Self::count(&self.fsyncs, 1);
        if !early && !planted::on(Bug::SyncSkipped) {
            sync(&batch.segment.file)?;
        }
        Self::count(&self.groups, 1);
        Self::count(&self.bytes_written, bytes.len() as u64);
        Ok(())
    }

    /// Leaves word behind the last group of what is durable.
    fn write_seal(
        &self,
        segment: &SegmentFile,
        offset: u64,
        durable: Lsn,
        closed: bool,
    ) -> Result<(), LogError> {
        let seal = Seal { salt: segment.salt, id: segment.id, offset, durable, closed };
        let outcome = segment.file.write_all_at(&sector(&seal.encode()), offset);
        outcome.map_err(|error| LogError::poisoned("write", &segment.path, error))?;
        Self::count(&self.bytes_written, u64::from(SECTOR_BYTES));
        Ok(())
    }

    /// Writes the last seal of a log that is closed, and makes it durable.
    pub(crate) fn close(&self, segment: &SegmentFile, offset: u64, durable: Lsn) -> Result<(), LogError> {
        self.write_seal(segment, offset, durable, true)?;
        Self::count(&self.fsyncs, 1);
        sync(segment)?;
        // Nothing is ever appended to an old segment: what is behind the last seal is room for nothing. A file system
        // that refuses keeps it until the segment is released.
        let end = offset + u64::from(segment.sector_bytes);
        if end < segment.capacity {
            let _ = segment.file.discard(end, segment.capacity - end);
        }
        Ok(())
    }
}

impl Device<Arc<Batch>> for Segments {
    fn flush(&self, batch: &Arc<Batch>) -> Flushed {
        if let Err(failure) = self.write(batch) {
            return Flushed { durable: None, failure: Some(failure) };
        }
        let header = batch.header.as_ref().expect("a batch that is flushed is sealed");
        let durable = header.last_lsn();
        if planted::on(Bug::SealSkipped) {
            return Flushed { durable: Some(durable), failure: None };
        }
        // The group is durable even if word of it cannot be left; nothing after it will be.
        let sealed = self.write_seal(&batch.segment.file, batch.end(), durable, false);
        Flushed { durable: Some(durable), failure: sealed.err() }
    }

    fn published(&self, durable: Lsn) {
        if let Some(tell) = &self.on_durable {
            tell(durable);
        }
    }
}

/// Makes what was written to a segment durable. After a failure nothing is known of it, so it is not tried again.
fn sync(segment: &SegmentFile) -> Result<(), LogError> {
    let mut outcome = segment.file.sync_data();
    if outcome.is_err() && planted::on(Bug::SyncRetried) {
        outcome = segment.file.sync_data();
    }
    outcome.map_err(|error| LogError::poisoned("sync", &segment.path, error))
}
