use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    task::Wake,
    time::Duration,
};

use proptest::prelude::*;

use super::*;
use crate::sync::{
    Weak,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

/// Counts wake-ups.
#[derive(Default)]
struct Bell(AtomicUsize);

impl Bell {
    fn rung(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// A waiter polled by hand.
struct Guest {
    waiter: Waiter,
    bell: Arc<Bell>,
}

impl Guest {
    fn new(kind: WaiterKind) -> Self {
        Self { waiter: Waiter::new(kind), bell: Arc::default() }
    }

    fn transaction() -> Self {
        Self::new(WaiterKind::Transaction)
    }

    fn event() -> Self {
        Self::new(WaiterKind::Event)
    }

    fn poll<T>(&mut self, turns: &Turns<T>) -> Poll<Result<T, TurnError>> {
        let waker = Waker::from(Arc::clone(&self.bell));
        turns.poll_acquire(&mut self.waiter, &mut Context::from_waker(&waker))
    }

    /// A guest that stands in the queue.
    fn queued<T>(kind: WaiterKind, turns: &Turns<T>) -> Self {
        let mut guest = Self::new(kind);
        assert!(guest.poll(turns).is_pending(), "the gate was free");
        guest
    }
}

fn queued_transaction<T>(turns: &Turns<T>) -> Guest {
    Guest::queued(WaiterKind::Transaction, turns)
}

fn queued_event<T>(turns: &Turns<T>) -> Guest {
    Guest::queued(WaiterKind::Event, turns)
}

fn has_queue<T>(turns: &Turns<T>) -> bool {
    turns.state.lock().queue.is_some()
}

fn until(mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !condition() {
        assert!(Instant::now() < deadline, "waited ten seconds for nothing");
        thread::yield_now();
    }
}

fn in_a_moment() -> Option<Instant> {
    Some(Instant::now() + Duration::from_millis(5))
}

#[test]
fn a_gate_is_as_small_as_an_object_can_afford() {
    assert!(size_of::<Turns<Option<Box<()>>>>() <= 40, "{}", size_of::<Turns<Option<Box<()>>>>());
}

#[test]
fn the_value_goes_with_the_turn_and_comes_back() {
    let turns = Turns::new(Box::new(7));
    let mut value = turns.try_acquire().unwrap();
    assert!(turns.try_acquire().is_none());
    assert!(!turns.is_idle());
    *value += 1;
    turns.release(value);
    assert!(turns.is_idle());
    assert_eq!(turns.acquire(None), Ok(Box::new(8)));
}

#[test]
fn nobody_waits_and_nothing_is_allocated_on_a_free_gate() {
    let turns = Turns::new(0);
    for mut guest in [Guest::transaction(), Guest::event()] {
        assert_eq!(guest.poll(&turns), Poll::Ready(Ok(0)));
        assert!(!guest.waiter.is_queued());
        assert!(!has_queue(&turns));
        turns.release(0);
    }
}

#[test]
fn turns_are_given_in_the_order_of_arrival_whatever_waits() {
    let turns = Turns::new(Vec::new());
    let mut value = turns.try_acquire().unwrap();
    thread::scope(|scope| {
        let mut first = queued_event(&turns);
        let second = scope.spawn(|| {
            let mut value = turns.acquire(None).unwrap();
            value.push("second: blocking");
            turns.release(value);
        });
        until(|| turns.waiting() == 2);
        let third = scope.spawn(|| {
            pollster::block_on(async {
                let mut value = turns.acquire_async().await.unwrap();
                value.push("third: async");
                turns.release(value);
            });
        });
        until(|| turns.waiting() == 3);
        let fourth = scope.spawn(|| {
            let mut value = turns.acquire(Some(Instant::now() + Duration::from_secs(10))).unwrap();
            value.push("fourth: with a deadline");
            turns.release(value);
        });
        until(|| turns.waiting() == 4);
        let mut fifth = queued_event(&turns);

        value.push("holder");
        turns.release(value);
        let Poll::Ready(Ok(mut value)) = first.poll(&turns) else { panic!("the first has the turn") };
        value.push("first: event");
        turns.release(value);
        for waiting in [second, third, fourth] {
            waiting.join().unwrap();
        }
        let Poll::Ready(Ok(value)) = fifth.poll(&turns) else { panic!("the fifth has the turn") };
        assert_eq!(
            value,
            ["holder", "first: event", "second: blocking", "third: async", "fourth: with a deadline"]
        );
        turns.release(value);
    });
    assert!(turns.is_idle());
    assert!(!has_queue(&turns));
}

#[test]
fn nobody_overtakes_who_was_granted_the_turn_and_has_not_come_yet() {
    let turns = Turns::new(());
    turns.try_acquire().unwrap();
    let mut first = queued_transaction(&turns);
    turns.release(());
    assert!(turns.try_acquire().is_none());
    assert_eq!(turns.acquire(in_a_moment()), Err(TurnError::Busy));
    let mut second = queued_event(&turns);
    assert_eq!(turns.waiting(), 1, "the one with the turn no longer waits");
    assert!(first.poll(&turns).is_ready());
    assert!(second.poll(&turns).is_pending());
    turns.release(());
    assert!(second.poll(&turns).is_ready());
}

#[test]
fn a_release_wakes_the_next_and_nobody_else() {
    let turns = Turns::new(());
    turns.try_acquire().unwrap();
    let mut guests = [queued_transaction(&turns), queued_event(&turns), queued_transaction(&turns)];
    for at in 0..guests.len() {
        turns.release(());
        let rung: Vec<_> = guests.iter().map(|guest| guest.bell.rung()).collect();
        assert_eq!(rung, (0..3).map(|other| usize::from(other <= at)).collect::<Vec<_>>());
        assert!(guests[at].poll(&turns).is_ready());
    }
    turns.release(());
}

#[test]
fn an_event_that_comes_back_queues_behind_those_who_came_meanwhile() {
    let turns = Turns::new(());
    let mut first = Guest::event();
    assert!(first.poll(&turns).is_ready());
    let mut second = queued_event(&turns);
    turns.release(());
    assert!(first.poll(&turns).is_pending());
    assert!(second.poll(&turns).is_ready());
    turns.release(());
    assert!(first.poll(&turns).is_ready());
}

#[test]
fn the_waker_of_the_last_poll_is_the_one_that_is_woken() {
    let turns = Turns::new(());
    turns.try_acquire().unwrap();
    let mut guest = queued_transaction(&turns);
    let old = std::mem::take(&mut guest.bell);
    assert!(guest.poll(&turns).is_pending());
    assert_eq!(Arc::strong_count(&old), 1, "the old waker is dropped");
    turns.release(());
    assert_eq!((old.rung(), guest.bell.rung()), (0, 1));
    turns.cancel(&mut guest.waiter);
}

#[test]
fn a_cancelled_waiter_leaves_no_trace_wherever_it_stood() {
    for cancelled in 0..3 {
        let turns = Turns::new(());
        turns.try_acquire().unwrap();
        let mut guests = vec![queued_transaction(&turns), queued_event(&turns), queued_transaction(&turns)];
        let mut gone = guests.remove(cancelled);
        turns.cancel(&mut gone.waiter);
        assert_eq!(turns.waiting(), 2);
        assert_eq!(Arc::strong_count(&gone.bell), 1, "its waker is dropped");
        for mut guest in guests {
            turns.release(());
            assert!(guest.poll(&turns).is_ready());
        }
        turns.release(());
        assert_eq!(gone.bell.rung(), 0);
        assert!(turns.is_idle());
        assert!(!has_queue(&turns));
    }
}

#[test]
fn a_turn_granted_to_a_cancelled_waiter_goes_to_the_next() {
    let turns = Turns::new(());
    turns.try_acquire().unwrap();
    let mut first = queued_event(&turns);
    let mut second = queued_transaction(&turns);
    turns.release(());
    turns.cancel(&mut first.waiter);
    assert_eq!(second.bell.rung(), 1);
    assert!(first.poll(&turns).is_pending(), "it comes again as a new arrival");
    assert!(second.poll(&turns).is_ready());
    turns.release(());
    turns.cancel(&mut first.waiter);
    assert!(turns.is_idle());
    assert!(!has_queue(&turns));
}

#[test]
fn to_cancel_who_does_not_wait_does_nothing() {
    let turns = Turns::new(());
    let mut guest = Guest::transaction();
    turns.cancel(&mut guest.waiter);
    assert!(guest.poll(&turns).is_ready());
    turns.cancel(&mut guest.waiter);
    assert!(turns.try_acquire().is_none(), "the turn that it took is still held");
}

#[test]
fn the_future_can_be_dropped_in_every_state() {
    let turns = Turns::new(());
    let bell: Arc<Bell> = Arc::default();
    let waker = Waker::from(Arc::clone(&bell));
    let mut cx = Context::from_waker(&waker);

    drop(turns.acquire_async());
    assert!(turns.is_idle(), "never polled");

    let mut done = turns.acquire_async();
    assert!(Pin::new(&mut done).poll(&mut cx).is_ready());
    drop(done);
    assert!(!turns.is_idle(), "done: the turn is held");

    let mut queued = turns.acquire_async();
    assert!(Pin::new(&mut queued).poll(&mut cx).is_pending());
    drop(queued);
    assert_eq!(turns.waiting(), 0, "queued");

    let mut granted = turns.acquire_async();
    let mut next = turns.acquire_async();
    assert!(Pin::new(&mut granted).poll(&mut cx).is_pending());
    assert!(Pin::new(&mut next).poll(&mut cx).is_pending());
    turns.release(());
    drop(granted);
    assert_eq!(bell.rung(), 2);
    assert!(Pin::new(&mut next).poll(&mut cx).is_ready(), "granted: the turn went on");
    turns.release(());
    drop(next);
    assert!(turns.is_idle());
}

#[test]
fn a_deadline_ends_the_wait_and_leaves_no_trace() {
    let turns = Turns::new(());
    turns.try_acquire().unwrap();
    let start = Instant::now();
    assert_eq!(turns.acquire(in_a_moment()), Err(TurnError::Busy));
    assert!(start.elapsed() >= Duration::from_millis(4));
    assert_eq!(turns.acquire(Some(start)), Err(TurnError::Busy), "a deadline in the past");
    assert_eq!(turns.waiting(), 0);
    turns.release(());
    assert!(!has_queue(&turns));
    assert_eq!(turns.acquire(Some(start)), Ok(()), "a free gate is never busy");
}

#[test]
fn a_turn_granted_at_the_deadline_is_taken() {
    let turns = Turns::new(());
    turns.try_acquire().unwrap();
    let mut late = queued_transaction(&turns);
    let mut next = queued_transaction(&turns);
    assert_eq!(turns.give_up(&mut next.waiter), None);
    turns.release(());
    assert_eq!(turns.give_up(&mut late.waiter), Some(()));
    assert_eq!(turns.waiting(), 0);
    turns.release(());
    assert_eq!(turns.give_up(&mut late.waiter), None, "it waits no more");
    assert!(turns.is_idle());
}

#[test]
fn a_reset_fails_the_events_that_wait_and_leaves_transactions_their_places() {
    let turns = Turns::new(());
    turns.try_acquire().unwrap();
    let mut events = [queued_event(&turns), queued_event(&turns)];
    let mut transaction = queued_transaction(&turns);
    assert_eq!(turns.reset(), 1);
    assert_eq!(turns.generation(), 1);
    assert_eq!(turns.waiting(), 1);
    assert_eq!(transaction.bell.rung(), 0, "the holder still has the turn");
    for event in &mut events {
        assert_eq!(event.bell.rung(), 1);
        assert_eq!(event.poll(&turns), Poll::Ready(Err(TurnError::Reset)));
    }
    let mut newer = queued_event(&turns);
    turns.release(());
    assert_eq!(transaction.poll(&turns), Poll::Ready(Ok(())));
    turns.release(());
    assert_eq!(newer.poll(&turns), Poll::Ready(Ok(())));
    assert_eq!(newer.waiter.generation(), Some(1));
    turns.release(());
    assert_eq!(events[0].poll(&turns), Poll::Ready(Err(TurnError::Reset)), "also on a free gate");
    assert!(turns.is_idle());
}

#[test]
fn a_reset_takes_the_turn_from_an_event_that_has_not_come_for_it() {
    let turns = Turns::new(());
    turns.try_acquire().unwrap();
    let mut event = queued_event(&turns);
    let mut transaction = queued_transaction(&turns);
    turns.release(());
    turns.reset();
    assert_eq!(transaction.bell.rung(), 1);
    assert_eq!(event.poll(&turns), Poll::Ready(Err(TurnError::Reset)));
    assert!(transaction.poll(&turns).is_ready());

    let mut event = queued_event(&turns);
    turns.release(());
    turns.reset();
    assert!(turns.is_idle(), "nobody else waits");
    assert!(!has_queue(&turns));
    assert_eq!(event.poll(&turns), Poll::Ready(Err(TurnError::Reset)));
}

#[test]
fn a_reset_leaves_the_turn_to_a_transaction_that_has_not_come_for_it() {
    let turns = Turns::new(());
    turns.try_acquire().unwrap();
    let mut transaction = queued_transaction(&turns);
    let mut event = queued_event(&turns);
    turns.release(());
    turns.reset();
    assert_eq!(transaction.bell.rung(), 1, "woken once");
    assert!(turns.try_acquire().is_none());
    assert!(transaction.poll(&turns).is_ready());
    assert_eq!(event.poll(&turns), Poll::Ready(Err(TurnError::Reset)));
}

#[test]
fn an_event_of_a_past_generation_never_evicts_who_came_after() {
    let turns = Turns::new(());
    turns.try_acquire().unwrap();
    let mut old = queued_event(&turns);
    turns.reset();
    turns.release(());
    assert!(!has_queue(&turns), "the queue and its tickets begin anew");
    turns.try_acquire().unwrap();
    let mut new = queued_transaction(&turns);
    assert_eq!(old.waiter.ticket, new.waiter.ticket);
    turns.cancel(&mut old.waiter);
    assert_eq!(turns.waiting(), 1);
    turns.release(());
    assert!(new.poll(&turns).is_ready());
}

#[test]
fn hibernation_gets_in_only_where_nobody_is() {
    let turns = Turns::new(1);
    assert_eq!(turns.with_idle(|value| std::mem::replace(value, 2)), Some(1));
    let value = turns.try_acquire().unwrap();
    assert_eq!(value, 2);
    assert_eq!(turns.with_idle(|_| ()), None, "held");
    let mut guest = queued_transaction(&turns);
    turns.release(value);
    assert_eq!(turns.with_idle(|_| ()), None, "granted");
    assert!(guest.poll(&turns).is_ready());
    turns.release(value);
    assert_eq!(turns.with_idle(|value| *value), Some(2));
}

#[test]
fn a_panic_of_hibernation_leaves_the_gate_free() {
    let turns = Turns::new(1);
    let panic = catch_unwind(AssertUnwindSafe(|| turns.with_idle(|_| panic!("on purpose"))));
    assert!(panic.is_err());
    assert!(turns.is_idle());
    assert_eq!(turns.try_acquire(), Some(1));
}

#[test]
fn a_turn_that_is_not_held_cannot_be_released() {
    let turns = Turns::new(1);
    assert!(catch_unwind(AssertUnwindSafe(|| turns.release(2))).is_err());
    assert_eq!(turns.try_acquire(), Some(1));
}

/// A waker that comes back to the gate when it is woken and when it is dropped, as an executor's may.
struct Meddler(Weak<Turns<()>>, Arc<AtomicUsize>);

impl Meddler {
    fn meddle(&self) {
        if let Some(turns) = self.0.upgrade() {
            // Would dead-lock under the lock inside.
            turns.is_idle();
            self.1.fetch_add(1, Ordering::SeqCst);
        }
    }
}

impl Wake for Meddler {
    fn wake(self: Arc<Self>) {
        self.meddle();
    }
}

impl Drop for Meddler {
    fn drop(&mut self) {
        self.meddle();
    }
}

#[test]
fn wakers_are_woken_and_dropped_where_they_may_come_back_to_the_gate() {
    let turns = Arc::new(Turns::new(()));
    let meddled: Arc<AtomicUsize> = Arc::default();
    let waker = || Waker::from(Arc::new(Meddler(Arc::downgrade(&turns), Arc::clone(&meddled))));
    let poll = |waiter: &mut Waiter| turns.poll_acquire(waiter, &mut Context::from_waker(&waker()));
    let mut transaction = Waiter::new(WaiterKind::Transaction);
    let mut event = Waiter::new(WaiterKind::Event);

    turns.try_acquire().unwrap();
    assert!(poll(&mut transaction).is_pending());
    assert!(poll(&mut event).is_pending());
    assert!(poll(&mut transaction).is_pending());
    assert_eq!(meddled.swap(0, Ordering::SeqCst), 1, "the waker that was replaced is dropped");
    turns.reset();
    assert_eq!(meddled.swap(0, Ordering::SeqCst), 2, "the event is woken, its waker dropped");
    turns.cancel(&mut transaction);
    assert_eq!(meddled.swap(0, Ordering::SeqCst), 1, "cancelled: dropped");
    assert!(poll(&mut transaction).is_pending());
    turns.give_up(&mut transaction);
    assert_eq!(meddled.swap(0, Ordering::SeqCst), 1, "given up: dropped");
    assert!(poll(&mut transaction).is_pending());
    turns.release(());
    assert_eq!(meddled.swap(0, Ordering::SeqCst), 2, "granted: woken and dropped");
    turns.cancel(&mut transaction);
    turns.cancel(&mut event);
    assert!(turns.is_idle());
}

#[test]
#[cfg(debug_assertions)]
fn a_waiter_forgotten_in_the_queue_is_found() {
    let turns = Turns::new(());
    turns.try_acquire().unwrap();
    let guest = queued_transaction(&turns);
    assert!(catch_unwind(AssertUnwindSafe(|| drop(guest))).is_err());
}

/// Nobody else is inside while this exists.
struct Alone<'a>(&'a AtomicBool);

impl<'a> Alone<'a> {
    fn enter(inside: &'a AtomicBool) -> Self {
        assert!(!inside.swap(true, Ordering::SeqCst), "two turns at a time");
        Self(inside)
    }
}

impl Drop for Alone<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::SeqCst);
    }
}

