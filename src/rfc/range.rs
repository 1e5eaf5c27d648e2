//! Parts of a stored whole ([RFC 9110 §14]).
//!
//! Range is a wish that a server may leave aside, and the whole is never wrong. So whatever is malformed, of another
//! unit, overlapping or simply too much is answered with the whole, and what remains is safe: at most sixteen parts
//! that lie within the body and do not overlap, hence together no longer than the body.
//!
//! [RFC 9110 §14]: https://www.rfc-editor.org/rfc/rfc9110#section-14

use super::fields::{own_words, split_commas};
use bytes::Bytes;
use http::header::HeaderValue;
use std::ops::Range;

/// More parts than this are not an honest wish (RFC 9110 §17.15).
const MAX_PARTS: usize = 16;

/// What to answer to a Range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ranges {
    /// The whole, with 200.
    Ignore,
    /// These parts, with 206: one as it is, several as [`Multipart`]. At least one; each is non-empty and within the
    /// body; no two overlap; the order is the client's.
    Parts(Vec<Range<u64>>),
    /// 416 with [`unsatisfied_range`].
    Unsatisfiable,
}

/// Reads a Range field for a body of `length` bytes. [RFC 9110 §14.1.2, §14.2].
///
/// [RFC 9110 §14.1.2, §14.2]: https://www.rfc-editor.org/rfc/rfc9110#section-14.1.2
pub fn ranges(field: &HeaderValue, length: u64) -> Ranges {
    // "A server that supports range requests MAY ignore or reject a Range header field that contains an invalid
    // ranges-specifier (Section 14.1.1)"
    let Some(set) = byte_set(field.as_bytes()) else { return Ranges::Ignore };
    let mut parts: Vec<Range<u64>> = Vec::new();
    let mut seen = 0;
    for spec in split_commas(set).filter(|spec| !spec.is_empty()) {
        seen += 1;
        let Some(part) = part(spec, length).filter(|_| seen <= MAX_PARTS) else { return Ranges::Ignore };
        // It is valid, but no byte of the body is in it; another part may be satisfiable.
        if part.is_empty() {
            continue;
        }
        // "a ranges-specifier with more than two overlapping ranges, or a set of many small ranges". For us two that
        // overlap are enough.
        if parts.iter().any(|other| part.start < other.end && other.start < part.end) {
            return Ranges::Ignore;
        }
        parts.push(part);
    }
    match (seen, parts.is_empty(), length) {
        (0, ..) => Ranges::Ignore,
        (_, false, _) => Ranges::Parts(parts),
        // The last bytes of an empty body are the whole of it.
        (_, true, 0) if split_commas(set).any(is_last_bytes) => Ranges::Ignore,
        (_, true, _) => Ranges::Unsatisfiable,
    }
}

/// Content-Range of a part: `bytes 0-4/10`. RFC 9110 §14.4. The part is not empty.
pub fn content_range(part: &Range<u64>, length: u64) -> HeaderValue {
    own_words(describe(part, length))
}

/// Content-Range of a 416: `bytes */10`. RFC 9110 §14.4.
pub fn unsatisfied_range(length: u64) -> HeaderValue {
    own_words(format!("bytes */{length}"))
}

/// The body of a 206 with several parts. [RFC 9110 §14.6].
///
/// [RFC 9110 §14.6]: https://www.rfc-editor.org/rfc/rfc9110#section-14.6
#[derive(Clone, Debug)]
pub struct Multipart {
    boundary: String,
    chunks: Vec<Bytes>,
}

