//! Transactions and objects as a caller sees them: what is atomic, what is read, what is counted, what goes on.

use std::{
    collections::BTreeMap,
    ops::Bound,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use lineal::{
    Engine, Error, Gated, Micros, Namespace, Object, ObjectId, ObjectInfo, Options, Quotas, Result, Tx,
};
use lineal_tests::world;
use lineal_wal::sim::SimDisk;

type Entries = Vec<(Vec<u8>, Vec<u8>)>;

fn open_with(change: impl FnOnce(Options) -> Options) -> (Engine, Namespace) {
    let engine = change(world::options(&SimDisk::new(), 1)).open("transactions").unwrap();
    let rooms = engine.namespace("rooms").unwrap();
    (engine, rooms)
}

fn open() -> (Engine, Namespace) {
    open_with(|options| options)
}

fn object() -> (Engine, Object) {
    let (engine, rooms) = open();
    let object = rooms.object("lobby").unwrap();
    (engine, object)
}

fn put(object: &Object, key: &str, value: &str) {
    object.transact(|tx| tx.put(key, value)).wait().unwrap();
}

fn entries(object: &Object) -> BTreeMap<Vec<u8>, Vec<u8>> {
    object
        .read(|view| view.prefix("").map(|entry| entry.map(|(key, value)| (key, value.to_vec()))).collect())
        .wait()
        .unwrap()
}

fn map(pairs: &[(&str, &str)]) -> BTreeMap<Vec<u8>, Vec<u8>> {
    pairs.iter().map(|(key, value)| (key.as_bytes().to_vec(), value.as_bytes().to_vec())).collect()
}

/// Numbers that look random and are the same each time.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 33
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    fn bytes(&mut self, count: u64) -> Vec<u8> {
        (0..count).map(|_| self.next() as u8).collect()
    }
}

#[test]
fn reads_see_the_transactions_own_writes() {
    let (_engine, object) = object();
    put(&object, "a", "old");
    put(&object, "b", "old");
    object
        .transact(|tx| {
            tx.put("a", "new")?;
            tx.delete("b")?;
            tx.put("c", "new")?;
            assert_eq!(tx.get("a")?.as_deref(), Some(&b"new"[..]));
            assert!(!tx.contains("b")? && tx.contains("c")?);
            let keys: Vec<Vec<u8>> = tx.prefix("").map(|entry| entry.unwrap().0).collect();
            assert_eq!(keys, [b"a".to_vec(), b"c".to_vec()]);
            tx.delete_range("a".."b")?;
            assert_eq!(tx.get("a")?, None);
            tx.delete_all()?;
            assert_eq!(tx.prefix("").count(), 0);
            tx.put("d", "last")?;
            assert_eq!(tx.range("a"..).count(), 1);
            Ok(())
        })
        .wait()
        .unwrap();
    assert_eq!(entries(&object), map(&[("d", "last")]));
}

#[test]
fn a_failed_savepoint_undoes_its_own_part_only() {
    let (_engine, object) = object();
    put(&object, "kept", "0");
    let seen = object.transact(|tx| {
        tx.put("outer", "1")?;
        let failed: Result<()> = tx.savepoint(|tx| {
            tx.put("inner", "2")?;
            tx.delete("kept")?;
            tx.savepoint(|tx| tx.put("innermost", "3"))?;
            assert!(tx.contains("innermost")? && !tx.contains("kept")?);
            Err(Error::other("undo"))
        });
        assert_eq!(failed.unwrap_err().to_string(), "undo");
        assert!(tx.contains("kept")? && !tx.contains("inner")? && !tx.contains("innermost")?);
        tx.savepoint(|tx| {
            tx.put("second", "4")?;
            let undone: Result<(), Error> = tx.savepoint(|tx| {
                let _ = tx.delete_all();
                Err(Error::other("undo"))
            });
            assert!(undone.is_err() && tx.contains("second")? && tx.contains("outer")?);
            Ok::<(), Error>(())
        })?;
        Ok(tx.prefix("").count())
    });
    assert_eq!(seen.wait().unwrap(), 3);
    assert_eq!(entries(&object), map(&[("kept", "0"), ("outer", "1"), ("second", "4")]));
    assert_eq!(object.info().unwrap().seq, 2);
}

