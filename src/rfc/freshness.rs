//! How long an answer is fresh and how old it is: RFC 9111 §4.2.
//!
//! Two numbers decide everything: the *freshness lifetime*, fixed when the answer arrives, and the *age*, which grows.
//! An answer is fresh while its lifetime exceeds its age. Both are computed here, in the words of the RFC; `facts.rs`
//! keeps them with the entry.

use std::time::Duration;

use http::StatusCode;

use crate::rfc::{Ground, LifetimeSource, Moment, ResponseFacts, Terms};

/// The freshness lifetime of an answer and who gave it, in the order of [RFC 9111 §4.2.1], with the operator's terms
/// where they belong. [`LifetimeSource::None`] means that nobody gave one, or that `no-cache` makes it worthless: the
/// answer is then of use only after validation, and its lifetime is zero.
///
/// [RFC 9111 §4.2.1]: https://www.rfc-editor.org/rfc/rfc9111.html#section-4.2.1
pub fn lifetime(answer: &ResponseFacts, terms: &Terms) -> Ground {
    let directives = &answer.directives;
    let ttl = terms.ttl_for(answer.status);

    // The operator's word against the answer's: only by an explicit switch.
    if terms.ttl_override
        && let Some(ttl) = ttl
    {
        return Ground { lifetime: terms.bound(ttl), source: LifetimeSource::Operator };
    }
    let given = explicit(answer);
    let wants_validation = directives.no_cache || given.is_some_and(|given| given.lifetime.is_zero());
    if terms.ttl_override
        && wants_validation
        && let Some(min) = terms.min_ttl
    {
        return Ground { lifetime: terms.bound(min), source: LifetimeSource::Operator };
    }
    // §5.2.2.4: "the response MUST NOT be used to satisfy any other request without forwarding it for validation"
    if directives.no_cache {
        return Ground { lifetime: Duration::ZERO, source: LifetimeSource::None };
    }
    if let Some(given) = given {
        // A lifetime of zero is a wish, not a small number: min_ttl leaves it alone.
        let lifetime = if given.lifetime.is_zero() { given.lifetime } else { terms.bound(given.lifetime) };
        return Ground { lifetime, ..given };
    }
    if let Some(ttl) = ttl {
        return Ground { lifetime: terms.bound(ttl), source: LifetimeSource::Operator };
    }
    // "Otherwise, no explicit expiration time is present in the response. A heuristic freshness lifetime might be
    // applicable; see Section 4.2.2."
    match heuristic(answer, terms) {
        Some(guess) if !guess.is_zero() => Ground { lifetime: terms.bound(guess), source: LifetimeSource::Heuristic },
        _ => Ground { lifetime: Duration::ZERO, source: LifetimeSource::None },
    }
}

/// What the answer itself says about its lifetime.
fn explicit(answer: &ResponseFacts) -> Option<Ground> {
    let directives = &answer.directives;
    let named = |source| if answer.targeted.is_some() { LifetimeSource::Targeted } else { source };
    // "If the cache is shared and the s-maxage response directive is present, use its value"
    if let Some(lifetime) = directives.s_maxage {
        return Some(Ground { lifetime, source: named(LifetimeSource::SMaxAge) });
    }
    // "If the max-age response directive is present, use its value"
    if let Some(lifetime) = directives.max_age {
        return Some(Ground { lifetime, source: named(LifetimeSource::MaxAge) });
    }
    // "If the Expires response header field is present, use its value minus the value of the Date response header
    // field (using the time the message was received if it is not present)": see `ResponseFacts::dated`. Without
    // either date nothing can be said, which is no lifetime.
    let expires = answer.expires?;
    let lifetime = answer.date.map_or(Duration::ZERO, |date| expires.saturating_sub(date));
    Some(Ground { lifetime, source: LifetimeSource::Expires })
}

