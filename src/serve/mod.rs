//! A request's path: the one room that joins the others.
//!
//! Eight steps, a file each:
//!
//! 1. `admit`: may it come in, and what exactly does it ask for?
//! 2. route: the policy picks one rule (`policy`).
//! 3. key: the rule's recipe (`policy::key`).
//! 4. look up: memory, and what the ledger permits of it (`store`); whether the ledger is up to date (`outlook`), at the
//!    latest behind a `barrier`.
//! 5. `judge`: what is to be done. A pure function: the heart of the product.
//! 6. `fill`: one fetch for many askers (`flight`), in a fleet also for all its nodes (`together`), kept while it streams
//!    (`growing`).
//! 7. `shape`: 304, ranges, HEAD, Age, Cache-Status.
//! 8. `account`: log line, metrics.
//!
//! What is not looked up takes the short way through `pass`. [`Gateway::handle`] is the whole of it, on one screen.

mod account;
pub mod admit;
mod barrier;
pub mod body;
mod encode;
pub mod explain;
mod fill;
mod flight;
mod forward;
mod gateway;
mod growing;
mod judge;
mod keep;
mod limits;
mod obtain;
mod outlook;
mod pace;
mod pass;
mod renew;
mod respond;
mod settings;
mod shape;
mod together;

use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Request, Response};

use self::account::Trail;
use self::admit::{Asked, Client};
use self::barrier::Barrier;
use self::body::{Body, BoxError, Source};
pub use self::gateway::{Gateway, Parts};
use self::judge::{Fetch, Verdict};
use self::outlook::{Arrival, Outlook};
pub use self::settings::{FleetSettings, GatewaySettings, OnBlind, Secret, Unverified};
use self::shape::Occasion;
use crate::policy::{KeyBuf, Policy, Routed};
use crate::rfc::{CacheStatus, Moment, Reason};
use crate::store::{Entry, Found};
use crate::upstream::InterimSink;

/// Makes the way for interim answers to a client. Asked for when the request goes to the backend: a hit needs none.
pub type InterimMaker<'a> = &'a (dyn Fn() -> Option<InterimSink> + Send + Sync);

/// A request on its way: what is known of it after the first two steps.
struct Journey<'a> {
    asked: &'a Asked,
    policy: &'a Arc<Policy>,
    routed: &'a Routed<'a>,
    /// Path and query as the backend sees them.
    forwarded: &'a str,
    /// The ledger's number when the request arrived: an answer older than that must not have been changed since.
    arrival: Arrival,
    /// Whether what is stored can be relied upon.
    outlook: Outlook<'a>,
    interim: InterimMaker<'a>,
}