#[test]
fn a_transaction_whose_every_part_was_undone_commits_nothing() {
    let (engine, object) = object();
    put(&object, "a", "1");
    let appended = engine.stats().appended_lsn;
    object
        .transact(|tx| {
            let undone: Result<(), Error> = tx.savepoint(|tx| {
                tx.put("b", "2")?;
                Err(Error::other("undo"))
            });
            assert!(undone.is_err());
            Ok(())
        })
        .wait()
        .unwrap();
    assert_eq!((object.info().unwrap().seq, engine.stats().appended_lsn), (1, appended));
}

#[test]
fn an_error_leaves_nothing() {
    #[derive(Debug)]
    enum Mine {
        Refused,
        Engine(Error),
    }
    impl From<Error> for Mine {
        fn from(error: Error) -> Mine {
            Mine::Engine(error)
        }
    }
    let (engine, object) = object();
    put(&object, "a", "1");
    let before = (entries(&object), engine.stats().appended_lsn, engine.stats().bytes);
    let outcome: Result<(), Error> = object
        .transact(|tx| {
            tx.put("a", "2")?;
            tx.put("b", "2")?;
            Err(Error::other("no"))
        })
        .wait();
    assert_eq!(outcome.unwrap_err().name(), "Other");
    let outcome: Result<(), Mine> = object
        .try_transact(|tx| {
            tx.delete_all()?;
            Err(Mine::Refused)
        })
        .wait();
    assert!(matches!(outcome, Err(Mine::Refused)));
    let outcome: Result<(), Mine> = object.try_transact(|tx| Ok(tx.put(vec![0; 5_000], "")?)).wait();
    assert!(matches!(outcome, Err(Mine::Engine(Error::TooLarge { .. }))));
    assert_eq!((entries(&object), engine.stats().appended_lsn, engine.stats().bytes), before);
}

