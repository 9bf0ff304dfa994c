//! The head of an object: what the newest pack that touched it says of the object as a whole.
//!
//! ```text
//! Head payload, little-endian; "v" is a LEB128 varint.
//! size  field
//!    1  layout, 1
//!    1  flags: 1 exists, 2 salted, 4 named, 8 has leaves, 16 anchored, 32 has headers
//!    v  lsn of the newest commit covered (its seq is the entry's)
//!    v  time of that commit, µs since the Unix epoch
//!    v  floor: seq of the newest purge, 0 if none; nothing up to it is left
//!    v  user bytes: keys and values, exact without leaves, else an upper bound
//!   32  chain hash after that commit
//!   16  salt, if salted
//!    v  name length and name, if named
//!    v  first seq of the tail (seq + 1 if the tail is empty)
//!    v  bytes of the tail's commit bodies
//!    v  era: seq of the newest whole-range cut, 0 if none
//!       if it has leaves:
//!    v    fold: seq up to which leaves and deltas hold the state
//!    v    bytes of the newest version of all leaves
//!    v    number of delta leaves (at most 4), then for each, oldest first: v seq, v bytes
//!    v  number of cuts (at most 64), then for each: v seq, the cut as in `ops.rs`
//!       if anchored: v seq, v time, v count, 32 hash, 32 state digest
//!       if it has headers: v seq, 32 hash: runs without ops hold the headers of the commits after it, up to the anchor
//! A head is valid iff every field lies inside the payload, nothing follows the last one, counts are in
//! bounds, floor <= seq, floor < tail first <= seq + 1, and no other seq in it is above the entry's. The part's own
//! checksum binds it to object and seq.
//! ```
//!
//! A head is small because a million of them are what a million idle objects cost. The chain hash after the
//! newest commit stands here and not in the run that ends with it.

use lineal_wal::{Lsn, Micros, Seq};

use crate::{
    sync::Arc,
    transaction::ops::{Cut, get_varint, put_cut, put_varint, read_cut},
};

/// Most delta leaves that lie over an object's leaves.
///
/// Source: specified; each costs a point read one more block.
pub(crate) const DELTAS_MAX: usize = 4;
/// Most cuts that a head holds.
///
/// Source: specified.
pub(crate) const CUTS_MAX: usize = 64;

const LAYOUT: u8 = 1;
const EXISTS: u8 = 1;
const SALTED: u8 = 2;
const NAMED: u8 = 4;
const LEAVES: u8 = 8;
const ANCHORED: u8 = 16;
const HEADERS: u8 = 32;

/// The hash of a commit, and of all before it.
pub(crate) type Hash = [u8; 32];

/// See the head of this file.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Head {
    pub(crate) seq: Seq,
    pub(crate) lsn: Lsn,
    pub(crate) time: Micros,
    pub(crate) exists: bool,
    /// Seq of the newest purge; nothing up to it is left.
    pub(crate) floor: Seq,
    pub(crate) bytes: u64,
    pub(crate) hash: Hash,
    pub(crate) salt: Option<[u8; 16]>,
    pub(crate) name: Option<Arc<str>>,
    pub(crate) tail_first: Seq,
    pub(crate) tail_bytes: u64,
    pub(crate) era: Seq,
    pub(crate) leaves: Option<Leaves>,
    pub(crate) cuts: Vec<HeadCut>,
    pub(crate) anchor: Option<Anchor>,
    /// Where the headers begin that are kept of commits up to the anchor.
    pub(crate) headers: Option<Headers>,
}

/// From `seq` on, a key range reads through to a base.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct HeadCut {
    pub(crate) seq: Seq,
    pub(crate) cut: Cut,
}

/// What lies below an object's tail.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Leaves {
    /// Seq up to which leaves and deltas together hold the state.
    pub(crate) fold: Seq,
    /// Bytes of the newest version of all leaves, uncompressed.
    pub(crate) bytes: u64,
    /// Delta leaves, oldest first: seq and uncompressed bytes.
    pub(crate) deltas: Vec<(Seq, u64)>,
}

/// Where a chain starts whose older commits are gone.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Anchor {
    pub(crate) seq: Seq,
    pub(crate) time: Micros,
    pub(crate) count: u64,
    pub(crate) hash: Hash,
    pub(crate) state: Hash,
}

/// The commit before the first whose header is kept without its ops, and its hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Headers {
    pub(crate) seq: Seq,
    pub(crate) hash: Hash,
}

/// Why bytes are no head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BadHead(pub(crate) &'static str);

impl Head {
    /// The head of an object that has no commit yet, or none that is packed.
    pub(crate) fn empty() -> Head {
        Head {
            seq: Seq(0),
            lsn: Lsn(0),
            time: Micros(0),
            exists: false,
            floor: Seq(0),
            bytes: 0,
            hash: [0; 32],
            salt: None,
            name: None,
            tail_first: Seq(1),
            tail_bytes: 0,
            era: Seq(0),
            leaves: None,
            cuts: Vec::new(),
            anchor: None,
            headers: None,
        }
    }

