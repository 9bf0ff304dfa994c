//! The Merkle tree over all heads that checkpoints have written, as pure functions of its leaves.
//!
//! ```text
//! leaf(head)  = BLAKE3(0 ‖ "lineal head 1" ‖ object 20 ‖ seq u64 ‖ hash 32)
//! node(l, r)  = BLAKE3(1 ‖ l ‖ r)
//! root of n   = node(root of the first k, root of the rest), k the largest power of two below n;
//!               of one leaf the leaf itself; of none BLAKE3("")
//! ```
//! Integers are little-endian. The shape, and both proofs, are those of certificate transparency's logs.
//!
//! Source: RFC 6962, section 2.1, with BLAKE3 in place of SHA-256.

use lineal_wal::{ObjectKey, Seq};

use crate::object::head::Hash;

/// The largest number of leaves that a proof may speak of: so that a hostile one cannot make sizes overflow.
pub(super) const SIZE_MAX: u64 = 1 << 56;

/// The leaf of an object's head.
pub(crate) fn leaf(object: &ObjectKey, seq: Seq, hash: &Hash) -> Hash {
    let mut bytes = [0; 1 + 13 + 20 + 8 + 32];
    bytes[1..14].copy_from_slice(b"lineal head 1");
    bytes[14..34].copy_from_slice(&object.to_bytes());
    bytes[34..42].copy_from_slice(&seq.0.to_le_bytes());
    bytes[42..].copy_from_slice(hash);
    *blake3::hash(&bytes).as_bytes()
}

/// What stands over two neighbours.
pub(super) fn node(left: &Hash, right: &Hash) -> Hash {
    let mut bytes = [1; 65];
    bytes[1..33].copy_from_slice(left);
    bytes[33..].copy_from_slice(right);
    *blake3::hash(&bytes).as_bytes()
}

/// The right edge of a growing tree: the roots of its full subtrees, the largest first. One for every bit that is set
/// in the number of leaves, so that appending needs nothing that was written before.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Edge {
    size: u64,
    peaks: Vec<Hash>,
}

impl Edge {
    /// As it was written down; `None` if the number of peaks is not that of the size.
    pub(crate) fn new(size: u64, peaks: Vec<Hash>) -> Option<Edge> {
        (size <= SIZE_MAX && peaks.len() == size.count_ones() as usize).then_some(Edge { size, peaks })
    }

    /// The number of leaves.
    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    pub(crate) fn peaks(&self) -> &[Hash] {
        &self.peaks
    }

    /// Adds a leaf, and tells of every subtree that it completes: its height and its root, the leaf itself first.
    pub(crate) fn push(&mut self, leaf: Hash, mut complete: impl FnMut(u32, &Hash)) {
        let mut root = leaf;
        complete(0, &root);
        for height in 0..self.size.trailing_ones() {
            let left = self.peaks.pop().expect("there is a peak for every bit of the size");
            root = node(&left, &root);
            complete(height + 1, &root);
        }
        self.peaks.push(root);
        self.size += 1;
    }

    /// The root of the tree.
    pub(crate) fn root(&self) -> Hash {
        let mut peaks = self.peaks.iter().rev();
        match peaks.next() {
            None => *blake3::hash(b"").as_bytes(),
            Some(last) => peaks.fold(*last, |root, left| node(left, &root)),
        }
    }
}

/// A full subtree: its place among those of its height, from the left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Subtree {
    pub(super) height: u32,
    pub(super) at: u64,
}

/// Reads the root of a full subtree.
pub(super) trait Subtrees {
    type Error;

    fn root_of(&self, subtree: Subtree) -> Result<Hash, Self::Error>;
}

/// The root over the leaves from `start` to before `end`, where `start` is where a subtree of that many begins.
fn root_over<S: Subtrees>(tree: &S, start: u64, end: u64) -> Result<Hash, S::Error> {
    let count = end - start;
    if count.is_power_of_two() {
        let height = count.trailing_zeros();
        return tree.root_of(Subtree { height, at: start >> height });
    }
    let split = split(count);
    Ok(node(&root_over(tree, start, start + split)?, &root_over(tree, start + split, end)?))
}

