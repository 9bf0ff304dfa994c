//! Archived gates on a real engine, with the test in the archive's place.

#![allow(clippy::unwrap_used, reason = "a helper of tests fails the test")]

use std::{path::Path, pin::pin, task::Wake, thread, time::Duration};

use lineal_wal::Lsn;

use super::*;
use crate::{Durability, Engine, Gated, Namespace, Object, Options, sync::atomic::AtomicUsize};

const SOON: Duration = Duration::from_millis(20);

/// An engine whose archive is the test.
struct Archive {
    engine: Engine,
    wanted: Arc<Mutex<Vec<Lsn>>>,
    expected: Arc<Mutex<Vec<Lsn>>>,
}

impl Archive {
    fn open(dir: &Path) -> Archive {
        Archive::of(Options::new().background(false).open(dir).unwrap())
    }

    fn of(engine: Engine) -> Archive {
        let (wanted, expected) = <(Arc<Mutex<Vec<Lsn>>>, Arc<Mutex<Vec<Lsn>>>)>::default();
        let lists = (Arc::clone(&wanted), Arc::clone(&expected));
        let last = engine.inner.log.durable();
        let told = move |lsn, asked| match asked {
            Asked::Waited => lists.0.lock().push(lsn),
            Asked::Expected => lists.1.lock().push(lsn),
        };
        engine.inner.output.archived.attach(last, Box::new(told));
        Archive { engine, wanted, expected }
    }

    fn gate(&self) -> &Arc<ArchivedGate> {
        &self.engine.inner.output.archived
    }

    /// Has everything durable and archived.
    fn archive_all(&self) {
        self.engine.sync().unwrap();
        self.gate().advance(self.engine.inner.log.durable());
    }

    fn namespace(&self, name: &str, durability: Durability) -> Namespace {
        let namespace = self.engine.namespace(name).unwrap();
        if durability == Durability::Archived {
            // The setting's own commit is archived before it returns.
            self.gate().advance(Lsn(self.engine.inner.log.appended().0 + 1));
            namespace.set_durability(durability).unwrap();
        }
        namespace
    }

    fn objects(&self) -> (Object, Object) {
        let safe = self.namespace("safe", Durability::Archived).object("a").unwrap();
        let fast = self.namespace("fast", Durability::Local).object("a").unwrap();
        (safe, fast)
    }
}

fn put(object: &Object, value: &str) -> Gated<()> {
    object.transact(|tx| tx.put("k", value))
}

/// Whether the gate stays shut although everything is durable, until the archive has this commit, and no longer.
#[track_caller]
fn assert_opens_with(archive: &Archive, gated: Gated<()>, lsn: Lsn) {
    archive.engine.sync().unwrap();
    assert!(!gated.is_open(), "durable here is not archived");
    let gated = gated.wait_timeout(SOON).expect_err("it is shut");
    archive.gate().advance(Lsn(lsn.0 - 1));
    assert!(!gated.is_open(), "what it depends on is not archived");
    archive.gate().advance(lsn);
    assert!(gated.is_open());
    gated.wait().unwrap();
}

#[derive(Default)]
struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn an_archived_gate_opens_when_the_commit_is_archived_and_a_local_one_when_it_is_durable() {
    let dir = tempfile::tempdir().unwrap();
    let archive = Archive::open(dir.path());
    let (safe, fast) = archive.objects();
    put(&fast, "1").wait().unwrap();
    let gated = put(&safe, "1");
    let lsn = gated.lsn();
    assert_opens_with(&archive, gated, lsn);
    assert_eq!(*archive.wanted.lock(), [lsn], "the archive was told once, and only for who waits for it");
    assert_eq!(archive.expected.lock().last(), Some(&lsn), "and that it is to come, when the gate was made");
    let raised = fast.transact(|tx| {
        tx.durability(Durability::Archived)?;
        tx.durability(Durability::Local)?;
        tx.put("k", "2")
    });
    let lsn = raised.lsn();
    assert_opens_with(&archive, raised, lsn);
}

