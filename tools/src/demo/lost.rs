//! The local directory is lost, and the archive attached to an empty one.

use std::{collections::HashSet, fs, time::Duration, time::Instant};

use lineal::{Error, VerifyReport, archive::Traffic};

use super::{
    check::{self, Compared},
    marker::{self, Position},
    origin::{DEMO, Origin},
};
use crate::{
    args::Data,
    exit::{Failure, Outcome},
    open,
    progress::{Progress, say},
};

/// What came back from the archive.
#[derive(Debug)]
pub(super) struct Returned {
    /// The store, without credentials.
    pub(super) store: String,
    pub(super) engine: String,
    /// Packs, and their bytes, that had no local copy any more before the directory was deleted.
    pub(super) spilled_packs: u64,
    pub(super) spilled_bytes: u64,
    /// From nothing to the first answer.
    pub(super) attached: Duration,
    /// What that took, and what everything after it.
    pub(super) first: Traffic,
    pub(super) all: Traffic,
    pub(super) verified: VerifyReport,
    pub(super) compared: Compared,
}

/// Spills, deletes the directory, attaches the archive in its place, and compares it all with the origin.
pub(super) fn run(data: &Data, origin: &Origin, position: &Position) -> Outcome<Returned> {
    let engine = open::writable(data)?;
    let id = engine.id();
    let spilled = engine.spill()?;
    engine.close()?;
    fs::remove_dir_all(&data.dir)
        .map_err(|error| Failure::io(format_args!("{} cannot be deleted", data.dir.display()), &error))?;
    say(&format!(
        "spilled {} packs and deleted {}; attaching the archive",
        spilled.packs,
        data.dir.display()
    ));

    let began = Instant::now();
    let engine = open::writing(&data.keeping).engine_id(id).attach(&data.dir)?;
    let found = marker::read(&marker::object(&engine.existing_namespace(DEMO)?)?)?;
    let attached = began.elapsed();
    let status = || engine.archive_status().ok_or(Error::NoArchive);
    let first = status()?.traffic;
    let mut compared = Compared::default();
    if found.done.commits != position.done.commits {
        let (found, wanted) = (found.done.commits, position.done.commits);
        compared.mismatch(format!("the archive has {found} commits of {wanted}"));
    }
    let objects = engine.stats().objects;
    let mut progress = Progress::new("files compared", objects);
    compared.and(check::state(&engine, origin, &position.done, &HashSet::new(), &mut progress)?);
    progress.end();
    let mut progress = Progress::new("chains verified", objects);
    let verified = engine.verify(&mut |checked| progress.at(checked))?;
    progress.end();
    let status = status()?;
    engine.close()?;
    Ok(Returned {
        store: status.store,
        engine: id.to_string(),
        spilled_packs: spilled.packs,
        spilled_bytes: spilled.bytes,
        attached,
        first,
        all: status.traffic,
        verified,
        compared,
    })
}
