//! May this answer be stored?
//!
//! The question is asked once for every answer of the backend, and its answer is a ground or a reason: never a bare
//! "no", because the reason is what the log, Cache-Status and `forebay explain` will say.
//!
//! [`storability`] follows RFC 9111 §3 clause by clause, in the order of the text, with the clause quoted above its
//! `if`. It could be shorter; it is written so that the two can be read side by side. Where this gateway asks for more
//! than the RFC, or an operator for less, the comment says so.

use std::time::Duration;

use http::{Method, StatusCode};

use crate::rfc::freshness::{cacheable_by_default, lifetime, must_validate, stale_windows};
use crate::rfc::{Reason, RequestFacts, ResponseFacts, Terms};
use Storability::{Refuse, Store};

/// The verdict on an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Storability {
    /// It may be stored, on this ground.
    Store(Ground),
    /// It may not, for this reason.
    Refuse(Reason),
}

/// How long a stored answer is fresh, and on whose word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ground {
    /// The freshness lifetime, within the operator's bounds; zero for an answer that must be validated before each use.
    pub lifetime: Duration,
    /// Who gave it.
    pub source: LifetimeSource,
}

/// Who gave an answer its lifetime, the strongest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LifetimeSource {
    /// The operator's `ttl`, `status_ttl` or, with the override, `min_ttl`.
    Operator,
    /// A targeted field, such as CDN-Cache-Control (RFC 9213).
    Targeted,
    /// `s-maxage` (RFC 9111 §5.2.2.10).
    SMaxAge,
    /// `max-age` (RFC 9111 §5.2.2.1).
    MaxAge,
    /// Expires (RFC 9111 §5.3).
    Expires,
    /// A guess from Last-Modified (RFC 9111 §4.2.2).
    Heuristic,
    /// Nobody: it is stored for validation only, and its lifetime is zero.
    None,
}

impl LifetimeSource {
    /// As the operator knows it.
    pub const fn name(self) -> &'static str {
        match self {
            LifetimeSource::Operator => "ttl",
            LifetimeSource::Targeted => "targeted field",
            LifetimeSource::SMaxAge => "s-maxage",
            LifetimeSource::MaxAge => "max-age",
            LifetimeSource::Expires => "Expires",
            LifetimeSource::Heuristic => "heuristic",
            LifetimeSource::None => "none",
        }
    }
}

