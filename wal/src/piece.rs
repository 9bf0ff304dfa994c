//! Pieces of the log as bytes, for those who keep it elsewhere, too: whole records, one behind the other, as they are in
//! groups. Nothing of the log's own files is in them, so that a piece means the same in every log that holds it.

use crate::error::LogError;
use crate::group::WINDOW_BYTES;
use crate::ids::{Lsn, Micros};
use crate::log::Log;
use crate::record::Record;
use std::error::Error;
use std::fmt;

/// Durable records of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DurablePiece {
    /// The first one's position.
    pub first: Lsn,
    /// The last one's position.
    pub last: Lsn,
    /// Their bytes, for [`records`].
    pub bytes: Vec<u8>,
}

/// How a piece compares with a log. See [`Log::compare`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// All of it that the log still holds is the same there.
    Same,
    /// This record is another one there.
    Differs {
        /// The first one that is.
        lsn: Lsn,
    },
    /// What the log still holds of it is the same, and the piece goes on where the log ends.
    Beyond {
        /// The last durable record of the log.
        last: Lsn,
    },
    /// The log holds nothing of it any more.
    Released,
}

/// Bytes that are not a piece of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BadPiece {
    /// Where in the piece.
    pub offset: usize,
    /// The record that was due there; `None` for the first.
    pub lsn: Option<Lsn>,
    /// What is wrong.
    pub reason: &'static str,
}

impl fmt::Display for BadPiece {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a piece of the log is damaged at byte {}: {}", self.offset, self.reason)
    }
}

impl Error for BadPiece {}

impl From<BadPiece> for LogError {
    fn from(bad: BadPiece) -> Self {
        Self::damaged("a piece of the log", bad.offset as u64, bad.lsn, bad.reason)
    }
}

/// The records of a piece, each verified: its checksums, that it follows the one before, and that time does not run
/// backwards. Ends with the first that does not hold.
#[must_use]
pub fn records(bytes: &[u8]) -> Records<'_> {
    Records { bytes, at: 0, due: None, time: Micros(0) }
}

/// As [`records`], where the first one follows the record `after` of this time.
pub(crate) fn records_after(bytes: &[u8], after: Lsn, time: Micros) -> Records<'_> {
    Records { due: Some(after.next()), time, ..records(bytes) }
}

/// See [`records`].
#[derive(Clone, Debug)]
pub struct Records<'a> {
    bytes: &'a [u8],
    at: usize,
    due: Option<Lsn>,
    time: Micros,
}

impl Records<'_> {
    /// Bytes of the piece that the records read so far took: where it can be cut.
    #[must_use]
    pub fn offset(&self) -> usize {
        self.at
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<Record<'a>, BadPiece>;

    fn next(&mut self) -> Option<Self::Item> {
        let rest = self.bytes.get(self.at..).filter(|rest| !rest.is_empty())?;
        let read = match Record::decode(rest) {
            Ok((record, _)) if self.due.is_some_and(|due| due != record.lsn) => Err("another record was due"),
            Ok((record, _)) if record.lsn == Lsn::NONE || record.lsn.0 == u64::MAX => {
                Err("the position of a record is impossible")
            }
            Ok((record, _)) if record.time < self.time => Err("time runs backwards"),
            Ok((record, _)) => Ok(record),
            Err(reason) => Err(reason),
        };
        Some(match read {
            Ok(record) => {
                self.at += record.bytes();
                self.due = Some(record.lsn.next());
                self.time = record.time;
                Ok(record)
            }
            Err(reason) => {
                let bad = BadPiece { offset: self.at, lsn: self.due, reason };
                self.bytes = &[];
                Err(bad)
            }
        })
    }
}

impl Log {
    /// Reads the durable records directly after `after`: as many whole ones as fit `bytes_max`, and one at least, each
    /// verified. `None` if none is durable after it.
    ///
    /// # Errors
    /// `Released` if the log does not reach back to `after` any more, `Damaged` if anything is not what was written, `Io`.
    pub fn read_durable(&self, after: Lsn, bytes_max: u32) -> Result<Option<DurablePiece>, LogError> {
        let through = self.durable();
        if after >= through {
            return Ok(None);
        }
        let mut piece = DurablePiece { first: after.next(), last: after, bytes: Vec::new() };
        while piece.last < through {
            let next = piece.last.next();
            let segment = self.segment_of(next).ok_or(LogError::Released { lsn: next })?.0;
            let mut walk = segment.walk(next, WINDOW_BYTES)?;
            while let Some(bytes) = walk.bytes()? {
                if !piece.bytes.is_empty() && piece.bytes.len() + bytes > bytes_max as usize {
                    return Ok(Some(piece));
                }
                let Some(record) = walk.next()? else { break };
                piece.bytes.extend_from_slice(record.encoded());
                piece.last = record.lsn;
            }
        }
        Ok(Some(piece))
    }

    /// About how many bytes of records are durable after `after`, of those that the log still holds: those of the group that
    /// `after` is in may count, too. Takes about a nanosecond for each group behind it. Reads no file, so a segment that
    /// recovery had no reason to read counts whole.
    #[must_use]
    pub fn durable_bytes_after(&self, after: Lsn) -> u64 {
        let durable = self.durable();
        let mut after = after.max(self.released_through());
        let mut bytes = 0;
        while after < durable {
            let Some((segment, last)) = self.segment_of(after.next()) else { break };
            bytes += segment.bytes_after(after);
            after = last;
        }
        bytes
    }

    /// Compares a piece that begins with the record `first` with the durable records here, byte for byte.
    ///
    /// # Errors
    /// `Damaged` if the bytes here are not what was written, or the piece is none as far as the log holds nothing of it;
    /// `Io`.
    pub fn compare(&self, first: Lsn, bytes: &[u8]) -> Result<Comparison, LogError> {
        let through = self.durable();
        let released = self.released_through();
        let mut skipped = records(bytes);
        let mut next = first;
        while next <= released {
            match skipped.next() {
                Some(Ok(record)) if record.lsn == next => next = next.next(),
                Some(Ok(_)) => return Ok(Comparison::Differs { lsn: next }),
                Some(Err(bad)) => return Err(bad.into()),
                None => return Ok(Comparison::Released),
            }
        }
        let mut rest = &bytes[skipped.offset()..];
        if rest.is_empty() && next > first {
            return Ok(Comparison::Released);
        }
        while !rest.is_empty() {
            if next > through {
                return Ok(Comparison::Beyond { last: through });
            }
            let segment = self.segment_of(next).ok_or(LogError::Released { lsn: next })?.0;
            let mut walk = segment.walk(next, WINDOW_BYTES)?;
            while let Some(here) = walk.next()?.filter(|_| !rest.is_empty()) {
                match rest.strip_prefix(here.encoded()) {
                    Some(behind) => rest = behind,
                    None => return Ok(Comparison::Differs { lsn: next }),
                }
                next = next.next();
            }
        }
        Ok(Comparison::Same)
    }
}
