//! The log as bytes that travel: read, compared, verified; and who is told that there is more of it.

use crate::sim::{Fault, SimDisk};
use crate::tests::support::{append, body, check, disk, open, open_with, options, record, recover};
use crate::{
    Class, Comparison, DurablePiece, Epoch, Log, LogError, LogOptions, Lsn, Micros, Recovery, records,
};
use std::sync::{Arc, Mutex, OnceLock};

/// Records of many sizes, in groups of several, over several segments; one of them larger than a window.
pub(crate) fn written(sim: &SimDisk, count: u64) -> Log {
    let log = open(sim, 0).unwrap();
    for n in 1..=count {
        append(&log, if n == 40 { 300_000 } else { 20 + (n as usize * 977) % 5000 }).unwrap();
        if n % 7 == 0 {
            log.sync().unwrap();
        }
    }
    log.sync().unwrap();
    log
}

/// All pieces after `after`, of so many bytes.
pub(crate) fn pieces(log: &Log, after: u64, bytes_max: u32) -> Vec<DurablePiece> {
    let mut after = Lsn(after);
    let mut pieces = Vec::new();
    while let Some(piece) = log.read_durable(after, bytes_max).unwrap() {
        after = piece.last;
        pieces.push(piece);
    }
    pieces
}

fn joined(pieces: &[DurablePiece]) -> Vec<u8> {
    pieces.iter().flat_map(|piece| piece.bytes.clone()).collect()
}

#[test]
fn a_log_starts_in_the_epoch_that_it_is_given_or_above_what_it_knows() {
    let sim = SimDisk::new();
    let at_least = |epoch| LogOptions { epoch_min: Epoch(epoch), ..options() };
    for (wanted, started) in [(7, 7), (7, 8), (3, 9), (100, 100), (0, 101)] {
        let log = open_with(&sim, 0, at_least(wanted)).unwrap();
        append(&log, 10).unwrap();
        log.sync().unwrap();
        assert_eq!(log.epoch(), Epoch(started));
    }
}

#[test]
fn whoever_wants_to_know_is_told_of_every_group_when_it_can_be_seen() {
    let told = Arc::new(Mutex::new(Vec::new()));
    let log: Arc<OnceLock<Log>> = Arc::default();
    let hook = {
        let (told, log) = (Arc::clone(&told), Arc::clone(&log));
        move |lsn| {
            // It may use the log, so nobody holds a lock of it.
            let log = log.get().unwrap();
            assert!(log.durable() >= lsn && log.appended() >= lsn);
            told.lock().unwrap().push(lsn.0);
        }
    };
    let sim = SimDisk::new();
    let options = LogOptions { on_durable: Some(Arc::new(hook)), ..options() };
    let opened = log.get_or_init(|| open_with(&sim, 0, options).unwrap());
    append(opened, 10).unwrap();
    assert_eq!(*told.lock().unwrap(), []);
    opened.sync().unwrap();
    append(opened, 10).unwrap();
    append(opened, 10).unwrap();
    opened.sync().unwrap();
    opened.sync().unwrap();
    assert_eq!(*told.lock().unwrap(), [1, 3]);
    // A group that is durable is told of even if word of it could not be left.
    append(opened, 10).unwrap();
    sim.fail(Fault::at(sim.ops() + 2));
    opened.sync().unwrap();
    assert!(opened.poisoned().is_some());
    assert_eq!(*told.lock().unwrap(), [1, 3, 4]);
}

#[test]
fn threads_tell_of_everything_that_becomes_durable() {
    let told = Arc::new(Mutex::new(0));
    let hook = {
        let told = Arc::clone(&told);
        move |lsn: Lsn| {
            let mut told = told.lock().unwrap();
            *told = lsn.0.max(*told);
        }
    };
    let options = LogOptions { on_durable: Some(Arc::new(hook)), threads: true, ..options() };
    let log = open_with(&SimDisk::new(), 0, options).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..50 {
                    let appended = log.append(&record(1, 10), Micros(1), Class::User).unwrap();
                    log.wait(appended.lsn).unwrap();
                }
            });
        }
    });
    assert_eq!(log.durable(), Lsn(200));
    // Every leader has returned from its call by now.
    assert_eq!(*told.lock().unwrap(), 200);
}