#[test]
fn a_read_only_transaction_writes_no_record() {
    let (engine, object) = object();
    put(&object, "a", "1");
    let before = engine.stats();
    let looks: [&dyn Fn(&mut Tx<'_>) -> Result<()>; 4] = [
        &|tx| tx.get("a").map(drop),
        &|tx| {
            assert_eq!(tx.prefix("").count(), 1);
            Ok(())
        },
        // Deleting what is not there changes nothing.
        &|tx| tx.delete("absent"),
        &|tx| tx.cause("only a look"),
    ];
    for look in looks {
        object.transact(look).wait().unwrap();
    }
    object.read(|view| view.get("a")).wait().unwrap();
    engine.transact_many([&object], |[tx]| tx.get("a").map(drop)).wait().unwrap();
    let after = engine.stats();
    assert_eq!((after.appended_lsn, after.commits), (before.appended_lsn, before.commits));
    assert_eq!(object.info().unwrap().seq, 1);
}

#[test]
fn what_never_had_a_commit_does_not_exist() {
    let (_engine, object) = object();
    assert!(matches!(object.info(), Err(Error::NotFound { .. })));
    assert!(matches!(object.verify(), Err(Error::NotFound { .. })));
    object.delete().wait().unwrap();
    object.purge().wait().unwrap();
    assert!(!object.read(|view| Ok(view.exists())).wait().unwrap());
    assert_eq!(object.transact(|tx| Ok(tx.seq())).wait().unwrap(), 0);
}

fn assert_too_large<T: std::fmt::Debug>(outcome: Result<T>, wanted: &str) {
    match outcome {
        Err(Error::TooLarge { what, limit, size }) => {
            assert_eq!(what, wanted);
            assert!(size > limit);
        }
        other => panic!("{other:?}, and {wanted} is too large"),
    }
}

#[test]
fn what_is_over_a_limit_fails_whole() {
    let limits =
        |options: Options| options.key_bytes_max(16).value_bytes_max(1_000).transaction_bytes_max(10_000);
    let (engine, rooms) = open_with(limits);
    let object = rooms.object("lobby").unwrap();
    put(&object, "a", "1");
    let appended = engine.stats().appended_lsn;
    let long_key = "k".repeat(17);
    let over = |f: &dyn Fn(&mut Tx<'_>) -> Result<()>, what: &str| {
        let outcome = object.transact(|tx| {
            tx.put("partial", "1")?;
            f(tx)
        });
        assert_too_large(outcome.wait(), what);
    };
    over(&|tx| tx.put(&long_key, ""), "key");
    over(&|tx| tx.delete(&long_key), "key");
    over(&|tx| tx.put("k", vec![0; 1_001]), "value");
    over(&|tx| (0..20u8).try_for_each(|at| tx.put([at], vec![at; 1_000])), "transaction");
    over(&|tx| tx.cause("c".repeat(5_000)), "cause");
    assert_eq!(engine.stats().appended_lsn, appended);
    assert_eq!(entries(&object), map(&[("a", "1")]));
    // At the limit all is well, and a refused write need not end the transaction.
    object
        .transact(|tx| {
            assert_too_large(tx.put("k", vec![0; 1_001]), "value");
            tx.put("k".repeat(16), vec![0; 1_000])
        })
        .wait()
        .unwrap();
    assert_too_large(rooms.object(&"n".repeat(1_025)), "name");
    assert!(matches!(rooms.object(""), Err(Error::InvalidName { .. })));
    put(&rooms.object(&"n".repeat(1_024)).unwrap(), "a", "1");
    put(&rooms.object("../../etc/passwd\0").unwrap(), "", "an empty key is a key");
}

#[test]
fn a_transaction_over_a_quota_fails_whole() {
    let (engine, rooms) = open();
    rooms
        .set_quotas(Quotas { namespace_bytes: Some(100), objects: Some(2), object_bytes: Some(60) })
        .unwrap();
    let objects = ["a", "b", "c"].map(|name| rooms.object(name).unwrap());
    let [a, b, c] = &objects;
    let fill = |object: &Object, bytes: usize| object.transact(|tx| tx.put("k", vec![0; bytes])).wait();
    fill(a, 50).unwrap();
    assert!(matches!(fill(a, 60), Err(Error::Quota { limit: 60, size: 61, .. })));
    assert!(matches!(fill(b, 55), Err(Error::Quota { limit: 100, .. })));
    fill(b, 40).unwrap();
    assert!(matches!(fill(c, 1), Err(Error::Quota { limit: 2, size: 3, .. })));
    let both = engine.transact_many([a, b], |[a, b]| {
        a.put("k", [0; 55])?;
        b.put("k", [0; 55])
    });
    assert!(matches!(both.wait(), Err(Error::Quota { .. })));
    assert_eq!(rooms.usage().bytes, 92, "nothing of what was refused is counted");
    // Shrinking is never refused, and makes room.
    a.delete().wait().unwrap();
    fill(c, 40).unwrap();
    assert_eq!((rooms.usage().objects, rooms.usage().bytes), (2, 82));
}

/// All entries within the bounds, by a plain map.
fn expected(
    model: &BTreeMap<Vec<u8>, Vec<u8>>,
    bounds: &(Bound<Vec<u8>>, Bound<Vec<u8>>),
    reverse: bool,
    limit: usize,
) -> Entries {
    let (start, end) = bounds;
    let is_empty = match (start, end) {
        (Bound::Included(start), Bound::Included(end)) => start > end,
        (Bound::Included(start) | Bound::Excluded(start), Bound::Included(end) | Bound::Excluded(end)) => {
            start >= end
        }
        _ => false,
    };
    if is_empty {
        return Vec::new();
    }
    let all = model.range::<Vec<u8>, _>(bounds.clone()).map(|(key, value)| (key.clone(), value.clone()));
    if reverse { all.rev().take(limit).collect() } else { all.take(limit).collect() }
}

fn random_key(numbers: &mut Numbers) -> Vec<u8> {
    let digits = numbers.below(3) + 1;
    (0..digits).map(|_| [b'a', b'b', b'c', 0, 0xff][numbers.below(5) as usize]).collect()
}

fn random_bound(numbers: &mut Numbers) -> Bound<Vec<u8>> {
    match numbers.below(4) {
        0 => Bound::Unbounded,
        1 => Bound::Excluded(random_key(numbers)),
        _ => Bound::Included(random_key(numbers)),
    }
}

/// Asks for ranges and prefixes of a transaction, and compares them with the model.
fn compare_ranges(tx: &Tx<'_>, model: &BTreeMap<Vec<u8>, Vec<u8>>, numbers: &mut Numbers) {
    for _ in 0..60 {
        let bounds = (random_bound(numbers), random_bound(numbers));
        let (reverse, limit) = (numbers.below(2) == 1, numbers.below(12));
        let limit = if limit > 8 { u64::MAX } else { limit };
        let mut range = tx.range(bounds.clone()).limit(limit);
        if reverse {
            range = range.reverse();
        }
        let found: Entries = range.map(|entry| entry.map(|(k, v)| (k, v.to_vec())).unwrap()).collect();
        let wanted = expected(model, &bounds, reverse, usize::try_from(limit).unwrap_or(usize::MAX));
        assert!(found == wanted, "{bounds:?} reverse {reverse} limit {limit}");
        let prefix = random_key(numbers);
        let mut range = tx.prefix(&prefix);
        if reverse {
            range = range.reverse();
        }
        let found: Vec<Vec<u8>> = range.map(|entry| entry.unwrap().0).collect();
        let mut wanted: Vec<Vec<u8>> = model.keys().filter(|key| key.starts_with(&prefix)).cloned().collect();
        if reverse {
            wanted.reverse();
        }
        assert!(found == wanted, "prefix {prefix:?} reverse {reverse}");
    }
}

#[test]
fn ranges_are_those_of_a_sorted_map_over_leaves_tail_and_own_writes() {
    let (engine, object) = object();
    let mut model = BTreeMap::new();
    let mut numbers = Numbers(7);
    let mut leaves = 0;
    for round in 0..24 {
        let undo = round % 5 == 4;
        let mut after = model.clone();
        let outcome = object.transact(|tx| {
            for _ in 0..40 {
                let key = random_key(&mut numbers);
                match numbers.below(20) {
                    0 => {
                        let (start, end) = (random_key(&mut numbers), random_key(&mut numbers));
                        after.retain(|key, _| *key < start || *key >= end);
                        tx.delete_range(start..end)?;
                    }
                    1 if round % 8 == 7 => {
                        after.clear();
                        tx.delete_all()?;
                    }
                    1..=4 => {
                        after.remove(&key);
                        tx.delete(&key)?;
                    }
                    _ => {
                        let length = 100 + numbers.below(4_000);
                        let value = numbers.bytes(length);
                        after.insert(key.clone(), value.clone());
                        tx.put(&key, value)?;
                    }
                }
            }
            compare_ranges(tx, &after, &mut numbers);
            if undo { Err(Error::other("undo")) } else { Ok(()) }
        });
        assert_eq!(outcome.wait().is_err(), undo);
        if !undo {
            model = after;
        }
        match round % 4 {
            1 => {
                engine.checkpoint().unwrap();
                leaves = leaves.max(object.verify().unwrap().leaves);
            }
            2 => object.hibernate().unwrap(),
            3 if round > 10 => engine.compact().unwrap(),
            _ => {}
        }
        object
            .transact(|tx| {
                compare_ranges(tx, &model, &mut numbers);
                Ok(())
            })
            .wait()
            .unwrap();
    }
    assert!(leaves > 1, "the object was large enough to be more than one leaf: {leaves}");
    assert_eq!(entries(&object), model);
}

#[test]
fn a_range_is_read_lazily() {
    let (engine, object) = object();
    let mut numbers = Numbers(3);
    for at in 0..64u8 {
        object.transact(|tx| tx.put([at], numbers.bytes(8_000))).wait().unwrap();
    }
    engine.checkpoint().unwrap();
    object.hibernate().unwrap();
    let before = engine.stats().cache_misses;
    object.read(|view| view.prefix("").limit(1).next().transpose()).wait().unwrap().unwrap();
    let one = engine.stats().cache_misses - before;
    assert_eq!(object.read(|view| Ok(view.prefix("").count())).wait().unwrap(), 64);
    let all = engine.stats().cache_misses - before - one;
    assert!(all > 2 * one, "one entry took {one} reads of the disk and all of them {all} more");
}

#[test]
fn a_transaction_over_several_objects_is_all_or_nothing() {
    let (engine, rooms) = open();
    let (ann, bob) = (rooms.object("ann").unwrap(), rooms.object("bob").unwrap());
    let give = |amount: u8, fail: bool| {
        engine
            .transact_many([&ann, &bob], |[ann, bob]| {
                ann.put("balance", [100 - amount])?;
                bob.put("balance", [amount])?;
                if fail { Err(Error::other("no")) } else { Ok(()) }
            })
            .wait()
    };
    give(10, false).unwrap();
    assert!(give(90, true).is_err());
    let lsns = (ann.info().unwrap().lsn, bob.info().unwrap().lsn);
    assert_eq!(lsns.0, lsns.1, "one transaction is one record");
    assert_eq!(entries(&ann)[&b"balance"[..]], [90]);
    assert_eq!(entries(&bob)[&b"balance"[..]], [10]);
    // Who is not written to makes no commit.
    engine.transact_many([&bob, &ann], |[bob, _]| bob.put("balance", [11])).wait().unwrap();
    assert_eq!((ann.info().unwrap().seq, bob.info().unwrap().seq), (1, 2));
    // None and a number that is not known when compiling.
    engine.transact_all(&[], |txs| Ok(assert_eq!(txs.len(), 0))).wait().unwrap();
    let objects: Vec<Object> = (0..50).map(|at| rooms.object(&format!("{at}")).unwrap()).collect();
    let all: Vec<&Object> = objects.iter().collect();
    engine
        .transact_all(&all, |txs| {
            txs.iter_mut().enumerate().try_for_each(|(at, tx)| tx.put("at", [at as u8]))
        })
        .wait()
        .unwrap();
    for (at, object) in objects.iter().enumerate() {
        assert_eq!(
            entries(object)[&b"at"[..]],
            [at as u8],
            "each gets its own transaction, in the caller's order"
        );
    }
}

#[test]
fn an_object_is_not_named_twice_and_not_of_another_engine() {
    let ((engine, rooms), (_other, others)) = (open(), open());
    let (object, again) = (rooms.object("a").unwrap(), rooms.object("a").unwrap());
    let twice = engine.transact_many([&object, &again], |_| Ok(())).wait();
    assert!(matches!(twice, Err(Error::Invalid { .. })), "{twice:?}");
    let foreign = others.object("b").unwrap();
    let foreign = engine.transact_many([&object, &foreign], |_| Ok(())).wait();
    assert!(matches!(foreign, Err(Error::OtherEngine)), "{foreign:?}");
    put(&object, "a", "1");
}

#[test]
fn transactions_that_a_closure_swaps_stay_with_their_objects() {
    let (engine, rooms) = open();
    let (a, b) = (rooms.object("a").unwrap(), rooms.object("b").unwrap());
    put(&a, "of", "a");
    put(&b, "of", "b, which is longer");
    engine
        .transact_many([&a, &b], |[first, second]| {
            std::mem::swap(first, second);
            // What was lent as the second is a transaction of b still.
            assert_eq!(first.get("of")?.as_deref(), Some(&b"b, which is longer"[..]));
            first.put("of", "b")
        })
        .wait()
        .unwrap();
    assert_eq!((entries(&a), entries(&b)), (map(&[("of", "a")]), map(&[("of", "b")])));
    assert_eq!((a.info().unwrap().seq, b.info().unwrap().seq), (1, 2));
    assert_eq!(rooms.usage().bytes, 6);
}

#[test]
fn opposite_orders_from_two_threads_do_not_dead_lock() {
    let (engine, rooms) = open_with(|options| options.background(true));
    let objects: Vec<Object> = (0..4).map(|at| rooms.object(&format!("{at}")).unwrap()).collect();
    let add = |tx: &mut Tx<'_>| {
        let count = tx.get("count")?.map_or(0, |count| u64::from_le_bytes(count[..].try_into().unwrap()));
        tx.put("count", (count + 1).to_le_bytes())
    };
    thread::scope(|scope| {
        for turned in [false, true] {
            let (engine, objects) = (&engine, &objects);
            scope.spawn(move || {
                let mut order: Vec<&Object> = objects.iter().collect();
                if turned {
                    order.reverse();
                }
                for _ in 0..500 {
                    engine
                        .transact_all(&order, |txs| txs.iter_mut().try_for_each(add))
                        .unconfirmed()
                        .unwrap();
                    order.rotate_left(1);
                    order[0].transact(add).unconfirmed().unwrap();
                }
            });
        }
    });
    let counts: u64 = objects.iter().map(|object| object.info().unwrap().seq).sum();
    assert_eq!(counts, 2 * 500 * 5);
}

