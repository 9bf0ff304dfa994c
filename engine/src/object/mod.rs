//! Objects: isolated stores, each with its own turns, state and history.

pub(crate) mod cell;
pub(crate) mod fetching;
pub(crate) mod head;
pub(crate) mod id;
pub(crate) mod info;
pub(crate) mod overlay;
pub(crate) mod resident;
pub(crate) mod table;
pub(crate) mod turns;
pub(crate) mod verify;
pub(crate) mod wake;

use std::{future::Future, ops::RangeBounds};

use lineal_wal::{Lsn, ObjectId, ObjectKey};

use self::{cell::Cell, turns::Turn};
pub use self::{info::ObjectInfo, verify::Verified};
use crate::{
    Blame, Bookmark, Change, Cx, Diff, Error, Gated, History, Kind, Result, Tx, View,
    engine::handle::Handle,
    gate::{event, inside::Inside},
    history::commits,
    namespace::NamespaceInner,
    sync::Arc,
    transaction::commit,
};

/// A handle to one object. Making one does no I/O; the object is read when it is first used.
///
/// Handles are cheap to clone and may be used from any thread. One transaction or event poll at a time has the
/// object's turn, in arrival order.
#[derive(Clone)]
pub struct Object {
    pub(crate) engine: Handle,
    pub(crate) namespace: Arc<NamespaceInner>,
    pub(crate) cell: Arc<Cell>,
}

impl std::fmt::Debug for Object {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Object").field("namespace", &self.namespace.name).field("id", &self.id()).finish()
    }
}

impl Object {
    /// The object's id, unique in its namespace and the same for ever.
    pub fn id(&self) -> ObjectId {
        self.cell.key.id
    }

    /// The object's key: its namespace's number and its id.
    pub fn key(&self) -> ObjectKey {
        self.cell.key
    }

    /// The name this handle was made with, if it was made by name.
    pub fn name(&self) -> Option<&str> {
        self.cell.name().map(AsRef::as_ref)
    }

