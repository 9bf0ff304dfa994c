//! Damaged files: what is read is what was written, or a typed error says what is wrong. Never a panic, never other
//! bytes, never a missing object.

use std::collections::BTreeSet;

use lineal::Error;
use lineal_tests::damage::{
    self, End, Fixture, Histogram, Image, Outcome, large_steps, look, small_steps, small_steps_and_log,
};
use lineal_wal::sim::SimDisk;

const CATALOG: &str = "catalog.redb";

/// Looks at a damaged image in both ways. The outcome is the writable one's.
fn look_twice(
    image: &Image,
    fixture: &Fixture,
    histogram: &mut Histogram,
    context: &dyn Fn() -> String,
) -> Outcome {
    let outcome = damage::look_twice(image, &fixture.state, &mut |why| {
        histogram.add_bad(format!("{}: {why}", context()))
    });
    histogram.add(context, &outcome);
    outcome
}

/// Flips about `most` bits of the used bytes of each file whose path `of` accepts, evenly.
fn flip(fixture: &Fixture, most: u64, of: &dyn Fn(&str) -> bool, title: &str) -> Histogram {
    let mut histogram = Histogram::default();
    for (path, bytes) in fixture.image.iter().filter(|(path, _)| of(path)) {
        let used: Vec<u64> = (0..bytes.len() as u64)
            .filter(|at| bytes[usize::try_from(*at).unwrap()] != 0)
            .flat_map(|at| (0..8).map(move |bit| at * 8 + bit))
            .collect();
        // Odd, so that all bits of a byte have their turn.
        let step = (used.len() as u64 / most) | 1;
        let before = (histogram.count("exact"), histogram.count("typed error"));
        for bit in used.iter().step_by(usize::try_from(step).unwrap()) {
            let mut image = fixture.image.clone();
            image.get_mut(path).unwrap()[usize::try_from(bit / 8).unwrap()] ^= 1 << (bit % 8);
            let context = || format!("{title}: {path} bit {bit} (byte {})", bit / 8);
            let outcome = look_twice(&image, fixture, &mut histogram, &context);
            if path.starts_with("packs/") && matches!(outcome, Outcome::Exact) {
                histogram.add_bad(format!("{}: verification does not notice it", context()));
            }
            if path == CATALOG && !matches!(outcome, Outcome::Exact) {
                histogram.add_bad(format!("{}: a catalog is made anew, not {outcome:?}", context()));
            }
        }
        println!(
            "  {title}: {path}: {} used bits, every {step}: exact {}, typed {}",
            used.len(),
            histogram.count("exact") - before.0,
            histogram.count("typed error") - before.1
        );
    }
    histogram
}

#[test]
fn flipped_bits_of_a_closed_directory_are_noticed_or_harmless() {
    let fixture = Fixture::make(&small_steps(), End::Closed);
    flip(&fixture, 400, &|path| path != CATALOG, "closed").assert_good("closed");
}

#[test]
fn flipped_bits_of_a_killed_directory_are_noticed_or_harmless() {
    let fixture = Fixture::make(&small_steps_and_log(), End::Killed);
    flip(&fixture, 400, &|path| path != CATALOG, "killed").assert_good("killed");
}

#[test]
fn flipped_bits_among_leaves_and_merged_packs_are_noticed_or_harmless() {
    let fixture = Fixture::make(&large_steps(), End::Closed);
    flip(&fixture, 300, &|path| path.starts_with("packs/"), "leaves").assert_good("leaves");
}

#[test]
fn a_damaged_catalog_is_made_anew() {
    let fixture = Fixture::make(&large_steps(), End::Closed);
    let histogram = flip(&fixture, 300, &|path| path == CATALOG, "catalog");
    assert_eq!(histogram.count("bad"), 0);
    histogram.assert_good("catalog");
}

