use crate::testing::*;
use crate::*;
use lineal_wal::sim::SimDisk;
use lineal_wal::{Disk, Seq};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::sync::Arc;

fn encoded(model: &Model) -> BTreeMap<Vec<u8>, EntryKey> {
    model.keys().map(|key| (key.encode(), key.clone())).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_pack_answers_as_the_model_does(model in model(), block_bytes in 100u32..4000, probes: Vec<Vec<u8>>) {
        let disk = SimDisk::new();
        let options = WriteOptions { block_bytes, ..small_options() };
        let live = write_model(&disk, 5, options, &model).unwrap();
        let pack = open(&disk, 5).unwrap();
        prop_assert_eq!(pack.footer().live_pack(), live);
        ask_everything(&pack, &model).unwrap();

        let keys = encoded(&model);
        let mut probes = probes;
        for key in keys.keys().step_by(keys.len() / 50 + 1) {
            let mut above = key.clone();
            above.push(0);
            let mut below = key.clone();
            below.pop();
            probes.extend([key[..20].to_vec(), key[..21].to_vec(), above, below]);
        }
        for probe in &probes {
            let next = keys.range(probe.clone()..).next().map(|(key, _)| key.clone());
            let before = keys.range(..=probe.clone()).next_back().map(|(key, _)| key.clone());
            prop_assert_eq!(pack.seek(probe).unwrap().map(|found| found.0), next);
            prop_assert_eq!(pack.seek_back(probe).unwrap().map(|found| found.0), before);
        }
        for probe in probes.iter().take(10) {
            let forward = pack.iter(probe).map(|found| found.unwrap().0);
            prop_assert!(forward.eq(keys.range(probe.clone()..).map(|(key, _)| key.clone())));
            let back = pack.iter_back(probe).map(|found| found.unwrap().0);
            prop_assert!(back.eq(keys.range(..=probe.clone()).rev().map(|(key, _)| key.clone())));
        }

        let counts = pack.verify(&mut |_| ()).unwrap();
        let followers = |content: &Content| match content {
            Content::End => 0,
            Content::Part { followers, .. } => 1 + followers.len() as u64,
        };
        prop_assert_eq!(counts.entries, model.len() as u64);
        prop_assert_eq!(counts.parts, model.values().map(followers).sum::<u64>());
        prop_assert_eq!((counts.bytes, counts.footer_copies), (live.bytes, 2));
    }

    #[test]
    fn parts_are_copied_unchanged(model in model()) {
        let disk = SimDisk::new();
        write_model(&disk, 5, small_options(), &model).unwrap();
        let from = open(&disk, 5).unwrap();
        let options = WriteOptions { block_bytes: 2000, zstd_level: 9, ..small_options() };
        let mut writer = PackWriter::create(Arc::new(disk.clone()), header(6), options).unwrap();
        for found in from.iter(&[]) {
            let (key, value) = found.unwrap();
            let key = EntryKey::decode(&key).unwrap();
            let Some(place) = value.place() else {
                writer.end_entry(key.object, &key.sub_key, key.seq).unwrap();
                continue;
            };
            for (index, part) in from.stored(&key, place).unwrap().iter().enumerate() {
                let follows = index > 0;
                let end_fence = place.end_fence.as_deref().filter(|_| !follows);
                let (object, kind, seq) = (part.object, part.kind, part.seq);
                let spec = PartSpec { object, kind, sub_key: &part.sub_key, seq, follows, end_fence };
                writer.copy_part(&spec, part).unwrap();
            }
        }
        writer.finish(footer_input()).unwrap();
        let to = open(&disk, 6).unwrap();
        ask_everything(&to, &model).unwrap();
        to.verify(&mut |_| ()).unwrap();
        prop_assert_eq!(to.footer().raw_bytes, from.footer().raw_bytes);
        for (a, b) in from.iter(&[]).zip(to.iter(&[])) {
            let (a, b) = (a.unwrap(), b.unwrap());
            let key = EntryKey::decode(&a.0).unwrap();
            if let (Some(old), Some(new)) = (a.1.place(), b.1.place()) {
                prop_assert_eq!(from.stored(&key, old).unwrap(), to.stored(&key, new).unwrap());
            }
        }
    }
}

