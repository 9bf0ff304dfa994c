//! The lower bound of a chunk.

use std::{borrow::Borrow, cmp::Ordering, ops::Deref};

use super::heap_bytes;

/// The longest fence that is held in place, in bytes, so that a fence is no larger than three words. A search over the
/// chunks then stays within the nodes of the map.
const INLINE_BYTES: usize = 22;

/// A key that is at most the first of its chunk, and more than the last of the chunk before.
#[derive(Clone, Debug)]
pub(super) struct Fence(Repr);

#[derive(Clone, Debug)]
enum Repr {
    Inline { len: u8, bytes: [u8; INLINE_BYTES] },
    Boxed(Box<[u8]>),
}

const _: () = assert!(size_of::<Fence>() <= 24);

impl Fence {
    /// The fence before all keys.
    pub(super) const FIRST: Fence = Fence(Repr::Inline { len: 0, bytes: [0; INLINE_BYTES] });

    /// The shortest fence between two keys, the lower one first.
    pub(super) fn between(below: &[u8], above: &[u8]) -> Fence {
        debug_assert!(below < above);
        let common = below.iter().zip(above).take_while(|(a, b)| a == b).count();
        Fence::from(&above[..common + 1])
    }

    pub(super) fn heap_bytes(&self) -> usize {
        match &self.0 {
            Repr::Inline { .. } => 0,
            Repr::Boxed(bytes) => heap_bytes(bytes.len()),
        }
    }
}

impl From<&[u8]> for Fence {
    fn from(key: &[u8]) -> Fence {
        let mut bytes = [0; INLINE_BYTES];
        let Some(place) = bytes.get_mut(..key.len()) else { return Fence(Repr::Boxed(key.into())) };
        place.copy_from_slice(key);
        Fence(Repr::Inline { len: key.len() as u8, bytes })
    }
}

impl Deref for Fence {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        match &self.0 {
            Repr::Inline { len, bytes } => &bytes[..usize::from(*len)],
            Repr::Boxed(bytes) => bytes,
        }
    }
}

impl Borrow<[u8]> for Fence {
    #[inline]
    fn borrow(&self) -> &[u8] {
        self
    }
}

impl PartialEq for Fence {
    fn eq(&self, other: &Fence) -> bool {
        **self == **other
    }
}

impl Eq for Fence {}

impl PartialOrd for Fence {
    fn partial_cmp(&self, other: &Fence) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Fence {
    /// As the keys sort, because a fence borrows as one.
    #[inline]
    fn cmp(&self, other: &Fence) -> Ordering {
        (**self).cmp(&**other)
    }
}
