//! The database of an object inside a transaction or a view: where SQLite's pages come from and where they go.

use crate::{
    Result, Value,
    object::overlay::Found,
    sql::{self, Host, Pages, Refusal, Session, Sql},
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

/// The pages after page `after`; all of them for 0.
fn pages_after(layers: Layers<'_>, after: u32) -> Range<'_> {
    Range::new(layers, sql::page_key(after.saturating_add(1)).to_vec(), vec![sql::SPACE_SQL + 1])
}

fn last_page(layers: Layers<'_>) -> Result<u32> {
    let last = pages_after(layers, 0).reverse().internal().next().transpose()?;
    Ok(last.and_then(|(key, _)| sql::page_number(&key)).unwrap_or(0))
}

/// The ops that make pages what they shall be, over the layers that say what they are.
pub(super) struct PageChanges<'c> {
    layers: &'c Layers<'c>,
    bytes_max: usize,
    /// Pages after this one are cut off by now.
    cut_after: Option<u32>,
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
        PageChanges { layers, bytes_max, cut_after: None, changed: Changed::default() }
    }

    /// Logs a page: as a patch against what it is, where that is shorter.
    pub(super) fn page(&mut self, number: u32, page: &[u8]) -> Result<()> {
        let key = sql::page_key(number);
        let below;
        let old = match newest_in_memory(self.layers, &key) {
            _ if self.cut_after.is_some_and(|after| number > after) => None,
            Some(old) => Some(old),
            None => {
                below = self.layers.get(&key)?;
                below.as_deref()
            }
        };
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
        self.cut_after = Some(after);
        let (start, end) = (sql::page_key(after.saturating_add(1)), [sql::SPACE_SQL + 1]);
        self.changed.delta -= pages_after(layers, after).total_bytes()?;
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
    /// It has a savepoint of its own.
    Inner,
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
                let session = if self.touches_pages {
                    Session::take_new(self.engine, self.key, self)?
                } else {
                    Session::take(self.engine, self.key, self.resident.pages_seq, self)?
                };
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
        // First: what was cut off may have grown again.
        if let Some(after) = written.cut_after {
            changes.cut_after(after, self.layers())?;
        }
        for (number, page) in written.pages() {
            changes.page(number, page)?;
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

    /// For fuzzers: makes the object's database out of any bytes, as they are.
    ///
    /// # Errors
    /// [`TooLarge`](crate::Error::TooLarge) for more than a transaction holds.
    #[cfg(feature = "sim")]
    #[doc(hidden)]
    pub fn put_pages(&mut self, bytes: &[u8]) -> Result<()> {
        let layers = self.layers();
        let mut changes = PageChanges::over(&layers, self.engine.options.transaction_bytes_max);
        for (number, page) in (1..).zip(bytes.chunks(sql::PAGE_BYTES)) {
            changes.page(number, page)?;
        }
        let changed = changes.end();
        drop(layers);
        self.take_pages(changed)
    }

    /// Forgets the database's uncommitted state, because everything in the object is deleted.
    pub(super) fn drop_sql(&mut self) {
        self.pages_deleted += 1;
        if let Some(session) = self.sql.take() {
            self.sql_dropped |= session.is_dirty();
            // Neither committed nor as the object is: it is closed.
            session.close(self.engine);
        }
    }

    /// Marks where the database stands, before a part that may fail alone. If SQLite fails in it, the transaction cannot
    /// commit.
    pub(super) fn mark_sql(&mut self) -> SqlMark {
        let (mark, outcome) = match self.sql.get() {
            Some(session) if session.has_begun() => (SqlMark::Inner, session.savepoint(self)),
            _ => (SqlMark::Idle, Ok(())),
        };
        self.sql_lost |= outcome.is_err();
        mark
    }

    /// Ends that part. `deleted` is how often everything had been deleted before it.
    pub(super) fn release_sql(&mut self, mark: SqlMark, deleted: u32) {
        let outcome = match self.sql.get() {
            // A session that began after everything was deleted has no such savepoint.
            Some(_) if self.pages_deleted != deleted => Ok(()),
            Some(session) if mark == SqlMark::Inner && session.has_begun() => session.release(self),
            _ => Ok(()),
        };
        self.sql_lost |= outcome.is_err();
    }

    /// Undoes what that part did to the database. `deleted` is how often everything had been deleted before it.
    pub(super) fn roll_back_sql(&mut self, mark: SqlMark, deleted: u32) {
        if self.pages_deleted != deleted {
            // A connection that was opened since is over what is not deleted after all, and the one before is closed. What
            // that had not handed over is lost.
            self.pages_deleted = deleted;
            if let Some(session) = self.sql.take() {
                session.close(self.engine);
            }
            self.sql_lost |= mark == SqlMark::Inner && self.sql_dropped;
            return;
        }
        let outcome = match (self.sql.get(), mark) {
            (None, _) => Ok(()),
            (Some(session), SqlMark::Idle) => session.take_back(self),
            (Some(session), SqlMark::Inner) => session.roll_back_to(self),
        };
        self.sql_lost |= outcome.is_err();
    }
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
        pages_after(self.layers(), 0).internal().filter_map(|entry| match entry {
            Ok((key, page)) => sql::page_number(&key).map(|number| Ok((number, page))),
            Err(error) => Some(Err(error)),
        })
    }
}
