//! What the engine keeps in the manifest beside packs and logs: how far the tree of roots is, and where its parts are.
//!
//! ```text
//! layout u8 (1)
//! newest root at the manifest's line: published u64, size u64, line u64, time u64 (µs), hash 32; zeros before the first
//! parts of the tree u16 (at most 4096), each: upload u64, published u64, size u64, hash 32
//! ```
//! Integers are little-endian. The root names everything that packs held at that line, so that whoever opens the archive
//! can tell whether it is of its own past. The parts are those of `roots.rs`.

use lineal_wal::Micros;

use super::roots::{PARTS_MAX, Part};
use crate::proof::{Extent, Root};

const LAYOUT: u8 = 1;

/// See the head of this file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Note {
    /// How many roots were published, and the newest.
    pub(crate) root: Option<(u64, Root)>,
    /// The tree up to that root, oldest first.
    pub(crate) parts: Vec<Part>,
}

impl Note {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let (published, root) = match &self.root {
            Some((published, root)) => (*published, *root),
            None => (0, Root { size: 0, hash: [0; 32], line: 0, time: Micros(0) }),
        };
        let mut out = vec![LAYOUT];
        for number in [published, root.size, root.line, root.time.0] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        out.extend_from_slice(&root.hash);
        out.extend_from_slice(&u16::try_from(self.parts.len()).unwrap_or(u16::MAX).to_le_bytes());
        for part in &self.parts {
            for number in [part.upload, part.to.published, part.to.size] {
                out.extend_from_slice(&number.to_le_bytes());
            }
            out.extend_from_slice(&part.hash);
        }
        out
    }

    pub(crate) fn decode(mut bytes: &[u8]) -> Option<Note> {
        let rest = &mut bytes;
        if take::<1>(rest)? != [LAYOUT] {
            return None;
        }
        let published = number(rest)?;
        let (size, line, time) = (number(rest)?, number(rest)?, Micros(number(rest)?));
        let root = Root { size, hash: take(rest)?, line, time };
        let count = u16::from_le_bytes(take(rest)?);
        let mut parts = Vec::new();
        for _ in 0..count {
            let (upload, published, size) = (number(rest)?, number(rest)?, number(rest)?);
            parts.push(Part { upload, to: Extent { published, size }, hash: take(rest)? });
        }
        let ascend = parts.is_sorted_by(|a, b| {
            a.upload <= b.upload && a.to.published <= b.to.published && a.to.size <= b.to.size
        });
        let whole = Extent { published, size };
        let reaches = parts
            .last()
            .is_none_or(|last| last.to.published <= whole.published && last.to.size <= whole.size);
        let valid = rest.is_empty() && ascend && reaches && parts.len() <= PARTS_MAX;
        valid.then_some(Note { root: (published > 0).then_some((published, root)), parts })
    }
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, rest) = bytes.split_first_chunk::<N>()?;
    *bytes = rest;
    Some(*taken)
}

fn number(bytes: &mut &[u8]) -> Option<u64> {
    take::<8>(bytes).map(u64::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_encoded_is_decoded_and_what_is_cut_short_is_not() {
        let root = Root { size: 9, hash: [7; 32], line: 44, time: Micros(5) };
        let part =
            |upload| Part { upload, to: Extent { published: upload, size: 2 * upload }, hash: [1; 32] };
        for note in [Note::default(), Note { root: Some((3, root)), parts: vec![part(2), part(3)] }] {
            let bytes = note.encode();
            assert_eq!(Note::decode(&bytes), Some(note));
            for length in 0..bytes.len() {
                assert_eq!(Note::decode(&bytes[..length]), None, "{length} bytes");
            }
        }
        let unsorted = Note { root: Some((3, root)), parts: vec![part(3), part(2)] };
        assert_eq!(Note::decode(&unsorted.encode()), None);
    }
}
