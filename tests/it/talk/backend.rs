//! The scripted backend: what it replies on each path, what it was asked, and when it holds its answer back.

use std::collections::HashMap;
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use bytes::Bytes;
use forebay::upstream::{BoxError, Endpoint, FetchError, FetchErrorKind, Interims, OutBody};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Version};
use http_body::Frame;
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use tokio::sync::{mpsc, oneshot};

use super::Transcript;

type Answer = Response<UnsyncBoxBody<Bytes, BoxError>>;

/// A backend; clones are the same one.
#[derive(Clone, Default)]
pub struct Backend {
    state: Arc<Mutex<State>>,
    transcript: Transcript,
}

#[derive(Default)]
struct State {
    paths: HashMap<String, Script>,
    /// What comes with an answer that shows the request, for paths without a script.
    mirror: Option<HeaderMap>,
    /// Endpoints, as `host:port`, that cannot be connected to.
    down: Vec<String>,
}

#[derive(Default)]
struct Script {
    reply: Reply,
    /// Whoever asks next waits for one of these, in order.
    holds: Vec<oneshot::Receiver<Outcome>>,
    asked: Vec<Asked>,
    extras: Extras,
}

/// What comes with every answer of a path, before, around and after it.
#[derive(Clone, Default)]
struct Extras {
    version: Version,
    interims: Vec<(StatusCode, HeaderMap)>,
    trailers: Option<HeaderMap>,
    /// Pieces of [`Reply::Pieces`] that were taken from the backend.
    taken: Arc<AtomicUsize>,
}

#[derive(Clone)]
enum Reply {
    Answer {
        status: StatusCode,
        headers: HeaderMap,
        body: Bytes,
        chunked: bool,
    },
    Refuse,
    Hang,
    Panic,
    /// Sends this, and then whoever reads on panics.
    PanicAfter {
        headers: HeaderMap,
        body: Bytes,
    },
    /// Sends these pieces and then breaks off.
    Break {
        headers: HeaderMap,
        body: Bytes,
    },
    /// The same piece so many times, each made when it is asked for.
    Pieces {
        headers: HeaderMap,
        piece: Bytes,
        count: usize,
    },
}

impl Default for Reply {
    fn default() -> Self {
        let body = Bytes::from_static(b"no such path");
        Reply::Answer { status: StatusCode::NOT_FOUND, headers: HeaderMap::new(), body, chunked: false }
    }
}

/// What becomes of a request that was held.
enum Outcome {
    AsScripted,
    Stream(Response<mpsc::UnboundedReceiver<Result<Bytes, BoxError>>>),
}

/// A request as the backend saw it.
#[derive(Clone)]
pub struct Asked {
    pub method: Method,
    pub headers: HeaderMap,
    pub body: Bytes,
    pub origin: String,
    /// The endpoint's `host:port`.
    pub endpoint: String,
}

impl Backend {
    pub fn transcript(&self) -> Transcript {
        self.transcript.clone()
    }

    pub fn path(&self, path: &str) -> Path {
        Path { backend: self.clone(), path: path.to_owned() }
    }

    /// The service that stands for the origin of that name.
    pub fn service(&self, origin: &str) -> Service {
        Service { backend: self.clone(), origin: origin.to_owned() }
    }

    /// From now on, paths without a script answer with the request itself, and with these fields.
    pub fn mirrors(&self, fields: &[&str]) {
        let field = |line: &&str| {
            let (name, value) = line.split_once(':').expect("name: value");
            (name.trim().parse::<HeaderName>().unwrap(), HeaderValue::from_str(value.trim()).unwrap())
        };
        self.state.lock().unwrap().mirror = Some(fields.iter().map(field).collect());
    }

    /// These endpoints (`host:port`), and no others, cannot be connected to.
    pub fn down(&self, endpoints: &[&str]) {
        self.state.lock().unwrap().down = endpoints.iter().map(|one| (*one).to_owned()).collect();
    }

