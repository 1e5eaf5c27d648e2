//! The short way: a request of one client to the backend, and the answer back to it. Nothing is kept.
//!
//! What passes may change what is kept: an unsafe method invalidates its target (RFC 9111 §4.4) and the groups its answer
//! names (RFC 9875), before the client learns of its success; and the answer to a HEAD updates or invalidates the stored
//! answer to GET (RFC 9111 §4.3.5).

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderValue};
use http::{Method, Response, StatusCode};

use super::account::Trail;
use super::admit::Asked;
use super::body::{Body, BoxError, Source};
use super::forward::Outbound;
use super::judge::Fetch;
use super::renew::{Renewal, Renewed};
use super::shape;
use super::{Gateway, GatewaySettings, Journey, fill, respond};
use crate::changes::{Change, Published, Purge, Receipt, Selector, Source as ChangeSource};
use crate::policy::{CacheKey, KeyBuf, Policy, Routed, Target};
use crate::rfc::{self, CacheStatus, Forward, HeadEffect, Precondition, Reason};
use crate::store::{Entry, EntryParts, Found, Standing};
use crate::upstream::{FetchError, FetchErrorKind, Fetched};

/// Which of the client's fields go out: one of [`Outbound`]'s ways to make a request.
type Outgoing = fn(&GatewaySettings, &Asked, &Routed<'_>, &str) -> Result<Outbound, Reason>;

/// Where in the log a write's changes stand: `epoch-number`. Whoever reads with it in Forebay-Barrier, on whichever node,
/// reads what was written.
const FOREBAY_SEQ: &str = "forebay-seq";

/// Conditions that only the backend can evaluate, because they ask about the current representation (RFC 9110 §13.1.1).
pub(super) fn is_for_the_backend(headers: &HeaderMap) -> bool {
    headers.contains_key(header::IF_MATCH) || headers.contains_key(header::IF_UNMODIFIED_SINCE)
}

impl Gateway {
    /// Sends the request to the backend as it is, and the answer back.
    pub(super) async fn pass<B>(
        &self,
        journey: &Journey<'_>,
        trail: &mut Trail,
        body: B,
        reason: Reason,
    ) -> Response<Body>
    where
        B: http_body::Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<BoxError>,
    {
        if journey.asked.method.as_str() == "PURGE" {
            return self.purge(journey, trail).await;
        }
        let fault = Arc::new(OnceLock::new());
        let is_write = rfc::invalidates(&journey.asked.method, StatusCode::OK);
        let sent = if is_write {
            self.write(journey, body, &fault).await
        } else {
            self.send(journey, Outbound::pass, body, &fault).await
        };
        match sent {
            Ok(fetched) => {
                let forward = if reason == Reason::MethodNotCacheable { Forward::Method } else { Forward::Bypass };
                self.through(journey, trail, fetched, Some(forward), reason)
            }
            Err(error) => {
                trail.backend_error(&error);
                let reason = fault.get().copied().unwrap_or(error.reason());
                self.failed(journey, trail, reason)
            }
        }
    }

    /// A HEAD that no stored answer can satisfy.
    pub(super) async fn head(
        &self,
        journey: &Journey<'_>,
        trail: &mut Trail,
        key: &KeyBuf,
        found: &Found,
        fetch: &Fetch,
    ) -> Response<Body> {
        match self.send(journey, Outbound::head, Body::empty(), &Arc::default()).await {
            Ok(fetched) => {
                if let Found::Entry(stored, _) = found
                    && fetched.head.status == StatusCode::OK
                {
                    self.learn_from_head(journey, &key.to_key(), stored, &fetched);
                }
                let forward = if matches!(found, Found::Entry(..)) { Forward::Stale } else { Forward::UriMiss };
                self.through(journey, trail, fetched, Some(forward), Reason::HeadNotStored)
            }
            Err(error) => self.fetch_failed(journey, trail, fetch, &error),
        }
    }

    async fn send<B>(
        &self,
        journey: &Journey<'_>,
        outgoing: Outgoing,
        body: B,
        fault: &Arc<OnceLock<Reason>>,
    ) -> Result<Fetched, FetchError>
    where
        B: http_body::Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<BoxError>,
    {
        self.exchange(journey, outgoing, body, fault)?.await
    }

    /// Sends a write, and drops what it has changed. In a task of its own: a client that leaves does not keep this gateway
    /// from hearing what became of it. Without an answer nobody knows, so it counts as done.
    async fn write<B>(
        &self,
        journey: &Journey<'_>,
        body: B,
        fault: &Arc<OnceLock<Reason>>,
    ) -> Result<Fetched, FetchError>
    where
        B: http_body::Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<BoxError>,
    {
        let exchange = self.exchange(journey, Outbound::pass, body, fault)?;
        let method = journey.asked.method.clone();
        let written = Written {
            gateway: self.clone(),
            host: journey.asked.host().to_owned(),
            scheme: journey.asked.scheme(),
            path_and_query: journey.asked.path_and_query().to_owned(),
            policy: Arc::clone(journey.policy),
        };
        let task = tokio::spawn(async move {
            let mut outcome = exchange.await;
            let answer = match &outcome {
                Ok(fetched) if rfc::invalidates(&method, fetched.head.status) => Some(fetched.head.headers.clone()),
                Err(error) if error.may_have_acted() => Some(HeaderMap::new()),
                _ => None,
            };
            if let Some(answer) = answer {
                let receipt = written.invalidate(&answer).await;
                if let Ok(fetched) = &mut outcome {
                    // Ours alone to say.
                    fetched.head.headers.remove(FOREBAY_SEQ);
                }
                if let (Some(receipt), Ok(fetched)) = (receipt, &mut outcome)
                    && let Ok(place) = HeaderValue::try_from(receipt.to_string())
                {
                    fetched.head.headers.insert(FOREBAY_SEQ, place);
                }
            }
            outcome
        });
        task.await.unwrap_or_else(|error| Err(FetchError::new(FetchErrorKind::Closed, error.to_string())))
    }

    /// The request to the backend, ready to be sent by whoever awaits it.
    fn exchange<B>(
        &self,
        journey: &Journey<'_>,
        outgoing: Outgoing,
        body: B,
        fault: &Arc<OnceLock<Reason>>,
    ) -> Result<impl Future<Output = Result<Fetched, FetchError>> + Send + use<B>, FetchError>
    where
        B: http_body::Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<BoxError>,
    {
        let Journey { asked, routed, forwarded, interim, .. } = journey;
        let no_origin = || FetchError::new(FetchErrorKind::NoEndpoint, routed.rule.origin.to_string());
        let origin = self.backend(&routed.rule.origin).ok_or_else(no_origin)?;
        let outbound = outgoing(self.settings(), asked, routed, forwarded)
            .map_err(|reason| FetchError::new(FetchErrorKind::BadRequest, reason.sentence()))?;
        let replayable = body.is_end_stream() && asked.method.is_idempotent();
        let request = outbound.with_body(body, self.settings().max_request_body, fault);
        let interim = interim();
        Ok(async move { origin.fetch(request, replayable, interim).await })
    }

    /// The backend's answer, for this client only.
    pub(super) fn through(
        &self,
        journey: &Journey<'_>,
        trail: &mut Trail,
        fetched: Fetched,
        forward: Option<Forward>,
        reason: Reason,
    ) -> Response<Body> {
        let Journey { asked, routed, .. } = journey;
        let Fetched { head, mut body, received, .. } = fetched;
        let mut headers = head.headers;
        rfc::strip_hop_by_hop_response(&mut headers);
        // What it announces ends here: see `Body`.
        headers.remove(header::TRAILER);
        let promised = headers.remove(header::CONTENT_LENGTH);
        let no_content = asked.method == Method::HEAD || head.status == StatusCode::NOT_MODIFIED;
        let unchanged = asked.facts.conditional
            && matches!(asked.method, Method::GET | Method::HEAD)
            && rfc::precondition(&asked.method, &asked.headers, head.status, &headers) == Precondition::NotModified;
        let mut status = head.status;
        let content = if unchanged && status.is_success() {
            status = StatusCode::NOT_MODIFIED;
            headers = rfc::not_modified_headers(&headers);
            Body::empty()
        } else if no_content {
            // Its length speaks of the content that is not sent (RFC 9110 §8.6).
            if let Some(length) = promised {
                headers.insert(header::CONTENT_LENGTH, length);
            }
            Body::empty()
        } else {
            if is_endless(&headers) {
                body.wait_for_ever();
            }
            Body::from(Source::Through(Box::new(body)))
        };
        trail.passed(reason, received);
        let cache_status = CacheStatus {
            fwd: forward,
            fwd_status: Some(head.status),
            detail: Some(reason.code()),
            ..CacheStatus::default()
        };
        shape::finish(self.settings(), routed.rule, &mut headers, cache_status);
        let mut response = Response::new(content);
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        response
    }

    /// The answer to a request that came to nothing.
    pub(super) fn failed(&self, journey: &Journey<'_>, trail: &mut Trail, reason: Reason) -> Response<Body> {
        trail.failed(reason);
        let retry_after = matches!(
            reason,
            Reason::BackendSaturated | Reason::BreakerOpen | Reason::TooManyRequests | Reason::BackendRefused
        )
        .then_some(1);
        let mut response = respond::error(reason, retry_after);
        let status = CacheStatus { detail: Some(reason.code()), ..CacheStatus::default() };
        shape::finish(self.settings(), journey.routed.rule, response.headers_mut(), status);
        // Whatever the route sets on its answers, this is none of them.
        response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response
    }

    /// What this node has dropped is not to come back from the other nodes: they are told.
    fn disown(&self, journey: &Journey<'_>) {
        if self.shared().is_none() {
            return;
        }
        let url =
            Selector::Url { host: Some(journey.asked.host().to_owned()), path_and_query: journey.forwarded.to_owned() };
        let (bus, now) = (Arc::clone(self.bus()), self.clock().now());
        tokio::spawn(async move {
            let change = Change::new(url, Purge::Hard, ChangeSource::Method);
            // Queued or logged: either way it holds here.
            drop(bus.publish(&[change], now).await);
        });
    }

    fn learn_from_head(&self, journey: &Journey<'_>, key: &CacheKey, stored: &Arc<Entry>, fetched: &Fetched) {
        let mut fresh = fetched.head.headers.clone();
        rfc::strip_hop_by_hop_response(&mut fresh);
        match rfc::head_updates(&fresh, &stored.headers, stored.body.len() as u64) {
            HeadEffect::Nothing => {}
            HeadEffect::Invalidate => {
                self.store().forget(key.bytes());
                self.disown(journey);
            }
            // A length that fits is no confirmation of what may have been changed.
            HeadEffect::Update if self.store().ledger().standing(stored) != Standing::Valid => {}
            HeadEffect::Update if journey.outlook.doubt(stored, self.clock().now()).is_some() => {}
            HeadEffect::Update => {
                let path = journey.forwarded.split('?').next().unwrap_or_default();
                let (asked, request, rule) = (&journey.asked.facts, &journey.asked.headers, journey.routed.rule);
                let Some(renewed) = (Renewal { stored, fetched, asked, request, rule, path }).with(fresh) else {
                    return;
                };
                let Renewed { headers, vary, facts, compressible } = renewed;
                let mut tags = stored.tags.iter().map(ToString::to_string).collect();
                fill::answer_tags(journey.asked.host(), &headers, &mut tags);
                let tags = tags.into_iter().map(Arc::from).collect();
                // Born when the request arrived, before the look-up: a change since then voids it.
                let born = journey.arrival.place;
                let parts = EntryParts { vary, headers, facts, tags, born, compressible, ..stored.parts() };
                let _ = self.store().keep(Arc::new(Entry::new(parts)));
            }
        }
    }

    /// The PURGE method, for those who hold the token (design: the admin API does more).
    async fn purge(&self, journey: &Journey<'_>, trail: &mut Trail) -> Response<Body> {
        let Journey { asked, policy, .. } = journey;
        let Some(token) = &self.settings().purge_method else {
            return self.failed(journey, trail, Reason::MethodRefused);
        };
        let given = asked.headers.get(header::AUTHORIZATION).map(HeaderValue::as_bytes).unwrap_or_default();
        let given = given.strip_prefix(b"Bearer ").unwrap_or_default();
        if !token.is(given) {
            let mut response = self.failed(journey, trail, Reason::Unauthorized);
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            return response;
        }
        let url = |path_and_query| Selector::Url { host: Some(asked.host().to_owned()), path_and_query };
        let forms = policy.forwarded_forms(&asked.target()).into_iter();
        let changes: Vec<Change> =
            forms.map(|form| Change::new(url(form), Purge::Hard, ChangeSource::Method)).collect();
        match self.bus().publish(&changes, self.clock().now()).await {
            Ok(Published::Logged(receipt)) => {
                let epoch = receipt.epoch.to_string();
                respond::json(StatusCode::OK, &serde_json::json!({ "seq": receipt.number, "epoch": epoch }))
            }
            Ok(Published::Queued(error)) => respond::accepted(&serde_json::json!({ "queued": error.to_string() })),
            Err(error) => {
                tracing::error!(%error, "a purge could not be recorded");
                self.failed(journey, trail, Reason::Internal)
            }
        }
    }
}

/// The target of a write.
struct Written {
    gateway: Gateway,
    host: String,
    scheme: &'static str,
    path_and_query: String,
    policy: Arc<Policy>,
}

impl Written {
    /// Drops what a write with this answer has changed. Effective on this node before the client is answered; where in
    /// the log that stands, if it does.
    async fn invalidate(self, answer: &HeaderMap) -> Option<Receipt> {
        let Self { gateway, host, scheme, path_and_query, policy } = self;
        let targets = rfc::invalidated(&host, scheme, &path_and_query, answer);
        let mut forms: Vec<String> =
            targets.iter().flat_map(|url| policy.forwarded_forms(&Target::new(false, &host, url))).collect();
        // Nothing is kept under a signed URL, and its secret is not for the log, which spells out what has changed.
        forms.retain(|form| !policy.is_signed(form));
        forms.sort_unstable();
        forms.dedup();
        let urls = forms.into_iter().map(|path_and_query| Selector::Url { host: Some(host.clone()), path_and_query });
        let groups =
            rfc::group_invalidation(answer).into_iter().map(|name| Selector::Group { host: host.clone(), name });
        let changes: Vec<Change> =
            urls.chain(groups).map(|selector| Change::new(selector, Purge::Hard, ChangeSource::Method)).collect();
        if changes.is_empty() {
            return None;
        }
        match gateway.bus().publish(&changes, gateway.clock().now()).await {
            Ok(Published::Logged(receipt)) => Some(receipt),
            // It holds here, and the log gets it later.
            Ok(Published::Queued(_)) => None,
            Err(error) => {
                tracing::error!(%error, "an unsafe method's invalidation could not be recorded");
                None
            }
        }
    }
}

/// Answers without an end by their nature: they may be silent for as long as they like, and are never kept.
pub(super) fn is_endless(headers: &HeaderMap) -> bool {
    const ENDLESS: [&[u8]; 2] = [b"text/event-stream", b"multipart/x-mixed-replace"];
    headers.get(header::CONTENT_TYPE).is_some_and(|value| {
        let kind = value.as_bytes().split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
        ENDLESS.iter().any(|endless| kind.eq_ignore_ascii_case(endless))
    })
}
