//! What the decisions need to know, read once from the fields of a message.
//!
//! There are three collections, one for each moment in an answer's life. [`RequestFacts`] is read from every request, in
//! one pass. [`ResponseFacts`] is read from every answer of the backend and forgotten after the decision to store it.
//! [`StoredFacts`] is kept with the entry: numbers and flags only, so that serving from memory parses no stored field.

use std::time::Duration;

use http::header::{AGE, DATE, ETAG, EXPIRES, LAST_MODIFIED, SET_COOKIE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};

use crate::rfc::freshness::{age_at_receipt, must_validate, stale_windows};
use crate::rfc::members::delta_seconds;
use crate::rfc::{Ground, LifetimeSource, Moment, RequestDirectives, ResponseDirectives, Terms, Vary, parse_http_date};

/// What a request says that matters to a cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestFacts {
    /// The method.
    pub method: Method,
    /// Cache-Control, or Pragma in its absence. Heeded only where [`Terms::honour_request`] says so.
    pub directives: RequestDirectives,
    /// Authorization is present.
    pub authorization: bool,
    /// Cookie is present.
    pub cookie: bool,
    /// One of If-Match, If-None-Match, If-Modified-Since, If-Unmodified-Since, If-Range is present.
    pub conditional: bool,
    /// Range is present.
    pub range: bool,
}

impl RequestFacts {
    /// Reads a request's head, in one pass. Allocates nothing.
    pub fn read(method: &Method, headers: &HeaderMap) -> Self {
        let mut facts = Self {
            method: method.clone(),
            directives: RequestDirectives::default(),
            authorization: false,
            cookie: false,
            conditional: false,
            range: false,
        };
        let mut pragma = false;
        for (name, value) in headers {
            match name.as_str() {
                "authorization" => facts.authorization = true,
                "cookie" => facts.cookie = true,
                "range" => facts.range = true,
                "if-match" | "if-none-match" | "if-modified-since" | "if-unmodified-since" | "if-range" => {
                    facts.conditional = true;
                }
                "cache-control" => facts.directives.take_line(value),
                "pragma" => pragma = true,
                _ => {}
            }
        }
        // Rare: it counts only if no line of Cache-Control comes before or after it.
        if pragma {
            facts.directives = RequestDirectives::parse(headers);
        }
        facts
    }
}

/// What a backend's answer says that matters to a cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResponseFacts {
    /// The status.
    pub status: StatusCode,
    /// The directives that count: those of the targeted field if there is one, of Cache-Control otherwise (RFC 9213).
    pub directives: ResponseDirectives,
    /// The targeted field that they were taken from.
    pub targeted: Option<HeaderName>,
    /// Date, since the Unix epoch; `None` if it is absent or cannot be read. See [`ResponseFacts::dated`].
    pub date: Option<Duration>,
    /// Expires, since the Unix epoch; zero, which is long past, if it cannot be read (RFC 9111 §5.3). `None` if it is
    /// absent or replaced by a targeted field.
    pub expires: Option<Duration>,
    /// Age (RFC 9111 §5.1); zero if it is absent or cannot be read.
    pub age: Duration,
    /// Last-Modified, since the Unix epoch; `None` if it is absent or cannot be read.
    pub last_modified: Option<Duration>,
    /// `ETag` is present and not empty.
    pub etag: bool,
    /// Set-Cookie is present.
    pub set_cookie: bool,
    /// Vary has a member `*`, or one that is no field name: no later request matches.
    pub vary_star: bool,
}

impl ResponseFacts {
    /// Reads an answer's head. `targets` is the target list of RFC 9213, [`Terms::targets`].
    pub fn read(status: StatusCode, headers: &HeaderMap, targets: &[HeaderName]) -> Self {
        let (targeted, directives) = match ResponseDirectives::parse_targeted(headers, targets) {
            Some((name, directives)) => (Some(name), directives),
            None => (None, ResponseDirectives::parse(headers)),
        };
        // RFC 9213 §2.1: a cache that uses a targeted field ignores Cache-Control and Expires.
        let expires = if targeted.is_some() { None } else { expires(headers) };
        let date_in = |name: HeaderName| headers.get(name).and_then(|value| parse_http_date(value.as_bytes()));
        Self {
            status,
            directives,
            targeted,
            date: date_in(DATE),
            expires,
            age: headers.get(AGE).and_then(age).unwrap_or_default(),
            last_modified: date_in(LAST_MODIFIED),
            etag: headers.get(ETAG).is_some_and(|value| !value.is_empty()),
            set_cookie: headers.contains_key(SET_COOKIE),
            vary_star: Vary::read(headers) == Vary::Star,
        }
    }

