//! Writes a pack, from its first byte to its footer.
//!
//! A pack goes through three states. While it is *open*, parts and entries are appended in ascending order; bytes go
//! to the file in steps, and each step is synced, so that no step makes the log's fsyncs wait for long. Once
//! [sealed](PackWriter::seal), everything but the footer is durable. [`finish`](PackWriter::finish) writes the footer:
//! from then on the pack counts.

use crate::codec::{Compressor, PART_BYTES_MAX};
use crate::entry::{Kind, PACK_FOLDER, SUB_KEY_BYTES_MAX, encode_stem};
use crate::error::PackError;
use crate::filter::{FilterBuilder, LINE_BYTES, PAGE_LINES};
use crate::format::{
    FOOTER_BYTES_MAX, FollowSeqs, Footer, GROUP_BYTES_MAX, HEADER_BYTES, LivePack, PART_FRAME_BYTES_MAX,
    PackHeader, PartForm, PartName, TOP_BYTES_MAX, encode_frame, frame_bytes, page_crc, put_part,
};
use crate::index::{IndexWriter, NewValue};
use crate::reader::StoredPart;
use crate::sync::Arc;
use lineal_wal::planted::{self, Bug};
use lineal_wal::{Disk, DiskFile, Lsn, ObjectKey, OpenMode, Seq};
use std::io;
use std::ops::Range;

/// Index pages are given a place in the file when this many bytes of them wait.
///
/// Source: a decision. Few extents keep the index readable in a few requests; the writer's memory stays bounded.
/// Tests use a small one, so that small packs have several.
const EXTENT_BYTES: usize = if cfg!(test) { 8 << 10 } else { 4 << 20 };

/// Most that is collected before it goes to the file, in bytes, where the device starts on it at once.
///
/// Source: measured with the log beside it: its fsyncs then wait behind little, and the pack's own find most done.
const WRITE_BYTES: usize = 64 << 10;

/// Most that is written and not known to be durable, in bytes.
///
/// Source: measured with the log beside it; see [`WriteOptions::sync_every`].
const SYNC_BYTES: u64 = 1 << 20;

/// Largest target size of a block, in bytes. Source: a decision; more makes no read cheaper.
const BLOCK_BYTES_MAX: u32 = 16 << 20;

/// How a pack is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WriteOptions {
    /// Target size of a block, in bytes, at most 16 MiB. Default 16 KiB: what a wake fetches for a small object.
    pub block_bytes: u32,
    /// zstd's level for parts of at least 512 bytes. Default 1.
    pub zstd_level: i32,
    /// Whenever so many bytes were written they are synced before more is; 0 = no syncs before the end. Writing back
    /// starts long before, in steps of 64 KiB, so a sync has little left to do. Default 1 MiB: what bounds how long the
    /// log's own fsyncs wait on a slow device; more syncs cost more than they save (64 KiB written and synced leave the
    /// log a p99 of 0.35 ms, 64 KiB and a sync for each MiB 0.27 ms, alone 0.18 ms).
    pub sync_every: u64,
}

impl Default for WriteOptions {
    fn default() -> Self {
        Self { block_bytes: 16 << 10, zstd_level: 1, sync_every: SYNC_BYTES }
    }
}

/// Names a part, and says how it is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartSpec<'a> {
    /// Whose it is.
    pub object: ObjectKey,
    /// What it is.
    pub kind: Kind,
    /// Which one of its kind; see [`EntryKey`](crate::EntryKey).
    pub sub_key: &'a [u8],
    /// Its version; for a run its last seq.
    pub seq: Seq,
    /// True for a run that follows the part written before it and has no entry of its own.
    pub follows: bool,
    /// For a leaf or delta: where its key range ends, exclusive; `None` = it does not.
    pub end_fence: Option<&'a [u8]>,
}

/// What the footer says that only the caller knows.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FooterInput {
    /// The first LSN that the pack covers.
    pub first_lsn: Lsn,
    /// The last LSN that the pack covers.
    pub last_lsn: Lsn,
    /// Every commit up to this LSN is in this pack or an older one.
    pub line: Lsn,
    /// All other packs that are live once this one is.
    pub live: Vec<LivePack>,
    /// Whatever the caller wants to keep here.
    pub meta: Vec<u8>,
}

