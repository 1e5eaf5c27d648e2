//! RFC 9875: groups of answers that are invalidated together.

use crate::talk::Talk;

/// Three answers: two in group `users`, one of these also in `teams`, one in none.
async fn stored() -> Talk {
    let t = Talk::new();
    for (path, groups) in [
        ("/a", "cache-groups: \"users\""),
        ("/b", "cache-groups: \"teams\", \"users\";x=1"),
        ("/c", "x-none: 1"),
        ("/d", "cache-groups: \"Users\""),
    ] {
        t.origin(path).replies("old").with("cache-control: max-age=3600").with(groups);
        t.get(path).await.is("old");
        t.get(path).with("host: other.example").await.is("old");
    }
    t
}

/// Sends `method` to `/w`, which answers `answer`, and compares which paths are gone afterwards.
async fn check(method: &str, answer: &str, gone: &[&str]) {
    let t = stored().await;
    t.transcript.note(format!("{method} {answer}"));
    t.origin("/w").answers(answer);
    t.ask(method, "/w").await;
    for path in ["/a", "/b", "/c", "/d"] {
        let now = t.get(path).await.text("cache-status");
        assert_eq!(!now.contains("; hit"), gone.contains(&path), "{path}: {now}{}", t.transcript.text());
        t.get(path).with("host: other.example").await.cache_has("; hit");
    }
}

#[tokio::test(start_paused = true)]
async fn a_write_invalidates_the_groups_its_answer_names() {
    check("POST", "cache-group-invalidation: \"users\"", &["/a", "/b"]).await;
    check("PUT", "cache-group-invalidation: \"teams\"", &["/b"]).await;
    check("DELETE", "204 | cache-group-invalidation: \"teams\", \"Users\"", &["/b", "/d"]).await;
    check("POST", "cache-group-invalidation: \"teams\" | cache-group-invalidation: \"Users\"", &["/b", "/d"]).await;
    check("POST", "303 | cache-group-invalidation: \"users\"", &["/a", "/b"]).await;
}

/// §3: "MUST be ignored on responses to requests that have a safe method".
#[tokio::test(start_paused = true)]
async fn an_answer_to_a_safe_method_invalidates_no_group() {
    for method in ["GET", "HEAD", "OPTIONS"] {
        check(method, "cache-group-invalidation: \"users\"", &[]).await;
    }
}

#[tokio::test(start_paused = true)]
async fn errors_and_nonsense_invalidate_no_group() {
    check("POST", "500 | cache-group-invalidation: \"users\"", &[]).await;
    check("POST", "404 | cache-group-invalidation: \"users\"", &[]).await;
    check("POST", "cache-group-invalidation: users", &[]).await;
    check("POST", "cache-group-invalidation: \"users", &[]).await;
    check("POST", "cache-group-invalidation: \"nobody\"", &[]).await;
}

#[tokio::test(start_paused = true)]
async fn groups_that_a_304_brings_count_from_then_on() {
    for method in ["GET", "HEAD"] {
        let t = Talk::new();
        t.origin("/p").answers("cache-control: max-age=10 | etag: \"1\"");
        t.get("/p").await.is("body");
        t.advance(crate::talk::secs(11)).await;
        t.origin("/p").answers("cache-control: max-age=3600 | etag: \"1\" | cache-groups: \"late\"");
        t.ask(method, "/p").await.code(200);
        t.get("/p").await.cache_has("; hit");
        t.origin("/w").answers("cache-group-invalidation: \"late\"");
        t.ask("POST", "/w").await;
        t.get("/p").await.cache("fwd=uri-miss; fwd-status=200; stored; detail=purged");
    }
}

#[tokio::test(start_paused = true)]
async fn the_fields_are_passed_on() {
    let t = stored().await;
    t.get("/a").await.header("cache-groups", "\"users\"");
    t.origin("/w").answers("cache-group-invalidation: \"users\"");
    t.ask("POST", "/w").await.header("cache-group-invalidation", "\"users\"");
}
