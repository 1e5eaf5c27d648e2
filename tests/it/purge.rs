//! What a purge names is gone, and nothing else is: by URL, tag, prefix, group, and all of it; hard and soft.

use forebay::changes::{Purge, Selector};

use crate::talk::{Talk, secs};

/// Stores an answer for each of `urls` (host and path), purges, and sees which of them are still there.
async fn check(what: &str, config: &str, fields: &[(&str, &[&str])], selector: Selector, gone: &[&str]) {
    let t = Talk::with(config);
    let ask = |url: &str| {
        let (host, path) = url.split_at(url.find('/').unwrap());
        t.get(path).with(&format!("host: {host}"))
    };
    for (url, fields) in fields {
        let path = t.origin(&url[url.find('/').unwrap()..]).replies("v1").with("cache-control: max-age=100");
        fields.iter().fold(path, |path, field| path.with(field));
        ask(url).await.is("v1").cache_has("stored");
        ask(url).await.cache_has("hit");
    }
    t.purge(selector, Purge::Hard).await;
    for (url, _) in fields {
        let expected = if gone.contains(url) { "fwd=uri-miss" } else { "hit" };
        ask(url).await.cache_has(expected);
    }
    assert!(gone.iter().all(|gone| fields.iter().any(|(url, _)| url == gone)), "{what}");
}

fn url(host: Option<&str>, path: &str) -> Selector {
    Selector::Url { host: host.map(str::to_owned), path_and_query: path.to_owned() }
}

fn prefix(host: Option<&str>, path: &str) -> Selector {
    Selector::Prefix { host: host.map(str::to_owned), prefix: path.to_owned() }
}

#[tokio::test(start_paused = true)]
async fn a_url_is_purged_on_one_host_or_on_all_and_with_its_query() {
    let all: [(&str, &[&str]); 4] = [("a.test/p", &[]), ("b.test/p", &[]), ("a.test/p?x=1", &[]), ("a.test/p/q", &[])];
    check("any host", "", &all, url(None, "/p"), &["a.test/p", "b.test/p"]).await;
    check("one host", "", &all, url(Some("a.test"), "/p"), &["a.test/p"]).await;
    check("upper case", "", &all, url(Some("B.Test"), "/p"), &["b.test/p"]).await;
    check("query", "", &all, url(None, "/p?x=1"), &["a.test/p?x=1"]).await;
    check("nothing", "", &all, url(None, "/P"), &[]).await;
}

#[tokio::test(start_paused = true)]
async fn a_url_is_purged_in_all_its_variants_and_codings() {
    let t = Talk::new();
    let text = "guten Tag ".repeat(200);
    t.origin("/p")
        .replies(text)
        .with("cache-control: max-age=100")
        .with("vary: accept-language")
        .with("content-type: text/plain");
    let asks = [("de", "identity"), ("de", "gzip"), ("fr", "br"), ("fr", "identity")];
    let ask = |(language, coding): (&str, &str)| {
        t.get("/p").with(&format!("accept-language: {language}")).with(&format!("accept-encoding: {coding}"))
    };
    for each in asks {
        ask(each).await.code(200);
        ask(each).await.cache_has("hit");
    }
    t.purge_url("/p").await;
    let before = t.origin("/p").methods().len();
    for each in asks {
        ask(each).await.code(200);
    }
    t.origin("/p").was_asked(before + 2);
}

#[tokio::test(start_paused = true)]
async fn a_url_is_known_by_what_the_client_asked_for_and_by_what_the_backend_saw() {
    let config = "[[route]]\nname = \"api\"\npath = \"/api/{*rest}\"\nrewrite = { strip_prefix = \"/api\" }\n";
    for path in ["/api/p", "/p"] {
        let t = Talk::with(config);
        t.origin("/p").replies("v1").with("cache-control: max-age=100");
        t.get("/api/p").await.is("v1");
        t.purge_url(path).await;
        t.get("/api/p").await.cache_has("fwd=uri-miss");
    }
}

#[tokio::test(start_paused = true)]
async fn a_tag_takes_what_the_backend_named_by_it() {
    let all: [(&str, &[&str]); 5] = [
        ("a.test/1", &["cache-tag: user:1, team:x"]),
        ("a.test/2", &["surrogate-key: user:2 team:x"]),
        ("b.test/3", &["cache-tag: team:y", "cache-tag: user:1"]),
        ("a.test/4", &[]),
        ("a.test/5", &["cache-tag: user:11"]),
    ];
    let tag = |name: &str| Selector::Tag(name.to_owned());
    check("both fields", "", &all, tag("team:x"), &["a.test/1", "a.test/2"]).await;
    check("several lines, any host", "", &all, tag("user:1"), &["a.test/1", "b.test/3"]).await;
    check("nobody's", "", &all, tag("user"), &[]).await;
}

