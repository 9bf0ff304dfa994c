use crate::format::SECTOR_BYTES;
use crate::sim::SimDisk;
use crate::tests::support::{append, disk, open, recover, scanned};
use crate::{Disk, LogTraceKind, LogTraces, Lsn, OpenMode, Part, Recovery, log_traces};

/// Looks for parts up to this seq; the records of these tests have the seq of their number.
fn traces(sim: &SimDisk, up_to: u64) -> LogTraces {
    log_traces(&*disk(sim), &mut |part: &Part<'_>| part.seq.0 <= up_to).unwrap()
}

fn kinds(traces: &LogTraces) -> (u64, u64) {
    let of = |record: bool| {
        let is = |kind: &LogTraceKind| matches!(kind, LogTraceKind::Record { .. }) == record;
        traces.found.iter().filter(|trace| is(&trace.kind)).map(|trace| trace.count).sum()
    };
    (of(true), of(false))
}

#[test]
fn records_are_found_in_segments_that_are_used_and_in_those_that_are_not_any_more() {
    let sim = SimDisk::new();
    let log = open(&sim, 0).unwrap();
    for _ in 0..30 {
        append(&log, 3_000).unwrap();
        log.sync().unwrap();
    }
    assert_eq!(kinds(&traces(&sim, 30)), (30, 0), "each of them once, and nothing that cannot be told");
    assert_eq!(kinds(&traces(&sim, 7)), (7, 0));
    assert!(traces(&sim, 0).found.is_empty());
    log.release(Lsn(30)).unwrap();
    assert!(log.read(Lsn(1)).is_err());
    assert!(kinds(&traces(&sim, 30)).0 > 1, "what is released is still there");
}

#[test]
fn what_is_left_of_a_group_that_was_written_over_is_told() {
    let sim = SimDisk::new();
    let log = open(&sim, 0).unwrap();
    for lsn in 1..=40_u64 {
        append(&log, 20_000).unwrap();
        log.sync().unwrap();
        log.release(Lsn(lsn)).unwrap();
    }
    for _ in 0..3 {
        append(&log, 10).unwrap();
        log.sync().unwrap();
    }
    let left = traces(&sim, 0);
    assert!(kinds(&left).1 > 0, "{left:?}");
    assert!(left.found.iter().all(|trace| trace.offset % u64::from(SECTOR_BYTES) == 0));
}

#[test]
fn a_byte_that_nobody_wrote_is_told_wherever_it_lies() {
    let sim = SimDisk::new();
    let log = open(&sim, 0).unwrap();
    append(&log, 100).unwrap();
    log.sync().unwrap();
    assert!(traces(&sim, 0).found.is_empty());
    let path =
        format!("log/{}", sim.list("log").unwrap().into_iter().find(|name| name.ends_with(".log")).unwrap());
    let file = sim.open(&path, OpenMode::ReadWrite).unwrap();
    for offset in [200, 4_000, 4_096 + 300, 2 * 4_096 + 100, 3 * 4_096, file.len().unwrap() - 1] {
        let mut old = [0];
        file.read_exact_at(&mut old, offset).unwrap();
        file.write_all_at(&[old[0] ^ 1], offset).unwrap();
        assert_eq!(kinds(&traces(&sim, 0)), (0, 1), "offset {offset}");
        file.write_all_at(&old, offset).unwrap();
    }
    assert!(traces(&sim, 0).found.is_empty());
}

#[test]
fn a_log_that_is_renewed_keeps_nothing_of_what_was_released() {
    let sim = SimDisk::new();
    let log = open(&sim, 0).unwrap();
    for lsn in 1..=60_u64 {
        append(&log, 50 + (lsn as usize * 371) % 9_000).unwrap();
        log.sync().unwrap();
        log.release(Lsn(lsn / 2)).unwrap();
    }
    log.renew().unwrap();
    assert_eq!(scanned(&log, 40), (41..=60).collect::<Vec<_>>(), "what is needed stays");
    log.release(Lsn(60)).unwrap();
    assert_eq!(scanned(&log, 59), [60], "until the next segment is in use");
    append(&log, 10).unwrap();
    log.sync().unwrap();
    log.renew().unwrap();
    append(&log, 10).unwrap();
    log.sync().unwrap();
    log.release(Lsn(62)).unwrap();
    log.renew().unwrap();
    let left = traces(&sim, 60);
    assert!(left.found.is_empty(), "{left:?}");
    assert_eq!(scanned(&log, 61), [62]);
    log.close().unwrap();
    assert!(traces(&sim, 60).found.is_empty());
    assert_eq!(recover(&sim, 62, Recovery::Strict).unwrap().last_lsn, Lsn(62));
}

#[test]
fn a_crash_while_a_log_is_renewed_loses_nothing() {
    for stop in 0.. {
        let sim = SimDisk::new();
        let log = open(&sim, 0).unwrap();
        for lsn in 1..=20_u64 {
            append(&log, 5_000).unwrap();
            log.sync().unwrap();
            log.release(Lsn(lsn / 2)).unwrap();
        }
        sim.power_off_at(sim.ops() + 1 + stop);
        let done = log.renew().is_ok() && {
            log.release(Lsn(20)).is_ok()
                && append(&log, 10).is_ok()
                && log.sync().is_ok()
                && log.renew().is_ok()
        };
        drop(log);
        let after = sim.crash(&mut |choices| (stop as usize) % choices.max(1));
        let recovered = recover(&after, 20, Recovery::Strict).unwrap();
        assert!(recovered.last_lsn >= Lsn(20));
        if done {
            assert!(stop > 5);
            return;
        }
    }
}

#[test]
fn a_segment_is_not_released_before_the_next_one_is_in_use() {
    let sim = SimDisk::new();
    let log = open(&sim, 0).unwrap();
    let first = log.stats().segments;
    let mut last = 0;
    while log.stats().segments == first {
        last = log.sync().unwrap().0;
        append(&log, 3_000).unwrap();
    }
    assert_eq!(log.durable(), Lsn(last), "the newest record is in a segment of which nothing is written");
    log.release(Lsn(last)).unwrap();
    assert_eq!(recover(&sim.kill(), last, Recovery::Strict).unwrap().last_lsn, Lsn(last));
    log.sync().unwrap();
    log.release(Lsn(last)).unwrap();
    assert_eq!(log.stats().segments, 1);
}
