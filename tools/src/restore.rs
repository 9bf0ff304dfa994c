//! The commands that change an object's present out of its past: `lineal restore` and `lineal fork`; and those that keep
//! a part of the past: `lineal pin`, `unpin` and `pins`.

use lineal::{Bookmark, Error, Object, TableDifference};

use crate::{
    args,
    commits::quoted,
    exit::{Failure, Outcome},
    json::{self, Line},
    open, restore_many, show,
    stdout::Output,
    tables,
};

/// Longest cause of a commit, in bytes, as the engine has it.
const CAUSE_BYTES_MAX: usize = 4 << 10;

/// What a restore changes: how many keys, and which tables.
#[derive(Default)]
struct Plan {
    added: u64,
    changed: u64,
    removed: u64,
    tables: Vec<TableDifference>,
}

impl Plan {
    /// What would be different from now if the object were as it was at the bookmark.
    fn of(object: &Object, mark: &Bookmark) -> Outcome<Plan> {
        let mut plan = Plan::default();
        let now = object.bookmark().wait()?;
        plan.tables = object.diff_tables(&now, mark)?;
        for found in object.diff(&now, mark)? {
            let found = found?;
            let count = match (found.before, found.after) {
                (None, _) => &mut plan.added,
                (Some(_), None) => &mut plan.removed,
                (Some(_), Some(_)) => &mut plan.changed,
            };
            *count += 1;
        }
        Ok(plan)
    }
}

pub(crate) fn run(args: &args::RestoreInPlace) -> Outcome {
    if let Some(selector) = restore_many::selector(args) {
        return restore_many::run(args, &selector);
    }
    if args.dry_run {
        return plan(args);
    }
    let engine = open::writable(&args.data)?;
    let object = open::object_with_history(&engine, &restore_many::one(args))?;
    let mark = args.at.bookmark(&object)?;
    let undo = object.restore_because(&mark, &args.cause).wait()?;
    let mut out = Output::new();
    if args.json {
        let mut line = Line::new();
        line.number("restored_to", mark.seq()).json("undo", &show::json(&undo));
        out.line(&line.end())?;
    } else {
        let shown = restore_many::one(args).shown();
        out.line(&format!("object {shown} is as it was after commit {}; this undoes it:", mark.seq()))?;
        out.line(&undo.to_string())?;
    }
    out.flush()?;
    Ok(engine.close()?)
}

fn plan(args: &args::RestoreInPlace) -> Outcome {
    let engine = open::read_only_at(&args.data)?;
    let object = open::object_with_history(&engine, &restore_many::one(args))?;
    let mark = args.at.bookmark(&object)?;
    let plan = Plan::of(&object, &mark)?;
    let mut out = Output::new();
    if args.json {
        let mut line = Line::new();
        line.flag("dry_run", true).json("to", &show::json(&mark));
        line.number("added", plan.added).number("changed", plan.changed).number("removed", plan.removed);
        line.json("tables", &json::list(plan.tables.iter().map(tables::table)));
        out.line(&line.end())?;
    } else {
        out.line(&format!(
            "object {} would be as it was after commit {}: {} keys added, {} changed, {} removed; nothing was done",
            restore_many::one(args).shown(),
            mark.seq(),
            plan.added,
            plan.changed,
            plan.removed
        ))?;
        for table in &plan.tables {
            out.line(&tables::plain_table(table))?;
        }
    }
    out.flush()
}

/// Refuses what a fork would refuse, before the target's namespace is made for it.
pub(crate) fn check_fork(object: &Object, mark: &Bookmark, cause: &str) -> Result<(), Error> {
    object.at(mark)?;
    if cause.len() > CAUSE_BYTES_MAX {
        let (limit, size) = (CAUSE_BYTES_MAX as u64, cause.len() as u64);
        return Err(Error::TooLarge { what: "cause", limit, size });
    }
    Ok(())
}

pub(crate) fn fork(args: &args::Fork) -> Outcome {
    let engine = if args.dry_run { open::read_only_at(&args.data)? } else { open::writable(&args.data)? };
    let object = open::object_with_history(&engine, &args.address)?;
    let mark = args.at.bookmark(&object)?;
    check_fork(&object, &mark, &args.cause)?;
    let ns = args.to_ns.as_deref().unwrap_or(&args.address.ns);
    let mut out = Output::new();
    let mut line = Line::new();
    if args.dry_run {
        let target = engine.existing_namespace(ns).and_then(|namespace| namespace.object(&args.to));
        if target.is_ok_and(|target| target.info().is_ok()) {
            return Err(Failure::other(format!("object {:?} in {ns:?} has a history already", args.to)));
        }
        line.flag("dry_run", true).json("from", &show::json(&mark));
    } else {
        let target = engine.namespace(ns)?.object(&args.to)?;
        let first = object.fork_because(&mark, &target, &args.cause).wait()?;
        line.json("from", &show::json(&mark)).json("first", &show::json(&first));
    }
    if args.json {
        out.line(&line.text("ns", ns).text("obj", &args.to).end())?;
    } else {
        let will = if args.dry_run { "would be" } else { "is" };
        let shown = args.address.shown();
        out.line(&format!(
            "object {:?} in {ns:?} {will} what object {shown} was after commit {}",
            args.to,
            mark.seq()
        ))?;
    }
    out.flush()?;
    if args.dry_run { Ok(()) } else { Ok(engine.close()?) }
}

pub(crate) fn pin(args: &args::Pin) -> Outcome {
    let engine = if args.dry_run { open::read_only_at(&args.data)? } else { open::writable(&args.data)? };
    let object = open::object_with_history(&engine, &args.address)?;
    let mark = match &args.at {
        Some(at) => at.bookmark(&object)?,
        None => object.bookmark().wait()?,
    };
    if args.dry_run {
        object.at(&mark)?;
    } else {
        object.pin(&mark, &args.name).wait()?;
    }
    let mut out = Output::new();
    out.line(&pin_line(&args.name, &mark, args.json))?;
    if args.dry_run && !args.json {
        out.line("nothing was done")?;
    }
    out.flush()?;
    Ok(engine.close()?)
}

pub(crate) fn unpin(args: &args::Unpin) -> Outcome {
    let engine = if args.dry_run { open::read_only_at(&args.data)? } else { open::writable(&args.data)? };
    let object = open::object_with_history(&engine, &args.address)?;
    let was_there = if args.dry_run {
        object.pins()?.iter().any(|(name, _)| *name == args.name)
    } else {
        object.unpin(&args.name).wait()?
    };
    engine.close()?;
    if !was_there {
        return Err(Failure::not_found(format!(
            "object {} has no pin {:?}",
            args.address.shown(),
            args.name
        )));
    }
    Ok(())
}

pub(crate) fn pins(args: &args::Pins) -> Outcome {
    let engine = open::read_only(&args.dir)?;
    let object = open::object_with_history(&engine, &args.address)?;
    let mut out = Output::new();
    for (name, mark) in object.pins()? {
        out.line(&pin_line(&name, &mark, args.json))?;
    }
    out.flush()
}

pub(crate) fn pin_line(name: &str, mark: &Bookmark, json: bool) -> String {
    if json {
        let mut line = Line::new();
        line.text("name", name);
        show::fields(mark, &mut line);
        return line.end();
    }
    format!("{}  commit {}  {mark}", quoted(name.as_bytes()), mark.seq())
}
