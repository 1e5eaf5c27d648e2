//! The one way by which anything is invalidated.
//!
//! ```text
//! publish ── append to the fleet's log ── apply all up to it ── return
//! follow                                  └─ apply what others appended
//! ```
//!
//! The log is the only thing acted upon: who publishes appends, and then applies the record as any other node does, in
//! its turn. So when [`Bus::publish`] returns, the change holds on this node: no entry, no fetch under way, and nobody
//! who waits for one can bring back what it names. How much is stored does not matter; a purge of everything costs what
//! a purge of one URL does.

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Mutex as Turn;

use super::Change;
use crate::clock::Moment;
use crate::fleet::{Epoch, Fleet, Trimmed};
use crate::store::{Applied, Grade, Ledger, Record};
use crate::telemetry::{Metrics, PurgeGrade};

/// Appends changes to the fleet's log, and applies the log to this node's ledger.
#[derive(Debug)]
pub struct Bus {
    metrics: Option<Arc<Metrics>>,
    fleet: Fleet,
    ledger: Arc<Ledger>,
    /// Whoever holds it applies; so every record is applied and noted once, in order.
    turn: Turn<()>,
    trail: Mutex<VecDeque<AuditLine>>,
    lost: AtomicU64,
}

/// Proof that a change is in the log, and holds on this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// The life of the log in which `number` counts.
    pub epoch: Epoch,
    /// The number of the last record that the changes became.
    pub number: u64,
}

/// As in `Forebay-Seq`: `epoch-number`.
impl fmt::Display for Receipt {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}-{}", self.epoch, self.number)
    }
}

/// Why changes were not published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BusError {
    /// A selector can select nothing. None of the changes was published.
    Selector {
        /// The change's place among those given, from 0.
        index: usize,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// More changes than are taken at once. None of them was published.
    TooMany {
        /// How many were given.
        given: usize,
        /// How many are taken.
        limit: usize,
    },
    /// The record was appended, but the log ended before it when it was read back. It will hold once it is followed.
    NotApplied {
        /// The record's number.
        number: u64,
    },
}

impl fmt::Display for BusError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BusError::Selector { index, problem } => write!(out, "change {index}: {problem}"),
            BusError::TooMany { given, limit } => write!(out, "{given} changes at once; the limit is {limit}"),
            BusError::NotApplied { number } => write!(out, "change {number} is in the log and not applied here yet"),
        }
    }
}

impl std::error::Error for BusError {}

/// One change in the audit trail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditLine {
    /// Its number in the log.
    pub number: u64,
    /// When it was appended, in seconds since the Unix epoch, by the appender's clock.
    pub at: u64,
    /// How hard it hit.
    pub grade: Grade,
    /// Full names of the first tags it hit; `*` is everything.
    pub tags: Vec<String>,
    /// How many more there were.
    pub more_tags: usize,
    /// Who announced it.
    pub source: String,
    /// The announcer's own name for it, or empty.
    pub id: String,
}

impl Bus {
    /// A bus that appends to `fleet` and applies to `ledger`, which follows that same log.
    pub fn new(fleet: Fleet, ledger: Arc<Ledger>) -> Self {
        Self { metrics: None, fleet, ledger, turn: Turn::new(()), trail: Mutex::default(), lost: AtomicU64::new(0) }
    }

    /// The same, counted by `metrics`.
    #[must_use]
    pub fn counted_by(self, metrics: Arc<Metrics>) -> Self {
        Self { metrics: Some(metrics), ..self }
    }

    /// Announces `changes`. When this returns a receipt, they hold on this node; the other nodes follow. If the caller
    /// gives up waiting, what was appended holds as soon as [`Bus::follow`] comes to it.
    ///
    /// # Errors
    /// See [`BusError`]: the selectors and the number of changes are checked before anything is appended.
    pub async fn publish(&self, changes: &[Change], now: Moment) -> Result<Receipt, BusError> {
        check(changes)?;
        let mut receipt = Receipt { epoch: self.ledger.epoch(), number: self.ledger.applied() };
        for record in records(changes, now) {
            let appended = self.fleet.append(record.encode()).await;
            receipt = Receipt { epoch: appended.epoch, number: appended.number };
        }
        self.catch_up().await;
        if self.ledger.applied() < receipt.number {
            return Err(BusError::NotApplied { number: receipt.number });
        }
        Ok(receipt)
    }

