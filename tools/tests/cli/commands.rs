//! The reading commands, exit codes and help.

use std::{fs, path::Path, process::Stdio};

use serde_json::Value;

use crate::support::{Exec, code, dump, lineal, run, stdout, text};

const COMMANDS: [&str; 21] = [
    "demo", "exec", "objects", "get", "dump", "verify", "stat", "history", "show", "at", "diff", "blame",
    "bookmark", "restore", "fork", "pin", "unpin", "pins", "migrate", "points", "archive",
];

fn filled(dir: &Path) {
    let mut exec = Exec::start(dir);
    for object in ["lobby", "attic"] {
        for key in ["b", "a"] {
            exec.done(&format!(
                r#"{{"op":"put","ns":"rooms","obj":"{object}","key":"{key}","value":"{object}-{key}"}}"#
            ));
        }
    }
    exec.done(r#"{"op":"put","ns":"another","obj":"x","key":"k","value":{"b64":"AP8="}}"#);
    assert_eq!(exec.end(), 0);
}

#[test]
fn what_was_written_can_be_listed_read_and_dumped() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path());
    let at = text(dir.path());

    let listed = stdout(&["objects", "--dir", at, "--ns", "rooms", "--json"]);
    let listed: Vec<Value> = listed.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(listed.len(), 2);
    let first = listed[0]["id"].as_str().unwrap();
    let after = stdout(&["objects", "--dir", at, "--ns", "rooms", "--after", first, "--limit", "9"]);
    assert_eq!(after.lines().count(), 1);
    assert!(after.contains(listed[1]["obj"].as_str().unwrap()));
    assert_eq!(stdout(&["objects", "--dir", at, "--ns", "rooms", "--limit", "1"]).lines().count(), 1);

    assert_eq!(stdout(&["get", "--dir", at, "--ns", "rooms", "--object", "lobby", "a"]), "lobby-a");
    let raw = run(&["get", "--dir", at, "--ns", "another", "--object", "x", "k"]);
    assert_eq!(raw.stdout, [0x00, 0xFF]);
    let by_id = stdout(&["get", "--dir", at, "--ns", "rooms", "--id", first, "a", "--json"]);
    assert_eq!(serde_json::from_str::<Value>(&by_id).unwrap()["seq"], 2);

    let order: Vec<String> = dump(dir.path())
        .iter()
        .map(|e| format!("{}/{}/{}", e["ns"], e["obj"], e["key"]).replace('"', ""))
        .collect();
    assert_eq!(order, ["another/x/k", "rooms/attic/a", "rooms/attic/b", "rooms/lobby/a", "rooms/lobby/b"]);
    let one = stdout(&["dump", "--dir", at, "--ns", "rooms", "--object", "attic"]);
    assert_eq!(one.lines().count(), 3);
    let none = stdout(&["dump", "--dir", at, "--ns", "another"]);
    assert_eq!(none.lines().count(), 2);

    let verified: Value = serde_json::from_str(&stdout(&["verify", "--dir", at, "--json"])).unwrap();
    assert_eq!((&verified["ok"], &verified["objects"]), (&true.into(), &3.into()));
    assert!(stdout(&["verify", "--dir", at]).contains("objects"));
    let stat: Value = serde_json::from_str(&stdout(&["stat", "--dir", at, "--json"])).unwrap();
    assert_eq!(stat["objects"], 3);
    assert!(stat["durable_lsn"].as_u64().unwrap() >= 5 && stat["checkpoint_lsn"].as_u64().unwrap() >= 5);
    assert!(stdout(&["stat", "--dir", at, "--prometheus"]).contains("lineal_objects 3"));
    assert!(stdout(&["stat", "--dir", at]).contains("fsyncs"));
}

#[test]
fn what_is_not_there_is_code_8() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path());
    let at = text(dir.path());
    let missing = dir.path().join("missing");
    for args in [
        vec!["get", "--dir", at, "--ns", "rooms", "--object", "lobby", "z"],
        vec!["get", "--dir", at, "--ns", "rooms", "--object", "nobody", "a"],
        vec!["get", "--dir", at, "--ns", "nowhere", "--object", "lobby", "a"],
        vec!["get", "--dir", at, "--ns", "rooms", "--id", "10000000000000000000000000000000", "a"],
        vec!["objects", "--dir", at, "--ns", "nowhere"],
        vec!["dump", "--dir", at, "--ns", "nowhere"],
        vec!["dump", "--dir", at, "--ns", "rooms", "--object", "nobody"],
        vec!["stat", "--dir", text(&missing)],
    ] {
        let output = run(&args);
        assert_eq!(code(&output), 8, "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        assert!(output.stdout.is_empty() && !output.stderr.is_empty());
    }
    assert!(!missing.exists());
    let output = run(&["get", "--dir", at, "--ns", "rooms", "--object", "lobby", "z", "--json"]);
    let error: Value = serde_json::from_slice(&output.stderr).unwrap();
    assert_eq!(error["error"], "NotFound");
    assert!(error["message"].as_str().unwrap().contains('z'));
}

