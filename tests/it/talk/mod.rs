//! Scripted conversations with a whole gateway: in one process, on paused time, without a socket.
//!
//! ```ignore
//! let mut t = Talk::new();
//! t.origin("/p").replies("v1").with("cache-control: max-age=10");
//! t.get("/p").await.is("v1").cache("fwd=uri-miss; fwd-status=200; stored");
//! t.advance(secs(4)).await;
//! t.get("/p").await.is("v1").cache("hit; ttl=6; detail=memory");
//! t.origin("/p").was_asked(1);
//! ```
//!
//! Hold and release instead of sleeping; exact counts; on failure the whole transcript is printed.

mod backend;
mod network;
mod said;

use std::future::{Future, IntoFuture};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use forebay::app::App;
use forebay::changes::{Change, Purge, Selector, Source};
use forebay::clock::Clock;
use forebay::config::{self, Overrides};
use forebay::fleet::Fleet;
use forebay::serve::admit::Client;
use forebay::serve::{FleetSettings, Gateway};
use forebay::upstream::{InterimSink, Origin, Transport};
use http::{HeaderName, HeaderValue, Method, Request};
use http_body_util::{BodyExt, Full};

pub use self::backend::{Backend, Held, Path, tokio_stream};
pub use self::said::Said;

/// Where the clock starts: a Sunday.
pub const START: Duration = Duration::from_secs(1_900_000_000);

/// What was said so far, for the reader of a failure.
#[derive(Clone, Default)]
pub struct Transcript(Arc<Mutex<Vec<String>>>);

impl Transcript {
    pub fn note(&self, line: impl Into<String>) {
        self.0.lock().unwrap().push(line.into());
    }

    pub fn text(&self) -> String {
        let lines = self.0.lock().unwrap();
        let runs = lines.chunk_by(|one, other| one == other);
        runs.map(|run| if let [line] = run { format!("\n  {line}") } else { format!("\n  {} ×{}", run[0], run.len()) })
            .collect()
    }
}

/// A gateway, its backend, its clock, and what they said.
pub struct Talk {
    pub gateway: Gateway,
    pub backend: Backend,
    pub clock: Clock,
    pub transcript: Transcript,
    fleet: Fleet,
    host: String,
}

impl Talk {
    /// A gateway with its default configuration.
    pub fn new() -> Self {
        Self::with("")
    }

    /// A gateway with this configuration; the backend takes the place of whatever origins it names.
    pub fn with(config: &str) -> Self {
        Self::in_fleet(config, Fleet::in_process(), Backend::default())
    }

    /// A gateway that shares its log of changes and its backend with others.
    pub fn in_fleet(config: &str, fleet: Fleet, backend: Backend) -> Self {
        let service = backend.clone();
        Self::over(config, fleet, backend, Clock::starting_at(START), |origin| {
            Transport::service(service.service(origin))
        })
    }

    /// A gateway that has another one for its backend. It needs a name of its own, or the two see a loop.
    pub fn in_front_of(&self, config: &str) -> Self {
        let (fleet, backend, clock) = (Fleet::in_process(), self.backend.clone(), self.clock.clone());
        Self::over(config, fleet, backend, clock, |_| Transport::service(self.gateway.clone()))
    }

    /// A gateway in front of something else than the scripted backend, which then only lends its transcript.
    pub fn over(
        config: &str,
        fleet: Fleet,
        backend: Backend,
        clock: Clock,
        transport: impl Fn(&str) -> Transport,
    ) -> Self {
        Self::assembled(config, fleet, FleetSettings::default(), backend, clock, transport)
    }

    fn assembled(
        config: &str,
        fleet: Fleet,
        settings: FleetSettings,
        backend: Backend,
        clock: Clock,
        transport: impl Fn(&str) -> Transport,
    ) -> Self {
        let mut text = config.to_owned();
        for (table, default) in [("[origin", ORIGIN), ("[log", LOG)] {
            if !config.contains(table) {
                text = format!("{text}\n{default}");
            }
        }
        let mut config =
            config::parse(&text, "test.toml", &Overrides::default()).unwrap_or_else(|problems| panic!("{problems}"));
        config.gateway.fleet = settings;
        let transcript = backend.transcript();
        let origins = config
            .origins
            .iter()
            .map(|entry| Origin::new(entry.settings(), transport(&entry.name), clock.clone()))
            .collect();
        let app =
            App::assemble(config, clock.clone(), origins, fleet.clone()).unwrap_or_else(|error| panic!("{error}"));
        Self { gateway: app.gateway().clone(), backend, clock, transcript, fleet, host: String::from("example.com") }
    }

    /// The backend's side of a path (with its query).
    pub fn origin(&self, path: &str) -> Path {
        self.backend.path(path)
    }

    pub fn get(&self, path: &str) -> Asking {
        self.ask("GET", path)
    }

