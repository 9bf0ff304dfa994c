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
        overlay::Overlay,
        resident::{Below, Resident, Under},
        wake::{
            FoundHead, Keep, bad_body, head_at, newest_head, read_head, read_head_alone, retry_released,
            tail_runs, unpacked_commits,
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
        Kept { version: Arc::new(Version { key, state: Resident::from_head(key, start(Seq(0))) }), snapshot }
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
    read_as(engine, key, seq, true)
}

/// As [`read`], without the hash: for a reader who names a commit by its number and gets no bookmark of it.
///
/// # Errors
/// As [`read`].
pub(crate) fn read_unhashed(engine: &EngineInner, key: ObjectKey, seq: Seq) -> Result<Kept> {
    read_as(engine, key, seq, false)
}

fn read_as(engine: &EngineInner, key: ObjectKey, seq: Seq, hashed: bool) -> Result<Kept> {
    retry_released(|| {
        // What was purged since the newest checkpoint, before the packs: that checkpoint forgets it after its own.
        if seq <= engine.purged(key) {
            return Err(absent(key, seq));
        }
        // The log before the packs: see `wake`.
        let last_lsn = engine.cell(key).last_lsn();
        let snapshot = engine.catalog.snapshot();
        let state =
            Reader { engine, snapshot: &snapshot }.state(key, Wanted::At(seq), last_lsn, hashed, 0)?;
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

/// A state in the making: what a head describes, and the commits of its tail one after the other.
pub(crate) struct Tail<'a> {
    reader: Reader<'a>,
    key: ObjectKey,
    state: Resident,
    /// The newest cut with a base. What is under it is read once, at the end: cuts may be many.
    cut: Option<(Seq, Cut)>,
    depth: usize,
}

impl<'a> Tail<'a> {
    /// The state that `head` describes without its tail.
    pub(crate) fn new(
        engine: &'a EngineInner,
        snapshot: &'a Snapshot,
        key: ObjectKey,
        head: &Head,
    ) -> Result<Tail<'a>> {
        Tail::over(Reader { engine, snapshot }, key, head, 0)
    }

    fn over(reader: Reader<'a>, key: ObjectKey, head: &Head, depth: usize) -> Result<Tail<'a>> {
        let mut cut = None;
        if let Some(HeadCut { seq, cut: of_head }) = head.cuts.last() {
            if *seq != head.era {
                let reason = format!("its head has a cut of commit {seq}, which is not its newest");
                return Err(damaged(key, reason));
            }
            // Else the tail holds the cut itself.
            cut = (head.tail_first > *seq).then(|| (*seq, of_head.clone()));
        }
        Ok(Tail { reader, key, state: Resident::from_head(key, head.clone()), cut, depth })
    }

    /// Adds what a commit did that the head counts already.
    pub(crate) fn add(&mut self, seq: Seq, flags: u8, body: &[u8]) -> Result<()> {
        let body = Body::decode(flags, body).ok_or_else(|| bad_body(&self.key, seq))?;
        self.add_ops(seq, body.ops)
    }

    fn add_ops(&mut self, seq: Seq, ops: &[u8]) -> Result<()> {
        let cuts =
            self.state.overlay.apply(ops).map_err(|error| {
                damaged(self.key, format!("the ops of commit {seq} do not apply: {error}"))
            })?;
        if cuts.iter().any(|cut| !cut.is_whole()) {
            let reason = format!("commit {seq} lets a part of the keys read through to a base");
            return Err(damaged(self.key, reason));
        }
        if let Some(cut) = cuts.into_iter().last() {
            self.cut = Some((seq, cut));
        }
        Ok(())
    }

    /// Adds a commit after those that the head counts.
    fn step(&mut self, step: &Step<'_>) -> Result<()> {
        let body = Body::decode(step.flags, step.body).ok_or_else(|| bad_body(&self.key, step.seq))?;
        self.add_ops(step.seq, body.ops)?;
        let state = &mut self.state;
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
            state.hashed = (step.seq, lineage::genesis(self.key, step.seq));
        }
        Ok(())
    }

    /// The state, with what is under it.
    pub(crate) fn finish(self) -> Result<Resident> {
        let Tail { reader, key, mut state, cut, depth } = self;
        if state.overlay.whole_cleared() {
            state.below = None;
        } else if let Some((seq, cut)) = cut {
            let version = reader.base(key, seq, &cut.base, depth)?;
            let leaves = state.below.and_then(|below| below.leaves).filter(|leaves| leaves.era == seq);
            let under = version.map(|version| Under { cut: seq, base: cut.base, version });
            state.below = Some(Box::new(Below { key, leaves, under }));
        }
        Ok(state)
    }
}

fn absent(key: ObjectKey, seq: Seq) -> Error {
    Error::NotFound { what: format!("commit {seq} of object {}", key.id) }
}

#[derive(Clone, Copy)]
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

impl<'a> Reader<'a> {
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
        let mut tail = match &found {
            Found::Head(found) => Tail::over(*self, key, &found.head, depth)?,
            Found::Start { floor } => Tail::over(*self, key, &start(*floor), depth)?,
        };
        let until = match wanted {
            Wanted::Newest => Seq(u64::MAX),
            Wanted::At(seq) => seq,
        };
        let keep = if wanted == Wanted::Newest { Keep::Not } else { Keep::Decoded };
        let runs = self.runs_for(key, &found, packed.seq.min(until), keep)?;
        let tail_first = found.tail_first();
        if depth == 0 && wanted != Wanted::Newest {
            // What becomes resident, itself or below, grows into what it needs.
            let bytes = runs.iter().map(|run| run.bytes_between(tail_first, until)).sum();
            tail.state.overlay = Overlay::with_room(bytes);
        }
        let head_seq = tail.state.seq;
        for run in &runs {
            for (seq, commit) in run.between(tail_first, until) {
                let step = Step {
                    seq,
                    lsn: commit.lsn,
                    time: commit.time,
                    kind: commit.kind,
                    flags: commit.flags,
                    body: commit.body,
                };
                if seq <= head_seq {
                    tail.add(seq, step.flags, step.body)?;
                } else {
                    tail.step(&step)?;
                }
            }
        }
        let logged = if tail.state.seq < until && last_lsn > packed.lsn {
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
            let before = tail.state.seq;
            if part.seq != Seq(before.0 + 1) {
                let reason = format!("the log goes on at seq {} and the packs end at {before}", part.seq);
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
            tail.step(&step)?;
        }
        let mut state = tail.finish()?;
        if let Wanted::At(seq) = wanted
            && (state.seq != seq || state.salt.is_none())
        {
            // There is no such commit, or it is a purge, which leaves nothing.
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
                    (Found::Head(Box::new(found)), packed)
                }
                None => (Found::Start { floor: Seq(0) }, Packed::default()),
            });
        };
        let Some(newest) = self.snapshot.newest_head_at(&key, Seq(u64::MAX))? else {
            return Ok((Found::Start { floor: Seq(0) }, Packed::default()));
        };
        let head = read_head_alone(&newest)?;
        let (floor, packed) = (head.floor, Packed { seq: head.seq, lsn: head.lsn });
        if seq <= head.unreadable() {
            return Err(absent(key, seq));
        }
        if packed.seq <= seq {
            return Ok((Found::Head(Box::new(read_head(newest, Keep::Decoded)?)), packed));
        }
        let found = head_at(self.snapshot, &key, seq, Keep::Decoded)?.filter(|found| found.head.seq >= floor);
        Ok((found.map_or(Found::Start { floor }, |found| Found::Head(Box::new(found))), packed))
    }

    /// The runs that hold the commits from the tail of what was found through `through`.
    fn runs_for(&self, key: ObjectKey, found: &Found, through: Seq, keep: Keep) -> Result<Vec<Arc<Run>>> {
        if let Found::Head(found) = found
            && found.head.seq >= through
        {
            return tail_runs(self.snapshot, &key, found, keep);
        }
        let from = found.tail_first();
        let mut runs: Vec<Arc<Run>> = Vec::new();
        for run in self.snapshot.runs(&key, from, through)? {
            // What stands behind one head may begin before what is wanted and end after it.
            let wanted = |run: &&Arc<Run>| run.last_seq() >= from && run.first_seq() <= through;
            for run in run.entry.group(keep)?.runs().iter().filter(wanted) {
                let joins = match runs.last() {
                    Some(last) => run.first_seq().0 == last.last_seq().0 + 1,
                    None => run.first_seq() <= from,
                };
                if !joins {
                    return Err(damaged(key, format!("its runs have a gap before seq {}", run.first_seq())));
                }
                runs.push(Arc::clone(run));
            }
        }
        let ends = runs.last().map_or(Seq(from.0.saturating_sub(1)), |run| run.last_seq());
        if ends < through {
            return Err(damaged(key, format!("its runs end at seq {ends} and not at {through}")));
        }
        Ok(runs)
    }

    /// The version that the cut of commit `seq` reads through to.
    fn base(&self, key: ObjectKey, seq: Seq, base: &CutBase, depth: usize) -> Result<Option<Arc<Version>>> {
        let version = match *base {
            CutBase::Nothing => return Ok(None),
            CutBase::Own { seq: base } if base >= seq.0 => {
                return Err(damaged(key, format!("commit {seq} reads through to commit {base} after it")));
            }
            CutBase::Own { seq } => self.version(key, Seq(seq), depth + 1),
            CutBase::Other { object, seq, .. } => {
                self.version(ObjectKey::from_bytes(&object), Seq(seq), depth + 1)
            }
        };
        version.map(Some).map_err(|error| match error {
            Error::NotFound { what } => {
                damaged(key, format!("commit {seq} reads through to {what}, which is gone"))
            }
            error => error,
        })
    }

    /// Computes the chain hash after the newest commit, from the nearest hash that is kept.
    fn hash(
        &self,
        state: &mut Resident,
        key: ObjectKey,
        runs: &[Arc<Run>],
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
    Head(Box<FoundHead>),
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

/// The head of an object before the first commit that is kept.
fn start(floor: Seq) -> Head {
    Head { seq: floor, floor, tail_first: Seq(floor.0 + 1), ..Head::empty() }
}

pub(crate) fn damaged(key: ObjectKey, reason: String) -> Error {
    Error::Damaged { file: "history".into(), offset: 0, object: Some(key.id.to_string()), reason }
}
