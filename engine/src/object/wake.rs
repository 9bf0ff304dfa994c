//! Waking an object: its head and tail from the packs, then what the log holds beyond them.

use lineal_snapshot::{Group, Part, Run};
use lineal_wal::{LogError, Lsn, ObjectKey, OwnedRecord, Seq};

use super::{cell::Cell, head::Head, resident::Resident};
use crate::{
    Error, Result,
    catalog::{Located, RunRef, Snapshot},
    engine::EngineInner,
    history::version,
    sync::Arc,
};

/// How often reading starts again because checkpoints moved on under it and released the log it was reading.
///
/// Source: chosen; each time takes two whole checkpoints.
const ATTEMPTS_MAX: usize = 8;

/// Reads the object's newest state. The caller holds its turn.
pub(crate) fn wake(engine: &EngineInner, cell: &Cell) -> Result<Box<Resident>> {
    retry_released(|| read_state(engine, cell))
}

/// Runs `read`, and again while it fails because checkpoints released the log that it was reading. What they released
/// is in packs by then, so `read` takes a snapshot of the catalog of its own each time.
pub(crate) fn retry_released<T>(mut read: impl FnMut() -> Result<T>) -> Result<T> {
    for _ in 1..ATTEMPTS_MAX {
        match read() {
            Err(Error::Io { file, .. }) if file == RELEASED => {}
            outcome => return outcome,
        }
    }
    read()
}

/// The error of reading the log, with a mark on what [`retry_released`] can cure.
pub(crate) fn log_error(error: LogError) -> Error {
    match error {
        LogError::Released { .. } => {
            Error::Io { op: "reading", file: RELEASED.into(), source: Arc::new(std::io::Error::other(error)) }
        }
        other => other.into(),
    }
}

/// Marks the error of a log position that a checkpoint released meanwhile.
const RELEASED: &str = "released part of the log";

fn read_state(engine: &EngineInner, cell: &Cell) -> Result<Box<Resident>> {
    // The log first: what is packed after the snapshot was taken is still in the log for one more checkpoint.
    let last_lsn = cell.last_lsn();
    let snapshot = engine.catalog.snapshot();
    let mut resident = version::newest(engine, &snapshot, cell.key, last_lsn)?;
    // No seq is used twice, so a connection that is left of an earlier wake is right if it is of this very commit.
    resident.pages_seq = resident.seq;
    resident.check();
    check_name(cell, &resident)?;
    engine.counters.woken();
    Ok(Box::new(resident))
}

fn check_name(cell: &Cell, resident: &Resident) -> Result<()> {
    match (cell.name(), &resident.name) {
        (Some(wanted), Some(found)) if wanted != found => {
            Err(Error::NameCollision { wanted: wanted.to_string(), found: found.to_string() })
        }
        _ => Ok(()),
    }
}

/// A head, and the runs that stand behind it in its block.
pub(crate) struct FoundHead {
    pub(crate) head: Head,
    pub(crate) group: Arc<Group>,
    pub(crate) located: Located,
}

/// Whether what is read of packs stays in memory for the next reader.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keep {
    /// The newest state becomes resident itself, and what walks over everything comes by once.
    Not,
    /// Versions near one another are made of the same runs.
    Decoded,
}

/// The newest head in the packs.
pub(crate) fn newest_head(snapshot: &Snapshot, key: &ObjectKey) -> Result<Option<FoundHead>> {
    head_at(snapshot, key, Seq(u64::MAX), Keep::Not)
}

/// The newest head in the packs that covers nothing after `at`.
pub(crate) fn head_at(
    snapshot: &Snapshot,
    key: &ObjectKey,
    at: Seq,
    keep: Keep,
) -> Result<Option<FoundHead>> {
    snapshot.newest_head_at(key, at)?.map(|located| read_head(located, keep)).transpose()
}

/// Reads a head, and the runs behind it.
pub(crate) fn read_head(located: Located, keep: Keep) -> Result<FoundHead> {
    let group = located.group(keep)?;
    let head = decode_head(&located, group.head())?;
    Ok(FoundHead { head, group, located })
}

/// Reads a head without what stands behind it, which stays in memory for the next reader.
pub(crate) fn read_head_alone(located: &Located) -> Result<Head> {
    let payload = located.pack.head(&located.key, &located.place)?;
    decode_head(located, &payload)
}

fn decode_head(located: &Located, payload: &[u8]) -> Result<Head> {
    Head::decode(located.key.seq, payload)
        .map_err(|bad| located.damaged(format!("the head is not readable: {}", bad.0)))
}

impl Located {
    /// The head or the run that this leads to, and the runs behind it.
    pub(crate) fn group(&self, keep: Keep) -> Result<Arc<Group>> {
        Ok(self.pack.group(&self.key, &self.place, keep == Keep::Decoded)?)
    }

