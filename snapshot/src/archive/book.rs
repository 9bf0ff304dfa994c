//! Which chunks of the log the archive still needs: what the manifest says of the logs, kept up to date.

use super::chunk::ChunkHash;
use super::manifest::ArchivedLog;
use lineal_wal::{Epoch, Lsn};
use std::collections::VecDeque;

#[derive(Debug, Clone, Copy)]
struct Entry {
    n: u64,
    last: Lsn,
    hash: ChunkHash,
}

#[derive(Debug)]
struct EpochLog {
    epoch: Epoch,
    /// The hash of the chunk before the first one here; zeros for the first of the epoch.
    before: ChunkHash,
    /// The number of the first one here, or of the next if there is none.
    first_chunk: u64,
    chunks: VecDeque<Entry>,
}

impl EpochLog {
    fn row(&self) -> ArchivedLog {
        ArchivedLog { epoch: self.epoch, first_chunk: self.first_chunk, before: self.before }
    }

    /// Forgets the chunks that hold nothing above `line`.
    fn forget_through(&mut self, line: Lsn) {
        while let Some(first) = self.chunks.pop_front_if(|first| first.last <= line) {
            self.before = first.hash;
            self.first_chunk = first.n + 1;
        }
    }
}

/// The archived chunks, by epoch.
///
/// Invariant: epochs ascend, and so do the chunks of one, without gaps.
#[derive(Debug, Default)]
pub struct ChunkBook {
    logs: Vec<EpochLog>,
}

impl ChunkBook {
    /// The logs that a manifest names, with no chunk known yet.
    #[must_use]
    pub fn new(logs: &[ArchivedLog]) -> Self {
        let log = |log: &ArchivedLog| EpochLog {
            epoch: log.epoch,
            before: log.before,
            first_chunk: log.first_chunk,
            chunks: VecDeque::new(),
        };
        Self { logs: logs.iter().map(log).collect() }
    }

    /// Chunk `n` of an epoch is archived, and ends at `last`.
    ///
    /// # Panics
    /// If it does not follow the one before: that is a bug of the caller.
    pub fn archived(&mut self, epoch: Epoch, n: u64, last: Lsn, hash: ChunkHash) {
        let log = match self.logs.iter_mut().position(|log| log.epoch == epoch) {
            Some(at) => &mut self.logs[at],
            None => {
                let new = EpochLog { epoch, before: [0; 32], first_chunk: 1, chunks: VecDeque::new() };
                self.logs.push(new);
                self.logs.last_mut().expect("one was just pushed")
            }
        };
        let due = log.chunks.back().map_or(log.first_chunk, |newest| newest.n + 1);
        assert_eq!(n, due, "chunks are archived in order");
        log.chunks.push_back(Entry { n, last, hash });
    }

    /// What is needed above `line`, for the writer in `epoch`, and forgets the rest: earlier epochs that hold nothing
    /// above it go as a whole.
    pub fn logs_above(&mut self, line: Lsn, epoch: Epoch) -> Vec<ArchivedLog> {
        for log in &mut self.logs {
            log.forget_through(line);
        }
        self.logs.retain(|log| log.epoch >= epoch || !log.chunks.is_empty());
        let mut rows: Vec<ArchivedLog> = self.logs.iter().map(EpochLog::row).collect();
        if rows.iter().all(|row| row.epoch != epoch) {
            rows.push(ArchivedLog::all(epoch));
        }
        rows
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_that_the_line_covers_are_not_needed() {
        let mut book = ChunkBook::new(&[ArchivedLog::all(Epoch(1)), ArchivedLog::all(Epoch(3))]);
        book.archived(Epoch(1), 1, Lsn(5), [1; 32]);
        book.archived(Epoch(1), 2, Lsn(9), [2; 32]);
        book.archived(Epoch(3), 1, Lsn(12), [3; 32]);
        let row =
            |epoch, first_chunk, hash| ArchivedLog { epoch: Epoch(epoch), first_chunk, before: [hash; 32] };
        assert_eq!(book.logs_above(Lsn(4), Epoch(3)), [row(1, 1, 0), row(3, 1, 0)]);
        assert_eq!(book.logs_above(Lsn(5), Epoch(3)), [row(1, 2, 1), row(3, 1, 0)]);
        assert_eq!(book.logs_above(Lsn(8), Epoch(3)), [row(1, 2, 1), row(3, 1, 0)]);
        assert_eq!(book.logs_above(Lsn(9), Epoch(3)), [row(3, 1, 0)]);
        assert_eq!(book.logs_above(Lsn(12), Epoch(3)), [row(3, 2, 3)]);
        book.archived(Epoch(3), 2, Lsn(20), [4; 32]);
        assert_eq!(book.logs_above(Lsn(15), Epoch(3)), [row(3, 2, 3)]);
    }

    #[test]
    fn the_writers_own_log_is_always_named() {
        let mut book = ChunkBook::new(&[]);
        assert_eq!(book.logs_above(Lsn(0), Epoch(2)), [ArchivedLog::all(Epoch(2))]);
    }
}
