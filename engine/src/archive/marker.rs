//! The file `ARCHIVE`: what a data directory remembers of its archive while it is closed.
//!
//! ```text
//! offset  size  field, little-endian
//!      0     8  magic "LNLARCHV"
//!      8     4  version, 1
//!     12     4  bytes of the store's name, n (at most 4096)
//!     16     8  the newest pack that the directory was made with, if it was attached; else 0. Its highest bit is set
//!               until the tree of roots was fetched as well
//!     24     8  the newest epoch that this directory wrote to the archive, or was made from
//!     32     n  the store's name, UTF-8
//!   32+n     4  CRC-32 over bytes 0 .. 32+n
//! ```
//! It is written under another name and renamed. A directory that has it does not begin an archive anew where none is
//! found, because then it is being looked for in the wrong place.

use lineal_snapshot::{PACK_FOLDER, PackNumber};
use lineal_wal::{Disk, Epoch, OpenMode};

use crate::{Error, Result, catalog::pack_files};

pub(super) const FILE: &str = "ARCHIVE";
const FILE_NEW: &str = "ARCHIVE.new";
const MAGIC: &[u8; 8] = b"LNLARCHV";
const VERSION: u32 = 1;
const HEAD_BYTES: usize = 32;
const NAME_BYTES_MAX: usize = 4_096;
const OWES_ROOTS: u64 = 1 << 63;

/// See the head of this file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Marker {
    /// The newest pack that the directory was made with; it never had those up to it on its own disk.
    pub(super) base: PackNumber,
    /// Whether the tree of roots is still to be fetched.
    pub(super) owes_roots: bool,
    /// Chunks of a higher epoch are of somebody else. Durable before anything is uploaded in it.
    pub(super) epoch: Epoch,
    /// Where the archive was when it was opened last.
    pub(super) store: String,
}

impl Marker {
    pub(super) fn read(disk: &dyn Disk) -> Result<Option<Marker>> {
        if !disk.exists(FILE).map_err(|error| Error::io("looking for", FILE, error))? {
            return Ok(None);
        }
        let read = || {
            let file = disk.open(FILE, OpenMode::Read)?;
            let length = file.len()?.min((HEAD_BYTES + NAME_BYTES_MAX + 4) as u64);
            let mut bytes = vec![0; usize::try_from(length).unwrap_or(0)];
            file.read_exact_at(&mut bytes, 0)?;
            Ok(bytes)
        };
        let bytes = read().map_err(|error| Error::io("reading", FILE, error))?;
        decode(&bytes).map(Some)
    }

    /// Durable when it returns.
    pub(super) fn write(&self, disk: &dyn Disk) -> Result<()> {
        let write = || {
            let file = disk.open(FILE_NEW, OpenMode::Create)?;
            file.set_len(0)?;
            file.write_all_at(&self.encode(), 0)?;
            file.sync_all()?;
            disk.rename(FILE_NEW, FILE)?;
            disk.sync_dir("")
        };
        write().map_err(|error| Error::io("writing", FILE, error))
    }

    fn encode(&self) -> Vec<u8> {
        let mut end = self.store.len().min(NAME_BYTES_MAX);
        while !self.store.is_char_boundary(end) {
            end -= 1;
        }
        let mut out = MAGIC.to_vec();
        out.extend_from_slice(&VERSION.to_le_bytes());
        out.extend_from_slice(&u32::try_from(end).unwrap_or(0).to_le_bytes());
        let owed = if self.owes_roots { OWES_ROOTS } else { 0 };
        out.extend_from_slice(&(self.base.0 | owed).to_le_bytes());
        out.extend_from_slice(&self.epoch.0.to_le_bytes());
        out.extend_from_slice(&self.store.as_bytes()[..end]);
        let crc = crc32fast::hash(&out);
        out.extend_from_slice(&crc.to_le_bytes());
        out
    }
}

fn decode(bytes: &[u8]) -> Result<Marker> {
    let damaged =
        |reason: &str| Error::Damaged { file: FILE.into(), offset: 0, object: None, reason: reason.into() };
    let Some((head, crc)) = bytes.split_last_chunk::<4>().filter(|(head, _)| head.len() >= HEAD_BYTES) else {
        return Err(damaged("it is cut"));
    };
    if &head[..8] != MAGIC {
        return Err(damaged("its magic is another"));
    }
    if crc32fast::hash(head).to_le_bytes() != *crc {
        return Err(damaged("its checksum is wrong"));
    }
    let word = |at: usize| head[at..].first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes));
    if word(8) != VERSION {
        return Err(Error::NewerVersion { file: FILE.into(), found: word(8), known: VERSION });
    }
    let base = head[16..].first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
    let (base, owes_roots) = (PackNumber(base & !OWES_ROOTS), base & OWES_ROOTS != 0);
    let epoch = Epoch(head[24..].first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes)));
    let store =
        std::str::from_utf8(&head[HEAD_BYTES..]).map_err(|_| damaged("the store's name is no text"))?;
    if store.len() != word(12) as usize {
        return Err(damaged("it has another length than it says"));
    }
    Ok(Marker { base, owes_roots, epoch, store: store.to_owned() })
}

/// For fuzzers: a marker that is read is written and read again as the same.
#[cfg(feature = "sim")]
pub(super) fn hostile(bytes: &[u8]) {
    let mut sealed = bytes.to_vec();
    sealed.extend_from_slice(&crc32fast::hash(bytes).to_le_bytes());
    let _ = decode(bytes);
    if let Ok(marker) = decode(&sealed) {
        assert_eq!(decode(&marker.encode()).ok(), Some(marker), "a marker changes when it is written again");
    }
}

/// Refuses a directory whose packs are in an archive, where that was not named.
pub(crate) fn refuse_without(local: &dyn Disk) -> Result<()> {
    let Some(marker) = Marker::read(local)?.filter(|marker| marker.base > PackNumber(0)) else {
        return Ok(());
    };
    if pack_files(local)?.last().is_some_and(|newest| *newest > marker.base) {
        return Ok(());
    }
    let reason = format!("this directory keeps its packs in the archive {}: open it with that", marker.store);
    Err(Error::Invalid { reason })
}

/// Where a pack is missing and the directory has an archive, says so.
pub(crate) fn explain_missing(error: Error, local: &dyn Disk) -> Error {
    match (&error, Marker::read(local)) {
        (Error::Damaged { file, reason, .. }, Ok(Some(marker))) if file.starts_with(PACK_FOLDER) => {
            let reason = format!(
                "{file}: {reason}. This directory keeps packs in the archive {}: open it with that",
                marker.store
            );
            Error::Invalid { reason }
        }
        _ => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flipped_bit_is_noticed() {
        let marker = Marker {
            base: PackNumber(7),
            owes_roots: true,
            epoch: Epoch(9),
            store: "s3://bucket/prefix".into(),
        };
        let good = marker.encode();
        assert_eq!(decode(&good).unwrap(), marker);
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(matches!(decode(&bad), Err(Error::Damaged { .. })), "bit {bit}");
        }
        for length in 0..good.len() {
            assert!(decode(&good[..length]).is_err(), "{length} bytes");
        }
    }
}
