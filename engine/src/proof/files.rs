//! The tree on disk: one file of hashes for every eighth height, and the list of the roots that were published.
//!
//! ```text
//! roots/level-K   64 bytes of header, then 32 bytes per hash: the roots of all full subtrees of height 8 K, in order.
//!                 256 of them are a tile, as in transparency logs. K is one digit.
//! roots/list      64 bytes of header, then 64 bytes per checkpoint:
//!                 line u64, size u64, time u64, root 32, zero u32, CRC-32 u32 of the 60 bytes before
//! header          magic "LNLROOTS", version u16 (1), level u8 (255: the list), zeros, engine id 16 at byte 16,
//!                 CRC-32 u32 at byte 60 of the 60 bytes before
//! ```
//! Integers are little-endian. What the newest pack's footer counts is there and synced before the footer is written;
//! what a crash left beyond is overwritten. Hashes need no checksum: a proof made of wrong ones does not lead to the
//! root that the footer holds, and none is handed out that was not checked.

use lineal_wal::{Disk, DiskFile, EngineId, Lsn, Micros, OpenMode};

use super::tree::{Edge, Subtree, Subtrees, node};
use crate::{Error, Result, object::head::Hash, sync::Arc};

pub(crate) const DIR: &str = "roots";
const MAGIC: &[u8; 8] = b"LNLROOTS";
const VERSION: u16 = 1;
const HEADER_BYTES: usize = 64;
const HASH_BYTES: u64 = 32;
const PUBLISHED_BYTES: usize = 64;
/// Heights between two levels that are stored.
///
/// Source: the tiles of transparency logs; what lies between is computed from at most 256 hashes.
const HEIGHTS: u32 = 8;
/// The list's number in its header.
const LIST: u8 = u8::MAX;

/// A root that a checkpoint published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Root {
    /// How many heads the tree holds.
    pub size: u64,
    /// The hash over all of them.
    pub hash: [u8; 32],
    /// The newest log position that they cover.
    pub line: u64,
    /// The time of the commit at that position, in microseconds since the Unix epoch.
    pub time: Micros,
}

fn path(level: u8) -> String {
    if level == LIST { format!("{DIR}/list") } else { format!("{DIR}/level-{level}") }
}

fn header(level: u8, engine: EngineId) -> [u8; HEADER_BYTES] {
    let mut bytes = [0; HEADER_BYTES];
    bytes[..8].copy_from_slice(MAGIC);
    bytes[8..10].copy_from_slice(&VERSION.to_le_bytes());
    bytes[10] = level;
    bytes[16..32].copy_from_slice(&engine.0);
    let crc = crc32fast::hash(&bytes[..60]);
    bytes[60..].copy_from_slice(&crc.to_le_bytes());
    bytes
}

fn damaged(level: u8, offset: u64, reason: impl Into<String>) -> Error {
    Error::Damaged { file: path(level), offset, object: None, reason: reason.into() }
}

fn io(op: &'static str, level: u8) -> impl FnOnce(std::io::Error) -> Error {
    move |error| Error::io(op, path(level), error)
}

fn open(disk: &dyn Disk, level: u8, engine: EngineId) -> Result<Box<dyn DiskFile>> {
    let file = disk.open(&path(level), OpenMode::Read).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => damaged(level, 0, "the file is missing"),
        _ => io("opening", level)(error),
    })?;
    let mut found = [0; HEADER_BYTES];
    read(&*file, level, &mut found, 0)?;
    check_header(&found, level, engine)?;
    Ok(file)
}

fn check_header(found: &[u8; HEADER_BYTES], level: u8, engine: EngineId) -> Result<()> {
    if *found == header(level, engine) {
        return Ok(());
    }
    let version = u16::from_le_bytes([found[8], found[9]]);
    let intact = crc32fast::hash(&found[..60]).to_le_bytes() == found[60..];
    if intact && &found[..8] == MAGIC && version > VERSION {
        return Err(Error::NewerVersion {
            file: path(level),
            found: u32::from(version),
            known: u32::from(VERSION),
        });
    }
    Err(damaged(level, 0, "its header is not that of this engine's file"))
}

