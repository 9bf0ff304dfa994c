//! Runs the simulator for as long as one likes: `cargo run -p lineal-tests --release -- soak --minutes 60`.

use std::{
    process::ExitCode,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use clap::{Parser, Subcommand};
use lineal_tests::simulator;

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
        Command::Replay { seed } => match simulator::run(seed) {
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

fn soak(minutes: u64, first: u64) -> ExitCode {
    let end = Instant::now() + Duration::from_secs(60 * minutes);
    let (next, found) = (AtomicU64::new(first), AtomicU64::new(0));
    let tally = simulator::run_all(
        || (Instant::now() < end).then(|| next.fetch_add(1, Ordering::Relaxed)),
        |seed, ended| {
            if let Err(why) = ended {
                found.fetch_add(1, Ordering::Relaxed);
                println!("seed {seed}: {why}");
            }
            let done = seed - first + 1;
            if done.is_multiple_of(500) {
                println!("{done} seeds, {} found something", found.load(Ordering::Relaxed));
            }
        },
    );
    let (seeds, found) = (next.into_inner() - first, found.into_inner());
    println!("{seeds} seeds from {first} on, {found} found something");
    println!("{tally:#?}");
    if found == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
