//! The output gate: nothing that a commit made or that was read of it is seen before the log's fsync has returned.

use std::{
    collections::BTreeSet,
    future::{Future, IntoFuture},
    io,
    sync::{Arc, Condvar, Mutex},
    task::{Context, Poll, Wake, Waker},
    thread,
    time::{Duration, Instant},
};

use lineal::{Engine, Error, ErrorKind, Gated, Namespace, Object, Result};
use lineal_tests::world;
use lineal_wal::{
    Disk, DiskFile, DiskLock, OpenMode,
    sim::{Fault, OpKind, SimDisk},
};

/// How long a test waits for what has to happen.
///
/// Source: chosen; only a failing test waits that long.
const PATIENCE: Duration = Duration::from_secs(20);

/// How long a test looks on while nothing may happen.
///
/// Source: chosen; longer than the 10 ms after which the log flushes by itself.
const LOOK: Duration = Duration::from_millis(25);

/// A simulated disk whose log can be made to hang in its fsync.
#[derive(Clone, Debug)]
struct SlowDisk {
    disk: SimDisk,
    syncs: Arc<Syncs>,
}

#[derive(Debug, Default)]
struct Syncs {
    state: Mutex<SyncState>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct SyncState {
    held: bool,
    waiting: usize,
}

#[derive(Debug)]
struct SlowFile {
    file: Box<dyn DiskFile>,
    syncs: Option<Arc<Syncs>>,
}

impl SlowDisk {
    fn new() -> SlowDisk {
        SlowDisk { disk: SimDisk::new(), syncs: Arc::default() }
    }

    /// From now on every fsync of the log hangs.
    fn hold(&self) {
        self.syncs.state.lock().unwrap().held = true;
    }

    /// Lets all that hang, and all later ones, go on.
    fn release(&self) {
        self.syncs.state.lock().unwrap().held = false;
        self.syncs.changed.notify_all();
    }

    fn is_held(&self) -> bool {
        self.syncs.state.lock().unwrap().held
    }

    /// Waits until an fsync hangs.
    fn await_hanging(&self) {
        let state = self.syncs.state.lock().unwrap();
        let (state, _) =
            self.syncs.changed.wait_timeout_while(state, PATIENCE, |state| state.waiting == 0).unwrap();
        assert!(state.waiting > 0, "no fsync of the log came");
    }

    fn open(&self, seed: u64) -> Engine {
        world::options(&self.disk, seed).disk(Arc::new(self.clone())).background(true).open("slow").unwrap()
    }
}

impl Syncs {
    fn pass(&self) {
        // The keeper prepares segments that hold no commit yet.
        if thread::current().name().is_some_and(|name| name.contains("keeper")) {
            return;
        }
        let mut state = self.state.lock().unwrap();
        state.waiting += 1;
        self.changed.notify_all();
        let (mut state, held) =
            self.changed.wait_timeout_while(state, 2 * PATIENCE, |state| state.held).unwrap();
        state.waiting -= 1;
        drop(state);
        assert!(!held.timed_out(), "a test let the fsync hang");
    }
}

impl Disk for SlowDisk {
    fn open(&self, path: &str, mode: OpenMode) -> io::Result<Box<dyn DiskFile>> {
        let is_log = path.starts_with("log/") && path.ends_with(".log");
        let syncs = is_log.then(|| Arc::clone(&self.syncs));
        Ok(Box::new(SlowFile { file: Disk::open(&self.disk, path, mode)?, syncs }))
    }

    fn create_dir(&self, path: &str) -> io::Result<()> {
        self.disk.create_dir(path)
    }

    fn list(&self, dir: &str) -> io::Result<Vec<String>> {
        self.disk.list(dir)
    }

    fn exists(&self, path: &str) -> io::Result<bool> {
        self.disk.exists(path)
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        self.disk.remove(path)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.disk.rename(from, to)
    }

    fn sync_dir(&self, dir: &str) -> io::Result<()> {
        self.disk.sync_dir(dir)
    }

    fn free_bytes(&self) -> io::Result<u64> {
        self.disk.free_bytes()
    }

