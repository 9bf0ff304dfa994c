//! The simulator: some seeds of it, and that a seed says everything. `lineal-tests soak` runs more.

use std::sync::atomic::{AtomicU64, Ordering};

use lineal_tests::{liar::Lie, simulator};

#[test]
fn no_seed_finds_anything_and_each_says_everything() {
    let next = AtomicU64::new(0);
    let tally = simulator::run_all(
        || Some(next.fetch_add(1, Ordering::Relaxed)).filter(|seed| *seed < 100),
        |seed, ended| {
            assert!(ended.is_ok(), "seed {seed}: {ended:?}");
            assert_eq!(&simulator::run(seed), ended, "seed {seed} again");
        },
    );
    println!("{tally:?}");
    assert!(tally.cuts > 50 && tally.nested > 10 && tally.failed > 50 && tally.full > 5, "{tally:?}");
    assert!(tally.archived > 30 && tally.refused > 5 && tally.lost > 5 && tally.fenced > 1, "{tally:?}");
}

#[test]
fn a_disk_that_lies_is_found_out() {
    for lie in Lie::ALL {
        let found = (0..20).filter(|seed| simulator::run_on(*seed, Some(lie)).is_err()).count();
        println!("{lie:?}: found by {found} of 20 seeds");
        assert!(found >= 2, "{lie:?}: found by {found} of 20 seeds; whoever misses that looks at nothing");
    }
}
