//! The input gate: events and transactions take turns on an object, whatever runs them.

use std::{
    future::{Future, poll_fn},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll, Waker},
    thread,
    time::{Duration, Instant},
};

use lineal::{Cx, Engine, Error, Gated, Namespace, Object, Options, Result};
use lineal_tests::world;
use lineal_wal::sim::SimDisk;
use tokio::sync::{Notify, oneshot};

/// How long a test waits for what has to happen.
///
/// Source: chosen; only a failing test waits that long.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long a test looks on while nothing may happen.
///
/// Source: chosen.
const LOOK: Duration = Duration::from_millis(20);

/// How long callers wait for a turn here.
///
/// Source: chosen; far above what a turn takes, and short enough to wait for.
const WAIT_MAX: Duration = Duration::from_millis(500);

fn open_with(change: impl FnOnce(Options) -> Options) -> (Engine, Namespace) {
    let options = world::options(&SimDisk::new(), 1).background(true).wait_max(PATIENCE);
    let engine = change(options).open("events").unwrap();
    let rooms = engine.namespace("rooms").unwrap();
    (engine, rooms)
}

fn open() -> (Engine, Namespace) {
    open_with(|options| options)
}

fn object() -> Object {
    open().1.object("lobby").unwrap()
}

/// Fails instead of hanging.
async fn within<T>(future: impl Future<Output = T>) -> T {
    let late = async {
        smol::Timer::after(PATIENCE).await;
        panic!("it does not come to its end");
    };
    smol::future::or(future, late).await
}

type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Runs what `make` makes on each kind of executor.
fn on_every_executor(make: impl Fn() -> Task) {
    let current = tokio::runtime::Builder::new_current_thread().build().unwrap();
    current.block_on(within(make()));
    let multi = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    let task = multi.spawn(within(make()));
    multi.block_on(task).unwrap();
    smol::block_on(within(make()));
    pollster::block_on(within(make()));
}

/// Polls once, with a waker that does nothing.
fn poll_once<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    Pin::new(future).poll(&mut Context::from_waker(Waker::noop()))
}

async fn yield_now() {
    let mut yielded = false;
    poll_fn(|cx| {
        if yielded {
            return Poll::Ready(());
        }
        yielded = true;
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

fn put(object: &Object, value: &str) -> Gated<()> {
    object.transact(|tx| tx.put("key", value))
}

fn get(object: &Object) -> Option<String> {
    let value = object.read(|view| Ok(view.get("key")?.map(|value| value.to_vec()))).wait().unwrap();
    value.map(|value| String::from_utf8(value).unwrap())
}

fn number(value: Option<lineal::Value>) -> u64 {
    value.map_or(0, |value| u64::from_be_bytes(value[..].try_into().unwrap()))
}

/// Adds one to the object's counter.
fn increment(tx: &mut lineal::Tx<'_>) -> Result<u64> {
    let count = number(tx.get("count")?) + 1;
    tx.put("count", count.to_be_bytes())?;
    Ok(count)
}

fn is_reset<T: std::fmt::Debug>(outcome: &Result<T>) -> bool {
    matches!(outcome, Err(Error::Reset))
}

fn is_inside_turn<T>(outcome: &Result<T>) -> bool {
    matches!(outcome, Err(Error::InsideTurn))
}

fn assert_send<T: Send>(value: T) -> T {
    value
}

/// Finds out whether two pieces of code run at the same time.
#[derive(Default)]
struct Alone(AtomicBool);

impl Alone {
    fn run(&self) {
        assert!(!self.0.swap(true, Ordering::SeqCst), "two run at the same time");
        for _ in 0..50 {
            std::hint::spin_loop();
        }
        thread::yield_now();
        self.0.store(false, Ordering::SeqCst);
    }
}

async fn event_in_pieces(object: Object, alone: Arc<Alone>, pieces: u64) {
    let counted = object.event(async |cx| {
        for _ in 0..pieces {
            alone.run();
            cx.transact(increment).unconfirmed()?;
            alone.run();
            yield_now().await;
        }
        Ok(())
    });
    counted.await.await.unwrap();
}

#[test]
fn one_events_code_runs_at_a_time() {
    on_every_executor(|| {
        Box::pin(async {
            let (object, alone) = (object(), Arc::new(Alone::default()));
            let event = || event_in_pieces(object.clone(), Arc::clone(&alone), 5);
            tokio::join!(event(), event(), event(), event());
            assert_eq!(number(object.read(|view| view.get("count")).await.unwrap()), 20);
        })
    });
}

#[test]
fn events_of_many_tasks_and_transactions_of_threads_take_turns() {
    let (object, alone) = (object(), Arc::new(Alone::default()));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    let tasks: Vec<_> = (0..40)
        .map(|_| runtime.spawn(within(event_in_pieces(object.clone(), Arc::clone(&alone), 10))))
        .collect();
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                for _ in 0..100 {
                    let counted = object.transact(|tx| {
                        alone.run();
                        increment(tx)
                    });
                    counted.unconfirmed().unwrap();
                }
            });
        }
    });
    runtime.block_on(async {
        for task in tasks {
            task.await.unwrap();
        }
    });
    let count = object.read(|view| Ok((number(view.get("count")?), view.seq()))).wait().unwrap();
    assert_eq!(count, (600, 600));
}

