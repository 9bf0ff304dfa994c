//! From a data directory and a store to an archive that this engine writes.
//!
//! ```text
//!   probe ─▶ manifest ─▶ packs and log open ─▶ compare ─▶ take over ─▶ log in the lease's epoch ─▶ service
//! ```
//! Everything before the takeover only reads. So a directory that is not what the archive knows, such as an old copy of
//! it, is refused before anybody is fenced off and before a byte is uploaded.

use std::{collections::BTreeSet, path::Path};

use lineal_snapshot::{
    PackNumber,
    archive::{
        ArchiveError, Calls, ChunkBook, ChunkHash, Keys, Manifest, ManifestWriter, Tier, TierOptions, Writer,
        probe, take_over,
    },
};
use lineal_wal::{Comparison, Disk, EngineId, Epoch, Log, LogOptions, Lsn};

use super::{
    Archive, ArchiveOptions, Writing, marker::Marker, note::Note, options::Connection, reading::Chunks,
    roots::Presence,
};
use crate::{
    Error, Result,
    catalog::pack_files,
    engine::summary::Summary,
    gate::archived::{ArchivedGate, Asked},
    options::{Clock, Random},
    proof::Stored,
    sync::Arc,
};

/// An archive, while its engine opens.
pub(crate) struct Opening {
    options: ArchiveOptions,
    connection: Connection,
    engine: EngineId,
    tier: Arc<Tier>,
    local: Arc<dyn Disk>,
    manifest: Option<Manifest>,
    holder: String,
    clock: Clock,
    gate: Arc<ArchivedGate>,
    taken: Option<Taken>,
    marker: Option<Marker>,
}

/// An archive that nobody else writes any more.
pub(super) struct Taken {
    pub(super) writer: Writer,
    pub(super) book: ChunkBook,
    pub(super) calls: Arc<Calls>,
}

impl Opening {
    /// Looks at the store and its manifest, unless it is known. `read_only` asks for nothing but that.
    pub(crate) fn begin(
        options: &ArchiveOptions,
        (clock, random): (&Clock, &Random),
        local: &Arc<dyn Disk>,
        dir: &Path,
        engine: EngineId,
        read_only: bool,
        known: Option<&Manifest>,
    ) -> Result<Opening> {
        let connection = options.connect(random)?;
        let client = connection.client.clone();
        let manifest = known.cloned().map(Some).map_or_else(
            || {
                connection.runtime.run(async move {
                    if !read_only {
                        probe(&client, engine).await?;
                    }
                    let found = ManifestWriter::load(&client, engine).await?;
                    Ok(found.map(|found| found.manifest().clone()))
                })
            },
            Ok,
        )?;
        let marker = Marker::read(&**local)?;
        if manifest.is_none() && marker.is_some() {
            // Where there was one and is none, somebody looks in the wrong place.
            let (store, key) = (connection.client.name().to_owned(), Keys(engine).manifest());
            return Err(ArchiveError::Missing { store, key }.into());
        }
        let known = known_packs(&**local, marker.as_ref())?;
        let visible: Vec<_> = manifest
            .iter()
            .flat_map(|found| &found.packs)
            .filter(|pack| pack.number <= known)
            .cloned()
            .collect();
        if let Some(found) = manifest.as_ref().filter(|found| !read_only && found.packs.len() > visible.len())
        {
            return Err(diverged(found.engine, "it has packs that this directory never made or read"));
        }
        let tier = Tier::new(
            Arc::clone(local),
            connection.client.clone(),
            Arc::clone(&connection.runtime),
            Keys(engine),
            TierOptions { cache_bytes: if read_only { 0 } else { options.cache_bytes } },
        );
        tier.set_archived(&visible);
        let holder = options.holder_in(dir);
        Ok(Opening {
            options: options.clone(),
            connection,
            engine,
            tier,
            local: Arc::clone(local),
            manifest,
            holder,
            clock: Arc::clone(clock),
            gate: Arc::default(),
            taken: None,
            marker,
        })
    }

