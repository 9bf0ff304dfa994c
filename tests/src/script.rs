//! Scripts in the format of SQLite's sqllogictest: statements that must succeed or fail, queries and their results.
//!
//! ```text
//! hash-threshold 8                      (skipped: a result is compared as it is written)
//!
//! onlyif NAME | skipif NAME             conditions of the record that follows
//! statement ok | error
//! SQL, up to an empty line
//!
//! query TYPES [nosort|rowsort|valuesort] [label]
//! SQL
//! ----
//! a value per line, or "N values hashing to MD5"
//!
//! halt                                  the script ends
//! ```
//!
//! TYPES has a letter per column: T for text, I for integers, R for numbers with three digits after the point. Lines that
//! begin with `#` are comments.

use lineal::rusqlite::types::ValueRef;
use md5::{Digest, Md5};

/// One record of a script.
#[derive(Clone, Debug)]
pub struct Record {
    /// The line it begins on, counted from 1.
    pub line: usize,
    /// Its SQL, or nothing.
    pub sql: String,
    /// What it wants.
    pub wants: Wants,
    conditions: Vec<(bool, String)>,
}

/// What a record wants of its SQL.
#[derive(Clone, Debug)]
pub enum Wants {
    /// That it succeeds.
    Success,
    /// That it fails.
    Failure,
    /// These values.
    Values(Query),
    /// The end of the script.
    Halt,
}

/// What is known of a query's result.
#[derive(Clone, Debug)]
pub struct Query {
    /// A letter per column.
    pub types: String,
    sort: Sort,
    /// All queries of one label have the same result.
    pub label: Option<String>,
    /// The lines below `----`.
    pub expected: Vec<String>,
}

#[derive(Clone, Copy, Debug)]
enum Sort {
    No,
    Rows,
    Values,
}

impl Record {
    /// Whether the record is for the engine that goes by these names.
    pub fn is_for(&self, names: &[&str]) -> bool {
        self.conditions
            .iter()
            .all(|(only, name)| *only == names.iter().any(|own| own.eq_ignore_ascii_case(name)))
    }
}

/// The records of a script.
///
/// # Panics
/// If a line has no meaning.
pub fn parse(text: &str) -> Vec<Record> {
    let mut lines = text.lines().map(str::trim_end).enumerate();
    let mut records = Vec::new();
    let mut conditions = Vec::new();
    while let Some((at, line)) = lines.next() {
        let mut words = line.split('#').next().unwrap_or_default().split_whitespace();
        let Some(first) = words.next() else { continue };
        let mut word = || words.next().unwrap_or_default().to_owned();
        let (sql, wants) = match first {
            "hash-threshold" => continue,
            "onlyif" | "skipif" => {
                conditions.push((first == "onlyif", word()));
                continue;
            }
            "halt" => (String::new(), Wants::Halt),
            "statement" => {
                let wants = match word().as_str() {
                    "ok" => Wants::Success,
                    "error" => Wants::Failure,
                    other => panic!("line {}: a statement is ok or error, not {other:?}", at + 1),
                };
                (until(&mut lines, "").join("\n"), wants)
            }
            "query" => {
                let types = word();
                let sort = match word().as_str() {
                    "" | "nosort" => Sort::No,
                    "rowsort" => Sort::Rows,
                    "valuesort" => Sort::Values,
                    other => panic!("line {}: unknown sort {other:?}", at + 1),
                };
                let label = Some(word()).filter(|label| !label.is_empty());
                let sql = until(&mut lines, "----");
                assert!(!sql.contains(&""), "line {}: a query without ----", at + 1);
                let expected = until(&mut lines, "").into_iter().map(str::to_owned).collect();
                (sql.join("\n"), Wants::Values(Query { types, sort, label, expected }))
            }
            other => panic!("line {}: unknown record {other:?}", at + 1),
        };
        records.push(Record { line: at + 1, sql, wants, conditions: std::mem::take(&mut conditions) });
    }
    records
}

fn until<'t>(lines: &mut impl Iterator<Item = (usize, &'t str)>, end: &str) -> Vec<&'t str> {
    lines.map(|(_, line)| line).take_while(|line| *line != end).collect()
}

impl Query {
    /// The values of rows in the order that the query wants them compared in.
    pub fn sorted(&self, mut rows: Vec<Vec<String>>) -> Vec<String> {
        if matches!(self.sort, Sort::Rows) {
            rows.sort();
        }
        let mut values = rows.concat();
        if matches!(self.sort, Sort::Values) {
            values.sort();
        }
        values
    }

    /// Whether these sorted values are the expected ones.
    pub fn expects(&self, values: &[String]) -> bool {
        match self.expected.as_slice() {
            [only] if only.contains(" values hashing to ") => {
                *only == format!("{} values hashing to {}", values.len(), hash(values))
            }
            expected => expected == values,
        }
    }
}

/// The MD5 of values, a line each.
pub fn hash(values: &[String]) -> String {
    let mut md5 = Md5::new();
    for value in values {
        md5.update(value);
        md5.update("\n");
    }
    md5.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A value as scripts write it, in a column of the given type. Of texts that are not ASCII, each byte is a `@`.
///
/// # Panics
/// If the type is none.
pub fn render(value: ValueRef<'_>, column: char) -> String {
    if value == ValueRef::Null {
        return "NULL".to_owned();
    }
    match column {
        'T' => {
            let text = text(value);
            match text.is_empty() {
                true => "(empty)".to_owned(),
                false => text.chars().map(|c| if matches!(c, ' '..='~') { c } else { '@' }).collect(),
            }
        }
        'I' => integer(value).to_string(),
        'R' => match real(value) {
            f64::INFINITY => "Inf".to_owned(),
            f64::NEG_INFINITY => "-Inf".to_owned(),
            finite => format!("{finite:.3}"),
        },
        other => panic!("unknown type {other:?} of a column"),
    }
}

// As `sqlite3_column_text`, `_int64` and `_double` convert.

fn text(value: ValueRef<'_>) -> String {
    match value {
        ValueRef::Null => String::new(),
        ValueRef::Integer(value) => value.to_string(),
        ValueRef::Real(value) => format!("{value:?}"),
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => bytes.iter().copied().map(char::from).collect(),
    }
}

fn integer(value: ValueRef<'_>) -> i64 {
    match value {
        ValueRef::Integer(value) => value,
        ValueRef::Real(value) => value as i64,
        other => prefix(&text(other), |c, first| c.is_ascii_digit() || (first && matches!(c, '-' | '+'))),
    }
}

fn real(value: ValueRef<'_>) -> f64 {
    match value {
        ValueRef::Integer(value) => value as f64,
        ValueRef::Real(value) => value,
        other => prefix(&text(other), |c, first| {
            c.is_ascii_digit() || c == '.' || (first && matches!(c, '-' | '+'))
        }),
    }
}

/// The number that a text begins with, or zero.
fn prefix<N: std::str::FromStr + Default>(text: &str, belongs: impl Fn(char, bool) -> bool) -> N {
    let text = text.trim_start();
    let end = text.char_indices().find(|(at, c)| !belongs(*c, *at == 0)).map_or(text.len(), |(at, _)| at);
    text[..end].parse().unwrap_or_default()
}
