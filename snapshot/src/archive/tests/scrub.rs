//! Reading everything, and saying what is damaged.

use super::super::pieces::PIECE_BYTES;
use super::super::sim::{Fault, Op};
use super::upload::Pattern;
use super::*;
use crate::PackNumber;
use std::ops::Range;

const SIZES: [u64; 4] = [100, 3 * PIECE_BYTES + 5, 20 << 20, (64 << 20) + 1];

/// An archive with packs of these sizes and two epochs' logs, of three and two chunks.
fn archive(sizes: &[u64]) -> (Arc<SimStore>, Client, Manifest) {
    let store = SimStore::new();
    let client = client(&store, 1);
    let mut writer = take(&client, "a");
    (1..4).for_each(|lsn| put(&client, &mut writer.log, lsn).unwrap());
    let mut writer = take(&client, "b");
    (4..6).for_each(|lsn| put(&client, &mut writer.log, lsn).unwrap());
    let pack = |(number, bytes): (u64, &u64)| LocalPack {
        number: PackNumber(number),
        source: Arc::new(Pattern { bytes: *bytes, salt: number }),
    };
    let packs = (1..).zip(sizes).map(pack).collect();
    let logs = writer.manifest.manifest().logs.clone();
    let live = Live { packs, line: Lsn(0), logs, horizon: Micros(0), note: vec![] };
    let sent = archive_packs(&client, &mut writer.manifest, writer.lease.epoch(), Micros(1), &live);
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(sent).unwrap();
    let manifest = writer.manifest.manifest().clone();
    (store, client, manifest)
}

fn run(client: &Client, manifest: &Manifest) -> ScrubReport {
    block_on(scrub(client, &Keys(ENGINE), manifest, 0, |_| ())).unwrap()
}

#[test]
fn a_whole_archive_is_read_to_its_last_byte() {
    let (_, client, manifest) = archive(&SIZES);
    let mut told = 0;
    let report = block_on(scrub(&client, &Keys(ENGINE), &manifest, 0, |bytes| told += bytes)).unwrap();
    let lists = 32 * (4 + 320 + 1_025);
    let chunks = 5 * "record 1".len() as u64;
    assert_eq!(report.damage, []);
    assert_eq!((report.packs, report.chunks, report.last), (4, 5, Lsn(5)));
    assert_eq!(report.bytes, SIZES.iter().sum::<u64>() + lists + chunks);
    assert_eq!(told, report.bytes);
}

#[test]
fn it_reads_no_faster_than_it_may() {
    let (_, client, manifest) = archive(&SIZES);
    let before = client.now();
    let report = block_on(scrub(&client, &Keys(ENGINE), &manifest, 1 << 20, |_| ())).unwrap();
    let seconds = (client.now() - before).as_secs();
    let due = report.bytes >> 20;
    assert!((due - 1..=due + 10).contains(&seconds), "{seconds} s for {due} MiB");
}

/// One damage at a time, and what is said of it.
#[test]
fn every_kind_of_damage_is_reported_with_key_and_range() {
    let (store, client, manifest) = archive(&SIZES);
    let keys = Keys(ENGINE);
    let pack = |n: usize| manifest.packs[n - 1].key(&keys);
    let list = |n: usize| manifest.packs[n - 1].pieces_key(&keys);
    let flip = |at: usize| {
        move |bytes: &mut Vec<u8>| {
            bytes[at] ^= 1;
        }
    };
    type Change = Box<dyn Fn(&mut Vec<u8>)>;
    let piece = |n: u64| n * PIECE_BYTES..(n + 1) * PIECE_BYTES;
    let cases: Vec<(String, Change, Option<Range<u64>>)> = vec![
        (pack(1), Box::new(flip(3)), Some(0..100)),
        (pack(2), Box::new(flip(70_000)), Some(piece(1))),
        (pack(2), Box::new(flip(3 * PIECE_BYTES as usize)), Some(3 * PIECE_BYTES..SIZES[1])),
        (pack(2), Box::new(|bytes| bytes.truncate(70_000)), Some(PIECE_BYTES..SIZES[1])),
        (pack(2), Box::new(|bytes| bytes.push(0)), Some(3 * PIECE_BYTES..SIZES[1])),
        (pack(2), Box::new(|bytes| bytes.clear()), Some(0..SIZES[1])),
        (pack(3), Box::new(flip(19 << 20)), Some(piece(304))),
        (pack(3), Box::new(|bytes| bytes.truncate(10 << 20)), Some(10 << 20..20 << 20)),
        (pack(4), Box::new(flip(64 << 20)), Some(64 << 20..(64 << 20) + 1)),
        (list(2), Box::new(flip(0)), Some(0..128)),
        (list(4), Box::new(flip(32 << 10)), Some(32 << 10..(32 << 10) + 32)),
        (keys.chunk(Epoch(1), 2), Box::new(flip(30)), None),
        (keys.chunk(Epoch(2), 2), Box::new(|bytes| bytes.truncate(50)), None),
    ];
    for (key, change, range) in cases {
        let good = store.peek(&key).unwrap();
        let mut bad = good.to_vec();
        change(&mut bad);
        store.poke(&key, bad);
        let report = run(&client, &manifest);
        let found: Vec<_> = report.damage.iter().map(|one| (one.key.as_str(), one.range.clone())).collect();
        assert_eq!(found, [(key.as_str(), range)], "{:?}", report.damage);
        store.poke(&key, good);
    }
    assert_eq!(run(&client, &manifest).damage, []);
}

