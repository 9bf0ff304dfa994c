//! Threads, locks and atomics of this crate: parking_lot's and std's, loom's inside loom tests, or shuttle's in a build
//! for shuttle, which runs whole engines.
//!
//! Nothing else in the crate names `parking_lot`, `std::sync` or `std::thread`. All sides have one API,
//! parking_lot's: `lock()`, `read()` and `write()` return the guard and nothing is ever poisoned, so that a
//! panic in a caller's closure cannot make a lock unusable. What a panic may leave half done is the business
//! of whoever holds the guard.
//!
//! Differences that loom and shuttle bring: loom's constructors are not `const`, and a timed wait never times out, so a
//! model calls what follows a deadline directly instead of waiting for one.
#![allow(unused_imports, reason = "one list for the whole crate, whichever of it is used at the moment")]

/// Shared ownership is std's in models too: loom's `Arc` has no `Weak` and no `dyn`, and all that it adds
/// is the search for leaks.
pub(crate) use std::sync::{Arc, OnceLock, Weak};

#[cfg(not(any(all(test, loom), shuttle)))]
pub(crate) use parking_lot::{
    Condvar, Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard, WaitTimeoutResult,
};
#[cfg(not(any(all(test, loom), shuttle)))]
pub(crate) use std::{hint, sync::atomic, thread, thread_local};

#[cfg(all(test, loom))]
use loom as checker;
#[cfg(all(test, loom))]
pub(crate) use std::thread_local;

#[cfg(shuttle)]
use shuttle as checker;
#[cfg(shuttle)]
pub(crate) use shuttle::thread_local;

#[cfg(any(all(test, loom), shuttle))]
pub(crate) use checker::{
    hint,
    sync::{RwLockReadGuard, RwLockWriteGuard, atomic},
    thread,
};
#[cfg(any(all(test, loom), shuttle))]
pub(crate) use mocked::{Condvar, Mutex, MutexGuard, RwLock, WaitTimeoutResult};

/// What no schedule is split at: redb calls for pages while it holds locks of its own, and a checker's threads are one
/// thread of the system, which would wait for itself there.
pub(crate) mod unsplit {
    pub(crate) use parking_lot::Mutex;
    pub(crate) use std::sync::atomic;
}

/// Lets the thread rest for a while; in a model no time passes.
pub(crate) fn rest(time: std::time::Duration) {
    #[cfg(not(any(all(test, loom), shuttle)))]
    thread::sleep(time);
    #[cfg(any(all(test, loom), shuttle))]
    {
        let _ = time;
        thread::yield_now();
    }
}

/// A checker's locks with parking_lot's signatures.
#[cfg(any(all(test, loom), shuttle))]
#[allow(dead_code, reason = "the whole API of the real ones, whichever of it a model uses")]
mod mocked {
    use std::{
        fmt,
        ops::{Deref, DerefMut},
        sync::PoisonError,
        time::Instant,
    };

    use super::checker;
    use checker::sync::{RwLockReadGuard, RwLockWriteGuard};

    pub(crate) struct Mutex<T>(checker::sync::Mutex<T>);

    impl<T> Mutex<T> {
        pub(crate) fn new(value: T) -> Self {
            Self(checker::sync::Mutex::new(value))
        }

        pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
            MutexGuard(Some(self.0.lock().unwrap_or_else(PoisonError::into_inner)))
        }

        pub(crate) fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
            self.0.try_lock().ok().map(|guard| MutexGuard(Some(guard)))
        }

        pub(crate) fn get_mut(&mut self) -> &mut T {
            self.0.get_mut().unwrap_or_else(PoisonError::into_inner)
        }

        pub(crate) fn into_inner(self) -> T {
            self.0.into_inner().unwrap_or_else(PoisonError::into_inner)
        }
    }

    impl<T: Default> Default for Mutex<T> {
        fn default() -> Self {
            Self::new(T::default())
        }
    }

    impl<T> fmt::Debug for Mutex<T> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.debug_struct("Mutex").finish_non_exhaustive()
        }
    }

    /// Empty only inside a wait, which takes loom's guard by value.
    pub(crate) struct MutexGuard<'a, T>(Option<checker::sync::MutexGuard<'a, T>>);

    impl<T> MutexGuard<'_, T> {
        pub(crate) fn unlock_fair(guard: Self) {
            drop(guard);
        }
    }

    impl<T> Deref for MutexGuard<'_, T> {
        type Target = T;

        fn deref(&self) -> &T {
            self.0.as_ref().expect("a guard is empty only inside a wait")
        }
    }

    impl<T> DerefMut for MutexGuard<'_, T> {
        fn deref_mut(&mut self) -> &mut T {
            self.0.as_mut().expect("a guard is empty only inside a wait")
        }
    }

    #[derive(Debug, Default)]
    pub(crate) struct Condvar(checker::sync::Condvar);

    impl Condvar {
        pub(crate) fn new() -> Self {
            Self::default()
        }

        pub(crate) fn wait<T>(&self, guard: &mut MutexGuard<'_, T>) {
            let inner = guard.0.take().expect("a guard is empty only inside a wait");
            guard.0 = Some(self.0.wait(inner).unwrap_or_else(PoisonError::into_inner));
        }

        /// Waits as [`wait`](Condvar::wait) does and never times out.
        pub(crate) fn wait_until<T>(
            &self,
            guard: &mut MutexGuard<'_, T>,
            _deadline: Instant,
        ) -> WaitTimeoutResult {
            self.wait(guard);
            WaitTimeoutResult(())
        }

        pub(crate) fn notify_one(&self) {
            self.0.notify_one();
        }

        pub(crate) fn notify_all(&self) {
            self.0.notify_all();
        }
    }

    #[derive(Clone, Copy, Debug)]
    pub(crate) struct WaitTimeoutResult(());

    impl WaitTimeoutResult {
        pub(crate) fn timed_out(self) -> bool {
            false
        }
    }

    pub(crate) struct RwLock<T>(checker::sync::RwLock<T>);

    impl<T> RwLock<T> {
        pub(crate) fn new(value: T) -> Self {
            Self(checker::sync::RwLock::new(value))
        }

        pub(crate) fn read(&self) -> RwLockReadGuard<'_, T> {
            self.0.read().unwrap_or_else(PoisonError::into_inner)
        }

        pub(crate) fn write(&self) -> RwLockWriteGuard<'_, T> {
            self.0.write().unwrap_or_else(PoisonError::into_inner)
        }

        pub(crate) fn try_read(&self) -> Option<RwLockReadGuard<'_, T>> {
            self.0.try_read().ok()
        }

        pub(crate) fn try_write(&self) -> Option<RwLockWriteGuard<'_, T>> {
            self.0.try_write().ok()
        }

        pub(crate) fn get_mut(&mut self) -> &mut T {
            self.0.get_mut().unwrap_or_else(PoisonError::into_inner)
        }

        pub(crate) fn into_inner(self) -> T {
            self.0.into_inner().unwrap_or_else(PoisonError::into_inner)
        }
    }

    impl<T: Default> Default for RwLock<T> {
        fn default() -> Self {
            Self::new(T::default())
        }
    }

    impl<T> fmt::Debug for RwLock<T> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.debug_struct("RwLock").finish_non_exhaustive()
        }
    }
}