fn read(file: &dyn DiskFile, level: u8, bytes: &mut [u8], offset: u64) -> Result<()> {
    file.read_exact_at(bytes, offset).map_err(|error| match error.kind() {
        std::io::ErrorKind::UnexpectedEof => damaged(level, offset, "the file ends before"),
        _ => io("reading", level)(error),
    })
}

/// The files that this process has seen to be there with their headers, durably: bit K for level K, the highest for the
/// list. Whether they look so proves nothing: a file that a failed sync left behind may be in the page cache only.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Settled(u16);

impl Settled {
    fn bit(level: u8) -> u16 {
        1 << level.min(15)
    }
}

/// What one checkpoint adds: collected while its pack is written, and written before the pack's footer.
pub(crate) struct Growth {
    start: u64,
    edge: Edge,
    /// New hashes of each level.
    levels: Vec<Vec<u8>>,
}

impl Growth {
    pub(crate) fn new(edge: &Edge) -> Growth {
        Growth { start: edge.size(), edge: edge.clone(), levels: Vec::new() }
    }

    pub(crate) fn push(&mut self, leaf: Hash) {
        let levels = &mut self.levels;
        self.edge.push(leaf, |height, root| {
            if height % HEIGHTS == 0 {
                let level = (height / HEIGHTS) as usize;
                levels.resize_with(levels.len().max(level + 1), Vec::new);
                levels[level].extend_from_slice(root);
            }
        });
    }

    /// Writes and syncs what is new, the root at the end of the list, and returns the edge that the footer will hold.
    /// `published` is the number of roots in the list so far.
    pub(crate) fn write(
        self,
        disk: &Arc<dyn Disk>,
        engine: EngineId,
        published: u64,
        line: Lsn,
        time: Micros,
        settled: &mut Settled,
    ) -> Result<Edge> {
        self.write_hashes(disk, engine, settled)?;
        let root = Root { size: self.edge.size(), hash: self.edge.root(), line: line.0, time };
        let offset = (HEADER_BYTES + PUBLISHED_BYTES * published as usize) as u64;
        append(&**disk, LIST, engine, offset, &encode(&root), settled)?;
        Ok(self.edge)
    }

    fn write_hashes(&self, disk: &Arc<dyn Disk>, engine: EngineId, settled: &mut Settled) -> Result<()> {
        for (level, hashes) in (0u8..).zip(&self.levels) {
            let before = self.start >> (u32::from(level) * HEIGHTS);
            append(&**disk, level, engine, HEADER_BYTES as u64 + before * HASH_BYTES, hashes, settled)?;
        }
        Ok(())
    }
}

/// Writes and syncs bytes at an offset of a file, which is made if it is missing.
///
/// Where a crash, or a person, left a file that is too short, what is missing before the offset is damage for who asks
/// for it, and nothing that holds a checkpoint up.
fn append(
    disk: &dyn Disk,
    level: u8,
    engine: EngineId,
    offset: u64,
    bytes: &[u8],
    settled: &mut Settled,
) -> Result<()> {
    let is_settled = settled.0 & Settled::bit(level) != 0;
    if !is_settled {
        disk.create_dir(DIR).map_err(io("making the folder of", level))?;
    }
    let file = disk.open(&path(level), OpenMode::Create).map_err(io("opening", level))?;
    if !is_settled {
        file.write_all_at(&header(level, engine), 0).map_err(io("writing", level))?;
    }
    file.write_all_at(bytes, offset).map_err(io("writing", level))?;
    file.sync_data().map_err(io("syncing", level))?;
    if !is_settled {
        disk.sync_dir(DIR).map_err(io("syncing the folder", level))?;
        disk.sync_dir("").map_err(io("syncing the folder", level))?;
        settled.0 |= Settled::bit(level);
    }
    Ok(())
}

