//! Looking for entries of purged objects in the catalog's files, also where nothing reads them: in pages that redb has
//! freed, and in packs that are not listed.
//!
//! redb holds entries only, and no part: what such a page can give away is a fence, which was a key of the object. Names,
//! salts and values stand in packs. The keys of rows are stored whole, so a search for an object's key in the bytes of the
//! file finds every row that it ever had there, whatever page it is on. What redb keeps to tell pages apart is the
//! beginning of a key, of which nobody can say to which version it belongs; where there are no such rows, the table was
//! made anew since, and it is of rows that are there.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
};

use lineal_snapshot::{Kind, SUB_KEY_BYTES_MAX};
use lineal_wal::{DiskFile, OBJECT_KEY_BYTES, ObjectKey, OpenMode, Seq};

use super::{
    CATALOG_NEW_PATH, CATALOG_PATH, Catalog, CatalogError,
    backend::{BODY_OFFSET, PAGE_BYTES, STORED_BYTES},
    pack_files, voided_packs,
};

/// Objects that were purged, and the seq up to which nothing of them may be left.
pub(crate) type Floors = BTreeMap<ObjectKey, Seq>;

/// Longest encoded key of an entry: every byte of the sub-key may be escaped.
const KEY_BYTES_MAX: usize = OBJECT_KEY_BYTES + 1 + 2 * SUB_KEY_BYTES_MAX + 2 + 8;
/// Pages that are read at once.
///
/// Source: chosen; a quarter of a megabyte.
const PAGES_AT_ONCE: usize = 64;

/// Entries of purged objects in one file.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TableTrace {
    /// The file.
    pub(crate) path: &'static str,
    /// Where the first one is.
    pub(crate) offset: u64,
    /// How many there are.
    pub(crate) count: u64,
}

impl Catalog {
    /// Searches the table's file for entries of objects up to their floor. Returns how many bytes it has read.
    ///
    /// # Errors
    ///
    /// [`CatalogError::Io`].
    pub(crate) fn table_traces(&self, floors: &Floors) -> Result<(u64, Vec<TableTrace>), CatalogError> {
        // Nothing is written meanwhile.
        let _merging = self.merging.lock();
        let _publishing = self.publishing.lock();
        let mut bytes = 0;
        let mut traces = Vec::new();
        for path in [CATALOG_PATH, CATALOG_NEW_PATH] {
            let file = match self.disk.open(path, OpenMode::Read) {
                Ok(file) => file,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(CatalogError::io("open", path, error)),
            };
            let failed = |source| CatalogError::io("read", path, source);
            bytes += file.len().map_err(failed)?;
            let mut found: Option<TableTrace> = None;
            search(&*file, floors, &mut |offset| match &mut found {
                Some(found) => found.count += 1,
                None => found = Some(TableTrace { path, offset, count: 1 }),
            })
            .map_err(failed)?;
            traces.extend(found);
        }
        Ok((bytes, traces))
    }

    /// The files of packs that are not live.
    ///
    /// # Errors
    ///
    /// [`CatalogError::Io`].
    pub(crate) fn unlisted(&self) -> Result<Vec<String>, CatalogError> {
        let _publishing = self.publishing.lock();
        let state = self.state();
        let (files, voided) = (pack_files(&*self.disk)?, voided_packs(&*self.disk)?);
        let unlisted = files.iter().filter(|number| !state.packs.keeps(**number)).map(|number| number.path());
        Ok(unlisted.chain(voided.iter().map(|number| number.void_path())).collect())
    }
}

/// Calls `found` with the offset of every key of an entry that is at or below its object's floor.
fn search(file: &dyn DiskFile, floors: &Floors, found: &mut dyn FnMut(u64)) -> io::Result<()> {
    let length = file.len()?;
    // Most bytes are told by these at once.
    let namespaces: BTreeSet<[u8; 4]> = floors.keys().map(|key| key.namespace.0.to_be_bytes()).collect();
    let may_begin = |bytes: &[u8]| bytes.first_chunk().is_some_and(|first| namespaces.contains(first));
    let mut window: Vec<u8> = Vec::new();
    // The window starts here, not counting checksums.
    let mut start = 0;
    let mut read = 0;
    while read < length {
        read = extend(file, read, length, &mut window)?;
        let whole = if read < length { window.len().saturating_sub(KEY_BYTES_MAX) } else { window.len() };
        for at in 0..whole {
            if may_begin(&window[at..]) && is_trace(&window[at..], floors) {
                found(stored_at(start + at as u64));
            }
        }
        window.drain(..whole);
        start += whole as u64;
    }
    Ok(())
}

