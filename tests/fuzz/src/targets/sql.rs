//! Databases whose pages are any bytes: as pages of an object, and as a file that is imported.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::OnceLock,
};

use lineal::{Engine, Object, Result, Sql, rusqlite};

use super::world::{self, Image};
use crate::{input::Input, sparse};

/// Most bytes of a database.
const FILE_BYTES_MAX: usize = 64 << 10;

/// What is asked of a hostile database. Some of it fails in every one.
const STATEMENTS: &[&str] = &[
    "SELECT name, sql FROM sqlite_schema",
    "SELECT count(*), max(b), min(a) FROM t",
    "SELECT * FROM t ORDER BY b DESC LIMIT 20",
    "SELECT * FROM v LIMIT 20",
    "SELECT * FROM u WHERE b BETWEEN 'a' AND 'x' LIMIT 20",
    "SELECT * FROM f WHERE f MATCH 'word OR other*' LIMIT 20",
    "SELECT * FROM json_each((SELECT b FROM t LIMIT 1)) LIMIT 20",
    "SELECT * FROM pragma_table_info('t')",
    "INSERT INTO t (b) VALUES ('new'), (zeroblob(3000))",
    "UPDATE t SET b = b || 'x' WHERE a % 2 = 0",
    "DELETE FROM t WHERE a > 3",
    "CREATE INDEX i2 ON t (b, a)",
    "INSERT INTO f VALUES ('word')",
    "DROP TABLE u",
    "PRAGMA quick_check",
];

const SCHEMA: &str = "CREATE TABLE t (a INTEGER PRIMARY KEY, b); CREATE INDEX i ON t (b);
    CREATE TABLE u (b TEXT PRIMARY KEY, c) WITHOUT ROWID; CREATE VIEW v AS SELECT a, c FROM t JOIN u USING (b);
    CREATE TRIGGER r AFTER DELETE ON t BEGIN DELETE FROM u WHERE b = old.b; END;
    INSERT INTO t VALUES (1, 'one'), (2, 2.5), (3, NULL), (4, x'0102'), (5, '[1,2]');
    INSERT INTO u VALUES ('one', 1), ('two', 'zwei');";

/// The disk of an engine that has the object and the namespace already: opening it is cheap.
fn image() -> &'static Image {
    static IMAGE: OnceLock<Image> = OnceLock::new();
    IMAGE.get_or_init(|| {
        let disk = lineal_wal::sim::SimDisk::new();
        let made = (|| -> Result<()> {
            let engine = world::options(&disk).open("simulated")?;
            engine.namespace("n")?.object("o")?.transact(|tx| tx.put("k", "v")).wait()?;
            engine.close()
        })();
        made.expect("nothing fails");
        disk.image()
    })
}

fn with_object(work: impl FnOnce(&Engine, &Object)) {
    let disk = world::disk(image());
    let engine = world::options(&disk).open("simulated").expect("a sound directory opens");
    let object = engine.namespace("n").and_then(|namespace| namespace.object("o")).expect("it exists");
    work(&engine, &object);
    let kept = object.read(|view| view.get("k")).wait().expect("the rest of the object is not touched");
    assert_eq!(kept.as_deref(), Some(&b"v"[..]), "a database changed what is beside it");
    drop(object);
    engine.close().expect("a database fails its transactions, and not the engine");
}

/// Pages of an object's database.
pub(crate) fn sql_page(bytes: &[u8]) {
    let mut pages = sparse::expand(bytes, FILE_BYTES_MAX);
    pages.resize(pages.len().next_multiple_of(4_096), 0);
    with_object(|engine, object| {
        object.transact(|tx| tx.put_pages(&pages)).wait().expect("pages are bytes like others");
        let before = object.bookmark().wait().expect("it was just written");
        let _ = object
            .read(|view| Ok(STATEMENTS.iter().for_each(|statement| ask(&view.sql(), statement))))
            .wait();
        for statement in STATEMENTS {
            let _ = object.transact(|tx| Ok(ask(&tx.sql(), statement))).wait();
        }
        let _ = object.hibernate();
        let _ = object
            .transact(|tx| Ok(STATEMENTS.iter().for_each(|statement| ask(&tx.sql(), statement))))
            .wait();
        if let Ok(after) = object.bookmark().wait() {
            let mut rows = 0;
            let _ = object.diff_rows(&before, &after, "t", |_| {
                rows += 1;
                if rows < 50 { Ok(()) } else { Err(lineal::Error::ReadOnly) }
            });
        }
        engine.verify(&mut |_| ()).expect("what SQLite thinks of pages is no damage");
    });
}

