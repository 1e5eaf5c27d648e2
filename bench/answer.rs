//! The answer that every measurement is about: 1 KiB of JSON under eight fields.
//!
//! `Date` and `Content-Length` are two of the eight; over a socket hyper adds them, [`with_framing`] does so without one.

use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, DATE};
use http::{HeaderName, HeaderValue, Response};
use http_body_util::Full;

/// Bytes of the body.
pub const SIZE: usize = 1024;

/// The moment of [`with_framing`]'s Date, since the Unix epoch.
#[allow(dead_code)] // backend.rs runs on the machine's time.
pub const MADE: Duration = Duration::from_hours(490_980);

/// The fields that do not depend on the path. No `Vary`: not every peer would keep the answer.
const FIELDS: [(HeaderName, HeaderValue); 5] = [
    (http::header::CONTENT_TYPE, HeaderValue::from_static("application/json")),
    (http::header::CONTENT_LANGUAGE, HeaderValue::from_static("en")),
    (http::header::ETAG, HeaderValue::from_static("\"5f3c9a1e7b\"")),
    (http::header::LAST_MODIFIED, HeaderValue::from_static("Sun, 04 Jan 2026 10:00:00 GMT")),
    (http::header::SERVER, HeaderValue::from_static("backend")),
];

/// The body: valid JSON, exactly [`SIZE`] bytes.
pub fn body() -> Bytes {
    let start = r#"{"id":"user-1","name":"Ada","notes":""#;
    let end = r#""}"#;
    let padding = "x".repeat(SIZE - start.len() - end.len());
    Bytes::from(format!("{start}{padding}{end}"))
}

/// The answer for `path`: below `/u/` it may be kept for an hour, elsewhere not at all.
pub fn answer(path: &str, body: Bytes) -> Response<Full<Bytes>> {
    let keep = if path.starts_with("/u/") { "max-age=3600" } else { "no-store" };
    let mut response = Response::new(Full::new(body));
    response.headers_mut().extend(FIELDS);
    response.headers_mut().insert(http::header::CACHE_CONTROL, HeaderValue::from_static(keep));
    response
}

/// The two fields that hyper adds on the wire. The date is fixed ([`MADE`]), so that runs are alike.
#[allow(dead_code)] // backend.rs has hyper for it.
pub fn with_framing(mut response: Response<Full<Bytes>>) -> Response<Full<Bytes>> {
    response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(SIZE));
    response.headers_mut().insert(DATE, HeaderValue::from_static("Sun, 04 Jan 2026 12:00:00 GMT"));
    response
}