#[test]
fn gates_open_in_the_order_of_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let archive = Archive::open(dir.path());
    let (safe, _) = archive.objects();
    let gates: Vec<Gated<()>> = (0..3).map(|n| put(&safe, &n.to_string())).collect();
    let lsns: Vec<Lsn> = gates.iter().map(Gated::lsn).collect();
    let done = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for gated in gates {
            let done = &done;
            scope.spawn(move || {
                let lsn = gated.lsn();
                gated.wait().unwrap();
                done.lock().push(lsn);
            });
        }
        for (at, lsn) in lsns.iter().enumerate() {
            while archive.gate().waiting() < lsns.len() - at {
                thread::yield_now();
            }
            assert_eq!(*done.lock(), lsns[..at]);
            archive.gate().advance(*lsn);
            while done.lock().len() <= at {
                thread::yield_now();
            }
        }
    });
    let mut wanted = archive.wanted.lock().clone();
    wanted.sort_unstable();
    assert_eq!(wanted, lsns, "each who waits said so once");
}

#[test]
fn readers_errors_and_events_of_an_archived_namespace_wait_for_what_they_saw() {
    let dir = tempfile::tempdir().unwrap();
    let archive = Archive::open(dir.path());
    let (safe, fast) = archive.objects();
    let cases: [fn(&Object) -> Gated<()>; 6] = [
        |object| object.read(|_| Ok(())),
        |object| object.transact(|_| Ok(())),
        |object| object.bookmark().map(drop),
        |object| pollster::block_on(object.event(async |_| Ok(()))),
        |object| {
            pollster::block_on(object.event(async |cx| cx.transact(|tx| tx.put("k", "e")).unconfirmed()))
        },
        |object| Engine { inner: object.engine.clone() }.transact_many([object], |[tx]| tx.put("k", "m")),
    ];
    for (at, case) in cases.iter().enumerate() {
        let written = put(&safe, &at.to_string()).lsn();
        put(&fast, &at.to_string()).wait().unwrap();
        case(&fast).wait().unwrap();
        let gated = case(&safe);
        let lsn = gated.lsn();
        assert!(lsn >= written);
        assert_opens_with(&archive, gated, lsn);
    }
    let written = put(&safe, "seen").lsn();
    let failed: Gated<()> = safe.transact(|tx| Err(Error::other(format!("{:?}", tx.get("k")?))));
    archive.engine.sync().unwrap();
    let failed = failed.wait_timeout(SOON).expect_err("an error tells of what it was computed from");
    archive.gate().advance(written);
    assert!(matches!(failed.wait(), Err(Error::Other(_))));
}

#[test]
fn who_absorbs_an_archived_result_waits_for_it_to_be_archived_and_for_no_more() {
    let dir = tempfile::tempdir().unwrap();
    let archive = Archive::open(dir.path());
    let (safe, fast) = archive.objects();
    type Absorb = fn(&Object, Gated<()>) -> Gated<()>;
    let cases: [Absorb; 4] = [
        |object, gated| {
            object.transact(|tx| {
                tx.absorb(gated)?;
                tx.put("k", "absorbed")
            })
        },
        |object, gated| object.read(|view| view.absorb(gated)),
        |object, gated| pollster::block_on(object.event(async |cx| cx.absorb(gated))),
        |object, gated| put(object, "zipped").zip(gated).map(drop),
    ];
    for case in cases {
        put(&fast, "before").wait().unwrap();
        let gated = put(&safe, "absorbed");
        let lsn = gated.lsn();
        assert_opens_with(&archive, case(&fast, gated), lsn);
    }
}

