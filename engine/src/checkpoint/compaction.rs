//! Compaction: merges packs of about one size, puts each object's parts side by side, and drops what nothing needs.
//!
//! Parts are copied unchanged, but for runs that keep their headers alone. Dropped are: heads that a newer one supersedes and that are no versions of their own,
//! because their leaves hold less than they cover; everything up to an object's newest purge; and all parts of dropped
//! namespaces. All other versions are history and stay.

use std::{
    cell::{Ref, RefCell},
    collections::{BTreeMap, HashMap, HashSet},
    iter::Peekable,
    time::Instant,
};

use lineal_snapshot::{
    DecodeError, EntryKey, EntryValue, Kind, Pack, PackIter, PackKind, PackNumber, PartSpec, Place, Run,
    StoredPart, run_sub_key,
};
use lineal_wal::{
    Micros, NamespaceId, ObjectKey, Seq,
    planted::{self, Bug},
};

use super::{
    Footing, NewPack, headers,
    retire::{self, Past},
};
use crate::{
    Error, Result,
    catalog::{Floors, Snapshot},
    engine::{CheckpointState, EngineInner, holds, system},
    history::retention::Retention,
    object::{
        head::Head,
        resident::Resident,
        turns::turn_error,
        wake::{bad_body, newest_head},
    },
    sync::{Arc, atomic::Ordering},
    transaction::{
        body::{Body, Kind as CommitKind},
        ops::{Cut, CutBase, Op, Ops},
    },
};

/// Packs of one tier that are merged into one.
///
/// Source: chosen; a commit is then written about log8(store / pack) times more, and a lookup sees few packs.
const FAN_IN: usize = 8;
/// Packs above this size are left alone, in bytes, so that no merge holds the checkpoint up for long.
///
/// Source: chosen; a few seconds of sequential reading and writing.
pub(super) const PACK_BYTES_MAX: u64 = 1 << 30;
/// Sizes of one tier differ by at most this factor.
const TIER_FACTOR: u64 = 4;
const TIER_BYTES_MIN: u64 = 1 << 20;
/// Largest tail that is put behind its head, in bytes.
const FOLLOWERS_BYTES_MAX: u64 = 128 << 10;

/// Merges one set of packs if one is due. Returns whether it did.
///
/// By force all packs are merged, and history beyond the retention goes.
pub(crate) fn compact(
    engine: &Arc<EngineInner>,
    state: &CheckpointState,
    retire: Option<&Retire>,
) -> Result<bool> {
    let force = retire.is_some();
    let snapshot = engine.catalog.snapshot();
    let inputs = choose(engine.catalog.live(), force);
    if inputs.is_empty() {
        return Ok(false);
    }
    let span = tracing::info_span!("compact", packs = inputs.len());
    let _entered = span.enter();
    let dropped: HashSet<NamespaceId> = system::dropped(engine)?.into_iter().collect();
    let mut pack = NewPack::create(engine, PackKind::Compaction)?;
    let merge = Merge { snapshot: &snapshot, dropped: &dropped, retire };
    if let Err(error) = merge.run(&inputs, &mut pack) {
        pack.abandon();
        return Err(error);
    }
    // From here to the new list nothing can begin to need what was left out.
    let _shut = retire.map(|_| engine.retiring.shut());
    if retire.is_some_and(|retire| engine.retiring.needs(&retire.retired())) {
        tracing::info!("what was about to go is needed again, so it stays until the next time");
        pack.abandon();
        return Ok(false);
    }
    let removed: Vec<PackNumber> = inputs.iter().map(|input| input.footer().number).collect();
    let first_lsn = inputs.iter().map(|input| input.footer().first_lsn).min().unwrap_or_default();
    let last_lsn = inputs.iter().map(|input| input.footer().last_lsn).max().unwrap_or_default();
    let footing = Footing { first_lsn, last_lsn, line: engine.line(), meta: state.summary.encode() };
    let pack_bytes = pack.publish(engine, footing, &removed)?;
    engine.counters.compactions.fetch_add(1, Ordering::Relaxed);
    engine.counters.pack_bytes.fetch_add(pack_bytes, Ordering::Relaxed);
    tracing::info!(pack_bytes, inputs = removed.len(), "compacted");
    // By force everything goes into one pack at once.
    Ok(!force)
}

