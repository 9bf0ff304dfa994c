//! Brings pieces of packs into the block cache: verified, adjacent ones by one request, each once for all who wait.
//!
//! A piece is looked up in the cache; where it is absent, somebody *leads*: a task of the archive's thread that fetches a
//! run of absent pieces. Whoever else needs one of them waits for that task. The page of the list that verifies the
//! pieces is fetched at the same time, unless it is at hand, and by one task as well.

use super::blocks::{BlockKey, Blocks};
use super::client::Client;
use super::clock::Clock;
use super::error::ArchiveError;
use super::flights::{Flights, Unit, Waiting};
use super::key::Keys;
use super::manifest::ArchivedPack;
use super::pieces::{PAGE_BYTES, PIECE_BYTES, hash_in_page, list_bytes, page_count, pages_of};
use super::runtime::{Runtime, beside};
use super::store::{StoreError, StoreErrorKind};
use super::traffic::add;
use crate::sync::{Arc, AtomicU64, Mutex, Ordering};
use bytes::Bytes;
use std::collections::HashMap;
use std::ops::Range;
use tokio::sync::Semaphore;

/// Pieces that are fetched at once. Source: a decision; 64 MiB on their way.
const PIECES_MAX: u32 = 1_024;
/// What a run counts for at least. Source: a guess; 64 requests at once fill a line, far below the limits on open files.
const RUN_PIECES_MIN: u32 = 16;

/// Pages of lists in memory, of up to 32 KiB. Source: a decision; at most 16 MiB, for 32 GiB of packs.
const PAGES_MAX: usize = 512;

/// Lists of up to so many pages are fetched whole. Source: the first answer about a large object costs at most 256 KiB.
const WHOLE_LIST_PAGES: u64 = 2;

#[derive(Debug)]
pub(crate) struct Fetcher {
    client: Client,
    keys: Keys,
    pub(crate) blocks: Blocks,
    pages: Mutex<Clock<BlockKey, Bytes>>,
    flights: Arc<Flights>,
    turns: Semaphore,
    pub(crate) hits: AtomicU64,
    pub(crate) misses: AtomicU64,
    pub(crate) fetched_bytes: AtomicU64,
}

impl Fetcher {
    pub(crate) fn new(client: Client, keys: Keys, blocks: Blocks) -> Self {
        Self {
            client,
            keys,
            blocks,
            pages: Mutex::new(Clock::new(PAGES_MAX)),
            flights: Arc::default(),
            turns: Semaphore::new(PIECES_MAX as usize),
            hits: AtomicU64::new(0),
            misses: AtomicU64::new(0),
            fetched_bytes: AtomicU64::new(0),
        }
    }

    /// A piece that is at hand. Blocks.
    pub(crate) fn at_hand(&self, pack: &ArchivedPack, piece: u64) -> Option<Bytes> {
        let found = self.blocks.get(&block_key(pack, piece));
        add(if found.is_some() { &self.hits } else { &self.misses }, 1);
        found
    }

    /// Begins to fetch pieces, in ascending order, unless they are at hand or somebody fetches them. Does not block.
    pub(crate) fn begin(
        self: &Arc<Self>,
        runtime: &Runtime,
        pack: &Arc<ArchivedPack>,
        pieces: impl IntoIterator<Item = u64>,
    ) -> Vec<Waiting> {
        let wanted = pieces.into_iter().map(|piece| (piece, Unit::Piece(block_key(pack, piece))));
        let (leads, waiting) = self.flights.board(wanted, |key| self.blocks.contains(key));
        for lead in leads {
            let (fetcher, pack) = (Arc::clone(self), Arc::clone(pack));
            runtime.spawn(async move {
                let units = fetcher.bring(&pack, lead.numbers.clone()).await;
                lead.land(units);
            });
        }
        waiting
    }

    /// Fetches a run of pieces and keeps them.
    async fn bring(
        self: &Arc<Self>,
        pack: &Arc<ArchivedPack>,
        pieces: Range<u64>,
    ) -> Vec<Result<Bytes, ArchiveError>> {
        let count = usize::try_from(pieces.end - pieces.start).unwrap_or(usize::MAX);
        let units = match self.turn(pack, count).await {
            Ok(_turn) => self.fetch(pack, pieces.clone()).await,
            Err(error) => vec![Err(error); count],
        };
        let (fetcher, owner, kept) = (Arc::clone(self), Arc::clone(pack), units.clone());
        let keep = move || {
            for (piece, bytes) in pieces.zip(kept) {
                if let Ok(bytes) = bytes {
                    fetcher.blocks.insert(block_key(&owner, piece), &bytes);
                }
            }
        };
        // It fails only where the process ends.
        let _ = beside(keep).await;
        units
    }

