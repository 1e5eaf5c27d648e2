//! Active checks: each endpoint is asked at intervals, on a connection of its own, whether it is well.
//!
//! They find out that an endpoint is unwell before a client does, and that it is well again although no client is sent to
//! it. It takes several answers of one kind in a row to change the verdict, so that a single slow answer does not.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use http::header::{HOST, USER_AGENT};
use http::{HeaderValue, Method, Request, StatusCode};
use tokio::task::JoinSet;

use super::OutBody;
use super::endpoint::Known;
use super::error::{FetchError, FetchErrorKind};
use super::interim::Interims;
use super::origin::Origin;
use super::outgoing::empty_body;
use super::pool::Need;
use super::settings::HealthSettings;
use super::transport::NoAnswer;

/// Checks all endpoints until dropped. Without health settings it waits, for ever.
pub(super) async fn check_for_ever(origin: Arc<Origin>) {
    if let Some(settings) = &origin.settings.health {
        let mut checks = JoinSet::new();
        for index in 0..origin.endpoints.all().len() {
            checks.spawn(check_endpoint(Arc::clone(&origin), index, settings.clone()));
        }
        while checks.join_next().await.is_some() {}
    }
    std::future::pending::<()>().await;
}

async fn check_endpoint(origin: Arc<Origin>, index: usize, settings: HealthSettings) {
    let Some(known) = origin.endpoints.all().get(index) else { return };
    let mut against = 0_u32;
    loop {
        let outcome = check_once(&origin, index, known, &settings).await;
        let healthy = known.healthy.load(Ordering::Relaxed);
        let needed = if healthy { settings.unhealthy_after } else { settings.healthy_after };
        // How many in a row have contradicted the verdict?
        against = if outcome.is_ok() == healthy { 0 } else { against.saturating_add(1) };
        if against >= needed.max(1) {
            against = 0;
            known.healthy.store(!healthy, Ordering::Relaxed);
            report(&origin.settings.name, known, outcome);
        }
        tokio::time::sleep(settings.interval.max(SHORTEST_INTERVAL)).await;
    }
}

async fn check_once(
    origin: &Origin,
    index: usize,
    known: &Known,
    settings: &HealthSettings,
) -> Result<StatusCode, FetchError> {
    let asking = ask(origin, index, known, request(origin, known, settings)?);
    let asked = tokio::time::timeout(settings.timeout, asking).await;
    let status = asked.unwrap_or_else(|_elapsed| {
        let detail = format!("no head of an answer in {:?}", settings.timeout);
        Err(FetchError::new(FetchErrorKind::FirstByteTimeout, detail))
    })?;
    if settings.expect.contains(&status.as_u16()) {
        return Ok(status);
    }
    Err(FetchError::new(FetchErrorKind::BadResponse, format!("status {}", status.as_u16())))
}

async fn ask(
    origin: &Origin,
    index: usize,
    known: &Known,
    request: Request<OutBody>,
) -> Result<StatusCode, FetchError> {
    // A new connection each time, so that "does not accept any more" is noticed.
    let need = Need { fresh: true, content: false };
    let channel = origin.transport.connect(index, &known.endpoint, need).await?;
    match channel.send(request, Interims::new(None)).await {
        Ok(answer) => Ok(answer.response.status()),
        Err(NoAnswer::Unsent(error, _) | NoAnswer::Unanswered(error) | NoAnswer::Failed(error)) => Err(error),
    }
}

fn request(origin: &Origin, known: &Known, settings: &HealthSettings) -> Result<Request<OutBody>, FetchError> {
    let host = origin.settings.host.as_deref().unwrap_or(&known.endpoint.authority);
    let mut request = Request::new(empty_body());
    *request.method_mut() = Method::GET;
    *request.uri_mut() = settings.path.parse().map_err(|_| unsendable(&settings.path))?;
    request.headers_mut().insert(HOST, HeaderValue::from_str(host).map_err(|_| unsendable(host))?);
    request.headers_mut().insert(USER_AGENT, HeaderValue::from_static("forebay-health"));
    Ok(request)
}

fn unsendable(what: &str) -> FetchError {
    FetchError::new(FetchErrorKind::BadRequest, format!("{what:?} cannot be sent"))
}

fn report(origin: &str, known: &Known, outcome: Result<StatusCode, FetchError>) {
    let endpoint = known.endpoint.url();
    match outcome {
        Ok(status) => tracing::info!(origin, endpoint, status = status.as_u16(), "the endpoint is well again"),
        Err(error) => tracing::warn!(origin, endpoint, %error, "the endpoint is unwell and is passed over"),
    }
}

/// A check more often than this would be load, not a check.
const SHORTEST_INTERVAL: std::time::Duration = std::time::Duration::from_millis(10);
