//! What time it is, for the fleet.
//!
//! Nodes never compare their own clocks: one may be five minutes wrong, and monotonic clocks begin anywhere. What they
//! tell one another about time (when an answer was received, when an entry goes) is told by the clock of the server that
//! they share. A node learns from each heartbeat how that clock relates to its own monotonic one.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use crate::clock::Moment;

/// Translates between this node's monotonic clock and the fleet's. Before the first heartbeat they count as equal.
#[derive(Debug, Default)]
pub struct Timebase {
    /// The fleet's time less this node's, in milliseconds.
    offset: AtomicI64,
    /// How long the heartbeat took that the offset comes from, in milliseconds: it may be wrong by half of that.
    doubt: AtomicI64,
}

/// By how much the doubt about an old offset grows from one heartbeat to the next, in milliseconds: clocks drift apart.
const DRIFT: i64 = 1;

impl Timebase {
    /// The fleet's clock said `time` at some moment between `sent` and `received`.
    pub fn learn(&self, time: Duration, sent: Moment, received: Moment) {
        let doubt = millis(received.since(sent));
        let held = self.doubt.load(Ordering::Relaxed);
        let between = sent.mono.saturating_add(received.since(sent) / 2);
        let offset = millis(time).saturating_sub(millis(between));
        // Both can only be right if they lie no further apart than both may be wrong; else it is another clock now.
        let agree = offset.saturating_sub(self.offset.load(Ordering::Relaxed)).saturating_abs() <= doubt + held + DRIFT;
        if held > 0 && agree && doubt > held.saturating_add(DRIFT) {
            self.doubt.store(held + DRIFT, Ordering::Relaxed);
            return;
        }
        self.offset.store(offset, Ordering::Relaxed);
        self.doubt.store(doubt.max(1), Ordering::Relaxed);
    }

    /// The fleet's time at `mono` on this node's clock; zero if that was before its beginning.
    pub fn shared(&self, mono: Duration) -> Duration {
        shift(mono, self.offset.load(Ordering::Relaxed))
    }

    /// The fleet's time less this node's monotonic time, in milliseconds.
    pub fn offset_millis(&self) -> i64 {
        self.offset.load(Ordering::Relaxed)
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

fn shift(duration: Duration, millis: i64) -> Duration {
    let by = Duration::from_millis(millis.unsigned_abs());
    if millis < 0 { duration.saturating_sub(by) } else { duration.saturating_add(by) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_heartbeat_counts_until_the_clock_is_another() {
        let at = |millis| Moment { wall: Duration::ZERO, mono: Duration::from_millis(millis) };
        let base = Timebase::default();
        // (the fleet's time, sent, received, the offset then), in milliseconds
        for (time, sent, received, offset) in [
            (5_001, 0, 2, 5_000),
            // Slower, and no contradiction: the first one stays.
            (5_560, 500, 600, 5_000),
            (6_001, 1_000, 1_002, 5_000),
            // A step, by a slow heartbeat: it is another clock.
            (601_050, 1_000, 1_100, 600_000),
            (1_050, 2_000, 2_100, -1_000),
        ] {
            base.learn(Duration::from_millis(time), at(sent), at(received));
            assert_eq!(base.offset_millis(), offset, "{time} between {sent} and {received}");
        }
        assert_eq!(base.shared(Duration::from_millis(2_500)), Duration::from_millis(1_500));
    }
}