/// Each thread takes turns in its own way, while deadlines pass, futures are dropped and generations end.
#[test]
fn turns_stay_exclusive_and_none_is_lost_under_load() {
    const ROUNDS: u64 = 4_000;
    let turns = Turns::new(Box::new(0_u64));
    let inside = AtomicBool::new(false);
    let taken = AtomicUsize::new(0);
    let act = |mut value: Box<u64>| {
        let alone = Alone::enter(&inside);
        *value += 1;
        taken.fetch_add(1, Ordering::SeqCst);
        drop(alone);
        turns.release(value);
    };
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| (0..ROUNDS).for_each(|_| act(turns.acquire(None).unwrap())));
        }
        scope.spawn(|| {
            for round in 0..ROUNDS {
                if let Ok(value) = turns.acquire(Some(Instant::now() + Duration::from_micros(round % 20))) {
                    act(value);
                }
            }
        });
        scope.spawn(|| {
            for _ in 0..ROUNDS {
                act(pollster::block_on(turns.acquire_async()).unwrap());
            }
        });
        scope.spawn(|| {
            for round in 0..ROUNDS {
                let mut guest =
                    Guest::new(if round % 2 == 0 { WaiterKind::Event } else { WaiterKind::Transaction });
                let mut turn = guest.poll(&turns);
                for _ in 0..round % 5 {
                    if turn.is_ready() {
                        break;
                    }
                    thread::yield_now();
                    turn = guest.poll(&turns);
                }
                match turn {
                    Poll::Ready(Ok(value)) => act(value),
                    Poll::Ready(Err(error)) => assert_eq!(error, TurnError::Reset),
                    Poll::Pending => turns.cancel(&mut guest.waiter),
                }
            }
        });
        scope.spawn(|| {
            for _ in 0..ROUNDS {
                turns.reset();
                turns.with_idle(|_| drop(Alone::enter(&inside)));
                thread::yield_now();
            }
        });
    });
    assert!(turns.is_idle());
    assert!(!has_queue(&turns));
    assert_eq!(turns.generation(), ROUNDS);
    let value = turns.acquire(None).unwrap();
    assert_eq!(*value, taken.load(Ordering::SeqCst) as u64);
    assert!(*value >= 3 * ROUNDS);
}

