//! `lineal archive verify`: that everything can be restored.

use super::place;
use crate::{args, exit::Outcome, progress::Progress, stdout::Output, verify};

pub(super) fn run(args: &args::ArchiveVerify) -> Outcome {
    let mut progress = Progress::counting("objects verified");
    let report = lineal::archive::verify(&place::of(&args.from), args.from.engine, &mut |objects| {
        progress.at(objects)
    })?;
    progress.end();
    let mut out = Output::new();
    out.line(&if args.json { verify::json(&report) } else { verify::plain(&report) })?;
    out.flush()
}
