//! The past that the replay left: read, compared with git, restored, forked and listed.

use lineal::Engine;

use super::{
    check::Compared,
    listing::Listing,
    origin::Origin,
    pairs::{self, Order, Pair},
    undo::{self, Undone},
};
use crate::{args::Data, exit::Outcome, open, progress::Progress};

/// What was seen of the past.
#[derive(Debug, Default)]
pub(super) struct Past {
    /// Pairs of a commit and a path, and bytes, that were compared.
    pub(super) pairs: u64,
    pub(super) bytes: u64,
    /// Objects that were restored and brought back.
    pub(super) restored: u64,
    pub(super) forked: u64,
    /// None where the history has no file.
    pub(super) listing: Option<Listing>,
    /// The mismatches of all of it.
    pub(super) compared: Compared,
}

/// Looks at the past of an engine that the replay wrote. The bookmarks that are found on the way come from the causes
/// alone; [`Past::undo`] goes back to them.
pub(super) fn look(engine: &Engine, origin: &Origin, order: &Order) -> Outcome<(Past, Vec<Pair>)> {
    let mut progress = Progress::new("old files drawn", pairs::DRAWS as u64);
    let drawn = pairs::draw(origin, order, &mut progress)?;
    progress.end();
    let mut progress = Progress::new("old files compared", drawn.len() as u64);
    let (pairs, mut compared) = pairs::compare(engine, origin, order, drawn, &mut progress)?;
    progress.end();
    let mut past = Past { pairs: compared.objects, bytes: compared.bytes, ..Past::default() };
    if let Some((listing, listed)) = Listing::make(engine, origin, &pairs)? {
        compared.and(listed);
        past.listing = Some(listing);
    }
    past.compared = compared;
    Ok((past, pairs))
}

impl Past {
    /// Restores, undoes and forks. The files are as they were afterwards; their histories are longer.
    pub(super) fn undo(&mut self, data: &Data, origin: &Origin, order: &Order, pairs: &[Pair]) -> Outcome {
        let chosen = undo::choose(pairs);
        let engine = open::writable(data)?;
        let mut progress = Progress::new("objects restored", chosen.len() as u64);
        let Undone { restored, forked, compared } =
            undo::check(&engine, origin, order, &chosen, &mut progress)?;
        progress.end();
        engine.close()?;
        (self.restored, self.forked) = (restored, forked);
        self.compared.and(compared);
        Ok(())
    }
}
