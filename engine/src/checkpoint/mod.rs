//! The checkpoint: packs what is durable and not packed yet, off the commit path, out of the log alone.
//!
//! It takes no turn and reads no object's memory: like replay it works from the log, whose durable part does not
//! change. So a transaction over several objects is never torn, and what a pack holds is never ahead of the log.

mod compaction;
mod erase;
#[cfg(feature = "archive")]
mod extract;
mod fold;
mod headers;
mod over_base;
mod pack_object;
mod retire;
mod window;

use lineal_snapshot::{
    FooterInput, LivePack, Pack, PackHeader, PackKind, PackNumber, PackWriter, WriteOptions,
};
use lineal_wal::{
    Lsn, Micros,
    planted::{self, Bug},
};

#[cfg(feature = "archive")]
pub(crate) use self::extract::extract;
use self::{compaction::Retire, pack_object::ObjectPacker, window::Window};
use crate::{
    Error, Result,
    catalog::CatalogError,
    engine::{CheckpointState, EngineInner, system, totals::Totals},
    history::retention::Retention,
    proof::{Growth, leaf},
    sync::{Arc, MutexGuard, atomic::Ordering},
};

/// What a checkpoint did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Checkpointed {
    /// The newest log position that packs cover now.
    pub line: u64,
    /// Objects written.
    pub objects: u64,
    /// Commits packed.
    pub commits: u64,
    /// Size of the pack, in bytes; 0 if there was nothing to pack.
    pub pack_bytes: u64,
}

/// Packs every commit that is durable now and not packed yet, then lets the log go that two checkpoints cover.
pub(crate) fn checkpoint(engine: &Arc<EngineInner>) -> Result<Checkpointed> {
    let mut state = engine.checkpointing.lock();
    // Whoever closes the engine holds this lock when it gives the directory back.
    engine.check_open()?;
    let outcome = with_room(engine, &mut state, |state| checkpoint_locked(engine, state));
    restore_ballast(engine);
    engine.pressure.relieve(false);
    outcome
}

