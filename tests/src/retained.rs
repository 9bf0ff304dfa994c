//! What tests of retention share: an object with a commit each hour, and what can be read of its past.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use lineal::{BookmarkError, Engine, Error, Object, Retention};
use lineal_wal::sim::SimDisk;

use crate::world::options_at;

/// In microseconds.
pub const HOUR: u64 = 3_600_000_000;

/// An engine on a clock that the test sets.
#[derive(Debug)]
pub struct World {
    /// Its disk.
    pub disk: SimDisk,
    /// Its clock, in microseconds.
    pub time: Arc<AtomicU64>,
}

impl Default for World {
    fn default() -> World {
        World::new()
    }
}

impl World {
    /// An empty one.
    #[must_use]
    pub fn new() -> World {
        World { disk: SimDisk::new(), time: Arc::new(AtomicU64::new(1_000 * HOUR)) }
    }

    /// Opens it.
    ///
    /// # Panics
    /// If it does not open.
    pub fn open(&self) -> Engine {
        options_at(&self.disk, 3, &self.time).open("simulated").unwrap()
    }

    /// Lets so many hours pass.
    pub fn pass(&self, hours: u64) {
        self.time.fetch_add(hours * HOUR, Ordering::Relaxed);
    }
}

/// Keeps so many hours.
pub fn hours(hours: u64) -> Retention {
    Retention { time: Some(Duration::from_secs(hours * 3_600)), bytes: None }
}

/// The object that is written.
///
/// # Panics
/// If there is none to be had.
pub fn lobby(engine: &Engine) -> Object {
    engine.namespace("rooms").unwrap().object("lobby").unwrap()
}

/// How many keys it has.
pub const KEYS: u64 = 40;

/// The value of a key after the commit `seq`: commit n writes key n modulo 40.
pub fn value(key: u64, seq: u64) -> Option<Vec<u8>> {
    let last = (1..=seq).rev().find(|seq| seq % KEYS == key)?;
    Some([last.to_le_bytes().as_slice(), &[7; 600]].concat())
}

/// Commits, an hour apart, so many that the tail is folded again and again.
///
/// # Panics
/// If the engine does not take them.
pub fn fill(world: &World, engine: &Engine, from: u64, count: u64) {
    let lobby = lobby(engine);
    for seq in from..from + count {
        world.pass(1);
        let key = seq % KEYS;
        lobby.transact(|tx| tx.put(key.to_be_bytes(), value(key, seq).unwrap())).wait().unwrap();
        if seq % 20 == 0 {
            engine.checkpoint().unwrap();
        }
    }
}

/// The object was after the commit `at` what it should have been.
///
/// # Panics
/// If not.
pub fn check_state(object: &Object, at: u64) {
    let view = object.at_seq(at).unwrap();
    for key in 0..KEYS {
        let found = view.get(key.to_be_bytes()).unwrap();
        assert_eq!(found.as_deref(), value(key, at).as_deref(), "key {key} after commit {at}");
    }
}

/// The first commit whose state can be read, which all after it can.
///
/// # Panics
/// If one after it cannot be read, or is not what it was.
pub fn first_kept(object: &Object, last: u64) -> u64 {
    let first = (1..=last).find(|seq| object.at_seq(*seq).is_ok()).unwrap();
    for seq in first..=last {
        check_state(object, seq);
    }
    for seq in 1..first {
        match object.at_seq(seq) {
            Err(Error::Bookmark(error)) => {
                assert!(matches!(*error, BookmarkError::TooOld { .. }), "commit {seq}: {error}");
                assert!(error.to_string().contains(&object.bookmark_of(first).unwrap().to_string()));
            }
            Err(error) => panic!("commit {seq}: {error}"),
            Ok(_) => panic!("commit {seq} can be read and {first} was the first"),
        }
    }
    let history: Vec<u64> = object.history(..).unwrap().reverse().map(|commit| commit.unwrap().seq).collect();
    let begins = if first == 1 { 1 } else { first + 1 };
    assert_eq!(history, (begins..=last).collect::<Vec<u64>>());
    let verified = object.verify().unwrap();
    assert_eq!((verified.first_seq, verified.last_seq), (begins, last));
    first
}
