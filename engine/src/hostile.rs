//! For fuzzers: what reads bytes that anybody may have put on the disk or into the archive, from inside of the crate. Each
//! function panics where a promise is broken, and says nothing else. Nothing else uses this.

use lineal_wal::{EngineId, Seq};

pub use crate::catalog::hostile::{catalog, catalog_file, row};
use crate::{
    engine::{holds, summary::Summary, system},
    history::retention::{Retention, Running},
    object::{
        head::Head,
        overlay::{Found, Overlay},
    },
    transaction::{
        body::{Body, whole_cut},
        ops::{Merged, Patch, Patches, apply_patch, merge_patches},
    },
};

/// The head of an object. One that is read is written and read again as the same.
pub fn head(seq: u64, bytes: &[u8]) {
    let Ok(head) = Head::decode(Seq(seq), bytes) else { return };
    let mut again = Vec::new();
    head.encode(&mut again);
    assert!(Head::decode(Seq(seq), &again) == Ok(head), "a head changes when it is written again");
}

/// The body of a commit: its ops are done to an overlay, and what that knows is read.
pub fn body(flags: u8, bytes: &[u8]) {
    let Some(body) = Body::decode(flags, bytes) else { return };
    let mut again = Vec::new();
    body.encode(&mut again);
    assert!(Body::decode(flags, &again) == Some(body), "a body changes when it is written again");
    let _ = whole_cut(body.ops);
    let mut overlay = Overlay::new();
    let _ = overlay.apply(body.ops);
    let mut last: Option<Vec<u8>> = None;
    for (key, found) in overlay.iter() {
        assert!(last.as_deref().is_none_or(|last| last < key), "the keys of an overlay ascend");
        assert!(found != Found::Below && overlay.get(key) == found, "an overlay finds what it holds");
        if let Found::Patch(list) = found {
            patches(list.as_bytes());
        }
        last = Some(key.to_vec());
    }
    let mut newer = Overlay::new();
    newer.absorb(&overlay);
}

/// A list of patches, as a delta leaf has it: joined they do the same as one after the other.
pub fn patches(bytes: &[u8]) {
    let Ok(list) = Patches::parse(bytes) else { return };
    let below = b"what lies below the patches, some bytes long";
    let value = list.apply(below);
    if list.iter().all(|patch| patch.new_len() <= 1 << 20) {
        let one_by_one = |value: Vec<u8>, patch| apply_patch(&value, &patch);
        let other = list.iter().fold(below.to_vec(), one_by_one);
        assert!(value == other, "patches that are applied at once make another value");
    }
    match merge_patches(&list) {
        None => {}
        Some(Merged::Value(merged)) => assert!(merged == value, "joined patches make another value"),
        Some(Merged::Patch(merged)) => {
            let patch = Patch::parse(&merged).expect("joined patches are a patch");
            let merged = apply_patch(below, &patch);
            assert!(merged == value, "joined patches make another value");
        }
    }
}

/// What a pack's footer says of the engine.
pub fn summary(bytes: &[u8]) {
    let Some(summary) = Summary::decode(bytes) else { return };
    let again = Summary::decode(&summary.encode());
    assert!(again.as_ref() == Some(&summary), "a summary changes when it is written again");
    let _ = summary.tree.root();
}

/// Rows of the system object.
pub fn rows(bytes: &[u8]) {
    let _ = system::hostile(bytes);
    let _ = holds::hostile(bytes);
    if let Some(retention) = Retention::decode(bytes) {
        assert_eq!(Retention::decode(&retention.encode()), Some(retention));
    }
    if let Some(running) = Running::decode(bytes) {
        assert_eq!(Running::decode(&running.encode()), Some(running));
    }
}

/// What a directory says of its archive, and what the engine keeps in the manifest.
#[cfg(feature = "archive")]
pub fn archive(bytes: &[u8]) {
    crate::archive::hostile(bytes);
}

/// The engine of the catalogs here.
pub const ENGINE: EngineId = EngineId([7; 16]);
