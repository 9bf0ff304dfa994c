//! One life of a worker, as its parent sees it.

use std::{
    ffi::OsString,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    thread,
    time::{Duration, Instant},
};

use super::witness::Word;
use crate::draw::Draw;

/// Moments at which a worker opens its directory, after its start: about twice what that takes.
const OPENING_MICROS: u64 = 15_000;

/// Moments at which it writes, after that.
const WRITING_MICROS: u64 = 110_000;

/// Most that opening takes, on a machine that has much else to do.
const OPEN_MAX: Duration = Duration::from_secs(30);

/// How a worker is started.
#[derive(Clone, Debug)]
pub struct Start {
    /// The program `lineal-tests`.
    pub program: PathBuf,
    /// What it is told beside its directory.
    pub plan: Vec<&'static str>,
    /// A program that runs it, with arguments.
    pub under: Vec<OsString>,
}

impl Start {
    /// This program, as it is.
    #[must_use]
    pub fn new(program: &Path, plan: &[&'static str]) -> Start {
        Start { program: program.to_path_buf(), plan: plan.to_vec(), under: Vec::new() }
    }

    /// Under another program.
    #[must_use]
    pub fn under(mut self, under: impl IntoIterator<Item = impl Into<OsString>>) -> Start {
        self.under = under.into_iter().map(Into::into).collect();
        self
    }

    /// Starts one on this directory.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn life(&self, dir: &Path) -> Result<Life, String> {
        let mut words = self.under.clone();
        words.push(self.program.clone().into());
        words.extend(["worker", "--dir"].map(Into::into));
        words.push(dir.into());
        words.extend(self.plan.iter().map(Into::into));
        let mut child = Command::new(&words[0])
            .args(&words[1..])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| format!("cannot start {}: {error}", words[0].display()))?;
        let out = child.stdout.take().ok_or("no pipe")?;
        let (tell, hear) = channel();
        thread::spawn(move || {
            // A line that a kill has torn is none.
            let mut lines = BufReader::new(out);
            let mut line = String::new();
            while lines.read_line(&mut line).is_ok_and(|bytes| bytes > 0) {
                if let (true, Some(word)) = (line.ends_with('\n'), Word::parse(line.trim_end()))
                    && tell.send(word).is_err()
                {
                    return;
                }
                line.clear();
            }
        });
        let errors = child.stderr.take().ok_or("no pipe")?;
        let errors = thread::spawn(move || std::io::read_to_string(errors).unwrap_or_default());
        Ok(Life { child, hear, heard: Vec::new(), errors: Some(errors) })
    }
}

/// A worker that runs.
#[derive(Debug)]
pub struct Life {
    child: Child,
    hear: Receiver<Word>,
    heard: Vec<Word>,
    errors: Option<thread::JoinHandle<String>>,
}

/// How a life ended.
#[derive(Debug)]
pub struct Ended {
    /// All that was said.
    pub words: Vec<Word>,
    /// With what.
    pub status: ExitStatus,
    /// What stood on standard error.
    pub errors: String,
}

impl Life {
    /// All that was said so far.
    pub fn heard(&mut self) -> &[Word] {
        self.heard.extend(self.hear.try_iter());
        &self.heard
    }

    /// Its process.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits until something that was said is what is looked for, or the worker has ended. Returns whether it was said.
    pub fn until(&mut self, limit: Duration, found: impl Fn(&[Word]) -> bool) -> bool {
        let end = Instant::now() + limit;
        loop {
            if found(self.heard()) {
                return true;
            }
            match self.hear.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(word) => self.heard.push(word),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return false,
            }
        }
    }

    /// Lets it live for a while: a third of them until some moment of their opening, the others until some moment later, however
    /// long the opening takes.
    pub fn live(&mut self, draw: &mut Draw) {
        let most = if draw.percent(33) {
            OPENING_MICROS
        } else {
            // One that ends without is seen by what it said.
            self.until(OPEN_MAX, |words| words.contains(&Word::Open));
            WRITING_MICROS
        };
        thread::sleep(Duration::from_micros(draw.below(most)));
    }

    /// Kills it now.
    ///
    /// # Errors
    /// What the system says.
    pub fn kill(mut self) -> Result<Ended, String> {
        self.child.kill().map_err(|error| format!("kill: {error}"))?;
        self.end()
    }

    /// Waits for its end; one that does not end within the limit is killed, and that is an error.
    ///
    /// # Errors
    /// If it hangs, or what the system says.
    pub fn ended(mut self, limit: Duration) -> Result<Ended, String> {
        let end = Instant::now() + limit;
        while self.child.try_wait().map_err(|error| error.to_string())?.is_none() {
            if Instant::now() > end {
                let ended = self.kill()?;
                let last = ended.words.last();
                return Err(format!("it hangs after {last:?}: {}", ended.errors));
            }
            thread::sleep(Duration::from_millis(1));
        }
        self.end()
    }

    fn end(&mut self) -> Result<Ended, String> {
        let status = self.child.wait().map_err(|error| format!("wait: {error}"))?;
        // Ends with the pipe, which nobody else holds.
        self.heard.extend(self.hear.iter());
        let errors = self.errors.take().and_then(|errors| errors.join().ok()).unwrap_or_default();
        Ok(Ended { words: std::mem::take(&mut self.heard), status, errors })
    }
}

impl Drop for Life {
    fn drop(&mut self) {
        // Of one that has ended both say so, and nothing else is to be done.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
