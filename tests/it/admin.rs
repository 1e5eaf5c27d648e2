//! The operator's door: purges, explanations, listings, numbers, health; and who may come in.

use std::sync::Arc;

use axum::body::Body;
use forebay::admin::{Admin, Readiness};
use forebay::changes::Hearing;
use forebay::listen::ListenStats;
use forebay::serve::Secret;
use http::{Request, StatusCode};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tower::ServiceExt;

use crate::talk::{Talk, secs};

const FRESH: &str = "cache-control: max-age=60";
const JSON: &str = "content-type: application/json";

/// The admin listener of a conversation's gateway.
struct Door {
    admin: Admin,
}

impl Door {
    fn of(t: &Talk) -> Self {
        let (gateway, listeners) = (t.gateway.clone(), Arc::new(ListenStats::default()));
        let hearing = Arc::new(Hearing::new(Arc::clone(gateway.bus()), Arc::default(), gateway.policy()));
        Self { admin: Admin { gateway, hearing, listeners, token: None, ready: Readiness::default() } }
    }

    /// Asks for `METHOD /path`, with these fields.
    async fn ask(&self, line: &str, fields: &[&str], body: &str) -> (StatusCode, String) {
        let (method, path) = line.split_once(' ').unwrap();
        let mut request = Request::builder().method(method).uri(path);
        if !fields.iter().any(|field| field.starts_with("host:")) {
            request = request.header("host", "127.0.0.1:9090");
        }
        for field in fields {
            let (name, value) = field.split_once(':').unwrap();
            request = request.header(name, value.trim());
        }
        let request = request.body(Body::from(body.to_owned())).unwrap();
        let response = self.admin.clone().router().oneshot(request).await.unwrap();
        assert_eq!(response.headers()["cache-control"], "no-store", "{line}");
        let (status, body) = (response.status(), response.collect().await.unwrap().to_bytes());
        (status, String::from_utf8_lossy(&body).into_owned())
    }

    async fn json(&self, path: &str) -> Value {
        let (status, body) = self.ask(&format!("GET {path}"), &[], "").await;
        assert_eq!(status, 200, "{path}: {body}");
        serde_json::from_str(&body).unwrap()
    }

    async fn purge(&self, order: &Value) -> (StatusCode, Value) {
        let (status, body) = self.ask("POST /v1/purge", &[JSON], &order.to_string()).await;
        (status, serde_json::from_str(&body).unwrap_or(Value::String(body)))
    }
}

/// Fills `/area/a?q=1`, `/area/b` (tagged) and `/elsewhere` on two hosts.
async fn filled() -> (Talk, Door) {
    let t = Talk::new();
    for host in ["a.test", "b.test"] {
        for path in ["/area/a?q=1", "/area/b", "/elsewhere"] {
            let answer = t.origin(path).replies("old").with(FRESH);
            if path == "/area/b" {
                answer.with("cache-tag: blue, green");
            }
            t.get(path).with(&format!("host: {host}")).await.is("old");
        }
    }
    let door = Door::of(&t);
    (t, door)
}

/// What is still answered from the cache, in the order of [`filled`].
async fn left(t: &Talk) -> Vec<String> {
    let mut left = Vec::new();
    for host in ["a.test", "b.test"] {
        for path in ["/area/a?q=1", "/area/b", "/elsewhere"] {
            let said = t.get(path).with(&format!("host: {host}")).await;
            if said.text("cache-status").contains("hit") {
                left.push(format!("{}{path}", &host[..1]));
            }
        }
    }
    left
}

