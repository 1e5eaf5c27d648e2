//! What this node has heard and not seen in the log yet.
//!
//! Every node hears every message; one of them, the scribe, appends it at once. The others hold what they heard until a
//! record of the same content comes by, one record for one message, and append it themselves when none does: a scribe
//! that is deaf or has died loses nothing. A record that comes by before its message is heard is not remembered: the
//! message is then said twice, which costs a fetch, where a credit could make a later message of the same content vanish.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use crate::clock::Moment;
use crate::store::Record;

/// Records on hold.
#[derive(Debug, Default)]
pub(super) struct Held {
    /// In the order in which they fall due.
    waiting: VecDeque<(Duration, Record)>,
    /// How many wait under each id, and how many of these have been seen in the log.
    ids: HashMap<String, (usize, usize)>,
}

/// Records held at the most. What comes beyond that is due at once.
const CAPACITY: usize = 50_000;

/// How long a node waits for the scribe.
const PATIENCE: Duration = Duration::from_millis(100);

impl Held {
    /// Holds what was heard at `now`.
    pub(super) fn hold(&mut self, record: Record, now: Moment) {
        let due = if self.waiting.len() < CAPACITY { now.mono.saturating_add(PATIENCE) } else { Duration::ZERO };
        self.ids.entry(record.id.clone()).or_default().0 += 1;
        self.waiting.push_back((due, record));
    }

    /// A record of that id has come by in the log.
    pub(super) fn seen(&mut self, id: &str) {
        if let Some((waiting, seen)) = self.ids.get_mut(id)
            && *seen < *waiting
        {
            *seen += 1;
        }
    }

    /// When the first of them falls due, on the monotonic clock; it may have been seen by then.
    pub(super) fn next_due(&self) -> Option<Duration> {
        self.waiting.front().map(|(due, _)| *due)
    }

    /// What nobody has appended, up to `limit` records.
    pub(super) fn due(&mut self, now: Moment, limit: usize) -> Vec<Record> {
        let mut records = Vec::new();
        while records.len() < limit
            && let Some((due, _)) = self.waiting.front()
            && *due <= now.mono
            && let Some((_, record)) = self.waiting.pop_front()
        {
            let Some((waiting, seen)) = self.ids.get_mut(&record.id) else { continue };
            *waiting -= 1;
            let was_seen = *seen > 0;
            *seen = seen.saturating_sub(1);
            if *waiting == 0 {
                self.ids.remove(&record.id);
            }
            if !was_seen {
                records.push(record);
            }
        }
        records
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Grade;

    fn at(millis: u64) -> Moment {
        Moment { wall: Duration::ZERO, mono: Duration::from_millis(millis) }
    }

    fn record(id: &str) -> Record {
        let tags = vec![format!("tag:{id}")];
        Record { grade: Grade::Hard, tags, source: String::new(), id: id.to_owned(), at: 0, report: false }
    }

    /// Plays `steps` (`+id` is heard, `-id` comes by in the log), 1 ms apart, and says what falls due in the end.
    fn check(steps: &str, expected: &[&str]) {
        let mut held = Held::default();
        for (millis, step) in (0..).zip(steps.split_whitespace()) {
            match step.split_at(1) {
                ("+", id) => held.hold(record(id), at(millis)),
                (_, id) => held.seen(id),
            }
        }
        assert!(held.due(at(99), 9).is_empty(), "{steps}: not yet");
        let due: Vec<String> = held.due(at(200), 9).into_iter().map(|record| record.id).collect();
        assert_eq!(due, expected, "{steps}");
        assert!(held.ids.is_empty() && held.next_due().is_none(), "{steps}: nothing is left behind");
    }

    #[test]
    fn one_record_answers_one_message() {
        check("+a", &["a"]);
        check("+a -a", &[]);
        check("+a -b", &["a"]);
        check("+a +a -a", &["a"]);
        check("+a +a -a -a", &[]);
        check("+a -a -a +a", &["a"]);
        check("+a +b -b +c", &["a", "c"]);
        check("-a +a", &["a"]);
        check("-a", &[]);
    }

    #[test]
    fn what_falls_due_comes_in_pages_and_in_order() {
        let mut held = Held::default();
        for n in 0..5 {
            held.hold(record(&n.to_string()), at(n));
        }
        assert_eq!(held.next_due(), Some(Duration::from_millis(100)));
        assert_eq!(held.due(at(102), 2).len(), 2);
        assert_eq!(held.due(at(102), 2).len(), 1);
        assert_eq!(held.next_due(), Some(Duration::from_millis(103)));
    }
}
