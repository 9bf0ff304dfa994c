//! What the guards of SQL let through and what they do not, beside the statements in `attacks`.

use std::path::Path;

use lineal::{Engine, Error, Object, Options, SqlErrorCode as Code, SqlOptions};

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
