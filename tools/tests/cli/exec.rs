//! The protocol of `lineal exec`.

use std::{
    io::{BufRead, Write},
    process::Stdio,
    thread,
};

use serde_json::{Value, json};

use crate::support::{Exec, dump, image, lineal, text};

fn put(key: &str, value: &str) -> String {
    json!({"op": "put", "ns": "rooms", "obj": "lobby", "key": key, "value": value}).to_string()
}

fn get(key: &str) -> String {
    json!({"op": "get", "ns": "rooms", "obj": "lobby", "key": key}).to_string()
}

#[test]
fn every_op_answers_as_the_help_says() {
    let dir = tempfile::tempdir().unwrap();
    let mut exec = Exec::start(&dir.path().join("new"));

    let first = exec.done(&put("k", "v"));
    assert_eq!(first["seq"], 1);
    assert!(first["lsn"].as_u64().unwrap() > 0);
    let read = exec.done(&get("k"));
    assert_eq!((&read["value"], &read["seq"], &read["lsn"]), (&json!("v"), &json!(1), &first["lsn"]));
    assert_eq!(exec.done(&get("missing"))["value"], Value::Null);
    let nowhere = exec.done(r#"{"op":"get","ns":"nowhere","obj":"o","key":"k"}"#);
    assert_eq!((&nowhere["value"], &nowhere["seq"]), (&Value::Null, &json!(0)));

    let txn = exec.done(
        r#"{"op":"txn","ns":"rooms","obj":"lobby","cause":"test","ops":[{"op":"put","key":"a","value":"1"},
            {"op":"put","key":"b","value":"2"},{"op":"delete","key":"k"}]}"#
            .replace('\n', " ")
            .as_str(),
    );
    assert_eq!(txn["seq"], 2);
    assert!(txn["lsn"].as_u64() > first["lsn"].as_u64());
    assert_eq!(exec.done(&get("k"))["value"], Value::Null);

    let entries = |reply: Value| reply["entries"].clone();
    let list = |more: &str| format!(r#"{{"op":"list","ns":"rooms","obj":"lobby"{more}}}"#);
    exec.done(&put("ab", "3"));
    let (a, ab, b) =
        (json!({"key":"a","value":"1"}), json!({"key":"ab","value":"3"}), json!({"key":"b","value":"2"}));
    assert_eq!(entries(exec.done(&list(""))), json!([a, ab, b]));
    assert_eq!(entries(exec.done(&list(r#","prefix":"a""#))), json!([a, ab]));
    assert_eq!(entries(exec.done(&list(r#","start":"ab""#))), json!([ab, b]));
    assert_eq!(entries(exec.done(&list(r#","start":"a","end":"b""#))), json!([a, ab]));
    assert_eq!(entries(exec.done(&list(r#","prefix":"a","start":"aa","end":"z""#))), json!([ab]));
    assert_eq!(entries(exec.done(&list(r#","reverse":true,"limit":2"#))), json!([b, ab]));
    assert_eq!(entries(exec.done(&list(r#","start":"b","end":"a""#))), json!([]));
    assert_eq!(entries(exec.done(&list(r#","limit":0"#))), json!([]));

    let deleted = exec.done(r#"{"op":"delete","ns":"rooms","obj":"lobby","key":"ab"}"#);
    assert_eq!(deleted["seq"], 4);
    let again = exec.done(r#"{"op":"delete","ns":"rooms","obj":"lobby","key":"ab"}"#);
    assert!(again["seq"].as_u64().unwrap() >= 4);

    let many = exec.done(
        r#"{"op":"many","txns":[{"ns":"rooms","obj":"x","ops":[{"op":"put","key":"k","value":"1"}]},{"ns":"others","obj":"y","ops":[{"op":"put","key":"k","value":"2"}]}]}"#,
    );
    assert_eq!(many["txns"].as_array().unwrap().len(), 2);
    assert_eq!(many["txns"][0], json!({"seq": 1, "lsn": many["lsn"]}));

    let info = exec.done(r#"{"op":"info","ns":"rooms","obj":"lobby"}"#);
    assert_eq!((&info["obj"], &info["exists"]), (&json!("lobby"), &json!(true)));
    assert!(info["bytes"].as_u64().unwrap() >= 4);
    exec.refused(r#"{"op":"info","ns":"rooms","obj":"nobody"}"#, "NotFound");
    exec.refused(r#"{"op":"info","ns":"nowhere","obj":"nobody"}"#, "NotFound");

    let all = exec.done(r#"{"op":"objects","ns":"rooms"}"#);
    let mut names: Vec<&str> =
        all["objects"].as_array().unwrap().iter().map(|o| o["obj"].as_str().unwrap()).collect();
    names.sort_unstable();
    assert_eq!(names, ["lobby", "x"]);
    assert_eq!(all["next"], Value::Null);
    let one = exec.done(r#"{"op":"objects","ns":"rooms","limit":1}"#);
    let rest = exec.done(&json!({"op": "objects", "ns": "rooms", "after": one["next"]}).to_string());
    assert_eq!(rest["objects"].as_array().unwrap().len(), 1);
    assert_ne!(rest["objects"][0]["id"], one["objects"][0]["id"]);

    let by_id = json!({"op": "get", "ns": "rooms", "obj": {"id": info["id"]}, "key": "a"});
    assert_eq!(exec.done(&by_id.to_string())["value"], "1");

    let verified = exec.done(r#"{"op":"verify","ns":"rooms","obj":"lobby"}"#);
    assert_eq!(verified["commits"], info["seq"]);
    assert!(exec.done(r#"{"op":"verify"}"#)["objects"].as_u64().unwrap() >= 3);
    assert!(exec.done(r#"{"op":"sync"}"#)["lsn"].as_u64() >= many["lsn"].as_u64());
    assert!(exec.done(r#"{"op":"checkpoint"}"#)["lsn"].as_u64() >= many["lsn"].as_u64());
    let stat = exec.done(r#"{"op":"stat"}"#);
    assert!(stat["fsyncs"].as_u64().unwrap() > 0);
    assert_eq!(stat["objects"], 3);
    assert_eq!(exec.done(&get("a"))["lsn"], info["lsn"]);

    let gone = exec.done(r#"{"op":"delete_object","ns":"rooms","obj":"lobby","cause":"test"}"#);
    assert_eq!(gone["seq"].as_u64().unwrap(), info["seq"].as_u64().unwrap() + 1);
    assert_eq!(exec.done(r#"{"op":"delete_object","ns":"rooms","obj":"lobby"}"#)["seq"], gone["seq"]);
    assert_eq!(exec.done(&get("a"))["value"], Value::Null);
    assert_eq!(exec.done(&put("a", "new"))["seq"].as_u64().unwrap(), gone["seq"].as_u64().unwrap() + 1);
    exec.done(r#"{"op":"purge","ns":"rooms","obj":"lobby"}"#);
    exec.refused(r#"{"op":"info","ns":"rooms","obj":"lobby"}"#, "NotFound");
    assert_eq!(exec.done(&list(""))["entries"], json!([]));
    exec.done(r#"{"op":"purge","ns":"nowhere","obj":"o"}"#);
    assert_eq!(exec.end(), 0);
}

#[test]
fn a_line_that_is_no_request_gets_an_error_and_the_session_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let mut exec = Exec::start(dir.path());
    let nested = "[".repeat(100_000);
    for line in [
        "",
        "no json",
        "{",
        "[]",
        "7",
        "\u{0}",
        "{}",
        r#"{"op":7}"#,
        r#"{"op":"fly"}"#,
        r#"{"op":"put","ns":"n","obj":"o","key":"k"}"#,
        r#"{"op":"put","ns":"n","obj":"o","key":"k","value":{"b64":"%"}}"#,
        r#"{"op":"get","ns":"n","obj":"o","key":"\ud800"}"#,
        r#"{"op":"list","ns":"n","obj":"o","limit":-1}"#,
        nested.as_str(),
    ] {
        exec.refused(line, "Malformed");
    }
    assert_eq!(exec.refused(r#"{"id":"mine","op":"fly"}"#, "Malformed")["id"], "mine");
    exec.refused(r#"{"op":"put","ns":"n","obj":"","key":"k","value":"v"}"#, "InvalidName");
    exec.refused(r#"{"op":"put","ns":"","obj":"o","key":"k","value":"v"}"#, "InvalidName");
    let long = "x".repeat(1_025);
    let too_large =
        exec.refused(&format!(r#"{{"op":"put","ns":"n","obj":"{long}","key":"k","value":"v"}}"#), "TooLarge");
    assert_eq!((&too_large["limit"], &too_large["size"]), (&json!(1024), &json!(1025)));
    let key = "k".repeat(4_097);
    exec.refused(&format!(r#"{{"op":"put","ns":"n","obj":"o","key":"{key}","value":"v"}}"#), "TooLarge");
    let value = "v".repeat((16 << 20) + 1);
    exec.refused(&format!(r#"{{"op":"put","ns":"n","obj":"o","key":"k","value":"{value}"}}"#), "TooLarge");
    assert_eq!(
        exec.done(r#"{"op":"put","ns":"n","obj":"o","key":"k","value":"v","id":[1,{"a":null}]}"#)["id"],
        json!([1,{"a":null}])
    );
    // The last line needs no line break.
    let (mut requests, mut replies, mut child) = exec.split();
    requests.write_all(br#"{"op":"get","ns":"n","obj":"o","key":"k"}"#).unwrap();
    drop(requests);
    let mut line = String::new();
    replies.read_line(&mut line).unwrap();
    assert_eq!(serde_json::from_str::<Value>(&line).unwrap()["value"], "v");
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn a_write_that_expects_another_seq_changes_nothing_and_tells_the_actual_one() {
    let dir = tempfile::tempdir().unwrap();
    let mut exec = Exec::start(dir.path());
    let put = |seq: u64, value: &str| {
        json!({"op": "put", "ns": "n", "obj": "o", "key": "k", "value": value, "expect_seq": seq}).to_string()
    };
    assert_eq!(exec.done(&put(0, "first"))["seq"], 1);
    let conflict = exec.refused(&put(0, "second"), "Conflict");
    assert_eq!((&conflict["expected"], &conflict["actual"]), (&json!(0), &json!(1)));
    exec.refused(r#"{"op":"delete_object","ns":"n","obj":"o","expect_seq":7}"#, "Conflict");
    exec.refused(r#"{"op":"purge","ns":"n","obj":"o","expect_seq":7}"#, "Conflict");
    exec.refused(r#"{"op":"delete_object","ns":"nowhere","obj":"o","expect_seq":7}"#, "Conflict");
    let read = exec.done(r#"{"op":"get","ns":"n","obj":"o","key":"k"}"#);
    assert_eq!((&read["value"], &read["seq"]), (&json!("first"), &json!(1)));
    assert_eq!(exec.done(r#"{"op":"delete_object","ns":"n","obj":"o","expect_seq":1}"#)["seq"], 2);
    assert_eq!(exec.end(), 0);
}

#[test]
fn many_transactions_commit_all_or_none() {
    let dir = tempfile::tempdir().unwrap();
    let mut exec = Exec::start(dir.path());
    let txn = |obj: &str, seq: u64| json!({"ns": "n", "obj": obj, "expect_seq": seq, "ops": [{"op": "put", "key": "k", "value": obj}]});
    let many = |txns: &[Value]| json!({"op": "many", "txns": txns}).to_string();
    exec.refused(&many(&[txn("a", 0), txn("b", 5)]), "Conflict");
    exec.refused(&many(&[txn("a", 0), txn("a", 0)]), "Invalid");
    assert_eq!(exec.done(r#"{"op":"objects","ns":"n"}"#)["objects"], json!([]));
    exec.done(&many(&[txn("a", 0), txn("b", 0)]));
    let objects = exec.done(r#"{"op":"objects","ns":"n"}"#);
    assert_eq!(objects["objects"].as_array().unwrap().len(), 2);
    assert_eq!(objects["objects"][0]["lsn"], objects["objects"][1]["lsn"]);
    exec.done(&many(&[]));
    assert_eq!(exec.end(), 0);
}

#[test]
fn bytes_that_are_no_text_come_back_as_they_went() {
    let dir = tempfile::tempdir().unwrap();
    let mut exec = Exec::start(dir.path());
    exec.done(r#"{"op":"put","ns":"n","obj":"o","key":{"b64":"/wAB"},"value":{"b64":"gIE="}}"#);
    exec.done(r#"{"op":"put","ns":"n","obj":"o","key":{"b64":"dGV4dA=="},"value":{"b64":"aGk="}}"#);
    let reply = exec.done(r#"{"op":"get","ns":"n","obj":"o","key":{"b64":"/wAB"}}"#);
    assert_eq!(reply["value"], json!({"b64": "gIE="}));
    let list = exec.done(r#"{"op":"list","ns":"n","obj":"o","prefix":{"b64":"/w=="}}"#);
    assert_eq!(list["entries"], json!([{"key": {"b64": "/wAB"}, "value": {"b64": "gIE="}}]));
    assert_eq!(exec.done(r#"{"op":"get","ns":"n","obj":"o","key":"text"}"#)["value"], "hi");
    assert_eq!(exec.end(), 0);
    let dumped = dump(dir.path());
    assert_eq!(dumped[0], json!({"ns": "n", "obj": "o", "key": "text", "value": "hi", "seq": 2}));
    assert_eq!(dumped[1]["key"], json!({"b64": "/wAB"}));
}

#[test]
fn requests_are_read_on_while_replies_wait_and_come_back_in_order() {
    const REQUESTS: u64 = 10_000;
    let dir = tempfile::tempdir().unwrap();
    let (mut requests, replies, mut child) = Exec::start(dir.path()).split();
    let sending = thread::spawn(move || {
        for number in 0..REQUESTS {
            let object = number % 100;
            let line = match number % 10 {
                9 => format!(
                    r#"{{"id":{number},"op":"get","ns":"n","obj":"o{}","key":"k"}}"#,
                    (number - 1) % 100
                ),
                _ => format!(
                    r#"{{"id":{number},"op":"put","ns":"n","obj":"o{object}","key":"k","value":"{number}"}}"#
                ),
            };
            requests.write_all(line.as_bytes()).unwrap();
            requests.write_all(b"\n").unwrap();
        }
    });
    let mut lines = replies.lines();
    let mut last_lsn = 0;
    for number in 0..REQUESTS {
        let reply: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
        assert_eq!((&reply["ok"], &reply["id"]), (&json!(true), &json!(number)), "{reply}");
        let lsn = reply["lsn"].as_u64().unwrap();
        if number % 10 == 9 {
            assert_eq!(reply["value"], (number - 1).to_string());
            assert_eq!(lsn, last_lsn);
        } else {
            assert!(lsn > last_lsn);
        }
        last_lsn = lsn;
    }
    sending.join().unwrap();
    assert!(lines.next().is_none());
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn one_flush_serves_many_pipelined_requests() {
    let dir = tempfile::tempdir().unwrap();
    let mut exec = Exec::start(dir.path());
    let before = exec.done(r#"{"op":"stat"}"#)["fsyncs"].as_u64().unwrap();
    let mut lines = String::new();
    for number in 0..2_000 {
        lines += &format!("{}\n", put(&format!("k{number}"), "v"));
    }
    exec.send(lines.trim_end());
    for _ in 0..2_000 {
        assert_eq!(exec.receive().unwrap()["ok"], true);
    }
    let fsyncs = exec.done(r#"{"op":"stat"}"#)["fsyncs"].as_u64().unwrap() - before;
    assert!(fsyncs < 1_000, "{fsyncs} fsyncs for 2,000 requests");
    assert_eq!(exec.end(), 0);
}

#[test]
fn a_reader_that_goes_away_ends_the_session_cleanly() {
    let dir = tempfile::tempdir().unwrap();
    let mut child = lineal()
        .args(["exec", "--dir", text(dir.path())])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let mut requests = child.stdin.take().unwrap();
    requests.write_all(format!("{}\n", put("k", "v")).as_bytes()).unwrap();
    // Stdin stays open: the session has to end by itself.
    let output = child.wait_with_output();
    drop(requests);
    let output = output.unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(dump(dir.path()).len(), 1);
}

#[test]
fn a_reply_tells_the_position_of_what_is_packed_as_well() {
    let dir = tempfile::tempdir().unwrap();
    let mut exec = Exec::start(dir.path());
    let written = exec.done(&put("k", "v"));
    assert_eq!(exec.end(), 0);
    // Opened again after a clean close, nothing of the object is in the log.
    let mut exec = Exec::start(dir.path());
    for reply in [
        exec.done(&get("k")),
        exec.done(r#"{"op":"list","ns":"rooms","obj":"lobby"}"#),
        exec.done(r#"{"op":"txn","ns":"rooms","obj":"lobby","ops":[]}"#),
    ] {
        assert_eq!((&reply["seq"], &reply["lsn"]), (&json!(1), &written["lsn"]), "{reply}");
    }
    let next = exec.done(&put("k", "w"));
    assert_eq!(next["seq"], 2);
    assert!(next["lsn"].as_u64() > written["lsn"].as_u64());
    assert_eq!(exec.end(), 0);
}

#[test]
fn a_purge_keeps_its_cause_in_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let mut exec = Exec::start(dir.path());
    exec.done(&put("k", "v"));
    let cause = "the right to be forgotten";
    let purged = exec.done(
        &json!({"op": "purge", "ns": "rooms", "obj": "lobby", "cause": cause, "expect_seq": 1}).to_string(),
    );
    assert_eq!(purged["seq"], 2);
    exec.kill();
    let logged = image(dir.path())
        .values()
        .filter(|bytes| bytes.windows(cause.len()).any(|window| window == cause.as_bytes()))
        .count();
    assert_eq!(logged, 1);
}
