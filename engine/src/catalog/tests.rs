//! The catalog against a model that keeps every entry of every live pack in a map.

mod crash;
mod model;
mod rot;

use std::collections::BTreeMap;

use lineal_snapshot::{
    BlockCache, EntryKey, FooterInput, Kind, LivePack, Pack, PackHeader, PackKind, PackNumber, PackWriter,
    PartSpec, WriteOptions, leaf_sub_key, run_sub_key,
};
use lineal_wal::{Disk, EngineId, Epoch, Lsn, NamespaceId, ObjectId, ObjectKey, Seq, sim::SimDisk};

use super::{Catalog, CatalogError, CatalogOptions, Located, Opened, RunRef, Snapshot, merge::MergePressure};
use crate::sync::Arc;

const ENGINE: EngineId = EngineId([3; 16]);

/// A repeatable source of numbers.
#[derive(Clone)]
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % sides.max(1)
    }

    fn chance(&mut self, one_in: u64) -> bool {
        self.roll(one_in) == 0
    }
}

fn object(number: u64) -> ObjectKey {
    let mut id = [0u8; 16];
    id[..8].copy_from_slice(&Dice(number).roll(u64::MAX).to_be_bytes());
    id[8] = 0; // so that the escape is met as well
    ObjectKey { namespace: NamespaceId(1 + (number % 2) as u32), id: ObjectId(id) }
}

/// What an entry leads to, as far as the catalog sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
enum What {
    Part { followers: Vec<(Seq, Seq)>, end_fence: Option<Vec<u8>> },
    End,
}

fn part() -> What {
    What::Part { followers: Vec::new(), end_fence: None }
}

/// The entries of one pack.
type Entries = BTreeMap<EntryKey, What>;

/// The packs that are live, and what is in them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Model {
    packs: BTreeMap<PackNumber, Entries>,
}

impl Model {
    /// What a lookup sees: for equal keys, the higher pack.
    fn merged(&self) -> BTreeMap<EntryKey, (PackNumber, What)> {
        let mut merged = BTreeMap::new();
        for (number, entries) in &self.packs {
            for (key, what) in entries {
                merged.insert(key.clone(), (*number, what.clone()));
            }
        }
        merged
    }
}

fn open(disk: &SimDisk, read_only: bool) -> Result<Opened, CatalogError> {
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    let options = CatalogOptions { read_only, redb_cache_bytes: 1 << 20 };
    Catalog::open(disk, BlockCache::new(1 << 20), ENGINE, options)
}

/// Writes the body of a pack, all but its footer.
fn write_body(
    disk: &SimDisk,
    number: PackNumber,
    kind: PackKind,
    entries: &Entries,
) -> Result<PackWriter, CatalogError> {
    let header = PackHeader { engine: ENGINE, epoch: Epoch(1), number, kind };
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    let mut writer = PackWriter::create(disk, header, WriteOptions::default())?;
    for (key, what) in entries {
        match what {
            What::End => writer.end_entry(key.object, &key.sub_key, key.seq)?,
            What::Part { followers, end_fence } => {
                let spec = PartSpec {
                    object: key.object,
                    kind: key.kind,
                    sub_key: &key.sub_key,
                    seq: key.seq,
                    follows: false,
                    end_fence: end_fence.as_deref(),
                };
                writer.part(&spec, format!("{key:?}").as_bytes())?;
                for (first, last) in followers {
                    let sub_key = run_sub_key(*first);
                    let spec = PartSpec {
                        object: key.object,
                        kind: Kind::Run,
                        sub_key: &sub_key,
                        seq: *last,
                        follows: true,
                        end_fence: None,
                    };
                    writer.part(&spec, format!("run {first} {last}").as_bytes())?;
                }
            }
        }
    }
    writer.seal()?;
    Ok(writer)
}

/// Writes a pack and publishes it in place of `removed`.
fn publish(
    disk: &SimDisk,
    catalog: &Catalog,
    model: &mut Model,
    kind: PackKind,
    entries: Entries,
    removed: &[PackNumber],
) -> Result<PackNumber, CatalogError> {
    let number = catalog.next_number();
    let writer = write_body(disk, number, kind, &entries)?;
    let mut guard = catalog.lock_publish();
    let live = finish(writer, guard.live_except(removed), number)?;
    let pack = Pack::open(&catalog.disk, catalog.cache(), number)?;
    guard.publish(Some((live, pack)), removed)?;
    for gone in removed {
        model.packs.remove(gone);
    }
    model.packs.insert(number, entries);
    Ok(number)
}

fn finish(writer: PackWriter, live: Vec<LivePack>, number: PackNumber) -> Result<LivePack, CatalogError> {
    let lsn = Lsn(number.0 * 10);
    let footer = FooterInput { first_lsn: Lsn(1), last_lsn: lsn, line: lsn, live, meta: b"totals".to_vec() };
    Ok(writer.finish(footer)?)
}