#[test]
fn expect_seq_refuses_what_was_decided_on_an_older_state() {
    let (_engine, object) = object();
    object
        .transact(|tx| {
            tx.expect_seq(0)?;
            tx.put("a", "1")
        })
        .wait()
        .unwrap();
    let stale = object.transact(|tx| {
        tx.put("a", "2")?;
        tx.expect_seq(0)
    });
    assert!(matches!(stale.wait(), Err(Error::Conflict { expected: 0, actual: 1 })));
    assert_eq!(entries(&object), map(&[("a", "1")]));
    assert_eq!(object.read(|view| Ok(view.seq())).wait().unwrap(), 1);
}

#[test]
fn a_deleted_or_purged_object_goes_on_with_the_next_seq() {
    let disk = SimDisk::new();
    let mut engine = world::options(&disk, 1).open("again").unwrap();
    let mut seq = 0;
    for round in 0..6 {
        let rooms = engine.namespace("rooms").unwrap();
        let object = rooms.object("lobby").unwrap();
        put(&object, "a", "1");
        seq += 1;
        let info = object.info().unwrap();
        assert_eq!((info.seq, info.exists, info.bytes), (seq, true, 2));
        if round % 2 == 0 { object.delete() } else { object.purge() }.wait().unwrap();
        seq += 1;
        assert_eq!(entries(&object), BTreeMap::new());
        assert!(!object.read(|view| Ok(view.exists())).wait().unwrap());
        assert_eq!(rooms.objects().unwrap().count(), 0);
        assert_eq!((rooms.usage().objects, rooms.usage().bytes), (0, 0));
        match (round % 2, object.info()) {
            (0, Ok(info)) => {
                assert_eq!((info.seq, info.exists, info.name.as_deref()), (seq, false, Some("lobby")))
            }
            (1, Err(Error::NotFound { .. })) => {}
            (_, other) => panic!("{other:?} in round {round}"),
        }
        // Again is nothing.
        object.delete().wait().unwrap();
        match round {
            2 => drop(engine.checkpoint().unwrap()),
            3 => {
                engine.checkpoint().unwrap();
                engine.compact().unwrap();
                object.hibernate().unwrap();
            }
            4 => {
                engine.close().unwrap();
                engine = world::options(&disk, 2).open("again").unwrap();
            }
            _ => {}
        }
    }
}