impl Multipart {
    /// Puts `parts` of `body` together; `content_type` is that of the whole. The parts share the body's memory.
    ///
    /// `seed` makes the boundary. It must be unpredictable for whoever writes bodies, or a body could contain the
    /// boundary and so end a part early. What of a part lies outside of the body is left out.
    pub fn new(seed: u64, content_type: Option<&HeaderValue>, body: &Bytes, parts: &[Range<u64>]) -> Self {
        let boundary = format!("forebay-{seed:016x}");
        let length = body.len() as u64;
        let mut chunks = Vec::with_capacity(parts.len() * 2 + 1);
        let mut line_break = "";
        for part in parts {
            let data = slice(body, part);
            if data.is_empty() {
                continue;
            }
            let described = describe(&(part.start..part.start.saturating_add(data.len() as u64)), length);
            chunks.push(opening(line_break, &boundary, content_type, &described));
            chunks.push(data);
            line_break = "\r\n";
        }
        chunks.push(Bytes::from(format!("{line_break}--{boundary}--\r\n")));
        Multipart { boundary, chunks }
    }

    /// Content-Type of the answer; each part carries that of the whole.
    pub fn content_type(&self) -> HeaderValue {
        own_words(format!("multipart/byteranges; boundary={}", self.boundary))
    }

    /// Content-Length of the answer, in bytes.
    pub fn length(&self) -> u64 {
        self.chunks.iter().map(|chunk| chunk.len() as u64).sum()
    }

    /// The body, in order.
    pub fn into_chunks(self) -> Vec<Bytes> {
        self.chunks
    }
}

fn describe(part: &Range<u64>, length: u64) -> String {
    format!("bytes {}-{}/{length}", part.start, part.end.saturating_sub(1))
}

/// What stands before a part's bytes.
fn opening(line_break: &str, boundary: &str, content_type: Option<&HeaderValue>, described: &str) -> Bytes {
    let mut text = format!("{line_break}--{boundary}\r\n").into_bytes();
    if let Some(value) = content_type {
        text.extend_from_slice(b"Content-Type: ");
        text.extend_from_slice(value.as_bytes());
        text.extend_from_slice(b"\r\n");
    }
    text.extend_from_slice(format!("Content-Range: {described}\r\n\r\n").as_bytes());
    Bytes::from(text)
}

/// The part of `body`, cut to what there is.
fn slice(body: &Bytes, part: &Range<u64>) -> Bytes {
    let within = |at: u64| usize::try_from(at).unwrap_or(usize::MAX).min(body.len());
    let (start, end) = (within(part.start), within(part.end));
    body.slice(start.min(end)..end)
}

/// What follows `bytes=`; "range units are case-insensitive" (§14.1). `None` if the unit is another.
fn byte_set(field: &[u8]) -> Option<&[u8]> {
    let (unit, set) = field.split_at_checked(6)?;
    unit.eq_ignore_ascii_case(b"bytes=").then_some(set)
}

/// One range-spec; `None` if it is invalid, an empty range if no byte of the body is in it.
fn part(spec: &[u8], length: u64) -> Option<Range<u64>> {
    let dash = spec.iter().position(|&byte| byte == b'-')?;
    let (first, last) = (spec.get(..dash)?, spec.get(dash + 1..)?);
    if first.is_empty() {
        // "If the selected representation is shorter than the specified suffix-length, the entire representation is
        // used."
        return Some(length.saturating_sub(number(last)?)..length);
    }
    let start = number(first)?;
    if last.is_empty() {
        return Some(start.min(length)..length);
    }
    let last = number(last)?;
    // "An int-range is invalid if the last-pos value is present and less than first-pos."
    if last < start {
        return None;
    }
    // "if the value is greater than or equal to the current length of the representation data, the byte range is
    // interpreted as the remainder of the representation"
    Some(start.min(length)..last.saturating_add(1).min(length))
}

/// A suffix-range of at least one byte.
fn is_last_bytes(spec: &[u8]) -> bool {
    spec.strip_prefix(b"-").and_then(number).is_some_and(|count| count > 0)
}

