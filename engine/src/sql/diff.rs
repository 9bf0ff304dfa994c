//! What is different between two versions of an object's database: which tables, and which of their rows.

use std::{
    cmp::Ordering,
    collections::{BTreeMap, BTreeSet},
};

use rusqlite::types::{Value, ValueRef};

use super::{Row, Rows, SPACE_SQL, Sql, SqlError, SqlErrorCode};
use crate::{Bookmark, Object, Result, View, history::diff::Diff};

/// A table that is different in two versions of a database.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TableDifference {
    /// Its name.
    pub table: String,
    /// Whether the first version has it.
    pub before: bool,
    /// Whether the second version has it.
    pub after: bool,
}

/// A row that is different in two versions of a table.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct RowDifference {
    /// Its primary key, or its rowid if the table has no primary key, or one with nothing in it.
    pub key: Vec<Value>,
    /// Its columns in the first version, in the table's order; `None`: it was added.
    pub before: Option<Vec<Value>>,
    /// Its columns in the second version; `None`: it was removed.
    pub after: Option<Vec<Value>>,
}

/// A table as its schema describes it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Shape {
    columns: Vec<String>,
    /// The columns of the primary key, in its order, or a name of the rowid.
    key: Vec<String>,
    /// Whether the key is the rowid, which has no collation.
    by_rowid: bool,
}

impl Object {
    /// The tables of the object's database that are different at two points of its history, by name: those that came or
    /// went, and those with a page that changed, be it their own or one of their indexes. So a table is named also where a
    /// row was changed and changed back. Looks at the pages that changed, and at which table each page belongs to, which
    /// takes a walk through both databases. Takes no turn.
    ///
    /// # Errors
    /// As [`diff`](Object::diff).
    ///
    /// ```
    /// # fn main() -> lineal::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let engine = lineal::Engine::open(dir.path())?;
    /// # let object = engine.namespace("n")?.object("o")?;
    /// object.transact(|tx| tx.sql().execute_batch(
    ///     "CREATE TABLE a (id INTEGER PRIMARY KEY, x); CREATE TABLE b (y); INSERT INTO a VALUES (1, 'old')",
    /// )).wait()?;
    /// object.transact(|tx| tx.sql().execute("UPDATE a SET x = 'new'", [])).wait()?;
    /// let (before, after) = (object.bookmark_of(1)?, object.bookmark_of(2)?);
    /// let tables = object.diff_tables(&before, &after)?;
    /// assert_eq!((tables.len(), tables[0].table.as_str()), (1, "a"));
    /// object.diff_rows(&before, &after, "a", |row| {
    ///     assert_eq!(row.key, [1.into()]);
    ///     assert_eq!(row.after.unwrap()[1], "new".to_owned().into());
    ///     Ok(())
    /// })
    /// # }
    /// ```
    pub fn diff_tables(&self, before: &Bookmark, after: &Bookmark) -> Result<Vec<TableDifference>> {
        let mut pages = BTreeSet::new();
        for difference in Diff::in_space(self, before, after, SPACE_SQL)? {
            let key: Result<[u8; 4], _> = difference?.key.try_into();
            pages.extend(key.map(u32::from_be_bytes));
        }
        if pages.is_empty() {
            return Ok(Vec::new());
        }
        let sides = [tables(&self.at(before)?, &pages)?, tables(&self.at(after)?, &pages)?];
        let [before, after] = &sides;
        let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
        let touched = |name: &String| {
            let of = |side: &BTreeMap<String, Table>| side.get(name).cloned();
            match (of(before), of(after)) {
                (Some(a), Some(b)) => a.touched || b.touched || a.sql != b.sql,
                _ => true,
            }
        };
        let difference = |name: &String| TableDifference {
            table: name.clone(),
            before: before.contains_key(name),
            after: after.contains_key(name),
        };
        Ok(names.into_iter().filter(|name| touched(name)).map(difference).collect())
    }

