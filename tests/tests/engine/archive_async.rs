//! Async callers of an engine with an archive: whoever needs what is in the store only waits for it, and nobody else does.

use std::{
    future::{Future, poll_fn},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use lineal::{Engine, Error, ErrorKind, Migration, Object, Result, Tx, archive::Patience};
use lineal_snapshot::archive::sim::{Op, SimStore};
use lineal_tests::{
    archive::{HURRIED, hurried},
    world,
};
use lineal_wal::sim::SimDisk;

/// How long a test waits for what has to happen.
///
/// Source: chosen; only a failing test waits that long.
const PATIENCE: Duration = Duration::from_secs(30);

/// Values of the object that is spilled: far more than one piece.
const VALUES: u64 = 150;
const VALUE_BYTES: usize = 9_000;

/// An engine with two objects: `cold`, of which nothing is local, and `warm`, which is local.
struct Place {
    store: Arc<SimStore>,
    disk: SimDisk,
    /// How long an operation waits for the store.
    operation_max: Duration,
    cache_bytes: u64,
}

impl Place {
    fn new() -> Place {
        Place { store: SimStore::new(), disk: SimDisk::new(), operation_max: PATIENCE, cache_bytes: 64 << 20 }
    }

    fn open(&self) -> Engine {
        let archive = hurried(&self.store)
            .cache_bytes(self.cache_bytes)
            .patience(Patience { operation_max: self.operation_max, ..HURRIED });
        world::options(&self.disk, 1).wait_max(PATIENCE).archive(archive).open("simulated").unwrap()
    }

    /// Lets `write` write to `cold`, and opens the engine again when nothing of that is local.
    fn spilled(&self, write: impl FnOnce(&Object)) -> (Engine, Object, Object) {
        let engine = self.open();
        let rooms = engine.namespace("rooms").unwrap();
        // What opening reads lies in a pack of its own.
        engine.checkpoint().unwrap();
        write(&rooms.object("cold").unwrap());
        engine.checkpoint().unwrap();
        rooms.object("warm").unwrap().transact(count).wait().unwrap();
        // The newest pack stays local.
        assert_eq!(engine.spill().unwrap().packs, 2);
        drop(rooms);
        engine.close().unwrap();
        self.reopened()
    }

    fn reopened(&self) -> (Engine, Object, Object) {
        let engine = self.open();
        let rooms = engine.existing_namespace("rooms").unwrap();
        let (cold, warm) = (rooms.object("cold").unwrap(), rooms.object("warm").unwrap());
        (engine, cold, warm)
    }

    /// Runs `future` over a store that is dark until `warm` was used for a while, which it must not hold up.
    fn while_dark<T>(&self, warm: &Object, future: impl Future<Output = T>) -> T {
        self.store.dark(true);
        let waits = AtomicBool::new(true);
        let waiting = async {
            let outcome = future.await;
            waits.store(false, Ordering::SeqCst);
            outcome
        };
        let other = async {
            go_on(warm, &waits).await;
            self.store.clear();
        };
        run(async { tokio::join!(waiting, other) }).0
    }

    fn spilled_values(&self) -> (Engine, Object, Object) {
        self.spilled(|cold| {
            let values =
                |tx: &mut Tx<'_>| (0..VALUES).try_for_each(|number| tx.put(key(number), value(number)));
            cold.transact(values).wait().unwrap();
        })
    }
}

fn key(number: u64) -> String {
    format!("key {number:04}")
}

/// A value that cannot be made smaller.
fn value(number: u64) -> Vec<u8> {
    let hash = blake3::hash(&number.to_le_bytes());
    let mut value = vec![0; VALUE_BYTES];
    blake3::Hasher::new_keyed(hash.as_bytes()).finalize_xof().fill(&mut value);
    value
}

fn count(tx: &mut Tx<'_>) -> Result<u64> {
    let count = tx.get("count")?.map_or(0, |bytes| u64::from_le_bytes(bytes[..].try_into().unwrap())) + 1;
    tx.put("count", count.to_le_bytes())?;
    Ok(count)
}

/// Looks at all values, and notes how many there are.
fn sum(tx: &mut Tx<'_>) -> Result<u64> {
    let mut sum = 0;
    for number in 0..VALUES {
        let value = tx.get(key(number))?.expect("it was put");
        assert_eq!(value[..], self::value(number)[..]);
        sum += number;
    }
    tx.put("sum", sum.to_le_bytes())?;
    Ok(sum)
}

const SUM: u64 = VALUES * (VALUES - 1) / 2;

fn run<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(PATIENCE, future).await.expect("it comes to its end") })
}

