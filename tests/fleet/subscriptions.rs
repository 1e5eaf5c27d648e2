//! What is published is heard, or a gap is told: whatever becomes of the subscription.

use bytes::Bytes;
use forebay::fleet::{Credential, Heard, RedisSettings};
use tokio::time::timeout;

use super::chaos::Proxy;
use super::contract::{SOON, node, ready, start, until};
use super::redis::Redis;

#[tokio::test(flavor = "multi_thread")]
async fn p_02_a_subscription_that_was_killed_is_a_gap_and_comes_back() {
    let redis = Redis::start().await;
    let fleet = node(&redis.url(), "fleet").await;
    let mut heard = fleet.listen(vec!["tenant:*".to_owned()]);
    assert_eq!(timeout(SOON, heard.recv()).await.unwrap(), Some(Heard::Gap));
    for round in 1..=3 {
        redis.command(&["CLIENT", "KILL", "TYPE", "pubsub"]).await.int();
        assert_eq!(timeout(SOON, heard.recv()).await.unwrap(), Some(Heard::Gap), "round {round}");
        fleet.publish("tenant:1", Bytes::from_static(b"x")).await.unwrap();
        let message = Heard::Message { channel: "tenant:1".to_owned(), payload: Bytes::from_static(b"x") };
        assert_eq!(timeout(SOON, heard.recv()).await.unwrap(), Some(message));
    }
    assert_eq!(fleet.stats().unwrap().gaps, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn p_02_a_subscription_that_went_deaf_without_a_sign_is_replaced() {
    let redis = Redis::start().await;
    let proxy = Proxy::start(redis.address()).await;
    let fleet = node(&redis.url(), "fleet").await;
    let deaf = node(&format!("redis://{}", proxy.address), "fleet").await;
    let mut heard = deaf.listen(vec!["news".to_owned()]);
    assert_eq!(timeout(SOON, heard.recv()).await.unwrap(), Some(Heard::Gap));
    // The server forgets the subscription; nothing breaks.
    let list = redis.command(&["CLIENT", "LIST", "TYPE", "pubsub"]).await.text();
    assert!(list.contains("sub=2"), "{list}");
    proxy.down.stall();
    until("it is missed", async || deaf.stats().unwrap().gaps > 0).await;
    proxy.heal().await;
    until("it is heard again", async || {
        fleet.publish("news", Bytes::from_static(b"x")).await.ok();
        matches!(heard.try_recv(), Ok(Heard::Message { .. }))
    })
    .await;
}

/// Publishes so many messages at once.
async fn burst(redis: &Redis, messages: u64) {
    let burst = format!("for i = 1, {messages} do redis.call('PUBLISH', 'tenant:1', i) end");
    redis.command(&["EVAL", &burst, "0"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ps_05_ten_thousand_messages_at_once_are_all_heard() {
    let redis = Redis::start().await;
    let fleet = node(&redis.url(), "fleet").await;
    let mut heard = fleet.listen(vec!["tenant:*".to_owned()]);
    assert_eq!(timeout(SOON, heard.recv()).await.unwrap(), Some(Heard::Gap));
    burst(&redis, 10_000).await;
    for number in 1..=10_000 {
        let Some(Heard::Message { payload, .. }) = timeout(SOON, heard.recv()).await.unwrap() else { panic!("a gap") };
        assert_eq!(payload, number.to_string());
    }
    assert_eq!(fleet.stats().unwrap().gaps, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn p_03_more_than_is_kept_for_somebody_who_does_not_listen_is_a_gap() {
    let redis = Redis::start().await;
    let fleet = node(&redis.url(), "fleet").await;
    let mut heard = fleet.listen(vec!["tenant:*".to_owned()]);
    assert_eq!(timeout(SOON, heard.recv()).await.unwrap(), Some(Heard::Gap));
    burst(&redis, 60_000).await;
    until("it is noticed", async || fleet.stats().unwrap().gaps > 0).await;
    let mut messages = 0;
    while let Heard::Message { .. } = timeout(SOON, heard.recv()).await.expect("a message or a gap").unwrap() {
        messages += 1;
    }
    assert!((1_000..60_000).contains(&messages), "{messages}");
    fleet.publish("tenant:1", Bytes::from_static(b"after")).await.unwrap();
    let said = async {
        while let Some(heard) = heard.recv().await {
            if matches!(heard, Heard::Message { payload, .. } if &payload[..] == b"after") {
                return;
            }
        }
    };
    timeout(SOON, said).await.expect("what is said after the gap is heard");
}

#[tokio::test(flavor = "multi_thread")]
async fn p_02_a_subscription_that_the_server_refuses_in_silence_is_asked_for_again_and_again() {
    let redis = Redis::start().await;
    redis.command(&["ACL", "SETUSER", "user", "on", ">s3cret", "~*", "&*", "+@all"]).await.is_ok();
    let mut settings = RedisSettings::new(redis.url());
    (settings.username, settings.password) = (Some("user".to_owned()), Some(Credential::Text("s3cret".to_owned())));
    let fleet = start(settings);
    ready(&fleet).await;
    let mut heard = fleet.listen(vec!["news".to_owned()]);
    assert_eq!(timeout(SOON, heard.recv()).await.unwrap(), Some(Heard::Gap));
    redis.command(&["ACL", "SETUSER", "user", "-subscribe", "-psubscribe"]).await.is_ok();
    redis.command(&["CLIENT", "KILL", "TYPE", "pubsub"]).await.int();
    until("the client is thrown away", async || fleet.stats().unwrap().rebuilds_of("subscriber") > 0).await;
    assert!(fleet.stats().unwrap().canaries_missed >= 2);
    assert!(heard.try_recv().is_err(), "nothing is proven");
    redis.command(&["ACL", "SETUSER", "user", "+subscribe", "+psubscribe"]).await.is_ok();
    assert_eq!(timeout(SOON, heard.recv()).await.unwrap(), Some(Heard::Gap));
    fleet.publish("news", Bytes::from_static(b"x")).await.unwrap();
    assert!(matches!(timeout(SOON, heard.recv()).await.unwrap(), Some(Heard::Message { .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn r_10_a_user_who_may_not_listen_is_told_so() {
    let redis = Redis::start().await;
    redis
        .command(&["ACL", "SETUSER", "quiet", "on", ">s3cret", "~*", "+@all", "resetchannels", "&fleet:canary:*"])
        .await
        .is_ok();
    let mut settings = RedisSettings::new(redis.url());
    settings.namespace = "fleet".to_owned();
    settings.username = Some("quiet".to_owned());
    settings.password = Some(Credential::Text("s3cret".to_owned()));
    let fleet = start(settings);
    ready(&fleet).await;
    let heard = fleet.listen(vec!["tenant:*".to_owned(), "news".to_owned()]);
    until("it is noticed", async || fleet.stats().unwrap().subscriptions_refused > 0).await;
    drop(heard);
}
