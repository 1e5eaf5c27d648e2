//! RFC 9111 §4.2: how long an answer is fresh, and how old it is.

use crate::talk::{Talk, secs};

const DATE: &str = "date: Sun, 17 Mar 2030 17:46:40 GMT"; // When conversations begin.

/// Asks twice for `/p`, which answers `answer`: then so many seconds are left, and it is so old.
async fn check(answer: &str, left: i64, age: &str) {
    let t = Talk::new();
    t.transcript.note(answer);
    t.origin("/p").answers(answer);
    t.get("/p").await.cache_has("stored");
    t.get("/p").await.cache(&format!("hit; ttl={left}; detail=memory")).header("age", age);
}

#[tokio::test(start_paused = true)]
async fn the_lifetime_is_taken_from_the_strongest_field() {
    check("cache-control: max-age=60", 60, "0").await;
    check("cache-control: s-maxage=30, max-age=60", 30, "0").await;
    check("cache-control: max-age=60, s-maxage=30", 30, "0").await;
    check("cache-control: max-age=60 | expires: Sun, 17 Mar 2030 17:46:45 GMT", 60, "0").await;
    check("cache-control: max-age=60 | expires: 0", 60, "0").await;
    check("expires: Sun, 17 Mar 2030 17:47:40 GMT", 60, "0").await;
    check(&format!("{DATE} | expires: Sun, 17 Mar 2030 17:47:40 GMT"), 60, "0").await;
    // Expires counts from the answer's own Date.
    check("date: Sun, 17 Mar 2030 17:46:20 GMT | expires: Sun, 17 Mar 2030 17:47:20 GMT", 40, "20").await;
    check("cache-control: public | last-modified: Sun, 17 Mar 2030 17:30:00 GMT", 100, "0").await;
    check("404 | last-modified: Sun, 17 Mar 2030 17:30:00 GMT", 100, "0").await;
}

#[tokio::test(start_paused = true)]
async fn a_guess_is_never_longer_than_a_day() {
    check("last-modified: Wed, 01 Jan 2020 00:00:00 GMT", 86_400, "0").await;
}

#[tokio::test(start_paused = true)]
async fn numbers_that_are_too_large_count_as_the_largest() {
    check("cache-control: max-age=99999999999999999999", 2_147_483_648, "0").await;
}

#[tokio::test(start_paused = true)]
async fn contradictions_and_nonsense_make_nothing_fresher() {
    for answer in [
        "etag: \"1\" | cache-control: max-age=abc",
        "etag: \"1\" | cache-control: max-age=-5",
        "etag: \"1\" | cache-control: max-age=0 | expires: Mon, 18 Mar 2030 17:46:40 GMT",
        "etag: \"1\" | expires: tomorrow",
        "etag: \"1\" | expires: 0",
        "etag: \"1\" | date: Sun, 17 Mar 2030 17:46:40 GMT | expires: Sun, 17 Mar 2030 17:46:40 GMT",
    ] {
        super::check("", "", answer, "validate").await;
    }
}

#[tokio::test(start_paused = true)]
async fn it_is_as_old_as_age_or_date_say_whichever_is_more() {
    check("cache-control: max-age=60 | age: 20", 40, "20").await;
    check("cache-control: max-age=60 | date: Sun, 17 Mar 2030 17:46:10 GMT", 30, "30").await;
    check("cache-control: max-age=60 | age: 20 | date: Sun, 17 Mar 2030 17:46:10 GMT", 30, "30").await;
    check("cache-control: max-age=60 | age: 40 | date: Sun, 17 Mar 2030 17:46:10 GMT", 20, "40").await;
    // A Date ahead of our clock makes it no younger.
    check("cache-control: max-age=60 | date: Sun, 17 Mar 2030 18:46:40 GMT", 60, "0").await;
    check("cache-control: max-age=60 | age: nonsense", 60, "0").await;
    check("cache-control: max-age=60 | age: 20, 30", 40, "20").await;
    check("cache-control: max-age=60 | age: 20 | age: 30", 40, "20").await;
}

