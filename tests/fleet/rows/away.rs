//! Redis away, silent, slow, and behind a network that breaks.

use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::{DELTA, House, How, Redis, course, lasting, wired};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r_01_no_client_notices_that_redis_was_killed_and_each_purge_says_that_it_waits() {
    let redis = Redis::start().await;
    let house = House::of(2, &redis.url()).await;
    let course = course(&house, lasting(4), async || redis.kill(), async || redis.restart().await).await;
    course.is_well();
    course.queues_all_purges();
    // What fails is given up and not asked again: after Δ each page is confirmed once per Δ, and not for each request.
    assert!(house.metric(0, "forebay_fleet_blind_seconds_total").await > 0.0);
    assert!(house.errors(0, "broken").await + house.errors(0, "away").await > 0.0);
    course.report("R-01", "killed, and started again empty");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r_02_no_client_notices_that_redis_is_silent_and_nothing_piles_up() {
    let redis = Redis::start().await;
    let house = House::of(2, &redis.url()).await;
    let before = [house.resident(0), house.resident(1)];
    let course = course(&house, lasting(4), async || redis.pause(), async || redis.resume()).await;
    course.is_well();
    course.queues_all_purges();
    assert!(house.errors(0, "timeout").await > 0.0);
    for (node, before) in before.into_iter().enumerate() {
        let grown = house.resident(node).saturating_sub(before);
        assert!(grown < 32 * 1024, "node {node} has grown by {grown} KiB");
    }
    course.report("R-02", "paused (SIGSTOP)");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r_03_a_slow_redis_is_left_alone_and_purges_are_still_logged() {
    let (_redis, proxies, house) = wired().await;
    let slow = async || proxies.iter().for_each(|proxy| proxy.down.delay(Duration::from_millis(200)));
    let mut opened = false;
    let load = house.load().await;
    let before = load.goes_on(super::USUAL).await;
    slow().await;
    let began = load.now();
    for _ in 0..10 {
        load.goes_on(lasting(2) / 10).await;
        opened |= house.metric(0, "forebay_redis_breaker_open{client=\"entries\"}").await > 0.5;
    }
    let during = (began, load.now());
    for proxy in &proxies {
        proxy.heal().await;
    }
    let course = super::ended(&house, load, before, during).await;
    course.is_well();
    assert!(opened, "it is asked on and on");
    assert!(house.errors(0, "timeout").await > 0.0);
    // No request waits for longer than 50 ms for Redis; the rest is a busy machine's.
    let fetched = course.record.latencies(How::Fetched, during);
    let median = fetched[fetched.len() / 2];
    assert!(median < Duration::from_millis(150), "{median:?}");
    course.report("R-03", "200 ms for each reply");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r_04_answers_that_are_late_or_cut_reach_nobody_else() {
    let (_redis, proxies, house) = wired().await;
    let load = house.load().await;
    let before = load.goes_on(super::USUAL).await;
    let began = load.now();
    for round in 0..8_u64 {
        for (number, proxy) in proxies.iter().enumerate() {
            proxy.down.jitter(Duration::from_millis(if round % 2 == 0 { 400 } else { 20 }), round * 2 + number as u64);
            proxy.down.cut_after(3_001 + 97 * usize::try_from(round).unwrap());
        }
        load.goes_on(lasting(3) / 8).await;
    }
    let during = (began, load.now());
    for proxy in &proxies {
        proxy.heal().await;
    }
    // Each body was held against its path when it was read.
    let course = super::ended(&house, load, before, during).await;
    course.is_well();
    assert!(house.errors(0, "broken").await + house.errors(0, "timeout").await > 0.0, "nothing was cut");
    course.report("R-04", "jitter of 0 to 400 ms, connections cut in the middle of replies");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r_13_a_connection_on_which_nothing_comes_any_more_is_given_up_within_seconds() {
    let (_redis, proxies, house) = wired().await;
    let before: f64 = house.metric(0, "forebay_redis_rebuilds_total").await;
    let accepted = proxies[0].accepted();
    let stall = async || {
        for proxy in &proxies {
            proxy.up.stall();
            proxy.down.stall();
        }
    };
    let heal = async || {
        // What was said to be dead stays dead; others are let through.
        assert!(house.metric(0, "forebay_redis_rebuilds_total").await > before, "nobody has noticed");
        assert!(proxies[0].accepted() > accepted, "nobody has tried anew");
        for proxy in &proxies {
            proxy.heal().await;
        }
    };
    let course = course(&house, lasting(4), stall, heal).await;
    course.is_well();
    course.queues_all_purges();
    course.report("R-13", "connections stay open and carry nothing");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r_15_a_redis_that_is_busy_with_something_else_is_no_cliff() {
    let redis = Redis::start().await;
    let house = House::of(2, &redis.url()).await;
    let load = house.load().await;
    let before = load.goes_on(super::USUAL).await;
    let began = load.now();
    for _ in 0..2 {
        // Nobody waits for the answer.
        let mut busy = redis.connect().await.unwrap();
        drop(busy.ask(&["DEBUG", "SLEEP", "1.2"], Duration::from_millis(1)).await);
        load.goes_on(lasting(2)).await;
    }
    let during = (began, load.now());
    let course = super::ended(&house, load, before, during).await;
    course.is_well();
    course.record.holds_for_queued_within(super::BOUND);
    assert!(house.errors(0, "timeout").await > 0.0, "it was not busy");
    let fetched = course.record.latencies(How::Fetched, during);
    let rare = fetched[fetched.len() * 99 / 100];
    assert!(rare < Duration::from_millis(500), "a miss waits {rare:?} for a busy Redis");
    course.report("R-15", "busy for 1.2 s at a time (DEBUG SLEEP)");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p_08_p09_a_purge_without_redis_holds_here_is_queued_and_reaches_the_others() {
    let redis = Redis::start().await;
    let house = House::of(2, &redis.url()).await;
    for node in 0..2 {
        assert_eq!(house.version(node, "/truth/1").await, 1);
    }
    // What is acknowledged with 200 is in the log of Redis when the answer comes.
    let logged = house.purge(0, "{\"url\":\"/truth/2\"}").await;
    assert_eq!(logged.status, 200, "{logged:?}");
    let keys = redis.command(&["KEYS", "*inv}:log"]).await;
    let log = redis.command(&["XREVRANGE", &keys.items()[0].text(), "+", "-", "COUNT", "1"]).await;
    let newest = log.items()[0].items()[0].text();
    let number = newest.split('-').next().unwrap();
    assert!(logged.body.contains(&format!("\"seq\":{number},")), "{logged:?} but {newest}");

    redis.kill();
    house.backend.raise("/truth/1");
    for order in ["{\"url\":\"/truth/1\"}", "{\"url\":\"/truth/1\",\"wait\":\"fleet\"}"] {
        let queued = timeout(DELTA * 2, house.purge(0, order)).await.expect("it waits too long");
        assert!(queued.status == 202 && queued.body.contains("\"queued\":\""), "{queued:?}");
        assert!(!queued.body.contains("seq"), "{queued:?}");
    }
    assert_eq!(house.version(0, "/truth/1").await, 2, "it holds here at once");
    assert!(house.metric(0, "forebay_fleet_changes_queued").await > 0.5);
    sleep(DELTA).await;
    assert_eq!(house.version(1, "/truth/1").await, 2, "a node that is blind asks");
    redis.restart().await;
    house.used_again().await;
    let again = house.purge(1, "{\"all\":true,\"wait\":\"fleet\"}").await;
    assert_eq!(again.status, 200, "{again:?}");
    house.is_well();
}
