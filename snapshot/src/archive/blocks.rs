//! The local cache of pieces of packs: one file of slots of 64 KiB, of which nothing is believed or kept.
//!
//! Each slot's hash is in memory and compared whenever the slot is read, so what another hand or the disk did to the file
//! is a miss. The file is made when the first piece comes, emptied, never synced, and nothing in it outlives the process.
//! Pieces for which it has no room (a full disk, no place for files) are kept in memory, a few of them, so that whoever
//! waited for one finds it.

use super::clock::Clock;
use super::pieces::PIECE_BYTES;
use crate::sync::{Arc, Mutex, OnceLock};
use bytes::Bytes;
use lineal_wal::{Disk, DiskFile, OpenMode};

/// The folder of the cache in the data directory.
const CACHE_FOLDER: &str = "cache";
/// The file.
const CACHE_PATH: &str = "cache/blocks";

/// How many pieces may be in memory for lack of another place. Source: a decision; 4 MiB.
const SPARE_PIECES: usize = 64;

/// A piece of a pack: the beginning of the pack's hash, and the piece's number.
pub(crate) type BlockKey = ([u8; 16], u64);

#[derive(Debug, Clone, Copy)]
struct Stored {
    bytes: u32,
    hash: [u8; 32],
}

#[derive(Debug)]
pub(crate) struct Blocks {
    disk: Arc<dyn Disk>,
    file: OnceLock<Option<Box<dyn DiskFile>>>,
    slots: Mutex<Clock<BlockKey, Stored>>,
    spare: Mutex<Clock<BlockKey, Bytes>>,
}

impl Blocks {
    /// A cache of at most so many bytes on `disk`; touches nothing yet.
    pub(crate) fn new(disk: Arc<dyn Disk>, cache_bytes: u64) -> Self {
        let slots = usize::try_from(cache_bytes / PIECE_BYTES).unwrap_or(usize::MAX);
        Self {
            disk,
            file: OnceLock::new(),
            slots: Mutex::new(Clock::new(slots)),
            spare: Mutex::new(Clock::new(SPARE_PIECES)),
        }
    }

    /// Bytes of pieces that it holds.
    pub(crate) fn held_bytes(&self) -> u64 {
        (self.slots.lock().len() + self.spare.lock().len()) as u64 * PIECE_BYTES
    }

    pub(crate) fn contains(&self, key: &BlockKey) -> bool {
        self.slots.lock().contains(key) || self.spare.lock().contains(key)
    }

    /// A piece, if it is here and is what was put here. Blocks.
    pub(crate) fn get(&self, key: &BlockKey) -> Option<Bytes> {
        let found = self.slots.lock().get(key).map(|(index, stored)| (index, *stored));
        let Some((index, stored)) = found else {
            return self.spare.lock().get(key).map(|(_, bytes)| bytes.clone());
        };
        let mut bytes = vec![0; usize::try_from(stored.bytes).unwrap_or(usize::MAX)];
        let file = self.file.get()?.as_ref()?;
        let read = file.read_exact_at(&mut bytes, index as u64 * PIECE_BYTES);
        if read.is_ok() && blake3::hash(&bytes) == stored.hash {
            return Some(Bytes::from(bytes));
        }
        // The slot was given to another piece meanwhile, or the file is not what was written.
        let mut slots = self.slots.lock();
        if slots.get(key).is_some_and(|(now, _)| now == index) {
            slots.remove(key);
        }
        None
    }

    /// Keeps a verified piece. Blocks.
    pub(crate) fn insert(&self, key: BlockKey, bytes: &[u8]) {
        if !self.write(key, bytes) {
            // A copy, so that a piece does not keep all that came with it.
            self.spare.lock().insert(key, Bytes::copy_from_slice(bytes));
        }
    }

    fn write(&self, key: BlockKey, bytes: &[u8]) -> bool {
        let Some(file) = self.file.get_or_init(|| self.make()) else {
            return false;
        };
        let Some(index) = self.slots.lock().reserve() else {
            return false;
        };
        if file.write_all_at(bytes, index as u64 * PIECE_BYTES).is_err() {
            self.slots.lock().release(index);
            return false;
        }
        let stored = Stored {
            bytes: u32::try_from(bytes.len()).unwrap_or(u32::MAX),
            hash: *blake3::hash(bytes).as_bytes(),
        };
        self.slots.lock().fill(index, key, stored);
        true
    }

    fn make(&self) -> Option<Box<dyn DiskFile>> {
        let make = || -> std::io::Result<_> {
            self.disk.create_dir(CACHE_FOLDER)?;
            let file = self.disk.open(CACHE_PATH, OpenMode::Create)?;
            file.set_len(0)?;
            Ok(file)
        };
        // Without a file the spare room does.
        make().ok()
    }
}
