//! Archives: kept, looked at, restored, attached, and what is wrong with them.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use lineal_tests::s3::S3;
use serde_json::Value;

use crate::support::{Exec, code, dump, image, lineal, run, stdout, text};

/// Some objects in a directory, and their archive in a folder.
struct Kept {
    root: tempfile::TempDir,
}

const PUT: &str = r#"{"op":"put","ns":"rooms","obj":"lobby","key":"k","value":"first"}"#;

impl Kept {
    fn new() -> Kept {
        let kept = Kept { root: tempfile::tempdir().unwrap() };
        let mut exec = kept.exec("data", &[]);
        exec.done(PUT);
        for object in ["attic", "team/a", "team/b"] {
            exec.done(&PUT.replace("lobby", object));
        }
        exec.done(&PUT.replace("rooms", "others"));
        exec.done(r#"{"op":"checkpoint"}"#);
        exec.done(&PUT.replace("first", "second"));
        assert_eq!(exec.end(), 0);
        kept
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    fn at(&self, name: &str) -> String {
        text(&self.path(name)).to_owned()
    }

    fn url(&self) -> String {
        format!("file://{}", self.at("archive"))
    }

    fn exec(&self, dir: &str, more: &[&str]) -> Exec {
        let (dir, url) = (self.at(dir), self.url());
        Exec::spawn(lineal().args(["exec", "--dir", &dir, "--archive", &url]).args(more))
    }

    /// Runs a command on the archive by itself.
    fn from(&self, args: &[&str]) -> Output {
        run(&[args, &["--from", &self.url()]].concat())
    }

    /// As `from`, with JSON of a command that succeeds.
    fn told(&self, args: &[&str]) -> Value {
        let output = self.from(&[args, &["--json"]].concat());
        assert_eq!(code(&output), 0, "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// All files whose paths have this in them.
    fn files(&self, part: &str) -> Vec<PathBuf> {
        let all = image(self.root.path()).into_keys();
        all.filter(|name| name.contains(part)).map(PathBuf::from).collect()
    }
}

fn refused(output: &Output, wanted: i32, words: &str) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(code(output), wanted, "{said}");
    assert!(said.contains(words), "{words:?} is not in: {said}");
}

#[test]
fn what_is_in_an_archive_is_told_and_checked_without_changing_it() {
    let kept = Kept::new();
    let before = image(&kept.path("archive"));
    let points = kept.told(&["points"]);
    assert!(points["newest"]["lsn"].as_u64().unwrap() >= 6, "{points}");
    assert!(points["newest"]["time_us"].as_u64() >= points["packed"]["time_us"].as_u64(), "{points}");
    assert!(points["newest"]["time"].as_str().unwrap().ends_with('Z'), "{points}");
    let status = kept.told(&["archive", "status"]);
    assert_eq!(status["engine"], points["engine"]);
    assert_eq!(status["holder"], Value::Null, "it was given back: {status}");
    assert_eq!(kept.told(&["archive", "verify"])["objects"], 5);
    let scrubbed = kept.told(&["archive", "scrub", "--rate", "100"]);
    assert!(scrubbed["ok"] == true && scrubbed["packs"].as_u64().unwrap() > 0, "{scrubbed}");
    assert_eq!(kept.told(&["archive", "gc", "--dry-run"])["keys"], Value::Array(Vec::new()));
    for (args, words) in [
        (vec!["points"], "can be restored"),
        (vec!["archive", "status"], "writer   nobody"),
        (vec!["archive", "verify"], "every chain"),
        (vec!["archive", "scrub"], "nothing is damaged"),
        (vec!["archive", "gc", "--dry-run"], "nothing was done"),
    ] {
        let output = kept.from(&args);
        assert!(String::from_utf8_lossy(&output.stdout).contains(words), "{args:?}: {output:?}");
    }
    assert_eq!(image(&kept.path("archive")), before);
    // The place can come from the environment.
    let output = lineal().args(["points", "--json"]).env("LINEAL_ARCHIVE", kept.url()).output().unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&output.stdout).unwrap(), points);
}

#[test]
fn an_open_engine_is_named_as_the_holder() {
    let kept = Kept::new();
    let mut exec = kept.exec("data", &[]);
    exec.done(PUT);
    let status = kept.told(&["archive", "status"]);
    assert!(status["holder"].as_str().unwrap().contains("data"), "{status}");
    assert!(status["until_us"].as_u64().unwrap() > 0, "{status}");
    refused(&kept.from(&["archive", "gc"]), 4, "in use by");
    assert_eq!(exec.end(), 0);
    assert_eq!(code(&kept.from(&["archive", "gc"])), 0);
}

#[test]
fn an_engine_is_restored_whole() {
    let kept = Kept::new();
    let (data, to) = (kept.path("data"), kept.path("restored"));
    let plan = kept.told(&["restore", "--to", text(&to), "--dry-run"]);
    assert!(plan["dry_run"] == true && plan["requests"].as_u64().unwrap() > 0, "{plan}");
    assert!(!to.exists(), "a plan makes nothing");
    let report = kept.told(&["restore", "--to", text(&to), "--parallel", "2"]);
    assert_eq!((&report["verified"], &report["objects"]), (&true.into(), &5.into()), "{report}");
    assert_eq!(dump(&to), dump(&data));
    refused(&kept.from(&["restore", "--to", text(&to)]), 2, "not empty");

    let before = image(kept.root.path());
    let report = kept.told(&["restore", "--verify-only"]);
    assert_eq!((&report["verify_only"], &report["objects"]), (&true.into(), &5.into()), "{report}");
    assert_eq!(image(kept.root.path()), before, "nothing of it stays");
}

#[test]
fn a_part_of_an_engine_is_restored() {
    let kept = Kept::new();
    let objects = |to: &Path| {
        let entries = dump(to);
        let mut names: Vec<String> = entries.iter().map(|e| format!("{}/{}", e["ns"], e["obj"])).collect();
        names.dedup();
        names.join(" ").replace('"', "")
    };
    for (to, only, wanted) in [
        ("one", vec!["--ns", "rooms", "--object", "lobby"], "rooms/lobby"),
        ("some", vec!["--ns", "rooms", "--prefix", "team/"], "rooms/team/a rooms/team/b"),
        ("all", vec!["--ns", "others", "--all"], "others/lobby"),
        ("namespace", vec!["--ns", "rooms"], "rooms/attic rooms/lobby rooms/team/a rooms/team/b"),
    ] {
        let to = kept.path(to);
        kept.told(&[&["restore", "--to", text(&to)], &only[..]].concat());
        assert_eq!(objects(&to), wanted);
        stdout(&["verify", "--dir", text(&to)]);
    }
    let at = kept.at("one");
    let history = stdout(&["history", "--dir", &at, "--ns", "rooms", "--object", "lobby"]);
    assert_eq!(history.lines().count(), 2, "its history came along: {history}");
    let to = kept.at("none");
    refused(&kept.from(&["restore", "--to", &to, "--ns", "nowhere"]), 8, "nowhere");
    refused(&kept.from(&["restore", "--to", &to, "--ns", "rooms", "--object", "nobody"]), 8, "not exist");
    assert!(!kept.path("none").exists());
}

#[test]
fn an_engine_is_restored_to_a_moment() {
    let kept = Kept::new();
    let data = kept.at("data");
    let lobby = ["--ns", "rooms", "--object", "lobby"];
    let listed = stdout(&[&["history", "--dir", &data, "--json"], &lobby[..]].concat());
    let first: Value = serde_json::from_str(listed.lines().last().unwrap()).unwrap();
    let time = first["time"].as_str().unwrap_or_else(|| panic!("{first}"));
    let to = kept.at("restored");
    kept.told(&["restore", "--to", &to, "--at", time]);
    assert_eq!(stdout(&[&["get", "--dir", &to], &lobby[..], &["k"]].concat()), "first");
    assert_eq!(stdout(&[&["get", "--dir", &data], &lobby[..], &["k"]].concat()), "second");
    let to = kept.at("another");
    refused(&kept.from(&["restore", "--to", &to, "--at", "2199-01-01T00:00:00Z"]), 2, "the archive ends");
    refused(&kept.from(&["restore", "--to", &to, "--at", "1000"]), 2, "the archive ends");
    let lsn = first["lsn"].as_u64().unwrap().to_string();
    kept.told(&["restore", "--to", &to, "--at", &lsn]);
    assert_eq!(stdout(&[&["get", "--dir", &to], &lobby[..], &["k"]].concat()), "first");
}

#[test]
fn a_directory_is_attached_spilled_and_read_through_its_archive() {
    let kept = Kept::new();
    let whole = dump(&kept.path("data"));
    fs::remove_dir_all(kept.path("data")).unwrap();
    let mut exec = kept.exec("data", &["--attach", "--local-bytes", "0"]);
    let got = exec.done(r#"{"op":"get","ns":"rooms","obj":"lobby","key":"k"}"#);
    assert_eq!(got["value"], "second");
    exec.done(&PUT.replace("first", "third"));
    let archived = exec.done(r#"{"op":"archive"}"#);
    assert!(archived["archived_lsn"].as_u64().unwrap() > 0 && archived["puts"].as_u64().unwrap() > 0);
    exec.done(r#"{"op":"spill"}"#);
    exec.done(r#"{"op":"spill","ns":"rooms"}"#);
    exec.refused(r#"{"op":"spill","ns":"nowhere"}"#, "NotFound");
    assert_eq!(exec.end(), 0);

    let (data, url) = (kept.at("data"), kept.url());
    refused(&run(&["stat", "--dir", &data]), 2, "open it with that");
    let lobby = ["--ns", "rooms", "--object", "lobby"];
    let before = image(&kept.path("data"));
    let with = ["--dir", &data, "--archive", &url];
    assert_eq!(stdout(&[&["get"], &with[..], &lobby[..], &["k"]].concat()), "third");
    assert_eq!(stdout(&[&["history"], &with[..], &lobby[..]].concat()).lines().count(), 3);
    stdout(&[&["verify"], &with[..]].concat());
    assert_eq!(image(&kept.path("data")), before, "reading changes no byte");
    // And the commands that write.
    stdout(&[&["restore"], &with[..], &lobby[..], &["--at", "2"]].concat());
    let dumped = stdout(&[&["dump"], &with[..]].concat());
    assert_eq!(dumped.lines().count(), whole.len() + 1);
    assert!(dumped.contains("\"second\"") && !dumped.contains("\"third\""), "{dumped}");
}

#[test]
fn durability_is_asked_for_by_engine_and_by_request() {
    let kept = Kept::new();
    let mut exec = kept.exec("data", &["--durability", "archived"]);
    let lsn = exec.done(PUT)["lsn"].as_u64().unwrap();
    // It was told, so it is in the archive: a machine that takes it over by force has it.
    let other = ["--attach", "--force", "--archive", &kept.url()];
    let mut second = Exec::spawn(lineal().args(["exec", "--dir", &kept.at("second")]).args(other));
    let found = second.done(r#"{"op":"info","ns":"rooms","obj":"lobby"}"#);
    assert_eq!(found["lsn"].as_u64(), Some(lsn));
    exec.refused(&PUT.replace("first", "fenced"), "Fenced");
    exec.kill();
    assert_eq!(second.end(), 0);

    let alone = kept.path("alone");
    let mut exec = Exec::start(&alone);
    exec.refused(&PUT.replace("\"op\"", "\"durability\":\"archived\",\"op\""), "NoArchive");
    exec.refused(&PUT.replace("\"op\"", "\"durability\":\"moon\",\"op\""), "Malformed");
    exec.done(&PUT.replace("\"op\"", "\"durability\":\"local\",\"op\""));
    exec.refused(r#"{"op":"archive"}"#, "NoArchive");
    assert_eq!(exec.end(), 0);
    refused(&run(&["exec", "--dir", text(&alone), "--durability", "archived"]), 2, "no archive");
}

#[test]
fn an_old_copy_is_refused_and_left_as_it_is() {
    let kept = Kept::new();
    let copied = Command::new("cp").args(["-r", &kept.at("data"), &kept.at("copy")]).status().unwrap();
    assert!(copied.success());
    let mut exec = kept.exec("data", &[]);
    exec.done(PUT);
    assert_eq!(exec.end(), 0);
    let before = (image(&kept.path("copy")), image(&kept.path("archive")));
    let output = run(&["exec", "--dir", &kept.at("copy"), "--archive", &kept.url()]);
    refused(&output, 1, "nothing is uploaded");
    assert_eq!((image(&kept.path("copy")), image(&kept.path("archive"))), before);
}

#[test]
fn damage_is_named_by_key_and_is_code_3() {
    let kept = Kept::new();
    let packs = kept.files("archive/");
    let pack = packs
        .iter()
        .filter(|file| file.extension().is_none() && file.parent().unwrap().ends_with("packs"))
        .max_by_key(|file| fs::metadata(file).unwrap().len());
    let pack = pack.unwrap();
    let mut bytes = fs::read(pack).unwrap();
    bytes[700] ^= 4;
    fs::write(pack, bytes).unwrap();
    let name = pack.file_name().unwrap().to_str().unwrap();
    let output = kept.from(&["archive", "scrub", "--json"]);
    assert_eq!(code(&output), 3, "{output:?}");
    let scrubbed: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(scrubbed["ok"], false);
    assert!(scrubbed["damage"][0]["key"].as_str().unwrap().ends_with(name), "{scrubbed}");
    assert!(scrubbed["damage"][0]["from"].as_u64().unwrap() <= 700, "{scrubbed}");
    let to = kept.at("restored");
    refused(&kept.from(&["restore", "--to", &to]), 3, name);
    refused(&run(&["stat", "--dir", &to]), 8, "no data directory");
    refused(&kept.from(&["archive", "verify"]), 3, "packs/");

    let manifest = &kept.files("/manifest")[0];
    let whole = fs::read(manifest).unwrap();
    fs::write(manifest, &whole[..whole.len() - 1]).unwrap();
    for args in
        [vec!["points"], vec!["archive", "status"], vec!["archive", "scrub"], vec!["restore", "--to", &to]]
    {
        refused(&kept.from(&args), 3, "manifest");
    }
    let before = image(&kept.path("data"));
    let output = run(&["exec", "--dir", &kept.at("data"), "--archive", &kept.url()]);
    refused(&output, 3, "manifest");
    assert_eq!(image(&kept.path("data")), before);
    // What is unreadable is not taken for nothing.
    let output = run(&["exec", "--dir", &kept.at("new"), "--archive", &kept.url(), "--attach"]);
    refused(&output, 3, "manifest");
}

#[test]
fn what_is_not_there_is_code_8_and_wrong_usage_code_2() {
    let kept = Kept::new();
    let (nothing, to) = (format!("file://{}", kept.at("nothing")), kept.at("to"));
    for args in [
        vec!["points"],
        vec!["archive", "status"],
        vec!["archive", "verify"],
        vec!["archive", "scrub"],
        vec!["archive", "gc"],
        vec!["restore", "--to", &to],
    ] {
        refused(&run(&[&args[..], &["--from", &nothing]].concat()), 8, "archive");
    }
    refused(&run(&["exec", "--dir", &to, "--archive", &nothing, "--attach"]), 8, "archive");
    // Somebody looks in the wrong place: no archive is begun there.
    refused(&run(&["exec", "--dir", &kept.at("data"), "--archive", &nothing]), 3, "manifest");
    assert!(!kept.path("to").exists());
    // A directory that never had one has all that it has: a script that names a place for all of them can read it.
    let mut exec = Exec::start(&kept.path("plain"));
    exec.done(PUT);
    assert_eq!(exec.end(), 0);
    let get = ["get", "--dir", &kept.at("plain"), "--ns", "rooms", "--object", "lobby", "k"];
    let got = lineal().args(get).env("LINEAL_ARCHIVE", &nothing).output().unwrap();
    assert_eq!((code(&got), got.stdout), (0, b"first".to_vec()));
    let left = kept.files("nothing/");
    assert!(left.iter().all(|file| file.ends_with(".lineal-archive.lock")), "{left:?}");
    for args in [
        vec!["points"],
        vec!["points", "--from", "ftp://host/path"],
        vec!["points", "--from", "s3://key:hush@bucket"],
        vec!["points", "--from", &nothing, "--option", "region=eu"],
        vec!["points", "--from", &nothing, "--option", "region"],
        vec!["points", "--from", &nothing, "--engine", "7"],
        vec!["restore", "--from", &nothing],
        vec!["restore", "--to", &to],
        vec!["restore", "--from", &nothing, "--to", &to, "--object", "o"],
        vec!["restore", "--from", &nothing, "--to", &to, "--parallel", "0"],
        vec!["restore", "--from", &nothing, "--dir", &to],
        vec!["restore", "--dir", &to, "--ns", "n", "--object", "o"],
        vec!["restore", "--dir", &to, "--ns", "n", "--at", "1"],
        vec!["exec", "--dir", &to, "--attach"],
        vec!["exec", "--dir", &to, "--force"],
        vec!["archive"],
    ] {
        let output = run(&args);
        assert_eq!(code(&output), 2, "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        assert!(!String::from_utf8_lossy(&output.stderr).contains("hush"), "{args:?}");
    }
}

#[test]
fn several_engines_share_a_place() {
    let kept = Kept::new();
    let mut exec = kept.exec("other", &[]);
    exec.done(&PUT.replace("first", "other"));
    assert_eq!(exec.end(), 0);
    let output = kept.from(&["archive", "status", "--json"]);
    let engines: Vec<Value> = String::from_utf8_lossy(&output.stdout)
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(engines.len(), 2);
    refused(&kept.from(&["points"]), 2, "several engines");
    let lobby = ["--ns", "rooms", "--object", "lobby", "k"];
    let mut values: Vec<String> = engines
        .iter()
        .map(|engine| {
            let id = engine["engine"].as_str().unwrap();
            let to = kept.at(id);
            kept.told(&["restore", "--to", &to, "--engine", id]);
            stdout(&[&["get", "--dir", &to], &lobby[..]].concat())
        })
        .collect();
    values.sort();
    assert_eq!(values, ["other", "second"]);
}

/// Runs a command that finds its archive on a real S3 server.
fn on(s3: &S3, args: &[&str]) -> Output {
    lineal().args(args).envs(s3.environment()).stdin(Stdio::null()).output().unwrap()
}

#[test]
fn an_archive_on_s3_is_kept_attached_and_restored() {
    let Some(s3) = S3::start() else { return };
    let root = tempfile::tempdir().unwrap();
    let (data, restored) = (root.path().join("data"), root.path().join("restored"));
    let url = s3.url("some/prefix");
    let exec = |more: &[&str]| {
        let args = ["exec", "--dir", text(&data), "--archive", &url, "--durability", "archived"];
        Exec::spawn(lineal().args(args).args(more).envs(s3.environment()))
    };
    let mut first = exec(&[]);
    first.done(PUT);
    first.kill();
    // The machine is lost with all that it had, and what was told is there.
    fs::remove_dir_all(&data).unwrap();
    let mut second = exec(&["--attach"]);
    assert_eq!(second.done(r#"{"op":"get","ns":"rooms","obj":"lobby","key":"k"}"#)["value"], "first");
    second.done(&PUT.replace("first", "second"));
    assert_eq!(second.end(), 0);
    let output = on(&s3, &["restore", "--from", &url, "--to", text(&restored), "--json"]);
    assert_eq!(code(&output), 0, "{output:?}");
    assert_eq!(dump(&restored)[0]["value"], "second");
    let output = on(&s3, &["archive", "scrub", "--from", &url]);
    assert_eq!(code(&output), 0, "{output:?}");
    let missing = on(&s3, &["points", "--from", "s3://lineal-no-such-bucket/x"]);
    refused(&missing, 7, "lineal-no-such-bucket");
}

#[test]
fn credentials_that_are_wrong_are_code_7_and_shown_nowhere() {
    let Some(s3) = S3::start_closed() else { return };
    let output = on(&s3, &["points", "--from", &s3.url("prefix"), "--json"]);
    assert_eq!(code(&output), 7, "{output:?}");
    let error: Value = serde_json::from_slice(&output.stderr).unwrap();
    assert_eq!(error["error"], "ArchiveDenied", "{error}");
    assert!(!error["message"].as_str().unwrap().contains("only for tests"), "{error}");
}

#[test]
fn the_demo_loses_its_directory_and_goes_on_from_the_archive() {
    let Some(s3) = S3::start() else { return };
    let root = tempfile::tempdir().unwrap();
    let url = s3.url("demo");
    let repo = text(root.path());
    let output = on(&s3, &["demo", "--repo", repo, "--archive", &url, "--json"]);
    assert_eq!(code(&output), 0, "{}", String::from_utf8_lossy(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let archive = &report["archive"];
    assert_eq!(report["mismatches"], 0, "{report}");
    assert_eq!(archive["store"].as_str(), Some(&*url), "{report}");
    assert!(
        archive["gets"].as_u64().unwrap() > 0 && archive["attached_ms"].as_f64().unwrap() > 0.0,
        "{report}"
    );
    assert_eq!(archive["verified"]["objects"], report["verified"]["objects"], "{report}");
}

#[test]
fn a_manifest_that_is_lost_is_made_again() {
    let kept = Kept::new();
    let whole = dump(&kept.path("data"));
    let before = image(&kept.path("archive"));
    assert_eq!(kept.told(&["repair"])["was"], Value::Null);
    assert_eq!(image(&kept.path("archive")), before, "what is whole is left alone");
    let manifest = kept.files("/manifest").remove(0);
    fs::remove_file(&manifest).unwrap();
    refused(&kept.from(&["points"]), 3, "manifest");

    let before = image(&kept.path("archive"));
    let planned = kept.told(&["repair", "--dry-run"]);
    assert!(planned["was"].as_str().unwrap().ends_with("manifest is missing"), "{planned}");
    assert!(planned["dry_run"] == true && planned["packs"].as_u64().unwrap() > 0, "{planned}");
    assert_eq!(planned["left_out"], Value::Array(Vec::new()));
    let said = kept.from(&["repair", "--dry-run"]);
    assert!(String::from_utf8_lossy(&said.stdout).contains("it would be made again"), "{said:?}");
    assert_eq!(image(&kept.path("archive")), before, "a dry run changes nothing");
    let said = kept.from(&["repair"]);
    assert_eq!(code(&said), 0, "{said:?}");
    assert!(
        String::from_utf8_lossy(&said.stdout).contains("manifest is missing; it was made again"),
        "{said:?}"
    );
    let to = kept.path("restored");
    kept.told(&["restore", "--to", text(&to)]);
    assert_eq!(dump(&to), whole);
    let mut exec = kept.exec("data", &[]);
    exec.done(PUT);
    // Somebody has it now.
    fs::write(&manifest, "damaged").unwrap();
    refused(&kept.from(&["repair"]), 4, "in use by");
    assert_eq!(code(&kept.from(&["repair", "--force"])), 0);
    exec.kill();

    let help = lineal().args(["repair", "--help"]).output().unwrap();
    let help = String::from_utf8_lossy(&help.stdout).into_owned();
    assert!(help.contains("Examples:") && help.contains("Exit codes:"), "{help}");
}

#[test]
fn what_a_repair_has_to_do_without_is_named_and_is_code_3() {
    let kept = Kept::new();
    fs::remove_file(kept.files("/manifest").remove(0)).unwrap();
    let mut packs = kept.files("archive/");
    packs.retain(|file| file.extension().is_none() && file.parent().unwrap().ends_with("packs"));
    let pack = packs.last().unwrap();
    let mut bytes = fs::read(pack).unwrap();
    bytes[200] ^= 4;
    fs::write(pack, bytes).unwrap();
    let name = pack.file_name().unwrap().to_str().unwrap();
    let output = kept.from(&["repair", "--json"]);
    assert_eq!(code(&output), 3, "{output:?}");
    let repaired: Value = serde_json::from_slice(&output.stdout).unwrap();
    let left_out = repaired["left_out"].as_array().unwrap();
    assert!(left_out.iter().any(|left| left["key"].as_str().unwrap().ends_with(name)), "{repaired}");
    // The log is all there, so nothing is lost but time.
    kept.told(&["restore", "--to", &kept.at("restored")]);
    assert_eq!(dump(&kept.path("restored")), dump(&kept.path("data")));
    // Nothing at all is not an archive.
    let nowhere = format!("file://{}", kept.at("nowhere"));
    refused(&run(&["repair", "--from", &nowhere]), 8, "an archive");
}
