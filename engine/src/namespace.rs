//! Namespaces: named groups of objects with the same settings.

use lineal_wal::{
    NamespaceId, ObjectId, ObjectKey,
    planted::{self, Bug},
};

use crate::{
    Durability, Error, Object, Result,
    engine::{handle::Handle, listing::Objects, system},
    migration::Steps,
    object::id,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, AtomicU8, AtomicU64, Ordering},
    },
};

/// Limits of a namespace and of each of its objects. `None` is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Quotas {
    /// Keys and values of all objects together, in bytes.
    pub namespace_bytes: Option<u64>,
    /// Number of objects that exist.
    pub objects: Option<u64>,
    /// Keys and values of one object, in bytes.
    pub object_bytes: Option<u64>,
}

/// What the objects of a namespace take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Number of objects that exist.
    pub objects: u64,
    /// Keys and values, in bytes; see [`ObjectInfo::bytes`](crate::ObjectInfo).
    pub bytes: u64,
}

/// A handle to a namespace. Cheap to clone.
#[derive(Clone)]
pub struct Namespace {
    pub(crate) engine: Handle,
    pub(crate) inner: Arc<NamespaceInner>,
}

pub(crate) struct NamespaceInner {
    pub(crate) id: NamespaceId,
    pub(crate) name: String,
    /// What brings the objects' schema forward.
    pub(crate) steps: Steps,
    dropped: AtomicBool,
    /// What gates of its objects wait for, at least: the higher of the engine's and its own.
    level: AtomicU8,
    bytes: AtomicI64,
    objects: AtomicI64,
    // `u64::MAX` is no limit.
    bytes_max: AtomicU64,
    objects_max: AtomicU64,
    object_bytes_max: AtomicU64,
}

impl std::fmt::Debug for Namespace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Namespace").field("name", &self.inner.name).finish_non_exhaustive()
    }
}

impl Namespace {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// Its number, which is part of every object's key.
    pub fn id(&self) -> NamespaceId {
        self.inner.id
    }

    /// The object called `name`: always the same one. No I/O; an object starts to exist with its first commit.
    ///
    /// # Errors
    /// [`Error::InvalidName`] for an empty name, [`Error::TooLarge`] for one over 1,024 bytes,
    /// [`Error::Dropped`].
    pub fn object(&self, name: &str) -> Result<Object> {
        id::check_name(name)?;
        self.inner.check()?;
        let object = self.at(id::by_name(&self.inner.name, name));
        object.cell.set_name(name);
        match object.cell.name() {
            Some(held) if **held != *name => {
                Err(Error::NameCollision { wanted: name.to_owned(), found: held.to_string() })
            }
            _ => Ok(object),
        }
    }

    /// A new object without a name. Its id sorts after those made in earlier milliseconds, so that objects made
    /// one after the other lie side by side.
    ///
    /// # Errors
    /// [`Error::Dropped`].
    pub fn unique(&self) -> Result<Object> {
        self.inner.check()?;
        let options = &self.engine.options;
        Ok(self.at(id::unique((options.clock)(), &*options.random)))
    }

    /// The object with this id.
    ///
    /// # Errors
    /// [`Error::Invalid`] for an id of a kind that applications don't make; [`Error::Dropped`].
    pub fn by_id(&self, id: ObjectId) -> Result<Object> {
        id::check_id(id)?;
        self.inner.check()?;
        Ok(self.at(id))
    }

