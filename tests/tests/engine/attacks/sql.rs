//! Statements that try to leave the object, to take the guards off, or to take the machine: each ends in a typed error of
//! the kind that the guard has, and the object is as it was.

use lineal::{Error, Object, SqlErrorCode as Code};

use super::ground::{Ground, NOW};

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
    // What a full-text or a spatial index keeps itself in.
    "INSERT INTO note_data VALUES (1, x'00')",
    "UPDATE note_data SET block = zeroblob(100)",
    "DELETE FROM note_idx",
    "INSERT INTO note_content VALUES (9, 'x')",
    "UPDATE note_config SET v = 99",
    "DELETE FROM note_docsize",
    "DROP TABLE note_data",
    "ALTER TABLE note_content RENAME TO stolen",
    "ALTER TABLE note_content ADD COLUMN more",
    "INSERT INTO place_node VALUES (1, x'00')",
    "UPDATE place_node SET data = x'ffff'",
    "DELETE FROM place_rowid",
    "UPDATE place_parent SET parentnode = nodeno",
    "DROP TABLE place_node",
    // Names that are not there, however they are asked for.
    "SELECT * FROM neighbour.t",
    "SELECT * FROM 'other.db'",
    "SELECT * FROM \"/etc/passwd\"",
    "SELECT * FROM \"file:secret.db?mode=ro\".t",
    "SELECT * FROM sqlite_temp_schema.t",
    "SELECT * FROM sqlite_stmt",
    "SELECT * FROM bytecode('SELECT 1')",
    "SELECT * FROM generate_series(1, 1000000000000)",
    "SELECT * FROM carray(1, 1000)",
    "SELECT sqlite_rename_table(1, 2, 3, 4, 5, 6, 7)",
    "SELECT shell('id')",
    "SELECT system('id')",
    "SELECT getenv('HOME')",
    "SELECT sleep(1000)",
    "SELECT loadfile('secret.db')",
    "UPDATE t SET x = 1 WHERE x IN (SELECT x FROM neighbour.t)",
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
    // Work in what looks short.
    (
        "SELECT count(*) FROM json_each('[' || replace(hex(zeroblob(400000)), '0', '0,') || '0]') a, \
         json_each('[1,2,3,4,5,6,7,8,9]') b, json_each('[1,2,3,4,5,6,7,8,9]') c",
        &[Code::Budget, Code::Memory, Code::TooLarge],
    ),
    (
        "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000000) \
         SELECT sum(i) OVER (ORDER BY i ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING) FROM n",
        &[Code::Budget, Code::Memory],
    ),
    (
        "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000000) \
         SELECT json_group_array(hex(randomblob(100))) FROM n",
        &[Code::TooLarge, Code::Budget],
    ),
    (
        "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000000) \
         INSERT INTO note (body) SELECT hex(randomblob(50)) FROM n",
        &[Code::Memory, Code::Budget],
    ),
    (
        "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000000) \
         INSERT INTO place SELECT i + 1, i, i + 1, i, i + 1 FROM n",
        &[Code::Memory, Code::Budget],
    ),
    (
        "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 10000000) \
         SELECT i FROM n ORDER BY random() LIMIT 1",
        &[Code::Budget, Code::Memory],
    ),
    ("CREATE INDEX bomb ON t (length(hex(zeroblob(2000000)) || hex(zeroblob(2000000))))", &[Code::TooLarge]),
    (
        "SELECT 9223372036854775807 + 1 FROM t WHERE abs(-9223372036854775808)",
        &[Code::Statement, Code::Other],
    ),
    ("SELECT substr(zeroblob(4000000), -9223372036854775807, 9223372036854775807) IS NULL", &[]),
    ("SELECT printf('%.9999999f', 1e308) IS NULL", &[Code::TooLarge, Code::Statement, Code::Other]),
    ("SELECT x FROM t WHERE x GLOB replace(hex(zeroblob(1000)), '0', '*')", &[Code::Other, Code::Statement]),
];

/// What tells of the machine where it is not kept from it: each says what the engine was given.
const TOLD: &[(&str, &str)] = &[
    ("SELECT unixepoch('now')", "1234567890"),
    ("SELECT strftime('%s')", "1234567890"),
    ("SELECT datetime()", "2009-02-13 23:31:30"),
    ("SELECT date('now')", "2009-02-13"),
    ("SELECT time('now', 'subsec')", "23:31:30.000"),
    ("SELECT CURRENT_TIMESTAMP", "2009-02-13 23:31:30"),
    ("SELECT CURRENT_DATE", "2009-02-13"),
    ("SELECT CURRENT_TIME", "23:31:30"),
    ("SELECT CAST(julianday('now') * 1000 AS INTEGER)", "2454876480"),
    ("SELECT timediff('now', '2009-02-13 23:31:29')", "+0000-00-00 00:00:01.000"),
];

