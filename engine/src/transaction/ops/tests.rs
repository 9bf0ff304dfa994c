use proptest::{collection::vec, prelude::*};

use super::*;

fn encode(op: &Op<'_>, to: &mut Vec<u8>) {
    match op {
        Op::Put { key, value } => put(to, key, value),
        Op::Delete { key } => delete(to, key),
        Op::DeleteRange { start, end } => delete_range(to, start, *end),
        Op::Patch { key, patch: change } => patch(to, key, *change),
        Op::Cut(cut) => put_cut_op(to, cut),
    }
}

fn all_kinds() -> Vec<u8> {
    let mut bytes = Vec::new();
    let change = diff_patch(&[0; 300], &{
        let mut new = [0; 300];
        new[5] = 1;
        new[250] = 2;
        new
    })
    .expect("two bytes differ");
    for op in [
        Op::Put { key: b"\x10key", value: &[7; 200] },
        Op::Put { key: b"", value: b"" },
        Op::Delete { key: b"\x10gone" },
        Op::DeleteRange { start: b"a", end: Some(b"b") },
        Op::DeleteRange { start: b"", end: None },
        Op::Patch { key: b"\x20page", patch: Patch::parse(&change).expect("diff_patch makes valid patches") },
        Op::Cut(Cut { start: b"a".into(), end: None, base: CutBase::Nothing }),
        Op::Cut(Cut { start: b"a".into(), end: Some(b"c".into()), base: CutBase::Own { seq: 1 << 40 } }),
        Op::Cut(Cut {
            start: vec![],
            end: None,
            base: CutBase::Other { object: [1; 20], seq: 9, hash: [2; 32] },
        }),
    ] {
        encode(&op, &mut bytes);
    }
    bytes
}

#[test]
fn the_layout_on_disk_is_what_the_page_says() {
    let mut bytes = Vec::new();
    put(&mut bytes, b"k", b"vw");
    delete(&mut bytes, b"k");
    delete_range(&mut bytes, b"a", Some(b"b"));
    delete_range(&mut bytes, b"", None);
    patch(&mut bytes, b"k", Patch::parse(&[4, 1, 2, 8, 9]).expect("valid"));
    put_cut_op(&mut bytes, &Cut { start: b"a".into(), end: None, base: CutBase::Own { seq: 300 } });
    let expected = [
        &[1, 1, b'k', 2, b'v', b'w'][..],
        &[2, 1, b'k'],
        &[3, 1, b'a', 1, 1, b'b'],
        &[3, 0, 0],
        &[4, 1, b'k', 5, 4, 1, 2, 8, 9],
        &[5, 1, b'a', 0, 1, 0xac, 0x02],
    ]
    .concat();
    assert_eq!(bytes, expected);
    let mut other = Vec::new();
    put_cut_op(
        &mut other,
        &Cut { start: vec![], end: None, base: CutBase::Other { object: [3; 20], seq: 1, hash: [4; 32] } },
    );
    assert_eq!(other, [&[5, 0, 0, 2][..], &[3; 20], &[1], &[4; 32]].concat());
}

#[test]
fn a_cut_kept_elsewhere_comes_back_and_leaves_what_follows() {
    let cut = Cut { start: b"a".into(), end: Some(b"c".into()), base: CutBase::Own { seq: 7 } };
    let mut bytes = Vec::new();
    put_cut(&mut bytes, &cut);
    for short in 0..bytes.len() {
        assert_eq!(read_cut(&mut &bytes[..short]), None);
    }
    bytes.push(0xee);
    let mut rest = bytes.as_slice();
    assert_eq!(read_cut(&mut rest), Some(cut));
    assert_eq!(rest, [0xee]);
}

#[test]
fn every_kind_of_op_comes_back_as_it_was_written() {
    let bytes = all_kinds();
    let ops: Vec<_> = Ops::new(&bytes).map(|op| op.expect("written by the builder")).collect();
    assert_eq!(ops.len(), 9);
    let mut again = Vec::new();
    ops.iter().for_each(|op| encode(op, &mut again));
    assert_eq!(again, bytes);
}

