//! Random statements against an in-memory SQLite that gets the same ones, mixed with key-values, with restores, forks,
//! checkpoints, compaction, hibernation and reopening in between. The seed is the same each time.

use std::sync::Arc;

use lineal_tests::sql::{Action, Deed, Oracle, SqlWorld, Step, content_of};
use lineal_wal::sim::SimDisk;
use proptest::{
    prelude::*,
    test_runner::{RngAlgorithm, TestRng, TestRunner},
};

const OBJECTS: usize = 3;

/// A statement about few tables, columns and values, so that they meet.
fn statement() -> impl Strategy<Value = String> {
    let (t, i, n) = (0u8..3, 0u8..3, 0u32..12);
    let column = prop_oneof![Just("a"), Just("b"), Just("c"), Just("x")];
    let length = prop_oneof![6 => 0usize..60, 1 => 3_000usize..9_000];
    prop_oneof![
        3 => t.clone().prop_map(|t| format!("CREATE TABLE IF NOT EXISTS t{t} (id INTEGER PRIMARY KEY, a, b TEXT UNIQUE, c)")),
        1 => t.clone().prop_map(|t| format!(
            "CREATE TABLE t{t} (a PRIMARY KEY, b, c REFERENCES t0 (id) ON DELETE CASCADE) WITHOUT ROWID"
        )),
        1 => t.clone().prop_map(|t| format!("DROP TABLE t{t}")),
        1 => (t.clone(), t.clone()).prop_map(|(t, to)| format!("ALTER TABLE t{t} RENAME TO t{to}")),
        1 => (t.clone(), n.clone()).prop_map(|(t, n)| format!("ALTER TABLE t{t} ADD COLUMN x DEFAULT {n}")),
        1 => (t.clone(), column.clone()).prop_map(|(t, c)| format!("ALTER TABLE t{t} DROP COLUMN {c}")),
        1 => (t.clone(), column.clone()).prop_map(|(t, c)| format!("ALTER TABLE t{t} RENAME COLUMN {c} TO x")),
        2 => (i.clone(), t.clone(), column.clone()).prop_map(|(i, t, c)| format!("CREATE INDEX i{i} ON t{t} ({c}, b)")),
        1 => i.prop_map(|i| format!("DROP INDEX i{i}")),
        8 => (t.clone(), n.clone(), length.clone()).prop_map(|(t, n, length)| {
            format!("INSERT INTO t{t} (a, b, c) VALUES ({n}, 'text {n} {length}', '{}')", "long ".repeat(length / 5))
        }),
        3 => (t.clone(), n.clone()).prop_map(|(t, n)| format!(
            "INSERT INTO t{t} (a, b) VALUES ({n}, 'one') ON CONFLICT (b) DO UPDATE SET a = a + 1, c = excluded.a"
        )),
        2 => (t.clone(), n.clone()).prop_map(|(t, n)| format!("INSERT OR REPLACE INTO t{t} VALUES ({n}, {n}, 'r{n}', NULL)")),
        2 => (t.clone(), 1u32..150).prop_map(|(t, n)| format!(
            "WITH RECURSIVE k (k) AS (SELECT 1 UNION ALL SELECT k + 1 FROM k LIMIT {n}) \
             INSERT INTO t{t} (a, b) SELECT k % 7, printf('row %d of {n}', k) FROM k"
        )),
        4 => (t.clone(), n.clone()).prop_map(|(t, n)| format!("UPDATE t{t} SET a = a + {n}, c = b WHERE a % 5 = {n} % 5")),
        1 => (t.clone(), length).prop_map(|(t, l)| format!("UPDATE t{t} SET c = zeroblob({l}) WHERE a = 3")),
        3 => (t.clone(), n.clone()).prop_map(|(t, n)| format!("DELETE FROM t{t} WHERE a % 6 = {n} % 6")),
        1 => t.clone().prop_map(|t| format!("DELETE FROM t{t}")),
        1 => t.clone().prop_map(|t| format!(
            "CREATE TRIGGER r{t} AFTER DELETE ON t{t} BEGIN INSERT INTO words VALUES ('deleted ' || old.a); END"
        )),
        1 => t.prop_map(|t| format!("CREATE VIEW v AS SELECT a, b FROM t{t}")),
        2 => n.prop_map(|n| format!("INSERT INTO words VALUES ('word {n} and more')")),
        1 => Just("DELETE FROM words WHERE words MATCH 'more'".to_owned()),
        1 => Just("INSERT INTO nowhere VALUES (1)".to_owned()),
        1 => Just("not a statement".to_owned()),
    ]
}

