//! What a commit does, as bytes: the body of a log record's part and of a run's commit.
//!
//! This is an on-disk format. A body is a sequence of ops up to its end, without a header: the part around it has the
//! checksum. All keys are internal keys (space byte first). Numbers are varints (LEB128, at most 10 bytes), `bytes` is
//! a varint length and that many bytes.
//!
//! | tag | op | fields after the tag |
//! |---|---|---|
//! | 1 | put | key `bytes`, value `bytes` |
//! | 2 | delete | key `bytes` |
//! | 3 | delete-range | start `bytes`, end |
//! | 4 | patch | key `bytes`, patch `bytes` |
//! | 5 | cut | start `bytes`, end, base |
//!
//! | field | layout |
//! |---|---|
//! | end | one byte 0: unbounded; or one byte 1 and the end key as `bytes`, itself not in the range |
//! | base | one byte 0: nothing; 1: the object's own version, then its seq (varint); 2: another object's version, then object key (20 bytes), seq (varint), hash of that version (32 bytes) |
//! | patch | new length of the value (varint), then ranges up to the end of the patch: distance from the end of the range before (varint; from 0 for the first), and the range's `bytes` |
//!
//! A body is valid iff every tag is known, nothing ends early, keys are at most [`KEY_BYTES_MAX`] and values and patched
//! values at most [`VALUE_BYTES_MAX`] bytes, and the ranges of a patch are not empty and lie within its new length. A range
//! whose end is not after its start is valid and does nothing.
//!
//! Ops count in order: a later one sees what the earlier ones did. A patch first makes the value as long as its new
//! length, by cutting it off or by adding zeros, and then writes its ranges; a value that is not there counts as empty.

mod patch;
#[cfg(test)]
mod tests;
mod varint;

pub(crate) use patch::{Merged, Patch, Patches, apply_patch, diff_patch, merge_patches, push_patch};
pub(crate) use varint::{get_varint, put_varint, unzigzag, zigzag};

/// The longest internal key that an op may have, in bytes. The limit that users meet (4 KiB by default) is below it.
pub(crate) const KEY_BYTES_MAX: usize = 64 << 10;

/// The longest value that an op may put or make by a patch, in bytes: no more than a part of a pack may hold. The
/// limit that users meet (16 MiB by default) is below it.
pub(crate) const VALUE_BYTES_MAX: usize = 64 << 20;

const TAG_PUT: u8 = 1;
const TAG_DELETE: u8 = 2;
const TAG_DELETE_RANGE: u8 = 3;
const TAG_PATCH: u8 = 4;
const TAG_CUT: u8 = 5;

const END_UNBOUNDED: u8 = 0;
const END_KEY: u8 = 1;

const BASE_NOTHING: u8 = 0;
const BASE_OWN: u8 = 1;
const BASE_OTHER: u8 = 2;

/// One operation of a commit, borrowed from its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Op<'a> {
    /// The key has this value from here on.
    Put {
        /// The key.
        key: &'a [u8],
        /// Its new value.
        value: &'a [u8],
    },
    /// The key has no value from here on.
    Delete {
        /// The key.
        key: &'a [u8],
    },
    /// No key of the range has a value from here on.
    DeleteRange {
        /// The first key of the range.
        start: &'a [u8],
        /// The first key after the range; `None` if it has no end.
        end: Option<&'a [u8]>,
    },
    /// The value of the key changes in some places.
    Patch {
        /// The key.
        key: &'a [u8],
        /// What changes.
        patch: Patch<'a>,
    },
    /// The range reads through to a base from here on.
    Cut(Cut),
}

/// From here on a key range reads through to a base. Cuts are rare and outlive the op that makes them, so they own
/// their keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cut {
    /// The first key of the range.
    pub(crate) start: Vec<u8>,
    /// The first key after the range; `None` if it has no end.
    pub(crate) end: Option<Vec<u8>>,
    /// What is read there.
    pub(crate) base: CutBase,
}

impl Cut {
    /// A cut of all keys.
    pub(crate) fn whole(base: CutBase) -> Cut {
        Cut { start: Vec::new(), end: None, base }
    }

    /// Whether it is of all keys.
    pub(crate) fn is_whole(&self) -> bool {
        self.start.is_empty() && self.end.is_none()
    }
}

