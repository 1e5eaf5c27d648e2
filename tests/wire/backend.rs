//! The echo backend: it keeps every byte it is sent, reads requests as strictly as can be, numbers its answers, and says
//! whatever a test has scripted for a path.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::OwnedWriteHalf;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::timeout;

use super::gateway::SOON;

/// The backend. Clones are the same one.
#[derive(Clone)]
pub struct Backend {
    pub address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    log: Mutex<Log>,
    scripts: Mutex<HashMap<String, VecDeque<Script>>>,
    changes: watch::Sender<u64>,
}

/// What has happened so far.
#[derive(Default)]
pub struct Log {
    pub connections: Vec<Connection>,
    /// All requests whose head has arrived, in that order.
    pub seen: Vec<Seen>,
}

/// A connection from the gateway.
#[derive(Default)]
pub struct Connection {
    /// Every byte received.
    pub bytes: Vec<u8>,
    /// The gateway has closed it, or the backend has.
    pub closed: bool,
    /// How many of the bytes were part of well-formed requests.
    read: usize,
}

/// A request as it arrived.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// Its number, counted from 1: what the answer says in X-Origin-Seq.
    pub seq: usize,
    /// The connection it came on, counted from 0.
    pub connection: usize,
    pub head: String,
    pub body: Vec<u8>,
    /// Its body has arrived to the end.
    pub complete: bool,
}

/// What to do with one request.
#[derive(Clone)]
pub struct Script {
    /// Answer when the head is there; the body is never read, and what follows the head is taken for the next request.
    ignores_body: bool,
    acts: Vec<Act>,
}

#[derive(Clone)]
enum Act {
    Say(Vec<u8>),
    Hold(Gate),
    Close,
    Reset,
}

/// Holds an answer until it is opened.
#[derive(Clone)]
pub struct Gate(watch::Sender<bool>);

impl Gate {
    pub fn new() -> Self {
        Self(watch::Sender::new(false))
    }

    pub fn open(&self) {
        self.0.send_replace(true);
    }
}

/// A script that answers with exactly these bytes; `{seq}` stands for the request's number.
pub fn says(bytes: impl AsRef<[u8]>) -> Script {
    Script { ignores_body: false, acts: Vec::new() }.then(bytes)
}

/// A script that waits first.
pub fn holds(gate: &Gate) -> Script {
    Script { ignores_body: false, acts: vec![Act::Hold(gate.clone())] }
}

/// A script that closes without an answer.
pub fn closes() -> Script {
    Script { ignores_body: false, acts: vec![Act::Close] }
}

impl Script {
    pub fn then(mut self, bytes: impl AsRef<[u8]>) -> Self {
        self.acts.push(Act::Say(bytes.as_ref().to_vec()));
        self
    }

    pub fn then_holds(mut self, gate: &Gate) -> Self {
        self.acts.push(Act::Hold(gate.clone()));
        self
    }

    /// Ends with FIN.
    pub fn then_closes(mut self) -> Self {
        self.acts.push(Act::Close);
        self
    }

    /// Ends with RST.
    pub fn then_resets(mut self) -> Self {
        self.acts.push(Act::Reset);
        self
    }

    pub fn without_reading_the_body(mut self) -> Self {
        self.ignores_body = true;
        self
    }
}

