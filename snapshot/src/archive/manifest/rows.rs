//! The rows of the manifest, and their stored form.

use super::NUMBER_MAX;
use crate::archive::chunk::ChunkHash;
use crate::archive::key::Keys;
use crate::archive::pieces::{FOOTER_BYTES_MAX, page_count};
use crate::entry::PackNumber;
use crate::wire::Wire;
use bytes::Bytes;
use lineal_wal::{Epoch, Micros};

/// A pack in the archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArchivedPack {
    /// Its number.
    pub number: PackNumber,
    /// Its file's size.
    pub bytes: u64,
    /// BLAKE3 of its file.
    pub hash: [u8; 32],
    /// BLAKE3 of each page of its list of pieces; none for a pack of one piece.
    pub pages: Vec<[u8; 32]>,
    /// The frame that its file ends with, twice; empty if it is too large to be kept here.
    pub footer: Bytes,
}

impl ArchivedPack {
    /// Its key.
    #[must_use]
    pub fn key(&self, keys: &Keys) -> String {
        keys.pack(self.number, &self.hash.into())
    }

    /// The key of its list of pieces; a pack without [pages](Self::pages) has none.
    #[must_use]
    pub fn pieces_key(&self, keys: &Keys) -> String {
        keys.pieces(self.number, &self.hash.into())
    }
}

/// The log of one epoch, as far as it is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ArchivedLog {
    /// The epoch.
    pub epoch: Epoch,
    /// The first chunk that holds anything above the line, from 1.
    pub first_chunk: u64,
    /// The hash of the chunk before it; zeros if it is the first.
    pub before: ChunkHash,
}

impl ArchivedLog {
    /// All of an epoch's log.
    #[must_use]
    pub fn all(epoch: Epoch) -> Self {
        Self { epoch, first_chunk: 1, before: [0; 32] }
    }
}

/// A pack that nobody needs any more, until it is deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GarbagePack {
    /// Its number.
    pub number: PackNumber,
    /// Its file's size.
    pub bytes: u64,
    /// BLAKE3 of its file.
    pub hash: [u8; 32],
    /// When it left the list.
    pub since: Micros,
}

impl GarbagePack {
    /// Whether it has a list of pieces.
    pub(crate) fn has_list(&self) -> bool {
        page_count(self.bytes) > 0
    }
}

/// Chunks of one epoch's log that nobody needs any more, until they are deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GarbageChunks {
    /// The epoch.
    pub epoch: Epoch,
    /// The first of them, from 1.
    pub first: u64,
    /// The one behind the last; `None`: all up to the barrier, which stays.
    pub end: Option<u64>,
    /// Since when they are not needed.
    pub since: Micros,
}

impl GarbageChunks {
    /// The end as it is stored, and compared.
    fn end_number(&self) -> u64 {
        self.end.unwrap_or(u64::MAX)
    }
}

/// One kind of rows.
pub(super) trait Row: Sized {
    /// Bytes of the smallest one.
    const BYTES_MIN: usize;

    fn put(&self, out: &mut Vec<u8>);

    fn take(wire: &mut Wire<'_>) -> Option<Self>;

    fn is_valid(&self) -> bool;

    fn is_before(&self, next: &Self) -> bool;
}

impl Row for ArchivedPack {
    const BYTES_MIN: usize = 52;

    fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.number.0.to_le_bytes());
        out.extend_from_slice(&self.bytes.to_le_bytes());
        out.extend_from_slice(&self.hash);
        self.pages.iter().for_each(|page| out.extend_from_slice(page));
        out.extend_from_slice(&count(self.footer.len()));
        out.extend_from_slice(&self.footer);
    }

    fn take(wire: &mut Wire<'_>) -> Option<Self> {
        let (number, bytes, hash) = (PackNumber(wire.u64()?), wire.u64()?, wire.array()?);
        let pages = wire.take_u64(page_count(bytes).checked_mul(32)?)?;
        let pages = pages.chunks_exact(32).map(|page| page.try_into().ok()).collect::<Option<_>>()?;
        let footer_bytes = wire.u32()?;
        // A copy, so that a footer that is kept does not keep the whole manifest.
        let footer = Bytes::copy_from_slice(wire.take_u64(footer_bytes.into())?);
        Some(Self { number, bytes, hash, pages, footer })
    }

    fn is_valid(&self) -> bool {
        self.pages.len() as u64 == page_count(self.bytes)
            && self.footer.len() <= FOOTER_BYTES_MAX
            && 2 * self.footer.len() as u64 <= self.bytes
    }

    fn is_before(&self, next: &Self) -> bool {
        self.number < next.number
    }
}

impl Row for ArchivedLog {
    const BYTES_MIN: usize = 48;

    fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.epoch.0.to_le_bytes());
        out.extend_from_slice(&self.first_chunk.to_le_bytes());
        out.extend_from_slice(&self.before);
    }

    fn take(wire: &mut Wire<'_>) -> Option<Self> {
        Some(Self { epoch: Epoch(wire.u64()?), first_chunk: wire.u64()?, before: wire.array()? })
    }

    fn is_valid(&self) -> bool {
        (1..NUMBER_MAX).contains(&self.first_chunk)
    }

    fn is_before(&self, next: &Self) -> bool {
        self.epoch < next.epoch
    }
}

impl Row for GarbagePack {
    const BYTES_MIN: usize = 56;

    fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.number.0.to_le_bytes());
        out.extend_from_slice(&self.bytes.to_le_bytes());
        out.extend_from_slice(&self.hash);
        out.extend_from_slice(&self.since.0.to_le_bytes());
    }

    fn take(wire: &mut Wire<'_>) -> Option<Self> {
        let (number, bytes) = (PackNumber(wire.u64()?), wire.u64()?);
        Some(Self { number, bytes, hash: wire.array()?, since: Micros(wire.u64()?) })
    }

    fn is_valid(&self) -> bool {
        true
    }

    fn is_before(&self, next: &Self) -> bool {
        (self.number, self.hash) < (next.number, next.hash)
    }
}

impl Row for GarbageChunks {
    const BYTES_MIN: usize = 32;

    fn put(&self, out: &mut Vec<u8>) {
        for number in [self.epoch.0, self.first, self.end_number(), self.since.0] {
            out.extend_from_slice(&number.to_le_bytes());
        }
    }

    fn take(wire: &mut Wire<'_>) -> Option<Self> {
        let (epoch, first, end) = (Epoch(wire.u64()?), wire.u64()?, wire.u64()?);
        let end = (end != u64::MAX).then_some(end);
        Some(Self { epoch, first, end, since: Micros(wire.u64()?) })
    }

    fn is_valid(&self) -> bool {
        self.first >= 1
            && self.first < self.end.unwrap_or(NUMBER_MAX)
            && self.end.is_none_or(|end| end < NUMBER_MAX)
    }

    fn is_before(&self, next: &Self) -> bool {
        (self.epoch, self.end_number()) <= (next.epoch, next.first)
    }
}

pub(super) fn count(items: usize) -> [u8; 4] {
    // What does not fit is refused by the frame's limit, which is far below.
    u32::try_from(items).unwrap_or(u32::MAX).to_le_bytes()
}

/// Rows behind their count.
pub(super) fn put_rows<T: Row>(out: &mut Vec<u8>, rows: &[T]) {
    out.extend_from_slice(&count(rows.len()));
    rows.iter().for_each(|row| row.put(out));
}

/// What [`put_rows`] wrote; nothing is allocated for more than there are bytes.
pub(super) fn take_rows<T: Row>(wire: &mut Wire<'_>) -> Option<Vec<T>> {
    let count = usize::try_from(wire.u32()?).ok()?;
    if count > wire.remaining() / T::BYTES_MIN {
        return None;
    }
    (0..count).map(|_| T::take(wire)).collect()
}
