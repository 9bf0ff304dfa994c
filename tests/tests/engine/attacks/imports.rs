//! Files that are no database, or one that was made to hurt whoever opens it.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use lineal::{Error, rusqlite::Connection};

use super::ground::Ground;

const PAGE: usize = 4_096;

/// Makes what is imported, in a folder of its own.
type Make = fn(&Path) -> PathBuf;

/// What becomes of it.
#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    /// A typed error; nothing changes.
    Refused,
    /// That, or a database that is sound: SQLite does not mind.
    SoundOrRefused,
}
use End::{Refused, SoundOrRefused};

/// A page of a table's leaf, an overflow chain, free pages, an index of two levels.
const CONTENT: &str = "CREATE TABLE t (x); CREATE TABLE wide (y); CREATE INDEX by_y ON wide (y);
    INSERT INTO t VALUES ('new'); INSERT INTO t VALUES (zeroblob(20000));
    WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 400)
    INSERT INTO wide SELECT hex(zeroblob(100)) || i FROM n;
    CREATE TABLE gone (z); INSERT INTO gone VALUES (zeroblob(60000)); DROP TABLE gone;";

fn database(folder: &Path, sql: &str) -> PathBuf {
    let path = folder.join("in.db");
    let db = Connection::open(&path).unwrap();
    // What no open of SQLite's lets pass is made where nobody looks.
    db.execute_batch("PRAGMA trusted_schema = ON").unwrap();
    db.execute_batch(sql).unwrap();
    path
}

/// A sound database with some bytes changed.
fn changed(folder: &Path, change: impl FnOnce(&mut Vec<u8>)) -> PathBuf {
    let path = database(folder, CONTENT);
    let mut bytes = fs::read(&path).unwrap();
    change(&mut bytes);
    fs::write(&path, bytes).unwrap();
    path
}

fn number(bytes: &[u8], at: usize) -> usize {
    u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap()) as usize
}

fn set(bytes: &mut [u8], at: usize, to: &[u8]) {
    bytes[at..at + to.len()].copy_from_slice(to);
}

/// The number of the root of a table or index.
fn root(bytes: &[u8], name: &str) -> usize {
    let temp = tempfile::tempdir().unwrap();
    let copy = temp.path().join("copy.db");
    fs::write(&copy, bytes).unwrap();
    let db = Connection::open(copy).unwrap();
    let root: u32 =
        db.query_row("SELECT rootpage FROM sqlite_schema WHERE name = ?1", [name], |row| row.get(0)).unwrap();
    root as usize
}

/// Where a page begins.
fn start(page: usize) -> usize {
    (page - 1) * PAGE
}

/// Where the first page of an overflow chain has the number of the next: only `t` has one, and zeros after it.
fn overflow(bytes: &[u8]) -> (usize, usize) {
    let pages = bytes.len() / PAGE;
    let is = |page: &usize| {
        let at = start(*page);
        let next = number(bytes, at);
        next > 1 && next <= pages && bytes[at + 4..at + PAGE].iter().all(|byte| *byte == 0)
    };
    let page = (2..=pages).find(is).expect("a chain of overflow pages");
    (page, start(page))
}

/// Schema rows that no statement would make.
fn written_schema(folder: &Path, sql: &str) -> PathBuf {
    let path = database(folder, CONTENT);
    let db = Connection::open(&path).unwrap();
    db.set_db_config(lineal::rusqlite::config::DbConfig::SQLITE_DBCONFIG_DEFENSIVE, false).unwrap();
    db.execute_batch(&format!("PRAGMA writable_schema = ON; {sql}; PRAGMA writable_schema = OFF")).unwrap();
    path
}

fn header(folder: &Path, at: usize, to: &[u8]) -> PathBuf {
    changed(folder, |bytes| set(bytes, at, to))
}