#[tokio::test(start_paused = true)]
async fn a_tag_takes_what_the_route_named_by_it() {
    let config = "[[route]]\nname = \"users\"\npath = \"/users/{id}\"\ntags = [\"user:{id}\", \"tenant:{query.t}\"]\n";
    let all: [(&str, &[&str]); 3] = [("a.test/users/1?t=x", &[]), ("a.test/users/2?t=x", &[]), ("a.test/other/1", &[])];
    let tag = |name: &str| Selector::Tag(name.to_owned());
    check("by capture", config, &all, tag("user:1"), &["a.test/users/1?t=x"]).await;
    check("by query", config, &all, tag("tenant:x"), &["a.test/users/1?t=x", "a.test/users/2?t=x"]).await;
}

#[tokio::test(start_paused = true)]
async fn a_prefix_is_made_of_whole_segments() {
    let all: [(&str, &[&str]); 6] = [
        ("a.test/api/users", &[]),
        ("a.test/api/users/1", &[]),
        ("a.test/api/users/1/posts?page=2", &[]),
        ("a.test/api/users-of-old", &[]),
        ("b.test/api/users/1", &[]),
        ("a.test/api/other", &[]),
    ];
    let users = ["a.test/api/users", "a.test/api/users/1", "a.test/api/users/1/posts?page=2", "b.test/api/users/1"];
    check("without a slash", "", &all, prefix(None, "/api/users"), &users).await;
    check("with a slash", "", &all, prefix(None, "/api/users/"), &users[..]).await;
    check("one host", "", &all, prefix(Some("a.test"), "/api/users/1"), &users[1..3]).await;
    check("the root of one host", "", &all, prefix(Some("b.test"), "/"), &["b.test/api/users/1"]).await;
}

/// RFC 9875: a group belongs to its origin.
#[tokio::test(start_paused = true)]
async fn a_group_is_purged_on_its_own_host_only() {
    let all: [(&str, &[&str]); 4] = [
        ("a.test/1", &["cache-groups: \"g\", \"h\""]),
        ("a.test/2", &["cache-groups: \"g\""]),
        ("b.test/3", &["cache-groups: \"g\""]),
        ("a.test/4", &["cache-tag: g"]),
    ];
    let group = |name: &str| Selector::Group { host: "a.test".to_owned(), name: name.to_owned() };
    check("one", "", &all, group("h"), &["a.test/1"]).await;
    check("several", "", &all, group("g"), &["a.test/1", "a.test/2"]).await;
}

#[tokio::test(start_paused = true)]
async fn everything_is_gone_at_once() {
    let all: [(&str, &[&str]); 3] = [("a.test/", &[]), ("b.test/x?y", &[]), ("a.test/z", &["cache-tag: t"])];
    check("all", "", &all, Selector::All, &["a.test/", "b.test/x?y", "a.test/z"]).await;
}

#[tokio::test(start_paused = true)]
async fn what_is_fetched_after_a_purge_is_not_hit_by_it() {
    let t = Talk::new();
    t.origin("/p").replies("v1").with("cache-control: max-age=10").with("cache-tag: t");
    t.get("/p").await.is("v1");
    t.purge_tag("t").await;
    t.get("/p").await.is("v1").cache("fwd=uri-miss; fwd-status=200; stored; detail=purged");
    t.get("/p").await.is("v1").cache("hit; ttl=10; detail=memory");
    t.origin("/p").was_asked(2);
}

/// The stored answer is gone: it is neither validated nor fallen back to.
#[tokio::test(start_paused = true)]
async fn what_was_purged_hard_is_of_no_use_to_anybody() {
    let t = Talk::new();
    t.origin("/p").replies("v1").with("cache-control: max-age=10, stale-if-error=600").with("etag: \"1\"");
    t.get("/p").await.is("v1");
    t.purge_url("/p").await;
    t.origin("/p").refuses();
    t.get("/p").await.code(502).cache("detail=connect");
    assert!(!t.origin("/p").asked_last().headers.contains_key("if-none-match"));
}

