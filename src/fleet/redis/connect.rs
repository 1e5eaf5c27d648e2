//! How a connection is made: fred's settings, each of which has a default that would hurt.
//!
//! fred waits for ever, queues without limit, repeats what was given up, leaves Nagle on and ends when it may not
//! reconnect. None of that here: commands have a time-out of fred's own, fail at once without a connection, are tried
//! once, and connections are made anew for ever with short pauses.
//!
//! Passwords: where one server is asked, fred asks [`Gate`] before each connection, which reads a password file anew,
//! and after a refusal lets two attempts through in each second at the most. Under sentinels fred would hand the same
//! password to the sentinels, so there the password is read whenever the client is built; a client that was refused rests for some seconds and is built anew.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fred::socket2::TcpKeepalive;
use fred::types::ClusterHash;
use fred::types::RespVersion;
use fred::types::config::{
    ClusterDiscoveryPolicy, Config, ConnectionConfig, CredentialProvider, Options, PerformanceConfig, ReconnectError,
    ReconnectPolicy, Server, ServerConfig, TcpConfig, TlsConfig, TlsConnector, TlsHostMapping,
};
use hyper_rustls::ConfigBuilderExt;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

use super::settings::{Credential, RedisSettings, Unusable, without_secrets};
use crate::clock::Clock;

/// How long a connection may take, and each step of its set-up.
const CONNECT: Duration = Duration::from_millis(500);

/// Pauses between attempts to connect: the first, and the longest.
const FIRST_PAUSE: u32 = 50;
const LONGEST_PAUSE: u32 = 300;

/// What a URL may begin with, TLS apart.
const SCHEMES: &[&str] = &[
    "redis",
    "redis-cluster",
    "redis-sentinel",
    "redis+unix",
    "valkey",
    "valkey-cluster",
    "valkey-sentinel",
    "valkey+unix",
];

/// What fred is told instead of a password while attempts are held back.
pub(super) const HELD_BACK: &str = "held back: the password was refused a moment ago";

/// After a refused password, attempts come no closer to one another than this.
const REFUSED_PAUSE: Duration = Duration::from_millis(500);

/// Events that may wait for whoever listens to a client's state.
const EVENTS: usize = 32;

/// Messages that our listener may be behind before fred drops some. Set aside at once, so it is not more than a burst.
const MESSAGES: usize = 16_384;

/// All that is needed to make a connection to one server (or one cluster, or what sentinels watch over).
#[derive(Debug)]
pub(super) struct Plan {
    config: Config,
    username: Option<String>,
    password: Option<Credential>,
    gate: Arc<Gate>,
    max_queue: usize,
    /// For commands without a key that are meant for the server of this key.
    slot: u16,
}

impl Plan {
    /// Reads the URL; `home` is the key whose server is meant by commands that name no key.
    pub(super) fn new(settings: &RedisSettings, url: &str, home: &str, clock: &Clock) -> Result<Self, Unusable> {
        let (plain, tls) = plain(url);
        if !SCHEMES.iter().any(|scheme| plain.strip_prefix(scheme).is_some_and(|rest| rest.starts_with("://"))) {
            let schemes = "redis://, rediss://, redis-cluster://, redis-sentinel:// or redis+unix://";
            return Err(Unusable(format!("the URL of Redis begins with {schemes}")));
        }
        let mut config = Config::from_url(&plain).map_err(|error| {
            Unusable(format!("{} is no URL of a Redis server: {}", without_secrets(url), error.kind().to_str()))
        })?;
        if let ServerConfig::Clustered { policy, .. } = &mut config.server {
            *policy = ClusterDiscoveryPolicy::ConfigEndpoint;
        }
        if tls {
            let clustered = config.server.is_clustered();
            config.tls = Some(TlsConfig {
                connector: TlsConnector::from(trust(settings.tls_ca.as_deref())?),
                // A cluster tells addresses; certificates are for names.
                hostnames: if clustered { TlsHostMapping::DefaultHost } else { TlsHostMapping::None },
            });
        }
        config.version = RespVersion::RESP3;
        config.fail_fast = false;
        let username = settings.username.clone().or_else(|| config.username.take());
        let password = settings.password.clone().or_else(|| config.password.take().map(Credential::Text));
        let gate = Arc::new(Gate {
            clock: clock.clone(),
            username: username.clone(),
            password: password.clone(),
            state: Mutex::default(),
        });
        if !config.server.is_sentinel() {
            config.credential_provider = Some(Arc::<Gate>::clone(&gate));
        }
        let slot = fred::util::redis_keyslot(home.as_bytes());
        Ok(Self { config, username, password, gate, max_queue: settings.max_queue, slot })
    }

    pub(super) fn is_cluster(&self) -> bool {
        self.config.server.is_clustered()
    }

    /// The settings of a client that is built now.
    pub(super) fn config(&self) -> Config {
        let mut config = self.config.clone();
        if config.credential_provider.is_none() {
            config.username.clone_from(&self.username);
            // Without the file there is no password, the server refuses, and that is seen and counted.
            config.password = self.password.as_ref().and_then(|password| password.read().ok());
        }
        config
    }

    pub(super) fn connection(&self) -> ConnectionConfig {
        ConnectionConfig {
            connection_timeout: CONNECT,
            internal_command_timeout: CONNECT,
            cluster_cache_update_delay: Duration::from_millis(50),
            max_command_attempts: self.attempts(),
            reconnect_on_auth_error: true,
            max_command_buffer_len: self.max_queue,
            tcp: TcpConfig {
                nodelay: Some(true),
                keepalive: Some(
                    TcpKeepalive::new().with_time(Duration::from_secs(5)).with_interval(Duration::from_secs(1)),
                ),
                ..TcpConfig::default()
            },
            reconnect_errors: vec![
                ReconnectError::ClusterDown,
                ReconnectError::Loading,
                ReconnectError::MasterDown,
                ReconnectError::ReadOnly,
            ],
            ..ConnectionConfig::default()
        }
    }

