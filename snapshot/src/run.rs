//! Runs: consecutive commits of one object.
//!
//! A run knows its commits' headers and bodies, and the object's hash at some of its points: before every 32nd commit
//! and after its last. It does not know what the hashes cover or what a body says. The layout is in `format.rs`.

use crate::error::DecodeError;
use crate::sync::Arc;
use crate::wire::{Wire, put_varint, unzigzag, zigzag};
use lineal_wal::{Lsn, Micros, Seq};
use std::ops::Range;

const RUN_VERSION: u8 = 1;

/// A hash point stands before every so many commits of a run.
///
/// Source: the lineage rules; 32 hashes are recomputed at most to reach any commit.
pub const HASH_EVERY: usize = 32;

const FLAG_OPS_DIGEST: u8 = 1;
const FLAG_JOINT: u8 = 2;

/// A commit, as it goes into a run and as it comes out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Commit<'a> {
    /// When.
    pub time: Micros,
    /// Its position in the log of the engine that made it.
    pub lsn: Lsn,
    /// User, delete, restore, …; opaque here.
    pub kind: u8,
    /// Opaque here.
    pub flags: u8,
    /// Digest of the ops, where the ops themselves are gone or their digest cannot be recomputed.
    pub ops_digest: Option<[u8; 32]>,
    /// Digest over all parts of a record of several objects.
    pub joint: Option<[u8; 32]>,
    /// The rest of it (cause, ops); opaque here.
    pub body: &'a [u8],
}

/// The object's hash after the commit `after` (0 = before its first).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HashPoint {
    /// The commit that the hash is of.
    pub after: Seq,
    /// The hash.
    pub hash: [u8; 32],
}

/// Writes a run.
#[derive(Debug, Clone)]
pub struct RunBuilder {
    first_seq: Seq,
    tail_first: Seq,
    count: u32,
    hashes: Vec<(u32, [u8; 32])>,
    hash_after: Option<[u8; 32]>,
    last_time: u64,
    last_lsn: u64,
    commits: Vec<u8>,
}

impl RunBuilder {
    /// Starts a run at `first_seq`. `tail_first` is the first seq of the tail that the object has when the run ends.
    ///
    /// # Panics
    /// If `first_seq` is 0: that is no commit.
    pub fn new(first_seq: Seq, tail_first: Seq) -> Self {
        assert!(first_seq > Seq(0), "the first commit of an object is 1");
        Self {
            first_seq,
            tail_first,
            count: 0,
            hashes: Vec::new(),
            hash_after: None,
            last_time: 0,
            last_lsn: 0,
            commits: Vec::new(),
        }
    }

    /// True if a hash point belongs before the commit that is pushed next.
    pub fn wants_hash(&self) -> bool {
        self.count > 0 && (self.count as usize).is_multiple_of(HASH_EVERY)
    }

    /// Gives the object's hash before the commit that is pushed next. More points than wanted are kept too.
    ///
    /// # Panics
    /// If that commit has one already.
    pub fn push_hash_before(&mut self, hash: [u8; 32]) {
        assert!(self.hashes.last().is_none_or(|(index, _)| *index < self.count), "one hash before a commit");
        self.hashes.push((self.count, hash));
    }

    /// Appends the next commit.
    pub fn push(&mut self, commit: &Commit<'_>) {
        let digest = if commit.ops_digest.is_some() { FLAG_OPS_DIGEST } else { 0 };
        let joint = if commit.joint.is_some() { FLAG_JOINT } else { 0 };
        let out = &mut self.commits;
        out.extend_from_slice(&[digest | joint, commit.kind, commit.flags]);
        put_varint(out, zigzag(commit.time.0.wrapping_sub(self.last_time).cast_signed()));
        put_varint(out, zigzag(commit.lsn.0.wrapping_sub(self.last_lsn).cast_signed()));
        for digest in [commit.ops_digest, commit.joint].iter().flatten() {
            out.extend_from_slice(digest);
        }
        put_varint(out, commit.body.len() as u64);
        out.extend_from_slice(commit.body);
        self.last_time = commit.time.0;
        self.last_lsn = commit.lsn.0;
        self.count += 1;
    }

