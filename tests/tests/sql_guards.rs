//! Statements that try to leave the object, to take the guards off, or to take the machine: each ends in a typed error of
//! the kind that the guard has, and the object is as it was.
#![allow(missing_docs, clippy::unwrap_used)]

use std::path::Path;

use lineal::{Engine, Error, Object, Options, SqlErrorCode as Code, SqlOptions};

/// What must be refused by a guard of ours, with a hint.
const REFUSED: &[&str] = &[
    // Transactions are the engine's.
    "BEGIN",
    "BEGIN IMMEDIATE",
    "BEGIN EXCLUSIVE TRANSACTION",
    "/* x */ BEGIN -- y",
    "COMMIT",
    "END",
    "END TRANSACTION",
    "ROLLBACK",
    "SAVEPOINT a",
    "RELEASE a",
    "RELEASE SAVEPOINT inner",
    "ROLLBACK TO a",
    "ROLLBACK TO inner",
    // Other files.
    "ATTACH 'other.db' AS other",
    "ATTACH ':memory:' AS other",
    "ATTACH '' AS other",
    "ATTACH 'file:/etc/passwd?mode=ro' AS other",
    "ATTACH DATABASE '../CATALOG' AS other KEY 'x'",
    "DETACH main",
    "DETACH DATABASE other",
    "VACUUM",
    "VACUUM main",
    "VACUUM INTO 'stolen.db'",
    "SELECT load_extension('libevil.so')",
    "SELECT load_extension('libevil.so', 'entry')",
    // Settings of the connection.
    "PRAGMA journal_mode = WAL",
    "PRAGMA journal_mode = DELETE",
    "PRAGMA journal_mode",
    "PRAGMA main.journal_mode = OFF",
    "PRAGMA locking_mode = NORMAL",
    "PRAGMA synchronous = OFF",
    "PRAGMA writable_schema = ON",
    "PRAGMA writable_schema = RESET",
    "PRAGMA trusted_schema = ON",
    "PRAGMA foreign_keys = OFF",
    "PRAGMA ignore_check_constraints = ON",
    "PRAGMA cell_size_check = OFF",
    "PRAGMA cache_size = 1000000",
    "PRAGMA cache_spill = ON",
    "PRAGMA mmap_size = 268435456",
    "PRAGMA temp_store = FILE",
    "PRAGMA temp_store_directory = '/tmp'",
    "PRAGMA data_store_directory = '/tmp'",
    "PRAGMA page_size = 512",
    "PRAGMA auto_vacuum = FULL",
    "PRAGMA encoding = 'UTF-16'",
    "PRAGMA schema_version = 1",
    "PRAGMA data_version = 1",
    "PRAGMA threads = 8",
    "PRAGMA hard_heap_limit = 1",
    "PRAGMA soft_heap_limit = 1",
    "PRAGMA shrink_memory",
    "PRAGMA wal_checkpoint(TRUNCATE)",
    "PRAGMA wal_autocheckpoint = 1",
    "PRAGMA secure_delete = ON",
    "PRAGMA query_only = ON",
    "PRAGMA read_uncommitted = ON",
    "PRAGMA recursive_triggers = ON",
    "PRAGMA reverse_unordered_selects = ON",
    "PRAGMA case_sensitive_like = ON",
    "PRAGMA legacy_alter_table = ON",
    "PRAGMA legacy_file_format = ON",
    "PRAGMA automatic_index = OFF",
    "PRAGMA max_page_count = 1",
    "PRAGMA journal_size_limit = 1",
    "PRAGMA busy_timeout = 1",
    "PRAGMA database_list",
    "PRAGMA key = 'x'",
    "PRAGMA lock_status",
    "PRAGMA no_such_pragma",
    "SELECT * FROM pragma_database_list",
    "SELECT * FROM pragma_journal_mode",
    // What would outlive the transaction in the connection, and not in the object.
    "CREATE TEMP TABLE x (y)",
    "CREATE TEMPORARY TABLE x AS SELECT 1",
    "CREATE TABLE temp.x (y)",
    "CREATE TEMP VIEW x AS SELECT 1",
    "CREATE TEMP TRIGGER x AFTER INSERT ON t BEGIN SELECT 1; END",
    // Modules that reach files or internals.
    "CREATE VIRTUAL TABLE x USING csv(filename='/etc/passwd')",
    "CREATE VIRTUAL TABLE x USING dbstat",
    "CREATE VIRTUAL TABLE x USING fsdir",
    "CREATE VIRTUAL TABLE x USING sqlite_dbpage",
    "CREATE VIRTUAL TABLE temp.x USING fts5(y)",
    // Names of ours.
    "CREATE TABLE _lineal (x)",
    "CREATE TABLE _LINEAL_x (x)",
    "CREATE TABLE \"_lineal x\" AS SELECT 1",
    "CREATE VIEW _lineal_v AS SELECT 1",
    "CREATE INDEX _lineal_i ON t (x)",
    "CREATE TRIGGER _lineal_t AFTER INSERT ON t BEGIN SELECT 1; END",
    "CREATE VIRTUAL TABLE _lineal_f USING fts5(y)",
];

