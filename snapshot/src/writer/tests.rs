use crate::testing::*;
use crate::*;
use lineal_wal::sim::{Fault, OpKind, SimDisk};
use lineal_wal::{Disk, Seq};
use std::io;
use std::sync::Arc;

/// A small deterministic source of choices.
fn choices(mut seed: u64) -> impl FnMut(usize) -> usize {
    move |count| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) as usize % count
    }
}

#[test]
fn a_crash_at_any_operation_leaves_a_whole_pack_or_an_unfinished_one() {
    let model = small_model();
    let disk = SimDisk::new();
    write_model(&disk, 5, small_options(), &model).unwrap();
    let ops = disk.ops();
    let (mut whole, mut unfinished) = (0, 0);
    for op in 0..=ops + 1 {
        let disk = SimDisk::new();
        disk.power_off_at(op);
        let written = write_model(&disk, 5, small_options(), &model);
        for seed in 0..60 {
            let mut choose = choices(seed * 1000 + op);
            let after = match seed {
                0 => disk.crash(&mut |_| 0),
                1 => disk.crash(&mut |count| count - 1),
                2 => disk.kill(),
                _ => disk.crash(&mut choose),
            };
            match open(&after, 5) {
                Ok(pack) => {
                    ask_everything(&pack, &model).unwrap();
                    pack.verify_unlisted(&mut |_| ()).unwrap();
                    whole += 1;
                }
                Err(PackError::Incomplete { .. } | PackError::Missing { .. }) => {
                    assert!(written.is_err(), "a finished pack is lost: operation {op}, seed {seed}");
                    unfinished += 1;
                }
                Err(error) => panic!("operation {op}, seed {seed}: {error}"),
            }
        }
    }
    assert!(whole > 60 && unfinished > 60, "{whole} {unfinished}");
}

#[test]
fn a_sealed_pack_is_unfinished_until_its_footer_is_written() {
    let disk = SimDisk::new();
    let mut writer = PackWriter::create(Arc::new(disk.clone()), header(5), small_options()).unwrap();
    put_model(&mut writer, &small_model()).unwrap();
    assert!(matches!(open(&disk, 5), Err(PackError::Incomplete { .. })));
    writer.seal().unwrap();
    writer.seal().unwrap();
    assert!(matches!(open(&disk, 5), Err(PackError::Incomplete { .. })));
    writer.finish(footer_input()).unwrap();
    assert!(open(&disk, 5).is_ok());
}

#[test]
fn after_seal_only_the_footer_and_the_name_are_not_durable() {
    let disk = SimDisk::new();
    let mut writer = PackWriter::create(Arc::new(disk.clone()), header(5), small_options()).unwrap();
    put_model(&mut writer, &small_model()).unwrap();
    writer.seal().unwrap();
    disk.sync_dir(PACK_FOLDER).unwrap();
    assert_eq!(disk.unsynced_count(), 0);
    writer.finish(footer_input()).unwrap();
    assert_eq!(disk.unsynced_count(), 0);
}

#[test]
fn a_pack_that_was_settled_outlives_a_power_cut() {
    let model = small_model();
    let disk = SimDisk::new();
    write_model(&disk, 5, small_options(), &model).unwrap();
    let ops = disk.ops();
    let mut found = 0;
    for op in 0..=ops {
        let disk = SimDisk::new();
        disk.power_off_at(op);
        let _ = write_model(&disk, 5, small_options(), &model);
        let killed = disk.kill();
        let dyn_disk: Arc<dyn Disk> = Arc::new(killed.clone());
        match Pack::settle(&dyn_disk, PackNumber(5)) {
            Ok(live) => {
                let after = killed.crash(&mut |count| count - 1);
                let pack = open(&after, 5).unwrap();
                assert_eq!(pack.footer().live_pack(), live);
                assert_eq!(pack.verify(&mut |_| ()).unwrap().footer_copies, 2);
                found += 1;
            }
            Err(error) => assert!(matches!(error, PackError::Incomplete { .. } | PackError::Missing { .. })),
        }
    }
    assert!(found >= 2, "killed before and after the last sync");
}

#[test]
fn settling_mends_a_damaged_copy_of_the_footer() {
    let disk = SimDisk::new();
    let live = write_model(&disk, 5, small_options(), &small_model()).unwrap();
    disk.truncate(&PackNumber(5).path(), live.bytes - 1);
    assert_eq!(open(&disk, 5).unwrap().verify_unlisted(&mut |_| ()).unwrap().footer_copies, 1);
    let dyn_disk: Arc<dyn Disk> = Arc::new(disk.clone());
    assert_eq!(Pack::settle(&dyn_disk, PackNumber(5)).unwrap(), live);
    assert_eq!(open(&disk, 5).unwrap().verify(&mut |_| ()).unwrap().footer_copies, 2);
}

#[test]
fn a_failure_at_any_operation_is_an_error_and_final() {
    let model = small_model();
    let disk = SimDisk::new();
    write_model(&disk, 5, small_options(), &model).unwrap();
    for op in 0..disk.ops() {
        let disk = SimDisk::new();
        disk.fail(Fault::at(op).error(io::ErrorKind::StorageFull));
        let mut writer = match PackWriter::create(Arc::new(disk.clone()), header(5), small_options()) {
            Ok(writer) => writer,
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Full);
                continue;
            }
        };
        let mut failed = put_model(&mut writer, &model);
        if failed.is_ok() {
            failed = writer.seal();
        }
        if let Err(error) = failed {
            assert_eq!(error.kind(), ErrorKind::Full, "operation {op}");
            assert!(writer.seal().is_err(), "a failure is final: operation {op}");
            writer.abandon().unwrap();
            assert!(matches!(open(&disk, 5), Err(PackError::Missing { .. })));
        } else {
            assert!(disk.ops() <= op, "operation {op} failed and nobody was told");
            assert!(writer.finish(footer_input()).is_err(), "operation {op}");
        }
    }
}

