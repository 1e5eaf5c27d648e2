//! Records that come back as they were, and records that must not be believed.

mod properties;

use std::sync::Arc;

use super::super::samples::{born, key, parts, vary};
use super::super::{EntryParts, Names};
use super::*;
use crate::rfc::Coding;
use http::HeaderValue;

const NAMESPACE: &str = "forebay";
const LIMITS: Limits =
    Limits { max_object: 8 << 20, max_ttl: Duration::from_hours(24), max_stale: Duration::from_hours(48) };

/// Where the body's length and the payload's stand in a record.
const METADATA_AT: usize = 24;
const BODY_AT: usize = 32;
const PAYLOAD_AT: usize = 40;

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

/// A node: its clocks, its idea of the fleet's clock, its seal.
struct Node {
    now: Moment,
    timebase: Timebase,
    seal: Option<SealKeys>,
}

impl Node {
    /// Ten seconds after its start, when the sample entries (received at its second 0) are as old.
    fn new() -> Self {
        let now = Moment { wall: secs(1_000_010), mono: secs(10) };
        Self { now, timebase: Timebase::new(secs(5_000_010), secs(10)), seal: None }
    }

    fn sealed(keys: &[&str]) -> Self {
        Self { seal: Some(SealKeys::parse(keys).expect("a ring")), ..Self::new() }
    }

    fn name(&self, key: &CacheKey) -> EntryName {
        Names::new(NAMESPACE, self.seal.as_ref()).primary(key)
    }

    fn wrapping(&self) -> Wrapping<'_> {
        Wrapping { namespace: NAMESPACE, compress_above: COMPRESS_ABOVE, seal: self.seal.as_ref() }
    }

    fn write(&self, entry: &Entry) -> Result<Bytes, Refusal> {
        encode(entry, self.name(&entry.key), &self.wrapping(), self.timebase)
    }

    fn expected<'a>(&'a self, key: &'a CacheKey) -> Expected<'a> {
        Expected {
            namespace: NAMESPACE,
            name: self.name(key),
            key,
            limits: LIMITS,
            now: self.now,
            timebase: self.timebase,
            seal: self.seal.as_ref(),
        }
    }

    fn read(&self, record: &[u8], key: &CacheKey) -> Result<Decoded, Refusal> {
        decode(record, &self.expected(key))
    }

    /// The refusal of a record under the key `/a`.
    fn refusal(&self, record: &[u8]) -> Option<Refusal> {
        self.read(record, &key("/a")).err()
    }
}

const KEY: &str = "0f0e0d0c0b0a090807060504030201000f0e0d0c0b0a09080706050403020100";
const NEW_KEY: &str = "abababababababababababababababababababababababababababababababab";

fn entry(body: impl Into<Bytes>) -> Entry {
    Entry::new(EntryParts { body: body.into(), ..parts("/a", 3) })
}

fn found(decoded: Result<Decoded, Refusal>) -> Entry {
    match decoded {
        Ok(Decoded::Entry(entry)) => *entry,
        other => panic!("no entry: {other:?}"),
    }
}

/// Text that does not repeat itself within the record, so that it shrinks a little but not to nothing.
fn text(length: usize) -> String {
    (0..)
        .map(|line: u32| format!("{:08x}\n", line.wrapping_mul(2_654_435_761)))
        .flat_map(String::into_bytes)
        .take(length)
        .map(char::from)
        .collect()
}

/// A plain record, a compressed one, and a sealed one, each of about 2 KiB, with the node that reads it.
fn two_kib() -> [(Node, Bytes); 3] {
    let packed = Node::new();
    let compressed = packed.write(&entry(text(3_000))).expect("written");
    let sealed = Node::sealed(&[KEY]);
    let ciphertext = sealed.write(&entry(text(3_000))).expect("written");
    let plain = packed.write(&Entry::new(image(1_700))).expect("written");
    for record in [&plain, &compressed, &ciphertext] {
        assert!((1_700..2_500).contains(&record.len()), "{}", record.len());
    }
    assert_eq!((plain[5], compressed[5], ciphertext[5]), (0, 1, 3), "flags");
    [(Node::new(), plain), (packed, compressed), (sealed, ciphertext)]
}

