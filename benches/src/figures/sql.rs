//! SQL in objects, beside SQLite on files and in memory: the same statements, prepared and cached on both sides.

use std::{
    hint::black_box,
    path::Path,
    time::{Duration, Instant},
};

use lineal::{
    Engine, Error, Gated, Object, Options, Result, Retention,
    rusqlite::{self, Connection, params},
};

use super::{Numbers, disk_bytes};
use crate::report::{Figure, Target, percentile};

const ROUNDS: usize = 5;
const WRITES: usize = 20_000;
const READS: usize = 100_000;
const ROWS: i64 = 100_000;

const UPSERT: &str = "INSERT INTO kv VALUES (?1, ?2) ON CONFLICT (k) DO UPDATE SET v = excluded.v";
const INSERT: &str = "INSERT INTO message (room, at, body) VALUES (?1, ?2, ?3)";
const POINT: &str = "SELECT body FROM message WHERE id = ?1";
const SCHEMA: &str = "CREATE TABLE kv (k INTEGER PRIMARY KEY, v BLOB NOT NULL);
    CREATE TABLE message (id INTEGER PRIMARY KEY, room INTEGER NOT NULL, at INTEGER NOT NULL, body TEXT NOT NULL);
    CREATE INDEX message_by_room ON message (room, at);";

/// `large_bytes` is the size of the database that is scanned.
pub fn measure(dir: &Path, large_bytes: usize) -> Result<Vec<Figure>> {
    let mut figures = Vec::new();
    small_writes(dir, &mut figures)?;
    many_objects(dir, &mut figures)?;
    point_reads(dir, &mut figures)?;
    large(dir, large_bytes, &mut figures)?;
    cold_open(dir, &mut figures)?;
    Ok(figures)
}

fn object_in(dir: &Path, name: &str) -> Result<(Engine, Object)> {
    let engine = Options::new().open(dir.join(name))?;
    let object = engine.namespace("sql")?.object("one")?;
    Ok((engine, object))
}

fn file(dir: &Path, name: &str, synchronous: &str) -> Result<Connection> {
    let db = Connection::open(dir.join(name))?;
    db.execute_batch(&format!("PRAGMA journal_mode = WAL; PRAGMA synchronous = {synchronous};"))?;
    Ok(db)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn nanos_each(started: Instant, count: usize) -> f64 {
    started.elapsed().as_nanos() as f64 / count as f64
}

/// A body of some words, as people write them.
fn text(numbers: &mut Numbers, bytes: usize) -> String {
    const WORDS: &[&str] = &[
        "the", "room", "of", "and", "message", "to", "in", "hello", "is", "that", "for", "was", "with",
        "morning", "as", "be", "on", "not", "he", "by", "answer", "are", "this", "at", "from", "but", "have",
        "an", "they", "which",
    ];
    let mut text = String::with_capacity(bytes + 16);
    while text.len() < bytes {
        text.push_str(WORDS[numbers.below(WORDS.len())]);
        text.push(' ');
    }
    text
}

/// One small write, on our side and on SQLite's.
type Write<'w> = (
    &'w str,
    &'w dyn Fn(&lineal::Sql<'_>, usize) -> Result<()>,
    &'w dyn Fn(&Connection, usize) -> rusqlite::Result<()>,
);

