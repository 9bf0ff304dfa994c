//! Which part of the log goes to the store when: a decision, without any I/O.
//!
//! ```text
//!      archived            cut                 durable
//! ──────────┼──── ─ ─ ─ ─ ──┼─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ┼────▶ log
//!   stored, in order   chunks under way     waits to be cut
//! ```
//! Invariants: (1) archived ≤ cut ≤ durable; (2) the window holds the chunks between archived and cut, in their order,
//! and its first one is not stored yet; (3) it never holds more than it may.

use lineal_wal::Lsn;
use std::collections::VecDeque;
use std::time::Duration;

/// How eagerly the log goes to the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rhythm {
    /// Between two chunks that nobody waits for, at least.
    pub interval: Duration,
    /// A chunk that has so many bytes waits no longer, and takes no more.
    pub chunk_bytes: u32,
    /// Chunks under way at once, at most. With the bytes of one, this bounds the memory.
    pub chunks_max: usize,
}

impl Default for Rhythm {
    /// A second, 4 MiB, four at once. Source: decisions; a second is what may be lost with the machine by default.
    fn default() -> Self {
        Self { interval: Duration::from_secs(1), chunk_bytes: 4 << 20, chunks_max: 4 }
    }
}

/// When to cut the next chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// At once.
    Now,
    /// At this time, unless something changes before.
    At(Duration),
    /// Not before something changes: nothing is new, or too much is under way.
    Never,
}

/// What is durable here and not in the store.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Lag {
    /// Records.
    pub records: u64,
    /// Chunks under way.
    pub chunks: usize,
    /// How long the oldest chunk has been under way.
    pub age: Duration,
}

#[derive(Debug)]
struct UnderWay {
    n: u64,
    last: Lsn,
    since: Duration,
    stored: bool,
}

/// The chunks of one epoch's log, from cut to archived.
#[derive(Debug)]
pub struct ChunkQueue {
    rhythm: Rhythm,
    archived: Lsn,
    cut: Lsn,
    cut_at: Option<Duration>,
    window: VecDeque<UnderWay>,
}

impl ChunkQueue {
    /// Everything up to `archived` is in the store.
    #[must_use]
    pub fn new(rhythm: Rhythm, archived: Lsn) -> Self {
        Self { rhythm, archived, cut: archived, cut_at: None, window: VecDeque::new() }
    }

    /// Everything up to here is in the store.
    #[must_use]
    pub fn archived(&self) -> Lsn {
        self.archived
    }

    /// Everything up to here is in the store or under way.
    #[must_use]
    pub fn cut_to(&self) -> Lsn {
        self.cut
    }

    /// When to cut. `durable` is the newest durable position, `bytes` says how much lies between it and the cut, `wanted`
    /// is the newest position that somebody waits for in the store.
    #[must_use]
    pub fn next(&self, durable: Lsn, bytes: impl FnOnce() -> u64, wanted: Lsn, now: Duration) -> Cut {
        if durable <= self.cut || self.window.len() >= self.rhythm.chunks_max {
            return Cut::Never;
        }
        let due = self.cut_at.map(|cut_at| cut_at + self.rhythm.interval);
        match due {
            Some(due) if wanted <= self.cut && now < due && bytes() < self.rhythm.chunk_bytes.into() => {
                Cut::At(due)
            }
            _ => Cut::Now,
        }
    }

    /// Chunk `n`, which ends at `last`, is under way.
    ///
    /// # Panics
    /// If it does not go on where the last one ended, or too many are under way.
    pub fn cut(&mut self, n: u64, last: Lsn, now: Duration) {
        assert!(last > self.cut, "a chunk ends behind the one before");
        assert!(self.window.len() < self.rhythm.chunks_max, "no more chunks are under way than may be");
        assert!(self.window.back().is_none_or(|before| before.n + 1 == n), "chunks are cut in order");
        self.cut = last;
        self.cut_at = Some(now);
        self.window.push_back(UnderWay { n, last, since: now, stored: false });
    }

    /// Chunk `n` is in the store. It counts when all before it are; says whether [`archived`](Self::archived) moved.
    pub fn stored(&mut self, n: u64) -> bool {
        if let Some(chunk) = self.window.iter_mut().find(|chunk| chunk.n == n) {
            chunk.stored = true;
        }
        let before = self.archived;
        while let Some(first) = self.window.pop_front_if(|first| first.stored) {
            self.archived = first.last;
        }
        self.archived > before
    }

    /// How far the store is behind.
    #[must_use]
    pub fn lag(&self, durable: Lsn, now: Duration) -> Lag {
        let since = self.window.front().map_or(now, |first| first.since);
        Lag {
            records: durable.0.saturating_sub(self.archived.0),
            chunks: self.window.len(),
            age: now.saturating_sub(since),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn nothing_is_cut_while_nothing_is_new() {
        let mut queue = ChunkQueue::new(Rhythm::default(), Lsn(7));
        assert_eq!(queue.next(Lsn(7), || 0, Lsn(7), ms(99_000)), Cut::Never);
        assert_eq!(
            queue.next(Lsn(8), || 10, Lsn(0), ms(0)),
            Cut::Now,
            "the first after idle waits for nothing"
        );
        queue.cut(1, Lsn(8), ms(0));
        queue.stored(1);
        assert_eq!(queue.next(Lsn(8), || 0, Lsn(0), ms(99_000)), Cut::Never);
    }

    #[test]
    fn what_nobody_waits_for_goes_once_per_interval() {
        let mut queue = ChunkQueue::new(Rhythm::default(), Lsn(0));
        queue.cut(1, Lsn(5), ms(100));
        assert_eq!(queue.next(Lsn(6), || 10, Lsn(5), ms(200)), Cut::At(ms(1_100)));
        assert_eq!(queue.next(Lsn(6), || 10, Lsn(5), ms(1_100)), Cut::Now);
        assert_eq!(queue.next(Lsn(6), || 4 << 20, Lsn(5), ms(200)), Cut::Now, "a full chunk");
        assert_eq!(queue.next(Lsn(6), || 10, Lsn(6), ms(200)), Cut::Now, "somebody waits");
    }

    #[test]
    fn no_more_is_under_way_than_may_be() {
        let mut queue = ChunkQueue::new(Rhythm { chunks_max: 2, ..Rhythm::default() }, Lsn(0));
        queue.cut(1, Lsn(1), ms(0));
        queue.cut(2, Lsn(2), ms(1));
        assert_eq!(queue.next(Lsn(9), || 99 << 20, Lsn(9), ms(99_000)), Cut::Never);
        let lag = queue.lag(Lsn(9), ms(30));
        assert_eq!(lag, Lag { records: 9, chunks: 2, age: ms(30) });
        assert!(!queue.stored(2), "the second alone opens nothing");
        assert_eq!((queue.archived(), queue.next(Lsn(9), || 1, Lsn(9), ms(0))), (Lsn(0), Cut::Never));
        assert!(queue.stored(1));
        assert_eq!((queue.archived(), queue.next(Lsn(9), || 1, Lsn(9), ms(0))), (Lsn(2), Cut::Now));
    }
}
