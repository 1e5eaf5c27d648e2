//! RFC 9110 §7.6, RFC 7239, RFC 8586: what a gateway adds, takes away, and recognises.

use crate::talk::Talk;

/// The value of a field in the latest request for `/p`, its lines joined; empty if there is none.
fn sent(t: &Talk, name: &str) -> String {
    let asked = t.origin("/p").asked_last();
    let lines: Vec<_> = asked.headers.get_all(name).iter().map(|value| value.to_str().unwrap().to_owned()).collect();
    lines.join(", ")
}

/// Asks for `/p` on every path a request can take: filled, passed, by HEAD.
async fn on_all_paths(config: &str, asked: &str, compare: impl Fn(&Talk)) {
    for method in ["GET", "HEAD", "POST"] {
        let t = Talk::with(config);
        t.transcript.note(format!("{method} {asked:?}"));
        t.origin("/p").answers("cache-control: max-age=60");
        t.ask(method, "/p").with_all(asked).await.code(200);
        compare(&t);
    }
}

#[tokio::test(start_paused = true)]
async fn via_is_added_to_requests_and_answers_alike() {
    on_all_paths("", "", |t| assert_eq!(sent(t, "via"), "1.1 forebay")).await;
    on_all_paths("", "via: 1.0 fred, 1.1 p.example", |t| {
        assert_eq!(sent(t, "via"), "1.0 fred, 1.1 p.example, 1.1 forebay");
    })
    .await;

    let t = Talk::new();
    t.origin("/p").answers("cache-control: max-age=60 | via: 1.1 inner");
    for _ in 0..2 {
        t.get("/p").await.header("via", "1.1 inner, 1.1 forebay");
    }
    t.ask("POST", "/p").await.header("via", "1.1 inner, 1.1 forebay");
}

#[tokio::test(start_paused = true)]
async fn via_may_be_left_out_of_answers() {
    let config = "[gateway]\nvia = false\n";
    let t = Talk::with(config);
    t.origin("/p").answers("cache-control: max-age=60 | via: 1.1 inner");
    t.get("/p").await.header("via", "1.1 inner");
    t.get("/p").await.header("via", "1.1 inner");
    // "MUST send an appropriate Via header field in each inbound request message".
    on_all_paths(config, "via: 1.0 fred", |t| assert_eq!(sent(t, "via"), "1.0 fred, 1.1 forebay")).await;
}

