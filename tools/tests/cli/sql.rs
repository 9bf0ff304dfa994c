//! SQL on the command line and in `lineal exec`: queries, scripts, import, export, dump.

use std::{
    fs,
    io::Write,
    path::Path,
    process::{Output, Stdio},
};

use lineal::rusqlite::Connection;
use serde_json::{Value, json};

use crate::support::{Exec, code, dump, image, lineal, run, stdout, text};

/// The arguments of a command on the object.
fn args<'a>(dir: &'a Path, command: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let mut args = vec![command, "--dir", text(dir), "--ns", "rooms", "--object", "lobby"];
    args.extend(more);
    args
}

fn sql(dir: &Path, more: &[&str]) -> String {
    stdout(&args(dir, "sql", more))
}

fn script(dir: &Path, more: &[&str], script: &str) -> Output {
    let mut child = lineal()
        .args(args(dir, "sql", more))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// A directory whose lobby has two messages, then three, in commits 2 and 3.
fn filled(dir: &Path) {
    let mut exec = Exec::start(dir);
    exec.done(r#"{"op":"put","ns":"rooms","obj":"lobby","key":"k","value":"v"}"#);
    exec.done(
        r#"{"op":"txn","ns":"rooms","obj":"lobby","ops":[
            {"op":"sql","query":"CREATE TABLE message (id INTEGER PRIMARY KEY, text TEXT, extra)"},
            {"op":"sql","query":"INSERT INTO message VALUES (1, 'hello', 1.5), (2, 'a \"b\", c', x'ff00')"}]}"#
            .replace('\n', " ")
            .as_str(),
    );
    exec.done(
        r#"{"op":"sql","ns":"rooms","obj":"lobby","query":"INSERT INTO message (text) VALUES ('bye')"}"#,
    );
    assert_eq!(exec.end(), 0);
}

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn queries_print_a_table_csv_or_json_and_change_no_byte() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path());
    let before = image(dir.path());
    let all = "SELECT * FROM message";
    assert_eq!(
        sql(dir.path(), &[all]),
        "id  text      extra\n--  --------  -------\n 1  hello         1.5\n 2  a \"b\", c  x'ff00'\n 3  bye       NULL\n"
    );
    assert_eq!(
        sql(dir.path(), &["--csv", all]),
        "id,text,extra\n1,hello,1.5\n2,\"a \"\"b\"\", c\",x'ff00'\n3,bye,\n"
    );
    assert_eq!(
        lines(&sql(dir.path(), &["--json", all]))[1],
        json!({"id": 2, "text": "a \"b\", c", "extra": {"b64": "/wA="}})
    );
    assert_eq!(sql(dir.path(), &["--at", "2", "--csv", "SELECT count(*) AS n FROM message;"]), "n\n2\n");
    assert_eq!(sql(dir.path(), &["--at", "1", "--csv", "SELECT count(*) AS n FROM sqlite_schema"]), "n\n0\n");
    assert_eq!(sql(dir.path(), &[".tables"]), "message\n");
    assert!(
        sql(dir.path(), &[".schema message"]).starts_with("CREATE TABLE message (")
            && sql(dir.path(), &[".schema nobody"]).is_empty()
    );
    assert!(sql(dir.path(), &[".help"]).contains(".quit"));
    let two = script(
        dir.path(),
        &["--csv"],
        "-- two of them\nSELECT 1 AS a; SELECT 2 AS b;\n.tables\n.quit\nSELECT 3",
    );
    assert_eq!(String::from_utf8(two.stdout).unwrap(), "a\n1\nb\n2\nmessage\n");
    assert_eq!(sql(dir.path(), &["--csv", "WITH x (y) AS (VALUES ('')) SELECT y FROM x"]), "y\n\"\"\n");

    for (wanted, name, more) in [
        (1, "SqlStatement", &["SELECT * FROM nobody"][..]),
        (1, "SqlReadOnly", &["--at", "2", "DELETE FROM message"]),
        (1, "SqlReadOnly", &["--read-only", "DELETE FROM message"]),
        (1, "SqlRefused", &["PRAGMA journal_mode = wal"]),
        (2, "Usage", &[".nonsense"]),
        (2, "Usage", &[" -- nothing"]),
        (8, "BookmarkFuture", &["--at", "99", "SELECT 1"]),
    ] {
        let mut all = vec!["--json"];
        all.extend(more);
        let output = run(&args(dir.path(), "sql", &all));
        assert_eq!(code(&output), wanted, "{more:?}: {}", said(&output));
        assert!(said(&output).contains(&format!("\"error\":\"{name}\"")), "{more:?}: {}", said(&output));
    }
    for (ns, object) in [("rooms", "nobody"), ("nowhere", "lobby")] {
        let output = run(&["sql", "--dir", text(dir.path()), "--ns", ns, "--object", object, "SELECT 1"]);
        assert_eq!(code(&output), 8, "{}", said(&output));
    }
    assert_eq!(image(dir.path()), before, "reading changes nothing");
}