/// What SQLite itself refuses, because of how it is set or built.
const IMPOSSIBLE: &[&str] = &[
    "INSERT INTO sqlite_schema VALUES ('table', 'x', 'x', 2, 'CREATE TABLE x (y)')",
    "UPDATE sqlite_schema SET sql = 'CREATE TABLE t (z)'",
    "DELETE FROM sqlite_master",
    "UPDATE sqlite_schema SET rootpage = 1 WHERE name = 't'",
    "CREATE TABLE sqlite_x (y)",
    "DROP TABLE sqlite_schema",
    "ALTER TABLE sqlite_schema RENAME TO x",
    "CREATE INDEX i ON sqlite_schema (name)",
    "CREATE TRIGGER x AFTER INSERT ON sqlite_schema BEGIN SELECT 1; END",
    "SELECT readfile('/etc/passwd')",
    "SELECT writefile('/tmp/x', 'y')",
    "SELECT edit('x')",
    "SELECT fts3_tokenizer('simple', x'0000000000000000')",
    "SELECT * FROM sqlite_dbpage",
    "SELECT * FROM fsdir('/')",
    "SELECT * FROM zipfile('x.zip')",
    "SELECT * FROM other.t",
    "SELECT * FROM t AS OF SYSTEM TIME '-1s'",
    "SELECT x FROM t; SELECT 1",
    ".import /etc/passwd t",
    "COPY t FROM '/etc/passwd'",
    "SELECT \"no such column\" FROM t",
    "SELECT\0 1",
    "",
    "-- nothing",
];