async fn yield_now() {
    let mut yielded = false;
    poll_fn(|cx| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// Polls once, with a waker that does nothing.
fn poll_once<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    Pin::new(future).poll(&mut Context::from_waker(Waker::noop()))
}

/// Uses `warm` for a while, and sees that `waits` has not come to its end.
async fn go_on(warm: &Object, waits: &AtomicBool) {
    let before = warm.transact_async(count).await.await.unwrap();
    for more in 1..=20 {
        assert_eq!(warm.transact_async(count).await.await.unwrap(), before + more);
        yield_now().await;
    }
    let seen = warm.event(async |cx| cx.transact(count).unconfirmed()).await.await.unwrap();
    assert_eq!(seen, before + 21);
    assert!(waits.load(Ordering::SeqCst), "it has not waited for the store");
}

fn seq(object: &Object) -> u64 {
    object.info().unwrap().seq
}

fn is_unavailable<T>(outcome: Result<T>) -> bool {
    matches!(outcome, Err(error @ Error::Archive(_)) if error.kind() == ErrorKind::Unavailable)
}

#[test]
fn one_object_waits_for_the_store_and_another_goes_on_on_the_same_thread() {
    let place = Place::new();
    let (_engine, cold, warm) = place.spilled_values();
    let mut runs = 0;
    let sum = place.while_dark(&warm, async {
        let gated = cold.transact_async(|tx| {
            runs += 1;
            sum(tx)
        });
        gated.await.await
    });
    assert_eq!(sum.unwrap(), SUM);
    assert!(
        (2..30).contains(&runs),
        "it ran {runs} times: again after each fetch, which brings more and more"
    );
    assert_eq!(seq(&cold), 2, "it was committed once");
    assert_eq!(&cold.read(|view| view.get("sum")).wait().unwrap().unwrap()[..], SUM.to_le_bytes());
}

#[test]
fn a_store_that_cannot_be_reached_fails_one_object_until_it_is_back() {
    let place = Place { operation_max: Duration::from_millis(60), ..Place::new() };
    let (engine, cold, warm) = place.spilled_values();
    place.store.dark(true);
    for _ in 0..2 {
        let waits = AtomicBool::new(true);
        let (failed, ()) = run(async { tokio::join!(cold.transact_async(sum), go_on(&warm, &waits)) });
        assert!(is_unavailable(failed.unconfirmed()));
        let event = run(cold.event(async |cx| cx.transact_async(sum).await.unconfirmed()));
        assert!(is_unavailable(event.unconfirmed()));
    }
    place.store.clear();
    assert_eq!(run(async { cold.transact_async(sum).await.await }).unwrap(), SUM);
    assert_eq!(seq(&cold), 2);

    // Awake, and what it reads besides is out of reach.
    drop((cold, warm));
    engine.close().unwrap();
    let (_engine, cold, warm) = place.reopened();
    cold.transact(|tx| tx.put("awake", "yes")).wait().unwrap();
    place.store.dark(true);
    let waits = AtomicBool::new(true);
    let (failed, ()) = run(async { tokio::join!(cold.transact_async(sum), go_on(&warm, &waits)) });
    assert!(is_unavailable(failed.unconfirmed()));
    let inside = run(cold.event(async |cx| {
        assert!(is_unavailable(cx.transact_async(sum).await.unconfirmed()));
        cx.transact(|tx| tx.put("after", "all")).unconfirmed()
    }));
    inside.wait().unwrap();
    place.store.clear();
    assert_eq!(run(async { cold.transact_async(sum).await.await }).unwrap(), SUM);
    assert_eq!(seq(&cold), 5, "what failed left nothing");
}

#[test]
fn what_passes_over_a_read_that_failed_is_not_committed() {
    let place = Place::new();
    let (_engine, cold, _warm) = place.spilled_values();
    let mut runs = 0;
    let gated = run(cold.transact_async(|tx| {
        runs += 1;
        for number in [VALUES - 1, VALUES / 2] {
            let value = tx.get(key(number)).ok().flatten();
            tx.put(format!("copy {number}"), value.as_deref().unwrap_or(b"nothing"))?;
        }
        Ok(())
    }));
    gated.wait().unwrap();
    assert!(runs >= 2, "it ran {runs} times");
    assert_eq!(seq(&cold), 2);
    for number in [VALUES - 1, VALUES / 2] {
        let copy = cold.read(|view| view.get(format!("copy {number}"))).wait().unwrap().unwrap();
        assert_eq!(copy[..], value(number)[..]);
    }
}

#[test]
fn an_event_waits_for_its_object_and_the_thread_does_not() {
    let place = Place::new();
    let (_engine, cold, warm) = place.spilled_values();
    place.store.dark(true);
    let waits = AtomicBool::new(true);
    let began = AtomicU64::new(0);
    let (sum, next, ()) = run(async {
        let first = async {
            let gated = cold.event(async |cx| {
                began.fetch_add(1, Ordering::SeqCst);
                let sum = cx.transact_async(sum).await.unconfirmed()?;
                // Nobody came between, although this was pending.
                assert_eq!(began.load(Ordering::SeqCst), 1);
                Ok(sum)
            });
            let sum = gated.await.await;
            waits.store(false, Ordering::SeqCst);
            sum
        };
        let second = async {
            let event = cold.event(async |cx| {
                began.fetch_add(1, Ordering::SeqCst);
                cx.read(|view| view.get("sum")).unconfirmed()
            });
            event.await.await
        };
        let other = async {
            go_on(&warm, &waits).await;
            assert_eq!(began.load(Ordering::SeqCst), 0, "its object is not here");
            place.store.clear();
        };
        tokio::join!(first, second, other)
    });
    assert_eq!(sum.unwrap(), SUM);
    assert_eq!(next.unwrap().unwrap()[..], SUM.to_le_bytes());
    assert_eq!(seq(&cold), 2);
}

#[test]
fn a_migration_that_an_event_begins_with_waits_without_the_thread() {
    let place = Place::new();
    let (engine, cold, warm) = place.spilled_values();
    let rooms = engine.existing_namespace("rooms").unwrap();
    let runs = Arc::new(AtomicU64::new(0));
    let ran = Arc::clone(&runs);
    let step = Migration::run("sum up", move |tx| {
        ran.fetch_add(1, Ordering::SeqCst);
        if tx.get(key(0))?.is_none() {
            return Ok(());
        }
        // Whatever a step makes of it.
        sum(tx).map(drop).map_err(|_| Error::Invalid { reason: "it went wrong".into() })
    });
    rooms.migrations([step]).unwrap();
    let found = place.while_dark(&warm, async {
        let event = cold.event(async |cx| cx.read(|view| view.get("sum")).unconfirmed());
        event.await.await
    });
    assert_eq!(found.unwrap().unwrap()[..], SUM.to_le_bytes());
    assert!(runs.load(Ordering::SeqCst) > 2);
    assert_eq!(seq(&cold), 2);
}

#[test]
fn who_gives_up_while_it_fetches_leaves_nothing_and_gives_the_turn_back() {
    let place = Place::new();
    let (_engine, cold, _warm) = place.spilled_values();
    place.store.dark(true);
    let mut transaction = Box::pin(cold.transact_async(sum));
    assert!(poll_once(&mut transaction).is_pending());
    let mut queued = Box::pin(cold.transact_async(count));
    assert!(poll_once(&mut queued).is_pending());
    drop(transaction);
    let mut event = Box::pin(cold.event(async |cx| cx.transact(count).unconfirmed()));
    assert!(poll_once(&mut event).is_pending());
    assert!(poll_once(&mut queued).is_pending());
    drop(queued);
    // Asleep as it was, and in the event's turn.
    assert!(poll_once(&mut event).is_pending());
    drop(event);
    place.store.clear();
    assert_eq!(cold.transact(count).wait().unwrap(), 1);

    place.store.dark(true);
    let cx_was_pending = AtomicBool::new(false);
    let mut event = Box::pin(cold.event(async |cx| {
        let mut inner = Box::pin(cx.transact_async(sum));
        assert!(poll_once(&mut inner).is_pending());
        cx_was_pending.store(true, Ordering::SeqCst);
        drop(inner);
        cx.transact(count).unconfirmed()
    }));
    let Poll::Ready(gated) = poll_once(&mut event) else { panic!("nothing to wait for") };
    assert_eq!(gated.wait().unwrap(), 2, "the object was not reset");
    assert!(cx_was_pending.load(Ordering::SeqCst));
    drop(event);
    place.store.clear();
    assert_eq!(seq(&cold), 3);
}

#[test]
fn a_panic_in_a_later_run_resets_the_object() {
    let place = Place::new();
    let (_engine, cold, _warm) = place.spilled_values();
    let mut runs = 0;
    let transaction = std::panic::AssertUnwindSafe(|| {
        run(cold.transact_async(|tx| {
            runs += 1;
            tx.put("half", "done")?;
            assert!(runs < 3, "on purpose");
            sum(tx)
        }))
    });
    assert!(std::panic::catch_unwind(transaction).is_err());
    assert_eq!(cold.transact(|tx| tx.get("half")).wait().unwrap(), None);
    assert_eq!(seq(&cold), 1);
}

#[test]
fn sql_runs_again_until_all_its_pages_are_here() {
    let place = Place::new();
    let (_engine, cold, warm) = place.spilled(|cold| {
        let rows = |tx: &mut Tx<'_>| {
            let sql = tx.sql();
            sql.execute("CREATE TABLE t(id INTEGER PRIMARY KEY, text TEXT)", ())?;
            for id in 0..2_000 {
                sql.execute("INSERT INTO t VALUES (?1, ?2)", (id, format!("row {id} ").repeat(40)))?;
            }
            Ok(())
        };
        cold.transact(rows).wait().unwrap();
    });
    let mut runs = 0;
    let sum = place.while_dark(&warm, async {
        let gated = cold.transact_async(|tx| {
            runs += 1;
            let sql = tx.sql();
            sql.execute("INSERT INTO t SELECT max(id) + 1, 'new' FROM t", ())?;
            let sum = "SELECT sum(id) FROM t WHERE text LIKE 'row%' OR text = 'new'";
            sql.query_one(sum, (), |row| row.get::<i64>(0))
        });
        gated.await.await
    });
    assert_eq!(sum.unwrap(), 2_000 * 2_001 / 2);
    assert!(runs >= 2);
    assert_eq!(seq(&cold), 2);
}

