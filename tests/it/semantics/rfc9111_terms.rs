//! What an operator adds to RFC 9111: lifetimes, and what they may beat.

use super::check;
use crate::talk::{Talk, secs};

/// Asks for `/p`, which answers `answer`, twice; the second time there are so many seconds left.
async fn left(config: &str, answer: &str, expected: u64) {
    let t = Talk::with(config);
    t.transcript.note(format!("{config:?} {answer:?}"));
    t.origin("/p").answers(answer);
    t.get("/p").await.cache_has("stored");
    t.get("/p").await.cache(&format!("hit; ttl={expected}; detail=memory"));
}

#[tokio::test(start_paused = true)]
async fn a_ttl_speaks_where_the_answer_is_silent() {
    let config = "[defaults]\nttl = \"90s\"\n";
    left(config, "200", 90).await;
    left(config, "404", 90).await;
    left(config, "cache-control: public", 90).await;
    left(config, "cache-control: max-age=5", 5).await;
    left(config, "cache-control: s-maxage=5", 5).await;
    left(config, "expires: Sun, 17 Mar 2030 17:46:45 GMT", 5).await;
    left("[defaults]\nttl = { memory = \"90s\", cdn = \"5s\" }\n", "200", 90).await;
}

#[tokio::test(start_paused = true)]
async fn a_ttl_is_for_answers_about_the_resource() {
    for status in [201, 302, 400, 401, 403, 429, 500, 502, 503] {
        check("[defaults]\nttl = \"90s\"\n", "", &status.to_string(), "no-freshness").await;
    }
    for status in [405, 414, 501] {
        check("[defaults]\nttl = \"90s\"\n", "", &format!("{status}"), "no-freshness").await;
    }
}

#[tokio::test(start_paused = true)]
async fn the_longest_guess_does_not_beat_a_ttl() {
    left("[defaults]\nttl = \"90s\"\n", "last-modified: Wed, 01 Jan 2020 00:00:00 GMT", 90).await;
}

