//! The system object: namespaces and their settings are commits of an object like any other.
//!
//! ```text
//! Keys of the system space of object (namespace 0, id 0), little-endian values:
//!   "next"       u32: the number that the next namespace gets; numbers are never used again
//!   "ns/" name   u32 number, then three u64 limits (u64::MAX: none): namespace bytes, objects, object bytes
//!   "gone/" u32  the number (big-endian) of a dropped namespace whose parts compaction may drop
//!   "keep/" u32  of a namespace, by number (big-endian): u64 microseconds, u64 bytes of history (u64::MAX: any);
//!                the default without a row
//!   "lineage/" u32  of a namespace, by number (big-endian): there if the headers of all commits stay
//!   "durability/" u32  of a namespace, by number (big-endian): there if gates of its objects wait for the archive
//!   "running"    u64 running time, u64 wall clock when that was last followed
//! and the rows of `holds.rs`
//! ```

use std::collections::{HashMap, HashSet};

use lineal_wal::{Micros, NamespaceId, ObjectId, ObjectKey};

use super::{EngineInner, holds};
use crate::{
    Durability, Error, Gated, Result, Tx, View,
    gate::inside::Inside,
    history::retention::{Lineage, Retention, Running},
    namespace::{NamespaceInner, Quotas},
    object::turns::{Held, Turn},
    sync::Arc,
    transaction::commit,
};

/// The system object's key.
pub(crate) const KEY: ObjectKey = ObjectKey { namespace: NamespaceId(0), id: ObjectId([0; 16]) };

const NEXT: &[u8] = b"next";
const NAMED: &[u8] = b"ns/";
const GONE: &[u8] = b"gone/";
const KEEP: &[u8] = b"keep/";
const LINEAGE: &[u8] = b"lineage/";
const DURABILITY: &[u8] = b"durability/";
const RUNNING: &[u8] = b"running";
const ROW_BYTES: usize = 28;

// Neither waits for room in memory or log: the checkpoint, which makes room, reads this object itself.

