//! Random steps against a plain model, with checkpoints, compaction, hibernation and reopening in between.

use lineal_tests::{
    model::{self, State, Step, Write},
    world::World,
};
use lineal_wal::sim::SimDisk;
use proptest::prelude::*;

fn key() -> impl Strategy<Value = Vec<u8>> {
    (0u8..12).prop_map(|number| format!("key {number}").into_bytes())
}

fn write() -> impl Strategy<Value = Write> {
    prop_oneof![
        6 => (key(), any::<u8>(), prop_oneof![4 => 0usize..40, 1 => 4_000usize..12_000])
            .prop_map(|(key, byte, length)| Write::Put(key, vec![byte; length])),
        2 => key().prop_map(Write::Delete),
        1 => (key(), key()).prop_map(|(start, end)| Write::DeleteRange(start, end)),
        1 => Just(Write::DeleteAll),
    ]
}

fn writes() -> impl Strategy<Value = Vec<Write>> {
    proptest::collection::vec(write(), 0..8)
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => (0usize..4, writes()).prop_map(|(object, writes)| Step::Commit(object, writes)),
        2 => (0usize..3, writes()).prop_map(|(object, writes)| Step::Many([object, object + 1], writes)),
        1 => (0usize..4).prop_map(Step::Delete),
        1 => (0usize..4).prop_map(Step::Purge),
        3 => Just(Step::Checkpoint),
        1 => Just(Step::Compact),
        3 => (0usize..4).prop_map(Step::Hibernate),
        1 => Just(Step::Reopen),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    #[test]
    fn an_engine_holds_what_the_model_holds(steps in proptest::collection::vec(step(), 1..60)) {
        let disk = SimDisk::new();
        let mut world = World::open(&disk, 5).unwrap();
        let mut state = State::new();
        for (at, step) in steps.iter().enumerate() {
            world.step(step).unwrap();
            model::apply(&mut state, step);
            if at % 7 == 0 {
                prop_assert_eq!(world.dump().unwrap(), model::visible(&state));
            }
        }
        prop_assert_eq!(world.dump().unwrap(), model::visible(&state));
        world.step(&Step::Reopen).unwrap();
        prop_assert_eq!(world.dump().unwrap(), model::visible(&state));
        world.engine().verify(&mut |_| ()).unwrap();
    }
}
