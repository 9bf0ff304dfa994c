//! What was acknowledged is there after a kill, and reading commands change nothing.

use std::{
    collections::BTreeMap,
    io::{BufRead, Write},
    thread,
    time::Duration,
};

use crate::support::{Exec, dump, image, stdout, text};

/// Kills in a row on one directory.
const ROUNDS: u64 = 20;

#[test]
fn every_acknowledged_put_is_there_after_a_kill() {
    let dir = tempfile::tempdir().unwrap();
    // The newest acknowledged value by object: one object is written in one order.
    let mut acknowledged: BTreeMap<String, u64> = BTreeMap::new();
    for round in 0..ROUNDS {
        let (mut requests, replies, mut child) = Exec::start(dir.path()).split();
        let sending = thread::spawn(move || {
            for number in round * 1_000_000.. {
                let object = number % 7;
                let line = match number % 500 {
                    250 => r#"{"op":"checkpoint"}"#.to_owned(),
                    _ => format!(
                        r#"{{"id":{number},"op":"put","ns":"n","obj":"o{object}","key":"k","value":"{number}"}}"#
                    ),
                };
                if writeln!(requests, "{line}").is_err() {
                    return;
                }
            }
        });
        let kill_after = 1 + round * 137 % 1_900;
        let mut seen = 0;
        for line in replies.lines() {
            let line = line.unwrap();
            let Ok(reply) = serde_json::from_str::<serde_json::Value>(&line) else { continue };
            assert_eq!(reply["ok"], true, "{reply}");
            if let Some(number) = reply["id"].as_u64() {
                acknowledged.insert(format!("o{}", number % 7), number);
            }
            seen += 1;
            if seen == kill_after {
                child.kill().unwrap();
            }
        }
        child.wait().unwrap();
        sending.join().unwrap();
        assert!(seen >= kill_after, "{seen} of {kill_after}");

        let found: BTreeMap<String, u64> = dump(dir.path())
            .iter()
            .map(|entry| {
                let value = entry["value"].as_str().unwrap().parse().unwrap();
                (entry["obj"].as_str().unwrap().to_owned(), value)
            })
            .collect();
        for (object, number) in &acknowledged {
            assert!(
                found[object] >= *number,
                "round {round}: {object} is {} and {number} was acknowledged",
                found[object]
            );
        }
    }
    stdout(&["verify", "--dir", text(dir.path())]);
}

#[test]
fn reading_commands_leave_the_directory_as_it_is_also_after_a_kill() {
    let dir = tempfile::tempdir().unwrap();
    let mut exec = Exec::start(dir.path());
    for number in 0..200 {
        exec.done(&format!(r#"{{"op":"put","ns":"n","obj":"o{number}","key":"k","value":"{number}"}}"#));
        if number == 100 {
            exec.done(r#"{"op":"checkpoint"}"#);
        }
    }
    exec.kill();
    thread::sleep(Duration::from_millis(10));
    let before = image(dir.path());
    let first = dump(dir.path());
    assert_eq!(first.len(), 200);
    let at = text(dir.path());
    for args in [
        vec!["dump", "--dir", at],
        vec!["dump", "--dir", at, "--ns", "n", "--object", "o7"],
        vec!["verify", "--dir", at],
        vec!["verify", "--dir", at, "--json"],
        vec!["stat", "--dir", at],
        vec!["stat", "--dir", at, "--prometheus"],
        vec!["objects", "--dir", at, "--ns", "n"],
        vec!["get", "--dir", at, "--ns", "n", "--object", "o7", "k"],
    ] {
        stdout(&args);
        let after = image(dir.path());
        for (file, bytes) in &before {
            assert!(after.get(file) == Some(bytes), "{args:?} changed {file}");
        }
        assert_eq!(after.len(), before.len(), "{args:?}");
    }
    // The next writer takes up what was there.
    let exec = Exec::start(dir.path());
    assert_eq!(exec.end(), 0);
    assert_eq!(dump(dir.path()), first);
}
