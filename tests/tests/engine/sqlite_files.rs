//! Databases of objects as files of SQLite: out at any point of the history, and in as one commit.

use std::{fs, path::Path};

use lineal::{
    Engine, Error, Kind, Object, Options,
    rusqlite::{Connection, params},
};

const SCHEMA: &str = "
    CREATE TABLE person (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, born INT DEFAULT 1970, photo BLOB);
    CREATE INDEX by_born ON person (born, lower(name));
    CREATE VIEW old AS SELECT name FROM person WHERE born < 1950;
    CREATE TABLE seen (name TEXT);
    CREATE TRIGGER met AFTER INSERT ON person BEGIN INSERT INTO seen VALUES (new.name); END;
    CREATE VIRTUAL TABLE note USING fts5(text);
    CREATE VIRTUAL TABLE place USING rtree(id, x0, x1);
    INSERT INTO person (name, born) VALUES ('ann', 1940), ('bob', 1980);
    INSERT INTO note VALUES ('an agent remembers'), ('another note');
    INSERT INTO place VALUES (1, 0.5, 1.5);
    PRAGMA user_version = 7;";

fn object(engine: &Engine, name: &str) -> Object {
    engine.namespace("rooms").unwrap().object(name).unwrap()
}

fn make(path: &Path, sql: &str) {
    Connection::open(path).unwrap().execute_batch(sql).unwrap();
}

