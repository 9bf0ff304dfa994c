//! The file under redb: every 4 KiB page with a checksum bound to its number.
//!
//! redb survives crashes, but it believes what it reads: after a clean stop, one flipped bit in a
//! seventh of its bytes gives silently wrong values. So redb never sees a file. It sees a
//! [`PageFile`], which verifies each page before redb parses it and answers rot with an
//! [`io::Error`] of kind `InvalidData` that names file and offset.
//!
//! # Layout of `catalog.redb`, version 1
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | 4,096 | file header |
//! | 4,096 | 8,192 | slot 0 of page 0 |
//! | 12,288 | 8,192 | slot 1 of page 0 |
//! | 20,480 + (n - 1) × 4,100 | 4,100 | page n, for n = 1, 2, 3 … |
//!
//! File header (little-endian, the rest of the block is zero):
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | 8 | magic `LINCATLG` |
//! | 8 | 4 | version, 1 |
//! | 12 | 4 | page bytes, 4,096 |
//! | 16 | 16 | engine id |
//! | 32 | 4 | CRC-32 of bytes 0..32 |
//!
//! A slot of page 0 (redb's header, the only page that redb overwrites in place):
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | 4 | CRC-32 of the slot's number (one byte) and of bytes 4..4,120 |
//! | 4 | 4 | zero |
//! | 8 | 8 | generation, 1, 2, 3 … |
//! | 16 | 8 | pages of the file as redb sees it, page 0 included |
//! | 24 | 4,096 | the page |
//!
//! A slot is valid iff its generation is not 0 and its checksum matches; the valid slot of the
//! higher generation is page 0. A write goes to the slot that the last sync did *not* make durable,
//! however often page 0 is written between two syncs, so a torn write always leaves the other. That
//! a rotten newest slot looks like a torn one is harmless: it undoes redb's last commit, and any
//! earlier state of the catalog is a correct one (packs that it does not know as merged are searched
//! through their own indexes).
//!
//! Any other page: 4,096 bytes of page, then the CRC-32 of its number (8 bytes) and of the page,
//! with 1 in place of a checksum that would be 0. It is valid iff the checksum matches. redb reads no
//! page that it did not write, so a page of zeros with checksum 0 is a lost page, not a fresh one.
//!
//! redb doubles its file whenever it is full. The file on disk is only as long as what was written;
//! how long redb believes it to be stands in the slot, and changes together with page 0.

use std::{collections::BTreeMap, io};

use lineal_wal::{DiskFile, EngineId};

