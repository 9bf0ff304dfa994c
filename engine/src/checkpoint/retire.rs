//! Which part of an object's history may go: everything before the newest version that is old enough, and that nothing
//! reads through to.
//!
//! A version is a head whose leaves hold all that it covers. The versions after the chosen one, the runs after it and
//! the leaves that any of them reads stay; so every later commit can be read, and the chain verifies from the hash in
//! the chosen head, which becomes the object's anchor.

use lineal_snapshot::leaf_sub_key;
use lineal_wal::{
    Micros, Seq,
    planted::{self, Bug},
};

use crate::{
    history::retention::Retention,
    object::head::{Anchor, Head},
    transaction::ops::CutBase,
};

/// What is known of an object's history when its packs are merged.
pub(super) struct Past<'a> {
    /// All heads that are versions, ascending, the newest head included if it is one.
    pub(super) versions: &'a [Head],
    pub(super) newest: &'a Head,
    /// The last seq of every run and its stored bytes, ascending.
    pub(super) runs: &'a [(Seq, u64)],
    /// The seqs that pins, forks and restores need.
    pub(super) held: &'a [Seq],
}

impl Past<'_> {
    /// The version before which everything may go, if there is one.
    pub(super) fn keep_from(&self, retention: &Retention, running: Micros) -> Option<&Head> {
        let by_time = retention.horizon(running).and_then(|horizon| {
            let old = self.versions.partition_point(|version| version.time < horizon);
            let early = planted::on(Bug::RetiredTooMuch) && old < self.versions.len();
            old.checked_sub(usize::from(!early))
        });
        let by_bytes = retention.bytes.and_then(|limit| self.beyond(limit));
        let mut at = by_time.max(by_bytes)?;
        // What holds an older version may itself be read through to by what lies between.
        loop {
            let needed = self.needed_from(at).min();
            let lower = match needed {
                Some(needed) if needed < self.versions[at].seq => self.version_at(needed)?,
                _ => return self.worth_it(at),
            };
            at = lower;
        }
    }

    /// The number of the newest version with at least so many bytes of runs after it.
    fn beyond(&self, limit: u64) -> Option<usize> {
        let mut bytes = 0;
        let mut runs = self.runs.iter().rev().peekable();
        for (at, version) in self.versions.iter().enumerate().rev() {
            while let Some((_, run)) = runs.next_if(|(last, _)| *last > version.seq) {
                bytes += run;
            }
            if bytes >= limit {
                return Some(at);
            }
        }
        None
    }

    /// The number of the newest version that covers nothing after `seq`.
    fn version_at(&self, seq: Seq) -> Option<usize> {
        self.versions.partition_point(|version| version.seq <= seq).checked_sub(1)
    }

    /// What is read through to by the versions from `at` on, and what is held.
    fn needed_from(&self, at: usize) -> impl Iterator<Item = Seq> {
        let heads = self.versions[at..].iter().chain([self.newest]);
        let bases = heads.flat_map(|head| &head.cuts).filter_map(|cut| match cut.cut.base {
            CutBase::Own { seq } => Some(Seq(seq)),
            CutBase::Nothing | CutBase::Other { .. } => None,
        });
        bases.chain(self.held.iter().copied())
    }

    fn worth_it(&self, at: usize) -> Option<&Head> {
        let version = &self.versions[at];
        let gone = self.newest.anchor.as_ref().is_some_and(|anchor| anchor.seq >= version.seq);
        (!gone).then_some(version)
    }
}

/// Where the chain begins once what is before `version` is gone.
pub(super) fn anchor(version: &Head) -> Anchor {
    let count = version.seq.0 - version.floor.0;
    Anchor { seq: version.seq, time: version.time, count, hash: version.hash, state: [0; 32] }
}