    /// The same, with the time of receipt (since the Unix epoch) in place of a Date that is missing or unreadable.
    ///
    /// [RFC 9110 §6.6.1] asks recipients to do so. Call it before [`storability`] wherever the clock is known: without a
    /// Date an Expires gives no lifetime and nothing can be guessed.
    ///
    /// [RFC 9110 §6.6.1]: https://www.rfc-editor.org/rfc/rfc9110.html#section-6.6.1
    /// [`storability`]: crate::rfc::storability
    #[must_use]
    pub fn dated(mut self, received: Duration) -> Self {
        self.date = self.date.or(Some(Duration::from_secs(received.as_secs())));
        self
    }

    /// Whether the backend could be asked if the answer still holds.
    pub fn has_validator(&self) -> bool {
        self.etag || self.last_modified.is_some()
    }
}

/// What stays known about a stored answer. Everything that a hit decides by is in here, ready to be compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredFacts {
    /// The status.
    pub status: StatusCode,
    /// The freshness lifetime (RFC 9111 §4.2.1), within the operator's bounds.
    pub lifetime: Duration,
    /// Who gave the lifetime.
    pub source: LifetimeSource,
    /// How old it was on arrival (`corrected_initial_age`, RFC 9111 §4.2.3).
    pub age_at_receipt: Duration,
    /// When its head arrived.
    pub received: Moment,
    /// Date, or the time of receipt where there was none.
    pub date: Duration,
    /// Validate before each use.
    pub no_cache: bool,
    /// Once stale, not to be used without validation, except in the two windows below. Said by `must-revalidate`,
    /// `proxy-revalidate` or, for shared caches, `s-maxage`.
    pub must_revalidate: bool,
    /// Will not change while fresh (RFC 8246).
    pub immutable: bool,
    /// How long after its lifetime it may be served while it is refreshed; zero for not at all.
    pub stale_while_revalidate: Duration,
    /// How long after its lifetime it may be served in place of an error; `None` if nobody said anything.
    pub stale_if_error: Option<Duration>,
    /// Last-Modified, since the Unix epoch.
    pub last_modified: Option<Duration>,
    /// The backend can be asked whether it still holds.
    pub has_validator: bool,
}

impl StoredFacts {
    /// What to keep of an answer that [`storability`](crate::rfc::storability) found `ground` to store. `sent` is when the
    /// request left for the backend, `received` when the answer's head came in.
    pub fn new(answer: &ResponseFacts, ground: &Ground, terms: &Terms, sent: Moment, received: Moment) -> Self {
        let directives = &answer.directives;
        let (stale_while_revalidate, stale_if_error) = stale_windows(answer, ground, terms);
        Self {
            status: answer.status,
            lifetime: ground.lifetime,
            source: ground.source,
            age_at_receipt: age_at_receipt(answer, sent, received),
            received,
            date: answer.date.unwrap_or(received.wall),
            no_cache: must_validate(answer, ground),
            must_revalidate: directives.must_revalidate || directives.proxy_revalidate || directives.s_maxage.is_some(),
            immutable: directives.immutable,
            stale_while_revalidate,
            stale_if_error,
            last_modified: answer.last_modified,
            has_validator: answer.has_validator(),
        }
    }

    /// `current_age` of RFC 9111 §4.2.3: the age on arrival and the time since, counted on the clock that never jumps.
    pub fn age(&self, now: Moment) -> Duration {
        self.age_at_receipt.saturating_add(now.since(self.received))
    }

    /// Whole seconds of freshness left, rounded down; negative once stale. The `ttl` of Cache-Status (RFC 9211 §2.6).
    pub fn left(&self, now: Moment) -> i64 {
        let age = self.age(now);
        let stale_for = self.staleness(now);
        let up = u64::from(stale_for.subsec_nanos() > 0);
        let behind = i64::try_from(stale_for.as_secs().saturating_add(up)).unwrap_or(i64::MAX);
        let ahead = i64::try_from(self.lifetime.saturating_sub(age).as_secs()).unwrap_or(i64::MAX);
        ahead - behind
    }

