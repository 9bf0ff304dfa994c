//! Verifying one object: its chain from the first kept commit, and every part that holds its state.

use lineal_snapshot::Run;
use lineal_wal::{ObjectKey, Seq};

use super::{
    Object,
    head::Head,
    turns::Turn,
    wake::{newest_head, read_runs, retry_released, unpacked_commits},
};
use crate::{
    Error, Result,
    catalog::Snapshot,
    engine::EngineInner,
    gate::inside::Inside,
    history::{
        sound,
        version::{self, Tail},
    },
    lineage::{
        joint::Joints,
        walk::{Chain, Commit},
    },
    transaction::body::Kind,
};

/// What a verification of one object found to be right.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Verified {
    /// The first commit of which at least the header is kept; those before it were purged, or the retention has passed.
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

pub(crate) fn verify(object: &Object) -> Result<Verified> {
    let engine = &object.engine;
    Inside::refuse(engine.output.tag)?;
    // In the object's turn, so that it makes no commit meanwhile. Checkpoints take no turn and move on.
    let (outcome, lsn) = {
        let mut turn = Turn::take(engine, &object.namespace, &object.cell)?;
        turn.run(|held| {
            let (key, seq, lsn) = (held.cell.key, held.resident.seq, held.resident.last_lsn);
            (retry_released(|| verify_held(engine, key, seq, lsn)), lsn)
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
    let mut chain = Chain::at_start(key, &head);
    let mut first_seq = chain.seq.0 + 1;
    let mut commits = walk_packs(&snapshot, &head, &mut chain)?;
    let mut joints = Joints::default();
    for (record, at) in unpacked_commits(engine, key, lsn, head.lsn)? {
        let joint = joints.of(engine, &snapshot, &record)?;
        let commit = Commit::of_record(&record, at, joint);
        chain.step(&commit)?;
        commits += 1;
        if Kind::from_byte(commit.kind) == Some(Kind::Purge) {
            first_seq = commit.seq.0 + 1;
        }
    }
    if chain.seq != seq {
        return Err(chain.broken(chain.seq, "the chain ends before the object's newest commit"));
    }
    let packed = Tail::new(engine, &snapshot, key, &head)?.finish()?;
    let mut leaves = sound::check(&snapshot, &packed, u64::MAX)?;
    let newest = version::newest(engine, &snapshot, key, lsn)?;
    // A newer cut, in the tail or in the log, reads through to something else.
    if newest.under().is_some_and(|under| packed.under().is_none_or(|packed| packed.cut != under.cut)) {
        leaves += sound::check(&snapshot, &newest, u64::MAX)?;
    }
    Ok(Verified { first_seq, last_seq: seq.0, commits, leaves, hash: chain.hash })
}

/// Walks the runs from the first kept commit to the head, and compares every hash that packs keep. Returns how many
/// commits there are.
fn walk_packs(snapshot: &Snapshot, head: &Head, chain: &mut Chain) -> Result<u64> {
    if head.seq == head.floor {
        return Ok(0);
    }
    if head.seq == chain.seq {
        return if chain.hash == head.hash {
            Ok(0)
        } else {
            Err(chain.broken(head.seq, "its anchor has another hash"))
        };
    }
    let mut commits = 0;
    for run in snapshot.runs(&chain.key, Seq(chain.seq.0 + 1), head.seq)? {
        for run in read_runs(&run)? {
            walk_run(&run, head, chain)?;
            commits += run.len() as u64;
        }
    }
    if chain.seq != head.seq {
        return Err(chain.broken(chain.seq, "the runs end before the head"));
    }
    if chain.hash != head.hash || chain.salt != head.salt {
        return Err(chain.broken(head.seq, "the hash or the salt in the head is another one"));
    }
    Ok(commits)
}

fn walk_run(run: &Run, head: &Head, chain: &mut Chain) -> Result<()> {
    let anchor = head.anchor.as_ref().filter(|anchor| anchor.seq > head.floor);
    let mut points = run.hash_points().iter().peekable();
    for (seq, commit) in run.iter() {
        let kept = points.next_if(|point| point.after.0 + 1 == seq.0);
        if kept.is_some_and(|point| point.hash != chain.hash) {
            return Err(chain.broken(seq, "the hash that the run keeps of the commit before is another one"));
        }
        if commit.ops_digest.is_some() && anchor.is_none_or(|anchor| seq > anchor.seq) {
            return Err(chain.broken(seq, "its ops are missing, and the retention has not passed"));
        }
        chain.step(&Commit::of_run(seq, &commit))?;
        if anchor.is_some_and(|anchor| seq == anchor.seq && chain.hash != anchor.hash) {
            return Err(chain.broken(seq, "the object's anchor has another hash"));
        }
    }
    Ok(())
}
