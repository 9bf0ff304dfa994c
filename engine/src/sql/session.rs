//! SQL as a transaction or a view offers it.

use std::cell::Cell;

use lineal_wal::{ObjectKey, Seq};
use rusqlite::{CachedStatement, Params, StatementStatus, fallible_iterator::FallibleIterator};

use super::{
    connection::Connection,
    error::Refusal,
    port::{PAGE_BYTES, Pages, Written},
    rows::{Mapped, Row, Rows},
};
use crate::{Error, Result, engine::EngineInner};

/// A connection while one transaction or view uses it.
pub(crate) struct Session {
    pub(super) connection: Connection,
    key: ObjectKey,
    began: Cell<bool>,
    /// Pages went to the transaction: the connection's cache is right only if that commits.
    handed: Cell<bool>,
    /// A statement rolled back everything.
    undone: Cell<bool>,
    /// It was opened over what the transaction made of the object, so it is right only if that commits.
    only_if_committed: bool,
    growth_bytes_max: usize,
    changes_before: u64,
    rows_read: Cell<u64>,
}

/// What SQL runs in.
pub(crate) trait Host: Pages {
    /// The session, made with the first use, in a transaction of SQLite if this is one.
    fn session(&self) -> Result<&Session>;

    /// Whether statements may write.
    fn is_writable(&self) -> bool;
}

impl Session {
    /// Takes the object's connection. `valid_for` is its newest commit that changed pages.
    pub(crate) fn take(
        engine: &EngineInner,
        key: ObjectKey,
        valid_for: Seq,
        host: &dyn Host,
    ) -> Result<Session> {
        let connection = engine.sql.take(&engine.options, key, valid_for, host)?;
        Ok(Session::of(engine, key, connection, host))
    }

    /// Opens a connection over what a transaction has made of the object, all of whose pages it has deleted before.
    pub(crate) fn take_new(engine: &EngineInner, key: ObjectKey, host: &dyn Host) -> Result<Session> {
        let connection = engine.sql.take_new(&engine.options, key, host)?;
        Ok(Session { only_if_committed: true, ..Session::of(engine, key, connection, host) })
    }

    /// A session on a connection of its own.
    pub(crate) fn alone(engine: &EngineInner, key: ObjectKey, host: &dyn Host) -> Result<Session> {
        let connection = engine.sql.open(&engine.options, key.namespace, host)?;
        Ok(Session::of(engine, key, connection, host))
    }

    fn of(engine: &EngineInner, key: ObjectKey, connection: Connection, host: &dyn Host) -> Session {
        connection.start(&engine.options.sql, host.is_writable());
        let changes_before = connection.db.total_changes();
        Session {
            connection,
            key,
            began: Cell::new(false),
            handed: Cell::new(false),
            undone: Cell::new(false),
            only_if_committed: false,
            growth_bytes_max: engine.options.sql.memory_bytes_max,
            changes_before,
            rows_read: Cell::new(0),
        }
    }

    /// Begins a transaction of SQLite, unless one is open.
    pub(crate) fn begin(&self, pages: &dyn Pages) -> Result<()> {
        if self.undone.get() {
            return Err(Refusal::Undone.into());
        }
        if !self.began.get() {
            self.connection.bound_growth(pages, self.growth_bytes_max)?;
            self.connection.begin(pages)?;
            self.began.set(true);
        }
        Ok(())
    }

    pub(crate) fn has_begun(&self) -> bool {
        self.began.get()
    }

    /// Whether something was written that is not handed over.
    pub(crate) fn is_dirty(&self) -> bool {
        self.began.get() && self.connection.is_writing()
    }

    /// Commits SQLite's transaction and returns the pages that it wrote.
    pub(crate) fn hand_over(&self, pages: &dyn Pages) -> Result<Written> {
        if self.undone.get() {
            return Err(Refusal::Undone.into());
        }
        if !self.began.get() {
            return Ok(Written::default());
        }
        // A rename can make a name past the authorizer.
        if self.connection.has_renames() && self.connection.is_writing() {
            self.check_names(pages)?;
        }
        if let Err(error) = self.connection.commit(pages) {
            self.take_back(pages)?;
            return Err(error);
        }
        self.began.set(false);
        let written = self.connection.take_written();
        self.handed.set(self.handed.get() | !written.is_empty());
        Ok(written)
    }

