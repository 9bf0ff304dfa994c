//! The bytes of files, out of one `git cat-file --batch` that runs all the time.

use std::{
    io::{BufRead, BufReader, Read, Write},
    process::{Child, ChildStdin, ChildStdout},
};

use super::{
    change::Blob,
    repo::{Repo, said},
};
use crate::exit::{Failure, Outcome};

/// Asks for blobs. They come in the order they are asked for.
pub(super) struct Asks(ChildStdin);

impl Asks {
    /// Asks for blobs. May block until the answers to earlier asks are read, so another thread has to do that.
    pub(super) fn ask<'b>(&mut self, blobs: impl Iterator<Item = &'b Blob>) -> Outcome {
        let mut lines = String::new();
        for blob in blobs {
            if let Blob::Git(id) = blob {
                lines.push_str(id);
                lines.push('\n');
            }
        }
        self.0.write_all(lines.as_bytes()).map_err(|error| Failure::io("asking git cat-file failed", &error))
    }
}

/// Reads blobs piece by piece.
pub(super) struct Contents {
    git: Option<Git>,
    /// Bytes of the blob that was begun that are not read yet.
    left: u64,
}

struct Git {
    child: Child,
    stdout: BufReader<ChildStdout>,
}

/// Starts `git cat-file`.
pub(super) fn start(repo: &Repo) -> Outcome<(Asks, Contents)> {
    let mut child = repo.dialogue(&["cat-file", "--batch"])?;
    let stdin = child.stdin.take().expect("the child's stdin is a pipe");
    let stdout = child.stdout.take().expect("the child's stdout is a pipe");
    let git = Git { child, stdout: BufReader::with_capacity(256 << 10, stdout) };
    Ok((Asks(stdin), Contents { git: Some(git), left: 0 }))
}

impl Contents {
    /// For histories that carry their bytes with them.
    pub(super) fn none() -> Contents {
        Contents { git: None, left: 0 }
    }

    /// Begins the next blob, which has to be the next one asked for, and gives its size.
    pub(super) fn begin(&mut self, blob: &Blob) -> Outcome<u64> {
        assert_eq!(self.left, 0, "a blob is read to its end before the next one");
        let id = match blob {
            Blob::Bytes(bytes) => {
                self.left = bytes.len() as u64;
                return Ok(self.left);
            }
            Blob::Git(id) => id,
        };
        let mut line = String::new();
        self.git().stdout.read_line(&mut line).map_err(failed)?;
        let size = line
            .strip_prefix(id.as_str())
            .and_then(|rest| rest.trim_end().strip_prefix(" blob "))
            .and_then(|size| size.parse().ok())
            .ok_or_else(|| said(format!("git cat-file said {:?} of blob {id}", line.trim_end())))?;
        self.left = size;
        if size == 0 {
            self.line_break()?;
        }
        Ok(size)
    }

    /// The next `length` bytes of the blob, or what is left of it.
    pub(super) fn piece(&mut self, blob: &Blob, length: u64) -> Outcome<Vec<u8>> {
        let length = length.min(self.left);
        let take = usize::try_from(length).map_err(|_| said("a blob is larger than memory"))?;
        if let Blob::Bytes(bytes) = blob {
            let from = bytes.len() - usize::try_from(self.left).expect("what is left of bytes in memory");
            self.left -= length;
            return Ok(bytes[from..from + take].to_vec());
        }
        let mut piece = vec![0; take];
        self.git().stdout.read_exact(&mut piece).map_err(failed)?;
        self.left -= length;
        if self.left == 0 && length > 0 {
            self.line_break()?;
        }
        Ok(piece)
    }

    /// Leaves out the next `length` bytes, or what is left.
    pub(super) fn skip(&mut self, blob: &Blob, length: u64) -> Outcome {
        let mut left = length.min(self.left);
        while left > 0 {
            left -= self.piece(blob, left.min(1 << 20))?.len() as u64;
        }
        Ok(())
    }

    /// Bytes of the blob that are not read yet.
    pub(super) fn left(&self) -> u64 {
        self.left
    }

    fn line_break(&mut self) -> Outcome {
        let mut end = [0];
        self.git().stdout.read_exact(&mut end).map_err(failed)?;
        if end == *b"\n" { Ok(()) } else { Err(said("git cat-file did not end a blob where it said")) }
    }

    fn git(&mut self) -> &mut Git {
        self.git.as_mut().expect("blobs of git are read where git was started")
    }
}

fn failed(error: std::io::Error) -> Failure {
    Failure::io("reading from git cat-file failed", &error)
}

impl Drop for Git {
    fn drop(&mut self) {
        // It ends by itself when nobody asks any more; here somebody stopped earlier.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
