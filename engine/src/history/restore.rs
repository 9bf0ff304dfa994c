//! Restoring an object in place: one commit, which cuts everything and reads through to the object's own past.

use lineal_wal::{
    Seq,
    planted::{self, Bug},
};

use super::{
    bookmark::{Bookmark, BookmarkError},
    past::{bookmark_of, kept, newest_bookmark, purged_through, resolve},
    sound,
    version::{self, DEPTH_MAX, Kept, Version},
};
use crate::{
    Error, Gated, Kind, Object, Result, View,
    engine::{handle::Handle, holds},
    gate::output::Need,
    object::turns::{Held, Turn},
    sync::Arc,
    transaction::{
        commit::{self, Write},
        ops::{self, Cut, CutBase},
        tx::{Draft, over},
    },
};

/// Leaves that a restore reads to see that they are sound, so that it costs the same for any size.
///
/// Source: chosen; a small object whole, under a millisecond.
const PROBE_LEAVES_MAX: u64 = 16;
/// Older commits that are tried one by one for what can still be read; beyond them by doubling steps.
///
/// Source: chosen; as many commits as usually share one run.
const NEAREST_TRIES: u64 = 64;

/// What a commit that cuts everything leaves the object with.
pub(crate) struct Landing {
    /// Whether the object exists afterwards.
    pub(crate) exists: bool,
    /// What its reads go through to; `None` if the commit holds everything itself.
    pub(crate) under: Option<(CutBase, Arc<Version>)>,
}

impl Object {
    /// Brings the object back to where it was at the bookmark: with one commit in its own history, which costs the
    /// same for a kilobyte and for ten gigabytes. Everything comes back together, and nothing is destroyed: what was
    /// undone stays readable, and the bookmark that is returned undoes the restore. A deleted object comes back;
    /// handles and waiting callers go on.
    ///
    /// When it returns the restore is seen by every later transaction; when the gate opens it is durable.
    ///
    /// # Errors
    /// Inside the gate: a [`BookmarkError`] if the bookmark cannot be used, also after a purge;
    /// [`Error::CannotRestore`] if what it leads to is found to be damaged, and then the object is as it was; what a
    /// large object keeps in many leaves is checked in part. [`Error::Quota`]; else as
    /// [`transact`](Object::transact).
    ///
    /// ```
    /// # fn main() -> lineal::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let engine = lineal::Engine::open(dir.path())?;
    /// let lobby = engine.namespace("rooms")?.object("lobby")?;
    /// lobby.transact(|tx| tx.put("topic", "hello")).wait()?;
    /// let mark = lobby.bookmark().wait()?;
    /// lobby.transact(|tx| tx.delete_all()).wait()?;
    ///
    /// let undo = lobby.restore(&mark).wait()?;
    /// assert!(lobby.read(|view| view.contains("topic")).wait()?);
    /// lobby.restore(&undo).wait()?;
    /// assert!(!lobby.read(|view| view.contains("topic")).wait()?);
    /// # Ok(())
    /// # }
    /// ```
    pub fn restore(&self, mark: &Bookmark) -> Gated<Bookmark> {
        self.restore_because(mark, "")
    }

    /// As [`restore`](Object::restore), with a cause that is kept with the commit.
    ///
    /// # Errors
    /// As [`restore`](Object::restore); [`Error::TooLarge`] for a cause over 4 KiB.
    pub fn restore_because(&self, mark: &Bookmark, cause: &str) -> Gated<Bookmark> {
        // Before it is held: making room may itself wait for those who hold it.
        if let Err(error) = holds::admit(&self.engine) {
            return Gated::open(Err(error));
        }
        let _held = self.engine.retiring.hold();
        let sound = resolve(self, mark).and_then(|kept| probe(&kept).map(|()| kept));
        let kept = match sound {
            Ok(kept) => kept,
            Err(error @ Error::Damaged { .. }) => {
                let nearest = nearest_sound(self, mark.seq());
                return Gated::open(Err(Error::CannotRestore { source: Box::new(error), nearest }));
            }
            Err(error) => return Gated::open(Err(error)),
        };
        match Turn::take_within(&self.engine, &self.namespace, &self.cell) {
            Ok(mut turn) => turn.run(|held| restore_held(self, held, &kept, cause)),
            Err(error) => Gated::open(Err(error)),
        }
    }
}

