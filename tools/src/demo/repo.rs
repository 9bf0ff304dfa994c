//! A git repository, read by running `git`.

use std::{
    ffi::OsStr,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Stdio},
};

use crate::exit::{Failure, Outcome};

/// A repository and the commit whose history is replayed.
#[derive(Clone, Debug)]
pub(crate) struct Repo {
    path: PathBuf,
    /// The last commit to replay.
    pub(super) tip: String,
    /// The commit before the first one to replay, whose tree is taken whole; `None` from the beginning.
    pub(super) base: Option<String>,
}

impl Repo {
    /// The repository at `path` and what its HEAD is, or why there is no history.
    pub(super) fn find(path: &Path) -> Result<Repo, String> {
        let mut repo = Repo { path: path.to_path_buf(), tip: String::new(), base: None };
        repo.line(&["rev-parse", "--git-dir"])?;
        repo.tip = repo
            .line(&["rev-parse", "--verify", "--quiet", "HEAD^{commit}"])
            .map_err(|_| "the repository has no commits".to_owned())?;
        Ok(repo)
    }

    pub(super) fn at(path: PathBuf, tip: String, base: Option<String>) -> Repo {
        Repo { path, tip, base }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Begins at the commit that is `count` before the tip, if history goes further back.
    pub(super) fn keep_last(&mut self, count: u64) {
        let back = format!("{}~{count}^{{commit}}", self.tip);
        self.base = self.line(&["rev-parse", "--verify", "--quiet", &back]).ok();
    }

    /// How many commits there are to replay.
    pub(super) fn count(&self) -> Outcome<u64> {
        let count = self.line(&["rev-list", "--count", "--first-parent", &self.range(None)]).map_err(said)?;
        let count: u64 = count.parse().map_err(|_| said(format!("git rev-list printed {count:?}")))?;
        Ok(count + u64::from(self.base.is_some()))
    }

    /// The commits to replay after `done`.
    pub(super) fn range(&self, done: Option<&str>) -> String {
        match done.or(self.base.as_deref()) {
            Some(after) => format!("{after}..{}", self.tip),
            None => self.tip.clone(),
        }
    }

    fn command(&self, args: &[impl AsRef<OsStr>]) -> Command {
        let mut command = Command::new("git");
        command.arg("-C").arg(&self.path).args(args).stdin(Stdio::null());
        command
    }

    fn line(&self, args: &[&str]) -> Result<String, String> {
        let output =
            self.command(args).output().map_err(|error| format!("the git program cannot be run: {error}"))?;
        if !output.status.success() {
            let stderr = String::from_utf8_lossy(&output.stderr);
            let reason = stderr.lines().next().unwrap_or("it did not say why").trim_start_matches("fatal: ");
            return Err(format!("git {}: {reason}", args[0]));
        }
        Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned())
    }

    /// Starts git with its output to be read as it comes.
    pub(super) fn stream(&self, args: &[impl AsRef<OsStr>]) -> Outcome<Stream> {
        let mut command = self.command(args);
        let mut child = command
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| Failure::io("git cannot be run", &error))?;
        let stdout = child.stdout.take().expect("the child's stdout is a pipe");
        let what = args.first().map_or_else(String::new, |what| format!("git {}", what.as_ref().display()));
        Ok(Stream { what, child, stdout: BufReader::with_capacity(64 << 10, stdout) })
    }

    /// Starts git with pipes in both directions.
    pub(super) fn dialogue(&self, args: &[&str]) -> Outcome<Child> {
        let mut command = self.command(args);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        command.spawn().map_err(|error| Failure::io("git cannot be run", &error))
    }
}

/// A failure of git itself.
pub(super) fn said(message: impl Into<String>) -> Failure {
    Failure::Said { code: crate::exit::Code::Other, name: "Git", message: message.into() }
}

/// Longest token in git's output that is taken, in bytes: a path, or an author.
///
/// Source: chosen; file systems stop at 4 KiB, git at nothing.
const TOKEN_BYTES_MAX: u64 = 1 << 20;

/// What git prints, as tokens that end with a zero byte.
pub(super) struct Stream {
    what: String,
    child: Child,
    stdout: BufReader<ChildStdout>,
}

impl Stream {
    /// The next token; `None` when git has ended well.
    pub(super) fn token(&mut self) -> Outcome<Option<Vec<u8>>> {
        use std::io::Read;
        let mut token = Vec::new();
        (&mut self.stdout)
            .take(TOKEN_BYTES_MAX)
            .read_until(0, &mut token)
            .map_err(|error| Failure::io(format_args!("reading from {} failed", self.what), &error))?;
        match token.pop() {
            Some(0) => Ok(Some(token)),
            Some(_) => Err(said(format!("{} printed something that does not end", self.what))),
            None => self.ended().map(|()| None),
        }
    }

    /// The next token, which has to be there.
    pub(super) fn expect_token(&mut self) -> Outcome<Vec<u8>> {
        self.token()?.ok_or_else(|| said(format!("{} ended in the middle of an entry", self.what)))
    }

    fn ended(&mut self) -> Outcome {
        let status = self
            .child
            .wait()
            .map_err(|error| Failure::io(format_args!("waiting for {} failed", self.what), &error))?;
        if status.success() { Ok(()) } else { Err(said(format!("{} failed: {status}", self.what))) }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        // It may have ended already; where it has not, nobody reads it any more.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
