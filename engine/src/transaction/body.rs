//! The body of a commit: what a log record's part and a run carry of it, unchanged.
//!
//! ```text
//! Commit body; "v" is a LEB128 varint, "z" a zigzag varint.
//! size  field
//!    z  change of the object's user bytes
//!    v  cause length and cause (UTF-8)
//!       if the part's FIRST flag is set:
//!   16    salt
//!    v    name length and name (0 for an object without a name)
//! rest  ops, see `ops.rs`
//! ```

use crate::transaction::ops::{Cut, Op, Ops, get_varint, put_varint, unzigzag, zigzag};

/// What a commit is of; the byte stands in the log, in runs and in the chain hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[repr(u8)]
pub enum Kind {
    /// A transaction of the application.
    User = 1,
    /// The object was deleted: it reads as empty, its history stays.
    Delete = 2,
    /// The object was restored to an earlier point.
    Restore = 3,
    /// The object began as a fork.
    Fork = 4,
    /// A bulk load was installed.
    Install = 5,
    /// State, history and name were erased.
    Purge = 6,
    /// A schema migration.
    Migration = 7,
    /// The engine's own.
    System = 8,
}

impl Kind {
    /// The kind of this byte, if it is one.
    pub fn from_byte(byte: u8) -> Option<Kind> {
        Some(match byte {
            1 => Kind::User,
            2 => Kind::Delete,
            3 => Kind::Restore,
            4 => Kind::Fork,
            5 => Kind::Install,
            6 => Kind::Purge,
            7 => Kind::Migration,
            8 => Kind::System,
            _ => return None,
        })
    }
}

/// Part flag: the body carries salt and name, because this is the object's first commit, or its first after a
/// purge.
pub(crate) const FIRST: u8 = 1;
/// Part flag: with this commit the object starts to exist.
pub(crate) const BORN: u8 = 2;
/// Part flag: with this commit the object ceases to exist.
pub(crate) const GONE: u8 = 4;

/// Whether the object exists after a commit of this kind and these flags.
pub(crate) fn exists_after(kind: Option<Kind>, flags: u8, before: bool) -> bool {
    match kind {
        Some(Kind::Delete | Kind::Purge) => false,
        // What these lead to may not exist either.
        Some(Kind::Restore | Kind::Fork) => flags & BORN != 0 || (before && flags & GONE == 0),
        _ => true,
    }
}

/// Longest encoding of the change of an object's bytes, which stands first in a body.
pub(crate) const BODY_DELTA_BYTES_MAX: u64 = 10;

/// Longest cause, in bytes.
///
/// Source: chosen; a commit id, an author and a sentence fit.
pub(crate) const CAUSE_BYTES_MAX: usize = 4 << 10;

/// A commit's body, taken apart.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Body<'a> {
    pub(crate) delta: i64,
    pub(crate) cause: &'a str,
    pub(crate) first: Option<First<'a>>,
    pub(crate) ops: &'a [u8],
}

/// What only the first commit of a chain carries.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct First<'a> {
    pub(crate) salt: [u8; 16],
    pub(crate) name: Option<&'a str>,
}

impl<'a> Body<'a> {
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        put_varint(out, zigzag(self.delta));
        put_varint(out, self.cause.len() as u64);
        out.extend_from_slice(self.cause.as_bytes());
        if let Some(first) = &self.first {
            let name = first.name.unwrap_or_default();
            out.extend_from_slice(&first.salt);
            put_varint(out, name.len() as u64);
            out.extend_from_slice(name.as_bytes());
        }
        out.extend_from_slice(self.ops);
    }

    /// `None` if the bytes are no body. They were checked against their checksum before.
    pub(crate) fn decode(flags: u8, bytes: &'a [u8]) -> Option<Body<'a>> {
        let mut rest = bytes;
        let delta = unzigzag(get_varint(&mut rest)?);
        let cause = text(&mut rest, CAUSE_BYTES_MAX)?;
        let first = if flags & FIRST != 0 {
            let (salt, after) = rest.split_at_checked(16)?;
            rest = after;
            let name = text(&mut rest, crate::object::id::NAME_BYTES_MAX)?;
            Some(First { salt: salt.try_into().ok()?, name: Some(name).filter(|name| !name.is_empty()) })
        } else {
            None
        };
        Some(Body { delta, cause, first, ops: rest })
    }
}

/// The last cut of all keys in the ops, if there is one: nothing of the object before them is seen any more.
pub(crate) fn whole_cut(ops: &[u8]) -> Option<Cut> {
    let cut = |op| match op {
        Ok(Op::Cut(cut)) if cut.is_whole() => Some(cut),
        _ => None,
    };
    Ops::new(ops).filter_map(cut).last()
}

fn text<'a>(rest: &mut &'a [u8], max: usize) -> Option<&'a str> {
    let length = usize::try_from(get_varint(rest)?).ok().filter(|length| *length <= max)?;
    let (text, after) = rest.split_at_checked(length)?;
    *rest = after;
    std::str::from_utf8(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_encoded_is_decoded_and_what_is_cut_short_is_refused() {
        let body = Body {
            delta: -5,
            cause: "why",
            first: Some(First { salt: [3; 16], name: Some("lobby") }),
            ops: b"",
        };
        let mut bytes = Vec::new();
        body.encode(&mut bytes);
        assert_eq!(Body::decode(FIRST, &bytes), Some(body));
        for length in 0..bytes.len() {
            assert_eq!(Body::decode(FIRST, &bytes[..length]), None, "length {length}");
        }
    }

    #[test]
    fn every_kind_has_its_own_byte() {
        for byte in 0..=u8::MAX {
            if let Some(kind) = Kind::from_byte(byte) {
                assert_eq!(kind as u8, byte);
            }
        }
    }
}