    /// Gives the object's hash after the last commit pushed.
    pub fn set_hash_after(&mut self, hash: [u8; 32]) {
        self.hash_after = Some(hash);
    }

    /// How many commits it has so far.
    pub fn len(&self) -> usize {
        self.count as usize
    }

    /// True if it has none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Its encoded size so far, in bytes.
    pub fn size(&self) -> usize {
        self.commits.len() + self.hashes.len() * 34 + if self.hash_after.is_some() { 32 } else { 0 } + 16
    }

    /// The last seq pushed.
    ///
    /// # Panics
    /// If it is empty.
    pub fn last_seq(&self) -> Seq {
        Seq(self.first_seq.0 + u64::from(self.count).checked_sub(1).expect("a run holds commits"))
    }

    /// The encoded run.
    ///
    /// # Panics
    /// If it is empty.
    pub fn finish(self) -> Vec<u8> {
        assert!(self.count > 0, "a run holds commits");
        let mut out = Vec::with_capacity(self.size());
        out.push(RUN_VERSION);
        put_varint(&mut out, self.first_seq.0);
        put_varint(&mut out, zigzag(self.first_seq.0.wrapping_sub(self.tail_first.0).cast_signed()));
        put_varint(&mut out, u64::from(self.count));
        put_varint(&mut out, (self.hashes.len() as u64) << 1 | u64::from(self.hash_after.is_some()));
        for (index, hash) in &self.hashes {
            put_varint(&mut out, u64::from(*index));
            out.extend_from_slice(hash);
        }
        if let Some(hash) = &self.hash_after {
            out.extend_from_slice(hash);
        }
        out.extend_from_slice(&self.commits);
        out
    }
}

/// A commit's header and where its body lies.
#[derive(Debug, Clone)]
struct RunEntry {
    time: Micros,
    lsn: Lsn,
    kind: u8,
    flags: u8,
    ops_digest: Option<u32>,
    joint: Option<u32>,
    body_start: u32,
    body_bytes: u32,
}

/// A decoded run, immutable and cheap to share.
///
/// Invariants, checked by [`decode`](Self::decode): (1) it holds at least one commit and its last seq fits; (2) hash
/// points ascend and each lies before one of its commits; (3) every offset lies inside `bytes`.
#[derive(Debug, Clone)]
pub struct Run {
    bytes: Arc<[u8]>,
    first_seq: Seq,
    tail_first: Seq,
    hashes: Vec<HashPoint>,
    hash_after: Option<[u8; 32]>,
    entries: Vec<RunEntry>,
}

fn malformed(offset: usize, reason: &'static str) -> DecodeError {
    DecodeError::Malformed { what: "run", offset, reason }
}

impl Run {
    /// Decodes and checks a run.
    ///
    /// # Errors
    /// [`DecodeError`] if any invariant does not hold. No declared size is believed before it is checked.
    pub fn decode(bytes: Arc<[u8]>) -> Result<Self, DecodeError> {
        let mut wire = Wire::new(&bytes);
        match wire.u8() {
            Some(RUN_VERSION) => {}
            None | Some(0) => return Err(malformed(0, "unknown version")),
            Some(found) => {
                return Err(DecodeError::NewerVersion {
                    what: "run",
                    found: u16::from(found),
                    known: u16::from(RUN_VERSION),
                });
            }
        }
        let header = decode_header(&mut wire).ok_or(malformed(1, "the header is cut short or impossible"))?;
        let (first_seq, tail_first, count) = (header.first_seq, header.tail_first, header.count);
        let mut entries = Vec::with_capacity(count);
        let (mut time, mut lsn) = (0u64, 0u64);
        for _ in 0..count {
            let at = wire.at();
            let entry = decode_commit(&mut wire, &mut time, &mut lsn)
                .ok_or(malformed(at, "a commit is cut short"))?;
            entries.push(entry);
        }
        if !wire.is_empty() {
            return Err(malformed(wire.at(), "bytes after the last commit"));
        }
        let (hashes, hash_after) = (header.hashes, header.hash_after);
        Ok(Self { first_seq, tail_first, hashes, hash_after, entries, bytes: bytes.clone() })
    }

