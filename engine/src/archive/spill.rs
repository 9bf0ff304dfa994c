//! Letting go of local copies that the archive has, and bringing back what is needed.

use lineal_snapshot::{PACK_FOLDER, Pack};
use lineal_wal::{OBJECT_KEY_BYTES, ObjectId, ObjectKey, Seq};

use super::Archive;
use crate::{
    Engine, Error, Namespace, Object, Result, checkpoint,
    engine::EngineInner,
    history::{sound, version},
    object::wake::retry_released,
    sync::Arc,
};

/// Bytes that an encoded key's namespace takes, before the id.
const NAMESPACE_BYTES: usize = OBJECT_KEY_BYTES - 16;

/// What a spill let go of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Spilled {
    /// Packs that have no local copy any more.
    pub packs: u64,
    /// Local bytes that they took.
    pub bytes: u64,
}

impl Archive {
    /// Lets go of the local copies of these packs, as far as the archive has them; the newest pack always stays, because
    /// it names all others.
    fn spill(
        &self,
        engine: &EngineInner,
        chosen: impl Fn(&Arc<Pack>) -> bool,
        enough: impl Fn(u64) -> bool,
    ) -> Result<Spilled> {
        let mut spilled = Spilled::default();
        let live = engine.catalog.live();
        let newest = live.last().map(|pack| pack.number());
        for pack in &live {
            let number = pack.number();
            if enough(spilled.bytes) {
                break;
            }
            if Some(number) == newest
                || !self.tier.is_archived(number)
                || !self
                    .tier
                    .is_local(number)
                    .map_err(|error| Error::io("looking for", number.path(), error))?
                || !chosen(pack)
            {
                continue;
            }
            // Lookups read from the store before the file goes; who reads the file reads on.
            if engine.catalog.reopen(number, &self.tier.disk_cold())? {
                spilled.bytes += self
                    .tier
                    .drop_local(number)
                    .map_err(|error| Error::io("removing", number.path(), error))?;
                spilled.packs += 1;
            }
        }
        Ok(spilled)
    }

    /// Keeps local packs within their budget. Called where packs change.
    pub(crate) fn keep_budget(&self, engine: &EngineInner) -> Result<Spilled> {
        // Whoever has the archive now may delete what only this engine needs.
        let (Some(budget), true) = (self.options.local_bytes, self.is_ours()) else {
            return Ok(Spilled::default());
        };
        let local = self.tier.local_pack_bytes().map_err(|error| Error::io("listing", PACK_FOLDER, error))?;
        if local <= budget {
            return Ok(Spilled::default());
        }
        let excess = local - budget;
        // Packs are numbered as they were made, so the oldest goes first: what is in it was not written since.
        let spilled = self.spill(engine, |_| true, |bytes| bytes >= excess)?;
        if spilled.packs > 0 {
            tracing::info!(spilled.packs, spilled.bytes, "spilled");
        }
        Ok(spilled)
    }
}

impl Engine {
    /// Lets go of the local copies of all packs that can go: everything is packed and archived first. What is read of
    /// them comes from the store from then on, in small pieces, which stay in a local cache for a while. The newest pack
    /// keeps its copy.
    ///
    /// # Errors
    /// As [`checkpoint`](Engine::checkpoint) and [`archive_now`](Engine::archive_now).
    pub fn spill(&self) -> Result<Spilled> {
        self.spill_where(|_| Ok(true))
    }

    fn spill_where(&self, chosen: impl Fn(&Arc<Pack>) -> Result<bool>) -> Result<Spilled> {
        self.checkpoint()?;
        // Rows lead straight to a part; a pack that is searched through its own index costs more requests.
        checkpoint::merge_catalog(&self.inner, true)?;
        self.archive_now()?;
        let archive = self.inner.archive.as_ref().ok_or(Error::NoArchive)?;
        archive.spill(&self.inner, |pack| chosen(pack).unwrap_or(false), |_| false)
    }
}

impl Namespace {
    /// As [`Engine::spill`], of the packs that hold any object of this namespace; others may be in them, too.
    ///
    /// # Errors
    /// As [`Engine::spill`].
    pub fn spill(&self) -> Result<Spilled> {
        let engine = Engine { inner: self.engine.clone() };
        let first = ObjectKey { namespace: self.id(), id: ObjectId([0; 16]) }.to_bytes();
        engine.spill_where(|pack| {
            let found = pack.iter(&first).next().transpose()?;
            Ok(found.is_some_and(|(key, _)| key.starts_with(&first[..NAMESPACE_BYTES])))
        })
    }
}

impl Object {
    /// Brings what a read of the object's newest state may need into the local cache: its tail, and all its leaves. Returns
    /// how many leaves there are. Blocks, takes no turn; for a cache that is smaller than the object it does no good.
    ///
    /// # Errors
    /// [`Error::NotFound`] if it never had a commit; [`Error::Archive`] if the store does not answer; [`Error::Damaged`];
    /// [`Error::Closed`].
    pub fn prefetch(&self) -> Result<u64> {
        self.engine.check_open()?;
        retry_released(|| {
            let last = self.cell.last_lsn();
            let snapshot = self.engine.catalog.snapshot();
            let newest = version::newest(&self.engine, &snapshot, self.key(), last)?;
            if newest.seq == Seq(0) {
                return Err(Error::NotFound { what: format!("object {}", self.id()) });
            }
            sound::check(&snapshot, &newest, u64::MAX)
        })
    }
}
