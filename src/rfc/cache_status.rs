//! Cache-Status: what became of a request here, for whoever reads the answer ([RFC 9211]).
//!
//! `forebay; hit; ttl=37; detail=memory` goes out with every hit, so it is written by hand into a small buffer on the
//! stack; the tests hold it to a structured-field parser. A parameter that would not fit is left out as a whole, so
//! what is written is always valid.
//!
//! [RFC 9211]: https://www.rfc-editor.org/rfc/rfc9211

use http::StatusCode;
use http::header::{CACHE_STATUS, HeaderMap, HeaderValue};

/// Why a request was forwarded. [RFC 9211 §2.2].
///
/// [RFC 9211 §2.2]: https://www.rfc-editor.org/rfc/rfc9211#section-2.2
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Forward {
    /// The cache was configured to not handle this request.
    Bypass,
    /// The method's semantics require it.
    Method,
    /// Nothing is stored for the URL.
    UriMiss,
    /// Something is stored for the URL, but nothing for these request fields.
    VaryMiss,
    /// Nothing stored fits; which of the two above is not known.
    Miss,
    /// Something fresh is stored, but the request's own directives did not allow its use.
    Request,
    /// Something is stored, but it is stale.
    Stale,
    /// Something is stored, but only a part of it.
    Partial,
}

impl Forward {
    /// The value of `fwd`.
    pub const fn token(self) -> &'static str {
        match self {
            Forward::Bypass => "bypass",
            Forward::Method => "method",
            Forward::UriMiss => "uri-miss",
            Forward::VaryMiss => "vary-miss",
            Forward::Miss => "miss",
            Forward::Request => "request",
            Forward::Stale => "stale",
            Forward::Partial => "partial",
        }
    }
}

/// One member of the field. [RFC 9211 §2].
///
/// [RFC 9211 §2]: https://www.rfc-editor.org/rfc/rfc9211#section-2
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheStatus {
    /// Answered without forwarding. Where it is set, `fwd` and what belongs to it is not written: the two exclude each
    /// other.
    pub hit: bool,
    /// Why it was forwarded.
    pub fwd: Option<Forward>,
    /// The status of the answer to the forwarded request.
    pub fwd_status: Option<StatusCode>,
    /// Seconds of freshness left; negative when stale.
    pub ttl: Option<i64>,
    /// The answer to the forwarded request was stored.
    pub stored: bool,
    /// It was answered by another request's fetch.
    pub collapsed: bool,
    /// More, in one word: the tier that answered or the code of a [`Reason`](super::Reason).
    pub detail: Option<&'static str>,
}

impl CacheStatus {
    /// The member as a field value. `cache_name` is written as a token if it is one and else as a string; what a
    /// string may not hold is left out of it. A name of more than about 250 bytes is replaced by `forebay`.
    pub fn value(&self, cache_name: &str) -> HeaderValue {
        let mut line = Line::new();
        if !line.whole(|line| line.word(cache_name)) {
            line.push(b"forebay");
        }
        if self.hit {
            line.parameter("hit", |_| true);
        } else if let Some(fwd) = self.fwd {
            line.parameter("fwd", |line| line.push(b"=") && line.push(fwd.token().as_bytes()));
            if let Some(status) = self.fwd_status {
                line.parameter("fwd-status", |line| line.push(b"=") && line.push(status.as_str().as_bytes()));
            }
        }
        if let Some(ttl) = self.ttl {
            line.parameter("ttl", |line| line.push(b"=") && line.integer(ttl));
        }
        if self.stored && !self.hit {
            line.parameter("stored", |_| true);
        }
        if self.collapsed && !self.hit {
            line.parameter("collapsed", |_| true);
        }
        if let Some(detail) = self.detail {
            line.parameter("detail", |line| line.push(b"=") && line.word(detail));
        }
        HeaderValue::from_bytes(line.written()).unwrap_or_else(|_| HeaderValue::from_static(""))
    }

    /// Adds the member after those that are there already: the first was nearest to the backend, ours is nearest to
    /// the client (RFC 9211 §2).
    pub fn append(&self, headers: &mut HeaderMap, cache_name: &str) {
        headers.append(CACHE_STATUS, self.value(cache_name));
    }
}

/// Room for a name, all parameters and a long detail.
const ROOM: usize = 256;

