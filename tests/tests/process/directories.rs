//! Directories, names and sizes that are not as they should be: typed errors at once, nothing created, nothing changed.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use lineal::{Engine, Error, NAME_BYTES_MAX, Options, Quotas};
use lineal_tests::{
    damage::{End, Fixture, small_steps, small_steps_and_log},
    world,
};

/// Refusals come within this.
const AT_ONCE: Duration = Duration::from_secs(1);

const CHILD_DIR: &str = "LINEAL_TESTS_DIRECTORIES_DIR";

fn options() -> Options {
    Options::new().segment_bytes(64 << 10, 256 << 10).reserve_bytes(0)
}

/// Everything below a directory: the bytes of files, and which folders there are.
fn tree(dir: &Path) -> BTreeMap<PathBuf, Option<Vec<u8>>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![dir.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path.clone());
                found.insert(path, None);
            } else {
                let bytes = fs::read(&path).unwrap();
                found.insert(path, Some(bytes));
            }
        }
    }
    found
}

fn lay_out(fixture: &Fixture, dir: &Path) {
    for (path, bytes) in &fixture.image {
        let path = dir.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
}

/// Opens in both ways, which both are refused at once and change nothing below `around`.
fn refused(dir: &Path, around: &Path) -> [Error; 2] {
    let before = tree(around);
    [false, true].map(|read_only| {
        let started = Instant::now();
        let opened = if read_only { options().open_read_only(dir) } else { options().open(dir) };
        assert!(started.elapsed() < AT_ONCE, "{:?}", started.elapsed());
        let error = opened.expect_err("it is refused");
        assert_eq!(tree(around), before, "nothing is created or changed, read-only {read_only}: {error}");
        error
    })
}

#[test]
fn a_file_is_no_directory() {
    let temp = tempfile::tempdir().unwrap();
    let file = temp.path().join("file");
    fs::write(&file, "somebody's notes").unwrap();
    for error in refused(&file, temp.path()) {
        assert!(matches!(error, Error::InvalidDirectory { .. }), "{error:?}");
    }
    for error in refused(&file.join("below"), temp.path()) {
        assert!(matches!(error, Error::InvalidDirectory { .. } | Error::NotFound { .. }), "{error:?}");
    }
}

#[test]
fn a_directory_of_somebody_elses_files_is_left_alone() {
    let temp = tempfile::tempdir().unwrap();
    fs::write(temp.path().join("notes.txt"), "mine").unwrap();
    for error in refused(temp.path(), temp.path()) {
        assert!(matches!(error, Error::InvalidDirectory { .. }), "{error:?}");
    }
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("photos")).unwrap();
    fs::write(folder.path().join("photos/one.jpg"), "pixels").unwrap();
    // Only folders: it may be taken, and they stay.
    if let Ok(engine) = options().open(folder.path()) {
        engine.close().unwrap();
    }
    assert_eq!(fs::read(folder.path().join("photos/one.jpg")).unwrap(), b"pixels");
}

#[test]
fn files_beside_ours_are_left_alone() {
    let temp = tempfile::tempdir().unwrap();
    lay_out(&Fixture::make(&small_steps_and_log(), End::Killed), temp.path());
    let foreign = ["notes.txt", "log/notes.txt", "packs/notes.txt", "packs/1.pack", ".hidden", "log/LIST"];
    for path in foreign {
        fs::write(temp.path().join(path), path).unwrap();
    }
    let engine = options().open(temp.path()).unwrap();
    let object = engine.namespace("other").unwrap().object("o").unwrap();
    object.transact(|tx| tx.put("k", "v")).wait().unwrap();
    engine.checkpoint().unwrap();
    engine.compact().unwrap();
    engine.close().unwrap();
    for path in foreign {
        assert_eq!(fs::read(temp.path().join(path)).unwrap(), path.as_bytes(), "{path}");
    }
    options().open(temp.path()).unwrap().verify(&mut |_| ()).unwrap();
}

