//! Fields that belong to one connection, and the marks a gateway leaves ([RFC 9110 §7.6]).
//!
//! What is said to the next hop only must not travel on, and must not be stored. The next hop says itself, in
//! Connection, which further fields those are: that is a lever in the client's hand. A client that could have Host,
//! Cookie or Cache-Control dropped on the way would make the backend answer another question than the one that was
//! keyed. So a request that names such a field is refused, and an answer that does is not obeyed.
//!
//! [RFC 9110 §7.6]: https://www.rfc-editor.org/rfc/rfc9110#section-7.6

use super::Reason;
use http::Version;
use http::header::{CONNECTION, HeaderMap, HeaderName, HeaderValue, VIA};

/// RFC 8586; not among the names that `http` knows.
static CDN_LOOP: HeaderName = HeaderName::from_static("cdn-loop");

/// More options than this in a request's Connection are an attack, not a need.
const MAX_OPTIONS: usize = 100;

/// Removes from a request what is meant for this hop only. RFC 9110 §7.6.1.
///
/// Call it on the client's fields before the gateway adds its own. Look at Upgrade before, it is gone afterwards.
///
/// # Errors
/// [`Reason::BadConnection`] if Connection names a field that must reach the backend, or has more than 100 options.
/// The fields are then untouched.
pub fn strip_hop_by_hop_request(headers: &mut HeaderMap) -> Result<(), Reason> {
    let mut named = Vec::new();
    for (count, option) in options(headers).enumerate() {
        if count >= MAX_OPTIONS {
            return Err(Reason::BadConnection);
        }
        let Some(name) = field_named_by(option) else { continue };
        // "A sender MUST NOT send a connection option corresponding to a field that is intended for all recipients of
        // the content. For example, Cache-Control is never appropriate as a connection option".
        if is_for_all_recipients(&name) {
            return Err(Reason::BadConnection);
        }
        named.push(name);
    }
    strip(headers, named, |name| is_hop_by_hop(name) || matches!(name, "trailer" | "http2-settings"));
    Ok(())
}

/// Removes from an answer what is meant for this hop only, before it is stored or sent. RFC 9110 §7.6.1, RFC 9111 §3.1.
///
/// Content-Length stays: who sends the answer computes it anew. Trailer stays too, as it announces what follows the
/// body; who drops the trailers drops it as well. A connection option that names a field which decides about caching
/// or content (Cache-Control, Vary, Set-Cookie …) is not obeyed: without that field the answer would say more than its
/// author permitted.
pub fn strip_hop_by_hop_response(headers: &mut HeaderMap) {
    let named = options(headers).filter_map(field_named_by).filter(|name| !is_for_all_recipients(name)).collect();
    strip(headers, named, is_hop_by_hop);
}

/// Adds this hop to Via: the version the message was received in, and our name. RFC 9110 §7.6.3.
///
/// A pseudonym that no field may carry adds nothing.
pub fn append_via(headers: &mut HeaderMap, version: Version, pseudonym: &str) {
    let received = match version {
        Version::HTTP_09 => "0.9",
        Version::HTTP_10 => "1.0",
        Version::HTTP_2 => "2",
        Version::HTTP_3 => "3",
        _ => "1.1",
    };
    if let Ok(value) = HeaderValue::try_from(format!("{received} {pseudonym}")) {
        headers.append(VIA, value);
    }
}

/// Adds our name to CDN-Loop. RFC 8586 §2. A pseudonym that no field may carry adds nothing.
pub fn append_cdn_loop(headers: &mut HeaderMap, pseudonym: &str) {
    if let Ok(value) = HeaderValue::from_str(pseudonym) {
        headers.append(&CDN_LOOP, value);
    }
}

/// Has the request passed through us before? True if a member of Via was received by `pseudonym`, or CDN-Loop carries
/// it. RFC 9110 §7.6.3, RFC 8586 §2. Case does not count.
pub fn names_us(headers: &HeaderMap, pseudonym: &str) -> bool {
    let ours = |name: &[u8]| name.eq_ignore_ascii_case(pseudonym.as_bytes());
    // One look at each name is cheaper than two searches; a client's own request has neither.
    if !headers.keys().any(|name| *name == VIA || *name == CDN_LOOP) {
        return false;
    }
    let mut via = headers.get_all(VIA).iter().flat_map(|line| members(line.as_bytes()));
    let mut cdn_loop = headers.get_all(&CDN_LOOP).iter().flat_map(|line| members(line.as_bytes()));
    // received-protocol RWS received-by [ RWS comment ]
    via.any(|member| words(member).nth(1).is_some_and(ours))
        // cdn-id *( OWS ";" OWS parameter )
        || cdn_loop.any(|member| member.split(|&byte| byte == b';').next().map(trim).is_some_and(ours))
}

