//! A data directory whose packs may be in the archive only.
//!
//! Whoever opens files through it knows nothing of the archive. A pack that has a local file is that file; one that has
//! none and is archived is a [cold file](super::cold), read by verified pieces through the block cache. Everything
//! else is the local disk's.

use super::blocks::Blocks;
use super::client::Client;
use super::cold::{Cold, ColdFile};
use super::fetcher::Fetcher;
use super::key::Keys;
use super::manifest::ArchivedPack;
use super::runtime::Runtime;
use crate::entry::{PACK_FOLDER, PackNumber};
use crate::sync::{Arc, Mutex, Ordering};
use lineal_wal::{Disk, DiskFile, DiskLock, OpenMode};
use std::collections::{BTreeMap, BTreeSet};
use std::io;

/// Settings of a [`Tier`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TierOptions {
    /// Most bytes of the local cache of what was read from the archive. Below 64 KiB there is no file, and a few pieces
    /// are kept in memory.
    pub cache_bytes: u64,
}

impl Default for TierOptions {
    /// A GiB. Source: a decision.
    fn default() -> Self {
        Self { cache_bytes: 1 << 30 }
    }
}

/// Numbers of a [`Tier`], since it was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct TierStats {
    /// Archived packs without a local file.
    pub cold_packs: u64,
    /// Bytes in the local cache.
    pub cache_bytes: u64,
    /// Pieces that were read and at hand.
    pub hits: u64,
    /// Pieces that were read and not at hand.
    pub misses: u64,
    /// Bytes that were fetched, lists of pieces included.
    pub fetched_bytes: u64,
}

/// A local disk, and behind it the archive.
#[derive(Debug)]
pub struct Tier {
    shared: Arc<Shared>,
    /// Whether archived packs are cold although there is a local file.
    cold: bool,
}

#[derive(Debug)]
struct Shared {
    local: Arc<dyn Disk>,
    cold: Cold,
    archived: Mutex<BTreeMap<PackNumber, Arc<ArchivedPack>>>,
}

impl Tier {
    /// The data directory `local`, and the archive that `client` sees, of the engine of `keys`. Nothing is archived
    /// before [`set_archived`](Self::set_archived), and nothing is touched before something is read. Reads take as long
    /// as the client has patience.
    #[must_use]
    pub fn new(
        local: Arc<dyn Disk>,
        client: Client,
        runtime: Arc<Runtime>,
        keys: Keys,
        options: TierOptions,
    ) -> Arc<Self> {
        let blocks = Blocks::new(Arc::clone(&local), options.cache_bytes);
        let cold = Cold { runtime, fetcher: Arc::new(Fetcher::new(client, keys, blocks)) };
        let shared = Arc::new(Shared { local, cold, archived: Mutex::default() });
        Arc::new(Self { shared, cold: false })
    }

    /// The same, but a pack that is archived is opened cold although there is a local file: for readers that are to go
    /// on when the file goes.
    #[must_use]
    pub fn disk_cold(&self) -> Arc<dyn Disk> {
        Arc::new(Self { shared: Arc::clone(&self.shared), cold: true })
    }

    /// Says which packs are archived: exactly these, verified there. Files that are open stay what they are.
    pub fn set_archived(&self, packs: &[ArchivedPack]) {
        let mut archived = self.shared.archived.lock();
        let next = packs.iter().map(|pack| {
            let known = archived.get(&pack.number).filter(|known| ***known == *pack);
            (pack.number, known.map_or_else(|| Arc::new(pack.clone()), Arc::clone))
        });
        *archived = next.collect();
    }

    /// Whether a pack is archived.
    #[must_use]
    pub fn is_archived(&self, number: PackNumber) -> bool {
        self.archived(number).is_some()
    }

    /// Whether a pack has a local file.
    ///
    /// # Errors
    /// What the local disk says.
    pub fn is_local(&self, number: PackNumber) -> io::Result<bool> {
        self.shared.local.exists(&number.path())
    }