impl Backend {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared =
            Arc::new(Shared { log: Mutex::default(), scripts: Mutex::default(), changes: watch::Sender::new(0) });
        let this = Self { address, shared };
        let backend = this.clone();
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let _ = socket.set_nodelay(true);
                tokio::spawn(backend.clone().serve(socket));
            }
        });
        this
    }

    /// What the next request for `target` gets. Several wait in line; without one it gets the usual answer.
    pub fn on(&self, target: &str, script: Script) {
        self.shared.scripts.lock().unwrap().entry(target.to_owned()).or_default().push_back(script);
    }

    /// Looks at the log.
    pub fn log<T>(&self, look: impl FnOnce(&Log) -> T) -> T {
        look(&self.shared.log.lock().unwrap())
    }

    /// How many requests have come.
    pub fn count(&self) -> usize {
        self.log(|log| log.seen.len())
    }

    /// The requests from number `first` on, counted from 0.
    pub fn since(&self, first: usize) -> Vec<Seen> {
        self.log(|log| log.seen[first..].to_vec())
    }

    /// How many requests for `target` have come.
    pub fn asked(&self, target: &str) -> usize {
        self.log(|log| log.seen.iter().filter(|seen| seen.target() == target).count())
    }

    /// Waits until `look` finds in the log what it looks for.
    pub async fn until<T>(&self, what: &str, look: impl Fn(&Log) -> Option<T>) -> T {
        let mut changes = self.shared.changes.subscribe();
        let found = async {
            loop {
                changes.mark_unchanged();
                if let Some(found) = self.log(&look) {
                    return found;
                }
                let _ = changes.changed().await;
            }
        };
        let Ok(found) = timeout(SOON, found).await else {
            panic!("in vain waited for: {what}; seen: {:#?}", self.since(0))
        };
        found
    }

    /// Waits for the first request for `target`.
    pub async fn until_asked(&self, target: &str) -> Seen {
        self.until(target, |log| log.seen.iter().find(|seen| seen.target() == target).cloned()).await
    }

    /// Waits until the gateway has closed this connection.
    pub async fn until_closed(&self, connection: usize) {
        self.until("the connection is closed", |log| log.connections[connection].closed.then_some(())).await;
    }

    /// Fails if anything but well-formed requests came on any connection that has been closed.
    #[track_caller]
    pub fn has_no_junk(&self) {
        self.log(|log| {
            for (number, connection) in log.connections.iter().enumerate().filter(|(_, one)| one.closed) {
                let rest = &connection.bytes[connection.read..];
                // A request that was cut off is none, but its beginning is allowed.
                let cut_off =
                    rest.is_empty() || log.seen.iter().any(|seen| seen.connection == number && !seen.complete);
                assert!(cut_off, "connection {number} got {:?}", String::from_utf8_lossy(rest));
            }
        });
    }

    fn change<T>(&self, change: impl FnOnce(&mut Log) -> T) -> T {
        let changed = change(&mut self.shared.log.lock().unwrap());
        self.shared.changes.send_modify(|count| *count += 1);
        changed
    }

    async fn serve(self, socket: TcpStream) {
        let number = self.change(|log| {
            log.connections.push(Connection::default());
            log.connections.len() - 1
        });
        let (mut from, mut to) = socket.into_split();
        let reader = self.clone();
        let reading = tokio::spawn(async move {
            let mut piece = vec![0; 16 * 1024];
            while let Ok(n @ 1..) = from.read(&mut piece).await {
                reader.change(|log| log.connections[number].bytes.extend_from_slice(&piece[..n]));
            }
            reader.change(|log| log.connections[number].closed = true);
            from
        });
        let reset = self.answer_all(number, &mut to).await;
        self.change(|log| log.connections[number].closed = true);
        if reset {
            reading.abort();
            // Both halves in one hand again: a socket that is closed with lingering of zero sends RST.
            let _ = to.as_ref().set_zero_linger();
            let _ = reading.await;
            to.forget();
        } else {
            let _ = to.shutdown().await;
        }
    }

    /// Answers requests until the connection is to be closed; whether by a reset.
    async fn answer_all(&self, number: usize, to: &mut OwnedWriteHalf) -> bool {
        loop {
            let Some(mut seen) = self.next_head(number).await else { return false };
            let script = self.shared.scripts.lock().unwrap().get_mut(seen.target()).and_then(VecDeque::pop_front);
            if !script.as_ref().is_some_and(|script| script.ignores_body) {
                let Some(body) = self.body(number, &seen).await else { return false };
                seen.body = body;
            }
            let acts = script.map_or_else(|| vec![Act::Say(usual(&seen))], |script| script.acts);
            for act in acts {
                match act {
                    Act::Say(bytes) => {
                        if to.write_all(&numbered(&bytes, seen.seq)).await.is_err() {
                            return false;
                        }
                    }
                    Act::Hold(gate) => {
                        let _ = gate.0.subscribe().wait_for(|open| *open).await;
                    }
                    Act::Close => return false,
                    Act::Reset => return true,
                }
            }
        }
    }

    /// The next request's head, or none when the connection ends before there is one.
    async fn next_head(&self, number: usize) -> Option<Seen> {
        loop {
            let mut changes = self.shared.changes.subscribe();
            let closed = self.log(|log| log.connections[number].closed);
            let seen = self.change_quietly(|log| {
                let seq = log.seen.len() + 1;
                let connection = &mut log.connections[number];
                let rest = &connection.bytes[connection.read..];
                let end = rest.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
                let head = String::from_utf8_lossy(&rest[..end]).into_owned();
                connection.read += end;
                let seen = Seen { seq, connection: number, head, ..Seen::default() };
                log.seen.push(seen.clone());
                Some(seen)
            });
            if seen.is_some() {
                self.shared.changes.send_modify(|count| *count += 1);
                return seen;
            }
            if closed {
                return None;
            }
            let _ = changes.changed().await;
        }
    }

    /// Reads the body; none if it does not come to its end.
    async fn body(&self, number: usize, seen: &Seen) -> Option<Vec<u8>> {
        loop {
            let mut changes = self.shared.changes.subscribe();
            let closed = self.log(|log| log.connections[number].closed);
            let whole = self.change_quietly(|log| {
                let connection = &mut log.connections[number];
                let (body, length) = seen.framed(&connection.bytes[connection.read..])?;
                connection.read += length;
                let entry = &mut log.seen[seen.seq - 1];
                (entry.body, entry.complete) = (body.clone(), true);
                Some(body)
            });
            if whole.is_some() {
                self.shared.changes.send_modify(|count| *count += 1);
                return whole;
            }
            if closed {
                return None;
            }
            let _ = changes.changed().await;
        }
    }

    fn change_quietly<T>(&self, change: impl FnOnce(&mut Log) -> T) -> T {
        change(&mut self.shared.log.lock().unwrap())
    }
}

