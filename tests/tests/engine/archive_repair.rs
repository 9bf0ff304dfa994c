//! Archives whose manifest is lost: what is made of what the store holds is what was there, or says what it lacks.

use std::{
    collections::BTreeMap,
    future::ready,
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use bytes::Bytes;
use lineal::{
    Engine, Error, ErrorKind, Micros, Options,
    archive::{
        self, Answer, ArchiveError, ArchiveOptions, Found, Listing, Repaired, RestoreOptions, Source, Store,
        StoreError, StoreErrorKind, Tag, When,
    },
};
use lineal_snapshot::archive::{
    Manifest,
    sim::{Fault, Op, SimStore},
};
use lineal_tests::{
    archive::{HURRIED, hurried},
    model::{self, State},
    workload::{every_feature, states},
    world::{self, World},
};
use lineal_wal::{EngineId, sim::SimDisk};

fn options(disk: &SimDisk, store: &Arc<SimStore>) -> Options {
    world::options(disk, 1).archive(hurried(store))
}

fn attached(store: &Arc<SimStore>) -> Engine {
    world::options(&SimDisk::new(), 9).archive(hurried(store)).attach("simulated").unwrap()
}

/// Attached although a repair that ended somewhere has left its lease.
fn by_force(store: &Arc<SimStore>) -> Engine {
    let archive = hurried(store).force(true);
    world::options(&SimDisk::new(), 9).archive(archive).attach("simulated").unwrap()
}

fn everything(store: &SimStore) -> BTreeMap<String, Bytes> {
    store.keys().into_iter().map(|key| (key.clone(), store.peek(&key).unwrap())).collect()
}

/// A store of its own with the same in it.
fn copy(store: &SimStore) -> Arc<SimStore> {
    let copy = SimStore::new();
    everything(store).into_iter().for_each(|(key, bytes)| copy.poke(&key, bytes));
    copy
}

fn remove(store: &SimStore, key: &str) {
    pollster::block_on(store.delete(key)).unwrap();
}

/// The keys that have this in them.
fn keys(store: &SimStore, part: &str) -> Vec<String> {
    store.keys().into_iter().filter(|key| key.contains(part)).collect()
}

fn packs(store: &SimStore) -> Vec<String> {
    keys(store, "/packs/").into_iter().filter(|key| !key.ends_with(".pieces")).collect()
}

fn manifest_key(store: &SimStore) -> String {
    keys(store, "/lease")[0].replace("/lease", "/manifest")
}

fn manifest(store: &SimStore) -> Manifest {
    let key = manifest_key(store);
    let engine = u128::from_str_radix(key.split_once('/').unwrap().0, 16).unwrap();
    Manifest::decode(EngineId(engine.to_be_bytes()), &store.peek(&key).unwrap()).unwrap()
}

fn repair(store: &Arc<SimStore>, dry_run: bool) -> lineal::Result<Repaired> {
    archive::repair(&hurried(store).holder("repair"), None, dry_run)
}

/// A store that ends after so many requests, as seen by who asks: as if its process had. The last one may still be done.
#[derive(Debug)]
struct Ends {
    store: Arc<SimStore>,
    left: AtomicU64,
    last_is_done: bool,
}

impl Ends {
    fn ask<'a, T: Send + 'a>(&self, answer: Answer<'a, T>) -> Answer<'a, T> {
        let left = self.left.fetch_update(Relaxed, Relaxed, |left| Some(left.saturating_sub(1))).unwrap();
        if left > 1 || left == 1 && !self.last_is_done {
            return answer;
        }
        if left == 1 {
            let _ = pollster::block_on(answer);
        }
        Box::pin(ready(Err(StoreError::new(StoreErrorKind::Busy, "it has ended"))))
    }
}

impl Store for Ends {
    fn name(&self) -> &str {
        self.store.name()
    }

    fn get<'a>(&'a self, key: &'a str, range: Option<Range<u64>>) -> Answer<'a, Found> {
        self.ask(Box::pin(async move { self.store.get(key, range).await }))
    }

    fn put<'a>(&'a self, key: &'a str, bytes: Bytes, when: When) -> Answer<'a, Option<Tag>> {
        self.ask(Box::pin(async move { self.store.put(key, bytes, when).await }))
    }

    fn upload<'a>(&'a self, key: &'a str, source: Arc<dyn Source>) -> Answer<'a, ()> {
        self.ask(Box::pin(async move { self.store.upload(key, source).await }))
    }

    fn delete<'a>(&'a self, key: &'a str) -> Answer<'a, ()> {
        self.ask(Box::pin(async move { self.store.delete(key).await }))
    }

    fn list<'a>(&'a self, folder: &'a str) -> Answer<'a, Listing> {
        self.ask(Box::pin(async move { self.store.list(folder).await }))
    }
}

/// A repair that comes to so many requests.
fn repair_until(store: &Arc<SimStore>, left: u64, last_is_done: bool) -> lineal::Result<Repaired> {
    let ends = Ends { store: Arc::clone(store), left: AtomicU64::new(left), last_is_done };
    archive::repair(&ArchiveOptions::store(Arc::new(ends)).holder("repair").patience(HURRIED), None, false)
}

/// As `repair` where nothing may be missing.
fn repaired(store: &Arc<SimStore>) -> Repaired {
    let repaired = repair(store, false).unwrap();
    assert!(repaired.was.is_some() && repaired.left_out.is_empty(), "{repaired:?}");
    repaired
}

/// An archive of everything that engines do, closed; with its directory, and what is in it.
fn kept() -> (Arc<SimStore>, SimDisk, State) {
    let (store, disk, steps) = (SimStore::new(), SimDisk::new(), every_feature());
    let mut world = World::open_archived(&disk, 1, &hurried(&store), false).unwrap();
    for step in &steps {
        world.step(step).unwrap();
    }
    world.engine().archive_now().unwrap();
    let state = states(&steps).pop().unwrap();
    assert_eq!(world.dump().unwrap(), model::visible(&state));
    drop(world);
    (store, disk, state)
}

/// That an engine has this in it, and is whole.
fn check(engine: &Engine, state: &State, context: &str) {
    assert_eq!(world::dump(engine).unwrap(), model::visible(state), "{context}");
    world::check_history(engine, state).unwrap_or_else(|error| panic!("{context}: the past: {error}"));
    engine.verify(&mut |_| ()).unwrap_or_else(|error| panic!("{context}: verifying: {error}"));
}

/// Commits a value of its own under a number, archived when it returns.
fn commit(engine: &Engine, number: u64) {
    let log = engine.namespace("log").unwrap().object("log").unwrap();
    log.transact(|tx| tx.put(format!("{number:04}"), vec![number as u8; 900])).wait().unwrap();
    engine.archive_now().unwrap();
}

/// The numbers that were committed.
fn numbers(engine: &Engine) -> Vec<u64> {
    let Ok(namespace) = engine.existing_namespace("log") else { return Vec::new() };
    let log = namespace.object("log").unwrap();
    let entry = |entry: lineal::Result<(Vec<u8>, _)>| entry.map(|(key, _)| String::from_utf8(key).unwrap());
    let keys: Vec<String> = log.read(|view| view.range::<&str>(..).map(entry).collect()).wait().unwrap();
    engine.verify(&mut |_| ()).unwrap();
    keys.iter().map(|key| key.parse().unwrap()).collect()
}

#[test]
fn a_manifest_that_is_lost_is_made_again() {
    let (store, disk, state) = kept();
    let key = manifest_key(&store);
    let whole = store.peek(&key).unwrap();
    let mut flipped = whole.to_vec();
    flipped[60] ^= 1;
    let dir = tempfile::tempdir().unwrap();
    for (what, bad) in [
        ("removed", None),
        ("flipped", Some(flipped)),
        ("cut", Some(whole[..whole.len() / 2].to_vec())),
        ("empty", Some(Vec::new())),
    ] {
        let store = copy(&store);
        let was = manifest(&store);
        match bad {
            Some(bad) => store.poke(&key, bad),
            None => remove(&store, &key),
        }
        let before = everything(&store);
        let planned = repair(&store, true).unwrap();
        assert_eq!(everything(&store), before, "{what}: a dry run changes nothing");
        let done = repaired(&store);
        assert_eq!(done, planned, "{what}");
        assert!(done.was.as_ref().is_some_and(|was| was.contains("manifest")), "{what}: {done:?}");
        let now = manifest(&store);
        assert_eq!((&now.packs, now.line, &now.note), (&was.packs, was.line, &was.note), "{what}");
        assert!(now.epoch > was.epoch && now.generation > was.generation, "{what}");

        let after = everything(&store);
        assert_eq!(repair(&store, false).unwrap().was, None, "{what}: what is whole is left alone");
        assert_eq!(everything(&store), after, "{what}");
        check(&attached(&copy(&store)), &state, what);
        let to = dir.path().join(what);
        archive::restore(&hurried(&store), &to, &RestoreOptions::new(), &mut |_| ()).unwrap();
        check(&Engine::open(&to).unwrap(), &state, what);
        // The directory that it was made from goes on, and so does who attaches after that.
        let own = options(&SimDisk::from_image(&disk.kill().image()), &store).open("simulated").unwrap();
        check(&own, &state, what);
        commit(&own, 1);
        own.checkpoint().unwrap();
        commit(&own, 2);
        drop(own);
        assert_eq!(numbers(&attached(&store)), [1, 2], "{what}");
    }
}

#[test]
fn what_was_merged_and_purged_stays_so() {
    let (store, disk) = (SimStore::new(), SimDisk::new());
    let engine = options(&disk, &store).open("simulated").unwrap();
    let rooms = engine.namespace("rooms").unwrap();
    let mut noise = vec![0; 5_000];
    blake3::Hasher::new().update(b"secret").finalize_xof().fill(&mut noise);
    let needle = &noise[100..140];
    for name in ["secret", "kept"] {
        rooms.object(name).unwrap().transact(|tx| tx.put("noise", &noise[..])).wait().unwrap();
        rooms.object(name).unwrap().transact(|tx| tx.put("name", name)).wait().unwrap();
        if name == "secret" {
            engine.checkpoint().unwrap();
            engine.archive_now().unwrap();
            rooms.object(name).unwrap().purge().wait().unwrap();
        } else {
            rooms.object(name).unwrap().transact(|tx| tx.delete("noise")).wait().unwrap();
            rooms.object(name).unwrap().purge().wait().unwrap();
            rooms.object(name).unwrap().transact(|tx| tx.put("name", name)).wait().unwrap();
        }
        engine.checkpoint().unwrap();
        engine.archive_now().unwrap();
    }
    engine.compact().unwrap();
    engine.archive_now().unwrap();
    drop((rooms, engine));
    let holds = |store: &SimStore| {
        everything(store)
            .into_iter()
            .filter(|(_, bytes)| bytes.windows(needle.len()).any(|window| window == needle))
            .map(|(key, _)| key)
            .collect::<Vec<_>>()
    };
    let was = manifest(&store);
    assert!(
        !was.garbage_packs.is_empty() && !holds(&store).is_empty(),
        "inputs of the merge are still there"
    );
    remove(&store, &manifest_key(&store));
    repaired(&store);
    let now = manifest(&store);
    assert_eq!((&now.packs, now.line), (&was.packs, was.line));
    let garbage = |manifest: &Manifest| {
        manifest.garbage_packs.iter().map(|pack| (pack.number, pack.hash)).collect::<Vec<_>>()
    };
    assert_eq!(garbage(&now), garbage(&was), "the next writer deletes them");
    let open = attached(&copy(&store));
    let rooms = open.namespace("rooms").unwrap();
    let info = |name: &str| rooms.object(name).unwrap().read(|view| view.get("noise")).wait();
    assert!(matches!(info("secret"), Ok(None) | Err(Error::NotFound { .. })), "{:?}", info("secret"));
    assert_eq!(info("kept").unwrap(), None);
    drop((rooms, open));
    // What is garbage goes, and everything else stays.
    archive::gc(&hurried(&store).grace(Duration::ZERO), None, false).unwrap();
    assert_eq!(holds(&store), Vec::<String>::new());
    let open = attached(&store);
    open.verify(&mut |_| ()).unwrap();
    let kept = open.namespace("rooms").unwrap().object("kept").unwrap();
    assert_eq!(kept.read(|view| view.get("name")).wait().unwrap().unwrap(), b"kept"[..]);
}

#[test]
fn packs_that_are_lost_too_are_named_and_never_passed_over_in_silence() {
    let (store, disk) = (SimStore::new(), SimDisk::new());
    let engine = options(&disk, &store).open("simulated").unwrap();
    for number in 1..=6 {
        commit(&engine, number);
        if number % 2 == 0 {
            engine.checkpoint().unwrap();
            engine.archive_now().unwrap();
        }
    }
    commit(&engine, 7);
    drop(engine);
    let packs = packs(&store);
    assert_eq!(packs.len(), 3, "{packs:?}");
    // With the log that packs cover, and without it.
    for collected in [false, true] {
        if collected {
            archive::gc(&hurried(&store).grace(Duration::ZERO), None, false).unwrap();
        }
        for (at, pack) in packs.iter().enumerate() {
            for flipped in [false, true] {
                let context = format!("pack {at}, flipped {flipped}, collected {collected}");
                let store = copy(&store);
                let mut bytes = store.peek(pack).unwrap().to_vec();
                bytes[300] ^= 8;
                match flipped {
                    true => store.poke(pack, bytes),
                    false => remove(&store, pack),
                }
                remove(&store, &manifest_key(&store));
                let before = everything(&store);
                let planned = repair(&store, true);
                assert_eq!(everything(&store), before, "{context}");
                let done = repair(&store, false);
                let number = &pack[..pack.find("-").unwrap()];
                match (planned, done) {
                    (Ok(planned), Ok(done)) => {
                        assert_eq!(planned, done, "{context}");
                        let is_newest = at == 2 && !flipped;
                        let names = |key: &String| key.starts_with(number) || key.contains("/log/");
                        assert!(
                            done.left_out.iter().any(|(key, _)| names(key)) || (is_newest && !collected),
                            "{context}: {done:?}"
                        );
                        let found = numbers(&attached(&store));
                        let wanted = match (collected, at) {
                            (false, _) => 7,
                            (true, 1) => 2,
                            (true, _) => 4,
                        };
                        assert_eq!(found, (1..=wanted).collect::<Vec<_>>(), "{context}: {done:?}");
                    }
                    (Err(planned), Err(error)) => {
                        assert!(collected && at == 0, "{context}: {error}");
                        assert_eq!((planned.kind(), error.kind()), (ErrorKind::Corrupt, ErrorKind::Corrupt));
                        assert!(store.peek(&manifest_key(&store)).is_none(), "{context}");
                    }
                    other => panic!("{context}: {other:?}"),
                }
            }
        }
    }
}

#[test]
fn what_is_behind_a_gap_in_the_log_is_left_out_and_named() {
    let (store, disk) = (SimStore::new(), SimDisk::new());
    for numbers in [1..=3, 4..=6, 7..=9u64] {
        // Each in an epoch of its own.
        let engine = options(&disk, &store).open("simulated").unwrap();
        numbers.for_each(|number| commit(&engine, number));
    }
    remove(&store, &manifest_key(&store));
    let chunks: Vec<String> =
        keys(&store, "/log/").into_iter().filter(|key| store.peek(key).unwrap().len() > 200).collect();
    assert!(chunks.len() >= 9, "{chunks:?}");
    let epoch = |at: usize| chunks[at].split('/').nth(1).unwrap().to_owned();
    for (at, flipped) in (0..chunks.len()).flat_map(|at| [(at, false), (at, true)]) {
        let context = format!("chunk {at} of {}, flipped {flipped}", chunks.len());
        let store = copy(&store);
        let mut bytes = store.peek(&chunks[at]).unwrap().to_vec();
        bytes[150] ^= 8;
        match flipped {
            true => store.poke(&chunks[at], bytes),
            false => remove(&store, &chunks[at]),
        }
        let is_last = at == chunks.len() - 1;
        let done = match repair(&store, false) {
            Ok(done) => done,
            Err(error) => {
                assert!(at == 0 && error.kind() == ErrorKind::Corrupt, "{context}: {error}");
                continue;
            }
        };
        // The last chunk leaves no trace when it is gone.
        assert_eq!(done.left_out.is_empty(), is_last && !flipped, "{context}: {done:?}");
        let named: Vec<&String> = done.left_out.iter().map(|(key, _)| key).collect();
        let first = if flipped { Some(&chunks[at]) } else { chunks.get(at + 1) };
        assert!(first.is_none_or(|first| named.contains(&first)), "{context}: {done:?}");
        let found = numbers(&attached(&store));
        assert_eq!(found, (1..=found.len() as u64).collect::<Vec<_>>(), "{context}: a prefix");
        assert!(found.len() >= 8 || epoch(at) != epoch(chunks.len() - 1) || !is_last, "{context}");
        assert!(found.len() < 9, "{context}");
    }
}

#[test]
fn a_repair_that_ends_anywhere_is_done_again() {
    let (store, disk) = (SimStore::new(), SimDisk::new());
    for numbers in [1..=3, 4..=5u64] {
        let engine = options(&disk, &store).open("simulated").unwrap();
        for number in numbers {
            commit(&engine, number);
            if number % 2 == 0 {
                // Large enough that its pack has a list of pieces.
                let mut noise = vec![0; 100_000];
                blake3::Hasher::new().update(&number.to_le_bytes()).finalize_xof().fill(&mut noise);
                let rooms = engine.namespace("rooms").unwrap();
                rooms.object("room").unwrap().transact(|tx| tx.put("noise", &noise)).wait().unwrap();
                engine.checkpoint().unwrap();
                engine.archive_now().unwrap();
            }
        }
    }
    let lists = keys(&store, ".pieces");
    remove(&store, &lists[0]);
    remove(&store, &manifest_key(&store));
    let damaged = keys(&store, "/log/").pop().unwrap();
    for spoilt in [false, true] {
        let store = copy(&store);
        if spoilt {
            store.poke(&damaged, "damaged");
        }
        let whole = copy(&store);
        let left_out = repair(&whole, false).unwrap().left_out;
        assert_eq!(left_out.is_empty(), !spoilt, "{left_out:?}");
        assert_eq!(keys(&whole, ".pieces"), lists);
        let requests = whole.requests().len() as u64;
        for (request, done) in (0..requests).flat_map(|request| [(request, false), (request, true)]) {
            let context = format!("spoilt {spoilt}, ended after request {request} of {requests}, {done}");
            let store = copy(&store);
            let first = repair_until(&store, request, done);
            let is_dark = |error: &Error| error.kind() == ErrorKind::Unavailable;
            assert!(first.as_ref().map_or_else(is_dark, |_| request > 0), "{context}: {first:?}");
            let second = repair(&store, false).unwrap_or_else(|error| panic!("{context}: again: {error}"));
            let keys =
                |left: &[(String, String)]| left.iter().map(|(key, _)| key.clone()).collect::<Vec<_>>();
            assert!(
                second.was.is_none() || keys(&second.left_out) == keys(&left_out),
                "{context}: {second:?}"
            );
            assert_eq!(manifest(&store).packs, manifest(&whole).packs, "{context}");
            let found = numbers(&by_force(&store));
            assert_eq!(found, if spoilt { &[1, 2, 3, 4][..] } else { &[1, 2, 3, 4, 5] }, "{context}");
        }
        for seed in 0..6 {
            let store = copy(&store);
            store.shake(seed, 60);
            let first = repair(&store, false);
            store.clear();
            first.or_else(|_| repair(&store, false)).unwrap();
            let found = numbers(&by_force(&store));
            assert_eq!(found.len(), if spoilt { 4 } else { 5 }, "shaken by seed {seed}");
        }
    }
}

#[test]
fn a_writer_that_lives_is_respected_and_one_that_was_passed_over_is_fenced() {
    let (store, disk) = (SimStore::new(), SimDisk::new());
    // A clock that is ahead of any other, so that its lease has not ended.
    let ahead = Arc::new(|| Micros(1 << 60));
    let engine = options(&disk, &store).clock(ahead).open("simulated").unwrap();
    commit(&engine, 1);
    remove(&store, &manifest_key(&store));
    let before = everything(&store);
    let held = repair(&store, false).unwrap_err();
    assert_eq!(held.kind(), ErrorKind::Locked, "{held}");
    assert_eq!(everything(&store), before);
    let forced = archive::repair(&hurried(&store).holder("repair").force(true), None, false).unwrap();
    assert!(forced.left_out.is_empty(), "{forced:?}");
    let late = |engine: &Engine, number: u64| {
        let log = engine.namespace("log").unwrap().object("log").unwrap();
        let written = log.transact(|tx| tx.put(format!("{number:04}"), "late")).wait();
        written.and_then(|()| engine.archive_now()).unwrap_err()
    };
    let error = late(&engine, 2);
    assert!(matches!(error, Error::Fenced { .. } | Error::Archive(ArchiveError::Fenced { .. })), "{error:?}");
    drop(engine);
    assert_eq!(numbers(&attached(&store)), [1]);

    // One whose lease has ended, and that was only paused.
    let (store, disk) = (SimStore::new(), SimDisk::new());
    let engine = options(&disk, &store).open("simulated").unwrap();
    commit(&engine, 1);
    engine.checkpoint().unwrap();
    commit(&engine, 2);
    store.poke(&manifest_key(&store), "damaged");
    repaired(&store);
    let error = late(&engine, 3);
    assert!(matches!(error, Error::Fenced { .. } | Error::Archive(ArchiveError::Fenced { .. })), "{error:?}");
    drop(engine);
    assert_eq!(numbers(&attached(&store)), [1, 2]);
}

#[test]
fn a_pack_of_a_writer_that_was_fenced_off_is_not_taken() {
    let (store, disk) = (SimStore::new(), SimDisk::new());
    let engine = options(&disk, &store).open("simulated").unwrap();
    commit(&engine, 1);
    engine.checkpoint().unwrap();
    commit(&engine, 2);
    drop(engine);
    // The old one goes on where nobody sees it.
    let aside = copy(&store);
    let old = options(&disk, &aside).open("simulated").unwrap();
    for number in 100..104 {
        commit(&old, number);
    }
    old.checkpoint().unwrap();
    old.archive_now().unwrap();
    drop(old);
    let orphans: Vec<String> =
        keys(&aside, "/packs/").into_iter().filter(|key| store.peek(key).is_none()).collect();
    assert!(!orphans.is_empty());
    for packed in [false, true] {
        let store = copy(&store);
        // Two epochs later, so that the old one's is below.
        drop(attached(&store));
        let new = attached(&store);
        commit(&new, 3);
        if packed {
            new.checkpoint().unwrap();
            commit(&new, 4);
        }
        drop(new);
        for key in &orphans {
            store.poke(key, aside.peek(key).unwrap());
        }
        remove(&store, &manifest_key(&store));
        let done = repair(&store, false).unwrap();
        let named = done.left_out.iter().all(|(key, _)| orphans.contains(key));
        assert!(named, "packed {packed}: {done:?}");
        let wanted: &[u64] = if packed { &[1, 2, 3, 4] } else { &[1, 2, 3] };
        assert_eq!(numbers(&attached(&store)), wanted, "packed {packed}");
    }
}

#[test]
fn a_tree_of_roots_that_is_lost_too_costs_proofs_alone() {
    let (store, disk, state) = kept();
    remove(&store, &manifest_key(&store));
    for part in keys(&store, "/roots/") {
        remove(&store, &part);
    }
    let done = repair(&store, false).unwrap();
    let [(key, reason)] = &done.left_out[..] else { panic!("{done:?}") };
    assert!(key.ends_with("/roots") && reason.contains("no proofs"), "{done:?}");

    let other = copy(&store);
    let engine = attached(&other);
    assert_eq!(world::dump(&engine).unwrap(), model::visible(&state));
    world::check_history(&engine, &state).unwrap();
    for _ in 0..2 {
        let error = engine.root().unwrap_err();
        assert!(matches!(&error, Error::Damaged { file, .. } if file.starts_with("roots/")), "{error:?}");
        let object = engine.namespace("log").unwrap().object("log").unwrap();
        object.transact(|tx| tx.put("key", "value")).wait().unwrap();
    }
    engine.checkpoint().unwrap();
    engine.archive_now().unwrap();
    drop(engine);
    assert_eq!(keys(&other, "/roots/"), Vec::<String>::new(), "a tree with holes is not archived");
    assert_eq!(model::visible(&state).len(), world::dump(&attached(&other)).unwrap().len());

    // Who still has the tree stores it again.
    let own = options(&disk, &store).open("simulated").unwrap();
    let root = own.root().unwrap();
    own.close().unwrap();
    let engine = attached(&store);
    assert!(engine.root().unwrap().size >= root.size);
    check(&engine, &state, "with its tree again");
}

#[test]
fn what_cannot_be_repaired_is_left_as_it_is() {
    let nothing = repair(&SimStore::new(), false).unwrap_err();
    assert_eq!(nothing.kind(), ErrorKind::NotFound, "{nothing}");
    let (store, _, _) = kept();
    let key = manifest_key(&store);
    let whole = store.peek(&key).unwrap();
    let mut newer = whole.to_vec();
    newer[8] = 2;
    let end = newer.len() - 32;
    let mut hasher = blake3::Hasher::new();
    hasher.update(&(key.len() as u32).to_le_bytes()).update(key.as_bytes()).update(&newer[..end]);
    newer[end..].copy_from_slice(hasher.finalize().as_bytes());
    store.poke(&key, newer);
    let before = everything(&store);
    let error = repair(&store, false).unwrap_err();
    assert!(error.to_string().contains("format version 2"), "{error}");
    assert_eq!(everything(&store), before);
    store.poke(&key, whole);
    // What is spoilt on the way is no damage.
    store.plan(Op::Get, "manifest", Fault::Flipped);
    assert_eq!(repair(&store, false).unwrap().was, None);
    store.dark(true);
    assert_eq!(repair(&store, false).unwrap_err().kind(), ErrorKind::Unavailable);
    store.clear();
    remove(&store, &key);
    let lease = keys(&store, "/lease").remove(0);
    store.poke(&lease, "damaged");
    let before = everything(&store);
    let error = repair(&store, false).unwrap_err();
    assert!(error.kind() == ErrorKind::Corrupt && error.to_string().contains("lease"), "{error}");
    assert_eq!(everything(&store), before);
    // A lease that is gone is another matter: nobody can have it.
    remove(&store, &lease);
    assert!(repair(&store, false).unwrap().was.is_some());
}
