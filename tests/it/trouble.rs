//! Backends in trouble, and clients that send or take much: who waits for what, and for how long.

use bytes::Bytes;
use forebay::breaker::BreakerState;
use http_body_util::{BodyExt, StreamBody};

use crate::talk::{Talk, millis, secs};

const FRESH: &str = "cache-control: max-age=60";

const THREE: &str = r#"
[origin]
url = ["http://a.test", "http://b.test", "http://c.test"]
weights = [2, 1, 1]
"#;

/// The endpoints that were asked for `path`, as letters.
fn endpoints(t: &Talk, path: &str) -> String {
    t.origin(path).asked().iter().filter_map(|asked| asked.endpoint.chars().next()).collect()
}

#[tokio::test(start_paused = true)]
async fn requests_are_shared_out_by_weight() {
    let t = Talk::with(THREE);
    for _ in 0..8 {
        t.origin("/p").replies("yes");
        t.get("/p").await.is("yes");
    }
    assert_eq!(endpoints(&t, "/p"), "abcaabca");
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_refuses_costs_no_client_its_answer_and_is_left_alone_soon() {
    let t = Talk::with(&format!("{THREE}\nbreaker = {{ consecutive = 2, first_pause = \"1s\", probes = 1 }}\n"));
    t.origin("/p").replies("yes");
    t.backend.down(&["a.test"]);
    for _ in 0..8 {
        t.get("/p").await.is("yes");
    }
    let state = |index: usize| t.gateway.origins()[0].state().endpoints[index].breaker;
    assert_eq!([state(0), state(1)], [BreakerState::Refusing, BreakerState::Admitting]);
    assert_eq!(t.gateway.origins()[0].state().retries, 2, "then nobody tried it any more");
    assert!(!endpoints(&t, "/p").contains('a'));

    // Back again: after the pause one request finds out, and what it finds is believed.
    t.backend.down(&[]);
    t.advance(secs(1)).await;
    for _ in 0..8 {
        t.get("/p").await.is("yes");
    }
    assert_eq!(state(0), BreakerState::Admitting);
    assert!(endpoints(&t, "/p").contains('a'));
}

#[tokio::test(start_paused = true)]
async fn the_breaker_answers_for_a_backend_that_is_gone_and_tries_it_after_a_pause() {
    let t = Talk::with("[origin]\nurl = \"http://a.test\"\nbreaker = { consecutive = 3, first_pause = \"2s\" }\n");
    t.origin("/kept").replies("kept").with("cache-control: max-age=1, stale-if-error=600");
    t.get("/kept").await.is("kept");
    t.advance(secs(2)).await;
    t.backend.down(&["a.test"]);
    for _ in 0..3 {
        t.get("/p").await.code(502).cache("detail=connect");
    }
    for _ in 0..5 {
        t.get("/p").await.code(503).cache("detail=breaker").header("retry-after", "1");
    }
    t.get("/kept").await.is("kept").cache_has("detail=sie");
    t.backend.down(&[]);
    t.get("/p").await.code(503);
    t.origin("/p").was_asked(0);

    t.advance(secs(2)).await;
    t.origin("/p").replies("back");
    t.get("/p").await.is("back");
}

#[tokio::test(start_paused = true)]
async fn errors_open_the_breaker_by_their_share_and_a_failed_probe_doubles_the_pause() {
    let t = Talk::with(
        "[origin]\nurl = \"http://a.test\"\nbreaker = { failure_percent = 50, min_outcomes = 4, first_pause = \"1s\", probes = 1 }\n",
    );
    t.origin("/p").replies("no").code(503);
    for _ in 0..4 {
        t.get("/p").await.is("no").code(503);
    }
    t.get("/p").await.cache("detail=breaker");
    t.advance(secs(1)).await;
    t.get("/p").await.is("no");
    t.advance(secs(1)).await;
    t.get("/p").await.cache("detail=breaker");
    t.advance(secs(1)).await;
    t.origin("/p").replies("yes");
    t.get("/p").await.is("yes");
    t.get("/p").await.is("yes");
    t.origin("/p").was_asked(7);
}

#[tokio::test(start_paused = true)]
async fn a_500_is_about_its_url_and_says_nothing_of_the_backend() {
    let t = Talk::with("[origin]\nurl = \"http://a.test\"\nbreaker = { consecutive = 1, min_outcomes = 1 }\n");
    t.origin("/p").replies("no").code(500);
    for _ in 0..30 {
        t.get("/p").await.is("no").code(500);
    }
}

#[tokio::test(start_paused = true)]
async fn active_checks_take_an_endpoint_out_and_back_in() {
    let t = Talk::with(
        r#"
        [origin]
        url = ["http://a.test", "http://b.test"]
        breaker = { consecutive = 10000, failure_percent = 101 }
        health = { path = "/health", interval = "1s", unhealthy_after = 2, healthy_after = 2 }
        "#,
    );
    t.origin("/health").replies("well");
    t.origin("/p").replies("yes");
    let watching = tokio::spawn(t.gateway.origins()[0].clone().watch(std::future::pending()));
    t.advance(secs(1)).await;
    t.backend.down(&["a.test"]);
    let healthy = || t.gateway.origins()[0].state().endpoints[0].healthy;
    t.advance(secs(1)).await;
    assert!(healthy(), "one bad answer is none");
    t.advance(secs(1)).await;
    assert!(!healthy() && t.gateway.origins()[0].state().is_healthy());
    for _ in 0..4 {
        t.get("/p").await.is("yes");
    }
    assert_eq!(endpoints(&t, "/p"), "bbbb");
    assert_eq!(t.gateway.origins()[0].state().retries, 0);
    t.backend.down(&[]);
    t.advance(secs(1)).await;
    t.advance(secs(1)).await;
    assert!(healthy());
    watching.abort();
}

#[tokio::test(start_paused = true)]
async fn a_backend_that_does_not_answer_costs_a_client_the_time_that_was_agreed() {
    let t = Talk::with("[origin]\nurl = \"http://a.test\"\nfirst_byte_timeout = \"3s\"\n");
    t.origin("/p").hangs();
    for method in ["GET", "POST"] {
        let before = t.clock.now();
        t.ask(method, "/p").await.code(504).cache("detail=timeout").header("cache-control", "no-store");
        assert_eq!(t.clock.now().since(before), secs(3), "{method}");
    }
    // Nothing was repeated: it may have been acted upon.
    t.origin("/p").was_asked(2);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_falls_silent_breaks_off_and_is_not_kept() {
    let t = Talk::with("[origin]\nurl = \"http://a.test\"\nidle_body_timeout = \"5s\"\n");
    let held = t.origin("/p").holds();
    let asking = t.get("/p").start();
    t.settle().await;
    let pieces = held.streams(&[FRESH]);
    pieces.send(Ok("begin".into())).unwrap();
    for _ in 0..3 {
        // Slow is not silent.
        t.advance(secs(4)).await;
        pieces.send(Ok("…".into())).unwrap();
    }
    t.advance(secs(6)).await;
    asking.await.unwrap().breaks_off();
    t.origin("/p").replies("whole").with(FRESH);
    t.get("/p").await.is("whole").cache("fwd=uri-miss; fwd-status=200; stored");
}

#[tokio::test(start_paused = true)]
async fn only_what_was_certainly_not_sent_is_sent_again() {
    let t = Talk::with("[origin]\nurl = [\"http://a.test\", \"http://b.test\"]\n");
    t.origin("/p").replies("yes");
    t.backend.down(&["a.test"]);
    for method in ["GET", "PUT", "DELETE"] {
        t.ask(method, "/p").await.is("yes");
    }
    t.origin("/p").was_asked(3);
    // A body is read once. Of two requests one meets the endpoint that is down, and stays without an answer.
    let mut statuses = Vec::new();
    for _ in 0..2 {
        statuses.push(t.ask("POST", "/p").body("once").await.parts.status.as_u16());
    }
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 502]);
    t.origin("/p").was_asked(4);
}

