//! How far the replay has come: an object that changes in the same transactions as the files.

use lineal::{Namespace, Object, Result, Tx};
use serde_json::Value;

use super::origin::{Done, REPLAY};
use crate::json::Line;

const POSITION: &str = "position";

/// A place in the replay.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Position {
    pub(super) done: Done,
    /// Files written of the commit after that.
    pub(super) files: u64,
    /// Pieces written of the file after that.
    pub(super) pieces: u64,
    /// What all this was.
    pub(super) totals: Totals,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Totals {
    /// Transactions of single files.
    pub(super) transactions: u64,
    /// Those of them that went on with a file that was too large for one.
    pub(super) continued: u64,
    /// Bytes of the files written.
    pub(super) bytes: u64,
    pub(super) submodules: u64,
}

pub(super) fn object(demo: &Namespace) -> Result<Object> {
    demo.object(REPLAY)
}

/// Where the replay stands.
pub(super) fn read(marker: &Object) -> Result<Position> {
    let value = marker.read(|view| view.get(POSITION)).wait()?;
    value.map_or(Ok(Position::default()), |value| {
        parse(&value).ok_or_else(|| lineal::Error::other("the demo's position is not readable"))
    })
}

pub(super) fn write(tx: &mut Tx<'_>, position: &Position) -> Result<()> {
    tx.put(POSITION, encode(position))
}

pub(super) fn encode(position: &Position) -> String {
    let Position { done, files, pieces, totals } = position;
    let mut line = Line::new();
    line.number("commits", done.commits)
        .text("last", &done.last)
        .number("files", *files)
        .number("pieces", *pieces);
    line.number("transactions", totals.transactions).number("continued", totals.continued);
    line.number("bytes", totals.bytes).number("submodules", totals.submodules);
    line.end()
}

pub(super) fn parse(bytes: &[u8]) -> Option<Position> {
    from_json(&serde_json::from_slice(bytes).ok()?)
}

pub(super) fn from_json(value: &Value) -> Option<Position> {
    let number = |name: &str| value.get(name)?.as_u64();
    Some(Position {
        done: Done { commits: number("commits")?, last: value.get("last")?.as_str()?.to_owned() },
        files: number("files")?,
        pieces: number("pieces")?,
        totals: Totals {
            transactions: number("transactions")?,
            continued: number("continued")?,
            bytes: number("bytes")?,
            submodules: number("submodules")?,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_reads_as_it_was_written() {
        let position = Position {
            done: Done { commits: 1, last: "abc".into() },
            files: 2,
            pieces: 3,
            totals: Totals { transactions: 4, continued: 5, bytes: 6, submodules: 7 },
        };
        assert_eq!(parse(encode(&position).as_bytes()), Some(position));
        assert_eq!(parse(b"{}"), None);
    }
}
