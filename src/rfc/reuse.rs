//! May this stored answer be used for this request?
//!
//! [`reuse`] is asked before the backend is, [`permitted_on_error`] after the backend has failed. Both read numbers and
//! flags only. That the URL, the method of the stored answer and the fields named by Vary match (the first three clauses
//! of RFC 9111 §4) is settled by finding it.

use http::StatusCode;

use crate::rfc::storability::unsuited;
use crate::rfc::{Moment, Reason, RequestFacts, StoredFacts, Terms};

/// The verdict on a stored answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reuse {
    /// Serve it.
    Fresh,
    /// Serve it although it is stale, and have it refreshed behind the client (RFC 5861 §3, or the request's max-stale).
    StaleWhileRevalidate,
    /// Ask the backend first, with the validators if there are any; for this reason.
    Validate(Reason),
    /// Not of use for this request, for this reason.
    Unusable(Reason),
}

/// May `stored` answer the request, now and on these terms? The last two clauses of [RFC 9111 §4], preceded by what the
/// request asks for where the terms honour that.
///
/// [RFC 9111 §4]: https://www.rfc-editor.org/rfc/rfc9111.html#section-4
pub fn reuse(asked: &RequestFacts, stored: &StoredFacts, terms: &Terms, now: Moment) -> Reuse {
    // "the request method associated with the stored response allows it to be used for the presented request"
    if let Some(reason) = unsuited(&asked.method) {
        return Reuse::Unusable(reason);
    }
    let verdict = without_asking(asked, stored, terms, now);
    // §5.2.1.7: "the client only wishes to obtain a stored response"
    if terms.honour_request && asked.directives.only_if_cached && matches!(verdict, Reuse::Validate(_)) {
        return Reuse::Unusable(Reason::OnlyIfCached);
    }
    verdict
}

fn without_asking(asked: &RequestFacts, stored: &StoredFacts, terms: &Terms, now: Moment) -> Reuse {
    // "the stored response does not contain the no-cache directive, unless it is successfully validated"
    if stored.no_cache {
        return Reuse::Validate(Reason::NoCache);
    }
    if terms.honour_request
        && let Some(reason) = refused_by_request(asked, stored, now)
    {
        return Reuse::Validate(reason);
    }
    // "the stored response is one of the following: fresh (see Section 4.2),"
    if stored.is_fresh(now) {
        return Reuse::Fresh;
    }
    // "allowed to be served stale (see Section 4.2.4), or"
    if may_be_served_stale(asked, stored, terms, now) {
        return Reuse::StaleWhileRevalidate;
    }
    // "successfully validated (see Section 4.3)."
    Reuse::Validate(if stored.must_revalidate { Reason::MustRevalidate } else { Reason::Stale })
}

/// What in the request forbids to use it, fresh or not: [RFC 9111 §5.2.1].
///
/// [RFC 9111 §5.2.1]: https://www.rfc-editor.org/rfc/rfc9111.html#section-5.2.1
fn refused_by_request(asked: &RequestFacts, stored: &StoredFacts, now: Moment) -> Option<Reason> {
    let wish = &asked.directives;
    // "the client prefers a stored response not be used to satisfy the request without successful validation"
    if wish.no_cache {
        return Some(Reason::RequestNoCache);
    }
    // "the client prefers a response whose age is less than or equal to the specified number of seconds." RFC 8246: an
    // immutable answer does not change while it is fresh, so that reloading a page (max-age=0) need not ask about it.
    let settled = stored.immutable && stored.is_fresh(now);
    if wish.max_age.is_some_and(|limit| stored.age(now) > limit) && !settled {
        return Some(Reason::RequestMaxAge);
    }
    // "the client prefers a response whose freshness lifetime is no less than its current age plus the specified time"
    if wish.min_fresh.is_some_and(|wanted| stored.lifetime < stored.age(now).saturating_add(wanted)) {
        return Some(Reason::RequestMinFresh);
    }
    None
}

/// [RFC 9111 §4.2.4]: "A cache MUST NOT generate a stale response unless … doing so is explicitly permitted by the client
/// or origin server". The window is zero where the answer forbids it.
///
/// [RFC 9111 §4.2.4]: https://www.rfc-editor.org/rfc/rfc9111.html#section-4.2.4
fn may_be_served_stale(asked: &RequestFacts, stored: &StoredFacts, terms: &Terms, now: Moment) -> bool {
    let staleness = stored.staleness(now);
    if terms.honour_request {
        // "Unless the max-stale request directive is also present, the client does not wish to receive a stale response"
        if asked.directives.max_age.is_some() && asked.directives.max_stale.is_none() {
            return false;
        }
        if !stored.must_revalidate && asked.directives.max_stale.is_some_and(|limit| limit.covers(staleness)) {
            return true;
        }
    }
    staleness < stored.stale_while_revalidate
}

