//! One backend: a fetch, from waiting for a place to an answer or a reason why not.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::response::Parts;
use http::{Method, Request, StatusCode};
use http_body::Body;

use super::OutBody;
use super::body::{Hold, InBody, Source};
use super::budget::Budget;
use super::endpoint::{Endpoints, InFlight, Known};
use super::error::{FetchError, FetchErrorKind};
use super::framing::{self, Framing};
use super::health;
use super::interim::{InterimSink, Interims, MAX_INTERIM};
use super::limit::{Limit, Permit};
use super::outgoing::{self, Copy, Upload};
use super::pool::{Lease, Need};
use super::settings::{Endpoint, OriginSettings};
use super::transport::{Answer, NoAnswer, Transport};
use crate::breaker::{BreakerState, Outcome};
use crate::clock::{Clock, Moment};

/// One named backend. Shared by all who fetch from it.
#[derive(Debug)]
pub struct Origin {
    pub(super) settings: OriginSettings,
    pub(super) transport: Transport,
    pub(super) clock: Clock,
    pub(super) endpoints: Endpoints,
    limit: Limit,
    budget: Budget,
    retries: AtomicU64,
}

/// An answer whose head has arrived and been judged.
#[derive(Debug)]
pub struct Fetched {
    /// Status and fields as the backend sent them, but for framing: at most one Content-Length, and a true one.
    pub head: Parts,
    /// The body.
    pub body: InBody,
    /// Just before the request was handed to a connection, in the attempt that succeeded.
    pub sent: Moment,
    /// When the head had arrived.
    pub received: Moment,
    /// Which endpoint answered: an index into [`OriginSettings::endpoints`].
    pub endpoint: usize,
    /// How the end of the body is known.
    pub framing: Framing,
}

/// How a backend is doing, for people and metrics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OriginState {
    /// The backend's name.
    pub name: String,
    /// Its endpoints, in the order of the settings.
    pub endpoints: Vec<EndpointState>,
    /// Requests under way, counted until their answers' bodies have ended.
    pub in_flight: usize,
    /// Requests waiting for a place.
    pub waiting: usize,
    /// Attempts beyond the first, since the start.
    pub retries: u64,
}

impl OriginState {
    /// Whether at least one endpoint is worth asking.
    pub fn is_healthy(&self) -> bool {
        self.endpoints.iter().any(|endpoint| endpoint.healthy && endpoint.breaker == BreakerState::Admitting)
    }

    /// Whether every endpoint is being left alone.
    pub fn is_refusing(&self) -> bool {
        self.endpoints.iter().all(|endpoint| endpoint.breaker == BreakerState::Refusing)
    }
}

/// How one endpoint is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointState {
    /// Its address, as a URL.
    pub url: String,
    /// What active checks found last; true without them.
    pub healthy: bool,
    /// What its breaker is doing.
    pub breaker: BreakerState,
    /// Requests under way at it.
    pub in_flight: usize,
    /// Idle connections kept to it.
    pub idle: usize,
}

impl Origin {
    /// A backend. Connects to nothing yet. `transport` was made from the same settings. With [`Transport::Service`] and no
    /// endpoint in the settings, one is made up that bears the backend's name.
    pub fn new(mut settings: OriginSettings, transport: Transport, clock: Clock) -> Arc<Self> {
        if settings.endpoints.is_empty() && matches!(transport, Transport::Service(_)) {
            settings.endpoints.push(Endpoint { https: false, authority: settings.name.clone(), weight: 1 });
        }
        Arc::new(Self {
            endpoints: Endpoints::new(settings.endpoints.clone(), &settings.breaker),
            limit: Limit::new(settings.max_concurrent, settings.max_queue, settings.queue_timeout),
            budget: Budget::new(settings.retry_budget_percent),
            retries: AtomicU64::new(0),
            settings,
            transport,
            clock,
        })
    }

    /// The name that routes know it by.
    pub fn name(&self) -> &str {
        &self.settings.name
    }

    /// What was asked for when it was made.
    pub fn settings(&self) -> &OriginSettings {
        &self.settings
    }

