//! Compares what the engine holds with what the history says, byte for byte.

use std::collections::{HashMap, HashSet};

use lineal::{Engine, Error, Namespace, Object, ObjectId, View};

use super::{
    blobs::Contents,
    change::{Entry, File},
    marker::Totals,
    name,
    origin::{Done, FILES, Feed, Origin, PIECE_BYTES, keys, pieces, same_mode},
};
use crate::{exit::Outcome, progress::Progress};

/// Mismatches that are told one by one.
const TOLD_MAX: usize = 10;

/// What a comparison found.
#[derive(Debug, Default)]
pub(super) struct Compared {
    pub(super) objects: u64,
    pub(super) bytes: u64,
    pub(super) mismatches: u64,
    /// The first of them, in words.
    pub(super) told: Vec<String>,
}

impl Compared {
    pub(super) fn mismatch(&mut self, what: String) {
        self.mismatches += 1;
        if self.told.len() < TOLD_MAX {
            self.told.push(what);
        }
    }

    /// Takes in how `what` differs, if it does.
    pub(super) fn found(&mut self, what: &str, found: lineal::Result<Difference>) -> Outcome {
        match found {
            Ok(Ok(None)) => {}
            Ok(Ok(Some(difference))) => self.mismatch(format!("{what}: {difference}")),
            Ok(Err(Stopped::Git(failure))) => return Err(failure),
            Ok(Err(Stopped::Engine(error))) | Err(error) => self.mismatch(format!("{what}: {error}")),
        }
        Ok(())
    }

    pub(super) fn and(&mut self, other: Compared) {
        self.mismatches += other.mismatches;
        self.told.extend(other.told);
        self.told.truncate(TOLD_MAX);
    }
}

/// Compares every file with its object, and looks for objects without a file. `in_flight` are the objects of which
/// anything may be true, because the commit after `done` was being written.
pub(super) fn state(
    engine: &Engine,
    origin: &Origin,
    done: &Done,
    in_flight: &HashSet<ObjectId>,
    progress: &mut Progress,
) -> Outcome<Compared> {
    let files = engine.existing_namespace(FILES)?;
    let mut feed: Feed<Entry> = origin.tree(done)?;
    let mut compared = Compared::default();
    let mut expected = HashSet::new();
    while let Some(entry) = feed.next()? {
        let object = object_of(&files, &entry.path)?;
        expected.insert(object.id());
        let size = feed.contents.begin(&entry.file.blob)?;
        if !in_flight.contains(&object.id()) {
            compare(&object, &entry, size, &mut feed.contents, &mut compared)?;
        }
        feed.contents.skip(&entry.file.blob, size)?;
        compared.objects += 1;
        compared.bytes += size;
        progress.at(compared.objects);
    }
    let mut listed = 0;
    for info in files.objects()? {
        let info = info?;
        if in_flight.contains(&info.id) {
            continue;
        }
        listed += 1;
        if !expected.contains(&info.id) {
            compared.mismatch(format!(
                "object {:?} has no file",
                info.name.as_deref().unwrap_or("without a name")
            ));
        }
    }
    let all = expected.difference(in_flight).count() as u64;
    if listed < all {
        compared.mismatch(format!("{} objects are not listed", all - listed));
    }
    Ok(compared)
}

pub(super) fn object_of(files: &Namespace, path: &[u8]) -> Outcome<Object> {
    Ok(files.object(&name::of(path))?)
}

fn compare(
    object: &Object,
    entry: &Entry,
    size: u64,
    contents: &mut Contents,
    compared: &mut Compared,
) -> Outcome {
    let found = object.read(|view| Ok(difference(view, entry, size, contents))).wait();
    compared.found(&String::from_utf8_lossy(&entry.path), found)
}

/// How an object differs from its file, if it does.
pub(super) type Difference = Result<Option<&'static str>, Stopped>;

/// What ended a comparison before its end.
pub(super) enum Stopped {
    Engine(Error),
    Git(crate::exit::Failure),
}

impl From<Error> for Stopped {
    fn from(error: Error) -> Stopped {
        Stopped::Engine(error)
    }
}

/// Compares an object with its file, whose bytes come next.
pub(super) fn difference(view: &View<'_>, entry: &Entry, size: u64, contents: &mut Contents) -> Difference {
    let File { blob, .. } = &entry.file;
    if !view.exists() {
        return Ok(Some("the object is missing"));
    }
    if !same_mode(&entry.file, view.get(keys::MODE)?.as_deref()) {
        return Ok(Some("the mode differs"));
    }
    let kept_path = view.get(keys::PATH)?;
    if kept_path.is_some_and(|kept| *kept != *entry.path) {
        return Ok(Some("the path differs"));
    }
    let count = pieces(size);
    let keys_kept = view.prefix(keys::CONTENT).count() as u64;
    if keys_kept != count.max(1) {
        return Ok(Some("the number of pieces differs"));
    }
    for number in 0..count.max(1) {
        let (key, length) = match count {
            0 => (keys::CONTENT.to_owned(), size),
            _ => (keys::piece(number), PIECE_BYTES),
        };
        let kept = view.get(key)?;
        let wanted = contents.piece(blob, length).map_err(Stopped::Git)?;
        if kept.as_deref() != Some(wanted.as_slice()) {
            return Ok(Some("the content differs"));
        }
    }
    Ok(None)
}

/// Compares how often each file was written or deleted with the number of its object's commits, so that nothing was
/// applied twice and nothing left out. Deleted files count too.
pub(super) fn counts(
    engine: &Engine,
    origin: &Origin,
    totals: Totals,
    progress: &mut Progress,
) -> Outcome<Compared> {
    let files = engine.existing_namespace(FILES)?;
    let mut touched: HashMap<ObjectId, u64> = HashMap::new();
    let mut commits = origin.commits(&Done::default())?;
    let mut done = 0;
    while let Some(commit) = commits.next()? {
        for change in &commit.changes {
            *touched.entry(object_of(&files, &change.path)?.id()).or_default() += 1;
        }
        done += 1;
        progress.at(done);
    }
    let mut compared = Compared { objects: touched.len() as u64, ..Compared::default() };
    let mut continued = 0;
    for (id, count) in &touched {
        match files.by_id(*id)?.info() {
            Ok(info) if info.seq >= *count => continued += info.seq - count,
            Ok(info) => {
                compared.mismatch(format!("object {id} has {} commits and {count} were made", info.seq))
            }
            Err(error) => compared.mismatch(format!("object {id} had {count} commits: {error}")),
        }
    }
    if continued != totals.continued {
        let (found, wanted) = (continued, totals.continued);
        compared.mismatch(format!("{found} commits more than files were changed, and {wanted} were made"));
    }
    let transactions: u64 = touched.values().sum::<u64>() + totals.continued;
    if transactions != totals.transactions {
        let wanted = totals.transactions;
        compared.mismatch(format!("the history has {transactions} transactions and {wanted} were made"));
    }
    Ok(compared)
}

/// The objects that the commit after `done` touches.
pub(super) fn in_flight(engine: &Engine, origin: &Origin, done: &Done) -> Outcome<HashSet<ObjectId>> {
    let files = engine.existing_namespace(FILES)?;
    let Some(commit) = origin.commits(done)?.next()? else { return Ok(HashSet::new()) };
    commit.changes.iter().map(|change| Ok(object_of(&files, &change.path)?.id())).collect()
}
