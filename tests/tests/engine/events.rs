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

/// What resets an object.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Cause {
    BlockFails,
    BlockIsDropped,
    EventIsDropped,
    PanicInBlock,
    PanicInEvent,
    PanicInTransaction,
}

/// Resets the object while one event is live and one event and one transaction are queued.
fn assert_reset(cause: Cause) {
    let object = object();
    let (go, stop) = (Notify::new(), Notify::new());
    let mut live = Box::pin(object.event(async |cx| {
        cx.transact(|tx| tx.put("live", "1")).unconfirmed()?;
        go.notified().await;
        panic!("a live event goes on after a reset");
        #[expect(unreachable_code, reason = "tells the type")]
        Ok(())
    }));
    assert!(poll_once(&mut live).is_pending());
    let mut resets = Box::pin(object.event(async |cx| {
        cx.transact(|tx| tx.put("key", "1")).unconfirmed()?;
        let outcome: Result<()> = match cause {
            Cause::BlockFails => {
                let fails = async {
                    stop.notified().await;
                    Err(Error::other("fails"))
                };
                cx.block_concurrency(fails).await
            }
            Cause::BlockIsDropped => {
                tokio::select! {
                    biased;
                    _ = cx.block_concurrency(std::future::pending::<Result<()>>()) => unreachable!(),
                    () = stop.notified() => Err(Error::other("fails")),
                }
            }
            Cause::EventIsDropped => cx.block_concurrency(std::future::pending()).await,
            Cause::PanicInBlock => {
                let panics = async {
                    stop.notified().await;
                    panic!("on purpose");
                };
                cx.block_concurrency(panics).await
            }
            Cause::PanicInEvent | Cause::PanicInTransaction => {
                let waits = async {
                    stop.notified().await;
                    Ok(())
                };
                cx.block_concurrency(waits).await?;
                if cause == Cause::PanicInEvent {
                    panic!("on purpose");
                }
                cx.transact(|tx| {
                    tx.put("key", "2")?;
                    panic!("on purpose");
                })
                .unconfirmed()
            }
        };
        // This context is live as well.
        assert!(is_reset(&cx.transact(|tx| tx.put("key", "3")).unconfirmed()));
        assert!(is_reset(&cx.read(|view| view.get("key")).unconfirmed()));
        assert!(is_reset(&cx.block_concurrency(async { Ok(()) }).await));
        outcome
    }));
    assert!(poll_once(&mut resets).is_pending());
    let mut queued = Box::pin(object.event(async |_| Ok(())));
    let mut transaction = Box::pin(object.transact_async(increment));
    assert!(poll_once(&mut queued).is_pending() && poll_once(&mut transaction).is_pending());
    stop.notify_one();
    if cause != Cause::EventIsDropped {
        match catch_unwind(AssertUnwindSafe(|| poll_once(&mut resets))) {
            Ok(Poll::Ready(outcome)) => assert_eq!(outcome.wait().unwrap_err().to_string(), "fails"),
            Ok(Poll::Pending) => panic!("{cause:?}: it has what it waits for"),
            Err(_) => assert!(!matches!(cause, Cause::BlockFails | Cause::BlockIsDropped)),
        }
    }
    drop(resets);
    let Poll::Ready(queued) = poll_once(&mut queued) else { panic!("{cause:?}: a queued event is told") };
    assert!(is_reset(&queued.wait()), "{cause:?}");
    let Poll::Ready(counted) = poll_once(&mut transaction) else { panic!("{cause:?}: transactions go on") };
    assert_eq!(counted.wait().unwrap(), 1, "{cause:?}");
    go.notify_one();
    let Poll::Ready(live) = poll_once(&mut live) else { panic!("{cause:?}: a live event is told") };
    assert!(is_reset(&live.wait()), "{cause:?}");
    // Commits stay, and the object goes on.
    let count = pollster::block_on(object.event(async |cx| cx.transact(increment).unconfirmed()));
    assert_eq!(count.wait().unwrap(), 2, "{cause:?}");
    assert_eq!(get(&object).as_deref(), Some("1"), "{cause:?}");
    assert_eq!(object.info().unwrap().seq, 4, "{cause:?}");
}

#[test]
fn a_failed_block_concurrency_resets_the_object() {
    assert_reset(Cause::BlockFails);
}

#[test]
fn a_dropped_block_concurrency_resets_the_object() {
    assert_reset(Cause::BlockIsDropped);
    assert_reset(Cause::EventIsDropped);
}