#[test]
fn what_is_missing_and_what_is_damaged_twice_is_reported_too() {
    let (store, client, manifest) = archive(&SIZES);
    let keys = Keys(ENGINE);
    for key in [
        manifest.packs[2].key(&keys),
        manifest.packs[2].pieces_key(&keys),
        keys.chunk(Epoch(1), 2),
        keys.chunk(Epoch(1), 4),
    ] {
        let good = store.peek(&key).unwrap();
        block_on(client.delete(&key)).unwrap();
        let report = run(&client, &manifest);
        let first = report.damage.first().map(|one| (one.key.clone(), one.range.clone()));
        assert_eq!(first, Some((key.clone(), None)), "{:?}", report.damage);
        store.poke(&key, good);
    }
    // Where the list is damaged, the pack is compared as a whole.
    let (pack, list) = (manifest.packs[1].key(&keys), manifest.packs[1].pieces_key(&keys));
    for (key, at) in [(&pack, 5), (&list, 5)] {
        let mut bad = store.peek(key).unwrap().to_vec();
        bad[at] ^= 1;
        store.poke(key, bad);
    }
    let found: Vec<_> = run(&client, &manifest).damage.into_iter().map(|one| (one.key, one.range)).collect();
    assert_eq!(found, [(list, Some(0..128)), (pack, Some(0..SIZES[1]))]);
}

#[test]
fn records_that_are_missing_between_two_logs_are_seen() {
    let (store, client, manifest) = archive(&[100]);
    let keys = Keys(ENGINE);
    // As if the log of the first epoch had ended earlier.
    let barrier = {
        let mut end = LogEnd::begin(ENGINE, Epoch(1));
        for _ in 0..2 {
            block_on(end.read(&client)).unwrap();
        }
        block_on(client.delete(&keys.chunk(Epoch(1), 3))).unwrap();
        block_on(end.close(&client, Epoch(2), |_| Ok(()))).unwrap()
    };
    assert_eq!(barrier, Epoch(2));
    let report = run(&client, &manifest);
    assert_eq!(report.damage.len(), 1, "{:?}", report.damage);
    assert_eq!(report.damage[0].key, keys.chunk(Epoch(2), 1));
    assert_eq!(report.last, Lsn(2));
    drop(store);
}

#[test]
fn what_passes_is_no_damage_and_a_store_that_is_gone_is_no_report() {
    let (store, client, manifest) = archive(&SIZES);
    for fault in [Fault::Flipped, Fault::Busy, Fault::Hang] {
        for key in ["packs", ".pieces", "log"] {
            store.plan(Op::Get, key, fault);
        }
        assert_eq!(run(&client, &manifest).damage, [], "{fault:?}");
    }
    store.dark(true);
    let ended = block_on(scrub(&client, &Keys(ENGINE), &manifest, 0, |_| ()));
    assert_eq!(ended.unwrap_err().kind(), ArchiveErrorKind::Retry);
}

#[test]
fn engines_are_found_by_one_listing() {
    let (store, client, _) = archive(&[100]);
    let other = EngineId([0x0a; 16]);
    block_on(ManifestWriter::load_or_create(&client, Manifest::first(other, Epoch(1), Micros(0)))).unwrap();
    for key in ["something/else", "E1E1E1E1E1E1E1E1E1E1E1E1E1E1E1E1/manifest", "file", "+0a/manifest"] {
        store.poke(key, "x");
    }
    store.requests();
    assert_eq!(block_on(engines(&client)).unwrap(), [other, ENGINE]);
    assert_eq!(store.requests(), [(Op::List, String::new())]);
    assert_eq!(client.traffic().lists, 1);
    assert_eq!(block_on(engines(&super::client(&SimStore::new(), 1))).unwrap(), []);
}
