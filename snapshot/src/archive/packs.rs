//! Brings the packs in the store, and the manifest that names them, to what is live here.
//!
//! A pack is hashed, uploaded under its number and hash, and read back, and so is the list of its pieces; only then the
//! manifest lists it. Everything
//! before that change is repeatable: a crash leaves packs that nobody names, or names that are all there.

use super::client::Client;
use super::error::ArchiveError;
use super::key::Keys;
use super::manifest::{ArchivedLog, ArchivedPack, Manifest, ManifestWriter};
use super::pieces::{describe, read_in_steps};
use super::runtime::beside;
use super::store::Source;
use crate::entry::PackNumber;
use crate::sync::Arc;
use bytes::Bytes;
use lineal_wal::planted::{self, Bug};
use lineal_wal::{Disk, DiskFile, EngineId, Epoch, Lsn, Micros, OpenMode};
use std::io;

/// Largest footers of all packs together in a manifest. Source: a decision; it is written whenever packs change.
const FOOTERS_BYTES_MAX: usize = 8 << 20;

/// How often a pack is sent that is stored as something else. Source: a decision.
const SENDS_MAX: u32 = 3;

/// A sealed pack on the local disk.
#[derive(Debug, Clone)]
pub struct LocalPack {
    /// Its number.
    pub number: PackNumber,
    /// Its file.
    pub source: Arc<dyn Source>,
}

impl LocalPack {
    /// A pack of a data directory. It stays readable though compaction removes its file meanwhile.
    ///
    /// # Errors
    /// [`ArchiveError::Local`].
    pub fn open(disk: &dyn Disk, number: PackNumber) -> Result<Self, ArchiveError> {
        let open = || {
            let file = disk.open(&number.path(), OpenMode::Read)?;
            let bytes = file.len()?;
            Ok(Self { number, source: Arc::new(PackSource { file, bytes }) })
        };
        open().map_err(|source: io::Error| ArchiveError::Local { source: Arc::new(source) })
    }
}

#[derive(Debug)]
struct PackSource {
    file: Box<dyn DiskFile>,
    bytes: u64,
}

impl Source for PackSource {
    fn len(&self) -> u64 {
        self.bytes
    }

    fn read_exact_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_exact_at(bytes, offset)
    }
}

/// What is live here.
#[derive(Debug, Clone)]
pub struct Live {
    /// All live packs, ascending by number.
    pub packs: Vec<LocalPack>,
    /// They hold every commit up to this one; it is durable.
    pub line: Lsn,
    /// The logs that hold what is above it, as far as they are archived.
    pub logs: Vec<ArchivedLog>,
    /// What happened before may be gone.
    pub horizon: Micros,
    /// What the engine keeps in the manifest.
    pub note: Vec<u8>,
}

impl Live {
    fn is_in(&self, manifest: &Manifest, packs: &[ArchivedPack]) -> bool {
        manifest.packs == packs
            && manifest.line == self.line
            && manifest.logs == self.logs
            && manifest.horizon >= self.horizon
            && manifest.note == self.note
    }
}

/// Uploads the packs that the archive has not, verifies them, and changes the manifest to what is live. What it listed
/// or needed and is not live becomes garbage since `time`. When it answers the archive holds all of what is live. Asks the store for nothing if it does already.
///
/// A pack is known by its number, which no engine uses twice.
///
/// # Errors
/// [`ArchiveError::Damaged`] if the store does not keep what it is sent; [`ArchiveError::Diverged`] if it names a pack
/// of the same number and another size; [`ArchiveError::Local`]; as [`ManifestWriter::change`].
pub async fn archive_packs(
    client: &Client,
    manifest: &mut ManifestWriter,
    epoch: Epoch,
    time: Micros,
    live: &Live,
) -> Result<(), ArchiveError> {
    let engine = manifest.manifest().engine;
    let mut packs = Vec::with_capacity(live.packs.len());
    for pack in &live.packs {
        let listed = manifest.manifest().packs.iter().find(|listed| listed.number == pack.number);
        match listed {
            Some(listed) if listed.bytes == pack.source.len() => packs.push(listed.clone()),
            Some(listed) => {
                let key = listed.key(&Keys(engine));
                return Err(ArchiveError::Diverged { key, reason: "the local pack has another size" });
            }
            None => packs.push(send(client, engine, pack).await?),
        }
    }
    keep_small(&mut packs);
    if live.is_in(manifest.manifest(), &packs) {
        return Ok(());
    }
    manifest
        .change(client, epoch, time, |next| {
            let before = next.clone();
            next.packs.clone_from(&packs);
            next.line = live.line;
            next.logs.clone_from(&live.logs);
            next.horizon = next.horizon.max(live.horizon);
            next.note.clone_from(&live.note);
            next.note_garbage(&before, time);
        })
        .await
}

