//! Time, retention, purges, and SQL over a restore.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use lineal::Micros;
use lineal_tests::{
    purged::{check_gone, plant},
    retained::{self, fill, first_kept, hours},
    world::{options, options_at},
};
use lineal_wal::sim::SimDisk;

use crate::Harness;

/// Times never go back, whatever clocks do.
pub(crate) const TIMES: Harness = Harness { name: "a clock that goes back", states: 1, look: times };

/// What is younger than the retention stays.
pub(crate) const RETENTION: Harness = Harness { name: "retention", states: 1, look: retention };

/// What was purged is in no file.
pub(crate) const PURGES: Harness = Harness { name: "search for purged bytes", states: 1, look: purge };

/// SQL sees what a restore brought back.
pub(crate) const SQL: Harness = Harness { name: "SQL after a restore", states: 1, look: sql };

fn times(_: u64) -> Result<(), String> {
    let (disk, time) = (SimDisk::new(), Arc::new(AtomicU64::new(1_000 * retained::HOUR)));
    let mut times = Vec::new();
    for life in 0..3 {
        let engine = options_at(&disk, life, &time).open("simulated").unwrap();
        let lobby = retained::lobby(&engine);
        for key in 0..4u64 {
            lobby.transact(|tx| tx.put(key.to_be_bytes(), "v")).wait().unwrap();
            time.fetch_sub(retained::HOUR, Ordering::Relaxed);
        }
        times =
            lobby.history(..).unwrap().reverse().map(|commit| commit.unwrap().time).collect::<Vec<Micros>>();
    }
    if times.is_sorted() && times.len() == 12 {
        return Ok(());
    }
    Err(format!("the times of the commits in their order: {times:?}"))
}

fn retention(_: u64) -> Result<(), String> {
    const COMMITS: u64 = 500;
    const KEPT: u64 = 200;
    let world = retained::World::new();
    let engine = world.open();
    engine.namespace("rooms").unwrap().set_retention(hours(KEPT)).unwrap();
    fill(&world, &engine, 1, COMMITS);
    engine.compact().unwrap();
    let first = first_kept(&retained::lobby(&engine), COMMITS);
    if first > COMMITS - KEPT {
        return Err(format!("of {KEPT} hours that are kept, the first is commit {first} of {COMMITS}"));
    }
    Ok(())
}

fn purge(_: u64) -> Result<(), String> {
    let disk = SimDisk::new();
    let engine = options(&disk, 1).open("simulated").unwrap();
    let needles = plant(&engine, "vault", 7, &[100, 3_000, 50_000]);
    engine.checkpoint().unwrap();
    engine.namespace("rooms").unwrap().object("vault").unwrap().purge().wait().unwrap();
    engine.compact().unwrap();
    check_gone(&disk, &engine, &needles);
    Ok(())
}

fn sql(_: u64) -> Result<(), String> {
    let engine = options(&SimDisk::new(), 1).open("simulated").unwrap();
    let lobby = retained::lobby(&engine);
    let run = |sql: &str| lobby.transact(|tx| tx.sql().execute_batch(sql)).wait().unwrap();
    run("CREATE TABLE t (x)");
    run("INSERT INTO t VALUES (1)");
    let mark = lobby.bookmark().wait().unwrap();
    run("INSERT INTO t VALUES (2)");
    lobby.restore(&mark).wait().unwrap();
    let count =
        lobby.transact(|tx| tx.sql().query_one("SELECT count(*) FROM t", [], |row| row.get::<i64>(0)));
    match count.wait() {
        Ok(1) => Ok(()),
        other => Err(format!("rows after a restore to one: {other:?}")),
    }
}
