//! The only reader of time. Everything else is handed a [`Moment`].
//!
//! Wall time and monotonic time move together: the wall clock is read once, when the clock is made, and again only by
//! [`Clock::resync`]. In between, wall time is the start plus what the monotonic clock has counted. So a wall clock that
//! jumps changes neither the freshness nor the age of what is stored.
//!
//! The system's monotonic time goes on while the machine is suspended: whoever wakes up must know that it was away. Time
//! that was paused for a test stands still, like everything else then.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

pub use crate::rfc::Moment;

/// Tells the time. Cheap to clone; all clones agree.
#[derive(Clone, Debug)]
pub struct Clock {
    origin: Origin,
    wall_at_origin_nanos: Arc<AtomicU64>,
}

/// Where a clock counts from.
#[derive(Clone, Copy, Debug)]
enum Origin {
    /// On the clock of tokio, which tests can pause and which stands still while the machine sleeps.
    Tokio(Instant),
    /// On the clock that has run since the machine was started.
    #[cfg(target_os = "linux")]
    Boot(Duration),
}

impl Origin {
    #[allow(clippy::disallowed_methods)] // This module is where clocks are read.
    fn elapsed(self) -> Duration {
        match self {
            Self::Tokio(origin) => Instant::now().saturating_duration_since(origin),
            #[cfg(target_os = "linux")]
            Self::Boot(origin) => since_boot().saturating_sub(origin),
        }
    }

    #[cfg(target_os = "linux")]
    fn system() -> Self {
        Self::Boot(since_boot())
    }

    #[cfg(not(target_os = "linux"))]
    #[allow(clippy::disallowed_methods)]
    fn system() -> Self {
        Self::Tokio(Instant::now())
    }
}

#[cfg(target_os = "linux")]
fn since_boot() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    // Neither is ever negative.
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

impl Clock {
    /// A clock set by the system's wall clock, now.
    #[allow(clippy::disallowed_methods)] // This module is where clocks are read.
    pub fn system() -> Self {
        let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Self { origin: Origin::system(), ..Self::starting_at(wall) }
    }

    /// A clock whose wall time is `wall` (since the Unix epoch) now. Follows tokio's paused time in tests.
    #[allow(clippy::disallowed_methods)]
    pub fn starting_at(wall: Duration) -> Self {
        Self { origin: Origin::Tokio(Instant::now()), wall_at_origin_nanos: Arc::new(AtomicU64::new(nanos(wall))) }
    }

    /// This moment, on both clocks.
    pub fn now(&self) -> Moment {
        let mono = self.origin.elapsed();
        let origin = Duration::from_nanos(self.wall_at_origin_nanos.load(Ordering::Relaxed));
        Moment { wall: origin + mono, mono }
    }

    /// Sets the wall time by the system's clock again, so that dates written out follow a clock that was corrected.
    /// Freshness and age count on the monotonic clock and do not notice.
    #[allow(clippy::disallowed_methods)]
    pub fn resync(&self) {
        let mono = self.origin.elapsed();
        let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        self.wall_at_origin_nanos.store(nanos(wall.saturating_sub(mono)), Ordering::Relaxed);
    }

    /// The instant at which this clock's `mono` will read what `moment.mono` says: for timers.
    #[allow(clippy::disallowed_methods)]
    pub fn instant(&self, mono: Duration) -> Instant {
        match self.origin {
            Origin::Tokio(origin) => origin + mono,
            // Timers stand still while the machine sleeps, so the way is counted from now.
            #[cfg(target_os = "linux")]
            Origin::Boot(_) => Instant::now() + mono.saturating_sub(self.origin.elapsed()),
        }
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
