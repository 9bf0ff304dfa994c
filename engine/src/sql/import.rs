//! Looking at a file of SQLite before it becomes an object's database.
//!
//! ```text
//! the user's file (and its -wal) ─copy─▶ a private one ─▶ SQLite: integrity_check, VACUUM INTO ─▶ pages of 4 KiB ─▶ guards
//! ```
//!
//! The file is the user's, outside of the data directory, so this does not go through the disk seam. No database of the
//! engine's is touched: the one with the user's file uses SQLite's own file system.

use std::{
    ffi::OsString,
    fs::{self, DirBuilder, File, Metadata},
    io::Read,
    os::unix::fs::{DirBuilderExt, FileExt},
    path::{Path, PathBuf},
};

use lineal_wal::NamespaceId;
use rusqlite::{OpenFlags, config::DbConfig, limits::Limit};

use super::{
    SqlErrorCode,
    connection::OPERATIONS_STEP,
    functions, guard,
    port::{PAGE_BYTES, Pages},
    schema,
};
use crate::{Error, Result, engine::EngineInner};

/// What a file of SQLite begins with.
const MAGIC: &[u8; 16] = b"SQLite format 3\0";
/// What a rollback journal begins with that was not ended.
const JOURNAL_MAGIC: &[u8; 8] = b"\xd9\xd5\x05\xf9\x20\xa1\x63\xd7";
/// Where the header says whether the file is written with a write-ahead log (2) or not (1).
const VERSIONS_AT: u64 = 18;
/// Findings of `integrity_check` that an error tells.
const FINDINGS_MAX: u8 = 3;

/// A file may be so many times as large as the largest database of an object, because its free pages are left out.
///
/// Source: chosen; a file that is emptier than that is cheaper to vacuum where it is than to copy.
const FILE_RATIO_MAX: u64 = 16;
/// Operations of SQLite's virtual machine that checking a file may take for each of its bytes, beside those of a
/// transaction. Its schema has expressions that are evaluated for each row, and its maker chose them.
///
/// Source: chosen; rows of a few bytes in a table with an index take about four.
const OPERATIONS_PER_BYTE: u64 = 16;

/// What was imported, or would be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Imported {
    /// The database's size in the object, in bytes.
    pub bytes: u64,
    /// Its tables, without those that SQLite makes for itself.
    pub tables: u64,
}

/// A database that may become an object's: checked, compact, in pages of the size that objects have.
pub(crate) struct Image {
    file: File,
    pages: u32,
    tables: u64,
    /// Holds the file until this is dropped.
    _scratch: Scratch,
}

impl Image {
    /// Copies and checks a file.
    pub(crate) fn of(engine: &EngineInner, namespace: NamespaceId, path: &Path) -> Result<Image> {
        let scratch = Scratch::new((engine.options.random)())?;
        let source = scratch.0.join("source.db");
        let limit = engine.options.transaction_bytes_max as u64;
        let copied = copy(path, &source, limit.saturating_mul(FILE_RATIO_MAX))?;
        let compact = scratch.0.join("compact.db");
        let refused = |reason: String| Error::NotImportable { file: path.to_owned(), reason };
        let operations =
            copied.saturating_mul(OPERATIONS_PER_BYTE).saturating_add(engine.options.sql.operations_max);
        let db = open(engine, namespace, &source, operations)
            .and_then(|db| check_and_compact(&db, &compact).map(|()| db))
            .map_err(|error| refused(told(&error, operations)))?;
        drop(db);
        let file = File::options().read(true).write(true).open(&compact).map_err(in_scratch)?;
        let bytes = file.metadata().map_err(in_scratch)?.len();
        if bytes > limit {
            return Err(Error::TooLarge { what: "database", limit, size: bytes });
        }
        let pages = u32::try_from(bytes / PAGE_BYTES as u64).unwrap_or(u32::MAX);
        if pages == 0 {
            return Err(refused("it holds nothing".into()));
        }
        let mut image = Image { file, pages, tables: 0, _scratch: scratch };
        image.file.write_all_at(&[1, 1], VERSIONS_AT).map_err(in_scratch)?;
        let connection = engine.sql.open(&engine.options, namespace, &image)?;
        let empty = engine.sql.open(&engine.options, namespace, &Empty)?;
        [&connection, &empty].into_iter().for_each(|connection| connection.start(&engine.options.sql, true));
        image.tables = schema::check(&connection, &image, &empty, &Empty).map_err(refused)?;
        Ok(image)
    }

