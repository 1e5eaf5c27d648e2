//! What the operator adds to the RFC or takes from it, for one route.
//!
//! The default is the RFC as it stands, with two careful choices of our own: an answer that sets a cookie is not stored,
//! and clients cannot steer the cache by request directives. Everything else is off until somebody writes it down.
//!
//! A lifetime of the operator's fills silence; it does not overrule an answer unless [`Terms::ttl_override`] says so, and
//! even then it never beats `private`, `no-store` or `Authorization` unless [`Terms::beats`] lists them: two switches,
//! because the mistake they guard against shows one user's data to another.

use std::time::Duration;

use http::{HeaderName, StatusCode};

use crate::rfc::freshness::about_the_resource;

/// A route's terms for storing and reusing answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terms {
    /// Lifetime where the answer says nothing itself. It applies to statuses that speak about the resource (200, 203,
    /// 204, 300, 301, 308, 404, 410); lifetimes for others are given by [`Terms::status_ttl`].
    pub ttl: Option<Duration>,
    /// `ttl` and `status_ttl` win over what the answer says about its lifetime, `no-cache` included.
    pub ttl_override: bool,
    /// No lifetime is shorter. Does not raise a lifetime of zero that the answer asked for, unless `ttl_override`.
    pub min_ttl: Option<Duration>,
    /// No lifetime is longer. Wins over `min_ttl`.
    pub max_ttl: Option<Duration>,
    /// Lifetimes per status; the first range that holds the status counts, and it counts before `ttl`.
    pub status_ttl: Vec<(StatusRange, Duration)>,
    /// Which refusals of RFC 9111 §3 do not count here.
    pub beats: Beats,
    /// Store answers that carry Set-Cookie. Off by default: the cookie of one client would go to all.
    pub store_set_cookie: bool,
    /// Store these statuses only; `None` for every final status that the RFC allows.
    pub storable_status: Option<Vec<StatusRange>>,
    /// How a lifetime is guessed where nobody gave one (RFC 9111 §4.2.2); `None` never guesses.
    pub heuristic: Option<Heuristic>,
    /// Window for serving stale while refreshing, where the answer gives none (RFC 5861 §3).
    pub stale_while_revalidate: Option<Duration>,
    /// Window for serving stale in place of an error, where the answer gives none (RFC 5861 §4).
    pub stale_if_error: Option<Duration>,
    /// Heed Cache-Control and Pragma of requests. Off by default: behind a CDN they are the viewers' and would let any
    /// of them send load to the backend.
    pub honour_request: bool,
    /// The target list of RFC 9213, most specific first.
    pub targets: Vec<HeaderName>,
}

impl Default for Terms {
    fn default() -> Self {
        Self {
            ttl: None,
            ttl_override: false,
            min_ttl: None,
            max_ttl: None,
            status_ttl: Vec::new(),
            beats: Beats::default(),
            store_set_cookie: false,
            storable_status: None,
            heuristic: Some(Heuristic::default()),
            stale_while_revalidate: None,
            stale_if_error: None,
            honour_request: false,
            targets: vec![HeaderName::from_static("cdn-cache-control")],
        }
    }
}

impl Terms {
    /// The operator's lifetime for an answer of this status, if there is one.
    pub fn ttl_for(&self, status: StatusCode) -> Option<Duration> {
        let by_status = self.status_ttl.iter().find(|(range, _)| range.contains(status)).map(|(_, ttl)| *ttl);
        by_status.or_else(|| self.ttl.filter(|_| about_the_resource(status)))
    }

    /// Whether answers of this status may be stored at all.
    pub fn lists(&self, status: StatusCode) -> bool {
        self.storable_status.as_ref().is_none_or(|ranges| ranges.iter().any(|range| range.contains(status)))
    }

    /// Holds a lifetime between `min_ttl` and `max_ttl`.
    pub(super) fn bound(&self, lifetime: Duration) -> Duration {
        let raised = self.min_ttl.map_or(lifetime, |min| lifetime.max(min));
        self.max_ttl.map_or(raised, |max| raised.min(max))
    }
}

/// Statuses from `first` to `last`, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StatusRange {
    /// The lowest status of the range, 100 to 999.
    pub first: u16,
    /// The highest; a range whose `last` is below `first` holds nothing.
    pub last: u16,
}

impl StatusRange {
    /// Whether the range holds this status.
    pub fn contains(self, status: StatusCode) -> bool {
        (self.first..=self.last).contains(&status.as_u16())
    }
}

/// The second switch: refusals that do not count on this route.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Beats {
    /// Store although the answer says `private` (RFC 9111 §5.2.2.7).
    pub private: bool,
    /// Store although the answer says `no-store` (RFC 9111 §5.2.2.5).
    pub no_store: bool,
    /// Store although the request carried Authorization (RFC 9111 §3.5).
    pub authorization: bool,
}

/// How a lifetime is guessed from the time since the last modification (RFC 9111 §4.2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heuristic {
    /// Percent of the time between Last-Modified and Date. 10 is what the RFC calls typical.
    pub percent: u32,
    /// No guess is longer.
    pub max: Duration,
}

impl Default for Heuristic {
    fn default() -> Self {
        Self { percent: 10, max: Duration::from_hours(24) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(code: u16) -> StatusCode {
        StatusCode::from_u16(code).expect("a status")
    }

    #[test]
    fn a_lifetime_per_status_comes_before_the_general_one() {
        let minute = Duration::from_mins(1);
        let second = Duration::from_secs(1);
        let terms = Terms {
            ttl: Some(minute),
            status_ttl: vec![
                (StatusRange { first: 404, last: 404 }, second),
                (StatusRange { first: 400, last: 599 }, second * 2),
            ],
            ..Terms::default()
        };
        for (code, expected) in
            [(200, Some(minute)), (302, None), (404, Some(second)), (503, Some(second * 2)), (204, Some(minute))]
        {
            assert_eq!(terms.ttl_for(status(code)), expected, "{code}");
        }
    }

    #[test]
    fn max_ttl_wins_over_min_ttl() {
        let seconds = Duration::from_secs;
        let terms = Terms { min_ttl: Some(seconds(10)), max_ttl: Some(seconds(5)), ..Terms::default() };
        assert_eq!(terms.bound(seconds(1)), seconds(5));
        assert_eq!(Terms::default().bound(seconds(1)), seconds(1));
    }

    #[test]
    fn storable_status_narrows() {
        assert!(Terms::default().lists(status(599)));
        let only = Terms { storable_status: Some(vec![StatusRange { first: 200, last: 299 }]), ..Terms::default() };
        assert!(only.lists(status(299)) && !only.lists(status(300)));
        let none = Terms { storable_status: Some(Vec::new()), ..Terms::default() };
        assert!(!none.lists(status(200)));
    }
}
