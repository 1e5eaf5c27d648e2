//! Heads written in one line, for tables of tests and for people.
//!
//! A request is `GET /path | authorization: x | cache-control: no-cache`, an answer `200 | cache-control: max-age=60`. A
//! value that starts with `@` is a date that many seconds from now: `expires: @+60`, `date: @0`, `last-modified: @-3600`.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};

use crate::rfc::format_http_date;

/// Reads `METHOD target | name: value | …`. `now` (since the Unix epoch) is what `@` dates count from. `None` if a part
/// is not what it should be.
pub fn request_head(text: &str, now: Duration) -> Option<(Method, String, HeaderMap)> {
    let (line, rest) = cut(text);
    let (method, target) = line.split_once(' ')?;
    Some((method.parse().ok()?, target.trim().to_owned(), fields(rest, now)?))
}

/// Reads `STATUS | name: value | …`, as [`request_head`] does.
pub fn response_head(text: &str, now: Duration) -> Option<(StatusCode, HeaderMap)> {
    let (line, rest) = cut(text);
    Some((line.parse().ok()?, fields(rest, now)?))
}

/// Reads `name: value | …`, as [`request_head`] does. Repeated names make several lines.
pub fn fields(text: &str, now: Duration) -> Option<HeaderMap> {
    let mut headers = HeaderMap::new();
    for field in text.split('|').map(str::trim).filter(|field| !field.is_empty()) {
        let (name, value) = field.split_once(':')?;
        let name: HeaderName = name.trim().parse().ok()?;
        headers.append(name, value_of(value.trim(), now)?);
    }
    Some(headers)
}

fn cut(text: &str) -> (&str, &str) {
    let (line, rest) = text.split_once('|').unwrap_or((text, ""));
    (line.trim(), rest)
}

fn value_of(text: &str, now: Duration) -> Option<HeaderValue> {
    let Some(offset) = text.strip_prefix('@') else { return HeaderValue::from_str(text).ok() };
    let offset: i64 = offset.parse().ok()?;
    let distance = Duration::from_secs(offset.unsigned_abs());
    let date = if offset < 0 { now.saturating_sub(distance) } else { now.saturating_add(distance) };
    Some(format_http_date(date))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_are_read() {
        let now = Duration::from_secs(100);
        let (method, target, headers) = request_head("GET /a?b | accept: x | accept: y: z", now).expect("a head");
        assert_eq!((method, target.as_str()), (Method::GET, "/a?b"));
        assert_eq!(headers.get_all("accept").iter().collect::<Vec<_>>(), ["x", "y: z"]);
        let (status, headers) = response_head("200 | date: @-40", now).expect("a head");
        assert_eq!(status, StatusCode::OK);
        assert_eq!(headers["date"], "Thu, 01 Jan 1970 00:01:00 GMT");
    }

    #[test]
    fn what_is_no_head_is_none() {
        let now = Duration::ZERO;
        assert!(request_head("GET", now).is_none());
        assert!(request_head("GET / | no colon", now).is_none());
        assert!(response_head("2000", now).is_none());
        assert!(response_head("200 | date: @soon", now).is_none());
    }
}
