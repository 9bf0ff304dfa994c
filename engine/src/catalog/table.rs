//! The redb tables: the rows of merged packs, and which packs these are.
//!
//! | table | key | value |
//! |---|---|---|
//! | `entries` | [`EntryKey`](lineal_snapshot::EntryKey) encoded | [`EntryValue`] encoded; an end entry is followed by the number of its pack, 8 bytes |
//! | `packs` | pack number | flags (1 byte, bit 0: merged), footer hash (32 bytes) |
//! | `meta` | `format`, `engine`, `highest` | version (4 bytes), engine id (16), highest pack number ever given out (8) |
//!
//! Numbers are little-endian. Rows are only ever written sorted and in bulk: a table that receives
//! random rows takes four times the space and a tenth of the speed.

use std::{
    any::Any,
    collections::BTreeMap,
    fmt, mem,
    ops::{Bound, Deref, DerefMut},
    panic::{AssertUnwindSafe, catch_unwind},
    thread,
};

use lineal_snapshot::{EntryValue, PackNumber};
use lineal_wal::{Disk, DiskFile, EngineId, OpenMode};
use redb::{ReadOnlyTable, ReadableDatabase, ReadableTable, ReadableTableMetadata, TableDefinition};

use super::{
    CatalogError,
    backend::{PageFile, Retired},
};
use crate::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, Ordering},
};

/// The rows of the merged packs.
const ENTRIES: TableDefinition<&[u8], &[u8]> = TableDefinition::new("entries");
/// The packs that this catalog knows.
const PACKS: TableDefinition<u64, &[u8]> = TableDefinition::new("packs");
/// What the catalog says about itself.
const META: TableDefinition<&str, &[u8]> = TableDefinition::new("meta");
/// Version of the tables' contents.
const FORMAT: u32 = 1;
/// Flag of a pack row: the pack's entries are in `entries`.
const MERGED: u8 = 1;
/// Bytes of a pack row.
const PACK_ROW_BYTES: usize = 33;

/// What the catalog keeps about one pack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PackRow {
    /// Whether the pack's entries are rows of `entries`.
    pub(super) merged: bool,
    /// The hash of the pack's footer.
    pub(super) footer_hash: [u8; 32],
}

/// What the catalog says about the packs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct PackRows {
    /// The packs, by number.
    pub(super) rows: BTreeMap<PackNumber, PackRow>,
    /// The highest number that was ever given out, as far as the catalog knows.
    pub(super) highest: PackNumber,
}

/// One entry, from a pack's index or from the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Row {
    /// The encoded key.
    pub(super) key: Vec<u8>,
    /// Where it leads.
    pub(super) value: EntryValue,
    /// The pack that says so.
    pub(super) pack: PackNumber,
}

/// An open catalog file.
pub(super) struct Table {
    /// Empty only while it is dropped.
    database: Option<redb::Database>,
    retired: Retired,
    file: Arc<dyn DiskFile>,
    path: String,
    /// Set by the first error: redb refuses everything after one, and what it says is not believed.
    /// Whether redb panicked over it once.
    gave_up: AtomicBool,
    broken: AtomicBool,
    fault: Mutex<Option<CatalogError>>,
}

impl fmt::Debug for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Table")
            .field("path", &self.path)
            .field("broken", &self.broken)
            .finish_non_exhaustive()
    }
}