use super::CatalogError;
use crate::sync::{
    Arc,
    unsplit::{
        Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

/// Magic of the file header.
const MAGIC: [u8; 8] = *b"LINCATLG";
/// The format version that this program writes, and the newest that it reads.
const VERSION: u32 = 1;
/// Bytes of a page, as redb sees it. redb's own page size, which it does not let anyone change.
pub(super) const PAGE_BYTES: usize = 4096;
/// Bytes of the file header's block.
const HEADER_BYTES: u64 = 4096;
/// Bytes of the file header that mean something: checksummed part and checksum.
const HEADER_USED_BYTES: usize = 36;
/// Bytes before the page in a slot of page 0.
const SLOT_HEADER_BYTES: usize = 24;
/// Distance of the two slots of page 0: page-aligned, so that a torn write of one cannot touch the other.
const SLOT_STRIDE: u64 = 8192;
/// Where page 1 is.
pub(super) const BODY_OFFSET: u64 = HEADER_BYTES + 2 * SLOT_STRIDE;
/// Bytes of a stored page other than page 0: the page and its checksum.
pub(super) const STORED_BYTES: usize = PAGE_BYTES + 4;
/// Pages that one read or write moves at most: bounds the buffer of a bulk write.
const PAGES_PER_IO: usize = 64;

/// What is wrong with a page; travels inside the [`io::Error`] that redb passes through.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{path} is damaged at offset {offset} (page {page}): {reason}")]
pub(super) struct PageDamage {
    /// The file.
    pub(super) path: String,
    /// Where the page starts in the file, in bytes.
    pub(super) offset: u64,
    /// The page's number.
    pub(super) page: u64,
    /// What is wrong.
    pub(super) reason: &'static str,
}

/// The checksummed file that redb runs on.
#[derive(Debug)]
pub(super) struct PageFile {
    file: Arc<dyn DiskFile>,
    path: String,
    /// Pages of the file, as redb sees it (page 0 included); a copy of `first.pages`.
    pages: AtomicU64,
    first: Mutex<FirstPage>,
    /// Changes that stay in memory, when no byte of the file may change.
    overlay: Option<Mutex<BTreeMap<u64, Box<[u8]>>>>,
    retired: Retired,
}

/// The switch that makes a page file read-only for good: another handle owns the file by now, or
/// what redb would write is not believed any more. redb writes when it is dropped, too.
#[derive(Clone, Debug, Default)]
pub(super) struct Retired(Arc<AtomicBool>);

impl Retired {
    /// No byte of the file is written through this handle from now on.
    pub(super) fn set(&self) {
        self.0.store(true, Ordering::Release);
    }

    fn check(&self) -> io::Result<()> {
        if self.0.load(Ordering::Acquire) {
            return Err(io::Error::other("this handle of the catalog is retired"));
        }
        Ok(())
    }
}

/// Page 0 and its two slots.
#[derive(Debug)]
struct FirstPage {
    page: Box<[u8]>,
    /// Pages of the file, as redb sees it.
    pages: u64,
    /// Generation of `page`; 0 = never written.
    generation: u64,
    /// The slot that holds the newest durable generation and is not to be overwritten.
    durable_slot: u8,
    /// Whether the slot that is not durable holds a newer page.
    pending: bool,
    /// What was found at open may sit in the page cache only; a sync has to come before the first write.
    unproven: bool,
}

impl PageFile {
    /// Makes an empty page file of `engine` in `file`, which is empty. Nothing is durable before
    /// the first [`redb::StorageBackend::sync_data`].
    ///
    /// # Errors
    ///
    /// [`CatalogError::Io`] or [`CatalogError::NoSpace`].
    pub(super) fn create(
        file: Box<dyn DiskFile>,
        path: &str,
        engine: EngineId,
    ) -> Result<PageFile, CatalogError> {
        let mut header = [0u8; HEADER_BYTES as usize];
        header[0..8].copy_from_slice(&MAGIC);
        header[8..12].copy_from_slice(&VERSION.to_le_bytes());
        header[12..16].copy_from_slice(&(PAGE_BYTES as u32).to_le_bytes());
        header[16..32].copy_from_slice(&engine.0);
        let crc = crc32fast::hash(&header[0..32]);
        header[32..HEADER_USED_BYTES].copy_from_slice(&crc.to_le_bytes());
        file.set_len(HEADER_BYTES).map_err(|source| CatalogError::io("set length of", path, source))?;
        file.write_all_at(&header, 0).map_err(|source| CatalogError::io("write", path, source))?;
        Ok(PageFile {
            file: Arc::from(file),
            path: path.to_owned(),
            pages: AtomicU64::new(0),
            first: Mutex::new(FirstPage::blank()),
            overlay: None,
            retired: Retired::default(),
        })
    }

    /// Opens the page file of `engine` in `file`. With `read_only` every change stays in memory and
    /// no byte of the file changes, whatever redb does.
    ///
    /// # Errors
    ///
    /// [`CatalogError::CatalogDamaged`], [`CatalogError::OtherEngine`], [`CatalogError::NewerVersion`]
    /// or [`CatalogError::Io`].
    pub(super) fn open(
        file: Box<dyn DiskFile>,
        path: &str,
        engine: EngineId,
        read_only: bool,
    ) -> Result<PageFile, CatalogError> {
        let io = |source| CatalogError::io("read", path, source);
        let damaged = |offset, reason: &str| CatalogError::CatalogDamaged {
            path: path.to_owned(),
            offset,
            reason: reason.to_owned(),
        };
        let bytes = file.len().map_err(io)?;
        if bytes < HEADER_BYTES {
            return Err(damaged(0, "the file is shorter than its header"));
        }
        let mut header = [0u8; HEADER_USED_BYTES];
        file.read_exact_at(&mut header, 0).map_err(io)?;
        if header[0..8] != MAGIC {
            return Err(damaged(0, "the magic is not that of a catalog"));
        }
        if u32_at(&header, 32) != crc32fast::hash(&header[0..32]) {
            return Err(damaged(0, "the checksum of the file header does not match"));
        }
        let version = u32_at(&header, 8);
        if version > VERSION {
            return Err(CatalogError::NewerVersion { path: path.to_owned(), found: version, known: VERSION });
        }
        if version != VERSION || u32_at(&header, 12) as usize != PAGE_BYTES {
            return Err(damaged(8, "the file header names a version or a page size that never was"));
        }
        let mut found = EngineId::default();
        found.0.copy_from_slice(&header[16..32]);
        if found != engine {
            return Err(CatalogError::OtherEngine { path: path.to_owned(), found, expected: engine });
        }
        let first = FirstPage::load(&*file, bytes, path)?;
        Ok(PageFile {
            file: Arc::from(file),
            path: path.to_owned(),
            pages: AtomicU64::new(first.pages),
            first: Mutex::new(first),
            overlay: read_only.then(|| Mutex::new(BTreeMap::new())),
            retired: Retired::default(),
        })
    }

    /// The switch that stops all writing through this handle.
    pub(super) fn retired(&self) -> Retired {
        self.retired.clone()
    }

    /// The file itself, to ask how long it is.
    pub(super) fn file(&self) -> Arc<dyn DiskFile> {
        Arc::clone(&self.file)
    }

    /// The error of a read or write beyond the end.
    fn beyond_end(&self, page: u64) -> io::Error {
        let pages = self.pages.load(Ordering::Acquire);
        io::Error::new(
            io::ErrorKind::UnexpectedEof,
            format!("{}: page {page} of {pages} was asked for", self.path),
        )
    }

    /// Fails if the pages `page .. page + count` are not all in the file.
    fn check_range(&self, page: u64, count: u64) -> io::Result<()> {
        match page.checked_add(count) {
            Some(end) if end <= self.pages.load(Ordering::Acquire) => Ok(()),
            _ => Err(self.beyond_end(page)),
        }
    }

    /// Reads whole pages from `page` ≥ 1 on into `out`, whose length is a multiple of a page.
    fn read_pages(&self, page: u64, out: &mut [u8]) -> io::Result<()> {
        if let Some(overlay) = &self.overlay {
            // Commands that read another engine's files are not in a hurry: page by page.
            for (at, chunk) in (page..).zip(out.chunks_exact_mut(PAGE_BYTES)) {
                match overlay.lock().get(&at) {
                    Some(changed) => chunk.copy_from_slice(changed),
                    None => self.read_stored(at, chunk)?,
                }
            }
            return Ok(());
        }
        for (at, chunk) in (page..).step_by(PAGES_PER_IO).zip(out.chunks_mut(PAGES_PER_IO * PAGE_BYTES)) {
            self.read_stored(at, chunk)?;
        }
        Ok(())
    }

    /// Reads and verifies at most [`PAGES_PER_IO`] pages from the file.
    fn read_stored(&self, page: u64, out: &mut [u8]) -> io::Result<()> {
        let count = out.len() / PAGE_BYTES;
        let mut one = [0u8; STORED_BYTES];
        let mut many = Vec::new();
        let stored: &mut [u8] = if count == 1 {
            &mut one
        } else {
            many.resize(count * STORED_BYTES, 0);
            &mut many
        };
        match self.file.read_exact_at(stored, stored_offset(page)) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                return Err(self.damage(page, "the file ends before the page does"));
            }
            read => read?,
        }
        for ((at, stored), out) in
            (page..).zip(stored.chunks_exact(STORED_BYTES)).zip(out.chunks_exact_mut(PAGE_BYTES))
        {
            let (data, crc) = stored.split_at(PAGE_BYTES);
            let crc = u32_at(crc, 0);
            if crc != page_crc(at, data) {
                let lost = crc == 0 && data.iter().all(|byte| *byte == 0);
                let reason = if lost { "the page was never written" } else { "the checksum does not match" };
                return Err(self.damage(at, reason));
            }
            out.copy_from_slice(data);
        }
        Ok(())
    }

    /// Writes whole pages from `page` ≥ 1 on.
    fn write_pages(&self, page: u64, data: &[u8]) -> io::Result<()> {
        if let Some(overlay) = &self.overlay {
            let mut overlay = overlay.lock();
            for (at, chunk) in (page..).zip(data.chunks_exact(PAGE_BYTES)) {
                overlay.insert(at, chunk.into());
            }
            return Ok(());
        }
        let mut stored = Vec::with_capacity(STORED_BYTES * (data.len() / PAGE_BYTES).min(PAGES_PER_IO));
        for (at, chunk) in (page..).step_by(PAGES_PER_IO).zip(data.chunks(PAGES_PER_IO * PAGE_BYTES)) {
            stored.clear();
            for (number, one) in (at..).zip(chunk.chunks_exact(PAGE_BYTES)) {
                stored.extend_from_slice(one);
                stored.extend_from_slice(&page_crc(number, one).to_le_bytes());
            }
            self.file.write_all_at(&stored, stored_offset(at))?;
        }
        Ok(())
    }

    /// Writes page 0 into the slot that the last sync did not make durable.
    fn write_first(&self, first: &mut FirstPage) -> io::Result<()> {
        if self.overlay.is_some() {
            return Ok(());
        }
        if first.unproven {
            self.file.sync_data()?;
            first.unproven = false;
        }
        let slot = 1 - first.durable_slot;
        let generation = first.generation + 1;
        let mut stored = vec![0u8; SLOT_HEADER_BYTES + PAGE_BYTES];
        stored[8..16].copy_from_slice(&generation.to_le_bytes());
        stored[16..24].copy_from_slice(&first.pages.to_le_bytes());
        stored[SLOT_HEADER_BYTES..].copy_from_slice(&first.page);
        let crc = slot_crc(slot, &stored);
        stored[0..4].copy_from_slice(&crc.to_le_bytes());
        self.file.write_all_at(&stored, slot_offset(slot))?;
        first.generation = generation;
        first.pending = true;
        Ok(())
    }

    fn damage(&self, page: u64, reason: &'static str) -> io::Error {
        let offset = stored_offset(page);
        io::Error::new(
            io::ErrorKind::InvalidData,
            PageDamage { path: self.path.clone(), offset, page, reason },
        )
    }
}

