//! Torn tails, flipped bits and lost files: the log or a typed error, never less than the log.

use crate::format::{List, ListEntry, ListState, SECTOR_BYTES, SECTORS_MIN, put_u32};
use crate::sim::{Fault, OpKind, SimDisk};
use crate::tests::support::{append, check, disk, open, open_with, options, recover, scanned};
use crate::{EngineId, Epoch, Log, LogError, LogOptions, Lsn, Recovery, SegmentId};
use std::collections::BTreeMap;

type Image = BTreeMap<String, Vec<u8>>;

const SECTOR: usize = SECTOR_BYTES as usize;

fn tiny() -> LogOptions {
    LogOptions { segment_bytes_min: 24 << 10, segment_bytes_max: 24 << 10, ..options() }
}

/// Six records in two segments, each a group of its own, none of them released.
fn small_log(closed: bool) -> Image {
    let sim = SimDisk::new();
    let log = open_with(&sim, 0, tiny()).unwrap();
    for bytes in [100, 5000, 40, 300, 60, 70] {
        append(&log, bytes).unwrap();
        log.sync().unwrap();
    }
    assert_eq!(log.stats().segments, 2);
    if closed {
        log.close().unwrap();
    }
    sim.image()
}

/// Which records recovery finds; all that it finds must be what was written.
fn found(image: &Image) -> Result<u64, LogError> {
    recover(&SimDisk::from_image(image), 0, Recovery::Strict).map(|recovered| recovered.last_lsn.0)
}

fn segments(image: &Image) -> Vec<String> {
    image.keys().filter(|path| path.ends_with(".log")).cloned().collect()
}

#[test]
fn every_flipped_bit_leaves_the_whole_log_or_a_typed_error() {
    for closed in [false, true] {
        let image = small_log(closed);
        let sim = SimDisk::from_image(&image);
        let mut refused = 0;
        for (path, bytes) in &image {
            let near = |at: usize| {
                bytes[at.saturating_sub(16)..(at + 16).min(bytes.len())].iter().any(|byte| *byte != 0)
            };
            for at in (0..bytes.len()).filter(|at| near(*at) || at % 97 == 0) {
                for bit in 0..8 {
                    let bit = (at * 8 + bit) as u64;
                    sim.flip_bit(path, bit);
                    match recover(&sim, 0, Recovery::Strict) {
                        Ok(recovered) => {
                            assert_eq!(recovered.last_lsn.0, 6, "closed {closed}, bit {bit} of {path}");
                        }
                        Err(LogError::Damaged { .. }) => refused += 1,
                        Err(other) => panic!("{other} at bit {bit} of {path}"),
                    }
                    sim.flip_bit(path, bit);
                }
            }
        }
        assert!(refused > 6000 * 8, "{refused} flips were refused");
    }
}

#[test]
fn every_flipped_bit_is_noticed_by_reads_and_scans_of_a_log_that_runs() {
    let sim = SimDisk::new();
    let log = open_with(&sim, 0, tiny()).unwrap();
    for _ in 0..3 {
        append(&log, 200).unwrap();
    }
    log.sync().unwrap();
    let path = segments(&sim.image())[0].clone();
    let group = 64 + 3 * (32 + 48 + 200);
    for bit in SECTOR * 8..(SECTOR + group) * 8 {
        sim.flip_bit(&path, bit as u64);
        let seen = log.scan(Lsn(0), Lsn(3), &mut |record, _| {
            check(record);
            Ok(())
        });
        assert!(matches!(seen, Err(LogError::Damaged { .. })), "bit {bit}");
        for lsn in 1..=3 {
            match log.read(Lsn(lsn)) {
                Ok(record) => check(&record.as_record()),
                Err(error) => assert!(matches!(error, LogError::Damaged { .. })),
            }
        }
        sim.flip_bit(&path, bit as u64);
    }
    assert_eq!(scanned(&log, 0), [1, 2, 3]);
}

/// The path of the last segment, the offset of its last group, and the length of that with padding.
fn last_group(image: &Image) -> (String, usize, usize) {
    let mut last = None;
    for path in segments(image) {
        for (sector, bytes) in image[&path].chunks(SECTOR).enumerate() {
            if bytes.starts_with(b"LINEALGR") {
                let lsn = crate::format::get_u64(bytes, 40);
                let payload = crate::format::get_u32(bytes, 60) as usize;
                last = last.max(Some((
                    lsn,
                    path.clone(),
                    sector * SECTOR,
                    (64 + payload).next_multiple_of(SECTOR),
                )));
            }
        }
    }
    let (_, path, offset, length) = last.unwrap();
    (path, offset, length)
}

