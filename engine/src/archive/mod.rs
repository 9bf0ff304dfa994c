//! The archive of an engine: its packs and its log in an object store.
//!
//! [`Options::archive`](crate::Options::archive) opens an engine with one, [`Options::attach`](crate::Options::attach) opens
//! one on a machine that has nothing of it. The functions here look at archives that no engine of this process has open:
//! [`points`] says what can be restored, [`restore`] does it, [`verify`] and [`scrub`] check, [`gc`] cleans up, [`repair`]
//! makes a lost manifest anew.
//!
//! What is uploaded, in which form, and how a store is believed is the business of `lineal_snapshot::archive`. Packs that
//! are in the store only are read through its `Tier`, which is the engine's disk; nothing else of the engine knows of it.

mod attach;
mod care;
mod host;
mod log;
mod marker;
mod note;
mod opening;
mod options;
mod part;
mod reading;
mod repair;
mod restore;
mod roots;
mod spill;
mod status;

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use lineal_snapshot::{
    PackNumber,
    archive::{Calls, Manifest, PackCalls, Service, Tier},
};
use lineal_wal::{
    Disk, EngineId, Epoch, Lsn,
    planted::{self, Bug},
};

pub use self::{
    care::{Collected, Damage, ScrubReport, Standing, engines, gc, scrub, standing, verify},
    options::ArchiveOptions,
    repair::{Repaired, repair},
    restore::{
        Point, Points, RestoreOptions, RestorePlan, RestoreReport, RestoreStep, plan, points, restore,
        verify_only,
    },
    spill::Spilled,
    status::ArchiveStatus,
};
pub use lineal_snapshot::archive::{
    Answer, ArchiveError, ArchiveErrorKind, Found, Hand, LeaseTerm, Listing, Location, Pace, Patience,
    Rhythm, Source, Store, StoreError, StoreErrorKind, Tag, Traffic, When,
};

pub(crate) use self::{
    attach::ATTACHING,
    marker::{explain_missing, refuse_without},
    opening::Opening,
};
use self::{
    host::EngineHost,
    log::EngineLog,
    marker::Marker,
    note::Note,
    opening::Taken,
    options::Connection,
    roots::{Part, Presence},
};
use crate::{
    Engine, Error, Result,
    engine::EngineInner,
    sync::{Arc, Condvar, Mutex, MutexGuard, Weak, thread},
};

/// The archive of an open engine.
pub(crate) struct Archive {
    options: ArchiveOptions,
    connection: Connection,
    tier: Arc<Tier>,
    /// `None` in an engine that is open for reading.
    writing: Option<Writing>,
    /// Whether the tree of roots is here, and of what parts it was when the engine opened.
    roots: Arc<Presence>,
    parts: Vec<Part>,
    local: Arc<dyn Disk>,
    engine: EngineId,
}

/// What an engine has that writes its archive.
pub(crate) struct Writing {
    epoch: Epoch,
    calls: Arc<Calls>,
    packs: Arc<PackCalls>,
    shared: Arc<Shared>,
    /// Until the service is started.
    taken: Mutex<Option<Taken>>,
}

/// What the service tells the engine's threads.
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// The packs in the store hold everything up to here, read back.
    line: Lsn,
    packs: BTreeSet<PackNumber>,
    generation: u64,
    note: Note,
    /// How the service ended, if it did.
    ended: Option<std::result::Result<(), ArchiveError>>,
}

impl State {
    fn list(&mut self, manifest: &Manifest) {
        self.line = manifest.line;
        self.generation = manifest.generation;
        self.note = Note::decode(&manifest.note).unwrap_or_default();
        self.packs = manifest.packs.iter().map(|pack| pack.number).collect();
    }
}

impl Writing {
    fn new(taken: Taken, manifest: Option<&Manifest>) -> Writing {
        let mut state = State::default();
        if let Some(manifest) = manifest {
            state.list(manifest);
        }
        Writing {
            epoch: taken.writer.lease.epoch(),
            calls: Arc::clone(&taken.calls),
            packs: Arc::default(),
            shared: Arc::new(Shared { state: Mutex::new(state), changed: Condvar::new() }),
            taken: Mutex::new(Some(taken)),
        }
    }

