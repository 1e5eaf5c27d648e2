//! RFC 9111 §5.2.1: what a request may ask of the cache, where the route allows it; and RFC 8246.

use crate::talk::{Talk, secs};

const HONOURS: &str = "[defaults]\nhonour_request_directives = true\n";

/// Stores `/p` with `answer`, lets `age` seconds pass and asks with `directives`; compares what became of it.
async fn check(answer: &str, age: u64, directives: &str, expected: &str) {
    let t = Talk::with(HONOURS);
    t.transcript.note(format!("{answer:?} after {age} s, {directives:?}"));
    t.origin("/p").answers(answer);
    t.get("/p").await.cache_has("stored");
    t.advance(secs(age)).await;
    t.get("/p").with_all(directives).await.cache(expected);
}

#[tokio::test(start_paused = true)]
async fn by_default_no_client_can_steer_the_cache() {
    for directive in ["no-cache", "no-store", "max-age=0", "min-fresh=100", "only-if-cached"] {
        let t = Talk::new();
        t.origin("/p").answers("cache-control: max-age=60");
        let ask = || t.get("/p").with(&format!("cache-control: {directive}")).with("pragma: no-cache");
        ask().await.code(200).cache("fwd=uri-miss; fwd-status=200; stored");
        ask().await.cache("hit; ttl=60; detail=memory");
        t.origin("/p").was_asked(1);
    }
}

#[tokio::test(start_paused = true)]
async fn max_stale_does_not_help_by_default_either() {
    let t = Talk::new();
    t.origin("/p").answers("cache-control: max-age=10 | etag: \"1\"");
    t.get("/p").await;
    t.advance(secs(11)).await;
    t.get("/p").with("cache-control: max-stale").await.cache("fwd=stale; fwd-status=304; stored; detail=stale");
}

#[tokio::test(start_paused = true)]
async fn no_cache_asks_for_validation() {
    let answer = "cache-control: max-age=60 | etag: \"1\"";
    let validated = "fwd=request; fwd-status=304; stored; detail=request-no-cache";
    check(answer, 5, "cache-control: no-cache", validated).await;
    check(answer, 5, "cache-control: max-age=30, no-cache", validated).await;
    check(answer, 5, "pragma: no-cache", validated).await;
    // §5.4: Pragma counts only in the absence of Cache-Control.
    check(answer, 5, "pragma: no-cache | cache-control: max-age=30", "hit; ttl=55; detail=memory").await;
    check(answer, 5, "cache-control: max-age=30 | pragma: no-cache", "hit; ttl=55; detail=memory").await;
}

#[tokio::test(start_paused = true)]
async fn what_a_client_had_validated_is_as_good_for_the_next() {
    let t = Talk::with(HONOURS);
    t.origin("/p").answers("cache-control: max-age=60 | etag: \"1\"");
    t.get("/p").await;
    t.advance(secs(50)).await;
    t.get("/p").with("cache-control: no-cache").await.cache_has("fwd-status=304");
    t.get("/p").await.cache("hit; ttl=60; detail=memory");
    t.origin("/p").replies("v2").with("cache-control: max-age=60").with("etag: \"2\"");
    t.get("/p").with("cache-control: no-cache").await.is("v2").cache_has("fwd=request; fwd-status=200; stored");
    t.get("/p").await.is("v2").cache("hit; ttl=60; detail=memory");
}

#[tokio::test(start_paused = true)]
async fn max_age_bounds_the_age() {
    let answer = "cache-control: max-age=60 | etag: \"1\"";
    let validated = "fwd=request; fwd-status=304; stored; detail=request-max-age";
    check(answer, 5, "cache-control: max-age=4", validated).await;
    check(answer, 5, "cache-control: max-age=5", "hit; ttl=55; detail=memory").await;
    check(answer, 5, "cache-control: max-age=0", validated).await;
    check(&format!("{answer} | age: 20"), 5, "cache-control: max-age=24", validated).await;
}

#[tokio::test(start_paused = true)]
async fn min_fresh_asks_for_time_to_come() {
    let answer = "cache-control: max-age=60 | etag: \"1\"";
    check(answer, 5, "cache-control: min-fresh=55", "hit; ttl=55; detail=memory").await;
    let validated = "fwd=request; fwd-status=304; stored; detail=request-min-fresh";
    check(answer, 5, "cache-control: min-fresh=56", validated).await;
}

