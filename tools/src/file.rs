//! `lineal import` and `lineal export`: databases of objects as files of SQLite.

use lineal::{Engine, Error, Imported};

use crate::{
    args,
    exit::{Failure, Outcome},
    json::Line,
    open,
    stdout::Output,
};

pub(crate) fn import(args: &args::Import) -> Outcome {
    if args.dry_run {
        return check(args);
    }
    // Before a directory is made for it.
    if !args.file.try_exists().unwrap_or(true) {
        return Err(Failure::not_found(format!("there is no file {}", args.file.display())));
    }
    let engine = open::writing(&args.keeping).open(&args.dir)?;
    let object = open::new_object(&engine, &args.address)?;
    let done = object.import_sqlite_because(&args.file, &args.cause).wait();
    let outcome = done.map_err(Failure::from).and_then(|done| {
        let seq = object.info()?.seq;
        let line = fields(args, &done, false).number("seq", seq).end();
        tell(args.json, &line, &format!("{} (commit {seq})", plain(args, &done, "is")))
    });
    engine.close()?;
    outcome
}

/// Only checks the file, in an engine of its own: the guards are the same everywhere.
fn check(args: &args::Import) -> Outcome {
    let scratch =
        tempfile::tempdir().map_err(|error| Failure::io("making a temporary directory failed", &error))?;
    let engine = Engine::open(scratch.path())?;
    let would = open::new_object(&engine, &args.address)?.check_sqlite(&args.file)?;
    engine.close()?;
    let text = format!("{}; nothing was done", plain(args, &would, "would be"));
    tell(args.json, &fields(args, &would, true).end(), &text)
}

fn fields(args: &args::Import, done: &Imported, dry_run: bool) -> Line {
    let mut line = Line::new();
    if dry_run {
        line.flag("dry_run", true);
    }
    line.text("ns", &args.address.ns).number("tables", done.tables).number("bytes", done.bytes);
    line
}

fn plain(args: &args::Import, done: &Imported, is: &str) -> String {
    let (shown, file) = (args.address.shown(), args.file.display());
    format!(
        "the database of object {shown} {is} that of {file}: {} tables, {} bytes",
        done.tables, done.bytes
    )
}

pub(crate) fn export(args: &args::Export) -> Outcome {
    let engine = open::read_only(&args.dir)?;
    let object = open::object_with_history(&engine, &args.address)?;
    let view = match &args.at {
        Some(at) => at.view(&object)?,
        None => object.at_seq(object.info()?.seq)?,
    };
    let done =
        if args.replace { view.export_sqlite_over(&args.file) } else { view.export_sqlite(&args.file) };
    let done = done.map_err(|error| match error {
        Error::NotFound { .. } => Failure::not_found(format!(
            "object {} has no database at commit {}",
            args.address.shown(),
            view.seq()
        )),
        other => other.into(),
    })?;
    let line = Line::new().number("seq", done.seq).number("bytes", done.bytes).end();
    let (shown, file) = (args.address.shown(), args.file.display());
    let text =
        format!("{file} is the database of object {shown} at commit {}: {} bytes", done.seq, done.bytes);
    tell(args.json, &line, &text)
}

fn tell(json: bool, line: &str, text: &str) -> Outcome {
    let mut out = Output::new();
    out.line(if json { line } else { text })?;
    out.flush()
}
