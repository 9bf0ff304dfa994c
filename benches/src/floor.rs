//! The floors that figures stand beside: what the disk and the processor do without an engine.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::FileExt,
    path::Path,
    time::{Duration, Instant},
};

use parking_lot::{Condvar, Mutex};

/// Bytes that a group of one small record takes: one sector.
pub const SECTOR_BYTES: usize = 4096;

/// A file of zeros that is written over and synced, as a log segment is.
pub struct Preallocated {
    file: File,
    bytes: u64,
    at: u64,
}

impl Preallocated {
    /// Makes the file, zeroed and durable.
    ///
    /// # Errors
    /// What the file system says.
    pub fn create(path: &Path, bytes: u64) -> io::Result<Preallocated> {
        let file = OpenOptions::new().create(true).truncate(true).read(true).write(true).open(path)?;
        let zeros = vec![0; 1 << 20];
        for offset in (0..bytes).step_by(zeros.len()) {
            file.write_all_at(&zeros, offset)?;
        }
        file.sync_all()?;
        Ok(Preallocated { file, bytes, at: 0 })
    }

    /// One write and one fdatasync.
    ///
    /// # Errors
    /// What the file system says.
    pub fn write_and_sync(&mut self, group: &[u8]) -> io::Result<()> {
        if self.at + group.len() as u64 > self.bytes {
            self.at = 0;
        }
        self.file.write_all_at(group, self.at)?;
        self.at += group.len() as u64;
        self.file.sync_data()
    }
}

/// Threads that wait for one another's fsyncs, with nothing else: the floor of blocking group commit.
pub struct GroupSync {
    state: Mutex<Group>,
    turned: Condvar,
}

struct Group {
    file: Option<Preallocated>,
    waiting: usize,
    tickets: u64,
    done: u64,
    /// fsyncs so far.
    syncs: u64,
}

impl GroupSync {
    /// Groups that are written to `file`.
    pub fn new(file: Preallocated) -> GroupSync {
        let group = Group { file: Some(file), waiting: 0, tickets: 0, done: 0, syncs: 0 };
        GroupSync { state: Mutex::new(group), turned: Condvar::new() }
    }

    /// Writes `record_bytes` as a part of some group, and returns when that group is durable.
    pub fn commit(&self, record_bytes: usize) {
        let mut group = self.state.lock();
        group.tickets += 1;
        group.waiting += 1;
        let ticket = group.tickets;
        while group.done < ticket {
            let Some(mut file) = group.file.take() else {
                self.turned.wait(&mut group);
                continue;
            };
            let (through, count) = (group.tickets, std::mem::take(&mut group.waiting));
            drop(group);
            let bytes = (count * record_bytes).next_multiple_of(SECTOR_BYTES);
            file.write_and_sync(&vec![7; bytes]).expect("the floor's file can be written");
            group = self.state.lock();
            group.file = Some(file);
            group.done = through;
            group.syncs += 1;
            self.turned.notify_all();
        }
    }

    /// fsyncs so far.
    pub fn syncs(&self) -> u64 {
        self.state.lock().syncs
    }
}

/// Encodes, checksums, copies and syncs records of `value_bytes`, `in_flight` to a group, for `limit`: the floor of
/// pipelined commits. Returns records per second.
///
/// # Errors
/// What the file system says.
pub fn encode_and_sync(
    file: &mut Preallocated,
    value_bytes: usize,
    in_flight: usize,
    limit: Duration,
) -> io::Result<f64> {
    let value = vec![7u8; value_bytes];
    let mut group = Vec::new();
    let mut records = 0u64;
    let started = Instant::now();
    while started.elapsed() < limit {
        group.clear();
        for _ in 0..in_flight {
            let start = group.len();
            group.extend_from_slice(&[0; 80]);
            group[start + 8..start + 16].copy_from_slice(&records.to_le_bytes());
            group.extend_from_slice(&value);
            let crc = crc32fast::hash(&group[start + 4..]);
            group[start..start + 4].copy_from_slice(&crc.to_le_bytes());
            records += 1;
        }
        group.resize(group.len().next_multiple_of(SECTOR_BYTES), 0);
        file.write_and_sync(&group)?;
    }
    Ok(records as f64 / started.elapsed().as_secs_f64())
}