/// What is not worth compressing.
fn image(length: usize) -> EntryParts {
    let mut parts = EntryParts { body: text(length).into(), ..parts("/a", 3) };
    parts.headers.insert("content-type", HeaderValue::from_static("image/png"));
    parts
}

/// A record of a writer that checks nothing: `change` may do anything to metadata and header block.
fn forged(change: impl FnOnce(&mut Vec<u8>, &mut Vec<u8>)) -> Bytes {
    let node = Node::new();
    let honest = entry("body");
    let name = node.name(&honest.key);
    let mut metadata = metadata::write_entry(&honest, name, NAMESPACE, node.timebase).expect("metadata");
    let mut fields = headers::write(&honest.headers).expect("fields");
    change(&mut metadata, &mut fields);
    let blank = Blank { kind: Kind::Entry, born: born(3), name };
    wrap(&blank, &metadata, &fields, b"body", false, &node.wrapping()).expect("written")
}

/// Where the status stands in the metadata of `/a`: behind name, namespace, key and an empty vary.
const STATUS_AT: usize = 16 + (4 + NAMESPACE.len()) + (4 + 2) + (4 + 4);

/// Where the n-th of the times stands.
const fn time_at(n: usize) -> usize {
    STATUS_AT + 4 + 8 * n
}

fn forged_status(status: u16) -> Bytes {
    forged(|metadata, _| metadata[STATUS_AT..STATUS_AT + 2].copy_from_slice(&status.to_be_bytes()))
}

fn forged_times(times: &[(usize, Duration)]) -> Bytes {
    forged(|metadata, _| {
        for (n, time) in times {
            let micros = u64::try_from(time.as_micros()).expect("a time");
            metadata[time_at(*n)..time_at(*n) + 8].copy_from_slice(&micros.to_be_bytes());
        }
    })
}

fn forged_field(name: &[u8], value: &[u8]) -> Bytes {
    forged(|_, fields| {
        fields.clear();
        reading::put_count(fields, 1);
        headers::put_field(fields, 0, name, value);
    })
}

/// `record` with other bytes at `at` and a checksum that fits again.
fn patched(record: &[u8], at: usize, bytes: &[u8]) -> Vec<u8> {
    let mut record = record.to_vec();
    record[at..at + bytes.len()].copy_from_slice(bytes);
    let covered = record.len() - CHECK;
    let proof = head::checksum(&record[..covered]);
    record[covered..].copy_from_slice(&proof);
    record
}

/// Is `read` what `written` said, as far as anybody can see at `now`?
fn assert_same(read: &Entry, written: &Entry) {
    assert_eq!(read.key, written.key);
    assert_eq!(read.vary, written.vary);
    assert_eq!(read.status, written.status);
    assert_eq!(read.headers, written.headers);
    let sensitive = |entry: &Entry| entry.headers.values().map(HeaderValue::is_sensitive).collect::<Vec<_>>();
    assert_eq!(sensitive(read), sensitive(written));
    assert_eq!(read.body, written.body);
    assert_eq!((&read.tags, &read.marks), (&written.tags, &written.marks));
    assert_eq!((read.born, read.coding, read.compressible), (written.born, written.coding, written.compressible));
    let plain = |facts: &StoredFacts| StoredFacts {
        age_at_receipt: Duration::ZERO,
        received: Moment { wall: Duration::ZERO, mono: Duration::ZERO },
        ..facts.clone()
    };
    assert_eq!(plain(&read.facts), plain(&written.facts));
}

/// A record of each version there has been, as it was written then.
const SAMPLES: &[(u8, &str)] = &[(
    1,
    concat!(
        "4642415901000100000000000000000700000000000000030000009600000033000000000000000400000000000000cd",
        "00000000000000000000000000000000d9dce4502464af4f0f4375ce61070ab100000007666f7265626179000000022f",
        "610000001e010000000f0000006163636570742d6c616e67756167650102000000646500c81004000000000393870000",
        "000000000000000000048c27395000000000e8d4a510000000000001c9c3800000000000000000000000000000000000",
        "0000020000000675726c3a2f61000000057461673a7800000002000000000c636f6e74656e742d747970650000000a74",
        "6578742f706c61696e00000000046574616700000003223122626f6479b239418caa89603d8aaedef920acfd5a",
    ),
)];

