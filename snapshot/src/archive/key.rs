//! The names of everything in the archive. This is the only place where they are written down.
//!
//! ```text
//! <prefix>/<engine>/lease                        who writes, and in which epoch; conditional puts only
//! <prefix>/<engine>/manifest                     what the archive holds; conditional puts only
//! <prefix>/<engine>/packs/<number>-<hash>        a pack as it is on disk; the name says all of it
//! <prefix>/<engine>/packs/<number>-<hash>.pieces the hashes of its pieces, see `pieces.rs`
//! <prefix>/<engine>/<epoch>/log/<n>              chunk n of an epoch's log, or the barrier; created, never changed
//! <prefix>/<engine>/<epoch>/log/<n>.damaged      what stood there, was damaged, and had to make room for a barrier
//! <prefix>/<engine>/probe/<nonce>                what the probe writes, and removes
//! ```
//! The prefix is the store's. An engine is 32 hexadecimal digits, an epoch, a pack's number and n are 16, a hash is
//! the 64 of BLAKE3. So names sort as their numbers do, and several engines share a bucket without meeting.

use crate::entry::PackNumber;
use blake3::Hash;
use lineal_wal::{EngineId, Epoch};

/// The names of one engine's archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keys(pub EngineId);

impl Keys {
    /// Who writes, and in which epoch.
    #[must_use]
    pub fn lease(&self) -> String {
        format!("{}/lease", self.0)
    }

    /// What the archive holds.
    #[must_use]
    pub fn manifest(&self) -> String {
        format!("{}/manifest", self.0)
    }

    /// A pack, by its number and the BLAKE3 of its file.
    #[must_use]
    pub fn pack(&self, number: PackNumber, hash: &Hash) -> String {
        format!("{}/packs/{:016x}-{}", self.0, number.0, hash.to_hex())
    }

    /// What the key of a pack begins with whose hash nobody knows.
    pub(crate) fn pack_of_any_hash(&self, number: PackNumber) -> String {
        format!("{}/packs/{:016x}-*", self.0, number.0)
    }

    /// The hashes of a pack's pieces.
    #[must_use]
    pub fn pieces(&self, number: PackNumber, hash: &Hash) -> String {
        format!("{}.pieces", self.pack(number, hash))
    }

    /// Chunk `n`, from 1 on, of an epoch's log.
    #[must_use]
    pub fn chunk(&self, epoch: Epoch, n: u64) -> String {
        format!("{}/{:016x}/log/{n:016x}", self.0, epoch.0)
    }

    /// The folder of everything.
    pub(crate) fn folder(&self) -> String {
        self.0.to_string()
    }

    /// The folder of the packs.
    pub(crate) fn packs(&self) -> String {
        format!("{}/packs", self.0)
    }

    /// The folder of an epoch's log.
    pub(crate) fn log(&self, epoch: Epoch) -> String {
        format!("{}/{:016x}/log", self.0, epoch.0)
    }

    /// Where a chunk that is damaged is kept when a barrier takes its place.
    pub(crate) fn damaged_chunk(&self, epoch: Epoch, n: u64) -> String {
        format!("{}.damaged", self.chunk(epoch, n))
    }

    pub(crate) fn probe(&self, nonce: [u8; 16]) -> String {
        format!("{}/probe/{:032x}", self.0, u128::from_be_bytes(nonce))
    }
}

/// The number and the hash that a pack's name says; `None` for any other name.
pub(crate) fn pack_of(name: &str) -> Option<(PackNumber, Hash)> {
    let (number, hash) = name.split_once('-')?;
    Some((
        PackNumber(number_of(number)?),
        Hash::from_hex(hash).ok().filter(|found| *found.to_hex() == *hash)?,
    ))
}

/// The number that a name of 16 digits says, as those of epochs and chunks are; `None` for any other name.
pub(crate) fn number_of(name: &str) -> Option<u64> {
    let number = u64::from_str_radix(name, 16).ok()?;
    (format!("{number:016x}") == name).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_written_and_no_others() {
        let (keys, hash) = (Keys(EngineId([7; 16])), blake3::hash(b"pack"));
        let name = |key: String| key.rsplit_once('/').map(|(_, name)| name.to_owned()).unwrap();
        let pack = name(keys.pack(PackNumber(300), &hash));
        assert_eq!(pack_of(&pack), Some((PackNumber(300), hash)));
        assert_eq!(pack_of(&pack.to_uppercase()), None);
        assert_eq!(pack_of(&name(keys.pieces(PackNumber(300), &hash))), None);
        assert_eq!(number_of(&name(keys.chunk(Epoch(1), 26))), Some(26));
        assert_eq!(number_of(&name(keys.damaged_chunk(Epoch(1), 26))), None);
        for other in ["", "1a", "+00000000000001a", "000000000000001A", "0000000000000001a"] {
            assert_eq!(number_of(other), None, "{other}");
        }
    }
}
