//! Entity tags and lists of them ([RFC 9110 §8.8.3]).
//!
//! A tag is borrowed from the field it was read from, so that comparing a request's list with a stored tag costs no
//! allocation. A weak tag vouches for the meaning of a body, a strong one for its bytes.
//!
//! [RFC 9110 §8.8.3]: https://www.rfc-editor.org/rfc/rfc9110#section-8.8.3

use super::fields::{singleton, trim};
use http::header::{ETAG, HeaderMap, HeaderName, HeaderValue};

/// One entity tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ETag<'a> {
    /// Written with `W/`.
    pub weak: bool,
    /// What stands between the quotation marks; they are not part of it.
    pub opaque: &'a [u8],
}

impl<'a> ETag<'a> {
    /// Reads a field value that is one tag; `None` if it is anything else. Whitespace around it is ignored.
    pub fn parse(value: &'a [u8]) -> Option<Self> {
        let (tag, rest) = Self::prefix(trim(value))?;
        rest.is_empty().then_some(tag)
    }

    /// The tag of an answer; `None` if it has none, a malformed one, or several that differ.
    pub fn of(answer: &'a HeaderMap) -> Option<Self> {
        Self::parse(singleton(answer, &ETAG)?.as_bytes())
    }

    /// "two entity tags are equivalent if both are not weak and their opaque-tags match character-by-character"
    /// (RFC 9110 §8.8.3.2).
    pub fn strong_eq(&self, other: &ETag<'_>) -> bool {
        !self.weak && !other.weak && self.opaque == other.opaque
    }

    /// "two entity tags are equivalent if their opaque-tags match character-by-character, regardless of either or both
    /// being tagged as 'weak'" (RFC 9110 §8.8.3.2).
    pub fn weak_eq(&self, other: &ETag<'_>) -> bool {
        self.opaque == other.opaque
    }

    /// The field value; `None` only if `opaque` was made by hand from bytes that no field may carry.
    pub fn to_value(&self) -> Option<HeaderValue> {
        let mut bytes = Vec::with_capacity(self.opaque.len() + 4);
        bytes.extend_from_slice(if self.weak { b"W/\"" } else { b"\"" });
        bytes.extend_from_slice(self.opaque);
        bytes.push(b'"');
        HeaderValue::from_maybe_shared(bytes::Bytes::from(bytes)).ok()
    }

    /// A tag at the start of `bytes`, and what follows it.
    ///
    /// The grammar is `[ %s"W/" ] DQUOTE *etagc DQUOTE` with `etagc = %x21 / %x23-7E / obs-text`: no escapes, commas
    /// allowed, the W is upper-case.
    fn prefix(bytes: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let (weak, quoted) = bytes.strip_prefix(b"W/").map_or((false, bytes), |quoted| (true, quoted));
        let inner = quoted.strip_prefix(b"\"")?;
        let end = inner.iter().position(|&byte| !is_etagc(byte))?;
        let (opaque, rest) = inner.split_at(end);
        Some((ETag { weak, opaque }, rest.strip_prefix(b"\"")?))
    }
}

fn is_etagc(byte: u8) -> bool {
    matches!(byte, 0x21 | 0x23..=0x7e | 0x80..)
}

/// What If-Match or If-None-Match asks for (RFC 9110 §13.1.1, §13.1.2).
#[derive(Clone, Copy, Debug)]
pub enum ETags<'a> {
    /// "*": any current representation.
    Any,
    /// A list; malformed members are passed over.
    List(&'a HeaderMap, &'a HeaderName),
}

impl<'a> ETags<'a> {
    /// Does any member satisfy `test`? "*" does.
    pub fn any(self, test: impl FnMut(ETag<'a>) -> bool) -> bool {
        match self {
            ETags::Any => true,
            ETags::List(request, name) => {
                request.get_all(name).iter().flat_map(|line| Members { rest: line.as_bytes() }).any(test)
            }
        }
    }
}

/// The tags of the field `name`, all lines together; `None` if the request does not carry it.
///
/// "*" counts only where it is the whole field, as the grammar has it.
pub fn etags<'a>(request: &'a HeaderMap, name: &'a HeaderName) -> Option<ETags<'a>> {
    let mut lines = request.get_all(name).iter();
    let first = lines.next()?;
    let star = trim(first.as_bytes()) == b"*" && lines.next().is_none();
    Some(if star { ETags::Any } else { ETags::List(request, name) })
}

/// Walks one line. Each step consumes at least one byte.
struct Members<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Members<'a> {
    type Item = ETag<'a>;

