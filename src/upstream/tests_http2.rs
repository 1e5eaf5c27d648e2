//! HTTP/2 and TLS, against hyper's own server.

use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response, Version};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::clock::Clock;

/// A server that answers with what it was asked, and counts its connections.
struct Server {
    authority: String,
    connections: Arc<AtomicUsize>,
    /// The certificate to trust, in PEM form, if it speaks TLS.
    certificate: Vec<u8>,
    cues: Cues,
}

/// What the test tells the server to do.
#[derive(Clone, Default)]
struct Cues {
    /// All connections are to end gracefully.
    go_away: Arc<Notify>,
    /// The body of `/breaks` is to break off.
    break_off: Arc<Notify>,
}

/// What a server offers by ALPN; `None`: no TLS, HTTP/2 by prior knowledge.
type Offer = Option<&'static [&'static str]>;

impl Server {
    async fn start(offer: Offer) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let authority = format!("localhost:{}", listener.local_addr().unwrap().port());
        let issued =
            rcgen::generate_simple_self_signed(vec!["localhost".to_owned(), "other.example".to_owned()]).unwrap();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(issued.signing_key.serialize_der()));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![issued.cert.der().clone()], key)
            .unwrap();
        config.alpn_protocols = offer.unwrap_or_default().iter().map(|name| name.as_bytes().to_vec()).collect();
        let tls = offer.map(|_| TlsAcceptor::from(Arc::new(config)));

        let server = Self {
            authority,
            connections: Arc::default(),
            certificate: issued.cert.pem().into_bytes(),
            cues: Cues::default(),
        };
        let (connections, cues) = (Arc::clone(&server.connections), server.cues.clone());
        tokio::spawn(async move {
            loop {
                let (tcp, _) = listener.accept().await.unwrap();
                connections.fetch_add(1, Ordering::SeqCst);
                let (tls, cues) = (tls.clone(), cues.clone());
                tokio::spawn(async move {
                    match tls {
                        None => serve(TokioIo::new(tcp), true, cues).await,
                        Some(tls) => {
                            let Ok(stream) = tls.accept(tcp).await else { return };
                            let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
                            serve(TokioIo::new(stream), http2, cues).await;
                        }
                    }
                });
            }
        });
        server
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    fn origin(&self, secure: bool, http2: bool, tls: TlsSettings) -> Arc<Origin> {
        let endpoints = vec![Endpoint { https: secure, authority: self.authority.clone(), weight: 1 }];
        let settings = OriginSettings { endpoints, http2, tls, ..OriginSettings::default() };
        let clock = Clock::system();
        let transport = Transport::Hyper(HyperTransport::new(&settings, &clock).unwrap());
        Origin::new(settings, transport, clock)
    }

    fn trusted(&self) -> TlsSettings {
        TlsSettings { ca_file: Some(self.certificate.clone()), ..TlsSettings::default() }
    }
}

async fn serve<I: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static>(io: I, http2: bool, cues: Cues) {
    let break_off = Arc::clone(&cues.break_off);
    let answer = service_fn(move |request| answer(request, Arc::clone(&break_off)));
    if !http2 {
        let _ = hyper::server::conn::http1::Builder::new().serve_connection(io, answer).await;
        return;
    }
    let connection = hyper::server::conn::http2::Builder::new(TokioExecutor::new()).serve_connection(io, answer);
    tokio::pin!(connection);
    tokio::select! {
        _ = &mut connection => return,
        () = cues.go_away.notified() => connection.as_mut().graceful_shutdown(),
    }
    let _ = connection.await;
}

