//! What the sample backend's answers look like: versioned JSON, a strong `ETag` made from the bytes, a lifetime that
//! suits the kind of data, the names of what the document was made from, and 304 for who has it already.

use std::time::{Duration, SystemTime};

use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::response::{IntoResponse, Response};
use http::header::{
    ALLOW, CACHE_CONTROL, CONTENT_LANGUAGE, CONTENT_TYPE, ETAG, HeaderName, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH,
    LAST_MODIFIED, LOCATION, VARY,
};
use http::{HeaderMap, HeaderValue, StatusCode};
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::world::Stamp;

/// Names of what a document was made from, for caches that purge by tag.
pub const CACHE_TAG: HeaderName = HeaderName::from_static("cache-tag");
/// The same names as RFC 9875 §2 writes them.
pub const CACHE_GROUPS: HeaderName = HeaderName::from_static("cache-groups");
/// What a write has made out of date, RFC 9875 §3.
pub const CACHE_GROUP_INVALIDATION: HeaderName = HeaderName::from_static("cache-group-invalidation");

/// How long a kind of data may be kept. The lifetimes are those of the caching plan the sample imitates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freshness {
    /// Prices, permissions, status: seconds, but usable for an hour when the backend is away.
    Critical,
    /// Profiles: five minutes.
    Profile,
    /// The organisation: a quarter of an hour.
    Hierarchy,
    /// History and the audit log: an hour.
    Record,
    /// A line of the audit log: never altered once written.
    Immutable,
    /// The device map: refreshed every few seconds.
    DeviceMap,
    /// What devices send: a minute for browsers, a day for caches that can be purged.
    DeviceMetadata,
}

impl Freshness {
    /// The value of Cache-Control.
    pub const fn cache_control(self) -> &'static str {
        match self {
            Self::Critical => "max-age=10, stale-if-error=3600",
            Self::Profile => "max-age=300, stale-while-revalidate=30, stale-if-error=3600",
            Self::Hierarchy => "max-age=900, stale-while-revalidate=60, stale-if-error=86400",
            Self::Record => "max-age=3600, stale-while-revalidate=60, stale-if-error=86400",
            Self::Immutable => "max-age=3600, immutable",
            Self::DeviceMap => "max-age=5, stale-while-revalidate=10, stale-if-error=3600",
            Self::DeviceMetadata => "max-age=60, s-maxage=86400, stale-if-error=86400",
        }
    }
}

/// A document as a GET gives it, before it is written out.
#[derive(Debug)]
pub struct View {
    body: Map<String, Value>,
    stamp: Stamp,
    freshness: Freshness,
    tags: Vec<String>,
    language: Option<&'static str>,
}

impl View {
    /// A document with this content (a JSON object), not yet made from anything.
    pub fn new(content: impl Serialize, freshness: Freshness) -> Self {
        let body = match serde_json::to_value(content) {
            Ok(Value::Object(body)) => body,
            Ok(other) => Map::from_iter([("value".to_owned(), other)]),
            Err(_) => Map::new(),
        };
        Self { body, stamp: Stamp::default(), freshness, tags: Vec::new(), language: None }
    }

    /// Notes that the thing of this name, last altered at `stamp`, went into the document.
    #[must_use]
    pub fn made_from(mut self, name: impl Into<String>, stamp: Stamp) -> Self {
        let name = name.into();
        if !self.tags.contains(&name) {
            self.tags.push(name);
        }
        self.stamp = self.stamp.or_later(stamp);
        self
    }

    /// Notes that the document is written in `language` because the request asked for it.
    #[must_use]
    pub fn in_language(mut self, language: &'static str) -> Self {
        self.language = Some(language);
        self
    }

    /// The document with its version and date, as it is sent.
    pub fn content(&self) -> Value {
        let mut body = self.body.clone();
        if let Ok(Value::Object(stamp)) = serde_json::to_value(self.stamp) {
            body.extend(stamp);
        }
        Value::Object(body)
    }

    /// The strong validator: two documents have the same one if, and in practice only if, they are the same bytes.
    pub fn etag(&self) -> String {
        etag_of(self.content().to_string().as_bytes())
    }

