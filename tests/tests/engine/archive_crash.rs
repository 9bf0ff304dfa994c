//! Crashes of an engine with an archive, of its machine, and of its store: nothing that was acknowledged is lost where it
//! was acknowledged, and the archive never holds what the directory does not.

use std::{sync::Arc, time::Duration};

use lineal::{Error, Options, Stats, archive::Hand};
use lineal_snapshot::archive::sim::{Fault, Op, SimPace, SimStore};
use lineal_tests::{
    archive::hurried,
    chooser::chooser,
    lost::{attached, commit_and_count, count, lose_at, requests},
    model::{self, State, Step},
    workload::{every_feature, states},
    world::{self, World},
};
use lineal_wal::sim::SimDisk;

/// Runs the steps until the power goes. Returns how many were acknowledged.
fn run_until_off(disk: &SimDisk, store: &Arc<SimStore>, steps: &[Step]) -> usize {
    let Ok(mut world) = World::open_archived(disk, 1, &hurried(store), false) else { return 0 };
    for (at, step) in steps.iter().enumerate() {
        if world.step(step).is_err() {
            return at;
        }
    }
    // What the store has is seen below, whatever became of it here.
    let _ = world.engine().archive_now();
    steps.len()
}

fn find<'a>(world: &World, states: &'a [State], acknowledged: usize, context: &str) -> &'a State {
    let found = world.dump().unwrap_or_else(|error| panic!("{context}: reading: {error}"));
    let candidates = &states[acknowledged..(acknowledged + 2).min(states.len())];
    candidates
        .iter()
        .find(|state| model::visible(state) == found)
        .unwrap_or_else(|| panic!("{context}: {acknowledged} steps acknowledged, found {found:?}"))
}

#[test]
fn a_power_cut_leaves_directory_and_archive_of_one_mind() {
    let steps = every_feature();
    let states = states(&steps);
    let whole = SimDisk::new();
    assert_eq!(run_until_off(&whole, &SimStore::new(), &steps), steps.len());
    let ops = whole.ops();
    for op in (0..ops).step_by(61) {
        for fate in 0..3 {
            let context = format!("power off at operation {op} of {ops}, fate {fate}");
            let (disk, store) = (SimDisk::new(), SimStore::new());
            disk.power_off_at(op);
            let acknowledged = run_until_off(&disk, &store, &steps);
            let crashed = disk.crash(&mut chooser(fate + op * 4 * u64::from(fate > 1)));
            let world = World::open_archived(&crashed, 7, &hurried(&store), false)
                .unwrap_or_else(|error| panic!("{context}: opening: {error}"));
            let state = find(&world, &states, acknowledged, &context);
            world.engine().archive_now().unwrap_or_else(|error| panic!("{context}: archiving: {error}"));
            let before = world.dump().unwrap();
            // The machine is lost with all that it had.
            drop(world);
            let world = World::open_archived(&SimDisk::new(), 9, &hurried(&store), true)
                .unwrap_or_else(|error| panic!("{context}: attaching: {error}"));
            assert_eq!(world.dump().unwrap(), before, "{context}");
            world::check_history(world.engine(), state)
                .unwrap_or_else(|error| panic!("{context}: the past: {error}"));
            world
                .engine()
                .verify(&mut |_| ())
                .unwrap_or_else(|error| panic!("{context}: verifying: {error}"));
        }
    }
}

#[test]
fn a_machine_that_is_lost_at_any_request_loses_nothing_that_was_archived() {
    (0..requests()).for_each(lose_at);
}

#[test]
fn a_store_that_fails_in_every_way_costs_time_and_no_data() {
    for seed in 0..12 {
        let context = format!("seed {seed}");
        let store = SimStore::new();
        let disk = SimDisk::new();
        let open = || world::options(&disk, seed).archive(hurried(&store)).open("simulated");
        let engine = open().unwrap();
        store.shake(seed, 250);
        let log = engine.namespace("log").unwrap().object("log").unwrap();
        for number in 1..=30u64 {
            log.transact(|tx| tx.put(format!("{number:04}"), vec![number as u8; 900])).wait().unwrap();
            if number % 6 == 0 {
                engine.checkpoint().unwrap();
            }
        }
        store.clear();
        engine.archive_now().unwrap_or_else(|error| panic!("{context}: archiving: {error}"));
        drop((log, engine));
        let engine = attached(&store, 9).unwrap_or_else(|error| panic!("{context}: attaching: {error}"));
        assert_eq!(count(&engine, &context), 30, "{context}");
    }
}

