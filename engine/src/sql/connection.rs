//! One SQLite connection over one object, with its guards on.
#![allow(
    unsafe_code,
    reason = "statements of the engine's own are kept as raw handles, out of the users' cache"
)]

use std::{cell::Cell, ffi::CStr, ptr::null_mut};

use lineal_wal::Seq;
use rusqlite::{OpenFlags, TransactionState, ffi, hooks::Authorization};

use super::{
    SqlOptions, functions, guard,
    port::{PAGE_BYTES, Pages, Pinned, Port, Written},
    setup::{Connect, Setup},
    vfs,
};
use crate::{Clock, Random, Result, sync::Arc};

/// Operations of SQLite's virtual machine between two looks at the budget.
///
/// Source: chosen; a look costs about 50 ns, a thousand operations some 10 us.
pub(super) const OPERATIONS_STEP: i32 = 1_000;

/// What a statement counts for in the budget of operations beside those that were counted in steps.
const STATEMENT_OPERATIONS: u64 = 50;

/// The most pages a database can have; SQLite's own limit.
const PAGES_MAX: u32 = 4_294_967_294;

/// Prepared statements that a connection keeps.
const STATEMENTS_MAX: usize = 64;

/// Settings that SQLite knows as pragmas only. The file is never shared, so its cache stays valid for as long as the
/// connection does; a commit is the page writes and nothing else; nothing is written before the commit.
const PRAGMAS: &str = "PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = MEMORY; PRAGMA synchronous = OFF; \
                       PRAGMA cache_spill = OFF; PRAGMA cell_size_check = ON;";

/// A connection. What it has cached belongs to one state of its object; see [`valid_for`](Connection::valid_for).
pub(crate) struct Connection {
    begin: Own,
    commit: Own,
    rollback: Own,
    pub(super) db: rusqlite::Connection,
    /// After `db`, whose files point to it.
    port: Pinned,
    /// The newest commit of the object that changed pages when this was last used.
    pub(super) valid_for: Seq,
    /// Which registrations of the application it was opened with.
    pub(super) hooks: u64,
    /// How many pages the file may have.
    growth_max: Cell<u32>,
    uses: u32,
    bytes: usize,
}

/// A prepared statement of the engine's own.
struct Own(*mut ffi::sqlite3_stmt);

// SAFETY: SQLite's handles may move between threads as long as no two use one connection at once. The file is opened
// without mutexes for that reason, and only whoever owns this uses it. The port is part of it.
unsafe impl Send for Connection {}

/// What the hooks of a connection know of it.
#[derive(Clone, Copy)]
struct Hooked {
    port: *const Port,
    db: *mut ffi::sqlite3,
}

// SAFETY: as for `Connection`, which owns both and outlives its hooks.
unsafe impl Send for Hooked {}

impl Hooked {
    fn port(&self) -> &Port {
        // SAFETY: the box outlives the connection that calls the hook.
        unsafe { &*self.port }
    }

    /// Memory that the connection holds for its pages, in bytes.
    fn cache_bytes(&self) -> usize {
        // SAFETY: the handle is open while its hooks are called.
        unsafe { status(self.db, ffi::SQLITE_DBSTATUS_CACHE_USED) }
    }
}

/// What SQLite counts of a connection, in bytes.
///
/// # Safety
/// The handle is open.
unsafe fn status(db: *mut ffi::sqlite3, what: i32) -> usize {
    let (mut now, mut most) = (0, 0);
    // SAFETY: the caller's word, and two places for the results.
    unsafe { ffi::sqlite3_db_status(db, what, &mut now, &mut most, 0) };
    usize::try_from(now).unwrap_or(0)
}

impl Connection {
    /// Opens a connection to the pages of an object as they are.
    pub(super) fn open(
        options: &SqlOptions,
        clock: Clock,
        random: Random,
        pages: &dyn Pages,
        connect: Option<&Connect>,
    ) -> Result<Connection> {
        vfs::register()?;
        let port = Pinned::new(Port::new(clock, random, options.memory_bytes_max));
        port.measure(pages)?;
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let open = || rusqlite::Connection::open_with_flags_and_vfs("object", flags, vfs::NAME);
        let db = port.call(pages, || vfs::opening(&port, open))?;
        let mut connection = Connection {
            begin: Own(null_mut()),
            commit: Own(null_mut()),
            rollback: Own(null_mut()),
            db,
            port,
            valid_for: Seq(0),
            hooks: 0,
            growth_max: Cell::new(0),
            uses: 0,
            bytes: 0,
        };
        connection.set_up(options, pages, connect)?;
        Ok(connection)
    }

