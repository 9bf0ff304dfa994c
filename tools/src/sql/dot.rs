//! Commands that begin with a dot.

use lineal::{Sql, rusqlite::Params};

use super::print::Printer;
use crate::exit::{Failure, Outcome};

pub(super) const HELP: &str = "\
.tables            list tables and views
.schema [NAME]     print the statements that made the schema, or one table's
.help              print this
.quit              leave
A statement ends with a semicolon. Each is a transaction of its own at the prompt.";

const TABLES: &str = "SELECT name FROM pragma_table_list WHERE schema = 'main' AND type <> 'shadow' \
                      AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY name";
const SCHEMA: &str = "SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL \
                      AND (?1 IS NULL OR lower(?1) IN (lower(name), lower(tbl_name))) ORDER BY rowid";

/// Whether a command ends the script or the prompt.
pub(super) fn is_end(command: &str) -> bool {
    matches!(command, ".quit" | ".exit")
}

pub(super) fn run(command: &str, sql: &Sql<'_>, printer: &mut Printer<'_>) -> Outcome {
    let mut words = command.split_whitespace();
    match (words.next(), words.next(), words.next()) {
        (Some(".tables"), None, None) => lines(sql, TABLES, [], "", printer),
        (Some(".schema"), name, None) => lines(sql, SCHEMA, [name], ";", printer),
        (Some(".help"), ..) => printer.line(HELP),
        _ => Err(Failure::usage(format!("there is no command {command:?}: .help lists them"))),
    }
}

fn lines(sql: &Sql<'_>, query: &str, params: impl Params, end: &str, printer: &mut Printer<'_>) -> Outcome {
    for text in sql.query_map(query, params, |row| row.get::<String>(0))? {
        printer.line(&format!("{}{end}", text?))?;
    }
    Ok(())
}
