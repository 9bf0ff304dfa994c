//! The built-in history: documents that are written, edited, renamed and deleted, the same in every run.

use std::collections::BTreeMap;

use super::{
    change::{Blob, Change, Commit, Entry, File},
    random::Random,
};

/// Commits in the built-in history.
///
/// Source: chosen; it takes about a second.
pub(super) const COMMITS: u64 = 3_000;

/// Documents that there are at most at a time.
const DOCUMENTS_MAX: u64 = 400;

const AUTHORS: [&str; 4] =
    ["Ada <ada@example.com>", "Ben <ben@example.com>", "Cleo <cleo@example.com>", "Dan <dan@example.com>"];
const WORDS: [&str; 12] = [
    "object",
    "commit",
    "ledger",
    "harbour",
    "letter",
    "window",
    "quiet",
    "seven",
    "paper",
    "river",
    "\u{e9}t\u{e9}",
    "\u{1f4e6}",
];

fn id(number: u64) -> String {
    format!("{number:016x}")
}

/// Makes the commits one after the other, and knows the files as they are.
pub(super) struct Sample {
    made: u64,
    random: Random,
    files: BTreeMap<Vec<u8>, File>,
}

impl Sample {
    pub(super) fn new() -> Sample {
        Sample { made: 0, random: Random::seeded(0x11EA1), files: BTreeMap::new() }
    }

    /// The history after its first `count` commits.
    pub(super) fn after(count: u64) -> Sample {
        let mut sample = Sample::new();
        sample.go_on_to(count);
        sample
    }

    /// Makes commits until there are `count` of them; goes not back.
    pub(super) fn go_on_to(&mut self, count: u64) {
        while self.made < count && self.next().is_some() {}
    }

    /// The files as they are after the commits made so far.
    pub(super) fn files(&self) -> impl Iterator<Item = Entry> {
        self.files.iter().map(|(path, file)| Entry { path: path.clone(), file: file.clone() })
    }

    /// The ids of all commits, oldest first.
    pub(super) fn ids() -> Vec<String> {
        (1..=COMMITS).map(id).collect()
    }

    /// The ids of the commits that change the file at `path`, newest first.
    pub(super) fn ids_of(path: &[u8]) -> Vec<String> {
        let mut sample = Sample::new();
        let mut ids: Vec<String> = std::iter::from_fn(|| sample.next())
            .filter(|commit| commit.changes.iter().any(|change| change.path == path))
            .map(|commit| commit.id)
            .collect();
        ids.reverse();
        ids
    }

    pub(super) fn next(&mut self) -> Option<Commit> {
        if self.made == COMMITS {
            return None;
        }
        self.made += 1;
        let mut changes = BTreeMap::new();
        for _ in 0..=self.below(4) {
            self.change(&mut changes);
        }
        for (path, file) in &changes {
            match file {
                Some(file) => self.files.insert(path.clone(), file.clone()),
                None => self.files.remove(path),
            };
        }
        let changes = changes.into_iter().map(|(path, file)| Change { path, file }).collect();
        let author = AUTHORS[usize::try_from(self.below(4)).unwrap_or(0)].to_owned();
        Some(Commit { id: id(self.made), author, changes, submodules: 0 })
    }

    /// Adds one change, to a path that this commit does not touch yet.
    fn change(&mut self, changes: &mut BTreeMap<Vec<u8>, Option<File>>) {
        let picked = self.pick().filter(|(path, _)| !changes.contains_key(path));
        match (picked, self.below(10)) {
            (Some((path, mut file)), 0..=5) => {
                self.edit(&mut file);
                changes.insert(path, Some(file));
            }
            (Some((path, file)), 6) => {
                let to = self.path();
                if !changes.contains_key(&to) && !self.files.contains_key(&to) {
                    changes.insert(path, None);
                    changes.insert(to, Some(file));
                }
            }
            (Some((path, _)), 7) => {
                changes.insert(path, None);
            }
            _ => {
                let path = self.path();
                changes
                    .entry(path)
                    .or_insert_with(|| Some(File { mode: "100644".into(), blob: Blob::Bytes(self.text()) }));
            }
        }
    }

    fn pick(&mut self) -> Option<(Vec<u8>, File)> {
        let at = self.path();
        let (path, file) = self.files.range(at..).next().or_else(|| self.files.first_key_value())?;
        Some((path.clone(), file.clone()))
    }

    fn path(&mut self) -> Vec<u8> {
        match self.below(DOCUMENTS_MAX) {
            0 => b"odd names/line\nbreak and \xff byte".to_vec(),
            1 => [b"long/".as_slice(), &[b'x'; 1_100]].concat(),
            n => format!("{}/{} {n}.txt", WORDS[(n % 7) as usize], WORDS[(n % 12) as usize]).into_bytes(),
        }
    }

    fn edit(&mut self, file: &mut File) {
        let Blob::Bytes(bytes) = &mut file.blob else { return };
        let at = usize::try_from(self.below(bytes.len() as u64 + 1)).unwrap_or(0);
        match self.below(8) {
            0 => bytes.truncate(at),
            1 => file.mode = if file.mode == "100644" { "100755".into() } else { "100644".into() },
            2 => *bytes = self.text(),
            _ => {
                let new = self.text();
                bytes.splice(at..at, new.into_iter().take(200));
            }
        }
    }

    fn text(&mut self) -> Vec<u8> {
        let mut text = Vec::new();
        for _ in 0..self.below(400) {
            text.extend_from_slice(WORDS[usize::try_from(self.below(12)).unwrap_or(0)].as_bytes());
            text.push(if self.below(9) == 0 { b'\n' } else { b' ' });
        }
        if self.below(20) == 0 {
            text.extend((0..=255).cycle().take(5_000));
        }
        text
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.random.below(limit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_history_is_the_same_in_every_run_and_has_every_kind_of_change() {
        let (mut one, mut two) = (Sample::new(), Sample::new());
        let (mut deleted, mut written, mut empty) = (0, 0, 0);
        while let Some(commit) = one.next() {
            let again = two.next().unwrap();
            assert_eq!(format!("{commit:?}"), format!("{again:?}"));
            for change in &commit.changes {
                match &change.file {
                    None => deleted += 1,
                    Some(File { blob: Blob::Bytes(bytes), .. }) if bytes.is_empty() => empty += 1,
                    Some(_) => written += 1,
                }
            }
        }
        assert!(two.next().is_none());
        assert!(deleted > 100 && written > 1_000 && empty > 0, "{deleted} {written} {empty}");
        assert!(one.files.len() > 100);
        assert!(one.files.keys().any(|path| std::str::from_utf8(path).is_err()));
    }

    #[test]
    fn a_history_taken_up_in_the_middle_goes_on_as_the_whole_one() {
        let mut whole = Sample::new();
        for _ in 0..100 {
            whole.next();
        }
        let mut half = Sample::after(100);
        assert_eq!(format!("{:?}", whole.next()), format!("{:?}", half.next()));
    }
}
