//! What holds for all entries, and for all bytes.

use proptest::prelude::*;

use super::*;

/// Any duration that an answer can have, in nanoseconds.
fn duration() -> impl Strategy<Value = Duration> {
    prop_oneof![
        Just(Duration::ZERO),
        (0..100_u64).prop_map(secs),
        (0..86_400_000_000_000_u64).prop_map(Duration::from_nanos)
    ]
}

fn any_parts() -> impl Strategy<Value = EntryParts> {
    let field = ("[a-z][a-z0-9-]{0,8}", "[ -~]{0,20}", any::<bool>());
    let answer = (
        prop::sample::select(vec![200_u16, 203, 204, 301, 404, 410, 500, 503]),
        prop::collection::vec(field, 0..8),
        prop::collection::vec(any::<u8>(), 0..3_000),
        prop::collection::vec(".{0,20}", 0..5),
        any::<Vec<u8>>(),
        prop::option::of("[ -~]{0,10}"),
    );
    let times =
        (duration(), duration(), duration(), duration(), prop::option::of(duration()), prop::option::of(duration()));
    let rest = (any::<[bool; 5]>(), any::<(u64, u64)>(), 0..7_usize);
    (answer, times, rest).prop_map(|((status, fields, body, tags, key, selecting), times, rest)| {
        let (lifetime, age_at_receipt, date, stale_while_revalidate, stale_if_error, last_modified) = times;
        let ([compressible, no_cache, must_revalidate, immutable, has_validator], (epoch, number), source) = rest;
        let mut parts = parts("/a", 0);
        parts.key = CacheKey::new(key);
        parts.status = http::StatusCode::from_u16(status).expect("a status");
        parts.facts.status = parts.status;
        for (name, value, sensitive) in fields {
            let (Ok(name), Ok(mut value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) else {
                continue;
            };
            value.set_sensitive(sensitive);
            parts.headers.append(name, value);
        }
        for name in ["te", "age", "content-encoding", "content-length"] {
            parts.headers.remove(name);
        }
        parts.body = body.into();
        parts.tags = tags.into_iter().map(Arc::from).collect();
        if let Some(value) = selecting.and_then(|value| HeaderValue::try_from(value).ok()) {
            let request = [(HeaderName::from_static("x-a"), value)].into_iter().collect();
            let names = ["x-a", "x-b"].map(HeaderName::from_static);
            parts.vary = crate::rfc::VaryKey::of(&crate::rfc::Vary::Fields(names.into()), &request);
        }
        (parts.born.epoch, parts.born.number) = (Epoch(epoch), number);
        parts.compressible = compressible;
        parts.facts = StoredFacts {
            lifetime: Duration::from_micros(u64::try_from(lifetime.as_micros()).expect("fits")),
            age_at_receipt,
            date: Duration::from_secs(date.as_secs()),
            no_cache,
            must_revalidate,
            immutable,
            has_validator,
            stale_while_revalidate: Duration::from_secs(stale_while_revalidate.as_secs()),
            stale_if_error: stale_if_error.map(|window| Duration::from_secs(window.as_secs())),
            last_modified: last_modified.map(|then| Duration::from_secs(then.as_secs())),
            source: metadata::SOURCES[source],
            ..parts.facts
        };
        parts
    })
}

proptest! {
    #[test]
    fn what_one_node_writes_another_reads(
        parts in any_parts(), sealed: bool, threshold in prop::sample::select(vec![0, COMPRESS_ABOVE, usize::MAX]),
        (later, up) in (0..60_000_000_u64, 0..200_000_000_000_u64), (origin, wall) in (0..1_000_000_u64, 0..2_000_000_u64),
    ) {
        let written = Entry::new(parts);
        let writer = if sealed { Node::sealed(&[KEY]) } else { Node::new() };
        let wrapping = Wrapping { compress_above: threshold, ..writer.wrapping() };
        let record = encode(&written, writer.name(&written.key), &wrapping, writer.timebase).expect("written");
        // Another node, later, that has been up for some other time.
        let now = Moment { wall: secs(wall), mono: Duration::from_nanos(up) + secs(origin) };
        let shared = writer.timebase.shared(writer.now.mono) + Duration::from_micros(later);
        let reader = Node { now, timebase: Timebase::new(shared, now.mono), seal: writer.seal.clone() };
        let age = written.facts.age(writer.now) + Duration::from_micros(later);
        if age > written.facts.useful_for() {
            let refusal = reader.read(&record, &written.key).err();
            prop_assert_eq!(refusal, Some(Refusal::TooOld));
            return Ok(());
        }
        let read = match reader.read(&record, &written.key) {
            Err(Refusal::TooOld) if age + Duration::from_micros(3) > written.facts.useful_for() => return Ok(()),
            read => found(read),
        };
        assert_same(&read, &written);
        let (one, other) = (read.facts.age(now), age);
        prop_assert!(one.abs_diff(other) < Duration::from_millis(1), "{one:?} and {other:?}");
        prop_assert!(one >= other, "never younger: {one:?} and {other:?}");
    }

    #[test]
    fn l2_11_no_bytes_make_it_panic(bytes: Vec<u8>) {
        prop_assert!(Node::new().refusal(&bytes).is_some());
        // Behind a head that is right and with a checksum that fits.
        let mut record = forged(|_, _| ())[..HEAD].to_vec();
        record[PAYLOAD_AT..PAYLOAD_AT + 8].copy_from_slice(&(bytes.len() as u64).to_be_bytes());
        for (flags, metadata) in [(0, bytes.len()), (0, 0), (1, 0), (1, bytes.len() / 2)] {
            record.truncate(HEAD);
            record[5] = flags;
            record[METADATA_AT..METADATA_AT + 4].copy_from_slice(&u32::try_from(metadata).expect("fits").to_be_bytes());
            record[METADATA_AT + 4..METADATA_AT + 8].fill(0);
            record[BODY_AT..BODY_AT + 8].copy_from_slice(&((bytes.len() - metadata) as u64).to_be_bytes());
            record.extend_from_slice(&bytes);
            record.extend_from_slice(&[0; CHECK]);
            prop_assert!(Node::new().refusal(&patched(&record, 0, b"FBAY")).is_some());
        }
    }

    #[test]
    fn l2_11_no_change_of_a_real_record_makes_it_panic(
        compressed: bool, changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        let written = if compressed { entry(text(3_000)) } else { Entry::new(image(300)) };
        let mut record = Node::new().write(&written).expect("written").to_vec();
        let covered = record.len() - CHECK;
        for (at, byte) in changes {
            record[at.index(covered)] = byte;
        }
        // The checksum fits: whatever was changed has to be understood. It may even be right.
        if let Ok(Decoded::Entry(entry)) = Node::new().read(&patched(&record, 0, b"FBAY"), &written.key) {
            prop_assert!(entry.facts.age(Node::new().now) <= entry.facts.useful_for());
            prop_assert!(!entry.headers.contains_key("set-cookie"));
        }
    }
}
