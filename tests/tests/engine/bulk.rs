//! Restoring many objects to one moment.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use lineal::{Engine, Error, Micros, Namespace, RestoreAction, RestoredObject, Selector};
use lineal_tests::world::options_at;
use lineal_wal::sim::SimDisk;

struct World {
    engine: Engine,
    accounts: Namespace,
    time: Arc<AtomicU64>,
}

impl World {
    fn new() -> World {
        let time = Arc::new(AtomicU64::new(1_000_000));
        let engine = options_at(&SimDisk::new(), 3, &time).open("simulated").unwrap();
        let accounts = engine.namespace("accounts").unwrap();
        World { engine, accounts, time }
    }

    fn tick(&self) -> Micros {
        Micros(self.time.fetch_add(1_000, Ordering::Relaxed) + 1_000)
    }

    fn put(&self, name: &str, value: &str) {
        self.accounts.object(name).unwrap().transact(|tx| tx.put("v", value)).wait().unwrap();
    }

    fn values(&self) -> BTreeMap<String, String> {
        let mut values = BTreeMap::new();
        for info in self.accounts.objects().unwrap() {
            let name = info.unwrap().name.unwrap();
            let value = self.accounts.object(&name).unwrap().read(|view| view.get("v")).wait().unwrap();
            values.insert(name, String::from_utf8(value.unwrap().to_vec()).unwrap());
        }
        values
    }

    fn restore(&self, selector: &Selector, time: Micros) -> (lineal::RestoreReport, Vec<RestoredObject>) {
        let mut told = Vec::new();
        let report = self
            .engine
            .restore_many(&self.accounts, selector, time, "the bad deploy", &mut |object| told.push(object))
            .unwrap();
        (report, told)
    }
}

#[test]
fn all_objects_go_back_to_one_moment_and_again_by_their_bookmarks() {
    let world = World::new();
    for number in 0..50 {
        world.put(&format!("a{number:02}"), "before");
    }
    world.accounts.object("a07").unwrap().delete().wait().unwrap();
    let (moment, then) = (world.tick(), world.values());
    world.engine.checkpoint().unwrap();
    world.tick();
    for number in 0..30 {
        world.put(&format!("a{number:02}"), "after");
    }
    world.put("new", "after");
    world.accounts.object("a40").unwrap().delete().wait().unwrap();
    world.accounts.object("a41").unwrap().purge().wait().unwrap();
    let now = world.values();

    let planned: Vec<_> = world
        .engine
        .plan_restore(&world.accounts, &Selector::All, moment)
        .unwrap()
        .collect::<Result<_, _>>()
        .unwrap();
    let count = |is: fn(&RestoreAction) -> bool| planned.iter().filter(|planned| is(&planned.action)).count();
    assert_eq!(count(|action| matches!(action, RestoreAction::Restore(_))), 31);
    assert_eq!(count(|action| matches!(action, RestoreAction::Delete)), 1);
    assert_eq!(world.values(), now, "a plan changes nothing");

    let (report, told) = world.restore(&Selector::All, moment);
    assert_eq!((report.restored, report.deleted, report.unchanged, report.failed), (31, 1, 18, 0));
    let mut expected = then;
    expected.remove("a41");
    assert_eq!(world.values(), expected);

    let (again, _) = world.restore(&Selector::All, moment);
    assert_eq!((again.restored, again.deleted, again.unchanged), (0, 0, 50), "it was done already");

    for object in told {
        if let (_, Some(undo)) = object.outcome.unwrap() {
            world.accounts.by_id(object.id).unwrap().restore(&undo).wait().unwrap();
        }
    }
    assert_eq!(world.values(), now);
}

#[test]
fn what_one_transaction_did_is_never_torn_apart() {
    let world = World::new();
    let (ann, bob) = (world.accounts.object("ann").unwrap(), world.accounts.object("bob").unwrap());
    let mut moments = Vec::new();
    for round in 0..20u64 {
        // Several in one moment, and moments between.
        if round % 3 == 0 {
            moments.push(world.tick());
        }
        world
            .engine
            .transact_many([&ann, &bob], |[a, b]| {
                a.put("v", (100 - round).to_string())?;
                b.put("v", (100 + round).to_string())
            })
            .wait()
            .unwrap();
    }
    for moment in moments.into_iter().rev() {
        world.restore(&Selector::All, moment);
        let values: Vec<u64> = world.values().values().map(|value| value.parse().unwrap()).collect();
        assert_eq!(values.iter().sum::<u64>(), 200, "at {moment}");
    }
}

#[test]
fn a_prefix_or_a_list_means_just_those() {
    let world = World::new();
    for name in ["a/1", "a/2", "b/1"] {
        world.put(name, "before");
    }
    let moment = world.tick();
    world.tick();
    for name in ["a/1", "a/2", "b/1"] {
        world.put(name, "after");
    }
    let (report, _) = world.restore(&Selector::Prefix("a/".into()), moment);
    assert_eq!(report.restored, 2);
    let values = world.values();
    assert_eq!((values["a/1"].as_str(), values["b/1"].as_str()), ("before", "after"));
    let id = world.accounts.object("b/1").unwrap().id();
    let (report, told) = world.restore(&Selector::Objects(vec![id]), moment);
    assert_eq!((report.restored, told[0].id), (1, id));
    assert_eq!(world.values()["b/1"], "before");
    let future = Micros(u64::MAX);
    let refused = world.engine.restore_many(&world.accounts, &Selector::All, future, "", &mut |_| ());
    assert!(matches!(refused, Err(Error::Invalid { .. })));
}