#[test]
fn others_run_while_an_event_awaits() {
    on_every_executor(|| {
        Box::pin(async {
            let object = object();
            let (send, receive) = oneshot::channel();
            let waits = object.event(async |cx| {
                let told: u64 = receive.await.unwrap();
                // What the others did meanwhile is seen.
                assert_eq!(number(cx.read(|view| view.get("count")).unconfirmed()?), told);
                Ok(told)
            });
            let tells = async {
                object.transact(increment).await.unwrap();
                object.transact_async(increment).await.await.unwrap();
                let count =
                    object.event(async |cx| cx.transact(increment).unconfirmed()).await.await.unwrap();
                send.send(count).unwrap();
            };
            let (told, ()) = tokio::join!(waits, tells);
            assert_eq!(told.await.unwrap(), 3);
        })
    });
}

#[test]
fn the_gate_of_a_commit_does_not_keep_the_turn() {
    on_every_executor(|| {
        Box::pin(async {
            let object = object();
            let awaits = object.event(async |cx| {
                cx.transact(increment).await?;
                cx.transact(increment).await
            });
            let (outcome, other) = tokio::join!(awaits, object.transact_async(increment));
            other.await.unwrap();
            outcome.await.unwrap();
            assert_eq!(object.info().unwrap().seq, 3);
        })
    });
}

/// Queues events and async transactions behind one that keeps the turn, then lets them run.
#[test]
fn turns_are_given_in_the_order_of_arrival() {
    let object = object();
    let order = Mutex::new(Vec::new());
    let (send, receive) = oneshot::channel::<()>();
    let mut first = Box::pin(object.event(async |cx| {
        cx.block_concurrency(async {
            receive.await.unwrap();
            Ok(())
        })
        .await?;
        order.lock().unwrap().push(0);
        Ok(())
    }));
    assert!(poll_once(&mut first).is_pending());
    let mut queued: Vec<Pin<Box<dyn Future<Output = Gated<()>> + '_>>> = (1..12)
        .map(|at| -> Pin<Box<dyn Future<Output = Gated<()>> + '_>> {
            let order = &order;
            match at % 2 {
                0 => Box::pin(object.transact_async(move |_| {
                    order.lock().unwrap().push(at);
                    Ok(())
                })),
                _ => Box::pin(object.event(async move |_| {
                    order.lock().unwrap().push(at);
                    Ok(())
                })),
            }
        })
        .collect();
    assert!(queued.iter_mut().all(|queued| poll_once(queued).is_pending()));
    send.send(()).unwrap();
    assert!(poll_once(&mut first).is_ready());
    // Those who ask again out of their order wait for it.
    while !queued.is_empty() {
        for at in (0..queued.len()).rev() {
            if poll_once(&mut queued[at]).is_ready() {
                drop(queued.remove(at));
            }
        }
    }
    assert_eq!(*order.lock().unwrap(), (0..12).collect::<Vec<u32>>());
}

