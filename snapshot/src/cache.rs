//! The block cache: what was read from packs and is likely to be read again, bounded by bytes.
//!
//! It keeps pages of indexes and filters, decoded leaves, and decoded heads and runs of the past. Eviction is by clock: what was asked for since the hand
//! came by stays for another round. It is split into shards, each behind its own lock, so that readers of different
//! blocks rarely meet.

use crate::group::Group;
use crate::leaf::Leaf;
use crate::sync::{Arc, AtomicU64, Mutex, Ordering};
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// Most shards. Source: a guess, a few times the cores that one engine uses.
const SHARDS_MAX: usize = 16;

/// Least bytes of a shard: a cache too small for this has fewer shards, so that a big leaf still fits.
const SHARD_BYTES_MIN: usize = 4 << 20;

/// What an item costs beside its bytes: its slot, its row in the map, its allocation. Source: estimated.
const ITEM_BYTES: usize = 128;

/// Numbers of a cache, all since it was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct CacheStats {
    /// Questions that it could answer.
    pub hits: u64,
    /// Questions that it could not answer.
    pub misses: u64,
    /// Items that had to go for others.
    pub evictions: u64,
    /// Bytes held now.
    pub bytes: u64,
    /// Items held now.
    pub items: u64,
    /// Bytes that it may hold.
    pub bytes_max: u64,
}

/// One open pack, to the cache. Never used twice, so what belonged to a pack that was closed can never answer for
/// another, not even for a pack of another engine that shares the cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CacheOwner(u64);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct CacheKey {
    owner: u64,
    offset: u64,
}

impl std::hash::Hash for CacheKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.mix());
    }
}

impl CacheKey {
    fn mix(self) -> u64 {
        let product = u128::from(self.owner ^ 0x9e37_79b9_7f4a_7c15)
            * u128::from(self.offset.wrapping_mul(0xd1b5_4a32_d192_ed03) | 1);
        (product as u64) ^ ((product >> 64) as u64)
    }
}

/// Passes a number on that is mixed already.
#[derive(Debug, Default)]
struct MixedHasher(u64);

impl Hasher for MixedHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _bytes: &[u8]) {
        unreachable!("cache keys hash as one number");
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = value;
    }
}

/// What the cache holds at one offset of a pack.
#[derive(Debug, Clone)]
pub(crate) enum Cached {
    /// A page of the index or the filter, or the content of a head without what is behind it; verified.
    Page(Arc<[u8]>),
    /// A leaf, verified and decoded.
    Leaf(Arc<Leaf>),
    /// A head or a run with the runs behind it, verified and decoded.
    Group(Arc<Group>),
}

impl Cached {
    fn bytes(&self) -> usize {
        ITEM_BYTES
            + match self {
                Self::Page(page) => page.len(),
                Self::Leaf(leaf) => leaf.memory_bytes(),
                Self::Group(group) => group.memory_bytes(),
            }
    }
}

#[derive(Debug)]
struct Slot {
    key: CacheKey,
    item: Cached,
    bytes: usize,
    asked_for: bool,
}

/// Invariants: `rows[slots[i].key] == i` and no more rows; `bytes` is the sum over the slots and at most the limit.
#[derive(Debug, Default)]
struct Shard {
    rows: HashMap<CacheKey, usize, BuildHasherDefault<MixedHasher>>,
    slots: Vec<Slot>,
    hand: usize,
    bytes: usize,
    hits: u64,
    misses: u64,
    evictions: u64,
}

impl Shard {
    fn get(&mut self, key: CacheKey) -> Option<Cached> {
        let Some(&index) = self.rows.get(&key) else {
            self.misses += 1;
            return None;
        };
        self.hits += 1;
        let slot = &mut self.slots[index];
        slot.asked_for = true;
        Some(slot.item.clone())
    }

    fn insert(&mut self, key: CacheKey, item: Cached, bytes_max: usize) {
        let bytes = item.bytes();
        if bytes > bytes_max {
            return;
        }
        if let Some(&index) = self.rows.get(&key) {
            self.remove(index);
        }
        while self.bytes + bytes > bytes_max {
            self.evict();
        }
        self.rows.insert(key, self.slots.len());
        self.slots.push(Slot { key, item, bytes, asked_for: false });
        self.bytes += bytes;
    }

    fn evict(&mut self) {
        loop {
            if self.hand >= self.slots.len() {
                self.hand = 0;
            }
            let slot = &mut self.slots[self.hand];
            if !slot.asked_for {
                break;
            }
            slot.asked_for = false;
            self.hand += 1;
        }
        self.evictions += 1;
        self.remove(self.hand);
    }

    fn remove(&mut self, index: usize) {
        let slot = self.slots.swap_remove(index);
        self.rows.remove(&slot.key);
        self.bytes -= slot.bytes;
        if let Some(moved) = self.slots.get(index) {
            self.rows.insert(moved.key, index);
        }
    }

    fn forget(&mut self, owner: u64) {
        let mut index = 0;
        while index < self.slots.len() {
            if self.slots[index].key.owner == owner {
                self.remove(index);
            } else {
                index += 1;
            }
        }
    }

