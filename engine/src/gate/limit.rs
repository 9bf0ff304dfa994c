//! The limit on async waits: one thread of the engine watches the deadlines of those who have to wait, and wakes who
//! is late. So a wait ends whatever runs the futures, and who gets its turn at once comes by none of this.

use std::{
    collections::BTreeMap,
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use crate::{
    Error, Result,
    sync::{
        Arc, Condvar, Mutex,
        thread::{self, JoinHandle},
    },
};

/// The deadlines of all who wait in one engine. Its thread starts with the first of them and sleeps in between.
pub(crate) struct Deadlines {
    /// Whether there may be a thread. Without one a wait that is over ends when its future is polled next.
    threads: bool,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    waiting: BTreeMap<Key, Waker>,
    next: u64,
    thread: Option<JoinHandle<()>>,
    stopped: bool,
}

/// A deadline, and a number that tells those of one moment apart.
type Key = (Instant, u64);

impl Deadlines {
    pub(crate) fn new(threads: bool) -> Arc<Deadlines> {
        Arc::new(Deadlines { threads, state: Mutex::new(State::default()), changed: Condvar::new() })
    }

    /// Ends the thread and wakes everybody: who waits finds the engine closed.
    pub(crate) fn stop(&self) {
        let waiting = {
            let mut state = self.state.lock();
            state.stopped = true;
            std::mem::take(&mut state.waiting)
        };
        self.changed.notify_all();
        waiting.into_values().for_each(Waker::wake);
    }

    /// Waits for the end of the thread, after [`stop`](Deadlines::stop).
    pub(crate) fn join(&self) {
        let thread = self.state.lock().thread.take();
        // A waker may close the engine on the very thread.
        if let Some(thread) = thread.filter(|thread| thread.thread().id() != thread::current().id()) {
            // It calls foreign wakers: one that panicked has said so.
            let _ = thread.join();
        }
    }

    /// Adds one who waits.
    fn add(self: &Arc<Self>, deadline: Instant, waker: Waker) -> Result<Key> {
        let mut state = self.state.lock();
        if state.stopped {
            return Err(Error::Closed);
        }
        if self.threads && state.thread.is_none() {
            let deadlines = Arc::clone(self);
            let started =
                thread::Builder::new().name("lineal-deadlines".into()).spawn(move || deadlines.run());
            state.thread =
                Some(started.map_err(|error| Error::io("starting a thread", "lineal-deadlines", error))?);
        }
        let key = (deadline, state.next);
        state.next += 1;
        let is_first = state.waiting.first_key_value().is_none_or(|(first, _)| key < *first);
        state.waiting.insert(key, waker);
        drop(state);
        if is_first {
            self.changed.notify_all();
        }
        Ok(key)
    }

    /// Goes on waking the same one by another waker. Returns whether it is still waited for.
    fn renew(&self, key: Key, waker: &Waker) -> bool {
        let clone = waker.clone();
        let mut state = self.state.lock();
        let old = state.waiting.get_mut(&key).map(|stored| std::mem::replace(stored, clone));
        let goes_on = !state.stopped;
        // Wakers are foreign code, also when they are dropped.
        drop(state);
        drop(old);
        goes_on
    }

    fn remove(&self, key: Key) {
        let gone = self.state.lock().waiting.remove(&key);
        drop(gone);
    }

    fn run(&self) {
        while let Some(late) = self.next_late() {
            late.into_values().for_each(Waker::wake);
        }
    }

    /// Sleeps until somebody is late. `None` when it is time to end.
    fn next_late(&self) -> Option<BTreeMap<Key, Waker>> {
        let mut state = self.state.lock();
        while !state.stopped {
            let Some((&(first, _), _)) = state.waiting.first_key_value() else {
                self.changed.wait(&mut state);
                continue;
            };
            let now = Instant::now();
            if first <= now {
                let later = state.waiting.split_off(&(now, u64::MAX));
                return Some(std::mem::replace(&mut state.waiting, later));
            }
            let _ = self.changed.wait_until(&mut state, first);
        }
        None
    }
}

/// One future's waiting, from the first time that it has to until it need not any more.
#[derive(Default)]
pub(crate) struct Limit {
    wait: Option<Wait>,
}

struct Wait {
    deadlines: Arc<Deadlines>,
    key: Key,
}

impl Limit {
    /// Tells that the future has to wait. Ready with the reason to give up: `busy` once it has waited for `longest`,
    /// or that the engine is closed. Else the context's waker is woken at the latest then.
    pub(crate) fn poll_give_up(
        &mut self,
        deadlines: &Arc<Deadlines>,
        longest: Duration,
        busy: impl FnOnce() -> Error,
        cx: &mut Context<'_>,
    ) -> Poll<Error> {
        match &self.wait {
            Some(wait) if Instant::now() >= wait.key.0 => Poll::Ready(busy()),
            Some(wait) if !deadlines.renew(wait.key, cx.waker()) => Poll::Ready(Error::Closed),
            Some(_) => Poll::Pending,
            None => match deadlines.add(Instant::now() + longest, cx.waker().clone()) {
                Ok(key) => {
                    self.wait = Some(Wait { deadlines: Arc::clone(deadlines), key });
                    Poll::Pending
                }
                Err(error) => Poll::Ready(error),
            },
        }
    }

    /// The future need not wait any more; the next time it has to, it may again for as long.
    #[inline]
    pub(crate) fn end(&mut self) {
        self.wait = None;
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        self.deadlines.remove(self.key);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::sync::atomic::{AtomicUsize, Ordering};

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl std::task::Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn busy() -> Error {
        Error::Busy { what: "a test", waited_ms: 0 }
    }

    fn poll(
        limit: &mut Limit,
        deadlines: &Arc<Deadlines>,
        longest: Duration,
        count: &Arc<Count>,
    ) -> Poll<Error> {
        let waker = Waker::from(Arc::clone(count));
        limit.poll_give_up(deadlines, longest, busy, &mut Context::from_waker(&waker))
    }

    #[test]
    fn who_is_late_is_woken_and_gives_up() {
        let deadlines = Deadlines::new(true);
        let (early, late) = (Arc::new(Count::default()), Arc::new(Count::default()));
        let (mut short, mut long) = (Limit::default(), Limit::default());
        assert!(poll(&mut long, &deadlines, Duration::from_secs(3_600), &late).is_pending());
        assert!(poll(&mut short, &deadlines, Duration::from_millis(20), &early).is_pending());
        while early.0.load(Ordering::SeqCst) == 0 {
            thread::sleep(Duration::from_millis(1));
        }
        let given_up = poll(&mut short, &deadlines, Duration::ZERO, &early);
        assert!(matches!(given_up, Poll::Ready(Error::Busy { .. })));
        assert!(poll(&mut long, &deadlines, Duration::ZERO, &late).is_pending(), "its own deadline holds");
        assert_eq!(late.0.load(Ordering::SeqCst), 0);
        deadlines.stop();
        assert_eq!(late.0.load(Ordering::SeqCst), 1);
        assert!(matches!(poll(&mut long, &deadlines, Duration::ZERO, &late), Poll::Ready(Error::Closed)));
        deadlines.join();
    }

    #[test]
    fn who_need_not_wait_any_more_leaves_nothing() {
        let deadlines = Deadlines::new(false);
        let count = Arc::new(Count::default());
        let mut limit = Limit::default();
        assert!(poll(&mut limit, &deadlines, Duration::from_secs(3_600), &count).is_pending());
        limit.end();
        assert!(deadlines.state.lock().waiting.is_empty());
        assert!(poll(&mut limit, &deadlines, Duration::ZERO, &count).is_pending(), "a wait of its own");
        drop(limit);
        assert!(deadlines.state.lock().waiting.is_empty());
        assert_eq!(Arc::strong_count(&count), 1);
    }
}
