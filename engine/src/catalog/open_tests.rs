//! The decision at open, over every folder of up to three packs and everything a catalog can say.

use std::collections::{BTreeMap, BTreeSet};

use lineal_snapshot::{LivePack, PackError, PackNumber};

use super::{Look, Plan, decide};
use crate::catalog::{
    CatalogError,
    table::{PackRow, PackRows},
};

fn live(number: u64) -> LivePack {
    LivePack { number: PackNumber(number), bytes: 1000 + number, footer_hash: [number as u8; 32] }
}

fn unfinished(number: u64) -> Look {
    Look::Unfinished(PackError::Incomplete { path: PackNumber(number).path(), reason: "no footer" })
}

fn complete(number: u64, lists: &[u64]) -> Look {
    Look::Complete { this: live(number), lists: lists.iter().map(|number| live(*number)).collect() }
}

fn row(number: u64, merged: bool) -> (PackNumber, PackRow) {
    (PackNumber(number), PackRow { merged, footer_hash: [number as u8; 32] })
}

fn run(files: &BTreeMap<u64, Look>, rows: Option<&PackRows>) -> Result<Plan, CatalogError> {
    let numbers: BTreeSet<PackNumber> = files.keys().map(|number| PackNumber(*number)).collect();
    decide(&numbers, rows, &mut |number| Ok(files[&number.0].clone()))
}

/// Subsets of `1 ..= top`, as bits.
fn numbers(bits: u64, top: u64) -> Vec<u64> {
    (1..=top).filter(|number| bits & (1 << (number - 1)) != 0).collect()
}

/// What a file can be: absent, unfinished, or complete with any list of lower packs.
fn states(number: u64) -> Vec<Option<Look>> {
    let mut states = vec![None, Some(unfinished(number))];
    states.extend((0..1 << (number - 1)).map(|bits| Some(complete(number, &numbers(bits, number - 1)))));
    states
}

#[test]
fn every_folder_and_every_catalog_is_decided_as_the_table_says() {
    let mut decided = 0;
    for one in states(1) {
        for two in states(2) {
            for three in states(3) {
                let files: BTreeMap<u64, Look> = [(1, one.clone()), (2, two.clone()), (3, three)]
                    .into_iter()
                    .filter_map(|(number, look)| Some((number, look?)))
                    .collect();
                check(&files, None);
                for bits in 0..1 << 4 {
                    for merged in 0..1 << 4 {
                        if merged & !bits != 0 {
                            continue;
                        }
                        let rows = numbers(bits, 4)
                            .into_iter()
                            .map(|number| row(number, merged & (1 << (number - 1)) != 0))
                            .collect();
                        check(&files, Some(&PackRows { rows, highest: PackNumber(5) }));
                        decided += 1;
                    }
                }
            }
        }
    }
    assert_eq!(decided, 3 * 4 * 6 * 81);
}

/// Says the rules again, one by one, and compares.
fn check(files: &BTreeMap<u64, Look>, rows: Option<&PackRows>) {
    let plan = run(files, rows);
    let newest = files.iter().rev().find_map(|(number, look)| match look {
        Look::Complete { lists, .. } => {
            Some((*number, lists.iter().map(|pack| pack.number.0).collect::<Vec<_>>()))
        }
        Look::Unfinished(_) => None,
    });
    let top = newest.as_ref().map_or(0, |(number, _)| *number);
    let lists = newest.map(|(_, lists)| lists).unwrap_or_default();
    let known = rows.and_then(|rows| rows.rows.keys().map(|number| number.0).max()).unwrap_or(0);
    if known > top {
        assert!(
            matches!(&plan, Err(CatalogError::PackLost { number, .. }) if number.0 == known),
            "{files:?} {rows:?} {plan:?}"
        );
        return;
    }
    if let Some(missing) = lists.iter().find(|number| !files.contains_key(number)) {
        let named = match &plan {
            Err(CatalogError::PackMissing { number, .. }) => number.0 == *missing,
            // An earlier one of the list is there and has no footer.
            Err(CatalogError::PackMismatch { path, .. }) => *path < PackNumber(*missing).path(),
            _ => false,
        };
        assert!(named, "{files:?} {rows:?} {plan:?}");
        return;
    }
    if lists.iter().any(|number| matches!(files[number], Look::Unfinished(_))) {
        assert!(matches!(&plan, Err(CatalogError::PackMismatch { .. })), "{files:?} {rows:?} {plan:?}");
        return;
    }
    let plan = plan.unwrap();
    let mut alive = lists;
    alive.extend((top > 0).then_some(top));
    assert_eq!(plan.live.iter().map(|pack| pack.number.0).collect::<Vec<_>>(), alive);
    let mut remove: Vec<u64> = files.keys().copied().filter(|number| !alive.contains(number)).collect();
    remove.retain(|number| *number < top || rows.is_some());
    let mut planned: Vec<u64> = plan.remove.iter().map(|number| number.0).collect();
    planned.sort_unstable();
    assert_eq!(planned, remove, "{files:?} {rows:?}");
    assert_eq!(plan.table_fits, rows.is_some());
    for (number, row) in rows.iter().flat_map(|rows| &rows.rows) {
        assert_eq!(plan.merged.contains(number), row.merged && alive.contains(&number.0));
    }
    let highest = files.keys().copied().max().unwrap_or(0).max(if rows.is_some() { 5 } else { 0 });
    assert_eq!(plan.highest.0, highest, "no number that was seen is given out again");
}

#[test]
fn a_listed_pack_of_another_length_or_hash_is_damage() {
    for (bytes, byte) in [(1002, 1), (1001, 9)] {
        let other = LivePack { number: PackNumber(1), bytes, footer_hash: [byte; 32] };
        let files =
            BTreeMap::from([(1, Look::Complete { this: other, lists: Vec::new() }), (2, complete(2, &[1]))]);
        let found = run(&files, None);
        assert!(
            matches!(&found, Err(CatalogError::PackMismatch { path, .. }) if *path == PackNumber(1).path())
        );
    }
}

#[test]
fn a_footer_that_lists_itself_or_a_later_pack_is_damage() {
    for listed in [2, 3] {
        let files = BTreeMap::from([(2, complete(2, &[listed]))]);
        assert!(matches!(run(&files, None), Err(CatalogError::PackMismatch { what: "number", .. })));
    }
}

#[test]
fn rows_of_another_pack_with_the_same_number_make_the_table_unfit() {
    let files = BTreeMap::from([(1, complete(1, &[]))]);
    let other = PackRow { merged: true, footer_hash: [77; 32] };
    let rows = PackRows { rows: BTreeMap::from([(PackNumber(1), other)]), highest: PackNumber(1) };
    let plan = run(&files, Some(&rows)).unwrap();
    assert!(!plan.table_fits);
    assert!(plan.merged.is_empty());
}

#[test]
fn the_lost_newest_pack_is_reported_with_the_place_of_its_damage() {
    let damage = PackError::Damaged {
        path: PackNumber(2).path(),
        offset: 4242,
        object: None,
        reason: "the checksum of the footer does not match",
    };
    let files = BTreeMap::from([(1, complete(1, &[])), (2, Look::Unfinished(damage))]);
    let rows = PackRows { rows: BTreeMap::from([row(1, true), row(2, false)]), highest: PackNumber(2) };
    let found = run(&files, Some(&rows));
    assert!(matches!(found, Err(CatalogError::Pack(PackError::Damaged { offset: 4242, .. }))));
}