    /// Runs `f` as one transaction: synchronous, atomic, isolated, in the caller's memory.
    ///
    /// When it returns, the commit is seen by every later transaction and is ordered in the log, and not yet
    /// durable: the returned [`Gated`] opens when it is. A closure that writes nothing makes no commit. `Err`
    /// or a panic leaves nothing of it.
    ///
    /// # Errors
    /// Inside the gate: what `f` returns; [`Error::InsideTurn`] inside a turn of the same engine;
    /// [`Error::Busy`]; [`Error::Quota`] and [`Error::TooLarge`]; [`Error::NoSpace`]; [`Error::Poisoned`];
    /// [`Error::Damaged`] if the object cannot be read.
    ///
    /// # Panics
    /// As `f` does; the object is reset then: queued events fail with [`Error::Reset`], commits stay.
    ///
    /// ```
    /// # fn main() -> lineal::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let engine = lineal::Engine::open(dir.path())?;
    /// let lobby = engine.namespace("rooms")?.object("lobby")?;
    /// let visits = lobby.transact(|tx| {
    ///     let visits = tx.get("visits")?.map_or(0, |v| v[0]) + 1;
    ///     tx.put("visits", [visits])?;
    ///     Ok(visits)
    /// });
    /// assert_eq!(visits.wait()?, 1);
    /// # Ok(())
    /// # }
    /// ```
    pub fn transact<T>(&self, f: impl FnOnce(&mut Tx<'_>) -> Result<T>) -> Gated<T> {
        self.try_transact(f)
    }

    /// As [`transact`](Object::transact), with an error type of the caller's own.
    ///
    /// # Errors
    /// As [`transact`](Object::transact), made into `E`.
    pub fn try_transact<T, E: From<Error>>(
        &self,
        f: impl FnOnce(&mut Tx<'_>) -> Result<T, E>,
    ) -> Gated<T, E> {
        match Turn::take(&self.engine, &self.namespace, &self.cell) {
            Ok(mut turn) => turn.run(|held| commit::transact(held, f)),
            Err(error) => Gated::open(Err(error.into())),
        }
    }

    /// As [`transact`](Object::transact), for async callers: waits for the turn without blocking the thread, for as
    /// long as [`Options::wait_max`](crate::Options::wait_max) says.
    ///
    /// Nor does it block where the object reads parts of packs that are in the archive only: `f` fails there with an
    /// [`Error::Io`], nothing is committed, the parts are fetched, and `f` runs again from the front; other objects go on
    /// meanwhile, this one's turn is kept. So what `f` does besides is to bear being done again. At most one run commits.
    ///
    /// # Errors
    /// As [`transact`](Object::transact); [`Error::Archive`] if the store cannot be reached or has not what it should;
    /// [`Error::Invalid`] if `f` needs more than 1,024 fetches, one after the other.
    ///
    /// # Cancel safety
    /// Dropped before it is ready, nothing of `f` is committed, and what it missed is fetched all the same. Steps of a
    /// [migration](crate::Namespace::migrations) that went before it may be.
    pub async fn transact_async<T, F>(&self, mut f: F) -> Gated<T>
    where
        F: FnMut(&mut Tx<'_>) -> Result<T>,
    {
        match Turn::take_async(&self.engine, &self.namespace, &self.cell).await {
            Ok(taken) => taken.run(|held| commit::transact(held, &mut f)).await,
            Err(error) => Gated::open(Err(error)),
        }
    }

    /// Runs `f` on the object as it is now. The result is held back until the newest commit it can have seen
    /// is durable.
    ///
    /// # Errors
    /// As [`transact`](Object::transact).
    pub fn read<T>(&self, f: impl FnOnce(&View<'_>) -> Result<T>) -> Gated<T> {
        match Turn::take(&self.engine, &self.namespace, &self.cell) {
            Ok(mut turn) => turn.run(|held| commit::read(held, f)),
            Err(error) => Gated::open(Err(error)),
        }
    }

    /// Runs an async closure as an event: at most one event's code runs at a time on an object, and others run
    /// only while it awaits something. See [`Cx`] for what it can do.
    ///
    /// The event's result comes gated on the newest commit it made or saw.
    ///
    /// An object that has no memory is read before the event goes on, without blocking the thread for the archive.
    ///
    /// # Errors
    /// Inside the gate: what `f` returns; [`Error::Reset`] if the object was reset; [`Error::InsideTurn`] if it is
    /// awaited inside a turn of the same object; [`Error::Busy`] if it waits for a turn longer than
    /// [`Options::wait_max`](crate::Options::wait_max), to begin or to go on after it awaited something.
    ///
    /// # Cancel safety
    /// Dropped while it waits for its turn it leaves no trace; dropped later, the commits it made stay.
    pub fn event<'o, T, F>(&'o self, f: F) -> impl Future<Output = Gated<T>> + use<'o, T, F>
    where
        F: AsyncFnOnce(Cx) -> Result<T> + 'o,
        T: 'o,
    {
        event::run(self, move |cx| f(cx))
    }

    /// As [`event`](Object::event), for generic code that has to name `Send`: `f` returns a future.
    ///
    /// # Errors
    /// As [`event`](Object::event).
    pub fn event_fn<'o, T, F, Fut>(&'o self, f: F) -> impl Future<Output = Gated<T>> + use<'o, T, F, Fut>
    where
        F: FnOnce(Cx) -> Fut + 'o,
        Fut: Future<Output = Result<T>> + 'o,
        T: 'o,
    {
        event::run(self, f)
    }

    /// What the engine knows of the object, once the newest commit it counts is durable.
    ///
    /// # Errors
    /// [`Error::NotFound`] if it never had a commit, or was purged; else as [`Gated::wait`].
    pub fn info(&self) -> Result<ObjectInfo> {
        let info = match Turn::take(&self.engine, &self.namespace, &self.cell) {
            Ok(mut turn) => {
                turn.run(|held| commit::look(held, |key, resident| ObjectInfo::of(key, resident)))
            }
            Err(error) => Gated::open(Err(error)),
        };
        info.wait()
    }

    /// Deletes the object: it reads as empty, its history stays. Costs the same for any size. Writing to it
    /// later makes it exist again with the next seq.
    ///
    /// # Errors
    /// As [`transact`](Object::transact). Deleting what does not exist changes nothing.
    pub fn delete(&self) -> Gated<()> {
        match Turn::take(&self.engine, &self.namespace, &self.cell) {
            Ok(mut turn) => turn.run(|held| commit::erase(held, Kind::Delete, "")),
            Err(error) => Gated::open(Err(error)),
        }
    }

    /// As [`delete`](Object::delete), with a cause that is kept with the commit.
    ///
    /// # Errors
    /// As [`delete`](Object::delete); [`Error::TooLarge`] for a cause over 4 KiB.
    pub fn delete_because(&self, cause: &str) -> Gated<()> {
        match Turn::take(&self.engine, &self.namespace, &self.cell) {
            Ok(mut turn) => turn.run(|held| commit::erase(held, Kind::Delete, cause)),
            Err(error) => Gated::open(Err(error)),
        }
    }

    /// Gives back the object's memory once its newest commit is durable. It is read again when it is next used.
    ///
    /// # Errors
    /// [`Error::InsideTurn`], [`Error::Busy`], [`Error::Poisoned`].
    pub fn hibernate(&self) -> Result<()> {
        Inside::refuse(self.engine.output.tag)?;
        self.engine.hibernate(&self.cell)
    }

    /// Stops the SQL statement that runs on the object now, on whatever thread: it fails with
    /// [`Interrupted`](crate::SqlErrorCode::Interrupted), and so do later ones of the same transaction or view. Returns
    /// whether there was a transaction or a view of the newest state that had used SQL. Takes no turn.
    #[cfg(feature = "sql")]
    pub fn interrupt_sql(&self) -> bool {
        self.engine.sql.interrupt(&self.key())
    }

    /// Whether the object has memory now.
    pub fn is_resident(&self) -> bool {
        self.cell.turns.with_idle(|resident| resident.is_some()).unwrap_or(true)
    }

    /// The commits in a range of seqs, newest first, lazily: those that are durable. See [`History`] for the other order
    /// and for bounds in time. An object without commits has none to list, and a purged object lists what came after.
    /// Takes no turn.
    ///
    /// # Errors
    /// [`Error::Damaged`] or [`Error::Io`] if it cannot be read, here or as an item; [`Error::Dropped`];
    /// [`Error::Closed`].
    ///
    /// ```
    /// # fn main() -> lineal::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let engine = lineal::Engine::open(dir.path())?;
    /// let lobby = engine.namespace("rooms")?.object("lobby")?;
    /// for topic in ["hello", "welcome"] {
    ///     lobby.transact(|tx| { tx.cause("set the topic")?; tx.put("topic", topic) }).wait()?;
    /// }
    /// let newest = lobby.history(..)?.next().unwrap()?;
    /// assert_eq!((newest.seq, newest.cause.as_str(), newest.changes), (2, "set the topic", 1));
    /// assert_eq!(newest.hash, lobby.verify()?.hash);
    /// # Ok(())
    /// # }
    /// ```
    pub fn history(&self, range: impl RangeBounds<u64>) -> Result<History> {
        History::new(self, &range)
    }

    /// What the commit `seq` wrote, in order. Takes no turn.
    ///
    /// # Errors
    /// [`Error::NotFound`] if the object has no such commit that is durable and kept; [`BookmarkError::TooOld`](crate::BookmarkError::TooOld) if
    /// only its header is kept; else as
    /// [`history`](Object::history).
    pub fn changes(&self, seq: u64) -> Result<Vec<Change>> {
        commits::changes(self, seq)
    }

    /// The commits that wrote `key`, newest first, lazily: those that put or deleted it, and those that swept it along
    /// with others (a deleted range, everything, a restore or a fork) where that changed its value. A restore is listed
    /// itself; which commit made the value that it brought back, those before it tell. A fork's first commit is the
    /// oldest that is listed; the commits before it are its source's. Takes no turn.
    ///
    /// # Errors
    /// [`Error::TooLarge`] for a key over the limit; else as [`history`](Object::history).
    pub fn blame(&self, key: impl AsRef<[u8]>) -> Result<Blame> {
        Blame::new(self, key.as_ref())
    }

    /// The keys that are different at two points of the object's history, with their values at both, in key order. The
    /// points may be given in either order: the first is the one before. Lazy: what both share is not read. Takes no turn.
    ///
    /// # Errors
    /// A [`BookmarkError`](crate::BookmarkError) if a bookmark cannot be used on this object; [`Error::Damaged`] or
    /// [`Error::Io`], here or as an item.
    ///
    /// ```
    /// # fn main() -> lineal::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let engine = lineal::Engine::open(dir.path())?;
    /// let lobby = engine.namespace("rooms")?.object("lobby")?;
    /// lobby.transact(|tx| { tx.put("topic", "hello")?; tx.put("open", "yes") }).wait()?;
    /// let before = lobby.bookmark().wait()?;
    /// lobby.transact(|tx| tx.put("topic", "bye")).wait()?;
    /// let changed = lobby.diff(&before, &lobby.bookmark().wait()?)?.next().unwrap()?;
    /// assert_eq!((changed.key.as_slice(), changed.after.unwrap().as_slice()), (&b"topic"[..], &b"bye"[..]));
    /// # Ok(())
    /// # }
    /// ```
    pub fn diff(&self, before: &Bookmark, after: &Bookmark) -> Result<Diff> {
        Diff::new(self, before, after)
    }

    /// Checks the object's chain from its first kept commit to its newest one, and every part that holds its
    /// state, with all checksums.
    ///
    /// # Errors
    /// [`Error::Damaged`] names the file, offset and commit; [`Error::NotFound`] if it has no commit.
    pub fn verify(&self) -> Result<Verified> {
        verify::verify(self)
    }

    /// The position of the newest commit known without waking the object; for tests and tools.
    #[doc(hidden)]
    pub fn last_lsn(&self) -> Lsn {
        self.cell.last_lsn()
    }
}
