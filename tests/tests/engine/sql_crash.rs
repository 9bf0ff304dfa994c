//! Crashes at every operation of the disk, with SQL: after recovery every object's database is that of a prefix which holds
//! every acknowledged step, whole and sound, and the engine goes on from there.

use std::{collections::BTreeMap, sync::Arc};

use lineal::Result;
use lineal_tests::{
    chooser::chooser,
    sql::{Action, Content, Deed, Oracle, SqlWorld, Step, content_of},
};
use lineal_wal::sim::SimDisk;

fn sql(statement: &str) -> Action {
    Action::Sql(statement.to_owned())
}

fn put(key: &str) -> Action {
    Action::Put(key.to_owned(), b"value".to_vec())
}

fn transact(object: usize, actions: Vec<Action>) -> Step {
    Step::Transact(object, Arc::new(Deed { actions, fails: false }))
}

/// A table that takes a leaf or more, and a row longer than a page.
fn many_rows() -> Action {
    sql("WITH RECURSIVE k (k) AS (SELECT 1 UNION ALL SELECT k + 1 FROM k LIMIT 120) \
         INSERT INTO t (x, y) SELECT printf('row %d', k), iif(k = 7, hex(zeroblob(4000)), k) FROM k")
}

/// All that writes pages: first pages, growing, shrinking, patches, together with key-values; with checkpoints, leaves, a
/// restore, a fork, merging, waking and a clean reopen in between. Each transaction changes something.
fn workload() -> Vec<Step> {
    let table = || Action::Batch("CREATE TABLE t (x TEXT UNIQUE, y); CREATE INDEX i ON t (y)".into());
    let rolled_back = Deed { actions: vec![sql("DELETE FROM t"), put("never")], fails: true };
    vec![
        transact(0, vec![table(), put("a")]),
        transact(0, vec![sql("INSERT INTO t VALUES ('one', 1)"), put("b")]),
        Step::Checkpoint,
        transact(1, vec![table(), many_rows()]),
        transact(1, vec![Action::Savepoint(rolled_back), sql("UPDATE t SET y = y + 1 WHERE x = 'row 3'")]),
        Step::Checkpoint,
        transact(1, vec![sql("DELETE FROM t WHERE y > 60"), Action::Remove("a".into()), put("c")]),
        Step::Hibernate(1),
        Step::Restore(0, 1),
        transact(0, vec![sql("INSERT INTO t VALUES ('another one', 2)")]),
        Step::Fork(1, 1, 2),
        transact(2, vec![sql("ALTER TABLE t ADD COLUMN z DEFAULT 5"), put("fork")]),
        Step::Checkpoint,
        Step::Restore(1, 2),
        transact(1, vec![sql("DROP TABLE t"), sql("CREATE VIRTUAL TABLE words USING fts5 (body)")]),
        Step::Compact,
        transact(1, vec![sql("INSERT INTO words VALUES ('hello there')")]),
        Step::Delete(0),
        transact(2, vec![Action::DeleteAll, table(), sql("INSERT INTO t VALUES ('only', 1)")]),
        Step::Reopen,
        transact(0, vec![table(), put("again")]),
        transact(2, vec![sql("UPDATE t SET y = 2")]),
    ]
}

/// What there should be after each number of steps.
#[derive(Clone, Default)]
struct State {
    now: BTreeMap<String, Content>,
    past: Vec<(usize, u64, Content)>,
}

/// Runs the workload with the oracle beside it. Returns the states, and how many operations the disk did.
fn states(steps: &[Step]) -> Result<(Vec<State>, u64)> {
    let disk = SimDisk::new();
    let mut world = SqlWorld::open(&disk)?;
    let mut oracle = Oracle::default();
    let mut states = vec![State::default()];
    for step in steps {
        let told = world.step(step)?;
        assert!(told.iter().all(|succeeded| *succeeded), "{step:?}");
        // Without asking the engine, which is no operation of the workload: each transaction is a commit.
        oracle.step(step, &told, |object| oracle_seq(&states, object) + 1);
        let past = oracle.past().map(|(object, seq, content)| (object, seq, content.clone())).collect();
        states.push(State { now: oracle.contents(), past });
    }
    let ops = disk.ops();
    assert_eq!(world.contents()?, oracle.contents());
    Ok((states, ops))
}

fn oracle_seq(states: &[State], object: usize) -> u64 {
    let newest = states.last().into_iter().flat_map(|state| &state.past);
    newest.filter(|(of, ..)| *of == object).map(|(_, seq, _)| *seq).max().unwrap_or_default()
}

/// Runs the workload until the power goes. Returns how many steps were acknowledged.
fn run_until_off(disk: &SimDisk, steps: &[Step]) -> usize {
    let Ok(mut world) = SqlWorld::open(disk) else { return 0 };
    steps.iter().position(|step| world.step(step).is_err()).unwrap_or(steps.len())
}

/// Opens what a crash left, compares it, writes to it, opens it once more.
fn check(disk: &SimDisk, states: &[State], acknowledged: usize, context: &str) -> Result<()> {
    let mut world = SqlWorld::open(disk)?;
    let found = world.contents()?;
    // The step that was under way may be there or not; it is whole in either case.
    let candidates = &states[acknowledged..(acknowledged + 2).min(states.len())];
    let state = candidates.iter().find(|state| state.now == found);
    let state =
        state.unwrap_or_else(|| panic!("{context}: {acknowledged} steps acknowledged, found {found:?}"));
    for (object, seq, content) in &state.past {
        let object = world.object(*object)?;
        let view = object.at(&object.bookmark_of(*seq)?)?;
        assert_eq!(&content_of(&view)?, content, "{context}: {object:?} at commit {seq}");
    }
    world.engine().verify(&mut |_| ())?;
    for object in 0..3 {
        world.step(&transact(
            object,
            vec![sql("CREATE TABLE life (x)"), sql("INSERT INTO life VALUES (1)")],
        ))?;
    }
    let before = world.contents()?;
    world.step(&Step::Reopen)?;
    assert_eq!(world.contents()?, before, "{context}: recovery settles what was unknown");
    Ok(())
}

#[test]
fn a_crash_at_every_operation_leaves_databases_of_a_prefix() {
    let steps = workload();
    let (states, ops) = states(&steps).unwrap();
    for op in 0..ops {
        for fate in 0..3 {
            let disk = SimDisk::new();
            disk.power_off_at(op);
            let acknowledged = run_until_off(&disk, &steps);
            let crashed = disk.crash(&mut chooser(fate + op * 3 * u64::from(fate > 1)));
            let context = format!("power off at operation {op} of {ops}, fate {fate}");
            check(&crashed, &states, acknowledged, &context)
                .unwrap_or_else(|error| panic!("{context}: {error}"));
        }
    }
}
