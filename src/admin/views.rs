//! What can be looked at.

use axum::Json;
use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Request, StatusCode, Uri};
use serde::Deserialize;
use serde_json::json;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::Admin;
use crate::breaker::BreakerState;
use crate::policy::tags::named_tag;
use crate::rfc::Moment;
use crate::serve::admit::Client;
use crate::serve::body::Body;
use crate::store::{EntrySummary, Filter, Grade, SharedStats, Sight, Standing};
use crate::telemetry::{self, Counted, FleetGauges, Gauges, OriginGauge, timestamp};

/// How many lines a listing has unless it is asked for more or fewer.
const LINES: usize = 100;
const MOST_LINES: usize = 10_000;

pub(super) async fn index() -> &'static str {
    "forebay admin\n\n\
     POST /v1/purge            {\"url\"|\"tag\"|\"prefix\": \"…\"} or {\"all\": true}, \"soft\": true\n\
     GET  /v1/explain?url=/x   why it is or is not cached (&ask=true asks the backend)\n\
     GET  /v1/entries?prefix=/ what is stored\n\
     GET  /v1/ledger           the latest changes\n\
     GET  /v1/stat             hit ratios, latencies, backends\n\
     GET  /metrics             for Prometheus\n\
     GET  /livez /readyz       health\n"
}

/// 200 while requests are welcome. A backend that is down does not make the gateway unready: what is stored is served.
pub(super) async fn ready(State(admin): State<Admin>) -> Response {
    let origins: serde_json::Map<String, serde_json::Value> = admin
        .gateway
        .origins()
        .iter()
        .map(|origin| (origin.name().to_owned(), json!({ "healthy": origin.state().is_healthy() })))
        .collect();
    let ready = admin.ready.get();
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(json!({ "ready": ready, "origins": origins }))).into_response()
}

pub(super) async fn metrics(State(admin): State<Admin>) -> Response {
    let text = admin.gateway.metrics().render(&gauges(&admin));
    ([(header::CONTENT_TYPE, telemetry::CONTENT_TYPE)], text).into_response()
}

pub(super) async fn stat(State(admin): State<Admin>) -> Response {
    Json(admin.gateway.metrics().stat()).into_response()
}

#[derive(Deserialize)]
pub(super) struct Listing {
    prefix: Option<String>,
    host: Option<String>,
    tag: Option<String>,
    limit: Option<usize>,
}

pub(super) async fn entries(State(admin): State<Admin>, Query(listing): Query<Listing>) -> Response {
    let limit = listing.limit.unwrap_or(LINES).min(MOST_LINES);
    let now = admin.gateway.clock().now();
    // The name as the backend gives it, and as a purge takes it.
    let tag = listing.tag.as_deref().map(named_tag);
    let filter = Filter { prefix: listing.prefix, host: listing.host, tag };
    let entries = admin.gateway.store().list(&filter, limit);
    let lines: Vec<_> = entries.iter().map(|entry| summary(entry, now)).collect();
    Json(json!({ "entries": lines })).into_response()
}

pub(super) async fn ledger(State(admin): State<Admin>, Query(listing): Query<Listing>) -> Response {
    let limit = listing.limit.unwrap_or(LINES).min(MOST_LINES);
    let changes = admin.gateway.bus().audit(limit);
    let lines: Vec<_> = changes
        .iter()
        .map(|line| {
            json!({
                "seq": line.number,
                "at": timestamp(Duration::from_secs(line.at)),
                "grade": grade(line.grade),
                "tags": line.tags,
                "more_tags": line.more_tags,
                "source": line.source,
                "id": line.id,
            })
        })
        .collect();
    Json(json!({ "changes": lines })).into_response()
}

#[derive(Deserialize)]
pub(super) struct Question {
    url: String,
    method: Option<String>,
    host: Option<String>,
    #[serde(default)]
    ask: bool,
    /// `name: value` lines.
    #[serde(default)]
    header: Option<String>,
}

pub(super) async fn explain(State(admin): State<Admin>, Query(question): Query<Question>) -> Response {
    let request = match request(&question) {
        Ok(request) => request,
        Err(problem) => return (StatusCode::BAD_REQUEST, Json(json!({ "error": problem }))).into_response(),
    };
    let client = Client { address: std::net::SocketAddr::from(([127, 0, 0, 1], 0)), secure: is_https(&question.url) };
    Json(admin.gateway.explain(client, request, question.ask).await).into_response()
}

fn is_https(url: &str) -> bool {
    url.starts_with("https:")
}

