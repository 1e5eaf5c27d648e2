//! What is known of a stored answer, parsed once.

use std::time::Duration;

use http::StatusCode;

use super::Moment;

/// The facts that decide how long a stored answer may be used.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredFacts {
    /// Status of the answer.
    pub status: StatusCode,
    /// Freshness lifetime.
    pub lifetime: Duration,
    /// Who gave it.
    pub source: LifetimeSource,
    /// Age when it arrived.
    pub age_at_receipt: Duration,
    /// When it arrived.
    pub received: Moment,
    /// Its Date, since the Unix epoch.
    pub date: Duration,
    /// Validate before each use.
    pub no_cache: bool,
    /// Not to be used stale.
    pub must_revalidate: bool,
    /// Will not change while fresh.
    pub immutable: bool,
    /// How long it may be served stale while refreshed.
    pub stale_while_revalidate: Duration,
    /// How long it may be served stale when the backend fails.
    pub stale_if_error: Option<Duration>,
    /// Last-Modified, since the Unix epoch.
    pub last_modified: Option<Duration>,
    /// The backend can be asked whether it still holds.
    pub has_validator: bool,
}

/// Who gave a lifetime.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LifetimeSource {
    /// The answer's max-age.
    MaxAge,
}

impl StoredFacts {
    /// Current age.
    pub fn age(&self, now: Moment) -> Duration {
        self.age_at_receipt.saturating_add(now.since(self.received))
    }

    /// Seconds of freshness left; negative when stale.
    pub fn left(&self, now: Moment) -> i64 {
        let seconds = |duration: Duration| i64::try_from(duration.as_secs()).unwrap_or(i64::MAX);
        seconds(self.lifetime) - seconds(self.age(now))
    }

    /// Is it fresh?
    pub fn is_fresh(&self, now: Moment) -> bool {
        self.lifetime > self.age(now)
    }

    /// When older than this it may be thrown away.
    pub fn useful_for(&self) -> Duration {
        self.lifetime + self.stale_while_revalidate.max(self.stale_if_error.unwrap_or_default())
    }
}
