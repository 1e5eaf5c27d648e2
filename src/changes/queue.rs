//! Changes on their way into the log, and changes that have just been there.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::Receipt;
use crate::clock::Moment;
use crate::store::{EVERYTHING, Grade, Record};

/// Changes that hold on this node and are not in the log yet, in their order. Bounded: when it is full, all of them
/// become one purge of everything, which costs fetches and loses nothing.
#[derive(Debug, Default)]
pub(super) struct Queue(Mutex<Waiting>);

#[derive(Debug, Default)]
struct Waiting {
    records: VecDeque<Record>,
    /// On their way into the log.
    leaving: Vec<Record>,
    /// The tick of the last change queued since the start.
    tick: u64,
    /// Where in the log the last one came to stand.
    last: Option<Receipt>,
}

impl Waiting {
    fn take_back(&mut self) {
        for record in std::mem::take(&mut self.leaving).into_iter().rev() {
            self.records.push_front(record);
        }
    }

    fn tags(&self) -> usize {
        self.records.iter().map(|record| record.tags.len()).sum()
    }
}

/// Tags that may wait.
const MOST_TAGS: usize = 200_000;

/// Records that may wait.
const CAPACITY: usize = 10_000;

impl Queue {
    /// Whether nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many wait.
    pub(super) fn len(&self) -> usize {
        let waiting = self.lock();
        waiting.records.len() + waiting.leaving.len()
    }

    /// Queues a change, which holds here from the tick on that `pend` gives it. Both in one step: else what is flushed in
    /// between could be taken for all there is.
    pub(super) fn push(&self, record: Record, pend: impl FnOnce(&Record) -> u64) {
        let mut waiting = self.lock();
        let tick = pend(&record);
        let full = waiting.records.len() >= CAPACITY
            || (record.tags.len() > 1 && waiting.tags() + record.tags.len() > MOST_TAGS);
        if full {
            let tags = vec![EVERYTHING.to_owned()];
            waiting.records = VecDeque::from([Record { tags, grade: Grade::Hard, ..record }]);
        } else {
            waiting.records.push_back(record);
        }
        waiting.tick = tick.max(waiting.tick);
    }

    /// The next changes to append, as one record of up to `limit` tags where they are alike. Soft ones as purges, since what
    /// they were meant to refine may have been changed again meanwhile. To be followed by [`Queue::appended`] or
    /// [`Queue::kept_back`].
    pub(super) fn next(&self, limit: usize) -> Option<Record> {
        let mut waiting = self.lock();
        // Whoever was given them before may have left half-way.
        waiting.take_back();
        let first = waiting.records.pop_front()?;
        let mut merged = Record { grade: as_purge(first.grade), ..first.clone() };
        waiting.leaving.push(first);
        while let Some(next) = waiting.records.front()
            && as_purge(next.grade) == merged.grade
            && merged.tags.len() + next.tags.len() <= limit
            && let Some(next) = waiting.records.pop_front()
        {
            merged.tags.extend(next.tags.iter().cloned());
            if (&next.source, &next.id) != (&merged.source, &merged.id) {
                merged.source = String::from("queued");
                merged.id = String::new();
            }
            waiting.leaving.push(next);
        }
        merged.tags.sort_unstable();
        merged.tags.dedup();
        Some(merged)
    }

    /// What was given out last is in the log.
    pub(super) fn appended(&self, receipt: Receipt) {
        let mut waiting = self.lock();
        waiting.leaving.clear();
        waiting.last = Some(receipt);
    }

    /// What was given out last may not be in the log.
    pub(super) fn kept_back(&self) {
        self.lock().take_back();
    }

