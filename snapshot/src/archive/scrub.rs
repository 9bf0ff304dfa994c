//! Reads everything that an archive holds, at a bounded rate, and says what is damaged and where.
//!
//! Packs are compared piece by piece with their lists, and the lists with the manifest; where a list is damaged, the pack
//! is compared as a whole. Chunks are read from the first that is needed to the end of each log. What fails is read again
//! before it counts, since it may have been spoilt on the way.

use super::chunk::{LogEnd, Stands};
use super::client::Client;
use super::error::ArchiveError;
use super::key::Keys;
use super::manifest::{ArchivedLog, ArchivedPack, Manifest};
use super::pieces::{
    PAGE_BYTES, PIECE_BYTES, RUN_PIECES, hash_in_page, list_bytes, page_count, pages_of, piece_count,
};
use bytes::Bytes;
use lineal_wal::Lsn;
use std::ops::Range;
use std::time::Duration;

/// What of a pack came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Came {
    /// All bytes so far, whatever they are worth.
    All,
    /// Not all of them.
    Some,
    /// There is no such key.
    Nothing,
}

/// Something that is not what was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArchiveDamage {
    /// The key.
    pub key: String,
    /// Where in it; `None`: all of it.
    pub range: Option<Range<u64>>,
    /// What does not hold.
    pub reason: String,
}

/// What a scrub found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ScrubReport {
    /// Packs that were read.
    pub packs: u64,
    /// Chunks that were read and are right.
    pub chunks: u64,
    /// Bytes that were read and are right.
    pub bytes: u64,
    /// The last position that the packs and the chunks hold without a gap.
    pub last: Lsn,
    /// All that is damaged; nothing if the archive is whole.
    pub damage: Vec<ArchiveDamage>,
}

/// Reads all that `manifest` names: packs, their lists, the needed chunks. Reads at most `rate` bytes in a second; zero is
/// without a limit. `progress` is told bytes as they were read. Damage is part of the report and no error. Changes
/// nothing, and needs no lease; of an archive that somebody writes to meanwhile, what was deleted since the manifest was
/// read is reported as missing.
///
/// # Errors
/// As [`Client::get`] where the store does not answer or does not allow it: then nothing is known.
pub async fn scrub(
    client: &Client,
    keys: &Keys,
    manifest: &Manifest,
    rate: u64,
    progress: impl FnMut(u64) + Send,
) -> Result<ScrubReport, ArchiveError> {
    let report = ScrubReport { last: manifest.line, ..ScrubReport::default() };
    let begin = client.now();
    let mut scrub = Scrub { client, keys, rate, begin, read: 0, progress, broken: false, report };
    for pack in &manifest.packs {
        scrub.pack(pack).await?;
    }
    let newest = manifest.logs.last().map(|log| log.epoch);
    for log in &manifest.logs {
        scrub.log(log, Some(log.epoch) == newest).await?;
    }
    Ok(scrub.report)
}

struct Scrub<'a, P> {
    client: &'a Client,
    keys: &'a Keys,
    rate: u64,
    begin: Duration,
    /// Bytes that were read, damaged ones included.
    read: u64,
    progress: P,
    /// Whether some of the records are known to be missing: those behind follow nothing.
    broken: bool,
    report: ScrubReport,
}