    /// For a client that hears messages, or for one that does not.
    pub(super) fn performance(hears: bool) -> PerformanceConfig {
        PerformanceConfig {
            // For what fred asks by itself: our own questions say how long they wait.
            default_command_timeout: Duration::from_secs(1),
            broadcast_channel_capacity: if hears { MESSAGES } else { EVENTS },
            ..PerformanceConfig::default()
        }
    }

    pub(super) fn reconnects() -> ReconnectPolicy {
        ReconnectPolicy::new_exponential(0, FIRST_PAUSE, LONGEST_PAUSE, 2)
    }

    /// The options of a command: given up by fred itself after `timeout`, never queued for a connection that is not there.
    pub(super) fn options(&self, timeout: Duration) -> Options {
        Options {
            max_attempts: Some(self.attempts()),
            max_redirections: Some(5),
            timeout: Some(timeout),
            fail_fast: true,
            ..Options::default()
        }
    }

    /// The same for a command without a key.
    pub(super) fn options_at_home(&self, timeout: Duration) -> Options {
        let hash = self.is_cluster().then_some(ClusterHash::Custom(self.slot));
        Options { cluster_hash: hash, ..self.options(timeout) }
    }

    /// A refused password was seen.
    pub(super) fn refused(&self) {
        self.gate.state().refused = true;
    }

    /// Whether attempts with a refused password go on unless somebody stops them: fred's own, under sentinels.
    pub(super) fn needs_rest(&self) -> bool {
        self.config.credential_provider.is_none() && self.gate.state().refused
    }

    /// A connection stands: the password is right.
    pub(super) fn accepted(&self) {
        self.gate.state().refused = false;
    }

    /// How often a command is written. Following a redirection counts as another time; losing a connection does not lead
    /// to another, for all commands fail fast.
    fn attempts(&self) -> u32 {
        if self.is_cluster() { 4 } else { 1 }
    }
}

/// Hands out the password, and holds back those who were refused.
struct Gate {
    clock: Clock,
    username: Option<String>,
    password: Option<Credential>,
    state: Mutex<GateState>,
}

#[derive(Default)]
struct GateState {
    refused: bool,
    /// The password that was handed out last, and when.
    last: Option<String>,
    at: Duration,
}

impl Gate {
    // Nothing that holds it can panic half-way.
    fn state(&self) -> MutexGuard<'_, GateState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether this password may be tried now. Another one than before always may.
    fn opens(&self, password: &str) -> bool {
        let now = self.clock.now().mono;
        let mut state = self.state();
        if state.last.as_deref() != Some(password) {
            state.refused = false;
            state.last = Some(password.to_owned());
        }
        let opens = !state.refused || now.saturating_sub(state.at) >= REFUSED_PAUSE;
        if opens {
            state.at = now;
        }
        opens
    }
}

type Fetched = Result<(Option<String>, Option<String>), fred::error::Error>;

// What `async_trait` makes of `async fn fetch`.
impl CredentialProvider for Gate {
    fn fetch<'gate, 'server, 'both>(
        &'gate self,
        _: Option<&'server Server>,
    ) -> Pin<Box<dyn Future<Output = Fetched> + Send + 'both>>
    where
        'gate: 'both,
        'server: 'both,
        Self: 'both,
    {
        Box::pin(async move {
            let failed = |why: String| fred::error::Error::new(fred::error::ErrorKind::IO, why);
            let password = match self.password.clone() {
                None => None,
                Some(credential) => {
                    let read = tokio::task::spawn_blocking(move || credential.read()).await;
                    Some(read.unwrap_or_else(|_| Err("the password cannot be read".to_owned())).map_err(failed)?)
                }
            };
            if !self.opens(password.as_deref().unwrap_or_default()) {
                return Err(failed(HELD_BACK.to_owned()));
            }
            Ok((self.username.clone(), password))
        })
    }
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Gate")
    }
}

/// The URL as it would be without TLS, and whether it asked for it: fred would set TLS up by itself, and not as we do.
fn plain(url: &str) -> (String, bool) {
    for (with, without) in [("rediss", "redis"), ("valkeys", "valkey")] {
        if let Some(rest) = url.strip_prefix(with) {
            return (format!("{without}{rest}"), true);
        }
    }
    (url.to_owned(), false)
}

fn trust(ca: Option<&[u8]>) -> Result<ClientConfig, Unusable> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| Unusable(format!("TLS cannot be set up: {error}")))?;
    let builder = match ca {
        Some(pem) => builder.with_root_certificates(roots(pem)?),
        None => builder
            .with_native_roots()
            .map_err(|error| Unusable(format!("the system's certificates cannot be used: {error}")))?,
    };
    Ok(builder.with_no_client_auth())
}

fn roots(pem: &[u8]) -> Result<RootCertStore, Unusable> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate =
            certificate.map_err(|error| Unusable(format!("the authorities of Redis are not PEM: {error}")))?;
        roots.add(certificate).map_err(|error| Unusable(format!("an authority of Redis cannot be used: {error}")))?;
    }
    if roots.is_empty() {
        return Err(Unusable("the authorities of Redis hold no certificate".to_owned()));
    }
    Ok(roots)
}