    #[cfg(test)]
    fn check(&self, bytes_max: usize) {
        assert_eq!(self.rows.len(), self.slots.len());
        for (index, slot) in self.slots.iter().enumerate() {
            assert_eq!(self.rows.get(&slot.key), Some(&index));
        }
        assert_eq!(self.bytes, self.slots.iter().map(|slot| slot.bytes).sum::<usize>());
        assert!(self.bytes <= bytes_max);
    }
}

/// A cache for all packs of an engine, or of several.
#[derive(Debug)]
pub struct BlockCache {
    shards: Vec<Mutex<Shard>>,
    shard_bytes: usize,
    next_owner: AtomicU64,
}

impl BlockCache {
    /// A cache of at most `bytes` bytes.
    pub fn new(bytes: usize) -> Arc<Self> {
        let wanted = (bytes / SHARD_BYTES_MIN).clamp(1, SHARDS_MAX);
        let count = 1 << wanted.ilog2();
        Arc::new(Self {
            shards: (0..count).map(|_| Mutex::new(Shard::default())).collect(),
            shard_bytes: bytes / count,
            next_owner: AtomicU64::new(1),
        })
    }

    /// What it did and holds.
    pub fn stats(&self) -> CacheStats {
        let mut stats =
            CacheStats { bytes_max: (self.shard_bytes * self.shards.len()) as u64, ..CacheStats::default() };
        for shard in &self.shards {
            let shard = shard.lock();
            stats.hits += shard.hits;
            stats.misses += shard.misses;
            stats.evictions += shard.evictions;
            stats.bytes += shard.bytes as u64;
            stats.items += shard.slots.len() as u64;
        }
        stats
    }

    /// Drops everything; memory is given back shard by shard.
    pub fn clear(&self) {
        for shard in &self.shards {
            let old = {
                let mut shard = shard.lock();
                let kept = Shard {
                    hits: shard.hits,
                    misses: shard.misses,
                    evictions: shard.evictions,
                    ..Shard::default()
                };
                std::mem::replace(&mut *shard, kept)
            };
            drop(old);
        }
    }

    pub(crate) fn new_owner(&self) -> CacheOwner {
        // Relaxed: only uniqueness matters.
        CacheOwner(self.next_owner.fetch_add(1, Ordering::Relaxed))
    }

    pub(crate) fn get(&self, owner: CacheOwner, offset: u64) -> Option<Cached> {
        let key = CacheKey { owner: owner.0, offset };
        self.shard(key).lock().get(key)
    }

    pub(crate) fn insert(&self, owner: CacheOwner, offset: u64, item: Cached) {
        let key = CacheKey { owner: owner.0, offset };
        self.shard(key).lock().insert(key, item, self.shard_bytes);
    }

    /// Drops all that belongs to a pack.
    pub(crate) fn forget(&self, owner: CacheOwner) {
        for shard in &self.shards {
            shard.lock().forget(owner.0);
        }
    }

    fn shard(&self, key: CacheKey) -> &Mutex<Shard> {
        // The map uses the low bits; the shard is chosen by high ones.
        &self.shards[(key.mix() >> 48) as usize & (self.shards.len() - 1)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn page(bytes: usize) -> Cached {
        Cached::Page(vec![0; bytes].into())
    }

    proptest! {
        #[test]
        fn a_shard_holds_what_fits_and_stays_consistent(
            steps in proptest::collection::vec((0u8..4, 0u64..3, 0u64..20, 0usize..2000), 0..300),
        ) {
            let mut shard = Shard::default();
            for (what, owner, offset, bytes) in steps {
                let key = CacheKey { owner, offset };
                match what {
                    0 => drop(shard.get(key)),
                    1 if bytes < 50 => shard.forget(owner),
                    _ => shard.insert(key, page(bytes), 8_000),
                }
                shard.check(8_000);
            }
        }
    }

    #[test]
    fn what_is_asked_for_outlives_what_is_not() {
        let mut shard = Shard::default();
        let key = |offset| CacheKey { owner: 1, offset };
        for offset in 0..1000 {
            shard.insert(key(offset), page(1000), 20_000);
            assert!(shard.get(key(0)).is_some(), "{offset}");
        }
        assert!(shard.get(key(500)).is_none());
    }

    #[test]
    fn an_item_larger_than_a_shard_is_not_kept() {
        let cache = BlockCache::new(1000);
        let owner = cache.new_owner();
        cache.insert(owner, 0, page(1000));
        assert!(cache.get(owner, 0).is_none());
        assert_eq!(cache.stats().bytes, 0);
    }

    #[test]
    fn a_forgotten_pack_leaves_nothing_behind() {
        let cache = BlockCache::new(64 << 20);
        let (a, b) = (cache.new_owner(), cache.new_owner());
        for offset in 0..1000 {
            cache.insert(a, offset, page(100));
            cache.insert(b, offset, page(100));
        }
        cache.forget(a);
        assert!((0..1000).all(|offset| cache.get(a, offset).is_none() && cache.get(b, offset).is_some()));
        let stats = cache.stats();
        assert_eq!((stats.items, stats.hits, stats.misses), (1000, 1000, 1000));
        cache.clear();
        assert_eq!(cache.stats().items, 0);
    }
}