fn restore_held(object: &Object, held: Held<'_>, kept: &Kept, cause: &str) -> Gated<Bookmark> {
    let engine = Arc::clone(held.engine);
    let (seen, level) = (held.seen(), held.namespace.level());
    let key = held.cell.key;
    let restore = || -> Result<(Bookmark, lineal_wal::Lsn)> {
        // It may have been purged since the bookmark was looked up.
        if held.resident.salt.is_none() || kept.version.state.seq <= purged_through(&engine, key)? {
            let (first, last) = super::past::kept(object);
            return Err(BookmarkError::TooOld { seq: kept.version.state.seq.0, first, last }.into());
        }
        let undo = newest_bookmark(&engine, key, held.resident)?;
        let (base, version) = base_of(&kept.version);
        let draft = landing(&object.engine, &held, kept, base, version, Kind::Restore, cause)?;
        engine.retiring.need(key);
        let lsn = commit::commit_drafts(&engine, &mut [Write::new(held, draft)])?;
        Ok((undo, lsn))
    };
    match restore() {
        Ok((undo, lsn)) => commit::hold(&engine, Need::new(lsn, level), Ok(undo)),
        Err(error) => commit::hold(&engine, seen, Err(error)),
    }
}

/// What to read through to for a version of the object itself. Where nothing was written since the version's own cut, that
/// is the cut's base: restore and undo in a loop grow no chain.
fn base_of(version: &Arc<Version>) -> (CutBase, Arc<Version>) {
    match version.state.under() {
        Some(under) if under.cut == version.state.seq => (under.base, Arc::clone(&under.version)),
        _ => {
            let off = u64::from(planted::on(Bug::RestoreOffByOne) && version.state.seq.0 > 1);
            (CutBase::Own { seq: version.state.seq.0 - off }, Arc::clone(version))
        }
    }
}

/// The commit that makes an object what `kept` is: a cut of everything, or a copy where the chain is deep already.
pub(crate) fn landing(
    engine: &Handle,
    held: &Held<'_>,
    kept: &Kept,
    base: CutBase,
    version: Arc<Version>,
    kind: Kind,
    cause: &str,
) -> Result<Draft> {
    over("cause", crate::transaction::body::CAUSE_BYTES_MAX, cause.len())?;
    let state = &kept.version.state;
    let mut draft = Draft::of(held.cell.key, kind, cause);
    let under = if version.depth() < DEPTH_MAX {
        ops::put_cut_op(&mut draft.ops, &Cut::whole(base));
        Some((base, version))
    } else {
        ops::put_cut_op(&mut draft.ops, &Cut::whole(CutBase::Nothing));
        let view = View::past(engine.clone(), kept.clone());
        let limit = engine.options.transaction_bytes_max;
        for entry in view.all() {
            let (key, value) = entry?;
            ops::put(&mut draft.ops, &key, &value);
            over("transaction", limit, draft.ops.len())?;
        }
        None
    };
    let bytes = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
    draft.delta = bytes(state.bytes) - bytes(held.resident.bytes);
    draft.landing = Some(Landing { exists: state.exists, under });
    Ok(draft)
}

/// Reads some of what a version reads, to find damage before anything depends on it.
pub(crate) fn probe(kept: &Kept) -> Result<()> {
    sound::check(&kept.snapshot, &kept.version.state, PROBE_LEAVES_MAX).map(|_| ())
}

/// The nearest bookmark before commit `seq` that can be read.
fn nearest_sound(object: &Object, seq: u64) -> Option<Bookmark> {
    let (first, _) = kept(object);
    let floor = first.map_or(1, |first| first.seq());
    let mut step = 1;
    let mut at = seq;
    let mut tries = 0;
    while at > floor {
        at = at.saturating_sub(step).max(floor);
        tries += 1;
        if tries > NEAREST_TRIES {
            step *= 2;
        }
        let found = version::read(&object.engine, object.key(), Seq(at));
        if let Ok(kept) = found
            && probe(&kept).is_ok()
        {
            return Some(bookmark_of(&kept));
        }
    }
    None
}
