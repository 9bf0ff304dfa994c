//! All cells of an engine, by object key.

use std::{
    collections::HashMap,
    hash::{BuildHasher, Hasher},
};

use lineal_wal::{Lsn, NamespaceId, ObjectKey};

use super::cell::Cell;
use crate::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering},
};

/// Source: a few times the threads that may look up at once on a large machine; a power of two.
const SHARDS: usize = 64;

type Shard = HashMap<ObjectKey, Arc<Cell>, KeyHash>;

/// The cells of the objects that are in use, resident or not packed yet.
pub(crate) struct Table {
    shards: Vec<Mutex<Shard>>,
    /// Cells made since the last sweep, and how many of them are enough for the next.
    made: AtomicUsize,
    sweep_at: AtomicUsize,
}

/// Cells that may be made before the unused ones are looked for.
///
/// Source: chosen; about 16 MiB of them.
const SWEEP_CELLS_MIN: usize = 1 << 16;

/// Ids are hashes or end in random bytes: their last eight bytes are a hash already.
#[derive(Clone, Copy, Default)]
pub(crate) struct KeyHash;

pub(crate) struct KeyHasher(u64);

impl BuildHasher for KeyHash {
    type Hasher = KeyHasher;
    fn build_hasher(&self) -> KeyHasher {
        KeyHasher(0)
    }
}

impl Hasher for KeyHasher {
    fn write(&mut self, bytes: &[u8]) {
        let mut last = [0; 8];
        let count = bytes.len().min(8);
        last[..count].copy_from_slice(&bytes[bytes.len() - count..]);
        self.0 ^= u64::from_le_bytes(last);
    }

    fn write_u32(&mut self, number: u32) {
        self.0 ^= u64::from(number).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    }

    fn write_usize(&mut self, _length: usize) {}

    fn finish(&self) -> u64 {
        // An id can be chosen by whoever calls `by_id`: mix, so that equal low bits are not equal buckets.
        let mixed = self.0 ^ (self.0 >> 32);
        mixed.wrapping_mul(0x9E37_79B9_7F4A_7C15)
    }
}

impl Table {
    pub(crate) fn new() -> Table {
        Table {
            shards: (0..SHARDS).map(|_| Mutex::new(Shard::default())).collect(),
            made: AtomicUsize::new(0),
            sweep_at: AtomicUsize::new(SWEEP_CELLS_MIN),
        }
    }

    fn shard(&self, key: &ObjectKey) -> &Mutex<Shard> {
        let hash = KeyHash.hash_one(key);
        &self.shards[usize::try_from(hash >> 58).expect("six bits fit")]
    }

    /// The object's cell, made if it is not there. `last_lsn` says where its newest commit stands that is not
    /// packed, if the engine found one when it opened.
    pub(crate) fn get(&self, key: ObjectKey, last_lsn: impl FnOnce() -> Lsn) -> Arc<Cell> {
        let mut shard = self.shard(&key).lock();
        Arc::clone(shard.entry(key).or_insert_with(|| {
            self.made.fetch_add(1, Ordering::Relaxed);
            Arc::new(Cell::new(key, last_lsn()))
        }))
    }

    /// Whether so many cells were made that it is time to look for those nobody uses.
    pub(crate) fn wants_sweep(&self) -> bool {
        self.made.load(Ordering::Relaxed) >= self.sweep_at.load(Ordering::Relaxed)
    }

    /// Takes out every cell that nobody uses, packed up to `line`.
    pub(crate) fn sweep(&self, line: Lsn) {
        for shard in 0..self.shards.len() {
            self.remove_unused(&self.shard_cells(shard), line);
        }
        self.made.store(0, Ordering::Relaxed);
        self.sweep_at.store(self.len().max(SWEEP_CELLS_MIN), Ordering::Relaxed);
    }

    /// The cells of one shard, for walking the table without holding its locks.
    pub(crate) fn shard_cells(&self, shard: usize) -> Vec<Arc<Cell>> {
        self.shards[shard].lock().values().cloned().collect()
    }

    pub(crate) fn shard_count(&self) -> usize {
        SHARDS
    }

    /// Number of cells.
    pub(crate) fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().len()).sum()
    }

    /// Keys in the namespace whose newest commit is after `line`, sorted.
    pub(crate) fn unpacked_keys(&self, namespace: NamespaceId, line: Lsn) -> Vec<ObjectKey> {
        let mut keys: Vec<ObjectKey> = Vec::new();
        for shard in &self.shards {
            let shard = shard.lock();
            keys.extend(
                shard
                    .values()
                    .filter(|cell| cell.key.namespace == namespace && cell.last_lsn() > line)
                    .map(|cell| cell.key),
            );
        }
        keys.sort_unstable();
        keys
    }

    /// Takes out every cell of `candidates` that nobody uses: no handle, no turn, not resident, packed up to
    /// `line`. `candidates` must hold one reference each.
    pub(crate) fn remove_unused(&self, candidates: &[Arc<Cell>], line: Lsn) -> usize {
        let mut removed = 0;
        for cell in candidates {
            let mut shard = self.shard(&cell.key).lock();
            // One reference here, one in the table: with the shard locked nobody can get a third.
            let unused = Arc::strong_count(cell) == 2
                && cell.last_lsn() <= line
                && cell.turns.with_idle(|resident| resident.is_none()) == Some(true);
            if unused && shard.get(&cell.key).is_some_and(|held| Arc::ptr_eq(held, cell)) {
                shard.remove(&cell.key);
                removed += 1;
            }
        }
        removed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lineal_wal::ObjectId;

    fn key(byte: u8) -> ObjectKey {
        ObjectKey { namespace: NamespaceId(1), id: ObjectId([byte; 16]) }
    }

    #[test]
    fn a_cell_in_use_or_not_packed_stays() {
        let table = Table::new();
        let held = table.get(key(1), Lsn::default);
        table.get(key(2), || Lsn(9));
        table.get(key(3), Lsn::default);
        for shard in 0..table.shard_count() {
            let cells = table.shard_cells(shard);
            table.remove_unused(&cells, Lsn(8));
        }
        assert_eq!(table.len(), 2);
        assert_eq!(table.unpacked_keys(NamespaceId(1), Lsn(8)), [key(2)]);
        assert!(table.unpacked_keys(NamespaceId(2), Lsn(8)).is_empty());
        assert!(Arc::ptr_eq(&held, &table.get(key(1), Lsn::default)));
    }
}