fn encode(root: &Root) -> [u8; PUBLISHED_BYTES] {
    let mut bytes = [0; PUBLISHED_BYTES];
    bytes[..8].copy_from_slice(&root.line.to_le_bytes());
    bytes[8..16].copy_from_slice(&root.size.to_le_bytes());
    bytes[16..24].copy_from_slice(&root.time.0.to_le_bytes());
    bytes[24..56].copy_from_slice(&root.hash);
    let crc = crc32fast::hash(&bytes[..60]);
    bytes[60..].copy_from_slice(&crc.to_le_bytes());
    bytes
}

fn decode(bytes: &[u8; PUBLISHED_BYTES]) -> Option<Root> {
    if crc32fast::hash(&bytes[..60]).to_le_bytes() != bytes[60..] {
        return None;
    }
    let number = |at: usize| {
        let mut number = [0; 8];
        number.copy_from_slice(&bytes[at..at + 8]);
        u64::from_le_bytes(number)
    };
    let mut hash = [0; 32];
    hash.copy_from_slice(&bytes[24..56]);
    Some(Root { line: number(0), size: number(8), time: Micros(number(16)), hash })
}

/// The tree as it is on disk, for making proofs.
pub(crate) struct Stored {
    disk: Arc<dyn Disk>,
    engine: EngineId,
    /// Up to here it is as the footer says.
    size: u64,
    published: u64,
}

impl Stored {
    pub(crate) fn new(disk: Arc<dyn Disk>, engine: EngineId, size: u64, published: u64) -> Stored {
        Stored { disk, engine, size, published }
    }

    /// How many roots were published.
    pub(crate) fn count(&self) -> u64 {
        self.published
    }

    /// Root number `at` of the list, the oldest first.
    pub(crate) fn published(&self, at: u64) -> Result<Root> {
        assert!(at < self.published, "the footer counts it");
        let file = open(&*self.disk, LIST, self.engine)?;
        self.published_in(&*file, at)
    }

    fn published_in(&self, file: &dyn DiskFile, at: u64) -> Result<Root> {
        let offset = (HEADER_BYTES + PUBLISHED_BYTES * at as usize) as u64;
        let mut bytes = [0; PUBLISHED_BYTES];
        read(file, LIST, &mut bytes, offset)?;
        decode(&bytes).ok_or_else(|| damaged(LIST, offset, "the checksum of a root is wrong"))
    }

    /// What two sizes of the tree differ by, as it is kept apart from its files: the entries of the roots published
    /// between them, then the leaves, 32 bytes each. [`rebuild`] makes files of it.
    #[cfg(feature = "archive")]
    pub(crate) fn between(&self, from: Extent, to: Extent) -> Result<Vec<u8>> {
        let length = from.bytes_to(to).ok_or_else(|| damaged(LIST, 0, "it is asked for backwards"))?;
        let entries = (to.published - from.published) as usize * PUBLISHED_BYTES;
        let mut bytes = vec![0; usize::try_from(length).unwrap_or(usize::MAX)];
        let (list, hashes) = bytes.split_at_mut(entries);
        if !list.is_empty() {
            let offset = HEADER_BYTES as u64 + from.published * PUBLISHED_BYTES as u64;
            read(&*open(&*self.disk, LIST, self.engine)?, LIST, list, offset)?;
        }
        if !hashes.is_empty() {
            let offset = HEADER_BYTES as u64 + from.size * HASH_BYTES;
            read(&*open(&*self.disk, 0, self.engine)?, 0, hashes, offset)?;
        }
        Ok(bytes)
    }

    /// The number of the first root for which `is` holds, where it holds for all after it; the number of roots if there
    /// is none.
    pub(crate) fn first_published(&self, is: impl Fn(&Root) -> bool) -> Result<u64> {
        let (mut low, mut high) = (0, self.published);
        if high == 0 {
            return Ok(0);
        }
        let file = open(&*self.disk, LIST, self.engine)?;
        while low < high {
            let middle = low + (high - low) / 2;
            if is(&self.published_in(&*file, middle)?) {
                high = middle;
            } else {
                low = middle + 1;
            }
        }
        Ok(low)
    }

