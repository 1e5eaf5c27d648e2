//! Names that answers share, so that a change can reach all of them: groups ([RFC 9875]) and surrogate tags.
//!
//! The backend says with each answer what it was made of. Several dialects say the same thing; whatever is found in any
//! of them counts. The number and length of names is bounded, because every node keeps them for every entry. An answer
//! with more than that is told apart: a purge by a name that was left out would not find it.
//!
//! [RFC 9875]: https://www.rfc-editor.org/rfc/rfc9875

use super::fields::{split_commas, words};
use http::header::{HeaderMap, HeaderName, HeaderValue};
use sfv::{List, ListEntry, Parser};
use std::collections::HashSet;

static CACHE_GROUPS: HeaderName = HeaderName::from_static("cache-groups");
static CACHE_GROUP_INVALIDATION: HeaderName = HeaderName::from_static("cache-group-invalidation");

/// The dialects of tags, and whether commas separate as well as spaces. Surrogate-Key (Fastly) allows commas in a key;
/// Cache-Tag (Cloudflare and others), Edge-Cache-Tag (Akamai) and xkey (Varnish) do not allow spaces in one.
static TAG_FIELDS: [(HeaderName, bool); 4] = [
    (HeaderName::from_static("cache-tag"), true),
    (HeaderName::from_static("edge-cache-tag"), true),
    (HeaderName::from_static("xkey"), true),
    (HeaderName::from_static("surrogate-key"), false),
];

/// RFC 9875 §2 asks for fewer; no backend seen so far sends more.
const MAX_GROUPS: usize = 128;
const MAX_TAGS: usize = 1000;
/// In bytes, for groups and tags alike.
const MAX_NAME: usize = 1024;

/// Names read from an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names {
    /// Each once, in the order of the answer; 1 to 1024 bytes of ASCII.
    pub names: Vec<String>,
    /// False if a name was left out because it was too long, was not ASCII, or was one too many. An answer with
    /// incomplete names cannot be purged by all of them, and is better not stored.
    pub complete: bool,
}

/// The groups of an answer, from Cache-Groups. [RFC 9875 §2]. At most 128; see [`read_groups`] for whether that is all.
///
/// [RFC 9875 §2]: https://www.rfc-editor.org/rfc/rfc9875#section-2
pub fn groups(answer: &HeaderMap) -> Vec<String> {
    read_groups(answer).names
}

/// The groups of an answer, from Cache-Groups. RFC 9875 §2. They are compared character by character, within one
/// origin.
///
/// A field that is no structured list counts as absent; members that are no strings are passed over.
pub fn read_groups(answer: &HeaderMap) -> Names {
    strings(answer, &CACHE_GROUPS)
}

/// The groups that the answer to an unsafe request invalidates, from Cache-Group-Invalidation. [RFC 9875 §3].
///
/// "The Cache-Group-Invalidation header field MUST be ignored on responses to requests that have a safe method": that is
/// the caller's to know.
///
/// [RFC 9875 §3]: https://www.rfc-editor.org/rfc/rfc9875#section-3
pub fn group_invalidation(answer: &HeaderMap) -> Vec<String> {
    strings(answer, &CACHE_GROUP_INVALIDATION).names
}

/// The surrogate tags of an answer: the union of Cache-Tag, Edge-Cache-Tag, xkey and Surrogate-Key. At most 1000; see
/// [`read_cache_tags`] for whether that is all. Case counts.
pub fn cache_tags(answer: &HeaderMap) -> Vec<String> {
    read_cache_tags(answer).names
}

/// The surrogate tags of an answer: the union of Cache-Tag, Edge-Cache-Tag, xkey and Surrogate-Key. A tag is visible
/// ASCII without spaces.
pub fn read_cache_tags(answer: &HeaderMap) -> Names {
    let mut found = Gathering::new(MAX_TAGS);
    for (field, commas) in &TAG_FIELDS {
        for line in answer.get_all(field) {
            if *commas {
                split_commas(line.as_bytes()).flat_map(words).for_each(|tag| found.add(tag));
            } else {
                words(line.as_bytes()).for_each(|tag| found.add(tag));
            }
        }
    }
    found.names
}

/// The strings of a structured list, all lines together.
fn strings(answer: &HeaderMap, field: &HeaderName) -> Names {
    let mut found = Gathering::new(MAX_GROUPS);
    let lines = answer.get_all(field).iter().map(HeaderValue::as_bytes);
    // An empty line adds no members; joined to others it would make the list malformed.
    let lines: Vec<&[u8]> = lines.filter(|line| !line.is_empty()).collect();
    let list: List = Parser::new(&lines.join(&b", "[..])).parse().unwrap_or_default();
    for member in &list {
        if let ListEntry::Item(item) = member
            && let Some(name) = item.bare_item.as_string()
        {
            found.add(name.as_str().as_bytes());
        }
    }
    found.names
}

/// Collects names, each once, up to a number.
struct Gathering {
    names: Names,
    seen: HashSet<String>,
    most: usize,
}

