//! Keys and values at the edges of order and size, and such that look like the engine's own bytes.

use std::{collections::BTreeMap, fs, path::Path};

use lineal::{Error, Object, Value};

use super::ground::Ground;

const KEY_BYTES_MAX: usize = 4 << 10;
const VALUE_BYTES_MAX: usize = 16 << 20;

/// Keys, all of them good ones.
fn keys() -> Vec<Vec<u8>> {
    let mut keys: Vec<Vec<u8>> = vec![
        vec![],
        b"secret".to_vec(),
        b"newer".to_vec(),
        b"head".to_vec(),
        b"ns/tenant".to_vec(),
        b"gone/\0\0\0\x01".to_vec(),
        b"keep/\0\0\0\x01".to_vec(),
        b"../CATALOG".to_vec(),
        b"SQLite format 3\0".to_vec(),
        vec![0x80; 8],
        vec![0x7f; 8],
        vec![0xfe, 0xff],
        b"\xc3\x28 is no UTF-8".to_vec(),
    ];
    // A page of the database is kept under one byte and its number; so might be whatever else an object has.
    for space in [0u8, 1, 2, 3, 4, 0x10, 0xf0, 0xff] {
        keys.push(vec![space]);
        keys.push(vec![space, 0, 0, 0, 1]);
        keys.push([&[space][..], &[0xff; 4]].concat());
    }
    for edge in [0x00, 0xff] {
        for bytes in [2, 16, 255, 256, KEY_BYTES_MAX] {
            keys.push(vec![edge; bytes]);
        }
    }
    keys.sort();
    keys.dedup();
    keys
}

const VALUE_SIZES: &[usize] =
    &[0, 1, 511, 512, 1_023, 1_024, 4_095, 4_096, 4_097, 65_535, 65_536, 1 << 20, VALUE_BYTES_MAX];

/// Bounds of a range: none of them is any other's business.
const RANGES: &[(&[u8], &[u8])] = &[
    (b"", b""),
    (b"", b"\xff"),
    (b"\xff", b""),
    (b"z", b"a"),
    (b"\0", b"\0"),
    (b"\0", b"\0\0"),
    (b"\x01", b"\x02"),
    (b"\xff\xff\xff\xff", b"\xff\xff\xff\xff\xff"),
];

/// Sizes that are refused, and a range of everything.
const OTHERS: usize = 4;

pub fn count() -> usize {
    keys().len() + VALUE_SIZES.len() + RANGES.len() + OTHERS
}

fn entries(object: &Object) -> Vec<(Vec<u8>, Vec<u8>)> {
    let read = object.read(|view| {
        view.prefix("")
            .map(|entry| entry.map(|(key, value)| (key, value.to_vec())))
            .collect::<lineal::Result<_>>()
    });
    read.wait().unwrap()
}

/// That the attacker's own database is sound and as it was: keys and pages do not meet.
fn assert_database(object: &Object) {
    let read = object.read(|view| {
        let sound: String = view.sql().query_one("PRAGMA integrity_check", [], |row| row.get(0))?;
        let mine: String = view.sql().query_one("SELECT x FROM t", [], |row| row.get(0))?;
        Ok((sound, mine))
    });
    assert_eq!(read.wait().unwrap(), ("ok".into(), "mine".into()));
}

