//! The catalog: the merged index of all packs.
//!
//! It answers where a head, a leaf, a delta leaf or a run of an object is. It is derived: everything
//! in it comes from the packs, and it can be made anew from them at any time. Two parts:
//!
//! - the **table**, a redb database in `catalog.redb`: the entries of all packs that were merged, in
//!   one place ([`table`] says what is in it, [`backend`] how it lies on disk);
//! - the **newest packs**, which are not merged yet and are searched through their own filter and index.
//!
//! Which packs are live stands in the footer of the newest one, not here ([`open`] reads it).
//!
//! Nothing of a damaged table is believed. The first error turns it off, lookups go through the
//! packs' own indexes, and the next merge writes a new one.

mod backend;
mod cursor;
mod error;
#[cfg(feature = "sim")]
pub(crate) mod hostile;
mod merge;
mod open;
mod packs;
mod snapshot;
mod table;
mod traces;
mod verify;

#[cfg(test)]
mod tests;

use std::{collections::BTreeSet, fmt, io};

use lineal_snapshot::{BlockCache, ErrorKind, Footer, LivePack, PACK_FOLDER, Pack, PackError, PackNumber};
use lineal_wal::{
    Disk, EngineId, OpenMode,
    planted::{self, Bug},
};

pub(crate) use self::error::CatalogError;
pub(crate) use self::snapshot::{Heads, Located, RunRef, Snapshot};
pub(crate) use self::traces::Floors;
use self::{
    open::{Look, decide},
    packs::{Member, Packs},
    table::{PackRows, Table, View},
};
use crate::sync::{
    Arc, Mutex, MutexGuard, RwLock,
    atomic::{AtomicU64, Ordering},
};

/// The file of the table.
const CATALOG_PATH: &str = "catalog.redb";
/// A table file that is being written.
const CATALOG_NEW_PATH: &str = "catalog.redb.new";

/// How a catalog is opened.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CatalogOptions {
    /// Change no byte of any file.
    pub(crate) read_only: bool,
    /// Memory that redb may use for its pages, in bytes.
    pub(crate) redb_cache_bytes: usize,
}

impl Default for CatalogOptions {
    fn default() -> Self {
        // Holds the branch pages of several million rows, so that a lookup reads one page.
        CatalogOptions { read_only: false, redb_cache_bytes: 8 << 20 }
    }
}

/// The merged index of all packs of one engine.
pub(crate) struct Catalog {
    disk: Arc<dyn Disk>,
    cache: Arc<BlockCache>,
    engine: EngineId,
    options: CatalogOptions,
    /// What lookups see. Replaced as a whole.
    state: RwLock<Arc<State>>,
    /// Held from the list for a footer to the row of its pack.
    publishing: Mutex<Publishing>,
    /// Held while a merge runs: one at a time.
    merging: Mutex<()>,
    /// The highest pack number that was ever given out.
    highest: AtomicU64,
    /// The newest pack, if it was found unlisted where nothing may be written: its footer may have one copy only.
    unsettled: Option<PackNumber>,
}

/// What lookups see.
struct State {
    packs: Arc<Packs>,
    /// The rows of the merged packs. `None`: there is no usable table.
    view: Option<Arc<View>>,
}

/// What only publishing needs.
#[derive(Debug, Default)]
struct Publishing {
    /// Files of unlisted packs that could not be removed yet.
    leftover: BTreeSet<String>,
    /// Files of packs whose row failed to be written: whether they are listed is not known before the next row stands.
    doubtful: BTreeSet<String>,
}

impl Publishing {
    /// A row was made durable that lists none of the doubtful packs.
    fn resolve(&mut self) {
        self.leftover.append(&mut self.doubtful);
    }
}

/// A catalog that was opened, and what it was found to be.
#[derive(Debug)]
pub(crate) struct Opened {
    /// The catalog.
    pub(crate) catalog: Catalog,
    /// The footer of the newest pack: the line up to which commits are packed, and the totals.
    pub(crate) newest: Option<Footer>,
    /// Packs that were removed: never finished, or unlisted before a crash.
    pub(crate) removed: Vec<PackNumber>,
    /// What was wrong with the table, if it has to be made anew.
    pub(crate) table_damage: Option<CatalogError>,
}

