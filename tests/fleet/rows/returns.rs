//! Redis comes back with nothing, with less than it had, or with something else.

use std::time::Duration;

use super::super::house::AT_ONCE;
use super::super::load::truth;
use super::{House, How, Redis, course, lasting};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r05_a_redis_that_comes_back_empty_costs_confirmations_and_no_truth() {
    let redis = Redis::start().await;
    let house = House::of(2, &redis.url()).await;
    let epochs = house.metric(0, "forebay_fleet_epochs_total").await;
    let course = course(&house, Duration::from_millis(1), async || redis.restart_empty().await, async || {}).await;
    course.record.is_clean();
    course.record.holds_for_queued_within(super::BOUND);
    assert!(house.metric(0, "forebay_fleet_epochs_total").await > epochs, "nobody has noticed");
    assert!(house.backend.most_at_once() <= AT_ONCE * 2, "{}", house.backend.most_at_once());
    // Each page is confirmed once and then in memory again.
    assert!(course.record.count(How::Memory, (course.during.1 + course.back, Duration::MAX)) > 50);
    course.report("R-05", "started again empty");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r06_what_an_old_dump_brings_back_is_not_served() {
    let redis = Redis::start().await;
    let house = House::of(2, &redis.url()).await;
    for node in 0..2 {
        for number in 0..10 {
            assert_eq!(house.version(node, &truth(number)).await, 1);
        }
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    redis.save().await;
    assert!(!redis.command(&["KEYS", "forebay:e:*"]).await.items().is_empty(), "nothing was shared");
    for number in 0..10 {
        house.backend.raise(&truth(number));
        let purged = house.purge(number % 2, &format!("{{\"url\":\"{}\",\"wait\":\"fleet\"}}", truth(number))).await;
        assert_eq!(purged.status, 200, "{purged:?}");
    }
    // The dump has the entries that were purged, and a log that ends before the purges.
    let mut old = 0;
    redis.restart().await;
    for round in 0..60 {
        for node in 0..2 {
            for number in 0..10 {
                old += usize::from(house.version(node, &truth(number)).await != 2);
            }
        }
        if round == 30 {
            house.used_again().await;
        }
    }
    assert_eq!(old, 0, "purged, and served from the dump");
    // A node that has seen nothing of it is not told more than the dump says, and what others know.
    let mut house = house;
    house.add(&super::house::at(&redis.url())).await;
    house.ready(2).await;
    for number in 0..10 {
        assert_eq!(house.version(2, &truth(number)).await, 2, "{number}");
    }
    house.is_well();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r12_garbage_in_place_of_entries_is_a_miss_with_a_counter() {
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
