//! Every interleaving of two or three threads at one gate. A waiter that is never woken shows as loom's
//! dead-lock, two holders at a time as a failed `Alone`.
//!
//! What each would catch: a grant that forgets to wake, or a sleeper that looks at the flag outside of its lock
//! (lost wake-up); a cancel or a deadline that drops a turn granted meanwhile (the next one sleeps for ever); a
//! try that looks at the value without the queue (two holders or an overtaking); a reset that leaves a grant to
//! an event that it failed (the transaction behind it sleeps for ever).

use loom::{
    model::Builder,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
};

use super::*;

/// Enough to find what needs two ill-timed switches in one thread's way, and small enough to run in seconds.
const PREEMPTIONS: usize = 4;

fn model(test: impl Fn() + Send + Sync + 'static) {
    let mut builder = Builder::new();
    builder.preemption_bound = Some(PREEMPTIONS);
    builder.check(test);
}

struct Gate {
    turns: Turns<()>,
    inside: AtomicBool,
    turns_taken: AtomicUsize,
}

impl Gate {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            turns: Turns::new(()),
            inside: AtomicBool::new(false),
            turns_taken: AtomicUsize::new(0),
        })
    }

    /// What a holder does with its turn.
    fn act(&self) {
        assert!(!self.inside.swap(true, Ordering::Relaxed), "two turns at a time");
        self.turns_taken.fetch_add(1, Ordering::Relaxed);
        self.inside.store(false, Ordering::Relaxed);
        self.turns.release(());
    }

    fn act_blocking(&self) {
        self.turns.acquire(None).expect("there is no deadline");
        self.act();
    }

    fn finish(&self, turns_taken: usize) {
        assert!(self.turns.is_idle());
        assert!(self.turns.state.lock().queue.is_none());
        assert_eq!(self.turns_taken.load(Ordering::Relaxed), turns_taken);
    }
}

/// Polls to the end as a minimal executor does.
fn block_on(gate: &Gate, waiter: &mut Waiter) -> Result<(), TurnError> {
    let parker = Arc::new(Parker::default());
    let waker = Waker::from(Arc::clone(&parker));
    loop {
        if let Poll::Ready(turn) = gate.turns.poll_acquire(waiter, &mut Context::from_waker(&waker)) {
            return turn;
        }
        parker.park(None);
    }
}

/// Polls once; whoever is left in the queue by it has to cancel or to give up.
fn poll_once(gate: &Gate, waiter: &mut Waiter) -> Poll<Result<(), TurnError>> {
    gate.turns.poll_acquire(waiter, &mut Context::from_waker(Waker::noop()))
}

fn spawn(gate: &Arc<Gate>, act: impl FnOnce(&Gate) + 'static) -> thread::JoinHandle<()> {
    let gate = Arc::clone(gate);
    thread::spawn(move || act(&gate))
}

#[test]
fn three_blocking_threads_each_get_their_turn() {
    model(|| {
        let gate = Gate::new();
        let others = [spawn(&gate, Gate::act_blocking), spawn(&gate, Gate::act_blocking)];
        gate.act_blocking();
        others.into_iter().for_each(|other| other.join().unwrap());
        gate.finish(3);
    });
}

#[test]
fn a_thread_an_event_and_a_try_exclude_each_other() {
    model(|| {
        let gate = Gate::new();
        let event = spawn(&gate, |gate| {
            let mut waiter = Waiter::new(WaiterKind::Event);
            for _ in 0..2 {
                block_on(gate, &mut waiter).expect("there is no reset");
                gate.act();
            }
        });
        let try_once = spawn(&gate, |gate| {
            if gate.turns.try_acquire().is_some() {
                gate.act();
                gate.turns_taken.fetch_sub(1, Ordering::Relaxed);
            }
        });
        gate.act_blocking();
        event.join().unwrap();
        try_once.join().unwrap();
        gate.finish(3);
    });
}

#[test]
fn who_came_first_goes_first() {
    model(|| {
        let gate = Gate::new();
        gate.turns.try_acquire().expect("the gate is free");
        let mut first = Waiter::new(WaiterKind::Transaction);
        assert!(poll_once(&gate, &mut first).is_pending());
        let second = spawn(&gate, |gate| {
            gate.turns.acquire(None).expect("there is no deadline");
            assert_eq!(gate.turns_taken.load(Ordering::Relaxed), 1, "it overtook the first");
            gate.act();
        });
        gate.turns.release(());
        block_on(&gate, &mut first).expect("a transaction outlives a reset");
        gate.act();
        second.join().unwrap();
        gate.finish(2);
    });
}

