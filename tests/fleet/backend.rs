//! A backend whose truth is known: each path has a version, which a PUT raises, and the answer says which one it is.
//!
//! An answer is made when its request arrives, and then delayed or held: what a held answer says may be out of date when
//! it is sent, which is how a cache comes to store something old. Settings go by the beginning of the path, and the
//! longest one that fits decides.

use std::collections::{BTreeMap, HashMap};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use forebay::clock::{Clock, Moment};
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::gateway::SOON;

/// The backend. Clones are the same one.
#[derive(Clone)]
pub struct Backend {
    pub address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    clock: Clock,
    state: Mutex<State>,
    /// Told of each request.
    asked: watch::Sender<()>,
}

#[derive(Default)]
struct State {
    pages: HashMap<String, Page>,
    settings: BTreeMap<String, Setting>,
}

/// A path.
#[derive(Clone)]
struct Page {
    /// Each version and when it became current. Never empty.
    versions: Vec<(u64, Moment)>,
    counts: Counts,
}

/// How often a path was asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// GET and HEAD, whatever came of them.
    pub reads: usize,
    /// Of these, those that were answered with 304.
    pub not_modified: usize,
    pub writes: usize,
}

/// What holds for paths that begin alike.
#[derive(Clone)]
pub struct Setting {
    cache_control: String,
    /// What comes as `Cache-Tag`, if anything.
    tags: String,
    delay: Duration,
    gate: Option<Gate>,
    fails: bool,
}

/// Holds answers until it is opened. Clones are the same.
#[derive(Clone)]
pub struct Gate(watch::Sender<bool>);

impl Gate {
    pub fn new() -> Self {
        Self(watch::Sender::new(false))
    }

    /// Lets go what is held, and holds nothing any more.
    pub fn open(&self) {
        self.0.send_replace(true);
    }
}

impl Default for Setting {
    /// Fresh for a minute.
    fn default() -> Self {
        let cache_control = "max-age=60".to_owned();
        Self { cache_control, tags: String::new(), delay: Duration::ZERO, gate: None, fails: false }
    }
}

impl Setting {
    pub fn cache_control(mut self, value: &str) -> Self {
        value.clone_into(&mut self.cache_control);
        self
    }

    /// The value of `Cache-Tag`: tags with commas between.
    pub fn tags(mut self, value: &str) -> Self {
        value.clone_into(&mut self.tags);
        self
    }

