//! A full disk: writes are refused whole and typed, reads and deletes go on, and writes resume when there is room.

use std::time::{Duration, Instant};

use lineal::{Error, Options};
use lineal_tests::{
    damage::filler,
    model::{self, State, Step},
    world::{self, World},
};
use lineal_wal::sim::{Fault, OpKind, SimDisk};

/// Sizes of disks that are tried, beyond what a new engine takes.
const CAPACITIES: u64 = 150;
const STEP_BYTES: u64 = 4_321;

fn is_full(error: &Error) -> bool {
    matches!(error, Error::NoSpace { .. })
}

/// What one fill showed.
#[derive(Default, Debug)]
struct Seen {
    opens_refused: usize,
    commits_refused: usize,
    checkpoints_refused: usize,
    checkpoints: usize,
    erasures: usize,
    erasures_refused: usize,
}

fn used(disk: &SimDisk) -> u64 {
    disk.image().values().map(|bytes| bytes.len() as u64).sum()
}

fn fill(room: u64, seen: &mut Seen) {
    let context = format!("room {room}");
    let disk = SimDisk::new();
    let mut state = State::new();
    let mut world = World::open(&disk, 1).unwrap();
    disk.set_capacity(Some(used(&disk) + room));
    let mut step = |world: &mut World, step: Step| {
        world.step(&step)?;
        model::apply(&mut state, &step);
        Ok::<State, Error>(model::visible(&state))
    };
    let mut now = State::new();
    for at in 0..200 {
        match step(&mut world, Step::Commit(at % 20, vec![filler(&format!("key {at}"), 2_500 + at)])) {
            Ok(state) => now = state,
            Err(error) => {
                assert!(is_full(&error), "{context}: {error:?}");
                seen.commits_refused += 1;
                break;
            }
        }
        if at % 25 == 24 {
            match step(&mut world, Step::Checkpoint) {
                Ok(_) => seen.checkpoints += 1,
                Err(error) => {
                    assert!(is_full(&error), "{context}: {error:?}");
                    seen.checkpoints_refused += 1;
                }
            }
        }
    }
    assert_eq!(world.dump().unwrap(), now, "{context}: reads go on, and what was refused left nothing");
    for erase in [Step::Delete(0), Step::Purge(1)] {
        match step(&mut world, erase) {
            Ok(state) => {
                now = state;
                seen.erasures += 1;
            }
            Err(error) => {
                assert!(is_full(&error), "{context}: {error:?}");
                // Without a reserve it depends on what is left of the segment.
                seen.erasures_refused += 1;
            }
        }
    }
    match step(&mut world, Step::Checkpoint) {
        Ok(_) => seen.checkpoints += 1,
        Err(error) => {
            assert!(is_full(&error), "{context}: {error:?}");
            seen.checkpoints_refused += 1;
        }
    }
    assert_eq!(world.dump().unwrap(), now, "{context}: after the deletes");
    // A process that was killed while the disk was full loses nothing, and can be read before there is room.
    let killed = disk.kill();
    let engine = world::options(&killed, 5).open_read_only("simulated").unwrap();
    assert_eq!(world::dump(&engine).unwrap(), now, "{context}: killed, read-only");
    drop(engine);
    match World::open(&killed, 5) {
        Ok(world) => assert_eq!(world.dump().unwrap(), now, "{context}: killed"),
        Err(error) => {
            assert!(is_full(&error), "{context}: {error:?}");
            seen.opens_refused += 1;
            killed.set_capacity(None);
            let world = World::open(&killed, 5).unwrap();
            assert_eq!(world.dump().unwrap(), now, "{context}: killed, with room");
        }
    }
    disk.set_capacity(None);
    now = step(&mut world, Step::Commit(3, vec![filler("resumed", 3_000)]))
        .unwrap_or_else(|error| panic!("{context}: with room: {error}"));
    step(&mut world, Step::Checkpoint).unwrap_or_else(|error| panic!("{context}: with room: {error}"));
    assert_eq!(world.dump().unwrap(), now, "{context}: with room");
    world.engine().verify(&mut |_| ()).unwrap();
    step(&mut world, Step::Reopen).unwrap();
    assert_eq!(world.dump().unwrap(), now, "{context}: reopened");
}

#[test]
fn a_disk_of_any_size_runs_full_without_loss_and_goes_on_with_room() {
    let mut seen = Seen::default();
    for at in 0..CAPACITIES {
        fill(at * STEP_BYTES, &mut seen);
    }
    println!("{seen:?}");
    assert!(seen.commits_refused >= 100 && seen.checkpoints_refused > 0 && seen.checkpoints > 0, "{seen:?}");
}

#[test]
fn a_new_engine_on_a_disk_that_is_too_small_says_so_and_opens_with_room() {
    let mut refused = 0;
    for capacity in (0..1_200_000).step_by(10_007) {
        let disk = SimDisk::new();
        disk.set_capacity(Some(capacity));
        if let Err(error) = World::open(&disk, 1) {
            assert!(is_full(&error), "capacity {capacity}: {error:?}");
            refused += 1;
        }
        disk.set_capacity(None);
        let mut world = World::open(&disk, 1).unwrap_or_else(|error| panic!("capacity {capacity}: {error}"));
        world.step(&Step::Commit(0, vec![filler("k", 100)])).unwrap();
    }
    assert!(refused > 5);
}

