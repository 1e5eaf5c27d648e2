//! Exact bytes over real sockets: what a backend may send, and what becomes of its connections. IDs as in the catalogue
//! of attacks and faults.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

use super::*;
use crate::clock::Clock;

/// One step of a backend's side of a connection.
#[derive(Clone)]
enum Do {
    /// Reads one request: a head, and as much of a body as its Content-Length says.
    Read,
    /// Reads the head of a request only.
    ReadHead,
    /// Writes these bytes.
    Say(Vec<u8>),
    /// Waits for the test's go.
    Wait(Arc<Notify>),
    /// Waits until the other side closes, then gives the go.
    SeeEnd(Arc<Notify>),
    /// Closes with a reset.
    Reset,
}

/// A backend on a socket. Connection number n follows the n-th script, or the last.
struct Backend {
    endpoint: Endpoint,
    connections: Arc<AtomicUsize>,
    heard: Arc<Mutex<Vec<String>>>,
}

impl Backend {
    async fn start(scripts: Vec<Vec<Do>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let authority = listener.local_addr().unwrap().to_string();
        let connections = Arc::new(AtomicUsize::new(0));
        let heard: Arc<Mutex<Vec<String>>> = Arc::default();
        let (count, ears) = (Arc::clone(&connections), Arc::clone(&heard));
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let number = count.fetch_add(1, Ordering::SeqCst);
                let script = scripts[number.min(scripts.len() - 1)].clone();
                tokio::spawn(converse(stream, script, Arc::clone(&ears)));
            }
        });
        Self { endpoint: Endpoint { https: false, authority, weight: 1 }, connections, heard }
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    fn heard(&self) -> Vec<String> {
        self.heard.lock().unwrap().clone()
    }

    fn origin(&self) -> Arc<Origin> {
        self.origin_with(OriginSettings::default())
    }

    fn origin_with(&self, settings: OriginSettings) -> Arc<Origin> {
        origin(OriginSettings { endpoints: vec![self.endpoint.clone()], ..settings })
    }
}

async fn converse(mut stream: TcpStream, script: Vec<Do>, heard: Arc<Mutex<Vec<String>>>) {
    for step in script {
        match step {
            Do::Read => match read_request(&mut stream).await {
                Some(request) => heard.lock().unwrap().push(request),
                None => return,
            },
            Do::ReadHead => drop(read_head(&mut stream).await),
            Do::Say(bytes) => {
                if stream.write_all(&bytes).await.is_err() {
                    return;
                }
            }
            Do::Wait(go) => go.notified().await,
            Do::SeeEnd(go) => {
                while stream.read(&mut [0; 4096]).await.is_ok_and(|read| read > 0) {}
                go.notify_one();
            }
            Do::Reset => {
                stream.set_zero_linger().unwrap();
                return;
            }
        }
    }
}

async fn read_request(stream: &mut TcpStream) -> Option<String> {
    let head = read_head(stream).await?;
    let mut body = Vec::new();
    if head.contains("transfer-encoding: chunked") {
        while !body.ends_with(b"0\r\n\r\n") {
            body.push(stream.read_u8().await.ok()?);
        }
    } else if let Some(length) = head.split("content-length: ").nth(1) {
        body.resize(length.split("\r\n").next()?.parse().ok()?, 0);
        stream.read_exact(&mut body).await.ok()?;
    }
    Some(head + &String::from_utf8_lossy(&body))
}

async fn read_head(stream: &mut TcpStream) -> Option<String> {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\r\n\r\n") {
        bytes.push(stream.read_u8().await.ok()?);
    }
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

fn origin(settings: OriginSettings) -> Arc<Origin> {
    let clock = Clock::system();
    let transport = Transport::Hyper(HyperTransport::new(&settings, &clock).unwrap());
    Origin::new(settings, transport, clock)
}

fn say(text: &str) -> Do {
    Do::Say(text.as_bytes().to_vec())
}

