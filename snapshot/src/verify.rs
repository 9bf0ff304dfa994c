//! Verifies every byte of a pack.

use crate::entry::{EntryKey, EntryValue, Kind, Place};
use crate::error::PackError;
use crate::filter::{LINE_BYTES, PAGE_LINES, hash_object, line_contains, line_of};
use crate::format::{GROUP_BYTES_MAX, HEADER_BYTES, HeaderFound, encode_frame};
use crate::index::{PageCursor, Top};
use crate::reader::{Pack, read_header};
use crate::sync::Arc;
use lineal_wal::ObjectKey;

/// What is read at once, in bytes.
const CHUNK_BYTES: usize = 1 << 20;

/// What [`Pack::verify`] has found to be right.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct VerifyCounts {
    /// Bytes of the file.
    pub bytes: u64,
    /// Blocks.
    pub blocks: u64,
    /// Parts, followers included.
    pub parts: u64,
    /// Entries of the index.
    pub entries: u64,
    /// Objects that have an entry.
    pub objects: u64,
    /// Right copies of the footer: 2, or 1 where [`Pack::verify_unlisted`] took one for enough.
    pub footer_copies: u8,
}

impl Pack {
    /// Verifies the whole file: header, both copies of the footer, every part's checksum, that blocks and index fill the
    /// file without a gap, that entries ascend, that the filter has every object, that all counts agree, and the content
    /// hash. Everything is read from the file again, whatever the pack holds in memory. `progress` is called with how
    /// many bytes of the file are done.
    ///
    /// Parts are not decompressed: a right checksum means that they are what was written.
    ///
    /// # Errors
    /// [`PackError::Damaged`] for the first thing that is wrong; [`PackError::Io`].
    pub fn verify(self: &Arc<Self>, progress: &mut dyn FnMut(u64)) -> Result<VerifyCounts, PackError> {
        self.verify_with(Wanted::BothFooters, progress)
    }

    /// As [`verify`](Self::verify), for a complete pack that nothing lists yet and that was not
    /// [settled](Self::settle): its writer may have been cut off in the second copy of the footer, which is no damage.
    ///
    /// # Errors
    /// As [`verify`](Self::verify).
    pub fn verify_unlisted(
        self: &Arc<Self>,
        progress: &mut dyn FnMut(u64),
    ) -> Result<VerifyCounts, PackError> {
        self.verify_with(Wanted::OneFooter, progress)
    }

    fn verify_with(
        self: &Arc<Self>,
        wanted: Wanted,
        progress: &mut dyn FnMut(u64),
    ) -> Result<VerifyCounts, PackError> {
        let footer_copies = self.verify_ends(wanted)?;
        let mut walk = Walk::new(self)?;
        let walked = walk.run(progress);
        let counts = walk.counts;
        walked?;
        // Everything that is used was checked above; this finds what nothing uses, and binds it all to the footer.
        self.verify_content()?;
        progress(self.footer().file_bytes);
        Ok(VerifyCounts { bytes: self.footer().file_bytes, footer_copies, ..counts })
    }

    fn verify_ends(&self, wanted: Wanted) -> Result<u8, PackError> {
        let io = |error| PackError::io("read", &self.path, error);
        let footer = self.footer();
        match read_header(&*self.file).map_err(io)? {
            HeaderFound::Valid { header, footer_offset }
                if header == footer.header() && footer_offset == footer.footer_offset => {}
            _ => return Err(self.damaged(0, None, "the header is not what the footer says")),
        }
        let length = self.file.len().map_err(io)?;
        if length > footer.file_bytes {
            return Err(self.damaged(footer.file_bytes, None, "there are bytes after the footer"));
        }
        let frame = encode_frame(&footer.encode_body());
        let first = self.difference(&frame, footer.footer_offset, length)?;
        let second = self.difference(&frame, footer.footer_offset + frame.len() as u64, length)?;
        match (first, second, wanted) {
            (None, None, _) => Ok(2),
            (None, Some(_), Wanted::OneFooter) | (Some(_), None, Wanted::OneFooter) => Ok(1),
            (Some(_), Some(_), _) => {
                Err(self.damaged(footer.footer_offset, None, "no copy of the footer is valid any more"))
            }
            (Some(at), None, Wanted::BothFooters) => {
                Err(self.damaged(at, None, "the first copy of the footer differs from the second"))
            }
            (None, Some(at), Wanted::BothFooters) => {
                Err(self.damaged(at, None, "the second copy of the footer differs from the first"))
            }
        }
    }