fn with_reserve(disk: &SimDisk) -> Options {
    world::options(disk, 9).reserve_bytes(256 << 10)
}

#[test]
fn the_reserve_lets_deletes_and_purges_through_on_a_full_disk() {
    let mut checkpoints = 0;
    for room in (0..20).map(|at| at * 33_333) {
        let disk = SimDisk::new();
        let engine = with_reserve(&disk).open("simulated").unwrap();
        let capacity = used(&disk) + room;
        disk.set_capacity(Some(capacity));
        let namespace = engine.namespace(world::NAMESPACE).unwrap();
        let object = |at: usize| namespace.object(&model::name(at)).unwrap();
        let mut written = 0;
        let refused = loop {
            match object(written).transact(|tx| tx.put("k", vec![7; 3_000])).wait() {
                Ok(()) => written += 1,
                Err(error) => break error,
            }
        };
        assert!(is_full(&refused), "{refused:?}");
        assert!(written > 10, "capacity {capacity}: {written}");
        // One by one as long as the reserve has a sector for each, the others together.
        let erase = |at: usize| if at.is_multiple_of(2) { object(at).delete() } else { object(at).purge() };
        let singly = written.min(40);
        for at in 0..singly {
            erase(at)
                .wait()
                .unwrap_or_else(|error| panic!("capacity {capacity}: object {at} of {written}: {error}"));
        }
        let gates: Vec<_> = (singly..written).map(erase).collect();
        for gate in gates {
            gate.wait().unwrap_or_else(|error| panic!("capacity {capacity}: {error}"));
        }
        let usage = namespace.usage();
        assert_eq!((usage.objects, usage.bytes), (0, 0), "capacity {capacity}");
        match engine.checkpoint() {
            Ok(_) => checkpoints += 1,
            Err(error) => assert!(is_full(&error), "{error:?}"),
        }
        drop((namespace, engine));
        let killed = disk.kill();
        let state = World::open(&killed, 3)
            .or_else(|error| {
                assert!(is_full(&error), "{error:?}");
                killed.set_capacity(None);
                World::open(&killed, 3)
            })
            .unwrap()
            .dump()
            .unwrap();
        assert!(state.is_empty(), "capacity {capacity}: {:?}", state.keys());
    }
    println!("a checkpoint found room on {checkpoints} of 20 full disks");
}

