use std::collections::BTreeMap;

use proptest::{collection::vec, prelude::*};

use super::*;
use crate::transaction::ops;

/// What a key is in the model: what was said of it, and whether what lies below is visible.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Said {
    Value(Vec<u8>),
    Absent,
    /// Patches that wait, as encoded ones.
    Patches(Vec<Vec<u8>>),
    Nothing,
}

/// The model applies every op key by key, over all keys that there are.
#[derive(Clone, Debug)]
struct Model {
    keys: BTreeMap<Vec<u8>, (Said, bool)>,
}

impl Model {
    fn new(universe: impl Iterator<Item = Vec<u8>>) -> Model {
        Model { keys: universe.map(|key| (key, (Said::Nothing, false))).collect() }
    }

    fn apply(&mut self, bytes: &[u8]) {
        for op in Ops::new(bytes) {
            match op.expect("made by the builder") {
                Op::Put { key, value } => self.at(key).0 = Said::Value(value.to_vec()),
                Op::Delete { key } => self.at(key).0 = Said::Absent,
                Op::DeleteRange { start, end } => {
                    self.in_range(start, end).for_each(|at| *at = (Said::Absent, true));
                }
                Op::Cut(Cut { start, end, base: CutBase::Nothing }) => {
                    self.in_range(&start, end.as_deref()).for_each(|at| *at = (Said::Absent, true));
                }
                Op::Cut(Cut { start, end, .. }) => {
                    self.in_range(&start, end.as_deref()).for_each(|at| *at = (Said::Nothing, false));
                }
                Op::Patch { key, patch } => {
                    let at = self.at(key);
                    match &mut at.0 {
                        Said::Value(value) => *value = ops::apply_patch(value, &patch),
                        Said::Absent => at.0 = Said::Value(ops::apply_patch(b"", &patch)),
                        Said::Patches(patches) => patches.push(patch.as_bytes().to_vec()),
                        Said::Nothing => at.0 = Said::Patches(vec![patch.as_bytes().to_vec()]),
                    }
                }
            }
        }
    }

    fn at(&mut self, key: &[u8]) -> &mut (Said, bool) {
        self.keys.get_mut(key).expect("in the universe")
    }

    fn in_range(&mut self, start: &[u8], end: Option<&[u8]>) -> impl Iterator<Item = &mut (Said, bool)> {
        let (start, end) = (start.to_vec(), end.map(<[u8]>::to_vec));
        self.keys
            .iter_mut()
            .filter(move |(key, _)| **key >= start && end.as_ref().is_none_or(|end| *key < end))
            .map(|(_, at)| at)
    }
}

/// Values below, to see what patches come to.
const BELOW: [&[u8]; 3] = [b"", b"0123456789", &[0x55; 300]];

fn same(found: Found<'_>, (said, cleared): &(Said, bool)) -> bool {
    match (found, said) {
        (Found::Value(value), Said::Value(expected)) => {
            *value == **expected && *value.to_value() == **expected
        }
        (Found::Deleted, Said::Absent) => true,
        (Found::Below, Said::Nothing) => !cleared,
        (Found::Patch(found), Said::Patches(expected)) => BELOW.iter().all(|below| {
            let expected = expected.iter().fold(below.to_vec(), |value, patch| {
                ops::apply_patch(&value, &Patch::parse(patch).expect("valid"))
            });
            found.apply(below) == expected
        }),
        // Patches that leave nothing of what is below may have become a value.
        (Found::Value(value), Said::Patches(expected)) => {
            let expected = expected.iter().fold(b"xyz".to_vec(), |value, patch| {
                ops::apply_patch(&value, &Patch::parse(patch).expect("valid"))
            });
            *value == *expected
        }
        _ => false,
    }
}

