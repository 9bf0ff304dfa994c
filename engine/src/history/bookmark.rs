//! Bookmarks: a point in one object's history, as a value and as a text.
//!
//! ```text
//! "lm1", then 77 characters of base32hex in lower case: 48 bytes, big-endian, and one bit 0.
//! size  field
//!   20  object key: namespace u32, id
//!    8  seq
//!    8  time of that commit, µs since the Unix epoch
//!    8  the first bytes of the chain hash after it
//!    4  the first bytes of BLAKE3("lineal bookmark 1" ‖ the 44 bytes before)
//! A text is a bookmark iff it has this length and prefix, only these characters, the bit is 0 and the checksum is right.
//! ```
//! Texts of one object sort as its commits do, and so as time does: base32hex keeps the order of bytes.

use std::{fmt, str::FromStr};

use lineal_wal::{Micros, OBJECT_KEY_BYTES, ObjectKey, Seq};

use crate::{Error, object::head::Hash};

const PREFIX: &str = "lm1";
const BODY_BYTES: usize = OBJECT_KEY_BYTES + 24;
const CHECK_BYTES: usize = 4;
const DIGITS: &[u8; 32] = b"0123456789abcdefghijklmnopqrstuv";
const TEXT_DIGITS: usize = ((BODY_BYTES + CHECK_BYTES) * 8).div_ceil(5);

/// A point in one object's history: the state right after one of its commits.
///
/// It names the object and carries a part of the commit's hash, so that a bookmark of another object, or of a commit that
/// a crash took back and whose number was used again, is refused and not resolved to something else. Bookmarks of one
/// object sort as its commits do, and so do their texts.
///
/// ```
/// # fn main() -> lineal::Result<()> {
/// # let dir = tempfile::tempdir().unwrap();
/// # let engine = lineal::Engine::open(dir.path())?;
/// let lobby = engine.namespace("rooms")?.object("lobby")?;
/// lobby.transact(|tx| tx.put("topic", "hello")).wait()?;
/// let mark = lobby.bookmark().wait()?;
/// let text = mark.to_string();
/// assert_eq!(text.parse::<lineal::Bookmark>()?, mark);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bookmark {
    object: ObjectKey,
    seq: Seq,
    time: Micros,
    hash: [u8; 8],
}

/// Why a bookmark cannot be used, and what can be used instead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BookmarkError {
    /// The text is no bookmark.
    #[error("the text is no bookmark: {reason}; copy it whole, as it was printed")]
    Malformed {
        /// What is wrong with it.
        reason: &'static str,
    },
    /// It is of another object.
    #[error(
        "the bookmark is of object {} in namespace {} and not of {} in {}: use it on the object it was taken of",
        found.id, found.namespace, wanted.id, wanted.namespace
    )]
    OtherObject {
        /// The object it is of.
        found: ObjectKey,
        /// The object it was used on.
        wanted: ObjectKey,
    },
    /// Its commit has not happened.
    #[error("the bookmark is of commit {seq}, which has not happened; {}", Offer(first, last))]
    Future {
        /// The commit it is of.
        seq: u64,
        /// The oldest bookmark that can be used, if there is any.
        first: Option<Bookmark>,
        /// The newest one.
        last: Option<Bookmark>,
    },
    /// Its commit is older than what is kept.
    #[error("the bookmark is of commit {seq}, which is not kept any more; {}", Offer(first, last))]
    TooOld {
        /// The commit it is of.
        seq: u64,
        /// The oldest bookmark that can be used, if there is any.
        first: Option<Bookmark>,
        /// The newest one.
        last: Option<Bookmark>,
    },
    /// Its commit was lost by a crash before it was durable, and another one has its number now.
    #[error(
        "the commit {seq} that the bookmark is of was lost before it was durable, and another one has its number now; {}",
        Offer(first, last)
    )]
    Lost {
        /// The commit it was of.
        seq: u64,
        /// The oldest bookmark that can be used, if there is any.
        first: Option<Bookmark>,
        /// The newest one.
        last: Option<Bookmark>,
    },
    /// The object had no commit at that time.
    #[error("the object had no commit at {time} µs; {}", Offer(first, last))]
    BeforeFirst {
        /// The time that was asked for, in microseconds since the Unix epoch.
        time: Micros,
        /// The oldest bookmark that can be used, if there is any.
        first: Option<Bookmark>,
        /// The newest one.
        last: Option<Bookmark>,
    },
}

/// What can be used instead.
struct Offer<'a>(&'a Option<Bookmark>, &'a Option<Bookmark>);

impl fmt::Display for Offer<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.0, self.1) {
            (Some(first), Some(last)) => write!(
                f,
                "what is kept goes from commit {} ({first}) to commit {} ({last})",
                first.seq, last.seq
            ),
            _ => write!(f, "the object has no commit that is kept"),
        }
    }
}

impl Bookmark {
    pub(crate) fn new(object: ObjectKey, seq: Seq, time: Micros, hash: &Hash) -> Bookmark {
        Bookmark { object, seq, time, hash: head8(hash) }
    }

    /// The object it is of.
    pub fn object(&self) -> ObjectKey {
        self.object
    }

    /// The commit it is of: the state right after it.
    pub fn seq(&self) -> u64 {
        self.seq.0
    }

    /// The time of that commit.
    pub fn time(&self) -> Micros {
        self.time
    }

