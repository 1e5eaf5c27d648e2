//! What an operator may say about a backend.

use std::ops::RangeInclusive;
use std::time::Duration;

use crate::breaker::BreakerSettings;

/// One named backend: where it is, how patient to be with it, and how much of it may be used at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OriginSettings {
    /// The name that routes, logs and metrics use.
    pub name: String,
    /// Where it answers. May be empty only with [`Transport::Service`](super::Transport::Service).
    pub endpoints: Vec<Endpoint>,
    /// The Host to send. `None`, the default: as the client sent it.
    pub host: Option<String>,
    /// For resolving the name, the TCP connection and the TLS handshake together. Default 1 s.
    pub connect_timeout: Duration,
    /// From the request's last sent byte to the end of the answer's head. Default 10 s.
    pub first_byte_timeout: Duration,
    /// The longest silence in the middle of an answer's body. Default 10 s.
    pub idle_body_timeout: Duration,
    /// Requests under way at once; each counts until its answer's body has ended. 0 counts as 1. Default 256.
    pub max_concurrent: usize,
    /// Requests that may wait for a place. 0: none wait. Default 1024.
    pub max_queue: usize,
    /// How long one may wait for a place. Default 1 s.
    pub queue_timeout: Duration,
    /// HTTP/2: by prior knowledge in the clear, offered by ALPN on TLS. Default off in this type.
    pub http2: bool,
    /// How to verify an `https` backend.
    pub tls: TlsSettings,
    /// Further attempts for a request that may be repeated. 0: none, not even on a dead idle connection. Default 1.
    pub retries: u32,
    /// Retries on other endpoints, as a share of requests in percent: 0 to 100. A dead idle connection does not count,
    /// because the backend has done no work for it. Default 10.
    pub retry_budget_percent: u32,
    /// How long an unused connection is kept. Below the 5 s after which common servers close theirs. Default 4 s.
    pub pool_idle_timeout: Duration,
    /// Unused connections kept per endpoint. Default 128.
    pub pool_max_idle: usize,
    /// The largest head of an answer, in bytes. 8 KiB or more; less counts as 8 KiB. Default 64 KiB.
    pub max_response_head: usize,
    /// The most fields in an answer's head. Default 100.
    pub max_response_fields: usize,
    /// Active health checks. `None`, the default: only the breaker watches.
    pub health: Option<HealthSettings>,
    /// When an endpoint is left alone. Each endpoint has a breaker of its own.
    pub breaker: BreakerSettings,
}

impl Default for OriginSettings {
    fn default() -> Self {
        Self {
            name: "origin".to_owned(),
            endpoints: Vec::new(),
            host: None,
            connect_timeout: Duration::from_secs(1),
            first_byte_timeout: Duration::from_secs(10),
            idle_body_timeout: Duration::from_secs(10),
            max_concurrent: 256,
            max_queue: 1024,
            queue_timeout: Duration::from_secs(1),
            http2: false,
            tls: TlsSettings::default(),
            retries: 1,
            retry_budget_percent: 10,
            pool_idle_timeout: Duration::from_secs(4),
            pool_max_idle: 128,
            max_response_head: 64 * 1024,
            max_response_fields: 100,
            health: None,
            breaker: BreakerSettings::default(),
        }
    }
}

/// One address of a backend.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// TLS or not. Default not.
    pub https: bool,
    /// Host, and port unless it is the scheme's own: `10.0.0.7:8080`, `api.internal`, `[::1]:8080`.
    pub authority: String,
    /// Its share of the requests, relative to the others: 1 to 1000; 0 counts as 1. Default 1.
    pub weight: u32,
}

impl Endpoint {
    /// Reads `http://host[:port]` or `https://host[:port]`, with nothing after it but perhaps a slash.
    ///
    /// # Errors
    /// A sentence for the operator.
    pub fn parse(url: &str) -> Result<Self, String> {
        let uri: http::Uri = url.parse().map_err(|error| format!("{url:?} is no URL: {error}"))?;
        let https = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            Some(other) => return Err(format!("{other:?} is not a scheme a backend can have: use http or https")),
            None => return Err(format!("{url:?} has no scheme: write http://{url} or https://{url}")),
        };
        if !matches!(uri.path_and_query().map(http::uri::PathAndQuery::as_str), None | Some("/" | "")) {
            return Err(format!("{url:?} has a path or query; a backend is a scheme, a host and perhaps a port"));
        }
        let authority = uri.authority().ok_or_else(|| format!("{url:?} has no host"))?;
        if authority.host().is_empty() || authority.as_str().contains('@') {
            return Err(format!("{url:?} must name a host, and no user"));
        }
        if authority.as_str().len() > authority.host().len() && authority.port_u16().is_none_or(|port| port == 0) {
            return Err(format!("{url:?} has a port that is none: 1 to 65535"));
        }
        Ok(Self { https, authority: authority.to_string(), weight: 1 })
    }

    /// As a URL, for logs and pages.
    pub fn url(&self) -> String {
        format!("{}://{}", if self.https { "https" } else { "http" }, self.authority)
    }
}

/// How to verify a backend that speaks TLS.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsSettings {
    /// Certificates in PEM form to trust, instead of the system's. `None`: the system's.
    pub ca_file: Option<Vec<u8>>,
    /// The name to ask for and verify. `None`: the endpoint's host.
    pub server_name: Option<String>,
    /// Accept any certificate. For experiments; the log says so at start.
    pub insecure: bool,
}

/// Asking each endpoint, at intervals, whether it is well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthSettings {
    /// What to GET, with a leading slash. Default `/`.
    pub path: String,
    /// Between two checks of an endpoint; at least 10 ms. Default 5 s.
    pub interval: Duration,
    /// For the head of the answer to arrive. Default 2 s.
    pub timeout: Duration,
    /// Good answers in a row before an unhealthy endpoint is used again. 0 counts as 1. Default 2.
    pub healthy_after: u32,
    /// Bad answers in a row before an endpoint is no longer used. 0 counts as 1. Default 3.
    pub unhealthy_after: u32,
    /// The statuses of a good answer. Default 200 to 399.
    pub expect: RangeInclusive<u16>,
}

impl Default for HealthSettings {
    fn default() -> Self {
        Self {
            path: "/".to_owned(),
            interval: Duration::from_secs(5),
            timeout: Duration::from_secs(2),
            healthy_after: 2,
            unhealthy_after: 3,
            expect: 200..=399,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_a_scheme_a_host_and_perhaps_a_port() {
        for (url, expected) in [
            ("http://a", Ok("http://a")),
            ("http://a/", Ok("http://a")),
            ("https://a.b:8443", Ok("https://a.b:8443")),
            ("http://[::1]:80", Ok("http://[::1]:80")),
            ("http://10.0.0.7:8080", Ok("http://10.0.0.7:8080")),
            ("a:80", Err("no scheme")),
            ("ftp://a", Err("scheme a backend can have")),
            ("http://a/b", Err("path")),
            ("http://a?b", Err("path")),
            ("http://u@a", Err("no user")),
            ("http://a:99999", Err("port")),
            ("http://a:0", Err("port")),
            ("http://a:", Err("port")),
            ("http://", Err("no URL")),
            ("demo", Err("no scheme")),
            ("", Err("no URL")),
        ] {
            match (Endpoint::parse(url), expected) {
                (Ok(endpoint), Ok(expected)) => assert_eq!(endpoint.url(), expected),
                (Err(said), Err(part)) => assert!(said.contains(part), "{url}: {said}"),
                (got, _) => panic!("{url}: {got:?}"),
            }
        }
    }
}
