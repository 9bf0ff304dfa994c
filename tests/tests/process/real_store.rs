//! A real S3 server behind one that lies. `lineal-tests lies` does more of it.

use lineal_tests::{
    real::{lies, proxy::Trouble},
    s3::S3,
};

#[test]
fn a_store_that_lies_costs_time_and_no_commit() {
    let Some(s3) = S3::start() else { return };
    let temp = tempfile::tempdir().unwrap();
    let mut tally = lies::Tally::default();
    // A few kinds; the command has them all.
    for trouble in [Trouble::Refused(503), Trouble::CutAfter, Trouble::Flipped, Trouble::Twice] {
        lies::run(&s3, temp.path(), trouble, 5, &mut tally)
            .unwrap_or_else(|why| panic!("{trouble:?}: {why}"));
    }
    println!("{tally:?}");
    assert!(tally.met > 20 && tally.archived > 100, "{tally:?}");
}
