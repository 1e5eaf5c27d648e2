//! RFC 5861: stale answers while a refresh runs, and when the backend fails.

use crate::talk::{Talk, millis, secs};

#[tokio::test(start_paused = true)]
async fn one_refresh_runs_behind_many_readers() {
    let t = Talk::new();
    t.origin("/p").replies("v1").with("cache-control: max-age=10, stale-while-revalidate=30");
    t.get("/p").await.is("v1").cache("fwd=uri-miss; fwd-status=200; stored");

    t.advance(secs(11)).await;
    let held = t.origin("/p").holds();
    for _ in 0..100 {
        t.get("/p").await.is("v1").cache("hit; ttl=-1; detail=swr");
    }
    held.replies("v2", &["cache-control: max-age=10"]);

    t.settle().await;
    t.get("/p").await.is("v2").cache("hit; ttl=10; detail=memory");
    t.origin("/p").was_asked(2);
}

#[tokio::test(start_paused = true)]
async fn past_the_window_the_client_waits_for_the_backend() {
    let t = Talk::new();
    t.origin("/p").replies("v1").with("cache-control: max-age=10, stale-while-revalidate=5").with("etag: \"1\"");
    t.get("/p").await.is("v1");

    t.advance(secs(16)).await;
    t.origin("/p").replies("v2").with("cache-control: max-age=10");
    t.get("/p").await.is("v2").cache("fwd=stale; fwd-status=200; stored; detail=stale");
}

#[tokio::test(start_paused = true)]
async fn an_error_is_hidden_by_a_stale_answer_within_its_window() {
    let t = Talk::new();
    t.origin("/p").replies("good").with("cache-control: max-age=10, stale-if-error=60");
    t.get("/p").await.is("good");

    t.advance(secs(11)).await;
    t.origin("/p").replies("oops").code(503);
    t.get("/p").await.is("good").code(200).cache("hit; ttl=-1; detail=sie");

    t.advance(secs(60)).await;
    t.get("/p").await.is("oops").code(503);
}

#[tokio::test(start_paused = true)]
async fn an_error_never_replaces_what_it_was_hidden_by() {
    let t = Talk::new();
    t.origin("/p").replies("good").with("cache-control: max-age=10, stale-if-error=600");
    t.get("/p").await.is("good");

    t.advance(secs(11)).await;
    t.origin("/p").replies("oops").code(500).with("cache-control: max-age=600");
    t.get("/p").await.is("good");

    t.origin("/p").replies("better").with("cache-control: max-age=10");
    t.get("/p").await.is("better");
}

#[tokio::test(start_paused = true)]
async fn a_backend_that_cannot_be_reached_is_hidden_unless_stale_answers_are_forbidden() {
    let t = Talk::new();
    t.origin("/free").replies("free").with("cache-control: max-age=10");
    t.origin("/strict").replies("strict").with("cache-control: max-age=10, must-revalidate");
    t.get("/free").await.is("free");
    t.get("/strict").await.is("strict");

    t.advance(secs(11)).await;
    t.origin("/free").refuses();
    t.origin("/strict").refuses();
    t.get("/free").await.is("free").cache("hit; ttl=-1; detail=sie");
    t.get("/strict").await.code(502).cache("detail=connect");
}

#[tokio::test(start_paused = true)]
async fn a_hung_backend_costs_a_client_with_a_stale_answer_less_than_a_second() {
    let t = Talk::new();
    t.origin("/p").replies("v1").with("cache-control: max-age=10, stale-if-error=60");
    t.get("/p").await.is("v1");

    t.advance(secs(11)).await;
    t.origin("/p").hangs();
    let before = t.clock.now();
    t.get("/p").await.is("v1").cache("hit; ttl=-2; detail=sie");
    let waited = t.clock.now().since(before);
    assert!(waited >= millis(500) && waited < secs(1), "waited {waited:?}");
}

#[tokio::test(start_paused = true)]
async fn a_route_may_add_windows_where_the_answer_names_none() {
    let t = Talk::with(
        "[[route]]\nname = \"api\"\npath = \"/api/{*rest}\"\nstale_while_revalidate = \"30s\"\nstale_if_error = \"1h\"\n",
    );
    t.origin("/api/p").replies("v1").with("cache-control: max-age=10");
    t.get("/api/p").await.is("v1");

    t.advance(secs(20)).await;
    t.origin("/api/p").replies("oops").code(500);
    t.get("/api/p").await.is("v1").cache("hit; ttl=-10; detail=swr");

    t.advance(secs(60)).await;
    t.get("/api/p").await.is("v1").cache("hit; ttl=-70; detail=sie");
}
