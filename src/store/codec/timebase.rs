//! The fleet's clock: what nodes write times on, so that no two wall clocks are ever compared.

use std::time::Duration;

/// What leads from this node's monotonic clock to the clock that the fleet shares: shared = mono + offset.
///
/// The shared clock is that of the Redis server, learned with each heartbeat; a node on its own shares a clock with itself,
/// and the default does. An error in the offset (half a round trip) is an error in the age of what the others wrote.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timebase {
    /// In microseconds.
    offset: i64,
}

impl Timebase {
    /// The timebase by which the shared clock showed `shared` when this node's monotonic one showed `mono`.
    pub fn new(shared: Duration, mono: Duration) -> Self {
        Self { offset: signed(shared).saturating_sub(signed(mono)) }
    }

    /// What the shared clock shows at `mono`, in whole microseconds, rounded down.
    pub fn shared(self, mono: Duration) -> Duration {
        Duration::from_micros(u64::try_from(signed(mono).saturating_add(self.offset)).unwrap_or(0))
    }

    /// What this node's monotonic clock shows at `shared`.
    ///
    /// # Errors
    /// If that was before this process began, by how much: nothing can be *received* then on its clock, but it can have had
    /// an age at the beginning.
    pub fn mono(self, shared: Duration) -> Result<Duration, Duration> {
        let mono = signed(shared).saturating_sub(self.offset);
        u64::try_from(mono).map(Duration::from_micros).map_err(|_| Duration::from_micros(mono.unsigned_abs()))
    }
}

/// Microseconds; what is beyond 292,000 years is that.
fn signed(time: Duration) -> i64 {
    i64::try_from(time.as_micros()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_and_back_and_before_the_beginning() {
        let secs = Duration::from_secs;
        for (timebase, mono, shared) in [
            (Timebase::default(), 5, 5),
            (Timebase::new(secs(1_000), secs(10)), 10, 1_000),
            (Timebase::new(secs(1_000), secs(10)), 15, 1_005),
            // A server whose clock was never set.
            (Timebase::new(secs(3), secs(10)), 15, 8),
        ] {
            assert_eq!(timebase.shared(secs(mono)), secs(shared), "{timebase:?}");
            assert_eq!(timebase.mono(secs(shared)), Ok(secs(mono)), "{timebase:?}");
        }
        let timebase = Timebase::new(secs(1_000), secs(10));
        assert_eq!(timebase.mono(secs(990)), Ok(secs(0)));
        assert_eq!(timebase.mono(secs(980)), Err(secs(10)));
        assert_eq!(Timebase::new(secs(3), secs(10)).shared(secs(1)), Duration::ZERO, "no clock shows less");
        assert!(Timebase::new(Duration::MAX, Duration::ZERO).shared(Duration::MAX) > secs(1 << 40));
    }
}