#[test]
fn a_missing_directory_is_made_for_writing_only() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("a/b/c");
    let error = options().open_read_only(&dir).expect_err("there is nothing to read");
    assert!(matches!(error, Error::NotFound { .. }), "{error:?}");
    assert!(tree(temp.path()).is_empty());
    options().open(&dir).unwrap().close().unwrap();
    assert!(dir.join("LINEAL").exists());
    let empty = tempfile::tempdir().unwrap();
    let error = options().open_read_only(empty.path()).expect_err("it is empty");
    assert!(matches!(error, Error::InvalidDirectory { .. }), "{error:?}");
    assert!(tree(empty.path()).is_empty());
}

#[test]
fn a_read_only_directory_is_refused_for_writing() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("data");
    fs::create_dir(&dir).unwrap();
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o555)).unwrap();
    if fs::write(dir.join("probe"), "").is_ok() {
        println!("SKIPPED: this user writes to read-only directories (root)");
        return;
    }
    let error = options().open(&dir).expect_err("it cannot be written");
    assert!(matches!(error, Error::InvalidDirectory { .. }), "{error:?}");
    let parent = options().open(dir.join("below")).expect_err("it cannot be made");
    assert!(matches!(parent, Error::InvalidDirectory { .. }), "{parent:?}");
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn a_directory_of_a_newer_format_is_refused_untouched() {
    let temp = tempfile::tempdir().unwrap();
    lay_out(&Fixture::make(&small_steps(), End::Closed), temp.path());
    let path = temp.path().join("LINEAL");
    let mut bytes = fs::read(&path).unwrap();
    bytes[8] = 2;
    let crc = crc32(&bytes[..32]);
    bytes[32..36].copy_from_slice(&crc.to_le_bytes());
    fs::write(&path, bytes).unwrap();
    for error in refused(temp.path(), temp.path()) {
        assert!(
            matches!(&error, Error::NewerVersion { file, found: 2, known: 1 } if file == "LINEAL"),
            "{error:?}"
        );
    }
}

/// CRC-32 as the format says, written a second time.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0xEDB8_8320 & (crc & 1).wrapping_neg()))
    })
}

#[test]
fn a_second_open_is_refused_in_this_process_and_in_another() {
    let temp = tempfile::tempdir().unwrap();
    let engine = options().open(temp.path()).unwrap();
    let locked = |opened: lineal::Result<Engine>| {
        let error = opened.expect_err("it is open already");
        assert!(matches!(error, Error::Locked { .. }), "{error:?}");
    };
    let started = Instant::now();
    locked(options().open(temp.path()));
    locked(options().open_read_only(temp.path()));
    assert!(started.elapsed() < AT_ONCE);
    assert_eq!(open_in_child(temp.path()), "writable Locked read-only Locked");
    let object = engine.namespace("n").unwrap().object("o").unwrap();
    object.transact(|tx| tx.put("k", "v")).wait().unwrap();
    engine.close().unwrap();
    assert_eq!(open_in_child(temp.path()), "writable ok read-only ok");
    // Readers share.
    let reader = options().open_read_only(temp.path()).unwrap();
    let other = options().open_read_only(temp.path()).unwrap();
    assert_eq!(open_in_child(temp.path()), "writable Locked read-only ok");
    drop((reader, other));
    let writer = options().open(temp.path()).unwrap();
    let value =
        writer.namespace("n").unwrap().object("o").unwrap().read(|view| view.get("k")).wait().unwrap();
    assert_eq!(value.as_deref(), Some(&b"v"[..]));
}

#[test]
fn of_many_that_open_at_once_one_wins() {
    let temp = tempfile::tempdir().unwrap();
    for _ in 0..20 {
        let outcomes: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(|| options().open(temp.path()))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1);
        for outcome in &outcomes {
            assert!(matches!(outcome, Ok(_) | Err(Error::Locked { .. })), "{outcome:?}");
        }
    }
}

fn open_in_child(dir: &Path) -> String {
    let started = Instant::now();
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "directories::child", "--nocapture", "--test-threads", "1"])
        .env(CHILD_DIR, dir)
        .output()
        .unwrap();
    assert!(started.elapsed() < 2 * AT_ONCE, "{:?}", started.elapsed());
    let text = String::from_utf8(output.stdout).unwrap();
    let told = text.lines().find_map(|line| line.split_once("told: ")).map(|(_, told)| told.to_owned());
    told.unwrap_or_else(|| panic!("the child said {text:?}"))
}

