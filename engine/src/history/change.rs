//! What one commit wrote, as its application sees it: its own keys, without the space that they lie in, and pages of its
//! database.

use lineal_wal::{ObjectKey, Seq};

use crate::{
    Error, Result, Value,
    object::wake::bad_body,
    transaction::{
        body::Body,
        ops::{CutBase, Op, Ops},
        tx::{SPACE_USER, page_number},
    },
};

/// One change that a commit made. A commit's changes count in order: a later one sees what the earlier ones did.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Change {
    /// The key got this value.
    Put {
        /// The key.
        key: Vec<u8>,
        /// Its new value.
        value: Value,
    },
    /// The key lost its value.
    Delete {
        /// The key.
        key: Vec<u8>,
    },
    /// All keys of a range lost their values.
    DeleteRange {
        /// The first key of the range.
        start: Vec<u8>,
        /// The first key after it; `None`: the range has no end.
        end: Option<Vec<u8>>,
    },
    /// The key's value changed in some places: how a large value is kept of which little changed.
    Patch {
        /// The key.
        key: Vec<u8>,
        /// The length of the value from here on, in bytes; where it grew there are zeros.
        length: u64,
        /// Offsets, and the bytes that stand there from here on.
        ranges: Vec<(u64, Vec<u8>)>,
    },
    /// A page of the object's database changed.
    Page {
        /// The page's number; the first is 1.
        number: u32,
        /// How many bytes the commit keeps of it: all of the page, or the changed ones with where they are.
        bytes: u64,
    },
    /// The object's database became shorter: no page from this one on is left.
    PagesCut {
        /// The number of the first page that is gone.
        first: u32,
    },
    /// All keys of a range read as they do in a base: nothing, an earlier version, or another object.
    Cut {
        /// The first key of the range.
        start: Vec<u8>,
        /// The first key after it; `None`: the range has no end.
        end: Option<Vec<u8>>,
        /// What they read as.
        base: CutTo,
    },
}

/// What the keys of a [`Change::Cut`] read as from there on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CutTo {
    /// Nothing: everything was deleted.
    Nothing,
    /// The object's own version: it was restored.
    Own {
        /// The version.
        seq: u64,
    },
    /// The version of another object: a fork.
    Other {
        /// The other object.
        object: ObjectKey,
        /// The version.
        seq: u64,
        /// The chain's hash at that version.
        hash: [u8; 32],
    },
}

impl Change {
    /// What a user sees of an op; nothing of ops in the engine's own spaces.
    fn of(op: Op<'_>) -> Option<Change> {
        if let Some(page) = page_change(&op) {
            return Some(page);
        }
        Some(match op {
            Op::Put { key, value } => Change::Put { key: user_key(key)?, value: Value::from(value) },
            Op::Delete { key } => Change::Delete { key: user_key(key)? },
            Op::DeleteRange { start, end } => {
                let (start, end) = user_range(start, end)?;
                Change::DeleteRange { start, end }
            }
            Op::Patch { key, patch } => Change::Patch {
                key: user_key(key)?,
                length: patch.new_len() as u64,
                ranges: patch.ranges().map(|(at, bytes)| (at as u64, bytes.to_vec())).collect(),
            },
            Op::Cut(cut) => {
                let (start, end) = user_range(&cut.start, cut.end.as_deref())?;
                let base = match cut.base {
                    CutBase::Nothing => CutTo::Nothing,
                    CutBase::Own { seq } => CutTo::Own { seq },
                    CutBase::Other { object, seq, hash } => {
                        CutTo::Other { object: ObjectKey::from_bytes(&object), seq, hash }
                    }
                };
                Change::Cut { start, end, base }
            }
        })
    }
}

/// What an op does to the object's database, if it is an op on a page of it.
fn page_change(op: &Op<'_>) -> Option<Change> {
    Some(match op {
        Op::Put { key, value } => Change::Page { number: page_number(key)?, bytes: value.len() as u64 },
        Op::Patch { key, patch } => {
            Change::Page { number: page_number(key)?, bytes: patch.as_bytes().len() as u64 }
        }
        Op::Delete { key } => Change::PagesCut { first: page_number(key)? },
        Op::DeleteRange { start, .. } => Change::PagesCut { first: page_number(start)? },
        Op::Cut(_) => return None,
    })
}

/// The user's key of an internal key, if it is one of his.
fn user_key(key: &[u8]) -> Option<Vec<u8>> {
    key.strip_prefix(&[SPACE_USER]).map(<[u8]>::to_vec)
}

/// The part of a range of internal keys that is the user's, in the user's keys.
fn user_range(start: &[u8], end: Option<&[u8]>) -> Option<(Vec<u8>, Option<Vec<u8>>)> {
    let (space, after) = ([SPACE_USER], [SPACE_USER + 1]);
    let start = if start <= &space[..] { &space[..] } else { start };
    let end = end.filter(|end| *end < &after[..]);
    let is_empty = start >= &after[..] || end.is_some_and(|end| end <= start);
    (!is_empty).then(|| (start[1..].to_vec(), end.map(|end| end[1..].to_vec())))
}

/// The changes of a commit.
pub(crate) fn changes(key: &ObjectKey, seq: Seq, body: &Body<'_>) -> Result<Vec<Change>> {
    ops(key, seq, body).filter_map(|op| op.map(Change::of).transpose()).collect()
}

/// How many changes a commit has.
pub(crate) fn count(key: &ObjectKey, seq: Seq, body: &Body<'_>) -> Result<u64> {
    let is_users = |op: &Op<'_>| match op {
        op if page_change(op).is_some() => true,
        Op::Put { key, .. } | Op::Delete { key } | Op::Patch { key, .. } => key.starts_with(&[SPACE_USER]),
        Op::DeleteRange { start, end } => user_range(start, *end).is_some(),
        Op::Cut(cut) => user_range(&cut.start, cut.end.as_deref()).is_some(),
    };
    ops(key, seq, body).try_fold(0, |count, op| Ok(count + u64::from(is_users(&op?))))
}

/// The ops of a commit.
pub(crate) fn ops<'b>(
    key: &ObjectKey,
    seq: Seq,
    body: &Body<'b>,
) -> impl Iterator<Item = Result<Op<'b>, Error>> + use<'b> {
    let key = *key;
    Ops::new(body.ops).map(move |op| op.map_err(|_| bad_body(&key, seq)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_users_part_of_a_range_is_told() {
        let all = (Vec::new(), None);
        assert_eq!(user_range(b"", None), Some(all.clone()));
        assert_eq!(user_range(b"\x10", Some(b"\x11")), Some(all));
        assert_eq!(user_range(b"\x10a", Some(b"\x10b")), Some((b"a".to_vec(), Some(b"b".to_vec()))));
        assert_eq!(user_range(b"\x0f", Some(b"\x10b")), Some((Vec::new(), Some(b"b".to_vec()))));
        for (start, end) in [(&b"\x11"[..], None), (b"", Some(&b"\x10"[..])), (b"\x10b", Some(b"\x10a"))] {
            assert_eq!(user_range(start, end), None);
        }
    }
}
