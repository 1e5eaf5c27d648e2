//! One life of the ledger, and what ends it: what Redis loses must not pass for what it never had.

use std::time::Duration;

use bytes::Bytes;
use forebay::fleet::{Append, Fleet, FleetError, Grade, Kept, NEW_EPOCH, Newest, Place, Put, RedisSettings};

use super::contract::{SOON, beating, instant, name, node, place, ready, record, start, until};
use super::redis::{Redis, Reply, Sentinel};

fn key(last: &str) -> String {
    format!("{{fleet:inv}}:{last}")
}

/// Appends, whatever stands in the way at first.
async fn append(fleet: &Fleet, append: Append) -> Place {
    let mut appended = None;
    until("an append succeeds", async || {
        appended = fleet.append(append.clone()).await.ok();
        appended.is_some()
    })
    .await;
    appended.unwrap().place
}

fn mark(grade: Grade) -> Append {
    Append::new(Bytes::from_static(b"x"), grade, vec![name(1)], true)
}

/// A new life: registered nobody, marked nothing, and its log begins with a record that says so.
async fn is_new(fleet: &Fleet, before: Place) -> Place {
    let mut found = None;
    until("the marks are read", async || {
        found = fleet.newest(&[name(1)]).await.ok();
        found.is_some()
    })
    .await;
    // A breaker that is still finding out lets few through.
    ready(fleet).await;
    let found = found.unwrap();
    assert_ne!(found.place.epoch, before.epoch);
    assert_eq!((found.floors, found.tags[0]), (Newest::default(), Newest::default()));
    let log = fleet.read_after(0).await.unwrap();
    assert_eq!((&log[0].bytes[..], log[0].previous), (NEW_EPOCH, found.place.epoch.0));
    assert!(log.iter().all(|logged| logged.place.epoch == found.place.epoch));
    assert_eq!(log.last().unwrap().place, found.place);
    let members = fleet.members().await.unwrap();
    assert_eq!((members.epoch, members.nodes), (found.place.epoch, Vec::new()));
    assert!(members.epoch_age < SOON);
    found.place
}

#[tokio::test]
async fn r_05_an_emptied_server_begins_a_new_life() {
    let redis = Redis::start().await;
    let fleet = node(&redis.url(), "fleet").await;
    fleet.beat(&beating("one", None)).await.unwrap();
    let before = append(&fleet, mark(Grade::Hard)).await;
    redis.command(&["FLUSHALL"]).await.is_ok();
    let new = is_new(&fleet, before).await;
    assert_eq!(new.number, 1);
    // Without what it counted with, nothing else would be known to be missing.
    redis.restart_empty().await;
    is_new(&fleet, new).await;
}

#[tokio::test]
async fn r_06_a_server_restarted_from_an_old_state_begins_a_new_life() {
    let redis = Redis::start().await;
    let fleet = node(&redis.url(), "fleet").await;
    fleet.beat(&beating("one", None)).await.unwrap();
    let saved = append(&fleet, mark(Grade::Hard)).await;
    redis.save().await;
    let lost = append(&fleet, mark(Grade::Hard)).await;
    redis.restart().await;
    let new = is_new(&fleet, lost).await;
    // The number is one that somebody has seen, which is why the epoch has to be another.
    assert_eq!(new.number, saved.number + 1);
    assert_eq!(append(&fleet, record("x")).await.number, new.number + 1);
}