/// Asks everything of a pack that may be a lie from end to end; any answer will do.
fn ask_a_liar(pack: &Arc<Pack>) {
    let _ = pack.verify(&mut |_| ());
    let _ = (pack.load(), pack.may_contain(&object(1)), pack.seek(&[1; 30]), pack.seek_back(&[0xff; 30]));
    for found in pack.iter(&[]).take(100).chain(pack.iter_back(&[0xff; 30]).take(100)) {
        let Ok((key, EntryValue::Place(place))) = found else { continue };
        let Ok(key) = EntryKey::decode(&key) else { continue };
        let _ = (pack.read_with_followers(&key, &place), pack.stored(&key, &place), pack.leaf(&key, &place));
        let _ = (pack.head(&key, &place), pack.group(&key, &place, true), pack.group(&key, &place, false));
    }
}

/// Bytes of `frame` with a checksum that is right for them.
fn sign_frame(frame: &mut [u8]) {
    let end = frame.len() - 16;
    let crc = crc32fast::hash(&frame[..end]);
    frame[end..end + 4].copy_from_slice(&crc.to_le_bytes());
}

proptest! {
    #[test]
    fn a_footer_that_lies_under_a_right_checksum_never_panics(
        changes in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let disk = SimDisk::new();
        write_model(&disk, 5, small_options(), &small_model()).unwrap();
        let start = open(&disk, 5).unwrap().footer().footer_offset as usize;
        let mut image = disk.image();
        let bytes = image.values_mut().next().unwrap();
        let frame_bytes = (bytes.len() - start) / 2;
        let (first, second) = bytes[start..].split_at_mut(frame_bytes);
        for (at, byte) in changes {
            first[at.index(frame_bytes - 16)] = byte;
        }
        sign_frame(first);
        second.copy_from_slice(first);
        if let Ok(pack) = open(&SimDisk::from_image(&image), 5) {
            ask_a_liar(&pack);
        }
    }

    #[test]
    fn a_top_that_lies_under_a_right_checksum_never_panics(
        changes in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let disk = SimDisk::new();
        write_model(&disk, 5, small_options(), &small_model()).unwrap();
        let (top_offset, end) = {
            let pack = open(&disk, 5).unwrap();
            (pack.footer().top_offset as usize, pack.footer().footer_offset as usize)
        };
        let mut image = disk.image();
        let bytes = image.values_mut().next().unwrap();
        for (at, byte) in changes {
            bytes[top_offset + at.index(end - top_offset)] = byte;
        }
        // The footer vouches for the top: sign it there, too.
        let crc = crate::format::page_crc(header(5).salt(), top_offset as u64, &bytes[top_offset..end]);
        let frame_bytes = (bytes.len() - end) / 2;
        let (first, second) = bytes[end..].split_at_mut(frame_bytes);
        let crc_at = 16 + 1 + 16 + 5 * 8 + 5 * 8 + 8 + 8 + 4;
        first[crc_at..crc_at + 4].copy_from_slice(&crc.to_le_bytes());
        sign_frame(first);
        second.copy_from_slice(first);
        let pack = open(&SimDisk::from_image(&image), 5).unwrap();
        ask_a_liar(&pack);
    }
}

#[test]
fn every_flipped_bit_gives_the_exact_answer_or_an_error_and_verify_finds_it() {
    let disk = SimDisk::new();
    let model = small_model();
    write_model(&disk, 5, small_options(), &model).unwrap();
    ask_everything(&open(&disk, 5).unwrap(), &model).unwrap();
    let image = disk.image();
    let (path, bytes) = image.first_key_value().unwrap();
    let frames = bytes.len() as u64 - open(&disk, 5).unwrap().footer().footer_offset;
    let footers = bytes.len() as u64 - frames;
    let mut in_a_footer = 0;
    for bit in 0..bytes.len() as u64 * 8 {
        let disk = SimDisk::from_image(&image);
        disk.flip_bit(path, bit);
        // Two copies of the footer and a header that is not needed with the second: one bit never hides a pack.
        let pack = open(&disk, 5).unwrap_or_else(|error| panic!("bit {bit}: {error}"));
        let asked = ask_everything(&pack, &model);
        match pack.verify(&mut |_| ()).expect_err("a flipped bit is found") {
            PackError::Damaged { path: found, offset, .. } if bit / 8 >= footers => {
                assert_eq!((&found, offset), (path, bit / 8), "a copy of the footer that differs");
                assert_eq!(pack.verify_unlisted(&mut |_| ()).unwrap().footer_copies, 1);
                assert!(asked.is_ok(), "bit {bit}");
                in_a_footer += 1;
            }
            error => assert!(error.is_damage(), "bit {bit}: {error}"),
        }
        if let Err(error) = asked {
            assert!(error.is_damage(), "bit {bit}: {error}");
        }
    }
    assert_eq!(in_a_footer, frames * 8, "every bit of the footers");
}

