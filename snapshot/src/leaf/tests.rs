use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;

fn key() -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(prop_oneof![Just(0u8), Just(b'a'), Just(0xff)], 1..8)
}

fn whole(entries: &BTreeMap<Vec<u8>, Vec<u8>>) -> Vec<u8> {
    let mut builder = LeafBuilder::new(LeafKind::Whole, b"", None);
    for (key, value) in entries {
        builder.push(key, LeafValue::Put(value));
    }
    builder.finish()
}

fn delta() -> Vec<u8> {
    let mut builder = LeafBuilder::new(LeafKind::Delta, b"a", Some(b"n"));
    builder.push(b"apple", LeafValue::Put(b"red"));
    builder.push(b"apricot", LeafValue::Delete);
    builder.push(b"melon", LeafValue::Patch(b"1:x"));
    builder.finish()
}

fn decode(bytes: Vec<u8>) -> Result<Leaf, DecodeError> {
    Leaf::decode(Arc::from(bytes))
}

proptest! {
    #[test]
    fn a_leaf_answers_as_its_entries_do(
        entries in proptest::collection::btree_map(key(), any::<Vec<u8>>(), 0..40), probe in key(),
    ) {
        let leaf = decode(whole(&entries)).unwrap();
        prop_assert_eq!(leaf.len(), entries.len());
        prop_assert_eq!(leaf.get(&probe), entries.get(&probe).map(|v| LeafValue::Put(v)));
        let below = entries.range::<[u8], _>((std::ops::Bound::Unbounded, std::ops::Bound::Excluded(&probe[..])));
        prop_assert_eq!(leaf.lower_bound(&probe), below.count());
        let forward: Vec<_> = entries.iter().map(|(k, v)| (&k[..], LeafValue::Put(v))).collect();
        prop_assert_eq!(leaf.iter().collect::<Vec<_>>(), forward.clone());
        prop_assert!(leaf.iter().rev().eq(forward.into_iter().rev()));
    }

    #[test]
    fn arbitrary_bytes_never_panic(mut bytes: Vec<u8>, header in proptest::bool::ANY) {
        if header && bytes.len() > 2 {
            bytes[0] = LEAF_VERSION;
            bytes[1] &= 3;
        }
        let _ = decode(bytes);
    }
}

#[test]
fn a_leaf_keeps_its_kind_and_range() {
    let leaf = decode(delta()).unwrap();
    assert_eq!(leaf.kind(), LeafKind::Delta);
    assert_eq!((leaf.first_fence(), leaf.end_fence()), (&b"a"[..], Some(&b"n"[..])));
    assert!(leaf.covers(b"a") && leaf.covers(b"mzz") && !leaf.covers(b"n") && !leaf.covers(b"A"));
    assert_eq!(leaf.get(b"apple"), Some(LeafValue::Put(b"red")));
    assert_eq!(leaf.get(b"apricot"), Some(LeafValue::Delete));
    assert_eq!(leaf.get(b"melon"), Some(LeafValue::Patch(b"1:x")));
    assert_eq!(leaf.get(b"b"), None);
    assert_eq!(&leaf.bytes()[leaf.value_range(0)], b"red");
}

#[test]
fn a_leaf_that_is_cut_or_flipped_anywhere_never_panics() {
    let bytes = delta();
    for length in 0..bytes.len() {
        assert!(decode(bytes[..length].to_vec()).is_err(), "{length}");
    }
    for bit in 0..bytes.len() * 8 {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        if let Ok(leaf) = decode(flipped) {
            for index in 0..leaf.len() {
                let _ = leaf.entry(index);
            }
        }
    }
}

#[test]
fn a_newer_leaf_is_refused_by_version() {
    let mut bytes = delta();
    bytes[0] = LEAF_VERSION + 1;
    assert!(matches!(decode(bytes), Err(DecodeError::NewerVersion { found: 2, known: 1, .. })));
}

#[test]
fn declared_counts_beyond_the_bytes_are_refused() {
    for declared in [u64::from(u32::MAX), u64::MAX] {
        let mut many_entries = vec![LEAF_VERSION, 0];
        put_varint(&mut many_entries, declared);
        many_entries.extend_from_slice(&[0, 0]);
        assert!(matches!(decode(many_entries), Err(DecodeError::Malformed { .. })));
        let mut many_keys = vec![LEAF_VERSION, 0, 0];
        put_varint(&mut many_keys, declared);
        many_keys.push(0);
        assert!(matches!(decode(many_keys), Err(DecodeError::TooLarge { .. })));
    }
}

#[test]
fn keys_that_share_without_bound_are_refused() {
    // Each entry shares 60 KiB and adds one byte: the keys spelled out would take gigabytes.
    let long = vec![1; 60 << 10];
    let mut bytes = vec![LEAF_VERSION, 0];
    put_varint(&mut bytes, 100_000);
    put_varint(&mut bytes, LEAF_KEYS_BYTES_MAX as u64);
    bytes.push(0);
    bytes.extend_from_slice(&[0]);
    put_varint(&mut bytes, long.len() as u64);
    bytes.push(0);
    bytes.extend_from_slice(&long);
    for index in 1..100_000u32 {
        put_varint(&mut bytes, long.len() as u64);
        put_varint(&mut bytes, 4);
        bytes.push(0);
        bytes.extend_from_slice(&index.to_be_bytes());
    }
    assert!(matches!(
        decode(bytes),
        Err(DecodeError::Malformed { reason: "more key bytes than declared", .. })
    ));
}

#[test]
#[should_panic(expected = "keys of a leaf ascend")]
fn equal_keys_are_a_bug() {
    let mut builder = LeafBuilder::new(LeafKind::Whole, b"", None);
    builder.push(b"a", LeafValue::Put(b""));
    builder.push(b"a", LeafValue::Put(b""));
}

#[test]
#[should_panic(expected = "a whole leaf holds values only")]
fn a_tombstone_in_a_whole_leaf_is_a_bug() {
    LeafBuilder::new(LeafKind::Whole, b"", None).push(b"a", LeafValue::Delete);
}

#[test]
#[should_panic(expected = "a key lies inside its leaf's range")]
fn a_key_outside_the_range_is_a_bug() {
    LeafBuilder::new(LeafKind::Whole, b"b", Some(b"c")).push(b"c", LeafValue::Put(b""));
}

#[test]
fn the_weight_counts_keys_that_prefixes_hide() {
    let mut builder = LeafBuilder::new(LeafKind::Whole, b"", None);
    let mut key = vec![7; 4000];
    for index in 0..100u32 {
        key.truncate(4000);
        key.extend_from_slice(&index.to_be_bytes());
        builder.push(&key, LeafValue::Put(b""));
    }
    assert!(builder.size() >= 100 * 1000);
}