    /// A turn to fetch. Who has waited for it as long as an operation may take gives up, so that a line before a store
    /// that does not answer ends as one.
    async fn turn(
        &self,
        pack: &ArchivedPack,
        pieces: usize,
    ) -> Result<tokio::sync::SemaphorePermit<'_>, ArchiveError> {
        let begin = self.client.now();
        let weight = u32::try_from(pieces).unwrap_or(u32::MAX).clamp(RUN_PIECES_MIN, PIECES_MAX);
        let turn = self.turns.acquire_many(weight).await.map_err(|_| ArchiveError::Closed)?;
        if self.client.now().saturating_sub(begin) >= self.client.patience().operation_max {
            let waited = StoreError::new(StoreErrorKind::Busy, "too many reads wait for the store");
            return Err(ArchiveError::of(self.client.name(), "read", &pack.key(&self.keys), 0, waited));
        }
        Ok(turn)
    }

    async fn fetch(
        self: &Arc<Self>,
        pack: &Arc<ArchivedPack>,
        pieces: Range<u64>,
    ) -> Vec<Result<Bytes, ArchiveError>> {
        match self.fetch_run(pack, pieces.clone()).await {
            Ok(bytes) => {
                let cut = |piece: u64| {
                    let start = (piece - pieces.start) * PIECE_BYTES;
                    let end = (start + PIECE_BYTES).min(bytes.len() as u64);
                    let at = |at: u64| usize::try_from(at).unwrap_or(usize::MAX);
                    Ok(bytes.slice(at(start)..at(end)))
                };
                pieces.clone().map(cut).collect()
            }
            // One bad piece is no reason to withhold its neighbours.
            Err(ArchiveError::DamagedPart { .. }) if pieces.end - pieces.start > 1 => {
                let mut units = Vec::new();
                for piece in pieces {
                    units.push(self.fetch_run(pack, piece..piece + 1).await);
                }
                units
            }
            Err(error) => pieces.map(|_| Err(error.clone())).collect(),
        }
    }

    /// One request for adjacent pieces, verified.
    async fn fetch_run(
        self: &Arc<Self>,
        pack: &Arc<ArchivedPack>,
        pieces: Range<u64>,
    ) -> Result<Bytes, ArchiveError> {
        let key = pack.key(&self.keys);
        let range = pieces.start * PIECE_BYTES..pack.bytes.min(pieces.end * PIECE_BYTES);
        let mut early = None;
        let hashes = match self.hashes_at_hand(pack, &pieces) {
            Some(hashes) => hashes,
            None => {
                let both = tokio::join!(
                    self.fetch_hashes(pack, &pieces),
                    self.client.get_range(&key, range.clone(), |_| true)
                );
                early = Some(both.1.map_err(|error| error.in_range(range.clone()))?);
                both.0?
            }
        };
        let first_bad = |bytes: &[u8]| {
            let piece_bytes = usize::try_from(PIECE_BYTES).unwrap_or(usize::MAX);
            let mut found = bytes.chunks(piece_bytes).zip(&hashes);
            found.position(|(piece, hash)| blake3::hash(piece) != *hash)
        };
        let bytes = match early.filter(|bytes| first_bad(bytes).is_none()) {
            Some(bytes) => bytes,
            None => {
                let bad = AtomicU64::new(pieces.start);
                let check = |bytes: &[u8]| {
                    let found = first_bad(bytes);
                    bad.store(pieces.start + found.unwrap_or(0) as u64, Ordering::Relaxed);
                    found.is_none()
                };
                self.client.get_range(&key, range.clone(), check).await.map_err(|error| {
                    let start = bad.load(Ordering::Relaxed) * PIECE_BYTES;
                    error.in_range(start..pack.bytes.min(start + PIECE_BYTES))
                })?
            }
        };
        add(&self.fetched_bytes, bytes.len() as u64);
        Ok(bytes)
    }

    /// The hashes of pieces, if all the pages that have them are at hand.
    fn hashes_at_hand(&self, pack: &ArchivedPack, pieces: &Range<u64>) -> Option<Vec<[u8; 32]>> {
        if page_count(pack.bytes) == 0 {
            return Some(vec![pack.hash]);
        }
        let mut pages = self.pages.lock();
        let mut hash = |piece| {
            let page = pages_of(&(piece..piece + 1)).start;
            pages.get(&block_key(pack, page)).and_then(|(_, page)| hash_in_page(page, piece))
        };
        pieces.clone().map(&mut hash).collect()
    }

    async fn fetch_hashes(
        self: &Arc<Self>,
        pack: &Arc<ArchivedPack>,
        pieces: &Range<u64>,
    ) -> Result<Vec<[u8; 32]>, ArchiveError> {
        let count = page_count(pack.bytes);
        let needed = pages_of(pieces);
        let wanted = if count <= WHOLE_LIST_PAGES { 0..count } else { needed.clone() };
        // Kept beside the cache of pages, which may be busy with others.
        let mut found: HashMap<u64, Bytes> = HashMap::new();
        while needed.clone().any(|page| !found.contains_key(&page)) {
            let absent = wanted.clone().filter(|page| !found.contains_key(page));
            let units = absent.map(|page| (page, Unit::Page(block_key(pack, page))));
            let (leads, waiting) = self.flights.board(units, |key| self.pages.lock().contains(key));
            for page in needed.clone() {
                if let Some((_, bytes)) = self.pages.lock().get(&block_key(pack, page)) {
                    found.insert(page, bytes.clone());
                }
            }
            for lead in leads {
                let units = self.fetch_pages(pack, lead.numbers.clone()).await;
                lead.land(units);
            }
            for waiting in waiting {
                for (page, bytes) in waiting.landed().await?.units() {
                    if needed.contains(&page) {
                        found.insert(page, bytes.clone()?);
                    }
                }
            }
        }
        let hash = |piece| {
            let page = found.get(&pages_of(&(piece..piece + 1)).start);
            // The manifest and the file's size say how many hashes there are; a page without one is no page of it.
            page.and_then(|page| hash_in_page(page, piece)).ok_or_else(|| ArchiveError::Damaged {
                key: pack.pieces_key(&self.keys),
                reason: "it has fewer hashes than the pack has pieces",
            })
        };
        pieces.clone().map(hash).collect()
    }

    /// One request for adjacent pages of a list, verified by what the manifest says, and kept.
    async fn fetch_pages(&self, pack: &ArchivedPack, pages: Range<u64>) -> Vec<Result<Bytes, ArchiveError>> {
        let key = pack.pieces_key(&self.keys);
        let range = pages.start * PAGE_BYTES..list_bytes(pack.bytes).min(pages.end * PAGE_BYTES);
        let page_bytes = usize::try_from(PAGE_BYTES).unwrap_or(usize::MAX);
        let number = |page| usize::try_from(page).unwrap_or(usize::MAX);
        let expected = pack.pages.get(number(pages.start)..number(pages.end)).unwrap_or_default();
        let check = |bytes: &[u8]| {
            let found = bytes.chunks(page_bytes).map(|page| *blake3::hash(page).as_bytes());
            found.eq(expected.iter().copied())
        };
        match self.client.get_range(&key, range.clone(), check).await {
            Ok(bytes) => {
                add(&self.fetched_bytes, bytes.len() as u64);
                // Copies, so that a page that stays does not keep its neighbours.
                let cut: Vec<_> = bytes.chunks(page_bytes).map(Bytes::copy_from_slice).collect();
                let mut kept = self.pages.lock();
                for (page, bytes) in pages.zip(&cut) {
                    kept.insert(block_key(pack, page), bytes.clone());
                }
                cut.into_iter().map(Ok).collect()
            }
            Err(error) => {
                let error = error.in_range(range);
                pages.map(|_| Err(error.clone())).collect()
            }
        }
    }
}

/// Names a piece or a page by the pack's content, so that what was kept is right whatever a number means later.
fn block_key(pack: &ArchivedPack, number: u64) -> BlockKey {
    let mut owner = [0; 16];
    owner.copy_from_slice(&pack.hash[..16]);
    (owner, number)
}
