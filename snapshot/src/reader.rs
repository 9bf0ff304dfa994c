//! Reads a pack.
//!
//! Opening reads the footer and nothing else. The top of the index comes into memory when it is first used; pages of
//! index and filter go through the block cache; a part is read by one `pread` of exactly its bytes. The page cache below
//! keeps blocks, so the block cache keeps of parts only what is dear to decode and asked for again: leaves, and where the
//! reader says so heads and runs. Nothing is believed before its checksum was
//! verified: a damaged filter or index page is an error, never a "no".

use crate::cache::{BlockCache, CacheOwner, Cached};
use crate::codec::{PART_BYTES_MAX, decompress};
use crate::entry::{
    EntryKey, EntryValue, Kind, PACK_FOLDER, PackNumber, Place, SUB_KEY_BYTES_MAX, run_sub_key,
};
use crate::error::{DecodeError, PackError};
use crate::filter::{LINE_BYTES, PAGE_LINES, hash_object, line_contains, line_of};
use crate::format::{
    FRAME_TAIL_BYTES, Footer, FrameFound, GROUP_BYTES_MAX, HEADER_BYTES, HeaderFound, LivePack, PACK_VERSION,
    PackHeader, PartForm, PartFound, PartName, decode_frame, decode_header, encode_frame,
    frame_bytes_from_head, frame_bytes_from_tail, page_crc, take_part,
};
use crate::group::Group;
use crate::index::{PageCursor, Top};
use crate::iter::{PackIter, PackIterBack};
use crate::leaf::Leaf;
use crate::run::Run;
use crate::sync::{Arc, OnceLock};
use crate::wire::Wire;
use lineal_wal::planted::{self, Bug};
use lineal_wal::{Disk, DiskFile, ObjectKey, OpenMode, Seq};

/// A part, verified and decompressed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// What it is.
    pub kind: Kind,
    /// Which one of its kind.
    pub sub_key: Vec<u8>,
    /// Its version; for a run its last seq.
    pub seq: Seq,
    /// Its content.
    pub payload: Arc<[u8]>,
}

/// A part as it is stored, verified: what compaction copies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredPart {
    /// Whose it is.
    pub object: ObjectKey,
    /// What it is.
    pub kind: Kind,
    /// Which one of its kind.
    pub sub_key: Vec<u8>,
    /// Its version; for a run its last seq.
    pub seq: Seq,
    pub(crate) form: PartForm,
    pub(crate) crc: u32,
    pub(crate) stored: Vec<u8>,
}

impl StoredPart {
    /// Bytes that it takes without its frame.
    pub fn stored_bytes(&self) -> usize {
        self.stored.len()
    }

    /// Bytes of its content.
    pub fn raw_bytes(&self) -> u32 {
        self.form.raw_bytes
    }

    /// Its content.
    ///
    /// # Errors
    /// [`DecodeError`] if it does not decompress to what it declares.
    pub fn payload(&self) -> Result<Arc<[u8]>, DecodeError> {
        decompress(self.form.codec, &self.stored, self.form.raw_bytes)
    }
}

/// An open pack. Shared by all its readers; costs a file descriptor.
#[derive(Debug)]
pub struct Pack {
    pub(crate) file: Box<dyn DiskFile>,
    pub(crate) path: String,
    pub(crate) footer: Footer,
    pub(crate) salt: u32,
    cache: Arc<BlockCache>,
    owner: CacheOwner,
    top: OnceLock<Top>,
}

impl Drop for Pack {
    fn drop(&mut self) {
        self.cache.forget(self.owner);
    }
}