const FILES: &[(&str, End, Make)] = &[
    // No database.
    ("a missing file", Refused, |folder| folder.join("missing.db")),
    ("a directory", Refused, |folder| folder.to_owned()),
    ("a link to a file of the system", Refused, |folder| {
        symlink("/etc/passwd", folder.join("in.db")).unwrap();
        folder.join("in.db")
    }),
    ("a link to itself", Refused, |folder| {
        symlink("in.db", folder.join("in.db")).unwrap();
        folder.join("in.db")
    }),
    ("an endless device", Refused, |_| "/dev/zero".into()),
    ("the process's memory", Refused, |_| "/proc/self/mem".into()),
    ("a name with a zero", Refused, |folder| folder.join("in\0.db")),
    ("99 bytes", Refused, |folder| changed(folder, |bytes| bytes.truncate(99))),
    ("only a header", Refused, |folder| changed(folder, |bytes| bytes.truncate(100))),
    ("a page and a half", Refused, |folder| changed(folder, |bytes| bytes.truncate(PAGE * 3 / 2))),
    ("a terabyte of nothing behind a database", Refused, |folder| {
        let path = database(folder, CONTENT);
        fs::File::options().write(true).open(&path).unwrap().set_len(1 << 40).unwrap();
        path
    }),
    ("a log beside it that is an endless device", Refused, |folder| {
        symlink("/dev/zero", folder.join("in.db-wal")).unwrap();
        fs::write(folder.join("source.db"), "").unwrap();
        let other = folder.join("made");
        fs::create_dir(&other).unwrap();
        fs::rename(database(&other, CONTENT), folder.join("in.db")).unwrap();
        folder.join("in.db")
    }),
    ("a log beside it that is a directory", Refused, |folder| {
        let path = database(folder, CONTENT);
        fs::create_dir(folder.join("in.db-wal")).unwrap();
        path
    }),
    ("a log beside it of a terabyte", Refused, |folder| {
        let path = database(folder, CONTENT);
        fs::File::create(folder.join("in.db-wal")).unwrap().set_len(1 << 40).unwrap();
        path
    }),
    ("a journal beside it that is an endless device", SoundOrRefused, |folder| {
        let path = database(folder, CONTENT);
        symlink("/dev/zero", folder.join("in.db-journal")).unwrap();
        path
    }),
    // The header.
    ("pages of no bytes", Refused, |folder| header(folder, 16, &[0, 0])),
    ("pages of 513 bytes", Refused, |folder| header(folder, 16, &[2, 1])),
    ("pages of 512 bytes that have 4,096", Refused, |folder| header(folder, 16, &[2, 0])),
    ("pages of 65,536 bytes that have 4,096", Refused, |folder| header(folder, 16, &[0, 1])),
    ("a version to come", SoundOrRefused, |folder| header(folder, 18, &[9, 9])),
    ("pages that are all reserved", Refused, |folder| header(folder, 20, &[255])),
    ("other fractions", Refused, |folder| header(folder, 21, &[1, 2, 3])),
    ("more pages than there are", Refused, |folder| header(folder, 28, &[0xff; 4])),
    ("no pages", SoundOrRefused, |folder| header(folder, 28, &[0; 4])),
    ("a schema's format to come", Refused, |folder| header(folder, 44, &[0, 0, 0, 99])),
    ("a cache of two billion pages", SoundOrRefused, |folder| header(folder, 48, &[0x7f, 0xff, 0xff, 0xff])),
    ("automatic vacuum that is not there", Refused, |folder| header(folder, 52, &[0, 0, 0, 3])),
    ("an encoding that is none", SoundOrRefused, |folder| header(folder, 56, &[0, 0, 0, 9])),
    // The list of free pages.
    ("free pages in a ring", Refused, |folder| {
        changed(folder, |bytes| {
            let trunk = number(bytes, 32);
            set(bytes, start(trunk), &(trunk as u32).to_be_bytes());
        })
    }),
    ("free pages that begin with the schema", Refused, |folder| header(folder, 32, &[0, 0, 0, 1])),
    ("four billion free pages", Refused, |folder| header(folder, 36, &[0xff; 4])),
    ("a free page that is in use", Refused, |folder| {
        changed(folder, |bytes| {
            let trunk = start(number(bytes, 32));
            set(bytes, trunk + 8, &[0, 0, 0, 2]);
        })
    }),
    ("a trunk with more leaves than it holds", Refused, |folder| {
        changed(folder, |bytes| {
            let trunk = start(number(bytes, 32));
            set(bytes, trunk + 4, &[0x7f, 0xff, 0xff, 0xff]);
        })
    }),
    // Trees.
    ("a tree whose child is itself", Refused, |folder| {
        changed(folder, |bytes| {
            let root = root(bytes, "wide");
            let cell = start(root)
                + usize::from(u16::from_be_bytes([bytes[start(root) + 12], bytes[start(root) + 13]]));
            set(bytes, cell, &(root as u32).to_be_bytes());
        })
    }),
    ("a tree whose last child is itself", Refused, |folder| {
        changed(folder, |bytes| {
            let root = root(bytes, "wide");
            set(bytes, start(root) + 8, &(root as u32).to_be_bytes());
        })
    }),
    ("an index whose child is its table", Refused, |folder| {
        changed(folder, |bytes| {
            let (index, table) = (root(bytes, "by_y"), root(bytes, "wide"));
            set(bytes, start(index) + 8, &(table as u32).to_be_bytes());
        })
    }),
    ("a child that is no page", Refused, |folder| {
        changed(folder, |bytes| {
            let root = root(bytes, "wide");
            set(bytes, start(root) + 8, &[0xff; 4]);
        })
    }),
    ("a page of no kind", Refused, |folder| {
        changed(folder, |bytes| {
            let root = root(bytes, "t");
            set(bytes, start(root), &[7]);
        })
    }),
    ("65,535 cells on a page", Refused, |folder| {
        changed(folder, |bytes| {
            let root = root(bytes, "t");
            set(bytes, start(root) + 3, &[0xff, 0xff]);
        })
    }),
    ("cells beyond their page", Refused, |folder| {
        changed(folder, |bytes| {
            let root = root(bytes, "t");
            set(bytes, start(root) + 8, &[0xff, 0xff, 0xff, 0xff]);
        })
    }),
    ("a row of 2^63 bytes", Refused, |folder| {
        changed(folder, |bytes| {
            let at = start(root(bytes, "t"));
            let cell = at + usize::from(u16::from_be_bytes([bytes[at + 8], bytes[at + 9]]));
            set(bytes, cell, &[0xff; 9]);
        })
    }),
    ("gaps in a ring", Refused, |folder| {
        changed(folder, |bytes| {
            let at = start(root(bytes, "t"));
            set(bytes, at + 1, &[8, 0]);
            set(bytes, at + 0x800, &[8, 0, 0, 8]);
        })
    }),
    ("an overflow in a ring", Refused, |folder| {
        changed(folder, |bytes| {
            let (page, at) = overflow(bytes);
            set(bytes, at, &(page as u32).to_be_bytes());
        })
    }),
    ("an overflow that ends too early", Refused, |folder| {
        changed(folder, |bytes| {
            let (_, at) = overflow(bytes);
            set(bytes, at, &[0; 4]);
        })
    }),
    ("an overflow that leads to another table", Refused, |folder| {
        changed(folder, |bytes| {
            let other = root(bytes, "wide") as u32;
            let (_, at) = overflow(bytes);
            set(bytes, at, &other.to_be_bytes());
        })
    }),
    // Schemas.
    ("two tables on one tree", Refused, |folder| {
        written_schema(
            folder,
            "UPDATE sqlite_schema SET rootpage = (SELECT rootpage FROM sqlite_schema WHERE name = 'wide') WHERE name = 't'",
        )
    }),
    ("a table on the schema's tree", Refused, |folder| {
        written_schema(folder, "UPDATE sqlite_schema SET rootpage = 1 WHERE name = 't'")
    }),
    ("a table on no tree", Refused, |folder| {
        written_schema(folder, "UPDATE sqlite_schema SET rootpage = 0 WHERE name = 't'")
    }),
    ("a table beyond the file", Refused, |folder| {
        written_schema(folder, "UPDATE sqlite_schema SET rootpage = 999999 WHERE name = 't'")
    }),
    ("a table that is a statement of another kind", Refused, |folder| {
        written_schema(
            folder,
            "UPDATE sqlite_schema SET sql = 'ATTACH ''secret.db'' AS stolen' WHERE name = 't'",
        )
    }),
    ("two statements for one", Refused, |folder| {
        written_schema(
            folder,
            "UPDATE sqlite_schema SET sql = 'CREATE TABLE t (x); ATTACH ''secret.db'' AS stolen' WHERE name = 't'",
        )
    }),
    ("an index of what is not there", Refused, |folder| {
        written_schema(
            folder,
            "UPDATE sqlite_schema SET sql = 'CREATE INDEX by_y ON absent (y)' WHERE name = 'by_y'",
        )
    }),
    ("a table of SQLite's own", Refused, |folder| {
        written_schema(
            folder,
            "UPDATE sqlite_schema SET name = 'sqlite_stolen', tbl_name = 'sqlite_stolen' WHERE name = 't'",
        )
    }),
    ("a module that reads files", Refused, |folder| {
        written_schema(
            folder,
            "INSERT INTO sqlite_schema VALUES ('table', 'v', 'v', 0, 'CREATE VIRTUAL TABLE v USING csv(filename=''/etc/passwd'')')",
        )
    }),
    ("a full-text index of pages that mean nothing", SoundOrRefused, |folder| {
        let path = database(
            folder,
            "CREATE TABLE t (x); INSERT INTO t VALUES ('new');
            CREATE VIRTUAL TABLE note USING fts5(body); INSERT INTO note VALUES ('a'), ('b');",
        );
        let db = Connection::open(&path).unwrap();
        db.execute_batch("UPDATE note_data SET block = randomblob(1000)").unwrap();
        path
    }),
    ("a spatial index whose node is its own child", SoundOrRefused, |folder| {
        let path = database(
            folder,
            "CREATE TABLE t (x); INSERT INTO t VALUES ('new');
            CREATE VIRTUAL TABLE place USING rtree(id, x0, x1); INSERT INTO place VALUES (1, 0, 1);",
        );
        let db = Connection::open(&path).unwrap();
        db.execute_batch("UPDATE place_node SET data = x'00280001' || x'0000000000000001' || zeroblob(1000)")
            .unwrap();
        path
    }),
    // Work, where a file is only looked at.
    ("a check that makes a gigabyte", Refused, |folder| {
        database(
            folder,
            "PRAGMA ignore_check_constraints = ON;
             CREATE TABLE t (x CHECK (length(hex(zeroblob(400000000))) > 0)); INSERT INTO t VALUES ('new')",
        )
    }),
    ("a check that makes gigabytes for each row", Refused, |folder| {
        database(
            folder,
            "PRAGMA ignore_check_constraints = ON;
             CREATE TABLE t (x CHECK (length(printf('%.*c', 900000000, 'x')) > 0));
             WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 10000) INSERT INTO t SELECT i FROM n",
        )
    }),
    ("a column that is made when it is read", Refused, |folder| {
        written_schema(
            folder,
            "UPDATE sqlite_schema SET sql = 'CREATE TABLE t (x, y AS (hex(zeroblob(400000000))) NOT NULL)' WHERE name = 't'",
        )
    }),
    ("a view that never ends", SoundOrRefused, |folder| {
        database(
            folder,
            "CREATE TABLE t (x); INSERT INTO t VALUES ('new'); CREATE VIEW endless AS
             WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n",
        )
    }),
    ("a trigger that never ends", SoundOrRefused, |folder| {
        database(
            folder,
            "CREATE TABLE t (x); INSERT INTO t VALUES ('new'); CREATE TRIGGER endless AFTER INSERT ON t BEGIN
             INSERT INTO t WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n; END",
        )
    }),
    ("views of views", SoundOrRefused, |folder| {
        let mut sql = String::from(
            "CREATE TABLE t (x); INSERT INTO t VALUES ('new'); CREATE VIEW v0 AS SELECT x FROM t;",
        );
        for level in 1..18 {
            sql += &format!("CREATE VIEW v{level} AS SELECT a.x FROM v{0} a, v{0} b;", level - 1);
        }
        database(folder, &sql)
    }),
    ("a default that reaches for files", Refused, |folder| {
        written_schema(
            folder,
            "UPDATE sqlite_schema SET sql = 'CREATE TABLE t (x CHECK (load_extension(x) IS NULL))' WHERE name = 't'",
        )
    }),
];