/// Leaves the largest footers out where all together are too large: those packs are opened by a request.
pub(super) fn keep_small(packs: &mut [ArchivedPack]) {
    let mut bytes: usize = packs.iter().map(|pack| pack.footer.len()).sum();
    while bytes > FOOTERS_BYTES_MAX
        && let Some(largest) = packs.iter_mut().max_by_key(|pack| pack.footer.len())
    {
        bytes -= largest.footer.len();
        largest.footer = Bytes::new();
    }
}

/// Uploads one pack until it reads back, and then the list of its pieces.
async fn send(client: &Client, engine: EngineId, pack: &LocalPack) -> Result<ArchivedPack, ArchiveError> {
    let (number, source) = (pack.number, Arc::clone(&pack.source));
    let described = beside(move || describe(number, &*source)).await?;
    let (archived, list) = described.map_err(|source| ArchiveError::Local { source: Arc::new(source) })?;
    let keys = Keys(engine);
    send_until_read_back(client, &archived.key(&keys), &pack.source, &archived.hash.into()).await?;
    if !list.is_empty() {
        let hash = blake3::hash(&list);
        let list: Arc<dyn Source> = Arc::new(Held(list.into()));
        send_until_read_back(client, &archived.pieces_key(&keys), &list, &hash).await?;
    }
    Ok(archived)
}

/// Bytes in memory, as a source.
#[derive(Debug)]
struct Held(Bytes);

impl Source for Held {
    fn len(&self) -> u64 {
        self.0.len() as u64
    }

    fn read_exact_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        let from = usize::try_from(offset).ok().and_then(|at| self.0.get(at..)?.get(..bytes.len()));
        bytes.copy_from_slice(from.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
}

/// Stores bytes under a key that names them, until they read back.
pub(crate) async fn send_bytes(client: &Client, key: &str, bytes: Bytes) -> Result<(), ArchiveError> {
    let hash = blake3::hash(&bytes);
    let source: Arc<dyn Source> = Arc::new(Held(bytes));
    send_until_read_back(client, key, &source, &hash).await
}

async fn send_until_read_back(
    client: &Client,
    key: &str,
    source: &Arc<dyn Source>,
    hash: &blake3::Hash,
) -> Result<(), ArchiveError> {
    let mut sends = 1;
    loop {
        client.upload(key, Arc::clone(source)).await?;
        if planted::on(Bug::PackNotReadBack) {
            return Ok(());
        }
        match client.read_through(key, source.len(), hash, |_| Ok(())).await {
            Ok(()) => return Ok(()),
            Err(ArchiveError::Damaged { .. } | ArchiveError::Missing { .. }) if sends < SENDS_MAX => {
                client.pause(sends).await;
                sends += 1;
            }
            Err(error) => return Err(error),
        }
    }
}

/// BLAKE3 of all bytes of a source.
pub(crate) async fn hash(source: Arc<dyn Source>) -> Result<blake3::Hash, ArchiveError> {
    let work = move || -> io::Result<blake3::Hash> {
        let mut hasher = blake3::Hasher::new();
        read_in_steps(&*source, |step| {
            hasher.update(step);
            Ok(())
        })?;
        Ok(hasher.finalize())
    };
    beside(work).await?.map_err(|source| ArchiveError::Local { source: Arc::new(source) })
}
