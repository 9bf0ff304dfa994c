//! One object's history beside `git log -- PATH`.

use lineal::{Engine, Object};

use super::{
    change::Commit,
    check::{Compared, object_of},
    origin::{FILES, Origin},
    pairs::Pair,
};
use crate::exit::Outcome;

/// The two lists, newest first.
#[derive(Debug, Default)]
pub(super) struct Listing {
    pub(super) path: Vec<u8>,
    /// The object's commits: number, and the id in the cause. Those that went on with a large file are one.
    pub(super) ours: Vec<(u64, String)>,
    /// Git's.
    pub(super) gits: Vec<String>,
}

impl Listing {
    /// Of the object that has the longest history among these.
    pub(super) fn make(
        engine: &Engine,
        origin: &Origin,
        pairs: &[Pair],
    ) -> Outcome<Option<(Listing, Compared)>> {
        let Some(pair) = pairs.iter().max_by_key(|pair| pair.newest) else { return Ok(None) };
        let path = pair.entry.path.clone();
        let object = object_of(&engine.existing_namespace(FILES)?, &path)?;
        let gits = origin.ids_of(&path)?;
        let mut compared = Compared::default();
        let ours = ours(&object).unwrap_or_else(|error| {
            compared.mismatch(format!("the history of {}: {error}", String::from_utf8_lossy(&path)));
            Vec::new()
        });
        let listing = Listing { path, ours, gits };
        compared.and(listing.compare());
        Ok(Some((listing, compared)))
    }

    /// The same commits in the same order.
    fn compare(&self) -> Compared {
        let mut compared = Compared::default();
        for at in 0..self.ours.len().max(self.gits.len()) {
            let ours = self.ours.get(at).map(|(_, id)| id.as_str());
            let gits = self.gits.get(at).map(String::as_str);
            if ours != gits {
                compared.mismatch(format!(
                    "the history of {}: the object has {} where git has {}",
                    String::from_utf8_lossy(&self.path).escape_debug(),
                    ours.unwrap_or("no more commits"),
                    gits.unwrap_or("no more")
                ));
            }
        }
        compared
    }
}

fn ours(object: &Object) -> lineal::Result<Vec<(u64, String)>> {
    let mut ours: Vec<(u64, String)> = Vec::new();
    for info in object.history(..)? {
        let info = info?;
        let id = Commit::id_in(&info.cause);
        if ours.last().is_none_or(|(_, newer)| newer != id) {
            ours.push((info.seq, id.to_owned()));
        }
    }
    Ok(ours)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commit_more_one_less_and_another_order_are_mismatches() {
        let mismatches = |ours: &[&str], gits: &[&str]| {
            let ours = ours.iter().map(|id| (1, (*id).to_owned())).collect();
            let gits = gits.iter().map(|id| (*id).to_owned()).collect();
            Listing { path: b"p".to_vec(), ours, gits }.compare().mismatches
        };
        assert_eq!(mismatches(&["b", "a"], &["b", "a"]), 0);
        assert_eq!(mismatches(&["b", "a"], &["a", "b"]), 2);
        assert_eq!(mismatches(&["b", "a"], &["b"]), 1);
        assert_eq!(mismatches(&[], &["b"]), 1);
    }
}