    /// Reads every hash and every root, and checks each against those below it and all against `edge`. Returns how many
    /// hashes there are.
    pub(crate) fn verify(&self, edge: &Edge) -> Result<u64> {
        if self.published == 0 {
            return Ok(0);
        }
        let list = open(&*self.disk, LIST, self.engine)?;
        let (mut seen, mut hashes) = (Edge::default(), 0);
        for at in 0..self.published {
            let root = self.published_in(&*list, at)?;
            if root.size < seen.size() || root.size > self.size {
                return Err(damaged(
                    LIST,
                    HEADER_BYTES as u64,
                    format!("root {at} is of an impossible size"),
                ));
            }
            hashes += self.grow(&mut seen, root.size)?;
            if seen.root() != root.hash {
                return Err(damaged(
                    0,
                    HEADER_BYTES as u64,
                    format!("the hashes do not lead to root {at}, which was published"),
                ));
            }
        }
        if seen != *edge {
            return Err(damaged(
                0,
                HEADER_BYTES as u64,
                "the hashes do not lead to the newest pack's footer",
            ));
        }
        Ok(hashes)
    }

    /// Grows a tree by what is stored, up to `size`, checking the levels above on the way.
    fn grow(&self, edge: &mut Edge, size: u64) -> Result<u64> {
        let mut uppers: Vec<(u8, u64, Hash)> = Vec::new();
        let mut bytes = vec![0; FIND_BYTES];
        let mut hashes = 0;
        while edge.size() < size {
            let count = (size - edge.size()).min(FIND_BYTES as u64 / HASH_BYTES);
            let bytes = &mut bytes[..(count * HASH_BYTES) as usize];
            let file = open(&*self.disk, 0, self.engine)?;
            read(&*file, 0, bytes, HEADER_BYTES as u64 + edge.size() * HASH_BYTES)?;
            for leaf in bytes.as_chunks::<32>().0 {
                let at = edge.size();
                edge.push(*leaf, |height, root| {
                    if height > 0 && height % HEIGHTS == 0 {
                        let level = u8::try_from(height / HEIGHTS).expect("there are few levels");
                        uppers.push((level, at >> height, *root));
                    }
                });
            }
            hashes += count;
            for (level, at, root) in uppers.drain(..) {
                let offset = HEADER_BYTES as u64 + at * HASH_BYTES;
                let mut found = [0; 32];
                read(&*open(&*self.disk, level, self.engine)?, level, &mut found, offset)?;
                if found != root {
                    return Err(damaged(level, offset, "a hash is not that of the hashes below it"));
                }
                hashes += 1;
            }
        }
        Ok(hashes)
    }

    /// The place of a leaf between two sizes of the tree, if it is there. Reads 32 bytes for every leaf between.
    pub(crate) fn find(&self, leaf: &Hash, start: u64, end: u64) -> Result<Option<u64>> {
        let end = end.min(self.size);
        let file = open(&*self.disk, 0, self.engine)?;
        let mut bytes = vec![0; FIND_BYTES];
        let mut at = start;
        while at < end {
            let count = (end - at).min(FIND_BYTES as u64 / HASH_BYTES);
            let bytes = &mut bytes[..(count * HASH_BYTES) as usize];
            read(&*file, 0, bytes, HEADER_BYTES as u64 + at * HASH_BYTES)?;
            let (hashes, _) = bytes.as_chunks::<32>();
            if let Some(found) = hashes.iter().position(|hash| hash == leaf) {
                return Ok(Some(at + found as u64));
            }
            at += count;
        }
        Ok(None)
    }
}

/// How much of the tree there is at one moment.
#[cfg(feature = "archive")]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Extent {
    /// Roots published.
    pub(crate) published: u64,
    /// Leaves.
    pub(crate) size: u64,
}

#[cfg(feature = "archive")]
impl Extent {
    /// The furthest on the way to `to` that so many bytes reach: leaves first, and the roots with the last of them.
    pub(crate) fn towards(self, to: Extent, bytes_max: u64) -> Extent {
        if self.bytes_to(to).is_none_or(|bytes| bytes <= bytes_max) {
            return to;
        }
        let leaves = (bytes_max / HASH_BYTES).min(to.size.saturating_sub(self.size));
        if leaves == 0 {
            return to;
        }
        Extent { published: self.published, size: self.size + leaves }
    }

