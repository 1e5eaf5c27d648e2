//! What the head of an answer says about its body, and which heads are no answer at all.
//!
//! hyper already refuses different lengths and reads chunks before it believes a length. What it lets through is decided
//! here: an unknown coding that would be read to the end of the connection, and two framings at once. A mistake here
//! lets one backend answer be read as two.

use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::response::Parts;
use http::{HeaderMap, HeaderValue, Method, StatusCode, Version};

/// How the end of the body is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Framing {
    /// By a length given beforehand.
    ContentLength,
    /// By a mark after the last byte: HTTP/1.1 chunks, an HTTP/2 end of stream, the end of an in-process body.
    Chunked,
    /// By the end of the connection only. Whether it is complete cannot be known ([RFC 9112 §8]).
    ///
    /// [RFC 9112 §8]: https://www.rfc-editor.org/rfc/rfc9112#section-8
    CloseDelimited,
    /// The head gave a length and chunks. It was read as chunks, the length is removed, the connection is not used again
    /// ([RFC 9112 §6.3]).
    ///
    /// [RFC 9112 §6.3]: https://www.rfc-editor.org/rfc/rfc9112#section-6.3
    Ambiguous,
    /// There is no body: HEAD, 204, 304.
    None,
}

/// Where an answer came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// A connection.
    Wire,
    /// A service in this process, whose body knows its own end and perhaps its length.
    Service {
        /// The body's length, if it knows it.
        length: Option<u64>,
    },
}