fn small_writes(dir: &Path, figures: &mut Vec<Figure>) -> Result<()> {
    let mut numbers = Numbers::new(11);
    let values: Vec<[u8; 100]> = (0..1_000).map(|_| numbers.bytes()).collect();
    let bodies: Vec<String> = (0..1_000).map(|_| text(&mut numbers, 100)).collect();
    let keys: Vec<i64> = (0..WRITES).map(|_| numbers.below(1_000) as i64).collect();
    let upsert = |k: usize| (keys[k % WRITES], &values[k % 1_000][..]);
    let insert = |k: usize| (keys[k % WRITES] % 50, k as i64, bodies[k % 1_000].as_str());
    let writes: [Write<'_>; 2] = [
        (
            "upsert of 100 bytes",
            &|sql, k| sql.execute(UPSERT, params![upsert(k).0, upsert(k).1]).map(drop),
            &|db, k| db.prepare_cached(UPSERT)?.execute(params![upsert(k).0, upsert(k).1]).map(drop),
        ),
        (
            "insert into an indexed table",
            &|sql, k| sql.execute(INSERT, params![insert(k).0, insert(k).1, insert(k).2]).map(drop),
            &|db, k| {
                db.prepare_cached(INSERT)?.execute(params![insert(k).0, insert(k).1, insert(k).2]).map(drop)
            },
        ),
    ];
    for (at, (what, ours, theirs)) in writes.into_iter().enumerate() {
        let (engine, object) = object_in(dir, &format!("sql-writes-{at}"))?;
        object.transact(|tx| tx.sql().execute_batch(SCHEMA)).wait()?;
        let memory = Connection::open_in_memory()?;
        memory.execute_batch(SCHEMA)?;
        let normal = file(dir, &format!("sql-normal-{at}.db"), "NORMAL")?;
        normal.execute_batch(SCHEMA)?;
        let mut nanos: [Vec<f64>; 3] = Default::default();
        for round in 0..=ROUNDS {
            let started = Instant::now();
            for k in 0..WRITES {
                drop(object.transact(|tx| ours(&tx.sql(), round * WRITES + k)));
            }
            let mut times = [nanos_each(started, WRITES), 0.0, 0.0];
            engine.sync()?;
            for (db, time) in [&memory, &normal].into_iter().zip(&mut times[1..]) {
                let started = Instant::now();
                for k in 0..WRITES {
                    theirs(db, round * WRITES + k)?;
                }
                *time = nanos_each(started, WRITES);
            }
            // The first round warms up.
            if round > 0 {
                nanos.iter_mut().zip(times).for_each(|(all, time)| all.push(time));
            }
        }
        let [ours, memory, normal] = nanos.map(median);
        figures.push(Figure {
            what: format!("SQL, {what}, one object, up to the gate"),
            value: ours / memory,
            unit: "× of SQLite `:memory:`",
            target: Target::AtMost(3.0),
            beside: format!("{ours:.0} ns, in memory {memory:.0} ns"),
        });
        figures.push(Figure {
            what: format!("the same, {what}"),
            value: ours / normal,
            unit: "× of a SQLite file, WAL, NORMAL",
            target: Target::AtMost(1.0),
            beside: format!("which takes {normal:.0} ns"),
        });
        if at == 0 {
            figures.push(log_bytes(&object)?);
        }
    }
    Ok(())
}

/// What a one-row update of a 150-byte row logs.
fn log_bytes(object: &Object) -> Result<Figure> {
    let mut numbers = Numbers::new(12);
    object
        .transact(|tx| {
            let sql = tx.sql();
            (0..10_000).try_for_each(|at| {
                let body = text(&mut numbers, 120);
                sql.execute(INSERT, params![at % 50, at, body]).map(drop)
            })
        })
        .wait()?;
    let before = object.info()?.seq;
    for _ in 0..1_000 {
        let (body, id) = (text(&mut numbers, 120), 1 + numbers.below(10_000) as i64);
        object
            .transact(|tx| tx.sql().execute("UPDATE message SET body = ?1 WHERE id = ?2", params![body, id]))
            .unconfirmed()?;
    }
    object.transact(|_| Ok(())).wait()?;
    let mut bytes = Vec::new();
    for commit in object.history(before + 1..)? {
        bytes.push(commit?.bytes);
    }
    bytes.sort_unstable();
    Ok(Figure {
        what: "log bytes of a one-row update of a 150-byte row, median".into(),
        value: percentile(&bytes, 0.5) as f64,
        unit: "bytes",
        target: Target::AtMost(1024.0),
        beside: format!("p99 {} bytes, of pages of 4,096", percentile(&bytes, 0.99)),
    })
}