#[test]
fn a_script_is_one_transaction_unless_each_statement_is_to_be_one() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path());
    let count =
        || sql(dir.path(), &["--csv", "SELECT count(*) FROM message"]).lines().last().unwrap().to_owned();
    let failing =
        "INSERT INTO message (text) VALUES ('x'); SELECT 1; INSERT INTO message VALUES (1, 'taken', 0);";
    let output = script(dir.path(), &[], failing);
    assert_eq!((code(&output), output.stdout.len(), count()), (1, 0, "3".into()));
    assert!(
        said(&output).contains("statement 3 (INSERT INTO message VALUES (1")
            && said(&output).contains("UNIQUE"),
        "{}",
        said(&output)
    );
    let output = script(dir.path(), &["--each"], failing);
    assert_eq!((code(&output), count()), (1, "4".into()));
    assert!(String::from_utf8(output.stdout).unwrap().starts_with("1 row changed\n1\n"));

    let output = script(
        dir.path(),
        &["--json", "--cause", "ticket 7"],
        "UPDATE message SET extra = 0 WHERE id < 3; INSERT INTO message (text) VALUES ('y') RETURNING id;",
    );
    assert_eq!(
        lines(&String::from_utf8(output.stdout).unwrap()),
        [json!({"rows_written": 2}), json!({"id": 5})]
    );
    let newest = lines(&stdout(&args(dir.path(), "history", &["--json", "--limit", "1"]))).remove(0);
    assert_eq!((&newest["cause"], &newest["seq"]), (&json!("ticket 7"), &json!(5)));
    // What is not there is made by what writes.
    let new = ["sql", "--dir", text(dir.path()), "--ns", "new", "--object", "o", "CREATE TABLE t (x)"];
    assert_eq!(stdout(&new), "0 rows changed\n");
    let refused = run(&args(dir.path(), "sql", &["BEGIN"]));
    assert!(code(&refused) == 1 && said(&refused).contains("transact"), "{}", said(&refused));
}

