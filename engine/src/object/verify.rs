//! Verifying one object: its chain from the first kept commit, and every part that holds its state.

use lineal_snapshot::Run;
use lineal_wal::{Micros, ObjectKey, Seq};

use super::{
    Object,
    head::{Hash, Head},
    turns::Turn,
    wake::{bad_body, newest_head, read_runs, unpacked_commits},
};
use crate::{
    Error, Result,
    catalog::Snapshot,
    engine::EngineInner,
    gate::inside::Inside,
    history::{sound, version},
    lineage::{self, Link},
    transaction::body::{Body, Kind},
};

/// What a verification of one object found to be right.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Verified {
    /// The first commit that is kept; those before it were purged.
    pub first_seq: u64,
    /// The newest commit.
    pub last_seq: u64,
    /// Commits whose hash was computed again.
    pub commits: u64,
    /// Leaves and deltas that were read.
    pub leaves: u64,
    /// The chain's hash after the newest commit.
    pub hash: [u8; 32],
}

/// The chain of one object, as far as it was walked.
struct Walk {
    key: ObjectKey,
    seq: Seq,
    hash: Hash,
    salt: Option<[u8; 16]>,
    commits: u64,
}

/// One commit as the chain needs it, from a run or from the log.
struct Step<'a> {
    seq: Seq,
    time: Micros,
    kind: u8,
    flags: u8,
    joint: Option<Hash>,
    body: &'a [u8],
}

pub(crate) fn verify(object: &Object) -> Result<Verified> {
    let engine = &object.engine;
    Inside::refuse(engine.output.tag)?;
    // In the object's turn, so that what is walked in the log does not move on.
    let (outcome, lsn) = {
        let mut turn = Turn::take(engine, &object.namespace, &object.cell)?;
        turn.run(|held| {
            (
                verify_held(engine, held.cell.key, held.resident.seq, held.resident.last_lsn),
                held.resident.last_lsn,
            )
        })
    };
    engine.log.wait(lsn)?;
    outcome
}

fn verify_held(engine: &EngineInner, key: ObjectKey, seq: Seq, lsn: lineal_wal::Lsn) -> Result<Verified> {
    if seq == Seq(0) {
        return Err(Error::NotFound { what: format!("object {}", key.id) });
    }
    let snapshot = engine.catalog.snapshot();
    let head = newest_head(&snapshot, &key)?.map(|found| found.head).unwrap_or_else(Head::empty);
    let mut walk =
        Walk { key, seq: head.floor, hash: lineage::genesis(key, head.floor), salt: None, commits: 0 };
    let mut first_seq = head.floor.0 + 1;
    walk_packs(&snapshot, &head, &mut walk)?;
    for (record, at) in unpacked_commits(engine, key, lsn, head.lsn)? {
        let joint = joint_of(engine, &snapshot, &record)?;
        let record = record.as_record();
        let part = record.parts().nth(at).expect("the part was found by its place");
        let kind = part.kind;
        walk.step(&Step {
            seq: part.seq,
            time: record.time,
            kind,
            flags: part.flags,
            joint,
            body: part.body,
        })?;
        if Kind::from_byte(kind) == Some(Kind::Purge) {
            first_seq = part.seq.0 + 1;
        }
    }
    if walk.seq != seq {
        return Err(walk.broken(walk.seq, "the chain ends before the object's newest commit"));
    }
    let leaves = sound::check(&snapshot, &version::newest(engine, &snapshot, key, lsn)?, u64::MAX)?;
    Ok(Verified { first_seq, last_seq: seq.0, commits: walk.commits, leaves, hash: walk.hash })
}

/// Walks the runs from the first kept commit to the head, and compares every hash that packs keep.
fn walk_packs(snapshot: &Snapshot, head: &Head, walk: &mut Walk) -> Result<()> {
    if head.seq == head.floor {
        return Ok(());
    }
    for run in snapshot.runs(&walk.key, Seq(head.floor.0 + 1), head.seq)? {
        for run in read_runs(&run)? {
            walk_run(&run, walk)?;
        }
    }
    if walk.seq != head.seq {
        return Err(walk.broken(walk.seq, "the runs end before the head"));
    }
    if walk.hash != head.hash || walk.salt != head.salt {
        return Err(walk.broken(head.seq, "the hash or the salt in the head is another one"));
    }
    Ok(())
}

