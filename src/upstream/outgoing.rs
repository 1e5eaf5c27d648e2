//! The request on its way out: its address, its Host, its framing, and an eye on its body.
//!
//! hyper believes a Content-Length that it is handed, so a wrong one would become the framing on the wire. Therefore
//! framing fields are dropped here and made anew from what the body says about itself.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, HOST, TRANSFER_ENCODING};
use http::request::Parts;
use http::uri::{Authority, PathAndQuery};
use http::{HeaderValue, Method, Request, Uri, Version};
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt, Empty};

use super::OutBody;
use super::error::{BoxError, FetchError, FetchErrorKind};
use super::settings::Endpoint;
use crate::clock::Clock;

/// A body of no bytes.
pub fn empty_body() -> OutBody {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

/// Makes the framing fields agree with the body, and sees to it that there is a Host if one can be known.
pub(super) fn frame(head: &mut Parts, body: &OutBody, host: Option<&str>) -> Result<(), FetchError> {
    head.headers.remove(TRANSFER_ENCODING);
    head.headers.remove(CONTENT_LENGTH);
    if body.is_end_stream() {
        // RFC 9110 §8.6: "A user agent SHOULD send Content-Length in a request when the method defines a meaning for
        // enclosed content". Some backends answer 411 without.
        if matches!(head.method, Method::POST | Method::PUT | Method::PATCH) {
            head.headers.insert(CONTENT_LENGTH, HeaderValue::from(0));
        }
    } else if let Some(length) = body.size_hint().exact() {
        head.headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    } else {
        // Said aloud, because hyper takes a GET, HEAD or DELETE without framing fields to have no body.
        head.headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }

    let host = match (host, head.headers.get(HOST), head.uri.authority()) {
        (Some(host), _, _) => Some(host),
        (None, Some(_), _) | (None, None, None) => None,
        (None, None, Some(authority)) => Some(authority.as_str()),
    };
    if let Some(host) = host {
        let value = HeaderValue::from_str(host).map_err(|_| bad_host(host))?;
        head.headers.insert(HOST, value);
    }
    Ok(())
}

/// In the form of HTTP/1.1: the path as it came, and a Host field.
pub(super) fn for_http1(head: &mut Parts, endpoint: &Endpoint) -> Result<(), FetchError> {
    if !head.headers.contains_key(HOST) {
        let value = HeaderValue::from_str(&endpoint.authority).map_err(|_| bad_host(&endpoint.authority))?;
        head.headers.insert(HOST, value);
    }
    head.uri = Uri::from(path(&head.uri));
    head.version = Version::HTTP_11;
    Ok(())
}

/// In the form of HTTP/2: the Host becomes the authority ([RFC 9113 §8.3.1]), and no field speaks of the connection.
///
/// [RFC 9113 §8.3.1]: https://www.rfc-editor.org/rfc/rfc9113#section-8.3.1
pub(super) fn for_http2(head: &mut Parts, endpoint: &Endpoint) -> Result<(), FetchError> {
    head.headers.remove(TRANSFER_ENCODING);
    head.uri = absolute(head, endpoint)?;
    head.headers.remove(HOST);
    head.version = Version::HTTP_2;
    Ok(())
}

/// In the form for a service in this process: an absolute URI, and the Host field as well.
pub(super) fn for_service(head: &mut Parts, endpoint: &Endpoint) -> Result<(), FetchError> {
    head.headers.remove(TRANSFER_ENCODING);
    head.uri = absolute(head, endpoint)?;
    head.version = Version::HTTP_11;
    Ok(())
}

fn absolute(head: &Parts, endpoint: &Endpoint) -> Result<Uri, FetchError> {
    let authority = match head.headers.get(HOST) {
        Some(host) => {
            Authority::try_from(host.as_bytes()).map_err(|_| bad_host(&String::from_utf8_lossy(host.as_bytes())))
        }
        None => Authority::try_from(endpoint.authority.as_str()).map_err(|_| bad_host(&endpoint.authority)),
    }?;
    Uri::builder()
        .scheme(if endpoint.https { "https" } else { "http" })
        .authority(authority)
        .path_and_query(path(&head.uri))
        .build()
        .map_err(|error| FetchError::new(FetchErrorKind::BadRequest, format!("no URL can be made of it: {error}")))
}

fn path(uri: &Uri) -> PathAndQuery {
    uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"))
}

fn bad_host(host: &str) -> FetchError {
    FetchError::new(FetchErrorKind::BadRequest, format!("{host:?} cannot be sent as a Host"))
}

/// The request without its body, to be sent again if that is safe.
#[derive(Debug)]
pub(super) struct Copy(Parts);

impl Copy {
    pub(super) fn of(head: &Parts) -> Self {
        Self(head.clone())
    }

    pub(super) fn to_request(&self) -> Request<OutBody> {
        Request::from_parts(self.0.clone(), empty_body())
    }
}

/// What is known about the upload of a request's body, while the backend's answer is awaited.
#[derive(Debug)]
pub(super) struct Upload {
    clock: Clock,
    stage: AtomicU8,
    moved_nanos: AtomicU64,
    finished: AtomicBool,
    failed: OnceLock<String>,
}

/// The backend's turn: it is to take more, or to answer.
const BACKENDS_TURN: u8 = 0;
/// The client's turn: it is to send more.
const CLIENTS_TURN: u8 = 1;

impl Upload {
    pub(super) fn new(clock: Clock) -> Arc<Self> {
        let now = nanos(clock.now().mono);
        Arc::new(Self {
            clock,
            stage: AtomicU8::new(BACKENDS_TURN),
            moved_nanos: AtomicU64::new(now),
            finished: AtomicBool::new(false),
            failed: OnceLock::new(),
        })
    }

    /// The request is handed over now.
    pub(super) fn start(&self) {
        self.moved_nanos.store(nanos(self.clock.now().mono), Ordering::Relaxed);
    }

    /// Has the whole body been handed to the connection?
    pub(super) fn is_finished(&self) -> bool {
        self.finished.load(Ordering::Relaxed)
    }

    /// Why the client's body failed, if it did.
    pub(super) fn failure(&self) -> Option<FetchError> {
        self.failed.get().map(|detail| FetchError::new(FetchErrorKind::RequestBody, detail.as_str()))
    }

    /// Returns when it has been the backend's turn for `patience` without anything moving. A client that is slow to send
    /// its body is not the backend's fault; the front door has a timeout for those.
    pub(super) async fn backend_is_late(&self, patience: Duration) {
        loop {
            let now = self.clock.now().mono;
            let moved = match self.stage.load(Ordering::Relaxed) {
                CLIENTS_TURN => now,
                _ => Duration::from_nanos(self.moved_nanos.load(Ordering::Relaxed)),
            };
            let deadline = moved.saturating_add(patience);
            if now >= deadline {
                return;
            }
            tokio::time::sleep(deadline.saturating_sub(now)).await;
        }
    }

    /// `body`, observed.
    pub(super) fn watch(self: &Arc<Self>, body: OutBody) -> OutBody {
        if body.is_end_stream() {
            self.finished.store(true, Ordering::Relaxed);
            return body;
        }
        Watched { body, upload: Arc::clone(self) }.boxed_unsync()
    }

    fn turn(&self, stage: u8) {
        self.moved_nanos.store(nanos(self.clock.now().mono), Ordering::Relaxed);
        self.stage.store(stage, Ordering::Relaxed);
    }
}

struct Watched {
    body: OutBody,
    upload: Arc<Upload>,
}

impl Body for Watched {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        self.upload.turn(if polled.is_pending() { CLIENTS_TURN } else { BACKENDS_TURN });
        let frame = ready!(polled);
        if let Some(Err(error)) = &frame {
            let _ = self.upload.failed.set(error.to_string());
        }
        // Of a body whose length is known nobody asks for more than its last byte.
        if frame.is_none() || self.body.is_end_stream() {
            self.upload.finished.store(true, Ordering::Relaxed);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use http_body_util::Full;

    use super::*;

    fn head_of(method: &str, uri: &str, host: Option<&str>) -> Parts {
        let mut request = Request::builder().method(method).uri(uri);
        if let Some(host) = host {
            request = request.header(HOST, host);
        }
        request.header(CONTENT_LENGTH, "77").header(TRANSFER_ENCODING, "gzip").body(()).unwrap().into_parts().0
    }

    #[test]
    fn framing_is_made_anew_from_the_body() {
        let unknown = || Waits.boxed_unsync();
        let three = || Full::new(Bytes::from_static(b"abc")).map_err(|never| match never {}).boxed_unsync();
        for (method, body, length, coding) in [
            ("GET", empty_body(), None, None),
            ("POST", empty_body(), Some("0"), None),
            ("POST", three(), Some("3"), None),
            ("GET", three(), Some("3"), None),
            ("GET", unknown(), None, Some("chunked")),
            ("POST", unknown(), None, Some("chunked")),
        ] {
            let mut head = head_of(method, "/", None);
            frame(&mut head, &body, None).unwrap();
            assert_eq!(head.headers.get(CONTENT_LENGTH).map(|value| value.to_str().unwrap()), length, "{method}");
            assert_eq!(head.headers.get(TRANSFER_ENCODING).map(|value| value.to_str().unwrap()), coding, "{method}");
        }
    }

    /// A body that never yields.
    struct Waits;

    impl Body for Waits {
        type Data = Bytes;
        type Error = BoxError;

        fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
            Poll::Pending
        }
    }

    #[test]
    fn the_host_is_the_configured_one_or_the_clients_or_the_endpoints() {
        for (uri, sent, configured, http1, http2) in [
            ("/p?q", Some("client"), None, "client /p?q", "http://client/p?q"),
            ("/p", Some("client"), Some("own:81"), "own:81 /p", "http://own:81/p"),
            ("http://target/p", None, None, "target /p", "http://target/p"),
            ("/p", None, None, "there:80 /p", "http://there:80/p"),
            ("/a/%2e%2e/b//c?x=%zz", Some("h"), None, "h /a/%2e%2e/b//c?x=%zz", "http://h/a/%2e%2e/b//c?x=%zz"),
            ("*", Some("h"), None, "h *", "http://h*"),
        ] {
            let endpoint = Endpoint { https: false, authority: "there:80".to_owned(), weight: 1 };
            let mut head = head_of("GET", uri, sent);
            frame(&mut head, &empty_body(), configured).unwrap();
            let mut second = head.clone();

            for_http1(&mut head, &endpoint).unwrap();
            assert_eq!(format!("{} {}", head.headers[HOST].to_str().unwrap(), head.uri), http1);
            if uri != "*" {
                for_http2(&mut second, &endpoint).unwrap();
                assert_eq!(second.uri.to_string(), http2);
                assert!(!second.headers.contains_key(HOST));
            }
        }
    }

    #[test]
    fn a_host_that_is_no_authority_cannot_be_sent_over_http2() {
        let endpoint = Endpoint { https: false, authority: "there".to_owned(), weight: 1 };
        let mut head = head_of("GET", "/", Some("a b"));
        assert_eq!(for_http2(&mut head, &endpoint).unwrap_err().kind, FetchErrorKind::BadRequest);
    }
}
