//! Looking at what was: the commands, and the same through `exec`.

use std::path::Path;

use serde_json::{Value, json};

use crate::support::{Exec, code, image, run, stdout, text};

/// Three commits: two keys, one of them changed, one of them gone.
pub(crate) fn filled(dir: &Path) {
    let mut exec = Exec::start(dir);
    let txn = |cause: &str, ops: Value| {
        json!({"op": "txn", "ns": "rooms", "obj": "lobby", "cause": cause, "ops": ops}).to_string()
    };
    let put = |key: &str, value: &str| json!({"op": "put", "key": key, "value": value});
    exec.done(&txn("open", json!([put("topic", "hello"), put("open", "yes")])));
    exec.done(&txn("rename", json!([put("topic", "welcome")])));
    exec.done(&txn("close", json!([{"op": "delete", "key": "open"}])));
    exec.done(r#"{"op":"put","ns":"rooms","obj":"attic","key":"k","value":"v"}"#);
    assert_eq!(exec.end(), 0);
}

/// Runs a command on the lobby.
fn on_lobby(dir: &Path, command: &str, more: &[&str]) -> String {
    let args = [&[command, "--dir", text(dir), "--ns", "rooms", "--object", "lobby"], more].concat();
    stdout(&args)
}

fn json_lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn commits_are_listed_shown_and_blamed() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path());
    let before = image(dir.path());
    let lobby = |command: &str, more: &[&str]| on_lobby(dir.path(), command, more);

    let all = json_lines(&lobby("history", &["--json"]));
    let of = |name: &str| all.iter().map(|commit| commit[name].clone()).collect::<Vec<_>>();
    assert_eq!(of("seq"), [3, 2, 1]);
    assert_eq!(of("cause"), ["close", "rename", "open"]);
    assert_eq!(of("changes"), [1, 1, 2]);
    assert_eq!(of("kind"), ["user", "user", "user"]);
    assert_eq!(all[0]["hash"].as_str().unwrap().len(), 64);
    let seqs = |more: &[&str]| -> Vec<u64> {
        let mut args = vec!["--json"];
        args.extend(more);
        json_lines(&lobby("history", &args)).iter().map(|commit| commit["seq"].as_u64().unwrap()).collect()
    };
    assert_eq!(seqs(&["--reverse"]), [1, 2, 3]);
    assert_eq!(seqs(&["--limit", "1"]), [3]);
    assert_eq!(seqs(&["--from", "2"]), [3, 2]);
    assert_eq!(seqs(&["--to", "2", "--from", "2"]), [2]);
    let time = all[1]["time"].as_str().unwrap();
    assert_eq!(seqs(&["--since", time]), [3, 2]);
    assert_eq!(seqs(&["--until", time]), [2, 1]);
    assert_eq!(seqs(&["--until", "1h ago"]), [0; 0]);
    let plain = lobby("history", &[]);
    assert!(plain.lines().next().unwrap().ends_with("close") && plain.contains("2 changes"), "{plain}");

    let shown = json_lines(&lobby("show", &["2", "--json"])).remove(0);
    assert_eq!(shown["wrote"], json!([{"op": "put", "key": "topic", "value": "welcome"}]));
    assert_eq!((&shown["cause"], &shown["hash"]), (&json!("rename"), &all[1]["hash"]));
    let mark = shown["bookmark"].as_str().unwrap();
    assert_eq!(json_lines(&lobby("show", &[mark, "--json"])).remove(0), shown);
    assert!(lobby("show", &["3"]).contains(r#"{"op":"delete","key":"open"}"#));

    let blamed = |key: &str| -> Vec<Value> {
        json_lines(&lobby("blame", &[key, "--json"])).iter().map(|commit| commit["seq"].clone()).collect()
    };
    assert_eq!(blamed("topic"), [2, 1]);
    assert_eq!(blamed("open"), [3, 1]);
    assert_eq!(blamed("nothing"), [0; 0]);
    assert_eq!(image(dir.path()), before, "reading commands change nothing");
}

#[test]
fn an_object_is_read_as_it_was_and_compared() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path());
    let lobby = |command: &str, more: &[&str]| on_lobby(dir.path(), command, more);

    assert_eq!(lobby("at", &["--at", "1", "get", "topic"]), "hello");
    let mark = lobby("bookmark", &["--at", "1"]);
    assert_eq!(lobby("at", &["--at", mark.trim(), "get", "topic"]), "hello");
    assert_eq!(lobby("at", &["--at", "now", "get", "topic"]), "welcome");
    let got = json_lines(&lobby("at", &["--at", "2", "get", "open", "--json"]));
    assert_eq!(got, [json!({"value": "yes", "seq": 2})]);
    let listed = json_lines(&lobby("at", &["--at", "2", "list", "--json"]));
    assert_eq!(listed, [json!({"key": "open", "value": "yes"}), json!({"key": "topic", "value": "welcome"})]);
    assert_eq!(lobby("at", &["--at", "2", "list", "--prefix", "t"]), "\"topic\" = \"welcome\"\n");
    assert_eq!(lobby("at", &["--at", "2", "list", "--reverse", "--limit", "1"]).lines().count(), 1);
    let dumped = json_lines(&lobby("at", &["--at", "1", "dump"]));
    assert_eq!(dumped[1], json!({"ns": "rooms", "obj": "lobby", "key": "topic", "value": "hello", "seq": 1}));
    assert_eq!(dumped[2]["entries"], 2);
    // The newest state dumps as `lineal dump` dumps it.
    assert_eq!(lobby("at", &["--at", "3", "dump"]), lobby("dump", &[]));

    let newest = json_lines(&lobby("bookmark", &["--json"])).remove(0);
    assert_eq!(newest["seq"], 3);
    assert_eq!(lobby("bookmark", &["--at", "3"]).trim(), newest["bookmark"].as_str().unwrap());

    let changed = json_lines(&lobby("diff", &["1", "3", "--json"]));
    let open = json!({"key": "open", "before": "yes", "after": null});
    assert_eq!(changed, [open, json!({"key": "topic", "before": "hello", "after": "welcome"})]);
    assert_eq!(lobby("diff", &["2"]), "- \"open\" = \"yes\"\n");
    assert_eq!(lobby("diff", &["3", "2"]), "+ \"open\" = \"yes\"\n");
    assert_eq!(lobby("diff", &["3", "3"]), "");
}

