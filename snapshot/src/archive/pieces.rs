//! A pack in pieces, so that any part of it can be verified without the rest.
//!
//! A pack is cut into pieces of 64 KiB. The BLAKE3 of each, 32 bytes, one after another, are the pack's *list*: an
//! object of its own beside the pack, nothing else in it. The list is cut into pages of 1,024 hashes (32 KiB, for 64
//! MiB of pack), and the BLAKE3 of each page stands in the manifest. So what is read by range is worth what the
//! manifest is worth. A pack of one piece has no list: the hash of the piece is the hash of the file.
//!
//! The manifest also holds the pack's footer frame, which is the file's end, twice: opening a pack asks for nothing.

use super::manifest::ArchivedPack;
use super::remote::STEP_BYTES;
use super::store::Source;
use crate::entry::PackNumber;
use crate::format::{FRAME_TAIL_BYTES, FrameFound, decode_frame, frame_bytes_from_tail};
use bytes::Bytes;
use std::io;
use std::ops::Range;

/// Bytes of a piece; the last one of a pack may be shorter.
pub(crate) const PIECE_BYTES: u64 = 64 << 10;
/// Most pieces that are read by one request.
pub(crate) const RUN_PIECES: u64 = STEP_BYTES / PIECE_BYTES;
const HASH_BYTES: u64 = 32;
const PAGE_PIECES: u64 = 1_024;
/// Bytes of a page of a list; the last one may be shorter.
pub(crate) const PAGE_BYTES: u64 = PAGE_PIECES * HASH_BYTES;

/// Largest footer frame that is kept in the manifest. Source: a decision; one that names a thousand packs fits.
pub(crate) const FOOTER_BYTES_MAX: usize = 64 << 10;

/// How many pieces a pack of so many bytes has.
pub(crate) fn piece_count(pack_bytes: u64) -> u64 {
    pack_bytes.div_ceil(PIECE_BYTES)
}

/// How many pages its list has.
pub(crate) fn page_count(pack_bytes: u64) -> u64 {
    if pack_bytes <= PIECE_BYTES { 0 } else { piece_count(pack_bytes).div_ceil(PAGE_PIECES) }
}

/// Bytes of its list.
pub(crate) fn list_bytes(pack_bytes: u64) -> u64 {
    if pack_bytes <= PIECE_BYTES { 0 } else { piece_count(pack_bytes) * HASH_BYTES }
}

/// The pages of the list that hold the hashes of these pieces.
pub(crate) fn pages_of(pieces: &Range<u64>) -> Range<u64> {
    pieces.start / PAGE_PIECES..pieces.end.div_ceil(PAGE_PIECES)
}

/// The hash of a piece, out of the page of the list that has it.
pub(crate) fn hash_in_page(page: &[u8], piece: u64) -> Option<[u8; 32]> {
    let at = usize::try_from(piece % PAGE_PIECES * HASH_BYTES).ok()?;
    page.get(at..at + 32)?.try_into().ok()
}

/// Hashes a source: what the manifest says of it as a pack, and its list. Blocks.
///
/// # Errors
/// What the source says.
pub(crate) fn describe(number: PackNumber, source: &dyn Source) -> io::Result<(ArchivedPack, Vec<u8>)> {
    let mut describing = Describing::new(number, source.len());
    read_in_steps(source, |step| {
        describing.step(step);
        Ok(())
    })?;
    Ok(describing.end())
}

/// A pack that is being hashed while its bytes come by, in steps that are whole numbers of pieces, but for the last.
#[derive(Debug)]
pub(crate) struct Describing {
    number: PackNumber,
    bytes: u64,
    whole: blake3::Hasher,
    list: Vec<u8>,
    /// As much of the end as a footer that is kept takes, twice.
    end: Vec<u8>,
}

impl Describing {
    pub(crate) fn new(number: PackNumber, bytes: u64) -> Self {
        let list = Vec::with_capacity(usize::try_from(list_bytes(bytes)).unwrap_or(usize::MAX));
        Self { number, bytes, whole: blake3::Hasher::new(), list, end: Vec::new() }
    }

    pub(crate) fn step(&mut self, step: &[u8]) {
        self.whole.update(step);
        if self.bytes > PIECE_BYTES {
            let pieces = step.chunks(usize::try_from(PIECE_BYTES).unwrap_or(usize::MAX));
            pieces.for_each(|piece| self.list.extend_from_slice(blake3::hash(piece).as_bytes()));
        }
        let kept = step.len().min(END_BYTES);
        let old = self.end.len().min(END_BYTES - kept);
        self.end.drain(..self.end.len() - old);
        self.end.extend_from_slice(&step[step.len() - kept..]);
    }

    /// What the manifest says of the pack, and its list.
    pub(crate) fn end(self) -> (ArchivedPack, Vec<u8>) {
        let page_bytes = usize::try_from(PAGE_BYTES).unwrap_or(usize::MAX);
        let pages = self.list.chunks(page_bytes).map(|page| *blake3::hash(page).as_bytes()).collect();
        let footer = footer_of(&self.end);
        let hash = *self.whole.finalize().as_bytes();
        (ArchivedPack { number: self.number, bytes: self.bytes, hash, pages, footer }, self.list)
    }
}

/// Gives all bytes of a source to `take`, in order. Blocks.
pub(crate) fn read_in_steps(
    source: &dyn Source,
    mut take: impl FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<()> {
    let step_bytes = usize::try_from(STEP_BYTES).unwrap_or(usize::MAX);
    let mut step = Vec::new();
    let mut at = 0;
    while at < source.len() {
        let left = usize::try_from(source.len() - at).unwrap_or(usize::MAX);
        step.resize(left.min(step_bytes), 0);
        source.read_exact_at(&mut step, at)?;
        take(&step)?;
        at += step.len() as u64;
    }
    Ok(())
}

/// Bytes of two footers that are kept.
const END_BYTES: usize = 2 * FOOTER_BYTES_MAX;

/// The footer frame that a pack ends with, twice; empty if it does not, or if the frame is too large to be kept. `end` is
/// the last [`END_BYTES`] of it, or all.
fn footer_of(end: &[u8]) -> Bytes {
    let frame_bytes = end.last_chunk::<FRAME_TAIL_BYTES>().and_then(frame_bytes_from_tail);
    let frame_bytes = frame_bytes.and_then(|bytes| usize::try_from(bytes).ok());
    let Some(frame_bytes) = frame_bytes.filter(|bytes| *bytes <= FOOTER_BYTES_MAX) else {
        return Bytes::new();
    };
    let Some(at) = end.len().checked_sub(2 * frame_bytes) else {
        return Bytes::new();
    };
    let (first, second) = end[at..].split_at(frame_bytes);
    let valid = first == second && matches!(decode_frame(first), FrameFound::Valid(_));
    if valid { Bytes::copy_from_slice(first) } else { Bytes::new() }
}
