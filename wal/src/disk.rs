//! The seam under every file: what the engine asks of a disk, and nothing more.
//!
//! Paths are relative to the data directory, at most one folder deep: `"log/0000000000000001.log"`. All calls block.

use std::fmt::Debug;
use std::io;

/// How a file is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenMode {
    /// An existing file, for reading.
    Read,
    /// An existing file, for reading and writing.
    ReadWrite,
    /// An existing file, or a new empty one, for reading and writing.
    Create,
    /// A new empty file; `AlreadyExists` if there is one.
    CreateNew,
}

/// A folder on a disk, real or simulated.
pub trait Disk: Send + Sync + Debug {
    /// Opens a file. Its directory entry is durable only after [`sync_dir`](Self::sync_dir).
    ///
    /// # Errors
    /// What the operating system says; `InvalidInput` for a path that leads out of the data directory.
    fn open(&self, path: &str, mode: OpenMode) -> io::Result<Box<dyn DiskFile>>;

    /// Makes a folder; one that exists is fine. `""` is the data directory itself, made with its parents.
    ///
    /// # Errors
    /// What the operating system says.
    fn create_dir(&self, path: &str) -> io::Result<()>;

    /// The names of the files in a folder, sorted.
    ///
    /// # Errors
    /// `NotFound` if there is no such folder, and what the operating system says.
    fn list(&self, dir: &str) -> io::Result<Vec<String>>;

    /// Whether there is such a file or folder.
    ///
    /// # Errors
    /// What the operating system says.
    fn exists(&self, path: &str) -> io::Result<bool>;

    /// Removes a file; durable after [`sync_dir`](Self::sync_dir). Who has it open keeps reading it.
    ///
    /// # Errors
    /// `NotFound` if there is none, and what the operating system says.
    fn remove(&self, path: &str) -> io::Result<()>;

    /// Renames a file over another, in the same folder, all or nothing; durable after [`sync_dir`](Self::sync_dir).
    ///
    /// # Errors
    /// What the operating system says.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Makes the entries of a folder durable.
    ///
    /// # Errors
    /// What the operating system says.
    fn sync_dir(&self, dir: &str) -> io::Result<()>;

    /// Bytes that this process may still allocate.
    ///
    /// # Errors
    /// What the operating system says.
    fn free_bytes(&self) -> io::Result<u64>;

    /// Locks a file against other processes until the lock is dropped. An exclusive lock makes the file if there is
    /// none; a shared one opens an existing file for reading and changes nothing.
    ///
    /// # Errors
    /// `WouldBlock` if somebody holds it, `NotFound` for a shared lock on no file.
    fn lock(&self, path: &str, exclusive: bool) -> io::Result<Box<dyn DiskLock>>;
}

/// An open file. Offsets are explicit, so that any number of threads can share it.
#[expect(clippy::len_without_is_empty, reason = "a file is not a collection")]
pub trait DiskFile: Send + Sync + Debug {
    /// Fills `bytes` from `offset` on.
    ///
    /// # Errors
    /// `UnexpectedEof` if the file ends before, and what the operating system says.
    fn read_exact_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()>;

    /// Writes all of `bytes` at `offset`; durable after a sync. After an error any part may have been written.
    ///
    /// # Errors
    /// What the operating system says; `StorageFull` when there is no room.
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Makes what was written durable, with as much metadata as reading it needs.
    ///
    /// After an error nothing is known about what was written since the last success, and no later call of this tells.
    ///
    /// # Errors
    /// What the operating system says.
    fn sync_data(&self) -> io::Result<()>;

    /// Like [`sync_data`](Self::sync_data), with all metadata.
    ///
    /// # Errors
    /// What the operating system says.
    fn sync_all(&self) -> io::Result<()>;

    /// Bytes of the file.
    ///
    /// # Errors
    /// What the operating system says.
    fn len(&self) -> io::Result<u64>;

    /// Cuts the file or extends it with zeros.
    ///
    /// # Errors
    /// What the operating system says.
    fn set_len(&self, len: u64) -> io::Result<()>;

    /// Allocates room for the first `len` bytes and extends the file to them, so that a full disk is found here.
    ///
    /// # Errors
    /// `StorageFull` when there is no room, and what the operating system says.
    fn allocate(&self, len: u64) -> io::Result<()>;

    /// A hint to start writing a range back now, so that a later sync has little left to do. Promises nothing.
    ///
    /// # Errors
    /// What the operating system says.
    fn start_writeback(&self, offset: u64, len: u64) -> io::Result<()>;

    /// Gives the room of a range back, whose bytes nobody needs any more; the length stays. Where that is not
    /// possible it does nothing.
    ///
    /// # Errors
    /// What the operating system says.
    fn discard(&self, _offset: u64, _len: u64) -> io::Result<()> {
        Ok(())
    }

    /// Whether all of the first `len` bytes lie in room that was written before. Where some do not, a write there still
    /// has to find room, and its sync rests on the file system's own journal. `true` where nobody can tell.
    ///
    /// # Errors
    /// What the operating system says.
    fn is_written(&self, _len: u64) -> io::Result<bool> {
        Ok(true)
    }
}

/// A lock on a file, held until it is dropped.
pub trait DiskLock: Send + Sync + Debug {}
