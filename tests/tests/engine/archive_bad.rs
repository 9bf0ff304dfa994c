//! Archives that are wrong, wrongly named, or somebody else's: each a typed error, and nothing here or there is touched.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use lineal::{
    Engine, Error, ErrorKind, Micros, Options, Result,
    archive::{self, ArchiveError, RestoreOptions},
};
use lineal_snapshot::archive::sim::{Fault, Op, SimStore};
use lineal_tests::{archive::hurried, world};
use lineal_wal::sim::SimDisk;

fn options(disk: &SimDisk, store: &Arc<SimStore>) -> Options {
    world::options(disk, 1).archive(hurried(store))
}

/// Some objects, large enough that each has blocks of its own, packed and archived.
fn fill(engine: &Engine, objects: u64) {
    let rooms = engine.namespace("rooms").unwrap();
    for number in 0..objects {
        let room = rooms.object(&format!("room {number}")).unwrap();
        // Noise, so that it stays as large as it is.
        let mut noise = vec![0; 100_000];
        blake3::Hasher::new().update(&number.to_le_bytes()).finalize_xof().fill(&mut noise);
        room.transact(|tx| tx.put("noise", &noise)).wait().unwrap();
    }
    engine.checkpoint().unwrap();
    engine.archive_now().unwrap();
}

fn everything(store: &SimStore) -> BTreeMap<String, Vec<u8>> {
    let probes = |key: &String| !key.contains("/probe/");
    store
        .keys()
        .into_iter()
        .filter(probes)
        .map(|key| (key.clone(), store.peek(&key).unwrap().to_vec()))
        .collect()
}

fn refused(opened: Result<Engine>) -> (ErrorKind, String) {
    match opened {
        Ok(_) => panic!("it opened"),
        Err(error) => (error.kind(), error.to_string()),
    }
}

#[test]
fn an_old_copy_of_a_directory_is_refused_and_changes_nothing() {
    let (store, disk) = (SimStore::new(), SimDisk::new());
    let engine = options(&disk, &store).open("simulated").unwrap();
    fill(&engine, 3);
    let early = SimDisk::from_image(&disk.kill().image());
    fill(&engine, 5);
    let late = SimDisk::from_image(&disk.kill().image());
    let log = engine.namespace("log").unwrap().object("log").unwrap();
    log.transact(|tx| tx.put("a", "b")).wait().unwrap();
    engine.archive_now().unwrap();
    drop((log, engine));
    let before = everything(&store);
    for (copy, name) in [(&early, "from before a checkpoint"), (&late, "from before a commit")] {
        let (kind, text) = refused(options(copy, &store).open("simulated"));
        assert_eq!(kind, ErrorKind::Conflict, "{name}: {text}");
        assert!(text.contains("is not what this engine knows"), "{name}: {text}");
        assert_eq!(everything(&store), before, "{name}: nothing is uploaded, nobody is fenced");
        let without = world::options(copy, 1).open("simulated").unwrap();
        without.verify(&mut |_| ()).unwrap();
    }
}

#[test]
fn a_directory_that_went_its_own_way_is_refused() {
    let (store, disk) = (SimStore::new(), SimDisk::new());
    let engine = options(&disk, &store).open("simulated").unwrap();
    fill(&engine, 2);
    let copy = SimDisk::from_image(&disk.kill().image());
    let write = |engine: &Engine, value: &str| {
        let log = engine.namespace("log").unwrap().object("log").unwrap();
        for number in 0..5 {
            log.transact(|tx| tx.put(format!("{number}"), value)).wait().unwrap();
        }
    };
    write(&engine, "there");
    engine.archive_now().unwrap();
    drop(engine);
    let own = world::options(&copy, 1).open("simulated").unwrap();
    write(&own, "here");
    drop(own);
    let before = everything(&store);
    let (kind, text) = refused(options(&copy, &store).open("simulated"));
    assert_eq!(kind, ErrorKind::Conflict, "{text}");
    assert_eq!(everything(&store), before);
    let own = world::options(&copy, 1).open("simulated").unwrap();
    let log = own.namespace("log").unwrap().object("log").unwrap();
    assert_eq!(log.read(|view| view.get("4")).wait().unwrap().unwrap(), b"here"[..]);
}

#[test]
fn no_archive_is_one_thing_and_an_unreadable_one_another() {
    let (store, disk) = (SimStore::new(), SimDisk::new());
    let nothing = options(&SimDisk::new(), &store).attach("simulated");
    assert!(matches!(nothing, Err(Error::NotFound { .. })), "{nothing:?}");
    let engine = options(&disk, &store).open("simulated").unwrap();
    fill(&engine, 2);
    let id = engine.id();
    drop(engine);
    let elsewhere = options(&disk, &SimStore::new()).open("simulated");
    assert!(matches!(elsewhere, Err(Error::Archive(ArchiveError::Missing { .. }))), "{elsewhere:?}");
    let key = format!("{id}/manifest");
    let whole = store.peek(&key).unwrap();
    let mut flipped = whole.to_vec();
    flipped[40] ^= 1;
    for bad in [flipped, whole[..20].to_vec(), Vec::new(), b"not a manifest at all, but long enough".to_vec()]
    {
        store.poke(&key, bad);
        for opened in
            [options(&disk, &store).open("simulated"), options(&SimDisk::new(), &store).attach("simulated")]
        {
            let (kind, text) = refused(opened);
            assert_eq!(kind, ErrorKind::Corrupt, "{text}");
            assert!(text.contains("manifest"), "{text}");
        }
    }
    store.poke(&key, whole);
    options(&disk, &store).open("simulated").unwrap().close().unwrap();
}

