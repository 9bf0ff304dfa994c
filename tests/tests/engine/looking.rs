//! Listing an object's commits, against a plain record of what was done.

use std::collections::{BTreeMap, BTreeSet};

use lineal::{Change, CommitInfo, CutTo, Difference, Error, Kind, Micros, Object, Value};
use lineal_tests::world::{NAMESPACE, options};
use lineal_wal::sim::SimDisk;

type Entries = BTreeMap<Vec<u8>, Vec<u8>>;

/// What the test knows of one commit.
struct Done {
    kind: Kind,
    cause: String,
    hash: [u8; 32],
    changes: u64,
    after: Entries,
}

/// What was done to one object: its commits after its newest purge.
#[derive(Default)]
struct Record {
    purged: u64,
    commits: Vec<Done>,
}

impl Record {
    fn last(&self) -> u64 {
        self.purged + self.commits.len() as u64
    }

    fn state(&self) -> Entries {
        self.commits.last().map(|done| done.after.clone()).unwrap_or_default()
    }
}

/// A small generator of numbers, so that a seed is all there is to repeat.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }
}

struct Run {
    disk: SimDisk,
    engine: Option<lineal::Engine>,
    numbers: Numbers,
    records: [Record; 2],
}

impl Run {
    fn new(seed: u64) -> Run {
        let disk = SimDisk::new();
        let mut run = Run { disk, engine: None, numbers: Numbers(seed), records: Default::default() };
        run.reopen();
        run
    }

    fn reopen(&mut self) {
        if let Some(engine) = self.engine.take() {
            engine.close().unwrap();
        }
        self.engine = Some(options(&self.disk, 7).open("simulated").unwrap());
    }

    fn engine(&self) -> &lineal::Engine {
        self.engine.as_ref().unwrap()
    }

    fn object(&self, which: usize) -> Object {
        self.engine().namespace(NAMESPACE).unwrap().object(&format!("object {which}")).unwrap()
    }

    fn step(&mut self) {
        match self.numbers.below(100) {
            0 => self.reopen(),
            1 => self.engine().compact().unwrap(),
            2..=6 => drop(self.engine().checkpoint().unwrap()),
            7 => self.object(0).hibernate().unwrap(),
            8 => self.erase(Kind::Delete),
            9 if self.numbers.below(8) == 0 => self.erase(Kind::Purge),
            10..=20 => self.commit(&[0, 1]),
            21..=23 => self.restore(),
            _ => self.commit(&[0]),
        }
    }

    fn erase(&mut self, kind: Kind) {
        let object = self.object(0);
        let exists = object.info().is_ok_and(|info| info.exists);
        match kind {
            Kind::Delete => object.delete_because("gone").wait().unwrap(),
            _ => object.purge().wait().unwrap(),
        }
        let had_commits = !self.records[0].commits.is_empty();
        match kind {
            Kind::Delete if exists => self.done(0, Kind::Delete, "gone", 1, Entries::new()),
            Kind::Purge if had_commits => {
                let purged = self.records[0].last() + 1;
                self.records[0] = Record { purged, commits: Vec::new() };
            }
            _ => {}
        }
    }

    /// Back to any of the commits that are kept.
    fn restore(&mut self) {
        let count = self.records[0].commits.len() as u64;
        if count == 0 {
            return;
        }
        let to = self.records[0].purged + 1 + self.numbers.below(count);
        let object = self.object(0);
        let undo = object.restore_because(&object.bookmark_of(to).unwrap(), "back").wait().unwrap();
        let state = self.after(0, to);
        // How a restore is written is its own affair; what it leads to is checked.
        let changes = object.changes(undo.seq() + 1).unwrap().len() as u64;
        self.done(0, Kind::Restore, "back", changes, state);
    }