    /// Whether it is of the commit with this chain hash.
    pub(crate) fn is_of(&self, hash: &Hash) -> bool {
        self.hash == head8(hash)
    }

    pub(crate) fn to_bytes(self) -> [u8; BODY_BYTES] {
        let mut bytes = [0; BODY_BYTES];
        bytes[..20].copy_from_slice(&self.object.to_bytes());
        bytes[20..28].copy_from_slice(&self.seq.0.to_be_bytes());
        bytes[28..36].copy_from_slice(&self.time.0.to_be_bytes());
        bytes[36..].copy_from_slice(&self.hash);
        bytes
    }

    pub(crate) fn from_bytes(bytes: &[u8; BODY_BYTES]) -> Bookmark {
        let number = |at: usize| {
            let mut number = [0; 8];
            number.copy_from_slice(&bytes[at..at + 8]);
            number
        };
        let mut object = [0; OBJECT_KEY_BYTES];
        object.copy_from_slice(&bytes[..OBJECT_KEY_BYTES]);
        Bookmark {
            object: ObjectKey::from_bytes(&object),
            seq: Seq(u64::from_be_bytes(number(20))),
            time: Micros(u64::from_be_bytes(number(28))),
            hash: number(36),
        }
    }
}

fn head8(hash: &Hash) -> [u8; 8] {
    let mut head = [0; 8];
    head.copy_from_slice(&hash[..8]);
    head
}

fn check_of(body: &[u8]) -> [u8; CHECK_BYTES] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(b"lineal bookmark 1").update(body);
    let mut check = [0; CHECK_BYTES];
    check.copy_from_slice(&hasher.finalize().as_bytes()[..CHECK_BYTES]);
    check
}

impl fmt::Display for Bookmark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let body = self.to_bytes();
        let mut text = String::with_capacity(PREFIX.len() + TEXT_DIGITS);
        text.push_str(PREFIX);
        let (mut bits, mut count) = (0u32, 0u32);
        for byte in body.iter().chain(&check_of(&body)) {
            bits = (bits << 8) | u32::from(*byte);
            count += 8;
            while count >= 5 {
                count -= 5;
                text.push(char::from(DIGITS[(bits >> count) as usize & 31]));
            }
            bits &= (1 << count) - 1;
        }
        if count > 0 {
            text.push(char::from(DIGITS[(bits << (5 - count)) as usize & 31]));
        }
        f.pad(&text)
    }
}

impl fmt::Debug for Bookmark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Bookmark(commit {} of {}, {self})", self.seq, self.object.id)
    }
}

impl FromStr for Bookmark {
    type Err = Error;

    fn from_str(text: &str) -> Result<Bookmark, Error> {
        let malformed = |reason| Err(Error::Bookmark(Box::new(BookmarkError::Malformed { reason })));
        let Some(digits) = text.strip_prefix(PREFIX) else {
            return malformed("it does not begin with \"lm1\"");
        };
        if digits.len() != TEXT_DIGITS {
            return malformed("it has not 80 characters");
        }
        let mut bytes = [0; BODY_BYTES + CHECK_BYTES];
        let (mut bits, mut count, mut at) = (0u32, 0u32, 0);
        for digit in digits.bytes() {
            let Some(value) = DIGITS.iter().position(|known| *known == digit) else {
                return malformed("it has a character that no bookmark has");
            };
            bits = (bits << 5) | value as u32;
            count += 5;
            if count >= 8 {
                count -= 8;
                bytes[at] = (bits >> count) as u8;
                at += 1;
                bits &= (1 << count) - 1;
            }
        }
        let mut body = [0; BODY_BYTES];
        body.copy_from_slice(&bytes[..BODY_BYTES]);
        if bits != 0 || bytes[BODY_BYTES..] != check_of(&body) {
            return malformed("its checksum is another one");
        }
        Ok(Bookmark::from_bytes(&body))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lineal_wal::{NamespaceId, ObjectId};

    fn mark(seq: u64, time: u64) -> Bookmark {
        let object = ObjectKey { namespace: NamespaceId(3), id: ObjectId([7; 16]) };
        Bookmark::new(object, Seq(seq), Micros(time), &[0xA5; 32])
    }

    #[test]
    fn a_text_has_eighty_characters_and_reads_back() {
        for mark in [mark(1, 2), mark(u64::MAX, u64::MAX), mark(0, 0)] {
            let text = mark.to_string();
            assert_eq!(text.len(), 80);
            assert_eq!(text.parse::<Bookmark>().unwrap(), mark);
        }
    }

    #[test]
    fn texts_sort_as_commits_do_also_within_one_millisecond() {
        let marks = [mark(1, 5), mark(2, 5), mark(9, 5), mark(10, 5), mark(256, 6), mark(70_000, 6)];
        let texts: Vec<String> = marks.iter().map(ToString::to_string).collect();
        assert!(marks.is_sorted() && texts.is_sorted());
    }

    #[test]
    fn a_text_with_one_changed_missing_or_additional_character_is_refused() {
        let text = mark(5, 6).to_string();
        for at in 0..text.len() {
            for other in ["0", "1", "v", "w", "A", "é"] {
                let mut changed = text.clone();
                changed.replace_range(at..=at, other);
                assert!(changed == text || changed.parse::<Bookmark>().is_err(), "{changed}");
            }
            assert!(text[..at].parse::<Bookmark>().is_err());
        }
        assert!(format!("{text}0").parse::<Bookmark>().is_err());
    }
}
