//! Connections of one endpoint: idle ones over HTTP/1.1, one shared one over HTTP/2.
//!
//! Why not the pool that comes with hyper-util: whether a request may be sent again depends on whether its connection was
//! used before, whether it was handed over at all, and whether a single byte came back. Here these are facts. And the
//! Host of the client can differ from the address of the backend, over HTTP/2 too, without a pool for each Host.
//!
//! An HTTP/1.1 connection is owned by the exchange that uses it ([`Lease`]). Dropping the lease closes the connection at
//! once, so a late answer can never reach the next request.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio_util::task::AbortOnDropHandle;

use super::OutBody;
use super::connect::{Connected, Connector};
use super::error::{FetchError, FetchErrorKind, whole_story};
use super::settings::{Endpoint, OriginSettings};
use crate::clock::Clock;

/// How long a connection may take to become ready again after its answer has ended, before it is closed: a request whose
/// body is still being sent after its answer is complete, for example.
const SETTLE: Duration = Duration::from_secs(1);
/// Pings find out whether an HTTP/2 connection with requests under way is dead.
const PING_INTERVAL: Duration = Duration::from_secs(5);
const PING_TIMEOUT: Duration = Duration::from_secs(5);
/// hyper's own lower bound for a read buffer.
const SMALLEST_BUFFER: usize = 8 * 1024;

/// The connections of one endpoint.
pub(super) struct Pool {
    endpoint: Endpoint,
    connector: Connector,
    clock: Clock,
    rules: Rules,
    idle: Mutex<Vec<Idle>>,
    shared: Mutex<Option<Shared>>,
    /// Held while a connection that may become the shared one is being made.
    connecting: tokio::sync::Mutex<()>,
    /// The last handshake agreed on HTTP/1.1 although HTTP/2 was offered.
    speaks_http1: AtomicBool,
}

#[derive(Clone, Debug)]
struct Rules {
    http2: bool,
    connect_timeout: Duration,
    idle_timeout: Duration,
    max_idle: usize,
    max_head: usize,
    max_fields: usize,
}

struct Idle {
    lease: Lease,
    until: Duration,
}

/// What a request needs of its connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Need {
    /// Not one that is kept: it may have died.
    pub(super) fresh: bool,
    /// The request has content. A backend that answers without reading it may take it for the next request, so a
    /// connection that has carried content carries only such requests from then on: what comes back on it is never kept.
    pub(super) content: bool,
}

/// An HTTP/1.1 connection in use by one exchange.
pub(super) struct Lease {
    pub(super) sender: http1::SendRequest<OutBody>,
    /// Has it carried an answer before?
    pub(super) reused: bool,
    /// Has it carried a request with content?
    content: bool,
    reads: Arc<AtomicU64>,
    /// Weak, because the pool owns its idle leases.
    pool: Weak<Pool>,
    _task: AbortOnDropHandle<()>,
}

/// An HTTP/2 connection, shared by many exchanges.
#[derive(Clone)]
pub(super) struct Shared {
    pub(super) sender: http2::SendRequest<OutBody>,
    /// Has it carried an answer before?
    pub(super) reused: Arc<AtomicBool>,
}

/// A connection to send on.
pub(super) enum Connection {
    Http1(Lease),
    Http2(Shared),
}

impl Connection {
    /// HTTP/2 frames its streams, so only HTTP/1.1 remembers.
    fn used_for(self, content: bool) -> Self {
        match self {
            Connection::Http1(lease) => Connection::Http1(Lease { content: lease.content || content, ..lease }),
            shared @ Connection::Http2(_) => shared,
        }
    }
}

impl Pool {
    pub(super) fn new(endpoint: Endpoint, settings: &OriginSettings, connector: Connector, clock: Clock) -> Arc<Self> {
        let rules = Rules {
            http2: settings.http2,
            connect_timeout: settings.connect_timeout,
            idle_timeout: settings.pool_idle_timeout,
            max_idle: settings.pool_max_idle,
            max_head: settings.max_response_head.max(SMALLEST_BUFFER),
            max_fields: settings.max_response_fields.max(1),
        };
        Arc::new(Self {
            endpoint,
            connector,
            clock,
            rules,
            idle: Mutex::default(),
            shared: Mutex::default(),
            connecting: tokio::sync::Mutex::default(),
            speaks_http1: AtomicBool::new(false),
        })
    }

    pub(super) fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// A connection that will do: a kept one if there is one, else a new one.
    ///
    /// # Errors
    /// [`FetchErrorKind::Connect`] or [`FetchErrorKind::ConnectTimeout`].
    pub(super) async fn acquire(self: &Arc<Self>, need: Need) -> Result<Connection, FetchError> {
        if let Some(shared) = self.shared() {
            return Ok(Connection::Http2(shared));
        }
        if !need.fresh
            && let Some(lease) = self.take_idle(need.content)
        {
            return Ok(Connection::Http1(lease));
        }
        let patience = self.rules.connect_timeout;
        match tokio::time::timeout(patience, self.connect()).await {
            Ok(connected) => connected.map(|connection| connection.used_for(need.content)),
            Err(_elapsed) => {
                let detail = format!("{}: no connection in {patience:?}", self.endpoint.url());
                Err(FetchError::new(FetchErrorKind::ConnectTimeout, detail))
            }
        }
    }