#[test]
fn block_concurrency_keeps_others_out_and_nests() {
    let object = object();
    let (inner_done, outer_done) = (Notify::new(), Notify::new());
    let mut blocks = Box::pin(object.event(async |cx| {
        cx.block_concurrency(async {
            cx.block_concurrency(async {
                inner_done.notified().await;
                cx.transact(increment).unconfirmed()
            })
            .await?;
            outer_done.notified().await;
            cx.transact(increment).unconfirmed()
        })
        .await
    }));
    assert!(poll_once(&mut blocks).is_pending());
    let mut event = Box::pin(object.event(async |cx| cx.transact(increment).unconfirmed()));
    let mut transaction = Box::pin(object.transact_async(increment));
    for done in [&inner_done, &outer_done] {
        assert!(poll_once(&mut event).is_pending());
        assert!(poll_once(&mut transaction).is_pending());
        assert!(poll_once(&mut blocks).is_pending());
        done.notify_one();
    }
    let Poll::Ready(counted) = poll_once(&mut blocks) else { panic!("both blocks have ended") };
    assert_eq!(counted.wait().unwrap(), 2);
    let (event, transaction) = pollster::block_on(within(async { tokio::join!(event, transaction) }));
    assert_eq!((event.wait().unwrap(), transaction.wait().unwrap()), (3, 4));
}

#[test]
fn a_thread_waits_while_block_concurrency_keeps_the_turn() {
    let object = object();
    let done = Notify::new();
    let released = AtomicBool::new(false);
    let mut blocks = Box::pin(object.event(async |cx| {
        cx.block_concurrency(async {
            done.notified().await;
            Ok(())
        })
        .await
    }));
    assert!(poll_once(&mut blocks).is_pending());
    thread::scope(|scope| {
        let waiter = scope.spawn(|| {
            let seen = object.transact(|_| Ok(released.load(Ordering::SeqCst)));
            assert!(seen.wait().unwrap(), "a transaction ran inside block_concurrency");
        });
        thread::sleep(LOOK);
        assert!(!waiter.is_finished());
        released.store(true, Ordering::SeqCst);
        done.notify_one();
        assert!(poll_once(&mut blocks).is_ready());
        waiter.join().unwrap();
    });
}

/// An event that is live and awaits, one that is queued, and an async transaction that is queued, when `reset` resets
/// the object, which it does by its own event while it keeps the turn.
fn after_a_reset<'o, F: Future + Unpin + 'o>(object: &'o Object, reset: impl FnOnce(&'o Object) -> F) -> F {
    let go = Arc::new(Notify::new());
    let live_go = Arc::clone(&go);
    let mut live = Box::pin(object.event(async move |cx| {
        cx.transact(|tx| tx.put("key", "of the live one")).unconfirmed()?;
        live_go.notified().await;
        cx.transact(|tx| tx.put("key", "after the reset")).unconfirmed()
    }));
    assert!(poll_once(&mut live).is_pending());
    let mut resets = reset(object);
    assert!(poll_once(&mut resets).is_pending());
    let mut queued = Box::pin(object.event(async |_| Ok(())));
    let mut transaction = Box::pin(object.transact_async(|tx| tx.put("other", "1")));
    assert!(poll_once(&mut queued).is_pending() && poll_once(&mut transaction).is_pending());
    go.notify_one();
    // The caller lets the reset happen on its own.
    RESET.with_borrow_mut(|then| {
        *then = None;
    });
    let ended = catch_unwind(AssertUnwindSafe(|| poll_once(&mut resets)));
    drop(ended);
    let mut resets = Some(resets);
    if !matches!(object.is_resident(), true if poll_once(&mut transaction).is_pending()) {
        // The turn was given back by the end of the event.
    } else {
        resets = None;
    }
    drop(queued);
    drop(live);
    drop(transaction);
    resets.expect("kept")
}
