//! Threads, locks and atomics of this crate: real ones, or loom's inside loom tests. Nothing else names them.

pub(crate) use std::sync::Arc;

#[cfg(all(test, loom))]
pub(crate) use modelled::*;
#[cfg(not(all(test, loom)))]
pub(crate) use real::*;

#[cfg(not(all(test, loom)))]
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

#[cfg(all(test, loom))]
mod modelled {
    pub(crate) use loom::sync::{MutexGuard, atomic};
    pub(crate) use loom::thread;
    use std::time::Duration;

    /// loom's own unpark wakes a thread from whatever it is blocked in, and is lost by one that waits for a lock.
    #[derive(Debug)]
    pub(crate) struct Parker(Mutex<bool>, Condvar);

    impl Parker {
        pub(crate) fn new() -> Self {
            Self(Mutex::new(false), Condvar::new())
        }

        /// loom has no time: sleeps until woken.
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
    pub(crate) struct Mutex<T>(loom::sync::Mutex<T>);

    impl<T> Mutex<T> {
        pub(crate) fn new(value: T) -> Self {
            Self(loom::sync::Mutex::new(value))
        }

        pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
            self.0.lock().expect("a loom test that panics ends its model")
        }
    }

    #[derive(Debug, Default)]
    pub(crate) struct Condvar(loom::sync::Condvar);

    impl Condvar {
        pub(crate) fn new() -> Self {
            Self(loom::sync::Condvar::new())
        }

        pub(crate) fn wait<'a, T>(&self, guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
            self.0.wait(guard).expect("a loom test that panics ends its model")
        }

        /// loom has no time: waits until notified.
        pub(crate) fn wait_for<'a, T>(&self, guard: MutexGuard<'a, T>, _: Duration) -> MutexGuard<'a, T> {
            self.wait(guard)
        }

        pub(crate) fn notify_all(&self) {
            self.0.notify_all();
        }
    }
}
