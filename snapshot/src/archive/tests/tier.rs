//! Packs that are read from the archive as if they were files.

use super::super::pieces::{PIECE_BYTES, describe};
use super::super::sim::{Fault, Op};
use super::upload::{Pattern, pattern};
use super::*;
use crate::testing::{Model, ask_everything, small_model, small_options, write_model};
use crate::{BlockCache, Kind, Pack, PackError, PackNumber};
use lineal_wal::sim::SimDisk;
use lineal_wal::{Disk, DiskFile, OpenMode};
use std::future::Future;
use std::io;

/// An archive, and a data directory in front of it.
struct Setup {
    store: Arc<SimStore>,
    client: Client,
    runtime: Arc<Runtime>,
    disk: SimDisk,
    manifest: Manifest,
    tier: Arc<Tier>,
}

impl Setup {
    /// Archives some packs, and puts a tier in front of an empty disk.
    fn new(packs: Vec<LocalPack>, cache_bytes: u64) -> Self {
        let store = SimStore::new();
        let client = client(&store, 1);
        let runtime = Arc::new(Runtime::start().unwrap());
        let manifest = {
            let client = client.clone();
            let live = Live { packs, line: Lsn(1), logs: vec![], horizon: Micros(0), note: vec![] };
            runtime.run(async move {
                let first = Manifest::first(ENGINE, Epoch(1), Micros(0));
                let mut manifest = ManifestWriter::load_or_create(&client, first).await?;
                archive_packs(&client, &mut manifest, Epoch(1), Micros(1), &live).await?;
                Ok(manifest.manifest().clone())
            })
        }
        .unwrap();
        let disk = SimDisk::new();
        let tier = Tier::new(
            Arc::new(disk.clone()),
            client.clone(),
            Arc::clone(&runtime),
            Keys(ENGINE),
            TierOptions { cache_bytes },
        );
        tier.set_archived(&manifest.packs);
        store.requests();
        Self { store, client, runtime, disk, manifest, tier }
    }

    fn pattern(bytes: &[u64], cache_bytes: u64) -> Self {
        let pack = |(number, bytes): (u64, &u64)| LocalPack {
            number: PackNumber(number),
            source: Arc::new(Pattern { bytes: *bytes, salt: 0 }),
        };
        Self::new((1..).zip(bytes).map(pack).collect(), cache_bytes)
    }

    fn file(&self, number: u64) -> Box<dyn DiskFile> {
        self.tier.open(&PackNumber(number).path(), OpenMode::Read).unwrap()
    }

    fn key(&self, number: u64) -> String {
        self.manifest.packs[number as usize - 1].key(&Keys(ENGINE))
    }

    fn gets(&self) -> usize {
        self.store.requests().len()
    }

    fn another_tier(&self) -> Arc<Tier> {
        let disk = Arc::new(SimDisk::new());
        let options = TierOptions { cache_bytes: 1 << 20 };
        let tier = Tier::new(disk, self.client.clone(), Arc::clone(&self.runtime), Keys(ENGINE), options);
        tier.set_archived(&self.manifest.packs);
        tier
    }
}

fn read(file: &dyn DiskFile, offset: u64, bytes: usize) -> io::Result<Vec<u8>> {
    let mut found = vec![0; bytes];
    file.read_exact_at(&mut found, offset).map(|()| found)
}

fn expected(offset: u64, bytes: usize) -> Vec<u8> {
    (offset..).take(bytes).map(pattern).collect()
}

/// The error of the archive behind an error of a file.
fn archive_error(error: &io::Error) -> ArchiveError {
    error.get_ref().unwrap().downcast_ref::<ArchiveError>().unwrap().clone()
}

const REAL: PackNumber = PackNumber(5);

fn real_pack(model: &Model) -> Setup {
    let disk = SimDisk::new();
    write_model(&disk, REAL.0, small_options(), model).unwrap();
    Setup::new(vec![LocalPack::open(&disk, REAL).unwrap()], 1 << 20)
}

fn open(tier: &Arc<Tier>) -> Result<Arc<Pack>, PackError> {
    let disk: Arc<dyn Disk> = Arc::<Tier>::clone(tier);
    Pack::open(&disk, &BlockCache::new(1 << 20), REAL)
}