    fn lock(&self, path: &str, exclusive: bool) -> io::Result<Box<dyn DiskLock>> {
        self.disk.lock(path, exclusive)
    }
}

impl DiskFile for SlowFile {
    fn read_exact_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_exact_at(bytes, offset)
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_all_at(bytes, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        if let Some(syncs) = &self.syncs {
            syncs.pass();
        }
        self.file.sync_data()
    }

    fn sync_all(&self) -> io::Result<()> {
        if let Some(syncs) = &self.syncs {
            syncs.pass();
        }
        self.file.sync_all()
    }

    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        self.file.allocate(len)
    }

    fn start_writeback(&self, offset: u64, len: u64) -> io::Result<()> {
        self.file.start_writeback(offset, len)
    }
}

/// Lets a test fail instead of hang when its engine is dropped.
struct ReleaseOnDrop(SlowDisk);

impl Drop for ReleaseOnDrop {
    fn drop(&mut self) {
        self.0.release();
    }
}

/// An engine on a slow disk, with one namespace.
struct Slow {
    _release: ReleaseOnDrop,
    disk: SlowDisk,
    engine: Engine,
    rooms: Namespace,
}

impl Slow {
    fn open() -> Slow {
        let disk = SlowDisk::new();
        let engine = disk.open(1);
        let rooms = engine.namespace("rooms").unwrap();
        Slow { _release: ReleaseOnDrop(disk.clone()), disk, engine, rooms }
    }

    fn object(&self, name: &str) -> Object {
        self.rooms.object(name).unwrap()
    }

    /// With the log's fsync hanging, makes a gate and gets at what is in it by `open`, on another thread: that must
    /// come to its end only after the fsync went on.
    fn opens_only_after_the_fsync<T, U: Send>(
        &self,
        make: impl FnOnce() -> Gated<T>,
        open: impl FnOnce(Gated<T>) -> U + Send,
    ) -> U
    where
        Gated<T>: Send,
    {
        self.disk.hold();
        let gated = make();
        assert!(!gated.is_open(), "the gate is shut while the fsync hangs");
        let opened = thread::scope(|scope| {
            let waiter = scope.spawn(|| {
                let opened = open(gated);
                assert!(!self.disk.is_held(), "the gate opened before the fsync had returned");
                opened
            });
            self.disk.await_hanging();
            thread::sleep(LOOK);
            assert!(!waiter.is_finished(), "the gate opened while the fsync hangs");
            self.disk.release();
            waiter.join().unwrap()
        });
        self.engine.sync().unwrap();
        opened
    }
}

fn put(object: &Object, value: &str) -> Gated<()> {
    object.transact(|tx| tx.put("key", value))
}

fn get(object: &Object) -> Gated<Option<String>> {
    object.read(|view| Ok(view.get("key")?.map(|value| String::from_utf8(value.to_vec()).unwrap())))
}

#[test]
fn a_commit_is_seen_by_wait_only_once_it_is_durable() {
    let slow = Slow::open();
    let object = slow.object("a");
    let made = || object.transact(|tx| tx.put("key", "1").map(|()| "made"));
    assert_eq!(slow.opens_only_after_the_fsync(made, Gated::wait).unwrap(), "made");
}

#[test]
fn a_commit_is_seen_by_await_only_once_it_is_durable() {
    let slow = Slow::open();
    let object = slow.object("a");
    let open = |gated: Gated<()>| pollster::block_on(gated.into_future());
    slow.opens_only_after_the_fsync(|| put(&object, "1"), open).unwrap();
    let open = |gated: Gated<()>| {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async { gated.await })
    };
    slow.opens_only_after_the_fsync(|| put(&object, "2"), open).unwrap();
    slow.opens_only_after_the_fsync(|| put(&object, "3"), |gated| smol::block_on(gated.into_future()))
        .unwrap();
}

