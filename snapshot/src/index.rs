//! The index of a pack: sorted entries in pages, and above them a top that names every page.
//!
//! A page is searched by its restarts, then entry by entry; the top is small and stays in memory once it was used.
//! The layout is in `format.rs`.

use crate::entry::{EntryValue, PackNumber, Place};
use crate::format::{HEADER_BYTES, INDEX_PAGE_BYTES_MAX, page_crc};
use crate::wire::{Wire, put_varint, shared_prefix};
use lineal_wal::Seq;
use std::cmp::Ordering;
use std::ops::Range;

/// A page is closed once it has this many bytes.
///
/// Source: a page of the file system; a cold look-up reads one.
const PAGE_BYTES: usize = 4096;

/// Entries from one restart to the next. Source: a byte per entry, and at most 16 steps after the binary search.
const RESTART_EVERY: usize = 16;

const PAGE_HEAD_BYTES: usize = 8;

const ENTRY_END: u8 = 1;
const ENTRY_NEW_BLOCK: u8 = 2;
const ENTRY_FOLLOWERS: u8 = 4;
const ENTRY_FENCE: u8 = 8;
const ENTRY_SKIP: u8 = 16;
const ENTRY_FLAGS: u8 = ENTRY_END | ENTRY_NEW_BLOCK | ENTRY_FOLLOWERS | ENTRY_FENCE | ENTRY_SKIP;

/// What an encoded key has after its stem.
fn key_tail(seq: u64) -> [u8; 10] {
    let mut tail = [0; 10];
    tail[2..].copy_from_slice(&seq.to_be_bytes());
    tail
}

/// Compares the encoded key (stem, tail) with any bytes, without putting it together.
fn compare_key(stem: &[u8], seq: u64, target: &[u8]) -> Ordering {
    match target.split_at_checked(stem.len()) {
        None => stem[..target.len()].cmp(target).then(Ordering::Greater),
        Some((head, rest)) => stem.cmp(head).then_with(|| key_tail(seq)[..].cmp(rest)),
    }
}

/// How far the entries so far have come in the file.
#[derive(Debug, Clone, Copy, Default)]
struct BlockState {
    block_offset: u64,
    block_bytes: u32,
    /// End of the last part, from the start of the block.
    part_end: u32,
}

/// What is known of an entry when its block closes.
#[derive(Debug, Clone, Copy)]
pub(crate) enum NewValue<'a> {
    End,
    Part {
        /// The block, from the start of the file.
        block_offset: u64,
        block_bytes: u32,
        part_bytes: u32,
        follow_count: u16,
        follow_first_seq: Seq,
        end_fence: Option<&'a [u8]>,
    },
}

/// Writes the pages and the top.
#[derive(Debug, Default)]
pub(crate) struct IndexWriter {
    /// Closed pages that have no place in the file yet, without their crc.
    closed: Vec<u8>,
    closed_pages: Vec<(usize, Vec<u8>)>,
    page: Vec<u8>,
    restarts: Vec<u32>,
    page_entries: usize,
    page_separator: Vec<u8>,
    stem: Vec<u8>,
    seq: u64,
    state: BlockState,
    entries: u64,
    pages: u64,
    top: Vec<u8>,
    last_page_end: u64,
}

impl IndexWriter {
    pub(crate) fn entries(&self) -> u64 {
        self.entries
    }

    pub(crate) fn pages(&self) -> u64 {
        self.pages
    }

    /// Bytes that wait for a place in the file.
    pub(crate) fn waiting_bytes(&self) -> usize {
        self.closed.len()
    }

    /// Appends an entry; keys ascend.
    pub(crate) fn push(&mut self, stem: &[u8], seq: Seq, value: NewValue<'_>) {
        if self.page.len() >= PAGE_BYTES {
            self.close_page();
        }
        if self.page_entries == 0 {
            self.start_page(stem, seq.0);
        }
        let restart = self.page_entries.is_multiple_of(RESTART_EVERY);
        if restart {
            self.restarts.push(u32::try_from(self.page.len()).expect("a page is small"));
            put_varint(&mut self.page, self.state.block_offset);
            put_varint(&mut self.page, u64::from(self.state.block_bytes));
            put_varint(&mut self.page, u64::from(self.state.part_end));
        }
        let shared = if restart { 0 } else { shared_prefix(&self.stem, stem) };
        self.push_entry(shared, stem, seq, value);
        self.stem.clear();
        self.stem.extend_from_slice(stem);
        self.seq = seq.0;
        self.page_entries += 1;
        self.entries += 1;
    }