/// A guess from the time since the last modification ([RFC 9111 §4.2.2]).
///
/// [RFC 9111 §4.2.2]: https://www.rfc-editor.org/rfc/rfc9111.html#section-4.2.2
fn heuristic(answer: &ResponseFacts, terms: &Terms) -> Option<Duration> {
    let rule = terms.heuristic?;
    // "heuristics can only be used on responses without explicit freshness whose status codes are defined as
    // heuristically cacheable … and on responses … marked as explicitly cacheable (e.g., with a public response
    // directive)"
    if !cacheable_by_default(answer.status) && !answer.directives.public {
        return None;
    }
    // "If the response has a Last-Modified header field, caches are encouraged to use a heuristic expiration value that
    // is no more than some fraction of the interval since that time."
    let unchanged_for = answer.date?.saturating_sub(answer.last_modified?);
    Some((unchanged_for.saturating_mul(rule.percent) / 100).min(rule.max))
}

/// Statuses that may be stored without a word about it: "heuristically cacheable" in [RFC 9110 §15.1].
///
/// [RFC 9110 §15.1]: https://www.rfc-editor.org/rfc/rfc9110.html#section-15.1
pub fn cacheable_by_default(status: StatusCode) -> bool {
    matches!(status.as_u16(), 200 | 203 | 204 | 206 | 300 | 301 | 308 | 404 | 405 | 410 | 414 | 501)
}

/// Of those, the ones that speak about the resource and not about the request. A general `ttl` is meant for them: a 405
/// or 414 that one odd request provoked shall not become the answer for everybody.
pub(super) fn about_the_resource(status: StatusCode) -> bool {
    matches!(status.as_u16(), 200 | 203 | 204 | 300 | 301 | 308 | 404 | 410)
}

/// How old an answer already was when it arrived: `corrected_initial_age` of [RFC 9111 §4.2.3]. `sent` is when the
/// request left, `received` when the answer's head came in.
///
/// [RFC 9111 §4.2.3]: https://www.rfc-editor.org/rfc/rfc9111.html#section-4.2.3
pub fn age_at_receipt(answer: &ResponseFacts, sent: Moment, received: Moment) -> Duration {
    // "apparent_age = max(0, response_time - date_value);" in whole seconds, because Date has no smaller ones.
    let response_time = Duration::from_secs(received.wall.as_secs());
    let apparent_age = answer.date.map_or(Duration::ZERO, |date| response_time.saturating_sub(date));
    // "response_delay = response_time - request_time; corrected_age_value = age_value + response_delay;"
    let corrected_age_value = answer.age.saturating_add(received.since(sent));
    // "corrected_initial_age = max(apparent_age, corrected_age_value);"
    apparent_age.max(corrected_age_value)
}

/// The windows after the lifetime in which the stored answer may still be served: while it is refreshed, and in place
/// of an error ([RFC 5861]). `None` for the second means that nobody spoke of it.
///
/// `must-revalidate`, `proxy-revalidate` and `no-cache` close both. `s-maxage` alone does not, although §5.2.2.10 of
/// RFC 9111 gives it the meaning of `proxy-revalidate`: an answer that says `s-maxage=60, stale-while-revalidate=30`
/// names the window for just the caches that s-maxage speaks to, and is understood so by all CDNs. What s-maxage does
/// forbid is serving stale where nobody named a window.
///
/// [RFC 5861]: https://www.rfc-editor.org/rfc/rfc5861.html
pub fn stale_windows(answer: &ResponseFacts, ground: &Ground, terms: &Terms) -> (Duration, Option<Duration>) {
    let directives = &answer.directives;
    if directives.must_revalidate || directives.proxy_revalidate || must_validate(answer, ground) {
        return (Duration::ZERO, None);
    }
    let while_revalidate = directives.stale_while_revalidate.or(terms.stale_while_revalidate);
    let if_error = directives.stale_if_error.or(terms.stale_if_error);
    (while_revalidate.unwrap_or_default(), if_error)
}