/// An entry whose block is not closed yet.
#[derive(Debug)]
struct Pending {
    stem: Range<usize>,
    fence: Option<Range<usize>>,
    seq: Seq,
    /// Where the part starts in the file, and its size; no size = an end entry.
    bytes: Option<u32>,
    follow_count: u16,
    follow_first_seq: Seq,
}

/// The part that followers may still follow.
#[derive(Debug)]
struct Group {
    start: u64,
    object: ObjectKey,
    kind: Kind,
    /// The last seq of the last follower; `None` before the first.
    last_run_seq: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    Sealed,
}

/// Writes one pack. Dropping it leaves an unfinished file, which [`abandon`](Self::abandon) removes.
///
/// Invariants: (1) entries ascend; (2) `buffer` holds the file's bytes from `written` on, which are all that is not
/// written; (3) the open block starts at `block_start`, and its entries are those in `pending`; (4) no part crosses
/// the end of a block.
#[derive(Debug)]
pub struct PackWriter {
    disk: Arc<dyn Disk>,
    file: Box<dyn DiskFile>,
    path: String,
    header: PackHeader,
    salt: u32,
    options: WriteOptions,
    state: State,
    failed: Option<PackError>,

    buffer: Vec<u8>,
    written: u64,
    synced: u64,
    content: blake3::Hasher,

    block_start: u64,
    group: Option<Group>,
    pending: Vec<Pending>,
    /// Stems and fences of `pending`.
    names: Vec<u8>,
    last_stem: Vec<u8>,
    last_seq: Option<Seq>,
    last_object: Option<ObjectKey>,
    stem: Vec<u8>,

    index: IndexWriter,
    filter: FilterBuilder,
    compressor: Compressor,
    parts: u64,
    raw_bytes: u64,
    filter_offset: u64,
    filter_lines: u64,
    top_offset: u64,
}