#[test]
fn a_transaction_over_several_objects_has_the_highest_level_of_them() {
    let dir = tempfile::tempdir().unwrap();
    let archive = Archive::open(dir.path());
    let (safe, fast) = archive.objects();
    let other = archive.engine.namespace("fast").unwrap().object("b").unwrap();
    let both = |left: &Object, right: &Object, level| {
        archive.engine.transact_many([left, right], |[left, right]| {
            left.put("k", "many")?;
            right.durability(level)?;
            right.put("k", "many")
        })
    };
    both(&fast, &other, Durability::Local).wait().unwrap();
    for gated in [both(&safe, &fast, Durability::Local), both(&fast, &other, Durability::Archived)] {
        let lsn = gated.lsn();
        assert_opens_with(&archive, gated, lsn);
    }
}

#[test]
fn a_failure_reaches_every_gate_beyond_what_is_archived_and_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let archive = Archive::open(dir.path());
    let (safe, fast) = archive.objects();
    let below = put(&safe, "below");
    let beyond = put(&safe, "beyond");
    let awaited = put(&safe, "awaited");
    let lsn = below.lsn();
    thread::scope(|scope| {
        let beyond = scope.spawn(|| beyond.wait());
        let awaited = scope.spawn(|| pollster::block_on(async { awaited.await }));
        while archive.gate().waiting() < 2 {
            thread::yield_now();
        }
        archive.gate().advance(lsn);
        archive.gate().fail(Error::other("fenced"));
        for failed in [beyond, awaited] {
            assert_eq!(failed.join().unwrap().unwrap_err().to_string(), "fenced");
        }
    });
    archive.gate().fail(Error::Closed);
    archive.gate().advance(Lsn(u64::MAX));
    below.wait().unwrap();
    assert_eq!(put(&safe, "later").wait().unwrap_err().to_string(), "fenced");
    put(&fast, "local").wait().unwrap();
}