    /// The data directory with what the archive has of its packs.
    pub(crate) fn disk(&self) -> Arc<dyn Disk> {
        Arc::<Tier>::clone(&self.tier)
    }

    pub(crate) fn gate(&self) -> Arc<ArchivedGate> {
        Arc::clone(&self.gate)
    }

    /// Takes the archive over, once packs and log of this directory are known to go on from what it holds. `log` is open
    /// for reading.
    ///
    /// The chunks that a directory was just made of are compared when they are taken over, and not before, too.
    pub(crate) fn take_over(
        &mut self,
        line: Lsn,
        summary: &Summary,
        log: &Log,
        just_made: bool,
    ) -> Result<()> {
        if self.taken.is_some() {
            return Ok(());
        }
        let compared = match &self.manifest {
            Some(manifest) => self.compare(manifest, line, summary, log, just_made)?,
            None => BTreeSet::new(),
        };
        let (client, durable) = (self.connection.client.clone(), log.durable());
        let claim = self.options.claim(self.engine, log.epoch(), self.holder.clone(), (self.clock)());
        let engine = self.engine;
        let (writer, chunks, late) = self.connection.runtime.run(async move {
            let (mut chunks, mut late) = (Vec::new(), Vec::new());
            let writer = take_over(&client, &claim, |epoch, chunk| {
                if chunk.last > durable {
                    return Err(ahead(engine));
                }
                chunks.push((epoch, chunk.n, chunk.last, chunk.hash));
                if !compared.contains(&chunk.hash) {
                    late.push((epoch, chunk));
                }
                Ok(())
            })
            .await?;
            Ok((writer, chunks, late))
        })?;
        // Somebody may have written between the look and the takeover.
        for (epoch, chunk) in late {
            self.compare_chunk(epoch, chunk.first, &chunk.bytes, log)?;
        }
        let manifest = writer.manifest.manifest();
        let is_as_seen = match &self.manifest {
            Some(seen) => {
                (&seen.packs, seen.line, &seen.note) == (&manifest.packs, manifest.line, &manifest.note)
            }
            None => manifest.packs.is_empty() && manifest.line == Lsn::NONE && manifest.note.is_empty(),
        };
        if !is_as_seen {
            return Err(diverged(self.engine, "it was changed while it was taken over; try again"));
        }
        let mut book = ChunkBook::new(&manifest.logs);
        let mut archived = manifest.line;
        for (epoch, n, last, hash) in chunks {
            book.archived(epoch, n, last, hash);
            archived = archived.max(last);
        }
        let marker = Marker {
            base: self.marker.as_ref().map_or(PackNumber(0), |marker| marker.base),
            owes_roots: self.marker.as_ref().is_some_and(|marker| marker.owes_roots),
            epoch: writer.lease.epoch(),
            store: self.connection.client.name().to_owned(),
        };
        // Before anything is uploaded in this epoch, so that it is known whose its chunks are.
        marker.write(&*self.local)?;
        self.marker = Some(marker);
        let gate = Arc::clone(&self.gate);
        let calls = Calls::new(archived, Box::new(move |lsn| gate.advance(lsn)));
        let want = Arc::clone(&calls);
        self.gate.attach(
            archived,
            Box::new(move |lsn, asked| match asked {
                Asked::Expected => want.expect(lsn),
                Asked::Waited => want.want(lsn),
            }),
        );
        self.taken = Some(Taken { writer, book, calls });
        Ok(())
    }

    /// How the log is to be started, after the takeover.
    pub(crate) fn log_options(&self, options: LogOptions) -> LogOptions {
        let Some(taken) = &self.taken else { return options };
        let calls = Arc::clone(&taken.calls);
        LogOptions {
            epoch_min: taken.writer.lease.epoch(),
            on_durable: Some(Arc::new(move |_| calls.more())),
            ..options
        }
    }

