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
    let bytes = source.len();
    let mut whole = blake3::Hasher::new();
    let mut list = Vec::with_capacity(usize::try_from(list_bytes(bytes)).unwrap_or(usize::MAX));
    read_in_steps(source, |step| {
        whole.update(step);
        if bytes > PIECE_BYTES {
            // A step is a whole number of pieces.
            let pieces = step.chunks(usize::try_from(PIECE_BYTES).unwrap_or(usize::MAX));
            pieces.for_each(|piece| list.extend_from_slice(blake3::hash(piece).as_bytes()));
        }
        Ok(())
    })?;
    let page_bytes = usize::try_from(PAGE_BYTES).unwrap_or(usize::MAX);
    let pages = list.chunks(page_bytes).map(|page| *blake3::hash(page).as_bytes()).collect();
    let footer = footer_of(source)?;
    Ok((ArchivedPack { number, bytes, hash: *whole.finalize().as_bytes(), pages, footer }, list))
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

/// The footer frame that a source ends with, twice; empty if it does not, or if the frame is too large to be kept.
fn footer_of(source: &dyn Source) -> io::Result<Bytes> {
    let mut end = [0; FRAME_TAIL_BYTES];
    let Some(end_at) = source.len().checked_sub(FRAME_TAIL_BYTES as u64) else {
        return Ok(Bytes::new());
    };
    source.read_exact_at(&mut end, end_at)?;
    let frame_bytes = frame_bytes_from_tail(&end).and_then(|bytes| usize::try_from(bytes).ok());
    let Some(frame_bytes) = frame_bytes.filter(|bytes| *bytes <= FOOTER_BYTES_MAX) else {
        return Ok(Bytes::new());
    };
    let mut both = vec![0; 2 * frame_bytes];
    let Some(at) = source.len().checked_sub(both.len() as u64) else {
        return Ok(Bytes::new());
    };
    source.read_exact_at(&mut both, at)?;
    let (first, second) = both.split_at(frame_bytes);
    let valid = first == second && matches!(decode_frame(first), FrameFound::Valid(_));
    Ok(if valid { Bytes::copy_from_slice(first) } else { Bytes::new() })
}
