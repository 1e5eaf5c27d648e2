//! Durations by size, in buckets that double: fine enough for percentiles, small enough to count every request.

use std::time::Duration;

/// Buckets of a histogram, the last one open. The first ends at 2^10 ns (about 1 µs), each next one at twice as much,
/// the last closed one at 2^36 ns (about 69 s).
pub const BUCKETS: usize = 28;
const FIRST_EXPONENT: u32 = 10;

/// The upper end of a bucket, included; `None` for the last one.
pub fn bucket_end(bucket: usize) -> Option<Duration> {
    let exponent = u32::try_from(bucket).ok()?.checked_add(FIRST_EXPONENT)?;
    (bucket < BUCKETS - 1).then(|| Duration::from_nanos(1 << exponent))
}

/// The bucket that a duration of so many nanoseconds falls into.
pub fn bucket_of(nanos: u64) -> usize {
    // The exponent of the smallest power of two that is not below.
    let exponent = u64::BITS - nanos.saturating_sub(1).leading_zeros();
    usize::try_from(exponent.saturating_sub(FIRST_EXPONENT)).map_or(BUCKETS - 1, |bucket| bucket.min(BUCKETS - 1))
}

/// Durations by size.
#[derive(Clone, Copy, Debug)]
pub struct Histogram<'a> {
    /// How many fell into each bucket; see [`bucket_end`].
    pub buckets: &'a [u64],
    /// All of them together.
    pub sum: Duration,
}

impl Histogram<'_> {
    /// How many durations there were.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// The duration that this share (0 to 1) of all did not exceed: exact to the bucket, evenly spread within. `None`
    /// if there were none. What lies in the open bucket is given as its beginning.
    #[allow(clippy::cast_precision_loss)] // An estimate: the precision of a double is more than there is.
    pub fn quantile(&self, share: f64) -> Option<Duration> {
        let count = self.count();
        let rank = share.clamp(0.0, 1.0) * count as f64;
        let mut below = 0_u64;
        for (bucket, &held) in self.buckets.iter().enumerate() {
            let start = bucket.checked_sub(1).and_then(bucket_end).unwrap_or_default();
            if held > 0 && (below + held) as f64 >= rank {
                let width = bucket_end(bucket).map_or(Duration::ZERO, |end| end.saturating_sub(start));
                let part = ((rank - below as f64) / held as f64).clamp(0.0, 1.0);
                return Some(start.saturating_add(width.mul_f64(part)));
            }
            below += held;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_falls_into_the_bucket_that_ends_at_or_after_it() {
        for (nanos, bucket) in [
            (0, 0),
            (1, 0),
            (1_024, 0),
            (1_025, 1),
            (2_048, 1),
            (2_049, 2),
            (1 << 36, 26),
            ((1 << 36) + 1, 27),
            (u64::MAX, 27),
        ] {
            assert_eq!(bucket_of(nanos), bucket, "{nanos}");
        }
        assert_eq!(bucket_end(0), Some(Duration::from_nanos(1_024)));
        assert_eq!(bucket_end(26), Some(Duration::from_nanos(1 << 36)));
        assert_eq!((bucket_end(27), bucket_end(usize::MAX)), (None, None));
    }

    #[test]
    fn quantiles_lie_in_the_right_bucket() {
        let mut buckets = [0; BUCKETS];
        for (microseconds, times) in [(3, 90), (700, 9), (3_000_000, 1)] {
            buckets[bucket_of(microseconds * 1_000)] += times;
        }
        let durations = Histogram { buckets: &buckets, sum: Duration::ZERO };
        assert_eq!(durations.count(), 100);
        for (share, low, high) in [
            (0.0, 2, 2),
            (0.5, 2, 5),
            (0.9, 4, 5),
            (0.95, 524, 1_049),
            (0.99, 1_048, 1_049),
            (1.0, 4_294_967, 4_294_968),
            (7.0, 4_294_967, 4_294_968),
        ] {
            let estimate = durations.quantile(share).unwrap().as_micros();
            assert!((low..=high).contains(&estimate), "{share}: {estimate}");
        }
    }

    #[test]
    fn nothing_has_no_quantile_and_the_open_bucket_is_its_beginning() {
        let mut buckets = [0; BUCKETS];
        assert_eq!(Histogram { buckets: &buckets, sum: Duration::ZERO }.quantile(0.5), None);
        buckets[BUCKETS - 1] = 1;
        let durations = Histogram { buckets: &buckets, sum: Duration::ZERO };
        assert_eq!(durations.quantile(0.5), Some(Duration::from_nanos(1 << 36)));
    }
}
