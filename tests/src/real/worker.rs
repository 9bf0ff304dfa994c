//! The process that is killed: it writes, and says on standard output what is durable once it is.

use std::{
    collections::VecDeque,
    io::Write,
    path::PathBuf,
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, Builder},
    time::Duration,
};

use lineal::{Engine, Error, Options, Result};
use lineal_wal::RealDisk;

use super::lane::{Handles, LANES, Lane, NAMESPACE};
use crate::liar::{Liar, Lie};

/// Commits that a lane makes before it waits for the first of them.
pub const DEPTH: u64 = 3;

/// The exit code of a worker that met an error and said so.
pub const FAILED: u8 = 3;

/// What a worker does.
#[derive(Clone, Debug, clap::Args)]
pub struct Plan {
    /// The data directory
    #[arg(long)]
    pub dir: PathBuf,
    /// How often the directory is opened. Default: until it is killed
    #[arg(long)]
    pub sessions: Option<u64>,
    /// Steps of each lane while it is open
    #[arg(long, default_value_t = 400)]
    pub steps: u64,
    /// Everything on one thread, in one order
    #[arg(long)]
    pub inline: bool,
    /// On a disk whose syncs do nothing
    #[arg(long)]
    pub unsynced: bool,
}

/// How workers, and those who look after them, open a directory: small limits, so that segments, checkpoints and merges come and go
/// all the time.
#[must_use]
pub fn options() -> Options {
    Options::new()
        .segment_bytes(64 << 10, 256 << 10)
        .checkpoint_bytes(256 << 10)
        .reserve_bytes(64 << 10)
        .ballast_bytes(256 << 10)
        .memory_bytes(4 << 20)
        .cache_bytes(1 << 20)
        .wait_max(Duration::from_secs(60))
}

/// Says one thing to the parent. Who hears it no more has gone.
fn say(line: &str) {
    if std::io::stdout().lock().write_all(format!("{line}\n").as_bytes()).is_err() {
        std::process::exit(0);
    }
}

fn told(error: &Error) -> String {
    // One line, whatever the error's text.
    format!("{} {}", error.name(), error.to_string().replace('\n', " "))
}

/// Runs a worker to its end, if it has one.
#[must_use]
pub fn run(plan: &Plan) -> ExitCode {
    let mut session = 0;
    while plan.sessions.is_none_or(|sessions| session < sessions) {
        session += 1;
        let ended = open(plan).and_then(|engine| {
            let written =
                if plan.inline { write_inline(&engine, plan.steps) } else { write(&engine, plan.steps) };
            // Half of them are closed, the others only dropped.
            let closed = if session % 2 == 0 { engine.close() } else { Ok(()) };
            written.and(closed)
        });
        if let Err(error) = ended {
            say(&format!("failed {}", told(&error)));
            return ExitCode::from(FAILED);
        }
        say("closed");
    }
    ExitCode::SUCCESS
}

fn open(plan: &Plan) -> Result<Engine> {
    let mut options = options().background(!plan.inline);
    if plan.unsynced {
        options = options.disk(Liar::over(RealDisk::new(plan.dir.clone()), Lie::Syncs));
    }
    let engine = options.open(&plan.dir)?;
    say("open");
    Ok(engine)
}

/// Where each lane goes on.
fn found(lanes: &[Handles; LANES]) -> Result<[u64; LANES]> {
    let mut steps = [0; LANES];
    for (number, lane) in lanes.iter().enumerate() {
        let mut found = Lane::new(number);
        found.go_to(lane.seqs()?).map_err(Error::other)?;
        steps[number] = found.step();
        say(&format!("at {number} {}", found.step()));
    }
    Ok(steps)
}

fn ack(lane: usize, step: u64) {
    say(&format!("ack {lane} {step}"));
}

