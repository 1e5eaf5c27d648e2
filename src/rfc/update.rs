//! What a 304, or the answer to a HEAD, changes about a stored answer ([RFC 9111 §3.2], [§4.3.4], [§4.3.5]).
//!
//! Both bring new fields without a body. First comes the question whether they speak of the stored body at all; only
//! then may they lengthen its life. The merge then takes the new fields, but for those that describe the stored bytes:
//! these bytes have not changed, and a wrong word about them (a length, a coding, a digest) would break every reader.
//!
//! [RFC 9111 §3.2]: https://www.rfc-editor.org/rfc/rfc9111#section-3.2
//! [§4.3.4]: https://www.rfc-editor.org/rfc/rfc9111#section-4.3.4
//! [§4.3.5]: https://www.rfc-editor.org/rfc/rfc9111#section-4.3.5

use super::conditional::{date, last_modified_is_strong};
use super::etag::ETag;
use super::fields::{singleton, strip_hop_by_hop_response, trim};
use http::header::{AGE, CONTENT_ENCODING, CONTENT_LENGTH, ETAG, HeaderMap, HeaderName, LAST_MODIFIED};

/// May this 304 update that stored answer, which was the one asked about? [RFC 9111 §4.3.4].
///
/// If not, it says nothing about what is stored: fetch the whole anew.
///
/// [RFC 9111 §4.3.4]: https://www.rfc-editor.org/rfc/rfc9111#section-4.3.4
pub fn updates(answer_304: &HeaderMap, stored: &HeaderMap) -> bool {
    let tags = (ETag::of(answer_304), ETag::of(stored));
    // Two tags that differ even weakly. By the letter of the clause such a 304 updates nothing. But we asked with the
    // stored tag and no other, so with a 304 the backend has confirmed that one; a strong tag beside it is a backend's
    // slip, and the public test suite requires that it be forgiven. The stored tag stays: see `merge`.
    if let (Some(theirs), Some(ours)) = tags
        && !theirs.weak_eq(&ours)
    {
        return !theirs.weak && !ours.weak;
    }
    // A tag that is none by the grammar can only be repeated letter by letter.
    if tags.0.is_none() && answer_304.contains_key(ETAG) {
        return same(answer_304, stored, &ETAG);
    }
    let same_date = date(answer_304, &LAST_MODIFIED).is_some() && same_dates(answer_304, stored);
    let strong_tag = tags.0.is_some_and(|theirs| !theirs.weak);
    let strong_date = last_modified_is_strong(answer_304);
    // "If the new response contains one or more 'strong validators' ..., then each of those strong validators identifies
    // a selected representation for update. All the stored responses in the initial set with one of those same strong
    // validators are identified for update. If none of the initial set contains at least one of the same strong
    // validators, then the cache MUST NOT use the new response to update any stored responses."
    if strong_tag || strong_date {
        let by_tag = tags.0.zip(tags.1).is_some_and(|(theirs, ours)| theirs.strong_eq(&ours));
        return by_tag || (strong_date && same_date);
    }
    // "If the new response contains no strong validators but does contain one or more 'weak validators', and if those
    // validators correspond to one of the initial set's stored responses, then the most recent of those matching stored
    // responses is identified for update."
    if tags.0.is_some() || answer_304.contains_key(LAST_MODIFIED) {
        return tags.0.zip(tags.1).is_some() || same_date;
    }
    // "If the new response does not include any form of validator ..., and there is only one stored response in the
    // initial set, and that stored response also lacks a validator, then that stored response is identified for update."
    // We do not insist on the last condition: we asked about this one stored answer by its own validators, so a bare
    // 304 can only mean it, and many backends send just that.
    true
}

/// The stored fields after `fresh`, of a 304 or of a HEAD's 200, has been applied. [RFC 9111 §3.2]: "the cache MUST add
/// each header field in the provided response to the stored response, replacing field values that are already present",
/// with exceptions.
///
/// The stored Age goes in any case: it was the age of another message. Date is taken from `fresh`, to which the caller
/// adds one if the backend did not (RFC 9110 §6.6.1).
///
/// [RFC 9111 §3.2]: https://www.rfc-editor.org/rfc/rfc9111#section-3.2
pub fn merge(stored: &HeaderMap, fresh: &HeaderMap) -> HeaderMap {
    let mut merged = stored.clone();
    merged.remove(AGE);
    // "Header fields excepted from storage in Section 3.1"
    let mut fresh = fresh.clone();
    strip_hop_by_hop_response(&mut fresh);
    for name in fresh.keys().filter(|name| is_taken(name, stored)) {
        merged.remove(name);
        for value in fresh.get_all(name) {
            merged.append(name, value.clone());
        }
    }
    merged
}

