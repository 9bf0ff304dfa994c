//! How durable a commit is before its gate opens: asked for per engine, namespace or transaction.

use crate::{Namespace, Result, engine::system};

/// Where a commit is before its gate opens.
///
/// A gate opens at the highest level that is asked for: by [`Options::durability`](crate::Options::durability), by
/// [`Namespace::set_durability`] or by [`Tx::durability`](crate::Tx::durability). Readers wait for what they saw to have
/// the level of engine and namespace. What shows the past (`history`, `diff`, `at`) shows what is durable here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Durability {
    /// Synced to the log on the local disk: survives a crash and a power cut, and not the loss of the disk.
    #[default]
    Local,
    /// In the archive as well: survives the loss of the machine. One request to the store serves all commits of all objects
    /// of that moment.
    Archived,
}

impl Durability {
    pub(crate) fn from_byte(byte: u8) -> Durability {
        if byte == Durability::Archived as u8 { Durability::Archived } else { Durability::Local }
    }
}

impl Namespace {
    /// What its objects' gates wait for, as it was set; the engine and a transaction can ask for more.
    ///
    /// # Errors
    /// [`Error::Dropped`](crate::Error::Dropped); as [`Gated::wait`](crate::Gated::wait).
    pub fn durability(&self) -> Result<Durability> {
        self.inner.check()?;
        system::durability(&self.engine, self.inner.id)
    }

    /// Sets what its objects' gates wait for, at least (default: [`Durability::Local`]). It holds for gates that are made
    /// from now on. Kept by the engine's files: an engine that is opened without an archive later refuses commits to an
    /// archived namespace, and results of reads. Durable, and at the new level, when it returns.
    ///
    /// # Errors
    /// [`Error::NoArchive`](crate::Error::NoArchive) for [`Durability::Archived`] in an engine without an archive; else as
    /// [`durability`](Namespace::durability).
    pub fn set_durability(&self, durability: Durability) -> Result<()> {
        self.inner.check()?;
        self.engine.output.check(durability)?;
        system::write_durability(&self.engine, &self.inner, durability)
    }
}