#[test]
fn every_version_there_has_been_is_read() {
    let versions: Vec<u8> = SAMPLES.iter().map(|(version, _)| *version).collect();
    assert_eq!(versions, (OLDEST..=VERSION).collect::<Vec<_>>());
    let written = Entry::new(EntryParts { vary: vary(&[("accept-language", "de")]), ..parts("/a", 3) });
    for (version, hex) in SAMPLES {
        let digit = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).expect("hexadecimal");
        let record: Vec<u8> = (0..hex.len()).step_by(2).map(digit).collect();
        assert_eq!(record[4], *version);
        assert_same(&found(Node::new().read(&record, &written.key)), &written);
    }
    let (_, newest) = SAMPLES.last().expect("one");
    let now = Node::new().write(&written).expect("written");
    assert_eq!(format!("{now:02x}"), *newest, "the layout changed: that is another version");
}

#[test]
fn l2_01_a_record_with_any_byte_changed_is_refused() {
    for (node, record) in two_kib() {
        found(node.read(&record, &key("/a")));
        for at in 0..record.len() {
            for mask in [1, 0x80, 0xff] {
                let mut touched = record.to_vec();
                touched[at] ^= mask;
                assert!(node.refusal(&touched).is_some(), "byte {at} of {:?}", node.seal);
            }
        }
    }
}

#[test]
fn l2_02_a_record_of_any_other_length_is_refused() {
    for (node, record) in two_kib() {
        assert_eq!(node.refusal(&[]), Some(Refusal::Empty));
        for length in 1..record.len() {
            assert_eq!(node.refusal(&record[..length]), Some(Refusal::Truncated), "{length}");
        }
        for more in [&b"\0"[..], b"x", &record] {
            assert_eq!(node.refusal(&[&record, more].concat()), Some(Refusal::Trailing));
        }
    }
}

#[test]
fn l2_03_a_record_is_believed_under_its_own_key_name_and_namespace_only() {
    let variant = Entry::new(EntryParts { vary: vary(&[("a", "1")]), ..parts("/a", 3) });
    for node in [Node::new(), Node::sealed(&[KEY])] {
        let record = node.write(&variant).expect("written");
        let broken = |refusal| Some(if node.seal.is_some() { Refusal::Seal } else { refusal });
        let refusal = |expected: Expected<'_>| decode(&record, &expected).err();
        let (own, other) = (key("/a"), key("/b"));
        assert_eq!(refusal(node.expected(&own)), None);
        assert_eq!(refusal(node.expected(&other)), broken(Refusal::Key));
        // Another variant of the same resource.
        let name = Names::new(NAMESPACE, node.seal.as_ref()).variant(&own, &vary(&[("a", "2")]));
        assert_eq!(refusal(Expected { name, ..node.expected(&own) }), broken(Refusal::Key));
        // The names of another namespace differ; and even under the same name it is another one.
        let staging = Names::new("staging", node.seal.as_ref()).primary(&own);
        let staged = Expected { namespace: "staging", name: staging, ..node.expected(&own) };
        assert_eq!(refusal(staged), broken(Refusal::Namespace));
        assert_eq!(refusal(Expected { name: node.name(&own), ..staged }), Some(Refusal::Namespace));
        assert_eq!(refusal(Expected { name: node.name(&own), ..node.expected(&other) }), Some(Refusal::Key));
    }
}

#[test]
fn l2_04_other_versions_are_refused_whatever_else_they_hold() {
    let record = Node::new().write(&entry("body")).expect("written");
    for (version, expected) in [(0, Refusal::Older), (VERSION + 1, Refusal::Newer), (u8::MAX, Refusal::Newer)] {
        assert_eq!(Node::new().refusal(&patched(&record, 4, &[version])), Some(expected));
        // Of another version nothing is known, not even that it is longer than five bytes.
        assert_eq!(Node::new().refusal(&[b"FBAY", &[version][..]].concat()), Some(expected));
    }
    assert_eq!(Node::new().refusal(&patched(&record, 0, b"FBAX")), Some(Refusal::Magic));
    assert_eq!(Node::new().refusal(b"OK, or some other value"), Some(Refusal::Magic));
}