impl Gathering {
    fn new(most: usize) -> Self {
        Gathering { names: Names { names: Vec::new(), complete: true }, seen: HashSet::new(), most }
    }

    fn add(&mut self, name: &[u8]) {
        if name.is_empty() {
            return;
        }
        let fits = name.len() <= MAX_NAME && name.iter().all(|byte| matches!(byte, 0x20..=0x7e));
        let Some(name) = std::str::from_utf8(name).ok().filter(|_| fits) else {
            self.names.complete = false;
            return;
        };
        if self.seen.contains(name) {
            return;
        }
        if self.names.names.len() >= self.most {
            self.names.complete = false;
            return;
        }
        self.seen.insert(name.to_owned());
        self.names.names.push(name.to_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::super::fields::tests::head;
    use super::*;
    use proptest::prelude::*;

    fn check(read: impl Fn(&HeaderMap) -> Vec<String>, rows: &[(&str, &[&str])]) {
        for (answer, expected) in rows {
            assert_eq!(read(&head(answer)), *expected, "{answer}");
        }
    }

    #[test]
    fn section_2_groups_are_a_list_of_strings() {
        check(
            groups,
            &[
                ("", &[]),
                ("cache-groups: ", &[]),
                ("cache-groups: \"scripts\"", &["scripts"]),
                ("cache-groups: \"a\", \"b\";x=1, \"a\"", &["a", "b"]),
                ("cache-groups: \"a b, c\"", &["a b, c"]),
                ("cache-groups: \"a\\\"b\"", &["a\"b"]),
                ("cache-groups: \"a\" | cache-groups:  | cache-groups: \"b\"", &["a", "b"]),
                ("cache-groups: \"A\", \"a\"", &["A", "a"]),
                ("cache-groups: \"a\", token, 1, (\"x\"), \"\"", &["a"]),
                ("cache-groups: \"a\", \"open", &[]),
                ("cache-groups: \"a\",", &[]),
                ("cache-groups: \"f\u{fc}r\"", &[]),
            ],
        );
    }

    #[test]
    fn section_3_groups_to_invalidate() {
        check(
            group_invalidation,
            &[
                (
                    "cache-group-invalidation: \"eurovision-results\", \"australia\"",
                    &["eurovision-results", "australia"],
                ),
                ("cache-groups: \"a\"", &[]),
                ("cache-group-invalidation: nonsense nonsense", &[]),
            ],
        );
    }

    #[test]
    fn tags_of_all_dialects_count() {
        check(
            cache_tags,
            &[
                ("", &[]),
                ("cache-tag: a, b,,c | cache-tag: d", &["a", "b", "c", "d"]),
                ("cache-tag: a b", &["a", "b"]),
                ("surrogate-key: a b\tc", &["a", "b", "c"]),
                ("surrogate-key: a,b c", &["a,b", "c"]),
                ("edge-cache-tag: a,b", &["a", "b"]),
                ("xkey: a b | xkey: c,d", &["a", "b", "c", "d"]),
                ("surrogate-key: x user:1 | cache-tag: user:1, y", &["user:1", "y", "x"]),
                ("cache-tag: A, a", &["A", "a"]),
            ],
        );
    }

    #[test]
    fn what_is_left_out_is_not_hidden() {
        let tags = |count: usize| (0..count).map(|n| n.to_string()).collect::<Vec<_>>().join(",");
        let quoted = |count: usize| (0..count).map(|n| format!("\"{n}\"")).collect::<Vec<_>>().join(",");
        let rows = [
            (read_cache_tags(&head(&format!("cache-tag: {}", tags(1000)))), 1000, true),
            (read_cache_tags(&head(&format!("cache-tag: {}", tags(1001)))), 1000, false),
            (read_cache_tags(&head(&format!("cache-tag: {}", "a".repeat(1024)))), 1, true),
            (read_cache_tags(&head(&format!("cache-tag: b,{}", "a".repeat(1025)))), 1, false),
            (read_cache_tags(&head("cache-tag: a, f\u{fc}r")), 1, false),
            (read_cache_tags(&head(&format!("cache-tag: {}", "a,".repeat(2000)))), 1, true),
            (read_groups(&head(&format!("cache-groups: {}", quoted(128)))), 128, true),
            (read_groups(&head(&format!("cache-groups: {}", quoted(129)))), 128, false),
        ];
        for (found, count, complete) in rows {
            assert_eq!((found.names.len(), found.complete), (count, complete));
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(bytes in any::<Vec<u8>>()) {
            let Ok(value) = HeaderValue::from_bytes(&bytes) else { return Ok(()) };
            for name in ["cache-groups", "cache-tag", "surrogate-key"] {
                let mut answer = HeaderMap::new();
                answer.append(HeaderName::from_static(name), value.clone());
                let all = [groups(&answer), cache_tags(&answer)].concat();
                prop_assert!(all.iter().all(|name| !name.is_empty() && name.len() <= 1024 && name.is_ascii()));
            }
        }
    }
}
