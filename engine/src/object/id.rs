//! How objects get their ids.
//!
//! An id is 16 bytes. Its first four bits tell its kind: by name, unique, staging, facet; the other kinds are
//! reserved. The rest of an id by name is a hash, the rest of a unique one is 44 bits of milliseconds and 80
//! random bits, so that objects made one after the other land side by side.

use lineal_wal::{Micros, ObjectId};

use crate::{Error, Result};

/// Longest object or namespace name, in bytes.
///
/// Source: specified; long enough for any path or URL in use, short enough for a head.
pub const NAME_BYTES_MAX: usize = 1_024;

const KIND_NAME: u8 = 0x00;
const KIND_UNIQUE: u8 = 0x10;
const KIND_MASK: u8 = 0xF0;

/// Refuses empty and over-long names. Any other content is fine: a name is never a path.
pub(crate) fn check_name(name: &str) -> Result<()> {
    if name.is_empty() {
        return Err(Error::InvalidName { reason: "it is empty" });
    }
    if name.len() > NAME_BYTES_MAX {
        return Err(Error::TooLarge { what: "name", limit: NAME_BYTES_MAX as u64, size: name.len() as u64 });
    }
    Ok(())
}

/// The id of the object `name` in the namespace called `namespace`: the same on every engine.
pub(crate) fn by_name(namespace: &str, name: &str) -> ObjectId {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&(namespace.len() as u64).to_le_bytes());
    hasher.update(namespace.as_bytes());
    hasher.update(name.as_bytes());
    let mut id = [0; 16];
    id.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
    id[0] = (id[0] & !KIND_MASK) | KIND_NAME;
    ObjectId(id)
}

/// A new id that sorts after those made in earlier milliseconds.
pub(crate) fn unique(now: Micros, random: &dyn Fn() -> u64) -> ObjectId {
    let mut id = [0; 16];
    let millis = (now.0 / 1_000) & ((1 << 44) - 1);
    id[..6].copy_from_slice(&millis.to_be_bytes()[2..]);
    id[0] |= KIND_UNIQUE;
    id[6..14].copy_from_slice(&random().to_le_bytes());
    id[14..].copy_from_slice(&random().to_le_bytes()[..2]);
    ObjectId(id)
}

/// Whether the id was made from a name.
pub(crate) fn is_by_name(id: ObjectId) -> bool {
    id.0[0] & KIND_MASK == KIND_NAME
}

/// Refuses ids of kinds that an application does not make.
pub(crate) fn check_id(id: ObjectId) -> Result<()> {
    match id.0[0] & KIND_MASK {
        KIND_NAME | KIND_UNIQUE => Ok(()),
        _ => Err(Error::Invalid { reason: format!("{id} is not the id of an object of an application") }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_name_in_two_namespaces_is_two_ids() {
        assert_ne!(by_name("a", "x"), by_name("b", "x"));
        assert_ne!(by_name("a", "bx"), by_name("ab", "x"));
        assert!(is_by_name(by_name("a", "x")));
    }

    #[test]
    fn unique_ids_sort_as_time_does_and_differ() {
        let counter = std::cell::Cell::new(7u64);
        let random = || {
            counter.set(counter.get().wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(1));
            counter.get()
        };
        let early = unique(Micros(1_000_000), &random);
        let same = unique(Micros(1_000_000), &random);
        let late = unique(Micros(1_002_000), &random);
        assert_ne!(early, same);
        assert!(early < late && same < late);
        assert!(!is_by_name(early));
    }

    #[test]
    fn names_are_bounded_and_never_empty() {
        assert!(matches!(check_name(""), Err(Error::InvalidName { .. })));
        assert!(matches!(check_name(&"x".repeat(1_025)), Err(Error::TooLarge { size: 1_025, .. })));
        check_name("../../etc/passwd\u{0}").unwrap();
    }
}
