//! Conversations with the sample backend, in process and on paused time.

use axum::body::Body;
use http::{Method, Request};
use http_body_util::BodyExt;
use serde_json::Value;
use tower::ServiceExt;

use super::*;

const WALL: Duration = Duration::from_hours(500_000);

/// What came back.
struct Said {
    status: u16,
    headers: HeaderMap,
    body: Value,
}

impl Said {
    fn field(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

/// A backend without latency.
fn quick() -> Router {
    backend(DemoSettings { latency: Duration::ZERO..=Duration::ZERO, seed: 1 }, Clock::starting_at(WALL))
}

fn request(line: &str, fields: &[(&str, &str)], body: &str) -> Request<Body> {
    let (method, path) = line.split_once(' ').unwrap();
    let mut request = Request::builder().method(Method::from_bytes(method.as_bytes()).unwrap()).uri(path);
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    request.body(Body::from(body.to_owned())).unwrap()
}

async fn say(backend: &Router, line: &str, fields: &[(&str, &str)], body: &str) -> Said {
    let (parts, body) = backend.clone().oneshot(request(line, fields, body)).await.unwrap().into_parts();
    let bytes = body.collect().await.unwrap().to_bytes();
    let body = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
    Said { status: parts.status.as_u16(), headers: parts.headers, body }
}

async fn get(backend: &Router, path: &str) -> Said {
    say(backend, &format!("GET {path}"), &[], "").await
}

#[tokio::test(start_paused = true)]
async fn every_get_is_versioned_validated_dated_and_tagged() {
    let backend = quick();
    for (path, tag, cache_control) in [
        ("/api/users?limit=2&page=2", "users, user:3, user:4", "max-age=10, stale-if-error=3600"),
        ("/api/users/1", "user:1", "max-age=10, stale-if-error=3600"),
        (
            "/api/users/1/profile",
            "user:1, hierarchy:sales-emea",
            "max-age=300, stale-while-revalidate=30, stale-if-error=3600",
        ),
        ("/api/roles?limit=1", "roles, role:admin", "max-age=10, stale-if-error=3600"),
        ("/api/roles/admin", "role:admin", "max-age=10, stale-if-error=3600"),
        ("/api/permissions/check?userId=1&permission=x", "user:1, role:admin", "max-age=10, stale-if-error=3600"),
        (
            "/api/credit-configs?limit=1",
            "credit-configs, credit-config:crm.audit.read",
            "max-age=10, stale-if-error=3600",
        ),
        ("/api/credit-configs/crm.leads.create", "credit-config:crm.leads.create", "max-age=10, stale-if-error=3600"),
        (
            "/api/credits/validate?operation=crm.leads.create&userId=1",
            "credit-config:crm.leads.create, user:1",
            "max-age=10, stale-if-error=3600",
        ),
        (
            "/api/hierarchy/sales-emea",
            "hierarchy:sales-emea, hierarchy:sales, hierarchy:acme",
            "max-age=900, stale-while-revalidate=60, stale-if-error=86400",
        ),
        ("/api/audit-logs", "audit-logs", "max-age=3600, stale-while-revalidate=60, stale-if-error=86400"),
        ("/api/audit-logs/7", "audit-log:7", "max-age=3600, immutable"),
        ("/api/history/user:1", "user:1", "max-age=3600, stale-while-revalidate=60, stale-if-error=86400"),
        ("/api/devices?limit=1", "devices, device:1", "max-age=5, stale-while-revalidate=10, stale-if-error=3600"),
        ("/api/devices/200", "device:200", "max-age=5, stale-while-revalidate=10, stale-if-error=3600"),
        ("/api/devices/200/metadata", "device-metadata:200", "max-age=60, s-maxage=86400, stale-if-error=86400"),
    ] {
        let said = get(&backend, path).await;
        assert_eq!(said.status, 200, "{path}");
        assert_eq!(said.field("cache-tag"), tag, "{path}");
        assert_eq!(said.field("cache-control"), cache_control, "{path}");
        assert_eq!(said.field("last-modified"), "Thu, 14 Jan 2027 08:00:00 GMT", "{path}");
        assert_eq!(said.field("date"), "Fri, 15 Jan 2027 08:00:00 GMT", "{path}");
        assert_eq!(said.body["version"], 1, "{path}");
        assert_eq!(said.body["updatedAt"], "2027-01-14T08:00:00.000Z", "{path}");
        let etag = said.field("etag").to_owned();
        let again = say(&backend, &format!("GET {path}"), &[("if-none-match", &etag)], "").await;
        assert_eq!((again.status, again.field("etag")), (304, etag.as_str()), "{path}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_write_shows_in_every_document_that_was_made_from_it() {
    let raise = r#"{"creditCost": 3.0}"#;
    let config = "/api/credit-configs/crm.leads.create";
    let validate = "/api/credits/validate?operation=crm.leads.create&userId=1";
    for (write, body, documents, untouched) in [
        (format!("PUT {config}"), raise, vec![config, validate, "/api/credit-configs?limit=100"], "/api/users/1"),
        (
            "PUT /api/users/1".to_owned(),
            r#"{"title": "Boss"}"#,
            vec!["/api/users/1", "/api/users/1/profile", validate, "/api/users", "/api/history/user:1"],
            "/api/users/2",
        ),
        (
            "PUT /api/users/1".to_owned(),
            r#"{"department": "finance"}"#,
            vec!["/api/users/1/profile", "/api/hierarchy/finance", "/api/hierarchy/sales-emea"],
            "/api/hierarchy/engineering",
        ),
        (
            "PUT /api/roles/admin".to_owned(),
            r#"{"permissions": []}"#,
            vec!["/api/roles/admin", "/api/permissions/check?userId=1&permission=x", "/api/roles"],
            "/api/users/1",
        ),
        (
            "PUT /api/hierarchy/sales".to_owned(),
            r#"{"name": "Selling", "parentId": "finance"}"#,
            vec!["/api/hierarchy/sales", "/api/hierarchy/sales-emea", "/api/hierarchy/acme", "/api/hierarchy/finance"],
            "/api/users/1/profile",
        ),
        (
            "PUT /api/devices/5".to_owned(),
            r#"{"name": "probe"}"#,
            vec!["/api/devices/5", "/api/devices"],
            "/api/devices/5/metadata",
        ),
        (
            "PUT /api/devices/5/metadata".to_owned(),
            r#"{"persist": true}"#,
            vec!["/api/devices/5/metadata"],
            "/api/devices/5",
        ),
        (
            "POST /api/operations/lead-create".to_owned(),
            r#"{"userId": 2, "leadData": {"name": "L"}}"#,
            vec!["/api/users/2", "/api/history/user:2", "/api/audit-logs"],
            config,
        ),
    ] {
        let backend = quick();
        let mut before = Vec::new();
        for document in &documents {
            before.push(get(&backend, document).await);
        }
        let kept = get(&backend, untouched).await;
        let done = say(&backend, &write, &[], body).await;
        assert_eq!(done.status, 200, "{write}: {}", done.body);
        assert_eq!(done.field("cache-control"), "no-store", "{write}");
        for (document, before) in documents.iter().zip(&before) {
            let after = get(&backend, document).await;
            assert_eq!(after.body["version"], 2, "{write}: {document}");
            assert_ne!(after.field("etag"), before.field("etag"), "{write}: {document}");
            // Whoever purges what the write names purges this document.
            let tags: Vec<&str> = before.field("cache-tag").split(", ").collect();
            let named = done.field("cache-group-invalidation");
            assert!(tags.iter().any(|tag| named.contains(&format!("\"{tag}\""))), "{write}: {document}: {named}");
        }
        assert_eq!(get(&backend, untouched).await.field("etag"), kept.field("etag"), "{write}: {untouched}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_made_can_be_found_and_what_is_deleted_cannot() {
    for (make, body, expected) in [
        ("POST /api/users", r#"{"name": "Kim"}"#, "/api/users/51"),
        ("POST /api/devices", r#"{"name": "new"}"#, "/api/devices/201"),
        ("PUT /api/roles/guest", r#"{"permissions": ["crm.leads.create"]}"#, "/api/roles/guest"),
        ("PUT /api/credit-configs/crm.new", r#"{"creditCost": 1}"#, "/api/credit-configs/crm.new"),
    ] {
        let backend = quick();
        let before = get(&backend, expected).await;
        assert_eq!((before.status, before.field("cache-control")), (404, "max-age=5"), "{expected}");
        let made = say(&backend, make, &[], body).await;
        assert_eq!((made.status, made.field("location")), (201, expected), "{}", made.body);
        let named = made.field("cache-group-invalidation");
        assert!(named.contains(&format!("\"{}\"", before.field("cache-tag"))), "{named}");
        assert_eq!(get(&backend, expected).await.body["version"], 2);
        assert_eq!(say(&backend, &format!("DELETE {expected}"), &[], "").await.status, 204);
        assert_eq!(get(&backend, expected).await.status, 404);
        assert_eq!(say(&backend, &format!("DELETE {expected}"), &[], "").await.status, 404);
        let list = expected.rsplit_once('/').unwrap().0;
        assert_eq!(get(&backend, list).await.body["version"], 3, "{list}");
    }
}

#[tokio::test(start_paused = true)]
async fn mistakes_are_answered_as_json_and_change_nothing() {
    let backend = quick();
    for (line, body, expected) in [
        ("GET /api/users/51", "", 404),
        ("GET /api/users/x%0ay", "", 404),
        ("GET /api/nothing", "", 404),
        ("GET /api/audit-logs/51", "", 404),
        ("GET /api/history/user:99", "", 404),
        ("GET /api/users?page=0", "", 400),
        ("GET /api/users?limit=101", "", 400),
        ("GET /api/users?page=x", "", 400),
        ("GET /api/credits/validate?userId=1", "", 400),
        ("GET /api/credits/validate?operation=crm.none&userId=1", "", 404),
        ("GET /api/fail?status=200", "", 400),
        ("GET /api/fail?status=599", "", 599),
        ("GET /api/export?mib=1025", "", 400),
        ("GET /api/slow?ms=120001", "", 400),
        ("PUT /api/users/1", "{", 400),
        ("PUT /api/users/1", r#"{"nam": "x"}"#, 400),
        ("PUT /api/users/1", r#"{"roles": ["none"]}"#, 400),
        ("PUT /api/users/1", r#"{"department": "none"}"#, 400),
        ("PUT /api/users/1", r#"{"status": "none"}"#, 400),
        ("PUT /api/users/1", r#"{"credits": -1}"#, 400),
        ("PUT /api/users/99", "{}", 404),
        ("POST /api/users", "{}", 400),
        ("PUT /api/roles/a%2Cb", "{}", 400),
        ("PUT /api/credit-configs/crm.new", "{}", 400),
        ("PUT /api/hierarchy/acme", r#"{"parentId": "sales"}"#, 409),
        ("PUT /api/hierarchy/sales", r#"{"parentId": "none"}"#, 400),
        ("POST /api/operations/lead-create", r#"{"userId": "99"}"#, 404),
        ("POST /api/users/1", "", 405),
        ("DELETE /api/audit-logs", "", 405),
    ] {
        let said = say(&backend, line, &[], body).await;
        assert_eq!(said.status, expected, "{line} {body}: {}", said.body);
        assert!(said.body["error"].is_string(), "{line} {body}: {}", said.body);
    }
    assert_eq!(get(&backend, "/api/users/1").await.body["version"], 1);
}

#[tokio::test(start_paused = true)]
async fn a_method_that_is_not_taken_is_told_which_are() {
    let backend = quick();
    let said = say(&backend, "POST /api/users/1", &[], "").await;
    let mut allowed: Vec<&str> = said.field("allow").split(',').collect();
    allowed.sort_unstable();
    assert_eq!(allowed, ["DELETE", "GET", "HEAD", "PUT"]);
}

#[tokio::test(start_paused = true)]
async fn a_lead_costs_what_it_says_until_the_credits_are_gone() {
    let backend = quick();
    let order = ("POST /api/operations/lead-create", r#"{"userId": "1"}"#);
    // User 1 has 2 credits, a lead costs 2.5.
    let refused = say(&backend, order.0, &[], order.1).await;
    assert_eq!((refused.status, refused.body["availableCredits"].as_f64()), (402, Some(2.0)));
    assert_eq!(say(&backend, "PUT /api/users/1", &[], r#"{"credits": 5}"#).await.status, 200);
    for left in [2.5, 0.0] {
        let said = say(&backend, order.0, &[], order.1).await;
        assert_eq!((said.status, said.body["availableCredits"].as_f64()), (200, Some(left)));
        assert_eq!(get(&backend, "/api/users/1").await.body["credits"].as_f64(), Some(left));
    }
    assert_eq!(say(&backend, order.0, &[], order.1).await.status, 402);
    say(&backend, "DELETE /api/credit-configs/crm.leads.create", &[], "").await;
    let gone = say(&backend, order.0, &[], order.1).await;
    assert_eq!((gone.status, gone.body["error"].as_str()), (404, Some("Operation not configured")));
}

#[tokio::test(start_paused = true)]
async fn if_match_keeps_the_second_of_two_writers_from_overwriting_the_first() {
    let backend = quick();
    let etag = get(&backend, "/api/roles/sales").await.field("etag").to_owned();
    let write = |name: &'static str| {
        let (backend, etag) = (backend.clone(), etag.clone());
        async move { say(&backend, "PUT /api/roles/sales", &[("if-match", &etag)], name).await.status }
    };
    assert_eq!(write(r#"{"name": "first"}"#).await, 200);
    assert_eq!(write(r#"{"name": "second"}"#).await, 412);
    assert_eq!(get(&backend, "/api/roles/sales").await.body["name"], "first");
}

#[tokio::test(start_paused = true)]
async fn a_profile_varies_with_the_language_and_says_so() {
    let backend = quick();
    let ask = |language| {
        let backend = backend.clone();
        async move { say(&backend, "GET /api/users/1/profile", &[("accept-language", language)], "").await }
    };
    let (german, french) = (ask("de").await, ask("fr").await);
    assert_eq!(german.body["greeting"], "Hallo, Ada Archer!");
    assert_eq!((german.field("vary"), german.field("content-language")), ("Accept-Language", "de"));
    assert_ne!(german.field("etag"), french.field("etag"));
}

#[tokio::test(start_paused = true)]
async fn a_session_is_nobody_elses() {
    let backend = quick();
    let (one, two) = (get(&backend, "/api/users/1/session").await, get(&backend, "/api/users/1/session").await);
    assert_eq!(one.field("cache-control"), "private, no-store");
    assert!(one.field("set-cookie").starts_with("session="));
    assert_ne!(one.body["session"], two.body["session"]);
}

#[tokio::test(start_paused = true)]
async fn head_answers_as_get_without_the_body() {
    let backend = quick();
    let whole = get(&backend, "/api/users/1").await;
    let head = backend.clone().oneshot(request("HEAD /api/users/1", &[], "")).await.unwrap();
    assert_eq!(head.headers()["etag"], whole.field("etag"));
    assert_eq!(head.headers()["content-length"].to_str().unwrap().parse::<usize>().unwrap(), {
        whole.body.to_string().len()
    });
    assert!(head.into_body().collect().await.unwrap().to_bytes().is_empty());
}

#[tokio::test(start_paused = true)]
async fn requests_are_counted_by_path_and_counting_is_not() {
    let backend = quick();
    get(&backend, "/api/users/1").await;
    get(&backend, "/api/users/1?x=1").await;
    get(&backend, "/api/none").await;
    say(&backend, "POST /api/users/1", &[], "").await;
    for _ in 0..2 {
        let counted = get(&backend, "/_count").await;
        assert_eq!(counted.body, json!({ "total": 4, "paths": { "/api/users/1": 3, "/api/none": 1 } }));
        assert_eq!(counted.field("cache-control"), "no-store");
    }
    assert_eq!(say(&backend, "POST /_count/reset", &[], "").await.status, 204);
    assert_eq!(get(&backend, "/_count").await.body, json!({ "total": 0, "paths": {} }));
}

#[tokio::test(start_paused = true)]
async fn an_answer_takes_its_time_and_counting_takes_none() {
    let clock = Clock::starting_at(WALL);
    let backend = backend(DemoSettings::default(), clock.clone());
    for _ in 0..20 {
        let before = clock.now();
        get(&backend, "/api/users/1").await;
        let took = clock.now().since(before);
        assert!((50..=102).contains(&took.as_millis()), "{took:?}");
        let before = clock.now();
        get(&backend, "/_count").await;
        assert_eq!(clock.now().since(before), Duration::ZERO);
    }
}

#[tokio::test(start_paused = true)]
async fn a_write_can_overtake_an_answer_that_is_on_its_way() {
    let latency = Duration::from_millis(100);
    let backend = backend(DemoSettings { latency: latency..=latency, seed: 1 }, Clock::starting_at(WALL));
    let asked = tokio::spawn({
        let backend = backend.clone();
        async move { get(&backend, "/api/users/1").await }
    });
    // The GET looks at the data after 50 ms and arrives after 100; the PUT alters it after 70.
    tokio::time::sleep(Duration::from_millis(20)).await;
    let done = tokio::spawn({
        let backend = backend.clone();
        async move { say(&backend, "PUT /api/users/1", &[], r#"{"title": "Boss"}"#).await }
    });
    assert_eq!(asked.await.unwrap().body["version"], 1);
    assert_eq!(done.await.unwrap().body["version"], 2);
}

#[tokio::test(start_paused = true)]
async fn an_outage_lasts_until_it_is_ended() {
    let backend = quick();
    assert_eq!(say(&backend, "POST /_outage?status=502", &[], "").await.status, 204);
    assert_eq!(get(&backend, "/api/users/1").await.status, 502);
    assert_eq!(get(&backend, "/_count").await.status, 200);
    assert_eq!(say(&backend, "DELETE /_outage", &[], "").await.status, 204);
    assert_eq!(get(&backend, "/api/users/1").await.status, 200);
}

#[tokio::test(start_paused = true)]
async fn a_slow_answer_is_as_slow_as_asked() {
    let clock = Clock::starting_at(WALL);
    let backend = backend(DemoSettings { latency: Duration::ZERO..=Duration::ZERO, seed: 1 }, clock.clone());
    let before = clock.now();
    assert_eq!(get(&backend, "/api/slow?ms=7000").await.body["waitedMs"], 7000);
    assert!((7_000..7_002).contains(&clock.now().since(before).as_millis()));
}

#[tokio::test(start_paused = true)]
async fn events_come_one_by_one_without_end() {
    let clock = Clock::starting_at(WALL);
    let backend = backend(DemoSettings { latency: Duration::ZERO..=Duration::ZERO, seed: 1 }, clock.clone());
    let response = backend.clone().oneshot(request("GET /api/events", &[], "")).await.unwrap();
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let mut body = response.into_body();
    let before = clock.now();
    for number in 1..=9 {
        let event = body.frame().await.unwrap().unwrap().into_data().unwrap();
        let event = String::from_utf8(event.to_vec()).unwrap();
        assert!(event.starts_with(&format!("id: {number}\nevent: tick\ndata: {{")), "{event}");
        assert!(event.ends_with("}\n\n"), "{event}");
    }
    assert_eq!(clock.now().since(before).as_millis() / 100, 20);
}

#[tokio::test(start_paused = true)]
async fn the_index_lists_paths_that_exist() {
    let backend = quick();
    let index = get(&backend, "/").await;
    let groups = index.body.as_object().unwrap();
    for path in groups.values().flat_map(|paths| paths.as_array().unwrap()).filter_map(Value::as_str) {
        let line = if path.starts_with('/') { format!("GET {path}") } else { path.to_owned() };
        let line = line.replace("{operationCode}", "crm.leads.create").replace("{entityId}", "acme");
        let line =
            line.replace("{roleId}", "admin").replace("{id}", "1").replace("{key}", "user:1").replace('?', "?x=");
        let response = backend.clone().oneshot(request(&line, &[], "")).await.unwrap();
        assert!(![404, 405].contains(&response.status().as_u16()), "{line}");
    }
}