/// The largest power of two below `count`, which is over one.
fn split(count: u64) -> u64 {
    1 << (u64::BITS - 1 - (count - 1).leading_zeros())
}

/// The hashes beside the way from leaf number `index` to the root of the first `size` leaves, from below.
pub(super) fn inclusion_path<S: Subtrees>(tree: &S, index: u64, size: u64) -> Result<Vec<Hash>, S::Error> {
    assert!(index < size, "a leaf is in the tree");
    let (mut start, mut end) = (0, size);
    let mut path = Vec::new();
    while end - start > 1 {
        let middle = start + split(end - start);
        if index < middle {
            path.push(root_over(tree, middle, end)?);
            end = middle;
        } else {
            path.push(root_over(tree, start, middle)?);
            start = middle;
        }
    }
    path.reverse();
    Ok(path)
}

/// The root that a leaf and the path beside it lead to; `None` if the path has not the length of such a path.
pub(super) fn root_of_inclusion(leaf: &Hash, index: u64, size: u64, path: &[Hash]) -> Option<Hash> {
    if index >= size || size > SIZE_MAX {
        return None;
    }
    let (mut at, mut last) = (index, size - 1);
    let mut root = *leaf;
    let mut path = path.iter();
    while last > 0 {
        if at % 2 == 1 {
            root = node(path.next()?, &root);
        } else if at < last {
            root = node(&root, path.next()?);
        }
        at /= 2;
        last /= 2;
    }
    path.next().is_none().then_some(root)
}

/// The hashes that show that the tree of `old` leaves is the beginning of the one of `new` leaves.
pub(super) fn consistency_path<S: Subtrees>(tree: &S, old: u64, new: u64) -> Result<Vec<Hash>, S::Error> {
    assert!(old <= new, "a tree only grows");
    if old == 0 || old == new {
        return Ok(Vec::new());
    }
    let mut path = Vec::new();
    let (mut start, mut end) = (0, new);
    // Down to the subtree that ends where the old tree does.
    while old != end {
        let middle = start + split(end - start);
        if old <= middle {
            path.push(root_over(tree, middle, end)?);
            end = middle;
        } else {
            path.push(root_over(tree, start, middle)?);
            start = middle;
        }
    }
    // Where that is the whole old tree, its root is what is being compared.
    if start > 0 {
        path.push(root_over(tree, start, end)?);
    }
    path.reverse();
    Ok(path)
}

