//! SQL inside objects: one commit with key-value writes, savepoints, errors, guards, the past.

use lineal::{Engine, Error, Object, Options, SqlErrorCode, SqlOptions, rusqlite::params};

fn open(dir: &std::path::Path) -> Engine {
    Options::new().open(dir).unwrap()
}

fn object(engine: &Engine) -> Object {
    engine.namespace("rooms").unwrap().object("lobby").unwrap()
}

fn code(error: &Error) -> SqlErrorCode {
    match error {
        Error::Sql(error) => error.code(),
        other => panic!("{other:?}"),
    }
}

fn count(object: &Object) -> i64 {
    object.read(|view| view.sql().query_one("SELECT count(*) FROM t", [], |row| row.get(0))).wait().unwrap()
}

const TABLE: &str = "CREATE TABLE t (id INTEGER PRIMARY KEY, x TEXT UNIQUE)";

#[test]
fn sql_and_key_values_are_one_commit() {
    let temp = tempfile::tempdir().unwrap();
    let engine = open(temp.path());
    let lobby = object(&engine);
    lobby
        .transact(|tx| {
            tx.put("k", "v")?;
            tx.sql().execute_batch(TABLE)?;
            tx.sql().execute("INSERT INTO t (x) VALUES (?1)", ["a"])?;
            tx.put("l", "w")
        })
        .wait()
        .unwrap();
    assert_eq!((lobby.info().unwrap().seq, count(&lobby)), (1, 1));
    // An error undoes both.
    let failed: Result<(), Error> = lobby
        .transact(|tx| {
            tx.put("k", "changed")?;
            tx.sql().execute("INSERT INTO t (x) VALUES ('b')", [])?;
            Err(Error::other("no"))
        })
        .wait();
    assert!(failed.is_err());
    assert_eq!((lobby.info().unwrap().seq, count(&lobby)), (1, 1));
    assert_eq!(lobby.read(|view| view.get("k")).wait().unwrap().unwrap(), b"v"[..]);
    // A panic too.
    let panicking = lobby.clone();
    let panicked = std::thread::spawn(move || {
        let _ = panicking.transact(|tx| -> Result<(), Error> {
            tx.sql().execute("INSERT INTO t (x) VALUES ('b')", [])?;
            panic!("on purpose")
        });
    });
    assert!(panicked.join().is_err());
    assert_eq!(count(&lobby), 1);
    // Only reading commits nothing.
    lobby
        .transact(|tx| tx.sql().query_one("SELECT x FROM t", [], |row| row.get::<String>(0)))
        .wait()
        .unwrap();
    assert_eq!(lobby.info().unwrap().seq, 1);
    engine.close().unwrap();
    let engine = open(temp.path());
    assert_eq!(count(&object(&engine)), 1);
    engine.checkpoint().unwrap();
    engine.close().unwrap();
    let engine = open(temp.path());
    let lobby = object(&engine);
    assert_eq!(count(&lobby), 1);
    lobby.transact(|tx| tx.sql().execute("INSERT INTO t (x) VALUES (?1)", ["c"])).wait().unwrap();
    assert_eq!(count(&lobby), 2);
    assert_eq!(lobby.verify().unwrap().commits, 2);
}

#[test]
fn savepoints_undo_both() {
    let temp = tempfile::tempdir().unwrap();
    let engine = open(temp.path());
    let lobby = object(&engine);
    lobby
        .transact(|tx| {
            // The database is first used inside.
            let failed: Result<(), Error> = tx.savepoint(|tx| {
                tx.sql().execute_batch(TABLE)?;
                Err(Error::other("no"))
            });
            assert!(failed.is_err());
            tx.sql().execute_batch(TABLE)?;
            tx.sql().execute("INSERT INTO t (x) VALUES ('a')", [])?;
            let failed: Result<(), Error> = tx.savepoint(|tx| {
                tx.put("k", "v")?;
                tx.sql().execute("INSERT INTO t (x) VALUES ('b')", [])?;
                tx.savepoint(|tx| tx.sql().execute("INSERT INTO t (x) VALUES ('c')", []))?;
                Err(Error::other("no"))
            });
            assert!(failed.is_err());
            tx.savepoint(|tx| tx.sql().execute("INSERT INTO t (x) VALUES ('d')", []))?;
            assert!(!tx.contains("k")?);
            let xs: Vec<String> = tx
                .sql()
                .query_map("SELECT x FROM t ORDER BY x", [], |row| row.get(0))?
                .collect::<Result<_, _>>()?;
            assert_eq!(xs, ["a", "d"]);
            Ok(())
        })
        .wait()
        .unwrap();
    assert_eq!(count(&lobby), 2);
}

