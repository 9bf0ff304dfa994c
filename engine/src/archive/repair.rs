//! An archive whose manifest is lost gets another one, made from what the store holds.

use std::path::Path;

use lineal_snapshot::archive::{
    ArchiveError, Claim, Keys, LeftOut, Loss, Manifest, Remains, Repair, find_loss,
};
use lineal_wal::{EngineId, Epoch, Lsn};

use super::{
    ArchiveOptions,
    note::Note,
    options::Connection,
    reading::only_engine,
    roots::{self, Recovered},
};
use crate::{Options, Result, engine::summary::Summary};

/// What became of an archive's manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Repaired {
    /// Whose archive it is.
    pub engine: EngineId,
    /// What was wrong with the manifest; `None` if it was whole, and nothing was done.
    pub was: Option<String>,
    /// Packs that the manifest lists now.
    pub packs: u64,
    /// Their bytes.
    pub pack_bytes: u64,
    /// Pieces of the log behind the packs; 0 if nothing was done.
    pub chunks: u64,
    /// The last position of the log that the archive holds now; of a whole one, that its packs hold.
    pub newest: Lsn,
    /// What is missing or damaged, or does not go with the rest: keys, each with the reason. If there is any, the archive
    /// may hold less than it did.
    pub left_out: Vec<(String, String)>,
}

impl Repaired {
    fn nothing(manifest: &Manifest) -> Repaired {
        Repaired::of(manifest, None, 0, manifest.line)
    }

    fn of(manifest: &Manifest, was: Option<String>, chunks: u64, newest: Lsn) -> Repaired {
        Repaired {
            engine: manifest.engine,
            was,
            packs: manifest.packs.len() as u64,
            pack_bytes: manifest.packs.iter().map(|pack| pack.bytes).sum(),
            chunks,
            newest,
            left_out: Vec::new(),
        }
    }
}

/// Makes the manifest of an archive anew where it is missing or damaged: lists what the store has, reads every pack and
/// every piece of the log in full, and names what it has to do without. A manifest that is whole is left alone. It takes the
/// archive over for that, unless it is a dry run, which changes nothing.
///
/// An engine whose directory is still there needs none of that: it has everything that its archive has. It opens again
/// once the manifest is there, and brings what the archive lacks.
///
/// # Errors
/// [`ArchiveError::Held`] while an engine has it; [`ArchiveError::Missing`] if nothing is there to make it of, and
/// [`ArchiveError::Damaged`] if that leads to nothing; [`ArchiveError::NewerVersion`] for a manifest of a later
/// release, which is never replaced; [`Error::Archive`](crate::Error::Archive). Then the manifest is as it was, and
/// another attempt begins from the front.
pub fn repair(from: &ArchiveOptions, engine: Option<EngineId>, dry_run: bool) -> Result<Repaired> {
    let settings = Options::new();
    let connection = from.connect(&settings.random)?;
    let engine = match engine {
        Some(engine) => engine,
        None => only_engine(&connection)?,
    };
    let client = connection.client.clone();
    let loss = match connection.runtime.run(async move { find_loss(&client, engine).await })? {
        Ok(manifest) => return Ok(Repaired::nothing(&manifest)),
        Err(loss) => loss,
    };
    let claim = from.claim(engine, Epoch(0), from.holder_in(Path::new("repair")), (settings.clock)());
    make_anew(&connection, claim, loss, dry_run)
}

fn make_anew(connection: &Connection, claim: Claim, loss: Loss, dry_run: bool) -> Result<Repaired> {
    let (client, was) = (connection.client.clone(), loss.reason.clone());
    let (mut repair, gathered) = connection.runtime.run(async move {
        let mut repair = Repair::begin(client, &claim, loss, dry_run).await?;
        let gathered = repair.gather().await;
        Ok((repair, gathered))
    })?;
    let said = gathered.map_err(crate::Error::from).and_then(|mut remains| {
        add_note(connection, &mut remains)?;
        let mut said = Repaired::of(&remains.manifest, Some(was), remains.chunks, remains.last);
        said.left_out = remains.left_out.into_iter().map(|LeftOut { key, reason }| (key, reason)).collect();
        Ok((remains.manifest, said))
    });
    let (manifest, said) = match said {
        Ok((manifest, said)) => (Some(manifest), Ok(said)),
        Err(error) => (None, Err(error)),
    };
    connection.runtime.run(async move {
        let ended = match manifest {
            Some(manifest) => repair.end(manifest).await,
            None => Ok(()),
        };
        // What the work came to counts. A lease that cannot be given back ends by itself.
        if let Err(error) = repair.give_back().await {
            tracing::warn!(%error, "the lease was not given back");
        }
        ended
    })?;
    said
}

/// Says in the manifest how far the tree of roots is, and of what parts. Where it is not whole there are no proofs until an
/// engine that has it stores it again.
fn add_note(connection: &Connection, remains: &mut Remains) -> Result<()> {
    let engine = remains.manifest.engine;
    let summary = match &remains.meta {
        None => return Ok(()),
        Some(meta) => Summary::decode(meta).ok_or_else(|| {
            let key = remains.manifest.packs.last().map_or_else(String::new, |pack| pack.key(&Keys(engine)));
            ArchiveError::Damaged { key, reason: "its footer says nothing of the engine" }
        })?,
    };
    let note = match roots::recover(connection, engine, &summary)? {
        Recovered::Nothing => Note::default(),
        Recovered::Whole { root, parts } => Note { root: Some((summary.published, root)), parts },
        Recovered::Lost => {
            let reason = "the tree of roots is not whole: there are no proofs, and a restore does not verify, until the \
                          engine's own directory is opened with the archive"
                .to_owned();
            remains.left_out.push(LeftOut { key: roots::folder(engine), reason });
            Note::default()
        }
    };
    remains.manifest.note = note.encode();
    Ok(())
}
