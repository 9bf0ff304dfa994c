//! A consistent view of the catalog, and the lookups in it.
//!
//! Every lookup asks the table (one search) and those packs that are not merged into it (filter,
//! then their own index), and takes the entry of the higher key, for equal keys that of the higher
//! pack. If the table turns out to be damaged, the packs answer alone.

use std::fmt;

use lineal_snapshot::{
    EntryKey, EntryValue, Kind, Pack, PackNumber, Part, Place, encode_key, kind_prefix, leaf_sub_key,
    prefix_end, run_sub_key, sub_key_prefix,
};
use lineal_wal::{NamespaceId, OBJECT_KEY_BYTES, ObjectKey, Seq};

use super::{
    CatalogError,
    cursor::Merged,
    packs::Packs,
    table::{Row, View},
};
use crate::sync::Arc;

/// The catalog at one moment: the packs that were live, and the rows of the merged ones. Cheap to
/// clone; as long as it lives, so do the packs that it names, also after they are unlisted.
#[derive(Clone)]
pub(crate) struct Snapshot {
    pub(super) packs: Arc<Packs>,
    pub(super) view: Option<Arc<View>>,
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Snapshot").field("packs", &self.packs.len()).finish_non_exhaustive()
    }
}

/// An entry that was found, and the pack to read it from.
#[derive(Clone, Debug)]
pub(crate) struct Located {
    /// The entry.
    pub(crate) key: EntryKey,
    /// Where its part is.
    pub(crate) place: Place,
    /// The pack that holds it.
    pub(crate) pack: Arc<Pack>,
}

/// Consecutive commits of one object: a run with an entry of its own, or all runs that follow a head.
#[derive(Clone, Debug)]
pub(crate) struct RunRef {
    /// The first commit in it.
    pub(crate) first: Seq,
    /// The last commit in it.
    pub(crate) last: Seq,
    /// The run's entry, or that of the head which the runs follow.
    pub(crate) entry: Located,
}

impl RunRef {
    /// Reads the runs, oldest first. A run's own key is in its part.
    ///
    /// # Errors
    ///
    /// [`CatalogError::Pack`].
    pub(crate) fn read(&self) -> Result<Vec<Part>, CatalogError> {
        let Located { key, place, pack } = &self.entry;
        let (own, followers) = pack.read_with_followers(key, place)?;
        let mut runs = Vec::with_capacity(1 + followers.len());
        if own.kind == Kind::Run {
            runs.push(own);
        }
        runs.extend(followers.into_iter().filter(|part| part.kind == Kind::Run));
        Ok(runs)
    }
}

impl Snapshot {
    /// The newest head of an object.
    ///
    /// # Errors
    ///
    /// [`CatalogError::Pack`] if a pack that may hold it is damaged.
    #[cfg(test)]
    pub(crate) fn newest_head(&self, object: &ObjectKey) -> Result<Option<Located>, CatalogError> {
        self.newest_head_at(object, Seq(u64::MAX))
    }

    /// The newest head of an object that covers nothing after `at`.
    ///
    /// # Errors
    ///
    /// [`CatalogError::Pack`] if a pack that may hold it is damaged.
    pub(crate) fn newest_head_at(
        &self,
        object: &ObjectKey,
        at: Seq,
    ) -> Result<Option<Located>, CatalogError> {
        let from = entry_key(object, Kind::Head, &[], Seq(0));
        let through = entry_key(object, Kind::Head, &[], at);
        self.last(object, &from, &through)?.map(|row| self.locate(row)).transpose().map(Option::flatten)
    }

    /// The delta leaf of an object that was written at `seq`.
    ///
    /// # Errors
    ///
    /// [`CatalogError::Pack`] if a pack that may hold it is damaged.
    pub(crate) fn delta(&self, object: &ObjectKey, seq: Seq) -> Result<Option<Located>, CatalogError> {
        let key = entry_key(object, Kind::Delta, &[], seq);
        self.last(object, &key, &key)?.map(|row| self.locate(row)).transpose().map(Option::flatten)
    }

