//! Lines of `lineal exec` by one tenant that try to reach what another one has. Whoever stands before `lineal exec` lets a
//! tenant say everything but the namespace; the lines here try to say that, too, or files, or more than there is room for.

use std::fs;

use serde_json::{Value, json};

use crate::support::Exec;

/// What a line comes to.
enum End {
    /// This error.
    Refused(&'static str),
    /// A reply that tells nothing of others.
    Harmless,
}
use End::{Harmless, Refused};

/// Lines; `MARK` and `ID` stand for a bookmark and the id of the other tenant's object.
const LINES: &[(&str, End)] = &[
    // The same key said twice, in other spellings, or as something else.
    (r#"{"op":"get","ns":"mine","ns":"theirs","obj":"none","key":"secret"}"#, Harmless),
    (r#"{"op":"get","ns":"mine","NS":"theirs","obj":"o","key":"secret"}"#, Harmless),
    (r#"{"op":"get","ns":["mine","theirs"],"obj":"o","key":"secret"}"#, Refused("Malformed")),
    (r#"{"op":"get","ns":{"id":2},"obj":"o","key":"secret"}"#, Refused("Malformed")),
    (r#"{"op":"get","ns":2,"obj":"o","key":"secret"}"#, Refused("Malformed")),
    (r#"{"op":"get","ns":null,"obj":"o","key":"secret"}"#, Refused("Malformed")),
    (r#"{"op":"get","ns":"mine","obj":{"ns":"theirs","name":"o"},"key":"secret"}"#, Refused("Malformed")),
    (r#"{"op":"get","ns":"mine","obj":"o","key":"secret","dir":"/etc"}"#, Harmless),
    (r#"{"op":"get","ns":"mine/../theirs","obj":"o","key":"secret"}"#, Harmless),
    (r#"{"op":"get","ns":"theirs\u0000","obj":"o","key":"secret"}"#, Harmless),
    (r#"{"op":"get","ns":"mine","obj":"../theirs/o","key":"secret"}"#, Harmless),
    // Ids and bookmarks of the other one's.
    (r#"{"op":"get","ns":"mine","obj":{"id":"ID"},"key":"secret"}"#, Harmless),
    (r#"{"op":"list","ns":"mine","obj":{"id":"ID"}}"#, Harmless),
    (r#"{"op":"purge","ns":"mine","obj":{"id":"ID"}}"#, Harmless),
    (r#"{"op":"delete_object","ns":"mine","obj":{"id":"ID"}}"#, Harmless),
    (r#"{"op":"get","ns":"mine","obj":{"id":"00000000000000000000000000000000"},"key":"next"}"#, Harmless),
    (
        r#"{"op":"get","ns":"mine","obj":{"id":"ffffffffffffffffffffffffffffffff"},"key":"k"}"#,
        Refused("Invalid"),
    ),
    (r#"{"op":"at","ns":"mine","obj":"o","key":"secret","at":"MARK"}"#, Refused("BookmarkOtherObject")),
    (r#"{"op":"at","ns":"mine","obj":"o","at":"MARK"}"#, Refused("BookmarkOtherObject")),
    (r#"{"op":"restore","ns":"mine","obj":"o","at":"MARK"}"#, Refused("BookmarkOtherObject")),
    (
        r#"{"op":"fork","ns":"mine","obj":"o","at":"MARK","to":{"ns":"mine","obj":"copy"}}"#,
        Refused("BookmarkOtherObject"),
    ),
    (r#"{"op":"pin","ns":"mine","obj":"o","name":"p","at":"MARK"}"#, Refused("BookmarkOtherObject")),
    (r#"{"op":"diff","ns":"mine","obj":"o","from":"MARK"}"#, Refused("BookmarkOtherObject")),
    (
        r#"{"op":"sql","ns":"mine","obj":"o","query":"SELECT x FROM t","at":"MARK"}"#,
        Refused("BookmarkOtherObject"),
    ),
    (r#"{"op":"objects","ns":"mine","after":"ID"}"#, Harmless),
    // Files.
    (r#"{"op":"sql","ns":"mine","obj":"o","query":"ATTACH 'theirs.db' AS a"}"#, Refused("SqlRefused")),
    (r#"{"op":"sql","ns":"mine","obj":"o","query":"VACUUM INTO 'stolen.db'"}"#, Refused("SqlRefused")),
    (
        r#"{"op":"sql","ns":"mine","obj":"o","query":"SELECT readfile('/etc/passwd')"}"#,
        Refused("SqlStatement"),
    ),
    (r#"{"op":"import","ns":"mine","obj":"o","file":"/etc/passwd"}"#, Refused("Malformed")),
    (r#"{"op":"export","ns":"mine","obj":"o","file":"stolen.db"}"#, Refused("Malformed")),
    // More than there is room for.
    (r#"{"op":"list","ns":"mine","obj":"o","limit":18446744073709551615}"#, Harmless),
    (r#"{"op":"list","ns":"mine","obj":"o","limit":1e308}"#, Refused("Malformed")),
    (
        r#"{"op":"history","ns":"mine","obj":"o","limit":18446744073709551615,"to":18446744073709551615}"#,
        Harmless,
    ),
    (r#"{"op":"changes","ns":"mine","obj":"o","seq":18446744073709551615}"#, Refused("NotFound")),
    (r#"{"op":"changes","ns":"mine","obj":"o","seq":18446744073709551616}"#, Refused("Malformed")),
    (
        r#"{"op":"sql","ns":"mine","obj":"o","query":"WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n) SELECT max(i) FROM n"}"#,
        Refused("SqlBudget"),
    ),
    (r#"{"op":"sql","ns":"mine","obj":"o","query":"SELECT zeroblob(1000000000)"}"#, Refused("SqlTooLarge")),
];

#[test]
fn a_tenants_lines_reach_nothing_of_another() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("theirs.db"), "theirs").unwrap();
    let mut exec = Exec::start(&dir.path().join("data"));
    for (ns, secret) in [("theirs", "theirs alone"), ("mine", "mine")] {
        exec.done(&json!({"op": "put", "ns": ns, "obj": "o", "key": "secret", "value": secret}).to_string());
        let table = format!("CREATE TABLE t AS SELECT '{secret}' AS x");
        exec.done(&json!({"op": "sql", "ns": ns, "obj": "o", "query": table}).to_string());
    }
    let theirs = |exec: &mut Exec| -> Vec<Value> {
        let asked = ["info", "list", "history", "pins"]
            .map(|op| json!({"op": op, "ns": "theirs", "obj": "o"}))
            .into_iter()
            .chain([
                json!({"op": "sql", "ns": "theirs", "obj": "o", "query": "SELECT x FROM t"}),
                json!({"op": "objects", "ns": "theirs"}),
            ]);
        asked.map(|line| exec.done(&line.to_string())).collect()
    };
    let files = || -> Vec<_> {
        let entries = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().path());
        let mut files: Vec<_> = entries.map(|path| (fs::read(&path).ok(), path)).collect();
        files.sort();
        files
    };
    let (before, beside) = (theirs(&mut exec), files());
    let mark = exec.done(r#"{"op":"bookmark","ns":"theirs","obj":"o"}"#);
    let mark = mark["bookmark"].as_str().unwrap();
    let id = before[0]["id"].as_str().unwrap();
    for (line, end) in LINES {
        let line = line.replace("MARK", mark).replace("ID", id);
        match end {
            Refused(error) => drop(exec.refused(&line, error)),
            Harmless => {
                let reply = exec.ask(&line).to_string();
                assert!(!reply.contains("theirs alone"), "{line} -> {reply}");
            }
        }
        assert_eq!(theirs(&mut exec), before, "after {line}");
        assert_eq!(files(), beside, "after {line}");
    }
    println!("{} lines", LINES.len());
    assert_eq!(exec.end(), 0);
}