/// Whether a leaf, a delta or the end of a fence is read by `version` or a later one. `newer` tells whether another entry
/// of the same leaf, not after the version, supersedes it.
pub(super) fn is_read(version: &Head, sub_key: &[u8], seq: Seq, is_delta: bool, superseded: bool) -> bool {
    if seq > version.seq {
        return true;
    }
    if is_delta {
        return version.leaves.iter().flat_map(|leaves| &leaves.deltas).any(|(delta, _)| *delta == seq);
    }
    let era = leaf_sub_key(version.era, &[]);
    sub_key >= era.as_slice() && !superseded
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        object::head::{HeadCut, Leaves},
        transaction::ops::Cut,
    };
    use std::time::Duration;

    fn version(seq: u64, base: Option<u64>) -> Head {
        let cut = |base| Cut { start: Vec::new(), end: None, base: CutBase::Own { seq: base } };
        Head {
            seq: Seq(seq),
            time: Micros(seq * 1_000_000),
            tail_first: Seq(seq + 1),
            cuts: base.map(|base| HeadCut { seq: Seq(seq - 1), cut: cut(base) }).into_iter().collect(),
            ..Head::empty()
        }
    }

    fn kept(versions: &[Head], held: &[u64], retention: Retention) -> Option<u64> {
        let runs: Vec<(Seq, u64)> = (1..=20).map(|run| (Seq(run * 10), 100)).collect();
        let held: Vec<Seq> = held.iter().map(|seq| Seq(*seq)).collect();
        let past = Past { versions, newest: versions.last().unwrap(), runs: &runs, held: &held };
        past.keep_from(&retention, Micros(200_000_000)).map(|head| head.seq.0)
    }

    fn seconds(seconds: u64) -> Retention {
        Retention { time: Some(Duration::from_secs(seconds)), bytes: None }
    }

    #[test]
    fn what_is_older_than_the_newest_version_beyond_the_limit_goes() {
        let versions: Vec<Head> = (1..=20).map(|at| version(at * 10, None)).collect();
        assert_eq!(kept(&versions, &[], Retention::FOREVER), None);
        assert_eq!(kept(&versions, &[], seconds(100)), Some(90), "the one at 100 s is not older");
        assert_eq!(kept(&versions, &[], seconds(1_000)), None);
        let bytes = |bytes| Retention { time: None, bytes: Some(bytes) };
        assert_eq!(kept(&versions, &[], bytes(250)), Some(170));
        assert_eq!(kept(&versions, &[], bytes(300)), Some(170));
        assert_eq!(kept(&versions, &[], bytes(1 << 30)), None);
        let both = Retention { bytes: Some(300), ..seconds(100) };
        assert_eq!(kept(&versions, &[], both), Some(170));
    }

    #[test]
    fn what_is_held_or_read_through_to_stays() {
        let mut versions: Vec<Head> = (1..=20).map(|at| version(at * 10, None)).collect();
        assert_eq!(kept(&versions, &[45], seconds(100)), Some(40));
        assert_eq!(kept(&versions, &[5], seconds(100)), None, "no version is that old");
        versions[15] = version(160, Some(75));
        assert_eq!(kept(&versions, &[], seconds(100)), Some(70));
        versions[7] = version(80, Some(33));
        assert_eq!(kept(&versions, &[], seconds(100)), Some(30), "a base may have a base");
    }

    #[test]
    fn leaves_of_the_version_and_of_later_ones_are_read() {
        let leaves = Leaves { fold: Seq(50), bytes: 1, deltas: vec![(Seq(44), 9)] };
        let head = Head { era: Seq(20), leaves: Some(leaves), ..version(50, None) };
        let (old, own) = (leaf_sub_key(Seq(3), b"k"), leaf_sub_key(Seq(20), b"k"));
        assert!(is_read(&head, &own, Seq(30), false, false));
        assert!(!is_read(&head, &own, Seq(30), false, true));
        assert!(!is_read(&head, &old, Seq(30), false, false), "of an era that was cut away");
        assert!(is_read(&head, &old, Seq(51), false, false));
        assert!(is_read(&head, &[], Seq(44), true, false));
        assert!(!is_read(&head, &[], Seq(43), true, false));
    }
}
