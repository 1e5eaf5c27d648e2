//! Redis comes back with nothing, with less than it had, or with something else.

use std::time::Duration;

use super::super::house::{AT_ONCE, at};
use super::{House, How, Redis, course, lasting};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r_05_a_redis_that_comes_back_empty_costs_confirmations_and_no_truth() {
    let redis = Redis::start().await;
    let house = House::of(2, &redis.url()).await;
    let epochs = house.metric(0, "forebay_fleet_epochs_total").await;
    let course = course(&house, lasting(2), async || redis.restart_empty().await, async || {}).await;
    // Each page is confirmed once and then in memory again.
    course.is_well();
    course.record.holds_for_queued_within(super::BOUND);
    assert!(house.metric(0, "forebay_fleet_epochs_total").await > epochs, "nobody has noticed");
    assert!(house.backend.most_at_once() <= AT_ONCE * 2, "{}", house.backend.most_at_once());
    let confirmed = course.record.count(How::Fetched, course.during);
    let memory = course.record.count(How::Memory, course.during);
    assert!(memory > confirmed / 2, "{memory} from memory, {confirmed} fetched");
    course.report("R-05", "started again empty");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r_06_what_an_old_dump_brings_back_is_not_served() {
    let redis = Redis::start().await;
    let mut house = House::of(2, &redis.url()).await;
    let load = house.load().await;
    let before = load.goes_on(super::USUAL).await;
    let old = |number: usize| format!("/old/{number}");
    for node in 0..2 {
        for number in 0..10 {
            assert_eq!(house.version(node, &old(number)).await, 1);
        }
    }
    load.goes_on(Duration::from_millis(300)).await;
    redis.save().await;
    let began = load.now();
    for number in 0..10 {
        house.backend.raise(&old(number));
        let purged = house.purge(number % 2, &format!("{{\"url\":\"{}\",\"wait\":\"fleet\"}}", old(number))).await;
        assert_eq!(purged.status, 200, "{purged:?}");
    }
    // The dump has the entries that were purged, and a log that ends before the purges.
    redis.restart().await;
    let kept = redis.command(&["KEYS", "forebay:e:*"]).await.items().len();
    assert!(kept >= 20, "{kept} entries came back");
    for round in 0..60 {
        for node in 0..2 {
            for number in 0..10 {
                assert_eq!(house.version(node, &old(number)).await, 2, "served from the dump, in round {round}");
            }
        }
        if round == 30 {
            house.used_again().await;
        }
    }
    // A node that has seen nothing of it is told what others know.
    house.add(&at(&redis.url())).await;
    house.ready(2).await;
    for number in 0..10 {
        assert_eq!(house.version(2, &old(number)).await, 2, "{number}");
    }
    let during = (began, load.now());
    let course = super::ended(&house, load, before, during).await;
    course.is_well();
    course.record.holds_for_queued_within(super::BOUND);
    course.report("R-06", "started again from a dump that is older than purges");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r_12_garbage_in_place_of_entries_is_a_miss_with_a_counter() {
    let redis = Redis::start().await;
    let house = House::of(2, &redis.url()).await;
    let load = house.load().await;
    let before = load.goes_on(super::USUAL).await;
    let began = load.now();
    let end = began + lasting(2);
    let mut spoilt = 0;
    while load.now() < end {
        for (number, key) in redis.command(&["KEYS", "forebay:e:*"]).await.items().iter().enumerate() {
            let key = key.text();
            let garbage = [
                vec!["SET", &key, "no record at all"],
                vec!["SETRANGE", &key, "9", "\u{1}\u{2}"],
                vec!["SET", &key, ""],
                vec!["LPUSH", &key, "x"],
                vec!["HSET", &key, "b", "x"],
            ];
            if number % 5 >= 3 {
                redis.command(&["DEL", &key]).await;
            }
            redis.command(&garbage[number % 5]).await;
            spoilt += 1;
        }
        load.goes_on(Duration::from_millis(20)).await;
    }
    let during = (began, load.now());
    for key in redis.command(&["KEYS", "forebay:e:*"]).await.items() {
        redis.command(&["DEL", &key.text()]).await;
    }
    let course = super::ended(&house, load, before, during).await;
    assert!(spoilt > 20, "{spoilt}");
    course.is_well();
    let refused = house.metric(0, "forebay_shared_refusals_total").await
        + house.metric(1, "forebay_shared_refusals_total").await
        + house.errors(0, "WRONGTYPE").await
        + house.errors(1, "WRONGTYPE").await;
    assert!(refused > 0.0, "nobody has looked");
    course.report("R-12", "garbage and other types written over entries");
}
