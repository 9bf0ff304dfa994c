//! The catalog's file: its header, both slots of page 0, every other page. See `engine/src/catalog/backend.rs`.

use super::put;

const HEADER: usize = 4_096;
const SLOT: usize = 24 + 4_096;
const STRIDE: usize = 8_192;
const BODY: usize = HEADER + 2 * STRIDE;
const STORED: usize = 4_096 + 4;

/// Mends every checksum that there is room for.
pub(crate) fn file(bytes: &mut [u8]) {
    if bytes.len() < BODY {
        return;
    }
    let crc = crc32fast::hash(&bytes[..32]);
    put(bytes, 32, &crc.to_le_bytes());
    for number in 0..2u8 {
        let at = HEADER + STRIDE * usize::from(number);
        let mut sum = crc32fast::Hasher::new();
        sum.update(&[number]);
        sum.update(&bytes[at + 4..at + SLOT]);
        put(bytes, at, &sum.finalize().to_le_bytes());
    }
    for (number, page) in (1u64..).zip(bytes[BODY..].chunks_exact_mut(STORED)) {
        let mut sum = crc32fast::Hasher::new();
        sum.update(&number.to_le_bytes());
        sum.update(&page[..4_096]);
        put(page, 4_096, &sum.finalize().max(1).to_le_bytes());
    }
}