/// A line being written. Every method that adds says whether it all fitted.
struct Line {
    bytes: [u8; ROOM],
    length: usize,
}

impl Line {
    fn new() -> Self {
        Line { bytes: [0; ROOM], length: 0 }
    }

    fn written(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }

    fn push(&mut self, text: &[u8]) -> bool {
        let end = self.length + text.len();
        let Some(room) = self.bytes.get_mut(self.length..end) else { return false };
        room.copy_from_slice(text);
        self.length = end;
        true
    }

    /// Takes back what `write` added if not all of it fitted.
    fn whole(&mut self, write: impl FnOnce(&mut Line) -> bool) -> bool {
        let before = self.length;
        let fitted = write(self);
        if !fitted {
            self.length = before;
        }
        fitted
    }

    fn parameter(&mut self, name: &str, value: impl FnOnce(&mut Line) -> bool) {
        self.whole(|line| line.push(b"; ") && line.push(name.as_bytes()) && value(line));
    }

    /// A token where `text` is one, else a string. RFC 9651 §3.3.3, §3.3.4.
    fn word(&mut self, text: &str) -> bool {
        if is_token(text.as_bytes()) {
            return self.push(text.as_bytes());
        }
        self.push(b"\"")
            && text.bytes().filter(|byte| matches!(byte, 0x20..=0x7e)).all(|byte| match byte {
                b'"' | b'\\' => self.push(&[b'\\', byte]),
                _ => self.push(&[byte]),
            })
            && self.push(b"\"")
    }

    /// An integer, cut to the fifteen digits that RFC 9651 §3.3.1 allows.
    fn integer(&mut self, number: i64) -> bool {
        const MOST: i64 = 999_999_999_999_999;
        let number = number.clamp(-MOST, MOST);
        let mut digits = [0_u8; 15];
        let (mut rest, mut first) = (number.unsigned_abs(), digits.len());
        while first == digits.len() || rest > 0 {
            first -= 1;
            if let (Some(digit), Ok(value)) = (digits.get_mut(first), u8::try_from(rest % 10)) {
                *digit = b'0' + value;
            }
            rest /= 10;
        }
        (number >= 0 || self.push(b"-")) && self.push(digits.get(first..).unwrap_or_default())
    }
}

/// `( ALPHA / "*" ) *( tchar / ":" / "/" )`, RFC 9651 §3.3.4.
fn is_token(text: &[u8]) -> bool {
    let [first, rest @ ..] = text else { return false };
    let inner = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~:/".contains(byte);
    (first.is_ascii_alphabetic() || *first == b'*') && rest.iter().all(inner)
}

#[cfg(test)]
mod tests {
    use super::super::Reason;
    use super::super::fields::tests::head;
    use super::*;
    use proptest::prelude::*;
    use sfv::{BareItem, List, ListEntry, Parser};

    fn check(status: CacheStatus, expected: &str) {
        let value = status.value("forebay");
        assert_eq!(value.to_str().expect("visible"), expected);
        parse(&value);
    }

    /// The one member, as a structured-field parser sees it.
    fn parse(value: &HeaderValue) -> sfv::Item {
        let mut list: List = Parser::new(value.as_bytes()).parse().expect("a structured field");
        match (list.pop(), list.is_empty()) {
            (Some(ListEntry::Item(item)), true) => item,
            other => panic!("not one item: {other:?}"),
        }
    }

    #[test]
    fn the_documented_forms() {
        let none = CacheStatus::default();
        check(none, "forebay");
        check(
            CacheStatus { hit: true, ttl: Some(37), detail: Some("memory"), ..none },
            "forebay; hit; ttl=37; detail=memory",
        );
        check(
            CacheStatus { hit: true, ttl: Some(-3), detail: Some("swr"), ..none },
            "forebay; hit; ttl=-3; detail=swr",
        );
        let miss = CacheStatus { fwd: Some(Forward::UriMiss), ..none };
        check(miss, "forebay; fwd=uri-miss");
        let stored = CacheStatus { fwd_status: Some(StatusCode::OK), stored: true, ..miss };
        check(stored, "forebay; fwd=uri-miss; fwd-status=200; stored");
        check(CacheStatus { collapsed: true, ..miss }, "forebay; fwd=uri-miss; collapsed");
        let bypass = CacheStatus { fwd: Some(Forward::Bypass), detail: Some("route-pass"), ..none };
        check(bypass, "forebay; fwd=bypass; detail=route-pass");
        let stale = CacheStatus { fwd: Some(Forward::Stale), fwd_status: Some(StatusCode::NOT_MODIFIED), ..none };
        check(CacheStatus { ttl: Some(60), ..stale }, "forebay; fwd=stale; fwd-status=304; ttl=60");
    }

