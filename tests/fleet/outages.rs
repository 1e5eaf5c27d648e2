//! Redis away, silent, slow and back: what a call costs meanwhile, and how soon all is well again.

use std::time::Duration;

use bytes::Bytes;
use forebay::breaker::BreakerState;
use forebay::fleet::{Credential, Fleet, FleetError, Heard, Put, RedisSettings};
use tokio::time::{sleep, timeout};

use super::chaos::Proxy;
use super::contract::{SOON, beating, instant, name, node, place, ready, record, start, until};
use super::redis::{Certificate, Cluster, Redis};

/// A call, and how long it took.
async fn timed<T>(call: impl Future<Output = T>) -> (T, Duration) {
    let started = instant();
    let answer = call.await;
    (answer, started.elapsed())
}

/// Asks for entries for as long as `time`; when the breaker opened, and the longest call before and after.
async fn ask_for(fleet: &Fleet, time: Duration) -> (Option<Duration>, Duration, Duration) {
    let started = instant();
    let (mut opened, mut before, mut after) = (None, Duration::ZERO, Duration::ZERO);
    while started.elapsed() < time {
        let (answer, took) = timed(fleet.get(name(1), 9)).await;
        assert!(answer.is_err(), "{answer:?}");
        if answer == Err(FleetError::Away) && fleet.stats().unwrap().entries != BreakerState::Admitting {
            opened.get_or_insert(started.elapsed());
            after = after.max(took);
        } else {
            before = before.max(took);
        }
        sleep(Duration::from_millis(1)).await;
    }
    (opened, before, after)
}

/// How long it takes until entries and the ledger are used again.
async fn back(fleet: &Fleet) -> Duration {
    let started = instant();
    until("all is used again", async || {
        fleet.get(name(1), 9).await.is_ok() && fleet.beat(&beating("one", None)).await.is_ok()
    })
    .await;
    started.elapsed()
}