    /// Nothing at or before this commit can be read: the newest purge, or what the retention has passed.
    pub(crate) fn unreadable(&self) -> Seq {
        self.anchor.as_ref().map_or(self.floor, |anchor| self.floor.max(Seq(anchor.seq.0.saturating_sub(1))))
    }

    /// The last commit of which nothing is kept, not even its header.
    pub(crate) fn before_runs(&self) -> Seq {
        match (&self.anchor, &self.headers) {
            (Some(_), Some(headers)) => self.floor.max(headers.seq),
            (Some(anchor), None) => self.floor.max(anchor.seq),
            (None, _) => self.floor,
        }
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        let flag = |yes: bool, bit: u8| if yes { bit } else { 0 };
        out.push(LAYOUT);
        out.push(
            flag(self.exists, EXISTS)
                | flag(self.salt.is_some(), SALTED)
                | flag(self.name.is_some(), NAMED)
                | flag(self.leaves.is_some(), LEAVES)
                | flag(self.anchor.is_some(), ANCHORED)
                | flag(self.headers.is_some(), HEADERS),
        );
        put_varint(out, self.lsn.0);
        put_varint(out, self.time.0);
        put_varint(out, self.floor.0);
        put_varint(out, self.bytes);
        out.extend_from_slice(&self.hash);
        if let Some(salt) = &self.salt {
            out.extend_from_slice(salt);
        }
        if let Some(name) = &self.name {
            put_varint(out, name.len() as u64);
            out.extend_from_slice(name.as_bytes());
        }
        put_varint(out, self.tail_first.0);
        put_varint(out, self.tail_bytes);
        put_varint(out, self.era.0);
        if let Some(leaves) = &self.leaves {
            assert!(leaves.deltas.len() <= DELTAS_MAX, "at most four deltas lie over an object's leaves");
            put_varint(out, leaves.fold.0);
            put_varint(out, leaves.bytes);
            put_varint(out, leaves.deltas.len() as u64);
            for (seq, bytes) in &leaves.deltas {
                put_varint(out, seq.0);
                put_varint(out, *bytes);
            }
        }
        assert!(self.cuts.len() <= CUTS_MAX, "the checkpoint works cuts into leaves before a head is full");
        put_varint(out, self.cuts.len() as u64);
        for cut in &self.cuts {
            put_varint(out, cut.seq.0);
            put_cut(out, &cut.cut);
        }
        if let Some(anchor) = &self.anchor {
            put_varint(out, anchor.seq.0);
            put_varint(out, anchor.time.0);
            put_varint(out, anchor.count);
            out.extend_from_slice(&anchor.hash);
            out.extend_from_slice(&anchor.state);
        }
        if let Some(headers) = &self.headers {
            put_varint(out, headers.seq.0);
            out.extend_from_slice(&headers.hash);
        }
    }

    /// Reads the head that stands at `seq`.
    pub(crate) fn decode(seq: Seq, bytes: &[u8]) -> Result<Head, BadHead> {
        let mut input = Input(bytes);
        if input.byte()? != LAYOUT {
            return Err(BadHead("its layout is not one this program knows"));
        }
        let flags = input.byte()?;
        if flags & !(EXISTS | SALTED | NAMED | LEAVES | ANCHORED | HEADERS) != 0 {
            return Err(BadHead("it has flags this program does not know"));
        }
        let has = |bit: u8| flags & bit != 0;
        let lsn = Lsn(input.varint()?);
        let time = Micros(input.varint()?);
        let floor = Seq(input.varint()?);
        let user_bytes = input.varint()?;
        let hash = input.array()?;
        let salt = if has(SALTED) { Some(input.array()?) } else { None };
        let name = if has(NAMED) { Some(input.name()?) } else { None };
        let tail_first = Seq(input.varint()?);
        let tail_bytes = input.varint()?;
        let era = Seq(input.varint()?);
        let leaves = if has(LEAVES) { Some(input.leaves()?) } else { None };
        let cuts = input.cuts()?;
        let anchor = if has(ANCHORED) { Some(input.anchor()?) } else { None };
        let headers = if has(HEADERS) {
            Some(Headers { seq: Seq(input.varint()?), hash: input.array()? })
        } else {
            None
        };
        if !input.0.is_empty() {
            return Err(BadHead("bytes follow its last field"));
        }
        if seq >= Seq::END {
            return Err(BadHead("it is of a commit that never comes to be"));
        }
        if tail_first <= floor || tail_first.0 > seq.0 + 1 {
            return Err(BadHead("its tail begins after its end"));
        }
        let parts = leaves.iter().flat_map(|leaves: &Leaves| leaves.deltas.iter().map(|(seq, _)| *seq));
        let folds = leaves.iter().map(|leaves| leaves.fold);
        let cuts_at = cuts.iter().map(|cut: &HeadCut| cut.seq);
        let anchored = anchor.iter().map(|anchor: &Anchor| anchor.seq);
        let kept = headers.iter().map(|headers| headers.seq);
        if parts.chain(folds).chain(cuts_at).chain(anchored).chain(kept).chain([era]).any(|at| at > seq) {
            return Err(BadHead("it speaks of commits after its own"));
        }
        Ok(Head {
            seq,
            lsn,
            time,
            exists: has(EXISTS),
            floor,
            bytes: user_bytes,
            hash,
            salt,
            name,
            tail_first,
            tail_bytes,
            era,
            leaves,
            cuts,
            anchor,
            headers,
        })
    }
}

