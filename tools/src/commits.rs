//! Commits and what they wrote, as JSON and as text; `exec` tells them the same way.

use lineal::{Change, CommitInfo, CutTo, Difference, Kind, Value};

use crate::{
    json::{self, Line},
    when,
};

/// One commit as JSON.
pub(crate) fn json(info: &CommitInfo) -> String {
    let mut line = Line::new();
    fields(info, &mut line);
    line.end()
}

pub(crate) fn fields(info: &CommitInfo, line: &mut Line) {
    line.number("seq", info.seq).number("time_us", info.time.0).text("time", &when::show(info.time));
    line.text("kind", kind(info.kind)).text("cause", &info.cause).text("hash", &hex(&info.hash));
    if info.retired {
        // What it wrote is gone, and how much that was.
        line.null("changes").null("bytes");
    } else {
        line.number("changes", info.changes).number("bytes", info.bytes);
    }
    line.number("lsn", info.lsn);
}

/// One commit as a line of text.
pub(crate) fn plain(info: &CommitInfo) -> String {
    let hash = &hex(&info.hash)[..12];
    let changes = if info.changes == 1 { "change " } else { "changes" };
    let (seq, time, kind, count) = (info.seq, when::show(info.time), kind(info.kind), info.changes);
    // A cause may hold anything, line breaks and terminal sequences too.
    let cause = info.cause.escape_debug();
    if info.retired {
        let gone = "changes are gone";
        return format!("{seq:>8}  {time}  {hash}  {kind:<8} {gone:>31}  {cause}").trim_end().to_owned();
    }
    let line =
        format!("{seq:>8}  {time}  {hash}  {kind:<8} {count:>6} {changes}  {:>9} bytes  {cause}", info.bytes);
    line.trim_end().to_owned()
}

pub(crate) fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::User => "user",
        Kind::Delete => "delete",
        Kind::Restore => "restore",
        Kind::Fork => "fork",
        Kind::Install => "install",
        Kind::Purge => "purge",
        Kind::Migration => "migration",
        Kind::System => "system",
        _ => "other",
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What a commit wrote, as a JSON list.
pub(crate) fn changes(changes: &[Change]) -> String {
    json::list(changes.iter().map(change))
}

/// One change as JSON.
pub(crate) fn change(change: &Change) -> String {
    let mut line = Line::new();
    match change {
        Change::Put { key, value } => line.text("op", "put").bytes("key", key).bytes("value", value),
        Change::Delete { key } => line.text("op", "delete").bytes("key", key),
        Change::DeleteRange { start, end } => range(line.text("op", "delete_range"), start, end.as_deref()),
        Change::Patch { key, length, ranges } => {
            let ranges =
                ranges.iter().map(|(at, bytes)| Line::new().number("at", *at).bytes("bytes", bytes).end());
            line.text("op", "patch").bytes("key", key).number("length", *length);
            line.json("ranges", &json::list(ranges))
        }
        Change::Page { number, bytes } => {
            line.text("op", "page").number("page", u64::from(*number)).number("bytes", *bytes)
        }
        Change::PagesCut { first } => line.text("op", "cut_pages").number("first", u64::from(*first)),
        Change::Cut { start, end, base } => {
            match base {
                CutTo::Nothing => line.text("op", "delete_all"),
                CutTo::Own { seq } => line.text("op", "restore").number("from_seq", *seq),
                CutTo::Other { object, seq, hash } => {
                    line.text("op", "fork").number("from_namespace", u64::from(object.namespace.0));
                    line.text("from_id", &object.id.to_string()).number("from_seq", *seq);
                    line.text("from_hash", &hex(hash))
                }
                _ => line.text("op", "cut"),
            };
            let is_whole = start.is_empty() && end.is_none();
            if is_whole { &mut line } else { range(&mut line, start, end.as_deref()) }
        }
        _ => line.text("op", "other"),
    };
    line.end()
}

fn range<'l>(line: &'l mut Line, start: &[u8], end: Option<&[u8]>) -> &'l mut Line {
    line.bytes("start", start);
    match end {
        Some(end) => line.bytes("end", end),
        None => line.null("end"),
    }
}

/// One difference as JSON.
pub(crate) fn difference(found: &Difference) -> String {
    let mut line = Line::new();
    line.bytes("key", &found.key);
    for (name, value) in [("before", &found.before), ("after", &found.after)] {
        match value {
            Some(value) => line.bytes(name, value),
            None => line.null(name),
        };
    }
    line.end()
}

/// One difference as lines of text, as `diff` tells them.
pub(crate) fn plain_difference(found: &Difference) -> String {
    let line = |sign: char, value: &Option<Value>| {
        value.as_ref().map(|value| format!("{sign} {} = {}\n", quoted(&found.key), quoted(value)))
    };
    let lines = [line('-', &found.before), line('+', &found.after)];
    let mut text: String = lines.into_iter().flatten().collect();
    text.pop();
    text
}

/// Bytes as text on one line.
pub(crate) fn quoted(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => format!("{text:?}"),
        Err(_) => format!("x{}", hex(bytes)),
    }
}