/// What the gate is meant to be: a list of who is there, its first the one with the turn.
#[derive(Default)]
struct Model {
    line: Vec<usize>,
    /// Whether the first has taken its turn, not only been granted it.
    taken: bool,
    generation: u64,
    bound: [Option<u64>; GUESTS],
    rung: [usize; GUESTS],
}

/// Even ones are transactions, odd ones events.
const GUESTS: usize = 6;
/// Stands in the model's line for a holder that is no guest.
const OUTSIDER: usize = GUESTS;

impl Model {
    fn is_event(guest: usize) -> bool {
        guest != OUTSIDER && guest % 2 == 1
    }

    fn leave(&mut self, guest: usize) {
        let Some(at) = self.line.iter().position(|other| *other == guest) else { return };
        self.line.remove(at);
        if at == 0 {
            self.taken = false;
            if let Some(next) = self.line.first() {
                self.rung[*next] += 1;
            }
        }
    }

    fn poll(&mut self, guest: usize) -> Poll<Result<(), TurnError>> {
        if Self::is_event(guest) && *self.bound[guest].get_or_insert(self.generation) != self.generation {
            return Poll::Ready(Err(TurnError::Reset));
        }
        if !self.line.contains(&guest) {
            self.line.push(guest);
        }
        if self.line[0] != guest {
            return Poll::Pending;
        }
        self.taken = true;
        Poll::Ready(Ok(()))
    }

