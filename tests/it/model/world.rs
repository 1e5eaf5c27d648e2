//! What is played: two gateways, a backend whose answers change, and a record of all that happened.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use forebay::changes::{Purge, Selector};
use forebay::clock::Clock;
use forebay::fleet::Fleet;
use forebay::upstream::{BoxError, FetchError, FetchErrorKind, OutBody, Transport};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::Full;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::oracle;
use crate::talk::{Backend, START, Said, Talk, millis};

/// What can be asked for, and how long it may be kept.
pub const PATHS: [Path; 3] = [
    Path { name: "/plain", lifetime: 10, revalidate: 0, on_error: None, must_revalidate: false },
    Path { name: "/area/kind", lifetime: 5, revalidate: 10, on_error: Some(30), must_revalidate: false },
    Path { name: "/area/strict", lifetime: 5, revalidate: 0, on_error: Some(0), must_revalidate: true },
];

const LANGUAGES: [&str; 2] = ["de", "fr"];

/// One path, its windows in seconds. `on_error: None` is silence: then a stale answer is permitted while the backend
/// cannot be reached (RFC 9111 §4.2.4).
pub struct Path {
    pub name: &'static str,
    pub lifetime: u64,
    pub revalidate: u64,
    pub on_error: Option<u64>,
    pub must_revalidate: bool,
}

impl Path {
    fn in_area(&self) -> bool {
        self.name.starts_with("/area/")
    }

    fn fields(&self) -> String {
        let mut field = format!("max-age={}", self.lifetime);
        if self.revalidate > 0 {
            field += &format!(", stale-while-revalidate={}", self.revalidate);
        }
        if let Some(window) = self.on_error.filter(|window| *window > 0) {
            field += &format!(", stale-if-error={window}");
        }
        if self.must_revalidate {
            field += ", must-revalidate";
        }
        field
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    Get,
    Head,
    Range,
}

/// What the backend does with the next request for a path.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Mode {
    Good,
    /// It has the request, has looked at its data, and waits to be released.
    Held,
    Error,
    Refuse,
    Hang,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum What {
    Url(usize),
    Tag,
    Prefix,
    All,
}

impl What {
    pub fn names(self, path: usize) -> bool {
        match self {
            What::Url(url) => url == path,
            What::Tag | What::Prefix => PATHS[path].in_area(),
            What::All => true,
        }
    }

    fn selector(self) -> Selector {
        match self {
            What::Url(path) => Selector::Url { host: None, path_and_query: PATHS[path].name.to_owned() },
            What::Tag => Selector::Tag("area".to_owned()),
            What::Prefix => Selector::Prefix { host: None, prefix: "/area".to_owned() },
            What::All => Selector::All,
        }
    }
}

#[derive(Clone, Debug)]
pub enum Op {
    Ask { node: usize, path: usize, language: usize, kind: Kind },
    Advance(u64),
    Change(usize),
    Become(usize, Mode),
    Release(usize),
    Purge { node: usize, what: What, soft: bool },
    Write { node: usize, path: usize },
    Leave(usize),
}

/// A point in the course of events: its number, and the time.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct Point {
    pub number: u64,
    pub time: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Outcome {
    Pending,
    Whole,
    Confirmed,
    Error,
    /// There was no answer: refused, or given up waiting.
    Nothing,
}

/// A request as the backend saw it.
#[derive(Clone, Debug)]
pub struct Fetch {
    pub node: usize,
    pub path: usize,
    pub language: usize,
    pub method: Method,
    pub version: u64,
    pub sent: Point,
    pub ended: Option<Point>,
    pub outcome: Outcome,
}

/// An answer as the client saw it.
#[derive(Clone, Debug)]
pub struct Answer {
    pub node: usize,
    pub path: usize,
    pub language: usize,
    pub kind: Kind,
    pub began: Point,
    pub ended: Point,
    pub status: u16,
    /// What it says of itself in its fields, if it comes from the backend.
    pub version: Option<u64>,
    pub fields: HeaderMap,
    pub body: Bytes,
    pub whole: bool,
}

/// An acknowledged purge; a write that went through counts as one.
#[derive(Clone, Copy, Debug)]
pub struct Purged {
    pub what: What,
    pub soft: bool,
    /// Before it was asked for, and when it was acknowledged.
    pub began: Point,
    pub done: Point,
}

/// All that happened.
pub struct Record {
    pub fetches: Vec<Fetch>,
    pub answers: Vec<Answer>,
    pub purges: Vec<Purged>,
}

struct State {
    number: u64,
    versions: [u64; PATHS.len()],
    modes: [Mode; PATHS.len()],
    held: Vec<oneshot::Sender<()>>,
    record: Record,
}

/// The backend and the record.
#[derive(Clone)]
pub struct World {
    state: Arc<Mutex<State>>,
    clock: Clock,
}

impl World {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    fn point(&self) -> Point {
        let mut state = self.lock();
        state.number += 1;
        Point { number: state.number, time: self.clock.now().mono }
    }