impl FirstPage {
    /// A page 0 that was never written, of a file without pages.
    fn blank() -> FirstPage {
        FirstPage {
            page: vec![0; PAGE_BYTES].into_boxed_slice(),
            pages: 0,
            generation: 0,
            durable_slot: 1,
            pending: false,
            unproven: false,
        }
    }

    /// Reads both slots and takes the newer valid one. Two that are invalid are damage: a catalog
    /// gets its name only after both were written.
    fn load(file: &dyn DiskFile, bytes: u64, path: &str) -> Result<FirstPage, CatalogError> {
        let mut newest: Option<FirstPage> = None;
        for slot in 0..2u8 {
            let mut stored = vec![0u8; SLOT_HEADER_BYTES + PAGE_BYTES];
            if slot_offset(slot) + stored.len() as u64 > bytes {
                break;
            }
            file.read_exact_at(&mut stored, slot_offset(slot))
                .map_err(|source| CatalogError::io("read", path, source))?;
            let generation = u64_at(&stored, 8);
            if generation == 0 || u32_at(&stored, 0) != slot_crc(slot, &stored) {
                continue;
            }
            if newest.as_ref().is_none_or(|known| generation > known.generation) {
                newest = Some(FirstPage {
                    pages: u64_at(&stored, 16),
                    page: stored.split_off(SLOT_HEADER_BYTES).into_boxed_slice(),
                    generation,
                    durable_slot: slot,
                    pending: false,
                    unproven: true,
                });
            }
        }
        newest.ok_or_else(|| CatalogError::CatalogDamaged {
            path: path.to_owned(),
            offset: HEADER_BYTES,
            reason: "neither copy of page 0 is intact".to_owned(),
        })
    }
}

