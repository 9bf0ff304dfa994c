//! The engine's one background thread: checkpoints, compaction and hibernation, when they are due and never by
//! the clock. It sleeps while nothing changes.

use std::time::Duration;

use lineal_wal::Lsn;

use super::EngineInner;
use crate::{
    Error, checkpoint,
    object::{cell::Cell, resident::Resident},
    sync::{
        Arc, Condvar, Mutex, Weak,
        atomic::Ordering,
        thread::{self, JoinHandle},
    },
};

/// Wakes the maintenance thread.
pub(crate) struct Signal {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    raised: bool,
    stopped: bool,
}

impl Signal {
    pub(crate) fn new() -> Signal {
        Signal { state: Mutex::new(State::default()), changed: Condvar::new() }
    }

    pub(crate) fn raise(&self) {
        self.state.lock().raised = true;
        self.changed.notify_one();
    }

    pub(crate) fn stop(&self) {
        self.state.lock().stopped = true;
        self.changed.notify_all();
    }

    /// Sleeps until it is raised. Returns whether to go on.
    fn wait(&self) -> bool {
        let mut state = self.state.lock();
        while !state.raised && !state.stopped {
            self.changed.wait(&mut state);
        }
        state.raised = false;
        !state.stopped
    }

    fn pause(&self, limit: Duration) -> bool {
        let mut state = self.state.lock();
        if !state.stopped {
            let _ = self.changed.wait_until(&mut state, std::time::Instant::now() + limit);
        }
        !state.stopped
    }
}

/// How long the thread waits before it tries again what failed.
///
/// Source: chosen; a full disk does not empty faster, and a person does not notice.
const RETRY_AFTER: Duration = Duration::from_millis(500);

/// How long the thread waits before it looks again for memory that nobody could give back.
///
/// Source: chosen; a few turns of a busy object.
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(5);

/// Memory is brought down to this share of its soft limit, in eighths, so that not every access makes room anew.
const RESIDENT_TARGET_EIGHTHS: u64 = 6;

/// Starts the thread.
///
/// # Errors
/// [`Error::Io`] where the process may have no more threads.
pub(crate) fn start(engine: &Arc<EngineInner>) -> crate::Result<JoinHandle<()>> {
    let signal = Arc::clone(&engine.signal);
    let engine = Arc::downgrade(engine);
    thread::Builder::new()
        .name("lineal-maintenance".into())
        .spawn(move || run(&signal, &engine))
        .map_err(|error| Error::io("starting a thread", "lineal-maintenance", error))
}

fn run(signal: &Signal, engine: &Weak<EngineInner>) {
    give_way(GUEST);
    while signal.wait() {
        let Some(engine) = engine.upgrade() else { return };
        if let Err(error) = make_room(&engine) {
            engine.counters.maintenance_failures.fetch_add(1, Ordering::Relaxed);
            tracing::warn!(%error, "maintenance failed and is tried again");
            // Writers that wait for room see their own time limit; a poisoned log tells them itself.
            let poisoned = matches!(error, Error::Poisoned { .. });
            engine.pressure.relieve(poisoned);
            drop(engine);
            if poisoned || !signal.pause(RETRY_AFTER) {
                continue;
            }
            signal.raise();
        } else if engine.pressure.is_shut() {
            // Who could give memory back is busy: look again, so that nobody waits for somebody else to knock.
            drop(engine);
            if signal.pause(LOOK_AGAIN_AFTER) {
                signal.raise();
            }
        }
    }
}

/// How far maintenance stands behind commits. Source: the class that the system gives to batch work.
const GUEST: i32 = 10;

/// How far the archive's threads do. Source: measured; a gate that waits for the archive opens as soon as without, and at
/// the class of maintenance it took half as long again.
#[cfg(feature = "archive")]
pub(crate) const UPLOADER: i32 = 4;

/// Commits never wait for the checkpoint, or for uploads: this thread takes what processor time they leave.
pub(crate) fn give_way(niceness: i32) {
    // All of a checker's threads are one.
    if cfg!(shuttle) {
        return;
    }
    // Refused where niceness is fixed; then the scheduler treats all threads alike, which is slower and not wrong.
    let _ = rustix::process::setpriority_process(Some(rustix::thread::gettid()), niceness);
}