/// The value of a field that may appear once. `None` if it is absent, or if several lines contradict each other:
/// then nobody knows what was meant (RFC 9110 §5.3).
pub fn singleton<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a HeaderValue> {
    let mut lines = headers.get_all(name).iter();
    let first = lines.next()?;
    lines.all(|line| line == first).then_some(first)
}

/// Removes the fields in `named` and those that `always` holds for.
fn strip(headers: &mut HeaderMap, named: Vec<HeaderName>, always: impl Fn(&str) -> bool) {
    for name in named {
        headers.remove(name);
    }
    // One look at each name is cheaper than a search for every name that could be there; mostly there is none.
    while let Some(name) = headers.keys().find(|name| always(name.as_str())).cloned() {
        headers.remove(name);
    }
}

/// Does the field of this name, in lower case, concern one connection, in requests and answers alike? RFC 9110 §7.6.1.
pub fn is_hop_by_hop(name: &str) -> bool {
    matches!(
        name,
        "connection"
            | "keep-alive"
            | "proxy-authenticate"
            | "proxy-authentication-info"
            | "proxy-authorization"
            | "proxy-connection"
            | "te"
            | "transfer-encoding"
            | "upgrade"
    )
}

/// The fields without which a message says something else: about its target, its sender, its content, or how long and
/// for whom it may be kept.
fn is_for_all_recipients(name: &HeaderName) -> bool {
    // Targeted fields end like this, RFC 9213 §2.1.
    FOR_ALL_RECIPIENTS.contains(&name.as_str()) || name.as_str().ends_with("-cache-control")
}

const FOR_ALL_RECIPIENTS: &[&str] = &[
    // The message and its parties.
    "host",
    "content-length",
    "transfer-encoding",
    "expect",
    "authorization",
    "cookie",
    "set-cookie",
    "www-authenticate",
    "location",
    "via",
    "cdn-loop",
    // The content.
    "content-type",
    "content-encoding",
    "content-range",
    "content-location",
    "accept-ranges",
    "range",
    "if-match",
    "if-none-match",
    "if-modified-since",
    "if-unmodified-since",
    "if-range",
    "etag",
    "last-modified",
    // Its keeping.
    "cache-control",
    "pragma",
    "surrogate-control",
    "expires",
    "age",
    "date",
    "vary",
    "cache-status",
    "cache-groups",
    "cache-group-invalidation",
    "cache-tag",
    "edge-cache-tag",
    "surrogate-key",
    "xkey",
];

/// The non-empty connection options of all lines.
fn options(headers: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    let lines = headers.get_all(CONNECTION).iter();
    lines.flat_map(|line| split_commas(line.as_bytes())).filter(|option| !option.is_empty())
}

/// The field that a connection option names. `close` and `keep-alive` name none, nor does what cannot be a field name.
fn field_named_by(option: &[u8]) -> Option<HeaderName> {
    if option.eq_ignore_ascii_case(b"close") || option.eq_ignore_ascii_case(b"keep-alive") {
        return None;
    }
    HeaderName::from_bytes(option).ok()
}

/// The members of a list of tokens, without the whitespace around them; empty ones included. RFC 9110 §5.6.1.
pub(super) fn split_commas(line: &[u8]) -> impl Iterator<Item = &[u8]> + Clone {
    line.split(|&byte| byte == b',').map(trim)
}

/// The parts of `text` between spaces and tabs; none of them is empty.
pub(super) fn words(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|byte| matches!(byte, b' ' | b'\t')).filter(|word| !word.is_empty())
}

/// Without the spaces and tabs around it.
pub(super) fn trim(mut text: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = text {
        text = rest;
    }
    text
}

/// A field value from text that this room wrote itself. Such text is visible ASCII; were it not, the value is empty.
pub(super) fn own_words(text: String) -> HeaderValue {
    HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static(""))
}

/// The members of a list whose members may hold quoted strings or comments: commas in these do not separate. Trimmed,
/// empty ones included; a line has at least one. What is opened and never closed reaches to the end of the line.
pub(super) fn members(line: &[u8]) -> Members<'_> {
    Members { rest: Some(line) }
}

/// See [`members`].
#[derive(Clone)]
pub(super) struct Members<'a> {
    rest: Option<&'a [u8]>,
}

impl<'a> Iterator for Members<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let line = self.rest.take()?;
        let end = separator(line).unwrap_or(line.len());
        let (member, rest) = line.split_at(end);
        self.rest = rest.get(1..);
        Some(trim(member))
    }
}

