//! Real processes: killed at random moments and at their system calls, with syncs that fail, short of something, and several for
//! one directory. `lineal-tests kills`, `calls`, `races` and `leaks` do more of it.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::{FileTypeExt, symlink},
    path::{Path, PathBuf},
    process::Command,
    sync::mpsc::channel,
    time::Duration,
};

use lineal::Error;
use lineal_tests::{
    damage::{End, Fixture, large_steps},
    real::{
        calls, full, have, kills,
        limits::{self, Little},
        races, root, tool, worker,
    },
};
use tempfile::TempDir;

fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_lineal-tests"))
}

/// A folder in memory, if there is one: what the kernel has survives a process there, too, and syncs cost nothing.
fn in_memory() -> TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

#[test]
fn what_was_acknowledged_survives_a_kill_at_any_moment() {
    let temp = tempfile::tempdir().unwrap();
    let tally = kills::run(program(), temp.path(), 60, 7, |found| eprintln!("{found}")).unwrap();
    println!("{tally:?}");
    assert!(tally.acks > 500 && tally.opening > 0, "{tally:?}: the workers did too little to test anything");
}

#[test]
fn what_was_acknowledged_survives_a_kill_at_a_system_call() {
    let Some(_) = have("strace", tool("strace")) else { return };
    let temp = in_memory();
    let tally = calls::kill_at_each(program(), temp.path(), 41).unwrap();
    println!("{tally:?}");
    assert!(tally.runs.len() >= 6 && tally.acks > 100, "{tally:?}");
}

#[test]
fn after_a_failed_sync_nothing_is_acknowledged_and_no_file_is_synced_again() {
    let Some(_) = have("strace", tool("strace")) else { return };
    let temp = in_memory();
    let tally = calls::fail_each_sync(program(), temp.path(), 13).unwrap();
    println!("{tally:?}");
    assert!(tally.poisoned >= 2 && tally.runs.len() == 2, "{tally:?}");
}

#[test]
fn of_processes_that_race_for_a_directory_one_wins() {
    let temp = in_memory();
    let tally = races::run(program(), temp.path(), 120).unwrap();
    println!("{tally:?}");
    assert!(tally.killed > 10, "{tally:?}");
}

