//! Who holds whose history alive: rows of the system object.
//!
//! ```text
//! Keys of the system space of the system object; object keys of 20 bytes, seqs big-endian.
//!   "fork/" source key, seq, target key     empty: the target reads through to the source's commit
//!   "of/" target key                        source key, seq: the same, found from the target
//!   "pin/" object key, name                 the bookmark, 44 bytes as in `history/bookmark.rs`
//! ```
//! A fork's rows are written by the record that makes it and go with the record that purges it: its own history reads
//! through to the source for as long as it is kept.

use std::collections::HashMap;

use lineal_wal::{OBJECT_KEY_BYTES, ObjectKey, Seq};

use super::{EngineInner, system};
use crate::{
    Bookmark, Error, Gated, Object, Result, Tx, View,
    gate::inside::Inside,
    object::turns::{Held, Turn},
    sync::Arc,
    transaction::tx::Draft,
};

const FORK: &[u8] = b"fork/";
const OF: &[u8] = b"of/";
const PIN: &[u8] = b"pin/";

/// Holders that an error names; there may be many more.
///
/// Source: chosen; what fits a screen.
const NAMED_MAX: usize = 16;

/// Lets a caller in that will take the system object's turn and others.
pub(crate) fn admit(engine: &Arc<EngineInner>) -> Result<()> {
    Inside::refuse(engine.output.tag)?;
    engine.admit()
}

/// Runs `f` in the turns of the system object and of `objects`, which it gets in the order they are named in. The caller
/// was [admitted](admit).
pub(crate) fn in_turns<T, const N: usize>(
    engine: &Arc<EngineInner>,
    objects: &[&Object; N],
    f: impl FnOnce(Held<'_>, [Held<'_>; N]) -> Gated<T>,
) -> Gated<T> {
    let take = || -> Result<Gated<T>> {
        // In the order of their keys, as everybody does; the system object's is the lowest.
        let cell = engine.cell(system::KEY);
        let mut system = Turn::take_within(engine, &engine.system, &cell)?;
        let mut order: Vec<usize> = (0..N).collect();
        order.sort_unstable_by_key(|at| objects[*at].key());
        let mut turns: [Option<Turn<'_>>; N] = [const { None }; N];
        for at in order {
            let object = objects[at];
            turns[at] = Some(Turn::take_within(engine, &object.namespace, &object.cell)?);
        }
        let helds = turns.each_mut().map(|turn| turn.as_mut().expect("every turn was taken").begin());
        let gated = f(system.begin(), helds);
        system.ran();
        turns.iter_mut().flatten().for_each(Turn::ran);
        Ok(gated)
    };
    take().unwrap_or_else(|error| Gated::open(Err(error)))
}

/// A change of the system object's rows, in its turn.
fn change(system: &Held<'_>, f: impl FnOnce(&mut Tx<'_>) -> Result<()>) -> Result<Draft> {
    let mut tx = Tx::new(system.engine, system.cell.key, system.resident, Vec::new()).system();
    f(&mut tx)?;
    Ok(tx.finish())
}

fn row(kind: &[u8], object: ObjectKey, rest: &[u8]) -> Vec<u8> {
    [kind, &object.to_bytes(), rest].concat()
}

fn fork_row(source: ObjectKey, seq: Seq, target: ObjectKey) -> Vec<u8> {
    row(FORK, source, &[&seq.0.to_be_bytes()[..], &target.to_bytes()].concat())
}

/// The rows of a new fork.
pub(crate) fn hold_fork(system: &Held<'_>, source: ObjectKey, seq: Seq, target: ObjectKey) -> Result<Draft> {
    let view = View::new(system.engine, system.cell.key, system.resident).system();
    for namespace in [source.namespace, target.namespace] {
        // Its handles may not have heard of it yet.
        if system::is_dropped(&view, namespace)? {
            return Err(Error::Dropped { namespace: format!("number {namespace}") });
        }
    }
    change(system, |tx| {
        tx.put(fork_row(source, seq, target), [])?;
        tx.put(row(OF, target, &[]), [&source.to_bytes()[..], &seq.0.to_be_bytes()].concat())
    })
}

/// Takes away the rows of a fork that is purged; `None` if the object is no fork.
pub(crate) fn release_fork(system: &Held<'_>, target: ObjectKey) -> Result<Option<Draft>> {
    let of = row(OF, target, &[]);
    let Some(found) = View::new(system.engine, system.cell.key, system.resident).system().get(&of)? else {
        return Ok(None);
    };
    let (source, seq) = decode_of(&found)?;
    change(system, |tx| {
        tx.delete(fork_row(source, seq, target))?;
        tx.delete(&of)
    })
    .map(Some)
}

/// What the object was forked from, if it is a fork.
#[cfg(feature = "archive")]
pub(crate) fn source_of(engine: &Arc<EngineInner>, target: ObjectKey) -> Result<Option<ObjectKey>> {
    let found = system::read(engine, |view| view.get(row(OF, target, &[]))).unconfirmed()?;
    found.map(|row| Ok(decode_of(&row)?.0)).transpose()
}

