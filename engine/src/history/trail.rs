//! The durable commits of one object, found by seq, a piece at a time: from the runs in packs, and from the log what no
//! pack holds yet.
//!
//! No turn is taken: what is durable does not change. A trail keeps the packs it was opened over; where a checkpoint
//! releases the log under it, it is opened again and finds the commits in packs.

use lineal_snapshot::Run;
use lineal_wal::{Lsn, Micros, ObjectKey, OwnedRecord, Seq};

use crate::{
    Error, Object, Result,
    catalog::Snapshot,
    lineage::{
        joint::Joints,
        walk::{Chain, Commit},
    },
    object::{
        head::{Hash, Head},
        wake::{logged_commit, newest_head, read_runs, retry_released},
    },
    sync::Arc,
    transaction::body::Kind,
};

/// Commits of the log that are read together, at most: as many as lie between two hashes of a run.
const LOGGED_MAX: usize = lineal_snapshot::HASH_EVERY;
/// The same in bytes of their records, unless one is larger.
///
/// Source: chosen.
const LOGGED_BYTES_MAX: usize = 1 << 20;

/// See the head of this file.
pub(crate) struct Trail {
    object: Object,
    read: Read,
}

/// What was found when the trail was opened, or opened again.
struct Read {
    snapshot: Snapshot,
    /// Where the chain starts: nothing up to there is left.
    start: Chain,
    /// Where the retention has passed: the commit before the first whole one, and its time.
    anchor: Option<(Seq, Micros)>,
    /// After the newest commit in the packs.
    packed: Chain,
    /// Runs that were read last.
    runs: Vec<Arc<Run>>,
    /// Positions of the commits that follow, oldest first.
    logged: Vec<Lsn>,
    /// The same in pieces.
    pieces: Vec<Piece>,
    /// The chain before the first pieces, as far as it was walked.
    walked: Vec<Chain>,
    joints: Joints,
}

/// Commits of the log that are read together: places in the list of all of them.
#[derive(Clone, Copy)]
struct Piece {
    from: usize,
    to: usize,
}

/// Consecutive commits, in memory.
pub(crate) enum Chunk {
    /// A run, and the chain's start.
    Run(Arc<Run>, Chain),
    /// Records with the place of the object's part and their joint digests, and the chain before them.
    Logged(Vec<(OwnedRecord, usize, Option<Hash>)>, Chain),
}

impl Trail {
    /// The object's commits that are durable now.
    pub(crate) fn open(object: &Object) -> Result<Trail> {
        object.namespace.check()?;
        let read = retry_released(|| Read::open(object))?;
        Ok(Trail { object: object.clone(), read })
    }

    pub(crate) fn key(&self) -> ObjectKey {
        self.object.cell.key
    }

    /// The first commit of which at least the header is kept.
    pub(crate) fn first(&self) -> Seq {
        Seq(self.read.start.seq.0 + 1)
    }

    /// The first commit that is kept with what it wrote.
    pub(crate) fn first_whole(&self) -> Seq {
        self.read.anchor.map_or(self.first(), |(seq, _)| Seq(seq.0 + 1))
    }

    /// The first commit after which the state can be read: the one before [`first_whole`](Trail::first_whole), where the
    /// retention has passed.
    pub(crate) fn first_readable(&self) -> Seq {
        self.read.anchor.map_or(self.first(), |(seq, _)| seq)
    }

    /// The commit before [`first_whole`](Trail::first_whole), if it can be read and was made at `time` or before.
    pub(crate) fn anchored_at(&self, time: Micros) -> Option<Seq> {
        self.read.anchor.filter(|(_, made)| *made <= time).map(|(seq, _)| seq)
    }

    /// The newest commit; below [`first`](Trail::first) if there is none.
    pub(crate) fn last(&self) -> Seq {
        Seq(self.read.packed.seq.0 + self.read.logged.len() as u64)
    }

    /// The commits around `seq`; `None` if there is no such commit, or it was purged meanwhile.
    pub(crate) fn chunk(&mut self, seq: Seq) -> Result<Option<Chunk>> {
        let Trail { object, read } = self;
        let mut stale = false;
        retry_released(|| {
            object.engine.check_open()?;
            if std::mem::replace(&mut stale, true) {
                *read = Read::open(object)?;
            }
            read.chunk(object, seq)
        })
    }

