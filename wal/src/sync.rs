//! Threads, locks and atomics of this crate: real ones, loom's inside loom tests, or shuttle's in a build for shuttle.
//! Nothing else names them.

pub(crate) use std::sync::Arc;

#[cfg(any(all(test, loom), shuttle))]
pub(crate) use modelled::*;
#[cfg(not(any(all(test, loom), shuttle)))]
pub(crate) use real::*;

#[cfg(not(any(all(test, loom), shuttle)))]
mod real {
    pub(crate) use parking_lot::{Mutex, MutexGuard};
    pub(crate) use std::sync::atomic;
    pub(crate) use std::thread;
    use std::time::Duration;

    /// Where one thread sleeps until another wakes it; a wake that comes first is remembered.
    #[derive(Debug)]
    pub(crate) struct Parker(thread::Thread);

    impl Parker {
        /// For the current thread.
        pub(crate) fn new() -> Self {
            Self(thread::current())
        }

        /// To be called by the thread that made it. May wake spuriously, or after `limit`.
        pub(crate) fn park(&self, limit: Option<Duration>) {
            match limit {
                Some(limit) => thread::park_timeout(limit),
                None => thread::park(),
            }
        }

        pub(crate) fn unpark(&self) {
            self.0.unpark();
        }
    }

    pub(crate) fn sleep(time: Duration) {
        thread::sleep(time);
    }

    #[derive(Debug, Default)]
    pub(crate) struct Condvar(parking_lot::Condvar);

    impl Condvar {
        pub(crate) fn new() -> Self {
            Self(parking_lot::Condvar::new())
        }

        pub(crate) fn wait<'a, T>(&self, mut guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
            self.0.wait(&mut guard);
            guard
        }

        pub(crate) fn wait_for<'a, T>(
            &self,
            mut guard: MutexGuard<'a, T>,
            limit: Duration,
        ) -> MutexGuard<'a, T> {
            self.0.wait_for(&mut guard, limit);
            guard
        }

        pub(crate) fn notify_all(&self) {
            self.0.notify_all();
        }
    }
}

/// What no schedule is split at: the simulated disk is called by redb, which holds locks of its own then, and a checker's
/// threads are one thread of the system, which would wait for itself there.
#[cfg(any(all(test, not(loom)), feature = "sim"))]
pub(crate) mod unsplit {
    pub(crate) use parking_lot::Mutex;
}

#[cfg(any(all(test, loom), shuttle))]
mod modelled {
    pub(crate) use checker::sync::{MutexGuard, atomic};
    pub(crate) use checker::thread;
    #[cfg(all(test, loom))]
    use loom as checker;
    #[cfg(shuttle)]
    use shuttle as checker;
    use std::sync::PoisonError;
    use std::time::Duration;

    /// A checker's own unpark wakes a thread from whatever it is blocked in, and is lost by one that waits for a lock.
    #[derive(Debug)]
    pub(crate) struct Parker(Mutex<bool>, Condvar);

    impl Parker {
        pub(crate) fn new() -> Self {
            Self(Mutex::new(false), Condvar::new())
        }

        /// No time passes: sleeps until woken.
        pub(crate) fn park(&self, _limit: Option<Duration>) {
            let mut woken = self.0.lock();
            while !*woken {
                woken = self.1.wait(woken);
            }
            *woken = false;
        }

        pub(crate) fn unpark(&self) {
            *self.0.lock() = true;
            self.1.notify_all();
        }
    }

    pub(crate) fn sleep(_time: Duration) {
        thread::yield_now();
    }

    #[derive(Debug, Default)]
    pub(crate) struct Mutex<T>(checker::sync::Mutex<T>);

    impl<T> Mutex<T> {
        pub(crate) fn new(value: T) -> Self {
            Self(checker::sync::Mutex::new(value))
        }

        pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
            self.0.lock().unwrap_or_else(PoisonError::into_inner)
        }
    }

    #[derive(Debug, Default)]
    pub(crate) struct Condvar(checker::sync::Condvar);

    impl Condvar {
        pub(crate) fn new() -> Self {
            Self(checker::sync::Condvar::new())
        }

        pub(crate) fn wait<'a, T>(&self, guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
            self.0.wait(guard).unwrap_or_else(PoisonError::into_inner)
        }

        /// No time passes: waits until notified.
        pub(crate) fn wait_for<'a, T>(&self, guard: MutexGuard<'a, T>, _: Duration) -> MutexGuard<'a, T> {
            self.wait(guard)
        }

        pub(crate) fn notify_all(&self) {
            self.0.notify_all();
        }
    }
}