    /// Sends answers so much later than they are made.
    pub fn delayed(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    /// Sends answers when the gate is open.
    pub fn held(mut self, gate: &Gate) -> Self {
        self.gate = Some(gate.clone());
        self
    }

    /// Answers with 500, and a PUT changes nothing.
    pub fn failing(mut self) -> Self {
        self.fails = true;
        self
    }
}

impl Backend {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Shared { clock: Clock::system(), state: Mutex::default(), asked: watch::Sender::new(()) };
        let this = Self { address, shared: Arc::new(shared) };
        let backend = this.clone();
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let _ = socket.set_nodelay(true);
                tokio::spawn(backend.clone().serve(socket));
            }
        });
        this
    }

    /// Sets what holds for paths that begin so, in place of what held for them before.
    pub fn set(&self, prefix: &str, setting: Setting) {
        self.shared.state.lock().unwrap().settings.insert(prefix.to_owned(), setting);
    }

    /// Raises the version of a path without a request; the new one.
    pub fn raise(&self, path: &str) -> u64 {
        self.page(path, |page| page.raise(self.shared.clock.now()))
    }

    /// The version of a path that is current. The first is 1.
    pub fn version(&self, path: &str) -> u64 {
        self.page(path, |page| page.version())
    }

    /// All versions of a path, and when each became current, by [`Backend::now`].
    pub fn history(&self, path: &str) -> Vec<(u64, Moment)> {
        self.page(path, |page| page.versions.clone())
    }

    /// Which version of a path was current at this moment.
    pub fn version_at(&self, path: &str, moment: Moment) -> u64 {
        let versions = self.history(path);
        let before = versions.iter().rev().find(|(_, since)| since.mono <= moment.mono);
        before.unwrap_or(&versions[0]).0
    }

    /// The time, on the clock of the histories.
    pub fn now(&self) -> Moment {
        self.shared.clock.now()
    }

    /// How often a path was asked for.
    pub fn counts(&self, path: &str) -> Counts {
        self.page(path, |page| page.counts)
    }

    /// How often a path was read.
    pub fn reads(&self, path: &str) -> usize {
        self.counts(path).reads
    }

    /// Waits until a path was read so often, at least.
    pub async fn until_read(&self, path: &str, times: usize) {
        let mut asked = self.shared.asked.subscribe();
        let waiting = asked.wait_for(|()| self.reads(path) >= times);
        let came = timeout(SOON, waiting).await.is_ok();
        assert!(came, "{path} was read {} times and not {times}", self.reads(path));
    }

    fn page<T>(&self, path: &str, look: impl FnOnce(&mut Page) -> T) -> T {
        let now = self.shared.clock.now();
        let mut state = self.shared.state.lock().unwrap();
        let new = || Page { versions: vec![(1, now)], counts: Counts::default() };
        look(state.pages.entry(path.to_owned()).or_insert_with(new))
    }

    fn setting(&self, path: &str) -> Setting {
        let state = self.shared.state.lock().unwrap();
        // Of the prefixes of one path, the longest is the last in order.
        let fits = state.settings.iter().rev().find(|(prefix, _)| path.starts_with(&***prefix));
        fits.map(|(_, setting)| setting.clone()).unwrap_or_default()
    }

    async fn serve(self, socket: TcpStream) {
        let answers = service_fn(|request| self.answer(request));
        let _ = http1::Builder::new().timer(TokioTimer::new()).serve_connection(TokioIo::new(socket), answers).await;
    }

    async fn answer(&self, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
        let (parts, body) = request.into_parts();
        if body.collect().await.is_err() {
            return Ok(status(StatusCode::BAD_REQUEST));
        }
        let path = parts.uri.path_and_query().map_or("/", |target| target.as_str()).to_owned();
        let setting = self.setting(&path);
        let answer = match parts.method {
            Method::GET | Method::HEAD => {
                let held = parts.headers.get(header::IF_NONE_MATCH).and_then(|value| value.to_str().ok());
                self.page(&path, |page| page.read(&path, held, &setting))
            }
            Method::PUT => self.page(&path, |page| page.write(&setting, self.shared.clock.now())),
            _ => status(StatusCode::METHOD_NOT_ALLOWED),
        };
        self.shared.asked.send_replace(());
        sleep(setting.delay).await;
        if let Some(gate) = &setting.gate {
            let _ = gate.0.subscribe().wait_for(|open| *open).await;
        }
        Ok(answer)
    }
}

impl Page {
    fn version(&self) -> u64 {
        self.versions.last().map_or(1, |last| last.0)
    }

    fn raise(&mut self, now: Moment) -> u64 {
        let next = self.version() + 1;
        self.versions.push((next, now));
        next
    }

    fn read(&mut self, path: &str, held: Option<&str>, setting: &Setting) -> Response<Full<Bytes>> {
        self.counts.reads += 1;
        if setting.fails {
            return status(StatusCode::INTERNAL_SERVER_ERROR);
        }
        let tag = etag(self.version());
        let matches = held.is_some_and(|held| held.split(',').any(|one| one.trim().trim_start_matches("W/") == tag));
        let mut answer = Response::builder().header(header::ETAG, tag);
        answer = answer.header(header::CACHE_CONTROL, &setting.cache_control);
        if !setting.tags.is_empty() {
            answer = answer.header("cache-tag", &setting.tags);
        }
        if matches {
            self.counts.not_modified += 1;
            return answer.status(StatusCode::NOT_MODIFIED).body(Full::default()).unwrap();
        }
        let text = format!("{path} version {}", self.version());
        answer.header(header::CONTENT_TYPE, "text/plain").body(Full::from(text)).unwrap()
    }

    fn write(&mut self, setting: &Setting, now: Moment) -> Response<Full<Bytes>> {
        self.counts.writes += 1;
        if setting.fails {
            return status(StatusCode::INTERNAL_SERVER_ERROR);
        }
        let tag = etag(self.raise(now));
        Response::builder().status(StatusCode::NO_CONTENT).header(header::ETAG, tag).body(Full::default()).unwrap()
    }
}

/// Which version of `path` a body is. Fails if it is no body of that path.
#[track_caller]
pub fn version_in(body: &str, path: &str) -> u64 {
    let number = body.strip_prefix(path).and_then(|rest| rest.strip_prefix(" version "));
    number.and_then(|number| number.parse().ok()).unwrap_or_else(|| panic!("not {path}: {body:?}"))
}

fn etag(version: u64) -> String {
    format!("\"{version}\"")
}

fn status(status: StatusCode) -> Response<Full<Bytes>> {
    Response::builder().status(status).body(Full::default()).unwrap()
}