/// Not a test of its own: what the child process runs.
#[test]
fn child() {
    let Some(dir) = std::env::var_os(CHILD_DIR) else { return };
    let told = |opened: lineal::Result<Engine>| match opened {
        Ok(engine) => engine.close().map_or_else(|error| error.name(), |()| "ok"),
        Err(error) => error.name(),
    };
    let writable = told(options().open(&dir));
    println!("told: writable {writable} read-only {}", told(options().open_read_only(&dir)));
}

#[test]
fn reading_changes_no_byte_also_after_a_kill() {
    for (steps, end) in [(small_steps(), End::Closed), (small_steps_and_log(), End::Killed)] {
        let temp = tempfile::tempdir().unwrap();
        let fixture = Fixture::make(&steps, end);
        lay_out(&fixture, temp.path());
        let before = tree(temp.path());
        let engine = options().open_read_only(temp.path()).unwrap();
        assert_eq!(world::dump(&engine).unwrap(), fixture.state);
        engine.verify(&mut |_| ()).unwrap();
        let object = engine.existing_namespace(world::NAMESPACE).unwrap().object("object 0").unwrap();
        assert!(matches!(object.transact(|tx| tx.put("k", "v")).wait(), Err(Error::ReadOnly)));
        assert!(matches!(object.delete().wait(), Err(Error::ReadOnly)));
        assert!(matches!(engine.checkpoint(), Err(Error::ReadOnly)));
        assert!(matches!(engine.namespace("new"), Err(Error::NotFound { .. })));
        assert_eq!(world::dump(&engine).unwrap(), fixture.state, "what was refused left nothing");
        engine.close().unwrap();
        assert_eq!(tree(temp.path()), before, "{end:?}");
    }
}

#[test]
fn any_name_within_the_limit_works_and_is_never_a_path() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("data");
    let long = "x".repeat(NAME_BYTES_MAX);
    let names = [
        "../x",
        "..",
        ".",
        "/",
        "/etc/passwd",
        "a/b",
        "nul \0 inside",
        "\0",
        "\u{1F980}\u{200D}\u{1F525}",
        " ",
        "\n",
        "C:\\x",
        "%2e%2e",
        "e\u{301}",
        "\u{e9}",
        "LINEAL",
        long.as_str(),
        "ns/",
        "next",
    ];
    let engine = options().open(&dir).unwrap();
    for namespace in names {
        let namespace = engine.namespace(namespace).unwrap();
        for name in names {
            let value = format!("{}|{name}", namespace.name());
            namespace.object(name).unwrap().transact(|tx| tx.put("k", &value)).wait().unwrap();
        }
    }
    engine.close().unwrap();
    let engine = options().open(&dir).unwrap();
    let mut listed: Vec<String> = engine.namespaces().unwrap().iter().map(|n| n.name().to_owned()).collect();
    listed.sort_unstable();
    let mut wanted: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    wanted.sort_unstable();
    assert_eq!(listed, wanted);
    for namespace in engine.namespaces().unwrap() {
        let mut objects: Vec<String> =
            namespace.objects().unwrap().map(|info| info.unwrap().name.unwrap()).collect();
        objects.sort_unstable();
        assert_eq!(objects, wanted);
        for name in names {
            let value = namespace.object(name).unwrap().read(|view| view.get("k")).wait().unwrap().unwrap();
            assert_eq!(&value[..], format!("{}|{name}", namespace.name()).as_bytes());
        }
    }
    assert_eq!(fs::read_dir(temp.path()).unwrap().count(), 1, "nothing leaves the data directory");
    let too_long = "x".repeat(NAME_BYTES_MAX + 1);
    let namespace = engine.namespace("n").unwrap();
    for refused in [engine.namespace(&too_long).map(drop), namespace.object(&too_long).map(drop)] {
        assert!(
            matches!(refused, Err(Error::TooLarge { what: "name", limit: 1_024, size: 1_025 })),
            "{refused:?}"
        );
    }
    for refused in [engine.namespace("").map(drop), namespace.object("").map(drop)] {
        assert!(matches!(refused, Err(Error::InvalidName { .. })), "{refused:?}");
    }
}

