//! Bits that flip: what is read is what was written, or an error says what is wrong.

use std::sync::OnceLock;

use lineal_tests::damage::{End, Fixture, Outcome, look, small_steps_and_log};
use lineal_wal::sim::SimDisk;

use crate::Harness;

/// Bits of the log.
pub(crate) const LOG: Harness =
    Harness { name: "flips in the log", states: 300, look: |state| flip("log/", state) };

/// Bits of packs whose index is read, because the catalog does not hold it yet.
pub(crate) const PACKS: Harness =
    Harness { name: "flips in packs", states: 250, look: |state| flip("packs/", state) };

/// What a process left that was killed.
fn fixture() -> &'static Fixture {
    static FIXTURE: OnceLock<Fixture> = OnceLock::new();
    FIXTURE.get_or_init(|| Fixture::make(&small_steps_and_log(), End::Killed))
}

/// Flips one used bit of the files in this folder. All that is in a pack is missed by verification.
fn flip(folder: &str, state: u64) -> Result<(), String> {
    let fixture = fixture();
    let used = |bytes: &[u8]| -> Vec<usize> { (0..bytes.len()).filter(|at| bytes[*at] != 0).collect() };
    let places: Vec<(&String, usize)> = fixture
        .image
        .iter()
        .filter(|(path, _)| path.starts_with(folder))
        .flat_map(|(path, bytes)| used(bytes).into_iter().map(move |at| (path, at)))
        .collect();
    let (path, at) = places[(state.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 20) as usize % places.len()];
    let bit = at as u64 * 8 + state % 8;
    let disk = SimDisk::from_image(&fixture.image);
    disk.flip_bit(path, bit);
    match look(&disk, false, &fixture.state) {
        Outcome::Bad(why) => Err(format!("bit {bit} of {path}: {why}")),
        Outcome::Exact if folder == "packs/" => Err(format!("bit {bit} of {path} is not missed")),
        Outcome::Exact | Outcome::Typed(_) => Ok(()),
    }
}
