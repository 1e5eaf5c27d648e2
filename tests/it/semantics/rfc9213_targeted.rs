//! RFC 9213: fields that speak to this cache rather than Cache-Control.

use super::check;
use crate::talk::Talk;

async fn left(config: &str, answer: &str, expected: u64) {
    let t = Talk::with(config);
    t.transcript.note(answer);
    t.origin("/p").answers(answer);
    t.get("/p").await.cache_has("stored");
    t.get("/p").await.cache(&format!("hit; ttl={expected}; detail=memory"));
}

#[tokio::test(start_paused = true)]
async fn the_targeted_field_stands_in_place_of_cache_control_and_expires() {
    for fields in [
        "cdn-cache-control: max-age=60",
        "cdn-cache-control: max-age=60 | cache-control: max-age=5",
        "cdn-cache-control: max-age=60 | cache-control: no-store",
        "cdn-cache-control: max-age=60 | cache-control: private",
        "cdn-cache-control: max-age=60 | expires: 0",
        "cdn-cache-control: s-maxage=60, max-age=5",
        "cdn-cache-control: max-age=60;x=y | cache-control: max-age=5",
    ] {
        left("", fields, 60).await;
    }
    for (fields, reason) in [
        ("cdn-cache-control: no-store | cache-control: max-age=60", "no-store"),
        ("cdn-cache-control: private | cache-control: max-age=60", "private"),
        ("cdn-cache-control: max-age=0 | cache-control: max-age=60", "no-freshness"),
    ] {
        check("", "", fields, reason).await;
    }
    check("", "", "etag: \"1\" | cdn-cache-control: no-cache | cache-control: max-age=60", "validate").await;
}

/// §2.1: a field that cannot be parsed, or is empty, is ignored.
#[tokio::test(start_paused = true)]
async fn a_targeted_field_that_is_malformed_or_empty_does_not_count() {
    for field in ["cdn-cache-control: max-age=\"60", "cdn-cache-control: max-age==60, &", "cdn-cache-control:"] {
        left("", &format!("{field} | cache-control: max-age=5"), 5).await;
    }
}

#[tokio::test(start_paused = true)]
async fn the_operators_own_list_is_searched_in_its_order() {
    let config = "[defaults]\ntargets = [\"Forebay-Cache-Control\", \"CDN-Cache-Control\"]\n";
    let all = "forebay-cache-control: max-age=60 | cdn-cache-control: max-age=30 | cache-control: max-age=5";
    left(config, all, 60).await;
    left("", all, 30).await;
    left(config, "cdn-cache-control: max-age=30 | cache-control: max-age=5", 30).await;
    left(
        "[defaults]\ntargets = [\"Forebay-Cache-Control\"]\n",
        "cdn-cache-control: max-age=30 | cache-control: max-age=5",
        5,
    )
    .await;
    left(config, "surrogate-control: max-age=30 | cache-control: max-age=5", 5).await;
}

/// Caches in front of us may be the ones that are meant as well.
#[tokio::test(start_paused = true)]
async fn targeted_fields_are_passed_on() {
    let t = Talk::new();
    t.origin("/p").answers("cdn-cache-control: max-age=60 | other-cache-control: max-age=1 | cache-control: no-store");
    for _ in 0..2 {
        let said = t.get("/p").await;
        said.header("cdn-cache-control", "max-age=60").header("other-cache-control", "max-age=1");
        said.header("cache-control", "no-store");
    }
    t.origin("/p").was_asked(1);
}

#[tokio::test(start_paused = true)]
async fn stale_windows_are_taken_from_the_field_that_counts() {
    let t = Talk::new();
    t.origin("/p").answers("cdn-cache-control: max-age=10, stale-while-revalidate=30 | cache-control: max-age=10, stale-while-revalidate=0");
    t.get("/p").await;
    t.advance(crate::talk::secs(15)).await;
    t.get("/p").await.cache("hit; ttl=-5; detail=swr");
}
