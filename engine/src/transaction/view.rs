//! What a reader sees of an object: one version, unchanging for as long as the closure runs.

use std::{
    cell::{Cell, OnceCell},
    ops::RangeBounds,
};

use lineal_wal::{Micros, ObjectKey};

use super::{
    range::{Range, bounds_of, prefix_end},
    reader::{Layers, internal_key},
    tx::SPACE_USER,
};
use crate::{
    Error, Gated, Result, Value,
    catalog::Snapshot,
    engine::{EngineInner, handle::Handle},
    gate::output::Need,
    history::version::{Kept, Version},
    object::resident::Resident,
    sync::Arc,
};

/// A read-only view of one object.
///
/// Handed to the closure of [`Object::read`](crate::Object::read), or made by [`Object::at`](crate::Object::at).
pub struct View<'v> {
    source: Source<'v>,
    snapshot: OnceCell<Snapshot>,
    absorbed: Cell<Need>,
    space: u8,
    #[cfg(feature = "sql")]
    pub(super) sql: OnceCell<Box<crate::sql::Session>>,
}

/// Whose state is looked at.
enum Source<'v> {
    /// An object's newest, in a turn.
    Held(&'v Arc<EngineInner>, ObjectKey, &'v Resident),
    /// An earlier one.
    Past(Handle, Arc<Version>),
}

impl View<'static> {
    /// A view of a version.
    pub(crate) fn past(engine: Handle, kept: Kept) -> View<'static> {
        View {
            source: Source::Past(engine, kept.version),
            snapshot: OnceCell::from(kept.snapshot),
            absorbed: Cell::new(Need::default()),
            space: SPACE_USER,
            #[cfg(feature = "sql")]
            sql: OnceCell::new(),
        }
    }
}

impl<'v> View<'v> {
    #[inline]
    pub(crate) fn new(engine: &'v Arc<EngineInner>, key: ObjectKey, resident: &'v Resident) -> View<'v> {
        View {
            source: Source::Held(engine, key, resident),
            snapshot: OnceCell::new(),
            absorbed: Cell::new(Need::default()),
            space: SPACE_USER,
            #[cfg(feature = "sql")]
            sql: OnceCell::new(),
        }
    }

    #[inline]
    pub(super) fn engine(&self) -> &Arc<EngineInner> {
        match &self.source {
            Source::Held(engine, ..) => engine,
            Source::Past(engine, _) => engine,
        }
    }

    pub(crate) fn key(&self) -> ObjectKey {
        match &self.source {
            Source::Held(_, key, _) => *key,
            Source::Past(_, version) => version.key,
        }
    }

    #[inline]
    fn resident(&self) -> &Resident {
        match &self.source {
            Source::Held(.., resident) => resident,
            Source::Past(_, version) => &version.state,
        }
    }

    /// The same view, over the engine's own keys.
    pub(crate) fn system(mut self) -> Self {
        self.space = super::tx::SPACE_SYSTEM;
        self
    }

    pub(super) fn layers(&self) -> Layers<'_> {
        Layers { engine: self.engine(), writes: None, resident: self.resident(), snapshot: &self.snapshot }
    }

    /// The value of `key`, or `None`.
    ///
    /// # Errors
    /// [`Error::Damaged`] or [`Error::Io`] if it had to be read from disk and could not.
    #[inline]
    pub fn get(&self, key: impl AsRef<[u8]>) -> Result<Option<Value>> {
        internal_key(self.space, key.as_ref(), |key| self.layers().get(key))
    }

    /// The value of a key of the engine's own, or `None`.
    pub(crate) fn get_system(&self, key: &[u8]) -> Result<Option<Value>> {
        internal_key(super::tx::SPACE_SYSTEM, key, |key| self.layers().get(key))
    }

    /// Whether `key` has a value.
    ///
    /// # Errors
    /// As [`View::get`].
    pub fn contains(&self, key: impl AsRef<[u8]>) -> Result<bool> {
        Ok(self.get(key)?.is_some())
    }

    /// The entries in the bounds, in key order, read lazily; see [`Range`] for reverse order and limits.
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

    /// How many commits lie over the leaves that are read; for tests.
    #[doc(hidden)]
    pub fn tail_commits(&self) -> u64 {
        let state = self.resident();
        let leaves = state.below.as_ref().and_then(|below| below.leaves.as_ref());
        state.seq.0 - leaves.map_or(0, |leaves| leaves.fold.0)
    }

    /// Every entry of every space, with internal keys.
    pub(crate) fn all(&self) -> impl Iterator<Item = Result<(Vec<u8>, Value)>> {
        Range::all(self.layers())
    }

    /// The log position of the object's newest commit; 0 if it has none.
    pub fn lsn(&self) -> u64 {
        self.resident().last_lsn.0
    }

    /// The number of commits the object has had.
    pub fn seq(&self) -> u64 {
        self.resident().seq.0
    }

    /// The time of the object's newest commit, in microseconds since the Unix epoch; 0 if it has none.
    pub fn time(&self) -> Micros {
        self.resident().last_time
    }

    /// Whether the object exists: it was written, and not deleted since.
    pub fn exists(&self) -> bool {
        self.resident().exists
    }

    /// Looks inside another result of the same engine; see [`Tx::absorb`](crate::Tx::absorb).
    ///
    /// # Errors
    /// The gated error; [`Error::OtherEngine`] for a gate of another engine that is still shut.
    pub fn absorb<T, E: From<Error>>(&self, gated: Gated<T, E>) -> Result<T, E> {
        let (result, need) = gated.into_engine(&self.engine().output)?;
        self.absorbed.set(self.absorbed.get().and(need));
        result
    }

    pub(crate) fn absorbed(&self) -> Need {
        self.absorbed.get()
    }

    /// A session of SQL on what is looked at: on the object's own connection in a turn, else on a new one.
    #[cfg(feature = "sql")]
    pub(super) fn start_sql(&self) -> Result<crate::sql::Session> {
        use crate::sql::Session;
        match &self.source {
            Source::Held(engine, key, resident) => Session::take(engine, *key, resident.pages_seq, self),
            Source::Past(engine, _) => Session::alone(engine, self.key(), self),
        }
    }

    /// Ends a view of the newest state.
    #[inline]
    pub(crate) fn end(self) {
        #[cfg(feature = "sql")]
        if let (Some(session), Source::Held(engine, _, resident)) = (self.sql.into_inner(), &self.source) {
            session.end(engine, false, resident.pages_seq);
        }
    }
}

impl std::fmt::Debug for View<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("View")
            .field("object", &self.key())
            .field("seq", &self.resident().seq)
            .finish_non_exhaustive()
    }
}
