//! Looks for broken promises for as long as one likes: `cargo run -p lineal-tests --release -- soak --minutes 60`, and its
//! kin in the real world.

use std::{
    fmt::Debug,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use clap::{Parser, Subcommand};
use lineal_tests::{real, s3::S3, simulator, worlds};

/// Looks for what breaks a promise
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
    /// Kill real processes at random moments, and judge what they leave
    #[command(after_help = "Example:\n  lineal-tests kills --count 5000")]
    Kills {
        /// How many
        #[arg(long, default_value_t = 1_000)]
        count: u64,
        /// Which moments. Default: of the clock
        #[arg(long)]
        seed: Option<u64>,
        /// The folder to do that in. Default: the system's for temporary files
        #[arg(long)]
        below: Option<PathBuf>,
    },
    /// Cut the power of a real file system at random moments, and judge what is left; needs root
    #[command(after_help = "Example:\n  lineal-tests cuts --count 1000")]
    Cuts {
        /// How many; a tenth as many again on a disk whose syncs do nothing
        #[arg(long, default_value_t = 250)]
        count: u64,
        /// Which moments. Default: of the clock
        #[arg(long)]
        seed: Option<u64>,
    },
    /// Kill a process at each of its system calls, and have each of its syncs fail; needs strace
    #[command(after_help = "Example:\n  lineal-tests calls")]
    Calls {
        /// Only each so many
        #[arg(long, default_value_t = 1)]
        stride: u64,
    },
    /// Fill small file systems to many points, and run out of files and of room in one; needs root
    #[command(after_help = "Example:\n  lineal-tests full --points 500")]
    Full {
        /// How many, on each kind of file system
        #[arg(long, default_value_t = 100)]
        points: u64,
    },
    /// Have processes race for a directory
    #[command(after_help = "Example:\n  lineal-tests races --count 10000")]
    Races {
        /// How many races
        #[arg(long, default_value_t = 1_000)]
        count: u64,
    },
    /// Run engines whose archive is behind a store that lies, with each kind of lie
    #[command(after_help = "Example:\n  lineal-tests lies --count 100")]
    Lies {
        /// How many runs of each
        #[arg(long, default_value_t = 10)]
        count: u64,
        /// Which. Default: of the clock
        #[arg(long)]
        seed: Option<u64>,
    },
    /// Open and close a directory many times, and look for what is left of it in this process
    #[command(after_help = "Example:\n  lineal-tests leaks --count 10000")]
    Leaks {
        /// How often
        #[arg(long, default_value_t = 1_000)]
        count: u64,
    },
    /// What is killed
    #[command(hide = true)]
    Worker(real::worker::Plan),
    /// What races
    #[command(hide = true)]
    Racer {
        /// The data directory
        #[arg(long)]
        dir: PathBuf,
    },
    /// Run one seed again
    #[command(after_help = "Example:\n  lineal-tests replay 94")]
    Replay {
        /// Which
        seed: u64,
    },
    /// Crash small worlds at every operation in every way
    #[command(
        after_help = "Examples:\n  lineal-tests worlds --minutes 30\n  lineal-tests worlds --replay \"world 3, operation 31, outcome torn 0 2 1\""
    )]
    Worlds {
        /// For how long
        #[arg(long, default_value_t = 10)]
        minutes: u64,
        /// Draws the worlds behind those of the library. Default: of the clock
        #[arg(long)]
        seed: Option<u64>,
        /// Look at one part of the library alone. Default: at all of it
        #[arg(long)]
        part: Option<worlds::command::Part>,
        /// Look at one place again, as it was printed
        #[arg(long)]
        replay: Option<String>,
    },
}