#[test]
fn a_pack_is_opened_and_settled_without_a_request_and_answers_everything() {
    let model = small_model();
    let setup = real_pack(&model);
    let pack = open(&setup.tier).unwrap();
    let disk: Arc<dyn Disk> = Arc::<Tier>::clone(&setup.tier);
    Pack::settle(&disk, REAL).unwrap();
    assert_eq!(setup.gets(), 0);
    ask_everything(&pack, &model).unwrap();
    pack.verify(&mut |_| ()).unwrap();
    let packs = setup.manifest.packs[0].bytes.div_ceil(PIECE_BYTES);
    assert_eq!(setup.gets() as u64, packs, "a pack of one piece needs no list");
}

#[test]
fn every_read_of_a_pack_is_the_bytes_of_its_file() {
    let sizes = [1, 100, PIECE_BYTES, PIECE_BYTES + 1, 5 * PIECE_BYTES - 3, 20 << 20];
    for cache_bytes in [0, 3 * PIECE_BYTES, 1 << 30] {
        let setup = Setup::pattern(&sizes, cache_bytes);
        for (number, size) in (1..).zip(sizes) {
            let file = setup.file(number);
            assert_eq!(file.len().unwrap(), size);
            let mut draw = 7u64;
            for _ in 0..40 {
                draw = draw.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
                let offset = (draw >> 20) % size;
                let bytes = ((draw >> 40) % 200_000).min(size - offset) as usize;
                assert_eq!(read(&*file, offset, bytes).unwrap(), expected(offset, bytes));
            }
            let whole = size as usize;
            assert!(read(&*file, 0, whole).unwrap() == expected(0, whole));
            let beyond = read(&*file, 1, whole).unwrap_err();
            assert_eq!(beyond.kind(), io::ErrorKind::UnexpectedEof);
            assert!(file.write_all_at(&expected(0, 1), 0).is_ok());
            assert!(file.write_all_at(&[!pattern(0)], 0).is_err() && file.set_len(0).is_err());
        }
        let held = setup.tier.stats().cache_bytes;
        assert!(held <= cache_bytes.max(64 * PIECE_BYTES), "{held}");
    }
}

#[test]
fn a_first_read_costs_two_requests_and_adjacent_pieces_cost_one() {
    let setup = Setup::pattern(&[10 << 20, 200 << 20], 1 << 30);
    let file = setup.file(1);
    read(&*file, 5 * PIECE_BYTES + 9, 100).unwrap();
    assert_eq!(setup.gets(), 2, "the list and the piece");
    read(&*file, 5 * PIECE_BYTES, 64 << 10).unwrap();
    assert_eq!(setup.gets(), 0);
    read(&*file, 4 * PIECE_BYTES, 10 * PIECE_BYTES as usize).unwrap();
    assert_eq!(setup.gets(), 2, "one before what is at hand, one behind");

    let large = setup.file(2);
    let before = setup.tier.stats().fetched_bytes;
    read(&*large, 150 << 20, 100).unwrap();
    read(&*large, 10 << 20, 100).unwrap();
    assert_eq!(setup.gets(), 4);
    assert_eq!(setup.tier.stats().fetched_bytes - before, (2 * (64 + 32)) << 10);
    read(&*large, (64 << 20) - 1, 2).unwrap();
    assert_eq!(setup.gets(), 2, "a page of the list, and two pieces");
    read(&*large, (192 << 20) - 1, 2).unwrap();
    assert_eq!(setup.gets(), 2, "one page of the list is at hand");
    let stats = setup.tier.stats();
    assert_eq!((stats.cold_packs, stats.misses), (2, 16));
}

#[test]
fn reading_from_front_to_back_takes_ever_more_at_once() {
    let setup = Setup::pattern(&[40 << 20], 1 << 30);
    let file = setup.file(1);
    for offset in (0..40 << 20).step_by(1 << 14) {
        assert_eq!(read(&*file, offset, 1 << 14).unwrap(), expected(offset, 1 << 14));
    }
    let gets = setup.gets();
    assert!(gets < 20, "{gets} requests for 640 pieces");
}

#[test]
fn many_who_want_one_piece_fetch_it_once() {
    let setup = Setup::pattern(&[10 << 20], 1 << 30);
    let file = setup.file(1);
    let start = std::sync::Barrier::new(16);
    std::thread::scope(|scope| {
        for thread in 0..16 {
            let (file, start) = (&file, &start);
            scope.spawn(move || {
                start.wait();
                let offset = 7 * PIECE_BYTES + thread;
                assert_eq!(read(&**file, offset, 50).unwrap(), expected(offset, 50));
            });
        }
    });
    assert_eq!(setup.gets(), 2);
}