/// Reads a request and answers with a short body.
fn reply(text: &str) -> [Do; 2] {
    [Do::Read, say(&format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{text}", text.len()))]
}

fn get() -> Request<OutBody> {
    Request::builder().uri("/p").header("host", "client.example").body(empty_body()).unwrap()
}

fn post(content: &'static str) -> Request<OutBody> {
    Request::builder().method("POST").uri("/p").header("host", "client.example").body(full(content)).unwrap()
}

fn full(text: &'static str) -> OutBody {
    Full::new(Bytes::from_static(text.as_bytes())).map_err(|never| match never {}).boxed_unsync()
}

async fn told(origin: &Origin, request: Request<OutBody>) -> String {
    let replayable = request.method() == Method::GET;
    match origin.fetch(request, replayable, None).await {
        Ok(fetched) => {
            let (status, framing) = (fetched.head.status.as_u16(), fetched.framing);
            match fetched.body.collect().await {
                Ok(body) => format!("{status} {framing:?} {}", String::from_utf8_lossy(&body.to_bytes())),
                Err(error) => format!("{status} {framing:?} then {}", error.kind.name()),
            }
        }
        Err(error) => error.kind.name().to_owned(),
    }
}

/// Lets other tasks run until the connection lies idle in the pool.
async fn pooled(origin: &Origin) {
    pooled_all(origin, 1).await;
}

/// The same for so many of them.
async fn pooled_all(origin: &Origin, count: usize) {
    let idle = async {
        while origin.state().endpoints[0].idle < count {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), idle).await.expect("the connection is kept");
}

#[tokio::test]
async fn what_a_backend_may_send() {
    let many_fields = format!("HTTP/1.1 200 OK\r\n{}\r\n", "x: y\r\n".repeat(300));
    let large_head = format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "y".repeat(1 << 20));
    let reset = |text: &str| vec![Do::Read, say(text), Do::Reset];
    for (answer, expected) in [
        ("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello", "200 ContentLength hello"),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", "200 Chunked hello"),
        // RS-01
        (
            "HTTP/1.1 200 OK\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
            "200 Ambiguous hello",
        ),
        (
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ncontent-length: 3\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
            "200 Ambiguous hello",
        ),
        // RS-02
        ("HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello", "bad-response"),
        ("HTTP/1.1 200 OK\r\ncontent-length: 5x\r\n\r\nhello", "bad-response"),
        ("HTTP/1.1 200 OK\r\ncontent-length: -5\r\n\r\nhello", "bad-response"),
        ("HTTP/1.1 200 OK\r\ncontent-length: 99999999999999999999\r\n\r\nhello", "bad-response"),
        // RS-03
        ("HTTP/1.1 200 OK\r\ncontent-length: 5, 5\r\n\r\nhello", "200 ContentLength hello"),
        ("HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 5\r\n\r\nhello", "200 ContentLength hello"),
        // RS-04
        ("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhello", "200 ContentLength then truncated"),
        // RS-05
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n", "200 Chunked then truncated"),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhe", "200 Chunked then truncated"),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n", "200 Chunked then truncated"),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nxyz\r\n", "200 Chunked then bad-response"),
        // RS-06
        ("HTTP/1.1 200 OK\r\n\r\nhello", "200 CloseDelimited hello"),
        ("HTTP/1.0 200 OK\r\n\r\nhello", "200 CloseDelimited hello"),
        // RS-08
        ("HTTP/1.1 204 No Content\r\ncontent-length: 5\r\n\r\nhello", "204 None "),
        ("HTTP/1.1 304 Not Modified\r\ncontent-length: 5\r\n\r\nhello", "304 None "),
        // RS-09
        ("HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n", "bad-response"),
        ("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", "200 ContentLength "),
        // RS-10
        ("HTTP/1.1 200 OK\r\nx: a\0b\r\ncontent-length: 0\r\n\r\n", "bad-response"),
        ("HTTP/1.1 200 OK\r\nx: a\rb\r\ncontent-length: 0\r\n\r\n", "bad-response"),
        ("HTTP/1.1 200 OK\r\nx: a\r\n b\r\ncontent-length: 0\r\n\r\n", "bad-response"),
        ("HTTP/1.1 200 OK\r\nx : a\r\ncontent-length: 0\r\n\r\n", "bad-response"),
        ("HTTP/1.1 99 OK\r\ncontent-length: 0\r\n\r\n", "bad-response"),
        ("HTTP/1.1 1000 OK\r\ncontent-length: 0\r\n\r\n", "bad-response"),
        ("HTTP/1.1 099 OK\r\ncontent-length: 0\r\n\r\n", "bad-response"),
        ("HTTP/1.1 999 OK\r\ncontent-length: 0\r\n\r\n", "999 ContentLength "),
        ("HTTP/1.1 200 O\x01K\r\ncontent-length: 0\r\n\r\n", "bad-response"),
        ("hello\r\n", "bad-response"),
        (&many_fields, "bad-response"),
        (&large_head, "bad-response"),
        // RS-11
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\n\r\nhello", "bad-response"),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", "bad-response"),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked, chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", "bad-response"),
        ("HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", "bad-response"),
        // Nothing, and not enough.
        ("", "closed"),
        ("HTTP/1.1 200 OK\r\ncontent-le", "closed"),
    ] {
        let backend = Backend::start(vec![vec![Do::Read, say(answer)]]).await;
        let shown: String = answer.chars().take(90).collect();
        assert_eq!(told(&backend.origin(), get()).await, expected, "{shown:?}");
        assert_eq!(backend.connections(), 1, "{shown:?}: asked once");
    }
    let backend = Backend::start(vec![reset("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhello")]).await;
    let outcome = told(&backend.origin(), get()).await;
    assert!(matches!(outcome.as_str(), "200 ContentLength then truncated" | "closed"), "{outcome}");
}

