//! Processes that may have few descriptors, threads or little memory, and disks that become read-only or do not answer.

use std::{
    fs,
    os::unix::{fs::chown, process::ExitStatusExt},
    path::Path,
    thread,
    time::Duration,
};

use lineal::Error;

use super::{
    kills::judge,
    life::{Ended, Start},
    mount::Ext4,
    tool,
    witness::{Witness, Word},
    worker,
};

/// How long a worker with little of something may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// Nobody, to whom limits on processes apply.
const NOBODY: u32 = 65_534;

/// What a process has little of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Little {
    /// Open files.
    Descriptors,
    /// Threads.
    Threads,
    /// Address space, in MiB.
    Memory,
}

/// Runs a worker with so much of it and judges what it leaves. Returns how it ended: by its own end, or by a typed error; without
/// memory or threads also by an abort.
///
/// # Errors
/// What is wrong.
pub fn with_little(program: &Path, dir: &Path, little: Little, amount: u64) -> Result<Ended, String> {
    let prlimit = tool("prlimit")?.into_os_string();
    let under: Vec<std::ffi::OsString> = match little {
        Little::Descriptors => vec![prlimit, format!("--nofile={amount}").into()],
        Little::Memory => vec![prlimit, format!("--as={}", amount << 20).into()],
        Little::Threads => {
            fs::create_dir_all(dir)
                .and_then(|()| chown(dir, Some(NOBODY), None))
                .map_err(|error| error.to_string())?;
            let mut words = vec![tool("setpriv")?.into_os_string()];
            words.extend([format!("--reuid={NOBODY}"), "--clear-groups".into()].map(Into::into));
            words.extend([prlimit, format!("--nproc={amount}").into()]);
            words
        }
    };
    let start = Start::new(program, &["--sessions", "2", "--steps", "40"]).under(under);
    let mut life = start.life(dir)?;
    // Without a descriptor for a new file a commit may be refused as on a full disk, and is tried again.
    life.until(PATIENCE, |words| words.iter().any(|word| matches!(word, Word::Full(_))));
    let ended = match life.heard().iter().any(|word| matches!(word, Word::Full(_))) {
        true => life.kill()?,
        false => life.ended(PATIENCE)?,
    };
    let crashed = ended.status.signal().is_some() || !matches!(ended.status.code(), Some(0 | 3));
    let panicked = ended.errors.contains("panicked");
    // One that cannot even be loaded was none.
    let aborts = ["memory allocation", "while loading shared libraries"];
    // Nor one that the kernel ended while it was loaded, before it could say anything.
    let unsaid = ended.words.is_empty() && ended.errors.is_empty();
    let may_abort =
        little == Little::Memory && (unsaid || aborts.iter().any(|words| ended.errors.contains(words)));
    if panicked || (crashed && !may_abort && !ended.words.iter().any(|word| matches!(word, Word::Full(_)))) {
        return Err(format!(
            "{little:?} {amount}: {} {:?} {}",
            ended.status,
            ended.words.last(),
            ended.errors
        ));
    }
    let mut witness = Witness::new();
    witness.hear(&ended.words)?;
    judge(&mut witness, dir, true, true).map_err(|why| format!("{little:?} {amount}: {why}"))?;
    Ok(ended)
}

