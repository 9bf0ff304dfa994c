//! Reading an object through its layers: write set, overlay, delta leaves, leaves, and the version under them, layer by
//! layer again.

use std::cell::{OnceCell, Ref};

use lineal_snapshot::{Leaf, LeafValue};
use lineal_wal::{ObjectKey, Seq};

use super::{ops::Patches, tx::entry_bytes};
use crate::{
    Error, Result, Value,
    catalog::Snapshot,
    engine::EngineInner,
    object::{
        overlay::{Found, Overlay},
        resident::{Below, Leaves, Resident},
    },
    sync::Arc,
};

/// Keys up to this length are put together on the stack.
const STACK_KEY_BYTES: usize = 96;

/// Calls `f` with the internal key of a user's key: the space byte and the key.
#[inline]
pub(crate) fn internal_key<R>(space: u8, key: &[u8], f: impl FnOnce(&[u8]) -> R) -> R {
    if key.len() < STACK_KEY_BYTES {
        let mut bytes = [0; STACK_KEY_BYTES];
        bytes[0] = space;
        bytes[1..=key.len()].copy_from_slice(key);
        f(&bytes[..=key.len()])
    } else {
        f(&[&[space], key].concat())
    }
}

/// The layers of one object in somebody's turn, newest first.
pub(crate) struct Layers<'r> {
    pub(crate) engine: &'r EngineInner,
    pub(crate) writes: Option<Ref<'r, Overlay>>,
    pub(crate) resident: &'r Resident,
    pub(crate) snapshot: &'r OnceCell<Snapshot>,
}

impl Layers<'_> {
    /// The value of an internal key.
    #[inline]
    pub(crate) fn get(&self, key: &[u8]) -> Result<Option<Value>> {
        // What nearly every read of a resident object comes to: the newest layer that knows the key has its value.
        if self.writes.is_none()
            && let Found::Value(value) = self.resident.overlay.get(key)
        {
            return Ok(Some(value.to_value()));
        }
        self.get_through(key)
    }

    fn get_through(&self, key: &[u8]) -> Result<Option<Value>> {
        let mut patches = PatchStack::default();
        for overlay in self.overlays() {
            match overlay.get(key) {
                Found::Value(value) => return Ok(Some(patches.over(value.to_value()))),
                Found::Deleted => return Ok(patches.over_nothing()),
                Found::Patch(over) => patches.push(over),
                Found::Below => {}
            }
        }
        match &self.resident.below {
            None => Ok(patches.over_nothing()),
            Some(below) => self.get_below(below, key, patches),
        }
    }

    /// What the entry at an internal key counts for in bytes, if it is there. Reads a leaf where only a leaf knows:
    /// quotas and sizes are exact.
    #[inline]
    pub(crate) fn entry_bytes(&self, key: &[u8]) -> Result<Option<i64>> {
        for overlay in self.overlays() {
            match overlay.get(key) {
                Found::Value(value) => return Ok(Some(entry_bytes(key, value.len()))),
                Found::Deleted => return Ok(None),
                Found::Patch(_) => break,
                Found::Below => {}
            }
        }
        Ok(self.get(key)?.map(|value| entry_bytes(key, value.len())))
    }

    /// The overlays, newest first.
    pub(crate) fn overlays(&self) -> impl Iterator<Item = &Overlay> {
        self.writes.as_deref().into_iter().chain([&self.resident.overlay])
    }

    fn get_below(&self, mut below: &Below, key: &[u8], mut patches: PatchStack) -> Result<Option<Value>> {
        loop {
            if let Some(leaves) = &below.leaves {
                for seq in &leaves.deltas {
                    let delta = self.delta(&below.key, *seq)?;
                    match entry_of(&delta, key) {
                        Some((at, LeafValue::Put(_))) => {
                            return Ok(Some(patches.over(shared_value(&delta, at))));
                        }
                        Some((_, LeafValue::Delete)) => return Ok(patches.over_nothing()),
                        Some((_, LeafValue::Patch(list))) => {
                            patches.push(parse_patches(&below.key, list, *seq)?);
                        }
                        None => {}
                    }
                }
                if let Some(leaf) = self.leaf(below, leaves, key)? {
                    return Ok(match entry_of(&leaf, key) {
                        Some((at, LeafValue::Put(_))) => Some(patches.over(shared_value(&leaf, at))),
                        _ => patches.over_nothing(),
                    });
                }
            }
            let Some(under) = &below.under else { return Ok(patches.over_nothing()) };
            let state = &under.version.state;
            match state.overlay.get(key) {
                Found::Value(value) => return Ok(Some(patches.over(value.to_value()))),
                Found::Deleted => return Ok(patches.over_nothing()),
                Found::Patch(over) => patches.push(over),
                Found::Below => {}
            }
            match &state.below {
                None => return Ok(patches.over_nothing()),
                Some(next) => below = next,
            }
        }
    }

    /// The packs, as they were when the transaction first asked for them.
    pub(crate) fn snapshot(&self) -> &Snapshot {
        self.snapshot.get_or_init(|| self.engine.catalog.snapshot())
    }

    pub(crate) fn delta(&self, object: &ObjectKey, seq: Seq) -> Result<Arc<Leaf>> {
        let located =
            self.snapshot().delta(object, seq)?.ok_or_else(|| missing(object, "a delta leaf of it"))?;
        Ok(located.pack.leaf(&located.key, &located.place)?)
    }

    /// The leaf that answers for the key; `None` where the version under them does.
    pub(crate) fn leaf(&self, below: &Below, leaves: &Leaves, key: &[u8]) -> Result<Option<Arc<Leaf>>> {
        if let Some(located) = self.snapshot().leaf(&below.key, leaves.era, key, leaves.fold)? {
            let leaf = located.pack.leaf(&located.key, &located.place)?;
            if leaf.covers(key) {
                return Ok(Some(leaf));
            }
        }
        match &below.under {
            Some(_) => Ok(None),
            // Leaves over nothing answer for every key.
            None => Err(missing(&below.key, "the leaf for a key of it")),
        }
    }
}

