//! This node's view of the log of changes: what every read is checked against.
//!
//! An invalidation that has to *find* its victims loses races: with a fetch already running, with a write that comes
//! late, with a message that was lost. Here nothing is looked for. A change is a number; an entry carries the number
//! that this node had applied when its backend request was sent (its [`Born`]); it is valid unless a later change names
//! one of its tags. When it was inserted, and by whom, does not matter.
//!
//! ```text
//! fill    note born ──── ask the backend ───────────────── keep: is it valid?
//! change                        append N ── apply N ── report
//! read                                                       is it valid?
//! ```
//!
//! **A hit stays cheap.** Checking means looking up each of the entry's tags under a lock. So the ledger counts its own
//! changes (the *generation*), and an entry remembers the generation at which it was last found valid. If they are
//! equal, nothing has changed since, and one load has answered the question.
//!
//! *Order of the writer*: floors and marks, then generation and `applied` (Release), then the report to whoever asked.
//! *Order of the reader*: load the generation (Acquire), check, remember the generation that was loaded **first**. The
//! reader may have checked against a later state than it remembers, never against an earlier one.
//!
//! **Epochs.** Numbers count within one life of the log. When another begins, everything born before is validated before
//! its next use; its numbers are not compared with the new ones. A node that has not heard from the fleet yet counts in
//! an epoch of its own, so that what it fetches meanwhile can be kept, and is validated once it has heard.
//!
//! **Sight.** A node that has lost the log from sight cannot know what has changed. So each hit also asks whether the
//! lease still runs ([`Ledger::sight`]): one load and one comparison. The log of a node on its own is always in sight.
//!
//! **Pending.** A change that could not be appended holds on this node all the same: it marks its tags at a local *tick*,
//! entries note the tick of their birth, and what is older is hit, until the record is in the log and applied.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use super::marks::MarkTable;
use super::record::{EVERYTHING, Grade, Record};
use super::{Entry, Standing};
pub use crate::fleet::Epoch;
use crate::fleet::{Logged, Place};
use crate::policy::tags::{TagHash, hash_tag};
use crate::rfc::Moment;

/// How much a ledger may remember.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LedgerSettings {
    /// Tags that have marks of their own, about 100 bytes each. Beyond it the longest unheard of is dropped, and every
    /// entry older than its last change is validated before its next use.
    pub max_tags: usize,
}

impl Default for LedgerSettings {
    fn default() -> Self {
        Self { max_tags: 1_000_000 }
    }
}

/// The place in the log at which an entry's backend request was sent: everything up to `number` had been applied, so
/// the answer can reflect it; what came later it may miss.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Born {
    /// The life of the log in which `number` counts. Numbers of two epochs are never compared.
    pub epoch: Epoch,
    /// The last change applied.
    pub number: u64,
    /// The last change that was applied on this node only, because the log could not be reached. Zero for what another
    /// node has fetched.
    pub tick: u64,
    /// When that was, on the monotonic clock. Zero for what another node has fetched.
    pub at: Duration,
}

impl Born {
    /// The birth of what another node has fetched. What counts on that node only means nothing here.
    pub fn elsewhere(epoch: Epoch, number: u64) -> Self {
        Self { epoch, number, tick: 0, at: Duration::ZERO }
    }
}

/// Whether this node knows what has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sight {
    /// It has applied all that was in the log a moment ago.
    Clear,
    /// It has not heard of the log for too long.
    Blind {
        /// Since when, on the monotonic clock.
        since: Duration,
    },
}

/// What came of handing a record to the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a gap is to be counted and reported"]
pub enum Applied {
    /// It was the next one.
    InOrder,
    /// It had been applied before; nothing changed.
    Already,
    /// Records `from` to `to` (inclusive) were never seen. The record is applied, and since the missing ones may have
    /// named anything, all that is older must be validated.
    Gap {
        /// The first one missing.
        from: u64,
        /// The last one missing.
        to: u64,
    },
    /// It does not follow what was applied last: another epoch, or another log of the same length. Nothing changed; the
    /// ledger has to [begin](Ledger::begin) anew.
    Broken,
}

/// The node's view of the log. Shared by all that read and fill; written by the change bus alone.
#[derive(Debug)]
pub struct Ledger {
    /// Grows with every change of `view`. Starts above what a new entry remembers.
    generation: AtomicU64,
    /// The view's epoch; [`TURNING`] while it changes. Written while `view` is locked.
    epoch: AtomicU64,
    /// The number of the last record applied. Written while `view` is locked.
    applied: AtomicU64,
    /// Counts the changes that hold here and are not in the log. Written while `view` is locked.
    tick: AtomicU64,
    /// Until when the log is in sight, in nanoseconds on the monotonic clock.
    sight: AtomicU64,
    view: RwLock<View>,
    settings: LedgerSettings,
}

