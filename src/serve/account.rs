//! Step 8: what became of a request, as log line and metrics.
//!
//! The [`Trail`] goes along with the request and collects what was decided. When the answer is in memory it is accounted
//! for at once; when its body streams, an [`Account`] rides on the body and is told how it ended.

use std::sync::Arc;

use http::Response;
use http_body::Body as _;

use super::admit::{Asked, Client};
use super::body::Body;
use super::limits::Places;
use super::{Gateway, respond};
use crate::clock::Clock;
use crate::rfc::{CacheStatus, Moment, Reason};
use crate::telemetry::{AccessLog, AccessRecord, Metrics, NO_ROUTE, Outcome};
use crate::upstream::FetchError;

/// What was decided about a request so far.
#[derive(Debug)]
pub struct Trail {
    received: Moment,
    client: Client,
    route: Option<usize>,
    outcome: Outcome,
    reason: Option<Reason>,
    /// Why the backend did not deliver, for people.
    trouble: Option<String>,
    /// When the backend's head arrived.
    answered: Option<Moment>,
}

impl Trail {
    /// A request that arrived at `received`.
    pub fn begin(received: Moment, client: Client) -> Self {
        Self { received, client, route: None, outcome: Outcome::Error, reason: None, trouble: None, answered: None }
    }

    /// The rule it takes.
    pub fn route(&mut self, rule: usize) {
        self.route = Some(rule);
    }

    /// Answered with what is stored; `stale` says why although it is not fresh.
    pub fn hit(&mut self, stale: Option<Reason>) {
        self.outcome = if stale.is_some() { Outcome::StaleHit } else { Outcome::MemoryHit };
        self.reason = stale;
    }

    /// Answered with what another node has fetched.
    pub fn shared_hit(&mut self) {
        self.outcome = Outcome::SharedHit;
        self.reason = None;
    }

    /// Answered with what was fetched to be kept.
    pub fn fetched(&mut self, reason: Option<Reason>, collapsed: bool, confirmed: bool, received: Moment) {
        self.outcome = match (collapsed, confirmed) {
            (true, _) => Outcome::Collapsed,
            (false, true) => Outcome::Revalidated,
            (false, false) => Outcome::Miss,
        };
        self.reason = reason;
        self.answered = Some(received);
    }

    /// Answered with what is for this client alone.
    pub fn passed(&mut self, reason: Reason, received: Moment) {
        self.outcome = Outcome::Pass;
        self.reason = Some(reason);
        self.answered = Some(received);
    }

    /// Refused by the front door.
    pub fn refused(&mut self, reason: Reason) {
        self.outcome = Outcome::Rejected;
        self.reason = Some(reason);
    }

    /// Came to nothing.
    pub fn failed(&mut self, reason: Reason) {
        self.outcome = Outcome::Error;
        self.reason = Some(reason);
    }

    /// What the backend did.
    pub fn backend_error(&mut self, error: &FetchError) {
        self.trouble = Some(error.to_string());
    }

    /// Why a stale answer is about to be given.
    pub fn cause(&mut self, reason: Reason) {
        self.trouble.get_or_insert_with(|| reason.code().to_owned());
    }
}

/// What is written down when a body has ended.
#[derive(Debug)]
pub struct Account {
    metrics: Arc<Metrics>,
    access: AccessLog,
    clock: Clock,
    trail: Trail,
    line: Option<Box<Line>>,
    status: u16,
    expected: Option<u64>,
    sent: u64,
    told: bool,
    _places: Places,
}

/// What the access log wants to know of the request.
#[derive(Debug)]
struct Line {
    method: http::Method,
    host: String,
    target: String,
    agent: Option<http::HeaderValue>,
    id: Option<http::HeaderValue>,
    route: Arc<str>,
    cache_status: Option<http::HeaderValue>,
    client: std::net::IpAddr,
}

impl Account {
    /// So many more bytes went to the client.
    pub fn sent(&mut self, bytes: usize) {
        self.sent += bytes as u64;
    }

    /// The body has been handed over in full.
    pub fn complete(mut self) {
        self.write(false);
    }

    /// The body broke off.
    pub fn broken(mut self) {
        self.write(true);
    }

    fn write(&mut self, broken: bool) {
        self.told = true;
        if broken {
            self.trail.trouble.get_or_insert_with(|| String::from("the transfer broke off"));
        }
        let now = self.clock.now();
        record(&self.metrics, &self.trail, self.status, now, self.sent);
        if let Some(line) = &self.line {
            log(&self.access, &self.trail, line, self.status, now, self.sent);
        }
    }
}

