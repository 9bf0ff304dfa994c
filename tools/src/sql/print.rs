//! What statements answer, as a table, as CSV or as JSON.

use std::io::Write;

use lineal::{
    Row, Rows,
    rusqlite::types::{Type, ValueRef},
};

use crate::{
    commits::hex,
    exit::{Failure, Outcome},
    json::Line,
    progress, values,
};

/// Rows that a table's columns are measured by; later ones may stand out.
///
/// Source: chosen; memory for them is small.
const MEASURED_ROWS: usize = 1_000;
/// Bytes of a blob that a table shows.
const BLOB_BYTES_SHOWN: usize = 32;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Table,
    Csv,
    Json,
}

/// Writes answers.
pub(crate) struct Printer<'o> {
    pub(crate) out: &'o mut dyn Write,
    pub(crate) format: Format,
}

impl Printer<'_> {
    pub(crate) fn line(&mut self, line: &str) -> Outcome {
        writeln!(self.out, "{line}").map_err(|error| Failure::output(&error))
    }

    /// Prints the rows of a statement that has columns.
    pub(crate) fn rows(&mut self, rows: &mut Rows<'_>) -> Outcome {
        let names: Vec<String> = rows.column_names().into_iter().map(str::to_owned).collect();
        match self.format {
            Format::Table => self.table(&names, rows),
            Format::Csv => {
                self.line(&names.iter().map(|name| csv(name)).collect::<Vec<_>>().join(","))?;
                while let Some(row) = rows.next()? {
                    let cells = (0..names.len()).map(|at| Ok(csv_cell(row.get_ref(at)?)));
                    let cells = cells.collect::<Outcome<Vec<_>>>()?;
                    self.line(&cells.join(","))?;
                }
                Ok(())
            }
            Format::Json => {
                while let Some(row) = rows.next()? {
                    let mut line = Line::new();
                    let mut value = String::new();
                    for (at, name) in names.iter().enumerate() {
                        value.clear();
                        values::write(&mut value, row.get_ref(at)?);
                        line.json(name, &value);
                    }
                    self.line(&line.end())?;
                }
                Ok(())
            }
        }
    }

    /// Tells how many rows a statement without columns has changed.
    pub(crate) fn changed(&mut self, count: u64) -> Outcome {
        let rows = if count == 1 { "row" } else { "rows" };
        match self.format {
            Format::Table => self.line(&format!("{count} {rows} changed")),
            Format::Json => self.line(&Line::new().number("rows_written", count).end()),
            // Only rows are CSV.
            Format::Csv => {
                progress::say(&format!("{count} {rows} changed"));
                Ok(())
            }
        }
    }

    fn table(&mut self, names: &[String], rows: &mut Rows<'_>) -> Outcome {
        let names: Vec<Cell> =
            names.iter().map(|name| Cell { text: printable(name), right: false }).collect();
        let mut first = Vec::new();
        while first.len() < MEASURED_ROWS {
            let Some(row) = rows.next()? else { break };
            first.push(cells(&row)?);
        }
        let mut widths: Vec<usize> = names.iter().map(Cell::width).collect();
        for row in &first {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = cell.width().max(*width);
            }
        }
        self.line(&aligned(&names, &widths))?;
        self.line(&widths.iter().map(|width| "-".repeat(*width)).collect::<Vec<_>>().join("  "))?;
        for row in &first {
            self.line(&aligned(row, &widths))?;
        }
        while let Some(row) = rows.next()? {
            self.line(&aligned(&cells(&row)?, &widths))?;
        }
        Ok(())
    }
}

struct Cell {
    text: String,
    right: bool,
}

impl Cell {
    fn width(&self) -> usize {
        self.text.chars().count()
    }
}

fn cells(row: &Row<'_, '_>) -> Outcome<Vec<Cell>> {
    let cell = |at| {
        let value = row.get_ref(at)?;
        let right = matches!(value.data_type(), Type::Integer | Type::Real);
        Ok(Cell { text: shown(value), right })
    };
    (0..row.column_count()).map(cell).collect()
}

fn aligned(cells: &[Cell], widths: &[usize]) -> String {
    let padded = cells.iter().zip(widths).map(|(cell, width)| {
        if cell.right { format!("{:>width$}", cell.text) } else { format!("{:<width$}", cell.text) }
    });
    padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
}

/// A value on one line of a terminal.
fn shown(value: ValueRef<'_>) -> String {
    match value {
        ValueRef::Null => "NULL".into(),
        ValueRef::Text(text) => printable(&String::from_utf8_lossy(text)),
        ValueRef::Blob(blob) if blob.len() > BLOB_BYTES_SHOWN => {
            format!("x'{}…' ({} bytes)", hex(&blob[..BLOB_BYTES_SHOWN]), blob.len())
        }
        ValueRef::Blob(blob) => format!("x'{}'", hex(blob)),
        number => {
            let mut out = String::new();
            values::write(&mut out, number);
            out.trim_matches('"').to_owned()
        }
    }
}

/// A text without line breaks and terminal sequences.
fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() { out.extend(c.escape_default()) } else { out.push(c) }
    }
    out
}

/// A value as CSV: nothing for NULL, hexadecimal digits for a blob.
fn csv_cell(value: ValueRef<'_>) -> String {
    match value {
        ValueRef::Null => String::new(),
        ValueRef::Text(text) => match std::str::from_utf8(text) {
            Ok("") => "\"\"".into(),
            Ok(text) => csv(text),
            Err(_) => format!("x'{}'", hex(text)),
        },
        ValueRef::Blob(blob) => format!("x'{}'", hex(blob)),
        number => shown(number),
    }
}

/// A text as RFC 4180 wants it.
fn csv(text: &str) -> String {
    if text.contains(['"', ',', '\n', '\r']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.to_owned()
    }
}