/// Which packs to merge now: a full tier, the smallest first; by force all of them.
fn choose(mut packs: Vec<Arc<Pack>>, force: bool) -> Vec<Arc<Pack>> {
    packs.sort_unstable_by_key(|pack| pack.footer().number);
    if force {
        return packs;
    }
    let tier = |pack: &Arc<Pack>| tier_of(pack.footer().file_bytes);
    let mut tiers: Vec<u32> = packs.iter().filter_map(tier).collect();
    tiers.sort_unstable();
    let full =
        tiers.chunk_by(|a, b| a == b).find(|of_tier| of_tier.len() >= FAN_IN).map(|of_tier| of_tier[0]);
    packs.retain(|pack| full.is_some() && tier(pack) == full);
    packs
}

fn tier_of(bytes: u64) -> Option<u32> {
    let tiers = (bytes / TIER_BYTES_MIN).max(1).ilog(TIER_FACTOR);
    (bytes <= PACK_BYTES_MAX).then_some(tiers)
}

pub(super) struct Merge<'a> {
    pub(super) snapshot: &'a Snapshot,
    pub(super) dropped: &'a HashSet<NamespaceId>,
    /// Set where all packs are merged: then history beyond the retention is left out.
    pub(super) retire: Option<&'a Retire>,
}

/// One entry, and the pack it is in.
pub(super) struct Found {
    key: EntryKey,
    value: EntryValue,
    pack: Arc<Pack>,
}

/// A part to copy, or the end of a fence.
struct Copy {
    key: EntryKey,
    place: Option<Place>,
    pack: Arc<Pack>,
    /// The part itself, where it stood behind a head and has no entry of its own.
    stored: Option<StoredPart>,
    /// The object's salt, of a run that is written without its ops.
    salt: Option<[u8; 16]>,
}

struct Input {
    entries: Peekable<PackIter>,
    pack: Arc<Pack>,
}

