//! Real sockets and real time, with patience of a few hundred milliseconds. Nothing here waits for time to pass, only for
//! what is to happen.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;

use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use super::super::drain::Stage;
use super::super::{Listeners, TlsFiles};
use super::*;

const SHORT: Duration = Duration::from_millis(200);

/// A running listener on free ports of 127.0.0.1.
struct Running {
    http: SocketAddr,
    https: Option<SocketAddr>,
    probe: Probe,
    drain: Drain,
    stats: Arc<ListenStats>,
    run: JoinHandle<()>,
}

fn settings() -> ListenSettings {
    ListenSettings { http: Some(([127, 0, 0, 1], 0).into()), ..ListenSettings::default() }
}

fn start(settings: &ListenSettings) -> Running {
    let listeners = Listeners::bind(settings).unwrap();
    let (probe, drain) = (Probe::default(), Drain::new());
    Running {
        http: listeners.http_address().unwrap(),
        https: listeners.https_address(),
        stats: listeners.stats(),
        run: tokio::spawn(listeners.run(probe.clone(), Clock::system(), drain.clone())),
        probe,
        drain,
    }
}

/// Everything until the other side closes or resets; it has to within ten seconds.
async fn to_the_end(mut stream: impl tokio::io::AsyncRead + Unpin) -> String {
    let mut all = Vec::new();
    let _ = timeout(Duration::from_secs(10), stream.read_to_end(&mut all)).await.expect("never closed");
    String::from_utf8(all).unwrap()
}

async fn ask(address: SocketAddr, head: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    stream
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n")
}

/// A certificate for `localhost` in files of its own, and a client that trusts it.
fn certificate(name: &str) -> (TlsFiles, rustls::ClientConfig) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("target/listen-tests");
    std::fs::create_dir_all(&folder).unwrap();
    let files = TlsFiles { cert: folder.join(format!("{name}.crt")), key: folder.join(format!("{name}.key")) };
    std::fs::write(&files.cert, made.cert.pem()).unwrap();
    std::fs::write(&files.key, made.signing_key.serialize_pem()).unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let client = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    (files, client)
}

async fn handshake(
    address: SocketAddr,
    client: &rustls::ClientConfig,
    alpn: &[&str],
) -> std::io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
    let mut client = client.clone();
    client.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    let stream = TcpStream::connect(address).await?;
    let name = ServerName::try_from("localhost").unwrap();
    tokio_rustls::TlsConnector::from(Arc::new(client)).connect(name, stream).await
}

#[tokio::test]
async fn a_silent_connection_is_closed() {
    let running = start(&ListenSettings { first_byte_timeout: SHORT, ..settings() });
    assert_eq!(to_the_end(TcpStream::connect(running.http).await.unwrap()).await, "");
    assert_eq!(running.stats.first_byte_timeouts.load(std::sync::atomic::Ordering::Relaxed), 1);
}

#[tokio::test]
async fn alpn_chooses_the_protocol() {
    let (tls, client) = certificate("alpn");
    let running = start(&ListenSettings { https: Some(([127, 0, 0, 1], 0).into()), tls: Some(tls), ..settings() });
    let address = running.https.unwrap();

    let stream = handshake(address, &client, &["h2", "http/1.1"]).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let (mut requests, connection) = h2::client::handshake(stream).await.unwrap();
    let connection = tokio::spawn(connection);
    let request = Request::get("https://localhost/a").body(()).unwrap();
    let (answer, _) = requests.send_request(request, true).unwrap();
    assert_eq!(answer.await.unwrap().into_body().data().await.unwrap().unwrap(), "/a");
    connection.abort();

    for alpn in [&["http/1.1"][..], &[]] {
        let mut stream = handshake(address, &client, alpn).await.unwrap();
        stream.write_all(get("/b").as_bytes()).await.unwrap();
        let text = to_the_end(stream).await;
        assert!(text.starts_with("HTTP/1.1 200 OK") && text.ends_with("/b"), "{text}");
    }

    assert!(handshake(address, &client, &["spdy/3"]).await.is_err());
    to_the_end(ask(address, &get("/in-the-clear")).await).await;
    while running.stats.handshake_failures.load(std::sync::atomic::Ordering::Relaxed) < 2 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_certificate_is_reloaded_or_kept() {
    let (tls, old) = certificate("reload");
    let listeners = Listeners::bind(&ListenSettings {
        https: Some(([127, 0, 0, 1], 0).into()),
        tls: Some(tls.clone()),
        ..settings()
    })
    .unwrap();
    let (address, handle) = (listeners.https_address().unwrap(), listeners.tls().unwrap());
    let run = tokio::spawn(listeners.run(Probe::default(), Clock::system(), Drain::new()));

    std::fs::write(&tls.key, "nonsense").unwrap();
    let error = handle.reload().unwrap_err().to_string();
    assert!(error.contains("reload.key") && error.contains("as TLS key"), "{error}");
    handshake(address, &old, &[]).await.unwrap();

    let (_, new) = certificate("reload");
    handle.reload().unwrap();
    handshake(address, &new, &[]).await.unwrap();
    assert!(handshake(address, &old, &[]).await.is_err());
    run.abort();
}

#[tokio::test]
async fn nothing_is_bound_unless_everything_can_be() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let error = Listeners::bind(&ListenSettings { http: Some(address), ..settings() }).err().unwrap().to_string();
    assert!(error.starts_with(&format!("cannot listen on {address}: the address is in use.")), "{error}");

    let tls = Some(TlsFiles { cert: "/nowhere/a.crt".into(), key: "/nowhere/a.key".into() });
    let settings = ListenSettings { https: Some(address), tls, ..settings() };
    let error = Listeners::bind(&settings).err().unwrap().to_string();
    assert!(error.starts_with("cannot use /nowhere/a.crt as TLS certificate: "), "{error}");
}