#[test]
fn what_is_no_point_in_the_history_has_its_exit_code() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path());
    let other = stdout(&["bookmark", "--dir", text(dir.path()), "--ns", "rooms", "--object", "attic"]);
    let other = other.trim();
    for (wanted, command, more) in [
        (2, "show", &["yesterday"][..]),
        (2, "show", &["lm1"]),
        (2, "history", &["--since", "17"]),
        (2, "at", &["--at", "1"]),
        (2, "at", &["--at", other, "get", "k"]),
        (2, "diff", &[other]),
        (2, "diff", &[]),
        (8, "show", &["4"]),
        (8, "show", &["0"]),
        (8, "at", &["--at", "9", "list"]),
        (8, "at", &["--at", "1h ago", "list"]),
        (8, "at", &["--at", "1", "get", "nothing"]),
        (8, "diff", &["1", "4"]),
        (8, "bookmark", &["--at", "1h ago"]),
    ] {
        let args =
            [&[command, "--dir", text(dir.path()), "--ns", "rooms", "--object", "lobby"], more].concat();
        let output = run(&args);
        assert_eq!(code(&output), wanted, "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        assert!(output.stdout.is_empty() && !output.stderr.is_empty(), "{args:?}");
    }
    for command in ["history", "blame", "bookmark"] {
        let mut args = vec![command, "--dir", text(dir.path()), "--ns", "rooms", "--object", "nobody"];
        args.extend((command == "blame").then_some("k"));
        assert_eq!(code(&run(&args)), 8, "{command}");
    }
    let output =
        run(&["show", "--dir", text(dir.path()), "--ns", "rooms", "--object", "lobby", "9", "--json"]);
    let error: Value = serde_json::from_slice(&output.stderr).unwrap();
    assert_eq!(error["error"], "BookmarkFuture");
    assert!(error["message"].as_str().unwrap().contains("lm1"), "it offers what is there: {error}");
}

