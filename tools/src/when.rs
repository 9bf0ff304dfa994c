//! Points in an object's history as people write them, and times as people read them.

use std::time::{SystemTime, UNIX_EPOCH};

use lineal::{Bookmark, Error, Micros, Object, View};

const SECOND: u64 = 1_000_000;
const DAY: u64 = 86_400 * SECOND;

/// A point in an object's history, as an argument names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum When {
    /// After the commit with this number.
    Seq(u64),
    /// After the last commit at or before this time.
    Time(Micros),
    /// After the commit of the bookmark.
    Mark(Bookmark),
}

/// Reads a commit's number, a bookmark, a time in RFC 3339, `now`, or how long ago: `2h ago`.
pub(crate) fn parse(text: &str) -> Result<When, String> {
    parse_at(text, now())
}

/// Reads a time: one in RFC 3339, `now`, or how long ago.
pub(crate) fn parse_time(text: &str) -> Result<Micros, String> {
    match parse(text)? {
        When::Time(time) => Ok(time),
        When::Seq(_) | When::Mark(_) => Err("a time is wanted, as 2026-01-31T12:00:00Z or \"2h ago\"".into()),
    }
}

fn parse_at(text: &str, now: Micros) -> Result<When, String> {
    let text = text.trim();
    if let Ok(seq) = text.parse() {
        return Ok(When::Seq(seq));
    }
    if text.starts_with("lm") {
        return text.parse().map(When::Mark).map_err(|error: Error| error.to_string());
    }
    if text == "now" {
        return Ok(When::Time(now));
    }
    let time = match text.strip_suffix("ago") {
        Some(long) => span(long).and_then(|long| now.0.checked_sub(long)),
        None => rfc3339(text.as_bytes()),
    };
    time.map(|time| When::Time(Micros(time))).ok_or_else(|| {
        format!(
            "{text:?} is no point in a history: give a commit's number, a bookmark, a time as 2026-01-31T12:00:00Z, or \"2h ago\""
        )
    })
}

fn now() -> Micros {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    since.into()
}

/// How long `1h 30m` is, in microseconds.
fn span(text: &str) -> Option<u64> {
    let mut total = 0u64;
    let mut rest = text.trim();
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let number: u64 = rest[..digits].parse().ok()?;
        rest = rest[digits..].trim_start();
        let letters = rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len());
        let unit = match &rest[..letters] {
            "s" | "sec" | "second" | "seconds" => SECOND,
            "m" | "min" | "minute" | "minutes" => 60 * SECOND,
            "h" | "hour" | "hours" => 3_600 * SECOND,
            "d" | "day" | "days" => DAY,
            "w" | "week" | "weeks" => 7 * DAY,
            _ => return None,
        };
        rest = rest[letters..].trim_start();
        total = total.checked_add(number.checked_mul(unit)?)?;
    }
    Some(total)
}

