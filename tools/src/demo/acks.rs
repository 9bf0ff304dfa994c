//! What the writing process tells the demo, one JSON object per line: that it has opened, what is durable, that it has
//! closed.

use std::{
    io::{self, Write},
    time::{Duration, Instant},
};

use lineal::{Engine, Gated};
use serde_json::Value;

use super::marker::{self, Position};
use crate::{
    exit::{Failure, Outcome},
    json::Line,
    sync::{mpsc, thread},
};

/// Transactions that may wait for their gates at a time.
///
/// Source: chosen; enough to keep a group commit busy.
const IN_FLIGHT_MAX: usize = 1024;

/// The writing process has opened the data directory.
#[derive(Debug)]
pub(super) struct Opened {
    /// How long that took.
    pub(super) opened: Duration,
    /// Commits that were read back from the log.
    pub(super) replayed: u64,
    /// Where the replay goes on.
    pub(super) position: Position,
}

/// What the demo hears.
#[derive(Debug)]
pub(super) enum Told {
    Opened(Opened),
    Durable { position: Position, elapsed: Duration, fsyncs: u64 },
    Closed { fsyncs: u64 },
}

pub(super) fn tell_opened(opened: &Opened) -> Outcome {
    let mut line = Line::new();
    line.text("told", "opened")
        .number("opened_us", micros(opened.opened))
        .number("replayed", opened.replayed);
    tell(line.json("position", &marker::encode(&opened.position)))
}

fn tell_durable(position: &Position, elapsed: Duration, fsyncs: u64) -> Outcome {
    let mut line = Line::new();
    line.text("told", "durable").number("elapsed_us", micros(elapsed)).number("fsyncs", fsyncs);
    tell(line.json("position", &marker::encode(position)))
}

pub(super) fn tell_closed(fsyncs: u64) -> Outcome {
    tell(Line::new().text("told", "closed").number("fsyncs", fsyncs))
}

fn tell(line: &mut Line) -> Outcome {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{}", line.end()).and_then(|()| stdout.flush()).map_err(|error| Failure::output(&error))
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// Reads a line of the writing process; `None` if it is cut or is none.
pub(super) fn parse(line: &str) -> Option<Told> {
    let value: Value = serde_json::from_str(line).ok()?;
    let number = |name: &str| value.get(name)?.as_u64();
    let duration = |name: &str| number(name).map(Duration::from_micros);
    let position = || marker::from_json(value.get("position")?);
    match value.get("told")?.as_str()? {
        "opened" => Some(Told::Opened(Opened {
            opened: duration("opened_us")?,
            replayed: number("replayed")?,
            position: position()?,
        })),
        "durable" => Some(Told::Durable {
            position: position()?,
            elapsed: duration("elapsed_us")?,
            fsyncs: number("fsyncs")?,
        }),
        "closed" => Some(Told::Closed { fsyncs: number("fsyncs")? }),
        _ => None,
    }
}

/// Takes gates in order and tells, in a thread of its own, what has become durable.
pub(super) struct Acks(mpsc::SyncSender<Waiting>);

struct Waiting {
    gate: Gated<()>,
    /// What is done when the gate opens; none for what is only a part of that.
    position: Option<Position>,
}

impl Acks {
    pub(super) fn start(engine: &Engine) -> Outcome<(Acks, thread::JoinHandle<Outcome>)> {
        let (send, waiting) = mpsc::sync_channel(IN_FLIGHT_MAX);
        let engine = engine.clone();
        let thread = thread::Builder::new()
            .name("lineal-acks".into())
            .spawn(move || run(&engine, &waiting))
            .map_err(|error| Failure::io("a thread could not be started", &error))?;
        Ok((Acks(send), thread))
    }

    /// Waits for room if too much is in flight.
    pub(super) fn push(&self, gate: Gated<()>, position: Option<Position>) -> Outcome {
        let gone = |_| Failure::other("what is durable cannot be told any more");
        self.0.send(Waiting { gate, position }).map_err(gone)
    }
}

fn run(engine: &Engine, waiting: &mpsc::Receiver<Waiting>) -> Outcome {
    let started = Instant::now();
    let mut untold: Option<Position> = None;
    loop {
        let next = match waiting.try_recv() {
            Ok(next) if next.gate.is_open() => next,
            other => {
                // About to wait: tell first what is known.
                if let Some(position) = untold.take() {
                    tell_durable(&position, started.elapsed(), engine.stats().fsyncs)?;
                }
                match other.or_else(|_| waiting.recv()) {
                    Ok(next) => next,
                    Err(_) => return Ok(()),
                }
            }
        };
        next.gate.wait()?;
        untold = next.position.or(untold);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_the_kill_cut_is_no_line() {
        let whole = format!(
            "{{\"told\":\"durable\",\"elapsed_us\":1,\"fsyncs\":2,\"position\":{}}}",
            marker::encode(&Position::default())
        );
        assert!(matches!(parse(&whole), Some(Told::Durable { fsyncs: 2, .. })));
        for end in 0..whole.len() {
            assert!(parse(&whole[..end]).is_none());
        }
    }
}