/// What is left to read.
struct Input<'a>(&'a [u8]);

const SHORT: BadHead = BadHead("it ends inside a field");

impl<'a> Input<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], BadHead> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(SHORT)?;
        self.0 = rest;
        Ok(taken)
    }

    fn byte(&mut self) -> Result<u8, BadHead> {
        Ok(self.take(1)?[0])
    }

    fn varint(&mut self) -> Result<u64, BadHead> {
        get_varint(&mut self.0).ok_or(SHORT)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], BadHead> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    fn count(&mut self, max: usize, what: &'static str) -> Result<usize, BadHead> {
        usize::try_from(self.varint()?).ok().filter(|count| *count <= max).ok_or(BadHead(what))
    }

    fn name(&mut self) -> Result<Arc<str>, BadHead> {
        let length = self.count(super::id::NAME_BYTES_MAX, "its name is too long")?;
        let name = std::str::from_utf8(self.take(length)?).map_err(|_| BadHead("its name is not UTF-8"))?;
        Ok(Arc::from(name))
    }

    fn leaves(&mut self) -> Result<Leaves, BadHead> {
        let fold = Seq(self.varint()?);
        let bytes = self.varint()?;
        let count = self.count(DELTAS_MAX, "it has too many deltas")?;
        let mut deltas = Vec::with_capacity(count);
        for _ in 0..count {
            deltas.push((Seq(self.varint()?), self.varint()?));
        }
        Ok(Leaves { fold, bytes, deltas })
    }

    fn cuts(&mut self) -> Result<Vec<HeadCut>, BadHead> {
        let count = self.count(CUTS_MAX, "it has too many cuts")?;
        let mut cuts = Vec::with_capacity(count);
        for _ in 0..count {
            let seq = Seq(self.varint()?);
            let cut = read_cut(&mut self.0).ok_or(BadHead("a cut in it cannot be read"))?;
            cuts.push(HeadCut { seq, cut });
        }
        Ok(cuts)
    }

    fn anchor(&mut self) -> Result<Anchor, BadHead> {
        Ok(Anchor {
            seq: Seq(self.varint()?),
            time: Micros(self.varint()?),
            count: self.varint()?,
            hash: self.array()?,
            state: self.array()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transaction::ops::CutBase;

    fn full() -> Head {
        Head {
            seq: Seq(70),
            lsn: Lsn(900),
            time: Micros(1_700_000_000_000_000),
            exists: true,
            floor: Seq(2),
            bytes: 123_456,
            hash: [7; 32],
            salt: Some([9; 16]),
            name: Some(Arc::from("lobby")),
            tail_first: Seq(60),
            tail_bytes: 4_000,
            era: Seq(12),
            leaves: Some(Leaves {
                fold: Seq(59),
                bytes: 1 << 20,
                deltas: vec![(Seq(40), 100), (Seq(59), 200)],
            }),
            cuts: vec![HeadCut {
                seq: Seq(12),
                cut: Cut {
                    start: b"a".to_vec(),
                    end: None,
                    base: CutBase::Other { object: [1; 20], seq: 5, hash: [2; 32] },
                },
            }],
            anchor: Some(Anchor { seq: Seq(3), time: Micros(5), count: 3, hash: [1; 32], state: [2; 32] }),
            headers: Some(Headers { seq: Seq(2), hash: [3; 32] }),
        }
    }

    #[test]
    fn what_is_encoded_is_decoded() {
        for head in [full(), Head { seq: Seq(1), tail_first: Seq(1), ..Head::empty() }] {
            let mut bytes = Vec::new();
            head.encode(&mut bytes);
            assert_eq!(Head::decode(head.seq, &bytes), Ok(head));
        }
    }

    #[test]
    fn a_head_that_is_cut_short_or_long_is_refused() {
        let mut bytes = Vec::new();
        full().encode(&mut bytes);
        for length in 0..bytes.len() {
            assert!(Head::decode(Seq(70), &bytes[..length]).is_err(), "length {length}");
        }
        bytes.push(0);
        assert_eq!(Head::decode(Seq(70), &bytes), Err(BadHead("bytes follow its last field")));
    }

    #[test]
    fn a_small_unnamed_head_costs_under_seventy_bytes() {
        let mut bytes = Vec::new();
        let head = Head {
            seq: Seq(1),
            lsn: Lsn(1_000_000),
            time: Micros(1_790_000_000_000_000),
            exists: true,
            bytes: 104,
            salt: Some([9; 16]),
            tail_bytes: 130,
            ..Head::empty()
        };
        head.encode(&mut bytes);
        assert!(bytes.len() < 70, "{} bytes", bytes.len());
    }
}
