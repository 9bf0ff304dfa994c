//! What tests of crashes share: a workload that is cut off, and the judgement of what is left.

use lineal_wal::sim::SimDisk;

use crate::{
    damage::put,
    model::{self, State, Step},
    world::{self, World},
};

/// Runs the workload until the power goes. Returns how many steps were acknowledged.
pub fn run_until_off(disk: &SimDisk, steps: &[Step]) -> usize {
    let Ok(mut world) = World::open(disk, 1) else { return 0 };
    for (at, step) in steps.iter().enumerate() {
        if world.step(step).is_err() {
            return at;
        }
    }
    steps.len()
}

/// Opens what a crash left, compares it, writes to it, opens it once more.
///
/// # Panics
/// If it is not what may be there, in this context.
pub fn check(disk: &SimDisk, states: &[State], acknowledged: usize, context: &str) {
    let mut world = World::open(disk, 7).unwrap_or_else(|error| panic!("{context}: opening: {error}"));
    let found = world.dump().unwrap_or_else(|error| panic!("{context}: reading: {error}"));
    // The step that was under way may be there or not; its commit is whole in either case.
    let candidates = &states[acknowledged..(acknowledged + 2).min(states.len())];
    let state = candidates
        .iter()
        .find(|state| model::visible(state) == found)
        .unwrap_or_else(|| panic!("{context}: {acknowledged} steps acknowledged, found {found:?}"));
    world::check_history(world.engine(), state)
        .unwrap_or_else(|error| panic!("{context}: the past: {error}"));
    world.engine().verify(&mut |_| ()).unwrap_or_else(|error| panic!("{context}: verifying: {error}"));
    let before = found;
    world
        .step(&Step::Commit(9, vec![put("new", "life")]))
        .unwrap_or_else(|error| panic!("{context}: writing: {error}"));
    world.step(&Step::Reopen).unwrap_or_else(|error| panic!("{context}: reopening: {error}"));
    let mut after = world.dump().unwrap_or_else(|error| panic!("{context}: reading again: {error}"));
    assert!(after.remove(&model::name(9)).is_some(), "{context}: the new commit is there");
    assert_eq!(after, before, "{context}: recovery settles what was unknown");
}