impl Pack {
    /// Opens a complete pack. Reads its footer.
    ///
    /// # Errors
    /// [`PackError::Missing`]; [`PackError::Incomplete`] if it has no valid footer: it was never finished, or lost
    /// what came last; [`PackError::Damaged`] if its footer is not this pack's; [`PackError::NewerVersion`];
    /// [`PackError::Io`].
    pub fn open(
        disk: &Arc<dyn Disk>,
        cache: &Arc<BlockCache>,
        number: PackNumber,
    ) -> Result<Arc<Self>, PackError> {
        let path = number.path();
        let file = disk.open(&path, OpenMode::Read).map_err(|error| PackError::io("open", &path, error))?;
        let footer = read_footer(&*file, &path)?;
        let damaged =
            |offset, reason| PackError::Damaged { path: path.clone(), offset, object: None, reason };
        if footer.number != number {
            return Err(damaged(footer.footer_offset, "the footer names another pack"));
        }
        let salt = footer.header().salt();
        let owner = cache.new_owner();
        Ok(Arc::new(Self { file, path, footer, salt, cache: cache.clone(), owner, top: OnceLock::new() }))
    }

    /// Makes sure that a complete pack is durable, whatever its writer had come to: writes both copies of its footer
    /// again, with the same bytes, and syncs file and folder. For a pack that was found after a crash and that nothing
    /// lists yet: its footer may so far be in the page cache only, and a mere sync of it would prove nothing. All
    /// before the footer was durable before the footer was written.
    ///
    /// # Errors
    /// As [`open`](Self::open); [`PackError::NoSpace`].
    pub fn settle(disk: &Arc<dyn Disk>, number: PackNumber) -> Result<LivePack, PackError> {
        let path = number.path();
        let file =
            disk.open(&path, OpenMode::ReadWrite).map_err(|error| PackError::io("open", &path, error))?;
        let footer = read_footer(&*file, &path)?;
        if footer.number != number {
            let reason = "the footer names another pack";
            return Err(PackError::Damaged { path, offset: footer.footer_offset, object: None, reason });
        }
        let frame = encode_frame(&footer.encode_body());
        let both = [&frame[..], &frame[..]].concat();
        file.write_all_at(&both, footer.footer_offset)
            .and_then(|()| file.sync_all())
            .and_then(|()| disk.sync_dir(PACK_FOLDER))
            .map_err(|error| PackError::io("write the footer of", &path, error))?;
        Ok(footer.live_pack())
    }

    /// What the pack says about itself.
    pub fn footer(&self) -> &Footer {
        &self.footer
    }

    /// Its number.
    pub fn number(&self) -> PackNumber {
        self.footer.number
    }

    /// Its file, relative to the data directory.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Memory that it holds outside the block cache, in bytes.
    pub fn memory_bytes(&self) -> usize {
        size_of::<Self>()
            + self.footer.meta.capacity()
            + self.footer.live.capacity() * 48
            + self.top.get().map_or(0, Top::memory_bytes)
    }

    /// Loads the top of the index, and the filter into the cache, so that the first look-up need not.
    ///
    /// # Errors
    /// [`PackError::Damaged`], [`PackError::Io`].
    pub fn load(&self) -> Result<(), PackError> {
        self.top()?;
        let pages = self.footer.filter_lines.div_ceil(PAGE_LINES);
        (0..pages).try_for_each(|page| self.filter_page(page).map(drop))
    }

    /// False if the pack certainly holds no entry of the object.
    ///
    /// # Errors
    /// [`PackError::Damaged`], [`PackError::Io`].
    pub fn may_contain(&self, object: &ObjectKey) -> Result<bool, PackError> {
        let hash = hash_object(object);
        let line = line_of(hash, self.footer.filter_lines);
        let page = self.filter_page(line / PAGE_LINES)?;
        let start = (line % PAGE_LINES) as usize * LINE_BYTES;
        Ok(page.get(start..start + LINE_BYTES).is_some_and(|line| line_contains(line, hash)))
    }

    /// The first entry whose encoded key is ≥ `key`.
    ///
    /// # Errors
    /// [`PackError::Damaged`], [`PackError::Io`].
    pub fn seek(&self, key: &[u8]) -> Result<Option<(Vec<u8>, EntryValue)>, PackError> {
        let top = self.top()?;
        let Some(first) = top.page_of(key) else { return Ok(None) };
        // The page that can hold the key may hold only smaller ones; then the next page starts with the answer.
        for index in first..top.len() {
            let page = self.index_page(index, true)?;
            let found = PageCursor::seek(&page, key).ok_or_else(|| self.bad_index(index))?;
            if let Some(cursor) = found {
                return Ok(Some((cursor.key(), cursor.value(&page, self.number()))));
            }
        }
        Ok(None)
    }

