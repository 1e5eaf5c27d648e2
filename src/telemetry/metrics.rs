//! The counters, made for the hot path: an answered request costs a handful of additions to memory that no other thread
//! is writing to, no lock, no allocation and no look-up by name.
//!
//! The counters exist several times over, as *stripes*. A thread adds to its own stripe; whoever reads sums them up. A
//! stripe is one array of numbers on cache lines of its own; what stands where is a matter of [`Layout`].

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use super::catalogue::{FetchResult, FleetWork, Outcome, PurgeGrade, StatusClass};
use super::histogram::{BUCKETS, Histogram, bucket_of};
use crate::rfc::Reason;

/// The index to give for a request that never got as far as a route.
pub const NO_ROUTE: usize = usize::MAX;

/// Counts what happens. Shared by all threads behind an `Arc`.
#[derive(Debug)]
pub struct Metrics {
    layout: Layout,
    stripes: Box<[Box<[Line]>]>,
}

/// Two cache lines, because processors fetch them in pairs.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Line([AtomicU64; Line::NUMBERS]);

impl Line {
    const NUMBERS: usize = 16;
}

/// Stripes; a power of two. More threads than this share some.
const STRIPES: usize = 16;

impl Metrics {
    /// Everything at zero. Requests are counted by the index of their route in `routes`, fetches by that of their
    /// origin in `origins`; the names become labels.
    pub fn new(routes: &[String], origins: &[String]) -> Self {
        let layout = Layout::new(routes, origins);
        let lines = layout.size.div_ceil(Line::NUMBERS);
        let stripe = || (0..lines).map(|_| Line::default()).collect();
        Self { layout, stripes: (0..STRIPES).map(|_| stripe()).collect() }
    }

    /// Counts an answered request: its route (or [`NO_ROUTE`]), what the cache did, the status, the time from the
    /// request's head to the end of the answer, and the body bytes sent.
    pub fn served(&self, route: usize, outcome: Outcome, status: u16, duration: Duration, body_bytes: u64) {
        let stripe = self.stripe();
        let layout = &self.layout;
        let route = layout.route(route);
        add(stripe, layout.request(route, outcome), 1);
        add(stripe, layout.response(StatusClass::of(status)), 1);
        add(stripe, layout.bytes(route), body_bytes);
        observe(stripe, layout.request_duration(outcome), duration);
    }

    /// Counts why an answer did not come from the cache or was not kept.
    pub fn reason(&self, reason: Reason) {
        add(self.stripe(), self.layout.reason(reason), 1);
    }

    /// Counts a change that was applied on this node.
    pub fn purged(&self, grade: PurgeGrade) {
        add(self.stripe(), self.layout.purge(grade), 1);
    }

    /// Counts a request to a backend: how it ended, and how long the head of the answer (or the failure) took. An
    /// origin that is not in the list is not counted.
    pub fn fetched(&self, origin: usize, result: FetchResult, duration: Duration) {
        if origin < self.layout.origins.len() {
            let stripe = self.stripe();
            add(stripe, self.layout.fetch(origin, result), 1);
            observe(stripe, self.layout.fetch_duration(origin), duration);
        }
    }

    /// Counts how long something took that needs the fleet.
    pub fn shared(&self, work: FleetWork, duration: Duration) {
        observe(self.stripe(), self.layout.fleet_duration(work), duration);
    }

    /// What has been counted so far. Numbers that belong together may differ by what happened while they were read.
    pub fn totals(&self) -> Totals<'_> {
        let mut sums = vec![0_u64; self.layout.size];
        for stripe in &self.stripes {
            let numbers = stripe.iter().flat_map(|line| &line.0);
            for (sum, number) in sums.iter_mut().zip(numbers) {
                *sum = sum.wrapping_add(number.load(Ordering::Relaxed));
            }
        }
        Totals { layout: &self.layout, sums }
    }

    fn stripe(&self) -> &[Line] {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        thread_local! {
            static OWN: Cell<usize> = Cell::new(NEXT.fetch_add(1, Ordering::Relaxed));
        }
        // A thread that is being torn down has no locals any more; it shares the first stripe.
        let own = OWN.try_with(Cell::get).unwrap_or(0);
        self.stripes.get(own % STRIPES).map_or(&[], |stripe| stripe)
    }
}

fn add(stripe: &[Line], index: usize, amount: u64) {
    if let Some(number) = stripe.get(index / Line::NUMBERS).and_then(|line| line.0.get(index % Line::NUMBERS)) {
        number.fetch_add(amount, Ordering::Relaxed);
    }
}

fn observe(stripe: &[Line], histogram: usize, duration: Duration) {
    let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
    add(stripe, histogram + bucket_of(nanos), 1);
    add(stripe, histogram + BUCKETS, nanos);
}