    /// Calls `f` for every row of a table that was added, removed or changed between two points of the object's history,
    /// in the order of the table's primary key, or of its rowid. Rows are the same if their columns have the same names and
    /// values. Reads the table at both points from end to end, and keeps none of it. Takes no turn.
    ///
    /// # Errors
    /// As [`diff`](Object::diff); [`Error::Sql`](crate::Error::Sql) if neither version has the table; what `f` returns.
    pub fn diff_rows(
        &self,
        before: &Bookmark,
        after: &Bookmark,
        table: &str,
        mut f: impl FnMut(RowDifference) -> Result<()>,
    ) -> Result<()> {
        let views = [self.at(before)?, self.at(after)?];
        let [old, new] = [shape(&views[0], table)?, shape(&views[1], table)?];
        if old.is_none() && new.is_none() {
            let message = format!("there is no table {table} in either version");
            return Err(SqlError::new(SqlErrorCode::Statement, message).into());
        }
        // With another key no row can be found again.
        let comparable = matches!((&old, &new), (Some(old), Some(new)) if old.key == new.key);
        let same_columns = matches!((&old, &new), (Some(old), Some(new)) if old.columns == new.columns);
        let (sql_before, sql_after) = (views[0].sql(), views[1].sql());
        let mut left = Side::start(&sql_before, table, old.as_ref())?;
        let mut right = Side::start(&sql_after, table, new.as_ref())?;
        loop {
            let order = match (&left.current, &right.current) {
                (None, None) => return Ok(()),
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some(_), Some(_)) if !comparable => Ordering::Less,
                (Some(a), Some(b)) => compare_keys(&a.0, &b.0),
            };
            let before = if order.is_le() { left.advance()? } else { None };
            let after = if order.is_ge() { right.advance()? } else { None };
            let difference = match (before, after) {
                (Some((_, a)), Some((_, b))) if same_columns && a == b => continue,
                (Some((key, a)), b) => RowDifference { key, before: Some(a), after: b.map(|(_, b)| b) },
                (None, Some((key, b))) => RowDifference { key, before: None, after: Some(b) },
                (None, None) => return Ok(()),
            };
            f(difference)?;
        }
    }
}

#[derive(Clone, Debug)]
struct Table {
    sql: Option<String>,
    /// Whether one of its pages, or of its indexes', is among those that changed.
    touched: bool,
}

/// The tables of a version, and whether their pages are among `pages`.
fn tables(view: &View<'_>, pages: &BTreeSet<u32>) -> Result<BTreeMap<String, Table>> {
    let sql = view.sql();
    let mut tables = BTreeMap::new();
    let mut owners = BTreeMap::new();
    let mut rows = sql.query("SELECT name, tbl_name, type, sql FROM sqlite_schema", [])?;
    while let Some(row) = rows.next()? {
        let (name, table): (String, String) = (row.get(0)?, row.get(1)?);
        if row.get::<String>(2)? == "table" {
            tables.insert(name.clone(), Table { sql: row.get(3)?, touched: false });
        }
        owners.insert(name, table);
    }
    drop(rows);
    let mut rows = sql.query("SELECT name, pageno FROM dbstat", [])?;
    while let Some(row) = rows.next()? {
        if pages.contains(&row.get::<u32>(1)?)
            && let Some(table) = owners.get(&row.get::<String>(0)?).and_then(|owner| tables.get_mut(owner))
        {
            table.touched = true;
        }
    }
    Ok(tables)
}

/// The columns and the key of a table; `None` if there is no such table.
fn shape(view: &View<'_>, table: &str) -> Result<Option<Shape>> {
    let sql = view.sql();
    let without_rowid: Option<bool> = sql.query_optional(
        "SELECT wr FROM pragma_table_list WHERE schema = 'main' AND name = ?1 AND type IN ('table', 'virtual')",
        [table],
        |row| row.get(0),
    )?;
    let Some(without_rowid) = without_rowid else { return Ok(None) };
    let mut shape = Shape::default();
    let mut key = BTreeMap::new();
    let mut rows = sql.query("SELECT name, pk FROM pragma_table_info(?1)", [table])?;
    while let Some(row) = rows.next()? {
        let (name, at): (String, i64) = (row.get(0)?, row.get(1)?);
        if at > 0 {
            key.insert(at, name.clone());
        }
        shape.columns.push(name);
    }
    drop(rows);
    shape.key = key.into_values().collect();
    // A primary key of a table with rowids may be NULL, in many rows.
    let is_null = || {
        let nulls: Vec<String> = shape.key.iter().map(|key| format!("{} IS NULL", quote(key))).collect();
        let query = format!("SELECT EXISTS (SELECT 1 FROM {} WHERE {})", quote(table), nulls.join(" OR "));
        sql.query_one(&query, [], |row| row.get::<bool>(0))
    };
    if shape.key.is_empty() || (!without_rowid && is_null()?) {
        let is_column = |name: &str| shape.columns.iter().any(|column| column.eq_ignore_ascii_case(name));
        let Some(rowid) = ["rowid", "_rowid_", "oid"].into_iter().find(|name| !is_column(name)) else {
            let message =
                format!("the rows of {table} cannot be told apart: it has columns of all names of the rowid");
            return Err(SqlError::new(SqlErrorCode::Statement, message).into());
        };
        shape.key = vec![rowid.to_owned()];
        shape.by_rowid = true;
    }
    Ok(Some(shape))
}