#[test]
fn a_kept_connection_does_not_show_what_delete_all_deleted() {
    let temp = tempfile::tempdir().unwrap();
    let engine = open(temp.path());
    let lobby = object(&engine);
    lobby
        .transact(|tx| tx.sql().execute_batch(&format!("{TABLE}; INSERT INTO t (x) VALUES ('a')")))
        .wait()
        .unwrap();
    let tables = |tx: &mut lineal::Tx<'_>| {
        tx.sql()
            .query_one("SELECT count(*) FROM sqlite_schema WHERE type = 'table'", [], |row| row.get::<i64>(0))
    };
    // Neither in a transaction that fails and leaves all as it was,
    let failed: Result<(), Error> = lobby
        .transact(|tx| {
            tx.delete_all()?;
            assert_eq!(tables(tx)?, 0);
            Err(Error::other("no"))
        })
        .wait();
    assert!(failed.is_err());
    assert_eq!(count(&lobby), 1);
    // nor in a part of one,
    lobby
        .transact(|tx| {
            let failed: Result<(), Error> = tx.savepoint(|tx| {
                tx.delete_all()?;
                assert_eq!(tables(tx)?, 0);
                Err(Error::other("no"))
            });
            assert!(failed.is_err());
            assert_eq!(tables(tx)?, 1);
            tx.sql().execute("INSERT INTO t (x) VALUES ('b')", [])
        })
        .wait()
        .unwrap();
    assert_eq!(count(&lobby), 2);
    // also where the database was used before, and where later parts fail,
    let rest = lobby.transact(|tx| {
        assert_eq!(tables(tx)?, 1);
        let failed: Result<(), Error> = tx.savepoint(|tx| {
            tx.delete_all()?;
            tx.sql().execute_batch("CREATE TABLE u (y)")?;
            Err(Error::other("no"))
        });
        assert!(failed.is_err());
        tx.sql().execute("DELETE FROM t WHERE x = 'b'", [])?;
        tx.delete_all()?;
        tx.sql().execute_batch(TABLE)?;
        let failed: Result<(), Error> = tx.savepoint(|tx| {
            tx.sql().execute("INSERT INTO t (x) VALUES ('never')", [])?;
            Err(Error::other("no"))
        });
        assert!(failed.is_err());
        tx.savepoint(|tx| tx.delete_all().and_then(|()| tx.sql().execute_batch(TABLE)))?;
        tx.sql().execute("INSERT INTO t (x) VALUES ('c')", [])
    });
    rest.wait().unwrap();
    assert_eq!(count(&lobby), 1);
    // nor in one that goes through.
    lobby.transact(|tx| tx.delete_all().and_then(|()| tx.sql().execute_batch(TABLE))).wait().unwrap();
    assert_eq!(count(&lobby), 0);
}

#[test]
fn a_connection_of_an_earlier_wake_does_not_show_what_was_deleted_since() {
    let temp = tempfile::tempdir().unwrap();
    let engine = open(temp.path());
    let lobby = object(&engine);
    lobby.transact(|tx| tx.sql().execute_batch(TABLE)).wait().unwrap();
    lobby.hibernate().unwrap();
    assert_eq!(count(&lobby), 0);
    lobby.delete().wait().unwrap();
    lobby.hibernate().unwrap();
    lobby.transact(|tx| tx.sql().execute_batch(TABLE)).wait().unwrap();
    assert_eq!(count(&lobby), 0);
}