    /// The answer to a GET that carried these fields: the document, or 304 if the client has it.
    pub fn answer(&self, request: &HeaderMap) -> Response {
        let bytes = self.content().to_string();
        let etag = etag_of(bytes.as_bytes());
        let unchanged = is_unchanged(request, &etag, self.stamp.modified);
        let mut response =
            if unchanged { StatusCode::NOT_MODIFIED.into_response() } else { json_response(StatusCode::OK, bytes) };
        let headers = response.headers_mut();
        put(headers, ETAG, etag);
        put(headers, LAST_MODIFIED, http_date(self.stamp.modified));
        put(headers, CACHE_CONTROL, self.freshness.cache_control());
        put_tags(headers, &self.tags);
        if let Some(language) = self.language {
            put(headers, VARY, "Accept-Language");
            if !unchanged {
                put(headers, CONTENT_LANGUAGE, language);
            }
        }
        response
    }
}

/// How a write ended.
#[derive(Debug)]
pub struct Done {
    /// 200, 201 or 204.
    pub status: StatusCode,
    /// Where the thing that was made can be found.
    pub location: Option<String>,
    /// What to say; nothing with 204.
    pub body: Option<Value>,
}

impl Done {
    /// 200 with the document as it is now.
    pub fn updated(view: &View) -> Self {
        Self { status: StatusCode::OK, location: None, body: Some(view.content()) }
    }

    /// 201 with the document and its place.
    pub fn created(view: &View, location: String) -> Self {
        Self { status: StatusCode::CREATED, location: Some(location), body: Some(view.content()) }
    }

    /// 204.
    pub fn deleted() -> Self {
        Self { status: StatusCode::NO_CONTENT, location: None, body: None }
    }

    /// 200 with something said.
    pub fn said(body: Value) -> Self {
        Self { status: StatusCode::OK, location: None, body: Some(body) }
    }

    /// The answer, naming everything the write made out of date.
    ///
    /// No `ETag`: what was sent and what is kept are not the same bytes ([RFC 9110 §9.3.4]).
    ///
    /// [RFC 9110 §9.3.4]: https://www.rfc-editor.org/rfc/rfc9110.html#section-9.3.4
    pub fn answer(self, touched: &[String]) -> Response {
        let mut response = match self.body {
            Some(body) => json_response(self.status, body.to_string()),
            None => self.status.into_response(),
        };
        let headers = response.headers_mut();
        put(headers, CACHE_CONTROL, "no-store");
        put(headers, CACHE_GROUP_INVALIDATION, string_list(touched));
        if let Some(location) = self.location {
            put(headers, LOCATION, location);
        }
        response
    }
}

/// Why something could not be done, as JSON.
#[derive(Debug)]
pub struct Problem {
    /// 4xx or 5xx.
    pub status: StatusCode,
    /// One sentence.
    pub error: String,
    /// More members of the JSON object.
    pub detail: Map<String, Value>,
    /// What would end the problem if it came into being; such a problem may be remembered for a moment.
    pub tag: Option<String>,
}

impl Problem {
    /// A problem with this status and sentence.
    pub fn new(status: StatusCode, error: impl Into<String>) -> Self {
        Self { status, error: error.into(), detail: Map::new(), tag: None }
    }

    /// 400.
    pub fn bad_request(error: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, error)
    }

    /// 404 for a thing of this kind and id. Tagged with the name it would have, so that making it ends the 404.
    pub fn unknown(kind: &str, id: &str) -> Self {
        let tag = is_name(id).then(|| format!("{kind}:{id}"));
        Self { tag, ..Self::new(StatusCode::NOT_FOUND, format!("No such {kind}")) }.with("id", json!(id))
    }

    /// 507: the sample keeps no more.
    pub fn full() -> Self {
        Self::new(StatusCode::INSUFFICIENT_STORAGE, "The sample backend keeps no more records of this kind")
    }

    /// Adds a member.
    #[must_use]
    pub fn with(mut self, name: &str, value: Value) -> Self {
        self.detail.insert(name.to_owned(), value);
        self
    }
}

impl From<QueryRejection> for Problem {
    fn from(rejection: QueryRejection) -> Self {
        Self::bad_request(rejection.body_text())
    }
}

