//! The commits of a git repository, oldest first, along first parents: so each is a change to the one before, and all
//! of them together are the tree of the last.

use std::{
    ffi::{OsStr, OsString},
    os::unix::ffi::OsStrExt,
};

use super::{
    change::{Blob, Change, Commit, Entry, File},
    repo::{Repo, Stream, said},
};
use crate::exit::Outcome;

const SUBMODULE: &str = "160000";
const NOTHING: &str = "000000";

/// `git log` with what each commit changed, whatever the user's settings are.
const CHANGES: [&str; 18] = [
    "-c",
    "log.showRoot=true",
    "-c",
    "log.follow=false",
    "log",
    "--first-parent",
    "--diff-merges=first-parent",
    "--raw",
    "--no-renames",
    "--no-abbrev",
    "--no-relative",
    "--no-show-signature",
    "--no-notes",
    "--no-color",
    "--ignore-submodules=none",
    "--encoding=UTF-8",
    "-z",
    "--format=tformat:%H%x00%an <%ae>",
];

/// Reads `git log`.
pub(super) struct History {
    /// The tree that all begins with, as if one commit had made it.
    base: Option<(Repo, String)>,
    log: Stream,
    /// The id of the next commit, which ended the list of changes of the one before.
    next_id: Option<Vec<u8>>,
}

impl History {
    /// The commits after `done`, or all.
    pub(super) fn after(repo: &Repo, done: Option<&str>) -> Outcome<History> {
        let base = match (&repo.base, done) {
            (Some(base), None) => Some((repo.clone(), base.clone())),
            _ => None,
        };
        History::read(base, repo.stream(&[&CHANGES[..], &["--reverse", &repo.range(done), "--"]].concat())?)
    }

    /// All commits that `git log -- PATH` names for one path or what lies under it, newest first.
    fn touching(repo: &Repo, path: &[u8]) -> Outcome<History> {
        let range = repo.range(None);
        let mut args: Vec<OsString> =
            CHANGES.iter().chain(&[range.as_str(), "--"]).map(OsString::from).collect();
        args.push(pathspec(path));
        History::read(None, repo.stream(&args)?)
    }

    fn read(base: Option<(Repo, String)>, mut log: Stream) -> Outcome<History> {
        let next_id = log.token()?;
        Ok(History { base, log, next_id })
    }

    /// The next commit.
    pub(super) fn next(&mut self) -> Outcome<Option<Commit>> {
        if let Some((repo, base)) = self.base.take() {
            return base_commit(&repo, base).map(Some);
        }
        let Some(id) = self.next_id.take() else { return Ok(None) };
        let id = String::from_utf8_lossy(&id).into_owned();
        if id.is_empty() || !id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(said(format!("git log printed {id:?} where a commit's id belongs")));
        }
        let author = String::from_utf8_lossy(&self.log.expect_token()?).into_owned();
        let mut commit = Commit { id, author, changes: Vec::new(), submodules: 0 };
        while let Some(token) = self.log.token()? {
            let token = token.strip_prefix(b"\n").unwrap_or(&token);
            let Some(raw) = token.strip_prefix(b":") else {
                self.next_id = Some(token.to_vec());
                break;
            };
            let path = self.log.expect_token()?;
            add_change(&mut commit, &String::from_utf8_lossy(raw), path)?;
        }
        Ok(Some(commit))
    }
}

/// `raw` is "old mode, new mode, old blob, new blob, status".
fn add_change(commit: &mut Commit, raw: &str, path: Vec<u8>) -> Outcome {
    let [old_mode, mode, _, blob, status] = raw.split(' ').collect::<Vec<_>>()[..] else {
        return Err(said(format!("git log printed {raw:?} where a change belongs")));
    };
    if mode == SUBMODULE || old_mode == SUBMODULE {
        commit.submodules += 1;
    }
    let was_file = old_mode != SUBMODULE && old_mode != NOTHING;
    let file = match (status, mode) {
        ("D", _) | (_, SUBMODULE) => None,
        _ => Some(File { mode: mode.to_owned(), blob: Blob::Git(blob.to_owned()) }),
    };
    if file.is_some() || was_file {
        commit.changes.push(Change { path, file });
    }
    Ok(())
}

