//! Merging: the rows of the newest packs go into the table, sorted and in bulk.
//!
//! A table that gets random rows in place takes four times the space of one that was filled in
//! order, and a quarter of the speed. So a merge writes a new table file in one sorted pass over the
//! old rows and the unmerged packs, leaves out every row whose pack is not live any more, and renames
//! it over the old one. Only a merge that is tiny beside the table (1/512 of its rows) is done in place.
//!
//! Readers keep the old file until they are done. A crash leaves the old file or the new one, and
//! both are right: what a table does not hold, the packs answer themselves.

use std::collections::BTreeMap;

use super::{
    CATALOG_NEW_PATH, CATALOG_PATH, Catalog, CatalogError, State,
    cursor::Merged,
    packs::{Member, Packs},
    table::{PackRow, PackRows, Row, Table, View},
};
use crate::sync::Arc;

/// A merge is due when the unmerged entries are at least this part of the table's rows …
const SHARE_DUE: u64 = 4;
/// … and no fewer than this: so few are searched in no time, and a merge costs several syncs.
const ENTRIES_DUE: u64 = 4096;
/// A merge is due when more packs than this are not merged: each costs a lookup one filter probe.
const PACKS_DUE: usize = 24;
/// A merge is due when the filters of unmerged packs would take more memory than this, in bytes.
const FILTER_BYTES_DUE: u64 = 4 << 20;
/// Bits of filter per entry, at most.
const FILTER_BITS: u64 = 10;
/// A merge is done in place when it adds no more than this part of the table's rows.
const SHARE_IN_PLACE: u64 = 512;

/// Whether the catalog asks for a merge, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MergePressure {
    /// Nothing to do.
    None,
    /// The unmerged packs make lookups slower than they need to be.
    Due,
    /// The table is damaged or missing; every lookup goes through all packs.
    Damaged,
}

/// What a merge did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Merge {
    /// Packs whose entries are rows now and were not before.
    pub(crate) packs: usize,
    /// Rows of the table now.
    pub(crate) rows: u64,
    /// Whether a new file was written.
    pub(crate) rewritten: bool,
}

impl Catalog {
    /// Whether a merge is due.
    pub(crate) fn merge_pressure(&self) -> MergePressure {
        let state = self.state();
        if self.options.read_only {
            return MergePressure::None;
        }
        let Some(view) = state.view.as_ref().filter(|view| view.table().fault().is_none()) else {
            return MergePressure::Damaged;
        };
        let unmerged = state.packs.iter().filter(|member| !member.merged);
        let (packs, entries) =
            unmerged.fold((0, 0), |(packs, sum), member| (packs + 1, sum + member.pack.footer().entries));
        let dead = view.rows().saturating_sub(merged_entries(&state.packs));
        let much = |count: u64| count >= ENTRIES_DUE && count.saturating_mul(SHARE_DUE) >= view.rows();
        let due = packs > PACKS_DUE
            || much(entries)
            || much(dead)
            || entries.saturating_mul(FILTER_BITS) / 8 > FILTER_BYTES_DUE;
        if due { MergePressure::Due } else { MergePressure::None }
    }

    /// Merges the unmerged packs into the table if that is due, or in any case with `force`, which
    /// also leaves no dead row and no free page of the old file behind. Lookups and publishing go on
    /// meanwhile. Durable on return.
    ///
    /// # Errors
    ///
    /// [`CatalogError::ReadOnly`], [`CatalogError::Pack`], [`CatalogError::NoSpace`],
    /// [`CatalogError::Io`]. The catalog stays as it was.
    pub(crate) fn merge(&self, force: bool) -> Result<Merge, CatalogError> {
        self.check_writable()?;
        let _one = self.merging.lock();
        let pressure = self.merge_pressure();
        let state = self.state();
        let healthy = state.view.clone().filter(|view| view.table().fault().is_none());
        let rows = healthy.as_ref().map(|view| view.rows()).unwrap_or_default();
        if !force && pressure == MergePressure::None {
            return Ok(Merge { packs: 0, rows, rewritten: false });
        }
        let entries: u64 = state
            .packs
            .iter()
            .filter(|member| !member.merged)
            .map(|member| member.pack.footer().entries)
            .sum();
        let dead = rows.saturating_sub(merged_entries(&state.packs));
        match &healthy {
            Some(view)
                if !force
                    && entries.saturating_mul(SHARE_IN_PLACE) <= rows
                    && dead.saturating_mul(SHARE_DUE) < rows =>
            {
                self.merge_in_place(view)
            }
            _ => self.rewrite(&state.packs, healthy).inspect_err(|_| {
                // The half-written file only takes room; the next merge would remove it as well.
                let _ = self.disk.remove(CATALOG_NEW_PATH);
            }),
        }
    }

