//! `lineal demo` on a small repository with odd content, and without one.

use std::{
    ffi::OsStr,
    fs,
    os::unix::{
        ffi::OsStrExt,
        fs::{PermissionsExt, symlink},
    },
    path::Path,
    process::{Command, Stdio},
};

use serde_json::Value;

use crate::support::{lineal, stdout, text};

fn git(repo: &Path, args: &[&str]) -> String {
    let output = Command::new("git")
        .arg("-C")
        .arg(repo)
        .args([
            "-c",
            "user.name=T\u{e9}st",
            "-c",
            "user.email=t@example.com",
            "-c",
            "protocol.file.allow=always",
        ])
        .args(args)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn commit(repo: &Path, message: &str) {
    git(repo, &["add", "-A"]);
    git(repo, &["commit", "-q", "--allow-empty", "--allow-empty-message", "-m", message]);
}

/// A history with merges, modes, links, a submodule, renames, a file that becomes a folder, and odd paths.
fn repository(repo: &Path) {
    fs::create_dir_all(repo).unwrap();
    git(repo, &["init", "-q", "-b", "main"]);
    fs::write(repo.join("plain.txt"), "one\n").unwrap();
    fs::write(repo.join("with space and \u{e9}"), "two\n").unwrap();
    fs::write(repo.join("line\nbreak\ttab"), "three\n").unwrap();
    fs::write(repo.join(":colon"), "four\n").unwrap();
    fs::write(repo.join(OsStr::from_bytes(b"not-\xff-utf8")), [0, 255, 13, 10]).unwrap();
    fs::write(repo.join("empty"), "").unwrap();
    fs::write(repo.join("becomes"), "a file\n").unwrap();
    commit(repo, "first\n\nwith a body");
    commit(repo, "");
    let deep = repo.join("d".repeat(200)).join("e".repeat(200)).join("f".repeat(200));
    let deep = deep.join("g".repeat(200)).join("h".repeat(200)).join("i".repeat(200));
    fs::create_dir_all(&deep).unwrap();
    fs::write(deep.join("long path"), "five\n").unwrap();
    symlink("plain.txt", repo.join("link")).unwrap();
    fs::remove_file(repo.join("becomes")).unwrap();
    fs::create_dir(repo.join("becomes")).unwrap();
    fs::write(repo.join("becomes/a folder"), "six\n").unwrap();
    commit(repo, "second");
    git(repo, &["checkout", "-q", "-b", "side"]);
    fs::write(repo.join("side"), "from the side\n").unwrap();
    commit(repo, "side");
    git(repo, &["checkout", "-q", "main"]);
    fs::write(repo.join("plain.txt"), "one and more\n").unwrap();
    fs::rename(repo.join("with space and \u{e9}"), repo.join("renamed")).unwrap();
    commit(repo, "third");
    git(repo, &["merge", "-q", "--no-edit", "side"]);
    git(repo, &["update-index", "--chmod=+x", "plain.txt"]);
    git(repo, &["commit", "-q", "-m", "mode only"]);
    git(repo, &["checkout", "-q", "--", "."]);
    // A submodule needs no repository of its own to stand in a tree.
    let head = git(repo, &["rev-parse", "HEAD"]);
    git(repo, &["update-index", "--add", "--cacheinfo", &format!("160000,{},sub", head.trim())]);
    git(repo, &["commit", "-q", "-m", "submodule"]);
    for number in 0..30 {
        fs::write(repo.join("often"), format!("{number}\n").repeat(number)).unwrap();
        fs::write(repo.join(format!("file {}", number % 5)), format!("{number}")).unwrap();
        git(repo, &["add", "often", &format!("file {}", number % 5)]);
        git(repo, &["commit", "-q", "-m", &format!("edit {number}")]);
    }
    git(repo, &["rm", "-q", "--", "empty", ":(literal):colon"]);
    git(repo, &["commit", "-q", "-m", "delete"]);
}

fn demo(args: &[&str]) -> Value {
    let report = stdout(&[&["demo", "--json"], args].concat());
    serde_json::from_str(&report).unwrap()
}

fn check_report(report: &Value, commits: u64, restored: u64) {
    assert_eq!(report["mismatches"], 0, "{report}");
    assert_eq!(report["commits"], commits, "{report}");
    assert!(report["killed_after_commits"].as_u64().unwrap() >= commits / 2, "{report}");
    assert!(report["found_after_kill"].as_u64() >= report["killed_after_commits"].as_u64(), "{report}");
    let past = &report["past"];
    assert!(past["pairs"].as_u64().unwrap() >= commits.min(50), "{report}");
    assert!(past["restored"] == restored && past["forked"] == 1, "{report}");
    assert!(past["commits"].as_u64().unwrap() >= 1 && past["commits"] == past["commits_in_git"], "{report}");
    for positive in
        ["objects", "transactions", "bytes", "fsyncs", "disk_bytes", "recovery_ms", "commits_per_second"]
    {
        assert!(report[positive].as_f64().unwrap() > 0.0, "{positive}: {report}");
    }
}

#[test]
fn a_repository_is_replayed_to_the_last_byte_with_a_kill_in_the_middle() {
    let dir = tempfile::tempdir().unwrap();
    let repo = dir.path().join("the repo");
    repository(&repo);
    let commits: u64 = git(&repo, &["rev-list", "--count", "--first-parent", "HEAD"]).trim().parse().unwrap();
    let data = dir.path().join("data");
    let report = demo(&["--repo", text(&repo), "--dir", text(&data)]);
    check_report(&report, commits, 10);
    // Merged from the side or changed by mode alone: git and the object list the same commits.
    assert_eq!(report["past"]["listed"], "often", "{report}");
    let files =
        git(&repo, &["ls-tree", "-r", "-z", "HEAD"]).split('\0').filter(|e| e.contains(" blob ")).count();
    assert_eq!(report["objects"], files);
    assert_eq!(report["submodules_skipped"], 1);

    let at = text(&data);
    assert_eq!(
        stdout(&["get", "--dir", at, "--ns", "files", "--object", "plain.txt", "content"]),
        "one and more\n"
    );
    assert_eq!(stdout(&["get", "--dir", at, "--ns", "files", "--object", "plain.txt", "mode"]), "100755");
    assert_eq!(stdout(&["get", "--dir", at, "--ns", "files", "--object", "link", "content"]), "plain.txt");

    assert!(stdout(&["objects", "--dir", at, "--ns", "demo"]).contains("fork"));

    // The same from a folder inside, a bare clone, a shallow one, and only the last commits.
    let inside = lineal().args(["demo", "--json"]).current_dir(repo.join("becomes")).output().unwrap();
    check_report(&serde_json::from_slice(&inside.stdout).unwrap(), commits, 10);
    let (bare, shallow) = (dir.path().join("bare"), dir.path().join("shallow"));
    git(dir.path(), &["clone", "-q", "--bare", text(&repo), text(&bare)]);
    check_report(&demo(&["--repo", text(&bare)]), commits, 10);
    let url = format!("file://{}", text(&repo));
    git(dir.path(), &["clone", "-q", "--depth", "3", "--no-checkout", &url, text(&shallow)]);
    check_report(&demo(&["--repo", text(&shallow)]), 3, 10);
    check_report(&demo(&["--repo", text(&repo), "--commits", "10"]), 11, 10);
}

#[test]
fn files_over_the_value_limit_are_kept_in_pieces() {
    let dir = tempfile::tempdir().unwrap();
    let repo = dir.path().join("repo");
    fs::create_dir(&repo).unwrap();
    git(&repo, &["init", "-q", "-b", "main"]);
    let large =
        |megabytes: usize| (0..megabytes << 18).flat_map(|n| (n as u32).to_le_bytes()).collect::<Vec<u8>>();
    fs::write(repo.join("large"), large(40)).unwrap();
    fs::write(repo.join("other"), large(16)).unwrap();
    commit(&repo, "first");
    fs::write(repo.join("large"), large(17)).unwrap();
    fs::write(repo.join("other"), [large(16), vec![1]].concat()).unwrap();
    commit(&repo, "second");
    fs::write(repo.join("large"), "small").unwrap();
    commit(&repo, "third");
    let report = demo(&["--repo", text(&repo)]);
    check_report(&report, 3, 2);
    // Written in several transactions, and one commit of git's.
    assert_eq!(
        (&report["past"]["listed"], &report["past"]["commits"]),
        (&"large".into(), &3.into()),
        "{report}"
    );
}

/// A git that is asked for the past and answers with something else.
fn lying_git(dir: &Path, lie: &str) {
    fs::create_dir_all(dir).unwrap();
    let which = Command::new("sh").args(["-c", "command -v git"]).output().unwrap();
    let git = String::from_utf8(which.stdout).unwrap();
    let script = format!("#!/bin/sh\n{lie}\nexec $GIT \"$@\"\n");
    fs::write(dir.join("git"), script.replace("$GIT", git.trim())).unwrap();
    fs::set_permissions(dir.join("git"), fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn a_git_that_has_another_past_ends_the_demo_with_exit_code_1() {
    let dir = tempfile::tempdir().unwrap();
    let repo = dir.path().join("repo");
    fs::create_dir(&repo).unwrap();
    git(&repo, &["init", "-q", "-b", "main"]);
    let edit = |content: &str| {
        fs::write(repo.join("file"), content).unwrap();
        commit(&repo, "edit");
    };
    edit("0");
    edit("1");
    // Two commits of a side are one of the merge's; what is done in a folder of the same path is none of the file's.
    git(&repo, &["checkout", "-q", "-b", "side"]);
    edit("2");
    edit("3");
    git(&repo, &["checkout", "-q", "main"]);
    git(&repo, &["merge", "-q", "--no-ff", "--no-edit", "side"]);
    fs::remove_file(repo.join("file")).unwrap();
    fs::create_dir(repo.join("file")).unwrap();
    fs::write(repo.join("file/inside"), "4").unwrap();
    commit(&repo, "a folder");
    fs::write(repo.join("file/inside"), "5").unwrap();
    commit(&repo, "inside");
    fs::remove_dir_all(repo.join("file")).unwrap();
    edit("6");
    edit("7");
    // The first commit is older than all that the replay itself compares, so only the look at the past sees its tree.
    let commits = git(&repo, &["rev-list", "--reverse", "--first-parent", "HEAD"]);
    let (first, second) = commits.split_once('\n').unwrap();
    let second = second.lines().next().unwrap();
    let tree = format!(
        "case \"$*\" in *ls-tree*{}*) exec $GIT -C {} ls-tree -r -z --full-tree {};; esac",
        first,
        text(&repo),
        second
    );
    let log = format!(
        "case \"$*\" in *literal*) exec $GIT -C {} log -z --raw --no-abbrev --format='tformat:%H%x00%an' HEAD -- file;; esac",
        text(&repo)
    );
    for (lie, wanted) in [
        (String::new(), &["file: 6 commits, 6 in git", "mismatches         0"][..]),
        (tree, &["the content differs", "restored: the content differs", "forked: the content differs"]),
        (log, &["file: 6 commits, 7 in git", "the history of file: the object has"]),
    ] {
        let bin = dir.path().join("bin");
        lying_git(&bin, &lie);
        let path = format!("{}:{}", text(&bin), std::env::var("PATH").unwrap());
        let output = lineal().args(["demo", "--repo", text(&repo)]).env("PATH", path).output().unwrap();
        let report = String::from_utf8_lossy(&output.stdout);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(i32::from(!lie.is_empty())), "{lie}: {report}{stderr}");
        for wanted in wanted {
            assert!(report.contains(wanted), "{wanted}: {report}{stderr}");
        }
    }
}

#[test]
fn without_a_history_the_built_in_data_set_is_replayed() {
    let dir = tempfile::tempdir().unwrap();
    let output = lineal().args(["demo", "--json"]).current_dir(dir.path()).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{stderr}");
    assert!(stderr.contains("no git history"), "{stderr}");
    check_report(&serde_json::from_slice(&output.stdout).unwrap(), 3_000, 10);
    // Neither a repository without commits nor a machine without git is an error.
    git(dir.path(), &["init", "-q"]);
    let output = lineal().args(["demo"]).current_dir(dir.path()).env("PATH", "").output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("mismatches") && text.contains("built-in"), "{text}");
}