#[test]
fn opening_and_closing_leaves_nothing_in_the_process() {
    // In a process of its own, which nobody else opens files in.
    let output = Command::new(program()).args(["leaks", "--count", "100"]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

#[test]
fn a_process_with_few_descriptors_says_so() {
    let Some(_) = have("prlimit", tool("prlimit")) else { return };
    let temp = in_memory();
    let mut ends = BTreeMap::new();
    for amount in (4..40).step_by(3) {
        let dir = temp.path().join(amount.to_string());
        let ended = limits::with_little(program(), &dir, Little::Descriptors, amount).unwrap();
        ends.insert(amount, ended.status.code());
    }
    println!("{ends:?}");
    assert!(ends[&4] != Some(0) && ends.values().any(|code| *code == Some(0)), "{ends:?}");
}

#[test]
fn a_process_that_may_start_few_threads_says_so() {
    let Some(_) = have("prlimit", tool("prlimit")) else { return };
    let Some(()) = have("root", root()) else { return };
    // The program, in a place that nobody may enter, would not start.
    let temp = tempfile::tempdir().unwrap();
    fs::set_permissions(temp.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let copy = temp.path().join("lineal-tests");
    fs::copy(program(), &copy).unwrap();
    let mut ends = BTreeMap::new();
    for amount in 1..9 {
        let dir = temp.path().join(amount.to_string());
        let ended = limits::with_little(&copy, &dir, Little::Threads, amount).unwrap();
        ends.insert(amount, ended.status.code());
    }
    println!("{ends:?}");
    assert!(ends[&1] != Some(0) && ends.values().any(|code| *code == Some(0)), "{ends:?}");
}

#[test]
fn a_process_without_memory_ends_and_loses_nothing() {
    let Some(_) = have("prlimit", tool("prlimit")) else { return };
    let temp = in_memory();
    let mut ends = BTreeMap::new();
    for amount in [20, 30, 35, 40, 45, 50, 60, 4_000] {
        let dir = temp.path().join(amount.to_string());
        let ended = limits::with_little(program(), &dir, Little::Memory, amount).unwrap();
        ends.insert(amount, ended.status.code());
    }
    println!("{ends:?}");
    assert!(ends[&20] != Some(0) && ends[&4_000] == Some(0), "{ends:?}");
}

#[test]
fn files_that_may_not_grow_are_a_full_disk_or_a_kill() {
    let Some(_) = have("prlimit", tool("prlimit")) else { return };
    let temp = in_memory();
    let mut ends = Vec::new();
    for bytes in [0, 1 << 10, 70 << 10, 200 << 10, 1 << 20, 8 << 20] {
        for deadly in [false, true] {
            let dir = temp.path().join(format!("{bytes} {deadly}"));
            let ended = full::short_files(program(), &dir, bytes, deadly)
                .unwrap_or_else(|why| panic!("{bytes} bytes, deadly {deadly}: {why}"));
            ends.push((bytes, deadly, ended.status, ended.words.last().cloned()));
        }
    }
    println!("{ends:#?}");
    assert!(ends.iter().any(|(.., status, _)| status.success()), "{ends:?}");
}

/// What may stand where a file of ours should be.
#[derive(Clone, Copy, Debug)]
enum Odd {
    Link,
    LinkToFolder,
    Dangling,
    Pipe,
    Folder,
    Socket,
}

const ODD: [Odd; 6] = [Odd::Link, Odd::LinkToFolder, Odd::Dangling, Odd::Pipe, Odd::Folder, Odd::Socket];

impl Odd {
    /// Puts it there; where it leads to is outside.
    fn put(self, path: &Path, outside: &Path) {
        let _ = fs::create_dir_all(path.parent().unwrap());
        match self {
            Odd::Link => symlink(outside.join("file"), path).unwrap(),
            Odd::LinkToFolder => symlink(outside, path).unwrap(),
            Odd::Dangling => symlink(outside.join("nothing"), path).unwrap(),
            Odd::Pipe => {
                assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
            }
            Odd::Folder => {
                fs::create_dir(path).unwrap();
                fs::write(path.join("notes"), "mine").unwrap();
            }
            Odd::Socket => drop(std::os::unix::net::UnixListener::bind(path).unwrap()),
        }
    }

    /// Whether it is as it was put there.
    fn is_there(self, path: &Path) -> bool {
        let Ok(found) = fs::symlink_metadata(path) else { return false };
        match self {
            Odd::Link | Odd::LinkToFolder | Odd::Dangling => found.is_symlink(),
            Odd::Pipe => found.file_type().is_fifo(),
            Odd::Folder => fs::read(path.join("notes")).is_ok_and(|notes| notes == b"mine"),
            Odd::Socket => found.file_type().is_socket(),
        }
    }
}

/// Opens, writes and closes with somebody watching that it ends.
fn use_it(dir: PathBuf, read_only: bool) -> Result<(), Error> {
    let (tell, hear) = channel();
    std::thread::spawn(move || {
        let opened = || -> lineal::Result<()> {
            if read_only {
                return worker::options().open_read_only(dir)?.close();
            }
            let engine = worker::options().open(dir)?;
            let object = engine.namespace("n")?.object("o")?;
            object.transact(|tx| tx.put("k", vec![1; 3_000])).wait()?;
            engine.checkpoint()?;
            engine.compact()?;
            drop(object);
            engine.close()
        };
        tell.send(opened())
    });
    hear.recv_timeout(Duration::from_secs(60)).expect("it ends")
}

#[test]
fn what_is_no_file_is_refused_or_passed_over_and_never_followed() {
    let fixture = Fixture::make(&large_steps(), End::Killed);
    let log = fixture.image.keys().find(|path| path.ends_with(".log")).unwrap().clone();
    let pack = fixture.image.keys().find(|path| path.ends_with(".pack")).unwrap().clone();
    let ours =
        ["LINEAL", "LOCK", "BALLAST", "catalog.redb", "log/LIST", "log/LIST.new", &log, &pack, "roots/0"];
    // Names that an engine might use, and those that it never does.
    let others =
        ["log/00000000000000aa.log", "packs/00000000000000aa.pack", "notes", "packs/notes", "log/notes"];
    let (mut refused, mut passed) = (0, 0);
    for (name, mine) in ours.iter().map(|name| (*name, false)).chain(others.map(|name| (name, true))) {
        for odd in ODD {
            for read_only in [true, false] {
                let context = format!("{name} is {odd:?}, read-only {read_only}");
                let (temp, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
                fs::write(outside.path().join("file"), "somebody's").unwrap();
                for (path, bytes) in &fixture.image {
                    let path = temp.path().join(path);
                    fs::create_dir_all(path.parent().unwrap()).unwrap();
                    fs::write(path, bytes).unwrap();
                }
                let path = temp.path().join(name);
                let _ = fs::remove_file(&path);
                odd.put(&path, outside.path());
                match use_it(temp.path().to_path_buf(), read_only) {
                    Ok(()) => passed += 1,
                    Err(error) => {
                        assert!(
                            !error.to_string().is_empty() && !matches!(error, Error::Poisoned { .. }),
                            "{context}: {error:?}"
                        );
                        refused += 1;
                    }
                }
                assert_eq!(fs::read(outside.path().join("file")).unwrap(), b"somebody's", "{context}");
                assert_eq!(
                    fs::read_dir(outside.path()).unwrap().count(),
                    1,
                    "{context}: nothing is made outside"
                );
                if mine || read_only {
                    assert!(odd.is_there(&path), "{context}: it is gone");
                }
            }
        }
    }
    println!("refused {refused}, passed over {passed}");
    assert!(refused > 20 && passed > 20);
}