impl From<serde_json::Error> for Problem {
    fn from(error: serde_json::Error) -> Self {
        Self::bad_request(format!("The body is not what is expected here: {error}"))
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut body = self.detail;
        body.insert("error".to_owned(), json!(self.error));
        let mut response = json_response(self.status, Value::Object(body).to_string());
        let headers = response.headers_mut();
        match self.tag {
            Some(tag) => {
                put(headers, CACHE_CONTROL, "max-age=5");
                put_tags(headers, &[tag]);
            }
            None => put(headers, CACHE_CONTROL, "no-store"),
        }
        response
    }
}

/// May a write go ahead, given the document as it is now? [RFC 9110 §13.2.2], steps 1 and 3.
///
/// [RFC 9110 §13.2.2]: https://www.rfc-editor.org/rfc/rfc9110.html#section-13.2.2
pub fn check_preconditions(request: &HeaderMap, current: Option<&View>) -> Result<(), Problem> {
    let etag = current.map(View::etag);
    let listed = |name: HeaderName, strong: bool| {
        etag.as_deref().is_some_and(|etag| request.get_all(name).iter().any(|list| names(list, etag, strong)))
    };
    // "When recipient is the origin server and If-Match is present, evaluate the If-Match precondition"
    if request.contains_key(IF_MATCH) && !listed(IF_MATCH, true) {
        return Err(Problem::new(StatusCode::PRECONDITION_FAILED, "The document is not the one that If-Match names"));
    }
    // "When If-None-Match is present, evaluate the If-None-Match precondition"
    if request.contains_key(IF_NONE_MATCH) && listed(IF_NONE_MATCH, false) {
        return Err(Problem::new(StatusCode::PRECONDITION_FAILED, "The document is one that If-None-Match names"));
    }
    Ok(())
}

/// Does the client of this GET have the document already? [RFC 9110 §13.2.2], steps 3 and 4.
///
/// [RFC 9110 §13.2.2]: https://www.rfc-editor.org/rfc/rfc9110.html#section-13.2.2
fn is_unchanged(request: &HeaderMap, etag: &str, modified: Duration) -> bool {
    // "When If-None-Match is present, evaluate the If-None-Match precondition"
    if request.contains_key(IF_NONE_MATCH) {
        return request.get_all(IF_NONE_MATCH).iter().any(|list| names(list, etag, false));
    }
    // "if the selected representation's last modification date is earlier or equal to the date provided in the field
    // value, the condition is false"
    request
        .get(IF_MODIFIED_SINCE)
        .and_then(|value| httpdate::parse_http_date(value.to_str().ok()?).ok())
        .and_then(|since| since.duration_since(SystemTime::UNIX_EPOCH).ok())
        .is_some_and(|since| modified.as_secs() <= since.as_secs())
}

/// Whether a list of entity tags (or `*`) names this one. Ours hold no comma, so that a split at commas is enough.
fn names(list: &HeaderValue, etag: &str, strong: bool) -> bool {
    let Ok(list) = list.to_str() else { return false };
    list.split(',').map(str::trim).any(|item| {
        let weak = item.strip_prefix("W/");
        item == "*" || item == etag || (!strong && weak == Some(etag))
    })
}

/// A name that is fit for a tag, a path segment and a header field: 1 to 64 of `A-Z a-z 0-9 . _ -`.
pub fn is_name(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'))
}

/// An answer with a JSON body and nothing said about caching yet.
pub fn json_response(status: StatusCode, body: String) -> Response {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    put(response.headers_mut(), CONTENT_TYPE, "application/json");
    response
}

/// Sets a field; a value that is not fit for one is left out.
pub fn put(headers: &mut HeaderMap, name: HeaderName, value: impl TryInto<HeaderValue>) {
    if let Ok(value) = value.try_into() {
        headers.insert(name, value);
    }
}

/// A date as HTTP writes it, from wall time since the Unix epoch. Stops at the end of the year 9999.
pub fn http_date(wall: Duration) -> String {
    const END_OF_9999: u64 = 253_402_300_799;
    httpdate::fmt_http_date(SystemTime::UNIX_EPOCH + Duration::from_secs(wall.as_secs().min(END_OF_9999)))
}

