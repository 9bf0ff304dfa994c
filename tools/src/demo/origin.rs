//! Where the history comes from, and the one way to walk it.

use std::collections::VecDeque;

use super::{
    blobs::{self, Contents},
    change::{Blob, Commit, Entry, File},
    history::{self, History, Tree},
    repo::{Repo, said},
    sample::{COMMITS, Sample},
};
use crate::{
    exit::{Failure, Outcome},
    sync::{mpsc, thread},
};

/// Commits or files that are read ahead.
///
/// Source: chosen; git stays busy while the engine works.
const AHEAD_MAX: usize = 256;

/// A history to replay.
#[derive(Clone, Debug)]
pub(crate) enum Origin {
    Git(Repo),
    Sample,
}

/// How far a replay has come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Done {
    pub(super) commits: u64,
    /// The id of the last one; empty before the first.
    pub(super) last: String,
}

impl Origin {
    /// How many commits there are.
    pub(super) fn count(&self) -> Outcome<u64> {
        match self {
            Origin::Git(repo) => repo.count(),
            Origin::Sample => Ok(COMMITS),
        }
    }

    /// The commits that follow what is done, with no bytes where those are in git.
    pub(super) fn commits(&self, done: &Done) -> Outcome<Commits> {
        match self {
            Origin::Git(repo) => Ok(Commits::Git(History::after(repo, done.last())?)),
            Origin::Sample => Ok(Commits::Sample(Sample::after(done.commits))),
        }
    }

    /// The commits that follow what is done, and the bytes of their files.
    pub(super) fn replay(&self, done: &Done) -> Outcome<Feed<Commit>> {
        let mut commits = self.commits(done)?;
        let repo = match self {
            Origin::Sample => {
                return Ok(Feed::own(Box::new(std::iter::from_fn(move || commits.next().transpose()))));
            }
            Origin::Git(repo) => repo,
        };
        Feed::start(
            repo,
            move || commits.next(),
            |commit| commit.files().map(|(_, file)| &file.blob).collect(),
        )
    }

    /// The files as they are after what is done, and their bytes.
    pub(super) fn tree(&self, done: &Done) -> Outcome<Feed<Entry>> {
        match (self, done.last()) {
            (_, None) => Ok(Feed::own(Box::new(std::iter::empty()))),
            (Origin::Sample, _) => Ok(Feed::given(Sample::after(done.commits).files().collect())),
            (Origin::Git(repo), Some(last)) => {
                let mut tree = Tree::of(repo, last)?;
                Feed::start(repo, move || tree.next(), |entry| vec![&entry.file.blob])
            }
        }
    }
}

impl Origin {
    /// The ids of all commits, oldest first.
    pub(super) fn ids(&self) -> Outcome<Vec<String>> {
        match self {
            Origin::Git(repo) => history::ids(repo),
            Origin::Sample => Ok(Sample::ids()),
        }
    }

    /// The ids of the commits that changed the file at `path`, newest first: as `git log -- PATH` has them,
    /// and from the same walk again for the built-in history.
    pub(super) fn ids_of(&self, path: &[u8]) -> Outcome<Vec<String>> {
        match self {
            Origin::Git(repo) => history::ids_of(repo, path),
            Origin::Sample => Ok(Sample::ids_of(path)),
        }
    }

    /// The trees of commits, one after the other.
    pub(super) fn trees(&self) -> Trees {
        match self {
            Origin::Git(repo) => Trees::Git(repo.clone()),
            Origin::Sample => Trees::Sample(Sample::new()),
        }
    }

    /// These files, and their bytes.
    pub(super) fn files(&self, files: Vec<Entry>) -> Outcome<Feed<Entry>> {
        let Origin::Git(repo) = self else { return Ok(Feed::given(files)) };
        let mut files = files.into_iter();
        Feed::start(repo, move || Ok(files.next()), |entry| vec![&entry.file.blob])
    }
}

/// Trees of commits, to be asked for from old to new.
pub(super) enum Trees {
    Git(Repo),
    Sample(Sample),
}

impl Trees {
    /// All files as they are after what is done.
    pub(super) fn at(&mut self, done: &Done) -> Outcome<Vec<Entry>> {
        match self {
            Trees::Git(repo) => {
                let mut tree = Tree::of(repo, &done.last)?;
                std::iter::from_fn(|| tree.next().transpose()).collect()
            }
            Trees::Sample(sample) => {
                sample.go_on_to(done.commits);
                Ok(sample.files().collect())
            }
        }
    }
}

impl Done {
    fn last(&self) -> Option<&str> {
        (self.commits > 0).then_some(self.last.as_str())
    }
}

