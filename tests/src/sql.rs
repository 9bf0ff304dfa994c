//! Steps of SQL and key-values for an engine, and the oracle that they are compared with: an in-memory SQLite for each
//! object, fed the same statements.

use std::{collections::BTreeMap, sync::Arc};

use lineal::{
    Engine, Error, Namespace, Object, Result, Sql, Tx, View,
    rusqlite::{self, Connection, config::DbConfig, types::ValueRef},
};
use lineal_wal::sim::SimDisk;

use crate::{
    model::name,
    world::{NAMESPACE, options},
};

/// One thing that a test does.
#[derive(Clone, Debug)]
pub enum Step {
    /// One transaction on one object.
    Transact(usize, Arc<Deed>),
    /// Bring the object back to where it was after the commit of this number.
    Restore(usize, u64),
    /// Make the last object what the first was after one of its commits.
    Fork(usize, u64, usize),
    /// Delete the object.
    Delete(usize),
    /// A checkpoint.
    Checkpoint,
    /// Merge all packs.
    Compact,
    /// Take the object's memory.
    Hibernate(usize),
    /// Close the engine and open it again.
    Reopen,
}

/// What a transaction does.
#[derive(Clone, Debug)]
pub struct Deed {
    /// One after the other.
    pub actions: Vec<Action>,
    /// Whether it returns an error at its end.
    pub fails: bool,
}

/// A part of a transaction. A statement that fails leaves nothing, and the transaction goes on.
#[derive(Clone, Debug)]
pub enum Action {
    /// One statement.
    Sql(String),
    /// Several statements in one call: all of them or nothing.
    Batch(String),
    /// Put a key.
    Put(String, Vec<u8>),
    /// Delete a key.
    Remove(String),
    /// Delete everything, the database too. Not inside a savepoint.
    DeleteAll,
    /// A part that may fail alone.
    Savepoint(Deed),
}

/// All that an object holds, in an order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Content {
    /// Keys and values.
    pub entries: BTreeMap<Vec<u8>, Vec<u8>>,
    /// The schema, then every table with its rows.
    pub database: Vec<String>,
}

/// Whether each statement succeeded, in order.
pub type Told = Vec<bool>;

/// An engine that steps are done on.
pub struct SqlWorld {
    disk: SimDisk,
    engine: Option<Engine>,
}

