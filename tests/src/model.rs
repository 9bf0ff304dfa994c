//! The plain model: what an engine should hold, kept in maps.

use std::{collections::BTreeMap, sync::Arc};

/// One object as a reader sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ObjectState {
    /// Commits so far.
    pub seq: u64,
    /// Whether it exists.
    pub exists: bool,
    /// Its entries.
    pub entries: Entries,
    /// What it was after each commit that is kept: whether it existed, and its entries. Not seen by [`visible`].
    pub past: BTreeMap<u64, Arc<(bool, Entries)>>,
    /// The object it is a fork of. Not seen by [`visible`].
    pub fork_of: Option<String>,
}

/// The entries of an object. A row of its table is one of them, under a [name](row_name) that no key has.
pub type Entries = BTreeMap<Vec<u8>, Vec<u8>>;

/// All objects by name. One that was never written is not in it.
pub type State = BTreeMap<String, ObjectState>;

/// One thing that a test does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// One transaction on one object.
    Commit(usize, Vec<Write>),
    /// One transaction on the table of an object, which it makes where there is none.
    Sql(usize, Vec<Row>),
    /// One transaction over two objects.
    Many([usize; 2], Vec<Write>),
    /// Delete the object.
    Delete(usize),
    /// Purge the object.
    Purge(usize),
    /// Bring the object back to where it was after one of its commits.
    Restore(usize, u64),
    /// Make the last object what the first was after one of its commits.
    Fork(usize, u64, usize),
    /// A checkpoint.
    Checkpoint,
    /// Merge all packs.
    Compact,
    /// Take the object's memory.
    Hibernate(usize),
    /// Close the engine and open it again.
    Reopen,
}

/// One write of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write {
    /// Put a key.
    Put(Vec<u8>, Vec<u8>),
    /// Delete a key.
    Delete(Vec<u8>),
    /// Delete the keys in a half-open range.
    DeleteRange(Vec<u8>, Vec<u8>),
    /// Delete everything.
    DeleteAll,
}

/// One change of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Row {
    /// Put a row, with a value that it did not have.
    Put(i64, Vec<u8>),
    /// Remove a row.
    Remove(i64),
}

/// The entry that stands for there being a table.
pub const TABLE: &[u8] = b"\0table";

/// What the names of rows begin with.
pub const ROWS: &[u8] = b"\0row ";

/// What a row of a table is called among the entries.
pub fn row_name(number: i64) -> Vec<u8> {
    [ROWS, format!("{number:04}").as_bytes()].concat()
}

/// The name of an object by its number.
pub fn name(object: usize) -> String {
    format!("object {object}")
}

/// Does to the state what the step does to an engine.
pub fn apply(state: &mut State, step: &Step) {
    match step {
        Step::Commit(object, writes) => commit(state, *object, writes),
        Step::Sql(object, rows) => change_rows(state, *object, rows),
        Step::Many(objects, writes) => objects.iter().for_each(|object| commit(state, *object, writes)),
        Step::Delete(object) => {
            if let Some(object) = state.get_mut(&name(*object)).filter(|object| object.exists) {
                object.seq += 1;
                object.exists = false;
                object.entries.clear();
                object.remember();
            }
        }
        Step::Restore(object, seq) => {
            if let Some(object) = state.get_mut(&name(*object))
                && let Some(then) = object.past.get(seq).cloned()
            {
                object.seq += 1;
                (object.exists, object.entries) = (*then).clone();
                object.remember();
            }
        }
        Step::Fork(source, seq, target) => {
            let then = state.get(&name(*source)).and_then(|object| object.past.get(seq).cloned());
            let empty = state.get(&name(*target)).is_none_or(ObjectState::purged);
            if let (Some(then), true, true) = (then, empty, source != target) {
                let target = state.entry(name(*target)).or_default();
                target.seq += 1;
                (target.exists, target.entries) = (*then).clone();
                target.fork_of = Some(name(*source));
                target.remember();
            }
        }
        Step::Purge(object) => {
            let held = state.values().any(|other| other.fork_of.as_ref() == Some(&name(*object)));
            // What is left of a purged object is that its seqs go on.
            let object = state.get_mut(&name(*object)).filter(|object| !object.purged() && !held);
            if let Some(object) = object {
                object.seq += 1;
                object.exists = false;
                object.past.clear();
                object.fork_of = None;
                object.entries.clear();
                object.entries.insert(PURGED.to_vec(), Vec::new());
            }
        }
        Step::Checkpoint | Step::Compact | Step::Hibernate(_) | Step::Reopen => {}
    }
}

/// Marks a purged object in the model; no reader sees it, because a purged object does not exist.
const PURGED: &[u8] = b"\0purged";

impl ObjectState {
    /// What a reader of the object sees: not what the model remembers of its past.
    pub fn seen(&self) -> ObjectState {
        ObjectState {
            seq: self.seq,
            exists: self.exists,
            entries: self.entries.clone(),
            ..ObjectState::default()
        }
    }

    fn purged(&self) -> bool {
        !self.exists && self.entries.contains_key(PURGED)
    }

    fn remember(&mut self) {
        self.past.insert(self.seq, Arc::new((self.exists, self.entries.clone())));
    }
}

fn change_rows(state: &mut State, object: usize, rows: &[Row]) {
    let mut entries = entries_of(state, object);
    let mut wrote = entries.insert(TABLE.to_vec(), Vec::new()).is_none();
    for row in rows {
        match row {
            Row::Put(number, value) => {
                wrote = true;
                entries.insert(row_name(*number), value.clone());
            }
            Row::Remove(number) => wrote |= entries.remove(&row_name(*number)).is_some(),
        }
    }
    settle(state, object, wrote, entries);
}

fn commit(state: &mut State, object: usize, writes: &[Write]) {
    let mut entries = entries_of(state, object);
    let mut wrote = false;
    for write in writes {
        match write {
            Write::Put(key, value) => {
                wrote = true;
                entries.insert(key.clone(), value.clone());
            }
            Write::Delete(key) => wrote |= entries.remove(key).is_some(),
            Write::DeleteRange(start, end) => {
                wrote |= start < end;
                entries.retain(|key, _| key < start || key >= end);
            }
            Write::DeleteAll => {
                wrote = true;
                entries.clear();
            }
        }
    }
    settle(state, object, wrote, entries);
}

fn entries_of(state: &State, object: usize) -> Entries {
    let mut entries = state.get(&name(object)).map(|object| object.entries.clone()).unwrap_or_default();
    entries.remove(PURGED);
    entries
}

fn settle(state: &mut State, object: usize, wrote: bool, entries: Entries) {
    if wrote {
        let object = state.entry(name(object)).or_default();
        object.seq += 1;
        object.exists = true;
        object.entries = entries;
        object.remember();
    }
}

/// The state as readers see it: the objects that exist.
pub fn visible(state: &State) -> State {
    state
        .iter()
        .filter(|(_, object)| object.exists)
        .map(|(name, object)| (name.clone(), object.seen()))
        .collect()
}
