//! Opening an archive on a machine that has nothing of it.

use std::path::Path;

use lineal_snapshot::archive::ArchiveError;
use lineal_wal::{Disk, EngineId, OpenMode};

use super::{ArchiveOptions, Location, reading::Reading};
use crate::{
    Engine, Error, Options, Result,
    engine::{
        identity,
        open::{LOCK_FILE, take_lock},
    },
};

/// There while a directory is being made: what else is there is of an attempt that was interrupted.
const ATTACHING: &str = "ATTACHING";

impl Options {
    /// Opens an archive in `dir`, which is made, or empty, or was attached before. The engine serves after reading the
    /// manifest and the newest part of the log: packs stay in the store, and what is read of them comes from there. It
    /// takes the archive over, as [`open`](Options::open) does.
    ///
    /// # Errors
    /// [`Error::NoArchive`] without [`Options::archive`]; [`Error::NotFound`] if nothing is there;
    /// [`Error::InvalidDirectory`] if `dir` holds something else; [`Error::Archive`] for an archive that cannot be read,
    /// which is never taken for none; as [`open`](Options::open).
    pub fn attach(self, dir: impl AsRef<Path>) -> Result<Engine> {
        let dir = dir.as_ref();
        let Some(archive) = self.archive.clone() else { return Err(Error::NoArchive) };
        for _ in 1..ATTEMPTS_MAX {
            let made = make_directory(&self, &archive, dir)?;
            match self.clone().open(dir) {
                // Somebody who still wrote has moved the archive on since it was read.
                Err(Error::Archive(ArchiveError::Diverged { .. })) if made => {
                    unmake_directory(&*self.disk_for(dir))?;
                }
                opened => return opened,
            }
        }
        make_directory(&self, &archive, dir)?;
        self.open(dir)
    }

    /// Which engine's archive to attach, where a prefix holds several.
    pub fn engine_id(mut self, id: EngineId) -> Self {
        self.engine_id = Some(id);
        self
    }
}

impl Engine {
    /// Opens the archive at `location` in an empty directory. See [`Options::attach`].
    ///
    /// # Errors
    /// As [`Options::attach`].
    pub fn attach(location: Location, dir: impl AsRef<Path>) -> Result<Engine> {
        Options::new().archive(ArchiveOptions::new(location)).attach(dir)
    }
}

/// How often a directory is made again because the archive moved on before it was taken over. The second time its last
/// writer is fenced off already, unless another one came.
const ATTEMPTS_MAX: usize = 5;

/// Makes a data directory whose log is the archive's tail and that has no packs of its own. The identity comes last, so
/// that what was interrupted does not open, and is begun again. Returns whether it was made now.
fn make_directory(options: &Options, archive: &ArchiveOptions, dir: &Path) -> Result<bool> {
    let disk = options.disk_for(dir);
    let refuse =
        |reason: &str| Error::InvalidDirectory { path: dir.to_path_buf(), reason: reason.to_owned() };
    let names = match disk.list("") {
        Ok(names) => names,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(refuse(&format!("it cannot be listed: {error}"))),
    };
    if names.iter().any(|name| name == identity::FILE) {
        return Ok(false);
    }
    let begun = names.iter().any(|name| name == ATTACHING) || names.iter().all(|name| name == LOCK_FILE);
    if !begun {
        return Err(refuse("it is not empty"));
    }
    let reading = Reading::open(archive, &options.random, options.engine_id)?;
    disk.create_dir("").map_err(|error| refuse(&format!("it cannot be created: {error}")))?;
    let lock = take_lock(&*disk, dir, false)?;
    begin(&*disk)?;
    reading.seed_log(&disk, options)?;
    reading.seal_directory(&*disk, Some((reading.newest_pack(), true)))?;
    let end = || {
        disk.remove(ATTACHING)?;
        disk.sync_dir("")
    };
    end().map_err(|error| Error::io("removing", ATTACHING, error))?;
    drop(lock);
    Ok(true)
}

/// Marks the directory as one that is being made. Durable when it returns.
fn begin(disk: &dyn Disk) -> Result<()> {
    let begin = || {
        disk.open(ATTACHING, OpenMode::Create)?.sync_all()?;
        disk.sync_dir("")
    };
    begin().map_err(|error| Error::io("creating", ATTACHING, error))
}

/// Takes back that a directory was made which was never written to.
fn unmake_directory(disk: &dyn Disk) -> Result<()> {
    begin(disk)?;
    let unmake = || {
        disk.remove(identity::FILE)?;
        disk.sync_dir("")
    };
    unmake().map_err(|error| Error::io("removing", identity::FILE, error))
}