#[tokio::test(start_paused = true)]
async fn retries_are_a_small_share_of_all_requests() {
    let t = Talk::with(
        "[origin]\nurl = [\"http://a.test\", \"http://b.test\"]\nretry_budget_percent = 10\nbreaker = { consecutive = 10000, failure_percent = 101 }\n",
    );
    t.backend.down(&["a.test", "b.test"]);
    for _ in 0..200 {
        t.get("/p").await.code(502);
    }
    // A reserve of ten, and a tenth of the requests.
    assert_eq!(t.gateway.origins()[0].state().retries, 30);
}

#[tokio::test(start_paused = true)]
async fn one_slow_backend_does_not_slow_another() {
    let t = Talk::with(
        r#"
        [origins.slow]
        url = "http://slow.test"
        max_concurrent = 1
        max_queue = 0
        [origins.fast]
        url = "http://fast.test"
        [defaults]
        origin = "fast"
        [[route]]
        path = "/slow/{*rest}"
        origin = "slow"
        "#,
    );
    t.origin("/slow/1").hangs();
    let _waiting = t.get("/slow/1").start();
    t.settle().await;
    t.get("/slow/2").await.code(503).cache("detail=saturated");
    t.origin("/p").replies("yes");
    t.get("/p").await.is("yes");
}

