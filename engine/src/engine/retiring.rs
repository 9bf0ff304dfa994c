//! What begins to need a past version while compaction decides what may go.

use std::collections::HashMap;

use lineal_wal::{ObjectKey, Seq};

use crate::sync::{Mutex, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// Restores, forks and pins say here which version they are about to need. A compaction that has left versions out
/// looks here before it lists its pack, with nobody between looking a version up and needing it.
#[derive(Default)]
pub(crate) struct Retiring {
    gate: RwLock<()>,
    /// Since the last [`begin`](Retiring::begin).
    needed: Mutex<Vec<ObjectKey>>,
}

/// Most that is remembered between two compactions by force: beyond, the next one leaves nothing out.
///
/// Source: chosen; a few megabytes.
const NEEDED_MAX: usize = 1 << 17;

impl Retiring {
    /// To be held from before a version is looked up until the commit that needs it is appended.
    pub(crate) fn hold(&self) -> RwLockReadGuard<'_, ()> {
        self.gate.read()
    }

    /// Says, while held, that a version of an object is needed.
    pub(crate) fn need(&self, object: ObjectKey) {
        let mut needed = self.needed.lock();
        if needed.len() <= NEEDED_MAX {
            needed.push(object);
        }
    }

    /// Forgets what was needed so far: a checkpoint that begins now packs it.
    pub(crate) fn begin(&self) {
        let _shut = self.gate.write();
        self.needed.lock().clear();
    }

    /// Keeps everybody out.
    pub(crate) fn shut(&self) -> RwLockWriteGuard<'_, ()> {
        self.gate.write()
    }

    /// Whether a version of any object is needed that something was left out of. Which one does not matter: what needs
    /// it may read leaves that are older than it.
    pub(crate) fn needs(&self, left_out: &HashMap<ObjectKey, Seq>) -> bool {
        let needed = self.needed.lock();
        let beyond = needed.len() > NEEDED_MAX && !left_out.is_empty();
        beyond || needed.iter().any(|object| left_out.contains_key(object))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lineal_wal::{NamespaceId, ObjectId};

    #[test]
    fn what_is_needed_since_the_beginning_is_known() {
        let key = |byte| ObjectKey { namespace: NamespaceId(1), id: ObjectId([byte; 16]) };
        let retiring = Retiring::default();
        retiring.need(key(1));
        let from = HashMap::from([(key(1), Seq(6))]);
        assert!(retiring.needs(&from));
        assert!(!retiring.needs(&HashMap::from([(key(2), Seq(9))])));
        retiring.begin();
        assert!(!retiring.needs(&from));
        (0..=NEEDED_MAX).for_each(|_| retiring.need(key(3)));
        assert!(retiring.needs(&from), "too much to remember");
        assert!(!retiring.needs(&HashMap::new()));
    }
}