#[test]
fn what_a_folder_shows_is_what_is_local_and_what_is_archived() {
    let setup = Setup::pattern(&[100, 200], 0);
    let tier = &setup.tier;
    let path = |number| PackNumber(number).path();
    let name = |number| path(number).split_off(6);
    assert_eq!(tier.list("packs").unwrap(), [name(1), name(2)]);
    setup.disk.create_dir("packs").unwrap();
    for (number, bytes) in [(2, 200), (3, 300)] {
        let file = setup.disk.open(&path(number), OpenMode::CreateNew).unwrap();
        file.write_all_at(&vec![9; bytes], 0).unwrap();
    }
    assert_eq!(tier.list("packs").unwrap(), [name(1), name(2), name(3)]);
    assert_eq!(tier.local_pack_bytes().unwrap(), 500);
    assert_eq!(tier.stats().cold_packs, 1);
    assert!((1..4).all(|number| tier.exists(&path(number)).unwrap()));
    assert_eq!([1, 2, 3].map(|number| tier.is_local(PackNumber(number)).unwrap()), [false, true, true]);
    assert_eq!([1, 2, 3].map(|number| tier.is_archived(PackNumber(number))), [true, true, false]);

    let local = setup.file(2);
    assert_eq!(read(&*local, 0, 5).unwrap(), [9; 5], "the local file goes first");
    let cold = tier.disk_cold().open(&path(2), OpenMode::Read).unwrap();
    assert_eq!(read(&*cold, 0, 5).unwrap(), expected(0, 5));
    assert_eq!(tier.disk_cold().open(&path(3), OpenMode::Read).unwrap().len().unwrap(), 300);

    assert_eq!(tier.drop_local(PackNumber(3)).unwrap_err().kind(), io::ErrorKind::InvalidInput);
    assert_eq!((tier.drop_local(PackNumber(2)).unwrap(), tier.drop_local(PackNumber(2)).unwrap()), (200, 0));
    assert_eq!(read(&*setup.file(2), 0, 5).unwrap(), expected(0, 5));
    assert_eq!(tier.list("packs").unwrap(), [name(1), name(2), name(3)]);

    tier.remove(&path(1)).unwrap();
    assert_eq!(tier.remove(&path(1)).unwrap_err().kind(), io::ErrorKind::NotFound);
    tier.remove(&path(3)).unwrap();
    assert_eq!(tier.list("packs").unwrap(), [name(2)]);
    assert_eq!(tier.open(&path(1), OpenMode::Read).unwrap_err().kind(), io::ErrorKind::NotFound);

    let file = setup.disk.open(&path(2), OpenMode::CreateNew).unwrap();
    file.write_all_at(&[1; 10], 0).unwrap();
    assert_eq!(tier.drop_local(PackNumber(2)).unwrap_err().kind(), io::ErrorKind::InvalidData);
}

