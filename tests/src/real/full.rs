//! Small file systems that run full: of bytes and of files, and files that may not grow.

use std::{
    fs::File,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use lineal::{Engine, Error, Result as LinealResult};
use rustix::fs::{FallocateFlags, fallocate, statvfs};

use super::{
    kills::judge,
    lane::{Handles, LANES, NAMESPACE},
    life::{Ended, Start},
    tool,
    witness::{Witness, Word},
    worker,
};

/// How soon writes go on when there is room.
const RESUMES_WITHIN: Duration = Duration::from_secs(10);

/// Most that is waited for words of a worker.
const PATIENCE: Duration = Duration::from_secs(60);

/// Steps of a lane on a disk that does not run full.
const STEPS_MAX: u64 = 2_000;

/// What was done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Points to which it was filled.
    pub points: u64,
    /// Of them, those at which not even opening was possible.
    pub opens_refused: u64,
    /// Commits that were refused.
    pub refused: u64,
    /// Checkpoints on the full disk, and those that were refused.
    pub checkpoints: u64,
    /// See `checkpoints`.
    pub checkpoints_refused: u64,
    /// Deletes on the full disk; none is refused.
    pub deletes: u64,
    /// Longest time until writes went on when there was room.
    pub slowest: Duration,
}

/// What takes the room of a file system, until it is dropped.
struct Filler<'f>(&'f Path);

impl<'f> Filler<'f> {
    /// Leaves about so many bytes.
    fn leave(path: &'f Path, room: u64) -> Result<Filler<'f>, String> {
        let failed = |error: &dyn std::fmt::Display| format!("filling: {error}");
        let file = File::create(path).map_err(|error| failed(&error))?;
        let parent = path.parent().ok_or("no folder")?;
        let stat = statvfs(parent).map_err(|error| failed(&error))?;
        let mut bytes = (stat.f_bavail * stat.f_frsize).saturating_sub(room);
        // A part of what is free holds the file's own map.
        while bytes > 0 && fallocate(&file, FallocateFlags::empty(), 0, bytes).is_err() {
            bytes = bytes.saturating_sub(64 << 10);
        }
        Ok(Filler(path))
    }
}

impl Drop for Filler<'_> {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(self.0) {
            eprintln!("{} stays: {error}", self.0.display());
        }
    }
}

/// Lanes that are written here, and what they say to the witness.
struct Here {
    lanes: [Handles; LANES],
    at: [u64; LANES],
    words: Vec<Word>,
}

impl Here {
    fn begin(engine: &Engine) -> LinealResult<Here> {
        let lanes = Handles::all(&engine.namespace(NAMESPACE)?)?;
        Ok(Here { lanes, at: [0; LANES], words: (0..LANES).map(|lane| Word::At(lane, 0)).collect() })
    }

    fn step(&mut self, engine: &Engine, lane: usize) -> LinealResult<()> {
        Handles::submit(&self.lanes, lane, engine, self.at[lane] + 1).wait()?;
        self.at[lane] += 1;
        self.words.push(Word::Ack(lane, self.at[lane]));
        Ok(())
    }
}

fn is_full(error: &Error) -> bool {
    matches!(error, Error::NoSpace { .. })
}

fn only_full<T>(what: &str, outcome: LinealResult<T>) -> Result<bool, String> {
    match outcome {
        Ok(_) => Ok(true),
        Err(error) if is_full(&error) => Ok(false),
        Err(error) => Err(format!("{what}: {error:?}")),
    }
}

/// Room that is left at most, beside what an engine has that was just opened.
const ROOM_MAX: u64 = 1_500_000;

/// Segments of a log that is prepared for what comes: the one that is written, then the reserve for deletes, then the next.
const PREPARED: usize = 3;

fn segments(dir: &Path) -> usize {
    let files = std::fs::read_dir(dir.join("log")).into_iter().flatten().flatten();
    files.filter(|file| file.path().extension().is_some_and(|extension| extension == "log")).count()
}

