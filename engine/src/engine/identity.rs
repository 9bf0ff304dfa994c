//! The file `LINEAL`: what makes a folder a data directory, and what is locked while it is open.
//!
//! ```text
//! offset  size  field, little-endian
//!      0     8  magic "LINEAL\0\0"
//!      8     4  version of the directory's layout, 1
//!     12     4  reserved, 0
//!     16    16  engine id
//!     32     4  CRC-32 over bytes 0 .. 32
//! ```
//! The file is valid iff it has 36 bytes, the magic, and the right checksum. It is written under another name and
//! renamed, so that it is there whole or not at all, and it never changes.

use lineal_wal::{Disk, EngineId, OpenMode};

use crate::{Error, Result, options::Random};

pub(crate) const FILE: &str = "LINEAL";
pub(crate) const FILE_NEW: &str = "LINEAL.new";
const MAGIC: &[u8; 8] = b"LINEAL\0\0";
const VERSION: u32 = 1;
const BYTES: usize = 36;

/// Reads the identity of the data directory, if it has one.
pub(crate) fn read(disk: &dyn Disk) -> Result<Option<EngineId>> {
    if !disk.exists(FILE).map_err(|e| Error::io("looking for", FILE, e))? {
        return Ok(None);
    }
    let file = disk.open(FILE, OpenMode::Read).map_err(|e| Error::io("opening", FILE, e))?;
    let length = file.len().map_err(|e| Error::io("reading", FILE, e))?;
    if length != BYTES as u64 {
        return Err(damaged(0, format!("it has {length} bytes and not {BYTES}")));
    }
    let mut bytes = [0; BYTES];
    file.read_exact_at(&mut bytes, 0).map_err(|e| Error::io("reading", FILE, e))?;
    decode(&bytes).map(Some)
}

/// Makes the folder a data directory, with a new identity. Durable when it returns.
pub(crate) fn create(disk: &dyn Disk, random: &Random) -> Result<EngineId> {
    let id = draw(random);
    write(disk, id)?;
    Ok(id)
}

/// An identity that no other engine has.
pub(crate) fn draw(random: &Random) -> EngineId {
    let mut id = [0; 16];
    id[..8].copy_from_slice(&random().to_le_bytes());
    id[8..].copy_from_slice(&random().to_le_bytes());
    EngineId(id)
}

/// Makes the folder the data directory of `id`. Durable when it returns.
pub(crate) fn write(disk: &dyn Disk, id: EngineId) -> Result<()> {
    let write = || {
        let file = disk.open(FILE_NEW, OpenMode::Create)?;
        file.set_len(0)?;
        file.write_all_at(&encode(id), 0)?;
        file.sync_all()?;
        disk.rename(FILE_NEW, FILE)?;
        disk.sync_dir("")
    };
    write().map_err(|e| Error::io("creating", FILE, e))
}

fn encode(id: EngineId) -> [u8; BYTES] {
    let mut bytes = [0; BYTES];
    bytes[..8].copy_from_slice(MAGIC);
    bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
    bytes[16..32].copy_from_slice(&id.0);
    let crc = crc32fast::hash(&bytes[..32]);
    bytes[32..].copy_from_slice(&crc.to_le_bytes());
    bytes
}

fn decode(bytes: &[u8; BYTES]) -> Result<EngineId> {
    if &bytes[..8] != MAGIC {
        return Err(damaged(0, "its magic is not Lineal's".into()));
    }
    let word = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
    // The checksum first: a flipped bit in the version is damage, not a newer program.
    if word(32) != crc32fast::hash(&bytes[..32]) {
        return Err(damaged(32, "its checksum is wrong".into()));
    }
    if word(8) != VERSION {
        return Err(Error::NewerVersion { file: FILE.into(), found: word(8), known: VERSION });
    }
    let mut id = [0; 16];
    id.copy_from_slice(&bytes[16..32]);
    Ok(EngineId(id))
}

fn damaged(offset: u64, reason: String) -> Error {
    Error::Damaged { file: FILE.into(), offset, object: None, reason }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flipped_bit_is_noticed() {
        let good = encode(EngineId([7; 16]));
        assert_eq!(decode(&good).unwrap(), EngineId([7; 16]));
        for bit in 0..BYTES * 8 {
            let mut bad = good;
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(matches!(decode(&bad), Err(Error::Damaged { .. })), "bit {bit}");
        }
    }

    #[test]
    fn a_newer_version_is_refused_by_name() {
        let mut bytes = encode(EngineId([7; 16]));
        bytes[8] = 2;
        let crc = crc32fast::hash(&bytes[..32]);
        bytes[32..].copy_from_slice(&crc.to_le_bytes());
        assert!(matches!(decode(&bytes), Err(Error::NewerVersion { found: 2, known: 1, .. })));
    }
}
