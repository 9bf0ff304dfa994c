//! `lineal migrate`: listing versions, bringing objects forward, and what is wrong with the steps.

use std::fs;

use serde_json::Value;

use crate::support::{Exec, code, run, stdout, text};

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn objects_are_listed_and_brought_forward_and_what_fails_is_told() {
    let (dir, steps) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut exec = Exec::start(dir.path());
    for object in ["a", "b", "c"] {
        exec.done(&format!(r#"{{"op":"put","ns":"rooms","obj":"{object}","key":"k","value":"v"}}"#));
    }
    assert_eq!(exec.end(), 0);
    fs::write(steps.path().join("001_messages.sql"), "CREATE TABLE messages (body TEXT)").unwrap();
    fs::write(steps.path().join("README"), "not a step").unwrap();
    let (at, from) = (text(dir.path()), text(steps.path()));
    let migrate = ["migrate", "--dir", at, "--ns", "rooms"];

    let listed = stdout(&migrate);
    assert!(listed.contains("\"b\" is at version 0\n") && listed.contains("3 at version 0"), "{listed}");
    let planned = lines(&stdout(&[&migrate[..], &["--steps", from, "--dry-run", "--json"]].concat()));
    assert_eq!(planned.len(), 4);
    assert_eq!((&planned[0]["version"], &planned[0]["would_be"]), (&0.into(), &1.into()));
    assert_eq!((&planned[3]["dry_run"], &planned[3]["versions"]["0"]), (&true.into(), &3.into()));

    let done = lines(&stdout(&[&migrate[..], &["--steps", from, "--json"]].concat()));
    assert_eq!(
        (&done[0]["was"], &done[0]["from"], &done[0]["to"]),
        (&"migrated".into(), &0.into(), &1.into())
    );
    assert_eq!((&done[3]["migrated"], &done[3]["versions"]["1"]), (&3.into(), &3.into()));
    let commits = lines(&stdout(&["history", "--dir", at, "--ns", "rooms", "--object", "a", "--json"]));
    assert_eq!(
        (&commits[0]["kind"], &commits[0]["cause"]),
        (&"migration".into(), &"migration 1: messages".into())
    );

    // The next step fails; then it is corrected and only that is left to do.
    let second = steps.path().join("002_index.sql");
    fs::write(&second, "CREATE INDEX by_body ON messages (nothing)").unwrap();
    let failed = run(&[&migrate[..], &["--steps", from]].concat());
    assert_eq!(code(&failed), 1, "{failed:?}");
    let said = String::from_utf8(failed.stdout).unwrap();
    assert!(said.contains("step 2 (index)") && said.contains("3 failed"), "{said}");
    fs::write(&second, "CREATE INDEX by_body ON messages (body)").unwrap();
    assert!(stdout(&[&migrate[..], &["--steps", from]].concat()).contains("\"c\" migrated from 1 to 2"));
    assert_eq!(stdout(&[&migrate[..], &["--steps", from]].concat()), "3 at version 2\n");

    // Steps that cannot be told apart are refused before anything is done.
    for (name, said) in [("004_gap.sql", "should be step 3"), ("index.sql", "not named like")] {
        let wrong = steps.path().join(name);
        fs::write(&wrong, "SELECT 1").unwrap();
        let refused = run(&[&migrate[..], &["--steps", from]].concat());
        assert_eq!(code(&refused), 2, "{name}");
        assert!(String::from_utf8_lossy(&refused.stderr).contains(said), "{refused:?}");
        fs::remove_file(wrong).unwrap();
    }
    assert_eq!(code(&run(&["migrate", "--dir", at, "--ns", "nowhere", "--steps", from])), 8);
    stdout(&["verify", "--dir", at]);
}
