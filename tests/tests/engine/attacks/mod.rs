//! Tenants that try to reach another object, the file system, memory or the machine's time: by names, keys, values,
//! statements, imported files and bookmarks. What `lineal exec` is sent is attacked in the command's own tests.
//!
//! Each case ends in a typed error or stays within what is the attacker's own; after each, everything that others have is
//! compared byte by byte, and so is what lies beside the data directory. Time and memory are bounded by budgets of
//! operations and bytes, so nothing here looks at a clock.

mod bookmarks;
mod ground;
mod imports;
mod names;
mod sql;
mod values;

/// How many there are, so that a table that lost its rows is seen.
///
/// Source: the figure of the promise that tenants are isolated.
const CASES_MIN: usize = 200;

#[test]
fn there_are_enough_cases_of_each_kind() {
    let kinds = [
        ("names and ids", names::count()),
        ("keys and values", values::count()),
        ("statements", sql::count()),
        ("imported files", imports::count()),
        ("bookmarks", bookmarks::count()),
    ];
    for (kind, count) in kinds {
        println!("{count:>4} {kind}");
        assert!(count >= 20, "{kind}");
    }
    let all: usize = kinds.iter().map(|(_, count)| count).sum();
    println!("{all:>4} together");
    assert!(all >= CASES_MIN);
}
