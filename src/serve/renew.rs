//! A stored answer made fresh without its body: by a 304, or by the answer to a HEAD (RFC 9111 §4.3.4, §4.3.5).
//!
//! That the new fields speak of the stored body is settled before (`rfc::updates`, `rfc::head_updates`). What they change
//! is more than the lifetime: they may name other selecting fields, or forbid to keep the answer at all.

use http::HeaderMap;
use http::header;

use super::{encode, keep};
use crate::policy::Rule;
use crate::rfc::{self, RequestFacts, ResponseFacts, Storability, StoredFacts, Vary, VaryKey};
use crate::store::Entry;
use crate::upstream::Fetched;

/// What a stored answer is renewed by.
pub(super) struct Renewal<'a> {
    /// What is stored.
    pub(super) stored: &'a Entry,
    /// What the backend said about it.
    pub(super) fetched: &'a Fetched,
    /// What the caching rules need to know of the request.
    pub(super) asked: &'a RequestFacts,
    /// The request's fields, by which variants are told apart.
    pub(super) request: &'a HeaderMap,
    /// Its rule.
    pub(super) rule: &'a Rule,
    /// Its path, as the backend sees it.
    pub(super) path: &'a str,
}

/// What is new about it.
pub(super) struct Renewed {
    /// All fields, as they are to be stored.
    pub(super) headers: HeaderMap,
    /// Which variant it is now.
    pub(super) vary: VaryKey,
    /// How long it may be used.
    pub(super) facts: StoredFacts,
    /// Whether it is encoded for those who accept it.
    pub(super) compressible: bool,
}

impl Renewal<'_> {
    /// The stored answer with the `fresh` fields, which are the backend's without hop-by-hop ones; `None` if they forbid to
    /// keep it.
    pub(super) fn with(self, mut fresh: HeaderMap) -> Option<Renewed> {
        let Self { stored, fetched, asked, request, rule, path } = self;
        let age = fresh.remove(header::AGE);
        // Without a new Date the old one would make what was just confirmed look old.
        fresh.entry(header::DATE).or_insert_with(|| rfc::format_http_date(fetched.received.wall));
        let mut headers = rfc::merge(&stored.headers, &fresh);
        // Age counts for the arithmetic, but is not stored.
        if let Some(age) = age {
            headers.insert(header::AGE, age);
        }
        let terms = keep::terms_for(rule, path, &headers);
        let answer = ResponseFacts::read(stored.status, &headers, &terms.targets).dated(fetched.received.wall);
        let Storability::Store(ground) = rfc::storability(asked, &answer, &terms) else { return None };
        headers.remove(header::AGE);
        let length = stored.body.len() as u64;
        let compressible = encode::compressible(rule, stored.status, &headers, Some(length));
        if compressible {
            // A Vary of the backend's own has just replaced ours.
            encode::vary_on_coding(&mut headers);
        }
        let facts = StoredFacts::new(&answer, &ground, &terms, fetched.sent, fetched.received);
        let vary = match Vary::read(&fresh) {
            Vary::None => stored.vary.clone(),
            vary => VaryKey::of(&vary, request),
        };
        Some(Renewed { headers, vary, facts, compressible })
    }
}
