//! Forking an object: the target's first commit reads through to a version of the source. What forks and pins need is
//! held by rows of the system object, and a purge asks them.

use lineal_wal::{
    ObjectKey,
    planted::{self, Bug},
};

use super::{
    bookmark::{Bookmark, BookmarkError},
    past::{newest_bookmark, purged_through, resolve},
    restore::{landing, probe},
    version::Kept,
};
use crate::{
    Error, Gated, Kind, Object, Result,
    engine::{handle::Handle, holds},
    gate::output::Need,
    object::turns::Held,
    sync::Arc,
    transaction::{
        commit::{self, Write},
        ops::CutBase,
    },
};

impl Object {
    /// Makes `target` what this object was at the bookmark. No bytes are copied, so that it costs the same for any
    /// size: the target reads through to this object's past until the checkpoint has written what changed. It begins
    /// a chain of its own, whose first commit names this object, the commit and its hash. The target may be in another
    /// namespace. Deleting or restoring this object never changes a fork; purging it is refused while forks of it exist.
    ///
    /// When it returns, the fork is seen by every later transaction; when the gate opens it is durable. Inside is the
    /// target's first bookmark.
    ///
    /// # Errors
    /// Inside the gate: a [`BookmarkError`]; [`Error::NotEmpty`] if the target has a history; [`Error::OtherEngine`];
    /// [`Error::Quota`]; [`Error::Damaged`] if what the bookmark leads to is found to be damaged; else as
    /// [`transact`](Object::transact).
    ///
    /// ```
    /// # fn main() -> lineal::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let engine = lineal::Engine::open(dir.path())?;
    /// let rooms = engine.namespace("rooms")?;
    /// let lobby = rooms.object("lobby")?;
    /// lobby.transact(|tx| tx.put("topic", "hello")).wait()?;
    /// let copy = rooms.object("lobby-copy")?;
    /// lobby.fork(&lobby.bookmark().wait()?, &copy).wait()?;
    /// assert!(copy.read(|view| view.contains("topic")).wait()?);
    /// # Ok(())
    /// # }
    /// ```
    pub fn fork(&self, mark: &Bookmark, target: &Object) -> Gated<Bookmark> {
        self.fork_because(mark, target, "")
    }

    /// As [`fork`](Object::fork), with a cause that is kept with the target's first commit.
    ///
    /// # Errors
    /// As [`fork`](Object::fork); [`Error::TooLarge`] for a cause over 4 KiB.
    pub fn fork_because(&self, mark: &Bookmark, target: &Object, cause: &str) -> Gated<Bookmark> {
        if !Arc::ptr_eq(&self.engine, &target.engine) {
            return Gated::open(Err(Error::OtherEngine));
        }
        if self.key() == target.key() {
            return Gated::open(Err(Error::NotEmpty { object: target.id().to_string() }));
        }
        if let Err(error) = holds::admit(&self.engine) {
            return Gated::open(Err(error));
        }
        let _held = self.engine.retiring.hold();
        let kept = match resolve(self, mark).and_then(|kept| probe(&kept).map(|()| kept)) {
            Ok(kept) => kept,
            Err(error) => return Gated::open(Err(error)),
        };
        // With the source's turn, so that it is not purged meanwhile.
        holds::in_turns(&self.engine, &[self, target], |system, held| {
            let [source, target] = held;
            let (engine, seen, level) = (Arc::clone(system.engine), target.seen(), target.namespace.level());
            match fork_held(&self.engine, system, source, target, &kept, cause) {
                Ok((first, lsn)) => commit::hold(&engine, Need::new(lsn, level), Ok(first)),
                Err(error) => commit::hold(&engine, seen, Err(error)),
            }
        })
    }

    /// Erases state, history and name for good. The object can be made again and goes on with the next seq.
    /// The bytes leave the disk when compaction has passed over their packs and the log has been reused.
    ///
    /// # Errors
    /// As [`transact`](Object::transact); [`Error::HasForks`] if forks or pins need the object's history. Purging what
    /// never had a commit changes nothing.
    pub fn purge(&self) -> Gated<()> {
        self.purge_because("")
    }

    /// As [`purge`](Object::purge), with a cause in the log's record; the purge leaves nothing of it in the packs.
    ///
    /// # Errors
    /// As [`purge`](Object::purge); [`Error::TooLarge`] for a cause over 4 KiB.
    pub fn purge_because(&self, cause: &str) -> Gated<()> {
        if let Err(error) = holds::admit(&self.engine) {
            return Gated::open(Err(error));
        }
        holds::in_turns(&self.engine, &[self], |system, [held]| purge_held(system, held, cause))
    }
}

fn fork_held(
    engine: &Handle,
    system: Held<'_>,
    source: Held<'_>,
    target: Held<'_>,
    kept: &Kept,
    cause: &str,
) -> Result<(Bookmark, lineal_wal::Lsn)> {
    let version = &kept.version;
    if source.resident.salt.is_none() || version.state.seq <= purged_through(engine, version.key)? {
        return Err(BookmarkError::TooOld { seq: version.state.seq.0, first: None, last: None }.into());
    }
    if target.resident.salt.is_some() {
        return Err(Error::NotEmpty { object: target.cell.key.id.to_string() });
    }
    let key = target.cell.key;
    let base = CutBase::Other {
        object: version.key.to_bytes(),
        seq: version.state.seq.0,
        hash: version.state.hashed.1,
    };
    let base = if planted::on(Bug::ForkEmpty) { CutBase::Nothing } else { base };
    let draft = landing(engine, &target, kept, base, Arc::clone(version), Kind::Fork, cause)?;
    let hold = holds::hold_fork(&system, version.key, version.state.seq, key)?;
    engine.retiring.need(version.key);
    let mut writes = [Write::new(system, hold), Write::new(target, draft)];
    let lsn = commit::commit_drafts(engine, &mut writes)?;
    let [_, target] = writes;
    Ok((newest_bookmark(engine, key, target.into_resident())?, lsn))
}

fn purge_held(system: Held<'_>, held: Held<'_>, cause: &str) -> Gated<()> {
    let engine = Arc::clone(held.engine);
    let key: ObjectKey = held.cell.key;
    let (seen, level) = (held.resident.last_lsn, held.namespace.level());
    let purge = || -> Result<lineal_wal::Lsn> {
        let Some(draft) = commit::erasure(&held, Kind::Purge, cause)? else { return Ok(seen) };
        if !planted::on(Bug::ForkNotHeld) {
            holds::refuse_if_held(&system, key)?;
        }
        match holds::release_fork(&system, key)? {
            Some(release) => {
                commit::commit_drafts(&engine, &mut [Write::new(system, release), Write::new(held, draft)])
            }
            None => commit::commit_drafts(&engine, &mut [Write::new(held, draft)]),
        }
    };
    match purge() {
        Ok(lsn) => commit::hold(&engine, Need::new(lsn, level), Ok(())),
        Err(error) => commit::hold(&engine, Need::new(seen, level), Err(error)),
    }
}