fn many_objects(dir: &Path, figures: &mut Vec<Figure>) -> Result<()> {
    const OBJECTS: usize = 1_000;
    const COMMITS: usize = 50_000;
    const THEIRS: usize = 4_000;
    let engine = Options::new().open(dir.join("sql-many"))?;
    let namespace = engine.namespace("sql")?;
    let objects: Vec<Object> =
        (0..OBJECTS).map(|n| namespace.object(&n.to_string())).collect::<Result<_>>()?;
    for object in &objects {
        object.transact(|tx| tx.sql().execute_batch(SCHEMA)).unconfirmed()?;
    }
    engine.sync()?;
    let value = [7u8; 100];
    let mut gates: std::collections::VecDeque<Gated<()>> = std::collections::VecDeque::new();
    let mut numbers = Numbers::new(13);
    let mut run = |commits: usize| -> Result<Duration> {
        let started = Instant::now();
        for _ in 0..commits {
            if gates.len() >= 1_024
                && let Some(gate) = gates.pop_front()
            {
                gate.wait()?;
            }
            let (object, key) = (&objects[numbers.below(OBJECTS)], numbers.below(1_000) as i64);
            gates.push_back(object.transact(|tx| tx.sql().execute(UPSERT, params![key, value]).map(drop)));
        }
        gates.drain(..).try_for_each(Gated::wait)?;
        Ok(started.elapsed())
    };
    run(OBJECTS * 2)?;
    let ours = COMMITS as f64 / run(COMMITS)?.as_secs_f64();
    let folder = dir.join("sql-files");
    std::fs::create_dir_all(&folder).map_err(Error::other)?;
    let files: Vec<Connection> =
        (0..OBJECTS).map(|n| file(&folder, &format!("{n}.db"), "FULL")).collect::<Result<_>>()?;
    for db in &files {
        db.execute_batch(SCHEMA)?;
    }
    let started = Instant::now();
    for _ in 0..THEIRS {
        let (db, key) = (&files[numbers.below(OBJECTS)], numbers.below(1_000) as i64);
        db.prepare_cached(UPSERT)?.execute(params![key, value])?;
    }
    let theirs = THEIRS as f64 / started.elapsed().as_secs_f64();
    let stats = engine.stats();
    figures.push(Figure {
        what: "durable SQL transactions over 1,000 objects, 1,024 in flight".into(),
        value: ours / theirs,
        unit: "× of one SQLite file per object, WAL, FULL",
        target: Target::AtLeast(20.0),
        beside: format!("{ours:.0}/s, files {theirs:.0}/s"),
    });
    figures.push(Figure {
        what: "memory of a connection that is kept, beyond its cached pages".into(),
        value: (stats.sql_bytes as f64 / stats.sql_connections as f64 - cached_pages(&objects[0])? * 4_360.0)
            / 1024.0,
        unit: "KiB",
        target: Target::AtMost(200.0),
        beside: format!("{} connections with 3 tables and indexes, as SQLite counts", stats.sql_connections),
    });
    Ok(())
}

fn cached_pages(object: &Object) -> Result<f64> {
    Ok(object.read(|view| view.sql().database_size()).wait()? as f64 / 4096.0)
}

fn point_reads(dir: &Path, figures: &mut Vec<Figure>) -> Result<()> {
    let (engine, object) = object_in(dir, "sql-reads")?;
    let db = file(dir, "sql-reads.db", "NORMAL")?;
    db.execute_batch(SCHEMA)?;
    let mut numbers = Numbers::new(14);
    let bodies: Vec<String> = (0..ROWS).map(|_| text(&mut numbers, 100)).collect();
    object
        .transact(|tx| {
            let sql = tx.sql();
            sql.execute_batch(SCHEMA)?;
            bodies
                .iter()
                .zip(0..)
                .try_for_each(|(body, at)| sql.execute(INSERT, params![at % 50, at, body]).map(drop))
        })
        .wait()?;
    db.execute_batch("BEGIN")?;
    for (body, at) in bodies.iter().zip(0_i64..) {
        db.prepare_cached(INSERT)?.execute(params![at % 50, at, body])?;
    }
    db.execute_batch("COMMIT")?;
    engine.checkpoint()?;
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for round in 0..=ROUNDS {
        let ids: Vec<i64> = (0..READS).map(|_| 1 + numbers.below(ROWS as usize) as i64).collect();
        let started = Instant::now();
        for id in &ids {
            let body = object.read(|view| view.sql().query_one(POINT, [id], |row| row.get::<String>(0)));
            black_box(body.unconfirmed()?);
        }
        let mine = nanos_each(started, READS);
        let started = Instant::now();
        for id in &ids {
            black_box(db.prepare_cached(POINT)?.query_row([id], |row| row.get::<_, String>(0))?);
        }
        if round > 0 {
            ours.push(mine);
            theirs.push(nanos_each(started, READS));
        }
    }
    let (ours, theirs) = (median(ours), median(theirs));
    figures.push(Figure {
        what: "SQL, point reads by primary key, 100,000 rows, warm".into(),
        value: ours / theirs,
        unit: "× of a SQLite file",
        target: Target::AtMost(1.2),
        beside: format!("{ours:.0} ns, file {theirs:.0} ns"),
    });
    Ok(())
}