impl redb::StorageBackend for PageFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.pages.load(Ordering::Acquire) * PAGE_BYTES as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        if out.is_empty() {
            return Ok(());
        }
        let (page, skip) = split(offset);
        let count = (skip + out.len()).div_ceil(PAGE_BYTES) as u64;
        self.check_range(page, count)?;
        if page > 0 && skip == 0 && out.len().is_multiple_of(PAGE_BYTES) {
            return self.read_pages(page, out);
        }
        let mut at = page;
        let mut skip = skip;
        let mut rest = out;
        let mut buffer = [0u8; PAGE_BYTES];
        while !rest.is_empty() {
            let take = (PAGE_BYTES - skip).min(rest.len());
            let (now, later) = rest.split_at_mut(take);
            if at == 0 {
                now.copy_from_slice(&self.first.lock().page[skip..skip + take]);
            } else {
                self.read_pages(at, &mut buffer)?;
                now.copy_from_slice(&buffer[skip..skip + take]);
            }
            (at, skip, rest) = (at + 1, 0, later);
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        if !len.is_multiple_of(PAGE_BYTES as u64) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("{}: length {len} is no multiple of a page", self.path),
            ));
        }
        self.retired.check()?;
        let pages = len / PAGE_BYTES as u64;
        let mut first = self.first.lock();
        let before = first.pages;
        if pages == before {
            return Ok(());
        }
        first.pages = pages;
        if pages == 0 {
            first.page.fill(0);
        }
        match &self.overlay {
            Some(overlay) => {
                overlay.lock().split_off(&pages);
            }
            None => {
                self.write_first(&mut first)?;
                if pages < before && self.file.len()? > file_bytes(pages) {
                    self.file.set_len(file_bytes(pages))?;
                }
            }
        }
        self.pages.store(pages, Ordering::Release);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.retired.check()?;
        if self.overlay.is_some() {
            return Ok(());
        }
        let generation = {
            let first = self.first.lock();
            first.generation
        };
        self.file.sync_data()?;
        let mut first = self.first.lock();
        first.unproven = false;
        if first.pending && first.generation == generation {
            first.pending = false;
            first.durable_slot = 1 - first.durable_slot;
        }
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.retired.check()?;
        if data.is_empty() {
            return Ok(());
        }
        let (page, skip) = split(offset);
        let count = (skip + data.len()).div_ceil(PAGE_BYTES) as u64;
        self.check_range(page, count)?;
        if page > 0 && skip == 0 && data.len().is_multiple_of(PAGE_BYTES) {
            return self.write_pages(page, data);
        }
        let mut at = page;
        let mut skip = skip;
        let mut rest = data;
        let mut buffer = [0u8; PAGE_BYTES];
        while !rest.is_empty() {
            let take = (PAGE_BYTES - skip).min(rest.len());
            let (now, later) = rest.split_at(take);
            if at == 0 {
                let mut first = self.first.lock();
                first.page[skip..skip + take].copy_from_slice(now);
                self.write_first(&mut first)?;
            } else {
                if take < PAGE_BYTES {
                    self.read_pages(at, &mut buffer)?;
                }
                buffer[skip..skip + take].copy_from_slice(now);
                self.write_pages(at, &buffer)?;
            }
            (at, skip, rest) = (at + 1, 0, later);
        }
        Ok(())
    }
}