#[tokio::test]
async fn r_07_a_replica_that_takes_over_begins_a_new_life() {
    let sentinel = Sentinel::start().await;
    let (one, two) = (node(&sentinel.url(), "fleet").await, node(&sentinel.url(), "fleet").await);
    one.beat(&beating("one", None)).await.unwrap();
    let appended = one.append(mark(Grade::Hard)).await.unwrap();
    assert_eq!(appended.replicas, 1);
    assert_eq!(one.replicated(Duration::from_secs(2)).await, Ok(1));
    let mut heard = two.listen(vec!["news".to_owned()]);
    heard.recv().await.unwrap();
    let dead = sentinel.kill_master().await;
    sentinel.wait_for_failover(dead).await;
    let new = is_new(&one, appended.place).await;
    assert!(new.number > appended.place.number);
    let mut agreed = None;
    until("the other node follows", async || {
        agreed = two.newest(&[]).await.ok();
        agreed.is_some()
    })
    .await;
    assert_eq!(agreed.unwrap().place, new);
    ready(&one).await;
    let replicas = one.append(record("x")).await.unwrap().replicas;
    assert_eq!(replicas, 0, "the old master is gone");
    assert_eq!(one.replicated(SOON).await, Ok(0), "nobody is waited for");
    until("messages are heard again", async || {
        one.publish("news", Bytes::from_static(b"x")).await.ok();
        matches!(heard.try_recv(), Ok(forebay::fleet::Heard::Message { .. }))
    })
    .await;
}

#[tokio::test]
async fn p_06_a_record_whose_script_was_killed_behind_it_costs_a_life() {
    let redis = Redis::start().await;
    let fleet = node(&redis.url(), "fleet").await;
    let before = append(&fleet, mark(Grade::Hard)).await;
    let (epoch, nonce) = (before.epoch.to_string(), format!("{:016x}", before.nonce));
    let id = format!("{}-0", before.number + 1);
    let log = key("log");
    redis.command(&["XADD", &log, &id, "e", &epoch, "n", "00000000000000aa", "p", &nonce, "d", "half"]).await.text();
    // Its marks may be missing, and who meets an old entry asks for these.
    let begun = fleet.beat(&beating("one", None)).await.unwrap().place;
    assert_ne!(begun.epoch, before.epoch);
    assert!(begun.number > before.number + 1, "no number is given twice");
    let next = append(&fleet, record("next")).await;
    assert_eq!((next.epoch, next.number), (begun.epoch, begun.number + 1));
}

#[tokio::test]
async fn what_is_missing_or_damaged_begins_a_new_life() {
    let redis = Redis::start().await;
    let fleet = node(&redis.url(), "fleet").await;
    let (epoch, rid, seq, log) = (key("epoch"), key("rid"), key("seq"), key("log"));
    let newest = async |fleet: &Fleet| format!("{}-0", place(fleet).await.number);
    let damages: Vec<Vec<String>> = [
        vec!["DEL", &epoch],
        vec!["DEL", &log],
        vec!["DEL", &seq],
        vec!["DEL", &rid],
        vec!["SET", &rid, "0000000000000000000000000000000000000000"],
        vec!["SET", &log, "no stream"],
        vec!["SET", &seq, "many"],
        vec!["SET", &seq, "99999999999999999999999999"],
        vec!["XADD", &log, "*", "not", "ours"],
        vec!["XDEL", &log, "newest"],
        vec!["XTRIM", &log, "MAXLEN", "0"],
        vec!["FLUSHALL"],
    ]
    .into_iter()
    .map(|command| command.into_iter().map(str::to_owned).collect())
    .collect();
    for mut damage in damages {
        fleet.beat(&beating("one", None)).await.unwrap();
        let before = append(&fleet, mark(Grade::Hard)).await;
        if damage.last().unwrap() == "newest" {
            *damage.last_mut().unwrap() = newest(&fleet).await;
        }
        let done = redis.command(&damage).await;
        assert!(!matches!(done, Reply::Error(_)), "{damage:?}: {done:?}");
        let new = is_new(&fleet, before).await;
        let next = append(&fleet, record("x")).await;
        assert_eq!((next.epoch, next.number), (new.epoch, new.number + 1), "{damage:?}");
    }
}

