//! A bounded set of numbered slots and what is in them; what was asked for since the hand came by stays.

use std::collections::HashMap;
use std::hash::Hash;

#[derive(Debug)]
struct Slot<K, V> {
    key: K,
    value: V,
    asked_for: bool,
}

/// Invariants: `rows[slots[i].key] == i` and no more rows; a slot without content is in `free`, or reserved.
#[derive(Debug)]
pub(crate) struct Clock<K, V> {
    rows: HashMap<K, usize>,
    slots: Vec<Option<Slot<K, V>>>,
    free: Vec<usize>,
    hand: usize,
    slots_max: usize,
}

impl<K: Copy + Eq + Hash, V> Clock<K, V> {
    pub(crate) fn new(slots_max: usize) -> Self {
        Self { rows: HashMap::new(), slots: Vec::new(), free: Vec::new(), hand: 0, slots_max }
    }

    /// How many slots there may be.
    pub(crate) fn slots_max(&self) -> usize {
        self.slots_max
    }

    /// How many slots have content.
    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    pub(crate) fn contains(&self, key: &K) -> bool {
        self.rows.contains_key(key)
    }

    pub(crate) fn get(&mut self, key: &K) -> Option<(usize, &V)> {
        let index = *self.rows.get(key)?;
        let slot = self.slots[index].as_mut()?;
        slot.asked_for = true;
        Some((index, &slot.value))
    }

    /// A slot that is nobody's until it is filled or released; its content goes. `None` if all are reserved.
    pub(crate) fn reserve(&mut self) -> Option<usize> {
        if let Some(index) = self.free.pop() {
            return Some(index);
        }
        if self.slots.len() < self.slots_max {
            self.slots.push(None);
            return Some(self.slots.len() - 1);
        }
        // The first round takes the marks away, so the second finds one unless all are reserved.
        for _ in 0..2 * self.slots.len() {
            let index = self.hand;
            self.hand = (self.hand + 1) % self.slots.len();
            match &mut self.slots[index] {
                Some(slot) if slot.asked_for => slot.asked_for = false,
                Some(slot) => {
                    self.rows.remove(&slot.key);
                    self.slots[index] = None;
                    return Some(index);
                }
                None => {}
            }
        }
        None
    }

    /// Gives a reserved slot its content; where another slot has that key already, the new one is released.
    pub(crate) fn fill(&mut self, index: usize, key: K, value: V) {
        if self.rows.contains_key(&key) {
            return self.release(index);
        }
        self.rows.insert(key, index);
        self.slots[index] = Some(Slot { key, value, asked_for: false });
    }

    /// Gives a reserved slot back.
    pub(crate) fn release(&mut self, index: usize) {
        self.free.push(index);
    }

    /// Empties the slot of a key.
    pub(crate) fn remove(&mut self, key: &K) {
        if let Some(index) = self.rows.remove(key) {
            self.slots[index] = None;
            self.free.push(index);
        }
    }

    /// Keeps a value if any slot can be had.
    pub(crate) fn insert(&mut self, key: K, value: V) {
        if let Some(index) = self.reserve() {
            self.fill(index, key, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_stays_and_the_bound_holds() {
        let mut clock = Clock::new(3);
        for key in 0..3 {
            clock.insert(key, key * 10);
        }
        assert_eq!(clock.get(&1).map(|(_, value)| *value), Some(10));
        clock.insert(3, 30);
        clock.insert(4, 40);
        assert_eq!(clock.len(), 3);
        assert!(clock.contains(&1) && !clock.contains(&0) && !clock.contains(&2));
        clock.remove(&1);
        assert_eq!((clock.len(), clock.get(&1).is_none()), (2, true));
        let reserved: Vec<_> = (0..3).map(|_| clock.reserve().unwrap()).collect();
        assert_eq!((clock.reserve(), clock.len()), (None, 0), "all are reserved");
        clock.fill(reserved[0], 7, 70);
        clock.fill(reserved[1], 7, 71);
        clock.release(reserved[2]);
        assert_eq!(clock.get(&7), Some((reserved[0], &70)));
        assert!(clock.reserve().is_some());
        assert_eq!(Clock::<u8, u8>::new(0).reserve(), None);
    }
}
