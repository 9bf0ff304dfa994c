//! Starting the binary, and talking to `lineal exec`.

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead, BufReader, Read, Write},
    path::Path,
    process::{Child, ChildStdin, ChildStdout, Command, Output, Stdio},
};

use serde_json::Value;

pub(crate) fn lineal() -> Command {
    Command::new(env!("CARGO_BIN_EXE_lineal"))
}

/// Runs a command to its end.
pub(crate) fn run(args: &[&str]) -> Output {
    lineal().args(args).stdin(Stdio::null()).output().unwrap()
}

pub(crate) fn code(output: &Output) -> i32 {
    output.status.code().unwrap_or_else(|| panic!("ended by a signal: {output:?}"))
}

/// Runs a command that succeeds, and gives what it printed.
pub(crate) fn stdout(args: &[&str]) -> String {
    let output = run(args);
    assert_eq!(code(&output), 0, "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

pub(crate) fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// A running `lineal exec`.
pub(crate) struct Exec {
    pub(crate) child: Child,
    requests: Option<ChildStdin>,
    replies: BufReader<ChildStdout>,
}

impl Exec {
    pub(crate) fn start(dir: &Path) -> Exec {
        Exec::spawn(lineal().args(["exec", "--dir", text(dir)]))
    }

    /// Starts what becomes a `lineal exec`.
    pub(crate) fn spawn(command: &mut Command) -> Exec {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let requests = child.stdin.take();
        let replies = BufReader::new(child.stdout.take().unwrap());
        Exec { child, requests, replies }
    }

    /// Sends a line without waiting for the reply.
    pub(crate) fn send(&mut self, line: &str) {
        let requests = self.requests.as_mut().unwrap();
        requests.write_all(line.as_bytes()).unwrap();
        requests.write_all(b"\n").unwrap();
    }

    pub(crate) fn receive(&mut self) -> Option<Value> {
        let mut line = String::new();
        self.replies.read_line(&mut line).unwrap();
        line.ends_with('\n').then(|| serde_json::from_str(&line).unwrap())
    }

    pub(crate) fn ask(&mut self, line: &str) -> Value {
        self.send(line);
        self.receive().unwrap_or_else(|| panic!("no reply to {line}"))
    }

    /// As `ask`, for a request that succeeds.
    pub(crate) fn done(&mut self, line: &str) -> Value {
        let reply = self.ask(line);
        assert_eq!(reply["ok"], true, "{line} -> {reply}");
        reply
    }

    /// As `ask`, for a request that fails with this error.
    pub(crate) fn refused(&mut self, line: &str, error: &str) -> Value {
        let reply = self.ask(line);
        assert_eq!((&reply["ok"], &reply["error"]), (&false.into(), &error.into()), "{line} -> {reply}");
        assert!(!reply["message"].as_str().unwrap().is_empty());
        reply
    }

    /// What it said on stderr, which its command pipes, until it ended.
    pub(crate) fn stderr(&mut self) -> String {
        let mut said = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        said
    }

    /// Both ends, for a thread that sends while another one receives.
    pub(crate) fn split(mut self) -> (ChildStdin, BufReader<ChildStdout>, Child) {
        (self.requests.take().unwrap(), self.replies, self.child)
    }

    /// Closes stdin and waits for the end.
    pub(crate) fn end(mut self) -> i32 {
        drop(self.requests.take());
        assert_eq!(self.receive(), None);
        self.child.wait().unwrap().code().unwrap()
    }

    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// Every file below `dir` with its bytes.
pub(crate) fn image(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(image(&path));
        } else {
            files.insert(text(&path).to_owned(), fs::read(&path).unwrap());
        }
    }
    files
}

/// The entries of a dump, after its hash was checked.
pub(crate) fn dump(dir: &Path) -> Vec<Value> {
    let dumped = stdout(&["dump", "--dir", text(dir)]);
    let lines: Vec<&str> = dumped.lines().collect();
    let (last, entries) = lines.split_last().unwrap();
    let last: Value = serde_json::from_str(last).unwrap();
    let hashed: String = entries.iter().map(|line| format!("{line}\n")).collect();
    assert_eq!(last["blake3"], blake3::hash(hashed.as_bytes()).to_hex().as_str());
    assert_eq!(last["entries"], entries.len());
    entries.iter().map(|line| serde_json::from_str(line).unwrap()).collect()
}