/// Appends the next bytes of the file, without the checksums of pages. Returns where it goes on.
fn extend(file: &dyn DiskFile, from: u64, length: u64, window: &mut Vec<u8>) -> io::Result<u64> {
    let to = if from < BODY_OFFSET { BODY_OFFSET } else { from + (PAGES_AT_ONCE * STORED_BYTES) as u64 };
    let to = to.min(length);
    let mut bytes = vec![0; usize::try_from(to - from).expect("a few pages")];
    file.read_exact_at(&mut bytes, from)?;
    if from < BODY_OFFSET {
        window.extend_from_slice(&bytes);
    } else {
        for stored in bytes.chunks(STORED_BYTES) {
            window.extend_from_slice(&stored[..stored.len().min(PAGE_BYTES)]);
        }
    }
    Ok(to)
}

/// Where in the file such a byte is.
fn stored_at(at: u64) -> u64 {
    match at.checked_sub(BODY_OFFSET) {
        None => at,
        Some(body) => {
            let page = PAGE_BYTES as u64;
            BODY_OFFSET + body / page * STORED_BYTES as u64 + body % page
        }
    }
}

/// Whether these bytes begin with the key of an entry that a purge should have taken away.
fn is_trace(bytes: &[u8], floors: &Floors) -> bool {
    let Some((object, rest)) = bytes.split_first_chunk::<OBJECT_KEY_BYTES>() else { return false };
    let key = ObjectKey::from_bytes(object);
    let Some(floor) = floors.get(&key) else { return false };
    let Some((kind, rest)) = rest.split_first() else { return false };
    match (Kind::from_byte(*kind), seq_behind(rest)) {
        // The purge itself leaves a head without anything in it.
        (Some(Kind::Head), Some(seq)) => seq < *floor,
        (Some(_), Some(seq)) => seq <= *floor,
        _ => false,
    }
}

/// The seq behind a sub-key, whose end is two zeros; a zero in it is followed by 0xff.
fn seq_behind(bytes: &[u8]) -> Option<Seq> {
    let mut at = 0;
    loop {
        match (bytes.get(at)?, bytes.get(at + 1)?) {
            (0, 0) => break,
            (0, 0xff) => at += 2,
            (0, _) => return None,
            _ => at += 1,
        }
    }
    let seq = bytes.get(at + 2..at + 10)?;
    Some(Seq(u64::from_be_bytes(seq.try_into().ok()?)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use lineal_snapshot::EntryKey;
    use lineal_wal::{Disk, NamespaceId, ObjectId, sim::SimDisk};

    fn key(byte: u8) -> ObjectKey {
        ObjectKey { namespace: NamespaceId(1), id: ObjectId([byte; 16]) }
    }

    #[test]
    fn only_entries_up_to_the_floor_are_traces() {
        let floors = Floors::from([(key(1), Seq(7))]);
        let leaf = |object, seq| EntryKey::leaf(object, Seq(0), b"a\0b", Seq(seq)).encode();
        assert!(is_trace(&leaf(key(1), 7), &floors));
        assert!(!is_trace(&leaf(key(1), 8), &floors));
        assert!(!is_trace(&leaf(key(2), 7), &floors));
        assert!(is_trace(&EntryKey::head(key(1), Seq(6)).encode(), &floors));
        assert!(!is_trace(&EntryKey::head(key(1), Seq(7)).encode(), &floors), "the purge itself");
        let cut = leaf(key(1), 7);
        assert!(!is_trace(&cut[..cut.len() - 1], &floors), "the beginning of a key");
        assert!(!is_trace(&key(1).to_bytes(), &floors), "an id is no entry");
    }

    #[test]
    fn an_entry_is_found_wherever_it_lies_also_over_the_end_of_a_page() {
        let floors = Floors::from([(key(1), Seq(7))]);
        let entry = EntryKey::leaf(key(1), Seq(0), &[b'k'; 3_000], Seq(7)).encode();
        let pages = 3 * PAGES_AT_ONCE;
        let logical = pages * PAGE_BYTES - entry.len();
        for at in [0, 1, 2_000, PAGE_BYTES - 5, PAGES_AT_ONCE * PAGE_BYTES - 100, logical] {
            let mut body = vec![0; pages * PAGE_BYTES];
            body[at..at + entry.len()].copy_from_slice(&entry);
            let disk = SimDisk::new();
            disk.create_dir("").unwrap();
            let file = disk.open("f", OpenMode::Create).unwrap();
            file.write_all_at(&[0; BODY_OFFSET as usize], 0).unwrap();
            for (page, bytes) in body.chunks(PAGE_BYTES).enumerate() {
                let stored = [bytes, b"crc!"].concat();
                file.write_all_at(&stored, BODY_OFFSET + (page * STORED_BYTES) as u64).unwrap();
            }
            let mut found = Vec::new();
            search(&*file, &floors, &mut |offset| found.push(offset)).unwrap();
            assert_eq!(found, [BODY_OFFSET + (at / PAGE_BYTES * STORED_BYTES + at % PAGE_BYTES) as u64]);
        }
    }
}