#[test]
fn a_panic_in_an_event_resets_the_object() {
    assert_reset(Cause::PanicInBlock);
    assert_reset(Cause::PanicInEvent);
    assert_reset(Cause::PanicInTransaction);
}

#[test]
fn a_panic_in_a_transaction_leaves_nothing_of_it_and_does_not_wedge_the_object() {
    let (engine, rooms) = open();
    let (object, other) = (rooms.object("a").unwrap(), rooms.object("b").unwrap());
    put(&object, "before").wait().unwrap();
    let panics: [&dyn Fn(); 6] = [
        &|| {
            let _ = object.transact(|tx| -> Result<()> {
                tx.put("key", "lost")?;
                panic!("on purpose")
            });
        },
        &|| {
            let _ = object.read(|_| -> Result<()> { panic!("on purpose") });
        },
        &|| {
            let _ = engine.transact_many([&object, &other], |[left, right]| -> Result<()> {
                left.put("key", "lost")?;
                right.put("key", "lost")?;
                panic!("on purpose")
            });
        },
        &|| {
            let _ = pollster::block_on(object.transact_async(|tx| -> Result<()> {
                tx.put("key", "lost")?;
                panic!("on purpose")
            }));
        },
        &|| {
            let _ = object.transact(|tx| {
                tx.savepoint(|tx| -> Result<()> {
                    tx.put("key", "lost")?;
                    panic!("on purpose")
                })
            });
        },
        &|| {
            let _ = object.try_transact(|tx| -> Result<()> {
                tx.delete_all()?;
                panic!("on purpose")
            });
        },
    ];
    for panics in panics {
        let caught = catch_unwind(AssertUnwindSafe(panics));
        assert!(caught.is_err());
        assert_eq!(get(&object).as_deref(), Some("before"));
        assert_eq!((object.info().unwrap().seq, other.info().is_err()), (1, true));
        assert!(poll_once(&mut Box::pin(object.event(async |_| Ok(())))).is_ready());
    }
    put(&object, "after").wait().unwrap();
    put(&other, "after").wait().unwrap();
    // The thread is not left inside a turn either.
    engine.checkpoint().unwrap();
    engine.close().unwrap();
}

#[test]
fn a_panic_of_a_task_leaves_the_object_to_others() {
    let object = object();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    let panicking = object.clone();
    let task = runtime.spawn(async move {
        let gated: Gated<()> = panicking
            .event(async |cx| {
                cx.transact(increment).unconfirmed()?;
                yield_now().await;
                panic!("on purpose")
            })
            .await;
        drop(gated);
    });
    assert!(runtime.block_on(task).unwrap_err().is_panic());
    assert_eq!(object.transact(increment).wait().unwrap(), 2);
}

/// Takes an event or a transaction to some state, drops it there, and looks for what it left.
fn assert_no_trace(drop_it: impl FnOnce(&Object)) {
    let object = object();
    drop_it(&object);
    let began = Instant::now();
    let count = object.transact(increment).wait().unwrap();
    assert_eq!(object.info().unwrap().seq, count, "what was dropped early has committed something");
    pollster::block_on(within(object.event(async |_| Ok(())))).wait().unwrap();
    assert!(began.elapsed() < PATIENCE / 2, "a turn was lost");
}

/// Keeps the object's turn until it is told, then lets it go.
fn keep_turn<'o>(
    object: &'o Object,
    done: &'o Notify,
) -> Pin<Box<dyn Future<Output = Gated<()>> + Send + 'o>> {
    let mut keeps = Box::pin(object.event(async |cx| {
        cx.block_concurrency(async {
            done.notified().await;
            Ok(())
        })
        .await
    }));
    assert!(poll_once(&mut keeps).is_pending());
    keeps
}

