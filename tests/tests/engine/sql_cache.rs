//! What a connection has cached is believed only where it is the object's state: every way in which the two could part.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use lineal::{Engine, Error, Micros, Object, Options, Result, SqlErrorCode, SqlOptions, rusqlite::params};

struct World {
    engine: Engine,
    object: Object,
    _temp: tempfile::TempDir,
}

fn world_with(options: Options) -> World {
    let temp = tempfile::tempdir().unwrap();
    let engine = options.open(temp.path()).unwrap();
    let object = engine.namespace("n").unwrap().object("o").unwrap();
    World { engine, object, _temp: temp }
}

fn world() -> World {
    world_with(Options::new())
}

fn batch(object: &Object, sql: &str) {
    object.transact(|tx| tx.sql().execute_batch(sql)).wait().unwrap();
}

/// Names of the tables, and the rows of `t` if it is there.
fn state(object: &Object) -> String {
    object
        .read(|view| {
            let sql = view.sql();
            let names: Option<String> =
                sql.query_one("SELECT group_concat(name) FROM sqlite_schema", [], |row| row.get(0))?;
            let names = names.unwrap_or_default();
            if !names.split(',').any(|name| name == "t") {
                return Ok(names);
            }
            let rows: Option<String> =
                sql.query_one("SELECT group_concat(x) FROM t", [], |row| row.get(0))?;
            Ok(format!("{names}: {}", rows.unwrap_or_default()))
        })
        .wait()
        .unwrap()
}

/// What a connection that was never open before says.
fn state_afresh(object: &Object) -> String {
    let view = object.at(&object.bookmark().wait().unwrap()).unwrap();
    let sound: String = view.sql().query_one("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(sound, "ok");
    object.hibernate().unwrap();
    state(object)
}

fn check(object: &Object, expected: &str) {
    assert_eq!(state(object), expected);
    assert_eq!(state_afresh(object), expected);
}

#[test]
fn a_restore_between_two_sleeps_is_seen() {
    let world = world();
    let object = world.object.clone();
    batch(&object, "CREATE TABLE t (x); INSERT INTO t VALUES ('old')");
    let old = object.bookmark().wait().unwrap();
    batch(&object, "UPDATE t SET x = 'new'");
    object.hibernate().unwrap();
    // Opens a connection of an object that was just woken.
    assert_eq!(state(&object), "t: new");
    let undo = object.restore(&old).wait().unwrap();
    object.hibernate().unwrap();
    check(&object, "t: old");
    object.restore(&undo).wait().unwrap();
    check(&object, "t: new");
    object.delete().wait().unwrap();
    object.hibernate().unwrap();
    check(&object, "");
}

#[test]
fn everything_deleted_before_sql_is_used_is_gone_for_sql() {
    let world = world();
    let object = world.object.clone();
    batch(&object, "CREATE TABLE t (x); INSERT INTO t VALUES ('old')");
    assert_eq!(state(&object), "t: old");
    object
        .transact(|tx| {
            tx.delete_all()?;
            tx.sql().execute_batch("CREATE TABLE t (x)")?;
            tx.sql().execute("INSERT INTO t VALUES ('new')", [])
        })
        .wait()
        .unwrap();
    check(&object, "t: new");
}

#[test]
fn what_was_opened_over_a_deletion_that_fails_is_not_kept() {
    let world = world();
    let object = world.object.clone();
    batch(&object, "CREATE TABLE t (x); INSERT INTO t VALUES ('old')");
    let failed: Result<()> = object
        .transact(|tx| {
            tx.sql().query_one("SELECT count(*) FROM t", [], |row| row.get::<i64>(0))?;
            tx.delete_all()?;
            tx.sql().execute_batch("CREATE TABLE u (x)")?;
            Err(Error::other("no"))
        })
        .wait();
    failed.unwrap_err();
    check(&object, "t: old");
    for used_before in [false, true] {
        object
            .transact(|tx| {
                if used_before {
                    tx.sql().query_one("SELECT count(*) FROM t", [], |row| row.get::<i64>(0))?;
                }
                let failed: Result<()> = tx.savepoint(|tx| {
                    tx.delete_all()?;
                    tx.sql().execute_batch("CREATE TABLE u (x)")?;
                    Err(Error::other("no"))
                });
                failed.unwrap_err();
                tx.sql().execute("INSERT INTO t VALUES (?1)", params![used_before.to_string()])
            })
            .wait()
            .unwrap();
    }
    check(&object, "t: old,false,true");
}

#[test]
fn a_commit_that_fails_after_sqlite_committed_leaves_nothing() {
    let world = world_with(Options::new().transaction_bytes_max(256 << 10));
    let object = world.object.clone();
    batch(&object, "CREATE TABLE t (x); INSERT INTO t VALUES ('old')");
    let too_large = object
        .transact(|tx| {
            let sql = tx.sql();
            (0..100).try_for_each(|_| sql.execute("INSERT INTO t VALUES (randomblob(4000))", []).map(drop))
        })
        .wait();
    assert!(matches!(too_large, Err(Error::TooLarge { .. })));
    check(&object, "t: old");
    // Deferred constraints fail the commit itself.
    batch(
        &object,
        "CREATE TABLE p (id INTEGER PRIMARY KEY); CREATE TABLE c (p REFERENCES p DEFERRABLE INITIALLY DEFERRED)",
    );
    let dangling = object.transact(|tx| tx.sql().execute("INSERT INTO c VALUES (1)", [])).wait();
    assert!(matches!(dangling, Err(Error::Sql(error)) if error.code() == SqlErrorCode::Constraint));
    object
        .transact(|tx| {
            tx.sql().execute("INSERT INTO c VALUES (2)", [])?;
            tx.sql().execute("INSERT INTO p VALUES (2)", [])
        })
        .wait()
        .unwrap();
    check(&object, "t,p,c: old");
}

#[test]
fn a_view_cannot_write_in_any_way() {
    let world = world();
    let object = world.object.clone();
    batch(
        &object,
        "CREATE TABLE t (x); CREATE INDEX i ON t (x); INSERT INTO t VALUES ('old');
         WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5000) INSERT INTO t SELECT NULL FROM n;",
    );
    let seq = object.info().unwrap().seq;
    for statement in [
        "SELECT * FROM pragma_optimize",
        "SELECT * FROM pragma_optimize(0x10002)",
        "PRAGMA optimize",
        "PRAGMA optimize(0x10002)",
        "PRAGMA user_version = 7",
        "PRAGMA incremental_vacuum",
        "PRAGMA defer_foreign_keys = ON",
        "CREATE TRIGGER IF NOT EXISTS tr AFTER INSERT ON t BEGIN SELECT 1; END",
        "REINDEX",
        "ANALYZE",
        "DELETE FROM t",
        "INSERT INTO t VALUES (1) RETURNING x",
    ] {
        for _ in 0..2 {
            let ran = object.read(|view| {
                let sql = view.sql();
                let mut rows = sql.query(statement, [])?;
                while rows.next()?.is_some() {}
                Ok(())
            });
            drop(ran.wait());
        }
        assert_eq!((state(&object), object.info().unwrap().seq), ("t,i: old".to_owned(), seq), "{statement}");
    }
    check(&object, "t,i: old");
    batch(&object, "UPDATE t SET x = 'new' WHERE x IS NOT NULL");
    check(&object, "t,i: new");
}