#[test]
fn delete_all_takes_the_database_along() {
    let temp = tempfile::tempdir().unwrap();
    let engine = open(temp.path());
    let lobby = object(&engine);
    lobby.transact(|tx| tx.sql().execute_batch(TABLE)).wait().unwrap();
    let full = lobby.bookmark().wait().unwrap();
    lobby
        .transact(|tx| {
            tx.sql().execute("INSERT INTO t (x) VALUES ('a')", [])?;
            tx.delete_all()?;
            assert_eq!(
                tx.sql().query_one("SELECT count(*) FROM sqlite_schema", [], |row| row.get::<i64>(0))?,
                0
            );
            tx.sql().execute_batch("CREATE TABLE u (y)")
        })
        .wait()
        .unwrap();
    let tables = |lobby: &Object| {
        lobby
            .read(|view| {
                view.sql().query_one("SELECT group_concat(name) FROM sqlite_schema", [], |row| row.get(0))
            })
            .wait()
            .unwrap()
    };
    let only: Option<String> = tables(&lobby);
    assert_eq!(only.as_deref(), Some("u"));
    // What a savepoint cannot give back makes the transaction fail, and says so.
    let lost = lobby
        .transact(|tx| {
            tx.sql().execute("INSERT INTO u VALUES (1)", [])?;
            let failed: Result<(), Error> = tx.savepoint(|tx| {
                tx.delete_all()?;
                Err(Error::other("no"))
            });
            assert!(failed.is_err());
            Ok(())
        })
        .wait();
    assert_eq!(code(&lost.unwrap_err()), SqlErrorCode::Refused);
    assert_eq!(tables(&lobby).as_deref(), Some("u"));
    lobby.restore(&full).wait().unwrap();
    assert_eq!(tables(&lobby).as_deref(), Some("t,sqlite_autoindex_t_1"));
    lobby.delete().wait().unwrap();
    assert_eq!(tables(&lobby), None);
}

#[test]
fn a_statement_that_fails_leaves_the_rest_and_a_batch_nothing() {
    let temp = tempfile::tempdir().unwrap();
    let engine = open(temp.path());
    let lobby = object(&engine);
    lobby
        .transact(|tx| {
            let sql = tx.sql();
            sql.execute_batch(TABLE)?;
            sql.execute("INSERT INTO t (x) VALUES ('a')", [])?;
            let twice = sql.execute("INSERT INTO t (x) VALUES ('b'), ('a')", []).unwrap_err();
            assert_eq!(code(&twice), SqlErrorCode::Constraint);
            let batch = "INSERT INTO t (x) VALUES ('c'); INSERT INTO t (x) VALUES ('a');";
            assert_eq!(code(&sql.execute_batch(batch).unwrap_err()), SqlErrorCode::Constraint);
            assert_eq!(code(&sql.execute("SELEC", []).unwrap_err()), SqlErrorCode::Statement);
            Ok(())
        })
        .wait()
        .unwrap();
    assert_eq!(count(&lobby), 1);
    let undone = lobby
        .transact(|tx| {
            let sql = tx.sql();
            sql.execute("INSERT INTO t (x) VALUES ('d')", [])?;
            let error = sql.execute("INSERT OR ROLLBACK INTO t (x) VALUES ('a')", []).unwrap_err();
            assert!(matches!(&error, Error::Sql(error) if error.undid()), "{error}");
            assert!(sql.execute("INSERT INTO t (x) VALUES ('e')", []).is_err());
            Ok(())
        })
        .wait();
    assert_eq!(code(&undone.unwrap_err()), SqlErrorCode::Refused);
    assert_eq!(count(&lobby), 1);
    lobby.transact(|tx| tx.sql().execute("INSERT INTO t (x) VALUES ('e')", [])).wait().unwrap();
}

