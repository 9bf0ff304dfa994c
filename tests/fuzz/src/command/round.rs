//! One target under libFuzzer for a while.

use std::{
    fs::{self, File},
    io::{self, BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use lineal_fuzz::Target;

/// Largest single allocation, in MiB: what is allowed beside the largest size that a format lets anybody declare, which is
/// that of a part of a pack.
const MALLOC_MIB: u32 = 64 + 65;

/// Most memory in all, in MiB: the same, what the sanitizer takes, and the corpus.
const MEMORY_MIB: u32 = 768;

/// Longest that one input may take, in seconds. Inputs are a few KiB; far above what they need, as it is not processor time.
const INPUT_SECONDS: u32 = 60;

/// What was seen of a target so far.
pub(super) struct Seen {
    pub(super) target: &'static Target,
    /// Time of a processor.
    pub(super) time: Duration,
    pub(super) executions: u64,
    pub(super) corpus: u64,
    pub(super) features: u64,
    pub(super) finds: Vec<PathBuf>,
}

impl Seen {
    pub(super) fn new(target: &'static Target) -> Seen {
        Seen { target, time: Duration::ZERO, executions: 0, corpus: 0, features: 0, finds: Vec::new() }
    }

    /// Where it stands.
    pub(super) fn line(&self) -> String {
        format!(
            "{}: {:.1} minutes, {} executions, corpus {}, features {}, {} finds",
            self.target.name,
            self.time.as_secs_f64() / 60.0,
            self.executions,
            self.corpus,
            self.features,
            self.finds.len()
        )
    }

    /// Takes what a line of libFuzzer's says.
    fn hear(&mut self, line: &str) {
        let after = |word: &str| {
            let mut words = line.split_whitespace().skip_while(move |found| *found != word).skip(1);
            words.next().and_then(|number| number.split('/').next()?.parse::<u64>().ok())
        };
        if line.starts_with('#') {
            self.features = after("ft:").unwrap_or(self.features);
            self.corpus = after("corp:").unwrap_or(self.corpus);
        }
    }
}

/// One run of the fuzzer.
pub(super) struct Round<'r> {
    pub(super) fuzzer: &'r Path,
    /// Where it keeps its inputs.
    pub(super) corpus: &'r Path,
    /// For how long.
    pub(super) time: Duration,
}

impl Round<'_> {
    pub(super) fn run(&self, seen: &mut Seen) -> io::Result<()> {
        let target = seen.target;
        fs::create_dir_all(self.corpus)?;
        for (number, seed) in (target.seeds)().iter().enumerate() {
            fs::write(self.corpus.join(format!("seed-{number}")), seed)?;
        }
        let finds = self.corpus.with_extension("finds");
        fs::create_dir_all(&finds)?;
        let log = self.corpus.with_extension("log");
        let mut fuzzer = command(self.fuzzer, target);
        fuzzer
            .arg(self.corpus)
            .args(folders(target))
            .arg(format!("-max_total_time={}", self.time.as_secs().max(1)))
            .arg(format!("-artifact_prefix={}/", finds.display()))
            .stderr(File::create(&log)?);
        let mut child = fuzzer.spawn()?;
        let mut time = Duration::ZERO;
        let ended = loop {
            time = processor_time(child.id()).unwrap_or(time);
            if let Some(ended) = child.try_wait()? {
                break ended;
            }
            thread::sleep(Duration::from_millis(200));
        };
        seen.time += time;
        let mut executions = 0;
        for line in BufReader::new(File::open(&log)?).lines() {
            let Ok(line) = line else { continue };
            seen.hear(&line);
            let count =
                line.strip_prefix("stat::number_of_executed_units:").or_else(|| line.strip_prefix('#'));
            let count = count.and_then(|rest| rest.split_whitespace().next()?.parse().ok());
            executions = count.unwrap_or(0).max(executions);
        }
        seen.executions += executions;
        if !ended.success() {
            seen.finds.extend(self.keep(target, &finds)?);
            if seen.finds.is_empty() {
                return Err(io::Error::other(format!(
                    "{} ended without a find; see {}",
                    target.name,
                    log.display()
                )));
            }
        }
        Ok(())
    }

    /// Makes what was found smaller, and puts it among the regressions.
    fn keep(&self, target: &Target, finds: &Path) -> io::Result<Vec<PathBuf>> {
        let mut kept = Vec::new();
        for found in fs::read_dir(finds)? {
            let found = found?.path();
            let name = found.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
            if name.starts_with("slow-unit-") {
                continue;
            }
            let small = finds.join("small");
            let _ = command(self.fuzzer, target)
                .args(["-minimize_crash=1", "-max_total_time=60"])
                .arg(format!("-exact_artifact_path={}", small.display()))
                .arg(&found)
                .stderr(Stdio::null())
                .status()?;
            let folder = super::package().join("regressions").join(target.name);
            fs::create_dir_all(&folder)?;
            let to = folder.join(&name[..name.len().min(22)]);
            // What it made small has to break the same promise still, if it is anything at all.
            let breaks = || -> io::Result<bool> {
                let ended = command(self.fuzzer, target).arg(&small).stderr(Stdio::null()).status()?;
                Ok(small.exists() && !ended.success())
            };
            fs::copy(if breaks()? { &small } else { &found }, &to)?;
            let _ = fs::remove_file(&small);
            fs::remove_file(&found)?;
            kept.push(to);
        }
        Ok(kept)
    }
}

/// The committed inputs of a target.
pub(super) fn folders(target: &Target) -> Vec<PathBuf> {
    let folders = ["corpus", "regressions"].map(|folder| super::package().join(folder).join(target.name));
    folders.into_iter().filter(|folder| folder.is_dir()).collect()
}

/// The fuzzer for a target, with the bounds that are part of each.
pub(super) fn command(fuzzer: &Path, target: &Target) -> Command {
    let mut command = Command::new(fuzzer);
    command
        .env("LINEAL_FUZZ_TARGET", target.name)
        .env("ASAN_OPTIONS", "quarantine_size_mb=8:malloc_context_size=8:detect_leaks=0")
        .env("RUST_BACKTRACE", "0")
        .arg(format!("-max_len={}", target.bytes_max))
        .arg(format!("-malloc_limit_mb={MALLOC_MIB}"))
        .arg(format!("-rss_limit_mb={MEMORY_MIB}"))
        .arg(format!("-timeout={INPUT_SECONDS}"))
        .args(["-print_final_stats=1", "-use_value_profile=0", "-reload=0", "-verbosity=1"])
        .stdout(Stdio::null());
    let dictionary = super::package().join("seeds").join(format!("{}.dict", target.name));
    if dictionary.is_file() {
        command.arg(format!("-dict={}", dictionary.display()));
    }
    command
}

/// Time that a process of ours has had of processors; `None` if it is gone.
fn processor_time(process: u32) -> Option<Duration> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?;
    // A hundredth of a second each, on Linux wherever it is asked from.
    Some(Duration::from_millis(10 * ticks)).filter(|time| !time.is_zero())
}