#[test]
fn an_event_that_is_dropped_leaves_no_trace() {
    assert_no_trace(|object| drop(object.event(async |_| Ok(()))));
    // Queued, in the middle and at the end.
    assert_no_trace(|object| {
        let done = Notify::new();
        let mut keeps = keep_turn(object, &done);
        let mut first = Box::pin(object.event(async |_| Ok(1)));
        let mut second = Box::pin(object.event(async |cx| cx.transact(increment).unconfirmed()));
        let mut third = Box::pin(object.event(async |_| Ok(3)));
        assert!(poll_once(&mut first).is_pending() && poll_once(&mut second).is_pending());
        assert!(poll_once(&mut third).is_pending());
        drop(second);
        done.notify_one();
        assert!(poll_once(&mut keeps).is_ready() && poll_once(&mut first).is_ready());
        assert!(poll_once(&mut third).is_ready());
    });
    // Given the turn, and not asked since.
    assert_no_trace(|object| {
        let done = Notify::new();
        let mut keeps = keep_turn(object, &done);
        let mut granted = Box::pin(object.event(async |cx| cx.transact(increment).unconfirmed()));
        assert!(poll_once(&mut granted).is_pending());
        done.notify_one();
        assert!(poll_once(&mut keeps).is_ready());
        drop(granted);
    });
    // Awaiting something, without and with a turn that is kept.
    assert_no_trace(|object| {
        let mut awaits = Box::pin(object.event(async |_| {
            std::future::pending::<()>().await;
            Ok(())
        }));
        assert!(poll_once(&mut awaits).is_pending());
    });
    assert_no_trace(|object| {
        let done = Notify::new();
        drop(keep_turn(object, &done));
    });
    // Ready, and its gate not asked.
    assert_no_trace(|object| {
        let mut ready = Box::pin(object.event(async |cx| cx.transact(increment).unconfirmed()));
        assert!(poll_once(&mut ready).is_ready());
    });
}

#[test]
fn an_async_transaction_that_is_dropped_leaves_no_trace() {
    assert_no_trace(|object| drop(object.transact_async(increment)));
    assert_no_trace(|object| {
        let done = Notify::new();
        let mut keeps = keep_turn(object, &done);
        let mut queued = Box::pin(object.transact_async(increment));
        let mut granted = Box::pin(object.transact_async(increment));
        assert!(poll_once(&mut queued).is_pending() && poll_once(&mut granted).is_pending());
        drop(queued);
        done.notify_one();
        assert!(poll_once(&mut keeps).is_ready());
        drop(granted);
    });
}

#[test]
fn events_in_select_and_timeout_leave_no_trace() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async {
        let object = object();
        let done = Notify::new();
        let mut keeps = keep_turn(&object, &done);
        let late = tokio::time::timeout(LOOK, object.event(async |cx| cx.transact(increment).unconfirmed()));
        assert!(late.await.is_err());
        let late = tokio::time::timeout(LOOK, object.transact_async(increment));
        assert!(late.await.is_err());
        for _ in 0..100 {
            tokio::select! {
                biased;
                _ = object.event(async |cx| cx.transact(increment).unconfirmed()) => panic!("the turn is kept"),
                () = yield_now() => {}
            }
        }
        done.notify_one();
        within(&mut keeps).await.await.unwrap();
        // Now with the turn free: each is dropped while it awaits.
        for _ in 0..100 {
            let awaits = object.event(async |cx| {
                cx.transact(increment).unconfirmed()?;
                std::future::pending::<Result<()>>().await
            });
            tokio::select! {
                biased;
                _ = awaits => panic!("it never ends"),
                () = yield_now() => {}
            }
        }
        assert_eq!(object.transact(increment).await.unwrap(), 101, "its commits stay");
    });
}

#[test]
fn a_queue_under_cancellation_loses_no_turn() {
    let object = object();
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_time().build().unwrap();
    let acknowledged = Arc::new(AtomicU64::new(0));
    let tasks: Vec<_> = (0..200u64)
        .map(|at| {
            let (object, acknowledged) = (object.clone(), Arc::clone(&acknowledged));
            runtime.spawn(async move {
                let event = object.event(async |cx| {
                    yield_now().await;
                    cx.transact(increment).unconfirmed()?;
                    acknowledged.fetch_add(1, Ordering::SeqCst);
                    yield_now().await;
                    Ok(())
                });
                let limit = Duration::from_micros(at * 37 % 3_000);
                drop(tokio::time::timeout(limit, event).await);
            })
        })
        .collect();
    runtime.block_on(within(async {
        for task in tasks {
            task.await.unwrap();
        }
    }));
    let count = object.transact(increment).wait().unwrap();
    assert_eq!(count, acknowledged.load(Ordering::SeqCst) + 1);
    assert_eq!(object.info().unwrap().seq, count);
}

