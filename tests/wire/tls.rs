//! TLS: HTTP/1.1 and HTTP/2 by ALPN, and what HTTP/2 must not let in.

use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response, Version};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::ServerName;
use rustls::pki_types::pem::PemObject;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::backend::{Gate, holds};
use super::client::Client;
use super::gateway::Scratch;
use super::house::{FORGIVING, House, IMPATIENT};
use super::leaving::is_told;

/// A house with a door on TLS, and what its certificate is.
struct Tls {
    house: House,
    certificate: String,
    _files: (Scratch, Scratch),
}

impl Tls {
    async fn start() -> Self {
        let made = rcgen::generate_simple_self_signed(vec!["t".to_owned()]).unwrap();
        let certificate = made.cert.pem();
        let files =
            (Scratch::new("cert.pem", &certificate), Scratch::new("key.pem", &made.signing_key.serialize_pem()));
        let tls = format!("[tls]\ncert = \"{}\"\nkey = \"{}\"\n", files.0.path().display(), files.1.path().display());
        let listen = IMPATIENT.replace("[listen]", "[listen]\nhttps = \"127.0.0.1:0\"");
        let house = House::with(&format!("{listen}{FORGIVING}{tls}")).await;
        Self { house, certificate, _files: files }
    }

    async fn connect(&self, protocols: &[&str]) -> TlsStream<TcpStream> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut roots = rustls::RootCertStore::empty();
        roots.add(rustls::pki_types::CertificateDer::from_pem_slice(self.certificate.as_bytes()).unwrap()).unwrap();
        let mut config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        let socket = TcpStream::connect(self.house.gateway.data[1]).await.unwrap();
        TlsConnector::from(Arc::new(config)).connect(ServerName::try_from("t").unwrap(), socket).await.unwrap()
    }

    async fn http2(&self) -> SendRequest<Full<Bytes>> {
        let stream = self.connect(&["h2", "http/1.1"]).await;
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(b"h2".as_slice()));
        let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        sender
    }
}

async fn ask(
    sender: &mut SendRequest<Full<Bytes>>,
    request: http::request::Builder,
    body: &'static str,
) -> Response<Bytes> {
    sender.ready().await.unwrap();
    let answer = sender.send_request(request.body(Full::from(body)).unwrap()).await.unwrap();
    let (head, body) = answer.into_parts();
    Response::from_parts(head, body.collect().await.unwrap().to_bytes())
}

#[tokio::test]
async fn http_1_1_and_http_2_are_chosen_by_alpn_and_share_what_is_stored() {
    let tls = Tls::start().await;
    for protocols in [&["http/1.1"] as &[&str], &[]] {
        let stream = tls.connect(protocols).await;
        let mut client = Client::on(stream);
        let answer = client.get("/page").await;
        assert_eq!((answer.status, &*answer.text()), (200, "GET /page"), "{answer:?}");
        assert!(client.get("/page").await.is_hit());
    }
    let mut sender = tls.http2().await;
    let answer = ask(&mut sender, Request::get("https://t/page"), "").await;
    assert_eq!((answer.version(), &answer.body()[..]), (Version::HTTP_2, b"GET /page".as_slice()));
    assert!(answer.headers()["cache-status"].to_str().unwrap().contains("hit"), "{answer:?}");
    assert_eq!(tls.house.backend.asked("/page"), 1);
    let seen = tls.house.backend.until_asked("/page").await;
    assert_eq!((seen.values("x-forwarded-proto"), seen.oddity()), (vec!["https"], None));

    let many: Vec<_> = (0..50).map(|n| (sender.clone(), format!("https://t/many-{}", n % 5))).collect();
    for (mut sender, url) in many {
        assert_eq!(ask(&mut sender, Request::get(&url), "").await.status(), 200);
    }
    tls.house.heard_since(0, "HTTP/2");
    tls.house.victim_is_unharmed("TLS").await;
}

#[tokio::test]
async fn pa_05_pa_11_sm_18_sm_23_hb_04_http_2_is_held_to_the_same_rules() {
    let tls = Tls::start().await;
    let before = tls.house.backend.count();
    let mut sender = tls.http2().await;
    for (what, request, body, status) in [
        ("GET with a body", Request::get("https://t/p"), "GET /smuggled HTTP/1.1\r\nHost: t\r\n\r\n", 400),
        ("a tunnel", Request::connect("t:80"), "", 405),
        ("another Host", Request::get("https://t/p").header("host", "evil"), "", 400),
        ("an authority with a user", Request::get("https://u@t/p"), "", 400),
        ("a loop", Request::get("https://t/p").header("via", "2 forebay"), "", 508),
        ("two slashes", Request::get("https://t//p"), "", 400),
        ("lower case", Request::builder().method("get").uri("https://t/p"), "", 405),
    ] {
        let answer = ask(&mut sender, request, body).await;
        assert_eq!(answer.status(), status, "{what}: {answer:?}");
        assert_eq!(answer.headers()["cache-control"], "no-store", "{what}");
        assert!(!answer.headers().contains_key("connection"), "{what}");
    }
    assert_eq!(tls.house.heard_since(before, "HTTP/2").len(), 0);
    let answer = ask(&mut sender, Request::post("https://t/p"), "hello").await;
    assert_eq!(&answer.body()[..], b"POST /p with hello");
    tls.house.victim_is_unharmed("HTTP/2").await;
}

#[tokio::test]
async fn a_drain_lets_streams_finish() {
    let mut tls = Tls::start().await;
    let gate = Gate::new();
    tls.house.backend.on("/held", holds(&gate).then("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"));
    let mut sender = tls.http2().await;
    let asking = tokio::spawn(async move { ask(&mut sender, Request::get("https://t/held"), "").await });
    tls.house.backend.until_asked("/held").await;
    tls.house.gateway.signal("TERM").await;
    is_told(&tls.house).await;
    gate.open();
    let answer = asking.await.unwrap();
    assert_eq!((answer.status().as_u16(), &answer.body()[..]), (200, b"hello".as_slice()));
    assert_eq!(tls.house.gateway.ended().await.code(), Some(0));
}

#[tokio::test]
async fn what_is_not_tls_is_turned_away() {
    let tls = Tls::start().await;
    let mut client = Client::connect(tls.house.gateway.data[1]).await;
    client.send("GET /victim HTTP/1.1\r\nHost: t\r\n\r\n").await;
    assert!(!client.rest().await.contains("HTTP/1.1"));
    tls.house.victim_is_unharmed("no TLS").await;
}
