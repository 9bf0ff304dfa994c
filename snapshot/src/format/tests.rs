use super::*;
use lineal_wal::{NamespaceId, ObjectId};
use proptest::prelude::*;

fn header() -> PackHeader {
    PackHeader {
        engine: EngineId([3; 16]),
        epoch: Epoch(4),
        number: PackNumber(5),
        kind: PackKind::Compaction,
    }
}

fn footer() -> Footer {
    Footer {
        engine: EngineId([3; 16]),
        epoch: Epoch(4),
        number: PackNumber(5),
        kind: PackKind::Compaction,
        first_lsn: Lsn(6),
        last_lsn: Lsn(7),
        line: Lsn(8),
        live: vec![LivePack { number: PackNumber(1), bytes: 2, footer_hash: [3; 32] }],
        meta: b"totals".to_vec(),
        entries: 9,
        parts: 10,
        objects: 11,
        raw_bytes: 12,
        content_hash: [13; 32],
        file_bytes: 0,
        footer_hash: [0; 32],
        footer_offset: 64 + 68 + 5,
        index_pages: 1,
        top_offset: 64 + 68,
        top_bytes: 5,
        top_crc: 14,
        filter_offset: 64,
        filter_lines: 1,
    }
}

#[test]
fn a_header_reads_back_and_any_flip_makes_it_invalid() {
    let bytes = header().encode(77);
    assert_eq!(decode_header(&bytes), HeaderFound::Valid { header: header(), footer_offset: 77 });
    for bit in 0..bytes.len() * 8 {
        let mut flipped = bytes;
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(decode_header(&flipped), HeaderFound::Invalid, "{bit}");
    }
}

#[test]
fn a_newer_header_is_known_by_its_version() {
    let mut bytes = header().encode(77);
    bytes[8] = 2;
    let crc = crc32fast::hash(&bytes[..60]);
    bytes[60..].copy_from_slice(&crc.to_le_bytes());
    assert_eq!(decode_header(&bytes), HeaderFound::Newer(2));
}

#[test]
fn a_footer_reads_back_and_any_flip_makes_it_invalid() {
    let body = footer().encode_body();
    let frame = encode_frame(&body);
    let FrameFound::Valid(found) = decode_frame(&frame) else { panic!("a good frame is valid") };
    let derived = Footer {
        file_bytes: footer().footer_offset + 2 * frame.len() as u64,
        footer_hash: *blake3::hash(&body).as_bytes(),
        ..footer()
    };
    assert_eq!(*found, derived);
    for bit in 0..frame.len() * 8 {
        let mut flipped = frame.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert!(matches!(decode_frame(&flipped), FrameFound::Invalid), "{bit}");
    }
    for length in 0..frame.len() {
        assert!(matches!(decode_frame(&frame[..length]), FrameFound::Invalid), "{length}");
    }
}

#[test]
fn a_footer_whose_parts_do_not_fit_together_is_invalid() {
    let bad: [fn(&mut Footer); 6] = [
        |f| f.filter_offset = 63,
        |f| f.top_offset += 1,
        |f| f.top_bytes = u32::MAX,
        |f| f.filter_lines = u64::MAX,
        |f| f.objects = u64::MAX,
        |f| f.live.push(f.live[0]),
    ];
    for change in bad {
        let mut footer = footer();
        change(&mut footer);
        assert!(matches!(decode_frame(&encode_frame(&footer.encode_body())), FrameFound::Invalid));
    }
}

#[test]
fn a_live_count_beyond_the_bytes_is_refused() {
    let mut body = footer().encode_body();
    let at = body.len() - (4 + 48 + 4 + 6);
    body[at..at + 4].copy_from_slice(&u32::MAX.to_le_bytes());
    assert!(matches!(decode_frame(&encode_frame(&body)), FrameFound::Invalid));
}

proptest! {
    #[test]
    fn a_part_reads_back(
        kind in 1u8..5, sub_key: Vec<u8>, seq: u64, stored: Vec<u8>, zstd: bool, key_id: u8, flags in 0u8..16,
        raw: u32, follow in proptest::option::of((any::<u64>(), any::<u64>())),
    ) {
        let object = ObjectKey { namespace: NamespaceId(1), id: ObjectId([2; 16]) };
        let kind = Kind::from_byte(kind).unwrap();
        let name = PartName { object: &object, kind, sub_key: &sub_key, seq: Seq(seq) };
        let codec = if zstd { Codec::Zstd } else { Codec::None };
        let raw_bytes = if zstd { raw } else { stored.len() as u32 };
        let form = PartForm { codec, key_id, flags, raw_bytes };
        let follow = follow.map(|(gap, span)| FollowSeqs { gap, span });
        let crc = form.crc(name, &stored);
        let mut out = Vec::new();
        put_part(&mut out, crc, form, follow, &stored);
        prop_assert!(out.len() <= stored.len() + PART_FRAME_BYTES_MAX);
        let mut wire = Wire::new(&out);
        let found = take_part(&mut wire, follow.is_some()).unwrap();
        prop_assert!(wire.is_empty());
        prop_assert_eq!((found.crc, found.form, found.follow, found.stored), (crc, form, follow, &stored[..]));
        for length in 0..out.len() {
            prop_assert!(take_part(&mut Wire::new(&out[..length]), follow.is_some()).is_none());
        }
    }
}
