//! What is stored, for people to look at.

use http::StatusCode;

use super::{Entry, Standing};
use crate::rfc::{Coding, StoredFacts};

/// Which entries to list; the default is all of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// The host, exactly.
    pub host: Option<String>,
    /// What path and query begin with, as they go to the backend.
    pub prefix: Option<String>,
    /// The full name of a tag, such as `tag:user:7`.
    pub tag: Option<String>,
}

impl Filter {
    /// Is `entry` asked for?
    pub(super) fn admits(&self, entry: &Entry) -> bool {
        self.host.as_deref().is_none_or(|host| entry.key.host() == host)
            && self.prefix.as_deref().is_none_or(|prefix| entry.key.path_and_query().starts_with(prefix))
            && self.tag.as_deref().is_none_or(|tag| entry.tags.iter().any(|held| **held == *tag))
    }
}

/// One stored variant.
#[derive(Clone, Debug, PartialEq)]
pub struct EntrySummary {
    /// The whole key, readable.
    pub key: String,
    /// The host it was asked of.
    pub host: String,
    /// The path and query that the backend was asked for.
    pub path: String,
    /// Names of the request fields that select this variant.
    pub vary: Vec<String>,
    /// Status of the answer.
    pub status: StatusCode,
    /// How its body is coded.
    pub coding: Coding,
    /// Bytes of its body.
    pub body: u64,
    /// Bytes of memory it holds, its body in other codings included.
    pub weight: u64,
    /// What decides how long it may be used: its age and what is left of its lifetime follow from it and the time.
    pub facts: StoredFacts,
    /// Full names of its tags.
    pub tags: Vec<String>,
    /// The change it was born after.
    pub born: u64,
    /// What the ledger permits.
    pub standing: Standing,
}

impl EntrySummary {
    pub(super) fn of(entry: &Entry, standing: Standing) -> Self {
        Self {
            key: entry.key.to_string(),
            host: entry.key.host().to_owned(),
            path: entry.key.path_and_query().to_owned(),
            vary: entry.vary.names().map(ToString::to_string).collect(),
            status: entry.status,
            coding: entry.coding,
            body: entry.body.len() as u64,
            weight: u64::from(entry.full_weight()),
            facts: entry.facts.clone(),
            tags: entry.tags.iter().map(ToString::to_string).collect(),
            born: entry.born.number,
            standing,
        }
    }
}