#[test]
fn hibernation_keeps_everything() {
    let (engine, rooms) = open();
    let mut numbers = Numbers(11);
    let mut model: BTreeMap<String, BTreeMap<Vec<u8>, Vec<u8>>> = BTreeMap::new();
    for round in 0..6u64 {
        for at in 0..6u64 {
            let name = format!("{at}");
            let object = rooms.object(&name).unwrap();
            let (key, value) = (numbers.bytes(2), numbers.bytes(10 + at * at * 700));
            object.transact(|tx| tx.put(&key, &value)).wait().unwrap();
            model.entry(name).or_default().insert(key, value);
        }
        if round % 2 == 1 {
            engine.checkpoint().unwrap();
        }
        for (name, wanted) in &model {
            let object = rooms.object(name).unwrap();
            let info = object.info().unwrap();
            object.hibernate().unwrap();
            assert!(!object.is_resident());
            assert_eq!(object.info().unwrap(), info);
            assert_eq!(entries(&object), *wanted);
            assert_eq!(object.verify().unwrap().commits, round + 1);
        }
    }
}

/// Lists page by page.
fn paged(rooms: &Namespace, page: usize) -> Vec<ObjectInfo> {
    let mut all: Vec<ObjectInfo> = Vec::new();
    loop {
        let after: Option<ObjectId> = all.last().map(|info| info.id);
        let next: Result<Vec<ObjectInfo>> = rooms.objects_after(after).unwrap().take(page).collect();
        let next = next.unwrap();
        if next.is_empty() {
            return all;
        }
        all.extend(next);
    }
}