    /// Where the file, which is so long, first differs from `frame` at `offset`.
    fn difference(&self, frame: &[u8], offset: u64, length: u64) -> Result<Option<u64>, PackError> {
        let there = length.saturating_sub(offset).min(frame.len() as u64) as usize;
        let mut found = vec![0; there];
        self.read_exact(&mut found, offset)?;
        let same = found.iter().zip(frame).take_while(|(found, wanted)| found == wanted).count();
        Ok((same < frame.len()).then_some(offset + same as u64))
    }

    fn verify_content(&self) -> Result<(), PackError> {
        let end = self.footer().footer_offset;
        let mut hasher = blake3::Hasher::new();
        let mut chunk = vec![0; (end as usize).min(CHUNK_BYTES)];
        let mut at = HEADER_BYTES as u64;
        while at < end {
            let bytes = (end - at).min(CHUNK_BYTES as u64) as usize;
            self.read_exact(&mut chunk[..bytes], at)?;
            hasher.update(&chunk[..bytes]);
            at += bytes as u64;
        }
        if *hasher.finalize().as_bytes() != self.footer().content_hash {
            return Err(self.damaged(HEADER_BYTES as u64, None, "the content is not what its hash names"));
        }
        Ok(())
    }
}

/// How many right copies of the footer there must be.
#[derive(Clone, Copy)]
enum Wanted {
    BothFooters,
    OneFooter,
}

/// A walk over all entries and their parts, in the order of the file.
struct Walk<'a> {
    pack: &'a Arc<Pack>,
    top: Top,
    filter: Vec<Arc<[u8]>>,
    /// The end of what is accounted for.
    at: u64,
    /// The first index page that `at` has not passed.
    next_page: usize,
    /// The open block, and how much of it is accounted for.
    block: Option<(u64, u32, u32)>,
    chunk: Vec<u8>,
    chunk_offset: u64,
    last_object: Option<ObjectKey>,
    counts: VerifyCounts,
}

impl<'a> Walk<'a> {
    fn new(pack: &'a Arc<Pack>) -> Result<Self, PackError> {
        let pages = pack.footer().filter_lines.div_ceil(PAGE_LINES);
        let filter = (0..pages).map(|page| pack.read_filter_page(page)).collect::<Result<_, _>>()?;
        Ok(Self {
            pack,
            top: pack.read_top()?,
            filter,
            at: HEADER_BYTES as u64,
            next_page: 0,
            block: None,
            chunk: Vec::new(),
            chunk_offset: 0,
            last_object: None,
            counts: VerifyCounts::default(),
        })
    }

    fn run(&mut self, progress: &mut dyn FnMut(u64)) -> Result<(), PackError> {
        let mut last_key = Vec::new();
        for index in 0..self.top.len() {
            let pack = self.pack;
            let (page_offset, page_bytes) = self.top.page(index);
            let page = pack.read_index_page(page_offset, page_bytes)?;
            let bad = || pack.damaged(page_offset, None, "an index page does not add up");
            let mut cursor = PageCursor::first(&page).ok_or_else(bad)?;
            let mut first = true;
            while cursor.step(&page).ok_or_else(bad)? {
                let key = cursor.key();
                let ascends = self.counts.entries == 0 || key > last_key;
                let separated = !first
                    || self.top.separator(index) <= &key[..]
                        && (index == 0 || self.top.separator(index) > &last_key[..]);
                if !ascends || !separated {
                    return Err(pack.damaged(page_offset, None, "entries do not ascend"));
                }
                self.entry(&key, &cursor.value(&page, pack.number()), page_offset)?;
                last_key = key;
                first = false;
            }
            progress(self.at);
        }
        self.finish()
    }

