//! An archive in a local folder: a file for each key, in the folders that the key names.
//!
//! A write goes to a file beside its place, is synced, renamed and synced again, folder included; so a key holds all
//! of something or nothing, and what was answered survives a power cut. Conditions are checked and kept under an
//! exclusive lock on one file of the folder, against other threads and other processes. The tag of a file is its hash,
//! so only small keys are written on the condition that they have not changed.

use super::pieces::read_in_steps;
use super::remote::ANSWER_BYTES_MAX;
use super::store::{Answer, Found, Listing, Source, Store, StoreError, StoreErrorKind, Tag, When};
use crate::sync::{Arc, AtomicBool, AtomicU64, Mutex, Ordering};
use bytes::Bytes;
use lineal_wal::{Disk, DiskFile, DiskLock, OpenMode, RealDisk};
use std::collections::HashSet;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The file that is locked while a condition is checked. No key has such a name.
const LOCK_FILE: &str = ".lineal-archive.lock";
/// What the file beside a key's place is called.
const NEW_SUFFIX: &str = ".new";
/// Between two attempts to lock. Source: a guess; a put holds the lock for two or three syncs.
const LOCK_PAUSE: Duration = Duration::from_millis(2);
/// How often the lock is tried before the put counts as failed. Source: a decision; four seconds.
const LOCK_ATTEMPTS: u32 = 2_000;

/// A local folder. To be polled inside the archive's [runtime](super::Runtime); the work is done by threads of its own.
#[derive(Debug)]
pub struct Folder {
    place: Arc<Place>,
    name: String,
}

#[derive(Debug)]
struct Place {
    root: PathBuf,
    /// Held from the check of a condition to the end of the write, by the threads of this process.
    turn: Mutex<()>,
    /// Counts the uploads.
    uploads: AtomicU64,
    /// Set for good when a name that others see already could not be made durable: what a look shows is no proof then.
    failed: AtomicBool,
    /// Folders whose own entries are known to be durable.
    made: Mutex<HashSet<PathBuf>>,
}

impl Folder {
    /// The folder at `root`, made with its parents by the first write.
    #[must_use]
    pub fn new(root: PathBuf) -> Self {
        let name = format!("file://{}", root.display());
        let place = Place {
            root,
            turn: Mutex::default(),
            uploads: AtomicU64::new(0),
            failed: AtomicBool::new(false),
            made: Mutex::default(),
        };
        Self { place: Arc::new(place), name }
    }

    fn work<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Place) -> Result<T, StoreError> + Send + 'static,
    ) -> Answer<'_, T> {
        let place = Arc::clone(&self.place);
        Box::pin(async move {
            if place.failed.load(Ordering::Acquire) {
                let text =
                    "a sync of the folder has failed: nothing it shows is proof until it is opened anew";
                return Err(StoreError::new(StoreErrorKind::Busy, text));
            }
            let done = tokio::task::spawn_blocking(move || work(&place)).await;
            done.map_err(|error| StoreError::new(StoreErrorKind::Busy, error))?
        })
    }
}

impl Store for Folder {
    fn name(&self) -> &str {
        &self.name
    }

    fn get<'a>(&'a self, key: &'a str, range: Option<Range<u64>>) -> Answer<'a, Found> {
        let key = key.to_owned();
        self.work(move |place| {
            // A put that was given up for lost may still be under way, between its name and its last sync.
            let _turn = range.is_none().then(|| place.turn.lock());
            place.read(&key, range)
        })
    }

    fn put<'a>(&'a self, key: &'a str, bytes: Bytes, when: When) -> Answer<'a, Option<Tag>> {
        let key = key.to_owned();
        self.work(move |place| {
            let _turn = place.turn.lock();
            let _lock = place.lock()?;
            place.check(&key, &when)?;
            place.write(&key, &bytes)?;
            Ok(Some(tag_of(&bytes)))
        })
    }

    fn upload<'a>(&'a self, key: &'a str, source: Arc<dyn Source>) -> Answer<'a, ()> {
        let key = key.to_owned();
        self.work(move |place| place.copy(&key, &*source))
    }

    fn delete<'a>(&'a self, key: &'a str) -> Answer<'a, ()> {
        let key = key.to_owned();
        self.work(move |place| place.remove(&key))
    }

    fn list<'a>(&'a self, folder: &'a str) -> Answer<'a, Listing> {
        let folder = folder.to_owned();
        self.work(move |place| place.list(&folder).map_err(said))
    }
}

impl Place {
    fn read(&self, key: &str, range: Option<Range<u64>>) -> Result<Found, StoreError> {
        let (folder, name) = self.split(key);
        let file = RealDisk::new(folder).open(name, OpenMode::Read).map_err(said)?;
        let len = file.len().map_err(said)?;
        let whole = range.is_none();
        let range = range.unwrap_or(0..len);
        let (start, end) = (range.start.min(len), range.end.min(len));
        let bytes = end.saturating_sub(start);
        if bytes > ANSWER_BYTES_MAX {
            return Err(StoreError::new(StoreErrorKind::Invalid, "the key holds more than is read at once"));
        }
        let mut found = vec![0; usize::try_from(bytes).unwrap_or(usize::MAX)];
        file.read_exact_at(&mut found, start).map_err(said)?;
        let tag = whole.then(|| tag_of(&found));
        Ok(Found { bytes: Bytes::from(found), tag })
    }

