//! Data directories that earlier versions wrote open and hold what they held.
//!
//! `golden/v1` was left by a kill: two packs, and commits that only the log holds. It has no catalog, which is made
//! anew from the packs. `golden/v1.txt` is its dump.

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

use lineal::{Engine, Options, Result, Tx};
use lineal_tests::{
    damage::{Image, filler, put, small_steps_and_log},
    model::{self, State, Step, Write},
    world,
};
use lineal_wal::sim::SimDisk;

/// All files of a golden directory together, in bytes.
const BYTES_MAX: usize = 200 << 10;

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/engine/golden").join(name)
}

fn read_tree(dir: &Path) -> Image {
    let mut image = Image::new();
    for folder in ["", "log", "packs"] {
        for entry in fs::read_dir(dir.join(folder)).unwrap() {
            let path = entry.unwrap().path();
            if path.is_file() {
                let name = path.strip_prefix(dir).unwrap().to_str().unwrap().to_owned();
                image.insert(name, fs::read(&path).unwrap());
            }
        }
    }
    image
}

fn write_tree(image: &Image, dir: &Path) {
    for (path, bytes) in image {
        let path = dir.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// All that a reader sees, a line for each object and entry.
fn text(state: &State) -> String {
    let mut text = String::new();
    for (name, object) in state {
        writeln!(text, "{name:?} seq {}", object.seq).unwrap();
        for (key, value) in &object.entries {
            writeln!(text, "  {} {}", hex(key), hex(value)).unwrap();
        }
    }
    text
}

fn dump(engine: &Engine) -> String {
    text(&world::dump(engine).unwrap())
}

fn options() -> Options {
    Options::new().segment_bytes(64 << 10, 64 << 10).reserve_bytes(0)
}

#[test]
fn the_first_version_opens_and_holds_what_it_held() {
    let expected = fs::read_to_string(golden("v1.txt")).unwrap();
    let image = read_tree(&golden("v1"));
    assert!(image.values().map(Vec::len).sum::<usize>() <= BYTES_MAX);
    let engine = options().open_read_only(golden("v1")).unwrap();
    assert_eq!(dump(&engine), expected);
    let report = engine.verify(&mut |_| ()).unwrap();
    assert!(report.packs >= 2 && report.log_records >= 3 && report.objects >= 6, "{report:?}");
    drop(engine);
    assert_eq!(read_tree(&golden("v1")), image, "reading changes nothing");

    let temp = tempfile::tempdir().unwrap();
    write_tree(&image, temp.path());
    let engine = options().open(temp.path()).unwrap();
    assert_eq!(dump(&engine), expected);
    let object = engine.namespace("later").unwrap().object("o").unwrap();
    object.transact(|tx| tx.put("k", "v")).wait().unwrap();
    engine.compact().unwrap();
    engine.close().unwrap();
    let engine = options().open(temp.path()).unwrap();
    assert_eq!(dump(&engine), expected, "it goes on under this version");
    engine.verify(&mut |_| ()).unwrap();
}

/// Writes `golden/v1`. Run once for a format, never again for one that was released.
#[test]
#[ignore = "it makes the golden files anew"]
fn make_the_golden_directory() {
    let mut steps = small_steps_and_log();
    steps.splice(
        0..0,
        [Step::Commit(7, vec![filler("large", 3_000), put("text", &"compresses ".repeat(200))])],
    );
    let disk = SimDisk::new();
    let engine = world::options(&disk, 1).segment_bytes(64 << 10, 64 << 10).open("simulated").unwrap();
    let mut state = State::new();
    for step in &steps {
        run(&engine, step).unwrap();
        model::apply(&mut state, step);
    }
    let mut image = disk.kill().image();
    image.remove("catalog.redb");
    let bytes: usize = image.values().map(Vec::len).sum();
    assert!(bytes <= BYTES_MAX, "{bytes}");
    let _ = fs::remove_dir_all(golden("v1"));
    write_tree(&image, &golden("v1"));
    fs::write(golden("v1.txt"), text(&model::visible(&state))).unwrap();
}

fn run(engine: &Engine, step: &Step) -> Result<()> {
    let namespace = engine.namespace(world::NAMESPACE)?;
    let object = |at: &usize| namespace.object(&model::name(*at));
    let write = |tx: &mut Tx<'_>, writes: &[Write]| {
        writes.iter().try_for_each(|write| match write {
            Write::Put(key, value) => tx.put(key, value),
            Write::Delete(key) => tx.delete(key),
            Write::DeleteRange(start, end) => tx.delete_range(start.as_slice()..end.as_slice()),
            Write::DeleteAll => tx.delete_all(),
        })
    };
    match step {
        Step::Commit(at, writes) => object(at)?.transact(|tx| write(tx, writes)).wait(),
        Step::Many([left, right], writes) => engine
            .transact_many([&object(left)?, &object(right)?], |[left, right]| {
                write(left, writes)?;
                write(right, writes)
            })
            .wait(),
        Step::Delete(at) => object(at)?.delete().wait(),
        Step::Purge(at) => object(at)?.purge().wait(),
        Step::Checkpoint => engine.checkpoint().map(drop),
        Step::Sql(..)
        | Step::Restore(..)
        | Step::Fork(..)
        | Step::Compact
        | Step::Hibernate(_)
        | Step::Reopen => {
            unreachable!("the golden steps have none of these")
        }
    }
}
