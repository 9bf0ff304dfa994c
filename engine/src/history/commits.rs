//! Listing an object's commits.

use std::{
    collections::VecDeque,
    ops::{Bound, RangeBounds},
};

use lineal_wal::{Micros, ObjectKey, Seq};

use super::{
    bookmark::BookmarkError,
    change,
    past::kept,
    trail::{Chunk, Trail},
};
use crate::{
    Error, Object, Result,
    lineage::walk::{Chain, Commit},
    transaction::body::{Body, Kind},
};

/// One commit of an object, without what it wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CommitInfo {
    /// Its number in the object.
    pub seq: u64,
    /// When it was made, in microseconds since the Unix epoch. Never below that of the commit before.
    pub time: Micros,
    /// What made it.
    pub kind: Kind,
    /// The cause that was given with it; empty if none was.
    pub cause: String,
    /// The chain's hash after it: covers the commit and all before it.
    pub hash: [u8; 32],
    /// Whether only this is left of it, because the retention has passed: what it wrote is gone.
    pub retired: bool,
    /// How many changes [`Object::changes`](crate::Object::changes) lists for it; 0 if it is retired.
    pub changes: u64,
    /// What its changes take in the log and in history before compression, in bytes; 0 if it is retired.
    pub bytes: u64,
    /// Its position in the log of the engine that made it.
    pub lsn: u64,
}

/// Iterates over an object's commits, newest first. Made by [`Object::history`](crate::Object::history).
///
/// Lazy: a page of a million commits reads that page. It lists what was durable when it was made; a purge meanwhile may
/// end it early. After an error it ends.
pub struct History {
    trail: Trail,
    /// What is left, both included.
    first: Seq,
    last: Seq,
    since: Option<Micros>,
    until: Option<Micros>,
    reverse: bool,
    /// Commits that were hashed together and not given out yet, in the order of the iteration.
    ready: VecDeque<CommitInfo>,
    failed: bool,
}

impl std::fmt::Debug for History {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("History")
            .field("first", &self.first)
            .field("last", &self.last)
            .finish_non_exhaustive()
    }
}

impl History {
    pub(crate) fn new(object: &Object, range: &impl RangeBounds<u64>) -> Result<History> {
        let trail = Trail::open(object)?;
        let first = match range.start_bound() {
            Bound::Unbounded => 0,
            Bound::Included(first) => *first,
            Bound::Excluded(before) => before.saturating_add(1),
        };
        let last = match range.end_bound() {
            Bound::Unbounded => u64::MAX,
            Bound::Included(last) => *last,
            Bound::Excluded(after) => after.saturating_sub(1),
        };
        let (first, last) = (trail.first().max(Seq(first)), trail.last().min(Seq(last)));
        let (ready, since, until) = (VecDeque::new(), None, None);
        Ok(History { trail, first, last, since, until, reverse: false, ready, failed: false })
    }

    /// The other way round: oldest first. Call it before the first commit is taken.
    #[must_use]
    pub fn reverse(mut self) -> Self {
        self.reverse = !self.reverse;
        self
    }

    /// Only commits made at `time` or later. Call it before the first commit is taken.
    #[must_use]
    pub fn since(mut self, time: Micros) -> Self {
        self.since = self.since.max(Some(time));
        self
    }

    /// Only commits made at `time` or before. Call it before the first commit is taken.
    #[must_use]
    pub fn until(mut self, time: Micros) -> Self {
        self.until = Some(self.until.map_or(time, |until| until.min(time)));
        self
    }

    /// Turns the bounds in time into bounds in seqs.
    fn narrow(&mut self) -> Result<()> {
        if let Some(time) = self.since.take() {
            self.first = self.trail.first_since(self.first, self.last, time)?;
        }
        if let Some(time) = self.until.take().and_then(|time| time.0.checked_add(1)) {
            let after = self.trail.first_since(self.first, self.last, Micros(time))?;
            self.last = Seq(after.0 - 1);
        }
        Ok(())
    }

    fn step(&mut self) -> Result<Option<CommitInfo>> {
        if let Some(info) = self.ready.pop_front() {
            return Ok(Some(info));
        }
        self.narrow()?;
        if self.first > self.last {
            return Ok(None);
        }
        let seq = if self.reverse { self.first } else { self.last };
        let Some(chunk) = self.trail.chunk(seq)? else { return Ok(None) };
        let infos = infos_around(&chunk, seq)?;
        let wanted = infos.into_iter().filter(|info| (self.first.0..=self.last.0).contains(&info.seq));
        if self.reverse {
            self.ready.extend(wanted);
            self.first = Seq(self.ready.back().map_or(seq.0, |info| info.seq) + 1);
        } else {
            self.ready.extend(wanted.rev());
            self.last = Seq(self.ready.back().map_or(seq.0, |info| info.seq) - 1);
        }
        Ok(self.ready.pop_front())
    }
}

impl Iterator for History {
    type Item = Result<CommitInfo>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let step = self.step();
        self.failed = step.is_err();
        step.transpose()
    }
}

/// What is to be said of all commits between the two kept hashes around `seq`, oldest first.
fn infos_around(chunk: &Chunk, seq: Seq) -> Result<Vec<CommitInfo>> {
    let (mut chain, last) = chunk.block(seq)?;
    (chain.seq.0 + 1..=last.0).map(|seq| info(&mut chain, &chunk.commit(Seq(seq)))).collect()
}

/// What is to be said of the commit `seq`, which is in the chunk.
pub(crate) fn info_of(chunk: &Chunk, seq: Seq) -> Result<CommitInfo> {
    let (mut chain, _) = chunk.block(seq)?;
    while chain.seq.0 + 1 < seq.0 {
        chain.step(&chunk.commit(Seq(chain.seq.0 + 1)))?;
    }
    info(&mut chain, &chunk.commit(seq))
}

fn info(chain: &mut Chain, commit: &Commit<'_>) -> Result<CommitInfo> {
    let body = chain.step(commit)?;
    Ok(CommitInfo {
        seq: commit.seq.0,
        time: commit.time,
        kind: Kind::from_byte(commit.kind)
            .ok_or_else(|| chain.broken(commit.seq, "its kind is not known"))?,
        cause: body.cause.to_owned(),
        hash: chain.hash,
        retired: commit.ops_digest.is_some(),
        changes: change::count(&chain.key, commit.seq, &body)?,
        bytes: body.ops.len() as u64,
        lsn: commit.lsn.0,
    })
}

/// What the commit `seq` wrote.
pub(crate) fn changes(object: &Object, seq: u64) -> Result<Vec<change::Change>> {
    let mut trail = Trail::open(object)?;
    let Some(chunk) = trail.chunk(Seq(seq))? else { return Err(no_commit(trail.key(), seq, &trail)) };
    let commit = chunk.commit(Seq(seq));
    if commit.ops_digest.is_some() {
        let (first, last) = kept(object);
        return Err(BookmarkError::TooOld { seq, first, last }.into());
    }
    let body = Body::decode(commit.flags, commit.body)
        .ok_or_else(|| crate::object::wake::bad_body(&trail.key(), commit.seq))?;
    change::changes(&trail.key(), commit.seq, &body)
}

fn no_commit(key: ObjectKey, seq: u64, trail: &Trail) -> Error {
    let (first, last) = (trail.first(), trail.last());
    let what = if first > last {
        format!("commit {seq} of object {} (it has none)", key.id)
    } else {
        format!("commit {seq} of object {} (it has {first} to {last})", key.id)
    };
    Error::NotFound { what }
}
