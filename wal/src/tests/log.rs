use crate::format::{segment_of_name, segment_path};
use crate::sim::SimDisk;
use crate::tests::support::{append, body, check, disk, open, open_with, options, record, recover, scanned};
use crate::{Class, Disk, Log, LogError, LogOptions, Lsn, Micros, OpenMode, RealDisk, Recovery};
use std::sync::Arc;

#[test]
fn a_record_is_read_back_before_and_after_it_is_durable_and_after_reopen() {
    let sim = SimDisk::new();
    let log = open(&sim, 0).unwrap();
    assert_eq!(log.epoch().0, 1);
    assert_eq!(append(&log, 100).unwrap().lsn, Lsn(1));
    assert_eq!((log.appended(), log.durable()), (Lsn(1), Lsn(0)));
    check(&log.read(Lsn(1)).unwrap().as_record());
    log.wait(Lsn(1)).unwrap();
    assert_eq!(log.durable(), Lsn(1));
    check(&log.read(Lsn(1)).unwrap().as_record());
    log.close().unwrap();
    let log = open(&sim, 0).unwrap();
    assert_eq!((log.epoch().0, log.durable(), log.last_time()), (2, Lsn(1), Micros(10)));
    check(&log.read(Lsn(1)).unwrap().as_record());
    assert_eq!(append(&log, 100).unwrap().lsn, Lsn(2));
}

#[test]
fn the_log_rotates_through_segments_and_serves_all_of_them() {
    let sim = SimDisk::new();
    let log = open(&sim, 0).unwrap();
    for n in 1..=200_u64 {
        append(&log, 50 + (n as usize * 37) % 3000).unwrap();
        if n % 3 == 0 {
            log.sync().unwrap();
        }
        log.shared.core.queue.lock().pending.check();
    }
    log.sync().unwrap();
    assert!(log.stats().segments > 5, "{:?}", log.stats());
    assert_eq!(scanned(&log, 0), (1..=200).collect::<Vec<_>>());
    assert_eq!(scanned(&log, 77), (78..=200).collect::<Vec<_>>());
    for lsn in 1..=200 {
        check(&log.read(Lsn(lsn)).unwrap().as_record());
    }
    assert!(matches!(log.read(Lsn(201)), Err(LogError::Beyond { .. })));
    drop(log);
    let log = open(&sim.kill(), 0).unwrap();
    assert_eq!(scanned(&log, 0), (1..=200).collect::<Vec<_>>());
    let log = open(&sim.kill(), 150).unwrap();
    assert_eq!(scanned(&log, 0), (1..=200).collect::<Vec<_>>());
    for lsn in 1..=200 {
        check(&log.read(Lsn(lsn)).unwrap().as_record());
    }
}

#[test]
fn a_log_that_shrinks_gives_its_room_back_and_goes_on() {
    let sim = SimDisk::new();
    let used = || sim.image().values().map(|bytes| bytes.len() as u64).sum::<u64>();
    let log = open(&sim, 0).unwrap();
    for _ in 0..400 {
        append(&log, 2000).unwrap();
    }
    log.sync().unwrap();
    log.release(Lsn(390)).unwrap();
    let (before, ready) = (used(), log.stats().ready_bytes);
    log.shrink().unwrap();
    let given_back = ready - log.stats().ready_bytes;
    assert!(given_back > 0 && used() == before - given_back, "{before} {} {given_back}", used());
    let ops = sim.ops();
    log.shrink().unwrap();
    assert_eq!(sim.ops(), ops, "there is nothing left to give back");
    let kept = log.stats().released_below.0;
    // Whatever a power cut leaves of it is the log.
    let cut = open(&sim.crash(&mut |count| count - 1), 390).unwrap();
    assert_eq!(scanned(&cut, kept), (kept + 1..=400).collect::<Vec<_>>());
    for _ in 0..200 {
        append(&log, 2000).unwrap();
    }
    log.sync().unwrap();
    drop(log);
    let log = open(&sim.kill(), 390).unwrap();
    assert_eq!(scanned(&log, kept), (kept + 1..=600).collect::<Vec<_>>());
}