    /// RFC 9111 §4.2: "`response_is_fresh = (freshness_lifetime > current_age)`". Never for `no-cache`.
    pub fn is_fresh(&self, now: Moment) -> bool {
        !self.no_cache && self.lifetime > self.age(now)
    }

    /// How long the lifetime has been over; zero while it is not.
    pub fn staleness(&self, now: Moment) -> Duration {
        self.age(now).saturating_sub(self.lifetime)
    }

    /// The [`age`](Self::age) at which it may be thrown away: when neither a window nor a validator can give it another
    /// use, or has not for [`KEPT_FOR_VALIDATION`].
    pub fn useful_for(&self) -> Duration {
        let window = self.stale_while_revalidate.max(self.stale_if_error.unwrap_or_default());
        let of_use_when_stale = self.has_validator || !(self.must_revalidate || self.no_cache);
        let kept = if of_use_when_stale { KEPT_FOR_VALIDATION } else { Duration::ZERO };
        self.lifetime.saturating_add(window.max(kept))
    }
}

/// How long a stale answer is worth its memory: a 304 may make it fresh again, or the backend may be away.
pub const KEPT_FOR_VALIDATION: Duration = Duration::from_hours(1);

/// Expires. Of several lines the earliest counts, and one that cannot be read is in the past, "especially including the
/// value "0"" (RFC 9111 §5.3).
fn expires(headers: &HeaderMap) -> Option<Duration> {
    headers.get_all(EXPIRES).iter().map(|line| parse_http_date(line.as_bytes()).unwrap_or_default()).min()
}