#[test]
fn l2_05_what_no_stored_answer_says_is_refused() {
    for (name, value, expected) in [
        ("x-a", &b"fine"[..], None),
        ("content-length", b"4", None),
        ("content-length", b"5", Some(Refusal::Framing)),
        ("content-length", b"04", Some(Refusal::Framing)),
        ("content-length", b"4, 4", Some(Refusal::Framing)),
        ("transfer-encoding", b"chunked", Some(Refusal::Framing)),
        ("connection", b"close", Some(Refusal::Framing)),
        ("keep-alive", b"1", Some(Refusal::Framing)),
        ("upgrade", b"h2c", Some(Refusal::Framing)),
        ("te", b"trailers", Some(Refusal::Framing)),
        ("proxy-authenticate", b"x", Some(Refusal::Framing)),
        ("trailer", b"x", Some(Refusal::Framing)),
        ("age", b"0", Some(Refusal::Framing)),
        ("set-cookie", b"a=b", Some(Refusal::SetCookie)),
        ("set-cookie2", b"a=b", Some(Refusal::SetCookie)),
        ("x-a", b"a\r\nset-cookie: b", Some(Refusal::Field)),
        ("x-a", b"a\nb", Some(Refusal::Field)),
        ("x-a", b"a\0b", Some(Refusal::Field)),
        ("x-a\r\nb", b"", Some(Refusal::Field)),
        ("x a", b"", Some(Refusal::Field)),
        ("Set-Cookie", b"a=b", Some(Refusal::Field)),
        ("", b"a", Some(Refusal::Field)),
        (":status", b"200", Some(Refusal::Field)),
    ] {
        let record = forged_field(name.as_bytes(), value);
        assert_eq!(Node::new().refusal(&record), expected, "{name}: {}", value.escape_ascii());
    }
    for status in [0, 100, 101, 103, 199, 206, 304, 600, 999, 1000, u16::MAX] {
        assert_eq!(Node::new().refusal(&forged_status(status)), Some(Refusal::Status), "{status}");
    }
    for status in [200, 204, 301, 404, 503, 599] {
        assert_eq!(Node::new().refusal(&forged_status(status)), None, "{status}");
    }
}

#[test]
fn l2_05_a_length_that_fits_is_not_kept_either() {
    let read = found(Node::new().read(&forged_field(b"content-length", b"4"), &key("/a")));
    assert!(read.headers.is_empty(), "{:?}", read.headers);
}

#[test]
fn l2_05_what_a_reader_would_refuse_is_not_written() {
    let with = |name: &'static str| {
        let mut parts = parts("/a", 3);
        parts.headers.append(name, HeaderValue::from_static("1"));
        Node::new().write(&Entry::new(parts)).err()
    };
    assert_eq!(with("set-cookie"), Some(Refusal::SetCookie));
    assert_eq!(with("transfer-encoding"), Some(Refusal::Framing));
    assert_eq!(with("content-length"), None);
    let sized = |change: &dyn Fn(&mut EntryParts)| {
        let mut parts = parts("/a", 3);
        change(&mut parts);
        Node::new().write(&Entry::new(parts)).err()
    };
    assert_eq!(sized(&|parts| parts.status = http::StatusCode::PARTIAL_CONTENT), Some(Refusal::Status));
    assert_eq!(sized(&|parts| parts.tags = vec![Arc::from("tag:x"); 5_000].into()), Some(Refusal::TooLarge));
    assert_eq!(sized(&|parts| parts.tags = vec![Arc::from("x".repeat(300_000))].into()), Some(Refusal::TooLarge));
    let value = HeaderValue::try_from("x".repeat(300_000)).expect("a value");
    assert_eq!(sized(&|parts| drop(parts.headers.insert("x", value.clone()))), Some(Refusal::TooLarge));
}

