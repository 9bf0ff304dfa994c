//! Logs made of pieces: whole or not at all, whenever power goes.

use crate::sim::{Fault, SimDisk};
use crate::tests::crash::crashes;
use crate::tests::piece::{pieces, written};
use crate::tests::support::{Dice, append, disk, open, options, recover, scanned};
use crate::{Disk, DurablePiece, Epoch, Log, LogError, LogOptions, Lsn, Micros, Recovery};
use std::io;

fn seed(sim: &SimDisk, after: u64, pieces: &[DurablePiece]) -> Result<Lsn, LogError> {
    seed_with(&LogOptions { epoch_min: Epoch(5), ..options() }, sim, after, pieces)
}

fn seed_with(
    options: &LogOptions,
    sim: &SimDisk,
    after: u64,
    pieces: &[DurablePiece],
) -> Result<Lsn, LogError> {
    sim.create_dir("").expect("the data directory is the caller's");
    let mut rest = pieces.iter();
    Log::seed(&disk(sim), options, Lsn(after), Micros(after * 10), &mut || {
        Ok(rest.next().map(|piece| piece.bytes.clone()))
    })
}

#[test]
fn a_seeded_log_is_the_one_that_its_pieces_came_from() {
    let source = written(&SimDisk::new(), 90);
    for (after, bytes_max) in [(0, 1), (0, 5000), (0, 40_000), (0, u32::MAX), (33, 9000), (89, 1), (39, 1000)]
    {
        let sim = SimDisk::new();
        assert_eq!(seed(&sim, after, &pieces(&source, after, bytes_max)).unwrap(), Lsn(90));
        // All of it was synced.
        let sim = sim.crash(&mut |choices| choices - 1);
        let recovered = recover(&sim, after, Recovery::Strict).unwrap();
        assert_eq!((recovered.first_lsn, recovered.last_lsn), (Lsn(after + 1), Lsn(90)));
        assert_eq!((recovered.epoch, recovered.last_time), (Epoch(5), Micros(900)));
        assert!(recovered.was_closed && recovered.unvouched.is_empty());
        let log = open(&sim, after).unwrap();
        assert_eq!(log.epoch(), Epoch(6));
        assert_eq!(scanned(&log, after), (after + 1..=90).collect::<Vec<_>>());
        for piece in pieces(&source, after, 7000) {
            assert_eq!(log.compare(piece.first, &piece.bytes).unwrap(), crate::Comparison::Same);
        }
        assert!(matches!(
            log.read(Lsn(after)),
            Err(LogError::Released { .. }) | Err(LogError::Beyond { .. })
        ));
        for _ in 0..20 {
            append(&log, 3000).unwrap();
        }
        log.sync().unwrap();
        log.release(Lsn(95)).unwrap();
        append(&log, 30).unwrap();
        log.close().unwrap();
        let log = open(&sim.kill(), 95).unwrap();
        assert_eq!(scanned(&log, 95), (96..=111).collect::<Vec<_>>());
    }
}

#[test]
fn segments_of_a_seeded_log_are_no_larger_than_they_need_be() {
    let source = written(&SimDisk::new(), 90);
    let sim = SimDisk::new();
    seed(&sim, 0, &pieces(&source, 0, 9000)).unwrap();
    let lengths: Vec<usize> =
        sim.image().iter().filter(|(path, _)| path.ends_with(".log")).map(|(_, bytes)| bytes.len()).collect();
    assert!(lengths.len() > 4);
    // One record is larger than a segment should be.
    assert_eq!(lengths.iter().filter(|length| **length > 64 << 10).count(), 1, "{lengths:?}");
}