async fn answer(request: Request<Incoming>, break_off: Arc<Notify>) -> Result<Response<OutBody>, BoxError> {
    let host = request.headers().get("host").map(|host| host.to_str().unwrap().to_owned());
    let asked = format!(
        "{:?} {} authority={} host={}",
        request.version(),
        request.uri().path_and_query().unwrap(),
        request.uri().authority().map_or("-", |authority| authority.as_str()),
        host.as_deref().unwrap_or("-"),
    );
    let path = request.uri().path().to_owned();
    let received = request.into_body().collect().await?.to_bytes().len();
    let whole = |text: String| Full::new(Bytes::from(text)).map_err(|never| match never {}).boxed_unsync();
    Ok(match path.as_str() {
        "/breaks" => Response::new(
            Breaks { begun: false, cue: Box::pin(async move { break_off.notified().await }) }.boxed_unsync(),
        ),
        "/fails" => return Err("refused by the test".into()),
        _ => Response::new(whole(format!("{asked} body={received}"))),
    })
}

/// One frame, then, at the cue, an error: HTTP/2 resets the stream.
struct Breaks {
    begun: bool,
    cue: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl http_body::Body for Breaks {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, BoxError>>> {
        if !std::mem::replace(&mut self.begun, true) {
            return Poll::Ready(Some(Ok(http_body::Frame::data(Bytes::from_static(b"a")))));
        }
        self.cue.as_mut().poll(cx).map(|()| Some(Err("broken".into())))
    }
}

fn get(path: &str) -> Request<OutBody> {
    Request::builder().uri(path).header("host", "client.example").body(empty_body()).unwrap()
}

async fn told(origin: &Origin, request: Request<OutBody>) -> String {
    match origin.fetch(request, true, None).await {
        Ok(fetched) => match fetched.body.collect().await {
            Ok(body) => String::from_utf8(body.to_bytes().to_vec()).unwrap(),
            Err(error) => format!("then {}", error.kind.name()),
        },
        Err(error) => error.to_string(),
    }
}

#[tokio::test]
async fn http2_by_prior_knowledge_shares_one_connection_and_keeps_the_clients_host() {
    let server = Server::start(None).await;
    let origin = server.origin(false, true, TlsSettings::default());
    let outcomes: Arc<Mutex<Vec<String>>> = Arc::default();
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..50 {
        let (origin, outcomes) = (Arc::clone(&origin), Arc::clone(&outcomes));
        tasks.spawn(async move {
            let told = told(&origin, get("/a/%2e%2e/b?x")).await;
            outcomes.lock().unwrap().push(told);
        });
    }
    tasks.join_all().await;
    let outcomes = outcomes.lock().unwrap();
    assert_eq!(outcomes.len(), 50);
    for told in outcomes.iter() {
        assert_eq!(told, "HTTP/2.0 /a/%2e%2e/b?x authority=client.example host=- body=0");
    }
    assert_eq!(server.connections(), 1);
    assert_eq!(origin.state().in_flight, 0);
}

#[tokio::test]
async fn http2_answers_know_their_end() {
    let server = Server::start(None).await;
    let origin = server.origin(false, true, TlsSettings::default());
    let fetched = origin.fetch(get("/"), true, None).await.unwrap();
    assert_eq!((fetched.head.version, fetched.framing), (Version::HTTP_2, Framing::ContentLength));
    let fetched = origin.fetch(get("/breaks"), true, None).await.unwrap();
    assert_eq!((fetched.framing, fetched.body.exact_length()), (Framing::Chunked, None));
    server.cues.break_off.notify_one();
    assert_eq!(fetched.body.collect().await.unwrap_err().kind, FetchErrorKind::Truncated);
    assert!(told(&origin, get("/fails")).await.starts_with("closed"));

    let post =
        Request::post("/up").header("host", "h").body(Full::from("abc").map_err(|never| match never {}).boxed_unsync());
    assert!(told(&origin, post.unwrap()).await.ends_with("body=3"));
    assert_eq!(server.connections(), 1, "a broken stream does not cost the connection");
}

#[tokio::test]
async fn an_http2_connection_that_goes_away_is_replaced() {
    let server = Server::start(None).await;
    let origin = server.origin(false, true, TlsSettings::default());
    for round in 1..=20 {
        assert!(told(&origin, get("/")).await.starts_with("HTTP/2.0"), "round {round}");
        server.cues.go_away.notify_waiters(); // Races with the next request, on purpose.
    }
    assert!(server.connections() > 1);
}

#[tokio::test]
async fn a_refused_stream_was_not_looked_at_and_may_be_repeated() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let authority = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        let mut connection = h2::server::handshake(listener.accept().await.unwrap().0).await.unwrap();
        let mut odd = false;
        while let Some(Ok((_, mut respond))) = connection.accept().await {
            odd = !odd;
            if odd {
                respond.send_reset(h2::Reason::REFUSED_STREAM);
            } else {
                respond.send_response(Response::new(()), true).unwrap();
            }
        }
    });
    let endpoints = vec![Endpoint { https: false, authority, weight: 1 }];
    let settings = OriginSettings { endpoints, http2: true, ..OriginSettings::default() };
    let transport = Transport::Hyper(HyperTransport::new(&settings, &Clock::system()).unwrap());
    let origin = Origin::new(settings, transport, Clock::system());
    for (replayable, retries) in [(true, 1), (true, 2), (false, 2)] {
        let outcome = origin.fetch(get("/"), replayable, None).await;
        assert_eq!(outcome.is_ok(), replayable, "{outcome:?}");
        assert_eq!(origin.state().retries, retries);
    }
}

