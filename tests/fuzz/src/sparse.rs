//! Files of pages are mostly zeros; as an input such a file is what is not zero: again and again how many zeros come next
//! (two bytes), how many other bytes (one byte), and these.

use crate::input::{Input, Output};

/// Zeros that end what is not zero: fewer are spelled out.
const GAP_BYTES: usize = 8;

/// The file that an input stands for, as far as it is not longer than `bytes_max`.
pub(crate) fn expand(packed: &[u8], bytes_max: usize) -> Vec<u8> {
    let mut input = Input::new(packed);
    let mut file = Vec::new();
    while !input.is_empty() && file.len() < bytes_max {
        let zeros = usize::from(input.u16());
        file.resize((file.len() + zeros).min(bytes_max), 0);
        let bytes = input.short();
        file.extend_from_slice(&bytes[..bytes.len().min(bytes_max - file.len())]);
    }
    file
}

/// The input that stands for a file.
pub(crate) fn pack(file: &[u8]) -> Vec<u8> {
    let mut out = Output::default();
    let mut at = 0;
    while at < file.len() {
        let zeros = file[at..].iter().take(usize::from(u16::MAX)).take_while(|byte| **byte == 0).count();
        at += zeros;
        let rest = &file[at..];
        let gap = rest.windows(GAP_BYTES).position(|window| window.iter().all(|byte| *byte == 0));
        let count = gap.unwrap_or(rest.len()).min(usize::from(u8::MAX));
        out.0.extend_from_slice(&u16::try_from(zeros).unwrap_or(u16::MAX).to_le_bytes());
        out.short(&rest[..count]);
        at += count;
    }
    out.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_packed_expands_to_what_it_was() {
        let mut file = vec![0; 70_000];
        file[5] = 1;
        file[300..900].fill(7);
        file[69_999] = 2;
        let packed = pack(&file);
        assert!(packed.len() < 700, "{} bytes", packed.len());
        assert_eq!(expand(&packed, file.len()), file);
        assert_eq!(expand(&packed, 600), file[..600]);
        assert_eq!(expand(&pack(&[]), 9), Vec::<u8>::new());
    }
}
