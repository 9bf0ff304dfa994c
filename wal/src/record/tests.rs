use super::*;
use crate::ids::{NamespaceId, ObjectId};

fn header(seq: u64) -> PartHeader {
    PartHeader {
        object: ObjectKey { namespace: NamespaceId(7), id: ObjectId([9; 16]) },
        seq: Seq(seq),
        prev_lsn: Lsn(seq * 3),
        kind: 1,
        codec: 2,
        key_id: 3,
        flags: 4,
    }
}

fn encoded(bodies: &[&[u8]]) -> Vec<u8> {
    let mut builder = RecordBuilder::new();
    for (body, seq) in bodies.iter().zip(1..) {
        builder.begin_part(header(seq)).extend_from_slice(body);
        builder.end_part();
    }
    let mut out = Vec::new();
    builder.write_to(Lsn(5), Micros(77), &mut out);
    assert_eq!(out.len(), builder.bytes());
    out
}

#[test]
fn a_record_comes_back_as_it_was_built() {
    for bodies in [&[][..], &[b"".as_slice()], &[b"one", b"", b"three"]] {
        let bytes = encoded(bodies);
        let (record, crc) = Record::decode(&bytes).unwrap();
        assert_eq!((record.lsn, record.time, record.bytes()), (Lsn(5), Micros(77), bytes.len()));
        assert_eq!(crc, bytes[..4]);
        assert_eq!(record.part_count(), bodies.len());
        let parts: Vec<_> = record.parts().collect();
        assert_eq!(parts.len(), bodies.len());
        for ((part, body), seq) in parts.iter().zip(bodies).zip(1..) {
            let want = header(seq);
            assert_eq!(part.body, *body);
            assert_eq!((part.object, part.seq, part.prev_lsn), (want.object, want.seq, want.prev_lsn));
            assert_eq!((part.kind, part.codec, part.key_id, part.flags), (1, 2, 3, 4));
        }
        assert_eq!(OwnedRecord::from(record).as_record(), record);
    }
}

#[test]
fn a_cleared_builder_builds_as_a_new_one() {
    let mut builder = RecordBuilder::new();
    builder.begin_part(header(1)).extend_from_slice(b"gone");
    builder.clear();
    builder.begin_part(header(1)).extend_from_slice(b"one");
    builder.end_part();
    let mut out = Vec::new();
    builder.write_to(Lsn(5), Micros(77), &mut out);
    assert_eq!(out, encoded(&[b"one"]));
}

#[test]
fn every_flipped_bit_of_a_record_is_noticed() {
    let bytes = encoded(&[b"one", b"", b"three"]);
    for bit in 0..bytes.len() * 8 {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert!(Record::decode(&flipped).is_err(), "bit {bit}");
    }
}

#[test]
fn every_cut_off_record_is_noticed() {
    let bytes = encoded(&[b"one", b"", b"three"]);
    for len in 0..bytes.len() {
        assert!(Record::decode(&bytes[..len]).is_err(), "length {len}");
    }
}
