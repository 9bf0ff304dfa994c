//! Locks, atomics and once-cells for this crate; nothing else here names `std::sync` or `parking_lot`.
//!
//! The crate has no lock-free protocol of its own: a pack is immutable once it is open, a
//! writer belongs to one thread, and each shard of the block cache is one mutex around plain data, and the
//! archive's one thread only runs futures. So there is no loom variant to switch to.

pub(crate) use parking_lot::Mutex;
#[cfg(feature = "archive")]
pub(crate) use std::sync::atomic::AtomicBool;
pub(crate) use std::sync::atomic::{AtomicU64, Ordering};
#[cfg(feature = "archive")]
pub(crate) use std::sync::mpsc::channel;
pub(crate) use std::sync::{Arc, OnceLock};
#[cfg(feature = "archive")]
pub(crate) use std::thread;
