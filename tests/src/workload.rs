//! Workloads that several tests run.

use crate::{
    damage::{filler, put},
    model::{self, State, Step, Write},
};

/// Every feature that writes, in few steps: first commits, overwriting, rotation, checkpoints, leaves, deletes, purge,
/// transactions over two objects, restores, forks, compaction, a clean reopen.
#[must_use]
pub fn every_feature() -> Vec<Step> {
    vec![
        Step::Commit(0, vec![put("a", "1")]),
        Step::Many([0, 1], vec![put("b", "2"), put("c", "3")]),
        Step::Checkpoint,
        Step::Commit(1, vec![Write::Delete("b".into()), put("d", "4")]),
        Step::Commit(2, (0..8).map(|at| filler(&format!("key {at}"), 9_000)).collect()),
        Step::Checkpoint,
        Step::Hibernate(2),
        Step::Commit(2, vec![Write::DeleteRange("key 2".into(), "key 4".into()), put("key 9", "5")]),
        Step::Delete(0),
        Step::Restore(0, 1),
        Step::Fork(2, 1, 4),
        Step::Checkpoint,
        Step::Restore(2, 1),
        Step::Commit(4, vec![put("fork", "9"), Write::Delete("key 1".into())]),
        Step::Fork(4, 2, 5),
        Step::Commit(0, vec![put("again", "6")]),
        Step::Purge(1),
        Step::Commit(3, vec![filler("large", 40_000)]),
        Step::Checkpoint,
        Step::Compact,
        Step::Restore(4, 1),
        Step::Purge(5),
        Step::Commit(1, vec![put("after", "7")]),
        Step::Commit(2, vec![Write::DeleteAll, put("only", "8")]),
        Step::Reopen,
        Step::Commit(3, vec![put("last", "9")]),
    ]
}

/// The states after each number of steps, with what they remember.
#[must_use]
pub fn states(steps: &[Step]) -> Vec<State> {
    let mut state = State::new();
    let mut states = vec![state.clone()];
    for step in steps {
        model::apply(&mut state, step);
        states.push(state.clone());
    }
    states
}