    /// Makes the table anew from the packs alone, whatever the old one says. Durable on return.
    ///
    /// # Errors
    ///
    /// As [`Catalog::merge`].
    pub(crate) fn rebuild(&self) -> Result<Merge, CatalogError> {
        self.check_writable()?;
        let _one = self.merging.lock();
        self.rewrite(&self.state().packs, None)
    }

    fn merge_in_place(&self, view: &Arc<View>) -> Result<Merge, CatalogError> {
        let _publish = self.publishing.lock();
        let state = self.state();
        let added: Vec<Member> = state.packs.iter().filter(|member| !member.merged).cloned().collect();
        let packs =
            Packs::new(state.packs.iter().map(|member| Member { merged: true, ..member.clone() }).collect());
        let mut rows = Stream(Merged::new(Arc::new(Packs::new(added.clone())), None, &[])?);
        let table = view.table();
        let written = table.put(&mut rows, &self.pack_rows(&packs), &|number| packs.keeps(number));
        let view = match written.and_then(|()| table.view()) {
            Ok(view) => Arc::new(view),
            Err(error) => {
                if table.fault().is_some() {
                    self.heal();
                }
                return Err(error);
            }
        };
        let merge = Merge { packs: added.len(), rows: view.rows(), rewritten: false };
        self.swap(State { packs: Arc::new(packs), view: Some(view) });
        Ok(merge)
    }

    /// Writes a new table file with the entries of `packs`, those of merged packs out of `source`.
    fn rewrite(&self, packs: &Arc<Packs>, source: Option<Arc<View>>) -> Result<Merge, CatalogError> {
        let table = self.new_table()?;
        let mut rows = Stream(Merged::new(Arc::clone(packs), source, &[])?);
        table.fill(&mut rows, &PackRows { highest: self.highest(), ..PackRows::default() })?;

        let _publish = self.publishing.lock();
        let before = self.state();
        let members = before
            .packs
            .iter()
            .map(|member| Member { merged: packs.keeps(member.live.number), ..member.clone() })
            .collect();
        let after = Packs::new(members);
        table.set_packs(&self.pack_rows(&after))?;
        let view = self.install_table(table)?;
        let added = after
            .iter()
            .filter(|member| member.merged)
            .filter(|member| before.packs.get(member.live.number).is_some_and(|known| !known.merged))
            .count();
        let merge = Merge { packs: added, rows: view.rows(), rewritten: true };
        self.swap(State { packs: Arc::new(after), view: Some(view) });
        Ok(merge)
    }

    /// A new, empty table file beside the one in use.
    pub(super) fn new_table(&self) -> Result<Table, CatalogError> {
        let left_over = self
            .disk
            .exists(CATALOG_NEW_PATH)
            .map_err(|source| CatalogError::io("look for", CATALOG_NEW_PATH, source))?;
        if left_over {
            self.disk
                .remove(CATALOG_NEW_PATH)
                .map_err(|source| CatalogError::io("remove", CATALOG_NEW_PATH, source))?;
        }
        Table::create(&*self.disk, CATALOG_NEW_PATH, self.engine, self.options.redb_cache_bytes)
    }

    /// Gives a new table file its name, durably, and opens it. The caller holds the publish lock and
    /// swaps the state.
    pub(super) fn install_table(&self, table: Table) -> Result<Arc<View>, CatalogError> {
        drop(table);
        if let Some(view) = &self.state().view {
            view.table().retire();
        }
        let named = self
            .disk
            .rename(CATALOG_NEW_PATH, CATALOG_PATH)
            .and_then(|()| self.disk.sync_dir(""))
            .map_err(|source| CatalogError::io("rename", CATALOG_PATH, source));
        let opened = named.and_then(|()| {
            let cache = self.options.redb_cache_bytes;
            let table = Table::open(&*self.disk, CATALOG_PATH, self.engine, cache, false)?;
            Arc::new(table).view()
        });
        match opened {
            Ok(view) => Ok(Arc::new(view)),
            Err(error) => {
                // Which of the two files has the name is not known now; the packs answer alone.
                self.swap(State { packs: Arc::clone(&self.state().packs), view: None });
                Err(error)
            }
        }
    }

    /// What the table is to say about `packs`.
    pub(super) fn pack_rows(&self, packs: &Packs) -> PackRows {
        let rows: BTreeMap<_, _> = packs
            .iter()
            .map(|member| {
                let row = PackRow { merged: member.merged, footer_hash: member.live.footer_hash };
                (member.live.number, row)
            })
            .collect();
        PackRows { rows, highest: self.highest() }
    }
}

/// Rows that live merged packs account for.
fn merged_entries(packs: &Packs) -> u64 {
    packs.iter().filter(|member| member.merged).map(|member| member.pack.footer().entries).sum()
}

/// [`Merged`] as an iterator.
struct Stream(Merged);

impl Iterator for Stream {
    type Item = Result<Row, CatalogError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next().transpose()
    }
}
