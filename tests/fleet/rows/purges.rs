//! Purges that have to reach every node while something on the way fails.

use std::time::Duration;

use super::super::chaos::Proxy;
use super::super::house::{at, until};
use super::super::load::{announcement, truth};
use super::{House, How, Redis, USUAL, ended, lasting, report};

/// Without a fault a purge is everywhere within this: 100 ms, and what a busy machine adds.
const AT_ONCE: Duration = Duration::from_secs(1);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p_01_announcements_that_a_node_misses_while_its_subscription_is_cut_hold_on_it() {
    let redis = Redis::start().await;
    let proxy = Proxy::start(redis.address()).await;
    let lines = [at(&redis.url()), at(&format!("redis://{}", proxy.address))];
    let house = House::start(&lines).await;
    let load = house.load().await;
    let before = load.goes_on(USUAL).await;
    let gaps = house.metric(1, "forebay_subscription_gaps_total").await;
    let began = load.now();
    proxy.refuse().await;
    proxy.reset();
    redis.command(&["CLIENT", "KILL", "TYPE", "pubsub"]).await.int();
    let end = began + lasting(2);
    let mut number = 0;
    while load.now() < end {
        load.announce(&redis, number).await;
        load.purge(&house, 0, number + 5).await;
        load.goes_on(Duration::from_millis(4)).await;
        number += 1;
    }
    let during = (began, load.now());
    proxy.heal().await;
    let course = ended(&house, load, before, during).await;
    course.is_well();
    assert!(number > 20, "{number}");
    assert!(house.metric(1, "forebay_subscription_gaps_total").await > gaps, "nobody has noticed");
    course.report("P-01", "one node's connections cut, purges and announcements meanwhile");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p_01_nothing_is_lost_when_only_subscriptions_are_killed_again_and_again() {
    let redis = Redis::start().await;
    let house = House::of(2, &redis.url()).await;
    let load = house.load().await;
    let before = load.goes_on(USUAL).await;
    let began = load.now();
    let end = began + lasting(2);
    let mut number = 0;
    while load.now() < end {
        if number % 50 == 0 {
            redis.command(&["CLIENT", "KILL", "TYPE", "pubsub"]).await.int();
        }
        load.announce(&redis, number).await;
        load.goes_on(Duration::from_millis(5)).await;
        number += 1;
    }
    let during = (began, load.now());
    let course = ended(&house, load, before, during).await;
    course.is_well();
    assert!(house.metric(1, "forebay_subscription_gaps_total").await > 0.5, "nobody has noticed");
    course.report("P-01", "all subscriptions killed again and again (CLIENT KILL TYPE pubsub)");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p_02_a_node_that_is_deaf_without_knowing_it_follows_the_log_and_notices() {
    let redis = Redis::start().await;
    let proxy = Proxy::start(redis.address()).await;
    let deaf = format!("{}\nledger = \"{}\"", at(&format!("redis://{}", proxy.address)), redis.url());
    let house = House::start(&[at(&redis.url()), deaf]).await;
    let load = house.load().await;
    let before = load.goes_on(USUAL).await;
    let gaps = house.metric(1, "forebay_subscription_gaps_total").await;
    let began = load.now();
    proxy.down.stall();
    let end = began + lasting(4);
    let mut number = 0;
    while load.now() < end {
        load.announce(&redis, number).await;
        load.goes_on(Duration::from_millis(10)).await;
        number += 1;
    }
    let during = (began, load.now());
    proxy.heal().await;
    let course = ended(&house, load, before, during).await;
    course.is_well();
    assert!(house.metric(1, "forebay_subscription_gaps_total").await > gaps, "nobody has noticed");
    course.report("P-02", "one node's subscription and entries silent, its log not");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p_02_a_node_that_is_cut_off_without_a_sign_asks_the_backend_after_delta() {
    let (_redis, proxies, house) = super::wired().await;
    let load = house.load().await;
    let before = load.goes_on(USUAL).await;
    let began = load.now();
    proxies[1].up.stall();
    proxies[1].down.stall();
    let end = began + lasting(4);
    let mut number = 0;
    while load.now() < end {
        load.purge(&house, 0, number).await;
        load.goes_on(Duration::from_millis(10)).await;
        number += 1;
    }
    let during = (began, load.now());
    proxies[1].heal().await;
    let course = ended(&house, load, before, during).await;
    course.is_well();
    assert!(house.metric(1, "forebay_fleet_blind_seconds_total").await > 1.0, "it has gone on by what it knew");
    course.report("P-02", "one node's network silent, purges through the other");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p_03_ten_thousand_announcements_at_once_are_applied_or_known_to_be_missed() {
    let redis = Redis::start().await;
    let house = House::of(2, &redis.url()).await;
    let load = house.load().await;
    let before = load.goes_on(USUAL).await;
    let began = load.now();
    let gaps = [
        house.metric(0, "forebay_subscription_gaps_total").await,
        house.metric(1, "forebay_subscription_gaps_total").await,
    ];
    // Those that concern a page are spread among those that concern none.
    let message = announcement("@");
    let burst = format!(
        "for i = 1, 10000 do local id = i % 1000 == 7 and (i - 7) / 1000 or 'x' .. i \
         redis.call('PUBLISH', 'tenant:1:truth', (string.gsub('{message}', '@', tostring(id)))) end"
    );
    load.announce_all(async {
        redis.command(&["EVAL", &burst, "0"]).await;
    })
    .await;
    load.goes_on(lasting(3)).await;
    let during = (began, load.now());
    let course = ended(&house, load, before, during).await;
    course.is_well();
    for (node, before) in gaps.into_iter().enumerate() {
        // A busy machine takes its time: what counts is that none vanishes.
        until("all are heard, or some are known to be missed", async || {
            let heard = house.metric(node, "forebay_messages_total").await;
            let missed = house.metric(node, "forebay_subscription_gaps_total").await - before;
            heard >= 10_000.0 || missed > 0.5
        })
        .await;
    }
    course.report("P-03", "10,000 announcements in one script");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p_04_a_node_that_was_stopped_serves_nothing_before_it_knows_what_it_has_missed() {
    let redis = Redis::start().await;
    redis.command(&["CONFIG", "SET", "client-output-buffer-limit", "pubsub 32kb 0 0"]).await.is_ok();
    let house = House::of(2, &redis.url()).await;
    let load = house.load().await;
    let before = load.goes_on(USUAL).await;
    let began = load.now();
    house.nodes[1].signal("STOP").await;
    let junk = "x".repeat(20_000);
    // Clients wait for no longer than ten seconds.
    let until_then = began + lasting(4).min(Duration::from_secs(7));
    let mut number = 0;
    while load.now() < until_then {
        load.announce(&redis, number).await;
        load.purge(&house, 0, number + 5).await;
        let much = "for i = 1, 10 do redis.call('PUBLISH', 'tenant:1:truth', ARGV[1]) end";
        redis.command(&["EVAL", much, "0", &junk]).await;
        number += 1;
    }
    let killed = redis.log().contains("overcoming of output buffer limits");
    house.nodes[1].signal("CONT").await;
    let during = (began, load.now());
    let course = ended(&house, load, before, during).await;
    assert!(killed, "{number} rounds, and the limit was not reached");
    course.is_well();
    until("it has noticed", async || house.metric(1, "forebay_subscription_gaps_total").await > 0.5).await;
    course.report("P-04", "a node stopped (SIGSTOP), its subscription thrown out for its output buffer");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p_05_a_node_that_starts_during_purges_is_ready_when_it_is_bound_by_them() {
    let redis = Redis::start().await;
    let mut house = House::of(1, &redis.url()).await;
    let load = house.load().await;
    let before = load.goes_on(USUAL).await;
    let began = load.now();
    for round in 0..3 {
        house.add(&at(&redis.url())).await;
        house.ready(1).await;
        assert!(house.metric(1, "forebay_fleet_in_sight").await > 0.5, "ready, and blind");
        for number in 0..60 {
            load.announce(&redis, number).await;
            load.read(&house, 1, truth(number)).await;
            load.read(&house, 1, truth(number + 1)).await;
        }
        house.is_well();
        if round < 2 {
            drop(house.nodes.pop());
        }
    }
    let record = load.stop().await;
    let during = (began, house.backend.now().mono);
    record.is_clean();
    record.holds_within(AT_ONCE);
    assert!(record.staleness().announced.unwrap_or_default() <= AT_ONCE, "{:?}", record.staleness());
    assert!(record.count(How::Shared, during) > 0, "a node that starts uses what is shared");
    report::row("P-05", "a node started three times during purges", &record, before, during, None);

    redis.pause();
    house.add(&at(&redis.url())).await;
    let early = house.operator(2, "GET", "/readyz", "").await;
    assert_eq!(early.status, 503, "it has heard nothing of its fleet");
    redis.resume();
    house.ready(2).await;
    assert!(house.metric(2, "forebay_fleet_in_sight").await > 0.5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p_10_purging_everything_costs_redis_the_same_however_much_there_is() {
    let redis = Redis::start().await;
    let house = House::of(2, &redis.url()).await;
    let many = if lasting(1) > Duration::from_secs(1) { "1000000" } else { "100000" };
    redis.command(&["DEBUG", "POPULATE", many, "forebay:e", "64"]).await.is_ok();
    let load = house.load().await;
    let before = load.goes_on(USUAL).await;
    redis.command(&["CONFIG", "RESETSTAT"]).await.is_ok();
    let began = load.now();
    let purged = house.purge(0, "{\"all\":true,\"wait\":\"fleet\"}").await;
    let acknowledged = load.now();
    assert_eq!(purged.status, 200, "{purged:?}");
    load.goes_on(lasting(2)).await;
    let during = (began, load.now());
    let course = ended(&house, load, before, during).await;
    course.is_well();
    let done = redis.command(&["INFO", "commandstats"]).await.text();
    for command in ["keys", "scan", "flushdb", "flushall", "unlink"] {
        assert!(!done.contains(&format!("cmdstat_{command}:")), "{done}");
    }
    assert!(redis.command(&["DBSIZE"]).await.int() >= many.parse().unwrap(), "entries were looked for and deleted");
    // What never changed is in memory on both nodes, and is fetched again after the purge.
    let hot = |seen: &&super::super::load::Seen| seen.path.starts_with("/hot/") && seen.asked >= acknowledged;
    let fetched = course.record.seen.iter().filter(hot).filter(|seen| seen.how != How::Memory).count();
    assert!(fetched >= 30, "{fetched} fetched");
    course.report("P-10", &format!("everything purged, with {many} entries in Redis"));
}