#[tokio::test(start_paused = true)]
async fn max_stale_accepts_what_is_no_longer_fresh() {
    let answer = "cache-control: max-age=10 | etag: \"1\"";
    let validated = "fwd=stale; fwd-status=304; stored; detail=stale";
    check(answer, 15, "cache-control: max-stale", "hit; ttl=-5; detail=swr").await;
    check(answer, 15, "cache-control: max-stale=5", "hit; ttl=-5; detail=swr").await;
    check(answer, 15, "cache-control: max-stale=4", validated).await;
    check(answer, 15, "cache-control: max-age=20, max-stale=5", "hit; ttl=-5; detail=swr").await;
    check(
        answer,
        15,
        "cache-control: max-age=14, max-stale",
        "fwd=request; fwd-status=304; stored; detail=request-max-age",
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn max_stale_does_not_beat_what_the_answer_forbids() {
    for forbidding in ["must-revalidate", "proxy-revalidate", "s-maxage=10"] {
        let answer = format!("cache-control: max-age=10, {forbidding} | etag: \"1\"");
        let validated = "fwd=stale; fwd-status=304; stored; detail=must-revalidate";
        check(&answer, 15, "cache-control: max-stale", validated).await;
    }
    let validated = "fwd=stale; fwd-status=304; stored; detail=no-cache";
    check("cache-control: no-cache | etag: \"1\"", 15, "cache-control: max-stale", validated).await;
}

/// §5.2.1.1: "Unless the max-stale request directive is also present, the client does not wish to receive a stale response."
#[tokio::test(start_paused = true)]
async fn max_age_closes_the_window_for_stale_answers() {
    let answer = "cache-control: max-age=10, stale-while-revalidate=60 | etag: \"1\"";
    check(answer, 15, "", "hit; ttl=-5; detail=swr").await;
    check(answer, 15, "cache-control: max-age=20", "fwd=stale; fwd-status=304; stored; detail=stale").await;
}

#[tokio::test(start_paused = true)]
async fn only_if_cached_never_reaches_the_backend() {
    let t = Talk::with(HONOURS);
    t.origin("/p").answers("cache-control: max-age=10 | etag: \"1\"");
    let ask = || t.get("/p").with("cache-control: only-if-cached");
    ask().await.code(504).cache("detail=only-if-cached").header("cache-control", "no-store");
    t.origin("/p").was_asked(0);
    t.get("/p").await.is("body");
    ask().await.is("body").cache("hit; ttl=10; detail=memory");
    t.advance(secs(11)).await;
    ask().await.code(504).cache("detail=only-if-cached");
    t.get("/p").with("cache-control: only-if-cached, max-stale").await.is("body").cache("hit; ttl=-1; detail=swr");
    t.head("/q").with("cache-control: only-if-cached").await.code(504);
    t.origin("/q").was_asked(0);
}

#[tokio::test(start_paused = true)]
async fn no_store_neither_stores_nor_uses_what_is_stored() {
    let t = Talk::with(HONOURS);
    t.origin("/p").answers("cache-control: max-age=60");
    for _ in 0..2 {
        t.get("/p").with("cache-control: no-store").await.cache("fwd=bypass; fwd-status=200; detail=request-no-store");
    }
    t.get("/p").await.cache("fwd=uri-miss; fwd-status=200; stored");
    t.get("/p").with("cache-control: no-store").await.cache_has("fwd=bypass");
    t.get("/p").await.cache("hit; ttl=60; detail=memory");
    t.origin("/p").was_asked(4);
}

#[tokio::test(start_paused = true)]
async fn a_fresh_answer_stands_in_when_the_backend_cannot_validate_it() {
    let t = Talk::with(HONOURS);
    t.origin("/p").answers("cache-control: max-age=60 | etag: \"1\"");
    t.get("/p").await;
    t.advance(secs(5)).await;
    t.origin("/p").refuses();
    t.get("/p").with("cache-control: max-age=0").await.is("body").cache("hit; ttl=55; detail=sie");
}

/// RFC 8246 §2: not revalidated on reload while it is fresh.
#[tokio::test(start_paused = true)]
async fn immutable_makes_a_reload_cheap_and_a_forced_one_still_possible() {
    let answer = "cache-control: max-age=60, immutable | etag: \"1\"";
    check(answer, 5, "cache-control: max-age=0", "hit; ttl=55; detail=memory").await;
    let forced = "fwd=request; fwd-status=304; stored; detail=request-no-cache";
    check(answer, 5, "cache-control: no-cache", forced).await;
    // Stale, it is like any other.
    check(answer, 61, "cache-control: max-age=0", "fwd=request; fwd-status=304; stored; detail=request-max-age").await;
}
