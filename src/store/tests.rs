//! What the store does, one behaviour after the other.

use std::sync::Arc;

use http::HeaderMap;

use super::samples::{at, born, epoch, key, ledger, parts, record, vary};
use super::*;
use crate::policy::tags::hash_tag;
use crate::rfc::{Vary, VaryKey};

fn store() -> Store {
    Store::new(MemorySettings::default(), ledger())
}

fn serves(store: &Store, path: &str) -> bool {
    matches!(store.look_up(path.as_bytes(), &HeaderMap::new(), at(1)), Found::Entry(_, Standing::Valid))
}

#[test]
fn what_is_too_large_is_turned_away() {
    let settings = MemorySettings { capacity: 10_000, max_object: 9_500, ..MemorySettings::default() };
    let store = Store::new(settings, ledger());
    let sized = |size: usize| Arc::new(Entry::new(EntryParts { body: vec![0; size].into(), ..parts("/a", 0) }));
    assert_eq!(store.keep(sized(9_501)), Err(Reason::TooLarge));
    assert_eq!(store.keep(sized(9_500)), Err(Reason::NotAdmitted));
    assert_eq!(store.keep(sized(5_000)), Ok(()));
    assert!(serves(&store, "/a"));
}

#[test]
fn writers_wait_for_eviction_before_much_is_too_much() {
    let capacity = 1_000_000;
    let store = Store::new(MemorySettings { capacity, ..MemorySettings::default() }, ledger());
    for number in 0..60 {
        let sized = EntryParts { body: vec![0; 100_000].into(), ..parts(&format!("/{number}"), 0) };
        store.keep(Arc::new(Entry::new(sized))).expect("kept");
        let held: u64 = store.memory.shelves().map(|shelf| u64::from(shelf.weight())).sum();
        assert!(held <= capacity + capacity / 64, "{held} after {number}");
    }
}

#[test]
fn fills_of_one_resource_from_many_threads_do_not_undo_each_other() {
    let store = Store::new(MemorySettings { max_variants: 200, ..MemorySettings::default() }, ledger());
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let store = &store;
            scope.spawn(move || {
                for number in 0..50 {
                    let language = http::HeaderValue::from(thread * 50 + number);
                    let request = HeaderMap::from_iter([(http::header::ACCEPT_LANGUAGE, language)]);
                    let vary = Vary::Fields([http::header::ACCEPT_LANGUAGE].into());
                    let varied = EntryParts { vary: VaryKey::of(&vary, &request), ..parts("/a", 0) };
                    store.keep(Arc::new(Entry::new(varied))).expect("kept");
                }
            });
        }
    });
    assert_eq!(store.list(&Filter::default(), 999).len(), 200);
}

#[test]
fn a_body_in_another_coding_lives_and_weighs_with_its_base() {
    let store = store();
    let base = Arc::new(Entry::new(parts("/a", 0)));
    let coded = |base: &Entry| {
        Arc::new(Entry::new(EntryParts { coding: Coding::Br, body: vec![0; 5_000].into(), ..base.parts() }))
    };
    store.keep_encoded(&base, coded(&base));
    assert!(store.encoded(&base, Coding::Br).is_none(), "not for an entry that is not kept");
    store.keep(Arc::clone(&base)).expect("kept");
    store.keep_encoded(&base, coded(&base));
    assert_eq!(store.encoded(&base, Coding::Br).expect("kept").body.len(), 5_000);
    assert!(store.encoded(&base, Coding::Gzip).is_none());
    store.memory.settle();
    assert_eq!(store.weight(), u64::from(base.full_weight()));
    assert!(store.weight() > 5_000);
    let next = Arc::new(Entry::new(base.parts()));
    store.keep(Arc::clone(&next)).expect("kept");
    assert!(store.encoded(&next, Coding::Br).is_none(), "a new entry's body may be another");
    store.memory.settle();
    assert_eq!(store.weight(), u64::from(next.weight()));
}

#[test]
fn an_uncacheable_answer_is_remembered_beside_what_is_stored() {
    let store = store();
    store.remember_uncacheable(key("/a"), Reason::ResponseNoStore, at(10).mono);
    let found = |secs| store.look_up(b"/a", &HeaderMap::new(), at(secs));
    assert!(matches!(found(9), Found::KnownUncacheable(Reason::ResponseNoStore)));
    assert!(matches!(found(10), Found::Nothing));
    store.keep(Arc::new(Entry::new(parts("/a", 0)))).expect("kept");
    assert_eq!(store.known_uncacheable(b"/a", at(9)), None, "keeping an answer clears it");
    store.remember_uncacheable(key("/a"), Reason::ResponseNoStore, at(10).mono);
    assert!(matches!(found(9), Found::Entry(..)), "what is stored stays usable");
    assert_eq!(store.known_uncacheable(b"/a", at(9)), Some(Reason::ResponseNoStore));
}

