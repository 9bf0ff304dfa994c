//! Brings all packs of an archive into a data directory, several at a time.

use super::client::Client;
use super::error::ArchiveError;
use super::fetch::{Fetched, fetch_pack};
use super::key::Keys;
use super::manifest::{ArchivedPack, Manifest};
use crate::sync::Arc;
use lineal_wal::Disk;
use tokio::task::JoinSet;

/// What [`restore_packs`] did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RestoredPacks {
    /// Packs that were fetched.
    pub fetched: u64,
    /// Packs that were there already, and right.
    pub found: u64,
    /// Bytes that were fetched.
    pub bytes: u64,
}

/// Fetches all packs of a manifest that the directory has not, `parallel` of them (at least one) at a time, each of
/// which takes up to 16 MiB of memory. `progress` is told the bytes as they are there. When it answers, all of them are
/// durable and have the bytes that the manifest names. What was interrupted is gone on with by calling it again: packs
/// that are there are checked and not fetched. To be polled inside the archive's [runtime](super::Runtime).
///
/// # Errors
/// The first of those of [`fetch_pack`]; the packs that were complete by then stay.
pub async fn restore_packs(
    client: &Client,
    keys: &Keys,
    manifest: &Manifest,
    disk: &Arc<dyn Disk>,
    parallel: usize,
    progress: Arc<dyn Fn(u64) + Send + Sync>,
) -> Result<RestoredPacks, ArchiveError> {
    let mut restored = RestoredPacks::default();
    // Whoever is still at work when this ends is dropped with it.
    let mut tasks = JoinSet::new();
    let mut packs = manifest.packs.iter();
    loop {
        while tasks.len() < parallel.max(1)
            && let Some(pack) = packs.next()
        {
            let (client, keys, pack) = (client.clone(), *keys, pack.clone());
            let (disk, progress) = (Arc::clone(disk), Arc::clone(&progress));
            tasks.spawn(async move { restore_pack(&client, &keys, pack, &*disk, &*progress).await });
        }
        let Some(done) = tasks.join_next().await else {
            return Ok(restored);
        };
        match done.map_err(|_| ArchiveError::Closed)?? {
            (Fetched::Now, bytes) => {
                restored.fetched += 1;
                restored.bytes += bytes;
            }
            (Fetched::Before, _) => restored.found += 1,
        }
    }
}

async fn restore_pack(
    client: &Client,
    keys: &Keys,
    pack: ArchivedPack,
    disk: &dyn Disk,
    progress: &(dyn Fn(u64) + Send + Sync),
) -> Result<(Fetched, u64), ArchiveError> {
    let fetched = fetch_pack(client, keys, &pack, disk, progress).await?;
    if fetched == Fetched::Before {
        progress(pack.bytes);
    }
    Ok((fetched, pack.bytes))
}
