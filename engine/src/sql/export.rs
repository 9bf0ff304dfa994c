//! Writing a database out as an ordinary file of SQLite.
//!
//! The file is the user's, outside of the data directory, so this does not go through the disk seam.

use std::{
    ffi::OsString,
    fs::{self, File},
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
};

use super::port::{PAGE_BYTES, Pages};
use crate::{Error, Result};

/// Buffer between the pages and the file, in bytes.
const BUFFER_BYTES: usize = 256 << 10;

/// What an export has written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Exported {
    /// The object's commit that the file shows.
    pub seq: u64,
    /// The file's size, in bytes.
    pub bytes: u64,
}

/// Writes `pages` to a new file beside `path`, syncs it and gives it its name; it is durable when this returns. Returns its
/// size. `draw` makes the name of the unfinished file its own.
pub(crate) fn write(pages: &dyn Pages, path: &Path, replace: bool, draw: u64) -> Result<u64> {
    let count = pages.last()?;
    if count == 0 {
        return Err(Error::NotFound { what: "a database in the object at that point".into() });
    }
    if !replace && fs::symlink_metadata(path).is_ok() {
        return Err(exists(path));
    }
    let failed = |op: &'static str| move |error: io::Error| Error::io(op, path.display().to_string(), error);
    let unfinished = Unfinished(beside(path, draw)?);
    let file = File::create_new(&unfinished.0).map_err(failed("creating a file beside it"))?;
    let mut out = BufWriter::with_capacity(BUFFER_BYTES, file);
    let mut page = [0; PAGE_BYTES];
    for number in 1..=count {
        pages.read(number, 0, &mut page)?;
        out.write_all(&page).map_err(failed("writing"))?;
    }
    let file = out.into_inner().map_err(|error| failed("writing")(error.into_error()))?;
    file.sync_all().map_err(failed("syncing"))?;
    if replace {
        fs::rename(&unfinished.0, path).map_err(failed("renaming"))?;
    } else {
        name_new(&unfinished.0, path)?;
    }
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(directory).and_then(|directory| directory.sync_all()).map_err(failed("syncing"))?;
    Ok(u64::from(count) * PAGE_BYTES as u64)
}

/// Gives a file a name that nobody has. A link fails where there is one already, which a rename would replace.
fn name_new(from: &Path, to: &Path) -> Result<()> {
    match fs::hard_link(from, to) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(exists(to)),
        // A file system without links: here another program could come between.
        Err(_) if fs::symlink_metadata(to).is_err() => {
            fs::rename(from, to).map_err(|error| Error::io("renaming", to.display().to_string(), error))
        }
        Err(_) => Err(exists(to)),
    }
}

fn exists(path: &Path) -> Error {
    let path = path.display();
    Error::Invalid {
        reason: format!("{path} is there already: choose another name, or say that it may be replaced"),
    }
}

fn beside(path: &Path, draw: u64) -> Result<PathBuf> {
    let name = path
        .file_name()
        .ok_or_else(|| Error::Invalid { reason: format!("{} is no name for a file", path.display()) })?;
    let mut unfinished = OsString::from(".");
    unfinished.push(name);
    unfinished.push(format!(".{draw:016x}"));
    Ok(path.with_file_name(unfinished))
}

/// A file that is removed in the end; once it was renamed there is nothing to remove.
struct Unfinished(PathBuf);

impl Drop for Unfinished {
    fn drop(&mut self) {
        // It may never have been made, and nobody is left to tell.
        let _ = fs::remove_file(&self.0);
    }
}