#[test]
fn l2_06_lengths_that_lie_are_found_out_before_anything_is_allocated() {
    let record = Node::new().write(&Entry::new(image(100))).expect("written");
    let packed = Node::new().write(&entry(text(3_000))).expect("written");
    let huge = 300_u64 << 20;
    for record in [&record, &packed] {
        for length in [huge, 1 << 63, u64::MAX] {
            for at in [BODY_AT, PAYLOAD_AT] {
                let record = patched(record, at, &length.to_be_bytes());
                assert_eq!(Node::new().refusal(&record), Some(Refusal::TooLarge), "{length} at {at}");
            }
        }
        for at in [METADATA_AT, METADATA_AT + 4] {
            let record = patched(record, at, &u32::MAX.to_be_bytes());
            assert_eq!(Node::new().refusal(&record), Some(Refusal::TooLarge), "{at}");
        }
        // No more than the limit, but not true.
        let record = patched(record, BODY_AT, &LIMITS.max_object.to_be_bytes());
        let expected = if record[5] == 0 { Refusal::Malformed } else { Refusal::Decompression };
        assert_eq!(Node::new().refusal(&record), Some(expected));
    }
    // Whatever limits an operator names, nothing overflows.
    let limits = Limits { max_object: u64::MAX, ..LIMITS };
    let a = key("/a");
    let refusal = |record: &[u8]| decode(record, &Expected { limits, ..Node::new().expected(&a) }).err();
    assert_eq!(refusal(&patched(&record, BODY_AT, &u64::MAX.to_be_bytes())), Some(Refusal::Malformed));
    assert_eq!(refusal(&patched(&record, PAYLOAD_AT, &u64::MAX.to_be_bytes())), Some(Refusal::Malformed));
    assert_eq!(refusal(&patched(&packed, PAYLOAD_AT, &u64::MAX.to_be_bytes())), Some(Refusal::Truncated));
    let value = vec![b'F'; usize::try_from(LIMITS.max_record()).expect("fits") + 1];
    assert_eq!(Node::new().refusal(&value), Some(Refusal::TooLarge));
}

#[test]
fn l2_06_numbers_of_things_that_lie_are_found_out_too() {
    for (count, expected) in [(1_000_000_u32, Refusal::Field), (u32::MAX, Refusal::Field), (3, Refusal::Malformed)] {
        let lying = forged(|_, fields| fields[..4].copy_from_slice(&count.to_be_bytes()));
        assert_eq!(Node::new().refusal(&lying), Some(expected), "{count} fields");
    }
    // More than are permitted, and all of them there.
    let many = forged(|_, fields| {
        fields.clear();
        reading::put_count(fields, 20_000);
        (0..20_000).for_each(|_| headers::put_field(fields, 0, b"a", b""));
    });
    assert_eq!(Node::new().refusal(&many), Some(Refusal::Field));
    let tags_at = time_at(7);
    for count in [1_000_000_u32, u32::MAX, 3, 1] {
        let lying = forged(|metadata, _| metadata[tags_at..tags_at + 4].copy_from_slice(&count.to_be_bytes()));
        assert_eq!(Node::new().refusal(&lying), Some(Refusal::Malformed), "{count} tags");
    }
    let vary_at = STATUS_AT - 4;
    let lying = forged(|metadata, _| metadata[vary_at..STATUS_AT].copy_from_slice(&u32::MAX.to_le_bytes()));
    assert_eq!(Node::new().refusal(&lying), Some(Refusal::Malformed));
}