#[tokio::test(start_paused = true)]
async fn what_was_purged_softly_is_served_while_one_refresh_runs() {
    for selector in [url(None, "/p"), prefix(None, "/"), Selector::Tag("t".to_owned()), Selector::All] {
        let t = Talk::new();
        t.origin("/p").replies("v1").with("cache-control: max-age=100").with("cache-tag: t");
        t.get("/p").await.is("v1");
        t.purge(selector, Purge::Soft).await;
        let held = t.origin("/p").holds();
        for _ in 0..100 {
            t.get("/p").await.is("v1").cache("hit; ttl=100; detail=soft-purged");
        }
        t.settle().await;
        t.origin("/p").was_asked(2);
        held.replies("v2", &["cache-control: max-age=100"]);
        t.settle().await;
        t.get("/p").await.is("v2").cache("hit; ttl=100; detail=memory");
        t.origin("/p").was_asked(2);
    }
}

#[tokio::test(start_paused = true)]
async fn a_soft_purge_is_satisfied_by_a_validation() {
    let t = Talk::new();
    t.origin("/p").replies("v1").with("cache-control: max-age=100").with("etag: \"1\"");
    t.get("/p").await.is("v1");
    t.purge(Selector::All, Purge::Soft).await;
    t.get("/p").await.is("v1").cache_has("soft-purged");
    t.settle().await;
    assert_eq!(t.origin("/p").asked_last().headers["if-none-match"], "\"1\"");
    t.get("/p").await.is("v1").cache("hit; ttl=100; detail=memory");
    t.origin("/p").was_asked(2);
}

#[tokio::test(start_paused = true)]
async fn a_soft_purge_serves_nothing_that_must_not_be_served_stale() {
    let t = Talk::new();
    t.origin("/p").replies("v1").with("cache-control: max-age=100, must-revalidate");
    t.get("/p").await.is("v1");
    t.purge(Selector::All, Purge::Soft).await;
    t.origin("/p").replies("v2").with("cache-control: max-age=100");
    t.get("/p").await.is("v2").cache("fwd=stale; fwd-status=200; stored; detail=soft-purged");
}

#[tokio::test(start_paused = true)]
async fn a_soft_purge_does_not_soften_a_hard_one() {
    let t = Talk::new();
    t.origin("/p").replies("v1").with("cache-control: max-age=100");
    t.get("/p").await.is("v1");
    t.purge_url("/p").await;
    t.purge(url(None, "/p"), Purge::Soft).await;
    t.origin("/p").replies("v2").with("cache-control: max-age=100");
    t.get("/p").await.is("v2").cache_has("detail=purged");
}

#[tokio::test(start_paused = true)]
async fn the_purge_method_needs_its_token_and_takes_the_url_of_its_host() {
    let refused = Talk::new();
    refused.ask("PURGE", "/p").await.code(405).cache("detail=method-refused");

    let t = Talk::with("[gateway]\npurge_method = \"env:PATH\"\n");
    let token = format!("authorization: Bearer {}", std::env::var("PATH").unwrap());
    t.origin("/p").replies("v1").with("cache-control: max-age=100");
    t.get("/p").await.is("v1");
    t.get("/p").with("host: other.test").await.is("v1");
    t.ask("PURGE", "/p").await.code(401).header("www-authenticate", "Bearer");
    t.ask("PURGE", "/p").with("authorization: Bearer guess").await.code(401).cache("detail=unauthorized");
    t.get("/p").await.cache_has("hit");
    t.ask("PURGE", "/p").with(&token).await.code(200);
    t.get("/p").await.cache_has("detail=purged");
    t.get("/p").with("host: other.test").await.cache_has("hit");
    t.advance(secs(1)).await;
    t.origin("/p").was_asked(3);
}

/// It counts as stale, so must-revalidate holds for it, although its lifetime is not over.
#[tokio::test(start_paused = true)]
async fn what_was_purged_softly_hides_no_error_if_it_must_not_be_served_stale() {
    let t = Talk::new();
    t.origin("/p").replies("v1").with("cache-control: max-age=100, must-revalidate");
    t.get("/p").await.is("v1");
    t.purge(Selector::All, Purge::Soft).await;
    t.origin("/p").refuses();
    t.get("/p").await.code(502).cache("detail=connect");
    t.origin("/p").replies("oops").code(503);
    t.get("/p").await.code(503);
}