#[tokio::test]
async fn the_request_goes_out_as_it_is_but_for_its_framing() {
    let backend = Backend::start(vec![reply("a").into_iter().chain(reply("b")).chain(reply("c")).collect()]).await;
    let origin = backend.origin();
    let request = |method: &str, uri: &str, body| {
        let builder = Request::builder().method(method).uri(uri).header("host", "c.example");
        builder.header("content-length", "77").header("x-a", "1").body(body).unwrap()
    };
    told(&origin, request("GET", "http://ignored/a/%2e%2e/b//%C3?x=%zz&&y", empty_body())).await;
    pooled(&origin).await;
    told(&origin, request("POST", "/q", full("abc"))).await;
    pooled_all(&origin, 2).await;
    let unknown = Unsized(full("abc")).boxed_unsync();
    told(&origin, request("GET", "/r", unknown)).await;
    assert_eq!(
        backend.heard(),
        [
            "GET /a/%2e%2e/b//%C3?x=%zz&&y HTTP/1.1\r\nhost: c.example\r\nx-a: 1\r\n\r\n",
            "POST /q HTTP/1.1\r\nhost: c.example\r\nx-a: 1\r\ncontent-length: 3\r\n\r\nabc",
            "GET /r HTTP/1.1\r\nhost: c.example\r\nx-a: 1\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        ]
    );
    assert_eq!(backend.connections(), 2, "one for requests without content, one for those with");
}

/// A body that does not tell its length.
struct Unsized(OutBody);

impl http_body::Body for Unsized {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<http_body::Frame<Bytes>, BoxError>>> {
        std::pin::Pin::new(&mut self.0).poll_frame(cx)
    }
}

#[tokio::test]
async fn trailers_arrive_as_trailers() {
    let answer = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n0\r\nx-sum: 1\r\n\r\n";
    let backend = Backend::start(vec![vec![Do::Read, say(answer)]]).await;
    let fetched = backend.origin().fetch(get(), true, None).await.unwrap();
    assert_eq!(fetched.body.collect().await.unwrap().trailers().unwrap()["x-sum"], "1");
}

#[tokio::test]
async fn interim_answers_come_first_and_are_counted() {
    let hint = "HTTP/1.1 103 Early Hints\r\nlink: </s>\r\n\r\n";
    let last = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
    for (answer, expected, seen) in [
        (format!("HTTP/1.1 100 Continue\r\n\r\n{hint}{last}"), "200", vec!["103 </s>"]),
        (format!("{}{last}", hint.repeat(8)), "200", vec!["103 </s>"; 8]),
        (format!("{}{last}", hint.repeat(9)), "bad-response", vec!["103 </s>"; 8]),
        (hint.repeat(1000), "bad-response", vec!["103 </s>"; 8]),
    ] {
        let backend =
            Backend::start(vec![vec![Do::Read, Do::Say(answer.into_bytes()), Do::Wait(Arc::default())]]).await;
        let got: Arc<Mutex<Vec<String>>> = Arc::default();
        let sink: InterimSink = Arc::new({
            let got = Arc::clone(&got);
            move |status: StatusCode, headers: &HeaderMap| {
                got.lock().unwrap().push(format!("{} {}", status.as_u16(), headers["link"].to_str().unwrap()));
            }
        });
        let outcome = match backend.origin().fetch(get(), true, Some(sink)).await {
            Ok(fetched) => fetched.head.status.as_u16().to_string(),
            Err(error) => error.kind.name().to_owned(),
        };
        assert_eq!(
            (outcome.as_str(), got.lock().unwrap().clone()),
            (expected, seen.iter().map(ToString::to_string).collect())
        );
    }
}

#[tokio::test]
async fn one_connection_serves_one_after_another() {
    let script: Vec<Do> = std::iter::repeat_with(|| reply("x")).take(21).flatten().collect();
    let backend = Backend::start(vec![script]).await;
    let origin = backend.origin();
    for _ in 0..20 {
        assert_eq!(told(&origin, get()).await, "200 ContentLength x");
        pooled(&origin).await;
    }
    assert_eq!(backend.connections(), 1);
}

#[tokio::test]
async fn an_idle_connection_that_dies_under_a_request_is_replaced_without_a_word() {
    // G-06: the first connection answers once, takes a second request and closes.
    let dies: Vec<Do> = reply("first").into_iter().chain([Do::Read]).collect();
    let backend = Backend::start(vec![dies.clone(), reply("second").to_vec()]).await;
    let origin = backend.origin();
    assert_eq!(told(&origin, get()).await, "200 ContentLength first");
    pooled(&origin).await;
    assert_eq!(told(&origin, get()).await, "200 ContentLength second");
    assert_eq!((backend.connections(), backend.heard().len()), (2, 3));
    assert_eq!(origin.state().retries, 1);

    // The same with a POST: the backend may have acted upon it.
    let backend = Backend::start(vec![dies.clone(), reply("second").to_vec()]).await;
    let origin = backend.origin();
    assert_eq!(told(&origin, post("abc")).await, "200 ContentLength first");
    pooled(&origin).await;
    assert_eq!(told(&origin, post("abc")).await, "closed");
    assert_eq!((backend.connections(), backend.heard().len()), (1, 2));

    // The same, with a byte of an answer.
    let begins: Vec<Do> = dies.into_iter().chain([say("H")]).collect();
    let backend = Backend::start(vec![begins, reply("second").to_vec()]).await;
    let origin = backend.origin();
    assert_eq!(told(&origin, get()).await, "200 ContentLength first");
    pooled(&origin).await;
    assert_eq!(told(&origin, get()).await, "closed");
    assert_eq!(backend.connections(), 1);
}

#[tokio::test]
async fn many_dead_connections_cost_no_error() {
    // G-06: a backend that restarts leaves all idle connections dead at once.
    const MANY: usize = 40;
    let go = Arc::new(Notify::new());
    let first: Vec<Do> = [Do::Read, Do::Wait(Arc::clone(&go))].into_iter().chain([reply("x")[1].clone()]).collect();
    let dies: Vec<Do> = first.into_iter().chain([Do::Read]).collect();
    let mut scripts = vec![dies; MANY];
    scripts.push(reply("y").to_vec());
    let backend = Backend::start(scripts).await;
    let origin = backend.origin();
    let burst = |origin: &Arc<Origin>| {
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..MANY {
            let origin = Arc::clone(origin);
            tasks.spawn(async move { told(&origin, get()).await });
        }
        tasks
    };
    let mut tasks = burst(&origin);
    while backend.heard().len() < MANY {
        tokio::task::yield_now().await;
    }
    go.notify_waiters();
    while let Some(outcome) = tasks.join_next().await {
        assert_eq!(outcome.unwrap(), "200 ContentLength x");
    }
    while origin.state().endpoints[0].idle < MANY {
        tokio::task::yield_now().await;
    }
    // One at first: what it is repeated on must not be the next dead one.
    assert_eq!(told(&origin, get()).await, "200 ContentLength y");
    for outcome in burst(&origin).join_all().await {
        assert_eq!(outcome, "200 ContentLength y");
    }
}

#[tokio::test]
async fn a_new_connection_that_closes_is_not_tried_again() {
    let backend = Backend::start(vec![vec![Do::Read], reply("x").to_vec()]).await;
    assert_eq!(told(&backend.origin(), get()).await, "closed");
    assert_eq!(backend.connections(), 1);
}

#[tokio::test]
async fn a_late_answer_never_reaches_the_next_client() {
    // SM-28: the client leaves, the backend answers late.
    let (late, ended) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let mut slow = vec![Do::Read, Do::Wait(Arc::clone(&late))];
    slow.push(reply("late")[1].clone());
    slow.push(Do::SeeEnd(Arc::clone(&ended)));
    let backend = Backend::start(vec![slow, reply("own").to_vec()]).await;
    let origin = backend.origin();
    let leaving = tokio::spawn({
        let origin = Arc::clone(&origin);
        async move { told(&origin, get()).await }
    });
    while backend.heard().is_empty() {
        tokio::task::yield_now().await;
    }
    leaving.abort();
    assert!(leaving.await.unwrap_err().is_cancelled());
    assert_eq!(origin.state().in_flight, 0);
    late.notify_one();
    assert_eq!(told(&origin, get()).await, "200 ContentLength own");
    tokio::time::timeout(Duration::from_secs(5), ended.notified()).await.expect("the connection was closed");
    assert_eq!(backend.connections(), 2);
}

#[tokio::test]
async fn a_body_dropped_half_read_closes_its_connection() {
    let ended = Arc::new(Notify::new());
    let half = say("HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\nhello");
    let backend =
        Backend::start(vec![vec![Do::Read, half, Do::SeeEnd(Arc::clone(&ended))], reply("own").to_vec()]).await;
    let origin = backend.origin();
    let mut body = origin.fetch(get(), true, None).await.unwrap().body;
    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "hello");
    drop(body);
    tokio::time::timeout(Duration::from_secs(5), ended.notified()).await.expect("the connection was closed");
    assert_eq!(told(&origin, get()).await, "200 ContentLength own");
}