#[test]
fn sizes_at_the_limits_work_and_over_them_are_refused_whole() {
    let temp = tempfile::tempdir().unwrap();
    let small = || options().value_bytes_max(10_000).transaction_bytes_max(30_000);
    let engine = small().open(temp.path()).unwrap();
    let object = engine.namespace("n").unwrap().object("o").unwrap();
    let key = vec![7; 4 << 10];
    object
        .transact(|tx| {
            tx.put(&key, vec![1; 10_000])?;
            tx.put("", "the empty key")?;
            tx.put("empty value", "")
        })
        .wait()
        .unwrap();
    let before = object.info().unwrap();
    let long_key = vec![7; (4 << 10) + 1];
    let refused = [
        (object.transact(|tx| tx.put(&long_key, "v")).wait(), 4_096, 4_097),
        (object.transact(|tx| tx.put("k", vec![0; 10_001])).wait(), 10_000, 10_001),
        (
            object
                .transact(|tx| {
                    tx.put("kept?", "no")?;
                    tx.put("k", vec![0; 10_001])
                })
                .wait(),
            10_000,
            10_001,
        ),
    ];
    for (outcome, wanted_limit, wanted_size) in refused {
        match outcome {
            Err(Error::TooLarge { limit, size, .. }) => {
                assert_eq!((limit, size), (wanted_limit, wanted_size))
            }
            other => panic!("{other:?}"),
        }
    }
    let whole = object.transact(|tx| (0..4).try_for_each(|at| tx.put([at], vec![at; 9_000]))).wait();
    assert!(matches!(whole, Err(Error::TooLarge { limit: 30_000, .. })), "{whole:?}");
    assert!(matches!(object.transact(|tx| tx.cause("c".repeat(4_097))).wait(), Err(Error::TooLarge { .. })));
    for key in [&b"kept?"[..], b"k", &[0], &long_key] {
        assert_eq!(object.read(|view| view.get(key)).wait().ok().flatten(), None);
    }
    assert_eq!(object.info().unwrap(), before, "nothing that was refused left a trace");
    drop(object);
    engine.close().unwrap();
    let engine = small().open(temp.path()).unwrap();
    let object = engine.namespace("n").unwrap().object("o").unwrap();
    let read = |key: &[u8]| object.read(|view| view.get(key)).wait().unwrap().unwrap().to_vec();
    assert_eq!(read(&key), vec![1; 10_000]);
    assert_eq!(read(b""), b"the empty key");
    assert_eq!(read(b"empty value"), b"");
}

#[test]
fn the_largest_value_by_default_is_sixteen_mib() {
    let temp = tempfile::tempdir().unwrap();
    let engine = options().open(temp.path()).unwrap();
    let object = engine.namespace("n").unwrap().object("o").unwrap();
    object.transact(|tx| tx.put("k", vec![3; 16 << 20])).wait().unwrap();
    let refused = object.transact(|tx| tx.put("k", vec![3; (16 << 20) + 1])).wait();
    assert!(
        matches!(refused, Err(Error::TooLarge { limit: 0x100_0000, size: 0x100_0001, .. })),
        "{refused:?}"
    );
    drop(object);
    engine.close().unwrap();
    let engine = options().open(temp.path()).unwrap();
    let object = engine.namespace("n").unwrap().object("o").unwrap();
    assert_eq!(object.read(|view| view.get("k")).wait().unwrap().unwrap().len(), 16 << 20);
}

