//! How much history is kept, and the clock that it is measured by.

use std::time::Duration;

use lineal_wal::Micros;

use crate::{Namespace, Result, engine::system};

/// How much of its objects' history a namespace keeps, beside their newest state, which always stays.
///
/// What is beyond either limit may go when compaction passes; pins, forks and restores hold what they need. An object's
/// history is given up in whole versions, so that a little more than asked for is kept: up to the tail that is not
/// worked into leaves yet, which is 64 KiB by default, stays in any case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// For how long every version can be read. `None`: for ever.
    pub time: Option<Duration>,
    /// How many bytes of history an object has, as they are stored. `None`: any number.
    pub bytes: Option<u64>,
}

impl Retention {
    /// All of it stays.
    pub const FOREVER: Retention = Retention { time: None, bytes: None };

    /// The time before which versions may go, by the engine's running time.
    pub(crate) fn horizon(&self, running: Micros) -> Option<Micros> {
        let time = Micros::from(self.time?).0;
        Some(Micros(running.0.saturating_sub(time)))
    }

    pub(crate) fn encode(&self) -> [u8; 16] {
        let time = self.time.map_or(u64::MAX, |time| Micros::from(time).0);
        let mut row = [0; 16];
        row[..8].copy_from_slice(&time.to_le_bytes());
        row[8..].copy_from_slice(&self.bytes.unwrap_or(u64::MAX).to_le_bytes());
        row
    }

    pub(crate) fn decode(row: &[u8]) -> Option<Retention> {
        let (time, bytes) = numbers(row)?;
        let limit = |limit: u64| Some(limit).filter(|limit| *limit != u64::MAX);
        Some(Retention { time: limit(time).map(Duration::from_micros), bytes: limit(bytes) })
    }
}

impl Default for Retention {
    /// Thirty days, whatever the size.
    fn default() -> Retention {
        Retention { time: Some(Duration::from_secs(30 * 24 * 60 * 60)), bytes: None }
    }
}

/// What stays of commits that the retention has passed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Lineage {
    /// The hash of the last of them: each object's chain verifies from there.
    #[default]
    Anchor,
    /// The headers of all of them, about fifty bytes each: what they wrote is gone, and the chain verifies from the first
    /// commit.
    Forever,
}

fn numbers(row: &[u8]) -> Option<(u64, u64)> {
    let (a, b) = row.split_first_chunk::<8>()?;
    let b: &[u8; 8] = b.try_into().ok()?;
    Some((u64::from_le_bytes(*a), u64::from_le_bytes(*b)))
}

/// Running time: the wall clock, but for its leaps. It goes forward only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Running {
    pub(crate) time: Micros,
    /// The wall clock when it was last looked at.
    pub(crate) wall: Micros,
}

/// How far running time follows the wall clock at once: what is beyond is taken for a clock that was set wrong.
///
/// Source: specified.
const LEAP_MAX: Duration = Duration::from_secs(24 * 60 * 60);

impl Running {
    /// The first look.
    pub(crate) fn start(wall: Micros) -> Running {
        Running { time: wall, wall }
    }

    /// Follows the wall clock, by a day at most, or all the way if somebody answers for it.
    pub(crate) fn follow(self, wall: Micros, trusted: bool) -> Running {
        if trusted {
            return Running { time: self.time.max(wall), wall };
        }
        let leap_max = Micros::from(LEAP_MAX).0;
        let passed = wall.0.saturating_sub(self.wall.0).min(leap_max);
        // Never ahead of the wall clock, unless that was set back.
        let time = self.time.0.saturating_add(passed).min(wall.0).max(self.time.0);
        Running { time: Micros(time), wall }
    }

    pub(crate) fn encode(&self) -> [u8; 16] {
        let mut row = [0; 16];
        row[..8].copy_from_slice(&self.time.0.to_le_bytes());
        row[8..].copy_from_slice(&self.wall.0.to_le_bytes());
        row
    }

    pub(crate) fn decode(row: &[u8]) -> Option<Running> {
        let (time, wall) = numbers(row)?;
        Some(Running { time: Micros(time), wall: Micros(wall) })
    }
}

impl Namespace {
    /// How much of its objects' history is kept.
    ///
    /// # Errors
    /// [`Error::Dropped`](crate::Error::Dropped); as [`Gated::wait`](crate::Gated::wait).
    pub fn retention(&self) -> Result<Retention> {
        self.inner.check()?;
        system::retention(&self.engine, self.inner.id)
    }

    /// Sets how much of its objects' history is kept (default: thirty days). What is beyond goes when compaction next
    /// passes, and cannot be had back. Durable when it returns.
    ///
    /// # Errors
    /// As [`retention`](Namespace::retention).
    pub fn set_retention(&self, retention: Retention) -> Result<()> {
        self.inner.check()?;
        system::write_retention(&self.engine, &self.inner, retention).wait()
    }

    /// What stays of its objects' commits that the retention has passed.
    ///
    /// # Errors
    /// As [`retention`](Namespace::retention).
    pub fn lineage(&self) -> Result<Lineage> {
        self.inner.check()?;
        system::lineage(&self.engine, self.inner.id)
    }

    /// Sets what stays of its objects' commits that the retention has passed (default: [`Lineage::Anchor`]). It holds for
    /// what passes from now on: headers that went do not come back, and those that are kept go when more history goes.
    /// Durable when it returns.
    ///
    /// # Errors
    /// As [`retention`](Namespace::retention).
    pub fn set_lineage(&self, lineage: Lineage) -> Result<()> {
        self.inner.check()?;
        system::write_lineage(&self.engine, &self.inner, lineage).wait()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: u64 = 24 * 60 * 60 * 1_000_000;

    #[test]
    fn rows_are_read_as_they_were_written() {
        for retention in [
            Retention::FOREVER,
            Retention::default(),
            Retention { time: Some(Duration::ZERO), bytes: Some(7) },
        ] {
            assert_eq!(Retention::decode(&retention.encode()), Some(retention));
        }
        let running = Running { time: Micros(5), wall: Micros(9) };
        assert_eq!(Running::decode(&running.encode()), Some(running));
        assert_eq!(Running::decode(&[0; 15]), None);
    }

    #[test]
    fn running_time_follows_the_wall_clock_but_for_its_leaps() {
        let start = Running::start(Micros(100 * DAY));
        let hour = start.follow(Micros(100 * DAY + DAY / 24), false);
        assert_eq!(hour.time, Micros(100 * DAY + DAY / 24));
        let leapt = start.follow(Micros(150 * DAY), false);
        assert_eq!(leapt.time, Micros(101 * DAY), "a leap of fifty days counts for one");
        assert_eq!(leapt.follow(Micros(150 * DAY + 5), false).time, Micros(101 * DAY + 5));
        assert_eq!(leapt.follow(Micros(150 * DAY + 5), true).time, Micros(150 * DAY + 5));
        let back = start.follow(Micros(90 * DAY), false);
        assert_eq!(back.time, start.time, "it never goes back");
        assert_eq!(back.follow(Micros(90 * DAY + 5), false).time, start.time);
    }

    #[test]
    fn the_horizon_lies_before_now_and_never_before_the_beginning() {
        let day = Retention { time: Some(Duration::from_secs(24 * 60 * 60)), bytes: None };
        assert_eq!(day.horizon(Micros(3 * DAY)), Some(Micros(2 * DAY)));
        assert_eq!(day.horizon(Micros(5)), Some(Micros(0)));
        assert_eq!(Retention::FOREVER.horizon(Micros(5)), None);
    }
}
