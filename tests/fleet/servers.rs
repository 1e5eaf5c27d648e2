//! The servers do what the tests that use them rely on.

use std::io::ErrorKind;
use std::time::Duration;

use super::redis::{Connection, Redis, Reply, ports};

#[tokio::test]
async fn a_server_answers_and_is_gone_when_dropped() {
    let redis = Redis::start().await;
    redis.command(&["SET", "a", "b"]).await.is_ok();
    assert_eq!(redis.command(&["GET", "a"]).await, Reply::Bulk(b"b".to_vec()));
    assert_eq!(redis.command(&["GET", "c"]).await, Reply::Nil);
    assert_eq!(redis.command(&["INCR", "n"]).await.int(), 1);
    assert_eq!(redis.command(&["MGET", "a", "c"]).await.items(), [Reply::Bulk(b"b".to_vec()), Reply::Nil]);
    assert!(matches!(redis.command(&["INCR", "a"]).await, Reply::Error(why) if why.starts_with("ERR ")));
    redis.command(&["DEBUG", "SLEEP", "0"]).await.is_ok();
    assert_eq!(redis.url(), format!("redis://{}", redis.address()));

    let address = redis.address();
    let mut open = Connection::open(address).await.unwrap();
    drop(redis);
    assert!(open.ask(&["PING"], Duration::from_secs(5)).await.is_err());
    assert_eq!(Connection::open(address).await.err().map(|error| error.kind()), Some(ErrorKind::ConnectionRefused));
}

#[tokio::test]
async fn settings_are_those_of_the_command_line() {
    let redis = Redis::start_with(&["--maxmemory", "2mb", "--maxmemory-policy", "allkeys-lru"]).await;
    assert_eq!(redis.info("maxmemory").await.as_deref(), Some("2097152"));
    assert_eq!(redis.info("maxmemory_policy").await.as_deref(), Some("allkeys-lru"));
}

#[tokio::test]
async fn a_server_with_a_password_tells_it_in_its_url() {
    let redis = Redis::start_with(&["--requirepass", "secret"]).await;
    assert_eq!(redis.url(), format!("redis://:secret@{}", redis.address()));
    assert_eq!(redis.command(&["PING"]).await.text(), "PONG");
    let mut stranger = Connection::open(redis.address()).await.unwrap();
    let refused = stranger.ask(&["PING"], Duration::from_secs(5)).await.unwrap();
    assert!(matches!(refused, Reply::Error(why) if why.starts_with("NOAUTH ")));
}

#[tokio::test]
async fn a_paused_server_keeps_its_connections_and_answers_when_resumed() {
    let redis = Redis::start().await;
    let mut open = Connection::open(redis.address()).await.unwrap();
    redis.pause();
    let silent = open.ask(&["PING"], Duration::from_millis(100)).await;
    assert_eq!(silent.err().map(|error| error.kind()), Some(ErrorKind::TimedOut));
    redis.resume();
    assert_eq!(open.reply().await.unwrap().text(), "PONG");
}

#[tokio::test]
async fn a_killed_server_comes_back_on_its_port_with_what_was_saved() {
    let redis = Redis::start().await;
    redis.command(&["SET", "a", "old"]).await.is_ok();
    redis.save().await;
    redis.command(&["SET", "a", "new"]).await.is_ok();
    redis.kill();
    assert!(Connection::open(redis.address()).await.is_err());
    redis.restart().await;
    assert_eq!(redis.command(&["GET", "a"]).await.text(), "old");
    redis.restart_empty().await;
    assert_eq!(redis.command(&["GET", "a"]).await, Reply::Nil);
}

#[tokio::test]
async fn a_subscriber_hears_what_is_published() {
    let redis = Redis::start().await;
    let mut listener = Connection::open(redis.address()).await.unwrap();
    let said = listener.ask(&["SUBSCRIBE", "news"], Duration::from_secs(5)).await.unwrap();
    assert_eq!(said.items()[0].text(), "subscribe");
    assert_eq!(redis.command(&["PUBLISH", "news", "x"]).await.int(), 1);
    assert_eq!(listener.reply().await.unwrap().items()[2].text(), "x");
}

#[tokio::test]
async fn servers_that_start_at_the_same_time_have_ports_of_their_own() {
    let (one, two, three) = tokio::join!(Redis::start(), Redis::start(), Redis::start());
    let mut all = vec![one.address(), two.address(), three.address(), ports::loopback(ports::free())];
    all.sort();
    all.dedup();
    assert_eq!(all.len(), 4);
    for redis in [one, two, three] {
        assert_eq!(redis.command(&["DBSIZE"]).await.int(), 0);
    }
}
