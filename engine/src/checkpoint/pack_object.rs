//! Writes one object's new commits into a pack: its head, its runs, and leaves when its tail is full.

use lineal_snapshot::{
    Commit as RunCommit, Kind as PartKind, PackWriter, PartSpec, RunBuilder, leaf_sub_key, run_sub_key,
};
use lineal_wal::{ObjectKey, Seq};

use super::{
    fold::{self, Folded},
    window::no_head,
};
use crate::{
    Error, Result,
    catalog::Snapshot,
    lineage::{self, Link, walk::Commit},
    object::{
        head::{Hash, Head, HeadCut, Leaves},
        overlay::Overlay,
        wake::{FoundHead, bad_body, newest_head, tail_runs},
    },
    transaction::{
        body::{Body, Kind, exists_after, whole_cut},
        ops::CutBase,
    },
};

/// Largest run before compression, in bytes, unless one commit is larger.
///
/// Source: chosen; a read of one commit decodes at most this, and a run compresses about as well as it ever will.
const RUN_BYTES_MAX: usize = 64 << 10;

/// Packs objects one after the other, reusing its buffers.
pub(crate) struct ObjectPacker {
    tail_bytes_max: u64,
    payload: Vec<u8>,
}

/// Largest tail that is put behind its head, in bytes: one that could not be folded may be larger.
///
/// Source: chosen; twice the usual bound.
const FOLLOWING_BYTES_MAX: u64 = 128 << 10;

struct NewRun {
    first: Seq,
    last: Seq,
    payload: Vec<u8>,
}

impl ObjectPacker {
    pub(crate) fn new(tail_bytes_max: u64) -> ObjectPacker {
        ObjectPacker { tail_bytes_max, payload: Vec::new() }
    }

