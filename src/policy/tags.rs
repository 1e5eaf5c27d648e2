//! Names of the ledger's tags: everything that can be purged is a tag.

use std::hash::BuildHasher;
use std::sync::OnceLock;

/// A tag's name, hashed. A collision only purges too much.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TagHash(pub u64);

/// Hashes `tag`, the same within a process.
pub fn hash_tag(tag: &str) -> TagHash {
    static SEED: OnceLock<foldhash::fast::RandomState> = OnceLock::new();
    TagHash(SEED.get_or_init(foldhash::fast::RandomState::default).hash_one(tag))
}

/// The tag of one URL.
pub fn url_tag(host: Option<&str>, path_and_query: &str) -> String {
    host.map_or_else(|| format!("url:{path_and_query}"), |host| format!("url://{host}{path_and_query}"))
}

/// The tag of all paths beneath `prefix`.
pub fn prefix_tag(host: Option<&str>, prefix: &str) -> String {
    let slash = if prefix.ends_with('/') { "" } else { "/" };
    host.map_or_else(|| format!("prefix:{prefix}{slash}"), |host| format!("prefix://{host}{prefix}{slash}"))
}

/// The tag that the backend or a rule named.
pub fn named_tag(name: &str) -> String {
    format!("tag:{name}")
}

/// The tag of a cache group (RFC 9875) of one host.
pub fn group_tag(host: &str, name: &str) -> String {
    format!("group://{host}/{name}")
}
