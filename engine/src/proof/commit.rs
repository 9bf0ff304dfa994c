//! Proofs that leave the engine: that a commit was made, and that one root's past is the beginning of another's.

use lineal_snapshot::Run;
use lineal_wal::{EngineId, Lsn, Micros, ObjectKey, Seq};

use super::{
    files::{Root, Stored},
    tree::{consistency_path, inclusion_path, is_consistent, leaf, root_of_inclusion},
};
use crate::{
    Engine, Error, Object, Result,
    catalog::Snapshot,
    engine::EngineInner,
    history::version,
    lineage::{
        self, Link,
        walk::{Chain, Commit},
    },
    object::{
        head::{Hash, Head},
        wake::{bad_body, newest_head, read_runs},
    },
    transaction::body::Body,
};

/// Most commits that a proof holds between the commit and the head that stands in the tree.
///
/// Source: chosen; a hot object's commits between two checkpoints, at about 100 bytes each.
const COMMITS_MAX: usize = 1 << 20;

/// What a commit's hash covers beside the hash before it: everything but what it wrote, of which it has the digest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommitHeader {
    /// Its number.
    pub seq: u64,
    /// Its time, in microseconds since the Unix epoch.
    pub time: Micros,
    /// Its kind, as [`Kind`](crate::Kind) numbers it.
    pub kind: u8,
    /// Why it was made.
    pub cause: String,
    /// The digest of what it wrote, keyed with the object's salt.
    pub ops: [u8; 32],
    /// The digest over all objects' parts, if its transaction had several.
    pub joint: Option<[u8; 32]>,
}

impl CommitHeader {
    fn hash(&self, object: ObjectKey, before: &Hash) -> Hash {
        let link = Link {
            object,
            seq: Seq(self.seq),
            time: self.time,
            kind: self.kind,
            cause: &self.cause,
            ops_digest: self.ops,
            joint: self.joint,
        };
        lineage::commit_hash(&link, before)
    }
}

/// Shows that a commit stands in the history that a root covers. It can be checked with no engine at hand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    /// The engine that published the root.
    pub engine: EngineId,
    /// The object whose commit it is.
    pub object: ObjectKey,
    /// The hash before the commit.
    pub before: [u8; 32],
    /// The commit, then those after it up to the one whose hash is in the tree.
    pub commits: Vec<CommitHeader>,
    /// The place of that hash in the tree, from 0.
    pub index: u64,
    /// The hashes beside the way from there to the root, from below.
    pub path: Vec<[u8; 32]>,
    /// The root.
    pub root: Root,
}

/// Why a proof shows nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProofError {
    /// It holds no commit, or their numbers do not follow each other.
    #[error("the proof's commits do not follow each other")]
    Commits,
    /// What it holds leads to another root.
    #[error("the proof does not lead to its root")]
    Root,
}

impl Proof {
    /// Checks that the commit leads to the root. Whether the root is one that was published is the caller's to know:
    /// compare it with one that was kept.
    ///
    /// # Errors
    /// A [`ProofError`] if it does not.
    pub fn check(&self) -> Result<(), ProofError> {
        let first = self.commits.first().ok_or(ProofError::Commits)?.seq;
        let mut hash = self.before;
        if first.checked_add(self.commits.len() as u64).is_none() {
            return Err(ProofError::Commits);
        }
        for (header, seq) in self.commits.iter().zip(first..) {
            if header.seq != seq || u32::try_from(header.cause.len()).is_err() {
                return Err(ProofError::Commits);
            }
            hash = header.hash(self.object, &hash);
        }
        let last = Seq(self.commits.last().ok_or(ProofError::Commits)?.seq);
        let leaf = leaf(&self.object, last, &hash);
        let root = root_of_inclusion(&leaf, self.index, self.root.size, &self.path);
        if root == Some(self.root.hash) { Ok(()) } else { Err(ProofError::Root) }
    }
}

