//! Flipped bits and lost files.

use super::{
    super::{CATALOG_PATH, open_table},
    *,
};

const OBJECTS: u64 = 6;

/// A closed catalog with merged and unmerged packs.
fn closed() -> (BTreeMap<String, Vec<u8>>, Model) {
    let disk = SimDisk::new();
    let catalog = open(&disk, false).unwrap().catalog;
    let mut model = Model::default();
    let mut dice = Dice(21);
    let mut grower = Grower::default();
    for step in 0..5 {
        let entries = grower.checkpoint(&mut dice, OBJECTS);
        publish(&disk, &catalog, &mut model, PackKind::Checkpoint, entries, &[]).unwrap();
        if step == 3 {
            catalog.merge(true).unwrap();
        }
    }
    drop(catalog);
    (disk.image(), model)
}

#[test]
fn a_flipped_bit_in_the_table_is_never_believed() {
    let (image, model) = closed();
    let table = &image["catalog.redb"];
    let bits = table.len() as u64 * 8;
    // Every bit of the header, then spread over the rest, then one of every page that is in use.
    let mut flips: Vec<u64> = (0..36 * 8).collect();
    flips.extend((0..bits).step_by(usize::try_from(bits / 60).unwrap()));
    let used = (0..table.len()).filter(|at| table[*at] != 0).map(|at| at as u64 * 8 + at as u64 % 8);
    flips.extend(used.step_by(409));
    let mut damaged = 0;
    for bit in flips {
        let disk = SimDisk::from_image(&image);
        disk.flip_bit("catalog.redb", bit);
        let opened = open(&disk, true).unwrap_or_else(|error| panic!("bit {bit}: {error}"));
        check_some(&opened.catalog.snapshot(), &model, &[bit % OBJECTS]);
        drop(opened);
        let opened = open(&disk, false).unwrap_or_else(|error| panic!("bit {bit}: {error}"));
        check_some(&opened.catalog.snapshot(), &model, &[bit % OBJECTS]);
        damaged += u64::from(opened.table_damage.is_some() || opened.catalog.stats().damaged);
        if opened.catalog.merge_pressure() == MergePressure::Damaged {
            opened.catalog.merge(false).unwrap();
        }
        opened.catalog.verify(&mut |_| ()).unwrap_or_else(|error| panic!("bit {bit}: {error}"));
    }
    assert!(damaged > 288, "{damaged} flips were met by a read");
}

#[test]
fn a_table_that_fails_when_it_is_first_looked_into_stands_for_no_pack() {
    let (image, model) = closed();
    for read_only in [true, false] {
        let disk = SimDisk::from_image(&image);
        let catalog = open(&disk, read_only).unwrap().catalog;
        let packs = Arc::clone(&catalog.state().packs);
        assert!(packs.iter().any(|member| member.merged));
        // What it says about the packs was read, and its rows are rotten.
        let (table, rows) = open_table(&disk, ENGINE, catalog.options).unwrap().unwrap();
        let (path, reason) = (CATALOG_PATH.to_owned(), "rotten".to_owned());
        table.mark_broken(&CatalogError::CatalogDamaged { path, offset: 0, reason });
        let mut damage = None;
        let state = catalog.start_table(Some(table), Some(rows), packs, &mut damage).unwrap();
        assert!(damage.is_some() && state.packs.iter().all(|member| !member.merged));
        catalog.swap(state);
        check(&catalog.snapshot(), &model, OBJECTS);
    }
}

#[test]
fn a_table_of_any_length_is_used_or_replaced() {
    let (image, model) = closed();
    let length = image["catalog.redb"].len() as u64;
    let mut lengths: Vec<u64> = (0..length).step_by(8209).collect();
    lengths.extend([0, 1, 35, 36, 4095, 4096, 12_288, 20_480, length - 1]);
    for length in lengths {
        let disk = SimDisk::from_image(&image);
        disk.truncate("catalog.redb", length);
        let opened = open(&disk, false).unwrap_or_else(|error| panic!("length {length}: {error}"));
        check(&opened.catalog.snapshot(), &model, OBJECTS);
        if opened.catalog.merge_pressure() == MergePressure::Damaged {
            opened.catalog.merge(false).unwrap();
        }
        opened.catalog.verify(&mut |_| ()).unwrap_or_else(|error| panic!("length {length}: {error}"));
    }
}

#[test]
fn a_lost_pack_is_named_whichever_it_is() {
    let (image, model) = closed();
    for number in model.packs.keys() {
        let mut image = image.clone();
        image.remove(&number.path());
        let disk = SimDisk::from_image(&image);
        for read_only in [true, false] {
            let error = open(&disk, read_only).unwrap_err();
            assert!(error.to_string().contains(&number.path()), "{error}");
        }
        assert_eq!(disk.image().keys().collect::<Vec<_>>(), image.keys().collect::<Vec<_>>());
    }
}

#[test]
fn a_pack_that_lost_its_end_is_named_and_not_removed() {
    let (image, model) = closed();
    for number in model.packs.keys() {
        let disk = SimDisk::from_image(&image);
        disk.truncate(&number.path(), image[&number.path()].len() as u64 / 3);
        for read_only in [true, false] {
            let error = open(&disk, read_only).unwrap_err();
            assert!(error.to_string().contains(&number.path()), "{error}");
        }
        assert!(disk.files().contains(&number.path()));
    }
}

#[test]
fn without_a_table_nothing_that_may_have_been_complete_is_removed() {
    let (mut image, model) = closed();
    let newest = *model.packs.last_key_value().unwrap().0;
    let pack = image.get_mut(&newest.path()).unwrap();
    pack.truncate(pack.len() / 3);
    image.remove("catalog.redb");
    let disk = SimDisk::from_image(&image);
    let opened = open(&disk, false).unwrap();
    assert!(opened.newest.is_some_and(|footer| footer.number < newest));
    assert!(disk.files().contains(&newest.path()));
    assert!(opened.catalog.next_number() > newest);
}

#[test]
fn a_row_that_differs_from_its_pack_is_found_by_verify() {
    let (image, _) = closed();
    let disk = SimDisk::from_image(&image);
    let catalog = open(&disk, false).unwrap().catalog;
    let state = catalog.state();
    let table = state.view.as_ref().unwrap().table();
    let mut rows = table.view().unwrap().rows_from(&[]).unwrap();
    let mut row = rows.find_map(|row| row.ok().filter(|row| row.value.place().is_some())).unwrap();
    drop(rows);
    if let lineal_snapshot::EntryValue::Place(place) = &mut row.value {
        place.part_offset += 1;
    }
    let packs = catalog.pack_rows(&state.packs);
    table.put(&mut std::iter::once(Ok(row)), &packs, &|_| true).unwrap();
    drop(state);
    drop(catalog);
    let catalog = open(&disk, false).unwrap().catalog;
    assert!(matches!(catalog.verify(&mut |_| ()), Err(CatalogError::Disagrees { .. })));
    catalog.rebuild().unwrap();
    catalog.verify(&mut |_| ()).unwrap();
}
