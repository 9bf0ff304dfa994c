//! SIGKILL at random moments: every commit that a child process said was durable is there, and what is there is whole.
//! The oracle is in the parent: what it read from the child's output.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use lineal::{Engine, Object, Options, Result};

const DIR: &str = "LINEAL_TESTS_KILL_DIR";
const ROUNDS: u64 = 15;
/// Objects that are written, each by its own thread.
const WRITERS: u64 = 3;
/// Keys of an object that are overwritten in turn.
const KEYS: u64 = 40;

fn options() -> Options {
    // Small limits, so that rotation, checkpoints and merges go on all the time.
    Options::new().segment_bytes(64 << 10, 256 << 10).checkpoint_bytes(256 << 10).reserve_bytes(64 << 10)
}

fn value(number: u64) -> Vec<u8> {
    let length = 20 + usize::try_from(number * 7_919 % 3_000).expect("small");
    number.to_le_bytes().into_iter().cycle().take(length).collect()
}

fn object(engine: &Engine, writer: u64) -> Result<Object> {
    engine.namespace("kill")?.object(&format!("writer {writer}"))
}

fn counter(object: &Object) -> Result<u64> {
    let found = object.read(|view| view.get("counter")).wait()?;
    Ok(found.map_or(0, |bytes| u64::from_le_bytes(bytes[..].try_into().expect("eight bytes"))))
}

/// Writes until it is killed. Says of each commit that it is durable, once it is.
fn write_for_ever(dir: &Path) -> Result<()> {
    let engine = options().open(dir)?;
    std::thread::scope(|scope| {
        for writer in 0..WRITERS {
            let engine = engine.clone();
            scope.spawn(move || {
                let object = object(&engine, writer).expect("the object is there");
                let mut number = counter(&object).expect("the counter can be read");
                loop {
                    number += 1;
                    object
                        .transact(|tx| {
                            tx.put("counter", number.to_le_bytes())?;
                            tx.put(format!("key {}", number % KEYS), value(number))
                        })
                        .wait()
                        .expect("a commit becomes durable");
                    let line = format!("durable {writer} {number}\n");
                    if std::io::stdout().lock().write_all(line.as_bytes()).is_err() {
                        return;
                    }
                }
            });
        }
    });
    Ok(())
}

/// Not a test of its own: what the child process runs.
#[test]
fn child() {
    if let Some(dir) = std::env::var_os(DIR) {
        write_for_ever(Path::new(&dir)).unwrap();
    }
}

/// Lets a child write for a while and kills it. Returns the last durable number of each writer that it spoke of.
fn let_write_and_kill(dir: &Path, patience: Duration) -> BTreeMap<u64, u64> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--nocapture", "--test-threads", "1"])
        .env(DIR, dir)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap());
    let reader = std::thread::spawn(move || {
        let mut durable = BTreeMap::new();
        for line in lines.lines().map_while(std::result::Result::ok) {
            // The harness prints lines of its own, and the first of ours may follow one without a break.
            let Some(at) = line.find("durable ") else { continue };
            let mut words = line[at..].split(' ').skip(1).map(str::parse::<u64>);
            if let (Some(Ok(writer)), Some(Ok(number))) = (words.next(), words.next()) {
                durable.insert(writer, number);
            }
        }
        durable
    });
    std::thread::sleep(patience);
    child.kill().unwrap();
    child.wait().unwrap();
    reader.join().unwrap()
}

/// What the parent knows of one writer.
#[derive(Clone, Copy, Debug, Default)]
struct Known {
    /// Its last number that was said to be durable.
    durable: u64,
    /// Rounds since then, that one included: each may have made one commit that it did not live to speak of.
    silent: u64,
}

fn check(engine: &Engine, known: &BTreeMap<u64, Known>, round: u64) {
    for writer in 0..WRITERS {
        let object = object(engine, writer).unwrap();
        let newest = counter(&object).unwrap();
        let Known { durable, silent } = known[&writer];
        let context = format!("round {round}, writer {writer}: {durable} was durable, {newest} is there");
        assert!(newest >= durable, "{context}");
        assert!(newest <= durable + silent, "{context}, after {silent} rounds without a word");
        assert_eq!(object.read(|view| Ok(view.seq())).wait().unwrap(), newest, "{context}: one seq for each");
        for number in newest.saturating_sub(KEYS - 1).max(1)..=newest {
            let found = object.read(|view| view.get(format!("key {}", number % KEYS))).wait().unwrap();
            assert!(found.is_some_and(|found| found[..] == value(number)), "{context}: commit {number}");
        }
        if newest > 0 {
            object.verify().unwrap();
        }
    }
}

#[test]
fn every_durable_commit_survives_a_kill_at_any_moment() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().join("data");
    let mut known: BTreeMap<u64, Known> = (0..WRITERS).map(|writer| (writer, Known::default())).collect();
    let started = Instant::now();
    let mut random = 0x5DEE_CE66_u64;
    for round in 0..ROUNDS {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        // Short ones meet the child while it opens.
        let patience = Duration::from_millis(if round % 5 == 4 {
            5 + (random >> 33) % 40
        } else {
            60 + (random >> 33) % 240
        });
        let spoken = let_write_and_kill(&dir, patience);
        for (writer, known) in &mut known {
            *known = match spoken.get(writer) {
                Some(durable) => Known { durable: *durable, silent: 1 },
                None => Known { silent: known.silent + 1, ..*known },
            };
        }
        if !dir.exists() {
            continue;
        }
        // Every second time the next child recovers alone.
        if round % 2 == 0 {
            let engine = options().open(&dir).unwrap();
            check(&engine, &known, round);
        } else if dir.join("LOCK").exists() && dir.join("LINEAL").exists() {
            let engine = options().open_read_only(&dir).unwrap();
            if engine.existing_namespace("kill").is_ok() {
                check(&engine, &known, round);
            }
        }
    }
    let engine = options().open(&dir).unwrap();
    check(&engine, &known, ROUNDS);
    engine.verify(&mut |_| ()).unwrap();
    println!("{known:?} in {:?}, {:?}", started.elapsed(), engine.stats());
    engine.close().unwrap();
    assert!(
        known.values().map(|known| known.durable).sum::<u64>() > 100,
        "{known:?}: the children wrote too little to test anything"
    );
}