#[test]
fn quotas_refuse_what_would_exceed_them_and_let_shrink() {
    let temp = tempfile::tempdir().unwrap();
    let engine = options().open(temp.path()).unwrap();
    let namespace = engine.namespace("n").unwrap();
    let quotas = Quotas { namespace_bytes: Some(1_000), objects: Some(3), object_bytes: Some(600) };
    namespace.set_quotas(quotas).unwrap();
    let object = |name: &str| namespace.object(name).unwrap();
    let put = |name: &str, bytes: usize| object(name).transact(|tx| tx.put("k", vec![1; bytes])).wait();
    let is_quota =
        |outcome: lineal::Result<()>| assert!(matches!(outcome, Err(Error::Quota { .. })), "{outcome:?}");
    put("a", 590).unwrap();
    is_quota(put("b", 620));
    put("b", 300).unwrap();
    is_quota(put("c", 200));
    put("c", 10).unwrap();
    is_quota(put("d", 1));
    assert_eq!(namespace.usage().objects, 3);
    let many = engine
        .transact_many([&object("b"), &object("c")], |[b, c]| {
            b.put("k", vec![1; 1])?;
            c.put("k", vec![1; 599])?;
            c.put("more", vec![1; 599])
        })
        .wait();
    is_quota(many);
    assert_eq!(object("b").read(|view| view.get("k")).wait().unwrap().unwrap().len(), 300, "all or nothing");
    object("a").delete().wait().unwrap();
    put("d", 500).unwrap();
    let before = namespace.usage();
    engine.close().unwrap();
    let engine = options().open(temp.path()).unwrap();
    let namespace = engine.namespace("n").unwrap();
    assert_eq!((namespace.quotas(), namespace.usage()), (quotas, before), "quotas and usage are kept");
    is_quota(namespace.object("e").unwrap().transact(|tx| tx.put("k", "v")).wait());
    // A limit below what is used: shrinking goes on.
    namespace.set_quotas(Quotas { namespace_bytes: Some(10), ..quotas }).unwrap();
    namespace.object("d").unwrap().transact(|tx| tx.put("k", vec![1; 100])).wait().unwrap();
    is_quota(namespace.object("d").unwrap().transact(|tx| tx.put("k2", vec![1; 10])).wait());
}

#[test]
fn a_namespace_that_is_dropped_and_made_again_shares_nothing() {
    let temp = tempfile::tempdir().unwrap();
    let mut engine = options().open(temp.path()).unwrap();
    for round in 0..4 {
        let namespace = engine.namespace("n").unwrap();
        let object = namespace.object("o").unwrap();
        assert!(!object.read(|view| Ok(view.exists())).wait().unwrap(), "round {round}");
        assert_eq!(namespace.objects().unwrap().count(), 0, "round {round}");
        assert_eq!(namespace.usage().objects, 0, "round {round}");
        object.transact(|tx| tx.put("k", [round])).wait().unwrap();
        assert_eq!(object.info().unwrap().seq, 1, "round {round}");
        if round % 2 == 0 {
            engine.checkpoint().unwrap();
        }
        namespace.drop().unwrap();
        assert!(matches!(object.transact(|tx| tx.put("k", "v")).wait(), Err(Error::Dropped { .. })));
        assert!(matches!(object.read(|view| view.get("k")).wait(), Err(Error::Dropped { .. })));
        assert!(matches!(engine.existing_namespace("n"), Err(Error::NotFound { .. })));
        if round >= 2 {
            engine.close().unwrap();
            engine = options().open(temp.path()).unwrap();
            assert!(matches!(engine.existing_namespace("n"), Err(Error::NotFound { .. })));
        }
    }
    engine.compact().unwrap();
    engine.verify(&mut |_| ()).unwrap();
    assert_eq!((engine.stats().objects, engine.stats().bytes), (0, 0));
}

#[test]
fn an_unexpected_seq_is_a_conflict_and_changes_nothing() {
    let temp = tempfile::tempdir().unwrap();
    let engine = options().open(temp.path()).unwrap();
    let object = engine.namespace("n").unwrap().object("o").unwrap();
    let put = |expected: u64, value: &'static str| {
        object
            .transact(move |tx| {
                tx.put("k", value)?;
                tx.expect_seq(expected)
            })
            .wait()
    };
    put(0, "first").unwrap();
    put(1, "second").unwrap();
    for expected in [0, 1, 3, u64::MAX] {
        match put(expected, "never") {
            Err(Error::Conflict { expected: told, actual: 2 }) => assert_eq!(told, expected),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(object.read(|view| view.get("k")).wait().unwrap().as_deref(), Some(&b"second"[..]));
    assert_eq!(object.info().unwrap().seq, 2);
}