#[tokio::test(start_paused = true)]
async fn each_selector_purges_what_it_names_and_no_more() {
    let all = ["a/area/a?q=1", "a/area/b", "a/elsewhere", "b/area/a?q=1", "b/area/b", "b/elsewhere"];
    for (order, gone) in [
        (json!({"url": "/area/a?q=1"}), &["a/area/a?q=1", "b/area/a?q=1"][..]),
        (json!({"url": "http://A.test:80/area/a?q=1#top"}), &["a/area/a?q=1"]),
        (json!({"url": "/area/a"}), &[]),
        (json!({"tag": "blue"}), &["a/area/b", "b/area/b"]),
        (json!({"tag": " green ", "wait": "fleet"}), &["a/area/b", "b/area/b"]),
        (json!({"prefix": "/area"}), &["a/area/a?q=1", "a/area/b", "b/area/a?q=1", "b/area/b"]),
        (json!({"prefix": "https://b.test/area/"}), &["b/area/a?q=1", "b/area/b"]),
        (json!({"prefix": "/are"}), &[]),
        (json!({"all": true}), &all),
    ] {
        let (t, door) = filled().await;
        let (status, receipt) = door.purge(&order).await;
        assert_eq!((status.as_u16(), &receipt["seq"]), (200, &json!(1)), "{order}: {receipt}");
        let expected: Vec<&str> = all.iter().filter(|one| !gone.contains(one)).copied().collect();
        assert_eq!(left(&t).await, expected, "{order}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_soft_purge_serves_once_more_and_refreshes_behind() {
    let (t, door) = filled().await;
    t.origin("/area/b").replies("new").with(FRESH);
    let (status, _) = door.purge(&json!({"tag": "blue", "soft": true})).await;
    assert_eq!(status, 200);
    t.get("/area/b").with("host: a.test").await.is("old").cache("hit; ttl=60; detail=soft-purged");
    t.settle().await;
    t.get("/area/b").with("host: a.test").await.is("new");
}

#[tokio::test(start_paused = true)]
async fn an_order_that_names_nothing_or_too_much_is_refused_with_a_hint() {
    let (t, door) = filled().await;
    for (order, status, hint) in [
        (json!({}), 400, "exactly one"),
        (json!({"url": "/a", "tag": "b"}), 400, "exactly one"),
        (json!({"all": true, "tag": "b"}), 400, "exactly one"),
        (json!({"all": false}), 400, "exactly one"),
        (json!({"tag": "  "}), 400, "exactly one"),
        (json!({"url": "area/b"}), 400, "neither a path"),
        (json!({"url": "//a.test/area/b"}), 400, "neither a path"),
        (json!({"url": "/area/ b"}), 400, "percent-encoded"),
        (json!({"prefix": ""}), 400, "neither a path"),
        (json!({"tag": "blue", "wait": "everybody"}), 400, "wait"),
        (json!({"tga": "blue"}), 422, "tga"),
        (json!({"tag": ["blue"]}), 422, "tag"),
        (json!([]), 422, ""),
    ] {
        let (refused, answer) = door.purge(&order).await;
        assert_eq!(refused.as_u16(), status, "{order}: {answer}");
        assert!(answer["error"].as_str().is_some_and(|error| error.contains(hint)), "{order}: {answer}");
    }
    let (status, _) = door.ask("POST /v1/purge", &[JSON], "{not json").await;
    assert_eq!(status, 400);
    let (status, _) = door.ask("POST /v1/purge", &[JSON], &format!("{{\"tag\": \"{}\"}}", "x".repeat(65_536))).await;
    assert_eq!(status, 413, "AD-09");
    let (status, _) = door.ask("POST /v1/purge", &[JSON], &"[".repeat(60_000)).await;
    assert_eq!(status, 422, "AD-09");
    assert_eq!(left(&t).await.len(), 6, "nothing of it has done anything");
}

#[tokio::test(start_paused = true)]
async fn ad_03_ad_04_ad_05_only_the_operator_comes_in() {
    let (t, mut door) = filled().await;
    let order = "{\"all\": true}";
    for (fields, status) in [
        (&["host: evil.test", JSON][..], 421),
        (&[JSON, "sec-fetch-site: cross-site"], 403),
        (&[JSON, "sec-fetch-site: same-site"], 403),
        (&["content-type: text/plain"], 415),
        (&["content-type: application/x-www-form-urlencoded"], 415),
    ] {
        assert_eq!(door.ask("POST /v1/purge", fields, order).await.0, status, "{fields:?}");
    }
    assert_eq!(door.ask("GET /v1/purge", &[], "").await.0, 405);

    door.admin.token = Some(Secret::new("s3cret"));
    for path in ["/", "/metrics", "/v1/stat", "/v1/entries", "/v1/ledger", "/v1/explain?url=/x&token=s3cret"] {
        assert_eq!(door.ask(&format!("GET {path}"), &[], "").await.0, 401, "{path}");
        assert_eq!(door.ask(&format!("GET {path}"), &["authorization: Bearer wrong"], "").await.0, 401, "{path}");
        assert_eq!(door.ask(&format!("GET {path}"), &["authorization: Bearer s3cret"], "").await.0, 200, "{path}");
    }
    assert_eq!(door.ask("POST /v1/purge", &[JSON], order).await.0, 401);
    // With a token the name does not matter, and health needs none.
    assert_eq!(door.ask("GET /v1/stat", &["host: evil.test", "authorization: Bearer s3cret"], "").await.0, 200);
    assert_eq!(door.ask("GET /livez", &["host: evil.test"], "").await, (StatusCode::OK, "live\n".into()));
    assert_eq!(left(&t).await.len(), 6, "nothing of it has done anything");
}

#[tokio::test(start_paused = true)]
async fn readiness_is_the_nodes_own_whatever_the_backends_do() {
    let t = Talk::with("[origin]\nurl = \"http://a.test\"\nbreaker = { consecutive = 1 }\n");
    let door = Door::of(&t);
    assert_eq!(door.ask("GET /readyz", &[], "").await.0, 503);
    door.admin.ready.set(true);
    let ready = door.json("/readyz").await;
    assert_eq!(ready, json!({"ready": true, "origins": {"default": {"healthy": true}}}));
    t.backend.down(&["a.test"]);
    t.get("/p").await.code(502);
    assert_eq!(door.json("/readyz").await, json!({"ready": true, "origins": {"default": {"healthy": false}}}));
    door.admin.ready.set(false);
    assert_eq!(door.ask("GET /readyz", &[], "").await.0, 503);
    assert_eq!(door.ask("GET /livez", &[], "").await.0, 200);
}

#[tokio::test(start_paused = true)]
async fn what_is_stored_is_listed_with_its_life() {
    let (t, door) = filled().await;
    t.advance(secs(20)).await;
    assert_eq!(door.json("/v1/entries").await["entries"].as_array().unwrap().len(), 6);
    let listed = door.json("/v1/entries?tag=blue&host=a.test").await;
    let [entry] = &listed["entries"].as_array().unwrap()[..] else { panic!("{listed}") };
    for (key, value) in [
        ("host", json!("a.test")),
        ("path", json!("/area/b")),
        ("status", json!(200)),
        ("bytes", json!(3)),
        ("age", json!(20)),
        ("left", json!(40)),
        ("lifetime_from", json!("max-age")),
        ("standing", json!("valid")),
    ] {
        assert_eq!(entry[key], value, "{key} of {entry}");
    }
    assert_eq!(door.json("/v1/entries?prefix=/area").await["entries"].as_array().unwrap().len(), 4);
    assert_eq!(door.json("/v1/entries?limit=1").await["entries"].as_array().unwrap().len(), 1);
    assert_eq!(door.ask("GET /v1/entries?limit=x", &[], "").await.0, 400);
}

#[tokio::test(start_paused = true)]
async fn the_ledger_says_who_changed_what_and_when() {
    let (t, door) = filled().await;
    door.purge(&json!({"tag": "blue", "soft": true})).await;
    t.advance(secs(1)).await;
    t.origin("/area/b").replies("done");
    t.ask("POST", "/area/b").with("host: a.test").await;
    let changes = door.json("/v1/ledger").await;
    let lines: Vec<_> = changes["changes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|line| format!("{} {} {} {}", line["seq"], line["grade"], line["source"], line["tags"]))
        .collect();
    let expected =
        ["2 \"hard\" \"method\" [\"url://a.test/area/b\"]", "1 \"soft\" \"api\" [\"tag:blue\"]"].map(str::to_owned);
    assert!(lines.iter().all(|line| expected.contains(line)) && lines.len() == 2, "{lines:#?}");
    assert_eq!(door.json("/v1/ledger?limit=1").await["changes"].as_array().unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_numbers_are_those_of_what_has_just_happened() {
    let (t, door) = filled().await;
    for _ in 0..3 {
        t.get("/elsewhere").with("host: a.test").await.cache_has("hit");
    }
    t.get("/elsewhere").with("host: a b").await.code(400);
    t.origin("/down").refuses();
    t.get("/down").await.code(502);
    door.purge(&json!({"tag": "none"})).await;

    let stat = door.json("/v1/stat").await;
    assert_eq!((&stat["requests"], &stat["purges"]["hard"]), (&json!(11), &json!(1)), "{stat}");
    let outcomes =
        ["memory-hit", "miss", "rejected", "error"].map(|outcome| stat["outcomes"][outcome].as_u64().unwrap());
    assert_eq!(outcomes, [3, 6, 1, 1]);
    assert_eq!((&stat["origins"][0]["answered"], &stat["origins"][0]["failed"]), (&json!(6), &json!(1)), "{stat}");
    assert_eq!(stat["reasons"], json!({"bad-host": 1, "connect": 1}));

    // What the store weighs is counted up by its sweep.
    t.gateway.store().sweep(t.clock.now(), 1000);
    let (status, text) = door.ask("GET /metrics", &[], "").await;
    assert_eq!(status, 200);
    for line in [
        "forebay_requests_total{route=\"default\",outcome=\"memory-hit\"} 3",
        "forebay_requests_total{route=\"default\",outcome=\"miss\"} 6",
        "forebay_responses_total{class=\"2xx\"} 9",
        "forebay_reasons_total{reason=\"connect\"} 1",
        "forebay_backend_requests_total{origin=\"default\",result=\"answered\"} 6",
        "forebay_backend_requests_total{origin=\"default\",result=\"failed\"} 1",
        "forebay_purges_total{grade=\"hard\"} 1",
        "forebay_memory_entries 6",
        "forebay_ledger_applied 1",
        "forebay_ready 0",
    ] {
        assert!(text.lines().any(|one| one == line), "{line} is not in\n{text}");
    }
}

/// AD-10, LG-03: neither keys nor anything else of a request stand in the metrics, and clients cannot add to them.
#[tokio::test(start_paused = true)]
async fn ad_10_lg_03_the_metrics_hold_nothing_of_a_request() {
    let (t, door) = filled().await;
    let series = async || {
        let (_, text) = door.ask("GET /metrics", &[], "").await;
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let (name, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("{line}"));
            assert!(name.starts_with("forebay_") && value.parse::<f64>().is_ok(), "{line}");
        }
        assert!(!text.contains("a.test") && !text.contains("/area"));
        text.lines().count()
    };
    let before = series().await;
    for number in 0..50 {
        let asking = t.ask(&format!("METHOD{number}").replace(char::is_numeric, "X"), &format!("/{number}"));
        asking.with(&format!("host: host-{number}.test")).with(&format!("user-agent: {number}")).await;
    }
    assert_eq!(series().await, before);
}

#[tokio::test(start_paused = true)]
async fn a_url_is_explained_as_it_would_be_served_without_being_served() {
    let (t, door) = filled().await;
    let said = door.json("/v1/explain?url=http://a.test/area/b").await;
    assert_eq!(
        (&said["verdict"], &said["route"], &said["origin"]),
        (&json!("serve"), &json!("default"), &json!("default"))
    );
    assert_eq!(said["key"], json!("default http a.test /area/b"));
    assert_eq!(said["stored"]["arithmetic"], json!("60 s (max-age) − 0 s (age) = 60 s"));
    // Another scheme, another entry; and nothing is asked unless one says so.
    let said = door.json("/v1/explain?url=https://a.test/area/b").await;
    assert_eq!((&said["verdict"], &said["backend"]), (&json!("fetch"), &Value::Null));
    t.origin("/area/b").was_asked(2);
    let said = door.json("/v1/explain?url=https://a.test/area/b&ask=true").await;
    assert_eq!((&said["backend"]["kept"], &said["backend"]["lifetime"]), (&json!(true), &json!(60)));
    t.origin("/area/b").was_asked(3);
    t.get("/area/b").with("host: a.test").await.cache_has("hit");

    let said = door.json("/v1/explain?url=/x&method=post").await;
    assert_eq!((&said["verdict"], &said["reason"]["code"]), (&json!("pass"), &json!("method")));
    let said = door.json("/v1/explain?url=/x&host=a%20b").await;
    assert_eq!((&said["verdict"], &said["reason"]["code"]), (&json!("refuse"), &json!("bad-host")));
    for question in ["", "?url=", "?url=%20", "?url=/x&header=nonsense", "?url=/x&method=%20", "?url=/x&header=a%20b:1"]
    {
        assert_eq!(door.ask(&format!("GET /v1/explain{question}"), &[], "").await.0, 400, "{question}");
    }
}
