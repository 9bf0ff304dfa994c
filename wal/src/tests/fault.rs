//! Devices that fail and disks that are full.

use crate::sim::{Fault, OpKind, SimDisk};
use crate::tests::support::{append, open, open_with, options, record, recover, scanned};
use crate::{Class, LogError, LogOptions, Lsn, Micros, Recovery};
use std::io;

fn is_poison(outcome: &Result<impl Sized, LogError>) -> bool {
    matches!(outcome, Err(LogError::Poisoned { .. }))
}

#[test]
fn after_a_failed_write_or_sync_nothing_is_acknowledged_and_nothing_is_tried_again() {
    for kind in [OpKind::Sync, OpKind::Write] {
        for good in 0..24 {
            let sim = SimDisk::new();
            let log = open(&sim, 0).unwrap();
            let mut acknowledged = 0;
            for _ in 0..good {
                append(&log, 3000).unwrap();
                acknowledged = log.sync().unwrap().0;
            }
            append(&log, 2000).unwrap();
            append(&log, 2000).unwrap();
            sim.fail(Fault::on(kind).path(".log"));
            let (first, last) = (Lsn(acknowledged + 1), Lsn(acknowledged + 2));
            assert!(is_poison(&log.wait(last)), "{kind:?} after {good}");
            let syncs: Vec<_> = sim.files().iter().map(|path| sim.syncs(path)).collect();
            assert!(is_poison(&log.wait(first)) && is_poison(&log.sync()));
            assert!(is_poison(&append(&log, 1)) && is_poison(&log.release(Lsn(1))));
            assert!(is_poison(&pollster(&log, last)));
            log.wait(Lsn(acknowledged)).unwrap();
            assert_eq!(log.durable().0, acknowledged);
            assert!(log.poisoned().is_some());
            assert!(is_poison(&log.close()));
            drop(log);
            let after: Vec<_> = sim.files().iter().map(|path| sim.syncs(path)).collect();
            assert_eq!(syncs, after, "nothing was synced again");
            let recovered = recover(&sim.crash(&mut |_| 1), 0, Recovery::Strict).unwrap();
            assert_eq!(recovered.last_lsn.0, acknowledged);
            // In the page cache the records may look whole; a start makes them durable before it serves them.
            let log = open(&sim.kill(), 0).unwrap();
            assert!(log.durable().0 >= acknowledged);
        }
    }
}

fn pollster(log: &crate::Log, lsn: Lsn) -> Result<(), LogError> {
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match std::pin::Pin::new(&mut log.durable_future(lsn)).poll(&mut context) {
        std::task::Poll::Ready(outcome) => outcome,
        std::task::Poll::Pending => panic!("a log without threads flushes when it is polled"),
    }
}

#[test]
fn what_a_failed_sync_left_in_the_page_cache_is_made_durable_before_it_is_served() {
    let sim = SimDisk::new();
    let log = open(&sim, 0).unwrap();
    append(&log, 10).unwrap();
    log.sync().unwrap();
    append(&log, 20).unwrap();
    sim.fail(Fault::on(OpKind::Sync).path(".log"));
    assert!(is_poison(&log.sync()));
    drop(log);
    let again = sim.kill();
    let log = open(&again, 0).unwrap();
    assert_eq!(log.durable(), Lsn(2));
    assert_eq!(scanned(&log, 0), [1, 2]);
    drop(log);
    // The first file's bytes are lost for ever; a sync of it that says Ok would not have saved them.
    assert_eq!(recover(&again.crash(&mut |_| 1), 0, Recovery::Strict).unwrap().last_lsn, Lsn(2));
}

#[test]
fn a_seal_that_cannot_be_written_poisons_the_log_after_its_group_was_acknowledged() {
    let sim = SimDisk::new();
    let log = open(&sim, 0).unwrap();
    append(&log, 10).unwrap();
    // The write is the group, the sync its own, the next write the seal.
    sim.fail(Fault::at(sim.ops() + 2));
    log.wait(Lsn(1)).unwrap();
    assert!(is_poison(&append(&log, 10)));
    assert_eq!(recover(&sim.crash(&mut |_| 1), 0, Recovery::Strict).unwrap().last_lsn, Lsn(1));
}

#[test]
fn a_list_that_cannot_be_written_poisons_the_log() {
    let sim = SimDisk::new();
    let log = open(&sim, 0).unwrap();
    append(&log, 10).unwrap();
    log.sync().unwrap();
    sim.fail(Fault::on(OpKind::Sync).path("log/list"));
    let mut outcome = Ok(());
    for _ in 0..20 {
        outcome = append(&log, 5000).map(|_| ());
        if outcome.is_err() {
            break;
        }
    }
    assert!(is_poison(&outcome));
    assert!(is_poison(&log.sync()));
    assert_eq!(log.durable(), Lsn(1));
}

