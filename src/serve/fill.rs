//! Step 6: one fetch, from the backend into the store and to everybody who waits for it.
//!
//! A fill runs in a task of its own and owns all it needs, so nothing a client does can stop it. It asks the backend
//! (for the whole, or whether what is stored still holds), decides whether the answer may be kept, and keeps it while it
//! streams to those who wait. Whatever happens, its flight ends in a stage that says what happened.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http::StatusCode;
use http::header::{self, HeaderMap};
use http_body::Body as _;

use super::flight::{Draft, Leader};
use super::forward::Outbound;
use super::gateway::Backend;
use super::growing::Growing;
use super::keep::{Candidate, Keep};
use super::renew::{Renewal, Renewed};
use super::shape::NEVER_STORED;
use super::together::{Afterwards, Together, Turn};
use super::{encode, keep};
use crate::changes::ChangeRules;
use crate::clock::Clock;
use crate::policy::{CacheKey, Policy, Rule, tags};
use crate::rfc::{self, Coding, Reason, RequestFacts, StoredFacts, Trouble, Validators, Vary, VaryKey};
use crate::store::{Born, Entry, EntryParts, Standing, Store};
use crate::upstream::{FetchError, FetchErrorKind, Fetched, InterimSink};

/// Everything a fill needs to run by itself.
pub struct Fill {
    /// Where the answer goes.
    pub store: Arc<Store>,
    /// Who is asked.
    pub origin: Backend,
    /// The time.
    pub clock: Clock,
    /// The policy the request was routed by, kept for as long as the fill runs.
    pub policy: Arc<Policy>,
    /// The rule's place in it.
    pub rule: usize,
    /// What the answer is kept under.
    pub key: CacheKey,
    /// The request that is sent.
    pub outbound: Outbound,
    /// The request's fields, by which variants are told apart.
    pub request: HeaderMap,
    /// What the caching rules need to know of the request.
    pub facts: RequestFacts,
    /// The target's host in its normal form.
    pub host: String,
    /// What the backend's announcements change: their rules have tags of their own.
    pub rules: Arc<ChangeRules>,
    /// The tags that follow from the request: URL, prefixes, the rule's templates.
    pub tags: Vec<String>,
    /// What is stored, and goes if the backend's new answer cannot take its place.
    pub stored: Option<Arc<Entry>>,
    /// The same, where it only needs to be confirmed.
    pub validate: Option<Arc<Entry>>,
    /// What can be served if the backend answers with an error.
    pub fallback: Option<Arc<Entry>>,
    /// The ledger's number just before the backend was asked, the last time.
    pub born: Born,
    /// Where interim answers go.
    pub interim: Option<InterimSink>,
    /// How long it is remembered that an answer could not be shared.
    pub uncacheable_for: std::time::Duration,
    /// In a fleet: how to go about it with the others.
    pub(super) together: Option<Box<Together>>,
    /// What is owed to them afterwards.
    pub(super) afterwards: Option<Afterwards>,
}

impl Fill {
    /// Runs to the end. `leader` tells those who wait.
    pub async fn run(mut self, leader: Leader) {
        if let Some(together) = self.together.take() {
            // In a box: a node on its own does not carry the room for it.
            match Box::pin(together.turn(&mut self, &leader)).await {
                Turn::Shared(entry) => return leader.shares(entry),
                Turn::Fetch(hold) => {
                    if let Some(afterwards) = &mut self.afterwards {
                        afterwards.begins(hold);
                    }
                }
            }
        }
        let fetched = match self.ask(&leader).await {
            Ok(fetched) => fetched,
            Err(error) => return leader.fails(error),
        };
        if fetched.head.status != StatusCode::NOT_MODIFIED {
            return self.receive(leader, fetched).await;
        }
        if let Some(entry) = self.confirmed(&fetched) {
            self.store_and_share(&entry);
            if let Some(stored) = self.validate.as_ref().filter(|_| entry.compressible) {
                encode::hand_on(&self.store, stored, &entry);
            }
            return leader.confirms(entry);
        }
        // The 304 confirms something else than what is stored (RFC 9111 §4.3.4): ask again, for the whole.
        self.validate = None;
        match self.ask(&leader).await {
            Ok(again) if again.head.status == StatusCode::NOT_MODIFIED => {
                leader.fails(FetchError::new(FetchErrorKind::BadResponse, "304 to a request without conditions"));
            }
            Ok(again) => self.receive(leader, again).await,
            Err(error) => leader.fails(error),
        }
    }

    /// Sends the request. The ledger's number is noted first: what the backend says later is at least as new as that.
    async fn ask(&mut self, leader: &Leader) -> Result<Fetched, FetchError> {
        self.born = self.store.ledger().born(self.clock.now());
        leader.sends(self.born);
        // What was voided since it was looked up is not confirmed: that would bring it back under a later birth.
        self.validate.take_if(|entry| self.store.ledger().standing(entry) == Standing::Void);
        let validators = self.validate.as_ref().and_then(|entry| Validators::of(&entry.headers));
        let request = match validators {
            Some(validators) => self.outbound.clone().validating(&validators).empty(),
            None => self.outbound.empty(),
        };
        self.origin.fetch(request, true, self.interim.clone()).await
    }

