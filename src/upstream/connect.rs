//! From an endpoint to a connection: name, TCP, TLS.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::Uri;
use hyper_util::client::legacy::connect::HttpConnector;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tower::ServiceExt;

use super::error::{FetchError, FetchErrorKind, whole_story};
use super::settings::{Endpoint, OriginSettings};
use super::tls;
use super::transport::TransportError;

/// Probes after which a silent peer of an idle connection counts as gone.
const KEEPALIVE: Duration = Duration::from_secs(15);

/// Connects to the endpoints of one backend. Addresses of both families are tried, the second shortly after the first.
#[derive(Clone)]
pub(super) struct Connector {
    tcp: HttpConnector,
    tls: Option<TlsConnector>,
    server_name: Option<ServerName<'static>>,
}

/// A connection, fresh.
pub(super) struct Connected {
    pub(super) stream: Stream,
    /// Did TLS agree on HTTP/2?
    pub(super) negotiated_http2: bool,
    /// Bytes read so far, inside TLS.
    pub(super) reads: Arc<AtomicU64>,
}

impl Connector {
    /// A connector for `settings`.
    ///
    /// # Errors
    /// If an endpoint wants TLS and it cannot be set up.
    pub(super) fn new(settings: &OriginSettings) -> Result<Self, TransportError> {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_keepalive(Some(KEEPALIVE));
        tcp.set_connect_timeout(Some(settings.connect_timeout));
        let wants_tls = settings.endpoints.iter().any(|endpoint| endpoint.https);
        let tls = if wants_tls {
            Some(TlsConnector::from(Arc::new(tls::client_config(&settings.tls, settings.http2)?)))
        } else {
            None
        };
        let server_name = settings.tls.server_name.as_deref().map(server_name).transpose()?;
        Ok(Self { tcp, tls, server_name })
    }

    /// A new connection to `endpoint`. Without a deadline of its own.
    ///
    /// # Errors
    /// [`FetchErrorKind::Connect`].
    pub(super) async fn connect(&self, endpoint: &Endpoint) -> Result<Connected, FetchError> {
        let refused =
            |detail: String| FetchError::new(FetchErrorKind::Connect, format!("{}: {detail}", endpoint.url()));
        let uri: Uri = endpoint.url().parse().map_err(|error| refused(format!("no URL: {error}")))?;
        let host = uri.host().unwrap_or_default().to_owned();
        let tcp = self.tcp.clone().oneshot(uri).await.map_err(|error| refused(whole_story(&error)))?.into_inner();
        let reads = Arc::new(AtomicU64::new(0));
        if !endpoint.https {
            let stream = Stream { inner: Inner::Plain(tcp), reads: Arc::clone(&reads) };
            return Ok(Connected { stream, negotiated_http2: false, reads });
        }
        let tls = self.tls.as_ref().ok_or_else(|| refused("TLS was not set up".to_owned()))?;
        let name = match &self.server_name {
            Some(name) => name.clone(),
            None => server_name(&host).map_err(|error| refused(error.to_string()))?,
        };
        let stream = tls.connect(name, tcp).await.map_err(|error| refused(format!("TLS: {}", whole_story(&error))))?;
        let negotiated_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        let stream = Stream { inner: Inner::Tls(Box::new(stream)), reads: Arc::clone(&reads) };
        Ok(Connected { stream, negotiated_http2, reads })
    }
}

fn server_name(host: &str) -> Result<ServerName<'static>, TransportError> {
    let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
    ServerName::try_from(bare.to_owned())
        .map_err(|error| TransportError::new(format!("{host:?} is no name that TLS can ask for: {error}")))
}

/// A connection that counts what it reads, so that "closed before any byte of an answer" is a fact.
pub(super) struct Stream {
    inner: Inner,
    reads: Arc<AtomicU64>,
}

enum Inner {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl AsyncRead for Stream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(match &mut self.inner {
            Inner::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Inner::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        })?;
        self.reads.fetch_add((buf.filled().len() - before) as u64, Ordering::Relaxed);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.inner {
            Inner::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            Inner::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.inner {
            Inner::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Inner::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match &self.inner {
            Inner::Plain(stream) => stream.is_write_vectored(),
            Inner::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.inner {
            Inner::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Inner::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.inner {
            Inner::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Inner::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
