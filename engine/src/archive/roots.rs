//! The tree of roots in the archive: few parts that ascend, whatever the number of uploads.
//!
//! Upload *u* makes one part, which holds everything since upload *u* minus the lowest bit of *u*, as in a Fenwick tree:
//! the tree after upload 7 is the parts 4, 6, 7, and upload 8 makes one of everything. So there are as many parts as *u*
//! has bits set, and a leaf is uploaded once for every doubling; parts that are large enough stay what they are. A part is an object of its own, named by its content:
//! the entries of the roots that were published, then the leaves, as `proof/files.rs` has them; what lies above the
//! leaves is computed from them.

use std::time::{Duration, Instant};

use lineal_wal::{Disk, EngineId};

use super::options::Connection;
use crate::{
    Error, ErrorKind, Result,
    engine::summary::Summary,
    proof::{Extent, Rebuild, Regrown, Root, Stored},
    sync::{Arc, Condvar, Mutex},
};

/// Most parts. Source: a decision; of the largest size they hold the heads of a billion checkpointed objects.
pub(super) const PARTS_MAX: usize = 4_096;
/// Largest part, in bytes. Source: a decision; it is held in memory.
const PART_BYTES_MAX: u64 = 8 << 20;

/// A part of the tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    /// Which upload made it, from 1.
    pub(crate) upload: u64,
    /// Where it ends; it begins where the part before it ends.
    pub(crate) to: Extent,
    /// BLAKE3 of it.
    pub(crate) hash: [u8; 32],
}

impl Part {
    /// Its key.
    pub(super) fn key(&self, engine: EngineId) -> String {
        format!("{}/{:016x}-{}", folder(engine), self.upload, blake3::Hash::from(self.hash).to_hex())
    }
}

/// The folder of all parts.
pub(super) fn folder(engine: EngineId) -> String {
    format!("{engine}/roots")
}

/// The parts after the next upload, which brings the tree to `to`, and what the newest ones hold.
///
/// What is merged stays below the largest part; what one upload adds beyond that becomes several.
pub(super) fn next(mut parts: Vec<Part>, to: Extent, stored: &Stored) -> Result<(Vec<Part>, Vec<Vec<u8>>)> {
    let upload = parts.last().map_or(0, |newest| newest.upload) + 1;
    let after = upload & (upload - 1);
    while let [before @ .., last] = &parts[..] {
        let from = before.last().map_or(Extent::default(), |before| before.to);
        if last.upload <= after || from.bytes_to(to).is_none_or(|bytes| bytes > PART_BYTES_MAX) {
            break;
        }
        parts.pop();
    }
    let mut from = parts.last().map_or(Extent::default(), |before| before.to);
    let mut new = Vec::new();
    loop {
        let end = from.towards(to, PART_BYTES_MAX);
        let bytes = stored.between(from, end)?;
        parts.push(Part { upload, to: end, hash: *blake3::hash(&bytes).as_bytes() });
        new.push(bytes);
        if end == to {
            return Ok((parts, new));
        }
        from = end;
    }
}

/// Makes the files of the tree out of its parts. Durable when it returns.
pub(super) fn fetch(
    connection: &Connection,
    engine: EngineId,
    parts: &[Part],
    disk: &Arc<dyn Disk>,
) -> Result<()> {
    let mut rebuild = Rebuild::new(Arc::clone(disk), engine);
    let mut from = Extent::default();
    for part in parts {
        let Some(length) = from.bytes_to(part.to) else { break };
        let (client, key, hash) = (connection.client.clone(), part.key(engine), part.hash.into());
        let bytes = connection.runtime.run(async move { client.get_verified(&key, length, &hash).await })?;
        rebuild.add(part.to, &bytes)?;
        from = part.to;
    }
    Ok(())
}

/// What is left of the tree in a store where nothing names its parts.
pub(super) enum Recovered {
    /// No root has been published.
    Nothing,
    /// All of it.
    Whole { root: Root, parts: Vec<Part> },
    /// Not all of it.
    Lost,
}

/// Most parts that are read to find those that lead to a tree. Source: a decision; the right one is nearly always the
/// largest that is left, so a few for each are enough.
const TRIES_MAX: usize = 4 * PARTS_MAX;

/// Finds the parts of the tree that the summary counts: those whose leaves lead to its edge, with as many roots.
pub(super) fn recover(connection: &Connection, engine: EngineId, summary: &Summary) -> Result<Recovered> {
    if summary.published == 0 {
        return Ok(Recovered::Nothing);
    }
    let client = connection.client.clone();
    let listing = connection.runtime.run(async move { client.list(&folder(engine)).await })?;
    let mut found: Vec<FoundPart> =
        listing.keys.iter().filter_map(|(name, bytes)| FoundPart::of(name, *bytes)).collect();
    // The largest first: it is of the latest merge.
    found.sort_by_key(|part| (std::cmp::Reverse(part.bytes), std::cmp::Reverse(part.upload)));
    let mut search = Search { connection, engine, summary, found, tries: 0, parts: Vec::new() };
    let root = search.from(&Regrown::default())?;
    Ok(root.map_or(Recovered::Lost, |root| Recovered::Whole { root, parts: search.parts }))
}

