//! The protocol of `queue.rs`, under every interleaving of a few threads and a bounded number of preemptions. The
//! device is a counter that sees when two threads flush at once.
//!
//! `RUSTFLAGS="--cfg loom" cargo test -p lineal-wal --release --lib loom`

use super::*;
use crate::sync::atomic::AtomicBool;
use crate::sync::thread;
use std::pin::pin;
use std::task::Wake;

#[derive(Debug, Default)]
struct Counter {
    appended: u64,
    taken: u64,
    settled: u64,
}

impl Pending for Counter {
    type Batch = u64;

    fn appended(&self) -> Lsn {
        Lsn(self.appended)
    }

    fn take(&mut self) -> Option<u64> {
        if self.taken == self.appended {
            return None;
        }
        self.taken = self.appended;
        Some(self.taken)
    }

    fn settle(&mut self, batch: u64, _durable: bool) {
        assert!(batch > self.settled, "batches settle in order");
        self.settled = batch;
    }

    fn is_empty(&self) -> bool {
        self.taken == self.appended
    }

    fn is_due(&self) -> bool {
        false
    }

    fn serial(&self) -> u64 {
        self.taken
    }
}

#[derive(Debug)]
struct Device1 {
    busy: AtomicBool,
    flushes: AtomicU64,
    fails: bool,
    /// The highest position that was told.
    told: AtomicU64,
}

impl Device<u64> for Device1 {
    fn flush(&self, batch: &u64) -> Flushed {
        assert!(!self.busy.swap(true, Ordering::AcqRel), "one thread flushes at a time");
        self.flushes.fetch_add(1, Ordering::AcqRel);
        self.busy.store(false, Ordering::Release);
        let failure = self.fails.then(|| LogError::poisoned("sync", "log", std::io::ErrorKind::Other.into()));
        Flushed { durable: (!self.fails).then_some(Lsn(*batch)), failure }
    }

    fn published(&self, durable: Lsn) {
        self.told.fetch_max(durable.0, Ordering::AcqRel);
    }
}

type TestQueue = Queue<Counter, Device1>;

fn queue(fails: bool, has_flusher: bool) -> Arc<TestQueue> {
    let device =
        Device1 { busy: AtomicBool::new(false), flushes: AtomicU64::new(0), fails, told: AtomicU64::new(0) };
    Arc::new(Queue::new(Counter::default(), device, Lsn(0), has_flusher))
}

impl TestQueue {
    fn append(&self) -> Lsn {
        let mut inner = self.lock();
        let was_empty = inner.pending.is_empty();
        inner.pending.appended += 1;
        let lsn = Lsn(inner.pending.appended);
        self.appended(inner, was_empty);
        lsn
    }

    fn assert_quiet(&self) {
        let inner = self.lock();
        assert!(inner.threads.is_empty() && inner.tasks.is_empty(), "nobody is left in a line");
        assert!(!inner.leading, "nobody leads");
        assert_eq!(
            Lsn(self.device.told.load(Ordering::Acquire)),
            self.durable(),
            "all that is durable was told"
        );
    }
}

fn model(test: impl Fn() + Send + Sync + 'static) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(3);
    model.check(test);
}

fn commit(queue: &TestQueue) -> Result<(), LogError> {
    let lsn = queue.append();
    queue.wait(lsn, None)?;
    assert!(queue.durable() >= lsn);
    Ok(())
}

#[test]
fn loom_leadership_is_handed_on_and_nobody_is_left_waiting() {
    model(|| {
        let queue = queue(false, false);
        let others: Vec<_> = (0..2)
            .map(|_| {
                let queue = Arc::clone(&queue);
                thread::spawn(move || commit(&queue).unwrap())
            })
            .collect();
        commit(&queue).unwrap();
        others.into_iter().for_each(|other| other.join().unwrap());
        assert_eq!(queue.durable(), Lsn(3));
        queue.assert_quiet();
    });
}

#[test]
fn loom_a_failure_reaches_every_waiter_and_the_device_is_not_asked_again() {
    model(|| {
        let queue = queue(true, false);
        let others: Vec<_> = (0..2)
            .map(|_| {
                let queue = Arc::clone(&queue);
                thread::spawn(move || assert!(matches!(commit(&queue), Err(LogError::Poisoned { .. }))))
            })
            .collect();
        assert!(matches!(commit(&queue), Err(LogError::Poisoned { .. })));
        others.into_iter().for_each(|other| other.join().unwrap());
        assert_eq!(queue.device.flushes.load(Ordering::Acquire), 1);
        assert_eq!(queue.durable(), Lsn(0));
        queue.assert_quiet();
    });
}