    /// Bytes of what lies between this and a later one; `None` if it is not later.
    pub(crate) fn bytes_to(self, to: Extent) -> Option<u64> {
        let entries = to.published.checked_sub(self.published)?.checked_mul(PUBLISHED_BYTES as u64)?;
        entries.checked_add(to.size.checked_sub(self.size)?.checked_mul(HASH_BYTES)?)
    }
}

/// The files of the tree, made anew out of what [`Stored::between`] gave, piece after piece from the beginning. What they
/// hold beyond stays. Durable when each call returns.
#[cfg(feature = "archive")]
pub(crate) struct Rebuild {
    disk: Arc<dyn Disk>,
    engine: EngineId,
    edge: Edge,
    published: u64,
    settled: Settled,
}

#[cfg(feature = "archive")]
impl Rebuild {
    pub(crate) fn new(disk: Arc<dyn Disk>, engine: EngineId) -> Rebuild {
        Rebuild { disk, engine, edge: Edge::default(), published: 0, settled: Settled::default() }
    }

    /// Adds what lies between where it is and `to`.
    pub(crate) fn add(&mut self, to: Extent, bytes: &[u8]) -> Result<()> {
        let from = Extent { published: self.published, size: self.edge.size() };
        if from.bytes_to(to) != Some(bytes.len() as u64) {
            return Err(damaged(LIST, 0, "what was archived of it has another length than it says"));
        }
        let entries = (to.published - from.published) as usize * PUBLISHED_BYTES;
        let (list, leaves) = bytes.split_at(entries);
        let mut growth = Growth::new(&self.edge);
        leaves.as_chunks::<32>().0.iter().for_each(|leaf| growth.push(*leaf));
        growth.write_hashes(&self.disk, self.engine, &mut self.settled)?;
        let offset = HEADER_BYTES as u64 + from.published * PUBLISHED_BYTES as u64;
        append(&*self.disk, LIST, self.engine, offset, list, &mut self.settled)?;
        (self.edge, self.published) = (growth.edge, to.published);
        Ok(())
    }
}

/// A tree that grows by pieces of which only the bytes are known.
#[cfg(feature = "archive")]
#[derive(Clone, Debug, Default)]
pub(crate) struct Regrown {
    edge: Edge,
    published: u64,
    newest: Option<Root>,
}

#[cfg(feature = "archive")]
impl Regrown {
    pub(crate) fn edge(&self) -> &Edge {
        &self.edge
    }

    pub(crate) fn published(&self) -> u64 {
        self.published
    }

    /// The newest root.
    pub(crate) fn newest(&self) -> Option<Root> {
        self.newest
    }

    pub(crate) fn extent(&self) -> Extent {
        Extent { published: self.published, size: self.edge.size() }
    }

    /// The tree after a piece as [`Stored::between`] gives it; `None` if that does not follow. The piece begins with the
    /// entries of roots: a leaf is no such entry, because its checksum and its zeros would not be. Every root that is of
    /// a size which this piece passes must be the root of the tree at that size.
    pub(crate) fn with(&self, piece: &[u8]) -> Option<Regrown> {
        let mut next = self.clone();
        let (blocks, _) = piece.as_chunks::<PUBLISHED_BYTES>();
        let entries: Vec<Root> =
            blocks.iter().map_while(|block| decode(block).filter(|root| encode(root) == *block)).collect();
        let (leaves, rest) = piece[entries.len() * PUBLISHED_BYTES..].as_chunks::<{ HASH_BYTES as usize }>();
        let mut before = self.newest.map_or((0, 0), |root| (root.line, root.size));
        let mut due = entries.iter().peekable();
        let mut leaves = leaves.iter();
        loop {
            while let Some(root) = due.next_if(|root| root.size <= next.edge.size()) {
                let is_passed = root.size == next.edge.size();
                if (root.line, root.size) < before || is_passed && root.hash != next.edge.root() {
                    return None;
                }
                before = (root.line, root.size);
                (next.newest, next.published) = (Some(*root), next.published + 1);
            }
            let Some(leaf) = leaves.next() else { break };
            next.edge.push(*leaf, |_, _| ());
        }
        (rest.is_empty() && due.next().is_none()).then_some(next)
    }
}

