//! An engine on a simulated disk, driven step by step on one thread.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use lineal::{Bookmark, Engine, Error, Gated, Micros, Object, Options, Result, Tx, archive::ArchiveOptions};
use lineal_wal::sim::SimDisk;

use crate::model::{Entries, ObjectState, State, Step, Write, name};

/// The namespace that tests write to.
pub const NAMESPACE: &str = "world";

/// Options for a small engine on this disk: no threads, small segments, counted time, seeded randomness.
pub fn options(disk: &SimDisk, seed: u64) -> Options {
    let time = AtomicU64::new(1_700_000_000_000_000 + seed);
    let random = AtomicU64::new(seed.wrapping_mul(2).wrapping_add(1));
    Options::new()
        .disk(Arc::new(disk.clone()))
        .background(false)
        .segment_bytes(64 << 10, 256 << 10)
        .reserve_bytes(0)
        .ballast_bytes(0)
        .checkpoint_bytes(1 << 20)
        .cache_bytes(1 << 20)
        .clock(Arc::new(move || Micros(time.fetch_add(1_000, Ordering::Relaxed))))
        .random(Arc::new(move || {
            random.fetch_add(0x9E37_79B9_7F4A_7C15, Ordering::Relaxed).wrapping_mul(0xD134_2543_DE82_EF95)
        }))
}

/// The same, on a clock that the test sets, in microseconds.
pub fn options_at(disk: &SimDisk, seed: u64, time: &Arc<AtomicU64>) -> Options {
    let time = Arc::clone(time);
    options(disk, seed).clock(Arc::new(move || Micros(time.load(Ordering::Relaxed))))
}

/// An engine that steps are done on.
pub struct World {
    /// How it is opened again.
    again: Options,
    engine: Option<Engine>,
}

impl World {
    /// Opens the engine that is on the disk.
    ///
    /// # Errors
    /// What opening says.
    pub fn open(disk: &SimDisk, seed: u64) -> Result<World> {
        let engine = options(disk, seed).open("simulated")?;
        Ok(World { again: options(disk, seed + 1), engine: Some(engine) })
    }

    /// Opens the engine that is on the disk with its archive, or, on an empty disk, the one that is in the archive.
    ///
    /// # Errors
    /// What opening says.
    pub fn open_archived(disk: &SimDisk, seed: u64, archive: &ArchiveOptions, attach: bool) -> Result<World> {
        let with = |seed| options(disk, seed).archive(archive.clone());
        let engine = if attach { with(seed).attach("simulated") } else { with(seed).open("simulated") }?;
        Ok(World { again: with(seed + 1), engine: Some(engine) })
    }

    /// Opens what is on the disk that these options name, now and whenever it is opened again.
    ///
    /// # Errors
    /// What opening says.
    pub fn open_with(options: Options) -> Result<World> {
        let engine = options.clone().open("simulated")?;
        Ok(World { again: options, engine: Some(engine) })
    }

    /// Does a commit of one object and does not wait for it.
    ///
    /// # Errors
    /// What the engine says.
    ///
    /// # Panics
    /// For any other step.
    pub fn submit(&self, step: &Step) -> Result<Gated<()>> {
        let Step::Commit(object, writes) = step else { panic!("{step:?} is no commit") };
        Ok(self.object(*object)?.transact(|tx| write_all(tx, writes)))
    }

    /// Whether there is an engine: not where opening it again has failed.
    pub fn is_open(&self) -> bool {
        self.engine.is_some()
    }

    /// The engine.
    pub fn engine(&self) -> &Engine {
        self.engine.as_ref().expect("the engine is closed only while it is opened again")
    }

    fn object(&self, object: usize) -> Result<Object> {
        self.engine().namespace(NAMESPACE)?.object(&name(object))
    }

    /// Does one step. When it returns, what the step commits is durable.
    ///
    /// # Errors
    /// What the engine says.
    pub fn step(&mut self, step: &Step) -> Result<()> {
        match step {
            Step::Commit(object, writes) => self.object(*object)?.transact(|tx| write_all(tx, writes)).wait(),
            Step::Many([left, right], writes) => {
                let (left, right) = (self.object(*left)?, self.object(*right)?);
                self.engine()
                    .transact_many([&left, &right], |[left, right]| {
                        write_all(left, writes)?;
                        write_all(right, writes)
                    })
                    .wait()
            }
            Step::Delete(object) => self.object(*object)?.delete().wait(),
            Step::Purge(object) => match self.object(*object)?.purge().wait() {
                Err(Error::HasForks { .. }) => Ok(()),
                outcome => outcome,
            },
            Step::Restore(object, seq) => {
                let object = self.object(*object)?;
                match object.bookmark_of(*seq) {
                    Err(Error::Bookmark(_)) => Ok(()),
                    Err(error) => Err(error),
                    Ok(mark) => object.restore(&mark).wait().map(|_| ()),
                }
            }
            Step::Fork(source, seq, target) => {
                let (source, target) = (self.object(*source)?, self.object(*target)?);
                let mark = match source.bookmark_of(*seq) {
                    Err(Error::Bookmark(_)) => return Ok(()),
                    mark => mark?,
                };
                match source.fork(&mark, &target).wait() {
                    Err(Error::NotEmpty { .. }) => Ok(()),
                    outcome => outcome.map(|_| ()),
                }
            }
            Step::Checkpoint => self.engine().checkpoint().map(|_| ()),
            Step::Compact => self.engine().compact(),
            Step::Hibernate(object) => self.object(*object)?.hibernate(),
            Step::Reopen => {
                if let Some(engine) = self.engine.take() {
                    engine.close()?;
                }
                self.engine = Some(self.again.clone().open("simulated")?);
                Ok(())
            }
        }
    }