impl SqlWorld {
    /// Opens the engine that is on the disk.
    ///
    /// # Errors
    /// What opening says.
    pub fn open(disk: &SimDisk) -> Result<SqlWorld> {
        Ok(SqlWorld { disk: disk.clone(), engine: Some(options(disk, 3).open("simulated")?) })
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

    /// Does one step. When it returns, what the step commits is durable. What a transaction's statements came to is told.
    ///
    /// # Errors
    /// What the engine says; not that a transaction failed that was to.
    pub fn step(&mut self, step: &Step) -> Result<Told> {
        let mut told = Told::new();
        match step {
            Step::Transact(object, deed) => {
                let outcome = self.object(*object)?.transact(|tx| act(tx, deed, &mut told)).wait();
                match outcome {
                    Err(Error::Other(_)) if deed.fails => {}
                    outcome => outcome?,
                }
            }
            Step::Restore(object, seq) => {
                let object = self.object(*object)?;
                object.restore(&object.bookmark_of(*seq)?).wait()?;
            }
            Step::Fork(source, seq, target) => {
                let source = self.object(*source)?;
                source.fork(&source.bookmark_of(*seq)?, &self.object(*target)?).wait()?;
            }
            Step::Delete(object) => self.object(*object)?.delete().wait()?,
            Step::Checkpoint => drop(self.engine().checkpoint()?),
            Step::Compact => self.engine().compact()?,
            Step::Hibernate(object) => self.object(*object)?.hibernate()?,
            Step::Reopen => {
                if let Some(engine) = self.engine.take() {
                    engine.close()?;
                }
                self.engine = Some(options(&self.disk, 4).open("simulated")?);
            }
        }
        Ok(told)
    }

    /// The number of the object's newest commit; 0 if it has none.
    ///
    /// # Errors
    /// What the engine says.
    pub fn seq(&self, object: usize) -> Result<u64> {
        match self.object(object)?.info() {
            Err(Error::NotFound { .. }) => Ok(0),
            info => Ok(info?.seq),
        }
    }

    /// What the object holds now.
    ///
    /// # Errors
    /// What the engine says.
    pub fn content(&self, object: usize) -> Result<Content> {
        self.object(object)?.read(content_of).wait()
    }

    /// What every object that exists holds, by name.
    ///
    /// # Errors
    /// What the engine says.
    pub fn contents(&self) -> Result<BTreeMap<String, Content>> {
        let namespace: Namespace = match self.engine().existing_namespace(NAMESPACE) {
            Err(Error::NotFound { .. }) => return Ok(BTreeMap::new()),
            namespace => namespace?,
        };
        let mut contents = BTreeMap::new();
        for info in namespace.objects()? {
            let info = info?;
            let content = namespace.by_id(info.id)?.read(content_of).wait()?;
            contents.insert(info.name.expect("the world makes its objects by name"), content);
        }
        Ok(contents)
    }
}

/// What a view shows, of a database that is sound.
///
/// # Errors
/// What the engine says.
pub fn content_of(view: &View<'_>) -> Result<Content> {
    let entries = view.prefix("").map(|e| e.map(|(k, v)| (k, v.to_vec()))).collect::<Result<_>>()?;
    let sql = view.sql();
    let sound: String = sql.query_one("PRAGMA integrity_check", [], |row| row.get(0))?;
    assert_eq!(sound, "ok");
    let database = dump(|statement| {
        let mut rows = sql.query(statement, [])?;
        let mut found = Vec::new();
        while let Some(row) = rows.next()? {
            let cells = (0..row.column_count()).map(|at| row.get_ref(at).map(shown));
            found.push(cells.collect::<Result<_>>()?);
        }
        Ok::<_, Error>(found)
    })?;
    Ok(Content { entries, database })
}

/// The schema and every table's rows, through a function that runs a query.
fn dump<E>(mut query: impl FnMut(&str) -> Result<Vec<Vec<String>>, E>) -> Result<Vec<String>, E> {
    let schema = query("SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY type, name")?;
    let mut lines: Vec<String> = schema.iter().map(|row| row.join("|")).collect();
    for row in &schema {
        let table = &row[1];
        // What lies in the tables of a full-text index is its own business; what it holds is read through it.
        if row[0] == "table" && !table.starts_with("words_") && !table.starts_with("sqlite_") {
            lines.push(format!("rows of {table}"));
            let rows = query(&format!("SELECT * FROM \"{table}\""))?;
            let first = lines.len();
            lines.extend(rows.iter().map(|row| row.join("|")));
            lines[first..].sort_unstable();
        }
    }
    Ok(lines)
}

fn shown(value: ValueRef<'_>) -> String {
    match value {
        ValueRef::Text(text) => String::from_utf8_lossy(text).into_owned(),
        other => format!("{other:?}"),
    }
}

fn act(tx: &mut Tx<'_>, deed: &Deed, told: &mut Told) -> Result<()> {
    for action in &deed.actions {
        match action {
            Action::Sql(statement) => told.push(run_one(&tx.sql(), statement)),
            Action::Batch(statements) => told.push(succeeded(tx.sql().execute_batch(statements))),
            Action::Put(key, value) => tx.put(key, value)?,
            Action::Remove(key) => tx.delete(key)?,
            Action::DeleteAll => tx.delete_all()?,
            Action::Savepoint(inner) => match tx.savepoint(|tx| act(tx, inner, told)) {
                Err(Error::Other(_)) if inner.fails => {}
                outcome => outcome?,
            },
        }
    }
    if deed.fails { Err(Error::other("as it should")) } else { Ok(()) }
}

fn run_one(sql: &Sql<'_>, statement: &str) -> bool {
    succeeded(sql.execute(statement, []))
}

/// Whether a statement succeeded; an error that is not the statement's own ends the test.
fn succeeded<T>(outcome: Result<T>) -> bool {
    match outcome {
        Ok(_) => true,
        Err(Error::Sql(_)) => false,
        Err(error) => panic!("{error}"),
    }
}

/// What objects should hold.
#[derive(Default)]
pub struct Oracle {
    objects: BTreeMap<usize, Line>,
}

/// One object's line of history.
struct Line {
    database: Connection,
    entries: BTreeMap<Vec<u8>, Vec<u8>>,
    /// What made the object what it is, oldest first: a restore makes it what made an earlier version.
    made_of: Vec<Arc<Deed>>,
    exists: bool,
    seq: u64,
    past: BTreeMap<u64, Past>,
}

struct Past {
    made_of: Vec<Arc<Deed>>,
    exists: bool,
    content: Content,
}

impl Oracle {
    /// Does what the engine did in a step: what its statements came to has to be the same, and a commit has to be there
    /// where something changed.
    ///
    /// # Panics
    /// If it is not.
    pub fn step(&mut self, step: &Step, told: &Told, seq: impl Fn(usize) -> u64) {
        match step {
            Step::Transact(object, deed) => {
                let line = self.objects.entry(*object).or_insert_with(Line::new);
                assert_eq!(&line.transact(deed), told, "what statements came to: {deed:?}");
                let now = seq(*object);
                assert!(now == line.seq || (now == line.seq + 1 && !deed.fails), "commit {now} of {deed:?}");
                if now > line.seq {
                    line.exists = true;
                    line.made_of.push(Arc::clone(deed));
                    line.remember();
                }
            }
            Step::Restore(object, to) => {
                let line = self.objects.get_mut(object).expect("an object that has commits");
                let past = &line.past[to];
                let (made_of, exists) = (past.made_of.clone(), past.exists);
                line.make(made_of, exists);
                line.remember();
            }
            Step::Fork(source, at, target) => {
                let past = &self.objects[source].past[at];
                let (made_of, exists) = (past.made_of.clone(), past.exists);
                let line = self.objects.entry(*target).or_insert_with(Line::new);
                line.make(made_of, exists);
                line.remember();
            }
            Step::Delete(object) => {
                if let Some(line) = self.objects.get_mut(object).filter(|line| line.exists) {
                    line.make(Vec::new(), false);
                    line.remember();
                }
            }
            Step::Checkpoint | Step::Compact | Step::Hibernate(_) | Step::Reopen => {}
        }
    }

