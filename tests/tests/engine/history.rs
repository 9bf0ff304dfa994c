//! History: any object at any commit, restore, fork, and bookmarks.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use lineal::{Bookmark, BookmarkError, Engine, Error, Micros, Object};
use lineal_tests::{
    chooser::chooser,
    model::{self, State, Step, Write},
    world::{self, World, options},
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

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => (0usize..4, proptest::collection::vec(write(), 0..8))
            .prop_map(|(object, writes)| Step::Commit(object, writes)),
        1 => (0usize..4).prop_map(Step::Delete),
        1 => (0usize..4).prop_map(Step::Purge),
        4 => (0usize..4, 1u64..20).prop_map(|(object, seq)| Step::Restore(object, seq)),
        3 => (0usize..4, 1u64..12, 0usize..6)
            .prop_map(|(source, seq, target)| Step::Fork(source, seq, target)),
        4 => Just(Step::Checkpoint),
        1 => Just(Step::Compact),
        3 => (0usize..6).prop_map(Step::Hibernate),
        1 => Just(Step::Reopen),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    #[test]
    fn every_commit_of_every_object_reads_as_the_model_says(
        steps in proptest::collection::vec(step(), 1..60),
        crash_every in 5usize..30,
    ) {
        let mut disk = SimDisk::new();
        let mut world = World::open(&disk, 5).unwrap();
        let mut state = State::new();
        for (at, step) in steps.iter().enumerate() {
            world.step(step).unwrap();
            model::apply(&mut state, step);
            if at % crash_every == crash_every - 1 {
                // Every step was acknowledged, so that nothing of it is lost.
                disk = disk.crash(&mut chooser(at as u64));
                world = World::open(&disk, 5 + at as u64).unwrap();
            }
            if at % 9 == 0 {
                world::check_history(world.engine(), &state).unwrap();
            }
        }
        world::check_history(world.engine(), &state).unwrap();
        prop_assert_eq!(world.dump().unwrap(), model::visible(&state));
        world.step(&Step::Reopen).unwrap();
        world.step(&Step::Compact).unwrap();
        world::check_history(world.engine(), &state).unwrap();
        prop_assert_eq!(world.dump().unwrap(), model::visible(&state));
        world.engine().verify(&mut |_| ()).unwrap();
    }
}

fn open(disk: &SimDisk) -> Engine {
    options(disk, 3).open("simulated").unwrap()
}

fn put(object: &Object, key: &str, value: &str) -> Bookmark {
    object.transact(|tx| tx.put(key, value)).wait().unwrap();
    object.bookmark().wait().unwrap()
}

fn text(object: &Object, key: &str) -> Option<String> {
    let value = object.read(|view| view.get(key)).wait().unwrap();
    value.map(|value| String::from_utf8(value.to_vec()).unwrap())
}

fn refused(outcome: lineal::Result<impl Sized>) -> BookmarkError {
    match outcome {
        Err(Error::Bookmark(error)) => *error,
        Err(error) => panic!("another error: {error}"),
        Ok(_) => panic!("it was not refused"),
    }
}

#[test]
fn a_restore_is_undone_by_the_bookmark_it_returns() {
    let disk = SimDisk::new();
    let engine = open(&disk);
    let lobby = engine.namespace("rooms").unwrap().object("lobby").unwrap();
    let first = put(&lobby, "topic", "hello");
    lobby
        .transact(|tx| {
            tx.delete("topic")?;
            tx.put("other", "x")
        })
        .wait()
        .unwrap();
    let undo = lobby.restore(&first).wait().unwrap();
    assert_eq!((text(&lobby, "topic").as_deref(), text(&lobby, "other")), (Some("hello"), None));
    assert_eq!(lobby.info().unwrap().bytes, 10);
    lobby.restore(&undo).wait().unwrap();
    assert_eq!((text(&lobby, "topic"), text(&lobby, "other").as_deref()), (None, Some("x")));
    assert_eq!(lobby.info().unwrap().seq, 4);
}

