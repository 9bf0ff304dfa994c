//! Proving that nothing of purged objects is left on the disk.
//!
//! What could hold something of a purged object, and how it is looked at:
//!
//! | file | what is looked for |
//! |---|---|
//! | live packs | entries at or below the object's floor: every byte of a pack belongs to an entry, as `verify` checks |
//! | other packs | the file itself: nothing reads it, and it should be gone |
//! | `catalog.redb` | keys of such entries in any page, freed ones included; it holds no values |
//! | segments of the log | records at or below the floor in groups of this and earlier uses, and bytes that nobody can tell |
//!
//! The list of segments, identity, lock and `roots/` hold numbers and hashes, and the ballast is never written to. The
//! system object keeps the names of pins, and no pin outlives a purge.

use lineal_snapshot::{EntryKey, EntryValue, Kind as PartKind};
use lineal_wal::{LogTrace, LogTraceKind, LogTraces, ObjectKey, Part, Seq, log_traces};

use super::{Engine, EngineInner, listing::Keys};
use crate::{
    Error, Result,
    catalog::Floors,
    gate::inside::Inside,
    object::wake::{Keep, head_at},
    transaction::body::Kind,
};

/// How often the log is looked at again where a group was written just then.
///
/// Source: chosen; each look reads all of it.
const LOOKS: usize = 3;

/// What a search for traces of purged objects has found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PurgeReport {
    /// Objects that were purged, also those that were made again since. Without any the files are not read.
    pub objects: u64,
    /// Live packs that were searched.
    pub packs: u64,
    /// Bytes of the catalog that were read.
    pub catalog_bytes: u64,
    /// Bytes of the log's segments that were read.
    pub log_bytes: u64,
    /// What is left, or may be. [`Engine::compact`] takes it away.
    pub found: Vec<PurgeTrace>,
}

/// A file that holds something of a purged object, or of which that cannot be ruled out.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PurgeTrace {
    /// The file, relative to the data directory.
    pub file: String,
    /// What is in it.
    pub reason: String,
}

impl PurgeReport {
    /// Whether nothing is left.
    pub fn is_clean(&self) -> bool {
        self.found.is_empty()
    }

    fn add(&mut self, file: impl Into<String>, reason: String) {
        self.found.push(PurgeTrace { file: file.into(), reason });
    }
}

impl Engine {
    /// Searches every file of the directory for what is left of purged objects. Nothing is left once
    /// [`compact`](Engine::compact) has passed after the purge. Objects of dropped namespaces are not looked for.
    ///
    /// It reads bytes and not only what is listed: the log's segments whole, and the catalog's freed pages. Where a segment
    /// holds something that cannot be told it is reported, too: it may be what an earlier use has left.
    ///
    /// # Errors
    /// [`Error::Damaged`], [`Error::Io`]; [`Error::InsideTurn`], [`Error::Closed`].
    ///
    /// ```
    /// # fn main() -> lineal::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// let engine = lineal::Engine::open(dir.path())?;
    /// let lobby = engine.namespace("rooms")?.object("lobby")?;
    /// lobby.transact(|tx| tx.put("password", "hunter2")).wait()?;
    /// lobby.purge().wait()?;
    /// assert!(!engine.verify_purged()?.is_clean());
    /// engine.compact()?;
    /// assert!(engine.verify_purged()?.is_clean());
    /// # Ok(())
    /// # }
    /// ```
    pub fn verify_purged(&self) -> Result<PurgeReport> {
        let inner = &self.inner;
        inner.check_open()?;
        Inside::refuse(inner.output.tag)?;
        let mut floors = Floors::new();
        for namespace in self.namespaces()? {
            for key in Keys::new(inner, namespace.id(), None)? {
                let key = key?;
                let floor = floor(inner, key)?;
                if floor > Seq(0) {
                    floors.insert(key, floor);
                }
            }
        }
        // No pack is written and no segment released while files are compared with what is listed.
        let _state = inner.checkpointing.lock();
        let mut report = PurgeReport { objects: floors.len() as u64, ..PurgeReport::default() };
        if floors.is_empty() {
            return Ok(report);
        }
        in_packs(inner, &floors, &mut report)?;
        in_catalog(inner, &floors, &mut report)?;
        in_log(inner, &floors, &mut report)?;
        Ok(report)
    }
}