#[test]
fn l2_06_a_frame_that_holds_more_or_less_than_was_promised_is_refused() {
    let fields = headers::write(&entry("").headers).expect("fields");
    let zeros = vec![0; 4 << 20];
    let frame = packing::pack(&fields, &zeros).expect("smaller");
    assert!(frame.len() < 4_096);
    for body in [0, 1, zeros.len() - 1, zeros.len() + 1, 8 << 20] {
        assert_eq!(packing::unpack(&frame, fields.len(), body).err(), Some(Refusal::Decompression), "{body}");
    }
    let (_, body) = packing::unpack(&frame, fields.len(), zeros.len()).expect("as promised");
    assert_eq!(body.len(), zeros.len());
    let twice = [&frame[..], &frame].concat();
    assert_eq!(packing::unpack(&twice, fields.len(), zeros.len()).err(), Some(Refusal::Decompression));
    // A window of 128 MiB would have to be allocated at once.
    let mut wide = zstd::stream::write::Encoder::new(Vec::new(), 1).expect("an encoder");
    wide.window_log(27).expect("a window");
    wide.include_contentsize(false).expect("an option");
    std::io::Write::write_all(&mut wide, b"body").expect("written");
    let wide = wide.finish().expect("a frame");
    assert_eq!(packing::unpack(&wide, 0, 4).err(), Some(Refusal::Decompression));
}

#[test]
fn l2_07_from_the_future_is_refused_and_forever_is_cut_to_the_limits() {
    let node = Node::new();
    let now = node.timebase.shared(node.now.mono);
    for (ahead, expected) in [(0, None), (1, None), (3, Some(Refusal::Future)), (3_600, Some(Refusal::Future))] {
        assert_eq!(node.refusal(&forged_times(&[(2, now + secs(ahead))])), expected, "{ahead} s");
    }
    let year_3000 = secs(1_030 * 365 * 86_400);
    let read = |times: &[(usize, Duration)]| node.read(&forged_times(times), &key("/a"));
    let forever = found(read(&[(0, year_3000), (4, year_3000), (5, year_3000)]));
    assert_eq!(forever.facts.lifetime, LIMITS.max_ttl);
    assert_eq!(forever.facts.stale_while_revalidate, LIMITS.max_stale);
    assert_eq!(forever.facts.stale_if_error, None, "a value without its flag is none");
    // So an old record that once was fresh for ever is past its use.
    let old = Duration::from_hours(24 * 4);
    assert_eq!(read(&[(0, year_3000), (4, year_3000), (1, old)]).err(), Some(Refusal::TooOld));
    assert_eq!(read(&[(0, year_3000), (2, now.saturating_sub(old))]).err(), Some(Refusal::TooOld));
    assert_eq!(read(&[(1, Duration::from_micros(u64::MAX))]).err(), Some(Refusal::TooOld));
    let largest = Duration::from_micros(u64::MAX);
    assert_eq!(read(&(0..7).map(|n| (n, largest)).collect::<Vec<_>>()).err(), Some(Refusal::Future));
}

#[test]
fn l2_07_what_is_received_a_moment_ahead_is_received_now() {
    let node = Node::new();
    let ahead = forged_times(&[(2, node.timebase.shared(node.now.mono) + secs(1))]);
    let read = found(node.read(&ahead, &key("/a")));
    assert_eq!(read.facts.received, node.now);
}

#[test]
fn l2_09_any_key_comes_back_as_it_was() {
    let long = vec![b'x'; 64 * 1024];
    for bytes in [&b"a b"[..], b"a\r\nDEL x\r\n", b"a\0b", b"", b"\xff{}*", &long] {
        let key = CacheKey::new(bytes);
        let written = Entry::new(EntryParts { key: key.clone(), ..parts("/a", 3) });
        let record = Node::new().write(&written).expect("written");
        assert_same(&found(Node::new().read(&record, &key)), &written);
    }
}

#[test]
fn l2_10_of_a_sealed_record_nothing_is_read_but_its_birth_and_its_lengths() {
    const CANARY: &str = "s3cret-canary";
    let url = format!("/users/{CANARY}?token={CANARY}");
    let mut secret = EntryParts { key: key(&url), vary: vary(&[("x", CANARY)]), ..parts("/a", 3) };
    secret.tags = [Arc::from(format!("tag:{CANARY}"))].into();
    secret.headers.insert("x-secret", HeaderValue::from_static(CANARY));
    secret.body = CANARY.repeat(3).into();
    let secret = Entry::new(secret);
    let holds = |bytes: &[u8]| bytes.windows(CANARY.len()).any(|window| window == CANARY.as_bytes());
    for (node, readable) in [(Node::new(), true), (Node::sealed(&[KEY]), false)] {
        let record = node.write(&secret).expect("written");
        assert_eq!(holds(&record), readable, "or the search finds nothing in any case");
        assert_same(&found(node.read(&record, &secret.key)), &secret);
        let names = Names::new(NAMESPACE, node.seal.as_ref());
        for name in [names.primary(&secret.key), names.variant(&secret.key, &secret.vary)] {
            assert!(!holds(name.to_string().as_bytes()) && !holds(name.bytes()));
        }
        assert!(!holds(names.tag(&secret.tags[0]).to_string().as_bytes()));
        let selecting = [HeaderName::from_static(CANARY)];
        let name = node.name(&secret.key);
        let directory = encode_directory(&selecting, born(1), &secret.key, name, &node.wrapping()).expect("written");
        assert_eq!(holds(&directory), readable);
    }
}