#[test]
fn a_deleted_object_is_restored_and_a_purged_one_is_not() {
    let disk = SimDisk::new();
    let engine = open(&disk);
    let rooms = engine.namespace("rooms").unwrap();
    let lobby = rooms.object("lobby").unwrap();
    let mark = put(&lobby, "topic", "hello");
    lobby.delete().wait().unwrap();
    assert_eq!(rooms.usage().objects, 0);
    lobby.restore(&mark).wait().unwrap();
    assert_eq!(text(&lobby, "topic").as_deref(), Some("hello"));
    assert_eq!((rooms.usage().objects, rooms.usage().bytes), (1, 10));
    lobby.purge().wait().unwrap();
    for _ in 0..2 {
        assert!(matches!(refused(lobby.restore(&mark).wait()), BookmarkError::TooOld { seq: 1, .. }));
        assert!(matches!(refused(lobby.at(&mark)), BookmarkError::TooOld { .. }));
        engine.checkpoint().unwrap();
    }
    assert!(matches!(refused(lobby.bookmark_of(4)), BookmarkError::TooOld { .. }), "the purge itself");
    let again = put(&lobby, "topic", "again");
    let error = refused(lobby.at(&mark));
    assert_eq!(error, BookmarkError::TooOld { seq: 1, first: Some(again), last: Some(again) });
}

#[test]
fn a_purge_in_the_log_is_remembered_by_the_next_process() {
    let disk = SimDisk::new();
    let engine = open(&disk);
    let lobby = engine.namespace("rooms").unwrap().object("lobby").unwrap();
    let mark = put(&lobby, "topic", "hello");
    engine.checkpoint().unwrap();
    lobby.purge().wait().unwrap();
    let disk = disk.crash(&mut chooser(1));
    let engine = open(&disk);
    let lobby = engine.namespace("rooms").unwrap().object("lobby").unwrap();
    assert!(matches!(refused(lobby.at(&mark)), BookmarkError::TooOld { .. }));
}

#[test]
fn bookmarks_that_lead_nowhere_are_refused_each_in_its_way() {
    let disk = SimDisk::new();
    let engine = open(&disk);
    let rooms = engine.namespace("rooms").unwrap();
    let (lobby, hall) = (rooms.object("lobby").unwrap(), rooms.object("hall").unwrap());
    let first = put(&lobby, "a", "1");
    let last = put(&lobby, "a", "2");
    put(&hall, "a", "1");
    assert!(matches!(refused(hall.at(&last)), BookmarkError::OtherObject { .. }));
    assert!(matches!(refused("lm1".parse::<Bookmark>()), BookmarkError::Malformed { .. }));
    let error = refused(lobby.bookmark_of(3));
    assert_eq!(error, BookmarkError::Future { seq: 3, first: Some(first), last: Some(last) });
    assert!(error.to_string().contains(&last.to_string()), "it says what can be used: {error}");
    let error = refused(lobby.bookmark_at(Micros(5)));
    assert!(matches!(error, BookmarkError::BeforeFirst { .. }));
    let empty = lobby.at_time(Micros(5)).unwrap();
    assert_eq!((empty.seq(), empty.exists(), empty.prefix("").count()), (0, false, 0));
    assert_eq!(lobby.bookmark_at(first.time()).unwrap(), first);
    assert_eq!(lobby.bookmark_at(Micros(u64::MAX)).unwrap(), last);
}

#[test]
fn a_bookmark_of_a_commit_that_a_crash_took_back_is_refused() {
    let disk = SimDisk::new();
    let engine = open(&disk);
    let lobby = engine.namespace("rooms").unwrap().object("lobby").unwrap();
    put(&lobby, "a", "1");
    lobby.transact(|tx| tx.put("a", "lost")).unconfirmed().unwrap();
    let lost = lobby.bookmark().unconfirmed().unwrap();
    let disk = disk.crash(&mut chooser(1));
    let engine = options(&disk, 9).open("simulated").unwrap();
    let lobby = engine.namespace("rooms").unwrap().object("lobby").unwrap();
    assert!(matches!(refused(lobby.at(&lost)), BookmarkError::Future { seq: 2, .. }));
    put(&lobby, "a", "another");
    assert!(matches!(refused(lobby.at(&lost)), BookmarkError::Lost { seq: 2, .. }));
    assert!(matches!(refused(lobby.restore(&lost).wait()), BookmarkError::Lost { .. }));
}