    async fn answer(self, request: Request<OutBody>) -> Result<Response<Full<Bytes>>, BoxError> {
        let place = self.arrives(&request);
        let mode = self.lock().modes[place.path];
        if request.method() == Method::PUT {
            place.ends(Outcome::Whole);
            return Ok(Response::new(Full::default()));
        }
        match mode {
            Mode::Good => {}
            Mode::Held => {
                let (release, held) = oneshot::channel();
                self.lock().held.push(release);
                let _ = held.await;
            }
            Mode::Error => {
                place.ends(Outcome::Error);
                let mut response = Response::new(Full::default());
                *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
                return Ok(response);
            }
            Mode::Refuse => return Err(FetchError::new(FetchErrorKind::Connect, "refused").into()),
            Mode::Hang => std::future::pending().await,
        }
        let tag = format!("\"{}\"", place.version);
        let confirmed = request.headers().get("if-none-match").is_some_and(|asked| asked.as_bytes() == tag.as_bytes());
        let text = body(place.path, place.language, place.version);
        let text = if confirmed || request.method() == Method::HEAD { Bytes::new() } else { text };
        let mut response = Response::builder()
            .header("cache-control", PATHS[place.path].fields())
            .header("vary", "accept-language")
            .header("etag", tag)
            .header("x-version", place.version);
        if PATHS[place.path].in_area() {
            response = response.header("cache-tag", "area");
        }
        if confirmed {
            response = response.status(StatusCode::NOT_MODIFIED);
        }
        place.ends(if confirmed { Outcome::Confirmed } else { Outcome::Whole });
        Ok(response.body(Full::new(text)).unwrap())
    }

    fn arrives(&self, request: &Request<OutBody>) -> Place {
        let sent = self.point();
        let path = PATHS.iter().position(|path| path.name == request.uri().path()).expect("a known path");
        let language = request.headers().get("accept-language").map_or(0, |asked| usize::from(asked == LANGUAGES[1]));
        let node = usize::from(request.headers()["x-node"] == "1");
        let mut state = self.lock();
        let version = state.versions[path];
        let method = request.method().clone();
        let fetch = Fetch { node, path, language, method, version, sent, ended: None, outcome: Outcome::Pending };
        state.record.fetches.push(fetch);
        Place { world: self.clone(), index: state.record.fetches.len() - 1, path, language, version }
    }
}

/// What the backend says of a path at a version.
pub fn body(path: usize, language: usize, version: u64) -> Bytes {
    format!("{} in {}, version {version}", PATHS[path].name, LANGUAGES[language]).into()
}

/// A request that the backend has. Dropped without an end, it was given up.
struct Place {
    world: World,
    index: usize,
    path: usize,
    language: usize,
    version: u64,
}

impl Place {
    fn ends(&self, outcome: Outcome) {
        let at = self.world.point();
        let fetch = &mut self.world.lock().record.fetches[self.index];
        if fetch.outcome == Outcome::Pending {
            (fetch.outcome, fetch.ended) = (outcome, Some(at));
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.ends(Outcome::Nothing);
    }
}

/// Two gateways in front of one backend.
pub struct House {
    world: World,
    gateways: [Talk; 2],
    asking: Vec<JoinHandle<()>>,
}

impl House {
    pub fn new() -> Self {
        let clock = Clock::starting_at(START);
        let record = Record { fetches: Vec::new(), answers: Vec::new(), purges: Vec::new() };
        let modes = [Mode::Good; PATHS.len()];
        let state = State { number: 0, versions: [1; PATHS.len()], modes, held: Vec::new(), record };
        let world = World { state: Arc::new(Mutex::new(state)), clock: clock.clone() };
        let (fleet, backend) = (Fleet::in_process(), Backend::default());
        let gateways = [0, 1].map(|node| {
            let world = world.clone();
            let transport = move |_: &str| {
                let world = world.clone();
                Transport::service(tower::service_fn(move |request| world.clone().answer(request)))
            };
            Talk::over(&config(node), fleet.clone(), backend.clone(), clock.clone(), transport).follows()
        });
        Self { world, gateways, asking: Vec::new() }
    }

