//! What tests of purges share: objects full of bytes that are known again, and the search for them.

use std::collections::HashSet;

use lineal::{Engine, Object, PurgeReport};
use lineal_wal::sim::SimDisk;

/// Bytes that no codec shortens and that stand nowhere else.
pub fn secret(seed: u64, length: usize) -> Vec<u8> {
    let mut numbers = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let next = || {
        numbers ^= numbers << 13;
        numbers ^= numbers >> 7;
        numbers ^= numbers << 17;
        (numbers >> 24) as u8
    };
    std::iter::repeat_with(next).take(length).collect()
}

/// A word that a compressor keeps as it is where it stands first.
pub const WORD: &[u8] = b"the-password-is-swordfish";

/// The files that hold one of the needles.
pub fn holding(disk: &SimDisk, needles: &[&[u8]]) -> Vec<String> {
    let begins: HashSet<&[u8]> = needles.iter().map(|needle| &needle[..8]).collect();
    let holds = |bytes: &[u8]| {
        let at = |at: usize| {
            begins.contains(&bytes[at..at + 8]) && needles.iter().any(|n| bytes[at..].starts_with(n))
        };
        (0..bytes.len().saturating_sub(8)).any(at)
    };
    disk.image().into_iter().filter(|(_, bytes)| holds(bytes)).map(|(path, _)| path).collect()
}

/// A room.
///
/// # Panics
/// If there is none to be had.
pub fn object(engine: &Engine, name: &str) -> Object {
    engine.namespace("rooms").unwrap().object(name).unwrap()
}

/// What is put in the object, and what is looked for afterwards: pieces of each value, since pages are cut.
///
/// # Panics
/// If the engine does not take it.
pub fn plant(engine: &Engine, name: &str, seed: u64, sizes: &[usize]) -> Vec<Vec<u8>> {
    let vault = object(engine, name);
    let mut needles = Vec::new();
    for (at, size) in sizes.iter().enumerate() {
        let value = secret(seed + at as u64, *size);
        vault.transact(|tx| tx.put((at as u64).to_be_bytes(), &value)).wait().unwrap();
        needles.extend(value.chunks(61).filter(|chunk| chunk.len() >= 24).map(|chunk| chunk[..24].to_vec()));
    }
    vault
        .transact(|tx| {
            tx.put("word", WORD)?;
            tx.put("words", WORD.repeat(400))
        })
        .wait()
        .unwrap();
    needles.push(WORD.to_vec());
    needles
}

/// What still holds something, a line each.
pub fn files(report: &PurgeReport) -> String {
    report.found.iter().map(|trace| format!("{}: {}\n", trace.file, trace.reason)).collect()
}

/// No file holds one of the needles, and the engine says so.
///
/// # Panics
/// If one does.
pub fn check_gone(disk: &SimDisk, engine: &Engine, needles: &[Vec<u8>]) {
    let report = engine.verify_purged().unwrap();
    assert!(report.is_clean(), "{}", files(&report));
    let needles: Vec<&[u8]> = needles.iter().map(Vec::as_slice).collect();
    assert_eq!(holding(disk, &needles), Vec::<String>::new());
}