#[tokio::test(start_paused = true)]
async fn events_go_out_as_they_come_for_as_long_as_they_come() {
    let t = Talk::new();
    for kind in ["text/event-stream", "Text/Event-Stream; charset=utf-8", "multipart/x-mixed-replace;boundary=x"] {
        let held = t.origin("/events").holds();
        let asking = tokio::spawn(t.get("/events").begin());
        t.settle().await;
        let pieces = held.streams(&[&format!("content-type: {kind}"), FRESH]);
        let mut response = asking.await.unwrap();
        assert!(response.headers()["cache-status"].to_str().unwrap().ends_with("detail=endless"));
        for number in 0..3 {
            // Longer than any timeout that there is for other answers.
            t.advance(secs(3600)).await;
            let event = format!("data: {number}\n\n");
            pieces.send(Ok(event.clone().into())).unwrap();
            let frame = response.frame().await.unwrap().unwrap();
            assert_eq!(frame.into_data().unwrap(), event);
        }
        // The client leaves, and the backend learns of it.
        drop(response);
        t.settle().await;
        assert!(pieces.is_closed());
    }
}

#[tokio::test(start_paused = true)]
async fn each_who_listens_to_events_has_a_stream_of_its_own() {
    let t = Talk::new();
    let held = [t.origin("/events").holds(), t.origin("/events").holds()];
    let askers = [tokio::spawn(t.get("/events").begin()), tokio::spawn(t.get("/events").begin())];
    t.settle().await;
    let mut streams = Vec::new();
    for held in held {
        streams.push(held.streams(&["content-type: text/event-stream"]));
        t.settle().await;
    }
    for asker in askers {
        assert_eq!(asker.await.unwrap().status(), 200);
    }
    t.origin("/events").was_asked(2);
}

#[tokio::test(start_paused = true)]
async fn any_answer_goes_out_piece_by_piece_while_it_is_being_stored() {
    let t = Talk::new();
    let held = t.origin("/p").holds();
    let asking = tokio::spawn(t.get("/p").begin());
    t.settle().await;
    let pieces = held.streams(&[FRESH]);
    let mut response = asking.await.unwrap();
    for piece in ["one, ", "two, ", "three"] {
        pieces.send(Ok(piece.into())).unwrap();
        assert_eq!(response.frame().await.unwrap().unwrap().into_data().unwrap(), piece);
    }
    drop(pieces);
    assert!(response.frame().await.is_none());
    t.get("/p").await.is("one, two, three").cache_has("hit");
}

