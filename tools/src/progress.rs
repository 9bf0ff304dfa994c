//! Progress on stderr: a bar on a terminal, a plain line now and then elsewhere.

use std::{
    io::IsTerminal,
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressStyle};

use crate::amounts::{duration, size};

/// How often a plain line is printed at most.
///
/// Source: chosen; a log of an hour's run stays readable.
const LINE_EVERY: Duration = Duration::from_secs(5);

/// Shows how far something has come.
#[derive(Debug)]
pub(crate) enum Progress {
    Bar(ProgressBar),
    Lines(Lines),
}

/// What a line says, and when the last one did.
#[derive(Debug)]
pub(crate) struct Lines {
    what: String,
    /// Of how many, if that is known.
    total: Option<u64>,
    shown: fn(u64) -> String,
    began: Instant,
    last: Instant,
}

impl Progress {
    /// Begins to show `what`, of which there are about `total`.
    pub(crate) fn new(what: &str, total: u64) -> Progress {
        let bar = "{msg:>22} {wide_bar} {human_pos}/{human_len} {per_sec} {eta}";
        Progress::begin(what, Some(total), plain, bar)
    }

    /// Begins to show `what`, of which nobody knows how many there are.
    pub(crate) fn counting(what: &str) -> Progress {
        Progress::begin(what, None, plain, "{msg:>22} {spinner} {human_pos} {per_sec}")
    }

    /// Begins to show `what` in bytes.
    pub(crate) fn bytes(what: &str, total: u64) -> Progress {
        let bar = "{msg:>22} {wide_bar} {binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec} {eta}";
        Progress::begin(what, Some(total), size, bar)
    }

    fn begin(what: &str, total: Option<u64>, shown: fn(u64) -> String, bar: &str) -> Progress {
        if !std::io::stderr().is_terminal() {
            let now = Instant::now();
            return Progress::Lines(Lines { what: what.to_owned(), total, shown, began: now, last: now });
        }
        let style = ProgressStyle::with_template(bar).unwrap_or_else(|_| ProgressStyle::default_bar());
        let made = total.map_or_else(ProgressBar::no_length, ProgressBar::new);
        Progress::Bar(made.with_style(style).with_message(what.to_owned()))
    }

    pub(crate) fn at(&mut self, done: u64) {
        match self {
            Progress::Bar(bar) => bar.set_position(done),
            Progress::Lines(lines) => {
                if lines.last.elapsed() >= LINE_EVERY {
                    lines.last = Instant::now();
                    say(&lines.line(done));
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

impl Lines {
    fn line(&self, done: u64) -> String {
        let (what, shown) = (&self.what, self.shown);
        let Some(total) = self.total else { return format!("{what}: {}", shown(done)) };
        let left =
            self.began.elapsed().as_secs_f64() * total.saturating_sub(done) as f64 / done.max(1) as f64;
        format!("{what}: {} of {}, about {} left", shown(done), shown(total), duration(left))
    }
}

fn plain(number: u64) -> String {
    number.to_string()
}

/// Prints a line on stderr, and goes on if that cannot be written.
pub(crate) fn say(line: &str) {
    use std::io::Write;
    let _ = writeln!(std::io::stderr().lock(), "{line}");
}
