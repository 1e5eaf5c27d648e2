//! The names of the ledger's tags. Everything that can be purged is a tag: a URL, a path prefix, a name that the
//! backend or a route gave, a cache group. So a purge is one look-up of one name, and an entry knows all of its own.
//!
//! | tag | purges |
//! |---|---|
//! | `url:/p?q`, `url://host/p?q` | that URL, on any host or on one |
//! | `prefix:/api/`, `prefix://host/api/` | all paths below, by whole segments |
//! | `tag:NAME` | what carries the name in Cache-Tag, Surrogate-Key or a route's `tags` |
//! | `group://host/NAME` | the group of that host (RFC 9875) |
//! | `governed:NAME` | all that the change rule of that name could name |
//!
//! An entry answers to the URL its backend saw and to the one its client asked for; its prefixes are the client's.

use std::hash::BuildHasher;
use std::sync::OnceLock;

use foldhash::quality::RandomState;

/// How many segments of a path count for prefix tags. A path could have thousands, and each would be a tag. A purge
/// of a deeper prefix purges the one of this depth: too much, never too little.
pub const MAX_PREFIX_DEPTH: usize = 16;

/// The tag of a URL: of one host, or of all. `path_and_query` is raw, as the client sent it.
pub fn url_tag(host: Option<&str>, path_and_query: &str) -> String {
    named("url:", host, path_and_query, "")
}

/// The tags of a path's own ancestors, and of itself, appended to `out`: each for any host and for this one.
///
/// `/api/users/1` has `/`, `/api/`, `/api/users/` and `/api/users/1/`. A query is no part of it.
pub fn prefix_tags(host: &str, path: &str, out: &mut Vec<String>) {
    for prefix in ancestors(without_query(path)) {
        let slash = if prefix.ends_with('/') { "" } else { "/" };
        out.push(named("prefix:", None, prefix, slash));
        out.push(named("prefix:", Some(host), prefix, slash));
    }
}

/// All that a request's target says about an answer, appended to `out`: the tags of the URL as it goes to the backend, of
/// the client's path with that query where a rewrite made them differ, and of the client's path prefixes.
///
/// `forwarded`: path and query as [`Rule::forward_path`](super::Rule::forward_path) gave them. `path`: as received.
pub fn request_tags(host: &str, forwarded: &str, path: &str, out: &mut Vec<String>) {
    let mut add = |url: &str| out.extend([url_tag(None, url), url_tag(Some(host), url)]);
    add(forwarded);
    let (sent, query) = forwarded.find('?').map_or((forwarded, ""), |at| forwarded.split_at(at));
    if sent != path {
        add(&[path, query].concat());
    }
    prefix_tags(host, path, out);
}

/// The tag to purge everything below `prefix`, on one host or on all. A missing first or last slash is added.
pub fn prefix_tag(host: Option<&str>, prefix: &str) -> String {
    let prefix = without_query(prefix);
    let rooted = if prefix.starts_with('/') { prefix.to_owned() } else { format!("/{prefix}") };
    let deepest = ancestors(&rooted).last().unwrap_or("/");
    let slash = if deepest.ends_with('/') { "" } else { "/" };
    named("prefix:", host, deepest, slash)
}

/// The tag of a name given by the backend or by a route's template.
pub fn named_tag(name: &str) -> String {
    format!("tag:{name}")
}

/// The tag of a cache group, which belongs to one host (RFC 9875 §2).
pub fn group_tag(host: &str, name: &str) -> String {
    format!("group://{}/{name}", host.to_ascii_lowercase())
}

/// The tag of everything that a change rule could name.
pub fn governed_tag(rule: &str) -> String {
    format!("governed:{rule}")
}

/// A tag as the ledger keeps it. Two names may share one; then a purge of the one takes the other along, which costs
/// a fetch and never an old answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TagHash(pub u64);

/// The hash of a tag's full name: the same within one process, another in the next, so that nobody can prepare names
/// that meet.
pub fn hash_tag(tag: &str) -> TagHash {
    static SEED: OnceLock<RandomState> = OnceLock::new();
    TagHash(SEED.get_or_init(RandomState::default).hash_one(tag))
}