    /// Applies what others append, until `shutdown` ends. To be run once, for as long as the node serves.
    pub async fn follow(&self, shutdown: impl Future<Output = ()>) {
        tokio::pin!(shutdown);
        loop {
            tokio::select! {
                () = &mut shutdown => return,
                () = self.fleet.changed(self.ledger.applied()) => self.catch_up().await,
            }
        }
    }

    /// The latest changes applied on this node, up to `limit`, the newest first.
    pub fn audit(&self, limit: usize) -> Vec<AuditLine> {
        self.trail().iter().rev().take(limit).cloned().collect()
    }

    /// Records that were never seen since the start: trimmed from the log, or missing in it. What they may have named is
    /// validated before use, so nothing wrong was served; but something is wrong.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// Applies the log from where the ledger is to where it ends now.
    async fn catch_up(&self) {
        let _turn = self.turn.lock().await;
        loop {
            match self.fleet.read_after(self.ledger.applied()).await {
                Ok(page) if page.is_empty() => return,
                Ok(page) => page.iter().for_each(|(number, bytes)| self.apply(*number, bytes)),
                // What is gone may have named anything.
                Err(Trimmed { first }) => self.count(self.ledger.lose_until(first.saturating_sub(1))),
            }
        }
    }

    fn apply(&self, number: u64, bytes: &[u8]) {
        let record = Record::decode(bytes);
        if let Some(metrics) = &self.metrics {
            metrics.purged(match record.grade {
                Grade::Soft => PurgeGrade::Soft,
                Grade::Check => PurgeGrade::Check,
                Grade::Hard => PurgeGrade::Hard,
            });
        }
        self.count(self.ledger.apply(number, &record));
        self.note(number, record);
    }

    fn count(&self, applied: Applied) {
        if let Applied::Gap { from, to } = applied {
            self.lost.fetch_add(to.saturating_sub(from).saturating_add(1), Ordering::Relaxed);
            tracing::warn!(from, to, "changes were lost; what is older is validated before it is used");
        }
    }

    fn note(&self, number: u64, record: Record) {
        let Record { grade, mut tags, source, id, at } = record;
        let more_tags = tags.len().saturating_sub(TRAIL_TAGS);
        tags.truncate(TRAIL_TAGS);
        let mut trail = self.trail();
        if trail.len() == TRAIL {
            trail.pop_front();
        }
        trail.push_back(AuditLine { number, at, grade, tags, more_tags, source, id });
    }