    pub fn head(&self, path: &str) -> Asking {
        self.ask("HEAD", path)
    }

    pub fn ask(&self, method: &str, path: &str) -> Asking {
        let request = Request::builder()
            .method(Method::from_bytes(method.as_bytes()).unwrap())
            .uri(path)
            .header("host", &self.host)
            .body(Bytes::new())
            .unwrap();
        Asking {
            gateway: self.gateway.clone(),
            transcript: self.transcript.clone(),
            request,
            from: [192, 0, 2, 1],
            interim: None,
        }
    }

    pub async fn advance(&self, by: Duration) {
        self.transcript.note(format!("… {by:?} pass"));
        self.settle().await;
        tokio::time::advance(by).await;
        self.settle().await;
    }

    /// Lets everything that can go on go on, without letting time pass.
    pub async fn settle(&self) {
        for _ in 0..200 {
            tokio::task::yield_now().await;
        }
    }

    /// Purges, and returns when it is acknowledged.
    pub async fn purge(&self, selector: Selector, purge: Purge) {
        self.transcript.note(format!("purge {purge:?} {selector:?}"));
        let change = Change::new(selector, purge, Source::Api);
        let published = self.gateway.bus().publish(&[change], self.clock.now()).await.unwrap();
        assert!(matches!(published, forebay::changes::Published::Logged(_)), "{published:?}");
    }

    /// Applies what other gateways of the fleet announce, from now on.
    pub fn follows(self) -> Self {
        let bus = Arc::clone(self.gateway.bus());
        let clock = self.clock.clone();
        tokio::spawn(async move { bus.follow(&clock, std::future::pending()).await });
        self
    }

    pub async fn purge_url(&self, path: &str) {
        self.purge(Selector::Url { host: None, path_and_query: path.to_owned() }, Purge::Hard).await;
    }

    pub async fn purge_tag(&self, tag: &str) {
        self.purge(Selector::Tag(tag.to_owned()), Purge::Hard).await;
    }
}

const ORIGIN: &str = "[origin]\nurl = \"http://backend.test\"\n";
const LOG: &str = "[log]\naccess = \"off\"\n";

/// A request about to be made.
pub struct Asking {
    gateway: Gateway,
    transcript: Transcript,
    request: Request<Bytes>,
    from: [u8; 4],
    interim: Option<InterimSink>,
}

impl Asking {
    /// Adds a field: `name: value`.
    pub fn with(mut self, line: &str) -> Self {
        let (name, value) = line.split_once(':').expect("name: value");
        let name: HeaderName = name.trim().parse().unwrap();
        if name == "host" {
            self.request.headers_mut().remove("host");
        }
        self.request.headers_mut().append(name, HeaderValue::from_bytes(value.trim().as_bytes()).unwrap());
        self
    }

    /// Removes a field.
    pub fn without(mut self, name: &str) -> Self {
        self.request.headers_mut().remove(name);
        self
    }

    pub fn body(mut self, body: &'static str) -> Self {
        *self.request.body_mut() = Bytes::from_static(body.as_bytes());
        self
    }

    /// The client's address.
    pub fn from(mut self, address: [u8; 4]) -> Self {
        self.from = address;
        self
    }

    /// Notes the interim answers it is sent: status and `link`.
    pub fn hearing(mut self, heard: &Transcript) -> Self {
        let heard = heard.clone();
        self.interim = Some(Arc::new(move |status, headers| {
            let link = headers.get("link").map(|value| String::from_utf8_lossy(value.as_bytes()));
            heard.note(format!("{} {}", status.as_u16(), link.unwrap_or_default()));
        }));
        self
    }

    /// Begins it in a task of its own, for conversations with several askers at once.
    pub fn start(self) -> tokio::task::JoinHandle<Said> {
        tokio::spawn(self.into_future())
    }

    /// Makes the request and returns the answer's head with its body unread.
    pub async fn begin(self) -> http::Response<forebay::serve::body::Body> {
        let client = Client { address: SocketAddr::from((self.from, 40_000)), secure: false };
        let interim = self.interim;
        self.gateway.handle(client, &move || interim.clone(), self.request.map(Full::new)).await
    }
}

impl IntoFuture for Asking {
    type Output = Said;
    type IntoFuture = Pin<Box<dyn Future<Output = Said> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let asked = format!("{} {}", self.request.method(), self.request.uri());
            let transcript = self.transcript.clone();
            let (parts, body) = self.begin().await.into_parts();
            let collected = body.collect().await;
            let (body, broken) = match collected {
                Ok(collected) => (collected.to_bytes(), None),
                Err(error) => (Bytes::new(), Some(error.to_string())),
            };
            let said = Said { asked, parts, body, broken, transcript: transcript.clone() };
            transcript.note(said.line());
            said
        })
    }
}

pub const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

pub const fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}