/// Bytes read at once when a leaf is looked for.
const FIND_BYTES: usize = 64 << 10;

impl Subtrees for Stored {
    type Error = Error;

    fn root_of(&self, subtree: Subtree) -> Result<Hash> {
        assert!((subtree.at + 1) << subtree.height <= self.size, "the subtree is full");
        let level = subtree.height / HEIGHTS;
        let over = subtree.height - level * HEIGHTS;
        let level = u8::try_from(level).expect("there are few levels");
        let file = open(&*self.disk, level, self.engine)?;
        let mut bytes = vec![0; (HASH_BYTES << over) as usize];
        let offset = HEADER_BYTES as u64 + (subtree.at << over) * HASH_BYTES;
        read(&*file, level, &mut bytes, offset)?;
        let (hashes, _) = bytes.as_chunks::<32>();
        let mut hashes = hashes.to_vec();
        while hashes.len() > 1 {
            hashes = hashes.chunks_exact(2).map(|pair| node(&pair[0], &pair[1])).collect();
        }
        Ok(hashes[0])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proof::tree::{consistency_path, inclusion_path, is_consistent, root_of_inclusion};
    use lineal_wal::sim::SimDisk;

    const ENGINE: EngineId = EngineId([5; 16]);

    fn leaf(number: u64) -> Hash {
        *blake3::hash(&number.to_le_bytes()).as_bytes()
    }

    /// Grows a tree by so many leaves each time, as checkpoints do.
    fn grown(disk: &Arc<dyn Disk>, steps: &[u64]) -> (Edge, Vec<Hash>) {
        let mut edge = Edge::default();
        let mut roots = vec![edge.root()];
        let mut settled = Settled::default();
        for (published, step) in (0..).zip(steps) {
            let mut growth = Growth::new(&edge);
            for _ in 0..*step {
                growth.push(leaf(growth.edge.size()));
                roots.push(growth.edge.root());
            }
            edge = growth
                .write(disk, ENGINE, published, Lsn(published * 10), Micros(published), &mut settled)
                .unwrap();
        }
        (edge, roots)
    }

    #[test]
    fn what_was_written_proves_what_memory_knows() {
        let disk: Arc<dyn Disk> = Arc::new(SimDisk::new());
        disk.create_dir("").unwrap();
        let steps = [1, 255, 1, 600, 65_536, 3];
        let (edge, roots) = grown(&disk, &steps);
        let stored = Stored::new(Arc::clone(&disk), ENGINE, edge.size(), steps.len() as u64);
        let size = edge.size();
        for index in [0, 1, 255, 256, 300, 856, 857, 65_000, size - 1] {
            let path = inclusion_path(&stored, index, size).unwrap();
            assert_eq!(root_of_inclusion(&leaf(index), index, size, &path), Some(edge.root()));
            assert_eq!(stored.find(&leaf(index), 0, size).unwrap(), Some(index));
        }
        for old in [1, 256, 257, 857, size] {
            let path = consistency_path(&stored, old, size).unwrap();
            assert!(is_consistent(old, &roots[old as usize], size, &edge.root(), &path));
        }
        assert_eq!(stored.first_published(|root| root.line >= 25).unwrap(), 3);
        assert_eq!(stored.first_published(|root| root.line >= 1_000).unwrap(), 6);
        assert_eq!(stored.published(5).unwrap().hash, edge.root());
        assert_eq!(stored.verify(&edge).unwrap(), size + size / 256 + size / 65_536);
        for (path, at) in
            [("roots/level-0", 700), ("roots/level-1", 64 + 40), ("roots/list", 64 + 64 * 3 + 20)]
        {
            let file = disk.open(path, OpenMode::ReadWrite).unwrap();
            let mut byte = [0];
            file.read_exact_at(&mut byte, at).unwrap();
            file.write_all_at(&[byte[0] ^ 4], at).unwrap();
            assert!(matches!(stored.verify(&edge), Err(Error::Damaged { .. })), "{path}");
            file.write_all_at(&byte, at).unwrap();
        }
        stored.verify(&edge).unwrap();
    }

    #[cfg(feature = "archive")]
    #[test]
    fn files_are_made_anew_out_of_what_lies_between_sizes() {
        let disk: Arc<dyn Disk> = Arc::new(SimDisk::new());
        disk.create_dir("").unwrap();
        let steps = [1, 255, 1, 600, 65_536, 3];
        let (edge, _) = grown(&disk, &steps);
        let stored = Stored::new(Arc::clone(&disk), ENGINE, edge.size(), steps.len() as u64);
        let to = [
            Extent { published: 2, size: 256 },
            Extent { published: 5, size: 66_393 },
            Extent { published: 6, size: edge.size() },
        ];
        let other: Arc<dyn Disk> = Arc::new(SimDisk::new());
        other.create_dir("").unwrap();
        let mut rebuild = Rebuild::new(Arc::clone(&other), ENGINE);
        let mut from = Extent::default();
        for to in to {
            let bytes = stored.between(from, to).unwrap();
            assert!(matches!(rebuild.add(to, &bytes[1..]), Err(Error::Damaged { .. })));
            rebuild.add(to, &bytes).unwrap();
            from = to;
        }
        let again = Stored::new(other, ENGINE, edge.size(), steps.len() as u64);
        assert_eq!(again.verify(&edge).unwrap(), stored.verify(&edge).unwrap());
    }

    #[test]
    fn growth_that_a_crash_took_back_is_overwritten() {
        let disk: Arc<dyn Disk> = Arc::new(SimDisk::new());
        disk.create_dir("").unwrap();
        let (edge, _) = grown(&disk, &[300]);
        let mut lost = Growth::new(&edge);
        (0..700).for_each(|number| lost.push(leaf(1_000_000 + number)));
        lost.write(&disk, ENGINE, 1, Lsn(10), Micros(1), &mut Settled::default()).unwrap();
        let mut kept = Growth::new(&edge);
        (300..520).for_each(|number| kept.push(leaf(number)));
        let edge = kept.write(&disk, ENGINE, 1, Lsn(11), Micros(2), &mut Settled::default()).unwrap();
        let stored = Stored::new(Arc::clone(&disk), ENGINE, edge.size(), 2);
        for index in [299, 300, 511, 512, 519] {
            let path = inclusion_path(&stored, index, 520).unwrap();
            assert_eq!(root_of_inclusion(&leaf(index), index, 520, &path), Some(edge.root()));
        }
        assert_eq!(stored.published(1).unwrap().line, 11);
    }

    #[test]
    fn missing_short_foreign_and_newer_files_are_typed_errors() {
        let disk: Arc<dyn Disk> = Arc::new(SimDisk::new());
        disk.create_dir("").unwrap();
        let (edge, _) = grown(&disk, &[300]);
        let stored = Stored::new(Arc::clone(&disk), ENGINE, edge.size(), 1);
        let foreign = Stored::new(Arc::clone(&disk), EngineId([6; 16]), edge.size(), 1);
        assert!(matches!(foreign.published(0), Err(Error::Damaged { .. })));
        let file = disk.open("roots/level-0", OpenMode::ReadWrite).unwrap();
        file.set_len(HEADER_BYTES as u64 + 40).unwrap();
        assert!(matches!(inclusion_path(&stored, 299, 300), Err(Error::Damaged { .. })));
        let mut newer = header(0, ENGINE);
        newer[8] = 2;
        let crc = crc32fast::hash(&newer[..60]);
        newer[60..].copy_from_slice(&crc.to_le_bytes());
        file.write_all_at(&newer, 0).unwrap();
        assert!(matches!(inclusion_path(&stored, 0, 300), Err(Error::NewerVersion { .. })));
        disk.remove("roots/list").unwrap();
        assert!(matches!(stored.published(0), Err(Error::Damaged { .. })));
    }
}
