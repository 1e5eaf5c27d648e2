//! Shared entries that somebody has changed in Redis: none is served, and each is counted.
//!
//! The record itself is known to its own tests, length by length; here it is a gateway that finds it. One node shares
//! pages, which then change at the backend without a purge: whoever believes what stands in Redis serves the old version,
//! whoever does not asks the backend and serves the new one.

use std::collections::BTreeMap;
use std::time::Duration;

use super::backend::{Setting, version_in};
use super::client::Client;
use super::house::{House, at, until};
use super::redis::{Connection, Redis, Reply};

/// What stands before a record: where the entry was born, for scripts.
const PREFIX: usize = 24;
/// The record's head, and where its lengths are.
const HEAD: usize = 64;
const METADATA: usize = 24;
const FIELDS: usize = 28;
const PAYLOAD: usize = 40;
/// The proof at its end.
const PROOF: usize = 16;

/// A Redis to tamper with.
struct Ground {
    connection: Connection,
    redis: Redis,
}

/// A page that is shared.
struct Shared {
    key: String,
    value: Vec<u8>,
}

/// What becomes of a page's key: a name for it, and the command without the key, which goes into its second place.
type Tamper = (String, Vec<Vec<u8>>);

impl Ground {
    async fn start() -> Self {
        let redis = Redis::start().await;
        let connection = redis.connect().await.unwrap();
        Self { connection, redis }
    }

    /// Nodes with all the patience there is: a look-up that is given up would be no look-up.
    async fn house(redis: &Redis, namespace: &str) -> House {
        let patient = "read_timeout = \"5s\"\ncommand_timeout = \"5s\"";
        let lines = format!("{}\nnamespace = \"{namespace}\"\n{patient}", at(&redis.url()));
        let house = House::start(&[lines.clone(), lines]).await;
        house.backend.set("/t/", Setting::default().cache_control("max-age=600"));
        house
    }

    async fn ask(&mut self, command: &[Vec<u8>]) -> Reply {
        self.connection.ask(command, Duration::from_secs(10)).await.unwrap()
    }

    /// Puts something else in the place of what is there.
    async fn put(&mut self, what: &str, mut command: Vec<Vec<u8>>, key: &str) {
        self.ask(&[b"DEL".into(), key.into()]).await;
        command.insert(1, key.into());
        let done = self.ask(&command).await;
        assert!(!matches!(done, Reply::Error(_)), "{what}: {done:?}");
    }

    /// Has the first node of `house` share so many pages; each as it stands in Redis.
    async fn share(&mut self, house: &House, namespace: &str, pages: usize) -> Vec<Shared> {
        let mut client = Client::connect(house.nodes[0].address()).await;
        for page in 0..pages {
            assert_eq!(client.get(&path(page)).await.status, 200);
        }
        let pattern = format!("{namespace}:e:*");
        until("all are shared", async || self.redis.command(&["KEYS", &pattern]).await.items().len() == pages).await;
        let mut shared = BTreeMap::new();
        for key in self.redis.command(&["KEYS", &pattern]).await.items() {
            let key = key.text();
            let Reply::Bulk(value) = self.ask(&[b"GET".into(), key.clone().into()]).await else {
                panic!("no string: {key}")
            };
            let text = String::from_utf8_lossy(&value).into_owned();
            let (_, rest) = text.split_once("/t/").expect("its key");
            shared.insert(rest[..4].parse::<usize>().unwrap(), Shared { key, value });
        }
        assert_eq!(shared.len(), pages);
        shared.into_values().collect()
    }

