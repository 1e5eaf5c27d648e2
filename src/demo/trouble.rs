//! What a cache has to live with: slow answers, failures, endless and very large bodies. All of it on request.

use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::StatusCode;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use serde::Deserialize;
use serde_json::json;

use super::Backend;
use super::answer::{Problem, json_response, put};
use super::endless::{Events, Export};

pub(super) fn routes() -> Router<Backend> {
    Router::new()
        .route("/api/events", get(events))
        .route("/api/export", get(export))
        .route("/api/slow", get(slow))
        .route("/api/fail", get(fail))
}

/// The longest that `/api/slow` waits, in milliseconds.
const MAX_SLOW_MS: u64 = 120_000;
/// The largest `/api/export`, in MiB.
const MAX_EXPORT_MIB: u32 = 1024;

async fn events(State(backend): State<Backend>) -> Response {
    stream(Body::new(Events::new(backend)), "text/event-stream", "no-store")
}

#[derive(Debug, Deserialize)]
struct ExportQuery {
    mib: Option<u32>,
}

/// 20 MiB unless asked for another size. It says that it may be kept, and does not say how long it is: a cache finds
/// out on the way.
async fn export(query: Result<Query<ExportQuery>, QueryRejection>) -> Result<Response, Problem> {
    let mebibytes = query?.mib.unwrap_or(20);
    if mebibytes > MAX_EXPORT_MIB {
        return Err(Problem::bad_request(format!("mib is at most {MAX_EXPORT_MIB}")));
    }
    Ok(stream(Body::new(Export::new(mebibytes)), "application/x-ndjson", "max-age=60"))
}

#[derive(Debug, Deserialize)]
struct SlowQuery {
    ms: Option<u64>,
}

/// Waits a second, or as long as asked, on top of the usual latency.
async fn slow(query: Result<Query<SlowQuery>, QueryRejection>) -> Result<Response, Problem> {
    let milliseconds = query?.ms.unwrap_or(1_000);
    if milliseconds > MAX_SLOW_MS {
        return Err(Problem::bad_request(format!("ms is at most {MAX_SLOW_MS}")));
    }
    tokio::time::sleep(Duration::from_millis(milliseconds)).await;
    let mut response = json_response(StatusCode::OK, json!({ "waitedMs": milliseconds }).to_string());
    put(response.headers_mut(), CACHE_CONTROL, "max-age=10, stale-while-revalidate=30, stale-if-error=3600");
    Ok(response)
}

#[derive(Debug, Deserialize)]
pub(super) struct StatusQuery {
    status: Option<u16>,
}

/// The error status that was asked for; 503 if none was.
fn status(query: Result<Query<StatusQuery>, QueryRejection>) -> Result<StatusCode, Problem> {
    let asked = query?.status.unwrap_or(503);
    StatusCode::from_u16(asked)
        .ok()
        .filter(|status| status.is_client_error() || status.is_server_error())
        .ok_or_else(|| Problem::bad_request("status is from 400 to 599"))
}

async fn fail(query: Result<Query<StatusQuery>, QueryRejection>) -> Problem {
    match status(query) {
        Ok(status) => Problem::new(status, "Failed as asked"),
        Err(problem) => problem,
    }
}

/// From now on everything that is counted fails.
pub(super) async fn begin_outage(
    State(backend): State<Backend>,
    query: Result<Query<StatusQuery>, QueryRejection>,
) -> Result<Response, Problem> {
    backend.traffic().set_outage(Some(status(query)?));
    Ok(no_content())
}

/// And works again.
pub(super) async fn end_outage(State(backend): State<Backend>) -> Response {
    backend.traffic().set_outage(None);
    no_content()
}

fn no_content() -> Response {
    let mut response = StatusCode::NO_CONTENT.into_response();
    put(response.headers_mut(), CACHE_CONTROL, "no-store");
    response
}

fn stream(body: Body, content_type: &'static str, cache_control: &'static str) -> Response {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    put(headers, CONTENT_TYPE, content_type);
    put(headers, CACHE_CONTROL, cache_control);
    response
}
