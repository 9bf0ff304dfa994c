//! Whether a schema that was made elsewhere passes the guards.
//!
//! Every statement of the schema is run again in an empty database under the guards: so nothing is in it that could not
//! have been made here. Then whatever reads or writes by itself (virtual tables, views, triggers) is prepared in the
//! database as it is.

use std::collections::HashSet;

use rusqlite::config::DbConfig;

use super::{connection::Connection, guard::is_reserved, port::Pages};
use crate::{Error, Result};

/// One row of the schema.
struct Item {
    kind: String,
    name: String,
    table: String,
    sql: Option<String>,
}

const ITEMS: &str = "SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY CASE type \
                     WHEN 'table' THEN rootpage = 0 WHEN 'index' THEN 2 WHEN 'view' THEN 3 ELSE 4 END, rowid";

/// Checks the schema of `database`; `empty` is a database of the same namespace with nothing in it. Returns the number of
/// tables, or what does not pass.
pub(super) fn check(
    database: &Connection,
    pages: &dyn Pages,
    empty: &Connection,
    no_pages: &dyn Pages,
) -> Result<u64, String> {
    let (items, made) = read(database, pages).map_err(|error| error.to_string())?;
    let of_item = |item: &Item, error: Error| format!("{} {:?}: {error}", item.kind, item.name);
    empty
        .call(no_pages, |db| db.set_db_config(DbConfig::SQLITE_DBCONFIG_DQS_DDL, true))
        .map_err(|error| error.to_string())?;
    // The tables that a virtual table keeps its things in come and go with it.
    let own =
        |item: &&Item| !made.contains(&item.table.to_ascii_lowercase()) && !item.name.starts_with("sqlite_");
    for item in items.iter().filter(own) {
        if let Some(sql) = &item.sql {
            empty.call(no_pages, |db| db.execute_batch(sql)).map_err(|error| of_item(item, error))?;
        }
    }
    let mut watched = HashSet::new();
    for item in &items {
        if is_reserved(&item.name) {
            return Err(format!("{} {:?}: names that begin with _lineal are reserved", item.kind, item.name));
        }
        let checked = match item.kind.as_str() {
            "table" | "view" => prepare(database, pages, &format!("SELECT * FROM {}", quoted(&item.name))),
            "trigger" if watched.insert(item.table.clone()) && !is_view(&items, &item.table) => {
                writes(database, pages, &item.table)
            }
            _ => Ok(()),
        };
        checked.map_err(|error| of_item(item, error))?;
    }
    Ok(items.iter().filter(own).filter(|item| item.kind == "table").count() as u64)
}

/// The schema, and the names of the tables that virtual tables have made, in lower case.
fn read(database: &Connection, pages: &dyn Pages) -> Result<(Vec<Item>, HashSet<String>)> {
    database.call_trusted(pages, |db| {
        let mut statement = db.prepare(ITEMS)?;
        let items = statement.query_map([], |row| {
            Ok(Item { kind: row.get(0)?, name: row.get(1)?, table: row.get(2)?, sql: row.get(3)? })
        })?;
        let items = items.collect::<rusqlite::Result<Vec<Item>>>()?;
        let mut statement = db.prepare("SELECT lower(name) FROM pragma_table_list WHERE type = 'shadow'")?;
        let made = statement.query_map([], |row| row.get(0))?;
        Ok((items, made.collect::<rusqlite::Result<_>>()?))
    })
}

fn is_view(items: &[Item], name: &str) -> bool {
    items.iter().any(|item| item.kind == "view" && item.name.eq_ignore_ascii_case(name))
}

/// Prepares one statement for each event that a table's triggers can have.
fn writes(database: &Connection, pages: &dyn Pages, table: &str) -> Result<()> {
    let columns: Vec<String> = database.call_trusted(pages, |db| {
        let mut statement = db.prepare("SELECT name FROM pragma_table_xinfo(?1) WHERE hidden = 0")?;
        let columns = statement.query_map([table], |row| row.get::<_, String>(0))?;
        columns.collect()
    })?;
    let same = columns.iter().map(|column| format!("{0} = {0}", quoted(column)));
    let (table, same) = (quoted(table), same.collect::<Vec<_>>().join(", "));
    prepare(database, pages, &format!("INSERT INTO {table} DEFAULT VALUES"))?;
    prepare(database, pages, &format!("UPDATE {table} SET {same}"))?;
    prepare(database, pages, &format!("DELETE FROM {table}"))
}

fn prepare(database: &Connection, pages: &dyn Pages, sql: &str) -> Result<()> {
    database.call(pages, |db| db.prepare(sql).map(drop))
}

/// A name as SQL has it.
fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
