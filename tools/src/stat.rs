//! `lineal stat`: counters and sizes.

use lineal::Stats;

use crate::{args, exit::Outcome, json::Line, open, stdout::Output};

pub(crate) fn run(args: &args::Stat) -> Outcome {
    let stats = open::read_only(&args.dir)?.stats();
    let mut out = Output::new();
    if args.prometheus {
        out.bytes(stats.prometheus().as_bytes())?;
    } else if args.json {
        let mut line = Line::new();
        fields(&stats, &mut line);
        out.line(&line.end())?;
    } else {
        for (name, value) in stats.fields() {
            out.line(&format!("{name:<20} {value}"))?;
        }
    }
    out.flush()
}

/// All counters, as fields of a JSON object.
pub(crate) fn fields(stats: &Stats, line: &mut Line) {
    for (name, value) in stats.fields() {
        line.number(name, value);
    }
}
