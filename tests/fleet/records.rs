//! What stands in Redis, looked at and tampered with from outside: what gets back to clients, and what can be read there.

use super::backend::{Backend, Setting, version_in};
use super::client::Client;
use super::figures::{pair, purge};
use super::redis::Redis;

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
    let mut keys = entries(&redis).await;
    while keys.is_empty() {
        tokio::task::yield_now().await;
        keys = entries(&redis).await;
    }
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

#[tokio::test]
async fn l2_10_no_secret_can_be_read_in_redis() {
    const KEY: &str = "0f1e2d3c4b5a69788796a5b4c3d2e1f00f1e2d3c4b5a69788796a5b4c3d2e1f0";
    for (seal, sealed) in [(String::new(), false), (format!("seal = \"{KEY}\"\n"), true)] {
        let (backend, redis) = (Backend::start().await, Redis::start().await);
        backend.set("/", Setting::default());
        let routes = "[[route]]\npath = \"/secret/{*rest}\"\nsensitive = true\n";
        let (one, _) = pair(&backend, &redis, &format!("{seal}{routes}")).await;
        let mut client = Client::connect(one.address()).await;
        // A sensitive route, a signed URL, a credential; the backend's body repeats the path.
        client.get("/secret/CANARY-1").await;
        client.get("/a?token=CANARY-2&X-Amz-Signature=CANARY-2").await;
        client.send("GET /b HTTP/1.1\r\nHost: t\r\nAuthorization: Bearer CANARY-3\r\n\r\n").await;
        client.answer().await;
        // And what is kept: its name tells nothing; its content neither, if it is sealed.
        client.get("/public/CANARY-4").await;
        while entries(&redis).await.is_empty() {
            tokio::task::yield_now().await;
        }
        let mut seen = 0;
        for key in redis.command(&["KEYS", "*"]).await.items() {
            let key = key.text().clone();
            assert!(!key.contains("CANARY"), "{key}");
            seen += 1;
            if !key.starts_with("forebay:e:") {
                continue;
            }
            // The search is the server's: a script that looks for the text in the value.
            let find = "return string.find(redis.call('GET', KEYS[1]), ARGV[1], 1, true) and 1 or 0";
            for canary in ["CANARY-1", "CANARY-2", "CANARY-3", "CANARY-4"] {
                let found = redis.command(&["EVAL", find, "1", &key, canary]).await.int() == 1;
                assert!(!found || (canary == "CANARY-4" && !sealed), "{canary} stands in {key}");
            }
        }
        assert!(seen > 3, "there was something to look at");
    }
}
