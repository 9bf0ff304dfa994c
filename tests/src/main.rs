//! Runs the simulator for as long as one likes: `cargo run -p lineal-tests --release -- soak --minutes 60`.

use std::{
    panic::catch_unwind,
    process::ExitCode,
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

use clap::{Parser, Subcommand};
use lineal_tests::simulator::{self, Report, Tally};

/// Looks for seeds of the simulator that break a promise
#[derive(Debug, Parser)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run one seed after the other, and say which of them found something
    #[command(
        after_help = "Examples:\n  lineal-tests soak --minutes 60\n  lineal-tests soak --minutes 5 --seed 1000000"
    )]
    Soak {
        /// For how long
        #[arg(long, default_value_t = 10)]
        minutes: u64,
        /// The first seed. Default: of the clock
        #[arg(long)]
        seed: Option<u64>,
    },
    /// Run one seed again
    #[command(after_help = "Example:\n  lineal-tests replay 94")]
    Replay {
        /// Which
        seed: u64,
    },
}

fn main() -> ExitCode {
    match Args::parse().command {
        Command::Soak { minutes, seed } => soak(minutes, seed.unwrap_or_else(of_the_clock)),
        Command::Replay { seed } => match run(seed) {
            Ok(report) => {
                let hash: String = report.hash.iter().map(|byte| format!("{byte:02x}")).collect();
                println!("seed {seed}: nothing found; hash {hash}; {:?}", report.tally);
                ExitCode::SUCCESS
            }
            Err(why) => {
                println!("seed {seed}: {why}");
                ExitCode::FAILURE
            }
        },
    }
}

fn of_the_clock() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(1, |since| since.as_nanos() as u64)
}

/// A seed; a panic is found, too.
fn run(seed: u64) -> Result<Report, String> {
    catch_unwind(|| simulator::run(seed)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no text");
        Err(format!("it panicked: {text}"))
    })
}

fn soak(minutes: u64, first: u64) -> ExitCode {
    let end = Instant::now() + Duration::from_secs(60 * minutes);
    let (next, found) = (AtomicU64::new(first), AtomicU64::new(0));
    let one = || {
        let mut tally = Tally::default();
        while Instant::now() < end {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            match run(seed) {
                Ok(report) => tally.add(&report.tally),
                Err(why) => {
                    found.fetch_add(1, Ordering::Relaxed);
                    println!("seed {seed}: {why}");
                }
            }
            let done = seed - first + 1;
            if done.is_multiple_of(500) {
                println!("{done} seeds, {} found something", found.load(Ordering::Relaxed));
            }
        }
        tally
    };
    let mut tally = Tally::default();
    thread::scope(|scope| {
        let threads = thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get);
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(one)).collect();
        threads.into_iter().filter_map(|thread| thread.join().ok()).for_each(|one| tally.add(&one));
    });
    let (seeds, found) = (next.into_inner() - first, found.into_inner());
    println!("{seeds} seeds from {first} on, {found} found something");
    println!("{tally:#?}");
    if found == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
