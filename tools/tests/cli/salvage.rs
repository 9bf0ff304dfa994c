//! The reading commands on a log that is damaged in its acknowledged part.

use std::{fs, path::Path};

use serde_json::Value;

use crate::support::{Exec, code, image, run, stdout, text};

const OBJECTS: usize = 40;
const DAMAGED: usize = 25;

fn value(number: usize) -> String {
    format!("the value of object {number} is long enough to be found")
}

/// A directory whose log lost a bit in the commit of one object, after all were acknowledged.
fn damaged(dir: &Path) {
    let mut exec = Exec::start(dir);
    for number in 0..OBJECTS {
        let value = value(number);
        exec.done(&format!(r#"{{"op":"put","ns":"n","obj":"o{number:02}","key":"k","value":"{value}"}}"#));
    }
    exec.kill();
    let wanted = value(DAMAGED).into_bytes();
    let mut found = 0;
    for (path, mut bytes) in image(dir) {
        if let Some(at) = bytes.windows(wanted.len()).position(|window| window == wanted) {
            bytes[at] ^= 1;
            fs::write(path, bytes).unwrap();
            found += 1;
        }
    }
    assert_eq!(found, 1, "the commit is in one segment");
}

#[test]
fn what_is_before_the_damage_can_be_read_with_salvage_and_not_without() {
    let dir = tempfile::tempdir().unwrap();
    damaged(dir.path());
    let before = image(dir.path());
    let at = text(dir.path());
    let first = ["--ns", "n", "--object", "o00"];
    let (get, one) = ([&first[..], &["k"]].concat(), first.to_vec());
    for (command, more) in [
        ("dump", vec![]),
        ("dump", one),
        ("stat", vec![]),
        ("objects", vec!["--ns", "n"]),
        ("get", get),
        ("verify", vec![]),
    ] {
        let args = [vec![command, "--dir", at], more].concat();
        let refused = run(&args);
        assert_eq!(code(&refused), 3, "{args:?}");
        let said = String::from_utf8(refused.stderr).unwrap();
        assert!(said.contains("log/") && said.contains("byte"), "{args:?} names file and offset: {said}");
        stdout(&[&args[..], &["--salvage"]].concat());
    }
    assert_eq!(image(dir.path()), before, "no byte has changed");

    let dumped = stdout(&["dump", "--dir", at, "--salvage"]);
    let entries: Vec<Value> = dumped.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let (_, entries) = entries.split_last().unwrap();
    assert_eq!(entries.len(), DAMAGED, "everything before the damage and nothing after it");
    for (number, entry) in entries.iter().enumerate() {
        assert_eq!(entry["obj"], format!("o{number:02}"));
        assert_eq!(entry["value"], value(number));
    }
    let object = |number: usize| {
        let name = format!("o{number:02}");
        run(&["get", "--dir", at, "--salvage", "--ns", "n", "--object", &name, "k"])
    };
    assert_eq!(String::from_utf8(object(DAMAGED - 1).stdout).unwrap().trim_end(), value(DAMAGED - 1));
    assert_eq!(code(&object(DAMAGED)), 8, "what is lost is not found");
}

#[test]
fn salvage_changes_nothing_where_nothing_is_damaged() {
    let dir = tempfile::tempdir().unwrap();
    let mut exec = Exec::start(dir.path());
    exec.done(r#"{"op":"put","ns":"n","obj":"o","key":"k","value":"v"}"#);
    assert_eq!(exec.end(), 0);
    let at = text(dir.path());
    for command in ["dump", "stat", "verify"] {
        let plain = stdout(&[command, "--dir", at]);
        let salvaged = stdout(&[command, "--dir", at, "--salvage"]);
        if command == "dump" {
            assert_eq!(plain, salvaged);
        }
    }
}