#[test]
fn listing_shows_packed_and_unpacked_objects_once_each_in_order() {
    let disk = SimDisk::new();
    let engine = world::options(&disk, 1).open("listing").unwrap();
    let rooms = engine.namespace("rooms").unwrap();
    let elsewhere = engine.namespace("elsewhere").unwrap();
    let mut model: BTreeMap<ObjectId, (String, u64)> = BTreeMap::new();
    let write = |model: &mut BTreeMap<ObjectId, (String, u64)>, at: usize| {
        let name = format!("{at}");
        let object = rooms.object(&name).unwrap();
        put(&object, "at", &name);
        model.entry(object.id()).or_insert((name, 0)).1 += 1;
    };
    (0..60).for_each(|at| write(&mut model, at));
    put(&elsewhere.object("0").unwrap(), "a", "1");
    engine.checkpoint().unwrap();
    // Some packed and newer in the log, some only in the log, some packed and gone since.
    (40..90).for_each(|at| write(&mut model, at));
    for at in [3, 50, 70] {
        let object = rooms.object(&format!("{at}")).unwrap();
        object.delete().wait().unwrap();
        model.remove(&object.id());
    }
    let wanted: Vec<(ObjectId, Option<String>, u64)> =
        model.iter().map(|(id, (name, seq))| (*id, Some(name.clone()), *seq)).collect();
    let check = |rooms: &Namespace| {
        for page in [1, 7, 1_000] {
            let found: Vec<_> =
                paged(rooms, page).into_iter().map(|info| (info.id, info.name, info.seq)).collect();
            assert!(found == wanted, "{} of {} with pages of {page}", found.len(), wanted.len());
        }
    };
    check(&rooms);
    engine.checkpoint().unwrap();
    check(&rooms);
    let rooms = engine.namespace("rooms").unwrap();
    rooms.object("0").unwrap().hibernate().unwrap();
    engine.close().unwrap();
    let engine = world::options(&disk, 2).open("listing").unwrap();
    check(&engine.namespace("rooms").unwrap());
    assert_eq!(engine.namespaces().unwrap().len(), 2);
}