#[test]
fn verify_reads_the_file_whatever_is_in_memory() {
    let disk = SimDisk::new();
    let model = small_model();
    write_model(&disk, 5, small_options(), &model).unwrap();
    let image = disk.image();
    let (path, _) = image.first_key_value().unwrap();
    let footer = open(&disk, 5).unwrap().footer().clone();
    for damaged in [footer.filter_offset, footer.top_offset] {
        let disk = SimDisk::from_image(&image);
        let pack = open(&disk, 5).unwrap();
        pack.load().unwrap();
        ask_everything(&pack, &model).unwrap();
        disk.flip_bit(path, damaged * 8);
        let error = pack.verify(&mut |_| ()).unwrap_err();
        assert!(matches!(error, PackError::Damaged { offset, .. } if offset == damaged), "{error}");
    }
}

#[test]
fn a_pack_cut_at_any_length_is_incomplete_or_whole() {
    let disk = SimDisk::new();
    let model = small_model();
    let live = write_model(&disk, 5, small_options(), &model).unwrap();
    let image = disk.image();
    let (path, bytes) = image.first_key_value().unwrap();
    let frame = (live.bytes - open(&disk, 5).unwrap().footer().footer_offset) / 2;
    for length in 0..bytes.len() as u64 {
        let disk = SimDisk::from_image(&image);
        disk.truncate(path, length);
        match open(&disk, 5) {
            Err(PackError::Incomplete { .. }) => assert!(length < live.bytes - frame),
            Err(error) => panic!("length {length}: {error}"),
            Ok(pack) => {
                assert!(length >= live.bytes - frame);
                ask_everything(&pack, &model).unwrap();
                assert_eq!(pack.verify_unlisted(&mut |_| ()).unwrap().footer_copies, 1);
                let cut = pack.verify(&mut |_| ()).unwrap_err();
                assert!(matches!(cut, PackError::Damaged { offset, .. } if offset == length), "{cut}");
            }
        }
    }
}

#[test]
fn bytes_after_the_footer_are_damage() {
    let disk = SimDisk::new();
    write_model(&disk, 5, small_options(), &small_model()).unwrap();
    let mut image = disk.image();
    image.values_mut().next().unwrap().push(0);
    let opened = open(&SimDisk::from_image(&image), 5);
    assert!(matches!(opened, Err(PackError::Damaged { .. })));
}

#[test]
fn a_pack_under_another_name_is_damage() {
    let disk = SimDisk::new();
    write_model(&disk, 5, small_options(), &small_model()).unwrap();
    disk.rename(&PackNumber(5).path(), &PackNumber(6).path()).unwrap();
    assert!(matches!(open(&disk, 6), Err(PackError::Damaged { .. })));
    assert!(matches!(open(&disk, 5), Err(PackError::Missing { .. })));
    assert_eq!(read_pack_header(&(Arc::new(disk) as Arc<dyn Disk>), PackNumber(6)).unwrap(), header(5));
}

#[test]
fn a_place_that_is_not_in_the_pack_is_refused_before_memory_is_taken() {
    let disk = SimDisk::new();
    let model = small_model();
    write_model(&disk, 5, small_options(), &model).unwrap();
    let pack = open(&disk, 5).unwrap();
    let key = model.keys().next().unwrap();
    let good = pack.seek(&key.encode()).unwrap().unwrap().1.place().unwrap().clone();
    let changes: [fn(&mut Place); 9] = [
        |place| place.pack = PackNumber(4),
        |place| place.block_offset = u64::MAX,
        |place| place.block_offset = 0,
        |place| place.block_bytes = u32::MAX,
        |place| (place.block_bytes, place.part_bytes) = (u32::MAX, u32::MAX),
        |place| place.part_offset = u32::MAX,
        |place| place.part_bytes = 0,
        |place| place.part_bytes -= 1,
        |place| place.follow_count += 1,
    ];
    for (index, change) in changes.iter().enumerate() {
        let mut place = good.clone();
        change(&mut place);
        let read = pack.read_with_followers(key, &place);
        assert!(matches!(read, Err(PackError::Damaged { .. })), "{index}: {read:?}");
    }
}

