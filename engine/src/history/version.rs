//! The state of an object at any of its commits.
//!
//! One reader serves the newest state, for a wake, and any older one: the newest head that covers nothing later, the
//! commits after it from runs, and those that no pack holds yet from the log. A cut of everything with a base leads on to
//! the version that is read there.

use lineal_snapshot::Run;
use lineal_wal::{Lsn, Micros, ObjectKey, OwnedRecord, Seq};

use crate::{
    Error, Result,
    catalog::Snapshot,
    engine::EngineInner,
    lineage::{
        self,
        joint::Joints,
        walk::{Chain, Commit},
    },
    object::{
        head::{Head, HeadCut},
        resident::{Below, Resident, Under},
        wake::{
            FoundHead, bad_body, head_at, newest_head, read_runs, retry_released, tail_runs, unpacked_commits,
        },
    },
    sync::Arc,
    transaction::{
        body::{Body, Kind, exists_after},
        ops::{Cut, CutBase},
    },
};

/// How many versions may lie under one another before that is taken for damage.
///
/// Source: chosen; twice what a commit makes, see [`DEPTH_MAX`].
const DEPTH_LIMIT: usize = 2 * DEPTH_MAX;
/// Chains of versions under one another as deep as this get no deeper: a restore copies instead.
///
/// Source: chosen; each costs a point read a lookup, and the checkpoint works chains of a few into leaves.
pub(crate) const DEPTH_MAX: usize = 32;

/// The state of an object after one of its commits. It never changes.
pub(crate) struct Version {
    pub(crate) key: ObjectKey,
    pub(crate) state: Resident,
}

impl Version {
    /// How many versions lie under this one.
    pub(crate) fn depth(&self) -> usize {
        depth(&self.state)
    }
}

/// How many versions lie under a state.
pub(crate) fn depth(state: &Resident) -> usize {
    let mut depth = 0;
    let mut under = state.under();
    while let Some(next) = under {
        depth += 1;
        under = next.version.state.under();
    }
    depth
}

/// A version that may be read for as long as this lives: compaction takes nothing away under it.
#[derive(Clone)]
pub(crate) struct Kept {
    pub(crate) version: Arc<Version>,
    pub(crate) snapshot: Snapshot,
}

impl Kept {
    /// The object before its first commit.
    pub(crate) fn nothing(key: ObjectKey, snapshot: Snapshot) -> Kept {
        Kept { version: Arc::new(Version { key, state: start(key, Seq(0)) }), snapshot }
    }
}

/// Which version is wanted.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wanted {
    Newest,
    At(Seq),
}

/// Reads the state of `key` after its commit `seq`, with the chain hash of that commit. It need not be durable yet.
///
/// # Errors
/// [`Error::NotFound`] if there is no such commit, or if it is not kept; [`Error::Damaged`].
pub(crate) fn read(engine: &EngineInner, key: ObjectKey, seq: Seq) -> Result<Kept> {
    retry_released(|| {
        // What was purged since the newest checkpoint, before the packs: that checkpoint forgets it after its own.
        if seq <= engine.purged(key) {
            return Err(absent(key, seq));
        }
        // The log before the packs: see `wake`.
        let last_lsn = engine.cell(key).last_lsn();
        let snapshot = engine.catalog.snapshot();
        let state = Reader { engine, snapshot: &snapshot }.state(key, Wanted::At(seq), last_lsn, true, 0)?;
        Ok(Kept { version: Arc::new(Version { key, state }), snapshot })
    })
}

/// Reads the newest state of `key`, whose newest commit is at `last_lsn`. The caller holds the object's turn.
pub(crate) fn newest(
    engine: &EngineInner,
    snapshot: &Snapshot,
    key: ObjectKey,
    last_lsn: Lsn,
) -> Result<Resident> {
    Reader { engine, snapshot }.state(key, Wanted::Newest, last_lsn, false, 0)
}