/// Whatever a store makes of packs and lists, a read gives the right bytes or says which ones are damaged.
#[test]
fn damage_is_an_error_that_names_key_and_range_and_never_wrong_bytes() {
    let size = 5 * PIECE_BYTES - 3;
    let setup = Setup::pattern(&[size, size + 1], 0);
    let (key, list) = (setup.key(1), format!("{}.pieces", setup.key(1)));
    let good = setup.store.peek(&key).unwrap();
    let good_list = setup.store.peek(&list).unwrap();
    let changed = |bytes: &[u8], at: usize| {
        let mut changed = bytes.to_vec();
        changed[at] ^= 4;
        changed
    };
    let swapped = {
        let mut swapped = good.to_vec();
        swapped.copy_within(..PIECE_BYTES as usize, 2 * PIECE_BYTES as usize);
        swapped
    };
    let cases: Vec<(&str, &str, Vec<u8>)> = vec![
        ("a flipped bit", &key, changed(&good, 2 * PIECE_BYTES as usize + 77)),
        ("a cut pack", &key, good[..2 * PIECE_BYTES as usize + 5].to_vec()),
        ("an empty pack", &key, vec![]),
        ("a piece of another place", &key, swapped),
        ("another pack", &key, setup.store.peek(&setup.key(2)).unwrap().to_vec()[1..].to_vec()),
        ("a flipped list", &list, changed(&good_list, 70)),
        ("a cut list", &list, good_list[..64].to_vec()),
        ("an empty list", &list, vec![]),
        ("a list of the pack that is there", &list, {
            let (_, list) = describe(PackNumber(1), &Pattern { bytes: size + 1, salt: 0 }).unwrap();
            list
        }),
    ];
    for (what, key, bytes) in cases {
        setup.store.poke(key, bytes);
        let tier = setup.another_tier();
        let file = tier.open(&PackNumber(1).path(), OpenMode::Read).unwrap();
        let damaged = 2 * PIECE_BYTES;
        let error = archive_error(&read(&*file, damaged, 100).unwrap_err());
        let ArchiveError::DamagedPart { key: named, range, .. } = &error else { panic!("{what}: {error}") };
        assert_eq!(named, key, "{what}");
        let covers = if named == &list { 0..5 * 32 } else { damaged..damaged + PIECE_BYTES };
        assert_eq!(*range, covers, "{what}");
        // A read of all of it fails too, and what lies before the damage is there where it can be.
        assert!(read(&*file, 0, size as usize).is_err(), "{what}");
        for piece in 0..5 {
            let bytes = 64.min(size - piece * PIECE_BYTES) as usize;
            if let Ok(found) = read(&*file, piece * PIECE_BYTES, bytes) {
                assert_eq!(found, expected(piece * PIECE_BYTES, bytes), "{what}");
            }
        }
        let good = if key == list { &good_list } else { &good };
        setup.store.poke(key, good.clone());
        assert_eq!(read(&*file, damaged, 100).unwrap(), expected(damaged, 100), "{what}: healed");
    }
    setup.store.roll_back(&key);
    setup.store.poke(&key, changed(&good, 0));
    let tier = setup.another_tier();
    let file = tier.open(&PackNumber(1).path(), OpenMode::Read).unwrap();
    assert!(read(&*file, 0, 10).is_err());
    assert_eq!(read(&*file, PIECE_BYTES, 10).unwrap(), expected(PIECE_BYTES, 10), "the rest is readable");
}

#[test]
fn a_missing_pack_and_a_store_that_does_not_answer_are_told_apart() {
    let setup = Setup::pattern(&[1_000], 0);
    let file = setup.file(1);
    setup.store.dark(true);
    let error = read(&*file, 0, 10).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    assert_eq!(archive_error(&error).kind(), ArchiveErrorKind::Retry);
    setup.store.clear();
    assert_eq!(read(&*file, 0, 10).unwrap(), expected(0, 10), "it answers again");

    let setup = Setup::pattern(&[1_000], 0);
    let key = setup.key(1);
    block_on(setup.client.delete(&key)).unwrap();
    let error = archive_error(&read(&*setup.file(1), 0, 10).unwrap_err());
    assert!(matches!(&error, ArchiveError::Missing { key: named, .. } if *named == key), "{error}");
}

#[test]
fn what_passes_is_not_noticed() {
    let setup = Setup::pattern(&[1 << 20], 0);
    for fault in [Fault::Busy, Fault::Hang, Fault::LostReply, Fault::Flipped, Fault::DoneAndHang] {
        setup.store.plan(Op::Get, "packs", fault);
        setup.store.plan(Op::Get, ".pieces", fault);
        let tier = setup.another_tier();
        let file = tier.open(&PackNumber(1).path(), OpenMode::Read).unwrap();
        assert_eq!(read(&*file, 99, 100_000).unwrap(), expected(99, 100_000), "{fault:?}");
        setup.store.clear();
    }
}

#[test]
fn nothing_that_stands_in_the_cache_file_is_believed() {
    let setup = Setup::pattern(&[4 * PIECE_BYTES], 1 << 20);
    let file = setup.file(1);
    read(&*file, 0, 4 * PIECE_BYTES as usize).unwrap();
    setup.gets();
    let cache = setup.disk.open("cache/blocks", OpenMode::ReadWrite).unwrap();
    cache.write_all_at(&[0x55; 10], PIECE_BYTES + 5).unwrap();
    assert_eq!(read(&*file, PIECE_BYTES, 100).unwrap(), expected(PIECE_BYTES, 100));
    assert_eq!(setup.gets(), 1, "it was fetched again");
    cache.set_len(0).unwrap();
    assert_eq!(read(&*file, 0, 100).unwrap(), expected(0, 100));
    assert_eq!(setup.gets(), 1);
    assert_eq!(read(&*file, 0, 100).unwrap(), expected(0, 100));
    assert_eq!(setup.gets(), 0, "and is at hand again");
}

#[test]
fn a_read_on_the_archives_own_thread_fails_and_does_not_hang() {
    let setup = Setup::pattern(&[1_000], 0);
    let file = setup.file(1);
    let found = setup.runtime.run(async move { Ok(read(&*file, 0, 10).map_err(|error| error.kind())) });
    assert_eq!(found.unwrap().unwrap_err(), io::ErrorKind::Deadlock);
}