#[test]
fn released_segments_are_recycled_and_their_records_are_gone() {
    let sim = SimDisk::new();
    let log = open(&sim, 0).unwrap();
    for n in 1..=400_u64 {
        append(&log, 2000).unwrap();
        log.sync().unwrap();
        if n % 20 == 0 {
            log.release(Lsn(n - 10)).unwrap();
        }
    }
    let stats = log.stats();
    assert!(stats.segments <= 4, "{stats:?}");
    assert!(sim.files().len() < 12, "{:?}", sim.files());
    assert!(stats.released_below.0 > 350, "{stats:?}");
    assert!(matches!(log.read(Lsn(1)), Err(LogError::Released { .. })));
    let kept = stats.released_below.0;
    assert_eq!(scanned(&log, kept), (kept + 1..=400).collect::<Vec<_>>());
    log.close().unwrap();
    let log = open(&sim, 390).unwrap();
    assert_eq!(scanned(&log, kept), (kept + 1..=400).collect::<Vec<_>>());
    assert!(matches!(recover(&sim, 0, Recovery::Strict), Err(LogError::Damaged { .. })));
}

#[test]
fn a_floor_above_the_log_is_damage_with_both_numbers() {
    let sim = SimDisk::new();
    assert!(matches!(recover(&sim, 3, Recovery::Strict), Err(LogError::Damaged { .. })));
    let log = open(&sim, 0).unwrap();
    append(&log, 10).unwrap();
    log.close().unwrap();
    let error = recover(&sim, 3, Recovery::Strict).unwrap_err().to_string();
    assert!(error.contains("record 1") && error.contains("up to 3"), "{error}");
}

#[test]
fn reopening_many_times_does_not_grow_the_log() {
    let sim = SimDisk::new();
    for n in 1..=20_u64 {
        let log = open(&sim, 0).unwrap();
        assert_eq!(log.epoch().0, n);
        if n % 5 == 0 {
            append(&log, 10).unwrap();
        }
        if n % 2 == 0 { log.close().unwrap() } else { drop(log) }
    }
    assert!(sim.files().len() <= 8, "{:?}", sim.files());
}

#[test]
fn a_large_record_gets_a_segment_of_its_own() {
    let sim = SimDisk::new();
    let log = open(&sim, 0).unwrap();
    append(&log, 10).unwrap();
    append(&log, 300_000).unwrap();
    append(&log, 10).unwrap();
    append(&log, 900_000).unwrap();
    log.sync().unwrap();
    assert_eq!(scanned(&log, 0), [1, 2, 3, 4]);
    check(&log.read(Lsn(4)).unwrap().as_record());
    drop(log);
    assert_eq!(recover(&sim, 0, Recovery::Strict).unwrap().last_lsn, Lsn(4));
}

#[test]
fn recovery_and_a_log_open_for_reading_change_no_byte() {
    let sim = SimDisk::new();
    let log = open(&sim, 0).unwrap();
    for _ in 0..40 {
        append(&log, 3000).unwrap();
    }
    log.sync().unwrap();
    let before = (sim.ops(), sim.image());
    let reading = Log::start_read_only(disk(&sim), recover(&sim, 5, Recovery::Strict).unwrap());
    assert_eq!(scanned(&reading, 0), (1..=40).collect::<Vec<_>>());
    assert!(matches!(reading.append(&record(41, 1), Micros(1), Class::User), Err(LogError::ReadOnly)));
    assert!(matches!(reading.release(Lsn(5)), Err(LogError::ReadOnly)));
    reading.close().unwrap();
    assert!((sim.ops(), sim.image()) == before);
}