#[test]
fn many_short_statements_have_the_budget_of_one_long_one() {
    let sql = SqlOptions::new().memory_bytes_max(16 << 20);
    let world = world_with(Options::new().sql(sql));
    let object = world.object.clone();
    batch(&object, "CREATE TABLE t (x)");
    let script = "INSERT INTO t VALUES (zeroblob(2000000));".repeat(1_000);
    let refused = object.transact(|tx| tx.sql().execute_batch(&script)).wait();
    assert!(matches!(refused, Err(Error::Sql(error)) if error.code() == SqlErrorCode::Memory));
    check(&object, "t: ");
    let sql = SqlOptions::new().operations_max(10_000);
    let world = world_with(Options::new().sql(sql));
    let object = world.object.clone();
    let refused = object.transact(|tx| tx.sql().execute_batch(&"SELECT 1;".repeat(1_000))).wait();
    assert!(matches!(refused, Err(Error::Sql(error)) if error.code() == SqlErrorCode::Budget));
}

#[test]
fn time_is_a_budget_too() {
    let sql = SqlOptions::new().time_max(Duration::from_millis(50)).operations_max(u64::MAX);
    let world = world_with(Options::new().sql(sql));
    let object = world.object.clone();
    let endless = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n";
    let stopped = object.read(|view| view.sql().query_one(endless, [], |row| row.get::<i64>(0))).wait();
    assert!(matches!(stopped, Err(Error::Sql(error)) if error.code() == SqlErrorCode::Budget));
}

