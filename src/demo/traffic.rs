//! What every request to the sample backend goes through: it is counted, and it takes its time.
//!
//! Half of the latency passes before the request looks at the data and half after. So there is a time in which an
//! answer is on its way that a write has overtaken, as with a real backend: the case that a cache must get right.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicU16, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::DATE;
use serde::Serialize;

use super::Backend;
use super::answer::{Problem, http_date, put};

/// This many different paths are counted one by one; the requests for any others only in the total.
const MAX_PATHS: usize = 10_000;

/// Requests received since the start or the last reset.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// All of them.
    pub total: u64,
    /// By path, without the query, whatever the method.
    pub paths: BTreeMap<String, u64>,
}

/// The state behind the counting and the waiting.
#[derive(Debug)]
pub struct Traffic {
    latency: RangeInclusive<Duration>,
    seed: u64,
    drawn: AtomicU64,
    counts: Mutex<Counts>,
    /// The status of a pretended outage; 0 when there is none.
    outage: AtomicU16,
}

impl Traffic {
    /// Nothing counted yet.
    pub fn new(latency: RangeInclusive<Duration>, seed: u64) -> Self {
        Self { latency, seed, drawn: AtomicU64::new(0), counts: Mutex::default(), outage: AtomicU16::new(0) }
    }

    /// What has been counted.
    pub fn counts(&self) -> Counts {
        self.lock().clone()
    }

    /// Starts counting anew.
    pub fn reset(&self) {
        *self.lock() = Counts::default();
    }

    /// From now on every request is answered with this status; `None` ends that.
    pub fn set_outage(&self, status: Option<StatusCode>) {
        self.outage.store(status.map_or(0, |status| status.as_u16()), Ordering::Relaxed);
    }

    /// A number that depends on the seed and on how many were drawn before.
    pub fn draw(&self) -> u64 {
        let nth = self.drawn.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
        scramble(self.seed.wrapping_add(nth.wrapping_mul(0x9e37_79b9_7f4a_7c15)))
    }

    fn draw_latency(&self) -> Duration {
        let spread = self.latency.end().saturating_sub(*self.latency.start());
        let nanos = u64::try_from(spread.as_nanos()).unwrap_or(u64::MAX);
        self.latency.start().saturating_add(Duration::from_nanos(self.draw() % nanos.saturating_add(1)))
    }

    fn count(&self, path: &str) {
        let mut counts = self.lock();
        counts.total += 1;
        if let Some(count) = counts.paths.get_mut(path) {
            *count += 1;
        } else if counts.paths.len() < MAX_PATHS {
            counts.paths.insert(path.to_owned(), 1);
        }
    }

    fn outage(&self) -> Option<StatusCode> {
        StatusCode::from_u16(self.outage.load(Ordering::Relaxed)).ok()
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Counts the request, lets its latency pass around it, and dates the answer.
pub async fn pass(State(backend): State<Backend>, request: Request, next: Next) -> Response {
    let traffic = backend.traffic();
    traffic.count(request.uri().path());
    let half = traffic.draw_latency() / 2;
    wait(half).await;
    let mut response = match traffic.outage() {
        Some(status) => Problem::new(status, "The sample backend pretends to be out of order").into_response(),
        None => next.run(request).await,
    };
    wait(half).await;
    put(response.headers_mut(), DATE, http_date(backend.now().wall));
    response
}

/// No timer for no time: on paused time a timer would be a step of its own.
async fn wait(time: Duration) {
    if !time.is_zero() {
        tokio::time::sleep(time).await;
    }
}

/// Three rounds of xorshift and multiplication: neighbouring numbers come out far apart.
fn scramble(mut number: u64) -> u64 {
    number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latency_stays_in_its_range_and_uses_it() {
        let (low, high) = (Duration::from_millis(50), Duration::from_millis(100));
        let traffic = Traffic::new(low..=high, 7);
        let drawn: Vec<Duration> = (0..1_000).map(|_| traffic.draw_latency()).collect();
        assert!(drawn.iter().all(|latency| (low..=high).contains(latency)));
        assert!(drawn.iter().any(|latency| *latency < Duration::from_millis(55)));
        assert!(drawn.iter().any(|latency| *latency > Duration::from_millis(95)));
    }

    #[test]
    fn the_same_seed_draws_the_same_latencies() {
        let draw = |seed| {
            let traffic = Traffic::new(Duration::ZERO..=Duration::from_secs(1), seed);
            (0..10).map(|_| traffic.draw_latency()).collect::<Vec<_>>()
        };
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
    }

    #[test]
    fn a_range_that_runs_backwards_is_its_start() {
        let (low, high) = (Duration::from_millis(9), Duration::from_millis(3));
        assert_eq!(Traffic::new(low..=high, 7).draw_latency(), low);
    }

    #[test]
    fn the_count_of_paths_is_bounded() {
        let traffic = Traffic::new(Duration::ZERO..=Duration::ZERO, 7);
        for number in 0..=MAX_PATHS {
            traffic.count(&format!("/{number}"));
        }
        let counts = traffic.counts();
        assert_eq!((counts.total, counts.paths.len()), (10_001, MAX_PATHS));
    }
}