#[tokio::test]
async fn sm_26_a_connection_that_has_carried_content_carries_nothing_that_is_kept() {
    let talks: Vec<Do> = reply("a").into_iter().chain(reply("b")).collect();
    let backend = Backend::start(vec![talks]).await;
    let origin = backend.origin();
    // A backend that takes content for a request of its own would answer the next one with it.
    assert_eq!(told(&origin, post("GET /evil")).await, "200 ContentLength a");
    pooled(&origin).await;
    assert_eq!(told(&origin, get()).await, "200 ContentLength a");
    assert_eq!(backend.connections(), 2, "the GET has a connection of its own");
    pooled_all(&origin, 2).await;
    // Requests with content go on using the first one.
    assert_eq!(told(&origin, post("more")).await, "200 ContentLength b");
    pooled_all(&origin, 1).await;
    assert_eq!(told(&origin, get()).await, "200 ContentLength b");
    assert_eq!(backend.connections(), 2);
}

#[tokio::test]
async fn what_follows_an_answer_is_not_the_next_answer() {
    // RS-07 and RS-08: in one segment with the answer, as early as can be.
    let poison = "HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\npoison";
    for head in [
        "HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nx",
        "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n",
        "HTTP/1.1 204 No Content\r\n\r\n",
        "HTTP/1.1 304 Not Modified\r\n\r\n",
    ] {
        let script = vec![Do::Read, say(&format!("{head}{poison}")), Do::Read];
        let backend = Backend::start(vec![script, reply("own").to_vec()]).await;
        let origin = backend.origin();
        assert!(!told(&origin, get()).await.contains("poison"));
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
        assert_eq!(told(&origin, get()).await, "200 ContentLength own", "{head:?}");
        assert_eq!(backend.connections(), 2, "{head:?}");
    }
}