    fn next(&mut self) -> Option<ETag<'a>> {
        loop {
            let start = self.rest.iter().position(|byte| !matches!(byte, b' ' | b'\t' | b','))?;
            let here = self.rest.get(start..).unwrap_or_default();
            let found = ETag::prefix(here);
            let after = found.map_or(here, |(_, rest)| rest);
            let comma = after.iter().position(|&byte| byte == b',').unwrap_or(after.len());
            let (trailing, rest) = after.split_at(comma);
            self.rest = rest;
            // A tag with something after it is malformed: `"a"b`.
            if let Some((tag, _)) = found.filter(|_| trim(trailing).is_empty()) {
                return Some(tag);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::fields::tests::head;
    use super::*;
    use http::header::IF_NONE_MATCH;
    use proptest::prelude::*;

    fn tag(text: &str) -> Option<(bool, &str)> {
        ETag::parse(text.as_bytes()).and_then(|tag| Some((tag.weak, std::str::from_utf8(tag.opaque).ok()?)))
    }

    #[test]
    fn the_grammar_is_exact() {
        let rows = [
            ("\"xyzzy\"", Some((false, "xyzzy"))),
            ("W/\"xyzzy\"", Some((true, "xyzzy"))),
            ("\"\"", Some((false, ""))),
            ("\"a,b\"", Some((false, "a,b"))),
            ("\"a\\\"", Some((false, "a\\"))),
            ("\"f\u{fc}r\"", Some((false, "f\u{fc}r"))),
            (" \"a\"\t", Some((false, "a"))),
            ("", None),
            ("\"", None),
            ("abc", None),
            ("\"abc", None),
            ("abc\"", None),
            ("w/\"abc\"", None),
            ("W\\\"abc\"", None),
            ("W\"abc\"", None),
            ("W/ \"abc\"", None),
            ("\"a b\"", None),
            ("\"a\" \"b\"", None),
            ("\"a\", \"b\"", None),
            ("*", None),
        ];
        for (text, expected) in rows {
            assert_eq!(tag(text), expected, "{text}");
        }
    }

    #[test]
    fn section_8_8_3_2_comparison() {
        let rows = [
            ("W/\"1\"", "W/\"1\"", false, true),
            ("W/\"1\"", "W/\"2\"", false, false),
            ("W/\"1\"", "\"1\"", false, true),
            ("\"1\"", "\"1\"", true, true),
        ];
        for (one, other, strong, weak) in rows {
            let (Some(one), Some(other)) = (ETag::parse(one.as_bytes()), ETag::parse(other.as_bytes())) else {
                panic!("{one} or {other} is no tag");
            };
            assert_eq!((one.strong_eq(&other), one.weak_eq(&other)), (strong, weak), "{one:?} {other:?}");
        }
    }

    #[test]
    fn lists_pass_over_malformed_members() {
        let rows = [
            ("if-none-match: \"a\"", "a"),
            ("if-none-match: \"a\", W/\"b\",\"c\"", "a|b|c"),
            ("if-none-match: \"a\" | if-none-match: \"b\"", "a|b"),
            ("if-none-match: , \"a,b\" ,,\t\"c\",", "a,b|c"),
            ("if-none-match: a, \"b\"", "b"),
            ("if-none-match: \"a\"x, \"b\"", "b"),
            ("if-none-match: \"a b\", \"c\"", "c"),
            ("if-none-match: \"open, \"b\"", "b"),
            ("if-none-match: *, \"a\"", "a"),
            ("if-none-match: ", ""),
            ("if-none-match: \"", ""),
        ];
        for (request, expected) in rows {
            let (request, mut seen) = (head(request), Vec::new());
            if let Some(tags) = etags(&request, &IF_NONE_MATCH) {
                tags.any(|tag| {
                    seen.push(String::from_utf8_lossy(tag.opaque).into_owned());
                    false
                });
            }
            assert_eq!(seen.join("|"), expected, "{request:?}");
        }
    }

    #[test]
    fn a_star_is_the_whole_field_or_nothing() {
        let rows = [("if-none-match: *", true), ("if-none-match: * | if-none-match: *", false), ("x: *", false)];
        for (request, any) in rows {
            assert_eq!(matches!(etags(&head(request), &IF_NONE_MATCH), Some(ETags::Any)), any, "{request}");
        }
    }

    #[test]
    fn two_different_tags_are_none() {
        assert_eq!(ETag::of(&head("etag: \"a\" | etag: \"b\"")), None);
        assert!(ETag::of(&head("etag: \"a\" | etag: \"a\"")).is_some());
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic_and_tags_survive_a_round_trip(bytes in any::<Vec<u8>>()) {
            if let Some(tag) = ETag::parse(&bytes)
                && let Some(value) = tag.to_value()
            {
                prop_assert_eq!(ETag::parse(value.as_bytes()), Some(tag));
            }
            let count = Members { rest: &bytes }.count();
            prop_assert!(count <= bytes.len());
        }

        #[test]
        fn a_list_of_tags_is_read_back(tags in proptest::collection::vec((any::<bool>(), "[!#-~]{0,8}"), 0..6)) {
            let line = tags.iter().map(|(weak, opaque)| format!("{}\"{opaque}\"", if *weak { "W/" } else { "" }));
            let line = line.collect::<Vec<_>>().join(" , ");
            let read: Vec<_> = Members { rest: line.as_bytes() }
                .map(|tag| (tag.weak, String::from_utf8_lossy(tag.opaque).into_owned()))
                .collect();
            prop_assert_eq!(read, tags);
        }
    }
}
