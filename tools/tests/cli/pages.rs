//! Listings in pages, pins, commits and many restores through `exec`; and what changes nothing.

use serde_json::{Value, json};

use crate::{
    history::filled,
    support::{Exec, code, image, run, stdout, text},
};

fn on_lobby(op: &str, more: &Value) -> String {
    let mut request = json!({"op": op, "ns": "rooms", "obj": "lobby"});
    request.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    request.to_string()
}

/// Asks page after page of one item each, and gives all of them.
fn pages(exec: &mut Exec, op: &str, list: &str, more: &Value) -> Vec<Value> {
    let (mut all, mut after) = (Vec::new(), Value::Null);
    loop {
        let mut more = more.clone();
        more["limit"] = json!(1);
        more["after"] = after;
        let page = exec.done(&on_lobby(op, &more));
        let items = page[list].as_array().unwrap();
        assert!(items.len() <= 1 && all.len() < 10, "{op} goes on");
        all.extend(items.iter().cloned());
        after = page["next"].clone();
        if after.is_null() {
            return all;
        }
    }
}

#[test]
fn pages_together_are_the_whole_listing() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path());
    let mut exec = Exec::start(dir.path());
    let cases = [
        ("history", "commits", json!({}), 3),
        ("history", "commits", json!({"reverse": true}), 3),
        ("history", "commits", json!({"from": 2}), 2),
        ("blame", "commits", json!({"key": "topic"}), 2),
        ("diff", "differences", json!({"from": 1}), 2),
    ];
    for (op, list, more, count) in cases {
        let all = exec.done(&on_lobby(op, &more));
        assert_eq!(all["next"], Value::Null);
        assert_eq!(pages(&mut exec, op, list, &more), *all[list].as_array().unwrap(), "{op} {more}");
        assert_eq!(all[list].as_array().unwrap().len(), count);
    }
    assert_eq!(exec.end(), 0);
}

#[test]
fn exec_tells_what_a_commit_wrote_and_keeps_pins() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path());
    let mut exec = Exec::start(dir.path());
    let first = exec.done(&on_lobby("changes", &json!({"seq": 1})));
    assert_eq!((&first["seq"], &first["cause"], &first["changes"]), (&json!(1), &json!("open"), &json!(2)));
    assert_eq!(first["wrote"][0], json!({"op": "put", "key": "topic", "value": "hello"}));
    exec.refused(&on_lobby("changes", &json!({"seq": 9})), "NotFound");

    assert_eq!(exec.done(&on_lobby("pins", &json!({})))["pins"], json!([]));
    let pinned = exec.done(&on_lobby("pin", &json!({"name": "start", "at": 1})));
    assert_eq!((&pinned["name"], &pinned["seq"]), (&json!("start"), &json!(1)));
    assert_eq!(exec.done(&on_lobby("pin", &json!({"name": "now"})))["seq"], 3);
    let pins = exec.done(&on_lobby("pins", &json!({})));
    let names: Vec<&Value> = pins["pins"].as_array().unwrap().iter().map(|pin| &pin["name"]).collect();
    assert_eq!(names, ["now", "start"]);
    assert_eq!(pins["pins"][1]["bookmark"], pinned["bookmark"]);
    exec.refused(r#"{"op":"purge","ns":"rooms","obj":"lobby"}"#, "HasForks");
    assert_eq!(exec.done(&on_lobby("unpin", &json!({"name": "start"})))["was_there"], true);
    assert_eq!(exec.done(&on_lobby("unpin", &json!({"name": "start"})))["was_there"], false);
    exec.refused(&on_lobby("pin", &json!({"name": "late", "at": 9})), "BookmarkFuture");
    assert_eq!(exec.end(), 0);
}

