use super::super::{
    frame::{HASH_BYTES, hash_of},
    manifest::read_back,
    sim::{Fault, Op},
};
use super::*;
use crate::PackNumber;
use bytes::Bytes;
use proptest::prelude::*;

fn pack(number: u64) -> ArchivedPack {
    ArchivedPack {
        number: PackNumber(number),
        bytes: number * 1_000,
        hash: [number as u8; 32],
        pages: vec![],
        footer: Bytes::new(),
    }
}

fn begun(client: &Client) -> ManifestWriter {
    block_on(ManifestWriter::load_or_create(client, Manifest::first(ENGINE, Epoch(1), Micros(5)))).unwrap()
}

fn add(writer: &mut ManifestWriter, client: &Client, epoch: u64, number: u64) -> Result<(), ArchiveError> {
    block_on(writer.change(client, Epoch(epoch), Micros(6), |next| next.packs.push(pack(number))))
}

fn stored(client: &Client) -> Manifest {
    block_on(ManifestWriter::load(client, ENGINE)).unwrap().unwrap().manifest().clone()
}

proptest! {
    #[test]
    fn a_manifest_reads_back(
        numbers in prop::collection::btree_map(
            any::<u64>(),
            (0..1u64 << 30, any::<[u8; 32]>(), prop::collection::vec(any::<u8>(), 0..300)),
            0..20,
        ),
        garbage in prop::collection::btree_map(any::<u64>(), any::<(u64, [u8; 32], u64)>(), 0..5),
        ranges in prop::collection::btree_map(
            any::<u64>(),
            (1..1u64 << 40, prop::option::of(1..1u64 << 40), any::<u64>()),
            0..5,
        ),
        logs in prop::collection::btree_map(any::<u64>(), (1..1u64 << 60, any::<[u8; 32]>()), 0..5),
        fixed in any::<(u64, u64, u64, u64, [u8; 16])>(),
        note: Vec<u8>,
    ) {
        let (generation, time, horizon, line, nonce) = fixed;
        let packs = numbers.into_iter()
            .map(|(number, (bytes, hash, footer))| {
                let pages = vec![hash; bytes.div_ceil(64 << 20) as usize];
                let pages = if bytes <= 64 << 10 { vec![] } else { pages };
                let footer = if footer.len() as u64 * 2 > bytes { vec![] } else { footer };
                ArchivedPack { number: PackNumber(number), bytes, hash, pages, footer: footer.into() }
            })
            .collect();
        let logs = logs.into_iter()
            .map(|(epoch, (first_chunk, before))| ArchivedLog { epoch: Epoch(epoch), first_chunk, before })
            .collect();
        let garbage_packs = garbage.into_iter()
            .map(|(number, (bytes, hash, since))| {
                GarbagePack { number: PackNumber(number), bytes, hash, since: Micros(since) }
            })
            .collect();
        let garbage_chunks = ranges.into_iter()
            .map(|(epoch, (first, more, since))| {
                let end = more.map(|more| first + more);
                GarbageChunks { epoch: Epoch(epoch), first, end, since: Micros(since) }
            })
            .collect();
        let manifest = Manifest {
            garbage_packs, garbage_chunks,
            engine: ENGINE, epoch: Epoch(7), generation: (generation >> 3).max(1), nonce, time: Micros(time),
            horizon: Micros(horizon), line: Lsn(line), packs, logs, note,
        };
        let bytes = manifest.encode().unwrap();
        prop_assert_eq!(Manifest::decode(ENGINE, &bytes).unwrap(), manifest);
    }

    #[test]
    fn hostile_bytes_never_panic(bytes: Vec<u8>) {
        prop_assert!(Manifest::decode(ENGINE, &Bytes::from(bytes)).is_err());
    }
}