fn check(overlay: &Overlay, model: &Model) {
    for (key, said) in &model.keys {
        let found = overlay.get(key);
        assert!(same(found, said), "{key:?}: {found:?} for {said:?}");
        assert_eq!(overlay.is_cleared(key), said.1, "{key:?} of {:?}", overlay.cleared().collect::<Vec<_>>());
        let holds = |(start, end): Interval<'_>| start <= &**key && end.is_none_or(|end| **key < *end);
        assert_eq!(overlay.cleared().any(holds), said.1);
        let expected = overlay.cleared().find(|range| range.0 > &**key || holds(*range));
        assert_eq!(overlay.cleared_at_or_after(key), expected);
        let expected = overlay.cleared().rfind(|(start, _)| *start < &**key);
        assert_eq!(overlay.cleared_before(Some(key)), expected);
    }
    assert_eq!(overlay.cleared_before(None), overlay.cleared().next_back());
    let cleared: Vec<_> = overlay.cleared().collect();
    for pair in cleared.windows(2) {
        assert!(pair[0].1.is_some_and(|end| end < pair[1].0), "apart and in order: {cleared:?}");
    }
    assert_eq!(overlay.whole_cleared(), cleared == [(b"".as_slice(), None)]);

    let entries: Vec<_> = overlay.iter().collect();
    assert_eq!(entries.len(), overlay.len());
    let expected = model.keys.iter().filter(|(_, (said, cleared))| match said {
        Said::Value(_) | Said::Patches(_) => true,
        Said::Absent => !cleared,
        Said::Nothing => false,
    });
    assert_eq!(
        entries.iter().map(|(key, _)| *key).collect::<Vec<_>>(),
        expected.map(|(key, _)| &**key).collect::<Vec<_>>(),
    );
    assert_eq!(overlay.iter().rev().collect::<Vec<_>>(), entries.iter().copied().rev().collect::<Vec<_>>());
    assert_eq!(overlay.is_empty(), entries.is_empty() && cleared.is_empty());

    // One step from every key, both ways; and so the walks from end to end.
    for key in model.keys.keys() {
        let first = entries.partition_point(|(entry, _)| *entry < &**key);
        let after = entries.partition_point(|(entry, _)| *entry <= &**key);
        assert_eq!(overlay.at_or_after(key, true), entries.get(first).copied());
        assert_eq!(overlay.at_or_after(key, false), entries.get(after).copied());
        assert_eq!(overlay.at_or_before(Some(key), true), after.checked_sub(1).map(|i| entries[i]));
        assert_eq!(overlay.at_or_before(Some(key), false), first.checked_sub(1).map(|i| entries[i]));
        assert_eq!(overlay.iter_from(key).next(), entries.get(first).copied());
    }
    assert_eq!(overlay.at_or_before(None, true), entries.last().copied());
    assert_eq!(overlay.iter_from(b"b").count(), entries.iter().filter(|(key, _)| *key >= &b"b"[..]).count());
}

/// All keys of up to three bytes over three letters, one of them zero, with and without a long common front.
fn universe() -> impl Iterator<Item = Vec<u8>> {
    let letters = [0, b'a', b'b'];
    let one = letters.map(|a| vec![a]);
    let two = letters.into_iter().flat_map(move |a| letters.map(|b| vec![a, b]));
    let three = letters
        .into_iter()
        .flat_map(move |a| letters.into_iter().flat_map(move |b| letters.map(|c| vec![a, b, c])));
    let short: Vec<_> = [vec![]].into_iter().chain(one).chain(two).chain(three).collect();
    let long = short.clone().into_iter().map(|key| [b"aabbaabbaabb", &*key].concat());
    short.clone().into_iter().chain(long).collect::<Vec<_>>().into_iter()
}

fn key() -> impl Strategy<Value = Vec<u8>> {
    prop::sample::select(universe().collect::<Vec<_>>())
}

/// Encoded ops, mostly one.
fn some_ops() -> impl Strategy<Value = Vec<u8>> {
    let len = prop_oneof![4 => 0..40usize, 2 => 240..270usize, 1 => 270..2000usize];
    let value = (any::<u8>(), len.clone()).prop_map(|(byte, len)| vec![byte; len]);
    let patch = (0..300u64, vec((0..30u64, vec(1..9u8, 1..30)), 0..4)).prop_map(|(new_len, ranges)| {
        let mut bytes = Vec::new();
        ops::put_varint(&mut bytes, new_len);
        for (gap, range) in ranges {
            let mut longer = bytes.clone();
            ops::put_varint(&mut longer, gap);
            ops::put_varint(&mut longer, range.len() as u64);
            longer.extend(range);
            if Patch::parse(&longer).is_ok() {
                bytes = longer;
            }
        }
        bytes
    });
    let made = |make: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = Vec::new();
        make(&mut bytes);
        bytes
    };
    prop_oneof![
        8 => (key(), value).prop_map(move |(key, value)| made(&|to| ops::put(to, &key, &value))),
        3 => key().prop_map(move |key| made(&|to| ops::delete(to, &key))),
        2 => (key(), prop::option::of(key()))
            .prop_map(move |(start, end)| made(&|to| ops::delete_range(to, &start, end.as_deref()))),
        4 => (key(), patch.clone()).prop_map(move |(key, patch)| {
            made(&|to| ops::patch(to, &key, Patch::parse(&patch).expect("valid")))
        }),
        1 => (key(), vec(patch, 14..20)).prop_map(move |(key, patches)| {
            made(&|to| {
                patches.iter().for_each(|patch| ops::patch(to, &key, Patch::parse(patch).expect("valid")));
            })
        }),
    ]
}

