//! The shared tier over a network in this process.

use http::HeaderValue;

use super::super::samples::{at, key, parts, record, request, vary};
use super::super::{Found, Grade, LedgerSettings, MemorySettings, Store};
use super::*;
use crate::fleet::{Append, InProcess, LinkState, Place};
use crate::rfc::Reason;

/// A node of `network` that has applied its log up to now.
async fn node(network: &InProcess, settings: SharedSettings) -> (Arc<Shared>, Ledger) {
    let ledger = Ledger::adrift(LedgerSettings::default());
    ledger.begin(network.newest(&[]).await.expect("its place").place);
    (Shared::new(Fleet::InProcess(network.clone()), "test", "", settings), ledger)
}

fn entry(path: &str, ledger: &Ledger) -> EntryParts {
    EntryParts { born: ledger.born(at(0)), ..parts(path, 0) }
}

async fn written(shared: &Arc<Shared>, parts: EntryParts) {
    shared.write(Arc::new(Entry::new(parts)), Timebase::default(), None);
    settle().await;
}

async fn settle() {
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
}

async fn found(shared: &Shared, ledger: &Ledger, path: &str) -> Option<(Arc<Entry>, Standing)> {
    let (key, request) = (key(path), HeaderMap::new());
    let wanted = Wanted { key: &key, request: &request, selecting: &[] };
    shared.look_up(wanted, ledger, Timebase::default(), at(1)).await.expect("the network answers").found
}

fn refusals(shared: &Shared) -> Vec<(&'static str, u64)> {
    shared.stats().refusals().filter(|(_, count)| *count > 0).collect()
}

#[tokio::test(start_paused = true)]
async fn what_is_left_by_one_is_found_by_another() {
    let network = InProcess::network();
    let ((one, ledger), (other, theirs)) =
        (node(&network, SharedSettings::default()).await, node(&network.another(), SharedSettings::default()).await);
    written(&one, entry("/a", &ledger)).await;
    let (entry, standing) = found(&other, &theirs, "/a").await.expect("found");
    assert_eq!((&*entry.body, standing), (&b"body"[..], Standing::Valid));
    assert_eq!((entry.born.at, entry.born.tick), (Duration::ZERO, 0));
    assert!(found(&other, &theirs, "/b").await.is_none());
    let elsewhere = Shared::new(Fleet::InProcess(network), "another namespace", "", SharedSettings::default());
    assert!(found(&elsewhere, &theirs, "/a").await.is_none());
    assert_eq!(refusals(&other), []);
}

#[tokio::test(start_paused = true)]
async fn variants_are_found_in_two_steps_or_at_once() {
    let network = InProcess::network();
    let (shared, ledger) = node(&network, SharedSettings::default()).await;
    written(&shared, EntryParts { vary: vary(&[("accept-language", "de")]), ..entry("/a", &ledger) }).await;
    let names = [http::header::ACCEPT_LANGUAGE];
    for (language, selecting, hit) in
        [("de", &[][..], true), ("de", &names, true), ("fr", &[], false), ("fr", &names, false)]
    {
        let (key, request) = (key("/a"), request(&[("accept-language", language)]));
        let wanted = Wanted { key: &key, request: &request, selecting };
        let looked = shared.look_up(wanted, &ledger, Timebase::default(), at(1)).await.expect("an answer");
        assert_eq!(looked.found.is_some(), hit, "{language} {selecting:?}");
        assert_eq!(looked.selecting.as_deref(), Some(&names[..]));
    }
}

#[tokio::test(start_paused = true)]
async fn l2_04_what_is_not_a_record_of_this_name_is_a_miss_and_counted() {
    let network = InProcess::network();
    let (shared, ledger) = node(&network, SharedSettings::default()).await;
    let place = ledger.place();
    let names = Names::new("test", None);
    let other = Entry::new(entry("/other", &ledger));
    let primary = names.primary(&other.key);
    let moved = codec::encode(&other, primary, &shared.wrapping(), Timebase::default()).expect("a record");
    let records = [Bytes::new(), Bytes::from_static(b"nonsense"), moved.slice(..moved.len() - 1), moved];
    for bytes in records {
        let name = Name(*names.primary(&key("/a")).bytes());
        let put = Put { name, epoch: place.epoch, born: place.number, expires: at(60).mono, bytes, tags: Vec::new() };
        assert_eq!(network.put(put).await, Ok(Kept::Yes));
        assert!(found(&shared, &ledger, "/a").await.is_none());
    }
    let counted: u64 = refusals(&shared).iter().map(|(_, count)| count).sum();
    assert_eq!(counted, 4, "{:?}", refusals(&shared));
}