/// Objects that grow: their commits, leaves and cuts as a checkpoint would pack them.
#[derive(Clone, Default)]
struct Grower {
    objects: BTreeMap<u64, Grown>,
}

#[derive(Clone, Default)]
struct Grown {
    seq: u64,
    era: u64,
    fences: BTreeMap<Vec<u8>, bool>,
}

impl Grower {
    /// The entries of a checkpoint over some of `objects`.
    fn checkpoint(&mut self, dice: &mut Dice, objects: u64) -> Entries {
        let mut entries = Entries::new();
        for _ in 0..1 + dice.roll(objects) {
            let number = dice.roll(objects);
            let id = object(number);
            if entries.keys().any(|key| key.object == id) {
                continue;
            }
            self.grow(number, id, dice, &mut entries);
        }
        entries
    }

    fn grow(&mut self, number: u64, id: ObjectKey, dice: &mut Dice, entries: &mut Entries) {
        let grown = self.objects.entry(number).or_default();
        let first = grown.seq + 1;
        grown.seq += 1 + dice.roll(5);
        let seq = Seq(grown.seq);
        let mut followers = Vec::new();
        match dice.roll(3) {
            0 => {
                entries.insert(EntryKey::run(id, Seq(first), seq), part());
            }
            1 if grown.seq > first => followers = vec![(Seq(first), Seq(first)), (Seq(first + 1), seq)],
            _ => followers = vec![(Seq(first), seq)],
        }
        entries.insert(EntryKey::head(id, seq), What::Part { followers, end_fence: None });
        if dice.chance(6) {
            grown.era = grown.seq;
            grown.fences.clear();
        }
        for _ in 0..dice.roll(3) {
            let length = dice.roll(3);
            let fence: Vec<u8> = (0..length).map(|_| [0, 1, 0x40, 0xff][dice.roll(4) as usize]).collect();
            let key = EntryKey::leaf(id, Seq(grown.era), &fence, seq);
            let ends = grown.fences.get(&fence).copied().unwrap_or(false) && dice.chance(2);
            let what = if ends {
                What::End
            } else {
                let end_fence = dice.chance(2).then(|| [fence.as_slice(), b"end"].concat());
                What::Part { followers: Vec::new(), end_fence }
            };
            entries.insert(key, what);
            grown.fences.insert(fence, !ends);
        }
        if dice.chance(4) {
            let end_fence = Some(b"zz".to_vec());
            entries.insert(
                EntryKey { object: id, kind: Kind::Delta, sub_key: Vec::new(), seq },
                What::Part { followers: Vec::new(), end_fence },
            );
        }
    }
}

/// What compaction makes of the packs `removed`: all their entries but some that nothing needs.
fn compact(model: &Model, removed: &[PackNumber], dice: &mut Dice) -> Entries {
    let mut entries = Entries::new();
    for number in removed {
        entries.extend(model.packs[number].clone());
    }
    let merged = model.merged();
    entries.retain(|key, _| {
        let newest_head = key.kind == Kind::Head
            && !merged
                .keys()
                .any(|other| (other.object, other.kind) == (key.object, Kind::Head) && other.seq > key.seq);
        newest_head || !dice.chance(5)
    });
    entries
}

/// Compares every kind of lookup with the model, for the objects below `objects`.
fn check(snapshot: &Snapshot, model: &Model, objects: u64) {
    check_some(snapshot, model, &(0..objects).collect::<Vec<_>>());
}

/// Compares every kind of lookup with the model, for some objects.
fn check_some(snapshot: &Snapshot, model: &Model, objects: &[u64]) {
    let merged = model.merged();
    for number in objects {
        check_object(snapshot, &merged, object(*number));
    }
    for namespace in [NamespaceId(0), NamespaceId(1), NamespaceId(2), NamespaceId(u32::MAX)] {
        let mut wanted: BTreeMap<ObjectKey, (EntryKey, PackNumber)> = BTreeMap::new();
        for (key, (pack, _)) in &merged {
            if key.kind == Kind::Head && key.object.namespace == namespace {
                wanted.insert(key.object, (key.clone(), *pack));
            }
        }
        let all: Vec<_> = snapshot.heads(namespace, None).unwrap().map(|head| named(head.unwrap())).collect();
        assert_eq!(all, wanted.values().cloned().collect::<Vec<_>>());
        for after in wanted.keys().step_by(1 + wanted.len() / 4) {
            let some: Vec<_> =
                snapshot.heads(namespace, Some(*after)).unwrap().map(|head| named(head.unwrap())).collect();
            let behind: Vec<_> = wanted.range(*after..).skip(1).map(|(_, head)| head.clone()).collect();
            assert_eq!(some, behind);
        }
    }
}

fn named(found: Located) -> (EntryKey, PackNumber) {
    assert_eq!(found.pack.footer().number, found.place.pack);
    (found.key, found.place.pack)
}

