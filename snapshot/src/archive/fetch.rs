//! Brings an archived pack back into a data directory.
//!
//! It is written beside its place, compared with the hash that the manifest names, synced, and only then given its
//! name: what has the name is whole. A pack that is there already is checked and not fetched again, so that what was
//! interrupted goes on.

use super::client::Client;
use super::error::ArchiveError;
use super::key::Keys;
use super::manifest::ArchivedPack;
use super::packs::{LocalPack, hash};
use crate::entry::PACK_FOLDER;
use crate::sync::Arc;
use lineal_wal::{Disk, OpenMode};
use std::io;

/// What a pack is called until it is verified.
const FETCHED_SUFFIX: &str = ".fetched";

/// What fetching a pack came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fetched {
    /// It was fetched, and is durable.
    Now,
    /// It was there.
    Before,
}

/// Fetches one pack, unless the directory has it. `progress` is told the bytes as they come. When it answers, the pack
/// is durable under its name and has the bytes that the manifest names. Blocks its thread for the time of local writes.
///
/// # Errors
/// [`ArchiveError::Damaged`] and [`ArchiveError::Missing`] if the archive has not what it names; then nothing is left
/// that looks like a pack. [`ArchiveError::Local`]; as [`Client::get`].
pub async fn fetch_pack(
    client: &Client,
    keys: &Keys,
    pack: &ArchivedPack,
    disk: &dyn Disk,
    mut progress: impl FnMut(u64),
) -> Result<Fetched, ArchiveError> {
    let local = |source: io::Error| ArchiveError::Local { source: Arc::new(source) };
    let path = pack.number.path();
    if disk.exists(&path).map_err(local)? {
        let there = LocalPack::open(disk, pack.number)?;
        if there.source.len() == pack.bytes && *hash(there.source).await?.as_bytes() == pack.hash {
            return Ok(Fetched::Before);
        }
    }
    disk.create_dir(PACK_FOLDER).map_err(local)?;
    let fetched = format!("{path}{FETCHED_SUFFIX}");
    let file = disk.open(&fetched, OpenMode::Create).map_err(local)?;
    file.set_len(0).map_err(local)?;
    let mut at = 0;
    let read = client
        .read_through(&pack.key(keys), pack.bytes, &pack.hash.into(), |piece| {
            file.write_all_at(piece, at).map_err(local)?;
            at += piece.len() as u64;
            progress(piece.len() as u64);
            Ok(())
        })
        .await;
    if let Err(error) = read {
        // It has no name that anybody reads; if it cannot be removed, the next attempt empties it.
        let _ = disk.remove(&fetched);
        return Err(error);
    }
    let place = || {
        file.sync_all()?;
        disk.rename(&fetched, &path)?;
        disk.sync_dir(PACK_FOLDER)
    };
    place().map_err(local)?;
    Ok(Fetched::Now)
}
