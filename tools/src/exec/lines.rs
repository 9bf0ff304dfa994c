//! Reads lines of bounded length.

use std::io::{self, BufRead, BufReader, Read};

/// Longest request, in bytes.
///
/// Source: chosen; a transaction of 64 MiB in base64, with room for the rest.
pub(super) const LINE_BYTES_MAX: usize = 128 << 20;

/// A line's buffer is given back if it grew beyond this.
const KEEP_BYTES_MAX: usize = 1 << 20;

pub(super) enum Next<'l> {
    /// A line without its line break; the last one may have had none.
    Line(&'l [u8]),
    /// A line over the limit. It was skipped.
    TooLong {
        bytes: u64,
    },
    End,
}

pub(super) struct Lines<R> {
    input: BufReader<R>,
    line: Vec<u8>,
    limit: usize,
}

impl<R: Read> Lines<R> {
    pub(super) fn new(input: R) -> Lines<R> {
        Lines::with_limit(input, LINE_BYTES_MAX)
    }

    fn with_limit(input: R, limit: usize) -> Lines<R> {
        Lines { input: BufReader::with_capacity(64 << 10, input), line: Vec::new(), limit }
    }

    /// The next line. Takes no more memory than the limit, however long the line is.
    pub(super) fn next(&mut self) -> io::Result<Next<'_>> {
        if self.line.capacity() > KEEP_BYTES_MAX {
            self.line = Vec::new();
        }
        self.line.clear();
        let mut bytes = 0u64;
        loop {
            let chunk = match self.input.fill_buf() {
                Ok(chunk) => chunk,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            if chunk.is_empty() {
                return Ok(if bytes == 0 { Next::End } else { self.taken(bytes) });
            }
            let end = chunk.iter().position(|byte| *byte == b'\n');
            let part = &chunk[..end.unwrap_or(chunk.len())];
            bytes += part.len() as u64;
            if bytes <= self.limit as u64 {
                self.line.extend_from_slice(part);
            }
            let used = part.len() + usize::from(end.is_some());
            self.input.consume(used);
            if end.is_some() {
                return Ok(self.taken(bytes));
            }
        }
    }

    fn taken(&self, bytes: u64) -> Next<'_> {
        if bytes > self.limit as u64 { Next::TooLong { bytes } } else { Next::Line(&self.line) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(input: &[u8], limit: usize) -> Vec<Result<Vec<u8>, u64>> {
        let mut lines = Lines::with_limit(input, limit);
        let mut found = Vec::new();
        loop {
            match lines.next().unwrap() {
                Next::Line(line) => found.push(Ok(line.to_vec())),
                Next::TooLong { bytes } => found.push(Err(bytes)),
                Next::End => return found,
            }
        }
    }

    #[test]
    fn lines_end_at_breaks_and_the_last_one_needs_none() {
        assert_eq!(all(b"a\n\nbc", 9), [Ok(b"a".to_vec()), Ok(Vec::new()), Ok(b"bc".to_vec())]);
        assert_eq!(all(b"a\n", 9), [Ok(b"a".to_vec())]);
        assert_eq!(all(b"", 9), []);
    }

    #[test]
    fn a_line_over_the_limit_is_skipped_and_the_next_one_is_read() {
        assert_eq!(all(b"123456\n12345\n1234567", 5), [Err(6), Ok(b"12345".to_vec()), Err(7)]);
    }
}
