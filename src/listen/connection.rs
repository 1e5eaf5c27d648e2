//! One connection from its first byte to its last.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use http::{HeaderValue, Request, Response, header};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio_rustls::TlsAcceptor;
use tokio_util::task::TaskTracker;

use super::answer::{Answer, Flight, Streams};
use super::body::{BodyRules, RequestBody};
use super::drain::{Drain, Stage};
use super::interim::{Interject, Lane};
use super::pulse::Pulse;
use super::stats::ListenStats;
use super::watch::{Cut, Ending, Version, Watch, drive};
use super::wire::Wire;
use super::{ListenSettings, Peer, Serve};
use crate::clock::Clock;

/// How HTTP/2 with prior knowledge begins ([RFC 9113 §3.4](https://www.rfc-editor.org/rfc/rfc9113#section-3.4)).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// HTTP/2 receive windows: what a client may send ahead of being read.
const STREAM_WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = 1024 * 1024;
/// What one HTTP/2 stream may hold ready to be sent.
const SEND_BUFFER: usize = 128 * 1024;
/// HTTP/2 streams reset before they were looked at, and because of the client's errors, before the connection goes
/// (CVE-2023-44487 and CVE-2025-8671).
const PENDING_RESETS: usize = 32;
const ERROR_RESETS: usize = 256;
/// What hyper may hold of one HTTP/1 connection in either direction, if a request head does not ask for more.
const BUFFER: usize = 64 * 1024;

/// What all connections share.
pub(super) struct House<S> {
    pub(super) service: S,
    pub(super) settings: Arc<ListenSettings>,
    pub(super) clock: Clock,
    pub(super) drain: Drain,
    pub(super) stats: Arc<ListenStats>,
    pub(super) body_rules: Arc<BodyRules>,
    pub(super) tasks: TaskTracker,
}

impl<S: Serve> House<S> {
    pub(super) fn new(
        service: S,
        settings: ListenSettings,
        clock: Clock,
        drain: Drain,
        stats: Arc<ListenStats>,
    ) -> Arc<Self> {
        let body_rules = Arc::new(BodyRules::new(&settings, Arc::clone(&stats)));
        Arc::new(Self {
            service,
            settings: Arc::new(settings),
            clock,
            drain,
            stats,
            body_rules,
            tasks: TaskTracker::new(),
        })
    }