    /// Has pages tampered with, and the second node asked for them: it serves what the backend says now, and counts so many
    /// refusals at the least, all for one of these reasons. A page that nobody touched is found as it was shared.
    async fn refuses(&mut self, tampers: impl FnOnce(&[Shared]) -> Vec<Tamper>, pages: usize, reasons: &[&str]) {
        let house = Self::house(&self.redis, "forebay").await;
        let shared = self.share(&house, "forebay", pages + 1).await;
        let tampers = tampers(&shared);
        assert!(tampers.len() <= pages);
        for ((what, command), Shared { key, .. }) in tampers.iter().zip(&shared) {
            self.put(what, command.clone(), key).await;
        }
        let mut client = Client::connect(house.nodes[1].address()).await;
        for (page, (what, _)) in tampers.iter().enumerate() {
            assert_eq!(house.backend.raise(&path(page)), 2);
            let answer = client.get(&path(page)).await;
            assert_eq!((answer.status, version_in(&answer.text(), &path(page))), (200, 2), "{what}: {answer:?}");
            assert!(!answer.head.contains("detail=shared"), "{what}: {answer:?}");
        }
        house.backend.raise(&path(pages));
        let untouched = client.get(&path(pages)).await;
        assert_eq!(version_in(&untouched.text(), &path(pages)), 1, "what nobody touched is believed");
        let told = house.metric(1, "forebay_shared_refusals_total").await;
        let mut known = 0.0;
        for reason in reasons {
            known += house.metric(1, &format!("forebay_shared_refusals_total{{reason=\"{reason}\"}}")).await;
        }
        let seen = counted(tampers.len());
        assert!(known >= seen && (told - known).abs() < 0.5, "{known} of {told} refusals for {reasons:?}, not {seen}");
        house.is_well();
    }
}

/// As metrics are.
pub fn counted(number: usize) -> f64 {
    f64::from(u32::try_from(number).unwrap())
}

fn path(page: usize) -> String {
    format!("/t/{page:04}")
}

/// In place of the value: this one.
fn set(what: impl Into<String>, value: Vec<u8>) -> Tamper {
    (what.into(), vec![b"SET".into(), value])
}

/// A value whose record is proven again after a change: the proof is no secret unless it is a seal.
fn proven(mut value: Vec<u8>) -> Vec<u8> {
    let end = value.len() - PROOF;
    let digest = ring::digest::digest(&ring::digest::SHA256, &value[PREFIX..end]);
    value[end..].copy_from_slice(&digest.as_ref()[..PROOF]);
    value
}

fn number(value: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(value[PREFIX + at..PREFIX + at + 4].try_into().unwrap())
}

/// The value with other bytes at this place of the record, proven.
fn with(value: &[u8], at: usize, bytes: &[u8]) -> Vec<u8> {
    let mut value = value.to_vec();
    value[PREFIX + at..PREFIX + at + bytes.len()].copy_from_slice(bytes);
    proven(value)
}

/// The value with another name for one of the answer's fields, proven.
fn with_name(value: &[u8], from: &str, to: &str) -> Vec<u8> {
    let sized = |name: &str| [&u32::try_from(name.len()).unwrap().to_be_bytes()[..], name.as_bytes()].concat();
    let (old, new) = (sized(from), sized(to));
    let at = value.windows(old.len()).position(|some| some == old).expect("the field");
    let mut changed = [&value[..at], &new, &value[at + old.len()..]].concat();
    let fields = number(value, FIELDS) + u32::try_from(new.len()).unwrap() - u32::try_from(old.len()).unwrap();
    changed[PREFIX + FIELDS..PREFIX + FIELDS + 4].copy_from_slice(&fields.to_be_bytes());
    let payload = u64::try_from(changed.len() - PREFIX - HEAD - PROOF).unwrap();
    changed[PREFIX + PAYLOAD..PREFIX + PAYLOAD + 8].copy_from_slice(&payload.to_be_bytes());
    proven(changed)
}

/// The value with another status, which stands behind the name, the namespace, the key, and what varies.
fn with_status(value: &[u8], status: u16) -> Vec<u8> {
    let mut at = HEAD + 16;
    for _ in 0..3 {
        at += 4 + usize::try_from(number(value, at)).unwrap();
    }
    assert_eq!(value[PREFIX + at..PREFIX + at + 2], 200_u16.to_be_bytes());
    with(value, at, &status.to_be_bytes())
}

