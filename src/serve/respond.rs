//! Answers that the gateway makes itself: the one place on the data path that chooses an error status.

use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::{Response, StatusCode};

use super::body::Body;
use crate::rfc::Reason;

/// The status for a reason to refuse or to fail, and whether the connection is to be closed after it.
///
/// A request that was malformed closes: what follows it on the connection cannot be trusted to begin where it seems to.
pub fn status_of(reason: Reason) -> (StatusCode, Closes) {
    use Closes::{No, Yes};
    match reason {
        Reason::BadHost | Reason::BadTarget | Reason::BadFraming | Reason::BadConnection | Reason::RequestBody => {
            (StatusCode::BAD_REQUEST, Yes)
        }
        Reason::BadExpect => (StatusCode::EXPECTATION_FAILED, Yes),
        Reason::UnknownHost => (StatusCode::MISDIRECTED_REQUEST, Yes),
        Reason::MethodRefused => (StatusCode::METHOD_NOT_ALLOWED, Yes),
        Reason::UpgradeRefused => (StatusCode::NOT_IMPLEMENTED, Yes),
        Reason::UriTooLong => (StatusCode::URI_TOO_LONG, Yes),
        Reason::BodyTooLarge => (StatusCode::PAYLOAD_TOO_LARGE, Yes),
        Reason::RequestStalled => (StatusCode::REQUEST_TIMEOUT, Yes),
        Reason::LoopDetected => (StatusCode::LOOP_DETECTED, Yes),
        Reason::AddressRefused | Reason::SensitivePath => (StatusCode::FORBIDDEN, No),
        Reason::Unauthorized => (StatusCode::UNAUTHORIZED, No),
        Reason::RateLimited => (StatusCode::TOO_MANY_REQUESTS, No),
        Reason::TooManyRequests | Reason::BackendSaturated | Reason::BreakerOpen => {
            (StatusCode::SERVICE_UNAVAILABLE, No)
        }
        Reason::OnlyIfCached | Reason::BackendTimeout | Reason::WaitTimeout => (StatusCode::GATEWAY_TIMEOUT, No),
        Reason::BackendRefused | Reason::BackendBroken | Reason::Truncated => (StatusCode::BAD_GATEWAY, No),
        _ => (StatusCode::INTERNAL_SERVER_ERROR, No),
    }
}

/// Whether the connection is closed after the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closes {
    /// It is closed.
    Yes,
    /// It may go on.
    No,
}

/// An answer that says why there is no better one. Never kept by anybody.
pub fn error(reason: Reason, retry_after: Option<u64>) -> Response<Body> {
    let (status, closes) = status_of(reason);
    let text = serde_json::json!({
        "error": status.canonical_reason().unwrap_or("error"),
        "reason": reason.code(),
        "detail": reason.sentence(),
    });
    let mut response = json(status, &text);
    let headers = response.headers_mut();
    if closes == Closes::Yes {
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    if status == StatusCode::METHOD_NOT_ALLOWED {
        headers.insert(header::ALLOW, HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"));
    }
    if let Some(seconds) = retry_after {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

/// What a JSON answer says of a request that was accepted and cannot be carried out yet.
pub fn accepted(value: &serde_json::Value) -> Response<Body> {
    json(StatusCode::ACCEPTED, value)
}

/// A JSON answer of the gateway's own, not to be kept.
pub fn json(status: StatusCode, value: &serde_json::Value) -> Response<Body> {
    let mut text = value.to_string();
    text.push('\n');
    let mut response = Response::new(Body::from(Bytes::from(text)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A refusal or failure without a status of its own would be an anonymous 500.
    #[test]
    fn every_refusal_has_a_status_of_its_own() {
        let refusals = Reason::ALL.iter().skip_while(|reason| **reason != Reason::BadHost);
        let own = [Reason::StaleIfError, Reason::StaleWhileRevalidate, Reason::Internal];
        for reason in refusals.filter(|reason| !own.contains(reason)) {
            assert_ne!(status_of(*reason).0, StatusCode::INTERNAL_SERVER_ERROR, "{reason:?}");
        }
    }

    #[test]
    fn an_error_is_never_to_be_stored() {
        let response = error(Reason::BackendRefused, None);
        assert_eq!(response.headers()[header::CACHE_CONTROL], "no-store");
        assert_eq!(response.status(), StatusCode::BAD_GATEWAY);
    }
}