#[derive(Debug)]
struct View {
    /// The nonce of the last record applied.
    nonce: u64,
    /// Of what was born before this number, some marks may be unknown here.
    base: u64,
    marks: MarkTable,
    /// The marks of changes that are not in the log yet, by tick.
    pending: MarkTable,
}

/// What no epoch is called.
const TURNING: u64 = 0;

impl Ledger {
    /// A ledger at the beginning of `epoch`, whose log is always in sight: it is in this process.
    pub fn new(epoch: Epoch, settings: LedgerSettings) -> Self {
        let view = View {
            nonce: epoch.0,
            base: 0,
            marks: MarkTable::new(settings.max_tags),
            pending: MarkTable::new(settings.max_tags),
        };
        Self {
            generation: AtomicU64::new(1),
            epoch: AtomicU64::new(epoch.0),
            applied: AtomicU64::new(0),
            tick: AtomicU64::new(0),
            sight: AtomicU64::new(u64::MAX),
            view: RwLock::new(view),
            settings,
        }
    }

    /// A ledger that has not heard of its log yet: blind, and in an epoch of its own.
    pub fn adrift(settings: LedgerSettings) -> Self {
        // The standard library seeds this anew each time: randomness enough for a name.
        let own = Epoch(RandomState::new().hash_one("epoch").max(1));
        Self { sight: AtomicU64::new(0), ..Self::new(own, settings) }
    }

    /// The life of the log that this ledger follows.
    pub fn epoch(&self) -> Epoch {
        loop {
            match self.epoch.load(Ordering::Acquire) {
                TURNING => std::hint::spin_loop(),
                epoch => return Epoch(epoch),
            }
        }
    }

    /// The number of the last change applied on this node; zero before the first.
    pub fn applied(&self) -> u64 {
        self.applied.load(Ordering::Acquire)
    }

    /// Where in the log this node is.
    pub fn place(&self) -> Place {
        let view = self.read();
        // Neither changes while the view is locked.
        Place { epoch: self.epoch(), number: self.applied(), nonce: view.nonce }
    }

    /// Counts the changes of this node's view. Equal generations mean that nothing that was valid has ceased to be.
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Changes that hold on this node and are not in the log, counted since the start.
    pub fn tick(&self) -> u64 {
        self.tick.load(Ordering::Acquire)
    }

    /// The birth of an answer whose backend request is sent *after* this call, at `now`. Also the arrival of a request,
    /// for [`Ledger::admits`].
    pub fn born(&self, now: Moment) -> Born {
        // Older than the truth if a change is being applied just now, which is the safe side.
        let tick = self.tick();
        loop {
            let epoch = self.epoch();
            let number = self.applied();
            // A number belongs to the epoch that stood both before and after it was read.
            if self.epoch.load(Ordering::Acquire) == epoch.0 {
                return Born { epoch, number, tick, at: now.mono };
            }
        }
    }

    /// Whether the log is in sight at `now`, a moment read after the request's head had arrived.
    pub fn sight(&self, now: Moment) -> Sight {
        let until = Duration::from_nanos(self.sight.load(Ordering::Acquire));
        if now.mono < until { Sight::Clear } else { Sight::Blind { since: until } }
    }

    /// The log stays in sight until `until`, on the monotonic clock: at `until` less the lease, it had been applied to its
    /// end.
    pub fn keep_in_sight(&self, until: Duration) {
        self.sight.fetch_max(u64::try_from(until.as_nanos()).unwrap_or(u64::MAX), Ordering::AcqRel);
    }

    /// May `entry` still be used? For hits: one load and one comparison unless something changed since it was last asked.
    pub fn standing(&self, entry: &Entry) -> Standing {
        let generation = self.generation();
        if entry.found_valid_at() == generation {
            return Standing::Valid;
        }
        let standing = self.standing_of(entry.born, &entry.marks);
        if standing == Standing::Valid {
            entry.remember_valid_at(generation);
        }
        standing
    }

    /// What may be done with an answer born at `born` under the tags `marks`: for fills about to be kept, and for those
    /// who wait for them.
    pub fn standing_of(&self, born: Born, marks: &[TagHash]) -> Standing {
        let view = self.read();
        let pending = view.pending.judge(born.tick, marks);
        // Numbers of another epoch say nothing here; the backend is asked instead.
        if born.epoch != self.epoch() {
            return pending.max(Standing::Check);
        }
        pending.max(view.marks.judge(born.number, marks))
    }

