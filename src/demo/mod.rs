//! The sample backend: the "wrapper API" of a CRM and a fleet of devices, with the habits of a real one.
//!
//! It takes 50 to 100 ms per answer, versions its JSON, validates, names what each document was made from (`Cache-Tag`,
//! and the same as Cache-Groups of RFC 9875), and its writes change what its GETs return. It counts what it receives,
//! so that a test can prove that a request never reached it:
//!
//! | Path | What |
//! |---|---|
//! | `GET /_count` | `{"total": 4, "paths": {"/api/users/1": 3, …}}` |
//! | `POST /_count/reset` | starts counting anew |
//! | `POST /_outage?status=503` | every other path fails from now on |
//! | `DELETE /_outage` | and works again |
//!
//! These four are neither counted nor slowed down. `GET /` lists the rest. Time comes from a [`Clock`] and tokio's
//! timers, so the whole of it runs on paused time, as a tower service without a socket:
//!
//! ```
//! use forebay::clock::Clock;
//! use forebay::demo::{DemoSettings, backend};
//! use tower::ServiceExt as _;
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() {
//! let backend = backend(DemoSettings::default(), Clock::system());
//! let request = http::Request::get("/api/users/1").body(axum::body::Body::empty()).unwrap();
//! let answer = backend.oneshot(request).await.unwrap();
//! assert_eq!(answer.headers()["cache-tag"], "user:1");
//! # }
//! ```

mod answer;
mod credits;
mod devices;
mod endless;
mod organisation;
mod pages;
mod people;
mod sample;
mod traffic;
mod trouble;
mod world;

use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router, middleware};
use http::header::CACHE_CONTROL;
use http::{HeaderMap, StatusCode};
use serde_json::json;

use crate::clock::{Clock, Moment};
use answer::{Done, Problem, View, put};
use traffic::Traffic;
use world::{Change, World};

/// How the sample backend behaves.
#[derive(Clone, Debug)]
pub struct DemoSettings {
    /// Each answer takes a time from this range. Default: 50 to 100 ms. Zero is allowed.
    pub latency: RangeInclusive<Duration>,
    /// The latencies (and session tokens) follow from this number. Default: 1.
    pub seed: u64,
}

impl Default for DemoSettings {
    fn default() -> Self {
        Self { latency: Duration::from_millis(50)..=Duration::from_millis(100), seed: 1 }
    }
}

/// The sample backend, as a router that can be called in process or served on a socket. Clones share their data.
pub fn backend(settings: DemoSettings, clock: Clock) -> Router {
    let world = Mutex::new(World::new(clock.now().wall));
    let traffic = Traffic::new(settings.latency, settings.seed);
    let backend = Backend(Arc::new(Inner { clock, world, traffic }));
    // The fallbacks are set before the layer, so that what is not found is counted too.
    let counted = Router::new()
        .route("/", get(index))
        .merge(people::routes())
        .merge(credits::routes())
        .merge(organisation::routes())
        .merge(devices::routes())
        .merge(trouble::routes())
        .fallback(answer::not_found)
        .method_not_allowed_fallback(answer::method_not_allowed)
        .layer(middleware::from_fn_with_state(backend.clone(), traffic::pass));
    let control = Router::new()
        .route("/_count", get(count))
        .route("/_count/reset", post(reset_count))
        .route("/_outage", post(trouble::begin_outage).delete(trouble::end_outage));
    counted.merge(control).with_state(backend)
}

/// What the handlers share.
#[derive(Clone, Debug)]
struct Backend(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    clock: Clock,
    world: Mutex<World>,
    traffic: Traffic,
}

impl Backend {
    /// Answers a GET with the document that `view` makes of the data.
    fn read(&self, request: &HeaderMap, view: impl FnOnce(&World) -> Result<View, Problem>) -> Response {
        let view = view(&self.lock());
        match view {
            Ok(view) => view.answer(request),
            Err(problem) => problem.into_response(),
        }
    }

    /// Runs a write, which checks first and alters then, and answers with what it says.
    fn write(
        &self,
        action: &'static str,
        alter: impl FnOnce(&mut World, &mut Change) -> Result<Done, Problem>,
    ) -> Response {
        let now = self.now().wall;
        let done = self.lock().change(now, action, alter);
        match done {
            Ok((done, touched)) => done.answer(&touched),
            Err(problem) => problem.into_response(),
        }
    }

    fn now(&self) -> Moment {
        self.0.clock.now()
    }

    fn version(&self) -> u64 {
        self.lock().version
    }

    fn traffic(&self) -> &Traffic {
        &self.0.traffic
    }

    /// Nothing that holds the lock can panic half-way, so a poisoned one is as good as any.
    fn lock(&self) -> MutexGuard<'_, World> {
        self.0.world.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn index() -> Response {
    let paths = json!({
        "users": ["/api/users", "/api/users/{id}", "/api/users/{id}/profile", "/api/users/{id}/session"],
        "roles": ["/api/roles", "/api/roles/{roleId}", "/api/permissions/check?userId=&permission="],
        "credits": ["/api/credit-configs", "/api/credit-configs/{operationCode}",
            "/api/credits/validate?operation=&userId=", "POST /api/operations/lead-create"],
        "organisation": ["/api/hierarchy/{entityId}", "/api/audit-logs", "/api/audit-logs/{id}", "/api/history/{key}"],
        "devices": ["/api/devices", "/api/devices/{id}", "/api/devices/{id}/metadata"],
        "trouble": ["/api/events", "/api/export?mib=", "/api/slow?ms=", "/api/fail?status="],
        "control": ["/_count", "POST /_count/reset", "POST /_outage?status=", "DELETE /_outage"],
    });
    let mut response = Json(paths).into_response();
    put(response.headers_mut(), CACHE_CONTROL, "max-age=60");
    response
}

async fn count(State(backend): State<Backend>) -> Response {
    let mut response = Json(backend.traffic().counts()).into_response();
    put(response.headers_mut(), CACHE_CONTROL, "no-store");
    response
}

async fn reset_count(State(backend): State<Backend>) -> Response {
    backend.traffic().reset();
    let mut response = StatusCode::NO_CONTENT.into_response();
    put(response.headers_mut(), CACHE_CONTROL, "no-store");
    response
}

#[cfg(test)]
mod tests;