fn request(question: &Question) -> Result<Request<Body>, String> {
    let uri: Uri = question.url.parse().map_err(|error| format!("`url`: {error}"))?;
    let mut headers = HeaderMap::new();
    let host = question.host.clone().or_else(|| uri.authority().map(ToString::to_string));
    let host = host.unwrap_or_else(|| String::from("localhost"));
    headers.insert(header::HOST, HeaderValue::from_str(&host).map_err(|error| format!("`host`: {error}"))?);
    for line in question.header.iter().flat_map(|lines| lines.lines()) {
        let (name, value) = line.split_once(':').ok_or_else(|| format!("`header`: `{line}` is not `name: value`"))?;
        let name = HeaderName::try_from(name.trim()).map_err(|error| format!("`header`: {error}"))?;
        let value = HeaderValue::try_from(value.trim()).map_err(|error| format!("`header`: {error}"))?;
        headers.append(name, value);
    }
    let method = question.method.as_deref().unwrap_or("GET").to_ascii_uppercase();
    let mut request = Request::new(Body::empty());
    *request.method_mut() = method.parse().map_err(|error| format!("`method`: {error}"))?;
    let path = uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
    *request.uri_mut() = path.parse().map_err(|error| format!("`url`: {error}"))?;
    *request.headers_mut() = headers;
    Ok(request)
}

fn summary(entry: &EntrySummary, now: Moment) -> serde_json::Value {
    json!({
        "key": entry.key,
        "host": entry.host,
        "path": entry.path,
        "vary": entry.vary,
        "status": entry.status.as_u16(),
        "bytes": entry.body,
        "weight": entry.weight,
        "age": entry.facts.age(now).as_secs(),
        "left": entry.facts.left(now),
        "lifetime": entry.facts.lifetime.as_secs(),
        "lifetime_from": entry.facts.source.name(),
        "tags": entry.tags,
        "born": entry.born,
        "standing": match entry.standing {
            Standing::Valid => "valid",
            Standing::Soft => "soft",
            Standing::Check => "check",
            Standing::Void => "void",
        },
    })
}

fn grade(grade: Grade) -> &'static str {
    match grade {
        Grade::Soft => "soft",
        Grade::Check => "check",
        Grade::Hard => "hard",
    }
}

/// What concerns the fleet; nothing for a node on its own.
fn fleet(admin: &Admin) -> Option<FleetGauges> {
    let gateway = &admin.gateway;
    let bus = gateway.bus();
    if bus.fleet().in_sight().is_some() {
        return None;
    }
    let now = gateway.clock().now();
    let sight = bus.sight_stats();
    let heard = admin.hearing.stats();
    let redis = bus.fleet().stats();
    let shared = gateway.shared().map(|shared| shared.stats());
    let refusing = |state: BreakerState| u64::from(state != BreakerState::Admitting);
    Some(FleetGauges {
        in_sight: gateway.store().ledger().sight(now) == Sight::Clear,
        lag: sight.lag,
        lost: bus.lost(),
        epochs: sight.epochs,
        blind: sight.blind,
        queued: bus.queued() as u64,
        heartbeats_missed: sight.missed,
        scribe: bus.is_scribe(),
        messages: std::iter::once(("changed-something", heard.mapped)).chain(heard.dropped).collect(),
        gaps: heard.gaps,
        taken_over: heard.taken_over,
        eviction_risk: redis.as_ref().is_some_and(|redis| redis.evicts == Some(true)),
        redis_breakers: redis
            .as_ref()
            .map(|redis| vec![("entries", refusing(redis.entries)), ("ledger", refusing(redis.ledger))])
            .unwrap_or_default(),
        redis_rebuilds: redis.as_ref().map(|redis| redis.rebuilds.clone()).unwrap_or_default(),
        refusals: shared.map(|shared| shared.refusals().collect()).unwrap_or_default(),
        writes: shared.map(written).unwrap_or_default(),
        leases: shared.map(|shared| shared.leases().collect()).unwrap_or_default(),
        redis_errors: redis.map(|redis| redis.errors).unwrap_or_default(),
    })
}

fn written(shared: &SharedStats) -> Counted {
    shared.writes().chain([("dropped", shared.dropped_writes())]).collect()
}

fn gauges(admin: &Admin) -> Gauges {
    let gateway = &admin.gateway;
    let store = gateway.store();
    let count = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
    Gauges {
        memory_bytes: store.weight(),
        memory_entries: store.count(),
        capacity: store.capacity(),
        evictions: store.evictions(),
        flights: gateway.flights_under_way() as u64,
        ledger_applied: store.ledger().applied(),
        ledger_tags: store.ledger().tags() as u64,
        open_connections: count(&admin.listeners.open),
        accepted: count(&admin.listeners.accepted),
        refused_connections: count(&admin.listeners.refused_client),
        log_written: gateway.access_log().written(),
        log_dropped: gateway.access_log().dropped(),
        uptime: gateway.clock().now().mono,
        ready: admin.ready.get(),
        fleet: fleet(admin),
        origins: gateway
            .origins()
            .iter()
            .map(|origin| {
                let state = origin.state();
                OriginGauge {
                    name: origin.name().to_owned(),
                    healthy: state.is_healthy(),
                    in_flight: state.in_flight as u64,
                    queue: state.waiting as u64,
                    breaker_open: state.is_refusing(),
                }
            })
            .collect(),
    }
}