fn check_object(snapshot: &Snapshot, merged: &BTreeMap<EntryKey, (PackNumber, What)>, id: ObjectKey) {
    let own: Vec<(&EntryKey, &(PackNumber, What))> =
        merged.iter().filter(|(key, _)| key.object == id).collect();
    let last = own.iter().map(|(key, _)| key.seq.0).max().unwrap_or(0);
    let newest = |at: u64| {
        let heads = own.iter().filter(|(key, _)| key.kind == Kind::Head && key.seq.0 <= at);
        heads.max_by_key(|(key, _)| key.seq).map(|(key, (pack, _))| ((*key).clone(), *pack))
    };
    assert_eq!(snapshot.newest_head(&id).unwrap().map(named), newest(u64::MAX));
    for at in 0..=last + 1 {
        assert_eq!(snapshot.newest_head_at(&id, Seq(at)).unwrap().map(named), newest(at));
        let delta = own.iter().find(|(key, _)| key.kind == Kind::Delta && key.seq.0 == at);
        let found = snapshot.delta(&id, Seq(at)).unwrap().map(named);
        assert_eq!(found, delta.map(|(key, (pack, _))| ((*key).clone(), *pack)));
    }
    for from in 1..=last {
        for through in [from, from + 2, last] {
            check_runs(&snapshot.runs(&id, Seq(from), Seq(through)).unwrap(), &own, from, through);
        }
    }
    let eras = own.iter().filter(|(key, _)| key.kind == Kind::Leaf).map(|(key, _)| key.sub_key[..8].to_vec());
    for era in eras.collect::<std::collections::BTreeSet<_>>() {
        let era = Seq(u64::from_be_bytes(era.try_into().unwrap()));
        for at in 0..=last + 1 {
            check_leaves(snapshot, &own, id, era, Seq(at));
        }
    }
}

fn check_runs(found: &[RunRef], own: &[(&EntryKey, &(PackNumber, What))], from: u64, through: u64) {
    let mut wanted = Vec::new();
    for (key, (pack, what)) in own {
        let span = match (key.kind, what) {
            (Kind::Run, _) => (Seq(u64::from_be_bytes(key.sub_key.as_slice().try_into().unwrap())), key.seq),
            (Kind::Head, What::Part { followers, .. }) if !followers.is_empty() => (followers[0].0, key.seq),
            _ => continue,
        };
        if span.0.0 <= through && span.1.0 >= from {
            wanted.push((span.0, span.1, *pack));
        }
    }
    wanted.sort();
    let spans: Vec<_> = found.iter().map(|run| (run.first, run.last, run.entry.place.pack)).collect();
    assert_eq!(spans, wanted, "{from} {through}");
    for run in found {
        let parts = run.read().unwrap();
        let mut next = run.first;
        for part in parts {
            assert_eq!(part.kind, Kind::Run);
            assert_eq!(part.sub_key.as_slice(), run_sub_key(next).as_slice());
            next = part.seq.next();
        }
        assert_eq!(next, run.last.next());
    }
}

fn check_leaves(
    snapshot: &Snapshot,
    own: &[(&EntryKey, &(PackNumber, What))],
    id: ObjectKey,
    era: Seq,
    at: Seq,
) {
    // What answers at `at`: of each fence the newest version ≤ at, unless it is an end.
    let mut answers: BTreeMap<Vec<u8>, Option<(EntryKey, PackNumber)>> = BTreeMap::new();
    let mut fences = vec![Vec::new(), vec![0], vec![0, 0], vec![0x20], vec![0xff, 0xff, 0xff]];
    for (key, (pack, what)) in own {
        if key.kind != Kind::Leaf || key.sub_key[..8] != era.0.to_be_bytes() {
            continue;
        }
        let fence = key.sub_key[8..].to_vec();
        fences.push([fence.as_slice(), &[0]].concat());
        fences.push(fence.clone());
        if key.seq <= at {
            let found = (*what != What::End).then(|| ((*key).clone(), *pack));
            answers.insert(fence, found);
        }
    }
    let answers: BTreeMap<_, _> =
        answers.into_iter().filter_map(|(fence, found)| Some((fence, found?))).collect();
    let all: Vec<_> = snapshot.leaves(&id, era, at).unwrap().map(|leaf| named(leaf.unwrap())).collect();
    assert_eq!(all, answers.values().cloned().collect::<Vec<_>>());
    for key in fences {
        let wanted = answers.range(..=key.clone()).next_back().map(|(_, found)| found.clone());
        let found = snapshot.leaf(&id, era, &key, at).unwrap().map(named);
        assert_eq!(found, wanted, "leaf of {key:?} in {} at {at}", leaf_sub_key(era, &key).len());
        let below = answers.range(..key.clone()).next_back().map(|(_, found)| found.clone());
        let found = snapshot.leaf_before(&id, era, &key, at).unwrap().map(named);
        assert_eq!(found, below, "leaf before {key:?} at {at}");
    }
}
