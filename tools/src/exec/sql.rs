//! Requests in SQL.

use lineal::{Error, Result, Sql, rusqlite};

use super::{
    reply::{Answer, Refusal},
    request::{Op, Params, Statement, Target, Terms, Write},
    session::{Session, check_size, not_found, read},
};
use crate::{
    json::{self, Line},
    sql::split,
    values,
    when::When,
};

/// Rows in the answer to a statement that names no limit.
///
/// Source: chosen; a reply of about a megabyte.
const ROWS_LIMIT: u64 = 10_000;

impl Session {
    /// Runs one statement: as a read if it only reads, else as a transaction.
    pub(super) fn sql(
        &mut self,
        target: Target,
        statement: Statement,
        at: Option<&When>,
        terms: Terms,
    ) -> Result<Answer, Refusal> {
        if let Some(at) = at {
            return self.at(&target, at, |view| run(&view.sql(), &statement));
        }
        if terms.expect_seq.is_none() && split::seems_to_read(&statement.query) {
            let object = self.existing_object(&target)?.ok_or_else(|| not_found(&target))?;
            // It is what the statement says, and nothing of what the object holds, so no gate matters. What cannot be
            // prepared fails again, behind its gate.
            let reads = object.read(|view| view.sql().is_read_only(&statement.query)).unconfirmed();
            if reads.unwrap_or(true) {
                return read(&object, |view| run(&view.sql(), &statement));
            }
        }
        self.write_with(Write { target, ops: vec![Op::Sql(statement)], terms }, |mut answers| {
            answers.pop().unwrap_or_default()
        })
    }
}

/// The answers to the statements of a transaction; nothing if it had none.
pub(super) fn results(answers: Vec<String>) -> String {
    if answers.is_empty() {
        return String::new();
    }
    Line::new().json("results", &listed(answers)).fields()
}

/// Answers as a list.
pub(super) fn listed(answers: Vec<String>) -> String {
    json::list(answers.into_iter().map(|fields| format!("{{{fields}}}")))
}

/// Runs a statement, and gives the fields of its answer.
pub(super) fn run(sql: &Sql<'_>, statement: &Statement) -> Result<String, Error> {
    let (read, written) = (sql.rows_read()?, sql.rows_written()?);
    let mut line = Line::new();
    answer(sql, statement, &mut line)?;
    line.number("rows_read", sql.rows_read()? - read).number("rows_written", sql.rows_written()? - written);
    Ok(line.fields())
}

fn answer(sql: &Sql<'_>, statement: &Statement, line: &mut Line) -> Result<(), Error> {
    let mut rows = match &statement.params {
        Params::Listed(list) => sql.query(&statement.query, rusqlite::params_from_iter(list))?,
        Params::Named(named) => {
            let named: Vec<(&str, &dyn rusqlite::ToSql)> =
                named.iter().map(|(name, value)| (name.as_str(), value as &dyn rusqlite::ToSql)).collect();
            sql.query(&statement.query, named.as_slice())?
        }
    };
    let columns = rows.column_names().into_iter().map(|name| {
        let mut out = String::new();
        crate::bytes::write_text(&mut out, name);
        out
    });
    line.json("columns", &json::list(columns.collect::<Vec<_>>()));
    let limit = statement.limit.unwrap_or(ROWS_LIMIT);
    let (mut found, mut count, mut more) = (String::from("["), 0, false);
    while let Some(row) = rows.next()? {
        if count == limit {
            more = true;
            break;
        }
        found.push_str(if count > 0 { ",[" } else { "[" });
        for at in 0..row.column_count() {
            if at > 0 {
                found.push(',');
            }
            values::write(&mut found, row.get_ref(at)?);
        }
        found.push(']');
        count += 1;
        check_size("result (use limit)", found.len())?;
    }
    found.push(']');
    line.json("rows", &found).flag("more", more);
    Ok(())
}
