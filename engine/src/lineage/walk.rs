//! Walking along a chain, commit by commit.

use lineal_wal::{Lsn, Micros, ObjectKey, OwnedRecord, Seq};

use super::{Link, commit_hash, genesis, ops_digest};
use crate::{
    Error, Result,
    object::{
        head::{Hash, Head},
        wake::bad_body,
    },
    transaction::body::{Body, Kind},
};

/// One commit of one object, as the log or a run holds it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Commit<'a> {
    pub(crate) seq: Seq,
    pub(crate) lsn: Lsn,
    pub(crate) time: Micros,
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    /// Digest of the ops, where they are gone.
    pub(crate) ops_digest: Option<Hash>,
    /// Digest of all parts of the record that it is from, where there are several.
    pub(crate) joint: Option<Hash>,
    pub(crate) body: &'a [u8],
}

impl<'a> Commit<'a> {
    /// The commit of a run.
    pub(crate) fn of_run(seq: Seq, commit: &lineal_snapshot::Commit<'a>) -> Commit<'a> {
        let lineal_snapshot::Commit { time, lsn, kind, flags, ops_digest, joint, body } = *commit;
        Commit { seq, lsn, time, kind, flags, ops_digest, joint, body }
    }

    /// The part number `at` of a record in the log.
    pub(crate) fn of_record(record: &'a OwnedRecord, at: usize, joint: Option<Hash>) -> Commit<'a> {
        let record = record.as_record();
        let part = record.parts().nth(at).expect("the part was found by its place");
        let (lsn, time) = (record.lsn, record.time);
        Commit {
            seq: part.seq,
            lsn,
            time,
            kind: part.kind,
            flags: part.flags,
            ops_digest: None,
            joint,
            body: part.body,
        }
    }
}

/// Where a walk along the chain of one object stands: after the commit `seq`.
#[derive(Clone, Debug)]
pub(crate) struct Chain {
    pub(crate) key: ObjectKey,
    pub(crate) seq: Seq,
    pub(crate) hash: Hash,
    pub(crate) salt: Option<[u8; 16]>,
}

impl Chain {
    /// Before the first commit that a head's object has runs of: after its newest purge, or after its anchor, or where the
    /// headers begin that are kept of commits before that.
    pub(crate) fn at_start(key: ObjectKey, head: &Head) -> Chain {
        let Some(anchor) = head.anchor.as_ref().filter(|anchor| anchor.seq > head.floor) else {
            return Chain::at_genesis(key, head.floor);
        };
        let (seq, hash) =
            head.headers.map_or((anchor.seq, anchor.hash), |headers| (headers.seq, headers.hash));
        Chain { key, seq, hash, salt: head.salt }
    }

    /// Before the first commit after `floor`: 0, or the seq of a purge.
    pub(crate) fn at_genesis(key: ObjectKey, floor: Seq) -> Chain {
        Chain { key, seq: floor, hash: genesis(key, floor), salt: None }
    }

    /// Goes on to the next commit, and returns its body.
    pub(crate) fn step<'c>(&mut self, commit: &Commit<'c>) -> Result<Body<'c>> {
        if commit.seq.0 != self.seq.0 + 1 {
            return Err(self.broken(commit.seq, "it does not follow the commit before"));
        }
        let body = Body::decode(commit.flags, commit.body).ok_or_else(|| bad_body(&self.key, commit.seq))?;
        if let Some(first) = &body.first {
            self.salt = Some(first.salt);
        }
        let salt = self.salt.ok_or_else(|| self.broken(commit.seq, "the chain has no salt"))?;
        let ops_digest = match commit.ops_digest {
            None => ops_digest(&salt, body.ops),
            Some(digest) if body.ops.is_empty() => digest,
            Some(_) => return Err(self.broken(commit.seq, "it has both its ops and their digest")),
        };
        let link = Link {
            object: self.key,
            seq: commit.seq,
            time: commit.time,
            kind: commit.kind,
            cause: body.cause,
            ops_digest,
            joint: commit.joint,
        };
        self.hash = commit_hash(&link, &self.hash);
        self.seq = commit.seq;
        if Kind::from_byte(commit.kind) == Some(Kind::Purge) {
            *self = Chain::at_genesis(self.key, commit.seq);
        }
        Ok(body)
    }

    pub(crate) fn broken(&self, seq: Seq, reason: &str) -> Error {
        Error::Damaged {
            file: "lineage".into(),
            offset: 0,
            object: Some(self.key.id.to_string()),
            reason: format!("commit {seq}: {reason}"),
        }
    }
}
