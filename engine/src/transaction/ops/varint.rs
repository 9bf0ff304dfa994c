//! Numbers of variable length: LEB128, low seven bits first.

/// The longest encoding of a `u64`, in bytes.
const VARINT_BYTES_MAX: usize = 10;

/// Appends `value`: seven bits a byte, the high bit set on all but the last.
#[inline]
pub(crate) fn put_varint(to: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        to.push((value as u8) | 0x80);
        value >>= 7;
    }
    to.push(value as u8);
}

/// Takes a number off the front of `from`; `None` if it ends early or does not fit 64 bits, and then nothing is
/// taken. A padded encoding is accepted, as long as it has at most ten bytes.
#[inline]
pub(crate) fn get_varint(from: &mut &[u8]) -> Option<u64> {
    let (&first, rest) = from.split_first()?;
    if first < 0x80 {
        *from = rest;
        return Some(u64::from(first));
    }
    get_long(from)
}

fn get_long(from: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for (i, &byte) in from.iter().take(VARINT_BYTES_MAX).enumerate() {
        let bits = u64::from(byte & 0x7f);
        let shift = 7 * i as u32;
        if bits << shift >> shift != bits {
            return None;
        }
        value |= bits << shift;
        if byte < 0x80 {
            *from = &from[i + 1..];
            return Some(value);
        }
    }
    None
}

/// A signed number as an unsigned one that is small when the signed one is near zero.
#[inline]
pub(crate) const fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

/// The signed number that [`zigzag`] made `value` from.
#[inline]
pub(crate) const fn unzigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_width_comes_back_and_takes_only_its_own_bytes() {
        for value in (0..64).flat_map(|bit| [1u64 << bit, (1 << bit) - 1, u64::MAX >> bit]) {
            let mut bytes = Vec::new();
            put_varint(&mut bytes, value);
            assert!(bytes.len() <= VARINT_BYTES_MAX);
            bytes.push(0xaa);
            let mut rest = bytes.as_slice();
            assert_eq!(get_varint(&mut rest), Some(value));
            assert_eq!(rest, [0xaa]);
        }
    }

    #[test]
    fn a_number_that_is_cut_off_or_too_large_takes_nothing() {
        for bad in [&[][..], &[0x80], &[0xff; 9], &[0xff; 10], &[0x80; 11]] {
            let mut rest = bad;
            assert_eq!(get_varint(&mut rest), None);
            assert_eq!(rest, bad);
        }
        // The tenth byte holds one bit only.
        let mut rest: &[u8] = &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02];
        assert_eq!(get_varint(&mut rest), None);
    }

    #[test]
    fn zigzag_keeps_small_numbers_small_and_comes_back() {
        assert_eq!([0, -1, 1, -2].map(zigzag), [0, 1, 2, 3]);
        for value in [0, 1, -1, 63, -64, i64::MAX, i64::MIN] {
            assert_eq!(unzigzag(zigzag(value)), value);
        }
    }
}