fn decode_of(row: &[u8]) -> Result<(ObjectKey, Seq)> {
    let (key, seq) = row.split_first_chunk::<OBJECT_KEY_BYTES>().ok_or_else(bad_row)?;
    let seq: [u8; 8] = seq.try_into().map_err(|_| bad_row())?;
    Ok((ObjectKey::from_bytes(key), Seq(u64::from_be_bytes(seq))))
}

/// For fuzzers: reads the row of a fork.
#[cfg(feature = "sim")]
pub(crate) fn hostile(row: &[u8]) -> Result<()> {
    decode_of(row).map(drop)
}

/// Fails if forks or pins need the object's history.
pub(crate) fn refuse_if_held(system: &Held<'_>, object: ObjectKey) -> Result<()> {
    let view = View::new(system.engine, system.cell.key, system.resident).system();
    let mut by = Vec::new();
    for entry in view.prefix(row(FORK, object, &[])) {
        let target = target_of(&entry?.0)?;
        // A fork that went with its namespace needs nothing any more.
        if by.len() < NAMED_MAX && !system::is_dropped(&view, target.namespace)? {
            by.push(format!("fork {}", target.id));
        }
    }
    for entry in view.prefix(row(PIN, object, &[])).limit(NAMED_MAX as u64) {
        by.push(format!("pin {:?}", pin_name(&entry?.0)?));
    }
    if by.is_empty() {
        return Ok(());
    }
    Err(Error::HasForks { what: format!("object {}", object.id), by })
}

/// Fails if objects of other namespaces are forks of objects in this one.
pub(crate) fn refuse_if_namespace_held(
    tx: &Tx<'_>,
    name: &str,
    namespace: lineal_wal::NamespaceId,
) -> Result<()> {
    let mut by = Vec::new();
    for entry in tx.prefix([FORK, &namespace.0.to_be_bytes()].concat()) {
        let target = target_of(&entry?.0)?;
        if target.namespace != namespace && !tx.contains(system::gone(target.namespace))? {
            by.push(format!("fork {} in namespace number {}", target.id, target.namespace));
        }
        if by.len() == NAMED_MAX {
            break;
        }
    }
    if by.is_empty() {
        return Ok(());
    }
    Err(Error::HasForks { what: format!("namespace {name:?}"), by })
}

fn target_of(row: &[u8]) -> Result<ObjectKey> {
    let target = row.get(FORK.len() + OBJECT_KEY_BYTES + 8..).and_then(|target| target.try_into().ok());
    target.map(ObjectKey::from_bytes).ok_or_else(bad_row)
}

fn pin_name(row: &[u8]) -> Result<&str> {
    let name = row.get(PIN.len() + OBJECT_KEY_BYTES..).ok_or_else(bad_row)?;
    std::str::from_utf8(name).map_err(|_| bad_row())
}

/// The row of a pin.
pub(crate) fn pin(system: &Held<'_>, mark: &Bookmark, name: &str) -> Result<Draft> {
    change(system, |tx| tx.put(row(PIN, mark.object(), name.as_bytes()), mark.to_bytes()))
}

/// Takes off a pin; whether there was one.
pub(crate) fn unpin(object: &Object, name: &str) -> Gated<bool> {
    let row = row(PIN, object.key(), name.as_bytes());
    system::set(&object.engine, &object.namespace, |tx| {
        let found = tx.contains(&row)?;
        tx.delete(&row)?;
        Ok(found)
    })
}

/// The pins of an object, by name.
pub(crate) fn pins(engine: &Arc<EngineInner>, object: ObjectKey) -> Gated<Vec<(String, Bookmark)>> {
    system::read(engine, |view| {
        view.prefix(row(PIN, object, &[]))
            .map(|entry| {
                let (key, value) = entry?;
                let mark = (&*value).try_into().map_err(|_| bad_row())?;
                Ok((pin_name(&key)?.to_owned(), Bookmark::from_bytes(mark)))
            })
            .collect()
    })
}

/// The seqs that forks and pins need, by object.
pub(crate) fn all(engine: &Arc<EngineInner>) -> Result<HashMap<ObjectKey, Vec<Seq>>> {
    system::read(engine, |view| {
        let mut held: HashMap<ObjectKey, Vec<Seq>> = HashMap::new();
        for entry in view.prefix(FORK) {
            let (row, _) = entry?;
            let source = row.get(FORK.len()..).and_then(|rest| rest.split_first_chunk::<OBJECT_KEY_BYTES>());
            let (source, rest) = source.ok_or_else(bad_row)?;
            let (seq, _) = rest.split_first_chunk::<8>().ok_or_else(bad_row)?;
            if system::is_dropped(view, target_of(&row)?.namespace)? {
                continue;
            }
            held.entry(ObjectKey::from_bytes(source)).or_default().push(Seq(u64::from_be_bytes(*seq)));
        }
        for entry in view.prefix(PIN) {
            let mark = Bookmark::from_bytes((&*entry?.1).try_into().map_err(|_| bad_row())?);
            held.entry(mark.object()).or_default().push(Seq(mark.seq()));
        }
        Ok(held)
    })
    .wait()
}

fn bad_row() -> Error {
    Error::Damaged {
        file: "the system object".into(),
        offset: 0,
        object: None,
        reason: "a row of a fork or of a pin is not readable although its checksum is right".into(),
    }
}
