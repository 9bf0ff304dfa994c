//! What the archive keeps that is no pack: manifest, lease, chunks and barriers; what a directory says of its archive.

use bytes::Bytes;
use lineal_snapshot::archive::{
    ArchivedLog, ArchivedPack, GarbageChunks, GarbagePack, Manifest, hostile::Framed,
};
use lineal_wal::{EngineId, Epoch, Lsn, Micros};

use super::log;

const ENGINE: EngineId = EngineId([7; 16]);

fn kind(byte: u8) -> Option<Framed> {
    match byte % 4 {
        0 => Some(Framed::Manifest),
        1 => Some(Framed::Lease),
        2 => Some(Framed::Chunk),
        _ => None,
    }
}

/// The first byte says what it is, and whether the rest is a body, which gets a frame with a right hash, or the whole.
/// What is read and written again is read again as the same.
pub(crate) fn manifest(bytes: &[u8]) {
    let Some((mode, rest)) = bytes.split_first() else { return };
    let Some(framed) = kind(*mode) else { return lineal::hostile::archive(rest) };
    let stored = match mode & 4 {
        0 => framed.wrap(ENGINE, rest).expect("an input is no larger than a frame may be"),
        _ => Bytes::copy_from_slice(rest),
    };
    let Ok(again) = framed.reread(ENGINE, &stored) else { return };
    assert!(again == stored, "what is written again is other bytes");
    if framed == Framed::Chunk && stored.len() > 16 + 97 + 32 {
        log::piece(&stored[16 + 97..stored.len() - 32]);
    }
}

/// Seeds: one of everything, as a body and as a whole.
pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let manifest = Manifest {
        line: Lsn(40),
        horizon: Micros(3),
        packs: vec![
            ArchivedPack {
                number: lineal_snapshot::PackNumber(1),
                bytes: 70_000,
                hash: [3; 32],
                pages: vec![[4; 32]],
                footer: Bytes::from_static(b"a footer"),
            },
            ArchivedPack {
                number: lineal_snapshot::PackNumber(2),
                bytes: 500,
                hash: [5; 32],
                pages: Vec::new(),
                footer: Bytes::new(),
            },
        ],
        logs: vec![
            ArchivedLog::all(Epoch(1)),
            ArchivedLog { first_chunk: 4, before: [1; 32], epoch: Epoch(2) },
        ],
        garbage_packs: vec![GarbagePack {
            number: lineal_snapshot::PackNumber(1),
            bytes: 9,
            hash: [8; 32],
            since: Micros(5),
        }],
        garbage_chunks: vec![
            GarbageChunks { epoch: Epoch(1), first: 1, end: Some(3), since: Micros(1) },
            GarbageChunks { epoch: Epoch(1), first: 3, end: None, since: Micros(1) },
        ],
        note: b"\x01note".to_vec(),
        ..Manifest::first(ENGINE, Epoch(2), Micros(9))
    };
    let first = Manifest::first(ENGINE, Epoch(1), Micros(1));
    let bodies = [manifest, first].map(|manifest| {
        let stored = manifest.encode().expect("a small manifest fits");
        stored[16..stored.len() - 32].to_vec()
    });
    let mut seeds: Vec<Vec<u8>> = bodies.iter().map(|body| [&[0][..], body].concat()).collect();
    seeds.push([&[4][..], &Framed::Manifest.wrap(ENGINE, &bodies[0]).expect("it fits")].concat());
    let mut lease = vec![1];
    lease.extend_from_slice(&ENGINE.0);
    lease.extend_from_slice(&3u64.to_le_bytes());
    lease.extend_from_slice(&[9; 16]);
    lease.extend_from_slice(&55u64.to_le_bytes());
    lease.extend_from_slice(&2u32.to_le_bytes());
    lease.extend_from_slice(&1u64.to_le_bytes());
    lease.extend_from_slice(&2u64.to_le_bytes());
    lease.extend_from_slice(&4u16.to_le_bytes());
    lease.extend_from_slice(b"host");
    seeds.push(lease);
    let piece = log::piece_seeds().pop().unwrap_or_default();
    for (kind, numbers, piece) in [(1u8, &[1u64, 9][..], &piece[..]), (2, &[7][..], &[][..])] {
        let mut chunk = vec![2, kind];
        chunk.extend_from_slice(&ENGINE.0);
        chunk.extend_from_slice(&1u64.to_le_bytes());
        chunk.extend_from_slice(&1u64.to_le_bytes());
        chunk.extend_from_slice(&[9; 16]);
        chunk.extend_from_slice(&[0; 32]);
        numbers.iter().for_each(|number| chunk.extend_from_slice(&number.to_le_bytes()));
        chunk.extend_from_slice(piece);
        seeds.push(chunk);
    }
    let mut marker = b"\x03LNLARCHV".to_vec();
    marker.extend_from_slice(&1u32.to_le_bytes());
    marker.extend_from_slice(&9u32.to_le_bytes());
    marker.extend_from_slice(&4u64.to_le_bytes());
    marker.extend_from_slice(&2u64.to_le_bytes());
    marker.extend_from_slice(b"s3://here");
    seeds.push(marker);
    let mut note = vec![3, 1];
    [1u64, 4, 40, 9].iter().for_each(|number| note.extend_from_slice(&number.to_le_bytes()));
    note.extend_from_slice(&[6; 32]);
    note.extend_from_slice(&1u16.to_le_bytes());
    [1u64, 1, 4].iter().for_each(|number| note.extend_from_slice(&number.to_le_bytes()));
    note.extend_from_slice(&[6; 32]);
    seeds.push(note);
    seeds
}