/// Digits only; a number too large to hold is as good as the largest, for no body is that long.
fn number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let digit = |sum: u64, &byte: &u8| sum.saturating_mul(10).saturating_add(u64::from(byte - b'0'));
    Some(digits.iter().fold(0, digit))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Debug, PartialEq)]
    struct Row(&'static str, u64, Ranges);

    fn parts(parts: &[(u64, u64)]) -> Ranges {
        Ranges::Parts(parts.iter().map(|&(start, end)| start..end).collect())
    }

    #[test]
    fn section_14_1_2_byte_ranges() {
        let rows = [
            Row("bytes=0-499", 10_000, parts(&[(0, 500)])),
            Row("bytes=500-999", 10_000, parts(&[(500, 1000)])),
            Row("bytes=-500", 10_000, parts(&[(9500, 10_000)])),
            Row("bytes=9500-", 10_000, parts(&[(9500, 10_000)])),
            Row("bytes=0-0,-1", 10_000, parts(&[(0, 1), (9999, 10_000)])),
            Row("bytes= 0-99, , 200-299", 10_000, parts(&[(0, 100), (200, 300)])),
            Row("BYTES=0-0", 10, parts(&[(0, 1)])),
            Row("bytes=0-99", 10, parts(&[(0, 10)])),
            Row("bytes=-99", 10, parts(&[(0, 10)])),
            Row("bytes=5-6,0-1", 10, parts(&[(5, 7), (0, 2)])),
            Row("bytes=0-4,5-9", 10, parts(&[(0, 5), (5, 10)])),
            Row("bytes=0-1,50-60", 10, parts(&[(0, 2)])),
        ];
        check(rows);
    }

    #[test]
    fn section_14_1_2_satisfiable_means_one_byte_is_there() {
        let rows = [
            Row("bytes=10-", 10, Ranges::Unsatisfiable),
            Row("bytes=10-20, 30-", 10, Ranges::Unsatisfiable),
            Row("bytes=-0", 10, Ranges::Unsatisfiable),
            Row("bytes=0-0", 0, Ranges::Unsatisfiable),
            Row("bytes=-5", 0, Ranges::Ignore),
            Row("bytes=-0", 0, Ranges::Unsatisfiable),
            Row("bytes=99999999999999999999999-", 10, Ranges::Unsatisfiable),
            Row("bytes=18446744073709551615-18446744073709551615", u64::MAX, Ranges::Unsatisfiable),
        ];
        check(rows);
    }

    #[test]
    fn section_14_2_what_is_not_understood_is_ignored() {
        let rows = [
            Row("bytes=", 10, Ranges::Ignore),
            Row("bytes=,", 10, Ranges::Ignore),
            Row("bytes=cow", 10, Ranges::Ignore),
            Row("bytes=-", 10, Ranges::Ignore),
            Row("bytes=5-4", 10, Ranges::Ignore),
            Row("bytes=0-1,5-4", 10, Ranges::Ignore),
            Row("bytes=0-1,x", 10, Ranges::Ignore),
            Row("bytes=+1-2", 10, Ranges::Ignore),
            Row("bytes=1 - 2", 10, Ranges::Ignore),
            Row("bytes=1--2", 10, Ranges::Ignore),
            Row("bytes 0-1", 10, Ranges::Ignore),
            Row("bytes", 10, Ranges::Ignore),
            Row("", 10, Ranges::Ignore),
            Row("items=0-1", 10, Ranges::Ignore),
            Row("bytes =0-1", 10, Ranges::Ignore),
        ];
        check(rows);
    }

    #[test]
    fn no_part_lies_outside_however_large_the_numbers() {
        let rows = [
            Row("bytes=0-18446744073709551615", 10, parts(&[(0, 10)])),
            Row("bytes=0-18446744073709551616", 10, parts(&[(0, 10)])),
            Row("bytes=-9223372036854775807", 10, parts(&[(0, 10)])),
            Row("bytes=-99999999999999999999999", 10, parts(&[(0, 10)])),
            Row("bytes=0-", u64::MAX, parts(&[(0, u64::MAX)])),
        ];
        check(rows);
    }

    #[test]
    fn section_17_15_too_much_is_answered_with_the_whole() {
        check([
            Row("bytes=0-,0-", 10, Ranges::Ignore),
            Row("bytes=0-4,4-9", 10, Ranges::Ignore),
            Row("bytes=5-6,0-9", 10, Ranges::Ignore),
            Row("bytes=0-0,-10", 10, Ranges::Ignore),
        ]);
        let many = |count: u64| {
            let specs: Vec<String> = (0..count).map(|n| format!("{0}-{0}", n * 2)).collect();
            ranges(&own_words(format!("bytes={}", specs.join(","))), 10_000)
        };
        assert!(matches!(many(16), Ranges::Parts(parts) if parts.len() == 16));
        assert_eq!(many(17), Ranges::Ignore);
        assert_eq!(many(1000), Ranges::Ignore);
        assert_eq!(ranges(&own_words(format!("bytes={}", "99-,".repeat(17))), 10), Ranges::Ignore);
    }

    fn check<const N: usize>(rows: [Row; N]) {
        for Row(field, length, expected) in rows {
            assert_eq!(ranges(&own_words(field.to_owned()), length), expected, "{field} of {length}");
        }
    }

    #[test]
    fn section_14_4_content_range() {
        assert_eq!(content_range(&(0..5), 10), "bytes 0-4/10");
        assert_eq!(content_range(&(9..10), 10), "bytes 9-9/10");
        assert_eq!(unsatisfied_range(10), "bytes */10");
    }

    fn multipart(content_type: Option<&HeaderValue>, parts: &[Range<u64>]) -> Multipart {
        Multipart::new(0xabc, content_type, &Bytes::from_static(b"0123456789"), parts)
    }

    #[test]
    fn section_14_6_several_parts() {
        let built = multipart(Some(&HeaderValue::from_static("text/plain")), &[0..2, 8..10]);
        assert_eq!(built.content_type(), "multipart/byteranges; boundary=forebay-0000000000000abc");
        let length = built.length();
        let body = built.into_chunks().concat();
        assert_eq!(length, body.len() as u64);
        let expected = "--forebay-0000000000000abc\r\nContent-Type: text/plain\r\nContent-Range: bytes 0-1/10\r\n\r\n01\
                        \r\n--forebay-0000000000000abc\r\nContent-Type: text/plain\r\nContent-Range: bytes 8-9/10\r\n\r\n89\
                        \r\n--forebay-0000000000000abc--\r\n";
        assert_eq!(String::from_utf8_lossy(&body), expected);
    }

    #[test]
    fn a_part_outside_of_the_body_is_cut() {
        let cases: [Range<u64>; 4] = [20..30, u64::MAX - 1..u64::MAX, 5..5, 0..0];
        for part in cases {
            assert_eq!(multipart(None, std::slice::from_ref(&part)).into_chunks().len(), 1, "{part:?}");
        }
        let body = multipart(None, std::slice::from_ref(&(8..99))).into_chunks().concat();
        assert!(String::from_utf8_lossy(&body).contains("bytes 8-9/10\r\n\r\n89\r\n"));
    }

    #[test]
    fn parts_share_the_memory_of_the_body() {
        let body = Bytes::from(vec![7; 1000]);
        let chunks = Multipart::new(1, None, &body, std::slice::from_ref(&(10..20))).into_chunks();
        assert_eq!(chunks.get(1).map(|chunk| chunk.as_ptr()), Some(body.slice(10..20).as_ptr()));
    }

    proptest! {
        #[test]
        fn parts_are_within_the_body_and_no_longer_than_it(
            field in prop_oneof![
                "bytes=[0-9, -]{0,40}",
                "bytes=([0-9]{0,3}-[0-9]{0,3},){0,20}",
                "(\\PC){0,40}",
            ],
            length in prop_oneof![0_u64..1000, any::<u64>()],
        ) {
            let Ok(field) = HeaderValue::try_from(field) else { return Ok(()) };
            if let Ranges::Parts(parts) = ranges(&field, length) {
                prop_assert!((1..=MAX_PARTS).contains(&parts.len()));
                let mut total = 0_u64;
                for part in &parts {
                    prop_assert!(part.start < part.end && part.end <= length);
                    total = total.checked_add(part.end - part.start).expect("no overflow");
                }
                prop_assert!(total <= length);
            }
        }
    }
}
