//! An engine on a simulated disk, driven step by step on one thread.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use lineal::{
    Bookmark, Durability, Engine, Error, Gated, Micros, Object, Options, Result, Tx, View,
    archive::ArchiveOptions,
};
use lineal_wal::sim::SimDisk;

use crate::model::{Entries, ObjectState, ROWS, Row, State, Step, TABLE, Write, name, row_name};

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

    /// As [`open_with`](World::open_with), of the engine that is in the archive that the options name.
    ///
    /// # Errors
    /// What attaching says.
    pub fn attach_with(options: Options) -> Result<World> {
        let engine = options.clone().attach("simulated")?;
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
        self.submit_with(step, Durability::Local)
    }

    /// As [`submit`](World::submit), and its gate opens when the commit is as durable as this.
    ///
    /// # Errors
    /// What the engine says.
    ///
    /// # Panics
    /// For any other step.
    pub fn submit_with(&self, step: &Step, durability: Durability) -> Result<Gated<()>> {
        let (Step::Commit(object, _) | Step::Sql(object, _)) = step else {
            panic!("{step:?} is no commit of one object")
        };
        Ok(self.object(*object)?.transact(|tx| {
            tx.durability(durability)?;
            match step {
                Step::Sql(_, rows) => write_rows(tx, rows),
                Step::Commit(_, writes) => write_all(tx, writes),
                _ => Ok(()),
            }
        }))
    }

    /// Whether there is an engine: not where opening it again has failed.
    pub fn is_open(&self) -> bool {
        self.engine.is_some()
    }

    /// The engine.
    pub fn engine(&self) -> &Engine {
        self.engine.as_ref().expect("the engine is closed only while it is opened again")
    }

    /// An object by its number.
    ///
    /// # Errors
    /// What the engine says.
    pub fn object(&self, object: usize) -> Result<Object> {
        self.engine().namespace(NAMESPACE)?.object(&name(object))
    }

    /// Does one step. When it returns, what the step commits is durable.
    ///
    /// # Errors
    /// What the engine says.
    pub fn step(&mut self, step: &Step) -> Result<()> {
        match step {
            Step::Commit(..) | Step::Sql(..) => self.submit(step)?.wait(),
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

    /// The number of the newest commit of the object with this name, whether it exists or not; 0 if it has none.
    ///
    /// # Errors
    /// What the engine says.
    pub fn seq(&self, name: &str) -> Result<u64> {
        match self.engine().existing_namespace(NAMESPACE) {
            Err(Error::NotFound { .. }) => Ok(0),
            namespace => namespace?.object(name)?.read(|view| Ok(view.seq())).wait(),
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
    let mut total = 0;
    for info in namespace.objects()? {
        let info = info?;
        let object = namespace.by_id(info.id)?;
        let (entries, more) = object
            .read(|view| {
                let more = view.sql().database_size()? > 0 || view.schema_version()? > 0;
                Ok((contents(view)?, more))
            })
            .wait()?;
        object.verify()?;
        if more {
            assert!(
                info.bytes > bytes_of(&entries),
                "its database counts, too, and the number of its schema"
            );
        } else {
            assert_eq!(info.bytes, bytes_of(&entries), "the size of an object is exact");
        }
        total += info.bytes;
        let name = info.name.expect("the world makes its objects by name");
        state.insert(name, ObjectState { seq: info.seq, exists: true, entries, ..ObjectState::default() });
    }
    let usage = namespace.usage();
    assert_eq!((usage.objects, usage.bytes), (state.len() as u64, total), "the namespace's usage is exact");
    Ok(state)
}

/// The bytes of the keys and values.
fn bytes_of(entries: &Entries) -> u64 {
    let keys = entries.iter().filter(|(key, _)| *key != TABLE && !key.starts_with(ROWS));
    keys.map(|(key, value)| (key.len() + value.len()) as u64).sum()
}

/// All that a view shows, read in every way there is, as the model has it.
///
/// # Errors
/// What the engine says.
pub fn contents(view: &View<'_>) -> Result<Entries> {
    let mut entries: Entries =
        view.prefix("").map(|e| e.map(|(k, v)| (k, v.to_vec()))).collect::<Result<_>>()?;
    let backward: Vec<Vec<u8>> =
        view.prefix("").reverse().map(|entry| entry.map(|(key, _)| key)).collect::<Result<_>>()?;
    assert!(entries.keys().rev().eq(&backward), "both directions see the same keys");
    for (key, value) in entries.iter().take(8) {
        assert_eq!(view.get(key)?.as_deref(), Some(value.as_slice()), "a range and a get see the same value");
    }
    let sql = view.sql();
    if sql.database_size()? > 0 {
        let mut rows = sql.query("SELECT k, v FROM t NOT INDEXED", [])?;
        entries.insert(TABLE.to_vec(), Vec::new());
        while let Some(row) = rows.next()? {
            entries.insert(row_name(row.get(0)?), row.get(1)?);
        }
        let indexed: u32 =
            sql.query_one("SELECT count(*) FROM t INDEXED BY i WHERE s >= 0", [], |row| row.get(0))?;
        let found = entries.keys().filter(|key| key.starts_with(ROWS)).count();
        assert_eq!(indexed as usize, found, "the table and its index have the same rows");
    }
    Ok(entries)
}

/// Compares every object at every commit that the model remembers with what the engine says it was.
///
/// # Errors
/// What the engine says.
pub fn check_history(engine: &Engine, state: &State) -> Result<()> {
    let namespace = engine.namespace(NAMESPACE)?;
    for (name, object) in state {
        let handle = namespace.object(name)?;
        let times: Vec<Micros> = handle
            .history(..)?
            .reverse()
            .map(|commit| commit.map(|commit| commit.time))
            .collect::<Result<_>>()?;
        assert!(times.is_sorted(), "{name}: no commit is older than the one before it");
        for (seq, then) in &object.past {
            let (exists, entries) = &**then;
            let mark = handle.bookmark_of(*seq)?;
            let mark: Bookmark = mark.to_string().parse()?;
            let view = handle.at(&mark)?;
            let at = format!("{name} at commit {seq}");
            assert_eq!((view.seq(), view.exists()), (*seq, *exists), "{at}");
            assert_eq!(&contents(&view)?, entries, "{at}");
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

fn write_rows(tx: &mut Tx<'_>, rows: &[Row]) -> Result<()> {
    let sql = tx.sql();
    sql.execute_batch(
        "CREATE TABLE IF NOT EXISTS t (k INTEGER PRIMARY KEY, v BLOB NOT NULL, s AS (length(v)) STORED);
         CREATE INDEX IF NOT EXISTS i ON t (s)",
    )?;
    for row in rows {
        match row {
            Row::Put(number, value) => {
                sql.execute("INSERT OR REPLACE INTO t (k, v) VALUES (?1, ?2)", (number, value))?
            }
            Row::Remove(number) => sql.execute("DELETE FROM t WHERE k = ?1", [number])?,
        };
    }
    Ok(())
}