#[tokio::test]
async fn l2_01_of_a_record_with_any_byte_flipped_nothing_is_served() {
    // More pages than a record is long.
    const PAGES: usize = 640;
    let flipped = |shared: &[Shared]| {
        let flip = |(at, shared): (usize, &Shared)| {
            let mut value = shared.value.clone();
            let byte = value.get_mut(PREFIX + at)?;
            *byte ^= 0xff;
            Some(set(format!("byte {at}"), value))
        };
        let all: Vec<_> = shared[..PAGES].iter().enumerate().map_while(flip).collect();
        assert!(all.len() > 200 && all.len() < PAGES, "{} bytes", all.len());
        all
    };
    let reasons = [
        "checksum",
        "magic",
        "newer",
        "older",
        "malformed",
        "truncated",
        "trailing",
        "too-large",
        "unsealed",
        "no-key",
    ];
    Ground::start().await.refuses(flipped, PAGES, &reasons).await;
}

#[tokio::test]
async fn l2_02_of_a_record_of_any_other_length_nothing_is_served() {
    const PAGES: usize = 120;
    let cut = |shared: &[Shared]| {
        let step = shared[0].value.len() / (PAGES - 2);
        let lengths = shared[..PAGES - 2].iter().enumerate().map(|(number, shared)| {
            let length = (1 + number * step).min(shared.value.len() - 1);
            set(format!("{length} bytes"), shared.value[..length].to_vec())
        });
        let mut all: Vec<_> = lengths.collect();
        for (more, shared) in [1, 10_000].into_iter().zip(&shared[PAGES - 2..]) {
            all.push(set(format!("{more} more"), [&shared.value[..], &vec![0; more]].concat()));
        }
        all
    };
    Ground::start().await.refuses(cut, PAGES, &["empty", "truncated", "trailing", "malformed"]).await;
}

#[tokio::test]
async fn l2_02_what_is_no_string_or_an_empty_one_is_a_miss() {
    let mut ground = Ground::start().await;
    let others: [&[&str]; 5] =
        [&["SET", ""], &["RPUSH", "x"], &["HSET", "field", "x"], &["SADD", "x"], &["XADD", "*", "field", "x"]];
    // An empty string and none are the same to who asks for a range of it; what has another type is an error of Redis.
    let house = Ground::house(&ground.redis, "forebay").await;
    let shared = ground.share(&house, "forebay", 5).await;
    for (words, Shared { key, .. }) in others.into_iter().zip(&shared) {
        ground.put(words[0], words.iter().map(|word| word.as_bytes().to_vec()).collect(), key).await;
    }
    let mut client = Client::connect(house.nodes[1].address()).await;
    for page in 0..5 {
        house.backend.raise(&path(page));
        assert_eq!(version_in(&client.get(&path(page)).await.text(), &path(page)), 2);
    }
    assert!(house.errors(1, "WRONGTYPE").await >= 4.0);
    house.is_well();
}

#[tokio::test]
async fn l2_03_a_record_that_was_copied_to_another_key_is_not_served() {
    let moved = |shared: &[Shared]| {
        let other = |page: usize| set(format!("that of page {page}"), shared[page].value.clone());
        vec![other(1), other(0), other(3)]
    };
    Ground::start().await.refuses(moved, 3, &["key"]).await;
}

#[tokio::test]
async fn l2_03_a_record_of_another_namespace_is_not_served() {
    let mut ground = Ground::start().await;
    let staging = Ground::house(&ground.redis, "staging").await;
    let there = ground.share(&staging, "staging", 1).await;
    let house = Ground::house(&ground.redis, "forebay").await;
    let here = ground.share(&house, "forebay", 1).await;
    assert_ne!(here[0].key, there[0].key);
    let copied = [b"SET".to_vec(), there[0].key.clone().into(), here[0].value.clone()];
    ground.ask(&copied).await.is_ok();
    staging.backend.raise(&path(0));
    let mut client = Client::connect(staging.nodes[1].address()).await;
    assert_eq!(version_in(&client.get(&path(0)).await.text(), &path(0)), 2);
    let refused = staging.metric(1, "forebay_shared_refusals_total{reason=\"namespace\"}").await;
    assert!(refused >= 1.0, "{refused}");
}