#[test]
fn a_body_cut_off_within_an_op_is_an_error_and_ends_the_iteration() {
    let bytes = all_kinds();
    let mut starts = vec![];
    let mut ops = Ops::new(&bytes);
    loop {
        starts.push(bytes.len() - ops.rest.len());
        if ops.next().is_none() {
            break;
        }
    }
    for cut_at in 0..bytes.len() {
        let mut ops = Ops::new(&bytes[..cut_at]);
        let failed = ops.by_ref().any(|op| op.is_err());
        assert_eq!(failed, !starts.contains(&cut_at), "cut at byte {cut_at}");
        assert_eq!(ops.next(), None);
    }
}

#[test]
fn declared_lengths_over_the_limits_are_refused_before_anything_is_allocated() {
    let mut key = vec![2];
    put_varint(&mut key, KEY_BYTES_MAX as u64 + 1);
    let found = Ops::new(&key).next().expect("one op");
    assert!(matches!(found, Err(OpsError::TooLong { what: "key", .. })), "{found:?}");

    let mut grown = vec![];
    put_varint(&mut grown, VALUE_BYTES_MAX as u64 + 1);
    assert!(matches!(Patch::parse(&grown), Err(OpsError::TooLong { what: "patched value", .. })));

    let mut huge = vec![1, 1, b'k'];
    put_varint(&mut huge, u64::MAX);
    assert!(matches!(Ops::new(&huge).next(), Some(Err(OpsError::TooLong { what: "value", .. }))));
}

#[test]
fn unknown_tags_ends_and_bases_are_named() {
    for (bytes, what) in [(&[0][..], "tag"), (&[6], "tag"), (&[3, 0, 2], "end"), (&[5, 0, 0, 3], "base")] {
        let found = Ops::new(bytes).next().expect("one op");
        assert!(matches!(found, Err(OpsError::Unknown { what: w, .. }) if w == what), "{found:?}");
    }
}

#[test]
fn a_patch_with_an_empty_range_or_one_past_the_end_is_refused() {
    assert!(Patch::parse(&[4, 0, 4, 1, 2, 3, 4]).is_ok());
    assert!(matches!(Patch::parse(&[4, 0, 0]), Err(OpsError::PatchRange { .. })));
    assert!(matches!(Patch::parse(&[4, 1, 4, 1, 2, 3, 4]), Err(OpsError::PatchRange { .. })));
    let mut far = vec![4];
    put_varint(&mut far, u64::MAX);
    put_varint(&mut far, u64::MAX);
    assert!(matches!(Patch::parse(&far), Err(OpsError::PatchRange { .. })));
}

#[test]
fn a_patch_cuts_off_or_adds_zeros_before_it_writes() {
    let grow = Patch::parse(&[6, 4, 1, 9]).expect("valid");
    assert_eq!(apply_patch(b"abcd", &grow), b"abcd\x09\x00");
    assert_eq!(apply_patch(b"", &grow), b"\0\0\0\0\x09\0");
    let shrink = Patch::parse(&[2]).expect("valid");
    assert_eq!(apply_patch(b"abcd", &shrink), b"ab");
}

#[test]
fn diff_makes_a_patch_only_where_it_is_clearly_smaller() {
    let old = vec![1; 4096];
    assert_eq!(diff_patch(&old, &old).expect("equal").len(), 2);
    let mut new = old.clone();
    new[100] = 2;
    new[115] = 2; // near: one range
    new[1000] = 2; // far: its own range
    let patch = diff_patch(&old, &new).expect("three bytes");
    let patch = Patch::parse(&patch).expect("valid");
    assert_eq!(patch.ranges().map(|(at, b)| (at, b.len())).collect::<Vec<_>>(), [(100, 16), (1000, 1)]);
    assert_eq!(diff_patch(&old, &vec![3; 4096]), None);
    assert_eq!(diff_patch(&old, b""), None);
    assert_eq!(diff_patch(b"", b"ab"), None);
}