/// Encoded cuts, to nothing and to other versions.
fn cuts() -> impl Strategy<Value = Vec<u8>> {
    (key(), prop::option::of(key()), any::<bool>()).prop_map(|(start, end, own)| {
        let base = if own { CutBase::Own { seq: 1 } } else { CutBase::Nothing };
        let mut bytes = Vec::new();
        ops::put_cut_op(&mut bytes, &Cut { start, end, base });
        bytes
    })
}

proptest! {
    #[test]
    fn an_overlay_is_what_its_model_is_after_any_ops(
        all in vec(prop_oneof![12 => some_ops(), 1 => cuts()], 0..80),
        room in 0usize..40_000,
    ) {
        let mut overlay = Overlay::with_room(room);
        let mut model = Model::new(universe());
        for bytes in &all {
            overlay.apply(bytes).expect("valid");
            model.apply(bytes);
            prop_assert_eq!(overlay.len(), overlay.iter().count());
        }
        check(&overlay, &model);
        overlay.reset();
        prop_assert!(overlay.is_empty());
        // What was reset is as good as new.
        let mut model = Model::new(universe());
        for bytes in &all {
            overlay.apply(bytes).expect("valid");
            model.apply(bytes);
        }
        check(&overlay, &model);
    }

    #[test]
    fn absorbing_write_sets_is_applying_their_ops(sets in vec(vec(some_ops(), 0..20), 0..6)) {
        let mut overlay = Overlay::default();
        let mut model = Model::new(universe());
        for set in &sets {
            let mut write_set = Overlay::default();
            for bytes in set {
                write_set.apply(bytes).expect("valid");
                model.apply(bytes);
            }
            overlay.absorb(&write_set);
        }
        check(&overlay, &model);
    }

    #[test]
    fn damaged_ops_are_an_error_and_never_a_panic(bytes in vec(0..6u8, 0..60)) {
        let mut overlay = Overlay::default();
        let _ = overlay.apply(&bytes);
        prop_assert_eq!(overlay.len(), overlay.iter().count());
    }
}

/// A small generator, so that the long test is the same each time.
fn random(state: &mut u64) -> u64 {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    *state >> 33
}

#[test]
fn an_overlay_of_many_chunks_is_what_its_model_is() {
    const KEYS: u64 = 3000;
    let name =
        |i: u64| format!("\x10some/front/{:04}/{}", i, ["", "x", "long tail"][i as usize % 3]).into_bytes();
    let mut overlay = Overlay::default();
    let mut model = Model::new((0..KEYS).map(name));
    let mut state = 7;
    for round in 0..12_000 {
        let mut bytes = Vec::new();
        let key = name(random(&mut state) % KEYS);
        match random(&mut state) % 400 {
            0 => {
                let end = name(random(&mut state) % KEYS);
                // Mostly short, so that many keys stay.
                let end = if random(&mut state).is_multiple_of(8) { end } else { [&*key, b"~"].concat() };
                ops::delete_range(&mut bytes, &key, Some(&end));
            }
            1..60 => ops::delete(&mut bytes, &key),
            60..90 => {
                let patch =
                    ops::diff_patch(&[0; 64], &[[1; 8], [0; 8]].concat().repeat(4)).map_or(vec![0], |p| p);
                ops::patch(&mut bytes, &key, Patch::parse(&patch).expect("valid"));
            }
            _ => {
                let len = random(&mut state) % 320;
                ops::put(&mut bytes, &key, &vec![round as u8; len as usize]);
            }
        }
        overlay.apply(&bytes).expect("valid");
        model.apply(&bytes);
        if round % 3000 == 2999 {
            assert!(overlay.chunks().is_some(), "the test is about many chunks");
            check(&overlay, &model);
        }
    }
    let (entries, memory) = (overlay.len(), overlay.memory_bytes());
    overlay.delete_range(b"", Some(b"\x10some/front/0500"));
    check_books(&overlay);
    assert!(overlay.len() < entries && overlay.memory_bytes() < memory);
    overlay.clear_all();
    assert_eq!((overlay.len(), overlay.memory_bytes()), (0, size_of::<Overlay>()));
}

/// The running total of memory is what a new count gives.
fn check_books(overlay: &Overlay) {
    let Some(chunks) = overlay.chunks() else { return };
    assert_eq!((chunks.len(), chunks.memory_bytes()), chunks.count_again());
}

#[test]
fn the_books_of_many_chunks_stay_right() {
    let mut overlay = Overlay::default();
    let mut state = 3;
    for round in 0..20_000u64 {
        let key = (random(&mut state) % 5000).to_be_bytes();
        match random(&mut state) % 8 {
            0 => overlay.delete(&key),
            1 => overlay.put(&key, &[1; 700]),
            2 if round % 97 == 0 => overlay.delete_range(&key, Some(&[&key[..], &[9; 4]].concat())),
            3 => overlay.patch(&key, &Patch::parse(&[40, 1, 2, 3, 4]).expect("valid")),
            _ => overlay.put(&key, &vec![2; (random(&mut state) % 200) as usize]),
        }
    }
    assert!(overlay.len() > 1000);
    check_books(&overlay);
}