#[test]
fn an_engine_with_threads_resumes_by_itself_within_seconds() {
    let disk = SimDisk::new();
    let engine = with_reserve(&disk).background(true).open("simulated").unwrap();
    disk.set_capacity(Some(used(&disk) + (512 << 10)));
    let object = engine.namespace("n").unwrap().object("o").unwrap();
    let mut acknowledged = 0_u64;
    let write =
        |number: u64| object.transact(|tx| tx.put(number.to_be_bytes(), vec![number as u8; 4_000])).wait();
    let refused = loop {
        match write(acknowledged) {
            Ok(()) => acknowledged += 1,
            Err(error) => break error,
        }
    };
    assert!(is_full(&refused), "{refused:?}");
    let count =
        || object.read(|view| view.prefix("").map(|entry| entry.map(|_| 1_u64)).sum::<Result<u64, _>>());
    assert_eq!(count().wait().unwrap(), acknowledged);
    disk.set_capacity(None);
    let started = Instant::now();
    while let Err(error) = write(acknowledged) {
        assert!(is_full(&error), "{error:?}");
        assert!(started.elapsed() < Duration::from_secs(10), "writes did not resume");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(count().wait().unwrap(), acknowledged + 1);
    engine.close().unwrap();
}

/// The smallest ballast, in bytes; as a default engine's is to its segments.
const BALLAST_BYTES: u64 = 256 << 10;

fn with_ballast(disk: &SimDisk, seed: u64) -> Options {
    world::options(disk, seed).ballast_bytes(BALLAST_BYTES).reserve_bytes(128 << 10)
}

/// Writes until the disk is full. Returns how many objects were written.
fn fill_up(engine: &lineal::Engine, bytes: usize) -> usize {
    let namespace = engine.namespace(world::NAMESPACE).unwrap();
    let mut written = 0;
    loop {
        let object = namespace.object(&model::name(written)).unwrap();
        // Values that do not compress: a pack is as large as its log.
        let mut noise = written as u64 + 1;
        let value: Vec<u8> = (0..bytes)
            .map(|_| {
                noise ^= noise << 13;
                noise ^= noise >> 7;
                noise ^= noise << 17;
                noise as u8
            })
            .collect();
        match object.transact(|tx| tx.put("k", &value)).wait() {
            Ok(()) => written += 1,
            Err(error) => {
                assert!(is_full(&error), "{error:?}");
                return written;
            }
        }
    }
}

#[test]
fn every_full_disk_can_checkpoint_and_opens_after_a_kill() {
    let mut written = Vec::new();
    for room in (0..60).map(|at| (700 << 10) + at * 23_456) {
        let disk = SimDisk::new();
        let engine = with_ballast(&disk, 9).open("simulated").unwrap();
        disk.set_capacity(Some(used(&disk) + room));
        let count = fill_up(&engine, 3_000);
        written.push(count);
        assert!(engine.stats().ballast_bytes > 0, "room {room}: it is there for what comes now");
        let state = world::dump(&engine).unwrap();
        assert_eq!(state.len(), count);

        // Killed, with the disk full: it opens, and can checkpoint.
        let killed = disk.kill();
        let before = killed.image();
        drop(with_ballast(&killed, 10).open_read_only("simulated").unwrap());
        assert_eq!(killed.image(), before, "room {room}: who reads does not touch it");
        let opened = with_ballast(&killed, 10).open("simulated");
        let opened = opened.unwrap_or_else(|error| panic!("room {room}: opening after a kill: {error}"));
        assert_eq!(world::dump(&opened).unwrap(), state, "room {room}: after a kill");
        opened.checkpoint().unwrap_or_else(|error| panic!("room {room}: after a kill: {error}"));
        assert_eq!(world::dump(&opened).unwrap(), state, "room {room}: after a kill and a checkpoint");

        engine.checkpoint().unwrap_or_else(|error| panic!("room {room}: {error}"));
        // Deletes go through whether users have to wait for the ballast or not.
        let first = engine.namespace(world::NAMESPACE).unwrap().object(&model::name(0)).unwrap();
        first.delete().wait().unwrap_or_else(|error| panic!("room {room}: {error}"));
        engine.checkpoint().unwrap_or_else(|error| panic!("room {room}, again: {error}"));
        assert_eq!(world::dump(&engine).unwrap().len(), count - 1, "room {room}");

        // With room users go on, but not before the ballast is there again.
        disk.set_capacity(None);
        first.transact(|tx| tx.put("k", "v")).wait().unwrap();
        assert!(engine.stats().ballast_bytes >= BALLAST_BYTES, "room {room}");
        engine.verify(&mut |_| ()).unwrap();
        engine.close().unwrap();
        assert!(disk.files().iter().all(|path| path != "BALLAST"), "a clean close takes it away");
    }
    assert!(written.iter().min() < written.iter().max());
}

#[test]
fn users_wait_for_the_ballast_that_was_given_up_and_who_deletes_does_not() {
    let disk = SimDisk::new();
    let engine = with_ballast(&disk, 9).open("simulated").unwrap();
    let object = engine.namespace(world::NAMESPACE).unwrap().object("o").unwrap();
    let put = || object.transact(|tx| tx.put("k", "v")).wait();
    put().unwrap();
    assert!(engine.stats().ballast_bytes >= BALLAST_BYTES);
    // A checkpoint that gets through once the log and the ballast were given up, and then somebody else has the room.
    let full = |kind| Fault::on(kind).error(std::io::ErrorKind::StorageFull);
    disk.fail(full(OpKind::Write).path("packs/"));
    disk.fail(full(OpKind::Write).path("packs/"));
    disk.fail(full(OpKind::Allocate).path("BALLAST").sticky());
    engine.checkpoint().unwrap();
    assert_eq!(engine.stats().ballast_bytes, 0);
    let refused = put().unwrap_err();
    assert!(is_full(&refused) && refused.to_string().contains("BALLAST"), "{refused}");
    object.delete().wait().unwrap();
    disk.heal();
    put().unwrap();
    assert!(engine.stats().ballast_bytes >= BALLAST_BYTES);
    engine.close().unwrap();
}

#[test]
fn an_engine_with_threads_keeps_a_ballast_that_follows_its_log() {
    let disk = SimDisk::new();
    let engine = with_ballast(&disk, 9).background(true).open("simulated").unwrap();
    let reaches = |bytes: u64| {
        let started = Instant::now();
        while engine.stats().ballast_bytes < bytes {
            assert!(started.elapsed() < Duration::from_secs(10), "{:?}", engine.stats());
            std::thread::sleep(Duration::from_millis(2));
        }
    };
    assert!(engine.namespaces().unwrap().is_empty() && engine.existing_namespace("n").is_err());
    assert_eq!(engine.stats().ballast_bytes, 0, "opening and looking at things makes none");
    // That is a commit of the engine's own, after which its thread makes one some time.
    let object = engine.namespace("n").unwrap().object("o").unwrap();
    object.transact(|tx| tx.put("k", "v")).wait().unwrap();
    assert!(engine.stats().ballast_bytes >= BALLAST_BYTES);
    for number in 0..100_u64 {
        object.transact(|tx| tx.put(number.to_be_bytes(), vec![number as u8; 4_000])).wait().unwrap();
    }
    reaches(2 * BALLAST_BYTES);
    engine.checkpoint().unwrap();
    assert_eq!(engine.stats().ballast_bytes, BALLAST_BYTES, "everything is packed");
    engine.close().unwrap();
    assert!(disk.files().iter().all(|path| path != "BALLAST"));
}
