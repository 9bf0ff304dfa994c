//! `lineal objects`: what a namespace holds.

use lineal::ObjectInfo;

use crate::{args, exit::Outcome, json::Line, open, stdout::Output};

pub(crate) fn run(args: &args::Objects) -> Outcome {
    let engine = open::read_only(&args.dir)?;
    let namespace = engine.existing_namespace(&args.ns)?;
    let limit = args.limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
    let mut out = Output::new();
    for info in namespace.objects_after(args.after)?.take(limit) {
        let info = info?;
        out.line(&if args.json { json(&info) } else { plain(&info) })?;
    }
    out.flush()
}

/// One object as JSON, as `exec` tells it too.
pub(crate) fn json(info: &ObjectInfo) -> String {
    let mut line = Line::new();
    line.object("obj", info.name.as_deref(), info.id);
    line.text("id", &info.id.to_string());
    line.number("seq", info.seq);
    line.number("lsn", info.lsn);
    line.number("bytes", info.bytes);
    line.number("last_commit_us", info.last_commit.0);
    line.end()
}

fn plain(info: &ObjectInfo) -> String {
    // A name may hold anything, line breaks and terminal sequences too.
    let name = info.name.as_deref().map_or_else(|| "-".to_owned(), |name| name.escape_debug().to_string());
    format!("{}  seq {:<8}  {:>10} bytes  {name}", info.id, info.seq, info.bytes)
}