impl<P: FnMut(u64) + Send> Scrub<'_, P> {
    async fn pack(&mut self, pack: &ArchivedPack) -> Result<(), ArchiveError> {
        let key = pack.key(self.keys);
        let mut whole = blake3::Hasher::new();
        // From the first to the last byte that no list vouches for.
        let mut unlisted: Option<Range<u64>> = None;
        let mut came = Came::All;
        let mut page = None;
        let mut piece = 0;
        while piece < piece_count(pack.bytes) && came != Came::Nothing {
            let pieces = piece..(piece + RUN_PIECES).min(piece_count(pack.bytes));
            let range = pieces.start * PIECE_BYTES..pack.bytes.min(pieces.end * PIECE_BYTES);
            // A page is for a whole number of steps.
            let at_page = pages_of(&pieces).start;
            if page_count(pack.bytes) > 0 && page.as_ref().is_none_or(|(number, _)| *number != at_page) {
                page = Some((at_page, self.page(pack, at_page).await?));
            }
            let hashes: Option<Vec<[u8; 32]>> = match &page {
                None => Some(vec![pack.hash]),
                Some((_, None)) => None,
                Some((_, Some(list))) => pieces.clone().map(|piece| hash_in_page(list, piece)).collect(),
            };
            match hashes {
                Some(hashes) => self.listed(pack, &key, &range, &hashes, &mut whole, &mut came).await?,
                None => {
                    self.unlisted(pack, &key, &range, &mut whole, &mut came).await?;
                    unlisted = Some(unlisted.map_or(range.start, |before| before.start)..range.end);
                }
            }
            piece = pieces.end;
        }
        self.report.packs += 1;
        if came == Came::All && unlisted.is_some() && *whole.finalize().as_bytes() != pack.hash {
            self.damaged(
                &key,
                unlisted,
                "the pack is not what its name says, and its list is damaged".into(),
            );
        }
        Ok(())
    }

    /// One request for some bytes of a pack; of the last ones, it sees whether there are more.
    async fn get(
        &mut self,
        pack: &ArchivedPack,
        key: &str,
        range: &Range<u64>,
        check: impl Fn(&[u8]) -> bool,
    ) -> Result<Bytes, ArchiveError> {
        let got = match range.end == pack.bytes {
            true => self.client.get_end(key, range.clone(), check).await,
            false => self.client.get_range(key, range.clone(), check).await,
        };
        self.account(range.end - range.start).await;
        got
    }

    /// A run of pieces whose hashes are known.
    async fn listed(
        &mut self,
        pack: &ArchivedPack,
        key: &str,
        range: &Range<u64>,
        hashes: &[[u8; 32]],
        whole: &mut blake3::Hasher,
        came: &mut Came,
    ) -> Result<(), ArchiveError> {
        let got = match self.get(pack, key, range, |_| true).await {
            // One piece after another, to see where the damage begins; of a pack that is cut, once.
            Err(ArchiveError::Damaged { .. }) if *came == Came::All => Bytes::new(),
            got => match self.note(key, range.clone(), got, came)? {
                Some(bytes) => bytes,
                None => return Ok(()),
            },
        };
        let piece_bytes = usize::try_from(PIECE_BYTES).unwrap_or(usize::MAX);
        let mut pieces = got.chunks(piece_bytes);
        for (hash, start) in hashes.iter().zip((range.start..).step_by(piece_bytes)) {
            let piece = start..range.end.min(start + PIECE_BYTES);
            let right = |bytes: &[u8]| blake3::hash(bytes) == *hash;
            let again;
            let bytes = match pieces.next().filter(|bytes| right(bytes)) {
                Some(bytes) => bytes,
                None => {
                    let got = self.get(pack, key, &piece, right).await;
                    let Some(bytes) = self.note(key, piece, got, came)? else {
                        if *came == Came::Nothing {
                            return Ok(());
                        }
                        continue;
                    };
                    again = bytes;
                    &again
                }
            };
            whole.update(bytes);
            self.report.bytes += bytes.len() as u64;
        }
        Ok(())
    }

    /// Bytes that only the hash of the whole pack vouches for.
    async fn unlisted(
        &mut self,
        pack: &ArchivedPack,
        key: &str,
        range: &Range<u64>,
        whole: &mut blake3::Hasher,
        came: &mut Came,
    ) -> Result<(), ArchiveError> {
        let got = self.get(pack, key, range, |_| true).await;
        if let Some(bytes) = self.note(key, range.clone(), got, came)? {
            whole.update(&bytes);
            self.report.bytes += bytes.len() as u64;
        }
        Ok(())
    }

    /// A page of a pack's list, if it is right.
    async fn page(&mut self, pack: &ArchivedPack, page: u64) -> Result<Option<Bytes>, ArchiveError> {
        let key = pack.pieces_key(self.keys);
        let range = page * PAGE_BYTES..list_bytes(pack.bytes).min((page + 1) * PAGE_BYTES);
        let hash = usize::try_from(page).ok().and_then(|page| pack.pages.get(page)).copied();
        let check = |bytes: &[u8]| Some(*blake3::hash(bytes).as_bytes()) == hash;
        let got = self.client.get_range(&key, range.clone(), check).await;
        self.account(range.end - range.start).await;
        let found = self.note(&key, range, got, &mut Came::All)?;
        self.report.bytes += found.as_ref().map_or(0, |bytes| bytes.len() as u64);
        Ok(found)
    }

    /// The chunks of one epoch's log.
    async fn log(&mut self, log: &ArchivedLog, newest: bool) -> Result<(), ArchiveError> {
        let mut end = LogEnd::at(self.keys.0, log.epoch, log.first_chunk, log.before);
        loop {
            let key = self.keys.chunk(log.epoch, end.n());
            let stands = match end.read(self.client).await {
                Ok(stands) => stands,
                Err(error) => {
                    // What follows cannot be told from what does not.
                    self.broken = true;
                    return self.note(&key, 0..0, Err(error), &mut Came::All).map(drop);
                }
            };
            match stands {
                Stands::Chunk(chunk) => {
                    self.report.chunks += 1;
                    self.report.bytes += chunk.bytes.len() as u64;
                    self.account(chunk.bytes.len() as u64).await;
                    if self.chunk_follows(&key, chunk.first) {
                        self.report.last = self.report.last.max(chunk.last);
                    }
                }
                Stands::Barrier { .. } => return Ok(()),
                Stands::Nothing if newest => return Ok(()),
                Stands::Nothing => {
                    self.broken = true;
                    self.damaged(
                        &key,
                        None,
                        "it is missing, and the log of an earlier epoch has no end".into(),
                    );
                    return Ok(());
                }
            }
        }
    }

    /// Whether a chunk goes on where the one before it, or the packs, end; the first that does not is damage.
    fn chunk_follows(&mut self, key: &str, first: Lsn) -> bool {
        let next = self.report.last.next();
        if first > next && !self.broken {
            self.broken = true;
            self.damaged(key, None, format!("the commits from {next} on are missing before it"));
        }
        !self.broken
    }

    /// Counts bytes, tells them, and waits until so many are allowed.
    async fn account(&mut self, bytes: u64) {
        self.read += bytes;
        (self.progress)(bytes);
        if self.rate == 0 {
            return;
        }
        let due = u128::from(self.read) * 1_000_000 / u128::from(self.rate);
        let due = Duration::from_micros(u64::try_from(due).unwrap_or(u64::MAX));
        if let Some(wait) = due.checked_sub(self.client.now().saturating_sub(self.begin)) {
            self.client.sleep(wait).await;
        }
    }

    /// Takes what came, or puts damage into the report; errors that say nothing about the bytes end the scrub.
    fn note(
        &mut self,
        key: &str,
        range: Range<u64>,
        got: Result<Bytes, ArchiveError>,
        came: &mut Came,
    ) -> Result<Option<Bytes>, ArchiveError> {
        match got {
            Ok(bytes) => Ok(Some(bytes)),
            Err(ArchiveError::Missing { .. }) => {
                *came = Came::Nothing;
                self.damaged(key, None, "it is missing".into());
                Ok(None)
            }
            Err(ArchiveError::Damaged { reason, .. }) => {
                *came = Came::Some;
                self.damaged(key, (!range.is_empty()).then_some(range), reason.to_owned());
                Ok(None)
            }
            Err(error @ (ArchiveError::NewerVersion { .. } | ArchiveError::WrongEngine { .. })) => {
                self.damaged(key, None, error.to_string());
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Adds damage; what is next to the last one, of the same kind, becomes one with it.
    fn damaged(&mut self, key: &str, range: Option<Range<u64>>, reason: String) {
        if let Some(last) = self.report.damage.last_mut()
            && last.key == key
            && last.reason == reason
        {
            match (&mut last.range, &range) {
                (Some(old), Some(new)) if old.end == new.start => {
                    old.end = new.end;
                    return;
                }
                (None, None) => return,
                _ => {}
            }
        }
        self.report.damage.push(ArchiveDamage { key: key.to_owned(), range, reason });
    }
}
