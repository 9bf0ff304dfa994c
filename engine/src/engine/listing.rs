//! Listing the objects of a namespace: what the packs know, overlaid with what is only in the log.

use std::collections::VecDeque;

use lineal_wal::{ObjectId, ObjectKey};

use crate::{
    Error, Namespace, ObjectInfo, Result,
    catalog::{Heads, Located},
    object::head::Head,
};

/// Iterates over the objects of a namespace that exist, by id.
///
/// Made by [`Namespace::objects`]. Lazy: a block is read when its objects are asked for. An object that is
/// written while the listing goes on is listed as it was at some moment since the listing began.
pub struct Objects {
    namespace: Namespace,
    heads: Heads,
    head: Option<(ObjectKey, Located)>,
    unpacked: VecDeque<ObjectKey>,
    failed: bool,
}

impl std::fmt::Debug for Objects {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Objects").field("namespace", &self.namespace.name()).finish_non_exhaustive()
    }
}

impl Objects {
    pub(crate) fn new(namespace: Namespace, after: Option<ObjectId>) -> Result<Objects> {
        let engine = &namespace.engine;
        engine.check_open()?;
        let after = after.map(|id| ObjectKey { namespace: namespace.id(), id });
        // The unpacked first: what a checkpoint packs in between is then seen twice, which the merge undoes, and
        // not missed.
        let unpacked = engine
            .unpacked_keys(namespace.id())
            .into_iter()
            .filter(|key| after.is_none_or(|after| *key > after))
            .collect();
        let heads = engine.catalog.snapshot().heads(namespace.id(), after)?;
        Ok(Objects { namespace, heads, head: None, unpacked, failed: false })
    }

    fn step(&mut self) -> Result<Option<ObjectInfo>> {
        loop {
            if self.head.is_none() {
                self.head = self.heads.next().transpose()?.map(|located| (located.key.object, located));
            }
            let packed = self.head.as_ref().map(|(key, _)| *key);
            let logged = self.unpacked.front().copied();
            let (key, info) = match (packed, logged) {
                (None, None) => return Ok(None),
                (Some(packed), Some(logged)) if packed < logged => (packed, self.packed_info()?),
                (Some(packed), None) => (packed, self.packed_info()?),
                (packed, Some(logged)) => {
                    self.unpacked.pop_front();
                    if packed == Some(logged) {
                        self.head = None;
                    }
                    (logged, self.logged_info(logged)?)
                }
            };
            debug_assert!(info.as_ref().is_none_or(|info| info.id == key.id));
            if let Some(info) = info.filter(|info| info.exists) {
                return Ok(Some(info));
            }
        }
    }

    fn packed_info(&mut self) -> Result<Option<ObjectInfo>> {
        let Some((key, located)) = self.head.take() else { return Ok(None) };
        let payload = located.pack.read(&located.key, &located.place)?;
        let head = Head::decode(located.key.seq, &payload)
            .map_err(|bad| located.damaged(format!("the head is not readable: {}", bad.0)))?;
        Ok(Some(ObjectInfo::of_head(key, &head)))
    }

    fn logged_info(&self, key: ObjectKey) -> Result<Option<ObjectInfo>> {
        match self.namespace.at(key.id).info() {
            Ok(info) => Ok(Some(info)),
            Err(Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

impl Iterator for Objects {
    type Item = Result<ObjectInfo>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let step = self.step();
        // Damage to one object is told and the listing goes on; it ends only where it cannot know what is next.
        self.failed = matches!(&step, Err(error) if !matches!(error, Error::Damaged { object: Some(_), .. }));
        step.transpose()
    }
}