#[tokio::test(start_paused = true)]
async fn what_was_born_elsewhere_than_in_this_log_is_not_found() {
    let network = InProcess::network();
    let (shared, ledger) = node(&network, SharedSettings::default()).await;
    let ahead = Born { number: 99, ..ledger.born(at(0)) };
    written(&shared, EntryParts { born: ahead, ..entry("/a", &ledger) }).await;
    assert!(found(&shared, &ledger, "/a").await.is_none(), "nobody has been given that number");
    written(&shared, entry("/b", &ledger)).await;
    assert!(found(&shared, &ledger, "/b").await.is_some());
    let later = Ledger::adrift(LedgerSettings::default());
    assert!(found(&shared, &later, "/b").await.is_none(), "of another epoch");
}

#[tokio::test(start_paused = true)]
async fn the_logs_own_marks_are_asked_where_the_ledger_cannot_tell() {
    let rows = [
        (None, false, Some(Standing::Valid)),
        (Some(Grade::Soft), false, Some(Standing::Soft)),
        (Some(Grade::Check), false, Some(Standing::Check)),
        (Some(Grade::Hard), false, None),
        (Some(Grade::Soft), true, Some(Standing::Soft)),
        (Some(Grade::Hard), true, None),
    ];
    for (grade, everything, expected) in rows {
        let network = InProcess::network();
        let (shared, ledger) = node(&network, SharedSettings::default()).await;
        written(&shared, entry("/a", &ledger)).await;
        let tags = vec![Name(*Names::new("test", None).tag("tag:x").bytes())];
        if let Some(grade) = grade {
            let tags = if everything { Vec::new() } else { tags };
            network.append(Append::new(Bytes::new(), grade, tags, everything)).await.expect("appended");
        } else {
            let other = Append::new(Bytes::new(), Grade::Hard, Vec::new(), false);
            network.append(other).await.expect("appended");
        }
        // It joins behind the change.
        let (shared, ledger) = node(&network, SharedSettings::default()).await;
        let found = found(&shared, &ledger, "/a").await;
        assert_eq!(found.as_ref().map(|(_, standing)| *standing), expected, "{grade:?} {everything}");
        if let Some((entry, Standing::Valid)) = found {
            assert_eq!(entry.born.number, ledger.applied(), "born again where it is known to be valid");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_change_names_that_is_not_in_the_log_yet_is_not_found() {
    for grade in [Grade::Soft, Grade::Check, Grade::Hard] {
        for joins_later in [false, true] {
            let network = InProcess::network();
            let (shared, ledger) = node(&network, SharedSettings::default()).await;
            written(&shared, entry("/a", &ledger)).await;
            network.append(Append::new(Bytes::new(), Grade::Hard, Vec::new(), false)).await.expect("appended");
            let ledger = if joins_later { node(&network, SharedSettings::default()).await.1 } else { ledger };
            ledger.pend(&record(grade, &["tag:y"]));
            assert!(found(&shared, &ledger, "/a").await.is_some(), "it names something else");
            let tick = ledger.pend(&record(grade, &["tag:x"]));
            assert!(found(&shared, &ledger, "/a").await.is_none(), "{grade:?} {joins_later}");
            ledger.settled(tick);
            assert!(found(&shared, &ledger, "/a").await.is_some(), "the log has it now, and tells");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_finds_the_queue_full_is_dropped_and_counted() {
    for (settings, kept) in [
        (SharedSettings { max_waiting: 2, ..SharedSettings::default() }, 2),
        (SharedSettings { max_waiting_bytes: 13, ..SharedSettings::default() }, 3),
    ] {
        let network = InProcess::network();
        let (shared, ledger) = node(&network, settings).await;
        network.connection(LinkState::Down);
        for number in 0..10 {
            shared.write(Arc::new(Entry::new(entry(&format!("/{number}"), &ledger))), Timebase::default(), None);
        }
        assert_eq!((shared.waiting_writes(), shared.stats().dropped_writes()), (kept, 10 - kept as u64));
        network.connection(LinkState::Up);
        settle().await;
        assert_eq!(shared.waiting_writes(), 0);
        assert_eq!(shared.stats().writes().next(), Some(("kept", kept as u64)));
        written(&shared, entry("/later", &ledger)).await;
        assert!(found(&shared, &ledger, "/later").await.is_some(), "there are writers again");
    }
}

#[tokio::test(start_paused = true)]
async fn a_lease_is_given_back_when_the_entry_is_there() {
    let network = InProcess::network();
    let (shared, ledger) = node(&network, SharedSettings::default()).await;
    let (key, request) = (key("/a"), HeaderMap::new());
    let wanted = Wanted { key: &key, request: &request, selecting: &[] };
    let term = Duration::from_secs(9);
    let Ok(Leased::Granted(hold)) = shared.lease(wanted, 0, term).await else { panic!("it is free") };
    assert!(matches!(shared.lease(wanted, 0, term).await, Ok(Leased::Held(left)) if left == term));
    assert!(matches!(shared.lease(wanted, 1, term).await, Ok(Leased::Granted(_))), "of another class");
    shared.write(Arc::new(Entry::new(entry("/a", &ledger))), Timebase::default(), Some(hold));
    settle().await;
    let Ok(Leased::Granted(hold)) = shared.lease(wanted, 0, term).await else { panic!("it was given back") };
    // What is refused on the way out is of no use to wait for.
    let mut cookie = entry("/a", &ledger);
    cookie.headers.insert(http::header::SET_COOKIE, HeaderValue::from_static("a=b"));
    shared.write(Arc::new(Entry::new(cookie)), Timebase::default(), Some(hold));
    settle().await;
    assert!(matches!(shared.lease(wanted, 0, term).await, Ok(Leased::Pointless)));
}

#[tokio::test(start_paused = true)]
async fn f_05_what_a_change_has_named_on_the_way_is_not_promoted() {
    let network = InProcess::network();
    let (shared, ledger) = node(&network, SharedSettings::default()).await;
    written(&shared, entry("/a", &ledger)).await;
    let (entry, _) = found(&shared, &ledger, "/a").await.expect("found");
    let ledger = Arc::new(ledger);
    let store = Store::new(MemorySettings::default(), Arc::clone(&ledger));
    let _ = ledger.apply(ledger.applied() + 1, &record(Grade::Hard, &["tag:x"]));
    assert_eq!(store.promote(entry), Err(Reason::PurgedMeanwhile));
    assert!(matches!(store.look_up(key("/a").bytes(), &HeaderMap::new(), at(1)), Found::Nothing));
}

#[tokio::test(start_paused = true)]
async fn r_14_what_arrives_late_does_not_replace_what_is_newer() {
    let ledger = Arc::new(Ledger::adrift(LedgerSettings::default()));
    ledger.begin(Place { epoch: super::super::Epoch(7), number: 5, nonce: 0 });
    let store = Store::new(MemorySettings::default(), ledger);
    let received = |number, secs: u64, body: &'static str| {
        let mut parts = EntryParts { body: body.into(), ..parts("/a", number) };
        (parts.facts.received, parts.facts.date) = (at(secs), at(secs).wall);
        Arc::new(Entry::new(parts))
    };
    // Its birth may be the later one by number: it was born again where it was found to be valid.
    for (number, secs, refused) in [(5, 9, true), (4, 9, true), (5, 10, false), (5, 11, false), (4, 11, true)] {
        store.keep(received(5, 10, "here")).expect("kept");
        assert_eq!(store.promote(received(number, secs, "late")).is_err(), refused, "{number} {secs}");
        store.forget(key("/a").bytes());
    }
}
