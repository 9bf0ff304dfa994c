//! The frame around everything of the archive that is not a pack. All integers are little-endian.
//!
//! ```text
//! offset size field
//!      0    8 magic, one for each kind of content
//!      8    2 format version
//!     10    2 zero
//!     12    4 body bytes (n)
//!     16    n body
//!   16+n   32 BLAKE3 of (key bytes u32, the key as in `key.rs`, bytes 0..16+n)
//! ```
//! The hash is bound to the key, so that right bytes under the wrong key are wrong bytes. Every version has magic and version at the
//! front and this hash over all the rest at the end, so that a later one is told from a damaged one.

use super::error::ArchiveError;
use crate::wire::Wire;
use bytes::Bytes;

const HEAD_BYTES: usize = 16;
/// The hash at the end.
pub(crate) const HASH_BYTES: usize = 32;

/// What one kind of content is framed as.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Frame {
    pub(crate) magic: [u8; 8],
    pub(crate) version: u16,
    pub(crate) what: &'static str,
    /// Largest body.
    pub(crate) body_bytes_max: u32,
}

impl Frame {
    pub(crate) fn wrap(&self, key: &str, body: &[u8]) -> Result<Bytes, ArchiveError> {
        let body_bytes = u32::try_from(body.len()).ok().filter(|bytes| *bytes <= self.body_bytes_max);
        let Some(body_bytes) = body_bytes else {
            let (bytes, bytes_max) = (body.len() as u64, self.body_bytes_max.into());
            return Err(ArchiveError::TooLarge { what: self.what, bytes, bytes_max });
        };
        let mut bytes = Vec::with_capacity(HEAD_BYTES + body.len() + HASH_BYTES);
        bytes.extend_from_slice(&self.magic);
        bytes.extend_from_slice(&self.version.to_le_bytes());
        bytes.extend_from_slice(&[0; 2]);
        bytes.extend_from_slice(&body_bytes.to_le_bytes());
        bytes.extend_from_slice(body);
        let hash = hash_of(key, &bytes);
        bytes.extend_from_slice(&hash);
        Ok(Bytes::from(bytes))
    }

    /// The body and the hash of what stands under `key`.
    pub(crate) fn unwrap(&self, key: &str, bytes: &Bytes) -> Result<(Bytes, [u8; HASH_BYTES]), ArchiveError> {
        let damaged = |reason| ArchiveError::Damaged { key: key.to_owned(), reason };
        let mut wire = Wire::new(bytes);
        if wire.array() != Some(self.magic) {
            return Err(damaged("its magic is another"));
        }
        let (Some(found), Some(zero), Some(body_bytes)) = (wire.u16(), wire.u16(), wire.u32()) else {
            return Err(damaged("it is cut"));
        };
        let Some((framed, hash)) = bytes.split_last_chunk::<HASH_BYTES>() else {
            return Err(damaged("it is cut"));
        };
        let said = HEAD_BYTES as u64 + u64::from(body_bytes);
        if hash_of(key, framed) != *hash {
            let reason = if framed.len() as u64 == said {
                "its hash is another"
            } else {
                "it has another length than it says"
            };
            return Err(damaged(reason));
        }
        if found > self.version {
            return Err(ArchiveError::NewerVersion { key: key.to_owned(), found, known: self.version });
        }
        if found != self.version
            || zero != 0
            || body_bytes > self.body_bytes_max
            || framed.len() as u64 != said
        {
            return Err(damaged("its head breaks a rule of the format"));
        }
        Ok((bytes.slice(HEAD_BYTES..framed.len()), *hash))
    }
}

/// What a frame under `key` ends with.
pub(crate) fn hash_of(key: &str, framed: &[u8]) -> [u8; HASH_BYTES] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&u32::try_from(key.len()).unwrap_or(u32::MAX).to_le_bytes());
    hasher.update(key.as_bytes());
    hasher.update(framed);
    *hasher.finalize().as_bytes()
}