/// What a cut range reads through to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CutBase {
    /// Nothing: the range is empty.
    Nothing,
    /// The object's own version at this seq.
    Own {
        /// The seq.
        seq: u64,
    },
    /// The version of another object.
    Other {
        /// The bytes of its object key.
        object: [u8; 20],
        /// Its seq.
        seq: u64,
        /// The lineage hash of that version.
        hash: [u8; 32],
    },
}

/// Bytes that are no valid ops. Offsets count from the start of the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum OpsError {
    /// The bytes end within an op, or a number in them is longer than 64 bits.
    #[error("the {what} of the op at byte {offset} ends early or is no number")]
    Cut {
        /// Where the op starts.
        offset: usize,
        /// Which field.
        what: &'static str,
    },
    /// A tag, an end or a base that this version does not know.
    #[error("the op at byte {offset} has the unknown {what} {found}")]
    Unknown {
        /// Where the op starts.
        offset: usize,
        /// Which field.
        what: &'static str,
        /// What it holds.
        found: u8,
    },
    /// A declared length is over the limit of the format.
    #[error("the {what} of the op at byte {offset} is {size} bytes long and the limit is {limit}")]
    TooLong {
        /// Where the op starts.
        offset: usize,
        /// Which field.
        what: &'static str,
        /// What is declared, in bytes.
        size: u64,
        /// The limit, in bytes.
        limit: u64,
    },
    /// A patch has an empty range, or one outside of the value.
    #[error("the patch of the op at byte {offset} has a range that is empty or outside of its {size} bytes")]
    PatchRange {
        /// Where the op starts.
        offset: usize,
        /// The length that the patch gives to the value, in bytes.
        size: u64,
    },
}

/// Appends a put.
///
/// # Panics
/// Here and in the functions below: if a key or a value is over the format's limit. The limits for users are checked
/// before.
#[inline]
pub(crate) fn put(to: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    assert!(value.len() <= VALUE_BYTES_MAX, "a value of {} bytes", value.len());
    to.push(TAG_PUT);
    put_key(to, key);
    put_bytes(to, value);
}

/// Appends a delete.
#[inline]
pub(crate) fn delete(to: &mut Vec<u8>, key: &[u8]) {
    to.push(TAG_DELETE);
    put_key(to, key);
}

/// Appends a delete-range from `start` to before `end`.
pub(crate) fn delete_range(to: &mut Vec<u8>, start: &[u8], end: Option<&[u8]>) {
    to.push(TAG_DELETE_RANGE);
    put_range(to, start, end);
}

/// Appends a patch.
pub(crate) fn patch(to: &mut Vec<u8>, key: &[u8], patch: Patch<'_>) {
    to.push(TAG_PATCH);
    put_key(to, key);
    put_bytes(to, patch.as_bytes());
}

/// Appends a cut as an op.
pub(crate) fn put_cut_op(to: &mut Vec<u8>, cut: &Cut) {
    to.push(TAG_CUT);
    put_cut(to, cut);
}

/// Appends a cut as the fields of its op, without a tag, for those who keep cuts elsewhere.
pub(crate) fn put_cut(to: &mut Vec<u8>, cut: &Cut) {
    put_range(to, &cut.start, cut.end.as_deref());
    match &cut.base {
        CutBase::Nothing => to.push(BASE_NOTHING),
        CutBase::Own { seq } => {
            to.push(BASE_OWN);
            put_varint(to, *seq);
        }
        CutBase::Other { object, seq, hash } => {
            to.push(BASE_OTHER);
            to.extend_from_slice(object);
            put_varint(to, *seq);
            to.extend_from_slice(hash);
        }
    }
}

/// Takes what [`put_cut`] wrote off the front of `from`; `None` if it is no cut.
pub(crate) fn read_cut(from: &mut &[u8]) -> Option<Cut> {
    let mut reader = Reader { rest: from, offset: 0 };
    let cut = reader.cut().ok()?;
    *from = reader.rest;
    Some(cut)
}

fn put_range(to: &mut Vec<u8>, start: &[u8], end: Option<&[u8]>) {
    put_key(to, start);
    match end {
        None => to.push(END_UNBOUNDED),
        Some(end) => {
            to.push(END_KEY);
            put_key(to, end);
        }
    }
}

#[inline]
fn put_key(to: &mut Vec<u8>, key: &[u8]) {
    assert!(key.len() <= KEY_BYTES_MAX, "a key of {} bytes", key.len());
    put_bytes(to, key);
}

#[inline]
fn put_bytes(to: &mut Vec<u8>, bytes: &[u8]) {
    put_varint(to, bytes.len() as u64);
    to.extend_from_slice(bytes);
}

