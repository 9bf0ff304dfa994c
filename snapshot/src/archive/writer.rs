//! Taking an archive over, or beginning one: the steps in their order.
//!
//! ```text
//! 1 lease      a new epoch, by conditional put; earlier epochs without a barrier are remembered in it
//! 2 manifest   written in the new epoch: no earlier writer changes it from here on
//! 3 barriers   at the first missing chunk of every earlier epoch: nothing is archived in them from here on
//! 4 lease      the earlier epochs are closed
//! ```
//! What the chunks before the barriers hold, behind the manifest's packs, is the archive. A crash between two steps
//! leaves nothing to mend: the next one does them all again.

use super::chunk::{Chunk, LogEnd};
use super::client::Client;
use super::error::ArchiveError;
use super::lease::{Claim, Lease};
use super::manifest::{ArchivedLog, Manifest, ManifestWriter};
use lineal_wal::Epoch;

/// The right to write to an archive, and what it takes.
#[derive(Debug)]
pub struct Writer {
    /// The right.
    pub lease: Lease,
    /// What the archive holds.
    pub manifest: ManifestWriter,
    /// Where the next chunk of this epoch's log goes.
    pub log: LogEnd,
}

/// Takes the archive of an engine over, or begins it. Gives `visit` every chunk that earlier epochs have left and the
/// manifest still names, in order, each with its epoch. When it answers, no earlier writer archives anything any more.
///
/// # Errors
/// [`ArchiveError::Held`], [`ArchiveError::Fenced`] if somebody took it over meanwhile, [`ArchiveError::Damaged`] and
/// its kin for an archive that cannot be read, and those of `visit`.
pub async fn take_over(
    client: &Client,
    claim: &Claim,
    mut visit: impl FnMut(Epoch, Chunk) -> Result<(), ArchiveError>,
) -> Result<Writer, ArchiveError> {
    let engine = claim.engine;
    let mut lease = Lease::take(client, claim).await?;
    let epoch = lease.epoch();
    let first = Manifest::first(engine, epoch, claim.now);
    let mut manifest = ManifestWriter::load_or_create(client, first).await?;
    if manifest.manifest().epoch != epoch {
        manifest.change(client, epoch, claim.now, |next| next.logs.push(ArchivedLog::all(epoch))).await?;
    }
    let named = &manifest.manifest().logs;
    // An epoch that took the lease and never wrote a manifest has no chunks, or some that packs cover; the barrier
    // keeps it that way.
    let unnamed = lease.open_epochs().iter().filter(|open| named.iter().all(|log| log.epoch != **open));
    for open in unnamed {
        LogEnd::begin(engine, *open).close(client, epoch, |_| Ok(())).await?;
    }
    for log in named.iter().filter(|log| log.epoch < epoch) {
        LogEnd::at(engine, log.epoch, log.first_chunk, log.before)
            .close(client, epoch, |chunk| visit(log.epoch, chunk))
            .await?;
    }
    if !lease.open_epochs().is_empty() {
        lease.closed(client).await?;
    }
    Ok(Writer { lease, manifest, log: LogEnd::begin(engine, epoch) })
}