#[test]
fn blocking_calls_inside_a_turn_are_refused() {
    let (engine, rooms) = open();
    let (object, other) = (rooms.object("a").unwrap(), rooms.object("b").unwrap());
    put(&other, "1").wait().unwrap();
    let calls = || {
        assert!(is_inside_turn(&object.transact(increment).unconfirmed()));
        assert!(is_inside_turn(&other.transact(increment).unconfirmed()));
        assert!(is_inside_turn(&other.try_transact(increment).unconfirmed()));
        assert!(is_inside_turn(&other.read(|view| view.get("key")).unconfirmed()));
        assert!(is_inside_turn(&object.delete().unconfirmed()));
        assert!(is_inside_turn(&other.purge().unconfirmed()));
        assert!(is_inside_turn(&other.info()));
        assert!(is_inside_turn(&other.hibernate()));
        assert!(is_inside_turn(&other.verify()));
        assert!(is_inside_turn(&engine.transact_many([&object, &other], |_| Ok(())).unconfirmed()));
        assert!(is_inside_turn(&engine.namespace("new")));
        assert!(is_inside_turn(&engine.sync()));
        assert!(is_inside_turn(&engine.checkpoint()));
        assert!(is_inside_turn(&engine.compact()));
        assert!(is_inside_turn(&engine.clone().close()));
        assert!(is_inside_turn(&rooms.set_quotas(rooms.quotas())));
        assert!(is_inside_turn(&rooms.clone().drop()));
    };
    object
        .transact(|_| {
            calls();
            Ok(())
        })
        .wait()
        .unwrap();
    object
        .read(|_| {
            calls();
            Ok(())
        })
        .wait()
        .unwrap();
    engine
        .transact_many([&object], |_| {
            calls();
            Ok(())
        })
        .wait()
        .unwrap();
    pollster::block_on(object.transact_async(|_| {
        calls();
        Ok(())
    }))
    .wait()
    .unwrap();
    let event = object.event(async |cx| {
        calls();
        yield_now().await;
        calls();
        cx.transact(|_| {
            calls();
            Ok(())
        })
        .unconfirmed()?;
        cx.block_concurrency(async {
            calls();
            Ok(())
        })
        .await?;
        // And its own object twice at once.
        cx.transact(|_| {
            assert!(is_inside_turn(&cx.transact(increment).unconfirmed()));
            assert!(is_inside_turn(&cx.read(|view| view.get("key")).unconfirmed()));
            Ok(())
        })
        .unconfirmed()
    });
    pollster::block_on(within(event)).wait().unwrap();
    // Nothing of all that has changed anything, and outside all of it works.
    assert_eq!(get(&other).as_deref(), Some("1"));
    assert_eq!(object.transact(increment).wait().unwrap(), 1);
    engine.close().unwrap();
}

#[test]
fn waiting_for_a_gate_inside_an_event_is_refused_and_awaiting_it_is_not() {
    let (_engine, rooms) = open();
    let (object, other) = (rooms.object("a").unwrap(), rooms.object("b").unwrap());
    let event = object.event(async |cx| {
        let gated = cx.transact(increment);
        let shut = !gated.is_open();
        assert_eq!(is_inside_turn(&gated.wait()), shut);
        assert_eq!(cx.transact(increment).await?, 2);
        assert_eq!(other.transact_async(increment).await.await?, 1);
        Ok(())
    });
    pollster::block_on(within(event)).wait().unwrap();
}

#[test]
fn an_event_of_the_same_object_inside_block_concurrency_is_refused() {
    on_every_executor(|| {
        Box::pin(async {
            let object = object();
            let event = object.event(async |cx| {
                cx.block_concurrency(async {
                    assert!(is_inside_turn(&object.event(async |_| Ok(())).await.unconfirmed()));
                    assert!(is_inside_turn(&object.transact_async(increment).await.unconfirmed()));
                    Ok(())
                })
                .await
            });
            event.await.await.unwrap();
        })
    });
}