/// Nothing of the object is left up to there, but on the disk.
fn floor(engine: &EngineInner, key: ObjectKey) -> Result<Seq> {
    // What is in memory before the packs: a checkpoint forgets a purge once its pack stands.
    let purged = engine.purged(key);
    let head = head_at(&engine.catalog.snapshot(), &key, Seq(u64::MAX), Keep::Not)?;
    Ok(purged.max(head.map_or(Seq(0), |found| found.head.floor)))
}

fn in_packs(engine: &EngineInner, floors: &Floors, report: &mut PurgeReport) -> Result<()> {
    for path in engine.catalog.unlisted()? {
        report.add(path, "a pack that is not listed any more, or was never finished".into());
    }
    for pack in engine.catalog.live() {
        report.packs += 1;
        let (mut count, mut first) = (0_u64, None);
        for (object, floor) in floors {
            if !pack.may_contain(object)? {
                continue;
            }
            let prefix = object.to_bytes();
            for entry in pack.iter(&prefix) {
                let (key, value) = entry?;
                if !key.starts_with(&prefix) {
                    break;
                }
                let key = EntryKey::decode(&key).map_err(|bad| Error::Damaged {
                    file: pack.path().to_owned(),
                    offset: 0,
                    object: Some(object.id.to_string()),
                    reason: format!(
                        "a key of its index is not readable although its checksum is right: {bad}"
                    ),
                })?;
                if is_old(&key, &value, *floor) {
                    count += 1;
                    first.get_or_insert(object);
                }
            }
        }
        if let Some(object) = first {
            report.add(pack.path(), format!("{count} entries of purged objects, the first of {}", object.id));
        }
    }
    Ok(())
}

/// Whether an entry holds something of its object from before the purge.
fn is_old(key: &EntryKey, value: &EntryValue, floor: Seq) -> bool {
    let followers =
        value.place().is_some_and(|place| place.follow_count > 0 && place.follow_first_seq <= floor);
    let own = match key.kind {
        // The purge leaves a head without anything in it.
        PartKind::Head => key.seq < floor,
        PartKind::Run => key.sub_key.first_chunk().is_none_or(|first| u64::from_be_bytes(*first) <= floor.0),
        _ => key.seq <= floor,
    };
    own || followers
}

fn in_catalog(engine: &EngineInner, floors: &Floors, report: &mut PurgeReport) -> Result<()> {
    let (bytes, traces) = engine.catalog.table_traces(floors)?;
    report.catalog_bytes = bytes;
    for trace in traces {
        let (count, offset) = (trace.count, trace.offset);
        report.add(
            trace.path,
            format!("{count} rows of purged objects in its pages, the first at offset {offset}"),
        );
    }
    Ok(())
}

fn in_log(engine: &EngineInner, floors: &Floors, report: &mut PurgeReport) -> Result<()> {
    let traces = look_at_log(engine, floors)?;
    report.log_bytes = traces.bytes;
    for LogTrace { path, offset, count, kind, .. } in traces.found {
        let reason = match kind {
            LogTraceKind::Record { object, .. } => {
                format!("{count} commits of purged objects, the first of {} at offset {offset}", object.id)
            }
            _ => format!("{count} sectors from offset {offset} on whose origin cannot be told"),
        };
        report.add(path, reason);
    }
    Ok(())
}

/// What the log's files hold of purged objects, and what cannot be told.
pub(crate) fn look_at_log(engine: &EngineInner, floors: &Floors) -> Result<LogTraces> {
    let is_old = |part: &Part<'_>| {
        // The purge itself says that it was made, and nothing of what was there.
        let is_purge = Kind::from_byte(part.kind) == Some(Kind::Purge);
        floors.get(&part.object).is_some_and(|floor| part.seq < *floor || (part.seq == *floor && !is_purge))
    };
    let mut looks = 0;
    loop {
        looks += 1;
        let traces = log_traces(&*engine.disk, &mut |part| is_old(part))?;
        // A group that is being written may be half there.
        let told = traces.found.iter().all(|trace| trace.kind != LogTraceKind::Unknown);
        if told || looks == LOOKS || engine.is_read_only() {
            return Ok(traces);
        }
        engine.log.sync()?;
    }
}
