//! Writes one object's new commits into a pack: its head, its runs, and leaves when its tail is full.

use lineal_snapshot::{
    Commit as RunCommit, Kind as PartKind, PackWriter, PartSpec, RunBuilder, leaf_sub_key, run_sub_key,
};
use lineal_wal::{
    ObjectKey, Seq,
    planted::{self, Bug},
};

use super::{
    fold::{self, Folded, LeafChange, Made, delta_is_enough},
    over_base,
    window::no_head,
};
use crate::{
    Error, Result,
    catalog::Snapshot,
    engine::{EngineInner, totals::Totals},
    history::version::Tail,
    lineage::{self, Link, walk::Commit},
    object::{
        head::{DELTAS_MAX, Hash, Head, HeadCut, Leaves},
        resident::Resident,
        wake::{FoundHead, Keep, bad_body, newest_head, tail_runs},
    },
    transaction::{
        body::{Body, Kind, exists_after, whole_cut},
        ops::CutBase,
    },
};

/// Largest run before compression, in bytes, unless one commit is larger.
///
/// Source: chosen; a read of one commit decodes at most this.
const RUN_BYTES_MAX: usize = 16 << 10;
/// A version of a small object is kept at least every so many bytes of its commits, and one of a larger object every few
/// times the bytes of its leaves: a read of the past applies at most so much.
///
/// Source: measured; applying 16 KiB takes about as long as reading them, and 10 KiB of leaves for every 30 KiB of
/// commits keep history below what the log took for it.
const SPACING_BYTES_MIN: u64 = 16 << 10;
/// Source: chosen; see above.
const SPACING_LEAVES: u64 = 3;

/// Packs objects one after the other, reusing its buffers.
pub(crate) struct ObjectPacker {
    tail_bytes_max: u64,
    payload: Vec<u8>,
}

/// Largest tail that is put behind its head, in bytes: one that could not be folded may be larger.
///
/// Source: chosen; twice the usual bound.
const FOLLOWING_BYTES_MAX: u64 = 128 << 10;

/// Commits whose bodies are fetched together: they fit the first cache.
const FETCH_COMMITS: usize = 64;
/// Lines of a body that are fetched; a longer one is read in order, which processors foresee.
const FETCH_LINES: usize = 4;
/// What a processor fetches at once.
const CACHE_LINE_BYTES: usize = 64;

struct NewRun {
    first: Seq,
    last: Seq,
    payload: Vec<u8>,
}

impl ObjectPacker {
    pub(crate) fn new(tail_bytes_max: u64) -> ObjectPacker {
        ObjectPacker { tail_bytes_max, payload: Vec::new() }
    }

    /// Writes what the commits, which follow what is packed, change of the object, and counts it. Returns its new head.
    pub(crate) fn pack(
        &mut self,
        engine: &EngineInner,
        snapshot: &Snapshot,
        key: ObjectKey,
        commits: &[Commit<'_>],
        totals: &mut Totals,
        writer: &mut PackWriter,
    ) -> Result<Head> {
        let found = previous(snapshot, key, commits)?;
        let mut head = found.as_ref().map_or_else(Head::empty, |found| found.head.clone());
        let packer = Folding { engine, snapshot, key, found: found.as_ref(), commits };
        let mut runs = Runs::default();
        let mut versions: Vec<Version> = Vec::new();
        let mut made = Made::default();
        // Damage in what a fold needs leaves the tail as it is, for as long as the tail lies over it.
        let mut stuck = false;
        for (at, commit) in commits.iter().enumerate() {
            if at % FETCH_COMMITS == 0 {
                fetch(&commits[at..commits.len().min(at + FETCH_COMMITS)]);
            }
            let era = head.era;
            if link(&mut head, key, commit, &mut runs, totals)? {
                versions.clear();
            }
            if head.era != era {
                made = Made::default();
                stuck = false;
            }
            let last = at + 1 == commits.len();
            if stuck || !self.is_due(&head, last) {
                continue;
            }
            match packer.fold(&mut head, &made)? {
                Some(folded) => {
                    made.add(key, head.seq, &folded)?;
                    // Over a base a second fold would not see what this one wrote.
                    stuck = !folded.flat;
                    versions.push(Version { head: head.clone(), folded });
                }
                None => stuck = true,
            }
        }
        let runs = runs.finish(&head);
        self.write(key, &head, &runs, versions, writer)?;
        Ok(head)
    }

    /// Whether the tail is folded after this commit: at the end of the window where a wake would read too much, within
    /// it where a read of the past would, and the leaves are worth it.
    fn is_due(&self, head: &Head, last: bool) -> bool {
        let whole = head.leaves.as_ref().map_or(head.bytes, |leaves| leaves.bytes);
        let spacing = whole.saturating_mul(SPACING_LEAVES).max(SPACING_BYTES_MIN);
        if last {
            return head.tail_bytes > spacing.min(self.tail_bytes_max);
        }
        if !head.cuts.is_empty() {
            // Over a base only what becomes leaves as a whole is worth it.
            return head.tail_bytes > spacing.min(self.tail_bytes_max) && over_base::is_small(head);
        }
        let delta = head.leaves.as_ref().is_some_and(|leaves| {
            leaves.deltas.len() < DELTAS_MAX && delta_is_enough(Some(leaves), whole, head.tail_bytes)
        });
        head.tail_bytes > spacing.min(whole.max(self.tail_bytes_max))
            || (delta && head.tail_bytes > self.tail_bytes_max)
    }

    /// Writes the parts in the order of their entries: head, runs, delta, leaves.
    fn write(
        &mut self,
        key: ObjectKey,
        head: &Head,
        runs: &[NewRun],
        versions: Vec<Version>,
        writer: &mut PackWriter,
    ) -> Result<()> {
        let spec = PartSpec {
            object: key,
            kind: PartKind::Head,
            sub_key: &[],
            seq: head.seq,
            follows: false,
            end_fence: None,
        };
        let earlier = versions.iter().map(|version| &version.head).filter(|earlier| earlier.seq < head.seq);
        for head in earlier.chain([head]) {
            self.payload.clear();
            head.encode(&mut self.payload);
            writer.part(&PartSpec { seq: head.seq, ..spec }, &self.payload)?;
        }
        // A wake reads what stands behind the head in one go: only what belongs to the tail, and little of it.
        let is_tail = |run: &&NewRun| run.last >= head.tail_first && head.tail_bytes <= FOLLOWING_BYTES_MAX;
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
        for Version { head, folded } in &versions {
            if let Some(delta) = &folded.delta {
                writer.part(&PartSpec { kind: PartKind::Delta, seq: head.seq, ..spec }, delta)?;
            }
        }
        let mut leaves: Vec<(Vec<u8>, Seq, &LeafChange)> = versions
            .iter()
            .flat_map(|Version { head, folded }| {
                let sub_key = |change: &LeafChange| leaf_sub_key(head.era, &change.fence);
                folded.leaves.iter().map(move |change| (sub_key(change), head.seq, change))
            })
            .collect();
        leaves.sort_unstable_by(|a, b| (&a.0, a.1).cmp(&(&b.0, b.1)));
        for (sub_key, seq, change) in leaves {
            match &change.payload {
                Some(payload) => {
                    let end_fence = change.end.as_deref();
                    let spec = PartSpec { kind: PartKind::Leaf, sub_key: &sub_key, end_fence, seq, ..spec };
                    writer.part(&spec, payload)?;
                }
                None => writer.end_entry(key, &sub_key, seq)?,
            }
        }
        Ok(())
    }
}

/// A version of the object that is worth keeping: its head, and what its fold wrote.
struct Version {
    head: Head,
    folded: Folded,
}

/// What folding the tail of one object needs.
struct Folding<'a> {
    engine: &'a EngineInner,
    snapshot: &'a Snapshot,
    key: ObjectKey,
    /// What is packed of the object.
    found: Option<&'a FoundHead>,
    /// What follows that.
    commits: &'a [Commit<'a>],
}

