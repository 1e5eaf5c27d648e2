//! Step 6 from the client's side: begin a fetch or join one, wait for what comes of it, and answer with that.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, Response};

use super::account::Trail;
use super::body::{Body, Source};
use super::fill::Fill;
use super::flight::{Attendance, Boarding, Class, Draft, Flight, FlightKey, Leader, Stage};
use super::forward::Outbound;
use super::judge::{self, Fetch, Verdict};
use super::outlook::Arrival;
use super::shape::{self, Occasion};
use super::together::{Afterwards, Together};
use super::{Gateway, Journey, encode};
use crate::policy::{CacheKey, KeyBuf, tags};
use crate::rfc::{self, CacheStatus, Forward, Reason, Reuse, Trouble, Vary, VaryKey};
use crate::store::Entry;
use crate::upstream::FetchError;

/// How often a request looks for another flight before it fetches for itself: once for a variant it did not know of, once
/// for a change that came meanwhile, once for an error that was another asker's.
const ROUNDS: usize = 4;

/// How long it is remembered that a key's answer could not be shared.
const UNCACHEABLE_FOR: Duration = Duration::from_secs(10);

/// What a request gets of a flight.
#[allow(clippy::large_enum_variant)] // Short-lived, and the large one is the common one.
enum Gets {
    Answer(Response<Body>),
    /// The flight's answer is not for this request. Look for another; one born before this will not do.
    Again(Option<Arrival>),
    /// Fetch for oneself, beside everybody else.
    Alone(Reason),
    /// The backend said 5xx to another asker. Try once more, together with the others who hear of it.
    Erred(FetchError),
}

/// How an answer was come by.
#[derive(Clone, Copy)]
struct How {
    /// It is kept, or will be once its body has ended.
    stored: bool,
    /// Another request fetched it.
    collapsed: bool,
    /// It was stored before, and the backend has confirmed it.
    confirmed: bool,
}

impl Default for How {
    fn default() -> Self {
        Self { stored: true, collapsed: false, confirmed: false }
    }
}

impl Gateway {
    /// Answers from the backend, sharing the fetch with whoever wants the same.
    pub(super) async fn obtain(
        &self,
        journey: &Journey<'_>,
        trail: &mut Trail,
        key: &KeyBuf,
        mut fetch: Fetch,
    ) -> Response<Body> {
        let key = key.to_key();
        let (mut not_before, mut erred) = (None, false);
        let mut names = self.store().variant_names(key.bytes());
        // Also where something stale is stored: if the last answer was for one client, nobody waits for the next.
        let known = self.store().known_uncacheable(key.bytes(), self.clock().now());
        fetch.share &= !known.is_some_and(|reason| judge::concerns(reason, &journey.asked.facts));
        for _ in 0..ROUNDS {
            if !fetch.share {
                break;
            }
            let class = Class::of(&journey.asked.facts);
            let variant = variant(&names, journey);
            let flight_key = FlightKey { key: key.clone(), class, variant };
            let gets = match self.flights().board(&flight_key, not_before) {
                Boarding::Leads(leader) => match self.landed_meanwhile(journey, &key) {
                    Some(entry) => {
                        leader.lands(Arc::clone(&entry));
                        return self.hit(journey, trail, entry, None, self.clock().now());
                    }
                    None => self.lead(journey, trail, &key, &fetch, leader).await,
                },
                Boarding::Joins(flight) => self.join(journey, trail, &fetch, &flight, &mut names).await,
            };
            match gets {
                Gets::Answer(response) => return response,
                Gets::Again(limit) => not_before = limit.or(not_before),
                Gets::Alone(Reason::TooLarge) if wants_whole(journey) => {
                    return self.pass(journey, trail, Body::empty(), Reason::TooLarge).await;
                }
                Gets::Alone(reason) => {
                    fetch.share = false;
                    fetch.reason = fetch.reason.or((reason == Reason::WaitTimeout).then_some(reason));
                }
                Gets::Erred(error) if erred => return self.fetch_failed(journey, trail, &fetch, &error),
                Gets::Erred(_) => erred = true,
            }
        }
        let leader = self.flights().alone();
        match self.lead(journey, trail, &key, &fetch, leader).await {
            Gets::Answer(response) => response,
            Gets::Alone(Reason::TooLarge) => self.pass(journey, trail, Body::empty(), Reason::TooLarge).await,
            Gets::Erred(error) => self.fetch_failed(journey, trail, &fetch, &error),
            Gets::Again(_) | Gets::Alone(_) => self.failed(journey, trail, Reason::Internal),
        }
    }