#[tokio::test]
async fn a_body_after_the_head_of_a_head_answer_is_no_answer() {
    // RS-08
    let answer = say("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello");
    let backend = Backend::start(vec![vec![Do::Read, answer, Do::Read], reply("own").to_vec()]).await;
    let origin = backend.origin();
    let head = Request::builder().method("HEAD").uri("/p").header("host", "h").body(empty_body()).unwrap();
    let fetched = origin.fetch(head, true, None).await.unwrap();
    assert_eq!((fetched.framing, fetched.head.headers["content-length"].to_str().unwrap()), (Framing::None, "5"));
    assert_eq!(fetched.body.collect().await.unwrap().to_bytes(), "");
    assert_eq!(told(&origin, get()).await, "200 ContentLength own");
}

#[tokio::test]
async fn a_connection_with_doubtful_framing_is_not_used_again() {
    // RS-01, although nothing follows.
    let ended = Arc::new(Notify::new());
    let doubtful = "HTTP/1.1 200 OK\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n";
    let backend = Backend::start(vec![vec![Do::Read, say(doubtful), Do::SeeEnd(Arc::clone(&ended))]]).await;
    let origin = backend.origin();
    assert_eq!(told(&origin, get()).await, "200 Ambiguous x");
    tokio::time::timeout(Duration::from_secs(5), ended.notified()).await.expect("the connection was closed");
}