    // Nothing that holds it can panic half-way.
    fn trail(&self) -> std::sync::MutexGuard<'_, VecDeque<AuditLine>> {
        self.trail.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Lines kept of the audit trail.
const TRAIL: usize = 1_000;

/// Tags named in one line of it.
const TRAIL_TAGS: usize = 20;

/// Changes taken at once.
const CHANGES: usize = 100_000;

/// Tags in one record, so that no record is applied for long while readers wait.
const RECORD_TAGS: usize = 1_000;

fn check(changes: &[Change]) -> Result<(), BusError> {
    if changes.len() > CHANGES {
        return Err(BusError::TooMany { given: changes.len(), limit: CHANGES });
    }
    for (index, change) in changes.iter().enumerate() {
        if let Some(problem) = change.selector.problem() {
            return Err(BusError::Selector { index, problem });
        }
    }
    Ok(())
}

/// One record for each run of changes that differ in what they select only.
fn records(changes: &[Change], now: Moment) -> impl Iterator<Item = Record> {
    let alike =
        |one: &Change, other: &Change| one.action == other.action && one.source == other.source && one.id == other.id;
    changes.chunk_by(alike).flat_map(|run| run.chunks(RECORD_TAGS)).filter_map(move |run| {
        let Change { action, source, id, .. } = run.first()?;
        Some(Record {
            grade: action.grade(),
            tags: run.iter().map(|change| change.selector.tag()).collect(),
            source: source.as_str().to_owned(),
            id: id.clone(),
            at: now.wall.as_secs(),
        })
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;
    use tokio::sync::oneshot;

    use super::*;
    use crate::changes::{Action, Purge, Selector, Source};
    use crate::fleet::InProcess;
    use crate::policy::tags::hash_tag;
    use crate::store::{Born, LedgerSettings, Standing};

    const NOW: Moment = Moment { wall: Duration::from_secs(1_700_000_000), mono: Duration::from_secs(5) };

    /// A node that shares `log`.
    fn node(log: &InProcess) -> (Arc<Bus>, Arc<Ledger>) {
        let ledger = Arc::new(Ledger::new(log.epoch(), LedgerSettings::default()));
        (Arc::new(Bus::new(Fleet::InProcess(log.clone()), Arc::clone(&ledger))), ledger)
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
            let before = ledger.born();
            let receipt = bus.publish(&[purge(selector.clone(), hardness)], NOW).await.expect("published");
            assert_eq!((receipt.epoch, receipt.number), (ledger.epoch(), 1));
            assert_eq!(standing(&ledger, before, named), expected, "{selector:?} {hardness:?}");
            assert_eq!(standing(&ledger, ledger.born(), named), Standing::Valid, "what is fetched now is not hit");
        }
    }

    #[tokio::test]
    async fn changes_announced_together_share_a_record() {
        let (bus, ledger) = node(&InProcess::new());
        let mut changes: Vec<Change> = (0..2_500).map(|n| purge(tag(&n.to_string()), Purge::Hard)).collect();
        changes.push(purge(tag("soft"), Purge::Soft));
        changes.push(purge(tag("softer"), Purge::Soft));
        let before = ledger.born();
        assert_eq!(bus.publish(&changes, NOW).await.expect("published").number, 4);
        for (name, expected) in
            [("tag:0", Standing::Void), ("tag:2499", Standing::Void), ("tag:softer", Standing::Soft)]
        {
            assert_eq!(standing(&ledger, before, name), expected, "{name}");
        }
        let lines = bus.audit(2);
        assert_eq!(lines[0].tags, ["tag:soft", "tag:softer"]);
        assert_eq!((lines[1].tags.len(), lines[1].more_tags, lines[1].number), (20, 480, 3));
        assert_eq!(bus.publish(&[], NOW).await.expect("nothing to do").number, 4);
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
        let before = ledger.born();
        let (stop, stopped) = oneshot::channel::<()>();
        let following = tokio::spawn(async move { there.follow(async { drop(stopped.await) }).await });
        let receipt = here.publish(&[purge(tag("x"), Purge::Hard)], NOW).await.expect("published");
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
        let before = ledger.born();
        here.publish(&[purge(tag("x"), Purge::Hard)], NOW).await.expect("published");
        log.append(Bytes::from_static(b"{\"type\":\"of tomorrow\",\"tags\":[\"tag:y\"]}")).await;
        assert_eq!(there.publish(&[purge(tag("z"), Purge::Soft)], NOW).await.expect("published").number, 3);
        for (name, expected) in [("tag:x", Standing::Void), ("tag:y", Standing::Void), ("tag:z", Standing::Soft)] {
            assert_eq!(standing(&ledger, before, name), expected, "{name}");
        }
        assert_eq!(there.lost(), 0);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn many_publishers_at_once_lose_nothing() {
        let log = InProcess::new();
        let (bus, ledger) = node(&log);
        let before = ledger.born();
        let publishers: Vec<_> = (0..100)
            .map(|n| {
                let (bus, ledger) = (Arc::clone(&bus), Arc::clone(&ledger));
                tokio::spawn(async move {
                    let name = n.to_string();
                    bus.publish(&[purge(tag(&name), Purge::Hard)], NOW).await.expect("published");
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
        let before = ledger.born();
        for n in 0..10 {
            here.publish(&[purge(tag(&n.to_string()), Purge::Hard)], NOW).await.expect("published");
        }
        there.publish(&[purge(tag("mine"), Purge::Hard)], NOW).await.expect("published");
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
        bus.publish(&[change], NOW).await.expect("published");
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
            bus.publish(&[purge(tag("x"), Purge::Hard)], NOW).await.expect("published");
        }
        assert_eq!((bus.audit(usize::MAX).len(), bus.audit(3).len()), (TRAIL, 3));
    }

    #[test]
    fn a_receipt_is_written_as_epoch_and_number() {
        assert_eq!(Receipt { epoch: Epoch(0xab), number: 12 }.to_string(), "00000000000000ab-12");
    }
}
