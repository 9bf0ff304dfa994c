//! A small engine on a simulated disk, and everything that a caller can ask it for.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use lineal::{Engine, Micros, Namespace, Object, Options, Result, SqlOptions};
use lineal_wal::sim::SimDisk;

/// Files by path.
pub(crate) type Image = BTreeMap<String, Vec<u8>>;

/// Room beside an image for what an engine writes. The disk ends there, so that no hostile size fills the machine's memory.
const ROOM_BYTES: u64 = 8 << 20;

/// What stands under one object is looked at this far.
const LOOK_MAX: usize = 64;

/// Options of an engine without threads, whose clock and randomness are always the same.
pub(crate) fn options(disk: &SimDisk) -> Options {
    let time = AtomicU64::new(1_700_000_000_000_000);
    let random = AtomicU64::new(1);
    let sql =
        SqlOptions::new().operations_max(20_000).memory_bytes_max(8 << 20).time_max(Duration::from_secs(5));
    Options::new()
        .disk(Arc::new(disk.clone()))
        .background(false)
        .segment_bytes(32 << 10, 32 << 10)
        .reserve_bytes(0)
        .ballast_bytes(0)
        .checkpoint_bytes(1 << 20)
        .cache_bytes(1 << 20)
        .sql(sql)
        .clock(Arc::new(move || Micros(time.fetch_add(1_000, Ordering::Relaxed))))
        .random(Arc::new(move || {
            random.fetch_add(0x9E37_79B9_7F4A_7C15, Ordering::Relaxed).wrapping_mul(0xD134_2543_DE82_EF95)
        }))
}

/// A disk with these files, and some room.
pub(crate) fn disk(image: &Image) -> SimDisk {
    let disk = SimDisk::from_image(image);
    disk.set_capacity(Some(image.values().map(|file| file.len() as u64).sum::<u64>() + ROOM_BYTES));
    disk
}

/// The name of the namespace.
pub(crate) const NAMESPACE: &str = "rooms";

/// What a small engine leaves behind that has used everything: tail, leaves, deltas, restore, fork, pin, purge, SQL.
pub(crate) fn image() -> &'static Image {
    static IMAGE: OnceLock<Image> = OnceLock::new();
    IMAGE.get_or_init(|| build().expect("nothing fails"))
}

fn build() -> Result<Image> {
    let disk = SimDisk::new();
    let engine = options(&disk).open("simulated")?;
    let rooms = engine.namespace(NAMESPACE)?;
    let [small, large, sql, fork, gone] =
        ["small", "large", "sql", "fork", "gone"].map(|name| rooms.object(name));
    let (small, large, sql, fork, gone) = (small?, large?, sql?, fork?, gone?);
    for number in 0..4u8 {
        let commit = |tx: &mut lineal::Tx<'_>| {
            tx.cause("why")?;
            tx.put([number], [number; 9])
        };
        small.transact(commit).wait()?;
    }
    let before = small.bookmark().wait()?;
    gone.transact(|tx| tx.put("k", "v")).wait()?;
    large
        .transact(|tx| (0..1_500u32).try_for_each(|key| tx.put(format!("key {key:05}"), [b'v'; 50])))
        .wait()?;
    sql.transact(|tx| {
        tx.sql()
            .execute_batch("CREATE TABLE t (a INTEGER PRIMARY KEY, b TEXT); INSERT INTO t VALUES (1, 'x')")
    })
    .wait()?;
    engine.checkpoint()?;
    large.transact(|tx| tx.put("key 00007", vec![b'w'; 3_000])).wait()?;
    large.transact(|tx| tx.delete_range("key 00100".."key 00900")).wait()?;
    small.transact(|tx| tx.delete_all()).wait()?;
    small.restore(&before).wait()?;
    small.fork(&before, &fork).wait()?;
    fork.transact(|tx| tx.put("own", "1")).wait()?;
    small.pin(&before, "pin").wait()?;
    gone.purge().wait()?;
    engine.checkpoint()?;
    engine.compact()?;
    engine.close()?;
    Ok(disk.image())
}

/// Opens the engine that is on the disk, and if it opens asks it for everything. What is asked for may be refused; it may
/// not panic.
pub(crate) fn exercise(disk: &SimDisk) {
    if let Ok(engine) = options(disk).open_read_only("simulated") {
        look(&engine);
        let _ = engine.close();
    }
    let Ok(engine) = options(disk).open("simulated") else { return };
    look(&engine);
    change(&engine);
    let _ = engine.checkpoint();
    let _ = engine.compact();
    look(&engine);
    let _ = engine.verify(&mut |_| ());
    let _ = engine.close();
    let Ok(engine) = options(disk).open("simulated") else { return };
    look(&engine);
    let _ = engine.close();
}

fn objects(engine: &Engine) -> Vec<(Namespace, Object)> {
    let mut objects = Vec::new();
    for namespace in engine.namespaces().unwrap_or_default() {
        let Ok(found) = namespace.objects() else { continue };
        for info in found.take(LOOK_MAX) {
            let Ok(info) = info else { break };
            if let Ok(object) = namespace.by_id(info.id) {
                objects.push((namespace.clone(), object));
            }
        }
    }
    objects
}

fn look(engine: &Engine) {
    for (namespace, object) in objects(engine) {
        let _ = (namespace.usage(), namespace.retention(), object.info(), object.pins(), object.base_depth());
        let _ = object
            .read(|view| Ok(view.prefix("").take(LOOK_MAX).filter(|entry| entry.is_ok()).count()))
            .wait();
        let _ = object
            .read(|view| Ok(view.prefix("").reverse().take(LOOK_MAX).filter(|entry| entry.is_ok()).count()))
            .wait();
        let _ = object.read(|view| view.get("key 00007")).wait();
        let _ = object
            .read(|view| view.sql().query_one("SELECT count(*) FROM t", [], |row| row.get::<i64>(0)))
            .wait();
        let mut commits = Vec::new();
        if let Ok(history) = object.history(..) {
            commits.extend(history.take(LOOK_MAX).map_while(Result::ok));
        }
        for commit in commits.iter().take(6) {
            let _ = object.changes(commit.seq);
            let _ = object.prove(commit.seq).map(|proof| proof.check());
            let Ok(mark) = object.bookmark_of(commit.seq) else { continue };
            if let Ok(view) = object.at(&mark) {
                let _ = view.prefix("").take(LOOK_MAX).filter(|entry| entry.is_ok()).count();
            }
            if let Ok(newest) = object.bookmark().wait()
                && let Ok(diff) = object.diff(&mark, &newest)
            {
                let _ = diff.take(LOOK_MAX).filter(|difference| difference.is_ok()).count();
            }
        }
        if let Ok(blame) = object.blame("key 00007") {
            let _ = blame.take(LOOK_MAX).filter(|commit| commit.is_ok()).count();
        }
        let _ = object.verify();
        let _ = object.hibernate();
    }
    let _ = engine.root();
    let _ = engine.stats().prometheus();
}

fn change(engine: &Engine) {
    for (namespace, object) in objects(engine) {
        let _ = object.transact(|tx| tx.put("key 00007", "another value")).wait();
        let _ = object.transact(|tx| tx.delete_range("key 00001".."key 00003")).wait();
        let _ = object.transact(|tx| tx.sql().execute("INSERT INTO t VALUES (2, 'y')", [])).wait();
        if let Ok(first) = object.bookmark_of(1) {
            let _ = object.restore(&first).wait();
            let _ = namespace.object("another").map(|another| object.fork(&first, &another).wait());
        }
    }
}