#[test]
fn a_segment_that_cannot_be_prepared_does_not_poison_and_is_tried_again() {
    for kind in [OpKind::Open, OpKind::Allocate, OpKind::SyncDir] {
        let sim = SimDisk::new();
        let log = open(&sim, 0).unwrap();
        // Uses up what the start left ready.
        while log.stats().ready_bytes > 0 {
            append(&log, 5000).unwrap();
        }
        let mut failures = 0;
        for _ in 0..20 {
            let before = log.appended();
            sim.fail(Fault::on(kind));
            if append(&log, 5000).is_err() {
                failures += 1;
                assert_eq!(log.appended(), before);
                append(&log, 5000).unwrap();
            }
            sim.heal();
        }
        assert!(failures > 0, "{kind:?}");
        let last = log.sync().unwrap().0;
        assert_eq!(scanned(&log, 0), (1..=last).collect::<Vec<_>>());
    }
}

fn fill(log: &crate::Log, class: Class) -> LogError {
    loop {
        let before = log.appended();
        let lsn = before.0 + 1;
        match log.append(&record(lsn, 3000), Micros(lsn), class) {
            Ok(appended) => assert_eq!(appended.lsn.0, lsn),
            Err(error) => {
                assert_eq!(log.appended(), before, "nothing changed");
                return error;
            }
        }
    }
}

#[test]
fn a_full_disk_is_found_by_append_and_ends_when_there_is_room() {
    let sim = SimDisk::new();
    sim.set_capacity(Some(400 << 10));
    let log = open(&sim, 0).unwrap();
    assert!(matches!(fill(&log, Class::User), LogError::NoSpace { .. }));
    assert!(matches!(fill(&log, Class::System), LogError::NoSpace { .. }), "there is no reserve");
    let full = log.sync().unwrap().0;
    assert!(full > 60, "{full}");
    assert!(log.poisoned().is_none());
    // Small ones may still fit where a large one did not; then room is made.
    log.release(Lsn(full - 10)).unwrap();
    append(&log, 3000).unwrap();
    let more = fill(&log, Class::User);
    assert!(matches!(more, LogError::NoSpace { .. }));
    sim.set_capacity(None);
    append(&log, 3000).unwrap();
    let last = log.sync().unwrap().0;
    let kept = log.stats().released_below.0;
    assert_eq!(scanned(&log, kept), (kept + 1..=last).collect::<Vec<_>>());
    drop(log);
    assert_eq!(recover(&sim, full - 10, Recovery::Strict).unwrap().last_lsn.0, last);
}

#[test]
fn the_reserve_is_for_the_system_and_comes_back_before_users_go_on() {
    let sim = SimDisk::new();
    sim.set_capacity(Some(400 << 10));
    let with_reserve = LogOptions { reserve_bytes: 40 << 10, ..options() };
    let log = open_with(&sim, 0, with_reserve.clone()).unwrap();
    assert_eq!(log.stats().reserve_bytes, 40 << 10);
    assert!(matches!(fill(&log, Class::User), LogError::NoSpace { .. }));
    let users = log.appended().0;
    assert_eq!(log.stats().reserve_bytes, 40 << 10);
    assert!(matches!(fill(&log, Class::System), LogError::NoSpace { .. }));
    let system = log.sync().unwrap().0;
    assert!(system >= users + 10, "{users} {system}");
    assert_eq!(log.stats().reserve_bytes, 0);
    log.release(Lsn(users)).unwrap();
    assert!(log.stats().reserve_bytes >= 40 << 10);
    append(&log, 3000).unwrap();
    log.sync().unwrap();
    log.close().unwrap();
    let log = open_with(&sim, users, with_reserve).unwrap();
    assert!(log.stats().reserve_bytes >= 40 << 10);
    assert_eq!(log.durable().0, system + 1);
}

#[test]
fn users_do_not_eat_the_reserve_when_the_system_has_begun_it() {
    let sim = SimDisk::new();
    sim.set_capacity(Some(400 << 10));
    let log = open_with(&sim, 0, LogOptions { reserve_bytes: 40 << 10, ..options() }).unwrap();
    fill(&log, Class::User);
    while log.stats().reserve_bytes > 0 {
        let lsn = log.appended().0 + 1;
        log.append(&record(lsn, 3000), Micros(lsn), Class::System).unwrap();
    }
    assert!(matches!(append(&log, 10), Err(LogError::NoSpace { .. })));
    let lsn = log.appended().0 + 1;
    log.append(&record(lsn, 10), Micros(lsn), Class::System).unwrap();
    log.sync().unwrap();
}

#[test]
fn a_write_that_finds_the_disk_full_after_all_is_poison() {
    let sim = SimDisk::new();
    let log = open(&sim, 0).unwrap();
    append(&log, 10).unwrap();
    sim.fail(Fault::on(OpKind::Write).path(".log").error(io::ErrorKind::StorageFull));
    assert!(is_poison(&log.sync()));
}

#[test]
fn a_start_that_fails_anywhere_leaves_a_log_that_can_be_recovered() {
    let sim = SimDisk::new();
    let log = open(&sim, 0).unwrap();
    append(&log, 10).unwrap();
    append(&log, 9000).unwrap();
    log.sync().unwrap();
    drop(log);
    for op in 0.. {
        let again = sim.kill();
        again.fail(Fault::at(op));
        let failed = open(&again, 0).is_err();
        again.heal();
        assert_eq!(scanned(&open(&again, 0).unwrap(), 0), [1, 2]);
        if !failed && again.ops() > op + 40 {
            break;
        }
        if op > 60 {
            break;
        }
    }
}
