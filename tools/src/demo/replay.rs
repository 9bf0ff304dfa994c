//! Runs the process that writes, kills it half-way, and runs it again.

use std::{
    io::{BufRead, BufReader},
    process::{Child, ChildStdout, Command, Stdio},
    time::Duration,
};

use super::{
    acks::{self, Told},
    check::{self, Compared},
    marker::{self, Position},
    origin::{DEMO, Origin},
};
use crate::{
    args::Data,
    exit::{Code, Failure, Outcome},
    open,
    progress::{Progress, say},
};

/// How the replay went.
#[derive(Debug, Default)]
pub(super) struct Replayed {
    pub(super) position: Position,
    /// Time spent writing, both processes together.
    pub(super) writing: Duration,
    pub(super) fsyncs: u64,
    /// Commits acknowledged before the kill.
    pub(super) acknowledged: u64,
    /// Commits found after it.
    pub(super) found: u64,
    /// How long the open after the kill took.
    pub(super) recovery: Duration,
    pub(super) replayed_commits: u64,
    /// What was compared after the kill.
    pub(super) after_kill: Compared,
}

/// Replays all of it, with a kill in the middle.
pub(super) fn run(origin: &Origin, data: &Data) -> Outcome<Replayed> {
    let total = origin.count()?;
    let half = total.div_ceil(2);
    let mut replayed = Replayed::default();
    let mut progress = Progress::new("commits", total);

    // It may run ahead of what is known here, but not to its end: the kill has to hit a replay that goes on.
    let hold_at = total.min(half + (total / 4).max(1));
    let mut first = Writing::start(origin, data, Some(hold_at))?;
    first.listen(&mut replayed, &mut progress, half)?;
    first.kill(&mut replayed)?;
    replayed.acknowledged = replayed.position.done.commits;
    say(&format!(
        "killed the writing process after {} acknowledged commits; opening again",
        replayed.acknowledged
    ));
    look_after_the_kill(origin, data, &mut replayed)?;

    let (writing, fsyncs) = (replayed.writing, replayed.fsyncs);
    let mut second = Writing::start(origin, data, None)?;
    second.listen(&mut replayed, &mut progress, u64::MAX)?;
    second.join()?;
    replayed.writing += writing;
    replayed.fsyncs += fsyncs;
    progress.end();
    if replayed.position.done.commits != total {
        let done = replayed.position.done.commits;
        return Err(Failure::other(format!("{done} of {total} commits were replayed")));
    }
    Ok(replayed)
}

/// Everything that was acknowledged has to be there, and nothing else but what was in flight.
fn look_after_the_kill(origin: &Origin, data: &Data, replayed: &mut Replayed) -> Outcome {
    let engine = open::read_only_at(data)?;
    let position = marker::read(&marker::object(&engine.existing_namespace(DEMO)?)?)?;
    replayed.found = position.done.commits;
    let mut compared = Compared::default();
    if position.done.commits < replayed.acknowledged {
        let (found, acknowledged) = (position.done.commits, replayed.acknowledged);
        return Err(Failure::Said {
            code: Code::Other,
            name: "Lost",
            message: format!("{acknowledged} commits were acknowledged and {found} are there after the kill"),
        });
    }
    let in_flight = check::in_flight(&engine, origin, &position.done)?;
    let mut progress = Progress::new("files compared", engine.stats().objects);
    compared.and(check::state(&engine, origin, &position.done, &in_flight, &mut progress)?);
    progress.end();
    replayed.after_kill = compared;
    Ok(())
}

/// The process that writes.
struct Writing {
    child: Child,
    told: BufReader<ChildStdout>,
}

impl Writing {
    fn start(origin: &Origin, data: &Data, hold_at: Option<u64>) -> Outcome<Writing> {
        let program =
            std::env::current_exe().map_err(|error| Failure::io("this program cannot be found", &error))?;
        let mut command = Command::new(program);
        command.arg("demo-writer").arg("--dir").arg(&data.dir).stdin(Stdio::piped()).stdout(Stdio::piped());
        data.keeping.place.pass_to(&mut command);
        if let Origin::Git(repo) = origin {
            command.arg("--repo").arg(repo.path()).arg("--tip").arg(&repo.tip);
            if let Some(base) = &repo.base {
                command.arg("--base").arg(base);
            }
        }
        if let Some(hold_at) = hold_at {
            command.arg("--hold-at").arg(hold_at.to_string());
        }
        let mut child = command
            .spawn()
            .map_err(|error| Failure::io("the writing process could not be started", &error))?;
        let stdout = child.stdout.take().expect("the child's stdout is a pipe");
        Ok(Writing { child, told: BufReader::new(stdout) })
    }

    /// Takes in what the process tells, until `until` commits are acknowledged or it ends.
    fn listen(&mut self, replayed: &mut Replayed, progress: &mut Progress, until: u64) -> Outcome {
        while let Some(told) = self.hear()? {
            replayed.hear(told);
            progress.at(replayed.position.done.commits);
            if replayed.position.done.commits >= until {
                return Ok(());
            }
        }
        if until == u64::MAX {
            return Ok(());
        }
        self.join()?;
        Err(Failure::other("the writing process ended before it was killed"))
    }

    /// The next whole line; `None` at the end.
    fn hear(&mut self) -> Outcome<Option<Told>> {
        let mut line = String::new();
        self.told
            .read_line(&mut line)
            .map_err(|error| Failure::io("listening to the writing process failed", &error))?;
        Ok(acks::parse(&line))
    }

    /// Kills it, and takes in what it had still told.
    fn kill(mut self, replayed: &mut Replayed) -> Outcome {
        self.child.kill().map_err(|error| Failure::io("the writing process could not be killed", &error))?;
        self.child.wait().map_err(|error| Failure::io("waiting for the writing process failed", &error))?;
        while let Some(told) = self.hear()? {
            replayed.hear(told);
        }
        Ok(())
    }

    fn join(&mut self) -> Outcome {
        let status = self
            .child
            .wait()
            .map_err(|error| Failure::io("waiting for the writing process failed", &error))?;
        match status.code() {
            Some(0) => Ok(()),
            // It said on stderr what was wrong.
            Some(code) => Err(Failure::Silent(Code::from_number(code))),
            None => Err(Failure::other(format!("the writing process ended with {status}"))),
        }
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        // It may have ended already; where this is an early return, it must not go on.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Replayed {
    fn hear(&mut self, told: Told) {
        match told {
            Told::Opened(opened) => {
                self.recovery = opened.opened;
                self.replayed_commits = opened.replayed;
                self.position = opened.position;
                self.fsyncs = 0;
                self.writing = Duration::ZERO;
            }
            Told::Durable { position, elapsed, fsyncs } => {
                self.position = position;
                self.writing = elapsed;
                self.fsyncs = fsyncs;
            }
            Told::Closed { fsyncs } => self.fsyncs = fsyncs,
        }
    }
}