/// The outer event is asked only when it has the turn, so the inner one could never be asked when it has it.
#[test]
fn an_event_that_awaits_one_of_the_same_object_is_refused() {
    let (_engine, rooms) = open();
    let (object, other) = (rooms.object("a").unwrap(), rooms.object("b").unwrap());
    let event = object.event(async |_| {
        assert!(is_inside_turn(&object.event(async |_| Ok(())).await.unconfirmed()));
        assert!(is_inside_turn(&object.transact_async(increment).await.unconfirmed()));
        // Also by way of another object.
        let around = other.event(async |_| object.event(async |_| Ok(())).await.await).await;
        assert!(is_inside_turn(&around.unconfirmed()));
        Ok(())
    });
    pollster::block_on(within(event)).wait().unwrap();
    // An event of a task of its own is not inside, and gets its turn while this one awaits it.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    let task = runtime.spawn(within(async move {
        let outer = object.event(async |_| {
            let object = object.clone();
            let inner = tokio::spawn(async move { object.transact_async(increment).await.await });
            inner.await.unwrap()
        });
        outer.await.await
    }));
    assert_eq!(runtime.block_on(task).unwrap().unwrap(), 1);
}

#[test]
fn blocking_on_the_object_itself_inside_its_transaction_is_refused() {
    let (engine, rooms) = open();
    let (object, other) = (rooms.object("a").unwrap(), rooms.object("b").unwrap());
    let blocks = || {
        assert!(is_inside_turn(&pollster::block_on(object.event(async |_| Ok(()))).unconfirmed()));
        assert!(is_inside_turn(&pollster::block_on(object.transact_async(increment)).unconfirmed()));
    };
    object.transact(|_| Ok(blocks())).wait().unwrap();
    engine.transact_many([&other, &object], |_| Ok(blocks())).wait().unwrap();
    pollster::block_on(object.transact_async(|_| Ok(blocks()))).wait().unwrap();
    assert_eq!(object.transact(increment).wait().unwrap(), 1);
}

#[test]
fn an_event_awaits_events_of_other_objects() {
    on_every_executor(|| {
        Box::pin(async {
            let (_engine, rooms) = open();
            let objects = ["a", "b", "c"].map(|name| rooms.object(name).unwrap());
            let [a, b, c] = &objects;
            let sum = a.event(async |cx_a| {
                let inner = b.event(async |cx_b| {
                    let count =
                        cx_b.absorb(c.event(async |cx_c| cx_c.transact(increment).unconfirmed()).await)?;
                    // The contexts of those around it can be used as well: their turns are held.
                    cx_a.transact(increment).unconfirmed()?;
                    Ok(count + cx_b.transact(increment).unconfirmed()?)
                });
                let sum = cx_a.absorb(inner.await)?;
                Ok(sum + cx_a.transact(increment).unconfirmed()?)
            });
            assert_eq!(sum.await.await.unwrap(), 4);
        })
    });
}

#[test]
fn a_wait_for_the_turn_has_a_limit() {
    let (engine, rooms) = open_with(|options| options.wait_max(WAIT_MAX));
    let (object, other) = (rooms.object("a").unwrap(), rooms.object("b").unwrap());
    let done = Notify::new();
    let mut keeps = keep_turn(&object, &done);
    let began = Instant::now();
    let outcome = object.transact(increment).wait();
    assert!(matches!(outcome, Err(Error::Busy { waited_ms: 500, .. })), "{outcome:?}");
    assert!((WAIT_MAX..PATIENCE).contains(&began.elapsed()));
    let outcome = engine.transact_many([&other, &object], |_| Ok(())).wait();
    assert!(matches!(outcome, Err(Error::Busy { .. })), "{outcome:?}");
    // The other object of that transaction was given back.
    assert_eq!(other.transact(increment).wait().unwrap(), 1);
    done.notify_one();
    assert!(poll_once(&mut keeps).is_ready());
    assert_eq!(object.transact(increment).wait().unwrap(), 1, "who gave up has not run");
}

#[test]
fn an_async_wait_for_the_turn_has_a_limit() {
    on_every_executor(|| {
        Box::pin(async {
            let (_engine, rooms) = open_with(|options| options.wait_max(WAIT_MAX));
            let lobby = rooms.object("lobby").unwrap();
            let done = Notify::new();
            let mut kept = keep_turn(&lobby, &done);
            assert!(poll_once(&mut kept).is_pending());
            let started = Instant::now();
            let waiting =
                smol::future::zip(async { lobby.event(async |_| Ok(())).await.unconfirmed() }, async {
                    lobby.transact_async(increment).await.unconfirmed().map(|_| ())
                });
            let (event, transaction) = waiting.await;
            assert!(matches!(event, Err(Error::Busy { waited_ms: 500, .. })), "{event:?}");
            assert!(matches!(transaction, Err(Error::Busy { waited_ms: 500, .. })), "{transaction:?}");
            assert!(started.elapsed() >= WAIT_MAX);
            // They have left the queue: who comes next gets the turn, and nothing of theirs has run.
            done.notify_one();
            kept.await.await.unwrap();
            assert_eq!(lobby.transact_async(increment).await.await.unwrap(), 1);
        })
    });
}

