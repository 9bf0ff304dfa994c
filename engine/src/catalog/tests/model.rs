//! Random packs, merges, replacements and reopenings.

use super::*;

const OBJECTS: u64 = 12;

/// One random history; returns what there is at its end.
fn run(seed: u64, steps: u64) -> (SimDisk, Model) {
    let mut dice = Dice(seed);
    let disk = SimDisk::new();
    let mut catalog = open(&disk, false).unwrap().catalog;
    let mut model = Model::default();
    let mut grower = Grower::default();
    let mut old: Vec<(Snapshot, Model)> = Vec::new();
    for _ in 0..steps {
        match dice.roll(10) {
            0..=4 => {
                let entries = grower.checkpoint(&mut dice, OBJECTS);
                publish(&disk, &catalog, &mut model, PackKind::Checkpoint, entries, &[]).unwrap();
            }
            5 | 6 => {
                let removed: Vec<PackNumber> =
                    model.packs.keys().copied().filter(|_| dice.chance(2)).collect();
                if !removed.is_empty() {
                    let entries = compact(&model, &removed, &mut dice);
                    publish(&disk, &catalog, &mut model, PackKind::Compaction, entries, &removed).unwrap();
                }
            }
            7 => {
                catalog.merge(true).unwrap();
                assert_eq!(catalog.stats().unmerged, 0);
            }
            8 => {
                old.push((catalog.snapshot(), model.clone()));
                let number = catalog.next_number();
                write_body(&disk, number, PackKind::Checkpoint, &Entries::new()).unwrap();
            }
            _ => {
                let newest = model.packs.last_key_value().map(|(number, _)| *number);
                drop(catalog);
                let opened = open(&disk, false).unwrap();
                assert_eq!(opened.newest.as_ref().map(|footer| footer.number), newest);
                assert!(opened.table_damage.is_none(), "{:?}", opened.table_damage);
                catalog = opened.catalog;
            }
        }
        let some = [dice.roll(OBJECTS), dice.roll(OBJECTS)];
        check_some(&catalog.snapshot(), &model, &some);
    }
    // Views of the past still see the packs of their time.
    for (snapshot, model) in &old {
        check_some(snapshot, model, &[dice.roll(OBJECTS), dice.roll(OBJECTS)]);
    }
    catalog.verify(&mut |_| ()).unwrap();
    catalog.rebuild().unwrap();
    catalog.verify(&mut |_| ()).unwrap();
    check(&catalog.snapshot(), &model, OBJECTS);
    drop((old, catalog));
    (disk, model)
}

#[test]
fn lookups_are_those_of_a_map_of_all_live_packs() {
    for seed in 0..20 {
        run(seed, 20);
    }
}

#[test]
fn opening_for_reading_changes_no_byte_and_finds_the_same() {
    for seed in 100..104 {
        let (disk, mut model) = run(seed, 16);
        // A killed engine: a table that was not closed, a pack that was not finished, one that is dead.
        let catalog = open(&disk, false).unwrap().catalog;
        let mut dice = Dice(seed);
        let mut grower = Grower::default();
        let number = catalog.next_number();
        write_body(&disk, number, PackKind::Checkpoint, &grower.checkpoint(&mut dice, 3)).unwrap();
        let removed: Vec<PackNumber> = model.packs.keys().copied().take(1).collect();
        let entries = compact(&model, &removed, &mut dice);
        publish(&disk, &catalog, &mut model, PackKind::Compaction, entries, &removed).unwrap();
        let killed = disk.kill();
        let before = killed.image();
        let opened = open(&killed, true).unwrap();
        check(&opened.catalog.snapshot(), &model, OBJECTS);
        opened.catalog.verify(&mut |_| ()).unwrap();
        assert!(matches!(opened.catalog.merge(true), Err(CatalogError::ReadOnly)));
        drop(opened);
        assert_eq!(killed.image(), before);
        // Without a table, the packs answer.
        let bare = SimDisk::from_image(&before);
        bare.remove("catalog.redb").unwrap();
        let image = bare.image();
        check(&open(&bare, true).unwrap().catalog.snapshot(), &model, OBJECTS);
        assert_eq!(bare.image(), image);
    }
}

#[test]
fn an_empty_folder_opens_for_reading_as_an_empty_catalog() {
    let disk = SimDisk::new();
    let opened = open(&disk, true).unwrap();
    assert!(opened.newest.is_none());
    assert!(opened.catalog.snapshot().newest_head(&object(1)).unwrap().is_none());
    assert!(disk.files().is_empty());
}