#[tokio::test(start_paused = true)]
async fn a_ttl_never_beats_a_prohibition() {
    let prohibited = [
        ("", "cache-control: no-store", "no-store"),
        ("", "cache-control: private", "private"),
        ("", "set-cookie: a=b", "set-cookie"),
        ("", "vary: *", "vary-star"),
        ("authorization: Basic dTpw", "200", "authorization"),
    ];
    for config in
        ["ttl = \"90s\"", "ttl = \"90s\"\nttl_override = true", "status_ttl = { 200 = \"90s\" }", "min_ttl = \"90s\""]
    {
        for (asked, answer, expected) in prohibited {
            check(&format!("[defaults]\n{config}\n"), asked, answer, expected).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_ttl_beats_is_named_one_by_one() {
    let cases = [
        ("no-store", "", "cache-control: no-store"),
        ("private", "", "cache-control: private"),
        ("authorization", "authorization: Basic dTpw", "cache-control: max-age=5"),
    ];
    for (beaten, ..) in cases {
        let config = format!("[defaults]\nttl = \"90s\"\nttl_override = true\nttl_beats = [\"{beaten}\"]\n");
        for (reason, asked, answer) in cases {
            check(&config, asked, answer, if reason == beaten { "hit" } else { reason }).await;
        }
        check(&config, "", "set-cookie: a=b", "set-cookie").await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_override_beats_lifetimes_and_no_cache() {
    let config = "[defaults]\nttl = \"90s\"\nttl_override = true\n";
    left(config, "cache-control: max-age=5", 90).await;
    left(config, "cache-control: max-age=500", 90).await;
    left(config, "cache-control: max-age=0", 90).await;
    left(config, "cache-control: no-cache", 90).await;
    left(config, "expires: 0", 90).await;
    left(config, "cdn-cache-control: max-age=5", 90).await;
    // An age it has already: the operator's lifetime is counted from the answer's birth.
    left(config, "cache-control: max-age=5 | age: 30", 60).await;
}

#[tokio::test(start_paused = true)]
async fn lifetimes_by_status_come_before_the_general_one() {
    let config = "[defaults]\nttl = \"90s\"\nstatus_ttl = { 404 = \"30s\", \"5xx\" = \"2s\", \"300-308\" = \"1h\" }\n";
    for (answer, expected) in [
        ("200", 90),
        ("404", 30),
        ("410", 90),
        ("500", 2),
        ("503", 2),
        ("302", 3600),
        ("404 | cache-control: max-age=5", 5),
        ("503 | cache-control: max-age=5", 5),
    ] {
        left(config, answer, expected).await;
    }
    check(config, "", "418", "no-freshness").await;
}

#[tokio::test(start_paused = true)]
async fn a_negative_answer_lives_for_its_time_and_no_longer() {
    let t = Talk::with("[defaults]\nstatus_ttl = { 404 = \"30s\" }\n");
    t.origin("/p").replies("gone").code(404);
    t.get("/p").await.code(404);
    t.advance(secs(29)).await;
    t.get("/p").await.code(404).cache("hit; ttl=1; detail=memory");
    t.origin("/p").replies("back").with("cache-control: max-age=60");
    t.advance(secs(1)).await;
    t.get("/p").await.is("back").code(200);
}

#[tokio::test(start_paused = true)]
async fn bounds_hold_whoever_gave_the_lifetime() {
    let config = "[defaults]\nmin_ttl = \"10s\"\nmax_ttl = \"60s\"\n";
    left(config, "cache-control: max-age=1", 10).await;
    left(config, "cache-control: max-age=30", 30).await;
    left(config, "cache-control: max-age=3600", 60).await;
    left(config, "expires: Mon, 18 Mar 2030 17:46:40 GMT", 60).await;
    left(config, "last-modified: Wed, 01 Jan 2020 00:00:00 GMT", 60).await;
    left(&format!("{config}ttl = \"20s\"\n"), "200", 20).await;
    left(&format!("{config}ttl = \"20s\"\nttl_override = true\n"), "cache-control: max-age=3600", 20).await;
}

#[tokio::test(start_paused = true)]
async fn a_shortest_lifetime_leaves_a_zero_that_was_asked_for() {
    let config = "[defaults]\nmin_ttl = \"10s\"\n";
    check(config, "", "etag: \"1\" | cache-control: max-age=0", "validate").await;
    check(config, "", "etag: \"1\" | cache-control: no-cache", "validate").await;
    check(config, "", "etag: \"1\" | expires: 0", "validate").await;
}

#[tokio::test(start_paused = true)]
async fn only_listed_statuses_are_stored() {
    let config = "[defaults]\nstorable_status = [200, \"300-308\", \"5xx\"]\n";
    for (status, expected) in
        [(200, "hit"), (203, "status-not-listed"), (301, "hit"), (308, "hit"), (404, "status-not-listed"), (500, "hit")]
    {
        check(config, "", &format!("{status} | cache-control: max-age=60"), expected).await;
    }
}

#[tokio::test(start_paused = true)]
async fn guesses_may_be_switched_off_or_made_smaller() {
    // 1000 s before the conversation begins.
    let answer = "last-modified: Sun, 17 Mar 2030 17:30:00 GMT";
    left("", answer, 100).await;
    left("[defaults]\nheuristic = { percent = 5 }\n", answer, 50).await;
    left("[defaults]\nheuristic = { max = \"7s\" }\n", answer, 7).await;
    check("[defaults]\nheuristic = false\n", "", answer, "validate").await;
}

/// A page that answers under the name of a picture is not a picture: web cache deception.
#[tokio::test(start_paused = true)]
async fn a_ttl_is_not_given_to_an_answer_of_another_kind_than_the_path_promises() {
    let t = Talk::with("[defaults]\nttl = \"90s\"\n");
    t.origin("/account/x.css").answers("content-type: text/html");
    t.get("/account/x.css").await.cache_has("detail=type-mismatch");
    t.origin("/style.css").answers("content-type: text/css");
    t.get("/style.css").await.cache("fwd=uri-miss; fwd-status=200; stored");
}

#[tokio::test(start_paused = true)]
async fn nor_does_a_validation_give_it_one() {
    let t = Talk::with("[defaults]\nttl = \"90s\"\n");
    t.origin("/account/x.css").answers("content-type: text/html | etag: \"1\"");
    for fetches in 1..4 {
        t.get("/account/x.css").await.is("body").cache_has("stored");
        t.origin("/account/x.css").was_asked(fetches);
    }
}