fn action() -> impl Strategy<Value = Action> {
    let key = || (0u8..6).prop_map(|n| format!("key {n}"));
    let batch = proptest::collection::vec(statement(), 1..4);
    let simple = prop_oneof![
        12 => statement().prop_map(Action::Sql),
        3 => batch.prop_map(|statements| Action::Batch(statements.join("; "))),
        2 => (key(), any::<u8>(), 0usize..2_000).prop_map(|(key, byte, length)| Action::Put(key, vec![byte; length])),
        1 => key().prop_map(Action::Remove),
    ];
    simple.prop_recursive(2, 8, 4, |inner| {
        (proptest::collection::vec(inner, 1..4), prop::bool::weighted(0.4))
            .prop_map(|(actions, fails)| Action::Savepoint(Deed { actions, fails }))
    })
}

fn deed() -> impl Strategy<Value = Arc<Deed>> {
    // Not inside a savepoint: SQLite cannot commit after it undid the making of an index that holds something.
    let index = Just(Action::Sql("CREATE VIRTUAL TABLE words USING fts5 (body)".to_owned()));
    let actions = proptest::collection::vec(prop_oneof![12 => action(), 1 => index], 1..7);
    let cleared = prop::bool::weighted(0.06);
    (actions, cleared, any::<prop::sample::Index>(), prop::bool::weighted(0.12)).prop_map(
        |(mut actions, cleared, at, fails)| {
            if cleared {
                actions.insert(at.index(actions.len() + 1), Action::DeleteAll);
            }
            Arc::new(Deed { actions, fails })
        },
    )
}

/// A step; the number of a commit is one of those that there are when the step is done.
fn step() -> impl Strategy<Value = (Step, prop::sample::Index)> {
    let object = 0..OBJECTS;
    let step = prop_oneof![
        20 => (object.clone(), deed()).prop_map(|(object, deed)| Step::Transact(object, deed)),
        2 => object.clone().prop_map(|object| Step::Restore(object, 0)),
        2 => (object.clone(), object.clone()).prop_map(|(source, target)| Step::Fork(source, 0, target)),
        1 => object.clone().prop_map(Step::Delete),
        3 => Just(Step::Checkpoint),
        1 => Just(Step::Compact),
        3 => object.prop_map(Step::Hibernate),
        1 => Just(Step::Reopen),
    ];
    (step, any::<prop::sample::Index>())
}

/// The step with a commit that there is; `None` if there is nothing to do it with.
fn settled(step: &Step, at: &prop::sample::Index, oracle: &Oracle) -> Option<Step> {
    let pick = |object: usize| {
        let seqs = oracle.seqs(object);
        (!seqs.is_empty()).then(|| seqs[at.index(seqs.len())])
    };
    match *step {
        Step::Restore(object, _) => pick(object).map(|seq| Step::Restore(object, seq)),
        Step::Fork(source, _, target) => {
            let is_new = oracle.seqs(target).is_empty();
            pick(source).filter(|_| is_new).map(|seq| Step::Fork(source, seq, target))
        }
        ref other => Some(other.clone()),
    }
}

fn run(steps: &[(Step, prop::sample::Index)]) {
    let mut world = SqlWorld::open(&SimDisk::new()).unwrap();
    let mut oracle = Oracle::default();
    for (step, at) in steps {
        let Some(step) = settled(step, at, &oracle) else { continue };
        let told = world.step(&step).unwrap_or_else(|error| panic!("{step:?}: {error}"));
        oracle.step(&step, &told, |object| world.seq(object).unwrap());
        match step {
            Step::Transact(object, _) | Step::Restore(object, _) | Step::Fork(_, _, object) => {
                assert_eq!(world.content(object).unwrap(), oracle.content(object), "after {step:?}");
            }
            _ => assert_eq!(world.contents().unwrap(), oracle.contents(), "after {step:?}"),
        }
    }
    for (object, seq, content) in oracle.past() {
        let object = world.object(object).unwrap();
        let view = object.at(&object.bookmark_of(seq).unwrap()).unwrap();
        assert_eq!(&content_of(&view).unwrap(), content, "{object:?} at commit {seq}");
    }
    world.step(&Step::Reopen).unwrap();
    assert_eq!(world.contents().unwrap(), oracle.contents());
    world.engine().verify(&mut |_| ()).unwrap();
}

#[test]
fn objects_hold_what_an_in_memory_sqlite_holds() {
    let config = ProptestConfig {
        cases: 250,
        max_shrink_iters: 2_000,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    let mut runner = TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    let steps = proptest::collection::vec(step(), 1..40);
    let outcome = runner.run(&steps, |steps| {
        run(&steps);
        Ok(())
    });
    outcome.unwrap_or_else(|error| panic!("{error}"));
}
