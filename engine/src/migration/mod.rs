//! Schema migrations: numbered steps that bring an object forward when it is next used.
//!
//! ```text
//! Entry in the system space of an object (`SPACE_SYSTEM`):
//!   "schema"    number of the newest step that ran, u32 big-endian; without the entry it is 0
//! ```
//! The entry is the object's own, so a restore and a fork bring it back with the schema that it tells of, and whatever
//! deletes everything takes it along.

mod all;
mod forward;

use crate::{
    Error, Namespace, Object, Result, Tx, View,
    object::{id::check_name, turns::Turn},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    transaction::commit,
};

pub use self::all::{MigratedObject, MigrationReport};
pub(crate) use self::forward::{Stuck, Use, bring_forward};

/// Key of the entry, in the system space.
const SCHEMA: &[u8] = b"schema";

/// What a step does.
type Step = dyn Fn(&mut Tx<'_>) -> Result<()> + Send + Sync;

/// One step that brings an object's contents from one version to the next; see [`Namespace::migrations`].
#[derive(Clone)]
pub struct Migration {
    name: Arc<str>,
    step: Arc<Step>,
}

impl std::fmt::Debug for Migration {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Migration").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Migration {
    /// A step that runs SQL statements.
    #[cfg(feature = "sql")]
    pub fn sql(name: &str, statements: impl Into<String>) -> Migration {
        let statements = statements.into();
        Migration::run(name, move |tx| tx.sql().execute_batch(&statements))
    }

    /// A step that runs a closure. It gets the object as the step before left it. What it writes is one commit, whose
    /// cause is the step's number and name, whatever the closure gives as a cause.
    pub fn run(name: &str, step: impl Fn(&mut Tx<'_>) -> Result<()> + Send + Sync + 'static) -> Migration {
        Migration { name: Arc::from(name), step: Arc::new(step) }
    }

    /// The step's name.
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// The steps of one namespace.
pub(crate) struct Steps {
    /// Number of the newest step, which is how many there are. Written under `registered`.
    newest: AtomicU32,
    registered: Mutex<Arc<Registered>>,
}

/// The steps as they were registered together; step *n* is the *n*th.
#[derive(Default)]
struct Registered {
    /// Tells one registration from those before it.
    generation: u32,
    steps: Vec<Migration>,
}

impl Steps {
    pub(crate) fn none() -> Steps {
        Steps { newest: AtomicU32::new(0), registered: Mutex::new(Arc::default()) }
    }

    /// Whether an object at `version` has steps to run.
    #[inline]
    pub(crate) fn are_ahead_of(&self, version: u32) -> bool {
        self.newest.load(Ordering::Acquire) > version
    }

    fn registered(&self) -> Arc<Registered> {
        Arc::clone(&self.registered.lock())
    }

    fn register(&self, steps: Vec<Migration>) -> Result<()> {
        steps.iter().try_for_each(|step| check_name(&step.name))?;
        let newest = u32::try_from(steps.len())
            .map_err(|_| Error::Invalid { reason: "there are too many steps of a migration".into() })?;
        let mut registered = self.registered.lock();
        let generation = registered.generation.wrapping_add(1);
        *registered = Arc::new(Registered { generation, steps });
        self.newest.store(newest, Ordering::Release);
        Ok(())
    }
}

impl Namespace {
    /// Registers the steps that bring this namespace's objects forward: step 1 is the first in the list, and so on. Once
    /// a step was in use its place in the list is its number for ever: append to the list, and never take out or reorder.
    ///
    /// An object that is behind runs the steps it is missing before it is next used: before a transaction, a read, and
    /// the first poll of an event, in the same turn. Each step is a commit of its own, of the kind
    /// [`Migration`](crate::Kind::Migration); so a step that fails leaves the object as the step before made it. What a
    /// reader sees of a migration is held back until it is durable. Objects that nobody uses cost nothing;
    /// [`migrate_all`](Namespace::migrate_all) brings them forward too.
    ///
    /// - The steps are code, so the engine's files do not have them: call this after each open, before the objects are
    ///   used. A later call replaces the list.
    /// - An object that does not exist runs all steps with its first transaction, before the closure: the object exists
    ///   then, even if the closure fails or writes nothing. A read of it creates nothing and sees it empty.
    /// - A deleted object that is written again runs all steps again; so does one whose transaction deleted everything.
    /// - A restore or a fork brings the version back with everything else, and the object moves forward from there when
    ///   it is next used. Namespaces between which objects are forked have to have the same steps.
    /// - Past views show the past, and never migrate. [`info`](Object::info), [`bookmark`](Object::bookmark),
    ///   [`delete`](Object::delete), [`restore`](Object::restore) and what takes no turn do not either.
    /// - An object that is ahead of the list, by a newer program, is used as it is.
    /// - Where a step fails, the object's turns fail with [`Error::Migration`], and the step is not tried again until the
    ///   object changes (by a restore, or because it is deleted), its memory is given back, or steps are registered
    ///   anew. What has to do with the disk, a limit in time or a quota is tried again with each turn.
    /// - In an engine that is open for reading only nothing can be brought forward: there the use of an object that is
    ///   behind fails with [`Error::Migration`], too. Where no steps are registered it shows as it is.
    ///
    /// # Errors
    /// [`Error::InvalidName`] or [`Error::TooLarge`] for the name of a step; [`Error::Dropped`].
    ///
    /// ```
    /// # #[cfg(feature = "sql")]
    /// # fn main() -> lineal::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let engine = lineal::Engine::open(dir.path())?;
    /// use lineal::Migration;
    /// let rooms = engine.namespace("rooms")?;
    /// rooms.migrations([
    ///     Migration::sql("messages", "CREATE TABLE messages (id INTEGER PRIMARY KEY, body TEXT NOT NULL)"),
    ///     Migration::sql("authors", "ALTER TABLE messages ADD COLUMN author TEXT NOT NULL DEFAULT ''"),
    ///     Migration::run("a default topic", |tx| tx.put("topic", "anything")),
    /// ])?;
    /// let lobby = rooms.object("lobby")?;
    /// lobby.transact(|tx| tx.sql().execute("INSERT INTO messages (body, author) VALUES ('hello', 'ann')", [])).wait()?;
    /// assert_eq!((lobby.schema_version()?, lobby.info()?.seq), (3, 4));
    /// # Ok(())
    /// # }
    /// # #[cfg(not(feature = "sql"))]
    /// # fn main() {}
    /// ```
    pub fn migrations(&self, steps: impl IntoIterator<Item = Migration>) -> Result<()> {
        self.inner.check()?;
        self.inner.steps.register(steps.into_iter().collect())
    }
}

impl Object {
    /// The number of the newest step of [`Namespace::migrations`] that the object has run, once that is durable; 0 if it
    /// has run none or does not exist. Looking migrates nothing.
    ///
    /// # Errors
    /// As [`read`](Object::read), without [`Error::Migration`].
    pub fn schema_version(&self) -> Result<u32> {
        let mut turn = Turn::take(&self.engine, &self.namespace, &self.cell)?;
        let version = turn.run(|held| commit::read_as_it_is(held, |view| view.schema_version()));
        drop(turn);
        version.wait()
    }
}

impl View<'_> {
    /// The number of the newest step of [`Namespace::migrations`] that the object had run; 0 if it had run none.
    ///
    /// # Errors
    /// As [`View::get`].
    pub fn schema_version(&self) -> Result<u32> {
        let Some(value) = self.get_system(SCHEMA)? else { return Ok(0) };
        let bytes = (&*value).try_into().map_err(|_| Error::Damaged {
            file: "a leaf, a run or the log".into(),
            offset: 0,
            object: Some(self.key().id.to_string()),
            reason: "the version of the object's schema is not readable although its checksum is right"
                .into(),
        })?;
        Ok(u32::from_be_bytes(bytes))
    }
}