/// Shows that everything one root covers is unchanged under a newer one. It can be checked with no engine at hand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Consistency {
    /// The engine that published both.
    pub engine: EngineId,
    /// The older root.
    pub old: Root,
    /// The newer root.
    pub new: Root,
    /// The hashes that lead from one to the other.
    pub path: Vec<[u8; 32]>,
}

impl Consistency {
    /// Checks that the older root's tree is the beginning of the newer one's.
    ///
    /// # Errors
    /// [`ProofError::Root`] if it is not.
    pub fn check(&self) -> Result<(), ProofError> {
        let (old, new) = (&self.old, &self.new);
        let holds = is_consistent(old.size, &old.hash, new.size, &new.hash, &self.path);
        if holds { Ok(()) } else { Err(ProofError::Root) }
    }
}

impl Object {
    /// Proves that the object's commit number `seq` stands in the history that the newest root covers.
    ///
    /// # Errors
    /// [`Error::NotFound`] if no checkpoint has packed the commit yet, or it is not kept; [`Error::Damaged`] if what
    /// the proof needs is, and then none is handed out.
    pub fn prove(&self, seq: u64) -> Result<Proof> {
        self.engine.check_open()?;
        prove(&self.engine, self.key(), Seq(seq))
    }
}

impl Engine {
    /// Proves that everything covered by the root of `size` heads, which was published, is unchanged under the newest.
    ///
    /// # Errors
    /// [`Error::NotFound`] if no root of that size was published; [`Error::Damaged`].
    pub fn prove_since(&self, size: u64) -> Result<Consistency> {
        let engine = &self.inner;
        engine.check_open()?;
        let (stored, _) = engine.roots()?;
        let at = stored.first_published(|root| root.size >= size)?;
        let missing = || Error::NotFound { what: format!("a published root of {size} heads") };
        let old = if at < stored.count() { stored.published(at)? } else { return Err(missing()) };
        if old.size != size {
            return Err(missing());
        }
        let new = stored.published(stored.count() - 1)?;
        let path = consistency_path(&stored, old.size, new.size)?;
        let proof = Consistency { engine: engine.identity, old, new, path };
        proof.check().map_err(|_| wrong_hashes())?;
        Ok(proof)
    }
}

fn wrong_hashes() -> Error {
    Error::Damaged {
        file: super::files::DIR.into(),
        offset: 0,
        object: None,
        reason: "the hashes stored there do not lead to the newest root".into(),
    }
}

fn prove(engine: &EngineInner, key: ObjectKey, seq: Seq) -> Result<Proof> {
    let not_covered =
        || Error::NotFound { what: format!("commit {seq} of object {} under a published root", key.id) };
    let (stored, edge) = engine.roots()?;
    let snapshot = engine.catalog.snapshot();
    let head = newest_head(&snapshot, &key)?.map(|found| found.head).ok_or_else(not_covered)?;
    if seq <= head.before_runs() || seq > head.seq || seq == Seq(0) {
        return Err(not_covered());
    }
    let before = match Seq(seq.0 - 1) {
        last if last == head.floor => lineage::genesis(key, head.floor),
        last if last <= head.unreadable() => hash_of_retired(&snapshot, &head, key, last)?,
        last => version::read(engine, key, last)?.version.state.hashed.1,
    };
    let salt = head.salt.ok_or_else(not_covered)?;
    let covered = Covered { snapshot: &snapshot, stored: &stored, key, salt };
    let (commits, root) = covered.commits(seq, head.seq)?.ok_or_else(not_covered)?;
    let mut hash = before;
    commits.iter().for_each(|header| hash = header.hash(key, &hash));
    let last = Seq(commits.last().ok_or_else(not_covered)?.seq);
    let start = match root.checked_sub(1) {
        Some(earlier) => stored.published(earlier)?.size,
        None => 0,
    };
    let end = stored.published(root)?.size;
    // What was packed before the first root of this directory is under none.
    let missing = || if root == 0 { not_covered() } else { wrong_hashes() };
    let index = stored.find(&leaf(&key, last, &hash), start, end)?.ok_or_else(missing)?;
    let root = stored.published(stored.count() - 1)?;
    let path = inclusion_path(&stored, index, edge.size())?;
    let proof = Proof { engine: engine.identity, object: key, before, commits, index, path, root };
    proof.check().map_err(|_| wrong_hashes())?;
    Ok(proof)
}

