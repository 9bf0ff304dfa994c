//! Makes the manifest of an archive anew where it is lost, out of what the store holds.
//!
//! ```text
//!   is it lost? ─▶ lease ─▶ list ─▶ logs read ─▶ packs chosen, read ─▶ logs closed ─▶ manifest ─▶ lease given back
//! ```
//! This is the only place that lists what is in an archive. Nothing is taken that was not read in full and compared with its
//! hash; what cannot be taken is named. Everything before the manifest may be done again: a crash leaves barriers, where the
//! next takeover would have put them. With a dry run nothing is written, the lease included.

mod logs;
mod packs;
mod survey;

use super::client::Client;
use super::error::ArchiveError;
use super::key::Keys;
use super::lease::{Claim, Lease};
use super::manifest::{ArchivedLog, GarbagePack, Manifest, ManifestWriter, NUMBER_MAX};
use super::store::Tag;
use lineal_wal::{EngineId, Epoch, Lsn, Micros};
use packs::Read;
use survey::Survey;

/// That an archive has no manifest that can be read.
#[derive(Debug, Clone)]
pub struct Loss {
    /// What is wrong with it.
    pub reason: String,
    /// The state of what stands there instead.
    tag: Option<Tag>,
}

/// The manifest of an engine, or how it is lost.
///
/// # Errors
/// [`ArchiveError::NewerVersion`] and [`ArchiveError::WrongEngine`] for one that somebody else can read;
/// [`ArchiveError::Unsuitable`]; as [`Client::get`].
pub async fn find_loss(client: &Client, engine: EngineId) -> Result<Result<Manifest, Loss>, ArchiveError> {
    match ManifestWriter::load(client, engine).await {
        Ok(Some(found)) => return Ok(Ok(found.manifest().clone())),
        Ok(None) => {
            let reason = format!("{} is missing", Keys(engine).manifest());
            return Ok(Err(Loss { reason, tag: None }));
        }
        Err(ArchiveError::Damaged { .. }) => {}
        Err(error) => return Err(error),
    }
    let key = Keys(engine).manifest();
    let Some(found) = client.get(&key).await? else {
        return Err(ArchiveError::Diverged { key, reason: "it changes while it is looked at" });
    };
    let tag = found.tag.ok_or_else(|| client.tells_no_tags())?;
    match Manifest::decode(engine, &found.bytes) {
        // It was spoilt on the way.
        Ok(manifest) => Ok(Ok(manifest)),
        Err(error @ ArchiveError::Damaged { .. }) => {
            Ok(Err(Loss { reason: error.to_string(), tag: Some(tag) }))
        }
        Err(error) => Err(error),
    }
}

/// Something that is there, or is missing, and that the new manifest does without.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftOut {
    /// Its key.
    pub key: String,
    /// Why.
    pub reason: String,
}

/// What an archive without a manifest was found to hold.
#[derive(Debug)]
pub struct Remains {
    /// The manifest that says so. Its note is empty.
    pub manifest: Manifest,
    /// What the engine keeps in the footer of the newest pack, if there is one.
    pub meta: Option<Vec<u8>>,
    /// Chunks of the log that it needs.
    pub chunks: u64,
    /// The last position that it holds.
    pub last: Lsn,
    /// What it does without.
    pub left_out: Vec<LeftOut>,
}

/// An archive whose manifest is being made.
#[derive(Debug)]
pub struct Repair {
    client: Client,
    engine: EngineId,
    now: Micros,
    loss: Loss,
    epoch: Epoch,
    /// `None` in a dry run.
    lease: Option<Lease>,
    read: Read,
}

impl Repair {
    /// Takes the archive over, unless it is a dry run.
    ///
    /// # Errors
    /// [`ArchiveError::Missing`] if the store has nothing of this engine; [`ArchiveError::Held`]; as [`Lease::take`].
    pub async fn begin(
        client: Client,
        claim: &Claim,
        loss: Loss,
        dry_run: bool,
    ) -> Result<Self, ArchiveError> {
        let engine = claim.engine;
        let survey = Survey::take(&client, engine).await?;
        if survey.is_empty() && Lease::look(&client, engine).await?.is_none() {
            return Err(ArchiveError::Missing {
                store: client.name().to_owned(),
                key: Keys(engine).manifest(),
            });
        }
        let claim = Claim { above: claim.above.max(survey.newest_epoch()), ..claim.clone() };
        let lease = match dry_run {
            true => None,
            false => Some(Lease::take(&client, &claim).await?),
        };
        let epoch = lease.as_ref().map_or(Epoch(claim.above.0.saturating_add(1)), Lease::epoch);
        Ok(Self { client, engine, now: claim.now, loss, epoch, lease, read: Read::new() })
    }

