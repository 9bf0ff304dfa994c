//! The worlds that are looked at first: each feature in as few steps as show it, and drawn ones without end.

use super::{
    keyed::{Act, Keyed},
    logged::{Deed, Logged},
    queried::Queried,
};
use crate::{
    damage::{filler, put},
    draw::Draw,
    model::{Step, Write},
    sql,
    workload::every_feature,
};

fn commit(object: usize, key: &str, value: &str) -> Step {
    Step::Commit(object, vec![put(key, value)])
}

fn large(object: usize, key: &str, bytes: usize) -> Step {
    Step::Commit(object, vec![filler(key, bytes)])
}

/// Enough for an object to have leaves.
fn leaves(object: usize) -> Step {
    Step::Commit(object, (0..8).map(|at| filler(&format!("key {at}"), 9_000)).collect())
}

fn world(title: &str, steps: Vec<Step>) -> (String, Vec<Act>) {
    (title.to_owned(), steps.into_iter().map(Act::Step).collect())
}

fn acts(title: &str, acts: Vec<Act>) -> (String, Vec<Act>) {
    (title.to_owned(), acts)
}

/// Every feature that writes, a few steps each.
pub fn keyed() -> Vec<Keyed> {
    use Step::{Checkpoint, Commit, Compact, Delete, Fork, Hibernate, Many, Purge, Reopen, Restore};
    let all = vec![
        world("the first commit", vec![commit(0, "a", "1")]),
        world("an engine that does nothing", vec![Reopen]),
        world(
            "commits one after the other",
            vec![commit(0, "a", "1"), commit(1, "b", "2"), commit(0, "a", "3")],
        ),
        acts(
            "many objects in one group",
            vec![
                Act::Together((0..5).map(|object| commit(object, "k", "1")).collect()),
                Act::Together((0..4).map(|object| commit(object, "k", "2")).collect()),
            ],
        ),
        acts(
            "one object several times in one group, of several sectors",
            vec![
                Act::Step(commit(0, "a", "0")),
                Act::Together(vec![large(0, "a", 700), large(0, "b", 1_300), commit(0, "a", "1")]),
            ],
        ),
        world(
            "overwriting, patched and not",
            vec![
                large(0, "a", 3_000),
                Commit(0, vec![filler("a", 3_001)]),
                commit(0, "a", "2"),
                commit(0, "a", "3"),
            ],
        ),
        world(
            "deletes",
            vec![
                Commit(0, vec![put("a", "1"), put("b", "2"), put("c", "3")]),
                Commit(0, vec![Write::Delete("b".into())]),
                Commit(0, vec![Write::DeleteRange("a".into(), "b".into())]),
                Commit(0, vec![Write::DeleteAll, put("only", "4")]),
                Delete(0),
                commit(0, "again", "5"),
            ],
        ),
        world(
            "transactions over two objects",
            vec![
                Many([0, 1], vec![put("both", "1")]),
                commit(0, "own", "2"),
                Many([1, 2], vec![put("both", "3"), Write::Delete("own".into())]),
            ],
        ),
        world(
            "a record of many sectors, after which the log goes on in another segment",
            vec![large(0, "a", 30_000), large(0, "b", 30_000), large(0, "c", 30_000), commit(0, "d", "1")],
        ),
        world(
            "segments that are used again",
            vec![
                large(0, "a", 50_000),
                large(0, "a", 50_001),
                Checkpoint,
                large(0, "a", 50_002),
                Checkpoint,
                large(0, "b", 40_000),
                commit(1, "c", "1"),
            ],
        ),
        world("a checkpoint", vec![commit(0, "a", "1"), Checkpoint, commit(0, "b", "2")]),
        world(
            "checkpoints behind one another",
            vec![
                commit(0, "a", "1"),
                Checkpoint,
                commit(1, "b", "2"),
                Checkpoint,
                commit(0, "c", "3"),
                Checkpoint,
            ],
        ),
        world(
            "leaves and a delta above them",
            vec![
                leaves(0),
                Checkpoint,
                Hibernate(0),
                Commit(0, vec![put("key 3", "1"), Write::Delete("key 5".into())]),
                Checkpoint,
            ],
        ),
        world(
            "a compaction",
            vec![commit(0, "a", "1"), Checkpoint, commit(1, "b", "2"), Checkpoint, Compact],
        ),
        world(
            "a merge into the catalog, and commits behind it",
            vec![
                commit(0, "a", "1"),
                Checkpoint,
                Compact,
                commit(0, "b", "2"),
                Checkpoint,
                commit(1, "c", "3"),
            ],
        ),
        world(
            "a restore",
            vec![commit(0, "a", "1"), commit(0, "a", "2"), Restore(0, 1), commit(0, "b", "3"), Checkpoint],
        ),
        world(
            "restores over a checkpoint, and back",
            vec![
                commit(0, "a", "1"),
                Checkpoint,
                commit(0, "a", "2"),
                Restore(0, 1),
                Checkpoint,
                Restore(0, 2),
            ],
        ),
        world(
            "forks",
            vec![
                commit(0, "a", "1"),
                Fork(0, 1, 1),
                commit(1, "b", "2"),
                Fork(1, 2, 2),
                Checkpoint,
                commit(0, "c", "3"),
            ],
        ),
        world(
            "a fork of leaves",
            vec![leaves(0), Checkpoint, Fork(0, 1, 1), Commit(1, vec![put("key 1", "1")]), Checkpoint],
        ),
        world(
            "a purge, and what a merge makes of it",
            vec![
                commit(0, "a", "1"),
                commit(1, "b", "2"),
                Checkpoint,
                Purge(0),
                Checkpoint,
                Compact,
                commit(0, "c", "3"),
            ],
        ),
        world(
            "a purge of what only the log holds",
            vec![commit(0, "a", "1"), Purge(0), commit(0, "b", "2"), Compact],
        ),
        world(
            "a purge of a fork, and then of its source",
            vec![commit(0, "a", "1"), Fork(0, 1, 1), Purge(0), Purge(1), Purge(0), Compact],
        ),
        acts(
            "pins",
            vec![
                Act::Step(commit(0, "a", "1")),
                Act::Pin(0, 1, "first"),
                Act::Step(commit(0, "a", "2")),
                Act::Step(Checkpoint),
                Act::Pin(0, 2, "second"),
                Act::Unpin(0, "first"),
            ],
        ),
        acts(
            "objects that come forward",
            vec![
                Act::Step(commit(0, "a", "1")),
                Act::Forward(0, 2),
                Act::Step(commit(0, "a", "2")),
                Act::Step(Checkpoint),
            ],
        ),
        world(
            "a clean end and a new beginning",
            vec![commit(0, "a", "1"), Reopen, commit(0, "b", "2"), Reopen, commit(1, "c", "3")],
        ),
        acts(
            "a group, a checkpoint and a group",
            vec![
                Act::Together(vec![commit(0, "a", "1"), large(1, "b", 2_000)]),
                Act::Step(Checkpoint),
                Act::Together(vec![commit(1, "c", "2"), commit(0, "d", "3"), large(2, "e", 600)]),
                Act::Step(Reopen),
            ],
        ),
    ];
    all.into_iter()
        .enumerate()
        .map(|(at, (title, acts))| Keyed::new(&title, 1_000 + at as u64, acts))
        .collect()
}