#[test]
fn bookmarks_of_one_moment_and_of_a_clock_that_goes_back_lead_to_their_own_commits() {
    let disk = SimDisk::new();
    let times = [9_000_000, 9_000_000, 5_000_000, 9_000_001, 1, 9_500_000];
    let at = AtomicU64::new(0);
    let clock = move || {
        let at = at.fetch_add(1, Ordering::Relaxed) as usize;
        Micros(times[at.saturating_sub(1).min(times.len() - 1)])
    };
    let engine = options(&disk, 3).clock(Arc::new(clock)).open("simulated").unwrap();
    let lobby = engine.namespace("rooms").unwrap().object("lobby").unwrap();
    let marks: Vec<Bookmark> = (0..5).map(|at| put(&lobby, "at", &at.to_string())).collect();
    assert!(marks.is_sorted() && marks.windows(2).all(|pair| pair[0].time() <= pair[1].time()));
    assert!(marks.windows(2).any(|pair| pair[0].time() == pair[1].time()), "two in one moment");
    for round in 0..2 {
        for (at, mark) in marks.iter().enumerate() {
            let found = lobby.at(mark).unwrap().get("at").unwrap().unwrap();
            assert_eq!(&found[..], at.to_string().as_bytes(), "round {round}");
            let by_time = lobby.bookmark_at(mark.time()).unwrap();
            assert!(by_time >= *mark && by_time.time() == mark.time(), "the last one of that moment");
        }
        engine.checkpoint().unwrap();
    }
}

#[test]
fn forks_of_forks_outlive_deletes_and_restores_and_stop_a_purge() {
    let disk = SimDisk::new();
    let engine = open(&disk);
    let rooms = engine.namespace("rooms").unwrap();
    let other = engine.namespace("other").unwrap();
    let lobby = rooms.object("lobby").unwrap();
    let mark = put(&lobby, "topic", "hello");
    let copy = rooms.object("copy").unwrap();
    let first = lobby.fork(&mark, &copy).wait().unwrap();
    assert_eq!((first.object(), first.seq()), (copy.key(), 1));
    let second = put(&copy, "more", "1");
    let far = other.object("far").unwrap();
    copy.fork(&second, &far).wait().unwrap();
    assert!(matches!(lobby.fork(&mark, &copy).wait(), Err(Error::NotEmpty { .. })));
    lobby.delete().wait().unwrap();
    for round in 0..3 {
        assert_eq!(text(&copy, "topic").as_deref(), Some("hello"), "round {round}");
        assert_eq!(text(&far, "topic").as_deref(), Some("hello"), "round {round}");
        assert_eq!(text(&far, "more").as_deref(), Some("1"), "round {round}");
        assert!(matches!(lobby.purge().wait(), Err(Error::HasForks { by, .. }) if by.len() == 1));
        assert!(matches!(copy.purge().wait(), Err(Error::HasForks { .. })));
        copy.hibernate().unwrap();
        far.hibernate().unwrap();
        engine.checkpoint().unwrap();
        engine.compact().unwrap();
        engine.verify(&mut |_| ()).unwrap();
    }
    assert!(matches!(rooms.clone().drop(), Err(Error::HasForks { .. })), "another namespace needs it");
    far.purge().wait().unwrap();
    copy.purge().wait().unwrap();
    lobby.purge().wait().unwrap();
    rooms.drop().unwrap();
}

#[test]
fn a_pin_is_listed_moved_taken_off_and_stops_a_purge() {
    let disk = SimDisk::new();
    let engine = open(&disk);
    let lobby = engine.namespace("rooms").unwrap().object("lobby").unwrap();
    let first = put(&lobby, "a", "1");
    let second = put(&lobby, "a", "2");
    lobby.pin(&first, "start").wait().unwrap();
    lobby.pin(&first, "moves").wait().unwrap();
    lobby.pin(&second, "moves").wait().unwrap();
    assert_eq!(lobby.pins().unwrap(), [("moves".to_owned(), second), ("start".to_owned(), first)]);
    assert!(matches!(lobby.purge().wait(), Err(Error::HasForks { by, .. }) if by.len() == 2));
    assert!(lobby.unpin("start").wait().unwrap() && lobby.unpin("moves").wait().unwrap());
    assert!(!lobby.unpin("start").wait().unwrap());
    lobby.purge().wait().unwrap();
}

#[test]
fn a_thousand_restores_and_undos_grow_no_chain() {
    let disk = SimDisk::new();
    let engine = open(&disk);
    let lobby = engine.namespace("rooms").unwrap().object("lobby").unwrap();
    let mut mark = put(&lobby, "a", "1");
    put(&lobby, "a", "2");
    for _ in 0..1_000 {
        mark = lobby.restore(&mark).wait().unwrap();
    }
    assert_eq!(text(&lobby, "a").as_deref(), Some("2"));
    assert_eq!(lobby.base_depth().unwrap(), 1);
}

