//! The list of segments: which files belong to the log, under which salts. Layout and reasons are in `format.rs`.

use crate::disk::{Disk, DiskFile, OpenMode};
use crate::error::LogError;
use crate::format::{LIST_NEW_PATH, LIST_PATH, LOG_DIR, List, ListEntry, NotValid, SECTOR_BYTES, VERSION};
use crate::ids::{EngineId, Epoch};
use crate::planted::{self, Bug};
use crate::sync::Arc;
use std::io;

/// Largest slot that is read, in bytes: 2 million segments.
const SLOT_BYTES_MAX: u64 = 64 << 20;

/// The generation of a list that nobody has written to since it was made: nothing was ever appended to such a log.
pub(crate) const FIRST_GENERATION: u64 = 1;

/// Makes the folder of a log. Durable on return.
pub(crate) fn make_folder(disk: &dyn Disk) -> Result<(), LogError> {
    disk.create_dir(LOG_DIR).map_err(|error| LogError::io("make", LOG_DIR, error))?;
    if planted::on(Bug::FolderNotSynced) {
        return Ok(());
    }
    disk.sync_dir("").map_err(|error| LogError::io("sync", "", error))
}

/// What the list file holds.
#[derive(Debug)]
pub(crate) enum Found {
    /// There is none.
    Missing,
    /// Its newest whole generation, and the size of its slots.
    Whole(List, u64),
    /// Neither slot is whole.
    Broken,
}

/// Reads the list. An unreadable file is an error, an unreadable content is not.
pub(crate) fn read(disk: &dyn Disk) -> Result<Found, LogError> {
    let failed = |error| LogError::io("read", LIST_PATH, error);
    let file = match disk.open(LIST_PATH, OpenMode::Read) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::Missing),
        Err(error) => return Err(failed(error)),
    };
    let bytes = file.len().map_err(failed)?;
    // A file that lost its end still has its first slot at the start; the sizes that slots have are known.
    let slot_bytes = (bytes / 2).max(u64::from(SECTOR_BYTES));
    if slot_bytes > SLOT_BYTES_MAX {
        return Ok(Found::Broken);
    }
    let mut newest: Option<List> = None;
    for slot in 0..2 {
        let start = slot * slot_bytes;
        let there = bytes.saturating_sub(start).min(slot_bytes);
        let mut content = vec![0; usize::try_from(there).expect("it is capped")];
        file.read_exact_at(&mut content, start).map_err(failed)?;
        match List::decode(&content) {
            Ok(list) if newest.as_ref().is_none_or(|newest| newest.generation < list.generation) => {
                newest = Some(list);
            }
            Err(NotValid::Newer(found)) => {
                return Err(LogError::NewerVersion { path: LIST_PATH.to_owned(), found, known: VERSION });
            }
            Ok(_) | Err(NotValid::Other) => {}
        }
    }
    Ok(newest.map_or(Found::Broken, |list| Found::Whole(list, slot_bytes)))
}

/// The list of a log that is open for writing.
#[derive(Debug)]
pub(crate) struct ListFile {
    disk: Arc<dyn Disk>,
    file: Box<dyn DiskFile>,
    slot_bytes: u64,
    list: List,
}

impl ListFile {
    /// Makes the list of a new log, its first generation. Durable on return.
    pub(crate) fn create(
        disk: Arc<dyn Disk>,
        engine: EngineId,
        epoch: Epoch,
        entries: Vec<ListEntry>,
    ) -> Result<Self, LogError> {
        let list = List { engine, generation: FIRST_GENERATION, epoch, entries };
        let slot_bytes = (list.bytes() as u64).next_power_of_two().max(u64::from(SECTOR_BYTES));
        let file = write_new(&*disk, &list, slot_bytes)?;
        Ok(Self { disk, file, slot_bytes, list })
    }

    /// Opens the list that recovery read, and makes it durable: a process that was killed may have left it, or its name, in
    /// the page cache only, and what is written next goes over the generation before it.
    pub(crate) fn open(disk: Arc<dyn Disk>, list: List, slot_bytes: u64) -> Result<Self, LogError> {
        let file = disk
            .open(LIST_PATH, OpenMode::ReadWrite)
            .map_err(|error| LogError::io("open", LIST_PATH, error))?;
        file.sync_data().map_err(|error| LogError::io("sync", LIST_PATH, error))?;
        disk.sync_dir(LOG_DIR).map_err(|error| LogError::io("sync", LOG_DIR, error))?;
        Ok(Self { disk, file, slot_bytes, list })
    }

    pub(crate) fn generation(&self) -> u64 {
        self.list.generation
    }

    pub(crate) fn set_epoch(&mut self, epoch: Epoch) {
        self.list.epoch = epoch;
    }

    /// Replaces the entries; durable on return.
    ///
    /// # Errors
    /// `Poisoned` when nothing is known about the file any more; `Io` when it is as it was.
    pub(crate) fn write(&mut self, entries: Vec<ListEntry>) -> Result<(), LogError> {
        let mut next = List { generation: self.list.generation + 1, entries, ..self.list.clone() };
        if next.bytes() as u64 > self.slot_bytes {
            // The slot of a new file follows from the generation as in the old one.
            let slot_bytes = (next.bytes() as u64).next_power_of_two();
            self.file = write_new(&*self.disk, &next, slot_bytes)?;
            self.slot_bytes = slot_bytes;
            self.list = next;
            return Ok(());
        }
        let slot = next.generation % 2;
        let mut bytes = next.encode();
        bytes.resize(bytes.len().next_multiple_of(SECTOR_BYTES as usize), 0);
        let outcome = self.file.write_all_at(&bytes, slot * self.slot_bytes);
        outcome.map_err(|error| LogError::poisoned("write", LIST_PATH, error))?;
        self.file.sync_data().map_err(|error| LogError::poisoned("sync", LIST_PATH, error))?;
        std::mem::swap(&mut self.list, &mut next);
        Ok(())
    }
}

/// Puts a list of one generation in the place of whatever list there is, all or nothing.
fn write_new(disk: &dyn Disk, list: &List, slot_bytes: u64) -> Result<Box<dyn DiskFile>, LogError> {
    let mut bytes = vec![0; usize::try_from(2 * slot_bytes).expect("it is in memory")];
    let start = if list.generation.is_multiple_of(2) { 0 } else { bytes.len() / 2 };
    let encoded = list.encode();
    bytes[start..start + encoded.len()].copy_from_slice(&encoded);
    let write = || -> io::Result<Box<dyn DiskFile>> {
        let file = disk.open(LIST_NEW_PATH, OpenMode::Create)?;
        file.set_len(0)?;
        file.write_all_at(&bytes, 0)?;
        file.sync_all()?;
        Ok(file)
    };
    let file = write().map_err(|error| LogError::io("write", LIST_NEW_PATH, error))?;
    disk.rename(LIST_NEW_PATH, LIST_PATH).map_err(|error| LogError::io("rename", LIST_NEW_PATH, error))?;
    // From here on either list may be the one that a crash leaves.
    disk.sync_dir(LOG_DIR).map_err(|error| LogError::poisoned("sync", LOG_DIR, error))?;
    Ok(file)
}