#[test]
fn an_event_that_cannot_go_on_in_time_is_busy_and_its_commits_stay() {
    let (_engine, rooms) = open_with(|options| options.wait_max(WAIT_MAX));
    let lobby = rooms.object("lobby").unwrap();
    let (outside, done) = (Notify::new(), Notify::new());
    let mut event = Box::pin(lobby.event(async |cx| {
        cx.transact(|tx| tx.put("key", "begun")).unconfirmed()?;
        outside.notified().await;
        cx.transact(|tx| tx.put("key", "ended")).unconfirmed()
    }));
    assert!(poll_once(&mut event).is_pending());
    let mut kept = keep_turn(&lobby, &done);
    assert!(poll_once(&mut kept).is_pending());
    outside.notify_one();
    let outcome = pollster::block_on(within(async { event.await.await }));
    assert!(matches!(outcome, Err(Error::Busy { .. })), "{outcome:?}");
    done.notify_one();
    pollster::block_on(within(async { kept.await.await })).unwrap();
    assert_eq!(get(&lobby).as_deref(), Some("begun"));
}

/// Keeps `own` and awaits an event of `other`, when both events have their turns.
async fn cross(own: Object, other: Object, met: Arc<tokio::sync::Barrier>) -> Result<()> {
    let crossing = own.event(async |cx| {
        cx.block_concurrency(async {
            met.wait().await;
            other.event(async |_| Ok(())).await.await
        })
        .await
    });
    crossing.await.await
}

#[test]
fn two_events_that_keep_their_objects_and_await_each_other_are_busy() {
    on_every_executor(|| {
        Box::pin(async {
            let (_engine, rooms) = open_with(|options| options.wait_max(WAIT_MAX));
            let (a, b) = (rooms.object("a").unwrap(), rooms.object("b").unwrap());
            let met = Arc::new(tokio::sync::Barrier::new(2));
            let (first, second) = smol::future::zip(
                cross(a.clone(), b.clone(), Arc::clone(&met)),
                cross(b.clone(), a.clone(), Arc::clone(&met)),
            )
            .await;
            // The one that gives up lets the other one in, if that has not given up in the same moment.
            let outcomes = [&first, &second];
            assert!(
                outcomes.iter().any(|outcome| matches!(outcome, Err(Error::Busy { .. }))),
                "{outcomes:?}"
            );
            for object in [&a, &b] {
                object.transact_async(increment).await.await.unwrap();
            }
        })
    });
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    let (_engine, rooms) = open_with(|options| options.wait_max(WAIT_MAX));
    let (a, b) = (rooms.object("a").unwrap(), rooms.object("b").unwrap());
    let met = Arc::new(tokio::sync::Barrier::new(2));
    let tasks = [(&a, &b), (&b, &a)]
        .map(|(own, other)| runtime.spawn(cross(own.clone(), other.clone(), Arc::clone(&met))));
    let outcomes = runtime.block_on(within(async {
        let [first, second] = tasks;
        [first.await.unwrap(), second.await.unwrap()]
    }));
    assert!(outcomes.iter().any(|outcome| matches!(outcome, Err(Error::Busy { .. }))), "{outcomes:?}");
}

#[test]
fn who_waits_for_a_turn_when_the_engine_is_closed_is_told() {
    let (engine, rooms) = open();
    let lobby = rooms.object("lobby").unwrap();
    let done = Notify::new();
    let mut kept = keep_turn(&lobby, &done);
    assert!(poll_once(&mut kept).is_pending());
    let other = lobby.clone();
    let waiting = thread::spawn(move || {
        pollster::block_on(within(async { other.transact_async(increment).await.await }))
    });
    thread::sleep(LOOK);
    engine.close().unwrap();
    let outcome = waiting.join().unwrap();
    assert!(matches!(outcome, Err(Error::Closed)), "{outcome:?}");
}

#[test]
fn waiting_may_be_unlimited() {
    let (_engine, rooms) = open_with(|options| options.wait_max(Duration::MAX));
    let object = rooms.object("a").unwrap();
    let done = Notify::new();
    let mut keeps = keep_turn(&object, &done);
    thread::scope(|scope| {
        let waiter = scope.spawn(|| object.transact(increment).wait());
        thread::sleep(LOOK);
        done.notify_one();
        assert!(poll_once(&mut keeps).is_ready());
        assert_eq!(waiter.join().unwrap().unwrap(), 1);
    });
}

