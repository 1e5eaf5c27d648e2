//! What an operator may say about the request's path as a whole; what differs by route is the policy's.

use std::fmt;
use std::time::Duration;

use http::HeaderName;
use ipnet::IpNet;

use crate::store::SharedSettings;

/// The gateway as one node among proxies: its name, whom it believes, how long it lets clients wait.
#[derive(Clone, Debug)]
pub struct GatewaySettings {
    /// The name in Cache-Status, Via and CDN-Loop; a token. Default `forebay`.
    pub name: String,
    /// The proxies whose X-Forwarded-For, -Proto, -Host and Forwarded are believed. Default none.
    pub trusted_proxies: Vec<IpNet>,
    /// The token that a PURGE request must carry. `None`, the default: the method is refused.
    pub purge_method: Option<Secret>,
    /// The field and the token by which a client forces a refresh. Default `None`: nobody can.
    pub refresh_token: Option<(HeaderName, Secret)>,
    /// Whether answers carry Age (RFC 9111 §5.1 asks for it). Default on.
    pub expose_age: bool,
    /// Whether answers carry Cache-Status (RFC 9211). Default on.
    pub cache_status: bool,
    /// Whether answers carry Via. Requests do in any case: RFC 9110 §7.6.3 requires it of gateways. Default on.
    pub via: bool,
    /// The longest request target, in bytes; longer ones get 414. Default 8 KiB.
    pub max_uri: usize,
    /// The largest request body, in bytes; larger ones get 413. Default 64 MiB.
    pub max_request_body: u64,
    /// How long a request waits for another one's fetch before it asks by itself. Default 5 s.
    pub waiter_timeout: Duration,
    /// Requests that may wait for one fetch; more get 503. Default 10,000.
    pub max_waiters: usize,
    /// A stale answer that may be served on errors is served when the backend has not answered for so long. Default 900 ms,
    /// so that whoever could have a stale answer waits less than a second.
    pub stale_after: Duration,
    /// How this node goes on together with others, and without them.
    pub fleet: FleetSettings,
}

/// What a node does as one of a fleet. Without meaning for a node on its own.
#[derive(Clone, Debug)]
pub struct FleetSettings {
    /// What is done with stored answers while the log of changes is out of sight. Default [`OnBlind::Revalidate`].
    pub on_blind: OnBlind,
    /// Whether an answer that should have been confirmed is served when the backend does not deliver. Default
    /// [`Unverified::Serve`].
    pub unverified: Unverified,
    /// With [`OnBlind::Serve`]: for how long after it was received an answer is used while the log is out of
    /// sight. Default 30 s.
    pub blind_lifetime: Duration,
    /// How long a node waits for another one's fetch, beyond what is usual for the route, before it fetches for itself.
    /// Default 300 ms.
    pub lease_wait: Duration,
    /// What the nodes share of their entries.
    pub shared: SharedSettings,
}

/// What is done with stored answers while the log of changes is out of sight, so that they may have been changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnBlind {
    /// The backend confirms each of them, once in Δ.
    Revalidate,
    /// They are used, for a shorter time, and Cache-Status says so.
    Serve,
}

/// What becomes of an answer that should be confirmed and cannot be, because the backend fails or has too much to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unverified {
    /// It is served as far as stale answers are permitted, and Cache-Status says so.
    Serve,
    /// The client gets the error.
    Refuse,
}

impl Default for FleetSettings {
    fn default() -> Self {
        Self {
            on_blind: OnBlind::Revalidate,
            unverified: Unverified::Serve,
            blind_lifetime: Duration::from_secs(30),
            lease_wait: Duration::from_millis(300),
            shared: SharedSettings::default(),
        }
    }
}

impl Default for GatewaySettings {
    fn default() -> Self {
        Self {
            name: "forebay".to_owned(),
            trusted_proxies: Vec::new(),
            purge_method: None,
            refresh_token: None,
            expose_age: true,
            cache_status: true,
            via: true,
            max_uri: 8 * 1024,
            max_request_body: 64 << 20,
            waiter_timeout: Duration::from_secs(5),
            max_waiters: 10_000,
            stale_after: Duration::from_millis(900),
            fleet: FleetSettings::default(),
        }
    }
}

/// A secret that clients must know. It is compared without telling, by the time it takes, how much of a guess was
/// right, and never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Keeps `secret`.
    pub fn new(secret: impl Into<String>) -> Self {
        Self(secret.into())
    }

    /// Whether `guess` is the secret. Takes the same time for all guesses of one length.
    pub fn is(&self, guess: &[u8]) -> bool {
        let secret = self.0.as_bytes();
        let differing = secret.iter().zip(guess).fold(0, |bits, (a, b)| bits | (a ^ b));
        secret.len() == guess.len() && std::hint::black_box(differing) == 0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_whole_secret_is_accepted() {
        let secret = Secret::new("s3cret");
        for (guess, expected) in
            [("s3cret", true), ("s3cre", false), ("s3cret ", false), ("S3cret", false), ("", false), ("xxxxxx", false)]
        {
            assert_eq!(secret.is(guess.as_bytes()), expected, "{guess}");
        }
    }

    #[test]
    fn a_secret_is_never_shown() {
        assert_eq!(format!("{:?}", Secret::new("s3cret")), "Secret(…)");
    }
}