    fn push_entry(&mut self, shared: usize, stem: &[u8], seq: Seq, value: NewValue<'_>) {
        let page = &mut self.page;
        let flags_at = page.len();
        page.push(0);
        put_varint(page, shared as u64);
        put_varint(page, (stem.len() - shared) as u64);
        page.extend_from_slice(&stem[shared..]);
        put_varint(page, seq.0);
        let NewValue::Part {
            block_offset,
            block_bytes,
            part_bytes,
            follow_count,
            follow_first_seq,
            end_fence,
        } = value
        else {
            page[flags_at] = ENTRY_END;
            return;
        };
        let mut flags = 0;
        let state = &mut self.state;
        if state.block_offset != block_offset {
            flags |= ENTRY_NEW_BLOCK;
            let between = block_offset - (state.block_offset + u64::from(state.block_bytes));
            if between > 0 {
                flags |= ENTRY_SKIP;
                put_varint(page, between);
            }
            put_varint(page, u64::from(block_bytes));
            *state = BlockState { block_offset, block_bytes, part_end: 0 };
        }
        put_varint(page, u64::from(part_bytes));
        state.part_end += part_bytes;
        if follow_count > 0 {
            flags |= ENTRY_FOLLOWERS;
            put_varint(page, u64::from(follow_count));
            put_varint(page, follow_first_seq.0);
        }
        if let Some(fence) = end_fence {
            flags |= ENTRY_FENCE;
            put_varint(page, fence.len() as u64);
            page.extend_from_slice(fence);
        }
        page[flags_at] = flags;
    }

    fn start_page(&mut self, stem: &[u8], seq: u64) {
        self.page.resize(PAGE_HEAD_BYTES, 0);
        self.page_separator.clear();
        if self.entries > 0 {
            let last: Vec<u8> = [&self.stem[..], &key_tail(self.seq)].concat();
            let first: Vec<u8> = [stem, &key_tail(seq)].concat();
            let shared = shared_prefix(&last, &first);
            self.page_separator.extend_from_slice(&first[..=shared]);
        }
    }

    fn close_page(&mut self) {
        if self.page_entries == 0 {
            return;
        }
        let restarts = u32::try_from(self.restarts.len()).expect("a page is small");
        self.page[4..8].copy_from_slice(&restarts.to_le_bytes());
        for restart in &self.restarts {
            self.page.extend_from_slice(&restart.to_le_bytes());
        }
        assert!(self.page.len() <= INDEX_PAGE_BYTES_MAX as usize, "sub-keys and fences are capped");
        self.closed.extend_from_slice(&self.page);
        self.closed_pages.push((self.page.len(), std::mem::take(&mut self.page_separator)));
        self.page.clear();
        self.restarts.clear();
        self.page_entries = 0;
        self.pages += 1;
    }

    /// Appends all closed pages to `out`, which will lie at `offset` in the file.
    pub(crate) fn write_extent(&mut self, salt: u32, mut offset: u64, out: &mut Vec<u8>) {
        let mut rest = &mut self.closed[..];
        for (bytes, separator) in self.closed_pages.drain(..) {
            let (page, after) = rest.split_at_mut(bytes);
            let crc = page_crc(salt, offset, &page[4..]);
            page[..4].copy_from_slice(&crc.to_le_bytes());
            put_varint(&mut self.top, offset - self.last_page_end);
            put_varint(&mut self.top, bytes as u64);
            put_varint(&mut self.top, separator.len() as u64);
            self.top.extend_from_slice(&separator);
            offset += bytes as u64;
            self.last_page_end = offset;
            rest = after;
        }
        out.extend_from_slice(&self.closed);
        self.closed.clear();
    }

    /// Closes the last page; [`write_extent`](Self::write_extent) comes after.
    pub(crate) fn close(&mut self) {
        self.close_page();
    }

    pub(crate) fn top(&self) -> &[u8] {
        &self.top
    }
}

/// The decoded top: where each page lies and what it starts with.
#[derive(Debug)]
pub(crate) struct Top {
    pages: Vec<(u64, u32)>,
    separators: Vec<u8>,
    separator_ends: Vec<u32>,
}

impl Top {
    /// Decodes a top whose checksum was verified. Pages lie between the header and `pages_end`.
    pub(crate) fn decode(bytes: &[u8], page_count: u64, pages_end: u64) -> Option<Self> {
        // A record takes at least three bytes.
        let count = usize::try_from(page_count).ok().filter(|&count| count <= bytes.len() / 3)?;
        let mut wire = Wire::new(bytes);
        let mut top = Self {
            pages: Vec::with_capacity(count),
            separators: Vec::with_capacity(bytes.len() - 3 * count),
            separator_ends: Vec::with_capacity(count),
        };
        let mut at = 0u64;
        for _ in 0..count {
            let offset = at.checked_add(wire.varint()?)?;
            let page_bytes = wire.varint_u32().filter(|&bytes| bytes <= INDEX_PAGE_BYTES_MAX)?;
            at = offset.checked_add(u64::from(page_bytes))?;
            if offset < HEADER_BYTES as u64 || at > pages_end || (page_bytes as usize) < PAGE_HEAD_BYTES {
                return None;
            }
            let separator = wire.varint()?;
            top.separators.extend_from_slice(wire.take_u64(separator)?);
            top.separator_ends.push(u32::try_from(top.separators.len()).ok()?);
            top.pages.push((offset, page_bytes));
        }
        wire.is_empty().then_some(top)
    }

