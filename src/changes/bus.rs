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
//!
//! The log may be out of reach. Then the change is applied here, queued, and appended when the log is back; the caller
//! learns that it is not in the log ([`Published::Queued`]). What keeps a node in sight of the log is in `sight`, what
//! tells that all nodes have applied a change in `everywhere`.

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Mutex as Turn, Notify, watch};

use super::held::Held;
use super::queue::{Queue, Recent};
use super::{Change, sight};
use crate::clock::{Clock, Moment};
use crate::fleet::{Append, Epoch, Fleet, FleetError, Logged, Name, PAGE, Place, Timebase};
use crate::store::{Applied, EVERYTHING, Grade, Ledger, Names, Record};
use crate::telemetry::{Metrics, PurgeGrade};

/// How a node follows the log of its fleet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BusSettings {
    /// What this node is called among the others; unlike any other's.
    pub node: String,
    /// Δ: for how long a node goes on by what it knows without having heard of the log. 100 ms to 1 min, default 2 s.
    pub delta: Duration,
    /// What the names of this fleet's tags and entries begin with; the same on all its nodes.
    pub namespace: String,
}

impl Default for BusSettings {
    fn default() -> Self {
        Self { node: String::from("forebay"), delta: Duration::from_secs(2), namespace: String::from("forebay") }
    }
}

/// Appends changes to the fleet's log, and applies the log to this node's ledger.
#[derive(Debug)]
pub struct Bus {
    pub(super) settings: BusSettings,
    pub(super) metrics: Option<Arc<Metrics>>,
    pub(super) fleet: Fleet,
    pub(super) ledger: Arc<Ledger>,
    /// Whoever holds it applies; so every record is applied and noted once, in order.
    pub(super) turn: Turn<()>,
    /// Changes that hold here and are not in the log.
    pub(super) queue: Queue,
    /// What was heard and has not been seen in the log yet.
    held: Mutex<Held>,
    /// Changes of the last moments: what the log may have lost when its epoch ends.
    pub(super) recent: Mutex<Recent>,
    /// A record did not follow: this node has to begin anew at its next heartbeat.
    pub(super) broken: AtomicBool,
    /// This node is the one that appends what the backend announces.
    pub(super) scribe: AtomicBool,
    /// How often it has become that.
    pub(super) scribe_turns: watch::Sender<u64>,
    /// A heartbeat has been answered.
    pub(super) heard: AtomicBool,
    /// The last heartbeat was answered, and all that followed from it went well.
    pub(super) well: AtomicBool,
    /// How the fleet's clock relates to this node's.
    pub(super) timebase: Timebase,
    pub(super) counts: sight::Counts,
    /// When the last heartbeat was sent that went well. Whoever holds it sends the next.
    pub(super) beating: Turn<Option<Moment>>,
    /// A heartbeat is wanted now.
    pub(super) hurry: Notify,
    /// What tags are called among what is shared.
    names: Names,
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

/// What became of changes that were announced. Either way they hold on this node.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "what is only queued must not be reported as done"]
pub enum Published {
    /// They are in the log; the other nodes follow.
    Logged(Receipt),
    /// The log cannot be reached. They are appended, in their order and as purges, when it is back.
    Queued(FleetError),
}

/// What came of catching up with a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reached {
    /// It has been applied here.
    Applied,
    /// The log has been read to its end, and ends before it: nobody has been given that number.
    Beyond,
    /// It is of another life of the log, or the log cannot be read now.
    Unknown,
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
}