#[test]
fn restores_to_the_commit_just_made_grow_a_chain_only_so_far() {
    let disk = SimDisk::new();
    let engine = open(&disk);
    let lobby = engine.namespace("rooms").unwrap().object("lobby").unwrap();
    for at in 0..100 {
        let mark = put(&lobby, &format!("{at}"), "x");
        lobby.restore(&mark).wait().unwrap();
        assert!(lobby.base_depth().unwrap() <= 32);
    }
    assert_eq!(lobby.read(|view| Ok(view.prefix("").count())).wait().unwrap(), 100);
    lobby.hibernate().unwrap();
    assert_eq!(lobby.read(|view| Ok(view.prefix("").count())).wait().unwrap(), 100);
    engine.verify(&mut |_| ()).unwrap();
}

#[test]
fn a_view_of_the_past_outlives_what_happens_to_the_object() {
    let disk = SimDisk::new();
    let engine = open(&disk);
    let lobby = engine.namespace("rooms").unwrap().object("lobby").unwrap();
    let big = "x".repeat(3_000);
    for at in 0..60 {
        put(&lobby, &format!("key {at:02}"), &big);
    }
    engine.checkpoint().unwrap();
    let view = lobby.at(&lobby.bookmark().wait().unwrap()).unwrap();
    lobby.transact(|tx| tx.delete_all()).wait().unwrap();
    lobby.purge().wait().unwrap();
    engine.checkpoint().unwrap();
    engine.compact().unwrap();
    assert_eq!(view.prefix("").count(), 60);
    assert_eq!(view.range("key 10".."key 12").reverse().count(), 2);
}

#[test]
fn a_large_object_is_restored_and_forked_by_reference_and_worked_into_leaves_where_it_changes() {
    let disk = SimDisk::new();
    let engine = open(&disk);
    let rooms = engine.namespace("rooms").unwrap();
    let lobby = rooms.object("lobby").unwrap();
    let fill = |object: &Object, from: usize, count: usize, byte: u8| {
        object
            .transact(|tx| {
                for at in from..from + count {
                    tx.put(format!("key {at:04}"), vec![byte; 3_000])?;
                }
                Ok(())
            })
            .wait()
            .unwrap();
    };
    fill(&lobby, 0, 200, 1);
    fill(&lobby, 200, 200, 1);
    let mark = lobby.bookmark().wait().unwrap();
    engine.checkpoint().unwrap();
    fill(&lobby, 100, 200, 2);
    engine.checkpoint().unwrap();
    let copy = rooms.object("copy").unwrap();
    let before = engine.stats().log_bytes_written;
    let undo = lobby.restore(&mark).wait().unwrap();
    lobby.fork(&undo, &copy).wait().unwrap();
    assert!(engine.stats().log_bytes_written - before <= 64 << 10, "no bytes are copied");
    let check = |object: &Object, expect: &dyn Fn(usize) -> Option<u8>, context: &str| {
        let entries: Vec<(Vec<u8>, u8)> =
            object.read(|view| view.prefix("").map(|e| e.map(|(k, v)| (k, v[0]))).collect()).wait().unwrap();
        let wanted: Vec<(Vec<u8>, u8)> = (0..400)
            .filter_map(|at| expect(at).map(|byte| (format!("key {at:04}").into_bytes(), byte)))
            .collect();
        assert_eq!(entries, wanted, "{context}");
        let back: Vec<Vec<u8>> = object
            .read(|view| view.prefix("").reverse().map(|e| e.map(|(k, _)| k)).collect())
            .wait()
            .unwrap();
        assert!(wanted.iter().rev().map(|(key, _)| key).eq(&back), "{context}");
        for at in (0..400).step_by(7) {
            let found = object.read(|view| view.get(format!("key {at:04}"))).wait().unwrap();
            assert_eq!(found.map(|value| value[0]), expect(at), "{context}: key {at}");
        }
    };
    let old = |_| Some(1);
    let new = |at| Some(if (100..300).contains(&at) { 2 } else { 1 });
    for round in 0..2 {
        check(&lobby, &old, &format!("restored, round {round}"));
        check(&copy, &new, &format!("forked, round {round}"));
        for object in [&lobby, &copy] {
            object.hibernate().unwrap();
        }
        engine.checkpoint().unwrap();
    }
    // Small changes, then enough of them for leaves of their own, then a range.
    fill(&copy, 50, 1, 3);
    engine.checkpoint().unwrap();
    fill(&copy, 350, 40, 4);
    engine.checkpoint().unwrap();
    copy.transact(|tx| tx.delete_range("key 0010".."key 0040")).wait().unwrap();
    fill(&copy, 351, 40, 5);
    let expect = |at: usize| match at {
        10..40 => None,
        50 => Some(3),
        350 => Some(4),
        351..391 => Some(5),
        100..300 => Some(2),
        _ => Some(1),
    };
    let last = copy.bookmark().wait().unwrap();
    for round in 0..3 {
        check(&copy, &expect, &format!("changed, round {round}"));
        copy.hibernate().unwrap();
        engine.checkpoint().unwrap();
        engine.compact().unwrap();
        engine.verify(&mut |_| ()).unwrap();
    }
    assert!(copy.base_depth().unwrap() >= 1, "what did not change is not copied");
    // Rewritten as a whole, it reads through to nothing.
    for round in 0..4 {
        fill(&copy, round * 100, 100, 6);
        engine.checkpoint().unwrap();
    }
    fill(&copy, 0, 100, 6);
    engine.checkpoint().unwrap();
    copy.hibernate().unwrap();
    check(&copy, &|_| Some(6), "rewritten");
    assert_eq!(copy.base_depth().unwrap(), 0);
    copy.restore(&last).wait().unwrap();
    check(&copy, &expect, "restored");
}

