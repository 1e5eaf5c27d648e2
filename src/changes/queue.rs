//! Changes on their way into the log, and changes that have just been there.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::clock::Moment;
use crate::store::{EVERYTHING, Grade, Record};

/// Changes that hold on this node and are not in the log yet, in their order. Bounded: when it is full, all of them
/// become one purge of everything, which costs fetches and loses nothing.
#[derive(Debug, Default)]
pub(super) struct Queue(Mutex<Waiting>);

#[derive(Debug, Default)]
struct Waiting {
    records: VecDeque<Record>,
    /// The tick of the last change queued since the start.
    tick: u64,
}

/// Records that may wait.
const CAPACITY: usize = 10_000;

impl Queue {
    /// Whether nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.lock().records.is_empty()
    }

    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.lock().records.len()
    }

    /// Queues a change that holds here since `tick`.
    pub(super) fn push(&self, record: Record, tick: u64) {
        let mut waiting = self.lock();
        if waiting.records.len() == CAPACITY {
            waiting.records = VecDeque::from([Record { tags: vec![EVERYTHING.to_owned()], ..record }]);
        } else {
            waiting.records.push_back(record);
        }
        waiting.tick = tick.max(waiting.tick);
    }

    /// The next change to append: a soft one as a purge, since what it was meant to refine may have been changed again
    /// meanwhile.
    pub(super) fn first(&self) -> Option<Record> {
        let grade = |record: &Record| if record.grade == Grade::Soft { Grade::Hard } else { record.grade };
        self.lock().records.front().map(|record| Record { grade: grade(record), ..record.clone() })
    }

    /// The first one is in the log.
    pub(super) fn appended(&self) {
        self.lock().records.pop_front();
    }

    /// If nothing waits: the tick up to which everything is in the log.
    pub(super) fn flushed(&self) -> Option<u64> {
        let waiting = self.lock();
        waiting.records.is_empty().then_some(waiting.tick)
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What was changed lately. When the log's master is replaced, its last records may be lost with it; every node appends
/// again what it has seen of them.
#[derive(Debug, Default)]
pub(super) struct Recent {
    /// When this node last heard from the log.
    contact: Option<Moment>,
    records: VecDeque<(Moment, Vec<String>)>,
    tags: usize,
}

/// Tags remembered; beyond that, everything counts as changed.
const RECENT_TAGS: usize = 100_000;

impl Recent {
    /// Notes a change, and forgets those that are older than `span`.
    pub(super) fn add(&mut self, record: &Record, now: Moment, span: Duration) {
        self.forget(now, span);
        self.tags += record.tags.len();
        self.records.push_back((now, record.tags.clone()));
        if self.tags > RECENT_TAGS {
            self.records = VecDeque::from([(now, vec![EVERYTHING.to_owned()])]);
            self.tags = 1;
        }
    }

    /// The log has been heard of at `now`, in the life that the changes belong to.
    pub(super) fn in_contact(&mut self, now: Moment) {
        self.contact = Some(now);
    }

    /// All tags that were changed within `span` before this node last heard from the log, each once: for how long it has
    /// been cut off since does not matter.
    pub(super) fn tags(&mut self, span: Duration) -> Vec<String> {
        if let Some(contact) = self.contact {
            self.forget(contact, span);
        }
        let mut tags: Vec<String> = self.records.iter().flat_map(|(_, tags)| tags.iter().cloned()).collect();
        tags.sort_unstable();
        tags.dedup();
        tags
    }

    fn forget(&mut self, now: Moment, span: Duration) {
        while let Some((at, tags)) = self.records.front()
            && now.since(*at) > span
        {
            self.tags -= tags.len();
            self.records.pop_front();
        }
    }
}
