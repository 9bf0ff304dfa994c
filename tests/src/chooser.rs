//! What a simulated crash keeps.

/// A choice of what a crash keeps, by a seed: 0 keeps all that may be kept, 1 loses all, others are mixed.
pub fn chooser(seed: u64) -> impl FnMut(usize) -> usize {
    let mut number = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    move |choices| match seed {
        0 => 0,
        1 => choices - 1,
        _ => {
            number ^= number << 13;
            number ^= number >> 7;
            number ^= number << 17;
            (number % choices as u64) as usize
        }
    }
}