    /// Whether all marks on what was born at `born` are known here. If not, the log's own are to be asked: also about what
    /// claims to have been born where this node has not been yet.
    pub fn knows(&self, born: Born) -> bool {
        let view = self.read();
        let known = view.base.max(view.marks.dropped())..=self.applied();
        born.epoch == self.epoch() && known.contains(&born.number)
    }

    /// What a change that is not in the log yet permits of what another node has fetched.
    pub fn pending_standing(&self, marks: &[TagHash]) -> Standing {
        self.read().pending.judge(0, marks)
    }

    /// May a request that arrived at `arrival` be given an answer born at `born`, whatever its tags? It may if nothing
    /// that was applied before the request arrived is later than the answer.
    pub fn admits(&self, born: Born, arrival: Born) -> bool {
        born.epoch == arrival.epoch
            && born.epoch == self.epoch()
            && born.number >= arrival.number
            && born.tick >= arrival.tick
    }

    /// Like [`Ledger::admits`], once the answer's tags are known: also if no change since its birth names any of them.
    pub fn admits_tagged(&self, born: Born, arrival: Born, marks: &[TagHash]) -> bool {
        self.admits(born, arrival) || self.standing_of(born, marks) == Standing::Valid
    }

    /// Acts upon a record of the log, if it follows what was applied last.
    pub fn follow(&self, logged: &Logged, record: &Record) -> Applied {
        let mut view = self.write();
        let Place { epoch, number, nonce } = logged.place;
        let next = number.checked_sub(1) == Some(self.applied());
        if epoch != self.epoch() || (next && logged.previous != view.nonce) {
            return Applied::Broken;
        }
        let applied = self.apply_to(&mut view, number, record);
        if applied != Applied::Already {
            view.nonce = nonce;
        }
        applied
    }

    /// Acts upon record `number` of the log. To be called in the log's order.
    pub fn apply(&self, number: u64, record: &Record) -> Applied {
        self.apply_to(&mut self.write(), number, record)
    }

    fn apply_to(&self, view: &mut View, number: u64, record: &Record) -> Applied {
        let applied = self.applied();
        if number <= applied {
            return Applied::Already;
        }
        let missing = number - 1 > applied;
        if missing {
            view.marks.mark_all(number - 1, Grade::Check);
            view.base = number - 1;
        }
        mark(&mut view.marks, number, record);
        self.announce(number);
        if missing { Applied::Gap { from: applied + 1, to: number - 1 } } else { Applied::InOrder }
    }

    /// Begins anew at `place`, the end of the log as the log's master has just told it. In another epoch everything older
    /// is validated because numbers no longer compare; in the same one because changes may have been missed.
    pub fn begin(&self, place: Place) {
        let mut view = self.write();
        let Place { epoch, number, nonce } = place;
        if epoch == self.epoch() {
            view.marks.mark_all(number, Grade::Check);
        } else {
            view.marks = MarkTable::new(self.settings.max_tags);
        }
        view.base = number;
        view.nonce = nonce;
        self.epoch.store(TURNING, Ordering::Release);
        self.announce(number);
        self.epoch.store(epoch.0, Ordering::Release);
    }

    /// Acts upon a change that could not be appended: it holds here from now on. Its tick.
    pub fn pend(&self, record: &Record) -> u64 {
        let mut view = self.write();
        let tick = self.tick() + 1;
        mark(&mut view.pending, tick, record);
        self.generation.fetch_add(1, Ordering::AcqRel);
        self.tick.store(tick, Ordering::Release);
        tick
    }

    /// Whether a change holds here that is not in the log.
    pub fn is_pending(&self) -> bool {
        self.read().pending.is_marked()
    }

    /// All changes up to `tick` are in the log by now, and applied. Does nothing if there have been others since.
    pub fn settled(&self, tick: u64) {
        let mut view = self.write();
        if self.tick() == tick {
            view.pending = MarkTable::new(self.settings.max_tags);
        }
    }

    /// Forgets the tags that no change after `number` names. For when no entry is known to be older: should one turn up,
    /// it is validated. Keeps the table as small as what it serves.
    pub fn forget_until(&self, number: u64) {
        // The generation stays: nothing that was found valid has ceased to be.
        // In slices, so that no reader waits for long.
        while self.write().marks.forget_until(number, 1_024) {}
    }

    /// Tags that have marks of their own.
    pub fn tags(&self) -> usize {
        self.read().marks.len()
    }

