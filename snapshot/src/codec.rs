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

/// zstd's level for payloads that look like noise: what repeats is still found, and nothing else is tried.
///
/// Source: measured with 8 KiB of commits of random values: 0.25 us a commit where level 1 takes 1, and neither saves
/// enough to be kept.
const NOISE_LEVEL: i32 = -5;

/// Compresses parts with contexts and a buffer that are kept.
pub struct Compressor {
    zstd: Option<bulk::Compressor<'static>>,
    for_noise: Option<bulk::Compressor<'static>>,
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
        Self {
            zstd: bulk::Compressor::new(level).ok(),
            for_noise: bulk::Compressor::new(level.min(NOISE_LEVEL)).ok(),
            buffer: Vec::new(),
        }
    }

    /// One that compresses nothing, and costs nothing.
    pub(crate) fn empty() -> Self {
        Self { zstd: None, for_noise: None, buffer: Vec::new() }
    }

    /// Compresses if the payload is big enough and it saves at least a sixteenth; else hands the payload back.
    pub fn compress<'a>(&'a mut self, payload: &'a [u8]) -> (Codec, &'a [u8]) {
        if payload.len() < COMPRESS_BYTES_MIN {
            return (Codec::None, payload);
        }
        let worth = payload.len() - payload.len() / 16;
        // Output that does not fit into what would be worth it makes zstd give up early.
        self.buffer.resize(self.buffer.len().max(worth), 0);
        let zstd = if is_noise(payload) { &mut self.for_noise } else { &mut self.zstd };
        let Some(zstd) = zstd else { return (Codec::None, payload) };
        match zstd.compress_to_buffer(payload, &mut self.buffer[..worth]) {
            Ok(bytes) => (Codec::Zstd, &self.buffer[..bytes]),
            Err(_) => (Codec::None, payload),
        }
    }
}

/// Whether the bytes look like noise, as random, encrypted and compressed values do: in a sample of them two are alike
/// hardly more often than one time in 256. In text it is one time in 20, and in base64 one in 64.
fn is_noise(payload: &[u8]) -> bool {
    const SAMPLE: u32 = 256;
    const PAIRS: u32 = SAMPLE * (SAMPLE - 1);
    let mut counts = [0u32; 256];
    for number in 0..SAMPLE {
        // Steps of the golden section, so that nothing that recurs in the payload is always met, or never.
        let turn = u64::from(number.wrapping_mul(0x9e37_79b9));
        let at = (turn * payload.len() as u64) >> u32::BITS;
        counts[usize::from(payload[at as usize])] += 1;
    }
    let alike: u32 = counts.iter().map(|count| count * count.saturating_sub(1)).sum();
    // Between what commits of 100 random bytes have, one in 95, and base64.
    alike < PAIRS / 76
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
        let noise = noise(4096);
        assert_eq!(Compressor::new(1).compress(&noise), (Codec::None, &noise[..]));
    }

    fn noise(bytes: usize) -> Vec<u8> {
        let mut noise = vec![0; bytes];
        blake3::Hasher::new().update(b"noise").finalize_xof().fill(&mut noise);
        noise
    }

    #[test]
    fn noise_is_told_from_text_and_numbers() {
        for bytes in [COMPRESS_BYTES_MIN, 4096, 100_000] {
            assert!(is_noise(&noise(bytes)), "{bytes} bytes");
            let hex: Vec<u8> =
                noise(bytes).iter().map(|byte| b"0123456789abcdef"[usize::from(byte & 15)]).collect();
            assert!(!is_noise(&hex));
            let numbers: Vec<u8> = (0..bytes as u32 / 4).flat_map(u32::to_le_bytes).collect();
            assert!(!is_noise(&numbers));
            let text =
                "a message, an identifier; {\"user\": 1234, \"status\": \"online\"} ".repeat(bytes / 60);
            assert!(!is_noise(text.as_bytes()));
        }
    }

    #[test]
    fn noise_that_repeats_is_compressed() {
        let payload = noise(1000).repeat(8);
        let mut compressor = Compressor::new(1);
        let (codec, stored) = compressor.compress(&payload);
        assert_eq!(codec, Codec::Zstd);
        assert!(stored.len() < 1200, "{} bytes", stored.len());
        assert_eq!(&decompress(codec, stored, 8000).unwrap()[..], &payload[..]);
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
