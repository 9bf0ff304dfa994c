//! A value as readers get it: cheap to clone, and not copied where it is large.

// Sharing bytes that never change has no protocol to model, so this is std's `Arc` and not the one of `sync`.
use std::{
    borrow::Borrow,
    cmp::Ordering,
    fmt,
    hash::{Hash, Hasher},
    ops::{Deref, Range},
    sync::Arc,
};

/// The longest value that is held without an allocation, in bytes. With the tag and the length a `Value` is then two
/// cache lines.
const INLINE_BYTES: usize = 126;

/// How many bytes `Debug` prints before it cuts.
const DEBUG_BYTES: usize = 64;

/// The bytes of one entry. It reads as `&[u8]`, clones without copying large values, and stays valid for as long as
/// you keep it, whatever happens to the entry.
///
/// Values of up to 126 bytes are held in place; longer ones share one allocation with whatever they were read from.
#[derive(Clone)]
pub struct Value(Repr);

#[derive(Clone)]
enum Repr {
    Inline { len: u8, bytes: [u8; INLINE_BYTES] },
    Shared { whole: Arc<[u8]>, start: usize, len: usize },
}

const _: () = assert!(size_of::<Value>() <= 128);

impl Value {
    /// The bytes of the value.
    #[inline]
    #[must_use]
    pub fn as_slice(&self) -> &[u8] {
        match &self.0 {
            Repr::Inline { len, bytes } => &bytes[..usize::from(*len)],
            Repr::Shared { whole, start, len } => &whole[*start..*start + *len],
        }
    }

    /// A part of shared bytes, without a copy where it is large. A small part is copied, so that it does not keep a
    /// whole leaf in memory.
    ///
    /// # Panics
    /// If the range does not lie within the bytes.
    #[must_use]
    pub(crate) fn part_of(whole: &Arc<[u8]>, range: Range<usize>) -> Value {
        let bytes = &whole[range.clone()];
        match Value::inline(bytes) {
            Some(value) => value,
            None => Value(Repr::Shared { whole: Arc::clone(whole), start: range.start, len: bytes.len() }),
        }
    }

    #[inline]
    fn inline(from: &[u8]) -> Option<Value> {
        if from.len() > INLINE_BYTES {
            return None;
        }
        let mut bytes = [0; INLINE_BYTES];
        bytes[..from.len()].copy_from_slice(from);
        let len = u8::try_from(from.len()).expect("INLINE_BYTES fits a byte");
        Some(Value(Repr::Inline { len, bytes }))
    }
}

impl Default for Value {
    /// The empty value.
    fn default() -> Value {
        Value(Repr::Inline { len: 0, bytes: [0; INLINE_BYTES] })
    }
}

impl From<&[u8]> for Value {
    #[inline]
    fn from(bytes: &[u8]) -> Value {
        Value::inline(bytes).unwrap_or_else(|| Value::from(Arc::<[u8]>::from(bytes)))
    }
}

impl<const N: usize> From<&[u8; N]> for Value {
    fn from(bytes: &[u8; N]) -> Value {
        Value::from(bytes.as_slice())
    }
}

impl From<Vec<u8>> for Value {
    fn from(bytes: Vec<u8>) -> Value {
        Value::from(bytes.as_slice())
    }
}

impl From<Arc<[u8]>> for Value {
    /// Shares the bytes, however few they are.
    fn from(whole: Arc<[u8]>) -> Value {
        let len = whole.len();
        Value(Repr::Shared { whole, start: 0, len })
    }
}

impl Deref for Value {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        self.as_slice()
    }
}

