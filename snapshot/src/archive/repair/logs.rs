//! What the chunks of the log lead to, when nothing says which of them are needed.
//!
//! The log goes on from where the packs end: a chunk belongs to it if its first record is the next one, or older and its
//! last one newer. A later epoch began where the log of all epochs before it ended, so what these have beyond that
//! was never archived: several chunks are under way at once, and those behind one that did not arrive are dead. So are
//! those behind a barrier.

use super::super::chunk::{ChunkHash, LogEnd, Stands};
use super::super::client::Client;
use super::super::error::ArchiveError;
use super::super::key::Keys;
use super::super::manifest::{ArchivedLog, GarbageChunks};
use super::LeftOut;
use super::survey::FoundLog;
use lineal_wal::{EngineId, Epoch, Lsn, Micros};

/// A writer that comes back puts its next chunk at a number at most so far below the highest that is there.
///
/// Source: the most chunks that may be under way at once.
const UNDER_WAY_MAX: u64 = 64;

/// The log of one epoch, every chunk of it read.
#[derive(Debug)]
pub(super) struct Log {
    engine: EngineId,
    epoch: Epoch,
    runs: Vec<Run>,
    /// Numbers of chunks that are not what was written, and why.
    damaged: Vec<(u64, &'static str)>,
    barrier: Option<u64>,
    highest: u64,
    /// What it has beyond this position is of no part of the archive: a later epoch began there.
    limit: Lsn,
}

/// Chunks that follow each other.
#[derive(Debug)]
struct Run {
    /// The number of the first one, and the hash of what was before it.
    first: u64,
    before: ChunkHash,
    chunks: Vec<Seen>,
    /// Behind the last one.
    end: LogEnd,
    /// Whether a barrier is before it.
    dead: bool,
}

#[derive(Debug, Clone, Copy)]
struct Seen {
    n: u64,
    first: Lsn,
    last: Lsn,
    hash: ChunkHash,
}

impl Log {
    /// The position before its first chunk that is there: the log of all earlier epochs ended there or before. The highest
    /// if it has none. What stands in chunks that are gone was covered by packs that were listed, so that a pack which reaches as far
    /// is not refused for it.
    fn began_after(&self) -> Lsn {
        let first = self.runs.first().and_then(|run| run.chunks.first());
        first.map_or(Lsn(u64::MAX), |first| Lsn(first.first.0 - 1))
    }
}

/// Where the log of an epoch and all before it ended: where a later one began.
pub(super) fn limit(logs: &[Log], epoch: Epoch) -> Lsn {
    let later = logs.iter().filter(|log| log.epoch > epoch).map(Log::began_after);
    later.min().unwrap_or(Lsn(u64::MAX))
}

/// Reads all chunks of all logs.
///
/// # Errors
/// As [`Client::get`]; [`ArchiveError::NewerVersion`], [`ArchiveError::WrongEngine`].
pub(super) async fn read_all(
    client: &Client,
    engine: EngineId,
    found: &[FoundLog],
) -> Result<Vec<Log>, ArchiveError> {
    let mut logs: Vec<Log> = Vec::with_capacity(found.len());
    for found in found {
        logs.push(read(client, engine, found).await?);
    }
    for at in 0..logs.len() {
        logs[at].limit = limit(&logs, logs[at].epoch);
    }
    Ok(logs)
}

async fn read(client: &Client, engine: EngineId, found: &FoundLog) -> Result<Log, ArchiveError> {
    let highest = found.chunks.iter().chain(&found.barrier).copied().max().unwrap_or(0);
    let (epoch, barrier) = (found.epoch, found.barrier);
    // What was put aside and not closed yet is damaged, and there.
    let aside = found.aside.iter().filter(|n| found.chunks.binary_search(n).is_err());
    let aside = aside.map(|n| (*n, "an earlier repair has put it aside"));
    let mut log = Log {
        engine,
        epoch,
        runs: Vec::new(),
        damaged: aside.collect(),
        barrier,
        highest,
        limit: Lsn(u64::MAX),
    };
    let mut read_to = 0;
    for n in found.chunks.iter().copied() {
        if n < read_to {
            continue;
        }
        let end = match LogEnd::found(client, engine, epoch, n).await {
            Ok(Some(end)) => end,
            Ok(None) => continue,
            Err(ArchiveError::Damaged { reason, .. }) => {
                log.damaged.push((n, reason));
                continue;
            }
            Err(error) => return Err(error),
        };
        let dead = barrier.is_some_and(|barrier| barrier < n);
        let mut run = Run { first: n, before: end.before(), chunks: Vec::new(), end, dead };
        loop {
            match run.end.read(client).await {
                Ok(Stands::Chunk(chunk)) => run.chunks.push(Seen {
                    n: chunk.n,
                    first: chunk.first,
                    last: chunk.last,
                    hash: chunk.hash,
                }),
                // What is damaged begins no other run, and is noted when its turn comes.
                Ok(Stands::Barrier { .. } | Stands::Nothing) | Err(ArchiveError::Damaged { .. }) => break,
                Err(error) => return Err(error),
            }
        }
        read_to = run.end.n();
        if !run.chunks.is_empty() {
            log.runs.push(run);
        }
    }
    Ok(log)
}

/// What the logs lead to from where the packs end.
#[derive(Debug)]
pub(super) struct Tail {
    /// For the manifest, but for the log of the epoch that writes it.
    pub(super) rows: Vec<ArchivedLog>,
    /// The last position that packs and chunks hold.
    pub(super) reach: Lsn,
    /// Chunks that are needed.
    pub(super) chunks: u64,
    /// Where the logs that have something of the archive end.
    ends: Vec<LogEnd>,
}

/// Goes from chunk to chunk from `line` on.
///
/// # Errors
/// [`ArchiveError::Diverged`] if chunks contradict each other.
pub(super) fn connect(logs: &[Log], line: Lsn) -> Result<Tail, ArchiveError> {
    let mut tail = Tail { rows: Vec::new(), reach: line, chunks: 0, ends: Vec::new() };
    for log in logs {
        let mut end = None;
        let mut is_used = false;
        for run in log.runs.iter().filter(|run| !run.dead) {
            let Some(at) = run.chunks.iter().position(|chunk| chunk.last > tail.reach) else {
                end = Some(run.end.clone());
                continue;
            };
            let needed = run.chunks[at];
            if is_used || needed.first > tail.reach.next() || needed.last > log.limit {
                continue;
            }
            for chunk in &run.chunks[at..] {
                if chunk.last > log.limit || chunk.first > tail.reach.next() {
                    let key = Keys(log.engine).chunk(log.epoch, chunk.n);
                    let reason = "it is not where the log that it is of went on";
                    return Err(ArchiveError::Diverged { key, reason });
                }
                tail.reach = tail.reach.max(chunk.last);
                tail.chunks += 1;
            }
            let before = at.checked_sub(1).map_or(run.before, |before| run.chunks[before].hash);
            tail.rows.push(ArchivedLog { epoch: log.epoch, first_chunk: needed.n, before });
            end = Some(run.end.clone());
            is_used = true;
        }
        tail.ends.extend(end);
    }
    Ok(tail)
}

/// What is there and has no part in what was found, although it holds something beyond it, or may.
pub(super) fn left_out(logs: &[Log], tail: &Tail, line: Lsn) -> Vec<LeftOut> {
    let mut left_out = Vec::new();
    for log in logs {
        let key = |n| Keys(log.engine).chunk(log.epoch, n);
        // Where a later epoch began at or before the end, all that counts of this one is in.
        let is_over = log.limit <= tail.reach;
        for (n, reason) in log.damaged.iter().filter(|_| !is_over) {
            let mut behind = log.runs.iter().filter(|run| run.first > *n).flat_map(|run| &run.chunks);
            let is_packed = behind.next().is_some_and(|next| next.first <= line.next());
            if !is_packed {
                left_out.push(LeftOut { key: key(*n), reason: format!("it is damaged: {reason}") });
            }
        }
        for run in log.runs.iter().filter(|_| !is_over) {
            if let Some(chunk) = run.chunks.iter().find(|chunk| chunk.last > tail.reach) {
                let missing = tail.reach.next();
                let reason = format!("the commits from {missing} on, which come before it, are missing");
                left_out.push(LeftOut { key: key(chunk.n), reason });
            }
        }
    }
    left_out
}

/// Chunks that packs cover, as garbage since `time`.
pub(super) fn garbage(logs: &[Log], tail: &Tail, line: Lsn, time: Micros) -> Vec<GarbageChunks> {
    let mut garbage = Vec::new();
    for log in logs {
        let needed = tail.rows.iter().find(|row| row.epoch == log.epoch).map(|row| row.first_chunk);
        for run in log.runs.iter().filter(|run| !run.dead) {
            let covered = run.chunks.iter().take_while(|chunk| chunk.last <= line).count() as u64;
            let end = (run.first + covered).min(needed.unwrap_or(u64::MAX));
            if end > run.first {
                garbage.push(GarbageChunks {
                    epoch: log.epoch,
                    first: run.first,
                    end: Some(end),
                    since: time,
                });
            }
        }
    }
    garbage
}

/// Ends all logs before epoch `by`, so that nobody archives anything in them any more; `open` are epochs that may have one
/// without a chunk. Says whether a chunk has come meanwhile: then everything is to be looked at again.
///
/// # Errors
/// As [`LogEnd::close`].
pub(super) async fn close(
    client: &Client,
    engine: EngineId,
    by: Epoch,
    (logs, tail): (&[Log], &Tail),
    open: &[Epoch],
) -> Result<bool, ArchiveError> {
    let mut ends = Vec::new();
    for log in logs.iter().filter(|log| log.epoch < by) {
        if let Some(end) = tail.ends.iter().find(|end| end.epoch() == log.epoch) {
            // Also where a barrier stands: it may be damaged, and then nobody gets past it.
            ends.push(end.clone());
            continue;
        }
        if log.barrier.is_some() {
            continue;
        }
        // Nothing of it counts, so that its end does not either: but its writer must find a barrier wherever it stands.
        let near = log.runs.iter().filter(|run| run.end.n() + UNDER_WAY_MAX > log.highest);
        ends.extend(near.map(|run| run.end.clone()));
        if ends.last().is_none_or(|end| (end.epoch(), end.n()) != (log.epoch, log.highest + 1)) {
            ends.push(LogEnd::at(engine, log.epoch, log.highest + 1, [0; 32]));
        }
    }
    let unnamed = open.iter().filter(|open| logs.iter().all(|log| log.epoch != **open));
    ends.extend(unnamed.map(|open| LogEnd::begin(engine, *open)));
    let mut came = false;
    for mut end in ends {
        let closed = end.close(client, by, |_| {
            came = true;
            Ok(())
        });
        match closed.await {
            Ok(_) => {}
            Err(ArchiveError::Damaged { .. }) => end.close_over_damage(client, by).await?,
            Err(error) => return Err(error),
        }
    }
    Ok(came)
}