/// The fixtures that whole files are damaged in.
fn fixtures() -> [(&'static str, Fixture); 3] {
    [
        ("closed", Fixture::make(&small_steps(), End::Closed)),
        ("killed", Fixture::make(&small_steps_and_log(), End::Killed)),
        ("leaves", Fixture::make(&large_steps(), End::Killed)),
    ]
}

/// Looks at an image in which whole files were changed.
fn judge(
    image: &Image,
    fixture: &Fixture,
    histogram: &mut Histogram,
    context: &dyn Fn() -> String,
) -> Outcome {
    let outcome = look_twice(image, fixture, histogram, context);
    if matches!(outcome, Outcome::Exact) {
        damage::go_on(image, &fixture.state, &mut |why| histogram.add_bad(format!("{}: {why}", context())));
    }
    outcome
}

#[test]
fn files_cut_anywhere_are_noticed_or_harmless() {
    let mut histogram = Histogram::default();
    for (title, fixture) in fixtures() {
        for (path, bytes) in &fixture.image {
            let used = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |at| at + 1);
            // Every length of the used part of a small file; and around sectors and the end of any.
            let step = (used / 40).max(1) | 1;
            let mut lengths: BTreeSet<usize> = (0..used).step_by(step).collect();
            lengths.extend((0..bytes.len()).step_by((bytes.len() / 8).max(1)));
            lengths.extend([0, 1, 511, 512, 4_095, 4_096, 4_097, used, used + 1]);
            lengths.extend([bytes.len().saturating_sub(1), bytes.len().saturating_sub(4_096)]);
            for length in lengths.into_iter().filter(|length| *length < bytes.len()) {
                let mut image = fixture.image.clone();
                image.get_mut(path).unwrap().truncate(length);
                let context = || format!("{title}: {path} of {} bytes cut to {length}", bytes.len());
                let outcome = judge(&image, &fixture, &mut histogram, &context);
                if path == CATALOG && !matches!(outcome, Outcome::Exact) {
                    histogram.add_bad(format!("{}: a catalog is made anew, not {outcome:?}", context()));
                }
            }
        }
    }
    histogram.assert_good("cut");
}

#[test]
fn files_that_are_gone_are_noticed_or_harmless() {
    let mut histogram = Histogram::default();
    for (title, fixture) in fixtures() {
        let paths: Vec<&String> = fixture.image.keys().collect();
        for (at, first) in paths.iter().enumerate() {
            for second in &paths[at..] {
                let mut image = fixture.image.clone();
                image.remove(*first);
                image.remove(*second);
                let context = || format!("{title}: without {first} and {second}");
                let outcome = judge(&image, &fixture, &mut histogram, &context);
                if first == second && *first == CATALOG && !matches!(outcome, Outcome::Exact) {
                    histogram.add_bad(format!("{}: a catalog is made anew, not {outcome:?}", context()));
                }
                if first.starts_with("packs/") && matches!(outcome, Outcome::Exact) {
                    histogram.add_bad(format!("{}: nothing misses a pack", context()));
                }
            }
        }
    }
    histogram.assert_good("gone");
}

#[test]
fn files_swapped_or_copied_over_each_other_are_noticed_or_harmless() {
    let mut histogram = Histogram::default();
    for (title, fixture) in fixtures() {
        let paths: Vec<&String> = fixture.image.keys().collect();
        for left in &paths {
            for right in paths.iter().filter(|right| *right != left) {
                let mut image = fixture.image.clone();
                image.insert((*right).clone(), fixture.image[*left].clone());
                judge(&image, &fixture, &mut histogram, &|| format!("{title}: {left} copied over {right}"));
                if left < right {
                    image.insert((*left).clone(), fixture.image[*right].clone());
                    judge(&image, &fixture, &mut histogram, &|| {
                        format!("{title}: {left} and {right} swapped")
                    });
                }
            }
        }
    }
    histogram.assert_good("swapped");
}

#[test]
fn copies_of_files_under_other_names_are_noticed_or_harmless() {
    let mut histogram = Histogram::default();
    for (title, fixture) in fixtures() {
        for (path, bytes) in &fixture.image {
            let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
            let names = match name.rsplit_once('.').map(|(_, end)| end) {
                Some("pack") => (0..9).map(|number| format!("{number:016x}.pack")).collect(),
                Some("log") => (0..9).map(|number| format!("{number:016x}.log")).collect(),
                _ => vec![format!("{name}.new"), format!("{name}~"), format!("{name}.tmp")],
            };
            for copy in names {
                let copy = if folder.is_empty() { copy } else { format!("{folder}/{copy}") };
                if fixture.image.contains_key(&copy) {
                    continue;
                }
                let mut image = fixture.image.clone();
                image.insert(copy.clone(), bytes.clone());
                judge(&image, &fixture, &mut histogram, &|| format!("{title}: {path} also as {copy}"));
            }
        }
    }
    histogram.assert_good("copies");
}

