//! Gates, turns, quotas and the lock of a directory.

use std::{thread, time::Duration};

use lineal::{Engine, Error, Object, Quotas};
use lineal_tests::{chooser::chooser, world::options};
use lineal_wal::sim::SimDisk;

use crate::Harness;

/// What an event answers is durable.
pub(crate) const EVENTS: Harness = Harness { name: "events and a power cut", states: 1, look: event };

/// What two results together answer is durable.
pub(crate) const ZIPPED: Harness = Harness { name: "joined gates and a power cut", states: 1, look: zip };

/// One caller at a time is inside an object.
pub(crate) const TURNS: Harness = Harness { name: "two callers of one object", states: 1, look: turns };

/// What is beyond a quota is refused.
pub(crate) const QUOTAS: Harness = Harness { name: "quotas", states: 1, look: quotas };

/// One writer has a directory.
pub(crate) const LOCKS: Harness = Harness { name: "a second writer", states: 1, look: lock };

fn object(engine: &Engine, name: &str) -> Object {
    engine.namespace("rooms").unwrap().object(name).unwrap()
}

/// The power goes, and all that was not synced with it: the key is there.
fn survives(disk: &SimDisk, key: &str) -> Result<(), String> {
    let engine = options(&disk.crash(&mut chooser(1)), 2).open("simulated").unwrap();
    match object(&engine, "lobby").read(|view| view.contains(key)).wait() {
        Ok(true) => Ok(()),
        other => Err(format!("what was answered is lost: {other:?}")),
    }
}

fn event(_: u64) -> Result<(), String> {
    let disk = SimDisk::new();
    let engine = options(&disk, 1).open("simulated").unwrap();
    let lobby = object(&engine, "lobby");
    let event = lobby.event_fn(|cx| async move { cx.transact(|tx| tx.put("k", "v")).unconfirmed() });
    pollster::block_on(event).wait().unwrap();
    survives(&disk, "k")
}

fn zip(_: u64) -> Result<(), String> {
    let disk = SimDisk::new();
    let engine = options(&disk, 1).open("simulated").unwrap();
    let lobby = object(&engine, "lobby");
    let first = lobby.transact(|tx| tx.put("first", "v"));
    engine.sync().unwrap();
    let second = lobby.transact(|tx| tx.put("second", "v"));
    first.zip(second).wait().unwrap();
    survives(&disk, "second")
}

fn turns(_: u64) -> Result<(), String> {
    let patience = Duration::from_millis(30);
    let engine = options(&SimDisk::new(), 1).wait_max(patience).open("simulated").unwrap();
    let lobby = object(&engine, "lobby");
    lobby.transact(|tx| tx.put("k", "0")).wait().unwrap();
    let other = lobby.clone();
    let entered = lobby.transact(|tx| {
        let entered = thread::spawn(move || other.transact(|tx| tx.put("k", "other")).wait()).join();
        tx.put("k", "first")?;
        Ok(entered.unwrap())
    });
    match entered.wait() {
        Ok(Err(Error::Busy { .. })) => Ok(()),
        other => Err(format!("who came second to a turn that was not over: {other:?}")),
    }
}

fn quotas(_: u64) -> Result<(), String> {
    let engine = options(&SimDisk::new(), 1).open("simulated").unwrap();
    let quotas = Quotas { namespace_bytes: Some(100), objects: Some(2), object_bytes: Some(60) };
    engine.namespace("rooms").unwrap().set_quotas(quotas).unwrap();
    let fill =
        |name: &str, bytes: usize| object(&engine, name).transact(|tx| tx.put("k", vec![0; bytes])).wait();
    fill("a", 50).unwrap();
    match fill("b", 55) {
        Err(Error::Quota { .. }) => Ok(()),
        other => Err(format!("107 bytes where 100 are allowed: {other:?}")),
    }
}

fn lock(_: u64) -> Result<(), String> {
    let disk = SimDisk::new();
    let _first = options(&disk, 1).open("simulated").unwrap();
    match options(&disk, 2).open("simulated") {
        Err(Error::Locked { .. }) => Ok(()),
        other => Err(format!("a directory that is open was opened: {other:?}")),
    }
}