impl AsRef<[u8]> for Value {
    #[inline]
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl Borrow<[u8]> for Value {
    fn borrow(&self) -> &[u8] {
        self
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = &self[..self.len().min(DEBUG_BYTES)];
        write!(f, "b\"{}\"", shown.escape_ascii())?;
        if self.len() > DEBUG_BYTES { write!(f, "… ({} bytes)", self.len()) } else { Ok(()) }
    }
}

impl PartialEq for Value {
    fn eq(&self, other: &Value) -> bool {
        **self == **other
    }
}

impl Eq for Value {}

impl PartialOrd for Value {
    fn partial_cmp(&self, other: &Value) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Value {
    fn cmp(&self, other: &Value) -> Ordering {
        (**self).cmp(&**other)
    }
}

impl Hash for Value {
    /// As the bytes hash, because `Value` borrows as them.
    fn hash<H: Hasher>(&self, state: &mut H) {
        (**self).hash(state);
    }
}

impl PartialEq<[u8]> for Value {
    fn eq(&self, other: &[u8]) -> bool {
        **self == *other
    }
}

impl PartialEq<&[u8]> for Value {
    fn eq(&self, other: &&[u8]) -> bool {
        **self == **other
    }
}

impl<const N: usize> PartialEq<[u8; N]> for Value {
    fn eq(&self, other: &[u8; N]) -> bool {
        **self == *other
    }
}

impl<const N: usize> PartialEq<&[u8; N]> for Value {
    fn eq(&self, other: &&[u8; N]) -> bool {
        **self == **other
    }
}

impl PartialEq<Vec<u8>> for Value {
    fn eq(&self, other: &Vec<u8>) -> bool {
        **self == **other
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::{BTreeSet, HashSet};

    #[test]
    fn a_value_of_any_length_reads_as_the_bytes_it_was_made_from() {
        for len in [0, 1, 100, INLINE_BYTES - 1, INLINE_BYTES, INLINE_BYTES + 1, 4096] {
            let bytes: Vec<u8> = (0..len).map(|i| i as u8).collect();
            let value = Value::from(bytes.as_slice());
            assert_eq!(value, bytes);
            assert_eq!(value, bytes.as_slice());
            assert_eq!(value.clone(), Value::from(bytes.clone()));
            assert_eq!(value, Value::from(Arc::<[u8]>::from(bytes)));
        }
    }

    #[test]
    fn only_a_long_value_shares_and_its_clone_shares_too() {
        let short = Value::from(&[7; INLINE_BYTES]);
        assert!(matches!(short.0, Repr::Inline { .. }));
        let long = Value::from(&[7; INLINE_BYTES + 1]);
        assert_eq!(long.clone().as_ptr(), long.as_ptr());
    }

    #[test]
    fn a_large_part_points_into_the_whole_and_a_small_one_does_not_keep_it() {
        let whole: Arc<[u8]> = (0..=255).cycle().take(5000).collect();
        let large = Value::part_of(&whole, 100..1100);
        assert_eq!(large, &whole[100..1100]);
        assert_eq!(large.as_ptr(), whole[100..].as_ptr());
        let small = Value::part_of(&whole, 4990..5000);
        assert_eq!(small, &whole[4990..]);
        assert_eq!(Arc::strong_count(&whole), 2);
    }

    #[test]
    #[should_panic(expected = "range")]
    fn a_part_outside_of_the_whole_is_a_bug() {
        let whole: Arc<[u8]> = Arc::from([0; 10].as_slice());
        let _ = Value::part_of(&whole, 5..11);
    }

    #[test]
    fn values_hash_and_sort_as_their_bytes() {
        let shared = Value::from(Arc::<[u8]>::from(b"abc".as_slice()));
        let inline = Value::from(b"abc");
        assert_eq!(shared, inline);
        assert!(HashSet::from([shared.clone()]).contains(b"abc".as_slice()));
        assert!(BTreeSet::from([inline]).contains(b"abc".as_slice()));
        let later = Value::from(b"b");
        assert!(later > shared);
    }

    #[test]
    fn debug_shows_text_and_cuts_what_is_long() {
        assert_eq!(format!("{:?}", Value::from(b"a\"\x00")), "b\"a\\\"\\x00\"");
        assert!(format!("{:?}", Value::from(&[b'x'; 300])).ends_with("… (300 bytes)"));
    }
}
