//! What a history is made of.

/// One commit of a history.
#[derive(Clone, Debug)]
pub(crate) struct Commit {
    pub(super) id: String,
    pub(super) author: String,
    /// One for each path that it touches.
    pub(super) changes: Vec<Change>,
    /// Changes that were left out because they are of submodules, whose content is not in the repository.
    pub(super) submodules: u64,
}

/// A commit's id for people: long enough to tell the built-in ones apart.
pub(super) fn short(id: &str) -> &str {
    id.get(..16).unwrap_or(id)
}

/// Longest cause that is taken from a commit, in bytes.
///
/// Source: chosen; the engine takes 4 KiB, and a commit's id and author are far below this.
const CAUSE_BYTES_MAX: usize = 1024;

impl Commit {
    /// What is kept with each transaction that this commit becomes.
    pub(super) fn cause(&self) -> String {
        let mut cause = format!("{} {}", self.id, self.author);
        cause.truncate(cause.floor_char_boundary(CAUSE_BYTES_MAX));
        cause
    }

    /// The id that a cause begins with.
    pub(super) fn id_in(cause: &str) -> &str {
        cause.split(' ').next().unwrap_or_default()
    }

    /// The files it writes.
    pub(super) fn files(&self) -> impl Iterator<Item = (&[u8], &File)> {
        self.changes
            .iter()
            .filter_map(|change| change.file.as_ref().map(|file| (change.path.as_slice(), file)))
    }
}

/// What a commit does to one path.
#[derive(Clone, Debug)]
pub(super) struct Change {
    pub(super) path: Vec<u8>,
    /// The file as it is afterwards; `None` if it is deleted.
    pub(super) file: Option<File>,
}

/// A file of one commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct File {
    /// As git writes it: 100644, 100755, 120000 (a symbolic link, whose content is its target).
    pub(super) mode: String,
    pub(super) blob: Blob,
}

/// Where a file's bytes are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Blob {
    /// In git's object store, under this name.
    Git(String),
    Bytes(Vec<u8>),
}

/// A file of a tree.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) path: Vec<u8>,
    pub(super) file: File,
}