    /// The last entry whose encoded key is ≤ `key`.
    ///
    /// # Errors
    /// [`PackError::Damaged`], [`PackError::Io`].
    pub fn seek_back(&self, key: &[u8]) -> Result<Option<(Vec<u8>, EntryValue)>, PackError> {
        let top = self.top()?;
        let Some(last) = top.page_of(key) else { return Ok(None) };
        // A page's separator may be below its first key: then the page before ends with the answer.
        for index in (0..=last).rev() {
            let page = self.index_page(index, true)?;
            let found = PageCursor::seek_back(&page, key).ok_or_else(|| self.bad_index(index))?;
            if let Some(cursor) = found {
                return Ok(Some((cursor.key(), cursor.value(&page, self.number()))));
            }
        }
        Ok(None)
    }

    /// All entries whose encoded key is ≥ `from`, ascending. Does not disturb the cache.
    pub fn iter(self: &Arc<Self>, from: &[u8]) -> PackIter {
        PackIter::new(self.clone(), from)
    }

    /// All entries whose encoded key is ≤ `from`, descending. Does not disturb the cache.
    pub fn iter_back(self: &Arc<Self>, from: &[u8]) -> PackIterBack {
        PackIterBack::new(self.clone(), from)
    }

    /// The content of a part.
    ///
    /// # Errors
    /// [`PackError::Damaged`] if the part is not there, or is not the one that `key` names; [`PackError::Io`].
    pub fn read(&self, key: &EntryKey, place: &Place) -> Result<Arc<[u8]>, PackError> {
        let bytes = self.read_group(key, place)?;
        let mut wire = Wire::new(&bytes);
        let name = PartName { object: &key.object, kind: key.kind, sub_key: &key.sub_key, seq: key.seq };
        let found = take_part(&mut wire, false).ok_or_else(|| self.bad_part(key, place, 0))?;
        self.check_part(place, 0, name, &found)?;
        self.unpack(place, &key.object, &found)
    }

