//! Waking an object: its head and tail from the packs, then what the log holds beyond them.

use lineal_snapshot::{Part, Run};
use lineal_wal::{LogError, Lsn, ObjectKey, OwnedRecord, Seq};

use super::{cell::Cell, head::Head, resident::Resident};
use crate::{
    Error, Result,
    catalog::{Located, RunRef, Snapshot},
    engine::EngineInner,
    transaction::body::{Body, Kind},
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
        LogError::Released { .. } => Error::Io {
            op: "reading",
            file: RELEASED.into(),
            source: crate::sync::Arc::new(std::io::Error::other(error)),
        },
        other => other.into(),
    }
}

/// Marks the error of a log position that a checkpoint released meanwhile.
const RELEASED: &str = "released part of the log";

fn read_state(engine: &EngineInner, cell: &Cell) -> Result<Box<Resident>> {
    // The log first: what is packed after the snapshot was taken is still in the log for one more checkpoint.
    let last_lsn = cell.last_lsn();
    let snapshot = engine.catalog.snapshot();
    let mut resident = match newest_head(&snapshot, &cell.key)? {
        Some(found) => {
            let mut resident = Resident::from_head(found.head.clone());
            for run in tail_runs(&snapshot, &cell.key, &found)? {
                apply_run(&mut resident, &run, found.head.tail_first, &cell.key)?;
            }
            resident
        }
        None => Resident::from_head(Head::empty()),
    };
    if last_lsn > resident.last_lsn {
        for (record, at) in unpacked_commits(engine, cell.key, last_lsn, resident.last_lsn)? {
            apply_logged(&mut resident, &record, at, &cell.key)?;
        }
    }
    if resident.overlay.whole_cleared() {
        resident.base = None;
    }
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
    pub(crate) followers: Vec<Part>,
    pub(crate) located: Located,
}

/// The newest head in the packs.
pub(crate) fn newest_head(snapshot: &Snapshot, key: &ObjectKey) -> Result<Option<FoundHead>> {
    let Some(located) = snapshot.newest_head(key)? else {
        return Ok(None);
    };
    let (part, followers) = located.pack.read_with_followers(&located.key, &located.place)?;
    let head = Head::decode(located.key.seq, &part.payload)
        .map_err(|bad| located.damaged(format!("the head is not readable: {}", bad.0)))?;
    Ok(Some(FoundHead { head, followers, located }))
}

impl Located {
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
    Run::decode(crate::sync::Arc::clone(&part.payload))
        .map_err(|bad| located.damaged(format!("a run of the object is not readable: {bad}")))
}

/// The runs that hold the object's tail, oldest first. The first may begin before the tail does.
pub(crate) fn tail_runs(snapshot: &Snapshot, key: &ObjectKey, found: &FoundHead) -> Result<Vec<Run>> {
    let head = &found.head;
    if head.tail_first > head.seq {
        return Ok(Vec::new());
    }
    let mut runs = Vec::with_capacity(found.followers.len());
    for part in &found.followers {
        runs.push(decode_run(part, &found.located)?);
    }
    if runs.first().is_none_or(|run| run.first_seq() > head.tail_first) {
        runs.clear();
        for run in snapshot.runs(key, head.tail_first, head.seq)? {
            runs.extend(read_runs(&run)?);
        }
    }
    check_contiguous(&runs, head, &found.located)?;
    Ok(runs)
}

fn check_contiguous(runs: &[Run], head: &Head, located: &Located) -> Result<()> {
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

fn apply_run(resident: &mut Resident, run: &Run, from: Seq, key: &ObjectKey) -> Result<()> {
    for (seq, commit) in run.iter().filter(|(seq, _)| *seq >= from) {
        let body = Body::decode(commit.flags, commit.body).ok_or_else(|| bad_body(key, seq))?;
        apply_ops(resident, body.ops, key, seq)?;
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

fn apply_ops(resident: &mut Resident, ops: &[u8], key: &ObjectKey, seq: Seq) -> Result<()> {
    let damaged = |reason: String| Error::Damaged {
        file: "a run or the log".into(),
        offset: 0,
        object: Some(key.id.to_string()),
        reason,
    };
    let cuts = resident
        .overlay
        .apply(ops)
        .map_err(|error| damaged(format!("the ops of commit {seq} do not apply: {error}")))?;
    match cuts.first() {
        None => Ok(()),
        Some(cut) => Err(damaged(format!(
            "commit {seq} reads through to {:?}, which no call of this version makes",
            cut.base
        ))),
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
    let mut commits = Vec::new();
    let mut lsn = last_lsn;
    while lsn > after {
        let record = engine.log.read(lsn).map_err(log_error)?;
        let found = record
            .as_record()
            .parts()
            .enumerate()
            .find(|(_, part)| part.object == key)
            .map(|(at, part)| (at, part.prev_lsn));
        let (at, prev) = found.ok_or_else(|| Error::Damaged {
            file: "log".into(),
            offset: 0,
            object: Some(key.id.to_string()),
            reason: format!("record {lsn} holds no commit of the object it is linked from"),
        })?;
        commits.push((record, at));
        lsn = prev;
    }
    commits.reverse();
    Ok(commits)
}

fn apply_logged(resident: &mut Resident, record: &OwnedRecord, at: usize, key: &ObjectKey) -> Result<()> {
    let record = record.as_record();
    let part = record.parts().nth(at).expect("the part was found by its place");
    if part.seq != Seq(resident.seq.0 + 1) {
        return Err(Error::Damaged {
            file: "log".into(),
            offset: 0,
            object: Some(key.id.to_string()),
            reason: format!("the log goes on at seq {} and the packs end at {}", part.seq, resident.seq),
        });
    }
    let body = Body::decode(part.flags, part.body).ok_or_else(|| bad_body(key, part.seq))?;
    apply_ops(resident, body.ops, key, part.seq)?;
    let kind = Kind::from_byte(part.kind);
    resident.seq = part.seq;
    resident.last_lsn = record.lsn;
    resident.last_time = record.time;
    resident.bytes = resident.bytes.saturating_add_signed(body.delta);
    resident.exists = !matches!(kind, Some(Kind::Delete | Kind::Purge));
    if let Some(first) = body.first {
        resident.salt = Some(first.salt);
        resident.name = first.name.map(crate::sync::Arc::from);
    }
    if kind == Some(Kind::Purge) {
        resident.salt = None;
        resident.name = None;
    }
    Ok(())
}
