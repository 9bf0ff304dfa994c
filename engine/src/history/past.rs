//! Finding a point in an object's history, and looking at it.

use lineal_wal::{Lsn, Micros, ObjectKey, Seq};

use super::{
    bookmark::{Bookmark, BookmarkError},
    trail::Trail,
    version::{self, Kept},
};
use crate::{
    Error, Gated, Object, Result, View,
    engine::EngineInner,
    gate::inside::Inside,
    lineage::{
        joint::Joints,
        walk::{Chain, Commit},
    },
    object::{
        resident::Resident,
        turns::{Held, Turn},
        wake::{logged_after, newest_head},
    },
    transaction::commit,
};

impl Object {
    /// The point in the object's history where it is now. When the gate opens, everything up to it is durable.
    ///
    /// # Errors
    /// Inside the gate: [`Error::NotFound`] if the object has no commit, or was purged; else as
    /// [`read`](Object::read).
    ///
    /// ```
    /// # fn main() -> lineal::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let engine = lineal::Engine::open(dir.path())?;
    /// let lobby = engine.namespace("rooms")?.object("lobby")?;
    /// lobby.transact(|tx| tx.put("topic", "hello")).wait()?;
    /// let mark = lobby.bookmark().wait()?;
    /// lobby.transact(|tx| tx.put("topic", "bye")).wait()?;
    /// assert_eq!(lobby.at(&mark)?.get("topic")?.unwrap(), b"hello"[..]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn bookmark(&self) -> Gated<Bookmark> {
        match Turn::take(&self.engine, &self.namespace, &self.cell) {
            Ok(mut turn) => turn.run(bookmark_held),
            Err(error) => Gated::open(Err(error)),
        }
    }

    /// The bookmark of the last commit at or before `time`. It is durable.
    ///
    /// # Errors
    /// [`BookmarkError::BeforeFirst`] if the object had no commit then, or none that is kept; see
    /// [`at_time`](Object::at_time) for a view that is empty instead. [`Error::Damaged`].
    pub fn bookmark_at(&self, time: Micros) -> Result<Bookmark> {
        match last_before(self, time)? {
            Some(seq) => self.bookmark_of(seq.0),
            None => {
                let (first, last) = kept(self);
                Err(BookmarkError::BeforeFirst { time, first, last }.into())
            }
        }
    }

    /// The bookmark of the object's commit number `seq`. It is durable.
    ///
    /// # Errors
    /// [`BookmarkError::Future`] and [`BookmarkError::TooOld`] if there is no such commit, or none that is kept;
    /// [`Error::Damaged`].
    pub fn bookmark_of(&self, seq: u64) -> Result<Bookmark> {
        Ok(bookmark_of(&find(self, Seq(seq), version::read)?))
    }

    /// The object as it was right after the bookmark's commit. Lazy: a read of a large object touches the few blocks
    /// it needs. It takes no turn, so that it disturbs nobody, and what it reads stays for as long as it lives,
    /// whatever is written, compacted or deleted meanwhile.
    ///
    /// # Errors
    /// A [`BookmarkError`] if the bookmark cannot be used; [`Error::Damaged`] if what it needs is damaged;
    /// [`Error::InsideTurn`] if its commit is not durable yet and this is inside of a turn.
    ///
    /// ```
    /// # fn main() -> lineal::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let engine = lineal::Engine::open(dir.path())?;
    /// let lobby = engine.namespace("rooms")?.object("lobby")?;
    /// lobby.transact(|tx| { tx.put("a", "1")?; tx.put("b", "2") }).wait()?;
    /// let mark = lobby.bookmark().wait()?;
    /// lobby.delete().wait()?;
    /// let then = lobby.at(&mark)?;
    /// assert_eq!(then.prefix("").count(), 2);
    /// # Ok(())
    /// # }
    /// ```
    pub fn at(&self, mark: &Bookmark) -> Result<View<'static>> {
        Ok(View::past(self.engine.clone(), resolve(self, mark)?))
    }

    /// As [`at`](Object::at), by the number of the commit; 0 is the empty object before the first one.
    ///
    /// # Errors
    /// As [`bookmark_of`](Object::bookmark_of).
    pub fn at_seq(&self, seq: u64) -> Result<View<'static>> {
        if seq == 0 {
            let snapshot = self.engine.catalog.snapshot();
            return Ok(View::past(self.engine.clone(), Kept::nothing(self.key(), snapshot)));
        }
        let found = find(self, Seq(seq), version::read_unhashed)?;
        Ok(View::past(self.engine.clone(), found))
    }

    /// The object as it was at `time`: after the last commit at or before it. Before the first commit it is empty, its
    /// [`seq`](View::seq) is 0 and it does not [exist](View::exists).
    ///
    /// # Errors
    /// [`Error::Damaged`].
    pub fn at_time(&self, time: Micros) -> Result<View<'static>> {
        let seq = last_before(self, time)?;
        self.at_seq(seq.map_or(0, |seq| seq.0))
    }
}

impl Object {
    /// How many versions the object's newest state reads through to; for tests.
    ///
    /// # Errors
    /// As [`read`](Object::read).
    #[doc(hidden)]
    pub fn base_depth(&self) -> Result<usize> {
        let mut turn = Turn::take(&self.engine, &self.namespace, &self.cell)?;
        turn.run(|held| Ok(version::depth(held.resident)))
    }
}

/// The bookmark of the state of an object in its turn.
pub(crate) fn bookmark_held(held: Held<'_>) -> Gated<Bookmark> {
    let engine = held.engine;
    commit::look(held, |key, resident| newest_bookmark(engine, key, resident))
}