    /// Everything that holds commits of `object` from `from` to `through`, both included, by first
    /// seq. Each of them is consecutive in itself, none lies inside another, and what a pack holds
    /// twice is named once; whether they leave a gap is for the caller to see.
    ///
    /// # Errors
    ///
    /// [`CatalogError::Pack`] if a pack that may hold one is damaged.
    pub(crate) fn runs(
        &self,
        object: &ObjectKey,
        from: Seq,
        through: Seq,
    ) -> Result<Vec<RunRef>, CatalogError> {
        let mut runs = Vec::new();
        if from > through {
            return Ok(runs);
        }
        // Runs with entries of their own, from the last that begins in the range back to the first
        // that ends before it.
        let lowest = kind_prefix(object, Kind::Run);
        let mut bound = entry_key(object, Kind::Run, &run_sub_key(through), Seq(u64::MAX));
        while let Some(row) = self.last(object, &lowest, &bound)? {
            let key = decode_key(&row)?;
            bound = sub_key_prefix(object, Kind::Run, &key.sub_key);
            let Some(entry) = self.locate(row)? else { continue };
            let first = run_first(&entry)?;
            let last = entry.key.seq;
            if last < from {
                break;
            }
            runs.push(RunRef { first, last, entry });
        }
        runs.reverse();
        if let Some((first, last)) = uncovered(&runs, from, through) {
            self.runs_behind_heads(object, first, last, &mut runs)?;
        }
        runs.sort_by_key(|run| (run.first, std::cmp::Reverse(run.last)));
        let mut covered = Seq(0);
        runs.retain(|run| {
            let more = run.last > covered;
            covered = covered.max(run.last);
            more
        });
        Ok(runs)
    }

    /// Adds the runs that stand behind heads and hold commits from `first` to `last`.
    fn runs_behind_heads(
        &self,
        object: &ObjectKey,
        first: Seq,
        last: Seq,
        runs: &mut Vec<RunRef>,
    ) -> Result<(), CatalogError> {
        let mut heads = self.merged_of(object, &entry_key(object, Kind::Head, &[], first))?;
        let prefix = kind_prefix(object, Kind::Head);
        while heads.peek().is_some_and(|key| key.starts_with(&prefix)) {
            let Some(row) = heads.next()? else { break };
            let Some(entry) = self.locate(row)? else { continue };
            if entry.place.follow_count == 0 {
                continue;
            }
            let run = RunRef { first: entry.place.follow_first_seq, last: entry.key.seq, entry };
            let (behind, enough) = (run.first > last, run.last >= last);
            if !behind {
                runs.push(run);
            }
            if behind || enough {
                break;
            }
        }
        Ok(())
    }

    /// The leaf that answers for `key` at version `at`, within the leaves of `era`: the greatest
    /// fence ≤ `key` whose newest version ≤ `at` has not ended. `None`: no leaf answers.
    ///
    /// # Errors
    ///
    /// [`CatalogError::Pack`] if a pack that may hold it is damaged.
    pub(crate) fn leaf(
        &self,
        object: &ObjectKey,
        era: Seq,
        key: &[u8],
        at: Seq,
    ) -> Result<Option<Located>, CatalogError> {
        let start = entry_key(object, Kind::Leaf, &leaf_sub_key(era, key), at);
        self.leaf_down_from(object, era, start, at)
    }

    /// The leaf that answers directly below `fence` at version `at`, for scans that go backwards.
    ///
    /// # Errors
    ///
    /// As [`Snapshot::leaf`].
    pub(crate) fn leaf_before(
        &self,
        object: &ObjectKey,
        era: Seq,
        fence: &[u8],
        at: Seq,
    ) -> Result<Option<Located>, CatalogError> {
        let start = sub_key_prefix(object, Kind::Leaf, &leaf_sub_key(era, fence));
        self.leaf_down_from(object, era, start, at)
    }

    fn leaf_down_from(
        &self,
        object: &ObjectKey,
        era: Seq,
        mut bound: Vec<u8>,
        at: Seq,
    ) -> Result<Option<Located>, CatalogError> {
        let lowest = sub_key_prefix(object, Kind::Leaf, &leaf_sub_key(era, &[]));
        while let Some(row) = self.last(object, &lowest, &bound)? {
            let key = decode_key(&row)?;
            if key.seq > at {
                // Versions of this fence, all of them newer so far: look for one that is not.
                bound = entry_key(object, Kind::Leaf, &key.sub_key, at);
                continue;
            }
            match row.value {
                EntryValue::Place(_) => {
                    if let Some(found) = self.locate(row)? {
                        return Ok(Some(found));
                    }
                    bound = sub_key_prefix(object, Kind::Leaf, &key.sub_key);
                }
                EntryValue::End => bound = sub_key_prefix(object, Kind::Leaf, &key.sub_key),
            }
        }
        Ok(None)
    }