    /// Bytes of all local files of packs.
    ///
    /// # Errors
    /// What the local disk says.
    pub fn local_pack_bytes(&self) -> io::Result<u64> {
        let mut bytes = 0;
        for number in self.local_packs()? {
            match self.shared.local.open(&number.path(), OpenMode::Read) {
                Ok(file) => bytes += file.len()?,
                // Compaction has removed it since.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(bytes)
    }

    /// Removes the local file of an archived pack and says how many bytes that frees; zero if there is none. Durable when
    /// it answers. Who has the file open keeps reading it.
    ///
    /// # Errors
    /// `InvalidInput` for a pack that is not archived, `InvalidData` if the file has another size than the archived
    /// pack, and what the local disk says.
    pub fn drop_local(&self, number: PackNumber) -> io::Result<u64> {
        let refuse = |kind, reason: &str| Err(io::Error::new(kind, format!("pack {number} {reason}")));
        let Some(archived) = self.archived(number) else {
            return refuse(io::ErrorKind::InvalidInput, "is not archived: its local file stays");
        };
        let path = number.path();
        let bytes = match self.shared.local.open(&path, OpenMode::Read) {
            Ok(file) => file.len()?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
            Err(error) => return Err(error),
        };
        if bytes != archived.bytes {
            return refuse(io::ErrorKind::InvalidData, "is not what is archived: its local file stays");
        }
        self.shared.local.remove(&path)?;
        self.shared.local.sync_dir(PACK_FOLDER)?;
        Ok(bytes)
    }

    /// Numbers so far; looks into the folder of packs.
    #[must_use]
    pub fn stats(&self) -> TierStats {
        let local = self.local_packs().unwrap_or_default();
        let cold_packs = self.shared.archived.lock().keys().filter(|number| !local.contains(number)).count();
        let fetcher = &self.shared.cold.fetcher;
        TierStats {
            cold_packs: cold_packs as u64,
            cache_bytes: fetcher.blocks.held_bytes(),
            hits: fetcher.hits.load(Ordering::Relaxed),
            misses: fetcher.misses.load(Ordering::Relaxed),
            fetched_bytes: fetcher.fetched_bytes.load(Ordering::Relaxed),
        }
    }

    fn archived(&self, number: PackNumber) -> Option<Arc<ArchivedPack>> {
        self.shared.archived.lock().get(&number).cloned()
    }

    /// The archived pack that a path names.
    fn archived_at(&self, path: &str) -> Option<Arc<ArchivedPack>> {
        self.archived(pack_of(path)?)
    }

    fn local_packs(&self) -> io::Result<BTreeSet<PackNumber>> {
        match self.shared.local.list(PACK_FOLDER) {
            Ok(names) => Ok(names.iter().filter_map(|name| PackNumber::from_file_name(name)).collect()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(BTreeSet::new()),
            Err(error) => Err(error),
        }
    }

    /// Says that what a path names is no pack of the archive any more, and whether it was.
    fn forget(&self, path: &str) -> bool {
        pack_of(path).is_some_and(|number| self.shared.archived.lock().remove(&number).is_some())
    }
}

fn pack_of(path: &str) -> Option<PackNumber> {
    PackNumber::from_file_name(path.strip_prefix(PACK_FOLDER)?.strip_prefix('/')?)
}

impl Disk for Tier {
    fn open(&self, path: &str, mode: OpenMode) -> io::Result<Box<dyn DiskFile>> {
        let Some(pack) = self.archived_at(path) else {
            return self.shared.local.open(path, mode);
        };
        if !self.cold {
            match self.shared.local.open(path, mode) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                opened => return opened,
            }
        }
        match mode {
            OpenMode::Read | OpenMode::ReadWrite => {
                Ok(Box::new(ColdFile::new(self.shared.cold.clone(), pack)))
            }
            OpenMode::Create | OpenMode::CreateNew => self.shared.local.open(path, mode),
        }
    }

    fn create_dir(&self, path: &str) -> io::Result<()> {
        self.shared.local.create_dir(path)
    }

    /// Of the folder of packs, also what is in the archive only.
    fn list(&self, dir: &str) -> io::Result<Vec<String>> {
        let archived: Vec<PackNumber> = match dir {
            PACK_FOLDER => self.shared.archived.lock().keys().copied().collect(),
            _ => Vec::new(),
        };
        let mut names = match self.shared.local.list(dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && !archived.is_empty() => Vec::new(),
            listed => listed?,
        };
        let name = |number: &PackNumber| number.path().split_off(PACK_FOLDER.len() + 1);
        names.extend(archived.iter().map(name));
        names.sort_unstable();
        names.dedup();
        Ok(names)
    }

    fn exists(&self, path: &str) -> io::Result<bool> {
        Ok(self.archived_at(path).is_some() || self.shared.local.exists(path)?)
    }

    /// Of an archived pack, takes the local file and forgets the archived one, which stays in the store.
    fn remove(&self, path: &str) -> io::Result<()> {
        let removed = self.shared.local.remove(path);
        let gone = match &removed {
            Ok(()) => true,
            Err(error) => error.kind() == io::ErrorKind::NotFound,
        };
        if gone && self.forget(path) { Ok(()) } else { removed }
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.shared.local.rename(from, to)?;
        self.forget(from);
        Ok(())
    }

    fn sync_dir(&self, dir: &str) -> io::Result<()> {
        match self.shared.local.sync_dir(dir) {
            // The archived packs need no folder, and their names are durable.
            Err(error) if error.kind() == io::ErrorKind::NotFound && dir == PACK_FOLDER => Ok(()),
            synced => synced,
        }
    }

    fn free_bytes(&self) -> io::Result<u64> {
        self.shared.local.free_bytes()
    }

    fn lock(&self, path: &str, exclusive: bool) -> io::Result<Box<dyn DiskLock>> {
        self.shared.local.lock(path, exclusive)
    }
}
