//! What stands in packs and in the catalog, without what is around it.

use lineal_snapshot::{EntryKey, EntryValue, LeafKind, PackNumber, Place};
use lineal_wal::Seq;

use super::{object, pack};
use crate::input::Input;

/// A leaf.
pub(crate) fn leaf(bytes: &[u8]) {
    pack::read_leaf(bytes);
}

pub(crate) fn leaf_seeds() -> Vec<Vec<u8>> {
    let mut seeds = vec![pack::leaf(LeafKind::Whole), pack::leaf(LeafKind::Delta)];
    seeds.extend(object::payloads(4).into_iter().chain(object::payloads(3)));
    seeds
}

/// A run.
pub(crate) fn run(bytes: &[u8]) {
    pack::read_run(bytes);
}

pub(crate) fn run_seeds() -> Vec<Vec<u8>> {
    let mut seeds = vec![pack::run(1), pack::run(9)];
    seeds.extend(object::payloads(2));
    seeds
}

/// A head, the body of a commit, a list of patches or what a footer says of the engine: the first byte says which.
pub(crate) fn head(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    match input.u8() % 4 {
        0 => {
            let seq = input.number();
            lineal::hostile::head(seq, input.rest());
        }
        1 => {
            let flags = input.u8();
            lineal::hostile::body(flags, input.rest());
        }
        2 => lineal::hostile::patches(input.rest()),
        _ => lineal::hostile::summary(input.rest()),
    }
}

pub(crate) fn head_seeds() -> Vec<Vec<u8>> {
    let mut seeds = vec![
        vec![1, 0, 2, 0, 1, 2, 0x10, b'k', 1, b'v', 2, 2, 0x10, b'k', 3, 1, 0x10, 1, 1, 0x20],
        vec![1, 0, 0, 0, 4, 2, 0x10, b'k', 5, 3, 0, 1, b'a', 0, 5, 0, 0, 1, 3],
        vec![2, 4, 2, 0, 1, b'a', 5, 9, 1, 2, b'b', b'c', 1, 0],
        [&[3][..], &object::meta()].concat(),
    ];
    for (seq, payload) in object::heads() {
        seeds.push([&[0, seq][..], &payload].concat());
    }
    seeds
}

/// A row of the catalog, or one of the system object: the first byte says which.
pub(crate) fn row(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    match input.u8() % 4 {
        0 => {
            let key = input.short();
            lineal::hostile::row(key, input.rest());
        }
        1 => {
            if let Ok(key) = EntryKey::decode(input.rest()) {
                assert_eq!(key.encode(), input.rest(), "a key has one encoding");
            }
        }
        2 => {
            if let Ok(value) = EntryValue::decode(input.rest()) {
                assert!(
                    EntryValue::decode(&value.encode()) == Ok(value),
                    "a value changes when written again"
                );
            }
        }
        _ => lineal::hostile::rows(input.rest()),
    }
}

pub(crate) fn row_seeds() -> Vec<Vec<u8>> {
    let object = lineal::ObjectKey { namespace: lineal::NamespaceId(1), id: lineal::ObjectId([3; 16]) };
    let key = EntryKey::leaf(object, Seq(2), b"\0fence\xff", Seq(9)).encode();
    let place = Place {
        pack: PackNumber(3),
        block_offset: 64,
        block_bytes: 900,
        part_offset: 8,
        part_bytes: 300,
        follow_count: 2,
        follow_first_seq: Seq(4),
        end_fence: Some(b"z".to_vec()),
    };
    let value = EntryValue::Place(place).encode();
    vec![
        [&[0, key.len() as u8][..], &key, &value].concat(),
        vec![0, 1, 7, 1, 3, 0, 0, 0, 0, 0, 0, 0],
        [&[1][..], &key].concat(),
        [&[2][..], &value].concat(),
        vec![2, 1],
        [&[3][..], &[1; 28]].concat(),
        [&[3][..], &[2; 16]].concat(),
    ]
}
