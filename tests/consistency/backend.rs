//! The backend: things with versions. Every body and every tag says which version it is, and the moment at which a version
//! becomes current is known exactly: it is noted under the same lock under which versions are read.
//!
//! An answer is made when the request arrives and sent later, so that it is often old by the time it reaches the gateway:
//! that is the race which a purge has to win.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use forebay::clock::Clock;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::sleep;

use super::dice::Dice;
use super::history::{At, Key, Past, Version};
use super::http::{Connection, Message};

/// How many keys there are.
pub const KEYS: Key = 200;
/// How many groups share the keys among them.
pub const GROUPS: Key = 20;

/// The backend. Clones are the same one.
#[derive(Clone)]
pub struct Backend {
    pub address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    clock: Clock,
    pasts: Mutex<Vec<Past>>,
    trouble: watch::Sender<Trouble>,
    seed: u64,
}

/// What is wrong with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    Nothing,
    /// Each answer takes so much longer.
    Slow(Duration),
    /// It says 503, and changes nothing.
    Fails,
    /// It says nothing until the trouble is over.
    Hangs,
}

impl Backend {
    pub async fn start(clock: Clock, seed: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let pasts = (0..KEYS).map(|key| Past { current_from: vec![clock.now().mono], ..traits(key) }).collect();
        let trouble = watch::Sender::new(Trouble::Nothing);
        let shared = Arc::new(Shared { clock, pasts: Mutex::new(pasts), trouble, seed });
        let this = Self { address: listener.local_addr().unwrap(), shared: shared.clone() };
        tokio::spawn(async move {
            let mut number = 0;
            while let Ok((stream, _)) = listener.accept().await {
                number += 1;
                tokio::spawn(serve(Connection::on(stream), shared.clone(), number));
            }
        });
        this
    }

    /// Makes a new version current, and says which.
    pub fn update(&self, key: Key) -> Version {
        self.shared.update(key)
    }

    /// Which version is current.
    pub fn current(&self, key: Key) -> Version {
        self.shared.current(key)
    }

    pub fn trouble(&self, trouble: Trouble) {
        self.shared.trouble.send_replace(trouble);
    }

    /// All that has happened so far.
    pub fn pasts(&self) -> Vec<Past> {
        self.shared.pasts.lock().unwrap().clone()
    }
}

impl Shared {
    fn update(&self, key: Key) -> Version {
        let mut pasts = self.pasts.lock().unwrap();
        let past = &mut pasts[usize::from(key)].current_from;
        past.push(self.clock.now().mono);
        version(past)
    }

    fn current(&self, key: Key) -> Version {
        version(&self.pasts.lock().unwrap()[usize::from(key)].current_from)
    }

    fn fetch(&self, key: Key) -> Version {
        let mut pasts = self.pasts.lock().unwrap();
        let past = &mut pasts[usize::from(key)];
        past.fetches += 1;
        version(&past.current_from)
    }
}

fn version(past: &[At]) -> Version {
    Version::try_from(past.len()).unwrap()
}

/// How long a key's answers live. Every fourth dies young, so that lifetimes run out in short runs too.
fn traits(key: Key) -> Past {
    let secs = Duration::from_secs;
    let (fresh, revalidate) = if lives_short(key) { (secs(2), secs(1)) } else { (secs(60), secs(0)) };
    Past { fresh, revalidate, if_error: secs(600), ..Past::default() }
}

pub fn lives_short(key: Key) -> bool {
    key % 4 == 3
}

pub fn group(key: Key) -> Key {
    key % GROUPS
}

async fn serve(mut connection: Connection, shared: Arc<Shared>, number: u64) {
    let mut dice = Dice::new(shared.seed ^ (number << 20));
    let mut trouble = shared.trouble.subscribe();
    while let Ok(request) = connection.receive().await {
        let now = *trouble.borrow_and_update();
        let answer = if now == Trouble::Fails { unavailable() } else { answer(&shared, &request) };
        match now {
            Trouble::Slow(delay) => sleep(delay).await,
            Trouble::Hangs => {
                if trouble.wait_for(|trouble| *trouble != Trouble::Hangs).await.is_err() {
                    return;
                }
            }
            Trouble::Nothing | Trouble::Fails if dice.one_in(8) => sleep(dice.below(Duration::from_millis(20))).await,
            Trouble::Nothing | Trouble::Fails => {}
        }
        if connection.send(&answer).await.is_err() {
            return;
        }
    }
}

fn unavailable() -> Vec<u8> {
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n".to_vec()
}

fn answer(shared: &Shared, request: &Message) -> Vec<u8> {
    let asked = request.request_line().and_then(|(method, target)| Some((method, key_of(target)?)));
    let Some((method, key)) = asked else { return b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n".to_vec() };
    if method == "PUT" {
        let etag = etag(key, shared.update(key));
        return format!("HTTP/1.1 200 OK\r\nX-Version: {etag}\r\nContent-Length: 0\r\n\r\n").into_bytes();
    }
    let version = shared.fetch(key);
    let (etag, Past { fresh, revalidate, if_error, .. }) = (etag(key, version), traits(key));
    let body = body(key, version);
    let validated = request.field("if-none-match") == Some(etag.as_str());
    let (status, length) = if validated {
        ("304 Not Modified", String::new())
    } else {
        ("200 OK", format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len()))
    };
    let mut bytes = format!(
        "HTTP/1.1 {status}\r\nETag: {etag}\r\nCache-Tag: group:{}\r\nCache-Control: max-age={}, \
         stale-while-revalidate={}, stale-if-error={}\r\n{length}\r\n",
        group(key),
        fresh.as_secs(),
        revalidate.as_secs(),
        if_error.as_secs()
    )
    .into_bytes();
    if !validated {
        bytes.extend_from_slice(body.as_bytes());
    }
    bytes
}

/// The path of a key.
pub fn path_of(key: Key) -> String {
    format!("/things/k{key}")
}

fn key_of(path: &str) -> Option<Key> {
    path.strip_prefix("/things/k")?.parse().ok().filter(|&key| key < KEYS)
}

fn etag(key: Key, version: Version) -> String {
    format!("\"k{key}-{version}\"")
}

/// The version that an entity tag of this key speaks of.
pub fn version_of(key: Key, etag: &str) -> Option<Version> {
    etag.strip_prefix("\"k")?.strip_suffix('"')?.strip_prefix(&key.to_string())?.strip_prefix('-')?.parse().ok()
}

/// What a version of a key looks like. Bytes at the end follow from both, so that no two bodies can be mixed unnoticed.
pub fn body(key: Key, version: Version) -> String {
    let mut dice = Dice::new((u64::from(key) << 32) | u64::from(version));
    format!("{{\"id\":\"k{key}\",\"version\":{version},\"mark\":\"{:016x}{:016x}\"}}", dice.next(), dice.next())
}
