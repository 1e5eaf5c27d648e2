//! The front door: sockets, TLS, HTTP/1.1 and HTTP/2, limits, drain.
//!
//! hyper speaks the protocols; this room gives it only what it lacks: patience that ends. Every connection has a *pulse*
//! (`pulse.rs`), into which the socket (`wire.rs`), the request's body (`body.rs`) and the answer (`answer.rs`) note what
//! they see, and a *watch* (`watch.rs`) that reads it and ends the connection when its client has used up its time.
//! Nothing is sniffed: in the clear HTTP/1.1 is spoken, on TLS what ALPN chose.
//!
//! What a request may say is not judged here but where requests are admitted. The room serves anything that is [`Serve`].
//!
//! ```no_run
//! # use std::{convert::Infallible, sync::Arc};
//! # use bytes::Bytes;
//! # use http::{Request, Response};
//! # use http_body_util::Full;
//! use forebay::clock::Clock;
//! use forebay::listen::{Drain, ListenSettings, Listeners, Peer, RequestBody, Serve};
//!
//! #[derive(Clone)]
//! struct Hello;
//!
//! impl Serve for Hello {
//!     type Body = Full<Bytes>;
//!     async fn serve(&self, peer: &Arc<Peer>, _request: Request<RequestBody>) -> Response<Self::Body> {
//!         Response::new(Full::from(format!("hello {}", peer.address)))
//!     }
//! }
//!
//! # async fn example() -> Result<(), forebay::listen::ListenError> {
//! let settings = ListenSettings { http: Some(([127, 0, 0, 1], 8080).into()), ..ListenSettings::default() };
//! let drain = Drain::new();
//! let listeners = Listeners::bind(&settings)?;
//! tokio::spawn(listeners.run(Hello, Clock::system(), drain.clone()));
//! // Later, on SIGTERM:
//! drain.begin();
//! drain.finished().await;
//! # Ok(()) }
//! ```

mod accept;
mod answer;
mod body;
mod connection;
mod crowd;
mod drain;
mod interim;
mod linger;
mod pulse;
mod settings;
mod sockets;
mod stats;
#[cfg(test)]
mod tests;
mod tls;
mod watch;
mod wire;

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response};

pub use body::{BodyError, RequestBody, WireBody};
pub use drain::Drain;
pub use interim::InterimWriter;
pub use settings::{ListenSettings, TlsFiles};
pub use sockets::ListenError;
pub use stats::ListenStats;
pub use tls::Tls;

use crate::clock::Clock;
use accept::Door;

/// Any error, as hyper wants it.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Who is at the other end of a connection. The same for all its requests.
#[derive(Clone, Debug)]
pub struct Peer {
    /// The address of the socket's other end: the client, or whatever stands between it and us.
    pub address: SocketAddr,
    /// Whether the connection is on TLS.
    pub secure: bool,
    /// Sends interim answers; none on HTTP/2.
    pub interim: Option<InterimWriter>,
}

/// Answers requests. Cloned rarely, called for every request.
///
/// An answer with `Connection: close` ends an HTTP/1 connection; on HTTP/2 the field is dropped. An answer to HEAD must come
/// with an empty body: on HTTP/2 hyper sends whatever it is given. The future is dropped when the client leaves.
pub trait Serve: Clone + Send + Sync + 'static {
    /// The answer's body.
    type Body: http_body::Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static;

    /// Answers one request.
    fn serve(
        &self,
        peer: &Arc<Peer>,
        request: Request<RequestBody>,
    ) -> impl Future<Output = Response<Self::Body>> + Send;
}

/// Bound sockets, not yet accepting: clients that connect wait in the kernel's queue.
pub struct Listeners {
    settings: ListenSettings,
    http: Option<Door>,
    https: Option<Door>,
    tls: Option<Tls>,
    stats: Arc<ListenStats>,
}

impl Listeners {
    /// Checks the settings, reads the certificate and binds all addresses, or says why not. Call it inside a tokio
    /// runtime.
    pub fn bind(settings: &ListenSettings) -> Result<Self, ListenError> {
        settings.check()?;
        let tls = settings.https.and(settings.tls.as_ref()).map(Tls::load).transpose()?;
        let open = |address: Option<SocketAddr>, tls: Option<Tls>| -> Result<Option<Door>, ListenError> {
            let listener = address.map(|address| sockets::bind(address, settings.backlog)).transpose()?;
            Ok(listener.map(|listener| Door { listener, tls }))
        };
        Ok(Self {
            http: open(settings.http, None)?,
            https: open(settings.https, tls.clone())?,
            settings: settings.clone(),
            tls,
            stats: Arc::default(),
        })
    }

    /// The addresses bound, with the ports the system chose: in the clear first, then TLS.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.http_address().into_iter().chain(self.https_address()).collect()
    }

    /// The address bound in the clear.
    pub fn http_address(&self) -> Option<SocketAddr> {
        self.http.as_ref()?.listener.local_addr().ok()
    }

    /// The address bound for TLS.
    pub fn https_address(&self) -> Option<SocketAddr> {
        self.https.as_ref()?.listener.local_addr().ok()
    }

    /// The counters. They go on counting when the listeners run.
    pub fn stats(&self) -> Arc<ListenStats> {
        Arc::clone(&self.stats)
    }

    /// The certificate in use, to reload it.
    pub fn tls(&self) -> Option<Tls> {
        self.tls.clone()
    }

    /// Accepts and serves until `drain` has begun and every connection is closed, or the grace period is over.
    pub async fn run<S: Serve>(self, service: S, clock: Clock, drain: Drain) {
        let _finish = drain.finish_on_drop();
        let Self { settings, http, https, tls: _, stats } = self;
        let places = sockets::affordable(settings.max_connections);
        if places < settings.max_connections {
            tracing::warn!("only {places} connections at once: the limit of open files is too low for max_connections");
        }
        let crowd = crowd::Crowd::new(&settings, places);
        let doors = http.into_iter().chain(https).collect();
        accept::run(doors, connection::House::new(service, settings, clock, drain, stats), crowd).await;
    }
}