    async fn answer(self, origin: String, request: Request<OutBody>) -> Result<Answer, BoxError> {
        let (parts, body) = request.into_parts();
        let path = parts.uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str).to_owned();
        let body = body.collect().await?.to_bytes();
        self.transcript.note(format!("  backend {} {path} {:?}", parts.method, conditions(&parts.headers)));
        let endpoint =
            parts.extensions.get::<Endpoint>().map(|endpoint| endpoint.authority.clone()).unwrap_or_default();
        let held = {
            let mut state = self.state.lock().unwrap();
            if state.down.contains(&endpoint) {
                return Err(FetchError::new(FetchErrorKind::Connect, format!("{endpoint} is down")).into());
            }
            if let (Some(fields), false) = (&state.mirror, state.paths.contains_key(&path)) {
                return Ok(answer(&parts, StatusCode::OK, fields.clone(), shown(&parts, &body), false));
            }
            let script = state.paths.entry(path.clone()).or_default();
            let asked = Asked { method: parts.method.clone(), headers: parts.headers.clone(), body, origin, endpoint };
            script.asked.push(asked);
            (!script.holds.is_empty()).then(|| script.holds.remove(0))
        };
        if let Some(held) = held {
            match held.await {
                Ok(Outcome::Stream(response)) => return Ok(response.map(streamed)),
                Ok(Outcome::AsScripted) => {}
                Err(_) => return Err("the backend went away".into()),
            }
        }
        let reply = self.state.lock().unwrap().paths.get(&path).map(|script| script.reply.clone()).unwrap_or_default();
        let extras =
            self.state.lock().unwrap().paths.get(&path).map(|script| script.extras.clone()).unwrap_or_default();
        extras.announce(&parts);
        match reply {
            Reply::Answer { status, headers, body, chunked } => {
                Ok(extras.around(answer(&parts, status, headers, body, chunked)))
            }
            Reply::Refuse => Err(FetchError::new(FetchErrorKind::Connect, "connection refused").into()),
            Reply::Panic => panic!("the transport of {path} panics, as the test asks"),
            Reply::Hang => std::future::pending().await,
            Reply::PanicAfter { headers, body } => {
                let mut response = Response::new(StreamBody::new(Explosive(Some(body), 0)).boxed_unsync());
                *response.headers_mut() = headers;
                Ok(response)
            }
            Reply::Break { headers, body } => {
                let frames = vec![Ok(Frame::data(body)), Err(BoxError::from("reset in the middle"))];
                let body = StreamBody::new(tokio_stream(frames)).boxed_unsync();
                let mut response = Response::new(body);
                *response.headers_mut() = headers;
                Ok(response)
            }
            Reply::Pieces { headers, piece, count } => {
                let taken = extras.taken;
                let frames = (0..count).map(move |_| {
                    taken.fetch_add(1, Ordering::Relaxed);
                    Ok(Frame::data(piece.clone()))
                });
                let mut response = Response::new(StreamBody::new(tokio_stream(frames)).boxed_unsync());
                *response.headers_mut() = headers;
                Ok(response)
            }
        }
    }
}

impl Extras {
    fn announce(&self, asked: &http::request::Parts) {
        let Some(interims) = asked.extensions.get::<Interims>() else { return };
        for (status, headers) in &self.interims {
            interims.send(*status, headers);
        }
    }

    fn around(self, mut answer: Answer) -> Answer {
        *answer.version_mut() = self.version;
        match self.trailers {
            None => answer,
            Some(trailers) => {
                answer.map(|body| body.with_trailers(std::future::ready(Some(Ok(trailers)))).boxed_unsync())
            }
        }
    }
}

/// Answers as a decent backend does: 304 where the validators match, no content to HEAD.
fn answer(parts: &http::request::Parts, status: StatusCode, headers: HeaderMap, body: Bytes, chunked: bool) -> Answer {
    let same =
        |asked: &str, given: &str| parts.headers.get(asked).is_some_and(|value| headers.get(given) == Some(value));
    let unchanged = if parts.headers.contains_key("if-none-match") {
        same("if-none-match", "etag")
    } else {
        same("if-modified-since", "last-modified")
    };
    let mut response = if unchanged && status == StatusCode::OK {
        let mut response = Response::new(full(Bytes::new()));
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        response
    } else if parts.method == Method::HEAD {
        let mut response = Response::new(full(Bytes::new()));
        response.headers_mut().insert("content-length", HeaderValue::from(body.len()));
        response
    } else if chunked {
        Response::new(StreamBody::new(tokio_stream(vec![Ok(Frame::data(body))])).boxed_unsync())
    } else {
        let length = body.len();
        let mut response = Response::new(full(body));
        response.headers_mut().insert("content-length", HeaderValue::from(length));
        response
    };
    if !(unchanged && status == StatusCode::OK) {
        *response.status_mut() = status;
    }
    for (name, value) in &headers {
        response.headers_mut().append(name, value.clone());
    }
    response
}

