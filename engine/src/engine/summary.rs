//! What every pack's footer says of the engine as a whole, as of its line.
//!
//! ```text
//! Footer meta, little-endian:
//!   layout u8 (2)
//!   totals, as in `totals.rs`
//!   roots published u64, heads in the tree u64, then a hash of 32 bytes for every bit set in that number
//! Layout 1, which version 0.1 wrote at first, ends after the totals: no root had been published.
//! ```

use super::totals::Totals;
use crate::proof::Edge;

const LAYOUT: u8 = 2;
const LAYOUT_WITHOUT_ROOTS: u8 = 1;

/// See the head of this file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Summary {
    pub(crate) totals: Totals,
    /// The right edge of the tree over all heads that checkpoints have written.
    pub(crate) tree: Edge,
    /// How many roots are in the list of those that were published.
    pub(crate) published: u64,
}

impl Summary {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = vec![LAYOUT];
        self.totals.encode(&mut out);
        out.extend_from_slice(&self.published.to_le_bytes());
        out.extend_from_slice(&self.tree.size().to_le_bytes());
        self.tree.peaks().iter().for_each(|peak| out.extend_from_slice(peak));
        out
    }

    pub(crate) fn decode(meta: &[u8]) -> Option<Summary> {
        let (&layout, rest) = meta.split_first()?;
        let (totals, rest) = Totals::decode(rest)?;
        if layout == LAYOUT_WITHOUT_ROOTS && rest.is_empty() {
            return Some(Summary { totals, ..Summary::default() });
        }
        let (published, rest) = rest.split_first_chunk::<8>()?;
        let (size, rest) = rest.split_first_chunk::<8>()?;
        let (peaks, after) = rest.as_chunks::<32>();
        let tree = Edge::new(u64::from_le_bytes(*size), peaks.to_vec())?;
        let published = u64::from_le_bytes(*published);
        let is_possible = layout == LAYOUT && after.is_empty() && published <= u64::from(u32::MAX);
        is_possible.then_some(Summary { totals, tree, published })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lineal_wal::NamespaceId;

    #[test]
    fn what_is_encoded_is_decoded_and_what_is_cut_short_is_not() {
        let mut summary = Summary { published: 3, ..Summary::default() };
        summary.totals.add(NamespaceId(1), 3, 100);
        summary.totals.add(NamespaceId(9), -1, -5);
        (0..11u8).for_each(|number| summary.tree.push([number; 32], |_, _| ()));
        let bytes = summary.encode();
        assert_eq!(Summary::decode(&bytes), Some(summary));
        for length in 0..bytes.len() {
            assert_eq!(Summary::decode(&bytes[..length]), None, "{length} bytes");
        }
    }

    #[test]
    fn the_first_layout_is_read_as_one_without_roots() {
        let mut totals = Totals::default();
        totals.add(NamespaceId(1), 3, 100);
        let mut bytes = vec![LAYOUT_WITHOUT_ROOTS];
        totals.encode(&mut bytes);
        assert_eq!(Summary::decode(&bytes), Some(Summary { totals, ..Summary::default() }));
    }
}
