//! The only reader of time. Everything else is handed a [`Moment`].
//!
//! Wall time and monotonic time move together: the wall clock is read once, when the clock is made, and again only by
//! [`Clock::resync`]. In between, wall time is the start plus what the monotonic clock has counted. So a wall clock that
//! jumps changes neither the freshness nor the age of what is stored.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

pub use crate::rfc::Moment;

/// Tells the time. Cheap to clone; all clones agree.
#[derive(Clone, Debug)]
pub struct Clock {
    origin: Instant,
    wall_at_origin_nanos: Arc<AtomicU64>,
}

impl Clock {
    /// A clock set by the system's wall clock, now.
    #[allow(clippy::disallowed_methods)] // This module is where clocks are read.
    pub fn system() -> Self {
        let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Self::starting_at(wall)
    }

    /// A clock whose wall time is `wall` (since the Unix epoch) now. Follows tokio's paused time in tests.
    #[allow(clippy::disallowed_methods)]
    pub fn starting_at(wall: Duration) -> Self {
        Self { origin: Instant::now(), wall_at_origin_nanos: Arc::new(AtomicU64::new(nanos(wall))) }
    }

    /// This moment, on both clocks.
    #[allow(clippy::disallowed_methods)]
    pub fn now(&self) -> Moment {
        let mono = Instant::now().saturating_duration_since(self.origin);
        let origin = Duration::from_nanos(self.wall_at_origin_nanos.load(Ordering::Relaxed));
        Moment { wall: origin + mono, mono }
    }

    /// Sets the wall time by the system's clock again, so that dates written out follow a clock that was corrected.
    /// Freshness and age count on the monotonic clock and do not notice.
    #[allow(clippy::disallowed_methods)]
    pub fn resync(&self) {
        let mono = Instant::now().saturating_duration_since(self.origin);
        let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        self.wall_at_origin_nanos.store(nanos(wall.saturating_sub(mono)), Ordering::Relaxed);
    }

    /// The instant at which this clock's `mono` will read what `moment.mono` says: for timers.
    pub fn instant(&self, mono: Duration) -> Instant {
        self.origin + mono
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn both_clocks_move_together() {
        let clock = Clock::starting_at(Duration::from_secs(1_000_000));
        let before = clock.now();
        tokio::time::advance(Duration::from_secs(7)).await;
        let after = clock.now();
        assert_eq!(after.since(before), Duration::from_secs(7));
        assert_eq!(after.wall, before.wall + Duration::from_secs(7));
        assert_eq!(before.wall.as_secs(), 1_000_000);
    }
}
