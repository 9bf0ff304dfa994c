//! Proofs: a Merkle tree over the heads that checkpoints write, whose root changes when anybody's past does.
//!
//! A head's hash covers all of its object's commits, so the root covers every commit that a checkpoint has packed. Who
//! keeps a root, 32 bytes, can be shown later that a commit was made (inclusion) and that nothing that it covered was
//! changed since (consistency), and needs neither the engine nor trust in who runs it.

mod commit;
mod files;
mod tree;

#[cfg(feature = "archive")]
pub(crate) use self::files::{Extent, Rebuild, Regrown};
pub use self::{
    commit::{CommitHeader, Consistency, Proof, ProofError},
    files::Root,
};
pub(crate) use self::{
    files::{Growth, Settled, Stored},
    tree::{Edge, leaf},
};
use crate::{Engine, Error, Result, engine::EngineInner, sync::Arc};

impl EngineInner {
    /// The tree as of the newest line.
    ///
    /// # Errors
    /// [`Error::Busy`] while its files are still being fetched from the archive.
    pub(crate) fn roots(&self) -> Result<(Stored, Edge)> {
        #[cfg(feature = "archive")]
        if let Some(archive) = &self.archive {
            archive.await_roots(self.options.wait_max)?;
        }
        let summary = self.checkpointing.lock().summary.clone();
        let stored =
            Stored::new(Arc::clone(&self.disk), self.identity, summary.tree.size(), summary.published);
        Ok((stored, summary.tree))
    }
}

impl Engine {
    /// The newest root that a checkpoint published. It covers every commit up to its line. Keep it where the engine's
    /// operator cannot change it, and every later proof can be checked against it.
    ///
    /// # Errors
    /// [`Error::NotFound`] before the first checkpoint; [`Error::Damaged`] if the list of roots is.
    pub fn root(&self) -> Result<Root> {
        self.inner.check_open()?;
        let (stored, _) = self.inner.roots()?;
        match stored.count() {
            0 => Err(Error::NotFound { what: "a root: no checkpoint has published one yet".into() }),
            count => stored.published(count - 1),
        }
    }
}