    /// Reads everything, and closes the logs of earlier epochs unless it is a dry run.
    ///
    /// # Errors
    /// [`ArchiveError::Damaged`] if what is left leads to nothing; [`ArchiveError::NewerVersion`]; as [`Client::get`].
    pub async fn gather(&mut self) -> Result<Remains, ArchiveError> {
        loop {
            let (client, engine, mend) = (&self.client, self.engine, self.lease.is_some());
            let survey = Survey::take(client, engine).await?;
            let logs = logs::read_all(client, engine, &survey.logs).await?;
            let limit = |epoch| logs::limit(&logs, epoch);
            let chosen = packs::choose(client, engine, &survey.packs, limit, &mut self.read, mend).await?;
            let tail = logs::connect(&logs, chosen.line)?;
            let mut left_out = chosen.left_out;
            left_out.extend(chosen.overtaken.into_iter().filter(|(_, line)| *line > tail.reach).map(
                |(key, _)| {
                    let reason = "a later writer went on from before what it holds".to_owned();
                    LeftOut { key, reason }
                },
            ));
            left_out.extend(logs::left_out(&logs, &tail, chosen.line));
            if let (Lsn::NONE, Some(first)) = (tail.reach, left_out.first()) {
                let reason = "without it nothing is left of the archive";
                return Err(ArchiveError::Damaged { key: first.key.clone(), reason });
            }
            if let Some(lease) = &self.lease
                && logs::close(client, engine, self.epoch, (&logs, &tail), lease.open_epochs()).await?
            {
                // Somebody was still writing, and is not any more.
                continue;
            }
            let mut rows = tail.rows.clone();
            rows.push(ArchivedLog::all(self.epoch));
            let mut manifest = Manifest {
                // No manifest counts up to the time.
                generation: self.now.0.clamp(1, NUMBER_MAX / 2),
                line: chosen.line,
                packs: chosen.packs,
                logs: rows,
                ..Manifest::first(engine, self.epoch, self.now)
            };
            // Whoever mends an archive by hand wants all that there is.
            if left_out.is_empty() {
                manifest.garbage_chunks = logs::garbage(&logs, &tail, chosen.line, self.now);
                manifest.garbage_packs = self.garbage(&survey, &manifest);
            }
            return Ok(Remains {
                manifest,
                meta: chosen.meta,
                chunks: tail.chunks,
                last: tail.reach,
                left_out,
            });
        }
    }

    /// Packs that are not listed and never will be again: those older than the newest that is.
    fn garbage(&self, survey: &Survey, manifest: &Manifest) -> Vec<GarbagePack> {
        let newest = manifest.packs.last().map(|pack| pack.number);
        let older = survey.packs.iter().filter(|pack| Some(pack.number) < newest);
        let row = older.map(|pack| GarbagePack {
            number: pack.number,
            bytes: pack.bytes,
            hash: *pack.hash.as_bytes(),
            since: self.now,
        });
        row.filter(|garbage| !manifest.lists(garbage)).collect()
    }

    /// Stores the manifest, and gives the archive back.
    ///
    /// # Errors
    /// [`ArchiveError::Diverged`] if somebody else has made one meanwhile; as [`Client::replace`].
    pub async fn end(&mut self, manifest: Manifest) -> Result<(), ArchiveError> {
        let Some(lease) = &mut self.lease else { return Ok(()) };
        ManifestWriter::make_anew(&self.client, manifest, self.loss.tag.clone()).await?;
        lease.closed(&self.client).await
    }

    /// Gives the archive back, however far it came.
    ///
    /// # Errors
    /// As [`Lease::give_back`]; then the lease ends by itself.
    pub async fn give_back(self) -> Result<(), ArchiveError> {
        match self.lease {
            Some(lease) => lease.give_back(&self.client).await,
            None => Ok(()),
        }
    }
}
