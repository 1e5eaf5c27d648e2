//! How long each route's fetches usually take, so that waiting for another node's has a measure.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A moving average for each rule.
#[derive(Debug)]
pub(super) struct Paces(Box<[AtomicU64]>);

/// The weight of the latest fetch is one in this many.
const WEIGHT: u64 = 8;

impl Paces {
    /// Nothing is known of any of `rules` rules.
    pub(super) fn new(rules: usize) -> Self {
        Self((0..rules).map(|_| AtomicU64::new(0)).collect())
    }

    /// What is usual for this rule; zero before its first fetch.
    pub(super) fn usual(&self, rule: usize) -> Duration {
        Duration::from_nanos(self.0.get(rule).map_or(0, |nanos| nanos.load(Ordering::Relaxed)))
    }

    /// A fetch took so long. Of two at the same time one may go unnoticed.
    pub(super) fn note(&self, rule: usize, took: Duration) {
        let Some(nanos) = self.0.get(rule) else { return };
        let took = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX).max(1);
        let usual = nanos.load(Ordering::Relaxed);
        let next = if usual == 0 { took } else { usual - usual / WEIGHT + took / WEIGHT };
        nanos.store(next, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_average_follows_and_forgets_outliers() {
        let paces = Paces::new(1);
        assert_eq!(paces.usual(0), Duration::ZERO);
        paces.note(0, Duration::from_millis(80));
        assert_eq!(paces.usual(0), Duration::from_millis(80));
        paces.note(0, Duration::from_millis(160));
        assert_eq!(paces.usual(0), Duration::from_millis(90));
        (0..100).for_each(|_| paces.note(0, Duration::from_millis(20)));
        let usual = paces.usual(0);
        assert!(usual > Duration::from_millis(19) && usual < Duration::from_millis(21), "{usual:?}");
        paces.note(0, Duration::MAX);
        paces.note(7, Duration::from_millis(1));
        assert_eq!(paces.usual(7), Duration::ZERO);
    }
}