fn large(dir: &Path, bytes: usize, figures: &mut Vec<Figure>) -> Result<()> {
    let (engine, object) = object_in(dir, "sql-large")?;
    let db = file(dir, "sql-large.db", "OFF")?;
    db.execute_batch(SCHEMA)?;
    object.transact(|tx| tx.sql().execute_batch(SCHEMA)).wait()?;
    let rows = bytes / 330;
    let mut numbers = Numbers::new(15);
    for chunk in (0..rows).step_by(20_000) {
        let bodies: Vec<String> = (0..20_000).map(|_| text(&mut numbers, 280)).collect();
        let filled = bodies.iter().zip(chunk as i64..);
        object
            .transact(|tx| {
                let sql = tx.sql();
                filled
                    .clone()
                    .try_for_each(|(body, at)| sql.execute(INSERT, params![at % 977, at, body]).map(drop))
            })
            .wait()?;
        db.execute_batch("BEGIN")?;
        for (body, at) in filled {
            db.prepare_cached(INSERT)?.execute(params![at % 977, at, body])?;
        }
        db.execute_batch("COMMIT")?;
    }
    db.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)")?;
    engine.checkpoint()?;
    let size: f64 = db.query_row("PRAGMA page_count", [], |row| row.get::<_, f64>(0))? * 4096.0;
    for (what, query) in [
        ("scan", "SELECT sum(length(body)) FROM message"),
        (
            "join",
            "SELECT count(*) FROM message a JOIN message b ON b.room = a.room AND b.at = a.at + 977 WHERE a.id % 4 = 0",
        ),
    ] {
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for round in 0..=3 {
            let started = Instant::now();
            let mine: i64 =
                object.read(|view| view.sql().query_one(query, [], |row| row.get(0))).unconfirmed()?;
            let time = started.elapsed();
            let started = Instant::now();
            let other: i64 = db.query_row(query, [], |row| row.get(0))?;
            assert_eq!(mine, other, "both sides hold the same rows");
            if round > 0 {
                ours.push(time.as_secs_f64());
                theirs.push(started.elapsed().as_secs_f64());
            }
        }
        let (ours, theirs) = (median(ours), median(theirs));
        figures.push(Figure {
            what: format!("SQL, {what} over {:.0} MiB, warm", size / f64::from(1 << 20)),
            value: ours / theirs,
            unit: "× of a SQLite file",
            target: Target::AtMost(1.2),
            beside: format!("{:.0} ms, file {:.0} ms", ours * 1e3, theirs * 1e3),
        });
    }
    engine.namespace("sql")?.set_retention(Retention { time: Some(Duration::ZERO), bytes: None })?;
    for _ in 0..2 {
        object.transact(|tx| tx.sql().execute(UPSERT, params![1, [1u8]])).wait()?;
        engine.checkpoint()?;
    }
    engine.compact()?;
    engine.close()?;
    figures.push(Figure {
        what: format!("disk of the state of {:.0} MiB of text-like rows", size / f64::from(1 << 20)),
        value: packs_bytes(&dir.join("sql-large")) as f64 / size,
        unit: "× of SQLite's file",
        target: Target::AtMost(0.6),
        beside: format!(
            "all files of the directory with the log {:.0} MiB",
            disk_bytes(&dir.join("sql-large")) as f64 / f64::from(1 << 20)
        ),
    });
    Ok(())
}

/// What packs take on disk.
fn packs_bytes(dir: &Path) -> u64 {
    let Ok(engine) = Options::new().open_read_only(dir) else { return 0 };
    engine.stats().pack_bytes
}

fn cold_open(dir: &Path, figures: &mut Vec<Figure>) -> Result<()> {
    let schema: String =
        (0..10).map(|n| format!("CREATE TABLE t{n} (id INTEGER PRIMARY KEY, a TEXT, b INTEGER); INSERT INTO t{n} (a) VALUES ('x');")).collect();
    let (engine, object) = object_in(dir, "sql-cold")?;
    object.transact(|tx| tx.sql().execute_batch(&schema)).wait()?;
    engine.checkpoint()?;
    file(dir, "sql-cold.db", "NORMAL")?.execute_batch(&schema)?;
    let query = "SELECT a FROM t5";
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..500 {
        object.hibernate()?;
        let started = Instant::now();
        let a = object.read(|view| view.sql().query_one(query, [], |row| row.get::<String>(0)));
        black_box(a.unconfirmed()?);
        ours.push(started.elapsed().as_nanos() as f64 / 1e3);
        let started = Instant::now();
        let db = Connection::open(dir.join("sql-cold.db"))?;
        black_box(db.query_row(query, [], |row| row.get::<_, String>(0))?);
        theirs.push(started.elapsed().as_nanos() as f64 / 1e3);
    }
    let (ours, theirs) = (median(ours), median(theirs));
    figures.push(Figure {
        what: "SQL, cold open of an object with 10 tables, to the first row".into(),
        value: ours / theirs,
        unit: "× of opening a SQLite file",
        target: Target::AtMost(2.0),
        beside: format!("{ours:.0} µs, file {theirs:.0} µs"),
    });
    Ok(())
}
