//! Redis is there and refuses: full, another password, a replica, loading, too many clients, the wrong certificate.

use std::time::Duration;

use super::super::gateway::Scratch;
use super::super::house::{at, until};
use super::super::redis::{Certificate, Connection};
use super::{House, How, Redis, USUAL, course, lasting, report};

const SOON: Duration = Duration::from_secs(10);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r_09_a_redis_without_room_is_read_takes_purges_and_what_it_does_not_take_is_counted() {
    let redis = Redis::start().await;
    let house = House::of(2, &redis.url()).await;
    let load = house.load().await;
    let before = load.goes_on(USUAL).await;
    let kept = |number: usize| format!("/kept/{number}");
    for number in 0..20 {
        load.read(&house, 0, kept(number)).await;
    }
    until("all is written", async || redis.command(&["KEYS", "forebay:e:*"]).await.items().len() >= 40).await;
    redis.command(&["CONFIG", "SET", "maxmemory", "1"]).await.is_ok();
    let began = load.now();
    for number in 0..20 {
        load.read(&house, 1, kept(number)).await;
    }
    let read = (began, load.now());
    let during = load.goes_on(lasting(2)).await;
    for node in 0..2 {
        assert!(house.errors(node, "OOM").await > 0.0, "nothing was refused");
        let failed = house.metric(node, "forebay_shared_writes_total{result=\"failed\"}").await;
        assert!(failed > 0.0, "no write was dropped and counted");
        assert!(house.metric(node, "forebay_fleet_in_sight").await > 0.5, "it is blind");
    }
    redis.command(&["CONFIG", "SET", "maxmemory", "0"]).await.is_ok();
    let course = super::ended(&house, load, before, during).await;
    course.is_well();
    assert!(course.record.count(How::Shared, read) >= 20, "what is there is not read");
    assert!(course.record.purges(during).all(|purge| purge.status == 200), "purges have room");
    course.report("R-09", "maxmemory reached, noeviction");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r_10_a_changed_password_is_no_clients_concern_and_is_used_when_it_is_in_the_file() {
    let redis = Redis::start_with(&["--requirepass", "first-s3cret"]).await;
    let file = Scratch::new("password", "first-s3cret\n");
    let lines =
        format!("{}\npassword = \"file:{}\"", at(&format!("redis://{}", redis.address())), file.path().display());
    let house = House::start(&[lines.clone(), lines]).await;
    let mut admin = redis.connect().await.unwrap();
    let load = house.load().await;
    let before = load.goes_on(USUAL).await;
    admin.ask(&["CONFIG", "SET", "requirepass", "second-s3cret"], SOON).await.unwrap().is_ok();
    throw_out(&mut admin).await;
    let during = load.goes_on(lasting(4)).await;
    let attempts = house.errors(0, "WRONGPASS").await + house.errors(0, "NOAUTH").await;
    std::fs::write(file.path(), "second-s3cret\n").unwrap();
    let course = super::ended(&house, load, before, during).await;
    course.is_well();
    course.queues_all_purges();
    let most = 2.0 * lasting(4).as_secs_f64() + 6.0;
    assert!((1.0..=most).contains(&attempts), "{attempts} attempts with a password that is refused");
    for gateway in &house.nodes {
        assert!(!gateway.output().contains("s3cret"), "{}", gateway.output());
    }
    course.report("R-10", "another password, told by the file afterwards");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r_10_a_user_whose_rights_are_taken_fails_open_and_is_counted() {
    let redis = Redis::start().await;
    let rights = ["ACL", "SETUSER", "gate", "on", ">s3cret", "~*", "&*", "+@all"];
    redis.command(&rights).await.is_ok();
    let url = format!("redis://gate:s3cret@{}", redis.address());
    let house = House::of(2, &url).await;
    let take = async || redis.command(&["ACL", "SETUSER", "gate", "resetkeys", "-@all"]).await.is_ok();
    let course = course(&house, lasting(2), take, async || redis.command(&rights).await.is_ok()).await;
    course.is_well();
    course.queues_all_purges();
    assert!(house.errors(0, "NOPERM").await > 0.0);
    for gateway in &house.nodes {
        assert!(!gateway.output().contains("s3cret"), "{}", gateway.output());
    }
    course.report("R-10", "the user's rights taken (NOPERM)");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r_11_a_master_that_has_become_a_replica_is_refused_and_counted() {
    for (kind, stale) in [("READONLY", "yes"), ("MASTERDOWN", "no")] {
        let redis = Redis::start().await;
        let house = House::of(2, &redis.url()).await;
        let demote = async || {
            redis.command(&["CONFIG", "SET", "replica-serve-stale-data", stale]).await.is_ok();
            // Nobody is there: it keeps what it has.
            redis.command(&["REPLICAOF", "127.0.0.1", "1"]).await.is_ok();
        };
        let promote = async || redis.command(&["REPLICAOF", "NO", "ONE"]).await.is_ok();
        let course = course(&house, lasting(2), demote, promote).await;
        course.is_well();
        course.queues_all_purges();
        assert!(house.errors(0, kind).await > 0.0, "{kind} is not counted");
        course.report("R-11", &format!("a replica without a master ({kind})"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r_11_a_redis_that_loads_is_waited_for() {
    let slow = ["--key-load-delay", "1000", "--loading-process-events-interval-bytes", "1024"];
    let redis = Redis::start_with(&slow).await;
    let house = House::of(2, &redis.url()).await;
    redis.command(&["DEBUG", "POPULATE", "1500", "other", "100"]).await.is_ok();
    redis.save().await;
    let course = course(&house, lasting(2), async || redis.restart().await, async || {}).await;
    course.is_well();
    course.record.holds_for_queued_within(super::BOUND);
    assert!(house.errors(0, "LOADING").await > 0.0, "it did not load for long enough");
    course.report("R-11", "loading its dump for some seconds (LOADING)");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r_11_a_redis_that_takes_no_more_clients_is_as_good_as_gone() {
    let redis = Redis::start().await;
    let house = House::of(2, &redis.url()).await;
    let mut admin = redis.connect().await.unwrap();
    let load = house.load().await;
    let before = load.goes_on(USUAL).await;
    admin.ask(&["CONFIG", "SET", "maxclients", "1"], SOON).await.unwrap().is_ok();
    throw_out(&mut admin).await;
    let during = load.goes_on(lasting(4)).await;
    admin.ask(&["CONFIG", "SET", "maxclients", "1000"], SOON).await.unwrap().is_ok();
    let course = super::ended(&house, load, before, during).await;
    course.is_well();
    course.queues_all_purges();
    assert!(house.errors(0, "max-clients").await > 0.0, "it is not counted by its name");
    course.report("R-11", "max clients reached");
}

/// Ends all connections but this one.
async fn throw_out(admin: &mut Connection) {
    for kind in ["normal", "pubsub"] {
        admin.ask(&["CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes"], SOON).await.unwrap().int();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r_16_a_redis_with_a_bad_certificate_is_not_spoken_to_and_clients_are_served() {
    let mut servers = Vec::new();
    let mut nodes = Vec::new();
    for certificate in [Certificate::expired(), Certificate::wrong_name()] {
        let server = Redis::start_tls(&certificate).await;
        let authority = Scratch::new("ca.pem", &certificate.authority);
        nodes.push(format!("{}\ntls_ca = \"{}\"", at(&server.url()), authority.path().display()));
        servers.push((server, authority));
    }
    let house = House::start(&nodes).await;
    let load = house.load().await;
    let during = load.goes_on(lasting(2)).await;
    let record = load.stop().await;
    record.is_clean();
    record.holds_for_queued_within(super::BOUND);
    assert_eq!(record.count(How::Shared, during), 0);
    assert!(record.changes.iter().all(|purge| purge.status == 202), "a purge was acknowledged");
    report::row("R-16", "an expired certificate, and another's", &record, during, during, None);
    for (node, gateway) in house.nodes.iter().enumerate() {
        assert!(house.errors(node, "certificate").await > 0.0, "node {node} counts nothing");
        assert!(house.metric(node, "forebay_fleet_in_sight").await < 0.5);
        assert!(gateway.output().contains("WARN") && gateway.output().contains("ertificate"), "{}", gateway.output());
    }
    for (server, _) in &servers {
        assert_eq!(server.command(&["DBSIZE"]).await.int(), 0, "something was said to it");
    }
    house.is_well();
}