#[test]
fn wait_timeout_hands_the_gate_back_while_it_is_shut() {
    let slow = Slow::open();
    let object = slow.object("a");
    slow.disk.hold();
    let gated = object.transact(|tx| tx.put("key", "1").map(|()| 7));
    // Nobody waits, so the flusher flushes, and is the one that hangs.
    slow.disk.await_hanging();
    let began = Instant::now();
    let gated = gated.wait_timeout(LOOK).expect_err("the fsync hangs");
    assert!(began.elapsed() >= LOOK, "it waited for as long as it was told");
    let gated = gated.wait_timeout(Duration::ZERO).expect_err("the fsync still hangs");
    slow.disk.release();
    assert_eq!(gated.wait_timeout(PATIENCE).expect("the fsync went on").unwrap(), 7);
}

#[test]
fn wait_timeout_takes_any_limit() {
    let slow = Slow::open();
    put(&slow.object("a"), "1").wait_timeout(Duration::MAX).expect("the fsync does not hang").unwrap();
}

#[test]
fn map_computes_nothing_before_the_gate_opens() {
    let slow = Slow::open();
    let object = slow.object("a");
    let disk = slow.disk.clone();
    let mapped = move || {
        object.transact(|tx| tx.put("key", "1").map(|()| 20)).map(move |value| {
            assert!(!disk.is_held(), "mapped before the fsync had returned");
            value + 1
        })
    };
    assert_eq!(slow.opens_only_after_the_fsync(mapped, Gated::wait).unwrap(), 21);
}

#[test]
fn zip_opens_with_the_later_of_the_two() {
    let slow = Slow::open();
    let (durable, object) = (slow.object("durable"), slow.object("object"));
    put(&durable, "old").wait().unwrap();
    let zipped = get(&durable).zip(put(&object, "1"));
    let zipped = slow.opens_only_after_the_fsync(|| zipped.zip(put(&object, "2")), Gated::wait);
    assert_eq!(zipped.unwrap(), ((Some("old".to_owned()), ()), ()));
    let first = durable.transact(|tx| tx.put("key", "1").map(|()| 1));
    let failed = object.transact::<u8>(|_| Err(Error::other("second")));
    assert_eq!(first.zip(failed).wait().unwrap_err().to_string(), "second");
}

#[test]
fn a_read_of_what_another_caller_wrote_waits_for_it() {
    let slow = Slow::open();
    let object = slow.object("a");
    let seen = slow.opens_only_after_the_fsync(
        || {
            drop(put(&object, "of another"));
            get(&object)
        },
        Gated::wait,
    );
    assert_eq!(seen.unwrap().as_deref(), Some("of another"));
}

#[test]
fn a_transaction_that_only_read_waits_for_what_it_read() {
    let slow = Slow::open();
    let object = slow.object("a");
    let seen = slow.opens_only_after_the_fsync(
        || {
            drop(put(&object, "of another"));
            object.transact(|tx| tx.contains("key"))
        },
        Gated::wait,
    );
    assert!(seen.unwrap());
}

#[test]
fn an_error_that_tells_of_an_undurable_value_waits_for_it() {
    let slow = Slow::open();
    let object = slow.object("a");
    let refuse = |seq: u64| Error::other(format!("the object is at {seq} already"));
    let error = slow.opens_only_after_the_fsync(
        || {
            drop(put(&object, "1"));
            object.transact::<()>(|tx| Err(refuse(tx.seq())))
        },
        Gated::wait,
    );
    assert_eq!(error.unwrap_err().to_string(), "the object is at 1 already");
    let error = slow.opens_only_after_the_fsync(
        || {
            drop(put(&object, "2"));
            object.transact(|tx| tx.expect_seq(1))
        },
        |gated| pollster::block_on(gated.into_future()),
    );
    assert!(matches!(error, Err(Error::Conflict { expected: 1, actual: 2 })));
    let error = slow.opens_only_after_the_fsync(
        || {
            drop(put(&object, "3"));
            object.read::<()>(|view| Err(refuse(view.seq())))
        },
        Gated::wait,
    );
    assert_eq!(error.unwrap_err().to_string(), "the object is at 3 already");
}