    pub(crate) fn len(&self) -> usize {
        self.pages.len()
    }

    /// Offset and size of a page.
    pub(crate) fn page(&self, index: usize) -> (u64, u32) {
        self.pages[index]
    }

    pub(crate) fn separator(&self, index: usize) -> &[u8] {
        let start = index.checked_sub(1).map_or(0, |before| self.separator_ends[before] as usize);
        &self.separators[start..self.separator_ends[index] as usize]
    }

    /// The last page whose separator is not above `key`: the only one that can hold it. `None` if there is no page.
    pub(crate) fn page_of(&self, key: &[u8]) -> Option<usize> {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = low.midpoint(high);
            if self.separator(middle) <= key {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        // The first separator is empty in every pack that this crate wrote; one that is not still has a first page.
        if self.len() == 0 { None } else { Some(low.saturating_sub(1)) }
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        self.separators.capacity() + self.pages.capacity() * 16 + self.separator_ends.capacity() * 4
    }
}

/// Splits a page into its entries' end and its restarts; `None` if they do not fit.
fn page_restarts(page: &[u8]) -> Option<(usize, usize)> {
    let count = Wire::from(page, 4).u32()? as usize;
    let restart_bytes = count.checked_mul(4)?;
    let entries_end = page.len().checked_sub(restart_bytes)?;
    (count > 0 && entries_end > PAGE_HEAD_BYTES).then_some((entries_end, count))
}

fn restart_offset(page: &[u8], entries_end: usize, index: usize) -> Option<usize> {
    Some(Wire::from(page, entries_end + index * 4).u32()? as usize)
}

#[derive(Debug, Clone, Default)]
enum CursorValue {
    #[default]
    End,
    Part {
        block_offset: u64,
        block_bytes: u32,
        part_offset: u32,
        part_bytes: u32,
        follow_count: u16,
        follow_first_seq: u64,
        end_fence: Option<Range<usize>>,
    },
}

/// A place in a page. Every method takes the page's bytes; they must always be the same.
///
/// `None` means that the page is malformed, though its checksum was right: no page that this crate wrote is.
#[derive(Debug, Default)]
pub(crate) struct PageCursor {
    at: usize,
    entries_end: usize,
    next_index: usize,
    state: BlockState,
    stem: Vec<u8>,
    seq: u64,
    value: CursorValue,
}

impl PageCursor {
    /// Before the first entry.
    pub(crate) fn first(page: &[u8]) -> Option<Self> {
        let (entries_end, _) = page_restarts(page)?;
        Some(Self { at: restart_offset(page, entries_end, 0)?, entries_end, ..Self::default() })
    }