    pub(crate) fn pages(&self) -> u32 {
        self.pages
    }

    pub(crate) fn imported(&self) -> Imported {
        Imported { bytes: u64::from(self.pages) * PAGE_BYTES as u64, tables: self.tables }
    }

    /// Reads one page.
    pub(crate) fn read_page(&self, number: u32, page: &mut [u8]) -> Result<()> {
        self.read(number, 0, page)
    }
}

impl Pages for Image {
    fn read(&self, number: u32, offset: usize, to: &mut [u8]) -> Result<()> {
        if number == 0 || number > self.pages {
            to.fill(0);
            return Ok(());
        }
        let at = u64::from(number - 1) * PAGE_BYTES as u64 + offset as u64;
        self.file.read_exact_at(to, at).map_err(in_scratch)
    }

    fn last(&self) -> Result<u32> {
        Ok(self.pages)
    }
}

/// No pages: an empty database.
struct Empty;

impl Pages for Empty {
    fn read(&self, _number: u32, _offset: usize, to: &mut [u8]) -> Result<()> {
        to.fill(0);
        Ok(())
    }

    fn last(&self) -> Result<u32> {
        Ok(0)
    }
}

/// A directory of our own, removed with all that is in it.
struct Scratch(PathBuf);

impl Scratch {
    fn new(draw: u64) -> Result<Scratch> {
        let path = std::env::temp_dir().join(format!("lineal-import-{draw:016x}"));
        DirBuilder::new()
            .mode(0o700)
            .create(&path)
            .map_err(|error| Error::io("creating a directory", path.display().to_string(), error))?;
        Ok(Scratch(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What is left is the temporary directory's business.
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn in_scratch(error: std::io::Error) -> Error {
    Error::io("working on a copy", std::env::temp_dir().display().to_string(), error)
}

/// Copies a database and the write-ahead log beside it, and returns their size. Refuses one that changes meanwhile, or is
/// larger than `most`.
fn copy(from: &Path, to: &Path, most: u64) -> Result<u64> {
    let refused = |reason: &str| Error::NotImportable { file: from.to_owned(), reason: reason.into() };
    let before =
        look(from)?.ok_or_else(|| Error::NotFound { what: format!("the file {}", from.display()) })?;
    let mut head = [0; 100];
    let has_head = before.is_file() && before.len() >= head.len() as u64;
    if !has_head || read_head(from, &mut head)? < head.len() || !head.starts_with(MAGIC) {
        return Err(refused("it is no database of SQLite"));
    }
    let mut journal = [0; 8];
    if look(&with(from, "-journal"))?.is_some_and(|found| found.is_file()) {
        read_head(&with(from, "-journal"), &mut journal)?;
    }
    if journal == *JOURNAL_MAGIC {
        return Err(refused(
            "a transaction on it was broken off, and its journal is beside it: open it once with sqlite3, which rolls that back",
        ));
    }
    let wal = with(from, "-wal");
    let wal_before = look(&wal)?;
    if wal_before.as_ref().is_some_and(|found| !found.is_file()) {
        return Err(refused("what lies beside it by the name of its write-ahead log is no file"));
    }
    let bytes = before.len().saturating_add(wal_before.as_ref().map_or(0, Metadata::len));
    if bytes > most {
        return Err(Error::TooLarge { what: "file", limit: most, size: bytes });
    }
    let failed = |error| Error::io("copying", from.display().to_string(), error);
    fs::copy(from, to).map_err(failed)?;
    if wal_before.is_some() {
        fs::copy(&wal, with(to, "-wal")).map_err(failed)?;
    }
    let same = |a: Option<&Metadata>, b: Option<&Metadata>| match (a, b) {
        (Some(a), Some(b)) => a.len() == b.len() && a.modified().ok() == b.modified().ok(),
        (a, b) => a.is_none() && b.is_none(),
    };
    if !same(Some(&before), look(from)?.as_ref()) || !same(wal_before.as_ref(), look(&wal)?.as_ref()) {
        return Err(refused("it was written while it was copied: close what has it open"));
    }
    Ok(bytes)
}

fn with(path: &Path, end: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(end);
    PathBuf::from(name)
}

fn look(path: &Path) -> Result<Option<Metadata>> {
    match fs::metadata(path) {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::io("looking", path.display().to_string(), error)),
    }
}

/// Reads what a file begins with; returns how much of it there is.
fn read_head(path: &Path, head: &mut [u8]) -> Result<usize> {
    let mut read = || -> std::io::Result<usize> {
        let mut file = File::open(path)?;
        let mut have = 0;
        loop {
            match file.read(&mut head[have..])? {
                0 => return Ok(have),
                more => have += more,
            }
        }
    };
    read().map_err(|error| Error::io("reading", path.display().to_string(), error))
}

/// Why a file is refused.
fn told(error: &Error, operations: u64) -> String {
    match error {
        Error::Sql(error) if error.code() == SqlErrorCode::Interrupted => {
            format!("to check it takes more than {operations} operations of SQLite's machine")
        }
        error => error.to_string(),
    }
}

/// Opens the copy with SQLite's own file system, with the functions and the limits that the namespace's databases have, and
/// with so many operations to spend.
fn open(
    engine: &EngineInner,
    namespace: NamespaceId,
    path: &Path,
    operations: u64,
) -> Result<rusqlite::Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut db = rusqlite::Connection::open_with_flags(path, flags)?;
    for (switch, on) in guard::CONFIG {
        // VACUUM writes the schema as it finds it, with double quotes where strings have them.
        let is_quotes = matches!(switch, DbConfig::SQLITE_DBCONFIG_DQS_DDL);
        db.set_db_config(*switch, *on || is_quotes)?;
    }
    for (limit, value) in guard::limits(&engine.options.sql) {
        // VACUUM attaches what it writes.
        let value = if matches!(limit, Limit::SQLITE_LIMIT_ATTACHED) { 1 } else { value };
        db.set_limit(limit, i32::try_from(value).unwrap_or(i32::MAX))?;
    }
    let mut steps = operations / u64::from(OPERATIONS_STEP.unsigned_abs());
    let spend = move || {
        steps = steps.saturating_sub(1);
        steps == 0
    };
    db.progress_handler(OPERATIONS_STEP, Some(spend))?;
    db.execute_batch("PRAGMA cell_size_check = ON; PRAGMA mmap_size = 0")?;
    functions::register(&db, engine.options.random.clone(), engine.options.sql.length_max)?;
    engine.sql.set_up(namespace, &db)?;
    Ok(db)
}

fn check_and_compact(db: &rusqlite::Connection, to: &Path) -> Result<()> {
    let mut statement = db.prepare("SELECT * FROM pragma_integrity_check LIMIT ?1")?;
    let found = statement.query_map([FINDINGS_MAX], |row| row.get::<_, String>(0))?;
    let found = found.collect::<rusqlite::Result<Vec<String>>>()?;
    drop(statement);
    if found != ["ok"] {
        return Err(Error::Invalid { reason: format!("it is damaged: {}", found.join("; ")) });
    }
    let to = to
        .to_str()
        .ok_or_else(|| Error::Invalid { reason: "the temporary directory's name is not UTF-8".into() })?;
    db.execute_batch(&format!("PRAGMA page_size = {PAGE_BYTES}"))?;
    db.execute("VACUUM INTO ?1", [to])?;
    Ok(())
}