#[test]
fn pieces_are_whole_records_without_gaps_whatever_their_size() {
    let sim = SimDisk::new();
    let log = written(&sim, 90);
    append(&log, 10).unwrap();
    let all = pieces(&log, 0, u32::MAX);
    assert_eq!(all.len(), 1);
    assert_eq!((all[0].first, all[0].last), (Lsn(1), Lsn(90)), "what is not durable is not read");
    for bytes_max in [0, 1, 700, 20_000, 100_000] {
        let pieces = pieces(&log, 0, bytes_max);
        let mut due = Lsn(1);
        for piece in &pieces {
            let read: Vec<_> = records(&piece.bytes).map(Result::unwrap).collect();
            read.iter().for_each(check);
            assert_eq!((piece.first, read[0].lsn), (due, due));
            assert_eq!(piece.last, read[read.len() - 1].lsn);
            assert!(piece.bytes.len() <= bytes_max as usize || read.len() == 1);
            due = piece.last.next();
        }
        assert_eq!(joined(&pieces), all[0].bytes);
        for pair in pieces.windows(2) {
            let next = records(&pair[1].bytes).next().unwrap().unwrap().bytes();
            assert!(pair[0].bytes.len() + next > bytes_max as usize, "a piece takes what fits");
        }
    }
    let middle = joined(&pieces(&log, 41, 5000));
    assert!(all[0].bytes.ends_with(&middle));
    assert_eq!(records(&middle).next().unwrap().unwrap().lsn, Lsn(42));
    drop(log);
    // After a restart, with segments that recovery did not read.
    let log = open(&sim.kill(), 80).unwrap();
    assert_eq!(joined(&pieces(&log, 0, 9000))[..all[0].bytes.len()], all[0].bytes);
    assert_eq!(log.read_durable(log.durable(), 10).unwrap(), None);
    assert_eq!(log.read_durable(log.durable().next(), 10).unwrap(), None);
}

#[test]
fn a_log_that_is_open_for_reading_and_one_that_was_released_hand_out_what_they_have() {
    let sim = SimDisk::new();
    let log = written(&sim, 90);
    let all = joined(&pieces(&log, 0, u32::MAX));
    log.release(Lsn(80)).unwrap();
    let first = log.stats().released_below.0;
    assert!((20..=80).contains(&first), "{first}");
    assert!(
        matches!(log.read_durable(Lsn(first - 1), 10), Err(LogError::Released { lsn }) if lsn.0 == first)
    );
    assert!(all.ends_with(&joined(&pieces(&log, first, 3000))));
    log.close().unwrap();
    let recovered = recover(&sim, 80, Recovery::Strict).unwrap();
    let log = Log::start_read_only(disk(&sim), recovered);
    assert!(all.ends_with(&joined(&pieces(&log, 80, 3000))));
}

#[test]
fn bytes_that_changed_are_damage_and_not_handed_out() {
    let sim = SimDisk::new();
    let log = written(&sim, 30);
    let path = sim.files().into_iter().find(|path| path.ends_with("1.log")).unwrap();
    sim.flip_bit(&path, 8 * 9000);
    let mut after = Lsn(0);
    let damage = loop {
        match log.read_durable(after, 1) {
            Ok(piece) => after = piece.expect("the damage is before the end").last,
            Err(damage) => break damage,
        }
    };
    assert!(matches!(damage, LogError::Damaged { .. }), "{damage}");
}

#[test]
fn how_many_bytes_are_behind_is_about_right_and_goes_down_to_nothing() {
    let sim = SimDisk::new();
    let log = written(&sim, 90);
    let mut before = u64::MAX;
    for after in 0..=90 {
        let about = log.durable_bytes_after(Lsn(after));
        let exact = joined(&pieces(&log, after, u32::MAX)).len() as u64;
        // A mark may be some way before the record, and a segment's seal is none of it.
        assert!(about >= exact && about <= exact + (16 << 10) + 5000, "{after}: {about} {exact}");
        assert!(about <= before);
        before = about;
    }
    assert_eq!(log.durable_bytes_after(Lsn(90)), 0);
    assert_eq!(log.durable_bytes_after(Lsn(91)), 0);
    append(&log, 10).unwrap();
    assert_eq!(log.durable_bytes_after(Lsn(90)), 0, "what is not durable does not count");
    log.release(Lsn(80)).unwrap();
    assert!(log.durable_bytes_after(Lsn(0)) > 0);
}