/// A time in RFC 3339, in microseconds since the Unix epoch. Digits beyond microseconds are cut off.
fn rfc3339(text: &[u8]) -> Option<u64> {
    let (head, mut rest) = text.split_at_checked(19)?;
    let number = |from: usize, to: usize| -> Option<i64> {
        head[from..to].iter().try_fold(0, |n, byte| Some(n * 10 + i64::from(digit(*byte)?)))
    };
    let separated = head[4] == b'-' && head[7] == b'-' && head[13] == b':' && head[16] == b':';
    if !separated || !matches!(head[10], b'T' | b't' | b' ') {
        return None;
    }
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let last = match month {
        2 => 28 + i64::from(leap),
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => return None,
    };
    if !(1..=last).contains(&day) || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let mut micros = 0;
    if let Some(fraction) = rest.strip_prefix(b".") {
        let length = fraction.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let digits = fraction[..length].iter().chain([b'0'; 6].iter()).take(6);
        micros = digits.fold(0, |micros, byte| micros * 10 + i64::from(byte - b'0'));
        rest = (length > 0).then_some(&fraction[length..])?;
    }
    let offset = match rest {
        b"Z" | b"z" => 0,
        [sign @ (b'+' | b'-'), h1, h2, b':', m1, m2] => {
            let hours = i64::from(digit(*h1)?) * 10 + i64::from(digit(*h2)?);
            let minutes = i64::from(digit(*m1)?) * 10 + i64::from(digit(*m2)?);
            let seconds = (hours * 60 + minutes) * 60;
            if hours > 23 || minutes > 59 {
                return None;
            }
            if *sign == b'-' { -seconds } else { seconds }
        }
        _ => return None,
    };
    let seconds = days_of(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + second - offset;
    u64::try_from(seconds * 1_000_000 + micros).ok()
}

fn digit(byte: u8) -> Option<u8> {
    byte.is_ascii_digit().then(|| byte - b'0')
}

/// Days from the Unix epoch to a date of the Gregorian calendar. Years begin in March, so that leap days come last.
fn days_of(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    year * 365 + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + of_year - 719_468
}

/// A time in RFC 3339, in UTC.
pub(crate) fn show(time: Micros) -> String {
    let days = i64::try_from(time.0 / DAY).unwrap_or_default();
    // The year cannot be before what its longest years allow, and is at most one later.
    let mut year = 1970 + days / 366;
    while days_of(year + 1, 1, 1) <= days {
        year += 1;
    }
    let month = (1..=12).rev().find(|month| days_of(year, *month, 1) <= days).unwrap_or(1);
    let day = days - days_of(year, month, 1) + 1;
    let seconds = time.0 % DAY / SECOND;
    let (hour, minute, second) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    let micros = time.0 % SECOND;
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{micros:06}Z")
}

/// The bookmarks of two points in the object's history; without the second, of the newest commit.
pub(crate) fn points(object: &Object, from: &When, to: Option<&When>) -> Result<(Bookmark, Bookmark), Error> {
    let from = from.bookmark(object)?;
    let to = to.map_or_else(|| object.bookmark().wait(), |to| to.bookmark(object))?;
    Ok((from, to))
}

impl When {
    /// The bookmark of that point in the object's history.
    pub(crate) fn bookmark(&self, object: &Object) -> Result<Bookmark, Error> {
        match self {
            When::Seq(seq) => object.bookmark_of(*seq),
            When::Time(time) => object.bookmark_at(*time),
            When::Mark(mark) => Ok(*mark),
        }
    }

    /// The object as it was then.
    pub(crate) fn view(&self, object: &Object) -> Result<View<'static>, Error> {
        object.at(&self.bookmark(object)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Micros = Micros(1_800_000_000 * SECOND);

    fn time(text: &str) -> Option<u64> {
        match parse_at(text, NOW) {
            Ok(When::Time(time)) => Some(time.0),
            _ => None,
        }
    }

    #[test]
    fn times_are_read_in_every_form_that_they_have() {
        assert_eq!(time("1970-01-01T00:00:00Z"), Some(0));
        assert_eq!(time("2001-09-09T01:46:40Z"), Some(1_000_000_000 * SECOND));
        assert_eq!(time("2001-09-09t03:46:40.5+02:00"), Some(1_000_000_000 * SECOND + 500_000));
        assert_eq!(time("2001-09-08 20:16:40.1234567-05:30"), Some(1_000_000_000 * SECOND + 123_456));
        assert_eq!(time("2024-02-29T00:00:00Z"), Some(1_709_164_800 * SECOND));
        assert_eq!(time("now"), Some(NOW.0));
        assert_eq!(time("2h ago"), Some(NOW.0 - 7_200 * SECOND));
        assert_eq!(time(" 1 day 30m  ago"), Some(NOW.0 - 88_200 * SECOND));
        assert_eq!(parse_at("17", NOW), Ok(When::Seq(17)));
    }

    #[test]
    fn what_is_no_point_in_a_history_is_refused() {
        for wrong in [
            "",
            "ago",
            "2 ago",
            "2y ago",
            "-1",
            "99999999999999999999",
            "999999999999999999w ago",
            "yesterday",
            "lm1",
            "lm1000",
            "2026-01-31",
            "2026-01-31T12:00:00",
            "2026-13-01T00:00:00Z",
            "2023-02-29T00:00:00Z",
            "2026-01-31T24:00:00Z",
            "2026-01-31T12:00:00.Z",
            "2026-01-31T12:00:00+1:00",
            "1969-12-31T23:59:59Z",
            "2026-01-31T12:00:00Zé",
            "éééééééééééééééééééé",
        ] {
            assert!(parse_at(wrong, NOW).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_time_that_is_shown_reads_back() {
        for days in (0..80_000).step_by(29) {
            let shown = show(Micros(days * DAY + days * 1_234_567 % DAY));
            assert_eq!(time(&shown), Some(days * DAY + days * 1_234_567 % DAY), "{shown}");
        }
        assert_eq!(show(Micros(1_709_164_800 * SECOND)), "2024-02-29T00:00:00.000000Z");
    }
}
