//! The command: `cargo run -p lineal-fuzz --release -- --minutes 30`.

mod build;
mod keep;
mod round;

use std::{
    collections::VecDeque,
    fs, io,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::{Mutex, PoisonError},
    thread,
    time::Duration,
};

use clap::Parser;
use lineal_fuzz::{TARGETS, Target};

use round::{Round, Seen};

/// Longest that one target runs before the next gets its turn.
const ROUND: Duration = Duration::from_secs(300);

/// Fuzzes everything that reads bytes which may be hostile, each target for some time of a processor
#[derive(Debug, Parser)]
#[command(
    after_help = "Examples:\n  lineal-fuzz --minutes 30\n  lineal-fuzz --minutes 5 --only segment --only pack\n  lineal-fuzz --read tests/fuzz/regressions/pack/1 --only pack"
)]
struct Args {
    /// Processor time for each target
    #[arg(long, default_value_t = 30)]
    minutes: u64,
    /// Only this target; may be given again
    #[arg(long, value_name = "TARGET")]
    only: Vec<String>,
    /// How many run at a time
    #[arg(long, default_value_t = 2)]
    jobs: usize,
    /// Where the inputs are kept that were found, from one run to the next
    #[arg(long, value_name = "DIR", default_value = "target/fuzz-corpus")]
    corpus: PathBuf,
    /// Fuzz nothing: put what covers most of the corpora into the repository
    #[arg(long)]
    keep: bool,
    /// Fuzz nothing: give the target this file, without libFuzzer
    #[arg(long, value_name = "FILE")]
    read: Option<PathBuf>,
}

pub(crate) fn main() -> ExitCode {
    let args = Args::parse();
    match run(&args) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(2)
        }
    }
}

fn run(args: &Args) -> io::Result<bool> {
    let targets = chosen(&args.only)?;
    if let Some(file) = &args.read {
        let [target] = targets[..] else { return Err(io::Error::other("name the target with --only")) };
        (target.run)(&fs::read(file)?);
        println!("{}: {} is read and refused, or read and right", target.name, file.display());
        return Ok(true);
    }
    let fuzzer = build::fuzzer()?;
    if args.keep {
        targets
            .iter()
            .try_for_each(|target| keep::corpus(&fuzzer, target, &args.corpus.join(target.name)))?;
        return Ok(true);
    }
    let seen = fuzz(&fuzzer, args, &targets)?;
    print(&seen);
    Ok(seen.iter().all(|seen| seen.finds.is_empty()))
}

fn chosen(only: &[String]) -> io::Result<Vec<&'static Target>> {
    if only.is_empty() {
        return Ok(TARGETS.iter().collect());
    }
    let known = || TARGETS.iter().map(|target| target.name).collect::<Vec<_>>().join(", ");
    let find = |name: &String| {
        lineal_fuzz::target(name)
            .ok_or_else(|| io::Error::other(format!("there is no target {name:?}; there are {}", known())))
    };
    only.iter().map(find).collect()
}

/// Gives each target its rounds, in turn, until each had its time or has found something.
fn fuzz(fuzzer: &Path, args: &Args, targets: &[&'static Target]) -> io::Result<Vec<Seen>> {
    let wanted = Duration::from_secs(60 * args.minutes);
    let waiting: Mutex<VecDeque<Seen>> = Mutex::new(targets.iter().map(|target| Seen::new(target)).collect());
    let done = Mutex::new(Vec::new());
    thread::scope(|scope| {
        let worker = || -> io::Result<()> {
            loop {
                let next = waiting.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
                let Some(mut seen) = next else { return Ok(()) };
                let rest = wanted.saturating_sub(seen.time).min(ROUND);
                let corpus = args.corpus.join(seen.target.name);
                Round { fuzzer, corpus: &corpus, time: rest }.run(&mut seen)?;
                println!("{}", seen.line());
                let over = seen.time + Duration::from_secs(1) >= wanted || !seen.finds.is_empty();
                let queue = if over { None } else { Some(&waiting) };
                match queue {
                    Some(queue) => queue.lock().unwrap_or_else(PoisonError::into_inner).push_back(seen),
                    None => done.lock().unwrap_or_else(PoisonError::into_inner).push(seen),
                }
            }
        };
        let workers: Vec<_> = (0..args.jobs.max(1)).map(|_| scope.spawn(worker)).collect();
        workers
            .into_iter()
            .try_for_each(|worker| worker.join().unwrap_or_else(|_| Err(io::Error::other("a bug"))))
    })?;
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_by_key(|seen| TARGETS.iter().position(|target| target.name == seen.target.name));
    Ok(done)
}

fn print(seen: &[Seen]) {
    println!();
    println!(
        "{:<10} {:>9} {:>12} {:>8} {:>9} {:>6}",
        "target", "minutes", "executions", "corpus", "features", "finds"
    );
    for seen in seen {
        println!(
            "{:<10} {:>9.1} {:>12} {:>8} {:>9} {:>6}",
            seen.target.name,
            seen.time.as_secs_f64() / 60.0,
            seen.executions,
            seen.corpus,
            seen.features,
            seen.finds.len()
        );
    }
    for find in seen.iter().flat_map(|seen| &seen.finds) {
        println!("found: {}", find.display());
    }
}

/// The folder of this package in the source tree.
fn package() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