    /// Serves one connection to its end. `peer` must not have an interim writer yet.
    pub(super) async fn welcome<T>(self: Arc<Self>, socket: T, peer: Peer, tls: Option<TlsAcceptor>)
    where
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let _open = Open::count(&self.stats);
        let pulse = Arc::new(Pulse::new(self.clock.clone()));
        let _place = self.drain.join(&pulse);
        let wire = Wire::new(socket, Arc::clone(&pulse));
        let Some(tls) = tls else {
            return self.in_the_clear(wire, pulse, peer).await;
        };
        let Some(Ok(stream)) = self.first(&pulse, tls.accept(wire)).await else {
            if pulse.head_since().is_some() {
                ListenStats::count(&self.stats.handshake_failures);
            } else {
                ListenStats::count(&self.stats.first_byte_timeouts);
            }
            return;
        };
        pulse.restart();
        if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
            self.http2(stream, pulse, peer).await;
        } else {
            self.http1(stream, pulse, peer).await;
        }
    }

    async fn in_the_clear<T>(self: Arc<Self>, mut wire: Wire<T>, pulse: Arc<Pulse>, peer: Peer)
    where
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        if !self.settings.h2c {
            return self.http1(wire, pulse, peer).await;
        }
        match self.first(&pulse, peek(&mut wire)).await {
            Some(Ok(true)) => self.http2(wire, pulse, peer).await,
            Some(Ok(false)) => self.http1(wire, pulse, peer).await,
            Some(Err(_)) => (),
            None => ListenStats::count(&self.stats.first_byte_timeouts),
        }
    }

    /// What comes before HTTP has the first byte's time, and ends when the drain cuts.
    async fn first<O>(&self, pulse: &Pulse, step: impl Future<Output = O>) -> Option<O> {
        let deadline = self.clock.instant(pulse.idle_since() + self.settings.first_byte_timeout);
        tokio::select! {
            outcome = tokio::time::timeout_at(deadline, step) => outcome.ok(),
            () = self.drain.reached(Stage::Cut) => None,
        }
    }

    async fn http1<T>(self: Arc<Self>, stream: T, pulse: Arc<Pulse>, mut peer: Peer)
    where
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let lane = Lane::new(Arc::clone(&pulse));
        peer.interim = Some(lane.writer());
        let desk = Arc::new(Desk {
            house: Arc::clone(&self),
            peer: Arc::new(peer),
            pulse: Arc::clone(&pulse),
            lane: Some(Arc::clone(&lane)),
        });
        let io = TokioIo::new(Interject::new(stream, lane));
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            // hyper's one timeout would serve for heads and idleness alike; the watch tells them apart.
            .header_read_timeout(None)
            .half_close(false)
            .max_buf_size(BUFFER.max(self.settings.max_head))
            .max_header_size(self.settings.max_head)
            .max_headers(self.settings.max_headers)
            .serve_connection(io, service_fn(move |request| Desk::answer(&desk, request)));
        let watch = Watch::new(pulse, Arc::clone(&self.settings), Version::Http1);
        self.note(&drive(connection, watch, &self.drain).await);
    }

    async fn http2<T>(self: Arc<Self>, stream: T, pulse: Arc<Pulse>, peer: Peer)
    where
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let settings = Arc::clone(&self.settings);
        let desk =
            Arc::new(Desk { house: Arc::clone(&self), peer: Arc::new(peer), pulse: Arc::clone(&pulse), lane: None });
        let streams = Streams {
            tasks: self.tasks.clone(),
            pulse: Arc::clone(&pulse),
            patience: settings.write_timeout,
            stats: Arc::clone(&self.stats),
        };
        let connection = http2::Builder::new(streams)
            .timer(TokioTimer::new())
            .max_concurrent_streams(settings.h2_max_streams)
            .max_header_list_size(settings.h2_max_header_list)
            .max_pending_accept_reset_streams(PENDING_RESETS)
            .max_local_error_reset_streams(ERROR_RESETS)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_send_buf_size(SEND_BUFFER)
            .keep_alive_interval(Some(settings.h2_ping_interval).filter(|interval| !interval.is_zero()))
            .keep_alive_timeout(settings.h2_ping_timeout)
            .serve_connection(TokioIo::new(stream), service_fn(move |request| Desk::answer(&desk, request)));
        let watch = Watch::new(pulse, settings, Version::Http2);
        self.note(&drive(connection, watch, &self.drain).await);
    }

    fn note(&self, ending: &Ending) {
        let stats = &self.stats;
        let counter = match ending {
            Ending::Over { result: Err(error), .. } if error.is_parse() => &stats.malformed,
            Ending::Over { idle: true, .. } | Ending::Cut(Cut::Closing) => &stats.idle_timeouts,
            Ending::Over { .. } => return,
            Ending::Cut(Cut::FirstByte) => &stats.first_byte_timeouts,
            Ending::Cut(Cut::Head) => &stats.head_timeouts,
            Ending::Cut(Cut::Write) => &stats.write_timeouts,
            Ending::Cut(Cut::Flood) => &stats.h2_floods,
            Ending::Cut(Cut::Grace) => &stats.cut,
        };
        ListenStats::count(counter);
        tracing::debug!(?ending, "connection ended");
    }
}

/// Where a connection's requests are answered.
struct Desk<S> {
    house: Arc<House<S>>,
    peer: Arc<Peer>,
    pulse: Arc<Pulse>,
    lane: Option<Arc<Lane>>,
}

impl<S: Serve> Desk<S> {
    /// Not an `async fn`: the request counts as in flight from the moment hyper hands it over, not from the first poll.
    fn answer(
        desk: &Arc<Self>,
        request: Request<Incoming>,
    ) -> impl Future<Output = Result<Response<Answer<S::Body>>, Infallible>> + Send + use<S> {
        let desk = Arc::clone(desk);
        let understands_interim = request.version() >= http::Version::HTTP_11;
        let mut flight = Flight::begin(&desk.pulse, desk.lane.as_ref(), understands_interim);
        ListenStats::count(&desk.house.stats.requests);
        async move {
            let house = &desk.house;
            let request = request.map(|body| RequestBody::from_wire(body, &desk.pulse, &house.body_rules));
            let mut response = house.service.serve(&desk.peer, request).await;
            flight.answered();
            if desk.lane.is_some() && house.drain.has_begun() {
                // hyper closes after an answer that says so, as RFC 9112 §9.6 wants.
                response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            Ok(response.map(|body| Answer::new(body, flight)))
        }
    }
}

/// Whether the stream begins with HTTP/2's preface. What was read for it will be read again.
async fn peek<T: AsyncRead + Unpin>(wire: &mut Wire<T>) -> io::Result<bool> {
    let mut start = [0; PREFACE.len()];
    let mut filled = 0;
    while filled < PREFACE.len() && start[..filled] == PREFACE[..filled] {
        match wire.read(&mut start[filled..]).await? {
            0 => break,
            n => filled += n,
        }
    }
    wire.unread(Bytes::copy_from_slice(&start[..filled]));
    Ok(start == *PREFACE)
}

/// Counts a connection as open while it lives.
struct Open(Arc<ListenStats>);

impl Open {
    fn count(stats: &Arc<ListenStats>) -> Self {
        stats.open.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(stats))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}