/// The prefixes of a path that end before or after a slash, shortest first: `/`, `/api/`, `/api/users/`, then the whole.
fn ancestors(path: &str) -> impl Iterator<Item = &str> {
    let inner = path.match_indices('/').map(|(at, _)| at + 1);
    let whole = (!path.ends_with('/')).then_some(path.len());
    inner.chain(whole).take(MAX_PREFIX_DEPTH + 1).filter_map(|end| path.get(..end))
}

fn without_query(path: &str) -> &str {
    path.split_once('?').map_or(path, |(path, _)| path)
}

fn named(kind: &str, host: Option<&str>, path: &str, end: &str) -> String {
    let host = host.map(str::to_ascii_lowercase);
    let (slashes, host) = host.as_deref().map_or(("", ""), |host| ("//", host));
    [kind, slashes, host, path, end].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefixes(path: &str) -> Vec<String> {
        let mut out = Vec::new();
        prefix_tags("h", path, &mut out);
        out
    }

    #[test]
    fn a_url_has_a_tag_with_and_without_its_host() {
        assert_eq!(url_tag(None, "/p?q"), "url:/p?q");
        assert_eq!(url_tag(Some("Example.com"), "/p?q"), "url://example.com/p?q");
    }

    #[test]
    fn a_rewritten_url_answers_to_both_of_its_names() {
        for (forwarded, path, expected) in [
            ("/a?x=1", "/a", "url:/a?x=1 url://h/a?x=1 prefix:/ prefix://h/ prefix:/a/ prefix://h/a/"),
            ("/?x", "/a", "url:/?x url://h/?x url:/a?x url://h/a?x prefix:/ prefix://h/ prefix:/a/ prefix://h/a/"),
            ("/b", "/", "url:/b url://h/b url:/ url://h/ prefix:/ prefix://h/"),
        ] {
            let mut out = Vec::new();
            request_tags("h", forwarded, path, &mut out);
            assert_eq!(out.join(" "), expected, "{forwarded} {path}");
        }
    }

    #[test]
    fn a_path_counts_its_own_ancestors_as_whole_segments() {
        for (path, expected) in [
            ("/", &["/"][..]),
            ("/api", &["/", "/api/"]),
            ("/api/", &["/", "/api/"]),
            ("/api/users/1", &["/", "/api/", "/api/users/", "/api/users/1/"]),
            ("/a//b", &["/", "/a/", "/a//", "/a//b/"]),
            ("/a?x=/b/c", &["/", "/a/"]),
        ] {
            let wanted: Vec<String> =
                expected.iter().flat_map(|p| [format!("prefix:{p}"), format!("prefix://h{p}")]).collect();
            assert_eq!(prefixes(path), wanted, "{path}");
        }
    }

    #[test]
    fn a_prefix_to_purge_is_made_whole() {
        for (prefix, expected) in [
            ("/api/users/", "prefix:/api/users/"),
            ("/api/users", "prefix:/api/users/"),
            ("api", "prefix:/api/"),
            ("", "prefix:/"),
            ("/", "prefix:/"),
            ("/a?x", "prefix:/a/"),
        ] {
            assert_eq!(prefix_tag(None, prefix), expected);
        }
        assert_eq!(prefix_tag(Some("H.example"), "/a"), "prefix://h.example/a/");
    }

    #[test]
    fn a_prefix_deeper_than_the_limit_still_reaches_the_paths_below_it() {
        let deep = "/x".repeat(40);
        let tags = prefixes(&deep);
        assert_eq!(tags.len(), 2 * (MAX_PREFIX_DEPTH + 1));
        for depth in 1..40 {
            let purged = prefix_tag(None, &"/x".repeat(depth));
            assert!(tags.contains(&purged), "depth {depth}: {purged}");
        }
    }

    #[test]
    fn a_hash_is_stable_within_the_process_and_tells_names_apart() {
        assert_eq!(hash_tag("tag:a"), hash_tag("tag:a"));
        assert_ne!(hash_tag("tag:a"), hash_tag("tag:b"));
        assert_eq!(group_tag("H", "a"), "group://h/a");
        assert_eq!(named_tag("user:1"), "tag:user:1");
        assert_eq!(governed_tag("users"), "governed:users");
    }
}