#[tokio::test]
async fn an_answer_before_the_end_of_the_upload_ends_the_connection() {
    // SM-26: the rest of the upload must not become the next request.
    let ended = Arc::new(Notify::new());
    let early = vec![Do::ReadHead, reply("early")[1].clone(), Do::SeeEnd(Arc::clone(&ended))];
    let backend = Backend::start(vec![early, reply("own").to_vec()]).await;
    let origin = backend.origin();
    let request =
        Request::builder().method("POST").uri("/up").header("host", "h").body(Endless.boxed_unsync()).unwrap();
    assert_eq!(told(&origin, request).await, "200 ContentLength early");
    assert_eq!(told(&origin, get()).await, "200 ContentLength own");
    tokio::time::timeout(Duration::from_secs(5), ended.notified()).await.expect("the connection was closed");
}

/// A body of which nothing comes, and no end.
struct Endless;

impl http_body::Body for Endless {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<http_body::Frame<Bytes>, BoxError>>> {
        std::task::Poll::Pending
    }
}

#[tokio::test]
async fn an_idle_connection_is_closed_in_time() {
    let ended = Arc::new(Notify::new());
    let script: Vec<Do> = reply("x").into_iter().chain([Do::SeeEnd(Arc::clone(&ended))]).collect();
    let backend = Backend::start(vec![script]).await;
    let origin =
        backend.origin_with(OriginSettings { pool_idle_timeout: Duration::from_millis(50), ..Default::default() });
    let watch = tokio::spawn(Arc::clone(&origin).watch(std::future::pending()));
    told(&origin, get()).await;
    tokio::time::timeout(Duration::from_secs(5), ended.notified()).await.expect("the connection was closed");
    watch.abort();
}

#[tokio::test]
async fn a_refused_connection_is_a_failed_connect() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let nobody = Endpoint { https: false, authority: listener.local_addr().unwrap().to_string(), weight: 1 };
    drop(listener);
    let alone = origin(OriginSettings { endpoints: vec![nobody.clone()], ..Default::default() });
    assert_eq!(told(&alone, get()).await, "connect"); // G-01
    assert_eq!(told(&origin(OriginSettings::default()), get()).await, "no-endpoint");

    // With another endpoint, no client notices, a POST included: it was not sent.
    let backend = Backend::start(vec![[reply("x"), reply("x")].concat()]).await;
    let two = origin(OriginSettings { endpoints: vec![nobody, backend.endpoint.clone()], ..Default::default() });
    for _ in 0..4 {
        let post = Request::builder().method("POST").uri("/p").header("host", "h").body(full("abc")).unwrap();
        assert_eq!(told(&two, post).await, "200 ContentLength x");
    }
}

#[tokio::test]
async fn silence_in_the_tls_handshake_is_bounded() {
    let backend = Backend::start(vec![vec![Do::Wait(Arc::default())]]).await;
    let silent = Endpoint { https: true, ..backend.endpoint.clone() };
    let tls = TlsSettings { insecure: true, ..Default::default() };
    let connect_timeout = Duration::from_millis(100);
    let origin = origin(OriginSettings { endpoints: vec![silent], tls, connect_timeout, ..Default::default() });
    assert_eq!(told(&origin, get()).await, "connect-timeout");
}