/// What would take memory or time without end; the limits are small in this test.
const HUNGRY: &[(&str, &[Code])] = &[
    (
        "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n",
        &[Code::Budget],
    ),
    (
        "WITH RECURSIVE n (i) AS (SELECT 1 UNION SELECT i + 1 FROM n) SELECT max(i) FROM n",
        &[Code::Budget, Code::Memory],
    ),
    (
        "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000) \
         SELECT count(*) FROM n a, n b, n c",
        &[Code::Budget],
    ),
    ("SELECT zeroblob(1000000000000)", &[Code::TooLarge]),
    ("SELECT length(randomblob(2000000000))", &[Code::TooLarge]),
    ("SELECT printf('%.*c', 1000000000, 'x')", &[Code::TooLarge, Code::Statement]),
    ("SELECT printf('%1000000000d', 1)", &[Code::TooLarge, Code::Statement]),
    ("SELECT hex(zeroblob(4000000))", &[Code::TooLarge]),
    ("SELECT replace(hex(zeroblob(500000)), '0', 'aaaaaaaaaa')", &[Code::TooLarge]),
    (
        "WITH RECURSIVE n (s) AS (SELECT 'x' UNION ALL SELECT s || s FROM n) SELECT count(*) FROM n",
        &[Code::TooLarge, Code::Budget],
    ),
    (
        "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100000) \
         SELECT group_concat(hex(randomblob(500))) FROM n",
        &[Code::TooLarge, Code::Budget],
    ),
    (
        "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 50000) \
         SELECT randomblob(1000) AS b FROM n ORDER BY b LIMIT 1 OFFSET 49999",
        &[Code::Memory, Code::Budget],
    ),
    (
        "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 50000) \
         SELECT count(DISTINCT randomblob(1000)) FROM n",
        &[Code::Memory, Code::Budget],
    ),
    (
        "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 50000), \
         m AS MATERIALIZED (SELECT randomblob(1000) AS b FROM n) SELECT count(*) FROM m AS a, m AS c",
        &[Code::Memory, Code::Budget],
    ),
    (
        "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 50000) \
         INSERT INTO t (x) SELECT randomblob(1000) FROM n",
        &[Code::Memory, Code::Budget],
    ),
    (
        "CREATE TABLE big AS WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 50000) \
         SELECT randomblob(1000) AS b FROM n",
        &[Code::Memory, Code::Budget],
    ),
    ("SELECT json(replace(hex(zeroblob(500000)), '0', '['))", &[Code::Statement]),
    ("SELECT json_array_length(json('[' || replace(hex(zeroblob(900000)), '0', '1,') || '1]'))", &[]),
    ("SELECT instr(zeroblob(4000000), CAST(zeroblob(2000000) || x'01' AS BLOB))", &[]),
    ("SELECT length(trim(hex(zeroblob(2000000)), hex(zeroblob(2000000)) || '1'))", &[]),
    ("SELECT length(unhex(hex(zeroblob(2000000)), hex(zeroblob(2000000)) || ' '))", &[]),
    ("SELECT length(replace(hex(zeroblob(2000000)), hex(zeroblob(1000000)) || '1', ''))", &[]),
    ("SELECT hex(zeroblob(500)) LIKE replace(hex(zeroblob(600)), '0', '%')", &[Code::Other, Code::Statement]),
    ("SELECT x FROM t WHERE x GLOB replace(hex(zeroblob(1000)), '0', '*')", &[Code::Other, Code::Statement]),
];

fn open(dir: &Path) -> Engine {
    let sql = SqlOptions::new().operations_max(3_000_000).memory_bytes_max(8 << 20);
    Options::new().sql(sql).open(dir).unwrap()
}

fn code(error: &Error) -> Code {
    match error {
        Error::Sql(error) => error.code(),
        other => panic!("{other:?}"),
    }
}

fn table(object: &Object) -> Vec<String> {
    object
        .read(|view| view.sql().query_map("SELECT x FROM t", [], |row| row.get(0))?.collect())
        .wait()
        .unwrap()
}

/// Runs a statement to its last row.
fn drain(object: &Object, statement: &str) -> Result<(), Error> {
    object
        .transact(|tx| {
            let sql = tx.sql();
            let mut rows = sql.query(statement, [])?;
            while rows.next()?.is_some() {}
            Ok(())
        })
        .wait()
}