/// What lies below the tail of `head`: its leaves and the version under its cut, if the tail does not hold the cut.
pub(crate) fn below_head(
    engine: &EngineInner,
    snapshot: &Snapshot,
    key: ObjectKey,
    head: &Head,
) -> Result<Option<Box<Below>>> {
    let mut state = Resident::from_head(key, head.clone());
    Reader { engine, snapshot }.put_cut_under(&mut state, key, head, 0)?;
    Ok(state.below)
}

/// The tail of a head with the commits that follow it, put over `below`: what a checkpoint folds.
pub(crate) fn with_tail(
    engine: &EngineInner,
    snapshot: &Snapshot,
    key: ObjectKey,
    state: &mut Resident,
    seq: Seq,
    flags: u8,
    body: &[u8],
) -> Result<()> {
    let body = Body::decode(flags, body).ok_or_else(|| bad_body(&key, seq))?;
    Reader { engine, snapshot }.apply_ops(state, key, seq, body.ops, 0)
}

fn absent(key: ObjectKey, seq: Seq) -> Error {
    Error::NotFound { what: format!("commit {seq} of object {}", key.id) }
}

struct Reader<'a> {
    engine: &'a EngineInner,
    snapshot: &'a Snapshot,
}

/// One commit, from a run or from the log.
struct Step<'a> {
    seq: Seq,
    lsn: Lsn,
    time: Micros,
    kind: u8,
    flags: u8,
    body: &'a [u8],
}