    /// Takes back the buffer of what was handed over.
    pub(crate) fn recycle(&self, written: Written) {
        self.connection.recycle(written);
    }

    /// Undoes what was not handed over.
    pub(crate) fn take_back(&self, pages: &dyn Pages) -> Result<()> {
        if !self.began.replace(false) || self.connection.is_over() {
            return Ok(());
        }
        self.connection.rollback(pages)
    }

    pub(crate) fn savepoint(&self, pages: &dyn Pages) -> Result<()> {
        self.own(pages, "SAVEPOINT inner")
    }

    pub(crate) fn release(&self, pages: &dyn Pages) -> Result<()> {
        self.own(pages, "RELEASE inner")
    }

    pub(crate) fn roll_back_to(&self, pages: &dyn Pages) -> Result<()> {
        self.own(pages, "ROLLBACK TO inner; RELEASE inner")
    }

    /// Runs statements of the engine's own.
    fn own(&self, pages: &dyn Pages, sql: &str) -> Result<()> {
        self.connection.call_trusted(pages, |db| db.execute_batch(sql)).map_err(|error| self.judge(error))
    }

    /// Ends the session: the connection is kept if what it has cached is the object's state at `valid_for`, its newest
    /// commit that changed pages. `committed` tells whether what was handed over is part of that.
    pub(crate) fn end(self, engine: &EngineInner, committed: bool, valid_for: Seq) {
        let Session { mut connection, key, handed, began, only_if_committed, .. } = self;
        let is_right = connection.is_sound() && (committed || !(handed.get() || only_if_committed));
        if is_right && (!began.get() || connection.undo()) && connection.is_over() {
            connection.valid_for = valid_for;
            engine.sql.give(&engine.options.sql, key, connection);
        } else {
            engine.sql.closed(&key);
        }
    }

    /// Closes the connection.
    pub(crate) fn close(self, engine: &EngineInner) {
        engine.sql.closed(&self.key);
    }

    /// Refuses a schema that has names of the engine's.
    fn check_names(&self, pages: &dyn Pages) -> Result<()> {
        let names: Vec<String> = self.connection.call_trusted(pages, |db| {
            let mut statement = db.prepare("SELECT name FROM sqlite_schema")?;
            let names = statement.query_map([], |row| row.get(0))?;
            names.collect()
        })?;
        if names.iter().any(|name| super::is_reserved(name)) {
            return Err(Refusal::Reserved.into());
        }
        Ok(())
    }

    /// Looks whether an error took SQLite's whole transaction with it.
    fn judge(&self, error: Error) -> Error {
        if !self.was_undone() {
            return error;
        }
        match error {
            Error::Sql(error) => Error::Sql(Box::new(error.undoing())),
            other => other,
        }
    }

    /// Looks whether SQLite has rolled back the transaction.
    pub(super) fn was_undone(&self) -> bool {
        if self.began.get() && self.connection.is_over() {
            self.began.set(false);
            self.undone.set(true);
            self.connection.spoil();
            return true;
        }
        false
    }

    /// Runs `f` on the connection.
    pub(super) fn call<'c, R>(
        &'c self,
        pages: &dyn Pages,
        f: impl FnOnce(&'c rusqlite::Connection) -> rusqlite::Result<R>,
    ) -> Result<R> {
        let outcome = self.connection.call(pages, |db| {
            let outcome = f(db)?;
            if self.connection.is_spent() {
                let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_INTERRUPT);
                return Err(rusqlite::Error::SqliteFailure(code, None));
            }
            Ok(outcome)
        });
        outcome.map_err(|error| self.judge(error))
    }

    /// Runs statements one by one, with a look at the budget after each.
    fn batch(&self, pages: &dyn Pages, sql: &str) -> Result<()> {
        self.connection.call(pages, |db| Ok(rusqlite::Batch::new(db, sql))).and_then(|mut batch| {
            while self.call(pages, |_| {
                let Some(mut statement) = FallibleIterator::next(&mut batch)? else { return Ok(false) };
                let mut rows = statement.raw_query();
                while rows.next()?.is_some() {}
                Ok(true)
            })? {}
            Ok(())
        })
    }

    /// Counts the rows that a statement has stepped over: those of full scans, or those that it returned if they are more.
    pub(super) fn count(&self, statement: &CachedStatement<'_>, returned: u64) {
        let scanned = statement.reset_status(StatementStatus::FullscanStep);
        let read = returned.max(u64::try_from(scanned).unwrap_or(0));
        self.rows_read.set(self.rows_read.get() + read);
    }
}