    /// The log after this is needed: what is before it is in the store, in packs that were read back.
    fn keeps_after(&self) -> Lsn {
        self.shared.state.lock().line.min(self.calls.archived())
    }

    fn troubles(&self) -> u64 {
        self.calls.trouble.count() + self.packs.trouble.count()
    }

    /// What keeps the store from taking anything at the moment.
    fn trouble(&self) -> Option<ArchiveError> {
        self.calls.trouble.now().or_else(|| self.packs.trouble.now())
    }
}

/// How long a close waits while the store takes nothing at all.
///
/// Source: a decision; a store that answers at all answers within the patience of one request.
const CLOSE_PATIENCE: Duration = Duration::from_secs(20);

/// So many attempts may fail, and what the store answers to one is still a step forward. Beside what never succeeds it answers for ever.
///
/// Source: a decision; the client has repeated each request by then.
const CLOSE_TROUBLES: u64 = 4;
/// How long to wait before the tree of roots is asked for again.
///
/// Source: a decision; the client has tried for a minute by then.
const ROOTS_REST: Duration = Duration::from_secs(1);
/// How often a close looks whether the store takes something.
const CLOSE_LOOKS: Duration = Duration::from_millis(10);

impl Archive {
    /// Starts the uploads, once the engine stands.
    pub(crate) fn start(&self, engine: &Arc<EngineInner>) {
        let Some(writing) = &self.writing else { return };
        let Some(taken) = writing.taken.lock().take() else { return };
        self.fetch_roots(engine);
        let host = EngineHost {
            engine: Arc::downgrade(engine),
            clock: Arc::clone(&engine.options.clock),
            tier: Arc::clone(&self.tier),
            shared: Arc::clone(&writing.shared),
        };
        let service = Service::new(
            self.connection.client.clone(),
            taken.writer,
            taken.book,
            Arc::new(EngineLog(engine.log.clone())),
            Arc::new(host),
            taken.calls,
            Arc::clone(&writing.packs),
        )
        .options(self.options.service);
        let (shared, weak) = (Arc::clone(&writing.shared), Arc::downgrade(engine));
        let end = End { shared, engine: weak, ended: Err(ArchiveError::Closed) };
        self.connection.runtime.attend(async move {
            // All of it, so that it is dropped with the task.
            let mut end = end;
            end.ended = service.run().await;
        });
    }

    /// Brings the tree of roots, where a directory was attached without it. Nobody waits but who asks for a proof.
    fn fetch_roots(&self, engine: &Arc<EngineInner>) {
        if self.roots.is_here() {
            return;
        }
        let (connection, parts, id) = (self.connection.clone(), self.parts.clone(), self.engine);
        let (local, presence, engine) =
            (Arc::clone(&self.local), Arc::clone(&self.roots), Arc::downgrade(engine));
        let packs = self.writing.as_ref().map(|writing| Arc::clone(&writing.packs));
        let fetch = move || {
            while engine.strong_count() > 0 {
                let fetched = roots::fetch(&connection, id, &parts, &local).and_then(|()| {
                    if engine.strong_count() == 0 {
                        return Err(Error::Closed);
                    }
                    let marker = Marker::read(&*local)?;
                    marker.map_or(Ok(()), |marker| Marker { owes_roots: false, ..marker }.write(&*local))
                });
                match fetched {
                    Err(Error::Closed) => return,
                    Err(error) if error.kind() != crate::ErrorKind::Corrupt => {
                        tracing::warn!(%error, "the tree of roots is not here yet");
                    }
                    outcome => {
                        if let Err(error) = &outcome {
                            tracing::error!(%error, "the tree of roots in the archive is damaged: there are no proofs");
                        }
                        presence.settle(outcome);
                        // They waited for it: the manifest names it.
                        return packs.iter().for_each(|packs| packs.changed());
                    }
                }
                let client = connection.client.clone();
                let rest = async move {
                    client.sleep(ROOTS_REST).await;
                    Ok(())
                };
                if connection.runtime.run(rest).is_err() {
                    return;
                }
            }
        };
        if self.connection.runtime.is_by_hand() {
            return fetch();
        }
        // Without it proofs wait, and say so when they have waited long enough.
        if let Err(error) = thread::Builder::new().name("lineal-roots".into()).spawn(fetch) {
            tracing::warn!(%error, "no thread fetches the tree of roots");
        }
    }