#[tokio::test(flavor = "multi_thread")]
async fn r_01_a_killed_server_costs_nothing_and_is_used_again_when_it_is_back() {
    let redis = Redis::start().await;
    let fleet = node(&redis.url(), "fleet").await;
    redis.kill();
    let (opened, before, after) = ask_for(&fleet, Duration::from_secs(2)).await;
    println!("killed: opened after {opened:?}; calls {before:?} before, {after:?} then");
    assert!(opened.unwrap() < Duration::from_millis(500));
    redis.restart().await;
    let back = back(&fleet).await;
    println!("killed: back after {back:?}");
    assert!(back < Duration::from_secs(2), "{back:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn r_02_a_silent_server_costs_fifty_milliseconds_and_then_nothing() {
    let redis = Redis::start().await;
    let fleet = node(&redis.url(), "fleet").await;
    redis.pause();
    // Each kind of call keeps its own time, whatever fred makes of it.
    for (what, limit, (_, took)) in [
        ("get", 50, timed(async { fleet.get(name(1), 9).await.map(drop) }).await),
        ("lease", 50, timed(async { fleet.lease(name(1), 1, SOON).await.map(drop) }).await),
        ("newest", 50, timed(async { fleet.newest(&[]).await.map(drop) }).await),
        ("append", 500, timed(async { fleet.append(record("x")).await.map(drop) }).await),
    ] {
        println!("silent: {what} gives up after {took:?}");
        assert!(took >= Duration::from_millis(limit) && took < Duration::from_millis(limit + 100), "{what}: {took:?}");
    }
    let (opened, before, after) = ask_for(&fleet, Duration::from_secs(4)).await;
    redis.resume();
    println!("silent: opened after {opened:?}; calls {before:?} before, {after:?} then");
    assert!(opened.unwrap() < Duration::from_millis(500));
    // The limits are 50 ms and 1 ms; what is asserted is that nothing waits for longer things.
    assert!(before < Duration::from_millis(150), "{before:?}");
    let back = back(&fleet).await;
    println!("silent: back after {back:?}");
    assert!(back < Duration::from_secs(2), "{back:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn r_03_a_slow_server_is_left_alone() {
    let redis = Redis::start().await;
    let proxy = Proxy::start(redis.address()).await;
    let fleet = node(&format!("redis://{}", proxy.address), "fleet").await;
    proxy.down.delay(Duration::from_millis(200));
    let (opened, before, _) = ask_for(&fleet, Duration::from_secs(2)).await;
    println!("slow: opened after {opened:?}; calls {before:?} before");
    assert!(opened.unwrap() < Duration::from_millis(500));
    proxy.down.delay(Duration::ZERO);
    let back = back(&fleet).await;
    println!("slow: back after {back:?}");
    assert!(back < Duration::from_secs(2), "{back:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_given_up_is_not_done_later() {
    let redis = Redis::start().await;
    let fleet = node(&redis.url(), "fleet").await;
    let now = fleet.append(record("x")).await.unwrap().place;
    let time = fleet.beat(&beating("one", None)).await.unwrap().time;
    redis.save().await;
    redis.kill();
    let put = Put {
        name: name(1),
        epoch: now.epoch,
        born: now.number,
        expires: time + Duration::from_mins(10),
        bytes: Bytes::from_static(b"x"),
        tags: Vec::new(),
    };
    for round in 0..200 {
        let call = async {
            fleet.put(put.clone()).await.unwrap_err();
            fleet.append(record("given up")).await.unwrap_err();
            fleet.lease(name(1), 1, SOON).await.unwrap_err();
            fleet.publish("news", Bytes::from_static(b"x")).await.unwrap_err();
        };
        // Some who ask have no patience, and drop what they asked.
        drop(timeout(Duration::from_micros(if round % 2 == 0 { 1 } else { 100_000 }), call).await);
    }
    // What nobody waits for any more is still tried for as long as anybody could have waited.
    sleep(Duration::from_millis(700)).await;
    redis.restart().await;
    back(&fleet).await;
    sleep(Duration::from_millis(300)).await;
    assert_eq!(fleet.get(name(1), 9).await, Ok(None));
    assert_eq!(redis.command(&["EXISTS", &format!("fleet:l:{}", name(1))]).await.int(), 0);
    let log = fleet.read_after(0).await.unwrap();
    assert!(log.iter().all(|logged| &logged.bytes[..] != b"given up"), "{log:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn r_02_what_waits_for_a_silent_server_is_bounded() {
    let redis = Redis::start().await;
    let fleet = node(&redis.url(), "fleet").await;
    redis.pause();
    let before = resident();
    let payload = Bytes::from(vec![b'x'; 16 * 1024]);
    let started = instant();
    let mut tasks = tokio::task::JoinSet::new();
    // 16,000 calls of 16 KiB would be 260 MB, if they waited.
    while started.elapsed() < Duration::from_secs(4) {
        for _ in 0..40 {
            let (fleet, payload) = (fleet.clone(), payload.clone());
            tasks.spawn(async move { fleet.publish("news", payload).await });
        }
        sleep(Duration::from_millis(10)).await;
        while tasks.try_join_next().is_some() {}
    }
    let grown = resident().saturating_sub(before);
    redis.resume();
    println!("silent: grew by {} KiB", grown / 1024);
    assert!(grown < 32 * 1024 * 1024, "{grown}");
}

/// The memory of this process, in bytes.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

#[tokio::test(flavor = "multi_thread")]
async fn r_13_a_connection_that_brings_nothing_any_more_is_replaced() {
    let redis = Redis::start().await;
    let proxy = Proxy::start(redis.address()).await;
    let fleet = node(&format!("redis://{}", proxy.address), "fleet").await;
    let mut heard = fleet.listen(vec!["news".to_owned()]);
    assert_eq!(timeout(SOON, heard.recv()).await.unwrap(), Some(Heard::Gap));
    proxy.down.stall();
    let started = instant();
    until("dead connections are noticed", async || fleet.stats().unwrap().rebuilds_of("ledger") > 0).await;
    let noticed = started.elapsed();
    println!("half-open: noticed after {noticed:?}");
    assert!(noticed < Duration::from_secs(4), "{noticed:?}");
    proxy.heal().await;
    until("it is heard again", async || {
        fleet.publish("news", Bytes::from_static(b"x")).await.ok();
        matches!(heard.try_recv(), Ok(Heard::Message { .. }))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn starting_waits_for_nobody() {
    let redis = Redis::start().await;
    redis.kill();
    let (fleet, took) = timed(async { start(RedisSettings::new(redis.url())) }).await;
    assert!(took < Duration::from_millis(500), "{took:?}");
    fleet.beat(&beating("one", None)).await.unwrap_err();
    let mut heard = fleet.listen(vec!["news".to_owned()]);
    redis.restart().await;
    ready(&fleet).await;
    fleet.beat(&beating("one", None)).await.unwrap();
    assert_eq!(timeout(SOON, heard.recv()).await.unwrap(), Some(Heard::Gap));
}

#[tokio::test]
async fn settings_that_cannot_be_used_are_said_without_secrets() {
    let clock = forebay::clock::Clock::system();
    for url in
        ["", "nonsense", "http://user:s3cret@host/", "redis://:s3cret@", "redis://host:99999", "redis-sentinel://h"]
    {
        match forebay::fleet::Redis::start(RedisSettings::new(url), &clock) {
            Err(problem) => assert!(!problem.to_string().contains("s3cret"), "{problem}"),
            Ok(_) => panic!("{url} is no URL of a server"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn r_04_answers_that_are_late_or_cut_in_the_middle_are_never_taken_for_others() {
    let redis = Redis::start().await;
    let proxy = Proxy::start(redis.address()).await;
    let fleet = node(&format!("redis://{}", proxy.address), "fleet").await;
    let now = place(&fleet).await;
    let time = fleet.beat(&beating("one", None)).await.unwrap().time;
    for byte in 1..=20 {
        let bytes = Bytes::from(vec![byte; 2_000]);
        let expires = time + Duration::from_mins(10);
        let put = Put { name: name(byte), epoch: now.epoch, born: now.number, expires, bytes, tags: Vec::new() };
        fleet.put(put).await.unwrap();
    }
    proxy.down.jitter(Duration::from_millis(20), 7);
    let (mut answered, mut failed) = (0, 0);
    for round in 0..400_u32 {
        if round % 40 == 0 {
            proxy.down.cut_after(3_000);
        } else if round % 40 == 20 {
            proxy.down.heal();
            proxy.down.jitter(Duration::from_millis(20), u64::from(round));
        }
        let byte = u8::try_from(round % 20 + 1).unwrap();
        if let Ok(found) = fleet.get(name(byte), 4_000).await {
            assert_eq!(found, Some(Bytes::from(vec![byte; 2_000])), "another's answer");
            answered += 1;
        } else {
            failed += 1;
            sleep(Duration::from_millis(5)).await;
        }
    }
    println!("jitter and cuts: {answered} answered, {failed} failed");
    proxy.heal().await;
    back(&fleet).await;
    assert!(answered > 0 && failed > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn r_08_a_cluster_that_moves_the_ledger_or_loses_it_goes_on_in_a_new_life() {
    let cluster = Cluster::start().await;
    let fleet = node(&cluster.url(), "fleet").await;
    let (log, entry) = ("{fleet:inv}:log", format!("fleet:e:{}", name(1)));
    let before = fleet.append(record("x")).await.unwrap().place;
    let mut heard = fleet.listen(vec!["news".to_owned()]);
    assert_eq!(timeout(SOON, heard.recv()).await.unwrap(), Some(Heard::Gap));
    let from = cluster.master_of(log).await.address();
    let to = cluster.nodes[..3].iter().find(|node| node.address() != from).unwrap();
    cluster.move_slot_of(log, to).await;
    let mut moved = before;
    until("the ledger is found", async || {
        let appended = fleet.append(record("x")).await;
        appended.map(|appended| moved = appended.place).is_ok()
    })
    .await;
    assert_ne!(moved.epoch, before.epoch, "another master");
    assert!(moved.number > before.number);
    let dead = cluster.kill_master_of(log).await;
    cluster.wait_for_failover(log, dead).await;
    let mut after = moved;
    until("the heir is found", async || {
        let appended = fleet.append(record("x")).await;
        appended.map(|appended| after = appended.place).is_ok()
    })
    .await;
    assert_ne!(after.epoch, moved.epoch);
    until("entries are read", async || fleet.get(name(1), 9).await == Ok(None)).await;
    until("messages are heard", async || {
        fleet.publish("news", Bytes::from_static(b"x")).await.ok();
        matches!(heard.try_recv(), Ok(Heard::Message { .. }))
    })
    .await;
    println!("cluster: {entry} and {log} are found; rebuilt {:?}", fleet.stats().unwrap().rebuilds);
}

/// What things take on the loopback, for the record; run it alone, on a build that is worth measuring.
#[tokio::test(flavor = "multi_thread")]
async fn what_things_take() {
    let redis = Redis::start().await;
    let (one, two) = (node(&redis.url(), "fleet").await, node(&redis.url(), "fleet").await);
    let now = place(&one).await;
    let time = one.beat(&beating("one", None)).await.unwrap().time;
    let put = Put {
        name: name(1),
        epoch: now.epoch,
        born: now.number,
        expires: time + Duration::from_mins(10),
        bytes: Bytes::from(vec![b'x'; 1_024]),
        tags: vec![name(2), name(3)],
    };
    let mut lines: Vec<(&str, Vec<Duration>)> = Vec::new();
    let mut line = |what, mut times: Vec<Duration>| {
        times.sort();
        lines.push((what, times));
    };
    let mut times = Vec::new();
    for _ in 0..500 {
        times.push(timed(async { one.put(put.clone()).await.unwrap() }).await.1);
    }
    line("put", std::mem::take(&mut times));
    for _ in 0..2_000 {
        times.push(timed(async { one.get(name(1), 4_096).await.unwrap().unwrap() }).await.1);
    }
    line("get", std::mem::take(&mut times));
    for _ in 0..500 {
        times.push(timed(async { one.beat(&beating("one", Some(now))).await.unwrap() }).await.1);
    }
    line("beat", std::mem::take(&mut times));
    for _ in 0..500 {
        times.push(timed(async { one.newest(&[name(2), name(3)]).await.unwrap() }).await.1);
    }
    line("newest", std::mem::take(&mut times));
    let mut number = place(&two).await.number;
    let mut told = Vec::new();
    for _ in 0..500 {
        let watching = tokio::spawn({
            let two = two.clone();
            async move {
                loop {
                    two.changed(number).await.unwrap();
                    if !two.read_after(number).await.unwrap().is_empty() {
                        return instant();
                    }
                }
            }
        });
        sleep(Duration::from_millis(2)).await;
        let began = instant();
        number = one.append(record("x")).await.unwrap().place.number;
        times.push(began.elapsed());
        told.push(watching.await.unwrap().saturating_duration_since(began));
    }
    line("append", times);
    line("append until another node has read it", told);
    for (what, times) in lines {
        let part = |percent: usize| times[times.len() * percent / 100];
        println!("{what}: p50 {:?}, p99 {:?}", part(50), part(99));
        assert!(part(50) < Duration::from_millis(50), "{what}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn r_10_a_changed_password_is_read_anew_and_a_wrong_one_is_not_hammered() {
    let redis = Redis::start_with(&["--requirepass", "first"]).await;
    let path = std::env::temp_dir().join(format!("forebay-fleet-password-{}", std::process::id()));
    std::fs::write(&path, "first\n").unwrap();
    let mut settings = RedisSettings::new(format!("redis://{}", redis.address()));
    settings.password = Some(Credential::File(path.clone()));
    let fleet = start(settings);
    ready(&fleet).await;
    let mut admin = redis.connect().await.unwrap();
    admin.ask(&["CONFIG", "SET", "requirepass", "second"], SOON).await.unwrap().is_ok();
    admin.ask(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"], SOON).await.unwrap().int();
    until("it is refused", async || fleet.stats().unwrap().errors_of("WRONGPASS") > 0).await;
    sleep(Duration::from_secs(1)).await;
    let before = fleet.stats().unwrap().errors_of("WRONGPASS");
    sleep(Duration::from_secs(3)).await;
    let attempts = fleet.stats().unwrap().errors_of("WRONGPASS") - before;
    println!("wrong password: {attempts} attempts in 3 s");
    assert!((1..=7).contains(&attempts), "{attempts}");
    std::fs::write(&path, "second\n").unwrap();
    until("the new one is used", async || fleet.beat(&beating("one", None)).await.is_ok()).await;
    let stats = format!("{:?}", fleet.stats());
    assert!(!stats.contains("first") && !stats.contains("second"), "{stats}");
    std::fs::remove_file(&path).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn r_11_a_replica_taken_for_the_master_is_refused_and_counted() {
    let (master, replica) = (Redis::start().await, Redis::start().await);
    let fleet = node(&replica.url(), "fleet").await;
    let before = place(&fleet).await;
    let port = master.address().port().to_string();
    replica.command(&["REPLICAOF", "127.0.0.1", &port]).await.is_ok();
    until("it is noticed", async || {
        drop(fleet.append(record("x")).await);
        drop(fleet.newest(&[]).await);
        fleet.stats().unwrap().errors_of("READONLY") > 0
    })
    .await;
    assert!(fleet.newest(&[]).await.is_err(), "what a replica says is old");
    replica.command(&["REPLICAOF", "NO", "ONE"]).await.is_ok();
    until("it is a master again", async || fleet.newest(&[]).await.is_ok()).await;
    assert_ne!(place(&fleet).await.epoch, before.epoch);
}

#[tokio::test(flavor = "multi_thread")]
async fn r_16_only_a_server_that_shows_a_good_certificate_is_spoken_to() {
    for (certificate, good) in
        [(Certificate::good(), true), (Certificate::expired(), false), (Certificate::wrong_name(), false)]
    {
        let redis = Redis::start_tls(&certificate).await;
        let mut settings = RedisSettings::new(redis.url());
        assert!(settings.url.starts_with("rediss://"), "{}", settings.url);
        settings.tls_ca = Some(certificate.authority.clone().into());
        let fleet = start(settings);
        if good {
            ready(&fleet).await;
            fleet.append(record("x")).await.unwrap();
            let mut heard = fleet.listen(vec!["news".to_owned()]);
            assert_eq!(timeout(SOON, heard.recv()).await.unwrap(), Some(Heard::Gap));
        } else {
            until("it is refused", async || fleet.stats().unwrap().errors_of("broken") > 2).await;
            assert_eq!(fleet.append(record("x")).await, Err(FleetError::Away));
            let why = fleet.stats().unwrap().last_error.unwrap();
            assert!(why.contains("InvalidCertificate"), "{why}");
        }
    }
}