#[test]
fn a_context_is_of_use_in_its_events_polls_only() {
    let object = object();
    let leaked: Mutex<Option<Cx>> = Mutex::new(None);
    let is_refused = || {
        let cx = leaked.lock().unwrap().clone().unwrap();
        let outside = |outcome: Result<()>| matches!(outcome, Err(Error::OutsideTurn));
        outside(cx.transact(|tx| tx.put("key", "outside")).unconfirmed())
            && outside(cx.read(|_| Ok(())).unconfirmed())
            && outside(pollster::block_on(cx.block_concurrency(async { Ok(()) })))
    };
    let mut event = Box::pin(object.event(async |cx| {
        *leaked.lock().unwrap() = Some(cx.clone());
        yield_now().await;
        cx.block_concurrency(async {
            yield_now().await;
            Ok(())
        })
        .await?;
        cx.transact(increment).unconfirmed()
    }));
    assert!(poll_once(&mut event).is_pending());
    assert!(is_refused(), "while the event awaits");
    assert!(poll_once(&mut event).is_pending());
    assert!(is_refused(), "while the event awaits and keeps its turn");
    assert!(poll_once(&mut event).is_ready());
    assert!(is_refused(), "after the event");
    assert_eq!(get(&object), None);
    assert_eq!(object.info().unwrap().seq, 1);
}

#[test]
fn futures_of_events_and_transactions_are_send() {
    /// As generic code does that has to name `Send`.
    fn spawn_event<F, Fut>(object: &'static Object, f: F) -> tokio::task::JoinHandle<Result<u64>>
    where
        F: FnOnce(Cx) -> Fut + Send + 'static,
        Fut: Future<Output = Result<u64>> + Send + 'static,
    {
        tokio::spawn(async move { object.event_fn(f).await.await })
    }
    let object: &'static Object = Box::leak(Box::new(object()));
    drop(assert_send(object.event(async |cx| {
        yield_now().await;
        cx.block_concurrency(async {
            yield_now().await;
            cx.transact(increment).await
        })
        .await
    })));
    drop(assert_send(object.transact_async(increment)));
    drop(assert_send(object.transact(increment)));
    drop(assert_send(std::future::IntoFuture::into_future(object.transact(increment))));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    let count = runtime.block_on(async {
        spawn_event(object, |cx| async move { cx.transact(increment).await }).await.unwrap()
    });
    assert_eq!(count.unwrap(), 3);
    // And with what is not Send they are still usable on one thread.
    let local = std::rc::Rc::new(1);
    let seen = pollster::block_on(object.event(async |_| {
        yield_now().await;
        Ok(*local)
    }));
    assert_eq!(seen.wait().unwrap(), 1);
}

#[test]
fn an_event_of_a_closed_engine_or_a_dropped_namespace_fails() {
    let (engine, rooms) = open();
    let object = rooms.object("a").unwrap();
    put(&object, "1").wait().unwrap();
    let dropped = engine.namespace("dropped").unwrap();
    let gone = dropped.object("a").unwrap();
    dropped.drop().unwrap();
    let outcome = pollster::block_on(gone.event(async |_| Ok(()))).wait();
    assert!(matches!(outcome, Err(Error::Dropped { .. })), "{outcome:?}");
    engine.close().unwrap();
    let outcome = pollster::block_on(object.event(async |_| Ok(()))).wait();
    assert!(matches!(outcome, Err(Error::Closed)), "{outcome:?}");
    let outcome = pollster::block_on(object.transact_async(increment)).wait();
    assert!(matches!(outcome, Err(Error::Closed)), "{outcome:?}");
}

#[test]
fn an_object_without_memory_is_read_for_its_event() {
    let (engine, rooms) = open();
    let object = rooms.object("a").unwrap();
    put(&object, "kept").wait().unwrap();
    engine.checkpoint().unwrap();
    object.hibernate().unwrap();
    assert!(!object.is_resident());
    let seen = pollster::block_on(object.event(async |cx| {
        let before = cx.read(|view| view.contains("key")).unconfirmed()?;
        yield_now().await;
        Ok(before)
    }));
    assert!(seen.wait().unwrap());
}