#[test]
fn packs_that_are_not_what_was_written_hurt_what_is_in_them_and_are_named() {
    let (store, disk) = (SimStore::new(), SimDisk::new());
    let engine = options(&disk, &store).open("simulated").unwrap();
    fill(&engine, 6);
    let id = engine.id();
    drop(engine);
    let packs: Vec<String> =
        store.keys().into_iter().filter(|key| key.contains("/packs/") && !key.ends_with(".pieces")).collect();
    let [pack] = &packs[..] else { panic!("one pack: {packs:?}") };
    let whole = store.peek(pack).unwrap();
    let mut flipped = whole.to_vec();
    flipped[250_000] ^= 0x20;
    let mut hostile = whole.to_vec();
    hostile[100..].fill(0xAA);
    let dir = tempfile::tempdir().unwrap();
    for (what, bad) in [("flipped", flipped), ("cut", whole[..300_000].to_vec()), ("hostile", hostile)] {
        store.poke(pack, bad);
        let to = dir.path().join(what);
        let restored = archive::restore(&hurried(&store), &to, &RestoreOptions::new(), &mut |_| ());
        let error = restored.expect_err(what);
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{what}: {error}");
        assert!(error.to_string().contains(pack), "{what}: {error}");
        assert!(!to.exists(), "{what}: nothing that opens is left");
        assert!(Engine::open(dir.path().join(format!("{what}.restoring"))).is_err(), "{what}");

        let report = archive::scrub(&hurried(&store), Some(id), None, &mut |_, _| ()).unwrap();
        assert!(report.damage.iter().any(|damage| damage.key == *pack), "{what}: {report:?}");
        let engine = match options(&SimDisk::new(), &store).attach("simulated") {
            Ok(engine) => engine,
            // Its index is gone with it.
            Err(error) if what != "flipped" => {
                assert_eq!(error.kind(), ErrorKind::Corrupt, "{what}: {error}");
                store.poke(pack, whole.clone());
                continue;
            }
            Err(error) => panic!("{what}: {error}"),
        };
        let rooms = engine.namespace("rooms").unwrap();
        let mut right = 0;
        for number in 0..6u64 {
            let room = rooms.object(&format!("room {number}")).unwrap();
            match room.read(|view| view.get("noise")).wait() {
                Ok(Some(found)) => {
                    let mut noise = vec![0; 100_000];
                    blake3::Hasher::new().update(&number.to_le_bytes()).finalize_xof().fill(&mut noise);
                    assert!(found == noise[..], "{what}: room {number}");
                    right += 1;
                }
                Ok(None) => panic!("{what}: room {number} is silently empty"),
                Err(error) => assert_eq!(error.kind(), ErrorKind::Corrupt, "{what}: {error}"),
            }
        }
        assert!(right < 6, "{what}: damage is seen");
        assert!(what != "flipped" || right >= 4, "{what}: {right} objects are beside the damage");
        store.poke(pack, whole.clone());
    }
    let to = dir.path().join("whole");
    archive::restore(&hurried(&store), &to, &RestoreOptions::new(), &mut |_| ()).unwrap();
    assert!(Path::exists(&to));
}

#[test]
fn a_store_that_cannot_hold_an_archive_is_refused_by_name() {
    let store = SimStore::new();
    store.careless(true);
    let (kind, text) = refused(options(&SimDisk::new(), &store).open("simulated"));
    assert_eq!(kind, ErrorKind::Invalid);
    assert!(text.contains("sim://bucket cannot hold an archive"), "{text}");
    store.careless(false);
    for (fault, said) in [(Fault::Denied, "credentials"), (Fault::NoBucket, "does not exist")] {
        store.plan(Op::Put, "probe", fault);
        let disk = SimDisk::new();
        let (kind, text) = refused(options(&disk, &store).open("simulated"));
        assert_eq!(kind, ErrorKind::Invalid);
        assert!(text.contains(said), "{text}");
        options(&disk, &store).open("simulated").unwrap();
    }
    store.dark(true);
    let (kind, text) = refused(options(&SimDisk::new(), &store).open("simulated"));
    assert_eq!(kind, ErrorKind::Unavailable, "{text}");
}

#[test]
fn a_lease_that_has_not_ended_is_respected_and_can_be_taken_by_force() {
    let (store, disk) = (SimStore::new(), SimDisk::new());
    // This machine's clock is hours ahead of the other's.
    let ahead = Arc::new(|| Micros(1_800_000_000_000_000 + 5 * 3_600_000_000));
    let engine = options(&disk, &store).clock(ahead).open("simulated").unwrap();
    fill(&engine, 1);
    let stranger = |force: bool| {
        let archive = hurried(&store).holder("somebody else").force(force);
        let clock = Arc::new(|| Micros(1_800_000_000_000_000));
        world::options(&SimDisk::new(), 5).clock(clock).archive(archive).attach("simulated")
    };
    let (kind, text) = refused(stranger(false));
    assert_eq!(kind, ErrorKind::Locked, "{text}");
    assert!(text.contains("in use by test"), "{text}");
    engine.namespace("rooms").unwrap().object("x").unwrap().transact(|tx| tx.put("a", "b")).wait().unwrap();
    engine.archive_now().unwrap();
    let other = stranger(true).unwrap();
    assert!(matches!(engine.archive_now(), Err(Error::Fenced { .. }) | Ok(())));
    let x = other.namespace("rooms").unwrap().object("x").unwrap();
    assert_eq!(x.read(|view| view.get("a")).wait().unwrap().unwrap(), b"b"[..]);
}