#[test]
fn exec_restores_many_objects_and_says_first_what_it_would_do() {
    let dir = tempfile::tempdir().unwrap();
    let mut exec = Exec::start(dir.path());
    let put = |obj: &str, value: &str| {
        json!({"op": "put", "ns": "n", "obj": obj, "key": "k", "value": value}).to_string()
    };
    for obj in ["a/1", "a/2", "b/1"] {
        exec.done(&put(obj, "before"));
    }
    let moment = exec.done(r#"{"op":"bookmark","ns":"n","obj":"b/1"}"#)["time"].clone();
    std::thread::sleep(std::time::Duration::from_millis(5));
    for obj in ["a/1", "b/1", "a/new"] {
        exec.done(&put(obj, "after"));
    }
    let many = |more: Value| {
        let mut request = json!({"op": "restore_many", "ns": "n", "at": moment});
        request.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        request.to_string()
    };
    let counts = |reply: &Value| {
        ["restored", "deleted", "unchanged", "failed"].map(|what| reply[what].as_u64().unwrap())
    };
    let planned = exec.done(&many(json!({"prefix": "a/", "dry_run": true})));
    assert_eq!(counts(&planned), [1, 1, 1, 0]);
    assert_eq!(planned["objects"].as_array().unwrap().len(), 2);
    let get = r#"{"op":"get","ns":"n","obj":"a/1","key":"k"}"#;
    assert_eq!(exec.done(get)["value"], "after", "a plan changes nothing");
    // What requests before it wrote is seen.
    exec.send(&put("a/1", "later"));
    exec.send(&many(json!({"prefix": "a/", "limit": 1})));
    exec.receive().unwrap();
    let done = exec.receive().unwrap();
    assert_eq!((counts(&done), done["objects"].as_array().unwrap().len()), ([1, 1, 1, 0], 1));
    assert_eq!(exec.done(get)["value"], "before");
    assert_eq!(counts(&exec.done(&many(json!({"objs": ["a/1", "b/1"]})))), [1, 0, 1, 0]);
    assert_eq!(counts(&exec.done(&many(json!({"all": true})))), [0, 0, 4, 0]);
    exec.refused(r#"{"op":"restore_many","ns":"nowhere","all":true,"at":"1h ago"}"#, "NotFound");
    exec.refused(&many(json!({"all": true, "prefix": "a"})), "Malformed");
    assert_eq!(exec.end(), 0);
}

#[test]
fn a_fork_that_is_refused_makes_no_namespace() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path());
    let mut exec = Exec::start(dir.path());
    let other = exec.done(r#"{"op":"bookmark","ns":"rooms","obj":"attic"}"#)["bookmark"].clone();
    let to = json!({"ns": "fresh", "obj": "copy"});
    exec.refused(&on_lobby("fork", &json!({"at": other, "to": to})), "BookmarkOtherObject");
    exec.refused(&on_lobby("fork", &json!({"at": 1, "to": to, "cause": "x".repeat(5_000)})), "TooLarge");
    assert_eq!(exec.end(), 0);
    let path = text(dir.path());
    let fork = |at: &str| {
        let to = ["--to", "copy", "--to-ns", "fresh"];
        let from = ["fork", "--dir", path, "--ns", "rooms", "--object", "lobby", "--at", at];
        code(&run(&[&from[..], &to].concat()))
    };
    assert_eq!(fork(other.as_str().unwrap()), 2);
    assert_eq!(code(&run(&["retention", "--dir", path, "--ns", "fresh"])), 8, "there is no such namespace");
    assert_eq!(fork("1"), 0);
    assert_eq!(code(&run(&["retention", "--dir", path, "--ns", "fresh"])), 0);
}

#[test]
fn a_dry_run_of_pin_and_unpin_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path());
    let path = text(dir.path());
    let lobby = |command: &str, more: &[&str]| {
        run(&[&[command, "--dir", path, "--ns", "rooms", "--object", "lobby"][..], more].concat())
    };
    let before = image(dir.path());
    let said = lobby("pin", &["start", "--at", "1", "--dry-run"]);
    assert_eq!(code(&said), 0);
    assert!(String::from_utf8(said.stdout).unwrap().contains("nothing was done"));
    assert_eq!(code(&lobby("pin", &["late", "--at", "9", "--dry-run"])), 8);
    assert_eq!(code(&lobby("unpin", &["start", "--dry-run"])), 8);
    assert_eq!(image(dir.path()), before);
    assert_eq!(code(&lobby("pin", &["start", "--at", "1"])), 0);
    let before = image(dir.path());
    assert_eq!(code(&lobby("unpin", &["start", "--dry-run"])), 0);
    assert_eq!(image(dir.path()), before);
    let pins = stdout(&["pins", "--dir", path, "--ns", "rooms", "--object", "lobby"]);
    assert!(pins.contains("start"));
}