/// Everything in one world, which is not small.
pub fn long() -> Keyed {
    Keyed::new("every feature", 1, every_feature().into_iter().map(Act::Step).collect())
}

/// Worlds of SQL.
pub fn queried() -> Vec<Queried> {
    use sql::{Action, Deed, Step};
    let transact = |object: usize, actions: Vec<Action>| {
        Step::Transact(object, std::sync::Arc::new(Deed { actions, fails: false }))
    };
    let run = |statement: &str| Action::Sql(statement.to_owned());
    let table = || Action::Batch("CREATE TABLE t (x TEXT UNIQUE, y); CREATE INDEX i ON t (y)".into());
    let put = |key: &str| Action::Put(key.to_owned(), b"value".to_vec());
    vec![
        Queried::new(
            "a database begins, beside keys",
            vec![
                transact(0, vec![table(), put("a")]),
                transact(0, vec![run("INSERT INTO t VALUES ('one', 1)"), put("b")]),
                transact(0, vec![run("UPDATE t SET y = 2")]),
            ],
        ),
        Queried::new(
            "a schema that changes, and a checkpoint",
            vec![
                transact(0, vec![table(), run("INSERT INTO t VALUES ('one', 1)")]),
                Step::Checkpoint,
                transact(
                    0,
                    vec![
                        run("ALTER TABLE t ADD COLUMN z DEFAULT 5"),
                        run("INSERT INTO t VALUES ('two', 2, 3)"),
                    ],
                ),
                transact(0, vec![run("DELETE FROM t WHERE y = 1")]),
                Step::Checkpoint,
            ],
        ),
        Queried::new(
            "databases restored and forked",
            vec![
                transact(0, vec![table(), run("INSERT INTO t VALUES ('one', 1)")]),
                transact(0, vec![run("INSERT INTO t VALUES ('two', 2)")]),
                Step::Restore(0, 1),
                Step::Fork(0, 2, 1),
                transact(1, vec![run("DROP TABLE t"), put("c")]),
                Step::Compact,
            ],
        ),
    ]
}

/// Worlds with an archive.
pub fn archived() -> Vec<Keyed> {
    let all = vec![
        acts(
            "an archive begins",
            vec![Act::Step(commit(0, "a", "1")), Act::Archive, Act::Step(commit(0, "b", "2"))],
        ),
        acts(
            "packs go to an archive",
            vec![
                Act::Step(commit(0, "a", "1")),
                Act::Step(Step::Checkpoint),
                Act::Archive,
                Act::Step(large(1, "b", 3_000)),
                Act::Step(Step::Checkpoint),
                Act::Step(Step::Compact),
                Act::Archive,
            ],
        ),
    ];
    let worlds = all.into_iter().enumerate();
    worlds.map(|(at, (title, acts))| Keyed::new(&title, 2_000 + at as u64, acts).archived()).collect()
}