#[tokio::test]
async fn damaged_notes_are_replaced_and_a_damaged_mark_voids() {
    let redis = Redis::start().await;
    let fleet = node(&redis.url(), "fleet").await;
    append(&fleet, record("x")).await;
    for last in ["nodes", "floor", "scribe", "read", &format!("t:{}", name(1))] {
        redis.command(&["DEL", &key(last)]).await.int();
        redis.command(&["RPUSH", &key(last), "x"]).await.int();
    }
    let found = fleet.newest(&[name(1), name(2)]).await.unwrap();
    let all = Newest { hard: found.place.number, ..Newest::default() };
    assert_eq!((found.floors, &found.tags[..]), (all, &[all, Newest::default()][..]), "it may hide anything");
    let beat = fleet.beat(&beating("one", None)).await.unwrap();
    assert_eq!(fleet.members().await.unwrap().nodes.len(), 1);
    let marked = Append { read_up_to: Some(("feed".into(), "1-0".into())), ..mark(Grade::Soft) };
    let marked = append(&fleet, marked).await;
    assert_eq!(marked.epoch, beat.place.epoch, "none of these is worth a new life");
    let found = fleet.newest(&[name(1)]).await.unwrap();
    let soft = Newest { soft: marked.number, ..Newest::default() };
    assert_eq!((found.floors, found.tags[0]), (soft, soft));
}

#[tokio::test]
async fn marks_outlive_entries_and_then_go() {
    let redis = Redis::start().await;
    let mut settings = RedisSettings::new(redis.url());
    settings.namespace = "fleet".to_owned();
    settings.marks_ttl = Duration::from_secs(100);
    let fleet = start(settings);
    ready(&fleet).await;
    append(&fleet, mark(Grade::Soft)).await;
    let left = redis.command(&["PTTL", &key(&format!("t:{}", name(1)))]).await.int();
    assert!((90_000..=100_000).contains(&left), "{left}");
    for last in ["log", "epoch", "rid", "seq", "floor", "since"] {
        assert_eq!(redis.command(&["PTTL", &key(last)]).await.int(), -1, "{last}");
    }
}

#[tokio::test]
async fn the_log_is_trimmed_and_its_newest_record_stays() {
    let redis = Redis::start().await;
    let mut settings = RedisSettings::new(redis.url());
    settings.log_retention = 16;
    let fleet = start(settings);
    ready(&fleet).await;
    let mut last = place(&fleet).await;
    for _ in 0..400 {
        last = append(&fleet, record("x")).await;
    }
    let log = fleet.read_after(0).await.unwrap();
    assert!((16..=220).contains(&log.len()), "{}", log.len());
    assert_eq!(log.last().unwrap().place, last);
}

#[tokio::test]
async fn a_ledger_that_may_forget_is_not_relied_upon() {
    let redis = Redis::start_with(&["--maxmemory", "64mb", "--maxmemory-policy", "allkeys-lru"]).await;
    let fleet = node(&redis.url(), "fleet").await;
    until("it is noticed", async || fleet.stats().unwrap().evicts == Some(true)).await;
    let Err(FleetError::Refused(why)) = fleet.newest(&[name(1)]).await else { panic!("marks may be gone") };
    assert!(why.contains("maxmemory-policy noeviction"), "{why}");
    append(&fleet, mark(Grade::Hard)).await;
    redis.command(&["CONFIG", "SET", "maxmemory-policy", "noeviction"]).await.is_ok();
    until("that it was put right is noticed", async || fleet.stats().unwrap().evicts == Some(false)).await;
    fleet.newest(&[name(1)]).await.unwrap();
}

#[tokio::test]
async fn a_ledger_of_its_own_does_not_hold_up_entries() {
    let (entries, ledger) = (Redis::start().await, Redis::start().await);
    let mut settings = RedisSettings::new(entries.url());
    settings.ledger_url = Some(ledger.url());
    settings.namespace = "fleet".to_owned();
    let fleet = start(settings);
    ready(&fleet).await;
    let marked = append(&fleet, mark(Grade::Hard)).await;
    assert_eq!(entries.command(&["EXISTS", &key("log")]).await.int(), 0);
    let time = fleet.beat(&beating("one", None)).await.unwrap().time;
    let put = Put {
        name: name(1),
        epoch: marked.epoch,
        born: marked.number - 1,
        expires: time + SOON,
        bytes: Bytes::from_static(b"x"),
        tags: vec![name(1)],
    };
    assert_eq!(fleet.put(put).await, Ok(Kept::Yes), "there, only whoever reads it can know");
    assert_eq!(ledger.command(&["DBSIZE"]).await.int(), 9, "epoch rid seq log floor since nodes scribe, and the mark");
    ledger.kill();
    until("the entry is read without the ledger", async || fleet.get(name(1), 9).await.is_ok_and(|it| it.is_some()))
        .await;
}

