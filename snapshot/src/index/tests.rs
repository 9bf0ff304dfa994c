use super::*;
use crate::entry::{EntryKey, Kind, encode_stem};
use crate::testing::object;
use proptest::prelude::*;

fn key() -> impl Strategy<Value = EntryKey> {
    let sub_key = proptest::collection::vec(prop_oneof![Just(0u8), Just(0xff), any::<u8>()], 0..5);
    (0u64..4, sub_key, 0u64..5).prop_map(|(number, sub_key, seq)| EntryKey {
        object: object(number),
        kind: Kind::Leaf,
        sub_key,
        seq: Seq(seq),
    })
}

fn stem(key: &EntryKey) -> Vec<u8> {
    let mut stem = Vec::new();
    encode_stem(&mut stem, &key.object, key.kind, &key.sub_key);
    stem
}

proptest! {
    #[test]
    fn stem_and_seq_compare_as_the_key_does(a in key(), b in key(), other: Vec<u8>) {
        for target in [b.encode(), other, a.encode()[..a.encode().len() - 3].to_vec()] {
            prop_assert_eq!(compare_key(&stem(&a), a.seq.0, &target), a.encode().cmp(&target));
        }
    }

    #[test]
    fn arbitrary_pages_never_panic(mut page: Vec<u8>, restarts in 0u8..4, target: Vec<u8>) {
        if page.len() > 8 {
            page[4..8].copy_from_slice(&u32::from(restarts).to_le_bytes());
            let end = page.len();
            if restarts > 0 && end > 12 {
                page[end - 4..].copy_from_slice(&8u32.to_le_bytes());
            }
        }
        let _ = PageCursor::seek(&page, &target);
        let _ = PageCursor::seek_back(&page, &target);
        if let Some(mut cursor) = PageCursor::first(&page) {
            while cursor.step(&page) == Some(true) {
                let _ = (cursor.key(), cursor.value(&page, PackNumber(1)));
            }
        }
    }

    #[test]
    fn flipped_pages_with_a_right_checksum_never_panic(bit in 0usize..20_000, number in 0u64..100) {
        let mut writer = IndexWriter::default();
        for number in 0..100u64 {
            let value = NewValue::Part {
                block_offset: 64 + number / 10 * 1000, block_bytes: 1000, part_bytes: 100,
                follow_count: (number % 3) as u16, follow_first_seq: Seq(number), end_fence: Some(b"fence"),
            };
            let mut stem = number.to_be_bytes().to_vec();
            stem.push(1);
            writer.push(&stem, Seq(number), value);
        }
        writer.close();
        let mut page = Vec::new();
        writer.write_extent(0, 64, &mut page);
        let bit = bit % (page.len() * 8);
        page[bit / 8] ^= 1 << (bit % 8);
        let target = number.to_be_bytes();
        let _ = PageCursor::seek(&page, &target);
        if let Some(Some(cursor)) = PageCursor::seek_back(&page, &target) {
            let _ = (cursor.key(), cursor.value(&page, PackNumber(1)));
        }
    }

    #[test]
    fn arbitrary_tops_never_panic(bytes: Vec<u8>, pages: u64, end: u64) {
        let _ = Top::decode(&bytes, pages, end);
        if let Some(top) = Top::decode(&bytes, pages % 10, end) {
            let _ = top.page_of(b"x");
        }
    }
}