    /// Sends `request` and waits for the head of the answer.
    ///
    /// The URI may be in any form; its path and query go out as they are, its scheme and authority are replaced. Framing
    /// fields are made anew from the body. `replayable` says that the body is empty and the method idempotent. Interim
    /// answers go to `interim`.
    ///
    /// An attempt is repeated, at most `retries` times, if the request was certainly not sent, or if it is `replayable` and
    /// a connection that had been used before ended without a byte of an answer. A failed connect is repeated on another
    /// endpoint only, and within the budget. Nothing is repeated after a byte of an answer, or after a timeout.
    ///
    /// Statuses 502, 503 and 504 count against the endpoint like errors do; 500 does not, because one faulty resource is
    /// no reason to leave a backend alone.
    ///
    /// Safe to cancel: dropping the future frees the place and closes the connection.
    ///
    /// # Errors
    /// See [`FetchErrorKind`]. A status is never an error.
    pub async fn fetch(
        &self,
        request: Request<OutBody>,
        replayable: bool,
        interim: Option<InterimSink>,
    ) -> Result<Fetched, FetchError> {
        self.budget.pay_in();
        let permit = self.limit.enter().await?;
        let mut trial = Trial::new(self, request, replayable, interim)?;
        let mut last_error = None;
        loop {
            let (index, known, ticket) = match self.endpoints.choose(&trial.tried, self.clock.now()) {
                Ok(chosen) => chosen,
                Err(nobody) => return Err(last_error.unwrap_or(nobody)),
            };
            let in_flight = known.begin();
            match self.attempt(index, known, &mut trial).await {
                Ok(exchange) => {
                    let failed = is_gateway_failure(exchange.head.status);
                    let outcome = if failed { Outcome::Poor } else { Outcome::Good };
                    known.breaker.record(ticket, outcome, exchange.received);
                    return Ok(self.hand_out(index, known, exchange, permit, in_flight));
                }
                Err(miss) => {
                    let error = miss.error().clone();
                    match self.next_step(index, miss, &mut trial) {
                        // An idle connection that had died says nothing about the endpoint.
                        Next::Again => drop(ticket),
                        _ if !error.is_endpoints_fault() => drop(ticket),
                        _ => known.breaker.record(ticket, error.outcome(), self.clock.now()),
                    }
                    if trial.request.is_none() {
                        return Err(error);
                    }
                    self.retries.fetch_add(1, Ordering::Relaxed);
                    tracing::debug!(origin = self.settings.name, %error, "trying again");
                    last_error = Some(error);
                }
            }
        }
    }

    /// How it is doing now.
    pub fn state(&self) -> OriginState {
        let endpoint = |(index, known): (usize, &Known)| EndpointState {
            url: known.endpoint.url(),
            healthy: known.healthy.load(Ordering::Relaxed),
            breaker: known.breaker.state(),
            in_flight: known.in_flight(),
            idle: self.transport.idle(index),
        };
        OriginState {
            name: self.settings.name.clone(),
            endpoints: self.endpoints.all().iter().enumerate().map(endpoint).collect(),
            in_flight: self.limit.in_flight(),
            waiting: self.limit.waiting(),
            retries: self.retries.load(Ordering::Relaxed),
        }
    }

    /// Keeps an eye on the backend until `shutdown` is ready: closes idle connections in time, and runs the active checks
    /// if there are any. Without it nothing breaks; idle connections are then closed when the next one is used.
    pub async fn watch(self: Arc<Self>, shutdown: impl Future<Output = ()> + Send) {
        tokio::select! {
            () = shutdown => {}
            () = self.sweep_for_ever() => {}
            () = health::check_for_ever(Arc::clone(&self)) => {}
        }
    }

    async fn sweep_for_ever(&self) {
        loop {
            tokio::time::sleep(SWEEP_INTERVAL).await;
            self.transport.sweep();
        }
    }

    /// One attempt at one endpoint: connect, send, wait for the head, judge it.
    async fn attempt(&self, index: usize, known: &Known, trial: &mut Trial) -> Result<Exchange, Miss> {
        let Some(request) = trial.request.take() else {
            return Err(Miss::Final(FetchError::new(FetchErrorKind::BadRequest, "the request is used up")));
        };
        let need = Need { fresh: trial.fresh, content: !request.body().is_end_stream() };
        let channel = match self.transport.connect(index, &known.endpoint, need).await {
            Ok(channel) => channel,
            Err(error) => return Err(Miss::NeverSent(error, Some(Box::new(request)))),
        };
        let reused = channel.reused();
        trial.upload.start();
        let sent = self.clock.now();
        let answer = tokio::select! {
            biased;
            answer = channel.send(request, trial.interims.clone()) => answer,
            () = trial.interims.overflow() => Err(NoAnswer::Failed(too_many_interims())),
            () = trial.upload.backend_is_late(self.settings.first_byte_timeout) => Err(NoAnswer::Failed(self.too_late())),
        };
        let uploaded = trial.upload.is_finished();
        let answer = match (answer, trial.upload.failure()) {
            (Ok(answer), _) => answer,
            (Err(_), Some(clients_fault)) => return Err(Miss::Final(clients_fault)),
            (Err(NoAnswer::Unsent(error, request)), None) if reused => {
                return Err(Miss::DeadConnection(error, request));
            }
            (Err(NoAnswer::Unsent(error, request)), None) => return Err(Miss::NeverSent(error, request)),
            (Err(NoAnswer::Unanswered(error)), None) => return Err(Miss::DeadConnection(error, None)),
            (Err(NoAnswer::Failed(error)), None) => return Err(Miss::Final(error)),
        };
        let received = self.clock.now();
        if trial.interims.overflowed() {
            return Err(Miss::Final(too_many_interims()));
        }
        Exchange::judge(&trial.method, answer, uploaded, sent, received).map_err(Miss::Final)
    }