    /// If nothing waits: the tick up to which everything is in the log, and the last record that has to be applied for it.
    pub(super) fn flushed(&self) -> Option<(u64, Option<Receipt>)> {
        let waiting = self.lock();
        (waiting.records.is_empty() && waiting.leaving.is_empty()).then_some((waiting.tick, waiting.last))
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn as_purge(grade: Grade) -> Grade {
    if grade == Grade::Soft { Grade::Hard } else { grade }
}

/// What was changed lately. When the log's master is replaced, its last records may be lost with it; every node appends
/// again what it has seen of them.
#[derive(Debug, Default)]
pub(super) struct Recent {
    /// When this node last heard from the log.
    contact: Option<Moment>,
    records: VecDeque<(Moment, Grade, Vec<String>)>,
    tags: usize,
}

/// Tags remembered; beyond that, everything counts as changed.
const RECENT_TAGS: usize = 100_000;

impl Recent {
    /// Notes a change, and forgets those that are older than `span`.
    pub(super) fn add(&mut self, record: &Record, now: Moment, span: Duration) {
        // As of the last contact: what was seen before a long silence may still have to be appended again.
        self.forget(self.contact.unwrap_or(now), span);
        self.tags += record.tags.len();
        self.records.push_back((now, as_purge(record.grade), record.tags.clone()));
        if self.tags > RECENT_TAGS {
            self.records = VecDeque::from([(now, Grade::Hard, vec![EVERYTHING.to_owned()])]);
            self.tags = 1;
        }
    }

    /// The log has been heard of at `now`, in the life that the changes belong to.
    pub(super) fn in_contact(&mut self, now: Moment) {
        self.contact = Some(now);
    }

    /// All tags that were changed with this grade within `span` before this node last heard from the log, each once: for how long it has
    /// been cut off since does not matter.
    pub(super) fn tags(&mut self, grade: Grade, span: Duration) -> Vec<String> {
        if let Some(contact) = self.contact {
            self.forget(contact, span);
        }
        let of_grade = self.records.iter().filter(|(_, held, _)| *held == grade);
        let mut tags: Vec<String> = of_grade.flat_map(|(_, _, tags)| tags.iter().cloned()).collect();
        tags.sort_unstable();
        tags.dedup();
        tags
    }

    fn forget(&mut self, now: Moment, span: Duration) {
        while let Some((at, _, tags)) = self.records.front()
            && now.since(*at) > span
        {
            self.tags -= tags.len();
            self.records.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::Epoch;

    fn record(grade: Grade, tag: &str) -> Record {
        let source = String::from("api");
        Record { grade, tags: vec![tag.to_owned()], source, id: tag.to_owned(), at: 0, report: false }
    }

    fn receipt(number: u64) -> Receipt {
        Receipt { epoch: Epoch(7), number }
    }

    #[test]
    fn what_is_alike_goes_together_in_its_order_and_comes_back_whole() {
        let queue = Queue::default();
        let rows =
            [(Grade::Hard, "a"), (Grade::Soft, "b"), (Grade::Hard, "a"), (Grade::Check, "c"), (Grade::Hard, "d")];
        for (tick, (grade, tag)) in (1..).zip(rows) {
            queue.push(record(grade, tag), |_| tick);
        }
        let next = queue.next(9).expect("one");
        assert_eq!((next.grade, next.tags.join(" "), next.source.as_str()), (Grade::Hard, "a b".into(), "queued"));
        assert_eq!((queue.len(), queue.flushed()), (5, None), "on their way is not there");
        assert_eq!(queue.next(9).map(|record| record.tags), Some(next.tags), "whoever had them left half-way");
        queue.kept_back();
        assert_eq!(queue.next(2).expect("again").tags, ["a", "b"], "no more than fit");
        queue.appended(receipt(1));
        assert_eq!(queue.next(9).expect("the third").tags, ["a"]);
        queue.appended(receipt(2));
        assert_eq!(queue.next(9).map(|record| (record.grade, record.id)), Some((Grade::Check, "c".into())));
        queue.appended(receipt(3));
        assert_eq!(queue.next(9).map(|record| record.tags), Some(vec!["d".to_owned()]));
        queue.appended(receipt(4));
        assert_eq!((queue.next(9), queue.flushed()), (None, Some((5, Some(receipt(4))))));
    }

    #[test]
    fn what_is_too_much_becomes_a_purge_of_everything_and_what_is_on_its_way_stays() {
        let queue = Queue::default();
        queue.push(record(Grade::Hard, "first"), |_| 1);
        assert!(queue.next(1).is_some());
        for tick in 2..=CAPACITY as u64 + 2 {
            queue.push(record(Grade::Soft, "x"), |_| tick);
        }
        queue.kept_back();
        assert_eq!(queue.next(1).map(|record| record.tags), Some(vec!["first".to_owned()]));
        queue.appended(receipt(1));
        let all = queue.next(1).expect("the rest");
        assert_eq!((all.grade, all.tags), (Grade::Hard, vec![EVERYTHING.to_owned()]));
    }
}