#[test]
fn an_empty_overlay_has_allocated_nothing_and_one_key_takes_little() {
    let mut overlay = Overlay::default();
    assert_eq!(overlay.memory_bytes(), size_of::<Overlay>());
    overlay.clear_all();
    assert_eq!(overlay.memory_bytes(), size_of::<Overlay>());
    overlay.put(b"\x10some-key-01", &[7; 100]);
    assert!(overlay.memory_bytes() <= 250, "{} bytes", overlay.memory_bytes());
}

#[test]
fn a_value_of_the_same_length_is_written_in_place() {
    let mut overlay = Overlay::default();
    for len in [100, 1000] {
        overlay.put(b"key", &vec![1; len]);
        let Found::Value(value) = overlay.get(b"key") else { panic!("a value") };
        let (at, memory) = (value.as_ptr(), overlay.memory_bytes());
        overlay.put(b"key", &vec![2; len]);
        let Found::Value(value) = overlay.get(b"key") else { panic!("a value") };
        assert_eq!((value.as_ptr(), overlay.memory_bytes()), (at, memory));
        assert_eq!(value.to_value(), vec![2; len]);
    }
}

#[test]
fn a_reader_keeps_a_long_value_that_is_overwritten_or_patched() {
    let mut overlay = Overlay::default();
    overlay.put(b"key", &[1; 1000]);
    let Found::Value(value) = overlay.get(b"key") else { panic!("a value") };
    let kept = value.to_value();
    assert_eq!(kept.as_ptr(), value.as_ptr(), "shared, not copied");
    let mut patch = Vec::new();
    ops::put_varint(&mut patch, 1000);
    patch.extend([0, 1, 9]);
    overlay.patch(b"key", &Patch::parse(&patch).expect("valid"));
    overlay.put(b"key", &[2; 1000]);
    assert_eq!(kept, [1; 1000]);
}

#[test]
fn values_that_change_their_length_leave_no_garbage_behind() {
    let mut overlay = Overlay::default();
    for round in 0..10_000usize {
        overlay.put(&(round as u64 % 16).to_be_bytes(), &vec![1; round * 37 % 250]);
    }
    assert!(overlay.memory_bytes() < 2 * 16 * 250 + 1500, "{} bytes", overlay.memory_bytes());
    for key in 0..16u64 {
        overlay.put(&key.to_be_bytes(), b"1");
    }
    assert!(overlay.memory_bytes() < 1500, "{} bytes", overlay.memory_bytes());
}

#[test]
fn pending_patches_of_one_key_do_not_pile_up() {
    let mut overlay = Overlay::default();
    for round in 0..1000u64 {
        let mut patch = Vec::new();
        ops::put_varint(&mut patch, 4096);
        ops::put_varint(&mut patch, round % 40 * 100);
        patch.extend([2, 1, round as u8]);
        overlay.patch(b"page", &Patch::parse(&patch).expect("valid"));
    }
    let Found::Patch(patches) = overlay.get(b"page") else { panic!("nothing is below yet") };
    assert!(patches.iter().count() <= 16);
    assert_eq!(patches.apply(&[5; 4096])[3900..3904], [1, 999u64 as u8, 5, 5]);
}

#[test]
fn a_cut_to_another_version_uncovers_its_range_and_is_handed_back() {
    let mut overlay = Overlay::default();
    overlay.clear_all();
    overlay.put(b"b1", b"old");
    overlay.put(b"d", b"kept");
    let cut = Cut { start: b"b".into(), end: Some(b"c".into()), base: CutBase::Own { seq: 4 } };
    let mut bytes = Vec::new();
    ops::put_cut_op(&mut bytes, &cut);
    ops::put(&mut bytes, b"b2", b"new");
    assert_eq!(overlay.apply(&bytes).expect("valid"), [cut]);
    assert_eq!(overlay.get(b"b1"), Found::Below);
    assert!(matches!(overlay.get(b"b2"), Found::Value(_)));
    assert!(matches!(overlay.get(b"d"), Found::Value(_)));
    assert_eq!(overlay.get(b"a"), Found::Deleted);
    let expected: [Interval<'_>; 2] = [(b"", Some(b"b")), (b"c", None)];
    assert_eq!(overlay.cleared().collect::<Vec<_>>(), expected);
}

#[test]
fn keys_that_come_in_order_fill_their_chunks() {
    let mut overlay = Overlay::default();
    for key in 0..10_000u64 {
        overlay.put(&key.to_be_bytes(), b"12345678");
    }
    // 36 bytes of slot, key and value, and little more.
    assert!(overlay.memory_bytes() < 10_000 * 45, "{} bytes", overlay.memory_bytes());
}
