//! What an unsafe request makes invalid: RFC 9111 §4.4.
//!
//! A successful PUT, POST, DELETE, or any method that is not known to be safe, may have changed the resource. So the
//! stored answers for its URL go, and those for the URLs that its answer names in Location and Content-Location, but
//! only on the same origin: no answer may empty another site's cache.

use http::header::{CONTENT_LOCATION, LOCATION};
use http::{HeaderMap, Method, StatusCode};

/// Whether an answer of this status to this method invalidates the target: [RFC 9111 §4.4].
///
/// [RFC 9111 §4.4]: https://www.rfc-editor.org/rfc/rfc9111.html#section-4.4
pub fn invalidates(method: &Method, status: StatusCode) -> bool {
    // "A "non-error response" is one with a 2xx (Successful) or 3xx (Redirection) status code."
    if !status.is_success() && !status.is_redirection() {
        return false;
    }
    // "… in response to an unsafe request method (including methods whose safety is unknown)."
    !is_safe(method)
}

/// The URLs to invalidate, each as path and query on the target's own origin, without repetition: the target as it was
/// given, then what `headers` of the answer name in Location and Content-Location, resolved against the target.
///
/// `target_authority` is host and optional port, `scheme` is `http` or `https`. References to other origins, with user
/// information, or that are no text are left out; fragments are cut and dot segments resolved ([RFC 3986 §5.2]).
///
/// [RFC 3986 §5.2]: https://www.rfc-editor.org/rfc/rfc3986.html#section-5.2
pub fn invalidated(
    target_authority: &str,
    scheme: &str,
    target_path_and_query: &str,
    headers: &HeaderMap,
) -> Vec<String> {
    let target = Target { authority: target_authority, scheme, path_and_query: target_path_and_query };
    let mut urls = vec![target_path_and_query.to_owned()];
    for name in [LOCATION, CONTENT_LOCATION] {
        for line in headers.get_all(name) {
            let named = line.to_str().ok().and_then(|reference| target.resolve(reference.trim()));
            urls.extend(named.filter(|url| !urls.contains(url)));
        }
    }
    urls
}

/// RFC 9110 §9.2.1.
fn is_safe(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE)
}

/// The URL that references are resolved against.
struct Target<'a> {
    authority: &'a str,
    scheme: &'a str,
    path_and_query: &'a str,
}

impl Target<'_> {
    /// A URI reference as path and query on this origin; `None` if it leads elsewhere.
    fn resolve(&self, reference: &str) -> Option<String> {
        let reference = reference.split('#').next().unwrap_or_default();
        if let Some((scheme, rest)) = split_scheme(reference) {
            let rest = rest.strip_prefix("//").filter(|_| scheme.eq_ignore_ascii_case(self.scheme))?;
            return self.on_this_origin(rest);
        }
        if let Some(rest) = reference.strip_prefix("//") {
            return self.on_this_origin(rest);
        }
        let (base_path, base_query) = split_query(self.path_and_query);
        let (path, query) = split_query(reference);
        if path.is_empty() {
            return Some(join(base_path, query.or(base_query)));
        }
        if path.starts_with('/') {
            return Some(join(path, query));
        }
        let folder = base_path.rfind('/').and_then(|slash| base_path.get(..=slash)).unwrap_or("/");
        Some(join(&format!("{folder}{path}"), query))
    }

    /// What follows `//` in a reference.
    fn on_this_origin(&self, rest: &str) -> Option<String> {
        let (authority, path_and_query) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        if !self.same_authority(authority) {
            return None;
        }
        let (path, query) = split_query(path_and_query);
        Some(join(if path.is_empty() { "/" } else { path }, query))
    }

    /// Host and port are those of the target; the port that the scheme implies may be left out. User information never
    /// matches.
    fn same_authority(&self, other: &str) -> bool {
        let default = if self.scheme.eq_ignore_ascii_case("https") { "443" } else { "80" };
        let (host, port) = split_port(self.authority, default);
        let (other_host, other_port) = split_port(other, default);
        host.eq_ignore_ascii_case(other_host) && port == other_port
    }
}

/// `scheme` and what follows its colon, if the reference has one (RFC 3986 §3.1).
fn split_scheme(reference: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = reference.split_once(':')?;
    let is_scheme = scheme.starts_with(|first: char| first.is_ascii_alphabetic())
        && scheme.chars().all(|letter| letter.is_ascii_alphanumeric() || matches!(letter, '+' | '-' | '.'));
    is_scheme.then_some((scheme, rest))
}

fn split_query(reference: &str) -> (&str, Option<&str>) {
    match reference.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (reference, None),
    }
}

