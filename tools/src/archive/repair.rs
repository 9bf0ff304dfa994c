//! `lineal repair`: makes the manifest of an archive again.

use lineal::archive::Repaired;

use super::place;
use crate::{
    amounts::{count, size},
    args,
    exit::{Code, Failure, Outcome},
    json::{self, Line},
    stdout::Output,
};

pub(crate) fn run(args: &args::Repair) -> Outcome {
    let archive = place::of(&args.from).force(args.force);
    let repaired = lineal::archive::repair(&archive, args.from.engine, args.dry_run)?;
    let mut out = Output::new();
    out.line(&if args.json { json(&repaired, args.dry_run) } else { plain(&repaired, args.dry_run) })?;
    out.flush()?;
    if repaired.left_out.is_empty() { Ok(()) } else { Err(Failure::Silent(Code::Corrupt)) }
}

fn json(repaired: &Repaired, dry_run: bool) -> String {
    let mut line = Line::new();
    line.flag("dry_run", dry_run).text("engine", &repaired.engine.to_string());
    match &repaired.was {
        Some(was) => line.text("was", was),
        None => line.null("was"),
    };
    line.number("packs", repaired.packs)
        .number("pack_bytes", repaired.pack_bytes)
        .number("chunks", repaired.chunks)
        .number("newest_lsn", repaired.newest.0);
    let left = repaired.left_out.iter().map(|(key, reason)| {
        let mut line = Line::new();
        line.text("key", key).text("reason", reason).end()
    });
    line.json("left_out", &json::list(left)).end()
}

fn plain(repaired: &Repaired, dry_run: bool) -> String {
    let (engine, packs) = (repaired.engine, count(repaired.packs));
    let packs = format!("{packs} packs ({})", size(repaired.pack_bytes));
    let Some(was) = &repaired.was else {
        return format!("engine {engine}: the manifest of {packs} is whole; nothing was done");
    };
    let done = if dry_run { "it would be made again" } else { "it was made again" };
    let (chunks, newest) = (count(repaired.chunks), repaired.newest);
    let mut text =
        format!("engine {engine}: {was}; {done}, of {packs} and {chunks} chunks of the log, to lsn {newest}");
    if dry_run {
        text += "; nothing was done";
    }
    for (key, reason) in &repaired.left_out {
        text += &format!("\n  without {key}: {reason}");
    }
    text
}