#[test]
fn a_seal_is_asked_for_by_who_has_one_and_refused_by_who_has_none() {
    let (plain, old) = (Node::new(), Node::sealed(&[KEY]));
    let (both, new) = (Node::sealed(&[NEW_KEY, KEY]), Node::sealed(&[NEW_KEY]));
    let record = old.write(&entry("body")).expect("written");
    // Under the name that `old` gave it: what happens to names is told in `seal.rs`.
    let a = key("/a");
    let refusal =
        |node: &Node, record: &[u8]| decode(record, &Expected { name: old.name(&a), ..node.expected(&a) }).err();
    assert_eq!(refusal(&both, &record), None);
    assert_eq!(refusal(&new, &record), Some(Refusal::NoKey));
    assert_eq!(refusal(&plain, &record), Some(Refusal::NoKey));
    assert_eq!(refusal(&old, &both.write(&entry("body")).expect("written")), Some(Refusal::NoKey));
    let unsealed = plain.write(&entry("body")).expect("written");
    assert_eq!(refusal(&old, &unsealed), Some(Refusal::Unsealed));
    // To take the flag off does not help.
    assert_eq!(refusal(&plain, &patched(&record, 5, &[0])), Some(Refusal::Malformed));
}

#[test]
fn p_11_two_nodes_with_other_clocks_agree_on_the_age() {
    let writer = Node::new();
    let mut parts = parts("/a", 3);
    parts.facts.age_at_receipt = secs(4);
    let record = writer.write(&Entry::new(parts)).expect("written");
    let a = key("/a");
    let shared_now = writer.timebase.shared(writer.now.mono) + secs(7);
    // Its wall clock is five minutes behind; it has run for two days, or for one second only.
    for mono in [secs(172_800), secs(1)] {
        let now = Moment { wall: secs(999_700), mono };
        let reader = Node { now, timebase: Timebase::new(shared_now, mono), seal: None };
        let facts = found(reader.read(&record, &a)).facts;
        assert_eq!(facts.age(now), secs(4 + 10 + 7), "{mono:?}");
        assert_eq!(facts.age(now.after(secs(5))), secs(4 + 10 + 7 + 5), "{mono:?}");
        assert!(facts.received.mono <= now.mono);
        let ago = now.since(facts.received);
        assert_eq!(facts.received.after(ago), now, "both clocks tell one moment");
    }
}

#[test]
fn a_record_is_worth_its_room_until_its_entry_is_past_all_use() {
    let mut facts = parts("/a", 3).facts;
    facts.age_at_receipt = secs(4);
    // Received at 5,000,000 on the shared clock; fresh for 60 s and then kept for validation.
    assert_eq!(useful_until(&facts, Node::new().timebase), secs(5_000_000 + 60 - 4) + crate::rfc::KEPT_FOR_VALIDATION);
}

