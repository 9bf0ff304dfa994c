//! The database of an object inside a transaction or a view: where SQLite's pages come from and where they go.

use lineal_wal::Seq;

use crate::{
    Result, Value,
    object::overlay::Found,
    sql::{self, Host, PAGE_BYTES, Pages, Refusal, Session, Sql},
    transaction::{
        ops::{self, Patch},
        range::Range,
        reader::Layers,
        tx::{Tx, entry_bytes, over},
        view::View,
    },
};

/// Pages as the layers of an object have them.
fn read_page(layers: &Layers<'_>, number: u32, offset: usize, to: &mut [u8]) -> Result<()> {
    let page = layers.get(&sql::page_key(number))?;
    let bytes = page.as_ref().and_then(|page| page.get(offset..)).unwrap_or_default();
    let have = bytes.len().min(to.len());
    to[..have].copy_from_slice(&bytes[..have]);
    to[have..].fill(0);
    Ok(())
}

/// The page as the newest overlay has it, where that has all of it: without copying it.
fn newest_in_memory<'l>(layers: &'l Layers<'_>, key: &[u8]) -> Option<&'l [u8]> {
    let newest = layers.overlays().map(|overlay| overlay.get(key)).find(|found| *found != Found::Below)?;
    match newest {
        Found::Value(value) => Some(value.bytes()),
        _ => None,
    }
}

fn last_page(layers: Layers<'_>) -> Result<u32> {
    let space = (vec![sql::SPACE_SQL], vec![sql::SPACE_SQL + 1]);
    let last = Range::new(layers, space.0, space.1).reverse().internal().next().transpose()?;
    Ok(last.and_then(|(key, _)| sql::page_number(&key)).unwrap_or(0))
}

/// The ops that make pages what they shall be, over the layers that say what they are.
pub(super) struct PageChanges<'c> {
    layers: &'c Layers<'c>,
    bytes_max: usize,
    changed: Changed,
}

/// What came of it.
#[derive(Default)]
pub(super) struct Changed {
    ops: Vec<u8>,
    count: u64,
    delta: i64,
}

impl<'c> PageChanges<'c> {
    pub(super) fn over(layers: &'c Layers<'c>, bytes_max: usize) -> PageChanges<'c> {
        PageChanges { layers, bytes_max, changed: Changed::default() }
    }

    /// Logs a page: as a patch against what it is, where that is shorter. `check` may refuse it; it is told what it is.
    pub(super) fn page(
        &mut self,
        number: u32,
        page: &[u8],
        check: impl FnOnce(Option<&[u8]>) -> Result<()>,
    ) -> Result<()> {
        let key = sql::page_key(number);
        let below;
        let old = match newest_in_memory(self.layers, &key) {
            Some(old) => Some(old),
            None => {
                below = self.layers.get(&key)?;
                below.as_deref()
            }
        };
        check(old)?;
        let changed = &mut self.changed;
        changed.delta += entry_bytes(&key, page.len());
        changed.delta -= old.map_or(0, |old| entry_bytes(&key, old.len()));
        match ops::diff_patch(old.unwrap_or_default(), page) {
            Some(patch) => {
                let patch = Patch::parse(&patch).expect("a patch that was just made is one");
                ops::patch(&mut changed.ops, &key, patch);
            }
            None => ops::put(&mut changed.ops, &key, page),
        }
        changed.count += 1;
        over("transaction", self.bytes_max, changed.ops.len())
    }

    /// Cuts off the pages after page `after`; `layers` are those that it was made over.
    pub(super) fn cut_after(&mut self, after: u32, layers: Layers<'_>) -> Result<()> {
        let (start, end) = (sql::page_key(after.saturating_add(1)), [sql::SPACE_SQL + 1]);
        self.changed.delta -= Range::new(layers, start.to_vec(), end.to_vec()).total_bytes()?;
        ops::delete_range(&mut self.changed.ops, &start, Some(&end));
        self.changed.count += 1;
        Ok(())
    }

    pub(super) fn end(self) -> Changed {
        self.changed
    }
}

/// What a savepoint has to know of the database.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum SqlMark {
    /// SQLite had no transaction then.
    Idle,
    /// It has a savepoint of its own, and so many sessions had been dropped.
    Inner(Drops),
}

