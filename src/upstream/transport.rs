//! The seam between a fetch and the network.
//!
//! Above it: choice of endpoint, retries, limits, timeouts, checks of the answer. Below it: connections, or a service in
//! this process. Tests and the sample backend use the service, so that conversations run without sockets on paused time
//! (tokio's clock jumps ahead whenever all that is left to wait for is a socket).

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::BodyExt as _;
use tower::Service as _;
use tower::util::BoxCloneSyncService;

use super::OutBody;
use super::body::Source;
use super::connect::Connector;
use super::error::{BoxError, FetchError, FetchErrorKind, find_cause, whole_story};
use super::interim::Interims;
use super::outgoing;
use super::pool::{Connection, Lease, Need, Pool, Shared};
use super::settings::{Endpoint, OriginSettings};
use crate::clock::Clock;

/// A backend in this process: a tower service. It may fail with a [`FetchError`] to play a part: `Connect` and
/// `ConnectTimeout` count as unsent. Its requests carry [`Interims`] and the [`Endpoint`] among their extensions.
pub type Service = BoxCloneSyncService<Request<OutBody>, Response<OutBody>, BoxError>;

/// How requests reach a backend.
#[derive(Clone)]
pub enum Transport {
    /// Over the network.
    Hyper(HyperTransport),
    /// Within this process. Connecting takes no time, and the body knows where it ends: without framing fields an answer
    /// counts as complete when its body ends, unless its version is HTTP/1.0.
    Service(Service),
}

/// Connections to the endpoints of one backend.
#[derive(Clone, Debug)]
pub struct HyperTransport {
    pools: Arc<[Arc<Pool>]>,
}

/// A transport that cannot be set up: nothing to trust, a name that is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransportError {
    detail: String,
}

impl TransportError {
    pub(super) fn new(detail: impl Into<String>) -> Self {
        Self { detail: detail.into() }
    }
}

impl fmt::Display for TransportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.detail)
    }
}

impl std::error::Error for TransportError {}

impl HyperTransport {
    /// Pools for the endpoints of `settings`; the same settings go to [`Origin::new`](super::Origin::new). Connects to
    /// nothing yet.
    ///
    /// # Errors
    /// If an endpoint is `https` and there is no certificate to trust, or `server_name` is no name.
    pub fn new(settings: &OriginSettings, clock: &Clock) -> Result<Self, TransportError> {
        let connector = Connector::new(settings)?;
        let pool = |endpoint: &Endpoint| Pool::new(endpoint.clone(), settings, connector.clone(), clock.clone());
        Ok(Self { pools: settings.endpoints.iter().map(pool).collect() })
    }
}

impl Transport {
    /// A backend in this process: any tower service of HTTP requests.
    pub fn service<S, B>(service: S) -> Self
    where
        S: tower::Service<Request<OutBody>, Response = Response<B>> + Clone + Send + Sync + 'static,
        S::Error: Into<BoxError>,
        S::Future: Send + 'static,
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let service = tower::ServiceBuilder::new()
            .map_response(|response: Response<B>| response.map(|body| body.map_err(Into::into).boxed_unsync()))
            .map_err(Into::into)
            .service(service);
        Self::Service(BoxCloneSyncService::new(service))
    }

    /// Something to send one request on.
    pub(super) async fn connect(&self, index: usize, endpoint: &Endpoint, need: Need) -> Result<Channel, FetchError> {
        match self {
            Transport::Service(service) => Ok(Channel::Service(service.clone(), endpoint.clone())),
            Transport::Hyper(hyper) => {
                let pool = hyper.pools.get(index).ok_or_else(|| {
                    FetchError::new(FetchErrorKind::NoEndpoint, "the transport was made for other endpoints")
                })?;
                Ok(match pool.acquire(need).await? {
                    Connection::Http1(lease) => Channel::Http1(lease, pool.endpoint().clone()),
                    Connection::Http2(shared) => Channel::Http2(shared, pool.endpoint().clone()),
                })
            }
        }
    }

    /// Closes connections that have been idle for too long.
    pub(super) fn sweep(&self) {
        if let Transport::Hyper(hyper) = self {
            for pool in hyper.pools.iter() {
                pool.sweep();
            }
        }
    }

    /// Idle connections to the endpoint.
    pub(super) fn idle(&self, index: usize) -> usize {
        match self {
            Transport::Hyper(hyper) => hyper.pools.get(index).map_or(0, |pool| pool.idle_count()),
            Transport::Service(_) => 0,
        }
    }
}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Transport::Hyper(hyper) => f.debug_tuple("Hyper").field(hyper).finish(),
            Transport::Service(_) => f.write_str("Service"),
        }
    }
}

/// A connection, or the service. Dropping it while an answer is awaited closes an HTTP/1.1 connection, and resets an
/// HTTP/2 stream.
pub(super) enum Channel {
    Http1(Lease, Endpoint),
    Http2(Shared, Endpoint),
    Service(Service, Endpoint),
}

/// The head of an answer, and where its body comes from.
pub(super) struct Answer {
    pub(super) response: Response<()>,
    pub(super) source: Source,
    /// The HTTP/1.1 connection, to be given back after the body.
    pub(super) lease: Option<Lease>,
}

/// A request that got no answer, and what may be done about it.
pub(super) enum NoAnswer {
    /// It was certainly not sent; here it is, if it is still whole.
    Unsent(FetchError, Option<Box<Request<OutBody>>>),
    /// A connection that had been used before ended without a byte of an answer, or the backend said that it has not
    /// looked at it: a repeatable request can be sent again.
    Unanswered(FetchError),
    /// It may have been acted upon.
    Failed(FetchError),
}

