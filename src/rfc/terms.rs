//! What the operator adds to what the RFC permits, or takes from it.

use std::time::Duration;

use http::HeaderName;

/// A range of status codes, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StatusRange {
    /// The lowest code, 100 to 999.
    pub first: u16,
    /// The highest code, not below `first`.
    pub last: u16,
}

/// What a `ttl` may beat when the operator says so a second time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Beats {
    /// `Cache-Control: private`.
    pub private: bool,
    /// `Cache-Control: no-store`.
    pub no_store: bool,
    /// `Authorization` in the request (RFC 9111 §3.5).
    pub authorization: bool,
}

/// How a lifetime is guessed where none is given (RFC 9111 §4.2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heuristic {
    /// Share of the time since Last-Modified, in percent.
    pub percent: u32,
    /// Never longer than this.
    pub max: Duration,
}

/// The terms of one route. The default is the RFC as it stands, with safe defaults.
#[derive(Clone, Debug, PartialEq)]
pub struct Terms {
    /// Lifetime where the answer is silent.
    pub ttl: Option<Duration>,
    /// Whether `ttl` and `status_ttl` win over the answer.
    pub ttl_override: bool,
    /// Lower bound of every lifetime.
    pub min_ttl: Option<Duration>,
    /// Upper bound of every lifetime.
    pub max_ttl: Option<Duration>,
    /// Lifetimes per status; they beat `ttl`.
    pub status_ttl: Vec<(StatusRange, Duration)>,
    /// What an override beats.
    pub beats: Beats,
    /// Whether answers with Set-Cookie may be stored.
    pub store_set_cookie: bool,
    /// The statuses that may be stored; `None` for every final one the RFC allows.
    pub storable_status: Option<Vec<StatusRange>>,
    /// How to guess; `None` for never.
    pub heuristic: Option<Heuristic>,
    /// RFC 5861 §3, where the answer is silent.
    pub stale_while_revalidate: Option<Duration>,
    /// RFC 5861 §4, where the answer is silent.
    pub stale_if_error: Option<Duration>,
    /// Whether request directives are honoured.
    pub honour_request: bool,
    /// The target list of RFC 9213.
    pub targets: Vec<HeaderName>,
}

impl Default for Terms {
    fn default() -> Self {
        Terms {
            ttl: None,
            ttl_override: false,
            min_ttl: None,
            max_ttl: None,
            status_ttl: Vec::new(),
            beats: Beats::default(),
            store_set_cookie: false,
            storable_status: None,
            heuristic: Some(Heuristic { percent: 10, max: Duration::from_hours(24) }),
            stale_while_revalidate: None,
            stale_if_error: None,
            honour_request: false,
            targets: vec![HeaderName::from_static("cdn-cache-control")],
        }
    }
}