#[test]
fn a_transaction_over_several_objects_waits_for_what_it_saw_in_each() {
    let slow = Slow::open();
    let (left, right) = (slow.object("left"), slow.object("right"));
    let error = slow.opens_only_after_the_fsync(
        || {
            drop(put(&right, "1"));
            slow.engine.transact_many([&left, &right], |[_, right]| -> Result<()> {
                Err(Error::other(format!("right is at {}", right.seq())))
            })
        },
        Gated::wait,
    );
    assert_eq!(error.unwrap_err().to_string(), "right is at 1");
}

#[test]
fn an_event_waits_for_what_it_wrote_and_for_what_it_found() {
    let slow = Slow::open();
    let object = slow.object("a");
    let event = || {
        pollster::block_on(object.event(async |cx| {
            // Inside the engine nothing waits: the event goes on with what is not durable.
            cx.transact(|tx| tx.put("key", "1")).unconfirmed()?;
            cx.absorb(cx.read(|view| view.contains("key")))
        }))
    };
    assert!(slow.opens_only_after_the_fsync(event, Gated::wait).unwrap());
    let idle = || {
        drop(put(&object, "2"));
        pollster::block_on(object.event(async |_| Ok(())))
    };
    slow.opens_only_after_the_fsync(idle, Gated::wait).unwrap();
}

#[test]
fn info_and_listing_wait_for_what_they_tell() {
    let slow = Slow::open();
    let object = slow.object("a");
    put(&object, "1").wait().unwrap();
    for look in 0..2 {
        slow.disk.hold();
        drop(put(&object, "2"));
        thread::scope(|scope| {
            let waiter = scope.spawn(|| {
                let info = match look {
                    0 => object.info().unwrap(),
                    _ => slow.rooms.objects().unwrap().next().unwrap().unwrap(),
                };
                assert!(!slow.disk.is_held(), "told before it was durable");
                info.seq
            });
            slow.disk.await_hanging();
            thread::sleep(LOOK);
            slow.disk.release();
            assert_eq!(waiter.join().unwrap(), look + 2);
        });
    }
}

#[test]
fn unconfirmed_sees_at_once() {
    let slow = Slow::open();
    let object = slow.object("a");
    slow.disk.hold();
    let value = object.transact(|tx| tx.put("key", "1").map(|()| 5)).map(|value| value + 1);
    assert_eq!(value.unconfirmed().unwrap(), 6);
    assert_eq!(get(&object).unconfirmed().unwrap().as_deref(), Some("1"));
    assert!(object.transact::<()>(|_| Err(Error::other("mine"))).unconfirmed().is_err());
    assert!(slow.disk.is_held());
    slow.disk.release();
}

#[test]
fn what_depends_on_no_commit_or_on_a_durable_one_is_open() {
    let slow = Slow::open();
    let (durable, empty) = (slow.object("durable"), slow.object("empty"));
    put(&durable, "1").wait().unwrap();
    slow.disk.hold();
    drop(put(&slow.object("other"), "2"));
    let (of_durable, of_empty) = (get(&durable), get(&empty));
    assert!(of_durable.is_open() && of_empty.is_open(), "a gate waits only for its own object");
    assert_eq!(of_durable.wait().unwrap().as_deref(), Some("1"));
    assert_eq!(of_empty.wait().unwrap(), None);
    slow.disk.release();
}

/// Notes when it is woken, and how often.
struct Bell {
    number: usize,
    rung: Arc<Mutex<Vec<usize>>>,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.rung.lock().unwrap().push(self.number);
    }
}

