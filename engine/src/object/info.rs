//! What an engine tells of an object.

use lineal_wal::{Micros, ObjectId, ObjectKey};

use super::{head::Head, resident::Resident};
use crate::{Error, Result};

/// What an engine tells of an object without reading its entries.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ObjectInfo {
    /// Its id.
    pub id: ObjectId,
    /// Its name, if it was made by name.
    pub name: Option<String>,
    /// The number of commits it has had.
    pub seq: u64,
    /// The log position of its newest commit.
    pub lsn: u64,
    /// Bytes of its keys and values: exact for small objects, for large ones an upper bound until the
    /// checkpoint has worked the newest commits into leaves.
    pub bytes: u64,
    /// Whether it exists: `false` after a delete.
    pub exists: bool,
    /// Time of its newest commit, in microseconds since the Unix epoch.
    pub last_commit: Micros,
}

impl ObjectInfo {
    pub(crate) fn of(key: ObjectKey, resident: &Resident) -> Result<ObjectInfo> {
        if resident.seq.0 == 0 || (!resident.exists && resident.salt.is_none()) {
            return Err(Error::NotFound { what: format!("object {}", key.id) });
        }
        Ok(ObjectInfo {
            id: key.id,
            name: resident.name.as_deref().map(str::to_owned),
            seq: resident.seq.0,
            lsn: resident.last_lsn.0,
            bytes: resident.bytes,
            exists: resident.exists,
            last_commit: resident.last_time,
        })
    }

    pub(crate) fn of_head(key: ObjectKey, head: &Head) -> ObjectInfo {
        ObjectInfo {
            id: key.id,
            name: head.name.as_deref().map(str::to_owned),
            seq: head.seq.0,
            lsn: head.lsn.0,
            bytes: head.bytes,
            exists: head.exists,
            last_commit: head.time,
        }
    }
}