impl Table {
    /// Makes a new catalog file. It is complete and durable on return, its name is not.
    ///
    /// # Errors
    ///
    /// [`CatalogError::NoSpace`], [`CatalogError::Io`].
    pub(super) fn create(
        disk: &dyn Disk,
        path: &str,
        engine: EngineId,
        cache_bytes: usize,
    ) -> Result<Table, CatalogError> {
        let file = disk
            .open(path, OpenMode::CreateNew)
            .map_err(|source| CatalogError::io("create", path, source))?;
        let table = Table::start(PageFile::create(file, path, engine)?, path, cache_bytes)?;
        table.write(|transaction| {
            let failed = |error: redb::Error| CatalogError::redb("create", path, error);
            transaction.open_table(ENTRIES).map_err(|error| failed(error.into()))?;
            transaction.open_table(PACKS).map_err(|error| failed(error.into()))?;
            let mut meta = transaction.open_table(META).map_err(|error| failed(error.into()))?;
            let mut put = |key: &str, value: &[u8]| {
                meta.insert(key, value).map(|_| ()).map_err(|error| failed(error.into()))
            };
            put("format", &FORMAT.to_le_bytes())?;
            put("engine", &engine.0)?;
            put("highest", &0u64.to_le_bytes())
        })?;
        Ok(table)
    }

    /// Opens an existing catalog file. With `read_only`, no byte of it changes.
    ///
    /// # Errors
    ///
    /// [`CatalogError::CatalogDamaged`], [`CatalogError::OtherEngine`], [`CatalogError::NewerVersion`],
    /// [`CatalogError::Io`].
    pub(super) fn open(
        disk: &dyn Disk,
        path: &str,
        engine: EngineId,
        cache_bytes: usize,
        read_only: bool,
    ) -> Result<Table, CatalogError> {
        let mode = if read_only { OpenMode::Read } else { OpenMode::ReadWrite };
        let file = disk.open(path, mode).map_err(|source| CatalogError::io("open", path, source))?;
        Table::start(PageFile::open(file, path, engine, read_only)?, path, cache_bytes)
    }

    /// Starts redb over `file`. redb answers some damage with a panic; that is damage too.
    fn start(file: PageFile, path: &str, cache_bytes: usize) -> Result<Table, CatalogError> {
        let (retired, bytes) = (file.retired(), file.file());
        let opened = catch_unwind(AssertUnwindSafe(|| {
            redb::Builder::new()
                .set_cache_size(cache_bytes)
                // A full repair would read every page, and the packs are the better source.
                .set_repair_callback(|session| session.abort())
                .create_with_backend(file)
                .map_err(|error| CatalogError::redb("open", path, error))
        }));
        let opened = opened.unwrap_or_else(|panic| Err(gave_up(path, &*panic)))?;
        Ok(Table {
            database: Some(opened),
            gave_up: AtomicBool::new(false),
            retired,
            file: bytes,
            path: path.to_owned(),
            broken: AtomicBool::new(false),
            fault: Mutex::new(None),
        })
    }

    /// Length of the file, in bytes.
    pub(super) fn file_bytes(&self) -> Result<u64, CatalogError> {
        self.file.len().map_err(|source| CatalogError::io("get the length of", &self.path, source))
    }

    /// The first error, if there was one: the table is not to be asked any more.
    pub(super) fn fault(&self) -> Option<CatalogError> {
        if self.broken.load(Ordering::Acquire) { self.fault.lock().clone() } else { None }
    }

    /// Remembers the first error.
    pub(super) fn mark_broken(&self, error: &CatalogError) {
        let mut fault = self.fault.lock();
        if fault.is_none() {
            *fault = Some(error.clone());
        }
        self.broken.store(true, Ordering::Release);
        self.retired.set();
    }

    /// Another file has this one's place: nothing is written through this handle any more.
    pub(super) fn retire(&self) {
        self.retired.set();
    }

    fn database(&self) -> &redb::Database {
        self.database.as_ref().expect("the database is there until the table is dropped")
    }

