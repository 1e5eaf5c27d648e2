//! Section KP of the attack catalogue: no client chooses what others get. Named by ID.

use std::net::SocketAddr;

use bytes::Bytes;
use forebay::serve::admit::Client;
use http_body_util::{BodyExt, Full};

use crate::talk::{Talk, secs};

const FRESH: &str = "cache-control: max-age=60";

/// Fields by which some backends let a client change what they see, one client's conditions, and what is meant for this
/// hop only: none may shape an answer, by default.
const FORWARDING: &str = "
    x-forwarded x-forwarded-by x-forwarded-for x-forwarded-host x-forwarded-path x-forwarded-port
    x-forwarded-prefix x-forwarded-proto x-forwarded-protocol x-forwarded-scheme x-forwarded-server
    x-forwarded-ssl x-forwarded-uri x-forwarded-user forwarded x-host x-original-host x-original-url
    x-original-uri x-original-remote-addr x-rewrite-url x-http-method x-http-method-override
    x-http-host-override x-http-destinationurl x-http-path-override x-method-override x-proxy-url
    x-proxyuser-ip x-url-scheme x-scheme front-end-https base-url http-url proxy-host proxy-url
    request-uri uri url x-amz-website-redirect-location x-real-ip x-client-ip x-cluster-client-ip
    x-originating-ip x-remote-addr true-client-ip client-ip if-none-match if-modified-since if-range
    range te keep-alive proxy-authorization proxy-connection
";

/// What the RFC lets through to the backend, and `profile = "strict"` does not.
const ORDINARY: &str = "
    accept accept-language cookie dnt from max-forwards origin priority referer sec-ch-ua sec-fetch-site
    traceparent tracestate user-agent x-api-version x-csrf-token x-foo x-requested-with x-wap-profile
";

