//! Dot segments. The gateway matches and keys a path as received; a backend that resolves `..` first sees another path
//! than the route did. Such a path must not be answered from the cache nor stored: `/static/..%2faccount` would keep a
//! private page under a public rule.
//!
//! Spellings vary by backend, so all are taken as meant: raw, encoded, encoded several times, with `\` for a slash, or
//! with a path parameter behind (`..;x=1`, which Java servers drop). A mistake in this direction costs one backend
//! request; in the other direction it leaks.

use memchr::memchr2;

use super::percent::escape_at;

/// Whether some segment of `path` (raw, without query) is `.` or `..` in any spelling.
///
/// Linear and without allocation; a path with neither `/.` nor an escape nor a backslash is let through at once.
pub fn has_dot_segments(path: &str) -> bool {
    let raw = path.as_bytes();
    let plain = memchr2(b'%', b'\\', raw).is_none();
    if plain && !raw.windows(2).any(|pair| pair == b"/.") && raw.first() != Some(&b'.') {
        return false;
    }
    let mut segment = Segment::Dots(0);
    let mut at = 0;
    while let Some((byte, next)) = read(raw, at) {
        at = next;
        segment = match (byte, segment) {
            (b'/' | b'\\', Segment::Dots(1 | 2) | Segment::DotsThenMore) => return true,
            (b'/' | b'\\', _) => Segment::Dots(0),
            (b'.', Segment::Dots(dots)) => Segment::Dots(dots.saturating_add(1)),
            // What ends a segment's name in one backend or another: parameters, query, fragment, a C string's end.
            (b';' | b'?' | b'#' | 0, Segment::Dots(1 | 2)) | (_, Segment::DotsThenMore) => Segment::DotsThenMore,
            _ => Segment::Name,
        };
    }
    matches!(segment, Segment::Dots(1 | 2) | Segment::DotsThenMore)
}

#[derive(Clone, Copy)]
enum Segment {
    /// So many dots so far, and nothing else.
    Dots(u8),
    /// One or two dots, then something that some backends ignore.
    DotsThenMore,
    /// An ordinary name.
    Name,
}

/// The byte at `at` with all layers of escapes taken off (`%252e` is a dot), and where the next one begins.
fn read(raw: &[u8], at: usize) -> Option<(u8, usize)> {
    let byte = *raw.get(at)?;
    if byte != b'%' {
        return Some((byte, at + 1));
    }
    let mut digits = at + 1;
    while escape_at(raw, digits) == Some(b'%') {
        digits += 2;
    }
    Some(escape_at(raw, digits).map_or((b'%', digits), |decoded| (decoded, digits + 2)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(expected: bool, paths: &[&str]) {
        for path in paths {
            assert_eq!(has_dot_segments(path), expected, "{path}");
        }
    }

    #[test]
    fn raw_and_encoded_dot_segments_are_found() {
        check(
            true,
            &[
                "/a/../b",
                "/a/./b",
                "/..",
                "/.",
                "/a/..",
                "/a/.",
                "/static/x/../../account",
                "/static/%2e%2e/account",
                "/static/%2E./account",
                "/static/.%2e/account",
                "/%2e",
                "..",
                "../a",
            ],
        );
    }

    #[test]
    fn encoded_slashes_backslashes_and_parameters_hide_nothing() {
        check(
            true,
            &[
                "/static/..%2faccount",
                "/static/..%2Faccount",
                "/static/..;/account",
                "/static/..;x=1/account",
                "/static/.;/account",
                "/static/..%3b/account",
                "/static/..%00/account",
                "/static/..%3fx",
                "/static\\..\\account",
                "/static/..\\account",
                "/static%5c..%5caccount",
                "/account%2f..%2fstatic%2fx.js",
                "/account%2f..%2f..%2frobots.txt",
                "/static/%252e%252e%252faccount",
                "/static/..%252faccount",
                "/static/%25252e%25252e/account",
            ],
        );
    }

    #[test]
    fn ordinary_names_with_dots_and_delimiters_are_let_through() {
        check(
            false,
            &[
                "",
                "/",
                "*",
                "/a/b",
                "/a.b/c..d",
                "/.well-known/x",
                "/...",
                "/a/..b",
                "/a/b..",
                "/a/.css",
                "/account%2fx.css",
                "/account%252fx.css",
                "/account;x.css",
                "/account%3bx.css",
                "/account%00x.css",
                "/account%0ax.css",
                "/account%20x.css",
                "/account%23x.css",
                "/account%3fx.css",
                "/account%5cx.css",
                "/account\\x.css",
                "/account!x.css",
                "/account%ffx.css",
                "/100%",
                "/%",
                "/%25",
                "/%zz/..a",
                "/a;b=../c",
            ],
        );
    }
}
