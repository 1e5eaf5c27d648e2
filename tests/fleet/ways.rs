//! The ways to reach Redis that an operator may write down: each is used for everything once.

use std::time::Duration;

use bytes::Bytes;
use forebay::fleet::{Credential, Fleet, Heard, Kept, Lease, Put, RedisSettings};
use tokio::time::timeout;

use super::contract::{SOON, beating, name, ready, record, start, until};
use super::redis::{Redis, Reply};

/// Uses every function once.
async fn is_of_use(fleet: &Fleet) {
    ready(fleet).await;
    let mut heard = fleet.listen(vec!["tenant:*".to_owned(), "news".to_owned()]);
    let beat = fleet.beat(&beating("one", None)).await.unwrap();
    let appended = fleet.append(record("x")).await.unwrap();
    assert_eq!(fleet.replicated(Duration::from_millis(10)).await, Ok(0));
    fleet.changed(beat.place.number).await.unwrap();
    assert_eq!(fleet.read_after(beat.place.number).await.unwrap()[0].place, appended.place);
    assert_eq!(fleet.members().await.unwrap().nodes.len(), 1);
    assert_eq!(fleet.newest(&[name(1)]).await.unwrap().place, appended.place);
    let put = Put {
        name: name(1),
        epoch: appended.place.epoch,
        born: appended.place.number,
        expires: beat.time + SOON,
        bytes: Bytes::from_static(b"x"),
        tags: vec![name(1)],
    };
    assert_eq!(fleet.put(put).await, Ok(Kept::Yes));
    assert_eq!(fleet.get(name(1), 9).await, Ok(Some(Bytes::from_static(b"x"))));
    assert_eq!(fleet.lease(name(1), 1, SOON).await, Ok(Lease::Granted));
    assert!(matches!(fleet.lease(name(1), 2, SOON).await, Ok(Lease::Held(_))));
    fleet.release(name(1), 1, Some(SOON)).await.unwrap();
    until("the stream answers", async || fleet.read_stream("feed").await.is_ok()).await;
    assert_eq!(timeout(SOON, heard.recv()).await.unwrap(), Some(Heard::Gap));
    for channel in ["tenant:1", "news"] {
        fleet.publish(channel, Bytes::from_static(b"x")).await.unwrap();
        assert!(matches!(timeout(SOON, heard.recv()).await.unwrap(), Some(Heard::Message { .. })));
    }
    let stats = fleet.stats().unwrap();
    assert_eq!((stats.errors_of("NOPERM"), stats.subscriptions_refused), (0, 0), "{stats:?}");
}

#[tokio::test]
async fn a_unix_socket() {
    let socket = std::env::temp_dir().join(format!("forebay-fleet-{}.sock", std::process::id()));
    let _redis = Redis::start_with(&["--unixsocket", socket.to_str().unwrap()]).await;
    is_of_use(&start(RedisSettings::new(format!("redis+unix://{}", socket.display())))).await;
    drop(std::fs::remove_file(socket));
}

#[tokio::test]
async fn a_database_of_its_own() {
    let redis = Redis::start().await;
    is_of_use(&start(RedisSettings::new(format!("{}/3", redis.url())))).await;
    let keyspace = redis.command(&["INFO", "keyspace"]).await.text();
    assert!(keyspace.contains("db3:") && !keyspace.contains("db0:"), "{keyspace}");
}

#[tokio::test]
async fn a_user_and_a_password_in_the_url() {
    let redis = Redis::start().await;
    redis.command(&["ACL", "SETUSER", "gateway", "on", ">s3cr@t", "~*", "&*", "+@all"]).await.is_ok();
    redis.command(&["ACL", "SETUSER", "default", "resetpass", ">other"]).await.is_ok();
    is_of_use(&start(RedisSettings::new(format!("redis://gateway:s3cr%40t@{}", redis.address())))).await;
}

#[tokio::test]
async fn a_user_with_no_more_rights_than_are_needed() {
    const COMMANDS: &str = "auth client|id client|info del eval evalsha get getrange hdel hello hget hgetall hmget hset \
                            hsetnx info pexpire ping psubscribe pttl publish set subscribe time wait xadd xrange xread \
                            xrevrange";
    let redis = Redis::start().await;
    let mut user = vec!["ACL".to_owned(), "SETUSER".into(), "gateway".into(), "on".into(), ">s3cret".into()];
    user.extend(["~fleet:*", "~{fleet:inv}:*", "~feed", "resetchannels"].map(String::from));
    user.extend(["&fleet:canary:*", "&tenant:*", "&news"].map(String::from));
    user.extend(COMMANDS.split_whitespace().map(|command| format!("+{command}")));
    let made = redis.command(&user).await;
    assert_eq!(made, Reply::Simple("OK".to_owned()));
    let mut settings = RedisSettings::new(redis.url());
    settings.namespace = "fleet".to_owned();
    settings.username = Some("gateway".to_owned());
    settings.password = Some(Credential::Text("s3cret".to_owned()));
    is_of_use(&start(settings)).await;
}