#[test]
fn the_list_of_pieces_of_version_1() {
    let (pack, list) = describe(PackNumber(1), &Pattern { bytes: 2 * PIECE_BYTES + 1, salt: 0 }).unwrap();
    let pieces = [(0, PIECE_BYTES as usize), (PIECE_BYTES, PIECE_BYTES as usize), (2 * PIECE_BYTES, 1)];
    let hashes = pieces.map(|(offset, bytes)| *blake3::hash(&expected(offset, bytes)).as_bytes());
    assert_eq!(list, hashes.concat());
    assert_eq!(pack.pages, [*blake3::hash(&list).as_bytes()]);
    assert_eq!(pack.hash, *blake3::hash(&expected(0, 2 * PIECE_BYTES as usize + 1)).as_bytes());
    let key = pack.pieces_key(&Keys(ENGINE));
    assert_eq!(key, format!("{}.pieces", pack.key(&Keys(ENGINE))));
    let (pages, rest) = describe(PackNumber(1), &Pattern { bytes: (64 << 20) + 1, salt: 0 })
        .map(|(pack, list)| (pack.pages.len(), list.len()))
        .unwrap();
    assert_eq!((pages, rest), (2, 1_025 * 32));
}

#[test]
fn a_real_pack_that_is_damaged_in_the_store_gives_errors_or_the_right_answers() {
    let model = small_model();
    let setup = real_pack(&model);
    let key = setup.key(1);
    let good = setup.store.peek(&key).unwrap();
    for at in (0..good.len()).step_by(good.len() / 20) {
        let mut bad = good.to_vec();
        bad[at] ^= 1;
        setup.store.poke(&key, bad);
        let pack = open(&setup.another_tier()).unwrap();
        let error = ask_everything(&pack, &model).unwrap_err();
        let PackError::Io { source, .. } = &error else { panic!("{error}") };
        assert!(matches!(archive_error(source), ArchiveError::DamagedPart { .. }));
    }
    assert!(model.keys().any(|key| key.kind == Kind::Head));
}

#[test]
fn a_read_that_must_not_wait_fails_and_says_what_to_fetch() {
    for cache_bytes in [0, 1 << 20] {
        let setup = Setup::pattern(&[10 << 20], cache_bytes);
        let file = setup.file(1);
        let (found, missing) = without_blocking(|| read(&*file, 3 * PIECE_BYTES - 10, 100));
        assert_eq!(found.unwrap_err().kind(), io::ErrorKind::WouldBlock);
        assert_eq!(setup.gets(), 0, "nothing was begun");
        block_on(missing.unwrap().fetch()).unwrap();
        assert_eq!(setup.gets(), 2);
        let (found, missing) = without_blocking(|| read(&*file, 3 * PIECE_BYTES - 10, 100));
        assert_eq!(found.unwrap(), expected(3 * PIECE_BYTES - 10, 100));
        assert!(missing.is_none() && setup.gets() == 0);
        assert_eq!(read(&*file, 0, 10).unwrap(), expected(0, 10), "outside of it, reads wait");
    }
}

#[test]
fn what_was_missed_belongs_to_whoever_asked_for_it() {
    let setup = Setup::pattern(&[10 << 20], 0);
    let file = setup.file(1);
    let (inner, outer) = without_blocking(|| {
        let _ = read(&*file, 0, 10);
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            without_blocking(|| -> () { std::panic::resume_unwind(Box::new(())) })
        }));
        assert!(panicked.is_err());
        without_blocking(|| read(&*file, 5 * PIECE_BYTES, 10).is_ok()).1
    });
    block_on(outer.unwrap().fetch()).unwrap();
    let at_hand = |piece: u64| without_blocking(|| read(&*file, piece * PIECE_BYTES, 10)).1.is_none();
    assert!(at_hand(0) && !at_hand(5));
    block_on(inner.unwrap().fetch()).unwrap();
    assert!(at_hand(5));
    let missed = std::thread::scope(|scope| {
        scope.spawn(|| without_blocking(|| read(&*file, 9 * PIECE_BYTES, 10).is_ok()).1).join().unwrap()
    });
    assert!(missed.is_some(), "every thread has notes of its own");
    assert!(read(&*file, 8 * PIECE_BYTES, 10).is_ok());
}