pub(crate) fn write<T>(engine: &Arc<EngineInner>, f: impl FnOnce(&mut Tx<'_>) -> Result<T>) -> Gated<T> {
    in_turn(engine, |held| commit::transact_system(held, f))
}

pub(crate) fn read<T>(engine: &Arc<EngineInner>, f: impl FnOnce(&View<'_>) -> Result<T>) -> Gated<T> {
    in_turn(engine, |held| commit::read_system(held, f))
}

/// As `write`, for a caller who asked for it: its gate waits for what the namespace's gates wait for. The engine's own
/// writes never wait for the archive, which waits for the engine.
pub(crate) fn set<T>(
    engine: &Arc<EngineInner>,
    namespace: &NamespaceInner,
    f: impl FnOnce(&mut Tx<'_>) -> Result<T>,
) -> Gated<T> {
    write(engine, |tx| {
        tx.durability(namespace.level())?;
        f(tx)
    })
}

fn in_turn<T>(engine: &Arc<EngineInner>, f: impl FnOnce(Held<'_>) -> Gated<T>) -> Gated<T> {
    let cell = engine.cell(KEY);
    let run = || {
        Inside::refuse(engine.output.tag)?;
        Ok(Turn::take_within(engine, &engine.system, &cell)?.run(f))
    };
    run().unwrap_or_else(|error| Gated::open(Err(error)))
}

fn named(name: &str) -> Vec<u8> {
    [NAMED, name.as_bytes()].concat()
}

/// A namespace as its rows say.
pub(crate) struct Found {
    pub(crate) id: NamespaceId,
    pub(crate) quotas: Quotas,
    pub(crate) durability: Durability,
}

impl Found {
    fn of(view: &View<'_>, row: &[u8]) -> Result<Found> {
        let (id, quotas) = decode(row)?;
        Ok(Found { id, quotas, durability: durability_in(view, id)? })
    }
}

/// The namespace called `name`, if it is there.
pub(crate) fn find_namespace(engine: &Arc<EngineInner>, name: &str) -> Result<Option<Found>> {
    read(engine, |view| view.get(named(name))?.map(|row| Found::of(view, &row)).transpose()).unconfirmed()
}

/// The namespace called `name`, made if it is missing. What follows in the log depends on it, so that nobody
/// need wait for it.
pub(crate) fn create_namespace(engine: &Arc<EngineInner>, name: &str) -> Result<Found> {
    write(engine, |tx| {
        if let Some(row) = tx.get(named(name))? {
            let (id, quotas) = decode(&row)?;
            return Ok(Found { id, quotas, durability: durability_if(tx.contains(durability_row(id))?) });
        }
        let id = match tx.get(NEXT)? {
            None => 1,
            Some(next) => <[u8; 4]>::try_from(&next[..]).map(u32::from_le_bytes).map_err(|_| bad_row())?,
        };
        tx.put(NEXT, (id + 1).to_le_bytes())?;
        tx.put(named(name), encode(NamespaceId(id), Quotas::default()))?;
        tx.cause(format!("namespace {name:?} created"))?;
        Ok(Found { id: NamespaceId(id), quotas: Quotas::default(), durability: Durability::default() })
    })
    .unconfirmed()
}

/// Writes the namespace's settings.
pub(crate) fn write_namespace(
    engine: &Arc<EngineInner>,
    namespace: &NamespaceInner,
    quotas: Quotas,
) -> Gated<()> {
    let (name, id) = (&namespace.name, namespace.id);
    set(engine, namespace, |tx| {
        check_row(tx, name, id)?;
        tx.cause(format!("quotas of namespace {name:?} set"))?;
        tx.put(named(name), encode(id, quotas))
    })
}

/// The row of a dropped namespace.
pub(crate) fn gone(namespace: NamespaceId) -> Vec<u8> {
    [GONE, &namespace.0.to_be_bytes()].concat()
}

/// Whether a namespace was dropped.
pub(crate) fn is_dropped(view: &View<'_>, namespace: NamespaceId) -> Result<bool> {
    view.contains(gone(namespace))
}

/// Drops the namespace. Durable when it returns.
pub(crate) fn drop_namespace(engine: &Arc<EngineInner>, namespace: &NamespaceInner) -> Result<()> {
    let dropped = set(engine, namespace, |tx| {
        check_row(tx, &namespace.name, namespace.id)?;
        holds::refuse_if_namespace_held(tx, &namespace.name, namespace.id)?;
        tx.delete(named(&namespace.name))?;
        tx.put(gone(namespace.id), [])?;
        tx.cause(format!("namespace {:?} dropped", namespace.name))
    });
    if !dropped.is_err() {
        // No new commit from here on; what others have in their turns comes to nothing when the parts are dropped.
        namespace.set_dropped();
        engine.forget_namespace(namespace.id);
    }
    dropped.wait()
}

/// Fails unless the name still belongs to the namespace with this number.
fn check_row(tx: &Tx<'_>, name: &str, id: NamespaceId) -> Result<()> {
    match tx.get(named(name))?.map(|row| decode(&row)).transpose()? {
        Some((found, _)) if found == id => Ok(()),
        _ => Err(Error::Dropped { namespace: name.to_owned() }),
    }
}

/// All namespaces, by name.
pub(crate) fn namespaces(engine: &Arc<EngineInner>) -> Result<Vec<(String, Found)>> {
    read(engine, |view| {
        view.prefix(NAMED)
            .map(|entry| {
                let (key, value) = entry?;
                let name = std::str::from_utf8(&key[NAMED.len()..]).map_err(|_| bad_row())?.to_owned();
                Ok((name, Found::of(view, &value)?))
            })
            .collect()
    })
    .unconfirmed()
}

/// The numbers of dropped namespaces, each once its drop is durable: what compaction and checkpoint leave out for
/// it cannot be had back.
pub(crate) fn dropped(engine: &Arc<EngineInner>) -> Result<Vec<NamespaceId>> {
    read(engine, |view| {
        view.prefix(GONE)
            .map(|entry| {
                let (key, _) = entry?;
                let id = <[u8; 4]>::try_from(&key[GONE.len()..]).map_err(|_| bad_row())?;
                Ok(NamespaceId(u32::from_be_bytes(id)))
            })
            .collect()
    })
    .wait()
}

fn keep(namespace: NamespaceId) -> Vec<u8> {
    [KEEP, &namespace.0.to_be_bytes()].concat()
}

/// How much history a namespace keeps.
pub(crate) fn retention(engine: &Arc<EngineInner>, namespace: NamespaceId) -> Result<Retention> {
    let row = read(engine, |view| view.get(keep(namespace))).wait()?;
    row.map_or(Ok(Retention::default()), |row| Retention::decode(&row).ok_or_else(bad_row))
}

/// Writes how much history a namespace keeps.
pub(crate) fn write_retention(
    engine: &Arc<EngineInner>,
    namespace: &NamespaceInner,
    retention: Retention,
) -> Gated<()> {
    set(engine, namespace, |tx| {
        tx.cause(format!("retention of namespace {} set", namespace.id))?;
        tx.put(keep(namespace.id), retention.encode())
    })
}

/// How much history each namespace keeps that does not keep the default.
pub(crate) fn retentions(engine: &Arc<EngineInner>) -> Result<HashMap<NamespaceId, Retention>> {
    read(engine, |view| {
        view.prefix(KEEP)
            .map(|entry| {
                let (key, row) = entry?;
                let id = <[u8; 4]>::try_from(&key[KEEP.len()..]).map_err(|_| bad_row())?;
                Ok((NamespaceId(u32::from_be_bytes(id)), Retention::decode(&row).ok_or_else(bad_row)?))
            })
            .collect()
    })
    .wait()
}

fn lineage_row(namespace: NamespaceId) -> Vec<u8> {
    [LINEAGE, &namespace.0.to_be_bytes()].concat()
}

/// Whether the headers of all of a namespace's commits stay.
pub(crate) fn lineage(engine: &Arc<EngineInner>, namespace: NamespaceId) -> Result<Lineage> {
    let forever = read(engine, |view| view.contains(lineage_row(namespace))).wait()?;
    Ok(if forever { Lineage::Forever } else { Lineage::Anchor })
}

/// Writes whether the headers of all of a namespace's commits stay.
pub(crate) fn write_lineage(
    engine: &Arc<EngineInner>,
    namespace: &NamespaceInner,
    lineage: Lineage,
) -> Gated<()> {
    set(engine, namespace, |tx| {
        tx.cause(format!("lineage of namespace {} set", namespace.id))?;
        match lineage {
            Lineage::Forever => tx.put(lineage_row(namespace.id), []),
            Lineage::Anchor => tx.delete(lineage_row(namespace.id)),
        }
    })
}

/// The namespaces that keep the headers of all commits.
pub(crate) fn lineages(engine: &Arc<EngineInner>) -> Result<HashSet<NamespaceId>> {
    read(engine, |view| {
        view.prefix(LINEAGE)
            .map(|entry| {
                let id = <[u8; 4]>::try_from(&entry?.0[LINEAGE.len()..]).map_err(|_| bad_row())?;
                Ok(NamespaceId(u32::from_be_bytes(id)))
            })
            .collect()
    })
    .wait()
}

fn durability_row(namespace: NamespaceId) -> Vec<u8> {
    [DURABILITY, &namespace.0.to_be_bytes()].concat()
}

fn durability_in(view: &View<'_>, namespace: NamespaceId) -> Result<Durability> {
    Ok(durability_if(view.contains(durability_row(namespace))?))
}

fn durability_if(archived: bool) -> Durability {
    if archived { Durability::Archived } else { Durability::Local }
}

/// What gates of a namespace's objects wait for, as it was set.
pub(crate) fn durability(engine: &Arc<EngineInner>, namespace: NamespaceId) -> Result<Durability> {
    read(engine, |view| durability_in(view, namespace)).wait()
}

/// Writes what gates of the namespace's objects wait for, and has them wait for it.
pub(crate) fn write_durability(
    engine: &Arc<EngineInner>,
    namespace: &NamespaceInner,
    durability: Durability,
) -> Result<()> {
    write(engine, |tx| {
        tx.durability(durability)?;
        tx.cause(format!("durability of namespace {} set", namespace.id))?;
        match durability {
            Durability::Archived => tx.put(durability_row(namespace.id), []),
            Durability::Local => tx.delete(durability_row(namespace.id)),
        }
    })
    .wait()?;
    // In the turn, so that of two who set it at a time memory has what the row has.
    read(engine, |view| {
        namespace.set_level(engine.level_with(durability_in(view, namespace.id)?));
        Ok(())
    })
    .wait()
}

/// Running time, as it was last written down.
pub(crate) fn running(engine: &Arc<EngineInner>) -> Result<Option<Running>> {
    let row = read(engine, |view| view.get(RUNNING)).wait()?;
    row.map(|row| Running::decode(&row).ok_or_else(bad_row)).transpose()
}

/// Lets running time follow the wall clock, and returns it, once that is durable.
pub(crate) fn follow_clock(engine: &Arc<EngineInner>, trusted: bool) -> Result<Micros> {
    let wall = (engine.options.clock)();
    write(engine, |tx| {
        let before = tx.get(RUNNING)?.map(|row| Running::decode(&row).ok_or_else(bad_row)).transpose()?;
        let running = before.map_or_else(|| Running::start(wall), |before| before.follow(wall, trusted));
        if before != Some(running) {
            tx.put(RUNNING, running.encode())?;
        }
        Ok(running.time)
    })
    .wait()
}

/// Makes a commit that stands in the log's new segment, durably.
pub(crate) fn renewed(engine: &Arc<EngineInner>) -> Result<()> {
    let wall = (engine.options.clock)();
    write(engine, |tx| {
        let running = tx.get(RUNNING)?.map(|row| Running::decode(&row).ok_or_else(bad_row)).transpose()?;
        tx.cause("the log was renewed after a purge")?;
        tx.put(RUNNING, running.unwrap_or_else(|| Running::start(wall)).encode())
    })
    .wait()
}

fn encode(id: NamespaceId, quotas: Quotas) -> [u8; ROW_BYTES] {
    let mut row = [0; ROW_BYTES];
    row[..4].copy_from_slice(&id.0.to_le_bytes());
    let limits = [quotas.namespace_bytes, quotas.objects, quotas.object_bytes];
    for (at, limit) in limits.into_iter().enumerate() {
        row[4 + at * 8..12 + at * 8].copy_from_slice(&limit.unwrap_or(u64::MAX).to_le_bytes());
    }
    row
}

fn decode(row: &[u8]) -> Result<(NamespaceId, Quotas)> {
    let row: &[u8; ROW_BYTES] = row.try_into().map_err(|_| bad_row())?;
    let limit = |at: usize| {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&row[4 + at * 8..12 + at * 8]);
        Some(u64::from_le_bytes(bytes)).filter(|limit| *limit != u64::MAX)
    };
    let id = NamespaceId(u32::from_le_bytes([row[0], row[1], row[2], row[3]]));
    Ok((id, Quotas { namespace_bytes: limit(0), objects: limit(1), object_bytes: limit(2) }))
}

/// For fuzzers: reads the row of a namespace.
#[cfg(feature = "sim")]
pub(crate) fn hostile(row: &[u8]) -> Result<()> {
    let (id, quotas) = decode(row)?;
    assert_eq!(encode(id, quotas)[..], *row, "a row changes when it is written again");
    Ok(())
}

fn bad_row() -> Error {
    Error::Damaged {
        file: "the system object".into(),
        offset: 0,
        object: None,
        reason: "a row of a namespace is not readable although its checksum is right".into(),
    }
}