/// Runs a statement and looks at the rows that come, as far as they are not many.
fn ask(sql: &Sql<'_>, statement: &str) {
    let rows = sql.query_map(statement, [], |row| row.get::<rusqlite::types::Value>(0));
    let _ = rows.map(|rows| rows.take(50).filter(|row| row.is_ok()).count());
}

/// A file of SQLite, and a write-ahead log or a journal beside it: the first byte says which, two bytes how long it is.
pub(crate) fn import(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let mode = input.u8();
    let beside = sparse::expand(input.long(), FILE_BYTES_MAX);
    let file = sparse::expand(input.rest(), FILE_BYTES_MAX);
    let folder =
        tempfile::Builder::new().prefix("lineal-fuzz-").tempdir_in(scratch()).expect("there is room");
    let path = folder.path().join("a.db");
    let name = ["", "-wal", "-journal", "-shm"][usize::from(mode % 4)];
    fs::write(&path, &file).expect("there is room");
    if !name.is_empty() {
        fs::write(folder.path().join(format!("a.db{name}")), &beside).expect("there is room");
    }
    with_object(|_, object| {
        if object.import_sqlite(&path).wait().is_ok() {
            for statement in STATEMENTS {
                let _ = object.transact(|tx| Ok(ask(&tx.sql(), statement))).wait();
            }
            let exported = object.export_sqlite(folder.path().join("out.db"));
            exported.expect("what was imported can be exported");
        }
    });
    assert!(fs::read(&path).expect("it stays") == file, "an import changed the user's file");
}

/// A folder in memory, if there is one.
fn scratch() -> PathBuf {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() }
}

/// A database with these pragmas before its schema.
fn database(before: &str, schema: &str) -> Vec<u8> {
    let folder = tempfile::tempdir().expect("there is room");
    let path = folder.path().join("a.db");
    let db = rusqlite::Connection::open(&path).expect("there is room");
    db.execute_batch(before).and_then(|()| db.execute_batch(schema)).expect("the schema is right");
    drop(db);
    fs::read(path).expect("it was made")
}

fn databases() -> Vec<Vec<u8>> {
    let many = "CREATE TABLE t (a INTEGER PRIMARY KEY, b);
        WITH RECURSIVE n(x) AS (VALUES (1) UNION ALL SELECT x + 1 FROM n WHERE x < 40)
        INSERT INTO t SELECT x, printf('%0100d', x) FROM n; INSERT INTO t VALUES (99, zeroblob(9000));";
    let full = "CREATE VIRTUAL TABLE f USING fts5(x); INSERT INTO f VALUES ('word other'), ('words');";
    let page = "PRAGMA page_size = 4096";
    [
        (page, SCHEMA),
        (page, many),
        (page, full),
        ("PRAGMA page_size = 4096; PRAGMA auto_vacuum = FULL", SCHEMA),
    ]
    .map(|(before, schema)| database(before, schema))
    .to_vec()
}

pub(crate) fn page_seeds() -> Vec<Vec<u8>> {
    databases().iter().map(|file| sparse::pack(file)).collect()
}

pub(crate) fn import_seeds() -> Vec<Vec<u8>> {
    let mut files = databases();
    files.push(database("PRAGMA page_size = 512", SCHEMA));
    files.push(database("PRAGMA page_size = 1024; PRAGMA encoding = 'UTF-16'", SCHEMA));
    let mut seeds: Vec<Vec<u8>> =
        files.iter().map(|file| [&[0, 0, 0][..], &sparse::pack(file)].concat()).collect();
    let (file, wal) = with_wal();
    let wal = sparse::pack(&wal);
    let count = u16::try_from(wal.len()).expect("a small log").to_le_bytes();
    seeds.push([&[1][..], &count, &wal, &sparse::pack(&file)].concat());
    seeds
}

/// A database whose last transactions stand in the write-ahead log beside it.
fn with_wal() -> (Vec<u8>, Vec<u8>) {
    let folder = tempfile::tempdir().expect("there is room");
    let path = folder.path().join("a.db");
    let db = rusqlite::Connection::open(&path).expect("there is room");
    db.execute_batch("PRAGMA page_size = 512; PRAGMA journal_mode = WAL; CREATE TABLE t (a INTEGER PRIMARY KEY, b); INSERT INTO t VALUES (1, 2)")
        .expect("the schema is right");
    let read = |name: &str| fs::read(folder.path().join(name)).expect("it was made");
    (read("a.db"), read("a.db-wal"))
}