/// The bookmark of an object's newest state.
pub(crate) fn newest_bookmark(
    engine: &EngineInner,
    key: ObjectKey,
    resident: &mut Resident,
) -> Result<Bookmark> {
    if resident.salt.is_none() {
        return Err(Error::NotFound { what: format!("a commit of object {}", key.id) });
    }
    bring_hash(engine, key, resident)?;
    Ok(Bookmark::new(key, resident.seq, resident.last_time, &resident.hashed.1))
}

/// Computes the chain hash after the object's newest commit, from the newest one that was computed.
fn bring_hash(engine: &EngineInner, key: ObjectKey, resident: &mut Resident) -> Result<()> {
    if resident.hashed.0 == resident.seq {
        return Ok(());
    }
    let from_log = || -> Result<_> {
        let snapshot = engine.catalog.snapshot();
        let (seq, hash) = resident.hashed;
        let mut chain = Chain { key, seq, hash, salt: resident.salt };
        let mut joints = Joints::default();
        for (record, at) in logged_after(engine, key, resident.last_lsn, seq)? {
            let joint = joints.of(engine, &snapshot, &record)?;
            chain.step(&Commit::of_record(&record, at, joint))?;
        }
        Ok((chain.seq, chain.hash))
    };
    // What the log has let go of is in packs, with hashes beside it.
    resident.hashed = match from_log() {
        Ok(hashed) if hashed.0 == resident.seq => hashed,
        _ => version::read(engine, key, resident.seq)?.version.state.hashed,
    };
    Ok(())
}

/// The version that a bookmark is of, if it can be used on this object.
pub(crate) fn resolve(object: &Object, mark: &Bookmark) -> Result<Kept> {
    if mark.object() != object.key() {
        return Err(BookmarkError::OtherObject { found: mark.object(), wanted: object.key() }.into());
    }
    let kept_version = find(object, Seq(mark.seq()), version::read)?;
    if !mark.is_of(&kept_version.version.state.hashed.1) {
        let (first, last) = kept(object);
        return Err(BookmarkError::Lost { seq: mark.seq(), first, last }.into());
    }
    Ok(kept_version)
}

pub(crate) fn bookmark_of(kept: &Kept) -> Bookmark {
    let state = &kept.version.state;
    Bookmark::new(kept.version.key, state.seq, state.last_time, &state.hashed.1)
}

/// The version after commit `seq`, once it is durable.
fn find(object: &Object, seq: Seq, read: fn(&EngineInner, ObjectKey, Seq) -> Result<Kept>) -> Result<Kept> {
    let engine = &object.engine;
    engine.check_open()?;
    object.namespace.check()?;
    match read(engine, object.key(), seq) {
        Ok(found) => {
            settle(engine, found.version.state.last_lsn)?;
            Ok(found)
        }
        Err(Error::NotFound { .. }) => {
            let (first, last) = kept(object);
            let seq = seq.0;
            // The purge itself has a number and leaves nothing.
            Err(if seq < Trail::open(object)?.first_readable().0 {
                BookmarkError::TooOld { seq, first, last }
            } else {
                BookmarkError::Future { seq, first, last }
            }
            .into())
        }
        Err(error) => Err(error),
    }
}

/// The object's newest purge, whether a pack knows of it or not.
pub(crate) fn purged_through(engine: &EngineInner, key: ObjectKey) -> Result<Seq> {
    // What is in memory before the packs: a checkpoint forgets a purge once its pack stands.
    let purged = engine.purged(key);
    let packed = newest_head(&engine.catalog.snapshot(), &key)?.map_or(Seq(0), |found| found.head.floor);
    Ok(purged.max(packed))
}

/// Waits until the log is durable up to `lsn`: what is shown of the past is never taken back.
fn settle(engine: &EngineInner, lsn: Lsn) -> Result<()> {
    if engine.log.durable() < lsn && engine.line() < lsn {
        Inside::refuse(engine.output.tag)?;
        engine.log.wait(lsn)?;
    }
    Ok(())
}

/// The oldest and the newest bookmark that can be used now, as far as they can be read.
pub(crate) fn kept(object: &Object) -> (Option<Bookmark>, Option<Bookmark>) {
    let Ok(trail) = Trail::open(object) else { return (None, None) };
    if trail.last() < trail.first_readable() {
        return (None, None);
    }
    let of = |seq| version::read(&object.engine, object.key(), seq).ok().map(|kept| bookmark_of(&kept));
    (of(trail.first_readable()), of(trail.last()))
}

/// The last durable commit at or before `time`.
fn last_before(object: &Object, time: Micros) -> Result<Option<Seq>> {
    let mut trail = Trail::open(object)?;
    let (first, last) = (trail.first_whole(), trail.last());
    let after = match time.0.checked_add(1) {
        Some(time) => trail.first_since(first, last, Micros(time))?,
        None => Seq(last.0 + 1),
    };
    let found = Some(Seq(after.0 - 1)).filter(|seq| *seq >= first);
    Ok(found.or_else(|| trail.anchored_at(time)))
}

/// The last durable commit at or before a position of the log, and whether commits before the first kept one may have
/// been, too.
pub(crate) fn last_through(object: &Object, lsn: Lsn) -> Result<(Option<Seq>, bool)> {
    let mut trail = Trail::open(object)?;
    let (first, last) = (trail.first_whole(), trail.last());
    let after = trail.first_where(first, last, |commit| commit.lsn > lsn)?;
    let found = Some(Seq(after.0 - 1)).filter(|seq| *seq >= first);
    Ok((found, first > Seq(1)))
}
