//! A transaction in the making: reads see its own writes, nothing is seen by others before it commits.

use std::{
    cell::{Cell, OnceCell, RefCell},
    ops::RangeBounds,
};

use lineal_wal::Seq;

use super::{
    body::{CAUSE_BYTES_MAX, Kind},
    ops::{self, Cut, CutBase, Patch},
    range::{Range, bounds_of, prefix_end},
    reader::{Layers, internal_key},
};
use crate::{
    Durability, Error, Gated, Result, Value,
    catalog::Snapshot,
    engine::EngineInner,
    gate::output::Need,
    history::restore::Landing,
    object::{
        overlay::{Found, Overlay},
        resident::Resident,
    },
    sync::Arc,
};

/// First byte of the keys that a user writes.
pub(crate) const SPACE_USER: u8 = 0x10;
/// First byte of the keys that the pages of a database have.
pub(crate) const SPACE_SQL: u8 = 0x20;
/// First byte of the keys that the engine writes for itself.
pub(crate) const SPACE_SYSTEM: u8 = 0x30;

/// Values from this size on are logged as patches where that is shorter, in bytes.
///
/// Source: chosen; below it a patch saves less than comparing costs.
const PATCH_BYTES_MIN: usize = 1 << 10;

/// One transaction on one object.
///
/// Handed to the closure of [`Object::transact`](crate::Object::transact) and its kin. Reads see the object
/// and the transaction's own writes. If the closure returns `Err` or panics, nothing of it is left.
pub struct Tx<'t> {
    pub(crate) engine: &'t Arc<EngineInner>,
    pub(super) key: lineal_wal::ObjectKey,
    pub(super) resident: &'t Resident,
    snapshot: OnceCell<Snapshot>,
    /// What the transaction does, as the log will hold it.
    pub(super) ops: Vec<u8>,
    pub(super) ops_count: u64,
    /// The ops before this offset are in `writes`. A transaction of one blind put never fills it.
    indexed: Cell<usize>,
    writes: RefCell<Overlay>,
    /// Change of the object's user bytes.
    pub(super) delta: i64,
    pub(super) only_deletes: bool,
    cause: String,
    kind: Kind,
    absorbed: Need,
    /// The level asked for by the transaction itself.
    durability: Durability,
    space: u8,
    /// Whether pages of the database are written, or all of them deleted.
    pub(super) touches_pages: bool,
    /// Whether everything is deleted, or was before a savepoint took that back.
    pub(super) clears: bool,
    #[cfg(feature = "sql")]
    pub(super) sql: OnceCell<Box<crate::sql::Session>>,
    /// How often everything was deleted.
    #[cfg(feature = "sql")]
    pub(super) pages_deleted: u32,
    /// Statements that were not handed over yet were dropped with everything else.
    #[cfg(feature = "sql")]
    pub(super) sql_dropped: bool,
    /// The database is not what the transaction made of it, so it cannot commit.
    #[cfg(feature = "sql")]
    pub(super) sql_lost: bool,
}

/// What a finished transaction wants to commit.
pub(crate) struct Draft {
    pub(crate) key: lineal_wal::ObjectKey,
    pub(crate) ops: Vec<u8>,
    pub(crate) delta: i64,
    pub(crate) only_deletes: bool,
    pub(crate) cause: String,
    pub(crate) kind: Kind,
    pub(crate) absorbed: Need,
    pub(crate) durability: Durability,
    /// What the ops amount to, if the transaction had to know; large values in it are shared.
    pub(crate) writes: Option<Overlay>,
    /// What lies below the object afterwards, if the commit is a restore or a fork.
    pub(crate) landing: Option<Landing>,
    /// Whether pages of the object's database change.
    pub(crate) touches_pages: bool,
    /// Whether everything may have been deleted before the rest was written.
    pub(crate) clears: bool,
    /// Whether the commit was made.
    pub(crate) committed: bool,
    #[cfg(feature = "sql")]
    pub(crate) sql: Option<Box<crate::sql::Session>>,
}

impl Draft {
    /// A commit of no ops yet that no closure makes.
    pub(crate) fn of(key: lineal_wal::ObjectKey, kind: Kind, cause: &str) -> Draft {
        Draft {
            key,
            ops: Vec::new(),
            delta: 0,
            only_deletes: false,
            cause: cause.to_owned(),
            kind,
            absorbed: Need::default(),
            durability: Durability::Local,
            writes: None,
            landing: None,
            touches_pages: false,
            clears: false,
            committed: false,
            #[cfg(feature = "sql")]
            sql: None,
        }
    }