#[test]
fn wrong_usage_is_code_2_and_creates_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "not a directory").unwrap();
    let full = dir.path().join("full");
    fs::create_dir(&full).unwrap();
    fs::write(full.join("other"), "").unwrap();
    for args in [
        vec![],
        vec!["fly"],
        vec!["stat"],
        vec!["get", "--dir", "d", "--ns", "n", "k"],
        vec!["get", "--dir", "d", "--ns", "n", "--id", "7", "k"],
        vec!["objects", "--dir", "d", "--ns", "n", "--limit", "many"],
        vec!["exec", "--dir", text(&file)],
        vec!["stat", "--dir", text(&file)],
        vec!["exec", "--dir", text(&full)],
        vec!["demo", "--dir", text(&full)],
        vec!["demo", "--dir", text(&file)],
        vec!["demo", "--repo", "/no/such/place"],
    ] {
        let output = run(&args);
        assert_eq!(code(&output), 2, "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        assert!(output.stdout.is_empty() && !output.stderr.is_empty(), "{args:?}");
    }
    assert_eq!(fs::read_to_string(&file).unwrap(), "not a directory");
    assert_eq!(fs::read_dir(&full).unwrap().count(), 1);
}

#[test]
fn a_directory_that_another_process_has_open_is_code_4() {
    let dir = tempfile::tempdir().unwrap();
    let mut exec = Exec::start(dir.path());
    exec.done(r#"{"op":"put","ns":"n","obj":"o","key":"k","value":"v"}"#);
    let at = text(dir.path());
    for args in [["stat", "--dir", at], ["dump", "--dir", at], ["verify", "--dir", at], ["exec", "--dir", at]]
    {
        let output = run(&args);
        assert_eq!(code(&output), 4, "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        assert!(String::from_utf8_lossy(&output.stderr).contains("another process"));
    }
    assert_eq!(exec.end(), 0);
    stdout(&["stat", "--dir", at]);
}

#[test]
fn a_flipped_byte_is_code_3_with_the_file_and_where() {
    let dir = tempfile::tempdir().unwrap();
    let mut exec = Exec::start(dir.path());
    for number in 0..50 {
        let value = format!("{number} ").repeat(200);
        exec.done(&format!(r#"{{"op":"put","ns":"n","obj":"o{number}","key":"k","value":"{value}"}}"#));
    }
    assert_eq!(exec.end(), 0);
    let packs = dir.path().join("packs");
    let pack = fs::read_dir(&packs)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .max_by_key(|p| fs::metadata(p).unwrap().len());
    let pack = pack.unwrap();
    let whole = fs::read(&pack).unwrap();
    for at in [whole.len() / 3, whole.len() / 2] {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x10;
        fs::write(&pack, &bytes).unwrap();
        let output = run(&["verify", "--dir", text(dir.path()), "--json"]);
        assert_eq!(code(&output), 3, "byte {at}: {}", String::from_utf8_lossy(&output.stderr));
        let error: Value = serde_json::from_slice(&output.stderr).unwrap();
        assert_eq!(error["error"], "Damaged");
        assert!(error["message"].as_str().unwrap().contains("packs/"), "{error}");
    }
    fs::write(&pack, &whole).unwrap();
    stdout(&["verify", "--dir", text(dir.path())]);
}

#[test]
fn every_help_tells_the_exit_codes_and_the_version_is_there() {
    for command in COMMANDS {
        let help = stdout(&[command, "--help"]);
        assert!(help.contains("Exit codes:") && help.contains("xample"), "{command}");
    }
    assert!(stdout(&["--help"]).contains("Exit codes:"));
    assert!(stdout(&["--version"]).starts_with("lineal "));
}

#[test]
fn output_that_nobody_reads_ends_a_command_quietly() {
    let dir = tempfile::tempdir().unwrap();
    let mut exec = Exec::start(dir.path());
    let value = "x".repeat(1 << 20);
    exec.done(&format!(r#"{{"op":"put","ns":"n","obj":"o","key":"k","value":"{value}"}}"#));
    assert_eq!(exec.end(), 0);
    for args in [vec!["dump"], vec!["get", "--ns", "n", "--object", "o", "k"]] {
        let mut child = lineal()
            .args(&args)
            .args(["--dir", text(dir.path())])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(0));
        assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}