/// May this answer to this request be stored, by a shared cache and on these terms? In the order of [RFC 9111 §3].
///
/// A HEAD is judged as the GET would be; that it has no content to keep is the caller's business. Complete the Date by
/// [`ResponseFacts::dated`] first.
///
/// [RFC 9111 §3]: https://www.rfc-editor.org/rfc/rfc9111.html#section-3
pub fn storability(asked: &RequestFacts, answer: &ResponseFacts, terms: &Terms) -> Storability {
    let directives = &answer.directives;

    // "the request method is understood by the cache;"
    if let Some(reason) = unsuited(&asked.method) {
        return Refuse(reason);
    }
    // §5.2.1.5, no-store in the request: "a cache MUST NOT store any part of either this request or any response to it"
    if terms.honour_request && asked.directives.no_store {
        return Refuse(Reason::RequestNoStore);
    }
    // "the response status code is final;"
    if answer.status.is_informational() {
        return Refuse(Reason::StatusNotFinal);
    }
    // "if the response status code is 206 or 304, or the must-understand cache directive is present: the cache
    // understands the response status code;" A part is not stored as such, and a 304 is the update of a stored answer:
    // only wholes are stored.
    if matches!(answer.status, StatusCode::PARTIAL_CONTENT | StatusCode::NOT_MODIFIED) {
        return Refuse(Reason::PartialContent);
    }
    if directives.must_understand && !is_understood(answer.status) {
        return Refuse(Reason::StatusNotUnderstood);
    }
    // Ours: the operator may name the statuses worth storing.
    if !terms.lists(answer.status) {
        return Refuse(Reason::StatusNotListed);
    }
    // "the no-store cache directive is not present in the response;" §5.2.2.3 lets must-understand overrule it, for just
    // the statuses that got this far.
    if directives.no_store && !directives.must_understand && !terms.beats.no_store {
        return Refuse(Reason::ResponseNoStore);
    }
    // "if the cache is shared: the private response directive is either not present or allows a shared cache to store a
    // modified response;" We modify none, so the form that names fields refuses as well.
    if directives.private && !terms.beats.private {
        return Refuse(Reason::ResponsePrivate);
    }
    // "if the cache is shared: the Authorization header field is not present in the request or a response directive is
    // present that explicitly allows shared caching;"
    if asked.authorization && !allows_sharing(answer) && !terms.beats.authorization {
        return Refuse(Reason::Authorization);
    }
    // Ours, after §7.3: a stored Set-Cookie would give one client's cookie to all others.
    if answer.set_cookie && !terms.store_set_cookie {
        return Refuse(Reason::SetCookie);
    }
    // §4.1: "A stored response with a Vary header field value containing a member "*" always fails to match."
    if answer.vary_star {
        return Refuse(Reason::VaryStar);
    }
    // "the response contains at least one of the following: …"
    let ground = lifetime(answer, terms);
    if !has_grounds(answer, &ground) {
        return Refuse(Reason::NoFreshness);
    }
    // Ours: what can neither be used as it is nor be validated is not worth its memory.
    if !is_of_use(answer, &ground, terms) {
        return Refuse(if must_validate(answer, &ground) { Reason::NoCache } else { Reason::NoFreshness });
    }
    Store(ground)
}

/// Why answers to this method are not stored: of the methods that allow it (RFC 9110 §9.2.3) we understand GET and HEAD.
/// A POST could be stored under narrow conditions (§9.3.3); no client of ours would gain by it.
pub(super) fn unsuited(method: &Method) -> Option<Reason> {
    match *method {
        Method::GET | Method::HEAD => None,
        Method::POST
        | Method::PUT
        | Method::DELETE
        | Method::PATCH
        | Method::OPTIONS
        | Method::TRACE
        | Method::CONNECT => Some(Reason::MethodNotCacheable),
        _ => Some(Reason::MethodNotUnderstood),
    }
}

/// Final statuses that RFC 9110 §15 (and 6585, 7725, 8470) define and that a cache treats as that text says.
fn is_understood(status: StatusCode) -> bool {
    matches!(
        status.as_u16(),
        200..=205 | 300..=303 | 305 | 307 | 308 | 400..=417 | 421 | 422 | 425 | 426 | 428 | 429 | 431 | 451 | 500..=505 | 511
    )
}

/// "In this specification, the following response directives have such an effect: must-revalidate, public, and
/// s-maxage" ([RFC 9111 §3.5]).
///
/// [RFC 9111 §3.5]: https://www.rfc-editor.org/rfc/rfc9111.html#section-3.5
fn allows_sharing(answer: &ResponseFacts) -> bool {
    let directives = &answer.directives;
    directives.must_revalidate || directives.public || directives.s_maxage.is_some()
}

/// The list that ends RFC 9111 §3. The operator's lifetime is the "out-of-band contract" of our own.
fn has_grounds(answer: &ResponseFacts, ground: &Ground) -> bool {
    let directives = &answer.directives;
    // "a public response directive;"
    directives.public
        // "an Expires header field;"
        || answer.expires.is_some()
        // "a max-age response directive;"
        || directives.max_age.is_some()
        // "if the cache is shared: an s-maxage response directive;"
        || directives.s_maxage.is_some()
        // "a cache extension that allows it to be cached;"
        || ground.source == LifetimeSource::Operator
        // "a status code that is defined as heuristically cacheable."
        || cacheable_by_default(answer.status)
}