#[test]
fn the_past_answers_queries() {
    let temp = tempfile::tempdir().unwrap();
    let engine = open(temp.path());
    let lobby = object(&engine);
    lobby.transact(|tx| tx.sql().execute_batch(TABLE)).wait().unwrap();
    for n in 0..200_i64 {
        lobby
            .transact(|tx| tx.sql().execute("INSERT INTO t (x) VALUES (?1)", params![format!("{n:0100}")]))
            .wait()
            .unwrap();
        if n % 50 == 20 {
            engine.checkpoint().unwrap();
        }
    }
    for seq in [1, 2, 40, 100, 201] {
        let view = lobby.at_seq(seq).unwrap();
        let rows: i64 = view.sql().query_one("SELECT count(*) FROM t", [], |row| row.get(0)).unwrap();
        assert_eq!(rows, seq as i64 - 1);
        let sound: String = view.sql().query_one("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
        assert_eq!(sound, "ok");
        assert_eq!(code(&view.sql().execute("DELETE FROM t", []).unwrap_err()), SqlErrorCode::ReadOnly);
    }
    let copy = engine.namespace("rooms").unwrap().object("copy").unwrap();
    lobby.fork(&lobby.bookmark_of(101).unwrap(), &copy).wait().unwrap();
    assert_eq!(count(&copy), 100);
    copy.transact(|tx| tx.sql().execute("DELETE FROM t", [])).wait().unwrap();
    assert_eq!((count(&copy), count(&lobby)), (0, 200));
    let undo = lobby.restore(&lobby.bookmark_of(51).unwrap()).wait().unwrap();
    assert_eq!(count(&lobby), 50);
    lobby.restore(&undo).wait().unwrap();
    assert_eq!(count(&lobby), 200);
}

#[test]
fn rows_are_lazy_and_counted() {
    let temp = tempfile::tempdir().unwrap();
    let engine = open(temp.path());
    let lobby = object(&engine);
    lobby
        .transact(|tx| {
            let sql = tx.sql();
            sql.execute_batch(TABLE)?;
            let many = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000) \
                        INSERT INTO t (id, x) SELECT i, 'x' || i FROM n";
            assert_eq!(sql.execute(many, [])?, 1000);
            assert_eq!(sql.rows_written()?, 1000);
            assert!(sql.database_size()? >= 8 * 4096);
            let before = sql.rows_read()?;
            let mut rows = sql.query("SELECT id, x FROM t ORDER BY id", [])?;
            assert_eq!(rows.column_names(), ["id", "x"]);
            for n in 1..=3_i64 {
                let row = rows.next()?.unwrap();
                assert_eq!((row.get::<i64>(0)?, row.get::<String>("x")?), (n, format!("x{n}")));
            }
            drop(rows);
            assert!(sql.rows_read()? - before < 10, "{}", sql.rows_read()? - before);
            assert_eq!(sql.last_insert_rowid()?, 1000);
            assert_eq!(
                sql.query_optional("SELECT 1 FROM t WHERE id = 0", [], |row| row.get::<i64>(0))?,
                None
            );
            let error = sql.query_one("SELECT id FROM t", [], |row| row.get::<i64>(0)).unwrap_err();
            assert_eq!(code(&error), SqlErrorCode::ManyRows);
            let big: i64 = sql.query_one("SELECT ?1", [i64::MIN], |row| row.get(0))?;
            assert_eq!(big, i64::MIN);
            Ok(())
        })
        .wait()
        .unwrap();
}

