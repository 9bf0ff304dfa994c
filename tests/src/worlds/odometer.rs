//! All outcomes of a crash, one after the other.

use std::fmt;

use lineal_wal::sim::{SimDisk, Tears};

use crate::draw::Draw;

/// What a crash may do to a write, besides keeping or losing it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Nothing.
    Whole,
    /// Tear it between sectors.
    Torn,
    /// Tear it anywhere, with stale bytes behind its head.
    Ragged,
}

impl Mode {
    /// All, and their names.
    const NAMES: [(Mode, &str); 3] = [(Mode::Whole, "whole"), (Mode::Torn, "torn"), (Mode::Ragged, "ragged")];

    fn tears(self) -> Tears {
        let (bytes, stale) = match self {
            Mode::Whole => (0, false),
            Mode::Torn => (512, false),
            Mode::Ragged => (1, true),
        };
        Tears { bytes, stale, terse: true }
    }
}

/// What became of a disk: `kill`, or which fates were chosen, as in `torn 0 2 1`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The process ended and the machine did not.
    Kill,
    /// The power went.
    Crash(Mode, Vec<usize>),
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Outcome::Crash(mode, digits) = self else { return f.write_str("kill") };
        let name = Mode::NAMES.iter().find(|(known, _)| known == mode).map_or("", |(_, name)| name);
        f.write_str(name)?;
        digits.iter().try_for_each(|digit| write!(f, " {digit}"))
    }
}

impl Outcome {
    /// Of its text.
    pub fn parse(text: &str) -> Option<Outcome> {
        let mut words = text.split_whitespace();
        let name = words.next()?;
        if name == "kill" {
            return words.next().is_none().then_some(Outcome::Kill);
        }
        let (mode, _) = Mode::NAMES.into_iter().find(|(_, known)| *known == name)?;
        Some(Outcome::Crash(mode, words.map(|word| word.parse().ok()).collect::<Option<_>>()?))
    }

    /// The disk after it.
    pub fn of(&self, disk: &SimDisk) -> SimDisk {
        let Outcome::Crash(mode, digits) = self else { return disk.kill() };
        let mut digits = digits.iter();
        disk.crash_with(mode.tears(), &mut |choices| digits.next().map_or(0, |digit| digit % choices))
    }
}

/// How many outcomes of each crash are looked at.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    /// Of those where each write is kept or lost: all if there are no more, else so many and as many drawn ones.
    pub whole: usize,
    /// The same, of those where writes are torn between sectors.
    pub torn: usize,
    /// So many drawn ones of those where writes are torn anywhere.
    pub ragged: usize,
}

/// How far the outcomes of one crash were covered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Covered {
    /// Whether all were there that keep or lose each write.
    pub whole: bool,
    /// Whether all were there that tear writes between sectors.
    pub torn: bool,
}

/// Walks the fates of a crash: the last choice that has another one left takes it, and what follows begins anew.
struct Odometer {
    /// Each choice so far, and among how many.
    digits: Vec<(usize, usize)>,
}

impl Odometer {
    fn crash(&mut self, disk: &SimDisk, mode: Mode) -> (SimDisk, Outcome) {
        let mut at = 0;
        let after = disk.crash_with(mode.tears(), &mut |choices| {
            if at == self.digits.len() {
                self.digits.push((0, choices));
            }
            let (digit, known) = self.digits[at];
            assert_eq!(known, choices, "a crash is deterministic");
            at += 1;
            digit
        });
        (after, Outcome::Crash(mode, self.digits.iter().map(|(digit, _)| *digit).collect()))
    }

    /// Goes to the next; `false` after the last.
    fn advance(&mut self) -> bool {
        while let Some((digit, choices)) = self.digits.pop() {
            if digit + 1 < choices {
                self.digits.push((digit + 1, choices));
                return true;
            }
        }
        false
    }
}

/// Shows what a crash may leave of the disk, as far as the budget reaches. `visit` says whether to go on.
pub fn outcomes(
    disk: &SimDisk,
    budget: &Budget,
    draw: &mut Draw,
    visit: &mut dyn FnMut(SimDisk, Outcome) -> bool,
) -> Covered {
    let mut covered = Covered::default();
    for (mode, most) in [(Mode::Whole, budget.whole), (Mode::Torn, budget.torn)] {
        let mut odometer = Odometer { digits: Vec::new() };
        let mut all = false;
        for _ in 0..most {
            let (after, outcome) = odometer.crash(disk, mode);
            if !visit(after, outcome) {
                return covered;
            }
            if !odometer.advance() {
                all = true;
                break;
            }
        }
        for _ in 0..if all { 0 } else { most } {
            let (after, outcome) = drawn(disk, mode, draw);
            if !visit(after, outcome) {
                return covered;
            }
        }
        match mode {
            Mode::Whole => covered.whole = all,
            _ => covered.torn = all,
        }
    }
    for _ in 0..if disk.unsynced_count() == 0 { 0 } else { budget.ragged } {
        let (after, outcome) = drawn(disk, Mode::Ragged, draw);
        if !visit(after, outcome) {
            return covered;
        }
    }
    covered
}

fn drawn(disk: &SimDisk, mode: Mode, draw: &mut Draw) -> (SimDisk, Outcome) {
    let mut digits = Vec::new();
    let after = disk.crash_with(mode.tears(), &mut |choices| {
        let digit = draw.below(choices as u64) as usize;
        digits.push(digit);
        digit
    });
    (after, Outcome::Crash(mode, digits))
}

#[cfg(test)]
mod tests {
    use lineal_wal::{Disk, OpenMode};

    use super::*;

    /// A disk with so many writes of a sector that are not synced, each to its own place of one file.
    fn disk(writes: usize) -> SimDisk {
        let disk = SimDisk::new();
        let file = disk.open("a", OpenMode::CreateNew).expect("a new file");
        file.set_len(1 << 20).expect("room");
        file.sync_all().expect("a sync");
        disk.sync_dir("").expect("a sync");
        for at in 0..writes {
            file.write_all_at(&[1 + at as u8; 512], 512 * at as u64).expect("a write");
        }
        disk
    }

    #[test]
    fn every_subset_of_twelve_writes_is_shown_once() {
        let mut seen = std::collections::HashSet::new();
        let budget = Budget { whole: 4096, torn: 0, ragged: 0 };
        let covered = outcomes(&disk(12), &budget, &mut Draw::new(1), &mut |after, outcome| {
            assert_eq!(Outcome::parse(&outcome.to_string()), Some(outcome.clone()));
            assert_eq!(outcome.of(&disk(12)).image(), after.image(), "an outcome says what it is");
            seen.insert(after.image().remove("a"))
        });
        assert!(covered.whole);
        assert_eq!(seen.len(), 4096);
    }

    #[test]
    fn what_is_beyond_the_budget_is_drawn() {
        let mut shown = 0;
        let budget = Budget { whole: 10, torn: 0, ragged: 3 };
        let covered = outcomes(&disk(12), &budget, &mut Draw::new(1), &mut |_, _| {
            shown += 1;
            true
        });
        assert_eq!((covered.whole, shown), (false, 23));
    }
}
