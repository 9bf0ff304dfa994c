//! A model of a pack's content, for tests: what is written, and what every reader must then find.

use crate::*;
use lineal_wal::sim::SimDisk;
use lineal_wal::{Disk, EngineId, Epoch, Lsn, Micros, NamespaceId, ObjectId, ObjectKey, Seq};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What an entry stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Content {
    Part { payload: Vec<u8>, end_fence: Option<Vec<u8>>, followers: Vec<(u64, u64, Vec<u8>)> },
    End,
}

pub(crate) type Model = BTreeMap<EntryKey, Content>;

pub(crate) fn object(number: u64) -> ObjectKey {
    let mut id = [0; 16];
    id[..8].copy_from_slice(&number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
    id[8..].copy_from_slice(&number.to_be_bytes());
    ObjectKey { namespace: NamespaceId(1), id: ObjectId(id) }
}

pub(crate) fn header(number: u64) -> PackHeader {
    PackHeader {
        engine: EngineId([7; 16]),
        epoch: Epoch(3),
        number: PackNumber(number),
        kind: PackKind::Checkpoint,
    }
}

pub(crate) fn footer_input() -> FooterInput {
    let live =
        (1..3).map(|n| LivePack { number: PackNumber(n), bytes: n * 1000, footer_hash: [n as u8; 32] });
    FooterInput {
        first_lsn: Lsn(10),
        last_lsn: Lsn(20),
        line: Lsn(20),
        live: live.collect(),
        meta: b"totals".to_vec(),
    }
}

pub(crate) fn small_options() -> WriteOptions {
    WriteOptions { block_bytes: 512, zstd_level: 1, sync_every: 700 }
}

/// A little of everything: heads with and without runs, versions, leaves, deltas, an end, a compressed part.
pub(crate) fn small_model() -> Model {
    let mut model = Model::new();
    let part =
        |payload: &[u8]| Content::Part { payload: payload.to_vec(), end_fence: None, followers: vec![] };
    for number in 0..6 {
        let object = object(number);
        let followers =
            (0..number % 3).map(|n| (1 + n * 10, 5 + n * 10, vec![n as u8; 30 + n as usize * 300])).collect();
        let head = Content::Part { payload: b"head of an object".to_vec(), end_fence: None, followers };
        model.insert(EntryKey::head(object, Seq(15)), head);
    }
    let big = object(3);
    model.insert(EntryKey::head(big, Seq(40)), part(b"newer head"));
    model.insert(EntryKey::run(big, Seq(16), Seq(40)), part(&run(16, 40)));
    let delta = EntryKey { object: big, kind: Kind::Delta, sub_key: b"a\0b".to_vec(), seq: Seq(40) };
    let fence = Some(b"m".to_vec());
    model.insert(delta, Content::Part { payload: leaf(), end_fence: fence.clone(), followers: vec![] });
    let leaf = Content::Part { payload: leaf(), end_fence: fence, followers: vec![] };
    model.insert(EntryKey::leaf(big, Seq(0), b"", Seq(30)), leaf);
    model.insert(EntryKey::leaf(big, Seq(0), b"m", Seq(30)), part(&b"compressible ".repeat(60)));
    model.insert(EntryKey::leaf(big, Seq(0), b"m", Seq(40)), Content::End);
    model
}

pub(crate) fn run(first: u64, last: u64) -> Vec<u8> {
    let mut builder = RunBuilder::new(Seq(first), Seq(1));
    for seq in first..=last {
        let commit = Commit {
            time: Micros(1_700_000_000_000_000 + seq),
            lsn: Lsn(seq * 2),
            kind: 1,
            flags: 0,
            ops_digest: None,
            joint: (seq == first).then_some([1; 32]),
            body: b"op",
        };
        builder.push(&commit);
    }
    builder.set_hash_after([2; 32]);
    builder.finish()
}

fn leaf() -> Vec<u8> {
    let mut builder = LeafBuilder::new(LeafKind::Whole, b"", Some(b"m"));
    builder.push(b"key", LeafValue::Put(b"value"));
    builder.finish()
}

pub(crate) fn model() -> impl Strategy<Value = Model> {
    let payload = prop_oneof![
        4 => proptest::collection::vec(any::<u8>(), 0..80),
        1 => (any::<u8>(), 500usize..2000).prop_map(|(byte, bytes)| vec![byte; bytes]),
    ];
    let sub_key = proptest::collection::vec(prop_oneof![Just(0u8), Just(0xff), any::<u8>()], 0..20);
    let kind = prop_oneof![3 => Just(Kind::Head), 1 => Just(Kind::Run), 1 => Just(Kind::Delta), 2 => Just(Kind::Leaf)];
    let entry = (
        (0u64..40, kind, sub_key.clone(), 1u64..1000),
        (
            payload.clone(),
            proptest::option::of(sub_key),
            proptest::collection::vec((0u64..3, 0u64..50, payload), 0..3),
        ),
        0u8..10,
    );
    let entries = prop_oneof![
        3 => proptest::collection::vec(entry.clone(), 0..30),
        1 => proptest::collection::vec(entry, 600..1200),
    ];
    entries.prop_map(|entries| {
        type Drawn = ((u64, Kind, Vec<u8>, u64), (Vec<u8>, Option<Vec<u8>>, Vec<(u64, u64, Vec<u8>)>), u8);
        let content = |((number, kind, sub_key, seq), (payload, fence, runs), end): Drawn| {
            let sub_key = if kind == Kind::Head { Vec::new() } else { sub_key };
            let key = EntryKey { object: object(number), kind, sub_key, seq: Seq(seq) };
            if kind == Kind::Leaf && end == 0 {
                return (key, Content::End);
            }
            let mut next = 1;
            let followers = |(gap, span, payload)| {
                let first: u64 = next + gap;
                next = first + span + 1;
                (first, first + span, payload)
            };
            let runs: Vec<(u64, u64, Vec<u8>)> = if kind == Kind::Head { runs } else { Vec::new() };
            let followers = runs.into_iter().map(followers).collect();
            let end_fence = fence.filter(|_| matches!(kind, Kind::Leaf | Kind::Delta));
            (key, Content::Part { payload, end_fence, followers })
        };
        entries.into_iter().map(content).collect()
    })
}

pub(crate) fn put_model(writer: &mut PackWriter, model: &Model) -> Result<(), PackError> {
    for (key, content) in model {
        let Content::Part { payload, end_fence, followers } = content else {
            writer.end_entry(key.object, &key.sub_key, key.seq)?;
            continue;
        };
        let spec = PartSpec {
            object: key.object,
            kind: key.kind,
            sub_key: &key.sub_key,
            seq: key.seq,
            follows: false,
            end_fence: end_fence.as_deref(),
        };
        writer.part(&spec, payload)?;
        for (first, last, payload) in followers {
            let spec = PartSpec {
                kind: Kind::Run,
                sub_key: &run_sub_key(Seq(*first)),
                seq: Seq(*last),
                follows: true,
                end_fence: None,
                ..spec
            };
            writer.part(&spec, payload)?;
        }
    }
    Ok(())
}

pub(crate) fn write_model(
    disk: &SimDisk,
    number: u64,
    options: WriteOptions,
    model: &Model,
) -> Result<LivePack, PackError> {
    let mut writer = PackWriter::create(Arc::new(disk.clone()), header(number), options)?;
    put_model(&mut writer, model)?;
    writer.finish(footer_input())
}

pub(crate) fn open(disk: &SimDisk, number: u64) -> Result<Arc<Pack>, PackError> {
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    Pack::open(&disk, &BlockCache::new(1 << 20), PackNumber(number))
}

/// Everything that can be asked of a pack about a model gives the model's answer, or an error; returns the first
/// error. A wrong answer panics.
pub(crate) fn ask_everything(pack: &Arc<Pack>, model: &Model) -> Result<(), PackError> {
    let mut first_error = Ok(());
    let mut note = |error: PackError| {
        if first_error.is_ok() {
            first_error = Err(error);
        }
    };
    for (key, content) in model {
        match pack.may_contain(&key.object) {
            Ok(may) => assert!(may, "the filter denies {key:?}"),
            Err(error) => note(error),
        }
        let encoded = key.encode();
        for found in [pack.seek(&encoded), pack.seek_back(&encoded)] {
            match found {
                Ok(found) => {
                    let (found_key, value) = found.expect("the entry is there");
                    assert_eq!(found_key, encoded);
                    ask_part(pack, key, content, &value).unwrap_or_else(&mut note);
                }
                Err(error) => note(error),
            }
        }
    }
    let mut forward = model.keys();
    let mut cut_short = false;
    for found in pack.iter(&[]) {
        match found {
            Ok((key, _)) => assert_eq!(Some(&EntryKey::decode(&key).unwrap()), forward.next()),
            Err(error) => {
                note(error);
                cut_short = true;
            }
        }
    }
    assert!(cut_short || forward.next().is_none(), "an entry is silently absent");
    first_error
}

fn ask_part(
    pack: &Arc<Pack>,
    key: &EntryKey,
    content: &Content,
    value: &EntryValue,
) -> Result<(), PackError> {
    let Content::Part { payload, end_fence, followers } = content else {
        assert_eq!(*value, EntryValue::End);
        return Ok(());
    };
    let place = value.place().expect("the entry is a place");
    assert_eq!(place.end_fence, *end_fence);
    assert_eq!(usize::from(place.follow_count), followers.len());
    assert_eq!(EntryValue::decode(&value.encode()).as_ref(), Ok(value));
    let read = pack.read(key, place).map(|found| assert_eq!(found[..], payload[..]));
    let (head, runs) = pack.read_with_followers(key, place)?;
    assert_eq!((head.kind, &head.sub_key, head.seq), (key.kind, &key.sub_key, key.seq));
    assert_eq!(head.payload[..], payload[..]);
    for (run, (first, last, payload)) in runs.iter().zip(followers) {
        assert_eq!((run.kind, &run.sub_key[..]), (Kind::Run, &run_sub_key(Seq(*first))[..]));
        assert_eq!((run.seq, &run.payload[..]), (Seq(*last), &payload[..]));
    }
    assert_eq!(runs.len(), followers.len());
    read
}
