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
        if held > 0 && doubt > held.saturating_add(DRIFT) {
            self.doubt.store(held + DRIFT, Ordering::Relaxed);
            return;
        }
        let between = sent.mono.saturating_add(received.since(sent) / 2);
        self.offset.store(millis(time).saturating_sub(millis(between)), Ordering::Relaxed);
        self.doubt.store(doubt.max(1), Ordering::Relaxed);
    }

    /// The fleet's time at `mono` on this node's clock; zero if that was before its beginning.
    pub fn shared(&self, mono: Duration) -> Duration {
        shift(mono, self.offset.load(Ordering::Relaxed))
    }

    /// This node's monotonic time less the fleet's, in milliseconds.
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
