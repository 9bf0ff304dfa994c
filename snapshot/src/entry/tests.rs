use super::*;
use lineal_wal::{NamespaceId, ObjectId};
use proptest::prelude::*;

pub(crate) fn object() -> impl Strategy<Value = ObjectKey> {
    // Few different bytes, so that prefixes collide.
    (0u32..3, proptest::array::uniform16(prop_oneof![Just(0u8), Just(1), Just(0xff)]))
        .prop_map(|(namespace, id)| ObjectKey { namespace: NamespaceId(namespace), id: ObjectId(id) })
}

fn kind() -> impl Strategy<Value = Kind> {
    prop_oneof![Just(Kind::Head), Just(Kind::Run), Just(Kind::Delta), Just(Kind::Leaf)]
}

fn sub_key() -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(prop_oneof![Just(0u8), Just(1), Just(0xff), any::<u8>()], 0..6)
}

fn key() -> impl Strategy<Value = EntryKey> {
    (object(), kind(), sub_key(), prop_oneof![0u64..4, any::<u64>()])
        .prop_map(|(object, kind, sub_key, seq)| EntryKey { object, kind, sub_key, seq: Seq(seq) })
}

proptest! {
    #[test]
    fn a_key_reads_back(key in key()) {
        prop_assert_eq!(EntryKey::decode(&key.encode()).unwrap(), key);
    }

    #[test]
    fn the_order_of_encoded_keys_is_the_order_of_keys(a in key(), b in key()) {
        prop_assert_eq!(a.encode().cmp(&b.encode()), a.cmp(&b));
    }

    #[test]
    fn prefixes_hold_exactly_what_belongs_to_them(a in key(), b in key()) {
        let b_bytes = b.encode();
        let same_object = b.object == a.object;
        prop_assert_eq!(b_bytes.starts_with(&object_prefix(&a.object)), same_object);
        let same_kind = same_object && b.kind == a.kind;
        prop_assert_eq!(b_bytes.starts_with(&kind_prefix(&a.object, a.kind)), same_kind);
        let same_piece = same_kind && b.sub_key == a.sub_key;
        prop_assert_eq!(b_bytes.starts_with(&sub_key_prefix(&a.object, a.kind, &a.sub_key)), same_piece);
    }

    #[test]
    fn the_end_of_a_prefix_is_above_it_and_below_the_rest(prefix: Vec<u8>, other: Vec<u8>) {
        if let Some(end) = prefix_end(&prefix) {
            prop_assert_eq!(other >= prefix && other < end, other.starts_with(&prefix));
        } else {
            prop_assert!(prefix.iter().all(|&b| b == 0xff));
        }
    }

    #[test]
    fn arbitrary_bytes_are_refused_or_canonical(bytes: Vec<u8>) {
        if let Ok(key) = EntryKey::decode(&bytes) {
            prop_assert_eq!(key.encode(), bytes.clone());
        }
        let _ = EntryValue::decode(&bytes);
    }

    #[test]
    fn a_value_reads_back(
        pack: u64, block_offset: u64, block_bytes: u32, part_offset: u32, part_bytes: u32,
        followers in proptest::option::of((1u16.., any::<u64>())), end_fence: Option<Vec<u8>>,
    ) {
        let (follow_count, first) = followers.unwrap_or((0, 0));
        let value = EntryValue::Place(Place {
            pack: PackNumber(pack), block_offset, block_bytes, part_offset, part_bytes,
            follow_count, follow_first_seq: Seq(first), end_fence,
        });
        prop_assert_eq!(EntryValue::decode(&value.encode()).unwrap(), value);
    }
}

#[test]
fn an_end_is_one_byte() {
    assert_eq!(EntryValue::End.encode().len(), 1);
    assert_eq!(EntryValue::decode(&EntryValue::End.encode()).unwrap(), EntryValue::End);
}

#[test]
fn the_value_of_a_head_with_a_run_is_at_most_twenty_bytes() {
    let value = EntryValue::Place(Place {
        pack: PackNumber(1_000_000),
        block_offset: 30 << 30,
        block_bytes: 16_383,
        part_offset: 16_000,
        part_bytes: 220,
        follow_count: 1,
        follow_first_seq: Seq(1_000_000),
        end_fence: None,
    });
    assert!(value.encode().len() <= 20, "{}", value.encode().len());
}

#[test]
fn a_pack_has_one_name() {
    let number = PackNumber(0x2a);
    assert_eq!(number.path(), "packs/000000000000002a.pack");
    assert_eq!(PackNumber::from_file_name("000000000000002a.pack"), Some(number));
    for odd in ["2a.pack", "000000000000002A.pack", "000000000000002a", "+00000000000002a.pack", ""] {
        assert_eq!(PackNumber::from_file_name(odd), None, "{odd}");
    }
}