    pub(crate) fn has_roots(&self) -> bool {
        self.roots.is_here()
    }

    /// Whether the tree of roots will never be here.
    fn has_lost_roots(&self) -> bool {
        self.roots.is_lost()
    }

    /// Waits until the tree of roots is here.
    pub(crate) fn await_roots(&self, limit: Duration) -> Result<()> {
        if self.roots.wait(limit)? {
            return Ok(());
        }
        let waited_ms = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
        Err(Error::Busy { what: "the tree of roots, which comes from the archive", waited_ms })
    }

    /// Packs have changed.
    pub(crate) fn packs_changed(&self) {
        if let Some(writing) = &self.writing {
            writing.packs.changed();
        }
    }

    /// The part of the log up to `through` that may go, as far as the archive is concerned.
    pub(crate) fn may_release(&self, through: Lsn) -> Lsn {
        let writing = self.writing.as_ref().filter(|_| !planted::on(Bug::LogReleasedBeforeArchive));
        writing.map_or(through, |writing| through.min(writing.keeps_after()))
    }

    /// Waits until the store has everything that was durable and packed when it was called.
    fn bring(&self, engine: &EngineInner) -> Result<()> {
        let Some(writing) = &self.writing else { return Err(Error::ReadOnly) };
        match self.await_roots(engine.options.wait_max) {
            // Damage there hurts proofs alone.
            Err(error) if error.kind() != crate::ErrorKind::Corrupt => return Err(error),
            _ => {}
        }
        let wanted = engine.log.sync()?;
        let line = engine.line();
        let troubles = writing.troubles();
        writing.calls.want(wanted);
        writing.packs.changed();
        let mut state = writing.shared.state.lock();
        loop {
            match &state.ended {
                Some(Err(error)) => return Err(error.clone().into()),
                Some(Ok(())) => return Err(Error::Closed),
                None => {}
            }
            if writing.calls.archived() >= wanted && state.line >= line {
                return Ok(());
            }
            // What was wrong before may be right now, and what fails first may have begun before.
            let tried = writing.troubles() >= troubles + 2;
            if let Some(trouble) = writing.trouble().filter(|_| tried) {
                return Err(trouble.into());
            }
            self.rest(writing, &mut state);
        }
    }

    /// Lets the uploads go on until something changes, or for a moment.
    fn rest(&self, writing: &Writing, state: &mut MutexGuard<'_, State>) {
        let runtime = &self.connection.runtime;
        if runtime.is_by_hand() {
            return MutexGuard::unlocked(state, || runtime.turn());
        }
        let look = Instant::now() + CLOSE_LOOKS;
        let _ = writing.shared.changed.wait_until(state, look);
    }

    /// Ends the uploads where they stand. What is not in the store stays here, and the lease runs out by itself.
    pub(crate) fn abort(&self) {
        if let Some(writing) = &self.writing {
            writing.packs.abort();
        }
    }

    /// As [`abort`](Self::abort), and waits until they have ended, not longer than `until`. Not on their own thread.
    pub(crate) fn abandon(&self, until: Instant) {
        self.abort();
        let Some(writing) = self.writing.as_ref().filter(|_| !self.connection.runtime.is_here()) else {
            return;
        };
        let mut state = writing.shared.state.lock();
        while state.ended.is_none() && Instant::now() < until {
            self.rest(writing, &mut state);
        }
    }

    /// Whether the archive is still this engine's.
    fn is_ours(&self) -> bool {
        self.writing.as_ref().is_some_and(|writing| writing.shared.state.lock().ended.is_none())
    }