    /// Has `setup` called for every connection to a database of this namespace that is opened from now on, to register
    /// functions, collations and virtual tables. It is not kept by the engine's files: call it after each open, before the
    /// objects are used. A later call replaces it, and closes the connections that are kept.
    ///
    /// ```
    /// # fn main() -> lineal::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let engine = lineal::Engine::open(dir.path())?;
    /// use lineal::rusqlite::functions::FunctionFlags;
    /// let rooms = engine.namespace("rooms")?;
    /// rooms.on_connection(|setup| {
    ///     setup.function("shout", 1, FunctionFlags::SQLITE_DETERMINISTIC, |context| {
    ///         Ok(context.get::<String>(0)?.to_uppercase())
    ///     })
    /// });
    /// let loud: String = rooms.object("lobby")?
    ///     .read(|view| view.sql().query_one("SELECT shout('hello')", [], |row| row.get(0))).wait()?;
    /// assert_eq!(loud, "HELLO");
    /// # Ok(())
    /// # }
    /// ```
    #[cfg(feature = "sql")]
    pub fn on_connection(&self, setup: impl Fn(&mut crate::Setup<'_>) -> Result<()> + Send + Sync + 'static) {
        self.engine.sql.set_hook(self.inner.id, Arc::new(setup));
    }

    pub(crate) fn at(&self, id: ObjectId) -> Object {
        let key = ObjectKey { namespace: self.inner.id, id };
        Object {
            engine: self.engine.clone(),
            namespace: Arc::clone(&self.inner),
            cell: self.engine.cell(key),
        }
    }

    /// Lists the objects that exist, by id, lazily: the durable ones, each once what is said of it is durable.
    ///
    /// # Errors
    /// [`Error::Dropped`]; the iterator's items as [`Object::info`].
    pub fn objects(&self) -> Result<Objects> {
        self.objects_after(None)
    }

    /// As [`objects`](Namespace::objects), beginning after the id `after`.
    ///
    /// # Errors
    /// As [`objects`](Namespace::objects).
    pub fn objects_after(&self, after: Option<ObjectId>) -> Result<Objects> {
        self.inner.check()?;
        Objects::new(self.clone(), after)
    }

    /// What its objects take.
    pub fn usage(&self) -> Usage {
        let (objects, bytes) = self.inner.used();
        let at_least_zero = |value: i64| u64::try_from(value).unwrap_or(0);
        Usage { objects: at_least_zero(objects), bytes: at_least_zero(bytes) }
    }

    /// The limits in force.
    pub fn quotas(&self) -> Quotas {
        self.inner.quotas()
    }

    /// Sets the limits. They hold for commits from now on; what is over a new limit stays, and can only shrink.
    /// Durable when it returns.
    ///
    /// # Errors
    /// As [`Gated::wait`](crate::Gated::wait).
    pub fn set_quotas(&self, quotas: Quotas) -> Result<()> {
        self.inner.check()?;
        system::write_namespace(&self.engine, &self.inner, quotas).wait()?;
        self.inner.set_quotas(quotas);
        Ok(())
    }

    /// Drops the namespace with all its objects and their history. Costs the same for any size; the bytes leave
    /// the disk when compaction passes over their packs. A namespace of the same name can be made again, and
    /// shares nothing with this one. Durable when it returns.
    ///
    /// # Errors
    /// [`Error::HasForks`] if objects of other namespaces are forks of its objects; else as
    /// [`Gated::wait`](crate::Gated::wait). Handles to its objects fail with [`Error::Dropped`] from now on.
    pub fn drop(self) -> Result<()> {
        self.inner.check()?;
        system::drop_namespace(&self.engine, &self.inner)
    }
}

impl NamespaceInner {
    pub(crate) fn new(id: NamespaceId, name: &str, quotas: Quotas, usage: (i64, i64)) -> NamespaceInner {
        let inner = NamespaceInner {
            id,
            name: name.to_owned(),
            steps: Steps::none(),
            dropped: AtomicBool::new(false),
            level: AtomicU8::new(Durability::Local as u8),
            objects: AtomicI64::new(usage.0),
            bytes: AtomicI64::new(usage.1),
            bytes_max: AtomicU64::new(u64::MAX),
            objects_max: AtomicU64::new(u64::MAX),
            object_bytes_max: AtomicU64::new(u64::MAX),
        };
        inner.set_quotas(quotas);
        inner
    }

