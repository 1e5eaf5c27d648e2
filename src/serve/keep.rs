//! Whether an answer is kept: the RFC's rules on the operator's terms, then this gateway's own about what can be kept
//! whole and for everybody. A fill acts upon it; `explain` prints it.

use http::header::{self, HeaderMap, HeaderName};

use super::forward::Outbound;
use super::pass;
use crate::policy::Rule;
use crate::rfc::{self, Ground, Reason, RequestFacts, ResponseFacts, Storability, Terms, Vary};
use crate::store::Store;
use crate::upstream::{Fetched, Framing};

/// What an answer was asked for with.
pub(super) struct Candidate<'a> {
    /// What the caching rules need to know of the request.
    pub(super) asked: &'a RequestFacts,
    /// The client's fields.
    pub(super) request: &'a HeaderMap,
    /// Its rule.
    pub(super) rule: &'a Rule,
    /// The request that was sent.
    pub(super) outbound: &'a Outbound,
    /// The largest body that is kept, in bytes.
    pub(super) max_object: u64,
}

/// An answer may be kept, and on what ground.
pub(super) struct Keep {
    /// What the caching rules need to know of the answer.
    pub(super) answer: ResponseFacts,
    /// How long, and on whose word.
    pub(super) ground: Ground,
    /// The operator's terms for this answer.
    pub(super) terms: Terms,
}

impl Candidate<'_> {
    /// Judges the head of an answer.
    pub(super) fn judge(&self, fetched: &Fetched) -> Result<Keep, Reason> {
        let head = &fetched.head;
        let terms = terms_for(self.rule, self.outbound.target.path(), &head.headers);
        let answer = ResponseFacts::read(head.status, &head.headers, &terms.targets).dated(fetched.received.wall);
        let ground = match rfc::storability(self.asked, &answer, &terms) {
            Storability::Store(ground) => ground,
            Storability::Refuse(reason) => return Err(self.unless_mismatched(reason, &answer)),
        };
        if self.carries_unkeyed(&head.headers) {
            return Err(Reason::UnkeyedInput);
        }
        match fetched.framing {
            Framing::CloseDelimited => return Err(Reason::CloseDelimited),
            Framing::Ambiguous => return Err(Reason::AmbiguousFraming),
            _ => {}
        }
        if pass::is_endless(&head.headers) {
            return Err(Reason::EndlessStream);
        }
        if fetched.body.exact_length().is_some_and(|length| length > self.max_object) {
            return Err(Reason::TooLarge);
        }
        Ok(Keep { answer, ground, terms })
    }

    /// The better reason for a refusal: with the route's own lifetime the answer would have been kept.
    fn unless_mismatched(&self, reason: Reason, answer: &ResponseFacts) -> Reason {
        let own = rfc::storability(self.asked, answer, &self.rule.terms);
        if matches!(own, Storability::Store(_)) { Reason::TypeMismatch } else { reason }
    }

    /// The strict profile keeps nothing that a field beside the key may have shaped: one that the route lets through, and
    /// that the answer does not name in Vary either.
    fn carries_unkeyed(&self, answer: &HeaderMap) -> bool {
        let Self { rule, request, outbound, .. } = self;
        let Some(strict) = &rule.strict else { return false };
        let vary = Vary::read(answer);
        let named = |name: &HeaderName| matches!(&vary, Vary::Fields(names) if names.contains(name));
        // What the route sets in its place is the route's, and in the key.
        let as_sent = |name: &HeaderName| outbound.headers.get_all(name) == request.get_all(name);
        let mut through = strict.forward_headers.iter().filter(|name| request.contains_key(*name));
        through.any(|name| as_sent(name) && !rule.key_headers().contains(name) && !named(name))
    }
}

/// The largest body that is kept, in bytes: the store's limit, or the route's if that is lower.
pub(super) fn max_object(rule: &Rule, store: &Store) -> u64 {
    let most = store.max_object();
    rule.max_object.map_or(most, |limit| limit.min(most))
}

/// The operator's terms for an answer with these fields. A lifetime meant for files of a kind is not given to an answer of
/// another kind: `/account/x.css` that comes back as HTML is an account page, not a style sheet.
pub(super) fn terms_for(rule: &Rule, path: &str, headers: &HeaderMap) -> Terms {
    let mut terms = rule.terms.clone();
    let given = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if promised_type(path).is_some_and(|promised| !given.to_ascii_lowercase().contains(promised)) {
        terms.ttl = None;
        terms.ttl_override = false;
        terms.status_ttl.clear();
        terms.min_ttl = None;
        terms.heuristic = None;
    }
    terms
}

/// The media type, or a part of it, that a path's extension promises; `None` where it promises nothing.
fn promised_type(path: &str) -> Option<&'static str> {
    let (_, extension) = path.rsplit('/').next()?.rsplit_once('.')?;
    Some(match extension.to_ascii_lowercase().as_str() {
        "css" => "css",
        "js" | "mjs" => "javascript",
        "png" | "jpg" | "jpeg" | "gif" | "webp" | "avif" | "svg" | "ico" | "bmp" => "image/",
        "woff" | "woff2" | "ttf" | "otf" | "eot" => "font",
        "mp4" | "webm" | "mov" => "video/",
        "mp3" | "ogg" | "wav" | "flac" => "audio/",
        "pdf" => "pdf",
        _ => return None,
    })
}