/// How many sessions were dropped, because everything was deleted.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Drops {
    all: u32,
    /// Those that had written what was not handed over.
    dirty: u32,
}

impl Pages for Tx<'_> {
    fn read(&self, number: u32, offset: usize, to: &mut [u8]) -> Result<()> {
        read_page(&self.layers(), number, offset, to)
    }

    fn last(&self) -> Result<u32> {
        last_page(self.layers())
    }
}

impl Host for Tx<'_> {
    fn session(&self) -> Result<&Session> {
        if self.sql_lost {
            return Err(Refusal::Undone.into());
        }
        let session = match self.sql.get() {
            Some(session) => session,
            None => {
                // What a kept connection has cached is not what everything deleted leaves.
                let valid_for = if self.clears { Seq(u64::MAX) } else { self.resident.pages_seq };
                let session = Session::take(self.engine, self.key, valid_for, self)?;
                self.sql.get_or_init(|| Box::new(session))
            }
        };
        session.begin(self)?;
        Ok(session)
    }

    fn is_writable(&self) -> bool {
        true
    }
}

impl Tx<'_> {
    /// The object's SQL database. What its statements write is part of this transaction's one commit.
    ///
    /// ```
    /// # fn main() -> lineal::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let engine = lineal::Engine::open(dir.path())?;
    /// let counters = engine.namespace("counters")?.object("a")?;
    /// let n: i64 = counters.transact(|tx| {
    ///     let sql = tx.sql();
    ///     sql.execute("CREATE TABLE IF NOT EXISTS n (n INTEGER NOT NULL)", [])?;
    ///     sql.execute("INSERT INTO n VALUES (?1)", [41])?;
    ///     sql.query_one("SELECT n + 1 FROM n", [], |row| row.get(0))
    /// }).wait()?;
    /// assert_eq!(n, 42);
    /// # Ok(())
    /// # }
    /// ```
    pub fn sql(&mut self) -> Sql<'_> {
        Sql::new(self)
    }

    /// Lets SQLite commit, and turns the pages that it wrote into ops of this transaction. To be called when the closure
    /// has succeeded.
    pub(super) fn hand_over_sql(&mut self) -> Result<()> {
        if self.sql_lost {
            return Err(Refusal::Undone.into());
        }
        let Some(session) = self.sql.get() else { return Ok(()) };
        let written = session.hand_over(self)?;
        if written.is_empty() {
            return Ok(());
        }
        let layers = self.layers();
        let mut changes = PageChanges::over(&layers, self.engine.options.transaction_bytes_max);
        for (number, page) in written.pages() {
            changes.page(number, page, |old| match number {
                1 => check_schema(session, self, old, page),
                _ => Ok(()),
            })?;
        }
        if let Some(after) = written.cut_after {
            changes.cut_after(after, self.layers())?;
        }
        let changed = changes.end();
        drop(layers);
        self.take_pages(changed)?;
        if let Some(session) = self.sql.get() {
            session.recycle(written);
        }
        Ok(())
    }

    /// Makes changes of pages part of this transaction.
    pub(super) fn take_pages(&mut self, changed: Changed) -> Result<()> {
        over("transaction", self.engine.options.transaction_bytes_max, self.ops.len() + changed.ops.len())?;
        self.ops.extend_from_slice(&changed.ops);
        self.ops_count += changed.count;
        self.delta += changed.delta;
        self.only_deletes = false;
        self.touches_pages = true;
        Ok(())
    }

    /// Forgets the database's uncommitted state, because everything in the object is deleted.
    pub(super) fn drop_sql(&mut self) {
        self.touches_pages = true;
        if let Some(session) = self.sql.take() {
            self.sql_drops.all += 1;
            self.sql_drops.dirty += u32::from(session.is_dirty());
            // Neither committed nor as the object is: it is closed.
            session.close(self.engine);
        }
    }

    /// Marks where the database stands, before a part that may fail alone. If SQLite fails in it, the transaction cannot
    /// commit.
    pub(super) fn mark_sql(&mut self) -> SqlMark {
        let (mark, outcome) = match self.sql.get() {
            Some(session) if session.has_begun() => (SqlMark::Inner(self.sql_drops), session.savepoint(self)),
            _ => (SqlMark::Idle, Ok(())),
        };
        self.sql_lost |= outcome.is_err();
        mark
    }

    /// Ends that part.
    pub(super) fn release_sql(&mut self, mark: SqlMark) {
        let outcome = match (self.sql.get(), mark) {
            // A session that began after everything was deleted has no such savepoint.
            (Some(session), SqlMark::Inner(drops)) if drops == self.sql_drops && session.has_begun() => {
                session.release(self)
            }
            _ => Ok(()),
        };
        self.sql_lost |= outcome.is_err();
    }

    /// Undoes what that part did to the database.
    pub(super) fn roll_back_sql(&mut self, mark: SqlMark) {
        let since = |drops: Drops| (self.sql_drops.all > drops.all, self.sql_drops.dirty > drops.dirty);
        match mark {
            SqlMark::Inner(drops) if since(drops) == (false, false) => {
                self.sql_lost |= self.sql.get().is_none_or(|session| session.roll_back_to(self).is_err());
            }
            SqlMark::Idle if !self.clears => {
                self.sql_lost |= self.sql.get().is_some_and(|session| session.take_back(self).is_err());
            }
            // Everything was deleted in that part, or before it: what a session has cached now may be neither what the
            // object is nor what comes back. What was written before the part went with the session that was dropped.
            SqlMark::Inner(drops) => self.sql_lost |= since(drops).1,
            SqlMark::Idle => {}
        }
        if !matches!(mark, SqlMark::Inner(drops) if drops == self.sql_drops)
            && self.clears
            && let Some(session) = self.sql.take()
        {
            session.close(self.engine);
        }
    }
}