    /// The first commit in `first ..= last` that was made at `time` or later; the one after `last` if none was. Times
    /// never fall from one commit to the next.
    pub(crate) fn first_since(&mut self, first: Seq, last: Seq, time: Micros) -> Result<Seq> {
        self.first_where(first, last, |commit| commit.time >= time)
    }

    /// The first commit in `first ..= last` of which `is` holds, where it holds of all after it; the one after `last` if
    /// there is none.
    pub(crate) fn first_where(
        &mut self,
        first: Seq,
        last: Seq,
        is: impl Fn(&Commit<'_>) -> bool,
    ) -> Result<Seq> {
        let (mut low, mut high) = (first.0, last.0.saturating_add(1).max(first.0));
        while low < high {
            let middle = low + (high - low) / 2;
            match self.chunk(Seq(middle))? {
                Some(chunk) if is(&chunk.commit(Seq(middle))) => high = middle,
                _ => low = middle + 1,
            }
        }
        Ok(Seq(low))
    }
}

impl Read {
    fn open(object: &Object) -> Result<Read> {
        let (engine, key) = (&object.engine, object.cell.key);
        engine.check_open()?;
        // What was purged since the newest checkpoint, before the packs: that checkpoint forgets it after its own.
        let purged = engine.purged(key);
        // The log before the packs: what is packed after the snapshot was taken is still in the log for one more checkpoint.
        let last_lsn = object.cell.last_lsn();
        let durable = engine.log.durable();
        let snapshot = engine.catalog.snapshot();
        let head = newest_head(&snapshot, &key)?.map_or_else(Head::empty, |found| found.head);
        let mut start =
            if purged > head.floor { Chain::at_genesis(key, purged) } else { Chain::at_start(key, &head) };
        let mut anchor = head.anchor.as_ref().map(|anchor| (anchor.seq, anchor.time));
        anchor.take_if(|(seq, _)| *seq <= head.floor.max(purged));
        let mut packed = start.clone();
        if head.seq > start.seq {
            start.salt = head.salt;
            packed = Chain { key, seq: head.seq, hash: head.hash, salt: head.salt };
        }
        let mut logged = Vec::new();
        let mut sizes = Vec::new();
        let mut lsn = last_lsn;
        while lsn > head.lsn {
            let (record, at) = logged_commit(engine, key, lsn)?;
            let part = record.as_record().parts().nth(at).expect("the part was found by its place");
            if Kind::from_byte(part.kind) == Some(Kind::Purge) {
                start = Chain::at_genesis(key, part.seq);
                packed = start.clone();
                anchor = None;
                break;
            }
            if lsn <= durable {
                logged.push(lsn);
                sizes.push(record.as_record().bytes());
            }
            lsn = part.prev_lsn;
        }
        logged.reverse();
        sizes.reverse();
        let walked = vec![packed.clone()];
        let pieces = pieces(&sizes);
        let (runs, joints) = (Vec::new(), Joints::default());
        Ok(Read { snapshot, start, anchor, packed, runs, logged, pieces, walked, joints })
    }

    fn chunk(&mut self, object: &Object, seq: Seq) -> Result<Option<Chunk>> {
        if seq <= self.start.seq {
            return Ok(None);
        }
        if seq <= self.packed.seq {
            return self.run(seq).map(|run| Some(Chunk::Run(run, self.start.clone())));
        }
        let at = seq.0 - self.packed.seq.0 - 1;
        let piece = self.pieces.partition_point(|piece| piece.to as u64 <= at);
        if piece == self.pieces.len() {
            return Ok(None);
        }
        while self.walked.len() <= piece {
            let at = self.walked.len() - 1;
            let records = self.records(object, self.pieces[at])?;
            let mut chain = self.walked[at].clone();
            for (record, part, joint) in &records {
                chain.step(&Commit::of_record(record, *part, *joint))?;
            }
            self.walked.push(chain);
        }
        let records = self.records(object, self.pieces[piece])?;
        Ok(Some(Chunk::Logged(records, self.walked[piece].clone())))
    }