#[test]
fn any_key_is_a_key_and_no_more() {
    let mut ground = Ground::new();
    let mut wanted = BTreeMap::new();
    for (at, key) in keys().into_iter().enumerate() {
        let value = format!("value {at}").into_bytes();
        let attacker = ground.attacker();
        attacker.transact(|tx| tx.put(&key, &value)).wait().unwrap();
        assert_eq!(attacker.read(|view| view.get(&key)).wait().unwrap().as_deref(), Some(&value[..]));
        wanted.insert(key, value);
        assert_eq!(
            entries(&attacker),
            wanted.clone().into_iter().collect::<Vec<_>>(),
            "in the order of bytes"
        );
        assert_database(&attacker);
        ground.judge("a key");
    }
    for packed in [false, true] {
        if packed {
            ground.engine().checkpoint().unwrap();
        }
        ground.reopen();
        assert_eq!(entries(&ground.attacker()), wanted.clone().into_iter().collect::<Vec<_>>());
        assert_database(&ground.attacker());
    }
    let attacker = ground.attacker();
    for (start, end) in RANGES {
        attacker.transact(|tx| tx.delete_range(*start..*end)).wait().unwrap();
        wanted.retain(|key, _| !(key[..] >= **start && key[..] < **end));
        assert_eq!(entries(&attacker), wanted.clone().into_iter().collect::<Vec<_>>(), "{start:?}..{end:?}");
        assert_database(&attacker);
        ground.judge(&format!("{start:?}..{end:?}"));
    }
    attacker.transact(|tx| tx.delete_range::<&[u8]>(..)).wait().unwrap();
    assert_eq!(entries(&attacker), []);
    assert_database(&attacker);
    ground.judge("a range without bounds");
    ground.engine().verify(&mut |_| ()).unwrap();
}

#[test]
fn sizes_are_bounded_and_the_largest_ones_work() {
    let ground = Ground::new();
    let attacker = ground.attacker();
    for size in VALUE_SIZES {
        let value = vec![0x5a; *size];
        attacker.transact(|tx| tx.put("v", &value)).wait().unwrap();
        assert_eq!(attacker.read(|view| view.get("v")).wait().unwrap().as_deref(), Some(&value[..]));
        ground.judge(&format!("a value of {size} bytes"));
    }
    let before = attacker.info().unwrap().seq;
    let too_large = |outcome: lineal::Result<()>| match outcome.unwrap_err() {
        Error::TooLarge { .. } => ground.judge("what is too large"),
        other => panic!("{other:?}"),
    };
    too_large(attacker.transact(|tx| tx.put(vec![1; KEY_BYTES_MAX + 1], "")).wait());
    too_large(attacker.transact(|tx| tx.put("v", vec![1; VALUE_BYTES_MAX + 1])).wait());
    let value = vec![1; VALUE_BYTES_MAX];
    too_large(attacker.transact(|tx| (0..5u8).try_for_each(|key| tx.put([key], &value))).wait());
    assert_eq!(attacker.info().unwrap().seq, before);
}

/// Whatever is in the log is told apart by where it is, not by what it looks like: a value that is a segment, a pack or a
/// catalog is read back as a value, also after a kill.
#[test]
fn values_that_are_the_engines_own_files_are_values() {
    let mut ground = Ground::new();
    let mut copies: Vec<Vec<u8>> = Vec::new();
    collect(&ground.dir(), &mut copies);
    assert!(copies.len() >= 4, "log, pack, catalog, identity");
    for packed in [false, true] {
        for (at, copy) in copies.iter().enumerate() {
            let attacker = ground.attacker();
            attacker.transact(|tx| tx.put(format!("copy {at}"), copy)).wait().unwrap();
        }
        if packed {
            ground.engine().checkpoint().unwrap();
        }
        ground.reopen();
        for (at, copy) in copies.iter().enumerate() {
            let read: Option<Value> =
                ground.attacker().read(|view| view.get(format!("copy {at}"))).wait().unwrap();
            assert_eq!(read.as_deref(), Some(&copy[..]));
        }
        ground.judge("copies of the engine's files");
    }
    ground.engine().verify(&mut |_| ()).unwrap();
}

/// The non-zero beginning of each file below `dir`.
fn collect(dir: &Path, copies: &mut Vec<Vec<u8>>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, copies);
        } else {
            let mut bytes = fs::read(&path).unwrap();
            bytes.truncate(256 << 10);
            copies.push(bytes);
        }
    }
}
