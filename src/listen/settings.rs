//! What the operator may set about listening, with defaults that are safe on the open internet.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;

use super::ListenError;

/// Where to listen and how much patience and memory one client gets. Checked by [`ListenSettings::check`] when bound.
#[derive(Clone, Debug, PartialEq)]
pub struct ListenSettings {
    /// Address for HTTP in the clear; HTTP/1.1 only unless [`h2c`](Self::h2c). Port 0 picks a free one.
    pub http: Option<SocketAddr>,
    /// Address for HTTP/1.1 and HTTP/2 on TLS, chosen by ALPN. Needs [`tls`](Self::tls).
    pub https: Option<SocketAddr>,
    /// Certificate and key for [`https`](Self::https).
    pub tls: Option<TlsFiles>,
    /// Accept HTTP/2 with prior knowledge in the clear. Off: a CDN does not need it, and smuggling attempts do.
    pub h2c: bool,
    /// Connections open at once, at least 1. Beyond it accepting pauses and the kernel's queue fills. Lowered when the
    /// process may not open that many files: a quarter of those stays reserved for backends and Redis.
    pub max_connections: usize,
    /// Connections open at once from one address (IPv4) or one /64 (IPv6). 0 = no limit, right behind a CDN.
    /// Connections beyond it are closed at once.
    pub max_connections_per_client: usize,
    /// Networks that [`max_connections_per_client`](Self::max_connections_per_client) does not apply to.
    pub client_limit_exempt: Vec<IpNet>,
    /// From accepting to the first byte; also for the whole TLS handshake. More than zero.
    pub first_byte_timeout: Duration,
    /// From the first byte of a request head to its end (HTTP/1). More than zero.
    pub head_timeout: Duration,
    /// How long a connection may stay open between requests. More than zero.
    pub idle_timeout: Duration,
    /// How long a request body may pause while it is being read. More than zero.
    pub body_timeout: Duration,
    /// Bytes per second that a request body must arrive with on average, counting only the time spent waiting for the
    /// client and beginning after [`min_body_rate_grace`](Self::min_body_rate_grace). 0 = no minimum.
    pub min_body_rate: u64,
    /// Waiting time that [`min_body_rate`](Self::min_body_rate) does not count.
    pub min_body_rate_grace: Duration,
    /// How long a client may accept no byte of an answer that waits to be sent. On HTTP/2 for each stream, where a byte
    /// is a piece of at most 32 KiB. More than zero.
    pub write_timeout: Duration,
    /// Bytes of a request head (HTTP/1), 1 KiB to 1 MiB. Longer ones get 431.
    pub max_head: usize,
    /// Fields in a request head (HTTP/1), at least 1. More get 431.
    pub max_headers: usize,
    /// Bytes of a request target. Enforced where requests are admitted (414), kept here with its sisters.
    pub max_uri: usize,
    /// Streams open at once on one HTTP/2 connection, at least 1.
    pub h2_max_streams: u32,
    /// Decoded bytes of one HTTP/2 field list, as RFC 9113 §10.5.1 counts them: name, value and 32 for each field.
    pub h2_max_header_list: u32,
    /// How often an HTTP/2 peer is pinged to see whether it is still there. Zero = never.
    pub h2_ping_interval: Duration,
    /// How long it may take to answer a ping.
    pub h2_ping_timeout: Duration,
    /// After the drain began: how long new connections are still accepted, so that balancers can look away first. Part of
    /// [`grace`](Self::grace), and less than it.
    pub drain_delay: Duration,
    /// From the drain's beginning to the moment when whatever is still open is cut.
    pub grace: Duration,
    /// Connections the kernel queues for us, at least 1.
    pub backlog: u32,
}

/// The files of a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// PEM: the certificate, then those that lead to the root.
    pub cert: PathBuf,
    /// PEM: the private key (PKCS #8, PKCS #1 or SEC 1), not encrypted.
    pub key: PathBuf,
}

impl Default for ListenSettings {
    fn default() -> Self {
        Self {
            http: None,
            https: None,
            tls: None,
            h2c: false,
            max_connections: 10_000,
            max_connections_per_client: 0,
            client_limit_exempt: Vec::new(),
            first_byte_timeout: Duration::from_secs(10),
            head_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_mins(1),
            body_timeout: Duration::from_secs(30),
            min_body_rate: 500,
            min_body_rate_grace: Duration::from_secs(10),
            write_timeout: Duration::from_secs(30),
            max_head: 32 * 1024,
            max_headers: 100,
            max_uri: 8 * 1024,
            h2_max_streams: 100,
            h2_max_header_list: 16 * 1024,
            h2_ping_interval: Duration::from_secs(30),
            h2_ping_timeout: Duration::from_secs(10),
            drain_delay: Duration::ZERO,
            grace: Duration::from_secs(10),
            backlog: 1024,
        }
    }
}

impl ListenSettings {
    /// Says what is wrong with these settings, all of it, one sentence each.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let mut expect = |holds: bool, problem: &str| {
            if !holds {
                problems.push(problem.to_owned());
            }
        };
        expect(self.http.is_some() || self.https.is_some(), "no address to listen on");
        expect(self.https.is_none() || self.tls.is_some(), "an https address needs a certificate and a key");
        expect(self.max_connections > 0, "max_connections must be at least 1");
        expect(self.max_headers > 0, "max_headers must be at least 1");
        expect((1024..=1024 * 1024).contains(&self.max_head), "max_head must be between 1 KiB and 1 MiB");
        expect(self.h2_max_streams > 0, "h2_max_streams must be at least 1");
        expect(self.backlog > 0, "backlog must be at least 1");
        expect(self.drain_delay < self.grace, "drain_delay is part of grace and must be shorter");
        for (name, value) in [
            ("first_byte_timeout", self.first_byte_timeout),
            ("head_timeout", self.head_timeout),
            ("idle_timeout", self.idle_timeout),
            ("body_timeout", self.body_timeout),
            ("write_timeout", self.write_timeout),
        ] {
            expect(!value.is_zero(), &format!("{name} must be more than zero"));
        }
        problems
    }

    /// Accepts these settings or names the first problem.
    pub fn check(&self) -> Result<(), ListenError> {
        match self.problems().into_iter().next() {
            Some(problem) => Err(ListenError::Settings(problem)),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(change: impl FnOnce(&mut ListenSettings), expected: &[&str]) {
        let mut settings = ListenSettings { http: Some(([127, 0, 0, 1], 0).into()), ..ListenSettings::default() };
        change(&mut settings);
        assert_eq!(settings.problems(), expected);
    }

    #[test]
    fn nonsense_is_named() {
        check(|_| (), &[]);
        check(|s| s.http = None, &["no address to listen on"]);
        check(|s| s.https = s.http, &["an https address needs a certificate and a key"]);
        check(|s| s.max_head = 10, &["max_head must be between 1 KiB and 1 MiB"]);
        check(|s| s.drain_delay = s.grace, &["drain_delay is part of grace and must be shorter"]);
        check(|s| s.idle_timeout = Duration::ZERO, &["idle_timeout must be more than zero"]);
        check(
            |s| (s.backlog, s.max_connections) = (0, 0),
            &["max_connections must be at least 1", "backlog must be at least 1"],
        );
    }
}