impl Folding<'_> {
    /// Folds the tail. Where something that it needs is damaged the tail stays as it is: damage stops the object that
    /// it touches, and not the checkpoint of all others.
    fn fold(&self, head: &mut Head, made: &Made) -> Result<Option<Folded>> {
        let folded = self
            .tail(head)
            .and_then(|state| fold::fold(self.engine, self.snapshot, self.key, head, &state, made));
        let folded = match folded {
            Ok(folded) => folded,
            Err(error @ Error::Damaged { .. }) => {
                tracing::error!(%error, object = %self.key.id, "the tail of an object cannot be folded");
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        head.leaves =
            Some(Leaves { fold: head.seq, bytes: folded.leaf_bytes, deltas: folded.deltas.clone() });
        head.tail_first = Seq(head.seq.0 + 1);
        head.tail_bytes = 0;
        if folded.flat {
            head.cuts.clear();
        }
        Ok(Some(folded))
    }

    /// The state that the head describes: its tail as an overlay, over what lies below it.
    fn tail(&self, head: &Head) -> Result<Resident> {
        let Folding { engine, snapshot, key, .. } = *self;
        let mut tail = Tail::new(engine, snapshot, key, head)?;
        let packed = self.found.filter(|found| found.head.seq >= head.tail_first);
        if let Some(found) = packed {
            for run in tail_runs(snapshot, &key, found, Keep::Not)? {
                for (seq, commit) in run.iter().filter(|(seq, _)| *seq >= head.tail_first) {
                    tail.add(seq, commit.flags, commit.body)?;
                }
            }
        }
        // Found and not looked for: one object may have very many commits, and many folds.
        let from = self.commits.partition_point(|commit| commit.seq < head.tail_first);
        let to = self.commits.partition_point(|commit| commit.seq <= head.seq);
        for commit in &self.commits[from..to] {
            tail.add(commit.seq, commit.flags, commit.body)?;
        }
        tail.finish()
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

/// Reads a byte of each cache line of the next commits, which lie wherever the log had them: so they are fetched at once and
/// not one after the other.
fn fetch(commits: &[Commit<'_>]) {
    let lines = |commit: &Commit<'_>| {
        commit.body.chunks(CACHE_LINE_BYTES).take(FETCH_LINES).fold(0, |all, line| all | line[0])
    };
    std::hint::black_box(commits.iter().fold(0, |all, commit| all | lines(commit)));
}

/// Brings the head up to the next commit, computing the chain on the way, counts it and adds it to the runs. Returns
/// whether it was a purge, which leaves nothing of what was before it.
fn link(
    head: &mut Head,
    key: ObjectKey,
    commit: &Commit<'_>,
    runs: &mut Runs,
    totals: &mut Totals,
) -> Result<bool> {
    let body = Body::decode(commit.flags, commit.body).ok_or_else(|| bad_body(&key, commit.seq))?;
    totals.add_commit(key.namespace, commit.flags, body.delta);
    if let Some(first) = &body.first {
        head.salt = Some(first.salt);
        head.name = first.name.map(crate::sync::Arc::from);
    }
    let before = if head.seq == head.floor || planted::on(Bug::LineageSkips) {
        lineage::genesis(key, head.floor)
    } else {
        head.hash
    };
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
    let purged = kind == Some(Kind::Purge);
    if purged {
        purge(head);
        *runs = Runs::default();
    } else {
        runs.push(commit, head, before);
    }
    Ok(purged)
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
    head.headers = None;
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