/// Commits without bytes.
pub(super) enum Commits {
    Git(History),
    Sample(Sample),
}

impl Commits {
    pub(super) fn next(&mut self) -> Outcome<Option<Commit>> {
        match self {
            Commits::Git(history) => history.next(),
            Commits::Sample(sample) => Ok(sample.next()),
        }
    }
}

/// Things that have files, and the bytes of these files in the same order.
pub(super) struct Feed<T> {
    items: Items<T>,
    pub(super) contents: Contents,
}

enum Items<T> {
    Ahead(mpsc::Receiver<Outcome<T>>),
    Own(Box<dyn Iterator<Item = Outcome<T>>>),
}

impl<T: Send + 'static> Feed<T> {
    fn own(items: Box<dyn Iterator<Item = Outcome<T>>>) -> Feed<T> {
        Feed { items: Items::Own(items), contents: Contents::none() }
    }

    /// Things that carry their bytes with them.
    fn given(items: Vec<T>) -> Feed<T> {
        Feed::own(Box::new(items.into_iter().map(Ok)))
    }

    /// Reads ahead in a thread of its own: that one asks git for blobs while this one takes them, so that neither
    /// waits for ever.
    fn start(
        repo: &Repo,
        mut next: impl FnMut() -> Outcome<Option<T>> + Send + 'static,
        blobs: impl Fn(&T) -> Vec<&Blob> + Send + 'static,
    ) -> Outcome<Feed<T>> {
        let (mut asks, contents) = blobs::start(repo)?;
        let (send, items) = mpsc::sync_channel(AHEAD_MAX);
        let read = move || {
            loop {
                let item = match next() {
                    Ok(Some(item)) => item,
                    Ok(None) => return,
                    Err(failure) => {
                        // Whoever does not take it any more has failed otherwise.
                        let _ = send.send(Err(failure));
                        return;
                    }
                };
                let ids: VecDeque<Blob> =
                    blobs(&item).into_iter().filter(|blob| matches!(blob, Blob::Git(_))).cloned().collect();
                // The item first: who takes it reads the blobs, which makes room for more asks.
                if send.send(Ok(item)).is_err() || asks.ask(ids.iter()).is_err() {
                    return;
                }
            }
        };
        thread::Builder::new()
            .name("lineal-git".into())
            .spawn(read)
            .map_err(|error| Failure::io("the thread that reads git could not be started", &error))?;
        Ok(Feed { items: Items::Ahead(items), contents })
    }
}

impl<T> Feed<T> {
    pub(super) fn next(&mut self) -> Outcome<Option<T>> {
        if self.contents.left() > 0 {
            return Err(said("a file was not read to its end"));
        }
        match &mut self.items {
            Items::Ahead(items) => items.recv().ok().transpose(),
            Items::Own(items) => items.next().transpose(),
        }
    }
}

/// Where the bytes of a file are kept in its object.
pub(super) mod keys {
    /// All of them, where they fit one value.
    pub(in super::super) const CONTENT: &str = "content";
    /// The pieces of a large file: this and eight digits.
    pub(in super::super) const PIECES: &str = "content/";
    /// The first key after those of all pieces.
    pub(in super::super) const PIECES_END: &str = "content0";
    pub(in super::super) const MODE: &str = "mode";
    /// The path, where the object's name is not the path.
    pub(in super::super) const PATH: &str = "path";

    pub(in super::super) fn piece(number: u64) -> String {
        format!("{PIECES}{number:08}")
    }
}

/// Largest file that is one value, in bytes: the engine's limit.
pub(super) const WHOLE_BYTES_MAX: u64 = 16 << 20;
/// Size of the pieces of larger files, in bytes.
///
/// Source: chosen; a few pieces fit one transaction.
pub(super) const PIECE_BYTES: u64 = 8 << 20;

/// How many pieces a file of this size has; 0 if it is one value.
pub(super) fn pieces(size: u64) -> u64 {
    if size <= WHOLE_BYTES_MAX { 0 } else { size.div_ceil(PIECE_BYTES) }
}

/// Namespace of the files.
pub(super) const FILES: &str = "files";
/// Namespace and name of the object that says how far the replay has come.
pub(super) const DEMO: &str = "demo";
pub(super) const REPLAY: &str = "replay";
/// Name of the object there that is forked from a file.
pub(super) const FORK: &str = "fork";

/// Whether two files are said to be the same.
pub(super) fn same_mode(file: &File, mode: Option<&[u8]>) -> bool {
    mode == Some(file.mode.as_bytes())
}
