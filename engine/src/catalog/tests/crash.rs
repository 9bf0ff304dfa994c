//! A crash, a failure or a full disk at every operation of a history that meets every step.

use lineal_wal::sim::Fault;

use super::*;

const OBJECTS: u64 = 3;

/// What was acknowledged, and what may have happened beyond it.
#[derive(Default)]
struct Told {
    /// The state that the last publish which returned `Ok` made.
    acknowledged: Model,
    /// The one that was under way.
    attempted: Option<Model>,
}

/// Opens, publishes, merges, replaces and rebuilds, until the end or the first error.
fn history(disk: &SimDisk, told: &mut Told) -> Result<(), CatalogError> {
    let mut dice = Dice(11);
    let mut grower = Grower::default();
    let mut catalog = open(disk, false)?.catalog;
    for step in 0..4 {
        let removed: Vec<PackNumber> = match step {
            2 => told.acknowledged.packs.keys().copied().skip(1).collect(),
            _ => Vec::new(),
        };
        let (kind, entries) = match step {
            2 => (PackKind::Compaction, compact(&told.acknowledged, &removed, &mut dice)),
            _ => (PackKind::Checkpoint, grower.checkpoint(&mut dice, OBJECTS)),
        };
        let mut next = told.acknowledged.clone();
        // The number is the next one: nothing else takes any.
        let number = PackNumber(catalog.highest().0 + 1);
        for gone in &removed {
            next.packs.remove(gone);
        }
        next.packs.insert(number, entries.clone());
        told.attempted = Some(next);
        let mut model = told.acknowledged.clone();
        publish(disk, &catalog, &mut model, kind, entries, &removed)?;
        told.acknowledged = model;
        told.attempted = None;
        match step {
            1 => drop(catalog.merge(true)?),
            2 => {
                drop(catalog);
                catalog = open(disk, false)?.catalog;
            }
            _ => {}
        }
    }
    catalog.rebuild()?;
    Ok(())
}

/// Opens what a crash left and holds it against what was told.
fn check_after(disk: &SimDisk, told: &Told, what: &str) {
    let before = disk.image();
    let reading = open(disk, true).unwrap_or_else(|error| panic!("{what}: for reading: {error}"));
    drop(reading);
    assert_eq!(disk.image(), before, "{what}");
    let opened = open(disk, false).unwrap_or_else(|error| panic!("{what}: {error}"));
    let newest = opened.newest.as_ref().map(|footer| footer.number);
    let adopted = told.attempted.as_ref().filter(|model| {
        newest.is_some() && model.packs.last_key_value().map(|(number, _)| *number) == newest
    });
    let model = adopted.unwrap_or(&told.acknowledged);
    assert_eq!(newest, model.packs.last_key_value().map(|(number, _)| *number), "{what}");
    check(&opened.catalog.snapshot(), model, OBJECTS);
    opened.catalog.verify(&mut |_| ()).unwrap_or_else(|error| panic!("{what}: {error}"));
    // It goes on from there.
    let mut model = model.clone();
    let mut entries = Entries::new();
    Grower::default().grow(99, object(99), &mut Dice(1), &mut entries);
    publish(disk, &opened.catalog, &mut model, PackKind::Checkpoint, entries, &[])
        .unwrap_or_else(|error| panic!("{what}: {error}"));
    check_some(&opened.catalog.snapshot(), &model, &[1]);
}

fn operations() -> u64 {
    let disk = SimDisk::new();
    history(&disk, &mut Told::default()).unwrap();
    disk.ops()
}

#[test]
fn a_crash_at_any_operation_loses_nothing_acknowledged() {
    let total = operations();
    let mut dice = Dice(77);
    for op in 0..total {
        let disk = SimDisk::new();
        let mut told = Told::default();
        disk.power_off_at(op);
        // What only closing writes fails unseen.
        let _ = history(&disk, &mut told);
        // All kept or all lost in turn, and a random one.
        for fate in [op % 2, 2] {
            let after = match fate {
                0 => disk.crash(&mut |_| 0),
                1 => disk.crash(&mut |choices| choices - 1),
                _ => disk.crash(&mut |choices| dice.roll(choices as u64) as usize),
            };
            check_after(&after, &told, &format!("op {op} of {total}, fate {fate}"));
        }
    }
}

#[test]
fn a_failed_operation_is_reported_or_survived_and_leaves_nothing_wrong() {
    let total = operations();
    for op in 0..total {
        let error = if op % 2 == 0 { std::io::ErrorKind::StorageFull } else { std::io::ErrorKind::Other };
        let disk = SimDisk::new();
        let mut told = Told::default();
        disk.fail(Fault::at(op).error(error));
        let done = history(&disk, &mut told);
        disk.heal();
        if done.is_ok() {
            assert!(told.attempted.is_none());
        }
        check_after(&disk, &told, &format!("op {op} of {total}, {error:?}, {done:?}"));
    }
}

#[test]
fn on_a_full_disk_lookups_go_on_and_publishing_resumes_when_there_is_room() {
    let disk = SimDisk::new();
    let catalog = open(&disk, false).unwrap().catalog;
    let mut model = Model::default();
    let mut dice = Dice(3);
    let mut grower = Grower::default();
    for _ in 0..3 {
        let entries = grower.checkpoint(&mut dice, OBJECTS);
        publish(&disk, &catalog, &mut model, PackKind::Checkpoint, entries, &[]).unwrap();
    }
    catalog.merge(true).unwrap();
    let used: u64 = disk.image().values().map(|bytes| bytes.len() as u64).sum();
    let mut refused = 0;
    for room in (0..60_000).step_by(1500) {
        disk.set_capacity(Some(used + room));
        let entries = grower.clone().checkpoint(&mut dice, OBJECTS);
        match publish(&disk, &catalog, &mut model, PackKind::Checkpoint, entries, &[]) {
            Ok(_) => break,
            Err(error) => {
                refused += 1;
                let full = matches!(&error, CatalogError::NoSpace { .. })
                    || matches!(&error, CatalogError::Pack(pack) if pack.kind() == lineal_snapshot::ErrorKind::Full);
                assert!(full, "{error}");
            }
        }
        check(&catalog.snapshot(), &model, OBJECTS);
        assert!(catalog.merge(true).is_err() || room > 0);
        check(&catalog.snapshot(), &model, OBJECTS);
    }
    assert!(refused > 0);
    disk.set_capacity(None);
    let entries = grower.checkpoint(&mut dice, OBJECTS);
    publish(&disk, &catalog, &mut model, PackKind::Checkpoint, entries, &[]).unwrap();
    catalog.merge(true).unwrap();
    check(&catalog.snapshot(), &model, OBJECTS);
    catalog.verify(&mut |_| ()).unwrap();
}