/// Views of views: each level names the one below twice.
const LEVELS: usize = 20;

pub fn count() -> usize {
    // A batch, a query and a view are three ways past one guard, and count once.
    REFUSED.len() + IMPOSSIBLE.len() + HUNGRY.len() + TOLD.len() + 2
}

fn code(error: &Error) -> Code {
    match error {
        Error::Sql(error) => error.code(),
        other => panic!("{other:?}"),
    }
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

fn mine(object: &Object) -> Vec<String> {
    object
        .read(|view| {
            let sql = view.sql();
            let sound: String = sql.query_one("PRAGMA integrity_check", [], |row| row.get(0))?;
            let note: String = sql.query_one("SELECT body FROM note('agent')", [], |row| row.get(0))?;
            let place: i64 = sql.query_one("SELECT id FROM place WHERE x0 < 1", [], |row| row.get(0))?;
            let rows = sql.query_map("SELECT x FROM t", [], |row| row.get(0))?;
            let rows = rows.collect::<lineal::Result<Vec<String>>>()?;
            Ok([vec![sound, note, place.to_string()], rows].concat())
        })
        .wait()
        .unwrap()
}

/// The attacker's object, with an index of each kind that has tables of its own.
fn attacker(ground: &Ground) -> Object {
    let object = ground.attacker();
    let made = object.transact(|tx| {
        tx.sql().execute_batch(
            "CREATE VIRTUAL TABLE note USING fts5(body);
             INSERT INTO note VALUES ('an agent remembers'), ('another note');
             CREATE VIRTUAL TABLE place USING rtree(id, x0, x1, y0, y1);
             INSERT INTO place VALUES (1, 0, 1, 0, 1);",
        )
    });
    made.wait().unwrap();
    object
}

#[test]
fn statements_end_in_typed_errors_and_leave_everything_as_it_was() {
    let ground = Ground::new();
    let object = attacker(&ground);
    let (seq, before) = (object.info().unwrap().seq, mine(&object));
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
        ground.judge(statement);
    }
    for statement in IMPOSSIBLE {
        let Err(error) = drain(&object, statement) else { panic!("{statement} was let through") };
        assert!(
            matches!(code(&error), Code::Statement | Code::Refused | Code::Other | Code::ReadOnly),
            "{statement}: {error:?}"
        );
        ground.judge(statement);
    }
    for (statement, codes) in HUNGRY {
        match drain(&object, statement) {
            Ok(()) => assert!(codes.is_empty(), "{statement} came to an end"),
            Err(error) => assert!(codes.contains(&code(&error)), "{statement}: {error:?}"),
        }
        assert_eq!(mine(&object), before, "after {statement}");
        ground.judge(statement);
    }
    for (statement, wanted) in TOLD {
        let told = object.read(|view| {
            view.sql().query_one(statement, [], |row| {
                Ok(match row.get_ref(0)? {
                    lineal::rusqlite::types::ValueRef::Integer(number) => number.to_string(),
                    other => other.as_str().unwrap().to_owned(),
                })
            })
        });
        assert_eq!(told.wait().unwrap(), *wanted, "{statement} at {NOW:?}");
    }
    assert_eq!(object.info().unwrap().seq, seq);
    ground.judge_names("statements");
}

/// What grows by doubling does so while a statement is prepared, where no row is counted.
#[test]
fn views_of_views_and_triggers_of_triggers_come_to_an_end() {
    let ground = Ground::new();
    let object = attacker(&ground);
    let mut schema = String::from("CREATE VIEW v0 AS SELECT x FROM t;");
    for level in 1..=LEVELS {
        let below = level - 1;
        schema += &format!("CREATE VIEW v{level} AS SELECT a.x FROM v{below} a, v{below} b;");
    }
    object.transact(|tx| tx.sql().execute_batch(&schema)).wait().unwrap();
    let error = drain(&object, &format!("SELECT count(*) FROM v{LEVELS}")).unwrap_err();
    assert!(matches!(code(&error), Code::Statement | Code::Budget | Code::Memory), "{error:?}");
    ground.judge("views of views");

    let triggers = "CREATE TABLE a (n); CREATE TABLE b (n);
        CREATE TRIGGER ab AFTER INSERT ON a BEGIN INSERT INTO b SELECT n + 1 FROM a; END;
        CREATE TRIGGER ba AFTER INSERT ON b BEGIN INSERT INTO a SELECT n + 1 FROM b; END;";
    object.transact(|tx| tx.sql().execute_batch(triggers)).wait().unwrap();
    let seq = object.info().unwrap().seq;
    if let Err(error) = drain(&object, "INSERT INTO a VALUES (1)") {
        assert!(matches!(code(&error), Code::Statement | Code::Budget | Code::Memory), "{error:?}");
        assert_eq!(object.info().unwrap().seq, seq);
    }
    ground.judge("triggers of triggers");
}