    #[test]
    fn section_2_2_a_hit_was_not_forwarded() {
        let both = CacheStatus {
            hit: true,
            fwd: Some(Forward::Stale),
            fwd_status: Some(StatusCode::OK),
            stored: true,
            collapsed: true,
            ..CacheStatus::default()
        };
        check(both, "forebay; hit");
        // A status belongs to a forwarded request.
        check(CacheStatus { fwd_status: Some(StatusCode::OK), ..CacheStatus::default() }, "forebay");
    }

    #[test]
    fn every_reason_is_a_detail_and_every_forward_a_token() {
        for reason in Reason::ALL {
            check(
                CacheStatus { fwd: Some(Forward::Bypass), detail: Some(reason.code()), ..CacheStatus::default() },
                &format!("forebay; fwd=bypass; detail={}", reason.code()),
            );
        }
        for fwd in [
            Forward::Bypass,
            Forward::Method,
            Forward::UriMiss,
            Forward::VaryMiss,
            Forward::Miss,
            Forward::Request,
            Forward::Stale,
            Forward::Partial,
        ] {
            check(CacheStatus { fwd: Some(fwd), ..CacheStatus::default() }, &format!("forebay; fwd={}", fwd.token()));
        }
    }

    #[test]
    fn numbers_are_written_to_the_last_digit() {
        for (ttl, expected) in [
            (0, "0"),
            (10, "10"),
            (-1, "-1"),
            (999_999_999_999_999, "999999999999999"),
            (i64::MAX, "999999999999999"),
            (i64::MIN, "-999999999999999"),
        ] {
            check(CacheStatus { ttl: Some(ttl), ..CacheStatus::default() }, &format!("forebay; ttl={expected}"));
        }
    }

    #[test]
    fn a_name_that_is_no_token_becomes_a_string() {
        for (name, expected) in [
            ("edge 1", "\"edge 1\""),
            ("a\"b\\c", "\"a\\\"b\\\\c\""),
            ("1st", "\"1st\""),
            ("n\u{fc}r\n", "\"nr\""),
            ("", "\"\""),
        ] {
            let value = CacheStatus::default().value(name);
            assert_eq!(value.to_str().expect("visible"), expected);
            parse(&value);
        }
        assert_eq!(CacheStatus::default().value(&"x".repeat(300)), "forebay");
    }

    #[test]
    fn existing_members_are_kept_and_ours_is_last() {
        let mut headers = head("cache-status: ORIGIN; hit | cache-status: \"CDN\"; fwd=miss");
        CacheStatus { hit: true, ..CacheStatus::default() }.append(&mut headers, "forebay");
        let lines: Vec<_> = headers.get_all(CACHE_STATUS).iter().map(HeaderValue::as_bytes).collect();
        assert_eq!(lines, [&b"ORIGIN; hit"[..], b"\"CDN\"; fwd=miss", b"forebay; hit"]);
    }

    proptest! {
        #[test]
        fn what_is_written_parses_whatever_the_name(
            name in any::<String>(),
            long in "\\PC{0,300}",
            ttl in any::<i64>(),
            (hit, stored) in any::<(bool, bool)>(),
        ) {
            for name in [name, long] {
                let status = CacheStatus {
                    hit,
                    fwd: Some(Forward::VaryMiss),
                    fwd_status: Some(StatusCode::BAD_GATEWAY),
                    ttl: Some(ttl),
                    stored,
                    collapsed: true,
                    detail: Some("connect"),
                };
                let item = parse(&status.value(&name));
                if name.len() < 60 {
                    let ttl = ttl.clamp(-999_999_999_999_999, 999_999_999_999_999);
                    let read = item.params.get("ttl").and_then(BareItem::as_integer).map(i64::from);
                    prop_assert_eq!(read, Some(ttl));
                }
            }
        }
    }
}
