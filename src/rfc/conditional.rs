//! Conditional requests: the ones we answer, and the ones we make ([RFC 9110 §13], [RFC 9111 §4.3]).
//!
//! A client that holds a copy asks whether it is still good; a stored answer can say so. And when our own copy has
//! gone stale, we ask the backend in the same words, with the copy's validators in place of the client's.
//!
//! [RFC 9110 §13]: https://www.rfc-editor.org/rfc/rfc9110#section-13
//! [RFC 9111 §4.3]: https://www.rfc-editor.org/rfc/rfc9111#section-4.3

use super::etag::{ETag, etags};
use super::fields::singleton;
use http::header::{
    DATE, ETAG, HeaderMap, HeaderName, HeaderValue, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE,
    IF_UNMODIFIED_SINCE, LAST_MODIFIED, RANGE,
};
use http::{Method, StatusCode};
use std::time::{Duration, UNIX_EPOCH};

/// What a request's conditions make of a stored answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Precondition {
    /// Answer as if there were none.
    Proceed,
    /// Answer 304: the client's copy is good.
    NotModified,
    /// Answer 412: If-Match or If-Unmodified-Since does not hold.
    Failed,
}

/// Evaluates a GET's or HEAD's conditions against a stored answer that may be used as it is. The steps are those of
/// [RFC 9110 §13.2.2]; step 5, If-Range, is [`if_range_matches`].
///
/// If-Match and If-Unmodified-Since are meant for origin servers; a cache may leave them aside (§13.1.1). We do
/// evaluate them: a stored answer that may be used stands for the origin's own.
///
/// [RFC 9110 §13.2.2]: https://www.rfc-editor.org/rfc/rfc9110#section-13.2.2
pub fn precondition(
    method: &Method,
    request: &HeaderMap,
    stored_status: StatusCode,
    stored: &HeaderMap,
) -> Precondition {
    // §13.2.1: "A server MUST ignore all received preconditions if its response to the same request without those
    // conditions, prior to processing the request content, would have been a status code other than a 2xx (Successful)
    // or 412 (Precondition Failed)."
    if !stored_status.is_success() {
        return Precondition::Proceed;
    }
    // Other methods are not answered from a cache.
    if *method != Method::GET && *method != Method::HEAD {
        return Precondition::Proceed;
    }
    // 1. "When recipient is the origin server and If-Match is present, evaluate the If-Match precondition: ... if false,
    // respond 412 (Precondition Failed)"
    // 2. "When recipient is the origin server, If-Match is not present, and If-Unmodified-Since is present, evaluate the
    // If-Unmodified-Since precondition: ... if false, respond 412 (Precondition Failed)"
    if if_match(request, stored).or_else(|| if_unmodified_since(request, stored)) == Some(false) {
        return Precondition::Failed;
    }
    // 3. "When If-None-Match is present, evaluate the If-None-Match precondition: ... if false for GET/HEAD, respond
    // 304 (Not Modified)"
    match if_none_match(request, stored) {
        Some(false) => return Precondition::NotModified,
        Some(true) => return Precondition::Proceed,
        None => {}
    }
    // 4. "When the method is GET or HEAD, If-None-Match is not present, and If-Modified-Since is present, evaluate the
    // If-Modified-Since precondition: ... if false, respond 304 (Not Modified)"
    if if_modified_since(request, stored) == Some(false) {
        return Precondition::NotModified;
    }
    // 6. "Otherwise, perform the requested method and respond according to its success or failure."
    Precondition::Proceed
}