/// `no-cache` counts unless the operator's lifetime was put in its place.
pub(super) fn must_validate(answer: &ResponseFacts, ground: &Ground) -> bool {
    answer.directives.no_cache && ground.source != LifetimeSource::Operator
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rfc::notation::response_head;
    use crate::rfc::{Heuristic, StatusRange};

    const NOW: Duration = Duration::from_hours(500_000);

    fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    fn answer(head: &str) -> ResponseFacts {
        let (status, headers) = response_head(head, NOW).expect(head);
        ResponseFacts::read(status, &headers, &Terms::default().targets).dated(NOW)
    }

    fn check(terms: &Terms, rows: &[(&str, &str)]) {
        for (head, expected) in rows {
            let ground = lifetime(&answer(head), terms);
            assert_eq!(format!("{:?} {}", ground.source, ground.lifetime.as_secs()), *expected, "{head}");
        }
    }

    #[test]
    fn section_4_2_1_explicit_lifetimes_in_their_order() {
        check(
            &Terms::default(),
            &[
                ("200 | cache-control: max-age=1, s-maxage=3600 | expires: @+9 | date: @0", "SMaxAge 3600"),
                ("200 | cache-control: max-age=3600 | expires: @-7200 | date: @0", "MaxAge 3600"),
                ("200 | cache-control: max-age=0 | expires: @+3600 | date: @0", "MaxAge 0"),
                ("200 | expires: @+3600 | date: @0", "Expires 3600"),
                ("200 | expires: @+3600 | date: @+60", "Expires 3540"),
                ("200 | expires: @+300 | date: @+400", "Expires 0"),
                ("200 | expires: 0 | last-modified: @-10000", "Expires 0"),
                ("200 | expires: @+10 | date: foo", "Expires 10"),
                ("200 | expires: @+10 | expires: @+20", "Expires 10"),
                ("200 | cache-control: no-cache, max-age=10", "None 0"),
                ("200", "None 0"),
            ],
        );
    }

    #[test]
    fn rfc_9213_a_targeted_field_replaces_cache_control_and_expires() {
        check(
            &Terms::default(),
            &[
                ("200 | cdn-cache-control: max-age=5 | cache-control: max-age=9", "Targeted 5"),
                ("200 | cdn-cache-control: s-maxage=5, max-age=6 | expires: @+9", "Targeted 5"),
                ("200 | cdn-cache-control: max-age=0 | expires: @+9", "Targeted 0"),
                ("200 | cdn-cache-control: foo | expires: @+9 | cache-control: max-age=9", "None 0"),
                ("200 | cdn-cache-control: foo, &&& | cache-control: max-age=9", "MaxAge 9"),
            ],
        );
    }

    #[test]
    fn section_4_2_2_a_tenth_of_the_time_since_modification_but_a_day_at_most() {
        check(
            &Terms::default(),
            &[
                ("200 | last-modified: @-1000", "Heuristic 100"),
                ("200 | last-modified: @-1000 | date: @-500", "Heuristic 50"),
                ("200 | last-modified: @-100000000", "Heuristic 86400"),
                ("200 | last-modified: @+1000", "None 0"),
                ("200 | last-modified: yesterday", "None 0"),
                ("404 | last-modified: @-1000", "Heuristic 100"),
                ("201 | last-modified: @-1000", "None 0"),
                ("599 | last-modified: @-1000", "None 0"),
                ("599 | last-modified: @-1000 | cache-control: public", "Heuristic 100"),
            ],
        );
        check(&Terms { heuristic: None, ..Terms::default() }, &[("200 | last-modified: @-1000", "None 0")]);
        let tight = Heuristic { percent: 50, max: seconds(60) };
        check(&Terms { heuristic: Some(tight), ..Terms::default() }, &[("200 | last-modified: @-100", "Heuristic 50")]);
        check(
            &Terms { heuristic: Some(tight), ..Terms::default() },
            &[("200 | last-modified: @-1000", "Heuristic 60")],
        );
    }

    #[test]
    fn the_operators_ttl_fills_silence() {
        let terms = Terms {
            ttl: Some(seconds(60)),
            status_ttl: vec![(StatusRange { first: 500, last: 503 }, seconds(5))],
            ..Terms::default()
        };
        check(
            &terms,
            &[
                ("200", "Operator 60"),
                ("200 | last-modified: @-1000", "Operator 60"),
                ("200 | cache-control: max-age=9", "MaxAge 9"),
                ("200 | cache-control: max-age=0", "MaxAge 0"),
                ("200 | cache-control: no-cache", "None 0"),
                ("200 | expires: 0", "Expires 0"),
                ("500", "Operator 5"),
                ("504", "None 0"),
                ("405", "None 0"),
                ("302", "None 0"),
            ],
        );
    }

    #[test]
    fn with_the_override_the_operators_ttl_wins() {
        let terms =
            Terms { ttl: Some(seconds(60)), ttl_override: true, max_ttl: Some(seconds(50)), ..Terms::default() };
        check(
            &terms,
            &[
                ("200 | cache-control: max-age=9", "Operator 50"),
                ("200 | cache-control: no-cache, max-age=0", "Operator 50"),
                ("503 | cache-control: max-age=9", "MaxAge 9"),
            ],
        );
    }

    #[test]
    fn bounds_hold_for_every_lifetime_but_an_explicit_zero() {
        let terms = Terms { min_ttl: Some(seconds(10)), max_ttl: Some(seconds(100)), ..Terms::default() };
        check(
            &terms,
            &[
                ("200 | cache-control: max-age=1", "MaxAge 10"),
                ("200 | cache-control: max-age=1000", "MaxAge 100"),
                ("200 | last-modified: @-10", "Heuristic 10"),
                ("200 | cache-control: max-age=0", "MaxAge 0"),
                ("200 | cache-control: no-cache, max-age=9", "None 0"),
                ("200 | expires: @-9", "Expires 0"),
                ("200", "None 0"),
            ],
        );
        let forced = Terms { ttl_override: true, ..terms };
        check(
            &forced,
            &[
                ("200 | cache-control: max-age=0", "Operator 10"),
                ("200 | cache-control: no-cache, max-age=99", "Operator 10"),
                ("200 | cache-control: max-age=20", "MaxAge 20"),
            ],
        );
    }

    #[test]
    fn section_4_2_3_the_older_of_two_reckonings_counts() {
        let sent = Moment { wall: NOW, mono: seconds(7) };
        let received = sent.after(Duration::from_millis(2_500));
        for (head, expected_millis) in [
            ("200 | date: @0", 2_500),
            ("200 | date: @+60", 2_500),
            ("200 | date: @-60", 62_000),
            ("200 | date: @-60 | age: 100", 102_500),
            ("200 | age: 100", 102_500),
            ("200 | age: abc", 2_500),
            ("200 | age: 99999999999999999999", 2_147_483_648_000 + 2_500),
        ] {
            assert_eq!(age_at_receipt(&answer(head), sent, received), Duration::from_millis(expected_millis), "{head}");
        }
    }

    #[test]
    fn rfc_5861_windows() {
        let terms =
            Terms { stale_while_revalidate: Some(seconds(5)), stale_if_error: Some(seconds(6)), ..Terms::default() };
        for (head, expected) in [
            ("200 | cache-control: max-age=1", (5, Some(6))),
            ("200 | cache-control: max-age=1, stale-while-revalidate=0, stale-if-error=0", (0, Some(0))),
            ("200 | cache-control: max-age=1, stale-while-revalidate=9", (9, Some(6))),
            ("200 | cache-control: s-maxage=1, stale-while-revalidate=9", (9, Some(6))),
            ("200 | cache-control: max-age=1, must-revalidate, stale-while-revalidate=9", (0, None)),
            ("200 | cache-control: max-age=1, proxy-revalidate, stale-if-error=9", (0, None)),
            ("200 | cache-control: no-cache, stale-if-error=9", (0, None)),
        ] {
            let answer = answer(head);
            let ground = lifetime(&answer, &terms);
            let (while_revalidate, if_error) = stale_windows(&answer, &ground, &terms);
            assert_eq!((while_revalidate.as_secs(), if_error.map(|window| window.as_secs())), expected, "{head}");
        }
    }
}