/// A log whose last group, of two records in three sectors, has no seal behind it.
fn log_with_large_tail(sealed: bool) -> (Image, String, usize, usize) {
    let sim = SimDisk::new();
    let log = open(&sim, 0).unwrap();
    for _ in 0..2 {
        append(&log, 100).unwrap();
        log.sync().unwrap();
    }
    append(&log, 4000).unwrap();
    append(&log, 4000).unwrap();
    log.sync().unwrap();
    let mut image = sim.image();
    let (path, offset, length) = last_group(&image);
    assert_eq!(length, 3 * SECTOR);
    if !sealed {
        image.get_mut(&path).unwrap()[offset + length..].fill(0);
    }
    (image, path, offset, length)
}

#[test]
fn a_tail_torn_at_any_byte_is_cut_where_nothing_vouches_for_it() {
    let (image, path, offset, length) = log_with_large_tail(false);
    assert_eq!(found(&image).unwrap(), 4);
    for at in (0..length).step_by(3) {
        let mut torn = image.clone();
        let bytes = torn.get_mut(&path).unwrap();
        let whole = bytes[offset + at..].iter().all(|byte| *byte == 0);
        bytes[offset + at..].fill(0);
        assert_eq!(found(&torn).unwrap(), if whole { 4 } else { 2 }, "torn at byte {at}");
    }
}

#[test]
fn a_segment_that_is_shorter_than_it_was_made_is_damage() {
    let (image, path, offset, length) = log_with_large_tail(false);
    for at in (0..length).step_by(3) {
        let mut cut = image.clone();
        cut.get_mut(&path).unwrap().truncate(offset + at);
        assert!(matches!(found(&cut), Err(LogError::Damaged { .. })), "cut at byte {at}");
    }
}

#[test]
fn a_tail_torn_at_any_byte_is_damage_where_a_seal_vouches_for_it() {
    let (image, path, offset, length) = log_with_large_tail(true);
    assert_eq!(found(&image).unwrap(), 4);
    for at in (0..length).step_by(3) {
        let mut torn = image.clone();
        let bytes = &mut torn.get_mut(&path).unwrap()[offset + at..offset + length];
        let whole = bytes.iter().all(|byte| *byte == 0);
        bytes.fill(0);
        match found(&torn) {
            Ok(last) => assert!(whole && last == 4, "torn at byte {at}"),
            Err(LogError::Damaged { path: at_path, offset: at_offset, lsn, .. }) => {
                assert!(!whole);
                assert_eq!((at_path.as_str(), at_offset, lsn), (path.as_str(), offset as u64, Some(Lsn(3))));
            }
            Err(other) => panic!("{other}"),
        }
    }
}

#[test]
fn a_missing_or_emptied_segment_is_damage() {
    let image = small_log(false);
    for path in segments(&image) {
        let mut missing = image.clone();
        missing.remove(&path);
        assert!(matches!(found(&missing), Err(LogError::Damaged { .. })), "{path} is missing");
        let in_use = image[&path].starts_with(b"LINEALSG");
        let mut emptied = image.clone();
        emptied.get_mut(&path).unwrap().fill(0);
        let emptied = found(&emptied);
        if in_use
            && path != *segments(&image).iter().rfind(|path| image[*path].starts_with(b"LINEALSG")).unwrap()
        {
            assert!(matches!(emptied, Err(LogError::Damaged { .. })), "{path} is emptied");
        }
    }
}

#[test]
fn a_lost_header_of_a_segment_with_acknowledged_groups_is_damage() {
    let image = small_log(false);
    for path in segments(&image) {
        if image[&path].starts_with(b"LINEALSG") {
            let mut lost = image.clone();
            lost.get_mut(&path).unwrap()[..SECTOR].fill(0);
            assert!(matches!(found(&lost), Err(LogError::Damaged { .. })), "{path}");
        }
    }
}