    /// Does it, and lets everything that can go on go on.
    pub async fn act(&mut self, op: &Op) {
        self.gateways[0].transcript.note(format!("{op:?}"));
        match *op {
            Op::Ask { node, path, language, kind } => self.ask(node, path, language, kind),
            Op::Advance(by) => self.pass(by).await,
            Op::Change(path) => self.world.lock().versions[path] += 1,
            Op::Become(path, mode) => self.world.lock().modes[path] = mode,
            Op::Release(index) => {
                let held = &mut self.world.lock().held;
                if !held.is_empty() {
                    let index = index % held.len();
                    let _ = held.remove(index).send(());
                }
            }
            Op::Purge { node, what, soft } => {
                let began = self.world.point();
                let purge = if soft { Purge::Soft } else { Purge::Hard };
                self.gateways[node].purge(what.selector(), purge).await;
                let done = self.world.point();
                self.world.lock().record.purges.push(Purged { what, soft, began, done });
            }
            Op::Write { node, path } => {
                let began = self.world.point();
                let said = self.gateways[node].ask("PUT", PATHS[path].name).await;
                let done = self.world.point();
                assert_eq!(said.parts.status, StatusCode::OK);
                self.world.lock().record.purges.push(Purged { what: What::Url(path), soft: false, began, done });
            }
            Op::Leave(index) => {
                self.asking.retain(|asker| !asker.is_finished());
                if !self.asking.is_empty() {
                    self.asking.remove(index % self.asking.len()).abort();
                }
            }
        }
        self.gateways[0].settle().await;
    }

    /// Heals the backend and waits for all who still ask.
    ///
    /// # Errors
    /// Somebody waits for ever, or a fetch does.
    pub async fn end(&mut self) -> Result<(), String> {
        self.world.lock().modes = [Mode::Good; PATHS.len()];
        self.world.lock().held.clear();
        self.pass(15_000).await;
        let waiting = self.asking.iter().filter(|asker| !asker.is_finished()).count();
        let fetching: usize = self.gateways.iter().map(|talk| talk.gateway.flights_under_way()).sum();
        if waiting + fetching > 0 {
            let story = self.gateways[0].transcript.text();
            return Err(format!("in the end {waiting} still ask and {fetching} fetches are under way{story}"));
        }
        for asker in self.asking.drain(..) {
            asker.await.map_err(|error| format!("an asker failed: {error}"))?;
        }
        Ok(())
    }

    /// What the oracle thinks of all that.
    ///
    /// # Errors
    /// What should not have happened, and the story that led to it.
    pub fn judge(&self) -> Result<(), String> {
        let story = || self.gateways[0].transcript.text();
        oracle::judge(&self.world.lock().record).map_err(|why| format!("{why}{}", story()))
    }

    fn ask(&mut self, node: usize, path: usize, language: usize, kind: Kind) {
        let asking = self.gateways[node].ask(if kind == Kind::Head { "HEAD" } else { "GET" }, PATHS[path].name);
        let mut asking = asking.with(&format!("accept-language: {}", LANGUAGES[language]));
        if kind == Kind::Range {
            asking = asking.with("range: bytes=0-");
        }
        let world = self.world.clone();
        self.asking.push(tokio::spawn(async move {
            let began = world.point();
            let Said { parts, body, broken, .. } = asking.await;
            let ended = world.point();
            let version = parts.headers.get("x-version").map(|text| text.to_str().unwrap().parse().unwrap());
            let (status, fields, whole) = (parts.status.as_u16(), parts.headers, broken.is_none());
            let answer = Answer { node, path, language, kind, began, ended, status, version, fields, body, whole };
            world.lock().record.answers.push(answer);
        }));
    }

    /// In small steps, so that what is due happens when it is due.
    async fn pass(&self, mut milliseconds: u64) {
        while milliseconds > 0 {
            let step = milliseconds.min(500);
            milliseconds -= step;
            tokio::time::advance(millis(step)).await;
            self.gateways[0].settle().await;
        }
    }
}

/// Waiters have all the time there is, and the breaker leaves nobody alone: both would blur what is counted.
fn config(node: usize) -> String {
    format!(
        "[gateway]\nwaiter_timeout = \"10m\"\n[defaults]\nrequest_headers = {{ set = {{ x-node = \"{node}\" }} }}\n\
         [memory]\ncapacity = \"1MiB\"\nmax_object = \"64KiB\"\n\
         [origin]\nurl = \"http://backend.test\"\nbreaker = {{ consecutive = 10000, failure_percent = 101 }}\n"
    )
}