impl PackWriter {
    /// Starts a pack. Creates its file, and the folder if there is none; nothing is durable yet.
    ///
    /// # Errors
    /// [`PackError::Io`] if the file exists: numbers are never reused. [`PackError::NoSpace`].
    pub fn create(disk: Arc<dyn Disk>, header: PackHeader, options: WriteOptions) -> Result<Self, PackError> {
        let path = header.number.path();
        let file = match disk.open(&path, OpenMode::CreateNew) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let folder = disk
                    .create_dir("")
                    .and_then(|()| disk.create_dir(PACK_FOLDER))
                    .and_then(|()| disk.sync_dir(""));
                folder.map_err(|error| PackError::io("create the folder of", &path, error))?;
                disk.open(&path, OpenMode::CreateNew)
            }
            opened => opened,
        };
        let file = file.map_err(|error| PackError::io("create", &path, error))?;
        let mut buffer = Vec::with_capacity(2 * WRITE_BYTES);
        buffer.extend_from_slice(&header.encode(0));
        Ok(Self {
            disk,
            file,
            path,
            header,
            salt: header.salt(),
            options,
            state: State::Open,
            failed: None,
            buffer,
            written: 0,
            synced: 0,
            content: blake3::Hasher::new(),
            block_start: HEADER_BYTES as u64,
            group: None,
            pending: Vec::new(),
            names: Vec::new(),
            last_stem: Vec::new(),
            last_seq: None,
            last_object: None,
            stem: Vec::new(),
            index: IndexWriter::default(),
            filter: FilterBuilder::default(),
            compressor: Compressor::new(options.zstd_level),
            parts: 0,
            raw_bytes: 0,
            filter_offset: 0,
            filter_lines: 0,
            top_offset: 0,
        })
    }

    /// Appends a part, compressed if that pays.
    ///
    /// # Errors
    /// [`PackError::TooLarge`] (nothing is changed); [`PackError::Io`] and [`PackError::NoSpace`] are final: every
    /// later call returns the same.
    ///
    /// # Panics
    /// If entries do not ascend, if a follower does not follow a part of the same object or is no run, if runs that
    /// follow do not ascend, or if the pack is sealed.
    pub fn part(&mut self, spec: &PartSpec<'_>, payload: &[u8]) -> Result<(), PackError> {
        self.check_size("part", payload.len(), PART_BYTES_MAX as usize)?;
        let mut compressor = std::mem::replace(&mut self.compressor, Compressor::empty());
        let (codec, stored) = compressor.compress(payload);
        let form = PartForm { codec, key_id: 0, flags: 0, raw_bytes: payload.len() as u32 };
        let crc = form.crc(name_of(spec), stored);
        let appended = self.append(spec, form, crc, stored);
        self.compressor = compressor;
        appended
    }

    /// Appends a part as it is stored in another pack: what compaction does.
    ///
    /// # Errors
    /// As [`part`](Self::part).
    ///
    /// # Panics
    /// As [`part`](Self::part), and if `spec` names another part than the one that was read: its checksum would be
    /// wrong for ever.
    pub fn copy_part(&mut self, spec: &PartSpec<'_>, part: &StoredPart) -> Result<(), PackError> {
        let same = spec.object == part.object
            && spec.kind == part.kind
            && spec.sub_key == part.sub_key
            && spec.seq == part.seq;
        assert!(same, "a part is copied under the name that its checksum is bound to");
        self.append(spec, part.form, part.crc, &part.stored)
    }

    /// Says that the leaf `sub_key` of an object ends at `seq`: its fence is merged away.
    ///
    /// # Errors
    /// As [`part`](Self::part).
    ///
    /// # Panics
    /// If entries do not ascend, or if the pack is sealed.
    pub fn end_entry(&mut self, object: ObjectKey, sub_key: &[u8], seq: Seq) -> Result<(), PackError> {
        self.check_open()?;
        self.check_size("sub-key", sub_key.len(), SUB_KEY_BYTES_MAX)?;
        self.start_entry(&object, Kind::Leaf, sub_key, seq)?;
        self.push_pending(seq, None, None);
        Ok(())
    }

    /// Bytes of the file so far.
    pub fn bytes(&self) -> u64 {
        self.position()
    }

    /// Which pack this is.
    pub fn header(&self) -> PackHeader {
        self.header
    }

    /// Makes everything but the footer durable. A second call does nothing.
    ///
    /// # Errors
    /// [`PackError::Io`] and [`PackError::NoSpace`] are final.
    pub fn seal(&mut self) -> Result<(), PackError> {
        if self.state == State::Sealed {
            return self.failed.clone().map_or(Ok(()), Err);
        }
        self.check_open()?;
        self.end_group();
        self.close_block(self.pending.len(), self.position());
        self.index.close();
        self.place_index();
        self.append_filter();
        self.append_top()?;
        self.flush()?;
        let footer_offset = self.written;
        self.write("write", &self.header.encode(footer_offset), 0)?;
        if !planted::on(Bug::FooterBeforeContent) {
            self.sync("sync")?;
        }
        self.state = State::Sealed;
        Ok(())
    }

    /// Writes the footer; [seals](Self::seal) first if that is not done. When it returns `Ok`, the pack is complete
    /// and durable, its name too.
    ///
    /// # Errors
    /// [`PackError::TooLarge`] if the footer is; [`PackError::Io`] and [`PackError::NoSpace`]: whether the pack is
    /// complete is then not known until it is opened again.
    ///
    /// # Panics
    /// If the live packs name this one or one twice.
    pub fn finish(mut self, input: FooterInput) -> Result<LivePack, PackError> {
        self.seal()?;
        let footer = self.footer(input);
        let body_bytes_max = FOOTER_BYTES_MAX as usize;
        let declared =
            footer.live.len().saturating_mul(48).saturating_add(footer.meta.len()).saturating_add(512);
        self.check_size("footer", declared, body_bytes_max)?;
        let body = footer.encode_body();
        let frame = encode_frame(&body);
        let both = [&frame[..], &frame[..]].concat();
        self.write("write the footer of", &both, self.written)?;
        if !planted::on(Bug::PackNotSynced) {
            self.file.sync_all().map_err(|error| PackError::io("sync", &self.path, error))?;
        }
        if !planted::on(Bug::PackNameNotSynced) {
            self.disk
                .sync_dir(PACK_FOLDER)
                .map_err(|error| PackError::io("sync the folder of", &self.path, error))?;
        }
        Ok(LivePack {
            number: self.header.number,
            bytes: self.written + 2 * frame_bytes(body.len()),
            footer_hash: *blake3::hash(&body).as_bytes(),
        })
    }

    /// Removes the unfinished file, durably.
    ///
    /// # Errors
    /// [`PackError::Io`]; the file then stays or may come back, and is dead.
    pub fn abandon(self) -> Result<(), PackError> {
        let Self { disk, file, path, .. } = self;
        drop(file);
        disk.remove(&path).map_err(|error| PackError::io("remove", &path, error))?;
        disk.sync_dir(PACK_FOLDER).map_err(|error| PackError::io("sync the folder of", &path, error))
    }

    fn footer(&self, input: FooterInput) -> Footer {
        let mut live = input.live;
        live.sort_unstable();
        assert!(live.is_sorted_by(|a, b| a.number < b.number), "a pack is listed once");
        assert!(live.iter().all(|pack| pack.number != self.header.number), "a footer lists the other packs");
        let top = self.index.top();
        Footer {
            engine: self.header.engine,
            epoch: self.header.epoch,
            number: self.header.number,
            kind: self.header.kind,
            first_lsn: input.first_lsn,
            last_lsn: input.last_lsn,
            line: input.line,
            live,
            meta: input.meta,
            entries: self.index.entries(),
            parts: self.parts,
            objects: self.filter.objects(),
            raw_bytes: self.raw_bytes,
            content_hash: *self.content.finalize().as_bytes(),
            file_bytes: 0,
            footer_hash: [0; 32],
            footer_offset: self.written,
            index_pages: self.index.pages(),
            top_offset: self.top_offset,
            top_bytes: u32::try_from(top.len()).expect("seal() caps the top"),
            top_crc: page_crc(self.salt, self.top_offset, top),
            filter_offset: self.filter_offset,
            filter_lines: self.filter_lines,
        }
    }

    /// Where the next byte goes.
    fn position(&self) -> u64 {
        self.written + self.buffer.len() as u64
    }

    fn check_open(&self) -> Result<(), PackError> {
        assert_eq!(self.state, State::Open, "nothing is added to a sealed pack");
        self.failed.clone().map_or(Ok(()), Err)
    }

    fn check_size(&self, what: &'static str, bytes: usize, bytes_max: usize) -> Result<(), PackError> {
        if bytes > bytes_max {
            return Err(PackError::TooLarge { what, bytes: bytes as u64, bytes_max: bytes_max as u64 });
        }
        Ok(())
    }

    fn append(
        &mut self,
        spec: &PartSpec<'_>,
        form: PartForm,
        crc: u32,
        stored: &[u8],
    ) -> Result<(), PackError> {
        self.check_open()?;
        self.check_size("sub-key", spec.sub_key.len(), SUB_KEY_BYTES_MAX)?;
        self.check_size("end fence", spec.end_fence.map_or(0, <[u8]>::len), SUB_KEY_BYTES_MAX)?;
        if spec.follows {
            self.append_follower(spec, form, crc, stored)?;
        } else {
            self.start_entry(&spec.object, spec.kind, spec.sub_key, spec.seq)?;
            let start = self.position();
            put_part(&mut self.buffer, crc, form, None, stored);
            let bytes = self.position() - start;
            self.push_pending(spec.seq, spec.end_fence, Some(bytes as u32));
            self.group = Some(Group { start, object: spec.object, kind: spec.kind, last_run_seq: None });
        }
        self.parts += 1;
        self.raw_bytes += u64::from(form.raw_bytes);
        Ok(())
    }

    fn append_follower(
        &mut self,
        spec: &PartSpec<'_>,
        form: PartForm,
        crc: u32,
        stored: &[u8],
    ) -> Result<(), PackError> {
        let group = self.group.as_mut().expect("a follower follows a part");
        assert_eq!(group.object, spec.object, "a follower follows a part of the same object");
        assert_eq!((group.kind, spec.kind), (Kind::Head, Kind::Run), "runs follow heads");
        assert!(spec.end_fence.is_none(), "a run has no fence");
        let sub_key = spec.sub_key.try_into().expect("the sub-key of a run is its first seq");
        let first = u64::from_be_bytes(sub_key);
        let last = spec.seq.0;
        assert!(first > 0 && first <= last, "a run holds commits");
        let expected = group.last_run_seq.map_or(first, |last| last + 1);
        assert!(first >= expected, "runs that follow ascend");

        let pending = self.pending.last_mut().expect("the group's part is pending");
        let before = pending.bytes.expect("the group has a part");
        let grown = before as usize + stored.len() + PART_FRAME_BYTES_MAX;
        if grown > GROUP_BYTES_MAX as usize || pending.follow_count == u16::MAX {
            return Err(PackError::TooLarge {
                what: "part with what follows it",
                bytes: grown as u64,
                bytes_max: u64::from(GROUP_BYTES_MAX),
            });
        }
        if pending.follow_count == 0 {
            pending.follow_first_seq = Seq(first);
        }
        pending.follow_count += 1;
        group.last_run_seq = Some(last);
        let follow = FollowSeqs { gap: first - expected, span: last - first };
        let start = self.buffer.len();
        put_part(&mut self.buffer, crc, form, Some(follow), stored);
        pending.bytes = Some(before + (self.buffer.len() - start) as u32);
        Ok(())
    }

    /// Ends what came before, checks the order, and leaves the new entry's stem in `stem`.
    fn start_entry(
        &mut self,
        object: &ObjectKey,
        kind: Kind,
        sub_key: &[u8],
        seq: Seq,
    ) -> Result<(), PackError> {
        self.end_group();
        self.write_when_due()?;
        self.stem.clear();
        encode_stem(&mut self.stem, object, kind, sub_key);
        if let Some(last_seq) = self.last_seq {
            // A shorter stem goes on with 00 00 in the key, which is below all that an escaped sub-key can go on with:
            // stems compare as their keys do.
            let ascends = self.stem.cmp(&self.last_stem).then(seq.cmp(&last_seq)).is_gt();
            assert!(ascends, "entries of a pack ascend");
        }
        self.last_stem.clear();
        self.last_stem.extend_from_slice(&self.stem);
        self.last_seq = Some(seq);
        if self.last_object != Some(*object) {
            self.last_object = Some(*object);
            self.filter.add(object);
        }
        Ok(())
    }

    fn push_pending(&mut self, seq: Seq, end_fence: Option<&[u8]>, bytes: Option<u32>) {
        let stem_start = self.names.len();
        self.names.extend_from_slice(&self.stem);
        let stem = stem_start..self.names.len();
        let fence = end_fence.map(|fence| {
            self.names.extend_from_slice(fence);
            stem.end..self.names.len()
        });
        self.pending.push(Pending { stem, fence, seq, bytes, follow_count: 0, follow_first_seq: Seq(0) });
    }

    /// No more followers: decides where the open block ends.
    fn end_group(&mut self) {
        let Some(group) = self.group.take() else { return };
        let block_bytes = u64::from(self.options.block_bytes.min(BLOCK_BYTES_MAX));
        if self.position() - self.block_start > block_bytes && group.start > self.block_start {
            self.close_block(self.pending.len() - 1, group.start);
        }
        if self.position() - self.block_start >= block_bytes {
            self.close_block(self.pending.len(), self.position());
        }
    }

    /// The first `count` pending entries are the block that ends at `end`.
    fn close_block(&mut self, count: usize, end: u64) {
        let block_bytes = u32::try_from(end - self.block_start).expect("a block is about one group");
        for pending in &self.pending[..count] {
            let value = match pending.bytes {
                None => NewValue::End,
                Some(part_bytes) => NewValue::Part {
                    block_offset: self.block_start,
                    block_bytes,
                    part_bytes,
                    follow_count: pending.follow_count,
                    follow_first_seq: pending.follow_first_seq,
                    end_fence: pending.fence.clone().map(|range| &self.names[range]),
                },
            };
            self.index.push(&self.names[pending.stem.clone()], pending.seq, value);
        }
        self.pending.drain(..count);
        let kept = self.pending.first().map_or(self.names.len(), |pending| pending.stem.start);
        self.names.drain(..kept);
        for pending in &mut self.pending {
            pending.stem = pending.stem.start - kept..pending.stem.end - kept;
            pending.fence = pending.fence.take().map(|fence| fence.start - kept..fence.end - kept);
        }
        self.block_start = end;
    }

    /// Between two groups: gives waiting index pages a place, and full steps to the file.
    fn write_when_due(&mut self) -> Result<(), PackError> {
        if self.index.waiting_bytes() >= EXTENT_BYTES {
            self.close_block(self.pending.len(), self.position());
            self.place_index();
        }
        if self.buffer.len() < self.write_bytes() { Ok(()) } else { self.flush() }
    }

    /// Bytes of one step to the file.
    fn write_bytes(&self) -> usize {
        match usize::try_from(self.options.sync_every) {
            Ok(0) | Err(_) => WRITE_BYTES,
            Ok(every) => every.min(WRITE_BYTES),
        }
    }

    /// Appends the index pages that wait. The open block is empty.
    fn place_index(&mut self) {
        let position = self.position();
        debug_assert_eq!(self.block_start, position, "no block is open");
        self.index.write_extent(self.salt, position, &mut self.buffer);
        self.block_start = self.position();
    }

    fn append_filter(&mut self) {
        let lines = self.filter.lines();
        self.filter_offset = self.position();
        self.filter_lines = (lines.len() / LINE_BYTES) as u64;
        for page in lines.chunks(PAGE_LINES as usize * LINE_BYTES) {
            let crc = page_crc(self.salt, self.position(), page);
            self.buffer.extend_from_slice(page);
            self.buffer.extend_from_slice(&crc.to_le_bytes());
        }
    }

    fn append_top(&mut self) -> Result<(), PackError> {
        self.check_size("index", self.index.top().len(), TOP_BYTES_MAX as usize)?;
        self.top_offset = self.position();
        self.buffer.extend_from_slice(self.index.top());
        Ok(())
    }

    /// Gives the buffer to the file, in steps.
    fn flush(&mut self) -> Result<(), PackError> {
        let hashed_from = (HEADER_BYTES as u64).saturating_sub(self.written) as usize;
        self.content.update(&self.buffer[hashed_from..]);
        let mut buffer = std::mem::take(&mut self.buffer);
        for step in buffer.chunks(self.write_bytes()) {
            let every = self.options.sync_every;
            if every > 0 && self.written - self.synced >= every {
                self.sync("sync")?;
            }
            self.write("write", step, self.written)?;
            // A hint: the device starts on it while the next step is filled.
            let _ = self.file.start_writeback(self.written, step.len() as u64);
            self.written += step.len() as u64;
        }
        buffer.clear();
        self.buffer = buffer;
        Ok(())
    }

    fn write(&mut self, op: &'static str, bytes: &[u8], offset: u64) -> Result<(), PackError> {
        self.file.write_all_at(bytes, offset).map_err(|error| self.fail(op, error))
    }

    fn sync(&mut self, op: &'static str) -> Result<(), PackError> {
        self.file.sync_data().map_err(|error| self.fail(op, error))?;
        self.synced = self.written;
        Ok(())
    }

    /// Remembers a failure for good: what a failed write or sync left behind is not known.
    fn fail(&mut self, op: &'static str, error: io::Error) -> PackError {
        let error = PackError::io(op, &self.path, error);
        self.failed = Some(error.clone());
        error
    }
}

fn name_of<'a>(spec: &'a PartSpec<'a>) -> PartName<'a> {
    PartName { object: &spec.object, kind: spec.kind, sub_key: spec.sub_key, seq: spec.seq }
}

#[cfg(test)]
#[path = "writer/tests.rs"]
mod tests;
