//! Reads that must not wait: they fail, and say what to fetch before they are tried again.

use super::cold::Cold;
use super::error::ArchiveError;
use super::flights::Waiting;
use super::manifest::ArchivedPack;
use super::pieces::RUN_PIECES;
use crate::sync::Arc;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::ops::Range;

/// How much one attempt may miss, in runs of pieces. Source: a decision; an attempt fails at the first that it misses.
const NEEDS_MAX: usize = 64;

/// Pieces of one pack that a read missed.
#[derive(Debug)]
struct Need {
    cold: Cold,
    pack: Arc<ArchivedPack>,
    pieces: Vec<u64>,
    /// Behind them, for whoever reads on: fetched as well, and nobody's failure.
    ahead: Range<u64>,
}

thread_local! {
    /// What reads of this thread missed, where they must not wait.
    static MISSED: RefCell<Option<Vec<Need>>> = const { RefCell::new(None) };
}

/// Runs `work` with reads of packs that do not wait for the archive: what is not at hand fails with
/// [`WouldBlock`](std::io::ErrorKind::WouldBlock) and is noted. Gives back what `work` returned, and what it missed: to
/// be [fetched](Missing::fetch) before `work` is tried again. Local files are read as always. May be nested; the inner
/// one takes the notes of what is inside of it.
pub fn without_blocking<R>(work: impl FnOnce() -> R) -> (R, Option<Missing>) {
    /// Puts the notes of whoever is outside back, also where `work` panics.
    struct Outer(Option<Vec<Need>>);

    impl Drop for Outer {
        fn drop(&mut self) {
            MISSED.set(self.0.take());
        }
    }

    let outer = Outer(MISSED.replace(Some(Vec::new())));
    let result = work();
    let missed = MISSED.take().unwrap_or_default();
    drop(outer);
    (result, (!missed.is_empty()).then_some(Missing { needs: missed }))
}

/// Whether a read of this thread has missed something since [`without_blocking`] began: what was made of it is not to be
/// kept, also where the failure of the read was passed over. False outside of it.
#[must_use]
pub fn has_missed() -> bool {
    MISSED.with_borrow(|missed| missed.as_ref().is_some_and(|missed| !missed.is_empty()))
}

/// Notes what a read missed, and what to fetch behind it; false where it may wait.
pub(crate) fn note(cold: &Cold, pack: &Arc<ArchivedPack>, pieces: &[u64], ahead: &Range<u64>) -> bool {
    MISSED.with_borrow_mut(|missed| {
        let Some(missed) = missed else { return false };
        if missed.len() < NEEDS_MAX {
            let (cold, pack) = (cold.clone(), Arc::clone(pack));
            missed.push(Need { cold, pack, pieces: pieces.to_vec(), ahead: ahead.clone() });
        }
        true
    })
}

/// Pieces of packs that were missed.
#[derive(Debug)]
#[must_use = "what is not fetched is missed again"]
pub struct Missing {
    needs: Vec<Need>,
}

impl Missing {
    /// Brings them into the local cache, in any runtime. When it answers they are there, unless so much else was
    /// fetched meanwhile that they had to go again. Who stops polling it stops nothing: what was begun is fetched.
    ///
    /// # Errors
    /// The first one of those of the reads: [`ArchiveError::Unavailable`], [`ArchiveError::DamagedPart`],
    /// [`ArchiveError::Missing`], [`ArchiveError::Closed`].
    pub async fn fetch(self) -> Result<(), ArchiveError> {
        let runs = usize::try_from(RUN_PIECES).unwrap_or(usize::MAX);
        let mut waiting = VecDeque::new();
        for need in &self.needs {
            let all: Vec<u64> = need.pieces.iter().copied().chain(need.ahead.clone()).collect();
            for pieces in all.chunks(runs) {
                let begun = need.cold.begin(&need.pack, pieces.iter().copied());
                waiting.extend(begun.into_iter().map(|one| (need, one)));
                // What lies in memory on its way to the cache is bounded.
                while waiting.len() > IN_FLIGHT_MAX {
                    if let Some((need, first)) = waiting.pop_front() {
                        need.landed(first).await?;
                    }
                }
            }
        }
        for (need, one) in waiting {
            need.landed(one).await?;
        }
        Ok(())
    }
}

/// Runs on their way at once. Source: a decision; at most 32 MiB.
const IN_FLIGHT_MAX: usize = 4;

impl Need {
    /// Waits for a run, and says what became of those of its pieces that were missed.
    async fn landed(&self, waiting: Waiting) -> Result<(), ArchiveError> {
        let landed = waiting.landed().await?;
        let mut missed = landed.units().filter(|(piece, _)| self.pieces.contains(piece));
        missed.try_for_each(|(_, found)| found.as_ref().map(drop).map_err(Clone::clone))
    }
}