/// Does a Range apply to the stored answer, or is its whole to be sent? [RFC 9110 §13.1.5]. True if the request has no
/// If-Range: then nothing stands in the way.
///
/// [RFC 9110 §13.1.5]: https://www.rfc-editor.org/rfc/rfc9110#section-13.1.5
pub fn if_range_matches(request: &HeaderMap, stored: &HeaderMap) -> bool {
    if !request.contains_key(IF_RANGE) {
        return true;
    }
    // Several that differ have no meaning; the whole answer is always right.
    let Some(field) = singleton(request, &IF_RANGE) else { return false };
    // "A valid entity-tag can be distinguished from a valid HTTP-date by examining the first three characters for a
    // DQUOTE."
    if field.as_bytes().iter().take(3).any(|&byte| byte == b'"') {
        // "If the entity-tag validator provided exactly matches the ETag field value for the selected representation
        // using the strong comparison function, the condition is true."
        let asked = ETag::parse(field.as_bytes());
        return asked.zip(ETag::of(stored)).is_some_and(|(asked, ours)| asked.strong_eq(&ours));
    }
    // "If the HTTP-date validator provided is not a strong validator in the sense defined by Section 8.8.2.2, the
    // condition is false."
    if !last_modified_is_strong(stored) {
        return false;
    }
    // "If the HTTP-date validator provided exactly matches the Last-Modified field value for the selected
    // representation, the condition is true."
    let asked = parse_date(field);
    asked.is_some() && asked == date(stored, &LAST_MODIFIED)
}

/// What a stored answer can be validated by. [RFC 9111 §4.3.1].
///
/// [RFC 9111 §4.3.1]: https://www.rfc-editor.org/rfc/rfc9111#section-4.3.1
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Validators {
    /// Its entity tag, as it was received: a backend that forgets the quotation marks understands its own spelling.
    pub etag: Option<HeaderValue>,
    /// Its Last-Modified, as it was received; only if it is a date.
    pub last_modified: Option<HeaderValue>,
}

impl Validators {
    /// The validators of a stored answer; `None` if there is none to ask by.
    pub fn of(stored: &HeaderMap) -> Option<Self> {
        let etag = singleton(stored, &ETAG).filter(|value| !value.is_empty()).cloned();
        let last_modified = singleton(stored, &LAST_MODIFIED).filter(|value| parse_date(value).is_some()).cloned();
        (etag.is_some() || last_modified.is_some()).then_some(Validators { etag, last_modified })
    }

    /// Makes `request` ask whether the stored answer is still good: the client's own conditions and its Range go, ours
    /// take their place.
    pub fn apply(&self, request: &mut HeaderMap) {
        strip_conditionals(request);
        // "MUST send the relevant entity tags (using If-Match, If-None-Match, or If-Range) if the entity tags were
        // provided in the stored response(s) being validated."
        if let Some(etag) = &self.etag {
            request.insert(IF_NONE_MATCH, etag.clone());
        }
        // "SHOULD send the Last-Modified value (using If-Modified-Since) if the request is not for a subrange, a single
        // stored response is being validated, and that response contains a Last-Modified value."
        if let Some(last_modified) = &self.last_modified {
            request.insert(IF_MODIFIED_SINCE, last_modified.clone());
        }
    }
}

/// Removes the client's conditions, Range and If-Range: what is fetched to be stored must be a whole, and must not
/// depend on what one client happens to hold.
pub fn strip_conditionals(request: &mut HeaderMap) {
    for name in [IF_MATCH, IF_NONE_MATCH, IF_MODIFIED_SINCE, IF_UNMODIFIED_SINCE, IF_RANGE, RANGE] {
        request.remove(name);
    }
}

/// The fields of a 304 made from a stored answer; the caller adds Age and its own. [RFC 9110 §15.4.5].
///
/// Besides what the clause lists these travel: fields that speak to the caches in front of us, and the Access-Control
/// fields, without which a browser keeps the 304 from the script that asked.
///
/// [RFC 9110 §15.4.5]: https://www.rfc-editor.org/rfc/rfc9110#section-15.4.5
pub fn not_modified_headers(stored: &HeaderMap) -> HeaderMap {
    // "a sender SHOULD NOT generate representation metadata other than the above listed fields unless said metadata
    // exists for the purpose of guiding cache updates (e.g., Last-Modified might be useful if the response does not
    // have an ETag field)."
    let no_etag = !stored.contains_key(ETAG);
    let mut headers = HeaderMap::with_capacity(8);
    for (name, value) in stored {
        if travels_with_304(name.as_str()) || (no_etag && name == LAST_MODIFIED) {
            headers.append(name, value.clone());
        }
    }
    headers
}