/// The chain's hash after a commit of which only the header is kept, or of the one before the first such.
fn hash_of_retired(snapshot: &Snapshot, head: &Head, key: ObjectKey, seq: Seq) -> Result<Hash> {
    let mut chain = Chain::at_start(key, head);
    if seq > chain.seq {
        for found in snapshot.runs(&key, seq, seq)? {
            for run in read_runs(&found)? {
                if let Some(point) = run.nearest_hash(seq).filter(|point| point.after > chain.seq) {
                    (chain.seq, chain.hash) = (point.after, point.hash);
                }
                for (at, commit) in run.between(Seq(chain.seq.0 + 1), seq) {
                    chain.step(&Commit::of_run(at, &commit))?;
                }
            }
        }
    }
    if chain.seq == seq { Ok(chain.hash) } else { Err(chain.broken(seq, "its header is in no pack")) }
}

/// The commits of one object that roots cover.
struct Covered<'a> {
    snapshot: &'a Snapshot,
    stored: &'a Stored,
    key: ObjectKey,
    salt: [u8; 16],
}

impl Covered<'_> {
    /// The headers from commit `seq` to the last one that the same root was first to cover, and that root's number;
    /// `None` if no root covers it.
    fn commits(&self, seq: Seq, last: Seq) -> Result<Option<(Vec<CommitHeader>, u64)>> {
        let mut headers = Vec::new();
        let mut root: Option<(u64, Lsn)> = None;
        for found in self.snapshot.runs(&self.key, seq, last)? {
            for run in read_runs(&found)? {
                for (at, commit) in run.iter().filter(|(at, _)| *at >= seq) {
                    let line = match root {
                        Some((_, line)) => line,
                        None => {
                            let number = self.stored.first_published(|root| root.line >= commit.lsn.0)?;
                            if number == self.stored.count() {
                                return Ok(None);
                            }
                            let line = Lsn(self.stored.published(number)?.line);
                            root = Some((number, line));
                            line
                        }
                    };
                    if commit.lsn > line {
                        return Ok(root.map(|(number, _)| (headers, number)));
                    }
                    if headers.len() == COMMITS_MAX {
                        let what = format!("a root within {COMMITS_MAX} commits after commit {seq}");
                        return Err(Error::NotFound { what });
                    }
                    headers.push(self.header(&run, at)?);
                }
            }
        }
        Ok(root.map(|(number, _)| (headers, number)))
    }

    fn header(&self, run: &Run, seq: Seq) -> Result<CommitHeader> {
        let commit = run.commit(seq).ok_or_else(|| bad_body(&self.key, seq))?;
        let body = Body::decode(commit.flags, commit.body).ok_or_else(|| bad_body(&self.key, seq))?;
        Ok(CommitHeader {
            seq: seq.0,
            time: commit.time,
            kind: commit.kind,
            cause: body.cause.to_owned(),
            ops: commit.ops_digest.unwrap_or_else(|| lineage::ops_digest(&self.salt, body.ops)),
            joint: commit.joint,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Options, sync::Arc};
    use lineal_wal::sim::SimDisk;

    fn engine() -> Engine {
        Options::new().disk(Arc::new(SimDisk::new())).background(false).open("data").unwrap()
    }

    /// Objects with commits over several checkpoints; one transaction spans two of them.
    fn filled(engine: &Engine) -> Vec<Object> {
        let rooms = engine.namespace("rooms").unwrap();
        let objects: Vec<Object> =
            (0..40).map(|number| rooms.object(&format!("room {number}")).unwrap()).collect();
        for round in 0..6u8 {
            for (number, object) in (0..).zip(&objects) {
                if number % 5 == round % 5 {
                    for commit in 0..=number % 7 {
                        let text = format!("{round} {commit}");
                        object.transact(|tx| tx.put("k", &text)).unconfirmed().unwrap();
                    }
                }
            }
            let pair = [&objects[0], &objects[1]];
            engine
                .transact_many(pair, |[a, b]| a.put("x", "1").and_then(|()| b.put("x", "2")))
                .wait()
                .unwrap();
            engine.checkpoint().unwrap();
            if round == 3 {
                engine.compact().unwrap();
            }
        }
        objects
    }

    #[test]
    fn every_packed_commit_is_proved_and_a_proof_of_anything_else_fails() {
        let engine = engine();
        let objects = filled(&engine);
        let root = engine.root().unwrap();
        let mut proved = 0;
        for object in &objects {
            for seq in 1..=object.info().unwrap().seq {
                let proof = object.prove(seq).unwrap();
                assert_eq!(proof.root, root);
                assert_eq!(proof.commits[0].seq, seq);
                proof.check().unwrap();
                proved += 1;
                let mut other = proof.clone();
                other.commits[0].cause.push('!');
                assert_eq!(other.check(), Err(ProofError::Root));
                let mut other = proof.clone();
                other.commits[0].ops[0] ^= 1;
                assert_eq!(other.check(), Err(ProofError::Root));
                let mut other = proof.clone();
                other.commits[0].time.0 += 1;
                assert_eq!(other.check(), Err(ProofError::Root));
                let mut other = proof;
                other.commits.clear();
                assert_eq!(other.check(), Err(ProofError::Commits));
            }
        }
        assert!(proved > 100);
        assert!(matches!(objects[0].prove(1_000), Err(Error::NotFound { .. })));
        objects[0].transact(|tx| tx.put("new", "1")).wait().unwrap();
        let newest = objects[0].info().unwrap().seq;
        assert!(
            matches!(objects[0].prove(newest), Err(Error::NotFound { .. })),
            "no checkpoint has packed it"
        );
    }

    #[test]
    fn every_root_is_shown_to_be_the_beginning_of_the_newest() {
        let engine = engine();
        filled(&engine);
        let (stored, _) = engine.inner.roots().unwrap();
        for at in 0..stored.count() {
            let old = stored.published(at).unwrap();
            let proof = engine.prove_since(old.size).unwrap();
            assert_eq!(proof.old, old);
            proof.check().unwrap();
            if at + 1 < stored.count() {
                let mut other = proof;
                other.old.hash[7] ^= 1;
                assert_eq!(other.check(), Err(ProofError::Root));
            }
        }
        assert!(matches!(engine.prove_since(u64::MAX), Err(Error::NotFound { .. })));
        assert!(matches!(engine.prove_since(1 << 20), Err(Error::NotFound { .. })));
    }

    #[test]
    fn rewritten_hashes_are_noticed_and_no_proof_of_them_is_handed_out() {
        let disk = SimDisk::new();
        let engine = Options::new().disk(Arc::new(disk.clone())).background(false).open("data").unwrap();
        let objects = filled(&engine);
        let file = lineal_wal::Disk::open(&disk, "roots/level-0", lineal_wal::OpenMode::ReadWrite).unwrap();
        file.write_all_at(&[0; 32], 64).unwrap();
        let refused = (1..=6).filter(|seq| matches!(objects[5].prove(*seq), Err(Error::Damaged { .. })));
        assert!(refused.count() > 0);
        assert!(matches!(engine.verify(&mut |_| ()), Err(Error::Damaged { .. })));
    }
}
