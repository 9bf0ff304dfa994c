//! An archive that is read and not taken over: its manifest, and a data directory made from it.

use lineal_snapshot::{
    PackNumber,
    archive::{ArchiveError, Chunk, Keys, LogEnd, Manifest, ManifestWriter, Stands},
};
use lineal_wal::{Disk, EngineId, Log, LogError, LogOptions, Lsn, Micros, records};

use super::{ArchiveOptions, marker::Marker, note::Note, options::Connection, roots};
use crate::{
    Error, Options, Result,
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
        let manifest = connection.runtime.run(async move {
            let found = ManifestWriter::load(&client, engine).await?;
            let missing =
                || ArchiveError::Missing { store: client.name().to_owned(), key: Keys(engine).manifest() };
            found.map(|found| found.manifest().clone()).ok_or_else(missing)
        })?;
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
    pub(super) fn tail(&self) -> Tail<'_> {
        Tail { reading: self, next_log: 0, end: None, passed: self.manifest.line }
    }

    /// Makes the log of a new directory out of the tail. Durable when it returns; says its last position.
    pub(super) fn seed_log(&self, disk: &Arc<dyn Disk>, options: &Options) -> Result<Lsn> {
        let epoch_min = self.manifest.logs.last().map_or(self.manifest.epoch, |log| log.epoch);
        let log_options = LogOptions {
            epoch_min,
            threads: false,
            segment_bytes_min: options.segment_bytes_min,
            segment_bytes_max: options.segment_bytes_max,
            ..LogOptions::new(self.engine, Arc::clone(&options.random))
        };
        let before = self.note()?.root.map_or(Micros(0), |(_, root)| root.time);
        let mut tail = self.tail();
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

    /// Gives a directory whose log stands the archive's identity: from here on it opens. `lacks` is set if its packs are in
    /// the archive only: the newest of them, and whether the tree of roots is, too.
    pub(super) fn seal_directory(&self, disk: &dyn Disk, lacks: Option<(PackNumber, bool)>) -> Result<()> {
        if let Some((base, owes_roots)) = lacks {
            let store = self.connection.client.name().to_owned();
            Marker { base, owes_roots, store }.write(disk)?;
        }
        identity::write(disk, self.engine)
    }
}

/// Makes the file that is locked while a directory is open, which who opens it for reading only does not make.
pub(super) fn make_lock(disk: &dyn Disk) -> Result<()> {
    disk.lock(LOCK_FILE, true).map(drop).map_err(|error| Error::io("creating", LOCK_FILE, error))
}

/// The engine whose archive it is, where there is one only.
fn only_engine(connection: &Connection) -> Result<EngineId> {
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

/// See [`Reading::tail`].
pub(super) struct Tail<'a> {
    reading: &'a Reading,
    next_log: usize,
    end: Option<LogEnd>,
    /// Everything up to here was given out, or is in packs.
    passed: Lsn,
}

impl Tail<'_> {
    /// The next chunk, of any epoch; `None` where the archive ends.
    pub(super) fn next_chunk(&mut self) -> Result<Option<Chunk>> {
        let Reading { connection, engine, manifest, .. } = self.reading;
        loop {
            let Some(mut end) = self.end.take() else {
                let Some(log) = manifest.logs.get(self.next_log) else { return Ok(None) };
                self.next_log += 1;
                self.end = Some(LogEnd::at(*engine, log.epoch, log.first_chunk, log.before));
                continue;
            };
            let client = connection.client.clone();
            let (stands, end) = connection.runtime.run(async move {
                let stands = end.read(&client).await?;
                Ok((stands, end))
            })?;
            if let Stands::Chunk(chunk) = stands {
                self.end = Some(end);
                return Ok(Some(chunk));
            }
        }
    }

    /// The records of the next chunk that holds any above what was passed, without those that were.
    fn next_piece(&mut self) -> Result<Option<Vec<u8>>> {
        while let Some(chunk) = self.next_chunk()? {
            if chunk.last <= self.passed {
                continue;
            }
            let due = self.passed.next();
            let key = || self.reading.keys().manifest();
            if chunk.first > due {
                let reason = "a part of the log is missing between its packs and its chunks";
                return Err(ArchiveError::Damaged { key: key(), reason }.into());
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
