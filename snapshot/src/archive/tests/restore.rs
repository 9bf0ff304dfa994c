//! All packs of an archive come into a data directory.

use super::super::sim::{Fault, Op};
use super::upload::Pattern;
use super::*;
use crate::PackNumber;
use crate::sync::{AtomicU64, Ordering};
use lineal_wal::sim::SimDisk;
use lineal_wal::{Disk, OpenMode};

const COUNT: u64 = 9;

fn bytes_of(number: u64) -> u64 {
    number * 50_000
}

fn archive(store: &Arc<SimStore>) -> Manifest {
    let client = client(store, 1);
    let pack = |number| LocalPack {
        number: PackNumber(number),
        source: Arc::new(Pattern { bytes: bytes_of(number), salt: number }),
    };
    let packs = (1..=COUNT).map(pack).collect();
    let live = Live { packs, line: Lsn(1), logs: vec![], horizon: Micros(0), note: vec![] };
    Runtime::start()
        .unwrap()
        .run(async move {
            let first = Manifest::first(ENGINE, Epoch(1), Micros(0));
            let mut manifest = ManifestWriter::load_or_create(&client, first).await?;
            archive_packs(&client, &mut manifest, Epoch(1), Micros(1), &live).await?;
            Ok(manifest.manifest().clone())
        })
        .unwrap()
}

/// Restores, and says what was done and how many bytes were told.
fn restore(
    client: &Client,
    manifest: &Manifest,
    disk: &SimDisk,
    parallel: usize,
) -> (Result<RestoredPacks, ArchiveError>, u64) {
    let told = Arc::new(AtomicU64::new(0));
    let (client, manifest) = (client.clone(), manifest.clone());
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    let tell = Arc::clone(&told);
    let restored = Runtime::start().unwrap().run(async move {
        let progress = Arc::new(move |bytes| {
            tell.fetch_add(bytes, Ordering::Relaxed);
        });
        restore_packs(&client, &Keys(ENGINE), &manifest, &disk, parallel, progress).await
    });
    (restored, told.load(Ordering::Relaxed))
}

/// Every file that has a pack's name is that pack.
fn check(disk: &SimDisk, manifest: &Manifest) -> u64 {
    let Ok(names) = disk.list("packs") else { return 0 };
    let mut packs = 0;
    for number in names.iter().filter_map(|name| PackNumber::from_file_name(name)) {
        let file = disk.open(&number.path(), OpenMode::Read).unwrap();
        let mut bytes = vec![0; file.len().unwrap() as usize];
        file.read_exact_at(&mut bytes, 0).unwrap();
        assert_eq!(blake3::hash(&bytes), manifest.packs[number.0 as usize - 1].hash);
        packs += 1;
    }
    packs
}

#[test]
fn all_packs_come_several_at_a_time_and_once() {
    for parallel in [0, 1, 4, 100] {
        let store = SimStore::new();
        let manifest = archive(&store);
        let disk = SimDisk::new();
        let client = client(&store, 2);
        let all: u64 = (1..=COUNT).map(bytes_of).sum();
        let now = RestoredPacks { fetched: COUNT, found: 0, bytes: all };
        let (restored, told) = restore(&client, &manifest, &disk, parallel);
        assert_eq!((restored.unwrap(), told), (now, all));
        assert_eq!(check(&disk, &manifest), COUNT);
        store.requests();
        let (restored, told) = restore(&client, &manifest, &disk, parallel);
        let before = RestoredPacks { fetched: 0, found: COUNT, bytes: 0 };
        assert_eq!((restored.unwrap(), told), (before, all));
        assert!(store.requests().is_empty());
    }
}

#[test]
fn a_restore_that_ends_at_any_request_goes_on_where_it_was() {
    for last in 0..12 {
        let store = SimStore::new();
        let manifest = archive(&store);
        let disk = SimDisk::new();
        let client = client(&store, 2);
        store.dark_after(last);
        let (ended, _) = restore(&client, &manifest, &disk, 3);
        assert_eq!(ended.is_ok(), last >= COUNT);
        store.clear();
        let there = check(&disk, &manifest);
        let restored = restore(&client, &manifest, &disk, 3).0.unwrap();
        assert_eq!((restored.found, restored.fetched), (there, COUNT - there));
        assert_eq!(check(&disk, &manifest), COUNT);
    }
}

#[test]
fn a_damaged_pack_is_named_and_gets_no_file() {
    let store = SimStore::new();
    let manifest = archive(&store);
    let key = manifest.packs[4].key(&Keys(ENGINE));
    let mut bad = store.peek(&key).unwrap().to_vec();
    bad[1_000] ^= 1;
    store.poke(&key, bad);
    let disk = SimDisk::new();
    let error = restore(&client(&store, 2), &manifest, &disk, 2).0.unwrap_err();
    assert!(matches!(&error, ArchiveError::Damaged { key: named, .. } if *named == key), "{error}");
    assert!(check(&disk, &manifest) < COUNT);
    assert!(!disk.exists(&PackNumber(5).path()).unwrap());
}

#[test]
fn whatever_passes_all_packs_come() {
    for seed in 0..10 {
        let store = SimStore::new();
        let manifest = archive(&store);
        store.shake(seed, 300);
        store.plan(Op::Get, "packs", Fault::HalfStored);
        let disk = SimDisk::new();
        // A look that is stale shows no pack at all, which counts: then it is called again.
        let client = client(&store, seed);
        let restored = (0..100).find_map(|_| restore(&client, &manifest, &disk, 3).0.ok());
        assert!(restored.is_some() && check(&disk, &manifest) == COUNT, "seed {seed}");
    }
}
