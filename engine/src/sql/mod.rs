//! SQL inside every object: SQLite over pages that are entries of the object.
//!
//! ```text
//! Sql ─▶ Session (one per transaction or view) ─▶ Connection (kept while the object is resident) ─▶ SQLite
//!                                                                                                     │ vfs
//!          ops of the transaction ◀── written pages, as patches ◀── Port ◀── COMMIT writes ◀──────────┤
//!          layers of the object ────▶ pages that SQLite's cache has not ──▶ Port ──▶ reads ───────────┘
//! ```
//!
//! Page *n* is the entry with the key *n* (big-endian `u32`) in the space of SQL. The file is as long as its last entry
//! says. SQLite keeps what a transaction changes in its cache until it commits; the engine's transaction commits it just
//! before its own record is made, takes the pages, and logs what changed in each.

use std::time::Duration;

mod connection;
mod diff;
mod error;
pub(crate) mod export;
mod functions;
mod guard;
mod import;
mod pool;
mod port;
mod rows;
mod schema;
mod session;
mod setup;
mod vfs;

pub use self::{
    diff::{RowDifference, TableDifference},
    error::{SqlError, SqlErrorCode},
    export::Exported,
    import::Imported,
    rows::{Mapped, Row, Rows},
    session::Sql,
    setup::Setup,
};
pub(crate) use self::{
    error::Refusal,
    guard::is_reserved,
    import::Image,
    pool::Pool,
    port::{PAGE_BYTES, Pages},
    session::{Host, Session},
};

pub(crate) use crate::transaction::tx::{SPACE_SQL, page_number};

/// The internal key of a page.
pub(crate) fn page_key(number: u32) -> [u8; 5] {
    let [a, b, c, d] = number.to_be_bytes();
    [SPACE_SQL, a, b, c, d]
}

/// Limits and memory of the databases in objects. Every value has a default; those that bound what one caller can do are
/// wide enough for what applications write by hand.
///
/// ```
/// # fn main() -> lineal::Result<()> {
/// # let dir = tempfile::tempdir().unwrap();
/// let sql = lineal::SqlOptions::new().operations_max(1_000_000);
/// let engine = lineal::Options::new().sql(sql).open(dir.path())?;
/// # engine.close()
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct SqlOptions {
    pub(crate) operations_max: u64,
    pub(crate) time_max: Duration,
    pub(crate) memory_bytes_max: usize,
    pub(crate) cache_bytes: usize,
    pub(crate) connections_bytes_max: usize,
    pub(crate) length_max: usize,
    pub(crate) statement_bytes_max: usize,
    pub(crate) columns_max: usize,
    pub(crate) variables_max: usize,
    pub(crate) pattern_bytes_max: usize,
}

impl Default for SqlOptions {
    fn default() -> Self {
        Self::new()
    }
}

impl SqlOptions {
    /// The defaults.
    pub fn new() -> SqlOptions {
        SqlOptions {
            operations_max: 100_000_000,
            time_max: Duration::from_secs(10),
            memory_bytes_max: 64 << 20,
            cache_bytes: 2 << 20,
            connections_bytes_max: 128 << 20,
            length_max: 4 << 20,
            statement_bytes_max: 1 << 20,
            columns_max: 2_000,
            variables_max: 32_766,
            pattern_bytes_max: 1_000,
        }
    }

    /// Operations of SQLite's virtual machine that one transaction, or one view, may take (default 100,000,000, which is
    /// a second or two). Looked at every thousand.
    pub fn operations_max(mut self, operations: u64) -> Self {
        self.operations_max = operations.max(1);
        self
    }

    /// Time that the statements of one transaction, or of one view, may take from the first one on, whatever the clock says
    /// (default 10 s). Looked at every thousand operations.
    pub fn time_max(mut self, time: Duration) -> Self {
        self.time_max = time;
        self
    }

    /// Memory that one connection may hold for changed pages, sorts and intermediate results, in bytes (default 64 MiB).
    pub fn memory_bytes_max(mut self, bytes: usize) -> Self {
        self.memory_bytes_max = bytes;
        self
    }

    /// Pages that a connection keeps between transactions, in bytes (default 2 MiB).
    pub fn cache_bytes(mut self, bytes: usize) -> Self {
        self.cache_bytes = bytes;
        self
    }

    /// Memory of the connections that are kept for objects that nobody is using at the moment, in bytes (default 128
    /// MiB). Above it the least recently used ones are closed.
    pub fn connections_bytes_max(mut self, bytes: usize) -> Self {
        self.connections_bytes_max = bytes;
        self
    }

    /// Longest string, blob or row, in bytes (default 4 MiB).
    pub fn length_max(mut self, bytes: usize) -> Self {
        self.length_max = bytes;
        self
    }

    /// Longest statement, in bytes (default 1 MiB).
    pub fn statement_bytes_max(mut self, bytes: usize) -> Self {
        self.statement_bytes_max = bytes;
        self
    }

    /// Most columns of a table, an index or a result (default 2,000).
    pub fn columns_max(mut self, columns: usize) -> Self {
        self.columns_max = columns;
        self
    }

    /// Most parameters of a statement (default 32,766).
    pub fn variables_max(mut self, variables: usize) -> Self {
        self.variables_max = variables;
        self
    }

    /// Longest pattern of LIKE and GLOB, in bytes (default 1,000).
    pub fn pattern_bytes_max(mut self, bytes: usize) -> Self {
        self.pattern_bytes_max = bytes;
        self
    }
}