    /// What the file says about the packs.
    ///
    /// # Errors
    ///
    /// [`CatalogError::CatalogDamaged`], [`CatalogError::NewerVersion`], [`CatalogError::Io`].
    pub(super) fn packs(&self) -> Result<PackRows, CatalogError> {
        let path = &self.path;
        let damaged = |reason: &str| CatalogError::CatalogDamaged {
            path: path.clone(),
            offset: 0,
            reason: reason.to_owned(),
        };
        self.guard_read(|| {
            let failed = |error: redb::Error| CatalogError::redb("read", path, error);
            let read = Kept::new(self.database().begin_read().map_err(|error| failed(error.into()))?);
            let meta = Kept::new(read.open_table(META).map_err(|error| failed(error.into()))?);
            let get = |key: &str| -> Result<Vec<u8>, CatalogError> {
                let value = meta.get(key).map_err(|error| failed(error.into()))?;
                Ok(value
                    .ok_or_else(|| damaged("a row about the catalog itself is missing"))?
                    .value()
                    .to_vec())
            };
            let format = u32::from_le_bytes(fixed(&get("format")?).ok_or_else(|| damaged("bad format row"))?);
            if format > FORMAT {
                return Err(CatalogError::NewerVersion { path: path.clone(), found: format, known: FORMAT });
            }
            let highest =
                u64::from_le_bytes(fixed(&get("highest")?).ok_or_else(|| damaged("bad highest row"))?);
            let mut packs = PackRows { rows: BTreeMap::new(), highest: PackNumber(highest) };
            let table = Kept::new(read.open_table(PACKS).map_err(|error| failed(error.into()))?);
            for row in table.iter().map_err(|error| failed(error.into()))? {
                let (number, value) = row.map_err(|error| failed(error.into()))?;
                let row = PackRow::decode(value.value()).ok_or_else(|| damaged("bad pack row"))?;
                packs.rows.insert(PackNumber(number.value()), row);
            }
            Ok(packs)
        })
    }

    /// Replaces what the file says about the packs. Durable on return.
    ///
    /// # Errors
    ///
    /// [`CatalogError::NoSpace`], [`CatalogError::Io`], or what made the table unusable before.
    pub(super) fn set_packs(&self, packs: &PackRows) -> Result<(), CatalogError> {
        self.write(|transaction| self.put_packs(transaction, packs))
    }

    /// Appends rows in ascending key order to an empty table of entries, and sets the packs.
    /// Durable on return. Returns how many rows there are.
    ///
    /// # Errors
    ///
    /// Those of `rows`, [`CatalogError::NoSpace`], [`CatalogError::Io`].
    pub(super) fn fill(
        &self,
        rows: &mut dyn Iterator<Item = Result<Row, CatalogError>>,
        packs: &PackRows,
    ) -> Result<u64, CatalogError> {
        self.write(|transaction| {
            let failed = |error: redb::Error| CatalogError::redb("fill", &self.path, error);
            let mut count = 0;
            {
                let mut entries =
                    Kept::new(transaction.open_table(ENTRIES).map_err(|error| failed(error.into()))?);
                let mut cursor = Kept::new(
                    entries
                        .upper_bound_mut(Bound::<&[u8]>::Unbounded)
                        .map_err(|error| failed(error.into()))?,
                );
                let mut value = Vec::with_capacity(64);
                for row in rows {
                    let row = row?;
                    value.clear();
                    row.encode_value(&mut value);
                    cursor.insert_before(row.key.as_slice(), value.as_slice()).map_err(
                        |error| match error {
                            redb::CursorError::Storage(error) => failed(error.into()),
                            other => CatalogError::Disagrees {
                                path: self.path.clone(),
                                pack: row.pack.path(),
                                reason: format!("its entries are not in order: {other}"),
                            },
                        },
                    )?;
                    count += 1;
                }
                cursor.take().close().map_err(|error| failed(error.into()))?;
            }
            self.put_packs(transaction, packs)?;
            Ok(count)
        })
    }