#[test]
fn a_part_is_not_another_objects_or_versions() {
    let disk = SimDisk::new();
    let model = small_model();
    write_model(&disk, 5, small_options(), &model).unwrap();
    let pack = open(&disk, 5).unwrap();
    let key = EntryKey::leaf(object(3), Seq(0), b"m", Seq(30));
    let place = pack.seek(&key.encode()).unwrap().unwrap().1.place().unwrap().clone();
    assert!(pack.read(&key, &place).is_ok());
    let others = [
        EntryKey { object: object(4), ..key.clone() },
        EntryKey { kind: Kind::Delta, ..key.clone() },
        EntryKey { seq: Seq(31), ..key.clone() },
        EntryKey { sub_key: leaf_sub_key(Seq(0), b"n"), ..key.clone() },
        EntryKey { sub_key: leaf_sub_key(Seq(1), b"m"), ..key },
    ];
    for other in others {
        assert!(matches!(pack.read(&other, &place), Err(PackError::Damaged { object: Some(_), .. })));
    }
}

#[test]
fn a_leaf_is_decoded_once() {
    let disk = SimDisk::new();
    let model = small_model();
    write_model(&disk, 5, small_options(), &model).unwrap();
    let cache = BlockCache::new(1 << 20);
    let dyn_disk: Arc<dyn Disk> = Arc::new(disk.clone());
    let pack = Pack::open(&dyn_disk, &cache, PackNumber(5)).unwrap();
    let key = EntryKey::leaf(object(3), Seq(0), b"", Seq(30));
    let place = pack.seek(&key.encode()).unwrap().unwrap().1.place().unwrap().clone();
    let leaf = pack.leaf(&key, &place).unwrap();
    assert_eq!(leaf.get(b"key"), Some(LeafValue::Put(b"value")));
    assert!(Arc::ptr_eq(&leaf, &pack.leaf(&key, &place).unwrap()));
    // What is not a leaf is an error of that part alone.
    let head = EntryKey::head(object(3), Seq(15));
    let place = pack.seek(&head.encode()).unwrap().unwrap().1.place().unwrap().clone();
    assert!(matches!(pack.leaf(&head, &place), Err(PackError::Undecodable { .. })));
    drop(pack);
    assert_eq!(cache.stats().items, 0, "a closed pack leaves nothing in the cache");
}

/// A head with runs behind it, and what is written of it.
fn model_of_a_group() -> (EntryKey, Model) {
    let key = EntryKey::head(object(1), Seq(40));
    let followers = vec![(1, 15, run(1, 15)), (16, 40, run(16, 40))];
    let head = Content::Part { payload: b"head of an object".to_vec(), end_fence: None, followers };
    (key.clone(), Model::from([(key, head)]))
}

#[test]
fn a_group_is_decoded_once_where_it_is_kept() {
    let disk = SimDisk::new();
    let (key, model) = model_of_a_group();
    write_model(&disk, 5, small_options(), &model).unwrap();
    let cache = BlockCache::new(1 << 20);
    let dyn_disk: Arc<dyn Disk> = Arc::new(disk.clone());
    let pack = Pack::open(&dyn_disk, &cache, PackNumber(5)).unwrap();
    let place = pack.seek(&key.encode()).unwrap().unwrap().1.place().unwrap().clone();
    let items = cache.stats().items;
    let passing = pack.group(&key, &place, false).unwrap();
    assert_eq!(cache.stats().items, items, "nothing was to be kept");
    // The head alone and the group stand at one place: neither is taken for the other.
    assert_eq!(pack.head(&key, &place).unwrap()[..], b"head of an object"[..]);
    let kept = pack.group(&key, &place, true).unwrap();
    assert!(!Arc::ptr_eq(&passing, &kept));
    assert!(Arc::ptr_eq(&kept, &pack.group(&key, &place, false).unwrap()));
    assert!(Arc::ptr_eq(kept.head(), &pack.head(&key, &place).unwrap()));
    let seqs: Vec<_> = kept.runs().iter().map(|run| (run.first_seq(), run.last_seq())).collect();
    assert_eq!(seqs, [(Seq(1), Seq(15)), (Seq(16), Seq(40))]);
    let bytes = kept.runs().iter().map(|run| run.memory_bytes()).sum::<usize>();
    assert!(cache.stats().bytes > bytes as u64, "what is kept counts with all that it owns");
    drop(pack);
    assert_eq!(cache.stats().items, 0, "a closed pack leaves nothing in the cache");
}

#[test]
fn damage_behind_a_head_is_not_damage_of_the_head() {
    let disk = SimDisk::new();
    let (key, model) = model_of_a_group();
    write_model(&disk, 5, small_options(), &model).unwrap();
    let pack = open(&disk, 5).unwrap();
    let place = pack.seek(&key.encode()).unwrap().unwrap().1.place().unwrap().clone();
    disk.flip_bit(&PackNumber(5).path(), (place.file_offset() + u64::from(place.part_bytes) - 1) * 8);
    assert!(matches!(pack.group(&key, &place, true), Err(PackError::Damaged { .. })));
    assert_eq!(pack.head(&key, &place).unwrap()[..], b"head of an object"[..]);
    assert!(
        matches!(pack.group(&key, &place, true), Err(PackError::Damaged { .. })),
        "nothing damaged is kept"
    );
}

