//! What the archive does not need any more: noted when it leaves the manifest, deleted after a grace period.
//!
//! ```text
//! leaves   with the change that takes a pack from the list, or a chunk from what is needed, the same manifest gets a
//!          row that says so, with the time
//! due      the row is older than the grace period: who read an older manifest has had so long
//! deleted  first asked whether the store still holds exactly the manifest that this writer left; then the keys go
//! gone     only then the rows go
//! ```
//! So a crash anywhere leaves rows whose keys are gone already, which are deleted once more. A pack never comes back into
//! the list and a chunk is never needed again, so a writer that was fenced off meanwhile deletes nothing that the next one
//! needs. Barriers are never deleted: without one, a writer that comes back late could go on where it stopped. Nothing
//! is listed: what was uploaded and never got into a manifest, because a writer died in between, stays.

use super::chunk::BARRIER_BYTES;
use super::client::Client;
use super::error::ArchiveError;
use super::key::Keys;
use super::manifest::{GarbageChunks, GarbagePack, Manifest, ManifestWriter};
use lineal_wal::{Epoch, Micros};

/// What [`collect_garbage`] deleted, or would.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Collected {
    /// The keys.
    pub keys: Vec<String>,
    /// Bytes of the packs among them.
    pub pack_bytes: u64,
}

impl Manifest {
    /// Notes what `before` listed or needed and this does not, as garbage since `time`.
    pub(crate) fn note_garbage(&mut self, before: &Self, time: Micros) {
        let mut garbage = std::mem::take(&mut self.garbage_packs);
        garbage.extend(before.packs.iter().map(|pack| GarbagePack {
            number: pack.number,
            bytes: pack.bytes,
            hash: pack.hash,
            since: time,
        }));
        garbage.retain(|garbage| !self.lists(garbage));
        garbage.sort_by_key(|garbage| (garbage.number, garbage.hash));
        garbage.dedup_by_key(|garbage| (garbage.number, garbage.hash));
        self.garbage_packs = garbage;
        for log in &before.logs {
            let now = self.logs.iter().find(|now| now.epoch == log.epoch);
            let (epoch, first) = (log.epoch, log.first_chunk);
            let end = now.map(|now| now.first_chunk);
            if end.is_none_or(|end| end > first) {
                self.garbage_chunks.push(GarbageChunks { epoch, first, end, since: time });
            }
        }
        self.garbage_chunks.sort_by_key(|garbage| (garbage.epoch, garbage.first));
    }
}

/// Deletes what was garbage for at least `grace` by the time `now`, and then forgets it. With `dry_run` it asks the
/// store only where an epoch's log ends, and says what it would delete. Asks for nothing if nothing is due.
///
/// # Errors
/// [`ArchiveError::Fenced`] and [`ArchiveError::Diverged`] if the store does not hold the manifest that this writer
/// left: then nothing is deleted. As [`Client::delete`] and [`ManifestWriter::change`]: then the rest is deleted by the
/// next call.
pub async fn collect_garbage(
    client: &Client,
    manifest: &mut ManifestWriter,
    epoch: Epoch,
    now: Micros,
    grace: Micros,
    dry_run: bool,
) -> Result<Collected, ArchiveError> {
    let due = |since: Micros| since.0.checked_add(grace.0).is_some_and(|end| end <= now.0);
    let garbage = |manifest: &Manifest| {
        let packs = manifest.garbage_packs.iter().filter(|garbage| due(garbage.since));
        let chunks = manifest.garbage_chunks.iter().filter(|garbage| due(garbage.since));
        (packs.copied().collect::<Vec<_>>(), chunks.copied().collect::<Vec<_>>())
    };
    let keys = Keys(manifest.manifest().engine);
    let mut collected = Collected::default();
    let (mut packs, mut chunks) = garbage(manifest.manifest());
    if packs.is_empty() && chunks.is_empty() {
        return Ok(collected);
    }
    if !dry_run {
        manifest.confirm(client, epoch).await?;
        (packs, chunks) = garbage(manifest.manifest());
    }
    for pack in &packs {
        collected.pack_bytes += pack.bytes;
        // The list first: a pack without one cannot be read by range, a list without its pack is no use either.
        collected.keys.extend(pack.has_list().then(|| keys.pieces(pack.number, &pack.hash.into())));
        collected.keys.push(keys.pack(pack.number, &pack.hash.into()));
    }
    for garbage in &chunks {
        let end = match garbage.end {
            Some(end) => end,
            None => end_of_log(client, &keys, garbage).await?,
        };
        // From the end, so that after a crash all that is left is found again from the beginning.
        collected.keys.extend((garbage.first..end).rev().map(|n| keys.chunk(garbage.epoch, n)));
    }
    if dry_run {
        return Ok(collected);
    }
    for key in &collected.keys {
        client.delete(key).await?;
    }
    manifest
        .change(client, epoch, now, |next| {
            next.garbage_packs.retain(|garbage| !packs.contains(garbage));
            next.garbage_chunks.retain(|garbage| !chunks.contains(garbage));
        })
        .await?;
    Ok(collected)
}

/// The first number of an epoch's log where no chunk stands: its barrier's, or where an earlier deletion came to. What is
/// longer than a barrier is none; nothing else of it is believed.
async fn end_of_log(client: &Client, keys: &Keys, garbage: &GarbageChunks) -> Result<u64, ArchiveError> {
    let mut n = garbage.first;
    while client.is_longer(&keys.chunk(garbage.epoch, n), BARRIER_BYTES).await? {
        n += 1;
    }
    Ok(n)
}