/// The ops of a body, in order. After an error there are no more. It never panics, whatever the bytes are, and it
/// allocates nothing but the keys of cuts.
#[derive(Clone, Debug)]
pub(crate) struct Ops<'a> {
    rest: &'a [u8],
    total: usize,
}

impl<'a> Ops<'a> {
    /// The ops in `body`.
    pub(crate) fn new(body: &'a [u8]) -> Ops<'a> {
        Ops { rest: body, total: body.len() }
    }
}

impl<'a> Iterator for Ops<'a> {
    type Item = Result<Op<'a>, OpsError>;

    #[inline]
    fn next(&mut self) -> Option<Result<Op<'a>, OpsError>> {
        let (&tag, fields) = self.rest.split_first()?;
        let mut reader = Reader { rest: fields, offset: self.total - self.rest.len() };
        let op = reader.op(tag);
        self.rest = if op.is_ok() { reader.rest } else { &[] };
        Some(op)
    }
}

impl std::iter::FusedIterator for Ops<'_> {}

/// Takes fields off the front of one op.
struct Reader<'a> {
    rest: &'a [u8],
    /// Where the op starts, for errors.
    offset: usize,
}

impl<'a> Reader<'a> {
    #[inline]
    fn op(&mut self, tag: u8) -> Result<Op<'a>, OpsError> {
        match tag {
            TAG_PUT => Ok(Op::Put { key: self.key("key")?, value: self.bytes("value", VALUE_BYTES_MAX)? }),
            TAG_DELETE => Ok(Op::Delete { key: self.key("key")? }),
            TAG_DELETE_RANGE => Ok(Op::DeleteRange { start: self.key("start")?, end: self.end()? }),
            TAG_PATCH => {
                let key = self.key("key")?;
                let bytes = self.bytes("patch", usize::MAX)?;
                Ok(Op::Patch { key, patch: Patch::parse_at(bytes, self.offset)? })
            }
            TAG_CUT => self.cut().map(Op::Cut),
            found => Err(OpsError::Unknown { offset: self.offset, what: "tag", found }),
        }
    }

    #[inline]
    fn key(&mut self, what: &'static str) -> Result<&'a [u8], OpsError> {
        self.bytes(what, KEY_BYTES_MAX)
    }

    fn end(&mut self) -> Result<Option<&'a [u8]>, OpsError> {
        match self.byte("end")? {
            END_UNBOUNDED => Ok(None),
            END_KEY => self.key("end").map(Some),
            found => Err(OpsError::Unknown { offset: self.offset, what: "end", found }),
        }
    }

    fn cut(&mut self) -> Result<Cut, OpsError> {
        let start = self.key("start")?.to_vec();
        Ok(Cut { start, end: self.end()?.map(<[u8]>::to_vec), base: self.base()? })
    }

    fn base(&mut self) -> Result<CutBase, OpsError> {
        match self.byte("base")? {
            BASE_NOTHING => Ok(CutBase::Nothing),
            BASE_OWN => Ok(CutBase::Own { seq: self.varint("seq")? }),
            BASE_OTHER => Ok(CutBase::Other {
                object: self.array("object")?,
                seq: self.varint("seq")?,
                hash: self.array("hash")?,
            }),
            found => Err(OpsError::Unknown { offset: self.offset, what: "base", found }),
        }
    }

    fn byte(&mut self, what: &'static str) -> Result<u8, OpsError> {
        self.array::<1>(what).map(|[byte]| byte)
    }

    fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], OpsError> {
        let (array, rest) =
            self.rest.split_first_chunk().ok_or(OpsError::Cut { offset: self.offset, what })?;
        self.rest = rest;
        Ok(*array)
    }

    #[inline]
    fn varint(&mut self, what: &'static str) -> Result<u64, OpsError> {
        get_varint(&mut self.rest).ok_or(OpsError::Cut { offset: self.offset, what })
    }

    #[inline]
    fn bytes(&mut self, what: &'static str, limit: usize) -> Result<&'a [u8], OpsError> {
        let size = self.varint(what)?;
        if size > limit as u64 {
            return Err(OpsError::TooLong { offset: self.offset, what, size, limit: limit as u64 });
        }
        let (bytes, rest) = usize::try_from(size)
            .ok()
            .and_then(|size| self.rest.split_at_checked(size))
            .ok_or(OpsError::Cut { offset: self.offset, what })?;
        self.rest = rest;
        Ok(bytes)
    }
}
