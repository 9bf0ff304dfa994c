//! The checkpoint: packs what is durable and not packed yet, off the commit path, out of the log alone.
//!
//! It takes no turn and reads no object's memory: like replay it works from the log, whose durable part does not
//! change. So a transaction over several objects is never torn, and what a pack holds is never ahead of the log.

mod compaction;
mod fold;
mod over_base;
mod pack_object;
mod window;

use lineal_snapshot::{
    FooterInput, LivePack, Pack, PackHeader, PackKind, PackNumber, PackWriter, WriteOptions,
};
use lineal_wal::Lsn;

use self::{pack_object::ObjectPacker, window::Window};
use crate::{
    Result,
    engine::{CheckpointState, EngineInner, system},
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
    let outcome = checkpoint_locked(engine, &mut state)?;
    engine.pressure.relieve(false);
    Ok(outcome)
}

fn checkpoint_locked(
    engine: &Arc<EngineInner>,
    state: &mut MutexGuard<'_, CheckpointState>,
) -> Result<Checkpointed> {
    let after = engine.line();
    let unpacked_bytes = engine.pressure.unpacked_bytes();
    let line = engine.log.sync()?;
    if line <= after {
        engine.pressure.packed(unpacked_bytes);
        return Ok(Checkpointed { line: line.0, ..Checkpointed::default() });
    }
    let span = tracing::info_span!("checkpoint", %after, %line);
    let _entered = span.enter();
    let dropped = system::dropped(engine)?;
    let window = Window::survey(engine, after, line, dropped)?;
    let mut totals = state.totals.clone();
    totals.merge(window.totals());

    let mut pack = NewPack::create(engine, PackKind::Checkpoint)?;
    let packed = match write_window(engine, &window, &mut pack) {
        Ok(packed) => packed,
        Err(error) => {
            pack.abandon();
            return Err(error);
        }
    };
    let footer = Footing { first_lsn: Lsn(after.0 + 1), last_lsn: line, line, meta: totals.encode() };
    let pack_bytes = pack.publish(engine, footer, &[])?;

    state.totals = totals;
    engine.set_line(line);
    engine.pressure.packed(unpacked_bytes);
    // Two checkpoints are kept: the log of the newest pack stays until the next one stands.
    engine.log.release(state.previous_line)?;
    state.previous_line = line;
    engine.counters.checkpoints.fetch_add(1, Ordering::Relaxed);
    engine.counters.pack_bytes.fetch_add(pack_bytes, Ordering::Relaxed);
    tracing::info!(packed.objects, packed.commits, pack_bytes, "checkpoint");
    Ok(Checkpointed { line: line.0, objects: packed.objects, commits: packed.commits, pack_bytes })
}

/// The checkpoint of a clean close: packs what is left, reads the newest pack back, and lets all of the log go.
pub(crate) fn last(engine: &Arc<EngineInner>) -> Result<()> {
    let mut state = engine.checkpointing.lock();
    checkpoint_locked(engine, &mut state)?;
    engine.catalog.merge(true)?;
    let line = engine.line();
    if line > Lsn(0) {
        if let Some(newest) = engine.catalog.live().last() {
            newest.verify(&mut |_| ())?;
        }
        engine.log.release(line)?;
    }
    Ok(())
}

/// Merges packs of about one size, if there are many, or all of them by `force`. Returns whether it did anything.
pub(crate) fn compact(engine: &Arc<EngineInner>, force: bool) -> Result<bool> {
    let state = engine.checkpointing.lock();
    engine.check_open()?;
    compaction::compact(engine, &state, force)
}

#[derive(Clone, Copy, Default)]
struct Packed {
    objects: u64,
    commits: u64,
}

fn write_window(engine: &Arc<EngineInner>, window: &Window, pack: &mut NewPack) -> Result<Packed> {
    let snapshot = engine.catalog.snapshot();
    let mut packer = ObjectPacker::new(engine.options.tail_bytes_max);
    let mut packed = Packed::default();
    window.for_each_object(engine, &snapshot, |key, commits| {
        packed.objects += 1;
        packed.commits += commits.len() as u64;
        packer.pack(engine, &snapshot, key, commits, &mut pack.writer)
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
        // As above: without a footer it is dead, wherever it lies.
        let _ = self.writer.abandon();
    }

    /// Makes the pack durable, then its footer, then its row, and takes `removed` out of what is live. Returns
    /// its size in bytes.
    pub(crate) fn publish(
        mut self,
        engine: &EngineInner,
        footing: Footing,
        removed: &[PackNumber],
    ) -> Result<u64> {
        if let Err(error) = self.writer.seal() {
            // The file has no footer: if it cannot be removed now, the next open removes it.
            let _ = self.writer.abandon();
            return Err(error.into());
        }
        assert!(engine.log.durable() >= footing.line, "a pack is never ahead of the durable log");
        if let Some(poison) = engine.log.poisoned() {
            let _ = self.writer.abandon();
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
        let live: LivePack = self.writer.finish(footer)?;
        let bytes = live.bytes;
        let pack = Pack::open(&engine.disk, engine.catalog.cache(), self.number)?;
        publishing.publish(Some((live, pack)), removed)?;
        Ok(bytes)
    }
}
