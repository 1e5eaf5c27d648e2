//! Who may come in.

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::header::{self, HeaderMap, HeaderValue};
use http::{Method, StatusCode};
use serde_json::json;

use super::Admin;
use crate::serve::Secret;

/// Lets a request through, or says why not.
pub(super) async fn guard(State(admin): State<Admin>, request: Request, next: Next) -> Response {
    match check(admin.token.as_ref(), &request) {
        Ok(()) => next.run(request).await,
        Err(refused) => refused.into_response(),
    }
}

/// A refusal: status and what to do about it.
#[derive(Debug, PartialEq, Eq)]
struct Refused(StatusCode, &'static str);

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let mut response = (self.0, axum::Json(json!({ "error": self.1 }))).into_response();
        if self.0 == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

fn check<B>(token: Option<&Secret>, request: &http::Request<B>) -> Result<(), Refused> {
    let headers = request.headers();
    match token {
        Some(token) if !carries(headers, token) => {
            return Err(Refused(StatusCode::UNAUTHORIZED, "send the admin token as `Authorization: Bearer …`"));
        }
        None if !is_local_name(request) => {
            return Err(Refused(
                StatusCode::MISDIRECTED_REQUEST,
                "without a token the admin listener answers only to an address or localhost in Host",
            ));
        }
        _ => {}
    }
    if headers.get("sec-fetch-site").is_some_and(|site| site != "same-origin" && site != "none") {
        return Err(Refused(StatusCode::FORBIDDEN, "cross-site requests are refused"));
    }
    let changes = !matches!(*request.method(), Method::GET | Method::HEAD);
    if changes && !is_json(headers) {
        return Err(Refused(StatusCode::UNSUPPORTED_MEDIA_TYPE, "send JSON with `Content-Type: application/json`"));
    }
    Ok(())
}

fn carries(headers: &HeaderMap, token: &Secret) -> bool {
    let given = headers.get(header::AUTHORIZATION).map(HeaderValue::as_bytes).unwrap_or_default();
    given.strip_prefix(b"Bearer ").is_some_and(|given| token.is(given))
}

/// A name that a foreign site's DNS could not have pointed here.
fn is_local_name<B>(request: &http::Request<B>) -> bool {
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
    let authority = host.or_else(|| request.uri().authority().map(http::uri::Authority::as_str));
    let Some(authority) = authority else { return false };
    let name = match authority.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => authority,
    };
    let address = name.trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost") || address.parse::<std::net::IpAddr>().is_ok()
}

fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    kind.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(token: Option<&str>, method: &str, headers: &[(&str, &str)]) -> u16 {
        let mut request = http::Request::builder().method(method).uri("/v1/purge");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        check(token.map(Secret::new).as_ref(), &request.body(()).unwrap())
            .map_or_else(|refused| refused.0.as_u16(), |()| 200)
    }

    const JSON: (&str, &str) = ("content-type", "application/json");

    #[test]
    fn ad_03_only_the_token_opens() {
        let cases: &[(&[(&str, &str)], u16)] = &[
            (&[("authorization", "Bearer secret")], 200),
            (&[("authorization", "Bearer secre")], 401),
            (&[("authorization", "Bearer secrett")], 401),
            (&[("authorization", "Basic secret")], 401),
            (&[], 401),
        ];
        for (headers, expected) in cases {
            assert_eq!(status(Some("secret"), "GET", headers), *expected, "{headers:?}");
        }
    }

    #[test]
    fn ad_04_a_form_on_another_site_changes_nothing() {
        let host = ("host", "127.0.0.1:9090");
        assert_eq!(status(None, "POST", &[host, JSON]), 200);
        assert_eq!(status(None, "POST", &[host, ("content-type", "text/plain")]), 415);
        assert_eq!(status(None, "POST", &[host]), 415);
        assert_eq!(status(None, "POST", &[host, JSON, ("sec-fetch-site", "cross-site")]), 403);
        assert_eq!(status(None, "POST", &[host, JSON, ("sec-fetch-site", "same-origin")]), 200);
    }

    #[test]
    fn ad_05_a_foreign_name_is_refused_where_no_token_is() {
        for (host, expected) in
            [("127.0.0.1:9090", 200), ("[::1]:9090", 200), ("localhost:9090", 200), ("evil.example", 421), ("", 421)]
        {
            assert_eq!(status(None, "GET", &[("host", host)]), expected, "{host}");
        }
        assert_eq!(status(None, "GET", &[]), 421);
    }
}