impl Reader<'_> {
    fn version(&self, key: ObjectKey, seq: Seq, depth: usize) -> Result<Arc<Version>> {
        let last_lsn = self.engine.cell(key).last_lsn();
        let state = self.state(key, Wanted::At(seq), last_lsn, false, depth)?;
        Ok(Arc::new(Version { key, state }))
    }

    fn state(
        &self,
        key: ObjectKey,
        wanted: Wanted,
        last_lsn: Lsn,
        hashed: bool,
        depth: usize,
    ) -> Result<Resident> {
        if depth > DEPTH_LIMIT {
            return Err(damaged(
                key,
                format!("more than {DEPTH_LIMIT} versions of it lie under one another"),
            ));
        }
        let (found, packed) = self.head_for(key, wanted)?;
        let mut state = match &found {
            Found::Head(found) => {
                let mut state = Resident::from_head(key, found.head.clone());
                self.put_cut_under(&mut state, key, &found.head, depth)?;
                state
            }
            Found::Start { floor } => start(key, *floor),
        };
        let until = match wanted {
            Wanted::Newest => Seq(u64::MAX),
            Wanted::At(seq) => seq,
        };
        let runs = self.runs_for(key, &found, packed.seq.min(until))?;
        let tail_first = found.tail_first();
        let head_seq = state.seq;
        for run in &runs {
            for (seq, commit) in run.iter().filter(|(seq, _)| *seq >= tail_first && *seq <= until) {
                let step = Step {
                    seq,
                    lsn: commit.lsn,
                    time: commit.time,
                    kind: commit.kind,
                    flags: commit.flags,
                    body: commit.body,
                };
                if seq <= head_seq {
                    let body = Body::decode(step.flags, step.body).ok_or_else(|| bad_body(&key, seq))?;
                    self.apply_ops(&mut state, key, seq, body.ops, depth)?;
                } else {
                    self.apply(&mut state, key, &step, depth)?;
                }
            }
        }
        let logged = if state.seq < until && last_lsn > packed.lsn {
            unpacked_commits(self.engine, key, last_lsn, packed.lsn)?
        } else {
            Vec::new()
        };
        for (record, at) in &logged {
            let record = record.as_record();
            let part = record.parts().nth(*at).expect("the part was found by its place");
            if part.seq > until {
                break;
            }
            if part.seq != Seq(state.seq.0 + 1) {
                let reason =
                    format!("the log goes on at seq {} and the packs end at {}", part.seq, state.seq);
                return Err(damaged(key, reason));
            }
            let step = Step {
                seq: part.seq,
                lsn: record.lsn,
                time: record.time,
                kind: part.kind,
                flags: part.flags,
                body: part.body,
            };
            self.apply(&mut state, key, &step, depth)?;
        }
        if state.overlay.whole_cleared() {
            state.below = None;
        }
        if let Wanted::At(seq) = wanted
            && state.seq != seq
        {
            return Err(absent(key, seq));
        }
        if hashed {
            self.hash(&mut state, key, &runs, &logged)?;
        }
        Ok(state)
    }

    /// The head to start from, and what the newest head covers.
    fn head_for(&self, key: ObjectKey, wanted: Wanted) -> Result<(Found, Packed)> {
        let Wanted::At(seq) = wanted else {
            return Ok(match newest_head(self.snapshot, &key)? {
                Some(found) => {
                    let packed = Packed { seq: found.head.seq, lsn: found.head.lsn };
                    (Found::Head(found), packed)
                }
                None => (Found::Start { floor: Seq(0) }, Packed::default()),
            });
        };
        let Some(newest) = newest_head(self.snapshot, &key)? else {
            return Ok((Found::Start { floor: Seq(0) }, Packed::default()));
        };
        let packed = Packed { seq: newest.head.seq, lsn: newest.head.lsn };
        if newest.head.seq <= seq {
            return Ok((Found::Head(newest), packed));
        }
        let floor = newest.head.floor;
        if seq <= floor {
            return Err(absent(key, seq));
        }
        let found = head_at(self.snapshot, &key, seq)?.filter(|found| found.head.seq >= floor);
        Ok((found.map_or(Found::Start { floor }, Found::Head), packed))
    }

    /// The runs that hold the commits from the tail of what was found through `through`.
    fn runs_for(&self, key: ObjectKey, found: &Found, through: Seq) -> Result<Vec<Run>> {
        if let Found::Head(found) = found
            && found.head.seq >= through
        {
            return tail_runs(self.snapshot, &key, found);
        }
        let from = found.tail_first();
        let mut runs: Vec<Run> = Vec::new();
        for run in self.snapshot.runs(&key, from, through)? {
            for run in read_runs(&run)? {
                // What stands behind one head may begin before what is wanted and end after it.
                if run.last_seq() < from || run.first_seq() > through {
                    continue;
                }
                let joins = match runs.last() {
                    Some(last) => run.first_seq().0 == last.last_seq().0 + 1,
                    None => run.first_seq() <= from,
                };
                if !joins {
                    return Err(damaged(key, format!("its runs have a gap before seq {}", run.first_seq())));
                }
                runs.push(run);
            }
        }
        let ends = runs.last().map_or(Seq(from.0.saturating_sub(1)), Run::last_seq);
        if ends < through {
            return Err(damaged(key, format!("its runs end at seq {ends} and not at {through}")));
        }
        Ok(runs)
    }

    /// Puts the version under a head's cut below its leaves, unless the tail holds the cut itself.
    fn put_cut_under(&self, state: &mut Resident, key: ObjectKey, head: &Head, depth: usize) -> Result<()> {
        let Some(HeadCut { seq, cut }) = head.cuts.last() else { return Ok(()) };
        if *seq != head.era {
            return Err(damaged(key, format!("its head has a cut of commit {seq}, which is not its newest")));
        }
        if head.tail_first > *seq {
            self.put_under(state, key, *seq, cut, depth)?;
        }
        Ok(())
    }

    fn put_under(
        &self,
        state: &mut Resident,
        key: ObjectKey,
        seq: Seq,
        cut: &Cut,
        depth: usize,
    ) -> Result<()> {
        if !cut.is_whole() {
            return Err(damaged(key, format!("commit {seq} lets a part of its keys read through to a base")));
        }
        let version = match cut.base {
            CutBase::Nothing => return Ok(()),
            CutBase::Own { seq: base } if base >= seq.0 => {
                return Err(damaged(key, format!("commit {seq} reads through to commit {base} after it")));
            }
            CutBase::Own { seq } => self.version(key, Seq(seq), depth + 1),
            CutBase::Other { object, seq, .. } => {
                self.version(ObjectKey::from_bytes(&object), Seq(seq), depth + 1)
            }
        };
        let version = version.map_err(|error| match error {
            Error::NotFound { what } => {
                damaged(key, format!("commit {seq} reads through to {what}, which is gone"))
            }
            error => error,
        })?;
        let under = Under { cut: seq, base: cut.base, version };
        let leaves = state.below.take().and_then(|below| below.leaves).filter(|leaves| leaves.era == seq);
        state.below = Some(Box::new(Below { key, leaves, under: Some(under) }));
        Ok(())
    }

    fn apply_ops(
        &self,
        state: &mut Resident,
        key: ObjectKey,
        seq: Seq,
        ops: &[u8],
        depth: usize,
    ) -> Result<()> {
        let cuts = state
            .overlay
            .apply(ops)
            .map_err(|error| damaged(key, format!("the ops of commit {seq} do not apply: {error}")))?;
        for cut in &cuts {
            self.put_under(state, key, seq, cut, depth)?;
        }
        Ok(())
    }

    fn apply(&self, state: &mut Resident, key: ObjectKey, step: &Step<'_>, depth: usize) -> Result<()> {
        let body = Body::decode(step.flags, step.body).ok_or_else(|| bad_body(&key, step.seq))?;
        self.apply_ops(state, key, step.seq, body.ops, depth)?;
        let kind = Kind::from_byte(step.kind);
        state.seq = step.seq;
        state.last_lsn = step.lsn;
        state.last_time = step.time;
        state.bytes = state.bytes.saturating_add_signed(body.delta);
        state.exists = exists_after(kind, step.flags, state.exists);
        if let Some(first) = body.first {
            state.salt = Some(first.salt);
            state.name = first.name.map(Arc::from);
        }
        if kind == Some(Kind::Purge) {
            state.salt = None;
            state.name = None;
            state.hashed = (step.seq, lineage::genesis(key, step.seq));
        }
        Ok(())
    }

    /// Computes the chain hash after the newest commit, from the nearest hash that is kept.
    fn hash(
        &self,
        state: &mut Resident,
        key: ObjectKey,
        runs: &[Run],
        logged: &[(OwnedRecord, usize)],
    ) -> Result<()> {
        if state.hashed.0 == state.seq {
            return Ok(());
        }
        for run in runs {
            if let Some(point) = run.nearest_hash(state.seq)
                && point.after > state.hashed.0
            {
                state.hashed = (point.after, point.hash);
            }
        }
        let mut chain = Chain { key, seq: state.hashed.0, hash: state.hashed.1, salt: state.salt };
        for run in runs {
            for seq in run.first_seq().0.max(chain.seq.0 + 1)..=run.last_seq().0.min(state.seq.0) {
                let commit = run.commit(Seq(seq)).ok_or_else(|| bad_body(&key, Seq(seq)))?;
                chain.step(&Commit::of_run(Seq(seq), &commit))?;
            }
        }
        let mut joints = Joints::default();
        for (record, at) in logged {
            let joint = joints.of(self.engine, self.snapshot, record)?;
            let commit = Commit::of_record(record, *at, joint);
            if commit.seq > chain.seq && commit.seq <= state.seq {
                chain.step(&commit)?;
            }
        }
        state.hashed = (chain.seq, chain.hash);
        if state.hashed.0 != state.seq {
            return Err(damaged(key, format!("no hash is kept from which commit {} verifies", state.seq)));
        }
        Ok(())
    }
}

/// What the newest head covers.
#[derive(Clone, Copy, Default)]
struct Packed {
    seq: Seq,
    lsn: Lsn,
}

/// Where reading a version starts.
enum Found {
    Head(FoundHead),
    /// No head is early enough: before the first commit that is kept.
    Start {
        floor: Seq,
    },
}

impl Found {
    fn tail_first(&self) -> Seq {
        match self {
            Found::Head(found) => found.head.tail_first,
            Found::Start { floor } => Seq(floor.0 + 1),
        }
    }
}

/// The state before the first commit that is kept.
fn start(key: ObjectKey, floor: Seq) -> Resident {
    let head = Head { seq: floor, floor, tail_first: Seq(floor.0 + 1), ..Head::empty() };
    Resident::from_head(key, head)
}

pub(crate) fn damaged(key: ObjectKey, reason: String) -> Error {
    Error::Damaged { file: "history".into(), offset: 0, object: Some(key.id.to_string()), reason }
}