#[test]
fn it_is_known_that_a_read_missed_something() {
    let setup = Setup::pattern(&[1 << 20], 1 << 20);
    let file = setup.file(1);
    let ((before, after), missing) = without_blocking(|| {
        let before = has_missed();
        let _ = read(&*file, 0, 10);
        (before, has_missed())
    });
    assert!(!before && after && !has_missed());
    block_on(missing.unwrap().fetch()).unwrap();
    assert!(!without_blocking(|| read(&*file, 0, 10).is_ok() && has_missed()).0);
}

#[test]
fn who_reads_on_without_waiting_begins_ever_less_often() {
    let setup = Setup::pattern(&[30 << 20], 64 << 20);
    let file = setup.file(1);
    let mut attempts = 0;
    loop {
        attempts += 1;
        let all = || (0..480).try_for_each(|piece| read(&*file, piece * PIECE_BYTES, 10).map(drop));
        let (read, missing) = without_blocking(all);
        let Some(missing) = missing else {
            read.unwrap();
            break;
        };
        block_on(missing.fetch()).unwrap();
    }
    assert!(attempts < 20, "{attempts}");
    assert!(setup.gets() < 20);
}

#[test]
fn damage_behind_what_was_missed_is_nobodys_failure() {
    let setup = Setup::pattern(&[4 << 20], 64 << 20);
    let file = setup.file(1);
    let key = setup.key(1);
    let mut bad = setup.store.peek(&key).unwrap().to_vec();
    let piece_bytes = usize::try_from(PIECE_BYTES).unwrap();
    bad[10 * piece_bytes + 5] ^= 1;
    setup.store.poke(&key, bad);
    for piece in 0..10 {
        loop {
            let (read, missing) = without_blocking(|| read(&*file, piece * PIECE_BYTES, 10));
            let Some(missing) = missing else {
                read.unwrap();
                break;
            };
            block_on(missing.fetch()).unwrap();
        }
    }
    let missing = without_blocking(|| read(&*file, 10 * PIECE_BYTES, 10).is_ok()).1.unwrap();
    assert!(matches!(block_on(missing.fetch()), Err(ArchiveError::DamagedPart { .. })));
}

#[test]
fn a_fetch_says_what_went_wrong_and_one_that_is_given_up_goes_on() {
    let setup = Setup::pattern(&[1 << 20], 1 << 20);
    let file = setup.file(1);
    let miss = || without_blocking(|| read(&*file, 0, 1 << 20).is_ok()).1.unwrap();
    setup.store.dark(true);
    assert_eq!(block_on(miss().fetch()).unwrap_err().kind(), ArchiveErrorKind::Retry);
    setup.store.clear();
    let good = setup.store.peek(&setup.key(1)).unwrap();
    setup.store.poke(&setup.key(1), vec![0; 1 << 20]);
    assert!(matches!(block_on(miss().fetch()), Err(ArchiveError::DamagedPart { .. })));
    setup.store.poke(&setup.key(1), good);

    let waker = std::task::Waker::noop();
    let mut fetch = Box::pin(miss().fetch());
    assert!(fetch.as_mut().poll(&mut std::task::Context::from_waker(waker)).is_pending());
    drop(fetch);
    for _ in 0..4_000 {
        if without_blocking(|| read(&*file, 0, 1 << 20).is_ok()).0 {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    panic!("what was begun does not come");
}

#[test]
fn a_pack_is_asked_everything_without_ever_waiting() {
    let model = small_model();
    let setup = real_pack(&model);
    let pack = open(&setup.tier).unwrap();
    for attempt in 1.. {
        let (asked, missing) = without_blocking(|| ask_everything(&pack, &model));
        let Some(missing) = missing else {
            asked.unwrap();
            assert!(attempt > 1);
            return;
        };
        block_on(missing.fetch()).unwrap();
    }
}

#[test]
fn a_tier_that_is_gone_ends_those_who_wait() {
    let setup = Setup::pattern(&[1 << 20], 0);
    let file = setup.file(1);
    let missing = without_blocking(|| read(&*file, 0, 10).is_ok()).1.unwrap();
    setup.store.dark(true);
    let Setup { tier, runtime, .. } = setup;
    let mut fetch = Box::pin(missing.fetch());
    let waker = std::task::Waker::noop();
    assert!(fetch.as_mut().poll(&mut std::task::Context::from_waker(waker)).is_pending());
    drop((file, tier, runtime));
    assert!(matches!(block_on(fetch), Err(ArchiveError::Closed | ArchiveError::Unavailable { .. })));
}