#[test]
fn time_never_runs_backwards_across_reopen() {
    let sim = SimDisk::new();
    let log = open(&sim, 0).unwrap();
    assert_eq!(log.append(&record(1, 1), Micros(500), Class::User).unwrap().time, Micros(500));
    assert_eq!(log.append(&record(2, 1), Micros(400), Class::User).unwrap().time, Micros(500));
    log.close().unwrap();
    for _ in 0..3 {
        let log = open(&sim, 0).unwrap();
        assert_eq!(log.last_time(), Micros(500));
        log.close().unwrap();
    }
}

#[test]
fn after_close_nothing_is_appended_and_what_was_durable_stays_so() {
    let sim = SimDisk::new();
    let log = open(&sim, 0).unwrap();
    append(&log, 10).unwrap();
    log.close().unwrap();
    log.close().unwrap();
    assert_eq!(log.durable(), Lsn(1));
    log.wait(Lsn(1)).unwrap();
    assert!(matches!(log.append(&record(2, 1), Micros(1), Class::User), Err(LogError::Closed)));
    let recovered = recover(&sim, 0, Recovery::Strict).unwrap();
    assert!(recovered.was_closed);
    let spare = 32 << 10;
    assert_eq!(recovered.idle.iter().map(|spare| spare.capacity).collect::<Vec<_>>(), [spare]);
}

#[test]
fn another_engine_is_refused() {
    let sim = SimDisk::new();
    open(&sim, 0).unwrap().close().unwrap();
    let other = LogOptions { engine: crate::EngineId([8; 16]), ..options() };
    let refused = Log::recover(disk(&sim), &other, Lsn(0), Recovery::Strict, &mut |_, _| Ok(()));
    assert!(matches!(refused, Err(LogError::OtherEngine { .. })));
}

#[test]
fn threads_flush_what_nobody_waits_for() {
    let sim = SimDisk::new();
    let log = open_with(&sim, 0, LogOptions { threads: true, ..options() }).unwrap();
    append(&log, 10).unwrap();
    let start = std::time::Instant::now();
    while log.durable() < Lsn(1) {
        assert!(start.elapsed().as_secs() < 5, "nobody flushed");
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    log.close().unwrap();
    assert_eq!(body(1, 3).len(), 3);
    assert!(sim.exists("log/list").unwrap());
}

#[test]
fn a_segment_with_a_hole_takes_no_more_groups() {
    let temp = tempfile::tempdir().unwrap();
    let disk: Arc<dyn Disk> = Arc::new(RealDisk::new(temp.path().join("data")));
    let start = |floor| {
        let recovered =
            Log::recover(disk.clone(), &options(), Lsn(floor), Recovery::Strict, &mut |_, _| Ok(()));
        disk.create_dir("").unwrap();
        Log::start(disk.clone(), options(), recovered.unwrap()).unwrap()
    };
    let segments = || {
        let names = disk.list("log").unwrap();
        names.iter().filter_map(|name| segment_of_name(name)).map(segment_path).collect::<Vec<_>>()
    };
    let has_hole = |path: &String| {
        let file = disk.open(path, OpenMode::ReadWrite).unwrap();
        !file.is_written(file.len().unwrap()).unwrap()
    };
    let log = start(0);
    append(&log, 100).unwrap();
    log.sync().unwrap();
    log.close().unwrap();
    let closed: Vec<_> = segments().into_iter().filter(has_hole).collect();
    if closed.is_empty() {
        println!("skipped: this file system makes no holes");
        return;
    }
    // What a copy makes of zeros.
    let spare = segments().into_iter().find(|path| !closed.contains(path)).expect("one segment is ready");
    disk.open(&spare, OpenMode::ReadWrite).unwrap().discard(16 << 10, 16 << 10).unwrap();
    assert!(has_hole(&spare));
    let log = start(1);
    log.release(Lsn(1)).unwrap();
    for _ in 0..200 {
        append(&log, 500).unwrap();
        log.sync().unwrap();
        assert_eq!(segments().into_iter().filter(has_hole).collect::<Vec<_>>(), Vec::<String>::new());
        log.release(Lsn(log.durable().0 - 1)).unwrap();
    }
}
