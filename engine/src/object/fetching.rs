//! Async callers do not wait for the archive on their thread: what they miss is fetched, and then they try again.
//!
//! An attempt reads what is at hand and fails where it would have to wait for the store. What it missed is fetched while
//! the object's turn is kept, so that only who wants this object waits; then the next attempt begins from the front.
//! Pieces stay in the local cache, so each comes further. Nothing of an attempt that missed something is committed, even
//! if it passes over the failed read: the write path asks [`check`]. An engine without an archive makes one attempt, as
//! if there were none of this.

use std::future::Future;

use crate::{Error, Result, engine::EngineInner};

/// How often one piece of work may fetch.
///
/// Source: chosen; reading from front to back that is gigabytes, because more and more is fetched at once, and here and
/// there it is as many places. Who needs more would run again and again for minutes.
const FETCHES_MAX: u32 = 1_024;

/// What an attempt missed.
pub(crate) struct Missing(
    #[cfg(feature = "archive")] lineal_snapshot::archive::Missing,
    #[cfg(not(feature = "archive"))] std::convert::Infallible,
);

/// Runs `work` without waiting for the archive. Gives back what it returned, and what it missed: then that is worth
/// nothing.
#[cfg(feature = "archive")]
#[inline]
pub(crate) fn attempt<R>(engine: &EngineInner, work: impl FnOnce() -> R) -> (R, Option<Missing>) {
    if engine.archive.is_none() {
        return (work(), None);
    }
    let (result, missing) = lineal_snapshot::archive::without_blocking(work);
    (result, missing.map(Missing))
}

/// Without an archive nothing is missed.
#[cfg(not(feature = "archive"))]
#[inline]
pub(crate) fn attempt<R>(_engine: &EngineInner, work: impl FnOnce() -> R) -> (R, Option<Missing>) {
    (work(), None)
}

/// Refuses to commit what an attempt made that has missed something.
#[inline]
pub(crate) fn check(engine: &EngineInner) -> Result<()> {
    #[cfg(feature = "archive")]
    if engine.archive.is_some() && lineal_snapshot::archive::has_missed() {
        let missed = std::io::Error::new(std::io::ErrorKind::WouldBlock, "a part of it is in the archive");
        return Err(Error::io("reading", "what a commit is made of", missed));
    }
    let _ = engine;
    Ok(())
}

/// The attempts at one piece of work.
#[derive(Default)]
pub(crate) struct Attempts {
    fetched: u32,
}

impl Attempts {
    /// Fetches what the last attempt missed, without blocking. Who drops it stops nothing.
    ///
    /// # Errors
    /// [`Error::Archive`], [`Error::Closed`]; [`Error::Invalid`] beyond the limit on fetches.
    pub(crate) fn fetch(&mut self, missing: Missing) -> impl Future<Output = Result<()>> + Send + use<> {
        self.fetched += 1;
        let may_go_on = self.fetched <= FETCHES_MAX;
        async move {
            if !may_go_on {
                return Err(too_often());
            }
            #[cfg(feature = "archive")]
            return Ok(missing.0.fetch().await?);
            #[cfg(not(feature = "archive"))]
            match missing.0 {}
        }
    }
}

#[cold]
fn too_often() -> Error {
    let reason = format!(
        "this was begun {FETCHES_MAX} times and still reads parts of packs that are in the archive only: read less at \
         once, do it on a thread that may wait for the store (Object::transact), or let more be kept \
         (ArchiveOptions::cache_bytes)"
    );
    Error::Invalid { reason }
}