    /// What the open engine keeps of it.
    pub(crate) fn into_archive(self) -> Archive {
        let note =
            self.manifest.as_ref().and_then(|manifest| Note::decode(&manifest.note)).unwrap_or_default();
        let writing = self.taken.map(|taken| Writing::new(taken, self.manifest.as_ref()));
        Archive {
            roots: Presence::new(!self.marker.is_some_and(|marker| marker.owes_roots)),
            parts: note.parts,
            local: self.local,
            options: self.options,
            connection: self.connection,
            tier: self.tier,
            writing,
            engine: self.engine,
        }
    }

    /// Refuses an archive that holds what this directory does not. Reads only. Returns the chunks that were compared.
    fn compare(
        &self,
        manifest: &Manifest,
        line: Lsn,
        summary: &Summary,
        log: &Log,
        just_made: bool,
    ) -> Result<BTreeSet<ChunkHash>> {
        let mut compared = BTreeSet::new();
        if manifest.line > log.durable().max(line) {
            return Err(ahead(self.engine).into());
        }
        self.compare_roots(manifest, summary)?;
        if just_made {
            return Ok(compared);
        }
        let mut chunks = Chunks::of(&self.connection, manifest);
        while let Some((epoch, chunk)) = chunks.next()? {
            self.compare_chunk(epoch, chunk.first, &chunk.bytes, log)?;
            compared.insert(chunk.hash);
        }
        Ok(compared)
    }

    fn compare_chunk(&self, epoch: Epoch, first: Lsn, bytes: &[u8], log: &Log) -> Result<()> {
        let own = self.marker.as_ref().map_or(log.epoch(), |marker| marker.epoch);
        if epoch > own {
            return Err(diverged(self.engine, "it has commits of an epoch that this directory never wrote"));
        }
        match log.compare(first, bytes)? {
            Comparison::Same | Comparison::Released => Ok(()),
            Comparison::Beyond { .. } => Err(ahead(self.engine).into()),
            Comparison::Differs { .. } => {
                Err(diverged(self.engine, "it has other commits at the same positions of the log"))
            }
        }
    }

    /// The newest root that the archive knows must be one of this directory's.
    fn compare_roots(&self, manifest: &Manifest, summary: &Summary) -> Result<()> {
        // A directory that was attached gets its list while it serves.
        let has_list = self.marker.as_ref().is_none_or(|marker| !marker.owes_roots);
        if manifest.note.is_empty() || !has_list {
            return Ok(());
        }
        let Some(note) = Note::decode(&manifest.note) else {
            let key = Keys(self.engine).manifest();
            return Err(ArchiveError::Damaged { key, reason: "its note is not readable" }.into());
        };
        let Some((published, root)) = note.root else { return Ok(()) };
        let other = || diverged(self.engine, "its packs are not of this directory's past");
        if published > summary.published {
            return Err(other());
        }
        let stored =
            Stored::new(Arc::clone(&self.local), self.engine, summary.tree.size(), summary.published);
        match stored.published(published - 1) {
            Ok(ours) if ours == root => Ok(()),
            Ok(_) => Err(other()),
            // Damage there hurts proofs alone; what is compared beside it has to do.
            Err(error) => {
                tracing::warn!(%error, "the list of roots is not readable, so the archive is not compared with it");
                Ok(())
            }
        }
    }
}

/// The highest pack that this directory has or was made with. The newest pack always has a local copy, but in a directory
/// that was attached and has made none yet.
fn known_packs(local: &dyn Disk, marker: Option<&Marker>) -> Result<PackNumber> {
    let newest = pack_files(local)?.last().copied().unwrap_or_default();
    Ok(marker.map_or(newest, |marker| newest.max(marker.base)))
}

fn diverged(engine: EngineId, reason: &'static str) -> Error {
    ArchiveError::Diverged { key: Keys(engine).manifest(), reason }.into()
}

fn ahead(engine: EngineId) -> ArchiveError {
    ArchiveError::Diverged {
        key: Keys(engine).manifest(),
        reason: "it holds commits that this directory lacks, which is an older copy or lost its end; restore from the archive",
    }
}