fn files(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn attacks_end_in_typed_errors_and_leave_the_object_as_it_was() {
    let temp = tempfile::tempdir().unwrap();
    let engine = open(temp.path());
    let object = engine.namespace("n").unwrap().object("o").unwrap();
    object
        .transact(|tx| tx.sql().execute_batch("CREATE TABLE t (x TEXT); INSERT INTO t VALUES ('mine')"))
        .wait()
        .unwrap();
    let (seq, before) = (object.info().unwrap().seq, files(temp.path()));
    for statement in REFUSED {
        for batch in [false, true] {
            let outcome = if batch {
                object.transact(|tx| tx.sql().execute_batch(statement)).wait()
            } else {
                drain(&object, statement)
            };
            let Err(error) = outcome else { panic!("{statement} was let through (batch: {batch})") };
            assert_eq!(code(&error), Code::Refused, "{statement}: {error}");
            assert!(!error.to_string().is_empty());
        }
        let viewed = object.read(|view| {
            let sql = view.sql();
            let mut rows = sql.query(statement, [])?;
            rows.next().map(|_| ())
        });
        let Err(error) = viewed.wait() else { panic!("{statement} was let through in a view") };
        assert!(matches!(code(&error), Code::Refused | Code::ReadOnly), "{statement}: {error}");
    }
    for statement in IMPOSSIBLE {
        let Err(error) = drain(&object, statement) else { panic!("{statement} was let through") };
        assert!(
            matches!(code(&error), Code::Statement | Code::Refused | Code::Other | Code::ReadOnly),
            "{statement}: {error:?}"
        );
    }
    for (statement, codes) in HUNGRY {
        let outcome = drain(&object, statement);
        match outcome {
            Ok(()) => assert!(codes.is_empty(), "{statement} came to an end"),
            Err(error) => assert!(codes.contains(&code(&error)), "{statement}: {error:?}"),
        }
        assert_eq!(table(&object), ["mine"], "after {statement}");
    }
    assert_eq!((object.info().unwrap().seq, files(temp.path())), (seq, before));
}

#[test]
fn a_tokenizer_is_no_pointer_of_the_callers() {
    let temp = tempfile::tempdir().unwrap();
    let engine = open(temp.path());
    let object = engine.namespace("n").unwrap().object("o").unwrap();
    for statement in ["SELECT fts3_tokenizer(?1, ?2)", "SELECT FTS3_TOKENIZER(?1), ?2"] {
        let outcome = object.transact(|tx| {
            let sql = tx.sql();
            let address = lineal::rusqlite::params!["simple", &[1u8; 8][..]];
            sql.query_one(statement, address, |_| Ok(()))
        });
        assert_eq!(code(&outcome.wait().unwrap_err()), Code::Refused);
    }
}

#[test]
fn a_rename_cannot_make_a_reserved_name() {
    let temp = tempfile::tempdir().unwrap();
    let engine = open(temp.path());
    let object = engine.namespace("n").unwrap().object("o").unwrap();
    object.transact(|tx| tx.sql().execute_batch("CREATE TABLE t (x)")).wait().unwrap();
    let renamed = object.transact(|tx| tx.sql().execute("ALTER TABLE t RENAME TO _lineal_t", [])).wait();
    assert_eq!(code(&renamed.unwrap_err()), Code::Refused);
    object.transact(|tx| tx.sql().execute("INSERT INTO t VALUES (1)", [])).wait().unwrap();
}

#[test]
fn limits_are_typed_and_wide_enough_for_what_people_write() {
    let temp = tempfile::tempdir().unwrap();
    let engine = open(temp.path());
    let object = engine.namespace("n").unwrap().object("o").unwrap();
    let run = |statement: &str| drain(&object, statement);
    let columns = |count: usize| {
        let names: Vec<String> = (0..count).map(|n| format!("c{n}")).collect();
        format!("CREATE TABLE wide{count} ({})", names.join(", "))
    };
    run(&columns(2_000)).unwrap();
    assert_eq!(code(&run(&columns(2_001)).unwrap_err()), Code::Statement);
    let variables = |count: usize| {
        object
            .transact(|tx| {
                let list = vec!["?"; count].join(", ");
                let values = lineal::rusqlite::params_from_iter((0..count).map(|n| n as i64));
                let sql = tx.sql();
                sql.query_one(&format!("SELECT 5 IN ({list})"), values, |row| row.get::<bool>(0))
            })
            .wait()
    };
    assert!(variables(30_000).unwrap());
    assert_eq!(code(&variables(32_767).unwrap_err()), Code::Statement);
    let nested = |depth: usize| format!("SELECT {}1{}", "(1 + ".repeat(depth), ")".repeat(depth));
    run(&nested(150)).unwrap();
    assert_eq!(code(&run(&nested(400)).unwrap_err()), Code::Statement);
    let compound = |count: usize| vec!["SELECT 1"; count].join(" UNION ALL ");
    run(&compound(100)).unwrap();
    assert_eq!(code(&run(&compound(101)).unwrap_err()), Code::Statement);
    let long = |bytes: usize| format!("SELECT length('{}')", "x".repeat(bytes));
    run(&long(1_000_000)).unwrap();
    assert_eq!(code(&run(&long(2 << 20)).unwrap_err()), Code::TooLarge);
    let pattern = |bytes: usize| format!("SELECT 'x' LIKE '{}'", "%".repeat(bytes));
    run(&pattern(1_000)).unwrap();
    assert!(run(&pattern(1_001)).is_err());
}

#[test]
fn features_that_are_on_by_default_work() {
    let temp = tempfile::tempdir().unwrap();
    let engine = open(temp.path());
    let object = engine.namespace("n").unwrap().object("o").unwrap();
    object
        .transact(|tx| {
            let sql = tx.sql();
            sql.execute_batch(
                "CREATE VIRTUAL TABLE note USING fts5(body);
                 INSERT INTO note VALUES ('the quick brown fox'), ('a lazy dog');
                 CREATE VIRTUAL TABLE place USING rtree(id, x0, x1, y0, y1);
                 INSERT INTO place VALUES (1, 0, 1, 0, 1), (2, 5, 6, 5, 6);
                 CREATE TABLE parent (id INTEGER PRIMARY KEY);
                 CREATE TABLE child (parent REFERENCES parent ON DELETE CASCADE);
                 INSERT INTO parent VALUES (1); INSERT INTO child VALUES (1);",
            )?;
            let found: String =
                sql.query_one("SELECT body FROM note WHERE note MATCH 'fox'", [], |row| row.get(0))?;
            assert_eq!(found, "the quick brown fox");
            let near: i64 = sql.query_one("SELECT id FROM place WHERE x0 > 4", [], |row| row.get(0))?;
            assert_eq!(near, 2);
            let json: i64 = sql.query_one("SELECT '{\"a\": [1, 2]}' ->> '$.a[1]'", [], |row| row.get(0))?;
            assert_eq!(json, 2);
            for (expression, value) in [
                ("sqrt(2)", 2f64.sqrt()),
                ("pow(2, 10)", 1024.0),
                ("log(100)", 2.0),
                ("log(2, 8)", 3.0),
                ("mod(7, 4)", 3.0),
                ("pi()", std::f64::consts::PI),
                ("ceil(1.2)", 2.0),
                ("radians(180)", std::f64::consts::PI),
                ("instr('añb', 'b')", 3.0),
                ("instr(x'61c3b162', x'62')", 4.0),
                ("instr('abc', '')", 1.0),
                ("instr(12345, 34)", 3.0),
                (
                    "instr('abc', 'd') + length(replace('a,b,c', ',', '--')) + length(replace(1.5, '.', ''))",
                    9.0,
                ),
                ("replace('7x', 'x', '')", 7.0),
                ("length(trim('xyaxbyx', 'xy')) * 100 + length(ltrim('  é ', ' é')) * 10 + length(rtrim('aéé', 'é'))", 301.0),
                ("length(unhex('01-02-ff', '-')) + (unhex('0-1', '-') IS NULL) + (unhex('01x', '-') IS NULL)", 5.0),
                ("length(replace(0.1 + 0.2, '.', ','))", 19.0),
            ] {
                let found: f64 =
                    sql.query_one(&format!("SELECT CAST({expression} AS REAL)"), [], |row| row.get(0))?;
                assert!((found - value).abs() < 1e-9, "{expression}: {found}");
            }
            let nothing: Option<f64> = sql.query_one("SELECT sqrt(-1)", [], |row| row.get(0))?;
            assert_eq!(nothing, None);
            let kind: String = sql.query_one("SELECT typeof(floor(3))", [], |row| row.get(0))?;
            assert_eq!(kind, "integer");
            let error = sql.execute("INSERT INTO child VALUES (7)", []).unwrap_err();
            assert_eq!(code(&error), Code::Constraint);
            sql.execute("DELETE FROM parent", [])?;
            let left: i64 = sql.query_one("SELECT count(*) FROM child", [], |row| row.get(0))?;
            assert_eq!(left, 0);
            // What scripts begin with is let through where it changes nothing.
            sql.execute_batch(
                "PRAGMA foreign_keys = ON; PRAGMA page_size = 4096; PRAGMA temp_store = MEMORY;",
            )
        })
        .wait()
        .unwrap();
}