#[test]
fn sweeping_drops_what_is_void_and_what_is_past_use_and_no_more() {
    // Samples are fresh for 60 s and may be served stale for 30 s more, which the facts may extend.
    let (store, useful) = (store(), parts("/a", 0).facts.useful_for().as_secs());
    for path in ["/fresh", "/old", "/void", "/soft"] {
        let mut parts = parts(path, 0);
        if path != "/old" {
            parts.facts.received = at(useful);
        }
        parts.tags = [Arc::from(format!("tag:{path}"))].into();
        store.keep(Arc::new(Entry::new(parts))).expect("kept");
    }
    store.remember_uncacheable(key("/marker"), Reason::SetCookie, at(5).mono);
    let _ = store.ledger().apply(1, &record(Grade::Hard, &["tag:/void"]));
    let _ = store.ledger().apply(2, &record(Grade::Soft, &["tag:/soft"]));
    let swept = store.sweep(at(useful), 100);
    assert_eq!(swept, Swept { looked: 5, dropped: 2, finished: true }, "the void one and the marker");
    assert_eq!(store.count(), 3, "what can just be used is kept");
    assert_eq!(store.sweep(at(useful + 1), 100), Swept { looked: 3, dropped: 1, finished: true });
    let left: Vec<String> = store.list(&Filter::default(), 9).into_iter().flat_map(|entry| entry.tags).collect();
    assert_eq!(left.len(), 2);
    assert!(left.contains(&"tag:/fresh".into()) && left.contains(&"tag:/soft".into()), "{left:?}");
}

#[test]
fn sweeping_in_slices_reaches_everything() {
    for budget in [1, 3, 7, 100] {
        let store = store();
        for number in 0..20 {
            let mut parts = parts(&format!("/{number}"), 0);
            parts.tags = [Arc::from(if number % 3 == 0 { "tag:void" } else { "tag:valid" })].into();
            store.keep(Arc::new(Entry::new(parts))).expect("kept");
        }
        let _ = store.ledger().apply(1, &record(Grade::Hard, &["tag:void"]));
        let mut slices = 0;
        for pass in 0..2 {
            while !store.sweep(at(1), budget).finished {
                slices += 1;
                assert!(slices < 100, "pass {pass} with {budget} ends");
            }
        }
        assert_eq!(store.count(), 13, "budget {budget}");
    }
}

#[test]
fn after_a_pass_the_ledger_forgets_what_concerns_no_entry() {
    let store = store();
    let apply = |number, tag: &str| {
        let _ = store.ledger().apply(number, &record(Grade::Hard, &[tag]));
    };
    apply(1, "tag:a");
    apply(2, "tag:b");
    store.keep(Arc::new(Entry::new(parts("/a", 2)))).expect("kept");
    apply(3, "tag:c");
    assert_eq!(store.ledger().tags(), 3);
    assert!(store.sweep(at(1), 10).finished);
    assert_eq!(store.ledger().tags(), 1, "the entry was born at 2: what came later still matters");
    assert!(serves(&store, "/a"));
    // A fetch that began before all that, and comes now, is confirmed before it is used.
    assert_eq!(store.ledger().standing_of(born(0), &[hash_tag("tag:a")]), Standing::Check);
    store.forget(b"/a");
    store.sweep(at(1), 10);
    assert_eq!(store.ledger().tags(), 0);
}

#[test]
fn listing_names_what_is_asked_for() {
    let store = store();
    for path in ["/a", "/b", "/c"] {
        store.keep(Arc::new(Entry::new(parts(path, 0)))).expect("kept");
    }
    let all = store.list(&Filter::default(), 9);
    assert_eq!(all.len(), 3);
    assert_eq!(store.list(&Filter::default(), 2).len(), 2);
    let by_tag = |tag: &str| store.list(&Filter { tag: Some(tag.into()), ..Filter::default() }, 9);
    assert_eq!((by_tag("tag:x").len(), by_tag("url:/b").len(), by_tag("tag:nothing").len()), (3, 1, 0));
    let found = &by_tag("url:/b")[0];
    assert_eq!((found.key.clone(), found.body, found.standing), (key("/b").to_string(), 4, Standing::Valid));
    let _ = store.ledger().apply(1, &record(Grade::Soft, &["url:/a"]));
    let _ = store.ledger().apply(2, &record(Grade::Hard, &["url:/b"]));
    assert_eq!(by_tag("url:/a")[0].standing, Standing::Soft);
    assert!(by_tag("url:/b").is_empty(), "what is void does not exist");
    let elsewhere = Filter { host: Some("elsewhere.example".into()), ..Filter::default() };
    assert!(store.list(&elsewhere, 9).is_empty());
}

#[test]
fn the_names_that_select_are_those_of_what_is_stored() {
    let store = store();
    assert!(store.variant_names(b"/a").is_empty());
    let varied = EntryParts { vary: vary(&[("accept-language", "de")]), ..parts("/a", 0) };
    store.keep(Arc::new(Entry::new(varied))).expect("kept");
    assert_eq!(store.variant_names(b"/a"), ["accept-language"]);
    assert_eq!(store.ledger().epoch(), epoch());
}

/// Not an assertion: prints what an entry costs, to set the overheads by. `cargo test --lib cost -- --ignored --nocapture`.
#[test]
#[ignore = "measures"]
fn the_cost_of_a_small_entry() {
    let resident = || {
        let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
        statm.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or_default() * 4096
    };
    let mut stores = Vec::new();
    for fields in [2, 6, 12, 24] {
        let store = Store::new(MemorySettings { capacity: 1 << 40, ..MemorySettings::default() }, ledger());
        let before = resident();
        for number in 0..100_000 {
            let mut parts = parts(&format!("/api/users/{number}"), 0);
            for field in 2..fields {
                let name = http::HeaderName::try_from(format!("x-field-{field}")).expect("a name");
                parts.headers.insert(name, http::HeaderValue::from_static("value"));
            }
            store.keep(Arc::new(Entry::new(parts))).expect("kept");
        }
        store.memory.settle();
        let (really, counted) = (resident() - before, store.weight());
        println!("{fields} fields: {} bytes each, counted as {}", really / 100_000, counted / 100_000);
        // What is freed would be used again, and not be seen.
        stores.push(store);
    }
}
