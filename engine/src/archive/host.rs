//! The engine, as its archive sees it.

use std::fmt;

use lineal_snapshot::archive::{ArchiveError, Host, LiveState, LocalPack, Manifest, Tier};
use lineal_wal::Micros;

use super::{Shared, note::Note, roots};
use crate::{
    ErrorKind, Result,
    engine::{EngineInner, summary::Summary},
    options::Clock,
    proof::{Extent, Stored},
    sync::{Arc, Weak},
};

/// See [`Host`]. It does not keep the engine.
pub(super) struct EngineHost {
    pub(super) engine: Weak<EngineInner>,
    pub(super) clock: Clock,
    pub(super) tier: Arc<Tier>,
    pub(super) shared: Arc<Shared>,
}

impl fmt::Debug for EngineHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EngineHost").finish_non_exhaustive()
    }
}

impl Host for EngineHost {
    fn now(&self) -> Micros {
        (self.clock)()
    }

    fn live(&self) -> std::result::Result<Option<LiveState>, ArchiveError> {
        let engine = self.engine.upgrade().ok_or(ArchiveError::Closed)?;
        let (here, lost) = engine
            .archive
            .as_ref()
            .map_or((true, false), |archive| (archive.has_roots(), archive.has_lost_roots()));
        if !here && !lost {
            return Ok(None);
        }
        let note = self.shared.state.lock().note.clone();
        live(&engine, note, here).map(Some).map_err(|error| ArchiveError::Local { source: Arc::new(error) })
    }

    fn listed(&self, manifest: &Manifest) {
        self.tier.set_archived(&manifest.packs);
        {
            let mut state = self.shared.state.lock();
            state.list(manifest);
        }
        self.shared.changed.notify_all();
        if let Some(engine) = self.engine.upgrade() {
            engine.archive_moved();
        }
    }
}

/// The packs that are live, the line that they cover, and the tree of roots of that moment, of which the store has what
/// `known` says. It stays at that where the tree does not grow.
fn live(engine: &Arc<EngineInner>, known: Note, grows: bool) -> Result<LiveState> {
    // Nothing is published while this is held, so that packs, line and root are of one moment.
    let state = engine.checkpointing.lock();
    let line = engine.line();
    let summary = state.summary.clone();
    let to = Extent { published: summary.published, size: summary.tree.size() };
    let packs: Result<Vec<LocalPack>> =
        engine.catalog.live().iter().map(|pack| Ok(LocalPack::open(&*engine.disk, pack.number())?)).collect();
    drop(state);
    let mut beside = Vec::new();
    let note = if !grows || to.published == known.root.map_or(0, |(published, _)| published) {
        known
    } else {
        match grown(engine, &known, &summary) {
            Ok((note, more)) => {
                beside.extend(more.into_iter().map(|(key, bytes)| (key, bytes.into())));
                note
            }
            // Damage there hurts proofs alone.
            Err(error) if error.kind() == ErrorKind::Corrupt => {
                tracing::warn!(%error, "the tree of roots is not archived any further");
                known
            }
            Err(error) => return Err(error),
        }
    };
    Ok(LiveState { packs: packs?, line, horizon: Micros(0), note: note.encode(), beside })
}

/// A key that says its content, and that.
type Beside = (String, Vec<u8>);

/// The note for a tree that has grown to what `summary` counts, and the parts to store for it.
fn grown(engine: &Arc<EngineInner>, known: &Note, summary: &Summary) -> Result<(Note, Vec<Beside>)> {
    let to = Extent { published: summary.published, size: summary.tree.size() };
    let stored = Stored::new(Arc::clone(&engine.disk), engine.identity, to.size, to.published);
    if known.parts.is_empty() && to.published > 1 {
        // All of it goes up at once, where the archive has none of an older tree. A directory that was attached to an
        // archive whose tree is lost has only what it added itself, behind zeros.
        stored.verify(&summary.tree)?;
    }
    let root = Some((to.published, stored.published(to.published - 1)?));
    let (parts, new) = roots::next(known.parts.clone(), to, &stored)?;
    let keys = parts.iter().skip(parts.len() - new.len()).map(|part| part.key(engine.identity));
    let beside = keys.zip(new).collect();
    Ok((Note { root, parts }, beside))
}