    /// Puts a few rows, in key order, among the existing ones, and sets the packs. A row that a
    /// newer live pack (`keeps`) wrote stays. Durable on return.
    ///
    /// # Errors
    ///
    /// Those of `rows`, [`CatalogError::NoSpace`], [`CatalogError::Io`].
    pub(super) fn put(
        &self,
        rows: &mut dyn Iterator<Item = Result<Row, CatalogError>>,
        packs: &PackRows,
        keeps: &dyn Fn(PackNumber) -> bool,
    ) -> Result<(), CatalogError> {
        self.write(|transaction| {
            let failed = |error: redb::Error| CatalogError::redb("write", &self.path, error);
            {
                let mut entries =
                    Kept::new(transaction.open_table(ENTRIES).map_err(|error| failed(error.into()))?);
                let mut value = Vec::with_capacity(64);
                for row in rows {
                    let row = row?;
                    let newer = match entries.get(row.key.as_slice()).map_err(|error| failed(error.into()))? {
                        Some(old) => {
                            let old = self.decode_row(&row.key, old.value())?;
                            old.pack > row.pack && keeps(old.pack)
                        }
                        None => false,
                    };
                    if newer {
                        continue;
                    }
                    value.clear();
                    row.encode_value(&mut value);
                    entries
                        .insert(row.key.as_slice(), value.as_slice())
                        .map_err(|error| failed(error.into()))?;
                }
            }
            self.put_packs(transaction, packs)
        })
    }

    /// A view of the rows as they are now.
    ///
    /// # Errors
    ///
    /// [`CatalogError::CatalogDamaged`], [`CatalogError::Io`].
    pub(super) fn view(self: &Arc<Self>) -> Result<View, CatalogError> {
        let path = &self.path;
        self.guard_read(|| {
            let failed = |error: redb::Error| CatalogError::redb("read", path, error);
            let read = Kept::new(self.database().begin_read().map_err(|error| failed(error.into()))?);
            let entries = read.open_table(ENTRIES).map_err(|error| failed(error.into()))?;
            let rows = entries.len().map_err(|error| failed(error.into()))?;
            Ok(View { entries, rows, table: Arc::clone(self) })
        })
    }

    /// Decodes a row of `entries`.
    fn decode_row(&self, key: &[u8], value: &[u8]) -> Result<Row, CatalogError> {
        Row::decode(key, value).ok_or_else(|| CatalogError::CatalogDamaged {
            path: self.path.clone(),
            offset: 0,
            reason: "a row does not decode".to_owned(),
        })
    }

    fn put_packs(&self, transaction: &redb::WriteTransaction, packs: &PackRows) -> Result<(), CatalogError> {
        let failed = |error: redb::Error| CatalogError::redb("write", &self.path, error);
        let mut table = Kept::new(transaction.open_table(PACKS).map_err(|error| failed(error.into()))?);
        let mut gone = Vec::new();
        for row in table.iter().map_err(|error| failed(error.into()))? {
            let (number, _) = row.map_err(|error| failed(error.into()))?;
            if !packs.rows.contains_key(&PackNumber(number.value())) {
                gone.push(number.value());
            }
        }
        for number in gone {
            table.remove(number).map_err(|error| failed(error.into()))?;
        }
        for (number, row) in &packs.rows {
            let encoded = row.encode();
            let same = table
                .get(number.0)
                .map_err(|error| failed(error.into()))?
                .is_some_and(|known| known.value() == encoded);
            if !same {
                table.insert(number.0, encoded.as_slice()).map_err(|error| failed(error.into()))?;
            }
        }
        let mut meta = Kept::new(transaction.open_table(META).map_err(|error| failed(error.into()))?);
        meta.insert("highest", packs.highest.0.to_le_bytes().as_slice())
            .map_err(|error| failed(error.into()))?;
        Ok(())
    }

    /// One write transaction, committed so that an open after a kill needs no repair.
    fn write<T>(
        &self,
        change: impl FnOnce(&redb::WriteTransaction) -> Result<T, CatalogError>,
    ) -> Result<T, CatalogError> {
        if let Some(fault) = self.fault() {
            return Err(fault);
        }
        let done = self.guarded(|| {
            let failed = |error: redb::Error| CatalogError::redb("write", &self.path, error);
            let begun = self.database().begin_write().map_err(|error| failed(error.into()))?;
            let mut transaction = Kept::new(begun);
            transaction.set_quick_repair(true);
            let value = change(&transaction)?;
            transaction.take().commit().map_err(|error| failed(error.into()))?;
            Ok(value)
        });
        done.inspect_err(|error| {
            // An error of a pack that is being merged is not the table's.
            if !matches!(error, CatalogError::Pack(_)) {
                self.mark_broken(error);
            }
        })
    }