    /// The content of a part and of the runs that follow it.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn read_with_followers(&self, key: &EntryKey, place: &Place) -> Result<(Part, Vec<Part>), PackError> {
        let bytes = self.read_group(key, place)?;
        let mut head = None;
        let mut followers = Vec::with_capacity(usize::from(place.follow_count));
        self.walk_group(key, place, &bytes, &mut |name, found| {
            let payload = self.unpack(place, &key.object, found)?;
            let part = Part { kind: name.kind, sub_key: name.sub_key.to_vec(), seq: name.seq, payload };
            match head {
                None => head = Some(part),
                Some(_) => followers.push(part),
            }
            Ok(())
        })?;
        Ok((head.expect("a group starts with a part"), followers))
    }

    /// A part and the runs that follow it as they are stored, for [`copy_part`](crate::PackWriter::copy_part).
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn stored(&self, key: &EntryKey, place: &Place) -> Result<Vec<StoredPart>, PackError> {
        let bytes = self.read_group(key, place)?;
        let mut parts = Vec::with_capacity(1 + usize::from(place.follow_count));
        self.walk_group(key, place, &bytes, &mut |name, found| {
            parts.push(StoredPart {
                object: key.object,
                kind: name.kind,
                sub_key: name.sub_key.to_vec(),
                seq: name.seq,
                form: found.form,
                crc: found.crc,
                stored: found.stored.to_vec(),
            });
            Ok(())
        })?;
        Ok(parts)
    }

    /// A leaf or delta leaf, decoded; kept in the cache.
    ///
    /// # Errors
    /// As [`read`](Self::read); [`PackError::Undecodable`] if it is no leaf.
    pub fn leaf(&self, key: &EntryKey, place: &Place) -> Result<Arc<Leaf>, PackError> {
        let offset = place.file_offset();
        if place.pack == self.number()
            && let Some(Cached::Leaf(leaf)) = self.cache.get(self.owner, offset)
        {
            return Ok(leaf);
        }
        let payload = self.read(key, place)?;
        let leaf = Leaf::decode(payload).map_err(|source| self.undecodable(offset, &key.object, source))?;
        let leaf = Arc::new(leaf);
        self.cache.insert(self.owner, offset, Cached::Leaf(leaf.clone()));
        Ok(leaf)
    }

    /// The content of a head without the runs behind it, which may be damaged; kept in the cache.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn head(&self, key: &EntryKey, place: &Place) -> Result<Arc<[u8]>, PackError> {
        let offset = place.file_offset();
        if place.pack == self.number() {
            match self.cache.get(self.owner, offset) {
                Some(Cached::Page(head)) => return Ok(head),
                Some(Cached::Group(group)) => return Ok(Arc::clone(group.head())),
                Some(Cached::Leaf(_)) | None => {}
            }
        }
        let head = self.read(key, place)?;
        self.cache.insert(self.owner, offset, Cached::Page(Arc::clone(&head)));
        Ok(head)
    }

    /// A head or a run, and the runs that follow it, decoded. It may come from the cache; `keep` puts it there: for one
    /// that is likely to be asked for again.
    ///
    /// # Errors
    /// As [`read`](Self::read); [`PackError::Undecodable`] if a run is none.
    pub fn group(&self, key: &EntryKey, place: &Place, keep: bool) -> Result<Arc<Group>, PackError> {
        let offset = place.file_offset();
        if place.pack == self.number()
            && let Some(Cached::Group(group)) = self.cache.get(self.owner, offset)
        {
            return Ok(group);
        }
        let (own, followers) = self.read_with_followers(key, place)?;
        let decode = |part: &Part| match Run::decode(Arc::clone(&part.payload)) {
            Ok(run) => Ok(Arc::new(run)),
            Err(source) => Err(self.undecodable(offset, &key.object, source)),
        };
        let mut runs = Vec::with_capacity(1 + followers.len());
        let mut head: Arc<[u8]> = Arc::from([]);
        if own.kind == Kind::Run {
            runs.push(decode(&own)?);
        } else {
            head = own.payload;
        }
        for part in &followers {
            runs.push(decode(part)?);
        }
        let group = Arc::new(Group::new(head, runs));
        if keep {
            self.cache.insert(self.owner, offset, Cached::Group(Arc::clone(&group)));
        }
        Ok(group)
    }

    pub(crate) fn top(&self) -> Result<&Top, PackError> {
        if let Some(top) = self.top.get() {
            return Ok(top);
        }
        let top = self.read_top()?;
        Ok(self.top.get_or_init(|| top))
    }

    /// The top of the index as the file has it now.
    pub(crate) fn read_top(&self) -> Result<Top, PackError> {
        let footer = &self.footer;
        // The footer was checked against the file's length, so this is never more than the file.
        let mut bytes = vec![0; footer.top_bytes as usize];
        self.read_exact(&mut bytes, footer.top_offset)?;
        if page_crc(self.salt, footer.top_offset, &bytes) != footer.top_crc {
            return Err(self.damaged(footer.top_offset, None, "the top of the index fails its checksum"));
        }
        Top::decode(&bytes, footer.index_pages, footer.filter_offset)
            .ok_or_else(|| self.damaged(footer.top_offset, None, "the top of the index does not add up"))
    }

    /// An index page, verified. `keep` puts it into the cache.
    pub(crate) fn index_page(&self, index: usize, keep: bool) -> Result<Arc<[u8]>, PackError> {
        let (offset, bytes) = self.top()?.page(index);
        if let Some(Cached::Page(page)) = self.cache.get(self.owner, offset) {
            return Ok(page);
        }
        let page = self.read_index_page(offset, bytes)?;
        if keep {
            self.cache.insert(self.owner, offset, Cached::Page(page.clone()));
        }
        Ok(page)
    }

    /// An index page as the file has it now, verified.
    pub(crate) fn read_index_page(&self, offset: u64, bytes: u32) -> Result<Arc<[u8]>, PackError> {
        let mut page = zeroed(bytes as usize);
        self.read_exact(Arc::get_mut(&mut page).expect("a new Arc has one owner"), offset)?;
        let crc = Wire::new(&page).u32().expect("a page is longer than its checksum");
        if crc != page_crc(self.salt, offset, &page[4..]) && !planted::on(Bug::PageUnchecked) {
            return Err(self.damaged(offset, None, "an index page fails its checksum"));
        }
        Ok(page)
    }

    /// A page of the filter, verified; its checksum is its last four bytes.
    pub(crate) fn filter_page(&self, index: u64) -> Result<Arc<[u8]>, PackError> {
        let offset = self.filter_page_offset(index);
        if let Some(Cached::Page(page)) = self.cache.get(self.owner, offset) {
            return Ok(page);
        }
        let page = self.read_filter_page(index)?;
        self.cache.insert(self.owner, offset, Cached::Page(page.clone()));
        Ok(page)
    }

    fn filter_page_offset(&self, index: u64) -> u64 {
        let page_bytes = PAGE_LINES * LINE_BYTES as u64 + 4;
        // The footer was checked: the filter's size follows from its line count, and lies in the file.
        self.footer.filter_offset + index * page_bytes
    }

    /// A page of the filter as the file has it now, verified.
    pub(crate) fn read_filter_page(&self, index: u64) -> Result<Arc<[u8]>, PackError> {
        let offset = self.filter_page_offset(index);
        let lines = (self.footer.filter_lines - index * PAGE_LINES).min(PAGE_LINES) as usize;
        let mut page = zeroed(lines * LINE_BYTES + 4);
        self.read_exact(Arc::get_mut(&mut page).expect("a new Arc has one owner"), offset)?;
        let (content, crc) = page.split_at(lines * LINE_BYTES);
        if page_crc(self.salt, offset, content).to_le_bytes() != crc {
            return Err(self.damaged(offset, None, "a filter page fails its checksum"));
        }
        Ok(page)
    }

    /// Reads a part and what follows it.
    fn read_group(&self, key: &EntryKey, place: &Place) -> Result<Vec<u8>, PackError> {
        self.check_place(key, place)?;
        let mut bytes = vec![0; place.part_bytes as usize];
        self.read_exact(&mut bytes, place.file_offset())?;
        Ok(bytes)
    }

    /// A place comes from a catalog or an index: nothing in it is believed before it fits this file.
    pub(crate) fn check_place(&self, key: &EntryKey, place: &Place) -> Result<(), PackError> {
        let block_end = place.block_offset.checked_add(u64::from(place.block_bytes));
        let part_end = place.part_offset.checked_add(place.part_bytes);
        let fits = place.pack == self.number()
            && place.block_offset >= HEADER_BYTES as u64
            && block_end.is_some_and(|end| end <= self.footer.filter_offset)
            && part_end.is_some_and(|end| end <= place.block_bytes)
            && place.part_bytes <= GROUP_BYTES_MAX
            && key.sub_key.len() <= SUB_KEY_BYTES_MAX;
        if !fits {
            let offset = place.block_offset;
            return Err(self.damaged(offset, Some(&key.object), "the entry's place is not in this pack"));
        }
        Ok(())
    }

    /// Takes a part and its followers apart and verifies each.
    pub(crate) fn walk_group(
        &self,
        key: &EntryKey,
        place: &Place,
        bytes: &[u8],
        visit: &mut dyn FnMut(PartName<'_>, &PartFound<'_>) -> Result<(), PackError>,
    ) -> Result<(), PackError> {
        let mut wire = Wire::new(bytes);
        let name = PartName { object: &key.object, kind: key.kind, sub_key: &key.sub_key, seq: key.seq };
        let found = take_part(&mut wire, false).ok_or_else(|| self.bad_part(key, place, 0))?;
        self.check_part(place, 0, name, &found)?;
        visit(name, &found)?;
        let mut expected = Some(place.follow_first_seq.0);
        for _ in 0..place.follow_count {
            let at = wire.at();
            let bad = || self.bad_part(key, place, at);
            let found = take_part(&mut wire, true).ok_or_else(bad)?;
            let seqs = found.follow.ok_or_else(bad)?;
            let first = expected.and_then(|seq| seq.checked_add(seqs.gap)).ok_or_else(bad)?;
            let last = first.checked_add(seqs.span).ok_or_else(bad)?;
            let sub_key = run_sub_key(Seq(first));
            let name = PartName { object: &key.object, kind: Kind::Run, sub_key: &sub_key, seq: Seq(last) };
            self.check_part(place, at, name, &found)?;
            visit(name, &found)?;
            expected = last.checked_add(1);
        }
        if !wire.is_empty() {
            return Err(self.bad_part(key, place, wire.at()));
        }
        Ok(())
    }

    fn check_part(
        &self,
        place: &Place,
        at: usize,
        name: PartName<'_>,
        found: &PartFound<'_>,
    ) -> Result<(), PackError> {
        if found.form.crc(name, found.stored) != found.crc && !planted::on(Bug::PartUnchecked) {
            let offset = place.file_offset() + at as u64;
            return Err(self.damaged(offset, Some(name.object), "a part fails its checksum"));
        }
        Ok(())
    }

    fn unpack(
        &self,
        place: &Place,
        object: &ObjectKey,
        found: &PartFound<'_>,
    ) -> Result<Arc<[u8]>, PackError> {
        if found.form.key_id != 0 || found.form.flags != 0 || found.form.raw_bytes > PART_BYTES_MAX {
            // Encryption comes with a later version of the format; this one writes neither.
            let reason = "a part needs something that this version cannot do";
            return Err(self.damaged(place.file_offset(), Some(object), reason));
        }
        decompress(found.form.codec, found.stored, found.form.raw_bytes)
            .map_err(|source| self.undecodable(place.file_offset(), object, source))
    }

    pub(crate) fn read_exact(&self, bytes: &mut [u8], offset: u64) -> Result<(), PackError> {
        self.file.read_exact_at(bytes, offset).map_err(|error| match error.kind() {
            // The footer says that these bytes are there.
            std::io::ErrorKind::UnexpectedEof => self.damaged(offset, None, "the file ends too early"),
            _ => PackError::io("read", &self.path, error),
        })
    }

    pub(crate) fn damaged(&self, offset: u64, object: Option<&ObjectKey>, reason: &'static str) -> PackError {
        PackError::Damaged { path: self.path.clone(), offset, object: object.copied(), reason }
    }

    pub(crate) fn bad_index(&self, page: usize) -> PackError {
        let offset = self.top.get().map_or(0, |top| top.page(page).0);
        self.damaged(offset, None, "an index page does not add up")
    }

    fn bad_part(&self, key: &EntryKey, place: &Place, at: usize) -> PackError {
        let offset = place.file_offset() + at as u64;
        self.damaged(offset, Some(&key.object), "a part does not add up")
    }

    fn undecodable(&self, offset: u64, object: &ObjectKey, source: DecodeError) -> PackError {
        PackError::Undecodable { path: self.path.clone(), offset, object: Some(*object), source }
    }
}