struct Ring(Bell);

impl Wake for Ring {
    fn wake(self: Arc<Self>) {
        self.0.ring();
    }
}

/// A task that awaits `lsn` on this thread.
fn block_on(queue: &TestQueue, lsn: Lsn) -> Result<(), LogError> {
    let ring = Arc::new(Ring(Bell::new()));
    let waker = Waker::from(Arc::clone(&ring));
    let mut context = Context::from_waker(&waker);
    let mut place = None;
    let mut future = pin!(std::future::poll_fn(|context| queue.poll(lsn, &mut place, context)));
    loop {
        match std::future::Future::poll(future.as_mut(), &mut context) {
            Poll::Ready(outcome) => return outcome,
            Poll::Pending => ring.0.listen(None),
        }
    }
}

#[test]
fn loom_the_flusher_serves_a_task() {
    model(|| {
        let queue = queue(false, true);
        let flusher = {
            let queue = Arc::clone(&queue);
            thread::spawn(move || queue.run_flusher(Duration::ZERO))
        };
        let lsn = queue.append();
        block_on(&queue, lsn).unwrap();
        queue.stop(LogError::Closed);
        flusher.join().unwrap();
        queue.assert_quiet();
    });
}

#[test]
fn loom_the_flusher_serves_a_task_beside_a_thread_that_leads() {
    model(|| {
        let queue = queue(false, true);
        let flusher = {
            let queue = Arc::clone(&queue);
            thread::spawn(move || queue.run_flusher(Duration::ZERO))
        };
        let other = {
            let queue = Arc::clone(&queue);
            thread::spawn(move || commit(&queue).unwrap())
        };
        let lsn = queue.append();
        block_on(&queue, lsn).unwrap();
        other.join().unwrap();
        queue.stop(LogError::Closed);
        flusher.join().unwrap();
        queue.assert_quiet();
    });
}

#[test]
fn loom_a_failure_reaches_a_task() {
    model(|| {
        let queue = queue(true, true);
        let flusher = {
            let queue = Arc::clone(&queue);
            thread::spawn(move || queue.run_flusher(Duration::ZERO))
        };
        let lsn = queue.append();
        assert!(matches!(block_on(&queue, lsn), Err(LogError::Poisoned { .. })));
        queue.stop(LogError::Closed);
        flusher.join().unwrap();
        queue.assert_quiet();
    });
}

#[test]
fn loom_a_task_that_is_dropped_leaves_no_trace() {
    model(|| {
        let queue = queue(false, false);
        let other = {
            let queue = Arc::clone(&queue);
            thread::spawn(move || commit(&queue).unwrap())
        };
        let lsn = queue.append();
        let mut place = None;
        // Ready if nobody led; else in the line of the thread that does, and then gone from it.
        let poll = queue.poll(lsn, &mut place, &mut Context::from_waker(Waker::noop()));
        if let (Poll::Pending, Some(place)) = (poll, place) {
            queue.forget(lsn, place);
        }
        other.join().unwrap();
        queue.wait(lsn, None).unwrap();
        queue.assert_quiet();
    });
}

#[test]
fn loom_a_thread_that_gives_up_hands_on_what_it_was_given() {
    model(|| {
        let queue = queue(false, false);
        let others: Vec<_> = (0..2)
            .map(|_| {
                let queue = Arc::clone(&queue);
                thread::spawn(move || commit(&queue).unwrap())
            })
            .collect();
        let lsn = queue.append();
        let in_time = queue.wait(lsn, Some(Instant::now())).unwrap();
        assert!(!in_time || queue.durable() >= lsn);
        others.into_iter().for_each(|other| other.join().unwrap());
        queue.wait(lsn, None).unwrap();
        queue.assert_quiet();
    });
}

#[test]
fn loom_a_stop_ends_every_wait() {
    model(|| {
        let queue = queue(false, true);
        let flusher = {
            let queue = Arc::clone(&queue);
            thread::spawn(move || queue.run_flusher(Duration::ZERO))
        };
        let other = {
            let queue = Arc::clone(&queue);
            thread::spawn(move || {
                let lsn = queue.append();
                assert!(matches!(block_on(&queue, lsn), Ok(()) | Err(LogError::Closed)));
            })
        };
        queue.stop(LogError::Closed);
        other.join().unwrap();
        flusher.join().unwrap();
        queue.assert_quiet();
    });
}
