//! SIGKILL at random moments, while the directory is opened, written, merged and closed.

use std::{
    path::Path,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use super::{
    life::{Ended, Start},
    witness::{Witness, Word},
    worker,
};
use crate::draw::Draw;

/// Kills on one directory before the next begins with a new one, so that directories stay small.
const ROUNDS: u64 = 40;

/// What was done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Lives that were ended.
    pub kills: u64,
    /// Of them, those that were ended before the directory was open.
    pub opening: u64,
    /// Acknowledgements heard.
    pub acks: u64,
    /// Times that what was left was judged.
    pub judged: u64,
}

impl Tally {
    fn add(&mut self, other: Tally) {
        self.kills += other.kills;
        self.opening += other.opening;
        self.acks += other.acks;
        self.judged += other.judged;
    }
}

/// Kills so many workers, two at a time, below this folder. What is found is told at once, with the directory it was found in, which
/// stays.
///
/// # Errors
/// How many findings there were, and the first of them.
pub fn run(
    program: &Path,
    below: &Path,
    count: u64,
    seed: u64,
    found: impl Fn(&str) + Sync,
) -> Result<Tally, String> {
    let (next, all) = (AtomicU64::new(0), Mutex::new((Tally::default(), Vec::new())));
    let one_after_the_other = || {
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number * ROUNDS >= count {
                return;
            }
            let dir = below.join(format!("kills {number}"));
            let rounds = ROUNDS.min(count - number * ROUNDS);
            let outcome = on_one(program, &dir, rounds, seed.wrapping_add(number));
            let mut all = all.lock().unwrap_or_else(PoisonError::into_inner);
            match outcome {
                Ok(tally) => {
                    all.0.add(tally);
                    // The next ones need the room. What cannot be removed is found by whoever runs out of it.
                    let _ = std::fs::remove_dir_all(&dir);
                }
                Err(why) => {
                    let why = format!("seed {}, {}: {why}", seed.wrapping_add(number), dir.display());
                    found(&why);
                    all.1.push(why);
                }
            }
        }
    };
    thread::scope(|scope| {
        scope.spawn(one_after_the_other);
        scope.spawn(one_after_the_other);
    });
    let (tally, found) = all.into_inner().unwrap_or_else(PoisonError::into_inner);
    match found.first() {
        None => Ok(tally),
        Some(first) => Err(format!("{} findings, the first: {first}", found.len())),
    }
}

fn on_one(program: &Path, dir: &Path, rounds: u64, seed: u64) -> Result<Tally, String> {
    let start = Start::new(program, &["--steps", "150"]);
    let (mut witness, mut tally, mut draw) = (Witness::new(), Tally::default(), Draw::new(seed));
    for round in 0..rounds {
        let mut life = start.life(dir)?;
        life.live(&mut draw);
        let ended = life.kill()?;
        went_well(&ended)?;
        tally.kills += 1;
        tally.opening += u64::from(!ended.words.contains(&Word::Open));
        witness.hear(&ended.words)?;
        // Every third time the next one recovers alone; at the end all of it is verified.
        let last = round + 1 == rounds;
        if last || round % 3 != 2 {
            judge(&mut witness, dir, round % 3 == 0 || last, last)
                .map_err(|why| format!("round {round}: {why}"))?;
            tally.judged += 1;
        }
    }
    tally.acks = witness.acks();
    Ok(tally)
}

/// That nobody was refused anything, and none panicked: they were killed.
fn went_well(ended: &Ended) -> Result<(), String> {
    let bad =
        |word: &&Word| matches!(word, Word::Refused(_) | Word::Full(_) | Word::Work(_) | Word::Failed(_));
    match ended.words.iter().find(bad) {
        Some(bad) => Err(format!("a worker said {bad:?}")),
        None if !ended.errors.is_empty() => Err(format!("a worker wrote {}", ended.errors)),
        None => Ok(()),
    }
}

/// Opens what was left, for writing or reading, and judges it.
///
/// # Errors
/// What is wrong.
pub fn judge(witness: &mut Witness, dir: &Path, writable: bool, verify: bool) -> Result<(), String> {
    let engine = if writable {
        worker::options().open(dir)
    } else {
        match worker::options().open_read_only(dir) {
            // It was killed before there was one.
            Err(lineal::Error::NotFound { .. } | lineal::Error::InvalidDirectory { .. })
                if witness.acks() == 0 =>
            {
                return Ok(());
            }
            opened => opened,
        }
    };
    let engine = engine.map_err(|error| format!("it does not open: {error}"))?;
    witness.judge(&engine, writable, verify)?;
    if verify {
        engine.verify(&mut |_| ()).map_err(|error| format!("verify: {error}"))?;
    }
    engine.close().map_err(|error| format!("close: {error}"))
}