/// Age. RFC 9111 §5.1: of a list only the first member is used, of several lines the first; a value that is no number
/// counts as absent. Parameters, which the field does not have, do not make an old answer young.
fn age(line: &HeaderValue) -> Option<Duration> {
    let first = line.as_bytes().split(|byte| *byte == b',').next()?;
    let number = first.split(|byte| *byte == b';').next()?;
    delta_seconds(number.trim_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rfc::freshness::lifetime;
    use crate::rfc::notation::{request_head, response_head};

    const NOW: Duration = Duration::from_hours(500_000);

    fn start() -> Moment {
        Moment { wall: NOW, mono: Duration::from_secs(1_000) }
    }

    fn request(head: &str) -> RequestFacts {
        let (method, _, headers) = request_head(head, NOW).expect(head);
        RequestFacts::read(&method, &headers)
    }

    fn answer(head: &str) -> ResponseFacts {
        let (status, headers) = response_head(head, NOW).expect(head);
        ResponseFacts::read(status, &headers, &Terms::default().targets)
    }

    fn stored(head: &str) -> StoredFacts {
        let answer = answer(head).dated(NOW);
        let terms = Terms::default();
        StoredFacts::new(&answer, &lifetime(&answer, &terms), &terms, start(), start())
    }

    #[test]
    fn a_request_is_read_in_one_pass() {
        let plain = request("GET / | accept: */* | user-agent: x");
        assert_eq!(plain, RequestFacts { method: Method::GET, ..plain.clone() });
        assert!(!(plain.authorization || plain.cookie || plain.conditional || plain.range));
        assert_eq!(plain.directives, RequestDirectives::default());

        let full = request("HEAD / | authorization: x | cookie: a=b | range: bytes=0-1 | if-range: \"x\"");
        assert_eq!(full.method, Method::HEAD);
        assert!(full.authorization && full.cookie && full.conditional && full.range);
        for name in ["if-match", "if-none-match", "if-modified-since", "if-unmodified-since"] {
            assert!(request(&format!("GET / | {name}: x")).conditional, "{name}");
        }
    }

    #[test]
    fn one_pass_and_the_plain_parser_agree_on_the_directives() {
        for head in [
            "GET / | pragma: no-cache",
            "GET / | pragma: no-cache | cache-control: max-age=1",
            "GET / | cache-control: max-age=1 | pragma: no-cache | cache-control: no-store",
        ] {
            let (method, _, headers) = request_head(head, NOW).expect(head);
            assert_eq!(RequestFacts::read(&method, &headers).directives, RequestDirectives::parse(&headers), "{head}");
        }
    }

    #[test]
    fn section_5_1_age_is_the_first_number_or_nothing() {
        for (head, expected) in [
            ("200", 0),
            ("200 | age: 7", 7),
            ("200 | age: 7200, 0", 7200),
            ("200 | age: 0, 7200", 0),
            ("200 | age: 7200 | age: 0", 7200),
            ("200 | age: 0 | age: 7200", 0),
            ("200 | age: abc", 0),
            ("200 | age: -7200", 0),
            ("200 | age: 7200.0", 0),
            ("200 | age: 7200;foo=bar", 7200),
            ("200 | age: 2147483649", 2_147_483_648),
        ] {
            assert_eq!(answer(head).age.as_secs(), expected, "{head}");
        }
    }

    #[test]
    fn section_5_3_expires_that_cannot_be_read_is_past() {
        for (head, expected) in [
            ("200", None),
            ("200 | expires: 0", Some(Duration::ZERO)),
            ("200 | expires: @+9", Some(NOW + Duration::from_secs(9))),
            ("200 | expires: @+9 | expires: @+5", Some(NOW + Duration::from_secs(5))),
            ("200 | expires: @+9 | expires: soon", Some(Duration::ZERO)),
            ("200 | expires: @+9 | cdn-cache-control: max-age=1", None),
        ] {
            assert_eq!(answer(head).expires, expected, "{head}");
        }
    }

    #[test]
    fn vary_star_is_seen_anywhere_in_the_list() {
        for (head, expected) in [
            ("200", false),
            ("200 | vary: *", true),
            ("200 | vary: accept, *", true),
            ("200 | vary: accept | vary: , *,", true),
            ("200 | vary: x-*", false),
        ] {
            assert_eq!(answer(head).vary_star, expected, "{head}");
        }
    }

    #[test]
    fn a_missing_date_is_the_time_of_receipt() {
        assert_eq!(answer("200").date, None);
        assert_eq!(answer("200 | date: foo").dated(NOW).date, Some(NOW));
        assert_eq!(answer("200 | date: @-5").dated(NOW).date, NOW.checked_sub(Duration::from_secs(5)));
    }

    #[test]
    fn freshness_ends_when_the_age_reaches_the_lifetime() {
        let facts = stored("200 | cache-control: max-age=10 | age: 4");
        for (millis, fresh, left) in [
            (0, true, 6),
            (500, true, 5),
            (5_999, true, 0),
            (6_000, false, 0),
            (6_001, false, -1),
            (7_000, false, -1),
            (17_000, false, -11),
        ] {
            let now = start().after(Duration::from_millis(millis));
            assert_eq!((facts.is_fresh(now), facts.left(now)), (fresh, left), "after {millis} ms");
        }
    }

    #[test]
    fn age_follows_the_clock_that_never_jumps() {
        let facts = stored("200 | cache-control: max-age=10");
        let wall_jumped =
            Moment { wall: NOW + Duration::from_secs(9_999), mono: start().mono + Duration::from_secs(2) };
        assert_eq!(facts.age(wall_jumped), Duration::from_secs(2));
    }

    #[test]
    fn no_cache_is_never_fresh() {
        assert!(!stored("200 | cache-control: no-cache, max-age=10 | etag: \"x\"").is_fresh(start()));
        let marked = StoredFacts { no_cache: true, ..stored("200 | cache-control: max-age=10") };
        assert!(!marked.is_fresh(start()));
    }

    #[test]
    fn no_cache_is_forgotten_where_the_operator_overrides_it() {
        let answer = answer("200 | cache-control: no-cache").dated(NOW);
        let terms = Terms { ttl: Some(Duration::from_secs(9)), ttl_override: true, ..Terms::default() };
        let facts = StoredFacts::new(&answer, &lifetime(&answer, &terms), &terms, start(), start());
        assert!(facts.is_fresh(start()));
        assert_eq!(facts.left(start()), 9);
    }

    #[test]
    fn what_has_no_further_use_may_go() {
        for (head, expected) in [
            ("200 | cache-control: max-age=10, must-revalidate", 10),
            ("200 | cache-control: s-maxage=10", 10),
            ("200 | cache-control: s-maxage=10, stale-if-error=60", 70),
            ("200 | cache-control: max-age=10, must-revalidate | etag: \"x\"", 10 + 3600),
            ("200 | cache-control: max-age=10", 10 + 3600),
            ("200 | cache-control: max-age=10, stale-while-revalidate=9000", 10 + 9000),
        ] {
            assert_eq!(stored(head).useful_for().as_secs(), expected, "{head}");
        }
    }
}
