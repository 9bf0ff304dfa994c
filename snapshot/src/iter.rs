//! Walks the entries of a pack in either direction, a page at a time.
//!
//! Pages that are in the cache are used; others are read and not kept: a merge over a whole pack shall not push out
//! what readers need.

use crate::entry::EntryValue;
use crate::error::PackError;
use crate::index::PageCursor;
use crate::reader::Pack;
use crate::sync::Arc;

/// An entry: encoded key and value.
type Entry = (Vec<u8>, EntryValue);

/// Entries ascending. After an error it ends.
#[derive(Debug)]
pub struct PackIter {
    pack: Arc<Pack>,
    from: Option<Vec<u8>>,
    page: Option<(usize, Arc<[u8]>, PageCursor)>,
    done: bool,
}

impl PackIter {
    pub(crate) fn new(pack: Arc<Pack>, from: &[u8]) -> Self {
        Self { pack, from: Some(from.to_vec()), page: None, done: false }
    }

    fn advance(&mut self) -> Result<Option<Entry>, PackError> {
        if let Some(from) = self.from.take()
            && let Some(entry) = self.start(&from)?
        {
            return Ok(Some(entry));
        }
        loop {
            let Some((index, page, cursor)) = &mut self.page else { return Ok(None) };
            let index = *index;
            if cursor.step(page).ok_or_else(|| self.pack.bad_index(index))? {
                return Ok(Some((cursor.key(), cursor.value(page, self.pack.number()))));
            }
            self.open_page(index + 1)?;
        }
    }

    /// Goes to the first entry that is not below `from`, if it is in the page that can hold `from`.
    fn start(&mut self, from: &[u8]) -> Result<Option<Entry>, PackError> {
        let Some(index) = self.pack.top()?.page_of(from) else { return Ok(None) };
        let page = self.pack.index_page(index, false)?;
        let found = PageCursor::seek(&page, from).ok_or_else(|| self.pack.bad_index(index))?;
        let Some(cursor) = found else {
            self.open_page(index + 1)?;
            return Ok(None);
        };
        let entry = (cursor.key(), cursor.value(&page, self.pack.number()));
        self.page = Some((index, page, cursor));
        Ok(Some(entry))
    }

    fn open_page(&mut self, index: usize) -> Result<(), PackError> {
        self.page = None;
        if index < self.pack.top()?.len() {
            let page = self.pack.index_page(index, false)?;
            let cursor = PageCursor::first(&page).ok_or_else(|| self.pack.bad_index(index))?;
            self.page = Some((index, page, cursor));
        }
        Ok(())
    }
}

impl Iterator for PackIter {
    type Item = Result<Entry, PackError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        let next = self.advance().transpose();
        self.done = !matches!(next, Some(Ok(_)));
        next
    }
}

/// Entries descending. After an error it ends.
#[derive(Debug)]
pub struct PackIterBack {
    pack: Arc<Pack>,
    from: Option<Vec<u8>>,
    /// The page that `entries` are of.
    page: usize,
    /// Ascending; the last one is next.
    entries: Vec<Entry>,
    done: bool,
}

impl PackIterBack {
    pub(crate) fn new(pack: Arc<Pack>, from: &[u8]) -> Self {
        Self { pack, from: Some(from.to_vec()), page: 0, entries: Vec::new(), done: false }
    }

    fn advance(&mut self) -> Result<Option<Entry>, PackError> {
        if let Some(from) = self.from.take() {
            let Some(index) = self.pack.top()?.page_of(&from) else { return Ok(None) };
            self.open_page(index)?;
            let kept = self.entries.partition_point(|(key, _)| *key <= from);
            self.entries.truncate(kept);
        }
        loop {
            if let Some(entry) = self.entries.pop() {
                return Ok(Some(entry));
            }
            let Some(before) = self.page.checked_sub(1) else { return Ok(None) };
            self.open_page(before)?;
        }
    }

    fn open_page(&mut self, index: usize) -> Result<(), PackError> {
        let page = self.pack.index_page(index, false)?;
        let bad = || self.pack.bad_index(index);
        let mut cursor = PageCursor::first(&page).ok_or_else(bad)?;
        self.entries.clear();
        while cursor.step(&page).ok_or_else(bad)? {
            self.entries.push((cursor.key(), cursor.value(&page, self.pack.number())));
        }
        self.page = index;
        Ok(())
    }
}

impl Iterator for PackIterBack {
    type Item = Result<Entry, PackError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        let next = self.advance().transpose();
        self.done = !matches!(next, Some(Ok(_)));
        next
    }
}
