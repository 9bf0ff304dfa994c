//! Packs: the file, byte for byte.

use std::sync::Arc;

use lineal::{NamespaceId, ObjectId, ObjectKey};
use lineal_snapshot::{
    BlockCache, EntryKey, EntryValue, FooterInput, Kind, Leaf, LeafBuilder, LeafKind, LeafValue, LivePack,
    Pack, PackHeader, PackKind, PackNumber, PackWriter, PartSpec, Run, RunBuilder, WriteOptions,
    hostile::mend_pack, leaf_sub_key, read_pack_header, run_sub_key,
};
use lineal_wal::{Disk, EngineId, Epoch, Lsn, Micros, Seq, sim::SimDisk};

use super::world::Image;
use crate::sparse;

/// Most bytes of the file.
const FILE_BYTES_MAX: usize = 64 << 10;
/// Entries that are walked over: an index can lead in circles as long as its checksums do.
const ENTRIES_MAX: usize = 4_096;

/// A pack: the first byte says whether its checksums are mended.
pub(crate) fn pack(bytes: &[u8]) {
    let Some((mode, packed)) = bytes.split_first() else { return };
    let mut file = sparse::expand(packed, FILE_BYTES_MAX);
    if mode & 1 != 0 {
        mend_pack(&mut file);
    }
    let path = PackNumber(1).path();
    let disk = SimDisk::from_image(&Image::from([(path.clone(), file.clone())]));
    let disk: Arc<dyn Disk> = Arc::new(disk);
    read(&disk);
    if Pack::settle(&disk, PackNumber(1)).is_ok() {
        read(&disk);
    }
}

fn read(disk: &Arc<dyn Disk>) {
    let _ = read_pack_header(disk, PackNumber(1));
    let cache = BlockCache::new(1 << 20);
    let Ok(pack) = Pack::open(disk, &cache, PackNumber(1)) else { return };
    let verified = pack.verify(&mut |_| ());
    let _ = pack.verify_unlisted(&mut |_| ());
    let _ = pack.load();
    let mut entries = Vec::new();
    for entry in pack.iter(&[]).take(ENTRIES_MAX) {
        let Ok(entry) = entry else { break };
        entries.push(entry);
    }
    if let Ok(counts) = verified
        && entries.len() < ENTRIES_MAX
    {
        assert_eq!(counts.entries, entries.len() as u64, "a pack that verifies has the entries that it says");
        let mut backward: Vec<_> =
            pack.iter_back(&[0xff; 64]).map(|entry| entry.expect("it verifies")).collect();
        backward.reverse();
        assert!(backward == entries, "both directions see the same entries");
    }
    for (key, value) in &entries {
        let _ = (pack.seek(key), pack.seek_back(key));
        let (Ok(key), EntryValue::Place(place)) = (EntryKey::decode(key), value) else { continue };
        let _ = pack.may_contain(&key.object);
        let _ = pack.stored(&key, place).map(|parts| parts.iter().for_each(|part| drop(part.payload())));
        let _ = match key.kind {
            Kind::Head => pack.head(&key, place).map(drop),
            Kind::Leaf | Kind::Delta => pack.leaf(&key, place).map(drop),
            _ => pack.group(&key, place, true).map(drop),
        };
        let _ = pack.read_with_followers(&key, place);
    }
}

fn object(number: u8) -> ObjectKey {
    ObjectKey { namespace: NamespaceId(1), id: ObjectId([number; 16]) }
}

/// A small leaf, encoded.
pub(crate) fn leaf(kind: LeafKind) -> Vec<u8> {
    let mut leaf = LeafBuilder::new(kind, b"", Some(b"z"));
    leaf.push(b"abc", LeafValue::Put(b"one"));
    if kind == LeafKind::Delta {
        leaf.push(b"abd", LeafValue::Delete);
        leaf.push(b"abe", LeafValue::Patch(&[2, 3, 1, 1, b'x']));
    }
    leaf.push(b"abz", LeafValue::Put(b""));
    leaf.finish()
}

/// A small run, encoded.
pub(crate) fn run(first: u64) -> Vec<u8> {
    let mut run = RunBuilder::new(Seq(first), Seq(1));
    for number in 0..3u8 {
        run.push(&lineal_snapshot::Commit {
            time: Micros(1_000 + u64::from(number)),
            lsn: Lsn(10 + u64::from(number)),
            kind: 1,
            flags: 0,
            ops_digest: (number == 1).then_some([5; 32]),
            joint: (number == 2).then_some([6; 32]),
            body: &[2, 0, 1, 2, 0x10, b'k', 1, number],
        });
    }
    run.set_hash_after([9; 32]);
    run.finish()
}