    /// The leaves of `era` that answer at version `at`, by fence. Fetched as they are asked for.
    ///
    /// # Errors
    ///
    /// [`CatalogError::Pack`] if a pack that may hold one is damaged; later ones come as items.
    pub(crate) fn leaves(&self, object: &ObjectKey, era: Seq, at: Seq) -> Result<Leaves, CatalogError> {
        // The fence's own bytes follow the era, so the lowest key of the era is the empty fence's.
        let from = sub_key_prefix(object, Kind::Leaf, &leaf_sub_key(era, &[]));
        Ok(Leaves {
            merged: self.merged_of(object, &from)?,
            snapshot: self.clone(),
            object: *object,
            era,
            at,
            failed: false,
        })
    }

    /// The fence of the first leaf of `era` that begins at `from` or behind it, at version `at`.
    ///
    /// # Errors
    ///
    /// As [`Snapshot::leaf`].
    pub(crate) fn next_fence(
        &self,
        object: &ObjectKey,
        era: Seq,
        from: &[u8],
        at: Seq,
    ) -> Result<Option<Vec<u8>>, CatalogError> {
        let from = sub_key_prefix(object, Kind::Leaf, &leaf_sub_key(era, from));
        let mut leaves = Leaves {
            merged: self.merged_of(object, &from)?,
            snapshot: self.clone(),
            object: *object,
            era,
            at,
            failed: false,
        };
        let next = leaves.next().transpose()?;
        Ok(next.map(|located| located.key.sub_key[era.0.to_be_bytes().len()..].to_vec()))
    }

    /// The newest head of every object of a namespace behind `after`, in key order. Fetched as they
    /// are asked for, so that listing a part of millions costs that part.
    ///
    /// # Errors
    ///
    /// [`CatalogError::Pack`] if a pack is damaged; later ones come as items.
    pub(crate) fn heads(
        &self,
        namespace: NamespaceId,
        after: Option<ObjectKey>,
    ) -> Result<Heads, CatalogError> {
        let from = match after {
            Some(object) if object.namespace >= namespace => prefix_end(&object.to_bytes()),
            _ => Some(namespace.0.to_be_bytes().to_vec()),
        };
        let merged = match from {
            Some(from) => Some(self.merged(&from)?),
            None => None,
        };
        Ok(Heads { merged, snapshot: self.clone(), namespace })
    }

    /// The entry of exactly this key, from the pack that wins.
    pub(super) fn entry(&self, object: &ObjectKey, key: &[u8]) -> Result<Option<Row>, CatalogError> {
        self.last(object, key, key)
    }

    /// All entries ≥ `from`.
    pub(super) fn merged(&self, from: &[u8]) -> Result<Merged, CatalogError> {
        Merged::new(Arc::clone(&self.packs), self.view.clone(), from)
    }

    /// The entries ≥ `from` of one object; what comes behind them is not complete.
    fn merged_of(&self, object: &ObjectKey, from: &[u8]) -> Result<Merged, CatalogError> {
        Merged::of_object(Arc::clone(&self.packs), self.view.clone(), from, *object)
    }

    /// The last entry of `object` in `from ..= through`.
    fn last(&self, object: &ObjectKey, from: &[u8], through: &[u8]) -> Result<Option<Row>, CatalogError> {
        let keeps = |number: PackNumber| self.packs.keeps(number);
        let mut best = None;
        let mut table = false;
        if let Some(view) = &self.view {
            let found = if from == through {
                view.get(from).map(|row| row.filter(|row| keeps(row.pack)))
            } else {
                view.last(from, through, &keeps)
            };
            // A damaged table has been marked; the packs that it stood for answer themselves.
            if let Ok(row) = found {
                table = true;
                best = row;
            }
        }
        for member in self.packs.iter().rev().filter(|member| !(table && member.merged)) {
            if !member.pack.may_contain(object)? {
                continue;
            }
            let Some((key, value)) = member.pack.seek_back(through)? else { continue };
            let number = member.live.number;
            let wins = key.as_slice() >= from
                && best.as_ref().is_none_or(|known| (&key, number) > (&known.key, known.pack));
            if wins {
                best = Some(Row { key, value, pack: number });
            }
        }
        Ok(best)
    }

    /// Where a row leads; `None` for the end of a fence.
    fn locate(&self, row: Row) -> Result<Option<Located>, CatalogError> {
        let EntryValue::Place(place) = row.value else { return Ok(None) };
        let key = EntryKey::decode(&row.key).map_err(|error| bad_key(row.pack, &error))?;
        let member = self.packs.get(row.pack).expect("lookups keep only rows of packs that are live");
        Ok(Some(Located { key, place, pack: Arc::clone(&member.pack) }))
    }
}

/// Iterator of [`Snapshot::leaves`].
pub(crate) struct Leaves {
    merged: Merged,
    snapshot: Snapshot,
    object: ObjectKey,
    era: Seq,
    at: Seq,
    failed: bool,
}

