//! Room that the engine keeps for itself: a file that holds nothing, allocated ahead, and given up when a full disk
//! stops the work that frees room.
//!
//! A checkpoint needs room before it gives any back, so a disk without a free byte would stay full for ever. The file
//! is as long as a checkpoint of the log that is not packed needs, and some more: for the smallest merge of packs, and
//! for pages of the catalog. Deletes, purges and the system's commits have the log's own reserve, and come first. Who
//! meets a full disk gives the file up and tries once more. It is made again before users write again: until then the
//! room that is left belongs to the work that frees more.
//!
//! It is there while a directory is open for writing. A clean close takes it away; a writable open after a kill takes
//! over what it finds, and gives it up where the disk has no room for opening.

use std::io;

use lineal_wal::{Disk, OpenMode};

use crate::{
    Error, Result,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

/// The file. Its bytes mean nothing.
const FILE: &str = "BALLAST";

/// See the head of this file.
pub(crate) struct Ballast {
    disk: Arc<dyn Disk>,
    /// Its size while everything is packed, and the step that it grows by, in bytes. 0: none is kept.
    base: u64,
    /// Bytes of the file.
    bytes: Mutex<u64>,
    /// Unpacked bytes that it has room for.
    covers: AtomicU64,
    /// Whether it has to be made again, or to grow, before a user writes.
    owed: AtomicBool,
    /// Whether it is owed because somebody needs its room.
    given_up: AtomicBool,
}

impl Ballast {
    /// What an engine left that did not close; [`provide`](Ballast::provide) makes it what it should be. With a base of
    /// 0, as for reading, it is counted and left alone.
    pub(crate) fn new(disk: Arc<dyn Disk>, base: u64) -> Ballast {
        let bytes = disk.open(FILE, OpenMode::Read).and_then(|file| file.len()).unwrap_or(0);
        let covers = AtomicU64::new(if base == 0 { u64::MAX } else { bytes.saturating_sub(base) });
        let (owed, given_up) = (AtomicBool::new(false), AtomicBool::new(false));
        Ballast { disk, base, bytes: Mutex::new(bytes), covers, owed, given_up }
    }

    /// Gives up what an engine left that did not close. Returns whether that made room.
    pub(crate) fn discard(disk: &dyn Disk) -> bool {
        disk.remove(FILE).is_ok()
    }

    /// Bytes that it takes on disk.
    pub(crate) fn bytes(&self) -> u64 {
        *self.bytes.lock()
    }

    /// Whether one is kept in this engine.
    pub(crate) fn is_kept(&self) -> bool {
        self.base > 0
    }

    /// Whether so many unpacked bytes are more than it has room for.
    #[inline]
    pub(crate) fn is_outgrown(&self, unpacked_bytes: u64) -> bool {
        unpacked_bytes > self.covers.load(Ordering::Relaxed)
    }

    /// Whether it was outgrown by the last `bytes` of so many unpacked ones, or they have come a step further since:
    /// somebody should see to it, and need not be told with every commit.
    #[inline]
    pub(crate) fn was_outgrown_by(&self, bytes: u64, unpacked_bytes: u64) -> bool {
        let before = unpacked_bytes.saturating_sub(bytes);
        self.is_outgrown(unpacked_bytes)
            && (!self.is_outgrown(before) || before / self.base != unpacked_bytes / self.base)
    }

    /// Whether users have to wait for it.
    #[inline]
    pub(crate) fn is_owed(&self) -> bool {
        self.owed.load(Ordering::Relaxed)
    }

    /// Whether it is owed because somebody needs its room.
    pub(crate) fn is_given_up(&self) -> bool {
        self.given_up.load(Ordering::Relaxed)
    }

    /// Lets the next user who writes see to it, if one is kept.
    pub(crate) fn owe(&self) {
        self.owed.store(self.is_kept(), Ordering::Relaxed);
    }

    /// Makes it as large as so many unpacked bytes need, or smaller where they need less.
    ///
    /// # Errors
    /// [`Error::NoSpace`]: users do not write before this succeeds. Where the file cannot be made for another reason
    /// the engine does without.
    pub(crate) fn provide(&self, unpacked_bytes: u64) -> Result<()> {
        if self.base == 0 {
            return Ok(());
        }
        let covered = unpacked_bytes.next_multiple_of(self.base);
        let wanted = self.base + covered;
        let mut bytes = self.bytes.lock();
        if let Err(error) = self.resize(*bytes, wanted) {
            let full = matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
            if full {
                self.owe();
                let detail = format!("{wanted} bytes for {FILE}, the room that checkpoints need: {error}");
                return Err(Error::NoSpace { detail });
            }
            tracing::warn!(%error, "no room is kept for a full disk");
            self.covers.store(u64::MAX, Ordering::Relaxed);
        } else {
            *bytes = wanted;
            self.covers.store(covered, Ordering::Relaxed);
        }
        self.owed.store(false, Ordering::Relaxed);
        self.given_up.store(false, Ordering::Relaxed);
        Ok(())
    }

    fn resize(&self, from: u64, to: u64) -> io::Result<()> {
        if from == to {
            return Ok(());
        }
        let file = self.disk.open(FILE, OpenMode::Create)?;
        if to < from {
            return file.set_len(to);
        }
        let grown = file.allocate(to);
        if grown.is_err() {
            // A part may have been allocated, and the disk is full.
            let _ = file.set_len(from);
        }
        grown
    }

    /// Gives it up. Returns whether that made room.
    pub(crate) fn give_up(&self) -> bool {
        let mut bytes = self.bytes.lock();
        if *bytes == 0 || self.base == 0 {
            return false;
        }
        if let Err(error) = self.disk.remove(FILE) {
            tracing::warn!(%error, "the room that is kept for a full disk cannot be given up");
            return false;
        }
        tracing::info!(bytes = *bytes, "the disk is full: gave up the room kept for that");
        *bytes = 0;
        self.covers.store(0, Ordering::Relaxed);
        self.given_up.store(true, Ordering::Relaxed);
        self.owe();
        true
    }

    /// Takes it away at the end of a clean close. One that cannot be removed is removed by the next open.
    pub(crate) fn remove(&self) {
        let mut bytes = self.bytes.lock();
        if *bytes > 0 && self.base > 0 && self.disk.remove(FILE).is_ok() {
            *bytes = 0;
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use lineal_wal::sim::{Fault, OpKind, SimDisk};

    const BASE: u64 = 1 << 16;

    fn ballast(disk: &SimDisk) -> Ballast {
        Ballast::new(Arc::new(disk.clone()), BASE)
    }

    fn used(disk: &SimDisk) -> u64 {
        disk.image().values().map(|bytes| bytes.len() as u64).sum()
    }

    #[test]
    fn it_follows_the_unpacked_log() {
        let disk = SimDisk::new();
        let ballast = ballast(&disk);
        for (unpacked, wanted) in
            [(0, BASE), (1, 2 * BASE), (BASE, 2 * BASE), (3 * BASE + 1, 5 * BASE), (0, BASE)]
        {
            ballast.provide(unpacked).unwrap();
            assert_eq!((ballast.bytes(), used(&disk)), (wanted, wanted), "{unpacked}");
            let covered = wanted - BASE;
            assert!(!ballast.is_outgrown(covered) && ballast.is_outgrown(covered + 1));
            assert!(!ballast.was_outgrown_by(9, covered) && ballast.was_outgrown_by(9, covered + 1));
            assert!(!ballast.was_outgrown_by(9, covered + 100), "told already");
            assert!(ballast.was_outgrown_by(9, covered + BASE), "a step further");
        }
        ballast.remove();
        assert_eq!(used(&disk), 0);
    }

    #[test]
    fn on_a_full_disk_it_is_owed_until_there_is_room() {
        let disk = SimDisk::new();
        let ballast = ballast(&disk);
        ballast.provide(0).unwrap();
        disk.set_capacity(Some(BASE + 100));
        assert!(matches!(ballast.provide(1), Err(Error::NoSpace { .. })));
        assert!(ballast.is_owed());
        assert_eq!((ballast.bytes(), used(&disk)), (BASE, BASE), "what there was stays");
        assert!(ballast.give_up());
        assert!(!ballast.give_up(), "once");
        assert_eq!(used(&disk), 0);
        disk.set_capacity(None);
        ballast.provide(1).unwrap();
        assert!(!ballast.is_owed());
    }

    #[test]
    fn a_disk_that_refuses_it_for_another_reason_is_not_full() {
        let disk = SimDisk::new();
        let ballast = ballast(&disk);
        disk.fail(Fault::on(OpKind::Allocate).error(io::ErrorKind::FileTooLarge));
        ballast.provide(0).unwrap();
        assert!(!ballast.is_owed() && !ballast.is_outgrown(1 << 40));
    }
}