#[tokio::test]
async fn l2_05_what_no_stored_answer_says_is_not_served_however_well_it_is_proven() {
    let names =
        ["connection", "keep-alive", "transfer-encoding", "content-length", "set-cookie", "age", "Upper", "a b"];
    let said = move |shared: &[Shared]| {
        let mut pages = shared.iter().map(|shared| &shared.value[..]);
        let mut next = || pages.next().unwrap();
        let mut all: Vec<_> = names.map(|name| set(name, with_name(next(), "etag", name))).into();
        for status in [99, 101, 206, 999] {
            all.push(set(format!("status {status}"), with_status(next(), status)));
        }
        for break_ in [b"\r\n".as_slice(), b"\n", b"\0"] {
            let value = next();
            let at = value.windows(11).rposition(|some| some == b"max-age=600").expect("the value");
            all.push(set(format!("{break_:?} in a value"), with(value, at - PREFIX, break_)));
        }
        all
    };
    Ground::start().await.refuses(said, names.len() + 7, &["framing", "set-cookie", "field", "status"]).await;
}

#[tokio::test]
async fn l2_05_what_is_proven_again_is_believed_where_it_says_nothing_amiss() {
    let mut ground = Ground::start().await;
    let house = Ground::house(&ground.redis, "forebay").await;
    let shared = ground.share(&house, "forebay", 1).await;
    let value = with_name(&with_status(&shared[0].value, 200), "etag", "x-planted");
    ground.ask(&[b"SET".to_vec(), shared[0].key.clone().into(), value]).await.is_ok();
    house.backend.raise(&path(0));
    let answer = Client::connect(house.nodes[1].address()).await.get(&path(0)).await;
    assert_eq!((version_in(&answer.text(), &path(0)), answer.field("x-planted").as_deref()), (1, Some("\"1\"")));
}

#[tokio::test]
async fn l2_06_what_is_huge_or_says_so_is_refused_before_anything_is_allocated() {
    let mut ground = Ground::start().await;
    let house = Ground::house(&ground.redis, "forebay").await;
    let shared = ground.share(&house, "forebay", 6).await;
    let large = u64::MAX / 2 + 1;
    let fields = HEAD + usize::try_from(number(&shared[2].value, METADATA)).unwrap();
    let said = [
        with(&shared[0].value, PAYLOAD, &large.to_be_bytes()),
        with(&shared[1].value, FIELDS + 4, &large.to_be_bytes()),
        with(&shared[2].value, fields, &1_000_000_u32.to_be_bytes()),
        with(&shared[3].value, METADATA, &u32::MAX.to_be_bytes()),
    ];
    for (Shared { key, .. }, value) in shared.iter().zip(said) {
        ground.ask(&[b"SET".to_vec(), key.clone().into(), value]).await.is_ok();
    }
    // 300 MiB that begin as a record does.
    let end = (300 << 20) - 1;
    ground.ask(&[b"SETRANGE".to_vec(), shared[4].key.clone().into(), end.to_string().into(), b"x".into()]).await.int();
    let before = house.resident(1);
    let mut client = Client::connect(house.nodes[1].address()).await;
    for page in 0..5 {
        house.backend.raise(&path(page));
        assert_eq!(version_in(&client.get(&path(page)).await.text(), &path(page)), 2, "{page}");
    }
    let grown = house.resident(1).saturating_sub(before);
    assert!(grown < 16 * 1024, "{grown} KiB more in memory");
    assert!(house.metric(1, "forebay_shared_refusals_total").await >= 5.0);
    house.backend.raise(&path(5));
    assert_eq!(version_in(&client.get(&path(5)).await.text(), &path(5)), 1, "what nobody touched is believed");
}
