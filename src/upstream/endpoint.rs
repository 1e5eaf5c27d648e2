//! The endpoints of a backend: what is known about each, and whose turn it is.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::error::{FetchError, FetchErrorKind};
use super::settings::Endpoint;
use crate::breaker::{Admission, Breaker, BreakerSettings, Ticket};
use crate::clock::Moment;

/// All endpoints of one backend.
#[derive(Debug)]
pub(super) struct Endpoints {
    all: Vec<Known>,
    /// Smooth weighted round robin: each round an endpoint gains its weight, and the one chosen pays for all.
    credit: Mutex<Vec<i64>>,
}

/// One endpoint and what is known about it.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) endpoint: Endpoint,
    pub(super) breaker: Breaker,
    /// What active checks last found. True until they say otherwise.
    pub(super) healthy: AtomicBool,
    in_flight: Arc<AtomicUsize>,
}

/// Counts one request at an endpoint until dropped.
#[derive(Debug)]
pub(super) struct InFlight(Arc<AtomicUsize>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Known {
    pub(super) fn begin(&self) -> InFlight {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        InFlight(Arc::clone(&self.in_flight))
    }

    pub(super) fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    fn weight(&self) -> i64 {
        i64::from(self.endpoint.weight.clamp(1, 1000))
    }
}

impl Endpoints {
    pub(super) fn new(endpoints: Vec<Endpoint>, breaker: &BreakerSettings) -> Self {
        let known = |endpoint| Known {
            endpoint,
            breaker: Breaker::new(breaker.clone()),
            healthy: AtomicBool::new(true),
            in_flight: Arc::new(AtomicUsize::new(0)),
        };
        let all: Vec<_> = endpoints.into_iter().map(known).collect();
        Self { credit: Mutex::new(vec![0; all.len()]), all }
    }

    pub(super) fn all(&self) -> &[Known] {
        &self.all
    }

    /// The endpoint whose turn it is, and the right to try it; never one of `tried`.
    ///
    /// Endpoints that active checks found unwell are passed over, unless all were: then the checks are more likely wrong
    /// than everything broken, and the breakers decide alone.
    ///
    /// # Errors
    /// [`FetchErrorKind::NoEndpoint`] if there is none at all (left), [`FetchErrorKind::BreakerOpen`] if none admits.
    pub(super) fn choose(&self, tried: &[usize], now: Moment) -> Result<(usize, &Known, Ticket), FetchError> {
        let trust_checks = self.all.iter().any(|known| known.healthy.load(Ordering::Relaxed));
        let usable = |index: usize, known: &Known| {
            !tried.contains(&index) && (!trust_checks || known.healthy.load(Ordering::Relaxed))
        };
        let mut candidates: Vec<(usize, &Known)> =
            self.all.iter().enumerate().filter(|(index, known)| usable(*index, known)).collect();
        if candidates.is_empty() {
            return Err(FetchError::new(FetchErrorKind::NoEndpoint, "no endpoint is left to try"));
        }
        candidates.retain(|(_, known)| known.breaker.would_admit(now));
        while let Some((index, known)) = self.next_in_turn(&candidates) {
            match known.breaker.admit(now) {
                Admission::Yes(ticket) => return Ok((index, known, ticket)),
                Admission::No { .. } => candidates.retain(|(other, _)| *other != index),
            }
        }
        Err(FetchError::new(FetchErrorKind::BreakerOpen, "every endpoint is being left alone after failures"))
    }

    fn next_in_turn<'e>(&self, candidates: &[(usize, &'e Known)]) -> Option<(usize, &'e Known)> {
        if let [only] = candidates {
            return Some(*only);
        }
        let mut credit = self.credit.lock().unwrap_or_else(PoisonError::into_inner);
        let mut best: Option<(i64, usize, &'e Known)> = None;
        let mut total = 0;
        for (index, known) in candidates {
            let own = credit.get_mut(*index)?;
            *own += known.weight();
            total += known.weight();
            if best.is_none_or(|(most, ..)| *own > most) {
                best = Some((*own, *index, known));
            }
        }
        let (_, index, known) = best?;
        *credit.get_mut(index)? -= total;
        Some((index, known))
    }
}

#[cfg(test)]
mod tests {
    use crate::breaker::Outcome;
    use std::time::Duration;

    use super::*;

    fn endpoints(weights: &[u32]) -> Endpoints {
        let endpoint =
            |(index, weight): (usize, &u32)| Endpoint { https: false, authority: format!("e{index}"), weight: *weight };
        let settings = BreakerSettings { consecutive: 1, ..BreakerSettings::default() };
        Endpoints::new(weights.iter().enumerate().map(endpoint).collect(), &settings)
    }

    fn now() -> Moment {
        Moment { wall: Duration::from_secs(1_000_000), mono: Duration::from_secs(1) }
    }

    fn turns(endpoints: &Endpoints, tried: &[usize], count: usize) -> String {
        let letter = |index: usize| char::from(b'a' + u8::try_from(index).unwrap());
        (0..count)
            .map(|_| match endpoints.choose(tried, now()) {
                Ok((index, known, ticket)) => {
                    known.breaker.record(ticket, Outcome::Good, now());
                    letter(index)
                }
                Err(error) if error.kind == FetchErrorKind::NoEndpoint => '-',
                Err(_) => '!',
            })
            .collect()
    }

    #[test]
    fn turns_follow_the_weights_and_are_mixed() {
        for (weights, expected) in [
            (&[1, 1, 1][..], "abcabc"),
            (&[2, 1, 1][..], "abcaabca"),
            (&[5, 1][..], "aaabaa"),
            (&[0, 1][..], "abab"),
            (&[1][..], "aaa"),
            (&[][..], "--"),
        ] {
            assert_eq!(turns(&endpoints(weights), &[], expected.len()), expected, "{weights:?}");
        }
    }

    #[test]
    fn the_unwell_the_broken_and_the_tried_are_passed_over() {
        let three = endpoints(&[1, 1, 1]);
        assert_eq!(turns(&three, &[0], 4), "bcbc");
        three.all()[1].healthy.store(false, Ordering::Relaxed);
        assert_eq!(turns(&three, &[0], 2), "cc");
        let (_, broken, ticket) = three.choose(&[0], now()).unwrap();
        broken.breaker.record(ticket, Outcome::Unreachable, now());
        assert_eq!(turns(&three, &[], 2), "aa");
        assert_eq!(turns(&three, &[0], 1), "!");
        assert_eq!(turns(&three, &[0, 2], 1), "-");
    }

    #[test]
    fn if_all_are_unwell_the_checks_are_not_believed() {
        let two = endpoints(&[1, 1]);
        for known in two.all() {
            known.healthy.store(false, Ordering::Relaxed);
        }
        assert_eq!(turns(&two, &[], 2), "ab");
    }

    #[test]
    fn requests_under_way_are_counted() {
        let one = endpoints(&[1]);
        let first = one.all()[0].begin();
        let second = one.all()[0].begin();
        drop(first);
        assert_eq!(one.all()[0].in_flight(), 1);
        drop(second);
        assert_eq!(one.all()[0].in_flight(), 0);
    }
}