    /// What a reader sees of everything, and that every chain is right.
    ///
    /// # Errors
    /// What the engine says.
    pub fn dump(&self) -> Result<State> {
        dump(self.engine())
    }
}

/// What a reader sees of everything, and that every chain is right.
///
/// # Errors
/// What the engine says.
pub fn dump(engine: &Engine) -> Result<State> {
    let mut state = State::new();
    let namespace = match engine.existing_namespace(NAMESPACE) {
        Ok(namespace) => namespace,
        Err(Error::NotFound { .. }) => return Ok(state),
        Err(error) => return Err(error),
    };
    for info in namespace.objects()? {
        let info = info?;
        let object = namespace.by_id(info.id)?;
        let forward: Vec<(Vec<u8>, Vec<u8>)> = object
            .read(|view| {
                view.prefix("").map(|entry| entry.map(|(key, value)| (key, value.to_vec()))).collect()
            })
            .wait()?;
        let mut backward: Vec<Vec<u8>> = object
            .read(|view| view.prefix("").reverse().map(|entry| entry.map(|(key, _)| key)).collect())
            .wait()?;
        backward.reverse();
        assert!(forward.iter().map(|(key, _)| key).eq(&backward), "both directions see the same keys");
        for (key, value) in &forward {
            let found = object.read(|view| view.get(key)).wait()?;
            assert_eq!(found.as_deref(), Some(value.as_slice()), "a range and a get see the same value");
        }
        object.verify()?;
        let bytes: usize = forward.iter().map(|(key, value)| key.len() + value.len()).sum();
        assert_eq!(info.bytes, bytes as u64, "the size of an object is exact");
        let name = info.name.expect("the world makes its objects by name");
        state.insert(
            name,
            ObjectState {
                seq: info.seq,
                exists: true,
                entries: forward.into_iter().collect(),
                ..ObjectState::default()
            },
        );
    }
    let bytes: usize =
        state.values().flat_map(|object| &object.entries).map(|(key, value)| key.len() + value.len()).sum();
    let usage = namespace.usage();
    assert_eq!(
        (usage.objects, usage.bytes),
        (state.len() as u64, bytes as u64),
        "the namespace's usage is exact"
    );
    Ok(state)
}

/// Compares every object at every commit that the model remembers with what the engine says it was.
///
/// # Errors
/// What the engine says.
pub fn check_history(engine: &Engine, state: &State) -> Result<()> {
    let namespace = engine.namespace(NAMESPACE)?;
    for (name, object) in state {
        let handle = namespace.object(name)?;
        for (seq, (exists, entries)) in &object.past {
            let mark = handle.bookmark_of(*seq)?;
            let mark: Bookmark = mark.to_string().parse()?;
            let view = handle.at(&mark)?;
            let at = format!("{name} at commit {seq}");
            assert_eq!((view.seq(), view.exists()), (*seq, *exists), "{at}");
            let forward: Entries =
                view.prefix("").map(|e| e.map(|(k, v)| (k, v.to_vec()))).collect::<Result<_>>()?;
            assert_eq!(&forward, entries, "{at}");
            let backward: Vec<Vec<u8>> =
                view.prefix("").reverse().map(|e| e.map(|(k, _)| k)).collect::<Result<_>>()?;
            assert!(entries.keys().rev().eq(&backward), "{at}: both directions see the same keys");
            for (key, value) in entries.iter().take(3) {
                assert_eq!(view.get(key)?.as_deref(), Some(value.as_slice()), "{at}");
            }
        }
    }
    Ok(())
}

fn write_all(tx: &mut Tx<'_>, writes: &[Write]) -> Result<()> {
    for write in writes {
        match write {
            Write::Put(key, value) => tx.put(key, value)?,
            Write::Delete(key) => tx.delete(key)?,
            Write::DeleteRange(start, end) => tx.delete_range(start.as_slice()..end.as_slice())?,
            Write::DeleteAll => tx.delete_all()?,
        }
    }
    Ok(())
}