#[test]
fn every_flipped_bit_and_every_cut_of_a_manifest_is_seen() {
    let mut manifest = Manifest::first(ENGINE, Epoch(3), Micros(9));
    manifest.packs = vec![pack(1), pack(2)];
    let good = manifest.encode().unwrap();
    for bit in 0..good.len() * 8 {
        let mut bad = good.to_vec();
        bad[bit / 8] ^= 1 << (bit % 8);
        assert!(Manifest::decode(ENGINE, &bad.into()).is_err(), "bit {bit}");
    }
    for bytes in 0..good.len() {
        assert!(Manifest::decode(ENGINE, &good.slice(..bytes)).is_err(), "cut to {bytes}");
    }
}

#[test]
fn a_manifest_of_another_engine_or_a_newer_format_is_named_so() {
    let manifest = Manifest::first(ENGINE, Epoch(3), Micros(9)).encode().unwrap();
    assert!(Manifest::decode(EngineId([1; 16]), &manifest).is_err());
    let mut newer = manifest.to_vec();
    newer[8..10].copy_from_slice(&2u16.to_le_bytes());
    let error = Manifest::decode(ENGINE, &newer.clone().into()).unwrap_err();
    assert!(matches!(error, ArchiveError::Damaged { .. }), "a turned bit: {error}");
    let end = newer.len() - HASH_BYTES;
    let hash = hash_of(&Keys(ENGINE).manifest(), &newer[..end]);
    newer[end..].copy_from_slice(&hash);
    let error = Manifest::decode(ENGINE, &newer.into()).unwrap_err();
    assert!(matches!(error, ArchiveError::NewerVersion { found: 2, known: 1, .. }), "{error}");
}

#[test]
fn no_manifest_and_one_that_cannot_be_read_are_different_answers() {
    let store = SimStore::new();
    let client = client(&store, 1);
    assert!(block_on(ManifestWriter::load(&client, ENGINE)).unwrap().is_none());
    store.poke(&Keys(ENGINE).manifest(), "");
    let error = block_on(ManifestWriter::load(&client, ENGINE)).unwrap_err();
    assert_eq!(error.kind(), ArchiveErrorKind::Corrupt, "{error}");
    store.dark(true);
    let error = block_on(ManifestWriter::load(&client, ENGINE)).unwrap_err();
    assert_eq!(error.kind(), ArchiveErrorKind::Retry, "{error}");
}

#[test]
fn of_two_writers_who_change_one_manifest_one_wins() {
    let store = SimStore::new();
    let client = client(&store, 1);
    let mut first = begun(&client);
    let mut second = block_on(ManifestWriter::load(&client, ENGINE)).unwrap().unwrap();
    add(&mut second, &client, 2, 1).unwrap();
    let error = add(&mut first, &client, 1, 2).unwrap_err();
    assert!(matches!(error, ArchiveError::Fenced { epoch: Epoch(1), by: Epoch(2) }), "{error}");
    let error = add(&mut first, &client, 1, 3).unwrap_err();
    assert!(matches!(error, ArchiveError::Fenced { .. }), "it stays fenced: {error}");
    assert_eq!(stored(&client).packs, [pack(1)]);
}

#[test]
fn a_manifest_that_a_newer_writer_replaced_before_it_was_read_back_is_fenced_and_not_damaged() {
    let store = SimStore::new();
    let client = client(&store, 1);
    let newer = begun(&client).manifest().clone();
    let mut older = newer.clone();
    older.nonce = [7; 16];
    let read = |newer: &Manifest| {
        store.poke(&Keys(ENGINE).manifest(), newer.encode().unwrap());
        block_on(read_back(&client, &Keys(ENGINE).manifest(), &older, &older.encode().unwrap()))
    };
    let error = read(&Manifest { epoch: Epoch(2), ..newer.clone() }).unwrap_err();
    assert!(matches!(error, ArchiveError::Fenced { epoch: Epoch(1), by: Epoch(2) }), "{error}");
    let error = read(&newer).unwrap_err();
    assert!(matches!(error, ArchiveError::Damaged { .. }), "of its own epoch: {error}");
}

