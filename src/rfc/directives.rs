//! Cache directives: what `Cache-Control` and its targeted kin say, read once into plain values.
//!
//! Nothing here fails. Malformed input has a meaning, and it is always the careful one:
//!
//! - a lifetime that cannot be read is zero (RFC 9111 §4.2.1 asks to treat such answers as stale);
//! - of several values for one directive the shortest counts, so that no order of lines can make an answer live longer;
//! - a restriction counts whatever argument it carries: `private="set-cookie"` is `private` (§5.2.2.7 allows the reading);
//! - a permission (`public`, `immutable`, `must-understand`) counts only in the form that is defined, without argument;
//! - after a quotation mark that is never closed, the lifetimes in the rest of that line cannot be trusted and are zero,
//!   while its restrictions still count.
//!
//! A number too large to hold is 2^31 seconds (§1.2.2): 68 years, which is for ever.

use std::time::Duration;

use http::header::{CACHE_CONTROL, PRAGMA};
use http::{HeaderMap, HeaderName, HeaderValue};
use sfv::{BareItem, Dictionary, ListEntry, Parser};

use crate::rfc::members::{Argument, FOR_EVER, lower_case, members};

/// What an answer says about being cached: [RFC 9111 §5.2.2], with RFC 5861 (`stale-*`) and RFC 8246 (`immutable`).
///
/// [RFC 9111 §5.2.2]: https://www.rfc-editor.org/rfc/rfc9111.html#section-5.2.2
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResponseDirectives {
    /// Do not store (§5.2.2.5).
    pub no_store: bool,
    /// Validate before each use (§5.2.2.4). The form that names fields counts as the one without.
    pub no_cache: bool,
    /// For one user only (§5.2.2.7). The form that names fields counts as the one without.
    pub private: bool,
    /// May be stored even where it otherwise would not (§5.2.2.9).
    pub public: bool,
    /// Once stale, never use without validation (§5.2.2.2).
    pub must_revalidate: bool,
    /// The same, for shared caches such as this one (§5.2.2.8).
    pub proxy_revalidate: bool,
    /// Store only if the status is understood; then `no-store` does not count (§5.2.2.3).
    pub must_understand: bool,
    /// Will not change while fresh (RFC 8246).
    pub immutable: bool,
    /// Do not transform the content (§5.2.2.6).
    pub no_transform: bool,
    /// The lifetime, for every cache (§5.2.2.1).
    pub max_age: Option<Duration>,
    /// The lifetime, for shared caches; beats `max_age` (§5.2.2.10).
    pub s_maxage: Option<Duration>,
    /// How long after its lifetime it may be served while it is being refreshed (RFC 5861 §3).
    pub stale_while_revalidate: Option<Duration>,
    /// How long after its lifetime it may be served in place of an error (RFC 5861 §4).
    pub stale_if_error: Option<Duration>,
}

impl ResponseDirectives {
    /// Reads all `Cache-Control` lines of an answer.
    pub fn parse(headers: &HeaderMap) -> Self {
        let mut directives = Self::default();
        for line in headers.get_all(CACHE_CONTROL) {
            for (name, argument) in members(line) {
                directives.take(&lower_case(name), argument);
            }
        }
        directives
    }

    /// Reads the field that speaks to this cache in particular: the first of `list` that is present, is a valid
    /// structured dictionary and has a member ([RFC 9213 §2.1]). It takes the place of `Cache-Control` and `Expires`; a
    /// field that is empty or cannot be parsed counts as absent.
    ///
    /// [RFC 9213 §2.1]: https://www.rfc-editor.org/rfc/rfc9213.html#section-2.1
    pub fn parse_targeted(headers: &HeaderMap, list: &[HeaderName]) -> Option<(HeaderName, Self)> {
        list.iter().find_map(|name| {
            let dictionary = dictionary(headers, name)?;
            let mut directives = Self::default();
            for (key, entry) in &dictionary {
                if let Some(argument) = argument_of(entry) {
                    directives.take(key.as_str().as_bytes(), argument);
                }
            }
            Some((name.clone(), directives))
        })
    }

