//! Two gateways that want the same thing: one asks the backend for both, and what is purged meanwhile is served by neither.

use std::time::Duration;

use tokio::task::JoinSet;

use super::backend::{Backend, Gate, Setting, version_in};
use super::client::{Answer, Client};
use super::contract::instant;
use super::figures::{pair, purge};
use super::house::{House, until};
use super::load::announcement;
use super::redis::Redis;

/// Clients of each node.
const CROWD: usize = 1_000;
/// What a fetch usually takes: a lease is held for three times that, and a second.
const USUAL: Duration = Duration::from_secs(1);
/// Followers wait for as long as the other node may take, also on a busy machine.
const PATIENT: &str = "lease_wait = \"30s\"\nread_timeout = \"1s\"\n\n[gateway]\nwaiter_timeout = \"1m\"\n";

/// Two nodes with these further lines in `[redis]`.
async fn house(redis: &Redis, more: &str) -> House {
    let backend = Backend::start().await;
    backend.set("/", Setting::default().cache_control("max-age=600"));
    let (one, two) = pair(&backend, redis, more).await;
    House { backend, nodes: vec![one, two] }
}

/// What a node answers to a GET.
async fn get(house: &House, node: usize, path: &str) -> Answer {
    Client::connect(house.nodes[node].address()).await.get(path).await
}

/// Both nodes know what is usual.
async fn used_to(house: &House, usual: Duration) {
    house.backend.set("/usual/", Setting::default().delayed(usual));
    tokio::join!(get(house, 0, "/usual/0"), get(house, 1, "/usual/1"));
}

/// Asks for leases that came to this, on both nodes.
async fn leases(house: &House, result: &str) -> f64 {
    let name = format!("forebay_leases_total{{result=\"{result}\"}}");
    house.metric(0, &name).await + house.metric(1, &name).await
}

/// Purges a page for the whole fleet through a node.
async fn purged(house: &House, node: usize, path: &str) {
    let mut admin = Client::connect(house.nodes[node].admin).await;
    admin.send(purge(path, ",\"wait\":\"fleet\"")).await;
    let answer = admin.answer().await;
    assert_eq!(answer.status, 200, "{answer:?}");
}

/// Entries in Redis that hold this text.
async fn shared_with(redis: &Redis, text: &str) -> usize {
    let mut found = 0;
    for key in redis.command(&["KEYS", "forebay:e:*"]).await.items() {
        let find = "return string.find(redis.call('GET', KEYS[1]) or '', ARGV[1], 1, true) and 1 or 0";
        let answer = redis.command(&["EVAL", find, "1", &key.text(), text]).await;
        found += usize::try_from(answer.int()).unwrap();
    }
    found
}

/// A node that was not there before.
async fn joins(house: &mut House, redis: &Redis) -> usize {
    let (one, _) = pair(&house.backend, redis, "").await;
    house.nodes.push(one);
    house.nodes.len() - 1
}

/// Connections to both nodes in turn.
async fn crowd(house: &House, askers: usize) -> Vec<Client> {
    let mut crowd = Vec::with_capacity(askers);
    for asker in 0..askers {
        crowd.push(Client::connect(house.nodes[asker % 2].address()).await);
    }
    crowd
}

