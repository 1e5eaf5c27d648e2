//! Every refusal says why, in Cache-Status and in its body. One row for each reason that no other conversation is about.

use bytes::Bytes;
use forebay::serve::admit::Client;
use forebay::serve::body::{Body, BoxError, ClientStalled};
use http::Request;
use http_body::Frame;
use http_body_util::StreamBody;

use crate::talk::{Asking, Talk, secs};

async fn check(config: &str, ask: impl Fn(&Talk) -> Asking, status: u16, detail: &str) {
    let t = Talk::with(config);
    t.origin("/p").replies("body").with("cache-control: max-age=10");
    let said = ask(&t).await;
    said.code(status).cache_has(&format!("detail={detail}"));
    t.origin("/p").was_asked(0);
    let json: serde_json::Value = serde_json::from_slice(&said.body).unwrap();
    assert_eq!(json["reason"], detail);
}

#[tokio::test(start_paused = true)]
async fn what_is_refused_at_the_door_never_reaches_the_backend() {
    let get = |line: &'static str| move |t: &Talk| t.get("/p").with(line);
    let small = "[gateway]\nmax_request_body = 2\n";
    check("", get("connection: cookie"), 400, "bad-connection").await;
    check("", get("transfer-encoding: gzip, chunked"), 400, "bad-framing").await;
    check("", get("content_length: 5"), 400, "bad-framing").await;
    check("", get("expect: 200-ok"), 417, "bad-expect").await;
    check("", |t| t.get("/p").body("x"), 400, "request-body").await;
    check("", |t| t.get("/p").with("host: a b"), 400, "bad-host").await;
    check("", get("cdn-loop: forebay"), 508, "loop").await;
    check("", |t| t.get(&format!("/{}", "x".repeat(9_000))), 414, "uri-too-long").await;
    check(small, |t| t.ask("POST", "/p").body("xxx"), 413, "body-too-large").await;
    check("[gateway]\nhosts = [\"a.test\"]\n", |t| t.get("/p"), 421, "unknown-host").await;
}

/// The listener ends a body that pauses for too long in this way.
#[tokio::test(start_paused = true)]
async fn a_client_that_stalls_in_its_own_body_is_told_so() {
    let t = Talk::new();
    let pieces: Vec<Result<Frame<Bytes>, BoxError>> =
        vec![Ok(Frame::data(Bytes::from_static(b"half"))), Err(Box::new(ClientStalled))];
    let body = StreamBody::new(crate::talk::tokio_stream(pieces));
    let request = Request::builder().method("POST").uri("/p").header("host", "example.com").body(body).unwrap();
    let client = Client { address: ([192, 0, 2, 1], 4_000).into(), secure: false };
    let answer = t.gateway.handle(client, &|| None, request).await;
    assert_eq!(answer.status(), 408);
    assert_eq!(answer.headers()["cache-status"], "forebay; detail=request-stalled");
}

#[tokio::test(start_paused = true)]
async fn an_event_stream_is_not_kept_because_it_has_no_end() {
    let t = Talk::new();
    t.origin("/p").replies("data: 1\n\n").with("cache-control: max-age=10").with("content-type: text/event-stream");
    t.get("/p").await.is("data: 1\n\n").cache("fwd=uri-miss; fwd-status=200; detail=endless");
}

#[tokio::test(start_paused = true)]
async fn a_backend_that_failed_repeatedly_is_left_alone() {
    let t = Talk::with("[origin]\nurl = \"http://backend.test\"\nbreaker = { consecutive = 2 }\n");
    t.origin("/p").refuses();
    for _ in 0..2 {
        t.get("/p").await.code(502).cache("detail=connect");
    }
    t.get("/p").await.code(503).cache("detail=breaker").header("retry-after", "1");
    t.origin("/p").was_asked(2);
    t.origin("/p").replies("back");
    t.advance(secs(2)).await;
    t.get("/p").await.is("back");
}

#[tokio::test(start_paused = true)]
async fn explain_says_that_only_other_variants_are_stored() {
    let t = Talk::new();
    t.origin("/p").replies("guten Tag").with("cache-control: max-age=10").with("vary: accept-language");
    t.get("/p").with("accept-language: de").await.is("guten Tag");
    let request = Request::get("/p").header("host", "example.com").header("accept-language", "fr");
    let client = Client { address: ([192, 0, 2, 1], 4_000).into(), secure: false };
    let said = t.gateway.explain(client, request.body(Body::empty()).unwrap(), false).await;
    let json = serde_json::to_value(&said).unwrap();
    assert_eq!((&json["verdict"], &json["reason"]["code"]), (&"fetch".into(), &"vary-miss".into()), "{json}");
    t.get("/p").with("accept-language: fr").await.cache_has("fwd=vary-miss");
}
