//! What a client may do to the cache by itself: the PURGE method and the forced refresh, both behind a secret.

use crate::talk::{Talk, secs};

const WITH_TOKEN: &str = "[gateway]\npurge_method = \"s3cret\"\n";
const FRESH: &str = "cache-control: max-age=60";

#[tokio::test(start_paused = true)]
async fn a_purge_with_the_token_drops_all_variants_of_the_url() {
    let t = Talk::with(WITH_TOKEN);
    for language in ["de", "fr"] {
        t.origin("/p?q=1").replies("old").with(FRESH).with("vary: accept-language");
        t.get("/p?q=1").with(&format!("accept-language: {language}")).await.is("old");
    }
    t.origin("/p").replies("another URL").with(FRESH);
    t.get("/p").await.is("another URL");

    let said = t.ask("PURGE", "/p?q=1").with("authorization: Bearer s3cret").await;
    let epoch = t.gateway.store().ledger().epoch();
    said.code(200).header("cache-control", "no-store").is(&format!("{{\"epoch\":\"{epoch}\",\"seq\":1}}\n"));

    t.origin("/p?q=1").replies("new").with(FRESH).with("vary: accept-language");
    for language in ["de", "fr"] {
        t.get("/p?q=1").with(&format!("accept-language: {language}")).await.is("new");
    }
    t.get("/p").await.is("another URL").cache_has("hit");
    t.origin("/p?q=1").was_asked(4);
}

#[tokio::test(start_paused = true)]
async fn ad_01_nobody_purges_without_the_right_token() {
    let t = Talk::with(WITH_TOKEN);
    t.origin("/p").replies("kept").with(FRESH);
    t.get("/p").await.is("kept");
    for fields in [
        &[][..],
        &["authorization: Bearer wrong"],
        &["authorization: Bearer s3cret2"],
        &["authorization: Basic s3cret"],
        &["authorization: s3cret"],
        &["authorization: Bearer "],
        &["x-purge: 1", "cookie: token=s3cret"],
    ] {
        let asking = fields.iter().fold(t.ask("PURGE", "/p"), |asking, line| asking.with(line));
        asking.await.code(401).header("www-authenticate", "Bearer").cache("detail=unauthorized");
    }
    t.ask("PURGE", "/p?token=s3cret").await.code(401);
    t.get("/p").await.is("kept").cache_has("hit");
    t.origin("/p").was_asked(1);
}

#[tokio::test(start_paused = true)]
async fn ad_01_without_a_configured_token_the_method_is_refused_and_goes_nowhere() {
    let t = Talk::new();
    t.origin("/p").replies("kept").with(FRESH);
    t.get("/p").await.is("kept");
    for token in ["", "Bearer ", "Bearer s3cret"] {
        let said = t.ask("PURGE", "/p").with(&format!("authorization: {token}")).await;
        said.code(405).cache("detail=method-refused");
        assert!(!said.text("allow").contains("PURGE"));
    }
    t.get("/p").await.is("kept").cache_has("hit");
    t.origin("/p").was_asked(1);
}

#[tokio::test(start_paused = true)]
async fn a_purge_finds_what_is_kept_under_another_form_of_the_url() {
    let t = Talk::with(
        r#"
        [gateway]
        purge_method = "s3cret"
        [[route]]
        path = "/api/{*rest}"
        method = "GET"
        rewrite = { strip_prefix = "/api" }
        key = { ignore_query = ["utm_*"], sort_query = true }
        "#,
    );
    for purged in ["/api/p?b=2&a=1&utm_x=1", "/api/p?a=1&b=2", "/p?a=1&b=2"] {
        t.origin("/p?a=1&b=2").replies("old").with(FRESH);
        t.get("/api/p?utm_y=2&a=1&b=2").await.is("old");
        t.ask("PURGE", purged).with("authorization: Bearer s3cret").await.code(200);
        t.origin("/p?a=1&b=2").replies("new").with(FRESH);
        t.get("/api/p?a=1&b=2").await.is("new");
        t.ask("PURGE", purged).with("authorization: Bearer s3cret").await.code(200);
    }
}