    /// What the object holds now.
    pub fn content(&self, object: usize) -> Content {
        self.objects.get(&object).map(Line::content).unwrap_or_default()
    }

    /// What every object that exists holds, by name.
    pub fn contents(&self) -> BTreeMap<String, Content> {
        let existing = self.objects.iter().filter(|(_, line)| line.exists);
        existing.map(|(object, line)| (name(*object), line.content())).collect()
    }

    /// The commits of the object that there are, in order.
    pub fn seqs(&self, object: usize) -> Vec<u64> {
        self.objects.get(&object).map(|line| line.past.keys().copied().collect()).unwrap_or_default()
    }

    /// Every version there was, of every object.
    pub fn past(&self) -> impl Iterator<Item = (usize, u64, &Content)> {
        self.objects
            .iter()
            .flat_map(|(object, line)| line.past.iter().map(|(seq, past)| (*object, *seq, &past.content)))
    }
}

impl Line {
    fn new() -> Line {
        Line {
            database: database(),
            entries: BTreeMap::new(),
            made_of: Vec::new(),
            exists: false,
            seq: 0,
            past: BTreeMap::new(),
        }
    }

    fn make(&mut self, made_of: Vec<Arc<Deed>>, exists: bool) {
        (self.database, self.entries, self.exists) = (database(), BTreeMap::new(), exists);
        for deed in &made_of {
            self.transact(deed);
        }
        self.made_of = made_of;
    }

    fn remember(&mut self) {
        self.seq += 1;
        let past = Past { made_of: self.made_of.clone(), exists: self.exists, content: self.content() };
        self.past.insert(self.seq, past);
    }

    fn transact(&mut self, deed: &Deed) -> Told {
        let mut told = Told::new();
        self.database.execute_batch("BEGIN").expect("a transaction begins");
        let (entries, outer) = (self.entries.clone(), self.act(deed, &mut told));
        if outer.is_err() {
            self.entries = entries;
            if deed.actions.iter().any(|action| matches!(action, Action::DeleteAll)) {
                // The database that it was lies with the statements that made it.
                self.make(self.made_of.clone(), self.exists);
                return told;
            }
        }
        let end = if outer.is_err() { "ROLLBACK" } else { "COMMIT" };
        self.database.execute_batch(end).expect("a transaction ends");
        told
    }

    fn act(&mut self, deed: &Deed, told: &mut Told) -> Result<(), ()> {
        for action in &deed.actions {
            match action {
                Action::Sql(statement) => told.push(self.database.execute(statement, []).is_ok()),
                Action::Batch(statements) => {
                    let outcome = self.within(|line| line.database.execute_batch(statements).map_err(|_| ()));
                    told.push(outcome.is_ok());
                }
                Action::Put(key, value) => drop(self.entries.insert(key.clone().into_bytes(), value.clone())),
                Action::Remove(key) => drop(self.entries.remove(key.as_bytes())),
                Action::DeleteAll => {
                    self.entries.clear();
                    self.database = database();
                    self.database.execute_batch("BEGIN").expect("a transaction begins");
                }
                Action::Savepoint(inner) => {
                    let entries = self.entries.clone();
                    if self.within(|line| line.act(inner, told)).is_err() {
                        self.entries = entries;
                    }
                }
            }
        }
        if deed.fails { Err(()) } else { Ok(()) }
    }

    fn within(&mut self, f: impl FnOnce(&mut Line) -> Result<(), ()>) -> Result<(), ()> {
        self.database.execute_batch("SAVEPOINT part").expect("a savepoint begins");
        let outcome = f(self);
        let end = if outcome.is_err() { "ROLLBACK TO part; RELEASE part" } else { "RELEASE part" };
        self.database.execute_batch(end).expect("a savepoint ends");
        outcome
    }

    fn content(&self) -> Content {
        let database = dump(|statement| {
            let mut statement = self.database.prepare(statement)?;
            let columns = statement.column_count();
            let rows =
                statement.query_map([], |row| (0..columns).map(|at| row.get_ref(at).map(shown)).collect())?;
            rows.collect::<rusqlite::Result<_>>()
        });
        Content { entries: self.entries.clone(), database: database.expect("the oracle reads") }
    }
}

/// An empty database that behaves as one in an object does.
fn database() -> Connection {
    let database = Connection::open_in_memory().expect("memory is there");
    for (switch, on) in [
        (DbConfig::SQLITE_DBCONFIG_ENABLE_FKEY, true),
        (DbConfig::SQLITE_DBCONFIG_DQS_DML, false),
        (DbConfig::SQLITE_DBCONFIG_DQS_DDL, false),
        (DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false),
    ] {
        database.set_db_config(switch, on).expect("a switch is set");
    }
    database
}
