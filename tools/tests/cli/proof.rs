//! Proofs made by one process and checked by another that has no engine.

use std::fs;

use serde_json::Value;

use crate::support::{Exec, code, image, run, stdout, text};

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

#[test]
fn a_commit_is_proved_and_checked_without_the_engine() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let mut exec = Exec::start(&data);
    for round in 0..5 {
        for object in ["a", "b", "c"] {
            exec.done(&format!(
                r#"{{"op":"put","ns":"n","obj":"{object}","key":"k","value":"{round}","cause":"round {round}"}}"#
            ));
        }
        exec.done(r#"{"op":"checkpoint"}"#);
    }
    exec.kill();
    let before = image(&data);
    let at = text(&data);
    let root = json(&stdout(&["proof", "--dir", at, "--json"]));
    let root = root["hash"].as_str().unwrap();

    let made = stdout(&["proof", "--dir", at, "--ns", "n", "--object", "b", "--seq", "2"]);
    let file = dir.path().join("proof.json");
    fs::write(&file, &made).unwrap();
    let checked = json(&stdout(&["proof", "--check", text(&file), "--root", root, "--json"]));
    assert_eq!((checked["seq"].as_u64(), checked["cause"].as_str()), (Some(2), Some("round 1")));

    for (from, to) in [("round 1", "round 7"), ("\"seq\":2", "\"seq\":3"), ("\"index\":", "\"index\":1")] {
        let forged = made.replacen(from, to, 1);
        assert_ne!(forged, made);
        fs::write(&file, forged).unwrap();
        assert_eq!(code(&run(&["proof", "--check", text(&file)])), 3, "{from} became {to}");
    }
    fs::write(&file, &made).unwrap();
    let other = "00".repeat(32);
    assert_eq!(code(&run(&["proof", "--check", text(&file), "--root", &other])), 3);
    assert_eq!(code(&run(&["proof", "--check", text(&file), "--root", "5f"])), 2);
    fs::write(&file, "{}").unwrap();
    assert_eq!(code(&run(&["proof", "--check", text(&file)])), 2);
    assert_eq!(code(&run(&["proof", "--dir", at, "--ns", "n", "--object", "b", "--seq", "99"])), 8);
    assert_eq!(code(&run(&["proof"])), 2);

    let since = stdout(&["proof", "--dir", at, "--since", "4"]);
    fs::write(&file, &since).unwrap();
    assert!(stdout(&["proof", "--check", text(&file), "--root", root]).starts_with("sound: nothing"));
    assert_eq!(code(&run(&["proof", "--dir", at, "--since", "2"])), 8);
    assert_eq!(image(&data), before, "no byte has changed");
}
