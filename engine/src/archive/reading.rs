//! An archive that is read and not taken over: its manifest, and a data directory made from it.

use std::path::Path;

use lineal_snapshot::{
    PackNumber,
    archive::{ArchiveError, Chunk, Client, Keys, LogEnd, Manifest, ManifestWriter, Stands},
};
use lineal_wal::{Disk, EngineId, Epoch, Log, LogError, LogOptions, Lsn, Micros, RealDisk, records};

use super::{
    ArchiveOptions,
    marker::Marker,
    note::Note,
    options::{Connection, modest},
    roots,
};
use crate::{
    Engine, Error, Options, Result,
    engine::{identity, open::LOCK_FILE},
    options::Random,
    sync::Arc,
};

/// See the head of this file.
pub(super) struct Reading {
    pub(super) connection: Connection,
    pub(super) engine: EngineId,
    pub(super) manifest: Manifest,
}

impl Reading {
    /// Reads the manifest of `engine`, or of the only engine there is.
    pub(super) fn open(
        options: &ArchiveOptions,
        random: &Random,
        engine: Option<EngineId>,
    ) -> Result<Reading> {
        let connection = options.connect(random)?;
        let engine = match engine {
            Some(engine) => engine,
            None => only_engine(&connection)?,
        };
        let client = connection.client.clone();
        let manifest =
            connection.runtime.run(async move { Ok(load(&client, engine).await?.manifest().clone()) })?;
        Ok(Reading { connection, engine, manifest })
    }

    pub(super) fn keys(&self) -> Keys {
        Keys(self.engine)
    }

    pub(super) fn note(&self) -> Result<Note> {
        if self.manifest.note.is_empty() {
            return Ok(Note::default());
        }
        Note::decode(&self.manifest.note).ok_or_else(|| {
            let key = self.keys().manifest();
            ArchiveError::Damaged { key, reason: "its note is not readable" }.into()
        })
    }

    /// The newest pack.
    pub(super) fn newest_pack(&self) -> PackNumber {
        self.manifest.packs.last().map_or(PackNumber(0), |pack| pack.number)
    }

    /// What the logs hold above the packs' line, chunk after chunk.
    pub(super) fn chunks(&self) -> Chunks<'_> {
        Chunks::of(&self.connection, &self.manifest)
    }

    /// Makes the log of a new directory out of the tail. Durable when it returns; says its last position.
    pub(super) fn seed_log(&self, disk: &Arc<dyn Disk>, options: &Options) -> Result<Lsn> {
        let epoch_min = self.newest_epoch();
        let log_options = LogOptions {
            epoch_min,
            threads: false,
            segment_bytes_min: options.segment_bytes_min,
            segment_bytes_max: options.segment_bytes_max,
            ..LogOptions::new(self.engine, Arc::clone(&options.random))
        };
        let before = self.note()?.root.map_or(Micros(0), |(_, root)| root.time);
        let mut tail = Tail { chunks: self.chunks(), passed: self.manifest.line };
        let mut failed = None;
        let mut next_piece = || match tail.next_piece() {
            Ok(piece) => Ok(piece),
            Err(error) => {
                let said = error.to_string();
                failed = Some(error);
                Err(LogError::stopped(said))
            }
        };
        let seeded = Log::seed(disk, &log_options, self.manifest.line, before, &mut next_piece);
        match (seeded, failed) {
            (_, Some(error)) => Err(error),
            (seeded, None) => Ok(seeded?),
        }
    }

    /// Makes the files of the tree of roots. Durable when it returns.
    pub(super) fn fetch_roots(&self, disk: &Arc<dyn Disk>) -> Result<()> {
        roots::fetch(&self.connection, self.engine, &self.note()?.parts, disk)
    }

    /// Gives a directory whose log stands the archive's identity: from here on it opens. `base` is the newest pack that is
    /// in the archive only, if any is; `owes_roots` says that the tree of roots is, too.
    pub(super) fn seal_directory(&self, disk: &dyn Disk, base: PackNumber, owes_roots: bool) -> Result<()> {
        let store = self.connection.client.name().to_owned();
        Marker { base, owes_roots, epoch: self.newest_epoch(), store }.write(disk)?;
        identity::write(disk, self.engine)
    }

    /// Opens what was read for reading, in a new folder that gets the log's tail only: packs stay in the store, whatever it
    /// holds by then. Proofs are there `with_roots`.
    pub(super) fn open_beside(
        &self,
        folder: &Path,
        from: &ArchiveOptions,
        with_roots: bool,
    ) -> Result<Engine> {
        let settings = modest();
        let disk: Arc<dyn Disk> = Arc::new(RealDisk::new(folder.to_path_buf()));
        disk.create_dir("").map_err(|error| Error::io("creating", folder.display().to_string(), error))?;
        if with_roots {
            self.fetch_roots(&disk)?;
        }
        self.seed_log(&disk, &settings)?;
        make_lock(&*disk)?;
        self.seal_directory(&*disk, self.newest_pack(), !with_roots)?;
        let manifest = Some(Arc::new(self.manifest.clone()));
        Options { manifest, ..settings }.archive(from.clone()).open_read_only(folder)
    }

    /// The newest epoch that what is read here can be of.
    fn newest_epoch(&self) -> Epoch {
        self.manifest.logs.last().map_or(self.manifest.epoch, |log| log.epoch).max(self.manifest.epoch)
    }
}