/// What stock SQLite finds in a file, after checking it.
fn stock(path: &Path, query: &str) -> String {
    let db = Connection::open_with_flags(path, lineal::rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    let checked: String = db.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(checked, "ok");
    db.query_row(query, [], |row| row.get(0)).unwrap()
}

fn ask(object: &Object, query: &str) -> String {
    object.read(|view| view.sql().query_one(query, [], |row| row.get(0))).wait().unwrap()
}

fn refused(object: &Object, path: &Path) -> String {
    let before = object.info().map(|info| info.seq).unwrap_or(0);
    let error = object.import_sqlite(path).wait().unwrap_err();
    assert_eq!(error.name(), "NotImportable", "{error}");
    assert_eq!(object.info().map(|info| info.seq).unwrap_or(0), before);
    error.to_string()
}

fn files(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

const NAMES: &str = "SELECT group_concat(name) FROM (SELECT name FROM person ORDER BY id)";

#[test]
fn a_database_comes_out_as_it_was_at_any_point() {
    let temp = tempfile::tempdir().unwrap();
    let out = tempfile::tempdir().unwrap();
    let engine = Options::new().open(temp.path()).unwrap();
    let lobby = object(&engine, "lobby");
    lobby.transact(|tx| tx.sql().execute_batch(SCHEMA)).wait().unwrap();
    let before = lobby.bookmark().wait().unwrap();
    lobby
        .transact(|tx| {
            for n in 0..500 {
                let photo = vec![n as u8; 9_000];
                tx.sql().execute(
                    "INSERT INTO person (name, photo) VALUES (?1, ?2)",
                    params![n.to_string(), photo],
                )?;
            }
            Ok(())
        })
        .wait()
        .unwrap();
    for packed in [false, true] {
        if packed {
            engine.checkpoint().unwrap();
        }
        let old = out.path().join(format!("old-{packed}.db"));
        let done = lobby.at(&before).unwrap().export_sqlite(&old).unwrap();
        assert_eq!((done.seq, done.bytes), (1, fs::metadata(&old).unwrap().len()));
        assert_eq!(stock(&old, NAMES), "ann,bob");
        assert_eq!(stock(&old, "SELECT text FROM note WHERE note MATCH 'remembers'"), "an agent remembers");
        let new = out.path().join(format!("new-{packed}.db"));
        assert_eq!(lobby.export_sqlite(&new).unwrap().seq, 2);
        assert_eq!(stock(&new, "SELECT count(*) || '' FROM person WHERE length(photo) = 9000"), "500");
        // Inside a turn as well.
        let held = out.path().join(format!("held-{packed}.db"));
        lobby.read(|view| view.export_sqlite(&held)).wait().unwrap();
        assert_eq!(fs::read(&held).unwrap(), fs::read(&new).unwrap());
    }
    assert_eq!(files(out.path()).len(), 6, "nothing unfinished is left");
}

#[test]
fn an_export_replaces_only_what_it_was_told_to() {
    let temp = tempfile::tempdir().unwrap();
    let out = tempfile::tempdir().unwrap();
    let engine = Options::new().open(temp.path()).unwrap();
    let lobby = object(&engine, "lobby");
    lobby.transact(|tx| tx.put("k", "v")).wait().unwrap();
    let path = out.path().join("a.db");
    let none = lobby.export_sqlite(&path).unwrap_err();
    assert!(matches!(none, Error::NotFound { .. }), "{none}");
    assert!(files(out.path()).is_empty());
    lobby.transact(|tx| tx.sql().execute_batch(SCHEMA)).wait().unwrap();
    fs::write(&path, "mine").unwrap();
    let there = lobby.export_sqlite(&path).unwrap_err();
    assert!(matches!(there, Error::Invalid { .. }) && there.to_string().contains("already"), "{there}");
    assert_eq!(fs::read(&path).unwrap(), b"mine");
    let newest = lobby.bookmark().wait().unwrap();
    lobby.at(&newest).unwrap().export_sqlite_over(&path).unwrap();
    assert_eq!(stock(&path, NAMES), "ann,bob");
    let nowhere = lobby.export_sqlite(out.path().join("no/such/dir.db")).unwrap_err();
    assert!(matches!(nowhere, Error::Io { .. }), "{nowhere}");
    assert_eq!(files(out.path()), ["a.db"]);
}

#[test]
fn a_file_becomes_the_objects_database_and_comes_out_again() {
    let temp = tempfile::tempdir().unwrap();
    let out = tempfile::tempdir().unwrap();
    let engine = Options::new().open(temp.path()).unwrap();
    let lobby = object(&engine, "lobby");
    let path = out.path().join("in.db");
    // Another page size, automatic vacuum, free pages and names in double quotes.
    make(&path, "PRAGMA page_size = 1024; PRAGMA auto_vacuum = FULL");
    make(&path, SCHEMA);
    make(
        &path,
        "CREATE TABLE filler (x DEFAULT \"text\"); INSERT INTO filler VALUES (zeroblob(100000)); DELETE FROM filler",
    );
    let bytes = fs::read(&path).unwrap();
    lobby.transact(|tx| tx.put("k", "v")).wait().unwrap();
    let done = lobby.import_sqlite_because(&path, "moving in").wait().unwrap();
    assert_eq!(done.tables, 5);
    assert_eq!(fs::read(&path).unwrap(), bytes);
    assert_eq!(files(out.path()), ["in.db"]);
    assert_eq!(lobby.check_sqlite(&path).unwrap(), done);

    let commit = lobby.history(2..=2).unwrap().next().unwrap().unwrap();
    assert_eq!((commit.kind, commit.cause.as_str()), (Kind::Install, "moving in"));
    assert_eq!(lobby.info().unwrap().bytes, 2 + (done.bytes / 4096) * 4100);
    assert_eq!(lobby.read(|view| view.get("k")).wait().unwrap().unwrap(), b"v"[..]);
    assert_eq!(ask(&lobby, NAMES), "ann,bob");
    assert_eq!(ask(&lobby, "SELECT text FROM note WHERE note MATCH 'agent'"), "an agent remembers");
    assert_eq!(ask(&lobby, "SELECT user_version || '' FROM pragma_user_version"), "7");
    lobby.transact(|tx| tx.sql().execute("INSERT INTO person (name) VALUES ('cid')", [])).wait().unwrap();
    assert_eq!(ask(&lobby, "SELECT group_concat(name) FROM seen"), "ann,bob,cid");
    let again = out.path().join("out.db");
    lobby.export_sqlite(&again).unwrap();
    assert_eq!(stock(&again, NAMES), "ann,bob,cid");

    // What was there is replaced, and the history has it. The connection that was open does not believe its cache.
    let small = out.path().join("small.db");
    make(
        &small,
        "CREATE TABLE person (id INTEGER PRIMARY KEY, name); INSERT INTO person (name) VALUES ('dora')",
    );
    lobby.import_sqlite(&small).wait().unwrap();
    assert_eq!(ask(&lobby, NAMES), "dora");
    assert_eq!(lobby.info().unwrap().bytes, 2 + fs::metadata(&small).unwrap().len() / 4096 * 4100);
    let then: String = lobby.at_seq(3).unwrap().sql().query_one(NAMES, [], |row| row.get(0)).unwrap();
    assert_eq!(then, "ann,bob,cid");
    engine.close().unwrap();
    let engine = Options::new().open(temp.path()).unwrap();
    assert_eq!(ask(&object(&engine, "lobby"), NAMES), "dora");
    engine.verify(&mut |_| ()).unwrap();
}

#[test]
fn a_write_ahead_log_beside_the_file_counts() {
    let temp = tempfile::tempdir().unwrap();
    let out = tempfile::tempdir().unwrap();
    let engine = Options::new().open(temp.path()).unwrap();
    let lobby = object(&engine, "lobby");
    let path = out.path().join("in.db");
    let db = Connection::open(&path).unwrap();
    db.execute_batch("PRAGMA encoding = 'UTF-16'; PRAGMA journal_mode = WAL; PRAGMA wal_autocheckpoint = 0")
        .unwrap();
    db.execute_batch(
        "CREATE TABLE person (id INTEGER PRIMARY KEY, name); INSERT INTO person (name) VALUES ('ann\u{e9}')",
    )
    .unwrap();
    let (names, bytes) = (files(out.path()), fs::read(&path).unwrap());
    assert!(names.contains(&"in.db-wal".to_owned()));
    lobby.import_sqlite(&path).wait().unwrap();
    assert_eq!((files(out.path()), fs::read(&path).unwrap()), (names, bytes));
    assert_eq!(ask(&lobby, NAMES), "ann\u{e9}");
    lobby.transact(|tx| tx.sql().execute("INSERT INTO person (name) VALUES ('bob')", [])).wait().unwrap();
    let again = out.path().join("again.db");
    lobby.export_sqlite(&again).unwrap();
    assert_eq!(stock(&again, NAMES), "ann\u{e9},bob");
    drop(db);
}

#[test]
fn what_is_damaged_or_breaks_a_guard_is_refused_and_nothing_changes() {
    let temp = tempfile::tempdir().unwrap();
    let out = tempfile::tempdir().unwrap();
    let engine = Options::new().transaction_bytes_max(1 << 20).open(temp.path()).unwrap();
    let lobby = object(&engine, "lobby");
    lobby.transact(|tx| tx.sql().execute_batch(SCHEMA)).wait().unwrap();
    let path = |name: &str| out.path().join(name);

    let missing = lobby.import_sqlite(path("missing.db")).wait().unwrap_err();
    assert!(matches!(missing, Error::NotFound { .. }), "{missing}");
    fs::write(path("text.db"), "no database at all".repeat(100)).unwrap();
    assert!(refused(&lobby, &path("text.db")).contains("no database of SQLite"));
    fs::write(path("empty.db"), "").unwrap();
    assert!(refused(&lobby, &path("empty.db")).contains("no database of SQLite"));

    make(&path("rotten.db"), SCHEMA);
    let mut bytes = fs::read(path("rotten.db")).unwrap();
    bytes[2 * 4096..3 * 4096].fill(0xa5);
    fs::write(path("rotten.db"), bytes).unwrap();
    let rotten = refused(&lobby, &path("rotten.db"));
    assert!(rotten.contains("damaged") || rotten.contains("malformed"), "{rotten}");
    make(&path("cut.db"), SCHEMA);
    let bytes = fs::read(path("cut.db")).unwrap();
    fs::write(path("cut.db"), &bytes[..bytes.len() - 4096]).unwrap();
    refused(&lobby, &path("cut.db"));
    make(&path("hot.db"), SCHEMA);
    fs::write(path("hot.db-journal"), b"\xd9\xd5\x05\xf9\x20\xa1\x63\xd7 and so on").unwrap();
    assert!(refused(&lobby, &path("hot.db")).contains("journal"));

    for (at, (sql, told)) in [
        ("CREATE TABLE _lineal_x (a)", "_lineal"),
        ("CREATE TABLE t (a); CREATE INDEX _Lineal_i ON t (a)", "reserved"),
        ("CREATE VIEW _lineal_v AS SELECT 1", "reserved"),
        ("CREATE VIRTUAL TABLE d USING dbstat", "module"),
        ("CREATE VIEW v AS SELECT * FROM absent", "absent"),
        ("CREATE VIEW v AS SELECT load_extension('x')", "extension"),
        (
            "CREATE TABLE t (a); CREATE TRIGGER r AFTER UPDATE OF a ON t BEGIN DELETE FROM absent; END",
            "absent",
        ),
        (
            "CREATE TABLE t (a); CREATE TRIGGER r AFTER DELETE ON t BEGIN SELECT load_extension('x'); END",
            "extension",
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let file = path(&format!("guard{at}.db"));
        make(&file, sql);
        let error = refused(&lobby, &file);
        assert!(error.contains(told), "{sql}: {error}");
    }
    let hidden = path("module.db");
    make(
        &hidden,
        "CREATE TABLE t (a); PRAGMA writable_schema = on;
         INSERT INTO sqlite_schema VALUES ('table', 'v', 'v', 0, 'CREATE VIRTUAL TABLE v USING foreign_module(1)')",
    );
    refused(&lobby, &hidden);

    make(&path("large.db"), "CREATE TABLE t (a); INSERT INTO t VALUES (randomblob(1100000))");
    let large = lobby.import_sqlite(path("large.db")).wait().unwrap_err();
    assert!(matches!(large, Error::TooLarge { what: "database", limit: 1_048_576, .. }), "{large}");
    assert_eq!(ask(&lobby, NAMES), "ann,bob");
    let inside = lobby.transact(|_| lobby.import_sqlite(path("large.db")).wait()).wait().unwrap_err();
    assert!(matches!(inside, Error::InsideTurn), "{inside}");
}

#[test]
fn what_an_application_registers_counts_for_what_it_imports() {
    let temp = tempfile::tempdir().unwrap();
    let out = tempfile::tempdir().unwrap();
    let engine = Options::new().open(temp.path()).unwrap();
    let path = out.path().join("in.db");
    let db = Connection::open(&path).unwrap();
    db.create_collation("backwards", |a, b| b.cmp(a)).unwrap();
    db.execute_batch(
        "CREATE TABLE t (x COLLATE backwards); CREATE INDEX i ON t (x); INSERT INTO t VALUES ('a'), ('b')",
    )
    .unwrap();
    drop(db);
    let lobby = object(&engine, "lobby");
    assert!(refused(&lobby, &path).contains("backwards"));
    let rooms = engine.namespace("rooms").unwrap();
    rooms.on_connection(|setup| setup.collation("backwards", |a, b| b.cmp(a)));
    lobby.import_sqlite(&path).wait().unwrap();
    assert_eq!(ask(&lobby, "SELECT group_concat(x) FROM (SELECT x FROM t ORDER BY x)"), "b,a");
}