#[test]
fn a_number_is_given_out_once_even_if_its_pack_is_removed_as_unfinished() {
    let disk = SimDisk::new();
    let catalog = open(&disk, false).unwrap().catalog;
    let number = catalog.next_number();
    write_body(&disk, number, PackKind::Checkpoint, &Entries::new()).unwrap();
    drop(catalog);
    let opened = open(&disk, false).unwrap();
    assert_eq!(opened.removed, [number]);
    drop(opened);
    let again = open(&disk, false).unwrap();
    assert!(again.removed.is_empty());
    assert!(again.catalog.next_number() > number);
}

#[test]
fn a_finished_pack_without_a_row_is_adopted_and_its_predecessors_go() {
    let disk = SimDisk::new();
    let catalog = open(&disk, false).unwrap().catalog;
    let mut model = Model::default();
    let mut dice = Dice(5);
    let mut grower = Grower::default();
    let entries = grower.checkpoint(&mut dice, 5);
    let first = publish(&disk, &catalog, &mut model, PackKind::Checkpoint, entries, &[]).unwrap();
    let entries = compact(&model, &[first], &mut dice);
    let number = catalog.next_number();
    let writer = write_body(&disk, number, PackKind::Compaction, &entries).unwrap();
    let live = catalog.lock_publish().live_except(&[first]);
    finish(writer, live, number).unwrap();
    drop(catalog);
    let model = Model { packs: BTreeMap::from([(number, entries)]) };
    let opened = open(&disk, false).unwrap();
    assert_eq!(opened.removed, [first]);
    check(&opened.catalog.snapshot(), &model, 5);
    assert_eq!(disk.files(), ["catalog.redb".to_owned(), number.path()]);
}

#[test]
fn merging_is_asked_for_when_it_pays() {
    let disk = SimDisk::new();
    let catalog = open(&disk, false).unwrap().catalog;
    let mut model = Model::default();
    let head = |number: u64, seq: u64| (EntryKey::head(object(number), Seq(seq)), part());
    assert_eq!(catalog.merge_pressure(), MergePressure::None);
    for pack in 0..25 {
        assert_eq!(catalog.merge_pressure(), MergePressure::None);
        let entries = Entries::from([head(1, pack + 1)]);
        publish(&disk, &catalog, &mut model, PackKind::Checkpoint, entries, &[]).unwrap();
    }
    assert_eq!(catalog.merge_pressure(), MergePressure::Due);
    assert_eq!(catalog.merge(false).unwrap().packs, 25);
    assert_eq!(catalog.merge_pressure(), MergePressure::None);
    assert_eq!(catalog.merge(false).unwrap().packs, 0);
    let entries = (0..16_000).map(|number| head(number, 1)).collect();
    publish(&disk, &catalog, &mut model, PackKind::Checkpoint, entries, &[]).unwrap();
    assert_eq!(catalog.merge_pressure(), MergePressure::Due);
    let merge = catalog.merge(false).unwrap();
    assert!(merge.rewritten);
    assert_eq!(merge.rows, 16_000 + 24, "25 heads of object 1, one of which is in both");
    // Few entries beside many rows go in place.
    for pack in 0..25 {
        let entries = Entries::from([head(pack % 3, 100 + pack)]);
        publish(&disk, &catalog, &mut model, PackKind::Checkpoint, entries, &[]).unwrap();
    }
    let again = Entries::from([head(7, 1), head(8, 1)]);
    publish(&disk, &catalog, &mut model, PackKind::Compaction, again, &[]).unwrap();
    let merge = catalog.merge(false).unwrap();
    assert_eq!((merge.packs, merge.rewritten), (26, false));
    catalog.verify(&mut |_| ()).unwrap();
    check(&catalog.snapshot(), &model, 4);
    drop(catalog);
    let opened = open(&disk, false).unwrap();
    assert_eq!(opened.catalog.stats().unmerged, 0);
    opened.catalog.verify(&mut |_| ()).unwrap();
}

#[test]
fn a_pack_of_another_engine_is_refused() {
    let disk = SimDisk::new();
    let catalog = open(&disk, false).unwrap().catalog;
    publish(&disk, &catalog, &mut Model::default(), PackKind::Checkpoint, Entries::new(), &[]).unwrap();
    drop(catalog);
    let other = |read_only| {
        let disk: Arc<dyn Disk> = Arc::new(disk.clone());
        let options = CatalogOptions { read_only, ..CatalogOptions::default() };
        Catalog::open(disk, BlockCache::new(1 << 20), EngineId([9; 16]), options)
    };
    assert!(matches!(other(true), Err(CatalogError::OtherEngine { .. })));
    disk.remove("catalog.redb").unwrap();
    assert!(matches!(other(false), Err(CatalogError::OtherEngine { .. })));
}
