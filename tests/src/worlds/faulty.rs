//! Disks whose faults are about places: a write that is acknowledged and is not where it should be, and sectors that cannot be
//! read.

use std::{
    io,
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use lineal_wal::{Disk, DiskFile, DiskLock, OpenMode, sim::SimDisk};

/// What goes wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// The write of this number, counted from 0, is dropped.
    Lost(u64),
    /// It comes to lie so many bytes behind its place.
    Shifted(u64, u64),
    /// It comes to lie at this offset of another file.
    Into(u64, String, u64),
    /// These bytes of a file cannot be read.
    Unreadable(String, Range<u64>),
}

/// A disk with such a fault.
#[derive(Clone, Debug)]
pub struct Faulty {
    disk: SimDisk,
    place: Place,
    writes: Arc<AtomicU64>,
}

impl Faulty {
    /// In front of this disk.
    #[must_use]
    pub fn new(disk: &SimDisk, place: Place) -> Faulty {
        Faulty { disk: disk.clone(), place, writes: Arc::default() }
    }

    /// Writes so far.
    #[must_use]
    pub fn writes(&self) -> u64 {
        self.writes.load(Ordering::Relaxed)
    }
}

#[derive(Debug)]
struct File {
    inner: Box<dyn DiskFile>,
    path: String,
    of: Faulty,
}

impl Disk for Faulty {
    fn open(&self, path: &str, mode: OpenMode) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(File { inner: self.disk.open(path, mode)?, path: path.to_owned(), of: self.clone() }))
    }

    fn create_dir(&self, path: &str) -> io::Result<()> {
        self.disk.create_dir(path)
    }

    fn list(&self, dir: &str) -> io::Result<Vec<String>> {
        self.disk.list(dir)
    }

    fn exists(&self, path: &str) -> io::Result<bool> {
        self.disk.exists(path)
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        self.disk.remove(path)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.disk.rename(from, to)
    }

    fn sync_dir(&self, dir: &str) -> io::Result<()> {
        self.disk.sync_dir(dir)
    }

    fn free_bytes(&self) -> io::Result<u64> {
        self.disk.free_bytes()
    }

    fn lock(&self, path: &str, exclusive: bool) -> io::Result<Box<dyn DiskLock>> {
        self.disk.lock(path, exclusive)
    }
}

impl DiskFile for File {
    fn read_exact_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        if let Place::Unreadable(path, range) = &self.of.place
            && *path == self.path
            && offset < range.end
            && range.start < offset + bytes.len() as u64
        {
            return Err(io::Error::other("a sector that cannot be read"));
        }
        self.inner.read_exact_at(bytes, offset)
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let number = self.of.writes.fetch_add(1, Ordering::Relaxed);
        match &self.of.place {
            Place::Lost(lost) if *lost == number => Ok(()),
            Place::Shifted(shifted, by) if *shifted == number => self.inner.write_all_at(bytes, offset + by),
            Place::Into(astray, path, at) if *astray == number => {
                self.of.disk.open(path, OpenMode::ReadWrite)?.write_all_at(bytes, *at)
            }
            _ => self.inner.write_all_at(bytes, offset),
        }
    }

    fn sync_data(&self) -> io::Result<()> {
        self.inner.sync_data()
    }

    fn sync_all(&self) -> io::Result<()> {
        self.inner.sync_all()
    }

    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.inner.set_len(len)
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        self.inner.allocate(len)
    }

    fn start_writeback(&self, offset: u64, len: u64) -> io::Result<()> {
        self.inner.start_writeback(offset, len)
    }

    fn discard(&self, offset: u64, len: u64) -> io::Result<()> {
        self.inner.discard(offset, len)
    }

    fn is_written(&self, len: u64) -> io::Result<bool> {
        self.inner.is_written(len)
    }
}