fn zeroed(bytes: usize) -> Arc<[u8]> {
    std::iter::repeat_n(0, bytes).collect()
}

/// The footer's second frame from the file's end, else the first one through the header.
fn read_footer(file: &dyn DiskFile, path: &str) -> Result<Footer, PackError> {
    let io = |error| PackError::io("read the footer of", path, error);
    let incomplete = |reason| PackError::Incomplete { path: path.to_owned(), reason };
    let length = file.len().map_err(io)?;
    if length < HEADER_BYTES as u64 {
        return Err(incomplete("the header is cut short"));
    }
    let newer = |found| PackError::NewerVersion { path: path.to_owned(), found, known: PACK_VERSION };
    match read_last_frame(file, length).map_err(io)? {
        FrameFound::Valid(footer) if footer.file_bytes == length => return Ok(*footer),
        FrameFound::Newer(found) => return Err(newer(found)),
        FrameFound::Valid(_) | FrameFound::Invalid => {}
    }
    let header = read_header(file).map_err(io)?;
    let (header, footer_offset) = match header {
        HeaderFound::Newer(found) => return Err(newer(found)),
        HeaderFound::Invalid => return Err(incomplete("neither its header nor its footer is valid")),
        HeaderFound::Valid { footer_offset: 0, .. } => return Err(incomplete("it was not sealed")),
        HeaderFound::Valid { header, footer_offset } => (header, footer_offset),
    };
    match read_first_frame(file, footer_offset, length).map_err(io)? {
        FrameFound::Newer(found) => Err(newer(found)),
        FrameFound::Invalid => Err(incomplete("its footer was not written")),
        FrameFound::Valid(footer) => {
            let fits = footer.footer_offset == footer_offset && footer.header() == header;
            if !fits || length > footer.file_bytes {
                let reason = "its header, its footer and its length do not agree";
                let path = path.to_owned();
                return Err(PackError::Damaged { path, offset: footer_offset, object: None, reason });
            }
            Ok(*footer)
        }
    }
}