/// Host and port; the colons of an IPv6 literal are none that begin a port.
fn split_port<'a>(authority: &'a str, default: &'a str) -> (&'a str, &'a str) {
    match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, if port.is_empty() { default } else { port }),
        _ => (authority, default),
    }
}

/// An absolute path, its dot segments resolved, and its query.
fn join(path: &str, query: Option<&str>) -> String {
    let mut url = without_dot_segments(path);
    if let Some(query) = query {
        url.push('?');
        url.push_str(query);
    }
    url
}

/// RFC 3986 §5.2.4, for a path that begins with a slash; always gives one that does.
fn without_dot_segments(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    let segments = path.strip_prefix('/').unwrap_or(path).split('/');
    let ends_in_folder = path.ends_with("/.") || path.ends_with("/..");
    for segment in segments {
        match segment {
            "." => {}
            ".." => {
                kept.pop();
            }
            other => kept.push(other),
        }
    }
    if ends_in_folder {
        kept.push("");
    }
    format!("/{}", kept.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rfc::notation::fields;
    use proptest::prelude::*;
    use std::time::Duration;

    #[test]
    fn section_4_4_a_non_error_to_an_unsafe_or_unknown_method() {
        for (method, status, expected) in [
            ("POST", 200, true),
            ("PUT", 204, true),
            ("DELETE", 302, true),
            ("PATCH", 200, true),
            ("M-SEARCH", 200, true),
            ("POST", 500, false),
            ("POST", 404, false),
            ("POST", 103, false),
            ("GET", 200, false),
            ("HEAD", 200, false),
            ("OPTIONS", 200, false),
            ("TRACE", 200, false),
        ] {
            let status = StatusCode::from_u16(status).expect("a status");
            assert_eq!(invalidates(&method.parse().expect(method), status), expected, "{method} {status}");
        }
    }

    /// Rows: a Location, and what it adds to `https://shop.test/a/b?q`.
    fn check(rows: &[(&str, Option<&str>)]) {
        for (reference, expected) in rows {
            let mut headers = HeaderMap::new();
            headers.insert(LOCATION, reference.parse().expect(reference));
            let urls = invalidated("shop.test", "https", "/a/b?q", &headers);
            assert_eq!(urls.first().map(String::as_str), Some("/a/b?q"));
            assert_eq!(urls.get(1).map(String::as_str), *expected, "{reference:?}");
        }
    }

    #[test]
    fn references_on_the_same_origin_are_resolved() {
        check(&[
            ("/x/y", Some("/x/y")),
            ("/x?y=/z", Some("/x?y=/z")),
            ("c", Some("/a/c")),
            ("c/d?e", Some("/a/c/d?e")),
            ("./c", Some("/a/c")),
            ("../c", Some("/c")),
            ("../../../c", Some("/c")),
            ("/x/./y/../z/", Some("/x/z/")),
            ("..", Some("/")),
            (".", Some("/a/")),
            ("?r", Some("/a/b?r")),
            ("", None),
            ("#top", None),
            ("/a/b?q#top", None),
            ("/x#y?z", Some("/x")),
            ("//shop.test/x", Some("/x")),
            ("https://shop.test/x?y", Some("/x?y")),
            ("HTTPS://Shop.Test:443/x", Some("/x")),
            ("https://shop.test", Some("/")),
            ("https://shop.test?y", Some("/?y")),
            ("a:b", None),
            ("./a:b", Some("/a/a:b")),
        ]);
    }

    #[test]
    fn foreign_origins_are_never_touched() {
        check(&[
            ("http://shop.test/x", None),
            ("https://other.test/x", None),
            ("https://shop.test:8443/x", None),
            ("https://user@shop.test/x", None),
            ("https://shop.test@other.test/x", None),
            ("https://shop.test.other.test/x", None),
            ("//other.test/x", None),
            ("mailto:x@shop.test", None),
            ("https:/x", None),
            ("https:x", None),
        ]);
    }

    #[test]
    fn both_fields_count_and_nothing_is_named_twice() {
        let headers =
            fields("location: /x | content-location: http://[::1]:8080/y | content-location: /x", Duration::ZERO);
        let urls = invalidated("[::1]:8080", "http", "/", &headers.expect("fields"));
        assert_eq!(urls, ["/", "/x", "/y"]);
        let headers = fields("location: http://[::1]/x", Duration::ZERO).expect("fields");
        assert_eq!(invalidated("[::1]", "http", "/", &headers), ["/", "/x"]);
    }

    proptest! {
        #[test]
        fn every_url_is_an_absolute_path(reference in "[ -~]{0,40}") {
            let mut headers = HeaderMap::new();
            headers.insert(LOCATION, reference.parse().expect("printable"));
            for url in invalidated("shop.test", "https", "/a/b?q", &headers) {
                prop_assert!(url.starts_with('/'), "{url:?}");
            }
        }
    }
}