#[test]
fn zeros_that_a_merged_list_reveals_again_are_written_out() {
    let mut list = Vec::new();
    push_patch(&mut list, &Patch::parse(&[2]).expect("cuts to two bytes"));
    push_patch(&mut list, &Patch::parse(&[4]).expect("grows to four"));
    let list = Patches::parse(&list).expect("valid");
    assert_eq!(list.apply(b"abcdef"), b"ab\0\0");
    let Some(Merged::Patch(merged)) = merge_patches(&list) else { panic!("joins") };
    assert_eq!(apply_patch(b"abcdef", &Patch::parse(&merged).expect("valid")), b"ab\0\0");
}

/// A value and a changed one: some runs are overwritten, and the length may change.
fn change() -> impl Strategy<Value = (Vec<u8>, Vec<u8>)> {
    (vec(0..3u8, 0..300), vec((any::<prop::sample::Index>(), vec(0..3u8, 1..20)), 0..4), 0..320usize)
        .prop_map(|(old, writes, len)| {
            let mut new = old.clone();
            for (at, bytes) in writes {
                let at = at.index(new.len() + 1);
                let end = (at + bytes.len()).max(new.len());
                new.resize(end, 0);
                new[at..at + bytes.len()].copy_from_slice(&bytes);
            }
            if len < 300 {
                new.resize(len, 0);
            }
            (old, new)
        })
}

proptest! {
    #[test]
    fn any_bytes_give_ops_or_an_error_and_never_a_panic(bytes in vec(0..8u8, 0..40)) {
        let mut taken = Vec::new();
        for op in Ops::new(&bytes) {
            match op {
                Ok(op) => encode(&op, &mut taken),
                Err(_) => break,
            }
        }
        prop_assert!(taken.len() <= bytes.len());
    }

    #[test]
    fn a_flipped_byte_never_makes_the_reader_panic(at in any::<prop::sample::Index>(), byte: u8) {
        let mut bytes = all_kinds();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        for op in Ops::new(&bytes) {
            if let Ok(Op::Patch { patch, .. }) = op {
                apply_patch(b"some old value", &patch);
            }
        }
    }

    #[test]
    fn the_diff_of_two_values_applied_to_the_old_one_is_the_new_one((old, new) in change()) {
        if let Some(patch) = diff_patch(&old, &new) {
            prop_assert!(patch.len() * 2 <= new.len());
            prop_assert_eq!(apply_patch(&old, &Patch::parse(&patch).expect("valid")), new);
        }
    }

    #[test]
    fn a_merged_list_does_to_any_value_what_the_list_does(
        patches in vec((0..40u8, vec((0..20u8, vec(1..4u8, 1..5)), 0..3)), 1..6),
        below in vec(5..9u8, 0..50),
    ) {
        let mut list = Vec::new();
        for (new_len, ranges) in &patches {
            let mut bytes = vec![*new_len];
            for (gap, range) in ranges {
                let mut longer = bytes.clone();
                longer.extend([*gap, range.len() as u8]);
                longer.extend(range);
                if Patch::parse(&longer).is_ok() {
                    bytes = longer;
                }
            }
            push_patch(&mut list, &Patch::parse(&bytes).expect("valid"));
        }
        let list = Patches::parse(&list).expect("made of valid ones");
        let expected = list.iter().fold(below.clone(), |value, patch| apply_patch(&value, &patch));
        prop_assert_eq!(&list.apply(&below), &expected);
        match merge_patches(&list).expect("short values are joined") {
            Merged::Value(value) => prop_assert_eq!(value, expected),
            Merged::Patch(patch) => {
                prop_assert_eq!(apply_patch(&below, &Patch::parse(&patch).expect("valid")), expected);
            }
        }
    }
}