    /// The seq of its first commit.
    pub fn first_seq(&self) -> Seq {
        self.first_seq
    }

    /// The seq of its last commit.
    pub fn last_seq(&self) -> Seq {
        Seq(self.first_seq.0 + (self.entries.len() as u64 - 1))
    }

    /// The first seq of the tail that the object had when the run ended.
    pub fn tail_first(&self) -> Seq {
        self.tail_first
    }

    /// How many commits it holds; never 0.
    #[expect(clippy::len_without_is_empty, reason = "a run is never empty")]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// The commit at `index`, counted from the run's first, with its seq.
    ///
    /// # Panics
    /// If there is no such commit.
    pub fn commit_at(&self, index: usize) -> (Seq, Commit<'_>) {
        let entry = &self.entries[index];
        let digest = |at: u32| -> [u8; 32] {
            let at = at as usize;
            self.bytes[at..at + 32].try_into().expect("decode() checked the range")
        };
        let commit = Commit {
            time: entry.time,
            lsn: entry.lsn,
            kind: entry.kind,
            flags: entry.flags,
            ops_digest: entry.ops_digest.map(digest),
            joint: entry.joint.map(digest),
            body: &self.bytes[self.body_range(index)],
        };
        (Seq(self.first_seq.0 + index as u64), commit)
    }

    /// The commit `seq`, if it is in this run.
    pub fn commit(&self, seq: Seq) -> Option<Commit<'_>> {
        let index = usize::try_from(seq.0.checked_sub(self.first_seq.0)?).ok()?;
        (index < self.entries.len()).then(|| self.commit_at(index).1)
    }

    /// All commits with their seqs, in both directions.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (Seq, Commit<'_>)> + ExactSizeIterator {
        (0..self.len()).map(|index| self.commit_at(index))
    }

    /// The commits from `first` to `last`, both included, as far as they are in this run.
    pub fn between(&self, first: Seq, last: Seq) -> impl Iterator<Item = (Seq, Commit<'_>)> {
        self.indexes(first, last).map(|index| self.commit_at(index))
    }

    /// Bytes that the commits from `first` to `last` take in this run, without the first one's header.
    pub fn bytes_between(&self, first: Seq, last: Seq) -> usize {
        match self.entries.get(self.indexes(first, last)) {
            Some([first, .., last]) => (last.body_start + last.body_bytes - first.body_start) as usize,
            Some([one]) => one.body_bytes as usize,
            Some([]) | None => 0,
        }
    }

    fn indexes(&self, first: Seq, last: Seq) -> Range<usize> {
        let from = first.0.saturating_sub(self.first_seq.0).min(self.entries.len() as u64);
        let to = last.0.saturating_add(1).saturating_sub(self.first_seq.0).min(self.entries.len() as u64);
        // Both are at most the length of a list in memory.
        from as usize..to as usize
    }

    /// The bytes that bodies point into; shared, so that a value can outlive a look-up without a copy.
    pub fn bytes(&self) -> &Arc<[u8]> {
        &self.bytes
    }

    /// Where the body of the commit at `index` lies in [`bytes`](Self::bytes).
    ///
    /// # Panics
    /// If there is no such commit.
    pub fn body_range(&self, index: usize) -> Range<usize> {
        let entry = &self.entries[index];
        entry.body_start as usize..entry.body_start as usize + entry.body_bytes as usize
    }

    /// The object's hash after the last commit, if the run has it.
    pub fn hash_after_last(&self) -> Option<[u8; 32]> {
        self.hash_after
    }

    /// All hash points but the one after the last commit, ascending.
    pub fn hash_points(&self) -> &[HashPoint] {
        &self.hashes
    }

    /// The newest hash point that is not after `seq`: what to start from to compute the hash after `seq`.
    pub fn nearest_hash(&self, seq: Seq) -> Option<HashPoint> {
        if let Some(hash) = self.hash_after.filter(|_| seq >= self.last_seq()) {
            return Some(HashPoint { after: self.last_seq(), hash });
        }
        let below = self.hashes.partition_point(|point| point.after <= seq);
        below.checked_sub(1).map(|index| self.hashes[index])
    }

    /// How much memory it takes, in bytes.
    pub fn memory_bytes(&self) -> usize {
        size_of::<Self>()
            + self.bytes.len()
            + self.hashes.capacity() * size_of::<HashPoint>()
            + self.entries.capacity() * size_of::<RunEntry>()
    }
}

