//! Differences of databases as text and as JSON.

use lineal::{
    RowDifference, TableDifference,
    rusqlite::types::{Value, ValueRef},
};

use crate::{commits::quoted, json::Line, values};

/// A table that is different, as JSON.
pub(crate) fn table(found: &TableDifference) -> String {
    let mut line = Line::new();
    line.text("table", &found.table).flag("before", found.before).flag("after", found.after);
    line.end()
}

/// The same as a line of text.
pub(crate) fn plain_table(found: &TableDifference) -> String {
    let what = match (found.before, found.after) {
        (false, _) => "was added",
        (true, false) => "was removed",
        (true, true) => "is different",
    };
    format!("table {} {what}", quoted(found.table.as_bytes()))
}

/// A row that is different, as JSON.
pub(crate) fn row(table: &str, found: &RowDifference) -> String {
    let mut line = Line::new();
    line.text("table", table).json("key", &list(&found.key));
    for (name, row) in [("before", &found.before), ("after", &found.after)] {
        match row {
            Some(row) => line.json(name, &list(row)),
            None => line.null(name),
        };
    }
    line.end()
}

/// The same as lines of text: - what it was, + what it is.
pub(crate) fn plain_row(found: &RowDifference) -> String {
    let line = |sign: char, row: &Option<Vec<Value>>| row.as_ref().map(|row| format!("{sign} {}", list(row)));
    let lines = [line('-', &found.before), line('+', &found.after)];
    lines.into_iter().flatten().collect::<Vec<_>>().join("\n")
}

fn list(row: &[Value]) -> String {
    let mut out = String::from("[");
    for (at, value) in row.iter().enumerate() {
        if at > 0 {
            out.push(',');
        }
        values::write(&mut out, ValueRef::from(value));
    }
    out.push(']');
    out
}