/// A world that its seed draws.
pub fn drawn(seed: u64) -> Keyed {
    let mut draw = Draw::new(seed ^ 0x3015);
    let objects = 1 + draw.below(4) as usize;
    let sizes: &[usize] =
        if draw.percent(20) { &[0, 9, 400, 3_000, 30_000] } else { &[0, 9, 9, 200, 700, 1_500] };
    let count = 3 + draw.below(6);
    let acts = (0..count).map(|_| {
        let object = draw.below(objects as u64) as usize;
        match draw.below(100) {
            0..35 => Act::Step(Step::Commit(object, writes(&mut draw, sizes))),
            35..50 => {
                let count = 2 + draw.below(3);
                let commit = |draw: &mut Draw| {
                    Step::Commit(draw.below(objects as u64) as usize, vec![put_drawn(draw, sizes)])
                };
                Act::Together((0..count).map(|_| commit(&mut draw)).collect())
            }
            50..57 => Act::Step(Step::Many([object, object + 1], writes(&mut draw, sizes))),
            57..62 => Act::Step(Step::Delete(object)),
            62..67 => Act::Step(Step::Purge(object)),
            67..73 => Act::Step(Step::Restore(object, 1 + draw.below(4))),
            73..79 => Act::Step(Step::Fork(object, 1 + draw.below(3), objects + draw.below(2) as usize)),
            79..91 => Act::Step(Step::Checkpoint),
            91..95 => Act::Step(Step::Compact),
            95..97 => Act::Step(Step::Hibernate(object)),
            _ => Act::Step(Step::Reopen),
        }
    });
    let acts: Vec<Act> = acts.collect();
    Keyed::new(&format!("drawn: {}", short(&acts)), seed, acts)
}

fn put_drawn(draw: &mut Draw, sizes: &[usize]) -> Write {
    let key = format!("key {}", draw.below(4));
    filler(&key, draw.one_of(sizes) + draw.below(3) as usize)
}

fn writes(draw: &mut Draw, sizes: &[usize]) -> Vec<Write> {
    let write = |draw: &mut Draw| match draw.below(10) {
        0..7 => put_drawn(draw, sizes),
        7 => Write::Delete(format!("key {}", draw.below(4)).into()),
        8 => Write::DeleteRange(b"key 1".to_vec(), b"key 3".to_vec()),
        _ => Write::DeleteAll,
    };
    (0..1 + draw.below(3)).map(|_| write(draw)).collect()
}

/// What is done, without the bytes.
fn short(acts: &[Act]) -> String {
    let word = |act: &Act| {
        let text = format!("{act:?}");
        let words = text.split(|other: char| !other.is_ascii_alphabetic());
        let names = words.filter(|word| word.starts_with(char::is_uppercase) && *word != "Step");
        names.collect::<Vec<_>>().join(" ")
    };
    acts.iter().map(word).collect::<Vec<_>>().join(", ")
}

/// What a log can do, a few records each.
pub fn logged() -> Vec<Logged> {
    use Deed::{Append, Kill, Release, Renew, Reopen, Sync};
    let all: Vec<(&str, Vec<Deed>)> = vec![
        ("one record", vec![Append(60), Sync]),
        ("groups of one sector", vec![Append(60), Sync, Append(300), Sync, Append(1), Sync]),
        ("a group of several sectors", vec![Append(60), Sync, Append(2_500), Sync, Append(10), Sync]),
        (
            "several records in a group",
            vec![Append(60), Append(500), Append(900), Sync, Append(4), Append(700), Sync],
        ),
        (
            "segments that fill",
            vec![
                Append(1_500),
                Sync,
                Append(1_500),
                Sync,
                Append(3_000),
                Append(100),
                Sync,
                Append(2_900),
                Sync,
            ],
        ),
        ("a record larger than a segment", vec![Append(100), Sync, Append(20_000), Sync, Append(100), Sync]),
        (
            "segments that are used again",
            vec![
                Append(2_500),
                Sync,
                Append(2_500),
                Sync,
                Release(0),
                Append(2_500),
                Sync,
                Append(2_600),
                Sync,
                Release(1),
                Append(900),
                Sync,
                Append(2_000),
                Sync,
            ],
        ),
        ("kills", vec![Append(100), Sync, Append(200), Kill, Append(300), Sync, Kill, Append(700), Sync]),
        (
            "kills, and copies of what nothing vouches for",
            vec![Append(900), Append(800), Sync, Kill, Kill, Append(5), Sync],
        ),
        (
            "clean ends",
            vec![Append(100), Sync, Reopen, Append(200), Sync, Reopen, Release(0), Append(3), Reopen],
        ),
        (
            "a new segment on demand",
            vec![Append(100), Sync, Renew, Append(200), Sync, Release(0), Renew, Append(4), Sync],
        ),
        (
            "giving up across a kill",
            vec![Append(2_500), Sync, Append(2_500), Sync, Release(1), Kill, Release(0), Append(2_000), Sync],
        ),
    ];
    let logs = all.into_iter().enumerate();
    logs.map(|(at, (title, deeds))| Logged::new(title, 3_000 + at as u64, deeds)).collect()
}