fn travels_with_304(name: &str) -> bool {
    // "Content-Location, Date, ETag, and Vary", "Cache-Control and Expires"
    matches!(name, "cache-control" | "content-location" | "date" | "etag" | "expires" | "vary")
        || matches!(name, "surrogate-control" | "cache-status" | "via")
        || name.ends_with("-cache-control")
        || name.starts_with("access-control-")
}

/// §13.1.1: true if the answer's tag is on the list, by strong comparison; `None` if there is no If-Match.
fn if_match(request: &HeaderMap, stored: &HeaderMap) -> Option<bool> {
    let asked = etags(request, &IF_MATCH)?;
    let ours = ETag::of(stored);
    Some(asked.any(|tag| ours.is_some_and(|ours| tag.strong_eq(&ours))))
}

/// §13.1.2: false if the answer's tag is on the list, by weak comparison; `None` if there is no If-None-Match.
fn if_none_match(request: &HeaderMap, stored: &HeaderMap) -> Option<bool> {
    let asked = etags(request, &IF_NONE_MATCH)?;
    let ours = ETag::of(stored);
    Some(!asked.any(|tag| ours.is_some_and(|ours| tag.weak_eq(&ours))))
}

/// §13.1.3, with RFC 9111 §4.3.2 where the answer has no Last-Modified: false if it is not newer than the given date;
/// `None` if the field is absent, doubled or no date.
fn if_modified_since(request: &HeaderMap, stored: &HeaderMap) -> Option<bool> {
    let since = date(request, &IF_MODIFIED_SINCE)?;
    // RFC 9111 §4.3.2: without Last-Modified, "a cache SHOULD use the stored response's Date field value".
    let modified = if stored.contains_key(LAST_MODIFIED) { date(stored, &LAST_MODIFIED) } else { date(stored, &DATE) };
    Some(modified? > since)
}

/// §13.1.4: true if the answer is not newer than the given date; `None` if the field is absent, doubled or no date, or
/// the answer does not say when it was modified.
fn if_unmodified_since(request: &HeaderMap, stored: &HeaderMap) -> Option<bool> {
    Some(date(stored, &LAST_MODIFIED)? <= date(request, &IF_UNMODIFIED_SINCE)?)
}

/// [RFC 9110 §8.8.2.2], for a cache that compares with its own entry: "that cache entry includes a Date value which is
/// at least one second after the Last-Modified value". Then no second change can hide in the same second.
///
/// [RFC 9110 §8.8.2.2]: https://www.rfc-editor.org/rfc/rfc9110#section-8.8.2.2
pub(super) fn last_modified_is_strong(answer: &HeaderMap) -> bool {
    let dates = date(answer, &LAST_MODIFIED).zip(date(answer, &DATE));
    dates.is_some_and(|(modified, date)| date >= modified.saturating_add(Duration::from_secs(1)))
}

/// The date in a field that may appear once, since the epoch.
pub(super) fn date(headers: &HeaderMap, name: &HeaderName) -> Option<Duration> {
    parse_date(singleton(headers, name)?)
}

fn parse_date(value: &HeaderValue) -> Option<Duration> {
    let date = httpdate::parse_http_date(value.to_str().ok()?.trim()).ok()?;
    date.duration_since(UNIX_EPOCH).ok()
}

#[cfg(test)]
mod tests {
    use super::super::fields::tests::{head, lines};
    use super::*;

    const LM: &str = "last-modified: Wed, 01 Jan 2020 00:00:00 GMT";
    const SAME: &str = "Wed, 01 Jan 2020 00:00:00 GMT";
    const EARLIER: &str = "Tue, 31 Dec 2019 23:59:59 GMT";
    const LATER: &str = "Wed, 01 Jan 2020 00:00:01 GMT";

    fn check(method: &Method, request: &str, status: u16, stored: &str, expected: Precondition) {
        let status = StatusCode::from_u16(status).expect("a status");
        let found = precondition(method, &head(request), status, &head(stored));
        assert_eq!(found, expected, "{method} {request} on {status} {stored}");
    }

    fn get(request: &str, stored: &str, expected: Precondition) {
        check(&Method::GET, request, 200, stored, expected);
        check(&Method::HEAD, request, 200, stored, expected);
        check(&Method::PUT, request, 200, stored, Precondition::Proceed);
        check(&Method::GET, request, 404, stored, Precondition::Proceed);
        check(&Method::GET, request, 302, stored, Precondition::Proceed);
    }

