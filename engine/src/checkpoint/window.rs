//! The commits between two lines, sorted by object, in bounded memory: the log is read once to survey it, and
//! once more for each range of objects that fits. A record is verified once, when it is taken into its range: the
//! survey looks at keys and lengths only, and what it saw decides nothing but where ranges begin.

use std::collections::{BTreeSet, HashMap, HashSet};

use lineal_wal::{LogError, Lsn, Micros, NamespaceId, ObjectKey, Record, Seq};

use crate::{
    Error, Result,
    catalog::Snapshot,
    engine::EngineInner,
    lineage::{self, walk::Commit},
    object::{
        head::Hash,
        wake::{bad_body, newest_head},
    },
    transaction::body::Body,
};

/// Bodies that are held in memory at a time, in bytes.
///
/// Source: chosen; a checkpoint of the default size and of small commits reads the log four times, from the page
/// cache.
const RANGE_BYTES_MAX: u64 = 64 << 20;
/// What one part counts for beyond its body, in bytes.
const PART_BYTES: u64 = size_of::<Item>() as u64;
/// One key of so many is kept for choosing ranges.
const SAMPLE_EVERY: usize = 16;

/// What a survey of the log between two lines found.
pub(crate) struct Window {
    after: Lsn,
    line: Lsn,
    dropped: HashSet<NamespaceId>,
    /// Only these objects, if it is not all of them.
    only: Option<BTreeSet<ObjectKey>>,
    /// The first key of every range but the first, ascending.
    bounds: Vec<ObjectKey>,
    /// Positions of the records with several parts.
    shared: Vec<Lsn>,
}

struct Item {
    key: ObjectKey,
    seq: Seq,
    lsn: Lsn,
    time: Micros,
    kind: u8,
    flags: u8,
    start: usize,
    length: usize,
}

