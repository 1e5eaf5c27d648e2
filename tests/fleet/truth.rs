//! The versioned backend says what it shall, and a gateway in front of it hits.

use std::time::Duration;

use super::backend::{Backend, Counts, Gate, Setting, version_in};
use super::client::Client;
use super::gateway::Gateway;

#[tokio::test]
async fn a_gateway_in_front_of_it_hits_until_a_put_goes_through() {
    let backend = Backend::start().await;
    backend.set("/", Setting::default().tags("all, some"));
    let gateway = Gateway::start("", backend.address).await;
    let mut client = Client::connect(gateway.address()).await;
    let first = client.get("/a").await;
    assert_eq!((first.status, first.is_hit(), version_in(&first.text(), "/a")), (200, false, 1));
    let second = client.get("/a").await;
    assert_eq!((second.is_hit(), version_in(&second.text(), "/a")), (true, 1));
    assert_eq!(backend.counts("/a"), Counts { reads: 1, ..Counts::default() });

    client.send("PUT /a HTTP/1.1\r\nHost: t\r\nContent-Length: 1\r\n\r\nx").await;
    assert_eq!(client.expect("PUT").await.status, 204);
    let third = client.get("/a").await;
    assert_eq!((third.is_hit(), version_in(&third.text(), "/a")), (false, 2));
    assert_eq!(backend.counts("/a"), Counts { reads: 2, not_modified: 0, writes: 1 });
    gateway.is_well();
}

#[tokio::test]
async fn settings_go_by_the_longest_prefix() {
    let backend = Backend::start().await;
    backend.set("/", Setting::default().cache_control("max-age=1"));
    backend.set("/long", Setting::default().cache_control("max-age=100").tags("a,b"));
    backend.set("/long/broken", Setting::default().failing());
    let mut client = Client::connect(backend.address).await;
    for (path, status, cache_control, tags) in [
        ("/x", 200, Some("max-age=1"), None),
        ("/lon", 200, Some("max-age=1"), None),
        ("/long/x?q", 200, Some("max-age=100"), Some("a,b")),
        ("/long/broken/x", 500, None, None),
    ] {
        let answer = client.get(path).await;
        assert_eq!(answer.status, status, "{path}");
        assert_eq!(answer.field("cache-control").as_deref(), cache_control, "{path}");
        assert_eq!(answer.field("cache-tag").as_deref(), tags, "{path}");
    }
    client.ask("PUT", "/long/broken/x").await;
    assert_eq!(client.answer().await.status, 500);
    assert_eq!(backend.version("/long/broken/x"), 1);
}

#[tokio::test]
async fn versions_are_validated_and_their_history_is_kept() {
    let backend = Backend::start().await;
    let mut client = Client::connect(backend.address).await;
    assert_eq!(client.get("/a").await.field("etag").as_deref(), Some("\"1\""));
    let between = backend.now();
    assert_eq!(backend.raise("/a"), 2);
    for (held, status) in [("\"1\"", 200), ("\"2\"", 304), ("\"7\", W/\"2\"", 304)] {
        client.send(format!("GET /a HTTP/1.1\r\nHost: t\r\nIf-None-Match: {held}\r\n\r\n")).await;
        assert_eq!(client.answer().await.status, status, "{held}");
    }
    assert_eq!(backend.counts("/a"), Counts { reads: 4, not_modified: 2, writes: 0 });
    assert_eq!((backend.version_at("/a", between), backend.version_at("/a", backend.now())), (1, 2));
    let versions: Vec<_> = backend.history("/a").iter().map(|(version, _)| *version).collect();
    assert_eq!(versions, [1, 2]);
}

#[tokio::test]
async fn a_held_answer_says_what_was_true_when_it_was_asked_for() {
    let backend = Backend::start().await;
    let gate = Gate::new();
    backend.set("/a", Setting::default().held(&gate));
    let mut client = Client::connect(backend.address).await;
    client.ask("GET", "/a").await;
    backend.until_read("/a", 1).await;
    backend.raise("/a");
    gate.open();
    assert_eq!(version_in(&client.answer().await.text(), "/a"), 1);
    assert_eq!(version_in(&client.get("/a").await.text(), "/a"), 2);

    backend.set("/a", Setting::default().delayed(Duration::from_millis(200)));
    client.ask("GET", "/a").await;
    let early = tokio::time::timeout(Duration::from_millis(100), client.head()).await;
    assert!(early.is_err());
    assert_eq!(version_in(&client.answer().await.text(), "/a"), 2);
}