#[test]
fn usage_counts_what_is_there() {
    let disk = SimDisk::new();
    let engine = world::options(&disk, 1).open("usage").unwrap();
    let check = |engine: &Engine| {
        let rooms = engine.namespace("rooms").unwrap();
        let (mut objects, mut bytes) = (0, 0);
        for info in rooms.objects().unwrap() {
            let info = info.unwrap();
            let object = rooms.by_id(info.id).unwrap();
            let held: usize = entries(&object).iter().map(|(key, value)| key.len() + value.len()).sum();
            assert_eq!(info.bytes, held as u64, "{:?}", info.name);
            objects += 1;
            bytes += info.bytes;
        }
        assert_eq!((rooms.usage().objects, rooms.usage().bytes), (objects, bytes));
        assert_eq!((engine.stats().objects, engine.stats().bytes), (objects, bytes));
    };
    let rooms = engine.namespace("rooms").unwrap();
    let mut numbers = Numbers(5);
    for step in 0..200 {
        let object = rooms.object(&format!("{}", numbers.below(8))).unwrap();
        match numbers.below(12) {
            0 => object.delete().wait().unwrap(),
            1 => object.purge().wait().unwrap(),
            2 => object.transact(|tx| tx.delete_all()).wait().unwrap(),
            3 => object.transact(|tx| tx.delete_range("b".."d")).wait().unwrap(),
            4 => object.transact(|tx| tx.delete("a")).wait().unwrap(),
            _ => {
                let (key, length) = (random_key(&mut numbers), numbers.below(200));
                object.transact(|tx| tx.put(&key, vec![1; length as usize])).wait().unwrap();
            }
        }
        if step % 40 == 20 {
            engine.checkpoint().unwrap();
        }
        if step % 50 == 30 {
            object.hibernate().unwrap();
        }
        if step % 20 == 0 {
            check(&engine);
        }
    }
    check(&engine);
    engine.close().unwrap();
    check(&world::options(&disk, 2).open("usage").unwrap());
}