impl Window {
    /// Reads the log after `after` through `line`.
    pub(crate) fn survey(
        engine: &EngineInner,
        after: Lsn,
        line: Lsn,
        dropped: Vec<NamespaceId>,
        only: Option<BTreeSet<ObjectKey>>,
    ) -> Result<Window> {
        let is_wanted = |key: &ObjectKey| only.as_ref().is_none_or(|only| only.contains(key));
        let dropped: HashSet<NamespaceId> = dropped.into_iter().collect();
        let mut shared = Vec::new();
        let mut sample: Vec<ObjectKey> = Vec::new();
        let (mut bytes, mut count) = (0u64, 0usize);
        let mut look = |record: &Record<'_>| {
            let before = count;
            for part in record.parts().filter(|part| is_wanted(&part.object)) {
                bytes += part.body.len() as u64 + PART_BYTES;
                if count % SAMPLE_EVERY == 0 {
                    sample.push(part.object);
                }
                count += 1;
            }
            if record.part_count() > 1 && count > before {
                shared.push(record.lsn);
            }
            false
        };
        engine.log.scan_where(after, line, &mut look, &mut |_, _| Ok(()))?;
        let bounds = bounds(sample, bytes);
        Ok(Window { after, line, dropped, only, bounds, shared })
    }

    /// Calls `f` for every object with commits in the window, ascending by key, with its commits ascending by seq.
    pub(crate) fn for_each_object(
        &self,
        engine: &EngineInner,
        snapshot: &Snapshot,
        mut f: impl FnMut(ObjectKey, &[Commit<'_>]) -> Result<()>,
    ) -> Result<()> {
        let joint = self.joint_digests(engine, snapshot)?;
        let mut items: Vec<Item> = Vec::new();
        let mut bodies: Vec<u8> = Vec::new();
        for range in 0..=self.bounds.len() {
            self.load(engine, range, &mut items, &mut bodies)?;
            let mut commits: Vec<Commit<'_>> = Vec::new();
            for of_object in items.chunk_by(|a, b| a.key == b.key) {
                commits.clear();
                commits.extend(of_object.iter().map(|item| Commit {
                    seq: item.seq,
                    lsn: item.lsn,
                    time: item.time,
                    kind: item.kind,
                    flags: item.flags,
                    ops_digest: None,
                    joint: joint.get(&item.lsn).copied(),
                    body: &bodies[item.start..item.start + item.length],
                }));
                check_contiguous(of_object[0].key, &commits)?;
                f(of_object[0].key, &commits)?;
            }
        }
        Ok(())
    }

    fn load(
        &self,
        engine: &EngineInner,
        range: usize,
        items: &mut Vec<Item>,
        bodies: &mut Vec<u8>,
    ) -> Result<()> {
        items.clear();
        bodies.clear();
        let low = range.checked_sub(1).map(|at| self.bounds[at]);
        let high = self.bounds.get(range).copied();
        let inside = |key: ObjectKey| {
            low.is_none_or(|low| key >= low)
                && high.is_none_or(|high| key < high)
                && self.only.as_ref().is_none_or(|only| only.contains(&key))
        };
        let mut wanted = |record: &Record<'_>| record.parts().any(|part| inside(part.object));
        engine.log.scan_where(self.after, self.line, &mut wanted, &mut |record, _| {
            for part in record.parts() {
                let key = part.object;
                if !inside(key) || self.dropped.contains(&key.namespace) {
                    continue;
                }
                items.push(Item {
                    key,
                    seq: part.seq,
                    lsn: record.lsn,
                    time: record.time,
                    kind: part.kind,
                    flags: part.flags,
                    start: bodies.len(),
                    length: part.body.len(),
                });
                bodies.extend_from_slice(part.body);
            }
            Ok(())
        })?;
        items.sort_unstable_by_key(|item| (item.key, item.seq));
        Ok(())
    }

    /// The joint digest of every record with several parts, by its position.
    fn joint_digests(&self, engine: &EngineInner, snapshot: &Snapshot) -> Result<HashMap<Lsn, Hash>> {
        let mut digests = HashMap::new();
        if self.shared.is_empty() {
            return Ok(digests);
        }
        let mut salts: HashMap<ObjectKey, [u8; 16]> = HashMap::new();
        let mut failed = None;
        let wanted: HashSet<ObjectKey> = self.shared_objects(engine)?;
        let mut shared = self.shared.iter().peekable();
        engine.log.scan(self.after, self.line, &mut |record, _| {
            let mut parts = Vec::new();
            let is_shared = shared.next_if(|lsn| **lsn == record.lsn).is_some();
            for part in record.parts().filter(|part| is_shared || wanted.contains(&part.object)) {
                let body = Body::decode(part.flags, part.body).ok_or_else(|| unreadable(record.lsn))?;
                if let Some(first) = body.first {
                    salts.insert(part.object, first.salt);
                }
                if is_shared && failed.is_none() {
                    // What a dropped namespace held may be gone, its salts with it. The digest of a record is taken as
                    // given once it is packed, so any salt will do.
                    let is_dropped = self.dropped.contains(&part.object.namespace);
                    let salt = match salt_of(&mut salts, snapshot, part.object) {
                        Err(Error::Damaged { .. }) if is_dropped => Ok([0; 16]),
                        found => found,
                    };
                    match salt {
                        Ok(salt) => {
                            parts.push((part.object, part.seq, lineage::ops_digest(&salt, body.ops)));
                        }
                        Err(error) => failed = Some(error),
                    }
                }
            }
            if is_shared {
                digests.insert(record.lsn, lineage::joint_digest(&mut parts));
            }
            Ok(())
        })?;
        failed.map_or(Ok(digests), Err)
    }

    fn shared_objects(&self, engine: &EngineInner) -> Result<HashSet<ObjectKey>> {
        let mut objects = HashSet::new();
        let mut shared = self.shared.iter().peekable();
        let mut wanted = |record: &Record<'_>| shared.next_if(|lsn| **lsn == record.lsn).is_some();
        engine.log.scan_where(self.after, self.line, &mut wanted, &mut |record, _| {
            objects.extend(record.parts().map(|part| part.object));
            Ok(())
        })?;
        Ok(objects)
    }
}

/// The salt of an object whose first commit is not in the window.
fn salt_of(
    salts: &mut HashMap<ObjectKey, [u8; 16]>,
    snapshot: &Snapshot,
    key: ObjectKey,
) -> Result<[u8; 16]> {
    if let Some(salt) = salts.get(&key) {
        return Ok(*salt);
    }
    let salt = newest_head(snapshot, &key)?
        .and_then(|found| found.head.salt)
        .ok_or_else(|| no_head(key, "its salt is neither in the log nor in a pack"))?;
    salts.insert(key, salt);
    Ok(salt)
}

pub(crate) fn no_head(key: ObjectKey, reason: &str) -> Error {
    Error::Damaged {
        file: "packs".into(),
        offset: 0,
        object: Some(key.id.to_string()),
        reason: reason.to_owned(),
    }
}

fn unreadable(lsn: Lsn) -> LogError {
    LogError::stopped(format!(
        "the body of a commit in record {lsn} is not readable although its checksum is right"
    ))
}

fn check_contiguous(key: ObjectKey, commits: &[Commit<'_>]) -> Result<()> {
    match commits.windows(2).find(|pair| pair[1].seq.0 != pair[0].seq.0 + 1) {
        None => Ok(()),
        Some(pair) => Err(bad_body(&key, pair[1].seq)),
    }
}

/// Cuts the keys into ranges of about equal bytes, by a sample of them.
fn bounds(mut sample: Vec<ObjectKey>, bytes: u64) -> Vec<ObjectKey> {
    let ranges = usize::try_from(bytes.div_ceil(RANGE_BYTES_MAX)).unwrap_or(usize::MAX);
    if ranges <= 1 {
        return Vec::new();
    }
    sample.sort_unstable();
    let mut bounds: Vec<ObjectKey> =
        (1..ranges).filter_map(|range| sample.get(sample.len() * range / ranges).copied()).collect();
    bounds.dedup();
    bounds
}

#[cfg(test)]
mod tests {
    use super::*;
    use lineal_wal::ObjectId;

    #[test]
    fn ranges_are_cut_at_quantiles_of_the_sample() {
        let key = |byte: u8| ObjectKey { namespace: NamespaceId(1), id: ObjectId([byte; 16]) };
        assert!(bounds((0..100).map(key).collect(), RANGE_BYTES_MAX).is_empty());
        assert_eq!(bounds((0..100).rev().map(key).collect(), 2 * RANGE_BYTES_MAX), [key(50)]);
        assert_eq!(bounds(vec![key(1); 100], 3 * RANGE_BYTES_MAX), [key(1)]);
    }
}