    /// The last step of a writer, with the marks in place and their lock still held.
    fn announce(&self, number: u64) {
        self.generation.fetch_add(1, Ordering::AcqRel);
        self.applied.store(number, Ordering::Release);
    }

    // A writer does nothing that can panic half-way through, so a poisoned view is whole.
    fn read(&self) -> RwLockReadGuard<'_, View> {
        self.view.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, View> {
        self.view.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Marks what `record` names.
fn mark(marks: &mut MarkTable, number: u64, record: &Record) {
    for tag in &record.tags {
        match tag.as_str() {
            EVERYTHING => marks.mark_all(number, record.grade),
            tag => marks.mark(number, record.grade, hash_tag(tag)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::samples::{at, born, entry, epoch, interleave, ledger, record};
    use super::*;

    fn tag(name: &str) -> TagHash {
        hash_tag(name)
    }

    #[test]
    fn records_apply_in_order_and_once() {
        let ledger = ledger();
        assert_eq!(ledger.born(at(0)), born(0));
        assert_eq!(ledger.apply(1, &record(Grade::Hard, &["tag:x"])), Applied::InOrder);
        assert_eq!((ledger.applied(), ledger.born(at(0))), (1, born(1)));
        let generation = ledger.generation();
        assert_eq!(ledger.apply(1, &record(Grade::Hard, &["tag:y"])), Applied::Already);
        assert_eq!(ledger.generation(), generation);
        assert_eq!(ledger.standing_of(born(0), &[tag("tag:x")]), Standing::Void);
        assert_eq!(ledger.standing_of(born(0), &[tag("tag:y")]), Standing::Valid);
        assert_eq!(ledger.standing_of(born(1), &[tag("tag:x")]), Standing::Valid);
        assert_eq!(ledger.apply(2, &record(Grade::Hard, &[EVERYTHING])), Applied::InOrder);
        assert_eq!(ledger.standing_of(born(1), &[]), Standing::Void);
        assert_eq!(ledger.standing_of(born(2), &[]), Standing::Valid);
    }

    #[test]
    fn lost_records_are_answered_by_validation() {
        let ledger = ledger();
        assert_eq!(ledger.apply(1, &record(Grade::Soft, &["tag:x"])), Applied::InOrder);
        assert_eq!(ledger.apply(5, &record(Grade::Hard, &["tag:x"])), Applied::Gap { from: 2, to: 4 });
        let rows = [(0, "tag:y", Standing::Check), (3, "tag:y", Standing::Check), (4, "tag:y", Standing::Valid)];
        for (number, name, standing) in rows {
            assert_eq!(ledger.standing_of(born(number), &[tag(name)]), standing, "born {number} under {name}");
        }
        assert_eq!(ledger.standing_of(born(4), &[tag("tag:x")]), Standing::Void, "the record itself applies");
        ledger.begin(Place { number: 9, ..ledger.place() });
        assert_eq!(ledger.applied(), 9);
        assert_eq!(ledger.standing_of(born(8), &[tag("tag:y")]), Standing::Check);
        assert_eq!(ledger.standing_of(born(9), &[tag("tag:y")]), Standing::Valid);
        assert_eq!(ledger.apply(10, &record(Grade::Soft, &[])), Applied::InOrder);
    }

    #[test]
    fn numbers_of_another_epoch_are_not_compared() {
        let ledger = ledger();
        let elsewhere = Born { epoch: Epoch(epoch().0 + 1), number: 99, ..born(0) };
        assert_eq!(ledger.standing_of(elsewhere, &[]), Standing::Check);
        assert!(!ledger.admits(elsewhere, ledger.born(at(0))));
        assert!(!ledger.admits(ledger.born(at(0)), elsewhere));
        assert!(!ledger.admits(elsewhere, elsewhere));
        assert!(!ledger.admits_tagged(elsewhere, ledger.born(at(0)), &[]));
    }

    #[test]
    fn a_waiter_takes_no_answer_that_may_predate_its_arrival() {
        let ledger = ledger();
        let early = ledger.born(at(0));
        let _ = ledger.apply(1, &record(Grade::Hard, &["tag:x"]));
        let late = ledger.born(at(0));
        // (the answer's birth, the waiter's arrival, its tag; admitted blindly, admitted by its tags)
        let rows = [
            (early, early, "tag:x", true, true),
            (late, early, "tag:x", true, true),
            (late, late, "tag:x", true, true),
            (early, late, "tag:x", false, false),
            (early, late, "tag:y", false, true),
        ];
        for (birth, arrival, name, blindly, by_tags) in rows {
            assert_eq!(ledger.admits(birth, arrival), blindly, "{birth:?} for {arrival:?}");
            assert_eq!(ledger.admits_tagged(birth, arrival, &[tag(name)]), by_tags, "{birth:?} for {arrival:?} {name}");
        }
        let _ = ledger.apply(2, &record(Grade::Soft, &["tag:y"]));
        assert!(!ledger.admits_tagged(early, ledger.born(at(0)), &[tag("tag:y")]), "a soft change counts as well");
    }

    #[test]
    fn only_what_is_valid_is_remembered() {
        for (grade, standing) in
            [(Grade::Soft, Standing::Soft), (Grade::Check, Standing::Check), (Grade::Hard, Standing::Void)]
        {
            let (ledger, entry) = (ledger(), entry("/a", 0));
            assert_eq!(ledger.standing(&entry), Standing::Valid);
            assert_eq!(entry.found_valid_at(), ledger.generation());
            let _ = ledger.apply(1, &record(grade, &["tag:x"]));
            assert_eq!((ledger.standing(&entry), ledger.standing(&entry)), (standing, standing));
            let _ = ledger.apply(2, &record(Grade::Soft, &["tag:unrelated"]));
            assert_eq!(ledger.standing(&entry), standing);
        }
    }

    #[test]
    fn a_full_ledger_asks_for_validation() {
        let ledger = Ledger::new(epoch(), LedgerSettings { max_tags: 2 });
        for (number, name) in (1..).zip(["tag:a", "tag:b", "tag:c"]) {
            let _ = ledger.apply(number, &record(Grade::Hard, &[name]));
        }
        assert_eq!(ledger.tags(), 2);
        assert_eq!(ledger.standing_of(born(0), &[tag("tag:a")]), Standing::Check);
        assert_eq!(ledger.standing_of(born(0), &[tag("tag:other")]), Standing::Check);
        assert_eq!(ledger.standing_of(born(1), &[tag("tag:other")]), Standing::Valid);
        assert_eq!(ledger.standing_of(born(1), &[tag("tag:b")]), Standing::Void);
    }

    #[test]
    fn forgetting_takes_as_many_slices_as_it_needs() {
        let ledger = ledger();
        for number in 1..=3_000 {
            let _ = ledger.apply(number, &record(Grade::Hard, &[&format!("tag:{number}")]));
        }
        ledger.forget_until(2_900);
        assert_eq!(ledger.tags(), 100);
        assert_eq!(ledger.standing_of(born(2_899), &[]), Standing::Check);
        assert_eq!(ledger.standing_of(born(2_900), &[]), Standing::Valid);
    }

    /// Two readers of one entry and a change that names it, each in its smallest steps: marks before generation before
    /// report; generation, then check, then memory. In every order: who begins after the report sees the change.
    #[test]
    fn no_reader_that_begins_after_the_report_misses_the_change() {
        let (mut orders, mut missed_before) = (0, 0);
        interleave(&[3, 3, 3], &mut |schedule| {
            let (ledger, entry) = (ledger(), entry("/a", 0));
            assert_eq!(ledger.standing(&entry), Standing::Valid);
            let (mut reported, mut turns) = (false, [0; 3]);
            let mut readers = [(0, false, Standing::Void); 2];
            for actor in schedule {
                match (*actor, turns[*actor]) {
                    (0, 0) => ledger.write().marks.mark(1, Grade::Hard, tag("tag:x")),
                    (0, 1) => ledger.announce(1),
                    (0, _) => reported = true,
                    (reader, 0) => readers[reader - 1] = (ledger.generation(), reported, Standing::Void),
                    (reader, 1) => {
                        let (generation, _, standing) = &mut readers[reader - 1];
                        let remembered = entry.found_valid_at() == *generation;
                        *standing =
                            if remembered { Standing::Valid } else { ledger.standing_of(entry.born, &entry.marks) };
                    }
                    (reader, _) => {
                        let (generation, after_report, standing) = readers[reader - 1];
                        if standing == Standing::Valid {
                            entry.remember_valid_at(generation);
                        }
                        assert!(!(after_report && standing == Standing::Valid), "order {schedule:?}");
                        missed_before += usize::from(standing == Standing::Valid);
                    }
                }
                turns[*actor] += 1;
            }
            assert_eq!(ledger.standing(&entry), Standing::Void, "order {schedule:?}");
            orders += 1;
        });
        assert_eq!(orders, 1_680);
        assert!(missed_before > 0, "the search must reach readers that come before the report");
    }
}