/// Fields from lines: `name: value`.
fn fields(lines: &[&str]) -> HeaderMap {
    let field = |line: &&str| {
        let (name, value) = line.split_once(':').expect("name: value");
        let name: HeaderName = name.trim().parse().unwrap();
        (name, HeaderValue::from_bytes(value.trim().as_bytes()).unwrap())
    };
    lines.iter().map(field).collect()
}

/// A request as text: all that its answer could depend on.
fn shown(parts: &http::request::Parts, body: &Bytes) -> Bytes {
    let path = parts.uri.path_and_query().map_or("", http::uri::PathAndQuery::as_str);
    let mut lines: Vec<String> =
        parts.headers.iter().map(|(name, value)| format!("{name}: {}\n", value.as_bytes().escape_ascii())).collect();
    lines.sort_unstable();
    format!("{} {path}\n{}\n{}", parts.method, lines.concat(), body.escape_ascii()).into()
}

fn conditions(headers: &HeaderMap) -> Vec<String> {
    ["if-none-match", "if-modified-since", "range"]
        .iter()
        .filter_map(|name| {
            headers.get(*name).map(|value| format!("{name}: {}", String::from_utf8_lossy(value.as_bytes())))
        })
        .collect()
}

fn full(body: Bytes) -> UnsyncBoxBody<Bytes, BoxError> {
    Full::new(body).map_err(|never: Infallible| match never {}).boxed_unsync()
}

pub fn tokio_stream<T, I>(items: I) -> impl futures_core::Stream<Item = T> + Send
where
    I: IntoIterator<Item = T>,
    I::IntoIter: Send + 'static,
{
    Items(items.into_iter())
}

struct Items<I>(I);

impl<I> Unpin for Items<I> {}

impl<I: Iterator> futures_core::Stream for Items<I> {
    type Item = I::Item;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<I::Item>> {
        Poll::Ready(self.0.next())
    }
}

/// One piece; then time for its readers to come; then a panic.
struct Explosive(Option<Bytes>, usize);

impl futures_core::Stream for Explosive {
    type Item = Result<Frame<Bytes>, BoxError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Some(piece) = self.0.take() {
            return Poll::Ready(Some(Ok(Frame::data(piece))));
        }
        self.1 += 1;
        assert!(self.1 < 10, "the body panics, as the test asks");
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

struct Pieces(mpsc::UnboundedReceiver<Result<Bytes, BoxError>>);

impl futures_core::Stream for Pieces {
    type Item = Result<Frame<Bytes>, BoxError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_recv(cx).map(|next| next.map(|piece| piece.map(Frame::data)))
    }
}

fn streamed(pieces: mpsc::UnboundedReceiver<Result<Bytes, BoxError>>) -> UnsyncBoxBody<Bytes, BoxError> {
    StreamBody::new(Pieces(pieces)).boxed_unsync()
}

impl Asked {
    /// A field as the backend saw it; its lines joined by a comma, nothing where there was none.
    pub fn text(&self, name: &str) -> String {
        let lines: Vec<_> =
            self.headers.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes())).collect();
        lines.join(", ")
    }
}

/// The backend's side of one path.
pub struct Path {
    backend: Backend,
    path: String,
}

impl Path {
    pub fn replies(self, body: impl Into<Bytes>) -> Self {
        let body = body.into();
        self.set(Reply::Answer { status: StatusCode::OK, headers: HeaderMap::new(), body, chunked: false })
    }

    pub fn code(self, status: u16) -> Self {
        self.change(|reply| {
            if let Reply::Answer { status: old, .. } = reply {
                *old = StatusCode::from_u16(status).unwrap();
            }
        })
    }

    /// Adds a field to the reply: `name: value`.
    pub fn with(self, line: &str) -> Self {
        let (name, value) = line.split_once(':').expect("name: value");
        let name: HeaderName = name.trim().parse().unwrap();
        let value = HeaderValue::from_bytes(value.trim().as_bytes()).unwrap();
        self.change(|reply| {
            if let Reply::Answer { headers, .. }
            | Reply::Break { headers, .. }
            | Reply::Pieces { headers, .. }
            | Reply::PanicAfter { headers, .. } = reply
            {
                headers.append(name.clone(), value.clone());
            }
        })
    }

    /// Sends the body without its length.
    pub fn chunked(self) -> Self {
        self.change(|reply| {
            if let Reply::Answer { chunked, .. } = reply {
                *chunked = true;
            }
        })
    }

    pub fn refuses(self) -> Self {
        self.set(Reply::Refuse)
    }

    pub fn hangs(self) -> Self {
        self.set(Reply::Hang)
    }

    /// A defect in this process: whoever fetches panics.
    pub fn panics(self) -> Self {
        self.set(Reply::Panic)
    }