#[test]
fn the_older_slot_of_the_list_may_be_lost_and_the_newest_may_not() {
    let image = small_log(false);
    let list = &image["log/list"];
    let generation = |slot: usize| crate::format::get_u64(list, slot * SECTOR + 32);
    let newest = usize::from(generation(1) > generation(0));
    for slot in [0, 1] {
        let mut lost = image.clone();
        lost.get_mut("log/list").unwrap()[slot * SECTOR..][..SECTOR].fill(0);
        if slot == newest {
            // What it named since has records, so the older one is not taken for the list.
            assert!(matches!(found(&lost), Err(LogError::Damaged { .. })));
        } else {
            assert_eq!(found(&lost).unwrap(), 6);
        }
    }
    let mut both = image.clone();
    both.get_mut("log/list").unwrap().fill(0);
    assert!(matches!(found(&both), Err(LogError::Damaged { .. })));
    both.remove("log/list");
    assert!(matches!(found(&both), Err(LogError::Damaged { .. })));
}

#[test]
fn a_newer_version_is_refused_by_name() {
    let image = small_log(true);
    let path = segments(&image).into_iter().find(|path| image[path].starts_with(b"LINEALSG")).unwrap();
    for (path, end) in [(path.as_str(), 128), ("log/list", 0)] {
        let mut newer = image.clone();
        let bytes = newer.get_mut(path).unwrap();
        for start in [0, SECTOR] {
            let slot = &mut bytes[start..];
            let end = if end == 0 { 64 + 32 * crate::format::get_u32(slot, 48) as usize } else { end };
            put_u32(slot, 12, 2);
            let crc = crc32fast::hash(&slot[12..end]);
            put_u32(slot, 8, crc);
            if path != "log/list" {
                break;
            }
        }
        match found(&newer) {
            Err(LogError::NewerVersion { path: at, found: 2, known: 1 }) => assert_eq!(at, path),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn salvage_serves_what_is_before_the_damage_and_cannot_be_written() {
    let sim = SimDisk::from_image(&small_log(true));
    let image = sim.image();
    let path = segments(&image).into_iter().find(|path| image[path].starts_with(b"LINEALSG")).unwrap();
    sim.flip_bit(&path, (SECTOR as u64 * 2 + 3000) * 8);
    let before = sim.image();
    assert!(matches!(recover(&sim, 0, Recovery::Strict), Err(LogError::Damaged { .. })));
    let salvaged = recover(&sim, 0, Recovery::Salvage).unwrap();
    assert_eq!(salvaged.last_lsn, Lsn(1));
    assert!(matches!(salvaged.damage, Some(LogError::Damaged { lsn: Some(Lsn(2)), .. })));
    let log = Log::start_read_only(disk(&sim), salvaged);
    assert_eq!(scanned(&log, 0), [1]);
    let salvaged = recover(&sim, 0, Recovery::Salvage).unwrap();
    assert!(matches!(Log::start(disk(&sim), options(), salvaged), Err(LogError::Damaged { .. })));
    assert!(sim.image() == before);
}

#[test]
fn damage_below_the_floor_does_not_stop_recovery_but_its_reader() {
    let sim = SimDisk::from_image(&small_log(true));
    let image = sim.image();
    let path = segments(&image).into_iter().find(|path| image[path].starts_with(b"LINEALSG")).unwrap();
    sim.flip_bit(&path, (SECTOR as u64 * 2 + 3000) * 8);
    let log = Log::start_read_only(disk(&sim), recover(&sim, 5, Recovery::Strict).unwrap());
    assert_eq!(scanned(&log, 5), [6]);
    let seen = log.scan(Lsn(0), Lsn(6), &mut |_, _| Ok(()));
    assert!(matches!(seen, Err(LogError::Damaged { lsn: Some(Lsn(2)), .. })), "{seen:?}");
}

#[test]
fn a_read_error_is_not_taken_for_damage() {
    let sim = SimDisk::from_image(&small_log(false));
    for path in ["log/list", ".log"] {
        sim.fail(Fault::on(OpKind::Read).path(path));
        assert!(matches!(recover(&sim, 0, Recovery::Salvage), Err(LogError::Io { .. })));
    }
    assert_eq!(recover(&sim, 0, Recovery::Strict).unwrap().last_lsn, Lsn(6));
}

#[test]
fn a_list_of_segments_that_hold_nothing_is_no_list() {
    let list = |capacity| {
        let entry = ListEntry { id: SegmentId(1), salt: 2, capacity, state: ListState::Spare };
        let list = List { engine: EngineId([7; 16]), generation: 1, epoch: Epoch(1), entries: vec![entry] };
        List::decode(&list.encode())
    };
    let least = SECTORS_MIN * u64::from(SECTOR_BYTES);
    assert!(list(least).is_ok());
    for capacity in [0, 1, u64::from(SECTOR_BYTES) - 1, least - 1, u64::MAX] {
        assert!(list(capacity).is_err(), "{capacity}");
    }
}
