//! The operator's door: purge, explain, statistics, health. Its own listener, loopback unless a token is set.
//!
//! | Route | What |
//! |---|---|
//! | `POST /v1/purge` | purges by URL, tag, prefix or all; answers once it is effective on this node |
//! | `GET /v1/explain?url=…` | why a URL is or is not cached; `&ask=true` asks the backend too |
//! | `GET /v1/entries?prefix=…` | what is stored |
//! | `GET /v1/ledger` | the latest changes: the audit trail |
//! | `GET /v1/stat` | hit ratios, latencies, backends |
//! | `GET /metrics` | the same for Prometheus |
//! | `GET /livez`, `GET /readyz` | health, without a token |
//!
//! A browser on the operator's machine must not become an attacker's hand: what changes something takes JSON only (a form
//! on another site cannot send it unasked), cross-site requests are refused, and so is a Host that is neither an address
//! nor `localhost` while there is no token (DNS rebinding).

mod guard;
mod purge;
mod settings;
mod views;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::routing::{get, post};
use http::header::{self, HeaderValue};
use tower_http::limit::RequestBodyLimitLayer;
use tower_http::set_header::SetResponseHeaderLayer;

use crate::changes::Hearing;
use crate::listen::ListenStats;
use crate::serve::{Gateway, Secret};

pub use self::purge::{PurgeOrder, PurgeReceipt};
pub use self::settings::AdminSettings;

/// What the admin listener needs.
#[derive(Clone)]
pub struct Admin {
    /// The gateway it looks after.
    pub gateway: Gateway,
    /// What listens for announcements.
    pub hearing: Arc<Hearing>,
    /// The data listener's counters.
    pub listeners: Arc<ListenStats>,
    /// The bearer token. `None`: everything that reaches the listener is trusted.
    pub token: Option<Secret>,
    /// Whether new requests are welcome.
    pub ready: Readiness,
}

/// Whether this node wants traffic. Off before it listens and while it drains.
#[derive(Clone, Debug, Default)]
pub struct Readiness(Arc<AtomicBool>);

impl Readiness {
    /// Says so.
    pub fn set(&self, ready: bool) {
        self.0.store(ready, Ordering::Release);
    }

    /// Whether it was said.
    pub fn get(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// The largest request body, in bytes: a purge names one thing.
const MAX_BODY: usize = 64 * 1024;

impl Admin {
    /// The admin listener's routes.
    pub fn router(self) -> Router {
        let guarded = Router::new()
            .route("/", get(views::index))
            .route("/metrics", get(views::metrics))
            .route("/v1/purge", post(purge::purge))
            .route("/v1/explain", get(views::explain))
            .route("/v1/entries", get(views::entries))
            .route("/v1/ledger", get(views::ledger))
            .route("/v1/stat", get(views::stat))
            .layer(axum::middleware::from_fn_with_state(self.clone(), guard::guard));
        let fixed = |name, value| SetResponseHeaderLayer::overriding(name, HeaderValue::from_static(value));
        guarded
            .route("/livez", get(|| async { "live\n" }))
            .route("/readyz", get(views::ready))
            .layer(RequestBodyLimitLayer::new(MAX_BODY))
            .layer(fixed(header::CACHE_CONTROL, "no-store"))
            .layer(fixed(header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
            .layer(fixed(header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"))
            .layer(fixed(header::REFERRER_POLICY, "no-referrer"))
            .with_state(self)
    }
}