/// SQL on one object, inside a transaction or a view.
///
/// Made by [`Tx::sql`](crate::Tx::sql) and [`View::sql`](crate::View::sql). In a transaction, all statements and all
/// key-value writes are one commit. Parameters and results are rusqlite's types ([`lineal::rusqlite`](crate::rusqlite)).
/// Statements are prepared once and kept while the object is resident.
///
/// An error of a statement undoes that statement, and the transaction can go on; see
/// [`SqlError::undid`](crate::SqlError::undid) for the exception.
///
/// ```
/// # fn main() -> lineal::Result<()> {
/// # let dir = tempfile::tempdir().unwrap();
/// # let engine = lineal::Engine::open(dir.path())?;
/// use lineal::rusqlite::params;
/// let lobby = engine.namespace("rooms")?.object("lobby")?;
/// lobby.transact(|tx| {
///     tx.sql().execute_batch("CREATE TABLE IF NOT EXISTS message (id INTEGER PRIMARY KEY, text TEXT NOT NULL)")?;
///     tx.sql().execute("INSERT INTO message (text) VALUES (?1)", params!["hello"])?;
///     tx.put("messages", "1")
/// }).wait()?;
/// let texts: Vec<String> = lobby.read(|view| {
///     view.sql().query_map("SELECT text FROM message ORDER BY id", [], |row| row.get(0))?.collect()
/// }).wait()?;
/// assert_eq!(texts, ["hello"]);
/// # Ok(())
/// # }
/// ```
pub struct Sql<'s> {
    host: &'s dyn Host,
}

