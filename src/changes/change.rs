//! What changed, and what is to be done about it.

use crate::policy::tags::{governed_tag, group_tag, named_tag, prefix_tag, url_tag};
use crate::store::{EVERYTHING, Grade};

/// One thing that is no longer what it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// What it is.
    pub selector: Selector,
    /// What becomes of what is stored of it.
    pub action: Action,
    /// Who says so.
    pub source: Source,
    /// The announcer's own name for it, such as a request's id; may be empty.
    pub id: String,
}

impl Change {
    /// A purge of what `selector` names.
    pub fn new(selector: Selector, purge: Purge, source: Source) -> Self {
        Self { selector, action: Action::Purge(purge), source, id: String::new() }
    }
}

/// Names a part of what is stored.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Selector {
    /// One URL with all its variants.
    Url {
        /// On this host, or on all.
        host: Option<String>,
        /// Path and query as the client sent them. Begins with a slash.
        path_and_query: String,
    },
    /// All paths below one, by whole segments.
    Prefix {
        /// On this host, or on all.
        host: Option<String>,
        /// A path. Its last segment is a whole one, with or without a slash behind it.
        prefix: String,
    },
    /// What carries a name that the backend or a route gave.
    Tag(String),
    /// A cache group of one host (RFC 9875).
    Group {
        /// The host.
        host: String,
        /// The group.
        name: String,
    },
    /// All that a change rule could ever name, by the rule's own name.
    Governed(String),
    /// Everything.
    All,
}

impl Selector {
    /// The full name of the tag that the entries selected carry.
    pub fn tag(&self) -> String {
        match self {
            Selector::Url { host, path_and_query } => url_tag(host.as_deref(), path_and_query),
            Selector::Prefix { host, prefix } => prefix_tag(host.as_deref(), prefix),
            Selector::Tag(name) => named_tag(name),
            Selector::Group { host, name } => group_tag(host, name),
            Selector::Governed(rule) => governed_tag(rule),
            Selector::All => EVERYTHING.to_owned(),
        }
    }

    /// What is wrong with it, if it can select nothing.
    pub(super) fn problem(&self) -> Option<&'static str> {
        match self {
            Selector::Url { path_and_query, .. } if !path_and_query.starts_with('/') => {
                Some("the path of a URL begins with a slash")
            }
            Selector::Prefix { prefix, .. } if !prefix.starts_with('/') => Some("a prefix begins with a slash"),
            Selector::Tag(name) | Selector::Group { name, .. } | Selector::Governed(name) if name.is_empty() => {
                Some("the name is empty")
            }
            Selector::Url { host: Some(host), .. }
            | Selector::Prefix { host: Some(host), .. }
            | Selector::Group { host, .. }
                if host.is_empty() || host.contains('/') =>
            {
                Some("the host is none")
            }
            _ => None,
        }
    }
}

/// What becomes of what is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// It is not what it was.
    Purge(Purge),
}

impl Action {
    /// How hard it hits.
    pub fn grade(self) -> Grade {
        match self {
            Action::Purge(Purge::Hard) => Grade::Hard,
            Action::Purge(Purge::Soft) => Grade::Soft,
        }
    }
}

/// How much of it is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Purge {
    /// All: it counts as absent.
    Hard,
    /// Its freshness: it may be served while one refresh runs behind it.
    Soft,
}

/// Who announces a change; for the audit trail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// The admin API.
    Api,
    /// An unsafe or unknown method that passed through: RFC 9111 §4.4.
    Method,
    /// The Cache-Group-Invalidation field of an answer: RFC 9875 §3.
    Group,
    /// A reload of the config.
    Config,
    /// A message of the backend, through a change rule.
    Event,
}

impl Source {
    /// As written in the log.
    pub fn as_str(self) -> &'static str {
        match self {
            Source::Api => "api",
            Source::Method => "method",
            Source::Group => "group",
            Source::Config => "config",
            Source::Event => "event",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(selector: &Selector, expected: Result<&str, &str>) {
        match (selector.problem(), expected) {
            (None, Ok(tag)) => assert_eq!(selector.tag(), tag, "{selector:?}"),
            (problem, expected) => assert_eq!(problem, expected.err(), "{selector:?}"),
        }
    }

    #[test]
    fn a_selector_is_a_tag() {
        let on = |host: &str| Some(host.to_owned());
        let url = |host, path: &str| Selector::Url { host, path_and_query: path.into() };
        let prefix = |host, prefix: &str| Selector::Prefix { host, prefix: prefix.into() };
        let group = |host: &str, name: &str| Selector::Group { host: host.into(), name: name.into() };
        check(&url(None, "/p?q"), Ok("url:/p?q"));
        check(&url(on("h"), "/p"), Ok("url://h/p"));
        check(&url(None, "p"), Err("the path of a URL begins with a slash"));
        check(&url(None, ""), Err("the path of a URL begins with a slash"));
        check(&url(on(""), "/p"), Err("the host is none"));
        check(&url(on("h/x"), "/p"), Err("the host is none"));
        check(&prefix(None, "/api"), Ok("prefix:/api/"));
        check(&prefix(on("h"), "/api/"), Ok("prefix://h/api/"));
        check(&prefix(None, "api"), Err("a prefix begins with a slash"));
        check(&prefix(on(""), "/api"), Err("the host is none"));
        check(&Selector::Tag("user:7".into()), Ok("tag:user:7"));
        check(&Selector::Tag(String::new()), Err("the name is empty"));
        check(&Selector::Tag("*".into()), Ok("tag:*"));
        check(&group("h", "g"), Ok("group://h/g"));
        check(&group("h", ""), Err("the name is empty"));
        check(&group("", "g"), Err("the host is none"));
        check(&Selector::Governed("users".into()), Ok("governed:users"));
        check(&Selector::Governed(String::new()), Err("the name is empty"));
        check(&Selector::All, Ok("*"));
    }

    #[test]
    fn a_purge_is_hard_or_soft() {
        assert_eq!(Action::Purge(Purge::Hard).grade(), Grade::Hard);
        assert_eq!(Action::Purge(Purge::Soft).grade(), Grade::Soft);
    }
}