    /// Before the last restart whose first entry is not above `target`, or before the first one.
    fn near(page: &[u8], target: &[u8]) -> Option<Self> {
        let (entries_end, count) = page_restarts(page)?;
        let (mut low, mut high) = (1, count);
        while low < high {
            let middle = low.midpoint(high);
            let mut wire = Wire::from(&page[..entries_end], restart_offset(page, entries_end, middle)?);
            for _ in 0..3 {
                wire.varint()?;
            }
            wire.u8()?;
            if wire.varint()? != 0 {
                return None;
            }
            let stem_bytes = wire.varint()?;
            let stem = wire.take_u64(stem_bytes)?;
            let seq = wire.varint()?;
            if compare_key(stem, seq, target).is_le() {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        let restart = low - 1;
        let at = restart_offset(page, entries_end, restart)?;
        Some(Self { at, entries_end, next_index: restart * RESTART_EVERY, ..Self::default() })
    }

    /// At the first entry that is not below `target`; `Some(None)` if the page has none.
    pub(crate) fn seek(page: &[u8], target: &[u8]) -> Option<Option<Self>> {
        let mut cursor = Self::near(page, target)?;
        while cursor.step(page)? {
            if compare_key(&cursor.stem, cursor.seq, target).is_ge() {
                return Some(Some(cursor));
            }
        }
        Some(None)
    }

    /// At the last entry that is not above `target`; `Some(None)` if the page has none.
    pub(crate) fn seek_back(page: &[u8], target: &[u8]) -> Option<Option<Self>> {
        let mut cursor = Self::near(page, target)?;
        let mut found = Self::default();
        let mut any = false;
        while cursor.step(page)? {
            if compare_key(&cursor.stem, cursor.seq, target).is_gt() {
                break;
            }
            found.copy_from(&cursor);
            any = true;
        }
        Some(any.then_some(found))
    }

    fn copy_from(&mut self, other: &Self) {
        self.at = other.at;
        self.entries_end = other.entries_end;
        self.next_index = other.next_index;
        self.state = other.state;
        self.stem.clear();
        self.stem.extend_from_slice(&other.stem);
        self.seq = other.seq;
        self.value = other.value.clone();
    }

    /// Goes to the next entry; `Some(false)` at the end of the page.
    pub(crate) fn step(&mut self, page: &[u8]) -> Option<bool> {
        if self.at == self.entries_end {
            return Some(false);
        }
        let mut wire = Wire::from(page.get(..self.entries_end)?, self.at);
        let restart = self.next_index.is_multiple_of(RESTART_EVERY);
        if restart {
            self.state = BlockState {
                block_offset: wire.varint()?,
                block_bytes: wire.varint_u32()?,
                part_end: wire.varint_u32()?,
            };
        }
        let flags = wire.u8()?;
        let shared = wire.varint_usize()?;
        let more = wire.varint()?;
        let shared_max = if restart { 0 } else { self.stem.len() };
        if flags & !ENTRY_FLAGS != 0 || shared > shared_max {
            return None;
        }
        self.stem.truncate(shared);
        self.stem.extend_from_slice(wire.take_u64(more)?);
        self.seq = wire.varint()?;
        self.value = if flags & ENTRY_END != 0 {
            if flags != ENTRY_END {
                return None;
            }
            CursorValue::End
        } else {
            self.step_part(&mut wire, flags)?
        };
        self.at = wire.at();
        self.next_index += 1;
        Some(true)
    }

    fn step_part(&mut self, wire: &mut Wire<'_>, flags: u8) -> Option<CursorValue> {
        if flags & ENTRY_NEW_BLOCK != 0 {
            let between = if flags & ENTRY_SKIP == 0 { 0 } else { wire.varint()? };
            let block_end = self.state.block_offset.checked_add(u64::from(self.state.block_bytes))?;
            self.state = BlockState {
                block_offset: block_end.checked_add(between)?,
                block_bytes: wire.varint_u32()?,
                part_end: 0,
            };
        } else if flags & ENTRY_SKIP != 0 {
            return None;
        }
        let BlockState { block_offset, block_bytes, part_end: part_offset } = self.state;
        let part_bytes = wire.varint_u32()?;
        self.state.part_end = part_offset.checked_add(part_bytes).filter(|&end| end <= block_bytes)?;
        let (follow_count, follow_first_seq) = if flags & ENTRY_FOLLOWERS == 0 {
            (0, 0)
        } else {
            (u16::try_from(wire.varint()?).ok().filter(|&count| count > 0)?, wire.varint()?)
        };
        let end_fence = if flags & ENTRY_FENCE == 0 {
            None
        } else {
            let fence_bytes = wire.varint()?;
            let start = wire.at();
            wire.take_u64(fence_bytes)?;
            Some(start..wire.at())
        };
        Some(CursorValue::Part {
            block_offset,
            block_bytes,
            part_offset,
            part_bytes,
            follow_count,
            follow_first_seq,
            end_fence,
        })
    }

    /// The encoded key that it is at.
    pub(crate) fn key(&self) -> Vec<u8> {
        let mut key = Vec::with_capacity(self.stem.len() + 10);
        key.extend_from_slice(&self.stem);
        key.extend_from_slice(&key_tail(self.seq));
        key
    }

    /// The value that it is at.
    pub(crate) fn value(&self, page: &[u8], pack: PackNumber) -> EntryValue {
        match &self.value {
            CursorValue::End => EntryValue::End,
            CursorValue::Part {
                block_offset,
                block_bytes,
                part_offset,
                part_bytes,
                follow_count,
                follow_first_seq,
                end_fence,
            } => EntryValue::Place(Place {
                pack,
                block_offset: *block_offset,
                block_bytes: *block_bytes,
                part_offset: *part_offset,
                part_bytes: *part_bytes,
                follow_count: *follow_count,
                follow_first_seq: Seq(*follow_first_seq),
                end_fence: end_fence.clone().map(|range| page[range].to_vec()),
            }),
        }
    }
}

#[cfg(test)]
#[path = "index/tests.rs"]
mod tests;