/// Does work that frees room in the end. Where the disk is full it is done again in the room of the log that is kept
/// for safety's sake, and at last in that of the ballast.
fn with_room<T>(
    engine: &Arc<EngineInner>,
    state: &mut MutexGuard<'_, CheckpointState>,
    mut work: impl FnMut(&mut MutexGuard<'_, CheckpointState>) -> Result<T>,
) -> Result<T> {
    let is_full = |outcome: &Result<T>| matches!(outcome, Err(Error::NoSpace { .. }));
    let mut outcome = work(state);
    if is_full(&outcome) && engine.ballast.is_kept() && shrink_log(engine, state) {
        outcome = work(state);
    }
    if is_full(&outcome) && engine.ballast.give_up() {
        outcome = work(state);
        if outcome.is_ok() {
            shrink_log(engine, state);
        }
    }
    outcome
}

/// Makes the ballast as large as it should be now; the caller holds the lock. What cannot be made is owed, and users
/// are refused until it is there.
fn restore_ballast(engine: &Arc<EngineInner>) {
    let unpacked_bytes = engine.pressure.unpacked_bytes();
    // Segments that are prepared for users are of no use to them before.
    if engine.ballast.provide(unpacked_bytes).is_err() && engine.log.shrink().is_ok() {
        let _ = engine.ballast.provide(unpacked_bytes);
    }
}

/// Gives back what the log keeps behind the newest pack in case that cannot be read, once it was read, and segments
/// that are prepared for later. Returns whether that can have made room.
fn shrink_log(engine: &Arc<EngineInner>, state: &mut MutexGuard<'_, CheckpointState>) -> bool {
    let line = engine.line();
    let newest = engine.catalog.live().pop().filter(|_| state.previous_line < line);
    if newest.is_some_and(|newest| newest.verify(&mut |_| ()).is_ok()) && engine.release_log(line).is_ok() {
        state.previous_line = line;
    }
    engine.log.shrink().is_ok()
}

/// Makes the ballast as large as it should be now.
pub(crate) fn provide_ballast(engine: &Arc<EngineInner>) -> Result<()> {
    let _state = engine.checkpointing.lock();
    engine.check_open()?;
    engine.ballast.provide(engine.pressure.unpacked_bytes())
}

/// Merges the newest packs into the catalog's table if that is due, or by `force`.
pub(crate) fn merge_catalog(engine: &Arc<EngineInner>, force: bool) -> Result<()> {
    match engine.catalog.merge(force) {
        Err(CatalogError::NoSpace { .. }) if engine.ballast.is_kept() => {
            let mut state = engine.checkpointing.lock();
            engine.check_open()?;
            let outcome = with_room(engine, &mut state, |_| Ok(engine.catalog.merge(force).map(drop)?));
            restore_ballast(engine);
            outcome
        }
        outcome => Ok(outcome.map(drop)?),
    }
}

fn checkpoint_locked(
    engine: &Arc<EngineInner>,
    state: &mut MutexGuard<'_, CheckpointState>,
) -> Result<Checkpointed> {
    let after = engine.line();
    if engine.log.appended() > after {
        // It can wait; the checkpoint, which may be what makes room, cannot.
        if let Err(error) = follow_clock(engine, state) {
            tracing::warn!(%error, "the retention's clock stands still");
        }
    }
    let unpacked_bytes = engine.pressure.unpacked_bytes();
    let line = if planted::on(Bug::PackBeforeLog) { engine.log.appended() } else { engine.log.sync()? };
    if line <= after {
        engine.pressure.packed(unpacked_bytes);
        return Ok(Checkpointed { line: line.0, ..Checkpointed::default() });
    }
    let span = tracing::info_span!("checkpoint", %after, %line);
    let _entered = span.enter();
    let dropped = system::dropped(engine)?;
    let window = Window::survey(engine, after, line, dropped, None)?;
    let mut summary = state.summary.clone();
    let mut growth = Growth::new(&summary.tree);
    let mut pack = NewPack::create(engine, PackKind::Checkpoint)?;
    let packed = match write_window(engine, &window, &mut summary.totals, &mut growth, &mut pack) {
        Ok(packed) => packed,
        Err(error) => {
            pack.abandon();
            return Err(error);
        }
    };
    let (published, time) = (summary.published, packed.last_time);
    let grown = growth.write(&engine.disk, engine.identity, published, line, time, &mut state.settled);
    summary.tree = match grown {
        Ok(tree) => tree,
        Err(error) => {
            pack.abandon();
            return Err(error);
        }
    };
    summary.published += 1;
    if planted::on(Bug::LogReleasedBeforePack) {
        engine.release_log(line)?;
    }
    let footer = Footing { first_lsn: Lsn(after.0 + 1), last_lsn: line, line, meta: summary.encode() };
    let pack_bytes = pack.publish(engine, footer, &[])?;

    state.summary = summary;
    engine.set_line(line);
    engine.pressure.packed(unpacked_bytes);
    // Two checkpoints are kept: the log of the newest pack stays until the next one stands.
    engine.release_log(state.previous_line)?;
    state.previous_line = line;
    engine.counters.checkpoints.fetch_add(1, Ordering::Relaxed);
    engine.counters.pack_bytes.fetch_add(pack_bytes, Ordering::Relaxed);
    tracing::info!(packed.objects, packed.commits, pack_bytes, "checkpoint");
    Ok(Checkpointed { line: line.0, objects: packed.objects, commits: packed.commits, pack_bytes })
}

/// Whether a good part of the history is beyond its retention: the oldest pack holds nothing that is younger than that
/// and an eighth more, so that each part of history is written once more for this, and seldom.
///
/// Of stores that a merge would hold the checkpoint up for long over, only somebody who asks for it does it.
pub(crate) fn retire_is_due(engine: &Arc<EngineInner>) -> Result<bool> {
    #[cfg(feature = "archive")]
    if engine.archive.as_ref().is_some_and(|archive| !archive.has_roots()) {
        return Ok(false);
    }
    let packs = engine.catalog.live();
    let bytes: u64 = packs.iter().map(|pack| pack.footer().file_bytes).sum();
    let Some(oldest) = packs.iter().map(|pack| pack.footer().last_lsn).min() else { return Ok(false) };
    if bytes > compaction::PACK_BYTES_MAX {
        return Ok(false);
    }
    let Some(running) = system::running(engine)? else { return Ok(false) };
    let keeps = system::retentions(engine)?;
    let shortest = keeps.into_values().chain([Retention::default()]).filter_map(|keep| keep.time).min();
    let Some(beyond) = shortest
        .and_then(|keep| Retention { time: Some(keep + keep / 8), bytes: None }.horizon(running.time))
    else {
        return Ok(false);
    };
    let (roots, _) = engine.roots()?;
    let at = roots.first_published(|root| root.line >= oldest.0)?;
    Ok(at < roots.count() && roots.published(at)?.time < beyond)
}

/// Lets the retention's clock go on, every hour or so: with what is packed anyway, so that an idle engine writes nothing.
fn follow_clock(engine: &Arc<EngineInner>, state: &mut MutexGuard<'_, CheckpointState>) -> Result<()> {
    const EVERY: u64 = 60 * 60 * 1_000_000;
    let wall = (engine.options.clock)();
    if state.followed.is_none() {
        state.followed = system::running(engine)?.map(|running| running.wall);
    }
    if state.followed.is_none_or(|followed| wall.0.abs_diff(followed.0) >= EVERY) {
        system::follow_clock(engine, false)?;
        state.followed = Some(wall);
    }
    Ok(())
}

/// The checkpoint of a clean close: packs what is left, reads the newest pack back, and lets all of the log go.
pub(crate) fn last(engine: &Arc<EngineInner>) -> Result<()> {
    let mut state = engine.checkpointing.lock();
    with_room(engine, &mut state, |state| {
        checkpoint_locked(engine, state)?;
        Ok(engine.catalog.merge(true).map(drop)?)
    })?;
    let line = engine.line();
    if line > Lsn(0) {
        if let Some(newest) = engine.catalog.live().last() {
            newest.verify(&mut |_| ())?;
        }
        engine.release_log(line)?;
    }
    Ok(())
}

/// Merges packs of about one size, if there are many, or all of them by `force`. Returns whether it did anything.
pub(crate) fn compact(engine: &Arc<EngineInner>, force: bool) -> Result<bool> {
    let mut state = engine.checkpointing.lock();
    engine.check_open()?;
    let outcome = with_room(engine, &mut state, |state| {
        if !force {
            return compaction::compact(engine, state, None);
        }
        // What was restored, forked or pinned before this is in packs or in the system object afterwards; what is from
        // now on says so.
        engine.retiring.begin();
        let running = system::follow_clock(engine, false)?;
        checkpoint_locked(engine, state)?;
        let retire = Retire::new(engine, running)?;
        let merged = compaction::compact(engine, state, Some(&retire))?;
        erase::erase(engine, state, &retire.purged())?;
        Ok(merged)
    });
    restore_ballast(engine);
    outcome
}

#[derive(Clone, Copy, Default)]
struct Packed {
    objects: u64,
    commits: u64,
    last_time: Micros,
}

fn write_window(
    engine: &Arc<EngineInner>,
    window: &Window,
    totals: &mut Totals,
    growth: &mut Growth,
    pack: &mut NewPack,
) -> Result<Packed> {
    let snapshot = engine.catalog.snapshot();
    let mut packer = ObjectPacker::new(engine.options.tail_bytes_max);
    let mut packed = Packed::default();
    window.for_each_object(engine, &snapshot, |key, commits| {
        packed.objects += 1;
        packed.commits += commits.len() as u64;
        let head = packer.pack(engine, &snapshot, key, commits, totals, &mut pack.writer)?;
        packed.last_time = packed.last_time.max(head.time);
        growth.push(leaf(&key, head.seq, &head.hash));
        Ok(())
    })?;
    Ok(packed)
}

/// A pack that is being written and that nothing names yet.
pub(crate) struct NewPack {
    number: PackNumber,
    writer: PackWriter,
}

/// What the footer of a new pack says, but for the list of live packs.
pub(crate) struct Footing {
    pub(crate) first_lsn: Lsn,
    pub(crate) last_lsn: Lsn,
    pub(crate) line: Lsn,
    pub(crate) meta: Vec<u8>,
}

impl NewPack {
    pub(crate) fn create(engine: &EngineInner, kind: PackKind) -> Result<NewPack> {
        let number = engine.catalog.next_number();
        let header = PackHeader { engine: engine.identity, epoch: engine.log.epoch(), number, kind };
        let writer = PackWriter::create(Arc::clone(&engine.disk), header, WriteOptions::default())?;
        Ok(NewPack { number, writer })
    }

    /// Gives up; nothing of it is left but an unused number.
    pub(crate) fn abandon(self) {
        // Without a footer it is dead, wherever it lies: if it cannot be removed now, the next open removes it.
        let _ = self.writer.abandon();
    }

    /// Makes the pack durable, then its footer, then its row, and takes `removed` out of what is live. Returns
    /// its size in bytes. After an error its file is gone again, unless the row may have been listed.
    pub(crate) fn publish(
        mut self,
        engine: &EngineInner,
        footing: Footing,
        removed: &[PackNumber],
    ) -> Result<u64> {
        if let Err(error) = self.writer.seal() {
            self.abandon();
            return Err(error.into());
        }
        assert!(engine.log.durable() >= footing.line, "a pack is never ahead of the durable log");
        if let Some(poison) = engine.log.poisoned() {
            self.abandon();
            return Err(poison.into());
        }
        let mut publishing = engine.catalog.lock_publish();
        let footer = FooterInput {
            first_lsn: footing.first_lsn,
            last_lsn: footing.last_lsn,
            line: footing.line,
            live: publishing.live_except(removed),
            meta: footing.meta,
        };
        let finished = self.writer.finish(footer).and_then(|live| {
            let pack = Pack::open(&engine.disk, engine.catalog.cache(), self.number)?;
            Ok((live, pack))
        });
        let (live, pack): (LivePack, Arc<Pack>) = match finished {
            Ok(finished) => finished,
            Err(error) => {
                // Complete or not, no row names it. Should a crash bring it back complete it is adopted, which loses
                // nothing: it holds what the log still has.
                publishing.abandon(self.number);
                return Err(error.into());
            }
        };
        let bytes = live.bytes;
        publishing.publish(Some((live, pack)), removed)?;
        drop(publishing);
        engine.packs_changed();
        Ok(bytes)
    }
}