#[tokio::test(start_paused = true)]
async fn what_arrives_too_old_is_stored_for_validation_only() {
    super::check("", "", "etag: \"1\" | cache-control: max-age=60 | age: 60", "validate").await;
    super::check("", "", "etag: \"1\" | cache-control: max-age=60 | age: 9999999999999", "validate").await;
}

/// §4.2.3: `corrected_age_value = age_value + response_delay`.
#[tokio::test(start_paused = true)]
async fn the_time_the_backend_took_counts_as_age() {
    let t = Talk::new();
    t.origin("/p").answers("cache-control: max-age=60 | age: 10");
    let held = t.origin("/p").holds();
    let asking = t.get("/p").start();
    t.settle().await;
    t.advance(secs(7)).await;
    held.released();
    asking.await.unwrap().is("body").header("age", "17");
    t.get("/p").await.header("age", "17").cache("hit; ttl=43; detail=memory");
}

#[tokio::test(start_paused = true)]
async fn age_grows_with_time_and_is_fresh_until_its_lifetime_is_over() {
    let t = Talk::new();
    t.origin("/p").answers("cache-control: max-age=10 | etag: \"1\"");
    t.get("/p").await.lacks("age");
    for age in 1..10 {
        t.advance(secs(1)).await;
        t.get("/p").await.header("age", &age.to_string()).cache(&format!("hit; ttl={}; detail=memory", 10 - age));
    }
    t.advance(secs(1)).await;
    // Fresh means that the lifetime exceeds the age: at ten seconds it does not.
    t.get("/p").await.cache("fwd=stale; fwd-status=304; stored; detail=stale");
    t.get("/p").await.header("age", "0");
}

#[tokio::test(start_paused = true)]
async fn age_says_when_an_answer_is_older_than_the_request_also_on_a_miss() {
    let t = Talk::new();
    t.origin("/p").answers("cache-control: max-age=60 | age: 20");
    t.get("/p").await.header("age", "20").cache("fwd=uri-miss; fwd-status=200; stored");
    t.origin("/q").answers("cache-control: no-store | age: 20");
    t.get("/q").await.header("age", "20");
}

#[tokio::test(start_paused = true)]
async fn age_may_be_kept_to_oneself() {
    let t = Talk::with("[gateway]\nexpose_age = false\n");
    t.origin("/p").answers("cache-control: max-age=60 | age: 20");
    t.get("/p").await.lacks("age");
    t.get("/p").await.lacks("age").cache("hit; ttl=40; detail=memory");
}

#[tokio::test(start_paused = true)]
async fn age_adds_up_through_two_gateways() {
    let inner = Talk::new();
    let edge = inner.in_front_of("[gateway]\nname = \"edge\"\n");
    inner.origin("/p").answers("cache-control: max-age=60");
    inner.get("/p").await.cache("fwd=uri-miss; fwd-status=200; stored");
    inner.advance(secs(10)).await;
    edge.get("/p")
        .await
        .header("age", "10")
        .header("cache-status", "forebay; hit; ttl=50; detail=memory, edge; fwd=uri-miss; fwd-status=200; stored");
    inner.advance(secs(20)).await;
    edge.get("/p")
        .await
        .header("age", "30")
        .header("cache-status", "forebay; hit; ttl=50; detail=memory, edge; hit; ttl=30; detail=memory");
    inner.origin("/p").was_asked(1);

    // Together they keep it for its lifetime, and not for twice that.
    inner.origin("/p").answers("cache-control: max-age=60 | x-version: 2");
    inner.advance(secs(30)).await;
    edge.get("/p").await.header("x-version", "2").lacks("age");
}

#[tokio::test(start_paused = true)]
async fn a_date_is_given_to_answers_that_have_none() {
    let t = Talk::new();
    t.origin("/p").answers("cache-control: max-age=60");
    t.get("/p").await.header("date", "Sun, 17 Mar 2030 17:46:40 GMT");
    t.advance(secs(10)).await;
    t.get("/p").await.header("date", "Sun, 17 Mar 2030 17:46:40 GMT").header("age", "10");
}