    /// One transaction over these objects.
    fn commit(&mut self, which: &[usize]) {
        let objects: Vec<Object> = which.iter().map(|which| self.object(*which)).collect();
        let writes: Vec<(u64, u64, u64)> = (0..1 + self.numbers.below(4))
            .map(|_| (self.numbers.below(12), self.numbers.below(40), self.numbers.below(1 << 30)))
            .collect();
        let cause = format!("cause {}", self.numbers.below(1000));
        let mut outcomes: Vec<(u64, Entries)> =
            which.iter().map(|which| (0, self.records[*which].state())).collect();
        let each: Vec<&Object> = objects.iter().collect();
        let engine = self.engine();
        engine
            .transact_all(&each, |txs| {
                for (tx, (changes, state)) in txs.iter_mut().zip(&mut outcomes) {
                    tx.cause(cause.as_str())?;
                    for (what, at, number) in &writes {
                        let key = format!("key {at:02}").into_bytes();
                        match what {
                            0 => {
                                let end = format!("key {:02}", at + number % 5).into_bytes();
                                tx.delete_range(key.as_slice()..end.as_slice())?;
                                *changes += u64::from(end > key);
                                state.retain(|held, _| *held < key || *held >= end);
                            }
                            1 | 2 => {
                                tx.delete(&key)?;
                                *changes += u64::from(state.remove(&key).is_some());
                            }
                            3 if number % 20 == 0 => {
                                tx.delete_all()?;
                                *changes += 1;
                                state.clear();
                            }
                            4 | 5 => {
                                // Large, and often little changed: logged as a patch.
                                let mut value = state.get(&key).cloned().unwrap_or_default();
                                value.resize(1_500 + (number % 100) as usize, 7);
                                value[(number % 1_000) as usize] = number.to_le_bytes()[0];
                                tx.put(&key, &value)?;
                                *changes += 1;
                                state.insert(key, value);
                            }
                            _ => {
                                let value = number.to_string().into_bytes();
                                tx.put(&key, &value)?;
                                *changes += 1;
                                state.insert(key, value);
                            }
                        }
                    }
                }
                Ok(())
            })
            .wait()
            .unwrap();
        for (which, (changes, state)) in which.iter().zip(outcomes) {
            if changes > 0 {
                self.done(*which, Kind::User, &cause, changes, state);
            }
        }
    }

    fn done(&mut self, which: usize, kind: Kind, cause: &str, changes: u64, after: Entries) {
        let verified = self.object(which).verify().unwrap();
        let record = &mut self.records[which];
        record.commits.push(Done { kind, cause: cause.to_owned(), hash: verified.hash, changes, after });
        assert_eq!(verified.last_seq, record.last());
    }

    fn check(&mut self, which: usize) {
        let object = self.object(which);
        let listed: Vec<CommitInfo> = object.history(..).unwrap().map(Result::unwrap).collect();
        let record = &self.records[which];
        assert_eq!(listed.len(), record.commits.len());
        for (info, (at, done)) in listed.iter().zip(record.commits.iter().enumerate().rev()) {
            assert_eq!(info.seq, record.purged + at as u64 + 1);
            assert_eq!((info.kind, &info.cause, info.changes), (done.kind, &done.cause, done.changes));
            assert_eq!(info.hash, done.hash, "commit {}", info.seq);
            assert!(info.lsn > 0 && info.time > Micros(0));
        }
        assert!(listed.windows(2).all(|pair| pair[0].time >= pair[1].time && pair[0].lsn > pair[1].lsn));
        self.check_pages(&object, &listed, which);
        self.check_times(&object, &listed);
        self.check_blame(&object, &listed, which);
        self.check_diffs(&object, which);
    }

    /// The state after a commit of those that are kept.
    fn after(&self, which: usize, seq: u64) -> Entries {
        let record = &self.records[which];
        let at = usize::try_from(seq - record.purged).unwrap();
        at.checked_sub(1).map(|at| record.commits[at].after.clone()).unwrap_or_default()
    }

    fn check_blame(&mut self, object: &Object, listed: &[CommitInfo], which: usize) {
        for _ in 0..3 {
            let key = format!("key {:02}", self.numbers.below(41)).into_bytes();
            let wrote = |info: &&CommitInfo| {
                let named = object.changes(info.seq).unwrap().iter().any(|change| match change {
                    Change::Put { key: named, .. }
                    | Change::Delete { key: named }
                    | Change::Patch { key: named, .. } => *named == key,
                    _ => false,
                });
                let (before, after) = (self.after(which, info.seq - 1), self.after(which, info.seq));
                named || before.get(&key) != after.get(&key)
            };
            let expected: Vec<&CommitInfo> = listed.iter().filter(wrote).collect();
            let found: Vec<CommitInfo> = object.blame(&key).unwrap().map(Result::unwrap).collect();
            assert!(found.iter().eq(expected), "{key:?}");
        }
    }