impl<'s> Sql<'s> {
    pub(crate) fn new(host: &'s dyn Host) -> Sql<'s> {
        Sql { host }
    }

    /// Runs a statement that returns no rows. Returns how many rows it inserted, changed or deleted, without those that
    /// triggers and foreign keys did.
    ///
    /// # Errors
    /// [`Error::Sql`]; [`Error::Damaged`] or [`Error::Io`] if a page cannot be read.
    pub fn execute(&self, sql: &str, params: impl Params) -> Result<usize> {
        let session = self.host.session()?;
        let writable = self.host.is_writable();
        session.call(self.host, |db| {
            let mut statement = prepare(db, sql, writable)?;
            let changed = statement.execute(params);
            session.count(&statement, 0);
            changed
        })
    }

    /// Runs statements separated by semicolons, without parameters: all of them, or none if one fails.
    ///
    /// # Errors
    /// As [`execute`](Sql::execute).
    pub fn execute_batch(&self, sql: &str) -> Result<()> {
        let session = self.host.session()?;
        if !self.host.is_writable() {
            return Err(Refusal::ReadOnly.into());
        }
        session.savepoint(self.host)?;
        let outcome = session.batch(self.host, sql);
        match outcome {
            Ok(()) => session.release(self.host),
            Err(error) => {
                if session.has_begun() {
                    session.roll_back_to(self.host)?;
                }
                Err(error)
            }
        }
    }

    /// Runs a query. Rows are read when they are asked for.
    ///
    /// # Errors
    /// As [`execute`](Sql::execute).
    pub fn query<'q>(&'q self, sql: &str, params: impl Params) -> Result<Rows<'q>> {
        let session = self.host.session()?;
        Rows::start(self.host, session, sql, params)
    }

    /// Runs a query and makes something of each row, when it is asked for.
    ///
    /// # Errors
    /// As [`execute`](Sql::execute); the items carry those of later rows and those of `f`.
    pub fn query_map<'q, T, F>(&'q self, sql: &str, params: impl Params, f: F) -> Result<Mapped<'q, F>>
    where
        F: FnMut(&Row<'_, '_>) -> Result<T>,
    {
        Ok(Mapped::new(self.query(sql, params)?, f))
    }

    /// Runs a query that finds exactly one row.
    ///
    /// # Errors
    /// As [`execute`](Sql::execute); [`NoRows`](crate::SqlErrorCode::NoRows) and
    /// [`ManyRows`](crate::SqlErrorCode::ManyRows).
    pub fn query_one<T>(
        &self,
        sql: &str,
        params: impl Params,
        f: impl FnOnce(&Row<'_, '_>) -> Result<T>,
    ) -> Result<T> {
        let found = self.query_optional(sql, params, f)?;
        found.ok_or_else(|| rusqlite::Error::QueryReturnedNoRows.into())
    }

    /// As [`query_one`](Sql::query_one), and no row is `None`.
    ///
    /// # Errors
    /// As [`query_one`](Sql::query_one).
    pub fn query_optional<T>(
        &self,
        sql: &str,
        params: impl Params,
        f: impl FnOnce(&Row<'_, '_>) -> Result<T>,
    ) -> Result<Option<T>> {
        let session = self.host.session()?;
        let writable = self.host.is_writable();
        let mut failed = None;
        let found = session.call(self.host, |db| {
            let mut statement = prepare(db, sql, writable)?;
            let mut rows = statement.query(params)?;
            let found = match rows.next()? {
                None => None,
                Some(row) => match f(&Row::new(row)) {
                    Ok(found) => Some(found),
                    Err(error) => {
                        failed = Some(error);
                        None
                    }
                },
            };
            if found.is_some() && rows.next()?.is_some() {
                return Err(rusqlite::Error::QueryReturnedMoreThanOneRow);
            }
            drop(rows);
            session.count(&statement, u64::from(found.is_some()));
            Ok(found)
        });
        match failed {
            Some(error) => Err(error),
            None => found,
        }
    }

    /// Whether a statement only reads: a view can run it. It is prepared, and not run.
    ///
    /// # Errors
    /// As [`execute`](Sql::execute).
    pub fn is_read_only(&self, sql: &str) -> Result<bool> {
        self.host.session()?.call(self.host, |db| Ok(db.prepare_cached(sql)?.readonly()))
    }

    /// The rowid of the newest row that this connection inserted; 0 if there is none.
    ///
    /// # Errors
    /// As [`execute`](Sql::execute), if this is the first use.
    pub fn last_insert_rowid(&self) -> Result<i64> {
        Ok(self.host.session()?.connection.db.last_insert_rowid())
    }

    /// Rows that this transaction's or view's statements have read so far: for each statement those that its full scans
    /// stepped over, or those that it returned if they are more. Rows that an index led to and that were not returned are
    /// not in it.
    ///
    /// # Errors
    /// As [`execute`](Sql::execute), if this is the first use.
    pub fn rows_read(&self) -> Result<u64> {
        Ok(self.host.session()?.rows_read.get())
    }

    /// Rows that this transaction's statements have inserted, changed and deleted so far, with those that triggers and
    /// foreign keys did.
    ///
    /// # Errors
    /// As [`execute`](Sql::execute), if this is the first use.
    pub fn rows_written(&self) -> Result<u64> {
        let session = self.host.session()?;
        Ok(session.connection.db.total_changes() - session.changes_before)
    }

    /// Size of the database, in bytes: its pages, free ones included, with what this transaction added.
    ///
    /// # Errors
    /// As [`execute`](Sql::execute).
    pub fn database_size(&self) -> Result<u64> {
        let pages: i64 = self.query_one("PRAGMA page_count", [], |row| row.get(0))?;
        Ok(u64::try_from(pages).unwrap_or(0) * PAGE_BYTES as u64)
    }
}

impl std::fmt::Debug for Sql<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sql").finish_non_exhaustive()
    }
}

/// The statement, prepared now or before; refused if it writes and must not.
pub(super) fn prepare<'c>(
    db: &'c rusqlite::Connection,
    sql: &str,
    writable: bool,
) -> rusqlite::Result<CachedStatement<'c>> {
    let refuse = |code, message: &str| {
        Err(rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(code), Some(message.to_owned())))
    };
    let statement = db.prepare_cached(sql)?;
    if !writable && !statement.readonly() {
        return refuse(rusqlite::ffi::SQLITE_READONLY, "a view is read-only: write in transact");
    }
    // Text of nothing but comments is prepared to nothing, on which hardly a call is allowed. Asking it for its own text
    // is; that costs, so only what looks like nothing is asked.
    let looks_empty = statement.column_count() == 0 && statement.readonly();
    if looks_empty && statement.expanded_sql().is_none() {
        return refuse(rusqlite::ffi::SQLITE_ERROR, "the text holds no statement");
    }
    Ok(statement)
}
