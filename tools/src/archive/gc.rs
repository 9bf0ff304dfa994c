//! `lineal archive gc`: deletes what the archive does not need any more.

use std::time::Duration;

use lineal::archive::Collected;

use super::place;
use crate::{
    amounts::{count, size},
    args,
    exit::Outcome,
    json::{self, Line},
    stdout::Output,
};

pub(super) fn run(args: &args::Gc) -> Outcome {
    let archive = place::of(&args.from).grace(Duration::from_secs(args.grace * 3_600));
    let collected = lineal::archive::gc(&archive, args.from.engine, args.dry_run)?;
    let mut out = Output::new();
    if args.json {
        out.line(&json(&collected, args.dry_run))?;
    } else {
        for key in collected.keys.iter().filter(|_| args.dry_run) {
            out.line(key)?;
        }
        let done = if args.dry_run { "would be deleted; nothing was done" } else { "were deleted" };
        let (keys, bytes) = (count(collected.keys.len() as u64), size(collected.pack_bytes));
        out.line(&format!("engine {}: {keys} keys with {bytes} of packs {done}", collected.engine))?;
    }
    out.flush()
}

fn json(collected: &Collected, dry_run: bool) -> String {
    let keys = collected.keys.iter().map(|key| serde_json::Value::from(key.as_str()).to_string());
    let mut line = Line::new();
    line.flag("dry_run", dry_run).text("engine", &collected.engine.to_string());
    line.number("pack_bytes", collected.pack_bytes).json("keys", &json::list(keys)).end()
}
