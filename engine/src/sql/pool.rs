//! The connections that are kept open between transactions, and what is known of all of them.

use std::collections::HashMap;

use lineal_wal::{
    NamespaceId, ObjectKey, Seq,
    planted::{self, Bug},
};

use super::{
    SqlOptions,
    connection::Connection,
    port::Pages,
    setup::{Connect, Setup},
};
use crate::{
    Options, Result,
    object::table::KeyHash,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

/// Connections of objects that nobody uses at the moment, least recently used first to go; and the applications' hooks.
pub(crate) struct Pool {
    kept: Mutex<Kept>,
    hooks: Mutex<HashMap<NamespaceId, Connect>>,
    /// How often a hook was registered.
    hooks_changed: AtomicU64,
}

#[derive(Default)]
struct Kept {
    idle: HashMap<ObjectKey, Idle, KeyHash>,
    /// What interrupts the connections in use.
    in_use: HashMap<ObjectKey, Arc<AtomicBool>, KeyHash>,
    bytes: usize,
    tick: u64,
}

struct Idle {
    connection: Connection,
    bytes: usize,
    used: u64,
}

impl Pool {
    pub(crate) fn new() -> Pool {
        Pool {
            kept: Mutex::new(Kept::default()),
            hooks: Mutex::new(HashMap::new()),
            hooks_changed: AtomicU64::new(0),
        }
    }

    pub(crate) fn set_hook(&self, namespace: NamespaceId, connect: Connect) {
        self.hooks.lock().insert(namespace, connect);
        self.hooks_changed.fetch_add(1, Ordering::AcqRel);
        let stale = {
            let mut kept = self.kept.lock();
            let keys: Vec<ObjectKey> =
                kept.idle.keys().filter(|key| key.namespace == namespace).copied().collect();
            keys.into_iter().filter_map(|key| kept.remove(&key)).collect::<Vec<_>>()
        };
        drop(stale);
    }

    /// The connection of an object whose turn the caller has, if it is kept and still right; else a new one.
    pub(super) fn take(
        &self,
        options: &Options,
        key: ObjectKey,
        valid_for: Seq,
        pages: &dyn Pages,
    ) -> Result<Connection> {
        let found = self.kept.lock().remove(&key);
        let connection = match found {
            Some(connection) if connection.valid_for == valid_for || planted::on(Bug::SqlCacheStale) => {
                connection
            }
            stale => {
                drop(stale);
                let mut connection = self.open(options, key.namespace, pages)?;
                connection.valid_for = valid_for;
                connection
            }
        };
        self.lend(key, &connection);
        Ok(connection)
    }

    /// A new connection of an object whose turn the caller has, and none other, because the object is not what a
    /// transaction before made of it.
    pub(super) fn take_new(
        &self,
        options: &Options,
        key: ObjectKey,
        pages: &dyn Pages,
    ) -> Result<Connection> {
        self.forget(&key);
        let connection = self.open(options, key.namespace, pages)?;
        self.lend(key, &connection);
        Ok(connection)
    }

    fn lend(&self, key: ObjectKey, connection: &Connection) {
        connection.clear_interrupt();
        self.kept.lock().in_use.insert(key, connection.interrupter());
    }

    /// A connection that is not kept afterwards.
    pub(super) fn open(
        &self,
        options: &Options,
        namespace: NamespaceId,
        pages: &dyn Pages,
    ) -> Result<Connection> {
        let hooks = self.hooks_changed.load(Ordering::Acquire);
        let hook = self.hooks.lock().get(&namespace).cloned();
        let (clock, random) = (options.clock.clone(), options.random.clone());
        let mut connection = Connection::open(&options.sql, clock, random, pages, hook.as_ref())?;
        connection.hooks = hooks;
        Ok(connection)
    }

    /// Registers what the application adds to its namespace's connections with another one.
    pub(super) fn set_up(&self, namespace: NamespaceId, db: &rusqlite::Connection) -> Result<()> {
        let hook = self.hooks.lock().get(&namespace).cloned();
        hook.map_or(Ok(()), |connect| connect(&mut Setup::new(db)))
    }

    /// Keeps a connection for the object's next turn.
    pub(super) fn give(&self, options: &SqlOptions, key: ObjectKey, mut connection: Connection) {
        let bytes = connection.estimate_bytes();
        let mut gone = Vec::new();
        let mut kept = self.kept.lock();
        kept.in_use.remove(&key);
        if connection.hooks != self.hooks_changed.load(Ordering::Acquire) {
            gone.push(connection);
            return;
        }
        kept.tick += 1;
        kept.bytes += bytes;
        let idle = Idle { connection, bytes, used: kept.tick };
        if let Some(before) = kept.idle.insert(key, idle) {
            kept.bytes -= before.bytes;
            gone.push(before.connection);
        }
        // Closing one costs more than looking for it: no order is kept.
        while kept.bytes > options.connections_bytes_max {
            let oldest = kept.idle.iter().min_by_key(|(_, idle)| idle.used).map(|(key, _)| *key);
            let Some(connection) = oldest.and_then(|key| kept.remove(&key)) else { break };
            gone.push(connection);
        }
        drop(kept);
    }

    /// Tells that a connection in use was closed instead of given back.
    pub(super) fn closed(&self, key: &ObjectKey) {
        self.kept.lock().in_use.remove(key);
    }

    /// Closes the connection of an object that hibernates.
    pub(crate) fn forget(&self, key: &ObjectKey) {
        let gone = self.kept.lock().remove(key);
        drop(gone);
    }

    /// Stops the statement that runs on an object. Returns whether a connection was in use.
    pub(crate) fn interrupt(&self, key: &ObjectKey) -> bool {
        // Under the lock, so that it does not reach the transaction after that one.
        let kept = self.kept.lock();
        kept.in_use.get(key).inspect(|flag| flag.store(true, Ordering::Relaxed)).is_some()
    }

    /// Number of connections that are kept, and their memory in bytes.
    pub(crate) fn usage(&self) -> (u64, u64) {
        let kept = self.kept.lock();
        (kept.idle.len() as u64, kept.bytes as u64)
    }
}

impl Kept {
    fn remove(&mut self, key: &ObjectKey) -> Option<Connection> {
        let idle = self.idle.remove(key)?;
        self.bytes -= idle.bytes;
        Some(idle.connection)
    }
}