impl fmt::Display for BusError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BusError::Selector { index, problem } => write!(out, "change {index}: {problem}"),
            BusError::TooMany { given, limit } => write!(out, "{given} changes at once; the limit is {limit}"),
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
        let settings = BusSettings::default();
        Self {
            names: Names::new(&settings.namespace, None),
            settings,
            metrics: None,
            fleet,
            ledger,
            turn: Turn::new(()),
            queue: Queue::default(),
            held: Mutex::default(),
            recent: Mutex::default(),
            broken: AtomicBool::new(false),
            scribe: AtomicBool::new(false),
            scribe_turns: watch::Sender::new(0),
            heard: AtomicBool::new(false),
            well: AtomicBool::new(false),
            timebase: Timebase::default(),
            counts: sight::Counts::default(),
            beating: Turn::new(None),
            hurry: Notify::new(),
            trail: Mutex::default(),
            lost: AtomicU64::new(0),
        }
    }

    /// The same, on these terms.
    #[must_use]
    pub fn on(self, settings: BusSettings) -> Self {
        Self { names: Names::new(&settings.namespace, None), settings, ..self }
    }

    /// The same, counted by `metrics`.
    #[must_use]
    pub fn counted_by(self, metrics: Arc<Metrics>) -> Self {
        Self { metrics: Some(metrics), ..self }
    }

    /// How it follows.
    pub fn settings(&self) -> &BusSettings {
        &self.settings
    }

    /// How the fleet's clock relates to this node's.
    pub fn timebase(&self) -> &Timebase {
        &self.timebase
    }

    /// Whether this node appends what the backend announces.
    pub fn is_scribe(&self) -> bool {
        self.scribe.load(Ordering::Acquire)
    }

    /// Changes that hold here and are not in the log yet.
    pub fn queued(&self) -> usize {
        self.queue.len()
    }

    /// What the fleet shares.
    pub fn fleet(&self) -> &Fleet {
        &self.fleet
    }

    /// Announces `changes`. When this returns, they hold on this node; the other nodes follow, unless the changes are only
    /// queued. If the caller gives up waiting, what was appended holds as soon as [`Bus::follow`] comes to it.
    ///
    /// # Errors
    /// See [`BusError`]: the selectors and the number of changes are checked before anything is appended.
    pub async fn publish(&self, changes: &[Change], now: Moment) -> Result<Published, BusError> {
        check(changes)?;
        Ok(self.announce(records(changes, now), now).await)
    }

    /// Announces `records`, and sees to it that they hold here.
    pub(super) async fn announce(&self, records: impl Iterator<Item = Record>, now: Moment) -> Published {
        let place = self.ledger.place();
        let mut receipt = Receipt { epoch: place.epoch, number: place.number };
        // What is queued goes first: changes are appended in the order in which they were announced.
        let mut kept_back = (!self.queue.is_empty()).then_some(FleetError::Away);
        if kept_back.is_some() {
            // If the log is back, what waits need not wait for the next heartbeat.
            self.hurry.notify_one();
        }
        let (mut said, mut one_life) = (Vec::new(), true);
        for record in records {
            if kept_back.is_none() {
                match self.append(&record, now).await {
                    Ok(logged) => {
                        one_life &= logged.epoch == place.epoch;
                        receipt = logged;
                        said.push(record);
                        continue;
                    }
                    Err(error) => kept_back = Some(error),
                }
            }
            self.hold_back(record);
        }
        let caught_up = self.catch_up(now).await;
        if kept_back.is_none() && one_life && self.has_applied(receipt) {
            return Published::Logged(receipt);
        }
        // Appended, and not to be read back: it holds here all the same, and is appended once more.
        for record in said {
            self.hold_back(record);
        }
        Published::Queued(kept_back.or(caught_up.err()).unwrap_or(FleetError::Away))
    }

    /// Whether this node has applied what `receipt` is for. In another life of the log nothing says so: the record may be
    /// lost with the old one.
    fn has_applied(&self, receipt: Receipt) -> bool {
        let place = self.ledger.place();
        place.epoch == receipt.epoch && place.number >= receipt.number
    }

    /// Appends a change, and remembers it for a while: the log's master may die with it.
    pub(super) async fn append(&self, record: &Record, now: Moment) -> Result<Receipt, FleetError> {
        let appended = self.fleet.append(self.append_of(record)).await?;
        self.recent().add(record, now, self.settings.delta * 2);
        Ok(Receipt { epoch: appended.place.epoch, number: appended.place.number })
    }

    /// Appends what the backend has announced, if this node is the fleet's scribe at that moment; with `read_up_to`, also
    /// notes that the stream of that name has been read up to that id.
    pub(super) async fn append_as_scribe(
        &self,
        record: &Record,
        read_up_to: Option<(&str, &str)>,
    ) -> Result<(), FleetError> {
        let append = Append {
            as_scribe: Some(self.settings.node.clone()),
            read_up_to: read_up_to.map(|(stream, id)| (stream.to_owned(), id.to_owned())),
            ..self.append_of(record)
        };
        self.fleet.append(append).await.map(drop)
    }

    /// Applies a change here, and queues it for the log.
    pub(super) fn hold_back(&self, record: Record) {
        self.queue.push(record, |record| self.ledger.pend(record));
    }

    /// Applies what others append, until `shutdown` ends. To be run once, for as long as the node serves.
    pub async fn follow(&self, clock: &Clock, shutdown: impl Future<Output = ()>) {
        tokio::pin!(shutdown);
        loop {
            let followed = async {
                self.fleet.changed(self.ledger.applied()).await?;
                self.catch_up(clock.now()).await
            };
            let failed = tokio::select! {
                () = &mut shutdown => return,
                followed = followed => followed.is_err() || self.broken.load(Ordering::Acquire),
            };
            if failed {
                tokio::select! {
                    () = &mut shutdown => return,
                    () = tokio::time::sleep(RETRY) => {}
                }
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

    /// Sees to it that this node has applied what `receipt` is for, within Δ if it can. Where the log ends is for its master
    /// to say: a number that this node has not heard of may be new, or of a life that has just ended.
    pub async fn follow_to(&self, receipt: Receipt, clock: &Clock) -> Reached {
        let there = |place: Place| place.epoch == receipt.epoch && place.number >= receipt.number;
        if there(self.ledger.place()) {
            return Reached::Applied;
        }
        let arrived = clock.now();
        // Dropped half-way, reading loses nothing: what was read has been applied.
        let heard = tokio::time::timeout(self.settings.delta, self.hear_after(arrived, clock)).await;
        let place = self.ledger.place();
        match heard {
            _ if there(place) => Reached::Applied,
            Ok(true) if place.epoch == receipt.epoch => Reached::Beyond,
            _ => Reached::Unknown,
        }
    }

    /// Applies the log from where the ledger is to where it ends now.
    pub(super) async fn catch_up(&self, now: Moment) -> Result<(), FleetError> {
        let _turn = self.turn.lock().await;
        self.read_on(now).await
    }

    /// The same, for whoever has the turn.
    pub(super) async fn read_on(&self, now: Moment) -> Result<(), FleetError> {
        loop {
            let page = self.fleet.read_after(self.ledger.applied()).await?;
            for logged in &page {
                if !self.apply(logged, now) {
                    // The next heartbeat tells where to begin anew.
                    self.broken.store(true, Ordering::Release);
                    self.hurry.notify_one();
                    return Ok(());
                }
            }
            // A page that is not full is the end; what comes after that is for the next reader.
            if page.len() < PAGE {
                return Ok(());
            }
        }
    }

    /// Says whether the record followed what was applied before.
    fn apply(&self, logged: &Logged, now: Moment) -> bool {
        let record = Record::decode(&logged.bytes);
        match self.ledger.follow(logged, &record) {
            Applied::Broken => return false,
            Applied::Already => return true,
            Applied::InOrder => {}
            Applied::Gap { from, to } => self.count_lost(from, to),
        }
        if let Some(metrics) = &self.metrics {
            metrics.purged(match record.grade {
                Grade::Soft => PurgeGrade::Soft,
                Grade::Check => PurgeGrade::Check,
                Grade::Hard => PurgeGrade::Hard,
            });
        }
        if record.report {
            self.hurry.notify_one();
        }
        self.held().seen(&record.id);
        self.recent().add(&record, now, self.settings.delta * 2);
        self.note(logged.place.number, record);
        true
    }

    pub(super) fn count_lost(&self, from: u64, to: u64) {
        self.lost.fetch_add(to.saturating_sub(from).saturating_add(1), Ordering::Relaxed);
        tracing::warn!(from, to, "changes were lost; what is older is validated before it is used");
    }

    /// `record` as it is appended: the marks beside it are for those who meet an entry older than their view of the log.
    pub(super) fn append_of(&self, record: &Record) -> Append {
        let everything = record.tags.iter().any(|tag| tag == EVERYTHING);
        let shared = self.fleet.shares_entries();
        let names = record.tags.iter().filter(|tag| shared && *tag != EVERYTHING);
        let names = names.map(|tag| Name(*self.names.tag(tag).bytes())).collect();
        Append::new(record.encode(), record.grade, names, everything)
    }

    fn note(&self, number: u64, record: Record) {
        let Record { grade, mut tags, source, id, at, report: _ } = record;
        let more_tags = tags.len().saturating_sub(TRAIL_TAGS);
        tags.truncate(TRAIL_TAGS);
        let mut trail = self.trail();
        if trail.len() == TRAIL {
            trail.pop_front();
        }
        trail.push_back(AuditLine { number, at, grade, tags, more_tags, source, id });
    }

    // Nothing that holds them can panic half-way.
    fn trail(&self) -> std::sync::MutexGuard<'_, VecDeque<AuditLine>> {
        self.trail.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn held(&self) -> std::sync::MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn recent(&self) -> std::sync::MutexGuard<'_, Recent> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Lines kept of the audit trail.
const TRAIL: usize = 1_000;

/// Tags named in one line of it.
const TRAIL_TAGS: usize = 20;

/// Changes taken at once.
const CHANGES: usize = 100_000;

/// Tags in one record, so that no record is applied for long while readers wait.
pub(super) const RECORD_TAGS: usize = 1_000;

/// How long to wait before a log that cannot be read is read again.
const RETRY: Duration = Duration::from_millis(100);

pub(super) fn check(changes: &[Change]) -> Result<(), BusError> {
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
pub(super) fn records(changes: &[Change], now: Moment) -> impl Iterator<Item = Record> {
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
            report: false,
        })
    })
}

#[cfg(test)]
mod tests;
