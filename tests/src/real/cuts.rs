//! Real power cuts: ext4 on a loop device is told to drop everything that was not synced, while workers write.

use std::{
    path::Path,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use super::{
    kills::judge,
    life::Start,
    mount::Ext4,
    witness::{Witness, Word},
};
use crate::draw::Draw;

/// Cuts on one file system before the next begins with a new one.
const ROUNDS: u64 = 25;

/// Its size.
const MIB: u64 = 48;

/// Most that is waited for a worker's first words.
const PATIENCE: Duration = Duration::from_secs(30);

/// What was done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Cuts.
    pub cuts: u64,
    /// Of them, those that came before the directory was open.
    pub opening: u64,
    /// Acknowledgements heard.
    pub acks: u64,
    /// Times that what was left was judged.
    pub judged: u64,
}

/// Cuts the power so many times. What is found is told at once.
///
/// # Errors
/// How many findings there were, and the first of them.
pub fn run(program: &Path, count: u64, seed: u64, found: impl Fn(&str) + Sync) -> Result<Tally, String> {
    let (next, all) = (AtomicU64::new(0), Mutex::new((Tally::default(), Vec::new())));
    let one_after_the_other = || {
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number * ROUNDS >= count {
                return;
            }
            let outcome = on_one(program, ROUNDS.min(count - number * ROUNDS), seed.wrapping_add(number));
            let mut all = all.lock().unwrap_or_else(PoisonError::into_inner);
            match outcome {
                Ok(tally) => {
                    all.0.cuts += tally.cuts;
                    all.0.opening += tally.opening;
                    all.0.acks += tally.acks;
                    all.0.judged += tally.judged;
                }
                Err(why) => {
                    let why = format!("seed {}: {why}", seed.wrapping_add(number));
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

fn on_one(program: &Path, rounds: u64, seed: u64) -> Result<Tally, String> {
    let mut disk = Ext4::make(MIB)?;
    let dir = disk.path().join("data");
    let start = Start::new(program, &["--steps", "150"]);
    let (mut witness, mut tally, mut draw) = (Witness::new(), Tally::default(), Draw::new(seed));
    for round in 0..rounds {
        let context = |why: String| format!("cut {round}: {why}");
        let mut life = start.life(&dir)?;
        life.live(&mut draw);
        disk.cut()?;
        // It meets errors now, and says nothing of them that anybody needs.
        let ended = life.kill()?;
        if ended.errors.contains("panicked") {
            return Err(context(format!("a worker panicked: {}", ended.errors)));
        }
        tally.cuts += 1;
        tally.opening += u64::from(!ended.words.contains(&Word::Open));
        witness.hear(&ended.words).map_err(context)?;
        disk.unmount()?;
        disk.mount()?;
        // Every third time the next one recovers alone, and the power goes while it does.
        let last = round + 1 == rounds;
        if last || round % 3 != 2 {
            judge(&mut witness, &dir, round % 3 == 0 || last, last).map_err(context)?;
            tally.judged += 1;
        }
    }
    tally.acks = witness.acks();
    Ok(tally)
}

/// Cuts the power of workers whose disk syncs nothing. Returns of how many cuts acknowledgements were found lost.
///
/// # Errors
/// What the system says.
pub fn control(program: &Path, count: u64, seed: u64) -> Result<u64, String> {
    let start = Start::new(program, &["--steps", "150", "--unsynced"]);
    let mut draw = Draw::new(seed);
    let (mut lost, mut disk) = (0, Ext4::make(MIB)?);
    for number in 0..count {
        let dir = disk.path().join(format!("data {number}"));
        let mut witness = Witness::new();
        let mut life = start.life(&dir)?;
        let spoke = life.until(PATIENCE, |words| words.iter().any(|word| matches!(word, Word::Ack(..))));
        thread::sleep(Duration::from_micros(draw.below(40_000)));
        disk.cut()?;
        let ended = life.kill()?;
        if !spoke {
            return Err(format!("a worker acknowledged nothing: {:?} {}", ended.words, ended.errors));
        }
        disk.unmount()?;
        disk.mount()?;
        let judged = witness.hear(&ended.words).and_then(|()| judge(&mut witness, &dir, false, false));
        lost += u64::from(judged.is_err());
        if number % ROUNDS == ROUNDS - 1 {
            disk = Ext4::make(MIB)?;
        }
    }
    Ok(lost)
}