    fn reset(&mut self) {
        self.generation += 1;
        let first = self.line.first().copied();
        let held = if self.taken { first } else { None };
        let failed: Vec<_> = self
            .line
            .iter()
            .copied()
            .filter(|guest| Self::is_event(*guest) && held != Some(*guest))
            .collect();
        for guest in failed {
            // Who was granted the turn has been woken for it already.
            if first != Some(guest) {
                self.rung[guest] += 1;
            }
            self.line.retain(|other| *other != guest);
        }
        if self.line.first().copied() != first
            && let Some(next) = self.line.first()
        {
            self.rung[*next] += 1;
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    Try,
    Poll(usize),
    Cancel(usize),
    GiveUp(usize),
    Release,
    Reset,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        2 => Just(Step::Try),
        8 => (0..GUESTS).prop_map(Step::Poll),
        2 => (0..GUESTS).prop_map(Step::Cancel),
        2 => (0..GUESTS / 2).prop_map(|guest| Step::GiveUp(2 * guest)),
        6 => Just(Step::Release),
        1 => Just(Step::Reset),
    ];
    prop::collection::vec(step, 1..120)
}

proptest! {
    #[test]
    fn a_gate_behaves_as_the_plain_list_that_it_stands_for(steps in steps()) {
        let turns = Turns::new(());
        let mut model = Model::default();
        let mut guests: [Guest; GUESTS] = std::array::from_fn(|guest| {
            Guest::new(if Model::is_event(guest) { WaiterKind::Event } else { WaiterKind::Transaction })
        });
        for step in steps {
            let holder = if model.taken { model.line.first().copied() } else { None };
            match step {
                Step::Try => {
                    let free = model.line.is_empty();
                    prop_assert_eq!(turns.try_acquire().is_some(), free);
                    if free {
                        model.line.push(OUTSIDER);
                        model.taken = true;
                    }
                }
                Step::Poll(guest) if holder != Some(guest) => {
                    prop_assert_eq!(guests[guest].poll(&turns), model.poll(guest));
                }
                Step::Cancel(guest) if holder != Some(guest) => {
                    turns.cancel(&mut guests[guest].waiter);
                    model.leave(guest);
                }
                Step::GiveUp(guest) if holder != Some(guest) => {
                    let granted = model.line.first() == Some(&guest);
                    prop_assert_eq!(turns.give_up(&mut guests[guest].waiter).is_some(), granted);
                    if granted { model.taken = true } else { model.leave(guest) }
                }
                Step::Release => if let Some(holder) = holder {
                    turns.release(());
                    model.leave(holder);
                }
                Step::Reset => {
                    turns.reset();
                    model.reset();
                }
                Step::Poll(_) | Step::Cancel(_) | Step::GiveUp(_) => {}
            }
            prop_assert_eq!(turns.is_idle(), model.line.is_empty());
            prop_assert_eq!(turns.waiting(), model.line.len().saturating_sub(1));
            prop_assert_eq!(turns.generation(), model.generation);
            prop_assert_eq!(guests.each_ref().map(|guest| guest.bell.rung()), model.rung);
        }
        guests.iter_mut().for_each(|guest| turns.cancel(&mut guest.waiter));
    }
}