/// Where in a stripe each number stands.
#[derive(Debug)]
struct Layout {
    /// The routes' labels, and a last one for requests without a route.
    routes: Vec<String>,
    origins: Vec<String>,
    requests_at: usize,
    responses_at: usize,
    bytes_at: usize,
    request_durations_at: usize,
    reasons_at: usize,
    purges_at: usize,
    fetches_at: usize,
    fetch_durations_at: usize,
    fleet_durations_at: usize,
    size: usize,
}

/// Numbers that a histogram takes: its buckets, then the sum in nanoseconds.
const HISTOGRAM: usize = BUCKETS + 1;

impl Layout {
    fn new(routes: &[String], origins: &[String]) -> Self {
        let routes = distinct(routes.iter().map(String::as_str).chain(["(none)"]));
        let origins = distinct(origins.iter().map(String::as_str));
        let requests_at = 0;
        let responses_at = requests_at + routes.len() * Outcome::ALL.len();
        let bytes_at = responses_at + StatusClass::ALL.len();
        let request_durations_at = bytes_at + routes.len();
        let reasons_at = request_durations_at + Outcome::ALL.len() * HISTOGRAM;
        let purges_at = reasons_at + Reason::ALL.len();
        let fetches_at = purges_at + PurgeGrade::ALL.len();
        let fetch_durations_at = fetches_at + origins.len() * FetchResult::ALL.len();
        let fleet_durations_at = fetch_durations_at + origins.len() * HISTOGRAM;
        let size = fleet_durations_at + FleetWork::ALL.len() * HISTOGRAM;
        Self {
            routes,
            origins,
            requests_at,
            responses_at,
            bytes_at,
            request_durations_at,
            reasons_at,
            purges_at,
            fetches_at,
            fetch_durations_at,
            fleet_durations_at,
            size,
        }
    }

    /// The index of a route that exists: an unknown one counts as none.
    fn route(&self, route: usize) -> usize {
        route.min(self.routes.len() - 1)
    }

    fn request(&self, route: usize, outcome: Outcome) -> usize {
        self.requests_at + route * Outcome::ALL.len() + outcome as usize
    }

    fn response(&self, class: StatusClass) -> usize {
        self.responses_at + class as usize
    }

    fn bytes(&self, route: usize) -> usize {
        self.bytes_at + route
    }

    fn request_duration(&self, outcome: Outcome) -> usize {
        self.request_durations_at + outcome as usize * HISTOGRAM
    }

    fn reason(&self, reason: Reason) -> usize {
        self.reasons_at + reason as usize
    }

    fn purge(&self, grade: PurgeGrade) -> usize {
        self.purges_at + grade as usize
    }

    fn fetch(&self, origin: usize, result: FetchResult) -> usize {
        self.fetches_at + origin * FetchResult::ALL.len() + result as usize
    }

    fn fetch_duration(&self, origin: usize) -> usize {
        self.fetch_durations_at + origin * HISTOGRAM
    }

    fn fleet_duration(&self, work: FleetWork) -> usize {
        self.fleet_durations_at + work as usize * HISTOGRAM
    }
}

/// The same names, a number added to those that were there before: no two series may have the same labels.
fn distinct<'a>(names: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut labels: Vec<String> = Vec::new();
    for name in names {
        let mut label = name.to_owned();
        let mut number = 2;
        while labels.contains(&label) {
            label = format!("{name} #{number}");
            number += 1;
        }
        labels.push(label);
    }
    labels
}

/// What had been counted at one moment. Routes and origins are asked for by their index in [`Totals::routes`] and
/// [`Totals::origins`].
#[derive(Debug)]
pub struct Totals<'a> {
    layout: &'a Layout,
    sums: Vec<u64>,
}