#[test]
fn a_restore_tells_first_what_it_would_do_and_then_how_to_undo_it() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path());
    let lobby = |command: &str, more: &[&str]| on_lobby(dir.path(), command, more);
    let before = image(dir.path());
    let plan = json_lines(&lobby("restore", &["--at", "1", "--dry-run", "--json"])).remove(0);
    assert_eq!((&plan["added"], &plan["changed"], &plan["removed"]), (&json!(1), &json!(1), &json!(0)));
    assert!(lobby("restore", &["--at", "1", "--dry-run"]).contains("1 keys added, 1 changed, 0 removed"));
    assert_eq!(image(dir.path()), before, "a dry run changes nothing");

    let done = json_lines(&lobby("restore", &["--at", "1", "--cause", "ticket", "--json"])).remove(0);
    assert_eq!((&done["restored_to"], &done["undo"]["seq"]), (&json!(1), &json!(3)));
    assert_eq!(lobby("get", &["topic"]), "hello");
    let newest = json_lines(&lobby("history", &["--limit", "1", "--json"])).remove(0);
    assert_eq!((&newest["kind"], &newest["cause"]), (&json!("restore"), &json!("ticket")));
    assert!(lobby("show", &["4"]).contains(r#"{"op":"restore","from_seq":1}"#));
    let undo = done["undo"]["bookmark"].as_str().unwrap();
    let printed = lobby("restore", &["--at", undo]);
    assert_eq!(lobby("get", &["topic"]), "welcome");
    assert_eq!(lobby("diff", &["3", "5"]), "");
    let redo = printed.lines().nth(1).unwrap();
    assert!(lobby("restore", &["--at", redo]).contains("after commit 4"));
    assert_eq!(lobby("get", &["topic"]), "hello");
}

#[test]
fn an_object_is_forked_and_points_of_it_are_pinned() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path());
    let lobby = |command: &str, more: &[&str]| on_lobby(dir.path(), command, more);
    let at = text(dir.path());
    let before = image(dir.path());
    let plan = json_lines(&lobby("fork", &["--at", "1", "--to", "copy", "--dry-run", "--json"])).remove(0);
    assert_eq!((&plan["from"]["seq"], &plan["obj"]), (&json!(1), &json!("copy")));
    assert_eq!(image(dir.path()), before, "a dry run changes nothing");
    let done = json_lines(&lobby("fork", &["--at", "1", "--to", "copy", "--json"])).remove(0);
    assert_eq!((&done["from"]["seq"], &done["first"]["seq"]), (&json!(1), &json!(1)));
    assert_eq!(stdout(&["get", "--dir", at, "--ns", "rooms", "--object", "copy", "topic"]), "hello");
    assert!(lobby("fork", &["--at", "2", "--to", "copy", "--to-ns", "elsewhere"]).contains("elsewhere"));
    for more in [&["--dry-run"][..], &[]] {
        let args =
            [&["fork", "--dir", at, "--ns", "rooms", "--object", "lobby", "--at", "2", "--to", "copy"], more];
        assert_eq!(code(&run(&args.concat())), 1, "the target has a history");
    }

    lobby("pin", &["first", "--at", "1"]);
    let pinned = json_lines(&lobby("pin", &["newest", "--json"])).remove(0);
    assert_eq!((&pinned["name"], &pinned["seq"]), (&json!("newest"), &json!(3)));
    let pins = json_lines(&lobby("pins", &["--json"]));
    assert_eq!(pins.iter().map(|pin| pin["name"].clone()).collect::<Vec<_>>(), ["first", "newest"]);
    assert_eq!(pins[1], pinned);
    assert!(lobby("pins", &[]).starts_with("\"first\"  commit 1  lm1"));
    lobby("unpin", &["first"]);
    assert_eq!(lobby("pins", &[]).lines().count(), 1);
    assert_eq!(code(&run(&["unpin", "--dir", at, "--ns", "rooms", "--object", "lobby", "first"])), 8);
    for command in ["restore", "fork", "pin", "unpin"] {
        let mut args = vec![command, "--dir", "missing", "--ns", "rooms", "--object", "lobby"];
        args.extend(["--at", "1"].iter().filter(|_| command != "unpin"));
        args.extend(if command == "fork" { vec!["--to", "x"] } else { Vec::new() });
        args.extend(command.ends_with("pin").then_some("name"));
        assert_eq!(code(&run(&args)), 8, "{command}");
    }
    assert!(!Path::new("missing").exists());
}