/// How the backend failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// There is no answer: no connection, a broken one, a deadline that passed. To RFC 9111 the cache is disconnected.
    Unreachable,
    /// It answered with an error of its own: see [`Trouble::of`].
    Status5xx,
}

impl Trouble {
    /// Statuses that RFC 5861 §4 calls an error: 500, 502, 503 and 504.
    pub fn of(status: StatusCode) -> Option<Self> {
        matches!(status.as_u16(), 500 | 502 | 503 | 504).then_some(Self::Status5xx)
    }
}

/// May `stored` be served in place of an error? [RFC 5861 §4] where somebody named a window, [RFC 9111 §4.2.4] where
/// nobody did.
///
/// [RFC 5861 §4]: https://www.rfc-editor.org/rfc/rfc5861.html#section-4
/// [RFC 9111 §4.2.4]: https://www.rfc-editor.org/rfc/rfc9111.html#section-4.2.4
pub fn permitted_on_error(
    asked: &RequestFacts,
    stored: &StoredFacts,
    terms: &Terms,
    trouble: Trouble,
    now: Moment,
) -> bool {
    // §4.2.4: "A cache MUST NOT generate a stale response if it is prohibited by an explicit in-protocol directive (e.g.,
    // by a no-cache response directive, …"
    if stored.no_cache {
        return false;
    }
    // A fresh answer needs no permission; only the request's wish to have it validated brought us here.
    if stored.is_fresh(now) {
        return true;
    }
    // RFC 5861: "a cached stale response MAY be used to satisfy the request". Windows are closed where must-revalidate
    // or proxy-revalidate was said.
    let staleness = stored.staleness(now);
    let window = stored.stale_while_revalidate.max(stored.stale_if_error.unwrap_or_default());
    if staleness < window {
        return true;
    }
    // "… a must-revalidate response directive, or an applicable s-maxage or proxy-revalidate response directive"
    if stored.must_revalidate {
        return false;
    }
    // RFC 5861 and §5.2.1.2: the client may name a window too.
    if terms.honour_request {
        let wish = &asked.directives;
        if wish.stale_if_error.is_some_and(|limit| staleness < limit)
            || wish.max_stale.is_some_and(|limit| limit.covers(staleness))
        {
            return true;
        }
    }
    // RFC 5861: beyond the window "the cached response SHOULD NOT be used to satisfy the request, absent other
    // information". Where nobody named one: §4.2.4, "unless it is disconnected".
    stored.stale_if_error.is_none() && trouble == Trouble::Unreachable
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rfc::freshness::lifetime;
    use crate::rfc::notation::{request_head, response_head};
    use crate::rfc::{Moment, ResponseFacts};
    use std::time::Duration;

    const START: Moment = Moment { wall: Duration::from_hours(500_000), mono: Duration::from_secs(50) };

    fn request(head: &str) -> RequestFacts {
        let (method, _, headers) = request_head(head, START.wall).expect(head);
        RequestFacts::read(&method, &headers)
    }

    fn stored(head: &str, terms: &Terms) -> StoredFacts {
        let (status, headers) = response_head(head, START.wall).expect(head);
        let answer = ResponseFacts::read(status, &headers, &terms.targets).dated(START.wall);
        StoredFacts::new(&answer, &lifetime(&answer, terms), terms, START, START)
    }

    fn honouring() -> Terms {
        Terms { honour_request: true, ..Terms::default() }
    }

    /// Rows: request, answer, seconds since it arrived, verdict.
    fn check(terms: &Terms, rows: &[(&str, &str, u64, &str)]) {
        for (head, answer, later, expected) in rows {
            let verdict =
                reuse(&request(head), &stored(answer, terms), terms, START.after(Duration::from_secs(*later)));
            let told = match verdict {
                Reuse::Fresh => "fresh".to_owned(),
                Reuse::StaleWhileRevalidate => "swr".to_owned(),
                Reuse::Validate(reason) => format!("validate: {}", reason.code()),
                Reuse::Unusable(reason) => format!("unusable: {}", reason.code()),
            };
            assert_eq!(told, *expected, "{head} => {answer}, {later} s later");
        }
    }

    #[test]
    fn section_4_fresh_stale_or_to_be_validated() {
        check(
            &Terms::default(),
            &[
                ("GET /", "200 | cache-control: max-age=10", 9, "fresh"),
                ("HEAD /", "200 | cache-control: max-age=10", 9, "fresh"),
                ("GET /", "200 | cache-control: max-age=10", 10, "validate: stale"),
                ("GET /", "200 | cache-control: max-age=10 | age: 5", 5, "validate: stale"),
                ("GET /", "200 | cache-control: max-age=10, no-cache | etag: \"x\"", 0, "validate: no-cache"),
                ("GET /", "200 | cache-control: max-age=10, must-revalidate", 9, "fresh"),
                ("GET /", "200 | cache-control: max-age=10, must-revalidate", 10, "validate: must-revalidate"),
                ("GET /", "200 | cache-control: s-maxage=10", 10, "validate: must-revalidate"),
                ("GET /", "200 | etag: \"x\"", 0, "validate: stale"),
                ("POST /", "200 | cache-control: max-age=10", 0, "unusable: method"),
                ("FOO /", "200 | cache-control: max-age=10", 0, "unusable: method-unknown"),
            ],
        );
    }

    #[test]
    fn rfc_5861_stale_while_revalidate() {
        check(
            &Terms::default(),
            &[
                ("GET /", "200 | cache-control: max-age=1, stale-while-revalidate=4", 0, "fresh"),
                ("GET /", "200 | cache-control: max-age=1, stale-while-revalidate=4", 1, "swr"),
                ("GET /", "200 | cache-control: max-age=1, stale-while-revalidate=4", 4, "swr"),
                ("GET /", "200 | cache-control: max-age=1, stale-while-revalidate=4", 5, "validate: stale"),
                ("GET /", "200 | cache-control: max-age=1, stale-while-revalidate=0", 1, "validate: stale"),
                ("GET /", "200 | cache-control: s-maxage=1, stale-while-revalidate=4", 2, "swr"),
                (
                    "GET /",
                    "200 | cache-control: max-age=1, must-revalidate, stale-while-revalidate=4",
                    2,
                    "validate: must-revalidate",
                ),
                ("GET /", "200 | cache-control: no-cache, stale-while-revalidate=4", 2, "validate: no-cache"),
            ],
        );
    }

    #[test]
    fn section_5_2_1_requests_are_heeded_where_honoured() {
        let rows = [
            ("GET / | cache-control: no-cache", "200 | cache-control: max-age=10", 1, "validate: request-no-cache"),
            ("GET / | pragma: no-cache", "200 | cache-control: max-age=10", 1, "validate: request-no-cache"),
            ("GET / | cache-control: max-age=0", "200 | cache-control: max-age=10", 1, "validate: request-max-age"),
            (
                "GET / | cache-control: max-age=5",
                "200 | cache-control: max-age=10 | age: 5",
                1,
                "validate: request-max-age",
            ),
            (
                "GET / | cache-control: min-fresh=10",
                "200 | cache-control: max-age=10",
                1,
                "validate: request-min-fresh",
            ),
        ];
        check(&honouring(), &rows);
        for (head, answer, later, _) in rows {
            check(&Terms::default(), &[(head, answer, later, "fresh")]);
        }
    }

    #[test]
    fn section_5_2_1_wishes_that_are_met_change_nothing() {
        check(
            &honouring(),
            &[
                ("GET / | cache-control: max-age=5", "200 | cache-control: max-age=10", 5, "fresh"),
                ("GET / | cache-control: min-fresh=9", "200 | cache-control: max-age=10", 1, "fresh"),
                ("GET / | cache-control: no-store", "200 | cache-control: max-age=10", 1, "fresh"),
                ("GET / | cache-control: only-if-cached", "200 | cache-control: max-age=10", 1, "fresh"),
                (
                    "GET / | cache-control: only-if-cached",
                    "200 | cache-control: max-age=10",
                    10,
                    "unusable: only-if-cached",
                ),
                ("GET / | pragma: x", "200 | cache-control: max-age=10", 1, "fresh"),
            ],
        );
    }

    #[test]
    fn section_5_2_1_2_max_stale() {
        check(
            &honouring(),
            &[
                ("GET / | cache-control: max-stale=5", "200 | cache-control: max-age=10", 15, "swr"),
                ("GET / | cache-control: max-stale=5", "200 | cache-control: max-age=10", 16, "validate: stale"),
                ("GET / | cache-control: max-stale", "200 | cache-control: max-age=10", 999, "swr"),
                (
                    "GET / | cache-control: max-stale",
                    "200 | cache-control: s-maxage=10",
                    11,
                    "validate: must-revalidate",
                ),
                ("GET / | cache-control: max-stale", "200 | cache-control: no-cache", 11, "validate: no-cache"),
                (
                    "GET / | cache-control: max-age=99",
                    "200 | cache-control: max-age=1, stale-while-revalidate=9",
                    2,
                    "validate: stale",
                ),
                ("GET / | cache-control: max-age=99, max-stale=1", "200 | cache-control: max-age=1", 2, "swr"),
            ],
        );
        check(
            &Terms::default(),
            &[("GET / | cache-control: max-stale", "200 | cache-control: max-age=10", 11, "validate: stale")],
        );
    }

    #[test]
    fn rfc_8246_reloading_asks_nothing_about_an_immutable_answer() {
        check(
            &honouring(),
            &[
                ("GET / | cache-control: max-age=0", "200 | cache-control: max-age=10, immutable", 1, "fresh"),
                (
                    "GET / | cache-control: max-age=0",
                    "200 | cache-control: max-age=10, immutable",
                    10,
                    "validate: request-max-age",
                ),
                (
                    "GET / | cache-control: no-cache",
                    "200 | cache-control: max-age=10, immutable",
                    1,
                    "validate: request-no-cache",
                ),
            ],
        );
    }

    /// Rows: request, answer, seconds since it arrived, whether it may stand in for a lost connection and for a 503.
    fn check_error(terms: &Terms, rows: &[(&str, &str, u64, bool, bool)]) {
        for (head, answer, later, unreachable, status) in rows {
            let now = START.after(Duration::from_secs(*later));
            let permitted = |trouble| permitted_on_error(&request(head), &stored(answer, terms), terms, trouble, now);
            let verdict = (permitted(Trouble::Unreachable), permitted(Trouble::Status5xx));
            assert_eq!(verdict, (*unreachable, *status), "{head} => {answer}, {later} s later");
        }
    }

    #[test]
    fn section_4_2_4_a_lost_connection_permits_stale_unless_forbidden() {
        check_error(
            &Terms::default(),
            &[
                ("GET /", "200 | cache-control: max-age=2", 5, true, false),
                ("GET /", "200 | cache-control: max-age=2, must-revalidate", 5, false, false),
                ("GET /", "200 | cache-control: max-age=2, proxy-revalidate", 5, false, false),
                ("GET /", "200 | cache-control: max-age=2, no-cache", 1, false, false),
                ("GET /", "200 | cache-control: max-age=2, s-maxage=2", 5, false, false),
                ("GET /", "200 | cache-control: max-age=9, must-revalidate", 5, true, true),
            ],
        );
    }

    #[test]
    fn rfc_5861_stale_if_error() {
        check_error(
            &Terms::default(),
            &[
                ("GET /", "200 | cache-control: max-age=2, stale-if-error=60", 61, true, true),
                ("GET /", "200 | cache-control: max-age=2, stale-if-error=60", 62, false, false),
                ("GET /", "200 | cache-control: max-age=2, stale-if-error=0", 2, false, false),
                ("GET /", "200 | cache-control: max-age=2, stale-while-revalidate=60", 61, true, true),
                ("GET /", "200 | cache-control: s-maxage=2, stale-if-error=60", 61, true, true),
                ("GET /", "200 | cache-control: max-age=2, must-revalidate, stale-if-error=60", 5, false, false),
            ],
        );
        let operator = Terms { stale_if_error: Some(Duration::from_mins(1)), ..Terms::default() };
        check_error(
            &operator,
            &[
                ("GET /", "200 | cache-control: max-age=2", 61, true, true),
                ("GET /", "200 | cache-control: max-age=2", 62, false, false),
                ("GET /", "200 | cache-control: max-age=2, must-revalidate", 5, false, false),
            ],
        );
    }

    #[test]
    fn a_client_may_name_a_window_where_honoured() {
        let rows =
            |status| [("GET / | cache-control: stale-if-error=60", "200 | cache-control: max-age=2", 61, true, status)];
        check_error(&honouring(), &rows(true));
        check_error(&Terms::default(), &rows(false));
        check_error(
            &honouring(),
            &[
                ("GET / | cache-control: stale-if-error=60", "200 | cache-control: s-maxage=2", 5, false, false),
                ("GET / | cache-control: max-stale", "200 | cache-control: max-age=2", 61, true, true),
            ],
        );
    }

    #[test]
    fn only_four_statuses_are_errors() {
        for (code, error) in
            [(200, false), (404, false), (500, true), (501, false), (502, true), (503, true), (504, true), (505, false)]
        {
            let status = StatusCode::from_u16(code).expect("a status");
            assert_eq!(Trouble::of(status).is_some(), error, "{code}");
        }
    }
}