    /// What to say of a part that cannot be what was written.
    pub(crate) fn damaged(&self, reason: String) -> Error {
        Error::Damaged {
            file: self.place.pack.path(),
            offset: self.place.file_offset(),
            object: Some(self.key.object.id.to_string()),
            reason,
        }
    }
}

/// The runs that a reference to a pack leads to, oldest first.
pub(crate) fn read_runs(found: &RunRef) -> Result<Vec<Run>> {
    found.read()?.iter().map(|part| decode_run(part, &found.entry)).collect()
}

fn decode_run(part: &Part, located: &Located) -> Result<Run> {
    Run::decode(Arc::clone(&part.payload))
        .map_err(|bad| located.damaged(format!("a run of the object is not readable: {bad}")))
}

/// The runs that hold the object's tail, oldest first. The first may begin before the tail does.
pub(crate) fn tail_runs(
    snapshot: &Snapshot,
    key: &ObjectKey,
    found: &FoundHead,
    keep: Keep,
) -> Result<Vec<Arc<Run>>> {
    let head = &found.head;
    if head.tail_first > head.seq {
        return Ok(Vec::new());
    }
    let mut runs = found.group.runs().to_vec();
    if runs.first().is_none_or(|run| run.first_seq() > head.tail_first) {
        runs.clear();
        for run in snapshot.runs(key, head.tail_first, head.seq)? {
            runs.extend_from_slice(run.entry.group(keep)?.runs());
        }
    }
    check_contiguous(&runs, head, &found.located)?;
    Ok(runs)
}

fn check_contiguous(runs: &[Arc<Run>], head: &Head, located: &Located) -> Result<()> {
    let mut next = None;
    for run in runs {
        if next.is_some_and(|next| run.first_seq() != next) {
            return Err(
                located.damaged(format!("the object's runs have a gap before seq {}", run.first_seq()))
            );
        }
        next = Some(Seq(run.last_seq().0 + 1));
    }
    let covers = runs.first().is_some_and(|run| run.first_seq() <= head.tail_first)
        && next == Some(Seq(head.seq.0 + 1));
    if !covers {
        return Err(located.damaged(format!(
            "the object's runs do not hold its tail, seq {} to {}",
            head.tail_first, head.seq
        )));
    }
    Ok(())
}

pub(crate) fn bad_body(key: &ObjectKey, seq: Seq) -> Error {
    Error::Damaged {
        file: "a run or the log".into(),
        offset: 0,
        object: Some(key.id.to_string()),
        reason: format!("the body of commit {seq} is not readable although its checksum is right"),
    }
}

/// The commits of one object after the position `after`, oldest first: a walk back through the log along the
/// positions that each part keeps of the one before. With each record comes the index of the object's part.
pub(crate) fn unpacked_commits(
    engine: &EngineInner,
    key: ObjectKey,
    last_lsn: Lsn,
    after: Lsn,
) -> Result<Vec<(OwnedRecord, usize)>> {
    walk_back(engine, key, last_lsn, |lsn, _| lsn <= after)
}

/// As [`unpacked_commits`], after the commit `after`.
pub(crate) fn logged_after(
    engine: &EngineInner,
    key: ObjectKey,
    last_lsn: Lsn,
    after: Seq,
) -> Result<Vec<(OwnedRecord, usize)>> {
    walk_back(engine, key, last_lsn, |_, newer| newer.is_some_and(|newer| newer.0 <= after.0 + 1))
}

/// Walks back from `lsn` until `done` says so, of a position and the commit that leads there.
fn walk_back(
    engine: &EngineInner,
    key: ObjectKey,
    mut lsn: Lsn,
    done: impl Fn(Lsn, Option<Seq>) -> bool,
) -> Result<Vec<(OwnedRecord, usize)>> {
    let mut commits = Vec::new();
    let mut newer = None;
    while lsn > Lsn(0) && !done(lsn, newer) {
        let (record, at) = logged_commit(engine, key, lsn)?;
        let part = record.as_record().parts().nth(at).expect("the part was found by its place");
        newer = Some(part.seq);
        lsn = part.prev_lsn;
        commits.push((record, at));
    }
    commits.reverse();
    Ok(commits)
}

/// The record at `lsn`, and which of its parts is the object's.
pub(crate) fn logged_commit(engine: &EngineInner, key: ObjectKey, lsn: Lsn) -> Result<(OwnedRecord, usize)> {
    let record = engine.log.read(lsn).map_err(log_error)?;
    let at = record.as_record().parts().position(|part| part.object == key);
    let at = at.ok_or_else(|| Error::Damaged {
        file: "log".into(),
        offset: 0,
        object: Some(key.id.to_string()),
        reason: format!("record {lsn} holds no commit of the object it is linked from"),
    })?;
    Ok((record, at))
}
