//! Which commits wrote a key.

use lineal_wal::Seq;

use super::{
    change,
    commits::{CommitInfo, info_of},
    trail::{Chunk, Trail},
};
use crate::{
    Object, Result,
    lineage::walk::Commit,
    object::wake::bad_body,
    transaction::{
        body::Body,
        ops::Op,
        reader::internal_key,
        tx::{SPACE_USER, over},
    },
};

/// Iterates over the commits that wrote one key, newest first. Made by [`Object::blame`](crate::Object::blame).
///
/// Lazy: it reads back through the object's history as far as it is asked to. It lists what was durable when it was made.
pub struct Blame {
    object: Object,
    trail: Trail,
    key: Vec<u8>,
    /// The newest commit that was not looked at.
    next: Seq,
    chunk: Option<Chunk>,
    failed: bool,
}

impl std::fmt::Debug for Blame {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Blame").field("next", &self.next).finish_non_exhaustive()
    }
}

/// What a commit does to a key.
enum Touch {
    No,
    /// It names the key.
    Writes,
    /// It clears or cuts a range that holds the key.
    Sweeps,
}

impl Blame {
    pub(crate) fn new(object: &Object, key: &[u8]) -> Result<Blame> {
        over("key", object.engine.options.key_bytes_max, key.len())?;
        let trail = Trail::open(object)?;
        let (next, key) = (trail.last(), internal_key(SPACE_USER, key, <[u8]>::to_vec));
        Ok(Blame { object: object.clone(), trail, key, next, chunk: None, failed: false })
    }

    /// Only commits before this one. Call it before the first commit is taken.
    #[must_use]
    pub fn before(mut self, seq: u64) -> Self {
        self.next = self.next.min(Seq(seq.saturating_sub(1)));
        self
    }

    fn step(&mut self) -> Result<Option<CommitInfo>> {
        while self.next >= self.trail.first_whole() {
            let seq = self.next;
            let chunk = match self.chunk.take().filter(|chunk| chunk.first() <= seq) {
                Some(chunk) => chunk,
                None => match self.trail.chunk(seq)? {
                    Some(chunk) => chunk,
                    None => return Ok(None),
                },
            };
            self.next = Seq(seq.0 - 1);
            let found = match self.touch(&chunk.commit(seq))? {
                Touch::No => false,
                Touch::Writes => true,
                Touch::Sweeps => self.value_at(Seq(seq.0 - 1))? != self.value_at(seq)?,
            };
            let info = if found { Some(info_of(&chunk, seq)?) } else { None };
            self.chunk = Some(chunk);
            if info.is_some() {
                return Ok(info);
            }
        }
        Ok(None)
    }

    fn touch(&self, commit: &Commit<'_>) -> Result<Touch> {
        let object = self.trail.key();
        let body = Body::decode(commit.flags, commit.body).ok_or_else(|| bad_body(&object, commit.seq))?;
        let holds = |start: &[u8], end: Option<&[u8]>| {
            start <= self.key.as_slice() && end.is_none_or(|end| self.key.as_slice() < end)
        };
        let mut touch = Touch::No;
        for op in change::ops(&object, commit.seq, &body) {
            match op? {
                Op::Put { key, .. } | Op::Delete { key } | Op::Patch { key, .. } if key == self.key => {
                    return Ok(Touch::Writes);
                }
                Op::DeleteRange { start, end } if holds(start, end) => touch = Touch::Sweeps,
                Op::Cut(cut) if holds(&cut.start, cut.end.as_deref()) => touch = Touch::Sweeps,
                _ => {}
            }
        }
        Ok(touch)
    }

    fn value_at(&self, seq: Seq) -> Result<Option<crate::Value>> {
        if seq < self.trail.first_readable() {
            return Ok(None);
        }
        self.object.at_seq(seq.0)?.get(&self.key[1..])
    }
}

impl Iterator for Blame {
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