/// A part of which only the name is known.
#[derive(Clone, Copy)]
struct FoundPart {
    upload: u64,
    hash: blake3::Hash,
    bytes: u64,
}

impl FoundPart {
    fn of(name: &str, bytes: u64) -> Option<FoundPart> {
        let (upload, hash) = name.split_once('-')?;
        let (upload, hash) = (u64::from_str_radix(upload, 16).ok()?, blake3::Hash::from_hex(hash).ok()?);
        Some(FoundPart { upload, hash, bytes })
    }
}

/// The way from nothing to the tree, one part after the other, and back where one leads nowhere.
struct Search<'a> {
    connection: &'a Connection,
    engine: EngineId,
    summary: &'a Summary,
    found: Vec<FoundPart>,
    tries: usize,
    /// The parts that led to here.
    parts: Vec<Part>,
}

impl Search<'_> {
    /// The newest root, if parts lead from this tree to the one that is wanted; they stand in `parts` then.
    fn from(&mut self, grown: &Regrown) -> Result<Option<Root>> {
        if (grown.published(), grown.edge()) == (self.summary.published, &self.summary.tree) {
            return Ok(grown.newest());
        }
        let to = Extent { published: self.summary.published, size: self.summary.tree.size() };
        let Some(left) = grown.extent().bytes_to(to) else { return Ok(None) };
        let after = self.parts.last().map_or(0, |part| part.upload);
        for at in 0..self.found.len() {
            let part = self.found[at];
            let fits = part.upload >= after && part.bytes <= left && part.bytes > 0;
            if !fits || self.tries == TRIES_MAX || self.parts.len() == PARTS_MAX {
                continue;
            }
            self.tries += 1;
            let (client, bytes, hash) = (self.connection.client.clone(), part.bytes, part.hash);
            let key = Part { upload: part.upload, to, hash: *hash.as_bytes() }.key(self.engine);
            let read =
                self.connection.runtime.run(async move { client.get_verified(&key, bytes, &hash).await });
            let bytes = match read {
                Ok(bytes) => bytes,
                Err(error) if Error::from(error.clone()).kind() == ErrorKind::Corrupt => continue,
                Err(error) => return Err(error.into()),
            };
            let Some(grown) = grown.with(&bytes) else { continue };
            self.parts.push(Part { upload: part.upload, to: grown.extent(), hash: *hash.as_bytes() });
            if let Some(root) = self.from(&grown)? {
                return Ok(Some(root));
            }
            self.parts.pop();
        }
        Ok(None)
    }
}

/// Whether the files of the tree are here: a directory that was attached gets them while it serves.
pub(super) struct Presence {
    /// `None` as long as nobody knows; then whether they came, or why they never will.
    state: Mutex<Option<Result<()>>>,
    changed: Condvar,
}

impl Presence {
    pub(super) fn new(is_here: bool) -> Arc<Presence> {
        Arc::new(Presence { state: Mutex::new(is_here.then_some(Ok(()))), changed: Condvar::new() })
    }

    pub(super) fn is_here(&self) -> bool {
        matches!(*self.state.lock(), Some(Ok(())))
    }

    pub(super) fn is_lost(&self) -> bool {
        matches!(*self.state.lock(), Some(Err(_)))
    }

    /// Waits until they are, for at most `limit`; says whether they are.
    ///
    /// # Errors
    /// Why they never will be.
    pub(super) fn wait(&self, limit: Duration) -> Result<bool> {
        let deadline = Instant::now().checked_add(limit);
        let mut state = self.state.lock();
        loop {
            match (&*state, deadline) {
                (Some(known), _) => return known.clone().map(|()| true),
                (None, Some(deadline)) if Instant::now() < deadline => {
                    let _ = self.changed.wait_until(&mut state, deadline);
                }
                (None, _) => return Ok(false),
            }
        }
    }

    /// They are here, or will never be.
    pub(super) fn settle(&self, outcome: Result<()>) {
        *self.state.lock() = Some(outcome);
        self.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_as_many_parts_as_the_number_of_uploads_has_bits() {
        let disk: Arc<dyn Disk> = Arc::new(lineal_wal::sim::SimDisk::new());
        let stored = Stored::new(disk, EngineId([1; 16]), 0, 0);
        let mut parts = Vec::new();
        for upload in 1..=40u64 {
            // Of nothing, so that no file is read.
            let (after, bytes) = next(parts, Extent::default(), &stored).unwrap();
            assert_eq!(bytes, [Vec::<u8>::new()]);
            parts = after;
            assert_eq!(parts.len(), upload.count_ones() as usize, "after upload {upload}");
            assert_eq!(parts.last().map(|part| part.upload), Some(upload));
        }
    }
}
