//! The rows of a query, read when they are asked for.
#![allow(unsafe_code, reason = "rows borrow the statement that is kept beside them")]

use std::ptr::NonNull;

use rusqlite::{
    CachedStatement, Params, RowIndex,
    fallible_streaming_iterator::FallibleStreamingIterator,
    types::{FromSql, ValueRef},
};

use super::session::{Host, Session, prepare};
use crate::Result;

/// The rows of a query. Each is read when [`next`](Rows::next) asks for it; dropping this ends the query.
#[must_use = "rows are read when they are asked for"]
pub struct Rows<'q> {
    /// Borrows `statement`; taken before that is freed.
    rows: Option<rusqlite::Rows<'q>>,
    /// Owned: from a box that `start` made.
    statement: NonNull<CachedStatement<'q>>,
    host: &'q dyn Host,
    session: &'q Session,
    returned: u64,
}

impl<'q> Rows<'q> {
    pub(super) fn start(
        host: &'q dyn Host,
        session: &'q Session,
        sql: &str,
        params: impl Params,
    ) -> Result<Rows<'q>> {
        let statement = session.call(host, |db| prepare(db, sql, host.is_writable()))?;
        let statement = NonNull::from(Box::leak(Box::new(statement)));
        let mut this = Rows { rows: None, statement, host, session, returned: 0 };
        this.rows = Some(session.call(host, |_| {
            // SAFETY: the box is this value's until its drop, which takes the rows first, and nothing else refers to it
            // meanwhile but through them.
            unsafe { &mut *this.statement.as_ptr() }.query(params)
        })?);
        Ok(this)
    }

    /// The next row, or `None` after the last.
    ///
    /// # Errors
    /// [`Error::Sql`](crate::Error::Sql); [`Error::Damaged`](crate::Error::Damaged) or
    /// [`Error::Io`](crate::Error::Io) if a page cannot be read.
    #[expect(clippy::should_implement_trait, reason = "a row borrows what is next")]
    pub fn next(&mut self) -> Result<Option<Row<'_, 'q>>> {
        let Some(rows) = &mut self.rows else { return Ok(None) };
        self.session.call(self.host, |_| rows.advance())?;
        let row = FallibleStreamingIterator::get(&*rows);
        self.returned += u64::from(row.is_some());
        Ok(row.map(Row::new))
    }

    /// The names of the columns.
    pub fn column_names(&self) -> Vec<&str> {
        // SAFETY: the statement is this value's until its drop, and the rows only share it.
        unsafe { self.statement.as_ref() }.column_names().collect()
    }
}

impl Drop for Rows<'_> {
    fn drop(&mut self) {
        let rows = &mut self.rows;
        let ended = self.session.call(self.host, |_| {
            *rows = None;
            Ok(())
        });
        // To end a statement may fail only as the statement itself did, or because the budget is used up, which the next one
        // will tell.
        drop(ended);
        self.session.was_undone();
        // SAFETY: `start` leaked the box, the rows that borrowed it are gone, and this is dropped once.
        let statement = unsafe { Box::from_raw(self.statement.as_ptr()) };
        self.session.count(&statement, self.returned);
    }
}

impl std::fmt::Debug for Rows<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rows").field("returned", &self.returned).finish_non_exhaustive()
    }
}

/// One row of a result, for as long as the query stands on it.
pub struct Row<'r, 'q> {
    row: &'r rusqlite::Row<'q>,
}

impl<'r, 'q> Row<'r, 'q> {
    pub(super) fn new(row: &'r rusqlite::Row<'q>) -> Row<'r, 'q> {
        Row { row }
    }

    /// The value of a column, by number (from 0 on) or by name.
    ///
    /// # Errors
    /// [`Error::Sql`](crate::Error::Sql) if there is no such column or it does not fit the type.
    pub fn get<T: FromSql>(&self, column: impl RowIndex) -> Result<T> {
        Ok(self.row.get(column)?)
    }

    /// The value of a column without copying it.
    ///
    /// # Errors
    /// [`Error::Sql`](crate::Error::Sql) if there is no such column.
    pub fn get_ref(&self, column: impl RowIndex) -> Result<ValueRef<'_>> {
        Ok(self.row.get_ref(column)?)
    }

    /// Number of columns.
    pub fn column_count(&self) -> usize {
        self.row.as_ref().column_count()
    }

    /// The names of the columns.
    pub fn column_names(&self) -> Vec<&str> {
        self.row.as_ref().column_names().collect()
    }
}

impl std::fmt::Debug for Row<'_, '_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Row").field("columns", &self.column_names()).finish_non_exhaustive()
    }
}

/// What a function makes of the rows of a query, one by one. Ends after the first error.
#[must_use = "rows are read when they are asked for"]
pub struct Mapped<'q, F> {
    rows: Option<Rows<'q>>,
    f: F,
}

impl<'q, F> Mapped<'q, F> {
    pub(super) fn new(rows: Rows<'q>, f: F) -> Mapped<'q, F> {
        Mapped { rows: Some(rows), f }
    }
}

impl<T, F: FnMut(&Row<'_, '_>) -> Result<T>> Iterator for Mapped<'_, F> {
    type Item = Result<T>;

    fn next(&mut self) -> Option<Result<T>> {
        let rows = self.rows.as_mut()?;
        let item = match rows.next() {
            Ok(Some(row)) => Some((self.f)(&row)),
            Ok(None) => None,
            Err(error) => Some(Err(error)),
        };
        if !matches!(item, Some(Ok(_))) {
            self.rows = None;
        }
        item
    }
}

impl<F> std::fmt::Debug for Mapped<'_, F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mapped").finish_non_exhaustive()
    }
}
