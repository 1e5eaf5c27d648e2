//! A budget for retries, so that a failing backend is not asked twice as often as a healthy one.
//!
//! Each request pays in a share of a retry; each retry takes a whole one. A small reserve lets a quiet gateway retry too.

use std::sync::atomic::{AtomicU32, Ordering};

/// Retries are counted in hundredths.
const RETRY: u32 = 100;
const RESERVE: u32 = 10 * RETRY;
const CEILING: u32 = 100 * RETRY;

/// What is left to spend.
#[derive(Debug)]
pub(super) struct Budget {
    percent: u32,
    left: AtomicU32,
}

impl Budget {
    /// `percent` retries per hundred requests, at most 100; 0 allows none at all.
    pub(super) fn new(percent: u32) -> Self {
        let percent = percent.min(100);
        Self { percent, left: AtomicU32::new(if percent == 0 { 0 } else { RESERVE }) }
    }

    /// A request was made.
    pub(super) fn pay_in(&self) {
        let _ = self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
            (left < CEILING).then(|| left.saturating_add(self.percent).min(CEILING))
        });
    }

    /// Takes one retry out, if there is one.
    pub(super) fn take(&self) -> bool {
        self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(RETRY)).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many of `requests` can be retried, if all want to be.
    fn retried(percent: u32, requests: usize) -> usize {
        let budget = Budget::new(percent);
        (0..requests)
            .filter(|_| {
                budget.pay_in();
                budget.take()
            })
            .count()
    }

    #[test]
    fn a_tenth_of_the_requests_and_a_reserve() {
        assert_eq!(retried(10, 1000), 110);
        assert_eq!(retried(10, 5), 5);
        assert_eq!(retried(0, 1000), 0);
        assert_eq!(retried(100, 1000), 1000);
    }

    #[test]
    fn quiet_times_do_not_save_up_a_storm() {
        let budget = Budget::new(10);
        for _ in 0..1_000_000 {
            budget.pay_in();
        }
        assert_eq!((0..1000).filter(|_| budget.take()).count(), 100);
    }
}