    fn check_diffs(&mut self, object: &Object, which: usize) {
        let (purged, count) = (self.records[which].purged, self.records[which].commits.len() as u64);
        for _ in 0..12 * count.min(1) {
            let (a, b) = (purged + 1 + self.numbers.below(count), purged + 1 + self.numbers.below(count));
            let (before, after) = (self.after(which, a), self.after(which, b));
            let (mark_a, mark_b) = (object.bookmark_of(a).unwrap(), object.bookmark_of(b).unwrap());
            let found: Vec<Difference> = object.diff(&mark_a, &mark_b).unwrap().map(Result::unwrap).collect();
            assert_eq!(plain(&found), differences(&before, &after), "{a} to {b}");
        }
    }

    /// Any range lists what the whole list has there, in both directions.
    fn check_pages(&mut self, object: &Object, listed: &[CommitInfo], which: usize) {
        let (purged, last) = (self.records[which].purged, self.records[which].last());
        for _ in 0..12 {
            let (a, b) = (self.numbers.below(last + 3), self.numbers.below(last + 3));
            let expected: Vec<&CommitInfo> =
                listed.iter().filter(|info| a <= info.seq && info.seq < b).collect();
            let page: Vec<CommitInfo> = object.history(a..b).unwrap().map(Result::unwrap).collect();
            assert!(page.iter().eq(expected.iter().copied()), "{a}..{b}");
            let page: Vec<CommitInfo> = object.history(a..b).unwrap().reverse().map(Result::unwrap).collect();
            assert!(page.iter().eq(expected.iter().rev().copied()), "{a}..{b} reversed");
            let seq = purged + 1 + self.numbers.below(last + 1 - purged);
            match (object.changes(seq), listed.iter().find(|info| info.seq == seq)) {
                (Ok(changes), Some(info)) => {
                    assert_eq!(changes.len() as u64, info.changes);
                    self.check_changes(which, seq, &changes);
                }
                (Err(Error::NotFound { what }), None) => assert!(what.contains(&seq.to_string())),
                (found, expected) => panic!("commit {seq}: {found:?}, listed as {expected:?}"),
            }
        }
    }

    /// What a commit wrote leads from the state before it to the state after it.
    fn check_changes(&self, which: usize, seq: u64, changes: &[Change]) {
        let record = &self.records[which];
        let at = usize::try_from(seq - record.purged - 1).unwrap();
        let mut state = at.checked_sub(1).map(|before| record.commits[before].after.clone());
        let state = state.get_or_insert_default();
        for change in changes {
            match change {
                Change::Cut { base: CutTo::Own { seq: base }, .. } => *state = self.after(which, *base),
                change => apply(state, change),
            }
        }
        assert_eq!(*state, record.commits[at].after, "commit {seq}");
    }

    fn check_times(&mut self, object: &Object, listed: &[CommitInfo]) {
        let (Some(newest), Some(oldest)) = (listed.first(), listed.last()) else { return };
        let span = newest.time.0 - oldest.time.0 + 5_000;
        for _ in 0..6 {
            let since = Micros(oldest.time.0 - 2_500 + self.numbers.below(span));
            let until = Micros(oldest.time.0 - 2_500 + self.numbers.below(span));
            let expected = listed.iter().filter(|info| since <= info.time && info.time <= until);
            let found = object.history(..).unwrap().since(since).until(until).map(Result::unwrap);
            assert!(found.collect::<Vec<_>>().iter().eq(expected), "{since} to {until}");
        }
        let exact = object.history(..).unwrap().since(oldest.time).until(newest.time);
        assert_eq!(exact.count(), listed.len());
        let exact = object.history(..).unwrap().reverse().until(oldest.time);
        assert_eq!(exact.map(Result::unwrap).next().as_ref(), Some(oldest));
    }
}