#[test]
fn a_hot_object_is_read_anywhere_in_its_history_after_one_checkpoint() {
    let disk = SimDisk::new();
    let engine = options(&disk, 3).checkpoint_bytes(64 << 20).open("simulated").unwrap();
    let lobby = engine.namespace("rooms").unwrap().object("lobby").unwrap();
    let commits = 3_000u64;
    for at in 0..commits {
        lobby
            .transact(|tx| tx.put(format!("key {:03}", at * 37 % 100), format!("{at:0100}")))
            .unconfirmed()
            .unwrap();
    }
    engine.checkpoint().unwrap();
    for round in 0..2 {
        for seq in (1..=commits).step_by(97) {
            let view = lobby.at_seq(seq).unwrap();
            let at = seq - 1;
            let found = view.get(format!("key {:03}", at * 37 % 100)).unwrap().unwrap();
            assert_eq!(&found[..], format!("{at:0100}").as_bytes(), "commit {seq}, round {round}");
            assert_eq!(view.prefix("").count() as u64, seq.min(100));
            assert!(view.tail_commits() <= 400, "commit {seq} replays {} commits", view.tail_commits());
        }
        engine.compact().unwrap();
    }
    engine.verify(&mut |_| ()).unwrap();
}

#[test]
fn a_restore_over_damage_names_it_changes_nothing_and_offers_an_older_point() {
    let disk = SimDisk::new();
    let engine = open(&disk);
    let lobby = engine.namespace("rooms").unwrap().object("lobby").unwrap();
    let first = put(&lobby, "small", "1");
    engine.checkpoint().unwrap();
    let noise = |seed: u64| -> Vec<u8> {
        let mut number = seed | 1;
        (0..9_000)
            .map(|_| {
                number = number.wrapping_mul(0x5851_F42D_4C95_7F2D).wrapping_add(0x1405_7B7E_F767_814F);
                (number >> 56) as u8
            })
            .collect()
    };
    lobby.transact(|tx| (0..6).try_for_each(|at| tx.put(format!("key {at}"), noise(at)))).wait().unwrap();
    let second = lobby.bookmark().wait().unwrap();
    let packs = |disk: &SimDisk| -> Vec<String> {
        disk.files().into_iter().filter(|path| path.starts_with("packs/")).collect()
    };
    let before = packs(&disk);
    engine.checkpoint().unwrap();
    let pack = packs(&disk).into_iter().find(|path| !before.contains(path)).unwrap();
    lobby
        .transact(|tx| {
            tx.delete_all()?;
            tx.put("new", "2")
        })
        .wait()
        .unwrap();
    engine.checkpoint().unwrap();
    // The last bytes of the last value, which stands in the pack twice: in the run, and behind it in a leaf.
    let bytes = disk.image()[&pack].clone();
    let pattern = &noise(5)[8_000..8_064];
    let at = bytes.windows(pattern.len()).rposition(|window| window == pattern).unwrap();
    disk.flip_bit(&pack, at as u64 * 8);
    match lobby.restore(&second).wait() {
        Err(error @ Error::CannotRestore { nearest, .. }) => {
            assert_eq!(nearest, Some(first));
            assert!(error.to_string().contains(&pack), "it names the file: {error}");
        }
        outcome => panic!("{outcome:?}"),
    }
    assert_eq!(lobby.info().unwrap().seq, 3);
    assert_eq!(text(&lobby, "new").as_deref(), Some("2"));
    lobby.restore(&first).wait().unwrap();
    assert_eq!(text(&lobby, "small").as_deref(), Some("1"));
}
