//! Several processes that open one directory at once.

use std::{
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, ExitCode, Stdio},
    time::{Duration, Instant},
};

use super::worker;

/// Processes that race.
const RACERS: usize = 3;

/// What was done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Races.
    pub races: u64,
    /// Of them, those after which the winner was killed and did not close.
    pub killed: u64,
    /// The longest that a loser took to be refused.
    pub slowest: Duration,
}

/// Opens the directory whenever it is told so, says how that went, and holds it until it is told to let go.
#[must_use]
pub fn race(dir: &Path) -> ExitCode {
    let mut engine = None;
    for line in std::io::stdin().lines().map_while(Result::ok) {
        let said = if line == "open" {
            let started = Instant::now();
            let opened = worker::options().open(dir);
            let took = started.elapsed().as_micros();
            match opened {
                Ok(open) => {
                    engine = Some(open);
                    format!("won {took}")
                }
                Err(error) => format!("{} {took}", error.name()),
            }
        } else {
            let closed = engine.take().map_or(Ok(()), lineal::Engine::close);
            closed.map_or_else(|error| error.name().to_owned(), |()| "free".to_owned())
        };
        println!("{said}");
    }
    ExitCode::SUCCESS
}

struct Racer {
    process: Child,
    say: ChildStdin,
    hear: BufReader<ChildStdout>,
}

impl Racer {
    fn start(program: &Path, dir: &Path) -> Result<Racer, String> {
        let mut process = Command::new(program)
            .args(["racer", "--dir"])
            .arg(dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| error.to_string())?;
        let (say, hear) = (process.stdin.take(), process.stdout.take());
        Ok(Racer { say: say.ok_or("no pipe")?, hear: BufReader::new(hear.ok_or("no pipe")?), process })
    }

    fn say(&mut self, word: &str) -> Result<(), String> {
        writeln!(self.say, "{word}").map_err(|error| error.to_string())
    }

    fn hear(&mut self) -> Result<String, String> {
        let mut line = String::new();
        self.hear.read_line(&mut line).map_err(|error| error.to_string())?;
        Ok(line.trim_end().to_owned())
    }
}

impl Drop for Racer {
    fn drop(&mut self) {
        // Of one that has ended both say so.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Has processes race for one directory so many times. Of each race one wins, since the first to come has it and nobody gives it
/// back before all have spoken; the others are told that it is locked. Every eighth winner is killed, and the directory is free.
///
/// # Errors
/// The first race that went otherwise.
pub fn run(program: &Path, below: &Path, count: u64) -> Result<Tally, String> {
    let dir: PathBuf = below.join("data");
    let mut racers: Vec<Racer> =
        (0..RACERS).map(|_| Racer::start(program, &dir)).collect::<Result<_, _>>()?;
    let mut tally = Tally::default();
    for race in 0..count {
        for at in 0..RACERS {
            racers[(at + race as usize) % RACERS].say("open")?;
        }
        let mut winners = Vec::new();
        for (at, racer) in racers.iter_mut().enumerate() {
            let said = racer.hear()?;
            match said.split_once(' ') {
                Some(("won", _)) => winners.push(at),
                Some(("Locked", took)) => {
                    let took = Duration::from_micros(took.parse().map_err(|_| said.clone())?);
                    tally.slowest = tally.slowest.max(took);
                }
                _ => return Err(format!("race {race}: {said:?}")),
            }
        }
        let [winner] = winners[..] else { return Err(format!("race {race}: {winners:?} won")) };
        if race % 8 == 7 {
            let killed = &mut racers[winner].process;
            // Its locks are given back when it is dead, and it is when it was waited for.
            killed.kill().and_then(|()| killed.wait()).map_err(|error| error.to_string())?;
            racers[winner] = Racer::start(program, &dir)?;
            tally.killed += 1;
        } else {
            racers[winner].say("close")?;
            let said = racers[winner].hear()?;
            if said != "free" {
                return Err(format!("race {race}: closing said {said:?}"));
            }
        }
        tally.races += 1;
    }
    Ok(tally)
}