#[test]
fn gates_open_in_the_order_of_the_log() {
    let slow = Slow::open();
    slow.disk.hold();
    let gates: Vec<Gated<()>> = (0..40).map(|at| put(&slow.object(&format!("{at}")), "1")).collect();
    assert!(gates.windows(2).all(|pair| pair[0].lsn() < pair[1].lsn()));
    let rung = Arc::new(Mutex::new(Vec::new()));
    let mut futures: Vec<_> = gates.into_iter().map(IntoFuture::into_future).map(Box::pin).collect();
    // Asked in another order than that of the log.
    for number in (0..futures.len()).rev() {
        let waker = Waker::from(Arc::new(Bell { number, rung: Arc::clone(&rung) }));
        assert!(futures[number].as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    }
    // More of the log than one group holds, while the first one hangs.
    slow.disk.await_hanging();
    let later: Vec<Gated<()>> = (0..40).map(|at| put(&slow.object(&format!("{at}")), "2")).collect();
    slow.disk.release();
    let mut open_before = 0;
    while open_before < later.len() {
        let states: Vec<bool> = later.iter().map(Gated::is_open).collect();
        // Looked at from first to last, so a later one may open in between, and an earlier one never after it.
        let open = later.iter().take_while(|gate| gate.is_open()).count();
        assert!(states.iter().take(open_before).all(|open| *open), "an open gate stays open");
        let last_open = states.iter().rposition(|open| *open).map_or(0, |at| at + 1);
        assert!(open >= last_open, "{last_open} gates seen open, but only the first {open} are");
        open_before = open;
        thread::yield_now();
    }
    for future in futures {
        pollster::block_on(future).unwrap();
    }
    let rung = rung.lock().unwrap();
    assert_eq!(*rung, (0..40).collect::<Vec<usize>>(), "those who await are woken in the order of the log");
}

#[test]
fn a_chain_of_ten_objects_costs_one_fsync() {
    let disk = SimDisk::new();
    let engine = world::options(&disk, 3).open("chain").unwrap();
    let rooms = engine.namespace("rooms").unwrap();
    let fsyncs = engine.stats().fsyncs;
    let mut last: Option<Gated<u64>> = None;
    for link in 0..10 {
        let object = rooms.object(&format!("link {link}")).unwrap();
        let before = last.take();
        last = Some(object.transact(|tx| {
            let sum = before.map_or(Ok(0), |before| tx.absorb(before))? + 1;
            tx.put("sum", sum.to_be_bytes())?;
            Ok(sum)
        }));
    }
    let last = last.unwrap();
    assert!(!last.is_open());
    assert_eq!(last.wait().unwrap(), 10);
    assert_eq!(engine.stats().fsyncs, fsyncs + 1);
}

#[test]
fn what_absorbs_waits_for_what_it_absorbed() {
    let slow = Slow::open();
    let (source, sink, reader) = (slow.object("source"), slow.object("sink"), slow.object("reader"));
    // The sink writes nothing, so its gate waits for nothing but what it absorbed.
    let absorb = || {
        let gated = put(&source, "1").zip(get(&source));
        sink.transact(|tx| tx.absorb(gated).map(|(_, seen)| seen))
    };
    assert_eq!(slow.opens_only_after_the_fsync(absorb, Gated::wait).unwrap().as_deref(), Some("1"));
    let view = || {
        let gated = put(&source, "2");
        reader.read(|view| view.absorb(gated))
    };
    slow.opens_only_after_the_fsync(view, Gated::wait).unwrap();
    let event = || {
        let gated = put(&source, "3");
        pollster::block_on(reader.event(async |cx| cx.absorb(gated)))
    };
    slow.opens_only_after_the_fsync(event, Gated::wait).unwrap();
    // What was looked at stays looked at, also if the savepoint that did it is undone.
    let undone = || {
        let gated = put(&source, "4");
        sink.transact(|tx| {
            let undone: Result<()> = tx.savepoint(|tx| {
                tx.absorb(gated)?;
                Err(Error::other("undo"))
            });
            Ok(undone.is_err())
        })
    };
    assert!(slow.opens_only_after_the_fsync(undone, Gated::wait).unwrap());
}

#[test]
fn the_shut_gate_of_another_engine_is_not_absorbed() {
    let slow = Slow::open();
    let disk = SimDisk::new();
    let other = world::options(&disk, 9).open("other").unwrap();
    let object = other.namespace("rooms").unwrap().object("a").unwrap();
    slow.disk.hold();
    let shut = put(&slow.object("a"), "1");
    let refused = object.transact(|tx| tx.absorb(shut)).wait();
    assert!(matches!(refused, Err(Error::OtherEngine)), "{refused:?}");
    let (shut, mine) = (put(&slow.object("a"), "2"), put(&object, "1"));
    let refused = object.transact(|tx| tx.absorb(mine.zip(shut))).wait();
    assert!(matches!(refused, Err(Error::OtherEngine)), "{refused:?}");
    slow.disk.release();
    let open = put(&slow.object("a"), "3");
    slow.engine.sync().unwrap();
    object.transact(|tx| tx.absorb(open)).wait().unwrap();
}

#[test]
fn a_gate_on_two_engines_opens_when_both_are_durable() {
    let (left, right) = (Slow::open(), Slow::open());
    let both = || put(&left.object("a"), "1").zip(put(&right.object("a"), "2"));
    left.opens_only_after_the_fsync(both, Gated::wait).unwrap();
    right.opens_only_after_the_fsync(both, |gated| pollster::block_on(gated.into_future())).unwrap();
}

#[test]
fn a_dropped_gate_neither_blocks_nor_takes_anything_back() {
    let slow = Slow::open();
    let object = slow.object("a");
    slow.disk.hold();
    let began = Instant::now();
    drop(put(&object, "1"));
    drop(put(&object, "2").map(|()| panic!("nobody looks at it")));
    let mut polled = Box::pin(put(&object, "3").into_future());
    assert!(polled.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    drop(polled);
    drop(slow.engine.clone());
    assert!(began.elapsed() < PATIENCE && slow.disk.is_held());
    slow.disk.release();
    slow.engine.sync().unwrap();
    assert_eq!(get(&object).wait().unwrap().as_deref(), Some("3"));
    assert_eq!(object.info().unwrap().seq, 3);
}

#[test]
fn a_gate_tells_nothing_by_its_debug_output() {
    let slow = Slow::open();
    let object = slow.object("a");
    slow.disk.hold();
    let secret = || object.transact(|tx| tx.put("key", "secret").map(|()| "secret"));
    assert!(!format!("{:?}", secret()).contains("secret"));
    assert!(!format!("{:?}", secret().map(|value| value.len())).contains("secret"));
    assert!(!format!("{:?}", secret().into_future()).contains("secret"));
    let error = object.transact::<()>(|_| Err(Error::other("secret")));
    assert!(!format!("{error:?}").contains("secret"));
    slow.disk.release();
}

#[test]
fn a_blocking_look_at_a_shut_gate_inside_a_turn_is_refused() {
    let slow = Slow::open();
    let (source, sink) = (slow.object("source"), slow.object("sink"));
    slow.disk.hold();
    let shut = put(&source, "1");
    sink.transact(|_| {
        assert!(matches!(shut.wait(), Err(Error::InsideTurn)));
        let limited = get(&source).unconfirmed();
        assert!(matches!(limited, Err(Error::InsideTurn)), "a read is a turn of its own");
        Ok(())
    })
    .unconfirmed()
    .unwrap();
    slow.disk.release();
}

/// Gates of every kind that wait when the log's fsync fails, and what they come to.
fn outcomes_of_a_failing_fsync() -> (SlowDisk, Slow, BTreeSet<String>) {
    let slow = Slow::open();
    let durable = slow.object("durable");
    put(&durable, "kept").wait().unwrap();
    slow.disk.hold();
    slow.disk.disk.fail(Fault::on(OpKind::Sync).path("log/").sticky());
    let objects: Vec<Object> = (0..8).map(|at| slow.object(&format!("{at}"))).collect();
    let mut outcomes = Vec::new();
    thread::scope(|scope| {
        let waiters: Vec<_> = objects
            .iter()
            .enumerate()
            .map(|(at, object)| {
                let gated = put(object, "lost");
                scope.spawn(move || match at % 4 {
                    0 => gated.wait(),
                    1 => pollster::block_on(gated.into_future()),
                    2 => gated.wait_timeout(PATIENCE).expect("a failed gate does not wait any longer"),
                    _ => smol::block_on(gated.map(|()| unreachable!("the log failed")).into_future()),
                })
            })
            .collect();
        slow.disk.await_hanging();
        thread::sleep(LOOK);
        assert!(waiters.iter().all(|waiter| !waiter.is_finished()));
        let began = Instant::now();
        slow.disk.release();
        outcomes.extend(waiters.into_iter().map(|waiter| waiter.join().unwrap()));
        assert!(began.elapsed() < PATIENCE / 2, "all fail at once");
    });
    // And those that come later.
    outcomes.push(put(&durable, "refused").wait());
    outcomes.push(get(&objects[0]).wait().map(drop));
    outcomes.push(pollster::block_on(objects[1].event(async |_| Ok(()))).wait());
    outcomes.push(slow.engine.sync());
    let errors = outcomes.into_iter().map(|outcome| {
        let error = outcome.expect_err("nothing is acknowledged after the log failed");
        assert_eq!((error.kind(), error.name()), (ErrorKind::Poisoned, "Poisoned"), "{error}");
        error.to_string()
    });
    let errors = errors.collect();
    (slow.disk.clone(), slow, errors)
}

#[test]
fn a_failed_fsync_fails_every_shut_gate_with_the_same_error() {
    let (disk, slow, errors) = outcomes_of_a_failing_fsync();
    assert_eq!(errors.len(), 1, "one failure, one error: {errors:?}");
    // What was durable before is still read.
    assert_eq!(get(&slow.object("durable")).wait().unwrap().as_deref(), Some("kept"));
    assert!(slow.engine.stats().poisoned);
    assert!(matches!(slow.engine.checkpoint(), Err(Error::Poisoned { .. })));
    assert!(slow.engine.close().is_err());
    // Healed and opened again it has what was acknowledged, and goes on.
    disk.disk.heal();
    let engine = disk.open(2);
    let durable = engine.namespace("rooms").unwrap().object("durable").unwrap();
    assert_eq!(get(&durable).wait().unwrap().as_deref(), Some("kept"));
    put(&durable, "more").wait().unwrap();
    assert_eq!(durable.info().unwrap().seq, 2);
    engine.close().unwrap();
}

#[test]
fn a_gate_outlives_its_engine_handles() {
    let slow = Slow::open();
    let gated = put(&slow.object("a"), "1");
    let shut = {
        slow.disk.hold();
        put(&slow.object("a"), "2")
    };
    slow.disk.release();
    let Slow { engine, rooms, .. } = slow;
    drop(rooms);
    engine.close().unwrap();
    gated.wait().unwrap();
    shut.wait().unwrap();
}

#[test]
fn a_thousand_gates_made_by_one_thread_cost_few_fsyncs() {
    let dir = tempfile::tempdir().unwrap();
    let engine = Engine::open(dir.path()).unwrap();
    let rooms = engine.namespace("rooms").unwrap();
    let objects: Vec<Object> = (0..1_000).map(|at| rooms.object(&format!("{at}")).unwrap()).collect();
    let fsyncs = engine.stats().fsyncs;
    let gates: Vec<Gated<()>> = objects.iter().map(|object| put(object, "1")).collect();
    pollster::block_on(async {
        for gate in gates {
            gate.await.unwrap();
        }
    });
    // An optimized build makes them within 4; here a slow machine may take as long as several flushes.
    let fsyncs = engine.stats().fsyncs - fsyncs;
    assert!((1..=40).contains(&fsyncs), "{fsyncs} fsyncs for 1,000 gates");
    engine.close().unwrap();
}

/// A future that is asked once and never again does not hold up who is asked later.
#[test]
fn a_gate_that_is_no_longer_asked_does_not_hold_up_others() {
    let slow = Slow::open();
    slow.disk.hold();
    let mut idle = Box::pin(put(&slow.object("a"), "1").into_future());
    assert!(idle.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    let other = put(&slow.object("b"), "2");
    slow.disk.release();
    pollster::block_on(other.into_future()).unwrap();
    assert!(matches!(idle.as_mut().poll(&mut Context::from_waker(Waker::noop())), Poll::Ready(Ok(()))));
}