fn quote(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// All rows by key, the key's columns first. Compared without the columns' own collations, so that the order is the one
/// that is compared by here.
fn query(table: &str, shape: &Shape) -> String {
    let keys: Vec<String> = shape.key.iter().map(|key| quote(key)).collect();
    let columns: Vec<String> =
        keys.iter().cloned().chain(shape.columns.iter().map(|name| quote(name))).collect();
    let collation = if shape.by_rowid { "" } else { " COLLATE BINARY" };
    let order: Vec<String> = keys.iter().map(|key| format!("{key}{collation}")).collect();
    format!("SELECT {} FROM {} ORDER BY {}", columns.join(", "), quote(table), order.join(", "))
}

/// Key and columns of a row.
type Keyed = (Vec<Value>, Vec<Value>);

/// Where one side stands in its table.
struct Side<'q> {
    /// `None`: the version has no such table.
    rows: Option<Rows<'q>>,
    key_columns: usize,
    current: Option<Keyed>,
}

impl<'q> Side<'q> {
    fn start(sql: &'q Sql<'_>, table: &str, shape: Option<&Shape>) -> Result<Side<'q>> {
        let rows = shape.map(|shape| sql.query(&query(table, shape), [])).transpose()?;
        let key_columns = shape.map_or(0, |shape| shape.key.len());
        let mut side = Side { rows, key_columns, current: None };
        side.advance()?;
        Ok(side)
    }

    /// Goes on to the next row, and returns the one before.
    fn advance(&mut self) -> Result<Option<Keyed>> {
        let row = self.rows.as_mut().map_or(Ok(None), Rows::next)?;
        let next = row.map(|row| values(&row, self.key_columns)).transpose()?;
        Ok(std::mem::replace(&mut self.current, next))
    }
}

fn values(row: &Row<'_, '_>, key_columns: usize) -> Result<Keyed> {
    let mut key: Vec<Value> = (0..row.column_count()).map(|at| row.get(at)).collect::<Result<_>>()?;
    let columns = key.split_off(key_columns);
    Ok((key, columns))
}

/// The order that SQLite sorts in without a collation: nothing, numbers, texts, blobs.
fn compare_keys(a: &[Value], b: &[Value]) -> Ordering {
    let class = |value: &Value| match value {
        Value::Null => 0,
        Value::Integer(_) | Value::Real(_) => 1,
        Value::Text(_) => 2,
        Value::Blob(_) => 3,
    };
    let compare = |a: &Value, b: &Value| match (ValueRef::from(a), ValueRef::from(b)) {
        (ValueRef::Integer(a), ValueRef::Integer(b)) => a.cmp(&b),
        (ValueRef::Real(a), ValueRef::Real(b)) => a.total_cmp(&b),
        (ValueRef::Integer(a), ValueRef::Real(b)) => compare_mixed(a, b),
        (ValueRef::Real(a), ValueRef::Integer(b)) => compare_mixed(b, a).reverse(),
        (ValueRef::Text(a), ValueRef::Text(b)) | (ValueRef::Blob(a), ValueRef::Blob(b)) => a.cmp(b),
        _ => class(a).cmp(&class(b)),
    };
    a.iter().zip(b).map(|(a, b)| compare(a, b)).find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
}

/// An integer against a real, exactly.
fn compare_mixed(integer: i64, real: f64) -> Ordering {
    const LIMIT: f64 = 9_223_372_036_854_775_808.0;
    if real >= LIMIT {
        return Ordering::Less;
    }
    if real < -LIMIT {
        return Ordering::Greater;
    }
    integer.cmp(&(real as i64)).then_with(|| 0.0.partial_cmp(&real.fract()).unwrap_or(Ordering::Equal))
}