fn main() -> ExitCode {
    match Args::parse().command {
        Command::Soak { minutes, seed } => soak(minutes, seed.unwrap_or_else(of_the_clock)),
        Command::Kills { count, seed, below } => kills(count, seed.unwrap_or_else(of_the_clock), below),
        Command::Cuts { count, seed } => cuts(count, seed.unwrap_or_else(of_the_clock)),
        Command::Calls { stride } => calls(stride),
        Command::Full { points } => full(points),
        Command::Races { count } => told("races", 0, |program, _| {
            let temp = tempfile::tempdir().map_err(|error| error.to_string())?;
            real::races::run(program, temp.path(), count)
        }),
        Command::Lies { count, seed } => lies(count, seed.unwrap_or_else(of_the_clock)),
        Command::Leaks { count } => told("leaks", 0, |_, _| {
            let temp = tempfile::tempdir().map_err(|error| error.to_string())?;
            real::limits::leaks(&temp.path().join("data"), count)
        }),
        Command::Racer { dir } => real::races::race(&dir),
        Command::Worker(plan) => real::worker::run(&plan),
        Command::Worlds { replay: Some(place), .. } => worlds::command::replay(&place),
        Command::Worlds { minutes, seed, part, .. } => {
            worlds::command::run(minutes, seed.unwrap_or_else(of_the_clock), part)
        }
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

/// What a run in the real world has come to.
fn told<T: Debug>(
    what: &str,
    seed: u64,
    run: impl FnOnce(&Path, &(dyn Fn(&str) + Sync)) -> Result<T, String>,
) -> ExitCode {
    let started = Instant::now();
    let program = std::env::current_exe().map_err(|error| error.to_string());
    let done = program.and_then(|program| run(&program, &|found| println!("FOUND {found}")));
    let seconds = started.elapsed().as_secs_f64();
    match done {
        Ok(tally) => {
            println!("{what}, seed {seed}: nothing found in {seconds:.1} s; {tally:?}");
            ExitCode::SUCCESS
        }
        Err(why) => {
            println!("{what}, seed {seed}: {why}");
            ExitCode::FAILURE
        }
    }
}

fn kills(count: u64, seed: u64, below: Option<PathBuf>) -> ExitCode {
    told("kills", seed, |program, found| {
        let temp = match below {
            Some(below) => tempfile::tempdir_in(below),
            None => tempfile::tempdir(),
        }
        .map_err(|error| error.to_string())?;
        let tally = real::kills::run(program, temp.path(), count, seed, found);
        if tally.is_err() {
            // For whoever looks into it.
            println!("kept: {}", temp.keep().display());
        }
        tally
    })
}

fn cuts(count: u64, seed: u64) -> ExitCode {
    told("cuts", seed, |program, found| {
        let tally = real::cuts::run(program, count, seed, found)?;
        let control = (count / 10).max(10);
        let lost = real::cuts::control(program, control, seed)?;
        println!("on a disk whose syncs do nothing {lost} of {control} cuts lost acknowledgements");
        if lost * 10 < control * 9 {
            return Err("who misses that looks at nothing".to_owned());
        }
        Ok(tally)
    })
}

fn calls(stride: u64) -> ExitCode {
    told("calls", 0, |program, _| {
        let temp = tempfile::tempdir().map_err(|error| error.to_string())?;
        let killed = real::calls::kill_at_each(program, temp.path(), stride)?;
        println!("killed at each call: {killed:?}");
        let failed = real::calls::fail_each_sync(program, temp.path(), stride)?;
        println!("each sync failed: {failed:?}");
        Ok(())
    })
}

fn full(points: u64) -> ExitCode {
    told("full file systems", 0, |program, _| {
        let mut tally = real::full::Tally::default();
        let small = real::mount::Tmpfs::make("size=16m")?;
        let disk = real::mount::Ext4::make(32)?;
        for top in [small.path(), &disk.path()] {
            real::full::fill_to(program, top, points, &mut tally)?;
            println!("{}: {tally:?}", top.display());
        }
        let met =
            (4..60).map(|inodes| real::full::few_files(program, inodes)).collect::<Result<Vec<_>, _>>()?;
        println!("few files: {} of {} ran out of them", met.iter().filter(|met| **met).count(), met.len());
        Ok(tally)
    })
}

fn lies(count: u64, seed: u64) -> ExitCode {
    told("lies", seed, |_, found| {
        let s3 = S3::start().ok_or("there is no S3 server")?;
        let temp = tempfile::tempdir().map_err(|error| error.to_string())?;
        let (mut all, mut bad) = (real::lies::Tally::default(), 0);
        for trouble in real::proxy::Trouble::ALL {
            let mut tally = real::lies::Tally::default();
            for number in 0..count {
                let seed = seed.wrapping_add(number);
                if let Err(why) = real::lies::run(&s3, temp.path(), trouble, seed, &mut tally) {
                    found(&format!("{trouble:?}, seed {seed}: {why}"));
                    bad += 1;
                }
            }
            println!("{trouble:?}: {tally:?}");
            all.add(tally);
        }
        if bad == 0 { Ok(all) } else { Err(format!("{bad} findings")) }
    })
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