fn base_commit(repo: &Repo, base: String) -> Outcome<Commit> {
    let mut tree = Tree::of(repo, &base)?;
    let mut changes = Vec::new();
    while let Some(entry) = tree.next()? {
        changes.push(Change { path: entry.path, file: Some(entry.file) });
    }
    Ok(Commit { id: base, author: "the tree to begin with".into(), changes, submodules: tree.submodules })
}

/// This path from the top of the repository, and none that looks like it.
fn pathspec(path: &[u8]) -> OsString {
    let mut spec = OsString::from(":(top,literal)");
    spec.push(OsStr::from_bytes(path));
    spec
}

/// The ids of all commits, oldest first.
pub(super) fn ids(repo: &Repo) -> Outcome<Vec<String>> {
    let range = repo.range(None);
    let mut log = repo.stream(&[
        "log",
        "--reverse",
        "--first-parent",
        "--no-patch",
        "--no-show-signature",
        "--no-notes",
        "--no-color",
        "-z",
        "--format=tformat:%H",
        &range,
        "--",
    ])?;
    let mut ids: Vec<String> = repo.base.iter().cloned().collect();
    while let Some(id) = log.token()? {
        ids.push(String::from_utf8_lossy(&id).into_owned());
    }
    Ok(ids)
}

/// The ids of the commits that changed the file at `path`, newest first, as `git log -- PATH` has them.
pub(super) fn ids_of(repo: &Repo, path: &[u8]) -> Outcome<Vec<String>> {
    let mut ids = Vec::new();
    let mut log = History::touching(repo, path)?;
    while let Some(commit) = log.next()? {
        // Where the path was a folder once, git names what was changed in that, too.
        if commit.changes.iter().any(|change| change.path == path) {
            ids.push(commit.id);
        }
    }
    if let Some(base) = &repo.base {
        let mut tree = Tree::of(repo, base)?;
        while let Some(entry) = tree.next()? {
            if entry.path == path {
                ids.push(base.clone());
            }
        }
    }
    Ok(ids)
}

/// The files of one commit: reads `git ls-tree`.
pub(super) struct Tree {
    list: Stream,
    submodules: u64,
}

impl Tree {
    pub(super) fn of(repo: &Repo, commit: &str) -> Outcome<Tree> {
        Ok(Tree { list: repo.stream(&["ls-tree", "-r", "-z", "--full-tree", commit])?, submodules: 0 })
    }

    /// The next file.
    pub(super) fn next(&mut self) -> Outcome<Option<Entry>> {
        while let Some(token) = self.list.token()? {
            let wrong = || said(format!("git ls-tree printed {:?}", String::from_utf8_lossy(&token)));
            let tab = token.iter().position(|byte| *byte == b'\t').ok_or_else(wrong)?;
            let meta = std::str::from_utf8(&token[..tab]).map_err(|_| wrong())?;
            let [mode, _, blob] = meta.split(' ').collect::<Vec<_>>()[..] else { return Err(wrong()) };
            if mode == SUBMODULE {
                self.submodules += 1;
                continue;
            }
            let file = File { mode: mode.to_owned(), blob: Blob::Git(blob.to_owned()) };
            return Ok(Some(Entry { path: token[tab + 1..].to_vec(), file }));
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(raw: &str) -> (Option<Option<String>>, u64) {
        let mut commit =
            Commit { id: String::new(), author: String::new(), changes: Vec::new(), submodules: 0 };
        add_change(&mut commit, raw, b"p".to_vec()).unwrap();
        let change = commit.changes.pop().map(|change| change.file.map(|file| file.mode));
        (change, commit.submodules)
    }

    #[test]
    fn changes_of_submodules_are_counted_and_only_the_file_part_is_kept() {
        assert_eq!(change("000000 100644 0 1 A"), (Some(Some("100644".into())), 0));
        assert_eq!(change("100644 000000 1 0 D"), (Some(None), 0));
        assert_eq!(change("100644 120000 1 2 T"), (Some(Some("120000".into())), 0));
        assert_eq!(change("000000 160000 0 1 A"), (None, 1));
        assert_eq!(change("160000 000000 1 0 D"), (None, 1));
        assert_eq!(change("100644 160000 1 2 T"), (Some(None), 1));
        assert_eq!(change("160000 100644 1 2 T"), (Some(Some("100644".into())), 1));
    }
}