#[test]
fn exec_restores_and_forks() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path());
    let mut exec = Exec::start(dir.path());
    let restored =
        exec.done(r#"{"op":"restore","ns":"rooms","obj":"lobby","at":1,"cause":"back","expect_seq":3}"#);
    assert_eq!((&restored["seq"], &restored["undo"]["seq"]), (&json!(4), &json!(3)));
    let get = |obj: &str| json!({"op": "get", "ns": "rooms", "obj": obj, "key": "topic"}).to_string();
    let read = exec.done(&get("lobby"));
    assert_eq!((&read["value"], &read["lsn"]), (&json!("hello"), &restored["lsn"]));
    exec.refused(r#"{"op":"restore","ns":"rooms","obj":"lobby","at":1,"expect_seq":3}"#, "Conflict");
    let undo = json!({"op": "restore", "ns": "rooms", "obj": "lobby", "at": restored["undo"]["bookmark"]});
    exec.done(&undo.to_string());
    assert_eq!(exec.done(&get("lobby"))["value"], "welcome");
    let fork = r#"{"op":"fork","ns":"rooms","obj":"lobby","at":1,"to":{"ns":"rooms","obj":"copy"}}"#;
    assert_eq!(exec.done(fork)["seq"], 1);
    assert_eq!(exec.done(&get("copy"))["value"], "hello");
    exec.refused(fork, "NotEmpty");
    exec.refused(r#"{"op":"restore","ns":"rooms","obj":"copy","at":9}"#, "BookmarkFuture");
    assert_eq!(exec.end(), 0);
}

#[test]
fn exec_looks_back_as_well() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path());
    let mut exec = Exec::start(dir.path());
    let ask = |op: &str, more: Value| {
        let mut request = json!({"op": op, "ns": "rooms", "obj": "lobby"});
        request.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        request.to_string()
    };
    let seqs = |reply: &Value| -> Vec<u64> {
        reply["commits"].as_array().unwrap().iter().map(|commit| commit["seq"].as_u64().unwrap()).collect()
    };
    // A reply tells of what requests before it wrote.
    exec.send(r#"{"op":"put","ns":"rooms","obj":"lobby","key":"topic","value":"bye"}"#);
    exec.send(&ask("history", json!({})));
    assert_eq!(exec.receive().unwrap()["seq"], 4);
    let all = exec.receive().unwrap();
    assert_eq!((seqs(&all), &all["next"]), (vec![4, 3, 2, 1], &Value::Null));
    assert_eq!(all["commits"][1]["cause"], "close");
    let page = exec.done(&ask("history", json!({"limit": 2, "reverse": true})));
    assert_eq!((seqs(&page), &page["next"]), (vec![1, 2], &json!(2)));
    let rest = exec.done(&ask("history", json!({"after": page["next"], "to": 3, "reverse": true})));
    assert_eq!(seqs(&rest), [3]);
    assert_eq!(seqs(&exec.done(&ask("history", json!({"until": "1h ago"})))), [0; 0]);
    assert_eq!(seqs(&exec.done(&ask("blame", json!({"key": "topic"})))), [4, 2, 1]);
    assert_eq!(seqs(&exec.done(&ask("blame", json!({"key": "topic", "limit": 1})))), [4]);

    let mark = exec.done(&ask("bookmark", json!({})));
    assert_eq!((&mark["seq"], &mark["lsn"]), (&json!(4), &all["commits"][0]["lsn"]));
    let first = exec.done(&ask("bookmark", json!({"at": 1})));
    let then = exec.done(&ask("at", json!({"at": first["bookmark"], "key": "topic"})));
    assert_eq!((&then["value"], &then["seq"]), (&json!("hello"), &json!(1)));
    assert_eq!(exec.done(&ask("at", json!({"at": 3, "key": "open"})))["value"], Value::Null);
    let listed = exec.done(&ask("at", json!({"at": 1, "prefix": "o"})));
    assert_eq!(listed["entries"], json!([{"key": "open", "value": "yes"}]));

    let diff = exec.done(&ask("diff", json!({"from": 2})));
    assert_eq!((&diff["from_seq"], &diff["to_seq"]), (&json!(2), &json!(4)));
    let open = json!({"key": "open", "before": "yes", "after": null});
    let topic = json!({"key": "topic", "before": "welcome", "after": "bye"});
    assert_eq!(diff["differences"], json!([open, topic]));
    let one = exec.done(&ask("diff", json!({"from": 4, "to": 2, "limit": 1})));
    assert_eq!(one["differences"], json!([{"key": "open", "before": null, "after": "yes"}]));

    exec.refused(&ask("at", json!({"at": 9, "key": "k"})), "BookmarkFuture");
    exec.refused(&ask("at", json!({"at": "2h ago", "key": "k"})), "BeforeFirst");
    exec.refused(&ask("diff", json!({"from": "whenever"})), "Malformed");
    exec.refused(r#"{"op":"history","ns":"rooms","obj":"nobody"}"#, "NotFound");
    exec.refused(r#"{"op":"bookmark","ns":"nowhere","obj":"lobby"}"#, "NotFound");
    assert_eq!(exec.end(), 0);
}

#[test]
fn many_objects_go_back_to_one_moment_and_the_run_can_be_repeated() {
    let dir = tempfile::tempdir().unwrap();
    let mut exec = Exec::start(dir.path());
    for object in ["a/1", "a/2", "b/1"] {
        exec.done(&format!(r#"{{"op":"put","ns":"n","obj":"{object}","key":"k","value":"before"}}"#));
    }
    exec.done(r#"{"op":"put","ns":"n","obj":"last","key":"k","value":"before"}"#);
    let mark = exec.done(r#"{"op":"bookmark","ns":"n","obj":"last"}"#);
    let moment = mark["time"].as_str().unwrap().to_owned();
    std::thread::sleep(std::time::Duration::from_millis(5));
    for object in ["a/1", "b/1", "a/new"] {
        exec.done(&format!(r#"{{"op":"put","ns":"n","obj":"{object}","key":"k","value":"after"}}"#));
    }
    exec.kill();
    let at = text(dir.path());
    let restore = |selection: &[&str]| {
        let args = [&["restore", "--dir", at, "--ns", "n", "--at", moment.as_str(), "--json"][..], selection]
            .concat();
        let said = stdout(&args);
        let lines: Vec<Value> = said.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        lines.last().unwrap().clone()
    };
    let planned = restore(&["--prefix", "a/", "--dry-run"]);
    assert_eq!((planned["restored"].as_u64(), planned["deleted"].as_u64()), (Some(1), Some(1)));
    let done = restore(&["--prefix", "a/"]);
    assert_eq!((done["restored"].as_u64(), done["deleted"].as_u64()), (Some(1), Some(1)));
    assert_eq!(stdout(&["get", "--dir", at, "--ns", "n", "--object", "a/1", "k"]), "before");
    assert_eq!(stdout(&["get", "--dir", at, "--ns", "n", "--object", "b/1", "k"]), "after");
    let all = restore(&["--all"]);
    assert_eq!(all["restored"].as_u64(), Some(1), "{all}");
    assert_eq!(stdout(&["get", "--dir", at, "--ns", "n", "--object", "b/1", "k"]), "before");
    let seq = ["restore", "--dir", at, "--ns", "n", "--all", "--at", "1"];
    assert_eq!(code(&run(&seq)), 2, "many objects have no common commit number");
}

#[test]
fn retention_is_set_and_packs_are_merged() {
    let dir = tempfile::tempdir().unwrap();
    let mut exec = Exec::start(dir.path());
    exec.done(r#"{"op":"put","ns":"n","obj":"o","key":"k","value":"v"}"#);
    exec.kill();
    let at = text(dir.path());
    let keep = |more: &[&str]| stdout(&[&["retention", "--dir", at, "--ns", "n"][..], more].concat());
    assert!(keep(&[]).contains("30 days"));
    assert!(keep(&["--days", "90", "--dry-run"]).contains("90 days"));
    assert!(keep(&[]).contains("30 days"), "a dry run changes nothing");
    assert!(keep(&["--days", "7", "--bytes", "1000"]).contains("7 days, and up to 1000 bytes"));
    assert!(keep(&["--forever"]).contains("for ever"));
    assert!(!keep(&[]).contains("headers"));
    assert!(keep(&["--lineage", "forever", "--dry-run"]).contains("headers"));
    assert!(!keep(&[]).contains("headers"), "a dry run changes nothing");
    assert!(keep(&["--lineage", "forever", "--days", "3"]).contains("3 days, and the headers of all older"));
    let json: Value = serde_json::from_str(&keep(&["--json"])).unwrap();
    assert_eq!((&json["lineage"], &json["seconds"]), (&json!("forever"), &json!(3 * 86_400)));
    assert!(!keep(&["--lineage", "anchor"]).contains("headers"));
    assert_eq!(code(&run(&["retention", "--dir", at, "--ns", "missing"])), 8);
    assert!(stdout(&["compact", "--dir", at, "--dry-run"]).contains("nothing was done"));
    let merged: Value = serde_json::from_str(&stdout(&["compact", "--dir", at, "--json"])).unwrap();
    assert_eq!(merged["packs"].as_u64(), Some(1));
    stdout(&["verify", "--dir", at]);
}

#[test]
fn what_is_purged_is_gone_from_every_file_after_compact_and_verify_proves_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = text(dir.path());
    filled(dir.path());
    assert!(stdout(&["verify", "--dir", path, "--purged"]).contains("no object was purged"));
    // What no codec shortens: the digits of a long product.
    let mut number = 0x1234_5678_9abc_def1_u64;
    let secret: String = (0..300)
        .map(|_| {
            number = number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            format!("{number:016x}")
        })
        .collect();
    let mut exec = Exec::start(dir.path());
    let put = json!({"op": "put", "ns": "rooms", "obj": "vault", "key": "k", "value": secret});
    exec.done(&put.to_string());
    exec.done(r#"{"op":"put","ns":"rooms","obj":"vault","key":"l","value":"swordfish swordfish swordfish swordfish"}"#);
    exec.done(r#"{"op":"checkpoint"}"#);
    exec.done(r#"{"op":"purge","ns":"rooms","obj":"vault"}"#);
    exec.kill();
    let holds = |what: &str| {
        let holds = |bytes: &[u8]| bytes.windows(what.len()).any(|window| window == what.as_bytes());
        image(dir.path()).iter().filter(|(_, bytes)| holds(bytes)).count()
    };
    assert!(holds("swordfish") > 0);
    let left = run(&["verify", "--dir", path, "--purged"]);
    assert_eq!(code(&left), 1);
    let said = String::from_utf8(left.stdout).unwrap();
    assert!(said.contains("log/") && said.contains("packs/") && said.contains("lineal compact"), "{said}");
    let left = run(&["verify", "--dir", path, "--purged", "--json"]);
    assert_eq!(code(&left), 1);
    let said: Value = serde_json::from_slice(&left.stdout).unwrap();
    assert_eq!((&said["ok"], &said["objects"]), (&json!(false), &json!(1)));

    stdout(&["compact", "--dir", path]);
    let clean: Value =
        serde_json::from_str(&stdout(&["verify", "--dir", path, "--purged", "--json"])).unwrap();
    assert_eq!((&clean["ok"], &clean["found"]), (&json!(true), &json!([])), "{clean}");
    assert!(stdout(&["verify", "--dir", path, "--purged"]).contains("nothing is left"));
    for at in (0..secret.len() - 32).step_by(32) {
        assert_eq!(holds(&secret[at..at + 32]), 0);
    }
    assert_eq!(holds("swordfish"), 0);
    stdout(&["verify", "--dir", path]);
    assert_eq!(on_lobby(dir.path(), "get", &["topic"]), "welcome");
}
