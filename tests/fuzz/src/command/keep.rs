//! Puts a small part of a corpus into the repository: of inputs that reach something each, the smallest.

use std::{fs, io, path::Path};

use lineal_fuzz::Target;

use super::round;

/// Most inputs that are kept of a target.
const FILES_MAX: usize = 48;
/// Most bytes of all of them.
const BYTES_MAX: u64 = 48 << 10;

/// Keeps what covers most of the inputs in `corpus`.
pub(super) fn corpus(fuzzer: &Path, target: &Target, corpus: &Path) -> io::Result<()> {
    let merged = corpus.with_extension("merged");
    let _ = fs::remove_dir_all(&merged);
    fs::create_dir_all(&merged)?;
    fs::create_dir_all(corpus)?;
    let mut merge = round::command(fuzzer, target);
    let ended = merge.arg("-merge=1").arg(&merged).arg(corpus).args(round::folders(target)).output()?;
    if !ended.status.success() {
        return Err(io::Error::other(format!("{}: the corpus could not be merged", target.name)));
    }
    let mut files = Vec::new();
    for file in fs::read_dir(&merged)? {
        let file = file?;
        files.push((file.metadata()?.len(), file.path()));
    }
    files.sort();
    let folder = super::package().join("corpus").join(target.name);
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder)?;
    // Evenly over all sizes: the small ones are alike, and the large ones reach deep.
    let step = files.len().div_ceil(FILES_MAX).max(1);
    let (mut kept, mut bytes) = (0, 0);
    for (size, path) in files.iter().step_by(step) {
        if bytes + size > BYTES_MAX {
            break;
        }
        kept += 1;
        bytes += size;
        fs::copy(path, folder.join(format!("{kept:02}")))?;
    }
    println!("{}: {kept} of {} inputs, {bytes} bytes", target.name, files.len());
    Ok(())
}