#[tokio::test(start_paused = true)]
async fn a_purge_is_for_the_host_it_names() {
    let t = Talk::with(WITH_TOKEN);
    t.origin("/p").replies("v1").with(FRESH);
    for host in ["a.test", "b.test"] {
        t.get("/p").with(&format!("host: {host}")).await.is("v1");
    }
    t.ask("PURGE", "/p").with("host: A.test:80").with("authorization: Bearer s3cret").await.code(200);
    t.origin("/p").replies("v2").with(FRESH);
    t.get("/p").with("host: a.test").await.is("v2");
    t.get("/p").with("host: b.test").await.is("v1");
}

#[tokio::test(start_paused = true)]
async fn an_unsafe_method_drops_what_a_get_of_another_route_has_stored() {
    let t = Talk::with(
        r#"
        [[route]]
        name = "reads"
        path = "/api/users/{id}"
        method = "GET"
        rewrite = { replace = "/users/{id}" }
        key = { ignore_query = ["utm_*"] }
        "#,
    );
    t.origin("/users/7").replies("old").with(FRESH);
    t.get("/api/users/7?utm_x=1").await.is("old");
    t.origin("/api/users/7?utm_x=2").replies("done");
    t.ask("PUT", "/api/users/7?utm_x=2").body("{}").await.is("done");
    t.origin("/users/7").replies("new").with(FRESH);
    t.get("/api/users/7").await.is("new");
}

const WITH_REFRESH: &str = "[gateway]\nrefresh_token = { header = \"Forebay-Refresh\", token = \"s3cret\" }\n";

#[tokio::test(start_paused = true)]
async fn the_secret_forces_a_fetch_that_replaces_what_is_stored() {
    let t = Talk::with(WITH_REFRESH);
    t.origin("/p").replies("v1").with("cache-control: max-age=60, stale-if-error=60").with("etag: \"1\"");
    t.get("/p").await.is("v1");
    t.origin("/p").replies("v2").with(FRESH);
    let said = t.get("/p").with("forebay-refresh: s3cret").await;
    said.is("v2").cache("fwd=request; fwd-status=200; stored; detail=forced");
    t.get("/p").await.is("v2").cache_has("hit");
    // The whole was asked for, and the backend heard nothing of the secret.
    let asked = t.origin("/p").asked_last();
    assert_eq!((asked.text("if-none-match"), asked.text("forebay-refresh")), (String::new(), String::new()));

    // No stale answer stands in for what was demanded.
    t.origin("/p").refuses();
    t.get("/p").with("forebay-refresh: s3cret").await.code(502);
    t.get("/p").await.is("v2").cache_has("hit");
}

#[tokio::test(start_paused = true)]
async fn a_forced_fetch_joins_none_that_began_before_it() {
    let t = Talk::with(WITH_REFRESH);
    let held = t.origin("/p").holds();
    let early = t.get("/p").start();
    t.settle().await;
    t.origin("/p").replies("new").with(FRESH);
    let said = t.get("/p").with("forebay-refresh: s3cret").await;
    said.is("new").cache("fwd=uri-miss; fwd-status=200; stored; detail=forced");
    held.replies("old", &[FRESH]);
    early.await.unwrap().is("old");
}

#[tokio::test(start_paused = true)]
async fn ad_11_without_the_secret_no_client_forces_a_fetch() {
    let t = Talk::with(WITH_REFRESH);
    t.origin("/p").replies("kept").with(FRESH);
    t.get("/p").await.is("kept");
    for line in [
        "forebay-refresh: wrong",
        "forebay-refresh: 1",
        "forebay-refresh:",
        "cache-control: no-cache",
        "pragma: no-cache",
    ] {
        t.get("/p").with(line).await.is("kept").cache_has("hit");
    }
    t.origin("/p").was_asked(1);
    // A wrong guess does not travel on either, also where everything else does.
    t.ask("POST", "/p").with("forebay-refresh: wrong").await;
    assert_eq!(t.origin("/p").asked_last().text("forebay-refresh"), "");
}

#[tokio::test(start_paused = true)]
async fn a_head_with_the_secret_asks_the_backend_and_stores_nothing() {
    let t = Talk::with(WITH_REFRESH);
    t.origin("/p").replies("v1").with(FRESH);
    t.get("/p").await.is("v1");
    t.advance(secs(5)).await;
    t.head("/p").with("forebay-refresh: s3cret").await.code(200);
    t.origin("/p").was_asked(2);
    t.get("/p").await.is("v1").cache_has("hit");
}
