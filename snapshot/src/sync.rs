//! Locks, atomics and once-cells for this crate; nothing else here names `std::sync` or `parking_lot`.
//!
//! The crate has no lock-free protocol of its own and starts no thread: a pack is immutable once it is open, a
//! writer belongs to one thread, and each shard of the block cache is one mutex around plain data. So there is no
//! loom variant to switch to.

pub(crate) use parking_lot::Mutex;
pub(crate) use std::sync::atomic::{AtomicU64, Ordering};
pub(crate) use std::sync::{Arc, OnceLock};