/// Where the first comma stands that is in no quoted string and no comment.
fn separator(line: &[u8]) -> Option<usize> {
    let (mut quoted, mut depth, mut escaped) = (false, 0_usize, false);
    for (at, &byte) in line.iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted || depth > 0 => escaped = true,
            b'"' if depth == 0 => quoted = !quoted,
            _ if quoted => {}
            b'(' => depth += 1,
            b')' => depth = depth.saturating_sub(1),
            b',' if depth == 0 => return Some(at),
            _ => {}
        }
    }
    None
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;

    /// `name: value | name: value`, as the fields of a message.
    pub(in super::super) fn head(text: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for line in text.split('|').filter(|line| !line.trim().is_empty()) {
            let (name, value) = line.split_once(':').expect("a line has a colon");
            let value = HeaderValue::from_bytes(value.trim().as_bytes()).expect("a value");
            headers.append(HeaderName::from_bytes(name.trim().as_bytes()).expect("a name"), value);
        }
        headers
    }

    /// The reverse of [`head`], sorted.
    pub(in super::super) fn lines(headers: &HeaderMap) -> String {
        let line = |(name, value): (&HeaderName, &HeaderValue)| {
            format!("{name}: {}", String::from_utf8_lossy(value.as_bytes()))
        };
        let mut lines: Vec<String> = headers.iter().map(line).collect();
        lines.sort();
        lines.join(" | ")
    }

    fn request(before: &str, after: Result<&str, Reason>) {
        let mut headers = head(before);
        let result = strip_hop_by_hop_request(&mut headers).map(|()| lines(&headers));
        assert_eq!(result.as_deref().map_err(|reason| *reason), after, "{before}");
        if result.is_err() {
            assert_eq!(headers, head(before), "a refused request is left as it was");
        }
    }

    #[test]
    fn a_request_loses_what_was_meant_for_this_hop() {
        request("", Ok(""));
        request("host: a | accept: b", Ok("accept: b | host: a"));
        request("connection: close | host: a", Ok("host: a"));
        request("connection: x-internal | x-internal: 1 | x-other: 2", Ok("x-other: 2"));
        request("connection: A, b | connection: c | a: 1 | b: 2 | c: 3 | d: 4", Ok("d: 4"));
        request("connection: close, X-Forwarded-For | x-forwarded-for: 1", Ok(""));
        request("connection: x | x: 1 | x: 2", Ok(""));
        request("connection: , ,close,, | a: 1", Ok("a: 1"));
        request("connection: f\u{fc}r, a b, \"x\", = | a: 1", Ok("a: 1"));
        request("connection: upgrade, http2-settings | upgrade: h2c | http2-settings: AAA", Ok(""));
        request(
            "te: gzip | proxy-authorization: x | proxy-connection: x | keep-alive: 5 | upgrade: x | trailer: y",
            Ok(""),
        );
        request("transfer-encoding: chunked | proxy-authenticate: x | http2-settings: AAA", Ok(""));
    }

    #[test]
    fn a_request_that_would_drop_what_the_backend_needs_is_refused() {
        for name in [
            "Host",
            "Content-Length",
            "Transfer-Encoding",
            "Authorization",
            "Cookie",
            "Cache-Control",
            "Range",
            "If-None-Match",
            "Via",
            "CDN-Loop",
            "x-y-cache-control",
        ] {
            request(&format!("connection: close, {name}"), Err(Reason::BadConnection));
            request(&format!("connection: {name} | {name}: 1"), Err(Reason::BadConnection));
        }
    }

    #[test]
    fn a_hundred_options_are_enough() {
        request(&format!("connection: {}", "x,".repeat(100)), Ok(""));
        request(&format!("connection: {}", "x,".repeat(101)), Err(Reason::BadConnection));
        request(&format!("connection: {}", "close,".repeat(1000)), Err(Reason::BadConnection));
    }

    fn response(before: &str, after: &str) {
        let mut headers = head(before);
        strip_hop_by_hop_response(&mut headers);
        assert_eq!(lines(&headers), after, "{before}");
    }

    #[test]
    fn an_answer_loses_what_was_meant_for_this_hop() {
        response("connection: a, b | a: 1 | b: 2 | c: 3", "c: 3");
        response("keep-alive: 5 | proxy-authenticate: x | proxy-authentication-info: x | proxy-connection: x", "");
        response("transfer-encoding: chunked | upgrade: h2c | te: x | proxy-authorization: x", "");
        response("content-length: 5 | trailer: x", "content-length: 5 | trailer: x");
    }

    #[test]
    fn an_answer_keeps_what_decides_about_it() {
        response("connection: cache-control | cache-control: private", "cache-control: private");
        response("connection: Vary, Set-Cookie, a | vary: x | set-cookie: y | a: 1", "set-cookie: y | vary: x");
        response("connection: cdn-cache-control | cdn-cache-control: no-store", "cdn-cache-control: no-store");
    }

    #[test]
    fn via_names_the_version_received() {
        for (version, expected) in [
            (Version::HTTP_10, "via: 1.0 forebay | via: 1.1 a"),
            (Version::HTTP_11, "via: 1.1 a | via: 1.1 forebay"),
            (Version::HTTP_2, "via: 1.1 a | via: 2 forebay"),
        ] {
            let mut headers = head("via: 1.1 a");
            append_via(&mut headers, version, "forebay");
            assert_eq!(lines(&headers), expected);
            assert_eq!(headers.get_all(VIA).iter().next_back().map(|v| v.as_bytes().ends_with(b"forebay")), Some(true));
        }
    }

    #[test]
    fn a_name_that_no_field_may_carry_is_not_written() {
        let mut headers = HeaderMap::new();
        append_via(&mut headers, Version::HTTP_11, "a\r\nb: c");
        append_cdn_loop(&mut headers, "a\nb");
        assert!(headers.is_empty());
    }

    #[test]
    fn a_loop_shows_in_via_or_cdn_loop() {
        for (fields, expected) in [
            ("", false),
            ("via: 1.1 forebay", true),
            ("via: 1.1 Forebay", true),
            ("via: 1.1 other", false),
            ("via: 1.1 other, 2\tforebay (comment)", true),
            ("via: 1.0 a | via: HTTP/1.1 forebay", true),
            ("via: 1.1 forebay-2", false),
            ("via: forebay", false),
            ("via: 1.1 a (x, 1.1 forebay)", false),
            ("via: ,", false),
            ("cdn-loop: forebay", true),
            ("cdn-loop: a, forebay; v=1", true),
            ("cdn-loop: a; x=\"b, forebay\"", false),
            ("cdn-loop: forebay.example", false),
        ] {
            assert_eq!(names_us(&head(fields), "forebay"), expected, "{fields}");
        }
        let mut headers = HeaderMap::new();
        append_cdn_loop(&mut headers, "forebay");
        assert!(names_us(&headers, "forebay"));
    }

    #[test]
    fn a_singleton_that_contradicts_itself_is_none() {
        assert_eq!(
            singleton(&head("date: a | date: a"), &http::header::DATE).map(HeaderValue::as_bytes),
            Some(&b"a"[..])
        );
        assert_eq!(singleton(&head("date: a | date: b"), &http::header::DATE), None);
        assert_eq!(singleton(&head(""), &http::header::DATE), None);
    }

    #[test]
    fn commas_in_quotes_and_comments_do_not_separate() {
        for (line, expected) in [
            ("", vec![""]),
            (" a ,b", vec!["a", "b"]),
            ("a,,", vec!["a", "", ""]),
            ("\"a,b\",c", vec!["\"a,b\"", "c"]),
            ("\"a\\\",b\",c", vec!["\"a\\\",b\"", "c"]),
            ("x (a,(b),c), d", vec!["x (a,(b),c)", "d"]),
            ("(\",), a", vec!["(\",)", "a"]),
            ("\"(\", a", vec!["\"(\"", "a"]),
            ("\"open, a", vec!["\"open, a"]),
            ("), a", vec![")", "a"]),
        ] {
            let expected: Vec<&[u8]> = expected.iter().map(|member| member.as_bytes()).collect();
            assert_eq!(members(line.as_bytes()).collect::<Vec<_>>(), expected, "{line}");
        }
    }

    proptest! {
        #[test]
        fn any_connection_line_is_read_without_panic(
            bytes in proptest::collection::vec(any::<u8>(), 0..300),
            tokens in "([a-e, ]|close|te){0,80}",
        ) {
            for bytes in [&bytes[..], tokens.as_bytes()] {
                let Ok(value) = HeaderValue::from_bytes(bytes) else { continue };
                let mut headers = head("a: 1 | b: 2 | c: 3 | host: x | te: y");
                headers.append(CONNECTION, value.clone());
                headers.append(VIA, value.clone());
                headers.append(&CDN_LOOP, value);
                let _ = names_us(&headers, "a");
                let mut answer = headers.clone();
                strip_hop_by_hop_response(&mut answer);
                prop_assert!(!answer.contains_key(CONNECTION) && answer.contains_key("host"));
                if strip_hop_by_hop_request(&mut headers).is_ok() {
                    prop_assert!(!headers.contains_key(CONNECTION) && headers.contains_key("host"));
                }
            }
        }
    }
}