#[test]
fn a_piece_is_the_same_or_differs_or_goes_on_or_is_gone() {
    let sim = SimDisk::new();
    let log = written(&sim, 90);
    for piece in pieces(&log, 0, 6000) {
        assert_eq!(log.compare(piece.first, &piece.bytes).unwrap(), Comparison::Same);
        assert_eq!(
            log.compare(piece.first.next(), &piece.bytes).unwrap(),
            if piece.first == Lsn(90) {
                Comparison::Beyond { last: Lsn(90) }
            } else {
                Comparison::Differs { lsn: piece.first.next() }
            }
        );
    }
    let all = log.read_durable(Lsn(0), u32::MAX).unwrap().unwrap().bytes;
    assert_eq!(log.compare(Lsn(1), &all).unwrap(), Comparison::Same);
    assert_eq!(log.compare(Lsn(1), &[]).unwrap(), Comparison::Same);

    // Another log, which is the same up to its twentieth record.
    let other = open(&SimDisk::new(), 0).unwrap();
    for n in 1..=95_u64 {
        let bytes = if n == 40 { 300_000 } else { 20 + (n as usize * 977) % 5000 };
        let mut other_body = record(n, bytes);
        if n > 20 {
            other_body.begin_part(crate::PartHeader::default()).extend_from_slice(&body(n, 5));
            other_body.end_part();
        }
        other.append(&other_body, Micros(n * 10), Class::User).unwrap();
    }
    other.sync().unwrap();
    let fork = other.read_durable(Lsn(0), u32::MAX).unwrap().unwrap().bytes;
    assert_eq!(log.compare(Lsn(1), &fork).unwrap(), Comparison::Differs { lsn: Lsn(21) });

    let longer = {
        for _ in 0..3 {
            append(&log, 50).unwrap();
        }
        log.sync().unwrap();
        let killed = sim.kill();
        let longer = open(&killed, 0).unwrap();
        longer.read_durable(Lsn(70), u32::MAX).unwrap().unwrap()
    };
    let shorter = written(&SimDisk::new(), 90);
    let beyond = Comparison::Beyond { last: Lsn(90) };
    assert_eq!(shorter.compare(longer.first, &longer.bytes).unwrap(), beyond);
    let next = log.read_durable(Lsn(91), u32::MAX).unwrap().unwrap();
    assert_eq!(shorter.compare(next.first, &next.bytes).unwrap(), beyond);

    log.release(Lsn(80)).unwrap();
    let first = log.stats().released_below.next();
    assert_eq!(log.compare(Lsn(1), &all).unwrap(), Comparison::Same, "what is still there is");
    let mut cut = records(&all);
    while cut.next().unwrap().unwrap().lsn.next() < first {}
    assert_eq!(log.compare(Lsn(1), &all[..cut.offset()]).unwrap(), Comparison::Released);
    let mut changed = all.clone();
    let last = changed.len() - 1;
    changed[last] ^= 1;
    assert_eq!(log.compare(Lsn(1), &changed).unwrap(), Comparison::Differs { lsn: Lsn(90) });
    changed[0] ^= 1;
    assert!(matches!(log.compare(Lsn(1), &changed), Err(LogError::Damaged { .. })));
}

#[test]
fn every_flipped_bit_and_every_cut_of_a_piece_is_noticed() {
    let sim = SimDisk::new();
    let log = open(&sim, 0).unwrap();
    for bytes in [0, 30, 60, 90] {
        append(&log, bytes).unwrap();
    }
    log.sync().unwrap();
    let piece = log.read_durable(Lsn(0), u32::MAX).unwrap().unwrap().bytes;
    let good = records(&piece).filter(Result::is_ok).count();
    assert_eq!(good, 4);
    for bit in 0..piece.len() * 8 {
        let mut flipped = piece.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let read: Vec<_> = records(&flipped).collect();
        let (last, before) = read.split_last().unwrap();
        assert!(last.is_err() && before.iter().all(Result::is_ok), "bit {bit}");
    }
    let mut ends = vec![0];
    let mut read = records(&piece);
    while read.next().is_some() {
        ends.push(read.offset());
    }
    for cut in 0..piece.len() {
        let whole = records(&piece[..cut]).all(|record| record.is_ok());
        assert_eq!(whole, ends.contains(&cut), "cut at {cut}");
    }
    // Records that do not follow each other.
    let (a, b) = (ends[1], ends[2]);
    let gap = [&piece[..a], &piece[b..]].concat();
    let bad = records(&gap).nth(1).unwrap().unwrap_err();
    assert_eq!((bad.offset, bad.lsn, bad.reason), (a, Some(Lsn(2)), "another record was due"));
    assert_eq!(records(&gap).count(), 2, "nothing comes after what is wrong");
}
