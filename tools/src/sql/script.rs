//! How statements come in: as an argument, as a script on stdin, or at the prompt.

use std::io::{self, IsTerminal, Read};

use lineal::{Engine, Error, View};

use super::{
    dot,
    print::Format,
    prompt,
    split::{self, Input},
    target::{self, Target},
};
use crate::{
    args,
    exit::{Failure, Outcome},
    open,
};

/// Longest script, in bytes.
///
/// Source: chosen; the largest transaction. A larger one comes in parts, or as a file for lineal import.
const SCRIPT_BYTES_MAX: u64 = 64 << 20;

pub(crate) fn run(args: &args::Sql) -> Outcome {
    let format = match (args.json, args.csv) {
        (true, _) => Format::Json,
        (_, true) => Format::Csv,
        _ => Format::Table,
    };
    let script = match &args.query {
        Some(query) => query.clone(),
        None if io::stdin().is_terminal() => return prompt(args, format),
        None => read_script()?,
    };
    let mut inputs = split::all(&script);
    let is_end = |input: &Input<'_>| matches!(input, Input::Dot(command) if dot::is_end(command));
    inputs.truncate(inputs.iter().position(is_end).unwrap_or(inputs.len()));
    if inputs.is_empty() {
        return Err(Failure::usage("there is no statement"));
    }
    let target = match look(args, &inputs)? {
        Some(target) => target,
        None => Target::writable(&args.data, &args.address, &args.cause)?,
    };
    let mut out = io::BufWriter::new(io::stdout().lock());
    for part in inputs.chunks(if args.each { 1 } else { inputs.len() }) {
        target.run(part, format, &mut out)?;
    }
    drop(out);
    target.close()
}

/// What to run on if nothing has to be written; `None` if something has to.
fn look(args: &args::Sql, inputs: &[Input<'_>]) -> Outcome<Option<Target>> {
    if args.at.is_some() || args.read_only {
        return past(args).map(Some);
    }
    if target::needs_writing(inputs, None) {
        return Ok(None);
    }
    let engine = open::read_only_at(&args.data)?;
    let view = newest(&engine, args)?;
    Ok((!target::needs_writing(inputs, Some(&view))).then_some(Target::Past(view)))
}

fn past(args: &args::Sql) -> Outcome<Target> {
    let engine = open::read_only_at(&args.data)?;
    let Some(at) = &args.at else { return Ok(Target::Past(newest(&engine, args)?)) };
    let object = open::object_with_history(&engine, &args.address)?;
    Ok(Target::Past(at.view(&object)?))
}

fn newest(engine: &Engine, args: &args::Sql) -> Outcome<View<'static>> {
    let object = open::object_with_history(engine, &args.address)?;
    Ok(object.at_seq(object.info()?.seq)?)
}

fn read_script() -> Outcome<String> {
    let mut script = String::new();
    let read = io::stdin().lock().take(SCRIPT_BYTES_MAX + 1).read_to_string(&mut script);
    read.map_err(|error| Failure::io("reading stdin failed", &error))?;
    if script.len() as u64 > SCRIPT_BYTES_MAX {
        let size = script.len() as u64;
        return Err(Error::TooLarge { what: "script", limit: SCRIPT_BYTES_MAX, size }.into());
    }
    Ok(script)
}

fn prompt(args: &args::Sql, format: Format) -> Outcome {
    let target = match args.at.is_some() || args.read_only {
        true => past(args)?,
        false => Target::writable(&args.data, &args.address, &args.cause)?,
    };
    prompt::talk(&target, format, &mut io::stdin().lock(), &mut io::stdout())?;
    target.close()
}