#[test]
fn budgets_end_in_typed_errors_and_leave_the_object_usable() {
    let temp = tempfile::tempdir().unwrap();
    let sql = SqlOptions::new().operations_max(2_000_000).memory_bytes_max(4 << 20);
    let engine = Options::new().sql(sql).open(temp.path()).unwrap();
    let lobby = object(&engine);
    lobby.transact(|tx| tx.sql().execute_batch(TABLE)).wait().unwrap();
    let endless = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n";
    let error =
        lobby.transact(|tx| tx.sql().query_one(endless, [], |row| row.get::<i64>(0))).wait().unwrap_err();
    assert_eq!(code(&error), SqlErrorCode::Budget);
    let error =
        lobby.read(|view| view.sql().query_one(endless, [], |row| row.get::<i64>(0))).wait().unwrap_err();
    assert_eq!(code(&error), SqlErrorCode::Budget);
    let sort = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000) \
                SELECT randomblob(1000) AS b FROM n ORDER BY b";
    let error =
        lobby.transact(|tx| tx.sql().query_map(sort, [], |row| row.get::<Vec<u8>>(0))?.count_ok()).wait();
    assert_eq!(code(&error.unwrap_err()), SqlErrorCode::Memory);
    let write = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000) \
                 INSERT INTO t (x) SELECT randomblob(1000) FROM n";
    let error = lobby.transact(|tx| tx.sql().execute(write, [])).wait().unwrap_err();
    assert_eq!(code(&error), SqlErrorCode::Memory);
    assert_eq!(count(&lobby), 0);
    lobby.transact(|tx| tx.sql().execute("INSERT INTO t (x) VALUES ('a')", [])).wait().unwrap();
    assert_eq!(count(&lobby), 1);
}

trait CountOk {
    fn count_ok(self) -> lineal::Result<usize>;
}

impl<T, I: Iterator<Item = lineal::Result<T>>> CountOk for I {
    fn count_ok(mut self) -> lineal::Result<usize> {
        self.try_fold(0, |count, item| item.map(|_| count + 1))
    }
}

#[test]
fn a_statement_can_be_interrupted_from_elsewhere() {
    let temp = tempfile::tempdir().unwrap();
    let engine = open(temp.path());
    let lobby = object(&engine);
    let other = lobby.clone();
    let stopper = std::thread::spawn(move || {
        while !other.interrupt_sql() {
            std::thread::yield_now();
        }
        // The first may have come before the statement began its budget.
        while other.interrupt_sql() {
            std::thread::yield_now();
        }
    });
    let endless = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n";
    let error =
        lobby.transact(|tx| tx.sql().query_one(endless, [], |row| row.get::<i64>(0))).wait().unwrap_err();
    assert_eq!(code(&error), SqlErrorCode::Interrupted);
    stopper.join().unwrap();
}

#[test]
fn tables_and_rows_that_are_different_are_told() {
    let temp = tempfile::tempdir().unwrap();
    let engine = open(temp.path());
    let lobby = object(&engine);
    let batch = |sql: &str| lobby.transact(|tx| tx.sql().execute_batch(sql)).wait().unwrap();
    batch(
        "CREATE TABLE same (x); CREATE TABLE gone (x); CREATE TABLE rows (id INTEGER PRIMARY KEY, x TEXT);
         CREATE TABLE keyed (a TEXT COLLATE NOCASE, b, c, PRIMARY KEY (b, a)) WITHOUT ROWID;
         INSERT INTO same VALUES (1); INSERT INTO rows VALUES (1, 'a'), (2, 'b'), (3, 'c');
         INSERT INTO keyed VALUES ('k', 1, 'x'), ('L', 1, 'y'), ('m', 2.5, 'z');",
    );
    engine.checkpoint().unwrap();
    batch(
        "DROP TABLE gone; CREATE TABLE came (x); UPDATE rows SET x = 'B' WHERE id = 2; DELETE FROM rows WHERE id = 3;
         INSERT INTO rows VALUES (7, 'g'); DELETE FROM keyed WHERE a = 'l'; INSERT INTO keyed VALUES ('n', -1, 1);",
    );
    lobby.transact(|tx| tx.put("k", "v")).wait().unwrap();
    let marks: Vec<_> = (1..=3).map(|seq| lobby.bookmark_of(seq).unwrap()).collect();
    let tables = lobby.diff_tables(&marks[0], &marks[1]).unwrap();
    let told: Vec<(&str, bool, bool)> =
        tables.iter().map(|table| (table.table.as_str(), table.before, table.after)).collect();
    assert_eq!(
        told,
        [("came", false, true), ("gone", true, false), ("keyed", true, true), ("rows", true, true)]
    );
    assert!(lobby.diff_tables(&marks[1], &marks[2]).unwrap().is_empty(), "only a key-value changed");
    let rows = |table: &str| {
        let mut told = Vec::new();
        lobby
            .diff_rows(&marks[0], &marks[1], table, |row| {
                told.push(format!("{:?} {:?} {:?}", row.key, row.before.is_some(), row.after.is_some()));
                Ok(())
            })
            .map(|()| told)
    };
    assert_eq!(
        rows("rows").unwrap(),
        ["[Integer(2)] true true", "[Integer(3)] true false", "[Integer(7)] false true"]
    );
    assert_eq!(
        rows("keyed").unwrap(),
        ["[Integer(-1), Text(\"n\")] false true", "[Integer(1), Text(\"L\")] true false"]
    );
    assert_eq!((rows("same").unwrap().len(), rows("came").unwrap().len()), (0, 0));
    assert_eq!(code(&rows("never").unwrap_err()), SqlErrorCode::Statement);
    // In the other direction what was added is removed.
    let mut removed = 0;
    let back = lobby.diff_rows(&marks[1], &marks[0], "rows", |row| {
        removed += usize::from(row.after.is_none());
        Ok(())
    });
    back.unwrap();
    assert_eq!(removed, 1);
}

