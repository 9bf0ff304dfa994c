//! A log with its threads, on a real disk and on a simulated one.

use crate::sim::{Fault, OpKind, SimDisk};
use crate::tests::support::{check, disk, options, record};
use crate::{Class, Disk, Log, LogError, LogOptions, Lsn, Micros, RealDisk, RecordBuilder, Recovery};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::{Duration, Instant};

struct Unpark(thread::Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut context = Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(outcome) => return outcome,
            Poll::Pending => thread::park(),
        }
    }
}

fn threaded() -> LogOptions {
    LogOptions { threads: true, segment_bytes_max: 256 << 10, ..options() }
}

fn start(disk: &Arc<dyn Disk>, floor: Lsn) -> Log {
    let mut next = floor.next();
    let recovered = Log::recover(Arc::clone(disk), &threaded(), floor, Recovery::Strict, &mut |record, _| {
        assert_eq!(record.lsn, next);
        next = next.next();
        Ok(())
    });
    Log::start(Arc::clone(disk), threaded(), recovered.unwrap()).unwrap()
}

/// Appends the record of the number that it will get: the lock keeps others out until it has it.
fn append(log: &Log, turn: &std::sync::Mutex<()>, bytes: usize) -> Result<Lsn, LogError> {
    let _turn = turn.lock().unwrap();
    let lsn = log.appended().0 + 1;
    log.append(&record(lsn, bytes), Micros(lsn), Class::User).map(|appended| appended.lsn)
}

fn everybody_commits(disk: &Arc<dyn Disk>) {
    let time = Duration::from_millis(400);
    let mut floor = Lsn(0);
    for _ in 0..3 {
        let log = start(disk, floor);
        let turn = std::sync::Mutex::new(());
        let released = AtomicU64::new(floor.0);
        let begin = Instant::now();
        thread::scope(|scope| {
            for caller in 0..8_usize {
                let (log, turn, released) = (&log, &turn, &released);
                scope.spawn(move || {
                    let mut n = caller;
                    while begin.elapsed() < time {
                        n += 1;
                        let lsn = append(log, turn, 20 + n * 131 % 5000).unwrap();
                        match n % 5 {
                            0 => block_on(log.durable_future(lsn)).unwrap(),
                            1 => {
                                let mut dropped = Box::pin(log.durable_future(lsn));
                                let _ = dropped.as_mut().poll(&mut Context::from_waker(Waker::noop()));
                                continue;
                            }
                            2 => {
                                let soon = Instant::now() + Duration::from_micros(50);
                                if !log.wait_deadline(lsn, soon).unwrap() {
                                    continue;
                                }
                            }
                            _ => log.wait(lsn).unwrap(),
                        }
                        assert!(log.durable() >= lsn);
                        match log.read(lsn) {
                            Ok(record) => check(&record.as_record()),
                            Err(error) => assert!(matches!(error, LogError::Released { .. }), "{error}"),
                        }
                        if n % 64 == 0 {
                            let keep = log.durable().0.saturating_sub(40);
                            released.fetch_max(keep, Ordering::Relaxed);
                            log.release(Lsn(keep)).unwrap();
                        }
                    }
                });
            }
        });
        floor = Lsn(released.load(Ordering::Relaxed));
        let last = log.sync().unwrap();
        let mut next = floor.next();
        log.scan(floor, last, &mut |record, _| {
            check(record);
            assert_eq!(record.lsn, next);
            next = next.next();
            Ok(())
        })
        .unwrap();
        assert_eq!(next, last.next());
        log.close().unwrap();
    }
}

#[test]
fn many_callers_commit_on_a_simulated_disk() {
    everybody_commits(&disk(&SimDisk::new()));
}

#[test]
fn many_callers_commit_on_a_real_disk() {
    let dir = tempfile::tempdir().unwrap();
    let disk: Arc<dyn Disk> = Arc::new(RealDisk::new(dir.path().join("data")));
    disk.create_dir("").unwrap();
    everybody_commits(&disk);
}

#[test]
fn a_failed_sync_reaches_every_caller() {
    let sim = SimDisk::new();
    let log = start(&disk(&sim), Lsn(0));
    let turn = std::sync::Mutex::new(());
    let acknowledged = AtomicU64::new(0);
    thread::scope(|scope| {
        let mut callers = Vec::new();
        for caller in 0..6 {
            let (log, turn, acknowledged) = (&log, &turn, &acknowledged);
            callers.push(scope.spawn(move || {
                loop {
                    let outcome = append(log, turn, 100).and_then(|lsn| {
                        if caller % 2 == 0 { log.wait(lsn) } else { block_on(log.durable_future(lsn)) }?;
                        acknowledged.fetch_max(lsn.0, Ordering::AcqRel);
                        Ok(())
                    });
                    match outcome {
                        // A caller that has to make the next segment may meet the fault there, which is no failure of the
                        // log.
                        Ok(()) | Err(LogError::Io { .. }) => {}
                        Err(LogError::Poisoned { .. }) => return,
                        Err(other) => panic!("{other}"),
                    }
                }
            }));
        }
        thread::sleep(Duration::from_millis(50));
        sim.fail(Fault::on(OpKind::Sync).path(".log"));
        // The next segment may have met the fault first, which is no failure of the log; while the fault stays, none can be
        // made, so that nothing is appended and synced either.
        while log.poisoned().is_none() && !callers.iter().all(thread::ScopedJoinHandle::is_finished) {
            thread::sleep(Duration::from_millis(5));
            sim.heal();
            thread::sleep(Duration::from_millis(5));
            sim.fail(Fault::on(OpKind::Sync).path(".log"));
        }
    });
    assert_eq!(log.durable().0, acknowledged.into_inner());
    drop(log);
    sim.heal();
    let log = start(&disk(&sim.crash(&mut |_| 1)), Lsn(0));
    assert!(log.durable().0 > 0);
}

#[test]
fn a_full_disk_refuses_callers_until_there_is_room() {
    let sim = SimDisk::new();
    sim.set_capacity(Some(1 << 20));
    let log = start(&disk(&sim), Lsn(0));
    let turn = std::sync::Mutex::new(());
    let full = loop {
        match append(&log, &turn, 3000) {
            Ok(lsn) => log.wait(lsn).unwrap(),
            Err(error) => break error,
        }
    };
    assert!(matches!(full, LogError::NoSpace { .. }), "{full}");
    log.release(log.durable()).unwrap();
    let begin = Instant::now();
    let lsn = loop {
        match append(&log, &turn, 3000) {
            Ok(lsn) => break lsn,
            Err(LogError::NoSpace { .. }) => thread::sleep(Duration::from_millis(1)),
            Err(other) => panic!("{other}"),
        }
        assert!(begin.elapsed() < Duration::from_secs(5), "released room comes back");
    };
    log.wait(lsn).unwrap();
    log.close().unwrap();
}

#[test]
fn a_future_outlives_its_log_and_ends_with_it() {
    let sim = SimDisk::new();
    let log = start(&disk(&sim), Lsn(0));
    let mut empty = RecordBuilder::new();
    empty.clear();
    let lsn = log.append(&empty, Micros(1), Class::User).unwrap().lsn;
    let future = log.durable_future(lsn);
    drop(log);
    assert!(matches!(block_on(future), Ok(()) | Err(LogError::Closed)));
}