/// The manifest of an engine, which must be there.
pub(super) async fn load(
    client: &Client,
    engine: EngineId,
) -> std::result::Result<ManifestWriter, ArchiveError> {
    let missing = || ArchiveError::Missing { store: client.name().to_owned(), key: Keys(engine).manifest() };
    ManifestWriter::load(client, engine).await?.ok_or_else(missing)
}

/// Makes the file that is locked while a directory is open, which who opens it for reading only does not make.
pub(super) fn make_lock(disk: &dyn Disk) -> Result<()> {
    disk.lock(LOCK_FILE, true).map(drop).map_err(|error| Error::io("creating", LOCK_FILE, error))
}

/// The engine whose archive it is, where there is one only.
pub(super) fn only_engine(connection: &Connection) -> Result<EngineId> {
    let (found, name) = (connection.engines()?, connection.client.name());
    match found[..] {
        [engine] => Ok(engine),
        [] => Err(Error::NotFound { what: format!("an archive in {name}") }),
        _ => {
            let ids: Vec<String> = found.iter().map(ToString::to_string).collect();
            Err(Error::Invalid {
                reason: format!(
                    "{name} holds the archives of several engines ({}): name one",
                    ids.join(", ")
                ),
            })
        }
    }
}

/// The chunks of the log that a manifest needs, in their order.
pub(super) struct Chunks<'a> {
    connection: &'a Connection,
    manifest: &'a Manifest,
    next_log: usize,
    end: Option<LogEnd>,
}

impl<'a> Chunks<'a> {
    pub(super) fn of(connection: &'a Connection, manifest: &'a Manifest) -> Chunks<'a> {
        Chunks { connection, manifest, next_log: 0, end: None }
    }

    /// The next one, of any epoch; `None` where the archive ends. Blocks for a request.
    pub(super) fn next(&mut self) -> Result<Option<(Epoch, Chunk)>> {
        loop {
            let Some(mut end) = self.end.take() else {
                let Some(log) = self.manifest.logs.get(self.next_log) else { return Ok(None) };
                self.next_log += 1;
                self.end = Some(LogEnd::at(self.manifest.engine, log.epoch, log.first_chunk, log.before));
                continue;
            };
            let client = self.connection.client.clone();
            let (stands, end) = self.connection.runtime.run(async move {
                let stands = end.read(&client).await?;
                Ok((stands, end))
            })?;
            if let Stands::Chunk(chunk) = stands {
                let epoch = end.epoch();
                self.end = Some(end);
                return Ok(Some((epoch, chunk)));
            }
        }
    }
}

/// The records of the chunks that packs do not hold.
struct Tail<'a> {
    chunks: Chunks<'a>,
    /// Everything up to here was given out, or is in packs.
    passed: Lsn,
}

impl Tail<'_> {
    /// The records of the next chunk that holds any above what was passed, without those that were.
    fn next_piece(&mut self) -> Result<Option<Vec<u8>>> {
        while let Some((_, chunk)) = self.chunks.next()? {
            if chunk.last <= self.passed {
                continue;
            }
            let due = self.passed.next();
            if chunk.first > due {
                let key = Keys(self.chunks.manifest.engine).manifest();
                let reason = "a part of the log is missing between its packs and its chunks";
                return Err(ArchiveError::Damaged { key, reason }.into());
            }
            let mut skipped = 0;
            for record in records(&chunk.bytes) {
                let record = record.map_err(LogError::from)?;
                if record.lsn >= due {
                    break;
                }
                skipped += record.bytes();
            }
            self.passed = chunk.last;
            return Ok(Some(chunk.bytes[skipped..].to_vec()));
        }
        Ok(None)
    }
}