#[tokio::test]
async fn one_client_has_so_many_connections() {
    let running = start(&ListenSettings { max_connections_per_client: 1, ..settings() });
    let first = ask(running.http, &get("/hold")).await;
    running.probe.held().await;
    assert_eq!(to_the_end(TcpStream::connect(running.http).await.unwrap()).await, "");
    assert_eq!(running.stats.refused_client.load(std::sync::atomic::Ordering::Relaxed), 1);
    running.probe.release();
    assert!(to_the_end(first).await.ends_with("held"));
}

#[tokio::test]
async fn beyond_the_limit_clients_wait() {
    let running = start(&ListenSettings { max_connections: 1, ..settings() });
    let first = ask(running.http, &get("/hold")).await;
    running.probe.held().await;
    let second = ask(running.http, &get("/b")).await;
    running.probe.release();
    assert!(to_the_end(first).await.ends_with("held"));
    assert!(to_the_end(second).await.ends_with("/b"));
    assert!(running.stats.refused_capacity.load(std::sync::atomic::Ordering::Relaxed) >= 1);
}

#[tokio::test]
async fn a_drain_finishes_what_is_in_flight_and_closes_the_door() {
    let running = start(&settings());
    let busy = ask(running.http, "GET /hold HTTP/1.1\r\nHost: t\r\n\r\n").await;
    running.probe.held().await;
    let mut idle = ask(running.http, "GET /a HTTP/1.1\r\nHost: t\r\n\r\n").await;
    let mut first = [0; 15];
    idle.read_exact(&mut first).await.unwrap();

    running.drain.begin();
    assert!(to_the_end(idle).await.ends_with("/a"));
    while TcpStream::connect(running.http).await.is_ok() {
        tokio::task::yield_now().await;
    }
    assert!(!running.run.is_finished());
    running.probe.release();
    let text = to_the_end(busy).await;
    assert!(text.contains("connection: close") && text.ends_with("held"), "{text}");
    timeout(Duration::from_secs(10), running.drain.finished()).await.unwrap();
    running.run.await.unwrap();
}

/// A connection that the kernel completed before the door closed is served, not reset.
#[tokio::test]
async fn who_waits_in_the_queue_is_still_let_in() {
    let listeners = Listeners::bind(&settings()).unwrap();
    let drain = Drain::new();
    let mut early = std::net::TcpStream::connect(listeners.http_address().unwrap()).unwrap();
    early.write_all(get("/early").as_bytes()).unwrap();
    drain.advance(Stage::Stopping);
    let run = tokio::spawn(listeners.run(Probe::default(), Clock::system(), drain));
    early.set_nonblocking(true).unwrap();
    let text = to_the_end(TcpStream::from_std(early).unwrap()).await;
    assert!(text.ends_with("/early"), "{text}");
    run.await.unwrap();
}

#[tokio::test]
async fn the_door_stays_open_for_the_delay() {
    let running = start(&ListenSettings { drain_delay: Duration::from_secs(5), ..settings() });
    running.drain.begin();
    running.drain.begun().await;
    let text = to_the_end(ask(running.http, "GET /late HTTP/1.1\r\nHost: t\r\n\r\n").await).await;
    assert!(text.contains("connection: close") && text.ends_with("/late"), "{text}");
    running.drain.begin();
    timeout(Duration::from_secs(4), running.run).await.expect("a second begin ends it at once").unwrap();
}

#[tokio::test]
async fn the_grace_period_ends() {
    let running = start(&ListenSettings { grace: SHORT, ..settings() });
    let busy = ask(running.http, &get("/hold")).await;
    running.probe.held().await;
    running.drain.begin();
    assert_eq!(to_the_end(busy).await, "");
    running.run.await.unwrap();
    assert_eq!(running.stats.cut.load(std::sync::atomic::Ordering::Relaxed), 1);
}
