//! Time, chance and patience, all passed in.

use crate::sync::Arc;
use std::fmt::{self, Debug};
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

/// How the archive waits and draws. The real one needs to run inside the archive's [runtime](super::Runtime).
pub trait Pace: Send + Sync + Debug {
    /// Time that has run since some moment; never goes back, whatever the wall clock does.
    fn now(&self) -> Duration;

    /// Ends after `time`.
    fn sleep(&self, time: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>>;

    /// 64 random bits.
    fn random(&self) -> u64;
}

/// Real time, and randomness from the given source.
pub struct RealPace {
    begin: tokio::time::Instant,
    random: Arc<dyn Fn() -> u64 + Send + Sync>,
}

impl RealPace {
    /// Draws from `random`.
    #[must_use]
    pub fn new(random: Arc<dyn Fn() -> u64 + Send + Sync>) -> Self {
        Self { begin: tokio::time::Instant::now(), random }
    }
}

impl Debug for RealPace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RealPace").finish_non_exhaustive()
    }
}

impl Pace for RealPace {
    fn now(&self) -> Duration {
        self.begin.elapsed()
    }

    fn sleep(&self, time: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(async move { tokio::time::sleep(time).await })
    }

    fn random(&self) -> u64 {
        (self.random)()
    }
}

/// How long to wait for a store, and between two attempts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// For one request. A request of many bytes gets a second more for each MiB.
    pub request_max: Duration,
    /// For one operation with all its attempts; the attempt that passes it is the last.
    pub operation_max: Duration,
    /// Before the second attempt, at most; doubled before each further one.
    pub first_wait_max: Duration,
    /// Before any attempt, at most.
    pub wait_max: Duration,
}

impl Default for Patience {
    /// Ten seconds for a request, a minute for an operation, waits of up to 100 ms, then longer, up to ten seconds.
    ///
    /// Source: decisions. A store that is down sees one request for each waiting operation in five seconds on average.
    fn default() -> Self {
        Self {
            request_max: Duration::from_secs(10),
            operation_max: Duration::from_secs(60),
            first_wait_max: Duration::from_millis(100),
            wait_max: Duration::from_secs(10),
        }
    }
}

impl Patience {
    /// How long to wait after `attempts` failures: drawn between nothing and a bound that doubles, so that many who
    /// failed at once do not come back at once.
    #[must_use]
    pub fn wait(&self, attempts: u32, random: u64) -> Duration {
        let doubled = 1u32.checked_shl(attempts.saturating_sub(1)).unwrap_or(u32::MAX);
        let bound = self.first_wait_max.saturating_mul(doubled).min(self.wait_max);
        let bound = u64::try_from(bound.as_micros()).unwrap_or(u64::MAX);
        let drawn = (u128::from(random) * (u128::from(bound) + 1)) >> 64;
        Duration::from_micros(u64::try_from(drawn).unwrap_or(bound))
    }

    /// For one request that carries so many bytes.
    #[must_use]
    pub fn request(&self, bytes: u64) -> Duration {
        self.request_max + Duration::from_secs(bytes >> 20)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_their_bound_and_are_spread() {
        let patience = Patience::default();
        let longest: Vec<_> = (1..=9).map(|attempts| patience.wait(attempts, u64::MAX).as_millis()).collect();
        assert_eq!(longest, [100, 200, 400, 800, 1_600, 3_200, 6_400, 10_000, 10_000]);
        assert_eq!(patience.wait(5, 0), Duration::ZERO);
        assert_eq!(patience.wait(1, u64::MAX / 2).as_millis(), 50);
        assert_eq!(patience.wait(u32::MAX, u64::MAX), patience.wait_max);
    }
}