    fn guard_read<T>(&self, read: impl FnOnce() -> Result<T, CatalogError>) -> Result<T, CatalogError> {
        if let Some(fault) = self.fault() {
            return Err(fault);
        }
        self.guarded(read).inspect_err(|error| self.mark_broken(error))
    }

    fn guarded<T>(&self, work: impl FnOnce() -> Result<T, CatalogError>) -> Result<T, CatalogError> {
        let done = catch_unwind(AssertUnwindSafe(work));
        if done.is_err() {
            self.gave_up.store(true, Ordering::Release);
        }
        done.unwrap_or_else(|panic| Err(gave_up(&self.path, &*panic)))
    }
}

impl Drop for Table {
    fn drop(&mut self) {
        let database = self.database.take();
        if self.gave_up.load(Ordering::Acquire) {
            // What was under way still has it, and it would wait for that.
            return mem::forget(database);
        }
        // redb writes its last header here, and of a damaged file this may panic.
        let closed = catch_unwind(AssertUnwindSafe(|| drop(database)));
        if closed.is_err() {
            self.retired.set();
        }
    }
}

/// The rows of the table at one moment. Holds that moment's pages, so views do not live long.
pub(super) struct View {
    entries: ReadOnlyTable<&'static [u8], &'static [u8]>,
    rows: u64,
    table: Arc<Table>,
}

impl fmt::Debug for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("View").field("rows", &self.rows).field("table", &self.table).finish_non_exhaustive()
    }
}

impl View {
    /// The table under the view.
    pub(super) fn table(&self) -> &Arc<Table> {
        &self.table
    }

    /// How many rows there are, dead ones included.
    pub(super) fn rows(&self) -> u64 {
        self.rows
    }

    /// The row of `key`.
    ///
    /// # Errors
    ///
    /// [`CatalogError::CatalogDamaged`], [`CatalogError::Io`]; the table is marked broken.
    pub(super) fn get(&self, key: &[u8]) -> Result<Option<Row>, CatalogError> {
        self.read(|| {
            let found = self.entries.get(key).map_err(|error| self.failed(error))?;
            found.map(|value| self.table.decode_row(key, value.value())).transpose()
        })
    }

    /// The last row ≤ `through` and ≥ `from` that `keeps` its pack.
    ///
    /// # Errors
    ///
    /// As [`View::get`].
    pub(super) fn last(
        &self,
        from: &[u8],
        through: &[u8],
        keeps: &dyn Fn(PackNumber) -> bool,
    ) -> Result<Option<Row>, CatalogError> {
        if from > through {
            return Ok(None);
        }
        self.read(|| {
            let range = self.entries.range::<&[u8]>(from..=through).map_err(|error| self.failed(error))?;
            for found in range.rev() {
                let (key, value) = found.map_err(|error| self.failed(error))?;
                let row = self.table.decode_row(key.value(), value.value())?;
                if keeps(row.pack) {
                    return Ok(Some(row));
                }
            }
            Ok(None)
        })
    }

    /// The rows ≥ `from`, ascending.
    ///
    /// # Errors
    ///
    /// As [`View::get`].
    pub(super) fn rows_from(&self, from: &[u8]) -> Result<Rows, CatalogError> {
        self.read(|| {
            let range = self.entries.range::<&[u8]>(from..).map_err(|error| self.failed(error))?;
            Ok(Rows { range, table: Arc::clone(&self.table) })
        })
    }

    fn failed(&self, error: redb::StorageError) -> CatalogError {
        CatalogError::redb("read", &self.table.path, error)
    }

    fn read<T>(&self, read: impl FnOnce() -> Result<T, CatalogError>) -> Result<T, CatalogError> {
        if let Some(fault) = self.table.fault() {
            return Err(fault);
        }
        self.table.guarded(read).inspect_err(|error| self.table.mark_broken(error))
    }
}