pub(crate) fn parse_patches<'p>(object: &ObjectKey, list: &'p [u8], seq: Seq) -> Result<Patches<'p>> {
    Patches::parse(list).map_err(|error| Error::Damaged {
        file: "packs".into(),
        offset: 0,
        object: Some(object.id.to_string()),
        reason: format!("a patch in the delta of commit {seq} is not readable: {error}"),
    })
}

pub(crate) fn missing(object: &ObjectKey, what: &str) -> Error {
    Error::Damaged {
        file: "packs".into(),
        offset: 0,
        object: Some(object.id.to_string()),
        reason: format!("{what} is in no pack"),
    }
}

fn entry_of<'l>(leaf: &'l Leaf, key: &[u8]) -> Option<(usize, LeafValue<'l>)> {
    let at = leaf.lower_bound(key);
    (at < leaf.len() && leaf.key(at) == key).then(|| (at, leaf.value(at)))
}

/// The value of an entry, not copied where it is large.
pub(crate) fn shared_value(leaf: &Leaf, at: usize) -> Value {
    Value::part_of(leaf.bytes(), leaf.value_range(at))
}

/// Patches met on the way down, newest first.
#[derive(Default)]
pub(crate) struct PatchStack(Vec<Vec<u8>>);

impl PatchStack {
    pub(crate) fn push(&mut self, patches: Patches<'_>) {
        self.0.push(patches.as_bytes().to_vec());
    }

    pub(crate) fn over(&self, value: Value) -> Value {
        if self.0.is_empty() {
            return value;
        }
        Value::from(self.apply(value.to_vec()))
    }

    pub(crate) fn over_nothing(&self) -> Option<Value> {
        if self.0.is_empty() { None } else { Some(Value::from(self.apply(Vec::new()))) }
    }

    fn apply(&self, mut bytes: Vec<u8>) -> Vec<u8> {
        for list in self.0.iter().rev() {
            bytes = Patches::trusted(list).apply(&bytes);
        }
        bytes
    }
}
