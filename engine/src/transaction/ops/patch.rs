//! Changes within a value: making, checking, applying and joining patches. Their layout is at the head of `ops`.

use super::{OpsError, VALUE_BYTES_MAX, get_varint, put_varint};

/// Ranges of a patch are kept apart where at least this many bytes between them are equal: a range costs two to six
/// bytes of its own, and fewer ranges are faster to apply.
const EQUAL_BYTES_MIN: usize = 16;

/// The longest value whose pending patches are joined, in bytes: joining takes two buffers of this size.
const MERGE_BYTES_MAX: usize = 64 << 10;

/// A patch whose bytes are known to be valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Patch<'a> {
    /// All of it.
    bytes: &'a [u8],
    /// What follows the length.
    ranges: &'a [u8],
    /// The length that it gives to the value, at most `VALUE_BYTES_MAX`.
    new_len: usize,
}

impl<'a> Patch<'a> {
    /// Checks a patch that stands alone.
    ///
    /// # Errors
    /// If it is not valid; the offset in the error is 0.
    pub(crate) fn parse(bytes: &'a [u8]) -> Result<Patch<'a>, OpsError> {
        Patch::parse_at(bytes, 0)
    }

    /// Checks a patch within the op at `offset`.
    pub(super) fn parse_at(bytes: &'a [u8], offset: usize) -> Result<Patch<'a>, OpsError> {
        let mut ranges = bytes;
        let size = get_varint(&mut ranges).ok_or(OpsError::Cut { offset, what: "patch" })?;
        let limit = VALUE_BYTES_MAX as u64;
        if size > limit {
            return Err(OpsError::TooLong { offset, what: "patched value", size, limit });
        }
        let mut rest = ranges;
        let mut end = 0u64;
        while !rest.is_empty() {
            let head = get_varint(&mut rest).zip(get_varint(&mut rest));
            let (gap, len) = head.ok_or(OpsError::Cut { offset, what: "patch" })?;
            end = end.saturating_add(gap).saturating_add(len);
            if len == 0 || end > size {
                return Err(OpsError::PatchRange { offset, size });
            }
            rest = rest.get(len as usize..).ok_or(OpsError::Cut { offset, what: "patch" })?;
        }
        Ok(Patch { bytes, ranges, new_len: size as usize })
    }

    /// The encoded patch.
    pub(crate) fn as_bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// How long the value is afterwards, in bytes.
    pub(crate) fn new_len(&self) -> usize {
        self.new_len
    }

    /// The ranges that it writes, ascending and disjoint, as (offset, bytes).
    pub(crate) fn ranges(&self) -> impl Iterator<Item = (usize, &'a [u8])> + use<'a> {
        let mut rest = self.ranges;
        let mut end = 0;
        std::iter::from_fn(move || {
            let gap = get_varint(&mut rest)? as usize;
            let len = get_varint(&mut rest)? as usize;
            let (bytes, after) = rest.split_at_checked(len)?;
            rest = after;
            let start = end + gap;
            end = start + len;
            Some((start, bytes))
        })
    }

    /// Writes the ranges into a value that already has the new length.
    ///
    /// # Panics
    /// If it has another length.
    pub(crate) fn write_to(&self, value: &mut [u8]) {
        assert_eq!(value.len(), self.new_len, "the value was made as long as the patch says");
        for (start, bytes) in self.ranges() {
            value[start..start + bytes.len()].copy_from_slice(bytes);
        }
    }
}

/// What `old` is after the patch.
pub(crate) fn apply_patch(old: &[u8], patch: &Patch<'_>) -> Vec<u8> {
    let mut value = Vec::with_capacity(patch.new_len);
    value.extend_from_slice(&old[..old.len().min(patch.new_len)]);
    value.resize(patch.new_len, 0);
    patch.write_to(&mut value);
    value
}

/// The patch that makes `new` of `old`, encoded; `None` if it is not at most half as long as `new`, so that a put
/// does as well.
///
/// # Panics
/// If `new` is over the format's limit.
pub(crate) fn diff_patch(old: &[u8], new: &[u8]) -> Option<Vec<u8>> {
    assert!(new.len() <= VALUE_BYTES_MAX, "a value of {} bytes", new.len());
    let limit = new.len() / 2;
    let mut patch = Vec::new();
    put_varint(&mut patch, new.len() as u64);
    let mut end = 0;
    let mut at = next_difference(old, new, 0);
    while at < new.len() {
        let start = at;
        let mut range_end = at + 1;
        // Goes on until enough bytes in a row are equal.
        at = range_end;
        while at < new.len() && at - range_end < EQUAL_BYTES_MIN {
            if old.get(at).copied().unwrap_or(0) != new[at] {
                range_end = at + 1;
                if patch.len() + (range_end - start) > limit {
                    return None;
                }
            }
            at += 1;
        }
        put_varint(&mut patch, (start - end) as u64);
        put_varint(&mut patch, (range_end - start) as u64);
        patch.extend_from_slice(&new[start..range_end]);
        end = range_end;
        at = next_difference(old, new, at);
        if patch.len() > limit {
            return None;
        }
    }
    (patch.len() <= limit).then_some(patch)
}

/// The first place at or after `from` where `new` differs from `old` made as long as `new`; the length of `new` if
/// there is none.
fn next_difference(old: &[u8], new: &[u8], from: usize) -> usize {
    const STEP: usize = 32;
    let common = old.len().min(new.len());
    let mut at = from;
    while at + STEP <= common && old[at..at + STEP] == new[at..at + STEP] {
        at += STEP;
    }
    while at < common && old[at] == new[at] {
        at += 1;
    }
    if at >= common {
        at += new[at..].iter().take_while(|byte| **byte == 0).count();
    }
    at
}

/// Patches of one value that wait for what lies below, oldest first: each as a varint length and its bytes, up to the
/// end. This is also what a delta leaf keeps for a patched key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Patches<'a> {
    bytes: &'a [u8],
}

impl<'a> Patches<'a> {
    /// Checks a list.
    ///
    /// # Errors
    /// If it or a patch in it is not valid.
    pub(crate) fn parse(bytes: &'a [u8]) -> Result<Patches<'a>, OpsError> {
        let mut rest = bytes;
        while !rest.is_empty() {
            let offset = bytes.len() - rest.len();
            let cut = OpsError::Cut { offset, what: "patch" };
            let len = get_varint(&mut rest).and_then(|len| usize::try_from(len).ok()).ok_or(cut)?;
            let (patch, after) = rest.split_at_checked(len).ok_or(cut)?;
            Patch::parse_at(patch, offset)?;
            rest = after;
        }
        Ok(Patches { bytes })
    }

    /// A list that was made by [`push_patch`].
    pub(crate) fn trusted(bytes: &'a [u8]) -> Patches<'a> {
        debug_assert!(Patches::parse(bytes).is_ok());
        Patches { bytes }
    }

    /// The encoded list.
    pub(crate) fn as_bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The patches, oldest first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Patch<'a>> + use<'a> {
        let mut rest = self.bytes;
        std::iter::from_fn(move || {
            if rest.is_empty() {
                return None;
            }
            let len = get_varint(&mut rest).expect("the list was checked") as usize;
            let (patch, after) = rest.split_at(len);
            rest = after;
            Some(Patch::parse(patch).expect("the list was checked"))
        })
    }

    /// What `below` is after all of them; an absent value counts as empty. Takes time for what the patches write and for
    /// the last length, and not for every length between: a list can name the longest value and the shortest in turn,
    /// with a few bytes each.
    pub(crate) fn apply(&self, below: &[u8]) -> Vec<u8> {
        // How long the value is at the shortest, from each patch on: what stands beyond is cut off before the end.
        let mut kept: Vec<usize> = self.iter().map(|patch| patch.new_len()).collect();
        let Some(&length) = kept.last() else { return below.to_vec() };
        for index in (1..kept.len()).rev() {
            kept[index - 1] = kept[index - 1].min(kept[index]);
        }
        let mut value = Vec::with_capacity(length);
        value.extend_from_slice(&below[..below.len().min(kept[0])]);
        value.resize(length, 0);
        for (patch, kept) in self.iter().zip(kept) {
            for (start, bytes) in patch.ranges().take_while(|(start, _)| *start < kept) {
                let end = kept.min(start + bytes.len());
                value[start..end].copy_from_slice(&bytes[..end - start]);
            }
        }
        value
    }
}

/// Appends a patch to an encoded list.
pub(crate) fn push_patch(list: &mut Vec<u8>, patch: &Patch<'_>) {
    put_varint(list, patch.as_bytes().len() as u64);
    list.extend_from_slice(patch.as_bytes());
}

/// What a list of patches comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Merged {
    /// One encoded patch that does the same to any value.
    Patch(Vec<u8>),
    /// The patches leave nothing of what is below: this is the value.
    Value(Vec<u8>),
}

/// Joins a list of patches; `None` if the value is too long for that to pay, or the list is empty.
pub(crate) fn merge_patches(list: &Patches<'_>) -> Option<Merged> {
    if list.bytes.is_empty() || list.iter().any(|patch| patch.new_len() > MERGE_BYTES_MAX) {
        return None;
    }
    let mut value = Vec::new();
    // Whether each byte is decided by the patches. What a later patch adds in length is zero by decision, because the
    // value may have been longer below and was cut off by an earlier patch.
    let mut decided = Vec::new();
    for (i, patch) in list.iter().enumerate() {
        value.resize(patch.new_len(), 0);
        decided.resize(patch.new_len(), i > 0);
        for (start, bytes) in patch.ranges() {
            value[start..start + bytes.len()].copy_from_slice(bytes);
            decided[start..start + bytes.len()].fill(true);
        }
    }
    if decided.iter().all(|decided| *decided) {
        return Some(Merged::Value(value));
    }
    let mut patch = Vec::new();
    put_varint(&mut patch, value.len() as u64);
    let mut end = 0;
    let mut start = 0;
    for run in decided.chunk_by(|a, b| a == b) {
        let run_end = start + run.len();
        if run[0] {
            put_varint(&mut patch, (start - end) as u64);
            put_varint(&mut patch, run.len() as u64);
            patch.extend_from_slice(&value[start..run_end]);
            end = run_end;
        }
        start = run_end;
    }
    Some(Merged::Patch(patch))
}