impl<'a> Totals<'a> {
    /// The routes' labels; the last one stands for requests without a route.
    pub fn routes(&self) -> &'a [String] {
        &self.layout.routes
    }

    /// The origins' labels.
    pub fn origins(&self) -> &'a [String] {
        &self.layout.origins
    }

    /// Requests answered on a route with this outcome.
    pub fn requests(&self, route: usize, outcome: Outcome) -> u64 {
        self.at(self.layout.request(route, outcome))
    }

    /// Answers with a status of this class.
    pub fn responses(&self, class: StatusClass) -> u64 {
        self.at(self.layout.response(class))
    }

    /// Body bytes sent on a route.
    pub fn bytes(&self, route: usize) -> u64 {
        self.at(self.layout.bytes(route))
    }

    /// How long requests with this outcome took.
    pub fn request_durations(&self, outcome: Outcome) -> Histogram<'_> {
        self.histogram(self.layout.request_duration(outcome))
    }

    /// How often this was the reason.
    pub fn reasons(&self, reason: Reason) -> u64 {
        self.at(self.layout.reason(reason))
    }

    /// Changes applied with this grade.
    pub fn purges(&self, grade: PurgeGrade) -> u64 {
        self.at(self.layout.purge(grade))
    }

    /// Requests to an origin that ended so.
    pub fn fetches(&self, origin: usize, result: FetchResult) -> u64 {
        self.at(self.layout.fetch(origin, result))
    }

    /// How long an origin took.
    pub fn fetch_durations(&self, origin: usize) -> Histogram<'_> {
        self.histogram(self.layout.fetch_duration(origin))
    }

    /// How long something took that needs the fleet.
    pub fn fleet_durations(&self, work: FleetWork) -> Histogram<'_> {
        self.histogram(self.layout.fleet_duration(work))
    }

    fn at(&self, index: usize) -> u64 {
        self.sums.get(index).copied().unwrap_or(0)
    }

    fn histogram(&self, at: usize) -> Histogram<'_> {
        let buckets = self.sums.get(at..at + BUCKETS).unwrap_or(&[]);
        Histogram { buckets, sum: Duration::from_nanos(self.at(at + BUCKETS)) }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    #[test]
    fn every_number_has_a_place_of_its_own() {
        let layout = Layout::new(&names(&["a", "b"]), &names(&["x", "y"]));
        let mut taken = vec![0; layout.size];
        let mut histogram = |at: usize| (at..at + HISTOGRAM).for_each(|index| taken[index] += 1);
        for outcome in Outcome::ALL {
            histogram(layout.request_duration(*outcome));
        }
        (0..2).for_each(|origin| histogram(layout.fetch_duration(origin)));
        for work in FleetWork::ALL {
            histogram(layout.fleet_duration(*work));
        }
        for route in 0..3 {
            taken[layout.bytes(route)] += 1;
            for outcome in Outcome::ALL {
                taken[layout.request(route, *outcome)] += 1;
            }
        }
        for class in StatusClass::ALL {
            taken[layout.response(*class)] += 1;
        }
        for reason in Reason::ALL {
            taken[layout.reason(*reason)] += 1;
        }
        for grade in PurgeGrade::ALL {
            taken[layout.purge(*grade)] += 1;
        }
        for origin in 0..2 {
            for result in FetchResult::ALL {
                taken[layout.fetch(origin, *result)] += 1;
            }
        }
        assert!(taken.iter().all(|times| *times == 1), "{taken:?}");
    }

    #[test]
    fn threads_count_apart_and_are_summed_up() {
        let metrics = Arc::new(Metrics::new(&names(&["a"]), &[]));
        let threads: Vec<_> = (0..40)
            .map(|_| {
                let metrics = Arc::clone(&metrics);
                std::thread::spawn(move || {
                    for _ in 0..1_000 {
                        metrics.served(0, Outcome::MemoryHit, 200, Duration::from_micros(3), 10);
                    }
                })
            })
            .collect();
        for thread in threads {
            thread.join().unwrap();
        }
        let totals = metrics.totals();
        assert_eq!(totals.requests(0, Outcome::MemoryHit), 40_000);
        assert_eq!(totals.bytes(0), 400_000);
        assert_eq!(totals.responses(StatusClass::Successful), 40_000);
        assert_eq!(totals.request_durations(Outcome::MemoryHit).count(), 40_000);
        assert_eq!(totals.request_durations(Outcome::MemoryHit).sum, Duration::from_millis(120));
        assert_eq!(totals.requests(0, Outcome::Miss), 0);
    }

    #[test]
    fn what_has_no_route_is_counted_under_none() {
        let metrics = Metrics::new(&names(&["a"]), &names(&["x"]));
        metrics.served(NO_ROUTE, Outcome::Rejected, 400, Duration::ZERO, 1);
        metrics.served(7, Outcome::Rejected, 999, Duration::MAX, 1);
        metrics.fetched(7, FetchResult::Failed, Duration::ZERO);
        let totals = metrics.totals();
        assert_eq!(totals.routes(), ["a", "(none)"]);
        assert_eq!((totals.requests(0, Outcome::Rejected), totals.requests(1, Outcome::Rejected)), (0, 2));
        assert_eq!(totals.responses(StatusClass::Other), 1);
        assert_eq!(totals.fetches(0, FetchResult::Failed), 0);
    }

    #[test]
    fn no_two_routes_share_a_label() {
        let metrics = Metrics::new(&names(&["a", "a", "(none)", "a"]), &[]);
        assert_eq!(metrics.totals().routes(), ["a", "a #2", "(none)", "a #3", "(none) #2"]);
    }
}
