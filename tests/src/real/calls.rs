//! System calls of a worker, under strace: killed at each of them, and each sync failing. strace sees every call, those that go
//! past the C library too, so a library that is loaded before it would tell nothing more.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    time::Duration,
};

use super::{
    kills::judge,
    life::{Ended, Start},
    tool,
    witness::Witness,
};

/// What changes files, or says what is durable.
const CHANGES: [&str; 12] = [
    "openat",
    "mkdir",
    "write",
    "pwrite64",
    "fdatasync",
    "fsync",
    "rename",
    "unlink",
    "ftruncate",
    "fallocate",
    "flock",
    "close",
];

/// A worker on one thread does the same calls in the same order each time.
const PLAN: [&str; 5] = ["--inline", "--sessions", "2", "--steps", "14"];

/// How long one may take under strace.
const LIMIT: Duration = Duration::from_secs(60);

/// What was done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Runs by the call that was met.
    pub runs: BTreeMap<&'static str, u64>,
    /// Runs in which the log was poisoned.
    pub poisoned: u64,
    /// Runs that the failure did not reach, or did not harm.
    pub unharmed: u64,
    /// Acknowledgements heard.
    pub acks: u64,
}

/// A worker under strace.
struct Traced<'t> {
    program: &'t Path,
    below: &'t Path,
}

impl Traced<'_> {
    fn run(&self, number: u64, trace: &str, inject: Option<&str>) -> Result<(Ended, String), String> {
        let log = self.below.join("strace");
        let mut under = vec![tool("strace")?.into_os_string()];
        under.extend(["-f", "-qq", "-y", "-s", "32", "--seccomp-bpf", "-o"].map(Into::into));
        under.push(log.clone().into());
        under.extend(["-e".into(), format!("trace={trace}").into()]);
        if let Some(inject) = inject {
            under.extend(["-e".into(), format!("inject={inject}").into()]);
        }
        let ended = Start::new(self.program, &PLAN).under(under).life(&self.dir(number))?.ended(LIMIT)?;
        let log = fs::read_to_string(log).map_err(|error| format!("what strace saw: {error}"))?;
        Ok((ended, log))
    }

    fn dir(&self, number: u64) -> std::path::PathBuf {
        self.below.join(format!("data {number}"))
    }

    /// How often the worker does each of these calls when nothing happens.
    fn counts(&self, calls: &[&'static str]) -> Result<Vec<(&'static str, u64)>, String> {
        let (ended, log) = self.run(0, &calls.join(","), None)?;
        if !ended.status.success() {
            return Err(format!("a worker under strace ended with {}: {}", ended.status, ended.errors));
        }
        let count = |call: &str| log.lines().filter(|line| name(line) == Some(call)).count() as u64;
        self.clear(0);
        Ok(calls.iter().map(|call| (*call, count(call))).collect())
    }

    fn clear(&self, number: u64) {
        // One that stays is in nobody's way.
        let _ = fs::remove_dir_all(self.dir(number));
    }
}

/// The call of a line of strace: behind the process.
fn name(line: &str) -> Option<&str> {
    let call = line.split_once(' ')?.1.trim_start();
    Some(&call[..call.find('(')?])
}

/// Kills a worker at each of its calls that change something, or each so many.
///
/// # Errors
/// The first finding.
pub fn kill_at_each(program: &Path, below: &Path, stride: u64) -> Result<Tally, String> {
    let traced = Traced { program, below };
    let mut tally = Tally::default();
    let mut number = 0;
    for (call, count) in traced.counts(&CHANGES)? {
        // Counted on over all kinds of calls, so that a stride meets few ones, too.
        for at in (1..=count).filter(|at| (at + count).is_multiple_of(stride)) {
            number += 1;
            let context = |why: String| format!("killed at {call} {at} of {count}: {why}");
            let inject = format!("{call}:signal=SIGKILL:when={at}");
            let (ended, _) = traced.run(number, call, Some(&inject)).map_err(context)?;
            if !ended.errors.is_empty() {
                return Err(context(ended.errors));
            }
            let mut witness = Witness::new();
            witness.hear(&ended.words).map_err(context)?;
            judge(&mut witness, &traced.dir(number), number.is_multiple_of(2), false).map_err(context)?;
            judge(&mut witness, &traced.dir(number), true, true).map_err(context)?;
            traced.clear(number);
            *tally.runs.entry(call).or_default() += 1;
            tally.acks += witness.acks();
        }
    }
    Ok(tally)
}