pub fn count() -> usize {
    FILES.len()
}

#[test]
fn files_end_in_typed_errors_or_in_a_sound_database() {
    let ground = Ground::new();
    let attacker = ground.attacker();
    for (what, end, make) in FILES {
        println!("{what}");
        let folder = tempfile::tempdir().unwrap();
        let path = make(folder.path());
        let seq = attacker.info().unwrap().seq;
        match attacker.import_sqlite(&path).wait() {
            Ok(done) => {
                assert_eq!(*end, SoundOrRefused, "{what} was let through");
                assert!(done.bytes <= 16 << 20, "{what}");
                let read = attacker.read(|view| {
                    let sound: String = view.sql().query_one("PRAGMA quick_check", [], |row| row.get(0))?;
                    let new: String =
                        view.sql().query_one("SELECT x FROM t WHERE x = 'new'", [], |row| row.get(0))?;
                    Ok((sound, new))
                });
                assert_eq!(read.wait().unwrap(), ("ok".into(), "new".into()), "{what}");
                // What never ends is stopped when it is used.
                let _ = attacker.transact(|tx| tx.sql().execute("INSERT INTO t VALUES (1)", [])).wait();
                let _ = attacker
                    .read(|view| view.sql().query_one("SELECT * FROM endless", [], |_| Ok(())))
                    .wait();
            }
            Err(error) => {
                let typed = matches!(
                    error,
                    Error::NotImportable { .. }
                        | Error::TooLarge { .. }
                        | Error::NotFound { .. }
                        | Error::Io { .. }
                );
                assert!(typed, "{what}: {error:?}");
                assert!(!error.to_string().contains("root:"), "{what}: {error}");
                assert_eq!(attacker.info().unwrap().seq, seq, "{what}");
            }
        }
        ground.judge(what);
    }
    ground.engine().verify(&mut |_| ()).unwrap();
}