#[test]
fn a_file_goes_in_and_comes_out() {
    let dir = tempfile::tempdir().unwrap();
    let files = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let (file, out) = (files.path().join("in.db"), files.path().join("out.db"));
    Connection::open(&file)
        .unwrap()
        .execute_batch("CREATE TABLE t (x); INSERT INTO t VALUES ('a'), ('b')")
        .unwrap();
    let would = stdout(&args(&data, "import", &[text(&file), "--dry-run"]));
    assert!(would.contains("would be") && would.contains("nothing was done"), "{would}");
    let missing = run(&args(&data, "import", &[text(&out)]));
    assert!(code(&missing) == 8 && !data.exists(), "{}", said(&missing));
    let done =
        lines(&stdout(&args(&data, "import", &[text(&file), "--json", "--cause", "moving in"]))).remove(0);
    assert_eq!((&done["tables"], &done["bytes"], &done["seq"]), (&json!(1), &json!(8192), &json!(1)));
    let history = lines(&stdout(&args(&data, "history", &["--json"])));
    assert_eq!((&history[0]["kind"], &history[0]["cause"]), (&json!("install"), &json!("moving in")));
    sql(&data, &["DELETE FROM t WHERE x = 'a'"]);

    let before = image(&data);
    stdout(&args(&data, "import", &[text(&file), "--dry-run"]));
    let then = lines(&stdout(&args(&data, "export", &["--at", "1", text(&out), "--json"]))).remove(0);
    assert_eq!(then, json!({"seq": 1, "bytes": 8192}));
    let xs = || -> String {
        Connection::open(&out)
            .unwrap()
            .query_row("SELECT group_concat(x) FROM t", [], |row| row.get(0))
            .unwrap()
    };
    assert_eq!(xs(), "a,b");
    let there = run(&args(&data, "export", &[text(&out)]));
    assert!(code(&there) == 2 && said(&there).contains("already"), "{}", said(&there));
    assert!(stdout(&args(&data, "export", &["--replace", text(&out)])).contains("commit 2"));
    assert_eq!(xs(), "b");
    fs::write(&file, "nothing".repeat(100)).unwrap();
    for more in [&["--dry-run", "--json"][..], &["--json"]] {
        let mut all = vec![text(&file)];
        all.extend(more);
        let refused = run(&args(&data, "import", &all));
        assert!(code(&refused) == 1 && said(&refused).contains("NotImportable"), "{}", said(&refused));
        if more.len() > 1 {
            assert_eq!(image(&data), before, "reading changes nothing");
        }
    }
    assert_eq!(sql(&data, &["--csv", "SELECT x FROM t"]), "x\nb\n");
    let mut exec = Exec::start(&data);
    exec.done(r#"{"op":"put","ns":"rooms","obj":"plain","key":"k","value":"v"}"#);
    assert_eq!(exec.end(), 0);
    let none = run(&[
        "export",
        "--dir",
        text(&data),
        "--ns",
        "rooms",
        "--object",
        "plain",
        text(&files.path().join("no.db")),
    ]);
    assert!(code(&none) == 8 && said(&none).contains("no database"), "{}", said(&none));
}

#[test]
fn exec_answers_sql() {
    let dir = tempfile::tempdir().unwrap();
    let mut exec = Exec::start(dir.path());
    let ask = |query: &str, more: Value| {
        let mut request = json!({"op": "sql", "ns": "rooms", "obj": "lobby", "query": query});
        request.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        request.to_string()
    };
    exec.refused(&ask("SELECT 1", json!({})), "NotFound");
    let made = exec.done(&ask("CREATE TABLE t (id INTEGER PRIMARY KEY, x UNIQUE)", json!({"cause": "new"})));
    assert_eq!((&made["seq"], &made["columns"], &made["rows"]), (&json!(1), &json!([]), &json!([])));
    let values = json!([[1, i64::MAX], [2, i64::MIN], [3, 0.5], [4, "t\u{e9}xt"], [5, {"b64": "/wA="}], [6, null], [7, 1e300]]);
    for row in values.as_array().unwrap() {
        let done = exec.done(&ask("INSERT INTO t VALUES (?1, ?2)", json!({"params": row})));
        assert_eq!(done["rows_written"], 1);
    }
    let all = exec.done(&ask("SELECT * FROM t", json!({})));
    assert_eq!((&all["columns"], &all["rows"], &all["more"]), (&json!(["id", "x"]), &values, &json!(false)));
    assert_eq!((&all["rows_read"], &all["rows_written"], &all["seq"]), (&json!(7), &json!(0), &json!(8)));
    assert!(all["lsn"].as_u64().unwrap() > made["lsn"].as_u64().unwrap());
    let some = exec.done(&ask("SELECT id FROM t", json!({"limit": 2})));
    assert_eq!((&some["rows"], &some["more"]), (&json!([[1], [2]]), &json!(true)));
    let named = exec.done(&ask("SELECT :a, @b, $c", json!({"params": {"a": 1, "@b": "two", "$c": true}})));
    assert_eq!(named["rows"], json!([[1, "two", 1]]));
    assert_eq!(
        exec.done(&ask("SELECT 9e999, -9e999", json!({})))["rows"],
        json!([["Infinity", "-Infinity"]])
    );
    let returned = exec.done(&ask("INSERT INTO t (x) VALUES ('p'), ('q') RETURNING id", json!({"limit": 1})));
    assert_eq!(
        (&returned["rows"], &returned["more"], &returned["rows_written"]),
        (&json!([[8]]), &json!(true), &json!(2))
    );
    let written =
        exec.done(&ask("WITH n (x) AS (VALUES ('w')) INSERT INTO t (x) SELECT x FROM n", json!({})));
    assert_eq!(written["seq"], 10);
    let then = exec.done(&ask("SELECT count(*) FROM t", json!({"at": 2})));
    assert_eq!((&then["rows"], &then["seq"]), (&json!([[1]]), &json!(2)));

    exec.refused(&ask("INSERT INTO t VALUES (1, 0)", json!({})), "SqlConstraint");
    exec.refused(&ask("SELEKT", json!({})), "SqlStatement");
    exec.refused(&ask("SELECT ?1", json!({})), "SqlMismatch");
    exec.refused(&ask("COMMIT", json!({})), "SqlRefused");
    exec.refused(&ask("DELETE FROM t", json!({"at": 2})), "SqlReadOnly");
    exec.refused(&ask("SELECT 1", json!({"expect_seq": 3})), "Conflict");
    exec.refused(&ask("SELECT 1; SELECT 2", json!({})), "SqlStatement");

    // In one transaction with key-values: all of it or nothing.
    let txn = |ops: Value| json!({"op": "txn", "ns": "rooms", "obj": "lobby", "ops": ops}).to_string();
    let done = exec.done(&txn(json!([
        {"op": "sql", "query": "DELETE FROM t WHERE id > ?1", "params": [1]},
        {"op": "put", "key": "k", "value": "v"},
        {"op": "sql", "query": "SELECT count(*) FROM t"}])));
    assert_eq!(
        (&done["seq"], &done["results"][0]["rows_written"], &done["results"][1]["rows"]),
        (&json!(11), &json!(9), &json!([[1]]))
    );
    exec.refused(
        &txn(json!([{"op": "put", "key": "k", "value": "w"}, {"op": "sql", "query": "INSERT INTO t VALUES (1, 1)"}])),
        "SqlConstraint",
    );
    assert_eq!(exec.done(r#"{"op":"get","ns":"rooms","obj":"lobby","key":"k"}"#)["value"], "v");
    let plain = exec.done(&txn(json!([{"op": "put", "key": "k", "value": "w"}])));
    assert_eq!(plain.get("results"), None);
    let many = json!({"op": "many", "txns": [
        {"ns": "rooms", "obj": "lobby", "ops": [{"op": "sql", "query": "SELECT count(*) FROM t"}]},
        {"ns": "rooms", "obj": "other", "ops": [{"op": "put", "key": "k", "value": "v"}]}]});
    let many = exec.done(&many.to_string());
    assert_eq!((&many["results"][0][0]["rows"], &many["results"][1]), (&json!([[1]]), &json!([])));
    assert_eq!(exec.end(), 0);
}

#[test]
fn databases_are_dumped_and_what_looks_at_history_knows_pages() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path());
    let entries = dump(dir.path());
    assert_eq!(entries[0], json!({"ns": "rooms", "obj": "lobby", "key": "k", "value": "v", "seq": 3}));
    let pages: Vec<&Value> = entries[1..].iter().collect();
    assert_eq!(pages.iter().map(|page| page["page"].as_u64().unwrap()).collect::<Vec<_>>(), [1, 2]);
    assert!(pages.iter().all(|page| page["b64"].as_str().unwrap().len() == 5464 && page["obj"] == "lobby"));
    let objects = lines(&stdout(&["objects", "--dir", text(dir.path()), "--ns", "rooms", "--json"]));
    assert_eq!(objects[0]["bytes"], 2 + 2 * 4100);
    let shown = |seq: &str| lines(&stdout(&args(dir.path(), "show", &[seq, "--json"]))).remove(0);
    assert_eq!(shown("2")["changes"], 2);
    let wrote = shown("2")["wrote"].clone();
    assert_eq!(
        (&wrote[0]["op"], &wrote[0]["page"], &wrote[1]["page"]),
        (&json!("page"), &json!(1), &json!(2))
    );
    let small = shown("3")["wrote"].clone();
    assert!(small.as_array().unwrap().iter().all(|page| page["bytes"].as_u64().unwrap() < 200), "{small}");
    assert!(stdout(&args(dir.path(), "show", &["3"])).contains("\"op\":\"page\""));
    assert_eq!(lines(&stdout(&args(dir.path(), "blame", &["k", "--json"]))).len(), 1);
    assert!(stdout(&args(dir.path(), "diff", &["1", "1"])).is_empty());
    stdout(&args(dir.path(), "diff", &["1", "3"]));
    stdout(&args(dir.path(), "at", &["--at", "2", "dump"]));
    stdout(&args(dir.path(), "restore", &["--at", "2"]));
    assert_eq!(sql(dir.path(), &["--csv", "SELECT count(*) AS n FROM message"]), "n\n2\n");
}

#[test]
fn differences_name_tables_and_tell_rows() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("data");
    filled(&dir);
    let diff = |more: &[&str]| stdout(&args(&dir, "diff", more));
    assert_eq!(diff(&["1", "2"]), "table \"message\" was added\n");
    assert_eq!(diff(&["2", "3"]), "table \"message\" is different\n");
    assert_eq!(
        lines(&diff(&["2", "3", "--json"])),
        [json!({"table": "message", "before": true, "after": true})]
    );
    assert_eq!(diff(&["2", "3", "--table", "message"]), "+ [3,\"bye\",null]\n");
    let rows = lines(&diff(&["3", "1", "--table", "message", "--json"]));
    assert_eq!(rows.len(), 3);
    let second = json!([2, "a \"b\", c", {"b64": "/wA="}]);
    assert_eq!(rows[1], json!({"table": "message", "key": [2], "before": second, "after": null}));
    assert_eq!(code(&run(&args(&dir, "diff", &["2", "3", "--table", "never"]))), 1);
    let plan = stdout(&args(&dir, "restore", &["--at", "2", "--dry-run"]));
    assert!(plan.contains("0 keys added") && plan.contains("table \"message\" is different"), "{plan}");

    let mut exec = Exec::start(&dir);
    let told = exec.done(r#"{"op":"diff","ns":"rooms","obj":"lobby","from":2,"to":3}"#);
    assert_eq!(told["tables"], json!([{"table": "message", "before": true, "after": true}]));
    let told = exec.done(r#"{"op":"diff","ns":"rooms","obj":"lobby","from":1,"table":"message","limit":2}"#);
    assert_eq!((told["rows"].as_array().unwrap().len(), &told["more"]), (2, &json!(true)));
    let told = exec.done(r#"{"op":"diff","ns":"rooms","obj":"lobby","from":1,"table":"message","limit":3}"#);
    assert_eq!((told["rows"][2]["after"].clone(), &told["more"]), (json!([3, "bye", null]), &json!(false)));
    assert_eq!(exec.end(), 0);
}
