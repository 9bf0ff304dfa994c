//! The chain of an object's commits: each one's hash covers what it did and the hash before it.
//!
//! ```text
//! genesis        = BLAKE3("lineal genesis 1" ‖ namespace u32 ‖ id 16 ‖ seq before the first commit u64)
//! ops digest     = BLAKE3 keyed with (salt ‖ 16 zero bytes) over the ops
//! joint digest   = BLAKE3("lineal joint 1" ‖ for every part, by object and seq: object 20 ‖ seq u64 ‖ ops digest)
//! hash(n)        = BLAKE3("lineal commit 1" ‖ namespace u32 ‖ id 16 ‖ seq u64 ‖ time u64 ‖ kind u8
//!                         ‖ cause length u32 ‖ cause ‖ ops digest ‖ joint flag u8 [‖ joint digest] ‖ hash(n-1))
//! ```
//! Integers are little-endian. The genesis of an object that was purged names the seq of the purge, so that the
//! chain of what came after cannot be passed off as the whole. Lsn, epoch and pack are not covered: a chain is
//! portable. The ops digest is salted so that a purged value cannot be guessed from what stays.

pub(crate) mod joint;
pub(crate) mod walk;

use lineal_wal::{Micros, ObjectKey, Seq};

use crate::object::head::Hash;

/// What the hash of one commit covers.
pub(crate) struct Link<'a> {
    pub(crate) object: ObjectKey,
    pub(crate) seq: Seq,
    pub(crate) time: Micros,
    pub(crate) kind: u8,
    pub(crate) cause: &'a str,
    pub(crate) ops_digest: Hash,
    pub(crate) joint: Option<Hash>,
}

/// The hash before the first commit of a chain. `before` is 0, or the seq of the purge that ended the last one.
pub(crate) fn genesis(object: ObjectKey, before: Seq) -> Hash {
    let mut hasher = blake3::Hasher::new();
    hasher.update(b"lineal genesis 1");
    hasher.update(&object.namespace.0.to_le_bytes());
    hasher.update(&object.id.0);
    hasher.update(&before.0.to_le_bytes());
    *hasher.finalize().as_bytes()
}

/// The digest of a commit's ops, keyed with the object's salt.
pub(crate) fn ops_digest(salt: &[u8; 16], ops: &[u8]) -> Hash {
    let mut key = [0; 32];
    key[..16].copy_from_slice(salt);
    *blake3::keyed_hash(&key, ops).as_bytes()
}

/// The digest over all parts of a transaction of several objects. `parts` need not be sorted.
pub(crate) fn joint_digest(parts: &mut [(ObjectKey, Seq, Hash)]) -> Hash {
    parts.sort_unstable_by_key(|(object, seq, _)| (*object, *seq));
    let mut hasher = blake3::Hasher::new();
    hasher.update(b"lineal joint 1");
    for (object, seq, digest) in parts {
        hasher.update(&object.to_bytes());
        hasher.update(&seq.0.to_le_bytes());
        hasher.update(digest);
    }
    *hasher.finalize().as_bytes()
}

/// The hash of a commit that follows the one with the hash `before`.
pub(crate) fn commit_hash(link: &Link<'_>, before: &Hash) -> Hash {
    // One update of one flat buffer: small updates cost BLAKE3 more than the hashing.
    let mut flat = Vec::with_capacity(192 + link.cause.len());
    flat.extend_from_slice(b"lineal commit 1");
    flat.extend_from_slice(&link.object.namespace.0.to_le_bytes());
    flat.extend_from_slice(&link.object.id.0);
    flat.extend_from_slice(&link.seq.0.to_le_bytes());
    flat.extend_from_slice(&link.time.0.to_le_bytes());
    flat.push(link.kind);
    flat.extend_from_slice(&u32::try_from(link.cause.len()).expect("a cause is bounded").to_le_bytes());
    flat.extend_from_slice(link.cause.as_bytes());
    flat.extend_from_slice(&link.ops_digest);
    flat.push(u8::from(link.joint.is_some()));
    if let Some(joint) = &link.joint {
        flat.extend_from_slice(joint);
    }
    flat.extend_from_slice(before);
    *blake3::hash(&flat).as_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use lineal_wal::{NamespaceId, ObjectId};

    fn link(cause: &str) -> Link<'_> {
        Link {
            object: ObjectKey { namespace: NamespaceId(1), id: ObjectId([2; 16]) },
            seq: Seq(3),
            time: Micros(4),
            kind: 1,
            cause,
            ops_digest: [5; 32],
            joint: None,
        }
    }

    #[test]
    fn every_field_changes_the_hash() {
        let before = [6; 32];
        let mut seen = vec![commit_hash(&link("a"), &before), commit_hash(&link("a"), &[7; 32])];
        seen.push(commit_hash(&link("b"), &before));
        seen.push(commit_hash(&Link { seq: Seq(4), ..link("a") }, &before));
        seen.push(commit_hash(&Link { time: Micros(5), ..link("a") }, &before));
        seen.push(commit_hash(&Link { kind: 2, ..link("a") }, &before));
        seen.push(commit_hash(&Link { ops_digest: [6; 32], ..link("a") }, &before));
        seen.push(commit_hash(&Link { joint: Some([5; 32]), ..link("a") }, &before));
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), 8);
    }

    #[test]
    fn a_digest_depends_on_the_salt_and_a_joint_digest_not_on_the_order() {
        assert_ne!(ops_digest(&[1; 16], b"x"), ops_digest(&[2; 16], b"x"));
        let object = link("").object;
        let (a, b) = ((object, Seq(1), [1; 32]), (object, Seq(2), [2; 32]));
        assert_eq!(joint_digest(&mut [a, b]), joint_digest(&mut [b, a]));
        assert_ne!(genesis(object, Seq(0)), genesis(object, Seq(1)));
    }
}