    #[test]
    fn step_1_if_match() {
        get("if-match: \"a\"", "etag: \"a\"", Precondition::Proceed);
        get("if-match: \"b\", \"a\"", "etag: \"a\"", Precondition::Proceed);
        get("if-match: *", "", Precondition::Proceed);
        get("if-match: \"b\"", "etag: \"a\"", Precondition::Failed);
        get("if-match: W/\"a\"", "etag: W/\"a\"", Precondition::Failed);
        get("if-match: x", "etag: \"a\"", Precondition::Failed);
        get("if-match: \"a\"", "", Precondition::Failed);
        // True leads on to step 3.
        get("if-match: \"a\" | if-none-match: \"a\"", "etag: \"a\"", Precondition::NotModified);
    }

    #[test]
    fn step_2_if_unmodified_since() {
        get(&format!("if-unmodified-since: {SAME}"), LM, Precondition::Proceed);
        get(&format!("if-unmodified-since: {LATER}"), LM, Precondition::Proceed);
        get(&format!("if-unmodified-since: {EARLIER}"), LM, Precondition::Failed);
        get("if-unmodified-since: yesterday", LM, Precondition::Proceed);
        get(&format!("if-unmodified-since: {EARLIER}"), "", Precondition::Proceed);
        let both = format!("if-match: \"a\" | if-unmodified-since: {EARLIER}");
        get(&both, &format!("etag: \"a\" | {LM}"), Precondition::Proceed);
    }

    #[test]
    fn step_3_if_none_match() {
        get("if-none-match: \"a\"", "etag: \"a\"", Precondition::NotModified);
        get("if-none-match: \"a\"", "etag: W/\"a\"", Precondition::NotModified);
        get("if-none-match: W/\"a\"", "etag: \"a\"", Precondition::NotModified);
        get("if-none-match: \"1\", \"a\", \"2\"", "etag: \"a\"", Precondition::NotModified);
        get("if-none-match: \"1\" | if-none-match: \"a\"", "etag: \"a\"", Precondition::NotModified);
        get("if-none-match: *", "", Precondition::NotModified);
        get("if-none-match: \"f\u{fc}r\"", "etag: \"f\u{fc}r\"", Precondition::NotModified);
        get("if-none-match: \"b\"", "etag: \"a\"", Precondition::Proceed);
        get("if-none-match: \"a\"", "", Precondition::Proceed);
        get("if-none-match: \"a\"", "etag: a", Precondition::Proceed);
        get("if-none-match: ", "etag: \"a\"", Precondition::Proceed);
    }

    #[test]
    fn if_none_match_wins_over_if_modified_since() {
        let stored = format!("etag: \"a\" | {LM}");
        get(&format!("if-none-match: \"a\" | if-modified-since: {EARLIER}"), &stored, Precondition::NotModified);
        get(&format!("if-none-match: \"b\" | if-modified-since: {LATER}"), &stored, Precondition::Proceed);
    }

    #[test]
    fn step_4_if_modified_since() {
        get(&format!("if-modified-since: {SAME}"), LM, Precondition::NotModified);
        get(&format!("if-modified-since: {LATER}"), LM, Precondition::NotModified);
        get(&format!("if-modified-since: {EARLIER}"), LM, Precondition::Proceed);
        get("if-modified-since: Wednesday, 01-Jan-20 00:00:00 GMT", LM, Precondition::NotModified);
        get("if-modified-since: Wed Jan  1 00:00:00 2020", LM, Precondition::NotModified);
        get("if-modified-since: 0", LM, Precondition::Proceed);
        get(&format!("if-modified-since: {SAME} | if-modified-since: {LATER}"), LM, Precondition::Proceed);
        // Without Last-Modified, Date stands in.
        get(&format!("if-modified-since: {SAME}"), &format!("date: {SAME}"), Precondition::NotModified);
        get(&format!("if-modified-since: {SAME}"), &format!("date: {LATER}"), Precondition::Proceed);
        get(&format!("if-modified-since: {SAME}"), &format!("last-modified: x | date: {SAME}"), Precondition::Proceed);
        get(&format!("if-modified-since: {SAME}"), "", Precondition::Proceed);
    }