/// Fills a file system to so many points, one after the other.
///
/// # Errors
/// The first finding.
pub fn fill_to(program: &Path, top: &Path, points: u64, tally: &mut Tally) -> Result<(), String> {
    (0..points).try_for_each(|at| {
        let room = ROOM_MAX * at / points;
        fill(program, top, room, tally).map_err(|why| format!("room {room}: {why}"))
    })
}

/// Fills a file system until so much is left, and has an engine in it run full: it refuses, reads, deletes, is killed, opens, and
/// goes on when there is room.
///
/// # Errors
/// What is wrong.
pub fn fill(program: &Path, top: &Path, room: u64, tally: &mut Tally) -> Result<(), String> {
    let said = |error: Error| error.to_string();
    let dir = top.join(format!("data {room}"));
    let engine = worker::options().open(&dir).map_err(said)?;
    let spare = |engine: &Engine, number: u64| engine.namespace("spare")?.object(&number.to_string());
    for number in 0..3 {
        spare(&engine, number)
            .and_then(|object| object.transact(|tx| tx.put("k", vec![7; 3_000])).wait())
            .map_err(said)?;
    }
    let mut here = Here::begin(&engine).map_err(said)?;
    for lane in 0..LANES {
        here.step(&engine, lane).map_err(said)?;
    }
    // What the engine keeps for a full disk it makes in the background.
    let made = |engine: &Engine| engine.stats().ballast_bytes > 0 && segments(&dir) >= PREPARED;
    let started = Instant::now();
    while !made(&engine) {
        if started.elapsed() > PATIENCE {
            return Err("an engine keeps nothing for a full disk".to_owned());
        }
        thread::sleep(Duration::from_millis(1));
    }
    let (mut witness, filler) = (Witness::new(), top.join("filler"));
    let filler = Filler::leave(&filler, room)?;
    // Every lane, until each of them was refused.
    let mut full = [false; LANES];
    for _ in 0..STEPS_MAX {
        for lane in (0..LANES).filter(|lane| !full[*lane]).collect::<Vec<_>>() {
            full[lane] = !only_full("a commit", here.step(&engine, lane))?;
            tally.refused += u64::from(full[lane]);
        }
        if full == [true; LANES] {
            break;
        }
    }
    witness.hear(&here.words)?;
    witness.judge(&engine, true, true).map_err(|why| format!("full: {why}"))?;
    for number in 0..2 {
        spare(&engine, number)
            .and_then(|object| object.delete().wait())
            .map_err(|error| format!("deleting: {error:?}"))?;
        tally.deletes += 1;
    }
    let packed = only_full("a checkpoint", engine.checkpoint())?;
    tally.checkpoints += 1;
    tally.checkpoints_refused += u64::from(!packed);
    witness.judge(&engine, true, false).map_err(|why| format!("full, after deletes: {why}"))?;
    drop((here, engine));

    // Another process meets the full disk, and is killed there.
    let mut life = Start::new(program, &["--steps", "50"]).life(&dir)?;
    let ends =
        |word: &Word| matches!(word, Word::Full(_) | Word::Refused(_) | Word::Failed(_) | Word::Closed);
    life.until(PATIENCE, |words| words.iter().any(ends));
    let ended = life.kill()?;
    only_said_full(&ended)?;
    witness.hear(&ended.words)?;
    judge(&mut witness, &dir, false, true).map_err(|why| format!("killed when full, for reading: {why}"))?;
    match worker::options().open(&dir) {
        Ok(engine) => {
            witness.judge(&engine, true, true).map_err(|why| format!("killed when full: {why}"))?;
        }
        Err(error) if is_full(&error) => tally.opens_refused += 1,
        Err(error) => return Err(format!("killed when full: {error:?}")),
    }
    drop(filler);

    let engine = worker::options().open(&dir).map_err(|error| format!("with room: {error}"))?;
    witness.judge(&engine, true, true).map_err(|why| format!("with room: {why}"))?;
    let started = Instant::now();
    let spare = engine.namespace("spare").and_then(|spare| spare.object("again")).map_err(said)?;
    while !only_full("a commit with room", spare.transact(|tx| tx.put("k", vec![7; 3_000])).wait())? {
        if started.elapsed() > RESUMES_WITHIN {
            return Err(format!("room {room}: writes do not go on with room"));
        }
        thread::sleep(Duration::from_millis(5));
    }
    tally.slowest = tally.slowest.max(started.elapsed());
    engine.checkpoint().map_err(|error| format!("a checkpoint with room: {error}"))?;
    engine.verify(&mut |_| ()).map_err(|error| format!("verify: {error}"))?;
    drop(spare);
    engine.close().map_err(|error| format!("close: {error}"))?;
    std::fs::remove_dir_all(&dir).map_err(|error| error.to_string())?;
    tally.points += 1;
    Ok(())
}

