//! Random pairs of a commit and a path, compared with the object as it was then.

use std::collections::{BTreeSet, HashMap};

use lineal::{Bookmark, Engine, Object, View};

use super::{
    change::{Commit, Entry, short},
    check::{Compared, Difference, Stopped::Git, difference, object_of},
    origin::{Done, FILES, Origin},
    random::Random,
};
use crate::{exit::Outcome, progress::Progress};

/// Pairs that are drawn; the same ones are taken once.
///
/// Source: the issue.
pub(super) const DRAWS: usize = 200;

/// All commits, by place and by id.
pub(super) struct Order {
    ids: Vec<String>,
    places: HashMap<String, usize>,
}

impl Order {
    pub(super) fn of(origin: &Origin) -> Outcome<Order> {
        let ids = origin.ids()?;
        let places = ids.iter().cloned().zip(0..).collect();
        Ok(Order { ids, places })
    }

    pub(super) fn len(&self) -> usize {
        self.ids.len()
    }

    /// What is done after the commit at `place`.
    pub(super) fn done(&self, place: usize) -> Done {
        Done { commits: place as u64 + 1, last: self.ids[place].clone() }
    }

    /// The bookmark of what an object was after the commit at `place`: of its newest commit whose cause names that git
    /// commit or one before it.
    fn bookmark(&self, object: &Object, place: usize) -> lineal::Result<Option<Bookmark>> {
        for info in object.history(..)? {
            let info = info?;
            if self.places.get(Commit::id_in(&info.cause)).is_some_and(|made| *made <= place) {
                return object.bookmark_of(info.seq).map(Some);
            }
        }
        Ok(None)
    }
}

/// A file as it was in some commit.
pub(super) struct Drawn {
    place: usize,
    pub(super) entry: Entry,
}

/// Draws pairs, always the same ones for the same history: first the commit, then a file of its tree.
pub(super) fn draw(origin: &Origin, order: &Order, progress: &mut Progress) -> Outcome<Vec<Drawn>> {
    let Some(last) = order.ids.last() else { return Ok(Vec::new()) };
    let mut seed = [0; 8];
    seed.copy_from_slice(&blake3::hash(last.as_bytes()).as_bytes()[..8]);
    let mut random = Random::seeded(u64::from_le_bytes(seed));
    let mut draw = |limit: usize| random.below(limit as u64) as usize;
    let mut places: Vec<usize> = (0..DRAWS).map(|_| draw(order.len())).collect();
    places.sort_unstable();
    let mut trees = origin.trees();
    let mut drawn = Vec::new();
    for same in places.chunk_by(|one, other| one == other) {
        let place = same[0];
        let files = trees.at(&order.done(place))?;
        if files.is_empty() {
            continue;
        }
        let picked: BTreeSet<usize> = same.iter().map(|_| draw(files.len())).collect();
        drawn.extend(picked.into_iter().map(|at| Drawn { place, entry: files[at].clone() }));
        progress.at(drawn.len() as u64);
    }
    Ok(drawn)
}

/// A pair whose bookmark is known.
pub(super) struct Pair {
    pub(super) entry: Entry,
    /// The git commit.
    pub(super) commit: String,
    pub(super) mark: Bookmark,
    /// The object's newest commit.
    pub(super) newest: u64,
}

impl Pair {
    /// For people.
    pub(super) fn shown(&self) -> String {
        shown(&self.entry.path, &self.commit)
    }
}

fn shown(path: &[u8], commit: &str) -> String {
    format!("{} in {}", String::from_utf8_lossy(path).escape_debug(), short(commit))
}

/// Compares what each object was with what git has of its path in that commit.
pub(super) fn compare(
    engine: &Engine,
    origin: &Origin,
    order: &Order,
    drawn: Vec<Drawn>,
    progress: &mut Progress,
) -> Outcome<(Vec<Pair>, Compared)> {
    let files = engine.existing_namespace(FILES)?;
    let mut feed = origin.files(drawn.iter().map(|drawn| drawn.entry.clone()).collect())?;
    let mut compared = Compared::default();
    let mut pairs = Vec::new();
    for Drawn { place, entry } in drawn {
        // The same entry; its bytes come now.
        feed.next()?;
        let size = feed.contents.begin(&entry.file.blob)?;
        let object = object_of(&files, &entry.path)?;
        let commit = order.ids[place].clone();
        let what = shown(&entry.path, &commit);
        match order.bookmark(&object, place) {
            Ok(Some(mark)) => {
                let found = object.at(&mark).map(|view| difference(&view, &entry, size, &mut feed.contents));
                compared.found(&what, found)?;
                pairs.push(Pair { commit, mark, newest: object.info()?.seq, entry: entry.clone() });
            }
            Ok(None) => compared.mismatch(format!("{what}: the object has no commit of then")),
            Err(error) => compared.mismatch(format!("{what}: {error}")),
        }
        feed.contents.skip(&entry.file.blob, size)?;
        compared.objects += 1;
        compared.bytes += size;
        progress.at(compared.objects);
    }
    Ok((pairs, compared))
}

/// How a view differs from a file, or from there being none.
pub(super) fn against(view: &View<'_>, wanted: Option<&Entry>, origin: &Origin) -> Difference {
    let Some(entry) = wanted else { return Ok(view.exists().then_some("the object is there, and no file")) };
    let mut feed = origin.files(vec![entry.clone()]).map_err(Git)?;
    feed.next().map_err(Git)?;
    let size = feed.contents.begin(&entry.file.blob).map_err(Git)?;
    let found = difference(view, entry, size, &mut feed.contents);
    feed.contents.skip(&entry.file.blob, size).map_err(Git)?;
    found
}