#[test]
fn only_what_shrinks_is_compressed() {
    let packed = |change: &dyn Fn(&mut EntryParts)| {
        let mut parts = EntryParts { body: text(5_000).into(), ..parts("/a", 3) };
        change(&mut parts);
        let record = Node::new().write(&Entry::new(parts.clone())).expect("written");
        assert_same(&found(Node::new().read(&record, &parts.key)), &Entry::new(parts));
        record[5] == 1
    };
    let of_type = |kind: &'static str| {
        packed(&|parts| drop(parts.headers.insert("content-type", HeaderValue::from_static(kind))))
    };
    assert!(packed(&|_| ()));
    assert!(!packed(&|parts| parts.body = text(500).into()), "too small");
    assert!(!of_type("Image/PNG") && !of_type("video/mp4") && of_type("image/svg+xml"));
    assert!(!packed(&|parts| {
        parts.coding = Coding::Br;
        parts.headers.insert("content-encoding", HeaderValue::from_static("br"));
    }));
    let mut noise = 1_u64;
    let noise: Vec<u8> = std::iter::repeat_with(|| {
        noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        noise.to_be_bytes()[0]
    })
    .take(5_000)
    .collect();
    assert!(!packed(&|parts| parts.body = noise.clone().into()), "it would not be smaller");
}

#[test]
fn what_is_read_holds_nothing_of_the_networks_buffer() {
    for written in [Entry::new(image(5_000)), entry(text(5_000))] {
        let record = Node::new().write(&written).expect("written");
        let read = found(Node::new().read(&record, &key("/a")));
        let within = |bytes: &[u8]| record.as_ptr_range().contains(&bytes.as_ptr());
        assert!(!within(&read.body) && !read.headers.values().any(|value| within(value.as_bytes())));
        assert!(read.body.is_unique(), "an allocation of its own");
    }
}

#[test]
fn a_directory_says_what_selects() {
    let names = ["accept-language", "x-tenant"].map(HeaderName::from_static);
    for node in [Node::new(), Node::sealed(&[KEY])] {
        let a = key("/a");
        let write = |names: &[HeaderName]| encode_directory(names, born(5), &a, node.name(&a), &node.wrapping());
        let record = write(&names).expect("written");
        match node.read(&record, &a) {
            Ok(Decoded::Directory { names: read, born: at }) => {
                assert_eq!((&read[..], at), (&names[..], born(5)));
            }
            other => panic!("no directory: {other:?}"),
        }
        for wrong in [&[][..], &[names[1].clone(), names[0].clone()], &[names[0].clone(), names[0].clone()]] {
            assert_eq!(write(wrong).err(), Some(Refusal::Directory), "{wrong:?}");
        }
        let many: Vec<_> = (100..200).map(|n| HeaderName::try_from(format!("x-{n}")).expect("a name")).collect();
        assert_eq!(write(&many).err(), Some(Refusal::Directory));
    }
    // Forged: an entry's metadata, a body, and nothing at all.
    for record in [entry("body"), entry("")].map(|entry| Node::new().write(&entry).expect("written")) {
        assert_eq!(Node::new().refusal(&patched(&record, 6, &[2])), Some(Refusal::Directory));
    }
    let forged = |names: &[&[u8]]| {
        let a = key("/a");
        let mut metadata =
            metadata::write_directory(&[names_x()], Node::new().name(&a), NAMESPACE, &a).expect("written");
        metadata.truncate(metadata.len() - 4 - 4 - 1);
        reading::put_count(&mut metadata, names.len());
        for name in names {
            reading::put_sized(&mut metadata, name);
        }
        let blank = Blank { kind: Kind::Directory, born: born(5), name: Node::new().name(&a) };
        Node::new().refusal(&wrap(&blank, &metadata, &[], &[], false, &Node::new().wrapping()).expect("written"))
    };
    assert_eq!(forged(&[b"x"]), None);
    for wrong in [&[][..], &[&b"X"[..]], &[b""], &[b"a b"], &[b"b", b"a"], &[b"a", b"a"]] {
        assert_eq!(forged(wrong), Some(Refusal::Directory), "{wrong:?}");
    }
}

fn names_x() -> HeaderName {
    HeaderName::from_static("x")
}

#[test]
fn refusals_have_codes_of_their_own_and_sentences() {
    let codes: std::collections::HashSet<_> = Refusal::ALL.iter().map(|refusal| refusal.code()).collect();
    assert_eq!(codes.len(), Refusal::ALL.len());
    for refusal in Refusal::ALL {
        assert!(refusal.to_string().ends_with('.'), "{refusal:?}");
        assert!(refusal.code().bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-'), "{refusal:?}");
    }
}