#[test]
fn who_needs_more_at_once_than_is_kept_is_told() {
    let place = Place { cache_bytes: 0, ..Place::new() };
    let (_engine, cold, warm) = place.spilled(|cold| {
        let values = |tx: &mut Tx<'_>| (0..1_000).try_for_each(|number| tx.put(key(number), value(number)));
        cold.transact(values).wait().unwrap();
    });
    let look = |tx: &mut Tx<'_>| -> Result<()> {
        for number in (0..1_000).step_by(4) {
            tx.get(key(number))?;
        }
        tx.put("looked", "yes")
    };
    let error = run(cold.transact_async(look)).unconfirmed().unwrap_err();
    assert!(matches!(&error, Error::Invalid { reason } if reason.contains("cache_bytes")), "{error}");
    assert_eq!(seq(&cold), 1);
    assert_eq!(run(async { warm.transact_async(count).await.await }).unwrap(), 2);
    cold.transact(look).wait().unwrap();
    assert_eq!(seq(&cold), 2);
}

#[test]
fn an_object_that_is_here_asks_for_nothing_and_runs_once() {
    let place = Place::new();
    let (_engine, cold, warm) = place.spilled_values();
    cold.transact(sum).wait().unwrap();
    place.store.requests();
    place.store.dark(true);
    let mut runs = 0;
    let counted = run(warm.transact_async(|tx| {
        runs += 1;
        count(tx)
    }));
    assert_eq!((counted.wait().unwrap(), runs), (2, 1));
    assert_eq!(run(cold.transact_async(sum)).wait().unwrap(), SUM);
    let gets = place.store.requests().into_iter().filter(|(op, key)| *op == Op::Get && key.contains("packs"));
    assert_eq!(gets.count(), 0);
    place.store.clear();
}