    fn check(&self, key: &str, when: &When) -> Result<(), StoreError> {
        let refuse = |why: &str| Err(StoreError::new(StoreErrorKind::Refused, why));
        let (folder, name) = self.split(key);
        match when {
            When::Always => Ok(()),
            When::Missing if RealDisk::new(folder).exists(name).map_err(said)? => {
                refuse("there is such a file")
            }
            When::Missing => Ok(()),
            When::Unchanged(tag) => match self.read(key, None) {
                Ok(found) if found.tag.as_ref() == Some(tag) => Ok(()),
                Ok(_) => refuse("the file was changed"),
                Err(error) if error.kind == StoreErrorKind::Missing => refuse("there is no such file"),
                Err(error) => Err(error),
            },
        }
    }

    fn write(&self, key: &str, bytes: &[u8]) -> Result<(), StoreError> {
        self.install(key, NEW_SUFFIX, |file| file.write_all_at(bytes, 0)).map_err(said)
    }

    fn copy(&self, key: &str, source: &dyn Source) -> Result<(), StoreError> {
        // Two uploads of one key have the same bytes to say, but not the same file to say them in. No lock is held:
        // a pack takes long, and others wait for their chunks.
        let upload = self.uploads.fetch_add(1, Ordering::Relaxed);
        let suffix = format!(".{}-{upload}{NEW_SUFFIX}", std::process::id());
        let copied = self.install(key, &suffix, |file| {
            let mut at = 0;
            read_in_steps(source, |step| {
                file.write_all_at(step, at)?;
                at += step.len() as u64;
                Ok(())
            })
        });
        copied.map_err(said)
    }

    /// Makes a file whole beside its place, then puts it there.
    fn install(
        &self,
        key: &str,
        suffix: &str,
        fill: impl FnOnce(&dyn DiskFile) -> io::Result<()>,
    ) -> io::Result<()> {
        let (folder, name) = self.split(key);
        self.make(&folder)?;
        let disk = RealDisk::new(folder);
        let new = format!("{name}{suffix}");
        let file = disk.open(&new, OpenMode::Create)?;
        // What an interrupted write has left there goes first.
        file.set_len(0)?;
        let filled = fill(&*file).and_then(|()| file.sync_all());
        if let Err(error) = filled {
            // It is no key, and the next write begins by emptying it; gone is better where the disk is full.
            let _ = disk.remove(&new);
            return Err(error);
        }
        disk.rename(&new, name)?;
        disk.sync_dir("").inspect_err(|_| self.failed.store(true, Ordering::Release))
    }

    /// The seam of the disk knows no folders but those it makes; these are only looked for.
    fn list(&self, folder: &str) -> io::Result<Listing> {
        let entries = match std::fs::read_dir(self.root.join(folder)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Listing::default()),
            entries => entries?,
        };
        let mut listing = Listing::default();
        for entry in entries {
            let entry = entry?;
            // A name that is no text is none of ours.
            let Ok(name) = entry.file_name().into_string() else { continue };
            if entry.file_type()?.is_dir() {
                listing.folders.push(name);
                continue;
            }
            match entry.metadata() {
                Ok(about) => listing.keys.push((name, about.len())),
                // It went while the folder was read.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(listing)
    }

    fn remove(&self, key: &str) -> Result<(), StoreError> {
        let (folder, name) = self.split(key);
        let disk = RealDisk::new(folder);
        match disk.remove(name) {
            Ok(()) => disk.sync_dir("").map_err(said),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(said(error)),
        }
    }

    /// Makes a folder with its parents, their entries durable. What an earlier process made below the root it may have
    /// left without a sync; above the root nothing is ours but what is made here.
    fn make(&self, folder: &Path) -> io::Result<()> {
        if self.made.lock().contains(folder) {
            return Ok(());
        }
        let mut unsure = Vec::new();
        for folder in folder.ancestors().filter(|folder| !folder.as_os_str().is_empty()) {
            let below = folder.starts_with(&self.root) && folder != self.root;
            if below || !RealDisk::new(folder.to_owned()).exists("")? {
                unsure.push(folder);
            }
        }
        RealDisk::new(folder.to_owned()).create_dir("")?;
        for parent in unsure.into_iter().filter_map(Path::parent) {
            let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
            RealDisk::new(parent.to_owned()).sync_dir("")?;
        }
        self.made.lock().insert(folder.to_owned());
        Ok(())
    }

    fn lock(&self) -> Result<Box<dyn DiskLock>, StoreError> {
        self.make(&self.root).map_err(said)?;
        let disk = RealDisk::new(self.root.clone());
        for _ in 0..LOCK_ATTEMPTS {
            match disk.lock(LOCK_FILE, true) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => std::thread::sleep(LOCK_PAUSE),
                locked => return locked.map_err(said),
            }
        }
        Err(StoreError::new(StoreErrorKind::Busy, "another process holds the lock of the folder"))
    }

    fn split<'a>(&self, key: &'a str) -> (PathBuf, &'a str) {
        match key.rsplit_once('/') {
            Some((folder, name)) => (self.root.join(folder), name),
            None => (self.root.clone(), key),
        }
    }
}

fn tag_of(bytes: &[u8]) -> Tag {
    Tag(blake3::hash(bytes).to_hex().to_string())
}

fn said(error: io::Error) -> StoreError {
    let kind = match error.kind() {
        io::ErrorKind::NotFound => StoreErrorKind::Missing,
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => StoreErrorKind::Denied,
        io::ErrorKind::InvalidInput | io::ErrorKind::NotADirectory | io::ErrorKind::IsADirectory => {
            StoreErrorKind::Invalid
        }
        _ => StoreErrorKind::Busy,
    };
    StoreError::new(kind, error)
}