    fn take(&mut self, name: &[u8], argument: Argument) {
        match name {
            b"no-store" => self.no_store = true,
            b"no-cache" => self.no_cache = true,
            b"private" => self.private = true,
            b"must-revalidate" => self.must_revalidate = true,
            b"proxy-revalidate" => self.proxy_revalidate = true,
            b"no-transform" => self.no_transform = true,
            b"public" => self.public |= argument.is_absent(),
            b"must-understand" => self.must_understand |= argument.is_absent(),
            b"immutable" => self.immutable |= argument.is_absent(),
            b"max-age" => shorten(&mut self.max_age, argument.or_zero()),
            b"s-maxage" => shorten(&mut self.s_maxage, argument.or_zero()),
            b"stale-while-revalidate" => shorten(&mut self.stale_while_revalidate, argument.or_zero()),
            b"stale-if-error" => shorten(&mut self.stale_if_error, argument.or_zero()),
            _ => {}
        }
    }
}

/// How stale an answer a client will take: the argument of the request's `max-stale` ([RFC 9111 §5.2.1.2]).
///
/// [RFC 9111 §5.2.1.2]: https://www.rfc-editor.org/rfc/rfc9111.html#section-5.2.1.2
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MaxStale {
    /// However stale.
    Any,
    /// Stale for no longer than this.
    Within(Duration),
}

impl MaxStale {
    /// Whether it covers an answer that has been stale for `staleness`.
    pub fn covers(self, staleness: Duration) -> bool {
        match self {
            Self::Any => true,
            Self::Within(limit) => staleness <= limit,
        }
    }
}

/// What a request asks of the caches on its way: [RFC 9111 §5.2.1]. Advice, which [`Terms::honour_request`] turns on.
///
/// [RFC 9111 §5.2.1]: https://www.rfc-editor.org/rfc/rfc9111.html#section-5.2.1
/// [`Terms::honour_request`]: crate::rfc::Terms::honour_request
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestDirectives {
    /// Do not store the answer (§5.2.1.5).
    pub no_store: bool,
    /// Validate before use (§5.2.1.4); also `Pragma: no-cache` where there is no `Cache-Control` (§5.4).
    pub no_cache: bool,
    /// A stored answer or none (§5.2.1.7).
    pub only_if_cached: bool,
    /// Do not transform the content (§5.2.1.6).
    pub no_transform: bool,
    /// No older than this (§5.2.1.1).
    pub max_age: Option<Duration>,
    /// This stale is still acceptable (§5.2.1.2). One that cannot be read permits nothing.
    pub max_stale: Option<MaxStale>,
    /// Still fresh for this long (§5.2.1.3). One that cannot be read asks for nothing.
    pub min_fresh: Option<Duration>,
    /// This stale is acceptable in place of an error (RFC 5861 §4).
    pub stale_if_error: Option<Duration>,
}

impl RequestDirectives {
    /// Reads `Cache-Control` and, where that is absent, `Pragma`.
    pub fn parse(headers: &HeaderMap) -> Self {
        let mut directives = Self::default();
        if headers.contains_key(CACHE_CONTROL) {
            headers.get_all(CACHE_CONTROL).iter().for_each(|line| directives.take_line(line));
        } else {
            headers.get_all(PRAGMA).iter().for_each(|line| directives.take_pragma(line));
        }
        directives
    }

    /// Adds what one `Cache-Control` line says.
    pub(super) fn take_line(&mut self, line: &HeaderValue) {
        for (name, argument) in members(line) {
            self.take(&lower_case(name), argument);
        }
    }

    /// Adds what one `Pragma` line says: `no-cache` is all that was ever defined.
    pub(super) fn take_pragma(&mut self, line: &HeaderValue) {
        self.no_cache |= members(line).any(|(name, _)| name.eq_ignore_ascii_case(b"no-cache"));
    }

    fn take(&mut self, name: &[u8], argument: Argument) {
        match (name, argument) {
            (b"no-store", _) => self.no_store = true,
            (b"no-cache", _) => self.no_cache = true,
            (b"only-if-cached", _) => self.only_if_cached = true,
            (b"no-transform", _) => self.no_transform = true,
            (b"max-age", argument) => shorten(&mut self.max_age, argument.or_zero()),
            (b"min-fresh", Argument::Seconds(wish)) => self.min_fresh = self.min_fresh.max(Some(wish)),
            (b"stale-if-error", argument) => shorten(&mut self.stale_if_error, argument.or_zero()),
            (b"max-stale", Argument::Absent) => self.max_stale = self.max_stale.or(Some(MaxStale::Any)),
            (b"max-stale", argument) => {
                let limit = match self.max_stale {
                    Some(MaxStale::Within(known)) => known.min(argument.or_zero()),
                    _ => argument.or_zero(),
                };
                self.max_stale = Some(MaxStale::Within(limit));
            }
            _ => {}
        }
    }
}