/// Whether the path shows that the tree of `old` leaves and that root is the beginning of the other.
pub(super) fn is_consistent(old: u64, old_root: &Hash, new: u64, new_root: &Hash, path: &[Hash]) -> bool {
    if old > new || new > SIZE_MAX {
        return false;
    }
    if old == new {
        return path.is_empty() && old_root == new_root;
    }
    if old == 0 {
        return path.is_empty() && *old_root == Edge::default().root();
    }
    let (mut at, mut last) = (old - 1, new - 1);
    while at % 2 == 1 {
        at /= 2;
        last /= 2;
    }
    let mut path = path.iter();
    let Some(first) = (if old.is_power_of_two() { Some(old_root) } else { path.next() }) else {
        return false;
    };
    let (mut from_old, mut from_new) = (*first, *first);
    while last > 0 {
        if at % 2 == 1 {
            let Some(left) = path.next() else { return false };
            from_old = node(left, &from_old);
            from_new = node(left, &from_new);
        } else if at < last {
            let Some(right) = path.next() else { return false };
            from_new = node(&from_new, right);
        }
        at /= 2;
        last /= 2;
    }
    path.next().is_none() && from_old == *old_root && from_new == *new_root
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    /// Every subtree that was ever complete, in memory.
    #[derive(Default)]
    struct Memory(HashMap<(u32, u64), Hash>, Edge, Vec<Hash>);

    impl Memory {
        fn push(&mut self, number: u64) {
            let at = self.1.size();
            let leaf = *blake3::hash(&number.to_le_bytes()).as_bytes();
            let subtrees = &mut self.0;
            self.1.push(leaf, |height, root| {
                subtrees.insert((height, at >> height), *root);
            });
            self.2.push(self.1.root());
        }

        fn of(leaves: u64) -> Memory {
            let mut memory = Memory::default();
            memory.2.push(Edge::default().root());
            (0..leaves).for_each(|number| memory.push(number));
            memory
        }
    }

    impl Subtrees for Memory {
        type Error = ();

        fn root_of(&self, subtree: Subtree) -> Result<Hash, ()> {
            self.0.get(&(subtree.height, subtree.at)).copied().ok_or(())
        }
    }

    /// The definition, word for word.
    fn by_definition(leaves: &[Hash]) -> Hash {
        match leaves {
            [] => *blake3::hash(b"").as_bytes(),
            [leaf] => *leaf,
            _ => {
                let split = (leaves.len() as u64).next_power_of_two() as usize / 2;
                node(&by_definition(&leaves[..split]), &by_definition(&leaves[split..]))
            }
        }
    }

    const LEAVES: u64 = 70;

    #[test]
    fn the_root_is_that_of_the_definition() {
        let memory = Memory::of(LEAVES);
        let leaves: Vec<Hash> = (0..LEAVES).map(|at| memory.0[&(0, at)]).collect();
        for size in 0..=LEAVES as usize {
            assert_eq!(memory.2[size], by_definition(&leaves[..size]), "{size} leaves");
        }
    }

    #[test]
    fn every_leaf_is_proved_in_every_tree_and_nothing_else_is() {
        let memory = Memory::of(LEAVES);
        for size in 1..=LEAVES {
            for index in 0..size {
                let path = inclusion_path(&memory, index, size).unwrap();
                let leaf = memory.0[&(0, index)];
                let root = memory.2[size as usize];
                assert_eq!(root_of_inclusion(&leaf, index, size, &path), Some(root));
                assert_ne!(root_of_inclusion(&[1; 32], index, size, &path), Some(root));
                let mut longer = path.clone();
                longer.push([2; 32]);
                assert_eq!(root_of_inclusion(&leaf, index, size, &longer), None);
                if let Some((_, shorter)) = path.split_last() {
                    assert_ne!(root_of_inclusion(&leaf, index, size, shorter), Some(root));
                }
                for at in 0..path.len() {
                    let mut other = path.clone();
                    other[at][3] ^= 1;
                    assert_ne!(root_of_inclusion(&leaf, index, size, &other), Some(root));
                }
            }
        }
    }

    #[test]
    fn every_tree_is_the_beginning_of_every_later_one_and_of_no_other() {
        let memory = Memory::of(LEAVES);
        let mut other = Memory::of(0);
        (0..LEAVES).for_each(|number| other.push(number + u64::from(number == 1)));
        for new in 0..=LEAVES {
            for old in 0..=new {
                let (from, to) = (memory.2[old as usize], memory.2[new as usize]);
                let path = consistency_path(&memory, old, new).unwrap();
                assert!(is_consistent(old, &from, new, &to, &path), "{old} in {new}");
                let mut longer = path.clone();
                longer.push([2; 32]);
                assert!(!is_consistent(old, &from, new, &to, &longer));
                for at in 0..path.len() {
                    let mut changed = path.clone();
                    changed[at][31] ^= 0x80;
                    assert!(!is_consistent(old, &from, new, &to, &changed), "{old} in {new}, hash {at}");
                }
                if old > 1 {
                    let rewritten = other.2[new as usize];
                    let path = consistency_path(&other, old, new).unwrap();
                    assert!(!is_consistent(old, &from, new, &rewritten, &path), "{old} in {new}");
                }
            }
        }
    }

    #[test]
    fn an_edge_that_was_written_down_goes_on() {
        let mut memory = Memory::of(37);
        let edge = Edge::new(37, memory.1.peaks().to_vec()).unwrap();
        assert_eq!(edge, memory.1);
        memory.1 = edge;
        (37..LEAVES).for_each(|number| memory.push(number));
        assert_eq!(memory.2.last(), Memory::of(LEAVES).2.last());
        assert_eq!(Edge::new(37, vec![[0; 32]; 2]), None);
    }
}
