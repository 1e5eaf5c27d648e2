//! RFC 9110 §13: conditional requests answered from the cache, and those that are not its to answer.

use crate::talk::{Said, Talk};

const MODIFIED: &str = "last-modified: Sun, 17 Mar 2030 17:00:00 GMT";

/// Asks for `/p`, stored with `stored`, under the conditions `asked`.
async fn answered(stored: &str, asked: &str) -> Said {
    let t = Talk::new();
    t.origin("/p").answers(&format!("cache-control: max-age=60 | {stored}"));
    t.get("/p").await.cache_has("stored");
    let said = t.get("/p").with_all(asked).await;
    t.origin("/p").was_asked(1);
    said
}

async fn check(stored: &str, asked: &str, status: u16) {
    let said = answered(stored, asked).await;
    said.transcript.note(format!("{stored:?} {asked:?}"));
    said.code(status).is(if status == 304 { "" } else { "body" }).cache("hit; ttl=60; detail=memory");
}

#[tokio::test(start_paused = true)]
async fn an_entity_tag_is_compared_weakly() {
    for (stored, asked, status) in [
        ("etag: \"1\"", "if-none-match: \"1\"", 304),
        ("etag: \"1\"", "if-none-match: \"2\"", 200),
        ("etag: \"1\"", "if-none-match: W/\"1\"", 304),
        ("etag: W/\"1\"", "if-none-match: \"1\"", 304),
        ("etag: W/\"1\"", "if-none-match: W/\"1\"", 304),
        ("etag: \"1\"", "if-none-match: \"0\", \"1\"", 304),
        ("etag: \"1\"", "if-none-match: \"0\" | if-none-match: \"1\"", 304),
        ("etag: \"a,b\"", "if-none-match: \"a,b\"", 304),
        ("etag: \"a,b\"", "if-none-match: \"a\", \"b\"", 200),
        ("etag: \"1\"", "if-none-match: *", 304),
        (MODIFIED, "if-none-match: *", 304),
        (MODIFIED, "if-none-match: \"1\"", 200),
        ("etag: \"A\"", "if-none-match: \"a\"", 200),
    ] {
        check(stored, asked, status).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_date_is_compared_where_there_is_no_tag_to_ask_about() {
    for (stored, asked, status) in [
        (MODIFIED, "if-modified-since: Sun, 17 Mar 2030 17:00:00 GMT", 304),
        (MODIFIED, "if-modified-since: Sun, 17 Mar 2030 17:00:01 GMT", 304),
        (MODIFIED, "if-modified-since: Sun, 17 Mar 2030 16:59:59 GMT", 200),
        (MODIFIED, "if-modified-since: Sunday, 17-Mar-30 17:00:00 GMT", 304),
        (MODIFIED, "if-modified-since: Sun Mar 17 17:00:00 2030", 304),
        (MODIFIED, "if-modified-since: yesterday", 200),
        // §13.2.2: the tag decides, whatever the date says.
        (
            "etag: \"1\" | last-modified: Sun, 17 Mar 2030 17:00:00 GMT",
            "if-none-match: \"2\" | if-modified-since: Sun, 17 Mar 2030 17:00:00 GMT",
            200,
        ),
        (
            "etag: \"1\" | last-modified: Sun, 17 Mar 2030 17:00:00 GMT",
            "if-none-match: \"1\" | if-modified-since: Sun, 17 Mar 2030 16:00:00 GMT",
            304,
        ),
        // RFC 9111 §4.3.2: without Last-Modified, the Date of the answer.
        ("x-none: 1", "if-modified-since: Sun, 17 Mar 2030 17:46:40 GMT", 304),
        ("x-none: 1", "if-modified-since: Sun, 17 Mar 2030 17:46:39 GMT", 200),
    ] {
        check(stored, asked, status).await;
    }
}

/// §13.2.1: conditions are for answers that would have been a success.
#[tokio::test(start_paused = true)]
async fn a_stored_error_or_redirection_is_given_whatever_the_conditions() {
    for status in [301, 404, 410] {
        answered(&format!("{status} | etag: \"1\""), "if-none-match: \"1\"").await.code(status).is("body");
    }
}

/// §15.4.5.
#[tokio::test(start_paused = true)]
async fn a_304_carries_what_guides_caches_and_not_what_describes_the_body() {
    let stored = "etag: \"1\" | vary: accept | content-location: /q | content-type: text/plain | x-a: b \
                  | cdn-cache-control: max-age=60 | last-modified: Sun, 17 Mar 2030 17:00:00 GMT";
    let said = answered(stored, "if-none-match: \"1\"").await;
    said.code(304).header("etag", "\"1\"").header("cache-control", "max-age=60").header("vary", "accept");
    said.header("content-location", "/q").header("cdn-cache-control", "max-age=60").header("age", "0");
    said.header("date", "Sun, 17 Mar 2030 17:46:40 GMT");
    said.lacks("content-type").lacks("content-length").lacks("x-a").lacks("last-modified");
    // Without a tag the date is what the client's copy goes by.
    let said = answered(MODIFIED, "if-modified-since: Sun, 17 Mar 2030 17:00:00 GMT").await;
    said.code(304).header("last-modified", "Sun, 17 Mar 2030 17:00:00 GMT");
}

#[tokio::test(start_paused = true)]
async fn a_condition_on_a_miss_fetches_the_whole_for_everybody() {
    let t = Talk::new();
    t.origin("/p").answers("cache-control: max-age=60 | etag: \"1\"");
    t.get("/p").with("if-none-match: \"1\"").await.code(304).is("").cache("fwd=uri-miss; fwd-status=200; stored");
    assert!(!t.origin("/p").asked_last().headers.contains_key("if-none-match"));
    t.settle().await;
    t.get("/p").await.code(200).is("body").cache("hit; ttl=60; detail=memory");
    t.origin("/p").was_asked(1);
}

#[tokio::test(start_paused = true)]
async fn a_condition_on_an_answer_that_is_not_kept_holds_as_well() {
    let t = Talk::new();
    t.origin("/p").answers("cache-control: no-store | etag: \"1\"");
    t.get("/p").with("if-none-match: \"1\"").await.code(304).is("").cache_has("detail=no-store");
    t.get("/p").with("if-none-match: \"2\"").await.code(200).is("body").cache_has("detail=no-store");
}

#[tokio::test(start_paused = true)]
async fn a_clients_condition_on_a_stale_answer_waits_for_the_validation() {
    let t = Talk::new();
    t.origin("/p").answers("cache-control: max-age=0 | etag: \"1\"");
    t.get("/p").await.is("body");
    t.get("/p").with("if-none-match: \"1\"").await.code(304).cache("fwd=stale; fwd-status=304; stored; detail=stale");
    t.origin("/p").replies("v2").with("cache-control: max-age=0").with("etag: \"2\"");
    t.get("/p").with("if-none-match: \"1\"").await.code(200).is("v2");
    t.get("/p").with("if-none-match: \"2\"").await.code(304);
    assert_eq!(t.origin("/p").asked_last().headers["if-none-match"], "\"2\"");
}

/// §13.1.1: If-Match asks about the resource as it is now, which only the backend knows.
#[tokio::test(start_paused = true)]
async fn if_match_and_if_unmodified_since_are_for_the_backend() {
    for condition in ["if-match: \"1\"", "if-unmodified-since: Sun, 17 Mar 2030 17:00:00 GMT"] {
        let t = Talk::new();
        t.origin("/p").answers("cache-control: max-age=60 | etag: \"1\"");
        t.get("/p").await.is("body");
        t.origin("/p").answers("412 | cache-control: max-age=60");
        t.get("/p").with(condition).await.code(412).cache("fwd=bypass; fwd-status=412; detail=precondition");
        let (name, value) = condition.split_once(": ").unwrap();
        assert_eq!(t.origin("/p").asked_last().headers[name], value);
        // The 412 was for that client alone.
        t.get("/p").await.code(200).is("body").cache("hit; ttl=60; detail=memory");
        t.origin("/p").was_asked(2);
    }
}