/// Opens a directory, writes, and closes it, so many times. Nothing of this process may be left of it.
///
/// # Errors
/// What is left, or what the engine says.
pub fn leaks(dir: &Path, count: u64) -> Result<(), String> {
    let had = |what: &str| {
        fs::read_dir(format!("/proc/self/{what}")).map_err(|error| error.to_string()).map(Iterator::count)
    };
    let once = |number: u64| -> lineal::Result<()> {
        let engine = worker::options().open(dir)?;
        let object = engine.namespace("n")?.object("o")?;
        object.transact(|tx| tx.put("k", number.to_le_bytes())).wait()?;
        if number.is_multiple_of(16) {
            engine.checkpoint()?;
        }
        drop(object);
        if number.is_multiple_of(2) { engine.close() } else { Ok(drop(engine)) }
    };
    once(0).map_err(|error| error.to_string())?;
    let before = (had("fd")?, had("task")?);
    for number in 1..=count {
        once(number).map_err(|error| format!("opened {number} times: {error}"))?;
    }
    let after = (had("fd")?, had("task")?);
    if after.0 > before.0 || after.1 > before.1 {
        return Err(format!("(descriptors, threads) were {before:?} and are {after:?}"));
    }
    Ok(())
}

/// A file system turns read-only under a worker, by an error that its kernel finds.
///
/// # Errors
/// What is wrong.
pub fn turned_read_only(program: &Path) -> Result<(), String> {
    let mut disk = Ext4::make(32)?;
    let dir = disk.path().join("data");
    let mut life = Start::new(program, &[]).life(&dir)?;
    let many = |words: &[Word]| words.iter().filter(|word| matches!(word, Word::Ack(..))).count() > 100;
    if !life.until(PATIENCE, many) {
        return Err(format!("a worker wrote little: {:?}", life.kill()?));
    }
    disk.abort()?;
    let ended = life.ended(PATIENCE)?;
    if ended.errors.contains("panicked") || !ended.words.iter().any(|word| matches!(word, Word::Failed(_))) {
        return Err(format!("read-only: {} {:?} {}", ended.status, ended.words.last(), ended.errors));
    }
    let mut witness = Witness::new();
    witness.hear(&ended.words)?;
    match worker::options().open(&dir) {
        Err(Error::InvalidDirectory { .. }) => {}
        other => return Err(format!("opened for writing on a read-only file system: {other:?}")),
    }
    // What reads see there is what the kernel still has; after it was mounted anew it is what is on the disk.
    judge(&mut witness, &dir, false, false).map_err(|why| format!("read-only: {why}"))?;
    disk.unmount()?;
    disk.mount()?;
    judge(&mut witness, &dir, true, true).map_err(|why| format!("mounted anew: {why}"))
}

/// A disk that does not answer for a while: what is acknowledged meanwhile was durable before, and writes go on afterwards.
///
/// # Errors
/// What is wrong.
pub fn frozen(program: &Path, stall: Duration) -> Result<(u64, u64), String> {
    let disk = Ext4::make(32)?;
    let dir = disk.path().join("data");
    let mut life = Start::new(program, &[]).life(&dir)?;
    let acks = |words: &[Word]| words.iter().filter(|word| matches!(word, Word::Ack(..))).count();
    if !life.until(PATIENCE, |words| acks(words) > 100) {
        return Err(format!("a worker wrote little: {:?}", life.kill()?));
    }
    let frozen = disk.freeze()?;
    let before = acks(life.heard());
    thread::sleep(stall);
    // What the disk holds now is what it held all the time.
    let then = tempfile::tempdir().map_err(|error| error.to_string())?;
    let image = then.path().join("image");
    fs::copy(disk.image(), &image).map_err(|error| format!("copying: {error}"))?;
    let mut witness = Witness::new();
    let during: Vec<Word> = life.heard().to_vec();
    witness.hear(&during)?;
    drop(frozen);
    if !life.until(PATIENCE, |words| acks(words) > acks(&during) + 100) {
        return Err(format!("writes do not go on: {:?}", life.kill()?));
    }
    let ended = life.kill()?;
    let mut after = Witness::new();
    after.hear(&ended.words)?;
    judge(&mut after, &dir, true, true).map_err(|why| format!("after the stall: {why}"))?;
    let copy = Ext4::of(&image)?;
    judge(&mut witness, &copy.path().join("data"), true, true)
        .map_err(|why| format!("during the stall: {why}"))?;
    Ok((before as u64, acks(&during) as u64))
}