    /// Writes what the commits, which follow what is packed, change of the object. Returns its new head.
    pub(crate) fn pack(
        &mut self,
        snapshot: &Snapshot,
        key: ObjectKey,
        commits: &[Commit<'_>],
        writer: &mut PackWriter,
    ) -> Result<Head> {
        let found = previous(snapshot, key, commits)?;
        let mut head = found.as_ref().map_or_else(Head::empty, |found| found.head.clone());
        let old_tail_first = head.tail_first;
        let runs = chain(&mut head, key, commits)?;
        let folded = if head.tail_bytes > self.tail_bytes_max {
            let overlay = tail_overlay(snapshot, key, found.as_ref(), old_tail_first, &head, commits)?;
            self.fold(snapshot, key, &mut head, &overlay)?
        } else {
            None
        };
        self.write(key, &head, &runs, folded, writer)?;
        Ok(head)
    }

    /// Folds the tail. Where a leaf that it needs is damaged the tail stays as it is: damage stops the object that it
    /// touches, and not the checkpoint of all others.
    fn fold(
        &self,
        snapshot: &Snapshot,
        key: ObjectKey,
        head: &mut Head,
        overlay: &Overlay,
    ) -> Result<Option<Folded>> {
        let folded = match fold::fold(snapshot, key, head, overlay) {
            Ok(folded) => folded,
            Err(error @ Error::Damaged { .. }) => {
                tracing::error!(%error, object = %key.id, "the tail of an object cannot be folded");
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        head.leaves =
            Some(Leaves { fold: head.seq, bytes: folded.leaf_bytes, deltas: folded.deltas.clone() });
        head.tail_first = Seq(head.seq.0 + 1);
        head.tail_bytes = 0;
        Ok(Some(folded))
    }

    /// Writes the parts in the order of their entries: head, runs, delta, leaves.
    fn write(
        &mut self,
        key: ObjectKey,
        head: &Head,
        runs: &[NewRun],
        folded: Option<Folded>,
        writer: &mut PackWriter,
    ) -> Result<()> {
        self.payload.clear();
        head.encode(&mut self.payload);
        let spec = PartSpec {
            object: key,
            kind: PartKind::Head,
            sub_key: &[],
            seq: head.seq,
            follows: false,
            end_fence: None,
        };
        writer.part(&spec, &self.payload)?;
        // A wake reads what stands behind the head in one go: only what belongs to the tail, and little of it.
        let is_tail = |run: &&NewRun| {
            folded.is_none() && run.last >= head.tail_first && head.tail_bytes <= FOLLOWING_BYTES_MAX
        };
        let tail = runs.iter().filter(is_tail).map(|run| (run, true));
        let others = runs.iter().filter(|run| !is_tail(run)).map(|run| (run, false));
        for (run, follows) in tail.chain(others) {
            writer.part(
                &PartSpec {
                    kind: PartKind::Run,
                    sub_key: &run_sub_key(run.first),
                    seq: run.last,
                    follows,
                    ..spec
                },
                &run.payload,
            )?;
        }
        let Some(folded) = folded else { return Ok(()) };
        if let Some(delta) = &folded.delta {
            writer.part(&PartSpec { kind: PartKind::Delta, ..spec }, delta)?;
        }
        for change in &folded.leaves {
            let sub_key = leaf_sub_key(head.era, &change.fence);
            match &change.payload {
                Some(payload) => {
                    let end_fence = change.end.as_deref();
                    writer.part(
                        &PartSpec { kind: PartKind::Leaf, sub_key: &sub_key, end_fence, ..spec },
                        payload,
                    )?;
                }
                None => writer.end_entry(key, &sub_key, head.seq)?,
            }
        }
        Ok(())
    }
}

/// The object's newest packed head, checked against the first commit that follows it.
fn previous(snapshot: &Snapshot, key: ObjectKey, commits: &[Commit<'_>]) -> Result<Option<FoundHead>> {
    let first = commits[0].seq;
    if first == Seq(1) {
        return Ok(None);
    }
    let found = newest_head(snapshot, &key)?
        .ok_or_else(|| no_head(key, "it has commits before those in the log and no pack holds them"))?;
    if found.head.seq.0 + 1 != first.0 {
        return Err(no_head(key, "the commits in the log do not follow those in the packs"));
    }
    Ok(Some(found))
}

/// Brings the head up to the newest commit, computing the chain on the way, and returns the runs.
fn chain(head: &mut Head, key: ObjectKey, commits: &[Commit<'_>]) -> Result<Vec<NewRun>> {
    let mut runs = Runs::default();
    for commit in commits {
        let body = Body::decode(commit.flags, commit.body).ok_or_else(|| bad_body(&key, commit.seq))?;
        if let Some(first) = &body.first {
            head.salt = Some(first.salt);
            head.name = first.name.map(crate::sync::Arc::from);
        }
        let before = if head.seq == head.floor { lineage::genesis(key, head.floor) } else { head.hash };
        let salt = head.salt.ok_or_else(|| bad_body(&key, commit.seq))?;
        let link = Link {
            object: key,
            seq: commit.seq,
            time: commit.time,
            kind: commit.kind,
            cause: body.cause,
            ops_digest: lineage::ops_digest(&salt, body.ops),
            joint: commit.joint,
        };
        let kind = Kind::from_byte(commit.kind);
        advance(head, commit, &body, kind);
        head.hash = lineage::commit_hash(&link, &before);
        if kind == Some(Kind::Purge) {
            purge(head);
            runs = Runs::default();
        } else {
            runs.push(commit, head, before);
        }
    }
    Ok(runs.finish(head))
}

fn advance(head: &mut Head, commit: &Commit<'_>, body: &Body<'_>, kind: Option<Kind>) {
    head.seq = commit.seq;
    head.lsn = commit.lsn;
    head.time = commit.time;
    head.bytes = head.bytes.saturating_add_signed(body.delta);
    head.exists = exists_after(kind, commit.flags, head.exists);
    if let Some(cut) = whole_cut(body.ops) {
        head.era = commit.seq;
        head.leaves = None;
        head.cuts = match cut.base {
            CutBase::Nothing => Vec::new(),
            _ => vec![HeadCut { seq: commit.seq, cut }],
        };
        head.tail_first = commit.seq;
        head.tail_bytes = 0;
    }
    head.tail_bytes += commit.body.len() as u64;
}

/// Nothing before the purge is left, nor of the purge itself but that it was.
fn purge(head: &mut Head) {
    head.floor = head.seq;
    head.salt = None;
    head.name = None;
    head.anchor = None;
    head.hash = [0; 32];
    head.bytes = 0;
    head.tail_first = Seq(head.seq.0 + 1);
    head.tail_bytes = 0;
}

/// The runs of one object in one pack, in the making.
#[derive(Default)]
struct Runs {
    done: Vec<NewRun>,
    open: Option<(Seq, RunBuilder)>,
}

impl Runs {
    fn push(&mut self, commit: &Commit<'_>, head: &Head, before: Hash) {
        let full = |run: &RunBuilder| run.size() + commit.body.len() > RUN_BYTES_MAX;
        // A cut of everything begins a run, so that all commits of a run belong to one tail.
        if self.open.as_ref().is_some_and(|(_, run)| full(run) || head.tail_first == commit.seq) {
            self.close(Seq(commit.seq.0 - 1));
        }
        let (first, run) =
            self.open.get_or_insert_with(|| (commit.seq, RunBuilder::new(commit.seq, head.tail_first)));
        // The hash before the first commit of a chain can be computed, and is not kept.
        if run.wants_hash() || (commit.seq == *first && commit.seq.0 != head.floor.0 + 1) {
            run.push_hash_before(before);
        }
        run.push(&RunCommit {
            time: commit.time,
            lsn: commit.lsn,
            kind: commit.kind,
            flags: commit.flags,
            ops_digest: None,
            joint: commit.joint,
            body: commit.body,
        });
    }

    fn close(&mut self, last: Seq) {
        if let Some((first, run)) = self.open.take() {
            self.done.push(NewRun { first, last, payload: run.finish() });
        }
    }

    fn finish(mut self, head: &Head) -> Vec<NewRun> {
        self.close(head.seq);
        self.done
    }
}

/// What the tail says, with the new commits: the state above the leaves.
fn tail_overlay(
    snapshot: &Snapshot,
    key: ObjectKey,
    found: Option<&FoundHead>,
    old_tail_first: Seq,
    head: &Head,
    commits: &[Commit<'_>],
) -> Result<Overlay> {
    let mut overlay = Overlay::new();
    let mut apply = |seq: Seq, flags: u8, body: &[u8]| {
        let body = Body::decode(flags, body).ok_or_else(|| bad_body(&key, seq))?;
        overlay.apply(body.ops).map_err(|_| bad_body(&key, seq))
    };
    if let (Some(found), true) = (found, head.tail_first == old_tail_first) {
        for run in tail_runs(snapshot, &key, found)? {
            for (seq, commit) in run.iter().filter(|(seq, _)| *seq >= old_tail_first) {
                apply(seq, commit.flags, commit.body)?;
            }
        }
    }
    for commit in commits.iter().filter(|commit| commit.seq >= head.tail_first) {
        apply(commit.seq, commit.flags, commit.body)?;
    }
    Ok(overlay)
}