    /// Closes what has been idle for too long, or was closed by the other side.
    pub(super) fn sweep(&self) {
        let now = self.clock.now().mono;
        let mut idle = lock(&self.idle);
        idle.retain(|kept| kept.until > now && !kept.lease.sender.is_closed());
    }

    /// Idle HTTP/1.1 connections, now.
    pub(super) fn idle_count(&self) -> usize {
        lock(&self.idle).len()
    }

    async fn connect(self: &Arc<Self>) -> Result<Connection, FetchError> {
        let may_share = self.rules.http2 && !self.speaks_http1.load(Ordering::Relaxed);
        let _turn = if may_share { Some(self.connecting.lock().await) } else { None };
        if may_share && let Some(shared) = self.shared() {
            return Ok(Connection::Http2(shared));
        }
        let connected = self.connector.connect(&self.endpoint).await?;
        let speaks_http2 = connected.negotiated_http2 || (self.rules.http2 && !self.endpoint.https);
        self.speaks_http1.store(!speaks_http2, Ordering::Relaxed);
        if speaks_http2 {
            let shared = self.handshake2(connected).await?;
            *lock(&self.shared) = Some(shared.clone());
            return Ok(Connection::Http2(shared));
        }
        Ok(Connection::Http1(self.handshake1(connected).await?))
    }

    async fn handshake1(self: &Arc<Self>, connected: Connected) -> Result<Lease, FetchError> {
        let (sender, connection) = http1::Builder::new()
            .max_buf_size(self.rules.max_head)
            .max_header_size(self.rules.max_head)
            .max_headers(self.rules.max_fields)
            .handshake(TokioIo::new(connected.stream))
            .await
            .map_err(|error| self.no_handshake(&error))?;
        let task = tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(error = whole_story(&error), "a backend connection ended");
            }
        });
        let mut lease = Lease {
            sender,
            reused: false,
            content: false,
            reads: connected.reads,
            pool: Arc::downgrade(self),
            _task: AbortOnDropHandle::new(task),
        };
        lease.sender.ready().await.map_err(|error| self.no_handshake(&error))?;
        Ok(lease)
    }

    async fn handshake2(&self, connected: Connected) -> Result<Shared, FetchError> {
        let (mut sender, connection) = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .keep_alive_interval(PING_INTERVAL)
            .keep_alive_timeout(PING_TIMEOUT)
            .max_header_list_size(u32::try_from(self.rules.max_head).unwrap_or(u32::MAX))
            .handshake(TokioIo::new(connected.stream))
            .await
            .map_err(|error| self.no_handshake(&error))?;
        // Not aborted when dropped: it serves many, and ends by itself when nobody can send on it any more.
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(error = whole_story(&error), "a backend connection ended");
            }
        });
        sender.ready().await.map_err(|error| self.no_handshake(&error))?;
        Ok(Shared { sender, reused: Arc::new(AtomicBool::new(false)) })
    }

    fn no_handshake(&self, error: &hyper::Error) -> FetchError {
        let detail = format!("{}: {}", self.endpoint.url(), whole_story(error));
        FetchError::new(FetchErrorKind::Connect, detail)
    }

    fn shared(&self) -> Option<Shared> {
        let mut shared = lock(&self.shared);
        if shared.as_ref().is_some_and(|shared| shared.sender.is_closed()) {
            *shared = None;
        }
        shared.clone()
    }

    /// The idle connection used last, as the least likely to have been closed meanwhile.
    fn take_idle(&self, content: bool) -> Option<Lease> {
        let now = self.clock.now().mono;
        let mut idle = lock(&self.idle);
        while let Some(place) = idle.iter().rposition(|kept| kept.lease.content == content) {
            let kept = idle.remove(place);
            if kept.until > now && kept.lease.sender.is_ready() {
                return Some(kept.lease);
            }
        }
        None
    }

    fn put_idle(&self, lease: Lease) {
        let now = self.clock.now().mono;
        let mut idle = lock(&self.idle);
        idle.retain(|kept| kept.until > now && !kept.lease.sender.is_closed());
        if idle.len() < self.rules.max_idle {
            idle.push(Idle { lease, until: now.saturating_add(self.rules.idle_timeout) });
        }
    }
}

impl Lease {
    /// Bytes read on this connection so far.
    pub(super) fn reads(&self) -> u64 {
        self.reads.load(Ordering::Relaxed)
    }

    /// The exchange is complete: keep the connection for another, once it is ready for one.
    pub(super) fn give_back(mut self) {
        self.reused = true;
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        if self.sender.is_closed() {
            return;
        }
        // Always by way of the connection's own task: it must first see that nothing follows the answer (RS-07).
        runtime.spawn(async move {
            let settled = tokio::time::timeout(SETTLE, self.sender.ready()).await;
            if let (Ok(Ok(())), Some(pool)) = (settled, self.pool.upgrade()) {
                pool.put_idle(self);
            }
        });
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool")
            .field("endpoint", &self.endpoint)
            .field("idle", &self.idle_count())
            .finish_non_exhaustive()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
