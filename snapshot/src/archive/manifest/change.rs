//! Changes of the manifest, by its one writer.

use super::Manifest;
use crate::archive::client::{Client, Created, Replaced};
use crate::archive::error::ArchiveError;
use crate::archive::key::Keys;
use crate::archive::store::{Found, Tag};
use bytes::Bytes;
use lineal_wal::{EngineId, Epoch, Micros};

/// The newest manifest as its one writer knows it.
///
/// Invariants: (1) `manifest` is what the store held under `tag`; (2) what stands there now is that, or one whose nonce
/// is in `unsettled`, or another writer's; (3) what follows has the next generation, no older epoch, no lower line and
/// no earlier horizon.
#[derive(Debug)]
pub struct ManifestWriter {
    manifest: Manifest,
    tag: Tag,
    /// Nonces of changes that may have arrived although nobody said so. Each was put over `tag`, so one of them at most.
    unsettled: Vec<[u8; 16]>,
}

/// How often to look before what is seen counts. Source: a decision.
const LOOKS_MAX: u32 = 3;

impl ManifestWriter {
    /// The manifest of an engine, if it has one. "There is none" and "it cannot be read" are different answers.
    ///
    /// # Errors
    /// As [`Client::get`] and [`Manifest::decode`]; [`ArchiveError::Unsuitable`] for a store that tells no tags.
    pub async fn load(client: &Client, engine: EngineId) -> Result<Option<Self>, ArchiveError> {
        let key = Keys(engine).manifest();
        let found = client.get_as(&key, |bytes| Manifest::decode(engine, bytes)).await?;
        let Some((manifest, tag)) = found else {
            return Ok(None);
        };
        let tag = tag.ok_or_else(|| client.tells_no_tags())?;
        Ok(Some(Self { manifest, tag, unsettled: Vec::new() }))
    }

    /// The manifest of an engine, or else `first`, stored as its first.
    ///
    /// # Errors
    /// As [`load`](Self::load) and [`Client::create`].
    pub async fn load_or_create(client: &Client, mut first: Manifest) -> Result<Self, ArchiveError> {
        if let Some(found) = Self::load(client, first.engine).await? {
            return Ok(found);
        }
        first.nonce = client.nonce();
        let key = Keys(first.engine).manifest();
        let (manifest, tag) = match client.create(&key, first.encode()?).await? {
            Created::Won(tag) => (first, Some(tag)),
            Created::Taken(Found { bytes, tag }) => (Manifest::decode(first.engine, &bytes)?, tag),
        };
        Ok(Self { manifest, tag: tag.ok_or_else(|| client.tells_no_tags())?, unsettled: Vec::new() })
    }

    /// Stores a manifest where there is none that can be read: over what stands under `over`, or where nothing does.
    /// Stored and read back when it answers.
    ///
    /// # Errors
    /// [`ArchiveError::Diverged`] if something else stands there by now; as [`Client::replace`].
    pub(in crate::archive) async fn make_anew(
        client: &Client,
        mut manifest: Manifest,
        mut over: Option<Tag>,
    ) -> Result<Self, ArchiveError> {
        let key = Keys(manifest.engine).manifest();
        let reason = "somebody changed it while it was repaired; look at it again";
        manifest.nonce = client.nonce();
        let bytes = manifest.encode()?;
        loop {
            let won = match &over {
                None => match client.create(&key, bytes.clone()).await? {
                    Created::Won(tag) => Some(tag),
                    Created::Taken(_) => None,
                },
                Some(tag) => match client.replace(&key, tag, bytes.clone()).await? {
                    Replaced::Won(tag) => Some(tag),
                    Replaced::Lost(_) => None,
                },
            };
            let Some(tag) = won else { return Err(ArchiveError::Diverged { key, reason }) };
            match read_back(client, &key, &manifest, &bytes).await? {
                None => return Ok(Self { manifest, tag, unsettled: Vec::new() }),
                Some(torn) => over = Some(torn),
            }
        }
    }

    /// What the store held last.
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Asks the store whether it holds exactly what `epoch` left there; a change of which nobody knew whether it arrived
    /// is settled by that. One request.
    ///
    /// # Errors
    /// [`ArchiveError::Fenced`] if a newer epoch has replaced it, [`ArchiveError::Diverged`] if anything else stands
    /// there or `epoch` has not written yet, [`ArchiveError::Missing`], and as [`Client::get`].
    pub async fn confirm(&mut self, client: &Client, epoch: Epoch) -> Result<(), ArchiveError> {
        let key = Keys(self.manifest.engine).manifest();
        let mut looks = 0;
        loop {
            let Some(found) = Self::load(client, self.manifest.engine).await? else {
                return Err(ArchiveError::Missing { store: client.name().to_owned(), key });
            };
            if found.tag == self.tag && found.manifest == self.manifest {
                break;
            }
            looks += 1;
            match self.check_other(&key, epoch, &found.manifest) {
                Ok(()) => {
                    *self = found;
                    break;
                }
                // A look may be stale.
                Err(ArchiveError::Diverged { .. }) if looks < LOOKS_MAX => client.pause(looks).await,
                Err(error) => return Err(error),
            }
        }
        if self.manifest.epoch == epoch {
            return Ok(());
        }
        Err(ArchiveError::Diverged { key, reason: "this epoch has not written it yet" })
    }

