//! RFC 9211: every form in which an answer says what became of its request.

use crate::talk::{Talk, millis, secs};

#[tokio::test(start_paused = true)]
async fn a_hit_says_how_long_and_from_where() {
    let t = Talk::new();
    t.origin("/p").answers("cache-control: max-age=60, stale-while-revalidate=60, stale-if-error=600");
    t.get("/p").await.cache("fwd=uri-miss; fwd-status=200; stored");
    t.advance(millis(1500)).await;
    t.get("/p").await.cache("hit; ttl=58; detail=memory");
    t.advance(secs(59)).await;
    t.get("/p").await.cache("hit; ttl=-1; detail=swr");
    t.origin("/p").hangs();
    t.advance(secs(200)).await;
    t.get("/p").await.cache_has("; detail=sie");
}

#[tokio::test(start_paused = true)]
async fn every_way_to_the_backend_has_its_word() {
    let t = Talk::with("[[route]]\npath = \"/pass\"\npass = true\n");
    t.origin("/p").answers("cache-control: max-age=60 | vary: accept | etag: \"1\"");
    t.get("/p").await.cache("fwd=uri-miss; fwd-status=200; stored");
    t.get("/p").with("accept: x").await.cache("fwd=vary-miss; fwd-status=200; stored");
    t.ask("POST", "/p").await.cache("fwd=method; fwd-status=200; detail=method");
    t.origin("/pass").answers("cache-control: max-age=60");
    t.get("/pass").await.cache("fwd=bypass; fwd-status=200; detail=route-pass");
    t.get("/p").with("if-match: \"1\"").await.cache("fwd=bypass; fwd-status=200; detail=precondition");
    t.origin("/none").answers("404 | cache-control: no-store");
    t.get("/none").await.cache("fwd=uri-miss; fwd-status=404; detail=no-store");
    t.origin("/old").answers("cache-control: max-age=0 | etag: \"1\"");
    t.get("/old").await.cache("fwd=uri-miss; fwd-status=200; stored");
    t.get("/old").await.cache("fwd=stale; fwd-status=304; stored; detail=stale");
    t.origin("/old").answers("cache-control: max-age=0 | etag: \"2\"");
    t.get("/old").await.cache("fwd=stale; fwd-status=200; stored; detail=stale");
    t.head("/old").await.cache("fwd=stale; fwd-status=200; detail=head");
}

#[tokio::test(start_paused = true)]
async fn whoever_is_answered_by_anothers_fetch_says_so() {
    let t = Talk::new();
    t.origin("/p").answers("cache-control: max-age=60");
    let held = t.origin("/p").holds();
    let (first, second) = (t.get("/p").start(), t.get("/p").start());
    t.settle().await;
    held.released();
    first.await.unwrap().cache("fwd=uri-miss; fwd-status=200; stored");
    second.await.unwrap().cache("fwd=uri-miss; fwd-status=200; collapsed");
}

#[tokio::test(start_paused = true)]
async fn what_the_gateway_says_itself_has_neither_hit_nor_fwd() {
    let t = Talk::with("[defaults]\nallow = [\"192.0.2.0/24\"]\n");
    t.origin("/p").refuses();
    t.get("/p").await.code(502).cache("detail=connect");
    t.get("/p").from([198, 51, 100, 1]).await.code(403).cache("detail=address");
    t.ask("TRACE", "/p").await.code(405).cache("detail=method-refused");
    t.get("/p").without("host").await.code(400).cache("detail=bad-host");
}

/// §2: members of caches nearer to the backend come first, and stay.
#[tokio::test(start_paused = true)]
async fn members_that_are_there_are_kept_and_ours_is_appended() {
    let theirs = "inner; hit; ttl=30";
    let t = Talk::new();
    t.origin("/p").answers(&format!("cache-control: max-age=60 | cache-status: {theirs} | etag: \"1\""));
    let miss = "forebay; fwd=uri-miss; fwd-status=200; stored";
    t.get("/p").await.header("cache-status", &format!("{theirs}, {miss}"));
    let hit = "forebay; hit; ttl=60; detail=memory";
    t.get("/p").await.header("cache-status", &format!("{theirs}, {hit}"));
    t.get("/p").with("if-none-match: \"1\"").await.code(304).header("cache-status", &format!("{theirs}, {hit}"));
    t.get("/p").with("range: bytes=0-0").await.code(206).header("cache-status", &format!("{theirs}, {hit}"));
    t.origin("/q").answers(&format!("cache-control: no-store | cache-status: {theirs}"));
    let passed = "forebay; fwd=uri-miss; fwd-status=200; detail=no-store";
    t.get("/q").await.header("cache-status", &format!("{theirs}, {passed}"));
    t.get("/q").await.header("cache-status", &format!("{theirs}, {passed}"));
}

#[tokio::test(start_paused = true)]
async fn a_304_replaces_what_inner_caches_said() {
    let t = Talk::new();
    t.origin("/p").answers("cache-control: max-age=10 | etag: \"1\" | cache-status: inner; hit");
    t.get("/p").await;
    t.advance(secs(11)).await;
    t.origin("/p").answers("304 | cache-control: max-age=10 | etag: \"1\" | cache-status: inner; fwd=stale");
    let ours = "forebay; fwd=stale; fwd-status=304; stored; detail=stale";
    t.get("/p").await.header("cache-status", &format!("inner; fwd=stale, {ours}"));
    t.get("/p").await.header("cache-status", "inner; fwd=stale, forebay; hit; ttl=10; detail=memory");
}

#[tokio::test(start_paused = true)]
async fn a_clients_cache_status_means_nothing() {
    let t = Talk::new();
    t.origin("/p").answers("cache-control: max-age=60");
    t.get("/p").with("cache-status: forged; hit").await.cache("fwd=uri-miss; fwd-status=200; stored");
    t.get("/p").with("cache-status: forged; hit").await.cache("hit; ttl=60; detail=memory");
}

#[tokio::test(start_paused = true)]
async fn the_name_is_the_gateways_own_and_the_field_may_be_left_out() {
    let t = Talk::with("[gateway]\nname = \"edge-1\"\n");
    t.origin("/p").answers("cache-control: max-age=60");
    t.get("/p")
        .await
        .header("cache-status", "edge-1; fwd=uri-miss; fwd-status=200; stored")
        .header("via", "1.1 edge-1");

    let t = Talk::with("[gateway]\ncache_status = false\n");
    t.origin("/p").answers("cache-control: max-age=60 | cache-status: inner; hit");
    t.get("/p").await.header("cache-status", "inner; hit");
    t.get("/p").await.header("cache-status", "inner; hit");
    t.get("/p").without("host").await.code(400).lacks("cache-status");
}

/// RFC 9211 §2.2: what is not stored after all does not say that it is.
#[tokio::test(start_paused = true)]
async fn what_turns_out_too_large_does_not_say_stored() {
    let t = Talk::with("[memory]\nmax_object = \"1KiB\"\n");
    t.origin("/p").replies("x".repeat(2000)).with("cache-control: max-age=60").chunked();
    t.get("/p").await.cache("fwd=uri-miss; fwd-status=200; detail=too-large");
    t.origin("/q").replies("x".repeat(2000)).with("cache-control: max-age=60");
    t.get("/q").await.cache("fwd=uri-miss; fwd-status=200; detail=too-large");
}