/// A small pack file.
pub(crate) fn file() -> Vec<u8> {
    let disk = SimDisk::new();
    let handle: Arc<dyn Disk> = Arc::new(disk.clone());
    let header = PackHeader {
        engine: EngineId([7; 16]),
        epoch: Epoch(3),
        number: PackNumber(1),
        kind: PackKind::Checkpoint,
    };
    let written = (|| {
        let mut pack =
            PackWriter::create(handle, header, WriteOptions { block_bytes: 512, ..WriteOptions::default() })?;
        for number in 1..4 {
            let object = object(number);
            let spec = |kind, seq| PartSpec {
                object,
                kind,
                sub_key: &[],
                seq: Seq(seq),
                follows: false,
                end_fence: None,
            };
            pack.part(&spec(Kind::Head, 6), b"the head")?;
            for first in [1, 4] {
                let sub_key = run_sub_key(Seq(first));
                let spec = PartSpec { sub_key: &sub_key, follows: true, ..spec(Kind::Run, first + 2) };
                pack.part(&spec, &run(first))?;
            }
            let sub_key = leaf_sub_key(Seq(0), b"");
            let spec = |kind| PartSpec { sub_key: &sub_key, end_fence: Some(b"z"), ..spec(kind, 5) };
            let mut parts = [(Kind::Leaf, leaf(LeafKind::Whole)), (Kind::Delta, leaf(LeafKind::Delta))];
            parts.sort_by_key(|(kind, _)| kind.byte());
            for (kind, payload) in parts {
                pack.part(&spec(kind), &payload)?;
            }
        }
        pack.finish(FooterInput {
            first_lsn: Lsn(1),
            last_lsn: Lsn(40),
            line: Lsn(40),
            live: vec![LivePack { number: PackNumber(9), bytes: 500, footer_hash: [1; 32] }],
            meta: b"meta".to_vec(),
        })
    })();
    written.expect("nothing fails");
    disk.image().remove(&PackNumber(1).path()).expect("it was written")
}

/// Seeds: a pack of three objects, and one with compressed parts.
pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let golden = include_bytes!("../../../../snapshot/golden/pack-v1.pack");
    let mut seeds = Vec::new();
    for file in [&file()[..], golden] {
        for mode in [0, 1] {
            let mut seed = vec![mode];
            seed.extend_from_slice(&sparse::pack(file));
            seeds.push(seed);
        }
    }
    seeds
}

/// A leaf that is read says of each of its keys what it holds.
pub(crate) fn read_leaf(bytes: &[u8]) {
    let Ok(leaf) = Leaf::decode(Arc::from(bytes)) else { return };
    let mut again = LeafBuilder::new(leaf.kind(), leaf.first_fence(), leaf.end_fence());
    for (index, (key, value)) in leaf.iter().enumerate() {
        assert!(leaf.covers(key) && leaf.get(key) == Some(value) && leaf.lower_bound(key) == index);
        let _ = leaf.value_range(index);
        again.push(key, value);
    }
    let again = Leaf::decode(Arc::from(again.finish())).expect("what was written is read");
    assert!(again.iter().eq(leaf.iter()), "a leaf changes when it is written again");
}

/// A run that is read is written and read again as the same.
pub(crate) fn read_run(bytes: &[u8]) {
    let Ok(run) = Run::decode(Arc::from(bytes)) else { return };
    let (first, last) = (run.first_seq(), run.last_seq());
    assert_eq!(run.between(first, last).count(), run.len());
    let _ = (run.bytes_between(first, last), run.bytes_between(last, first), run.tail_first());
    for (seq, commit) in run.iter() {
        assert!(run.commit(seq) == Some(commit), "a run finds the commits that it holds");
        lineal::hostile::body(commit.flags, commit.body);
    }
    let mut again = RunBuilder::new(first, run.tail_first());
    let mut points = run.hash_points().iter().peekable();
    for (seq, commit) in run.iter() {
        if let Some(point) = points.next_if(|point| point.after.0 + 1 == seq.0) {
            again.push_hash_before(point.hash);
        }
        again.push(&commit);
    }
    run.hash_after_last().into_iter().for_each(|hash| again.set_hash_after(hash));
    let again = Run::decode(Arc::from(again.finish())).expect("what was written is read");
    assert!(
        again.iter().eq(run.iter()) && again.hash_points() == run.hash_points(),
        "a run changes when written again"
    );
}
