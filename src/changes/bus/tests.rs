//! One bus, or two over one log in this process. What becomes of it over a network is in `trials`.

use std::time::Duration;

use bytes::Bytes;
use tokio::sync::oneshot;

use super::*;
use crate::changes::{Action, Purge, Selector, Source};
use crate::clock::Clock;
use crate::fleet::InProcess;
use crate::policy::tags::hash_tag;
use crate::store::{Born, LedgerSettings, Standing};

const NOW: Moment = Moment { wall: Duration::from_secs(1_700_000_000), mono: Duration::from_secs(5) };

/// A node that shares `log`.
fn node(log: &InProcess) -> (Arc<Bus>, Arc<Ledger>) {
    let ledger = Arc::new(Ledger::new(log.in_sight().expect("its own").epoch, LedgerSettings::default()));
    (Arc::new(Bus::new(Fleet::InProcess(log.clone()), Arc::clone(&ledger))), ledger)
}

async fn published(bus: &Bus, changes: &[Change]) -> Receipt {
    match bus.publish(changes, NOW).await.expect("published") {
        Published::Logged(receipt) => receipt,
        Published::Queued(error) => panic!("{error}"),
    }
}

fn purge(selector: Selector, purge: Purge) -> Change {
    Change { selector, action: Action::Purge(purge), source: Source::Api, id: "7".into() }
}

fn tag(name: &str) -> Selector {
    Selector::Tag(name.into())
}

fn standing(ledger: &Ledger, born: Born, tag: &str) -> Standing {
    ledger.standing_of(born, &[hash_tag(tag)])
}

#[tokio::test]
async fn when_publish_returns_the_change_holds_here() {
    let rows = [
        (tag("x"), Purge::Hard, "tag:x", Standing::Void),
        (tag("x"), Purge::Soft, "tag:x", Standing::Soft),
        (tag("x"), Purge::Hard, "tag:y", Standing::Valid),
        (Selector::All, Purge::Hard, "tag:y", Standing::Void),
        (Selector::All, Purge::Soft, "tag:y", Standing::Soft),
        (Selector::Url { host: None, path_and_query: "/p".into() }, Purge::Hard, "url:/p", Standing::Void),
        (tag("*"), Purge::Hard, "tag:y", Standing::Valid),
    ];
    for (selector, hardness, named, expected) in rows {
        let (bus, ledger) = node(&InProcess::new());
        let before = ledger.born(NOW);
        let receipt = published(&bus, &[purge(selector.clone(), hardness)]).await;
        assert_eq!((receipt.epoch, receipt.number), (ledger.epoch(), 1));
        assert_eq!(standing(&ledger, before, named), expected, "{selector:?} {hardness:?}");
        assert_eq!(standing(&ledger, ledger.born(NOW), named), Standing::Valid, "what is fetched now is not hit");
    }
}

#[tokio::test]
async fn changes_announced_together_share_a_record() {
    let (bus, ledger) = node(&InProcess::new());
    let mut changes: Vec<Change> = (0..2_500).map(|n| purge(tag(&n.to_string()), Purge::Hard)).collect();
    changes.push(purge(tag("soft"), Purge::Soft));
    changes.push(purge(tag("softer"), Purge::Soft));
    let before = ledger.born(NOW);
    assert_eq!(published(&bus, &changes).await.number, 4);
    for (name, expected) in [("tag:0", Standing::Void), ("tag:2499", Standing::Void), ("tag:softer", Standing::Soft)] {
        assert_eq!(standing(&ledger, before, name), expected, "{name}");
    }
    let lines = bus.audit(2);
    assert_eq!(lines[0].tags, ["tag:soft", "tag:softer"]);
    assert_eq!((lines[1].tags.len(), lines[1].more_tags, lines[1].number), (20, 480, 3));
    assert_eq!(published(&bus, &[]).await.number, 4);
}

#[tokio::test]
async fn a_bad_change_keeps_all_of_them_back() {
    let (bus, ledger) = node(&InProcess::new());
    let changes = [purge(tag("x"), Purge::Hard), purge(tag(""), Purge::Hard)];
    let refused = bus.publish(&changes, NOW).await.expect_err("refused");
    assert_eq!(refused, BusError::Selector { index: 1, problem: "the name is empty" });
    let many = vec![purge(tag("x"), Purge::Hard); CHANGES + 1];
    assert_eq!(bus.publish(&many, NOW).await, Err(BusError::TooMany { given: CHANGES + 1, limit: CHANGES }));
    assert_eq!(ledger.applied(), 0);
}