/// Rows of a view in ascending order.
pub(super) struct Rows {
    range: redb::Range<'static, &'static [u8], &'static [u8]>,
    table: Arc<Table>,
}

impl Iterator for Rows {
    type Item = Result<Row, CatalogError>;

    fn next(&mut self) -> Option<Self::Item> {
        let Rows { range, table } = self;
        let failed = |error| CatalogError::redb("read", &table.path, error);
        let row = table.guarded(|| {
            let Some(found) = range.next() else { return Ok(None) };
            let (key, value) = found.map_err(failed)?;
            table.decode_row(key.value(), value.value()).map(Some)
        });
        row.inspect_err(|error| table.mark_broken(error)).transpose()
    }
}

impl PackRow {
    fn encode(&self) -> [u8; PACK_ROW_BYTES] {
        let mut bytes = [0u8; PACK_ROW_BYTES];
        bytes[0] = if self.merged { MERGED } else { 0 };
        bytes[1..].copy_from_slice(&self.footer_hash);
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<PackRow> {
        let bytes: [u8; PACK_ROW_BYTES] = fixed(bytes)?;
        let mut footer_hash = [0u8; 32];
        footer_hash.copy_from_slice(&bytes[1..]);
        Some(PackRow { merged: bytes[0] & MERGED != 0, footer_hash })
    }
}

impl Row {
    /// The row's value in the table. An end entry has no place that says which pack it is from,
    /// and a row without a pack could not be told dead, so the number follows it.
    pub(super) fn encode_value(&self, out: &mut Vec<u8>) {
        self.value.encode_into(out);
        if matches!(self.value, EntryValue::End) {
            out.extend_from_slice(&self.pack.0.to_le_bytes());
        }
    }

    pub(super) fn decode(key: &[u8], value: &[u8]) -> Option<Row> {
        if let Some((head, number)) = value.split_last_chunk::<8>()
            && let Ok(EntryValue::End) = EntryValue::decode(head)
        {
            let pack = PackNumber(u64::from_le_bytes(*number));
            return Some(Row { key: key.to_vec(), value: EntryValue::End, pack });
        }
        match EntryValue::decode(value) {
            Ok(EntryValue::Place(place)) => {
                let pack = place.pack;
                Some(Row { key: key.to_vec(), value: EntryValue::Place(place), pack })
            }
            _ => None,
        }
    }
}

/// The damage that a panic of redb stands for.
fn gave_up(path: &str, panic: &(dyn Any + Send)) -> CatalogError {
    let reason = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("no reason given");
    CatalogError::CatalogDamaged {
        path: path.to_owned(),
        offset: 0,
        reason: format!("redb gave up on it: {reason}"),
    }
}

/// Something of redb's that is not dropped while a panic of redb unwinds: its locks are poisoned then, dropping it panics again, and
/// that ends the process. It is lost instead, and so is the database.
struct Kept<T> {
    value: Option<T>,
    /// Whether nothing unwound when it came to be: a caller's panic may have an engine dropped, which writes.
    calm: bool,
}

impl<T> Kept<T> {
    fn new(value: T) -> Self {
        Self { value: Some(value), calm: !thread::panicking() }
    }

    fn take(mut self) -> T {
        self.value.take().expect("it is there until it is taken")
    }
}

impl<T> Deref for Kept<T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.value.as_ref().expect("it is there until it is taken")
    }
}

impl<T> DerefMut for Kept<T> {
    fn deref_mut(&mut self) -> &mut T {
        self.value.as_mut().expect("it is there until it is taken")
    }
}

impl<T> Drop for Kept<T> {
    fn drop(&mut self) {
        if self.calm && thread::panicking() {
            mem::forget(self.value.take());
        }
    }
}

fn fixed<const N: usize>(bytes: &[u8]) -> Option<[u8; N]> {
    bytes.try_into().ok()
}