    /// Decides whether there is another attempt, and prepares it: then `trial` holds a request again.
    fn next_step(&self, index: usize, miss: Miss, trial: &mut Trial) -> Next {
        if trial.attempts_left == 0 {
            return Next::GiveUp;
        }
        let (next, request) = match miss {
            Miss::Final(_) => return Next::GiveUp,
            // The backend has done no work for it, so it is not taken from the budget. A fresh connection, because the
            // other idle ones have probably died with this one.
            Miss::DeadConnection(_, request) => (Next::Again, request),
            Miss::NeverSent(_, request) => {
                trial.tried.push(index);
                if trial.tried.len() >= self.endpoints.all().len() || !self.budget.take() {
                    return Next::GiveUp;
                }
                (Next::Elsewhere, request)
            }
        };
        trial.request = request.map(|request| *request).or_else(|| trial.spare.as_ref().map(Copy::to_request));
        if trial.request.is_none() {
            return Next::GiveUp;
        }
        trial.fresh = true;
        trial.attempts_left -= 1;
        next
    }

    fn hand_out(
        &self,
        index: usize,
        known: &Known,
        exchange: Exchange,
        permit: Permit,
        in_flight: InFlight,
    ) -> Fetched {
        let Exchange { head, framing, length, reuse, source, lease, sent, received } = exchange;
        let hold = Hold {
            _busy: (permit, in_flight),
            breaker: known.breaker.clone(),
            clock: self.clock.clone(),
            lease,
            reuse,
        };
        let body = InBody::new(source, length, self.settings.idle_body_timeout, hold);
        Fetched { head, body, sent, received, endpoint: index, framing }
    }

    fn too_late(&self) -> FetchError {
        let detail = format!("no head of an answer in {:?}", self.settings.first_byte_timeout);
        FetchError::new(FetchErrorKind::FirstByteTimeout, detail)
    }
}

/// What goes along from attempt to attempt.
struct Trial {
    method: Method,
    /// What to send next; none while it is under way, and when there is nothing more to try.
    request: Option<Request<OutBody>>,
    /// To send it again, if that is safe.
    spare: Option<Copy>,
    upload: Arc<Upload>,
    interims: Interims,
    /// Endpoints that could not be reached.
    tried: Vec<usize>,
    /// Not on a kept connection.
    fresh: bool,
    attempts_left: u32,
}

impl Trial {
    fn new(
        origin: &Origin,
        request: Request<OutBody>,
        replayable: bool,
        interim: Option<InterimSink>,
    ) -> Result<Self, FetchError> {
        let (mut head, body) = request.into_parts();
        outgoing::frame(&mut head, &body, origin.settings.host.as_deref())?;
        let upload = Upload::new(origin.clock.clone());
        let repeatable = replayable && origin.settings.retries > 0 && body.is_end_stream();
        Ok(Self {
            method: head.method.clone(),
            spare: repeatable.then(|| Copy::of(&head)),
            request: Some(Request::from_parts(head, upload.watch(body))),
            upload,
            interims: Interims::new(interim),
            tried: Vec::new(),
            fresh: false,
            attempts_left: origin.settings.retries,
        })
    }
}

/// An attempt that got an answer.
struct Exchange {
    head: Parts,
    framing: Framing,
    length: Option<u64>,
    /// May the connection be used again afterwards?
    reuse: bool,
    source: Source,
    lease: Option<Lease>,
    sent: Moment,
    received: Moment,
}

impl Exchange {
    /// Judges an answer. `uploaded`: when it arrived, the request's body had been sent to its end.
    fn judge(
        method: &Method,
        answer: Answer,
        uploaded: bool,
        sent: Moment,
        received: Moment,
    ) -> Result<Self, FetchError> {
        let Answer { response, source, lease } = answer;
        let (mut head, ()) = response.into_parts();
        let origin = match &source {
            Source::Wire(_) => framing::Source::Wire,
            Source::Service(_) => framing::Source::Service { length: source.length() },
        };
        let (framing, length) = framing::judge(method, &mut head, origin)
            .map_err(|complaint| FetchError::new(FetchErrorKind::BadResponse, complaint))?;
        // RFC 9112 §6.3: after two framings at once the connection "ought to" be closed. And a backend that answers before
        // it has the whole body may never read the rest, and take it for the next request (§9.3, SM-26).
        let reuse = framing != Framing::Ambiguous && uploaded;
        Ok(Self { head, framing, length, reuse, source, lease, sent, received })
    }
}

/// An attempt that got none.
enum Miss {
    /// No connection, or a new one that ended before the request was sent. Here it is, if it is still whole.
    NeverSent(FetchError, Option<Box<Request<OutBody>>>),
    /// A kept connection had died. The request, if it was not sent on it.
    DeadConnection(FetchError, Option<Box<Request<OutBody>>>),
    /// Anything else: it may have been acted upon.
    Final(FetchError),
}

impl Miss {
    fn error(&self) -> &FetchError {
        match self {
            Miss::NeverSent(error, _) | Miss::DeadConnection(error, _) | Miss::Final(error) => error,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    Again,
    Elsewhere,
    GiveUp,
}

/// Statuses by which a backend says that it cannot answer anybody.
fn is_gateway_failure(status: StatusCode) -> bool {
    matches!(status, StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT)
}

fn too_many_interims() -> FetchError {
    FetchError::new(FetchErrorKind::BadResponse, format!("more than {MAX_INTERIM} interim answers"))
}

/// How often idle connections are looked through.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);