#[tokio::test]
async fn tls_speaks_what_both_sides_can() {
    for (offer, http2, expected) in [
        (&["h2", "http/1.1"][..], true, "HTTP/2.0 / authority=client.example host=-"),
        (&["h2", "http/1.1"], false, "HTTP/1.1 / authority=- host=client.example"),
        (&["http/1.1"], true, "HTTP/1.1 / authority=- host=client.example"),
        (&[], true, "HTTP/1.1 / authority=- host=client.example"),
    ] {
        let server = Server::start(Some(offer)).await;
        let origin = server.origin(true, http2, server.trusted());
        for _ in 0..2 {
            assert_eq!(told(&origin, get("/")).await, format!("{expected} body=0"));
        }
    }
}

#[tokio::test]
async fn a_backend_is_believed_only_if_its_certificate_is() {
    let server = Server::start(Some(&["http/1.1"])).await;
    let other = Server::start(Some(&["http/1.1"])).await;
    let named = |name: &str, tls: TlsSettings| TlsSettings { server_name: Some(name.to_owned()), ..tls };
    for (tls, expected) in [
        (server.trusted(), "HTTP/1.1"),
        (named("other.example", server.trusted()), "HTTP/1.1"),
        (named("wrong.example", server.trusted()), "connect"),
        (other.trusted(), "connect"),
        (TlsSettings { insecure: true, ..TlsSettings::default() }, "HTTP/1.1"),
        (named("wrong.example", TlsSettings { insecure: true, ..TlsSettings::default() }), "HTTP/1.1"),
    ] {
        let outcome = told(&server.origin(true, false, tls.clone()), get("/")).await;
        assert!(outcome.starts_with(expected), "{outcome}");
    }
}

#[test]
fn tls_that_cannot_work_is_refused_when_it_is_set_up() {
    let settings = |tls| OriginSettings {
        endpoints: vec![Endpoint { https: true, authority: "a".to_owned(), weight: 1 }],
        tls,
        ..OriginSettings::default()
    };
    let pem = |text: &str| TlsSettings { ca_file: Some(text.as_bytes().to_vec()), ..TlsSettings::default() };
    for (tls, expected) in [
        (pem(""), "no certificate"),
        (pem("-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n"), "not PEM"),
        (pem("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"), "unusable"),
        (TlsSettings { server_name: Some("a b".to_owned()), insecure: true, ..TlsSettings::default() }, "no name"),
    ] {
        let clock = tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async { Clock::system() });
        let complaint = HyperTransport::new(&settings(tls), &clock).unwrap_err().to_string();
        assert!(complaint.contains(expected), "{complaint}");
    }
}