impl Leaves {
    fn advance(&mut self) -> Result<Option<Located>, CatalogError> {
        let kind = kind_prefix(&self.object, Kind::Leaf);
        while self.merged.peek().is_some_and(|key| key.starts_with(&kind)) {
            let Some(first) = self.merged.next()? else { break };
            let key = decode_key(&first)?;
            if !key.sub_key.starts_with(&self.era.0.to_be_bytes()) {
                break;
            }
            let fence = sub_key_prefix(&self.object, Kind::Leaf, &key.sub_key);
            let mut newest = (key.seq <= self.at).then_some(first);
            while self.merged.peek().is_some_and(|key| key.starts_with(&fence)) {
                let Some(row) = self.merged.next()? else { break };
                if decode_key(&row)?.seq <= self.at {
                    newest = Some(row);
                }
            }
            if let Some(found) = newest.map(|row| self.snapshot.locate(row)).transpose()?.flatten() {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }
}

impl Iterator for Leaves {
    type Item = Result<Located, CatalogError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let next = self.advance();
        self.failed = next.is_err();
        next.transpose()
    }
}

/// Iterator of [`Snapshot::heads`].
pub(crate) struct Heads {
    /// Empty when there is nothing more.
    merged: Option<Merged>,
    snapshot: Snapshot,
    namespace: NamespaceId,
}

impl Heads {
    fn advance(merged: &mut Merged, namespace: NamespaceId) -> Result<Option<Row>, CatalogError> {
        let prefix = namespace.0.to_be_bytes();
        while let Some(key) = merged.peek() {
            if !key.starts_with(&prefix) || key.len() <= OBJECT_KEY_BYTES {
                return Ok(None);
            }
            let object: [u8; OBJECT_KEY_BYTES] =
                key[..OBJECT_KEY_BYTES].try_into().expect("the length was checked just now");
            let heads = kind_prefix(&ObjectKey::from_bytes(&object), Kind::Head);
            let mut newest = None;
            while merged.peek().is_some_and(|key| key.starts_with(&heads)) {
                newest = merged.next()?;
            }
            match prefix_end(&object) {
                Some(next) => merged.skip_to(&next)?,
                None => while merged.next()?.is_some() {},
            }
            if newest.is_some() {
                return Ok(newest);
            }
        }
        Ok(None)
    }
}

impl Iterator for Heads {
    type Item = Result<Located, CatalogError>;

    fn next(&mut self) -> Option<Self::Item> {
        let merged = self.merged.as_mut()?;
        let found = Heads::advance(merged, self.namespace).and_then(|row| match row {
            Some(row) => self.snapshot.locate(row),
            None => Ok(None),
        });
        if !matches!(found, Ok(Some(_))) {
            self.merged = None;
        }
        found.transpose()
    }
}

/// The first and the last commit from `from` to `through` that none of `runs`, which ascend, holds.
fn uncovered(runs: &[RunRef], from: Seq, through: Seq) -> Option<(Seq, Seq)> {
    let mut gaps: Option<(Seq, Seq)> = None;
    let mut next = from;
    for run in runs {
        if run.first > next {
            let last = Seq(run.first.0 - 1).min(through);
            gaps = Some((gaps.map_or(next, |(first, _)| first), last));
        }
        next = next.max(Seq(run.last.0 + 1));
    }
    if next <= through {
        gaps = Some((gaps.map_or(next, |(first, _)| first), through));
    }
    gaps
}

/// The first seq of a run that has an entry of its own.
fn run_first(run: &Located) -> Result<Seq, CatalogError> {
    match run.key.sub_key.as_slice().try_into() {
        Ok(bytes) => Ok(Seq(u64::from_be_bytes(bytes))),
        Err(_) => Err(bad_key(run.place.pack, &"the sub-key of a run has 8 bytes")),
    }
}

fn entry_key(object: &ObjectKey, kind: Kind, sub_key: &[u8], seq: Seq) -> Vec<u8> {
    let mut key = Vec::with_capacity(OBJECT_KEY_BYTES + 11 + sub_key.len());
    encode_key(&mut key, object, kind, sub_key, seq);
    key
}

fn decode_key(row: &Row) -> Result<EntryKey, CatalogError> {
    EntryKey::decode(&row.key).map_err(|error| bad_key(row.pack, &error))
}

fn bad_key(pack: PackNumber, reason: &dyn fmt::Display) -> CatalogError {
    CatalogError::CatalogDamaged {
        path: pack.path(),
        offset: 0,
        reason: format!("the key of an entry does not decode: {reason}"),
    }
}