impl Merge<'_> {
    fn run(&self, inputs: &[Arc<Pack>], out: &mut NewPack) -> Result<()> {
        let mut inputs: Vec<Input> = inputs
            .iter()
            .map(|pack| Input { entries: pack.iter(&[]).peekable(), pack: Arc::clone(pack) })
            .collect();
        let mut entries: Vec<Found> = Vec::new();
        while let Some(object) = next_object(&mut inputs)? {
            entries.clear();
            for input in &mut inputs {
                take_object(input, object, &mut entries)?;
            }
            if !self.dropped.contains(&object.namespace) {
                self.merge_object(object, &entries, out)?;
            }
        }
        Ok(())
    }

    pub(super) fn merge_object(&self, object: ObjectKey, entries: &[Found], out: &mut NewPack) -> Result<()> {
        let newest = newest_head(self.snapshot, &object)?;
        let floor = newest.as_ref().map_or(Seq(0), |found| found.head.floor);
        let newest_seq = newest.as_ref().map_or(Seq(0), |found| found.head.seq);
        if let Some(retire) = self.retire.filter(|_| floor > Seq(0)) {
            retire.purged.borrow_mut().insert(object, floor);
        }
        let mut head: Option<Copy> = None;
        let mut versions: Vec<Copy> = Vec::new();
        let mut heads: BTreeMap<Seq, Head> = BTreeMap::new();
        let mut runs: Vec<Copy> = Vec::new();
        let mut others: Vec<Copy> = Vec::new();
        let mut anchored: Vec<u8> = Vec::new();
        for found in entries {
            match (&found.value, found.key.kind) {
                (EntryValue::Place(place), Kind::Head) => {
                    let mut parts = found.pack.stored(&found.key, place)?.into_iter();
                    let own = parts.next();
                    if found.key.seq == newest_seq {
                        head = Some(Copy::of(found, Some(place), own));
                    } else if found.key.seq > floor
                        && let Some(version) = version_of(found, own.as_ref())?
                    {
                        heads.insert(version.seq, version);
                        versions.push(Copy::of(found, Some(place), own));
                    }
                    runs.extend(parts.map(|part| Copy::follower(object, &found.pack, part)));
                }
                (EntryValue::Place(place), Kind::Run) => runs.push(Copy::of(found, Some(place), None)),
                (EntryValue::Place(place), _) => others.push(Copy::of(found, Some(place), None)),
                (EntryValue::End, _) => others.push(Copy::of(found, None, None)),
            }
        }
        runs.retain(|run| run.key.seq > floor || planted::on(Bug::PurgedRunsKept));
        others.retain(|other| other.key.seq > floor);
        dedup(&mut versions);
        dedup(&mut runs);
        dedup(&mut others);
        if planted::on(Bug::LeafDroppedEarly) {
            others.dedup_by(|newer, older| {
                let is_older = newer.key.sub_key == older.key.sub_key;
                if is_older {
                    std::mem::swap(newer, older);
                }
                is_older
            });
        }
        let mut newest = newest;
        if let (Some(retire), Some(found)) = (self.retire, &mut newest)
            && let Some(from) = retire.keep_from(object, heads, &found.head, &runs)?
        {
            versions.retain(|version| version.key.seq >= from.seq);
            found.head.headers =
                retire.forever.contains(&object.namespace).then(|| headers::begin(object, &found.head));
            match found.head.headers {
                Some(_) => {
                    let retired = runs.iter_mut().take_while(|run| run.key.seq <= from.seq);
                    retired.for_each(|run| run.salt = found.head.salt);
                }
                None => runs.retain(|run| run.key.seq > from.seq),
            }
            retain_read(&mut others, &from);
            found.head.anchor = Some(retire::anchor(&from));
            found.head.encode(&mut anchored);
        }
        let followers = match (&head, &newest) {
            (Some(_), Some(found)) => split_tail(&mut runs, &found.head),
            _ => Vec::new(),
        };
        for copy in versions {
            copy.write(out, false)?;
        }
        match head {
            Some(head) if !anchored.is_empty() => out.writer.part(&head.spec(false), &anchored)?,
            Some(head) => head.write(out, false)?,
            None => {}
        }
        for copy in followers {
            copy.write(out, true)?;
        }
        for copy in runs.into_iter().chain(others) {
            copy.write(out, false)?;
        }
        Ok(())
    }
}

/// The head that was found, if leaves hold all that it covers: a read of the past begins there.
fn version_of(found: &Found, stored: Option<&StoredPart>) -> Result<Option<Head>> {
    let bad = |reason: String| Error::Damaged {
        file: found.pack.path().to_owned(),
        offset: 0,
        object: Some(found.key.object.id.to_string()),
        reason: format!("the head of commit {} is not readable: {reason}", found.key.seq),
    };
    let Some(stored) = stored else { return Ok(None) };
    let payload = stored.payload().map_err(|error| bad(error.to_string()))?;
    let head = Head::decode(found.key.seq, &payload).map_err(|error| bad(error.0.to_owned()))?;
    Ok(Some(head).filter(is_version))
}

fn is_version(head: &Head) -> bool {
    head.tail_first > head.seq
}

/// Keeps of an object's leaves, deltas and ends, which are sorted, those that `version` or a later one reads.
fn retain_read(others: &mut Vec<Copy>, version: &Head) {
    let superseded: Vec<bool> = others
        .iter()
        .zip(others.iter().skip(1).map(Some).chain([None]))
        .map(|(entry, next)| {
            next.is_some_and(|next| {
                next.key.kind == entry.key.kind
                    && next.key.sub_key == entry.key.sub_key
                    && next.key.seq <= version.seq
            })
        })
        .collect();
    let mut superseded = superseded.into_iter();
    others.retain(|entry| {
        // The end of a fence hides what is older, and nothing is.
        let is_end = entry.place.is_none() && entry.stored.is_none() && entry.key.seq <= version.seq;
        let superseded = superseded.next().unwrap_or(false) || is_end;
        let is_delta = entry.key.kind == Kind::Delta;
        retire::is_read(version, &entry.key.sub_key, entry.key.seq, is_delta, superseded)
    });
}