    /// The same after the head and `body`.
    pub fn panics_after(self, body: &'static str) -> Self {
        self.set(Reply::PanicAfter { headers: HeaderMap::new(), body: Bytes::from_static(body.as_bytes()) })
    }

    /// Sends `body` and then breaks off, whatever length its fields promise.
    pub fn breaks_after(self, body: &'static str) -> Self {
        self.set(Reply::Break { headers: HeaderMap::new(), body: Bytes::from_static(body.as_bytes()) })
    }

    /// The next request waits until it is released.
    pub fn holds(&self) -> Held {
        let (release, held) = oneshot::channel();
        self.script(|script| script.holds.push(held));
        Held { release, path: Path { backend: self.backend.clone(), path: self.path.clone() } }
    }

    #[track_caller]
    pub fn was_asked(&self, times: usize) -> &Self {
        let asked = self.script(|script| script.asked.len());
        assert_eq!(asked, times, "requests for {} at the backend{}", self.path, self.backend.transcript.text());
        self
    }

    /// The methods of the requests so far, in order.
    pub fn methods(&self) -> Vec<String> {
        self.script(|script| script.asked.iter().map(|asked| asked.method.to_string()).collect())
    }

    /// The latest request.
    #[track_caller]
    pub fn asked_last(&self) -> Asked {
        self.script(|script| script.asked.last().cloned())
            .unwrap_or_else(|| panic!("{} was never asked for", self.path))
    }

    /// Answers as HTTP/1.0 does: without a length nobody can tell where the body ends.
    pub fn in_http10(self) -> Self {
        self.script(|script| script.extras.version = Version::HTTP_10);
        self
    }

    /// Sends an interim answer before each final one.
    pub fn after_interim(self, status: u16, line: &str) -> Self {
        let headers = fields(&[line]);
        self.script(|script| script.extras.interims.push((StatusCode::from_u16(status).unwrap(), headers)));
        self
    }

    /// Sends a trailer after each body.
    pub fn with_trailer(self, line: &str) -> Self {
        let trailers = fields(&[line]);
        self.script(|script| script.extras.trailers = Some(trailers));
        self
    }

    /// Sends so many pieces of so many bytes, of no announced length, each made when it is asked for.
    pub fn pieces(self, count: usize, size: usize) -> Self {
        let piece = Bytes::from(vec![b'x'; size]);
        self.set(Reply::Pieces { headers: HeaderMap::new(), piece, count })
    }

    /// How many of these pieces were taken so far.
    pub fn taken(&self) -> usize {
        self.script(|script| script.extras.taken.load(Ordering::Relaxed))
    }

    /// All requests so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.script(|script| script.asked.clone())
    }

    fn set(self, reply: Reply) -> Self {
        self.change(|old| *old = reply.clone())
    }

    fn change(self, change: impl Fn(&mut Reply)) -> Self {
        self.script(|script| change(&mut script.reply));
        self
    }

    fn script<T>(&self, change: impl FnOnce(&mut Script) -> T) -> T {
        let mut state = self.backend.state.lock().unwrap();
        change(state.paths.entry(self.path.clone()).or_default())
    }
}

/// A request that the backend has and does not answer. Dropped, it is never answered.
pub struct Held {
    release: oneshot::Sender<Outcome>,
    path: Path,
}

impl Held {
    /// Answers as the script says now.
    pub fn released(self) {
        let _ = self.release.send(Outcome::AsScripted);
    }

    /// Changes the reply and answers with it.
    pub fn replies(self, body: &'static str, fields: &[&str]) {
        let mut path = Path { backend: self.path.backend.clone(), path: self.path.path.clone() }.replies(body);
        for field in fields {
            path = path.with(field);
        }
        let _ = self.release.send(Outcome::AsScripted);
    }

    /// Sends a head, and the body piece by piece as the test says.
    pub fn streams(self, fields: &[&str]) -> mpsc::UnboundedSender<Result<Bytes, BoxError>> {
        let (pieces, body) = mpsc::unbounded_channel();
        let mut response = Response::new(body);
        *response.headers_mut() = self::fields(fields);
        let _ = self.release.send(Outcome::Stream(response));
        pieces
    }
}

/// One origin's transport.
#[derive(Clone)]
pub struct Service {
    backend: Backend,
    origin: String,
}

impl tower::Service<Request<OutBody>> for Service {
    type Response = Answer;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Answer, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<OutBody>) -> Self::Future {
        Box::pin(self.backend.clone().answer(self.origin.clone(), request))
    }
}