#[test]
fn a_full_disk_is_told_apart_from_a_broken_one() {
    let disk = SimDisk::new();
    disk.set_capacity(Some(600));
    let full = write_model(&disk, 5, small_options(), &small_model());
    assert!(matches!(full, Err(PackError::NoSpace { .. })), "{full:?}");
    let disk = SimDisk::new();
    disk.fail(Fault::on(OpKind::Sync));
    let broken = write_model(&disk, 5, small_options(), &small_model());
    assert!(matches!(broken, Err(PackError::Io { .. })), "{broken:?}");
}

#[test]
fn a_number_is_not_used_twice() {
    let disk = SimDisk::new();
    write_model(&disk, 5, small_options(), &small_model()).unwrap();
    let again = PackWriter::create(Arc::new(disk), header(5), small_options());
    assert!(matches!(again, Err(PackError::Io { .. })));
}

#[test]
fn blocks_are_as_small_as_asked_and_hold_what_belongs_together() {
    let disk = SimDisk::new();
    let model = small_model();
    write_model(&disk, 5, small_options(), &model).unwrap();
    let pack = open(&disk, 5).unwrap();
    let mut shared = 0;
    let mut last_block = 0;
    for found in pack.iter(&[]) {
        let (_, value) = found.unwrap();
        let Some(place) = value.place() else { continue };
        let alone = place.part_bytes == place.block_bytes;
        assert!(place.block_bytes <= 512 || alone, "{place:?}");
        shared += u32::from(place.block_offset == last_block);
        last_block = place.block_offset;
    }
    assert!(shared >= 3, "small neighbours share blocks");
}

#[test]
fn a_big_part_is_refused_and_changes_nothing() {
    let disk = SimDisk::new();
    let mut writer = PackWriter::create(Arc::new(disk.clone()), header(5), small_options()).unwrap();
    let spec = PartSpec {
        object: object(1),
        kind: Kind::Head,
        sub_key: &[],
        seq: Seq(1),
        follows: false,
        end_fence: None,
    };
    let big = vec![0; PART_BYTES_MAX as usize + 1];
    assert!(matches!(writer.part(&spec, &big), Err(PackError::TooLarge { .. })));
    let sub_key = vec![0; SUB_KEY_BYTES_MAX + 1];
    let long = PartSpec { kind: Kind::Leaf, sub_key: &sub_key, ..spec };
    assert!(matches!(writer.part(&long, b""), Err(PackError::TooLarge { .. })));
    writer.part(&spec, b"small").unwrap();
    writer.finish(footer_input()).unwrap();
    assert_eq!(open(&disk, 5).unwrap().footer().entries, 1);
}

#[test]
fn the_longest_sub_keys_and_fences_fit() {
    let disk = SimDisk::new();
    let mut model = Model::new();
    for byte in [0, 1, 0xff] {
        let sub_key = vec![byte; SUB_KEY_BYTES_MAX];
        let key = EntryKey { object: object(1), kind: Kind::Leaf, sub_key: sub_key.clone(), seq: Seq(1) };
        let payload = b"leaf".to_vec();
        model.insert(key, Content::Part { payload, end_fence: Some(sub_key), followers: vec![] });
    }
    write_model(&disk, 5, small_options(), &model).unwrap();
    let pack = open(&disk, 5).unwrap();
    ask_everything(&pack, &model).unwrap();
    pack.verify(&mut |_| ()).unwrap();
}

fn spec(kind: Kind, sub_key: &[u8], seq: u64, follows: bool) -> PartSpec<'_> {
    PartSpec { object: object(1), kind, sub_key, seq: Seq(seq), follows, end_fence: None }
}

fn write_specs(specs: &[PartSpec<'_>]) {
    let mut writer = PackWriter::create(Arc::new(SimDisk::new()), header(5), small_options()).unwrap();
    for spec in specs {
        writer.part(spec, b"payload").unwrap();
    }
}

#[test]
#[should_panic(expected = "entries of a pack ascend")]
fn an_entry_twice_is_a_bug() {
    write_specs(&[spec(Kind::Head, b"", 1, false), spec(Kind::Head, b"", 1, false)]);
}

#[test]
#[should_panic(expected = "entries of a pack ascend")]
fn sub_keys_out_of_order_are_a_bug() {
    write_specs(&[spec(Kind::Leaf, b"a\0", 1, false), spec(Kind::Leaf, b"a", 9, false)]);
}

#[test]
#[should_panic(expected = "a follower follows a part")]
fn a_follower_alone_is_a_bug() {
    write_specs(&[spec(Kind::Run, &1u64.to_be_bytes(), 1, true)]);
}

#[test]
#[should_panic(expected = "runs that follow ascend")]
fn followers_out_of_order_are_a_bug() {
    let (a, b) = (5u64.to_be_bytes(), 3u64.to_be_bytes());
    write_specs(&[
        spec(Kind::Head, b"", 9, false),
        spec(Kind::Run, &a, 6, true),
        spec(Kind::Run, &b, 4, true),
    ]);
}