/// Does long work that somebody asked for and waits for on a guest's thread, so that the commits of others do not wait
/// for it: beside a thread of the usual class, whoever wakes for a finished sync waits for milliseconds.
pub(crate) fn as_guest<T: Send + 'static>(
    engine: &Arc<EngineInner>,
    work: impl FnOnce(&Arc<EngineInner>) -> crate::Result<T> + Send + 'static,
) -> crate::Result<T> {
    if !engine.options.background {
        return work(engine);
    }
    let shared = Arc::clone(engine);
    let guest = thread::Builder::new().name("lineal-guest".into()).spawn(move || {
        give_way(GUEST);
        work(&shared)
    });
    match guest.map_err(Error::other)?.join() {
        Ok(outcome) => outcome,
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

/// Does what is due: a checkpoint, compaction, hibernation.
pub(crate) fn make_room(engine: &Arc<EngineInner>) -> crate::Result<()> {
    if engine.pressure.over_soft() {
        let enough_log = engine.pressure.unpacked_bytes() >= engine.options.checkpoint_bytes / 8;
        if enough_log || engine.pressure.over_hard() {
            checkpoint::checkpoint(engine)?;
        }
        if engine.pressure.over_resident() {
            hibernate_idle(engine);
        }
        if engine.pressure.over_resident() && engine.pressure.unpacked_bytes() > 0 {
            checkpoint::checkpoint(engine)?;
            hibernate_idle(engine);
        }
    }
    let provided = provide_ballast(engine);
    engine.pressure.relieve(engine.pressure.unpacked_bytes() == 0);
    if engine.table().wants_sweep() {
        engine.table().sweep(engine.line());
    }
    compact(engine)?;
    checkpoint::merge_catalog(engine, false)?;
    #[cfg(feature = "archive")]
    follow_archive(engine)?;
    provided
}

/// Lets go of what the archive has by now: log that packs cover, and packs beyond their budget.
#[cfg(feature = "archive")]
fn follow_archive(engine: &Arc<EngineInner>) -> crate::Result<()> {
    let Some(archive) = &engine.archive else { return Ok(()) };
    // Of two checkpoints' log the newest one's stays.
    let kept = engine.checkpointing.try_lock().map(|state| state.previous_line);
    if let Some(kept) = kept {
        engine.release_log(kept)?;
    }
    archive.keep_budget(engine).map(drop)
}

/// Makes the ballast as large as the log needs that is not packed. Where there is no room for that, packs the log.
fn provide_ballast(engine: &Arc<EngineInner>) -> crate::Result<()> {
    let due = engine.ballast.is_owed() || engine.ballast.is_outgrown(engine.pressure.unpacked_bytes());
    if !due {
        return Ok(());
    }
    let provided = checkpoint::provide_ballast(engine);
    if matches!(provided, Err(Error::NoSpace { .. })) && engine.pressure.unpacked_bytes() > 0 {
        checkpoint::checkpoint(engine)?;
        return checkpoint::provide_ballast(engine);
    }
    provided
}

/// Merges packs while that is due. Damage in one of them ends it until the engine is opened again: the pack's other
/// objects can be read as before, and copying up to the damage again and again helps nobody.
fn compact(engine: &Arc<EngineInner>) -> crate::Result<()> {
    while !engine.counters.compaction_stopped.load(Ordering::Relaxed) {
        let merge = || match checkpoint::retire_is_due(engine)? {
            true => checkpoint::compact(engine, true),
            false => checkpoint::compact(engine, false),
        };
        match merge() {
            Ok(true) => {}
            Ok(false) => break,
            Err(error @ Error::Damaged { .. }) => {
                tracing::error!(%error, "packs are not merged any more, because one is damaged");
                engine.counters.compaction_stopped.store(true, Ordering::Relaxed);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Takes memory from the objects that were used least recently, as far as packs cover them.
pub(crate) fn hibernate_idle(engine: &EngineInner) {
    let target = engine.options.memory_bytes / 8 * RESIDENT_TARGET_EIGHTHS;
    let now = engine.tick();
    // First what nobody has used since the last time, then whatever can go.
    for only_old in [true, false] {
        for shard in 0..engine.table().shard_count() {
            if engine.pressure.resident_bytes() <= target {
                engine.next_tick();
                return;
            }
            let line = if engine.is_read_only() { Lsn(u64::MAX) } else { engine.line() };
            let cells = engine.table().shard_cells(shard);
            for cell in &cells {
                if cell.last_lsn() <= line && !(only_old && cell.touched() == now) {
                    drop_resident(engine, cell);
                }
            }
            engine.table().remove_unused(&cells, line);
        }
    }
    engine.next_tick();
}

fn drop_resident(engine: &EngineInner, cell: &Cell) {
    let resident: Option<Box<Resident>> = cell.turns.with_idle(Option::take).flatten();
    if let Some(resident) = resident {
        engine.pressure.charged(resident.charged, 0);
        engine.counters.hibernations.fetch_add(1, Ordering::Relaxed);
        #[cfg(feature = "sql")]
        engine.sql.forget(&cell.key);
    }
}