fn shorten(slot: &mut Option<Duration>, value: Duration) {
    *slot = Some(slot.map_or(value, |known| known.min(value)));
}

/// All lines of a field as one structured dictionary; `None` if it is absent, empty or malformed.
fn dictionary(headers: &HeaderMap, name: &HeaderName) -> Option<Dictionary> {
    let mut all = Dictionary::new();
    for line in headers.get_all(name) {
        all = Parser::new(line.as_bytes()).parse_dictionary_with_visitor(all).ok()?;
    }
    (!all.is_empty()).then_some(all)
}

/// A dictionary member's value; `None` if the member says that the directive does not apply (`?0`). Parameters
/// have no meaning (RFC 9213 §2.1).
fn argument_of(entry: &ListEntry) -> Option<Argument> {
    let ListEntry::Item(item) = entry else { return Some(Argument::Other) };
    match &item.bare_item {
        BareItem::Boolean(true) => Some(Argument::Absent),
        BareItem::Boolean(false) => None,
        BareItem::Integer(number) => {
            let seconds = u64::try_from(i64::from(*number)).ok().map(Duration::from_secs);
            Some(seconds.map_or(Argument::Other, |seconds| Argument::Seconds(seconds.min(FOR_EVER))))
        }
        _ => Some(Argument::Other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rfc::notation::fields;
    use proptest::prelude::*;

    fn seconds(duration: Option<Duration>) -> Option<u64> {
        duration.map(|duration| duration.as_secs())
    }

    /// Restrictions and permissions by name, then lifetimes, in the order of the struct.
    fn told(said: &ResponseDirectives) -> String {
        let flags = [
            (said.no_store, "no-store"),
            (said.no_cache, "no-cache"),
            (said.private, "private"),
            (said.public, "public"),
            (said.must_revalidate, "must-revalidate"),
            (said.proxy_revalidate, "proxy-revalidate"),
            (said.must_understand, "must-understand"),
            (said.immutable, "immutable"),
            (said.no_transform, "no-transform"),
        ];
        let lifetimes = [
            (said.max_age, "max-age"),
            (said.s_maxage, "s-maxage"),
            (said.stale_while_revalidate, "swr"),
            (said.stale_if_error, "sie"),
        ];
        let flags = flags.into_iter().filter(|(set, _)| *set).map(|(_, name)| name.to_owned());
        let lifetimes = lifetimes.into_iter().filter_map(|(value, name)| Some(format!("{name}={}", value?.as_secs())));
        flags.chain(lifetimes).collect::<Vec<_>>().join(" ")
    }

    fn check(rows: &[(&str, &str)]) {
        for (head, expected) in rows {
            let headers = fields(head, Duration::ZERO).expect(head);
            assert_eq!(told(&ResponseDirectives::parse(&headers)), *expected, "{head}");
        }
    }

    #[test]
    fn every_directive_is_read_in_any_case() {
        check(&[
            ("", ""),
            ("cache-control: no-store, no-cache, private, public", "no-store no-cache private public"),
            ("cache-control: must-revalidate,proxy-revalidate", "must-revalidate proxy-revalidate"),
            ("cache-control: must-understand,immutable,no-transform", "must-understand immutable no-transform"),
            ("cache-control: max-age=1, s-maxage=2", "max-age=1 s-maxage=2"),
            ("cache-control: stale-while-revalidate=3, stale-if-error=4", "swr=3 sie=4"),
            ("cache-control: No-StOrE, MaX-aGe=3600", "no-store max-age=3600"),
            ("cache-control: foobar, max-age=3600, x-y-z-a-very-long-extension-name=1", "max-age=3600"),
            ("cache-control: ,, max-age=1 ,\t, public ,", "public max-age=1"),
            ("cache-control: max-age=1 | cache-control: public", "public max-age=1"),
        ]);
    }

    #[test]
    fn the_shortest_of_several_lifetimes_counts() {
        check(&[
            ("cache-control: max-age=1800, max-age=1", "max-age=1"),
            ("cache-control: max-age=1, max-age=1800", "max-age=1"),
            ("cache-control: max-age=1800 | cache-control: max-age=1", "max-age=1"),
            ("cache-control: max-age=1800, max-age=nonsense", "max-age=0"),
        ]);
    }

    #[test]
    fn a_lifetime_that_cannot_be_read_is_zero() {
        check(&[
            ("cache-control: max-age", "max-age=0"),
            ("cache-control: max-age=", "max-age=0"),
            ("cache-control: max-age=-3600", "max-age=0"),
            ("cache-control: max-age='3600'", "max-age=0"),
            ("cache-control: max-age=3600.0", "max-age=0"),
            ("cache-control: max-age=a3600", "max-age=0"),
            ("cache-control: max-age=3600a", "max-age=0"),
            ("cache-control: max-age =3600", "max-age=0"),
            ("cache-control: max-age= 3600", "max-age=0"),
            ("cache-control: max-age=\"3600", "max-age=0"),
            ("cache-control: max-age=\"36\\00\"", "max-age=0"),
            ("cache-control: stale-if-error=x", "sie=0"),
        ]);
    }

    #[test]
    fn a_number_may_be_quoted_padded_or_too_large() {
        check(&[
            ("cache-control: max-age=\"3600\"", "max-age=3600"),
            ("cache-control: max-age=003600", "max-age=3600"),
            ("cache-control: max-age=2147483647", "max-age=2147483647"),
            ("cache-control: max-age=2147483649", "max-age=2147483648"),
            ("cache-control: max-age=99999999999999999999999999", "max-age=2147483648"),
        ]);
    }

    #[test]
    fn what_stands_in_a_quoted_string_is_no_directive() {
        check(&[
            ("cache-control: extension=\"max-age=3600\", max-age=1", "max-age=1"),
            ("cache-control: max-age=1, extension=\"max-age=3600\"", "max-age=1"),
            ("cache-control: x=\"a, no-store\", max-age=1", "max-age=1"),
            ("cache-control: x=\"a\\\", no-store\", max-age=1", "max-age=1"),
        ]);
    }

    #[test]
    fn after_an_unclosed_quote_only_restrictions_count() {
        check(&[
            ("cache-control: x=\"a, no-store, max-age=60, public", "no-store max-age=0"),
            ("cache-control: max-age=60, x=\"a, private", "private max-age=60"),
            ("cache-control: x=\"a | cache-control: max-age=60", "max-age=60"),
        ]);
    }

    #[test]
    fn restrictions_count_with_any_argument_and_permissions_with_none() {
        check(&[
            ("cache-control: private=\"set-cookie\", no-cache=\"a, b\"", "no-cache private"),
            ("cache-control: no-store=x", "no-store"),
            ("cache-control: public=\"x\", immutable=1, must-understand=?0", ""),
        ]);
    }

    fn check_targeted(rows: &[(&str, Option<&str>)]) {
        let list = [HeaderName::from_static("own-control"), HeaderName::from_static("cdn-cache-control")];
        for (head, expected) in rows {
            let headers = fields(head, Duration::ZERO).expect(head);
            let read = ResponseDirectives::parse_targeted(&headers, &list);
            let read = read.map(|(name, directives)| format!("{name}: {}", told(&directives)));
            assert_eq!(read.as_deref(), *expected, "{head}");
        }
    }

    #[test]
    fn rfc_9213_the_first_usable_field_of_the_list_counts() {
        check_targeted(&[
            ("cache-control: max-age=1", None),
            ("cdn-cache-control: max-age=60", Some("cdn-cache-control: max-age=60")),
            ("cdn-cache-control: max-age=60 | own-control: no-store", Some("own-control: no-store")),
            ("cdn-cache-control: max-age=60 | own-control: ", Some("cdn-cache-control: max-age=60")),
            ("cdn-cache-control: max-age=60 | own-control: max-age=1, &&", Some("cdn-cache-control: max-age=60")),
            ("cdn-cache-control: public | cdn-cache-control: max-age=60", Some("cdn-cache-control: public max-age=60")),
            ("cdn-cache-control: foo", Some("cdn-cache-control: ")),
        ]);
    }

    #[test]
    fn rfc_9213_the_field_is_a_structured_dictionary() {
        check_targeted(&[
            ("cdn-cache-control: max-age=10000, &&&&&", None),
            ("cdn-cache-control: MaX-aGe=3600", None),
            ("cdn-cache-control: max-age =100", None),
            ("cdn-cache-control: max-age=\"10000\"", Some("cdn-cache-control: max-age=0")),
            ("cdn-cache-control: max-age=-1", Some("cdn-cache-control: max-age=0")),
            ("cdn-cache-control: max-age=1.5", Some("cdn-cache-control: max-age=0")),
            ("cdn-cache-control: max-age", Some("cdn-cache-control: max-age=0")),
            ("cdn-cache-control: max-age=99999999999", Some("cdn-cache-control: max-age=2147483648")),
            ("cdn-cache-control: max-age=60;x=1, no-store=?0", Some("cdn-cache-control: max-age=60")),
            ("cdn-cache-control: private=(a b), no-cache=\"x\"", Some("cdn-cache-control: no-cache private")),
            ("cdn-cache-control: max-age=1, max-age=2", Some("cdn-cache-control: max-age=2")),
        ]);
    }

    fn asked(head: &str) -> RequestDirectives {
        RequestDirectives::parse(&fields(head, Duration::ZERO).expect(head))
    }

    #[test]
    fn requests_are_read_with_their_own_meaning() {
        let all = asked("cache-control: no-store, no-cache, only-if-cached, no-transform");
        assert!(all.no_store && all.no_cache && all.only_if_cached && all.no_transform);
        let asked_for = asked("cache-control: max-age=1, min-fresh=2, max-stale=3, stale-if-error=4");
        assert_eq!(seconds(asked_for.max_age), Some(1));
        assert_eq!(seconds(asked_for.min_fresh), Some(2));
        assert_eq!(asked_for.max_stale, Some(MaxStale::Within(Duration::from_secs(3))));
        assert_eq!(seconds(asked_for.stale_if_error), Some(4));
    }

    #[test]
    fn in_requests_too_the_careful_reading_counts() {
        assert_eq!(asked("cache-control: max-stale").max_stale, Some(MaxStale::Any));
        let within = |seconds| Some(MaxStale::Within(Duration::from_secs(seconds)));
        assert_eq!(asked("cache-control: max-stale=9, max-stale").max_stale, within(9));
        assert_eq!(asked("cache-control: max-stale, max-stale=9, max-stale=5").max_stale, within(5));
        assert_eq!(asked("cache-control: max-stale=x").max_stale, within(0));
        assert_eq!(seconds(asked("cache-control: min-fresh=1, min-fresh=5, min-fresh=x").min_fresh), Some(5));
        assert_eq!(seconds(asked("cache-control: max-age=x").max_age), Some(0));
    }

    #[test]
    fn pragma_counts_only_without_cache_control() {
        assert!(asked("pragma: no-cache").no_cache);
        assert!(asked("pragma: x, No-Cache").no_cache);
        assert!(!asked("pragma: x").no_cache);
        assert!(!asked("pragma: no-cache | cache-control: max-age=1").no_cache);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            if let Ok(value) = HeaderValue::from_bytes(&bytes) {
                let mut headers = HeaderMap::new();
                headers.insert(CACHE_CONTROL, value.clone());
                headers.insert("cdn-cache-control", value);
                let _ = ResponseDirectives::parse(&headers);
                let _ = RequestDirectives::parse(&headers);
                let _ = ResponseDirectives::parse_targeted(&headers, &[HeaderName::from_static("cdn-cache-control")]);
            }
        }

        #[test]
        fn one_more_directive_never_makes_an_answer_live_longer(
            line in "(max-age|public|no-store|x=\"a\"|max-age=\"9\"|s-maxage|=|,| |[0-9]){0,8}",
        ) {
            let alone = ResponseDirectives::parse(&fields("cache-control: max-age=60", Duration::ZERO).expect("plain"));
            let mut headers = HeaderMap::new();
            headers.insert(CACHE_CONTROL, HeaderValue::from_static("max-age=60"));
            headers.append(CACHE_CONTROL, HeaderValue::try_from(line).expect("printable"));
            prop_assert!(ResponseDirectives::parse(&headers).max_age <= alone.max_age);
        }
    }
}