#[test]
fn damage_below_sqlite_is_a_typed_error_and_never_a_wrong_row() {
    let temp = tempfile::tempdir().unwrap();
    let whole = temp.path().join("whole");
    let engine = open(&whole);
    let namespace = engine.namespace("rooms").unwrap();
    let fill = |name: &str| {
        let object = namespace.object(name).unwrap();
        object
            .transact(|tx| {
                let sql = tx.sql();
                sql.execute_batch(TABLE)?;
                (0..2_000_i64).try_for_each(|n| {
                    let x = format!("{name} {n} {}", n * 7_919 % 2_003);
                    sql.execute("INSERT INTO t (id, x) VALUES (?1, ?2)", params![n, x]).map(drop)
                })
            })
            .wait()
            .unwrap();
    };
    fill("lobby");
    fill("other");
    engine.checkpoint().unwrap();
    engine.checkpoint().unwrap();
    engine.compact().unwrap();
    engine.close().unwrap();
    let rows = |engine: &Engine, name: &str| {
        let object = engine.namespace("rooms")?.object(name)?;
        object
            .read(|view| {
                let sql = view.sql();
                sql.query_map("SELECT id || x FROM t ORDER BY id", [], |row| row.get(0))?
                    .collect::<Result<Vec<String>, _>>()
            })
            .wait()
    };
    let engine = open(&whole);
    let expected = [rows(&engine, "lobby").unwrap(), rows(&engine, "other").unwrap()];
    engine.close().unwrap();
    let packs: Vec<_> =
        std::fs::read_dir(whole.join("packs")).unwrap().map(|entry| entry.unwrap().path()).collect();
    let (mut damaged, mut both) = (0, 0);
    for pack in packs {
        let bytes = std::fs::read(&pack).unwrap();
        for at in (0..bytes.len()).step_by((bytes.len() / 40).max(1)) {
            let mut flipped = bytes.clone();
            flipped[at] ^= 0x10;
            std::fs::write(&pack, &flipped).unwrap();
            let outcomes = match Options::new().open_read_only(&whole) {
                Ok(engine) => [rows(&engine, "lobby"), rows(&engine, "other")],
                Err(error) => [Err(error.clone()), Err(error)],
            };
            let failed = outcomes.iter().filter(|outcome| outcome.is_err()).count();
            (damaged, both) = (damaged + usize::from(failed > 0), both + usize::from(failed == 2));
            for (outcome, expected) in outcomes.into_iter().zip(&expected) {
                match outcome {
                    Ok(rows) => assert!(rows == *expected, "wrong rows after a flip at {at}"),
                    Err(Error::Damaged { .. }) => {}
                    Err(other) => panic!("a flip at {at}: {other:?}"),
                }
            }
        }
        std::fs::write(&pack, &bytes).unwrap();
    }
    assert!(damaged > 10, "{damaged} flips were met");
    assert!(both < damaged / 2, "{both} of {damaged} stopped both objects");
}