#[test]
fn a_manifest_that_was_stored_in_part_and_could_not_be_read_back_is_stored_again() {
    let store = SimStore::new();
    let client = client(&store, 1);
    let mut writer = begun(&client);
    let key = Keys(ENGINE).manifest();
    store.plan(Op::Put, &key, Fault::HalfStored);
    store.plan(Op::Get, &key, Fault::Denied);
    let error = add(&mut writer, &client, 1, 1).unwrap_err();
    assert!(matches!(error, ArchiveError::Denied { .. }), "{error}");
    let error = block_on(ManifestWriter::load(&client, ENGINE)).unwrap_err();
    assert_eq!(error.kind(), ArchiveErrorKind::Corrupt, "{error}");
    add(&mut writer, &client, 1, 2).unwrap();
    assert_eq!(stored(&client).packs, [pack(2)]);
    // What somebody else spoilt is not written over.
    store.poke(&key, "spoilt");
    let error = add(&mut writer, &client, 1, 3).unwrap_err();
    assert_eq!(error.kind(), ArchiveErrorKind::Corrupt, "{error}");
}

#[test]
fn two_writers_of_one_epoch_are_told_apart() {
    let store = SimStore::new();
    let client = client(&store, 1);
    let mut first = begun(&client);
    let mut second = block_on(ManifestWriter::load(&client, ENGINE)).unwrap().unwrap();
    add(&mut second, &client, 1, 1).unwrap();
    let error = add(&mut first, &client, 1, 2).unwrap_err();
    assert!(matches!(error, ArchiveError::Diverged { .. }), "{error}");
}

#[test]
fn what_an_older_epoch_changed_before_we_wrote_is_kept() {
    let store = SimStore::new();
    let client = client(&store, 1);
    let mut old = begun(&client);
    let mut new = block_on(ManifestWriter::load(&client, ENGINE)).unwrap().unwrap();
    add(&mut old, &client, 1, 1).unwrap();
    add(&mut new, &client, 2, 2).unwrap();
    assert_eq!(stored(&client).packs, [pack(1), pack(2)]);
    assert!(matches!(add(&mut old, &client, 1, 3), Err(ArchiveError::Fenced { .. })));
}

#[test]
fn a_change_whose_outcome_was_not_known_is_settled_by_the_next() {
    let store = SimStore::new();
    let client = client(&store, 1);
    let mut writer = begun(&client);
    let key = Keys(ENGINE).manifest();
    // It arrives, the reply is lost, and then the store is gone.
    store.plan(Op::Put, &key, Fault::LostReply);
    for _ in 0..200 {
        store.plan(Op::Put, &key, Fault::Busy);
        store.plan(Op::Get, &key, Fault::Busy);
    }
    let error = add(&mut writer, &client, 1, 1).unwrap_err();
    assert_eq!(error.kind(), ArchiveErrorKind::Retry, "{error}");
    store.clear();
    assert_eq!(stored(&client).packs, [pack(1)], "it had arrived");
    let change = writer.change(&client, Epoch(1), Micros(7), |next| {
        next.packs.retain(|old| *old != pack(1));
        next.packs.extend([pack(1), pack(2)]);
    });
    block_on(change).unwrap();
    let manifest = stored(&client);
    assert_eq!((manifest.packs, manifest.generation), (vec![pack(1), pack(2)], 3));
}

#[test]
fn a_store_that_went_back_to_an_older_manifest_is_seen() {
    let store = SimStore::new();
    let client = client(&store, 1);
    let mut writer = begun(&client);
    add(&mut writer, &client, 1, 1).unwrap();
    store.roll_back(&Keys(ENGINE).manifest());
    let error = add(&mut writer, &client, 1, 2).unwrap_err();
    assert!(error.to_string().contains("went back"), "{error}");
    assert_eq!(error.kind(), ArchiveErrorKind::Diverged);
}

#[test]
fn a_manifest_that_vanished_is_missing_and_not_made_anew() {
    let store = SimStore::new();
    let client = client(&store, 1);
    let mut writer = begun(&client);
    store.roll_back(&Keys(ENGINE).manifest());
    let error = add(&mut writer, &client, 1, 1).unwrap_err();
    assert!(matches!(error, ArchiveError::Missing { .. }), "{error}");
    assert_eq!(store.keys(), Vec::<String>::new());
}