    /// The run that holds `seq`.
    fn run(&mut self, seq: Seq) -> Result<Arc<Run>> {
        let holds = |run: &&Arc<Run>| run.first_seq() <= seq && seq <= run.last_seq();
        if let Some(run) = self.runs.iter().find(holds) {
            return Ok(Arc::clone(run));
        }
        self.runs.clear();
        for found in self.snapshot.runs(&self.start.key, seq, seq)? {
            self.runs.extend(read_runs(&found)?.into_iter().map(Arc::new));
        }
        let found = self.runs.iter().find(holds);
        found.map(Arc::clone).ok_or_else(|| Error::Damaged {
            file: "packs".into(),
            offset: 0,
            object: Some(self.start.key.id.to_string()),
            reason: format!("commit {seq} of it is in no pack"),
        })
    }

    fn records(&mut self, object: &Object, piece: Piece) -> Result<Vec<(OwnedRecord, usize, Option<Hash>)>> {
        let engine = &object.engine;
        let mut records = Vec::with_capacity(piece.to - piece.from);
        for lsn in &self.logged[piece.from..piece.to] {
            let (record, at) = logged_commit(engine, self.start.key, *lsn)?;
            let joint = self.joints.of(engine, &self.snapshot, &record)?;
            records.push((record, at, joint));
        }
        Ok(records)
    }
}

/// Cuts records of these sizes into pieces.
fn pieces(sizes: &[usize]) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let (mut from, mut bytes) = (0, 0);
    for (at, size) in sizes.iter().enumerate() {
        if at > from && (at - from == LOGGED_MAX || bytes + size > LOGGED_BYTES_MAX) {
            pieces.push(Piece { from, to: at });
            (from, bytes) = (at, 0);
        }
        bytes += size;
    }
    if from < sizes.len() {
        pieces.push(Piece { from, to: sizes.len() });
    }
    pieces
}

impl Chunk {
    pub(crate) fn first(&self) -> Seq {
        match self {
            Chunk::Run(run, start) => run.first_seq().max(Seq(start.seq.0 + 1)),
            Chunk::Logged(_, before) => Seq(before.seq.0 + 1),
        }
    }

    pub(crate) fn last(&self) -> Seq {
        match self {
            Chunk::Run(run, _) => run.last_seq(),
            Chunk::Logged(records, before) => Seq(before.seq.0 + records.len() as u64),
        }
    }

    /// The commit `seq`.
    ///
    /// # Panics
    /// If it is not in this chunk.
    pub(crate) fn commit(&self, seq: Seq) -> Commit<'_> {
        match self {
            Chunk::Run(run, _) => {
                Commit::of_run(seq, &run.commit(seq).expect("the caller has looked at the bounds"))
            }
            Chunk::Logged(records, before) => {
                let at = usize::try_from(seq.0 - before.seq.0 - 1).expect("a chunk is in memory");
                let (record, part, joint) = &records[at];
                Commit::of_record(record, *part, *joint)
            }
        }
    }

    /// The chain as it stands at the nearest hash that is kept before `seq`, and the last commit before the next such
    /// hash: what is to be walked to know the hashes of all commits in between.
    pub(crate) fn block(&self, seq: Seq) -> Result<(Chain, Seq)> {
        match self {
            Chunk::Logged(_, before) => Ok((before.clone(), self.last())),
            Chunk::Run(run, start) => {
                let points = run.hash_points();
                let next = points.partition_point(|point| point.after < seq);
                let last = points.get(next).map_or(run.last_seq(), |point| point.after);
                let before = match next.checked_sub(1).map(|at| points[at]) {
                    Some(point) => Chain { seq: point.after, hash: point.hash, ..start.clone() },
                    // The first run of a chain keeps no hash before it.
                    None if run.first_seq().0 == start.seq.0 + 1 => start.clone(),
                    None => return Err(start.broken(run.first_seq(), "the run keeps no hash before it")),
                };
                Ok((before, last))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_bounded_in_commits_and_in_bytes_and_hold_everything() {
        let of =
            |sizes: &[usize]| pieces(sizes).iter().map(|piece| (piece.from, piece.to)).collect::<Vec<_>>();
        assert_eq!(of(&[]), []);
        assert_eq!(of(&[1; 33]), [(0, 32), (32, 33)]);
        let large = LOGGED_BYTES_MAX + 1;
        assert_eq!(of(&[large, 1, LOGGED_BYTES_MAX, large]), [(0, 1), (1, 2), (2, 3), (3, 4)]);
    }
}