/// What an answer to HEAD does to a stored answer to GET.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HeadEffect {
    /// It is about the same body: [`merge`] it.
    Update,
    /// The body has changed: what is stored counts as stale.
    Invalidate,
    /// It proves nothing, either way.
    Nothing,
}

/// What a 200 to a HEAD does to a stored answer that the same request as a GET could have been given.
/// [RFC 9111 §4.3.5]. `stored_len` is the stored body's length in bytes.
///
/// Where the clause would let an answer without validators and length update what is stored, we do nothing: it names
/// no body, and would lengthen the life of one that may have changed. The same holds if it speaks of another coding.
///
/// [RFC 9111 §4.3.5]: https://www.rfc-editor.org/rfc/rfc9111#section-4.3.5
pub fn head_updates(head: &HeaderMap, stored: &HeaderMap, stored_len: u64) -> HeadEffect {
    if !same(head, stored, &CONTENT_ENCODING) {
        return HeadEffect::Nothing;
    }
    let mut proof = false;
    // "if the stored response and HEAD response have matching values for any received validator fields (ETag and
    // Last-Modified)"
    for name in [&ETAG, &LAST_MODIFIED] {
        if head.contains_key(name) {
            if !same(head, stored, name) {
                return HeadEffect::Invalidate;
            }
            proof = true;
        }
    }
    // "and, if the HEAD response has a Content-Length header field, the value of Content-Length matches that of the
    // stored response, the cache SHOULD update the stored response"
    if head.contains_key(CONTENT_LENGTH) {
        if length(head) != Some(stored_len) {
            // "otherwise, the cache SHOULD consider the stored response to be stale."
            return HeadEffect::Invalidate;
        }
        proof = true;
    }
    if proof { HeadEffect::Update } else { HeadEffect::Nothing }
}

/// Is the field taken from a 304? "The Content-Length header field" never is, nor is what else describes the stored
/// bytes; a tag only where the stored answer has none.
fn is_taken(name: &HeaderName, stored: &HeaderMap) -> bool {
    let name = name.as_str();
    let framing = matches!(name, "content-length" | "content-encoding" | "content-range");
    // Digests are of the stored bytes; one of a 304's own content says nothing worth keeping.
    let digest = matches!(name, "content-md5" | "content-digest" | "repr-digest" | "digest");
    // It announces what follows a body, and there was none.
    let trailer = name == "trailer";
    let second_tag = name == "etag" && stored.contains_key(ETAG);
    !(framing || digest || trailer || second_tag)
}

/// Do both carry the field, once and with the same value, or neither?
fn same(one: &HeaderMap, other: &HeaderMap, name: &HeaderName) -> bool {
    match (one.contains_key(name), other.contains_key(name)) {
        (false, false) => true,
        (true, true) => {
            let values = singleton(one, name).zip(singleton(other, name));
            values.is_some_and(|(one, other)| trim(one.as_bytes()) == trim(other.as_bytes()))
        }
        _ => false,
    }
}

fn same_dates(one: &HeaderMap, other: &HeaderMap) -> bool {
    date(one, &LAST_MODIFIED) == date(other, &LAST_MODIFIED)
}