#[test]
fn a_cancel_that_meets_the_grant_passes_the_turn_on() {
    model(|| {
        let gate = Gate::new();
        gate.turns.try_acquire().expect("the gate is free");
        let mut waiter = Waiter::new(WaiterKind::Transaction);
        assert!(poll_once(&gate, &mut waiter).is_pending());
        let behind = spawn(&gate, Gate::act_blocking);
        let canceller = spawn(&gate, move |gate| gate.turns.cancel(&mut waiter));
        gate.turns.release(());
        behind.join().unwrap();
        canceller.join().unwrap();
        gate.finish(1);
    });
}

#[test]
fn a_deadline_that_meets_the_grant_takes_the_turn_or_leaves_no_trace() {
    model(|| {
        let gate = Gate::new();
        gate.turns.try_acquire().expect("the gate is free");
        let mut waiter = Waiter::new(WaiterKind::Transaction);
        assert!(poll_once(&gate, &mut waiter).is_pending());
        let behind = spawn(&gate, Gate::act_blocking);
        let late = spawn(&gate, move |gate| {
            if gate.turns.give_up(&mut waiter).is_some() {
                gate.act();
                gate.turns_taken.fetch_sub(1, Ordering::Relaxed);
            }
            assert!(!waiter.is_queued());
        });
        gate.turns.release(());
        behind.join().unwrap();
        late.join().unwrap();
        gate.finish(1);
    });
}

#[test]
fn a_dropped_future_passes_its_turn_on_at_any_moment() {
    model(|| {
        let gate = Gate::new();
        let behind = spawn(&gate, Gate::act_blocking);
        let dropped = spawn(&gate, |gate| {
            let mut future = gate.turns.acquire_async();
            if Pin::new(&mut future).poll(&mut Context::from_waker(Waker::noop())).is_ready() {
                gate.act();
                gate.turns_taken.fetch_sub(1, Ordering::Relaxed);
            }
        });
        gate.act_blocking();
        behind.join().unwrap();
        dropped.join().unwrap();
        gate.finish(2);
    });
}

#[test]
fn a_reset_that_meets_the_queue_fails_events_and_no_transaction() {
    model(|| {
        let gate = Gate::new();
        let event = spawn(&gate, |gate| {
            let mut waiter = Waiter::new(WaiterKind::Event);
            match block_on(gate, &mut waiter) {
                Ok(()) => gate.act(),
                Err(error) => {
                    assert_eq!(error, TurnError::Reset);
                    gate.turns_taken.fetch_add(1, Ordering::Relaxed);
                }
            }
            assert!(!waiter.is_queued());
        });
        let transaction = spawn(&gate, Gate::act_blocking);
        gate.turns.acquire(None).expect("there is no deadline");
        gate.turns.reset();
        gate.act();
        event.join().unwrap();
        transaction.join().unwrap();
        gate.finish(3);
    });
}

#[test]
fn a_reset_that_meets_the_grant_of_an_event_passes_the_turn_on() {
    model(|| {
        let gate = Gate::new();
        gate.turns.try_acquire().expect("the gate is free");
        let mut waiter = Waiter::new(WaiterKind::Event);
        assert!(poll_once(&gate, &mut waiter).is_pending());
        let behind = spawn(&gate, Gate::act_blocking);
        let reset = spawn(&gate, |gate| {
            gate.turns.reset();
        });
        gate.turns.release(());
        match block_on(&gate, &mut waiter) {
            Ok(()) => gate.act(),
            Err(error) => {
                assert_eq!(error, TurnError::Reset);
                gate.turns_taken.fetch_add(1, Ordering::Relaxed);
            }
        }
        behind.join().unwrap();
        reset.join().unwrap();
        gate.finish(2);
    });
}

#[test]
fn hibernation_never_meets_a_holder() {
    model(|| {
        let gate = Gate::new();
        let other = spawn(&gate, Gate::act_blocking);
        let hibernation = spawn(&gate, |gate| {
            gate.turns.with_idle(|()| {
                assert!(!gate.inside.swap(true, Ordering::Relaxed), "a turn meets hibernation");
                gate.inside.store(false, Ordering::Relaxed);
            });
        });
        gate.act_blocking();
        other.join().unwrap();
        hibernation.join().unwrap();
        gate.finish(2);
    });
}