/// A client that left, or a transfer that hyper ended after the last byte it was promised.
impl Drop for Account {
    fn drop(&mut self) {
        if !self.told {
            self.write(self.expected != Some(self.sent));
        }
    }
}

impl Gateway {
    fn route_name(&self, trail: &Trail) -> Arc<str> {
        let policy = self.policy();
        let rule = trail.route.and_then(|route| policy.rules().get(route));
        rule.map_or_else(|| Arc::from(""), |rule| Arc::clone(&rule.name))
    }

    /// Refuses a request at the door.
    pub(super) fn refuse(
        &self,
        mut trail: Trail,
        asked: Option<&Asked>,
        reason: Reason,
        retry_after: Option<u64>,
    ) -> Response<Body> {
        trail.refused(reason);
        let mut response = respond::error(reason, retry_after);
        if self.settings().cache_status {
            let status = CacheStatus { detail: Some(reason.code()), ..CacheStatus::default() };
            status.append(response.headers_mut(), &self.settings().name);
        }
        let now = self.clock().now();
        let bytes = response.body().size_hint().exact().unwrap_or(0);
        record(self.metrics(), &trail, response.status().as_u16(), now, bytes);
        if self.access_log().wants(trail.outcome) {
            let line = line(asked, self.route_name(&trail), &trail, &response);
            log(self.access_log(), &trail, &line, response.status().as_u16(), now, bytes);
        }
        response
    }

    /// Accounts for an answer: now if it is all there, else when its body ends.
    pub(super) fn account(
        &self,
        trail: Trail,
        asked: &Asked,
        places: Places,
        response: Response<Body>,
    ) -> Response<Body> {
        let status = response.status().as_u16();
        let expected = response.body().exact_length();
        let wanted = self.access_log().wants(trail.outcome);
        if response.body().is_in_memory() && places.is_empty() {
            let now = self.clock().now();
            let bytes = expected.unwrap_or(0);
            record(self.metrics(), &trail, status, now, bytes);
            if wanted {
                log(
                    self.access_log(),
                    &trail,
                    &line(Some(asked), self.route_name(&trail), &trail, &response),
                    status,
                    now,
                    bytes,
                );
            }
            return response;
        }
        let line = wanted.then(|| Box::new(line(Some(asked), self.route_name(&trail), &trail, &response)));
        let account = Account {
            metrics: Arc::clone(self.metrics()),
            access: self.access_log().clone(),
            clock: self.clock().clone(),
            trail,
            line,
            status,
            expected,
            sent: 0,
            told: false,
            _places: places,
        };
        response.map(|body| body.accounted(account))
    }
}

fn record(metrics: &Metrics, trail: &Trail, status: u16, now: Moment, bytes: u64) {
    metrics.served(trail.route.unwrap_or(NO_ROUTE), trail.outcome, status, now.since(trail.received), bytes);
    if let Some(reason) = trail.reason {
        metrics.reason(reason);
    }
}

fn line(asked: Option<&Asked>, route: Arc<str>, trail: &Trail, response: &Response<Body>) -> Line {
    let cache_status = response.headers().get("cache-status").cloned();
    let field = |name: &str| asked.and_then(|asked| asked.headers.get(name).cloned());
    Line {
        method: asked.map(|asked| asked.method.clone()).unwrap_or_default(),
        host: asked.map(|asked| asked.host().to_owned()).unwrap_or_default(),
        target: asked.map(|asked| asked.path_and_query().to_owned()).unwrap_or_default(),
        agent: field("user-agent"),
        id: field("x-amz-cf-id").or_else(|| field("x-request-id")),
        route,
        cache_status,
        client: asked.map_or_else(|| trail.client.address.ip(), |asked| asked.client),
    }
}

fn log(access: &AccessLog, trail: &Trail, line: &Line, status: u16, now: Moment, bytes: u64) {
    let value = |value: &Option<http::HeaderValue>| value.clone().unwrap_or_else(|| http::HeaderValue::from_static(""));
    let (agent, cache_status, id) = (value(&line.agent), value(&line.cache_status), value(&line.id));
    access.write(&AccessRecord {
        time: now.wall,
        client: line.client,
        method: line.method.as_str(),
        host: line.host.as_bytes(),
        path: line.target.as_bytes(),
        status,
        bytes,
        duration: now.since(trail.received),
        outcome: trail.outcome,
        reason: trail.reason,
        trouble: trail.trouble.as_deref().unwrap_or_default(),
        route: &line.route,
        cache_status: cache_status.as_bytes(),
        origin_duration: trail.answered.map(|answered| answered.since(trail.received)),
        request_id: id.as_bytes(),
        user_agent: agent.as_bytes(),
    });
}
