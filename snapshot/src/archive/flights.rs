//! What is being fetched, and who waits for it: each unit is fetched once, in runs of adjacent ones.

use super::blocks::BlockKey;
use super::error::ArchiveError;
use super::pieces::RUN_PIECES;
use crate::sync::{Arc, Mutex};
use bytes::Bytes;
use std::collections::HashMap;
use std::ops::Range;
use tokio::sync::watch;

/// What is fetched: a page of a list, or a piece.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Unit {
    Page(BlockKey),
    Piece(BlockKey),
}

type Bringing = watch::Receiver<Option<Arc<Landed>>>;

/// What became of a run of units.
#[derive(Debug)]
pub(crate) struct Landed {
    first: u64,
    units: Vec<Result<Bytes, ArchiveError>>,
}

impl Landed {
    /// Those units that it is about, by number.
    pub(crate) fn units(&self) -> impl Iterator<Item = (u64, &Result<Bytes, ArchiveError>)> {
        (self.first..).zip(&self.units)
    }
}

/// Something that is being fetched.
#[derive(Debug)]
pub(crate) struct Waiting(Bringing);

impl Waiting {
    /// Waits, in any runtime.
    pub(crate) async fn landed(mut self) -> Result<Arc<Landed>, ArchiveError> {
        let landed = self.0.wait_for(Option::is_some).await.map_err(|_| ArchiveError::Closed)?;
        landed.clone().ok_or(ArchiveError::Closed)
    }
}

/// Everything that is being fetched.
#[derive(Debug, Default)]
pub(crate) struct Flights {
    under_way: Mutex<HashMap<Unit, Bringing>>,
}

impl Flights {
    /// Splits what is wanted into runs that the caller is to lead, and all that is to be waited for.
    pub(crate) fn board(
        self: &Arc<Self>,
        wanted: impl Iterator<Item = (u64, Unit)>,
        at_hand: impl Fn(&BlockKey) -> bool,
    ) -> (Vec<Lead>, Vec<Waiting>) {
        let mut runs: Vec<(Range<u64>, Vec<Unit>)> = Vec::new();
        let mut waiting: Vec<Bringing> = Vec::new();
        let mut under_way = self.under_way.lock();
        for (number, unit) in wanted {
            let (Unit::Page(key) | Unit::Piece(key)) = unit;
            if let Some(bringing) = under_way.get(&unit) {
                if waiting.last().is_none_or(|last| !last.same_channel(bringing)) {
                    waiting.push(bringing.clone());
                }
            } else if at_hand(&key) {
                // It came between the look and now.
            } else if let Some((numbers, units)) = runs.last_mut()
                && numbers.end == number
                && numbers.end - numbers.start < RUN_PIECES
            {
                numbers.end += 1;
                units.push(unit);
            } else {
                runs.push((number..number + 1, vec![unit]));
            }
        }
        let mut leads = Vec::with_capacity(runs.len());
        for (numbers, units) in runs {
            let (tell, bringing) = watch::channel(None);
            for unit in &units {
                under_way.insert(*unit, bringing.clone());
            }
            leads.push(Lead { flights: Arc::clone(self), numbers, units, tell });
            waiting.push(bringing);
        }
        (leads, waiting.into_iter().map(Waiting).collect())
    }
}

/// Who fetches a run of units. Others wait for it; when it is dropped without having landed, they are told that the
/// archive is closed.
#[derive(Debug)]
pub(crate) struct Lead {
    flights: Arc<Flights>,
    pub(crate) numbers: Range<u64>,
    units: Vec<Unit>,
    tell: watch::Sender<Option<Arc<Landed>>>,
}

impl Lead {
    pub(crate) fn land(mut self, units: Vec<Result<Bytes, ArchiveError>>) {
        let landed = Landed { first: self.numbers.start, units };
        // First gone, then told: who comes later is not to share a failure that is over.
        self.leave();
        // Nobody waits any more where all have given up.
        let _ = self.tell.send(Some(Arc::new(landed)));
    }

    fn leave(&mut self) {
        let mut under_way = self.flights.under_way.lock();
        for unit in self.units.drain(..) {
            under_way.remove(&unit);
        }
    }
}

impl Drop for Lead {
    fn drop(&mut self) {
        self.leave();
    }
}
