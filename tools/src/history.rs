//! `lineal history` and `lineal blame`: an object's commits.

use lineal::{CommitInfo, Error};

use crate::{args, commits, exit::Outcome, open, stdout::Output};

pub(crate) fn run(args: &args::History) -> Outcome {
    let engine = open::read_only(&args.dir)?;
    let object = open::object_with_history(&engine, &args.address)?;
    let mut history = object.history(args.from.unwrap_or(0)..=args.to.unwrap_or(u64::MAX))?;
    if let Some(since) = args.since {
        history = history.since(since);
    }
    if let Some(until) = args.until {
        history = history.until(until);
    }
    if args.reverse {
        history = history.reverse();
    }
    print(history, args.limit, args.json)
}

pub(crate) fn blame(args: &args::Blame) -> Outcome {
    let engine = open::read_only(&args.dir)?;
    let object = open::object_with_history(&engine, &args.address)?;
    print(object.blame(&args.key)?, args.limit, args.json)
}

/// Prints commits as they are found.
fn print(found: impl Iterator<Item = Result<CommitInfo, Error>>, limit: Option<u64>, json: bool) -> Outcome {
    let limit = limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
    let mut out = Output::new();
    for info in found.take(limit) {
        let info = info?;
        out.line(&if json { commits::json(&info) } else { commits::plain(&info) })?;
    }
    out.flush()
}