#[tokio::test]
async fn another_node_follows() {
    let log = InProcess::new();
    let ((here, _), (there, ledger)) = (node(&log), node(&log));
    let before = ledger.born(NOW);
    let (stop, stopped) = oneshot::channel::<()>();
    let following =
        tokio::spawn(async move { there.follow(&Clock::starting_at(NOW.wall), async { drop(stopped.await) }).await });
    let receipt = published(&here, &[purge(tag("x"), Purge::Hard)]).await;
    while ledger.applied() < receipt.number {
        tokio::task::yield_now().await;
    }
    assert_eq!(standing(&ledger, before, "tag:x"), Standing::Void);
    drop(stop);
    following.await.expect("it ends when told to");
}

#[tokio::test]
async fn publishing_applies_what_others_appended_before() {
    let log = InProcess::new();
    let ((here, _), (there, ledger)) = (node(&log), node(&log));
    let before = ledger.born(NOW);
    published(&here, &[purge(tag("x"), Purge::Hard)]).await;
    let record = Bytes::from_static(b"{\"type\":\"of tomorrow\",\"tags\":[\"tag:y\"]}");
    log.append(Append::new(record, Grade::Hard, Vec::new(), false)).await.expect("appended");
    assert_eq!(published(&there, &[purge(tag("z"), Purge::Soft)]).await.number, 3);
    for (name, expected) in [("tag:x", Standing::Void), ("tag:y", Standing::Void), ("tag:z", Standing::Soft)] {
        assert_eq!(standing(&ledger, before, name), expected, "{name}");
    }
    assert_eq!(there.lost(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_publishers_at_once_lose_nothing() {
    let log = InProcess::new();
    let (bus, ledger) = node(&log);
    let before = ledger.born(NOW);
    let publishers: Vec<_> = (0..100)
        .map(|n| {
            let (bus, ledger) = (Arc::clone(&bus), Arc::clone(&ledger));
            tokio::spawn(async move {
                let name = n.to_string();
                published(&bus, &[purge(tag(&name), Purge::Hard)]).await;
                standing(&ledger, before, &format!("tag:{name}"))
            })
        })
        .collect();
    for publisher in publishers {
        assert_eq!(publisher.await.expect("ended"), Standing::Void);
    }
    assert_eq!((ledger.applied(), bus.lost()), (100, 0));
    let numbers: Vec<u64> = bus.audit(1_000).iter().map(|line| line.number).collect();
    assert_eq!(numbers, (1..=100).rev().collect::<Vec<_>>());
}

#[tokio::test]
async fn what_the_log_no_longer_holds_is_counted_and_answered_by_validation() {
    let log = InProcess::with_retention(3);
    let ((here, _), (there, ledger)) = (node(&log), node(&log));
    let before = ledger.born(NOW);
    for n in 0..10 {
        published(&here, &[purge(tag(&n.to_string()), Purge::Hard)]).await;
    }
    published(&there, &[purge(tag("mine"), Purge::Hard)]).await;
    assert_eq!((ledger.applied(), there.lost(), here.lost()), (11, 8, 0));
    for (name, expected) in [
        ("tag:0", Standing::Check),
        ("tag:other", Standing::Check),
        ("tag:9", Standing::Void),
        ("tag:mine", Standing::Void),
    ] {
        assert_eq!(standing(&ledger, before, name), expected, "{name}");
    }
}

#[tokio::test]
async fn the_audit_trail_tells_who_and_when_and_is_bounded() {
    let (bus, _) = node(&InProcess::new());
    let change = Change {
        selector: Selector::All,
        action: Action::Purge(Purge::Soft),
        source: Source::Method,
        id: "req-1".into(),
    };
    published(&bus, &[change]).await;
    let expected = AuditLine {
        number: 1,
        at: 1_700_000_000,
        grade: Grade::Soft,
        tags: vec!["*".into()],
        more_tags: 0,
        source: "method".into(),
        id: "req-1".into(),
    };
    assert_eq!(bus.audit(9), [expected]);
    for _ in 0..TRAIL + 5 {
        published(&bus, &[purge(tag("x"), Purge::Hard)]).await;
    }
    assert_eq!((bus.audit(usize::MAX).len(), bus.audit(3).len()), (TRAIL, 3));
}

#[test]
fn a_receipt_is_written_as_epoch_and_number() {
    assert_eq!(Receipt { epoch: Epoch(0xab), number: 12 }.to_string(), "00000000000000ab-12");
}