/// Content-Length as a number of bytes; `None` if it is absent, contradictory or no number.
fn length(headers: &HeaderMap) -> Option<u64> {
    let digits = singleton(headers, &CONTENT_LENGTH)?.as_bytes();
    digits.iter().all(u8::is_ascii_digit).then(|| std::str::from_utf8(digits).ok()?.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::super::fields::tests::{head, lines};
    use super::*;

    const LM: &str = "last-modified: Wed, 01 Jan 2020 00:00:00 GMT";
    const NEWER: &str = "last-modified: Wed, 01 Jan 2020 00:00:05 GMT";
    /// Makes the dates above strong.
    const DATE: &str = "date: Thu, 02 Jan 2020 00:00:00 GMT";

    fn check(answer: &str, stored: &str, expected: bool) {
        assert_eq!(updates(&head(answer), &head(stored)), expected, "304 {answer} for {stored}");
    }

    #[test]
    fn section_4_3_4_a_strong_validator_must_be_the_same() {
        check("etag: \"a\"", "etag: \"a\"", true);
        check("etag: \"b\"", "etag: \"a\"", true); // Forgiven.
        check("etag: \"b\"", "etag: W/\"a\"", false);
        check("etag: \"a\"", "etag: W/\"a\"", false);
        check("etag: \"a\"", "", false);
        check(&format!("{LM} | {DATE}"), LM, true);
        check(&format!("{NEWER} | {DATE}"), LM, false);
        check(&format!("{LM} | {DATE}"), "etag: \"a\"", false);
        // One of them is enough: a backend that weakens the tag of what it compresses still repeats the date.
        check(&format!("etag: \"a\" | {LM} | {DATE}"), &format!("etag: W/\"a\" | {LM}"), true);
        check(&format!("etag: \"a\" | {NEWER} | {DATE}"), &format!("etag: \"a\" | {LM}"), true);
    }

    #[test]
    fn section_4_3_4_a_weak_validator_must_correspond() {
        check("etag: W/\"a\"", "etag: W/\"a\"", true);
        check("etag: W/\"a\"", "etag: \"a\"", true);
        check("etag: W/\"b\"", "etag: W/\"a\"", false);
        check("etag: W/\"a\"", "", false);
        check(LM, LM, true);
        check(NEWER, LM, false);
        check(LM, "etag: \"a\"", false);
        check("last-modified: x", LM, false);
    }

    #[test]
    fn section_4_3_4_a_bare_304_means_what_was_asked_about() {
        check("", "", true);
        check("date: x", "etag: \"a\"", true);
        check("", LM, true);
    }

    #[test]
    fn a_malformed_tag_is_repeated_letter_by_letter() {
        check("etag: abc", "etag: abc", true);
        check("etag: abc", "etag: \"abc\"", false);
        check("etag: \"a\" | etag: \"b\"", "etag: \"a\"", false);
    }

    fn merges(stored: &str, fresh: &str, expected: &str) {
        assert_eq!(lines(&merge(&head(stored), &head(fresh))), expected, "{fresh} into {stored}");
    }

    #[test]
    fn section_3_2_new_fields_replace_old_ones() {
        merges("a: 1 | b: 2", "a: 3", "a: 3 | b: 2");
        merges("a: 1 | a: 2", "a: 3 | a: 4 | a: 5", "a: 3 | a: 4 | a: 5");
        merges("a: 1 | a: 2", "a: 3", "a: 3");
        merges(
            "cache-control: max-age=1",
            "cache-control: max-age=9 | x-new: 1",
            "cache-control: max-age=9 | x-new: 1",
        );
        merges(
            "content-type: text/plain",
            "content-type: text/plain;charset=utf-8",
            "content-type: text/plain;charset=utf-8",
        );
        merges(
            "content-location: /a | expires: x",
            "content-location: /b | expires: y",
            "content-location: /b | expires: y",
        );
        merges("vary: a", "vary: b", "vary: b");
        merges("a: 1", "", "a: 1");
    }

    #[test]
    fn section_3_2_what_describes_the_stored_bytes_stays() {
        for name in ["content-length", "content-encoding", "content-range", "content-md5", "repr-digest", "etag"] {
            merges(&format!("{name}: old"), &format!("{name}: new"), &format!("{name}: old"));
        }
        merges("", "content-length: 0 | content-encoding: br", "");
        merges("", "etag: \"new\"", "etag: \"new\"");
    }

    #[test]
    fn section_3_1_what_concerns_the_connection_is_not_taken() {
        merges(
            "a: 1",
            "connection: b | b: 2 | transfer-encoding: chunked | keep-alive: 5 | trailer: x | te: y",
            "a: 1",
        );
    }

    #[test]
    fn the_stored_age_was_another_messages() {
        merges("age: 500 | a: 1", "a: 1", "a: 1");
        merges("age: 500", "age: 3", "age: 3");
    }

    #[test]
    fn section_4_3_5_head() {
        use HeadEffect::{Invalidate, Nothing, Update};
        let rows = [
            ("etag: \"a\"", "etag: \"a\"", Update),
            ("etag: \"b\"", "etag: \"a\"", Invalidate),
            ("etag: \"a\"", "", Invalidate),
            ("etag: W/\"a\"", "etag: \"a\"", Invalidate),
            (LM, LM, Update),
            (NEWER, LM, Invalidate),
            ("content-length: 10", "", Update),
            ("content-length: 11", "", Invalidate),
            ("content-length: +10", "", Invalidate),
            ("content-length: 99999999999999999999999", "", Invalidate),
            ("content-length: 10 | etag: \"a\"", "etag: \"a\"", Update),
            ("content-length: 11 | etag: \"a\"", "etag: \"a\"", Invalidate),
            ("content-length: 10 | etag: \"b\"", "etag: \"a\"", Invalidate),
            ("cache-control: max-age=1000", "etag: \"a\"", Nothing),
            ("", "", Nothing),
            ("content-encoding: br | content-length: 5", "", Nothing),
            ("content-length: 20", "content-encoding: br", Nothing),
        ];
        for (answer, stored, expected) in rows {
            assert_eq!(head_updates(&head(answer), &head(stored), 10), expected, "HEAD {answer} for {stored}");
        }
    }
}