/// One step of each lane, then what they wait for; now and then a checkpoint or a merge.
fn write_inline(engine: &Engine, steps: u64) -> Result<()> {
    let lanes = Handles::all(&engine.namespace(NAMESPACE)?)?;
    let mut at = found(&lanes)?;
    for round in 1..=steps {
        let gates: Vec<_> =
            (0..LANES).map(|lane| Handles::submit(&lanes, lane, engine, at[lane] + 1)).collect();
        let mut outcome = Ok(());
        for (lane, gate) in gates.into_iter().enumerate() {
            match gate.wait() {
                Ok(()) => {
                    at[lane] += 1;
                    ack(lane, at[lane]);
                }
                Err(error) => outcome = Err(error),
            }
        }
        if let Err(error) = outcome {
            say(&format!("refused {}", told(&error)));
            // Nothing is acknowledged after that, whoever asks.
            for (lane, at) in at.iter().enumerate() {
                if Handles::submit(&lanes, lane, engine, at + 1).wait().is_ok() {
                    ack(lane, at + 1);
                }
            }
            return Err(error);
        }
        // These may fail alone: commits go on.
        let worked = match round {
            round if round % 7 == 4 => engine.checkpoint().map(drop),
            round if round % 11 == 9 => engine.compact(),
            _ => Ok(()),
        };
        if let Err(error) = worked {
            say(&format!("work {}", told(&error)));
        }
    }
    Ok(())
}

/// Each lane on a thread of its own, and one that asks for checkpoints and merges.
fn write(engine: &Engine, steps: u64) -> Result<()> {
    let lanes = Handles::all(&engine.namespace(NAMESPACE)?)?;
    let at = found(&lanes)?;
    let ended = Arc::new(AtomicBool::new(false));
    thread::scope(|scope| {
        // Where there may be few threads, these may be too many.
        let worker =
            Builder::new().spawn_scoped(scope, || ask_for_work(engine, &ended)).map_err(Error::other)?;
        let lanes = &lanes;
        let write = |lane: usize| {
            Builder::new().spawn_scoped(scope, move || write_lane(engine, lanes, lane, at[lane], steps))
        };
        let threads: Vec<_> = (0..LANES).map(write).collect();
        let joined =
            threads.into_iter().map(|thread| thread.map_err(Error::other)?.join().expect("a lane ends"));
        let outcomes: Vec<_> = joined.collect();
        ended.store(true, Ordering::Relaxed);
        worker.thread().unpark();
        outcomes.into_iter().collect()
    })
}

fn ask_for_work(engine: &Engine, ended: &AtomicBool) {
    for round in 1.. {
        thread::park_timeout(Duration::from_millis(7 * (round % 5)));
        if ended.load(Ordering::Relaxed) {
            return;
        }
        if let Err(error) = if round % 6 == 0 { engine.compact() } else { engine.checkpoint().map(drop) } {
            say(&format!("work {}", told(&error)));
        }
    }
}

fn write_lane(engine: &Engine, lanes: &[Handles; LANES], lane: usize, from: u64, steps: u64) -> Result<()> {
    let mut waiting = VecDeque::new();
    let mut step = from;
    while step < from + steps || !waiting.is_empty() {
        if step < from + steps && (waiting.len() as u64) < 1 + step % DEPTH {
            let before = lanes[lane].peek()?;
            let gate = Handles::submit(lanes, lane, engine, step + 1);
            if lanes[lane].peek().is_ok_and(|now| now != before) {
                step += 1;
                waiting.push_back((step, gate));
                continue;
            }
            // It was refused, and nothing follows it before it is done.
            match gate.wait() {
                Err(error @ Error::NoSpace { .. }) => {
                    say(&format!("full {}", told(&error)));
                    thread::sleep(Duration::from_millis(20));
                }
                Err(error) => return refused(engine, lanes, lane, step, error),
                Ok(()) => return Err(Error::other("a step that succeeded was no commit")),
            }
        } else if let Some((oldest, gate)) = waiting.pop_front() {
            match gate.wait() {
                Ok(()) => ack(lane, oldest),
                Err(error) => return refused(engine, lanes, lane, step, error),
            }
        }
    }
    Ok(())
}

/// A step failed: no later one may be acknowledged either, as far as the log failed.
fn refused(engine: &Engine, lanes: &[Handles; LANES], lane: usize, step: u64, error: Error) -> Result<()> {
    say(&format!("refused {}", told(&error)));
    if matches!(error, Error::Poisoned { .. })
        && Handles::submit(lanes, lane, engine, step + 1).wait().is_ok()
    {
        ack(lane, step + 1);
    }
    Err(error)
}
