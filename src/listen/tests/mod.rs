//! The room as a client meets it. `http1`, `http2` and `interim` talk over an in-process pipe on paused time, `doors` over
//! real sockets.

mod doors;
mod http1;
mod http2;
mod interim;

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::sync::{Notify, Semaphore};
use tokio::time::timeout;

use super::connection::House;
use super::{BodyError, BoxError, Drain, InterimWriter, ListenSettings, ListenStats, Peer, RequestBody, Serve};
use crate::clock::Clock;

/// A service that does what the path says.
#[derive(Clone, Default)]
struct Probe(Arc<Inner>);

struct Inner {
    /// Rung when a request to a held path has arrived.
    arrived: Notify,
    /// Lets one held request go on.
    release: Semaphore,
    /// A writer kept from an earlier request.
    kept: std::sync::Mutex<Option<InterimWriter>>,
}

impl Default for Inner {
    fn default() -> Self {
        Self { arrived: Notify::new(), release: Semaphore::new(0), kept: std::sync::Mutex::default() }
    }
}

type Body = UnsyncBoxBody<Bytes, BoxError>;

fn whole(text: impl Into<Bytes>) -> Body {
    Full::new(text.into()).map_err(|never| match never {}).boxed_unsync()
}

/// So many chunks of 64 KiB.
struct Long(usize);

impl http_body::Body for Long {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let Some(left) = self.0.checked_sub(1) else { return Poll::Ready(None) };
        self.0 = left;
        Poll::Ready(Some(Ok(Frame::data(Bytes::from(vec![b'x'; 64 * 1024])))))
    }

    fn is_end_stream(&self) -> bool {
        self.0 == 0
    }
}

impl Probe {
    async fn hold(&self) {
        self.0.arrived.notify_one();
        self.0.release.acquire().await.unwrap().forget();
    }

    async fn held(&self) {
        self.0.arrived.notified().await;
    }

    fn release(&self) {
        self.0.release.add_permits(1);
    }
}

impl Serve for Probe {
    type Body = Body;

    async fn serve(&self, peer: &Arc<Peer>, request: Request<RequestBody>) -> Response<Body> {
        let (head, body) = request.into_parts();
        let mut answer = Response::new(whole(""));
        match head.uri.path() {
            "/hold" => {
                self.hold().await;
                *answer.body_mut() = whole("held");
            }
            "/echo" => match body.collect().await {
                Ok(body) => {
                    assert!(body.trailers().is_none(), "request trailers reached the service");
                    *answer.body_mut() = whole(body.to_bytes());
                }
                Err(error) => {
                    *answer.status_mut() = StatusCode::REQUEST_TIMEOUT;
                    answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
                    let why = error.downcast_ref::<BodyError>().map_or(error.to_string(), ToString::to_string);
                    *answer.body_mut() = whole(why);
                }
            },
            "/close" => {
                answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            "/large" => *answer.body_mut() = whole(vec![b'x'; 1024 * 1024]),
            "/long" => *answer.body_mut() = Long(160).boxed_unsync(),
            "/hint" => {
                let hint = peer.interim.as_ref().unwrap();
                self.hold().await;
                let mut fields = HeaderMap::new();
                fields.insert(header::LINK, HeaderValue::from_static("</a.css>; rel=preload"));
                fields.insert(header::CONTENT_LENGTH, HeaderValue::from_static("7"));
                hint.send(StatusCode::EARLY_HINTS, &fields);
                self.hold().await;
                *answer.body_mut() = whole("hinted");
            }
            "/hint-at-once" => {
                peer.interim.as_ref().unwrap().send(StatusCode::EARLY_HINTS, &HeaderMap::new());
                *answer.body_mut() = whole("hinted");
            }
            "/keep" => *self.0.kept.lock().unwrap() = peer.interim.clone(),
            path => *answer.body_mut() = whole(path.to_owned()),
        }
        answer
    }
}

/// A listener without sockets: each client is one end of a pipe.
struct Room {
    house: Arc<House<Probe>>,
    probe: Probe,
}

impl Room {
    fn new() -> Self {
        Self::with(|_| ())
    }

    fn with(change: impl FnOnce(&mut ListenSettings)) -> Self {
        let mut settings = ListenSettings::default();
        change(&mut settings);
        let probe = Probe::default();
        let clock = Clock::starting_at(Duration::from_secs(1_000_000));
        let house = House::new(probe.clone(), settings, clock, Drain::new(), Arc::default());
        Self { house, probe }
    }

    fn stats(&self) -> &ListenStats {
        &self.house.stats
    }

    /// A counter by its name.
    fn count(&self, name: &str) -> u64 {
        self.stats().read().into_iter().find(|(known, _)| *known == name).unwrap().1
    }

    fn drain(&self) -> &Drain {
        &self.house.drain
    }

    fn connect(&self) -> Client {
        self.connect_with_buffer(1024 * 1024)
    }

    /// The pipe holds `buffer` bytes in each direction.
    fn connect_with_buffer(&self, buffer: usize) -> Client {
        let (ours, theirs) = tokio::io::duplex(buffer);
        let peer = Peer { address: ([192, 0, 2, 1], 4711).into(), secure: false, interim: None };
        self.house.tasks.spawn(Arc::clone(&self.house).welcome(theirs, peer, None));
        Client(ours)
    }
}

struct Client(DuplexStream);

impl Client {
    async fn sends(&mut self, bytes: &str) {
        self.0.write_all(bytes.as_bytes()).await.unwrap();
    }

    async fn gets(&mut self, path: &str) {
        self.sends(&format!("GET {path} HTTP/1.1\r\nHost: t\r\n\r\n")).await;
    }

    /// Reads until what has come ends with `end`.
    async fn reads_until(&mut self, end: &str) -> String {
        let mut text = Vec::new();
        let all = async {
            while !text.ends_with(end.as_bytes()) {
                assert_ne!(self.0.read_buf(&mut text).await.unwrap(), 0, "closed before {end:?}");
            }
        };
        let in_time = timeout(Duration::from_mins(10), all).await;
        assert!(in_time.is_ok(), "no {end:?} in {:?}", String::from_utf8_lossy(&text));
        String::from_utf8(text).unwrap()
    }

    /// Reads until the other side closes, and returns everything and how many seconds it took.
    async fn reads_to_the_end(&mut self) -> (String, u64) {
        let clock = Clock::starting_at(Duration::ZERO);
        let mut text = Vec::new();
        timeout(Duration::from_hours(1), self.0.read_to_end(&mut text)).await.expect("never closed").unwrap();
        (String::from_utf8(text).unwrap(), clock.now().mono.as_secs())
    }
}
