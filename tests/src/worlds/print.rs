//! What tells the states of a disk apart: a number of 64 bits over all names and bytes.

use std::{collections::HashMap, sync::Arc};

use lineal_wal::sim::SimDisk;

/// Numbers of contents that were seen, by their address: crashes of one moment share what they do not change.
#[derive(Default)]
pub struct Prints {
    /// The contents are kept, so that no other comes to lie at the address.
    known: HashMap<usize, (Arc<Vec<u8>>, u64)>,
}

/// Most contents that are kept.
const KNOWN_MAX: usize = 512;

impl Prints {
    /// The number of what a reader sees.
    pub fn of(&mut self, disk: &SimDisk) -> u64 {
        if self.known.len() > KNOWN_MAX {
            self.known.clear();
        }
        disk.contents().into_iter().fold(0x5EED, |so_far, (path, bytes)| {
            let at = Arc::as_ptr(&bytes).addr();
            let (_, print) = self.known.entry(at).or_insert_with(|| {
                let print = mix(&bytes);
                (bytes, print)
            });
            fold(fold(so_far ^ mix(path.as_bytes()), FACTORS[1]) ^ *print, FACTORS[2])
        })
    }
}

/// Odd numbers with bits all over: the digits of √2, √3, √5 and √7.
const FACTORS: [u64; 4] =
    [0x6A09_E667_F3BC_C909, 0xBB67_AE85_84CA_A73B, 0x3C6E_F372_FE94_F82B, 0xA54F_F53A_5F1D_36F1];

fn fold(left: u64, right: u64) -> u64 {
    let product = u128::from(left) * u128::from(right);
    (product >> 64) as u64 ^ product as u64
}

/// The number of some bytes: four lanes of folded products.
pub fn mix(bytes: &[u8]) -> u64 {
    let mut lanes = FACTORS;
    let mut blocks = bytes.chunks_exact(32);
    for block in &mut blocks {
        for (at, lane) in lanes.iter_mut().enumerate() {
            let word = block[8 * at..8 * at + 8].try_into().map_or(0, u64::from_le_bytes);
            *lane = fold(*lane ^ word, FACTORS[3 - at]).wrapping_add(FACTORS[at]);
        }
    }
    for byte in blocks.remainder() {
        lanes[0] = fold(lanes[0] ^ u64::from(*byte), FACTORS[3]).wrapping_add(1);
    }
    let all = lanes
        .into_iter()
        .fold(bytes.len() as u64, |all, lane| fold(all ^ lane, FACTORS[0]).wrapping_add(lane));
    all ^ (all >> 32)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn disks_with_other_bytes_names_or_lengths_have_other_numbers() {
        let image = |path: &str, bytes: &[u8]| {
            SimDisk::from_image(&BTreeMap::from([
                ("z".to_owned(), vec![7; 9]),
                (path.to_owned(), bytes.to_vec()),
            ]))
        };
        let mut prints = Prints::default();
        let mut seen = std::collections::HashSet::new();
        for len in 0..200 {
            assert!(seen.insert(prints.of(&image("a", &vec![0; len]))), "{len} zeros");
            assert!(seen.insert(prints.of(&image("b", &vec![0; len]))), "{len} zeros under another name");
        }
        for bit in 0..8 * 200 {
            let mut bytes = vec![0; 200];
            bytes[bit / 8] = 1 << (bit % 8);
            assert!(seen.insert(prints.of(&image("a", &bytes))), "bit {bit}");
        }
        assert_eq!(prints.of(&image("a", &[0; 10])), Prints::default().of(&image("a", &[0; 10])));
    }
}
