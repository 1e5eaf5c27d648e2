//! RFC 9111 §4.3: validation, what a 304 changes, and what a HEAD does.

use crate::talk::{Talk, secs};

const CONFIRMED: &str = "fwd=stale; fwd-status=304; stored; detail=stale";

#[tokio::test(start_paused = true)]
async fn a_stale_answer_is_validated_by_its_own_validators() {
    let t = Talk::new();
    let modified = "last-modified: Sun, 17 Mar 2030 17:00:00 GMT";
    t.origin("/p").answers(&format!("cache-control: max-age=10 | etag: \"1\" | {modified}"));
    t.get("/p").await.is("body");
    t.advance(secs(10)).await;
    t.get("/p").with("if-none-match: \"other\"").with("if-range: \"other\"").await.is("body").cache(CONFIRMED);
    let asked = t.origin("/p").asked_last();
    assert_eq!(asked.headers["if-none-match"], "\"1\"");
    assert_eq!(asked.headers["if-modified-since"], "Sun, 17 Mar 2030 17:00:00 GMT");
    assert!(!asked.headers.contains_key("if-range"));
}

#[tokio::test(start_paused = true)]
async fn a_304_brings_new_fields_and_keeps_the_body() {
    let t = Talk::new();
    t.origin("/p").answers("cache-control: max-age=10 | etag: \"1\" | x-a: old | x-b: kept | content-type: text/plain");
    t.get("/p").await.is("body");
    t.advance(secs(15)).await;
    t.origin("/p").answers("304 | cache-control: max-age=100 | etag: \"1\" | x-a: new | content-type: text/odd");
    for status in [CONFIRMED, "hit; ttl=100; detail=memory"] {
        t.get("/p").await.code(200).is("body").cache(status).header("x-a", "new").header("x-b", "kept");
    }
    t.origin("/p").was_asked(2);
}

/// §3.2: what describes the stored bytes is not taken from a 304 that carries other bytes, or none.
#[tokio::test(start_paused = true)]
async fn a_304_does_not_change_what_describes_the_body() {
    let t = Talk::new();
    t.origin("/p").answers("cache-control: max-age=10 | etag: \"1\" | repr-digest: sha-256=:YWJj:");
    t.get("/p").await.is("body");
    t.advance(secs(15)).await;
    t.origin("/p").answers(
        "304 | cache-control: max-age=100 | etag: \"1\" | content-encoding: gzip | content-range: bytes 0-1/2 \
         | repr-digest: sha-256=:eHh4: | content-md5: x",
    );
    t.get("/p").await.is("body").cache(CONFIRMED);
    let said = t.get("/p").await;
    said.is("body").header("repr-digest", "sha-256=:YWJj:").lacks("content-encoding").lacks("content-range");
    said.lacks("content-md5");
}

#[tokio::test(start_paused = true)]
async fn a_304_without_a_lifetime_leaves_the_stored_one() {
    let t = Talk::new();
    t.origin("/p").answers("cache-control: max-age=10 | etag: \"1\" | date: Sun, 17 Mar 2030 17:46:40 GMT");
    t.get("/p").await.is("body");
    t.advance(secs(3600)).await;
    t.origin("/p").answers("304 | x-bare: 1");
    t.get("/p").await.is("body").cache(CONFIRMED);
    t.get("/p").await.is("body").cache("hit; ttl=10; detail=memory").header("age", "0");
}

#[tokio::test(start_paused = true)]
async fn a_304_may_bring_its_age() {
    let t = Talk::new();
    t.origin("/p").answers("cache-control: max-age=10 | etag: \"1\"");
    t.get("/p").await.is("body");
    t.advance(secs(15)).await;
    t.origin("/p").answers("304 | cache-control: max-age=100 | etag: \"1\" | age: 40");
    t.get("/p").await.is("body").header("age", "40").cache(CONFIRMED);
    t.get("/p").await.cache("hit; ttl=60; detail=memory");
}

/// §4.3.4: a 304 whose weak tag is another one says nothing about what is stored. The whole is asked for.
#[tokio::test(start_paused = true)]
async fn a_304_about_another_answer_leads_to_a_full_fetch() {
    let t = Talk::new();
    t.origin("/p").answers("cache-control: max-age=10 | etag: W/\"1\"");
    t.get("/p").await.is("body");
    t.advance(secs(15)).await;
    t.origin("/p").answers("304 | cache-control: max-age=100 | etag: W/\"2\"");
    let held = t.origin("/p").holds();
    let second = t.origin("/p").holds();
    let asking = t.get("/p").start();
    t.settle().await;
    held.released();
    t.settle().await;
    assert!(!t.origin("/p").asked_last().headers.contains_key("if-none-match"), "{}", t.transcript.text());
    second.replies("v2", &["cache-control: max-age=100", "etag: W/\"2\""]);
    asking.await.unwrap().is("v2").cache("fwd=stale; fwd-status=200; stored; detail=stale");
    t.origin("/p").was_asked(3);
    t.get("/p").await.is("v2").header("etag", "W/\"2\"").cache("hit; ttl=100; detail=memory");
}