fn apply(state: &mut Entries, change: &Change) {
    let within = |key: &Vec<u8>, start: &Vec<u8>, end: &Option<Vec<u8>>| {
        key >= start && end.as_ref().is_none_or(|end| key < end)
    };
    match change {
        Change::Put { key, value } => drop(state.insert(key.clone(), value.to_vec())),
        Change::Delete { key } => drop(state.remove(key)),
        Change::DeleteRange { start, end } | Change::Cut { start, end, base: CutTo::Nothing } => {
            state.retain(|key, _| !within(key, start, end));
        }
        Change::Patch { key, length, ranges } => {
            let value = state.entry(key.clone()).or_default();
            value.resize(usize::try_from(*length).unwrap(), 0);
            for (at, bytes) in ranges {
                let at = usize::try_from(*at).unwrap();
                value[at..at + bytes.len()].copy_from_slice(bytes);
            }
        }
        other => panic!("no step of this test makes {other:?}"),
    }
}

/// Key, value before and value after.
type Plain = (Vec<u8>, Option<Vec<u8>>, Option<Vec<u8>>);

fn plain(found: &[Difference]) -> Vec<Plain> {
    let bytes = |value: &Option<Value>| value.as_ref().map(|value| value.to_vec());
    found.iter().map(|each| (each.key.clone(), bytes(&each.before), bytes(&each.after))).collect()
}

fn differences(before: &Entries, after: &Entries) -> Vec<Plain> {
    let keys: BTreeSet<&Vec<u8>> = before.keys().chain(after.keys()).collect();
    let both = keys.into_iter().map(|key| (key.clone(), before.get(key).cloned(), after.get(key).cloned()));
    both.filter(|(_, before, after)| before != after).collect()
}

#[test]
fn a_diff_reads_only_what_is_different() {
    let disk = SimDisk::new();
    let engine = options(&disk, 3).cache_bytes(16 << 20).open("simulated").unwrap();
    let object = engine.namespace("n").unwrap().object("o").unwrap();
    for hundred in 0..50 {
        let fill = |tx: &mut lineal::Tx<'_>| {
            (0..100).try_for_each(|key| tx.put(format!("{hundred:02} {key:02}"), [hundred; 200]))
        };
        object.transact(fill).wait().unwrap();
    }
    engine.checkpoint().unwrap();
    let before = object.bookmark().wait().unwrap();
    for key in ["07 03", "33 99", "49 01"] {
        object.transact(|tx| tx.put(key, "other")).wait().unwrap();
    }
    let packed = |whole: bool| {
        if whole {
            // Enough for leaves to be written anew.
            object.transact(|tx| tx.put("07 03", vec![1; 400 << 10])).wait().unwrap();
            object.transact(|tx| tx.put("07 03", "other")).wait().unwrap();
        }
        engine.checkpoint().unwrap();
        let after = object.bookmark().wait().unwrap();
        let misses = engine.stats().cache_misses;
        let keys = |mut diff: lineal::Diff| -> Vec<Vec<u8>> {
            diff.by_ref().map(|found| found.unwrap().key).collect()
        };
        let forward = keys(object.diff(&before, &after).unwrap());
        assert_eq!(forward, [b"07 03", b"33 99", b"49 01"]);
        assert_eq!(keys(object.diff(&after, &before).unwrap()), forward);
        engine.stats().cache_misses - misses
    };
    for whole in [false, true] {
        let misses = packed(whole);
        assert!(misses < 20, "{misses} parts were read");
    }
}

#[test]
fn history_is_what_was_done_whatever_went_on_in_between() {
    for seed in 1..=4 {
        let mut run = Run::new(seed * 77);
        for step in 0..500 {
            run.step();
            if step % 50 == 49 {
                run.check(0);
                run.check(1);
            }
        }
        run.reopen();
        run.check(0);
        run.check(1);
    }
}

