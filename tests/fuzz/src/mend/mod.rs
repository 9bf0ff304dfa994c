//! Checksums that are right again after a mutation. They stop nearly every changed byte, which is their purpose; a fuzzer
//! that stays in front of them tests nothing else. Written after what the formats say, and not with the engine's own code,
//! but for packs, whose parts can only be found through their index.

pub(crate) mod catalog;
pub(crate) mod log;

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

pub(crate) fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

pub(crate) fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    if let Some(room) = bytes.get_mut(at..at + value.len()) {
        room.copy_from_slice(value);
    }
}