#[test]
fn what_the_store_keeps_in_part_only_is_stored_again_before_it_counts() {
    let store = SimStore::new();
    let engine = world::options(&SimDisk::new(), 1).archive(hurried(&store)).open("simulated").unwrap();
    for part in ["/log/", "manifest", "/log/", "packs", "roots", "manifest", "pieces", "/log/"] {
        store.plan(Op::Put, part, Fault::HalfStored);
    }
    assert_eq!(commit_and_count(&engine), 16);
    drop(engine);
    let engine = attached(&store, 9).unwrap();
    assert_eq!(count(&engine, "after halves"), 16);
}

fn field(stats: &Stats, name: &str) -> u64 {
    stats.fields().into_iter().find(|(field, _)| *field == name).expect("a field of the archive").1
}

#[test]
fn the_log_is_kept_until_the_store_has_what_it_holds() {
    let (store, disk) = (SimStore::new(), SimDisk::new());
    let options = || world::options(&disk, 1).archive(hurried(&store));
    let engine = options().open("simulated").unwrap();
    store.dark(true);
    let log = engine.namespace("log").unwrap().object("log").unwrap();
    for number in 1..=60u64 {
        log.transact(|tx| tx.put(format!("{number:04}"), vec![number as u8; 9_000])).wait().unwrap();
        if number % 10 == 0 {
            engine.checkpoint().unwrap();
        }
    }
    let behind = engine.stats();
    assert!(field(&behind, "archive_lag_records") >= 60 && field(&behind, "archive_lag_bytes") > 60 * 9_000);
    assert!(behind.prometheus().contains("\nlineal_archive_lag_ms "), "{}", behind.prometheus());
    drop((log, engine));
    store.clear();
    let engine = options().open("simulated").unwrap();
    engine.archive_now().unwrap();
    let caught_up = engine.stats();
    assert_eq!((field(&caught_up, "archive_lag_records"), field(&caught_up, "archive_troubled")), (0, 0));
    assert!(caught_up.prometheus().contains("\n# TYPE lineal_archive_puts_total counter\n"));
    engine.checkpoint().unwrap();
    drop(engine);
    let engine = attached(&store, 9).unwrap();
    assert_eq!(count(&engine, "after an outage"), 60);
}

#[test]
fn an_idle_engine_asks_for_nothing() {
    let (store, disk) = (SimStore::new(), SimDisk::new());
    let engine = Options::new().disk(Arc::new(disk)).archive(hurried(&store)).open("simulated").unwrap();
    let log = engine.namespace("log").unwrap().object("log").unwrap();
    log.transact(|tx| tx.put("key", "value")).wait().unwrap();
    engine.checkpoint().unwrap();
    engine.archive_now().unwrap();
    store.requests();
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(store.requests(), []);
}

/// Closes an engine that has something to bring to a store that is as `spoil` leaves it.
fn close_beside(spoil: impl Fn(&SimStore)) -> Result<(), Error> {
    let store = SimStore::new();
    let archive =
        hurried(&store).by_hand(Hand::default()).pace(SimPace::in_steps(Duration::from_millis(1), 1));
    let engine = world::options(&SimDisk::new(), 1).archive(archive).open("simulated").unwrap();
    let log = engine.namespace("log").unwrap().object("log").unwrap();
    log.transact(|tx| tx.put("key", "value")).wait().unwrap();
    engine.checkpoint().unwrap();
    spoil(&store);
    drop(log);
    engine.close()
}

#[test]
fn a_close_gives_up_beside_a_store_that_does_not_answer() {
    assert!(matches!(close_beside(|store| store.dark(true)), Err(Error::Archive(_))));
}

#[test]
fn a_close_gives_up_beside_a_store_that_answers_and_takes_nothing() {
    let spoil = |store: &SimStore| {
        let keys = store.keys();
        let manifest = keys.iter().find(|key| key.ends_with("/manifest")).unwrap();
        store.poke(manifest, "spoilt");
    };
    assert!(matches!(close_beside(spoil), Err(Error::Archive(_))));
}