/// That a worker met nothing but a full disk.
fn only_said_full(ended: &Ended) -> Result<(), String> {
    let bad = |word: &&Word| match word {
        Word::Full(why) | Word::Refused(why) | Word::Failed(why) | Word::Work(why) => {
            !why.starts_with("NoSpace")
        }
        _ => false,
    };
    match ended.words.iter().find(bad) {
        Some(bad) => Err(format!("on a full disk a worker said {bad:?}")),
        None if !ended.errors.is_empty() => Err(format!("on a full disk a worker wrote {}", ended.errors)),
        None => Ok(()),
    }
}

/// Runs a worker on a file system that has room for so many more files only, then gives it room for more.
///
/// # Errors
/// What is wrong.
pub fn few_files(program: &Path, inodes: u64) -> Result<bool, String> {
    let small = super::mount::Tmpfs::make(&format!("size=64m,nr_inodes={inodes}"))?;
    let dir = small.path().join("data");
    let start = Start::new(program, &["--sessions", "2", "--steps", "120"]);
    let mut life = start.life(&dir)?;
    let met =
        |word: &Word| matches!(word, Word::Full(_) | Word::Refused(_) | Word::Failed(_) | Word::Work(_));
    life.until(PATIENCE, |words| {
        words.iter().any(met) || words.iter().filter(|word| **word == Word::Closed).count() == 2
    });
    let ended = life.kill()?;
    // A folder that cannot be made is no directory for data.
    let never = matches!(&ended.words[..], [Word::Failed(why)] if why.starts_with("InvalidDirectory"));
    if !never {
        only_said_full(&ended)?;
    }
    let mut witness = Witness::new();
    witness.hear(&ended.words)?;
    small.remount("nr_inodes=100000")?;
    judge(&mut witness, &dir, true, true)?;
    Ok(ended.words.iter().any(met))
}

/// Runs a worker whose files may not be longer than this, with the signal that tells so deadly or ignored, and judges what
/// it leaves. Returns how it went.
///
/// # Errors
/// What is wrong.
pub fn short_files(program: &Path, dir: &Path, bytes: u64, deadly: bool) -> Result<Ended, String> {
    let limit = format!("--fsize={bytes}");
    let prlimit = tool("prlimit")?.into_os_string();
    let mut under = vec![prlimit, limit.into()];
    if !deadly {
        // What is ignored stays ignored in the program that follows.
        let shell = ["sh", "-c", "trap '' XFSZ; exec \"$@\"", "sh"].map(Into::into);
        under.splice(0..0, shell);
    }
    let start = Start::new(program, &["--sessions", "2", "--steps", "60"]).under(under);
    let mut life = start.life(dir)?;
    life.until(PATIENCE, |words| {
        words.iter().any(|word| matches!(word, Word::Full(_) | Word::Failed(_)))
            || words.iter().filter(|word| **word == Word::Closed).count() == 2
    });
    // One that was told of a full disk tries again and again.
    let ended = match life.heard().iter().any(|word| matches!(word, Word::Full(_))) {
        true => life.kill()?,
        false => life.ended(PATIENCE)?,
    };
    if ended.errors.contains("panicked") {
        return Err(ended.errors);
    }
    let mut witness = Witness::new();
    witness.hear(&ended.words)?;
    judge(&mut witness, dir, true, true)?;
    Ok(ended)
}