    /// The stored answer, made fresh by a 304; `None` if the 304 is about another one or forbids keeping it.
    fn confirmed(&self, fetched: &Fetched) -> Option<Arc<Entry>> {
        let stored = self.validate.as_ref()?;
        let mut fresh = fetched.head.headers.clone();
        rfc::strip_hop_by_hop_response(&mut fresh);
        if !rfc::updates(&fresh, &stored.headers) {
            return None;
        }
        let renewal = Renewal {
            stored,
            fetched,
            asked: &self.facts,
            request: &self.request,
            rule: self.rule(),
            path: self.outbound.target.path(),
        };
        let Renewed { headers, vary, facts, compressible } = renewal.with(fresh)?;
        let parts = self.parts(stored.status, headers, vary, facts, compressible);
        Some(Arc::new(Entry::new(EntryParts { body: stored.body.clone(), ..parts })))
    }

    /// Decides about a whole answer.
    async fn receive(self, leader: Leader, fetched: Fetched) {
        if self.is_spared(&fetched) {
            let detail = format!("{} while a stale answer was at hand", fetched.head.status);
            return leader.fails(FetchError::new(FetchErrorKind::ErrorStatus, detail));
        }
        let candidate = Candidate {
            asked: &self.facts,
            request: &self.request,
            rule: self.rule(),
            outbound: &self.outbound,
            max_object: self.max_object(),
        };
        match candidate.judge(&fetched) {
            Ok(keep) => self.keep(leader, fetched, &keep).await,
            // An error says nothing about whether this key's answers can be shared, so it is not remembered.
            Err(reason) if Trouble::of(fetched.head.status).is_some() => {
                let detail = format!("{} ({})", fetched.head.status, reason.code());
                leader.errs(FetchError::new(FetchErrorKind::ErrorStatus, detail), reason, fetched);
            }
            Err(reason) => {
                let until = self.clock.now().mono + self.uncacheable_for;
                self.drop_superseded(reason, fetched.head.status);
                self.store.remember_uncacheable(self.key.clone(), reason, until);
                if let Some(afterwards) = self.afterwards {
                    afterwards.unshared(reason);
                }
                leader.lands_for_one(reason, fetched);
            }
        }
    }

    /// "A full response indicates that none of the stored responses nominated in the conditional request is suitable" (RFC
    /// 9111 §4.3.3): if the new answer cannot take the stored one's place, that goes all the same. Not if the refusal is
    /// about this client, and not on the word of an error.
    fn drop_superseded(&self, reason: Reason, status: StatusCode) {
        let about_the_client =
            matches!(reason, Reason::Authorization | Reason::SetCookie | Reason::RequestNoStore | Reason::UnkeyedInput);
        if status.is_success()
            && !about_the_client
            && let Some(stored) = &self.stored
        {
            self.store.drop_entry(stored);
        }
    }

    /// An error that a stored answer can stand in for is not given to anybody, and replaces nothing (RFC 5861 §4).
    fn is_spared(&self, fetched: &Fetched) -> bool {
        Trouble::of(fetched.head.status).is_some()
            && self.fallback.as_ref().is_some_and(|stale| {
                let terms = &self.rule().terms;
                rfc::permitted_on_error(&self.facts, &stale.facts, terms, Trouble::Status5xx, self.clock.now())
            })
    }

    /// Keeps the answer while it streams.
    async fn keep(self, leader: Leader, fetched: Fetched, keep: &Keep) {
        let Fetched { head, body, sent, received, .. } = fetched;
        let mut headers = head.headers;
        rfc::strip_hop_by_hop_response(&mut headers);
        for name in NEVER_STORED {
            headers.remove(name);
        }
        // "A recipient with a clock that receives a response message without a Date header field MUST record the time it
        // was received" (RFC 9110 §6.6.1).
        headers.entry(header::DATE).or_insert_with(|| rfc::format_http_date(received.wall));
        if headers.contains_key(header::CONTENT_ENCODING) {
            // Who encodes has looked at Accept-Encoding, whether it says so or not; others may not be able to read this.
            encode::vary_on_coding(&mut headers);
        }
        let vary = VaryKey::of(&Vary::read(&headers), &self.request);
        let compressible = encode::compressible(self.rule(), head.status, &headers, body.exact_length());
        if compressible {
            encode::vary_on_coding(&mut headers);
        }
        let facts = StoredFacts::new(&keep.answer, &keep.ground, &keep.terms, sent, received);
        let entry = Entry::new(self.parts(head.status, headers, vary, facts, compressible));
        let growing = Growing::new(body.exact_length());
        let draft = Arc::new(Draft { head: Arc::new(entry), body: growing });
        leader.streams(Arc::clone(&draft));
        self.stream(leader, &draft, body).await;
    }

