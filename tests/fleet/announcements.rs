//! What is published on Redis, as gateways hear it: what is no announcement changes nothing, and what is one changes it once.

use super::backend::version_in;
use super::client::Client;
use super::house::{House, until};
use super::load::announcement;
use super::redis::{Redis, Reply};
use super::tampered::counted;

/// A channel with a rule: see the configuration of [`House`].
const RULED: &str = "tenant:1:truth";

/// A page that no rule is about; and one that a rule is.
const FREE: &str = "/free";
const GOVERNED: &str = "/truth/9";

/// Two nodes that hear what is published, with pages in memory.
async fn house(redis: &Redis) -> House {
    let house = House::of(2, &redis.url()).await;
    for node in [0, 1] {
        for path in [FREE, GOVERNED] {
            house.version(node, path).await;
        }
    }
    house
}

async fn publish(redis: &Redis, channel: &str, message: impl AsRef<[u8]>) -> i64 {
    redis.command(&[b"PUBLISH", channel.as_bytes(), message.as_ref()]).await.int()
}

/// What the records of the log say.
async fn log(redis: &Redis) -> Vec<String> {
    said_in(redis, "forebay").await
}

/// A record that names everything there is.
fn purges_all(record: &str) -> bool {
    record.contains("\"tags\":[\"*\"]")
}

async fn said_in(redis: &Redis, namespace: &str) -> Vec<String> {
    let mut said = Vec::new();
    for record in redis.command(&["XRANGE", &format!("{{{namespace}:inv}}:log"), "-", "+"]).await.items() {
        said.push(record.items()[1].items().iter().map(Reply::text).collect::<Vec<_>>().join(" "));
    }
    said
}

/// Records that name this page.
async fn named(redis: &Redis, page: &str) -> usize {
    log(redis).await.iter().filter(|record| record.contains(&format!("{page}\""))).count()
}

/// Connections on which a node is subscribed, by their ids.
async fn subscribers(redis: &Redis) -> Vec<String> {
    let list = redis.command(&["CLIENT", "LIST", "TYPE", "pubsub"]).await.text();
    let mut ids: Vec<_> = list.lines().filter_map(|line| line.split(' ').next()).map(str::to_owned).collect();
    ids.sort();
    ids
}

/// Publishes a true announcement, and waits until both nodes act on it: whatever was published before has been heard.
async fn all_is_heard(house: &House, redis: &Redis) {
    house.backend.raise(GOVERNED);
    let version = house.backend.version(GOVERNED);
    assert!(publish(redis, RULED, announcement("9")).await >= 2, "both nodes listen");
    for node in [0, 1] {
        until("the announcement holds", async || house.version(node, GOVERNED).await == version).await;
    }
}