/// Sends a canary in each field, to a backend that shows the whole request, and looks for it in the next clean answer.
async fn poison(config: &str, names: &str, from: [u8; 4]) {
    let t = Talk::with(config);
    t.backend.mirrors(&[FRESH]);
    for (number, name) in names.split_whitespace().enumerate() {
        for method in ["GET", "HEAD"] {
            let path = format!("/{method}/{number}");
            t.ask(method, &path).from(from).with(&format!("{name}: canary-7")).await;
            let said = t.get(&path).from(from).await;
            let body = String::from_utf8_lossy(&said.body).to_ascii_lowercase();
            assert!(body.starts_with("get /") && !body.contains("canary"), "{name} by {method}: {body}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn kp_01_no_forwarding_field_of_a_client_shapes_what_is_kept() {
    poison("", FORWARDING, [192, 0, 2, 1]).await;
}

#[tokio::test(start_paused = true)]
async fn kp_01_nor_does_what_a_trusted_proxy_only_passes_on() {
    // The ones by which it says itself where the request belongs decide host and scheme, and those are in the key.
    let vouched = ["x-forwarded-host", "x-forwarded-proto"];
    let names: Vec<&str> = FORWARDING.split_whitespace().filter(|name| !vouched.contains(name)).collect();
    poison("[gateway]\ntrusted_proxies = [\"10.0.0.0/8\"]\n", &names.join(" "), [10, 0, 0, 1]).await;
}

#[tokio::test(start_paused = true)]
async fn kp_01_kp_15_kp_17_kp_18_in_the_strict_profile_no_field_at_all_does() {
    let all = [FORWARDING, ORDINARY].concat();
    poison("[defaults]\nprofile = \"strict\"\n", &all, [192, 0, 2, 1]).await;
}

#[tokio::test(start_paused = true)]
async fn kp_01_a_field_that_is_keyed_reaches_the_backend_and_only_its_own_askers() {
    let t = Talk::with("[defaults]\nkey = { headers = [\"X-Original-URL\", \"Origin\"] }\n");
    t.backend.mirrors(&[FRESH]);
    for line in ["x-original-url: canary-7", "origin: canary-7"] {
        let own = t.get("/p").with(line).await;
        assert!(String::from_utf8_lossy(&own.body).contains("canary-7"));
        t.get("/p").with(line).await.cache_has("hit");
        let clean = t.get("/p").await;
        assert!(!String::from_utf8_lossy(&clean.body).contains("canary-7"));
    }
}

#[tokio::test(start_paused = true)]
async fn kp_02_an_ignored_parameter_is_not_forwarded_either() {
    let t = Talk::with("[defaults]\nkey = { ignore_query = [\"utm_*\", \"callback\"] }\n");
    t.backend.mirrors(&[FRESH]);
    for query in ["utm_content=canary", "callback=canary", "a=1&callback=canary&utm_x=canary"] {
        let said = t.get(&format!("/p?{query}")).await;
        assert!(!String::from_utf8_lossy(&said.body).contains("canary"), "{query}");
    }
}

#[tokio::test(start_paused = true)]
async fn kp_03_the_gateway_says_itself_where_a_request_came_from() {
    let t = Talk::new();
    t.origin("/p").replies("yes");
    let asking = t.ask("POST", "/p").with("x-forwarded-for: 1.2.3.4").with("x-forwarded-host: evil.test");
    let asking = asking.with("x-forwarded-proto: https").with("forwarded: for=1.2.3.4").with("x-forwarded-port: 1");
    asking.with("x-forwarded-server: evil").with("x-forwarded-prefix: /evil").await;
    let asked = t.origin("/p").asked_last();
    assert_eq!(asked.text("forwarded"), "for=192.0.2.1;host=\"example.com\";proto=http");
    let seen = ["x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-forwarded-port", "x-forwarded-server"]
        .map(|name| asked.text(name));
    assert_eq!(seen, ["192.0.2.1", "example.com", "http", "", ""]);
}

#[tokio::test(start_paused = true)]
async fn kp_05_a_get_with_a_body_is_refused_and_nothing_of_it_sent() {
    let t = Talk::new();
    t.origin("/?a=1").replies("clean").with(FRESH);
    t.get("/?a=1").body("a=evil").await.code(400).cache("detail=request-body").header("connection", "close");
    t.origin("/?a=1").was_asked(0);
    t.get("/?a=1").await.is("clean");
    // Also when a stored answer would do.
    t.get("/?a=1").body("a=evil").await.code(400);
}

/// Each of these asks for something else than any other.
const APART: &[&str] = &[
    "/?a=1",
    "/?a=1&utm_content=x;a=evil",
    "/?a=1&a=2",
    "/?a=2&a=1",
    "/?a[]=1",
    "/?%61=1",
    "/?a=1?utm=x",
    "/?&&a=1",
    "/?a=1&",
    "/?A=1",
    "/?_method=DELETE",
    "/?",
    "/",
    "/a__b?c",
    "/a?b__c",
    "/a?b%00c",
    "/a//b",
    "/a/b",
    "/a/b/",
    "/%61/b",
    "/a%2fb",
    "/a%2Fb",
    "/A/b",
    "/a;x=1/b",
    "/a/b?",
];

#[tokio::test(start_paused = true)]
async fn kp_06_kp_07_kp_13_every_spelling_is_a_resource_of_its_own() {
    let t = Talk::new();
    t.backend.mirrors(&[FRESH]);
    for path in APART {
        let said = t.get(path).await;
        said.cache("fwd=uri-miss; fwd-status=200; stored");
        assert!(said.body.starts_with(format!("GET {path}\n").as_bytes()), "{path}: as received");
    }
    for path in APART {
        let said = t.get(path).await;
        assert!(said.cache_has("hit").body.starts_with(format!("GET {path}\n").as_bytes()), "{path}");
    }
}

#[tokio::test(start_paused = true)]
async fn kp_07_values_of_keyed_fields_and_cookies_do_not_run_into_each_other() {
    let t = Talk::with("[defaults]\nkey = { headers = [\"X-A\", \"X-B\"], cookies = [\"a\", \"b\"] }\n");
    t.backend.mirrors(&[FRESH]);
    for lines in [
        &["x-a: 1"][..],
        &["x-b: 1"],
        &["x-a: 1", "x-b: 1"],
        &["x-a: 1__b: 1"],
        &["x-a: 1", "x-a: 1"],
        &["x-a: 1, 1"],
        &["x-a:"],
        &[],
        &["cookie: a=1"],
        &["cookie: b=1"],
        &["cookie: a=1; b=1"],
        &["cookie: a=1%3b b=1"],
    ] {
        let said = lines.iter().fold(t.get("/p"), |asking, line| asking.with(line)).await;
        said.cache("fwd=uri-miss; fwd-status=200; stored");
    }
}

#[tokio::test(start_paused = true)]
async fn kp_09_kp_10_kp_11_the_targets_authority_wins_and_all_spellings_of_a_host_are_one() {
    let t = Talk::new();
    t.backend.mirrors(&[FRESH]);
    t.get("/p").with("host: victim.test").await.cache_has("stored");
    for (target, host) in [
        ("http://victim.test/p", "evil.test"),
        ("http://VICTIM.test:80/p", "victim.test"),
        ("/p", "Victim.Test"),
        ("/p", "victim.test."),
        ("/p", "victim.test:80"),
    ] {
        t.get(target).with(&format!("host: {host}")).await.code(200).cache_has("hit");
    }
    let said = t.get("http://evil.test/p").with("host: victim.test").await;
    assert!(String::from_utf8_lossy(&said.body).contains("\nhost: evil.test\n"));
    for port in ["443", "1337"] {
        t.get("/p").with(&format!("host: victim.test:{port}")).await.cache_has("uri-miss");
    }
    // Without a path the target is the root, in the form that a backend is sent.
    let root = t.get("http://victim.test").await;
    assert!(root.code(200).body.starts_with(b"GET /\n"));
    let query = t.get("http://victim.test?x").await;
    assert!(query.code(200).body.starts_with(b"GET /?x\n"));
    for host in ["", "a b", "a/b", "a@b", "[::1", "victim.test:99999", "a, b"] {
        t.get("/p").with(&format!("host: {host}")).await.code(400).cache("detail=bad-host");
    }
}

#[tokio::test(start_paused = true)]
async fn kp_12_tenants_and_schemes_share_nothing() {
    let t = Talk::new();
    t.backend.mirrors(&[FRESH]);
    let ask = async |host: &str, secure: bool| {
        let request = http::Request::get("/p").header("host", host).body(Full::new(Bytes::new())).unwrap();
        let client = Client { address: SocketAddr::from(([192, 0, 2, 1], 40_000)), secure };
        let response = t.gateway.handle(client, &|| None, request).await;
        let status = response.headers()["cache-status"].to_str().unwrap().to_owned();
        (status.contains("hit"), String::from_utf8_lossy(&response.collect().await.unwrap().to_bytes()).into_owned())
    };
    for (host, secure) in [("a.test", false), ("b.test", false), ("a.test", true), ("b.test", true)] {
        let (hit, body) = ask(host, secure).await;
        let proto = if secure { "https" } else { "http" };
        assert!(!hit && body.contains(&format!("host: {host}\n")), "{host} {secure}");
        assert!(body.contains(&format!("x-forwarded-proto: {proto}\n")), "{host} {secure}");
    }
    assert!(ask("a.test", true).await.0 && ask("a.test:443", true).await.0);
}

#[tokio::test(start_paused = true)]
async fn kp_14_a_get_is_never_answered_with_the_answer_to_another_method() {
    let t = Talk::new();
    for method in ["HEAD", "OPTIONS", "POST", "PROPFIND"] {
        let path = format!("/{method}");
        t.origin(&path).replies("of the other method").with(FRESH);
        t.ask(method, &path).await.code(200);
        t.origin(&path).replies("of GET").with(FRESH);
        t.get(&path).await.is("of GET").cache("fwd=uri-miss; fwd-status=200; stored");
    }
}

#[tokio::test(start_paused = true)]
async fn kp_14_a_head_with_fields_of_its_own_does_not_change_what_is_stored() {
    let t = Talk::new();
    t.origin("/p").replies("body").with(FRESH).with("etag: \"1\"").with("x-note: mine");
    t.get("/p").await.is("body");
    t.advance(secs(61)).await;
    t.head("/p").with("x-original-url: /admin").with("x-forwarded-host: evil.test").with("range: bytes=0-0").await;
    let asked = t.origin("/p").asked_last();
    assert_eq!(asked.method, "HEAD");
    for (name, seen) in [("x-original-url", ""), ("x-forwarded-host", "example.com"), ("range", "")] {
        assert_eq!(asked.text(name), seen, "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn kp_16_a_redirect_is_made_of_nothing_that_a_client_can_add() {
    let t = Talk::new();
    t.origin("/p").replies("").code(301).with("location: https://example.com/q").with(FRESH);
    t.get("/p").with("x-forwarded-host: evil.test").with("x-forwarded-proto: nothttps").await.code(301);
    let asked = t.origin("/p").asked_last();
    assert_eq!(
        (asked.text("x-forwarded-host"), asked.text("x-forwarded-proto")),
        ("example.com".into(), "http".into())
    );
    t.get("/p").await.code(301).header("location", "https://example.com/q").cache_has("hit");
}

#[tokio::test(start_paused = true)]
async fn kp_19_an_unsafe_method_drops_its_target_and_never_anything_of_another_host() {
    let t = Talk::new();
    let hosts = ["a.test", "b.test"];
    for path in ["/x", "/y", "/z"] {
        t.origin(path).replies("old").with(FRESH);
        for host in hosts {
            t.get(path).with(&format!("host: {host}")).await.is("old");
        }
    }
    t.origin("/x").replies("done").with("location: http://a.test/y").with("content-location: http://b.test/z");
    t.ask("POST", "/x").with("host: a.test").await.is("done");
    for (path, host, dropped) in [
        ("/x", "a.test", true),
        ("/y", "a.test", true),
        ("/z", "a.test", false),
        ("/x", "b.test", false),
        ("/y", "b.test", false),
        ("/z", "b.test", false),
    ] {
        let said = t.get(path).with(&format!("host: {host}")).await;
        said.cache_has(if dropped { "uri-miss" } else { "hit" });
    }
    // What failed has changed nothing.
    t.origin("/y").replies("no").code(403);
    t.ask("POST", "/y").with("host: b.test").await.code(403);
    t.get("/y").with("host: b.test").await.is("old").cache_has("hit");
}

const RECIPE: &str = r#"
[defaults]
profile = "strict"
key = { headers = ["X-Plan"], cookies = ["b", "a"], ignore_query = ["utm_*"], sort_query = true }
[[route]]
path = "/t/{tenant}/{*rest}"
rewrite = { replace = "/t/{rest}" }
request_headers = { set = { X-Tenant = "{tenant}" } }
[[route]]
name = "beta"
path = "/t/x"
header = { X-Beta = true }
"#;

/// Two requests share an entry if and only if the backend would see the same bytes for both.
#[tokio::test(start_paused = true)]
async fn kp_13_whoever_shares_an_entry_has_asked_the_same() {
    let mut requests = Vec::new();
    for path in ["/t/a/x", "/t/b/x", "/t/x", "/t/x?b&a=1", "/t/a/x?a=1&utm_x=1&b", "/t/a/x?", "/t/%61/x", "/T/a/x"] {
        for lines in [
            &[][..],
            &["x-plan: 1"],
            &["x-plan: 1", "x-plan:"],
            &["x-beta: 1"],
            &["x-beta: 2", "user-agent: x"],
            &["user-agent: y"],
            &["cookie: a=1; b=2; c=3"],
            &["cookie: c=4;b = 2", "cookie: a=1"],
            &["cookie: b; a=1"],
        ] {
            requests.push((path, lines));
        }
    }
    let shared = Talk::with(RECIPE);
    shared.backend.mirrors(&[FRESH]);
    let mut seen: Vec<Bytes> = Vec::new();
    for (path, lines) in requests {
        let fresh = Talk::with(RECIPE);
        fresh.backend.mirrors(&[FRESH]);
        let would_see = lines.iter().fold(fresh.get(path), |asking, line| asking.with(line)).await.body.clone();
        let said = lines.iter().fold(shared.get(path), |asking, line| asking.with(line)).await;
        let context = format!("{path} {lines:?}");
        assert_eq!(said.text("cache-status").contains("hit"), seen.contains(&would_see), "{context}");
        assert_eq!(said.body, would_see, "{context}");
        seen.push(would_see);
    }
}