#[tokio::test(start_paused = true)]
async fn a_request_that_was_here_before_is_refused() {
    for seen in [
        "via: 1.1 forebay",
        "via: 1.0 fred, 1.1 Forebay (comment)",
        "cdn-loop: forebay",
        "cdn-loop: other; v=1, forebay; v=2",
        "cdn-loop: other | cdn-loop: FOREBAY",
    ] {
        let t = Talk::new();
        t.origin("/p").answers("cache-control: max-age=60");
        t.get("/p").await.code(200);
        t.get("/p").with_all(seen).await.code(508).cache("detail=loop");
        t.ask("POST", "/p").with_all(seen).await.code(508);
        t.origin("/p").was_asked(1);
    }
    on_all_paths("", "cdn-loop: other; v=1 | via: 1.1 forebay-2", |t| {
        assert_eq!(sent(t, "cdn-loop"), "other; v=1, forebay");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn two_gateways_that_point_at_each_other_end_the_loop() {
    let inner = Talk::new();
    let outer = inner.in_front_of("");
    outer.get("/p").await.code(508);
    inner.origin("/p").was_asked(0);
}

#[tokio::test(start_paused = true)]
async fn the_gateway_says_for_whom_it_asks_and_believes_nobody() {
    let lies = "x-forwarded-for: 10.0.0.1 | x-forwarded-proto: https | x-forwarded-host: evil.example \
                | forwarded: for=10.0.0.1;host=evil.example;proto=https";
    for asked in ["", lies] {
        on_all_paths("", asked, |t| {
            assert_eq!(sent(t, "x-forwarded-for"), "192.0.2.1");
            assert_eq!(sent(t, "x-forwarded-proto"), "http");
            assert_eq!(sent(t, "x-forwarded-host"), "example.com");
            assert_eq!(sent(t, "forwarded"), "for=192.0.2.1;host=\"example.com\";proto=http");
            assert_eq!(sent(t, "host"), "example.com");
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_trusted_proxy_is_believed() {
    let config = "[gateway]\ntrusted_proxies = [\"192.0.2.0/24\", \"10.0.0.0/8\"]\n";
    let told = "x-forwarded-for: 203.0.113.9, 10.1.1.1 | x-forwarded-proto: https | x-forwarded-host: api.example";
    on_all_paths(config, told, |t| {
        assert_eq!(sent(t, "x-forwarded-proto"), "https");
        assert_eq!(sent(t, "x-forwarded-host"), "api.example");
        assert_eq!(sent(t, "host"), "api.example");
        assert!(sent(t, "x-forwarded-for").starts_with("203.0.113.9, "), "{}", sent(t, "x-forwarded-for"));
        assert!(sent(t, "x-forwarded-for").ends_with(", 192.0.2.1"), "{}", sent(t, "x-forwarded-for"));
        assert!(sent(t, "forwarded").ends_with("for=192.0.2.1;host=\"api.example\";proto=https"));
    })
    .await;
}

/// What a trusted proxy says is part of the key, so that nobody else can put an answer in its place.
#[tokio::test(start_paused = true)]
async fn what_is_believed_about_host_and_scheme_is_in_the_key() {
    let t = Talk::with("[gateway]\ntrusted_proxies = [\"192.0.2.0/24\"]\n");
    t.origin("/p").answers("cache-control: max-age=60");
    t.get("/p").await.cache_has("stored");
    t.get("/p").with("x-forwarded-proto: https").await.cache_has("stored");
    t.get("/p").with("x-forwarded-host: api.example").await.cache_has("stored");
    // From elsewhere it is worth nothing: this is the first answer again.
    let stranger = t.get("/p").with("x-forwarded-proto: https").with("x-forwarded-host: api.example");
    stranger.from([198, 51, 100, 1]).await.cache("hit; ttl=60; detail=memory");
    t.origin("/p").was_asked(3);
}

/// HB: fields of one connection end here.
#[tokio::test(start_paused = true)]
async fn hop_by_hop_fields_do_not_reach_the_backend() {
    let asked = "connection: x-hop, keep-alive | x-hop: 1 | keep-alive: timeout=5 | te: trailers | proxy-connection: close \
                 | proxy-authorization: Basic dTpw | trailer: x-end | upgrade: h2c | http2-settings: AAMAAABk | x-end: 1";
    on_all_paths("", asked, |t| {
        for name in [
            "connection",
            "x-hop",
            "keep-alive",
            "te",
            "proxy-connection",
            "proxy-authorization",
            "trailer",
            "upgrade",
            "http2-settings",
        ] {
            assert_eq!(sent(t, name), "", "{name}");
        }
        assert_eq!(sent(t, "x-end"), "1");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn connection_may_not_name_what_the_answer_depends_on() {
    for name in ["host", "cookie", "authorization", "cache-control", "range", "if-none-match", "content-length", "via"]
    {
        let t = Talk::new();
        t.origin("/p").answers("cache-control: max-age=60");
        t.get("/p").with(&format!("connection: close, {name}")).await.code(400).cache("detail=bad-connection");
        t.origin("/p").was_asked(0);
    }
}

/// §7.2: one Host, and one that every server reads alike.
#[tokio::test(start_paused = true)]
async fn the_host_is_folded_before_it_is_keyed_and_forwarded() {
    let t = Talk::new();
    t.origin("/p").answers("cache-control: max-age=60");
    for host in ["example.com", "EXAMPLE.com", "example.com.", "example.com:80"] {
        t.get("/p").with(&format!("host: {host}")).await.code(200);
    }
    assert_eq!(sent(&t, "host"), "example.com");
    t.origin("/p").was_asked(1);
    t.get("/p").with("host: example.com:8080").await.cache_has("stored");
    assert_eq!(sent(&t, "host"), "example.com:8080");
}

/// §7.7: no-transform leaves the message as it is, and what is added is added to a copy.
#[tokio::test(start_paused = true)]
async fn an_answer_reaches_the_client_with_the_fields_it_had() {
    let t = Talk::new();
    t.origin("/p").answers(
        "cache-control: max-age=60, no-transform, x-own=1 | x-a: 1 | x-a: 2 | warning: 199 - \"x\" | link: </a>",
    );
    for _ in 0..2 {
        let said = t.get("/p").await;
        said.header("cache-control", "max-age=60, no-transform, x-own=1").header("x-a", "1, 2").header("link", "</a>");
        said.header("warning", "199 - \"x\"");
    }
}
