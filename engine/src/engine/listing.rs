//! Listing the objects of a namespace: what the packs know, overlaid with what is only in the log.

use std::collections::VecDeque;

use lineal_wal::{NamespaceId, ObjectId, ObjectKey};

use super::EngineInner;
use crate::{
    Error, Namespace, ObjectInfo, Result,
    catalog::{Heads, Located},
    object::head::Head,
};

/// Iterates over the objects of a namespace that packs or the log know, also those that were deleted, by id.
///
/// Lazy: it holds the keys that are not packed, and the packs of the moment it was made.
pub(crate) struct Keys {
    heads: Heads,
    head: Option<Located>,
    unpacked: VecDeque<ObjectKey>,
}

impl Keys {
    /// Those behind `after`.
    pub(crate) fn new(
        engine: &EngineInner,
        namespace: NamespaceId,
        after: Option<ObjectKey>,
    ) -> Result<Keys> {
        // The unpacked first: what a checkpoint packs in between is then seen twice, which the merge undoes, and
        // not missed.
        let unpacked = engine
            .unpacked_keys(namespace)
            .into_iter()
            .filter(|key| after.is_none_or(|after| *key > after))
            .collect();
        let heads = engine.catalog.snapshot().heads(namespace, after)?;
        Ok(Keys { heads, head: None, unpacked })
    }

    /// The next one; where its newest commit is packed, with its head.
    fn step(&mut self) -> Result<Option<(ObjectKey, Option<Located>)>> {
        if self.head.is_none() {
            self.head = self.heads.next().transpose()?;
        }
        let packed = self.head.as_ref().map(|head| head.key.object);
        let logged = self.unpacked.front().copied();
        if let Some(logged) = logged.filter(|logged| packed.is_none_or(|packed| *logged <= packed)) {
            self.unpacked.pop_front();
            if packed == Some(logged) {
                self.head = None;
            }
            return Ok(Some((logged, None)));
        }
        Ok(packed.map(|packed| (packed, self.head.take())))
    }
}

impl Iterator for Keys {
    type Item = Result<ObjectKey>;

    fn next(&mut self) -> Option<Self::Item> {
        self.step().map(|found| found.map(|(key, _)| key)).transpose()
    }
}

/// Iterates over the objects of a namespace that exist, by id.
///
/// Made by [`Namespace::objects`]. Lazy: a block is read when its objects are asked for. An object that is
/// written while the listing goes on is listed as it was at some moment since the listing began.
pub struct Objects {
    namespace: Namespace,
    keys: Keys,
    failed: bool,
}

impl std::fmt::Debug for Objects {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Objects").field("namespace", &self.namespace.name()).finish_non_exhaustive()
    }
}

impl Objects {
    pub(crate) fn new(namespace: Namespace, after: Option<ObjectId>) -> Result<Objects> {
        namespace.engine.check_open()?;
        let after = after.map(|id| ObjectKey { namespace: namespace.id(), id });
        let keys = Keys::new(&namespace.engine, namespace.id(), after)?;
        Ok(Objects { namespace, keys, failed: false })
    }

    fn step(&mut self) -> Result<Option<ObjectInfo>> {
        loop {
            let info = match self.keys.step()? {
                None => return Ok(None),
                Some((key, Some(head))) => Some(packed_info(key, &head)?),
                Some((key, None)) => self.logged_info(key)?,
            };
            if let Some(info) = info.filter(|info| info.exists) {
                return Ok(Some(info));
            }
        }
    }

    fn logged_info(&self, key: ObjectKey) -> Result<Option<ObjectInfo>> {
        match self.namespace.at(key.id).info() {
            Ok(info) => Ok(Some(info)),
            Err(Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

fn packed_info(key: ObjectKey, located: &Located) -> Result<ObjectInfo> {
    let payload = located.pack.read(&located.key, &located.place)?;
    let head = Head::decode(located.key.seq, &payload)
        .map_err(|bad| located.damaged(format!("the head is not readable: {}", bad.0)))?;
    Ok(ObjectInfo::of_head(key, &head))
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
