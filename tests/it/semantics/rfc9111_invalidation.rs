//! RFC 9111 §4.4: what an unsafe method invalidates.

use crate::talk::Talk;

const PATHS: [&str; 5] = ["/p", "/p?q=1", "/q", "/dir/r", "/dir/s"];

/// All of [`PATHS`] stored, on two hosts.
async fn stored() -> Talk {
    let t = Talk::new();
    for path in PATHS {
        t.origin(path).replies("old").with("cache-control: max-age=3600");
        t.get(path).await.is("old");
        t.get(path).with("host: other.example").await.is("old");
    }
    t
}

/// Sends `method` to `/p`, which answers `answer`, and compares what is gone afterwards.
async fn check(method: &str, answer: &str, gone: &[&str]) {
    let t = stored().await;
    t.transcript.note(format!("{method} {answer:?}"));
    t.origin("/p").answers(answer);
    t.ask(method, "/p").body("x").await;
    for path in PATHS {
        let now = t.get(path).await.text("cache-status");
        let elsewhere = t.get(path).with("host: other.example").await.text("cache-status");
        assert_eq!(!now.contains("; hit"), gone.contains(&path), "{path}: {now}{}", t.transcript.text());
        assert!(elsewhere.contains("; hit"), "{path} of another host: {elsewhere}{}", t.transcript.text());
    }
}

#[tokio::test(start_paused = true)]
async fn unsafe_methods_invalidate_their_target() {
    for method in ["POST", "PUT", "DELETE", "PATCH", "FROB"] {
        for status in [200, 201, 204, 302, 303] {
            check(method, &status.to_string(), &["/p"]).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn safe_methods_invalidate_nothing() {
    check("OPTIONS", "200 | content-location: /q", &[]).await;
}

#[tokio::test(start_paused = true)]
async fn an_error_invalidates_nothing() {
    for status in [400, 401, 403, 404, 409, 412, 500, 503] {
        check("POST", &format!("{status} | location: /q"), &[]).await;
    }
}

#[tokio::test(start_paused = true)]
async fn location_and_content_location_are_invalidated_on_the_same_origin() {
    for (fields, gone) in [
        ("location: /q", &["/p", "/q"][..]),
        ("content-location: /q", &["/p", "/q"]),
        ("location: /q | content-location: /dir/r", &["/p", "/q", "/dir/r"]),
        ("location: http://example.com/q", &["/p", "/q"]),
        ("location: http://EXAMPLE.com:80/q#top", &["/p", "/q"]),
        ("location: //example.com/q", &["/p", "/q"]),
        ("location: q", &["/p", "/q"]),
        ("location: dir/../dir/./s", &["/p", "/dir/s"]),
        ("location: ?q=1", &["/p", "/p?q=1"]),
    ] {
        check("POST", &format!("201 | {fields}"), gone).await;
    }
}

#[tokio::test(start_paused = true)]
async fn no_answer_invalidates_another_origin() {
    for reference in [
        "http://other.example/q",
        "https://example.com/q",
        "http://example.com:8080/q",
        "//other.example/q",
        "http://example.com@other.example/q",
        "http://user@example.com/q",
        "ftp://example.com/q",
    ] {
        check("POST", &format!("201 | location: {reference} | content-location: {reference}"), &["/p"]).await;
    }
}

#[tokio::test(start_paused = true)]
async fn all_variants_of_the_target_are_invalidated() {
    let t = Talk::new();
    t.origin("/p").replies("old").with("cache-control: max-age=3600").with("vary: accept-language");
    let ask = |language: &str| t.get("/p").with(&format!("accept-language: {language}"));
    for language in ["de", "fr"] {
        ask(language).await;
    }
    t.ask("PUT", "/p").body("x").await.code(200);
    ask("de").await.cache("fwd=uri-miss; fwd-status=200; stored; detail=purged");
    ask("fr").await.cache("fwd=vary-miss; fwd-status=200; stored");
    t.origin("/p").was_asked(5);
}

#[tokio::test(start_paused = true)]
async fn what_is_invalidated_is_not_there_for_a_rainy_day_either() {
    let t = Talk::new();
    t.origin("/p").replies("old").with("cache-control: max-age=3600, stale-if-error=3600");
    t.get("/p").await.is("old");
    t.ask("DELETE", "/p").await.code(200);
    t.origin("/p").refuses();
    t.get("/p").await.code(502).cache("detail=connect");
}

#[tokio::test(start_paused = true)]
async fn a_write_reaches_the_backend_as_it_is() {
    let t = Talk::new();
    t.origin("/p?q=1").replies("made").code(201);
    let asking = t.ask("POST", "/p?q=1").body("{\"a\":1}").with("content-type: application/json");
    asking.with("if-match: \"1\"").with("cookie: a=b").await.code(201).is("made");
    let asked = t.origin("/p?q=1").asked_last();
    assert_eq!(asked.body, "{\"a\":1}");
    for (name, value) in [("content-type", "application/json"), ("if-match", "\"1\""), ("cookie", "a=b")] {
        assert_eq!(asked.headers[name], value);
    }
}