    /// Refreshes an entry behind the client who was given it, unless that is being done already.
    pub(super) fn refresh(&self, journey: &Journey<'_>, key: &KeyBuf, entry: &Arc<Entry>) {
        let key = key.to_key();
        let names: Vec<_> = entry.vary.names().cloned().collect();
        let variant = variant(&names, journey);
        let flight_key = FlightKey { key: key.clone(), class: Class::of(&journey.asked.facts), variant };
        let Boarding::Leads(leader) = self.flights().board(&flight_key, None) else { return };
        let fetch = Fetch {
            forward: Forward::Stale,
            reason: None,
            validate: entry.facts.has_validator.then(|| Arc::clone(entry)),
            fallback: Some(Arc::clone(entry)),
            unverified: false,
            share: true,
        };
        if let Ok(fill) = self.fill(journey, &key, &fetch, true) {
            tokio::spawn(fill.run(leader));
        }
    }

    /// Between the look-up and the boarding another flight may have landed.
    fn landed_meanwhile(&self, journey: &Journey<'_>, key: &CacheKey) -> Option<Arc<Entry>> {
        let now = self.clock().now();
        let found = self.store().look_up(key.bytes(), &journey.asked.headers, now);
        let asked = journey.asked;
        match judge::judge(&found, &asked.facts, journey.routed.rule, asked.forced, &journey.outlook, now) {
            Verdict::Serve(entry) => Some(entry),
            _ => None,
        }
    }

    async fn lead(
        &self,
        journey: &Journey<'_>,
        trail: &mut Trail,
        key: &CacheKey,
        fetch: &Fetch,
        leader: Leader,
    ) -> Gets {
        let fill = match self.fill(journey, key, fetch, false) {
            Ok(fill) => fill,
            Err(reason) => return Gets::Answer(self.failed(journey, trail, reason)),
        };
        let flight = leader.flight();
        // Who waits for the whole reads nothing of it meanwhile, and must not hold it up.
        let place = (!wants_whole(journey)).then(|| flight.attend());
        tokio::spawn(fill.run(leader));
        let stale_after = self.settings().stale_after;
        let patience = fetch.fallback.as_ref().map(|_| stale_after);
        let Some(stage) = wait(&flight, patience, stale_after, wants_whole(journey)).await else {
            let fetch = self.with_stand_in(journey, fetch, &flight);
            return Gets::Answer(self.stale(journey, trail, &fetch, Reason::BackendTimeout));
        };
        match stage {
            Stage::NotShareable(reason) => match flight.take() {
                Some(fetched) => self.through_or_parts(journey, trail, fetch, reason, fetched).await,
                // A body that was over the limit, and over, before this asker looked: its place was kept.
                None => match place.as_ref().and_then(Attendance::sit) {
                    Some((draft, follow)) => {
                        let fetch = Fetch { reason: Some(reason), ..fetch.clone() };
                        let how = How { stored: false, ..How::default() };
                        Gets::Answer(self.fetched(journey, trail, &fetch, &draft.head, Source::Follow(follow), how))
                    }
                    None => Gets::Alone(reason),
                },
            },
            Stage::Erred(error, reason) => match flight.take() {
                Some(fetched) => {
                    trail.backend_error(&error);
                    Gets::Answer(self.through(journey, trail, fetched, Some(fetch.forward), reason))
                }
                None => Gets::Erred(error),
            },
            Stage::Failed(error) => {
                let fetch = self.with_stand_in(journey, fetch, &flight);
                Gets::Answer(self.fetch_failed(journey, trail, &fetch, &error))
            }
            stage => self.use_stage(journey, trail, fetch, stage, place.as_ref(), false),
        }
    }

    async fn join(
        &self,
        journey: &Journey<'_>,
        trail: &mut Trail,
        fetch: &Fetch,
        flight: &Arc<Flight>,
        names: &mut Vec<HeaderName>,
    ) -> Gets {
        let Some(_seat) = flight.seat(self.settings().max_waiters) else {
            return Gets::Answer(self.failed(journey, trail, Reason::TooManyRequests));
        };
        let timeout = self.settings().waiter_timeout;
        let stale_after = self.settings().stale_after.min(timeout);
        let patience = if fetch.fallback.is_some() { stale_after } else { timeout };
        let Some(stage) = wait(flight, Some(patience), stale_after, wants_whole(journey)).await else {
            let fetch = self.with_stand_in(journey, fetch, flight);
            return match fetch.fallback {
                Some(_) => Gets::Answer(self.stale(journey, trail, &fetch, Reason::BackendTimeout)),
                None => Gets::Alone(Reason::WaitTimeout),
            };
        };
        // What another node has fetched is no answer to one who wants the backend's word.
        if let Stage::Shared(entry) = &stage
            && let Reuse::Validate(reason) | Reuse::Unusable(reason) =
                rfc::reuse(&journey.asked.facts, &entry.facts, &journey.routed.rule.terms, self.clock().now())
        {
            return Gets::Alone(reason);
        }
        let head = match &stage {
            Stage::Streaming(draft) => Some(&draft.head),
            Stage::Landed(entry) | Stage::Confirmed(entry) | Stage::Shared(entry) => Some(entry),
            Stage::Failed(error) => {
                let fetch = self.with_stand_in(journey, fetch, flight);
                return Gets::Answer(self.fetch_failed(journey, trail, &fetch, error));
            }
            _ => None,
        };
        if let Some(head) = head {
            // Whatever becomes of it: the next flight is looked for by all the fields that are known to matter.
            names.extend(head.vary.names().cloned());
            names.sort_unstable_by(|a, b| a.as_str().cmp(b.as_str()));
            names.dedup();
            if !head.vary.matches(&journey.asked.headers) {
                return Gets::Again(None);
            }
            if !journey.arrival.admits(head, self.store().ledger()) {
                return Gets::Again(Some(journey.arrival));
            }
        }
        self.use_stage(journey, trail, fetch, stage, None, true)
    }