pub(crate) fn read_header(file: &dyn DiskFile) -> std::io::Result<HeaderFound> {
    let mut header = [0; HEADER_BYTES];
    file.read_exact_at(&mut header, 0)?;
    Ok(decode_header(&header))
}

/// The frame that ends where the file ends, if there is one.
pub(crate) fn read_last_frame(file: &dyn DiskFile, length: u64) -> std::io::Result<FrameFound> {
    // Exactly the frame and nothing before it: of a pack in the archive that is at hand, the rest is not.
    let mut end = [0; FRAME_TAIL_BYTES];
    let Some(end_offset) = length.checked_sub(FRAME_TAIL_BYTES as u64) else {
        return Ok(FrameFound::Invalid);
    };
    file.read_exact_at(&mut end, end_offset)?;
    let Some(frame_bytes) = frame_bytes_from_tail(&end).filter(|&bytes| bytes <= length) else {
        return Ok(FrameFound::Invalid);
    };
    let frame_bytes = frame_bytes as usize;
    let mut frame = vec![0; frame_bytes];
    file.read_exact_at(&mut frame, length - frame_bytes as u64)?;
    Ok(decode_frame(&frame))
}

/// The frame that starts at `offset`, if there is one.
pub(crate) fn read_first_frame(file: &dyn DiskFile, offset: u64, length: u64) -> std::io::Result<FrameFound> {
    let mut head = [0; 16];
    let room = length.saturating_sub(offset);
    if room < head.len() as u64 {
        return Ok(FrameFound::Invalid);
    }
    file.read_exact_at(&mut head, offset)?;
    let Some(frame_bytes) = frame_bytes_from_head(&head).filter(|&bytes| bytes <= room) else {
        return Ok(FrameFound::Invalid);
    };
    let mut frame = vec![0; frame_bytes as usize];
    file.read_exact_at(&mut frame, offset)?;
    Ok(decode_frame(&frame))
}

/// Which pack a file with this header belongs to.
///
/// # Errors
/// [`PackError::Incomplete`] if the header is not valid; [`PackError::NewerVersion`]; [`PackError::Missing`];
/// [`PackError::Io`].
pub fn read_pack_header(disk: &Arc<dyn Disk>, number: PackNumber) -> Result<PackHeader, PackError> {
    let path = number.path();
    let file = disk.open(&path, OpenMode::Read).map_err(|error| PackError::io("open", &path, error))?;
    let incomplete = |reason| PackError::Incomplete { path: path.clone(), reason };
    if file.len().map_err(|error| PackError::io("read", &path, error))? < HEADER_BYTES as u64 {
        return Err(incomplete("the header is cut short"));
    }
    match read_header(&*file).map_err(|error| PackError::io("read", &path, error))? {
        HeaderFound::Valid { header, .. } => Ok(header),
        HeaderFound::Newer(found) => Err(PackError::NewerVersion { path, found, known: PACK_VERSION }),
        HeaderFound::Invalid => Err(incomplete("its header is not valid")),
    }
}

#[cfg(test)]
#[path = "reader/tests.rs"]
mod tests;