impl Channel {
    /// Is this a connection that has carried an answer before?
    pub(super) fn reused(&self) -> bool {
        match self {
            Channel::Http1(lease, _) => lease.reused,
            Channel::Http2(shared, _) => shared.reused.load(Ordering::Relaxed),
            Channel::Service(..) => false,
        }
    }

    /// Sends the request and waits for the head of the answer, without a deadline.
    pub(super) async fn send(self, request: Request<OutBody>, interims: Interims) -> Result<Answer, NoAnswer> {
        let (mut head, body) = request.into_parts();
        let ready = match &self {
            Channel::Http1(_, endpoint) => outgoing::for_http1(&mut head, endpoint),
            Channel::Http2(_, endpoint) => outgoing::for_http2(&mut head, endpoint),
            Channel::Service(_, endpoint) => outgoing::for_service(&mut head, endpoint),
        };
        ready.map_err(NoAnswer::Failed)?;
        let mut request = Request::from_parts(head, body);
        match self {
            Channel::Http1(lease, _) => {
                // Over HTTP/2 hyper keeps interim answers to itself.
                hyper::ext::on_informational(&mut request, move |interim| {
                    interims.send(interim.status(), interim.headers());
                });
                send_http1(lease, request).await
            }
            Channel::Http2(shared, _) => send_http2(shared, request).await,
            Channel::Service(service, endpoint) => {
                request.extensions_mut().insert(interims);
                request.extensions_mut().insert(endpoint);
                send_service(service, request).await
            }
        }
    }
}

async fn send_http1(mut lease: Lease, request: Request<OutBody>) -> Result<Answer, NoAnswer> {
    let reads_before = lease.reads();
    match lease.sender.try_send_request(request).await {
        Ok(response) => {
            let (head, body) = response.into_parts();
            let response = Response::from_parts(head, ());
            Ok(Answer { response, source: Source::Wire(body), lease: Some(lease) })
        }
        Err(mut failure) => {
            let request = failure.take_message();
            let error = no_head(failure.error());
            Err(match request {
                Some(request) => NoAnswer::Unsent(error, Some(Box::new(request))),
                None if lease.reused && lease.reads() == reads_before => NoAnswer::Unanswered(error),
                None => NoAnswer::Failed(error),
            })
        }
    }
}

async fn send_http2(mut shared: Shared, request: Request<OutBody>) -> Result<Answer, NoAnswer> {
    if let Err(error) = shared.sender.ready().await {
        return Err(NoAnswer::Unsent(no_head(&error), Some(Box::new(request))));
    }
    match shared.sender.try_send_request(request).await {
        Ok(response) => {
            shared.reused.store(true, Ordering::Relaxed);
            let (head, body) = response.into_parts();
            Ok(Answer { response: Response::from_parts(head, ()), source: Source::Wire(body), lease: None })
        }
        Err(mut failure) => {
            let request = failure.take_message();
            let error = no_head(failure.error());
            Err(match request {
                Some(request) => NoAnswer::Unsent(error, Some(Box::new(request))),
                None if was_not_looked_at(failure.error()) => NoAnswer::Unanswered(error),
                None if shared.reused.load(Ordering::Relaxed) && shared.sender.is_closed() => {
                    NoAnswer::Unanswered(error)
                }
                None => NoAnswer::Failed(error),
            })
        }
    }
}

async fn send_service(mut service: Service, request: Request<OutBody>) -> Result<Answer, NoAnswer> {
    let answered = match std::future::poll_fn(|cx| service.poll_ready(cx)).await {
        Ok(()) => service.call(request).await,
        Err(error) => Err(error),
    };
    match answered {
        Ok(response) => {
            let (head, body) = response.into_parts();
            Ok(Answer { response: Response::from_parts(head, ()), source: Source::Service(body), lease: None })
        }
        Err(error) => Err(match find_cause::<FetchError>(error.as_ref()) {
            Some(error) if error.is_unsent() => NoAnswer::Unsent(error.clone(), None),
            Some(error) => NoAnswer::Failed(error.clone()),
            None => NoAnswer::Failed(FetchError::new(FetchErrorKind::Closed, whole_story(error.as_ref()))),
        }),
    }
}

/// [RFC 9113 §8.7]: a stream refused, or above the last one that a GOAWAY names, "has not been processed in any way".
///
/// [RFC 9113 §8.7]: https://www.rfc-editor.org/rfc/rfc9113#section-8.7
fn was_not_looked_at(error: &hyper::Error) -> bool {
    find_cause::<h2::Error>(error).is_some_and(|cause| {
        let refused = cause.is_reset() && cause.reason() == Some(h2::Reason::REFUSED_STREAM);
        let going_away = cause.is_go_away() && cause.reason() == Some(h2::Reason::NO_ERROR);
        cause.is_remote() && (refused || going_away)
    })
}

/// Why there is no head.
fn no_head(error: &hyper::Error) -> FetchError {
    let breaks_protocol = error.is_parse()
        || find_cause::<h2::Error>(error).is_some_and(|cause| cause.is_library() && cause.reason().is_some());
    let kind = if breaks_protocol { FetchErrorKind::BadResponse } else { FetchErrorKind::Closed };
    FetchError::new(kind, whole_story(error))
}