#[tokio::test(start_paused = true)]
async fn a_backend_that_says_304_to_everything_is_an_error_and_no_endless_loop() {
    let t = Talk::new();
    t.origin("/p").answers("cache-control: max-age=10, must-revalidate | etag: W/\"1\"");
    t.get("/p").await.is("body");
    t.advance(secs(15)).await;
    t.origin("/p").answers("304 | etag: W/\"2\"");
    t.get("/p").await.code(502).cache("detail=broken");
    t.origin("/p").was_asked(3);
}

#[tokio::test(start_paused = true)]
async fn a_304_that_forbids_storing_ends_the_stored_answer() {
    for forbidding in ["cache-control: no-store", "cache-control: private", "vary: *"] {
        let t = Talk::new();
        t.transcript.note(forbidding);
        t.origin("/p").answers("cache-control: max-age=10, stale-if-error=600 | etag: \"1\"");
        t.get("/p").await.is("body");
        t.advance(secs(15)).await;
        t.origin("/p").answers(&format!("etag: \"1\" | {forbidding}"));
        for _ in 0..2 {
            t.get("/p").await.code(200).is("body").cache_has("detail=");
        }
        assert!(!t.origin("/p").asked_last().headers.contains_key("if-none-match"), "{}", t.transcript.text());
        // Nor does it come back when the backend is away.
        t.origin("/p").refuses();
        t.get("/p").await.code(502);
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_replaces_a_stored_one_and_may_not_be_stored_ends_it() {
    let t = Talk::new();
    t.origin("/p").answers("cache-control: max-age=10, stale-if-error=600, stale-while-revalidate=600 | etag: \"1\"");
    t.get("/p").await.is("body");
    t.advance(secs(15)).await;
    t.origin("/p").replies("secret").with("cache-control: private");
    t.get("/p").await.is("body").cache("hit; ttl=-5; detail=swr");
    t.settle().await;
    t.get("/p").await.is("secret").cache("fwd=uri-miss; fwd-status=200; detail=private");
}

/// A refusal that is about the client says nothing about what others were given.
#[tokio::test(start_paused = true)]
async fn what_is_stored_outlives_an_answer_meant_for_one_client() {
    for (asked, fields) in [("authorization: Basic dTpw", "cache-control: max-age=60"), ("", "set-cookie: a=b")] {
        let t = Talk::new();
        t.origin("/p").answers("cache-control: max-age=10, stale-if-error=600");
        t.get("/p").await.is("body");
        t.advance(secs(15)).await;
        t.origin("/p").replies("mine").with(fields);
        t.get("/p").with_all(asked).await.is("mine");
        t.origin("/p").refuses();
        t.get("/p").await.is("body").cache("hit; ttl=-5; detail=sie");
    }
}

#[tokio::test(start_paused = true)]
async fn no_cache_is_validated_at_every_use() {
    let t = Talk::new();
    t.origin("/p").answers("cache-control: no-cache, max-age=60 | etag: \"1\"");
    t.get("/p").await.is("body").cache("fwd=uri-miss; fwd-status=200; stored");
    for _ in 0..3 {
        t.get("/p").await.is("body").cache("fwd=stale; fwd-status=304; stored; detail=no-cache");
    }
    t.origin("/p").was_asked(4);
}

#[tokio::test(start_paused = true)]
async fn an_empty_answer_is_confirmed_like_any_other() {
    let t = Talk::new();
    t.origin("/p").replies("").with("cache-control: max-age=10").with("etag: \"1\"");
    t.get("/p").await.is("");
    t.advance(secs(15)).await;
    t.get("/p").await.is("").cache(CONFIRMED);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_goes_out_encoded_is_confirmed_like_any_other() {
    let t = Talk::new();
    let body = "word ".repeat(1000);
    t.origin("/p").replies(body).with("cache-control: max-age=10").with("etag: \"1\"").with("content-type: text/plain");
    let first = t.get("/p").with("accept-encoding: gzip").await;
    t.advance(secs(15)).await;
    let second = t.get("/p").with("accept-encoding: gzip").await;
    second.header("content-encoding", "gzip").header("etag", "W/\"1\"").cache(CONFIRMED);
    assert_eq!(first.body.as_ptr(), second.body.as_ptr(), "it was encoded again");
}

/// §4.3.5.
#[tokio::test(start_paused = true)]
async fn a_head_renews_the_stored_answer_it_describes() {
    for fields in ["etag: \"1\"", "last-modified: Sun, 17 Mar 2030 17:00:00 GMT"] {
        let t = Talk::new();
        t.origin("/p").answers(&format!("cache-control: max-age=10 | {fields} | x-a: old"));
        t.get("/p").await.is("body");
        t.advance(secs(15)).await;
        t.origin("/p").answers(&format!("cache-control: max-age=100 | {fields} | x-a: new"));
        t.head("/p").await.is("").cache("fwd=stale; fwd-status=200; detail=head");
        t.get("/p").await.is("body").header("x-a", "new").cache("hit; ttl=100; detail=memory");
        t.origin("/p").was_asked(2);
    }
}

#[tokio::test(start_paused = true)]
async fn a_head_that_describes_another_answer_ends_the_stored_one() {
    for (body, fields) in [("body", "etag: \"2\""), ("longer", "etag: \"1\"")] {
        let t = Talk::new();
        t.origin("/p").answers("cache-control: max-age=10 | etag: \"1\"");
        t.get("/p").await.is("body");
        t.advance(secs(15)).await;
        t.origin("/p").replies(body).with("cache-control: max-age=100").with(fields);
        t.head("/p").await.is("");
        t.get("/p").await.is(body).cache("fwd=uri-miss; fwd-status=200; stored");
    }
}

#[tokio::test(start_paused = true)]
async fn a_head_that_proves_nothing_or_fails_leaves_the_stored_answer() {
    let t = Talk::new();
    t.origin("/p").answers("cache-control: max-age=10, stale-if-error=60 | etag: \"1\"");
    t.get("/p").await.is("body");
    t.advance(secs(15)).await;
    t.origin("/p").answers("500 | cache-control: no-store");
    t.head("/p").await.code(500);
    t.get("/p").await.is("body").cache("hit; ttl=-5; detail=sie");
}

#[tokio::test(start_paused = true)]
async fn a_conditional_head_is_answered_304_like_a_get() {
    let t = Talk::new();
    t.origin("/p").answers("cache-control: max-age=10 | etag: \"1\"");
    t.head("/p").with("if-none-match: \"1\"").await.code(304).is("");
    t.get("/p").await.is("body");
    t.head("/p").with("if-none-match: \"1\"").await.code(304).is("").cache("hit; ttl=10; detail=memory");
}

/// Stored and confirmed under the fields that the answer names now.
#[tokio::test(start_paused = true)]
async fn a_304_that_names_other_fields_changes_the_variant() {
    let t = Talk::new();
    t.origin("/p").answers("cache-control: max-age=10 | etag: \"1\"");
    t.get("/p").with("accept-language: de").await.is("body");
    t.advance(secs(15)).await;
    t.origin("/p").answers("304 | cache-control: max-age=100 | etag: \"1\" | vary: accept-language");
    t.get("/p").with("accept-language: de").await.is("body").cache(CONFIRMED);
    t.get("/p").with("accept-language: de").await.is("body").cache("hit; ttl=100; detail=memory");
    t.origin("/p").replies("autre").with("cache-control: max-age=100").with("vary: accept-language");
    t.get("/p").with("accept-language: fr").await.is("autre").cache("fwd=vary-miss; fwd-status=200; stored");
}

#[tokio::test(start_paused = true)]
async fn a_head_that_names_other_fields_changes_the_variant_too() {
    let t = Talk::new();
    t.origin("/p").answers("cache-control: max-age=10 | etag: \"1\"");
    t.get("/p").with("accept-language: de").await.is("body");
    t.advance(secs(15)).await;
    t.origin("/p").answers("cache-control: max-age=100 | etag: \"1\" | vary: accept-language");
    t.head("/p").with("accept-language: de").await;
    t.get("/p").with("accept-language: de").await.is("body").cache("hit; ttl=100; detail=memory");
    t.get("/p").with("accept-language: fr").await.cache("fwd=vary-miss; fwd-status=200; stored");
}

/// An answer that exists in several codings says so, whatever Vary a 304 or HEAD brings.
#[tokio::test(start_paused = true)]
async fn a_new_vary_does_not_hide_that_the_coding_varies() {
    for method in ["GET", "HEAD"] {
        let t = Talk::new();
        let body = "word ".repeat(1000);
        let fields = ["cache-control: max-age=10", "etag: \"1\"", "content-type: text/plain", "vary: accept-language"];
        let reply = || fields.iter().fold(t.origin("/p").replies(body.clone()), |path, field| path.with(field));
        reply();
        t.get("/p").await.header("vary", "accept-language, Accept-Encoding");
        t.advance(secs(15)).await;
        t.ask(method, "/p").await.code(200);
        t.get("/p").await.cache("hit; ttl=10; detail=memory").header("vary", "accept-language, Accept-Encoding");
    }
}