    /// Moves the body from the backend to the readers, and into the store when it is whole.
    ///
    /// When the length is known, the piece that completes it is held back until the entry is kept: a client that has read
    /// its answer to the end and asks again finds it stored.
    async fn stream(mut self, mut leader: Leader, draft: &Draft, mut body: crate::upstream::InBody) {
        let promised = body.exact_length();
        let mut last = None;
        let mut kept = true;
        loop {
            match poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
                Some(Ok(frame)) => {
                    // Trailers are not merged into what is stored (RFC 9110 §6.5.1).
                    let Ok(piece) = frame.into_data() else { continue };
                    let length = draft.body.length() + piece.len() as u64;
                    if promised == Some(length) {
                        last = Some(piece);
                        continue;
                    }
                    draft.body.append(piece);
                    if kept && length > self.max_object() {
                        kept = false;
                        self.give_up(&mut leader, draft);
                    }
                    if !kept && !poll_fn(|cx| draft.body.poll_room(cx)).await {
                        return leader.keeps_nothing(Reason::TooLarge);
                    }
                }
                Some(Err(error)) => {
                    draft.body.broken(error.clone());
                    return leader.fails(error);
                }
                None => break,
            }
        }
        if !kept {
            if let Some(last) = last {
                draft.body.append(last);
            }
            draft.body.complete();
            return leader.keeps_nothing(Reason::TooLarge);
        }
        let body = whole(&draft.body, last.as_ref());
        // Where the length was not known before, it is now.
        let compressible = draft.head.compressible && body.len() as u64 >= self.rule().compress.min_size;
        let entry = Arc::new(Entry::new(EntryParts { body, compressible, ..draft.head.parts() }));
        self.store_and_share(&entry);
        if let Some(last) = last {
            draft.body.append(last);
        }
        draft.body.complete();
        leader.lands(entry);
    }

    /// Keeps the answer, here and for the other nodes. A purge that came meanwhile makes the store refuse it; those who wait
    /// check for themselves.
    fn store_and_share(&mut self, entry: &Arc<Entry>) {
        let kept = self.store.keep(Arc::clone(entry));
        if let Some(afterwards) = self.afterwards.take().filter(|_| kept != Err(Reason::PurgedMeanwhile)) {
            afterwards.kept(entry);
        }
    }

    /// The body turned out larger than what is kept: those who read go on, and nobody else joins.
    fn give_up(&mut self, leader: &mut Leader, draft: &Draft) {
        let until = self.clock.now().mono + self.uncacheable_for;
        self.store.remember_uncacheable(self.key.clone(), Reason::TooLarge, until);
        if let Some(afterwards) = self.afterwards.take() {
            afterwards.unshared(Reason::TooLarge);
        }
        leader.closes();
        draft.body.release();
    }

    /// What an entry is made of, but for its body.
    fn parts(
        &self,
        status: StatusCode,
        headers: HeaderMap,
        vary: VaryKey,
        facts: StoredFacts,
        compressible: bool,
    ) -> EntryParts {
        let mut tags = self.tags.clone();
        answer_tags(&self.host, &headers, &mut tags);
        let mut governed = Vec::new();
        self.rules.governed_by(&tags, &mut governed);
        tags.append(&mut governed);
        EntryParts {
            key: self.key.clone(),
            vary,
            status,
            coding: Coding::of(&headers).unwrap_or(Coding::Identity),
            headers,
            body: Bytes::new(),
            facts,
            tags: tags.into_iter().map(Arc::from).collect(),
            born: self.born,
            compressible,
        }
    }

    pub(super) fn rule(&self) -> &Rule {
        self.policy.rule(self.rule)
    }

    fn max_object(&self) -> u64 {
        keep::max_object(self.rule(), &self.store)
    }
}

/// Body and held-back piece in an allocation of their own.
fn whole(body: &Growing, last: Option<&Bytes>) -> Bytes {
    let mut whole = BytesMut::with_capacity(usize::try_from(body.length()).unwrap_or(0) + last.map_or(0, Bytes::len));
    body.copy_to(&mut whole);
    if let Some(last) = last {
        whole.extend_from_slice(last);
    }
    whole.freeze()
}

/// The tags that an answer of `host` names itself, appended to `tags`.
pub(super) fn answer_tags(host: &str, headers: &HeaderMap, tags: &mut Vec<String>) {
    tags.extend(rfc::cache_tags(headers).iter().map(|name| tags::named_tag(name)));
    tags.extend(rfc::groups(headers).iter().map(|name| tags::group_tag(host, name)));
    tags.sort_unstable();
    tags.dedup();
}