#[test]
fn a_log_can_be_seeded_without_records() {
    for after in [0, 41] {
        let sim = SimDisk::new();
        assert_eq!(seed(&sim, after, &[]).unwrap(), Lsn(after));
        let recovered = recover(&sim, after, Recovery::Strict).unwrap();
        assert_eq!((recovered.first_lsn, recovered.last_lsn), (Lsn(after + 1), Lsn(after)));
        assert_eq!((recovered.epoch, recovered.last_time), (Epoch(5), Micros(after * 10)));
        if after > 0 {
            assert!(recover(&sim, after - 1, Recovery::Strict).is_err(), "it does not reach back further");
        }
        assert!(recover(&sim, after + 1, Recovery::Strict).is_err());
        let log = open(&sim, after).unwrap();
        assert_eq!(append(&log, 100).unwrap().lsn, Lsn(after + 1));
        log.sync().unwrap();
        let log = open(&sim.kill(), after).unwrap();
        assert_eq!(scanned(&log, after), [after + 1]);
    }
}

#[test]
fn pieces_that_do_not_follow_make_no_log() {
    let source = written(&SimDisk::new(), 30);
    let pieces = pieces(&source, 10, 5000);
    let bad = |result: Result<Lsn, LogError>, due| match result {
        Err(LogError::Damaged { lsn: Some(lsn), .. }) => assert_eq!(lsn, Lsn(due)),
        other => panic!("{other:?}"),
    };
    let sim = SimDisk::new();
    bad(seed(&sim, 9, &pieces), 10);
    bad(seed(&sim, 11, &pieces), 12);
    bad(seed(&sim, 10, &[pieces[0].clone(), pieces[2].clone()]), pieces[1].first.0);
    let mut flipped = pieces.clone();
    flipped[1].bytes[40] ^= 1;
    bad(seed(&sim, 10, &flipped), pieces[1].first.0);
    let late = &mut || Ok(Some(pieces[0].bytes.clone()));
    let late = Log::seed(&disk(&sim), &options(), Lsn(10), Micros(1_000_000), late);
    assert!(matches!(late, Err(LogError::Damaged { reason, .. }) if reason == "time runs backwards"));
    let stopped = &mut || Err(LogError::stopped("the store is away"));
    let stopped = Log::seed(&disk(&sim), &options(), Lsn(10), Micros(0), stopped);
    assert!(matches!(stopped, Err(LogError::Stopped { .. })));
    assert!(recover(&sim, 10, Recovery::Strict).is_err(), "no log was made");
    assert_eq!(seed(&sim, 10, &pieces).unwrap(), Lsn(30));
    recover(&sim, 10, Recovery::Strict).unwrap();
}

#[test]
fn a_log_that_was_started_is_not_seeded_over() {
    let source = written(&SimDisk::new(), 30);
    let pieces = pieces(&source, 0, 5000);
    let exists = |result| match result {
        Err(LogError::Io { source, .. }) => assert_eq!(source.kind(), io::ErrorKind::AlreadyExists),
        other => panic!("{other:?}"),
    };
    let sim = SimDisk::new();
    drop(written(&sim, 10));
    let before = sim.image();
    exists(seed(&sim, 0, &pieces));
    assert_eq!(sim.image(), before);
    // Not even if its list is lost, or its segments are: there may be something to be salvaged.
    let damaged = sim.kill();
    for path in damaged.files().iter().filter(|path| path.ends_with(".log")) {
        damaged.flip_bit(path, 8 * 30);
    }
    exists(seed(&damaged, 0, &pieces));
    sim.remove("log/list").unwrap();
    let before = sim.image();
    exists(seed(&sim, 0, &pieces));
    assert_eq!(sim.image(), before);

    let sim = SimDisk::new();
    seed(&sim, 0, &pieces[..1]).unwrap();
    seed(&sim, 0, &pieces).unwrap();
    assert_eq!(recover(&sim, 0, Recovery::Strict).unwrap().last_lsn, Lsn(30));
    drop(open(&sim, 0).unwrap());
    exists(seed(&sim, 0, &pieces));
}

#[test]
fn a_full_disk_is_no_space_and_the_next_seed_starts_over() {
    let source = written(&SimDisk::new(), 60);
    let pieces = pieces(&source, 0, 9000);
    let sim = SimDisk::new();
    sim.set_capacity(Some(200_000));
    assert!(matches!(seed(&sim, 0, &pieces), Err(LogError::NoSpace { .. })));
    assert!(recover(&sim, 0, Recovery::Strict).is_err());
    sim.set_capacity(None);
    seed(&sim, 0, &pieces).unwrap();
    assert_eq!(recover(&sim, 0, Recovery::Strict).unwrap().last_lsn, Lsn(60));
}

