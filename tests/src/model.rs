//! The plain model: what an engine should hold, kept in maps.

use std::collections::BTreeMap;

/// One object as a reader sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ObjectState {
    /// Commits so far.
    pub seq: u64,
    /// Whether it exists.
    pub exists: bool,
    /// Its entries.
    pub entries: BTreeMap<Vec<u8>, Vec<u8>>,
}

/// All objects by name. One that was never written is not in it.
pub type State = BTreeMap<String, ObjectState>;

/// One thing that a test does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// One transaction on one object.
    Commit(usize, Vec<Write>),
    /// One transaction over two objects.
    Many([usize; 2], Vec<Write>),
    /// Delete the object.
    Delete(usize),
    /// Purge the object.
    Purge(usize),
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

/// The name of an object by its number.
pub fn name(object: usize) -> String {
    format!("object {object}")
}

/// Does to the state what the step does to an engine.
pub fn apply(state: &mut State, step: &Step) {
    match step {
        Step::Commit(object, writes) => commit(state, *object, writes),
        Step::Many(objects, writes) => objects.iter().for_each(|object| commit(state, *object, writes)),
        Step::Delete(object) => {
            if let Some(object) = state.get_mut(&name(*object)).filter(|object| object.exists) {
                object.seq += 1;
                object.exists = false;
                object.entries.clear();
            }
        }
        Step::Purge(object) => {
            // What is left of a purged object is that its seqs go on.
            if let Some(object) = state.get_mut(&name(*object)).filter(|object| !object.purged()) {
                object.seq += 1;
                object.exists = false;
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
    fn purged(&self) -> bool {
        !self.exists && self.entries.contains_key(PURGED)
    }
}

fn commit(state: &mut State, object: usize, writes: &[Write]) {
    let mut entries = state.get(&name(object)).map(|object| object.entries.clone()).unwrap_or_default();
    entries.remove(PURGED);
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
    if wrote {
        let object = state.entry(name(object)).or_default();
        object.seq += 1;
        object.exists = true;
        object.entries = entries;
    }
}

/// The state as readers see it: the objects that exist.
pub fn visible(state: &State) -> State {
    state
        .iter()
        .filter(|(_, object)| object.exists)
        .map(|(name, object)| (name.clone(), object.clone()))
        .collect()
}
