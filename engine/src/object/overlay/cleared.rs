//! Key ranges where nothing below is visible: disjoint, sorted, joined where they touch.

use std::{collections::BTreeMap, ops::Bound};

use super::heap_bytes;

/// What a `BTreeMap` takes for one interval besides the keys' bytes: two fat pointers, in nodes that are two thirds full.
const INTERVAL_BYTES: usize = 48;

/// An interval: its first key, and the first key after it (`None` if it has no end).
pub(crate) type Interval<'a> = (&'a [u8], Option<&'a [u8]>);

/// Where `key` stands to an end that may be unbounded.
fn is_before(key: &[u8], end: Option<&[u8]>) -> bool {
    end.is_none_or(|end| key < end)
}

#[derive(Debug, Default)]
pub(super) struct Cleared {
    /// Start to end.
    intervals: BTreeMap<Box<[u8]>, Option<Box<[u8]>>>,
    bytes: usize,
}

impl Cleared {
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.intervals.is_empty()
    }

    /// Whether every key is cleared.
    pub(super) fn contains_all(&self) -> bool {
        self.at_or_after(b"") == Some((b"", None))
    }

    pub(super) fn memory_bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn contains(&self, key: &[u8]) -> bool {
        self.before(Bound::Included(key)).is_some_and(|(_, end)| is_before(key, end))
    }

    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = Interval<'_>> {
        self.intervals.iter().map(|(start, end)| (&**start, end.as_deref()))
    }

    /// The last interval that starts within the bound.
    pub(super) fn before(&self, start: Bound<&[u8]>) -> Option<Interval<'_>> {
        let (start, end) = self.intervals.range::<[u8], _>((Bound::Unbounded, start)).next_back()?;
        Some((start, end.as_deref()))
    }

    /// The first interval that holds `key` or starts after it.
    pub(super) fn at_or_after(&self, key: &[u8]) -> Option<Interval<'_>> {
        self.before(Bound::Included(key)).filter(|(_, end)| is_before(key, *end)).or_else(|| {
            let after = (Bound::Excluded(key), Bound::Unbounded);
            let (start, end) = self.intervals.range::<[u8], _>(after).next()?;
            Some((start, end.as_deref()))
        })
    }

    /// Adds a range that is not empty.
    pub(super) fn add(&mut self, start: &[u8], end: Option<&[u8]>) {
        let mut start: Box<[u8]> = start.into();
        let mut end: Option<Box<[u8]>> = end.map(Into::into);
        if let Some((before, before_end)) = self.before(Bound::Included(&start))
            && before_end.is_none_or(|before_end| *start <= *before_end)
        {
            if before_end.is_none_or(|before_end| end.as_deref().is_some_and(|end| end <= before_end)) {
                return;
            }
            start = before.into();
            self.remove(&start);
        }
        while let Some((next, next_end)) = self.at_or_after(&start)
            && end.as_deref().is_none_or(|end| next <= end)
        {
            let next: Box<[u8]> = next.into();
            if end.is_some() && next_end.is_none_or(|next_end| !is_before(next_end, end.as_deref())) {
                end = next_end.map(Into::into);
            }
            self.remove(&next);
        }
        self.insert(start, end);
    }

    /// Takes a range out.
    pub(super) fn subtract(&mut self, start: &[u8], end: Option<&[u8]>) {
        while let Some((cleared, cleared_end)) = self.at_or_after(start)
            && is_before(cleared, end)
        {
            let cleared: Box<[u8]> = cleared.into();
            let cleared_end: Option<Box<[u8]>> = cleared_end.map(Into::into);
            self.remove(&cleared);
            if let Some(end) = end
                && is_before(end, cleared_end.as_deref())
            {
                self.insert(end.into(), cleared_end);
            }
            if &*cleared < start {
                self.insert(cleared, Some(start.into()));
            }
        }
    }

    fn insert(&mut self, start: Box<[u8]>, end: Option<Box<[u8]>>) {
        self.bytes += interval_bytes(&start, end.as_deref());
        self.intervals.insert(start, end);
    }

    fn remove(&mut self, start: &[u8]) {
        let end = self.intervals.remove(start).expect("only intervals that were found are removed");
        self.bytes -= interval_bytes(start, end.as_deref());
    }
}

fn interval_bytes(start: &[u8], end: Option<&[u8]>) -> usize {
    INTERVAL_BYTES + heap_bytes(start.len()) + end.map_or(0, |end| heap_bytes(end.len()))
}