/// What a merge of all packs leaves out of histories.
pub(super) struct Retire {
    running: Micros,
    retentions: HashMap<NamespaceId, Retention>,
    /// Namespaces whose headers stay without their ops.
    forever: HashSet<NamespaceId>,
    held: HashMap<ObjectKey, Vec<Seq>>,
    /// Objects whose leaves somebody in memory reads as they were before the last checkpoint: they wait for the next
    /// time.
    in_use: HashSet<ObjectKey>,
    /// The objects whose history was cut, and the version it begins with now.
    retired: RefCell<HashMap<ObjectKey, Seq>>,
    /// The objects that were purged, and the seq up to which nothing of them is left.
    purged: RefCell<Floors>,
}

impl Retire {
    pub(super) fn new(engine: &Arc<EngineInner>, running: Micros) -> Result<Retire> {
        Ok(Retire {
            running,
            retentions: system::retentions(engine)?,
            forever: system::lineages(engine)?,
            held: holds::all(engine)?,
            in_use: in_use(engine)?,
            retired: RefCell::default(),
            purged: RefCell::default(),
        })
    }

    /// The purged objects that the merge came by.
    pub(super) fn purged(&self) -> Ref<'_, Floors> {
        self.purged.borrow()
    }

    fn retired(&self) -> Ref<'_, HashMap<ObjectKey, Seq>> {
        self.retired.borrow()
    }

    /// The version that the object's history begins with from now on, if anything goes.
    fn keep_from(
        &self,
        object: ObjectKey,
        mut heads: BTreeMap<Seq, Head>,
        newest: &Head,
        runs: &[Copy],
    ) -> Result<Option<Head>> {
        if self.in_use.contains(&object) {
            return Ok(None);
        }
        let retention = self.retentions.get(&object.namespace).copied().unwrap_or_default();
        if is_version(newest) && newest.seq > newest.floor {
            heads.insert(newest.seq, newest.clone());
        }
        let versions: Vec<Head> = heads.into_values().collect();
        let sizes: Vec<(Seq, u64)> = runs.iter().map(|run| (run.key.seq, run.bytes())).collect();
        let mut held = self.held.get(&object).cloned().unwrap_or_default();
        let mut scanned = Seq(u64::MAX);
        loop {
            let past = Past { versions: &versions, newest, runs: &sizes, held: &held };
            let Some(from) = past.keep_from(&retention, self.running) else { return Ok(None) };
            // Restores among the commits that stay may read through to older ones, and only their runs say so.
            let more = runs.iter().filter(|run| run.key.seq > from.seq && run.key.seq < scanned);
            let mut bases = Vec::new();
            for run in more {
                run.bases(&mut bases)?;
            }
            if bases.iter().all(|base| *base >= from.seq) {
                self.retired.borrow_mut().insert(object, from.seq);
                return Ok(Some(from.clone()));
            }
            scanned = Seq(from.seq.0 + 1);
            held.extend(bases);
        }
    }
}

