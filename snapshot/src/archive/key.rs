//! The names of everything in the archive. This is the only place where they are written down.
//!
//! ```text
//! <prefix>/<engine>/lease                        who writes, and in which epoch; conditional puts only
//! <prefix>/<engine>/manifest                     what the archive holds; conditional puts only
//! <prefix>/<engine>/packs/<number>-<hash>        a pack as it is on disk; the name says all of it
//! <prefix>/<engine>/packs/<number>-<hash>.pieces the hashes of its pieces, see `pieces.rs`
//! <prefix>/<engine>/<epoch>/log/<n>              chunk n of an epoch's log, or the barrier; created, never changed
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

    pub(crate) fn probe(&self, nonce: [u8; 16]) -> String {
        format!("{}/probe/{:032x}", self.0, u128::from_be_bytes(nonce))
    }
}
