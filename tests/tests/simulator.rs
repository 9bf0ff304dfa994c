//! The simulator: some seeds of it, and that a seed says everything. `lineal-tests soak` runs more.

use lineal_tests::{
    liar::Lie,
    simulator::{self, Tally},
};

/// Runs these seeds on all processors.
fn run(seeds: std::ops::Range<u64>) -> Tally {
    let next = std::sync::atomic::AtomicU64::new(seeds.start);
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get);
    let one = || {
        let mut tally = Tally::default();
        loop {
            let seed = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            if seed >= seeds.end {
                return tally;
            }
            let report = simulator::run(seed).unwrap_or_else(|why| panic!("seed {seed}: {why}"));
            tally.add(&report.tally);
        }
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(one)).collect();
        let mut all = Tally::default();
        threads.into_iter().for_each(|thread| all.add(&thread.join().unwrap()));
        all
    })
}

#[test]
fn no_seed_finds_anything() {
    let tally = run(0..150);
    println!("{tally:?}");
    assert!(tally.cuts > 50 && tally.nested > 10 && tally.failed > 50 && tally.full > 5, "{tally:?}");
}

#[test]
fn a_seed_says_everything() {
    for seed in 10_000..10_100 {
        assert_eq!(simulator::run(seed), simulator::run(seed), "seed {seed}");
    }
}

#[test]
fn a_disk_that_lies_is_found_out() {
    for lie in Lie::ALL {
        let found = (0..20).filter(|seed| simulator::run_on(*seed, Some(lie)).is_err()).count();
        println!("{lie:?}: found by {found} of 20 seeds");
        assert!(found >= 2, "{lie:?}: found by {found} of 20 seeds; whoever misses that looks at nothing");
    }
}