/// The objects whose older leaves are read from memory. Objects that read leaves lose their memory here where a pack
/// covers it, and are read again from the newest heads; a resident object reads leaves as of when it was woken.
///
/// # Errors
/// [`Error::Busy`] if somebody keeps an object's turn for long.
fn in_use(engine: &EngineInner) -> Result<HashSet<ObjectKey>> {
    let line = engine.line();
    let mut in_use = HashSet::new();
    let mut look = |resident: &mut Option<Box<Resident>>| {
        let reads_leaves = resident.as_ref().is_some_and(|resident| resident.below.is_some());
        let covered = resident.as_ref().is_some_and(|resident| resident.last_lsn <= line);
        if reads_leaves && covered {
            engine.pressure.charged(resident.take().map_or(0, |resident| resident.charged), 0);
        }
        let mut below = resident.as_ref().and_then(|resident| resident.below.as_deref());
        while let Some(read) = below {
            in_use.insert(read.key);
            below = read.under.as_ref().and_then(|under| {
                in_use.insert(under.version.key);
                under.version.state.below.as_deref()
            });
        }
    };
    for shard in 0..engine.table().shard_count() {
        for cell in engine.table().shard_cells(shard) {
            if cell.turns.with_idle(&mut look).is_some() {
                continue;
            }
            let deadline = Instant::now() + engine.options.wait_max;
            let turn = cell.turns.acquire(Some(deadline));
            let mut resident = turn.map_err(|error| turn_error(error, engine))?;
            look(&mut resident);
            cell.turns.release(resident);
        }
    }
    Ok(in_use)
}

/// The smallest object that any input stands at.
fn next_object(inputs: &mut [Input]) -> Result<Option<ObjectKey>> {
    let mut next: Option<ObjectKey> = None;
    for input in inputs {
        let object = match input.entries.peek() {
            None => continue,
            Some(Ok((key, _))) => decode_key(&input.pack, key)?.object,
            Some(Err(error)) => return Err(error.clone().into()),
        };
        next = Some(next.map_or(object, |next| next.min(object)));
    }
    Ok(next)
}

fn decode_key(pack: &Pack, key: &[u8]) -> Result<EntryKey> {
    EntryKey::decode(key).map_err(|bad| Error::Damaged {
        file: pack.path().to_owned(),
        offset: 0,
        object: None,
        reason: format!("a key of its index is not readable although its checksum is right: {bad}"),
    })
}

fn take_object(input: &mut Input, object: ObjectKey, entries: &mut Vec<Found>) -> Result<()> {
    let prefix = object.to_bytes();
    while let Some(entry) =
        input.entries.next_if(|entry| entry.as_ref().is_ok_and(|(key, _)| key.starts_with(&prefix)))
    {
        let (key, value) = entry?;
        let key = decode_key(&input.pack, &key)?;
        entries.push(Found { key, value, pack: Arc::clone(&input.pack) });
    }
    Ok(())
}

/// The entries of one object in a pack.
#[cfg(feature = "archive")]
pub(super) fn take_object_from(pack: &Arc<Pack>, object: ObjectKey, entries: &mut Vec<Found>) -> Result<()> {
    let mut input = Input { entries: pack.iter(&object.to_bytes()).peekable(), pack: Arc::clone(pack) };
    take_object(&mut input, object, entries)
}

/// Sorts by entry, and keeps of equal ones the one from the newest pack: they are equal in content.
fn dedup(copies: &mut Vec<Copy>) {
    copies.sort_by(|a, b| {
        let (a_pack, b_pack) = (a.pack.footer().number, b.pack.footer().number);
        a.key.encode().cmp(&b.key.encode()).then(b_pack.cmp(&a_pack))
    });
    copies.dedup_by(|later, earlier| later.key == earlier.key);
}

/// Takes the runs that hold the tail, without a gap and up to the head, out of `runs`.
fn split_tail(runs: &mut Vec<Copy>, head: &Head) -> Vec<Copy> {
    let mut at = runs.len();
    let mut next = Seq(head.seq.0 + 1);
    let mut bytes = 0;
    while at > 0 && next > head.tail_first {
        let run = &runs[at - 1];
        bytes += run.bytes();
        if run.key.seq.0 + 1 != next.0 || bytes > FOLLOWERS_BYTES_MAX {
            break;
        }
        at -= 1;
        next = run.first_seq();
    }
    runs.split_off(at)
}

impl Copy {
    fn of(found: &Found, place: Option<&Place>, stored: Option<StoredPart>) -> Copy {
        let (key, place, pack) = (found.key.clone(), place.cloned(), Arc::clone(&found.pack));
        Copy { key, place, pack, stored, salt: None }
    }

