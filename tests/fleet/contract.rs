//! What `Fleet` promises, asked of each way to share: within the process, one Redis, a cluster, and Redis under sentinels.

use std::time::Duration;

use bytes::Bytes;
use forebay::breaker::BreakerState;
use forebay::clock::Clock;
use forebay::fleet::{
    Append, Beating, Fleet, FleetError, Grade, Heard, InProcess, Kept, Lease, NEW_EPOCH, Name, Newest, Place, Put,
    RedisSettings,
};
use tokio::time::{Instant, sleep, timeout};

use super::redis::{Cluster, Redis, Sentinel};

/// How long anything may take that should happen at once: machines that run tests are busy.
pub const SOON: Duration = Duration::from_secs(10);

/// What is shared, and how to get at it from outside.
pub enum Ground {
    InProcess,
    One(Redis),
    Cluster(Cluster),
    Sentinel(Sentinel),
}

/// Two nodes of a fleet that nobody else is in.
pub struct Pair<'ground> {
    ground: &'ground Ground,
    process: InProcess,
    pub one: Fleet,
    pub two: Fleet,
}

impl Ground {
    fn url(&self) -> String {
        match self {
            Ground::InProcess => String::new(),
            Ground::One(redis) => redis.url(),
            Ground::Cluster(cluster) => cluster.url(),
            Ground::Sentinel(sentinel) => sentinel.url(),
        }
    }

    /// The server that has this key.
    async fn server(&self, key: &str) -> &Redis {
        match self {
            Ground::InProcess => unreachable!("there is no server"),
            Ground::One(redis) => redis,
            Ground::Cluster(cluster) => cluster.master_of(key).await,
            Ground::Sentinel(sentinel) => sentinel.master().await,
        }
    }

    pub async fn pair(&self) -> Pair<'_> {
        let process = InProcess::network();
        let (one, two) = if matches!(self, Ground::InProcess) {
            (Fleet::InProcess(process.clone()), Fleet::InProcess(process.another()))
        } else {
            let (url, namespace) = (self.url(), format!("test-{}", serial()));
            (node(&url, &namespace).await, node(&url, &namespace).await)
        };
        Pair { ground: self, process, one, two }
    }
}

/// A node of the fleet of that namespace, connected.
pub async fn node(url: &str, namespace: &str) -> Fleet {
    let mut settings = RedisSettings::new(url);
    namespace.clone_into(&mut settings.namespace);
    let fleet = start(settings);
    ready(&fleet).await;
    fleet
}

pub fn start(settings: RedisSettings) -> Fleet {
    Fleet::Redis(forebay::fleet::Redis::start(settings, &Clock::system()).unwrap())
}

/// Waits until all connections are open, and nobody holds back.
pub async fn ready(fleet: &Fleet) {
    until("the fleet is connected", async || {
        let stats = fleet.stats().unwrap();
        stats.connected && stats.evicts.is_some() && [stats.entries, stats.ledger] == [BreakerState::Admitting; 2]
    })
    .await;
}

/// Waits for something that comes about by itself.
pub async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let started = instant();
    while !holds().await {
        assert!(started.elapsed() < SOON, "in vain: {what}");
        sleep(Duration::from_millis(5)).await;
    }
}

#[allow(clippy::disallowed_methods)] // A stopwatch.
pub fn instant() -> Instant {
    Instant::now()
}

pub fn name(byte: u8) -> Name {
    Name([byte; 16])
}

pub fn record(text: &str) -> Append {
    Append::new(Bytes::copy_from_slice(text.as_bytes()), Grade::Hard, Vec::new(), false)
}

pub fn beating(node: &str, applied: Option<Place>) -> Beating {
    Beating { node: node.to_owned(), applied, lease: Duration::from_secs(2) }
}

pub async fn place(fleet: &Fleet) -> Place {
    fleet.newest(&[]).await.unwrap().place
}

