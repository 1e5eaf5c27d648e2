//! A moment on both clocks.

use std::time::Duration;

/// A point in time, on two clocks that move together. Passed down as an argument, never fetched: see `clock.rs`.
///
/// Dates on the wire are compared with `wall`; how long something has been kept is counted on `mono`, which never jumps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment {
    /// Since the Unix epoch.
    pub wall: Duration,
    /// Since the process started; never goes back.
    pub mono: Duration,
}

impl Moment {
    /// How long ago `earlier` was, on the clock that never jumps; zero if it is still to come.
    pub fn since(self, earlier: Moment) -> Duration {
        self.mono.saturating_sub(earlier.mono)
    }

    /// The moment `duration` from here.
    #[must_use]
    pub fn after(self, duration: Duration) -> Moment {
        Moment { wall: self.wall.saturating_add(duration), mono: self.mono.saturating_add(duration) }
    }
}