    pub(crate) fn set_quotas(&self, quotas: Quotas) {
        self.bytes_max.store(quotas.namespace_bytes.unwrap_or(u64::MAX), Ordering::Relaxed);
        self.objects_max.store(quotas.objects.unwrap_or(u64::MAX), Ordering::Relaxed);
        self.object_bytes_max.store(quotas.object_bytes.unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    fn quotas(&self) -> Quotas {
        let limit = |value: &AtomicU64| Some(value.load(Ordering::Relaxed)).filter(|max| *max != u64::MAX);
        Quotas {
            namespace_bytes: limit(&self.bytes_max),
            objects: limit(&self.objects_max),
            object_bytes: limit(&self.object_bytes_max),
        }
    }

    /// Objects and bytes in use.
    pub(crate) fn used(&self) -> (i64, i64) {
        (self.objects.load(Ordering::Relaxed), self.bytes.load(Ordering::Relaxed))
    }

    /// What gates of its objects wait for, at least.
    #[inline]
    pub(crate) fn level(&self) -> Durability {
        Durability::from_byte(self.level.load(Ordering::Relaxed))
    }

    pub(crate) fn set_level(&self, level: Durability) {
        self.level.store(level as u8, Ordering::Relaxed);
    }

    #[inline]
    pub(crate) fn check(&self) -> Result<()> {
        if self.dropped.load(Ordering::Acquire) {
            return Err(Error::Dropped { namespace: self.name.clone() });
        }
        Ok(())
    }

    pub(crate) fn set_dropped(&self) {
        self.dropped.store(true, Ordering::Release);
    }

    /// Takes what a commit changes out of the quotas, or refuses. What only shrinks is never refused.
    pub(crate) fn reserve(&self, bytes: i64, objects: i64, object_bytes: u64) -> Result<()> {
        let object_max = self.object_bytes_max.load(Ordering::Relaxed);
        if bytes > 0 && object_bytes > object_max {
            return Err(Error::Quota { what: "bytes of one object", limit: object_max, size: object_bytes });
        }
        // Most commits change neither, and all objects share these two.
        let take = |used: &AtomicI64, more: i64| match more {
            0 => 0,
            _ => used.fetch_add(more, Ordering::Relaxed).saturating_add(more),
        };
        let bytes_after = take(&self.bytes, bytes);
        let objects_after = take(&self.objects, objects);
        let over = |grows: i64, after: i64, max: &AtomicU64| {
            let max = max.load(Ordering::Relaxed);
            (grows > 0 && u64::try_from(after).unwrap_or(0) > max).then_some(max)
        };
        let refused = over(bytes, bytes_after, &self.bytes_max)
            .map(|max| ("bytes of the namespace", max, bytes_after))
            .or_else(|| {
                over(objects, objects_after, &self.objects_max)
                    .map(|max| ("objects of the namespace", max, objects_after))
            });
        match refused.filter(|_| !planted::on(Bug::QuotaUnchecked)) {
            None => Ok(()),
            Some((what, limit, after)) => {
                self.release(bytes, objects);
                Err(Error::Quota { what, limit, size: u64::try_from(after).unwrap_or(0) })
            }
        }
    }

    /// Takes back a [`reserve`](NamespaceInner::reserve) whose commit did not happen.
    pub(crate) fn release(&self, bytes: i64, objects: i64) {
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
        if objects != 0 {
            self.objects.fetch_sub(objects, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_reservation_changes_nothing() {
        let quotas = Quotas { namespace_bytes: Some(100), objects: Some(1), object_bytes: Some(80) };
        let inner = NamespaceInner::new(NamespaceId(1), "n", quotas, (0, 0));
        inner.reserve(70, 1, 70).unwrap();
        assert!(matches!(inner.reserve(20, 0, 90), Err(Error::Quota { limit: 80, size: 90, .. })));
        assert!(matches!(inner.reserve(31, 0, 31), Err(Error::Quota { limit: 100, size: 101, .. })));
        assert!(matches!(inner.reserve(1, 1, 1), Err(Error::Quota { limit: 1, size: 2, .. })));
        inner.reserve(30, 0, 60).unwrap();
        inner.reserve(-100, -1, 0).unwrap();
        assert_eq!(inner.bytes.load(Ordering::Relaxed), 0);
    }
}