/// What time it is for the fleet.
async fn time(fleet: &Fleet) -> Duration {
    fleet.beat(&beating("clock", None)).await.unwrap().time
}

fn serial() -> usize {
    use std::sync::atomic::{AtomicUsize, Ordering};
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

macro_rules! contract {
    ($($clause:ident)*) => {
        mod in_process {
            $(#[tokio::test]
            async fn $clause() {
                super::$clause(super::Ground::InProcess.pair().await).await;
            })*
        }

        mod one_redis {
            $(#[tokio::test]
            async fn $clause() {
                let ground = super::Ground::One(super::Redis::start().await);
                super::$clause(ground.pair().await).await;
            })*
        }

        /// Starting these takes longer, so all clauses share one.
        async fn all(ground: Ground) {
            $(println!("{}", stringify!($clause));
            $clause(ground.pair().await).await;)*
        }
    };
}

contract! {
    numbers_follow_and_each_record_names_the_one_before
    a_page_begins_behind_the_number_asked_for
    whoever_waits_for_a_record_is_told
    whoever_waits_in_vain_is_told_within_a_second
    who_is_there_is_known_with_what_they_applied
    a_node_of_another_life_has_applied_nothing_of_this_one
    one_node_is_the_scribe_until_its_lease_ends
    an_entry_is_found_as_it_was_put
    a_longer_entry_is_cut_off
    an_entry_never_takes_the_place_of_one_born_later
    an_entry_goes_when_its_time_is_over
    an_entry_that_was_voided_is_refused
    marks_are_kept_by_grade
    a_lease_is_held_by_one
    a_lease_ends_by_itself
    the_first_thing_heard_is_a_gap_and_then_what_is_said
    a_stream_is_read_from_its_end_and_then_on
}

#[tokio::test]
async fn a_cluster_keeps_the_contract() {
    all(Ground::Cluster(Cluster::start().await)).await;
}

#[tokio::test]
async fn redis_under_sentinels_keeps_the_contract() {
    all(Ground::Sentinel(Sentinel::start().await)).await;
}

async fn numbers_follow_and_each_record_names_the_one_before(pair: Pair<'_>) {
    let Pair { one, two, .. } = pair;
    let begin = place(&one).await;
    let mut places = vec![begin];
    for text in ["a", "b", "c", "d"] {
        let appender = if places.len() % 2 == 0 { &one } else { &two };
        places.push(appender.append(record(text)).await.unwrap().place);
    }
    let read = two.read_after(begin.number).await.unwrap();
    assert_eq!(read.iter().map(|logged| logged.place).collect::<Vec<_>>(), places[1..]);
    for (logged, before) in read.iter().zip(&places) {
        assert_eq!(logged.place.number, before.number + 1);
        assert_eq!(logged.previous, before.nonce);
        assert_eq!(logged.place.epoch, begin.epoch);
    }
    assert_eq!(read.iter().map(|logged| &logged.bytes[..]).collect::<Vec<_>>(), [b"a", b"b", b"c", b"d"]);
    assert_eq!(place(&one).await, *places.last().unwrap());
    let first = &one.read_after(0).await.unwrap()[0];
    assert_eq!((first.place.number, &first.bytes[..], first.previous), (1, NEW_EPOCH, begin.epoch.0));
}

async fn a_page_begins_behind_the_number_asked_for(pair: Pair<'_>) {
    let begin = place(&pair.one).await.number;
    // Not text, on purpose.
    let append = Append::new(Bytes::from_static(&[0, 255, b'\r', b'\n']), Grade::Soft, vec![name(1)], true);
    pair.one.append(append).await.unwrap();
    pair.one.append(record("b")).await.unwrap();
    let page = async |number| pair.two.read_after(number).await.unwrap();
    assert_eq!(&page(begin).await[0].bytes[..], [0, 255, b'\r', b'\n']);
    assert_eq!(page(begin + 1).await.len(), 1);
    assert_eq!(page(begin + 2).await, []);
    assert_eq!(page(u64::MAX).await, []);
}

async fn whoever_waits_for_a_record_is_told(pair: Pair<'_>) {
    let begin = place(&pair.one).await.number;
    pair.one.append(record("a")).await.unwrap();
    timeout(Duration::from_millis(900), pair.two.changed(begin)).await.expect("there is one already").unwrap();
    for round in 1..=3 {
        // Somebody asked before and went away.
        drop(timeout(Duration::from_millis(10), pair.two.changed(begin + round)).await);
        let appended = async {
            sleep(Duration::from_millis(50)).await;
            pair.one.append(record("b")).await.unwrap();
            instant()
        };
        let told = async {
            pair.two.changed(begin + round).await.unwrap();
            instant()
        };
        let (appended, told) = tokio::join!(appended, told);
        assert!(told.saturating_duration_since(appended) < Duration::from_millis(500), "round {round}");
        assert_eq!(pair.two.read_after(begin + round).await.unwrap().len(), 1);
    }
}

async fn whoever_waits_in_vain_is_told_within_a_second(pair: Pair<'_>) {
    let begin = place(&pair.one).await.number;
    timeout(Duration::from_secs(3), pair.one.changed(begin)).await.expect("a second").unwrap();
    timeout(Duration::from_secs(3), pair.one.changed(u64::MAX)).await.expect("a second").unwrap();
}

async fn who_is_there_is_known_with_what_they_applied(pair: Pair<'_>) {
    let Pair { one, two, .. } = pair;
    let first = one.beat(&beating("one", None)).await.unwrap();
    one.beat(&beating("one", Some(first.place))).await.unwrap();
    let appended = two.append(record("a")).await.unwrap().place;
    let second = two.beat(&beating("two", None)).await.unwrap();
    assert_eq!(second.place, appended);
    assert!(second.time >= first.time);
    let told = async || {
        let members = one.members().await.unwrap();
        assert_eq!(members.epoch, appended.epoch);
        assert!(members.epoch_age < SOON);
        for member in &members.nodes {
            assert!(member.lease_left > Duration::from_secs(1) && member.lease_left <= Duration::from_secs(2));
            assert_eq!(member.lapsed, Duration::ZERO);
        }
        members.nodes.into_iter().map(|member| (member.node, member.applied)).collect::<Vec<_>>()
    };
    let row = |node: &str, applied| (node.to_owned(), applied);
    // Whoever has not said what it has applied of this life may still go on by what it knew.
    assert_eq!(told().await, [row("one", first.place.number), row("two", 0)]);
    two.beat(&beating("two", Some(appended))).await.unwrap();
    one.beat(&beating("one", Some(appended))).await.unwrap();
    assert_eq!(told().await, [row("one", appended.number), row("two", appended.number)]);
    let short = Beating { lease: Duration::from_millis(30), ..beating("one", Some(appended)) };
    one.beat(&short).await.unwrap();
    sleep(Duration::from_millis(60)).await;
    let members = two.members().await.unwrap();
    assert_eq!(members.nodes[0].lease_left, Duration::ZERO);
    assert!(members.nodes[0].lapsed > Duration::ZERO);
}

async fn a_node_of_another_life_has_applied_nothing_of_this_one(pair: Pair<'_>) {
    let now = pair.one.append(record("a")).await.unwrap().place;
    let mut other = now;
    (other.epoch.0, other.number) = (now.epoch.0 ^ 1, now.number + 40);
    pair.one.beat(&beating("one", Some(other))).await.unwrap();
    assert_eq!(pair.one.members().await.unwrap().nodes[0].applied, 0);
}

async fn one_node_is_the_scribe_until_its_lease_ends(pair: Pair<'_>) {
    let Pair { one, two, .. } = pair;
    let beat = async |fleet: &Fleet, node: &str, lease: u64| {
        let beating = Beating { lease: Duration::from_millis(lease), ..beating(node, None) };
        fleet.beat(&beating).await.unwrap().scribe
    };
    let append = |node: &str| Append { as_scribe: Some(node.to_owned()), ..record("a") };
    assert_eq!(one.append(append("one")).await, Err(FleetError::NotScribe), "nobody is the scribe");
    assert!(beat(&one, "one", 2_000).await);
    assert!(!beat(&two, "two", 2_000).await);
    let number = one.append(append("one")).await.unwrap().place.number;
    assert_eq!(two.append(append("two")).await, Err(FleetError::NotScribe));
    assert!(beat(&one, "one", 100).await, "it is renewed");
    sleep(Duration::from_millis(200)).await;
    assert_eq!(one.append(append("one")).await, Err(FleetError::NotScribe), "its time is over");
    assert!(beat(&two, "two", 2_000).await);
    assert!(!beat(&one, "one", 2_000).await);
    assert_eq!(two.append(append("two")).await.unwrap().place.number, number + 1);
}

async fn put(fleet: &Fleet, place: Place, born: u64, text: &str, tags: &[Name]) -> Kept {
    let expires = time(fleet).await + SOON;
    let bytes = Bytes::copy_from_slice(text.as_bytes());
    let put = Put { name: name(7), epoch: place.epoch, born, expires, bytes, tags: tags.to_vec() };
    fleet.put(put).await.unwrap()
}

async fn an_entry_is_found_as_it_was_put(pair: Pair<'_>) {
    let now = place(&pair.one).await;
    assert!(pair.one.shares_entries());
    assert_eq!(pair.two.get(name(7), 100).await, Ok(None));
    assert_eq!(put(&pair.one, now, now.number, "hello", &[]).await, Kept::Yes);
    assert_eq!(pair.two.get(name(7), 100).await, Ok(Some(Bytes::from_static(b"hello"))));
    assert_eq!(pair.two.get(name(8), 100).await, Ok(None));
    let large: Bytes = (0..300_000_u32).flat_map(u32::to_le_bytes).collect();
    let expires = time(&pair.one).await + SOON;
    let entry =
        Put { name: name(9), epoch: now.epoch, born: now.number, expires, bytes: large.clone(), tags: Vec::new() };
    assert_eq!(pair.one.put(entry).await, Ok(Kept::Yes));
    until("the large one is read in time", async || pair.two.get(name(9), 2_000_000).await == Ok(Some(large.clone())))
        .await;
}

async fn a_longer_entry_is_cut_off(pair: Pair<'_>) {
    let now = place(&pair.one).await;
    put(&pair.one, now, now.number, "0123456789", &[]).await;
    for (limit, length) in [(0, 1), (9, 10), (10, 10), (usize::MAX, 10)] {
        let found = pair.two.get(name(7), limit).await.unwrap().unwrap();
        assert_eq!(found, b"0123456789"[..length], "{limit}");
    }
}

async fn an_entry_never_takes_the_place_of_one_born_later(pair: Pair<'_>) {
    let Pair { one, two, .. } = pair;
    // High enough that bytes and not digits decide.
    let now = place(&one).await;
    for (born, text, kept, there) in [
        (256, "a", Kept::Yes, "a"),
        (255, "b", Kept::Outranked, "a"),
        (256, "c", Kept::Yes, "c"),
        (1_000_000, "d", Kept::Yes, "d"),
        (999_999, "e", Kept::Outranked, "d"),
    ] {
        assert_eq!(put(&one, now, born, text, &[]).await, kept, "{text}");
        assert_eq!(two.get(name(7), 9).await.unwrap().unwrap(), there.as_bytes());
    }
}

async fn an_entry_goes_when_its_time_is_over(pair: Pair<'_>) {
    let now = place(&pair.one).await;
    let time = time(&pair.one).await;
    let entry = |expires| Put {
        name: name(7),
        epoch: now.epoch,
        born: now.number,
        expires,
        bytes: Bytes::from_static(b"x"),
        tags: Vec::new(),
    };
    assert_eq!(pair.one.put(entry(time)).await, Ok(Kept::Expired));
    assert_eq!(pair.one.get(name(7), 9).await, Ok(None));
    assert_eq!(pair.one.put(entry(time + Duration::from_millis(300))).await, Ok(Kept::Yes));
    until("it goes", async || pair.two.get(name(7), 9).await == Ok(None)).await;
}

async fn an_entry_that_was_voided_is_refused(pair: Pair<'_>) {
    if matches!(pair.ground, Ground::Cluster(_)) {
        // There, the marks are elsewhere: whoever reads the entry checks them.
        return;
    }
    let Pair { one, two, .. } = pair;
    let before = place(&one).await;
    let mark =
        |grade, tags: &[Name], everything| Append::new(Bytes::from_static(b"x"), grade, tags.to_vec(), everything);
    one.append(mark(Grade::Soft, &[name(1)], true)).await.unwrap();
    one.append(mark(Grade::Check, &[name(1)], true)).await.unwrap();
    assert_eq!(put(&two, before, before.number, "a", &[name(1)]).await, Kept::Yes, "only hard marks void");
    let hard = one.append(mark(Grade::Hard, &[name(1), name(2)], false)).await.unwrap().place;
    assert_eq!(put(&two, before, before.number, "b", &[name(3), name(2)]).await, Kept::Void);
    assert_eq!(put(&two, before, before.number, "c", &[name(3)]).await, Kept::Yes);
    assert_eq!(put(&two, before, hard.number, "d", &[name(2)]).await, Kept::Yes, "born at the mark is not before it");
    one.append(mark(Grade::Hard, &[], true)).await.unwrap();
    assert_eq!(put(&two, before, hard.number, "e", &[]).await, Kept::Void);
    let mut other = place(&one).await;
    other.epoch.0 ^= 1;
    assert_eq!(put(&two, other, other.number, "f", &[]).await, Kept::Void, "of another life");
}

async fn marks_are_kept_by_grade(pair: Pair<'_>) {
    let Pair { one, two, .. } = pair;
    assert_eq!(two.newest(&[name(1)]).await.unwrap().tags, [Newest::default()]);
    let append = async |grade, tags: &[Name], everything| {
        let append = Append::new(Bytes::from_static(b"x"), grade, tags.to_vec(), everything);
        one.append(append).await.unwrap().place
    };
    let hard = append(Grade::Hard, &[name(1), name(2)], false).await.number;
    let soft = append(Grade::Soft, &[name(1)], false).await.number;
    let check = append(Grade::Check, &[name(2)], true).await.number;
    let last = append(Grade::Hard, &[name(2)], false).await;
    let found = two.newest(&[name(2), name(3), name(1)]).await.unwrap();
    assert_eq!(found.place, last);
    assert_eq!(found.floors, Newest { check, ..Newest::default() });
    let expected = [Newest { hard: last.number, check, soft: 0 }, Newest::default(), Newest { hard, check: 0, soft }];
    assert_eq!(found.tags, expected);
}

async fn a_lease_is_held_by_one(pair: Pair<'_>) {
    let Pair { one, two, .. } = pair;
    let term = Duration::from_secs(5);
    assert_eq!(one.lease(name(1), 1, term).await, Ok(Lease::Granted));
    let Ok(Lease::Held(left)) = two.lease(name(1), 2, term).await else { panic!("it is held") };
    assert!(left > Duration::from_secs(3) && left <= term, "{left:?}");
    assert_eq!(two.lease(name(2), 2, term).await, Ok(Lease::Granted), "of another name");
    two.release(name(1), 2, None).await.unwrap();
    assert!(matches!(two.lease(name(1), 2, term).await, Ok(Lease::Held(_))), "only the holder gives it back");
    one.release(name(1), 1, None).await.unwrap();
    assert_eq!(two.lease(name(1), 2, term).await, Ok(Lease::Granted));
    two.release(name(1), 2, Some(Duration::from_millis(200))).await.unwrap();
    assert_eq!(one.lease(name(1), 3, term).await, Ok(Lease::Pointless));
    until("it is worth asking again", async || one.lease(name(1), 3, term).await == Ok(Lease::Granted)).await;
}

async fn a_lease_ends_by_itself(pair: Pair<'_>) {
    assert_eq!(pair.one.lease(name(1), u64::MAX, Duration::from_millis(100)).await, Ok(Lease::Granted));
    assert!(matches!(pair.two.lease(name(1), 2, SOON).await, Ok(Lease::Held(_))));
    until("it ends", async || pair.two.lease(name(1), 2, SOON).await == Ok(Lease::Granted)).await;
    pair.one.release(name(1), u64::MAX, None).await.unwrap();
    assert!(matches!(pair.one.lease(name(1), 3, SOON).await, Ok(Lease::Held(_))), "a late release takes nothing away");
}

async fn the_first_thing_heard_is_a_gap_and_then_what_is_said(pair: Pair<'_>) {
    let channel = |last: &str| format!("tenant:{}:{last}", serial());
    let mut heard = pair.one.listen(vec!["tenant:*:users".to_owned(), "news".to_owned()]);
    assert_eq!(timeout(SOON, heard.recv()).await.expect("a gap"), Some(Heard::Gap));
    let mut later = pair.one.listen(vec!["tenant:*".to_owned()]);
    let users = channel("users");
    for said in ["a", "b", "c"] {
        pair.two.publish(&users, Bytes::copy_from_slice(said.as_bytes())).await.unwrap();
    }
    pair.two.publish(&channel("roles"), Bytes::from_static(b"for others")).await.unwrap();
    pair.two.publish("news", Bytes::from_static(&[0, 255])).await.unwrap();
    assert_eq!(timeout(SOON, later.recv()).await.expect("a gap"), Some(Heard::Gap));
    // What is said on different channels may be heard in another order: in a cluster it comes from different servers.
    let (mut payloads, mut news) = (Vec::new(), None);
    while payloads.len() < 3 || news.is_none() {
        match timeout(SOON, heard.recv()).await.expect("what was said") {
            // Two subscriptions match it while the second listener is there.
            Some(Heard::Message { payload, .. }) if payloads.last() == Some(&payload) => {}
            Some(Heard::Message { channel, payload }) if channel == "news" => news = Some(payload),
            Some(Heard::Message { channel, payload }) => {
                assert_eq!(channel, users);
                payloads.push(payload);
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(payloads, [&b"a"[..], b"b", b"c"]);
    assert_eq!(news.as_deref(), Some(&[0, 255][..]));
}

async fn a_stream_is_read_from_its_end_and_then_on(pair: Pair<'_>) {
    let stream = format!("feed-{}", serial());
    let write = async |value: &str| match pair.ground {
        Ground::InProcess => {
            pair.process.write_stream(&stream, vec![("v".to_owned(), Bytes::copy_from_slice(value.as_bytes()))]);
        }
        ground => drop(ground.server(&stream).await.command(&["XADD", &stream, "*", "v", value]).await.text()),
    };
    write("before").await;
    let first = async || {
        let mut last = Vec::new();
        until("the stream answers", async || {
            let read = pair.one.read_stream(&stream).await;
            read.map(|read| last = read).is_ok()
        })
        .await;
        last
    };
    assert_eq!(first().await, []);
    write("a").await;
    write("b").await;
    let read = pair.one.read_stream(&stream).await.unwrap();
    assert_eq!(read.iter().map(|record| &record.fields[0].1[..]).collect::<Vec<_>>(), [b"a", b"b"]);
    assert_eq!(read[0].fields[0].0, "v");
    let append = Append { read_up_to: Some((stream.clone(), read[0].id.clone())), ..record("x") };
    pair.one.append(append).await.unwrap();
    let again = pair.one.read_stream(&stream).await.unwrap();
    assert_eq!(again, read[1..], "only what the log has not taken over is read again");
}
