//! The log: records, groups, seals, headers, the list. See `lineal_wal::format`.

use super::{put, u32_at, u64_at};

const RECORD_HEADER: usize = 32;
const PART_HEADER: usize = 48;

/// Mends records that follow one another; returns their checksums and where they end.
pub(crate) fn records(bytes: &mut [u8]) -> (Vec<u8>, usize) {
    let mut crcs = Vec::new();
    let mut at = 0;
    while let Some(declared) = u32_at(bytes, at + 4) {
        let declared = declared as usize;
        if declared < RECORD_HEADER || declared > bytes.len() - at {
            break;
        }
        crcs.extend_from_slice(&record(&mut bytes[at..at + declared]));
        at += declared;
    }
    (crcs, at)
}

fn record(bytes: &mut [u8]) -> [u8; 4] {
    let mut sum = crc32fast::Hasher::new();
    sum.update(&bytes[4..RECORD_HEADER]);
    let mut at = RECORD_HEADER;
    while let Some(body) = u32_at(bytes, at + 4) {
        let end = (at + PART_HEADER).saturating_add(body as usize);
        if end > bytes.len() {
            break;
        }
        let crc = crc32fast::hash(&bytes[at + 4..end]).to_le_bytes();
        put(bytes, at, &crc);
        sum.update(&crc);
        at = end;
    }
    let crc = sum.finalize().to_le_bytes();
    put(bytes, 0, &crc);
    crc
}

/// A whole segment: its header, and whatever begins like a group or a seal where one can be. With `bind`, what names the
/// segment is made right too.
pub(crate) fn segment(file: &mut [u8], bind: Option<&Binding>) {
    if file.len() < 512 {
        return;
    }
    if let Some(bind) = bind {
        put(file, 16, &bind.id.to_le_bytes());
        put(file, 24, &bind.salt.to_le_bytes());
        put(file, 32, &bind.engine);
        let capacity = file.len() as u64;
        put(file, 104, &capacity.to_le_bytes());
    }
    seal_crc(file, 0, 128);
    let mut at = 512;
    while at + 64 <= file.len() {
        match &file[at..at + 8] {
            b"LINEALGR" => group(file, at, bind),
            b"LINEALSL" => {
                if let Some(bind) = bind {
                    put(file, at + 16, &bind.salt.to_le_bytes());
                    put(file, at + 24, &bind.id.to_le_bytes());
                    put(file, at + 32, &(at as u64).to_le_bytes());
                }
                seal_crc(file, at, 64);
            }
            _ => {}
        }
        at += 512;
    }
}

/// What names a segment.
pub(crate) struct Binding {
    pub(crate) id: u64,
    pub(crate) salt: u64,
    pub(crate) engine: [u8; 16],
}

fn group(file: &mut [u8], at: usize, bind: Option<&Binding>) {
    if let Some(bind) = bind {
        put(file, at + 16, &bind.salt.to_le_bytes());
        put(file, at + 24, &bind.id.to_le_bytes());
        put(file, at + 32, &(at as u64).to_le_bytes());
    }
    let declared = u32_at(file, at + 60).unwrap_or(0) as usize;
    let end = (at + 64).saturating_add(declared).min(file.len());
    let (crcs, _) = records(&mut file[at + 64..end]);
    let mut sum = crc32fast::Hasher::new();
    sum.update(&file[at + 16..at + 24]);
    sum.update(&crcs);
    let crc = sum.finalize().to_le_bytes();
    put(file, at + 12, &crc);
    seal_crc(file, at, 64);
}

/// The checksum at byte 8 of bytes 12 to `bytes` of what begins at `at`.
fn seal_crc(file: &mut [u8], at: usize, bytes: usize) {
    let crc = crc32fast::hash(&file[at + 12..at + bytes]).to_le_bytes();
    put(file, at + 8, &crc);
}

/// What a list says of a segment.
pub(crate) struct Listed {
    pub(crate) id: u64,
    pub(crate) salt: u64,
}

/// Mends both slots of a list; returns the segments that the slot of the higher generation names.
pub(crate) fn list(file: &mut [u8], engine: Option<[u8; 16]>, capacities: &[u64]) -> Vec<Listed> {
    let half = file.len() / 2;
    let mut newest: Option<(u64, Vec<Listed>)> = None;
    for slot in file.chunks_exact_mut(half.max(1)) {
        if !slot.starts_with(b"LINEALLS") || slot.len() < 64 {
            continue;
        }
        if let Some(engine) = engine {
            put(slot, 16, &engine);
        }
        let count = (u32_at(slot, 48).unwrap_or(0) as usize).min((slot.len() - 64) / 32);
        let mut listed = Vec::new();
        for index in 0..count {
            let at = 64 + 32 * index;
            if let Some(capacity) = capacities.get(index).filter(|_| engine.is_some()) {
                put(slot, at + 16, &capacity.to_le_bytes());
            }
            let (id, salt) = (u64_at(slot, at).unwrap_or(0), u64_at(slot, at + 8).unwrap_or(0));
            listed.push(Listed { id, salt });
        }
        seal_crc(slot, 0, 64 + 32 * count);
        let generation = u64_at(slot, 32).unwrap_or(0);
        if newest.as_ref().is_none_or(|(known, _)| *known <= generation) {
            newest = Some((generation, listed));
        }
    }
    newest.map(|(_, listed)| listed).unwrap_or_default()
}
