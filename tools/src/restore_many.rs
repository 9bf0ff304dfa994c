//! `lineal restore --all` and `--prefix`: many objects to one moment.

use std::collections::BTreeMap;

use lineal::{ObjectId, RestoreAction, RestoredObject, Selector};

use crate::{
    args,
    exit::{Code, Failure, Outcome},
    json::Line,
    open,
    progress::Progress,
    show,
    stdout::Output,
    when::When,
};

/// How many objects came to what.
pub(crate) type Counts = BTreeMap<&'static str, u64>;

pub(crate) fn run(args: &args::RestoreInPlace, selector: &Selector) -> Outcome {
    let When::Time(time) = args.at else {
        return Err(Failure::usage("many objects go back to one moment: give --at a time, not a commit"));
    };
    let engine = if args.dry_run { open::read_only_at(&args.data)? } else { open::writable(&args.data)? };
    let namespace = engine.existing_namespace(&args.ns)?;
    let mut out = Output::new();
    let mut counts = Counts::new();
    if args.dry_run {
        for planned in engine.plan_restore(&namespace, selector, time)? {
            let planned = planned?;
            let (what, line) = plan_line(&planned, args.json);
            *counts.entry(what).or_default() += 1;
            out.line(&line)?;
        }
        out.line(&summary(&counts, args, true))?;
        return out.flush();
    }
    let mut progress = Progress::new("objects restored", namespace.usage().objects);
    let mut done = 0;
    let mut said = Ok(());
    let report = engine.restore_many(&namespace, selector, time, &args.cause, &mut |object| {
        done += 1;
        progress.at(done);
        let (what, line) = done_line(&object, args.json);
        *counts.entry(what).or_default() += 1;
        if said.is_ok() {
            said = out.line(&line);
        }
    })?;
    progress.end();
    said?;
    out.line(&summary(&counts, args, false))?;
    out.flush()?;
    engine.close()?;
    if report.failed > 0 { Err(Failure::Silent(Code::Other)) } else { Ok(()) }
}

fn what_of(action: &RestoreAction) -> &'static str {
    match action {
        RestoreAction::Restore(_) => "restored",
        RestoreAction::Delete => "deleted",
        _ => "unchanged",
    }
}

fn named(name: Option<&str>, id: ObjectId) -> String {
    name.map_or_else(|| id.to_string(), |name| format!("{name:?}"))
}

pub(crate) fn plan_line(planned: &lineal::PlannedRestore, json: bool) -> (&'static str, String) {
    let what = what_of(&planned.action);
    if json {
        let mut line = Line::new();
        line.object("obj", planned.name.as_deref(), planned.id)
            .text("would_be", what)
            .number("seq", planned.seq);
        if let RestoreAction::Restore(mark) = &planned.action {
            line.json("to", &show::json(mark));
        }
        return (what, line.end());
    }
    let to = match &planned.action {
        RestoreAction::Restore(mark) => format!(" to commit {} of {}", mark.seq(), planned.seq),
        _ => String::new(),
    };
    (what, format!("{} would be {what}{to}", named(planned.name.as_deref(), planned.id)))
}

pub(crate) fn done_line(object: &RestoredObject, json: bool) -> (&'static str, String) {
    let mut line = Line::new();
    line.object("obj", object.name.as_deref(), object.id);
    let shown = named(object.name.as_deref(), object.id);
    match &object.outcome {
        Ok((action, undo)) => {
            let what = what_of(action);
            line.text("was", what);
            if let Some(undo) = undo {
                line.json("undo", &show::json(undo));
            }
            let plain = match undo {
                Some(undo) => format!("{shown} {what}; undo: {undo}"),
                None => format!("{shown} {what}"),
            };
            (what, if json { line.end() } else { plain })
        }
        Err(error) => {
            line.text("was", "failed").text("error", error.name()).text("message", &error.to_string());
            ("failed", if json { line.end() } else { format!("{shown} left as it is: {error}") })
        }
    }
}

/// The counts as fields of a JSON object.
pub(crate) fn counted(counts: &Counts, dry: bool, line: &mut Line) {
    line.flag("dry_run", dry);
    for what in ["restored", "deleted", "unchanged", "failed"] {
        line.number(what, counts.get(what).copied().unwrap_or_default());
    }
}

fn summary(counts: &Counts, args: &args::RestoreInPlace, dry: bool) -> String {
    if args.json {
        let mut line = Line::new();
        counted(counts, dry, &mut line);
        return line.end();
    }
    let each: Vec<String> = counts.iter().map(|(what, count)| format!("{count} {what}")).collect();
    let each = if each.is_empty() { "no object is meant".to_owned() } else { each.join(", ") };
    if dry { format!("{each}; nothing was done") } else { each }
}

/// The objects that the arguments mean, if they mean many.
pub(crate) fn selector(args: &args::RestoreInPlace) -> Option<Selector> {
    match (&args.prefix, args.all) {
        (Some(prefix), _) => Some(Selector::Prefix(prefix.clone())),
        (None, true) => Some(Selector::All),
        (None, false) => None,
    }
}

/// The address of one object.
pub(crate) fn one(args: &args::RestoreInPlace) -> args::Address {
    args::Address { ns: args.ns.clone(), object: args.object.clone(), id: args.id }
}
