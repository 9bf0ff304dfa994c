//! What statements run on.

use std::io::{self, Seek, Write};

use lineal::{Engine, Error, Object, Sql, View};

use super::{
    dot,
    print::{Format, Printer},
    split::{self, Input},
};
use crate::{
    args::{Address, Data},
    exit::{Failure, Outcome},
    open,
};

/// Answers of a transaction that stay in memory until it is durable, in bytes; more of them go to a temporary file.
const HELD_BYTES_MAX: usize = 1 << 20;

pub(super) enum Target {
    /// One version, for queries.
    Past(View<'static>),
    /// The object as it is.
    Now { engine: Engine, object: Object, cause: String },
}

impl Target {
    /// The object that the arguments name, open for writing. Namespace and object are made if they are missing.
    pub(super) fn writable(data: &Data, address: &Address, cause: &str) -> Outcome<Target> {
        let engine = open::writable(data)?;
        let object = open::new_object(&engine, address)?;
        Ok(Target::Now { engine, object, cause: cause.to_owned() })
    }

    /// Runs pieces of a script, as one transaction where they may write, and writes what they answer: then when it is
    /// durable.
    pub(super) fn run(&self, inputs: &[Input<'_>], format: Format, out: &mut dyn Write) -> Outcome {
        let (object, cause) = match self {
            Target::Past(view) => {
                let ran = run_all(&view.sql(), inputs, &mut Printer { out, format });
                out.flush().map_err(|error| Failure::output(&error))?;
                return ran;
            }
            Target::Now { object, cause, .. } => (object, cause),
        };
        let mut held = tempfile::spooled_tempfile(HELD_BYTES_MAX);
        let ran = object.try_transact(|tx| {
            tx.cause(cause.as_str())?;
            run_all(&tx.sql(), inputs, &mut Printer { out: &mut held, format })
        });
        ran.wait()?;
        held.rewind().map_err(|error| Failure::io("reading back what was answered failed", &error))?;
        io::copy(&mut held, out).and_then(|_| out.flush()).map_err(|error| Failure::output(&error))
    }

    pub(super) fn close(self) -> Outcome {
        match self {
            Target::Past(_) => Ok(()),
            Target::Now { engine, .. } => Ok(engine.close()?),
        }
    }
}

fn run_all(sql: &Sql<'_>, inputs: &[Input<'_>], printer: &mut Printer<'_>) -> Outcome {
    for (number, input) in (1..).zip(inputs) {
        match input {
            Input::Dot(command) => dot::run(command, sql, printer)?,
            Input::Sql(statement) => {
                run_one(statement, sql, printer)
                    .map_err(|failure| named(failure, inputs, number, statement))?;
            }
        }
    }
    Ok(())
}

fn run_one(statement: &str, sql: &Sql<'_>, printer: &mut Printer<'_>) -> Outcome {
    let before = sql.rows_written()?;
    let mut rows = sql.query(statement, [])?;
    if !rows.column_names().is_empty() {
        return printer.rows(&mut rows);
    }
    while rows.next()?.is_some() {}
    drop(rows);
    printer.changed(sql.rows_written()? - before)
}

/// Names the statement of a script that failed.
fn named(failure: Failure, inputs: &[Input<'_>], number: usize, statement: &str) -> Failure {
    match failure {
        Failure::Said { code, name, message } if inputs.len() > 1 => {
            let line = statement.lines().next().unwrap_or_default();
            let message = format!("statement {number} ({line}): {message}");
            Failure::Said { code, name, message }
        }
        other => other,
    }
}

/// Whether statements need the engine open for writing. `view` is the object as it is; `None` if it is not there.
pub(super) fn needs_writing(inputs: &[Input<'_>], view: Option<&View<'_>>) -> bool {
    let statements = inputs.iter().filter_map(|input| match input {
        Input::Sql(statement) => Some(*statement),
        Input::Dot(_) => None,
    });
    for statement in statements {
        // What cannot be prepared fails in its turn, and those before it only read.
        let reads: Result<bool, Error> = match view {
            Some(view) if split::seems_to_read(statement) => view.sql().is_read_only(statement),
            _ => Ok(split::seems_to_read(statement)),
        };
        match reads {
            Ok(true) => {}
            Ok(false) => return true,
            Err(_) => return false,
        }
    }
    false
}