struct RunHeader {
    first_seq: Seq,
    tail_first: Seq,
    count: usize,
    hashes: Vec<HashPoint>,
    hash_after: Option<[u8; 32]>,
}

fn decode_header(wire: &mut Wire<'_>) -> Option<RunHeader> {
    let first = wire.varint().filter(|&first| first > 0)?;
    let tail_first = first.wrapping_sub(unzigzag(wire.varint()?).cast_unsigned());
    let count = wire.varint_u32().filter(|&count| count > 0)?;
    first.checked_add(u64::from(count) - 1).filter(|last| *last < Seq::END.0)?;
    let hash_flags = wire.varint()?;
    let hash_count = usize::try_from(hash_flags >> 1).ok()?;
    // What is declared must have room in what is there, before memory is taken for it: a point takes 33 bytes, a
    // commit at least 6.
    if hash_count > wire.remaining() / 33 || count as usize > wire.remaining() / 6 {
        return None;
    }
    let mut hashes = Vec::with_capacity(hash_count);
    let mut next_index = 0;
    for _ in 0..hash_count {
        let index = wire.varint_u32().filter(|&index| index >= next_index && index < count)?;
        hashes.push(HashPoint { after: Seq(first - 1 + u64::from(index)), hash: wire.array()? });
        next_index = index + 1;
    }
    let hash_after = if hash_flags & 1 == 0 { None } else { Some(wire.array()?) };
    Some(RunHeader {
        first_seq: Seq(first),
        tail_first: Seq(tail_first),
        count: count as usize,
        hashes,
        hash_after,
    })
}

fn decode_commit(wire: &mut Wire<'_>, time: &mut u64, lsn: &mut u64) -> Option<RunEntry> {
    let [presence, kind, flags] = wire.array()?;
    if presence & !(FLAG_OPS_DIGEST | FLAG_JOINT) != 0 {
        return None;
    }
    *time = time.wrapping_add(unzigzag(wire.varint()?).cast_unsigned());
    *lsn = lsn.wrapping_add(unzigzag(wire.varint()?).cast_unsigned());
    let mut digest = |present: u8| -> Option<Option<u32>> {
        if presence & present == 0 {
            return Some(None);
        }
        let at = u32::try_from(wire.at()).ok()?;
        wire.take(32)?;
        Some(Some(at))
    };
    let ops_digest = digest(FLAG_OPS_DIGEST)?;
    let joint = digest(FLAG_JOINT)?;
    let body_bytes = wire.varint_u32()?;
    let body_start = u32::try_from(wire.at()).ok()?;
    wire.take(body_bytes as usize)?;
    Some(RunEntry {
        time: Micros(*time),
        lsn: Lsn(*lsn),
        kind,
        flags,
        ops_digest,
        joint,
        body_start,
        body_bytes,
    })
}

#[cfg(test)]
#[path = "run/tests.rs"]
mod tests;