#[tokio::test]
async fn l2_06_a_value_of_another_type_or_size_is_an_error_of_its_own() {
    let redis = Redis::start().await;
    let fleet = node(&redis.url(), "fleet").await;
    let entry = |byte| format!("fleet:e:{}", name(byte));
    redis.command(&["RPUSH", &entry(1), "x"]).await.int();
    for _ in 0..50 {
        assert!(matches!(fleet.get(name(1), 9).await, Err(FleetError::Refused(why)) if why.starts_with("WRONGTYPE")));
    }
    assert_eq!(fleet.get(name(2), 9).await, Ok(None), "the breaker is of no such mind");
    assert_eq!(fleet.stats().unwrap().errors_of("WRONGTYPE"), 50);
    redis.command(&["SET", &entry(2), "short"]).await.is_ok();
    assert_eq!(fleet.get(name(2), 9).await, Ok(Some(Bytes::new())), "no record, and whoever reads it says so");
    // 300 MiB, of which 34 bytes travel.
    redis.command(&["SETRANGE", &entry(3), "314572799", "x"]).await.int();
    let started = instant();
    let mut found = None;
    until("the beginning is read", async || {
        found = fleet.get(name(3), 9).await.ok().flatten();
        found.is_some()
    })
    .await;
    assert_eq!(found.unwrap().len(), 10);
    assert!(started.elapsed() < Duration::from_secs(2));
}

#[tokio::test]
async fn r_09_a_full_server_refuses_entries_and_takes_changes_and_heartbeats() {
    let redis = Redis::start().await;
    let fleet = node(&redis.url(), "fleet").await;
    let now = append(&fleet, record("x")).await;
    redis.command(&["CONFIG", "SET", "maxmemory", "1"]).await.is_ok();
    let time = fleet.beat(&beating("one", None)).await.unwrap().time;
    let entry = |born| Put {
        name: name(1),
        epoch: now.epoch,
        born,
        expires: time + Duration::from_mins(1),
        bytes: Bytes::from_static(b"an entry"),
        tags: Vec::new(),
    };
    for round in 1..=30 {
        let error = fleet.put(entry(now.number)).await.unwrap_err();
        assert!(matches!(&error, FleetError::Refused(why) if why.starts_with("OOM")), "{error}");
        assert_eq!(fleet.get(name(1), 9).await, Ok(None));
        assert_eq!(append(&fleet, record("x")).await.number, now.number + round, "changes are small, and never wait");
        assert_eq!(fleet.beat(&beating("one", None)).await.unwrap().place.number, now.number + round);
    }
    assert_eq!(fleet.stats().unwrap().errors_of("OOM"), 30);
    redis.command(&["CONFIG", "SET", "maxmemory", "0"]).await.is_ok();
    assert_eq!(fleet.put(entry(now.number)).await, Ok(Kept::Yes));
}

#[tokio::test]
async fn scripts_that_a_server_does_not_know_are_told_again() {
    let redis = Redis::start().await;
    let fleet = node(&redis.url(), "fleet").await;
    append(&fleet, record("x")).await;
    redis.command(&["SCRIPT", "FLUSH"]).await.is_ok();
    append(&fleet, record("x")).await;
    assert_eq!(fleet.stats().unwrap().errors_of("other"), 0);
}

#[tokio::test]
async fn with_the_last_clone_all_connections_end() {
    let redis = Redis::start().await;
    let clients = async || redis.info("connected_clients").await.unwrap().parse::<usize>().unwrap();
    let before = clients().await;
    let fleet = node(&redis.url(), "fleet").await;
    let mut heard = fleet.listen(vec!["news".to_owned()]);
    heard.recv().await.unwrap();
    until("the stream answers", async || fleet.read_stream("feed").await.is_ok()).await;
    assert_eq!(clients().await - before, 7, "two for entries, ledger, appends, watcher, subscriber, stream");
    drop((fleet, heard));
    until("they end", async || clients().await == before).await;
}
