//! Checking the catalog against the packs.

use lineal_snapshot::{EntryKey, PackNumber};

use super::{CATALOG_PATH, Catalog, CatalogError, cursor::Merged, packs::Packs, table::Row};
use crate::sync::Arc;

/// Entries between two calls of the progress function.
const PROGRESS_EVERY: u64 = 4096;

/// What was compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Verified {
    /// Live packs.
    pub(crate) packs: u64,
    /// Keys that are in at least one live pack.
    pub(crate) keys: u64,
    /// Live rows of the table.
    pub(crate) rows: u64,
}

impl Catalog {
    /// Compares the catalog with the indexes of the live packs, in both directions: every entry is
    /// found through a lookup and leads to the highest pack that has it, and every live row of the
    /// table is the entry of its pack. `progress` is told now and then how many keys are done.
    ///
    /// # Errors
    ///
    /// [`CatalogError::Disagrees`] at the first difference; what made the table unusable;
    /// [`CatalogError::Pack`] for a damaged pack.
    pub(crate) fn verify(&self, progress: &mut dyn FnMut(u64)) -> Result<Verified, CatalogError> {
        let snapshot = self.snapshot();
        let mut done = Verified { packs: snapshot.packs.len() as u64, ..Verified::default() };
        let merged: Vec<_> = snapshot.packs.iter().filter(|member| member.merged).cloned().collect();
        let merged = Arc::new(Packs::new(merged));

        let mut truth = Merged::new(Arc::clone(&snapshot.packs), None, &[])?;
        while let Some(row) = truth.next()? {
            let key = EntryKey::decode(&row.key)
                .map_err(|error| disagrees(row.pack, format!("a key does not decode: {error}")))?;
            let pack = &snapshot.packs.get(row.pack).expect("the stream is made of live packs").pack;
            if !pack.may_contain(&key.object)? {
                return Err(disagrees(row.pack, format!("its filter misses object {}", key.object)));
            }
            if snapshot.entry(&key.object, &row.key)?.as_ref() != Some(&row) {
                return Err(disagrees(row.pack, format!("a lookup does not find its entry {key:?}")));
            }
            done.keys += 1;
            if done.keys.is_multiple_of(PROGRESS_EVERY) {
                progress(done.keys);
            }
        }
        if let Some(view) = &snapshot.view {
            let mut truth = Merged::new(merged, None, &[])?;
            for row in view.rows_from(&[])? {
                let row = row?;
                if !snapshot.packs.keeps(row.pack) {
                    continue;
                }
                truth.skip_to(&row.key)?;
                if truth.next()?.as_ref() != Some(&row) {
                    return Err(disagrees(row.pack, describe(&row)));
                }
                done.rows += 1;
            }
            if let Some(fault) = view.table().fault() {
                return Err(fault);
            }
        }
        progress(done.keys);
        Ok(done)
    }
}

fn describe(row: &Row) -> String {
    match EntryKey::decode(&row.key) {
        Ok(key) => format!("the row {key:?} is not an entry of the pack"),
        Err(error) => format!("a row's key does not decode: {error}"),
    }
}

fn disagrees(pack: PackNumber, reason: String) -> CatalogError {
    CatalogError::Disagrees { path: CATALOG_PATH.to_owned(), pack: pack.path(), reason }
}