/// All are answered with the first version of `/cold`.
async fn are_answered(crowd: Vec<Client>) {
    let opened = instant();
    let mut answers = JoinSet::new();
    let askers = crowd.len();
    for mut asker in crowd {
        answers.spawn(async move { asker.answer().await });
    }
    let answers = answers.join_all().await;
    println!("{askers} answers within {:?} of the backend's", opened.elapsed());
    assert_eq!(answers.len(), askers);
    for answer in &answers {
        assert!(answer.status == 200 && answer.complete && version_in(&answer.text(), "/cold") == 1, "{answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s_01_s_09_two_thousand_askers_on_two_nodes_are_one_request() {
    let redis = Redis::start().await;
    let house = house(&redis, PATIENT).await;
    used_to(&house, USUAL * 2).await;
    let gate = Gate::new();
    house.backend.set("/cold", Setting::default().held(&gate));
    let mut crowd = crowd(&house, 2 * CROWD).await;
    let (granted, held) = (leases(&house, "granted").await, leases(&house, "held").await);
    // One node fetches, the other waits for it, and then all come.
    crowd[0].ask("GET", "/cold").await;
    house.backend.until_read("/cold", 1).await;
    crowd[1].ask("GET", "/cold").await;
    until("the other node waits for the one that fetches", async || leases(&house, "held").await > held).await;
    for asker in &mut crowd[2..] {
        asker.ask("GET", "/cold").await;
    }
    gate.open();
    are_answered(crowd).await;
    assert_eq!(house.backend.reads("/cold"), 1, "for both nodes together");
    assert!((leases(&house, "granted").await - granted - 1.0).abs() < 0.5);
    house.is_well();
}

/// A node that is so busy with its crowd that it hears late from Redis does not wait for it: then each node asks once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s_01_s_09_two_thousand_askers_at_the_same_moment_are_one_request_for_each_node_at_the_most() {
    let redis = Redis::start().await;
    let house = house(&redis, PATIENT).await;
    used_to(&house, USUAL * 2).await;
    let gate = Gate::new();
    house.backend.set("/cold", Setting::default().held(&gate));
    let mut crowd = crowd(&house, 2 * CROWD).await;
    for asker in &mut crowd {
        asker.ask("GET", "/cold").await;
    }
    house.backend.until_read("/cold", 1).await;
    gate.open();
    are_answered(crowd).await;
    let reads = house.backend.reads("/cold");
    println!("{reads} requests to the backend");
    assert!((1..=2).contains(&reads), "{reads}");
    house.is_well();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s_09_when_the_node_that_fetches_is_killed_the_other_fetches_after_the_leases_time() {
    let redis = Redis::start().await;
    let house = house(&redis, PATIENT).await;
    used_to(&house, USUAL).await;
    let gate = Gate::new();
    house.backend.set("/cold", Setting::default().held(&gate));
    let mut left = Client::connect(house.nodes[0].address()).await;
    left.ask("GET", "/cold").await;
    house.backend.until_read("/cold", 1).await;
    house.nodes[0].signal("KILL").await;
    house.backend.set("/cold", Setting::default());
    let lease = redis.command(&["KEYS", "forebay:l:*"]).await.items()[0].text();
    let term = redis.command(&["PTTL", &lease]).await.int();
    let term = Duration::from_millis(u64::try_from(term).expect("it ends by itself"));
    assert!(term > USUAL && term < USUAL * 4 + Duration::from_millis(500), "{term:?}");
    let asked = instant();
    let answer = get(&house, 1, "/cold").await;
    let took = asked.elapsed();
    println!("the lease had {term:?} left; answered after {took:?}");
    assert_eq!((answer.status, version_in(&answer.text(), "/cold")), (200, 1));
    assert!(took + Duration::from_millis(20) >= term, "it did not wait: {took:?} of {term:?}");
    assert!(took < term + super::house::SLACK, "{took:?} of {term:?}");
    assert_eq!(house.backend.reads("/cold"), 2);
    house.nodes[1].is_well();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f_01_who_asks_either_node_after_a_purge_gets_what_was_fetched_after_it() {
    let redis = Redis::start().await;
    let mut house = house(&redis, "").await;
    let gate = Gate::new();
    house.backend.set("/p", Setting::default().held(&gate));
    let mut early = Client::connect(house.nodes[0].address()).await;
    early.ask("GET", "/p").await;
    house.backend.until_read("/p", 1).await;
    house.backend.raise("/p");
    purged(&house, 1, "/p").await;
    house.backend.set("/p", Setting::default());
    for node in [0, 1] {
        let answer = get(&house, node, "/p").await;
        assert_eq!(version_in(&answer.text(), "/p"), 2, "node {node}, while the old answer is on its way: {answer:?}");
    }
    gate.open();
    let answer = early.answer().await;
    assert!(answer.status == 200 && version_in(&answer.text(), "/p") <= 2, "{answer:?}");
    let third = joins(&mut house, &redis).await;
    for node in [0, 1, third] {
        assert_eq!(version_in(&get(&house, node, "/p").await.text(), "/p"), 2, "node {node}, afterwards");
    }
    assert_eq!((shared_with(&redis, "/p version 1").await, shared_with(&redis, "/p version 2").await), (0, 1));
    house.is_well();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f_02_what_one_node_fetches_slowly_and_the_other_purges_meanwhile_is_not_shared() {
    let redis = Redis::start().await;
    let mut house = house(&redis, "").await;
    // Unpurged, it is shared however slow.
    for (path, shared) in [("/p", 0), ("/q", 1)] {
        let gate = Gate::new();
        house.backend.set(path, Setting::default().held(&gate));
        let mut slow = Client::connect(house.nodes[0].address()).await;
        slow.ask("GET", path).await;
        house.backend.until_read(path, 1).await;
        house.backend.raise(path);
        purged(&house, 1, "/p").await;
        house.backend.set(path, Setting::default());
        let done = house.metric(0, "forebay_shared_writes_total").await;
        gate.open();
        let answer = slow.answer().await;
        assert_eq!(version_in(&answer.text(), path), 1, "it asked before: {answer:?}");
        until("the write is told what became of it", async || {
            house.metric(0, "forebay_shared_writes_total").await > done
        })
        .await;
        assert_eq!(shared_with(&redis, &format!("{path} version 1")).await, shared, "{path}");
    }
    let void = house.metric(0, "forebay_shared_writes_total{result=\"void\"}").await;
    assert!((void - 1.0).abs() < 0.5, "{void}");
    let third = joins(&mut house, &redis).await;
    for node in [0, 1, third] {
        assert_eq!(version_in(&get(&house, node, "/p").await.text(), "/p"), 2, "node {node}");
    }
    house.is_well();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ps_07_an_announcement_for_what_is_being_fetched_binds_who_asks_after_it() {
    let redis = Redis::start().await;
    let house = House::of(2, &redis.url()).await;
    let gate = Gate::new();
    house.backend.set("/truth/7", Setting::default().held(&gate));
    let mut early = Client::connect(house.nodes[0].address()).await;
    early.ask("GET", "/truth/7").await;
    house.backend.until_read("/truth/7", 1).await;
    house.backend.raise("/truth/7");
    redis.command(&["PUBLISH", "tenant:1:truth", &announcement("7")]).await.int();
    let named = |log: &str| log.contains("/truth/7\"");
    until("it is in the log", async || {
        let log = redis.command(&["XRANGE", "{forebay:inv}:log", "-", "+"]).await;
        log.items().iter().any(|record| record.items()[1].items().iter().any(|part| named(&part.text())))
    })
    .await;
    // What each node has applied it says in its heartbeats; a purge with wait=fleet waits for all before it as well.
    let purge = house.purge(0, "{\"url\":\"/other\",\"wait\":\"fleet\"}").await;
    assert_eq!(purge.status, 200, "{purge:?}");
    house.backend.set("/truth/7", Setting::default());
    for node in [0, 1] {
        assert_eq!(version_in(&get(&house, node, "/truth/7").await.text(), "/truth/7"), 2, "node {node}");
    }
    gate.open();
    early.answer().await;
    for node in [0, 1] {
        assert_eq!(version_in(&get(&house, node, "/truth/7").await.text(), "/truth/7"), 2, "node {node}, afterwards");
    }
    assert_eq!(shared_with(&redis, "/truth/7 version 1").await, 0);
    house.is_well();
}
