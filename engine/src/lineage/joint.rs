//! Joint digests of records in the log, whose other parts belong to other objects with salts of their own.

use std::collections::{HashMap, hash_map::Entry};

use lineal_wal::{Lsn, ObjectKey, OwnedRecord};

use super::{joint_digest, ops_digest};
use crate::{
    Result,
    catalog::Snapshot,
    engine::EngineInner,
    object::{
        head::{Hash, Head},
        wake::{bad_body, logged_commit, newest_head},
    },
    transaction::body::Body,
};

/// Objects whose salts are remembered.
///
/// Source: chosen; 100 KiB.
const KNOWN_MAX: usize = 1 << 10;

/// Computes joint digests, and remembers salts from one to the next.
#[derive(Default)]
pub(crate) struct Joints(HashMap<ObjectKey, Known>);

/// What is known of the salt of one object.
struct Known {
    /// The newest packed commit, and the salt in force there.
    packed: (Lsn, Option<[u8; 16]>),
    /// A commit in the log, and the salt in force there.
    logged: (Lsn, [u8; 16]),
}

impl Joints {
    /// The joint digest of a record, if it has several parts.
    pub(crate) fn of(
        &mut self,
        engine: &EngineInner,
        snapshot: &Snapshot,
        record: &OwnedRecord,
    ) -> Result<Option<Hash>> {
        let record = record.as_record();
        if record.part_count() < 2 {
            return Ok(None);
        }
        let mut parts = Vec::with_capacity(record.part_count());
        for part in record.parts() {
            let body = Body::decode(part.flags, part.body).ok_or_else(|| bad_body(&part.object, part.seq))?;
            let salt = match body.first {
                Some(first) => first.salt,
                None => self.salt_at(engine, snapshot, part.object, part.prev_lsn)?,
            };
            if let Some(known) = self.0.get_mut(&part.object) {
                known.logged = (record.lsn, salt);
            }
            parts.push((part.object, part.seq, ops_digest(&salt, body.ops)));
        }
        Ok(Some(joint_digest(&mut parts)))
    }

    /// The salt that was in force at the commit at `lsn`, looked for backwards from it.
    fn salt_at(
        &mut self,
        engine: &EngineInner,
        snapshot: &Snapshot,
        object: ObjectKey,
        lsn: Lsn,
    ) -> Result<[u8; 16]> {
        if self.0.len() >= KNOWN_MAX {
            self.0.clear();
        }
        let known = match self.0.entry(object) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(unknown) => {
                let head = newest_head(snapshot, &object)?.map_or_else(Head::empty, |found| found.head);
                unknown.insert(Known { packed: (head.lsn, head.salt), logged: (Lsn(0), [0; 16]) })
            }
        };
        let mut at = lsn;
        while at > known.packed.0 {
            if at == known.logged.0 {
                return Ok(known.logged.1);
            }
            let (record, index) = logged_commit(engine, object, at)?;
            let part = record.as_record().parts().nth(index).expect("the part was found by its place");
            let body = Body::decode(part.flags, part.body).ok_or_else(|| bad_body(&object, part.seq))?;
            if let Some(first) = body.first {
                return Ok(first.salt);
            }
            at = part.prev_lsn;
        }
        // None: the other object's namespace was dropped meanwhile, and compaction has passed. The digest is taken as
        // given once it is packed; until then any salt will do.
        Ok(known.packed.1.unwrap_or_default())
    }
}
