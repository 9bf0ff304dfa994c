//! Buffered output.

use std::io::{self, BufWriter, StdoutLock, Write};

use crate::exit::{Failure, Outcome};

/// Standard output, buffered; a closed pipe ends the command quietly.
pub(crate) struct Output(BufWriter<StdoutLock<'static>>);

impl Output {
    pub(crate) fn new() -> Output {
        Output(BufWriter::with_capacity(64 << 10, io::stdout().lock()))
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> Outcome {
        self.0.write_all(bytes).map_err(|error| Failure::output(&error))
    }

    pub(crate) fn line(&mut self, line: &str) -> Outcome {
        self.bytes(line.as_bytes())?;
        self.bytes(b"\n")
    }

    pub(crate) fn flush(&mut self) -> Outcome {
        self.0.flush().map_err(|error| Failure::output(&error))
    }
}