#[test]
fn an_empty_pack_is_a_pack() {
    let disk = SimDisk::new();
    write_model(&disk, 5, small_options(), &Model::new()).unwrap();
    let pack = open(&disk, 5).unwrap();
    assert_eq!(pack.seek(&[]).unwrap(), None);
    assert_eq!(pack.seek_back(&[0xff; 40]).unwrap(), None);
    assert_eq!(pack.iter(&[]).count() + pack.iter_back(&[0xff]).count(), 0);
    assert!(!pack.may_contain(&object(1)).unwrap());
    assert_eq!(pack.verify(&mut |_| ()).unwrap().entries, 0);
}

#[test]
fn the_footer_says_what_the_writer_was_told() {
    let disk = SimDisk::new();
    write_model(&disk, 5, small_options(), &small_model()).unwrap();
    let pack = open(&disk, 5).unwrap();
    let (footer, input) = (pack.footer(), footer_input());
    assert_eq!(footer.header(), header(5));
    assert_eq!(
        (footer.first_lsn, footer.last_lsn, footer.line),
        (input.first_lsn, input.last_lsn, input.line)
    );
    assert_eq!((&footer.live, &footer.meta), (&input.live, &input.meta));
    assert_eq!((footer.objects, footer.entries), (6, small_model().len() as u64));
}

#[test]
fn a_small_cache_changes_no_answer() {
    let disk = SimDisk::new();
    let model: Model = (0..2000)
        .map(|number| {
            let payload = number.to_string().into_bytes();
            let content = Content::Part { payload, end_fence: None, followers: vec![] };
            (EntryKey::head(object(number), Seq(1)), content)
        })
        .collect();
    write_model(&disk, 5, WriteOptions::default(), &model).unwrap();
    let dyn_disk: Arc<dyn Disk> = Arc::new(disk.clone());
    for bytes in [0, 10_000, 1 << 20] {
        let cache = BlockCache::new(bytes);
        let pack = Pack::open(&dyn_disk, &cache, PackNumber(5)).unwrap();
        pack.load().unwrap();
        ask_everything(&pack, &model).unwrap();
        assert!(cache.stats().bytes <= bytes as u64);
        let absent = (10_000..20_000).filter(|&number| pack.may_contain(&object(number)).unwrap());
        assert!(absent.count() < 300);
    }
}

/// A pack of the first format version, as it was written then.
const GOLDEN_V1: &[u8] = include_bytes!("../../golden/pack-v1.pack");

#[test]
fn a_pack_of_every_format_version_stays_readable() {
    let image = BTreeMap::from([(PackNumber(5).path(), GOLDEN_V1.to_vec())]);
    let pack = open(&SimDisk::from_image(&image), 5).unwrap();
    ask_everything(&pack, &small_model()).unwrap();
    assert_eq!(pack.verify(&mut |_| ()).unwrap().footer_copies, 2);
    assert_eq!((&pack.footer().live, &pack.footer().meta), (&footer_input().live, &footer_input().meta));

    let key = EntryKey::run(object(3), Seq(16), Seq(40));
    let place = pack.seek(&key.encode()).unwrap().unwrap().1.place().unwrap().clone();
    let run = Run::decode(pack.read(&key, &place).unwrap()).unwrap();
    assert_eq!((run.first_seq(), run.last_seq(), run.hash_after_last()), (Seq(16), Seq(40), Some([2; 32])));
    assert_eq!(run.commit(Seq(17)).unwrap().lsn.0, 34);
    let key = EntryKey::leaf(object(3), Seq(0), b"", Seq(30));
    let place = pack.seek(&key.encode()).unwrap().unwrap().1.place().unwrap().clone();
    assert_eq!(pack.leaf(&key, &place).unwrap().get(b"key"), Some(LeafValue::Put(b"value")));
}

#[test]
#[ignore = "writes the golden file of a new format version"]
fn write_the_golden_pack() {
    let disk = SimDisk::new();
    write_model(&disk, 5, small_options(), &small_model()).unwrap();
    let image = disk.image();
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/golden");
    std::fs::create_dir_all(folder).unwrap();
    std::fs::write(format!("{folder}/pack-v{PACK_VERSION}.pack"), &image[&PackNumber(5).path()]).unwrap();
}
