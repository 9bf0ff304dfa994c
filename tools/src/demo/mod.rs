//! `lineal demo`: replays a real history, kills the writer half-way, goes on, compares every byte,
//! and then the past: old commits, restores, a fork, a listing, all chains.

mod acks;
mod blobs;
mod change;
mod check;
mod history;
mod listing;
mod lost;
mod marker;
mod name;
mod origin;
mod pairs;
mod past;
mod random;
mod replay;
mod repo;
mod report;
mod sample;
mod undo;
pub(crate) mod writer;

use std::{
    collections::HashSet,
    fs, io,
    path::{Path, PathBuf},
};

use self::{check::Compared, origin::Origin, pairs::Order, repo::Repo, report::Report};
use crate::{
    args::{self, Data, Keeping},
    exit::{Code, Failure, Outcome},
    open,
    progress::{Progress, say},
    signals,
    stdout::Output,
};

pub(crate) fn run(args: &args::Demo) -> Outcome {
    let (origin, source) = find_origin(args)?;
    let place = Place::prepare(args.dir.as_deref())?;
    say(&format!("{source}\nwriting to {}", place.path().display()));
    let report = replay_and_check(&origin, source, &data_of(args, place.path()))?;
    place.end()?;
    let mut out = Output::new();
    let text = if args.json { report.json() } else { report.plain() };
    out.line(text.trim_end())?;
    out.flush()?;
    if report.compared.mismatches > 0 { Err(Failure::Silent(Code::Other)) } else { Ok(()) }
}

fn find_origin(args: &args::Demo) -> Outcome<(Origin, String)> {
    let path = args.repo.clone().unwrap_or_else(|| PathBuf::from("."));
    if !path.exists() {
        return Err(Failure::usage(format!("there is no repository at {}", path.display())));
    }
    let path =
        fs::canonicalize(&path).map_err(|error| Failure::io(format_args!("{}", path.display()), &error))?;
    match Repo::find(&path) {
        Ok(mut repo) => {
            if let Some(count) = args.commits {
                repo.keep_last(count);
            }
            let short = repo.tip.get(..12).unwrap_or(&repo.tip);
            let source = format!("the history of {} up to {short}", path.display());
            Ok((Origin::Git(repo), source))
        }
        Err(reason) => {
            let source =
                format!("no git history at {} ({reason}): a built-in data set instead", path.display());
            Ok((Origin::Sample, source))
        }
    }
}

/// The directory that the demo writes, with the archive that it keeps, if any.
fn data_of(args: &args::Demo, dir: &Path) -> Data {
    let place = args::Place { url: args.archive.clone(), access: args.access.clone() };
    Data { dir: dir.to_path_buf(), keeping: Keeping { place, force: false } }
}

fn replay_and_check(origin: &Origin, source: String, data: &Data) -> Outcome<Report> {
    let dir = &data.dir;
    let mut replayed = replay::run(origin, data)?;
    let disk_bytes =
        report::disk_bytes(dir).map_err(|error| Failure::io("measuring the directory failed", &error))?;
    let position = replayed.position.clone();
    let engine = open::read_only_at(data)?;
    let stats = engine.stats();
    let (objects, data_bytes) = (stats.objects, stats.pack_bytes + stats.catalog_bytes + stats.log_bytes);
    let with_progress = |what, total, check: &mut dyn FnMut(&mut Progress) -> Outcome<Compared>| {
        let mut progress = Progress::new(what, total);
        let compared = check(&mut progress);
        progress.end();
        compared
    };
    let mut compared = with_progress("files compared", objects, &mut |progress| {
        check::state(&engine, origin, &position.done, &HashSet::new(), progress)
    })?;
    compared.and(with_progress("commits counted", position.done.commits, &mut |progress| {
        check::counts(&engine, origin, position.totals, progress)
    })?);
    compared.and(std::mem::take(&mut replayed.after_kill));
    let order = Order::of(origin)?;
    let (mut past, pairs) = past::look(&engine, origin, &order)?;
    engine.close()?;
    past.undo(data, origin, &order, &pairs)?;
    compared.and(std::mem::take(&mut past.compared));

    // With the commits that the restores and the fork made.
    let engine = open::read_only_at(data)?;
    let objects = engine.stats().objects;
    let mut progress = Progress::new("chains verified", objects);
    let verified = engine.verify(&mut |checked| progress.at(checked))?;
    progress.end();
    engine.close()?;
    let mut returned = None;
    if data.keeping.place.url.is_some() {
        let mut lost = lost::run(data, origin, &position)?;
        compared.and(std::mem::take(&mut lost.compared));
        returned = Some(lost);
    }
    Ok(Report { source, replayed, compared, past, verified, returned, disk_bytes, data_bytes })
}

/// Where the demo writes.
enum Place {
    Given(PathBuf),
    Temporary(tempfile::TempDir),
}

impl Place {
    fn prepare(given: Option<&Path>) -> Outcome<Place> {
        let Some(dir) = given else {
            let dir = tempfile::Builder::new().prefix("lineal-demo-").tempdir();
            let dir = dir.map_err(|error| Failure::io("a temporary directory could not be made", &error))?;
            let path = dir.path().to_path_buf();
            // What cannot be removed on the way out is in the system's folder for temporary files.
            signals::tidy_up_at_the_end(move || drop(fs::remove_dir_all(path)))?;
            return Ok(Place::Temporary(dir));
        };
        match fs::read_dir(dir).map(Iterator::count) {
            Ok(1..) => {
                Err(Failure::usage(format!("{} is not empty: the demo wants a new directory", dir.display())))
            }
            Ok(_) => Ok(Place::Given(dir.to_path_buf())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Place::Given(dir.to_path_buf())),
            Err(error) => Err(Failure::usage(format!("{} cannot be used: {error}", dir.display()))),
        }
    }

    fn path(&self) -> &Path {
        match self {
            Place::Given(dir) => dir,
            Place::Temporary(dir) => dir.path(),
        }
    }

    fn end(self) -> Outcome {
        match self {
            Place::Given(_) => Ok(()),
            Place::Temporary(dir) => dir
                .close()
                .map_err(|error| Failure::io("the temporary directory could not be removed", &error)),
        }
    }
}