/// The answer when nothing is at this path.
pub async fn not_found() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "Nothing is at this path; GET / lists what there is")
}

/// The answer when the path does not take the method. The router adds [`ALLOW`].
pub async fn method_not_allowed() -> Problem {
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, format!("The path does not take this method; see {ALLOW}"))
}

fn put_tags(headers: &mut HeaderMap, tags: &[String]) {
    if !tags.is_empty() {
        put(headers, CACHE_TAG, tags.join(", "));
        put(headers, CACHE_GROUPS, string_list(tags));
    }
}

/// A list of strings in structured-field form. Our names hold neither quote nor backslash.
fn string_list(names: &[String]) -> String {
    names.iter().map(|name| format!("\"{name}\"")).collect::<Vec<_>>().join(", ")
}

/// FNV-1a over the bytes, and their number: no defence against a forger, and none is needed here.
fn etag_of(bytes: &[u8]) -> String {
    let hash = bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3));
    format!("\"{hash:016x}-{:x}\"", bytes.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(name: &str) -> View {
        let stamp = Stamp { version: 3, modified: Duration::from_secs(784_111_777) };
        View::new(json!({ "name": name }), Freshness::Profile).made_from("user:1", stamp)
    }

    fn check(field: &HeaderName, value: &str, expected: u16) {
        let mut request = HeaderMap::new();
        put(&mut request, field.clone(), value);
        assert_eq!(view("a").answer(&request).status().as_u16(), expected, "{field}: {value}");
    }

    #[test]
    fn who_has_the_document_is_told_so() {
        let etag = view("a").etag();
        check(&IF_NONE_MATCH, &etag, 304);
        check(&IF_NONE_MATCH, &format!("\"x\", W/{etag}"), 304);
        check(&IF_NONE_MATCH, "*", 304);
        check(&IF_NONE_MATCH, &view("b").etag(), 200);
        check(&IF_NONE_MATCH, etag.trim_matches('"'), 200);
        check(&IF_MODIFIED_SINCE, "Sun, 06 Nov 1994 08:49:37 GMT", 304);
        check(&IF_MODIFIED_SINCE, "Sun, 06 Nov 1994 08:49:36 GMT", 200);
        check(&IF_MODIFIED_SINCE, "yesterday", 200);
    }

    #[test]
    fn if_none_match_overrules_the_date() {
        let mut request = HeaderMap::new();
        put(&mut request, IF_NONE_MATCH, "\"other\"");
        put(&mut request, IF_MODIFIED_SINCE, "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(view("a").answer(&request).status(), StatusCode::OK);
    }

    #[test]
    fn a_304_carries_what_a_200_would_have() {
        let mut request = HeaderMap::new();
        put(&mut request, IF_NONE_MATCH, "*");
        let (whole, unchanged) = (view("a").answer(&HeaderMap::new()), view("a").answer(&request));
        for name in [ETAG, LAST_MODIFIED, CACHE_CONTROL, CACHE_TAG, CACHE_GROUPS] {
            assert!(whole.headers().contains_key(&name), "{name}");
            assert_eq!(whole.headers().get(&name), unchanged.headers().get(&name), "{name}");
        }
        assert!(!unchanged.headers().contains_key(CONTENT_TYPE));
    }

    #[test]
    fn a_write_holds_to_its_preconditions() {
        let document = view("a");
        let etag = document.etag();
        for (field, value, current, allowed) in [
            (IF_MATCH, etag.clone(), Some(&document), true),
            (IF_MATCH, "*".to_owned(), Some(&document), true),
            (IF_MATCH, "*".to_owned(), None, false),
            (IF_MATCH, format!("W/{etag}"), Some(&document), false),
            (IF_MATCH, "\"old\"".to_owned(), Some(&document), false),
            (IF_NONE_MATCH, "*".to_owned(), Some(&document), false),
            (IF_NONE_MATCH, "*".to_owned(), None, true),
        ] {
            let mut request = HeaderMap::new();
            put(&mut request, field.clone(), value.clone());
            assert_eq!(check_preconditions(&request, current).is_ok(), allowed, "{field}: {value}");
        }
    }
}