    fn use_stage(
        &self,
        journey: &Journey<'_>,
        trail: &mut Trail,
        fetch: &Fetch,
        stage: Stage,
        place: Option<&Attendance>,
        collapsed: bool,
    ) -> Gets {
        match stage {
            Stage::Asked => Gets::Again(None),
            // A defect in here. To ask again would meet it again, once per asker.
            Stage::Abandoned => Gets::Answer(self.stale(journey, trail, fetch, Reason::Internal)),
            Stage::Erred(error, _) => Gets::Erred(error),
            Stage::NotShareable(reason) => Gets::Alone(reason),
            Stage::Failed(error) => Gets::Answer(self.fetch_failed(journey, trail, fetch, &error)),
            Stage::Shared(entry) => Gets::Answer(self.shared_hit(journey, trail, entry)),
            Stage::Landed(entry) => {
                let how = How { collapsed, ..How::default() };
                Gets::Answer(self.landed(journey, trail, fetch, entry, how))
            }
            Stage::Confirmed(entry) => {
                let how = How { collapsed, confirmed: true, ..How::default() };
                Gets::Answer(self.landed(journey, trail, fetch, entry, how))
            }
            Stage::Streaming(draft) => {
                let seat = match place {
                    Some(place) => place.sit().map(|(_, follow)| follow),
                    None => draft.body.follow(),
                };
                let Some(follow) = seat else { return Gets::Alone(Reason::TooLarge) };
                let Draft { head, .. } = &*draft;
                let how = How { collapsed, ..How::default() };
                Gets::Answer(self.fetched(journey, trail, fetch, head, Source::Follow(follow), how))
            }
        }
    }

    /// Answers with what has been kept, in the coding that suits the client.
    fn landed(
        &self,
        journey: &Journey<'_>,
        trail: &mut Trail,
        fetch: &Fetch,
        entry: Arc<Entry>,
        how: How,
    ) -> Response<Body> {
        let entry = encode::suited(self.store(), entry, journey.asked);
        let source = Source::Whole(entry.body.clone());
        self.fetched(journey, trail, fetch, &entry, source, how)
    }

    /// Answers with what was fetched to be kept.
    fn fetched(
        &self,
        journey: &Journey<'_>,
        trail: &mut Trail,
        fetch: &Fetch,
        entry: &Entry,
        source: Source,
        how: How,
    ) -> Response<Body> {
        let Journey { asked, routed, .. } = journey;
        let now = self.clock().now();
        let How { stored, collapsed, confirmed } = how;
        let status = CacheStatus {
            fwd: Some(fetch.forward),
            fwd_status: Some(if confirmed { http::StatusCode::NOT_MODIFIED } else { entry.status }),
            stored: stored && !collapsed,
            collapsed,
            detail: fetch.reason.map(Reason::code),
            ..CacheStatus::default()
        };
        trail.fetched(fetch.reason, collapsed, confirmed, entry.facts.received);
        shape::shape(Occasion { settings: self.settings(), asked, rule: routed.rule, now }, entry, source, status)
    }

    pub(super) fn fetch_failed(
        &self,
        journey: &Journey<'_>,
        trail: &mut Trail,
        fetch: &Fetch,
        error: &FetchError,
    ) -> Response<Body> {
        trail.backend_error(error);
        let trouble = if error.unreachable() { Trouble::Unreachable } else { Trouble::Status5xx };
        let permitted = fetch.fallback.as_ref().is_some_and(|stale| {
            let terms = &journey.routed.rule.terms;
            rfc::permitted_on_error(&journey.asked.facts, &stale.facts, terms, trouble, self.clock().now())
        });
        if permitted {
            return self.stale(journey, trail, fetch, error.reason());
        }
        self.failed(journey, trail, error.reason())
    }

