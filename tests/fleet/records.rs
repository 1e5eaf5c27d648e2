//! What stands in Redis, looked at and tampered with from outside: what gets back to clients, and what can be read there.

use std::collections::BTreeSet;

use super::backend::{Backend, Setting, version_in};
use super::client::Client;
use super::figures::{pair, purge};
use super::house::until;
use super::redis::{Redis, Reply};

/// The keys of entries.
async fn entries(redis: &Redis) -> Vec<String> {
    let keys = redis.command(&["KEYS", "forebay:e:*"]).await;
    keys.items().iter().map(|key| key.text().clone()).collect()
}

#[tokio::test]
async fn l2_08_an_old_record_that_is_put_back_is_not_served() {
    let (backend, redis) = (Backend::start().await, Redis::start().await);
    backend.set("/", Setting::default());
    let (one, two) = pair(&backend, &redis, "").await;
    let (mut first, mut second) = (Client::connect(one.address()).await, Client::connect(two.address()).await);
    assert_eq!(version_in(&first.get("/a").await.text(), "/a"), 1);
    until("it is shared", async || !entries(&redis).await.is_empty()).await;
    let keys = entries(&redis).await;
    assert_eq!(keys.len(), 1);
    // Whoever can write to Redis keeps a copy, as valid as it ever was.
    assert_eq!(redis.command(&["COPY", &keys[0], "kept"]).await.int(), 1);
    backend.raise("/a");
    let mut admin = Client::connect(one.admin).await;
    admin.send(purge("/a", ",\"wait\":\"fleet\"")).await;
    assert_eq!(admin.answer().await.status, 200);
    assert_eq!(redis.command(&["COPY", "kept", &keys[0], "REPLACE"]).await.int(), 1);
    for client in [&mut second, &mut first] {
        assert_eq!(version_in(&client.get("/a").await.text(), "/a"), 2);
    }
    // Nor by a node that was not there when it was purged.
    assert_eq!(redis.command(&["COPY", "kept", &keys[0], "REPLACE"]).await.int(), 1);
    let (three, _) = pair(&backend, &redis, "").await;
    let mut third = Client::connect(three.address()).await;
    assert_eq!(version_in(&third.get("/a").await.text(), "/a"), 2);
}

/// All that a key holds, as text: what is no text in it stays recognisable where it is.
async fn held(redis: &Redis, key: &str) -> String {
    let command: &[&str] = match &*redis.command(&["TYPE", key]).await.text() {
        "string" => &["GET", key],
        "hash" => &["HGETALL", key],
        "stream" => &["XRANGE", key, "-", "+"],
        "zset" => &["ZRANGE", key, "0", "-1"],
        "set" => &["SMEMBERS", key],
        "list" => &["LRANGE", key, "0", "-1"],
        // It has gone meanwhile.
        "none" => return String::new(),
        other => panic!("what is a {other}?"),
    };
    all_in(&redis.command(command).await)
}

fn all_in(reply: &Reply) -> String {
    match reply {
        Reply::Array(items) => items.iter().map(all_in).collect::<Vec<_>>().join("\n"),
        Reply::Bulk(_) | Reply::Simple(_) => reply.text(),
        Reply::Error(why) => panic!("{why}"),
        Reply::Int(_) | Reply::Nil => String::new(),
    }
}

/// Every key there is, by SCAN.
async fn keyspace(redis: &Redis) -> BTreeSet<String> {
    let (mut keys, mut cursor) = (BTreeSet::new(), "0".to_owned());
    for _ in 0..1_000 {
        let page = redis.command(&["SCAN", &cursor, "COUNT", "1000"]).await;
        let [next, found] = page.items() else { panic!("{page:?}") };
        keys.extend(found.items().iter().map(Reply::text));
        cursor = next.text();
        if cursor == "0" {
            return keys;
        }
    }
    panic!("there is no end to it")
}

#[tokio::test]
async fn l2_10_no_secret_can_be_read_in_redis() {
    const KEY: &str = "0f1e2d3c4b5a69788796a5b4c3d2e1f00f1e2d3c4b5a69788796a5b4c3d2e1f0";
    let routes = "[[route]]\npath = \"/secret/{*rest}\"\nsensitive = true\n";
    for (seal, sealed) in [(String::new(), false), (format!("seal = \"{KEY}\"\n"), true)] {
        let (backend, redis) = (Backend::start().await, Redis::start().await);
        backend.set("/", Setting::default());
        let (one, _) = pair(&backend, &redis, &format!("{seal}{routes}")).await;
        let mut client = Client::connect(one.address()).await;
        // A sensitive route, signed URLs, credentials; the backend's body repeats path and query. What is written to is
        // spelled out in the log, but for what signs it.
        let signed = "/a?token=CANARY-2&X-Amz-Signature=CANARY-2";
        for (method, target, field, body) in [
            ("GET", "/secret/CANARY-1", "", ""),
            ("PUT", "/secret/known", "", "CANARY-1"),
            ("GET", signed, "", ""),
            ("PUT", signed, "", "CANARY-2"),
            ("GET", "/b", "Authorization: Bearer CANARY-3\r\n", ""),
            ("PUT", "/b", "Authorization: Bearer CANARY-3\r\n", "CANARY-3"),
            ("GET", "/c", "Cookie: session=CANARY-4\r\n", ""),
            ("PUT", "/c", "Cookie: session=CANARY-4\r\n", "CANARY-4"),
        ] {
            let length = if body.is_empty() { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
            client.send(format!("{method} {target} HTTP/1.1\r\nHost: t\r\n{field}{length}\r\n{body}")).await;
            let status = client.expect(method).await.status;
            assert_eq!(status, if method == "GET" { 200 } else { 204 }, "{method} {target}");
        }
        // And what is kept: its name tells nothing; its content neither, if it is sealed.
        client.get("/public/CANARY-5").await;
        until("what is kept is shared", async || !entries(&redis).await.is_empty()).await;
        let keys = keyspace(&redis).await;
        assert!(held(&redis, "{forebay:inv}:log").await.contains("/secret/known"), "the log is looked through");
        assert!(keys.len() > 5, "there is something to look at: {keys:?}");
        let mut found = Vec::new();
        for key in &keys {
            let text = format!("{key}\n{}", held(&redis, key).await);
            for canary in ["CANARY-1", "CANARY-2", "CANARY-3", "CANARY-4", "CANARY-5"] {
                if text.contains(canary) {
                    found.push((canary, text.clone()));
                }
            }
        }
        let seen: Vec<_> = found.iter().map(|(canary, _)| *canary).collect();
        let kept: &[&str] = if sealed { &[] } else { &["CANARY-5"] };
        assert_eq!(seen, kept, "in {found:#?}");
    }
}
