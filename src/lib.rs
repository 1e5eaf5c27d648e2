//! Forebay, a caching gateway for REST backends: memory first, honest about freshness, and a purge that is a promise.
//!
//! This page is the map of the house; `ARCHITECTURE.md` tells the same story at more length. A request takes eight steps,
//! and [`serve`] is their list. The rooms have six verbs, and import only what stands below them:
//!
//! | | Room | What it is for |
//! |---|---|---|
//! | DECIDE | [`rfc`] | what HTTP permits: pure functions of two messages and a moment |
//! | DECIDE | [`policy`] | what the operator wants: routes, keys, tags; compiled once, swapped whole |
//! | KEEP | [`store`] | entries, variants, and the ledger that says which of them may still be used |
//! | KEEP | [`fleet`] | what the nodes of a fleet share: the log of changes |
//! | FETCH | [`upstream`] | backends: connections, health, retries; the seam to the network |
//! | SERVE | [`serve`] | a request's path: the one room that joins the others |
//! | RENEW | [`changes`] | whatever alters the cache without a client asking: all of it through one bus |
//! | RUN | [`listen`] | sockets, TLS, HTTP/2, limits, drain |
//! | RUN | [`admin`] | the operator's door: purge, explain, statistics, health |
//! | RUN | [`telemetry`] | the catalogue of metrics, the access log |
//! | RUN | [`config`] | `config.toml` → [`config::Config`] → every room's settings |
//! | RUN | [`cli`], [`app`] | the command line; what wires the rooms |
//! | | [`demo`] | the sample backend |
//! | | [`clock`], [`breaker`] | time, read in one place; a breaker |
//!
//! # Inside an application
//!
//! The gateway is a [`tower::Service`] of any HTTP request and needs no socket of its own. `Gateway::into_router` makes
//! an axum router of it:
//!
//! ```
//! use forebay::app::App;
//! use forebay::clock::Clock;
//! use forebay::config::{self, Overrides};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let config = config::parse("[origin]\nurl = \"demo\"", "embedded", &Overrides::default())?;
//! let app = App::build(config, Clock::system())?;
//! let router: axum::Router = axum::Router::new()
//!     .route("/mine", axum::routing::get(|| async { "not cached" }))
//!     .merge(app.gateway().clone().into_router());
//! # let _ = router;
//! # Ok(())
//! # }
//! ```

pub mod admin;
pub mod app;
pub mod breaker;
pub mod changes;
pub mod cli;
pub mod clock;
pub mod config;
pub mod demo;
pub mod fleet;
pub mod listen;
pub mod policy;
pub mod rfc;
pub mod serve;
pub mod store;
pub mod telemetry;
pub mod upstream;
