//! Step 8: what became of a request, as log line and metrics.
//!
//! The [`Trail`] goes along with the request and collects what was decided. When the answer is in memory it is accounted
//! for at once; when its body streams, an [`Account`] rides on the body and is told how it ended.

use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use http_body::Body as _;

use super::admit::{Asked, Client};
use super::body::Body;
use super::limits::Places;
use super::{Gateway, respond};
use crate::clock::Clock;
use crate::rfc::{CacheStatus, Moment, Reason};
use crate::telemetry::{AccessLog, AccessRecord, Metrics, Outcome};
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
        let now = self.clock.now();
        record(&self.metrics, &self.trail, self.status, now, self.sent);
        if let Some(line) = &self.line {
            log(&self.access, &self.trail, line, self.status, now, self.sent, broken);
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
        if self.access().wants(trail.outcome) {
            let line = line(asked, &trail, &response);
            log(self.access(), &trail, &line, response.status().as_u16(), now, bytes, false);
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
        let wanted = self.access().wants(trail.outcome);
        if response.body().is_in_memory() && places.is_empty() {
            let now = self.clock().now();
            let bytes = expected.unwrap_or(0);
            record(self.metrics(), &trail, status, now, bytes);
            if wanted {
                log(self.access(), &trail, &line(Some(asked), &trail, &response), status, now, bytes, false);
            }
            return response;
        }
        let line = wanted.then(|| Box::new(line(Some(asked), &trail, &response)));
        let account = Account {
            metrics: Arc::clone(self.metrics()),
            access: self.access().clone(),
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
    metrics.served(trail.route, trail.outcome, status, now.since(trail.received), bytes);
    if let Some(reason) = trail.reason {
        metrics.reason(reason);
    }
}

fn line(asked: Option<&Asked>, trail: &Trail, response: &Response<Body>) -> Line {
    let cache_status = response.headers().get("cache-status").cloned();
    let Some(asked) = asked else {
        let nothing = Request::new(());
        let client = trail.client.address.ip();
        let method = nothing.method().clone();
        return Line { method, host: String::new(), target: String::new(), agent: None, cache_status, client };
    };
    Line {
        method: asked.method.clone(),
        host: asked.host().to_owned(),
        target: asked.path_and_query().to_owned(),
        agent: asked.headers.get(http::header::USER_AGENT).cloned(),
        cache_status,
        client: asked.client,
    }
}

fn log(access: &AccessLog, trail: &Trail, line: &Line, status: u16, now: Moment, bytes: u64, broken: bool) {
    let text = |value: &Option<http::HeaderValue>| {
        value.as_ref().map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
    };
    let agent = text(&line.agent);
    let cache_status = text(&line.cache_status);
    access.write(&AccessRecord {
        at: trail.received,
        client: line.client,
        method: line.method.as_str(),
        host: &line.host,
        target: &line.target,
        status,
        bytes,
        broken,
        duration: now.since(trail.received),
        backend: trail.answered.map(|answered| answered.since(trail.received)),
        outcome: trail.outcome,
        reason: trail.reason,
        trouble: trail.trouble.as_deref(),
        route: trail.route,
        cache_status: cache_status.as_deref(),
        user_agent: agent.as_deref(),
    });
}
