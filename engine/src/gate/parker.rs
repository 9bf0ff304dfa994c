//! Puts one blocked thread to sleep until it is woken through an ordinary waker.

use std::{task::Wake, time::Instant};

use crate::sync::{
    Arc, Condvar, Mutex,
    atomic::{AtomicBool, Ordering},
    hint,
};

/// How often the flag is looked at before the thread goes to sleep. Most turns last about a microsecond, to sleep
/// and be woken costs several, and a look costs some tens of nanoseconds: two threads that take turns of a tenth
/// of a microsecond at one object are twenty times as fast with it, and many threads are no slower. Once in a
/// model, where each is one more branch.
const LOOKS: u32 = if cfg!(any(all(test, loom), shuttle)) { 1 } else { 40 };

/// Why [`Parker::park`] returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Woken {
    ByWaker,
    ByDeadline,
}

/// One thread's sleep. A wake-up that comes before the sleep is kept, so none is lost.
#[derive(Debug, Default)]
pub(crate) struct Parker {
    /// Set by a wake-up, cleared by the sleeper. Set outside of the lock, so that a sleeper still looking for it
    /// never touches the lock.
    woken: AtomicBool,
    asleep: Mutex<()>,
    condvar: Condvar,
}

impl Parker {
    /// Sleeps until woken or until the deadline; a wake-up that came first wins.
    pub(crate) fn park(&self, deadline: Option<Instant>) -> Woken {
        for _ in 0..LOOKS {
            if self.take_wake_up() {
                return Woken::ByWaker;
            }
            hint::spin_loop();
        }
        let mut asleep = self.asleep.lock();
        loop {
            if self.take_wake_up() {
                return Woken::ByWaker;
            }
            match deadline {
                None => self.condvar.wait(&mut asleep),
                Some(deadline) if self.condvar.wait_until(&mut asleep, deadline).timed_out() => {
                    return if self.take_wake_up() { Woken::ByWaker } else { Woken::ByDeadline };
                }
                Some(_) => {}
            }
        }
    }

    fn take_wake_up(&self) -> bool {
        // The plain load keeps the line shared while there is nothing to take.
        self.woken.load(Ordering::Relaxed) && self.woken.swap(false, Ordering::Acquire)
    }
}

impl Wake for Parker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.woken.store(true, Ordering::Release);
        // Waits out a sleeper between its look at the flag and its sleep, which would miss the notification.
        drop(self.asleep.lock());
        self.condvar.notify_one();
    }
}