#[test]
fn an_error_of_any_operation_leaves_no_log_or_the_whole_one() {
    let source = written(&SimDisk::new(), 12);
    let pieces = pieces(&source, 3, 9000);
    for op in 0.. {
        let sim = SimDisk::new();
        sim.fail(Fault::at(op));
        let seeded = seed(&sim, 3, &pieces);
        sim.heal();
        let whole = recover(&sim, 3, Recovery::Strict).is_ok_and(|found| found.last_lsn == Lsn(12));
        let none = recover(&sim, 3, Recovery::Strict).is_err();
        assert!(whole || none);
        assert!(seeded.is_err() || whole);
        seed(&sim, 3, &pieces).unwrap();
        recover(&sim, 3, Recovery::Strict).unwrap();
        if op > sim.ops() {
            return;
        }
    }
}

/// What a power cut may leave: nothing that recovers above the floor, or all of it.
fn check_crashed(sim: &SimDisk, seeded: bool) {
    match recover(sim, 3, Recovery::Strict) {
        Ok(found) => {
            assert_eq!((found.first_lsn, found.last_lsn), (Lsn(4), Lsn(12)));
            assert!(found.was_closed && found.unvouched.is_empty());
        }
        Err(LogError::Damaged { .. }) => {
            assert!(!seeded, "it was durable");
            assert!(!sim.exists("log/list").unwrap(), "what is listed is whole");
        }
        Err(other) => panic!("{other}"),
    }
}

#[test]
fn a_power_cut_at_any_operation_leaves_no_log_or_the_whole_one_and_seeding_goes_on() {
    let source = written(&SimDisk::new(), 12);
    let pieces = pieces(&source, 3, 9000);
    let mut dice = Dice(0x5eed_5678_9abc_def1);
    let mut fates = 0;
    for op in 0.. {
        let sim = SimDisk::new();
        sim.power_off_at(op);
        let seeded = seed(&sim, 3, &pieces).is_ok();
        crashes(&sim, 24, &mut dice, &mut |after, dice| {
            fates += 1;
            check_crashed(&after, seeded);
            // The next seed is cut off, too.
            let again = after.kill();
            again.power_off_at(dice.roll(30) as u64);
            let seeded = seed(&again, 3, &pieces).is_ok();
            let again = again.crash(&mut |choices| dice.roll(choices));
            check_crashed(&again, seeded);
            for sim in [after, again] {
                seed(&sim, 3, &pieces).unwrap();
                check_crashed(&sim.crash(&mut |choices| choices - 1), true);
                let log = open(&sim, 3).unwrap();
                append(&log, 100).unwrap();
                log.sync().unwrap();
                assert_eq!(scanned(&log, 3), (4..=13).collect::<Vec<_>>());
            }
        });
        if seeded {
            break;
        }
    }
    assert!(fates > 200, "{fates}");
}

#[test]
fn every_flipped_bit_of_a_seeded_log_leaves_the_whole_log_or_is_noticed() {
    let source = written(&SimDisk::new(), 6);
    let pieces = pieces(&source, 3, 900);
    let sim = SimDisk::new();
    seed(&sim, 3, &pieces).unwrap();
    let image = sim.image();
    let mut noticed = 0;
    for (path, bytes) in &image {
        for bit in (0..bytes.len() as u64 * 8).step_by(5) {
            let sim = SimDisk::from_image(&image);
            sim.flip_bit(path, bit);
            match recover(&sim, 3, Recovery::Strict) {
                Ok(found) => assert_eq!(found.last_lsn, Lsn(6), "{path} bit {bit}"),
                Err(_) => noticed += 1,
            }
        }
    }
    assert!(noticed > 1000, "{noticed}");
}
