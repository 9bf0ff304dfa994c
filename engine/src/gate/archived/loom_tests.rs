//! Every interleaving of those who wait with whoever advances or fails the gate. A waiter that is never woken shows as
//! loom's dead-lock.
//!
//! What each would catch: a waiter that looks at the position outside of the lock and joins the line after the advance that
//! was for it (lost wake-up); an advance that wakes who is beyond it and forgets him; a failure that reaches who was open
//! already; a deadline that calls an open gate shut, or leaves a place behind.

use loom::model::Builder;

use super::*;
use crate::sync::thread;

/// Enough to find what needs two ill-timed switches in one thread's way, and small enough to run in seconds.
const PREEMPTIONS: usize = 4;

fn model(test: impl Fn() + Send + Sync + 'static) {
    let mut builder = Builder::new();
    builder.preemption_bound = Some(PREEMPTIONS);
    builder.check(test);
}

fn gate() -> Arc<ArchivedGate> {
    let gate = Arc::new(ArchivedGate::default());
    gate.attach(Lsn(0), Box::new(|_, _| ()));
    gate
}

fn spawn<R: 'static>(
    gate: &Arc<ArchivedGate>,
    act: impl FnOnce(&Arc<ArchivedGate>) -> R + 'static,
) -> thread::JoinHandle<R> {
    let gate = Arc::clone(gate);
    thread::spawn(move || act(&gate))
}

#[test]
fn loom_each_who_waits_is_woken_by_the_advance_that_is_for_him() {
    model(|| {
        let gate = gate();
        let first = spawn(&gate, |gate| gate.wait(Lsn(1), None).is_ok());
        let second = spawn(&gate, |gate| gate.wait(Lsn(2), None).is_ok() && gate.archived() == Lsn(2));
        gate.advance(Lsn(1));
        gate.advance(Lsn(2));
        assert!(first.join().unwrap() && second.join().unwrap());
        assert_eq!(gate.waiting(), 0);
    });
}

#[test]
fn loom_a_failure_reaches_who_is_beyond_the_archived_and_nobody_else() {
    model(|| {
        let gate = gate();
        let open = spawn(&gate, |gate| gate.wait(Lsn(1), None));
        let beyond = spawn(&gate, |gate| gate.wait(Lsn(2), None));
        gate.advance(Lsn(1));
        gate.fail(Error::Closed);
        gate.advance(Lsn(2));
        assert!(matches!(open.join().unwrap(), Ok(true)));
        assert!(matches!(beyond.join().unwrap(), Err(Error::Closed)));
        assert_eq!((gate.waiting(), gate.archived()), (0, Lsn(1)));
    });
}

#[test]
fn loom_who_gives_up_leaves_nothing_and_is_told_what_came_meanwhile() {
    model(|| {
        let gate = gate();
        let gives_up = spawn(&gate, |gate| {
            let mut place = None;
            match gate.poll(Lsn(1), &mut place, &mut Context::from_waker(Waker::noop())) {
                Poll::Ready(outcome) => outcome.is_ok(),
                // What was open before is open.
                Poll::Pending => {
                    let open_before = gate.archived() >= Lsn(1);
                    let open = gate.give_up(Lsn(1), place).unwrap();
                    open || !open_before
                }
            }
        });
        let dropped = spawn(&gate, |gate| {
            let mut wait = gate.future(Lsn(1));
            let _ = Pin::new(&mut wait).poll(&mut Context::from_waker(Waker::noop()));
        });
        gate.advance(Lsn(1));
        assert!(gives_up.join().unwrap());
        dropped.join().unwrap();
        assert_eq!(gate.waiting(), 0);
    });
}
