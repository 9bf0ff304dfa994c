//! A log that fails under `lineal exec`.

use std::{
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::json;

use crate::support::{Exec, dump, stdout, text};

/// Most bytes of a file, in the unit of `ulimit -f` of a POSIX shell.
const LIMIT_BLOCKS: u64 = 512;
const BLOCK_BYTES: usize = 512;

fn put(number: usize) -> String {
    let value = "v".repeat(4_000);
    json!({"id": number, "op": "put", "ns": "n", "obj": format!("o{number}"), "key": "k", "value": value})
        .to_string()
}

/// An exec whose process may not write beyond `LIMIT_BLOCKS` of any file.
fn start_limited(dir: &Path) -> Exec {
    let script = format!("ulimit -f {LIMIT_BLOCKS} && exec \"$0\" exec --dir \"$1\"");
    let mut limited = Command::new("sh");
    limited.args(["-c", &script, env!("CARGO_BIN_EXE_lineal"), text(dir)]).stderr(Stdio::piped());
    Exec::spawn(&mut limited)
}

#[test]
fn exec_ends_with_code_6_once_its_log_has_failed_though_nobody_closes_its_input() {
    let dir = tempfile::tempdir().unwrap();
    // Makes the segment that the limit cuts through.
    let mut first = Exec::start(dir.path());
    first.done(&put(0));
    assert_eq!(first.end(), 0);

    let mut exec = start_limited(dir.path());
    let mut acknowledged = 0;
    let poisoned = loop {
        let reply = exec.ask(&put(acknowledged + 1));
        if reply["ok"] != true {
            break reply;
        }
        acknowledged += 1;
        assert!(acknowledged * 4_000 < LIMIT_BLOCKS as usize * BLOCK_BYTES, "the limit was not met");
    };
    assert_eq!(poisoned["error"], "Poisoned", "{poisoned}");
    assert!(acknowledged > 10, "{acknowledged}");
    let deadline = Instant::now() + Duration::from_secs(20);
    let status = loop {
        if let Some(status) = exec.child.try_wait().unwrap() {
            break status;
        }
        assert!(Instant::now() < deadline, "it goes on after its log has failed");
        std::thread::sleep(Duration::from_millis(5));
    };
    assert_eq!(status.code(), Some(6), "{status}");
    let said = exec.stderr();
    assert!(said.contains("pen the directory again"), "{said}");

    // The one that failed may be there as well: its outcome was unknown.
    let found = dump(dir.path()).len() - 1;
    assert!(found == acknowledged || found == acknowledged + 1, "{found} of {acknowledged}");
    let mut again = Exec::start(dir.path());
    again.done(&put(acknowledged + 2));
    assert_eq!(again.end(), 0);
    stdout(&["verify", "--dir", text(dir.path())]);
}