    /// Answers with what is stored although it is stale, because the backend does not deliver.
    fn stale(&self, journey: &Journey<'_>, trail: &mut Trail, fetch: &Fetch, reason: Reason) -> Response<Body> {
        let Some(entry) = &fetch.fallback else { return self.failed(journey, trail, reason) };
        trail.cause(reason);
        let why = if fetch.unverified { Reason::Blind } else { Reason::StaleIfError };
        self.hit(journey, trail, Arc::clone(entry), Some(why), self.clock().now())
    }

    fn fill(&self, journey: &Journey<'_>, key: &CacheKey, fetch: &Fetch, refresh: bool) -> Result<Fill, Reason> {
        let Journey { asked, routed, forwarded, .. } = journey;
        let rule = routed.rule;
        let origin = self.backend(&rule.origin).ok_or(Reason::BackendRefused)?;
        let mut names = Vec::new();
        rule.tags(&asked.target(), &routed.captures, &asked.headers, &mut names);
        tags::request_tags(asked.host(), forwarded, asked.path(), &mut names);
        Ok(Fill {
            store: Arc::clone(self.store()),
            origin,
            clock: self.clock().clone(),
            policy: Arc::clone(journey.policy),
            rules: Arc::clone(self.rules()),
            rule: rule.id,
            key: key.clone(),
            outbound: Outbound::fill(self.settings(), asked, routed, forwarded)?,
            request: asked.headers.clone(),
            facts: asked.facts.clone(),
            host: asked.host().to_owned(),
            tags: names,
            stored: fetch.validate.as_ref().or(fetch.fallback.as_ref()).map(Arc::clone),
            validate: fetch.validate.clone(),
            fallback: fetch.fallback.clone(),
            born: journey.arrival.place,
            interim: (journey.interim)(),
            uncacheable_for: UNCACHEABLE_FOR,
            together: self.together(journey, fetch, refresh).map(Box::new),
            afterwards: Afterwards::of(self, rule.id),
        })
    }

    /// How to go about a fetch with the other nodes, if there are any and what they have would do: not for a client that
    /// wants the backend's word, and not for what concerns this client alone.
    fn together(&self, journey: &Journey<'_>, fetch: &Fetch, refresh: bool) -> Option<Together> {
        let shared = self.shared()?;
        let wanted = fetch.share && fetch.forward != Forward::Request && !journey.outlook.wants_later();
        wanted.then(|| Together {
            gateway: self.clone(),
            shared: Arc::clone(shared),
            class: Class::of(&journey.asked.facts),
            refresh,
        })
    }

    /// The same fetch, with what was found on its way to stand in for the backend.
    fn with_stand_in(&self, journey: &Journey<'_>, fetch: &Fetch, flight: &Flight) -> Fetch {
        let found = flight.stand_in().filter(|entry| {
            entry.vary.matches(&journey.asked.headers) && journey.arrival.admits(entry, self.store().ledger())
        });
        let fallback = fetch.fallback.as_ref().or(found).map(Arc::clone);
        Fetch { fallback, ..fetch.clone() }
    }

    /// An answer that is not kept goes through; but one that is too large to be kept, and of which the client wants only
    /// a part, is asked for again as that part.
    async fn through_or_parts(
        &self,
        journey: &Journey<'_>,
        trail: &mut Trail,
        fetch: &Fetch,
        reason: Reason,
        fetched: crate::upstream::Fetched,
    ) -> Gets {
        if reason == Reason::TooLarge && journey.asked.facts.range {
            drop(fetched);
            return Gets::Answer(self.pass(journey, trail, Body::empty(), reason).await);
        }
        Gets::Answer(self.through(journey, trail, fetched, Some(fetch.forward), reason))
    }
}

/// The values of the request's fields that are known to select a variant.
fn variant(names: &[HeaderName], journey: &Journey<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    if !names.is_empty() {
        VaryKey::of(&Vary::Fields(names.into()), &journey.asked.headers).write_to(&mut bytes);
    }
    bytes
}

/// Waits for a stage that can be acted upon; `None` when patience ran out first. Once something has been found that can
/// stand in for the backend, patience is no longer than `stale_after`.
async fn wait(flight: &Flight, patience: Option<Duration>, stale_after: Duration, whole: bool) -> Option<Stage> {
    let ready = |stage: &Stage| match stage {
        Stage::Asked => false,
        Stage::Streaming(_) => !whole,
        _ => true,
    };
    let something = flight.reaches(|stage| ready(stage) || flight.stand_in().is_some());
    let stage = match patience {
        Some(patience) => tokio::time::timeout(patience, something).await.ok()?,
        None => something.await,
    };
    if ready(&stage) {
        return Some(stage);
    }
    tokio::time::timeout(stale_after, flight.reaches(ready)).await.ok()
}

/// A part can be cut from a whole only when the whole is there.
fn wants_whole(journey: &Journey<'_>) -> bool {
    journey.asked.facts.range
}