/// Has each sync of a worker fail, or each so many: once, and it and all that follow.
///
/// # Errors
/// The first finding.
pub fn fail_each_sync(program: &Path, below: &Path, stride: u64) -> Result<Tally, String> {
    let traced = Traced { program, below };
    let mut tally = Tally::default();
    let mut number = 1_000_000;
    for (call, count) in traced.counts(&["fdatasync", "fsync"])? {
        for (at, sticky) in (1..=count).flat_map(|at| [(at, ""), (at, "+")]) {
            if !(at + count).is_multiple_of(stride) {
                continue;
            }
            number += 1;
            let context = |why: String| format!("{call} {at}{sticky} of {count} fails: {why}");
            let inject = format!("{call}:error=EIO:when={at}{sticky}");
            let trace = "fdatasync,fsync,openat,close,write";
            let (ended, log) = traced.run(number, trace, Some(&inject)).map_err(context)?;
            if ended.errors.contains("panicked") {
                return Err(context(ended.errors));
            }
            match follow(&log).map_err(context)? {
                true => tally.poisoned += 1,
                false if ended.status.success() => tally.unharmed += 1,
                false => {}
            }
            let mut witness = Witness::new();
            witness.hear(&ended.words).map_err(context)?;
            judge(&mut witness, &traced.dir(number), true, true).map_err(context)?;
            traced.clear(number);
            *tally.runs.entry(call).or_default() += 1;
            tally.acks += witness.acks();
        }
    }
    Ok(tally)
}

/// Reads what a worker did, call by call, after a sync of it failed: that file is not synced again as long as it is open, and
/// after a failed sync of the log nothing is acknowledged before the directory is opened again. Returns whether that was so.
fn follow(log: &str) -> Result<bool, String> {
    let (mut failed, mut poisoned, mut ever) = (BTreeSet::new(), false, false);
    for line in log.lines() {
        let Some(call) = name(line) else { continue };
        let file = line.split_once('(').and_then(|(_, rest)| rest.split_once('>')).map(|(file, _)| file);
        match (call, file) {
            ("fdatasync" | "fsync", Some(file)) => {
                if failed.contains(file) {
                    return Err(format!("a file is synced again whose sync failed: {line}"));
                }
                if line.contains("(INJECTED)") {
                    failed.insert(file);
                    // Commits are synced with this; new segments, which nobody uses yet, with the other.
                    poisoned |= call == "fdatasync" && file.contains("/log/") && file.ends_with(".log");
                    ever |= poisoned;
                }
            }
            ("close", Some(file)) => {
                failed.remove(file);
            }
            ("openat", _) if line.contains("LOCK\"") => poisoned = false,
            ("write", Some(_)) if poisoned && line.contains("\"ack ") => {
                return Err(format!("acknowledged after a failed sync: {line}"));
            }
            _ => {}
        }
    }
    Ok(ever)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPEN: &str = "7 openat(AT_FDCWD</>, \"/d/LOCK\", O_RDWR) = 3</d/LOCK>";
    const FAILED: &str = "7 fdatasync(5</d/log/01.log>) = -1 EIO (Input/output error) (INJECTED)";
    const ACK: &str = "7 write(1<pipe:[9]>, \"ack 0 5\\n\", 8) = 8";

    #[test]
    fn what_follows_a_failed_sync_is_seen() {
        let lines = |lines: &[&str]| follow(&lines.join("\n"));
        assert_eq!(lines(&[OPEN, ACK]), Ok(false));
        assert_eq!(lines(&[OPEN, ACK, FAILED]), Ok(true));
        assert!(lines(&[OPEN, FAILED, ACK]).is_err());
        assert_eq!(lines(&[OPEN, FAILED, OPEN, ACK]), Ok(true));
        assert!(lines(&[OPEN, FAILED, FAILED]).is_err());
        let closed = "7 close(5</d/log/01.log>) = 0";
        assert_eq!(lines(&[OPEN, FAILED, closed, FAILED]), Ok(true));
    }
}
