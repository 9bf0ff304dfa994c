//! A pack that is in the archive only, as a file: what is read of it comes by verified pieces.

use super::error::{ArchiveError, ArchiveErrorKind};
use super::fetcher::Fetcher;
use super::fetching;
use super::flights::Waiting;
use super::manifest::ArchivedPack;
use super::pieces::{PIECE_BYTES, RUN_PIECES, piece_count};
use super::runtime::Runtime;
use crate::sync::{Arc, Mutex};
use lineal_wal::DiskFile;
use std::io;
use std::ops::Range;

/// What cold files share.
#[derive(Debug, Clone)]
pub(crate) struct Cold {
    pub(crate) runtime: Arc<Runtime>,
    pub(crate) fetcher: Arc<Fetcher>,
}

impl Cold {
    /// Begins to fetch what is absent of some pieces. Does not block.
    pub(crate) fn begin(
        &self,
        pack: &Arc<ArchivedPack>,
        pieces: impl IntoIterator<Item = u64>,
    ) -> Vec<Waiting> {
        self.fetcher.begin(&self.runtime, pack, pieces)
    }
}

/// An open cold pack. Reading blocks for the store, or fails with `WouldBlock` inside of
/// [`without_blocking`](super::without_blocking). Nothing of it can be changed.
#[derive(Debug)]
pub(crate) struct ColdFile {
    cold: Cold,
    pack: Arc<ArchivedPack>,
    ahead: Mutex<Ahead>,
}

/// Sees that somebody reads from front to back, and then fetches more at once.
#[derive(Debug, Default)]
struct Ahead {
    /// Where the next piece is missed by who reads on.
    next: u64,
    /// How often in a row it was missed there.
    steps: u32,
}

impl Ahead {
    /// How many pieces behind the missing ones to fetch with them.
    fn after(&mut self, missing: &[u64]) -> u64 {
        let (Some(first), Some(last)) = (missing.first(), missing.last()) else { return 0 };
        self.steps = if *first == self.next { self.steps + 1 } else { 0 };
        // One step may be chance.
        let more =
            if self.steps < 2 { 0 } else { (1u64 << self.steps.min(7)).saturating_sub(missing.len() as u64) };
        let more = more.min(RUN_PIECES);
        self.next = last + 1 + more;
        more
    }
}

impl ColdFile {
    pub(crate) fn new(cold: Cold, pack: Arc<ArchivedPack>) -> Self {
        Self { cold, pack, ahead: Mutex::default() }
    }

    /// Fills `bytes` from the footer in the manifest, if they lie in there.
    fn read_footer(&self, bytes: &mut [u8], offset: u64) -> bool {
        let footer = &self.pack.footer;
        let start = self.pack.bytes.saturating_sub(2 * footer.len() as u64);
        let Some(at) = offset.checked_sub(start).and_then(|at| usize::try_from(at).ok()) else {
            return false;
        };
        if footer.is_empty() {
            return false;
        }
        let both = footer.iter().cycle().skip(at % footer.len());
        bytes.iter_mut().zip(both).for_each(|(byte, from)| *byte = *from);
        true
    }

    /// Fills `bytes`, which are no more than one request may carry, from `offset` on.
    fn read_pieces(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        let end = offset + bytes.len() as u64;
        let mut wanted: Vec<u64> = (offset / PIECE_BYTES..end.div_ceil(PIECE_BYTES)).collect();
        while !wanted.is_empty() {
            wanted.retain(|piece| match self.cold.fetcher.at_hand(&self.pack, *piece) {
                Some(found) => {
                    copy(bytes, offset, *piece, &found);
                    false
                }
                None => true,
            });
            if wanted.is_empty() {
                break;
            }
            let behind = wanted.last().map_or(0, |last| last + 1);
            let more = self.ahead.lock().after(&wanted);
            let ahead = behind..(behind + more).min(piece_count(self.pack.bytes)).max(behind);
            if fetching::note(&self.cold, &self.pack, &wanted, &ahead) {
                return Err(io::Error::new(io::ErrorKind::WouldBlock, "a part of a pack is in the archive"));
            }
            if self.cold.runtime.is_here() {
                let reason =
                    "a pack in the archive was read on the archive's own thread, which would wait for itself";
                return Err(io::Error::new(io::ErrorKind::Deadlock, reason));
            }
            for waiting in self.cold.begin(&self.pack, wanted.iter().copied().chain(ahead)) {
                let landed = self.cold.runtime.run(waiting.landed()).map_err(io_error)?;
                for (piece, found) in landed.units() {
                    if let Some(at) = wanted.iter().position(|wanted| *wanted == piece) {
                        copy(bytes, offset, piece, found.as_ref().map_err(|error| io_error(error.clone()))?);
                        wanted.remove(at);
                    }
                }
            }
        }
        Ok(())
    }
}

/// Copies what a piece has of the bytes from `offset` on.
fn copy(bytes: &mut [u8], offset: u64, piece: u64, found: &[u8]) {
    let start = piece * PIECE_BYTES;
    let range: Range<u64> = start.max(offset)..(start + found.len() as u64).min(offset + bytes.len() as u64);
    let within = |from: u64| {
        let at = |number: u64| usize::try_from(number - from).unwrap_or(usize::MAX);
        at(range.start)..at(range.end)
    };
    bytes[within(offset)].copy_from_slice(&found[within(start)]);
}

/// An error of the archive, as an error of a file: [`io::Error::get_ref`] leads back to it.
pub(crate) fn io_error(error: ArchiveError) -> io::Error {
    let kind = match error.kind() {
        ArchiveErrorKind::Retry => io::ErrorKind::TimedOut,
        ArchiveErrorKind::Corrupt => io::ErrorKind::InvalidData,
        _ => io::ErrorKind::Other,
    };
    io::Error::new(kind, error)
}

impl DiskFile for ColdFile {
    fn read_exact_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        let end = offset.checked_add(bytes.len() as u64);
        if end.is_none_or(|end| end > self.pack.bytes) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if self.read_footer(bytes, offset) {
            return Ok(());
        }
        let mut at = offset;
        let mut rest = bytes;
        while !rest.is_empty() {
            // Up to the end of a run, so that no request carries more.
            let run_bytes = RUN_PIECES * PIECE_BYTES;
            let room = usize::try_from(run_bytes - at % PIECE_BYTES).unwrap_or(usize::MAX);
            let (now, later) = rest.split_at_mut(room.min(rest.len()));
            self.read_pieces(now, at)?;
            at += now.len() as u64;
            rest = later;
        }
        Ok(())
    }

    /// Writing what is there already changes nothing, and is how a pack that was found is settled.
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut found = vec![0; bytes.len()];
        self.read_exact_at(&mut found, offset)?;
        if found == bytes { Ok(()) } else { Err(unchangeable()) }
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn sync_all(&self) -> io::Result<()> {
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.pack.bytes)
    }

    fn set_len(&self, _len: u64) -> io::Result<()> {
        Err(unchangeable())
    }

    fn allocate(&self, _len: u64) -> io::Result<()> {
        Err(unchangeable())
    }

    fn start_writeback(&self, _offset: u64, _len: u64) -> io::Result<()> {
        Ok(())
    }
}

fn unchangeable() -> io::Error {
    io::Error::new(io::ErrorKind::Unsupported, "a pack in the archive cannot be changed")
}