fn walk_run(run: &Run, walk: &mut Walk) -> Result<()> {
    let mut points = run.hash_points().iter().peekable();
    for (seq, commit) in run.iter() {
        let kept = points.next_if(|point| point.after.0 + 1 == seq.0);
        if kept.is_some_and(|point| point.hash != walk.hash) {
            return Err(walk.broken(seq, "the hash that the run keeps of the commit before is another one"));
        }
        walk.step(&Step {
            seq,
            time: commit.time,
            kind: commit.kind,
            flags: commit.flags,
            joint: commit.joint,
            body: commit.body,
        })?;
    }
    Ok(())
}

impl Walk {
    fn step(&mut self, step: &Step<'_>) -> Result<()> {
        if step.seq.0 != self.seq.0 + 1 {
            return Err(self.broken(step.seq, "it does not follow the commit before"));
        }
        let body = Body::decode(step.flags, step.body).ok_or_else(|| bad_body(&self.key, step.seq))?;
        if let Some(first) = &body.first {
            self.salt = Some(first.salt);
        }
        let salt = self.salt.ok_or_else(|| self.broken(step.seq, "the chain has no salt"))?;
        let link = Link {
            object: self.key,
            seq: step.seq,
            time: step.time,
            kind: step.kind,
            cause: body.cause,
            ops_digest: lineage::ops_digest(&salt, body.ops),
            joint: step.joint,
        };
        self.hash = lineage::commit_hash(&link, &self.hash);
        self.seq = step.seq;
        self.commits += 1;
        if Kind::from_byte(step.kind) == Some(Kind::Purge) {
            self.hash = lineage::genesis(self.key, step.seq);
            self.salt = None;
        }
        Ok(())
    }

    fn broken(&self, seq: Seq, reason: &str) -> Error {
        Error::Damaged {
            file: "lineage".into(),
            offset: 0,
            object: Some(self.key.id.to_string()),
            reason: format!("commit {seq}: {reason}"),
        }
    }
}

/// The joint digest of a record in the log, if it has several parts.
pub(crate) fn joint_of(
    engine: &EngineInner,
    snapshot: &Snapshot,
    record: &lineal_wal::OwnedRecord,
) -> Result<Option<Hash>> {
    let record = record.as_record();
    if record.parts().count() < 2 {
        return Ok(None);
    }
    let mut parts = Vec::new();
    for part in record.parts() {
        let body = Body::decode(part.flags, part.body).ok_or_else(|| bad_body(&part.object, part.seq))?;
        let salt = match body.first {
            Some(first) => first.salt,
            None => salt_at(engine, snapshot, part.object, part.prev_lsn)?,
        };
        parts.push((part.object, part.seq, lineage::ops_digest(&salt, body.ops)));
    }
    Ok(Some(lineage::joint_digest(&mut parts)))
}

/// The salt that was in force at the commit at `lsn`, looked for backwards from it.
fn salt_at(
    engine: &EngineInner,
    snapshot: &Snapshot,
    object: ObjectKey,
    lsn: lineal_wal::Lsn,
) -> Result<[u8; 16]> {
    let head = newest_head(snapshot, &object)?.map(|found| found.head).unwrap_or_else(Head::empty);
    for (record, at) in unpacked_commits(engine, object, lsn, head.lsn)?.iter().rev() {
        let record = record.as_record();
        let part = record.parts().nth(*at).expect("the part was found by its place");
        let body = Body::decode(part.flags, part.body).ok_or_else(|| bad_body(&object, part.seq))?;
        if let Some(first) = body.first {
            return Ok(first.salt);
        }
    }
    // None: the other object's namespace was dropped meanwhile, and compaction has passed. The digest is taken as given
    // once it is packed; until then any salt will do.
    Ok(head.salt.unwrap_or_default())
}