/// A node still has the page in memory.
async fn is_untouched(house: &House, path: &str) {
    let reads = house.backend.reads(path);
    house.backend.raise(path);
    for node in [0, 1] {
        let answer = Client::connect(house.nodes[node].address()).await.get(path).await;
        assert!(answer.head.contains("detail=memory"), "node {node}: {answer:?}");
        assert_eq!(version_in(&answer.text(), path) + 1, house.backend.version(path), "node {node}");
    }
    assert_eq!(house.backend.reads(path), reads);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ps_01_what_is_no_announcement_is_dropped_and_counted_and_both_nodes_go_on_listening() {
    let redis = Redis::start().await;
    let house = house(&redis).await;
    all_is_heard(&house, &redis).await;
    let (listening, gaps) = (subscribers(&redis).await, house.metric(0, "forebay_subscription_gaps_total").await);
    let mut before = Vec::new();
    for node in [0, 1] {
        before.push(house.metric(node, "forebay_messages_total").await);
    }
    let large = format!("{{\"data\":{{\"id\":\"9\"}},\"x\":\"{}\"}}", "x".repeat(1 << 20));
    let deep = format!("{{\"data\":{{\"id\":{}{}}}}}", "[".repeat(30_000), "]".repeat(30_000));
    let odd: [(&str, &[u8]); 11] = [
        ("nothing", b""),
        ("no JSON", b"{\"data\":{\"id\":\"9\""),
        ("no text", b"\xff\xfe{\"data\":{\"id\":\"9\"}}"),
        ("half a character", b"{\"data\":{\"id\":\"9\xc3\"}}"),
        ("a list", b"[{\"data\":{\"id\":\"9\"}}]"),
        ("without what the rule names", b"{\"data\":{\"number\":\"9\"}}"),
        ("of another type", b"{\"data\":{\"id\":{\"id\":\"9\"}}}"),
        ("of another shape and an unknown version", b"{\"v\":99,\"payload\":{\"id\":\"9\"}}"),
        ("two at once", b"{\"data\":{\"id\":\"9\"}}{\"data\":{\"id\":\"9\"}}"),
        ("large", large.as_bytes()),
        ("deep", deep.as_bytes()),
    ];
    let records = named(&redis, GOVERNED).await;
    for (what, message) in odd {
        assert!(publish(&redis, RULED, message).await >= 2, "{what}: both nodes listen");
    }
    all_is_heard(&house, &redis).await;
    for (node, before) in [0, 1].into_iter().zip(before) {
        let heard = house.metric(node, "forebay_messages_total").await - before;
        assert!((heard - 12.0).abs() < 0.5, "node {node} has counted {heard} of 12");
    }
    assert_eq!(named(&redis, GOVERNED).await, records + 1, "the true one");
    assert_eq!(subscribers(&redis).await, listening, "on the same connections");
    assert!((house.metric(0, "forebay_subscription_gaps_total").await - gaps).abs() < 0.5);
    is_untouched(&house, FREE).await;
    house.is_well();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ps_02_who_may_only_publish_purges_what_a_rule_names_and_nothing_else() {
    let redis = Redis::start().await;
    let house = house(&redis).await;
    all_is_heard(&house, &redis).await;
    let everything = [
        r#"{"type":"purge-all"}"#,
        r#"{"eventType":"purge","all":true}"#,
        r#"{"type":"cache.invalidate","Keys":["*"],"Timestamp":"2026-01-01T00:00:00Z","Source":"x"}"#,
        r#"{"type":"mark","grade":"hard","tags":["all"],"source":"x","id":"1","at":1}"#,
        "FLUSHALL",
    ];
    // Channels without a rule: nobody listens. On the one with a rule there is no target in them.
    for channel in ["purge", "cache.invalidate", "forebay", "forebay:purge", "{forebay:inv}:log", "tenant:1:other"] {
        for message in everything {
            assert_eq!(publish(&redis, channel, message).await, 0, "{channel}");
        }
    }
    for message in everything {
        publish(&redis, RULED, message).await;
        publish(&redis, "tenant:1:2:truth", message).await;
    }
    for id in ["*", "..", "../free", "", "/", "%2e%2e%2ffree", "9/../../free", ".*"] {
        publish(&redis, RULED, announcement(id)).await;
    }
    all_is_heard(&house, &redis).await;
    is_untouched(&house, FREE).await;
    let said = log(&redis).await;
    assert!(!said.iter().any(|record| purges_all(record) || record.contains("/free\"")), "{said:#?}");
    house.is_well();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ps_04_announcements_of_another_namespace_are_not_heard() {
    let redis = Redis::start().await;
    let house = house(&redis).await;
    all_is_heard(&house, &redis).await;
    // Another fleet on the same server: its purges go into a log of its own.
    let url = format!("{}\nnamespace = \"staging\"", super::house::at(&redis.url()));
    let other = House::start(&[url]).await;
    other.version(0, FREE).await;
    let purged = other.purge(0, "{\"all\":true,\"wait\":\"fleet\"}").await;
    assert_eq!(purged.status, 200, "{purged:?}");
    assert!(said_in(&redis, "staging").await.iter().any(|record| purges_all(record)));
    assert!(!log(&redis).await.iter().any(|record| purges_all(record)));
    is_untouched(&house, FREE).await;
    // Channels are the backend's and have no namespace but the one that rules give them: another name is not heard, and a
    // database of another number hides nothing.
    assert_eq!(publish(&redis, "staging:tenant:1:truth", announcement("9")).await, 0);
    let mut elsewhere = redis.connect().await.unwrap();
    let patience = std::time::Duration::from_secs(5);
    elsewhere.ask(&["SELECT", "3"], patience).await.unwrap().is_ok();
    let heard = elsewhere.ask(&["PUBLISH", RULED, &announcement("9")], patience).await.unwrap().int();
    assert!(heard >= 3, "by {heard}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ps_08_a_message_that_both_nodes_hear_makes_the_log_longer_by_one() {
    const MESSAGES: usize = 20;
    let redis = Redis::start().await;
    let house = house(&redis).await;
    all_is_heard(&house, &redis).await;
    let mut scribes = 0.0;
    for node in [0, 1] {
        scribes += house.metric(node, "forebay_fleet_scribe").await;
    }
    assert!((scribes - 1.0).abs() < 0.5, "{scribes} scribes");
    let before = log(&redis).await.len();
    for message in 0..MESSAGES {
        let page = format!("/truth/{}", 100 + message);
        publish(&redis, RULED, announcement(&(100 + message).to_string())).await;
        until("it is in the log", async || named(&redis, &page).await > 0).await;
    }
    // The other node waits for the scribe for 100 ms; what it then appends is a second record only if it was not late.
    all_is_heard(&house, &redis).await;
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    let taken_over = house.metric(0, "forebay_messages_taken_over_total").await
        + house.metric(1, "forebay_messages_taken_over_total").await;
    let grown = counted(log(&redis).await.len() - before);
    let expected = counted(MESSAGES + 1);
    println!("{grown} records for {expected} messages; {taken_over} appended because the scribe was late");
    let more = grown - expected;
    assert!(more > -0.5 && more < taken_over + 0.5, "{grown} records for {expected} messages");
    house.is_well();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p_07_ps_03_doubles_other_orders_and_replays_cost_fetches_and_no_truth() {
    const PAGES: u64 = 10;
    let redis = Redis::start().await;
    let house = house(&redis).await;
    all_is_heard(&house, &redis).await;
    let page = |id: u64| format!("/truth/{}", 200 + id);
    for id in 0..PAGES {
        house.version(0, &page(id)).await;
        house.version(1, &page(id)).await;
        house.backend.raise(&page(id));
    }
    // Each of them four times, in an order that has nothing to do with that of the pages; 7 and 40 have no common divisor.
    for turn in 0..PAGES * 4 {
        publish(&redis, RULED, announcement(&(200 + turn * 7 % 40 % PAGES).to_string())).await;
    }
    all_is_heard(&house, &redis).await;
    for node in [0, 1] {
        for id in 0..PAGES {
            assert_eq!(house.version(node, &page(id)).await, 2, "node {node}, {}", page(id));
        }
    }
    // All of it again, and backwards, when it is long over.
    for turn in (0..PAGES * 2).rev() {
        publish(&redis, RULED, announcement(&(200 + turn % PAGES).to_string())).await;
    }
    all_is_heard(&house, &redis).await;
    for node in [0, 1] {
        for id in 0..PAGES {
            assert_eq!(house.version(node, &page(id)).await, 2, "node {node}, {}, replayed", page(id));
        }
    }
    is_untouched(&house, FREE).await;
    house.is_well();
}