    fn follower(object: ObjectKey, pack: &Arc<Pack>, part: StoredPart) -> Copy {
        let key = EntryKey { object, kind: part.kind, sub_key: part.sub_key.clone(), seq: part.seq };
        Copy { key, place: None, pack: Arc::clone(pack), stored: Some(part), salt: None }
    }

    fn first_seq(&self) -> Seq {
        let mut first = [0; 8];
        first.copy_from_slice(&self.key.sub_key[..8]);
        Seq(u64::from_be_bytes(first))
    }

    fn bytes(&self) -> u64 {
        match (&self.stored, &self.place) {
            (Some(stored), _) => stored.stored_bytes() as u64,
            (None, Some(place)) => u64::from(place.part_bytes),
            (None, None) => 0,
        }
    }

    /// The run that it is.
    fn runs(&self) -> Result<Vec<Run>> {
        let bad = |reason: String| Error::Damaged {
            file: self.pack.path().to_owned(),
            offset: 0,
            object: Some(self.key.object.id.to_string()),
            reason: format!("the run up to commit {} is not readable: {reason}", self.key.seq),
        };
        let stored = match (&self.stored, &self.place) {
            (Some(stored), _) => vec![stored.payload()],
            (None, Some(place)) => {
                self.pack.stored(&self.key, place)?.iter().map(StoredPart::payload).collect()
            }
            (None, None) => Vec::new(),
        };
        let decode = |payload: std::result::Result<Arc<[u8]>, DecodeError>| payload.and_then(Run::decode);
        stored.into_iter().map(|payload| decode(payload).map_err(|error| bad(error.to_string()))).collect()
    }

    /// The commits of the object itself that restores in this run read through to.
    fn bases(&self, bases: &mut Vec<Seq>) -> Result<()> {
        for run in self.runs()? {
            let restores = run.iter().filter(|(_, commit)| commit.kind == CommitKind::Restore as u8);
            for (seq, commit) in restores {
                let body =
                    Body::decode(commit.flags, commit.body).ok_or_else(|| bad_body(&self.key.object, seq))?;
                bases.extend(Ops::new(body.ops).filter_map(|op| match op {
                    Ok(Op::Cut(Cut { base: CutBase::Own { seq }, .. })) => Some(Seq(seq)),
                    _ => None,
                }));
            }
        }
        Ok(())
    }

    fn spec(&self, follows: bool) -> PartSpec<'_> {
        PartSpec {
            object: self.key.object,
            kind: self.key.kind,
            sub_key: &self.key.sub_key,
            seq: self.key.seq,
            follows,
            end_fence: self.place.as_ref().and_then(|place| place.end_fence.as_deref()),
        }
    }

    fn write(&self, out: &mut NewPack, follows: bool) -> Result<()> {
        let spec = self.spec(follows);
        if let Some(salt) = &self.salt {
            for run in self.runs()? {
                let sub_key = run_sub_key(run.first_seq());
                let payload = headers::without_ops(self.key.object, &run, salt)?;
                out.writer.part(&PartSpec { sub_key: &sub_key, seq: run.last_seq(), ..spec }, &payload)?;
            }
            return Ok(());
        }
        match (&self.stored, &self.place) {
            (Some(stored), _) => out.writer.copy_part(&spec, stored)?,
            (None, Some(place)) => {
                for stored in self.pack.stored(&self.key, place)? {
                    out.writer.copy_part(&spec, &stored)?;
                }
            }
            (None, None) => out.writer.end_entry(self.key.object, &self.key.sub_key, self.key.seq)?,
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiers_grow_by_the_factor_and_end() {
        assert_eq!(tier_of(0), Some(0));
        assert_eq!(tier_of(3 << 20), Some(0));
        assert_eq!(tier_of(4 << 20), Some(1));
        assert_eq!(tier_of(64 << 20), Some(3));
        assert_eq!(tier_of((1 << 30) + 1), None);
    }
}
