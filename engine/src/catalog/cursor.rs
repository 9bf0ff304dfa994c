//! One ascending stream of entries out of the table and any number of packs.

use lineal_snapshot::{Pack, PackIter, PackNumber};
use lineal_wal::ObjectKey;

use super::{
    CatalogError,
    packs::Packs,
    table::{Row, Rows, View},
};
use crate::sync::Arc;

/// Entries of a source that are stepped over before it is searched anew: a search costs about as much.
const STEPS_BEFORE_SEARCH: usize = 16;

/// The entries of several sources in key order, each key once: the higher pack number wins, and
/// rows of packs that are not live are left out.
pub(super) struct Merged {
    packs: Arc<Packs>,
    sources: Vec<Source>,
    /// The next entry of each source.
    fronts: Vec<Option<Row>>,
    view: Option<Arc<View>>,
    /// Where to go on if the table fails: the first key that was not yielded.
    resume: Vec<u8>,
    /// Packs without this object are left out.
    object: Option<ObjectKey>,
}

enum Source {
    Table { view: Arc<View>, rows: Rows },
    Pack { pack: Arc<Pack>, entries: PackIter, number: PackNumber },
}

impl Merged {
    /// The entries ≥ `from` of the table in `view` and of the packs that it does not hold. Without
    /// a view, or if it fails on the way, of all packs.
    ///
    /// # Errors
    ///
    /// Those of a pack. What is wrong with the table shows in [`Table::fault`](super::table::Table::fault).
    pub(super) fn new(
        packs: Arc<Packs>,
        view: Option<Arc<View>>,
        from: &[u8],
    ) -> Result<Merged, CatalogError> {
        Merged::start(packs, view, from, None)
    }

    /// As [`Merged::new`], for the entries of one object; those of others may be left out.
    ///
    /// # Errors
    ///
    /// Those of a pack.
    pub(super) fn of_object(
        packs: Arc<Packs>,
        view: Option<Arc<View>>,
        from: &[u8],
        object: ObjectKey,
    ) -> Result<Merged, CatalogError> {
        Merged::start(packs, view, from, Some(object))
    }

    fn start(
        packs: Arc<Packs>,
        view: Option<Arc<View>>,
        from: &[u8],
        object: Option<ObjectKey>,
    ) -> Result<Merged, CatalogError> {
        let resume = from.to_vec();
        let mut merged = Merged { packs, sources: Vec::new(), fronts: Vec::new(), view, resume, object };
        merged.restart()?;
        Ok(merged)
    }

    /// Opens all sources at `resume`.
    fn restart(&mut self) -> Result<(), CatalogError> {
        self.sources.clear();
        self.fronts.clear();
        if let Some(view) = &self.view {
            match view.rows_from(&self.resume) {
                Ok(rows) => self.sources.push(Source::Table { view: Arc::clone(view), rows }),
                Err(_) => self.view = None,
            }
        }
        let table = self.view.is_some();
        for member in self.packs.iter().filter(|member| !(table && member.merged)) {
            if let Some(object) = &self.object
                && !member.pack.may_contain(object)?
            {
                continue;
            }
            self.sources.push(Source::Pack {
                pack: Arc::clone(&member.pack),
                entries: member.pack.iter(&self.resume),
                number: member.live.number,
            });
        }
        for at in 0..self.sources.len() {
            match self.sources[at].next(&self.packs) {
                Ok(row) => self.fronts.push(row),
                Err(Fault::Table) => {
                    self.view = None;
                    return self.restart();
                }
                Err(Fault::Pack(error)) => return Err(error),
            }
        }
        Ok(())
    }

    /// The next entry's key.
    pub(super) fn peek(&self) -> Option<&[u8]> {
        self.fronts.iter().flatten().map(|row| row.key.as_slice()).min()
    }

    /// The next entry.
    ///
    /// # Errors
    ///
    /// Those of a pack.
    pub(super) fn next(&mut self) -> Result<Option<Row>, CatalogError> {
        let mut best: Option<&Row> = None;
        for row in self.fronts.iter().flatten() {
            let wins = match best {
                None => true,
                Some(known) => {
                    (&row.key, std::cmp::Reverse(row.pack)) < (&known.key, std::cmp::Reverse(known.pack))
                }
            };
            if wins {
                best = Some(row);
            }
        }
        let Some(best) = best.cloned() else { return Ok(None) };
        self.resume.clear();
        self.resume.extend_from_slice(&best.key);
        self.resume.push(0); // the smallest key behind it
        for at in 0..self.sources.len() {
            if self.fronts[at].as_ref().is_some_and(|row| row.key == best.key) {
                match self.sources[at].next(&self.packs) {
                    Ok(row) => self.fronts[at] = row,
                    Err(Fault::Table) => {
                        self.view = None;
                        self.restart()?;
                        break;
                    }
                    Err(Fault::Pack(error)) => return Err(error),
                }
            }
        }
        Ok(Some(best))
    }

    /// Goes forward to the first entry ≥ `key`.
    ///
    /// # Errors
    ///
    /// Those of a pack.
    pub(super) fn skip_to(&mut self, key: &[u8]) -> Result<(), CatalogError> {
        if self.resume.as_slice() < key {
            self.resume.clear();
            self.resume.extend_from_slice(key);
        }
        for at in 0..self.sources.len() {
            if self.fronts[at].as_ref().is_some_and(|row| row.key.as_slice() < key) {
                match self.sources[at].skip_to(key, &self.packs) {
                    Ok(row) => self.fronts[at] = row,
                    Err(Fault::Table) => {
                        self.view = None;
                        return self.restart();
                    }
                    Err(Fault::Pack(error)) => return Err(error),
                }
            }
        }
        Ok(())
    }
}

/// What stopped a source.
enum Fault {
    /// The table, which the packs can stand in for.
    Table,
    /// A pack, which nothing can.
    Pack(CatalogError),
}

impl Source {
    fn next(&mut self, packs: &Packs) -> Result<Option<Row>, Fault> {
        match self {
            Source::Table { rows, .. } => {
                for row in rows {
                    let row = row.map_err(|_| Fault::Table)?;
                    if packs.keeps(row.pack) {
                        return Ok(Some(row));
                    }
                }
                Ok(None)
            }
            Source::Pack { entries, number, .. } => match entries.next() {
                Some(Ok((key, value))) => Ok(Some(Row { key, value, pack: *number })),
                Some(Err(error)) => Err(Fault::Pack(error.into())),
                None => Ok(None),
            },
        }
    }

    fn skip_to(&mut self, key: &[u8], packs: &Packs) -> Result<Option<Row>, Fault> {
        match self {
            Source::Table { view, rows } => {
                for row in rows.take(STEPS_BEFORE_SEARCH) {
                    let row = row.map_err(|_| Fault::Table)?;
                    if row.key.as_slice() >= key && packs.keeps(row.pack) {
                        return Ok(Some(row));
                    }
                }
                *rows = view.rows_from(key).map_err(|_| Fault::Table)?;
            }
            Source::Pack { pack, entries, number } => {
                for entry in entries.take(STEPS_BEFORE_SEARCH) {
                    let (at, value) = entry.map_err(|error| Fault::Pack(error.into()))?;
                    if at.as_slice() >= key {
                        return Ok(Some(Row { key: at, value, pack: *number }));
                    }
                }
                *entries = pack.iter(key);
            }
        }
        self.next(packs)
    }
}
