//! Progress on stderr: a bar on a terminal, a plain line now and then elsewhere.

use std::{
    io::IsTerminal,
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressStyle};

/// How often a plain line is printed at most.
///
/// Source: chosen; a log of an hour's run stays readable.
const LINE_EVERY: Duration = Duration::from_secs(5);

/// Shows how far something has come.
#[derive(Debug)]
pub(crate) enum Progress {
    Bar(ProgressBar),
    Lines { what: String, total: u64, last: Instant },
}

impl Progress {
    /// Begins to show `what`, of which there are about `total`.
    pub(crate) fn new(what: &str, total: u64) -> Progress {
        if !std::io::stderr().is_terminal() {
            return Progress::Lines { what: what.to_owned(), total, last: Instant::now() };
        }
        let style =
            ProgressStyle::with_template("{msg:>22} {wide_bar} {human_pos}/{human_len} {per_sec} {eta}")
                .unwrap_or_else(|_| ProgressStyle::default_bar());
        Progress::Bar(ProgressBar::new(total).with_style(style).with_message(what.to_owned()))
    }

    pub(crate) fn at(&mut self, done: u64) {
        match self {
            Progress::Bar(bar) => bar.set_position(done),
            Progress::Lines { what, total, last } => {
                if last.elapsed() >= LINE_EVERY {
                    *last = Instant::now();
                    say(&format!("{what}: {done} of {total}"));
                }
            }
        }
    }

    /// Takes the bar away.
    pub(crate) fn end(self) {
        if let Progress::Bar(bar) = self {
            bar.finish_and_clear();
        }
    }
}

/// Prints a line on stderr, and goes on if that cannot be written.
pub(crate) fn say(line: &str) {
    use std::io::Write;
    let _ = writeln!(std::io::stderr().lock(), "{line}");
}