/// Judges the head of an answer to `method` and tidies its framing fields: at most one Content-Length is left, and it
/// is true. Gives the framing and the length of the body if it is known. The order is that of [RFC 9112 §6.3].
///
/// # Errors
/// A sentence, if the head is not one of a final answer or its framing cannot be trusted.
///
/// [RFC 9112 §6.3]: https://www.rfc-editor.org/rfc/rfc9112#section-6.3
pub(super) fn judge(method: &Method, head: &mut Parts, source: Source) -> Result<(Framing, Option<u64>), String> {
    // RFC 9110 §15.2: interim answers are not final. 101 would turn the connection into something else.
    if head.status.is_informational() {
        return Err(format!("status {} is not a final one", head.status.as_u16()));
    }
    let length = content_length(&head.headers)?;
    let chunked = is_chunked(&head.headers)?;

    // §6.1: "A server MUST NOT send a response containing Transfer-Encoding unless the corresponding request indicates
    // HTTP/1.1 (or later minor revisions)", and one in an HTTP/1.0 message makes its framing faulty.
    if chunked && head.version != Version::HTTP_11 {
        return Err(format!("Transfer-Encoding in {:?}", head.version));
    }
    // §6.3: "If a message is received with both a Transfer-Encoding and a Content-Length header field, the
    // Transfer-Encoding overrides the Content-Length."
    if chunked && length.is_some() {
        head.headers.remove(CONTENT_LENGTH);
        return Ok((Framing::Ambiguous, None));
    }
    if let Some(length) = length {
        head.headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
    // §6.3: "Any response to a HEAD request and any response with a 1xx, 204, or 304 status code is always terminated by
    // the first empty line after the header fields".
    if *method == Method::HEAD || matches!(head.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED) {
        // RFC 9110 §8.6: no Content-Length in a 204.
        if head.status == StatusCode::NO_CONTENT {
            head.headers.remove(CONTENT_LENGTH);
        }
        return Ok((Framing::None, None));
    }
    if chunked {
        return Ok((Framing::Chunked, None));
    }
    if length.is_some() {
        return Ok((Framing::ContentLength, length));
    }
    Ok(match (source, head.version) {
        (_, Version::HTTP_10 | Version::HTTP_09) => (Framing::CloseDelimited, None),
        (Source::Service { length: Some(length) }, _) => (Framing::ContentLength, Some(length)),
        (Source::Service { length: None }, _) | (Source::Wire, Version::HTTP_2) => (Framing::Chunked, None),
        (Source::Wire, _) => (Framing::CloseDelimited, None),
    })
}

/// The one length that all Content-Length fields and list members give.
fn content_length(headers: &HeaderMap) -> Result<Option<u64>, String> {
    let mut found = None;
    for line in headers.get_all(CONTENT_LENGTH) {
        for member in line.as_bytes().split(|byte| *byte == b',') {
            let length = decimal(member.trim_ascii()).ok_or_else(|| format!("Content-Length {line:?} is no number"))?;
            // §6.3: a list of identical values counts as one; anything else is an unrecoverable error.
            if found.is_some_and(|other| other != length) {
                return Err("Content-Length is given twice and differs".to_owned());
            }
            found = Some(length);
        }
    }
    Ok(found)
}

fn decimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// Is there a Transfer-Encoding? Any but a single `chunked` is one that cannot be undone here, so the answer is refused.
fn is_chunked(headers: &HeaderMap) -> Result<bool, String> {
    let mut lines = headers.get_all(TRANSFER_ENCODING).iter();
    let Some(first) = lines.next() else { return Ok(false) };
    if lines.next().is_none() && first.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked") {
        return Ok(true);
    }
    Err(format!("Transfer-Encoding {first:?} is not simply chunked"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `head` is a version, a status and fields: `1.1 200 | content-length: 5`. The expectation names framing, length and
    /// what is left of Content-Length, or a part of the complaint.
    fn check(source: Source, rows: &[(&str, &str, &str)]) {
        for (method, head, expected) in rows {
            let mut parts = head.split(" | ");
            let (version, status) = parts.next().unwrap().split_once(' ').unwrap();
            let mut answer = http::Response::builder().status(status.parse::<u16>().unwrap()).version(match version {
                "1.0" => Version::HTTP_10,
                "1.1" => Version::HTTP_11,
                _ => Version::HTTP_2,
            });
            for field in parts {
                let (name, value) = field.split_once(':').unwrap();
                answer = answer.header(name, value.trim());
            }
            let (mut head_parts, ()) = answer.body(()).unwrap().into_parts();
            let got = match judge(&method.parse().unwrap(), &mut head_parts, source) {
                Ok((framing, length)) => {
                    let left: Vec<_> = head_parts.headers.get_all(CONTENT_LENGTH).iter().collect();
                    assert!(left.len() <= 1, "{method} {head}: {left:?}");
                    let left = left.first().map_or("none", |value| value.to_str().unwrap());
                    format!("{framing:?} {} left {left}", length.map_or("?".to_owned(), |length| length.to_string()))
                }
                Err(complaint) => complaint,
            };
            assert!(got.contains(expected), "{method} {head}: {got}, not {expected}");
        }
    }

    #[test]
    fn answers_from_a_connection() {
        check(
            Source::Wire,
            &[
                ("GET", "1.1 200 | content-length: 5", "ContentLength 5 left 5"),
                ("GET", "1.1 200 | content-length: 5, 5", "ContentLength 5 left 5"), // RS-03
                ("GET", "1.1 200 | content-length: 5 | content-length: 5", "ContentLength 5 left 5"),
                ("GET", "1.1 200 | content-length: 5 | content-length: 6", "differs"), // RS-02
                ("GET", "1.1 200 | content-length: 5, 6", "differs"),
                ("GET", "1.1 200 | content-length: 5x", "no number"),
                ("GET", "1.1 200 | content-length: +5", "no number"),
                ("GET", "1.1 200 | content-length: ", "no number"),
                ("GET", "1.1 200 | content-length: 18446744073709551616", "no number"),
                ("GET", "1.1 200 | transfer-encoding: chunked", "Chunked ? left none"),
                ("GET", "1.1 200 | transfer-encoding: Chunked", "Chunked ? left none"),
                ("GET", "1.1 200 | transfer-encoding: chunked | content-length: 5", "Ambiguous ? left none"), // RS-01
                ("GET", "1.1 200 | transfer-encoding: gzip", "not simply chunked"),                           // RS-11
                ("GET", "1.1 200 | transfer-encoding: gzip, chunked", "not simply chunked"),
                ("GET", "1.1 200 | transfer-encoding: chunked | transfer-encoding: chunked", "not simply chunked"),
                ("GET", "1.1 200 | transfer-encoding: ", "not simply chunked"),
                ("GET", "1.0 200 | transfer-encoding: chunked", "Transfer-Encoding in HTTP/1.0"),
                ("GET", "1.1 200", "CloseDelimited ? left none"), // RS-06
                ("GET", "1.0 200", "CloseDelimited ? left none"),
                ("GET", "2 200", "Chunked ? left none"),
                ("GET", "2 200 | content-length: 5", "ContentLength 5 left 5"),
                ("GET", "1.1 204 | content-length: 5", "None ? left none"),
                ("GET", "1.1 304 | content-length: 5", "None ? left 5"),
                ("HEAD", "1.1 200 | content-length: 5", "None ? left 5"),
                ("HEAD", "1.1 200 | transfer-encoding: chunked", "None ? left none"),
                ("GET", "1.1 101", "not a final one"), // RS-09
                ("GET", "1.1 103", "not a final one"),
                ("GET", "1.1 999 | content-length: 0", "ContentLength 0 left 0"),
            ],
        );
    }

    #[test]
    fn answers_from_this_process() {
        check(Source::Service { length: Some(3) }, &[("GET", "1.1 200", "ContentLength 3 left none")]);
        check(
            Source::Service { length: None },
            &[
                ("GET", "1.1 200", "Chunked ? left none"),
                ("GET", "1.0 200", "CloseDelimited ? left none"),
                ("GET", "1.1 200 | content-length: 5", "ContentLength 5 left 5"),
            ],
        );
    }
}
