//! Time of this process alone: monotonic, and counted from an origin that means nothing to anybody else.

use std::time::Duration;

use tokio::time::Instant;

/// A point in time: how long after the origin of its [`Clock`]. Comparable with moments of the same clock only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment(Duration);

impl Moment {
    /// So long after the origin.
    #[must_use]
    pub const fn at(since_origin: Duration) -> Self {
        Self(since_origin)
    }

    /// How long after `earlier` this is; zero if it is not after.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }

    /// So much later.
    #[must_use]
    pub fn after(self, wait: Duration) -> Self {
        Self(self.0.saturating_add(wait))
    }
}

/// The process's monotonic clock. It is tokio's, so a test that pauses tokio's time drives everything in this crate.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    origin: Instant,
}

impl Clock {
    /// A clock whose origin is now.
    #[must_use]
    pub fn start() -> Self {
        Self { origin: Instant::now() }
    }

    /// The time.
    #[must_use]
    pub fn now(&self) -> Moment {
        Moment(self.origin.elapsed())
    }

    /// Returns when `moment` has come.
    pub async fn sleep_until(&self, moment: Moment) {
        tokio::time::sleep(moment.since(self.now())).await;
    }
}

/// Four to five fifths of `period`, by chance: many processes started together drift apart, and none is ever late.
pub(crate) fn jittered(period: Duration) -> Duration {
    period.mul_f64(rand::random_range(0.8..=1.0))
}
