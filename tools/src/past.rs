//! `lineal at` and `lineal diff`: an object as it was.

use lineal::{Error, View};

use crate::{
    args::{self, Look},
    commits,
    dump::Dump,
    exit::{Failure, Outcome},
    json::Line,
    open,
    stdout::Output,
    tables, when,
};

pub(crate) fn at(args: &args::At) -> Outcome {
    let engine = open::read_only(&args.dir)?;
    let object = open::object_with_history(&engine, &args.address)?;
    let view = args.at.view(&object)?;
    match &args.look {
        Look::Get { key } => get(&view, key, args.json),
        Look::List { prefix, limit, reverse } => {
            let mut entries = view.prefix(prefix).limit(limit.unwrap_or(u64::MAX));
            if *reverse {
                entries = entries.reverse();
            }
            let mut out = Output::new();
            for entry in entries {
                let (key, value) = entry?;
                out.line(&if args.json {
                    Line::new().bytes("key", &key).bytes("value", &value).end()
                } else {
                    format!("{} = {}", commits::quoted(&key), commits::quoted(&value))
                })?;
            }
            out.flush()
        }
        Look::Dump => {
            let name = object.name().map(str::to_owned);
            let mut dump = Dump::new();
            dump.view(&args.address.ns, name.as_deref(), object.id(), &view)??;
            dump.end()
        }
    }
}

fn get(view: &View<'_>, key: &str, json: bool) -> Outcome {
    let value = view.get(key)?;
    let value =
        value.ok_or_else(|| Failure::not_found(format!("there was no key {key:?} at seq {}", view.seq())))?;
    let mut out = Output::new();
    if json {
        out.line(&Line::new().bytes("value", &value).number("seq", view.seq()).end())?;
    } else {
        out.bytes(&value)?;
    }
    out.flush()
}

pub(crate) fn diff(args: &args::Diff) -> Outcome {
    let engine = open::read_only(&args.dir)?;
    let object = open::object_with_history(&engine, &args.address)?;
    let (before, after) = when::points(&object, &args.before, args.after.as_ref())?;
    let mut out = Output::new();
    if let Some(table) = &args.table {
        let mut failed = None;
        let told = object.diff_rows(&before, &after, table, |row| {
            let line = if args.json { tables::row(table, &row) } else { tables::plain_row(&row) };
            out.line(&line).map_err(|error| {
                failed = Some(error);
                Error::Closed
            })
        });
        // What went wrong with the output says more than that it ended.
        return match failed {
            Some(error) => Err(error),
            None => {
                told?;
                out.flush()
            }
        };
    }
    for found in object.diff(&before, &after)? {
        let found = found?;
        out.line(&if args.json { commits::difference(&found) } else { commits::plain_difference(&found) })?;
    }
    for table in object.diff_tables(&before, &after)? {
        out.line(&if args.json { tables::table(&table) } else { tables::plain_table(&table) })?;
    }
    out.flush()
}