    fn set_up(&mut self, options: &SqlOptions, pages: &dyn Pages, connect: Option<&Connect>) -> Result<()> {
        let Connection { db, port, .. } = self;
        // SAFETY: an open handle, before its first statement, as this setting demands; no memory is handed over.
        unsafe {
            let none: *mut std::ffi::c_void = null_mut();
            let db = db.handle();
            ffi::sqlite3_db_config(
                db,
                ffi::SQLITE_DBCONFIG_LOOKASIDE,
                none,
                LOOKASIDE_BYTES,
                LOOKASIDE_SLOTS,
            );
        }
        let mut modules = Vec::new();
        port.call(pages, || {
            db.execute_batch(PRAGMAS)?;
            db.execute_batch(&format!("PRAGMA cache_size = -{};", options.cache_bytes.div_ceil(1024)))?;
            for (switch, on) in guard::CONFIG {
                db.set_db_config(*switch, *on)?;
            }
            for (limit, value) in guard::limits(options) {
                db.set_limit(limit, i32::try_from(value).unwrap_or(i32::MAX))?;
            }
            db.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
            functions::register(db, port.random.clone(), options.length_max)
        })?;
        if let Some(connect) = connect {
            let mut setup = Setup::new(db);
            connect(&mut setup)?;
            modules = setup.into_modules();
        }
        // SAFETY: the handle is used for status only, while it is open.
        let hooked = Hooked { port: port.as_ptr(), db: unsafe { db.handle() } };
        port.call(pages, || {
            db.progress_handler(
                OPERATIONS_STEP,
                Some(move || {
                    let hooked = hooked;
                    hooked.port().spend(OPERATIONS_STEP as u64, hooked.cache_bytes())
                }),
            )?;
            db.authorizer(Some(move |context: rusqlite::hooks::AuthContext<'_>| {
                let hooked = hooked;
                let port = hooked.port();
                if port.is_trusted() {
                    return Authorization::Allow;
                }
                guard::authorize(context, &modules, port).unwrap_or_else(|refusal| {
                    port.refuse(refusal);
                    Authorization::Deny
                })
            }))
        })?;
        self.begin = self.prepare(pages, c"BEGIN")?;
        self.commit = self.prepare(pages, c"COMMIT")?;
        self.rollback = self.prepare(pages, c"ROLLBACK")?;
        Ok(())
    }

    fn prepare(&self, pages: &dyn Pages, sql: &'static CStr) -> Result<Own> {
        let mut statement = null_mut();
        self.call(pages, |db| {
            // SAFETY: an open handle, text that ends with a zero, and a place for the result.
            let code = self.port.trusting(|| unsafe {
                let flags = ffi::SQLITE_PREPARE_PERSISTENT;
                ffi::sqlite3_prepare_v3(db.handle(), sql.as_ptr(), -1, flags, &mut statement, null_mut())
            });
            self.check(code)
        })?;
        Ok(Own(statement))
    }

    /// Runs `f` on the connection, which may read `pages`.
    pub(super) fn call<'c, R>(
        &'c self,
        pages: &dyn Pages,
        f: impl FnOnce(&'c rusqlite::Connection) -> rusqlite::Result<R>,
    ) -> Result<R> {
        self.port.call(pages, || f(&self.db))
    }

    /// As `call`, for SQL of the engine's own, which the guards let through.
    pub(super) fn call_trusted<'c, R>(
        &'c self,
        pages: &dyn Pages,
        f: impl FnOnce(&'c rusqlite::Connection) -> rusqlite::Result<R>,
    ) -> Result<R> {
        self.port.call(pages, || self.port.trusting(|| f(&self.db)))
    }

    fn run(&self, pages: &dyn Pages, own: &Own) -> Result<()> {
        self.port.call(pages, || {
            // SQLite prepares it anew, and asks the guards, when the schema has changed.
            // SAFETY: a statement of this connection, which is open.
            let code = self.port.trusting(|| unsafe {
                let stepped = ffi::sqlite3_step(own.0);
                let reset = ffi::sqlite3_reset(own.0);
                if stepped == ffi::SQLITE_DONE { ffi::SQLITE_OK } else { reset }
            });
            self.check(code)
        })
    }

    fn check(&self, code: i32) -> rusqlite::Result<()> {
        if code == ffi::SQLITE_OK {
            return Ok(());
        }
        // SAFETY: the handle is open; the text is copied before the next call.
        let text = unsafe { CStr::from_ptr(ffi::sqlite3_errmsg(self.db.handle())) };
        let text = text.to_string_lossy().into_owned();
        Err(rusqlite::Error::SqliteFailure(ffi::Error::new(code), Some(text)))
    }

    pub(super) fn begin(&self, pages: &dyn Pages) -> Result<()> {
        self.run(pages, &self.begin)
    }

    pub(super) fn commit(&self, pages: &dyn Pages) -> Result<()> {
        self.port.committing(|| self.run(pages, &self.commit))
    }

    pub(super) fn rollback(&self, pages: &dyn Pages) -> Result<()> {
        self.run(pages, &self.rollback)
    }

    /// Rolls back what a transaction that failed has left open. It reads no page: SQLite has kept what it changed.
    pub(super) fn undo(&self) -> bool {
        struct Nothing;
        impl Pages for Nothing {
            fn read(&self, _number: u32, _offset: usize, _to: &mut [u8]) -> Result<()> {
                Err(crate::Error::Closed)
            }
            fn last(&self) -> Result<u32> {
                Err(crate::Error::Closed)
            }
        }
        self.is_over() || self.rollback(&Nothing).is_ok()
    }

    /// Whether the transaction has written.
    pub(super) fn is_writing(&self) -> bool {
        matches!(self.db.transaction_state(Some(c"main")), Ok(TransactionState::Write))
    }

    /// Whether no transaction is open any more.
    pub(super) fn is_over(&self) -> bool {
        self.db.is_autocommit()
    }

    pub(super) fn take_written(&self) -> Written {
        self.port.take_written()
    }

    pub(super) fn recycle(&self, written: Written) {
        self.port.recycle(written);
    }

    /// Begins the use by a transaction or a view: its budget, and what earlier ones left to see.
    pub(super) fn start(&self, options: &SqlOptions, writable: bool) {
        self.port.set_budget(options.operations_max, options.time_max);
        self.port.set_writable(writable);
        // SAFETY: an open handle.
        unsafe { ffi::sqlite3_set_last_insert_rowid(self.db.handle(), 0) };
    }

    /// Lets SQLite add no more than about `bytes` of pages to the file before the next commit.
    pub(super) fn bound_growth(&self, pages: &dyn Pages, bytes: usize) -> Result<()> {
        let more = u32::try_from(bytes / PAGE_BYTES).unwrap_or(u32::MAX);
        let least = self.port.page_count().saturating_add(more);
        if self.growth_max.get() >= least {
            return Ok(());
        }
        // Twice as many, so that this is not due again with the next page.
        let most = least.saturating_add(more).min(PAGES_MAX);
        self.call_trusted(pages, |db| db.execute_batch(&format!("PRAGMA max_page_count = {most}")))?;
        self.growth_max.set(most);
        Ok(())
    }

    /// Looks at the budget after a statement, which may have been too short to be looked at. Returns whether it is used up.
    pub(super) fn is_spent(&self) -> bool {
        // SAFETY: the handle is used for status only, while it is open.
        let hooked = Hooked { port: self.port.as_ptr(), db: unsafe { self.db.handle() } };
        self.port.spend(STATEMENT_OPERATIONS, hooked.cache_bytes())
    }

    pub(super) fn clear_interrupt(&self) {
        self.port.clear_interrupt();
    }

    /// Whether what is cached is what it is taken for.
    pub(super) fn is_sound(&self) -> bool {
        self.port.is_sound()
    }

    pub(super) fn spoil(&self) {
        self.port.spoil();
    }

    /// Whether statements were prepared that can rename.
    pub(super) fn has_renames(&self) -> bool {
        self.port.has_renames()
    }

    /// What stops the statement that runs, from any thread.
    pub(super) fn interrupter(&self) -> Arc<crate::sync::atomic::AtomicBool> {
        self.port.interrupter()
    }

    /// Memory that the connection holds, in bytes, as it was a few uses ago: asking SQLite takes microseconds.
    pub(super) fn estimate_bytes(&mut self) -> usize {
        if self.uses.is_multiple_of(USES_PER_LOOK) || self.uses.is_power_of_two() {
            self.bytes = self.memory_bytes();
        }
        self.uses = self.uses.wrapping_add(1);
        self.bytes
    }

    /// Memory that the connection holds: pages, schema and statements, in bytes.
    fn memory_bytes(&self) -> usize {
        // SAFETY: the connection is open for as long as it is there.
        let of = |what| unsafe { status(self.db.handle(), what) };
        FIXED_BYTES
            + of(ffi::SQLITE_DBSTATUS_CACHE_USED)
            + of(ffi::SQLITE_DBSTATUS_SCHEMA_USED)
            + of(ffi::SQLITE_DBSTATUS_STMT_USED)
    }
}

/// A connection's memory is looked up once in so many uses, and after the first few.
const USES_PER_LOOK: u32 = 64;

/// Small pieces of memory that a connection keeps at hand: their size and number.
///
/// Source: chosen; SQLite's default takes 48 KiB of each connection.
const LOOKASIDE_BYTES: i32 = 512;
const LOOKASIDE_SLOTS: i32 = 32;

/// What a connection takes beside what SQLite counts, in bytes: its handle, lookaside, port, registered functions.
///
/// Source: measured with `sqlite3_memory_used` around an open.
const FIXED_BYTES: usize = 48 << 10;

impl Drop for Connection {
    fn drop(&mut self) {
        self.db.flush_prepared_statement_cache();
        for own in [&self.begin, &self.commit, &self.rollback] {
            // SAFETY: a statement of this connection, which is not used again; null is allowed.
            unsafe { ffi::sqlite3_finalize(own.0) };
        }
        // If a `Rows` was leaked, its statement is left: SQLite then refuses to close, and the handle leaks with it. Nothing
        // calls it again, so that its pointers to the port are never followed.
    }
}
