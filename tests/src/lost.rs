//! What tests of lost machines share: commits that wait for the archive, and the count of those that are in it.

use std::{sync::Arc, time::Duration};

use lineal::{Durability, Engine, Error, Gated, Result};
use lineal_snapshot::archive::sim::SimStore;
use lineal_wal::sim::SimDisk;

use crate::{archive::hurried, world};

/// How long anything waits for a store that is dark.
const WAIT: Duration = Duration::from_millis(60);

/// How many commits [`commit_and_count`] makes.
const COMMITS: u64 = 16;

/// Commits one after the other, checkpoints, spills and merges in between. Returns how many commits were told to be
/// archived.
pub fn commit_and_count(engine: &Engine) -> u64 {
    let Ok(log) = engine.namespace("log").and_then(|namespace| namespace.object("log")) else { return 0 };
    let mut acknowledged = 0;
    for number in 1..=COMMITS {
        let gate: Gated<()> = log.transact(|tx| {
            tx.durability(Durability::Archived)?;
            tx.put(format!("{number:04}"), vec![number as u8; 900])
        });
        match gate.wait_timeout(WAIT) {
            Ok(Ok(())) => acknowledged = number,
            _ => return acknowledged,
        }
        let done = match number % 8 {
            3 => engine.checkpoint().map(drop),
            5 => engine.spill().map(drop),
            7 => engine.compact(),
            _ => Ok(()),
        };
        if done.is_err() {
            return acknowledged;
        }
    }
    acknowledged
}

/// The engine that is in the archive, on a machine that has nothing of it.
///
/// # Errors
/// As [`Options::attach`](lineal::Options::attach).
pub fn attached(store: &Arc<SimStore>, seed: u64) -> Result<Engine> {
    world::options(&SimDisk::new(), seed).archive(hurried(store)).attach("simulated")
}

/// How many commits an archive holds: the first so many.
///
/// # Panics
/// If they are no prefix, or do not verify.
pub fn count(engine: &Engine, context: &str) -> u64 {
    let log = engine.existing_namespace("log").unwrap().object("log").unwrap();
    let found: Vec<String> = log
        .read(|view| {
            let text = |key: &[u8]| String::from_utf8_lossy(key).into_owned();
            view.range::<&str>(..).map(|entry| Ok(text(&entry?.0))).collect()
        })
        .wait()
        .unwrap_or_else(|error| panic!("{context}: reading: {error}"));
    let expected: Vec<String> = (1..=found.len()).map(|number| format!("{number:04}")).collect();
    assert_eq!(found, expected, "{context}: a prefix");
    engine.verify(&mut |_| ()).unwrap_or_else(|error| panic!("{context}: verifying: {error}"));
    found.len() as u64
}

/// How many requests it takes to archive them all.
///
/// # Panics
/// If a sound store does not take them.
pub fn requests() -> u64 {
    let whole = SimStore::new();
    let engine = world::options(&SimDisk::new(), 1).archive(hurried(&whole)).open("simulated").unwrap();
    assert_eq!(commit_and_count(&engine), COMMITS);
    drop(engine);
    whole.requests().len() as u64
}

/// The store is dark from this request on, and then the machine is lost: what was told to be archived is there.
///
/// # Panics
/// If it is not.
pub fn lose_at(request: u64) {
    let context = format!("dark from request {request} on");
    let store = SimStore::new();
    store.dark_after(request);
    let options = world::options(&SimDisk::new(), 1).archive(hurried(&store));
    let acknowledged = options.open("simulated").map_or(0, |engine| commit_and_count(&engine));
    store.clear();
    match attached(&store, 9) {
        Ok(engine) if engine.existing_namespace("log").is_ok() => {
            let found = count(&engine, &context);
            assert!(found >= acknowledged, "{context}: {found} of {acknowledged}");
        }
        // Nothing had come so far.
        Ok(_) | Err(Error::NotFound { .. }) => assert_eq!(acknowledged, 0, "{context}"),
        Err(Error::Archive(error)) if error.to_string().contains("manifest") => {
            assert_eq!(acknowledged, 0, "{context}: {error}");
        }
        Err(error) => panic!("{context}: attaching: {error}"),
    }
}
