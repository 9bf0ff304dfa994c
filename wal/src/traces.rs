//! What lies in the log's files, whether the log counts it or not: every sector of every segment is told apart.
//!
//! A segment that is used again is written from front to back, so what an earlier use left lies behind the newest
//! records, and its first group may have lost its head. Whoever has to know that some records are gone for good
//! therefore asks for all bytes, and not for all records: a sector is room (zeros), a header, a seal, part of a whole
//! group of whatever use, or something that nobody can tell.

use crate::disk::{Disk, OpenMode};
use crate::error::LogError;
use crate::format::{
    GROUP_HEADER_BYTES, GROUP_MAGIC, LOG_DIR, ListEntry, ListState, SEAL_BYTES, SECTOR_BYTES,
    SEGMENT_HEADER_BYTES, Seal, SegmentHeader, get_u64, segment_of_name,
};
use crate::group::{Group, WINDOW_BYTES, Window};
use crate::ids::{Lsn, ObjectKey};
use crate::record::Part;
use crate::segment::SegmentFile;
use std::io;

/// What was found in the files of a log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LogTraces {
    /// Segments that were read.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// At most one of each kind for each file.
    pub found: Vec<LogTrace>,
}

/// Something that was found in a file of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LogTrace {
    /// The file.
    pub path: String,
    /// Where the first one is.
    pub offset: u64,
    /// How many there are in this file.
    pub count: u64,
    /// What it is.
    pub kind: LogTraceKind,
}

/// What was found in a file of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LogTraceKind {
    /// A record that was wanted; of several, the first.
    Record {
        /// Its position.
        lsn: Lsn,
        /// The object that it was wanted for.
        object: ObjectKey,
    },
    /// Sectors that are neither zeros nor anything whole: a torn tail, or the rest of a group that was written over.
    Unknown,
}

/// Reads all segments in the log's folder, listed or not, and tells which of them hold a part that is `wanted`, and
/// which hold bytes that nobody can tell. Changes no byte. While the log is written, what is under way may be told as
/// unknown.
///
/// # Errors
/// `Io` if a file cannot be read.
pub fn log_traces(disk: &dyn Disk, wanted: &mut dyn FnMut(&Part<'_>) -> bool) -> Result<LogTraces, LogError> {
    let mut traces = LogTraces::default();
    let names = match disk.list(LOG_DIR) {
        Ok(names) => names,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(traces),
        Err(error) => return Err(LogError::io("list", LOG_DIR, error)),
    };
    for id in names.iter().filter_map(|name| segment_of_name(name)) {
        let entry = ListEntry { id, salt: 0, capacity: 0, state: ListState::Spare };
        let mut file = match SegmentFile::open(disk, &entry, SECTOR_BYTES, OpenMode::Read) {
            Ok(file) => file,
            // It was given back meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(LogError::io("open", &crate::format::segment_path(id), error)),
        };
        file.capacity = file.file.len().map_err(|error| LogError::io("read", &file.path, error))?;
        traces.files += 1;
        traces.bytes += file.capacity;
        let (record, unknown) = account(&mut file, wanted)?;
        traces.found.extend([record, unknown].into_iter().flatten());
    }
    Ok(traces)
}

/// What one sector is, as far as it can be told from itself.
enum Sector {
    Room,
    Header(SegmentHeader),
    Seal,
    /// The head of a group, under this salt.
    Group(u64),
    Unknown,
}

impl Sector {
    fn of(bytes: &[u8], file: &SegmentFile, offset: u64) -> Sector {
        let is_zero = |bytes: &[u8]| bytes.iter().all(|byte| *byte == 0);
        if is_zero(bytes) {
            return Sector::Room;
        }
        if bytes.len() < SEGMENT_HEADER_BYTES {
            return Sector::Unknown;
        }
        if bytes[..8] == GROUP_MAGIC {
            return Sector::Group(get_u64(bytes, 16));
        }
        if Seal::decode(bytes, file.id, get_u64(bytes, 16), offset).is_some() && is_zero(&bytes[SEAL_BYTES..])
        {
            return Sector::Seal;
        }
        match SegmentHeader::decode(bytes) {
            Ok(header) if offset == 0 && header.id == file.id && is_zero(&bytes[SEGMENT_HEADER_BYTES..]) => {
                Sector::Header(header)
            }
            _ => Sector::Unknown,
        }
    }
}

/// Goes over a file sector by sector. Returns the wanted records and the unknown sectors, if there are any.
fn account(
    file: &mut SegmentFile,
    wanted: &mut dyn FnMut(&Part<'_>) -> bool,
) -> Result<(Option<LogTrace>, Option<LogTrace>), LogError> {
    let mut window = Window::new(WINDOW_BYTES);
    let (mut record, mut unknown) = (None, None);
    let mut offset = 0;
    while offset < file.capacity {
        let length = u64::from(file.sector_bytes).min(file.capacity - offset);
        let bytes = window.read(file, offset, file.capacity, usize::try_from(length).expect("one sector"))?;
        let mut known = length;
        match Sector::of(bytes, file, offset) {
            Sector::Room | Sector::Seal => {}
            Sector::Header(header) => {
                file.sector_bytes = header.sector_bytes;
                known = u64::from(header.sector_bytes);
            }
            Sector::Group(salt) => {
                file.salt = salt;
                match group(file, &mut window, offset, wanted, &mut record)? {
                    Some(bytes) => known = bytes,
                    None => note(&mut unknown, file, offset, LogTraceKind::Unknown),
                }
            }
            Sector::Unknown => note(&mut unknown, file, offset, LogTraceKind::Unknown),
        }
        offset += known;
    }
    Ok((record, unknown))
}

/// Looks through the group at `offset`. Returns its bytes with its padding; `None` if it is not whole.
fn group(
    file: &SegmentFile,
    window: &mut Window,
    offset: u64,
    wanted: &mut dyn FnMut(&Part<'_>) -> bool,
    found: &mut Option<LogTrace>,
) -> Result<Option<u64>, LogError> {
    let Some(group) = Group::read(file, window, offset)? else { return Ok(None) };
    if group.check(group.header.first_lsn).is_err() {
        return Ok(None);
    }
    for (record, place) in group.records() {
        for part in record.parts().filter(|part| wanted(part)) {
            let kind = LogTraceKind::Record { lsn: record.lsn, object: part.object };
            note(found, file, place.offset, kind);
        }
    }
    let bytes = group.header.bytes(file.sector_bytes);
    let end = (GROUP_HEADER_BYTES + group.payload().len()) as u64;
    let mut padding = vec![0; usize::try_from(bytes - end).expect("less than a sector")];
    file.read(&mut padding, offset + end)?;
    Ok(padding.iter().all(|byte| *byte == 0).then_some(bytes))
}

fn note(found: &mut Option<LogTrace>, file: &SegmentFile, offset: u64, kind: LogTraceKind) {
    match found {
        Some(found) => found.count += 1,
        None => *found = Some(LogTrace { path: file.path.clone(), offset, count: 1, kind }),
    }
}