    fn entry(&mut self, key: &[u8], value: &EntryValue, page_offset: u64) -> Result<(), PackError> {
        let pack = self.pack;
        let key = EntryKey::decode(key)
            .map_err(|_| pack.damaged(page_offset, None, "an entry's key cannot be read"))?;
        if self.last_object != Some(key.object) {
            self.last_object = Some(key.object);
            self.counts.objects += 1;
            self.filter_has(&key.object)?;
        }
        self.counts.entries += 1;
        match value {
            EntryValue::End if key.kind == Kind::Leaf => Ok(()),
            EntryValue::End => Err(pack.damaged(page_offset, Some(&key.object), "what ends is no leaf")),
            EntryValue::Place(place) => self.parts(&key, place),
        }
    }

    fn filter_has(&self, object: &ObjectKey) -> Result<(), PackError> {
        let hash = hash_object(object);
        let line = line_of(hash, self.pack.footer().filter_lines);
        let start = (line % PAGE_LINES) as usize * LINE_BYTES;
        let page = &self.filter[(line / PAGE_LINES) as usize];
        if !page.get(start..start + LINE_BYTES).is_some_and(|line| line_contains(line, hash)) {
            let offset = self.pack.footer().filter_offset;
            return Err(self.pack.damaged(offset, Some(object), "the filter denies an object"));
        }
        Ok(())
    }

    fn parts(&mut self, key: &EntryKey, place: &Place) -> Result<(), PackError> {
        let pack = self.pack;
        pack.check_place(key, place)?;
        let gap = |offset| pack.damaged(offset, Some(&key.object), "blocks leave a gap or overlap");
        match self.block {
            Some((offset, bytes, done)) if offset == place.block_offset => {
                if bytes != place.block_bytes || done != place.part_offset {
                    return Err(gap(place.file_offset()));
                }
            }
            open => {
                if open.is_some_and(|(_, bytes, done)| bytes != done) {
                    return Err(gap(place.file_offset()));
                }
                self.skip_index();
                if place.block_offset != self.at || place.part_offset != 0 {
                    return Err(gap(place.file_offset()));
                }
                self.counts.blocks += 1;
            }
        }
        let bytes = self.read(place)?;
        let mut parts = 0;
        pack.walk_group(key, place, &self.chunk[bytes], &mut |_, _| {
            parts += 1;
            Ok(())
        })?;
        self.counts.parts += parts;
        self.at = place.file_offset() + u64::from(place.part_bytes);
        self.block = Some((place.block_offset, place.block_bytes, place.part_offset + place.part_bytes));
        Ok(())
    }

    /// Makes sure that `chunk` holds a part with its followers, and says where.
    fn read(&mut self, place: &Place) -> Result<std::ops::Range<usize>, PackError> {
        let wanted = place.part_bytes as usize;
        assert!(place.part_bytes <= GROUP_BYTES_MAX, "check_place() has capped it");
        let offset = place.file_offset();
        let chunk_end = self.chunk_offset + self.chunk.len() as u64;
        if offset < self.chunk_offset || offset + wanted as u64 > chunk_end {
            let rest = self.pack.footer().filter_offset - offset;
            let bytes = rest.min(wanted.max(CHUNK_BYTES) as u64) as usize;
            self.chunk.resize(bytes, 0);
            self.chunk_offset = offset;
            self.pack.read_exact(&mut self.chunk, offset)?;
        }
        let start = (offset - self.chunk_offset) as usize;
        Ok(start..start + wanted)
    }

    /// Passes the index pages that lie at `at`.
    fn skip_index(&mut self) {
        while self.next_page < self.top.len() && self.top.page(self.next_page).0 == self.at {
            self.at += u64::from(self.top.page(self.next_page).1);
            self.next_page += 1;
        }
    }

    fn finish(&mut self) -> Result<(), PackError> {
        let (pack, footer) = (self.pack, self.pack.footer());
        let whole = self.block.is_none_or(|(_, bytes, done)| bytes == done);
        self.skip_index();
        if !whole || self.at != footer.filter_offset || self.next_page != self.top.len() {
            return Err(pack.damaged(self.at, None, "blocks and index do not fill the file"));
        }
        let counts = self.counts;
        let agree = counts.entries == footer.entries
            && counts.parts == footer.parts
            && counts.objects == footer.objects;
        if !agree {
            return Err(pack.damaged(footer.footer_offset, None, "the footer's counts are wrong"));
        }
        Ok(())
    }
}