#[test]
fn a_dropped_future_leaves_no_trace_and_the_last_waker_is_woken() {
    let dir = tempfile::tempdir().unwrap();
    let archive = Archive::open(dir.path());
    let (safe, _) = archive.objects();
    let (stale, woken) = (Arc::new(Count::default()), Arc::new(Count::default()));
    let dropped = Arc::new(Count::default());
    let gated = put(&safe, "1");
    let lsn = gated.lsn();
    let mut kept = pin!(gated.into_future());
    for count in [&stale, &woken] {
        let waker = Waker::from(Arc::clone(count));
        assert!(kept.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    }
    {
        let mut future = pin!(safe.read(|_| Ok(())).into_future());
        let waker = Waker::from(Arc::clone(&dropped));
        assert!(future.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        assert_eq!(archive.gate().waiting(), 2);
    }
    assert_eq!((archive.gate().waiting(), Arc::strong_count(&dropped)), (1, 1));
    assert_eq!(*archive.wanted.lock(), [lsn, lsn], "once for each future, when it is first polled");
    archive.gate().advance(lsn);
    let counts = [&stale, &woken, &dropped].map(|count| count.0.load(Ordering::SeqCst));
    assert_eq!(counts, [0, 1, 0]);
    assert!(kept.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready());
    assert_eq!(archive.gate().waiting(), 0);
}

#[test]
fn a_closed_engine_leaves_nobody_waiting() {
    let dir = tempfile::tempdir().unwrap();
    let archive = Archive::open(dir.path());
    let (safe, _) = archive.objects();
    let (first, second) = (put(&safe, "1"), put(&safe, "2"));
    archive.gate().advance(first.lsn());
    thread::scope(|scope| {
        let waits = scope.spawn(|| second.wait());
        while archive.gate().waiting() == 0 {
            thread::yield_now();
        }
        archive.engine.clone().close().unwrap();
        assert!(matches!(waits.join().unwrap(), Err(Error::Closed)));
    });
    first.wait().unwrap();
}

#[test]
fn the_setting_of_a_namespace_is_kept_and_nothing_is_confirmed_without_an_archive() {
    let dir = tempfile::tempdir().unwrap();
    let archive = Archive::open(dir.path());
    let (safe, fast) = archive.objects();
    put(&safe, "kept").unconfirmed().unwrap();
    archive.archive_all();
    assert_eq!(archive.engine.namespace("safe").unwrap().durability().unwrap(), Durability::Archived);
    drop((safe, fast));
    archive.engine.close().unwrap();

    // With an archive, found by name and by listing.
    for find in [
        |engine: &Engine| engine.existing_namespace("safe"),
        |engine: &Engine| Ok(engine.namespaces()?.into_iter().find(|found| found.name() == "safe").unwrap()),
    ] {
        let archive = Archive::open(dir.path());
        let safe = find(&archive.engine).unwrap();
        assert_eq!(safe.durability().unwrap(), Durability::Archived);
        let gated = put(&safe.object("a").unwrap(), "again");
        let lsn = gated.lsn();
        assert_opens_with(&archive, gated, lsn);
        drop(safe);
        archive.engine.close().unwrap();
    }

    // Without one.
    let engine = Options::new().background(false).open(dir.path()).unwrap();
    let safe = engine.namespace("safe").unwrap();
    let object = safe.object("a").unwrap();
    let before = engine.inner.log.appended();
    assert!(matches!(put(&object, "refused").wait(), Err(Error::NoArchive)));
    assert_eq!(engine.inner.log.appended(), before, "it was refused before it was made");
    assert!(matches!(object.read(|view| view.get("k")).wait(), Err(Error::NoArchive)));
    assert!(matches!(pollster::block_on(async { object.bookmark().await }), Err(Error::NoArchive)));
    let fast = engine.namespace("fast").unwrap();
    assert!(matches!(fast.set_durability(Durability::Archived), Err(Error::NoArchive)));
    let raised = fast.object("a").unwrap().transact(|tx| {
        assert!(matches!(tx.durability(Durability::Archived), Err(Error::NoArchive)));
        tx.put("k", "local")
    });
    raised.wait().unwrap();
    engine.close().unwrap();

    // Whoever reads only waits for no archive.
    let engine = Options::new().durability(Durability::Archived).open_read_only(dir.path()).unwrap();
    let value = engine.namespace("safe").unwrap().object("a").unwrap().read(|view| view.get("k"));
    assert_eq!(value.wait().unwrap().unwrap(), b"again"[..]);
    engine.close().unwrap();

    let engine = Options::new().background(false).open(dir.path()).unwrap();
    let safe = engine.namespace("safe").unwrap();
    safe.set_durability(Durability::Local).unwrap();
    put(&safe.object("a").unwrap(), "local again").wait().unwrap();
}

#[test]
fn an_engine_can_ask_for_the_archive_for_all_its_objects() {
    let dir = tempfile::tempdir().unwrap();
    let options = || Options::new().background(false).durability(Durability::Archived);
    assert!(matches!(options().open(dir.path()), Err(Error::NoArchive)));

    let mut engine = Options::new().background(false).open(dir.path()).unwrap();
    engine.inner.get_mut().expect("nobody else has it yet").options.durability = Durability::Archived;
    assert!(matches!(engine.inner.check_durability(), Err(Error::NoArchive)));
    let archive = Archive::of(engine);
    archive.engine.inner.check_durability().unwrap();
    let rooms = archive.engine.namespace("rooms").unwrap();
    assert_eq!(rooms.durability().unwrap(), Durability::Local, "its own setting is another");
    let object = rooms.object("a").unwrap();
    let gated = put(&object, "1");
    let lsn = gated.lsn();
    assert_opens_with(&archive, gated, lsn);
    // The engine's own business never waits for the archive.
    put(&object, "2").unconfirmed().unwrap();
    archive.engine.checkpoint().unwrap();
    archive.engine.compact().unwrap();
    // Who asks for a setting does.
    let asked = thread::scope(|scope| {
        let asked = scope.spawn(|| rooms.set_retention(crate::Retention::FOREVER));
        while archive.gate().waiting() == 0 {
            thread::yield_now();
        }
        archive.archive_all();
        asked.join().unwrap()
    });
    asked.unwrap();
}