#[test]
fn unique_objects_sort_by_the_time_they_were_made() {
    let time = Arc::new(AtomicU64::new(1_700_000_000_000_000));
    let clock = Arc::clone(&time);
    let (_engine, rooms) = open_with(|options| {
        options.clock(Arc::new(move || Micros(clock.fetch_add(1_000, Ordering::Relaxed))))
    });
    let made: Vec<Object> = (0..200).map(|_| rooms.unique().unwrap()).collect();
    assert!(made.windows(2).all(|pair| pair[0].id() < pair[1].id()));
    made.iter().for_each(|object| put(object, "a", "1"));
    let listed: Vec<ObjectId> = rooms.objects().unwrap().map(|info| info.unwrap().id).collect();
    assert!(listed.into_iter().eq(made.iter().map(Object::id)));
    assert_eq!(made[7].name(), None);
    let again = rooms.by_id(made[7].id()).unwrap();
    assert_eq!(entries(&again), map(&[("a", "1")]));
    assert!(matches!(rooms.by_id(ObjectId([0xff; 16])), Err(Error::Invalid { .. })));
}

#[test]
fn objects_share_nothing() {
    let (engine, rooms) = open();
    let others = engine.namespace("others").unwrap();
    let (a, b, c) = (rooms.object("a").unwrap(), rooms.object("b").unwrap(), others.object("a").unwrap());
    put(&a, "key", "a");
    put(&c, "key", "c");
    assert_ne!(a.id(), c.id());
    assert_eq!(entries(&b), BTreeMap::new());
    a.purge().wait().unwrap();
    assert_eq!(entries(&c), map(&[("key", "c")]));
    others.drop().unwrap();
    assert!(matches!(c.read(|view| view.get("key")).wait(), Err(Error::Dropped { .. })));
    let others = engine.namespace("others").unwrap();
    assert_eq!(entries(&others.object("a").unwrap()), BTreeMap::new());
    assert_eq!(others.usage().objects, 0);
}

#[test]
fn two_engines_in_one_process_are_independent() {
    let ((left, lefts), (right, rights)) = (open(), open());
    let (a, b) = (lefts.object("a").unwrap(), rights.object("a").unwrap());
    // A transaction of the one may be nested in one of the other, also blocking.
    let nested: Gated<u64> = a.transact(|outer| {
        outer.put("key", "left")?;
        b.transact(|inner| inner.put("key", "right")).wait()?;
        right.sync()?;
        right.checkpoint()?;
        assert!(matches!(left.sync(), Err(Error::InsideTurn)));
        b.transact(|_| {
            assert!(matches!(a.read(|view| view.get("key")).unconfirmed(), Err(Error::InsideTurn)));
            Ok(())
        })
        .wait()?;
        outer.put("other", "left")?;
        Ok(outer.seq())
    });
    assert_eq!(nested.wait().unwrap(), 0);
    assert_eq!(entries(&a), map(&[("key", "left"), ("other", "left")]));
    assert_eq!(entries(&b), map(&[("key", "right")]));
    left.close().unwrap();
    put(&b, "key", "goes on");
    assert!(matches!(a.transact(|tx| tx.put("key", "no")).wait(), Err(Error::Closed)));
}

#[test]
fn a_read_only_engine_refuses_writes() {
    let disk = SimDisk::new();
    let engine = world::options(&disk, 1).open("read-only").unwrap();
    put(&engine.namespace("rooms").unwrap().object("a").unwrap(), "key", "1");
    engine.close().unwrap();
    let before = disk.image();
    let engine = world::options(&disk, 2).open_read_only("read-only").unwrap();
    let object = engine.existing_namespace("rooms").unwrap().object("a").unwrap();
    assert_eq!(entries(&object), map(&[("key", "1")]));
    let refused = object.transact(|tx| tx.put("key", "2")).wait();
    assert!(matches!(refused, Err(Error::ReadOnly)), "{refused:?}");
    assert!(matches!(engine.namespace("new"), Err(Error::NotFound { .. })));
    assert!(matches!(engine.checkpoint(), Err(Error::ReadOnly)));
    assert_eq!(entries(&object), map(&[("key", "1")]));
    object.verify().unwrap();
    engine.close().unwrap();
    assert!(disk.image() == before, "reading changed a byte");
}