#[test]
fn a_fork_begins_with_what_it_is_of_and_goes_on_alone() {
    let disk = SimDisk::new();
    let engine = options(&disk, 3).open("simulated").unwrap();
    let namespace = engine.namespace("n").unwrap();
    let (source, fork) = (namespace.object("source").unwrap(), namespace.object("fork").unwrap());
    source.transact(|tx| (0..40).try_for_each(|at| tx.put(format!("key {at:02}"), "old"))).wait().unwrap();
    let mark = source.bookmark().wait().unwrap();
    source.delete().wait().unwrap();
    let first = source.fork_because(&mark, &fork, "copy").wait().unwrap();
    for key in ["key 07", "key 33"] {
        fork.transact(|tx| tx.put(key, "new")).wait().unwrap();
    }
    for packed in [false, true] {
        if packed {
            engine.checkpoint().unwrap();
            engine.compact().unwrap();
        }
        let listed: Vec<CommitInfo> = fork.history(..).unwrap().map(Result::unwrap).collect();
        assert_eq!(
            listed.iter().map(|info| info.kind).collect::<Vec<_>>(),
            [Kind::User, Kind::User, Kind::Fork]
        );
        assert_eq!((listed[2].cause.as_str(), listed[0].hash), ("copy", fork.verify().unwrap().hash));
        let of_source = source.history(1..=1).unwrap().next().unwrap().unwrap();
        let base = CutTo::Other { object: source.key(), seq: 1, hash: of_source.hash };
        assert_eq!(fork.changes(1).unwrap(), [Change::Cut { start: Vec::new(), end: None, base }]);
        let blamed = |key: &str| fork.blame(key).unwrap().map(|info| info.unwrap().seq).collect::<Vec<_>>();
        assert_eq!((blamed("key 07"), blamed("key 08"), blamed("none")), (vec![2, 1], vec![1], vec![]));
        let changed = fork.diff(&first, &fork.bookmark().wait().unwrap()).unwrap();
        let changed: Vec<Vec<u8>> = changed.map(|found| found.unwrap().key).collect();
        assert_eq!(changed, [b"key 07", b"key 33"]);
    }
}

#[test]
fn a_listing_goes_on_where_checkpoints_release_the_log_under_it() {
    let disk = SimDisk::new();
    let engine = options(&disk, 3).open("simulated").unwrap();
    let object = engine.namespace("n").unwrap().object("o").unwrap();
    let put = |number: u64| object.transact(|tx| tx.put("k", vec![number.to_le_bytes()[0]; 3_000])).wait();
    (0..200).for_each(|number| put(number).unwrap());
    let expected: Vec<CommitInfo> = object.history(..).unwrap().map(Result::unwrap).collect();
    let mut newest_first = object.history(..).unwrap();
    let mut oldest_first = object.history(..).unwrap().reverse();
    let mut found = vec![newest_first.next().unwrap().unwrap()];
    assert_eq!(oldest_first.next().unwrap().unwrap(), expected[199]);
    let released = engine.stats().log_segments;
    for number in 0..400 {
        put(number).unwrap();
        if number % 50 == 0 {
            engine.checkpoint().unwrap();
        }
    }
    assert!(engine.stats().log_segments <= released, "the log was released");
    found.extend(newest_first.map(Result::unwrap));
    assert_eq!(found, expected);
    let rest: Vec<CommitInfo> = oldest_first.map(Result::unwrap).collect();
    assert!(rest.iter().eq(expected[..199].iter().rev()));
}

#[test]
fn only_what_is_durable_is_listed_and_nothing_of_what_never_was() {
    let disk = SimDisk::new();
    let engine = options(&disk, 3).open("simulated").unwrap();
    let object = engine.namespace("n").unwrap().object("o").unwrap();
    assert_eq!(object.history(..).unwrap().count(), 0);
    assert!(matches!(object.changes(1), Err(Error::NotFound { .. })));
    object.transact(|tx| tx.put("k", "1")).wait().unwrap();
    let gate = object.transact(|tx| tx.put("k", "2"));
    assert_eq!(object.history(..).unwrap().map(|info| info.unwrap().seq).collect::<Vec<_>>(), [1]);
    assert!(matches!(object.changes(2), Err(Error::NotFound { .. })));
    gate.wait().unwrap();
    assert_eq!(object.history(..).unwrap().map(|info| info.unwrap().seq).collect::<Vec<_>>(), [2, 1]);
    assert_eq!(object.changes(2).unwrap(), [Change::Put { key: b"k".to_vec(), value: b"2".into() }]);
}