/// Refuses a schema with names that are the engine's, which a rename can make past the authorizer. Bytes 40 to 43 of the
/// first page change with the schema.
fn check_schema(session: &Session, pages: &dyn Pages, old: Option<&[u8]>, new: &[u8]) -> Result<()> {
    const COOKIE: std::ops::Range<usize> = 40..44;
    debug_assert_eq!(new.len(), PAGE_BYTES);
    if old.and_then(|old| old.get(COOKIE)) == new.get(COOKIE) {
        return Ok(());
    }
    session.check_names(pages)
}

impl Pages for View<'_> {
    fn read(&self, number: u32, offset: usize, to: &mut [u8]) -> Result<()> {
        read_page(&self.layers(), number, offset, to)
    }

    fn last(&self) -> Result<u32> {
        last_page(self.layers())
    }
}

impl Host for View<'_> {
    fn session(&self) -> Result<&Session> {
        match self.sql.get() {
            Some(session) => Ok(session),
            None => {
                let session = self.start_sql()?;
                Ok(self.sql.get_or_init(|| Box::new(session)))
            }
        }
    }

    fn is_writable(&self) -> bool {
        false
    }
}

impl View<'_> {
    /// The object's SQL database as this view sees it, for queries.
    ///
    /// ```
    /// # fn main() -> lineal::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let engine = lineal::Engine::open(dir.path())?;
    /// # let object = engine.namespace("n")?.object("o")?;
    /// object.transact(|tx| tx.sql().execute_batch("CREATE TABLE t (x); INSERT INTO t VALUES (1)")).wait()?;
    /// let before = object.bookmark().wait()?;
    /// object.transact(|tx| tx.sql().execute("UPDATE t SET x = 2", [])).wait()?;
    /// let x: i64 = object.at(&before)?.sql().query_one("SELECT x FROM t", [], |row| row.get(0))?;
    /// assert_eq!(x, 1);
    /// # Ok(())
    /// # }
    /// ```
    pub fn sql(&self) -> Sql<'_> {
        Sql::new(self)
    }

    /// The pages of the object's database in order, each with its number (the first is 1), read lazily. What stands in
    /// them is SQLite's business; this is for copying and comparing.
    ///
    /// # Errors
    /// The items: [`Error::Damaged`](crate::Error::Damaged) or [`Error::Io`](crate::Error::Io).
    pub fn database_pages(&self) -> impl Iterator<Item = Result<(u32, Value)>> + '_ {
        let (start, end) = (vec![sql::SPACE_SQL], vec![sql::SPACE_SQL + 1]);
        let pages = Range::new(self.layers(), start, end).internal();
        pages.filter_map(|entry| match entry {
            Ok((key, page)) => sql::page_number(&key).map(|number| Ok((number, page))),
            Err(error) => Some(Err(error)),
        })
    }
}
