//! Compression of single parts: zstd with contexts that are kept.
//!
//! A new context costs more than compressing a small part (8.2 us against 0.43 us at 128 bytes), so a [`Compressor`]
//! is kept by whoever writes, and each thread keeps one context for decompression.

use crate::error::DecodeError;
use crate::sync::Arc;
use std::cell::RefCell;
use zstd::bulk;

/// Largest payload of a part, in bytes.
///
/// Source: a decision. Values are at most 16 MiB by default; a run or leaf holds at most a few of them.
pub const PART_BYTES_MAX: u32 = 65 << 20;

/// Payloads below this, in bytes, are stored as they are.
///
/// Source: zstd saves little on a few hundred bytes and costs a microsecond there.
pub const COMPRESS_BYTES_MIN: usize = 512;

/// How a part is compressed. The numbers are on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[repr(u8)]
#[non_exhaustive]
pub enum Codec {
    /// Stored as it is.
    #[default]
    None = 0,
    /// One zstd frame.
    Zstd = 1,
}

impl Codec {
    /// The codec with this number, if there is one.
    pub fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            0 => Some(Self::None),
            1 => Some(Self::Zstd),
            _ => None,
        }
    }

    /// The number on disk.
    pub fn byte(self) -> u8 {
        self as u8
    }
}

/// Compresses parts with a context and a buffer that are kept.
pub struct Compressor {
    zstd: Option<bulk::Compressor<'static>>,
    buffer: Vec<u8>,
}

impl std::fmt::Debug for Compressor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Compressor").finish_non_exhaustive()
    }
}

impl Compressor {
    /// A compressor for a zstd level. If zstd cannot get memory for its context, parts are stored as they are.
    pub fn new(level: i32) -> Self {
        Self { zstd: bulk::Compressor::new(level).ok(), buffer: Vec::new() }
    }

    /// One that compresses nothing, and costs nothing.
    pub(crate) fn empty() -> Self {
        Self { zstd: None, buffer: Vec::new() }
    }

    /// Compresses if the payload is big enough and it saves at least a sixteenth; else hands the payload back.
    pub fn compress<'a>(&'a mut self, payload: &'a [u8]) -> (Codec, &'a [u8]) {
        if payload.len() < COMPRESS_BYTES_MIN {
            return (Codec::None, payload);
        }
        let worth = payload.len() - payload.len() / 16;
        // Output that does not fit into what would be worth it makes zstd give up early.
        self.buffer.resize(self.buffer.len().max(worth), 0);
        let Some(zstd) = &mut self.zstd else { return (Codec::None, payload) };
        match zstd.compress_to_buffer(payload, &mut self.buffer[..worth]) {
            Ok(bytes) => (Codec::Zstd, &self.buffer[..bytes]),
            Err(_) => (Codec::None, payload),
        }
    }
}

thread_local! {
    /// This thread's context for decompression.
    static DECOMPRESSOR: RefCell<Option<bulk::Decompressor<'static>>> = const { RefCell::new(None) };
}

/// Decompresses `stored`, which declares to be `raw_bytes` long.
///
/// # Errors
/// [`DecodeError::TooLarge`] before anything is allocated if `raw_bytes` is above [`PART_BYTES_MAX`];
/// [`DecodeError::Malformed`] if the output is not exactly `raw_bytes` long or is no valid frame.
pub fn decompress(codec: Codec, stored: &[u8], raw_bytes: u32) -> Result<Arc<[u8]>, DecodeError> {
    if raw_bytes > PART_BYTES_MAX {
        return Err(DecodeError::TooLarge {
            what: "part",
            bytes: u64::from(raw_bytes),
            bytes_max: u64::from(PART_BYTES_MAX),
        });
    }
    let bad = |reason| DecodeError::Malformed { what: "compressed part", offset: 0, reason };
    let raw_bytes = raw_bytes as usize;
    match codec {
        Codec::None => {
            if stored.len() != raw_bytes {
                return Err(bad("the stored size is not the declared size"));
            }
            Ok(Arc::from(stored))
        }
        Codec::Zstd => {
            // The frame says its size too: a lie is found before memory is taken for it.
            match zstd::zstd_safe::get_frame_content_size(stored) {
                Ok(Some(size)) if size == raw_bytes as u64 => {}
                _ => return Err(bad("the zstd frame is not of the declared size")),
            }
            let mut raw: Arc<[u8]> = std::iter::repeat_n(0, raw_bytes).collect();
            let target = Arc::get_mut(&mut raw).expect("a new Arc has one owner");
            let written = DECOMPRESSOR.with_borrow_mut(|kept| {
                let zstd = match kept {
                    Some(zstd) => zstd,
                    None => kept.insert(
                        bulk::Decompressor::new().map_err(|_| bad("zstd has no memory for a context"))?,
                    ),
                };
                zstd.decompress_to_buffer(stored, target).map_err(|_| bad("not a valid zstd frame"))
            })?;
            if written != raw_bytes {
                return Err(bad("the zstd frame is shorter than declared"));
            }
            Ok(raw)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_payload_reads_back(seed: Vec<u8>, times in 1usize..200) {
            let payload = seed.repeat(times);
            let mut compressor = Compressor::new(1);
            let (codec, stored) = compressor.compress(&payload);
            let raw = decompress(codec, stored, payload.len() as u32).unwrap();
            prop_assert_eq!(&raw[..], &payload[..]);
        }

        #[test]
        fn arbitrary_frames_never_panic(stored: Vec<u8>, raw in 0u32..100_000) {
            let _ = decompress(Codec::Zstd, &stored, raw);
        }
    }

    #[test]
    fn small_payloads_are_stored_as_they_are() {
        let mut compressor = Compressor::new(1);
        assert_eq!(compressor.compress(&[7; COMPRESS_BYTES_MIN - 1]).0, Codec::None);
        assert_eq!(compressor.compress(&[7; COMPRESS_BYTES_MIN]).0, Codec::Zstd);
    }

    #[test]
    fn what_compression_does_not_shrink_is_stored_as_it_is() {
        let mut hasher = blake3::Hasher::new();
        hasher.update(b"noise");
        let mut noise = [0; 4096];
        hasher.finalize_xof().fill(&mut noise);
        assert_eq!(Compressor::new(1).compress(&noise), (Codec::None, &noise[..]));
    }

    #[test]
    fn a_declared_size_above_the_limit_or_unlike_the_frame_is_refused() {
        let mut compressor = Compressor::new(1);
        let payload = vec![0; 1 << 20];
        let stored = compressor.compress(&payload).1.to_vec();
        let refused = decompress(Codec::Zstd, &stored, PART_BYTES_MAX + 1);
        assert!(matches!(refused, Err(DecodeError::TooLarge { .. })));
        for wrong in [0, (1 << 20) - 1, (1 << 20) + 1, PART_BYTES_MAX] {
            let refused = decompress(Codec::Zstd, &stored, wrong);
            assert!(matches!(refused, Err(DecodeError::Malformed { .. })));
        }
    }
}
