//! Small worlds: a slice of what `lineal-tests worlds` looks at, and that it finds what it looks for.

use std::{
    sync::atomic::{AtomicU64, AtomicUsize, Ordering},
    thread,
};

use lineal_tests::{
    liar::Lie,
    worlds::{
        explore::{Effort, Explorer, Trail},
        library,
        odometer::Budget,
        story::Story,
        tally::Level,
    },
};

static JUDGED: AtomicU64 = AtomicU64::new(0);

/// A slice of a world's crashes: so many outcomes of each kind, and one of so many recoveries.
fn slice(whole: usize, torn: usize, ragged: usize, nested: u64) -> Effort {
    let budget = Budget { whole, torn, ragged };
    let nested_budget = Budget { whole: 2, torn: 1, ragged: 1 };
    Effort { budget, nested_budget, nested, deeper: 50 }
}

/// Looks at a world. What is found has to be found again where it is said to be.
fn explore(story: &dyn Story, effort: Effort) -> (Level, Vec<String>) {
    let mut explorer = Explorer::new(story, 0, effort, &|| false, &JUDGED);
    explorer.explore();
    let found = explorer.violations.iter().map(|violation| {
        if let Some((_, trail)) = Trail::parse(&violation.place) {
            let again = Explorer::new(story, 0, effort, &|| false, &JUDGED).replay(&trail);
            assert!(again.is_err(), "{violation} is not found again: {again:?}");
        }
        violation.to_string()
    });
    let found = found.collect();
    (explorer.level, found)
}

fn all_sound(stories: Vec<Box<dyn Story>>, effort: Effort, judged_min: u64) {
    let next = AtomicUsize::new(0);
    let work = || {
        let mut all = Level::default();
        while let Some(story) = stories.get(next.fetch_add(1, Ordering::Relaxed)) {
            let (level, found) = explore(&**story, effort);
            assert!(found.is_empty(), "{}", found.join("\n"));
            all += level;
        }
        all
    };
    let mut all = Level::default();
    thread::scope(|scope| {
        for worker in [scope.spawn(work), scope.spawn(work)] {
            all += worker.join().unwrap();
        }
    });
    println!("{all:?}");
    assert!(all.judged >= judged_min && all.nested > 0, "{all:?}");
}

fn boxed<S: Story + 'static>(stories: Vec<S>) -> Vec<Box<dyn Story>> {
    stories.into_iter().map(|story| Box::new(story) as Box<dyn Story>).collect()
}

#[test]
fn a_crash_at_any_operation_leaves_a_prefix_with_all_that_was_acknowledged() {
    all_sound(boxed(library::keyed()), slice(2, 1, 0, 150), 500);
}

#[test]
fn so_it_is_where_everything_happens_in_one_world() {
    all_sound(boxed(vec![library::long()]), slice(1, 1, 0, 150), 300);
}

#[test]
fn so_it_is_with_databases() {
    all_sound(boxed(library::queried()), slice(1, 1, 0, 200), 100);
}

#[test]
fn so_it_is_for_the_log_alone() {
    all_sound(boxed(library::logged()), slice(16, 24, 4, 16), 2_000);
}

#[test]
fn a_disk_that_lies_is_found_out() {
    for lie in [Lie::SyncsFiles, Lie::SyncsLog, Lie::SyncsFolders] {
        let found = library::keyed().into_iter().take(2).map(|world| {
            let (_, found) = explore(&world.lying(lie), slice(3, 0, 0, 0));
            found.len()
        });
        assert!(found.sum::<usize>() > 0, "{lie:?} is not found");
    }
}
