//! Runs without ops: what is kept of commits that the retention has passed, where a namespace keeps its lineage for ever.
//!
//! Each commit keeps its time, kind, cause and joint digest, and the digest of its ops in their place. So its hash can be
//! computed as before, and the chain verifies from the first commit.

use lineal_snapshot::{Commit, Run, RunBuilder};
use lineal_wal::ObjectKey;

use crate::{
    Result, lineage,
    object::{
        head::{Head, Headers},
        wake::bad_body,
    },
    transaction::body::Body,
};

/// Where the headers of an object begin that is about to give up ops: where they began before, or its chain does.
pub(super) fn begin(object: ObjectKey, head: &Head) -> Headers {
    let anchor = head.anchor.as_ref().filter(|anchor| anchor.seq > head.floor);
    match (head.headers, anchor) {
        (Some(headers), _) => headers,
        (None, Some(anchor)) => Headers { seq: anchor.seq, hash: anchor.hash },
        (None, None) => Headers { seq: head.floor, hash: lineage::genesis(object, head.floor) },
    }
}

/// The run without its ops, as a part holds it.
pub(super) fn without_ops(object: ObjectKey, run: &Run, salt: &[u8; 16]) -> Result<Vec<u8>> {
    let mut headers = RunBuilder::new(run.first_seq(), run.tail_first());
    let mut points = run.hash_points().iter().peekable();
    let mut bytes = Vec::new();
    for (seq, commit) in run.iter() {
        if let Some(point) = points.next_if(|point| point.after.0 + 1 == seq.0) {
            headers.push_hash_before(point.hash);
        }
        let body = Body::decode(commit.flags, commit.body).ok_or_else(|| bad_body(&object, seq))?;
        let digest = commit.ops_digest.unwrap_or_else(|| lineage::ops_digest(salt, body.ops));
        bytes.clear();
        Body { ops: &[], ..body }.encode(&mut bytes);
        headers.push(&Commit { ops_digest: Some(digest), body: &bytes, ..commit });
    }
    if let Some(hash) = run.hash_after_last() {
        headers.set_hash_after(hash);
    }
    Ok(headers.finish())
}