impl Gateway {
    /// Answers a request. Never fails: what goes wrong is an answer too.
    pub async fn handle<B>(&self, client: Client, interim: InterimMaker<'_>, request: Request<B>) -> Response<Body>
    where
        B: http_body::Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<BoxError>,
    {
        let now = self.clock().now();
        let mut trail = Trail::begin(now, client);
        let (asked, body) = match admit::admit(self.settings(), client, request) {
            Ok(admitted) => admitted,
            Err((reason, _)) => return self.refuse(trail, None, reason, None),
        };
        let policy = self.policy();
        let target = asked.target();
        let routed = policy.route(&asked.method, &target, &asked.headers);
        trail.route(routed.rule.id);
        if let Some(reason) = refusal(&policy, routed.rule, &asked) {
            return self.refuse(trail, Some(&asked), reason, None);
        }
        let places = match self.limits().admit(routed.rule, asked.client, now) {
            Ok(places) => places,
            Err(refused) => return self.refuse(trail, Some(&asked), refused.reason, Some(refused.retry_after)),
        };
        let forwarded = routed.rule.forward_path(&target, &routed.captures);
        let outlook = self.outlook(now);
        let journey = Journey {
            asked: &asked,
            policy: &policy,
            routed: &routed,
            forwarded: &forwarded,
            arrival: self.arrival(&outlook, now),
            outlook,
            interim,
        };
        let response = match bypass(&journey) {
            Some(reason) => self.pass(&journey, &mut trail, body, reason).await,
            None if asked.barrier == Barrier::None => self.answer(&journey, &mut trail, now).await,
            // Apart, so that what is rare takes no room in every request.
            None => Box::pin(self.behind_barrier(journey, &mut trail)).await,
        };
        self.account(trail, &asked, places, response)
    }

    /// Steps 3 to 7 for a request that may be answered from the cache.
    async fn answer(&self, journey: &Journey<'_>, trail: &mut Trail, now: Moment) -> Response<Body> {
        let Journey { asked, routed, forwarded, .. } = journey;
        let mut key = KeyBuf::new();
        if let Err(reason) = routed.rule.key(&asked.target(), &routed.captures, forwarded, &asked.headers, &mut key) {
            return self.pass(journey, trail, Body::empty(), reason).await;
        }
        let found = self.store().look_up(key.as_slice(), &asked.headers, now);
        let verdict = judge::judge(&found, &asked.facts, routed.rule, asked.forced, &journey.outlook, now);
        // A part cannot be cut from what is not kept: it is asked for as that part.
        if let (Verdict::Fetch(Fetch { share: false, .. }), Found::KnownUncacheable(reason)) = (&verdict, &found)
            && asked.facts.range
            && asked.method == Method::GET
        {
            return self.pass(journey, trail, Body::empty(), *reason).await;
        }
        match verdict {
            Verdict::Serve(entry) => self.hit(journey, trail, entry, None, now),
            Verdict::ServeUnverified(entry) => self.hit(journey, trail, entry, Some(Reason::Blind), now),
            Verdict::ServeAndRefresh(entry, reason) => {
                self.refresh(journey, &key, &entry);
                self.hit(journey, trail, entry, Some(reason), now)
            }
            Verdict::Fetch(fetch) if asked.method == Method::HEAD => {
                self.head(journey, trail, &key, &found, &fetch).await
            }
            Verdict::Fetch(fetch) => self.obtain(journey, trail, &key, fetch).await,
            Verdict::Refuse(reason) => self.failed(journey, trail, reason),
        }
    }

    /// Step 7 for what is stored.
    fn hit(
        &self,
        journey: &Journey<'_>,
        trail: &mut Trail,
        entry: Arc<Entry>,
        stale: Option<Reason>,
        now: Moment,
    ) -> Response<Body> {
        trail.hit(stale);
        self.stored(journey, entry, stale.map_or("memory", Reason::code), now)
    }

    /// Step 7 for what another node has fetched.
    fn shared_hit(&self, journey: &Journey<'_>, trail: &mut Trail, entry: Arc<Entry>) -> Response<Body> {
        trail.shared_hit();
        self.stored(journey, entry, "shared", self.clock().now())
    }

    fn stored(&self, journey: &Journey<'_>, entry: Arc<Entry>, detail: &'static str, now: Moment) -> Response<Body> {
        let Journey { asked, routed, .. } = journey;
        let status =
            CacheStatus { hit: true, ttl: Some(entry.facts.left(now)), detail: Some(detail), ..CacheStatus::default() };
        let entry = encode::suited(self.store(), entry, asked);
        let occasion = Occasion { settings: self.settings(), asked, rule: routed.rule, now };
        shape::shape(occasion, &entry, Source::Whole(entry.body.clone()), status)
    }
}

/// Why this request is not served at all, whatever the cache holds.
fn refusal(policy: &Policy, rule: &crate::policy::Rule, asked: &Asked) -> Option<Reason> {
    if !policy.knows_host(asked.host()) {
        return Some(Reason::UnknownHost);
    }
    (!rule.admits_address(asked.client)).then_some(Reason::AddressRefused)
}

/// Why this request is not looked up at all, if it is not.
fn bypass(journey: &Journey<'_>) -> Option<Reason> {
    let Journey { asked, routed, .. } = journey;
    if !matches!(asked.method, Method::GET | Method::HEAD) {
        return Some(Reason::MethodNotCacheable);
    }
    if let Some(reason) = routed.rule.bypass(&asked.target()) {
        return Some(reason);
    }
    if asked.facts.conditional && pass::is_for_the_backend(&asked.headers) {
        return Some(Reason::Precondition);
    }
    (routed.rule.terms.honour_request && asked.facts.directives.no_store).then_some(Reason::RequestNoStore)
}