#[test]
fn an_older_catalog_list_or_pack_is_noticed_or_harmless() {
    let mut histogram = Histogram::default();
    let steps = large_steps();
    let ends: Vec<Fixture> =
        (1..=steps.len()).map(|count| Fixture::make(&steps[..count], End::Killed)).collect();
    let newest = ends.last().unwrap();
    for (age, older) in ends.iter().enumerate() {
        for (path, bytes) in &older.image {
            // An active segment of the log that loses its end with everything that vouched for it looks like one
            // that never had it; here a pack vouches, or the file is another one.
            let mut image = newest.image.clone();
            image.insert(path.clone(), bytes.clone());
            judge(&image, newest, &mut histogram, &|| format!("{path} as it was after step {age}"));
        }
    }
    histogram.assert_good("older");
}

/// Damage inside the part of one object: the object says so, all others are exact.
#[test]
fn damage_to_one_object_leaves_the_others_readable() {
    let fixture = Fixture::make(&large_steps(), End::Closed);
    let mut readers_told = 0;
    for needle in
        ["value of objects 1 and 2", "value of object 1", "value a of object 0", "value c of object 0"]
    {
        for ((path, at), bit) in find(&fixture.image, needle.as_bytes())
            .iter()
            .flat_map(|place| (0..needle.len() * 8).map(move |bit| (place, bit)))
        {
            let context = format!("{needle:?} in {path} at {at}, bit {bit}");
            let mut image = fixture.image.clone();
            image.get_mut(path).unwrap()[at + bit / 8] ^= 1 << (bit % 8);
            let read_only = bit % 2 == 0;
            let outcome = look(&SimDisk::from_image(&image), read_only, &fixture.state);
            let Outcome::Typed(told) = outcome else { panic!("{context}: {outcome:?}") };
            assert!(told.opened, "{context}: one object does not keep the engine from opening");
            assert!(told.verify.is_some(), "{context}: verification says so too");
            // What only history needs is not missed by readers of the newest state.
            assert!(told.unreadable.len() <= 1, "{context}: {:?}", told.unreadable);
            readers_told += told.unreadable.len();
            match &told.first {
                Error::Damaged { file, offset, object: Some(_), .. } => {
                    assert_eq!(file, path, "{context}");
                    assert!(*offset <= *at as u64 && *offset > 0, "{context}: {}", told.first);
                }
                other => panic!("{context}: {other:?}"),
            }
        }
    }
    assert!(readers_told > 0);
}

/// The places of these bytes in packs.
fn find(image: &Image, needle: &[u8]) -> Vec<(String, usize)> {
    let packs = image.iter().filter(|(path, _)| path.starts_with("packs/"));
    let found: Vec<(String, usize)> = packs
        .flat_map(|(path, bytes)| {
            let places = bytes.windows(needle.len()).enumerate().filter(|(_, window)| *window == needle);
            places.map(|(at, _)| (path.clone(), at)).collect::<Vec<_>>()
        })
        .collect();
    assert!(!found.is_empty(), "{:?} is in no pack", String::from_utf8_lossy(needle));
    found
}

#[test]
fn the_undamaged_directories_are_exact() {
    for (steps, end) in [
        (small_steps(), End::Closed),
        (small_steps_and_log(), End::Killed),
        (large_steps(), End::Closed),
        (large_steps(), End::Killed),
    ] {
        let fixture = Fixture::make(&steps, end);
        for (path, bytes) in &fixture.image {
            println!("{end:?} {path} {}", bytes.len());
        }
        for read_only in [true, false] {
            let outcome = look(&SimDisk::from_image(&fixture.image), read_only, &fixture.state);
            assert!(matches!(outcome, Outcome::Exact), "{end:?} {outcome:?}");
        }
    }
}