impl Seen {
    pub fn method(&self) -> &str {
        self.head.split(' ').next().unwrap_or_default()
    }

    pub fn target(&self) -> &str {
        self.head.split(' ').nth(1).unwrap_or_default()
    }

    /// The values of a field, one for each line.
    pub fn values(&self, name: &str) -> Vec<&str> {
        let lines = self.head.split("\r\n").skip(1);
        let fields = lines.filter_map(|line| line.split_once(':'));
        fields.filter(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim()).collect()
    }

    /// The body at the beginning of `bytes` and how long it is there, if it is complete. `None` for ever if it is
    /// malformed: nothing the gateway sends may be.
    fn framed(&self, bytes: &[u8]) -> Option<(Vec<u8>, usize)> {
        if let Some(length) = self.values("content-length").first() {
            let length = length.parse().ok()?;
            return bytes.get(..length).map(|body| (body.to_vec(), length));
        }
        if self.values("transfer-encoding").is_empty() { Some((Vec::new(), 0)) } else { chunks(bytes) }
    }

    /// What is wrong with the request, if it is not canonical (oracle O1).
    pub fn oddity(&self) -> Option<String> {
        let said = |text: String| Some(format!("{text} in {:?}", self.head));
        if self.head.replace("\r\n", "").contains(['\r', '\n', '\0']) {
            return said("a bare CR, LF or NUL".to_owned());
        }
        let mut lines = self.head.strip_suffix("\r\n\r\n")?.split("\r\n");
        let start: Vec<_> = lines.next()?.split(' ').collect();
        if start.len() != 3 || !(start[1].starts_with('/') || start[1] == "*") || start[2] != "HTTP/1.1" {
            return said("an odd request line".to_owned());
        }
        for line in lines {
            let name = line.split_once(':').map_or("", |(name, _)| name);
            let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
            if name.is_empty() || !name.bytes().all(token) || FOR_ONE_HOP.contains(&&*name.to_ascii_lowercase()) {
                return said(format!("the line {line:?}"));
            }
        }
        let (lengths, codings) = (self.values("content-length"), self.values("transfer-encoding"));
        if lengths.len() + codings.len() > 1 || codings.iter().any(|coding| *coding != "chunked") {
            return said("odd framing".to_owned());
        }
        if self.values("host").len() == 1 { None } else { said("not exactly one Host".to_owned()) }
    }
}

/// What concerns one hop, and names that some servers take for the real ones.
const FOR_ONE_HOP: [&str; 13] = [
    "connection",
    "keep-alive",
    "proxy-connection",
    "proxy-authorization",
    "proxy-authenticate",
    "te",
    "trailer",
    "upgrade",
    "http2-settings",
    "expect",
    "transfer_encoding",
    "content_length",
    "x-canary",
];

/// A chunked body, read to the letter: no extensions, no trailers, no spaces.
fn chunks(bytes: &[u8]) -> Option<(Vec<u8>, usize)> {
    let (mut body, mut at) = (Vec::new(), 0);
    loop {
        let line = bytes[at..].windows(2).position(|two| two == b"\r\n")?;
        let size = usize::from_str_radix(std::str::from_utf8(&bytes[at..at + line]).ok()?, 16).ok()?;
        at += line + 2;
        let piece = bytes.get(at..at + size + 2)?.strip_suffix(b"\r\n")?;
        body.extend_from_slice(piece);
        at += size + 2;
        if size == 0 {
            return Some((body, at));
        }
    }
}

/// The usual answer: it says what it answers. GET and HEAD are cacheable.
fn usual(seen: &Seen) -> Vec<u8> {
    let keep = if matches!(seen.method(), "GET" | "HEAD") { "max-age=100" } else { "no-store" };
    let content = format!("{} {}", seen.method(), seen.target());
    let content =
        if seen.body.is_empty() { content } else { format!("{content} with {}", String::from_utf8_lossy(&seen.body)) };
    let length = content.len();
    let sent = if seen.method() == "HEAD" { "" } else { &content };
    format!(
        "HTTP/1.1 200 OK\r\nX-Origin-Seq: {{seq}}\r\nCache-Control: {keep}\r\nETag: \"{length}\"\r\n\
         Content-Type: text/plain\r\nContent-Length: {length}\r\n\r\n{sent}"
    )
    .into_bytes()
}

fn numbered(bytes: &[u8], seq: usize) -> Vec<u8> {
    const MARK: &[u8] = b"{seq}";
    match bytes.windows(MARK.len()).position(|five| five == MARK) {
        Some(at) => [&bytes[..at], seq.to_string().as_bytes(), &bytes[at + MARK.len()..]].concat(),
        None => bytes.to_vec(),
    }
}