    #[test]
    fn step_6_without_conditions_the_answer_is_sent() {
        get("accept: */*", &format!("etag: \"a\" | {LM}"), Precondition::Proceed);
    }

    #[test]
    fn section_13_1_5_if_range() {
        let settled = format!("{LM} | date: {LATER}");
        let rows = [
            ("range: bytes=0-1", "", true),
            ("if-range: \"a\"", "etag: \"a\"", true),
            ("if-range: \"b\"", "etag: \"a\"", false),
            ("if-range: W/\"a\"", "etag: W/\"a\"", false),
            ("if-range: \"a\"", "etag: W/\"a\"", false),
            ("if-range: \"a\", \"b\"", "etag: \"a\"", false),
            ("if-range: \"a\" | if-range: \"b\"", "etag: \"a\"", false),
            ("if-range: a", "etag: \"a\"", false),
            ("if-range: ", "etag: \"a\"", false),
            (&format!("if-range: {SAME}"), &settled, true),
            (&format!("if-range: {LATER}"), &settled, false),
            (&format!("if-range: {EARLIER}"), &settled, false),
            (&format!("if-range: {SAME}"), LM, false),
            (&format!("if-range: {SAME}"), &format!("{LM} | date: {SAME}"), false),
            (&format!("if-range: {SAME}"), "", false),
        ];
        for (request, stored, expected) in rows {
            assert_eq!(if_range_matches(&head(request), &head(stored)), expected, "{request} on {stored}");
        }
    }

    #[test]
    fn section_4_3_1_we_ask_by_what_is_stored() {
        let client = "if-none-match: \"mine\" | if-match: x | if-modified-since: y | if-unmodified-since: z \
                      | if-range: r | range: bytes=0-1 | accept: a";
        let rows = [
            ("etag: \"a\"", Some("accept: a | if-none-match: \"a\"".to_owned())),
            ("etag: W/\"a\"", Some("accept: a | if-none-match: W/\"a\"".to_owned())),
            ("etag: bare", Some("accept: a | if-none-match: bare".to_owned())),
            (LM, Some(format!("accept: a | if-modified-since: {SAME}"))),
            ("last-modified: long ago", None),
            ("etag: ", None),
            ("etag: \"a\" | etag: \"b\"", None),
            ("x: y", None),
        ];
        for (stored, expected) in rows {
            let asked = Validators::of(&head(stored)).map(|validators| {
                let mut request = head(client);
                validators.apply(&mut request);
                lines(&request)
            });
            assert_eq!(asked, expected, "{stored}");
        }
        let both = Validators::of(&head(&format!("etag: \"a\" | {LM}"))).expect("two validators");
        assert!(both.etag.is_some() && both.last_modified.is_some());
    }

    #[test]
    fn a_fill_carries_no_conditions() {
        let mut request = head("if-none-match: \"a\" | range: bytes=0-1 | if-range: \"a\" | if-match: * | host: h");
        strip_conditionals(&mut request);
        assert_eq!(lines(&request), "host: h");
    }

    #[test]
    fn section_15_4_5_what_a_304_carries() {
        let rows = [
            (
                "cache-control: a | content-location: b | date: c | etag: d | expires: e | vary: f | vary: g",
                "cache-control: a | content-location: b | date: c | etag: d | expires: e | vary: f | vary: g",
            ),
            ("etag: d | last-modified: x", "etag: d"),
            ("last-modified: x", "last-modified: x"),
            ("content-type: x | content-length: 5 | content-encoding: br | set-cookie: a | server: s | age: 3", ""),
            ("cdn-cache-control: a | surrogate-control: b", "cdn-cache-control: a | surrogate-control: b"),
            (
                "access-control-allow-origin: * | cache-status: a; hit | via: 1.1 b",
                "access-control-allow-origin: * | cache-status: a; hit | via: 1.1 b",
            ),
        ];
        for (stored, expected) in rows {
            assert_eq!(lines(&not_modified_headers(&head(stored))), expected, "{stored}");
        }
    }
}