#[tokio::test(start_paused = true)]
async fn a_websocket_is_refused_with_a_clear_answer() {
    let t = Talk::new();
    let asking =
        t.get("/chat").with("connection: Upgrade").with("sec-websocket-key: x").with("sec-websocket-version: 13");
    let said = asking.with("upgrade: WebSocket").await;
    said.code(501).header("connection", "close").cache("detail=upgrade");
    assert!(String::from_utf8_lossy(&said.body).contains("WebSocket"));
    t.origin("/chat").was_asked(0);
    // Any other protocol is declined by not mentioning it (RFC 9110 §7.8).
    t.origin("/p").replies("yes");
    t.get("/p")
        .with("upgrade: h2c")
        .with("connection: upgrade, http2-settings")
        .with("http2-settings: x")
        .await
        .is("yes");
    let asked = t.origin("/p").asked_last();
    for name in ["upgrade", "connection", "http2-settings"] {
        assert!(!asked.headers.contains_key(name), "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_passes_unchanged_and_its_answer_is_nobody_elses() {
    let t = Talk::new();
    t.origin("/p").replies("done").code(201).with(FRESH).with("set-cookie: id=1").with("location: /p/1");
    for method in ["POST", "PUT", "PATCH", "DELETE"] {
        let said = t.ask(method, "/p").with("content-type: text/x").with("cookie: id=1").body("a\0\r\nb").await;
        said.is("done").code(201).header("set-cookie", "id=1").header("location", "/p/1");
        said.cache("fwd=method; fwd-status=201; detail=method");
        let asked = t.origin("/p").asked_last();
        assert_eq!((asked.method.as_str(), &asked.body[..]), (method, &b"a\0\r\nb"[..]));
        assert_eq!((asked.text("content-type"), asked.text("cookie")), ("text/x".into(), "id=1".into()));
    }
    t.origin("/p").was_asked(4);
}

const SMALL: &str = "[gateway]\nmax_request_body = \"8B\"\n";

#[tokio::test(start_paused = true)]
async fn a_body_over_the_limit_is_refused_before_it_is_sent() {
    let t = Talk::with(SMALL);
    t.origin("/p").replies("yes");
    t.ask("POST", "/p").body("12345678").await.is("yes");
    t.ask("POST", "/p").body("123456789").await.code(413).cache("detail=body-too-large").header("connection", "close");
    t.origin("/p").was_asked(1);
}

#[tokio::test(start_paused = true)]
async fn a_body_of_unknown_length_is_refused_where_it_passes_the_limit() {
    let t = Talk::with(SMALL);
    t.origin("/p").replies("yes");
    for (pieces, status) in [(&["1234", "5678"][..], 200), (&["1234", "5678", "9"], 413)] {
        let (sender, body) = tokio::sync::mpsc::unbounded_channel();
        for piece in pieces {
            sender.send(Bytes::from_static(piece.as_bytes())).unwrap();
        }
        drop(sender);
        let request = http::Request::post("/p").header("host", "example.com").body(StreamBody::new(Chunks(body)));
        let client = forebay::serve::admit::Client { address: ([192, 0, 2, 1], 1).into(), secure: false };
        let response = t.gateway.handle(client, &|| None, request.unwrap()).await;
        assert_eq!(response.status(), status, "{pieces:?}");
    }
    // The client's fault is not held against the backend, and what it sent in part was never seen as a whole.
    t.origin("/p").was_asked(1);
    assert_eq!(t.gateway.origins()[0].state().endpoints[0].breaker, BreakerState::Admitting);
}

struct Chunks(tokio::sync::mpsc::UnboundedReceiver<Bytes>);

impl futures_core::Stream for Chunks {
    type Item = Result<http_body::Frame<Bytes>, std::convert::Infallible>;

    fn poll_next(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Self::Item>> {
        self.0.poll_recv(cx).map(|piece| piece.map(|piece| Ok(http_body::Frame::data(piece))))
    }
}

#[tokio::test(start_paused = true)]
async fn while_the_backend_hangs_every_reader_has_the_stale_answer_within_a_second() {
    let t = Talk::new();
    t.origin("/p").replies("kept").with("cache-control: max-age=10, stale-if-error=600");
    t.get("/p").await.is("kept");
    t.advance(secs(11)).await;
    t.origin("/p").hangs();
    let before = t.clock.now();
    let readers: Vec<_> = (0..50).map(|_| t.get("/p").start()).collect();
    for reader in readers {
        reader.await.unwrap().is("kept").cache_has("detail=sie");
    }
    assert!(t.clock.now().since(before) <= millis(900));
    t.origin("/p").was_asked(2);
}