/// Numbers about the catalog.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct CatalogStats {
    /// Live packs.
    pub(crate) packs: u64,
    /// Live packs that are searched through their own index.
    pub(crate) unmerged: u64,
    /// Bytes of the live packs.
    pub(crate) pack_bytes: u64,
    /// Entries of the live packs; one key may be in several.
    pub(crate) entries: u64,
    /// Rows of the table, dead ones included.
    pub(crate) rows: u64,
    /// Length of the table's file, in bytes.
    pub(crate) table_bytes: u64,
    /// Whether the table is damaged or missing.
    pub(crate) damaged: bool,
}

impl fmt::Debug for Catalog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Catalog")
            .field("engine", &self.engine)
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

impl Catalog {
    /// Opens the catalog of `engine`: finds the live packs, removes those that are dead or were never
    /// finished, opens the table or starts a new one. Reads footers only, however many objects there
    /// are. With [`CatalogOptions::read_only`] nothing is created, removed or written.
    ///
    /// # Errors
    ///
    /// [`CatalogError::PackLost`], [`CatalogError::PackMissing`], [`CatalogError::PackMismatch`],
    /// [`CatalogError::Pack`] if a live pack is not what it should be; [`CatalogError::OtherEngine`],
    /// [`CatalogError::NewerVersion`], [`CatalogError::Io`], [`CatalogError::NoSpace`]. A damaged table
    /// is none: [`Opened::table_damage`] tells.
    pub(crate) fn open(
        disk: Arc<dyn Disk>,
        cache: Arc<BlockCache>,
        engine: EngineId,
        options: CatalogOptions,
    ) -> Result<Opened, CatalogError> {
        if !options.read_only {
            make_packs_dir(&*disk)?;
        }
        let files = pack_files(&*disk)?;
        let voided = voided_packs(&*disk)?;
        let mut table_damage = None;
        let (table, rows) = match open_table(&*disk, engine, options) {
            Ok(Some((table, rows))) => (Some(table), Some(rows)),
            Ok(None) => (None, None),
            Err(damage) if damage.cured_by_rebuild() => {
                table_damage = Some(damage);
                (None, None)
            }
            Err(error) => return Err(error),
        };
        // What such a table says last was given up, and nothing was built on it. It is made anew.
        let is_given_up = |rows: &PackRows| rows.rows.keys().any(|number| voided.contains(number));
        let (table, rows) = if rows.as_ref().is_some_and(is_given_up) { (None, None) } else { (table, rows) };
        let mut looked: Vec<Arc<Pack>> = Vec::new();
        let plan = decide(&files, rows.as_ref(), &mut |number| match Pack::open(&disk, &cache, number) {
            Ok(pack) => {
                let look = look_at(&pack, number, engine)?;
                looked.push(pack);
                Ok(look)
            }
            Err(why) => match why.kind() {
                ErrorKind::Incomplete | ErrorKind::Corrupt => Ok(Look::Unfinished(why)),
                _ => Err(why.into()),
            },
        })?;
        let listed = |number| rows.as_ref().is_some_and(|rows| rows.rows.contains_key(&number));
        let mut unsettled = plan.live.last().map(|newest| newest.number).filter(|newest| !listed(*newest));
        if let Some(newest) = unsettled.take_if(|_| !options.read_only) {
            // Its footer may be in the page cache only, and what it unlists is about to be removed.
            match Pack::settle(&disk, newest) {
                // It is in an archive only, which keeps what it has.
                Ok(_) | Err(PackError::Missing { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        let members = plan
            .live
            .iter()
            .map(|live| Member {
                live: *live,
                pack: looked
                    .iter()
                    .find(|pack| pack.footer().number == live.number)
                    .map(Arc::clone)
                    .expect("every live pack was looked at"),
                merged: plan.merged.contains(&live.number),
            })
            .collect();
        let packs = Arc::new(Packs::new(members));
        let newest = packs.iter().next_back().map(|member| member.pack.footer().clone());
        let catalog = Catalog {
            disk,
            cache,
            engine,
            options,
            state: RwLock::new(Arc::new(State { packs: Arc::clone(&packs), view: None })),
            publishing: Mutex::new(Publishing::default()),
            merging: Mutex::new(()),
            highest: AtomicU64::new(plan.highest.max(voided.last().copied().unwrap_or_default()).0),
            unsettled,
        };
        let table = table.filter(|_| plan.table_fits);
        if table.is_none() && rows.is_some() {
            table_damage = Some(CatalogError::CatalogDamaged {
                path: CATALOG_PATH.to_owned(),
                offset: 0,
                reason: "it names other packs than there are".to_owned(),
            });
        }
        let state = catalog.start_table(table, rows, packs, &mut table_damage)?;
        catalog.swap(state);
        let mut removed = Vec::new();
        if !options.read_only {
            removed.clone_from(&plan.remove);
            let mut publishing = catalog.publishing.lock();
            publishing.leftover.extend(plan.remove.iter().map(|number| number.path()));
            publishing.leftover.extend(voided.iter().map(|number| number.void_path()));
            catalog.remove_leftover(&mut publishing)?;
        }
        Ok(Opened { catalog, newest, removed, table_damage })
    }

    /// Makes the table say what the footers say, before any pack is removed; a table that is missing
    /// or unusable is replaced by an empty one, where anything may be written, and then the packs answer themselves.
    fn start_table(
        &self,
        table: Option<Table>,
        rows: Option<PackRows>,
        packs: Arc<Packs>,
        damage: &mut Option<CatalogError>,
    ) -> Result<State, CatalogError> {
        if let Some(table) = table {
            let wanted = self.pack_rows(&packs);
            let ready = if self.options.read_only || rows.as_ref() == Some(&wanted) {
                Ok(())
            } else {
                table.set_packs(&wanted)
            };
            match ready.and_then(|()| Arc::new(table).view()) {
                Ok(view) => return Ok(State { packs, view: Some(Arc::new(view)) }),
                Err(error) if error.cured_by_rebuild() => *damage = Some(error),
                Err(error) => return Err(error),
            }
        }
        // Also those that the table stood for, if it could be read so far.
        let packs = Packs::clone(&packs).merged_as(&BTreeSet::new());
        let view = if self.options.read_only { None } else { Some(self.empty_table(&packs)?) };
        Ok(State { packs: Arc::new(packs), view })
    }

    /// Replaces the table by an empty one that counts none of `packs` as merged.
    fn empty_table(&self, packs: &Packs) -> Result<Arc<View>, CatalogError> {
        let table = self.new_table()?;
        let mut rows = self.pack_rows(packs);
        for row in rows.rows.values_mut() {
            row.merged = false;
        }
        table.set_packs(&rows)?;
        self.install_table(table)
    }

    /// Writes the rows of `packs`, durably, and returns the state that goes with them. A table that
    /// fails is opened again once, and replaced by an empty one if that does not help, unless the
    /// disk is full.
    fn publish_rows(&self, state: &State, packs: Packs) -> Result<State, CatalogError> {
        let write = |view: &Arc<View>, packs: &Packs| {
            let table = view.table();
            table.set_packs(&self.pack_rows(packs)).and_then(|()| table.view())
        };
        let mut packs = packs;
        let mut first = None;
        if let Some(view) = &state.view {
            match write(view, &packs) {
                Ok(view) => return Ok(State { packs: Arc::new(packs), view: Some(Arc::new(view)) }),
                Err(error) => first = Some(error),
            }
        }
        if let Some((healed, merged)) = first.as_ref().and_then(|_| self.heal()) {
            packs = packs.merged_as(&merged);
            match write(&healed, &packs) {
                Ok(view) => return Ok(State { packs: Arc::new(packs), view: Some(Arc::new(view)) }),
                Err(error) => {
                    self.heal();
                    first = Some(error);
                }
            }
        }
        if let Some(full @ CatalogError::NoSpace { .. }) = first {
            return Err(full);
        }
        // The packs answer themselves until the next merge.
        let packs = packs.merged_as(&BTreeSet::new());
        let view = self.empty_table(&packs)?;
        Ok(State { packs: Arc::new(packs), view: Some(view) })
    }

    /// Opens the table's file again after its handle failed, and lets lookups use it. The caller holds
    /// the publish lock. Returns the new view and which packs are merged in it; `None` if the file is
    /// of no use, and then lookups go through the packs.
    fn heal(&self) -> Option<(Arc<View>, BTreeSet<PackNumber>)> {
        let state = self.state();
        let broken = state.view.as_ref()?;
        broken.table().retire();
        let (table, rows) = open_table(&*self.disk, self.engine, self.options).ok().flatten()?;
        let fits = |member: &Member| {
            rows.rows.get(&member.live.number).is_none_or(|row| row.footer_hash == member.live.footer_hash)
        };
        if !state.packs.iter().all(fits) {
            return None;
        }
        let merged: BTreeSet<PackNumber> =
            rows.rows.iter().filter(|(_, row)| row.merged).map(|(number, _)| *number).collect();
        let view = Arc::new(Arc::new(table).view().ok()?);
        let packs = Arc::new(Packs::clone(&state.packs).merged_as(&merged));
        self.swap(State { packs, view: Some(Arc::clone(&view)) });
        Some((view, merged))
    }

    /// A consistent view: the packs that are live now and the rows of the merged ones.
    pub(crate) fn snapshot(&self) -> Snapshot {
        let state = self.state();
        Snapshot { packs: Arc::clone(&state.packs), view: state.view.clone() }
    }

    /// The number for a new pack. No number is given out twice.
    pub(crate) fn next_number(&self) -> PackNumber {
        PackNumber(self.highest.fetch_add(1, Ordering::AcqRel) + 1)
    }

    /// The cache that the packs read through.
    pub(crate) fn cache(&self) -> &Arc<BlockCache> {
        &self.cache
    }

    /// Takes the lock under which a pack's footer and its row are made: hold it from
    /// [`PublishGuard::live_except`] over the writing of the footer to [`PublishGuard::publish`].
    pub(crate) fn lock_publish(&self) -> PublishGuard<'_> {
        PublishGuard { catalog: self, publishing: self.publishing.lock() }
    }

    /// The live packs, oldest first.
    pub(crate) fn live(&self) -> Vec<Arc<Pack>> {
        self.state().packs.iter().map(|member| Arc::clone(&member.pack)).collect()
    }

    /// Reads a live pack through `disk` from here on. Whoever has it open reads on as before. Returns whether it is live.
    ///
    /// # Errors
    ///
    /// [`CatalogError::Pack`]; [`CatalogError::PackMismatch`] if another pack stands there. Nothing changed then.
    #[cfg(feature = "archive")]
    pub(crate) fn reopen(&self, number: PackNumber, disk: &Arc<dyn Disk>) -> Result<bool, CatalogError> {
        // Held so that no list of packs is made out of an older one meanwhile.
        let _one = self.merging.lock();
        let _publishing = self.publishing.lock();
        let state = self.state();
        let Some(member) = state.packs.get(number) else { return Ok(false) };
        let pack = Pack::open(disk, &self.cache, number)?;
        if pack.footer().live_pack() != member.live {
            return Err(CatalogError::PackMismatch {
                path: number.path(),
                named_by: "the list of live packs".to_owned(),
                what: "footer",
                expected: member.live.bytes.to_string(),
                found: pack.footer().file_bytes.to_string(),
            });
        }
        let packs = Arc::new(state.packs.with_pack(number, pack));
        self.swap(State { packs, view: state.view.clone() });
        Ok(true)
    }

    /// Verifies one of the live packs from end to end.
    ///
    /// # Errors
    ///
    /// [`CatalogError::Pack`].
    pub(crate) fn verify_pack(&self, pack: &Arc<Pack>) -> Result<(), CatalogError> {
        if self.unsettled == Some(pack.number()) {
            pack.verify_unlisted(&mut |_| ())?;
        } else {
            pack.verify(&mut |_| ())?;
        }
        Ok(())
    }

    /// Numbers about the catalog.
    pub(crate) fn stats(&self) -> CatalogStats {
        let state = self.state();
        let mut stats = CatalogStats { packs: state.packs.len() as u64, ..CatalogStats::default() };
        for member in state.packs.iter() {
            stats.unmerged += u64::from(!member.merged);
            stats.pack_bytes += member.live.bytes;
            stats.entries += member.pack.footer().entries;
        }
        match &state.view {
            Some(view) => {
                stats.rows = view.rows();
                stats.table_bytes = view.table().file_bytes().unwrap_or_default();
                stats.damaged = view.table().fault().is_some();
            }
            None => stats.damaged = !self.options.read_only,
        }
        stats
    }

    fn state(&self) -> Arc<State> {
        Arc::clone(&self.state.read())
    }

    fn swap(&self, state: State) {
        let old = std::mem::replace(&mut *self.state.write(), Arc::new(state));
        // Outside of the lock: the last view of a table closes its file.
        drop(old);
    }

    fn highest(&self) -> PackNumber {
        PackNumber(self.highest.load(Ordering::Acquire))
    }

    fn check_writable(&self) -> Result<(), CatalogError> {
        if self.options.read_only { Err(CatalogError::ReadOnly) } else { Ok(()) }
    }

    /// Removes the files of packs that are not listed any more. A file that cannot be removed stays
    /// for the next time; it is dead, and opening ignores it.
    fn remove_leftover(&self, publishing: &mut Publishing) -> Result<(), CatalogError> {
        if publishing.leftover.is_empty() {
            return Ok(());
        }
        publishing.leftover.retain(|path| match self.disk.remove(path) {
            Ok(()) => false,
            Err(error) => error.kind() != io::ErrorKind::NotFound,
        });
        self.disk.sync_dir(PACK_FOLDER).map_err(|source| CatalogError::io("sync", PACK_FOLDER, source))
    }
}

/// The lock under which a pack's footer and its row are made.
pub(crate) struct PublishGuard<'a> {
    catalog: &'a Catalog,
    publishing: MutexGuard<'a, Publishing>,
}

impl PublishGuard<'_> {
    /// The packs that will be live beside the one that is being finished, when `removed` are not.
    pub(crate) fn live_except(&self, removed: &[PackNumber]) -> Vec<LivePack> {
        if planted::on(Bug::PackRemovedEarly) {
            removed.iter().for_each(|number| drop(self.catalog.disk.remove(&number.path())));
        }
        let state = self.catalog.state();
        let stays = state.packs.iter().filter(|member| !removed.contains(&member.live.number));
        stays.map(|member| member.live).collect()
    }

    /// Lists `added` and unlists `removed`: one durable row, then lookups see it, then the files of
    /// the removed packs go. Whoever has such a pack open reads on.
    ///
    /// # Errors
    ///
    /// [`CatalogError::ReadOnly`], [`CatalogError::NoSpace`], [`CatalogError::Io`]: nothing changed for
    /// lookups. The pack's file is removed if a row that does not list it could be made durable. Else it is voided:
    /// dead from then on, whatever row there is.
    pub(crate) fn publish(
        &mut self,
        added: Option<(LivePack, Arc<Pack>)>,
        removed: &[PackNumber],
    ) -> Result<(), CatalogError> {
        let catalog = self.catalog;
        catalog.check_writable()?;
        let state = catalog.state();
        let mut members: Vec<Member> =
            state.packs.iter().filter(|member| !removed.contains(&member.live.number)).cloned().collect();
        let mut number = None;
        if let Some((live, pack)) = added {
            number = Some(live.number);
            assert!(
                state.packs.iter().next_back().is_none_or(|newest| newest.live.number < live.number),
                "a pack is published with a number above all others"
            );
            catalog.highest.fetch_max(live.number.0, Ordering::AcqRel);
            members.push(Member { live, pack, merged: false });
        }
        let published = match catalog.publish_rows(&state, Packs::new(members)) {
            Ok(published) => published,
            Err(error) => {
                if let Some(number) = number {
                    self.doubt(number);
                }
                return Err(error);
            }
        };
        catalog.swap(published);
        self.publishing.resolve();
        let gone = removed.iter().filter(|number| state.packs.keeps(**number));
        self.publishing.leftover.extend(gone.map(|number| number.path()));
        // It is published: a dead file that stays, or comes back after a crash, is removed later.
        let _ = catalog.remove_leftover(&mut self.publishing);
        Ok(())
    }

    /// Gives up a pack that no row was ever written for, and removes its file. If that fails the file is dead, or
    /// adopted by an open that finds it complete; while this catalog is open the next one published takes it along.
    pub(crate) fn abandon(&mut self, number: PackNumber) {
        self.publishing.leftover.insert(number.path());
        // As said: what stays harms nothing.
        let _ = self.catalog.remove_leftover(&mut self.publishing);
    }

    /// Removes the pack whose row failed, if it is certain to be listed nowhere: a commit of the table that failed may
    /// be found there after a crash, so only a later one, durable and without the row, makes certain.
    fn doubt(&mut self, number: PackNumber) {
        let catalog = self.catalog;
        self.publishing.doubtful.insert(number.path());
        let usable = catalog.state().view.clone().filter(|view| view.table().fault().is_none());
        let Some(view) = usable.or_else(|| catalog.heal().map(|(view, _)| view)) else {
            return self.void(number);
        };
        let (table, state) = (view.table(), catalog.state());
        match table.set_packs(&catalog.pack_rows(&state.packs)).and_then(|()| table.view()) {
            Ok(view) => {
                catalog.swap(State { packs: Arc::clone(&state.packs), view: Some(Arc::new(view)) });
                self.publishing.resolve();
                let _ = catalog.remove_leftover(&mut self.publishing);
            }
            Err(_) => {
                catalog.heal();
                self.void(number);
            }
        }
    }

    /// Makes sure that a pack which may be listed is not adopted after a crash, when what it leaves out may be needed again
    /// and its number may stand in a root that was published anew. A name takes no room, so that a full disk lets it
    /// happen; the file's own room is given back. It goes when a table is durable that does not list it.
    fn void(&mut self, number: PackNumber) {
        let disk = &self.catalog.disk;
        let void = number.void_path();
        if disk.rename(&number.path(), &void).is_err() {
            // It stays as it was, in doubt.
            return;
        }
        self.publishing.doubtful.insert(void.clone());
        let durable = disk.sync_dir(PACK_FOLDER);
        if durable.and_then(|()| disk.open(&void, OpenMode::ReadWrite)?.set_len(0)).is_err() {
            tracing::warn!(%number, "a pack that was given up may come back with a crash");
        }
    }
}

/// Makes the folder of the packs if there is none.
fn make_packs_dir(disk: &dyn Disk) -> Result<(), CatalogError> {
    let exists =
        disk.exists(PACK_FOLDER).map_err(|source| CatalogError::io("look for", PACK_FOLDER, source))?;
    if exists {
        return Ok(());
    }
    disk.create_dir(PACK_FOLDER)
        .and_then(|()| disk.sync_dir(""))
        .map_err(|source| CatalogError::io("create", PACK_FOLDER, source))
}

/// The pack files there are, whatever is in them.
pub(crate) fn pack_files(disk: &dyn Disk) -> Result<BTreeSet<PackNumber>, CatalogError> {
    packs_named(disk, PackNumber::from_file_name)
}

/// The packs that were given up though a row may list them.
fn voided_packs(disk: &dyn Disk) -> Result<BTreeSet<PackNumber>, CatalogError> {
    packs_named(disk, PackNumber::from_void_name)
}

fn packs_named(
    disk: &dyn Disk,
    number_of: fn(&str) -> Option<PackNumber>,
) -> Result<BTreeSet<PackNumber>, CatalogError> {
    match disk.list(PACK_FOLDER) {
        Ok(names) => Ok(names.iter().filter_map(|name| number_of(name)).collect()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(BTreeSet::new()),
        Err(error) => Err(CatalogError::io("list", PACK_FOLDER, error)),
    }
}

/// Opens the table, if there is one, and reads what it says about the packs.
fn open_table(
    disk: &dyn Disk,
    engine: EngineId,
    options: CatalogOptions,
) -> Result<Option<(Table, PackRows)>, CatalogError> {
    let exists =
        disk.exists(CATALOG_PATH).map_err(|source| CatalogError::io("look for", CATALOG_PATH, source))?;
    if !exists {
        return Ok(None);
    }
    let table = Table::open(disk, CATALOG_PATH, engine, options.redb_cache_bytes, options.read_only)?;
    let rows = table.packs()?;
    Ok(Some((table, rows)))
}

/// What the footer of an open pack says.
fn look_at(pack: &Pack, number: PackNumber, engine: EngineId) -> Result<Look, CatalogError> {
    let footer = pack.footer();
    if footer.engine != engine {
        return Err(CatalogError::OtherEngine {
            path: number.path(),
            found: footer.engine,
            expected: engine,
        });
    }
    if footer.number != number {
        return Err(CatalogError::PackMismatch {
            path: number.path(),
            named_by: number.path(),
            what: "number",
            expected: number.0.to_string(),
            found: footer.number.0.to_string(),
        });
    }
    Ok(Look::Complete { this: footer.live_pack(), lists: footer.live.clone() })
}