#[test]
fn a_leaked_cursor_harms_nobody_else() {
    let world = world();
    let object = world.object.clone();
    batch(&object, "CREATE TABLE t (x); INSERT INTO t VALUES ('a'), ('b')");
    object
        .transact(|tx| {
            let sql = tx.sql();
            let mut rows = sql.query("INSERT INTO t VALUES ('c') RETURNING x", [])?;
            rows.next()?;
            std::mem::forget(rows);
            Ok(())
        })
        .wait()
        .ok();
    drop(object.read(|view| {
        let sql = view.sql();
        let mut rows = sql.query("SELECT x FROM t", [])?;
        rows.next()?;
        std::mem::forget(rows);
        Ok(())
    }));
    batch(&object, "DELETE FROM t; INSERT INTO t VALUES ('z')");
    check(&object, "t: z");
}

#[test]
fn hooks_that_change_reach_the_next_transaction() {
    use lineal::rusqlite::functions::FunctionFlags;
    let world = world();
    let (engine, object) = (world.engine.clone(), world.object.clone());
    let namespace = engine.namespace("n").unwrap();
    for n in 1..=3_i64 {
        namespace.on_connection(move |setup| {
            setup.function("version", 0, FunctionFlags::SQLITE_DETERMINISTIC, move |_| Ok(n))
        });
        let found: i64 = object
            .read(|view| view.sql().query_one("SELECT version()", [], |row| row.get(0)))
            .wait()
            .unwrap();
        assert_eq!(found, n);
    }
    object
        .transact(|tx| {
            tx.sql().query_one("SELECT version()", [], |row| row.get::<i64>(0))?;
            namespace.on_connection(|setup| {
                setup.function("version", 0, FunctionFlags::SQLITE_DETERMINISTIC, |_| Ok(9))
            });
            Ok(())
        })
        .wait()
        .unwrap();
    let found: i64 =
        object.read(|view| view.sql().query_one("SELECT version()", [], |row| row.get(0))).wait().unwrap();
    assert_eq!(found, 9);
}

#[test]
fn a_panicking_function_panics_its_caller_and_no_one_else() {
    use lineal::rusqlite::functions::FunctionFlags;
    let world = world();
    let (engine, object) = (world.engine.clone(), world.object.clone());
    engine.namespace("n").unwrap().on_connection(|setup| {
        setup.function("boom", 0, FunctionFlags::empty(), |_| -> lineal::rusqlite::Result<i64> {
            panic!("on purpose")
        })
    });
    batch(&object, "CREATE TABLE t (x); INSERT INTO t VALUES ('a')");
    let failed = object.transact(|tx| {
        tx.sql().execute("INSERT INTO t VALUES ('b')", [])?;
        tx.sql().query_one("SELECT boom()", [], |row| row.get::<i64>(0))
    });
    assert!(matches!(failed.wait(), Err(Error::Sql(_))), "rusqlite makes an error of it");
    check(&object, "t: a");
}

#[test]
fn a_large_commit_with_a_new_schema_page_is_whole() {
    let world = world();
    let object = world.object.clone();
    let tables: String =
        (0..150).map(|n| format!("CREATE TABLE table_number_{n} (some_column, another_column);")).collect();
    batch(&object, &tables);
    batch(&object, "CREATE TABLE t (x); ALTER TABLE table_number_0 RENAME TO renamed");
    object
        .transact(|tx| {
            let sql = tx.sql();
            (0..1_500)
                .try_for_each(|_| sql.execute("INSERT INTO t VALUES (randomblob(3000))", []).map(drop))?;
            sql.execute_batch("CREATE TABLE late (x); CREATE INDEX late_index ON late (x)")
        })
        .wait()
        .unwrap();
    batch(&object, "CREATE TABLE later (x); DELETE FROM t; INSERT INTO t VALUES ('end')");
    let state = state(&object);
    assert!(state.contains(",late,late_index,later: end"), "{state}");
    assert_eq!(state_afresh(&object), state);
}

#[test]
fn a_clock_that_jumps_takes_nobodys_time() {
    let time = AtomicU64::new(1_700_000_000_000_000);
    let clock = move || Micros(time.fetch_add(3_600_000_000, Ordering::Relaxed));
    let world = world_with(Options::new().clock(Arc::new(clock)));
    let count =
        "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 20000) SELECT max(i) FROM n";
    let counted = world.object.read(|view| view.sql().query_one(count, [], |row| row.get::<i64>(0))).wait();
    assert_eq!(counted.unwrap(), 20_000);
}
