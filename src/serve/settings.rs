//! What the request path is told by the configuration.

use std::time::Duration;

use http::HeaderName;
use ipnet::IpNet;

/// Settings of the data path that belong to no route.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The name in Cache-Status, Via and CDN-Loop. A token.
    pub name: String,
    /// Peers whose X-Forwarded-For, X-Forwarded-Proto, X-Forwarded-Host and Forwarded are believed.
    pub trusted_proxies: Vec<IpNet>,
    /// The bearer token that makes the PURGE method work on the data listener. `None`: PURGE is refused.
    pub purge_token: Option<String>,
    /// A field and its secret value: a request that carries it gets a fresh answer. `None`: nobody can force one.
    pub refresh_token: Option<(HeaderName, String)>,
    /// Whether answers carry Cache-Status (RFC 9211).
    pub cache_status: bool,
    /// Whether answers carry Via (requests always do: it is what detects loops).
    pub via: bool,
    /// The longest request target, in bytes.
    pub max_uri: usize,
    /// The largest request body, in bytes.
    pub max_request_body: u64,
    /// How long a request waits for another one's fetch.
    pub waiter_timeout: Duration,
    /// How many requests may wait for one fetch.
    pub max_waiters: usize,
    /// How long a request that has a stale answer to fall back to waits for the backend.
    pub stale_after: Duration,
    /// How long it is remembered that a key's answer could not be shared.
    pub uncacheable_for: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            name: String::from("forebay"),
            trusted_proxies: Vec::new(),
            purge_token: None,
            refresh_token: None,
            cache_status: true,
            via: true,
            max_uri: 8 * 1024,
            max_request_body: 64 * 1024 * 1024,
            waiter_timeout: Duration::from_secs(30),
            max_waiters: 10_000,
            stale_after: Duration::from_millis(900),
            uncacheable_for: Duration::from_secs(10),
        }
    }
}