    /// Gives back the connection that the transaction used; `resident` is the object's state now.
    #[inline]
    pub(crate) fn end(&mut self, engine: &EngineInner, resident: &Resident) {
        #[cfg(feature = "sql")]
        if let Some(session) = self.sql.take() {
            session.end(engine, self.committed, resident.pages_seq);
        }
        #[cfg(not(feature = "sql"))]
        let _ = (engine, resident);
    }
}

struct Mark {
    #[cfg(feature = "sql")]
    sql: super::sql::SqlMark,
    #[cfg(feature = "sql")]
    pages_deleted: u32,
    touches_pages: bool,
    cause: String,
    ops: usize,
    ops_count: u64,
    delta: i64,
    only_deletes: bool,
}

impl<'t> Tx<'t> {
    pub(crate) fn new(
        engine: &'t Arc<EngineInner>,
        key: lineal_wal::ObjectKey,
        resident: &'t Resident,
        mut ops: Vec<u8>,
    ) -> Tx<'t> {
        ops.clear();
        Tx {
            engine,
            key,
            resident,
            snapshot: OnceCell::new(),
            ops,
            ops_count: 0,
            indexed: Cell::new(0),
            writes: RefCell::new(Overlay::new()),
            delta: 0,
            only_deletes: true,
            cause: String::new(),
            kind: Kind::User,
            absorbed: Need::default(),
            durability: Durability::Local,
            space: SPACE_USER,
            touches_pages: false,
            clears: false,
            #[cfg(feature = "sql")]
            sql: OnceCell::new(),
            #[cfg(feature = "sql")]
            pages_deleted: 0,
            #[cfg(feature = "sql")]
            sql_dropped: false,
            #[cfg(feature = "sql")]
            sql_lost: false,
        }
    }

    /// The same transaction, over the engine's own keys.
    pub(crate) fn system(mut self) -> Self {
        self.space = SPACE_SYSTEM;
        self.kind = Kind::System;
        self
    }

    pub(crate) fn set_kind(&mut self, kind: Kind) {
        self.kind = kind;
    }

    /// What the closure leaves to do once it has succeeded.
    #[inline]
    pub(crate) fn complete(&mut self) -> Result<()> {
        #[cfg(feature = "sql")]
        self.hand_over_sql()?;
        Ok(())
    }

    pub(crate) fn finish(self) -> Draft {
        let indexed = self.indexed.get() > 0;
        if indexed {
            self.index();
        }
        Draft {
            key: self.key,
            writes: indexed.then(|| self.writes.into_inner()),
            ops: self.ops,
            delta: self.delta,
            only_deletes: self.only_deletes,
            cause: self.cause,
            kind: self.kind,
            absorbed: self.absorbed,
            durability: self.durability,
            landing: None,
            touches_pages: self.touches_pages,
            clears: self.clears,
            committed: false,
            #[cfg(feature = "sql")]
            sql: self.sql.into_inner(),
        }
    }

    pub(super) fn layers(&self) -> Layers<'_> {
        self.index();
        Layers {
            engine: self.engine,
            writes: Some(self.writes.borrow()),
            resident: self.resident,
            snapshot: &self.snapshot,
        }
    }

    /// Brings `writes` up to date, so that what comes next sees what was written. Whoever still borrows
    /// `writes` made it up to date, and nothing was written since, because writing takes `&mut self`.
    fn index(&self) {
        let from = self.indexed.replace(self.ops.len());
        if from < self.ops.len() {
            self.writes
                .borrow_mut()
                .apply(&self.ops[from..])
                .expect("a transaction reads back the ops it has written");
        }
    }

    /// The value of `key`, or `None`.
    ///
    /// # Errors
    /// [`Error::Damaged`] or [`Error::Io`] if it had to be read from disk and could not.
    pub fn get(&self, key: impl AsRef<[u8]>) -> Result<Option<Value>> {
        internal_key(self.space, key.as_ref(), |key| self.layers().get(key))
    }

    /// Whether `key` has a value.
    ///
    /// # Errors
    /// As [`Tx::get`].
    pub fn contains(&self, key: impl AsRef<[u8]>) -> Result<bool> {
        Ok(self.get(key)?.is_some())
    }

    /// The entries in the bounds, in key order, read lazily. Ends early when it is dropped; see [`Range`] for
    /// reverse order and limits.
    ///
    /// ```
    /// # fn main() -> lineal::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let engine = lineal::Engine::open(dir.path())?;
    /// # let lobby = engine.namespace("rooms")?.object("lobby")?;
    /// lobby.transact(|tx| {
    ///     tx.put("a", "1")?;
    ///     tx.put("b", "2")?;
    ///     let last = tx.range("a".."c").reverse().next().unwrap()?;
    ///     assert_eq!(last.0, b"b");
    ///     Ok(())
    /// }).wait()
    /// # }
    /// ```
    pub fn range<K: AsRef<[u8]>>(&self, bounds: impl RangeBounds<K>) -> Range<'_> {
        let (start, end) = bounds_of(self.space, &bounds);
        Range::new(self.layers(), start, end)
    }

    /// The entries whose keys begin with `prefix`, in key order, read lazily. An empty prefix is every entry.
    pub fn prefix(&self, prefix: impl AsRef<[u8]>) -> Range<'_> {
        let start = internal_key(self.space, prefix.as_ref(), <[u8]>::to_vec);
        let end = prefix_end(&start);
        Range::new(self.layers(), start, end)
    }

    /// Sets `key` to `value`.
    ///
    /// # Errors
    /// [`Error::TooLarge`] if key, value or transaction is over its limit; the transaction can go on.
    pub fn put(&mut self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Result<()> {
        let (key, value) = (key.as_ref(), value.as_ref());
        self.check_key(key)?;
        let options = &self.engine.options;
        over("value", options.value_bytes_max, value.len())?;
        over("transaction", options.transaction_bytes_max, self.ops.len() + key.len() + value.len() + 16)?;
        internal_key(self.space, key, |key| -> Result<()> {
            let old = self.layers().entry_bytes(key)?.unwrap_or(0);
            self.delta += entry_bytes(key, value.len()) - old;
            match self.patch_for(key, value) {
                Some(patch) => {
                    let patch = Patch::parse(&patch).expect("a patch that was just made is one");
                    ops::patch(&mut self.ops, key, patch);
                }
                None => ops::put(&mut self.ops, key, value),
            }
            Ok(())
        })?;
        self.ops_count += 1;
        self.only_deletes = false;
        Ok(())
    }

    /// Sets a key of the engine's own, in a transaction of the user's.
    pub(crate) fn put_system(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        let space = std::mem::replace(&mut self.space, SPACE_SYSTEM);
        let outcome = self.put(key, value);
        self.space = space;
        outcome
    }

    /// Removes `key`, if it is there.
    ///
    /// # Errors
    /// As [`Tx::put`].
    pub fn delete(&mut self, key: impl AsRef<[u8]>) -> Result<()> {
        self.check_key(key.as_ref())?;
        self.check_room(key.as_ref().len())?;
        internal_key(self.space, key.as_ref(), |key| {
            let old = self.layers().entry_bytes(key)?;
            if let Some(old) = old {
                self.delta -= old;
                ops::delete(&mut self.ops, key);
                self.ops_count += 1;
            }
            Ok(())
        })
    }

    /// Removes every key in the bounds.
    ///
    /// # Errors
    /// As [`Tx::put`].
    pub fn delete_range<K: AsRef<[u8]>>(&mut self, bounds: impl RangeBounds<K>) -> Result<()> {
        let (start, end) = bounds_of(self.space, &bounds);
        // One more byte: an inclusive end is the first key after it.
        let limit = self.engine.options.key_bytes_max + 2;
        over("key", limit, start.len())?;
        over("key", limit, end.len())?;
        self.check_room(start.len() + end.len())?;
        if end <= start {
            return Ok(());
        }
        let bytes = Range::new(self.layers(), start.clone(), end.clone()).total_bytes()?;
        self.delta -= bytes;
        ops::delete_range(&mut self.ops, &start, Some(&end));
        self.ops_count += 1;
        Ok(())
    }

    /// Removes everything the object holds. Costs the same for a kilobyte and for ten gigabytes; the history
    /// stays.
    ///
    /// # Errors
    /// As [`Tx::put`].
    pub fn delete_all(&mut self) -> Result<()> {
        self.check_room(0)?;
        self.index();
        self.touches_pages = true;
        self.clears = true;
        #[cfg(feature = "sql")]
        self.drop_sql();
        ops::put_cut_op(&mut self.ops, &Cut { start: Vec::new(), end: None, base: CutBase::Nothing });
        self.ops_count += 1;
        self.delta = -(i64::try_from(self.resident.bytes).unwrap_or(i64::MAX));
        Ok(())
    }

    /// Says why: stored with the commit and part of its hash.
    ///
    /// # Errors
    /// [`Error::TooLarge`] over 4 KiB.
    pub fn cause(&mut self, cause: impl Into<String>) -> Result<()> {
        let cause = cause.into();
        over("cause", CAUSE_BYTES_MAX, cause.len())?;
        self.cause = cause;
        Ok(())
    }

    /// Asks for a level that this transaction's gate waits for: also what it saw, and also if it fails or writes nothing.
    /// It only raises: engine and namespace can ask for more, and of several calls the highest counts.
    ///
    /// # Errors
    /// [`Error::NoArchive`] for [`Durability::Archived`] in an engine without an archive.
    pub fn durability(&mut self, durability: Durability) -> Result<()> {
        self.engine.output.check(durability)?;
        self.durability = self.durability.max(durability);
        Ok(())
    }

    /// Goes on only if the object is at `seq`, the number of commits it has had.
    ///
    /// # Errors
    /// [`Error::Conflict`] with the seq it is at.
    pub fn expect_seq(&mut self, seq: u64) -> Result<()> {
        if self.resident.seq != Seq(seq) {
            return Err(Error::Conflict { expected: seq, actual: self.resident.seq.0 });
        }
        Ok(())
    }

    /// The log position of the object's newest commit before this one; 0 if it has none.
    pub fn lsn(&self) -> u64 {
        self.resident.last_lsn.0
    }

    /// The number of commits the object has had before this one.
    pub fn seq(&self) -> u64 {
        self.resident.seq.0
    }

    /// Looks inside another result of the same engine now; this transaction's own result is held back until
    /// what `gated` depends on is durable as well. Costs no wait: one fsync serves a whole chain.
    ///
    /// # Errors
    /// The gated error; [`Error::OtherEngine`] for a gate of another engine that is still shut.
    pub fn absorb<T, E: From<Error>>(&mut self, gated: Gated<T, E>) -> Result<T, E> {
        let (result, need) = gated.into_engine(&self.engine.output)?;
        self.absorbed = self.absorbed.and(need);
        result
    }

    /// Runs `f` as a part of this transaction that can fail alone: if it returns `Err`, what it wrote is undone
    /// and the transaction goes on. Nests.
    ///
    /// # Errors
    /// What `f` returns.
    pub fn savepoint<T, E>(&mut self, f: impl FnOnce(&mut Tx<'t>) -> Result<T, E>) -> Result<T, E> {
        let mark = Mark {
            #[cfg(feature = "sql")]
            sql: self.mark_sql(),
            #[cfg(feature = "sql")]
            pages_deleted: self.pages_deleted,
            touches_pages: self.touches_pages,
            cause: self.cause.clone(),
            ops: self.ops.len(),
            ops_count: self.ops_count,
            delta: self.delta,
            only_deletes: self.only_deletes,
        };
        let result = f(self);
        if result.is_err() {
            self.roll_back(mark);
        } else {
            #[cfg(feature = "sql")]
            self.release_sql(mark.sql, mark.pages_deleted);
        }
        result
    }

    fn roll_back(&mut self, mark: Mark) {
        #[cfg(feature = "sql")]
        self.roll_back_sql(mark.sql, mark.pages_deleted);
        self.touches_pages = mark.touches_pages;
        self.ops.truncate(mark.ops);
        self.cause = mark.cause;
        self.ops_count = mark.ops_count;
        self.delta = mark.delta;
        self.only_deletes = mark.only_deletes;
        if self.indexed.get() > mark.ops {
            self.writes.get_mut().reset();
            self.indexed.set(0);
        }
    }

    fn check_key(&self, key: &[u8]) -> Result<()> {
        over("key", self.engine.options.key_bytes_max, key.len())
    }

    fn check_room(&self, more: usize) -> Result<()> {
        over("transaction", self.engine.options.transaction_bytes_max, self.ops.len() + more + 16)
    }

    /// What changes of a large value, if that is much less than the value: the log and the history then hold only
    /// the change. A value that memory does not hold is not read for it.
    fn patch_for(&self, key: &[u8], value: &[u8]) -> Option<Vec<u8>> {
        if value.len() < PATCH_BYTES_MIN {
            return None;
        }
        let writes = self.writes.borrow();
        let found = match writes.get(key) {
            Found::Below => self.resident.overlay.get(key),
            found => found,
        };
        match found {
            Found::Value(old) => ops::diff_patch(&old, value),
            Found::Deleted | Found::Patch(_) | Found::Below => None,
        }
    }
}

/// The number of the page that an internal key is of.
pub(crate) fn page_number(key: &[u8]) -> Option<u32> {
    let key: [u8; 5] = key.try_into().ok()?;
    let [space, number @ ..] = key;
    (space == SPACE_SQL).then(|| u32::from_be_bytes(number))
}

/// What an entry counts for, in bytes: its key and its value, without the space byte, which is the engine's own.
pub(crate) fn entry_bytes(key: &[u8], value_bytes: usize) -> i64 {
    (key.len() + value_bytes) as i64 - 1
}

/// Fails if `size` is over `limit`.
pub(crate) fn over(what: &'static str, limit: usize, size: usize) -> Result<()> {
    if size > limit {
        return Err(Error::TooLarge { what, limit: limit as u64, size: size as u64 });
    }
    Ok(())
}

impl std::fmt::Debug for Tx<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tx")
            .field("seq", &self.resident.seq)
            .field("ops", &self.ops_count)
            .finish_non_exhaustive()
    }
}