/// The page that holds `offset`, and where in it.
fn split(offset: u64) -> (u64, usize) {
    (offset / PAGE_BYTES as u64, (offset % PAGE_BYTES as u64) as usize)
}

/// Where a page other than page 0 is in the file.
fn stored_offset(page: u64) -> u64 {
    assert!(page > 0, "page 0 has slots, not a place");
    BODY_OFFSET + (page - 1) * STORED_BYTES as u64
}

/// Where a slot of page 0 is in the file.
fn slot_offset(slot: u8) -> u64 {
    HEADER_BYTES + u64::from(slot) * SLOT_STRIDE
}

/// How long a file is whose `pages` pages are all written.
fn file_bytes(pages: u64) -> u64 {
    BODY_OFFSET + pages.saturating_sub(1) * STORED_BYTES as u64
}

/// The checksum of a page other than page 0, never 0.
fn page_crc(page: u64, data: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&page.to_le_bytes());
    hasher.update(data);
    hasher.finalize().max(1)
}

/// The checksum of a slot of page 0.
fn slot_crc(slot: u8, stored: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&[slot]);
    hasher.update(&stored[4..]);
    hasher.finalize()
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut word = [0u8; 4];
    word.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(word)
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut word = [0u8; 8];
    word.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(word)
}

#[cfg(test)]
#[path = "backend_tests.rs"]
mod tests;