    /// Lets the uploads end, with everything in the store, and gives the lease back. Where the store takes nothing for a
    /// while, says so and gives up: what is here stays here.
    pub(crate) fn close(&self, engine: &EngineInner) -> Result<()> {
        let Some(writing) = &self.writing else { return Ok(()) };
        let synced = engine.log.sync();
        if let Some(poison) = engine.log.poisoned() {
            // What is durable is read again by the next open; here the disk says nothing more.
            self.abort();
            return Err(poison.into());
        }
        writing.calls.stop();
        let now = || self.connection.client.now();
        let mut since = now();
        let (mut last, mut answers, mut troubles) = ((Lsn(0), 0), 0, writing.troubles());
        let mut state = writing.shared.state.lock();
        loop {
            if let Some(ended) = &state.ended {
                return ended.clone().map_err(Error::from).and(synced.map(drop).map_err(Error::from));
            }
            let far = (writing.calls.archived(), state.generation);
            let answered = self.connection.client.traffic().answers;
            if far != last {
                (last, answers, troubles, since) = (far, answered, writing.troubles(), now());
            } else if answered != answers && writing.troubles() < troubles + CLOSE_TROUBLES {
                // A large pack takes many answers. A request that is under way is nothing yet.
                (answers, since) = (answered, now());
            }
            if now().saturating_sub(since) >= CLOSE_PATIENCE {
                let missing = engine.log.durable().0.saturating_sub(far.0.0);
                tracing::warn!(missing, "closed although the store lacks the newest commits");
                let trouble = writing.trouble().unwrap_or(ArchiveError::Closed);
                drop(state);
                self.abort();
                return Err(trouble.into());
            }
            self.rest(writing, &mut state);
        }
    }
}

/// Tells everybody how the service ended when it is dropped, so that a panic tells it as well.
struct End {
    shared: Arc<Shared>,
    engine: Weak<EngineInner>,
    ended: std::result::Result<(), ArchiveError>,
}

impl Drop for End {
    fn drop(&mut self) {
        let ended = std::mem::replace(&mut self.ended, Ok(()));
        if let Err(error) = &ended {
            if !matches!(error, ArchiveError::Closed) {
                tracing::error!(%error, "nothing is archived any more");
            }
            fail(&self.engine, error);
        }
        self.shared.state.lock().ended = Some(ended);
        self.shared.changed.notify_all();
    }
}

/// Whether an engine whose archive ended like this must not write: somebody else may.
fn ends_writing(error: &ArchiveError) -> bool {
    matches!(error.kind(), ArchiveErrorKind::Fenced | ArchiveErrorKind::Diverged)
}

/// Tells everybody who waits for the archive that it ended.
fn fail(engine: &Weak<EngineInner>, error: &ArchiveError) {
    if let Some(engine) = engine.upgrade() {
        // In this order: who is told that a gate failed finds that nothing more is taken.
        if ends_writing(error) {
            engine.fence(error.clone().into());
        }
        // Who is woken may drop the last handle, which waits for whoever holds the engine.
        let gate = Arc::clone(&engine.output.archived);
        drop(engine);
        gate.fail(error.clone().into());
    }
}

impl Engine {
    fn archive(&self) -> Result<&Archive> {
        self.inner.check_open()?;
        self.inner.archive.as_ref().ok_or(Error::NoArchive)
    }

    /// Waits until the archive has everything that was committed before the call: the log, and all packs, each read back.
    ///
    /// # Errors
    /// [`Error::NoArchive`]; [`Error::Archive`] if the store does not take it at the moment: it is tried again by itself;
    /// [`Error::Fenced`]; [`Error::Poisoned`], [`Error::ReadOnly`], [`Error::InsideTurn`].
    pub fn archive_now(&self) -> Result<()> {
        crate::gate::inside::Inside::refuse(self.inner.output.tag)?;
        self.archive()?.bring(&self.inner)
    }

    /// How the archive stands, `None` if the engine has none.
    pub fn archive_status(&self) -> Option<ArchiveStatus> {
        self.inner.archive.as_ref().map(|archive| archive.status(&self.inner))
    }
}

/// For fuzzers: the marker in a data directory, and the note in a manifest.
#[cfg(feature = "sim")]
pub(crate) fn hostile(bytes: &[u8]) {
    marker::hostile(bytes);
    if let Some(note) = note::Note::decode(bytes) {
        assert!(note::Note::decode(&note.encode()) == Some(note), "a note changes when it is written again");
    }
}