    /// Stores a changed manifest; `change` gets the newest one with generation, epoch and time already set, and is
    /// called again where the newest turns out to be another. Stored and read back when it answers. After
    /// [`ArchiveError::Unavailable`] the change may be stored or not; the next call settles it.
    ///
    /// Until `epoch` has written once, an older epoch may still get in between; what it changed is kept.
    ///
    /// # Errors
    /// [`ArchiveError::Fenced`] if a newer epoch has replaced the manifest, [`ArchiveError::Diverged`] if anybody else
    /// has or the store went back to an older one, and as [`Client::replace`].
    ///
    /// # Panics
    /// If `change` moves epoch, line or horizon back, or needs chunks that are garbage: that is a bug of the caller.
    pub async fn change(
        &mut self,
        client: &Client,
        epoch: Epoch,
        time: Micros,
        change: impl Fn(&mut Manifest),
    ) -> Result<(), ArchiveError> {
        let key = Keys(self.manifest.engine).manifest();
        loop {
            if self.manifest.epoch > epoch {
                return Err(ArchiveError::Fenced { epoch, by: self.manifest.epoch });
            }
            let next = self.next(client.nonce(), epoch, time, &change);
            let bytes = next.encode()?;
            self.unsettled.push(next.nonce);
            match client.replace(&key, &self.tag, bytes.clone()).await? {
                Replaced::Won(tag) => match read_back(client, &key, &next, &bytes).await? {
                    None => {
                        *self = Self { manifest: next, tag, unsettled: Vec::new() };
                        return Ok(());
                    }
                    Some(torn) => self.tag = torn,
                },
                Replaced::Lost(None) => {
                    return Err(ArchiveError::Missing { store: client.name().to_owned(), key });
                }
                Replaced::Lost(Some(found)) => {
                    let tag = found.tag.ok_or_else(|| client.tells_no_tags())?;
                    match Manifest::decode(next.engine, &found.bytes) {
                        Ok(manifest) => {
                            self.check_other(&key, epoch, &manifest)?;
                            *self = Self { manifest, tag, unsettled: Vec::new() };
                        }
                        Err(_) if self.is_ours(&found.bytes) => self.tag = tag,
                        Err(error) => return Err(error),
                    }
                }
            }
        }
    }

    fn next(&self, nonce: [u8; 16], epoch: Epoch, time: Micros, change: &impl Fn(&mut Manifest)) -> Manifest {
        let old = &self.manifest;
        let generation = old.generation + 1;
        let mut next = Manifest { generation, nonce, epoch, time, ..old.clone() };
        change(&mut next);
        assert!(next.epoch >= old.epoch, "a manifest's epoch does not go back");
        assert!(next.line >= old.line, "a manifest's line does not go back");
        assert!(next.horizon >= old.horizon, "a manifest's horizon does not go back");
        assert!(next.keeps_to_needed_chunks(), "chunks that were not needed any more stay so");
        next
    }

    /// Whether what cannot be read is one of the changes of which nobody knew whether they arrived: it did, in part. The
    /// nonce is nobody else's.
    fn is_ours(&self, found: &[u8]) -> bool {
        let nonce = found.get(NONCE_END - 16..NONCE_END);
        nonce.is_some_and(|nonce| self.unsettled.iter().any(|ours| ours == nonce))
    }

    /// Another manifest stands where ours was to go: is it one that we may go on from?
    fn check_other(&self, key: &str, epoch: Epoch, other: &Manifest) -> Result<(), ArchiveError> {
        if other.epoch > epoch {
            return Err(ArchiveError::Fenced { epoch, by: other.epoch });
        }
        let ours = self.unsettled.contains(&other.nonce);
        let before_us = self.manifest.epoch < epoch && other.epoch < epoch;
        let reason = if other.generation <= self.manifest.generation {
            "the store went back to an older one"
        } else if ours || before_us {
            return Ok(());
        } else {
            "another writer of the same or an older epoch changed it"
        };
        Err(ArchiveError::Diverged { key: key.to_owned(), reason })
    }
}

/// Where the nonce of a stored manifest ends.
const NONCE_END: usize = 16 + 16 + 8 + 8 + 16;

/// Whether a manifest reads back as it was stored. `Some` is the tag of what stands there instead where the store kept a
/// part of it only: the nonce is in that part, so it is nobody else's.
pub(in crate::archive) async fn read_back(
    client: &Client,
    key: &str,
    stored: &Manifest,
    bytes: &Bytes,
) -> Result<Option<Tag>, ArchiveError> {
    for look in 1..=LOOKS_MAX {
        if let Some(found) = client.get(key).await? {
            if found.bytes == *bytes {
                return Ok(None);
            }
            if found.bytes.len() >= NONCE_END && bytes.starts_with(&found.bytes) {
                return found.tag.map(Some).ok_or_else(|| client.tells_no_tags());
            }
            // Ours was there, and a newer writer has replaced it since.
            if let Ok(other) = Manifest::decode(stored.engine, &found.bytes)
                && other.epoch > stored.epoch
            {
                return Err(ArchiveError::Fenced { epoch: stored.epoch, by: other.epoch });
            }
        }
        // A look may be stale.
        client.pause(look).await;
    }
    Err(ArchiveError::Damaged { key: key.to_owned(), reason: "it does not read back as it was stored" })
}
