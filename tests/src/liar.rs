//! Disks that do not do what they say, for negative controls: whoever looks for lost commits has to find them there.

use std::{io, sync::Arc};

use lineal_wal::{Disk, DiskFile, DiskLock, OpenMode, sim::SimDisk};

/// What a disk says and does not do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lie {
    /// Makes files durable.
    SyncsFiles,
    /// Makes the log's files durable: a commit is acknowledged before its record is.
    SyncsLog,
    /// Makes packs durable before the log that they cover goes.
    SyncsPacks,
    /// Makes names durable.
    SyncsFolders,
    /// Makes anything durable.
    Syncs,
}

impl Lie {
    /// All of them.
    pub const ALL: [Lie; 5] =
        [Lie::SyncsFiles, Lie::SyncsLog, Lie::SyncsPacks, Lie::SyncsFolders, Lie::Syncs];
}

/// A disk that tells one lie.
#[derive(Debug)]
pub struct Liar<D>(D, Lie);

impl Liar<SimDisk> {
    /// In front of this disk.
    #[must_use]
    pub fn disk(disk: &SimDisk, lie: Lie) -> Arc<dyn Disk> {
        Self::over(disk.clone(), lie)
    }
}

impl<D: Disk + 'static> Liar<D> {
    /// In front of a disk of any kind.
    #[must_use]
    pub fn over(disk: D, lie: Lie) -> Arc<dyn Disk> {
        Arc::new(Liar(disk, lie))
    }
}

#[derive(Debug)]
struct File {
    inner: Box<dyn DiskFile>,
    syncs: bool,
}

impl<D: Disk> Disk for Liar<D> {
    fn open(&self, path: &str, mode: OpenMode) -> io::Result<Box<dyn DiskFile>> {
        let syncs = match self.1 {
            Lie::SyncsFiles | Lie::Syncs => false,
            Lie::SyncsLog => !path.ends_with(".log"),
            Lie::SyncsPacks => !path.ends_with(".pack"),
            Lie::SyncsFolders => true,
        };
        Ok(Box::new(File { inner: self.0.open(path, mode)?, syncs }))
    }

    fn create_dir(&self, path: &str) -> io::Result<()> {
        self.0.create_dir(path)
    }

    fn list(&self, dir: &str) -> io::Result<Vec<String>> {
        self.0.list(dir)
    }

    fn exists(&self, path: &str) -> io::Result<bool> {
        self.0.exists(path)
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        self.0.remove(path)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.0.rename(from, to)
    }

    fn sync_dir(&self, dir: &str) -> io::Result<()> {
        if matches!(self.1, Lie::SyncsFolders | Lie::Syncs) { Ok(()) } else { self.0.sync_dir(dir) }
    }

    fn free_bytes(&self) -> io::Result<u64> {
        self.0.free_bytes()
    }

    fn lock(&self, path: &str, exclusive: bool) -> io::Result<Box<dyn DiskLock>> {
        self.0.lock(path, exclusive)
    }
}

impl DiskFile for File {
    fn read_exact_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        self.inner.read_exact_at(bytes, offset)
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.inner.write_all_at(bytes, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        if self.syncs { self.inner.sync_data() } else { Ok(()) }
    }

    fn sync_all(&self) -> io::Result<()> {
        if self.syncs { self.inner.sync_all() } else { Ok(()) }
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