/// Whether a later request could be answered with it: while fresh, in a window after that, or once validated.
fn is_of_use(answer: &ResponseFacts, ground: &Ground, terms: &Terms) -> bool {
    if answer.has_validator() || !ground.lifetime.is_zero() {
        return true;
    }
    let (while_revalidate, if_error) = stale_windows(answer, ground, terms);
    let window = while_revalidate.max(if_error.unwrap_or_default());
    ground.source != LifetimeSource::None && !window.is_zero()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rfc::notation::{request_head, response_head};
    use crate::rfc::{Beats, StatusRange};

    const NOW: Duration = Duration::from_hours(500_000);

    fn verdict(request: &str, response: &str, terms: &Terms) -> String {
        let (method, _, headers) = request_head(request, NOW).expect(request);
        let asked = RequestFacts::read(&method, &headers);
        let (status, headers) = response_head(response, NOW).expect(response);
        let answer = ResponseFacts::read(status, &headers, &terms.targets).dated(NOW);
        match storability(&asked, &answer, terms) {
            Store(ground) => format!("store: {:?} {}", ground.source, ground.lifetime.as_secs()),
            Refuse(reason) => format!("refuse: {}", reason.code()),
        }
    }

    fn check(terms: &Terms, rows: &[(&str, &str, &str)]) {
        for (request, response, expected) in rows {
            assert_eq!(verdict(request, response, terms), *expected, "{request} => {response}");
        }
    }

    #[test]
    fn section_3_clause_by_clause() {
        check(
            &Terms::default(),
            &[
                // the method
                ("GET /", "200 | cache-control: max-age=60", "store: MaxAge 60"),
                ("HEAD /", "200 | cache-control: max-age=60", "store: MaxAge 60"),
                ("POST /", "200 | cache-control: max-age=60", "refuse: method"),
                ("OPTIONS /", "200 | cache-control: max-age=60", "refuse: method"),
                ("M-SEARCH /", "200 | cache-control: max-age=60", "refuse: method-unknown"),
                // the status
                ("GET /", "103 | cache-control: max-age=60", "refuse: not-final"),
                ("GET /", "206 | cache-control: max-age=60", "refuse: partial"),
                ("GET /", "304 | cache-control: max-age=60", "refuse: partial"),
                // no-store
                ("GET /", "200 | cache-control: no-store", "refuse: no-store"),
                ("GET /", "200 | cache-control: max-age=10000, no-store | expires: @+10000", "refuse: no-store"),
                // private
                ("GET /", "200 | cache-control: private, max-age=3600", "refuse: private"),
                ("GET /", "200 | cache-control: private=\"a\", max-age=3600", "refuse: private"),
                // Authorization
                ("GET / | authorization: x", "200 | cache-control: max-age=60", "refuse: authorization"),
                ("GET / | authorization: x", "200 | last-modified: @-1000", "refuse: authorization"),
                // Set-Cookie and Vary
                ("GET /", "200 | cache-control: public, max-age=60 | set-cookie: a=b", "refuse: set-cookie"),
                ("GET / | cookie: a=b", "200 | cache-control: max-age=60", "store: MaxAge 60"),
                ("GET /", "200 | cache-control: max-age=60 | vary: *", "refuse: vary-star"),
                ("GET /", "200 | cache-control: max-age=60 | vary: accept", "store: MaxAge 60"),
            ],
        );
    }

    #[test]
    fn section_3_at_least_one_of_the_following() {
        check(
            &Terms::default(),
            &[
                ("GET /", "599 | cache-control: public | last-modified: @-1000", "store: Heuristic 100"),
                ("GET /", "599 | expires: @+60", "store: Expires 60"),
                ("GET /", "599 | cache-control: max-age=60", "store: MaxAge 60"),
                ("GET /", "599 | cache-control: s-maxage=60", "store: SMaxAge 60"),
                ("GET /", "599 | cdn-cache-control: max-age=60", "store: Targeted 60"),
                ("GET /", "200 | last-modified: @-1000", "store: Heuristic 100"),
                ("GET /", "599 | last-modified: @-1000", "refuse: no-freshness"),
                ("GET /", "201 | last-modified: @-1000", "refuse: no-freshness"),
                ("GET /", "403 | last-modified: @-1000 | etag: \"x\"", "refuse: no-freshness"),
                ("GET /", "503 | etag: \"x\"", "refuse: no-freshness"),
            ],
        );
    }

    #[test]
    fn every_final_status_is_stored_with_explicit_freshness() {
        for status in [200, 203, 204, 299, 301, 302, 303, 307, 308, 400, 404, 410, 499, 500, 502, 503, 504, 599] {
            let response = format!("{status} | cache-control: max-age=60");
            assert_eq!(verdict("GET /", &response, &Terms::default()), "store: MaxAge 60", "{status}");
        }
    }

    #[test]
    fn what_can_be_neither_used_nor_validated_is_not_stored() {
        check(
            &Terms::default(),
            &[
                ("GET /", "200", "refuse: no-freshness"),
                ("GET /", "200 | etag: \"x\"", "store: None 0"),
                ("GET /", "200 | last-modified: @0", "store: None 0"),
                ("GET /", "200 | cache-control: max-age=0", "refuse: no-freshness"),
                ("GET /", "200 | cache-control: max-age=0 | etag: \"x\"", "store: MaxAge 0"),
                ("GET /", "200 | cache-control: max-age=0, stale-while-revalidate=60", "store: MaxAge 0"),
                ("GET /", "200 | expires: 0", "refuse: no-freshness"),
                ("GET /", "200 | expires: 0 | etag: \"x\"", "store: Expires 0"),
                ("GET /", "200 | cache-control: no-cache", "refuse: no-cache"),
                ("GET /", "200 | cache-control: no-cache, max-age=60", "refuse: no-cache"),
                ("GET /", "200 | cache-control: no-cache, stale-if-error=60", "refuse: no-cache"),
                ("GET /", "200 | cache-control: no-cache, max-age=60 | etag: \"x\"", "store: None 0"),
            ],
        );
    }

    #[test]
    fn section_3_5_three_directives_allow_sharing() {
        check(
            &Terms::default(),
            &[
                ("GET / | authorization: x", "200 | cache-control: max-age=60, public", "store: MaxAge 60"),
                ("GET / | authorization: x", "200 | cache-control: s-maxage=60", "store: SMaxAge 60"),
                ("GET / | authorization: x", "200 | cache-control: max-age=60, must-revalidate", "store: MaxAge 60"),
                (
                    "GET / | authorization: x",
                    "200 | cache-control: max-age=60, proxy-revalidate",
                    "refuse: authorization",
                ),
                ("GET / | authorization: x", "200 | cdn-cache-control: max-age=60", "refuse: authorization"),
                ("GET / | authorization: x", "200 | cache-control: public, private, max-age=60", "refuse: private"),
            ],
        );
    }

    #[test]
    fn section_5_2_2_3_must_understand() {
        check(
            &Terms::default(),
            &[
                ("GET /", "200 | cache-control: max-age=60, no-store, must-understand", "store: MaxAge 60"),
                ("GET /", "599 | cache-control: max-age=60, no-store, must-understand", "refuse: must-understand"),
                ("GET /", "599 | cache-control: max-age=60, must-understand", "refuse: must-understand"),
                ("GET /", "200 | cache-control: private, no-store, must-understand", "refuse: private"),
            ],
        );
    }

    #[test]
    fn rfc_9213_the_targeted_field_alone_counts() {
        check(
            &Terms::default(),
            &[
                ("GET /", "200 | cdn-cache-control: max-age=60 | cache-control: no-store", "store: Targeted 60"),
                ("GET /", "200 | cdn-cache-control: max-age=60 | cache-control: private", "store: Targeted 60"),
                ("GET /", "200 | cdn-cache-control: no-store | cache-control: max-age=60", "refuse: no-store"),
                ("GET /", "200 | cdn-cache-control: private | expires: @+60", "refuse: private"),
                ("GET /", "200 | cdn-cache-control: no-cache | expires: @+60", "refuse: no-cache"),
                ("GET /", "200 | cdn-cache-control: max-age=60, &&&&& | cache-control: no-store", "refuse: no-store"),
                ("GET /", "200 | cdn-cache-control: max-age=\"60\" | cache-control: no-store", "refuse: no-freshness"),
            ],
        );
    }

    #[test]
    fn request_directives_count_only_where_honoured() {
        let row = |expected| [("GET / | cache-control: no-store", "200 | cache-control: max-age=60", expected)];
        check(&Terms::default(), &row("store: MaxAge 60"));
        check(&Terms { honour_request: true, ..Terms::default() }, &row("refuse: request-no-store"));
    }

    #[test]
    fn storable_status_narrows_what_the_rfc_allows() {
        let terms = Terms { storable_status: Some(vec![StatusRange { first: 200, last: 299 }]), ..Terms::default() };
        check(
            &terms,
            &[
                ("GET /", "200 | cache-control: max-age=60", "store: MaxAge 60"),
                ("GET /", "404 | cache-control: max-age=60", "refuse: status-not-listed"),
                ("GET /", "206 | cache-control: max-age=60", "refuse: partial"),
            ],
        );
    }

    #[test]
    fn a_ttl_beats_no_refusal_even_with_the_override() {
        let terms = Terms { ttl: Some(Duration::from_secs(9)), ttl_override: true, ..Terms::default() };
        check(
            &terms,
            &[
                ("GET /", "200", "store: Operator 9"),
                ("GET /", "200 | cache-control: no-cache", "store: Operator 9"),
                ("GET /", "500", "refuse: no-freshness"),
                ("GET /", "200 | cache-control: no-store", "refuse: no-store"),
                ("GET /", "200 | cache-control: private", "refuse: private"),
                ("GET / | authorization: x", "200", "refuse: authorization"),
                ("GET /", "200 | set-cookie: a=b", "refuse: set-cookie"),
                ("GET /", "200 | vary: *", "refuse: vary-star"),
            ],
        );
    }

    #[test]
    fn a_lifetime_per_status_is_ground_enough() {
        let negative = StatusRange { first: 500, last: 503 };
        let terms = Terms { status_ttl: vec![(negative, Duration::from_secs(3))], ..Terms::default() };
        check(&terms, &[("GET /", "503", "store: Operator 3"), ("GET /", "504", "refuse: no-freshness")]);
    }

    #[test]
    fn the_operators_windows_alone_are_no_ground() {
        let terms = Terms { stale_if_error: Some(Duration::from_mins(1)), ..Terms::default() };
        check(
            &terms,
            &[("GET /", "200", "refuse: no-freshness"), ("GET /", "200 | cache-control: max-age=0", "store: MaxAge 0")],
        );
    }

    #[test]
    fn the_second_switch_beats_what_it_lists() {
        let ttl = Terms { ttl: Some(Duration::from_secs(9)), ..Terms::default() };
        let beats = |beats| Terms { beats, ..ttl.clone() };
        check(
            &beats(Beats { private: true, ..Beats::default() }),
            &[
                ("GET /", "200 | cache-control: private", "store: Operator 9"),
                ("GET /", "200 | cache-control: no-store", "refuse: no-store"),
            ],
        );
        check(
            &beats(Beats { no_store: true, ..Beats::default() }),
            &[
                ("GET /", "200 | cache-control: no-store", "store: Operator 9"),
                ("GET /", "200 | cache-control: private", "refuse: private"),
            ],
        );
        check(
            &beats(Beats { authorization: true, ..Beats::default() }),
            &[("GET / | authorization: x", "200", "store: Operator 9")],
        );
        check(
            &Terms { store_set_cookie: true, ..ttl.clone() },
            &[("GET /", "200 | set-cookie: a=b", "store: Operator 9")],
        );
    }
}
